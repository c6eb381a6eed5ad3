//! The practice world's randomness. Every draw belongs to a named place (this customer's life, that order's basket), so that any
//! record can be made by itself, in any order, and always comes out the same.

use std::convert::Infallible;

use rand::{Rng as _, SeedableRng as _, TryRng};
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
///
/// ChaCha stretches the seed into keys; the draws themselves come from SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), because a
/// page of records begins thousands of very short streams, which has to be quick in unoptimised builds too.
#[derive(Debug, Clone)]
pub(super) struct Dice {
    keys: [u64; 2],
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        let mut chacha = ChaCha8Rng::seed_from_u64(seed);
        Self { keys: [chacha.next_u64(), chacha.next_u64()] }
    }

    /// The draws about one thing of one customer (or product, or day): the same whenever they are asked for.
    pub(super) fn roll(&self, about: About, who: u32, nth: u16) -> Roll {
        let place = (about as u64) << 56 | u64::from(who) << 16 | u64::from(nth);
        Roll(mix(mix(place ^ self.keys[0]).wrapping_add(self.keys[1])))
    }
}

/// One stream of draws.
#[derive(Debug)]
pub(super) struct Roll(u64);

/// The finisher of SplitMix64.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl TryRng for Roll {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|draw| (draw >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Ok(mix(self.0))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let draw = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&draw[..chunk.len()]);
        }
        Ok(())
    }
}

impl Roll {
    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in 0..n; 0 where n is 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
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
        let one: f64 = Exp1.sample(self);
        one / rate
    }

    /// Gamma with this shape and rate (mean shape / rate).
    pub(super) fn gamma(&mut self, shape: f64, rate: f64) -> f64 {
        Gamma::new(shape, 1.0 / rate).map_or(shape / rate, |gamma| gamma.sample(self))
    }
}
