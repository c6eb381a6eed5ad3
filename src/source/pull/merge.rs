//! Rows merged by key, in chunks, and going on where a crash left it.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{array::RecordBatch, error::ArrowError};
use chrono::{DateTime, Utc};
use futures::{FutureExt, TryFutureExt, TryStreamExt, future::BoxFuture};
use serde_json::Value;

use super::{
    Deletions, Opening, Outcome, Pass, Reader, Resume, Scene, State, Verdict, begin, events, exact, judge, next_state, open, prepare,
    set_aside, state, widen,
};
use crate::{
    lake::{Appending, Commit, LakeError, Newest, Written},
    source::{
        columns::{PULLED_AT, Type},
        error::SourceError,
        intake::{Intake, Reached},
        progress::StreamProgress,
        settings::Stream,
    },
};

/// Pulls a stream whose rows are merged by key.
pub(super) async fn merge(
    scene: &Scene,
    mut stream: Arc<Stream>,
    reader: &mut dyn Reader,
    progress: &mut StreamProgress,
) -> Result<Outcome, SourceError> {
    let table = stream.name.table();
    prepare(scene, &stream).await?;
    let now = scene.clock.now();
    let mut old = state(scene, &stream).await?;
    let rows = scene.lake.rows(&table).await.map_err(|error| SourceError::Lake { at: stream.name.clone(), error })?;
    let mut empty = rows == 0;
    let deletions = events::listed(scene, &stream).await?;
    let mut before = Outcome::default();
    if let Some(deletions) = &deletions {
        before.deleted = events::mark(scene, &stream, deletions).await?;
    }
    // Whether a pull that had broken off has been brought to its end.
    let mut ended = false;
    loop {
        let opening = open(&stream, old.as_ref(), now, scene.full);
        if ended && opening.whole {
            return Ok(before);
        }
        let goes_on = opening.resume.is_some();
        let kept = stream.cursor.as_ref().and_then(|cursor| cursor.kept);
        if let Some((seen, kept)) = opening.gap.and_then(DateTime::from_timestamp_micros).zip(kept) {
            let seen = seen.format("%Y-%m-%d %H:%M UTC").to_string();
            return Err(SourceError::Gap { at: stream.name.clone(), seen, kept });
        }
        match (&opening.resume, &opening.window.since) {
            (Some(_), _) => tracing::info!(stream = %stream.name, "goes on where the last pull broke off"),
            (None, Some(since)) => tracing::info!(stream = %stream.name, since, "pulls what changed"),
            (None, None) => tracing::info!(stream = %stream.name, "pulls everything"),
        }
        let nothing = opening.resume.as_ref().map_or(empty, |resume| resume.empty);
        let merging = Merging { scene, stream: &stream, opening, old, empty: nothing, deletions: deletions.clone(), now };
        let mut writing = Writing::default();
        let ran = merging.run(reader, progress, &mut writing).await;
        // What is under way comes to its end, also where reading has failed.
        let written = writing.end().await;
        let mut ran = ran?;
        if let Ran::Through(outcome) | Ran::Narrow(_, outcome) | Ran::Spent(_, outcome) = &mut ran {
            outcome.wrote(written?);
        }
        match ran {
            Ran::Through(outcome) => {
                before = before.then(outcome);
                if !goes_on {
                    return Ok(before);
                }
                // What changed meanwhile behind the place it went on from is asked for at once, where a cursor can ask for it alone.
                ended = true;
                empty = false;
                old = state(scene, &stream).await?;
            }
            Ran::Spent(_, outcome) if ended => return Ok(before.then(outcome)),
            Ran::Spent(error, _) => return Err(error),
            Ran::Narrow(wider, outcome) => {
                before.wrote((outcome.inserted, outcome.updated));
                empty &= outcome.inserted == 0;
                stream = widen::widen(scene, &stream, &wider).await?;
                old = state(scene, &stream).await?;
            }
            Ran::Lost => {
                tracing::info!(stream = %stream.name, "the source no longer knows where the last pull broke off; reading from the beginning");
                old = merging.old.map(|old| State { resume: None, ..old });
            }
        }
    }
}

/// How far reading came.
enum Ran {
    /// To the last page.
    Through(Outcome),
    /// To a page that needs wider types for the columns at these positions; what was written until then stands.
    Narrow(BTreeMap<usize, Type>, Outcome),
    /// To where the source's budget was used up.
    Spent(SourceError, Outcome),
    /// Nowhere: the source no longer knows the place to go on from.
    Lost,
}

/// A pull that merges, with what was decided before its first page.
struct Merging<'a> {
    scene: &'a Scene,
    stream: &'a Arc<Stream>,
    opening: Opening,
    old: Option<State>,
    /// Whether the table held nothing when the pull began.
    empty: bool,
    /// What another stream lists as deleted.
    deletions: Option<Arc<Deletions>>,
    now: DateTime<Utc>,
}

impl Merging<'_> {
    async fn run(&self, reader: &mut dyn Reader, progress: &mut StreamProgress, writing: &mut Writing) -> Result<Ran, SourceError> {
        let Self { scene, stream, opening, .. } = self;
        let pulled_at = self.now.timestamp_micros();
        // From an empty table nothing can be gone.
        let sweep = opening.sweep && !self.empty;
        let mut outcome = Outcome::default();
        let mut nth = 0;
        // What came in earlier passes is not gone, although a replica that lags may leave it out of the last one.
        let mut earlier: Vec<Intake> = Vec::new();
        // Below it everything has come in an earlier pass.
        let mut whole_below: Option<Reached> = None;
        let old = self.old.as_ref().filter(|old| old.true_for == stream.fingerprint && !scene.full);
        if let Some(taken) = old.and_then(|old| old.taken.as_ref()) {
            reader.recall(taken);
        }
        let (mut intake, hold) = loop {
            nth += 1;
            let resume = opening.resume.as_ref().filter(|_| nth == 1);
            let mut window = opening.window.clone();
            if let Some((cursor, below)) = stream.cursor.as_ref().zip(whole_below.as_ref()) {
                window.since = Some(exact(cursor, below));
            }
            let begun = |reader: &dyn Reader, remembers| {
                let mut intake = self.intake(reader, resume, remembers);
                intake.reached = whole_below.clone().or(intake.reached);
                intake
            };
            reader.start(&window, resume.map(|resume| &resume.mark)).await?;
            let mut intake: Option<Intake> = None;
            loop {
                let page = match writing.beside(reader.page()).await? {
                    Ok(Some(page)) => page,
                    Ok(None) => break,
                    Err(error) if resume.is_some() && intake.is_none() && error.is_refusal() => return Ok(Ran::Lost),
                    Err(SourceError::Budget { at, spent, .. }) => {
                        let goes_on = match &mut intake {
                            Some(intake) => {
                                outcome.came(intake);
                                self.so_far(reader, intake, sweep, nth, writing).await?
                            }
                            None => resume.is_some(),
                        };
                        return Ok(Ran::Spent(SourceError::Budget { at, spent, goes_on }, outcome));
                    }
                    Err(error) => return Err(error),
                };
                let intake = intake.get_or_insert_with(|| begun(&*reader, sweep || page.announced.is_some() || reader.can_slip()));
                intake.take(&page)?;
                if !intake.wider.is_empty() {
                    return Ok(Ran::Narrow(std::mem::take(&mut intake.wider), outcome));
                }
                progress.page(intake.received, page.announced);
                let appends = self.appends(reader, nth);
                if appends {
                    for batch in intake.drain().map_err(|error| self.broken(&error))? {
                        writing.append(scene, stream, batch).await?;
                    }
                }
                if intake.is_full(appends) {
                    self.so_far(reader, intake, sweep, nth, writing).await?;
                }
            }
            let mut intake = intake.unwrap_or_else(|| begun(&*reader, sweep));
            let verdict = judge(Pass {
                nth,
                pages: intake.pages,
                different: intake.different(),
                announced: intake.announced,
                can_slip: reader.can_slip(),
                moved: intake.moved.is_some(),
            });
            // A sweep has to see every row in one pass.
            let below = intake.whole_below().filter(|_| reader.ascends() && !sweep);
            match verdict {
                Verdict::Whole => break (intake, false),
                Verdict::Again => {
                    let from = below.as_ref().map(|below| below.literal.as_str()).unwrap_or_default();
                    tracing::info!(stream = %stream.name, pass = nth, from, "rows changed while they were read; reading them again");
                    // The next pass may be served by a replica that does not know of them yet.
                    self.so_far(reader, &mut intake, sweep, nth, writing).await?;
                    if below.is_some() {
                        // What lies below does not come again.
                        outcome.came(&intake);
                    }
                    whole_below = below;
                    if sweep {
                        earlier.push(intake);
                    }
                }
                Verdict::Hold if below.is_some() => {
                    tracing::warn!(stream = %stream.name, "rows kept changing while they were read; they are kept, and the next pull begins at the first of them");
                    intake.reached = below;
                    break (intake, false);
                }
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
        let mut rows = intake.chunk();
        if sweep && !hold {
            // Before the last rows are told from those that are gone, the others have to be there.
            outcome.wrote(writing.end().await?);
            let marked = gone(scene, stream, (&intake, &earlier), pulled_at).await?;
            outcome.deleted = marked.iter().map(|rows| rows.num_rows() as u64).sum();
            rows = rows.map(|rows| rows.into_iter().chain(marked).collect());
        }
        let state = match hold {
            true => self.old.clone(),
            false => next_state(stream, self.old.as_ref(), &intake, opening.sweep, reader.taken(), pulled_at),
        };
        if writing.open.is_some() || !matches!(&rows, Ok(rows) if rows.is_empty()) || state != self.old {
            self.write(self.appends(reader, nth), rows, state.clone().filter(|_| !hold), writing).await?;
        }
        outcome.wrote(writing.end().await?);
        outcome.came(&intake);
        outcome.drift = intake.drift();
        // Marking is no news of the rows.
        outcome.updated = outcome.updated.saturating_sub(outcome.deleted);
        if let Some(state) = state {
            outcome.cursor = state.literal;
            outcome.cursor_at = state.at.filter(|_| stream.cursor.as_ref().is_some_and(|cursor| cursor.timed));
        }
        Ok(Ran::Through(outcome))
    }

    /// Commits what has come, with the place to go on from where there is one; says whether there is.
    async fn so_far(
        &self,
        reader: &mut dyn Reader,
        intake: &mut Intake,
        sweep: bool,
        nth: u32,
        writing: &mut Writing,
    ) -> Result<bool, SourceError> {
        set_aside(self.scene, self.stream, intake, self.now.timestamp_micros()).await?;
        let resumable = !sweep && intake.announced.is_none() && !reader.can_slip();
        let place = reader.mark().filter(|_| resumable).map(|mark| self.broken_off(mark, intake, &*reader));
        let goes_on = place.is_some();
        self.write(self.appends(reader, nth), intake.chunk(), place, writing).await?;
        Ok(goes_on)
    }

    fn intake(&self, reader: &dyn Reader, resume: Option<&Resume>, remembers: bool) -> Intake {
        let micros = |at: i64| DateTime::from_timestamp_micros(at);
        let started = resume.and_then(|resume| micros(resume.started_at)).unwrap_or(self.now);
        let server = match resume {
            Some(resume) => resume.server_at.and_then(micros),
            None => reader.server_time(),
        };
        let mut intake = begin(self.scene, self.stream, self.old.as_ref(), (self.now, started), server, remembers);
        intake.each_once = reader.gives_each_once();
        if self.empty {
            intake.begins_small();
        }
        intake.deletions.clone_from(&self.deletions);
        intake.reached = resume.and_then(|resume| resume.reached.clone());
        intake
    }

    /// The state of a pull that has come to `mark` and not to its end: the cursor stays, the place is kept.
    fn broken_off(&self, mark: Value, intake: &Intake, reader: &dyn Reader) -> State {
        let before = self.opening.resume.as_ref();
        let resume = Resume {
            mark,
            started_at: before.map_or(self.now.timestamp_micros(), |resume| resume.started_at),
            server_at: before.map_or_else(|| reader.server_time().map(|at| at.timestamp_micros()), |resume| resume.server_at),
            window: self.opening.window.clone(),
            whole: self.opening.whole,
            empty: self.empty,
            reached: intake.reached.clone(),
        };
        let old = self.old.clone().filter(|old| old.true_for == self.stream.fingerprint).unwrap_or_default();
        State { true_for: self.stream.fingerprint.clone(), resume: Some(resume), ..old }
    }

    /// Whether nothing needs to be looked up: the table was empty, and each key comes once.
    fn appends(&self, reader: &dyn Reader, nth: u32) -> bool {
        self.empty && reader.gives_each_once() && nth == 1
    }

    fn broken(&self, error: &ArrowError) -> SourceError {
        SourceError::Broken { at: self.stream.name.clone(), reason: error.to_string() }
    }

    /// Rows and state in one commit, while reading goes on.
    async fn write(
        &self,
        appends: bool,
        rows: Result<Vec<RecordBatch>, ArrowError>,
        state: Option<State>,
        writing: &mut Writing,
    ) -> Result<(), SourceError> {
        let (lake, stream) = (self.scene.lake.clone(), Arc::clone(self.stream));
        let rows = rows.map_err(|error| self.broken(&error))?;
        let cursor = state.and_then(|state| serde_json::to_value(state).ok());
        let newest = stream
            .cursor
            .as_ref()
            .map(|cursor| Newest { by: stream.columns.list[cursor.column].name.clone(), among: PULLED_AT.to_owned() });
        let commit = Commit { run: Some(self.scene.run.clone()), cursor, newest, ..Commit::default() };
        if appends {
            for batch in rows {
                writing.append(self.scene, &stream, batch).await?;
            }
            if let Some(open) = writing.open.take() {
                open.commit(commit);
                return Ok(());
            }
            return writing.begin(async move { told(&stream, lake.note(&stream.name.table(), commit).await) }).await;
        }
        // What was appended before keys began to come again stands, without a place to go on from yet.
        if let Some(open) = writing.open.take() {
            open.commit(Commit { cursor: None, ..commit.clone() });
        }
        writing.begin(async move { told(&stream, lake.merge(&stream.name.table(), &stream.key_names(), rows, commit).await) }).await
    }
}

fn told(stream: &Stream, written: Result<Written, LakeError>) -> Result<Option<Written>, SourceError> {
    written.map(Some).map_err(|error| SourceError::Lake { at: stream.name.clone(), error })
}

/// One commit under way, and what the ones before it wrote. It goes on while [`beside`](Writing::beside) waits for something else, and
/// ends where the pull is dropped.
#[derive(Default)]
struct Writing {
    commit: Option<BoxFuture<'static, Result<Option<Written>, SourceError>>>,
    /// Where rows go that are written as they come.
    open: Option<Appending>,
    inserted: u64,
    updated: u64,
}

impl Writing {
    /// Begins a commit when the one before is done: they follow each other as the rows do.
    async fn begin(
        &mut self,
        commit: impl Future<Output = Result<Option<Written>, SourceError>> + Send + 'static,
    ) -> Result<(), SourceError> {
        self.join().await?;
        self.commit = Some(commit.boxed());
        Ok(())
    }

    /// Writes rows that come once, behind all others. They stand in the table when a commit follows.
    async fn append(&mut self, scene: &Scene, stream: &Arc<Stream>, rows: RecordBatch) -> Result<(), SourceError> {
        if self.open.is_none() {
            self.join().await?;
            let (open, written) = scene.lake.append(&stream.name.table());
            let name = stream.name.clone();
            self.commit = Some(written.map_err(|error| SourceError::Lake { at: name, error }).boxed());
            self.open = Some(open);
        }
        if let Some(sender) = self.open.as_ref().map(Appending::rows)
            && self.beside(sender.send(rows)).await?.is_err()
        {
            // Nobody takes them: writing has failed, and says why.
            self.join().await?;
        }
        Ok(())
    }

    /// Waits for a page, or whatever else it may be, while the commit goes on.
    async fn beside<T>(&mut self, other: impl Future<Output = T>) -> Result<T, SourceError> {
        tokio::pin!(other);
        if let Some(commit) = &mut self.commit {
            tokio::select! {
                biased;
                written = commit => {
                    self.commit = None;
                    self.count(written?);
                }
                value = &mut other => return Ok(value),
            }
        }
        Ok(other.await)
    }

    /// Waits for the commit under way. What was appended and not committed is given up.
    async fn join(&mut self) -> Result<(), SourceError> {
        self.open = None;
        if let Some(commit) = self.commit.take() {
            self.count(commit.await?);
        }
        Ok(())
    }

    fn count(&mut self, written: Option<Written>) {
        self.inserted += written.map_or(0, |written| written.inserted);
        self.updated += written.map_or(0, |written| written.updated);
    }

    /// Waits for the last one; how many rows were new and changed in all of them since this was last asked.
    async fn end(&mut self) -> Result<(u64, u64), SourceError> {
        self.join().await?;
        Ok((std::mem::take(&mut self.inserted), std::mem::take(&mut self.updated)))
    }
}

/// The rows of the table that did not come although everything was read, marked as deleted now.
async fn gone(scene: &Scene, stream: &Stream, (intake, earlier): (&Intake, &[Intake]), now: i64) -> Result<Vec<RecordBatch>, SourceError> {
    let broken = |error: ArrowError| SourceError::Broken { at: stream.name.clone(), reason: error.to_string() };
    let failed = |error: LakeError| SourceError::Lake { at: stream.name.clone(), error };
    let mut marked = Vec::new();
    let mut batches = scene.lake.batches(&stream.name.table(), None, None).await.map_err(failed)?;
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        let came = |key| intake.has(key) || earlier.iter().any(|intake| intake.has(key));
        marked.extend(events::marked(stream, &batch, |key, _| (!came(key)).then_some(now)).map_err(broken)?);
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
