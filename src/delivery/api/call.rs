//! One call, its phases told apart.
//!
//! | it fails | the message |
//! |---|---|
//! | before there is a connection, or before its body began to leave | certainly did not arrive: `Deferred`, tried again |
//! | because the receiver lies where it must not ([`Guard`]) | certainly did not arrive: `NotSent`, and nothing more leaves |
//! | later | nobody knows: where the receiver honours idempotency it is told again at once, under the same id; else, and then, `Unknown` |
//!
//! No redirect is followed, no proxy asked, nothing repeated by the client itself, and no connection used twice: a stale one would break
//! with the call begun.

use std::{
    convert::Infallible,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::{Body, Client, Response, header::CONTENT_LENGTH, redirect, retry};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    answer::{Answer, Door, Heard, classify},
    auth::{Auth, AuthError, Credentials, Tokens},
    check::Api,
    request::{Outgoing, Request, Unsendable, prepare},
};
use crate::{
    clock::SharedClock,
    delivery::{
        guard::{Guard, Refused},
        transport::{Outcome, plain},
    },
    faults,
    secret::Secret,
};

/// The pauses before a call that got no answer is repeated, where that does no harm. The message stays `committing` meanwhile: until the
/// receiver has answered, nobody may say that it was not sent.
pub(super) const REPEATS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// An API, ready to be called.
#[derive(Debug)]
pub(crate) struct Caller {
    api: Api,
    credentials: Credentials,
    tokens: Option<Arc<dyn Tokens>>,
    client: Client,
    guard: Guard,
    clock: SharedClock,
    next: Mutex<Option<Instant>>,
    paused: Mutex<Option<Instant>>,
    pub(super) repeats: [Duration; 2],
}

/// An API that cannot be called at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Its secrets.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// It wants a token, and nobody fetches one.
    #[error("`auth.client_credentials` needs tokens, and nobody fetches them")]
    NoTokens,
    /// The HTTP client.
    #[error("no HTTP client: {0}")]
    Client(String),
}

impl Caller {
    /// The API as described, with the secrets of the project in `root`; `guard` is as a rule its own ([`Api::guard`]). `tokens` fetches
    /// them where `auth` wants that.
    pub(crate) fn new(api: Api, root: &Path, guard: Guard, clock: SharedClock, tokens: Option<Arc<dyn Tokens>>) -> Result<Self, CallError> {
        let credentials = api.description.auth.open(root, |name| api.description.value(name))?;
        let wants_tokens = matches!(api.description.auth, Auth::ClientCredentials(_));
        if wants_tokens && tokens.is_none() {
            return Err(CallError::NoTokens);
        }
        let client = Client::builder()
            .dns_resolver(Arc::new(guard.clone()))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .no_gzip()
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT.min(api.description.timeout.duration()))
            .timeout(api.description.timeout.duration())
            .user_agent(concat!("perennial/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| CallError::Client(plain(&error.to_string())))?;
        Ok(Self {
            credentials,
            tokens: tokens.filter(|_| wants_tokens),
            client,
            guard,
            clock,
            next: Mutex::new(None),
            paused: Mutex::new(None),
            repeats: REPEATS,
            api,
        })
    }

    /// What it was made of.
    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    /// Nobody calls for so long, or for longer where that was asked for before: it said "not now".
    pub(crate) fn pause(&self, wait: Duration) {
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        *paused = (*paused).max(Some(Instant::now() + wait));
    }

    /// Whether nobody calls now.
    pub(crate) fn is_paused(&self) -> bool {
        self.pause_ends().is_some()
    }

    fn pause_ends(&self) -> Option<Instant> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner).filter(|end| *end > Instant::now())
    }

    /// Tells the API of a message that stands in the ledger as `committing`. What has not begun when `stop` comes is not sent.
    pub(crate) async fn call(&self, message: &Outgoing<'_>, stop: &CancellationToken) -> Heard {
        let mut heard = self.told(message, stop).await.0;
        if !self.api.description.idempotency.honours {
            return heard;
        }
        for pause in self.repeats {
            if !matches!(heard.outcome, Outcome::Unknown(_)) || matches!(heard.door, Door::Closed(_) | Door::Disabled(_)) {
                break;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
            let (again, status) = self.told(message, stop).await;
            heard = match again.outcome {
                // The answer of the first call, given again. A conflict is not: the first may be under way still.
                Outcome::Accepted(_) => again,
                Outcome::Rejected { .. } if status.is_some_and(|status| status != 409) => again,
                // Says nothing about the first call, only about this one.
                _ => Heard { outcome: heard.outcome, door: again.door },
            };
        }
        heard
    }

    /// One call, with a token where the API wants one, and the status of its answer.
    async fn told(&self, message: &Outgoing<'_>, stop: &CancellationToken) -> (Heard, Option<u16>) {
        let Some(tokens) = &self.tokens else { return self.turn(message, None, stop).await };
        let mut told = (Heard::closed("no token".to_owned()), None);
        // A token may have ended before its time; whoever says so did nothing else.
        for _ in 0..2 {
            told = match tokens.token().await {
                Ok(token) => self.turn(message, Some(&token), stop).await,
                Err(reason) => return (Heard::closed(plain(&format!("no token: {reason}"))), None),
            };
            if told.1 != Some(401) {
                break;
            }
            tokens.refused().await;
        }
        told
    }

    /// One turn of a call, and the status of its answer.
    async fn turn(&self, message: &Outgoing<'_>, token: Option<&Secret>, stop: &CancellationToken) -> (Heard, Option<u16>) {
        tokio::select! {
            () = stop.cancelled() => return (Heard::open(Outcome::NotSent), None),
            () = self.pace() => {}
        }
        // Not before: signatures hold for minutes only.
        let request = match prepare(&self.api, &self.credentials, token, message, self.clock.now()) {
            Ok(request) => request,
            Err(error) => return (unsendable(error), None),
        };
        if let Err(refused) = self.guard.check(&request.url) {
            return (Heard::closed(refused.to_string()), None);
        }
        if let Err(error) = faults::at("http.call.begin") {
            return (Heard::closed(error.to_string()), None);
        }
        let begun = Arc::new(AtomicBool::new(false));
        let answer = self.send(request, Arc::clone(&begun)).await;
        if let Err(error) = faults::at("http.call.answered") {
            return (Heard::unanswered(error.to_string()), None);
        }
        match answer {
            Ok(response) => {
                let status = response.status().as_u16();
                (self.read(response, message, token).await, Some(status))
            }
            Err(error) => (failed(&error, begun.load(Ordering::Acquire)), None),
        }
    }

    /// Sends a request; `begun` is set when its body begins to leave.
    async fn send(&self, request: Request, begun: Arc<AtomicBool>) -> Result<Response, reqwest::Error> {
        let Request { method, url, headers, body } = request;
        let length = body.len();
        let body = futures::stream::once(async move {
            begun.store(true, Ordering::Release);
            Ok::<_, Infallible>(body)
        });
        self.client.request(method, url).headers(headers).header(CONTENT_LENGTH, length).body(Body::wrap_stream(body)).send().await
    }

    /// Reads an answer as far as it may go, and says what it means.
    async fn read(&self, mut response: Response, message: &Outgoing<'_>, token: Option<&Secret>) -> Heard {
        let most = self.api.description.max_answer_kib as usize * 1024;
        let mut body = Vec::new();
        let whole = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= most => body.extend_from_slice(&chunk),
                Ok(None) => break true,
                Ok(Some(_)) | Err(_) => break false,
            }
        };
        let answer = Answer { status: response.status().as_u16(), headers: response.headers(), body: &body, whole };
        let secrets: Vec<Secret> = self.credentials.secrets.iter().chain(token).cloned().collect();
        classify(&self.api.description, &answer, message.to(), &secrets, self.clock.now())
    }

    /// Waits for the next turn that `rate` and a pause allow; turns are evenly spread.
    async fn pace(&self) {
        // Whoever paused meanwhile, and however often, everybody waits until it is over.
        while let Some(end) = self.pause_ends() {
            tokio::time::sleep_until(end).await;
        }
        let Some(rate) = self.api.description.rate else { return };
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let (turn, after) = turn(*next, Instant::now(), rate.per.duration() / rate.requests.max(1));
            *next = Some(after);
            turn
        };
        tokio::time::sleep_until(turn).await;
        while let Some(end) = self.pause_ends() {
            tokio::time::sleep_until(end).await;
        }
    }
}

/// What became of a message whose call failed; `begun` says whether its body had begun to leave.
fn failed(error: &reqwest::Error, begun: bool) -> Heard {
    match cause(error) {
        (reason, true) => Heard::closed(reason),
        (reason, false) if error.is_connect() || !begun => Heard::unreached(reason),
        (reason, false) => Heard::unanswered(reason),
    }
}

/// What becomes of a message no call can be made for.
fn unsendable(error: Unsendable) -> Heard {
    let rejected = |reason| Heard::open(Outcome::Rejected { reason, reply: None, dead: false });
    match error {
        Unsendable::TooLarge(_) => rejected("too_large"),
        Unsendable::Id => rejected("bad_id"),
        // The next message would fare the same, and none of them is to blame. What stands in this one is not repeated.
        Unsendable::Template(fault) => {
            let line = fault.line.map(|line| format!(" (line {line})")).unwrap_or_default();
            Heard::closed(format!("the template of the description{line} does not fit the message"))
        }
    }
}

/// When a call may go that asks at `now`, and the one behind it. Pure.
fn turn(next: Option<Instant>, now: Instant, gap: Duration) -> (Instant, Instant) {
    let turn = next.map_or(now, |next| next.max(now));
    (turn, turn + gap)
}

/// What went wrong at the bottom, and whether it was our own guard; never the address called, which may hold a secret.
fn cause(error: &reqwest::Error) -> (String, bool) {
    let mut cause: &dyn std::error::Error = error;
    let mut refused = false;
    while let Some(deeper) = cause.source() {
        cause = deeper;
        refused |= cause.is::<Refused>();
    }
    let words = if error.is_timeout() && !refused { "no answer in time".to_owned() } else { cause.to_string() };
    (plain(&words), refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_evenly_spread_and_none_is_saved_up() {
        let (start, gap) = (Instant::now(), Duration::from_millis(100));
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(turn(None, at(0), gap), (at(0), at(100)));
        assert_eq!(turn(Some(at(100)), at(10), gap), (at(100), at(200)));
        assert_eq!(turn(Some(at(200)), at(900), gap), (at(900), at(1000)));
    }
}
