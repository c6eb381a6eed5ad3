//! The send law as a state machine, pure and apart from all I/O.
//!
//! ```text
//! waiting ──reserve──▶ reserved ──commit──▶ committing ──settle──▶ accepted | rejected | deferred | unknown
//!    ▲  ◀──release──────┘   │                    │ not sent               deferred ──reserve──▶ reserved
//!    ├──────take (reserve and commit in one transaction)──▶              unknown  ──a person decides──▶ accepted | waiting | cancelled
//!    └──────────────────────┼────────────────────┘
//!                           └──drop──▶ cancelled (also from waiting and deferred, which may expire as well)
//! ```
//!
//! Each state is durable before the act it permits: no byte that could deliver leaves before `committing` is. So whatever a dead process
//! leaves behind can be read: `reserved` was certainly not sent, `committing` may have been. The ledger holds the same law as a trigger.

use crate::ledger::State;

/// What may happen to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "the whole law stands here; most steps are the ledger's own, and its trigger keeps them"))]
pub(super) enum Step {
    /// Its person passed the policy, and its id was claimed.
    Reserve,
    /// The delivery stops before it left.
    Release,
    /// It is about to leave.
    Commit,
    /// Both in one transaction: its letter was written before.
    Take,
    /// The other side took it.
    Accept,
    /// The other side refused it for good, or it could not be written at all.
    Reject,
    /// The other side said "not now".
    Defer,
    /// It may or may not have arrived.
    Lose,
    /// It certainly did not leave: the connection failed before its first byte.
    Return,
    /// Its person dropped out.
    Drop,
    /// Its plan's time ran out.
    Expire,
    /// A person decided that it had not arrived, and its plan can no longer deliver it.
    WriteOff,
}

impl Step {
    /// All steps.
    #[cfg(test)]
    pub(super) const ALL: [Self; 12] = [
        Self::Reserve,
        Self::Release,
        Self::Commit,
        Self::Take,
        Self::Accept,
        Self::Reject,
        Self::Defer,
        Self::Lose,
        Self::Return,
        Self::Drop,
        Self::Expire,
        Self::WriteOff,
    ];

    /// The state after this step from `state`; `None` where the law forbids it.
    #[must_use]
    pub(super) fn from(self, state: State) -> Option<State> {
        use State::{Accepted, Cancelled, Committing, Deferred, Expired, Rejected, Reserved, Unknown, Waiting};
        match (self, state) {
            (Self::Reserve, Waiting | Deferred) => Some(Reserved),
            (Self::Release, Reserved) | (Self::Return, Committing | Unknown) => Some(Waiting),
            (Self::Commit, Reserved) | (Self::Take, Waiting | Deferred) => Some(Committing),
            (Self::Accept, Committing | Unknown) => Some(Accepted),
            (Self::Reject, Committing | Reserved) => Some(Rejected),
            (Self::Defer, Committing) => Some(Deferred),
            (Self::Lose, Committing) => Some(Unknown),
            (Self::Drop, Waiting | Deferred | Reserved) | (Self::WriteOff, Unknown) => Some(Cancelled),
            (Self::Expire, Waiting | Deferred | Reserved) => Some(Expired),
            _ => None,
        }
    }
}

/// What a transport can prove about a message after its process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// It is there, complete.
    Delivered,
    /// It is not there, and cannot come any more.
    Absent,
    /// Nothing can be proved.
    None,
}

/// What a message found in flight becomes when no process is sending it.
#[must_use]
pub(super) fn after_crash(state: State, evidence: Evidence) -> Option<Step> {
    match (state, evidence) {
        (State::Reserved, _) => Some(Step::Release),
        (State::Committing, Evidence::Delivered) => Some(Step::Accept),
        (State::Committing, Evidence::Absent) => Some(Step::Return),
        (State::Committing, Evidence::None) => Some(Step::Lose),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ledger_keeps_the_same_law() {
        let allowed: BTreeSet<(String, String)> = State::ALL
            .iter()
            .flat_map(|from| Step::ALL.iter().filter_map(|step| step.from(*from).map(|to| (from.as_str().into(), to.as_str().into()))))
            .collect();
        let schema = include_str!("../ledger/one_by_one.sql");
        let ledger = rusqlite::Connection::open_in_memory().unwrap();
        ledger.execute_batch("create table recipients (state text)").unwrap();
        ledger.execute_batch(&schema[schema.find("create trigger send_law").unwrap()..]).unwrap();
        let takes = |from: State, to: State| {
            ledger.execute("delete from recipients", []).unwrap();
            ledger.execute("insert into recipients values (?)", [from.as_str()]).unwrap();
            ledger.execute("update recipients set state = ?", [to.as_str()]).is_ok()
        };
        let pairs = State::ALL.iter().flat_map(|from| State::ALL.iter().map(move |to| (*from, *to))).filter(|(from, to)| from != to);
        let kept: BTreeSet<(String, String)> =
            pairs.filter(|(from, to)| takes(*from, *to)).map(|(from, to)| (from.as_str().into(), to.as_str().into())).collect();
        assert_eq!(kept, allowed);
    }

    /// A message in a world that crashes: what the ledger says, what the process knows, and what arrived.
    #[derive(Debug, Default)]
    struct World {
        arrived: u32,
        /// A byte left after the message was committed, and no answer has been recorded.
        on_the_wire: bool,
        /// The answer the process holds and has not recorded.
        answer: Option<Step>,
    }

    #[derive(Debug, Clone, Copy)]
    enum Act {
        Reserve,
        Release,
        Commit,
        Take,
        /// The bytes leave, and the other side takes, refuses or puts off the message, or says nothing.
        Send(bool, Option<bool>),
        /// The connection fails before the first byte.
        Fail,
        Record,
        Drop,
        Expire,
        Crash,
        Decide(bool),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => Just(Act::Reserve),
            1 => Just(Act::Release),
            4 => Just(Act::Commit),
            4 => Just(Act::Take),
            4 => (any::<bool>(), any::<Option<bool>>()).prop_map(|(took, answer)| Act::Send(took, answer)),
            1 => Just(Act::Fail),
            4 => Just(Act::Record),
            1 => Just(Act::Drop),
            1 => Just(Act::Expire),
            2 => Just(Act::Crash),
            1 => any::<bool>().prop_map(Act::Decide),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

        #[test]
        fn no_interleaving_sends_twice_or_loses_track(acts in prop::collection::vec(act(), 1..60)) {
            let mut state = State::Waiting;
            let mut world = World::default();
            let mut lied = false;
            for act in acts {
                let step = match act {
                    Act::Reserve => Some(Step::Reserve),
                    Act::Release => Some(Step::Release),
                    Act::Commit => Some(Step::Commit),
                    Act::Take => Some(Step::Take),
                    // A process sends a message once after it committed it, and only then.
                    Act::Send(took, answer) if state == State::Committing && !world.on_the_wire && world.answer.is_none() => {
                        world.on_the_wire = true;
                        // What the other side says is true: "taken" only if it was, "refused" only if it was not.
                        world.arrived += u32::from(took);
                        world.answer = Some(match (took, answer) {
                            (true, Some(_)) => Step::Accept,
                            (false, Some(true)) => Step::Reject,
                            (false, Some(false)) => Step::Defer,
                            (_, None) => Step::Lose,
                        });
                        None
                    }
                    Act::Fail if state == State::Committing && !world.on_the_wire => {
                        world.answer = Some(Step::Return);
                        None
                    }
                    Act::Send(..) | Act::Fail => None,
                    Act::Record => world.answer.take(),
                    Act::Drop => Some(Step::Drop),
                    Act::Expire => Some(Step::Expire),
                    Act::Crash => {
                        world.answer = None;
                        after_crash(state, Evidence::None)
                    }
                    Act::Decide(arrived) if state == State::Unknown => {
                        lied |= arrived != (world.arrived > 0);
                        Some(if arrived { Step::Accept } else { Step::Return })
                    }
                    Act::Decide(_) => None,
                };
                if let Some(next) = step.and_then(|step| step.from(state)) {
                    if next != State::Committing { world.on_the_wire = false; }
                    if next == State::Committing { world.answer = None; }
                    state = next;
                }
                // As long as nobody decides against the truth, the ledger is never wrong about what arrived.
                if !lied {
                    prop_assert!(world.arrived <= 1, "arrived twice");
                    match state {
                        State::Accepted => prop_assert_eq!(world.arrived, 1),
                        State::Waiting | State::Reserved | State::Deferred | State::Rejected | State::Cancelled | State::Expired =>
                            prop_assert_eq!(world.arrived, 0),
                        State::Committing | State::Unknown => {}
                    }
                }
            }
        }
    }
}
