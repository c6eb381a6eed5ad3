//! Slots: the instants a pattern names, as pure functions of the pattern, the zone and the time.
//!
//! Daylight saving, as in Vixie cron: a fixed time that falls into the spring gap runs at the first instant after it; a fixed time that
//! comes twice in autumn runs the first time. Patterns with wildcards in hour or minute skip the gap and run in both passes.

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use croner::{Cron, JobType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::Period,
    diagnosis::{Diagnose, Diagnosis, Exit},
};

/// A schedule that cannot be understood.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ScheduleError {
    /// The pattern is not a cron pattern.
    #[error("`{pattern}` is not a schedule: {reason}")]
    Pattern {
        /// What was written.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The pattern never comes.
    #[error("`{0}` names a time that never comes")]
    Never(String),
    /// The zone is not in the zone database.
    #[error("`{0}` is not a time zone")]
    Zone(String),
}

impl Diagnose for ScheduleError {
    fn diagnosis(&self) -> Diagnosis {
        let diagnosis = Diagnosis::new("schedule", self.to_string());
        match self {
            Self::Zone(_) => diagnosis.hint("write a name of the IANA zone database, such as `Europe/Berlin`"),
            _ => diagnosis.hint("write minute, hour, day of month, month, day of week: `0 2 * * *` is every night at two"),
        }
    }

    fn exit(&self) -> Exit {
        Exit::Wrong
    }
}

/// What happens to slots that passed while nobody was looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// The latest of them runs, the earlier ones are recorded as missed.
    #[default]
    Latest,
    /// All of them run, the oldest first.
    All,
    /// None of them runs.
    None,
}

/// The slots that are due, and the ones that are over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Due {
    /// To be run now, the oldest first.
    pub run: Vec<DateTime<Utc>>,
    /// To be recorded as missed.
    pub missed: Vec<DateTime<Utc>>,
}

/// How far to look for a slot, in days: a minute's pattern is near, the 29th of February may be eight years away.
const WINDOWS: [i64; 4] = [1, 32, 400, 3000];

/// A cron pattern in a time zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
}

impl Schedule {
    /// Reads a pattern of five fields (minute, hour, day of month, month, day of week) and a zone of the IANA database.
    ///
    /// # Errors
    /// Where either cannot be understood, or the pattern never comes.
    pub fn parse(pattern: &str, zone: &str) -> Result<Self, ScheduleError> {
        let refused = |reason: String| ScheduleError::Pattern { pattern: pattern.to_owned(), reason };
        if !pattern.trim_start().starts_with('@') && pattern.split_whitespace().count() != 5 {
            return Err(refused("it needs five fields".to_owned()));
        }
        let cron: Cron = pattern.parse().map_err(|error: croner::errors::CronError| refused(error.to_string()))?;
        let zone: Tz = zone.parse().map_err(|_| ScheduleError::Zone(zone.to_owned()))?;
        let schedule = Self { cron, zone };
        match schedule.next(DateTime::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never(pattern.to_owned())),
        }
    }

    /// The pattern, as it was written.
    #[must_use]
    pub fn pattern(&self) -> &str {
        self.cron.as_str()
    }

    /// The zone the pattern is read in.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The slots after `after` up to and including `until`, the oldest first.
    ///
    /// The pattern is matched against the clock on the wall, where time never jumps, and each match is then placed in real time: the
    /// library's own search in a zone loses or reorders the second pass of an autumn hour.
    #[must_use]
    pub fn between(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        // No zone's clock has ever been moved by more than a few hours; a day of margin covers them all.
        let margin = TimeDelta::days(1);
        // Slots are whole seconds; the pattern's own search keeps whatever fraction it starts from.
        let start = (after.with_timezone(&self.zone).naive_local() - margin).and_utc();
        let first = start.with_nanosecond(0).unwrap_or(start);
        let last = (until.with_timezone(&self.zone).naive_local() + margin).and_utc();
        let mut slots: Vec<_> = self
            .cron
            .iter_from(first, croner::Direction::Forward)
            .take_while(|wall| *wall <= last)
            .flat_map(|wall| self.place(wall.naive_utc()))
            .filter(|slot| *slot > after && *slot <= until)
            .collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// The instants at which the clock on the wall shows a time the pattern names.
    fn place(&self, wall: NaiveDateTime) -> Vec<DateTime<Utc>> {
        let fixed = self.cron.determine_job_type() == JobType::FixedTime;
        match self.zone.from_local_datetime(&wall) {
            LocalResult::Single(at) => vec![at.to_utc()],
            LocalResult::Ambiguous(first, _) if fixed => vec![first.to_utc()],
            LocalResult::Ambiguous(first, second) => vec![first.to_utc(), second.to_utc()],
            LocalResult::None if fixed => self.end_of_gap(wall).into_iter().collect(),
            LocalResult::None => Vec::new(),
        }
    }

    /// The first instant after the gap that `wall` falls into.
    fn end_of_gap(&self, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
        (0..=24 * 60)
            .map(|minutes| wall.with_second(0).unwrap_or(wall) + TimeDelta::minutes(minutes))
            .find_map(|later| self.zone.from_local_datetime(&later).earliest())
            .map(|at| at.to_utc())
    }

    /// The latest slot at or before `now`.
    #[must_use]
    pub fn latest_due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        WINDOWS.iter().find_map(|days| self.between(now - TimeDelta::days(*days), now).pop())
    }

    /// The next slot after `now`.
    #[must_use]
    pub fn next(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        WINDOWS.iter().find_map(|days| self.between(now, now + TimeDelta::days(*days)).into_iter().next())
    }

    /// What to do at `now`, when the slot `last` was the last one taken, and the runs of `interrupted` did not come to their end. A slot
    /// older than `deadline` no longer starts.
    #[must_use]
    pub fn due(
        &self,
        last: DateTime<Utc>,
        now: DateTime<Utc>,
        interrupted: impl IntoIterator<Item = DateTime<Utc>>,
        catch_up: CatchUp,
        deadline: Period,
    ) -> Due {
        // A slot is "just due", and no catching up, while the waker may simply be late.
        let punctual = now - TimeDelta::minutes(1);
        let in_time = |slot: DateTime<Utc>| slot + deadline.delta() >= now;
        let (mut run, mut missed): (Vec<_>, Vec<_>) =
            self.between(last, now).into_iter().partition(|slot| in_time(*slot) && (catch_up != CatchUp::None || *slot >= punctual));
        for slot in interrupted {
            if in_time(slot) { run.push(slot) } else { missed.push(slot) }
        }
        run.sort_unstable();
        missed.sort_unstable();
        if catch_up != CatchUp::All && run.len() > 1 {
            let latest = run.split_off(run.len() - 1);
            missed.append(&mut run);
            run = latest;
        }
        Due { run, missed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn slots(pattern: &str, zone: &str, after: &str, until: &str) -> Vec<String> {
        Schedule::parse(pattern, zone).unwrap().between(at(after), at(until)).iter().map(|slot| slot.format("%FT%TZ").to_string()).collect()
    }

    #[test]
    fn a_fixed_time_in_the_spring_gap_runs_right_after_it() {
        assert_eq!(
            slots("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-30T12:00:00Z"),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        assert_eq!(
            slots("30 2 * * *", "America/New_York", "2026-03-08T00:00:00Z", "2026-03-09T12:00:00Z"),
            ["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"]
        );
    }

    #[test]
    fn a_fixed_time_that_comes_twice_in_autumn_runs_once() {
        assert_eq!(
            slots("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn an_hourly_pattern_runs_in_both_passes() {
        assert_eq!(slots("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", "2026-10-25T02:00:00Z").len(), 3);
    }

    #[test]
    fn slots_are_whole_seconds_whatever_the_time_is_now() {
        let schedule = Schedule::parse("0 2 * * *", "Europe/Berlin").unwrap();
        assert_eq!(schedule.latest_due(at("2026-11-22T04:16:56.839955123Z")), Some(at("2026-11-22T01:00:00Z")));
        assert_eq!(schedule.next(at("2026-11-22T04:16:56.839955123Z")), Some(at("2026-11-23T01:00:00Z")));
    }

    #[test]
    fn a_quarter_hourly_pattern_comes_in_order_through_the_doubled_hour() {
        let all = slots("*/15 * * * *", "America/New_York", "2026-11-01T05:00:00Z", "2026-11-01T07:00:00Z");
        assert_eq!((all.len(), all.is_sorted()), (8, true));
    }

    #[test]
    fn the_latest_slot_is_always_one_of_the_forward_slots() {
        for (pattern, zone) in
            [("30 2 * * *", "Europe/Berlin"), ("0 2 * * *", "America/New_York"), ("15 1 * * 1", "Europe/London"), ("0 0 29 2 *", "UTC")]
        {
            let schedule = Schedule::parse(pattern, zone).unwrap();
            let mut now = at("2024-01-01T00:17:00Z");
            let all = schedule.between(at("2019-01-01T00:00:00Z"), at("2025-01-02T00:00:00Z"));
            while now < at("2025-01-01T00:00:00Z") {
                let expected = all.iter().copied().rfind(|slot| *slot <= now);
                assert_eq!(schedule.latest_due(now), expected, "{pattern} {zone} {now}");
                now += TimeDelta::minutes(431);
            }
        }
    }

    #[test]
    fn catching_up_follows_the_rule() {
        let schedule = Schedule::parse("0 * * * *", "UTC").unwrap();
        let (last, now) = (at("2026-11-22T00:00:00Z"), at("2026-11-22T05:30:00Z"));
        let latest = schedule.due(last, now, [], CatchUp::Latest, Period::hours(6));
        assert_eq!((latest.run, latest.missed.len()), (vec![at("2026-11-22T05:00:00Z")], 4));
        assert_eq!(schedule.due(last, now, [], CatchUp::All, Period::hours(6)).run.len(), 5);
        assert_eq!(schedule.due(last, now, [], CatchUp::All, Period::hours(2)).run.len(), 2);
        let none = schedule.due(last, now, [], CatchUp::None, Period::hours(6));
        assert_eq!((none.run.len(), none.missed.len()), (0, 5));
        assert_eq!(schedule.due(last, at("2026-11-22T01:00:05Z"), [], CatchUp::None, Period::hours(6)).run.len(), 1);
        assert_eq!(schedule.due(now, now, [], CatchUp::All, Period::hours(6)), Due::default());
    }

    #[test]
    fn what_was_interrupted_runs_again_within_its_deadline_unless_a_newer_slot_is_due() {
        let schedule = Schedule::parse("0 * * * *", "UTC").unwrap();
        let (early, late, now) = (at("2026-11-22T01:00:00Z"), at("2026-11-22T04:00:00Z"), at("2026-11-22T04:30:00Z"));
        let due = |last, catch_up, hours| schedule.due(last, now, [early], catch_up, Period::hours(hours));
        for rule in [CatchUp::Latest, CatchUp::All, CatchUp::None] {
            assert_eq!(due(late, rule, 6), Due { run: vec![early], missed: vec![] }, "{rule:?}");
            assert_eq!(due(late, rule, 3), Due { run: vec![], missed: vec![early] }, "{rule:?}: too late");
        }
        let before = at("2026-11-22T03:00:00Z");
        assert_eq!(due(before, CatchUp::Latest, 6), Due { run: vec![late], missed: vec![early] });
        assert_eq!(due(before, CatchUp::All, 6).run, [early, late]);
    }

    #[test]
    fn what_is_no_schedule_is_refused_in_words() {
        for (pattern, zone) in [
            ("every night", "UTC"),
            ("0 2 * *", "UTC"),
            ("0 0 2 * * *", "UTC"),
            ("61 2 * * *", "UTC"),
            ("0 2 * * *", "Berlin"),
            ("0 0 31 2 *", "UTC"),
        ] {
            let error = Schedule::parse(pattern, zone).unwrap_err();
            assert!(error.diagnosis().hint.is_some(), "{pattern} {zone}");
        }
    }
}
