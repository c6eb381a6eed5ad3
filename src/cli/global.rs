//! What every command takes: which project, which environment, how to talk.

use std::{io::IsTerminal, path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;

use crate::{
    clock::SystemClock,
    config::Folder,
    diagnosis::{Diagnosis, Failure},
    job::House,
    project::Project,
    source::Progress,
};

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// A drawn table (query).
    Table,
    /// CSV with a header (query).
    Csv,
    /// One JSON object a line (query).
    Ndjson,
    /// Parquet (query, with --out).
    Parquet,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Arguments every command takes.
#[derive(Debug, Clone, Args)]
pub(super) struct Global {
    /// The project folder
    #[arg(long, global = true, value_name = "DIR", default_value = ".", env = "PERENNIAL_PROJECT")]
    pub(super) project: PathBuf,
    /// Lay config/<NAME>.toml over the deployment
    #[arg(long, global = true, value_name = "NAME", env = "PERENNIAL_ENV")]
    pub(super) env: Option<String>,
    /// How data is printed
    #[arg(long, global = true, value_enum, default_value = "text", hide_possible_values = true, value_name = "text|json")]
    pub(super) format: Format,
    /// Say less
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// How the log is written
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "text|json")]
    log_format: LogFormat,
}

impl Global {
    /// Whether to print JSON.
    pub(super) fn json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether the log is JSON.
    pub(super) fn json_log(&self) -> bool {
        self.log_format == LogFormat::Json
    }

    /// How a pull is shown: bars on a terminal, unless told to be quiet, else log lines.
    pub(super) fn progress(&self) -> Progress {
        if !self.quiet && !self.json_log() && std::io::stderr().is_terminal() {
            Progress::bars(MultiProgress::new())
        } else {
            Progress::lines()
        }
    }

    /// Starts the log on stderr.
    pub(super) fn start_log(&self) {
        let level = match (self.quiet, self.verbose) {
            (true, _) => "error",
            (_, 0) => "warn,perennial=info",
            (_, 1) => "info,perennial=debug",
            _ => "debug",
        };
        let filter = EnvFilter::try_from_env("PERENNIAL_LOG").unwrap_or_else(|_| EnvFilter::new(level));
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Json => log.json().init(),
            LogFormat::Text => log.with_target(false).compact().with_ansi(std::io::stderr().is_terminal()).init(),
        }
    }

    /// Only `query` prints tables, CSV and Parquet.
    pub(super) fn refuse_table_formats(&self, query: bool) -> Result<(), Failure> {
        if query || matches!(self.format, Format::Text | Format::Json) {
            return Ok(());
        }
        Err(Failure::wrong(Diagnosis::new("format", "this command prints text or json").hint("leave --format out, or write --format json")))
    }

    /// The project folder's settings.
    pub(super) fn folder(&self) -> Folder {
        Folder::new(&self.project, self.env.clone(), std::env::vars())
    }

    /// The project.
    pub(super) fn open(&self) -> Result<Project, Failure> {
        Project::open(self.folder(), Arc::new(SystemClock))
    }

    /// The project with its tables, ledger and files opened.
    pub(super) async fn house(&self) -> Result<House, Failure> {
        House::open(self.open()?).await
    }
}
