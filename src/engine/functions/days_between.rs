//! `days_between`: how many midnights lie between two instants, where the person lives.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, StringArray},
    datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType},
};
use chrono::{DateTime, Datelike, NaiveDate};
use chrono_tz::Tz;
use datafusion::{
    common::plan_err,
    error::Result,
    logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};

use super::SECTION;

/// 1970-01-01 as a day of the common era.
const EPOCH: i64 = 719_163;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Whole calendar days from a to b: 0 on one day, 1 from a late evening to the next morning, negative where b is before a. Instants \
         are dates of the zone given (UTC without one), whatever the clocks do that night; dates stay what they are. Null where an \
         argument is null or nobody knows the zone.",
        "days_between(a, b[, zone])",
    )
    .with_sql_example("select days_between(ordered_at, $as_of, 'Europe/Berlin') from orders")
    .with_argument("a", "an instant or a date")
    .with_argument("b", "an instant or a date")
    .with_argument("zone", "an IANA time zone such as `Europe/Berlin`, or a column of them")
    .build()
});

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DaysBetween {
    signature: Signature,
}

impl Default for DaysBetween {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for DaysBetween {
    fn name(&self) -> &str {
        "days_between"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let ([a, b] | [a, b, _]) = arg_types else {
            return plan_err!("days_between takes two instants or dates, and a zone; it got {} arguments", arg_types.len());
        };
        let mut coerced = vec![instant_or_date(a)?, instant_or_date(b)?];
        match arg_types.get(2) {
            None => {}
            Some(DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null) => coerced.push(DataType::Utf8),
            Some(other) => return plan_err!("days_between takes the name of a zone as its third argument, not {other}"),
        }
        Ok(coerced)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let mut zones = Zones::new(arrays.get(2).map(|zones| zones.as_string::<i32>()));
        let (a, b) = (&arrays[0], &arrays[1]);
        let days: Int64Array = (0..a.len())
            .map(|row| {
                let zone = zones.of(row)?;
                Some(day(b, row, zone)? - day(a, row, zone)?)
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(days)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

fn instant_or_date(given: &DataType) -> Result<DataType> {
    Ok(match given {
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, _) | DataType::Null => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        other => return plan_err!("days_between takes instants and dates, not {other}"),
    })
}

/// The day a value lies on, in days since 1970.
fn day(values: &ArrayRef, row: usize, zone: Tz) -> Option<i64> {
    if values.is_null(row) {
        return None;
    }
    match values.as_primitive_opt::<Date32Type>() {
        Some(dates) => Some(i64::from(dates.value(row))),
        None => {
            let instant = DateTime::from_timestamp_micros(values.as_primitive::<TimestampMicrosecondType>().value(row))?;
            Some(number(instant.with_timezone(&zone).date_naive()))
        }
    }
}

fn number(date: NaiveDate) -> i64 {
    i64::from(date.num_days_from_ce()) - EPOCH
}

/// The zones of the rows; neighbours mostly share theirs, so the last one read is kept.
struct Zones<'a> {
    names: Option<&'a StringArray>,
    last: Option<(&'a str, Option<Tz>)>,
}

impl<'a> Zones<'a> {
    fn new(names: Option<&'a StringArray>) -> Self {
        Self { names, last: None }
    }

    fn of(&mut self, row: usize) -> Option<Tz> {
        let Some(names) = self.names else { return Some(Tz::UTC) };
        if names.is_null(row) {
            return None;
        }
        let name = names.value(row);
        match self.last {
            Some((last, zone)) if last == name => zone,
            _ => {
                let zone = name.parse().ok();
                self.last = Some((name, zone));
                zone
            }
        }
    }
}
