//! The requests themselves: one page after the other, the next already under way while the last is taken in.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::{
    Client, RequestBuilder, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LINK, LOCATION, RETRY_AFTER},
    redirect,
};
use serde_json::Value;
use tokio::task::JoinHandle;
use url::{Url, form_urlencoded};

use super::{
    auth::{AuthError, Credentials},
    budget::{Budget, Purse},
    listing::{flagged, span},
    pace::{Pace, Rate},
    pages::{Ask, Lost, Pager, Pagination, Place, Seen, path},
    placeholders::Filling,
    settings::{ErrorInside, HttpSettings, HttpStream, Method},
    token::{Desk, Held, Vault},
};
use crate::{
    clock::SharedClock,
    config::Period,
    secret::{Secret, SecretError},
    source::{
        error::{SourceError, StreamName},
        intake::{named, page_digest},
        json::{Document, Json, JsonRows},
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
    pub(crate) rate: Option<Rate>,
    pub(crate) budget: Option<Budget>,
    pub(crate) at_once: usize,
    pub(super) error: Option<ErrorInside>,
    /// For what is sent outside of a pull; its streams share that of their host.
    pub(super) pace: Option<Arc<Pace>>,
    /// Its tokens, shared by its streams.
    pub(super) held: Arc<tokio::sync::Mutex<Held>>,
    clients: Arc<Mutex<Vec<(HeaderMap, bool, Client)>>>,
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
        settings.auth.check().map_err(|message| ("auth", message))?;
        settings.rate.as_ref().map_or(Ok(()), Rate::check).map_err(|message| ("rate", message))?;
        settings.budget.as_ref().map_or(Ok(()), Budget::check).map_err(|message| ("budget", message))?;
        if settings.error.as_ref().is_some_and(|error| error.path.is_none() && error.passing.is_empty()) {
            return Err(("error", "it names neither where errors stand nor which of them pass".to_owned()));
        }
        if !(1..=16).contains(&settings.at_once) {
            return Err(("at_once", "at least one stream is pulled at once, and at most 16".to_owned()));
        }
        Ok(Self {
            base_url,
            timeout: settings.timeout,
            auth: settings.auth.clone(),
            headers,
            retry: settings.retry.clone(),
            max_page_mib: settings.max_page_mib,
            error: settings.error.clone(),
            rate: settings.rate.clone(),
            pace: settings.rate.clone().map(|rate| Arc::new(Pace::new([rate]))),
            budget: settings.budget.clone(),
            at_once: settings.at_once,
            held: Arc::default(),
            clients: Arc::default(),
        })
    }

    /// The host it asks, with its port: rates are the host's.
    pub(crate) fn host(&self) -> String {
        let Self { base_url, .. } = self;
        let port = base_url.port_or_known_default().unwrap_or_default();
        format!("{}:{port}", base_url.host_str().unwrap_or_default())
    }

    /// Whether it belongs to the practice shop.
    pub(crate) fn is_practice(&self) -> bool {
        self.base_url.scheme() == PRACTICE
    }

    /// Whether it is this machine itself.
    pub(crate) fn is_near(&self) -> bool {
        is_near(&self.base_url)
    }

    /// Whether secrets would travel readable for everyone on the way.
    pub(crate) fn is_exposed(&self) -> bool {
        self.base_url.scheme() == "http" && !self.is_near() && !self.auth.secrets().is_empty()
    }

    /// Reads the secrets of the project in `root`.
    pub(super) fn credentials(&self, name: &StreamName, root: &Path) -> Result<Credentials, SourceError> {
        self.auth.credentials(root).map_err(|error| match error {
            AuthError::Secret(error) => SourceError::Secret { at: name.clone(), error },
            AuthError::Key(reason) => SourceError::Key { at: name.clone(), reason },
            AuthError::Unsendable => {
                let error = std::io::Error::other("it holds characters that no header can carry");
                SourceError::Secret { at: name.clone(), error: SecretError::File("auth".into(), error) }
            }
        })
    }

    fn patience(&self) -> Duration {
        self.timeout.duration().max(Duration::from_secs(1))
    }

    /// What sends requests with these headers. Streams share it, its connections, and the certificates it has loaded.
    fn client(&self, headers: HeaderMap, posts: bool) -> Result<Client, String> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((.., client)) = clients.iter().find(|(known, posting, _)| *known == headers && *posting == posts) {
            return Ok(client.clone());
        }
        let timeout = self.patience();
        let client = Client::builder()
            .user_agent(concat!("perennial/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers.clone())
            .timeout(timeout)
            .connect_timeout(Duration::from_secs(10).min(timeout))
            // What the environment says about proxies is a surprise in a container, and would see the secrets.
            .no_proxy()
            // reqwest drops `Authorization` on the way to another host, but not headers such as `X-Shop-Token`; and a redirected POST
            // arrives as a GET.
            .redirect(redirect::Policy::custom(move |attempt| {
                let same = attempt.previous().last().is_some_and(|from| from.origin() == attempt.url().origin());
                if same && !posts && attempt.previous().len() <= 5 { attempt.follow() } else { attempt.stop() }
            }))
            .build()
            .map_err(|error| error.to_string())?;
        // Headers change where a secret was changed: what was sent before is not sent again.
        clients.retain(|(.., posting, _)| *posting != posts);
        clients.push((headers, posts, client.clone()));
        Ok(client)
    }

    fn base(&self, name: &StreamName, practice: Option<&Url>) -> Result<String, SourceError> {
        let base = if self.is_practice() {
            let shop = practice.ok_or_else(|| SourceError::NoPractice { at: name.clone() })?;
            format!("{}/{}{}", shop.as_str().trim_end_matches('/'), self.base_url.host_str().unwrap_or_default(), self.base_url.path())
        } else {
            self.base_url.to_string()
        };
        Ok(base.trim_end_matches('/').to_owned())
    }
}

/// What the streams of one run share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared {
    /// Where refresh tokens are kept.
    pub(crate) vault: Option<Vault>,
    /// The pace of the source's host.
    pub(crate) pace: Option<Arc<Pace>>,
    /// What is left of the source's budget.
    pub(crate) purse: Option<Arc<Purse>>,
}

/// Pages of one stream.
#[derive(Debug)]
pub(crate) struct HttpReader {
    line: Line,
    stream: Arc<Stream>,
    base: String,
    pager: Pager,
    window: Window,
    effort: Effort,
    server_time: Option<DateTime<Utc>>,
    practice: bool,
    under_way: Option<JoinHandle<(Result<Answer, SourceError>, Effort)>>,
    /// What is asked by it.
    next: Option<Ask>,
    /// Flags of `truncated` that no row had.
    told_missing: HashSet<String>,
}

/// What one request needs; cheap to clone, so that a request can run beside the taking in.
#[derive(Debug, Clone)]
pub(super) struct Line {
    client: Client,
    name: StreamName,
    pub(super) address: Url,
    pub(super) retry: Retry,
    max_bytes: usize,
    /// The path to the rows in an answer; none where answers are about a job.
    rows: Option<Arc<[String]>>,
    pub(super) clock: SharedClock,
    run: String,
    error: Option<ErrorInside>,
    shared: Shared,
    query: Option<(String, Secret)>,
    desk: Option<Desk>,
    /// What no message may repeat.
    pub(super) secrets: Arc<[Secret]>,
}

/// One request, without what says who we are.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) url: Url,
    /// What is posted; else it is a `GET`.
    pub(super) body: Option<String>,
    /// Whether the source itself named the address.
    pub(super) linked: bool,
}

/// A page as it came.
#[derive(Debug)]
pub(super) struct Answer {
    url: Url,
    link: String,
    headers: HeaderMap,
    pub(super) date: Option<DateTime<Utc>>,
    /// The list of rows in it, or why there is none.
    rows: Result<JsonRows, String>,
    /// All but the rows.
    pub(super) body: Value,
    bytes: usize,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may go better next time.
    Passing { reason: String, wait: Option<Duration> },
    /// The token was refused; it may go better with another one.
    Stale { token: Secret, refusal: SourceError },
    /// It will not.
    Lasting(SourceError),
}

impl HttpReader {
    /// A reader of a stream, with the secrets of the project in `root`.
    pub(crate) fn new(
        source: &HttpSource,
        stream: Arc<Stream>,
        practice: Option<&Url>,
        root: &Path,
        clock: SharedClock,
        run: &str,
        shared: Shared,
    ) -> Result<Self, SourceError> {
        let name = stream.name.clone();
        let settings = http(&stream)?;
        let base = source.base(&name, practice)?;
        let address = parsed(&name, &base, &settings.path)?;
        let posts = settings.method == Method::Post || matches!(&settings.pagination, Pagination::Job(job) if job.posts());
        let mut headers = source.headers.clone();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if posts {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let Credentials { headers: secret, query, grant, secrets } = source.credentials(&name, root)?;
        headers.extend(secret);
        let client = source.client(headers, posts).map_err(|reason| SourceError::Broken { at: name.clone(), reason })?;
        let desk = grant
            .map(|grant| Desk::new(name.clone(), grant, Arc::clone(&source.held), shared.vault.clone(), source.patience()))
            .transpose()?;
        let max_bytes = usize::try_from(source.max_page_mib).unwrap_or(usize::MAX).saturating_mul(1 << 20);
        let pager = Pager::new(settings.pagination.clone(), settings.max_pages);
        let line = Line {
            client,
            name,
            address,
            retry: source.retry.clone(),
            max_bytes,
            rows: (!matches!(settings.pagination, Pagination::Job(_))).then(|| path(&settings.rows).into()),
            clock,
            run: run.to_owned(),
            error: source.error.clone(),
            shared,
            query,
            desk,
            secrets: secrets.into(),
        };
        Ok(Self {
            line,
            stream,
            base,
            pager,
            window: Window::default(),
            effort: Effort::default(),
            server_time: None,
            practice: source.is_practice(),
            under_way: None,
            next: None,
            told_missing: HashSet::new(),
        })
    }

    /// The first request of a window, and what sends it; for those that ask on in another way.
    pub(super) fn first(&mut self, window: &Window) -> Result<(Request, Line), SourceError> {
        self.window = window.clone();
        let settings = http(&self.stream)?;
        let ask = Pager::new(settings.pagination.clone(), settings.max_pages).first();
        Ok((self.request(ask, settings)?, self.line.clone()))
    }

    /// What all paths stand below.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// A request. Values of parameters may be secrets or name people, so that errors show the address's path only.
    fn request(&self, ask: Ask, own: &HttpStream) -> Result<Request, SourceError> {
        let (params, with_own, place) = match ask {
            Ask::Url(url) => return Ok(Request { url, body: None, linked: true }),
            Ask::Params { params, with_own, place } => (params, with_own, place),
        };
        let Place { token, after, tie, since } = &place;
        let since = since.as_deref().or(self.window.since.as_deref());
        let until = self.window.until.as_deref();
        let after = after.as_deref().or(since);
        let filling = Filling { since, until, token: token.as_deref(), after, tie: tie.as_deref() };
        let mut url = parsed(&self.line.name, &self.base, &filling.path(&own.path))?;
        {
            let mut query = url.query_pairs_mut();
            if with_own {
                query.extend_pairs(own.params.iter().filter_map(|(name, text)| Some((name, filling.text(text)?))));
                if let Some(cursor) = &own.cursor {
                    query.extend_pairs(cursor.param.as_deref().zip(since));
                    query.extend_pairs(cursor.until_param.as_deref().zip(until));
                }
            }
            query.extend_pairs(&params);
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        let body = own.body.as_ref().map(|body| filling.body(body).to_string());
        Ok(Request { url, body: body.or_else(|| (own.method == Method::Post).then(String::new)), linked: false })
    }

    /// Sees that no row says of itself that it is not whole.
    fn whole(&mut self, rows: &JsonRows) -> Result<(), SourceError> {
        for dotted in &http(&self.stream)?.truncated {
            let path = path(dotted);
            let mut found = rows.len() == 0;
            for row in rows.iter() {
                let flag = flagged(row, &path).map_err(|()| {
                    let reason = format!("holds neither true nor false at `{dotted}` of row {}", named(&self.stream, row));
                    self.line.answer(reason, "correct the stream's `truncated`")
                })?;
                if flag == Some(true) {
                    return Err(SourceError::CutOff { at: self.stream.name.clone(), key: named(&self.stream, row), path: dotted.clone() });
                }
                found |= flag.is_some();
            }
            if !found && self.told_missing.insert(dotted.clone()) {
                tracing::warn!(stream = %self.stream.name, path = dotted, "a flag of `truncated` is in no row of this page; what is cut off would go unseen");
            }
        }
        Ok(())
    }

    fn send(&mut self, ask: Ask) -> Result<(), SourceError> {
        // Some systems repeat in their links how they were asked, secrets included; what is kept to go on from has none.
        let ask = match ask {
            Ask::Url(url) => Ask::Url(self.line.without_secret(url)),
            params => params,
        };
        let request = self.request(ask.clone(), http(&self.stream)?)?;
        self.next = Some(ask);
        let line = self.line.clone();
        self.under_way = Some(tokio::spawn(async move { line.fetch(request).await }));
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
        // A link is followed on the stream's own host only, also one that was kept. Where a token says which that is, it is seen later.
        let placed = self.line.desk.as_ref().is_some_and(Desk::places);
        let place = place.filter(|ask| placed || !matches!(ask, Ask::Url(url) if url.origin() != self.line.address.origin()));
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
        let Answer { url, link, headers, date, rows, body, bytes } = answer?;
        if self.server_time.is_none() && !self.practice {
            self.server_time = date;
        }
        let announced = self.pager.announced(&body, &headers).map_err(|lost| self.lost(lost))?;
        let rows = rows.map_err(|reason| {
            self.line.answer(reason, "check the stream's `rows`: the dotted path to the list of rows, empty where the answer is the list")
        })?;
        self.whole(&rows)?;
        let digest = page_digest(&self.stream, &rows);
        let rule = &http(&self.stream)?.pagination;
        let span = if rule.ascends() { span(&self.stream, &rows, rule.tie()).map_err(|lost| self.lost(lost))? } else { None };
        let last = rows.iter().last().map(Json::to_value);
        let seen = Seen { url: &url, link: &link, headers: &headers, body: &body, rows: rows.len(), last: last.as_ref(), digest, span };
        match self.pager.next(&seen).map_err(|lost| self.lost(lost))? {
            Some(ask) => {
                self.send(ask)?;
                // It goes out before this page is taken in: what a thread has just begun, no other thread takes over.
                tokio::task::yield_now().await;
            }
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

    fn ascends(&self) -> bool {
        http(&self.stream).is_ok_and(|settings| settings.pagination.ascends())
    }
}

pub(super) fn parsed(name: &StreamName, base: &str, path: &str) -> Result<Url, SourceError> {
    format!("{base}{path}").parse().map_err(|error: url::ParseError| SourceError::Answer {
        at: name.clone(),
        path: path.to_owned(),
        reason: format!("is no address: {error}"),
        hint: "correct `base_url` or the stream's `path`".to_owned(),
    })
}

/// Whether an address is on this machine itself.
pub(super) fn is_near(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// The address as it is below another scheme, host, port and path.
pub(super) fn below(base: &Url, url: &Url) -> Url {
    let mut moved = base.clone();
    moved.set_path(&format!("{}{}", base.path().trim_end_matches('/'), url.path()));
    moved.set_query(url.query());
    moved
}

impl Line {
    pub(super) fn answer(&self, reason: impl Into<String>, hint: impl Into<String>) -> SourceError {
        SourceError::Answer { at: self.name.clone(), path: self.address.path().to_owned(), reason: reason.into(), hint: hint.into() }
    }

    /// One page, asked for again while there is hope.
    pub(super) async fn fetch(&self, request: Request) -> (Result<Answer, SourceError>, Effort) {
        self.patiently(request.url.path(), || self.attempt(&request)).await
    }

    /// What `attempt` brings, tried again while there is hope.
    pub(super) async fn patiently<T, F>(&self, path: &str, attempt_it: impl Fn() -> F + Send + Sync) -> (Result<T, SourceError>, Effort)
    where
        F: Future<Output = Result<T, Trouble>> + Send,
    {
        let mut effort = Effort::default();
        let mut waited = Duration::ZERO;
        let mut attempt = 0;
        let mut renewed = false;
        loop {
            attempt += 1;
            effort.requests += 1;
            let (reason, hint) = match attempt_it().await {
                Ok(answer) => return (Ok(answer), effort),
                Err(Trouble::Lasting(error)) => {
                    // It was not sent.
                    effort.requests -= u64::from(matches!(error, SourceError::Budget { .. }));
                    return (Err(error), effort);
                }
                Err(Trouble::Stale { refusal, .. }) if renewed => return (Err(refusal), effort),
                Err(Trouble::Stale { token, .. }) => {
                    // That is no failure of the source: its tokens end when they like.
                    if let Some(desk) = &self.desk {
                        desk.forget(&token).await;
                    }
                    renewed = true;
                    attempt -= 1;
                    effort.retries += 1;
                    continue;
                }
                Err(Trouble::Passing { reason, wait }) => (reason, wait),
            };
            let (at, path) = (self.name.clone(), path.to_owned());
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

    /// What the source's own addresses stand below.
    pub(super) async fn home(&self) -> Result<Url, Trouble> {
        let access = match &self.desk {
            Some(desk) => Some(desk.token(self.clock.now()).await?),
            None => None,
        };
        Ok(access.and_then(|access| access.base).unwrap_or_else(|| self.address.clone()))
    }

    /// A request with what says who we are, its address, and the token in it.
    pub(super) async fn prepared(&self, Request { url, body, linked }: &Request) -> Result<(RequestBuilder, Url, Option<Secret>), Trouble> {
        let access = match &self.desk {
            Some(desk) => Some(desk.token(self.clock.now()).await?),
            None => None,
        };
        let url = match access.as_ref().and_then(|access| access.base.as_ref()) {
            Some(base) if *linked && url.origin() != base.origin() => {
                let hint = "run the command again; if it stays so, the `base_url` of `auth` names another host than the source's links";
                return Err(Trouble::Lasting(self.answer("lies on another host than the API; the token is not sent there", hint)));
            }
            Some(base) if !linked => &below(base, url),
            _ => url,
        };
        let token = access.map(|access| access.token);
        let mut sent = url.clone();
        if let Some((name, value)) = &self.query {
            sent.query_pairs_mut().append_pair(name, value.reveal());
        }
        let mut request = match body {
            Some(body) => self.client.post(sent).body(body.clone()),
            None => self.client.get(sent),
        };
        if let Some((desk, token)) = self.desk.as_ref().zip(token.as_ref()) {
            let (name, value) =
                desk.header(token).map_err(|_| Trouble::Lasting(self.answer("got a token that no header can carry", "check `auth`")))?;
            request = request.header(name, value);
        }
        if let Some(pace) = &self.shared.pace {
            pace.turn().await;
        }
        if let Some(purse) = &self.shared.purse {
            let at = self.name.clone();
            purse.pay().map_err(|spent| Trouble::Lasting(SourceError::Budget { at, spent, goes_on: false }))?;
        }
        Ok((request, url.clone(), token))
    }

    async fn attempt(&self, request: &Request) -> Result<Answer, Trouble> {
        let passing = |reason: String| Trouble::Passing { reason, wait: None };
        let (request, url, token) = self.prepared(request).await?;
        let response = request.send().await.map_err(|error| {
            let reason = unsent(&error);
            // It will be no other in a minute.
            if reason.contains("certificate") {
                let hint = "see whether `base_url` names the right host, and whether its certificate is valid and signed by an authority that this machine knows";
                return Trouble::Lasting(self.answer(reason, hint));
            }
            passing(reason)
        })?;
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
        let url = self.without_secret(response.url().clone());
        let date = header(DATE).and_then(|date| DateTime::parse_from_rfc2822(&date).ok()).map(|date| date.with_timezone(&Utc));
        let kind = header(CONTENT_TYPE).unwrap_or_default();
        let links: Vec<&str> = response.headers().get_all(LINK).iter().filter_map(|link| link.to_str().ok()).collect();
        let link = links.join(", ");
        let headers = response.headers().clone();
        let body = self.body(response).await?;
        if !status.is_success() {
            let (at, path) = (self.name.clone(), url.path().to_owned());
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let said = said(&body, self.secrets.iter().chain(&token));
            if self.error.as_ref().is_some_and(|rule| rule.passes(&body)) {
                return Err(passing(format!("answered {}{said}", status.as_u16())));
            }
            let refusal = SourceError::Refused { at, path, status: status.as_u16(), said };
            return Err(match token {
                Some(token) if status == StatusCode::UNAUTHORIZED => Trouble::Stale { token, refusal },
                _ => Trouble::Lasting(refusal),
            });
        }
        let bytes = body.len();
        let mut body = match String::from_utf8(body) {
            Ok(text) => text,
            // It ends in the middle of a letter.
            Err(error) if error.utf8_error().error_len().is_none() => return Err(passing("gave a page that breaks off".to_owned())),
            Err(error) => {
                let first = error.utf8_error().valid_up_to() + 1;
                let reason = format!("gave a page with bytes that are not UTF-8, the first at byte {first}");
                return Err(Trouble::Lasting(self.answer(reason, "JSON is UTF-8 (RFC 8259); let the system send it so")));
            }
        };
        body.drain(..body.len() - body.trim_start_matches('\u{feff}').trim_start().len());
        if kind.contains("html") || body.starts_with('<') {
            return Err(Trouble::Lasting(self.answer(
                "answered with a web page instead of JSON",
                "it is often a login page, a page about maintenance, or a wrong `base_url` or `path`; open the address in a browser",
            )));
        }
        let document = Document::parse(body).map_err(|error| passing(format!("gave a page that breaks off or is no JSON ({error})")))?;
        let (rows, body) = match &self.rows {
            Some(place) => JsonRows::of(document, place),
            None => (Ok(JsonRows::default()), document.to_value()),
        };
        if let Some(pace) = &self.shared.pace {
            pace.told(&headers, &body);
        }
        if let Some((error, passes)) = self.error.as_ref().and_then(|rule| rule.find(&body)) {
            let reason = format!("answered 200 with an error{}", said(error, self.secrets.iter().chain(&token)));
            return Err(match passes {
                true => passing(reason),
                false => Trouble::Lasting(
                    self.answer(reason, "correct what is asked for; if it passes by itself, name its code under `passing`"),
                ),
            });
        }
        Ok(Answer { url, link, headers, date, rows, body, bytes })
    }

    /// The address as it may be kept and shown.
    fn without_secret(&self, mut url: Url) -> Url {
        let Some((name, query)) = self.query.as_ref().map(|(name, _)| name).zip(url.query().map(str::to_owned)) else { return url };
        let own = |pair: &&str| form_urlencoded::parse(pair.as_bytes()).next().is_none_or(|(key, _)| key != *name);
        let kept: Vec<&str> = query.split('&').filter(own).collect();
        url.set_query(Some(kept.join("&")).filter(|kept| !kept.is_empty()).as_deref());
        url
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

impl ErrorInside {
    /// The error in an answer, and whether it passes.
    pub(super) fn find<'a>(&self, body: &'a Value) -> Option<(&'a Value, bool)> {
        let error = values::at(body, &path(self.path.as_ref()?)).filter(|error| match error {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            _ => true,
        })?;
        Some((error, self.passes(error)))
    }

    /// Whether an error names one of the words that mean that it passes.
    pub(super) fn passes(&self, error: &Value) -> bool {
        match error {
            Value::String(text) => self.passing.contains(text),
            Value::Array(list) => list.iter().any(|inner| self.passes(inner)),
            Value::Object(fields) => fields.values().any(|inner| self.passes(inner)),
            _ => false,
        }
    }
}

/// Why no answer came, without the address: it may hold what was asked for.
pub(super) fn unsent(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.is_timeout() {
        "did not answer within `timeout`".to_owned()
    } else if error.is_connect() && cause.to_string().contains("certificate") {
        format!("shows a certificate that is not trusted ({cause})")
    } else if error.is_connect() {
        format!("cannot be reached ({cause})")
    } else {
        format!("did not answer properly ({cause})")
    }
}

/// What a refusal says, where there is a word of explanation; without the secrets it repeats.
pub(super) fn said<'a>(body: &Value, secrets: impl Iterator<Item = &'a Secret>) -> String {
    let Some(word) = word(body) else { return String::new() };
    // One letter is no secret, and taking it out would leave no word readable.
    let secrets = secrets.map(Secret::reveal).filter(|secret| secret.len() > 3);
    format!(": {}", values::shorten(&secrets.fold(word, |word, secret| word.replace(secret, "••••"))))
}

/// The most telling word in an error; of several errors, the first one's.
fn word(error: &Value) -> Option<String> {
    const NAMES: [&str; 6] = ["message", "error_description", "detail", "error", "errors", "title"];
    match error {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => list.first().and_then(word),
        Value::Object(fields) => {
            let inner = NAMES.iter().find_map(|name| fields.get(*name).filter(|inner| !inner.is_null()))?;
            word(inner).or_else(|| Some(inner.to_string()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_inside_an_answer_is_found_and_told_from_one_that_passes() {
        let rule = ErrorInside { path: Some("errors".to_owned()), passing: vec!["THROTTLED".to_owned()] };
        let find = |body: &Value| rule.find(body).map(|(error, passes)| (said(error, [].iter()), passes));
        let error = |code: &str| json!({"data": null, "errors": [{"message": "no", "extensions": {"code": code}}]});
        assert_eq!(find(&error("THROTTLED")), Some((": no".to_owned(), true)));
        assert_eq!(find(&error("ACCESS_DENIED")), Some((": no".to_owned(), false)));
        assert_eq!(find(&json!({"errors": "slow down"})), Some((": slow down".to_owned(), false)));
        assert!(rule.passes(&json!([{"errorCode": "THROTTLED"}])) && !rule.passes(&json!({"THROTTLED": 1})));
        for none in [json!({}), json!({"errors": null}), json!({"errors": []}), json!({"errors": ""}), json!([])] {
            assert_eq!(find(&none), None, "{none}");
        }
    }

    #[test]
    fn words_do_not_repeat_a_secret_not_even_in_part() {
        let secrets = [Secret::new("s3cret"), Secret::new("e")];
        assert_eq!(said(&json!({"message": "the key s3cret is wrong"}), secrets.iter()), ": the key •••• is wrong");
        let none: [Secret; 0] = [];
        for (body, word) in [
            (
                json!({"errors": [{"id": "4c1f", "code": "invalid", "title": "Invalid input", "detail": "no such field"}]}),
                ": no such field",
            ),
            (json!({"error": {"type": "invalid_request_error", "message": "no such id"}}), ": no such id"),
            (json!({"errors": {"name": ["is too long"]}}), ": {\"name\":[\"is too long\"]}"),
            (json!({"message": null, "title": "gone"}), ": gone"),
            (json!(["gone"]), ": gone"),
            (json!({"status": 400}), ""),
        ] {
            assert_eq!(said(&body, none.iter()), word, "{body}");
        }
        let long = format!("{}s3cret", "x".repeat(57));
        assert!(!said(&json!([{"message": long}]), secrets.iter()).contains("s3c"));
    }
}
