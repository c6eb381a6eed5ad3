//! What must hold after every act, and when the world has come to rest; looked at from outside, by what changed and what truly arrived.

use super::{
    OPEN, PLANS,
    ledger::{By, Change, Status},
    world::World,
};
use crate::{delivery::state::Step, ledger::State};

/// A law that does not hold, and for whose message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) law: &'static str,
    pub(super) person: usize,
}

/// What of the law does not hold now, after an act.
pub(super) fn after_act(world: &mut World) -> Option<Broken> {
    let broken = world.broken.take().or_else(|| look(world));
    world.ledger.journal.clear();
    world.stopped = world.ledger.plans.map(|plan| plan.status == Status::Stopped);
    broken
}

fn look(world: &World) -> Option<Broken> {
    let goes_on = |plan: usize| world.stopped[plan] && world.ledger.plans[plan].status != Status::Stopped;
    if (0..PLANS).any(goes_on) {
        return Some(Broken { law: "a plan that was stopped goes on", person: 0 });
    }
    let changes = world.ledger.journal.iter();
    let mut changed = changes.filter_map(|one| Some(Broken { law: change(world, one)?, person: one.person }));
    let messages = world.setup.messages();
    let mut untrue = messages.filter_map(|(plan, person)| Some(Broken { law: truth(world, plan, person)?, person }));
    changed.next().or_else(|| untrue.next())
}

/// What is wrong with a change.
fn change(world: &World, change: &Change) -> Option<&'static str> {
    let owner = world.ledger.rows[change.plan][change.person].owner;
    if !Step::ALL.iter().any(|step| step.from(change.from) == Some(change.to)) {
        return Some("a message changes as the send law forbids");
    }
    match (change.from, change.to, change.by) {
        (State::Unknown, State::Accepted | State::Waiting | State::Cancelled, By::Person | By::Late) => None,
        (State::Unknown, ..) => Some("an unknown message becomes something by itself"),
        (_, _, By::Late) => Some("a worker without a lease does more than say what it knows of an unknown message"),
        (State::Reserved | State::Committing, _, By::Worker(name)) if name != owner => Some("a worker changes what another has in hand"),
        (_, State::Reserved | State::Committing, By::Worker(name)) if !world.ledger.has_lease(name) => {
            Some("a worker without a lease reserves or commits")
        }
        (_, State::Reserved | State::Committing, _) if world.ledger.plans[change.plan].status != Status::Delivering => {
            Some("a plan goes on that is not being delivered")
        }
        (_, State::Unknown, _) if world.hurt & (1 << owner) == 0 => Some("a message becomes unknown although nothing failed"),
        (_, State::Unknown, By::Recovery) => {
            let rows = world.ledger.rows.iter().flatten();
            let lost = rows.filter(|row| row.state == State::Unknown && row.crashed && row.owner == owner).count();
            (lost > OPEN).then_some("more messages become unknown than their worker may have open")
        }
        _ => None,
    }
}

/// What the ledger says, against what arrived.
fn truth(world: &World, plan: usize, person: usize) -> Option<&'static str> {
    let [first, second] = [0, 1].map(|plan| world.facts[plan][person].arrived);
    let is_one_message = world.ledger.message_id(0, person) == world.ledger.message_id(1, person);
    match (world.ledger.rows[plan][person].state, world.facts[plan][person].arrived) {
        (_, 2..) => Some("a message arrives twice"),
        _ if first + second > 1 && is_one_message => Some("a message arrives twice"),
        _ if first + second > 1 => Some("an occasion is told twice"),
        (State::Accepted, 0) => Some("a message counts as accepted that did not arrive"),
        (State::Accepted | State::Committing | State::Unknown, _) | (_, 0) => None,
        _ => Some("a message arrived that counts as not sent"),
    }
}

/// Whether somebody was skipped, once nothing is left to do.
pub(super) fn at_rest(world: &World) -> Option<Broken> {
    let (_, person) = world.setup.messages().find(|(plan, person)| world.waits_in_vain(*plan, *person))?;
    Some(Broken { law: "somebody is skipped: they wait, and nobody will write to them", person })
}
