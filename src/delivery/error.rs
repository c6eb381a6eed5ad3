//! What ends a delivery early, or keeps it from beginning.

use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, Utc};

use super::returns::ReturnsError;
use crate::{
    diagnosis::{Diagnose, Diagnosis, Exit},
    ledger::{LedgerError, PlanId},
    secret::SecretError,
};

/// A delivery that cannot begin, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The ledger has never heard of the plan.
    #[error("there is no plan `{0}` in the ledger")]
    NoPlan(PlanId),
    /// Nobody approved the plan, or it was held, rejected or stopped.
    #[error("plan `{plan}` is {status}, not approved")]
    NotApproved {
        /// The plan.
        plan: PlanId,
        /// Its status.
        status: String,
    },
    /// The plan's time ran out before it was delivered.
    #[error("plan `{plan}` expired at {at}", at = at.to_rfc3339_opts(SecondsFormat::Secs, true))]
    Expired {
        /// The plan.
        plan: PlanId,
        /// When.
        at: DateTime<Utc>,
    },
    /// The plan was made for another time than the live slot.
    #[error("plan `{0}` is a replay")]
    Replay(PlanId),
    /// The plan's files and the ledger disagree.
    #[error("plan `{plan}` promises {planned} messages, its files hold {found}")]
    Mismatch {
        /// The plan.
        plan: PlanId,
        /// What the ledger says.
        planned: u64,
        /// What was read.
        found: u64,
    },
    /// Nobody can say how people stand today.
    #[error("no build has published how people stand today")]
    NeverBuilt,
    /// How people stand was published too long ago.
    #[error("how people stand was last published at {at}, which is longer ago than `max_age` allows", at = .0.to_rfc3339_opts(SecondsFormat::Secs, true))]
    Stale(DateTime<Utc>),
    /// The settings would make it fail, or leave the house where it must not.
    #[error("{0}")]
    Settings(Box<Diagnosis>),
    /// A secret could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Another process is delivering.
    #[error("another process is delivering")]
    Busy,
    /// The lock's file cannot be written.
    #[error("{}: cannot be written: {reason}", path.display())]
    Unwritable {
        /// What could not be written.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The plan's people could not be read.
    #[error("the plan's people cannot be read: {0}")]
    People(Box<Diagnosis>),
    /// The other side cannot be reached, or turns every message away.
    #[error("{0}")]
    Transport(TransportError),
    /// The campaign bounces or annoys too often.
    #[error("plan `{plan}` is on hold: {why}")]
    Tripped {
        /// The plan.
        plan: PlanId,
        /// What came back too often.
        why: String,
    },
    /// What came back cannot be read.
    #[error("{0}")]
    Returns(Box<ReturnsError>),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A way out that is closed: no message can leave by it now.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// No connection.
    #[error("`{host}` cannot be reached: {reason}")]
    Unreachable {
        /// The relay or the receiver.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// The relay cannot prove that it is who it should be.
    #[error("the certificate of `{host}` is not trusted: {reason}")]
    Certificate {
        /// The relay.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The relay does not let us in.
    #[error("the relay `{host}` does not let us in: {reason}")]
    Refused {
        /// The relay.
        host: String,
        /// What it answered, without addresses.
        reason: String,
    },
    /// The relay does not take mail from the brand's address.
    #[error("the relay `{host}` takes no mail from the sender's address: {reason}")]
    Sender {
        /// The relay.
        host: String,
        /// What it answered, without addresses.
        reason: String,
    },
    /// The receiver answered 410: it wants no more calls.
    #[error("`{host}` answers 410: it is there no more, and wants no more calls")]
    Gone {
        /// The receiver.
        host: String,
    },
    /// The API turns everybody away until somebody sets it right.
    #[error("`{host}` takes no message: {reason}")]
    Closed {
        /// The API.
        host: String,
        /// What it answered, without addresses.
        reason: String,
    },
    /// The API wants to be left alone for longer than a run waits.
    #[error("`{host}` wants no more calls for now, {seconds} s at least")]
    Busy {
        /// The API.
        host: String,
        /// For how long.
        seconds: u64,
    },
    /// A worker of ours died.
    #[error("a worker of the delivery died")]
    Broken,
    /// The system gives us no workers.
    #[error("no worker of the delivery could begin: {0}")]
    NoWorkers(String),
    /// A folder cannot be written.
    #[error("{}: cannot be written: {reason}", path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl Diagnose for DeliveryError {
    fn diagnosis(&self) -> Diagnosis {
        let diagnosis = |code: &str| Diagnosis::new(code, self.to_string());
        match self {
            Self::NoPlan(_) => diagnosis("no_plan").hint("`perennial plans` lists the plans there are"),
            Self::NotApproved { plan, status } => diagnosis("not_approved").hint(match status.as_str() {
                "draft" => format!("look at its review page, then `perennial approve {plan} --by NAME`"),
                "held" => format!("`perennial resume {plan}` lets it go on"),
                _ => "`perennial plans` lists the plans that can be delivered".to_owned(),
            }),
            Self::Expired { .. } => diagnosis("expired").hint("plan the campaign again: people have moved on since"),
            Self::Replay(_) => diagnosis("replay").hint("it was made for another day; `--allow-replay` delivers it all the same"),
            Self::Mismatch { .. } => {
                diagnosis("plan_changed").hint("the plan's folder was changed after it was frozen; plan the campaign again")
            }
            Self::NeverBuilt => diagnosis("never_built").hint(
                "run `perennial pull` and `perennial build`, then deliver again; a build for another time (`--as-of`) does not say it",
            ),
            Self::Stale(_) => diagnosis("stale").hint("run `perennial pull` and `perennial build`, then deliver again"),
            Self::Settings(diagnosis) => diagnosis.as_ref().clone(),
            Self::Secret(error) => error.diagnosis(),
            Self::Busy => diagnosis("busy").hint("wait until it has finished, or hold its plan"),
            Self::Unwritable { path, .. } => diagnosis("unwritable")
                .in_file(path)
                .hint("check that the program's user may write to the data folder, and that the disk is not full"),
            Self::People(diagnosis) => Diagnosis { message: self.to_string(), ..diagnosis.as_ref().clone() },
            Self::Transport(error) => diagnosis("transport").hint(match error {
                TransportError::Unreachable { .. } => {
                    "nobody was skipped: whoever was not written to still waits; deliver again when it can be reached"
                }
                TransportError::Certificate { .. } => {
                    "check that `host` in `[delivery.smtp]` is the name in the certificate; `ca` names an authority of your own. Nothing was sent"
                }
                TransportError::Refused { .. } => {
                    "check `tls`, `username` and `password` in `[delivery.smtp]`; whoever was not written to still waits"
                }
                TransportError::Sender { .. } => {
                    "check that the relay may send for `from` in `[brand]`; whoever was not written to still waits"
                }
                TransportError::Gone { .. } => {
                    "the plan is on hold; set the receiver's new address in `config/perennial.toml`, then `perennial resume` it"
                }
                TransportError::Closed { .. } => {
                    "set right what it names: a key, a quota, the sender's address, the description in use. Whoever was not written to still waits; \
                     deliver again then"
                }
                TransportError::Busy { .. } => {
                    "deliver again later: whoever was not written to still waits. Where it says so every time, lower `rate` in its settings, or ask \
                     the provider for more"
                }
                TransportError::Broken => {
                    "deliver again; what it had in hand will be listed as unknown. Please report this as a fault of the program"
                }
                TransportError::NoWorkers(_) => {
                    "check how many threads and open files the program's user may have; whoever was not written to still waits"
                }
                TransportError::Unwritable { .. } => {
                    "check that the program's user may write there, and that the disk is not full; nobody was skipped"
                }
            }),
            Self::Tripped { plan, .. } => diagnosis("breaker").hint(format!(
                "look at who it writes to; `perennial resume {plan}` lets it go on, and what came back so far counts no more"
            )),
            Self::Returns(error) => error.diagnosis(),
            Self::Ledger(error) => error.diagnosis(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::NoPlan(_)
            | Self::NotApproved { .. }
            | Self::Expired { .. }
            | Self::Replay(_)
            | Self::Mismatch { .. }
            | Self::NeverBuilt
            | Self::Stale(_)
            | Self::Settings(_)
            | Self::Secret(_) => Exit::Wrong,
            Self::Busy => Exit::Busy,
            Self::Unwritable { .. } | Self::People(_) | Self::Transport(_) | Self::Tripped { .. } => Exit::Failed,
            Self::Returns(error) => error.exit(),
            Self::Ledger(error) => error.exit(),
        }
    }
}
