//! What becomes of an order: payment, delivery, a complaint or a question, what was done about it, a rating.
//! Everything is decided at once and for ever; a date only tells how much of it has happened.

use super::{
    dice::{About, Dice},
    moment::{DAY, HOUR, MINUTE, Moment},
};

/// The events of one order, past and to come.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) placed: Moment,
    pub(super) channel: &'static str,
    /// When the money came; until then the order is pending.
    pub(super) paid: Moment,
    /// When it arrived.
    pub(super) delivered: Moment,
    pub(super) refund: Option<Refund>,
    pub(super) ticket: Option<Ticket>,
    pub(super) rated: Option<Rated>,
}

/// Money given back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refund {
    pub(super) at: Moment,
    /// The whole order, not one line of it.
    pub(super) whole: bool,
}

/// A conversation with the help desk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) matter: Matter,
    pub(super) opened: Moment,
    pub(super) replied: Moment,
    pub(super) resolved: Moment,
    pub(super) closed: Moment,
    /// When the customer said how it went, and whether well.
    pub(super) judged: Option<(Moment, bool)>,
}

/// What a conversation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matter {
    Damaged,
    Wrong,
    Stale,
    Late,
    Missing,
    Question,
    Return,
    Praise,
}

impl Matter {
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Damaged | Self::Wrong | Self::Stale | Self::Late | Self::Missing => "complaint",
            Self::Question => "question",
            Self::Return => "return",
            Self::Praise => "praise",
        }
    }
}

/// An answer to a survey, or a review.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rated {
    pub(super) at: Moment,
    /// "How likely are you to recommend us", rather than a review of a product.
    pub(super) survey: bool,
}

/// The attempt before an order that failed at the till.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) placed: Moment,
    pub(super) cancelled: Moment,
}

impl Fate {
    pub(super) fn of(dice: &Dice, who: u32, nth: u16, placed: Moment) -> Self {
        let mut roll = dice.roll(About::Fate, who, nth);
        let channel = match roll.below(100) {
            0..=69 => "web",
            70..=89 => "app",
            _ => "store",
        };
        let paid = if roll.chance(0.1) { placed.plus(roll.between(4 * HOUR, 3 * DAY)) } else { placed };
        let trouble = roll.below(1000);
        let matter = match trouble {
            // Far more go wrong than a real shop could bear, so that a small practice shop has complaints to practise on every day.
            0..=59 => Some(Matter::Damaged),
            60..=104 => Some(Matter::Wrong),
            105..=149 => Some(Matter::Stale),
            150..=209 if channel != "store" => Some(Matter::Late),
            210..=249 => Some(Matter::Missing),
            250..=299 => Some(Matter::Question),
            300..=329 => Some(Matter::Return),
            330..=344 => Some(Matter::Praise),
            _ => None,
        };
        let on_the_way = if channel == "store" { 5 * MINUTE } else { roll.between(30 * HOUR, 5 * DAY) };
        let delay = if matter == Some(Matter::Late) { roll.between(5 * DAY, 9 * DAY) } else { 0 };
        let delivered = paid.plus(on_the_way + delay);
        let ticket = matter.map(|matter| {
            let opened = match matter {
                Matter::Late => delivered.plus(-roll.between(HOUR, 4 * DAY)),
                Matter::Praise | Matter::Return => delivered.plus(roll.between(DAY, 12 * DAY)),
                _ => delivered.plus(roll.between(2 * HOUR, 6 * DAY)),
            };
            conversation(&mut roll, matter, opened)
        });
        let refund = match ticket {
            Some(ticket) if ticket.matter == Matter::Return => Some(Refund { at: ticket.resolved, whole: roll.chance(0.4) }),
            Some(ticket) if ticket.matter.kind() == "complaint" && roll.chance(0.3) => {
                Some(Refund { at: ticket.resolved, whole: roll.chance(0.2) })
            }
            _ => roll.chance(0.012).then(|| Refund { at: delivered.plus(roll.between(DAY, 14 * DAY)), whole: roll.chance(0.5) }),
        };
        let rated = roll.chance(0.11).then(|| Rated { at: delivered.plus(roll.between(10 * DAY, 20 * DAY)), survey: roll.chance(0.5) });
        Self { placed, channel, paid, delivered, refund, ticket, rated }
    }

    /// When the last thing happened to this order that `as_of` can know.
    pub(super) fn touched(&self, as_of: Moment) -> Moment {
        let refunded = self.refund.map_or(self.placed, |refund| refund.at);
        latest(self.placed, [self.paid, self.delivered, refunded], as_of)
    }
}

impl Attempt {
    /// The attempt before this order, if there was one.
    pub(super) fn of(dice: &Dice, who: u32, nth: u16, order: Moment) -> Option<Self> {
        let mut roll = dice.roll(About::Fate, who, 0x8000 | nth);
        roll.chance(0.03).then(|| {
            let placed = order.plus(-roll.between(20 * MINUTE, HOUR - 1));
            Self { placed, cancelled: placed.plus(roll.between(2 * MINUTE, 15 * MINUTE)) }
        })
    }

    pub(super) fn touched(self, as_of: Moment) -> Moment {
        latest(self.placed, [self.cancelled], as_of)
    }
}

impl Ticket {
    /// What someone asked who has not bought anything.
    pub(super) fn of_lead(dice: &Dice, who: u32, created: Moment) -> Option<Self> {
        let mut roll = dice.roll(About::Fate, who, 0);
        roll.chance(0.2).then(|| conversation(&mut roll, Matter::Question, created))
    }

    /// When the last thing happened in this conversation that `as_of` can know.
    pub(super) fn touched(&self, as_of: Moment) -> Moment {
        let judged = self.judged.map_or(self.opened, |(at, _)| at);
        latest(self.opened, [self.replied, self.resolved, self.closed, judged], as_of)
    }
}

/// The latest of these instants that has come, or the first where none has.
fn latest<const N: usize>(first: Moment, others: [Moment; N], as_of: Moment) -> Moment {
    others.into_iter().filter(|at| *at <= as_of).fold(first, Moment::max)
}

/// Most people get an answer within a day and a solution within the week; some wait far too long.
fn conversation(roll: &mut super::dice::Roll, matter: Matter, opened: Moment) -> Ticket {
    let waited = match roll.below(100) {
        0..=79 => roll.between(20 * MINUTE, 22 * HOUR),
        80..=88 => roll.between(22 * HOUR, 48 * HOUR),
        _ => roll.between(49 * HOUR, 110 * HOUR),
    };
    let replied = opened.plus(waited);
    let worked = match roll.below(100) {
        _ if matter == Matter::Praise => roll.between(MINUTE, HOUR),
        0..=85 => roll.between(2 * HOUR, 4 * DAY),
        86..=95 => roll.between(4 * DAY, 12 * DAY),
        _ => roll.between(12 * DAY, 50 * DAY),
    };
    let resolved = replied.plus(worked);
    let closed = resolved.plus(5 * DAY);
    let patience = if matter.kind() == "complaint" { 0.75 } else { 0.93 } - if waited > 48 * HOUR { 0.35 } else { 0.0 };
    let judged = roll.chance(0.45).then(|| (resolved.plus(roll.between(HOUR, 4 * DAY)), roll.chance(patience)));
    Ticket { matter, opened, replied, resolved, closed, judged }
}
