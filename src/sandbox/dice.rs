//! The practice world's randomness. Every draw belongs to a named place (this customer's life, that order's basket), so that any
//! record can be made by itself, in any order, and always comes out the same.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1, Gamma};

/// What a stream of draws decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// Arrival, country, rate, lifetime, the instants of orders.
    Life = 1,
    /// Which systems know a person, and when.
    Presence = 2,
    /// Name, address, birthday.
    Person = 3,
    /// Whether two neighbours are one household.
    Family = 4,
    /// What a person likes.
    Taste = 5,
    /// Payment, delivery, refunds and complaints of one order.
    Fate = 6,
    /// The lines of one order.
    Basket = 7,
    /// The words of one ticket.
    Ticket = 8,
    /// An answer to a survey, a review.
    Rating = 9,
    /// Permissions a person gave.
    Consent = 10,
    /// Stock and prices of one product.
    Shelf = 11,
    /// One day's noise of one exchange rate.
    Exchange = 12,
}

/// The seed of a world; hands out independent streams of draws.
#[derive(Debug, Clone)]
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// The draws about one thing of one customer (or product, or day): the same whenever they are asked for.
    pub(super) fn roll(&self, about: About, who: u32, nth: u16) -> Roll {
        let mut stream = self.0.clone();
        stream.set_stream((about as u64) << 56 | u64::from(who) << 16 | u64::from(nth));
        Roll(stream)
    }
}

/// One stream of draws.
#[derive(Debug)]
pub(super) struct Roll(ChaCha8Rng);

impl Roll {
    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in 0..n; 0 where n is 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// Uniform in low..=high.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(0) as usize) as i64
    }

    /// True with this probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of them, each as likely; the first of an empty slice does not exist, so there must be one.
    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// The index of one of these weights, as likely as the weight says.
    pub(super) fn weighted(&mut self, weights: impl Iterator<Item = u32> + Clone) -> usize {
        let total: u32 = weights.clone().sum();
        let mut left = self.below(total as usize) as u32;
        for (index, weight) in weights.enumerate() {
            if left < weight {
                return index;
            }
            left -= weight;
        }
        0
    }

    /// Exponential with this rate.
    pub(super) fn exponential(&mut self, rate: f64) -> f64 {
        let one: f64 = Exp1.sample(&mut self.0);
        one / rate
    }

    /// Gamma with this shape and rate (mean shape / rate).
    pub(super) fn gamma(&mut self, shape: f64, rate: f64) -> f64 {
        Gamma::new(shape, 1.0 / rate).map_or(shape / rate, |gamma| gamma.sample(&mut self.0))
    }
}
