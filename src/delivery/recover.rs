//! What a process that died left behind, and the lock that tells a dead one from a living one where the ledger is a file.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};

use super::{
    account::ThisRun,
    error::DeliveryError,
    outbox::Outbox,
    state::{Evidence, after_crash},
};
use crate::{
    ledger::{Ledger, PlanId, State, Stranded},
    message::Channel,
};

/// Held while a process delivers. The system takes it away when the process dies, however it dies.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Takes the lock of the project in `root`.
    pub(crate) fn take(root: &Path) -> Result<Self, DeliveryError> {
        let path = PathBuf::from("data/.delivery.lock");
        let unwritable = |error: std::io::Error| DeliveryError::Unwritable { path: path.clone(), reason: error.to_string() };
        std::fs::create_dir_all(root.join("data")).map_err(unwritable)?;
        let file = File::options().create(true).truncate(false).write(true).open(root.join(&path)).map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(DeliveryError::Busy),
            Err(TryLockError::Error(error)) => Err(unwritable(error)),
        }
    }
}

/// Settles every message a dead process left in flight, in any plan: what nobody can know is shown at once, also of plans that are never
/// delivered again. Returns what that means for `plan`, and how many messages of other plans became unknown.
pub(crate) async fn recover(ledger: &Ledger, root: &Path, plan: &PlanId, now: DateTime<Utc>) -> Result<(ThisRun, u64), DeliveryError> {
    let (mut run, mut elsewhere) = (ThisRun::default(), 0);
    let mut plans: BTreeMap<PlanId, Vec<(Stranded, State)>> = BTreeMap::new();
    for stranded in ledger.stranded().await? {
        let Some(state) = after_crash(stranded.state, evidence(root, &stranded)).and_then(|step| step.from(stranded.state)) else {
            continue;
        };
        tracing::warn!(plan = %stranded.plan, customer_id = %stranded.message.customer_id, message_id = %stranded.message.message_id,
            was = stranded.state.as_str(), now = state.as_str(), "a delivery died with this message in hand");
        plans.entry(stranded.plan.clone()).or_default().push((stranded, state));
    }
    for (of, found) in plans {
        for settled in ledger.settle_stranded(&of, found, now).await? {
            if of == *plan {
                run.add(settled.state, 1);
            } else if settled.state == State::Unknown {
                elsewhere += 1;
            }
        }
    }
    Ok((run, elsewhere))
}

/// What can be proved about a message in flight.
fn evidence(root: &Path, stranded: &Stranded) -> Evidence {
    if stranded.transport.as_deref() != Some("outbox") {
        return Evidence::None;
    }
    let found = [Channel::Email, Channel::Webhook].map(|channel| Outbox::new(root, channel).evidence(stranded.message.message_id.as_str()));
    if found.contains(&Evidence::Delivered) {
        Evidence::Delivered
    } else if found.contains(&Evidence::None) {
        Evidence::None
    } else {
        Evidence::Absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_delivers_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let held = Lock::take(root.path()).unwrap();
        assert!(matches!(Lock::take(root.path()), Err(DeliveryError::Busy)));
        drop(held);
        assert!(Lock::take(root.path()).is_ok());
    }
}
