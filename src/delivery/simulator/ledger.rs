//! The durable side: what stands in the ledger, and its transactions. Each stands whole or not at all, and moves a message only by a
//! [`Step`] of the send law.

use super::{PEOPLE, PLANS, bit, flaw::Flaw, world::Setup};
use crate::{
    delivery::state::{Evidence, Step, after_crash},
    ledger::State,
};

/// A worker's name, never given twice.
pub(super) type Name = u8;

/// One person's message of a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) state: State,
    /// Who has it in hand, or had it last.
    pub(super) owner: Name,
    /// Unknown, because its worker was taken for dead.
    pub(super) crashed: bool,
}

impl Default for Row {
    fn default() -> Self {
        Self { state: State::Waiting, owner: 0, crashed: false }
    }
}

impl Row {
    pub(super) fn is_in_hand(&self) -> bool {
        matches!(self.state, State::Reserved | State::Committing)
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting | State::Deferred)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Status {
    #[default]
    Delivering,
    Held,
    Stopped,
    Delivered,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Plan {
    pub(super) status: Status,
    /// Its time has run out.
    pub(super) late: bool,
}

/// From which states each step was taken, as bits.
pub(super) type Taken = [u16; Step::ALL.len()];

/// What a worker asks of the ledger in one transaction, and afterwards what of it was done; people are bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Turn {
    pub(super) settle: [Option<Step>; PEOPLE],
    /// Reserved and committed.
    pub(super) take: u8,
    /// Reserved alone.
    pub(super) reserve: u8,
    /// Committed, of those reserved before.
    pub(super) commit: u8,
    /// The worker leaves after it.
    pub(super) last: bool,
    /// Who had opted out when it was put together.
    pub(super) silent: u8,
    /// Whether the plan was being delivered.
    pub(super) open: bool,
}

/// A message whose worker has no lease, as somebody saw it, and what was to become of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stranded {
    state: State,
    owner: Name,
    step: Step,
}

/// On whose word a message changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// A worker, in its turn.
    Worker(Name),
    /// A worker, after its lease had been taken away.
    Late,
    Recovery,
    /// A person decided, or something came back.
    Person,
    /// Its plan was closed.
    Plan,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) plan: usize,
    pub(super) person: usize,
    pub(super) from: State,
    pub(super) to: State,
    pub(super) by: By,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    setup: Setup,
    flaw: Option<Flaw>,
    pub(super) rows: [[Row; PEOPLE]; PLANS],
    pub(super) plans: [Plan; PLANS],
    /// Which plan claimed a message id.
    claims: [Option<usize>; 2 * PEOPLE],
    /// Who opted out.
    pub(super) silent: u8,
    /// Workers, by name.
    pub(super) leases: u128,
    names: Name,
    /// What changed since it was last looked at.
    pub(super) journal: Vec<Change>,
    pub(super) taken: Taken,
}

impl Ledger {
    /// With the accounts of all plans open, and every message claimed by the first that has it.
    pub(super) fn new(setup: Setup, flaw: Option<Flaw>) -> Self {
        let mut ledger = Self { setup, flaw, ..Self::default() };
        for (plan, person) in setup.messages() {
            ledger.claims[ledger.message_id(plan, person)].get_or_insert(plan);
        }
        ledger
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// A lease for a new worker, until none are left to give.
    pub(super) fn join(&mut self) -> Option<Name> {
        self.names = self.names.checked_add(1).filter(|name| *name < 128)?;
        self.leases |= 1 << self.names;
        Some(self.names)
    }

    pub(super) fn has_lease(&self, name: Name) -> bool {
        self.leases & (1 << name) != 0
    }

    fn is_stranded(&self, row: &Row) -> bool {
        let retried = row.state == State::Unknown && self.has(Flaw::UnknownRetried);
        retried || (row.is_in_hand() && !self.has_lease(row.owner))
    }

    /// What a worker asks for, unless its lease has been taken away.
    pub(super) fn turn(&mut self, plan: usize, name: Name, turn: &mut Turn) -> bool {
        if !self.has_lease(name) && !self.has(Flaw::FencedWorkerCommits) {
            return false;
        }
        turn.open = self.plans[plan].status == Status::Delivering || self.has(Flaw::HoldUnseen);
        for person in 0..self.setup.people {
            turn.settle[person].into_iter().for_each(|step| self.settle(plan, person, step, name));
            let (open, silent) = (turn.open, turn.silent);
            for (step, people) in [(Step::Take, &mut turn.take), (Step::Reserve, &mut turn.reserve), (Step::Commit, &mut turn.commit)] {
                let done = open && bit(*people, person) && self.claim(plan, person, step, name, silent);
                *people &= !(u8::from(!done) << person);
            }
        }
        true
    }

    /// Only what the worker has in hand is its to settle: what it is told to have failed may have stood, and others gone on from there.
    fn settle(&mut self, plan: usize, person: usize, step: Step, name: Name) {
        let row = self.rows[plan][person];
        let others = self.has(Flaw::OthersSettled) && step.from(row.state).is_some();
        if others || (row.owner == name && row.is_in_hand()) {
            self.take(plan, person, step, By::Worker(name));
        }
    }

    /// A person is looked at and their message claimed: taken, or reserved alone; an older version commits it in a second turn.
    fn claim(&mut self, plan: usize, person: usize, step: Step, name: Name, silent: u8) -> bool {
        let row = self.rows[plan][person];
        let is_next = if step == Step::Commit { row.state == State::Reserved && row.owner == name } else { row.is_waiting() };
        if !is_next {
            // Taken again, the state stays as it is, and no trigger notices.
            return self.has(Flaw::TakenTwice) && (step, row.state) == (Step::Take, State::Committing);
        }
        let silent = if self.has(Flaw::StalePolicy) { silent } else { self.silent };
        let drops = bit(silent, person) || self.is_told(plan, person);
        if !drops {
            self.claims[self.message_id(plan, person)] = Some(plan);
            self.rows[plan][person].owner = name;
        }
        self.take(plan, person, if drops { Step::Drop } else { step }, By::Worker(name));
        !drops
    }

    pub(super) fn message_id(&self, plan: usize, person: usize) -> usize {
        if plan > 0 && bit(self.setup.renamed, person) { PEOPLE + person } else { person }
    }

    /// Whether another plan has told, may have told or promised the occasion: by the message's id, or by person and occasion.
    fn is_told(&self, plan: usize, person: usize) -> bool {
        let by = |id: usize| {
            self.claims[id].is_some_and(|other| {
                let state = self.rows[other][person].state;
                other != plan && !matches!(state, State::Rejected | State::Cancelled | State::Expired)
            })
        };
        match self.flaw {
            Some(Flaw::ClaimsUnseen) => false,
            Some(Flaw::OccasionUnseen) => by(self.message_id(plan, person)),
            _ => by(person) || by(PEOPLE + person),
        }
    }

    /// What the dead left of one message; `evidence` is what its transport can prove.
    pub(super) fn stranded(&self, plan: usize, person: usize, evidence: Evidence) -> Option<Stranded> {
        let row = self.rows[plan][person];
        let step = match (self.flaw, row.state) {
            _ if !self.is_stranded(&row) => return None,
            (Some(Flaw::CrashMeansUnsent), State::Committing) | (Some(Flaw::UnknownRetried), State::Unknown) => Step::Return,
            (Some(Flaw::ReservedForgotten), State::Reserved) => return None,
            _ => after_crash(row.state, evidence)?,
        };
        Some(Stranded { state: row.state, owner: row.owner, step })
    }

    /// Settles what the dead left, where it is still as it was seen.
    pub(super) fn recover(&mut self, plan: usize, person: usize, seen: Stranded) {
        let row = self.rows[plan][person];
        let as_seen = (row.state, row.owner) == (seen.state, seen.owner);
        if self.is_stranded(&row) && as_seen {
            self.take(plan, person, seen.step, By::Recovery);
        } else if row.is_in_hand() && self.has(Flaw::RecoveredFromMemory) {
            seen.step.from(row.state).into_iter().for_each(|to| self.set(plan, person, to, By::Recovery));
        }
        self.close_stopped(plan);
    }

    /// What a worker without a lease knows of messages that count as unknown since: that they arrived, or that they never left.
    pub(super) fn settle_late(&mut self, plan: usize, name: Name, turn: &Turn) {
        for person in 0..self.setup.people {
            let row = self.rows[plan][person];
            if row.state != State::Unknown || !row.crashed || row.owner != name {
                continue;
            }
            match turn.settle[person] {
                Some(Step::Accept) => self.take(plan, person, Step::Accept, By::Late),
                Some(Step::Return) => self.unsend(plan, person, By::Late),
                Some(Step::Reject) if self.has(Flaw::LateRefusal) => self.set(plan, person, State::Rejected, By::Late),
                _ => {}
            }
        }
        self.close_stopped(plan);
    }

    /// An unknown message that did not arrive waits again where its plan can still deliver it. A late worker may have left a plan `delivered`
    /// that was not: it goes on.
    pub(super) fn unsend(&mut self, plan: usize, person: usize, by: By) {
        let Plan { status, late } = self.plans[plan];
        let reopens = by == By::Late && status == Status::Delivered && !late;
        if (reopens && !self.has(Flaw::StaysDelivered)) || (by == By::Late && self.has(Flaw::StoppedReopened)) {
            self.plans[plan].status = Status::Delivering;
        }
        let open = matches!(status, Status::Delivering | Status::Held) && !late;
        let waits = open || reopens || (by == By::Late && self.has(Flaw::LateInClosedPlan));
        self.take(plan, person, if waits { Step::Return } else { Step::WriteOff }, by);
    }

    /// Closes what cannot go on: who waits in a stopped plan is cancelled, who waits in a late one expires, and so may whom a dead worker
    /// had reserved.
    pub(super) fn close(&mut self, plan: usize) {
        let Plan { status, late } = self.plans[plan];
        for person in (0..self.setup.people).filter(|_| late) {
            let row = self.rows[plan][person];
            if row.is_waiting() || (row.state == State::Reserved && self.is_stranded(&row)) {
                self.take(plan, person, Step::Expire, By::Plan);
            }
        }
        self.close_stopped(plan);
        let over = !self.rows[plan][..self.setup.people].iter().any(|row| row.is_waiting() || row.is_in_hand());
        if over && (status == Status::Delivering || (status == Status::Held && late)) {
            self.plans[plan].status = Status::Delivered;
        }
    }

    pub(super) fn close_stopped(&mut self, plan: usize) {
        let stopped = self.plans[plan].status == Status::Stopped;
        for person in (0..self.setup.people).filter(|_| stopped) {
            let row = self.rows[plan][person];
            if row.is_waiting() {
                self.take(plan, person, Step::Drop, By::Plan);
            } else if row.state == State::Committing && self.has(Flaw::CancelledOnTheWire) {
                self.set(plan, person, State::Cancelled, By::Plan);
            }
        }
    }

    /// Takes a step; one that the send law forbids stands in the journal as no change.
    pub(super) fn take(&mut self, plan: usize, person: usize, step: Step, by: By) {
        let from = self.rows[plan][person].state;
        self.taken[step as usize] |= 1 << from as usize;
        self.set(plan, person, step.from(from).unwrap_or(from), by);
    }

    fn set(&mut self, plan: usize, person: usize, to: State, by: By) {
        let row = &mut self.rows[plan][person];
        self.journal.push(Change { plan, person, from: row.state, to, by });
        row.state = to;
        row.crashed = by == By::Recovery;
    }
}
