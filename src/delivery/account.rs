//! What became of everybody: the account that must balance.

use serde::Serialize;

use crate::{
    diagnosis::Exit,
    ledger::{PlanId, State, Tally},
};

/// The account of a plan after a delivery, as `deliver --format json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Account {
    /// The plan.
    pub plan: PlanId,
    /// What became of everybody so far, in this run and before.
    #[serde(flatten)]
    pub total: Tally,
    /// What this run did.
    pub this_run: ThisRun,
    /// Messages of other plans that a process which died had in hand, and nobody can know the fate of.
    #[serde(skip_serializing_if = "none")]
    pub unknown_elsewhere: u64,
    /// How long it took.
    pub seconds: f64,
}

fn none(count: &u64) -> bool {
    *count == 0
}

/// What one run of a delivery did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ThisRun {
    /// The other side took them.
    pub accepted: u64,
    /// The other side refused them for good.
    pub rejected: u64,
    /// Will be tried again.
    pub deferred: u64,
    /// Nobody can know; not sent again.
    pub unknown: u64,
    /// Dropped out, each with a reason.
    pub cancelled: u64,
    /// Too late.
    pub expired: u64,
}

impl ThisRun {
    /// Counts `count` messages that came to `state`.
    pub(crate) fn add(&mut self, state: State, count: u64) {
        match state {
            State::Accepted => self.accepted += count,
            State::Rejected => self.rejected += count,
            State::Deferred => self.deferred += count,
            State::Unknown => self.unknown += count,
            State::Cancelled => self.cancelled += count,
            State::Expired => self.expired += count,
            State::Waiting | State::Reserved | State::Committing => {}
        }
    }
}

impl ThisRun {
    /// Counts what another part of the run did.
    pub(crate) fn join(&mut self, other: Self) {
        let Self { accepted, rejected, deferred, unknown, cancelled, expired } = other;
        self.accepted += accepted;
        self.rejected += rejected;
        self.deferred += deferred;
        self.unknown += unknown;
        self.cancelled += cancelled;
        self.expired += expired;
    }
}

impl Account {
    /// How the command ends: 3 where messages were rejected, deferred, expired or became unknown in this run, whosever they are, else 0.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let run = &self.this_run;
        if run.rejected + run.deferred + run.expired + run.unknown + self.unknown_elsewhere > 0 { Exit::Partly } else { Exit::Done }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_prints_as_the_contract_says() {
        let total = Tally { planned: 3, accepted: 1, cancelled: 2, ..Tally::default() };
        let this_run = ThisRun { cancelled: 2, ..ThisRun::default() };
        let account = Account { plan: PlanId::new("win-back-1"), total, this_run, unknown_elsewhere: 0, seconds: 0.5 };
        assert_eq!(account.exit(), Exit::Done, "people who drop out are no failure");
        assert_eq!(
            serde_json::to_string(&account).unwrap(),
            r#"{"plan":"win-back-1","planned":3,"accepted":1,"rejected":0,"deferred":0,"waiting":0,"unknown":0,"cancelled":2,"expired":0,"this_run":{"accepted":0,"rejected":0,"deferred":0,"unknown":0,"cancelled":2,"expired":0},"seconds":0.5}"#
        );
        assert_eq!(Account { unknown_elsewhere: 1, ..account.clone() }.exit(), Exit::Partly);
        for state in [State::Rejected, State::Deferred, State::Expired, State::Unknown] {
            let mut account = account.clone();
            account.this_run.add(state, 1);
            assert_eq!(account.exit(), Exit::Partly, "{state:?}");
        }
    }
}
