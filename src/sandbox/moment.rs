//! Instants of the practice world: whole seconds of UTC, cheap to compute with by the million.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

/// Seconds in a minute, an hour, a day, a week.
pub(super) const MINUTE: i64 = 60;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;
pub(super) const WEEK: i64 = 7 * DAY;
/// A year as the shop counts it, 365 days.
pub(super) const YEAR: i64 = 365 * DAY;

/// An instant, in whole seconds since 1970 (UTC). It serialises as `2026-11-22T01:00:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

impl Moment {
    /// Seconds since 1970.
    pub(super) const fn seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Midnight (UTC) that begins a day, counted in days since 1970.
    pub(super) const fn midnight(day: i64) -> Self {
        Self(day * DAY)
    }

    /// Seconds since 1970.
    pub(super) const fn as_seconds(self) -> i64 {
        self.0
    }

    /// The day it lies in, in days since 1970.
    pub(super) const fn day(self) -> i64 {
        self.0.div_euclid(DAY)
    }

    /// That many seconds later (or earlier, where negative).
    pub(super) const fn plus(self, seconds: i64) -> Self {
        Self(self.0 + seconds)
    }

    /// The same instant for `chrono`.
    #[must_use]
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.0, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl From<DateTime<Utc>> for Moment {
    fn from(instant: DateTime<Utc>) -> Self {
        Self(instant.timestamp())
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text(&self.text()))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text(&self.text()))
    }
}

impl Moment {
    /// `2026-11-22T01:00:00Z` as bytes; written by hand because a full pull writes hundreds of thousands of them.
    fn text(self) -> [u8; 20] {
        let date = Date::of_day(self.day());
        let second = self.0.rem_euclid(DAY);
        let mut out = *b"0000-00-00T00:00:00Z";
        date.write(&mut out);
        two(&mut out, 11, second / HOUR);
        two(&mut out, 14, second / MINUTE % 60);
        two(&mut out, 17, second % 60);
        out
    }
}

/// A day of the calendar. It serialises as `2026-11-22`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: i32,
    month: u8,
    day: u8,
}

impl Date {
    /// A date by its parts; months and days count from 1.
    pub(super) const fn new(year: i32, month: u8, day: u8) -> Self {
        Self { year, month, day }
    }

    /// The date of a day counted from 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
    pub(super) fn of_day(day: i64) -> Self {
        let z = day + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + i64::from(month <= 2);
        Self { year: year as i32, month: month as u8, day: day as u8 }
    }

    /// The year it lies in.
    pub(super) const fn year(self) -> i32 {
        self.year
    }

    /// The day of the month, from 1.
    pub(super) const fn day(self) -> u8 {
        self.day
    }

    /// The month it lies in, 1 to 12.
    pub(super) const fn month(self) -> u8 {
        self.month
    }

    fn write(self, out: &mut [u8; 20]) {
        two(out, 0, i64::from(self.year / 100));
        two(out, 2, i64::from(self.year % 100));
        two(out, 5, i64::from(self.month));
        two(out, 8, i64::from(self.day));
    }
}

/// The day, counted from 1970, on which a year begins.
pub(super) fn new_year(year: i32) -> i64 {
    let before = i64::from(year) - 1;
    before * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 719_162
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = *b"0000-00-00T00:00:00Z";
        self.write(&mut out);
        serializer.serialize_str(text(&out[..10]))
    }
}

fn two(out: &mut [u8; 20], at: usize, number: i64) {
    out[at] = b'0' + (number / 10 % 10) as u8;
    out[at + 1] = b'0' + (number % 10) as u8;
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_dates_read_as_chrono_writes_them() {
        for seconds in [0, 951_782_400, 1_709_164_799, 1_709_251_199, 1_795_309_261, 1_830_297_599, 4_102_444_800, 631_152_000] {
            let moment = Moment::seconds(seconds);
            assert_eq!(moment.to_string(), moment.to_utc().format("%Y-%m-%dT%H:%M:%SZ").to_string());
            let date = serde_json::to_string(&Date::of_day(moment.day())).unwrap();
            assert_eq!(date, format!("\"{}\"", moment.to_utc().format("%Y-%m-%d")));
        }
    }

    #[test]
    fn a_year_begins_on_its_first_of_january() {
        for year in [1990, 2000, 2001, 2024, 2025, 2100, 2101] {
            assert_eq!(Date::of_day(new_year(year)), Date::new(year, 1, 1));
        }
    }
}
