//! Parameters of an SQL file: their types come from their defaults in the front matter, their values are bound, never pasted.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use datafusion::scalar::ScalarValue;

use super::BrandDefaults;

/// The parameters every query may bind.
pub(crate) const ALWAYS: [&str; 4] = ["as_of", "brand_currency", "brand_locale", "brand_timezone"];

/// The values of `$as_of`, `$brand_currency`, `$brand_locale` and `$brand_timezone`.
pub(crate) fn always(as_of: DateTime<Utc>, brand: &BrandDefaults) -> BTreeMap<String, ScalarValue> {
    BTreeMap::from([
        ("as_of".to_owned(), timestamp(as_of)),
        ("brand_currency".to_owned(), text(&brand.currency)),
        ("brand_locale".to_owned(), text(&brand.locale)),
        ("brand_timezone".to_owned(), text(&brand.timezone)),
    ])
}

/// A parameter's default as the front matter writes it, typed by how it is written.
///
/// # Errors
/// In words, where the value is of a kind that cannot be bound.
pub(crate) fn from_toml(value: &toml::Value) -> Result<ScalarValue, String> {
    match value {
        toml::Value::Integer(number) => Ok(ScalarValue::Int64(Some(*number))),
        toml::Value::Float(number) => decimal(&number.to_string()),
        toml::Value::String(written) => Ok(text(written)),
        toml::Value::Boolean(yes) => Ok(ScalarValue::Boolean(Some(*yes))),
        toml::Value::Datetime(written) => datetime(&written.to_string()),
        toml::Value::Array(_) | toml::Value::Table(_) => {
            Err("a parameter is one value: a whole number, a decimal, a text, true or false, a date or an instant".to_owned())
        }
    }
}

/// A value typed on the command line, read as the type of the default it replaces.
///
/// # Errors
/// In words, where the text is not of that type.
pub(crate) fn parse_like(default: &ScalarValue, written: &str) -> Result<ScalarValue, String> {
    match default {
        ScalarValue::Int64(_) => {
            written.parse().map(|number| ScalarValue::Int64(Some(number))).map_err(|_| format!("`{written}` is not a whole number"))
        }
        ScalarValue::Boolean(_) => {
            written.parse().map(|yes| ScalarValue::Boolean(Some(yes))).map_err(|_| format!("`{written}` is neither true nor false"))
        }
        ScalarValue::Decimal128(..) => decimal(written),
        ScalarValue::Date32(_) | ScalarValue::TimestampMicrosecond(..) => datetime(written),
        _ => Ok(text(written)),
    }
}

fn text(value: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(value.to_owned()))
}

fn timestamp(at: DateTime<Utc>) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(at.timestamp_micros()), Some("UTC".into()))
}

/// `0.25` with exactly the digits that are written: SQL of this project counts in decimals, so that every run adds up alike.
fn decimal(written: &str) -> Result<ScalarValue, String> {
    let refused = || format!("`{written}` is not a decimal number such as 0.25");
    let (whole, fraction) = written.split_once('.').unwrap_or((written, ""));
    let scale = i8::try_from(fraction.len()).ok().filter(|scale| *scale <= 18).ok_or_else(refused)?;
    if fraction.starts_with(['-', '+']) {
        return Err(refused());
    }
    let digits: i128 = format!("{whole}{fraction}").parse().map_err(|_| refused())?;
    // An `i128` holds some numbers of 39 digits, a decimal none.
    if digits.unsigned_abs() >= 10_u128.pow(38) {
        return Err(refused());
    }
    Ok(ScalarValue::Decimal128(Some(digits), 38, scale))
}

fn datetime(written: &str) -> Result<ScalarValue, String> {
    if let Ok(date) = written.parse::<NaiveDate>() {
        let days = date.signed_duration_since(NaiveDate::default()).num_days();
        return i32::try_from(days).map(|days| ScalarValue::Date32(Some(days))).map_err(|_| format!("`{written}` is out of range"));
    }
    DateTime::parse_from_rfc3339(&written.replacen(' ', "T", 1))
        .map(|at| timestamp(at.with_timezone(&Utc)))
        .map_err(|_| format!("`{written}` is neither a date (2026-11-22) nor an instant with its zone (2026-11-22T01:00:00Z)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default(text: &str) -> ScalarValue {
        from_toml(text.parse::<toml::Table>().unwrap().get("v").unwrap()).unwrap()
    }

    #[test]
    fn a_default_is_typed_by_how_it_is_written() {
        assert_eq!(default("v = 90"), ScalarValue::Int64(Some(90)));
        assert_eq!(default("v = 0.25"), ScalarValue::Decimal128(Some(25), 38, 2));
        assert_eq!(default("v = -1.5"), ScalarValue::Decimal128(Some(-15), 38, 1));
        assert_eq!(default("v = 'x'"), ScalarValue::Utf8(Some("x".into())));
        assert_eq!(default("v = true"), ScalarValue::Boolean(Some(true)));
        assert_eq!(default("v = 1970-01-11"), ScalarValue::Date32(Some(10)));
        assert_eq!(default("v = 1970-01-01T01:00:00+01:00"), ScalarValue::TimestampMicrosecond(Some(0), Some("UTC".into())));
        assert!(from_toml(&toml::Value::Array(Vec::new())).is_err());
        assert!(from_toml(&toml::Value::Float(1.2e38)).is_err());
    }

    #[test]
    fn a_typed_value_must_fit_its_default() {
        assert_eq!(parse_like(&default("v = 90"), "60"), Ok(ScalarValue::Int64(Some(60))));
        assert_eq!(parse_like(&default("v = 0.5"), "2"), Ok(ScalarValue::Decimal128(Some(2), 38, 0)));
        assert!(parse_like(&default("v = 90"), "many").is_err());
        assert!(parse_like(&default("v = 1970-01-11"), "tomorrow").is_err());
        assert!(parse_like(&default("v = 0.5"), "1.-5").is_err());
    }
}
