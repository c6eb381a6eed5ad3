//! A way a world can go: played, made as short as it can be where a law breaks, and told.

use std::fmt::Write as _;

use super::{
    PEOPLE, PLANS, WORKERS,
    act::{Act, Dice, NAMES, What},
    bit,
    flaw::Flaw,
    laws::{Broken, after_act, at_rest},
    world::{Setup, World},
};

/// The most acts a seed stands for.
const ACTS: usize = 120;
/// After so many acts by which nothing changed the world is at rest.
const IN_VAIN: usize = 50;

/// What happens, from the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Story {
    pub(super) setup: Setup,
    pub(super) acts: Vec<Act>,
}

impl Story {
    /// Plays the story of a seed; returns what the world came to, and the law that broke.
    pub(super) fn of(seed: u64, flaw: Option<Flaw>) -> (Self, World, Option<Broken>) {
        let mut dice = Dice::new(seed);
        let setup = dice.setup();
        let (length, mut tries) = (ACTS / 6 + dice.below(ACTS - ACTS / 6 + 1), 0);
        let (mut world, mut acts) = (World::new(setup, flaw), Vec::with_capacity(ACTS));
        let script = |world: &World| {
            tries += 1;
            (world.acts < length && tries <= 3 * length).then(|| dice.act(world))
        };
        let broken = play(&mut world, script, |_, act, is_scripted| acts.extend(is_scripted.then_some(act)));
        (Self { setup, acts }, world, broken)
    }

    /// What of the law breaks when it is played again.
    pub(super) fn breaks(&self, flaw: Option<Flaw>) -> Option<Broken> {
        let mut acts = self.acts.iter().copied();
        play(&mut World::new(self.setup, flaw), |_| acts.next(), |_, _, _| {})
    }

    /// The shortest story found in which the same law breaks: acts are left out, acts become plainer ones, and who is not needed
    /// goes.
    pub(super) fn shrunk(mut self, flaw: Option<Flaw>, law: &str) -> Self {
        let breaks = |story: &Self| story.breaks(flaw).is_some_and(|broken| broken.law == law);
        loop {
            let before = self.clone();
            let mut place = 0;
            while place < self.acts.len() {
                let mut shorter = self.clone();
                shorter.acts.remove(place);
                if breaks(&shorter) { self = shorter } else { place += 1 }
            }
            for place in 0..self.acts.len() {
                for act in plainer(self.acts[place]) {
                    let mut plain = self.clone();
                    plain.acts[place] = act;
                    if breaks(&plain) {
                        self = plain;
                    }
                }
            }
            let parts = [("{worker}", WORKERS), ("{person}", PEOPLE), ("{plan}", PLANS)];
            for (part, gone) in parts.into_iter().flat_map(|(part, all)| (0..all).rev().map(move |gone| (part, gone))) {
                self = self.without(part, gone).filter(breaks).unwrap_or(self);
            }
            let plain = Self { setup: Setup { renamed: 0, ..self.setup }, acts: self.acts.clone() };
            self = Some(plain).filter(breaks).unwrap_or(self);
            if self == before {
                return self;
            }
        }
    }

    /// The same without one of the workers, people or plans; those after it move up.
    fn without(&self, part: &str, gone: usize) -> Option<Self> {
        let (mut setup, mut acts) = (self.setup, self.acts.clone());
        let bits = |bits: u8| (bits & ((1 << gone) - 1)) | (bits >> 1 & !((1 << gone) - 1));
        let (left, of): (_, fn(&mut Act) -> &mut usize) = match part {
            "{worker}" => (&mut setup.workers, |act| &mut act.who),
            "{person}" => (&mut setup.people, |act| &mut act.whom),
            _ => (&mut setup.plans, |act| &mut act.plan),
        };
        *left = left.checked_sub(1).filter(|left| *left > 0 && gone <= *left)?;
        acts.retain_mut(|act| !(act.tells_of(part) && *of(act) == gone));
        for act in &mut acts {
            let number = of(act);
            *number = number.saturating_sub(usize::from(*number >= gone));
            act.group = if part == "{person}" { bits(act.group) } else { act.group };
        }
        setup.renamed = if part == "{person}" { bits(setup.renamed) } else { setup.renamed };
        Some(Self { setup, acts })
    }

    /// The story in words, what everybody does afterwards when nothing fails any more, and the law that breaks.
    pub(super) fn told(&self, flaw: Option<Flaw>) -> String {
        let Setup { workers, people, plans, outbox, renamed } = self.setup;
        let way = if outbox { "files" } else { "wire" };
        let mut told = format!("workers: {workers}, people: {people}, plans: {plans}, by {way}\n");
        for person in (0..people).filter(|person| plans > 1 && bit(renamed, *person)) {
            let _ = writeln!(told, "{}'s message has another id in plan B", NAMES[person]);
        }
        let mut acts = self.acts.iter().copied();
        let mut is_calm = false;
        let hears = |world: &World, act: Act, is_scripted: bool| {
            if !is_scripted && !is_calm {
                is_calm = true;
                told.push_str("from here on everything works\n");
            }
            let _ = write!(told, "{:>3}. {}", world.acts, act.told(self.setup));
            for change in &world.ledger.journal {
                let plan = if plans > 1 { [" of plan A", " of plan B"][change.plan] } else { "" };
                let _ = write!(told, "; {}{plan}: {} → {}", NAMES[change.person], change.from.as_str(), change.to.as_str());
            }
            told.push('\n');
        };
        let broken = play(&mut World::new(self.setup, flaw), |_| acts.next(), hears);
        told + &broken.map_or_else(|| "no law breaks".to_owned(), |broken| format!("{}: {}", NAMES[broken.person], broken.law))
    }
}

/// Plays what is scripted, then what happens when everything works, until a law breaks or nothing is left to do. `hears` is told of each act
/// that could be done, before the laws look at it.
fn play(world: &mut World, mut script: impl FnMut(&World) -> Option<Act>, mut hears: impl FnMut(&World, Act, bool)) -> Option<Broken> {
    let (mut is_scripted, mut in_vain) = (true, 0);
    while in_vain < IN_VAIN {
        let scripted = if is_scripted { script(world) } else { None };
        is_scripted = scripted.is_some();
        let Some(act) = scripted.or_else(|| world.calm()) else { break };
        in_vain += usize::from(!is_scripted);
        if !world.does(act) {
            continue;
        }
        hears(world, act, is_scripted);
        if !world.ledger.journal.is_empty() {
            in_vain = 0;
        }
        if let Some(broken) = after_act(world) {
            return Some(broken);
        }
    }
    at_rest(world)
}

/// Acts that say less than this one.
fn plainer(act: Act) -> Vec<Act> {
    let what = match act.what {
        What::Begin => What::Turn,
        What::StartOlder => What::Start,
        what => what,
    };
    let mut plainer = vec![Act { what, ..act }, Act { who: 0, ..act }, Act { whom: 0, ..act }, Act { plan: 0, ..act }];
    plainer.extend((0..PEOPLE).map(|person| Act { group: act.group & !(1 << person), ..act }));
    plainer.retain(|plain| *plain != act);
    plainer
}
