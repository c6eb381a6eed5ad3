//! `rate = { requests = 2, per = "1s" }`: no more requests than a host allows, counted over all streams and sources that ask it. Where its
//! answers say how much is left, we slow down before it is used up, not before that.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::header::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::pages::path;
use crate::{config::Period, source::values};

/// The most requests within any stretch of time as long as `per`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    /// How many.
    pub(crate) requests: Option<u32>,
    /// In how long.
    #[serde(default = "a_second")]
    pub(crate) per: Period,
    /// The header that says how much of a limit is used, as in `32/40`; up to four fifths of it, `requests` does not count.
    pub(crate) used: Option<String>,
    /// The dotted path to what a query cost, in the answer of a GraphQL that tells it as Shopify's does: `extensions.cost`.
    pub(crate) cost: Option<String>,
}

fn a_second() -> Period {
    Period::seconds(1)
}

impl Rate {
    /// What is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.requests {
            Some(0) => Err("a source that may be asked 0 times gives nothing".to_owned()),
            Some(100_001..) => Err("a rate of more than 100000 requests is none; ask for it within a shorter time".to_owned()),
            None if self.used.is_some() => Err("`used` says when to slow down, and no `requests` says how far".to_owned()),
            None if self.cost.is_none() => Err("nothing is limited; set `requests`".to_owned()),
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
    /// Whether `requests` counts: always, where no header says how much is used.
    tight: bool,
    /// Before then there is not enough left for another request.
    not_before: Duration,
}

impl Turns {
    fn new(rate: Rate) -> Self {
        Self { tight: rate.used.is_none(), rate, sent: VecDeque::new(), not_before: Duration::ZERO }
    }

    /// When the next request may go out, at `now` or later. Pure, as all of this.
    fn earliest(&self, now: Duration) -> Duration {
        let free = now.max(self.not_before);
        let full = self.rate.requests.is_some_and(|requests| self.sent.len() >= requests as usize);
        match self.sent.front().filter(|_| full && self.tight) {
            Some(first) => free.max(*first + self.rate.per.duration()),
            None => free,
        }
    }

    /// Counts a request that goes out at `at`.
    fn count(&mut self, at: Duration) {
        if let Some(requests) = self.rate.requests {
            if self.sent.len() >= requests as usize {
                self.sent.pop_front();
            }
            self.sent.push_back(at);
        }
    }

    /// Takes in what an answer says about what is left.
    fn told(&mut self, now: Duration, headers: &HeaderMap, body: &Value) {
        let header = |name: &String| headers.get(name)?.to_str().ok()?.split_once('/');
        if let Some((used, limit)) = self.rate.used.as_ref().and_then(header)
            && let (Ok(used), Ok(limit)) = (used.trim().parse::<f64>(), limit.trim().parse::<f64>())
        {
            self.tight = used >= limit * 0.8;
        }
        if let Some(wait) = self.rate.cost.as_ref().and_then(|cost| values::at(body, &path(cost))).and_then(refilled) {
            self.not_before = now + wait;
        }
    }
}

/// How long it takes until there is enough again for a query that costs as much as this one was asked to.
fn refilled(cost: &Value) -> Option<Duration> {
    const LONGEST: f64 = 60.0;
    let number = |value: &Value, name: &str| value.get(name)?.as_f64();
    let throttle = cost.get("throttleStatus")?;
    let missing = number(cost, "requestedQueryCost")? - number(throttle, "currentlyAvailable")?;
    Duration::try_from_secs_f64((missing / number(throttle, "restoreRate")?).min(LONGEST)).ok()
}

/// How long from `now` a request has to wait that every one of several rates counts; it counts as sent then.
fn wait(turns: &mut [Turns], now: Duration) -> Duration {
    let free = turns.iter().map(|turns| turns.earliest(now)).max().unwrap_or(now);
    turns.iter_mut().for_each(|turns| turns.count(free));
    free - now
}

/// The pace at which a host is asked in one run: where its sources set several rates, the strictest.
#[derive(Debug)]
pub(crate) struct Pace {
    began: Instant,
    turns: Mutex<Vec<Turns>>,
}

impl Pace {
    /// The pace that several rates allow together.
    pub(crate) fn new(rates: impl IntoIterator<Item = Rate>) -> Self {
        Self { began: Instant::now(), turns: Mutex::new(rates.into_iter().map(Turns::new).collect()) }
    }

    /// Waits until a request may go out.
    pub(crate) async fn turn(&self) {
        let wait = wait(&mut self.turns.lock().unwrap_or_else(PoisonError::into_inner), self.began.elapsed());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes in what an answer says about what is left.
    pub(crate) fn told(&self, headers: &HeaderMap, body: &Value) {
        let now = self.began.elapsed();
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().for_each(|turns| turns.told(now, headers, body));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rate(requests: Option<u32>, per: u32) -> Rate {
        Rate { requests, per: Period::seconds(per), used: None, cost: None }
    }

    proptest! {
        /// However requests come, no stretch of time holds more of them than allowed, and none waits without need.
        #[test]
        fn no_window_holds_more_than_allowed(requests in 1u32..8, per in 1u32..5, gaps in proptest::collection::vec(0u64..3000, 1..60)) {
            let mut turns = [Turns::new(rate(Some(requests), per))];
            let per = Duration::from_secs(per.into());
            let (mut now, mut sent) = (Duration::ZERO, Vec::<Duration>::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                let wait = wait(&mut turns, now);
                let before = sent.len().checked_sub(requests as usize).map(|position| sent[position]);
                prop_assert_eq!(now + wait, before.map_or(now, |before| (before + per).max(now)));
                now += wait;
                sent.push(now);
            }
        }
    }

    #[test]
    fn of_several_rates_the_strictest_holds_at_any_time() {
        let mut turns = [Turns::new(rate(Some(2), 1)), Turns::new(rate(Some(3), 10))];
        let waits: Vec<u64> = (0..5).map(|_| wait(&mut turns, Duration::ZERO).as_secs()).collect();
        assert_eq!(waits, [0, 0, 1, 10, 10]);
    }

    #[test]
    fn a_rate_of_nothing_is_none() {
        let check = |requests, seconds| rate(requests, seconds).check();
        assert!(check(Some(0), 1).is_err() && check(Some(1), 0).is_err() && check(Some(1_000_000), 1).is_err() && check(None, 1).is_err());
        assert!(Rate { used: Some("X-Used".to_owned()), ..rate(None, 1) }.check().is_err());
        assert_eq!(check(Some(10), 60), Ok(()));
    }

    #[test]
    fn a_header_that_says_what_is_used_slows_down_before_the_limit() {
        let mut turns = [Turns::new(Rate { used: Some("X-Shop-Api-Call-Limit".to_owned()), ..rate(Some(2), 1) })];
        let mut told = |now: u64, used: &'static str| {
            let headers = HeaderMap::from_iter([("x-shop-api-call-limit".parse().unwrap(), used.parse().unwrap())]);
            turns[0].told(Duration::from_millis(now), &headers, &Value::Null);
            wait(&mut turns, Duration::from_millis(now)).as_millis()
        };
        assert_eq!([told(0, "1/40"), told(1, "2/40"), told(2, "31/40")], [0, 0, 0]);
        assert_eq!([told(3, "32/40"), told(1003, "33/40")], [998, 0]);
        assert_eq!([told(1004, "soon"), told(2100, "3/40"), told(2101, "4/40")], [997, 0, 0], "nonsense changes nothing");
    }

    #[test]
    fn a_query_waits_until_there_is_enough_for_it() {
        let mut turns = [Turns::new(Rate { cost: Some("extensions.cost".to_owned()), ..rate(None, 1) })];
        let mut told = |asked: i64, left: i64, restored: f64| {
            let throttle = json!({"maximumAvailable": 1000, "currentlyAvailable": left, "restoreRate": restored});
            let body = json!({"extensions": {"cost": {"requestedQueryCost": asked, "throttleStatus": throttle}}});
            turns[0].told(Duration::from_secs(5), &HeaderMap::new(), &body);
            wait(&mut turns, Duration::from_secs(5)).as_millis()
        };
        assert_eq!([told(100, 900, 50.0), told(100, 25, 50.0), told(100, 100, 50.0)], [0, 1500, 0]);
        assert_eq!(told(100, 0, 0.0), 60_000, "never longer than a minute");
    }
}
