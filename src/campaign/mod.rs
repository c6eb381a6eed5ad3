//! Segment rows pass the gates and become a frozen plan that a person reviews. What decides is pure; reading and writing stand at the
//! edge.
//!
//! | file | what it does |
//! |---|---|
//! | `settings.rs`, `check.rs` | read `campaign.toml`; say what does not fit its segment and templates |
//! | `segment.rs`, `facts.rs` | turn tables into people and what is known about them |
//! | `holes.rs` | says who lacks what the letter would show |
//! | `gates.rs`, `limits.rs`, `arbitration.rs` | decide about each person, in the contract's order |
//! | `ids.rs` | message ids, control groups and variants that never change |
//! | `slot.rs` | plans all campaigns of one slot |
//! | `digest.rs`, `freeze.rs`, `open.rs` | write a plan, hash it, and open it again only if nothing was altered |
//! | `decide.rs` | approve, reject, hold, resume, cancel |
//! | `review/` | the page marketing reads before it approves |
//! | `why.rs`, `preview.rs` | one person: which box and why, and the message they would get |

use std::path::{Path, PathBuf};

use crate::{
    config::ConfigError,
    diagnosis::{Diagnose, Diagnosis, Exit},
    lake::LakeError,
    ledger::{ActError, LedgerError},
    message::{Kind, MessageError},
};

mod arbitration;
mod check;
mod decide;
mod digest;
mod facts;
mod freeze;
mod frozen;
mod gates;
mod holes;
mod ids;
mod limits;
mod open;
mod preview;
mod review;
mod segment;
mod settings;
mod slot;
mod why;

#[cfg(test)]
mod tests;

pub use decide::{approve, cancel, hold, reject, resume};
pub use frozen::{PlanRow, plan_folder};
pub use gates::Reason;
pub use limits::Limits;
pub use open::{FrozenPlan, Letter};
pub use preview::{PreviewRequest, preview};
pub(crate) use review::grouped;
pub use settings::{Approval, CAMPAIGN_FILE, CAMPAIGNS, Campaign, CampaignSettings, Goal, Offer, Policy, names};
pub use slot::{Made, PlanRequest, Planned, plan_slot};
pub use why::{Answer, why};

/// What can go wrong between a segment and an approved plan.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// A settings file cannot be used.
    #[error(transparent)]
    Config(Box<ConfigError>),
    /// A template cannot be used, or not with this segment.
    #[error(transparent)]
    Message(Box<MessageError>),
    /// A table cannot be read.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The plan's state does not allow what was asked.
    #[error(transparent)]
    Act(#[from] ActError),
    /// A file of a plan cannot be read or written.
    #[error("{} cannot be used: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The project, the data or the plan is not as it must be.
    #[error("{diagnosis}")]
    Told {
        /// What, where, and what to do.
        diagnosis: Box<Diagnosis>,
        /// What running again would do.
        exit: Exit,
    },
}

impl CampaignError {
    /// Something that running again does not mend (exit 2).
    pub(crate) fn wrong(diagnosis: Diagnosis) -> Self {
        Self::Told { diagnosis: Box::new(diagnosis), exit: Exit::Wrong }
    }

    /// Something that may work on the next run (exit 1).
    pub(crate) fn failed(diagnosis: Diagnosis) -> Self {
        Self::Told { diagnosis: Box::new(diagnosis), exit: Exit::Failed }
    }

    pub(crate) fn io(path: &Path, error: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }
}

impl From<ConfigError> for CampaignError {
    fn from(error: ConfigError) -> Self {
        Self::Config(Box::new(error))
    }
}

impl From<MessageError> for CampaignError {
    fn from(error: MessageError) -> Self {
        Self::Message(Box::new(error))
    }
}

impl Diagnose for CampaignError {
    fn diagnosis(&self) -> Diagnosis {
        match self {
            Self::Config(error) => error.diagnosis(),
            Self::Message(error) => error.diagnosis(),
            Self::Lake(error) => error.diagnosis(),
            Self::Ledger(error) => error.diagnosis(),
            Self::Act(error) => error.diagnosis(),
            Self::Io { path, error } => Diagnosis::new("plan_files", format!("cannot be used: {error}"))
                .in_file(path)
                .hint("check that the data folder is there, has room, and that the program's user may write to it; then run it again"),
            Self::Told { diagnosis, .. } => (**diagnosis).clone(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Config(error) => error.exit(),
            Self::Message(error) => error.exit(),
            Self::Lake(error) => error.exit(),
            Self::Ledger(error) => error.exit(),
            Self::Act(error) => error.exit(),
            Self::Io { .. } => Exit::Failed,
            Self::Told { exit, .. } => *exit,
        }
    }
}
