//! A table put in place of the one before, as a whole or not at all.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{array::RecordBatch, error::ArrowError};
use datafusion::{error::DataFusionError, physical_plan::stream::RecordBatchStreamAdapter};
use futures::stream;

use super::{Outcome, Reader, Scene, State, Window, begin, next_state, prepare, set_aside, state, widen};
use crate::{
    lake::Commit,
    source::{columns::Type, error::SourceError, intake::Intake, settings::Stream},
};

/// What a replacing pull works on, chunk by chunk.
struct Replacing {
    stream: Arc<Stream>,
    /// Rows taken in and not yet handed on, the next one last.
    ready: Vec<RecordBatch>,
    reader: Shared,
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
            if !intake.wider.is_empty() {
                return Err(SourceError::Broken { at: self.stream.name.clone(), reason: "a column is too narrow".to_owned() });
            }
            if intake.is_full(false) {
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
pub(super) async fn replace(scene: &Scene, mut stream: Arc<Stream>, reader: &Shared) -> Result<Outcome, SourceError> {
    prepare(scene, &stream).await?;
    let old = state(scene, &stream).await?;
    loop {
        match once(scene, &stream, old.as_ref(), reader).await? {
            Ok(outcome) => return Ok(outcome),
            Err(wider) => stream = widen::widen(scene, &stream, &wider).await?,
        }
    }
}

type Shared = Arc<tokio::sync::Mutex<Box<dyn Reader>>>;
/// The outcome, or the wider types that the columns at these positions need.
type Once = Result<Outcome, BTreeMap<usize, Type>>;

async fn once(scene: &Scene, stream: &Arc<Stream>, old: Option<&State>, reader: &Shared) -> Result<Once, SourceError> {
    let started = scene.clock.now();
    let pulled_at = started.timestamp_micros();
    reader.lock().await.start(&Window::default(), None).await?;
    let intake = Arc::new(Mutex::new(begin(scene, stream, old, (started, started), None, false)));
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
    let commit = Commit { run: Some(scene.run.clone()), ..Commit::default() };
    let written = scene.lake.replace(&stream.name.table(), schema, rows, commit).await;
    let wider = std::mem::take(&mut intake.lock().unwrap_or_else(PoisonError::into_inner).wider);
    if !wider.is_empty() {
        return Ok(Err(wider));
    }
    if let Some(error) = cause.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    let failed = |error| SourceError::Lake { at: stream.name.clone(), error };
    let written = written.map_err(failed)?;
    let Some(mut intake) = Arc::into_inner(intake).and_then(|intake| intake.into_inner().ok()) else {
        return Err(SourceError::Broken { at: stream.name.clone(), reason: "the lake still reads the files".to_owned() });
    };
    let quarantined = intake.quarantined;
    set_aside(scene, stream, &mut intake, pulled_at).await?;
    let state = next_state(stream, old, &intake, false, None, pulled_at);
    if state.as_ref() != old {
        let cursor = state.and_then(|state| serde_json::to_value(state).ok());
        let commit = Commit { run: Some(scene.run.clone()), cursor, ..Commit::default() };
        scene.lake.note(&stream.name.table(), commit).await.map_err(failed)?;
    }
    let (rows, bytes, drift) = (intake.received, intake.volume, intake.drift());
    Ok(Ok(Outcome { rows, inserted: written.rows, bytes, quarantined, drift, ..Outcome::default() }))
}
