//! The world a ledger stands in: workers, the other side, people who decide, and what truly arrived.

use super::{
    PEOPLE, PLANS, WORKERS,
    act::{Act, What},
    flaw::Flaw,
    laws::Broken,
    ledger::{By, Ledger, Status},
    worker::{Hand, Life, Worker},
};
use crate::{delivery::state::Step, ledger::State};

/// What a world begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Setup {
    pub(super) workers: usize,
    pub(super) people: usize,
    pub(super) plans: usize,
    /// Messages become files, which prove that they are there; else they leave over the wire.
    pub(super) outbox: bool,
    /// Whose message has another id in the second plan, although it is about the same occasion: people as bits.
    pub(super) renamed: u8,
}

impl Setup {
    /// All messages: their plans, and their people.
    pub(super) fn messages(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.plans).flat_map(move |plan| (0..self.people).map(move |whom| (plan, whom)))
    }
}

/// What is true of a message, whatever the ledger says; workers are bits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fact {
    pub(super) arrived: u8,
    /// Whose bytes the other side has, and has not decided about.
    pub(super) flying: u8,
    /// Whose process has been told that it may send it, once, and has not.
    pub(super) permits: u8,
    /// To whom that was said although the person had opted out.
    pub(super) tainted: u8,
}

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) flaw: Option<Flaw>,
    pub(super) ledger: Ledger,
    pub(super) workers: [Worker; WORKERS],
    pub(super) facts: [[Fact; PEOPLE]; PLANS],
    /// Workers, by name, that died, stood still, lost a connection or could not write.
    pub(super) hurt: u128,
    /// Plans that were stopped.
    pub(super) stopped: [bool; PLANS],
    /// What broke in an act.
    pub(super) broken: Option<Broken>,
    /// How many acts there were, and of which kinds, as bits.
    pub(super) acts: usize,
    pub(super) happened: u64,
}

impl World {
    pub(super) fn new(setup: Setup, flaw: Option<Flaw>) -> Self {
        Self { setup, flaw, ledger: Ledger::new(setup, flaw), ..Self::default() }
    }

    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Does what is said, where it can be done now; says whether it could.
    pub(super) fn does(&mut self, act: Act) -> bool {
        let names_nobody = act.who >= self.setup.workers || act.whom >= self.setup.people || act.plan >= self.setup.plans;
        let life = self.workers[act.who].life;
        let can = match act.what {
            What::Start | What::StartOlder => life == Life::Down,
            What::Wake => life == Life::Paused,
            What::Kill => life != Life::Down,
            what => life == Life::Running || what > What::Stop,
        };
        let could = !names_nobody && can && if act.what <= What::Stop { self.worker_does(act) } else { self.others_do(act) };
        self.acts += usize::from(could);
        self.happened |= u64::from(could) << act.what as usize;
        could
    }

    fn others_do(&mut self, Act { what, whom, plan, .. }: Act) -> bool {
        let (fact, is_unknown) = (self.facts[plan][whom], self.ledger.rows[plan][whom].state == State::Unknown);
        let its = &mut self.ledger.plans[plan];
        match what {
            What::Take if fact.flying != 0 => self.serve(plan, whom, Step::Accept),
            What::Refuse if fact.flying != 0 => self.serve(plan, whom, Step::Reject),
            What::PutOff if fact.flying != 0 => self.serve(plan, whom, Step::Defer),
            What::OptOut => self.ledger.silent |= 1 << whom,
            What::Hold if its.status == Status::Delivering => its.status = Status::Held,
            What::Resume if its.status == Status::Held => its.status = Status::Delivering,
            What::Cancel if matches!(its.status, Status::Delivering | Status::Held) => {
                its.status = Status::Stopped;
                self.ledger.close_stopped(plan);
            }
            What::Expire if !its.late => its.late = true,
            What::Close if its.late => self.ledger.close(plan),
            // Whoever decides waits until it can be known.
            What::Resolve if is_unknown && fact.arrived > 0 => self.ledger.take(plan, whom, Step::Accept, By::Person),
            What::Resolve if is_unknown && !self.may_arrive(plan, whom) => self.ledger.unsend(plan, whom, By::Person),
            _ => return false,
        }
        true
    }

    /// Whether a message that has not arrived still can.
    fn may_arrive(&self, plan: usize, whom: usize) -> bool {
        let fact = self.facts[plan][whom];
        fact.flying != 0 || fact.permits != 0 || self.workers.iter().any(|worker| worker.plan == plan && worker.hand[whom] == Hand::Begun)
    }

    /// The other side decides about a message whose last byte it has, whether anybody still listens or not.
    fn serve(&mut self, plan: usize, whom: usize, step: Step) {
        let fact = &mut self.facts[plan][whom];
        let worker = &mut self.workers[fact.flying.trailing_zeros() as usize];
        fact.flying &= fact.flying - 1;
        fact.arrived += u8::from(step == Step::Accept);
        if worker.plan == plan && worker.hand[whom] == Hand::Whole {
            worker.hand[whom] = Hand::Replied(step);
        }
    }

    /// What comes next of a worker and of a person's message in its plan, where nothing goes wrong.
    pub(super) fn usual(&self, who: usize, whom: usize) -> Option<Act> {
        let worker = &self.workers[who];
        let what = match (worker.life, worker.hand[whom]) {
            (Life::Down, _) => return None,
            (Life::Paused, _) => What::Wake,
            (_, Hand::Handed) => What::Send,
            (_, Hand::Begun) => What::Finish,
            (_, Hand::Whole) => What::Take,
            (_, Hand::Replied(_)) => What::Hear,
            _ if worker.turn.is_some() => {
                if worker.stood {
                    What::Learn
                } else {
                    What::Stand
                }
            }
            (_, Hand::Empty) if !worker.stopping && !self.is_due(who, whom) => return None,
            _ => What::Turn,
        };
        Some(Act { what, who, whom, plan: worker.plan, group: u8::MAX })
    }

    /// What happens next where everything works: paused workers go on, the other side takes everything, and whoever has something to do
    /// does it. `None` when there is nothing left to do.
    pub(super) fn calm(&self) -> Option<Act> {
        if let Some((plan, whom)) = self.setup.messages().find(|(plan, whom)| self.facts[*plan][*whom].flying != 0) {
            return Some(Act { what: What::Take, who: 0, whom, plan, group: 0 });
        }
        if let Some(who) = (0..self.setup.workers).find(|who| self.workers[*who].life != Life::Down) {
            let usual = (0..self.setup.people).filter_map(|whom| self.usual(who, whom));
            return usual.min_by_key(|act| act.what == What::Turn).or(Some(Act { what: What::Stop, who, whom: 0, plan: 0, group: 0 }));
        }
        let (plan, _) = self.setup.messages().find(|(plan, whom)| {
            let goes_on = self.ledger.plans[*plan].status != Status::Delivered;
            goes_on && self.waits_in_vain(*plan, *whom)
        })?;
        Some(Act { what: What::Start, who: 0, whom: 0, plan, group: 0 })
    }

    /// Whether a message is in hand or waits, and not because its plan is held.
    pub(super) fn waits_in_vain(&self, plan: usize, whom: usize) -> bool {
        let (row, its) = (&self.ledger.rows[plan][whom], self.ledger.plans[plan]);
        row.is_in_hand() || (row.is_waiting() && (its.status != Status::Held || its.late))
    }
}
