//! Bulk jobs: the source is asked to prepare a result, asked again until it is ready, and the result is read line by line.
//!
//! The stream's own request starts the job; what it answers names it. After a crash while the result is read, the next pull goes on in the
//! same result, as long as the source keeps it; a job that was still under way is not known any more, and a new one is started.

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead, BufReader, Read},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use chrono::{DateTime, Utc};
use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, DATE, HeaderName, LOCATION, RETRY_AFTER},
    redirect,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, Receiver, Sender},
    task::JoinHandle,
    time::Instant,
};
use url::Url;

use super::{
    pages::path,
    placeholders::{escaped, filled},
    reader::{HttpReader, Line as Wire, Request, Trouble, parsed, said, unsent},
    settings::Method,
};
use crate::{
    config::{Period, nearest},
    source::{
        columns::{Column, Origin},
        error::SourceError,
        pull::{Effort, Reader, Window},
        retry,
        rows::{Line, Lines, Page, PageRows},
        settings::Stream,
        values,
    },
};

/// `pagination = { job = { … } }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Job {
    /// The dotted path of the job's id in the answer to the request that starts it.
    id: String,
    /// The dotted path at which that answer says why no job was started.
    refused: Option<String>,
    /// Words of such a refusal that mean that another job is under way, and that it is worth asking again.
    busy: Option<String>,
    /// How to see what became of it.
    poll: Poll,
    /// Where its result stands.
    result: JobResult,
}

/// What asks how far a job is; `{id}` stands for its id.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Poll {
    /// The path below `base_url`.
    path: String,
    /// `"get"` or `"post"`.
    #[serde(default)]
    method: Method,
    /// The JSON body, where it is posted.
    body: Option<Value>,
    /// The dotted path of the job's state in the answer.
    state: String,
    /// The states in which the result is there.
    done: Vec<String>,
    /// The states that no result comes after.
    #[serde(default)]
    failed: Vec<String>,
    /// The dotted path of what it failed of.
    error: Option<String>,
    /// The dotted path of the number of lines of the result.
    count: Option<String>,
    /// How long to wait before asking again.
    #[serde(default = "five_seconds")]
    every: Period,
    /// How long a job may take.
    #[serde(default = "an_hour")]
    at_most: Period,
}

fn five_seconds() -> Period {
    Period::seconds(5)
}

fn an_hour() -> Period {
    Period::seconds(3600)
}

/// Where the result stands, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct JobResult {
    /// The dotted path of its address in the last answer about the job; null there: no rows.
    url: Option<String>,
    /// Its path below `base_url`; `{id}` stands for the job's id.
    path: Option<String>,
    /// How it is written.
    format: Format,
    /// NDJSON: lines that are children of another.
    parent: Option<Parent>,
    /// Where the result comes in parts: how one leads to the next.
    token: Option<Token>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ResultFormat")]
enum Format {
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values under a header.
    Csv,
}

/// `parent = { id = "__parentId", list = "lineItems" }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parent {
    /// The field of a child that names its parent.
    id: String,
    /// The field of the parent that takes its children, as a list.
    list: String,
    /// The field of the parent that is named.
    #[serde(default = "id")]
    key: String,
}

fn id() -> String {
    "id".to_owned()
}

/// `token = { param = "locator", header = "Sforce-Locator", end = "null" }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PartToken")]
struct Token {
    /// The query parameter that takes it.
    param: String,
    /// The header of an answer that names the next one.
    header: String,
    /// What the header says behind the last part, where it says anything.
    end: Option<String>,
}

impl Job {
    /// What decides how the lines of a result are read.
    pub(crate) fn reading(&self) -> String {
        format!("{:?}{:?}", self.result.format, self.result.parent)
    }

    /// Whether anything but the first request posts.
    pub(crate) fn posts(&self) -> bool {
        self.poll.posts()
    }

    /// What can be known to be wrong before the first request: the setting, what is wrong with it, and what to write.
    pub(crate) fn check(&self) -> Result<(), (&'static [&'static str], String, &'static str)> {
        let Self { poll, result, .. } = self;
        let wrong = |place: &'static [&'static str], message: &str, hint: &'static str| Err((place, message.to_owned(), hint));
        let names_job = |path: &str, body: Option<&Value>| path.contains(ID) || body.is_some_and(|body| body.to_string().contains(ID));
        if !poll.path.starts_with('/') {
            return wrong(&["poll", "path"], "the path does not begin with `/`", "write it as it stands below `base_url`");
        }
        if !names_job(&poll.path, poll.body.as_ref()) {
            return wrong(&["poll"], "nothing says which job is asked for", "put `{id}` into its `path` or `body`");
        }
        if poll.body.is_some() && !poll.posts() {
            return wrong(&["poll", "body"], "a body is posted, and this asks with GET", "add `method = \"post\"`");
        }
        if poll.done.is_empty() {
            return wrong(&["poll", "done"], "no state says that the job is done", "name it, such as `done = [\"COMPLETED\"]`");
        }
        if let Some(both) = poll.done.iter().find(|state| poll.failed.contains(state)) {
            return Err((&["poll", "failed"], format!("`{both}` is done and failed at once"), "name each state once"));
        }
        if poll.every.duration().is_zero() {
            return wrong(&["poll", "every"], "the source would be asked without a pause", "write `every = \"2s\"` or more");
        }
        match (&result.url, &result.path) {
            (Some(_), None) => {}
            (None, Some(path)) if path.starts_with('/') => {}
            (None, Some(_)) => {
                return wrong(&["result", "path"], "the path does not begin with `/`", "write it as it stands below `base_url`");
            }
            _ => {
                let hint = "write `url`, the dotted path of the address in the answer, or `path`, where it stands below `base_url`";
                return wrong(&["result"], "the result has no place, or two", hint);
            }
        }
        if result.token.is_some() && result.path.is_none() {
            return wrong(&["result", "token"], "an address in an answer leads to the whole result", "parts are asked for by `path`");
        }
        if result.parent.is_some() && result.format == Format::Csv {
            return wrong(&["result", "parent"], "lines of CSV have no children", "leave it out, or read NDJSON");
        }
        Ok(())
    }
}

impl Poll {
    fn posts(&self) -> bool {
        self.method == Method::Post
    }
}

/// How far the lines of a result were given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    job: String,
    /// The part of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Lines of it that were given out, and of the parts before.
    lines: u64,
    before: u64,
    /// CSV: the header, which later parts need not repeat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    header: Vec<String>,
}

/// Rows of one job's result.
#[derive(Debug)]
pub(crate) struct JobReader {
    http: HttpReader,
    job: Job,
    pages: Option<Receiver<Result<(Page, Place), SourceError>>>,
    task: Option<JoinHandle<()>>,
    place: Option<Place>,
    told: Arc<Mutex<Told>>,
}

/// What the task tells beside the pages.
#[derive(Debug, Default)]
struct Told {
    effort: Effort,
    server_time: Option<DateTime<Utc>>,
}

impl JobReader {
    pub(crate) fn new(http: HttpReader, job: Job) -> Self {
        Self { http, job, pages: None, task: None, place: None, told: Arc::default() }
    }

    fn stop(&mut self) {
        self.pages = None;
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for JobReader {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Pages read ahead.
const AHEAD: usize = 2;

#[async_trait]
impl Reader for JobReader {
    async fn start(&mut self, window: &Window, mark: Option<&Value>) -> Result<(), SourceError> {
        self.stop();
        let place: Option<Place> = mark.and_then(|mark| serde_json::from_value(mark.clone()).ok());
        let (sender, pages) = mpsc::channel(AHEAD);
        let (start, wire) = self.http.first(window)?;
        let run = Run {
            start,
            wire,
            base: self.http.base().to_owned(),
            stream: Arc::clone(self.http.stream()),
            job: self.job.clone(),
            told: Arc::clone(&self.told),
            sender,
        };
        self.pages = Some(pages);
        self.place = None;
        self.task = Some(tokio::spawn(async move {
            let sender = run.sender.clone();
            if let Err(error) = run.go(place).await {
                // Where nobody listens any more, nobody needs the error either.
                let _ = sender.send(Err(error)).await;
            }
        }));
        Ok(())
    }

    async fn page(&mut self) -> Result<Option<Page>, SourceError> {
        let Some(pages) = &mut self.pages else { return Ok(None) };
        let Some((page, place)) = pages.recv().await.transpose()? else { return Ok(None) };
        self.place = Some(place);
        Ok(Some(page))
    }

    fn mark(&self) -> Option<Value> {
        serde_json::to_value(self.place.as_ref()?).ok()
    }

    fn effort(&self) -> Effort {
        self.told().effort
    }

    fn server_time(&self) -> Option<DateTime<Utc>> {
        self.told().server_time
    }
}

/// One job from its start to its last line.
struct Run {
    start: Request,
    wire: Wire,
    base: String,
    stream: Arc<Stream>,
    job: Job,
    told: Arc<Mutex<Told>>,
    sender: Sender<Result<(Page, Place), SourceError>>,
}

const AGAIN: &str = "run the command again, it starts a new job; the table is as before";

impl Run {
    async fn go(self, place: Option<Place>) -> Result<(), SourceError> {
        let id = match &place {
            Some(place) => place.job.clone(),
            None => self.begin().await?,
        };
        let answer = self.wait(&id).await?;
        let count = self.count(&answer)?;
        let address = match &self.job.result.url {
            None => None,
            Some(at) => match values::at(&answer, &path(at)) {
                Some(Value::String(text)) if !text.is_empty() => Some(self.address(text)?),
                // Nothing was found, and there is nothing to read.
                Some(Value::Null) | None if count.is_none_or(|count| count == 0) => return Ok(()),
                _ => return Err(self.wire.answer(format!("names no address of the result at `{at}`"), "check `url` under `result`")),
            },
        };
        let name = self.stream.name.clone();
        let reading = Reading::new(self, address, count, id)?;
        let read = tokio::task::spawn_blocking(move || reading.parts(place)).await;
        read.map_err(|error| SourceError::Broken { at: name, reason: error.to_string() })?
    }

    fn took(&self, effort: Effort) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.effort.requests += effort.requests;
        told.effort.retries += effort.retries;
    }

    async fn ask(&self, request: Request) -> Result<Value, SourceError> {
        let (answer, effort) = self.wire.fetch(request).await;
        self.took(effort);
        let answer = answer?;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.server_time = told.server_time.or(answer.date);
        Ok(answer.body)
    }

    /// Starts the job, and waits where another one has to end first.
    async fn begin(&self) -> Result<String, SourceError> {
        let until = Instant::now() + self.job.poll.at_most.duration();
        loop {
            let answer = self.ask(self.start.clone()).await?;
            let refusal = self.job.refused.as_ref().and_then(|at| values::at(&answer, &path(at))).filter(|why| is_something(why));
            if let Some(why) = refusal {
                let busy = self.job.busy.as_ref().is_some_and(|words| why.to_string().contains(words));
                if busy && Instant::now() < until {
                    tracing::info!(stream = %self.stream.name, "another job is under way at the source; asking again");
                    tokio::time::sleep(self.job.poll.every.duration()).await;
                    continue;
                }
                let reason = format!("started no job{}", said(why, self.wire.secrets.iter()));
                return Err(self
                    .wire
                    .answer(reason, "correct what is asked for; where another job is under way, run again once it is done"));
            }
            return match values::at(&answer, &path(&self.job.id)) {
                Some(Value::String(id)) if !id.is_empty() => Ok(id.clone()),
                Some(Value::Number(id)) => Ok(id.to_string()),
                _ => {
                    let reason = format!("names no job at `{}`{}", self.job.id, said(&answer, self.wire.secrets.iter()));
                    Err(self.wire.answer(reason, "check `id`: the dotted path of the job's id in the answer"))
                }
            };
        }
    }

    /// Waits until the result is there; the last answer about it.
    async fn wait(&self, id: &str) -> Result<Value, SourceError> {
        let poll = &self.job.poll;
        let url = parsed(&self.stream.name, &self.base, &named_in_path(&poll.path, id))?;
        let body = poll.body.as_ref().map(|body| named_in(body, id).to_string()).or_else(|| poll.posts().then(String::new));
        let until = Instant::now() + poll.at_most.duration();
        loop {
            let answer = self.ask(Request { url: url.clone(), body: body.clone(), linked: false }).await?;
            let state = match values::at(&answer, &path(&poll.state)) {
                Some(Value::String(state)) => state.clone(),
                Some(state @ (Value::Bool(_) | Value::Number(_))) => state.to_string(),
                _ => {
                    let reason = format!("says nothing of job {id} at `{}`", poll.state);
                    return Err(self.wire.answer(reason, "check `state` under `poll`: the dotted path of the job's state"));
                }
            };
            if poll.done.contains(&state) {
                return Ok(answer);
            }
            if poll.failed.contains(&state) {
                let why = poll.error.as_ref().and_then(|at| values::at(&answer, &path(at))).filter(|why| is_something(why));
                let why = why.map(|why| said(why, self.wire.secrets.iter())).unwrap_or_default();
                return Err(self.wire.answer(format!("ended job {id} as {state}{why}"), AGAIN));
            }
            if Instant::now() >= until {
                let reason = format!("had job {id} still at {state} after {}", poll.at_most);
                return Err(self
                    .wire
                    .answer(reason, "run again, or let it take longer with `at_most` under `poll`; the table is as before"));
            }
            tracing::debug!(stream = %self.stream.name, job = id, state, "the job is under way");
            tokio::time::sleep(poll.every.duration()).await;
        }
    }

    /// How many lines the result is said to hold.
    fn count(&self, answer: &Value) -> Result<Option<u64>, SourceError> {
        let Some(at) = &self.job.poll.count else { return Ok(None) };
        let count = values::at(answer, &path(at)).and_then(|count| match count {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_u64(),
        });
        match count {
            Some(count) => Ok(Some(count)),
            None => Err(self.wire.answer(format!("names no number of lines at `{at}`"), "check `count` under `poll`")),
        }
    }

    /// The address of a result. What is secret in our request must not travel readable, and what is in theirs neither.
    fn address(&self, text: &str) -> Result<Url, SourceError> {
        let url = self.wire.address.join(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        match url {
            Some(url) if url.scheme() == "https" || self.wire.address.scheme() == "http" => Ok(url),
            Some(_) => Err(self.wire.answer("gave an address of the result that is not encrypted".to_owned(), "let the source use https")),
            None => Err(self.wire.answer("gave an address of the result that is none".to_owned(), "check `url` under `result`")),
        }
    }
}

/// Rows a page.
const PAGE: usize = 8192;
/// A page of long rows is given out early.
const PAGE_BYTES: usize = 16 << 20;
/// A line longer than this is no row, and neither is a row with more children.
const LONGEST: usize = 64 << 20;
/// A store that sends nothing for so long has gone away.
const SILENCE: Duration = Duration::from_secs(60);
/// A download may take this long.
const DOWNLOAD: Duration = Duration::from_secs(6 * 3600);

/// A result being read, on a thread that may block.
struct Reading {
    run: Run,
    /// Where it stands, unless its path says it.
    address: Option<Url>,
    /// For addresses that are not the source's own: nobody there is to know who we are.
    plain: Client,
    count: Option<u64>,
    id: String,
    runtime: Handle,
}

/// Where in a result its lines are read.
struct Part {
    token: Option<String>,
    /// Lines of it that were given out earlier.
    skip: u64,
    /// Lines of the parts before.
    before: u64,
    header: Arc<Vec<String>>,
}

impl Reading {
    fn new(run: Run, address: Option<Url>, count: Option<u64>, id: String) -> Result<Self, SourceError> {
        let plain = Client::builder()
            .user_agent(concat!("perennial/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| SourceError::Broken { at: run.stream.name.clone(), reason: error.to_string() })?;
        Ok(Self { run, address, plain, count, id, runtime: Handle::current() })
    }

    fn wrong(&self, reason: impl Into<String>, hint: &str) -> SourceError {
        self.run.wire.answer(reason.into(), hint)
    }

    fn parts(&self, place: Option<Place>) -> Result<(), SourceError> {
        let mut part = match place {
            Some(place) => Part { token: place.token, skip: place.lines, before: place.before, header: place.header.into() },
            None => Part { token: None, skip: 0, before: 0, header: Arc::default() },
        };
        let mut seen = HashSet::new();
        loop {
            let url = self.url(part.token.as_deref())?;
            let download = Download::open(self, url)?;
            let next = self.next(&download.response)?;
            let mut text: Box<dyn BufRead + '_> = Box::new(BufReader::with_capacity(1 << 16, download));
            let begins = text.fill_buf().map_err(|error| self.unread(error))?;
            if begins.starts_with(b"\x1f\x8b") {
                text = Box::new(BufReader::with_capacity(1 << 16, flate2::bufread::MultiGzDecoder::new(text)));
            }
            if text.fill_buf().map_err(|error| self.unread(error))?.starts_with(b"\xef\xbb\xbf") {
                text.consume(3);
            }
            part.before += match self.run.job.result.format {
                Format::Ndjson => self.ndjson(text, &part)?,
                Format::Csv => self.csv(text, &mut part)?,
            };
            part.skip = 0;
            let Some(next) = next else { break };
            if !seen.insert(next.clone()) {
                return Err(
                    self.wrong("names the same part of the result twice", "check `token` under `result`; its parts would never end")
                );
            }
            part.token = Some(next);
        }
        match self.count {
            Some(announced) if part.before < announced => {
                Err(SourceError::Short { at: self.run.stream.name.clone(), announced, received: part.before })
            }
            _ => Ok(()),
        }
    }

    /// The address of a part.
    fn url(&self, token: Option<&str>) -> Result<Url, SourceError> {
        if let Some(address) = &self.address {
            return Ok(address.clone());
        }
        let result = &self.run.job.result;
        let path = named_in_path(result.path.as_deref().unwrap_or_default(), &self.id);
        let mut url = parsed(&self.run.stream.name, &self.run.base, &path)?;
        if let (Some(token), Some(rule)) = (token, &result.token) {
            url.query_pairs_mut().append_pair(&rule.param, token);
        }
        Ok(url)
    }

    /// What leads to the next part.
    fn next(&self, response: &Response) -> Result<Option<String>, SourceError> {
        let Some(rule) = &self.run.job.result.token else { return Ok(None) };
        let Some(value) = response.headers().get(&rule.header) else { return Ok(None) };
        let value = value.to_str().map_err(|_| self.wrong(format!("gave a header `{}` that is no text", rule.header), AGAIN))?;
        Ok(Some(value).filter(|value| !value.is_empty() && Some(*value) != rule.end.as_deref()).map(str::to_owned))
    }

    fn unread(&self, error: std::io::Error) -> SourceError {
        let words = error.to_string();
        match error.into_inner().map(|inner| inner.downcast::<SourceError>()) {
            Some(Ok(error)) => *error,
            _ => self.wrong(format!("gave a result that cannot be read ({words})"), AGAIN),
        }
    }

    /// An empty page.
    fn page(&self, header: &Arc<Vec<String>>, fields: &Arc<Vec<Option<usize>>>, nulls: &Arc<Vec<String>>) -> Lines {
        Lines {
            file: format!("job {}", self.id).into(),
            unit: "line",
            header: Arc::clone(header),
            fields: Arc::clone(fields),
            nulls: Arc::clone(nulls),
            rows: Vec::new(),
        }
    }

    fn send(&self, page: Lines, bytes: usize, part: &Part, lines: u64) -> Result<(), SourceError> {
        if page.rows.is_empty() {
            return Ok(());
        }
        let place =
            Place { job: self.id.clone(), token: part.token.clone(), lines, before: part.before, header: part.header.as_ref().clone() };
        let page = Page { rows: PageRows::Lines(page), announced: None, bytes };
        let gone = |_| SourceError::Broken { at: self.run.stream.name.clone(), reason: "nobody takes the rows any more".to_owned() };
        self.run.sender.blocking_send(Ok((page, place))).map_err(gone)
    }

    /// Says how many lines there were.
    fn ndjson(&self, mut text: impl BufRead, part: &Part) -> Result<u64, SourceError> {
        let empty = || self.page(&Arc::default(), &Arc::default(), &Arc::default());
        let (mut page, mut bytes, mut number, mut lines, mut buffer) = (empty(), 0, 0, 0, Vec::new());
        let mut family = self.run.job.result.parent.clone().map(Family::new);
        loop {
            buffer.clear();
            let read = text.by_ref().take(LONGEST as u64).read_until(b'\n', &mut buffer).map_err(|error| self.unread(error))?;
            if read == LONGEST {
                return Err(self.wrong(
                    format!("gave a line {} longer than {} MiB", number + 1, LONGEST >> 20),
                    "see whether the result holds one object a line",
                ));
            }
            let is_end = read == 0;
            number += u64::from(!is_end);
            let is_empty = buffer.iter().all(u8::is_ascii_whitespace);
            lines += u64::from(!is_empty);
            if !is_end && (number <= part.skip || is_empty) {
                continue;
            }
            let mut done = number;
            let row = if is_end {
                family.as_mut().and_then(Family::close)
            } else {
                bytes += read;
                let row = match serde_json::from_slice(&buffer) {
                    Ok(value) => (number, Line::Json(value)),
                    Err(error) => {
                        let text = String::from_utf8_lossy(&buffer).trim().to_owned();
                        (number, Line::Broken { reason: format!("is no JSON: {error}"), text })
                    }
                };
                match &mut family {
                    None => Some(row),
                    Some(family) => {
                        let complete = family.take(row, read).map_err(|Astray(parent)| {
                            let reason = format!("has line {number} belong to `{}`, which is not the row above it", values::shorten(&parent));
                            let hint = "let it write children right behind their parent (Shopify: `groupObjects: true`), so that no row is taken for whole too early";
                            self.wrong(reason, hint)
                        })?;
                        done = family.begins().map_or(number, |line| line - 1);
                        complete
                    }
                }
            };
            page.rows.extend(row);
            if is_end {
                self.send(page, bytes, part, number)?;
                return Ok(lines);
            }
            if page.rows.len() == PAGE || bytes > PAGE_BYTES {
                self.send(std::mem::replace(&mut page, empty()), std::mem::take(&mut bytes), part, done)?;
            }
        }
    }

    /// Says how many rows there were.
    fn csv(&self, text: impl Read, part: &mut Part) -> Result<u64, SourceError> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
        let unread = |error: csv::Error| match error.into_kind() {
            csv::ErrorKind::Io(error) => self.unread(error),
            other => self.wrong(format!("gave a result that is no CSV ({other:?})"), AGAIN),
        };
        let nulls = Arc::new(vec![String::new()]);
        let mut record = csv::ByteRecord::new();
        let (mut rows, mut bytes, mut is_first) = (0, 0, true);
        let mut fields = Arc::new(self.fields(&part.header)?);
        let mut page = self.page(&part.header, &fields, &nulls);
        while reader.read_byte_record(&mut record).map_err(unread)? {
            let line = record.position().map_or(0, csv::Position::line);
            let row = csv::StringRecord::from_byte_record(record.clone());
            if std::mem::take(&mut is_first)
                && let Ok(row) = &row
            {
                let names: Vec<String> = row.iter().map(|name| name.trim().to_owned()).collect();
                match same(&part.header, &names) {
                    Header::New => {
                        part.header = Arc::new(names);
                        fields = Arc::new(self.fields(&part.header)?);
                        page = self.page(&part.header, &fields, &nulls);
                        continue;
                    }
                    Header::Same => continue,
                    Header::Other => {
                        let reason = format!("names other columns in a later part of the result: {}", values::shorten(&names.join(", ")));
                        return Err(self.wrong(reason, AGAIN));
                    }
                    Header::None => {}
                }
            }
            rows += 1;
            if rows <= part.skip {
                continue;
            }
            bytes += record.as_slice().len();
            let expected = part.header.len();
            let row = match row {
                Err(error) => {
                    let text = error.into_byte_record().iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(",");
                    Line::Broken { reason: "holds characters that are not UTF-8".to_owned(), text }
                }
                Ok(row) if row.len() != expected => Line::Broken {
                    reason: format!("holds {} values, where {expected} are expected", row.len()),
                    text: row.iter().collect::<Vec<_>>().join(","),
                },
                Ok(row) => Line::Csv(row),
            };
            page.rows.push((line, row));
            if page.rows.len() == PAGE || bytes > PAGE_BYTES {
                let full = std::mem::replace(&mut page, self.page(&part.header, &fields, &nulls));
                self.send(full, std::mem::take(&mut bytes), part, rows)?;
            }
        }
        if part.header.is_empty() {
            return Err(self.wrong("gave a result that is empty, without even a header", AGAIN));
        }
        self.send(page, bytes, part, rows)?;
        Ok(rows)
    }

    /// Which field of a line each column takes.
    fn fields(&self, header: &[String]) -> Result<Vec<Option<usize>>, SourceError> {
        if header.is_empty() {
            return Ok(Vec::new());
        }
        let place = |column: &Column| {
            let Origin::Field(from, _) = &column.origin else { return Ok(None) };
            let place = header.iter().position(|name| name == from);
            place.map(Some).ok_or_else(|| {
                let hint = match nearest(from, header.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`? set `{} = {{ from = \"{near}\", type = … }}`", column.name),
                    None => "let the job ask for it, or remove the column".to_owned(),
                };
                self.wrong(format!("gave a result without `{from}`, which the column `{}` takes", column.name), &hint)
            })
        };
        self.run.stream.columns.list.iter().map(place).collect()
    }

    /// Asks for a result, as patiently as for anything else.
    async fn open(&self, url: &Url) -> Result<Response, SourceError> {
        let (response, effort) = self.run.wire.patiently(url.path(), || self.once(url.clone())).await;
        self.run.took(effort);
        response
    }

    /// The source's own addresses are asked as the source is; all others by a client that has no credentials.
    async fn once(&self, mut url: Url) -> Result<Response, Trouble> {
        let wire = &self.run.wire;
        let home = wire.home().await?;
        for hop in 0..HOPS {
            let linked = hop > 0 || self.address.is_some();
            let (request, token) = match !linked || url.origin() == home.origin() {
                true => {
                    let (request, _, token) = wire.prepared(&Request { url: url.clone(), body: None, linked }).await?;
                    (request, token)
                }
                false => (self.plain.get(url.clone()), None),
            };
            let sent = request.header(ACCEPT, "text/csv, application/x-ndjson, */*").timeout(DOWNLOAD).send();
            let passing = |reason: String, wait| Trouble::Passing { reason, wait };
            let response = match tokio::time::timeout(SILENCE, sent).await {
                Ok(response) => response.map_err(|error| passing(unsent(&error), None))?,
                Err(_) => return Err(passing("did not answer".to_owned(), None)),
            };
            let status = response.status();
            let header = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
            if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() {
                let wait = header(RETRY_AFTER).and_then(|value| retry::retry_after(value, header(DATE), wire.clock.now()));
                return Err(passing(format!("answered {}", status.as_u16()), wait));
            }
            if status.is_redirection() {
                let to = header(LOCATION).and_then(|to| response.url().join(to).ok());
                let to = to.filter(|to| to.scheme() == "https" || (to.scheme() == "http" && url.scheme() == "http"));
                url = to.ok_or_else(|| Trouble::Lasting(self.wrong("redirects the result to no address that can be followed", AGAIN)))?;
                continue;
            }
            if !status.is_success() {
                let (at, path) = (self.run.stream.name.clone(), url.path().to_owned());
                let refusal = SourceError::Refused { at, path, status: status.as_u16(), said: String::new() };
                return Err(match token {
                    Some(token) if status == StatusCode::UNAUTHORIZED => Trouble::Stale { token, refusal },
                    _ => Trouble::Lasting(refusal),
                });
            }
            if header(CONTENT_TYPE).is_some_and(|kind| kind.contains("html")) {
                return Err(Trouble::Lasting(self.wrong("answered with a web page instead of the result", AGAIN)));
            }
            return Ok(response);
        }
        Err(Trouble::Lasting(self.wrong("redirects the result again and again", AGAIN)))
    }
}

/// Redirects that are followed.
const HOPS: u32 = 5;

/// A result as bytes that can be waited for. What breaks off is asked for again and skipped as far as it came: a result that is done does
/// not change.
struct Download<'a> {
    reading: &'a Reading,
    url: Url,
    response: Response,
    chunk: Bytes,
    got: u64,
    breaks: u32,
}

impl<'a> Download<'a> {
    fn open(reading: &'a Reading, url: Url) -> Result<Self, SourceError> {
        let response = reading.runtime.block_on(reading.open(&url))?;
        Ok(Self { reading, url, response, chunk: Bytes::new(), got: 0, breaks: 0 })
    }

    /// The next bytes; `None` at the end.
    fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        // What is still to come of what was given out before.
        let mut behind = 0;
        loop {
            let next = self.reading.runtime.block_on(async { tokio::time::timeout(SILENCE, self.response.chunk()).await });
            match next {
                Ok(Ok(Some(mut chunk))) => {
                    let known = behind.min(chunk.len() as u64);
                    behind -= known;
                    chunk.advance(usize::try_from(known).unwrap_or(usize::MAX));
                    if !chunk.is_empty() {
                        self.breaks = 0;
                        self.got += chunk.len() as u64;
                        return Ok(Some(chunk));
                    }
                }
                Ok(Ok(None)) if behind == 0 => return Ok(None),
                Ok(Ok(None) | Err(_)) | Err(_) => {
                    self.breaks += 1;
                    if self.breaks >= self.reading.run.wire.retry.attempts.max(1) {
                        return Err(std::io::Error::other(format!("it broke off half way, {} times in a row", self.breaks)));
                    }
                    tracing::info!(stream = %self.reading.run.stream.name, "the result broke off half way; asking for it again");
                    self.response = self.reading.runtime.block_on(self.reading.open(&self.url)).map_err(std::io::Error::other)?;
                    behind = self.got;
                }
            }
        }
    }
}

impl Read for Download<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.chunk.is_empty() {
            match self.next()? {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let some = into.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut into[..some]);
        Ok(some)
    }
}

/// What the first line of a part is.
#[derive(Debug, PartialEq, Eq)]
enum Header {
    /// The first header there is.
    New,
    /// The one that is known, again.
    Same,
    /// One that names other columns, or in another order.
    Other,
    /// A row.
    None,
}

/// Later parts may repeat the header or not.
fn same(known: &[String], line: &[String]) -> Header {
    if known.is_empty() {
        return Header::New;
    }
    if known == line {
        return Header::Same;
    }
    // No row consists of names of columns.
    let names = line.iter().filter(|text| known.contains(text)).count();
    if names > 0 && names * 2 >= line.len() { Header::Other } else { Header::None }
}

/// A row's parent is not the row above.
#[derive(Debug)]
struct Astray(String);

/// The rows below one that names no parent, until the next such row.
struct Family {
    rule: Parent,
    rows: Vec<(u64, Line)>,
    /// Which row has which name.
    named: HashMap<String, usize>,
    /// Each row's parent.
    parents: Vec<usize>,
    bytes: usize,
}

impl Family {
    fn new(rule: Parent) -> Self {
        Self { rule, rows: Vec::new(), named: HashMap::new(), parents: Vec::new(), bytes: 0 }
    }

    /// The line of its first row.
    fn begins(&self) -> Option<u64> {
        self.rows.first().map(|(line, _)| *line)
    }

    /// Takes a row in; gives out the family before, where the row begins another, and what is no row at all.
    fn take(&mut self, row: (u64, Line), bytes: usize) -> Result<Option<(u64, Line)>, Astray> {
        if matches!(row.1, Line::Broken { .. }) {
            return Ok(Some(row));
        }
        let text = |row: &Line, field: &str| match row {
            Line::Json(value) => match value.get(field)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            },
            _ => None,
        };
        let parent = match text(&row.1, &self.rule.id) {
            Some(parent) => Some(*self.named.get(&parent).filter(|_| self.bytes + bytes < LONGEST).ok_or(Astray(parent))?),
            None => None,
        };
        let before = if parent.is_none() { self.close() } else { None };
        if let Some(name) = text(&row.1, &self.rule.key) {
            self.named.insert(name, self.rows.len());
        }
        self.parents.push(parent.unwrap_or(0));
        self.rows.push(row);
        self.bytes += bytes;
        Ok(before)
    }

    /// The row above with all below it in its lists.
    fn close(&mut self) -> Option<(u64, Line)> {
        self.named.clear();
        self.bytes = 0;
        let parents = std::mem::take(&mut self.parents);
        let mut below: Vec<Vec<Value>> = self.rows.iter().map(|_| Vec::new()).collect();
        let mut rows = std::mem::take(&mut self.rows);
        // From the last on, so that a row has its own children before it joins its parent.
        while let Some((number, mut line)) = rows.pop() {
            let mut children = below.pop().unwrap_or_default();
            children.reverse();
            if let Line::Json(Value::Object(fields)) = &mut line {
                let is_leaf = !rows.is_empty() && children.is_empty();
                match fields.get_mut(&self.rule.list) {
                    Some(Value::Array(list)) => list.append(&mut children),
                    _ if is_leaf => {}
                    _ => drop(fields.insert(self.rule.list.clone(), Value::Array(children))),
                }
            }
            if rows.is_empty() {
                return Some((number, line));
            }
            if let (Line::Json(value), Some(parent)) = (line, parents.get(rows.len())) {
                below[*parent].push(value);
            }
        }
        None
    }
}

/// What stands for the job's id.
const ID: &str = "{id}";

fn named_in_path(path: &str, job: &str) -> String {
    filled(path, &[ID], |_| escaped(job))
}

fn named_in(body: &Value, job: &str) -> Value {
    match body {
        Value::String(text) => Value::String(filled(text, &[ID], |_| job.to_owned())),
        Value::Array(list) => list.iter().map(|value| named_in(value, job)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), named_in(value, job))).collect(),
        other => other.clone(),
    }
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn families(lines: &[Value]) -> Result<Vec<(u64, Value)>, String> {
        let mut family = Family::new(Parent { id: "__parentId".to_owned(), list: "items".to_owned(), key: "id".to_owned() });
        let mut rows = Vec::new();
        for (number, line) in (1..).zip(lines) {
            rows.extend(family.take((number, Line::Json(line.clone())), 10).map_err(|Astray(parent)| parent)?);
        }
        rows.extend(family.close());
        Ok(rows.into_iter().map(|(number, line)| (number, if let Line::Json(value) = line { value } else { Value::Null })).collect())
    }

    #[test]
    fn children_join_the_list_of_their_parent_and_those_of_theirs() {
        let lines = [
            json!({"id": "a"}),
            json!({"id": "b", "items": "no list"}),
            json!({"id": "b1", "__parentId": "b"}),
            json!({"id": "b1x", "__parentId": "b1"}),
            json!({"n": 1, "__parentId": "b1"}),
            json!({"id": "b2", "__parentId": "b"}),
            json!({"id": "c", "__parentId": null, "items": [{"id": "own"}]}),
            json!({"__parentId": "c"}),
        ];
        let rows = families(&lines).unwrap();
        assert_eq!(rows.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 7]);
        assert_eq!(rows[0].1, json!({"id": "a", "items": []}));
        let b1 = json!({"id": "b1", "__parentId": "b", "items": [{"id": "b1x", "__parentId": "b1"}, {"n": 1, "__parentId": "b1"}]});
        assert_eq!(rows[1].1, json!({"id": "b", "items": [b1, {"id": "b2", "__parentId": "b"}]}));
        assert_eq!(rows[2].1["items"], json!([{"id": "own"}, {"__parentId": "c"}]));
        assert_eq!(families(&[]), Ok(vec![]));
    }

    #[test]
    fn a_child_that_is_not_behind_its_parent_is_no_ones() {
        assert_eq!(families(&[json!({"id": "a"}), json!({"id": "b"}), json!({"__parentId": "a"})]), Err("a".to_owned()));
        assert_eq!(families(&[json!({"__parentId": "a"})]), Err("a".to_owned()));
    }

    #[test]
    fn a_header_is_told_from_a_row() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let known = texts(&["Id", "Name", "Total"]);
        assert_eq!(same(&[], &known), Header::New);
        assert_eq!(same(&known, &known), Header::Same);
        assert_eq!(same(&known, &texts(&["Name", "Id", "Total"])), Header::Other);
        assert_eq!(same(&known, &texts(&["Id", "Name"])), Header::Other);
        assert_eq!(same(&known, &texts(&["7", "Name", "3"])), Header::None, "somebody called Name");
    }

    fn checked(text: &str) -> Result<(), String> {
        toml::from_str::<Job>(text)
            .map_err(|error| error.to_string())?
            .check()
            .map_err(|(place, message, _)| format!("{}: {message}", place.join(".")))
    }

    #[test]
    fn a_job_that_cannot_work_is_told_before_it_is_started() {
        let job = |poll: &str, result: &str| {
            checked(&format!(
                "id = \"id\"\npoll = {{ path = \"/jobs/{{id}}\", state = \"state\", done = [\"DONE\"]{poll} }}\nresult = {{ {result} }}"
            ))
        };
        let whole = "url = \"url\", format = \"ndjson\"";
        assert_eq!(job("", whole), Ok(()));
        assert_eq!(
            job("", "path = \"/jobs/{id}/rows\", format = \"csv\", token = { param = \"p\", header = \"H\", end = \"null\" }"),
            Ok(())
        );
        for (poll, result, words) in [
            (", path2 = 1", whole, "unknown field"),
            (", failed = [\"DONE\"]", whole, "poll.failed: `DONE` is done and failed at once"),
            (", every = \"0s\"", whole, "poll.every"),
            (", body = { id = \"{id}\" }", whole, "poll.body: a body is posted"),
            ("", "format = \"csv\"", "result: the result has no place"),
            ("", "url = \"u\", path = \"/r\", format = \"csv\"", "result: the result has no place, or two"),
            ("", "path = \"r\", format = \"csv\"", "result.path"),
            ("", "url = \"u\", format = \"csv\", parent = { id = \"p\", list = \"l\" }", "result.parent"),
            ("", "url = \"u\", format = \"csv\", token = { param = \"p\", header = \"H\" }", "result.token"),
        ] {
            let told = job(poll, result).unwrap_err();
            assert!(told.contains(words), "{told}");
        }
        let told = checked(&format!("id = \"id\"\npoll = {{ path = \"/job\", state = \"s\", done = [\"D\"] }}\nresult = {{ {whole} }}"))
            .unwrap_err();
        assert!(told.contains("poll: nothing says which job"), "{told}");
    }
}
