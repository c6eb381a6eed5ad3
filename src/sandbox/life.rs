//! How customers come, buy and leave: a buy-till-you-die process whose parameters are known, so that what an estimate says can be
//! checked against what is true.
//!
//! The world has no beginning and no end. Customers arrive at an even pace, for ever, each in a slot of time of its own: the slot's
//! number is the customer's, whatever the date. So the same customer is the same at every `as_of`, a later `as_of` only adds, and
//! still every date shows about as many customers as the settings ask for, because the shop keeps its promise to delete: who has
//! not ordered for two years is erased, stays as an empty record with `deleted_at` for ninety days, and is gone after that.

use serde::Serialize;

use super::{
    dice::{About, Dice, Roll},
    moment::{DAY, HOUR, Moment, WEEK, YEAR},
    places::{COUNTRIES, Country},
};

/// The process all buyers follow: Pareto/NBD (Schmittlein, Morrison and Colombo, Management Science 33(1), 1987).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Truth {
    /// The unit of time of all rates.
    pub unit: &'static str,
    /// Shape of the gamma distribution of order rates.
    pub r: f64,
    /// Rate of that distribution, in weeks: the mean order rate is `r / alpha` a week.
    pub alpha: f64,
    /// Shape of the gamma distribution of dropout rates.
    pub s: f64,
    /// Rate of that distribution, in weeks.
    pub beta: f64,
    /// Nobody stays longer than this many weeks after the first order.
    pub longest_weeks: f64,
    /// Who has been quiet for this many weeks is erased. A cohort whose first order lies no further back is complete, and its
    /// estimates are unbiased; of older cohorts only the survivors are left.
    pub kept_weeks: f64,
}

/// What is true of every practice shop. Every order that is not cancelled is an event of the process.
pub const TRUTH: Truth = Truth {
    unit: "week",
    r: 1.2,
    alpha: 14.0,
    s: 1.0,
    beta: 22.0,
    longest_weeks: LONGEST as f64 / WEEK as f64,
    kept_weeks: KEPT as f64 / WEEK as f64,
};

/// The world's slots are counted from here.
const EPOCH: i64 = 631_152_000; // 1990-01-01
/// The longest time anyone stays a customer.
const LONGEST: i64 = 5 * YEAR;
/// How long a quiet customer's record is kept.
const KEPT: i64 = 2 * YEAR;
/// How long an erased record can still be seen as erased.
const TOMBSTONE: i64 = 90 * DAY;
/// For how many days the mean record is kept: with arrivals at `customers / MEAN_STAY` a day, about `customers` are there.
/// A test holds the number of customers against it.
const MEAN_STAY: f64 = 917.0;
/// The most orders one customer can have, so that an order's number fits its id.
const MOST_ORDERS: usize = 499;
/// An attempt that failed comes at most this long before the order that succeeded.
pub(super) const ATTEMPT: i64 = HOUR;

/// Which door a person came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Buys with an account.
    Buyer,
    /// Known to the CRM only; asked a question or wanted the newsletter.
    Lead,
    /// As a lead, and has once bought without an account.
    LeadAndGuest,
    /// Bought once without an account; no system has a record.
    Guest,
}

/// One person's life with the shop, as far as `as_of` can know it.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) kind: Kind,
    pub(super) country: &'static Country,
    /// When the shop first heard of this person.
    pub(super) created: Moment,
    /// The instants of the orders, in order, up to `as_of` and at most one [`ATTEMPT`] beyond.
    pub(super) orders: Vec<Moment>,
    /// When the record was erased, if that has happened.
    pub(super) erased: Option<Moment>,
}

impl Life {
    /// The orders that have been placed at `as_of`.
    pub(super) fn placed(&self, as_of: Moment) -> usize {
        self.orders.iter().take_while(|at| **at <= as_of).count()
    }
}

/// When customers arrive: one in each slot of time, for ever.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrivals {
    /// Seconds a slot lasts.
    slot: f64,
}

impl Arrivals {
    /// The pace at which a shop has about `customers` at any date.
    pub(super) fn for_customers(customers: u32) -> Self {
        Self { slot: DAY as f64 * MEAN_STAY / f64::from(customers.max(1)) }
    }

    /// The slots whose people may be visible at `as_of`.
    pub(super) fn slots(self, as_of: Moment) -> std::ops::Range<u32> {
        let number = |at: i64| ((at - EPOCH) as f64 / self.slot).clamp(0.0, f64::from(u32::MAX)) as u32;
        let now = as_of.as_seconds();
        number(now - LONGEST - KEPT - TOMBSTONE - 2 * DAY)..number(now + 2 * DAY)
    }

    /// The life of the person of this slot; none where that person has not come yet or is gone.
    pub(super) fn life(self, dice: &Dice, who: u32, as_of: Moment) -> Option<Life> {
        let mut roll = dice.roll(About::Life, who, 0);
        let arrival = EPOCH as f64 + (f64::from(who) + roll.unit()) * self.slot;
        let country = somewhere(&mut roll);
        let kind = match roll.below(1000) {
            0..=839 => Kind::Buyer,
            840..=909 => Kind::Lead,
            910..=939 => Kind::LeadAndGuest,
            _ => Kind::Guest,
        };
        let life = match kind {
            Kind::Buyer => buying(&mut roll, kind, country, arrival, as_of)?,
            Kind::Lead | Kind::LeadAndGuest | Kind::Guest => passing(&mut roll, kind, country, arrival, as_of),
        };
        let gone = life.erased.is_some_and(|erased| erased.plus(TOMBSTONE) <= as_of);
        (life.created <= as_of && !gone).then_some(life)
    }
}

/// The country of the person of this slot, whether visible or not.
pub(super) fn country(dice: &Dice, who: u32) -> &'static Country {
    let mut roll = dice.roll(About::Life, who, 0);
    roll.unit();
    somewhere(&mut roll)
}

fn somewhere(roll: &mut Roll) -> &'static Country {
    &COUNTRIES[roll.weighted(COUNTRIES.iter().map(|country| country.weight))]
}

/// A buyer: orders at a rate of one's own until dropping out, which nobody sees.
fn buying(roll: &mut Roll, kind: Kind, country: &'static Country, arrival: f64, as_of: Moment) -> Option<Life> {
    let week = WEEK as f64;
    let rate = roll.gamma(TRUTH.r, TRUTH.alpha).max(1e-6);
    let dropout = roll.gamma(TRUTH.s, TRUTH.beta).max(1e-9);
    let stays = (roll.exponential(dropout) * week).min(LONGEST as f64);
    let leaves = Moment::seconds((arrival + stays) as i64);
    if leaves.plus(DAY + KEPT + TOMBSTONE) <= as_of {
        return None;
    }
    let first = country.by_day(arrival as i64);
    let created = first.plus(-ATTEMPT - roll.between(0, HOUR));
    let asked_to_be_erased = roll.chance(0.008).then(|| leaves.plus(30 * DAY + (roll.exponential(1.0 / 200.0) * DAY as f64) as i64));

    let mut orders = vec![first];
    let (mut last, mut at) = (first, arrival);
    let horizon = as_of.plus(ATTEMPT);
    while orders.len() < MOST_ORDERS {
        at += roll.exponential(rate) * week;
        if at > leaves.as_seconds() as f64 || at > (horizon.as_seconds() + DAY) as f64 {
            break;
        }
        let placed = country.by_day(at as i64);
        if placed > horizon || placed > last.plus(KEPT) {
            break;
        }
        orders.push(placed);
        last = placed;
    }
    let forgotten = last.plus(KEPT);
    let erased = Some(asked_to_be_erased.map_or(forgotten, |asked| asked.min(forgotten))).filter(|erased| *erased <= as_of);
    Some(Life { kind, country, created, orders, erased })
}

/// A lead or a guest: at most one order, and no buying process.
fn passing(roll: &mut Roll, kind: Kind, country: &'static Country, arrival: f64, as_of: Moment) -> Life {
    let created = country.by_day(arrival as i64);
    let orders = match kind {
        Kind::Guest => vec![created.plus(ATTEMPT)],
        Kind::LeadAndGuest => vec![created.plus(DAY + roll.between(0, 60 * DAY))],
        Kind::Buyer | Kind::Lead => Vec::new(),
    };
    let orders: Vec<Moment> = orders.into_iter().filter(|at| *at <= as_of.plus(ATTEMPT)).collect();
    let last = orders.last().copied().unwrap_or(created);
    let erased = Some(last.plus(KEPT)).filter(|erased| *erased <= as_of);
    Life { kind, country, created, orders, erased }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Moment {
        Moment::from(text.parse::<chrono::DateTime<chrono::Utc>>().unwrap())
    }

    #[test]
    fn every_date_has_about_as_many_customers_as_asked_for() {
        let dice = Dice::new(42);
        let arrivals = Arrivals::for_customers(5000);
        for date in ["2019-06-01T00:00:00Z", "2024-02-29T01:00:00Z", "2026-11-22T01:00:00Z", "2031-07-01T01:00:00Z"] {
            let as_of = at(date);
            let lives: Vec<Life> = arrivals.slots(as_of).filter_map(|who| arrivals.life(&dice, who, as_of)).collect();
            let known = lives.iter().filter(|life| life.kind != Kind::Guest && life.erased.is_none()).count();
            assert!((4850..=5150).contains(&known), "{date}: {known} customers");
        }
    }

    #[test]
    fn orders_come_and_stop_as_the_truth_says() {
        let dice = Dice::new(7);
        let arrivals = Arrivals::for_customers(20_000);
        let as_of = at("2026-11-22T01:00:00Z");
        // A complete cohort: those who came between one and two years ago. Expected orders in the first t weeks (repeat ones) are
        // r beta / (alpha (s - 1)) (1 - (beta / (beta + t))^(s - 1)), which for s = 1 is r beta / alpha ln(1 + t / beta).
        let weeks = 52.0;
        let (mut customers, mut repeats) = (0_u32, 0_u32);
        for life in arrivals.slots(as_of).filter_map(|who| arrivals.life(&dice, who, as_of)).filter(|life| life.kind == Kind::Buyer) {
            let first = life.orders[0];
            if first <= as_of.plus(-YEAR) && first > as_of.plus(-2 * YEAR + 2 * DAY) {
                customers += 1;
                repeats += life.orders.iter().skip(1).filter(|order| **order <= first.plus((weeks * WEEK as f64) as i64)).count() as u32;
            }
        }
        let expected = TRUTH.r * TRUTH.beta / TRUTH.alpha * (1.0 + weeks / TRUTH.beta).ln();
        let seen = f64::from(repeats) / f64::from(customers);
        assert!((seen / expected - 1.0).abs() < 0.04, "{seen} repeat orders a customer in a year, {expected} expected of {customers}");
    }
}
