//! The send law under every mischance at once: a few workers, people and plans, in a world that a seed throws dice for. Every process may
//! die, stand still or be asked to stop between any two acts, every transaction may fail or its word be lost, every connection may break,
//! and people may change their minds at any moment. After each act the laws are looked at, and once more when everything works again and
//! nothing is left to do.
//!
//! | file | promise |
//! |---|---|
//! | `ledger` | the durable side: rows, claims, leases, and transactions that stand whole or not at all |
//! | `worker` | a process, what it has in memory, and its connections |
//! | `world` | the other side, people who decide, and what truly arrives |
//! | `act` | what can happen, in words, and the dice |
//! | `laws` | what must hold |
//! | `story` | a seed played, shortened where a law breaks, and told |
//! | `flaw` | laws that are wrong on purpose, each of which must be found |
//!
//! `PERENNIAL_SIMULATIONS` is how many seeds are tried. A worker of an older version, which reserves in one turn and commits in the next, may
//! be among the others: what it leaves is settled, too.
//!
//! What is assumed: a lease runs out only of a worker that is dead or stands still; a worker that wakes up late may still send what it had
//! been told it may, but for a file of the outbox, which gets its name only while the lease holds.

/// An enumeration that knows all it can be, each in words.
macro_rules! told {
    ($(#[$doc:meta])* $name:ident { $($one:ident: $words:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
        pub(super) enum $name { $(#[doc = $words] $one,)* }

        impl $name {
            pub(super) const ALL: &[Self] = &[$(Self::$one),*];

            pub(super) fn words(self) -> &'static str {
                match self { $(Self::$one => $words,)* }
            }
        }
    };
}

mod act;
mod flaw;
mod laws;
mod ledger;
mod story;
mod worker;
mod world;

use self::{
    act::{Act, What},
    flaw::Flaw,
    ledger::Taken,
    story::Story,
    world::Setup,
};
use super::state::Step;
use crate::ledger::State;

const WORKERS: usize = 4;
const PEOPLE: usize = 6;
const PLANS: usize = 2;
/// The most messages of a worker that are `committing` at once.
const OPEN: usize = 2;
/// How many seeds are tried, unless it is said otherwise; among so many every flaw is found.
const SIMULATIONS: u64 = 100_000;

fn bit(bits: u8, place: usize) -> bool {
    bits & (1 << place) != 0
}

#[test]
fn no_interleaving_breaks_the_send_law() {
    let said = std::env::var("PERENNIAL_SIMULATIONS");
    let seeds = said.map_or(SIMULATIONS, |seeds| seeds.parse().expect("PERENNIAL_SIMULATIONS is a number"));
    let (mut happened, mut taken) = (0, Taken::default());
    for seed in 0..seeds {
        let (story, world, broken) = Story::of(seed, None);
        if let Some(broken) = broken {
            panic!("seed {seed}: {}", story.shrunk(None, broken.law).told(None));
        }
        happened |= world.happened;
        taken.iter_mut().zip(world.ledger.taken).for_each(|(all, more)| *all |= more);
    }
    for what in What::ALL {
        assert!(happened & (1 << *what as usize) != 0, "{what:?} never happened");
    }
    for step in Step::ALL {
        for state in State::ALL {
            let was_taken = taken[step as usize] & (1 << state as usize) != 0;
            assert_eq!(was_taken, step.from(state).is_some(), "whether {step:?} was taken from {state:?}");
        }
    }
}

#[test]
fn every_law_that_is_wrong_on_purpose_is_found() {
    for flaw in Flaw::ALL.iter().copied() {
        let mut stories = (0..SIMULATIONS).map(|seed| Story::of(seed, Some(flaw)));
        let found = stories.find_map(|(story, _, broken)| Some((story, broken?.law)));
        let (story, law) = found.unwrap_or_else(|| panic!("nobody finds that {}", flaw.words()));
        let short = story.shrunk(Some(flaw), law);
        assert_eq!(short.breaks(Some(flaw)).map(|again| again.law), Some(law), "{flaw:?}: a short story tells the same");
        assert!(short.acts.len() <= 20, "{flaw:?} takes long to tell:\n{}", short.told(Some(flaw)));
        assert_eq!(short.breaks(None), None, "{flaw:?}: by the send law nothing breaks:\n{}", short.told(None));
    }
}

#[test]
fn what_breaks_a_law_is_told_in_few_words() {
    let what = [What::Start, What::Turn, What::Send, What::Finish, What::Kill];
    let acts = what.map(|what| Act { what, who: 0, whom: 0, plan: 0, group: 1 }).to_vec();
    let story = Story { setup: Setup { workers: 1, people: 1, plans: 1, ..Setup::default() }, acts };
    let expected = "\
workers: 1, people: 1, plans: 1, by wire
  1. worker 1 starts on plan A, takes over from the dead, and settles what they left
  2. worker 1 takes a turn about everybody; Ann: waiting → committing
  3. worker 1 sends Ann's first byte
  4. worker 1 sends Ann's last byte
  5. worker 1 dies
from here on everything works
  6. the other side takes Ann's message of plan A
  7. worker 1 starts on plan A, takes over from the dead, and settles what they left; Ann: committing → waiting
Ann: a message arrived that counts as not sent";
    assert_eq!(story.told(Some(Flaw::CrashMeansUnsent)), expected);
}
