//! An API as data: where it lies, how it knows us, what it is told, and what its answers mean.
//!
//! A rule of `answers` is looked at before the table that holds for all:
//!
//! | answer | means |
//! |---|---|
//! | 2xx; with `id`, only where the answer holds one | `accepted` |
//! | 408, 425, 429, 503 | `deferred` |
//! | 410 | `disabled` |
//! | 401, 402, 403, 404, 405, 407; 3xx but 303, never followed | `closed`: it would turn everybody away |
//! | any other 4xx | `rejected` |
//! | 303, any other 5xx, none after the body began to leave | `unknown`; with `idempotency.honours` it is told again first |

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::auth::Auth;
use crate::{
    config::{FileKind, Period},
    message::Channel,
};

/// The TOML files APIs are described in.
pub const API_FILE: FileKind = FileKind::of::<Description>(
    "api",
    "config/apis/<name>.toml",
    "An API that letters or calls leave by: where it lies, how it knows us, what it is told, what its answers mean.",
);

/// `config/apis/<name>.toml`, or one that ships.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    /// What travels this way: `"email"` or `"webhook"`.
    pub(crate) channel: Channel,
    /// Where calls go, https. `{name}` stands for one of `values`; behind the host also for `message_id`, `id` (the message id up to
    /// its @), `customer_id`, `campaign`, `plan`, and for the `secret` of `auth.path`.
    pub(crate) url: String,
    /// `"post"`, `"put"` or `"patch"`.
    #[serde(default)]
    pub(crate) method: Method,
    /// Further headers of every call; `{name}` stands for one of `values`. Not for secrets.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// The body: JSON with tags in it. `{{ name }}` becomes JSON by itself and stands without quotes; inside quotes it becomes part of
    /// the text. An email knows `mime` (write `{{ mime|base64 }}`), `from`, `from_address` (without the name), `reply_to`, `to`, `subject`,
    /// `html`, `text` and `headers` (each with `name` and `value`), a webhook knows `body`, its campaign's `webhook.json`; both know
    /// `message_id`, `id`, `customer_id`, `campaign`, `plan` and `values`. Without it a webhook's own body is sent as it is.
    pub(crate) body: Option<String>,
    /// In place of `body`: the fields of a form, each a text with the same tags. A field that comes out empty is left out.
    pub(crate) form: Option<BTreeMap<String, String>>,
    /// Where the answer keeps the API's own name for the message, as a JSON pointer: `/MessageId`. It is kept in the ledger, and an answer
    /// of status 2xx without it counts as `unknown`: it came from somebody else.
    pub(crate) id: Option<String>,
    /// Where the answer keeps its words about a mistake, as JSON pointers. They are kept in the ledger, without addresses and numbers.
    #[serde(default)]
    pub(crate) says: Vec<String>,
    /// Hosts that may lie inside your own network and be called without https: `["crm.internal"]`.
    #[serde(default)]
    pub(crate) allow: Vec<String>,
    /// How often it may be called: `{ requests = 10, per = "1s" }`.
    pub(crate) rate: Option<Rate>,
    /// How many calls are under way at once.
    #[serde(default = "four")]
    pub(crate) at_once: usize,
    /// How long a call may take, answer included.
    #[serde(default = "half_a_minute")]
    pub(crate) timeout: Period,
    /// The largest body it takes, in KiB. A larger message is rejected without a call.
    #[serde(default = "a_mebibyte")]
    pub(crate) max_body_kib: u32,
    /// How much of an answer is read, in KiB.
    #[serde(default = "sixty_four")]
    pub(crate) max_answer_kib: u32,
    /// Whether it tells a repeated call from a new one.
    #[serde(default)]
    pub(crate) idempotency: Idempotency,
    /// What the deployment fills in, such as a region or an account; none of it secret. Empty: yet to be filled in.
    #[serde(default)]
    pub(crate) values: BTreeMap<String, String>,
    /// Which of `values` may stay empty.
    #[serde(default)]
    pub(crate) optional: Vec<String>,
    /// How it knows us.
    #[serde(default)]
    pub(crate) auth: Auth,
    /// What its answers mean where they mean something of their own; the first that fits counts.
    #[serde(default)]
    pub(crate) answers: Vec<Rule>,
}

impl Description {
    /// What a name in braces stands for.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned()
    }
}

fn four() -> usize {
    4
}

fn half_a_minute() -> Period {
    Period::seconds(30)
}

fn a_mebibyte() -> u32 {
    1024
}

fn sixty_four() -> u32 {
    64
}

fn a_second() -> Period {
    Period::seconds(1)
}

fn a_day() -> Period {
    Period::hours(24)
}

/// By which method an API is called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    /// Makes something new.
    #[default]
    Post,
    /// Makes or replaces what the address names.
    Put,
    /// Makes or changes what the address names.
    Patch,
}

/// `rate = { requests = 10, per = "1s" }`
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    /// How many calls.
    pub(crate) requests: u32,
    /// In how long.
    #[serde(default = "a_second")]
    pub(crate) per: Period,
}

/// `idempotency = { header = "Idempotency-Key", honours = true, window = "24h" }`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Idempotency {
    /// The header that carries the message id.
    pub(crate) header: Option<String>,
    /// Whether the API promises that a second call with the same message id does nothing but give the answer of the first. Only then is a
    /// call repeated that got no answer: twice within a minute.
    #[serde(default)]
    pub(crate) honours: bool,
    /// For how long it promises that.
    #[serde(default = "a_day")]
    pub(crate) window: Period,
}

impl Default for Idempotency {
    fn default() -> Self {
        Self { header: None, honours: false, window: a_day() }
    }
}

/// `[[answers]]`: one kind of answer and what it means.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// The statuses it holds for; unless set, all.
    #[serde(default)]
    pub(crate) status: Vec<u16>,
    /// Where in the answer to look, as a JSON pointer: `/ErrorCode`. An answer that is not JSON is one text, found at `""`.
    pub(crate) at: Option<String>,
    /// In place of `at`: the header to look at.
    pub(crate) header: Option<String>,
    /// What stands there is one of these.
    pub(crate) is: Option<Vec<Value>>,
    /// Something stands there, and it is none of these.
    pub(crate) is_not: Option<Vec<Value>>,
    /// One of these is part of the text that stands there.
    pub(crate) contains: Option<Vec<String>>,
    /// What such an answer means.
    pub(crate) means: Meaning,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Meaning {
    /// The message was taken.
    Accepted,
    /// It was refused for good.
    Rejected,
    /// It was refused for good, because nobody has that address: the address gets no mail any more.
    DeadAddress,
    /// Not now; it was not taken, and is tried again.
    Deferred,
    /// Nobody can say whether it was taken.
    Unknown,
    /// It was not taken, and nobody's will be until somebody sets it right: a key, a quota, an address. Nothing more leaves.
    Closed,
    /// The receiver wants no calls any more. Nothing more leaves.
    Disabled,
}

/// The text with each `{name}` replaced by what `write` makes of the name; other braces stay. The error is the first name it knows nothing
/// of. What is put in is not looked at again.
pub(super) fn filled(text: &str, write: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        filled.push_str(&rest[..start]);
        rest = &rest[start..];
        match rest[1..].split_once('}').map(|(name, _)| name).filter(|name| !name.is_empty() && name.bytes().all(plain)) {
            Some(name) => {
                filled.push_str(&write(name).ok_or_else(|| name.to_owned())?);
                rest = &rest[name.len() + 2..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    Ok(filled + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_braces_are_filled_in_once() {
        let write = |name: &str| match name {
            "a" => Some("{b}".to_owned()),
            "b" => Some("x".to_owned()),
            _ => None,
        };
        assert_eq!(filled("{a}/{b}-{ b }{}{", write), Ok("{b}/x-{ b }{}{".to_owned()));
        assert_eq!(filled("/{b}/{nobody}", write), Err("nobody".to_owned()));
    }
}
