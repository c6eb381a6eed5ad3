//! Lengths of time as people write them: `90s`, `15m`, `24h`, `30d`.

use std::fmt;

use chrono::TimeDelta;
use schemars::{JsonSchema, r#gen::SchemaGenerator, schema::Schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::schema;

/// A length of time, written as a whole number and a unit: `s`, `m`, `h` or `d` (a day is 24 hours).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(TimeDelta);

impl Period {
    /// A period of whole seconds.
    #[must_use]
    pub fn seconds(seconds: u32) -> Self {
        Self(TimeDelta::seconds(i64::from(seconds)))
    }

    /// A period of whole hours.
    #[must_use]
    pub fn hours(hours: u32) -> Self {
        Self(TimeDelta::hours(i64::from(hours)))
    }

    /// A period of whole days of 24 hours.
    #[must_use]
    pub fn days(days: u32) -> Self {
        Self(TimeDelta::days(i64::from(days)))
    }

    /// As a signed difference between instants.
    #[must_use]
    pub fn delta(self) -> TimeDelta {
        self.0
    }

    /// As a duration to wait.
    #[must_use]
    pub fn duration(self) -> std::time::Duration {
        self.0.to_std().unwrap_or_default()
    }

    /// Reads `24h`; `None` where the text is not a whole number and a unit.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let unit = text.chars().next_back()?;
        let number: u32 = text[..text.len() - unit.len_utf8()].trim().parse().ok()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        TimeDelta::try_seconds(i64::from(number) * seconds).map(Self)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.num_seconds();
        match seconds {
            s if s % 86_400 == 0 && s != 0 => write!(f, "{}d", s / 86_400),
            s if s % 3600 == 0 && s != 0 => write!(f, "{}h", s / 3600),
            s if s % 60 == 0 && s != 0 => write!(f, "{}m", s / 60),
            s => write!(f, "{s}s"),
        }
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!("`{text}` is not a length of time; write a whole number and s, m, h or d, such as `24h`"))
        })
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Period {
    fn schema_name() -> String {
        "Period".to_owned()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema::text(r"^\s*\+?[0-9]+\s*[smhd]$", "A length of time: a whole number and `s`, `m`, `h` or `d` (24 hours), such as `24h`.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_read_and_print_alike() {
        for text in ["90s", "15m", "24h", "30d", "0s", "1d"] {
            assert_eq!(Period::parse(text).map(|p| p.to_string()).as_deref(), Some(if text == "24h" { "1d" } else { text }));
        }
        for text in ["", "h", "24", "-1h", "1.5h", "2 weeks"] {
            assert_eq!(Period::parse(text), None, "{text}");
        }
    }
}
