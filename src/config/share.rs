//! Percentages as people write them.

use std::fmt;

use schemars::{JsonSchema, r#gen::SchemaGenerator, schema::Schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::schema;

/// A share written as a percentage, `"10%"`; 0 to 1 inside.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// The share as a number from 0 to 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        self.0
    }

    /// A share of this many percent.
    #[must_use]
    pub fn percent(percent: f64) -> Self {
        Self(percent / 100.0)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", (self.0 * 10_000.0).round() / 100.0)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.strip_suffix('%')
            .and_then(|number| number.trim().parse::<f64>().ok())
            .filter(|percent| percent.is_finite() && *percent >= 0.0)
            .map(Self::percent)
            .ok_or_else(|| de::Error::custom(format!("`{text}` is not a percentage; write it such as `10%`")))
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Share {
    fn schema_name() -> String {
        "Share".to_owned()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema::text(r"^\s*\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)\s*%$", "A share as a percentage, such as `10%`.")
    }
}
