//! Backing off: whoever says "too fast" is left alone for a while, then sent one message, then two, four, eight at once, until all is as before.

use chrono::{DateTime, TimeDelta, Utc};

/// How long the first pause is; each that follows it is twice as long.
const FIRST: TimeDelta = TimeDelta::minutes(1);
/// How long a pause is at most. Yahoo's `[TS04]` asks for as much at once (KumoMTA's shaping rules).
const LONGEST: TimeDelta = TimeDelta::hours(2);
/// As many on their way at once are as good as no limit.
const FREE: usize = 64;

/// What a refusal for now says about the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing: a full mailbox, greylisting, a fault over there.
    Nothing,
    /// It was too much, or too fast.
    TooFast,
    /// It will take nothing for hours.
    Long,
}

/// What a reply says about the pace: by its code (RFC 3463: x.7.0 and x.7.28 a policy, x.4.5 a congestion, x.3.2 a system that takes
/// nothing now), else by the words mailbox providers use.
pub(super) fn word(reply: &str) -> Word {
    let text = reply.to_lowercase();
    if !text.starts_with('4') || text.contains("greylist") || text.contains("graylist") {
        return Word::Nothing;
    }
    if ["[ts03]", "[ts04]", "(ts03)", "(ts04)"].iter().any(|mark| text.contains(mark)) {
        return Word::Long;
    }
    let code = text.split_whitespace().nth(1).unwrap_or_default();
    let words = [
        "too many",
        "too fast",
        "too much mail",
        "rate limit",
        "rate-limit",
        "ratelimit",
        "rate exceeded",
        "limit exceeded",
        "exceeded the rate",
        "unusual rate",
        "throttl",
        "temporarily deferred",
        "temporarily rate",
        "try again later",
        "[ts0",
        "(rp-00",
        "(s3150)",
        "slow down",
    ];
    let by_code = matches!(code, "4.7.28" | "4.4.5" | "4.3.2" | "4.7.650" | "4.7.651");
    if by_code || words.iter().any(|phrase| text.contains(phrase)) || (text.starts_with("421") && code.starts_with("4.7.")) {
        Word::TooFast
    } else {
        Word::Nothing
    }
}

/// Somebody who said "too fast".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pause {
    /// Nothing goes there before.
    pub(crate) until: DateTime<Utc>,
    /// How often it was said, since it was last well.
    pub(crate) steps: u32,
    /// How many may be on their way at once, after that.
    allowed: usize,
}

impl Pause {
    /// As kept from an earlier run.
    pub(super) fn kept(until: DateTime<Utc>, steps: u32) -> Self {
        Self { until, steps, allowed: 1 }
    }

    /// The first, or the next after `before`. What several messages on their way at once are told counts once.
    pub(super) fn after(before: Option<Self>, word: Word, now: DateTime<Utc>) -> Self {
        if let Some(before) = before.filter(|before| before.until > now) {
            return before;
        }
        let steps = before.map_or(0, |before| before.steps).saturating_add(1);
        let doubled = FIRST * i32::try_from(1_u32 << (steps - 1).min(10)).unwrap_or(1);
        let pause = if word == Word::Long { LONGEST } else { doubled.min(LONGEST) };
        Self { until: now + pause, steps, allowed: 1 }
    }

    /// Whether one more may go, with so many on their way.
    pub(super) fn lets_go(self, under_way: usize, now: DateTime<Utc>) -> bool {
        now >= self.until && under_way < self.allowed
    }

    /// One was taken: what may be on its way at once doubles. `None` when all is as before.
    pub(super) fn taken(self) -> Option<Self> {
        (self.allowed < FREE).then_some(Self { allowed: self.allowed * 2, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_providers_say_about_the_pace_is_understood() {
        for (reply, expected) in [
            ("421 4.7.0 [TS01] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints", Word::TooFast),
            ("421 4.7.0 [TS04] Messages from 192.0.2.1 temporarily deferred", Word::Long),
            ("421 4.7.28 Gmail has detected an unusual rate of unsolicited mail", Word::TooFast),
            ("450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages", Word::Nothing),
            ("451 4.7.650 The mail server has been temporarily rate limited due to IP reputation (S775)", Word::TooFast),
            ("421 RP-001 Unfortunately, some messages weren't sent; the limit exceeded", Word::TooFast),
            ("452 4.5.3 Too many recipients", Word::TooFast),
            ("451 4.7.1 Greylisted, please try again later", Word::Nothing),
            ("452 4.2.2 mailbox full", Word::Nothing),
            ("451 4.3.0 internal error", Word::Nothing),
            ("550 5.7.1 too many complaints", Word::Nothing),
            ("no answer in time", Word::Nothing),
        ] {
            assert_eq!(word(reply), expected, "{reply}");
        }
    }

    #[test]
    fn pauses_double_count_once_and_end_step_by_step() {
        let now = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        let first = Pause::after(None, Word::TooFast, now);
        assert_eq!((first.until - now, first.steps), (TimeDelta::minutes(1), 1));
        assert_eq!(Pause::after(Some(first), Word::TooFast, now + TimeDelta::seconds(30)), first, "said by several at once");
        let (mut pause, mut now, mut lengths) = (first, first.until, Vec::new());
        for _ in 0..9 {
            pause = Pause::after(Some(pause), Word::TooFast, now);
            lengths.push((pause.until - now).num_minutes());
            now = pause.until;
        }
        assert_eq!(lengths, [2, 4, 8, 16, 32, 64, 120, 120, 120]);
        assert!(!pause.lets_go(0, now - TimeDelta::seconds(1)) && pause.lets_go(0, now) && !pause.lets_go(1, now));
        let steps = std::iter::successors(Some(pause), |pause| pause.taken());
        let allowed: Vec<usize> = steps.map(|pause| pause.allowed).collect();
        assert_eq!(allowed, [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(Pause::after(None, Word::Long, now).until - now, TimeDelta::hours(2));
    }
}
