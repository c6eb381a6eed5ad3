//! Doors for the fuzz targets and for the test that replays their corpus: what strangers write, read as the program reads it and told in
//! plain values. Nothing else calls them, and nothing here may be relied upon.

use std::{net::Ipv4Addr, path::Path};

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use lettre::transport::smtp::extension::ClientId;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    delivery::fuzzing::{
        Account, Attempt, Call, Certificates, Connection, Door, Lost, Mailgun, Outcome, Postmark, Provider, Reference, ReturnPath,
        SendGrid, Ses, Standard, Timeouts, WireLetter, encode, read,
    },
    delivery::{Login, Tls},
    secret::{Keys, Secret, SecretRef},
};

/// What came back about one recipient, by mail or by a provider's call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// By what the same event is known when it is told again; none in a mail.
    pub event_id: Option<String>,
    /// When it happened, where that is said.
    pub at: Option<DateTime<Utc>>,
    /// What happened.
    pub kind: String,
    /// The message it is about.
    pub message_id: Option<String>,
    /// The address it is about.
    pub recipient: Option<String>,
    /// The local part of the return path it came by.
    pub path: Option<String>,
    /// What was said.
    pub detail: Option<String>,
}

/// The notices in a mail that came back to `address`.
///
/// # Errors
/// Why it is none.
pub fn returned(mail: &[u8], address: &str) -> Result<Vec<Told>, &'static str> {
    let returns = ReturnPath::new(address).map_err(|_| "the address takes no token")?;
    let notices = read(mail, &returns).map_err(|ignored| ignored.as_str())?;
    let told = notices.into_iter().map(|notice| Told {
        event_id: None,
        at: notice.at,
        kind: format!("{:?}", notice.kind),
        message_id: notice.original_message_id,
        recipient: notice.recipient,
        path: notice.verp,
        detail: notice.diagnostic,
    });
    Ok(told.collect())
}

/// The return path of a message, below `address`.
#[must_use]
pub fn return_path(keys: &Keys, address: &str, message_id: &str) -> Option<String> {
    ReturnPath::new(address).ok().map(|returns| returns.address_for(keys, message_id))
}

/// Which message a return path was made for, as the digits its id begins with.
#[must_use]
pub fn reference(keys: &Keys, path: &str) -> Option<String> {
    Reference::read(keys, path).map(|reference| reference.prefix())
}

/// What a provider's call says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What happened.
    pub events: Vec<Told>,
    /// What was passed over, as the log has it.
    pub ignored: Vec<String>,
    /// What is asked of us.
    pub action: Option<String>,
    /// By what a copy of the call is known.
    pub replay: Option<String>,
}

/// A provider whose calls are taken.
#[derive(Debug)]
pub struct Caller(Provider);

impl Caller {
    /// One of `sendgrid`, `ses`, `mailgun`, `postmark` (user, colon, password) and `standard`, with its key, its topic or its secret.
    #[must_use]
    pub fn new(kind: &str, secret: &str) -> Option<Self> {
        Some(Self(match kind {
            "sendgrid" => Provider::SendGrid(SendGrid::new(secret)?),
            "ses" => Provider::Ses(Ses::new(secret)?),
            "mailgun" => Provider::Mailgun(Mailgun::new(&Secret::new(secret))?),
            "postmark" => {
                let (user, password) = secret.split_once(':')?;
                Provider::Postmark(Postmark::new(user, &Secret::new(password))?)
            }
            "standard" => Provider::Standard(Standard::new(&Secret::new(secret))?),
            _ => return None,
        }))
    }

    /// Reads a call that came at `now`. `certificate` is what lies wherever Amazon's may lie.
    ///
    /// # Errors
    /// Why nothing is taken from it.
    pub fn hear(&self, headers: &[(String, Vec<u8>)], body: &[u8], now: DateTime<Utc>, certificate: &[u8]) -> Result<Heard, String> {
        let pair = |(name, value): &(String, Vec<u8>)| Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value).ok()?));
        let headers: HeaderMap = headers.iter().filter_map(pair).collect();
        let call = Call { headers: &headers, body, now };
        let kept = Kept(certificate);
        let reading = self.0.read(&call, &kept).now_or_never().ok_or_else(|| "it waits".to_owned())?;
        let reading = reading.map_err(|refused| refused.to_string())?;
        let told = reading.events.into_iter().map(|event| Told {
            event_id: Some(event.event_id),
            at: Some(event.at),
            kind: format!("{:?}", event.kind),
            message_id: event.message_id,
            recipient: event.recipient,
            path: None,
            detail: event.detail,
        });
        Ok(Heard {
            events: told.collect(),
            ignored: reading.ignored.iter().map(ToString::to_string).collect(),
            action: reading.action.map(|action| format!("{action:?}")),
            replay: reading.replay.map(|replay| replay.key),
        })
    }
}

/// A certificate at hand.
struct Kept<'a>(&'a [u8]);

#[async_trait::async_trait]
impl Certificates for Kept<'_> {
    async fn fetch(&self, _: &url::Url) -> Result<Vec<u8>, String> {
        Ok(self.0.to_vec())
    }
}

/// What became of a letter in a session with a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The relay took it, and said so.
    Accepted(String),
    /// It refused it for good.
    Rejected(String),
    /// It refused it for now.
    Deferred(String),
    /// It takes nothing from this sender.
    SenderRefused(String),
    /// The connection is of no use any more.
    Lost {
        /// Whether the letter may have arrived.
        begun: bool,
        /// Why.
        reason: String,
    },
}

/// What a session with a relay came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Why it did not come about.
    pub closed: Option<String>,
    /// What became of each letter that was tried.
    pub fates: Vec<Fate>,
}

/// How a session logs in.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// The account.
    pub username: &'a str,
    /// The file with its password, or with its token.
    pub file: &'a Path,
    /// Whether that is a token.
    pub xoauth2: bool,
}

/// Sends letters, which stand as they cross the wire, over one connection to the relay at a port of this machine. Each announces the next.
pub async fn session(port: u16, credentials: Option<Credentials<'_>>, letters: &[String]) -> Session {
    let mut session = Session { closed: None, fates: Vec::new() };
    let account = credentials.map(|credentials| Account {
        username: credentials.username.to_owned(),
        password: SecretRef::File(credentials.file.to_owned()),
        root: Path::new("/").to_owned(),
        login: if credentials.xoauth2 { Login::Xoauth2 } else { Login::Password },
    });
    let door = Door {
        host: Ipv4Addr::LOCALHOST.to_string(),
        port,
        tls: Tls::None,
        parameters: None,
        account,
        hello: ClientId::Domain("here".to_owned()),
        timeouts: Timeouts::default(),
    };
    let (Ok(from), Ok(to)) = ("shop@example.com".parse(), "ann@example.com".parse()) else { return session };
    let letters: Vec<WireLetter> = letters
        .iter()
        .map(|wire| WireLetter { from: lettre::Address::clone(&from), to: lettre::Address::clone(&to), wire: wire.clone() })
        .collect();
    let mut connection = match Connection::open(&door).await {
        Ok(connection) => connection,
        Err(error) => {
            session.closed = Some(error.to_string());
            return session;
        }
    };
    for (at, letter) in letters.iter().enumerate() {
        let fate = match connection.send(letter, letters.get(at + 1)).await {
            Ok(Attempt::SenderRefused(reason)) => Fate::SenderRefused(reason),
            Ok(Attempt::Answered(Outcome::Accepted(reply))) => Fate::Accepted(reply.unwrap_or_default()),
            Ok(Attempt::Answered(Outcome::Rejected { reply, .. })) => Fate::Rejected(reply.unwrap_or_default()),
            Ok(Attempt::Answered(Outcome::Deferred { reply, .. })) => Fate::Deferred(reply.unwrap_or_default()),
            Ok(Attempt::Answered(Outcome::Unknown(reason))) => Fate::Lost { begun: true, reason },
            Ok(Attempt::Answered(Outcome::NotSent)) => Fate::Lost { begun: false, reason: String::new() },
            Err(Lost { begun, reason, .. }) => Fate::Lost { begun, reason },
        };
        let is_over = matches!(fate, Fate::Lost { .. });
        session.fates.push(fate);
        if is_over {
            return session;
        }
    }
    connection.quit().await;
    session
}

/// A message as it crosses the wire, or why it cannot.
///
/// # Errors
/// In one word.
pub fn wire(message: &[u8]) -> Result<String, &'static str> {
    encode(message)
}
