//! What was promised, tried and done, and never forgotten: one SQLite file in WAL mode with `synchronous=FULL`.
//!
//! | file | what it answers |
//! |---|---|
//! | `ids.rs` | the names things go by |
//! | `runs.rs` | which jobs ran, what they pulled, which slots are taken |
//! | `builds.rs` | which version of each table readers see, what builds did; each person's present state |
//! | `snapshot.rs` | the tables that SQL may see |
//! | `plans.rs` | plans, decisions about them, assignments |
//! | `recipients.rs` | the account of every message of a plan |
//! | `turn.rs` | one step of a running delivery: record, commit, reserve |
//! | `messages.rs` | the occasions people have heard about, unique for ever |
//! | `tokens.rs` | refresh tokens that sources exchange for new ones |
//! | `suppressions.rs` | who must not be written to, and what came back |
//! | `preferences.rs` | who wants fewer letters, or none of a campaign |
//! | `returned.rs` | bounces, complaints and what follows from them |
//! | `write_backs.rs` | which other systems were told of it |

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeZone, Utc};
use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::{
    ConnectOptions as _,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};

use crate::diagnosis::{Diagnose, Diagnosis, Exit};

mod builds;
#[cfg(test)]
pub(crate) mod fixture;
mod ids;
mod messages;
mod plans;
mod preferences;
mod recipients;
mod returned;
mod runs;
mod snapshot;
mod suppressions;
mod tokens;
mod turn;
mod write_backs;

pub use builds::{ContactState, FreshContactState, LastBuild, Publication, PublishedTable, TableOutcome};
pub use ids::{CustomerId, MessageId, PlanId};
pub use messages::{Heard, Told};
pub use plans::{Act, ActError, Assignment, Drafted, NewPlan, PlanEvent, PlanRecord, PlanStatus, PlanSummary, after};
pub use preferences::{Wish, Wishes};
pub(crate) use recipients::{Enlisted, Stranded};
pub use recipients::{Standing, State, Tally, Unknown, Verdict};
pub(crate) use returned::{Noted, Rates, ReturnKind, Returned};
pub use runs::{PullRecord, RunRecord, RunStatus, SlotStatus};
pub use snapshot::SnapshotColumn;
pub use suppressions::{Contact, Event, NewSuppression, OptOut, REASONS, Scope, Suppression, address_hash};
pub use turn::Consent;
pub(crate) use turn::{Candidate, Decision, Errand, Named, Present, Settled, Turn, Turned};
pub use write_backs::WriteBackStanding;
pub(crate) use write_backs::{Call, Telling, Untold};

/// What has been added to the schema, in order; a ledger remembers how far it has come.
const SCHEMA: [&str; 11] = [
    include_str!("schema.sql"),
    include_str!("aliases.sql"),
    include_str!("pulls.sql"),
    include_str!("tokens.sql"),
    include_str!("drift.sql"),
    include_str!("write_backs.sql"),
    include_str!("contents.sql"),
    include_str!("outcomes.sql"),
    include_str!("in_hand.sql"),
    include_str!("returns.sql"),
    include_str!("preferences.sql"),
];

/// How long a statement waits for another process to let go of the file.
const BUSY: std::time::Duration = std::time::Duration::from_secs(30);

/// `[ledger]` in `config/perennial.toml`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSettings {
    /// The SQLite file, relative to the project folder; on a local disk, never on a network share.
    pub path: PathBuf,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self { path: PathBuf::from("data/ledger.db") }
    }
}

/// What can go wrong with the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The folder or the file cannot be written.
    #[error("the ledger {} cannot be opened: {reason}", path.display())]
    Open {
        /// The ledger's file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// There are plans, and the ledger that says what became of them is not there.
    #[error("there are plans in data/plans, but the ledger {} that says what became of them is not there", path.display())]
    Missing {
        /// The ledger's file.
        path: PathBuf,
    },
    /// A statement failed.
    #[error("the ledger refused a statement: {0}")]
    Sql(#[from] sqlx::Error),
    /// What stands in the ledger cannot be read back.
    #[error("the ledger holds `{value}` where a {expected} was expected")]
    Value {
        /// What was found.
        value: String,
        /// What should have been there.
        expected: &'static str,
    },
}

impl Diagnose for LedgerError {
    fn diagnosis(&self) -> Diagnosis {
        match self {
            Self::Open { path, .. } => Diagnosis::new("ledger", self.to_string())
                .in_file(path)
                .hint("check that the data folder exists on a local disk and that the program's user may write there"),
            Self::Missing { path } => Diagnosis::new("ledger_missing", self.to_string()).in_file(path).hint(
                "restore it from the backup; without it people could be written to twice. If nothing was ever sent from this folder, move data/plans away",
            ),
            _ => Diagnosis::new("ledger", self.to_string())
                .hint("nothing was lost: what had been written before stands; run the command again"),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Missing { .. } => Exit::Wrong,
            _ => Exit::Failed,
        }
    }
}

/// How much of the ledger the connection that writes keeps in memory, in KiB, as SQLite wants it told.
const KEPT: &str = "-16384";

/// The open ledger; cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: SqlitePool,
    /// The one connection of this process that writes transactions. Were they written by several, each would throw away what it knows of
    /// the file whenever another had written.
    writer: SqlitePool,
}

impl Ledger {
    /// Whether the ledger of the project in `root` is there, or need not be because nothing has been planned yet.
    ///
    /// # Errors
    /// Where there are plans without a ledger: a new one would not know whom they were sent to.
    pub fn present(root: &Path, settings: &LedgerSettings) -> Result<(), LedgerError> {
        // A file without a byte is what a restore that failed leaves behind.
        let present = std::fs::metadata(root.join(&settings.path)).is_ok_and(|file| file.len() > 0);
        // A folder `.tmp-…` was left by planning that did not come to its end; nobody has seen it.
        let planned = || {
            let plans = std::fs::read_dir(root.join("data/plans")).into_iter().flatten().flatten();
            plans.filter(|entry| entry.path().is_dir()).any(|entry| !entry.file_name().to_string_lossy().starts_with(".tmp-"))
        };
        if !present && planned() { Err(LedgerError::Missing { path: settings.path.clone() }) } else { Ok(()) }
    }

    /// Opens the ledger of the project in `root`, and makes it where nothing has been planned yet.
    ///
    /// # Errors
    /// Where there are plans without a ledger, or the file cannot be created, opened or brought to the present schema.
    pub async fn open(root: &Path, settings: &LedgerSettings) -> Result<Self, LedgerError> {
        Self::present(root, settings)?;
        let path = root.join(&settings.path);
        let refused = |reason: String| LedgerError::Open { path: settings.path.clone(), reason };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| refused(error.to_string()))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("secure_delete", "on")
            .foreign_keys(true)
            .busy_timeout(BUSY)
            // Every statement would be told at the level `debug`, a message a dozen times.
            .disable_statement_logging();
        let writing = options.clone().pragma("cache_size", KEPT);
        let pool = |connections| SqlitePoolOptions::new().max_connections(connections).test_before_acquire(false);
        let writer = pool(1).connect_with(writing).await.map_err(|error| refused(error.to_string()))?;
        let pool = pool(4).connect_with(options).await.map_err(|error| refused(error.to_string()))?;
        let ledger = Self { pool, writer };
        ledger.prepare().await?;
        Ok(ledger)
    }

    /// Opens the ledger of the project in `root` to look at it; none where there is none. Nothing is made, and nothing can be written.
    ///
    /// # Errors
    /// Where the file cannot be opened, or an earlier version of the program wrote it and no run has brought it to the present schema.
    pub async fn look(root: &Path, settings: &LedgerSettings) -> Result<Option<Self>, LedgerError> {
        let path = root.join(&settings.path);
        if !std::fs::metadata(&path).is_ok_and(|file| file.len() > 0) {
            return Ok(None);
        }
        let refused = |reason: String| LedgerError::Open { path: settings.path.clone(), reason };
        let options = SqliteConnectOptions::new().filename(&path).read_only(true).busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.map_err(|error| refused(error.to_string()))?;
        let (version,): (i64,) = sqlx::query_as("pragma user_version").fetch_one(&pool).await?;
        if usize::try_from(version).is_ok_and(|version| version < SCHEMA.len()) {
            return Err(refused("an earlier version of the program wrote it; the next run brings it up to date".to_owned()));
        }
        Ok(Some(Self { writer: pool.clone(), pool }))
    }

    /// Whether the ledger answers.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        sqlx::query("select 1").execute(&self.pool).await?;
        Ok(())
    }

    async fn prepare(&self) -> Result<(), LedgerError> {
        let mut write = self.begin().await?;
        let (version,): (i64,) = sqlx::query_as("pragma user_version").fetch_one(&mut *write).await?;
        for (step, sql) in (1..).zip(SCHEMA).filter(|(step, _)| *step > version) {
            sqlx::raw_sql(sql).execute(&mut *write).await?;
            sqlx::raw_sql(sqlx::AssertSqlSafe(format!("pragma user_version = {step}"))).execute(&mut *write).await?;
        }
        write.commit().await?;
        Ok(())
    }

    /// The pool, for the files of this room.
    pub(in crate::ledger) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// A transaction that takes the write lock at once, so that what it reads is still true when it writes.
    pub(in crate::ledger) async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, LedgerError> {
        Ok(self.writer.begin_with("begin immediate").await?)
    }
}

/// A point at which a test may let the ledger fail.
fn point(name: &str) -> Result<(), LedgerError> {
    Ok(crate::faults::at(name).map_err(sqlx::Error::Io)?)
}

/// An instant as the ledger keeps it: microseconds since 1970-01-01 UTC.
pub(in crate::ledger) fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// The instant back from microseconds.
pub(in crate::ledger) fn instant(micros: i64) -> Result<DateTime<Utc>, LedgerError> {
    Utc.timestamp_micros(micros).single().ok_or_else(|| LedgerError::Value { value: micros.to_string(), expected: "time" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_makes_and_writes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let settings = LedgerSettings::default();
        assert!(Ledger::look(root.path(), &settings).await.unwrap().is_none());
        assert!(!root.path().join("data").exists());
        let ledger = Ledger::open(root.path(), &settings).await.unwrap();
        let look = Ledger::look(root.path(), &settings).await.unwrap().unwrap();
        assert!(look.published().await.unwrap().is_empty());
        assert!(sqlx::query("delete from builds").execute(look.pool()).await.is_err());
        sqlx::query("pragma user_version = 3").execute(ledger.pool()).await.unwrap();
        let error = Ledger::look(root.path(), &settings).await.unwrap_err();
        assert!(error.to_string().contains("earlier version"), "{error}");
    }

    #[tokio::test]
    async fn plans_without_their_ledger_are_not_given_a_new_one() {
        let root = tempfile::tempdir().unwrap();
        let settings = LedgerSettings::default();
        let plans = root.path().join("data/plans");
        std::fs::create_dir_all(plans.join(".tmp-win-back-20261122T010000Z-00000000")).unwrap();
        Ledger::open(root.path(), &settings).await.unwrap();
        for entry in std::fs::read_dir(root.path().join("data")).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            std::fs::remove_file(entry.path()).unwrap();
        }

        std::fs::create_dir(plans.join("win-back-20261122T010000Z-00000000")).unwrap();
        for left in [None, Some("")] {
            if let Some(left) = left {
                std::fs::write(root.path().join(&settings.path), left).unwrap();
            }
            let error = Ledger::open(root.path(), &settings).await.unwrap_err();
            assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("ledger_missing", Exit::Wrong));
            assert!(error.diagnosis().hint.unwrap().contains("backup"));
        }
    }
}
