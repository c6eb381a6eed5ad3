//! Connections to the ledger's file that write.
//!
//! Their statements run where they are called. A turn of a delivery has some hundreds of them: handed to a thread of their own and waited for,
//! as those of the connections that read are, they would cost more in handing over than in doing.

use std::{
    error::Error,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{CachedStatement, Connection, OpenFlags, types::Value as Cell};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{Mutex, OwnedMutexGuard},
    task::block_in_place,
};

use super::{
    BUSY,
    each::Each,
    query::{Done, Query, Value},
    row::Row,
    words,
};

/// How many pages wait in the file's log before they are moved to their places, as SQLite wants it told: those that change again and again move
/// once.
const LOGGED: &str = "4000";

/// How much of the ledger the connection that writes keeps in memory, in KiB, as SQLite wants it told.
const KEPT: &str = "-16384";

/// How many statements are kept prepared.
const PREPARED: usize = 64;

/// The one connection of this process that writes its transactions: were they written by several, each would throw away what it knows of the
/// file whenever another had written.
#[derive(Debug, Clone)]
pub(in crate::ledger) struct Writer {
    path: PathBuf,
    connection: Arc<Mutex<Connection>>,
}

impl Writer {
    /// Opens a file, and makes it where it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, sqlx::Error> {
        let connection = Arc::new(Mutex::new(open(path, &[("cache_size", KEPT), ("wal_autocheckpoint", LOGGED)])?));
        Ok(Self { path: path.to_owned(), connection })
    }

    /// Another connection to the same file.
    pub(super) fn another(&self) -> Result<Connection, sqlx::Error> {
        open(&self.path, &[])
    }

    /// A transaction that takes the file's write lock at once.
    pub(super) async fn begin(&self) -> Result<Transaction<'static>, sqlx::Error> {
        Transaction::begin(Of::Process(Arc::clone(&self.connection).lock_owned().await), "begin immediate")
    }
}

fn open(path: &Path, more: &[(&str, &str)]) -> Result<Connection, sqlx::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        let told = [("journal_mode", "wal"), ("synchronous", "full"), ("secure_delete", "on"), ("foreign_keys", "on")];
        for (name, value) in told.iter().chain(more) {
            connection.pragma_update(None, name, value)?;
        }
        Ok(connection)
    };
    in_place(open).map_err(told)
}

/// Whose connection it is.
#[derive(Debug)]
enum Of<'c> {
    /// The one of the process.
    Process(OwnedMutexGuard<Connection>),
    /// Somebody's own.
    Own(&'c mut Connection),
}

/// A transaction. Dropped without [`Transaction::commit`], nothing of it stands.
#[derive(Debug)]
pub(in crate::ledger) struct Transaction<'c>(Of<'c>);

impl<'c> Transaction<'c> {
    /// One on somebody's own connection; `begin` says of which kind.
    pub(super) fn on(connection: &'c mut Connection, begin: &str) -> Result<Self, sqlx::Error> {
        Self::begin(Of::Own(connection), begin)
    }

    fn begin(of: Of<'c>, begin: &str) -> Result<Self, sqlx::Error> {
        let begun = Self(of);
        in_place(|| begun.execute_batch(begin)).map_err(told)?;
        Ok(begun)
    }

    /// Makes it stand, durably.
    pub(super) fn commit(self) -> Result<(), sqlx::Error> {
        in_place(|| self.execute_batch("commit")).map_err(told)
    }

    /// Undoes it.
    pub(super) fn rollback(self) -> Result<(), sqlx::Error> {
        in_place(|| self.execute_batch("rollback")).map_err(told)
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match &self.0 {
            Of::Process(connection) => connection,
            Of::Own(connection) => connection,
        }
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        match &mut self.0 {
            Of::Process(connection) => connection,
            Of::Own(connection) => connection,
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Committed, undone, or undone by SQLite itself.
        if self.is_autocommit() {
            return;
        }
        if let Err(error) = in_place(|| self.execute_batch("rollback")) {
            tracing::error!(%error, "a transaction of the ledger could not be undone");
        }
    }
}

/// Does several statements without values.
pub(super) fn batch(connection: &mut Connection, text: &str) -> Result<(), sqlx::Error> {
    in_place(|| connection.execute_batch(text)).map_err(told)
}

/// Does a statement.
pub(super) fn execute(connection: &mut Connection, query: &Query<'_>) -> Result<Done, sqlx::Error> {
    show(connection, query, |_| true)?;
    Ok(Done(connection.changes()))
}

/// All rows of a statement.
pub(super) fn fetch_all(connection: &mut Connection, query: &Query<'_>) -> Result<Vec<Row>, sqlx::Error> {
    let mut rows = Vec::new();
    show(connection, query, |row| {
        rows.push(row);
        true
    })?;
    Ok(rows)
}

/// The first row of a statement, where it has one.
pub(super) fn fetch_optional(connection: &mut Connection, query: &Query<'_>) -> Result<Option<Row>, sqlx::Error> {
    let mut first = None;
    show(connection, query, |row| {
        first = Some(row);
        false
    })?;
    Ok(first)
}

/// Does a statement for each row of values; says how many rows were written in all.
pub(super) fn execute_each(connection: &mut Connection, each: &Each<'_>) -> Result<Done, sqlx::Error> {
    let mut done = 0;
    show_each(connection, each, |_| {}, |changes| done += changes)?;
    Ok(Done(done))
}

/// The rows a statement finds for each row of values; the first column is the place of that one.
pub(super) fn fetch_each(connection: &mut Connection, each: &Each<'_>) -> Result<Vec<Row>, sqlx::Error> {
    let mut rows = Vec::new();
    show_each(connection, each, |row| rows.push(row), |_| {})?;
    Ok(rows)
}

/// Runs a statement and shows its rows, until one was enough.
fn show(connection: &mut Connection, query: &Query<'_>, more: impl FnMut(Row) -> bool) -> Result<(), sqlx::Error> {
    let run = || -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(&query.text)?;
        let names = statement.column_names().into_iter().map(Box::from).collect();
        bind(&mut statement, 1, &query.values)?;
        step(&mut statement, &names, None, more)
    };
    in_place(run).map_err(told)
}

/// Runs a statement for each row of values, and shows its rows and how many were written.
fn show_each(
    connection: &mut Connection,
    each: &Each<'_>,
    mut found: impl FnMut(Row),
    mut written: impl FnMut(u64),
) -> Result<(), sqlx::Error> {
    let run = || -> rusqlite::Result<()> {
        let text = words::for_one(&each.query.text, each.query.values.len() + 1);
        let mut statement = connection.prepare_cached(&text)?;
        let names = ["key"].into_iter().chain(statement.column_names()).map(Box::from).collect();
        bind(&mut statement, 1, &each.query.values)?;
        for (place, cells) in (0..).zip(each.rows()) {
            bind(&mut statement, each.query.values.len() + 1, cells)?;
            step(&mut statement, &names, Some(place), |row| {
                found(row);
                true
            })?;
            written(connection.changes());
        }
        Ok(())
    };
    in_place(run).map_err(told)
}

/// Runs a bound statement and shows its rows, until one was enough; each begins with its place, where it has one.
fn step(
    statement: &mut CachedStatement<'_>,
    names: &Arc<[Box<str>]>,
    place: Option<i64>,
    mut more: impl FnMut(Row) -> bool,
) -> rusqlite::Result<()> {
    let width = statement.column_count();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        let mut cells = Vec::with_capacity(names.len());
        cells.extend(place.map(Cell::Integer));
        for column in 0..width {
            cells.push(row.get(column)?);
        }
        if !more(Row::File { names: Arc::clone(names), cells: cells.into() }) {
            break;
        }
    }
    Ok(())
}

/// Binds values, the first at this place; those the statement does not name are left out.
fn bind(statement: &mut CachedStatement<'_>, first: usize, values: &[Value<'_>]) -> rusqlite::Result<()> {
    for (place, value) in (first..=statement.parameter_count()).zip(values) {
        match value {
            Value::Text(text) => statement.raw_bind_parameter(place, text.as_deref()),
            Value::Integer(number) => statement.raw_bind_parameter(place, number),
            Value::Real(number) => statement.raw_bind_parameter(place, number),
            Value::Bytes(bytes) => statement.raw_bind_parameter(place, &**bytes),
        }?;
    }
    Ok(())
}

/// Does what may wait for a disk or a lock where it is called; whatever else this thread had to do goes on elsewhere.
fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        _ => work(),
    }
}

/// What the file said, as the other connections say it.
fn told(error: rusqlite::Error) -> sqlx::Error {
    sqlx::Error::Database(Box::new(Refused(error)))
}

/// An error of the file.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Refused(rusqlite::Error);

impl sqlx::error::DatabaseError for Refused {
    fn message(&self) -> &str {
        match &self.0 {
            rusqlite::Error::SqliteFailure(_, Some(message)) => message,
            _ => "the ledger's file",
        }
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> sqlx::error::ErrorKind {
        sqlx::error::ErrorKind::Other
    }
}
