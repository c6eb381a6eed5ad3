//! One value of a source to one cell of a column, or the reason it does not fit. Nothing is guessed and nothing is cut.

use std::{
    borrow::Cow,
    hash::{Hash, Hasher},
};

use arrow::{
    array::{Array, AsArray},
    datatypes::{DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use serde_json::Value;

use super::{
    columns::{Format, Rules, Type},
    json::{Is, Json},
};

/// A day in microseconds.
pub(crate) const DAY: i64 = 86_400_000_000;

/// A value that fits its column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    /// Nothing.
    Null,
    /// Text, also JSON text.
    Text(Cow<'a, str>),
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Float(f64),
    /// A decimal without its point.
    Decimal(i128),
    /// Yes or no.
    Boolean(bool),
    /// Days since 1970.
    Date(i32),
    /// Microseconds since 1970, UTC.
    Timestamp(i64),
    /// The items of a list, or the parts of a struct.
    Nested(Vec<Cell<'a>>),
}

impl Cell<'_> {
    /// Feeds the value to a hash, so that equal keys are found.
    pub(crate) fn hash(&self, state: &mut impl Hasher) {
        match self {
            Self::Null => 0u8.hash(state),
            Self::Text(text) => text.hash(state),
            Self::Integer(number) => number.hash(state),
            Self::Float(number) => number.to_bits().hash(state),
            Self::Decimal(number) => number.hash(state),
            Self::Boolean(yes) => yes.hash(state),
            Self::Date(days) => days.hash(state),
            Self::Timestamp(micros) => micros.hash(state),
            Self::Nested(cells) => cells.iter().for_each(|cell| cell.hash(state)),
        }
    }
}

/// Why a value does not fit its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The field, with the path inside it: `line_items[2].quantity`.
    pub(crate) field: String,
    /// What is wrong with it.
    pub(crate) reason: String,
    /// The value, shortened.
    pub(crate) value: String,
}

impl Misfit {
    /// A misfit of a whole field.
    pub(crate) fn new(field: &str, reason: impl Into<String>, value: &str) -> Self {
        Self { field: field.to_owned(), reason: reason.into(), value: shorten(value) }
    }
}

/// A value as it may be shown in an error.
pub(crate) fn shorten(value: &str) -> String {
    const SHOWN: usize = 60;
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// The value at a path of an object; `None` where a step is missing.
pub(crate) fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, step| value.get(step))
}

/// Reads a JSON value.
pub(crate) fn from_json<'a>(kind: &Type, rules: &Rules, field: &str, value: Json<'a>) -> Result<Cell<'a>, Misfit> {
    let misfit = |reason: String| Misfit::new(field, reason, &value.to_string());
    let what = value.is();
    Ok(match (kind, &what) {
        (_, Is::Null) => Cell::Null,
        (Type::Json, _) => Cell::Text(value.to_string().into()),
        (Type::Text, Is::Text(text)) => Cell::Text((*text).into()),
        (Type::Text, Is::Number(number)) => Cell::Text(number.to_string().into()),
        (Type::Boolean, Is::Bool(yes)) => Cell::Boolean(*yes),
        (Type::Integer, Is::Number(number)) if number.is_i64() => number.as_i64().map_or(Cell::Null, Cell::Integer),
        (Type::Float, Is::Number(number)) => number.as_f64().map_or(Cell::Null, Cell::Float),
        (Type::Decimal(..), Is::Number(number)) => {
            let text = number.to_string();
            if number.is_f64() && !rules.round && significant(&text) > 15 {
                return Err(misfit(
                    "has more digits than a JSON number keeps exactly; declare `round = true`, or let the source send text".to_owned(),
                ));
            }
            scalar(kind, rules, &text).map(owned).map_err(misfit)?
        }
        (Type::Integer | Type::Boolean, Is::Number(number)) => {
            let text = number.to_string();
            scalar(kind, rules, &text).map(owned).map_err(misfit)?
        }
        (Type::Timestamp, Is::Number(number)) if matches!(rules.format, Some(Format::Unix | Format::UnixMs)) => {
            let text = number.to_string();
            scalar(kind, rules, &text).map(owned).map_err(misfit)?
        }
        (Type::List(item), Is::List) => Cell::Nested(
            value
                .items()
                .enumerate()
                .map(|(position, value)| from_json(item, rules, "", value).map_err(|inner| inside(field, &format!("[{position}]"), inner)))
                .collect::<Result<_, _>>()?,
        ),
        (Type::Struct(parts), Is::Object) => Cell::Nested(
            parts
                .iter()
                .map(|(name, kind)| match value.field(name) {
                    Some(value) => from_json(kind, rules, "", value).map_err(|inner| inside(field, &format!(".{name}"), inner)),
                    None => Ok(Cell::Null),
                })
                .collect::<Result<_, _>>()?,
        ),
        (Type::List(_) | Type::Struct(_) | Type::Text, what) => return Err(misfit(format!("is {}, not {}", shape(what), called(kind)))),
        (_, Is::Text(text)) => scalar(kind, rules, text).map_err(misfit)?,
        (_, what) => return Err(misfit(format!("is {}, not {}", shape(what), called(kind)))),
    })
}

/// The type of a value that does not fit a column of `kind`, where columns of that kind can widen to it.
pub(crate) fn wider(kind: &Type, rules: &Rules, value: &str) -> Option<Type> {
    let value = value.trim();
    match kind {
        Type::Integer | Type::Decimal(..) => {
            let (whole, places) = digits(value)?;
            let places = if let (Type::Decimal(_, scale), true) = (kind, rules.round) { places.min(*scale) } else { places };
            let precision = whole.checked_add(places).filter(|digits| *digits <= 38)?;
            Some(Type::Decimal(precision.max(1), places))
        }
        Type::Date => timestamp(value, &Rules::default()).ok().map(|_| Type::Timestamp),
        _ => None,
    }
}

/// How many digits a number has before and after its point.
fn digits(text: &str) -> Option<(u8, u8)> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, i64::from(exponent.parse::<i32>().ok()?)),
        None => (text, 0),
    };
    let mantissa = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, places) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + places.len() == 0 || !whole.bytes().chain(places.bytes()).all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    // The number is 0.D × 10^point, D beginning and ending with a digit that is not 0.
    let all = format!("{whole}{places}");
    let zeros = all.len() - all.trim_start_matches('0').len();
    let significant = i64::try_from(all.trim_matches('0').len()).ok()?;
    if significant == 0 {
        return Some((0, 0));
    }
    let point = i64::try_from(whole.len()).ok()? - i64::try_from(zeros).ok()? + exponent;
    Some((u8::try_from(point.max(0)).ok()?, u8::try_from((significant - point).max(0)).ok()?))
}

/// Reads a value written as text, as in a CSV file. Lists and structs are read as JSON.
pub(crate) fn from_text<'a>(kind: &Type, rules: &Rules, field: &str, text: &'a str) -> Result<Cell<'a>, Misfit> {
    match kind {
        Type::List(_) | Type::Struct(_) => {
            let value: Value = serde_json::from_str(text).map_err(|error| Misfit::new(field, format!("is not JSON: {error}"), text))?;
            from_json(kind, rules, field, Json::Tree(&value)).map(owned)
        }
        _ => scalar(kind, rules, text).map_err(|reason| Misfit::new(field, reason, text)),
    }
}

/// Reads a value out of an array that already has the column's type.
pub(crate) fn from_array<'a>(array: &'a dyn Array, row: usize) -> Cell<'a> {
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).into()),
        DataType::Int64 => Cell::Integer(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => Cell::Decimal(array.as_primitive::<Decimal128Type>().value(row)),
        DataType::Boolean => Cell::Boolean(array.as_boolean().value(row)),
        DataType::Date32 => Cell::Date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(..) => Cell::Timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Cell::Nested((0..items.len()).map(|item| owned(from_array(&items, item))).collect())
        }
        DataType::Struct(_) => Cell::Nested(array.as_struct().columns().iter().map(|part| from_array(part, row)).collect()),
        _ => Cell::Null,
    }
}

fn inside(field: &str, step: &str, inner: Misfit) -> Misfit {
    Misfit { field: format!("{field}{step}{}", inner.field), ..inner }
}

/// A cell that borrows nothing.
pub(crate) fn owned<'b>(cell: Cell<'_>) -> Cell<'b> {
    match cell {
        Cell::Null => Cell::Null,
        Cell::Text(text) => Cell::Text(Cow::Owned(text.into_owned())),
        Cell::Integer(number) => Cell::Integer(number),
        Cell::Float(number) => Cell::Float(number),
        Cell::Decimal(number) => Cell::Decimal(number),
        Cell::Boolean(yes) => Cell::Boolean(yes),
        Cell::Date(days) => Cell::Date(days),
        Cell::Timestamp(micros) => Cell::Timestamp(micros),
        Cell::Nested(cells) => Cell::Nested(cells.into_iter().map(owned).collect()),
    }
}

fn shape(what: &Is<'_>) -> &'static str {
    match what {
        Is::Null => "nothing",
        Is::Bool(_) => "true or false",
        Is::Number(_) => "a number",
        Is::Text(_) => "text",
        Is::List => "a list",
        Is::Object => "an object",
    }
}

fn called(kind: &Type) -> String {
    match kind {
        Type::Text => "text; declare it as `json` to keep it whole".to_owned(),
        Type::List(_) => "a list".to_owned(),
        Type::Struct(_) => "an object".to_owned(),
        Type::Integer => "an integer".to_owned(),
        Type::Timestamp => "a timestamp; for numbers declare `timestamp_format = \"unix\"`".to_owned(),
        other => format!("a {other}"),
    }
}

fn scalar<'a>(kind: &Type, rules: &Rules, text: &'a str) -> Result<Cell<'a>, String> {
    if *kind == Type::Text {
        return Ok(Cell::Text(text.into()));
    }
    let text = text.trim();
    match kind {
        Type::Integer => integer(text).map(Cell::Integer),
        Type::Float => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Cell::Float).ok_or("is not a number".to_owned()),
        Type::Decimal(precision, scale) => decimal(text, *precision, *scale, rules.round).map(Cell::Decimal),
        Type::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "1" => Ok(Cell::Boolean(true)),
            "false" | "f" | "no" | "n" | "0" => Ok(Cell::Boolean(false)),
            _ => Err("is neither true nor false".to_owned()),
        },
        Type::Date => date(text, rules).map(Cell::Date),
        Type::Timestamp => timestamp(text, rules).map(Cell::Timestamp),
        Type::Json => match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Ok(Cell::Text(text.into())),
            Err(error) => Err(format!("is not JSON: {error}")),
        },
        Type::Text | Type::List(_) | Type::Struct(_) => Ok(Cell::Text(text.into())),
    }
}

/// `17850`, also as `17850.0`: spreadsheets write whole numbers so.
fn integer(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => match decimal(text, 38, 0, false) {
            Ok(number) => i64::try_from(number).map_err(|_| "is larger than an integer of 64 bits".to_owned()),
            Err(reason) if reason.contains("decimal places") => Err("is not a whole number".to_owned()),
            Err(reason) => Err(reason),
        },
    }
}

pub(crate) fn significant(text: &str) -> usize {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let trimmed = digits.trim_start_matches('0');
    if mantissa.contains('.') { trimmed.trim_end_matches('0').len() } else { trimmed.len() }
}

/// Reads a decimal without ever going through a floating-point number.
fn decimal(text: &str, precision: u8, scale: u8, round: bool) -> Result<i128, String> {
    const NOT: &str = "is not a number";
    let large = || format!("has more than {} digits before the point", precision - scale);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| NOT)?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.as_bytes().first() {
        Some(b'-') => (true, &mantissa[1..]),
        Some(b'+') => (false, &mantissa[1..]),
        _ => (false, mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() + fraction.len() == 0 || !whole.bytes().chain(fraction.bytes()).all(|digit| digit.is_ascii_digit()) {
        return Err(NOT.to_owned());
    }
    let fraction = fraction.trim_end_matches('0');
    let mut number: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        number = number.checked_mul(10).and_then(|number| number.checked_add(i128::from(digit - b'0'))).ok_or_else(large)?;
    }
    let shift = i64::from(scale) + i64::from(exponent) - i64::try_from(fraction.len()).unwrap_or(i64::MAX / 4);
    let power = |places: i64| u32::try_from(places).ok().and_then(|places| 10i128.checked_pow(places));
    if shift >= 0 {
        number = if number == 0 { 0 } else { power(shift).and_then(|power| number.checked_mul(power)).ok_or_else(large)? };
    } else {
        let power = power(-shift);
        let (quotient, remainder) = power.map_or((0, number), |power| (number / power, number % power));
        if remainder != 0 && !round {
            return Err(format!("has more than {scale} decimal places; declare more, or `round = true`"));
        }
        let up = power.is_some_and(|power| match (remainder * 2).cmp(&power) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => quotient % 2 == 1,
            std::cmp::Ordering::Greater => true,
        });
        number = quotient + i128::from(up);
    }
    if number >= 10i128.pow(u32::from(precision.min(38))) {
        return Err(large());
    }
    Ok(if negative { -number } else { number })
}

const EPOCH_DAYS_FROM_CE: i32 = 719_163;

fn date(text: &str, rules: &Rules) -> Result<i32, String> {
    use chrono::Datelike;
    let pattern = if let Some(Format::Pattern(pattern)) = &rules.format { pattern } else { "%Y-%m-%d" };
    match NaiveDate::parse_from_str(text, pattern) {
        Ok(date) => Ok(date.num_days_from_ce() - EPOCH_DAYS_FROM_CE),
        Err(_) => Err(format!("is not a date written as `{pattern}`")),
    }
}

/// An instant in microseconds UTC. A time without a zone is an error unless the column declares one.
pub(crate) fn timestamp(text: &str, rules: &Rules) -> Result<i64, String> {
    match &rules.format {
        None => match DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z")) {
            Ok(at) => Ok(at.timestamp_micros()),
            Err(_) => {
                let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
                    .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f"))
                    .map_err(|_| "is not an instant such as 2026-01-31T09:30:00Z".to_owned())?;
                in_zone(local, rules.zone)
            }
        },
        Some(Format::Unix) => {
            decimal(text, 38, 6, true).and_then(|micros| i64::try_from(micros).map_err(|_| "is too large for a time".to_owned()))
        }
        Some(Format::UnixMs) => {
            decimal(text, 38, 3, true).and_then(|micros| i64::try_from(micros).map_err(|_| "is too large for a time".to_owned()))
        }
        Some(Format::Pattern(pattern)) => {
            if let Ok(at) = DateTime::parse_from_str(text, pattern) {
                return Ok(at.timestamp_micros());
            }
            let local = NaiveDateTime::parse_from_str(text, pattern)
                .or_else(|_| NaiveDate::parse_from_str(text, pattern).map(|date| date.and_time(NaiveTime::MIN)));
            match local {
                Ok(local) => in_zone(local, rules.zone),
                Err(_) => Err(format!("is not a time written as `{pattern}`")),
            }
        }
    }
}

/// A wall-clock time in a zone. What happens twice means the first; what a clock change skips is read as if the clock had not changed.
pub(crate) fn in_zone(local: NaiveDateTime, zone: Option<Tz>) -> Result<i64, String> {
    let zone = zone
        .ok_or("has no time zone; declare the one it is meant in, such as { type = \"timestamp\", zone = \"Europe/Berlin\" }".to_owned())?;
    let before = TimeDelta::hours(3);
    let at = zone.from_local_datetime(&local).earliest().or_else(|| {
        let earlier = local.checked_sub_signed(before)?;
        zone.from_local_datetime(&earlier).latest()?.checked_add_signed(before)
    });
    at.map(|at| at.timestamp_micros()).ok_or_else(|| "is not a time that exists in its zone".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(kind: &Type, value: Value) -> Result<Cell<'static>, String> {
        from_json(kind, &Rules::default(), "f", Json::Tree(&value))
            .map(owned)
            .map_err(|misfit| format!("{} {}", misfit.field, misfit.reason))
    }

    #[test]
    fn decimals_are_exact_and_surplus_places_are_refused() {
        let money = Type::Decimal(18, 4);
        for (text, expected) in
            [("19.99", 199_900), ("-0.0001", -1), ("+3", 30_000), ("1e2", 1_000_000), (".5", 5000), ("1.50000000", 15_000)]
        {
            assert_eq!(read(&money, json!(text)), Ok(Cell::Decimal(expected)), "{text}");
        }
        assert_eq!(read(&money, json!(19.99)), Ok(Cell::Decimal(199_900)));
        assert_eq!(read(&money, json!("12345678901234.1234")), Ok(Cell::Decimal(123_456_789_012_341_234)));
        for (value, reason) in [
            (json!("1.23456"), "f has more than 4 decimal places; declare more, or `round = true`"),
            (json!("123456789012345"), "f has more than 14 digits before the point"),
            (json!("1e999"), "f has more than 14 digits before the point"),
            (json!("12,5"), "f is not a number"),
            (json!(""), "f is not a number"),
            (json!("."), "f is not a number"),
            (json!([1]), "f is a list, not a decimal(18,4)"),
        ] {
            assert_eq!(read(&money, value), Err(reason.to_owned()));
        }
        assert!(read(&money, json!(12345678901234.123)).unwrap_err().contains("more digits than a JSON number keeps"));
        let round = Rules { round: true, ..Rules::default() };
        assert_eq!(from_json(&Type::Decimal(18, 2), &round, "f", Json::Tree(&json!("0.125"))), Ok(Cell::Decimal(12)));
        assert_eq!(from_json(&Type::Decimal(18, 2), &round, "f", Json::Tree(&json!(17.990000000000002))), Ok(Cell::Decimal(1799)));
    }

    #[test]
    fn integers_come_as_numbers_text_or_spreadsheet_floats() {
        for value in [json!(17850), json!("17850"), json!(17850.0), json!("17850.0"), json!(" 17850 ")] {
            assert_eq!(read(&Type::Integer, value), Ok(Cell::Integer(17850)));
        }
        assert_eq!(read(&Type::Integer, json!(1.5)), Err("f is not a whole number".to_owned()));
        assert_eq!(read(&Type::Integer, json!(u64::MAX)), Err("f is larger than an integer of 64 bits".to_owned()));
        assert_eq!(read(&Type::Integer, json!(true)), Err("f is true or false, not an integer".to_owned()));
    }

    #[test]
    fn instants_need_an_offset_or_a_declared_zone() {
        let micros = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros();
        for text in ["2026-03-01T12:00:00+02:00", "2026-03-01T10:00:00Z", "2026-03-01T10:00:00.000Z", "2026-03-01T10:00:00+0000"] {
            assert_eq!(read(&Type::Timestamp, json!(text)), Ok(Cell::Timestamp(micros("2026-03-01T10:00:00Z"))), "{text}");
        }
        assert!(read(&Type::Timestamp, json!("2026-03-01T10:00:00")).unwrap_err().contains("has no time zone"));
        assert!(read(&Type::Timestamp, json!("yesterday")).unwrap_err().contains("is not an instant"));
        assert!(read(&Type::Timestamp, json!(1_700_000_000)).unwrap_err().contains("unix"));
        let london = Rules { zone: Some(chrono_tz::Europe::London), ..Rules::default() };
        assert_eq!(timestamp("2011-07-01 08:26:00", &london), Ok(micros("2011-07-01T07:26:00Z")));
        // The clock goes forward at 01:00 and back at 02:00.
        assert_eq!(timestamp("2011-03-27 01:30:00", &london), Ok(micros("2011-03-27T01:30:00Z")));
        assert_eq!(timestamp("2011-10-30 01:30:00", &london), Ok(micros("2011-10-30T00:30:00Z")));
        let pattern = Rules { format: Some(Format::Pattern("%d.%m.%Y %H:%M".to_owned())), ..london };
        assert_eq!(timestamp("01.12.2010 08:26", &pattern), Ok(micros("2010-12-01T08:26:00Z")));
        let unix = Rules { format: Some(Format::Unix), ..Rules::default() };
        assert_eq!(timestamp("1700000000.25", &unix), Ok(1_700_000_000_250_000));
    }

    #[test]
    fn what_does_not_fit_says_what_would_hold_it() {
        let money = Type::Decimal(18, 2);
        for (kind, value, expected) in [
            (Type::Integer, "2.5", Some(Type::Decimal(20, 1))),
            (Type::Integer, "-0.0125", Some(Type::Decimal(23, 4))),
            (Type::Integer, "18446744073709551615", Some(Type::Decimal(20, 0))),
            (Type::Integer, "9999999999999999999", Some(Type::Decimal(19, 0))),
            (Type::Integer, "1e25", Some(Type::Decimal(26, 0))),
            (Type::Integer, "12.5e-3", Some(Type::Decimal(23, 4))),
            (Type::Integer, "1e39", None),
            (Type::Integer, "0.00000000000000000001", None),
            (Type::Integer, "two", None),
            (money.clone(), "1.005", Some(Type::Decimal(19, 3))),
            (money.clone(), "12345678901234567.5", Some(Type::Decimal(19, 2))),
            (money.clone(), ".", None),
            (Type::Date, "2026-01-31T09:30:00Z", Some(Type::Timestamp)),
            (Type::Date, "2026-01-31 09:30:00", None),
            (Type::Boolean, "2", None),
            (Type::Float, "x", None),
        ] {
            let joined = wider(&kind, &Rules::default(), value).and_then(|value| kind.join(&value));
            assert_eq!(joined, expected, "{kind} {value}");
        }
        let round = Rules { round: true, ..Rules::default() };
        assert_eq!(wider(&money, &round, "12345678901234567.555").and_then(|value| money.join(&value)), Some(Type::Decimal(19, 2)));
        assert_eq!(Type::Text.join(&Type::Integer), None);
    }

    #[test]
    fn a_misfit_deep_inside_names_its_path() {
        let kind = Type::List(Box::new(Type::Struct(vec![("quantity".to_owned(), Type::Integer)])));
        assert_eq!(read(&kind, json!([{"quantity": 1}, {"quantity": "two"}])), Err("f[1].quantity is not a number".to_owned()));
        assert_eq!(read(&kind, json!([{}, null])), Ok(Cell::Nested(vec![Cell::Nested(vec![Cell::Null]), Cell::Null])));
        assert_eq!(read(&Type::Text, json!({"a": 1})), Err("f is an object, not text; declare it as `json` to keep it whole".to_owned()));
    }

    #[test]
    fn other_types_read_what_they_should() {
        assert_eq!(read(&Type::Text, json!(42)), Ok(Cell::Text("42".into())));
        assert_eq!(read(&Type::Json, json!({"b": 1, "a": 2})), Ok(Cell::Text(r#"{"b":1,"a":2}"#.into())));
        assert_eq!(read(&Type::Date, json!("1970-01-02")), Ok(Cell::Date(1)));
        assert!(read(&Type::Date, json!("02.01.1970")).is_err());
        assert_eq!(from_text(&Type::Boolean, &Rules::default(), "f", "Yes"), Ok(Cell::Boolean(true)));
        assert!(read(&Type::Boolean, json!("maybe")).is_err());
        assert_eq!(shorten(&"é".repeat(100)).chars().count(), 61);
    }

    proptest! {
        #[test]
        fn every_decimal_that_fits_survives(number in -999_999_999_999_999_999i128..=999_999_999_999_999_999) {
            let text = format!("{}{}.{:04}", if number < 0 { "-" } else { "" }, number.abs() / 10_000, number.abs() % 10_000);
            prop_assert_eq!(decimal(&text, 18, 4, false), Ok(number));
        }

        #[test]
        fn what_is_widened_holds_the_value_and_all_that_was_there(
            number in any::<i64>(), places in 0usize..25, shift in -30i32..30, old in any::<i64>(),
        ) {
            let text = format!("{}e{}", number as f64 / 10f64.powi(i32::try_from(places).unwrap()), shift);
            if let Some(Type::Decimal(precision, scale)) =
                wider(&Type::Integer, &Rules::default(), &text).and_then(|kind| Type::Integer.join(&kind))
            {
                prop_assert!(decimal(&text, precision, scale, false).is_ok(), "{text} in decimal({precision},{scale})");
                prop_assert!(decimal(&old.to_string(), precision, scale, false).is_ok());
            }
        }

        #[test]
        fn no_text_makes_a_reader_fall_over(text in ".{0,40}") {
            for kind in [Type::Integer, Type::Float, Type::Decimal(38, 10), Type::Boolean, Type::Date, Type::Timestamp, Type::Json] {
                let _ = from_text(&kind, &Rules::default(), "f", &text);
            }
        }
    }
}
