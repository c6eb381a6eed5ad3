//! Where the ledger lies: a SQLite file or a PostgreSQL schema, behind one door.
//!
//! A statement is written once, in words both understand ([`words`] says which, and what it puts into PostgreSQL's), and read back by the same
//! types. On both a transaction that writes is the only one that writes: SQLite takes its write lock at once, PostgreSQL an advisory lock, so
//! that what a transaction has read is still true when it writes.

mod each;
mod file;
mod query;
mod row;
#[cfg(test)]
mod tests;
mod words;

use std::str::FromStr as _;

use sqlx::{
    ConnectOptions as _, Connection, PgConnection, PgPool, Postgres, SqlitePool, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use file::Writer;
pub(in crate::ledger) use query::{Value, query, query_as};
pub(in crate::ledger) use row::{FromRow, Row};
#[cfg(test)]
pub(in crate::ledger) use words::for_one;

use crate::secret::Secret;

/// How long a statement waits for another process to let go of the file.
const BUSY: std::time::Duration = std::time::Duration::from_secs(30);

/// What every connection to PostgreSQL is told. A worker that stands still within a transaction must not keep the others from writing.
const SESSION: [(&str, &str); 4] = [
    ("lock_timeout", "120s"),
    ("idle_in_transaction_session_timeout", "20s"),
    ("tcp_keepalives_idle", "30"),
    ("client_min_messages", "warning"),
];

/// What the connection that writes is told beside it. It looks for rows by their keys; which way is cheap must not depend on when the tables
/// were last counted.
const WRITING: [(&str, &str); 4] =
    [("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off"), ("synchronous_commit", "on")];

/// Taken by whoever writes, until the end of the transaction.
const WRITE_LOCK: &str = "select pg_advisory_xact_lock(1885696622, hashtext(current_schema()))";

/// The open ledger's connections; cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::ledger) enum Store {
    /// A file.
    Sqlite {
        /// For whatever reads, and for single statements.
        pool: SqlitePool,
        /// For transactions; none where the file is only looked at.
        writer: Option<Writer>,
    },
    /// A schema of a database.
    Postgres {
        /// For whatever reads, and for single statements.
        pool: PgPool,
        /// The one connection of this process that writes transactions.
        writer: PgPool,
    },
}

impl Store {
    /// Opens a file, and makes it where it is not there.
    pub(in crate::ledger) async fn sqlite(path: &std::path::Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("secure_delete", "on")
            .foreign_keys(true)
            .busy_timeout(BUSY)
            // Every statement would be told at the level `debug`, a message a dozen times.
            .disable_statement_logging();
        let writer = Some(Writer::open(path)?);
        let pool = SqlitePoolOptions::new().max_connections(4).test_before_acquire(false);
        Ok(Self::Sqlite { pool: pool.connect_with(options).await?, writer })
    }

    /// Opens a file to look at it.
    pub(in crate::ledger) async fn sqlite_to_look_at(path: &std::path::Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY).disable_statement_logging();
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        Ok(Self::Sqlite { pool, writer: None })
    }

    /// Opens a schema of a database; whether it is there is seen by [`Store::version`].
    pub(in crate::ledger) async fn postgres(url: &Secret, schema: &str, look: bool) -> Result<Self, sqlx::Error> {
        let options = PgConnectOptions::from_str(url.reveal())?
            .application_name("perennial")
            .options([("search_path", schema)])
            .options(SESSION)
            .disable_statement_logging();
        let options = if look { options.options([("default_transaction_read_only", "on")]) } else { options };
        let pool = |connections| PgPoolOptions::new().max_connections(connections);
        let writer = pool(1).connect_with(options.clone().options(WRITING)).await?;
        Ok(Self::Postgres { pool: pool(4).connect_lazy_with(options), writer })
    }

    /// Whether several processes may deliver from this ledger at once.
    pub(in crate::ledger) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// A transaction that takes the write lock at once.
    pub(in crate::ledger) async fn begin(&self) -> Result<Write<'static>, sqlx::Error> {
        match self {
            Self::Sqlite { writer, .. } => Ok(Write::File(writing(writer)?.begin().await?)),
            Self::Postgres { writer, .. } => {
                let mut write = writer.begin().await?;
                sqlx::query(WRITE_LOCK).execute(&mut *write).await?;
                Ok(Write::Postgres(write))
            }
        }
    }

    /// A connection to keep for a while.
    pub(in crate::ledger) async fn hold(&self) -> Result<Held, sqlx::Error> {
        match self {
            Self::Sqlite { writer, .. } => Ok(Held::File(Box::new(writing(writer)?.another()?))),
            Self::Postgres { pool, .. } => Ok(Held::Postgres(pool.acquire().await?)),
        }
    }

    /// How far the schema has come; `None` where a database has none.
    pub(in crate::ledger) async fn version(&self) -> Result<Option<usize>, sqlx::Error> {
        let version: i64 = match self {
            Self::Sqlite { pool, .. } => sqlx::query_scalar("pragma user_version").fetch_one(pool).await?,
            Self::Postgres { writer, .. } => {
                let there: bool = sqlx::query_scalar("select to_regclass('schema_version') is not null").fetch_one(writer).await?;
                if !there {
                    return Ok(None);
                }
                sqlx::query_scalar("select version from schema_version").fetch_one(writer).await?
            }
        };
        Ok(Some(usize::try_from(version).unwrap_or(0)))
    }

    /// Brings the schema to its present state.
    pub(in crate::ledger) async fn prepare(&self, sqlite: &[&'static str], postgres: &[&'static str]) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite { writer, .. } => {
                let mut write = writing(writer)?.begin().await?;
                let version = file::fetch_optional(&mut write, &query("pragma user_version"))?.ok_or(sqlx::Error::RowNotFound)?;
                let version: i64 = version.try_get(0)?;
                for (step, sql) in (1..).zip(sqlite).filter(|(step, _)| *step > version) {
                    file::batch(&mut write, sql)?;
                    file::batch(&mut write, &format!("pragma user_version = {step}"))?;
                }
                write.commit()
            }
            Self::Postgres { writer, .. } => {
                let mut write = writer.begin().await?;
                // Two that come first at once: there is no schema yet whose lock they could ask for.
                sqlx::query("select pg_advisory_xact_lock(1885696622)").execute(&mut *write).await?;
                let schema: String = sqlx::query_scalar("select current_setting('search_path')").fetch_one(&mut *write).await?;
                let there: bool = sqlx::query_scalar("select to_regclass('schema_version') is not null").fetch_one(&mut *write).await?;
                if !there {
                    let begin = format!(
                        "create schema if not exists {schema}; create table schema_version (version bigint not null); \
                         insert into schema_version values (0)"
                    );
                    sqlx::raw_sql(sqlx::AssertSqlSafe(begin)).execute(&mut *write).await?;
                }
                let version: i64 = sqlx::query_scalar("select version from schema_version").fetch_one(&mut *write).await?;
                for (step, sql) in (1..).zip(postgres).filter(|(step, _)| *step > version) {
                    sqlx::raw_sql(*sql).execute(&mut *write).await?;
                    sqlx::query("update schema_version set version = $1").bind(step).execute(&mut *write).await?;
                }
                write.commit().await
            }
        }
    }
}

/// The connection that writes to a file.
fn writing(writer: &Option<Writer>) -> Result<&Writer, sqlx::Error> {
    writer.as_ref().ok_or_else(|| sqlx::Error::Configuration("the ledger was opened to be looked at".into()))
}

/// A transaction. Dropped without [`Write::commit`], nothing of it stands.
#[derive(Debug)]
pub(in crate::ledger) enum Write<'c> {
    /// Of a file.
    File(file::Transaction<'c>),
    /// Of a database.
    Postgres(Transaction<'c, Postgres>),
}

impl Write<'_> {
    /// Makes it stand, durably.
    pub(in crate::ledger) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::File(write) => write.commit(),
            Self::Postgres(write) => write.commit().await,
        }
    }

    /// Undoes it.
    pub(in crate::ledger) async fn rollback(self) -> Result<(), sqlx::Error> {
        match self {
            Self::File(write) => write.rollback(),
            Self::Postgres(write) => write.rollback().await,
        }
    }
}

/// A connection that is kept for a while, with the temporary tables made on it.
#[derive(Debug)]
pub(in crate::ledger) enum Held {
    /// To a file.
    File(Box<rusqlite::Connection>),
    /// To a database.
    Postgres(PoolConnection<Postgres>),
}

impl Held {
    /// A transaction that writes what only this connection sees.
    pub(in crate::ledger) async fn begin_aside(&mut self) -> Result<Write<'_>, sqlx::Error> {
        match self {
            Self::File(connection) => Ok(Write::File(file::Transaction::on(connection, "begin")?)),
            Self::Postgres(connection) => Ok(Write::Postgres(Connection::begin(&mut **connection).await?)),
        }
    }

    /// A transaction that takes the write lock at once.
    pub(in crate::ledger) async fn begin(&mut self) -> Result<Write<'_>, sqlx::Error> {
        match self {
            Self::File(connection) => Ok(Write::File(file::Transaction::on(connection, "begin immediate")?)),
            Self::Postgres(connection) => {
                let mut write = Connection::begin(&mut **connection).await?;
                sqlx::query(WRITE_LOCK).execute(&mut *write).await?;
                Ok(Write::Postgres(write))
            }
        }
    }
}

/// What a statement runs on.
pub(in crate::ledger) enum On<'a> {
    /// Any connection to the file.
    SqlitePool(&'a SqlitePool),
    /// This connection to the file.
    File(&'a mut rusqlite::Connection),
    /// Any connection to the database.
    PostgresPool(&'a PgPool),
    /// This connection to the database.
    Postgres(&'a mut PgConnection),
}

impl<'a> From<&'a Store> for On<'a> {
    fn from(store: &'a Store) -> Self {
        match store {
            Store::Sqlite { pool, .. } => Self::SqlitePool(pool),
            Store::Postgres { pool, .. } => Self::PostgresPool(pool),
        }
    }
}

impl<'a> From<&'a mut Write<'_>> for On<'a> {
    fn from(write: &'a mut Write<'_>) -> Self {
        match write {
            Write::File(write) => Self::File(write),
            Write::Postgres(write) => Self::Postgres(write),
        }
    }
}

impl<'a> From<&'a mut Held> for On<'a> {
    fn from(held: &'a mut Held) -> Self {
        match held {
            Held::File(connection) => Self::File(connection),
            Held::Postgres(connection) => Self::Postgres(connection),
        }
    }
}
