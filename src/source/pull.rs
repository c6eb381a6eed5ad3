//! The pull law, in the one place every kind of source goes through.
//!
//! 1. The upper bound is fixed before the first request: the earlier of the source's clock and ours, less `settle`. The cursor never
//!    passes it. Rows above it are kept all the same: they come again next time, and merging twice changes nothing.
//! 2. The lower bound is inclusive and lies `overlap` below the cursor. The cursor is the source's own writing of a value, letter by
//!    letter, beside what it means.
//! 3. Rows are merged by key; of two versions of a row in one pull the newer by the cursor stays.
//! 4. The cursor is committed together with the last rows, after the last page, and only if the count is not short.
//! 5. A cursor is true for one set of columns, parameters and key. When those change, everything is read again.
//! 6. Where pages can slip (numbers, offsets), a row that changes while they are read moves towards the end and pulls another one from
//!    a later page to one already read. The total tells, where the source says it; else the row that comes a second time. The pages are
//!    then read again; if that never ends, the rows are kept and the cursor stays.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray},
    compute::filter_record_batch,
    error::ArrowError,
};
use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use datafusion::{error::DataFusionError, physical_plan::stream::RecordBatchStreamAdapter};
use futures::stream;
use serde::{Deserialize, Serialize};

use super::{
    columns::DELETED_AT,
    error::SourceError,
    http::settings::CursorFormat,
    intake::Intake,
    progress::StreamProgress,
    quarantine,
    rows::Page,
    settings::{Cursor, OnBadValue, Seeing, Stream, Write},
    values,
};
use crate::{
    clock::SharedClock,
    lake::{Commit, Lake, LakeError},
};

/// How often pages are read again because rows moved under the reader.
const PASSES: u32 = 3;

/// What a kind of source gives the law: pages, as often as it is asked to start again.
#[async_trait]
pub(crate) trait Reader: Send {
    /// Goes to the first page of a window.
    async fn start(&mut self, window: &Window) -> Result<(), SourceError>;
    /// The next page; `None` after the last.
    async fn page(&mut self) -> Result<Option<Page>, SourceError>;
    /// What it took so far.
    fn effort(&self) -> Effort;
    /// The source's own clock when it first answered.
    fn server_time(&self) -> Option<DateTime<Utc>> {
        None
    }
    /// Whether a row that changes meanwhile can push another from a later page to an earlier one, unseen.
    fn can_slip(&self) -> bool {
        false
    }
}

/// What reading took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Effort {
    pub(crate) requests: u64,
    pub(crate) retries: u64,
}

/// What is asked for: the query parameters that bound a pull.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) params: Vec<(String, String)>,
}

/// What stands in the lake beside the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The greatest cursor value, as the source writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    literal: Option<String>,
    /// What it means: microseconds since 1970, or the number itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<i64>,
    /// What it is true for.
    #[serde(default)]
    true_for: String,
    /// When everything was last read to find what is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reconciled_at: Option<i64>,
}

/// What a pull of one stream needs beside its source.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) lake: Lake,
    pub(crate) clock: SharedClock,
    pub(crate) run: String,
    pub(crate) full: bool,
    /// How many rows are merged at once.
    pub(crate) chunk_rows: usize,
    /// Whether rows had come the last time it went well; nothing at all would then be suspicious.
    pub(crate) had_rows: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) rows: u64,
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) quarantined: u64,
    pub(crate) cursor: Option<String>,
}

/// What a pull begins with. Pure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) window: Window,
    /// Whether everything is read, so that what does not come is gone.
    pub(crate) whole: bool,
    /// Whether this pull marks what is gone.
    pub(crate) sweep: bool,
}

/// Decides what to ask for.
pub(crate) fn open(stream: &Stream, state: Option<&State>, now: DateTime<Utc>, full: bool) -> Opening {
    let state = state.filter(|state| state.true_for == stream.fingerprint);
    let due = match stream.deletes {
        Seeing::Reconcile { every } => {
            state.and_then(|state| state.reconciled_at).is_none_or(|at| at + micros(every.delta()) <= now.timestamp_micros())
        }
        _ => false,
    };
    let Some(cursor) = &stream.cursor else { return Opening { window: Window::default(), whole: true, sweep: due } };
    let mut params = Vec::new();
    let from = if full || due { None } else { state.and_then(|state| Some((state.literal.as_deref()?, state.at?))) };
    match from {
        Some((literal, at)) => params.push((cursor.param.clone(), lower(cursor, literal, at))),
        None => params.extend(cursor.start.as_ref().map(|start| (cursor.param.clone(), start.clone()))),
    }
    if let Some(param) = &cursor.until_param {
        params.push((param.clone(), written(bound(cursor, now, None), cursor.format, Some(now))));
    }
    // With a start set, older rows are not asked for, and nothing can be said about them.
    let whole = from.is_none() && cursor.start.is_none();
    Opening { window: Window { params }, whole, sweep: due && whole }
}

/// Where the cursor must stop, in microseconds.
fn bound(cursor: &Cursor, started: DateTime<Utc>, server: Option<DateTime<Utc>>) -> i64 {
    server.map_or(started, |server| server.min(started)).timestamp_micros() - micros(cursor.settle.delta())
}

fn micros(delta: TimeDelta) -> i64 {
    delta.num_microseconds().unwrap_or(i64::MAX / 4)
}

/// The lower bound of the next pull: inclusive, and never above the cursor.
fn lower(cursor: &Cursor, literal: &str, at: i64) -> String {
    let overlap = micros(cursor.overlap.delta());
    if !cursor.timed || (overlap == 0 && cursor.format == CursorFormat::Rfc3339) {
        return literal.to_owned();
    }
    written(at.saturating_sub(overlap), cursor.format, None)
}

/// An instant as a query parameter; rounded down to what the format can say, or up where it is an upper bound.
fn written(at: i64, format: CursorFormat, upper: Option<DateTime<Utc>>) -> String {
    let floor = DateTime::from_timestamp_micros(at).unwrap_or(DateTime::UNIX_EPOCH).trunc_subsecs(0);
    let at = if upper.is_some() && floor.timestamp_micros() < at { floor + TimeDelta::seconds(1) } else { floor };
    match format {
        CursorFormat::Rfc3339 => at.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        CursorFormat::Unix => at.timestamp().to_string(),
        CursorFormat::UnixMs => at.timestamp_millis().to_string(),
        CursorFormat::Date if upper.is_some() => (at + TimeDelta::days(1)).format("%Y-%m-%d").to_string(),
        CursorFormat::Date => at.format("%Y-%m-%d").to_string(),
    }
}

/// What one pass over the pages amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Which one it is, from 1.
    pub(crate) nth: u32,
    pub(crate) pages: u64,
    /// Different rows that came.
    pub(crate) different: u64,
    /// What the first and the last page announced.
    pub(crate) announced: Option<(u64, u64)>,
    /// Whether rows can slip from page to page.
    pub(crate) can_slip: bool,
    /// Whether a row came again because it had changed meanwhile.
    pub(crate) moved: bool,
}

/// What to do after a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everything came: the cursor moves.
    Whole,
    /// Rows moved while they were read: read again.
    Again,
    /// They never stood still: keep the rows, leave the cursor.
    Hold,
    /// Rows are missing: the stream fails.
    Short { announced: u64 },
}

/// Judges a pass.
pub(crate) fn judge(pass: Pass) -> Verdict {
    if let Some((first, last)) = pass.announced {
        let announced = first.max(last);
        return match pass.different >= announced {
            true => Verdict::Whole,
            false if pass.nth < PASSES => Verdict::Again,
            false => Verdict::Short { announced },
        };
    }
    match pass.can_slip && pass.pages > 1 && pass.moved {
        false => Verdict::Whole,
        true if pass.nth < PASSES => Verdict::Again,
        true => Verdict::Hold,
    }
}

/// The state after a pull that saw everything it asked for. The cursor never goes back, except where the old one says nothing any more.
fn next_state(stream: &Stream, old: Option<&State>, intake: &Intake, swept: bool, now: i64) -> Option<State> {
    let old = old.filter(|old| old.true_for == stream.fingerprint);
    let mut state = State { true_for: stream.fingerprint.clone(), ..old.cloned().unwrap_or_default() };
    if let Some(reached) = &intake.reached
        && state.at.is_none_or(|at| reached.at > at)
    {
        state.at = Some(reached.at);
        state.literal = Some(reached.literal.clone());
    }
    if swept {
        state.reconciled_at = Some(now);
    }
    (state.at.is_some() || state.reconciled_at.is_some()).then_some(state)
}

/// Pulls one stream.
pub(crate) async fn pull(
    scene: &Scene,
    stream: &Arc<Stream>,
    reader: Box<dyn Reader>,
    progress: &mut StreamProgress,
) -> (Result<Outcome, SourceError>, Effort) {
    let reader = Arc::new(tokio::sync::Mutex::new(reader));
    let outcome = match stream.write {
        Write::Merge => merge(scene, stream, &mut **reader.lock().await, progress).await,
        Write::Replace => replace(scene, stream, &reader).await,
    };
    let effort = reader.lock().await.effort();
    (outcome, effort)
}

async fn prepare(scene: &Scene, stream: &Stream) -> Result<(), SourceError> {
    let lake = |error| SourceError::Lake { at: stream.name.clone(), error };
    // A table that is replaced may change its columns as it likes.
    if stream.write == Write::Merge || scene.lake.latest(&stream.name.table()).await.map_err(lake)?.is_none() {
        scene.lake.ensure(&stream.name.table(), stream.columns.schema.clone()).await.map_err(lake)?;
    }
    if stream.on_bad_value == OnBadValue::Quarantine {
        scene.lake.ensure(&stream.name.quarantine(), quarantine::schema()).await.map_err(lake)?;
    }
    Ok(())
}

async fn merge(
    scene: &Scene,
    stream: &Arc<Stream>,
    reader: &mut dyn Reader,
    progress: &mut StreamProgress,
) -> Result<Outcome, SourceError> {
    let table = stream.name.table();
    let failed = |error: LakeError| SourceError::Lake { at: stream.name.clone(), error };
    let broken = |error: ArrowError| SourceError::Broken { at: stream.name.clone(), reason: error.to_string() };
    prepare(scene, stream).await?;
    let started = scene.clock.now();
    let pulled_at = started.timestamp_micros();
    let old: Option<State> = scene.lake.cursor(&table).await.map_err(failed)?.and_then(|state| serde_json::from_value(state).ok());
    let opening = open(stream, old.as_ref(), started, scene.full);
    match (opening.whole, opening.window.params.first()) {
        (false, Some((param, from))) => tracing::info!(stream = %stream.name, param, from, "pulls what changed"),
        _ => tracing::info!(stream = %stream.name, "pulls everything"),
    }
    let key = stream.key_names();
    let mut outcome = Outcome::default();
    let mut nth = 0;
    let (mut intake, hold) = loop {
        nth += 1;
        reader.start(&opening.window).await?;
        let mut intake: Option<Intake> = None;
        while let Some(page) = reader.page().await? {
            let intake = intake.get_or_insert_with(|| {
                begin(scene, stream, started, reader.server_time(), opening.sweep || page.announced.is_some() || reader.can_slip())
            });
            intake.take(&page)?;
            progress.page(intake.received, page.announced);
            if intake.is_full() {
                set_aside(scene, stream, intake, pulled_at).await?;
                let rows = intake.chunk().map_err(broken)?.into_iter().collect();
                let written =
                    scene.lake.merge(&table, &key, rows, Commit { run: Some(scene.run.clone()), cursor: None }).await.map_err(failed)?;
                outcome.inserted += written.inserted;
                outcome.updated += written.updated;
            }
        }
        let intake = intake.unwrap_or_else(|| begin(scene, stream, started, reader.server_time(), opening.sweep));
        let verdict = judge(Pass {
            nth,
            pages: intake.pages,
            different: intake.different(),
            announced: intake.announced,
            can_slip: reader.can_slip(),
            moved: intake.moved,
        });
        match verdict {
            Verdict::Whole => break (intake, false),
            Verdict::Again => tracing::info!(stream = %stream.name, pass = nth, "rows changed while they were read; reading them again"),
            Verdict::Hold => {
                tracing::warn!(stream = %stream.name, "rows kept changing while they were read; they are kept, but the cursor stays for the next pull");
                break (intake, true);
            }
            Verdict::Short { announced } => {
                return Err(SourceError::Short { at: stream.name.clone(), announced, received: intake.different() });
            }
        }
    };
    set_aside(scene, stream, &mut intake, pulled_at).await?;
    let mut rows: Vec<RecordBatch> = intake.chunk().map_err(broken)?.into_iter().collect();
    if opening.sweep && !hold {
        rows.extend(gone(scene, stream, &intake, pulled_at).await?);
    }
    let state = if hold { old.clone() } else { next_state(stream, old.as_ref(), &intake, opening.sweep, pulled_at) };
    if !rows.is_empty() || state != old {
        let cursor = state.as_ref().filter(|_| !hold).and_then(|state| serde_json::to_value(state).ok());
        let written = scene.lake.merge(&table, &key, rows, Commit { run: Some(scene.run.clone()), cursor }).await.map_err(failed)?;
        outcome.inserted += written.inserted;
        outcome.updated += written.updated;
    }
    outcome.rows = intake.received;
    outcome.quarantined = intake.quarantined;
    outcome.cursor = state.and_then(|state| state.literal);
    Ok(outcome)
}

fn begin(scene: &Scene, stream: &Arc<Stream>, started: DateTime<Utc>, server: Option<DateTime<Utc>>, remember_all: bool) -> Intake {
    let bound = stream.cursor.as_ref().map_or(i64::MAX, |cursor| bound(cursor, started, server));
    Intake::new(Arc::clone(stream), started.timestamp_micros(), bound, scene.chunk_rows, remember_all)
}

/// Writes the rows set aside before the cursor can pass them.
async fn set_aside(scene: &Scene, stream: &Stream, intake: &mut Intake, pulled_at: i64) -> Result<(), SourceError> {
    if intake.aside.is_empty() {
        return Ok(());
    }
    let aside = std::mem::take(&mut intake.aside);
    tracing::warn!(stream = %stream.name, rows = aside.len(), table = stream.name.quarantine(), "rows that do not fit were set aside");
    let batch =
        quarantine::batch(&aside, pulled_at).map_err(|error| SourceError::Broken { at: stream.name.clone(), reason: error.to_string() })?;
    let key = quarantine::KEY.map(str::to_owned);
    let commit = Commit { run: Some(scene.run.clone()), cursor: None };
    let written = scene.lake.merge(&stream.name.quarantine(), &key, vec![batch], commit).await;
    written.map(|_| ()).map_err(|error| SourceError::Lake { at: stream.name.clone(), error })
}

/// The rows of the table that did not come although everything was read, marked as deleted now.
async fn gone(scene: &Scene, stream: &Stream, intake: &Intake, now: i64) -> Result<Vec<RecordBatch>, SourceError> {
    let broken = |error: ArrowError| SourceError::Broken { at: stream.name.clone(), reason: error.to_string() };
    let batches =
        scene.lake.read(&stream.name.table(), None).await.map_err(|error| SourceError::Lake { at: stream.name.clone(), error })?;
    let schema = &stream.columns.schema;
    let mut marked = Vec::new();
    for batch in batches {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let array = batch.column_by_name(field.name()).ok_or_else(|| ArrowError::SchemaError(format!("{} is gone", field.name())));
            columns.push(array.and_then(|array| arrow::compute::cast(array, field.data_type())).map_err(broken)?);
        }
        let batch = RecordBatch::try_new(schema.clone(), columns).map_err(broken)?;
        let Some(deleted) = batch.column_by_name(DELETED_AT) else { continue };
        let missing: BooleanArray = (0..batch.num_rows())
            .map(|row| {
                let key: Vec<_> = stream.key.iter().map(|position| values::from_array(batch.column(*position), row)).collect();
                Some(deleted.is_null(row) && !intake.has(&key))
            })
            .collect();
        if missing.true_count() == 0 {
            continue;
        }
        let batch = filter_record_batch(&batch, &missing).map_err(broken)?;
        let mut columns = batch.columns().to_vec();
        if let Some(last) = columns.last_mut() {
            *last = Arc::new(TimestampMicrosecondArray::from(vec![now; batch.num_rows()]).with_timezone("UTC"));
        }
        marked.push(RecordBatch::try_new(schema.clone(), columns).map_err(broken)?);
    }
    let rows: usize = marked.iter().map(RecordBatch::num_rows).sum();
    if rows > 0 && intake.is_empty() {
        let what = format!("the source gave no rows at all, and {rows} would be marked as deleted");
        return Err(SourceError::Emptied { at: stream.name.clone(), what });
    }
    if rows > 0 {
        tracing::info!(stream = %stream.name, rows, "rows that are gone at the source are marked as deleted");
    }
    Ok(marked)
}

/// What a replacing pull works on, chunk by chunk.
struct Replacing {
    stream: Arc<Stream>,
    reader: Arc<tokio::sync::Mutex<Box<dyn Reader>>>,
    intake: Arc<Mutex<Intake>>,
    had_rows: bool,
    ended: bool,
}

impl Replacing {
    /// The next chunk of the table; `None` at its end.
    async fn chunk(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        if self.ended {
            return Ok(None);
        }
        let broken = |error: ArrowError| SourceError::Broken { at: self.stream.name.clone(), reason: error.to_string() };
        let mut reader = self.reader.lock().await;
        while let Some(page) = reader.page().await? {
            let mut intake = self.intake.lock().unwrap_or_else(PoisonError::into_inner);
            intake.take(&page)?;
            if intake.is_full()
                && let Some(chunk) = intake.chunk().map_err(broken)?
            {
                return Ok(Some(chunk));
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
        intake.chunk().map_err(broken)
    }
}

async fn replace(scene: &Scene, stream: &Arc<Stream>, reader: &Arc<tokio::sync::Mutex<Box<dyn Reader>>>) -> Result<Outcome, SourceError> {
    prepare(scene, stream).await?;
    let started = scene.clock.now();
    let pulled_at = started.timestamp_micros();
    reader.lock().await.start(&Window::default()).await?;
    let intake = Arc::new(Mutex::new(begin(scene, stream, started, None, false)));
    let cause: Arc<Mutex<Option<SourceError>>> = Arc::default();
    let replacing = Replacing {
        stream: Arc::clone(stream),
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
    Ok(Outcome { rows: intake.received, inserted: written.rows, updated: 0, quarantined, cursor: None })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::source::settings::Spot;

    const NOW: &str = "2026-11-22T01:00:00.5Z";

    fn stream(cursor: &str, more: &str) -> Stream {
        let text = format!(
            "path = \"/o\"\nkey = [\"id\"]\npagination = \"none\"\n{cursor}\n{more}\n[columns]\nid = \"text\"\nat = \"timestamp\"\nn = \"integer\"\n"
        );
        let settings = toml::from_str(&text).unwrap();
        Stream::http(&Spot::top(Path::new("x.toml"), &text), crate::source::StreamName::new("shop", "orders"), settings).unwrap()
    }

    fn state(stream: &Stream, literal: &str, at: i64) -> State {
        State { literal: Some(literal.to_owned()), at: Some(at), true_for: stream.fingerprint.clone(), reconciled_at: None }
    }

    fn asks(cursor: &str, literal: &str, full: bool) -> Vec<String> {
        let stream = stream(cursor, "");
        let at = literal.parse::<DateTime<Utc>>().map_or_else(|_| literal.parse().unwrap(), |at| at.timestamp_micros());
        let opening = open(&stream, Some(&state(&stream, literal, at)), NOW.parse().unwrap(), full);
        opening.window.params.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn the_lower_bound_is_rounded_down_and_the_upper_one_up() {
        let at = "2026-11-21T23:59:59.999999Z";
        let cursor = |more: &str| format!("cursor = {{ field = \"at\", param = \"from\", until_param = \"to\"{more} }}");
        assert_eq!(asks(&cursor(""), at, false), ["from=2026-11-21T23:54:59Z", "to=2026-11-22T01:00:01Z"]);
        assert_eq!(
            asks(&cursor(", overlap = \"0s\", settle = \"30s\""), at, false),
            [format!("from={at}"), "to=2026-11-22T00:59:31Z".to_owned()]
        );
        assert_eq!(asks(&cursor(", format = \"unix\""), at, false), ["from=1795305299", "to=1795309201"]);
        assert_eq!(asks(&cursor(", format = \"unix_ms\""), at, false), ["from=1795305299000", "to=1795309201000"]);
        assert_eq!(asks(&cursor(", format = \"date\""), at, false), ["from=2026-11-21", "to=2026-11-23"]);
        assert_eq!(asks(&cursor(""), at, true), ["to=2026-11-22T01:00:01Z"]);
        assert_eq!(asks(&cursor(", start = \"2024-01-01T00:00:00Z\""), at, true), ["from=2024-01-01T00:00:00Z", "to=2026-11-22T01:00:01Z"]);
        assert_eq!(asks("cursor = { field = \"n\", param = \"after\" }", "417", false), ["after=417"]);
    }

    #[test]
    fn a_cursor_says_nothing_about_other_settings() {
        let stream = stream("cursor = { field = \"at\", param = \"from\" }", "");
        let other = State { true_for: "other".to_owned(), ..state(&stream, "2026-11-21T00:00:00Z", 1) };
        assert!(open(&stream, Some(&other), NOW.parse().unwrap(), false).whole);
        assert!(!open(&stream, Some(&state(&stream, "2026-11-21T00:00:00Z", 1)), NOW.parse().unwrap(), false).whole);
    }

    #[test]
    fn a_sweep_is_due_after_its_time_and_reads_everything() {
        let stream = stream("cursor = { field = \"at\", param = \"from\" }", "deletes = { reconcile = { every = \"7d\" } }");
        let now: DateTime<Utc> = NOW.parse().unwrap();
        let after = |days: i64| {
            let swept = (now - TimeDelta::days(days)).timestamp_micros();
            let state = State { reconciled_at: Some(swept), ..state(&stream, "2026-11-21T00:00:00Z", 1) };
            let opening = open(&stream, Some(&state), now, false);
            assert_eq!(opening.sweep, opening.whole);
            opening.sweep
        };
        assert_eq!((after(6), after(7)), (false, true));
    }

    #[test]
    fn passes_are_judged_by_the_total_where_there_is_one_else_by_rows_that_moved() {
        let pass = Pass { nth: 1, pages: 2, different: 10, announced: None, can_slip: true, moved: false };
        assert_eq!(judge(pass), Verdict::Whole);
        assert_eq!(judge(Pass { moved: true, ..pass }), Verdict::Again);
        assert_eq!(judge(Pass { moved: true, nth: 3, ..pass }), Verdict::Hold);
        assert_eq!(judge(Pass { moved: true, pages: 1, ..pass }), Verdict::Whole);
        assert_eq!(judge(Pass { moved: true, can_slip: false, ..pass }), Verdict::Whole);
        let counted = Pass { announced: Some((10, 9)), ..pass };
        assert_eq!(judge(Pass { moved: true, ..counted }), Verdict::Whole);
        assert_eq!(judge(Pass { different: 9, ..counted }), Verdict::Again);
        assert_eq!(judge(Pass { different: 9, nth: 3, ..counted }), Verdict::Short { announced: 10 });
    }
}
