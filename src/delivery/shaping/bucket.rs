//! A token bucket: as many messages as it holds may leave at once, and it fills again at an even pace.

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::Cap;

/// A bucket. It holds what flows in within a second, or one message where that is less.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    /// How long one message takes to flow in, in nanoseconds.
    each: i64,
    /// How much it holds, in nanoseconds of flowing in.
    depth: i64,
    /// When it was, or will be, empty, were nothing to be taken: what has flowed in since may leave.
    empty_at: DateTime<Utc>,
}

impl Bucket {
    /// A full one.
    pub(super) fn full(rate: Cap, now: DateTime<Utc>) -> Self {
        let within = rate.within.delta().num_nanoseconds().unwrap_or(i64::MAX);
        let each = (within / i64::from(rate.messages.max(1))).max(1);
        let depth = each.max(within.min(1_000_000_000) / each * each);
        Self { each, depth, empty_at: now - TimeDelta::nanoseconds(depth) }
    }

    /// When the next message may leave; at `now` or before, if it may now.
    pub(super) fn next(&self) -> DateTime<Utc> {
        self.empty_at + TimeDelta::nanoseconds(self.each)
    }

    /// The same for somebody before whom so many others wait.
    pub(super) fn next_after(&self, others: u32) -> DateTime<Utc> {
        self.next() + TimeDelta::nanoseconds(self.each.saturating_mul(i64::from(others)))
    }

    /// Lets a message leave that may.
    pub(super) fn take(&mut self, now: DateTime<Utc>) {
        let fullest = now - TimeDelta::nanoseconds(self.depth);
        self.empty_at = self.empty_at.max(fullest) + TimeDelta::nanoseconds(self.each);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Period;

    proptest! {
        #[test]
        fn in_no_stretch_of_time_more_leave_than_it_holds_and_what_flows_in(
            messages in 1_u32..2_000, within in 1_u32..4_000, asks in prop::collection::vec(0_i64..3_000, 1..300),
        ) {
            let start = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
            let rate = Cap { messages, within: Period::seconds(within) };
            let mut bucket = Bucket::full(rate, start);
            let (mut now, mut left) = (start, Vec::new());
            for pause in asks {
                now += TimeDelta::milliseconds(pause);
                while bucket.next() <= now && left.len() < 5_000 {
                    bucket.take(now);
                    left.push(now);
                }
            }
            let burst = (f64::from(messages) / f64::from(within)).max(1.0);
            for (first, begin) in left.iter().enumerate().step_by(1 + left.len() / 50) {
                for (last, end) in left.iter().enumerate().skip(first).step_by(1 + left.len() / 50) {
                    let seconds = (*end - *begin).as_seconds_f64();
                    let most = burst + 1.0 + seconds * f64::from(messages) / f64::from(within);
                    prop_assert!((last - first + 1) as f64 <= most + 1e-6, "{} within {seconds} s", last - first + 1);
                }
            }
        }

        #[test]
        fn whoever_asks_when_told_to_may(messages in 1_u32..500, within in 1_u32..4_000, count in 1_usize..200) {
            let mut now = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
            let start = now;
            let mut bucket = Bucket::full(Cap { messages, within: Period::seconds(within) }, now);
            for _ in 0..count {
                now = now.max(bucket.next());
                bucket.take(now);
            }
            let seconds = (now - start).as_seconds_f64();
            prop_assert!(seconds <= count as f64 * f64::from(within) / f64::from(messages) + 1e-3, "it takes no longer than it must");
        }
    }
}
