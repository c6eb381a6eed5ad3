//! What can happen, in words; and the dice that decide what happens next.

use super::{
    PEOPLE, WORKERS, bit,
    world::{Setup, World},
};
use crate::ledger::State;

pub(super) const NAMES: [&str; PEOPLE] = ["Ann", "Bob", "Cem", "Dua", "Eva", "Fay"];

told! {
    /// One kind of thing that can happen. Those up to `Stop` are a worker's, and from `Fail` on they go wrong.
    What {
        Start: "{worker} starts on {plan}, takes over from the dead, and settles what they left",
        StartOlder: "{worker}, of an older version, starts on {plan}",
        Look: "{worker} takes away the leases that have run out, and looks at what the dead left",
        Recover: "{worker} settles what it saw the dead had left",
        Turn: "{worker} takes a turn about {group}",
        Begin: "{worker} begins a turn about {group}",
        Stand: "{worker}'s transaction ends",
        Learn: "{worker} hears that its transaction stands",
        Send: "{worker} sends {person}'s first byte",
        Finish: "{worker} sends {person}'s last byte",
        Hear: "{worker} hears the answer for {person}",
        Wake: "{worker} wakes up",
        Fail: "{worker}'s transaction fails: the disk is full",
        Deafen: "{worker}'s transaction ends, but the worker hears that it failed",
        Spoil: "{worker} cannot write {person}'s letter",
        Unreachable: "{worker}'s connection fails before the first byte to {person}",
        Unsynced: "{worker} gives {person}'s file its name, but cannot sync the folder",
        Break: "{worker}'s connection breaks under {person}'s message",
        Kill: "{worker} dies",
        Pause: "{worker} stands still",
        Stop: "{worker} is asked to stop",
        Take: "the other side takes {person}'s message of {plan}",
        Refuse: "the other side refuses {person}'s message of {plan}",
        PutOff: "the other side says \"not now\" to {person}'s message of {plan}",
        OptOut: "{person} opts out",
        Hold: "{plan} is held",
        Resume: "{plan} is resumed",
        Cancel: "{plan} is cancelled",
        Expire: "{plan}'s time runs out",
        Close: "{plan} is closed: its time has run out",
        Resolve: "somebody finds out what became of {person}'s message of {plan}",
    }
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Act {
    pub(super) what: What,
    /// The worker.
    pub(super) who: usize,
    /// The person.
    pub(super) whom: usize,
    /// The plan; of a worker, the one it starts on.
    pub(super) plan: usize,
    /// The people a turn is about, as bits.
    pub(super) group: u8,
}

impl Act {
    /// Whether it is about a `{worker}`, a `{person}` or a `{plan}`.
    pub(super) fn tells_of(self, part: &str) -> bool {
        self.what.words().contains(part)
    }

    /// What happens, for people to read.
    pub(super) fn told(self, setup: Setup) -> String {
        let named: Vec<&str> = (0..setup.people).filter(|person| bit(self.group, *person)).map(|person| NAMES[person]).collect();
        let group = match named.len() {
            0 => "nobody new".to_owned(),
            all if all == setup.people => "everybody".to_owned(),
            _ => named.join(", "),
        };
        let (worker, plan) = (format!("worker {}", self.who + 1), ["plan A", "plan B"][self.plan]);
        let known = [("{worker}", worker.as_str()), ("{person}", NAMES[self.whom]), ("{plan}", plan), ("{group}", &group)];
        known.iter().fold(self.what.words().to_owned(), |words, (of, is)| words.replace(of, is))
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): one seed, one story.
#[derive(Debug)]
pub(super) struct Dice {
    state: u64,
    /// Of so many acts of a worker one goes wrong; some worlds are calmer than others, and so different things happen in them.
    trouble: usize,
    /// One act in so many is not a worker's.
    news: usize,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Self { state: seed, trouble: 0, news: 0 };
        // Scattered, or the dice of one seed would fall as those of the seed before it, one throw later.
        dice.state = dice.next();
        (dice.trouble, dice.news) = (dice.one(&[2, 8, 32]), dice.one(&[3, 8, 24]));
        dice
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(super) fn setup(&mut self) -> Setup {
        Setup {
            workers: 1 + self.below(WORKERS),
            people: 1 + self.below(PEOPLE),
            plans: 1 + self.below(2),
            outbox: self.below(3) == 0,
            renamed: self.next() as u8,
        }
    }

    /// What happens next: mostly what a worker would do now, else anything.
    pub(super) fn act(&mut self, world: &World) -> Act {
        let Setup { workers, people, plans, .. } = world.setup;
        let (who, whom, plan) = (self.below(workers), self.below(people), self.below(plans));
        let act = Act { what: What::Start, who, whom, plan, group: (self.next() | self.next()) as u8 };
        if self.below(self.news) == 0 {
            return Act { what: self.event(world, plan, whom), ..act };
        }
        let Some(usual) = world.usual(who, whom) else {
            return Act { what: self.one(&[What::Start, What::Start, What::StartOlder, What::Look, What::Recover]), ..act };
        };
        let what = match usual.what {
            What::Wake if self.below(8) > 0 => self.event(world, plan, whom),
            _ if self.below(self.trouble) == 0 => self.one(&What::ALL[What::Fail as usize..=What::Stop as usize]),
            What::Turn => self.one(&[What::Turn, What::Begin]),
            What::Take => return Act { what: self.served(), ..usual },
            what => what,
        };
        Act { what, ..act }
    }

    fn served(&mut self) -> What {
        self.one(&[What::Take, What::Take, What::Take, What::Refuse, What::PutOff])
    }

    fn event(&mut self, world: &World, plan: usize, whom: usize) -> What {
        let often = [What::Hold, What::Resume, What::Resume, What::Look, What::Recover, What::Close];
        let seldom = [What::OptOut, What::Cancel, What::Expire, What::Stop, What::Kill, What::Pause];
        match self.below(8) {
            0 => self.one(What::ALL),
            _ if world.facts[plan][whom].flying != 0 => self.served(),
            _ if world.ledger.rows[plan][whom].state == State::Unknown => What::Resolve,
            1..3 => self.one(&seldom),
            _ => self.one(&often),
        }
    }
}
