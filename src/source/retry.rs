//! How long to wait before asking again, and when to give up. Pure: it reads headers and returns durations.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::Period;

/// No source may make us wait longer than this at once.
const LONGEST: Duration = Duration::from_secs(3600);
/// Our own waits stop doubling here.
const LONGEST_OWN: Duration = Duration::from_secs(60);

/// `retry = { attempts = 6, wait = "1s", max_wait = "15m" }`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retry {
    /// How often one page is asked for before the stream fails.
    pub(crate) attempts: u32,
    /// The first wait; it doubles with each attempt, up to a minute.
    pub(crate) wait: Period,
    /// How long one page may be waited for in all, whatever the source asks.
    pub(crate) max_wait: Period,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 6, wait: Period::seconds(1), max_wait: Period::seconds(15 * 60) }
    }
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask again after this long.
    Wait(Duration),
    /// It was asked often enough.
    GiveUp,
    /// The source asks for more patience than is allowed.
    TooLong(Duration),
}

impl Retry {
    /// After `attempt` failures (from 1) that already took `waited`, with the source's own wish and the dice's `jitter` in 0..1.
    pub(crate) fn next(&self, attempt: u32, waited: Duration, hint: Option<Duration>, jitter: f64) -> Next {
        if attempt >= self.attempts.max(1) {
            return Next::GiveUp;
        }
        let left = self.max_wait.duration().saturating_sub(waited);
        let own = self.wait.duration().saturating_mul(2u32.saturating_pow(attempt - 1)).min(LONGEST_OWN);
        // Between half and the whole of it, so that many clients do not come back at once.
        let own = own.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        match hint.map(|hint| hint.min(LONGEST)) {
            Some(hint) if hint > left => Next::TooLong(hint),
            Some(hint) => Next::Wait(hint),
            None if own > left => Next::GiveUp,
            None => Next::Wait(own),
        }
    }
}

/// Reads `Retry-After`: seconds, also with a fraction, or an HTTP date measured against the answer's own `Date`, else our clock.
/// Zero, less, the past and nonsense are no hint.
pub(crate) fn retry_after(value: &str, date: Option<&str>, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return (seconds > 0.0 && seconds.is_finite()).then(|| Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())));
    }
    let until = DateTime::parse_from_rfc2822(value).ok()?.with_timezone(&Utc);
    let now = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()).map_or(now, |date| date.with_timezone(&Utc));
    (until - now).to_std().ok().filter(|wait| !wait.is_zero()).map(|wait| wait.min(LONGEST))
}

/// A share between 0 and 1 that differs from stream to stream and attempt to attempt, and is the same when a run is repeated.
pub(crate) fn jitter(seed: &str, attempt: u32) -> f64 {
    let mut hasher = DefaultHasher::new();
    (seed, attempt).hash(&mut hasher);
    f64::from(u32::try_from(hasher.finish() >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: &str = "2026-11-22T01:00:00Z";

    fn hint(value: &str, date: Option<&str>) -> Option<f64> {
        retry_after(value, date, NOW.parse().unwrap()).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn retry_after_takes_seconds_fractions_and_dates() {
        assert_eq!(hint("2", None), Some(2.0));
        assert_eq!(hint("2.5", None), Some(2.5));
        assert_eq!(hint("Sun, 22 Nov 2026 01:00:30 GMT", None), Some(30.0));
        assert_eq!(
            hint("Sun, 22 Nov 2026 01:00:30 GMT", Some("Sun, 22 Nov 2026 01:00:20 GMT")),
            Some(10.0),
            "the source's own clock counts"
        );
    }

    #[test]
    fn zero_the_past_and_nonsense_are_no_hint_and_nothing_is_longer_than_an_hour() {
        let past = ["Sun, 22 Nov 2026 00:59:59 GMT", "Sun, 22 Nov 2026 01:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"];
        for value in ["0", "-3", "0.0", "-0.5", "-1e300", "soon", "", "NaN", "-inf", "2 minutes"].into_iter().chain(past) {
            assert_eq!(hint(value, None), None, "{value}");
        }
        assert_eq!(hint("86400", None), Some(3600.0));
        for value in ["3600.5", "99999999999999999999999", "1e300", "Mon, 23 Nov 2026 01:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(hint(value, None), Some(3600.0), "{value}");
        }
        assert_eq!(hint(" 0.25 ", None), Some(0.25));
        assert_eq!(hint("inf", None), None);
    }

    #[test]
    fn a_source_that_asks_for_more_than_max_wait_is_not_waited_for() {
        let retry = Retry::default();
        let second = Duration::from_secs(1);
        assert_eq!(retry.next(1, Duration::ZERO, Some(second * 5), 0.0), Next::Wait(second * 5));
        assert_eq!(retry.next(1, Duration::ZERO, Some(second * 3600), 0.0), Next::TooLong(second * 3600));
        assert_eq!(retry.next(2, second * 899, Some(second * 5), 0.0), Next::TooLong(second * 5));
        assert_eq!(retry.next(6, Duration::ZERO, Some(second), 0.0), Next::GiveUp);
    }

    proptest! {
        #[test]
        fn every_page_is_given_up_in_the_end_within_max_wait(
            attempts in 1u32..20, wait in 0u32..100, max_wait in 0u32..2000, dice in proptest::collection::vec(0.0f64..1.0, 20),
        ) {
            let retry = Retry { attempts, wait: Period::seconds(wait), max_wait: Period::seconds(max_wait) };
            let mut waited = Duration::ZERO;
            for (attempt, jitter) in (1..).zip(dice) {
                match retry.next(attempt, waited, None, jitter) {
                    Next::Wait(wait) => waited += wait,
                    _ => break,
                }
                prop_assert!(attempt < attempts);
            }
            prop_assert!(waited <= retry.max_wait.duration());
        }
    }
}
