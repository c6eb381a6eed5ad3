//! A worker: a process, what it has in memory, and what it has on the wire.

use super::{
    OPEN, PEOPLE, PLANS,
    act::{Act, What},
    bit,
    flaw::Flaw,
    laws::Broken,
    ledger::{Name, Stranded, Turn},
    world::World,
};
use crate::{
    delivery::state::{Evidence, Step},
    ledger::State,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Life {
    #[default]
    Down,
    Running,
    /// It stands still, and its lease may run out.
    Paused,
}

/// Where a message is in the memory of the process that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Hand {
    #[default]
    Empty,
    /// Reserved by a worker of an older version, which commits it in another turn.
    Ready,
    /// Committed; no byte has left.
    Handed,
    /// Its first byte has left.
    Begun,
    /// Its last byte has left.
    Whole,
    /// What the other side answered, on its way.
    Replied(Step),
    /// What became of it, not yet recorded.
    Answer(Step),
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Worker {
    pub(super) life: Life,
    pub(super) name: Name,
    pub(super) plan: usize,
    /// It is of an older version: it reserves in one turn and commits in the next.
    older: bool,
    /// It was asked to stop, or has reason to.
    pub(super) stopping: bool,
    /// Whose letters it cannot write: people as bits.
    spoilt: u8,
    pub(super) hand: [Hand; PEOPLE],
    /// What it asked of the ledger.
    pub(super) turn: Option<Turn>,
    /// Whether that is durable, which the worker does not know yet.
    pub(super) stood: bool,
    /// What it saw of the dead.
    seen: [[Option<Stranded>; PEOPLE]; PLANS],
}

impl World {
    pub(super) fn worker_does(&mut self, Act { what, who, whom, plan, group }: Act) -> bool {
        let Worker { name, stopping, hand, .. } = self.workers[who];
        match (what, hand[whom]) {
            (What::Start | What::StartOlder, _) => return self.start(who, plan, what == What::StartOlder),
            (What::Look, _) => self.look(who),
            (What::Recover, _) => self.recover(who),
            (What::Turn, _) => {
                let begun = self.begin(who, group);
                let _ = begun && self.stand(who, true) && self.learn(who);
                return begun;
            }
            (What::Begin, _) => return self.begin(who, group),
            (What::Stand, _) => return self.stand(who, true),
            (What::Deafen, _) => return self.stand(who, false),
            (What::Fail, _) => return self.fails(who),
            (What::Learn, _) => return self.learn(who),
            (What::Spoil, Hand::Empty) if self.is_due(who, whom) => self.workers[who].spoilt |= 1 << whom,
            (What::Unreachable, Hand::Handed) => self.answer(who, whom, Step::Return),
            (What::Send, Hand::Handed) => self.send(who, whom),
            (What::Send, Hand::Empty) if self.has(Flaw::SentBeforeCommit) && self.is_due(who, whom) => self.send(who, whom),
            (What::Finish, Hand::Begun) => self.finish(who, whom),
            (What::Unsynced, Hand::Begun) if self.setup.outbox => {
                self.finish(who, whom);
                // Nothing is said of the file, and whoever comes next looks whether it is there.
                let says = if self.has(Flaw::UnsyncedMeansNo) { Hand::Answer(Step::Return) } else { Hand::Empty };
                self.workers[who].hand[whom] = says;
                self.stop(who);
            }
            (What::Hear, Hand::Replied(step)) => self.answer(who, whom, step),
            (What::Break, Hand::Begun | Hand::Whole | Hand::Replied(_)) if !self.setup.outbox => {
                self.hurt |= 1 << name;
                let means = match self.flaw {
                    Some(Flaw::SilenceMeansNo) => Step::Return,
                    Some(Flaw::SilenceMeansYes) => Step::Accept,
                    _ => Step::Lose,
                };
                self.answer(who, whom, means);
            }
            (What::Kill, _) => self.down(who),
            (What::Pause, _) => {
                self.hurt |= 1 << name;
                self.workers[who].life = Life::Paused;
            }
            (What::Wake, _) => self.workers[who].life = Life::Running,
            (What::Stop, _) if !stopping && self.has(Flaw::WireDropped) => self.workers[who] = Worker::default(),
            (What::Stop, _) if !stopping => self.stop(who),
            _ => return false,
        }
        true
    }

    fn start(&mut self, who: usize, plan: usize, older: bool) -> bool {
        let Some(name) = self.ledger.join() else { return false };
        self.workers[who] = Worker { life: Life::Running, name, plan, older, ..Worker::default() };
        if !older {
            self.look(who);
            self.recover(who);
            self.ledger.close(plan);
        }
        true
    }

    /// Leases run out of workers that cannot renew them, and what those have left is looked at.
    fn look(&mut self, who: usize) {
        let running = self.workers.iter().filter(|worker| worker.life == Life::Running);
        self.ledger.leases &= running.fold(0, |alive, worker| alive | 1 << worker.name);
        for (plan, whom) in self.setup.messages() {
            let evidence = match (self.setup.outbox, self.facts[plan][whom].arrived) {
                (true, 0) => Evidence::Absent,
                (true, _) => Evidence::Delivered,
                _ => Evidence::None,
            };
            self.workers[who].seen[plan][whom] = self.ledger.stranded(plan, whom, evidence);
        }
    }

    fn recover(&mut self, who: usize) {
        let seen = std::mem::take(&mut self.workers[who].seen);
        for (plan, whom) in self.setup.messages() {
            seen[plan][whom].into_iter().for_each(|seen| self.ledger.recover(plan, whom, seen));
        }
    }

    /// Puts a turn together from what is in memory: of the people in `group` those who wait are taken. Whoever stops finishes what is on the
    /// wire first.
    fn begin(&mut self, who: usize, group: u8) -> bool {
        let worker = &self.workers[who];
        let open = worker.hand.iter().filter(|hand| !matches!(hand, Hand::Empty | Hand::Ready | Hand::Answer(_))).count();
        if worker.turn.is_some() || (worker.stopping && open > 0) {
            return false;
        }
        let room = if self.has(Flaw::NoLimit) { PEOPLE } else { OPEN.saturating_sub(open) };
        let empty = Turn { last: worker.stopping, silent: self.ledger.silent, ..Turn::default() };
        let (mut turn, mut hand) = (empty, worker.hand);
        for (whom, hand) in hand.iter_mut().enumerate().take(self.setup.people) {
            let (one, has_room) = (group & 1 << whom, ((turn.take | turn.commit).count_ones() as usize) < room);
            match *hand {
                Hand::Answer(step) => (turn.settle[whom], *hand) = (Some(step), Hand::Empty),
                Hand::Ready if one != 0 && has_room && !turn.last => (turn.commit, *hand) = (turn.commit | one, Hand::Empty),
                Hand::Empty if !self.is_due(who, whom) => {}
                Hand::Empty if worker.older || bit(worker.spoilt, whom) => turn.reserve |= one,
                Hand::Empty if has_room => turn.take |= one,
                _ => {}
            }
        }
        if turn == empty && !turn.last {
            return false;
        }
        (self.workers[who].hand, self.workers[who].turn) = (hand, Some(turn));
        true
    }

    pub(super) fn is_due(&self, who: usize, whom: usize) -> bool {
        let Worker { plan, stopping, .. } = self.workers[who];
        let row = &self.ledger.rows[plan][whom];
        !stopping && row.is_waiting() && !(row.state == State::Deferred && self.has(Flaw::DeferredForgotten))
    }

    /// The turn's transaction is durable, or is refused because the lease is gone; `heard` is whether the worker learns that it stands.
    fn stand(&mut self, who: usize, heard: bool) -> bool {
        let Worker { turn: Some(mut turn), stood: false, name, plan, .. } = self.workers[who] else { return false };
        if !self.ledger.turn(plan, name, &mut turn) {
            if turn.last {
                self.ledger.settle_late(plan, name, &turn);
            }
            return self.fails(who);
        }
        for whom in (0..self.setup.people).filter(|whom| bit(turn.take | turn.commit, *whom)) {
            let fact = &mut self.facts[plan][whom];
            fact.permits |= 1 << who;
            fact.tainted = fact.tainted & !(1 << who) | u8::from(bit(self.ledger.silent, whom)) << who;
        }
        if !heard {
            return self.fails(who);
        }
        (self.workers[who].turn, self.workers[who].stood) = (Some(turn), true);
        true
    }

    /// The worker takes it that nothing of its turn stands: it keeps what it knows for one last try, and nothing new leaves.
    fn fails(&mut self, who: usize) -> bool {
        let Worker { turn: Some(turn), stood: false, name, .. } = self.workers[who] else { return false };
        self.workers[who].turn = None;
        self.hurt |= 1 << name;
        if turn.last {
            self.down(who);
            return true;
        }
        for whom in 0..self.setup.people {
            turn.settle[whom].into_iter().for_each(|step| self.answer(who, whom, step));
        }
        self.stop(who);
        true
    }

    fn learn(&mut self, who: usize) -> bool {
        let goes_on = self.workers[who].stood || self.has(Flaw::CommitUnsynced);
        let worker = &mut self.workers[who];
        let Some(turn) = worker.turn.filter(|_| goes_on) else { return false };
        let open = turn.open || !worker.stood;
        (worker.turn, worker.stood) = (None, false);
        for whom in 0..self.setup.people {
            if bit(turn.take | turn.commit, whom) {
                worker.hand[whom] = Hand::Handed;
            } else if bit(turn.reserve, whom) {
                // What cannot be written was claimed all the same, so that nobody tries again.
                worker.hand[whom] = if bit(worker.spoilt, whom) { Hand::Answer(Step::Reject) } else { Hand::Ready };
            }
        }
        let (name, plan) = (worker.name, worker.plan);
        if turn.last {
            self.workers[who] = Worker::default();
            self.ledger.leases &= !(1 << name);
            self.ledger.close(plan);
        } else if worker.stopping || !open {
            self.stop(who);
        }
        true
    }

    /// From here on nothing begins.
    fn stop(&mut self, who: usize) {
        self.workers[who].stopping = true;
        for whom in 0..self.setup.people {
            if self.workers[who].hand[whom] == Hand::Handed {
                self.answer(who, whom, Step::Return);
            }
        }
    }

    /// What became of a message, as its worker knows it; it will not send it any more.
    fn answer(&mut self, who: usize, whom: usize, step: Step) {
        let worker = &mut self.workers[who];
        worker.hand[whom] = Hand::Answer(step);
        self.facts[worker.plan][whom].permits &= !(1 << who);
    }

    fn send(&mut self, who: usize, whom: usize) {
        let fact = &mut self.facts[self.workers[who].plan][whom];
        if !bit(fact.permits, who) {
            self.broken = Some(Broken { law: "a byte leaves before `committing` is durable", person: whom });
        } else if bit(fact.tainted, who) {
            self.broken = Some(Broken { law: "somebody is written to who had opted out before the commit", person: whom });
        }
        fact.permits &= !(1 << who);
        self.workers[who].hand[whom] = Hand::Begun;
    }

    fn finish(&mut self, who: usize, whom: usize) {
        let Worker { name, plan, .. } = self.workers[who];
        if !self.setup.outbox {
            self.facts[plan][whom].flying |= 1 << who;
            self.workers[who].hand[whom] = Hand::Whole;
            return;
        }
        // A file gets its name only while the lease holds, and one that is there is not written again.
        let writes = self.ledger.has_lease(name) || self.has(Flaw::LateFile);
        self.facts[plan][whom].arrived += u8::from(writes && self.facts[plan][whom].arrived == 0);
        self.answer(who, whom, if writes { Step::Accept } else { Step::Return });
    }

    /// The process is gone, with all it knew; what the other side has it keeps.
    fn down(&mut self, who: usize) {
        self.hurt |= 1 << self.workers[who].name;
        self.workers[who] = Worker::default();
        self.facts.iter_mut().flatten().for_each(|fact| fact.permits &= !(1 << who));
    }
}
