//! `[delivery.shaping]` in `config/perennial.toml`: at what pace mail leaves.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{config::Cap, diagnosis::Diagnosis};

/// `[delivery.shaping]`: at what pace mail leaves, by the relay as a whole and to each mailbox provider.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShapingSettings {
    /// The most messages by the relay in a period, such as `{ messages = 100, within = "1s" }`.
    pub rate: Option<Cap>,
    /// How many messages leave on the first day on which any do, on the second, and so on; after the last of them there is no limit. For a
    /// relay or a sender's domain nobody knows yet.
    pub warm_up: Vec<u64>,
    /// The pace to mailbox providers, by a name of your choice.
    pub providers: BTreeMap<String, PaceSettings>,
}

/// The pace to one mailbox provider.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PaceSettings {
    /// The domains of its addresses, what follows the `@`: `["gmail.com", "googlemail.com"]`.
    pub domains: Vec<String>,
    /// The most messages to it in a period.
    #[serde(default)]
    pub rate: Option<Cap>,
    /// How many messages go to it on the first day on which any do, on the second, and so on.
    #[serde(default)]
    pub warm_up: Vec<u64>,
    /// How many messages to it are on their way at once.
    #[serde(default)]
    pub at_once: Option<usize>,
}

impl ShapingSettings {
    /// What cannot be meant.
    pub(crate) fn mistakes(&self) -> Vec<Diagnosis> {
        let mut found = Vec::new();
        let mut wrong = |place: &str, what: &str, hint: &str| {
            let message = format!("`{place}` {what}");
            found.push(Diagnosis::new("shaping", message).in_file("config/perennial.toml").hint(hint));
        };
        let mut limits = vec![("delivery.shaping".to_owned(), self.rate, &self.warm_up)];
        for (name, provider) in &self.providers {
            let place = format!("delivery.shaping.providers.{name}");
            if provider.domains.is_empty() {
                wrong(&place, "names no domain", "list what follows the `@`: `domains = [\"gmail.com\"]`");
            }
            for domain in &provider.domains {
                let is_plain = domain.contains('.') && !domain.contains(['@', '*', ' ']);
                if !is_plain {
                    wrong(&place, &format!("names `{domain}`, which is no domain"), "write it as it follows the `@`, such as `gmail.com`");
                }
                let twice = self.providers.iter().find(|(other, settings)| {
                    other.as_str() < name.as_str() && settings.domains.iter().any(|theirs| theirs.eq_ignore_ascii_case(domain))
                });
                if let Some((other, _)) = twice {
                    wrong(&place, &format!("names `{domain}`, as `{other}` does"), "a domain belongs to one provider");
                }
            }
            if provider.at_once == Some(0) {
                wrong(&place, "lets no message go", "set `at_once` to 1 or more, or leave it out");
            }
            limits.push((place, provider.rate, &provider.warm_up));
        }
        for (place, rate, warm_up) in limits {
            if rate.is_some_and(|rate| rate.messages == 0 || rate.within.delta().is_zero()) {
                wrong(&place, "lets no message go", "a rate is a number of messages within a time: `{ messages = 100, within = \"1s\" }`");
            }
            if warm_up.first() == Some(&0) || warm_up.windows(2).any(|days| days[1] < days[0]) {
                wrong(
                    &place,
                    "has a warm-up that does not grow",
                    "each day takes as many as the one before or more: `[50, 100, 500, 1000]`",
                );
            }
        }
        found
    }
}
