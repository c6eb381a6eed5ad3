//! A table put in place of the one before, as a whole or not at all.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::{array::RecordBatch, error::ArrowError};
use datafusion::{error::DataFusionError, physical_plan::stream::RecordBatchStreamAdapter};
use futures::stream;

use super::{Outcome, Reader, Scene, Window, begin, prepare, set_aside};
use crate::{
    lake::Commit,
    source::{error::SourceError, intake::Intake, settings::Stream},
};

/// What a replacing pull works on, chunk by chunk.
struct Replacing {
    stream: Arc<Stream>,
    /// Rows taken in and not yet handed on, the next one last.
    ready: Vec<RecordBatch>,
    reader: Arc<tokio::sync::Mutex<Box<dyn Reader>>>,
    intake: Arc<Mutex<Intake>>,
    had_rows: bool,
    ended: bool,
}

impl Replacing {
    /// The next chunk of the table; `None` at its end.
    async fn chunk(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        if let Some(batch) = self.ready.pop() {
            return Ok(Some(batch));
        }
        if self.ended {
            return Ok(None);
        }
        let broken = |error: ArrowError| SourceError::Broken { at: self.stream.name.clone(), reason: error.to_string() };
        let mut reader = self.reader.lock().await;
        while let Some(page) = reader.page().await? {
            let mut intake = self.intake.lock().unwrap_or_else(PoisonError::into_inner);
            intake.take(&page)?;
            if intake.is_full() {
                self.ready = intake.chunk().map_err(broken)?;
                self.ready.reverse();
                if let Some(batch) = self.ready.pop() {
                    return Ok(Some(batch));
                }
            }
        }
        self.ended = true;
        let mut intake = self.intake.lock().unwrap_or_else(PoisonError::into_inner);
        if intake.kept == 0 && self.had_rows {
            let what = match intake.received {
                0 => "the files hold no rows, and the table would be emptied".to_owned(),
                received => format!("none of {received} rows fits its columns, and the table would be emptied"),
            };
            return Err(SourceError::Emptied { at: self.stream.name.clone(), what });
        }
        self.ready = intake.chunk().map_err(broken)?;
        self.ready.reverse();
        Ok(self.ready.pop())
    }
}

/// Pulls a stream whose rows are the table.
pub(super) async fn replace(
    scene: &Scene,
    stream: &Arc<Stream>,
    reader: &Arc<tokio::sync::Mutex<Box<dyn Reader>>>,
) -> Result<Outcome, SourceError> {
    prepare(scene, stream).await?;
    let started = scene.clock.now();
    let pulled_at = started.timestamp_micros();
    reader.lock().await.start(&Window::default(), None).await?;
    let intake = Arc::new(Mutex::new(begin(scene, stream, (started, started), None, false)));
    let cause: Arc<Mutex<Option<SourceError>>> = Arc::default();
    let replacing = Replacing {
        stream: Arc::clone(stream),
        ready: Vec::new(),
        reader: Arc::clone(reader),
        intake: Arc::clone(&intake),
        had_rows: scene.had_rows,
        ended: false,
    };
    let kept = Arc::clone(&cause);
    let chunks = stream::try_unfold((replacing, kept), |(mut replacing, kept)| async move {
        match replacing.chunk().await {
            Ok(chunk) => Ok(chunk.map(|chunk| (chunk, (replacing, kept)))),
            Err(error) => {
                let words = error.to_string();
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(DataFusionError::Execution(words))
            }
        }
    });
    let schema = stream.columns.schema.clone();
    let rows = Box::pin(RecordBatchStreamAdapter::new(schema.clone(), chunks));
    let commit = Commit { run: Some(scene.run.clone()), cursor: None };
    let written = scene.lake.replace(&stream.name.table(), schema, rows, commit).await;
    if let Some(error) = cause.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    let written = written.map_err(|error| SourceError::Lake { at: stream.name.clone(), error })?;
    let Some(mut intake) = Arc::into_inner(intake).and_then(|intake| intake.into_inner().ok()) else {
        return Err(SourceError::Broken { at: stream.name.clone(), reason: "the lake still reads the files".to_owned() });
    };
    let quarantined = intake.quarantined;
    set_aside(scene, stream, &mut intake, pulled_at).await?;
    Ok(Outcome { rows: intake.received, inserted: written.rows, bytes: intake.volume, quarantined, ..Outcome::default() })
}
