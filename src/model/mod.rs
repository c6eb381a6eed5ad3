//! SQL files become a graph, the graph becomes tables. A table is replaced only by a result that passed its audits, and everything a
//! build publishes appears at once.
//!
//! | file | what lives there |
//! |---|---|
//! | `library.rs`, `file.rs` | `sql/{staging,models,segments,metrics}` as read from disk |
//! | `front_matter.rs`, `params.rs`, `audits.rs` | a file's leading comment: key, typed parameters, audits |
//! | `graph.rs` | what reads what, in which order it is built, and what must be built for a few names |
//! | `canonical.rs` | the tables every project has, with their columns |
//! | `staging.rs` | one source's rows into a canonical table: the union by name, ids and money |
//! | `identities.rs`, `people.rs` | which records are the same person: the rule, and its reading from staging |
//! | `records.rs` | several records of one person into one row of `customers` |
//! | `snapshot.rs` | the ledger as tables that SQL can read |
//! | `build/` | the build: what is new is written, audited and published together |
//! | `check.rs`, `shape.rs` | what can be known without data; what columns a table will have |
//! | `segment.rs` | who is in a segment, who came and who left |
//! | `sql_tests/` | given rows, expected rows |

mod audits;
mod build;
mod canonical;
mod check;
mod file;
#[cfg(test)]
mod fixture;
mod front_matter;
mod graph;
mod identities;
mod library;
mod params;
mod people;
mod records;
mod segment;
mod shape;
mod snapshot;
mod sql_tests;
mod staging;
mod standing_audits;

use std::path::PathBuf;

pub(crate) use build::CONTACT_TABLES;
pub use build::{BuildRequest, Built, BuiltTable, Outcome, build};
pub use canonical::{Table, canonical_tables, ledger_tables};
pub use check::Planned;
pub use file::{Kind, SqlFile};
pub(crate) use front_matter::params_of;
pub use front_matter::{FRONT_MATTER, FrontMatter};
pub use library::Library;
pub(crate) use params::{always as bound_params, parse_like as param_like};
pub use segment::{Bench, ChangedRow, ColumnStatistics, Difference, Preview, difference};
pub use sql_tests::{CaseEntry, CaseOutcome, CaseReport, TEST_FILE, TestReport, run_tests, test_cases, test_file_problems};
pub use standing_audits::AuditReport;

use crate::{
    diagnosis::{Diagnose, Diagnosis, Exit, Failure},
    engine::EngineError,
    lake::LakeError,
    ledger::LedgerError,
};

/// What a customer without a locale or a zone is given, and the currency that `*_base` columns are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrandDefaults {
    /// A BCP 47 tag such as `en-GB`.
    pub locale: String,
    /// An IANA zone such as `Europe/Berlin`.
    pub timezone: String,
    /// An ISO 4217 code such as `EUR`.
    pub currency: String,
}

/// What can go wrong between SQL files and tables.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A folder of `sql/` cannot be read.
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable {
        /// The path in the project.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The project is wrong, and the words for it are ready.
    #[error("{0}")]
    Wrong(Box<Diagnosis>),
    /// A table could not be written, and no other could be.
    #[error("{0}")]
    Stopped(Failure),
    /// The lake refused.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The ledger refused.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A query failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl ModelError {
    /// The project is wrong.
    pub(crate) fn wrong(diagnosis: Diagnosis) -> Self {
        Self::Wrong(Box::new(diagnosis))
    }
}

impl Diagnose for ModelError {
    fn diagnosis(&self) -> Diagnosis {
        match self {
            Self::Unreadable { path, .. } => Diagnosis::new("unreadable", self.to_string())
                .in_file(path)
                .hint("check that the program's user may read it; `perennial init` writes a working project folder"),
            Self::Wrong(diagnosis) => (**diagnosis).clone(),
            Self::Stopped(failure) => (*failure.diagnosis).clone(),
            Self::Lake(error) => error.diagnosis(),
            Self::Ledger(error) => error.diagnosis(),
            Self::Engine(error) => error.diagnosis(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Unreadable { .. } | Self::Wrong(_) => Exit::Wrong,
            Self::Stopped(failure) => failure.exit,
            Self::Lake(error) => error.exit(),
            Self::Ledger(error) => error.exit(),
            Self::Engine(error) => error.exit(),
        }
    }
}
