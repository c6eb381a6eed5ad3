//! The requests themselves: one page after the other, the next already under way while the last is taken in.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LINK, LOCATION, RETRY_AFTER},
    redirect,
};
use serde_json::Value;
use tokio::task::JoinHandle;
use url::Url;

use super::{
    auth::AuthError,
    pages::{Ask, Lost, Pager, Seen, path},
    settings::{HttpSettings, HttpStream},
};
use crate::{
    clock::SharedClock,
    config::Period,
    secret::SecretError,
    source::{
        error::{SourceError, StreamName},
        intake::page_digest,
        pull::{Effort, Reader, Window},
        retry::{self, Next, Retry},
        rows::{Page, PageRows},
        settings::{Reads, Stream},
        values,
    },
};

const PRACTICE: &str = "practice";

/// Everything of a source over HTTP but its streams.
#[derive(Debug, Clone)]
pub(crate) struct HttpSource {
    pub(crate) base_url: Url,
    pub(crate) timeout: Period,
    pub(crate) auth: super::auth::Auth,
    pub(crate) headers: HeaderMap,
    pub(crate) retry: Retry,
    pub(crate) max_page_mib: u32,
}

impl HttpSource {
    /// Takes the source's own settings; `Err` names the setting that cannot be used, and why.
    pub(crate) fn new(settings: &HttpSettings) -> Result<Self, (&'static str, String)> {
        let base_url: Url =
            settings.base_url.parse().map_err(|error| ("base_url", format!("`{}` is no address: {error}", settings.base_url)))?;
        if !matches!(base_url.scheme(), "http" | "https" | PRACTICE) || base_url.host_str().is_none_or(str::is_empty) {
            return Err(("base_url", format!("`{}` is no address such as https://shop.example/api", settings.base_url)));
        }
        if base_url.query().is_some() || !base_url.username().is_empty() || base_url.password().is_some() {
            return Err(("base_url", "the address holds a query or a password; they belong into `params` and `auth`".to_owned()));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| ("headers", format!("`{name}` is no name of a header")))?;
            let value = HeaderValue::try_from(value.as_str()).map_err(|_| ("headers", format!("the header `{name}` cannot carry that")))?;
            headers.insert(name, value);
        }
        let (timeout, auth, retry) = (settings.timeout, settings.auth.clone(), settings.retry.clone());
        Ok(Self { base_url, timeout, auth, headers, retry, max_page_mib: settings.max_page_mib })
    }

    /// Whether it belongs to the practice shop.
    pub(crate) fn is_practice(&self) -> bool {
        self.base_url.scheme() == PRACTICE
    }

    /// Whether secrets would travel readable for everyone on the way.
    pub(crate) fn is_exposed(&self) -> bool {
        let host = self.base_url.host_str().unwrap_or_default();
        let near = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        self.base_url.scheme() == "http" && !near && !self.auth.secrets().is_empty()
    }

    fn address(&self, name: &StreamName, practice: Option<&Url>, path: &str) -> Result<Url, SourceError> {
        let base = if self.is_practice() {
            let shop = practice.ok_or_else(|| SourceError::NoPractice { at: name.clone() })?;
            format!("{}/{}{}", shop.as_str().trim_end_matches('/'), self.base_url.host_str().unwrap_or_default(), self.base_url.path())
        } else {
            self.base_url.to_string()
        };
        format!("{}{path}", base.trim_end_matches('/')).parse().map_err(|error: url::ParseError| SourceError::Answer {
            at: name.clone(),
            path: path.to_owned(),
            reason: format!("is no address: {error}"),
            hint: "correct `base_url` or the stream's `path`".to_owned(),
        })
    }
}

/// Pages of one stream.
#[derive(Debug)]
pub(crate) struct HttpReader {
    line: Line,
    stream: std::sync::Arc<Stream>,
    pager: Pager,
    window: Window,
    effort: Effort,
    server_time: Option<DateTime<Utc>>,
    practice: bool,
    under_way: Option<JoinHandle<(Result<Answer, SourceError>, Effort)>>,
    /// What is asked by it.
    next: Option<Ask>,
}

/// What one request needs; cheap to clone, so that a request can run beside the taking in.
#[derive(Debug, Clone)]
struct Line {
    client: Client,
    name: StreamName,
    address: Url,
    retry: Retry,
    max_bytes: usize,
    clock: SharedClock,
    run: String,
}

/// A page as it came.
#[derive(Debug)]
struct Answer {
    url: Url,
    link: String,
    date: Option<DateTime<Utc>>,
    body: Value,
    bytes: usize,
}

/// Why an attempt failed.
enum Trouble {
    /// It may go better next time.
    Passing { reason: String, wait: Option<Duration> },
    /// It will not.
    Lasting(SourceError),
}

impl HttpReader {
    /// A reader of a stream, with the secrets of the project in `root`.
    pub(crate) fn new(
        source: &HttpSource,
        stream: std::sync::Arc<Stream>,
        practice: Option<&Url>,
        root: &Path,
        clock: SharedClock,
        run: &str,
    ) -> Result<Self, SourceError> {
        let name = stream.name.clone();
        let settings = http(&stream)?;
        let address = source.address(&name, practice, &settings.path)?;
        let mut headers = source.headers.clone();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let secret = source.auth.header(root).map_err(|error| match error {
            AuthError::Secret(error) => SourceError::Secret { at: name.clone(), error },
            AuthError::Unsendable => {
                let error = std::io::Error::other("it holds characters that no header can carry");
                SourceError::Secret { at: name.clone(), error: SecretError::File("auth".into(), error) }
            }
        })?;
        headers.extend(secret);
        let client = Client::builder()
            .user_agent(concat!("perennial/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .timeout(source.timeout.duration().max(Duration::from_secs(1)))
            .connect_timeout(Duration::from_secs(10).min(source.timeout.duration().max(Duration::from_secs(1))))
            // What the environment says about proxies is a surprise in a container, and would see the secrets.
            .no_proxy()
            // reqwest drops `Authorization` on the way to another host, but not headers such as `X-Shop-Token`.
            .redirect(redirect::Policy::custom(|attempt| {
                let same = attempt.previous().last().is_some_and(|from| from.origin() == attempt.url().origin());
                if same && attempt.previous().len() <= 5 { attempt.follow() } else { attempt.stop() }
            }))
            .build()
            .map_err(|error| SourceError::Broken { at: name.clone(), reason: error.to_string() })?;
        let max_bytes = usize::try_from(source.max_page_mib).unwrap_or(usize::MAX).saturating_mul(1 << 20);
        let pager = Pager::new(settings.pagination.clone(), settings.max_pages);
        let line = Line { client, name, address, retry: source.retry.clone(), max_bytes, clock, run: run.to_owned() };
        Ok(Self {
            line,
            stream,
            pager,
            window: Window::default(),
            effort: Effort::default(),
            server_time: None,
            practice: source.is_practice(),
            under_way: None,
            next: None,
        })
    }

    /// The address of a request. Values of parameters may be secrets or name people, so that errors show its path only.
    fn url(&self, ask: Ask, own: &HttpStream) -> Url {
        match ask {
            Ask::Url(url) => url,
            Ask::Params { params, with_own } => {
                let mut url = self.line.address.clone();
                {
                    let mut query = url.query_pairs_mut();
                    if with_own {
                        query.extend_pairs(&own.params);
                        let cursor = own.cursor.iter();
                        let since = cursor.clone().zip(&self.window.since).map(|(cursor, since)| (cursor.param.as_str(), since));
                        let until =
                            cursor.zip(&self.window.until).filter_map(|(cursor, until)| Some((cursor.until_param.as_deref()?, until)));
                        query.extend_pairs(since.chain(until));
                    }
                    query.extend_pairs(&params);
                }
                if url.query() == Some("") {
                    url.set_query(None);
                }
                url
            }
        }
    }

    fn send(&mut self, ask: Ask) -> Result<(), SourceError> {
        self.next = Some(ask.clone());
        let url = self.url(ask, http(&self.stream)?);
        let line = self.line.clone();
        self.under_way = Some(tokio::spawn(async move { line.fetch(url).await }));
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(task) = self.under_way.take() {
            task.abort();
        }
    }

    fn lost(&self, Lost { reason, hint }: Lost) -> SourceError {
        self.line.answer(reason, hint)
    }
}

impl Drop for HttpReader {
    fn drop(&mut self) {
        self.stop();
    }
}

fn http(stream: &Stream) -> Result<&HttpStream, SourceError> {
    match &stream.reads {
        Reads::Http(settings) => Ok(settings),
        _ => Err(SourceError::Broken { at: stream.name.clone(), reason: "something else was asked for over HTTP".to_owned() }),
    }
}

#[async_trait]
impl Reader for HttpReader {
    async fn start(&mut self, window: &Window, mark: Option<&Value>) -> Result<(), SourceError> {
        self.stop();
        self.window = window.clone();
        let settings = http(&self.stream)?;
        self.pager = Pager::new(settings.pagination.clone(), settings.max_pages);
        let place = mark.and_then(|mark| serde_json::from_value(mark.clone()).ok());
        // A link is followed on the stream's own host only, also one that was kept.
        let place = place.filter(|ask| !matches!(ask, Ask::Url(url) if url.origin() != self.line.address.origin()));
        self.send(place.unwrap_or_else(|| self.pager.first()))
    }

    async fn page(&mut self) -> Result<Option<Page>, SourceError> {
        let Some(task) = self.under_way.as_mut() else { return Ok(None) };
        let (answer, effort) = match task.await {
            Ok(done) => done,
            Err(error) => return Err(SourceError::Broken { at: self.stream.name.clone(), reason: error.to_string() }),
        };
        self.under_way = None;
        self.effort.requests += effort.requests;
        self.effort.retries += effort.retries;
        let Answer { url, link, date, mut body, bytes } = answer?;
        if self.server_time.is_none() && !self.practice {
            self.server_time = date;
        }
        let announced = self.pager.announced(&body).map_err(|lost| self.lost(lost))?;
        let place = path(&http(&self.stream)?.rows);
        let rows = take_rows(&mut body, &place).map_err(|reason| {
            self.line.answer(reason, "check the stream's `rows`: the dotted path to the list of rows, empty where the answer is the list")
        })?;
        let digest = page_digest(&self.stream, &rows);
        let seen = Seen { url: &url, link: &link, body: &body, rows: rows.len(), digest };
        match self.pager.next(&seen).map_err(|lost| self.lost(lost))? {
            Some(ask) => self.send(ask)?,
            None => self.next = None,
        }
        Ok(Some(Page { rows: PageRows::Json(rows), announced, bytes }))
    }

    fn mark(&self) -> Option<Value> {
        let ask = self.next.as_ref().filter(|_| !self.can_slip())?;
        serde_json::to_value(ask).ok()
    }

    fn effort(&self) -> Effort {
        self.effort
    }

    fn server_time(&self) -> Option<DateTime<Utc>> {
        self.server_time
    }

    fn can_slip(&self) -> bool {
        // The practice shop stands still while it is read.
        !self.practice && http(&self.stream).is_ok_and(|settings| settings.pagination.can_slip())
    }
}

/// Takes the list of rows out of an answer. A missing list is never taken for an empty one.
fn take_rows(body: &mut Value, place: &[String]) -> Result<Vec<Value>, String> {
    let dotted = place.join(".");
    let mut here = body;
    for step in place {
        here = here.get_mut(step).ok_or_else(|| format!("holds nothing at `{dotted}`, where the rows should be"))?;
    }
    match here {
        Value::Array(rows) => Ok(std::mem::take(rows)),
        _ if place.is_empty() => Err("is an object, where a list of rows should be".to_owned()),
        _ => Err(format!("holds no list at `{dotted}`, where the rows should be")),
    }
}

impl Line {
    fn answer(&self, reason: impl Into<String>, hint: impl Into<String>) -> SourceError {
        SourceError::Answer { at: self.name.clone(), path: self.address.path().to_owned(), reason: reason.into(), hint: hint.into() }
    }

    /// One page, asked for again while there is hope.
    async fn fetch(&self, url: Url) -> (Result<Answer, SourceError>, Effort) {
        let mut effort = Effort::default();
        let mut waited = Duration::ZERO;
        let mut attempt = 0;
        loop {
            attempt += 1;
            effort.requests += 1;
            let (reason, hint) = match self.attempt(&url).await {
                Ok(answer) => return (Ok(answer), effort),
                Err(Trouble::Lasting(error)) => return (Err(error), effort),
                Err(Trouble::Passing { reason, wait }) => (reason, wait),
            };
            let (at, path) = (self.name.clone(), url.path().to_owned());
            let dice = retry::jitter(&format!("{}{}{}", self.run, self.name, effort.requests), attempt);
            match self.retry.next(attempt, waited, hint, dice) {
                Next::GiveUp => return (Err(SourceError::Unavailable { at, path, reason, attempts: attempt }), effort),
                Next::TooLong(asked) => return (Err(SourceError::Impatient { at, path, reason, asked: asked.as_secs() }), effort),
                Next::Wait(wait) => {
                    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                    // Once is everyday life.
                    if attempt == 1 {
                        tracing::info!(stream = %at, path, reason, attempt, wait_ms, "will ask again");
                    } else {
                        tracing::warn!(stream = %at, path, reason, attempt, wait_ms, "will ask again");
                    }
                    effort.retries += 1;
                    waited += wait;
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn attempt(&self, url: &Url) -> Result<Answer, Trouble> {
        let passing = |reason: String| Trouble::Passing { reason, wait: None };
        let response = self.client.get(url.clone()).send().await.map_err(|error| passing(unsent(&error)))?;
        let status = response.status();
        let header = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() {
            let wait = header(RETRY_AFTER).and_then(|value| retry::retry_after(&value, header(DATE).as_deref(), self.clock.now()));
            return Err(Trouble::Passing { reason: format!("answered {}", status.as_u16()), wait });
        }
        if status.is_redirection() {
            let to = header(LOCATION).and_then(|to| url.join(&to).ok()).and_then(|to| to.host_str().map(str::to_owned));
            let reason = format!("redirects to {}; the credentials are not sent there", to.unwrap_or_else(|| "another place".to_owned()));
            return Err(Trouble::Lasting(self.answer(reason, "set `base_url` to the address it redirects to, if that is right")));
        }
        let url = response.url().clone();
        let date = header(DATE).and_then(|date| DateTime::parse_from_rfc2822(&date).ok()).map(|date| date.with_timezone(&Utc));
        let kind = header(CONTENT_TYPE).unwrap_or_default();
        let links: Vec<&str> = response.headers().get_all(LINK).iter().filter_map(|link| link.to_str().ok()).collect();
        let link = links.join(", ");
        let body = self.body(response).await?;
        if !status.is_success() {
            let (at, path) = (self.name.clone(), url.path().to_owned());
            return Err(Trouble::Lasting(SourceError::Refused { at, path, status: status.as_u16(), said: said(&body) }));
        }
        let start = body.iter().find(|byte| !byte.is_ascii_whitespace());
        if kind.contains("html") || start == Some(&b'<') {
            return Err(Trouble::Lasting(self.answer(
                "answered with a web page instead of JSON",
                "it is often a login page, a page about maintenance, or a wrong `base_url` or `path`; open the address in a browser",
            )));
        }
        let bytes = body.len();
        let body =
            serde_json::from_slice(&body).map_err(|error| passing(format!("gave a page that breaks off or is no JSON ({error})")))?;
        Ok(Answer { url, link, date, body, bytes })
    }

    /// The body, unpacked, and no more of it than allowed.
    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Trouble> {
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > self.max_bytes => {
                    let reason = format!("gave a page larger than {} MiB", self.max_bytes >> 20);
                    return Err(Trouble::Lasting(self.answer(reason, "ask for smaller pages, or raise the source's `max_page_mib`")));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body),
                Err(error) if error.is_timeout() => {
                    return Err(Trouble::Passing { reason: "took longer than `timeout` for a page".to_owned(), wait: None });
                }
                Err(_) => return Err(Trouble::Passing { reason: "broke off in the middle of a page".to_owned(), wait: None }),
            }
        }
    }
}

/// Why no answer came, without the address: it may hold what was asked for.
fn unsent(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.is_timeout() {
        "did not answer within `timeout`".to_owned()
    } else if error.is_connect() {
        format!("cannot be reached ({cause})")
    } else {
        format!("did not answer properly ({cause})")
    }
}

/// What a refusal says, where it is short JSON with a word of explanation.
fn said(body: &[u8]) -> String {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return String::new() };
    ["message", "error_description", "error", "errors", "title", "detail"]
        .iter()
        .find_map(|name| body.get(name))
        .map(|word| format!(": {}", values::shorten(&word.as_str().map_or_else(|| word.to_string(), str::to_owned))))
        .unwrap_or_default()
}
