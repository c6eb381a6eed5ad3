//! What the deployment sets for all campaigns: how many messages are too many, and the hours of the night.

use chrono::{DateTime, Days, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::config::Period;

/// How many messages a person may get within a stretch of time, whatever the campaigns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// This many are allowed.
    pub messages: u32,
    /// Within this long.
    pub within: Period,
}

/// Hours in which nobody is written to, in the person's own zone; they may run over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    /// The first quiet moment.
    pub from: NaiveTime,
    /// The first moment that is no longer quiet.
    pub until: NaiveTime,
}

/// The deployment's limits on every campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// How many messages are too many.
    pub cap: Option<Cap>,
    /// When nobody is written to.
    pub quiet_hours: Option<QuietHours>,
}

impl QuietHours {
    /// The first instant at or after `at` that is not quiet for somebody in `zone`.
    #[must_use]
    pub fn end(&self, at: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
        let local = at.with_timezone(&zone).naive_local();
        let time = local.time();
        let over_midnight = self.from > self.until;
        let quiet = if over_midnight { time >= self.from || time < self.until } else { time >= self.from && time < self.until };
        if !quiet {
            return at;
        }
        let today = local.date();
        let day = if over_midnight && time >= self.from { today.checked_add_days(Days::new(1)).unwrap_or(today) } else { today };
        let morning = day.and_time(self.until);
        // In the hour a clock change skips, the first hour after it is meant.
        zone.from_local_datetime(&morning)
            .earliest()
            .or_else(|| zone.from_local_datetime(&(morning + TimeDelta::hours(1))).earliest())
            .map_or(at, |end| end.with_timezone(&Utc))
            .max(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn time(hour: u32) -> NaiveTime {
        NaiveTime::from_hms_opt(hour, 0, 0).unwrap()
    }

    #[test]
    fn the_night_ends_in_the_person_s_own_morning() {
        let quiet = QuietHours { from: time(21), until: time(8) };
        for (now, zone, expected) in [
            ("2026-11-22T01:00:00Z", "Europe/Berlin", "2026-11-22T07:00:00Z"),
            ("2026-11-22T01:00:00Z", "America/New_York", "2026-11-22T01:00:00Z"),
            ("2026-11-22T02:00:00Z", "America/New_York", "2026-11-22T13:00:00Z"),
            ("2026-11-22T01:00:00Z", "Asia/Tokyo", "2026-11-22T01:00:00Z"),
            ("2026-11-21T23:30:00Z", "Europe/London", "2026-11-22T08:00:00Z"),
        ] {
            let zone: Tz = zone.parse().unwrap();
            assert_eq!(quiet.end(at(now), zone), at(expected), "{now} {zone}");
        }
    }

    #[test]
    fn quiet_hours_within_a_day_and_over_a_clock_change_end_too() {
        let noon = QuietHours { from: time(12), until: time(14) };
        assert_eq!(noon.end(at("2026-06-01T12:30:00Z"), Tz::UTC), at("2026-06-01T14:00:00Z"));
        assert_eq!(noon.end(at("2026-06-01T14:00:00Z"), Tz::UTC), at("2026-06-01T14:00:00Z"));
        let gap = QuietHours { from: time(22), until: NaiveTime::from_hms_opt(2, 30, 0).unwrap() };
        assert_eq!(gap.end(at("2026-03-28T23:00:00Z"), Tz::Europe__Berlin), at("2026-03-29T01:30:00Z"));
    }
}
