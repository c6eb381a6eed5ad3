//! `rate = { requests = 2, per = "1s" }`: no more requests than a source allows, counted over all of its streams.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use tokio::time::Instant;

use crate::config::Period;

/// The most requests within any stretch of time as long as `per`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    /// How many.
    pub(crate) requests: u32,
    /// In how long.
    #[serde(default = "a_second")]
    pub(crate) per: Period,
}

fn a_second() -> Period {
    Period::seconds(1)
}

impl Rate {
    /// What is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.requests {
            0 => Err("a source that may be asked 0 times gives nothing".to_owned()),
            100_001.. => Err("a rate of more than 100000 requests is none; ask for it within a shorter time".to_owned()),
            _ if self.per.duration().is_zero() => Err("a rate counts over a stretch of time, and this one has no length".to_owned()),
            _ => Ok(()),
        }
    }
}

/// When the last requests went out. A bucket of tokens would let twice as many through while it empties for the first time; sources
/// that count over a window refuse them.
#[derive(Debug)]
struct Turns {
    rate: Rate,
    sent: VecDeque<Duration>,
}

impl Turns {
    /// How long from `now` the next request has to wait; it counts as sent then. Pure.
    fn next(&mut self, now: Duration) -> Duration {
        let full = self.sent.len() >= self.rate.requests as usize;
        let free = self.sent.front().filter(|_| full).map_or(now, |first| *first + self.rate.per.duration()).max(now);
        if full {
            self.sent.pop_front();
        }
        self.sent.push_back(free);
        free - now
    }
}

/// The pace of a source.
#[derive(Debug)]
pub(crate) struct Pace {
    began: Instant,
    turns: Mutex<Turns>,
}

impl Pace {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { began: Instant::now(), turns: Mutex::new(Turns { rate, sent: VecDeque::new() }) }
    }

    /// Waits until a request may go out.
    pub(crate) async fn turn(&self) {
        let wait = self.turns.lock().unwrap_or_else(PoisonError::into_inner).next(self.began.elapsed());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However requests come, no stretch of time holds more of them than allowed, and none waits without need.
        #[test]
        fn no_window_holds_more_than_allowed(requests in 1u32..8, per in 1u32..5, gaps in proptest::collection::vec(0u64..3000, 1..60)) {
            let per = Period::seconds(per);
            let mut turns = Turns { rate: Rate { requests, per }, sent: VecDeque::new() };
            let (mut now, mut sent) = (Duration::ZERO, Vec::<Duration>::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                let wait = turns.next(now);
                let before = sent.len().checked_sub(requests as usize).map(|position| sent[position]);
                prop_assert_eq!(now + wait, before.map_or(now, |before| (before + per.duration()).max(now)));
                now += wait;
                sent.push(now);
            }
        }
    }

    #[test]
    fn a_rate_of_nothing_is_none() {
        let check = |requests, seconds| Rate { requests, per: Period::seconds(seconds) }.check();
        assert!(check(0, 1).is_err() && check(1, 0).is_err() && check(1_000_000, 1).is_err());
        assert_eq!(check(10, 60), Ok(()));
    }
}
