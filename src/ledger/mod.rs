//! What was promised, tried and done, and never forgotten: one SQLite file in WAL mode with `synchronous=FULL`.
//!
//! | file | what it answers |
//! |---|---|
//! | `ids.rs` | the names things go by |
//! | `runs.rs` | which jobs ran, what they pulled, which slots are taken |
//! | `builds.rs` | which version of each table readers see; each person's present state |
//! | `plans.rs` | plans, decisions about them, assignments |
//! | `recipients.rs` | the account of every message of a plan |
//! | `turn.rs` | one step of a running delivery: record, commit, reserve |
//! | `messages.rs` | the occasions people have heard about, unique for ever |
//! | `suppressions.rs` | who must not be written to, and what came back |

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeZone, Utc};
use serde::Deserialize;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use crate::diagnosis::{Diagnose, Diagnosis, Exit};

mod builds;
#[cfg(test)]
pub(crate) mod fixture;
mod ids;
mod messages;
mod plans;
mod recipients;
mod runs;
mod suppressions;
mod turn;

pub use builds::{ContactState, FreshContactState, Publication, PublishedTable, SnapshotColumn};
pub use ids::{CustomerId, MessageId, PlanId};
pub use messages::Heard;
pub use plans::{Act, ActError, Assignment, Drafted, NewPlan, PlanEvent, PlanRecord, PlanStatus, PlanSummary, after};
pub(crate) use recipients::{Enlisted, Stranded};
pub use recipients::{Standing, State, Tally, Unknown, Verdict};
pub use runs::{PullRecord, RunRecord, RunStatus, SlotStatus};
pub use suppressions::{Contact, Event, NewSuppression, OptOut, Scope, Suppression, address_hash};
pub use turn::Consent;
pub(crate) use turn::{Candidate, Decision, Errand, Named, Present, Settled, Turn, Turned};

/// `[ledger]` in `config/perennial.toml`.
#[derive(Debug, Clone, Deserialize)]
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
            _ => Diagnosis::new("ledger", self.to_string())
                .hint("nothing was lost: what had been written before stands; run the command again"),
        }
    }

    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// The open ledger; cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: SqlitePool,
}

impl Ledger {
    /// Opens the ledger of the project in `root`, and makes it where there is none.
    ///
    /// # Errors
    /// Where the file cannot be created, opened or brought to the present schema.
    pub async fn open(root: &Path, settings: &LedgerSettings) -> Result<Self, LedgerError> {
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
            .busy_timeout(std::time::Duration::from_secs(30));
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await.map_err(|error| refused(error.to_string()))?;
        let ledger = Self { pool };
        ledger.prepare().await?;
        Ok(ledger)
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
        if version == 0 {
            sqlx::raw_sql(include_str!("schema.sql")).execute(&mut *write).await?;
            sqlx::raw_sql("pragma user_version = 1").execute(&mut *write).await?;
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
        Ok(self.pool.begin_with("begin immediate").await?)
    }
}

/// An instant as the ledger keeps it: microseconds since 1970-01-01 UTC.
pub(in crate::ledger) fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// The instant back from microseconds.
pub(in crate::ledger) fn instant(micros: i64) -> Result<DateTime<Utc>, LedgerError> {
    Utc.timestamp_micros(micros).single().ok_or_else(|| LedgerError::Value { value: micros.to_string(), expected: "time" })
}
