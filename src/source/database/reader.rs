//! Ranges of a table's key, read page by page, beside each other; or one statement, read from end to end.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    mysql, postgres,
    settings::{DatabaseSource, DatabaseStream, Engine},
    sql::{self, Blocks, Range},
};
use crate::{
    secret::Secret,
    source::{
        error::SourceError,
        json::JsonRows,
        pull::{Effort, Reader, Window},
        retry::{self, Next},
        rows::{ArrayColumn, Page, PageRows},
        settings::{Reads, Stream},
        values::{self, Cell},
    },
};

/// Pages read ahead, for each connection.
const AHEAD: usize = 1;
/// A transaction open for longer is worth a word.
const LONG: TimeDelta = TimeDelta::minutes(10);

/// What went wrong between us and the database.
#[derive(Debug)]
pub(super) enum Fault {
    /// It may go better on another connection.
    Passing(String),
    /// The settings are wrong.
    Wrong { reason: String, hint: String },
    /// The program, or the server, does not keep the protocol.
    Broken(String),
    /// Nobody wants the rows any more.
    NobodyListens,
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default().into_owned();
                let reason = database.message().to_owned();
                let hint = match code.as_str() {
                    // PostgreSQL's classes of connection, resource and shutdown troubles; MySQL's lost and refused connections.
                    code if code.starts_with("08")
                        || code.starts_with("53")
                        || code.starts_with("57P")
                        || code == "40001"
                        || code == "70100" =>
                    {
                        return Self::Passing(reason);
                    }
                    "28P01" | "28000" => "check the user and the `password`",
                    "3D000" => "check the database's name in `url`",
                    "42P01" | "42S02" => "check the stream's `table` or `query`",
                    "42703" | "42S22" => {
                        "check the stream's `columns`; `from` names a column that is called something else in the database"
                    }
                    "42501" | "42000" => "check the `query`, and that the user may read the table",
                    _ => "check the stream's settings against the database",
                };
                Self::Wrong { reason, hint: hint.to_owned() }
            }
            sqlx::Error::Tls(cause) => Self::Wrong {
                reason: format!("no encrypted connection: {cause}"),
                hint: "check `tls` and `ca`: the certificate has to be that of the host in `url`".to_owned(),
            },
            sqlx::Error::Io(cause) => Self::Passing(cause.to_string()),
            sqlx::Error::Protocol(reason) => Self::Passing(reason.clone()),
            other => Self::Broken(other.to_string()),
        }
    }
}

/// What a snapshot begins with.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// By what name another connection joins it.
    pub(super) snapshot: Option<String>,
    /// The server's clock, in microseconds.
    pub(super) now: Option<i64>,
    /// Since when its oldest other transaction is open, where we may know.
    pub(super) oldest_writer: Option<i64>,
}

/// What the database says of a stream.
#[derive(Debug, Clone)]
pub(super) struct Described {
    /// The key's columns and their types, as a statement writes them.
    pub(super) key: Vec<(String, String)>,
    /// The zone of a cursor that is kept as a wall-clock time.
    pub(super) local: Option<Tz>,
    /// Whether the database keeps the key unique, in a form that pages can follow.
    pub(super) unique: bool,
}

/// A connection to either.
enum Session {
    Postgres(postgres::Session),
    MySql(mysql::Session),
}

/// What a statement asks for.
#[derive(Debug, Clone)]
enum Shape {
    Postgres(postgres::Shape),
    MySql(mysql::Shape),
}

impl Shape {
    fn list(&self) -> &str {
        match self {
            Self::Postgres(shape) => &shape.list,
            Self::MySql(shape) => &shape.list,
        }
    }
}

impl Session {
    async fn describe(&mut self, stream: &Stream, settings: &DatabaseStream) -> Result<(Shape, Described), Fault> {
        Ok(match self {
            Self::Postgres(session) => {
                let (shape, described) = session.describe(stream, settings).await?;
                (Shape::Postgres(shape), described)
            }
            Self::MySql(session) => {
                let (shape, described) = session.describe(stream, settings).await?;
                (Shape::MySql(shape), described)
            }
        })
    }

    async fn open(&mut self, snapshot: Option<&str>) -> Result<Opened, Fault> {
        match self {
            Self::Postgres(session) => session.open(snapshot).await,
            Self::MySql(session) => session.open(snapshot).await,
        }
    }

    /// The table's blocks, where it can be read block by block.
    async fn blocks(&mut self, settings: &DatabaseStream, parts: u32) -> Result<Option<Blocks>, Fault> {
        match self {
            Self::Postgres(session) => session.blocks(settings, parts).await,
            Self::MySql(_) => Ok(None),
        }
    }

    /// Whether what was read in another snapshot can be gone on with here.
    async fn still(&mut self, settings: &DatabaseStream, file: Option<i64>) -> Result<bool, Fault> {
        match self {
            Self::Postgres(session) => session.still(settings, file).await,
            Self::MySql(_) => Ok(false),
        }
    }

    async fn cuts(&mut self, settings: &DatabaseStream, key: &[(String, String)], parts: u32) -> Result<Vec<Vec<String>>, Fault> {
        match self {
            Self::Postgres(session) => session.cuts(settings, key, parts).await,
            Self::MySql(session) => session.cuts(settings, key, parts).await,
        }
    }

    async fn read(&mut self, statement: &str, shape: &Shape, page: usize, rows: &mut Rows<'_>) -> Result<(), Fault> {
        match (self, shape) {
            (Self::Postgres(session), Shape::Postgres(shape)) => session.read(statement, shape, page, rows).await,
            (Self::MySql(session), Shape::MySql(shape)) => session.read(statement, shape, page, rows).await,
            _ => Err(Fault::Broken("a statement for another database".to_owned())),
        }
    }

    async fn close(self) {
        match self {
            Self::Postgres(session) => session.close().await,
            Self::MySql(session) => session.close().await,
        }
    }
}

/// A page on its way to the law, or why there will be none.
struct Sent {
    range: usize,
    page: Page,
    /// The last key of the page, where pages follow the key; or the block behind it.
    after: Option<Vec<String>>,
    /// Whether the range ends with it.
    last: bool,
}

/// Pages of one stream.
pub(crate) struct DatabaseReader {
    way: Arc<Way>,
    ranges: Vec<Range>,
    /// Whether pages follow the key, or the table's blocks.
    paged: bool,
    /// Where pages follow the table's blocks: those, but for the ranges.
    blocks: Option<Blocks>,
    /// What to ask for once all blocks are read, if they were read in more than one snapshot: the rows that changed since the first.
    changed: Option<Arc<Statements>>,
    server_time: Option<DateTime<Utc>>,
    pages: Option<mpsc::Receiver<Result<Sent, SourceError>>>,
    tasks: JoinSet<Option<Session>>,
}

/// What a connection needs.
struct Way {
    source: DatabaseSource,
    stream: Arc<Stream>,
    settings: DatabaseStream,
    password: Option<Secret>,
    root: PathBuf,
    run: String,
    requests: AtomicU64,
    retries: AtomicU64,
    zero_dates: AtomicU64,
    /// Whether rows come that came before. Where blocks are read in more than one snapshot, a row that changed in between moves to another
    /// block, and may come twice or not at all until what changed is asked for.
    moved: AtomicBool,
}

impl DatabaseReader {
    /// A reader of a stream, with the secrets of the project in `root`.
    pub(crate) fn new(source: &DatabaseSource, stream: Arc<Stream>, root: &Path, run: &str) -> Result<Self, SourceError> {
        let Reads::Database(settings) = &stream.reads else {
            return Err(SourceError::Broken { at: stream.name.clone(), reason: "something else was asked of a database".to_owned() });
        };
        let settings = (**settings).clone();
        let password = source.password.as_ref().map(|password| password.resolve(root)).transpose();
        let password = password.map_err(|error| SourceError::Secret { at: stream.name.clone(), error })?;
        let counter = AtomicU64::default;
        let way = Way {
            source: source.clone(),
            stream,
            settings,
            password,
            root: root.to_owned(),
            run: run.to_owned(),
            requests: counter(),
            retries: counter(),
            zero_dates: counter(),
            moved: AtomicBool::new(false),
        };
        Ok(Self {
            way: Arc::new(way),
            ranges: vec![],
            paged: false,
            blocks: None,
            changed: None,
            server_time: None,
            pages: None,
            tasks: JoinSet::new(),
        })
    }

    /// Sets connections to the ranges that are left.
    fn read(&mut self, statements: &Arc<Statements>, snapshot: Option<Arc<str>>, mut first: Option<Session>) {
        let left: VecDeque<(usize, Range)> = self.ranges.iter().cloned().enumerate().filter(|(_, range)| !range.done).collect();
        let connections = left.len().min(usize::try_from(self.way.source.connections).unwrap_or(1)).max(1);
        let (sender, pages) = mpsc::channel(AHEAD * connections);
        self.pages = Some(pages);
        let left = Arc::new(Mutex::new(left));
        for _ in 0..connections {
            let worker = Worker {
                way: Arc::clone(&self.way),
                statements: Arc::clone(statements),
                left: Arc::clone(&left),
                snapshot: snapshot.clone(),
                sender: sender.clone(),
                session: first.take(),
            };
            self.tasks.spawn(worker.run());
        }
    }
}

#[async_trait]
impl Reader for DatabaseReader {
    async fn start(&mut self, window: &Window, mark: Option<&Value>) -> Result<(), SourceError> {
        self.tasks.abort_all();
        let way = Arc::clone(&self.way);
        let (session, opened, shape, described, plan) = match window.since.is_some() && way.stream.cursor.is_some() {
            true => way.patiently(async |way: &Way| way.begin(false).await).await?,
            false => way.patiently(async |way: &Way| way.begin(true).await).await?,
        };
        let instant = |at: Option<i64>| at.and_then(DateTime::from_timestamp_micros);
        let (now, oldest) = (instant(opened.now), instant(opened.oldest_writer));
        if let (Some(now), Some(oldest)) = (now, oldest)
            && now - oldest > LONG
        {
            tracing::warn!(stream = %way.stream.name, since = %oldest, "a transaction has been open at the database for long; the cursor stops at its beginning");
        }
        self.server_time = [now, oldest].into_iter().flatten().min();
        let engine = way.source.engine;
        let mut conditions = Vec::new();
        if let (Some(since), Some(cursor)) = (&window.since, &way.stream.cursor) {
            let column = &way.stream.columns.list[cursor.column];
            let condition = sql::since(engine, column, described.local, since)
                .map_err(|reason| way.error(Fault::Wrong { reason, hint: "correct the cursor's `start`".to_owned() }))?;
            conditions.push(condition);
        }
        self.paged = described.unique && conditions.is_empty();
        // Blocks are gone on with in another snapshot, while they lie where they lay.
        let file = if let Plan::Blocks(blocks) = &plan { Some(blocks.file) } else { None };
        let kept =
            mark.filter(|_| self.paged).and_then(|mark| serde_json::from_value::<Plan>(mark.clone()).ok()).filter(|kept| match kept {
                Plan::Keys(ranges) => !ranges.is_empty(),
                Plan::Blocks(blocks) => Some(blocks.file) == file,
            });
        // Where a mark says nothing any more, all comes again, also what a mark by keys would have left out.
        way.moved.store(mark.is_some() && !matches!(kept, Some(Plan::Keys(_))), Ordering::Relaxed);
        (self.ranges, self.blocks) = match kept.unwrap_or(plan) {
            Plan::Blocks(mut blocks) if self.paged => (std::mem::take(&mut blocks.ranges), Some(blocks)),
            Plan::Keys(ranges) if self.paged => (ranges, None),
            _ => (vec![Range::default()], None),
        };
        self.changed = self.blocks.as_ref().map(|blocks| {
            let conditions = vec![sql::written_since(&blocks.since)];
            Arc::new(Statements {
                shape: shape.clone(),
                described: described.clone(),
                conditions,
                paged: false,
                blocks: None,
                repeats: true,
            })
        });
        let blocks = self.blocks.as_ref().map(|blocks| (blocks.file, blocks.step));
        let statements = Arc::new(Statements { shape, described, conditions, paged: self.paged, blocks, repeats: false });
        self.read(&statements, opened.snapshot.map(Arc::from), Some(session));
        Ok(())
    }

    async fn page(&mut self) -> Result<Option<Page>, SourceError> {
        loop {
            let Some(pages) = &mut self.pages else { return Ok(None) };
            if let Some(Sent { range, page, after, last }) = pages.recv().await.transpose()? {
                if let Some(range) = self.ranges.get_mut(range) {
                    range.done = last;
                    range.after = after.or_else(|| range.after.take());
                }
                return Ok(Some(page));
            }
            // A worker that died without a word must not look like the end.
            while let Some(done) = self.tasks.join_next().await {
                let session = done.map_err(|error| SourceError::Broken { at: self.way.stream.name.clone(), reason: error.to_string() })?;
                if let Some(session) = session {
                    session.close().await;
                }
            }
            if self.ranges.iter().any(|range| !range.done) {
                let reason = "a range of the table was not read to its end".to_owned();
                return Err(SourceError::Broken { at: self.way.stream.name.clone(), reason });
            }
            if let Some(statements) = self.changed.take().filter(|_| self.way.moved.load(Ordering::Relaxed)) {
                self.ranges.push(Range::default());
                self.read(&statements, None, None);
                continue;
            }
            let zeros = self.way.zero_dates.swap(0, Ordering::Relaxed);
            if zeros > 0 {
                tracing::warn!(stream = %self.way.stream.name, zeros, "zero dates became null");
            }
            return Ok(None);
        }
    }

    fn mark(&self) -> Option<Value> {
        let ranges = self.ranges.clone();
        let plan = match &self.blocks {
            // Of what is asked for at the end, nothing can be gone on with.
            Some(blocks) => {
                Plan::Blocks(Blocks { ranges: ranges.into_iter().filter(|range| range.to.is_some()).collect(), ..blocks.clone() })
            }
            None => Plan::Keys(ranges),
        };
        self.paged.then(|| serde_json::to_value(plan).ok()).flatten()
    }

    fn gives_each_once(&self) -> bool {
        self.paged && !self.way.moved.load(Ordering::Relaxed)
    }

    fn effort(&self) -> Effort {
        Effort { requests: self.way.requests.load(Ordering::Relaxed), retries: self.way.retries.load(Ordering::Relaxed) }
    }

    fn server_time(&self) -> Option<DateTime<Utc>> {
        self.server_time
    }
}

/// In what parts a table is read.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Plan {
    /// Ranges of its key.
    Keys(Vec<Range>),
    /// Ranges of its blocks.
    Blocks(Blocks),
}

/// The ranges between the cuts.
fn ranges(cuts: Vec<Vec<String>>) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut after = None;
    for cut in cuts {
        ranges.push(Range { after: after.replace(cut.clone()), to: Some(cut), done: false });
    }
    ranges.push(Range { after, to: None, done: false });
    ranges
}

impl Way {
    async fn connect(&self) -> Result<Session, Fault> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let password = self.password.as_ref();
        Ok(match self.source.engine {
            Engine::Postgres => Session::Postgres(postgres::Session::connect(&self.source, password, &self.root).await?),
            Engine::MySql => Session::MySql(mysql::Session::connect(&self.source, password, &self.root).await?),
        })
    }

    /// A snapshot, what the stream is in it, and, where its whole table is wanted, in what parts that is read.
    async fn begin(&self, whole: bool) -> Result<(Session, Opened, Shape, Described, Plan), Fault> {
        let mut session = self.connect().await?;
        let opened = session.open(None).await?;
        let (shape, described) = session.describe(&self.stream, &self.settings).await?;
        let parts = self.source.connections;
        if !described.unique || !whole {
            return Ok((session, opened, shape, described, Plan::Keys(ranges(vec![]))));
        }
        // By blocks the server reads its disk from front to back, whatever the key is.
        if let Some(blocks) = session.blocks(&self.settings, parts).await? {
            return Ok((session, opened, shape, described, Plan::Blocks(blocks)));
        }
        let cuts = session.cuts(&self.settings, &described.key, parts).await?;
        Ok((session, opened, shape, described, Plan::Keys(ranges(cuts))))
    }

    /// Tries again while there is hope.
    async fn patiently<T>(&self, what: impl AsyncFn(&Self) -> Result<T, Fault>) -> Result<T, SourceError> {
        let mut patience = Patience::default();
        loop {
            match what(self).await {
                Ok(done) => return Ok(done),
                Err(fault) => patience.wait(self, fault).await?,
            }
        }
    }

    fn error(&self, fault: Fault) -> SourceError {
        let at = self.stream.name.clone();
        match fault {
            Fault::Passing(reason) => SourceError::Database {
                at,
                reason: format!("the database did not answer: {reason}"),
                hint: "see whether it is up and lets this machine in, then run the command again".to_owned(),
            },
            Fault::Wrong { reason, hint } => SourceError::Database { at, reason, hint },
            Fault::Broken(reason) => SourceError::Broken { at, reason },
            Fault::NobodyListens => SourceError::Broken { at, reason: "the pull was given up".to_owned() },
        }
    }
}

/// How often and how long one thing has been waited for.
#[derive(Debug, Default)]
struct Patience {
    attempt: u32,
    waited: std::time::Duration,
}

impl Patience {
    /// Waits before the next attempt; `Err` where there is no hope.
    async fn wait(&mut self, way: &Way, fault: Fault) -> Result<(), SourceError> {
        let Fault::Passing(reason) = fault else { return Err(way.error(fault)) };
        self.attempt += 1;
        let dice = retry::jitter(&format!("{}{}", way.run, way.stream.name), self.attempt);
        match way.source.retry.next(self.attempt, self.waited, None, dice) {
            Next::Wait(wait) => {
                tracing::info!(stream = %way.stream.name, reason, attempt = self.attempt, "the connection was lost; trying again");
                way.retries.fetch_add(1, Ordering::Relaxed);
                self.waited += wait;
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Next::GiveUp | Next::TooLong(_) => Err(way.error(Fault::Passing(reason))),
        }
    }
}

/// What the statements of a pull have in common.
struct Statements {
    shape: Shape,
    described: Described,
    conditions: Vec<String>,
    paged: bool,
    blocks: Option<(i64, u32)>,
    /// Whether a statement that is not paged may begin anew, for its rows may come again.
    repeats: bool,
}

/// One connection and what it reads.
struct Worker {
    way: Arc<Way>,
    statements: Arc<Statements>,
    left: Arc<Mutex<VecDeque<(usize, Range)>>>,
    snapshot: Option<Arc<str>>,
    sender: mpsc::Sender<Result<Sent, SourceError>>,
    session: Option<Session>,
}

impl Worker {
    /// Reads ranges while there are any. Its connection stays open until all have come to their end: others join its snapshot.
    async fn run(mut self) -> Option<Session> {
        loop {
            let next = self.left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((number, range)) = next else { break };
            if let Err(error) = self.range(number, range).await {
                // Where nobody listens any more, nobody needs the error either.
                let _ = self.sender.send(Err(error)).await;
                return None;
            }
        }
        self.session.take()
    }

    /// Reads one range to its end, over as many connections as it takes.
    async fn range(&mut self, number: usize, mut range: Range) -> Result<(), SourceError> {
        let mut patience = Patience::default();
        loop {
            let begun = range.after.clone();
            match self.pages(number, &mut range).await {
                Ok(()) => return Ok(()),
                Err(Fault::NobodyListens) => return Ok(()),
                Err(fault) => {
                    self.session = None;
                    // Another snapshot: what changed since is above the upper bound and comes with the next pull.
                    self.snapshot = None;
                    self.way.moved.fetch_or(self.statements.blocks.is_some(), Ordering::Relaxed);
                    if range.after != begun {
                        patience = Patience::default();
                    }
                    if !self.statements.paged && !self.statements.repeats {
                        return Err(self.way.error(fault));
                    }
                    patience.wait(&self.way, fault).await?;
                }
            }
        }
    }

    async fn pages(&mut self, number: usize, range: &mut Range) -> Result<(), Fault> {
        let way = Arc::clone(&self.way);
        let statements = Arc::clone(&self.statements);
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                let mut session = way.connect().await?;
                session.open(self.snapshot.as_deref()).await?;
                let file = statements.blocks.map(|(file, _)| file);
                if (file.is_some() || statements.repeats) && !session.still(&way.settings, file).await? {
                    return Err(Fault::Wrong {
                        reason: "the table was written anew on the server's disk while it was read, or another server answers".to_owned(),
                        hint: "run the command again: the table is then read from its beginning".to_owned(),
                    });
                }
                session
            }
        };
        let base = sql::base(way.source.engine, &way.settings);
        let key = sql::key_names(way.source.engine, &way.stream);
        let page = usize::try_from(way.settings.page_rows).unwrap_or(usize::MAX);
        while !range.done {
            let mut conditions = statements.conditions.clone();
            // Pages by key are limited, those of blocks are as long as they are; either comes whole.
            let (mut ends, mut limit, mut whole) = (None, None, page);
            if let Some((_, step)) = statements.blocks {
                let (blocks, last) = Blocks::next(step, range);
                conditions.push(sql::lies_in(&blocks));
                (ends, whole) = (Some((vec![blocks.end.to_string()], last)), usize::MAX);
            } else if statements.paged {
                let compare = |values: &Vec<String>, above| sql::beyond(way.source.engine, &statements.described.key, values, above);
                conditions.extend(range.after.as_ref().map(|after| compare(after, true)));
                conditions.extend(range.to.as_ref().map(|to| compare(to, false)));
                (limit, whole) = (Some((key.as_slice(), way.settings.page_rows)), page + 1);
            }
            let statement = sql::select(statements.shape.list(), &base, &conditions, limit);
            way.requests.fetch_add(1, Ordering::Relaxed);
            let mut rows =
                Rows { way: &way, number, range: &mut *range, sender: &self.sender, paged: statements.paged, ends, handed_on: 0 };
            // A statement's end is a range's end where it is not one page of many.
            session.read(&statement, &statements.shape, whole, &mut rows).await?;
            if !statements.paged {
                rows.end().await?;
            }
        }
        self.session = Some(session);
        Ok(())
    }
}

/// Where a connection's rows go.
pub(super) struct Rows<'a> {
    way: &'a Way,
    number: usize,
    range: &'a mut Range,
    sender: &'a mpsc::Sender<Result<Sent, SourceError>>,
    paged: bool,
    /// The block behind the page, and whether that is the range's end, where pages follow blocks.
    ends: Option<(Vec<String>, bool)>,
    handed_on: u64,
}

impl Rows<'_> {
    /// Hands on some rows; those of a page by key come all at once.
    pub(super) async fn page(&mut self, rows: usize, columns: Vec<ArrayColumn>, bytes: usize) -> Result<(), Fault> {
        let (after, last) = match self.ends.take() {
            Some((end, last)) => (Some(end), last),
            None => {
                let after = (self.paged && rows > 0).then(|| self.last_key(rows, &columns)).transpose()?;
                (after, self.paged && rows < usize::try_from(self.way.settings.page_rows).unwrap_or(usize::MAX))
            }
        };
        self.handed_on += rows as u64;
        let name = self.way.settings.table.as_deref().unwrap_or("the query");
        let page = Page { rows: PageRows::Arrays { file: name.into(), rows, columns }, announced: None, bytes };
        self.send(Sent { range: self.number, page, after, last }).await
    }

    /// The statement was the whole range.
    async fn end(&mut self) -> Result<(), Fault> {
        let page = Page { rows: PageRows::Json(JsonRows::default()), announced: None, bytes: 0 };
        self.send(Sent { range: self.number, page, after: None, last: true }).await
    }

    async fn send(&mut self, sent: Sent) -> Result<(), Fault> {
        let (after, last) = (sent.after.clone(), sent.last);
        self.sender.send(Ok(sent)).await.map_err(|_| Fault::NobodyListens)?;
        self.range.after = after.or_else(|| self.range.after.take());
        self.range.done = last;
        Ok(())
    }

    /// Zero dates that became null.
    pub(super) fn zero_dates(&self, count: u64) {
        self.way.zero_dates.fetch_add(count, Ordering::Relaxed);
    }

    fn last_key(&self, rows: usize, columns: &[ArrayColumn]) -> Result<Vec<String>, Fault> {
        let part = |position: &usize| {
            let column = &columns[*position];
            match values::from_array(&column.array, rows - 1) {
                Cell::Text(text) => Ok(text.into_owned()),
                Cell::Integer(number) => Ok(number.to_string()),
                _ => {
                    let name = &self.way.stream.columns.list[*position].name;
                    let why = column.misfits.get(&(rows - 1)).map_or("is missing", |misfit| misfit.reason.as_str());
                    Err(Fault::Wrong {
                        reason: format!("the key `{name}` of a row {why}"),
                        hint: "declare the key's columns with types that fit all of their values".to_owned(),
                    })
                }
            }
        };
        self.way.stream.key.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_each_other_without_a_gap() {
        let key = |text: &str| Some(vec![text.to_owned()]);
        let range = |after, to| Range { after, to, done: false };
        assert_eq!(ranges(vec![]), [range(None, None)]);
        assert_eq!(
            ranges(vec![vec!["b".to_owned()], vec!["d".to_owned()]]),
            [range(None, key("b")), range(key("b"), key("d")), range(key("d"), None)]
        );
    }
}
