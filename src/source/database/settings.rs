//! `kind = "database"`: the settings of a source that is a PostgreSQL or MySQL/MariaDB database.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::{
    config::{ConfigError, Period},
    secret::SecretRef,
    source::{
        columns::DeclaredColumns,
        deletes::Deletes,
        retry::Retry,
        settings::{Kind, OnBadValue, Spot},
    },
};

/// A database.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DatabaseSettings {
    /// What it is.
    #[allow(dead_code)] // Read first, to know which settings to expect.
    pub(crate) kind: Kind,
    /// `postgres://reader@db.shop.example:5432/shop` or `mysql://…`, without the password.
    pub(crate) url: String,
    /// The user's password.
    pub(crate) password: Option<SecretRef>,
    /// Whether the way there is encrypted; unless set, it is verified, but for a database on this machine.
    pub(crate) tls: Option<Tls>,
    /// The certificate of the authority that signed the server's, as a PEM file; unless set, those that browsers trust.
    pub(crate) ca: Option<PathBuf>,
    /// How many connections a first load may use at once.
    #[serde(default = "two")]
    pub(crate) connections: u32,
    /// How patient we are with a lost connection.
    #[serde(default)]
    pub(crate) retry: Retry,
    /// What is read from it.
    pub(crate) streams: BTreeMap<String, DatabaseStream>,
}

fn two() -> u32 {
    2
}

/// Whether the way to the database is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tls {
    /// Not at all.
    Off,
    /// Encrypted, whoever answers.
    Require,
    /// Encrypted, and the certificate is that of the host.
    Verify,
}

/// One table or query.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DatabaseStream {
    /// The table, with its schema where it needs one: `public.orders`.
    pub(crate) table: Option<String>,
    /// Or one `select` of your own.
    pub(crate) query: Option<String>,
    /// The columns that name a row.
    pub(crate) key: Vec<String>,
    /// How to ask for what changed; absent: everything, every time.
    pub(crate) cursor: Option<CursorSettings>,
    /// How deleted rows are seen.
    #[serde(default)]
    pub(crate) deletes: Deletes,
    /// What happens to a row that does not fit.
    #[serde(default)]
    pub(crate) on_bad_value: OnBadValue,
    /// Refused: a database gives the columns it is asked for.
    #[serde(default)]
    extra: bool,
    /// How many rows a page has.
    #[serde(default = "fifty_thousand")]
    pub(crate) page_rows: u32,
    /// The columns and their types; `from` names the column in the database where it is called something else.
    pub(crate) columns: DeclaredColumns,
}

fn fifty_thousand() -> u32 {
    50_000
}

/// `cursor = { field = "updated_at" }`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DatabaseCursor")]
pub(crate) struct CursorSettings {
    /// The column that says when a row last changed, or a number that grows with every change.
    pub(crate) field: String,
    /// How far below the cursor the next pull begins; 5 minutes unless set.
    pub(crate) overlap: Option<Period>,
    /// How long before now the cursor stops.
    #[serde(default = "at_once")]
    pub(crate) settle: Period,
    /// Where the first pull begins; unless set, at the very beginning.
    pub(crate) start: Option<String>,
}

fn at_once() -> Period {
    Period::seconds(0)
}

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    MySql,
}

/// Everything of a database but its streams, checked.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseSource {
    pub(crate) engine: Engine,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) password: Option<SecretRef>,
    pub(crate) tls: Tls,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) connections: u32,
    pub(crate) retry: Retry,
}

impl DatabaseSource {
    /// Checks the settings; `Err` names the setting that cannot be used, and why.
    pub(crate) fn new(settings: &DatabaseSettings) -> Result<Self, (&'static str, String)> {
        let example = "write one such as postgres://reader@db.shop.example:5432/shop";
        let url: Url = settings.url.parse().map_err(|error| ("url", format!("`{}` is no address: {error}; {example}", settings.url)))?;
        let (engine, port) = match url.scheme() {
            "postgres" | "postgresql" => (Engine::Postgres, 5432),
            "mysql" | "mariadb" => (Engine::MySql, 3306),
            other => return Err(("url", format!("`{other}` is no database this program reads; there are `postgres` and `mysql`"))),
        };
        if url.password().is_some() {
            return Err(("url", "the address holds a password; it belongs into `password = { env = \"X\" }`".to_owned()));
        }
        if url.query().is_some() {
            return Err(("url", "the address holds options; they belong into `tls`, `ca` and `connections`".to_owned()));
        }
        let host =
            url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| ("url", format!("the address names no host; {example}")))?;
        let database = url.path().trim_start_matches('/');
        if database.is_empty() || url.username().is_empty() {
            return Err(("url", format!("the address names no user or no database; {example}")));
        }
        if settings.connections == 0 {
            return Err(("connections", "no connection reads nothing".to_owned()));
        }
        let near = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        Ok(Self {
            engine,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(port),
            user: decoded(url.username()),
            database: decoded(database),
            password: settings.password.clone(),
            tls: settings.tls.unwrap_or(if near { Tls::Off } else { Tls::Verify }),
            ca: settings.ca.clone(),
            connections: settings.connections,
            retry: settings.retry.clone(),
        })
    }
}

/// `%40` as `@`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let digits =
            (byte == b'%').then(|| Some((char::from(ahead.next()?).to_digit(16)?, char::from(ahead.next()?).to_digit(16)?))).flatten();
        match digits.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = ahead;
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl DatabaseStream {
    /// What can be known to be wrong without asking the database.
    pub(crate) fn check(&self, spot: &Spot<'_>) -> Result<(), ConfigError> {
        let wrong =
            |place: &str, message: &str, hint: &str| Err(spot.wrong(&[place], "bad_value", message.to_owned(), Some(hint.to_owned())));
        match (&self.table, &self.query) {
            (Some(_), Some(_)) => return wrong("query", "the stream names a table and a query", "remove one of the two"),
            (None, None) => return wrong("key", "the stream names neither a table nor a query", "add `table = \"public.orders\"`"),
            (Some(table), None) if table.split('.').any(str::is_empty) => {
                return wrong("table", "the table's name is not whole", "write it as `orders` or `public.orders`");
            }
            (None, Some(query)) if query.trim().trim_end_matches(';').contains(';') => {
                return wrong("query", "the query holds more than one statement", "keep the one `select`");
            }
            _ => {}
        }
        if self.extra {
            let message = "a database gives the columns it is asked for; there are no others to be kept";
            return wrong("extra", message, "declare them under `columns`");
        }
        if self.on_bad_value == OnBadValue::Widen {
            let message = "a database has types of its own, and values are read by what is declared";
            return wrong("on_bad_value", message, "widen the column's type under `columns`");
        }
        if let Some((name, _)) = self.columns.0.iter().find(|(_, declared)| declared.optional) {
            let message = "a database knows a column or does not; none is optional";
            let place = ["columns", name.as_str()];
            return Err(spot.wrong(&place, "bad_value", message.to_owned(), Some("remove `optional`".to_owned())));
        }
        if self.page_rows == 0 {
            return wrong("page_rows", "pages of no rows bring nothing", "remove it, or write 50000");
        }
        Ok(())
    }
}
