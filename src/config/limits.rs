//! How often people are written to, and when not: planning and sending go by the same limits.

use chrono::{DateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use schemars::{
    JsonSchema,
    r#gen::SchemaGenerator,
    schema::{ArrayValidation, InstanceType, Schema, SchemaObject},
};
use serde::{Deserialize, Serialize};

use super::{Period, schema};

/// The most messages a person gets within a stretch of time, of all campaigns together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// The most messages.
    pub messages: u32,
    /// The period they are counted in.
    pub within: Period,
}

/// Hours in which nobody is written to, on the clock on the person's wall; `from` is inside, `to` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    /// When they begin.
    pub from: NaiveTime,
    /// When they end, on the same day or the next.
    pub to: NaiveTime,
}

impl JsonSchema for QuietHours {
    fn schema_name() -> String {
        "QuietHours".to_owned()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let time = schema::text("^[0-9]{1,2}:[0-9]{1,2}$", "A time of day, such as `21:00`.");
        let pair = ArrayValidation { items: Some(time.into()), min_items: Some(2), max_items: Some(2), ..ArrayValidation::default() };
        SchemaObject { instance_type: Some(InstanceType::Array.into()), array: Some(Box::new(pair)), ..SchemaObject::default() }.into()
    }
}

impl QuietHours {
    /// The end of the quiet hours a person in `zone` is in at `now`; `None` outside them.
    #[must_use]
    pub fn end(self, now: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let local = now.with_timezone(&zone).naive_local();
        let time = local.time();
        let over_midnight = self.to <= self.from;
        let inside = if over_midnight { time >= self.from || time < self.to } else { time >= self.from && time < self.to };
        if self.from == self.to || !inside {
            return None;
        }
        let day = if over_midnight && time >= self.from { local.date().succ_opt()? } else { local.date() };
        let end = day.and_time(self.to);
        // A clock put forward skips this time: an hour later it is there again. One put back has it twice: the later lies ahead for sure.
        let end = zone.from_local_datetime(&end).latest().or_else(|| zone.from_local_datetime(&(end + TimeDelta::hours(1))).latest())?;
        Some(end.with_timezone(&Utc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn quiet(from: &str, to: &str) -> QuietHours {
        let time = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").unwrap();
        QuietHours { from: time(from), to: time(to) }
    }

    #[test]
    fn the_night_ends_in_the_person_s_own_morning() {
        for (now, zone, expected) in [
            ("2026-11-22T01:00:00Z", "Europe/Berlin", Some("2026-11-22T07:00:00Z")),
            ("2026-11-22T19:59:59Z", "Europe/Berlin", None),
            ("2026-11-22T20:00:00Z", "Europe/Berlin", Some("2026-11-23T07:00:00Z")),
            ("2026-11-22T07:00:00Z", "Europe/Berlin", None),
            ("2026-11-22T01:00:00Z", "America/New_York", None),
            ("2026-11-22T02:00:00Z", "America/New_York", Some("2026-11-22T13:00:00Z")),
            ("2026-11-22T01:00:00Z", "Asia/Tokyo", None),
            ("2026-11-21T23:30:00Z", "Europe/London", Some("2026-11-22T08:00:00Z")),
        ] {
            let zone: Tz = zone.parse().unwrap();
            assert_eq!(quiet("21:00", "08:00").end(at(now), zone), expected.map(at), "{now} {zone}");
        }
    }

    #[test]
    fn quiet_hours_within_a_day_and_over_a_clock_change_end_too() {
        let noon = quiet("12:00", "14:00");
        assert_eq!(noon.end(at("2026-06-01T12:30:00Z"), Tz::UTC), Some(at("2026-06-01T14:00:00Z")));
        assert_eq!(noon.end(at("2026-06-01T14:00:00Z"), Tz::UTC), None);
        assert_eq!(quiet("09:00", "09:00").end(at("2026-03-28T09:00:00Z"), Tz::UTC), None);
        // In the night the clocks go forward, 02:30 does not exist in Berlin.
        let short = quiet("22:00", "02:30");
        assert_eq!(short.end(at("2026-03-28T23:00:00Z"), Tz::Europe__Berlin), Some(at("2026-03-29T01:30:00Z")));
    }
}
