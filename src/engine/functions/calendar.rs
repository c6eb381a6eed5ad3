//! What the calendar functions share: the day an instant lies on where somebody lives.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Date32Array, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, FieldRef, TimeUnit},
};
use chrono::{DateTime, Datelike, NaiveDate, Offset, TimeZone};
use chrono_tz::Tz;
use datafusion::{common::plan_err, error::Result, logical_expr::ReturnFieldArgs, scalar::ScalarValue};

const MICROS_A_SECOND: i64 = 1_000_000;
const SECONDS_A_DAY: i64 = 86_400;
/// 1970-01-01 as a day of the common era.
const EPOCH: i32 = 719_163;
/// The days since 1970 whose clocks are remembered: some 270 years. Others are looked up one by one.
const REMEMBERED: usize = 100_000;

/// The types the arguments of `function` are read as: so many dates or instants, and the name of a zone where one is given.
pub(super) fn arguments(function: &str, instants: usize, given: &[DataType]) -> Result<Vec<DataType>> {
    if given.len() < instants || given.len() > instants + 1 {
        return plan_err!("{function} takes {instants} instants or dates and the name of a zone; it got {} arguments", given.len());
    }
    let read = given.iter().enumerate().map(|(position, given)| match given {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null if position == instants => Ok(DataType::Utf8),
        other if position == instants => plan_err!("{function} takes the name of a zone as its last argument, not {other}"),
        DataType::Date32 | DataType::Date64 => Ok(DataType::Date32),
        DataType::Timestamp(_, _) | DataType::Null => Ok(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        other => plan_err!("{function} takes instants and dates, not {other}"),
    });
    read.collect()
}

/// What `function` returns. A zone that is written out and that nobody knows is refused: every row would be null.
pub(super) fn returned(function: &str, instants: usize, of: DataType, args: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
    match args.scalar_arguments.get(instants) {
        Some(Some(ScalarValue::Utf8(Some(name)) | ScalarValue::Utf8View(Some(name)) | ScalarValue::LargeUtf8(Some(name))))
            if name.parse::<Tz>().is_err() =>
        {
            plan_err!("there is no time zone `{name}`")
        }
        _ => Ok(Arc::new(Field::new(function, of, true))),
    }
}

/// A day since 1970 as a date; none beyond what the calendar knows.
pub(super) fn date(day: i32) -> Option<NaiveDate> {
    NaiveDate::from_num_days_from_ce_opt(day.checked_add(EPOCH)?)
}

/// A column of dates or instants.
pub(super) enum Moments<'a> {
    Dates(&'a Date32Array),
    Instants(&'a TimestampMicrosecondArray),
}

impl<'a> Moments<'a> {
    /// The column, of a type that [`arguments`] gives.
    pub(super) fn new(values: &'a ArrayRef) -> Self {
        match values.as_primitive_opt() {
            Some(dates) => Self::Dates(dates),
            None => Self::Instants(values.as_primitive()),
        }
    }

    /// The day a row lies on in `zone`, in days since 1970.
    pub(super) fn day(&self, row: usize, zone: &mut Clocks) -> Option<i32> {
        match self {
            Self::Dates(dates) => dates.is_valid(row).then(|| dates.value(row)),
            Self::Instants(instants) => instants.is_valid(row).then(|| zone.day(instants.value(row)))?,
        }
    }
}

/// The zones of the rows; neighbours mostly share theirs, so the last one read is kept at hand.
pub(super) struct Zones<'a> {
    names: Option<&'a StringArray>,
    last: Option<&'a str>,
    clocks: Clocks,
    others: HashMap<&'a str, Option<Clocks>>,
}

impl<'a> Zones<'a> {
    /// The zones a column names; UTC where there is none.
    pub(super) fn new(names: Option<&'a ArrayRef>) -> Self {
        Self { names: names.map(|names| names.as_string::<i32>()), last: None, clocks: Clocks::new(Tz::UTC), others: HashMap::new() }
    }

    /// The zone of a row; none where it is null or nobody knows it.
    pub(super) fn of(&mut self, row: usize) -> Option<&mut Clocks> {
        let Some(names) = self.names else { return Some(&mut self.clocks) };
        if names.is_null(row) {
            return None;
        }
        let name = names.value(row);
        if self.last != Some(name) {
            let next = self.others.remove(name).unwrap_or_else(|| name.parse().ok().map(Clocks::new));
            let Some(next) = next else {
                self.others.insert(name, None);
                return None;
            };
            let previous = std::mem::replace(&mut self.clocks, next);
            if let Some(last) = self.last.replace(name) {
                self.others.insert(last, Some(previous));
            }
        }
        Some(&mut self.clocks)
    }
}

/// A zone, with what its clocks said on the days asked for so far.
pub(super) struct Clocks {
    zone: Tz,
    /// By day since 1970 (UTC): seconds east of Greenwich all that day; [`Clocks::TURNED`] where the clocks are turned on it.
    days: Vec<i32>,
}

impl Clocks {
    const UNKNOWN: i32 = i32::MAX;
    const TURNED: i32 = i32::MIN;

    fn new(zone: Tz) -> Self {
        Self { zone, days: Vec::new() }
    }

    /// The day an instant lies on, in days since 1970.
    fn day(&mut self, micros: i64) -> Option<i32> {
        let seconds = micros.div_euclid(MICROS_A_SECOND);
        let offset = match self.all_day(seconds.div_euclid(SECONDS_A_DAY)) {
            Some(offset) => offset,
            None => self.offset(seconds)?,
        };
        i32::try_from((seconds + i64::from(offset)).div_euclid(SECONDS_A_DAY)).ok()
    }

    /// Seconds east of Greenwich all through a UTC day; none where the clocks are turned on it.
    fn all_day(&mut self, day: i64) -> Option<i32> {
        let at = usize::try_from(day).ok().filter(|at| *at < REMEMBERED)?;
        if at >= self.days.len() {
            self.days.resize(at + 1, Self::UNKNOWN);
        }
        if self.days[at] == Self::UNKNOWN {
            let begins = self.offset(day * SECONDS_A_DAY);
            let ends = self.offset((day + 1) * SECONDS_A_DAY - 1);
            self.days[at] = begins.filter(|_| begins == ends).unwrap_or(Self::TURNED);
        }
        Some(self.days[at]).filter(|offset| *offset != Self::TURNED)
    }

    fn offset(&self, seconds: i64) -> Option<i32> {
        let instant = DateTime::from_timestamp(seconds, 0)?;
        Some(self.zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc())
    }
}

/// Days since 1970 of a date.
#[cfg(test)]
pub(super) fn number(date: NaiveDate) -> i32 {
    date.num_days_from_ce() - EPOCH
}

/// Whole months from one date to another; negative where `b` is before `a`.
pub(super) fn months(a: NaiveDate, b: NaiveDate) -> i64 {
    if b < a {
        return -months(b, a);
    }
    let month = |date: NaiveDate| i64::from(date.year()) * 12 + i64::from(date.month0());
    let last_of_month = b.succ_opt().is_none_or(|next| next.month() != b.month());
    // The 31st of January is a month old on the last of February.
    let reached = b.day() >= a.day() || last_of_month;
    month(b) - month(a) - i64::from(!reached)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is remembered of a day is what the zone itself says, also next to the hours when clocks are turned.
        #[test]
        fn the_remembered_day_is_the_zone_s(zone in 0..chrono_tz::TZ_VARIANTS.len(), day in -40_000_i64..60_000, second in 0..SECONDS_A_DAY) {
            let zone = chrono_tz::TZ_VARIANTS[zone];
            let seconds = day * SECONDS_A_DAY + second;
            let truth = DateTime::from_timestamp(seconds, 0).unwrap().with_timezone(&zone).date_naive();
            let mut clocks = Clocks::new(zone);
            prop_assert_eq!(clocks.day(seconds * MICROS_A_SECOND), Some(number(truth)));
            prop_assert_eq!(clocks.day(seconds * MICROS_A_SECOND + 999_999), Some(number(truth)));
        }
    }

    #[test]
    fn every_hour_of_the_days_on_which_clocks_are_turned_lies_on_its_day() {
        for zone in [Tz::Europe__Berlin, Tz::America__New_York, Tz::Australia__Lord_Howe, Tz::Africa__Casablanca, Tz::Pacific__Apia] {
            let mut clocks = Clocks::new(zone);
            for hour in 0..24 * 366 * 20 {
                let at = DateTime::from_timestamp(1_100_000_000 / 3600 * 3600 + hour * 3600, 0).unwrap();
                let truth = number(at.with_timezone(&zone).date_naive());
                assert_eq!(clocks.day(at.timestamp_micros()), Some(truth), "{zone} {at}");
            }
        }
    }

    #[test]
    fn a_month_is_whole_when_its_day_is_reached_or_there_is_none() {
        let of = |a: &str, b: &str| months(a.parse().unwrap(), b.parse().unwrap());
        assert_eq!(of("2026-01-15", "2026-01-15"), 0);
        assert_eq!(of("2026-01-15", "2026-02-14"), 0);
        assert_eq!(of("2026-01-15", "2026-02-15"), 1);
        assert_eq!(of("2026-01-31", "2026-02-27"), 0);
        assert_eq!(of("2026-01-31", "2026-02-28"), 1);
        assert_eq!(of("2024-01-31", "2024-02-28"), 0, "a leap year has one day more to wait");
        assert_eq!(of("2000-02-29", "2026-02-27") / 12, 25);
        assert_eq!(of("2000-02-29", "2026-02-28") / 12, 26);
        assert_eq!(of("2000-02-29", "2028-02-28") / 12, 27);
        assert_eq!(of("2000-02-29", "2028-02-29") / 12, 28);
        assert_eq!(of("2026-12-31", "2027-01-01"), 0);
        assert_eq!(of("2026-02-15", "2026-01-15"), -1);
        assert_eq!(of("2026-02-15", "2026-01-16"), 0);
    }
}
