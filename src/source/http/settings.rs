//! `kind = "http"`: the settings of a source that answers JSON over HTTP.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{auth::Auth, budget::Budget, pace::Rate, pages::Pagination, placeholders, write_back::WriteBackSettings};
use crate::{
    config::Period,
    source::{
        columns::DeclaredColumns,
        deletes::Deletes,
        retry::Retry,
        settings::{Kind, OnBadValue},
    },
};

/// A source over HTTP.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpSettings {
    /// What it is.
    #[allow(dead_code)] // Read first, to know which settings to expect.
    pub(crate) kind: Kind,
    /// What every path stands below: `https://shop.example/api`, or `practice://shop`.
    pub(crate) base_url: String,
    /// How long one answer may take, body included.
    #[serde(default = "half_a_minute")]
    pub(crate) timeout: Period,
    /// How the source knows us.
    #[serde(default)]
    pub(crate) auth: Auth,
    /// Further headers of every request, such as an API version. Not for secrets.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// How patient we are.
    #[serde(default)]
    pub(crate) retry: Retry,
    /// How often it may be asked.
    pub(crate) rate: Option<Rate>,
    /// How much of it one run may use.
    pub(crate) budget: Option<Budget>,
    /// How many of its streams are pulled beside each other.
    #[serde(default = "one")]
    pub(crate) at_once: usize,
    /// Where an answer says that it is an error although its status is 200, and which errors pass.
    pub(crate) error: Option<ErrorInside>,
    /// How large one page may be, unpacked, in MiB.
    #[serde(default = "sixty_four")]
    pub(crate) max_page_mib: u32,
    /// What is read from it; nothing, where it is only told things.
    #[serde(default)]
    pub(crate) streams: BTreeMap<String, HttpStream>,
    /// What it is told.
    #[serde(default)]
    pub(crate) write_back: BTreeMap<String, WriteBackSettings>,
}

fn half_a_minute() -> Period {
    Period::seconds(30)
}

fn one() -> usize {
    1
}

fn sixty_four() -> u32 {
    64
}

/// `error = { path = "errors", passing = ["THROTTLED"] }`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErrorInside {
    /// The dotted path in an answer of status 200 at which only errors stand.
    pub(crate) path: Option<String>,
    /// Words in it, or in an answer that refuses, such as a code, that mean that it is worth asking again.
    #[serde(default)]
    pub(crate) passing: Vec<String>,
}

/// How a stream is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    /// With the address alone.
    #[default]
    Get,
    /// With a JSON body.
    Post,
}

/// One stream of a source over HTTP. In `path`, `params` and `body`, `{since}` and `{until}` stand for the bounds of the pull, `{token}`,
/// `{after}` and `{tie}` for where the page begins.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpStream {
    /// The path below `base_url`.
    pub(crate) path: String,
    /// `"get"` or `"post"`.
    #[serde(default)]
    pub(crate) method: Method,
    /// The JSON body of every request.
    pub(crate) body: Option<Value>,
    /// The dotted path to the rows in the answer; empty where the answer is the list itself.
    #[serde(default)]
    pub(crate) rows: String,
    /// The columns that name a row.
    pub(crate) key: Vec<String>,
    /// Query parameters of every request.
    #[serde(default)]
    pub(crate) params: BTreeMap<String, String>,
    /// How to ask for what changed; absent: everything, every time.
    pub(crate) cursor: Option<CursorSettings>,
    /// How one page leads to the next.
    pub(crate) pagination: Pagination,
    /// Dotted paths inside a row, each to a flag that is true where a list in the row is not whole.
    #[serde(default)]
    pub(crate) truncated: Vec<String>,
    /// How deleted rows are seen.
    #[serde(default)]
    pub(crate) deletes: Deletes,
    /// What happens to a row that does not fit.
    #[serde(default)]
    pub(crate) on_bad_value: OnBadValue,
    /// Whether fields that are not declared are kept, in `_extra`.
    #[serde(default)]
    pub(crate) extra: bool,
    /// More pages than this are a mistake.
    #[serde(default = "a_hundred_thousand")]
    pub(crate) max_pages: u32,
    /// The columns and their types.
    pub(crate) columns: DeclaredColumns,
}

impl HttpStream {
    /// How a placeholder is used.
    pub(crate) fn uses(&self, name: &str) -> placeholders::Use {
        placeholders::used(name, &self.path, self.params.values(), self.body.as_ref())
    }
}

fn a_hundred_thousand() -> u32 {
    100_000
}

/// `cursor = { field = "updated_at", param = "updated_since" }`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CursorSettings {
    /// The column that says when a row last changed.
    pub(crate) field: String,
    /// The query parameter that asks for rows from then on, that instant included; unless `{since}` does.
    pub(crate) param: Option<String>,
    /// The query parameter that bounds them above, where the source has one.
    pub(crate) until_param: Option<String>,
    /// How far below the cursor the next pull begins; 5 minutes unless set. A change the source shows later than this is missed.
    pub(crate) overlap: Option<Period>,
    /// How long before now the cursor stops, for sources whose newest rows are still settling.
    #[serde(default = "at_once")]
    pub(crate) settle: Period,
    /// How long the source keeps its changes, where it does not keep them for ever. What is older than that would be missed.
    pub(crate) kept: Option<Period>,
    /// Where the first pull begins; unless set, at the very beginning.
    pub(crate) start: Option<String>,
    /// How instants are written in the parameter.
    #[serde(default)]
    pub(crate) format: CursorFormat,
}

fn at_once() -> Period {
    Period::seconds(0)
}

/// How an instant is written in a query parameter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CursorFormat {
    /// `2026-01-31T09:30:00Z`
    #[default]
    Rfc3339,
    /// `2026-01-31T09:30:00`: UTC, without saying so.
    Naive,
    /// Seconds since 1970.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    /// `2026-01-31`
    Date,
}
