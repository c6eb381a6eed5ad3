//! What was promised, tried and done, and never forgotten: one SQLite file in WAL mode with `synchronous=FULL`, or a schema of a PostgreSQL
//! database where several workers deliver at once.
//!
//! | file | what it answers |
//! |---|---|
//! | `store/` | the file or the database, and how a statement is put to either |
//! | `ids.rs` | the names things go by |
//! | `runs.rs` | which jobs ran, what they pulled, which slots are taken |
//! | `builds.rs` | which version of each table readers see, what builds did; each person's present state |
//! | `snapshot.rs` | the tables that SQL may see |
//! | `plans.rs` | plans, decisions about them, assignments |
//! | `recipients.rs` | the account of every message of a plan |
//! | `workers.rs` | who delivers now, and whose leases have run out |
//! | `turn.rs` | one step of a running delivery: record, commit, reserve |
//! | `shaping.rs` | how many messages left on a day, and who asked for a pause |
//! | `present.rs` | what stands about a person at the moment of deciding |
//! | `messages.rs` | the occasions people have heard about, unique for ever |
//! | `tokens.rs` | refresh tokens that sources exchange for new ones |
//! | `suppressions.rs` | who must not be written to, and what came back |
//! | `preferences.rs` | who wants fewer letters, or none of a campaign |
//! | `returned.rs` | bounces, complaints and what follows from them |
//! | `write_backs.rs` | which other systems were told of it |

use std::path::{Path, PathBuf};

use crate::{
    config::Period,
    diagnosis::{Diagnose, Diagnosis, Exit},
    secret::{SecretError, SecretRef},
};
use chrono::{DateTime, TimeZone, Utc};
use schemars::JsonSchema;
use serde::Deserialize;

mod builds;
#[cfg(test)]
pub(crate) mod fixture;
mod ids;
mod messages;
mod plans;
mod preferences;
mod present;
mod recipients;
mod returned;
mod runs;
mod shaping;
mod snapshot;
mod store;
mod suppressions;
mod tokens;
mod turn;
mod workers;
mod write_backs;

pub use builds::{ContactState, FreshContactState, LastBuild, Publication, PublishedTable, TableOutcome};
pub use ids::{CustomerId, MessageId, PlanId};
pub use messages::{Heard, Told};
pub use plans::{Act, ActError, Assignment, Drafted, NewPlan, PlanEvent, PlanRecord, PlanStatus, PlanSummary, after};
pub use preferences::{Wish, Wishes};
pub use present::Consent;
pub(crate) use present::Present;
pub(crate) use recipients::{Account as PlanAccount, Enlisted, Stranded};
pub use recipients::{Standing, State, Tally, Unknown, Verdict};
pub(crate) use returned::{Noted, Rates, ReturnKind, Returned};
pub use runs::{PullRecord, RunRecord, RunStatus, SlotStatus};
pub(crate) use shaping::Quota;
pub use shaping::SlowedDown;
pub use snapshot::SnapshotColumn;
use store::{Store, Write, query};
pub use suppressions::{Contact, Event, NewSuppression, OptOut, REASONS, Scope, Suppression, address_hash};
pub(crate) use turn::{Candidate, Decision, Due, Errand, Named, Settled, Turn};
pub(crate) use workers::{Lease, Worker};
pub use write_backs::WriteBackStanding;
pub(crate) use write_backs::{Call, Telling, Untold};

/// What has been added to the schema, in order; a ledger remembers how far it has come.
const SCHEMA: [&str; 17] = [
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
    include_str!("workers.sql"),
    include_str!("claims.sql"),
    include_str!("shaping.sql"),
    include_str!("one_by_one.sql"),
    include_str!("states.sql"),
    include_str!("against.sql"),
];

/// The same for PostgreSQL.
const SCHEMA_OF_POSTGRES: [&str; 2] = [include_str!("store/postgres.sql"), include_str!("against.sql")];

/// `[ledger]` in `config/perennial.toml`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSettings {
    /// The SQLite file, relative to the project folder; on a local disk, never on a network share.
    pub path: PathBuf,
    /// A PostgreSQL database instead of the file, `postgres://user:password@host/database`: several workers may deliver from it at once.
    pub url: Option<SecretRef>,
    /// The schema of that database which holds the ledger; made where it is not there.
    pub schema: String,
    /// How long a worker with a PostgreSQL ledger may stand still before the others take over what it had in hand.
    pub lease: Period,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self { path: PathBuf::from("data/ledger.db"), url: None, schema: "perennial".to_owned(), lease: Period::seconds(60) }
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
    /// The database cannot be reached, or does not let us in.
    #[error("the ledger's database cannot be opened: {0}")]
    Database(String),
    /// The address of the database cannot be read.
    #[error("the address of the ledger's database is not there: {0}")]
    Url(#[from] SecretError),
    /// Not a name a schema can have.
    #[error("`{0}` is no name for the ledger's schema")]
    Schema(String),
    /// There are plans, and the ledger that says what became of them is not there.
    #[error("there are plans in data/plans, but the ledger {place} that says what became of them is not there")]
    Missing {
        /// The ledger's file, or its schema.
        place: String,
    },
    /// Another worker has taken over what this one had in hand.
    #[error("this worker stood still for so long that others took over what it had in hand")]
    Fenced,
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
            Self::Database(_) => Diagnosis::new("ledger", self.to_string())
                .in_file(DEPLOYMENT)
                .hint("look at `url` in `[ledger]`, and whether the server answers; nothing was lost, run the command again"),
            Self::Url(error) => error.diagnosis().in_file(DEPLOYMENT),
            Self::Schema(_) => Diagnosis::new("ledger_schema", self.to_string())
                .in_file(DEPLOYMENT)
                .hint("`schema` in `[ledger]` takes small letters, digits and `_`, such as `perennial`"),
            Self::Fenced => Diagnosis::new("fenced", self.to_string())
                .hint("nothing was sent twice: what may have left is listed by `perennial unknown list`, the rest was or will be sent by another worker"),
            Self::Missing { .. } => Diagnosis::new("ledger_missing", self.to_string()).hint(
                "restore it from the backup; without it people could be written to twice. If nothing was ever sent from this folder, move data/plans away",
            ),
            _ => Diagnosis::new("ledger", self.to_string())
                .hint("nothing was lost: what had been written before stands; run the command again"),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Missing { .. } | Self::Url(_) | Self::Schema(_) => Exit::Wrong,
            _ => Exit::Failed,
        }
    }
}

const DEPLOYMENT: &str = "config/perennial.toml";

/// The open ledger; cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Store,
    lease: Period,
}

impl Ledger {
    /// Whether the ledger of the project in `root` is there, or need not be because nothing has been planned yet; of one in a database, whether
    /// its settings can be right.
    ///
    /// # Errors
    /// Where there are plans without a ledger: a new one would not know whom they were sent to.
    pub fn present(root: &Path, settings: &LedgerSettings) -> Result<(), LedgerError> {
        if let Some(url) = &settings.url {
            schema(settings)?;
            url.resolve(root)?;
            return Ok(());
        }
        // A file without a byte is what a restore that failed leaves behind.
        let present = std::fs::metadata(root.join(&settings.path)).is_ok_and(|file| file.len() > 0);
        if present { Ok(()) } else { nothing_planned(root, settings.path.display().to_string()) }
    }

    /// Opens the ledger of the project in `root`, and makes it where nothing has been planned yet.
    ///
    /// # Errors
    /// Where there are plans without a ledger, or it cannot be created, opened or brought to the present schema.
    pub async fn open(root: &Path, settings: &LedgerSettings) -> Result<Self, LedgerError> {
        Self::present(root, settings)?;
        let store = if let Some(url) = &settings.url {
            let store = Store::postgres(&url.resolve(root)?, schema(settings)?, false).await.map_err(unreachable)?;
            if store.version().await?.is_none() {
                nothing_planned(root, format!("in the schema `{}`", settings.schema))?;
            }
            store
        } else {
            let path = root.join(&settings.path);
            let refused = |reason: String| LedgerError::Open { path: settings.path.clone(), reason };
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(|error| refused(error.to_string()))?;
            }
            Store::sqlite(&path).await.map_err(|error| refused(error.to_string()))?
        };
        store.prepare(&SCHEMA, &SCHEMA_OF_POSTGRES).await?;
        Ok(Self { store, lease: settings.lease })
    }

    /// Opens the ledger of the project in `root` to look at it; none where there is none. Nothing is made, and nothing can be written.
    ///
    /// # Errors
    /// Where it cannot be opened, or an earlier version of the program wrote it and no run has brought it to the present schema.
    pub async fn look(root: &Path, settings: &LedgerSettings) -> Result<Option<Self>, LedgerError> {
        let (store, steps) = if let Some(url) = &settings.url {
            let store = Store::postgres(&url.resolve(root)?, schema(settings)?, true).await.map_err(unreachable)?;
            (store, SCHEMA_OF_POSTGRES.len())
        } else {
            let path = root.join(&settings.path);
            if !std::fs::metadata(&path).is_ok_and(|file| file.len() > 0) {
                return Ok(None);
            }
            let refused = |error: sqlx::Error| LedgerError::Open { path: settings.path.clone(), reason: error.to_string() };
            (Store::sqlite_to_look_at(&path).await.map_err(refused)?, SCHEMA.len())
        };
        match store.version().await? {
            None => Ok(None),
            Some(version) if version < steps => {
                let reason = "an earlier version of the program wrote it; the next run brings it up to date".to_owned();
                Err(LedgerError::Open { path: settings.path.clone(), reason })
            }
            Some(_) => Ok(Some(Self { store, lease: settings.lease })),
        }
    }

    /// Whether the ledger answers.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        query("select 1").execute(self.pool()).await?;
        Ok(())
    }

    /// The connections, for the files of this room.
    pub(in crate::ledger) fn pool(&self) -> &Store {
        &self.store
    }

    /// A transaction that takes the write lock at once, so that what it reads is still true when it writes.
    pub(in crate::ledger) async fn begin(&self) -> Result<Write<'static>, LedgerError> {
        Ok(self.store.begin().await?)
    }
}

/// The schema's name, which stands in statements.
fn schema(settings: &LedgerSettings) -> Result<&str, LedgerError> {
    let name = settings.schema.as_str();
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() < 64
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if fits { Ok(name) } else { Err(LedgerError::Schema(name.to_owned())) }
}

fn unreachable(error: sqlx::Error) -> LedgerError {
    LedgerError::Database(error.to_string())
}

/// Whether a new ledger may be made: where there are plans it would not know whom they were sent to.
fn nothing_planned(root: &Path, place: String) -> Result<(), LedgerError> {
    // A folder `.tmp-…` was left by planning that did not come to its end; nobody has seen it.
    let plans = std::fs::read_dir(root.join("data/plans")).into_iter().flatten().flatten();
    let planned = plans.filter(|entry| entry.path().is_dir()).any(|entry| !entry.file_name().to_string_lossy().starts_with(".tmp-"));
    if planned { Err(LedgerError::Missing { place }) } else { Ok(()) }
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
        assert!(query("delete from builds").execute(look.pool()).await.is_err());
        query("pragma user_version = 3").execute(ledger.pool()).await.unwrap();
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
