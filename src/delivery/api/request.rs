//! A description and a finished message become one call: method, address, headers, body. Pure; nothing here touches the network.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use minijinja::{Value, value::Serde};
use reqwest::{
    Method,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use url::{Position, Url};

use super::{
    auth::{Credentials, sensitive},
    check::Api,
    description::{self, Description, filled},
    sigv4,
    template::Fault,
};
use crate::secret::Secret;

/// A finished message, and what an API may be told of it.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// The message's id for ever, without angle brackets.
    pub(crate) message_id: &'a str,
    /// The person.
    pub(crate) customer_id: &'a str,
    /// The campaign.
    pub(crate) campaign: &'a str,
    /// The plan.
    pub(crate) plan: &'a str,
    /// What is sent.
    pub(crate) content: Content<'a>,
}

/// What is sent.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    /// A letter, whole and in its parts.
    Email {
        /// The message by RFC 5322, CRLF line ends; it says where a reply goes.
        mime: &'a [u8],
        /// The sender, with a name where there is one.
        from: &'a str,
        /// The recipient's address, bare.
        to: &'a str,
        /// The subject.
        subject: &'a str,
        /// The HTML part.
        html: &'a str,
        /// The text part.
        text: &'a str,
    },
    /// A campaign's `webhook.json`, filled in.
    Webhook {
        /// JSON.
        body: &'a str,
    },
}

/// A call that is ready to be made.
pub(crate) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Without what nobody may read in a log: secrets, and whatever is about a person.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.url.host_str().unwrap_or_default())
            .field("headers", &self.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>())
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish_non_exhaustive()
    }
}

/// A message no call can be made for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsendable {
    /// It is larger than the API takes.
    #[error("the body has {0} bytes, more than `max_body_kib` allows")]
    TooLarge(usize),
    /// The description's template does not fit it. The words are for made-up messages: they may repeat what stands in one.
    #[error("the template cannot be filled in: {0}")]
    Template(#[from] Fault),
    /// An id in it would lead to another address than the one described, or can stand in no header.
    #[error("an id in the message can stand neither in an address nor in a header")]
    Id,
}

impl<'a> Outgoing<'a> {
    /// The message id without its domain: many APIs allow letters, digits, `_` and `-` only.
    pub(super) fn id(&self) -> &'a str {
        self.message_id.split('@').next().unwrap_or(self.message_id)
    }

    /// Whom the message is to, where that is an address.
    pub(super) fn to(&self) -> &'a str {
        match self.content {
            Content::Email { to, .. } => to,
            Content::Webhook { .. } => "",
        }
    }

    /// What the templates of a description see.
    fn context(&self, description: &Description) -> Result<BTreeMap<&'static str, Value>, Unsendable> {
        let mut context = BTreeMap::from([
            ("message_id", Value::from(self.message_id)),
            ("id", Value::from(self.id())),
            ("customer_id", Value::from(self.customer_id)),
            ("campaign", Value::from(self.campaign)),
            ("plan", Value::from(self.plan)),
            ("values", Value::from(Serde(&description.values))),
        ]);
        match self.content {
            Content::Email { mime, from, to, subject, html, text } => {
                let (own, headers): (Vec<_>, Vec<_>) = headers_of(mime).into_iter().partition(|(name, _)| is_own(name));
                let reply_to = own.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("reply-to"));
                let reply_to = reply_to.map_or_else(|| from.to_owned(), |(_, value)| value);
                let header = |(name, value)| Value::from(BTreeMap::from([("name", name), ("value", value)]));
                context.extend([
                    ("mime", Value::from_bytes(mime.to_vec())),
                    ("headers", headers.into_iter().map(header).collect()),
                    ("from", Value::from(from)),
                    ("from_address", Value::from(from.rsplit_once('<').map_or(from, |(_, address)| address.trim_end_matches('>')))),
                    ("reply_to", Value::from(reply_to)),
                    ("to", Value::from(to)),
                    ("subject", Value::from(subject)),
                    ("html", Value::from(html)),
                    ("text", Value::from(text)),
                ]);
            }
            Content::Webhook { body } => {
                let not_json = |_| Fault { message: "the campaign's webhook.json is not JSON".to_owned(), line: None };
                let body: serde_json::Value = serde_json::from_str(body).map_err(not_json)?;
                context.insert("body", Value::from(Serde(body)));
            }
        }
        Ok(context)
    }
}

/// The names a description may use for a channel.
pub(super) const COMMON: [&str; 6] = ["message_id", "id", "customer_id", "campaign", "plan", "values"];
pub(super) const OF_EMAIL: [&str; 9] = ["mime", "from", "from_address", "reply_to", "to", "subject", "html", "text", "headers"];
pub(super) const OF_WEBHOOK: [&str; 1] = ["body"];

/// Whether APIs have a field of their own for a header, so that it stands in no list of headers.
fn is_own(name: &str) -> bool {
    const OWN: [&str; 10] =
        ["from", "to", "cc", "bcc", "reply-to", "subject", "date", "mime-version", "content-type", "content-transfer-encoding"];
    OWN.contains(&name.to_ascii_lowercase().as_str())
}

/// The header fields of a message, unfolded (RFC 5322, 2.2.3).
fn headers_of(mime: &[u8]) -> Vec<(String, String)> {
    let end = mime.windows(4).position(|end| end == b"\r\n\r\n").unwrap_or(mime.len());
    let head = String::from_utf8_lossy(&mime[..end]);
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in head.split("\r\n") {
        match (line.strip_prefix([' ', '\t']), headers.last_mut(), line.split_once(':')) {
            (Some(more), Some((_, value)), _) => value.extend([" ", more.trim()]),
            (None, _, Some((name, value))) => headers.push((name.to_owned(), value.trim().to_owned())),
            _ => {}
        }
    }
    headers
}

/// The address called. What stands for something of the message lies behind the host and in one step of the path.
pub(super) fn address(description: &Description, secret: Option<&Secret>, message: &Outgoing<'_>) -> Result<Url, Unsendable> {
    let host_ends = host_end(&description.url);
    let host = filled(&description.url[..host_ends], |name| description.value(name)).map_err(|_| Unsendable::Id)?;
    let behind = filled(&description.url[host_ends..], |name| {
        let of_message = match name {
            "message_id" => message.message_id,
            "id" => message.id(),
            "customer_id" => message.customer_id,
            "campaign" => message.campaign,
            "plan" => message.plan,
            "secret" => return secret.map(|secret| secret.reveal().to_owned()),
            _ => return description.value(name).map(|text| sigv4::escaped(text.as_bytes(), b"")),
        };
        Some(sigv4::escaped(of_message.as_bytes(), b""))
    })
    .map_err(|_| Unsendable::Id)?;
    // `..` would be taken for the step above by whoever reads the address.
    if behind.split(['?', '#']).next().unwrap_or_default().split('/').any(|step| step == "." || step == "..") {
        return Err(Unsendable::Id);
    }
    Url::parse(&format!("{host}{behind}")).map_err(|_| Unsendable::Id)
}

/// Where in an address scheme, host and port end.
pub(super) fn host_end(url: &str) -> usize {
    let start = url.find("://").map_or(0, |at| at + 3);
    url[start..].find(['/', '?', '#', '\\']).map_or(url.len(), |at| start + at)
}

/// The call for a message. `token` is the one fetched for it, where `auth` fetches tokens.
pub(super) fn prepare(
    api: &Api,
    credentials: &Credentials,
    token: Option<&Secret>,
    message: &Outgoing<'_>,
    now: DateTime<Utc>,
) -> Result<Request, Unsendable> {
    let description = &api.description;
    let own = match message.content {
        Content::Webhook { body } => body,
        Content::Email { .. } => "",
    };
    let body = api.body.fill(&message.context(description)?, own)?;
    if body.len() > description.max_body_kib as usize * 1024 {
        return Err(Unsendable::TooLarge(body.len()));
    }
    let method = match description.method {
        description::Method::Post => Method::POST,
        description::Method::Put => Method::PUT,
        description::Method::Patch => Method::PATCH,
    };
    let url = address(description, credentials.path.as_ref(), message)?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(api.body.content_type()));
    let mut set = |name: &str, text: &str| -> Result<(), Unsendable> {
        let name = HeaderName::try_from(name).map_err(|_| Unsendable::Id)?;
        headers.insert(name, sensitive(text).map_err(|_| Unsendable::Id)?);
        Ok(())
    };
    for (name, text) in &description.headers {
        let text = filled(text, |name| description.value(name)).map_err(|_| Unsendable::Id)?;
        set(name, &text)?;
    }
    if let Some(name) = &description.idempotency.header {
        set(name, message.message_id)?;
    }
    if let Some(signer) = &credentials.signer {
        // The id may hold no dot, so it goes without its domain; time and signature are new for each attempt.
        set("webhook-id", message.id())?;
        set("webhook-timestamp", &now.timestamp().to_string())?;
        set("webhook-signature", &signer.sign(message.id(), now, &body))?;
    }
    if let Some(key) = &credentials.aws {
        let content_type = description.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let call = sigv4::Call {
            method: method.as_str(),
            host: &url[Position::BeforeHost..Position::AfterPort],
            path: url.path(),
            query: url.query().unwrap_or_default(),
            content_type: Some(content_type.map_or(api.body.content_type(), |(_, text)| text)),
            body: &body,
        };
        for (name, text) in key.sign(&call, now) {
            set(name, &text)?;
        }
    }
    if let Some(token) = token {
        set(AUTHORIZATION.as_str(), &format!("Bearer {}", token.reveal()))?;
    }
    headers.extend(credentials.headers.clone());
    Ok(Request { method, url, headers, body: body.into() })
}
