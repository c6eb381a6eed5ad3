//! The pull law, in the one place every kind of source goes through.
//!
//! 1. The upper bound is fixed before the first request: the earlier of the source's clock and ours, less `settle`. The cursor never
//!    passes it. Rows above it are kept all the same: they come again next time, and merging twice changes nothing.
//! 2. The lower bound is inclusive and lies `overlap` below the cursor. The cursor is the source's own writing of a value, letter by
//!    letter, beside what it means.
//! 3. Rows are merged by key; of two versions of a row in one pull the newer by the cursor stays.
//! 4. The cursor is committed together with the last rows, after the last page, and only if the count is not short.
//! 5. A cursor is true for one set of columns, parameters and key. When those change, everything is read again.
//! 6. Where pages can slip (numbers, offsets), a row that changes while they are read moves towards the end and pulls another one
//!    from a later page to one already read. The total tells, where the source says it; else the row that comes a second time. What
//!    came is kept, and the pages are read again; if that never ends, the rows are kept and the cursor stays. In a listing that
//!    ascends by the cursor all that lies below the first row that moved has come: it is read again from there, and the cursor moves
//!    that far.
//! 7. Where a source keeps its changes for some time only, a pull that comes later than that stops and says so, until everything has been
//!    read again.
//! 8. A long pull is committed in chunks, each with the place its pages had come to. The pull after a crash goes on from there, with the
//!    bounds the first one had, and then asks for what changed meanwhile behind that place, where a cursor can ask for it alone; where the
//!    source no longer knows the place, it begins anew. What must see everything in one pass (a sweep for what is gone, a count) is never
//!    resumed. A source's budget ends a run in the same way, in good order.
//! 9. What another stream lists as deleted is marked, unless it changed afterwards.
//! 10. A declared field that had always come and comes no more stops the stream before anything of its page is kept.
//!
//! Here stands what is decided; `merge.rs` and `replace.rs` do it.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    deletes::Seeing,
    error::SourceError,
    held::Held,
    http::settings::CursorFormat,
    intake::{Intake, Reached},
    progress::StreamProgress,
    quarantine,
    rows::Page,
    settings::{Cursor, OnBadValue, Stream, Write},
};
use crate::{
    clock::SharedClock,
    lake::{Commit, Lake},
};

mod events;
mod merge;
mod replace;
mod widen;

pub(crate) use events::Deletions;

/// How often pages are read again because rows moved under the reader.
const PASSES: u32 = 3;

/// What a kind of source gives the law: pages, as often as it is asked to start again.
#[async_trait]
pub(crate) trait Reader: Send {
    /// Goes to the first page of a window, or to the place in it that [`mark`](Reader::mark) named in an earlier process.
    async fn start(&mut self, window: &Window, mark: Option<&Value>) -> Result<(), SourceError>;
    /// The next page; `None` after the last.
    async fn page(&mut self) -> Result<Option<Page>, SourceError>;
    /// Where the pages given out so far end, for another process to go on from; `None` where nobody can.
    fn mark(&self) -> Option<Value> {
        None
    }
    /// Whether one pass gives each key once, however the rows change meanwhile.
    fn gives_each_once(&self) -> bool {
        false
    }
    /// What it told earlier with [`taken`](Reader::taken), before the pages of a pull that is to bring what is new.
    fn recall(&mut self, _taken: &Value) {}
    /// What the next pull of what is new has to know of this one, once its last page is in the lake.
    fn taken(&self) -> Option<Value> {
        None
    }
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
    /// Whether rows come in ascending order of the cursor, and it has been seen that they do.
    fn ascends(&self) -> bool {
        false
    }
}

/// What reading took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Effort {
    pub(crate) requests: u64,
    pub(crate) retries: u64,
}

/// What is asked for: the bounds of a pull, as the source writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// The lower one, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    /// The upper one, for sources that take one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
}

/// How far a pull came whose process ended before its last page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resume {
    /// The place, in the reader's own words.
    mark: Value,
    /// When that pull began, in microseconds, and what the source's clock showed: they fix the upper bound.
    started_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_at: Option<i64>,
    window: Window,
    /// Whether it reads everything, and whether it began with an empty table.
    whole: bool,
    empty: bool,
    /// The greatest cursor value it had seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reached: Option<Reached>,
}

/// A place older than this is forgotten: little is left of the pages it points to.
const RESUMED_WITHIN: TimeDelta = TimeDelta::days(3);

/// What stands in the lake beside the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The greatest cursor value, as the source writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    literal: Option<String>,
    /// What it means: microseconds since 1970, or the number itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<i64>,
    /// Up to when everything had been read when a pull last came to its end, where the source forgets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen_at: Option<i64>,
    /// What it is true for.
    #[serde(default)]
    true_for: String,
    /// When everything was last read to find what is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reconciled_at: Option<i64>,
    /// Where a pull broke off that has not been finished since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resume: Option<Resume>,
    /// What the reader wants to know of earlier pulls, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taken: Option<Value>,
    /// What is known of the fields that rows may leave out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    held: BTreeMap<String, Held>,
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
    /// Rows newly marked as gone.
    pub(crate) deleted: u64,
    /// Bytes of the pages they came in.
    pub(crate) bytes: u64,
    pub(crate) cursor: Option<String>,
    /// What the cursor means, where it is an instant, in microseconds.
    pub(crate) cursor_at: Option<i64>,
    /// What of the source differs from what is declared.
    pub(crate) drift: Option<String>,
}

impl Outcome {
    /// This, and what came after it.
    fn then(self, next: Self) -> Self {
        Self {
            rows: self.rows + next.rows,
            inserted: self.inserted + next.inserted,
            updated: self.updated + next.updated,
            quarantined: self.quarantined + next.quarantined,
            deleted: self.deleted + next.deleted,
            bytes: self.bytes + next.bytes,
            cursor: next.cursor.or(self.cursor),
            cursor_at: next.cursor_at.or(self.cursor_at),
            drift: next.drift.or(self.drift),
        }
    }

    /// Counts rows that were new, and rows that were changed.
    fn wrote(&mut self, (inserted, updated): (u64, u64)) {
        self.inserted += inserted;
        self.updated += updated;
    }

    /// Counts what came in a pass.
    fn came(&mut self, intake: &Intake) {
        self.rows += intake.received;
        self.quarantined += intake.quarantined;
        self.bytes += intake.volume;
    }
}

/// What a pull begins with. Pure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) window: Window,
    /// Whether everything is read, so that what does not come is gone.
    pub(crate) whole: bool,
    /// Whether this pull marks what is gone.
    pub(crate) sweep: bool,
    /// The pull that it goes on with.
    pub(crate) resume: Option<Resume>,
    /// Up to when nothing is missing, where the source has forgotten changes since.
    pub(crate) gap: Option<i64>,
}

/// Decides what to ask for.
pub(crate) fn open(stream: &Stream, state: Option<&State>, now: DateTime<Utc>, full: bool) -> Opening {
    let state = state.filter(|state| state.true_for == stream.fingerprint);
    let fresh = |resume: &&Resume| {
        let age = now.timestamp_micros() - resume.started_at;
        (0..micros(RESUMED_WITHIN)).contains(&age)
    };
    if let Some(resume) = state.and_then(|state| state.resume.as_ref()).filter(fresh)
        && !full
    {
        // What it was due to mark as gone, the next pull marks; from an empty table nothing can be.
        let sweep = resume.whole && resume.empty && matches!(stream.deletes, Seeing::Reconcile { .. });
        return Opening { window: resume.window.clone(), whole: resume.whole, sweep, resume: Some(resume.clone()), gap: None };
    }
    let due = match stream.deletes {
        Seeing::Reconcile { every } => {
            full || state.and_then(|state| state.reconciled_at).is_none_or(|at| at + micros(every.delta()) <= now.timestamp_micros())
        }
        _ => false,
    };
    let Some(cursor) = &stream.cursor else {
        return Opening { window: Window::default(), whole: true, sweep: due, resume: None, gap: None };
    };
    let from = if full || due { None } else { state.and_then(|state| Some((state.literal.as_deref()?, state.at?))) };
    let since = match from {
        Some((literal, at)) => Some(lower(cursor, literal, at)),
        None => cursor.start.clone(),
    };
    let until = cursor.bounded_above.then(|| written(bound(cursor, now, None), cursor.format, Some(now)));
    // Rows older than a start are not asked for, and nothing can be said about them.
    let whole = from.is_none() && !cursor.starts_late;
    let seen = state.and_then(|state| state.at.max(state.seen_at)).filter(|_| !full);
    let gap = seen.filter(|seen| cursor.kept.is_some_and(|kept| now.timestamp_micros() - seen > micros(kept.delta())));
    Opening { window: Window { since, until }, whole, sweep: due && whole, resume: None, gap }
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

/// A cursor value as the source is asked for what comes after it, with all the digits that the format has.
pub(crate) fn exact(cursor: &Cursor, Reached { at, literal }: &Reached) -> String {
    match cursor.format {
        CursorFormat::Unix if cursor.timed => at.div_euclid(1_000_000).to_string(),
        CursorFormat::UnixMs if cursor.timed => at.div_euclid(1000).to_string(),
        CursorFormat::Naive if cursor.timed => {
            DateTime::from_timestamp_micros(*at).unwrap_or(DateTime::UNIX_EPOCH).format("%Y-%m-%dT%H:%M:%S%.f").to_string()
        }
        CursorFormat::Date if cursor.timed => written(*at, CursorFormat::Date, None),
        _ => literal.clone(),
    }
}

/// An instant as a query parameter; rounded down to what the format can say, or up where it is an upper bound.
pub(crate) fn written(at: i64, format: CursorFormat, upper: Option<DateTime<Utc>>) -> String {
    let floor = DateTime::from_timestamp_micros(at).unwrap_or(DateTime::UNIX_EPOCH).trunc_subsecs(0);
    let at = if upper.is_some() && floor.timestamp_micros() < at { floor + TimeDelta::seconds(1) } else { floor };
    match format {
        CursorFormat::Rfc3339 => at.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        CursorFormat::Naive => at.format("%Y-%m-%dT%H:%M:%S").to_string(),
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
    /// The most rows that a page announced: one that a lagging replica serves does not know of all.
    pub(crate) announced: Option<u64>,
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
    if let Some(announced) = pass.announced {
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
fn next_state(stream: &Stream, old: Option<&State>, intake: &Intake, swept: bool, taken: Option<Value>, now: i64) -> Option<State> {
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
    if stream.cursor.as_ref().is_some_and(|cursor| cursor.kept.is_some()) {
        state.seen_at = state.seen_at.max(Some(intake.bound));
    }
    state.resume = None;
    state.taken = taken.or(state.taken);
    state.held.clone_from(&intake.held);
    let reads = state.at.max(state.reconciled_at).max(state.seen_at).is_some() || state.taken.is_some();
    (reads || !state.held.is_empty()).then_some(state)
}

/// Pulls one stream.
pub(crate) async fn pull(
    scene: &Scene,
    stream: &Arc<Stream>,
    reader: Box<dyn Reader>,
    progress: &mut StreamProgress,
) -> (Result<Outcome, SourceError>, Effort) {
    let reader = Arc::new(tokio::sync::Mutex::new(reader));
    let outcome = async {
        let stream = widen::as_it_is(scene, stream).await?;
        match stream.write {
            Write::Merge => merge::merge(scene, stream, &mut **reader.lock().await, progress).await,
            Write::Replace => replace::replace(scene, stream, &reader).await,
        }
    };
    let outcome = outcome.await;
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

/// What stands beside the rows of a stream.
async fn state(scene: &Scene, stream: &Stream) -> Result<Option<State>, SourceError> {
    let found = scene.lake.cursor(&stream.name.table()).await;
    let found = found.map_err(|error| SourceError::Lake { at: stream.name.clone(), error })?;
    Ok(found.and_then(|state| serde_json::from_value(state).ok()))
}

/// `started` is when the rows are pulled, and when the pull began that fixes the upper bound.
fn begin(
    scene: &Scene,
    stream: &Arc<Stream>,
    old: Option<&State>,
    (now, started): (DateTime<Utc>, DateTime<Utc>),
    server: Option<DateTime<Utc>>,
    remembers: bool,
) -> Intake {
    let bound = stream.cursor.as_ref().map_or(i64::MAX, |cursor| bound(cursor, started, server));
    let mut intake = Intake::new(Arc::clone(stream), now.timestamp_micros(), bound, scene.chunk_rows, remembers);
    if let Some(old) = old.filter(|old| old.true_for == stream.fingerprint) {
        intake.held.clone_from(&old.held);
    }
    intake
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
    let commit = Commit { run: Some(scene.run.clone()), ..Commit::default() };
    let written = scene.lake.merge(&stream.name.quarantine(), &key, vec![batch], commit).await;
    written.map(|_| ()).map_err(|error| SourceError::Lake { at: stream.name.clone(), error })
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
        State { literal: Some(literal.to_owned()), at: Some(at), true_for: stream.fingerprint.clone(), ..State::default() }
    }

    fn asks(cursor: &str, literal: &str, full: bool) -> Vec<String> {
        let stream = stream(cursor, "");
        let at = literal.parse::<DateTime<Utc>>().map_or_else(|_| literal.parse().unwrap(), |at| at.timestamp_micros());
        let opening = open(&stream, Some(&state(&stream, literal, at)), NOW.parse().unwrap(), full);
        let Window { since, until } = opening.window;
        [since.map(|since| format!("from={since}")), until.map(|until| format!("to={until}"))].into_iter().flatten().collect()
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
        assert_eq!(asks(&cursor(", format = \"naive\""), at, false), ["from=2026-11-21T23:54:59", "to=2026-11-22T01:00:01"]);
        assert_eq!(asks(&cursor(", format = \"unix\""), at, false), ["from=1795305299", "to=1795309201"]);
        assert_eq!(asks(&cursor(", format = \"unix_ms\""), at, false), ["from=1795305299000", "to=1795309201000"]);
        assert_eq!(asks(&cursor(", format = \"date\""), at, false), ["from=2026-11-21", "to=2026-11-23"]);
        assert_eq!(asks(&cursor(""), at, true), ["to=2026-11-22T01:00:01Z"]);
        assert_eq!(asks(&cursor(", start = \"2024-01-01T00:00:00Z\""), at, true), ["from=2024-01-01T00:00:00Z", "to=2026-11-22T01:00:01Z"]);
        assert_eq!(asks("cursor = { field = \"n\", param = \"after\" }", "417", false), ["from=417"]);
    }

    #[test]
    fn a_cursor_says_nothing_about_other_settings() {
        let stream = stream("cursor = { field = \"at\", param = \"from\" }", "");
        let other = State { true_for: "other".to_owned(), ..state(&stream, "2026-11-21T00:00:00Z", 1) };
        assert!(open(&stream, Some(&other), NOW.parse().unwrap(), false).whole);
        assert!(!open(&stream, Some(&state(&stream, "2026-11-21T00:00:00Z", 1)), NOW.parse().unwrap(), false).whole);
    }

    #[test]
    fn a_start_at_the_very_beginning_leaves_nothing_out() {
        let opening = |start: &str| {
            let cursor = format!("cursor = {{ field = \"at\", param = \"from\", start = \"{start}\" }}");
            open(&stream(&cursor, ""), None, NOW.parse().unwrap(), false)
        };
        assert!(opening("1970-01-01T00:00:00Z").whole && opening("1970-01-01").whole);
        assert!(!opening("2024-01-01T00:00:00Z").whole);
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
            assert!(open(&stream, Some(&state), now, true).sweep, "what reads everything sweeps");
            opening.sweep
        };
        assert_eq!((after(6), after(7)), (false, true));
    }

    #[test]
    fn a_start_at_the_beginning_of_time_is_none_and_full_sweeps_too() {
        let now = NOW.parse().unwrap();
        let opening = |start: &str, full: bool| {
            let cursor = format!("cursor = {{ field = \"at\", param = \"from\", start = \"{start}\" }}");
            let stream = stream(&cursor, "deletes = { reconcile = { every = \"7d\" } }");
            let swept = State {
                reconciled_at: Some(DateTime::parse_from_rfc3339(NOW).unwrap().timestamp_micros()),
                ..state(&stream, "2026-11-21T00:00:00Z", 1)
            };
            let opening = open(&stream, Some(&swept), now, full);
            (opening.whole, opening.sweep, opening.window.since)
        };
        for start in ["1970-01-01T00:00:00Z", "1970-01-01", "1900-01-01"] {
            assert_eq!(opening(start, true), (true, true, Some(start.to_owned())));
            assert!(!opening(start, false).1, "not due yet");
        }
    }

    #[test]
    fn passes_are_judged_by_the_total_where_there_is_one_else_by_rows_that_moved() {
        let pass = Pass { nth: 1, pages: 2, different: 10, announced: None, can_slip: true, moved: false };
        assert_eq!(judge(pass), Verdict::Whole);
        assert_eq!(judge(Pass { moved: true, ..pass }), Verdict::Again);
        assert_eq!(judge(Pass { moved: true, nth: 3, ..pass }), Verdict::Hold);
        assert_eq!(judge(Pass { moved: true, pages: 1, ..pass }), Verdict::Whole);
        assert_eq!(judge(Pass { moved: true, can_slip: false, ..pass }), Verdict::Whole);
        let counted = Pass { announced: Some(10), ..pass };
        assert_eq!(judge(Pass { moved: true, ..counted }), Verdict::Whole);
        assert_eq!(judge(Pass { different: 9, ..counted }), Verdict::Again);
        assert_eq!(judge(Pass { different: 9, nth: 3, ..counted }), Verdict::Short { announced: 10 });
    }
}
