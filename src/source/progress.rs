//! What someone watching a pull sees: bars on a terminal, log lines otherwise.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::error::StreamName;

/// How the pull shows how far it is; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    bars: Option<MultiProgress>,
}

impl Progress {
    /// Log lines.
    #[must_use]
    pub fn lines() -> Self {
        Self { bars: None }
    }

    /// Bars, drawn where the command line says; it also suspends them to write a line of its own.
    #[must_use]
    pub fn bars(bars: MultiProgress) -> Self {
        Self { bars: Some(bars) }
    }

    /// Begins to show one stream.
    pub(crate) fn stream(&self, name: &StreamName) -> StreamProgress {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::no_length());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:24} {human_pos:>12} rows  {per_sec:>14}  {msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_string());
            bar
        });
        tracing::debug!(stream = %name, "pull begins");
        StreamProgress { bar, name: name.clone(), pages: 0 }
    }
}

/// How far one stream is.
#[derive(Debug)]
pub(crate) struct StreamProgress {
    bar: Option<ProgressBar>,
    name: StreamName,
    pages: u64,
}

impl StreamProgress {
    /// A page has come; `announced` rows will come in all, where the source says so.
    pub(crate) fn page(&mut self, rows: u64, announced: Option<u64>) {
        self.pages += 1;
        match &self.bar {
            Some(bar) => {
                if let Some(announced) = announced {
                    bar.set_message(format!("of {announced}"));
                }
                bar.set_position(rows);
            }
            None if self.pages.is_multiple_of(200) => {
                tracing::info!(stream = %self.name, rows, pages = self.pages, announced, "still pulling");
            }
            None => {}
        }
    }

    /// The stream is in the lake.
    pub(crate) fn done(&self, pulled: &super::Pulled) {
        if let Some(bar) = &self.bar {
            bar.set_position(pulled.rows);
            bar.finish_with_message("done");
        } else {
            tracing::info!(
                stream = %self.name,
                rows = pulled.rows,
                inserted = pulled.inserted,
                updated = pulled.updated,
                quarantined = pulled.quarantined,
                requests = pulled.requests,
                retries = pulled.retries,
                "pulled"
            );
        }
    }

    /// The stream is not.
    pub(crate) fn failed(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon_with_message("failed");
        } else {
            tracing::error!(stream = %self.name, "not pulled");
        }
    }
}
