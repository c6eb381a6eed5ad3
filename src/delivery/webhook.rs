//! A signed JSON call to one of the shop's own systems, by Standard Webhooks 1.0.0.
//!
//! `webhook-id` and `Idempotency-Key` stay the same over retries, so that a careful receiver can tell a repetition. The answer decides:
//!
//! | answer | the message is |
//! |---|---|
//! | 2xx | accepted |
//! | 408, 429, 5xx; no connection | deferred |
//! | any other 4xx; 3xx, which is never followed | rejected |
//! | none after the call had begun | unknown |

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Client, StatusCode, header, redirect, retry};
use sha2::Sha256;
use url::Url;

use super::{
    error::{DeliveryError, TransportError},
    guard::Guard,
    settings::WebhookSettings,
    transport::{Outcome, Parcel, Queue, plain},
};
use crate::{clock::SharedClock, diagnosis::Diagnosis, faults, secret::Secret};

/// How long the other side may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much of an answer is read.
const MAX_ANSWER: usize = 64 * 1024;
/// So many calls in a row without an answer mean that the receiver is away; going on would only make more unknowns.
const AWAY_IN_A_ROW: usize = 3;
/// The longest wait a receiver can ask for.
const LONGEST_WAIT: i64 = 24 * 60 * 60;

/// Where calls go.
#[derive(Debug)]
pub(crate) struct Receiver {
    client: Client,
    url: Url,
    signer: Option<Signer>,
    clock: SharedClock,
}

impl Receiver {
    /// The receiver the settings describe.
    pub(crate) fn new(settings: &WebhookSettings, secret: Option<&Secret>, clock: SharedClock) -> Result<Self, DeliveryError> {
        let wrong = |message: String, hint: &str| DeliveryError::Settings(Box::new(Diagnosis::new("webhook", message).hint(hint)));
        let url = Url::parse(settings.url.as_deref().unwrap_or_default())
            .map_err(|error| wrong(format!("the webhook's `url`: {error}"), "write it such as `https://…`"))?;
        let signer = match secret {
            Some(secret) => Some(Signer::new(secret).ok_or_else(|| {
                let hint = "it is `whsec_` and the base64 of 24 to 64 random bytes, as the receiver shows it";
                wrong("the webhook's `secret` is not one of Standard Webhooks".to_owned(), hint)
            })?),
            None => None,
        };
        // This machine may be named as it is: whoever writes the settings is on it.
        let own = settings.is_near().then(|| url.host_str().unwrap_or_default().to_owned());
        let guard = Guard::new(&settings.allow.iter().cloned().chain(own).collect::<Vec<_>>());
        guard.check(&url).map_err(|refused| {
            wrong(format!("the webhook's `url`: {refused}"), "use an https address, or name the host in `allow` of `[delivery.webhook]`")
        })?;
        let client = Client::builder()
            .dns_resolver(Arc::new(guard))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            // A connection of its own for every call: a stale one would break with the call begun, and make its fate unknown.
            .pool_max_idle_per_host(0)
            .connect_timeout(Duration::from_secs(10))
            .timeout(settings.timeout.map_or(TIMEOUT, |timeout| timeout.duration()))
            .user_agent(concat!("perennial/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| wrong(format!("no HTTP client: {error}"), "check the machine's certificates"))?;
        Ok(Self { client, url, signer, clock })
    }

    /// Makes calls until there are no more.
    pub(crate) async fn work(self: Arc<Self>, queue: Queue) {
        let mut away = 0;
        while let Some(parcel) = queue.next().await {
            let (outcome, silence) = match self.call(&parcel).await {
                Answer::Judged(outcome, silence) => (outcome, silence),
                Answer::Gone => {
                    queue.done(parcel.message, Outcome::NotSent);
                    queue.closed(TransportError::Gone { host: self.url.host_str().unwrap_or_default().to_owned() });
                    continue;
                }
            };
            away = if silence.is_some() { away + 1 } else { 0 };
            queue.done(parcel.message, outcome);
            if let Some(reason) = silence.filter(|_| away >= AWAY_IN_A_ROW) {
                let host = self.url.host_str().unwrap_or_default().to_owned();
                queue.closed(TransportError::Unreachable { host, reason });
            }
        }
    }

    /// Makes one call.
    async fn call(&self, parcel: &Parcel) -> Answer {
        let message_id = parcel.message.message_id.as_str();
        let id = webhook_id(message_id);
        let now = self.clock.now();
        let mut request = self
            .client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", message_id)
            .header("webhook-id", id)
            .header("webhook-timestamp", now.timestamp());
        if let Some(signer) = &self.signer {
            request = request.header("webhook-signature", signer.sign(id, now, &parcel.body));
        }
        if let Err(error) = faults::at("http.call.begin") {
            return Answer::Judged(Outcome::NotSent, Some(error.to_string()));
        }
        let answer = request.body(parcel.body.clone()).send().await;
        if let Err(error) = faults::at("http.call.answered") {
            return Answer::Judged(Outcome::Unknown(error.to_string()), Some(error.to_string()));
        }
        match answer {
            Ok(mut response) => {
                let (status, after) = (response.status(), retry_after(response.headers(), now));
                let mut read = 0;
                // The status has decided; the body is read only so that the receiver may finish writing it.
                while let Ok(Some(chunk)) = response.chunk().await {
                    read += chunk.len();
                    if read > MAX_ANSWER {
                        break;
                    }
                }
                match status {
                    StatusCode::GONE => Answer::Gone,
                    _ => Answer::Judged(classify(status, after), None),
                }
            }
            Err(error) if error.is_builder() => {
                Answer::Judged(Outcome::Rejected { reason: "not_callable", reply: None, dead: false }, None)
            }
            Err(error) if error.is_connect() => {
                let reason = cause(&error);
                Answer::Judged(Outcome::Deferred { reply: Some(reason.clone()), after: None, of_relay: false }, Some(reason))
            }
            Err(error) => Answer::Judged(Outcome::Unknown(cause(&error)), Some(cause(&error))),
        }
    }
}

/// What a call came to.
enum Answer {
    /// This for its message; and why there was no answer, where there was none.
    Judged(Outcome, Option<String>),
    /// The receiver is there no more, and wants no more calls (Standard Webhooks: 410 disables).
    Gone,
}

/// The pause after so many attempts: the schedule that Standard Webhooks 1.0.0 recommends. The plan's expiry bounds it.
pub(super) fn pause(attempts: u32) -> TimeDelta {
    match attempts {
        0 => TimeDelta::zero(),
        1 => TimeDelta::seconds(5),
        2 => TimeDelta::minutes(5),
        3 => TimeDelta::minutes(30),
        4 => TimeDelta::hours(2),
        5 => TimeDelta::hours(5),
        6 => TimeDelta::hours(10),
        7 => TimeDelta::hours(14),
        8 => TimeDelta::hours(20),
        _ => TimeDelta::hours(24),
    }
}

/// The message id without its domain: `webhook-id` may hold no dot.
fn webhook_id(message_id: &str) -> &str {
    message_id.split('@').next().unwrap_or(message_id)
}

fn classify(status: StatusCode, after: Option<TimeDelta>) -> Outcome {
    let reply = Some(status.as_u16().to_string());
    match status.as_u16() {
        200..=299 => Outcome::Accepted(reply),
        408 | 429 | 500..=599 => Outcome::Deferred { reply, after, of_relay: false },
        _ => Outcome::Rejected { reason: "refused", reply, dead: false },
    }
}

/// `Retry-After` as seconds or as a date.
pub(super) fn retry_after(headers: &header::HeaderMap, now: DateTime<Utc>) -> Option<TimeDelta> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match text.parse::<i64>() {
        Ok(seconds) => seconds,
        Err(_) => (DateTime::parse_from_rfc2822(text).ok()?.with_timezone(&Utc) - now).num_seconds(),
    };
    TimeDelta::try_seconds(seconds.clamp(0, LONGEST_WAIT))
}

/// What went wrong at the bottom; never the address called, which may hold a token.
fn cause(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(deeper) = source.source() {
        source = deeper;
    }
    if error.is_timeout() { "no answer in time".to_owned() } else { plain(&source.to_string()) }
}

/// Signs calls by the symmetric scheme `v1`.
pub(super) struct Signer(Hmac<Sha256>);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(••••)")
    }
}

impl Signer {
    pub(super) fn new(secret: &Secret) -> Option<Self> {
        let text = secret.reveal();
        let key = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok()?;
        if !(24..=64).contains(&key.len()) {
            return None;
        }
        Hmac::new_from_slice(&key).ok().map(Self)
    }

    pub(super) fn sign(&self, id: &str, at: DateTime<Utc>, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{}.", at.timestamp()).as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(secret: &str) -> Option<Signer> {
        Signer::new(&Secret::new(secret))
    }

    #[test]
    fn the_published_vector_is_met() {
        // https://github.com/standard-webhooks/standard-webhooks, the specification's own example.
        let at = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        for secret in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            let signature = signer(secret).unwrap().sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, b"{\"test\": 2432232314}");
            assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        }
    }

    #[test]
    fn short_and_broken_secrets_are_refused() {
        for secret in ["", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64 at all"] {
            assert!(signer(secret).is_none(), "{secret}");
        }
        assert!(!format!("{:?}", signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).contains("Mf"));
    }

    #[test]
    fn every_answer_has_its_class() {
        let class = |code: u16| match classify(StatusCode::from_u16(code).unwrap(), None) {
            Outcome::Accepted(_) => "accepted",
            Outcome::Deferred { .. } => "deferred",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Unknown(_) | Outcome::NotSent => "other",
        };
        for (code, expected) in [
            (200, "accepted"),
            (202, "accepted"),
            (204, "accepted"),
            (301, "rejected"),
            (307, "rejected"),
            (400, "rejected"),
            (401, "rejected"),
            (408, "deferred"),
            (429, "deferred"),
            (500, "deferred"),
            (503, "deferred"),
        ] {
            assert_eq!(class(code), expected, "{code}");
        }
    }

    #[test]
    fn a_receiver_may_ask_for_patience_but_not_for_ever() {
        let now = "2026-11-22T01:00:00Z".parse().unwrap();
        let wait = |text: &str| {
            let mut headers = header::HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now).map(|wait| wait.num_seconds())
        };
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("Sun, 22 Nov 2026 01:05:00 GMT"), Some(300));
        assert_eq!(wait("99999999999"), Some(LONGEST_WAIT));
        assert_eq!((wait("-5"), wait("soon")), (Some(0), None));
    }

    #[test]
    fn pauses_are_those_of_standard_webhooks_and_never_shorten() {
        let seconds: Vec<i64> = (0..12).map(|attempts| pause(attempts).num_seconds()).collect();
        assert_eq!(seconds, [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400, 86_400, 86_400]);
    }

    #[test]
    fn the_id_holds_no_dot() {
        assert_eq!(webhook_id("0a1b@fernwood.example"), "0a1b");
    }
}
