//! `[write_back.<name>]`: a system is told whom it must not write to any more, one call a person. The answer decides:
//!
//! | answer | the system |
//! |---|---|
//! | 2xx | was told |
//! | a status of `ok` | knows no such person |
//! | 408, 429, 5xx, no token, no connection | is asked again as `retry` says, then in the next run |
//! | 401, 403, 3xx, a web page | hears nothing more in this run |
//! | any other | refused; it is told again in the next run |
//! | none after the call had begun, 502, 504 | is asked again where that does no harm; else nobody knows |

use std::{path::Path, sync::Arc, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{
    Client, Method, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, DATE, HeaderName, HeaderValue, RETRY_AFTER},
    redirect,
};
use schemars::{JsonSchema, r#gen::SchemaGenerator, schema::Schema};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    auth::Credentials,
    pace::Pace,
    placeholders::{escaped, filled},
    reader::{HttpSource, Trouble, below, is_near, said, unsent},
    settings::ErrorInside,
    token::{Desk, Vault},
};
use crate::{
    clock::SharedClock,
    config::{ConfigError, nearest, schema},
    ledger::REASONS,
    secret::Secret,
    source::{
        error::{SourceError, StreamName},
        retry::{self, Next, Retry},
        settings::Spot,
    },
};

/// What may stand in `path` and `body`.
const NAMES: [&str; 8] = ["{email}", "{source_id}", "{customer_id}", "{channel}", "{scope}", "{reason}", "{at}", "{at_ms}"];
/// How much of an answer is read.
const MAX_ANSWER: usize = 1 << 20;

/// By which method a system is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verb {
    /// With a body; unless `idempotent`, it is not repeated when nobody knows what became of it.
    Post,
    /// With a body; repeating it does no harm.
    Put,
    /// With a body; unless `idempotent`, it is not repeated when nobody knows what became of it.
    Patch,
    /// Without a body; repeating it does no harm.
    Delete,
}

impl Verb {
    fn method(self) -> Method {
        match self {
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }
}

/// Why somebody must not be written to, as the ledger keeps it.
struct Reason;

impl JsonSchema for Reason {
    fn schema_name() -> String {
        "Reason".to_owned()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema::words(&REASONS, "Why somebody must not be written to.")
    }
}

/// One section, as it is written.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WriteBackSettings {
    /// Which suppressions: their reasons.
    #[schemars(with = "Vec<Reason>")]
    when: Vec<String>,
    /// The method of the call.
    method: Verb,
    /// The path below `base_url`. Here and in `body`, `{email}`, `{source_id}`, `{customer_id}`, `{channel}`, `{scope}`, `{reason}`, `{at}`
    /// and `{at_ms}` stand for what the call is about.
    path: String,
    /// The JSON body.
    body: Option<Value>,
    /// Statuses beside 2xx that mean that the person is not known there.
    #[serde(default)]
    ok: Vec<u16>,
    /// Whether a call may be repeated when nobody knows what became of it; unless set, `put` and `delete` may.
    idempotent: Option<bool>,
    /// Where an answer says that it is an error although its status is 2xx; beside the source's own.
    error: Option<ErrorInside>,
}

/// One section, checked.
#[derive(Debug)]
pub(crate) struct Section {
    /// The source and the section.
    pub(crate) name: StreamName,
    settings: WriteBackSettings,
    texts: Vec<String>,
}

impl Section {
    /// Checks a section; `practice` says whether its source is the practice shop.
    pub(crate) fn new(spot: &Spot<'_>, name: StreamName, settings: WriteBackSettings, practice: bool) -> Result<Self, ConfigError> {
        let wrong = |place: &[&str], code: &str, message: String, hint: &str| {
            let place: Vec<&str> = ["write_back", &name.stream].into_iter().chain(place.iter().copied()).collect();
            Err(spot.wrong(&place, code, message, Some(hint.to_owned())))
        };
        if practice {
            let message = "the practice shop takes nothing back".to_owned();
            return wrong(&[], "bad_value", message, "set `base_url` to a system of your own, or remove this section");
        }
        if settings.when.is_empty() {
            let message = "`when` names nothing, so that nothing would be told".to_owned();
            return wrong(&["when"], "bad_value", message, &format!("name some of: {}", REASONS.join(", ")));
        }
        if let Some(unknown) = settings.when.iter().find(|when| !REASONS.contains(&when.as_str())) {
            let hint = match nearest(unknown, REASONS.into_iter()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are: {}", REASONS.join(", ")),
            };
            return wrong(&["when"], "unknown_value", format!("nobody is suppressed for the reason `{unknown}`"), &hint);
        }
        if !settings.path.starts_with('/') {
            let message = format!("the path `{}` does not begin with `/`", settings.path);
            return wrong(&["path"], "bad_value", message, "write it as it stands behind `base_url`");
        }
        match &settings.body {
            Some(_) if settings.method == Verb::Delete => {
                let message = "a `delete` has no body; most systems would not read it".to_owned();
                return wrong(&["body"], "bad_value", message, "name the person in `path`, or use another `method`");
            }
            // What the TOML parser makes of a date that stands there without quotes.
            Some(body) if !body.is_object() || body.to_string().contains("$__toml_private_datetime") => {
                let message = "a body is a table of texts, numbers, lists and tables".to_owned();
                return wrong(&["body"], "bad_value", message, "put dates in quotes");
            }
            _ => {}
        }
        if let Some(status) = settings.ok.iter().find(|status| !(400..500).contains(*status) || [401, 403, 408, 429].contains(*status)) {
            let message = format!("the status {status} never means that a person is not known");
            return wrong(&["ok"], "bad_value", message, "`ok` is for answers such as 404 and 410");
        }
        let mut places = vec![(vec!["path"], settings.path.as_str())];
        texts(settings.body.as_ref(), &mut vec!["body"], &mut places);
        for (place, text) in &places {
            if let Some(unknown) = words(text).find(|word| !NAMES.contains(word)) {
                let hint = match nearest(unknown, NAMES.into_iter()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are: {}; write `{{ x }}` with blanks where braces are meant", NAMES.join(", ")),
                };
                return wrong(place, "unknown_placeholder", format!("nothing is called `{unknown}`"), &hint);
            }
        }
        let texts: Vec<String> = places.iter().map(|(_, text)| (*text).to_owned()).collect();
        let section = Self { name: name.clone(), settings: settings.clone(), texts };
        if !(section.uses("{email}") || section.uses("{source_id}") || section.uses("{customer_id}")) {
            let message = "the call does not say whom it is about".to_owned();
            return wrong(&["path"], "bad_value", message, "put `{email}`, `{source_id}` or `{customer_id}` into `path` or `body`");
        }
        Ok(section)
    }

    /// The reasons it tells of.
    pub(crate) fn when(&self) -> &[String] {
        &self.settings.when
    }

    /// Whether a placeholder stands in its path or its body.
    pub(crate) fn uses(&self, name: &str) -> bool {
        self.texts.iter().any(|text| text.contains(name))
    }

    /// Whether a call may be repeated when nobody knows what became of it.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.settings.idempotent.unwrap_or(matches!(self.settings.method, Verb::Put | Verb::Delete))
    }
}

/// The texts of a body, each with the keys that lead to it.
fn texts<'a>(body: Option<&'a Value>, place: &mut Vec<&'a str>, found: &mut Vec<(Vec<&'a str>, &'a str)>) {
    match body {
        Some(Value::String(text)) => found.push((place.clone(), text)),
        Some(Value::Array(list)) => list.iter().for_each(|value| texts(Some(value), place, found)),
        Some(Value::Object(fields)) => {
            for (name, value) in fields {
                place.push(name);
                texts(Some(value), place, found);
                place.pop();
            }
        }
        _ => {}
    }
}

/// Whether an answer is a web page. Other words, and XML, are an answer like any other: only the status counts.
fn is_page(bytes: &[u8]) -> bool {
    let begins = |with: &str| bytes.trim_ascii_start().get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with.as_bytes()));
    begins("<!doctype html") || begins("<html")
}

/// What looks like a placeholder: a word of small letters in braces.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('{').filter_map(|(start, _)| {
        let word = &text[start..=start + text[start..].find('}')?];
        let inside = &word[1..word.len() - 1];
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        (!inside.is_empty() && inside.bytes().all(plain)).then_some(word)
    })
}

/// What a system is told.
#[derive(Debug, Clone)]
pub(crate) struct News<'a> {
    pub(crate) email: Option<&'a str>,
    /// The person's id at the source.
    pub(crate) source_id: Option<&'a str>,
    pub(crate) customer_id: Option<&'a str>,
    pub(crate) channel: &'a str,
    pub(crate) scope: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) at: DateTime<Utc>,
    /// The same whenever the same is told.
    pub(crate) key: String,
}

impl News<'_> {
    fn of(&self, name: &str) -> String {
        let known = match name {
            "{email}" => self.email,
            "{source_id}" => self.source_id,
            "{customer_id}" => self.customer_id,
            "{channel}" => Some(self.channel),
            "{scope}" => Some(self.scope),
            "{reason}" => Some(self.reason),
            "{at}" => return self.at.to_rfc3339_opts(SecondsFormat::Secs, true),
            _ => return self.at.timestamp_millis().to_string(),
        };
        known.unwrap_or_default().to_owned()
    }

    fn body(&self, body: &Value) -> Value {
        match body {
            // Who counts milliseconds wants a number.
            Value::String(text) if text == "{at_ms}" => json!(self.at.timestamp_millis()),
            Value::String(text) => Value::String(filled(text, &NAMES, |name| self.of(name))),
            Value::Array(list) => list.iter().map(|value| self.body(value)).collect(),
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), self.body(value))).collect(),
            other => other.clone(),
        }
    }

    /// What no log and no reason may repeat.
    fn private(&self) -> Vec<Secret> {
        let known = [self.email, self.source_id, self.customer_id].into_iter().flatten();
        known.flat_map(|text| [text.to_owned(), text.to_lowercase(), escaped(text)]).map(Secret::new).collect()
    }
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The system took it.
    Told,
    /// The system knows no such person.
    NotThere(String),
    /// It was certainly not taken.
    Failed {
        /// Why, without addresses.
        reason: String,
        /// Whether that passes, so that it says nothing about this person.
        passing: bool,
    },
    /// Nobody knows.
    Unknown(String),
    /// It was certainly not taken, and no other call would be.
    Closed {
        /// Why.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
}

const UP: &str = "see whether the system itself is up";
const KNOWN: &str = "check `auth`: the secret may be wrong, expired or without the right to change this";
const PLACE: &str = "correct `base_url` or the section's `path`";

/// What one attempt came to.
enum Attempt {
    Done(Answer),
    /// The token was refused; it may go better with another one.
    Stale(Secret, Answer),
    /// It may go better next time; `away`: there was not even a connection.
    Again {
        reason: String,
        wait: Option<Duration>,
        away: bool,
    },
}

/// Makes the calls of one section.
#[derive(Debug)]
pub(crate) struct Teller {
    client: Client,
    section: Arc<Section>,
    base: String,
    near: bool,
    retry: Retry,
    clock: SharedClock,
    error: Option<ErrorInside>,
    pace: Option<Arc<Pace>>,
    query: Option<(String, Secret)>,
    desk: Option<Desk>,
    secrets: Vec<Secret>,
}

impl Teller {
    /// One for a section of `source`, with the secrets of the project in `root`.
    pub(crate) fn new(
        source: &HttpSource,
        section: Arc<Section>,
        root: &Path,
        clock: SharedClock,
        vault: Vault,
    ) -> Result<Self, SourceError> {
        let name = section.name.clone();
        let Credentials { headers: secret, query, grant, secrets } = source.credentials(&name, root)?;
        let mut headers = source.headers.clone();
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        if section.settings.body.is_some() {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        }
        headers.extend(secret);
        let timeout = source.timeout.duration().max(Duration::from_secs(1));
        let client = Client::builder()
            .user_agent(concat!("perennial/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .timeout(timeout)
            .connect_timeout(Duration::from_secs(10).min(timeout))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            // A connection of its own for every call: a stale one would break with the call begun, and make its fate unknown.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| SourceError::Broken { at: name.clone(), reason: error.to_string() })?;
        let desk = grant.map(|grant| Desk::new(name, grant, Arc::clone(&source.held), Some(vault), timeout)).transpose()?;
        Ok(Self {
            client,
            section,
            base: source.base_url.as_str().trim_end_matches('/').to_owned(),
            near: source.is_near(),
            retry: source.retry.clone(),
            clock,
            error: source.error.clone(),
            pace: source.pace.clone(),
            query,
            desk,
            secrets,
        })
    }

    /// Tells it, again and again while there is hope and `stop` is not cancelled.
    pub(crate) async fn tell(&self, news: &News<'_>, stop: &CancellationToken) -> Answer {
        let url = match self.url(news) {
            Ok(url) => url,
            Err(reason) => return Answer::Failed { reason, passing: false },
        };
        let body = self.section.settings.body.as_ref().map(|body| news.body(body).to_string());
        let (mut attempt, mut waited, mut renewed) = (0, Duration::ZERO, false);
        loop {
            attempt += 1;
            let (reason, hint, away) = match self.attempt(&url, body.as_ref(), news).await {
                Attempt::Done(answer) => return answer,
                Attempt::Stale(_, refusal) if renewed => return refusal,
                Attempt::Stale(token, _) => {
                    if let Some(desk) = &self.desk {
                        desk.forget(&token).await;
                    }
                    renewed = true;
                    attempt -= 1;
                    continue;
                }
                Attempt::Again { reason, wait, away } => (reason, wait, away),
            };
            let dice = retry::jitter(&news.key, attempt);
            match self.retry.next(attempt, waited, hint, dice) {
                Next::GiveUp if away => return Answer::Closed { reason, hint: UP },
                Next::GiveUp => return Answer::Failed { reason, passing: true },
                Next::TooLong(asked) => {
                    let reason = format!("{reason} and asks to be left alone for {} s, longer than `max_wait` allows", asked.as_secs());
                    return Answer::Closed { reason, hint: "run it again later, or allow more under `retry = { max_wait = \"1h\" }`" };
                }
                Next::Wait(wait) => {
                    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(section = %self.section.name, reason, attempt, wait_ms, "will be told again");
                    waited += wait;
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = stop.cancelled() => return Answer::Failed { reason, passing: true },
                    }
                }
            }
        }
    }

    fn url(&self, news: &News<'_>) -> Result<Url, String> {
        let path = &self.section.settings.path;
        // Such a part of a path leads to what stands above it.
        let dots = |name: &&&str| path.contains(**name) && matches!(news.of(name).as_str(), "." | "..");
        if let Some(name) = NAMES.iter().find(dots) {
            return Err(format!("no address can be made where `{name}` is nothing but dots"));
        }
        let path = filled(path, &NAMES, |name| escaped(&news.of(name)));
        format!("{}{path}", self.base).parse().map_err(|error: url::ParseError| format!("no address can be made of `path`: {error}"))
    }

    async fn attempt(&self, url: &Url, body: Option<&String>, news: &News<'_>) -> Attempt {
        let closed = |reason: String, hint| Attempt::Done(Answer::Closed { reason, hint });
        let access = match &self.desk {
            None => None,
            Some(desk) => match desk.token(self.clock.now()).await {
                Ok(access) => Some(access),
                Err(Trouble::Passing { reason, wait }) => return Attempt::Again { reason, wait, away: true },
                Err(Trouble::Stale { refusal: error, .. } | Trouble::Lasting(error)) => {
                    let reason = error.to_string();
                    return closed(reason.strip_prefix(&format!("{}: ", self.section.name)).unwrap_or(&reason).to_owned(), KNOWN);
                }
            },
        };
        let mut url = match access.as_ref().and_then(|access| access.base.as_ref()) {
            // With the practice keys nothing but this machine is told anything.
            Some(base) if self.near && !is_near(base) => {
                return closed("its token says that the API lies on another machine than `base_url`".to_owned(), PLACE);
            }
            Some(base) => below(base, url),
            None => url.clone(),
        };
        if let Some((name, value)) = &self.query {
            url.query_pairs_mut().append_pair(name, value.reveal());
        }
        let mut request = self.client.request(self.section.settings.method.method(), url).header("idempotency-key", &news.key);
        if let Some(body) = body {
            request = request.body(body.clone());
        }
        let token = access.map(|access| access.token);
        if let Some((desk, token)) = self.desk.as_ref().zip(token.as_ref()) {
            let Ok((name, value)) = desk.header(token) else {
                return closed("got a token that no header can carry".to_owned(), KNOWN);
            };
            request = request.header(name, value);
        }
        if let Some(pace) = &self.pace {
            pace.turn().await;
        }
        match request.send().await {
            Ok(response) => self.answer(response, token, news).await,
            Err(error) if error.is_builder() => {
                let reason = "no call can be made of what is told".to_owned();
                Attempt::Done(Answer::Failed { reason, passing: false })
            }
            Err(error) if error.is_connect() => Attempt::Again { reason: unsent(&error), wait: None, away: true },
            Err(error) => self.silent(unsent(&error)),
        }
    }

    /// The call had begun, and nobody knows what became of it.
    fn silent(&self, reason: String) -> Attempt {
        match self.section.is_repeatable() {
            true => Attempt::Again { reason, wait: None, away: false },
            false => Attempt::Done(Answer::Unknown(reason)),
        }
    }

    async fn answer(&self, mut response: Response, token: Option<Secret>, news: &News<'_>) -> Attempt {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut bytes = Vec::new();
        let whole = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() > MAX_ANSWER => break false,
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if let Some(pace) = &self.pace {
            pace.told(&headers, &body);
        }
        let told = |value: &Value| {
            let private = news.private();
            let words = said(value, self.secrets.iter().chain(&token).chain(&private));
            words.split(' ').map(|word| if word.contains('@') { "(address)" } else { word }).collect::<Vec<_>>().join(" ")
        };
        let closed = |reason: String, hint| Answer::Closed { reason, hint };
        let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let wait = || header(RETRY_AFTER).and_then(|value| retry::retry_after(value, header(DATE), self.clock.now()));
        let answered = format!("answered {}", status.as_u16());
        let settings = &self.section.settings;
        let rules: Vec<&ErrorInside> = self.error.iter().chain(&settings.error).collect();
        Attempt::Done(match status.as_u16() {
            200..=299 => {
                if is_page(&bytes) {
                    let reason = format!("{answered} with a web page; it is often a login page or one about maintenance");
                    return Attempt::Done(closed(reason, PLACE));
                }
                match rules.iter().find_map(|rule| rule.find(&body)) {
                    // Whether it says that it is an error stands in the part that did not come.
                    None if !whole && rules.iter().any(|rule| rule.path.is_some()) => {
                        return self.silent("broke off in the middle of its answer".to_owned());
                    }
                    None => Answer::Told,
                    Some((error, passing)) => {
                        let reason = format!("{answered} with an error{}", told(error));
                        match passing {
                            true => return Attempt::Again { reason, wait: None, away: false },
                            false => Answer::Failed { reason, passing: false },
                        }
                    }
                }
            }
            status if settings.ok.contains(&status) => Answer::NotThere(answered),
            // A gateway that had no answer itself.
            502 | 504 => return self.silent(answered),
            _ if rules.iter().any(|rule| rule.passes(&body)) => return Attempt::Again { reason: answered, wait: wait(), away: false },
            401 | 403 => {
                let refusal = closed(format!("{answered}{}", told(&body)), KNOWN);
                match token {
                    Some(token) if status == StatusCode::UNAUTHORIZED => return Attempt::Stale(token, refusal),
                    _ => refusal,
                }
            }
            408 | 429 | 500..=599 => return Attempt::Again { reason: answered, wait: wait(), away: false },
            300..=399 => closed(format!("{answered}: it redirects, and people's addresses are not sent elsewhere"), PLACE),
            _ => Answer::Failed { reason: format!("{answered}{}", told(&body)), passing: false },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diagnosis::Diagnosis, source::Source};

    fn parse(settings: &str) -> Result<Source, Diagnosis> {
        Source::parse("crm", Path::new("config/sources/crm.toml"), settings).map_err(|error| error.0)
    }

    const GOOD: &str = r#"kind = "http"
base_url = "https://crm.example/api"
[write_back.unsubscribed]
when = ["unsubscribed", "hard_bounce"]
method = "put"
path = "/contacts/{source_id}"
ok = [404]
body = { email = "{email}", unsubscribed = true, at = "{at}", when = ["{reason}", { ms = "{at_ms}", text = "ms {at_ms}" }] }
"#;

    #[test]
    fn mistakes_are_told_with_their_line() {
        assert!(parse(GOOD).is_ok());
        let cases = [
            ("\"unsubscribed\", \"hard", "\"unsubscribe\", \"hard", "unknown_value", "did you mean `unsubscribed`?", 4),
            ("[\"unsubscribed\", \"hard_bounce\"]", "[]", "bad_value", "name some of: unsubscribed", 4),
            ("when = ", "wen = ", "unknown_key", "did you mean `when`?", 4),
            ("\"put\"", "\"get\"", "unknown_value", "", 5),
            ("\"put\"", "\"delete\"", "bad_value", "name the person in `path`", 8),
            ("\"/contacts", "\"contacts", "bad_value", "behind `base_url`", 6),
            ("{source_id}", "{sourceid}", "unknown_placeholder", "did you mean `{source_id}`?", 6),
            ("\"{email}\"", "\"{emial}\"", "unknown_placeholder", "did you mean `{email}`?", 8),
            ("ms {at_ms}", "{name}", "unknown_placeholder", "there are: {email}", 8),
            ("\"{at}\"", "2026-11-22", "bad_value", "put dates in quotes", 8),
            ("[404]", "[401]", "bad_value", "404 and 410", 7),
            ("[404]", "[200]", "bad_value", "404 and 410", 7),
            ("https://crm", "practice://crm", "bad_value", "a system of your own", 3),
            ("write_back.unsubscribed", "write_back.Unsubscribed", "bad_name", "", 3),
        ];
        for (from, to, code, hint, line) in cases {
            let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert_eq!((error.code.as_str(), error.line), (code, Some(line)), "{to}: {error:?}");
            assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{to}: {error:?}");
        }
        let nobody = GOOD.replace("{source_id}", "1").replace("{email}", "all");
        assert!(parse(&nobody).unwrap_err().message.contains("whom it is about"));
        let table = GOOD.replace("body = {", "[write_back.unsubscribed.body]\nx = { a = { b = \"{ id } {no}\" },");
        assert_eq!(parse(&table).unwrap_err().line, Some(9), "the mistake stands in a table below");
    }

    #[tokio::test]
    async fn what_is_put_into_a_call_stays_where_it_is_put() {
        let source = parse(GOOD).unwrap();
        let section = &source.write_back()[0];
        assert!(section.uses("{email}") && section.uses("{source_id}") && !section.uses("{customer_id}"));
        let news = News {
            email: Some("Ann+\"x\"@example.org"),
            source_id: Some("{at}/a b?#ü"),
            customer_id: None,
            channel: "email",
            scope: "all",
            reason: "hard_bounce",
            at: "2026-11-22T01:00:00.123456Z".parse().unwrap(),
            key: String::new(),
        };
        assert_eq!(
            news.body(section.settings.body.as_ref().unwrap()),
            json!({
                "email": "Ann+\"x\"@example.org", "unsubscribed": true, "at": "2026-11-22T01:00:00Z",
                "when": ["hard_bounce", {"ms": 1_795_309_200_123_i64, "text": "ms 1795309200123"}],
            })
        );
        let root = tempfile::tempdir().unwrap();
        let ledger = crate::ledger::fixture::open(root.path()).await;
        let vault = Vault { ledger, keys: crate::secret::Keys::new(Secret::new("0123456789abcdef")) };
        let teller = source.teller(section, root.path(), Arc::new(crate::clock::SystemClock), vault).unwrap();
        let url = |id| teller.url(&News { source_id: Some(id), ..news.clone() });
        assert_eq!(url("{at}/a b?#ü").unwrap().as_str(), "https://crm.example/api/contacts/%7Bat%7D%2Fa%20b%3F%23%C3%BC");
        for dots in [".", ".."] {
            assert!(url(dots).unwrap_err().contains("dots"), "it would be the address of all contacts");
        }
    }

    #[test]
    fn a_page_to_log_in_is_no_answer_and_xml_is_one() {
        for (text, page) in
            [("\n<!DOCTYPE HTML><title>", true), ("<html>", true), ("<?xml version=\"1.0\"?>", false), ("ok", false), ("", false)]
        {
            assert_eq!(is_page(text.as_bytes()), page, "{text}");
        }
    }

    #[test]
    fn the_calls_of_the_documentation_can_be_used() {
        let page = include_str!("../../../docs/sources.md");
        let calls =
            page.split("```toml\n").filter_map(|block| block.split("```").next()).find(|block| block.contains("write_back")).unwrap();
        let source = parse(&format!("kind = \"http\"\nbase_url = \"https://crm.example\"\n{calls}")).unwrap();
        assert_eq!(
            source.write_back().iter().map(|section| section.name.stream.as_str()).collect::<Vec<_>>(),
            ["all_mail", "consent", "unsubscribed"]
        );
    }

    #[test]
    fn a_put_may_be_repeated_and_a_post_where_the_settings_say_so() {
        for (method, repeatable) in [("put", true), ("post", false), ("patch", false), ("post\"\nidempotent = true #", true)] {
            let source = parse(&GOOD.replace("put", method)).unwrap();
            assert_eq!(source.write_back()[0].is_repeatable(), repeatable, "{method}");
        }
    }
}
