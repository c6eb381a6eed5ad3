//! What mail providers tell afterwards: a call is proven to be theirs, then read into one shape. Bytes and headers in, events out.
//!
//! | file | whose calls | what proves them | told by it |
//! |---|---|---|---|
//! | `sendgrid` | Twilio SendGrid | ECDSA over timestamp and body | the provider, the body, the time |
//! | `ses`, in the envelope of `sns` | Amazon SES | RSA over the fields | the provider, the fields, the topic |
//! | `mailgun` | Mailgun | HMAC over timestamp and token | the provider, the time; not the body |
//! | `postmark` | Postmark | a user and a password | the provider |
//! | `standard` | anybody's bridge, by Standard Webhooks 1.0.0 | HMAC over id, timestamp and body | the sender, the body, the time |
//!
//! `event` holds the one shape. Every provider file has the same parts: `new` takes the settings, `read` a call, `event` one event of it.
//! A call is refused as a whole only where it is not proven or cannot be read at all; one event that cannot be read is listed in
//! [`Reading::ignored`] and takes no other with it.
//!
//! Providers rewrite or forget `Message-ID`. So each is best given our message id, or the part of it before the `@`, in the way it gives it
//! back, under the name `perennial_id`. The descriptions of APIs that ship (`delivery::api`) do so; for a relay it is:
//!
//! | provider | given by | else recognised by |
//! |---|---|---|
//! | SendGrid | `X-SMTPAPI: {"unique_args":{"perennial_id":"…"}}` | `smtp-id`: ours where the sender's domain is authenticated with SendGrid (1) |
//! | SES | `X-SES-MESSAGE-TAGS: perennial_id=…` (2) | `Message-ID` among `mail.headers`: ours, though SES sent the mail under its own (3) |
//! | Mailgun | `X-Mailgun-Variables: {"perennial_id":"…"}` (4) | `message.headers.message-id`: ours |
//! | Postmark | `X-PM-Metadata-perennial_id: …` (5) | nothing: its `MessageID` is its own |
//! | standard | the event's `message_id` | nothing |
//!
//! (1) anymail/django-anymail#108. (2) Without the `@`: a tag's value has letters, digits, `_` and `-`; it needs a configuration set. (3)
//! Event publishing quotes headers always, an identity's notifications if asked to, both the first 10 KB. (4) The recipient gets to see it.
//! (5) At most 80 characters.

mod event;
mod mailgun;
mod postmark;
mod sendgrid;
mod ses;
mod sns;
mod standard;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::HeaderMap;
use serde_json::Value;
use url::Url;

pub(crate) use event::{Ignored, Kind, ProviderEvent};
pub(crate) use mailgun::Mailgun;
pub(crate) use postmark::Postmark;
pub(crate) use sendgrid::SendGrid;
pub(crate) use ses::Ses;
pub(crate) use standard::Standard;

/// How far the moment a call was signed may lie from now, on both sides: what Standard Webhooks' libraries allow. SendGrid and Mailgun name
/// no number.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// A call as it came in. How long its body may be is decided where it is received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// Its headers.
    pub(crate) headers: &'a HeaderMap,
    /// Its body, byte for byte: a signature knows no other spelling of the same JSON.
    pub(crate) body: &'a [u8],
    /// When it came.
    pub(crate) now: DateTime<Utc>,
}

impl Call<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn json(&self) -> Result<Value, Refused> {
        serde_json::from_slice(self.body).map_err(|_| Refused::Malformed("its body is no JSON"))
    }

    /// The moment a signature names, in seconds of Unix time, where it is about now.
    fn signed_at(&self, seconds: &str) -> Result<DateTime<Utc>, Refused> {
        let moment = seconds.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let moment = moment.ok_or(Refused::Malformed("its timestamp is no Unix time in seconds"))?;
        if (self.now - moment).abs() > TOLERANCE { Err(Refused::Stale) } else { Ok(moment) }
    }
}

/// What a proven call says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reading {
    /// What happened to messages.
    pub(crate) events: Vec<ProviderEvent>,
    /// What was passed over, each with its reason.
    pub(crate) ignored: Vec<Ignored>,
    /// What is asked of us beyond writing the events down.
    pub(crate) action: Option<Action>,
    /// By what a copy of this call is known, where the signature does not hold the body together.
    pub(crate) replay: Option<Replay>,
}

impl FromIterator<Result<ProviderEvent, Ignored>> for Reading {
    fn from_iter<I: IntoIterator<Item = Result<ProviderEvent, Ignored>>>(told: I) -> Self {
        let mut reading = Self::default();
        for one in told {
            match one {
                Ok(event) => reading.events.push(event),
                Err(ignored) => reading.ignored.push(ignored),
            }
        }
        reading
    }
}

/// What a provider asks of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// To get this address once, without following it elsewhere: events come only after that. It lies with Amazon SNS, and our own
    /// topic asks for it.
    Confirm(Url),
    /// Nothing: the subscription has ended, and no more events will come.
    Ended,
}

/// What the receiver has to remember of a call, from the moment its events are written down: the same key again is a copy, whatever it
/// says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replay {
    /// Unique for the call.
    pub(crate) key: String,
    /// After that a copy is [`Refused::Stale`] by itself, and the key may be forgotten.
    pub(crate) until: DateTime<Utc>,
}

/// A call nothing is taken from. No text of it holds a secret or an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Anybody may have sent it.
    #[error("nothing proves that the provider sent this call: its signature or password is missing or wrong")]
    Signature,
    /// It is proven, but a copy, late, or from a clock that is wrong.
    #[error("the call was signed more than {} minutes before or after now; check this machine's clock", TOLERANCE.num_minutes())]
    Stale,
    /// It is not what this provider sends.
    #[error("the call cannot be read: {0}")]
    Malformed(&'static str),
    /// Amazon sends it for somebody else's topic.
    #[error("the message is of another topic than the one in the settings")]
    WrongTopic,
    /// The topic signs in the old way.
    #[error("the topic signs with SHA-1; set its attribute `SignatureVersion` to 2")]
    OldSignature,
    /// What it names as proof does not lie where Amazon keeps it.
    #[error("the signing certificate the message names does not lie with Amazon SNS")]
    ForeignCertificate,
    /// The certificate could not be had.
    #[error("the signing certificate cannot be had: {0}")]
    Certificate(String),
}

impl Refused {
    /// Whether the same call may pass later, so that the provider is to send it again. The others never pass.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Certificate(_))
    }
}

/// Where certificates come from: the one act on the network.
#[async_trait]
pub(crate) trait Certificates: Send + Sync {
    /// The PEM document at `url`, whose host is Amazon SNS, or why it cannot be had.
    ///
    /// TLS is what proves it Amazon's, so it is verified; redirects are not followed; only status 200 counts. Strangers can make us ask,
    /// so what came once is kept by address, and the answer is read up to some 64 KiB.
    async fn fetch(&self, url: &Url) -> Result<Vec<u8>, String>;
}

/// A provider whose calls are taken.
#[derive(Debug)]
pub(crate) enum Provider {
    /// Twilio SendGrid.
    SendGrid(SendGrid),
    /// Amazon SES.
    Ses(Ses),
    /// Mailgun.
    Mailgun(Mailgun),
    /// Postmark.
    Postmark(Postmark),
    /// A bridge that speaks Standard Webhooks.
    Standard(Standard),
}

impl Provider {
    /// Reads a call, or refuses it.
    pub(crate) async fn read(&self, call: &Call<'_>, certificates: &dyn Certificates) -> Result<Reading, Refused> {
        match self {
            Self::SendGrid(provider) => provider.read(call),
            Self::Ses(provider) => provider.read(call, certificates).await,
            Self::Mailgun(provider) => provider.read(call),
            Self::Postmark(provider) => provider.read(call),
            Self::Standard(provider) => provider.read(call),
        }
    }
}
