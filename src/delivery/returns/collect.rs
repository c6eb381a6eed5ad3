//! From mailboxes and providers' calls into the ledger: each notice once, and what follows from it with it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use serde::Serialize;
use tokio::sync::Mutex;
use url::Url;

use super::{
    Cursor, Kind, Looked, Mail, Notice, Reference, ReturnPath, ReturnsSettings,
    provider::{self, Action, Call, Certificates, Provider},
    read,
};
use crate::{
    clock::SharedClock,
    delivery::error::DeliveryError,
    ledger::{Ledger, LedgerError, Noted, ReturnKind, Returned, address_hash},
    secret::Keys,
};

/// How many mails are read at once.
const GROUP: usize = 100;
/// The longest certificate that is read.
const LONGEST_CERTIFICATE: usize = 64 << 10;
/// The most certificates that are kept.
const MOST_CERTIFICATES: usize = 32;
/// How long a certificate, or the confirmation of a subscription, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is needed to take in what came back.
#[derive(Debug, Clone)]
pub struct Desk {
    /// Where it is written down.
    pub ledger: Ledger,
    /// `[delivery.returns]`.
    pub settings: ReturnsSettings,
    /// What tokens and addresses are known by.
    pub keys: Keys,
    /// When it came.
    pub clock: SharedClock,
    /// The project folder.
    pub root: PathBuf,
}

/// What the mailboxes held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Mails that were read.
    pub mails: u64,
    /// What is new, by kind of event.
    pub noted: BTreeMap<&'static str, u64>,
    /// What had been told before.
    pub known: u64,
    /// Mails and notices that say nothing about messages of ours, by reason. They stay where they are, unread.
    pub ignored: BTreeMap<&'static str, u64>,
}

/// Reads every mailbox of the settings to its end.
///
/// # Errors
/// Where one cannot be read; what had been read by then stands.
pub async fn collect(desk: &Desk) -> Result<Collected, DeliveryError> {
    let mut collected = Collected::default();
    let Some(path) = desk.settings.return_path().map_err(|error| DeliveryError::Returns(Box::new(error)))? else {
        return Ok(collected);
    };
    let mut failed = None;
    for (name, settings) in &desk.settings.mailboxes {
        let read = async { empty(desk, name, &mut settings.open(&desk.root)?, &path, &mut collected).await };
        if let Err(error) = read.await {
            tracing::error!(mailbox = %name, %error, "a mailbox could not be read");
            failed.get_or_insert(error);
        }
    }
    tracing::info!(mails = collected.mails, noted = ?collected.noted, known = collected.known, ignored = ?collected.ignored, "returns read");
    failed.map_or(Ok(collected), Err)
}

/// Reads one mailbox to its end.
async fn empty(
    desk: &Desk,
    name: &str,
    mailbox: &mut super::Mailbox,
    path: &ReturnPath,
    collected: &mut Collected,
) -> Result<(), DeliveryError> {
    let broken = |error| DeliveryError::Returns(Box::new(error));
    let mut cursor = Cursor::new(desk.ledger.mailbox_cursor(name).await?.unwrap_or_default());
    loop {
        let fetched = mailbox.fetch(&cursor, GROUP).await.map_err(broken)?;
        if fetched.mails.is_empty() {
            return Ok(());
        }
        let mut looked = Vec::with_capacity(fetched.mails.len());
        for mail in &fetched.mails {
            let understood = take(desk, name, mail, path, collected).await?;
            looked.push(Looked { id: mail.id.clone(), understood });
        }
        collected.mails += fetched.mails.len() as u64;
        mailbox.mark(&looked).await.map_err(broken)?;
        desk.ledger.mailbox_read(name, fetched.cursor.as_str(), desk.clock.now()).await?;
        cursor = fetched.cursor;
    }
}

/// Takes one mail in; whether it was a notice about a message of ours.
async fn take(desk: &Desk, mailbox: &str, mail: &Mail, path: &ReturnPath, collected: &mut Collected) -> Result<bool, LedgerError> {
    let notices = match read(&mail.bytes, path) {
        Ok(notices) => notices,
        Err(reason) => {
            *collected.ignored.entry(reason.as_str()).or_default() += 1;
            return Ok(false);
        }
    };
    let now = desk.clock.now();
    let returned: Vec<Returned> = notices
        .iter()
        .enumerate()
        .map(|(at, notice)| Returned {
            event_id: format!("returned:{mailbox}:{}:{at}", mail.id),
            // A report dated ahead would stand after everything that follows it.
            at: notice.at.unwrap_or(now).min(now),
            kind: kind(notice.kind),
            message_id: about(desk, notice),
            address_hash: notice.recipient.as_deref().map(|address| address_hash(&desk.keys, address)),
            proven: false,
            detail: notice.diagnostic.clone().or_else(|| notice.status.map(|status| status.to_string())),
        })
        .collect();
    let noted = note(desk, &returned).await?;
    for (one, noted) in returned.iter().zip(&noted) {
        match noted {
            Noted::New => *collected.noted.entry(one.kind.as_str()).or_default() += 1,
            Noted::Known => collected.known += 1,
            Noted::Foreign => *collected.ignored.entry("not_ours").or_default() += 1,
        }
    }
    Ok(noted.iter().any(|noted| *noted != Noted::Foreign))
}

/// Which message a notice is about: by the return path it came by, which nobody else can make up, else by the headers that were returned.
fn about(desk: &Desk, notice: &Notice) -> Option<String> {
    let proven = notice.verp.as_deref().and_then(|local| Reference::read(&desk.keys, local)).map(|reference| reference.prefix());
    proven.or_else(|| notice.original_message_id.clone())
}

fn kind(kind: Kind) -> ReturnKind {
    match kind {
        Kind::Failed { hard } => ReturnKind::Bounced { hard },
        Kind::Delayed => ReturnKind::Delayed,
        Kind::Delivered => ReturnKind::Delivered,
        Kind::Complaint => ReturnKind::Complained,
        Kind::OptOut => ReturnKind::Unsubscribed,
    }
}

/// What a provider's call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Everything in it stands.
    Taken,
    /// There is no such provider in the settings.
    Stranger,
    /// Nothing proves that the provider sent it, or it is not what the provider sends.
    Refused,
    /// It could not be looked at now; the provider is to send it again.
    Later,
}

/// The providers of the settings, with their secrets at hand.
#[derive(Debug)]
pub struct Providers {
    desk: Desk,
    providers: BTreeMap<String, Provider>,
    certificates: Fetched,
}

impl Providers {
    /// Opens them.
    ///
    /// # Errors
    /// Where a secret cannot be read or used.
    pub fn open(desk: Desk) -> Result<Self, DeliveryError> {
        let open = |(name, settings): (&String, &super::ProviderSettings)| Ok((name.clone(), settings.open(name, &desk.root)?));
        let providers = desk.settings.providers.iter().map(open).collect::<Result<_, DeliveryError>>()?;
        Ok(Self { providers, certificates: Fetched::new()?, desk })
    }

    /// Takes a call in, as it came to `/returns/<name>`.
    pub async fn hear(&self, name: &str, headers: &HeaderMap, body: &[u8]) -> Heard {
        let Some(provider) = self.providers.get(name) else { return Heard::Stranger };
        let now = self.desk.clock.now();
        let reading = match provider.read(&Call { headers, body, now }, &self.certificates).await {
            Ok(reading) => reading,
            Err(refused) => {
                tracing::warn!(provider = name, %refused, "a call was refused");
                return if refused.is_transient() { Heard::Later } else { Heard::Refused };
            }
        };
        for ignored in &reading.ignored {
            tracing::debug!(provider = name, %ignored, "an event was passed over");
        }
        let noted = async {
            if let Some(replay) = &reading.replay
                && self.desk.ledger.has_taken_call(&replay.key).await?
            {
                return Ok(());
            }
            let returned: Vec<Returned> = reading.events.iter().map(|event| self.returned(name, event)).collect();
            note(&self.desk, &returned).await?;
            if let Some(replay) = &reading.replay {
                self.desk.ledger.call_taken(&replay.key, replay.until, now).await?;
            }
            Ok::<_, LedgerError>(())
        };
        if let Err(error) = noted.await {
            tracing::error!(provider = name, %error, "what a provider told could not be written");
            return Heard::Later;
        }
        match reading.action {
            Some(Action::Confirm(url)) => match self.certificates.get(&url).await {
                Ok(_) => tracing::info!(provider = name, "the subscription is confirmed"),
                Err(reason) => {
                    tracing::error!(provider = name, reason, "the subscription could not be confirmed");
                    return Heard::Later;
                }
            },
            Some(Action::Ended) => tracing::warn!(provider = name, "the subscription has ended: no more events will come"),
            None => {}
        }
        Heard::Taken
    }

    fn returned(&self, name: &str, event: &provider::ProviderEvent) -> Returned {
        Returned {
            event_id: format!("{name}:{}", event.event_id),
            at: event.at,
            kind: match event.kind {
                provider::Kind::Delivered => ReturnKind::Delivered,
                provider::Kind::Bounced { hard } => ReturnKind::Bounced { hard },
                provider::Kind::Deferred => ReturnKind::Delayed,
                provider::Kind::Complained => ReturnKind::Complained,
                provider::Kind::Unsubscribed => ReturnKind::Unsubscribed,
                provider::Kind::Rejected => ReturnKind::Dropped,
            },
            message_id: event.message_id.clone(),
            address_hash: event.recipient.as_deref().map(|address| address_hash(&self.desk.keys, address)),
            proven: true,
            detail: event.detail.clone(),
        }
    }
}

/// Writes down what came back, and counts what is new.
async fn note(desk: &Desk, returned: &[Returned]) -> Result<Vec<Noted>, LedgerError> {
    let noted = desk.ledger.note_returned(returned, desk.settings.soft_bounces, desk.clock.now()).await?;
    for (one, _) in returned.iter().zip(&noted).filter(|(_, noted)| **noted == Noted::New) {
        metrics::counter!("perennial_returns_total", "kind" => one.kind.as_str()).increment(1);
    }
    Ok(noted)
}

/// Certificates from Amazon, each fetched once.
#[derive(Debug)]
struct Fetched {
    client: reqwest::Client,
    kept: Mutex<BTreeMap<Url, Vec<u8>>>,
}

impl Fetched {
    fn new() -> Result<Self, DeliveryError> {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).https_only(true).build();
        let client = client.map_err(|error| {
            let diagnosis = crate::diagnosis::Diagnosis::new("returns", format!("no connection to providers can be set up: {error}"));
            DeliveryError::Settings(Box::new(diagnosis))
        })?;
        Ok(Self { client, kept: Mutex::new(BTreeMap::new()) })
    }

    /// A document of some length at most.
    async fn get(&self, url: &Url) -> Result<Vec<u8>, String> {
        let said = |error: reqwest::Error| error.without_url().to_string();
        let mut answer = self.client.get(url.clone()).send().await.map_err(said)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(format!("it was answered with {}", answer.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(said)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LONGEST_CERTIFICATE {
                return Err("the answer is too long".to_owned());
            }
        }
        Ok(bytes)
    }
}

#[async_trait]
impl Certificates for Fetched {
    async fn fetch(&self, url: &Url) -> Result<Vec<u8>, String> {
        let mut kept = self.kept.lock().await;
        if let Some(certificate) = kept.get(url) {
            return Ok(certificate.clone());
        }
        let certificate = self.get(url).await?;
        if kept.len() >= MOST_CERTIFICATES {
            kept.clear();
        }
        kept.insert(url.clone(), certificate.clone());
        Ok(certificate)
    }
}
