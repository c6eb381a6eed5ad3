//! `[delivery.returns]` in `config/perennial.toml`: where bounces and complaints come back to, and who may tell of them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Imap, ImapDoor, Mailbox, Maildir, Mbox, ReturnPath, ReturnsError,
    provider::{Mailgun, Postmark, Provider, SendGrid, Ses, Standard},
};
use crate::{
    config::{Cap, Period},
    delivery::{error::DeliveryError, settings::Tls},
    diagnosis::{Diagnose as _, Diagnosis},
    secret::SecretRef,
};

const FILE: &str = "config/perennial.toml";

/// `[delivery.returns]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReturnsSettings {
    /// The address bounces come back to. Every message gets its own, such as `bounces+<token>@mail.ourshop.com`, by which a bounce names
    /// its message; the mail system must take what follows the `+`. Without it bounces go to the relay's `return_path`.
    pub address: Option<String>,
    /// An address is suppressed after so many bounces for other reasons than a missing mailbox, with nothing delivered in between.
    pub soft_bounces: Cap,
    /// Where mail that came back is read from, by names of your own.
    pub mailboxes: BTreeMap<String, MailboxSettings>,
    /// Providers that tell of bounces and complaints by calling `perennial serve` at `/returns/<name>`, by names of your own.
    pub providers: BTreeMap<String, ProviderSettings>,
}

impl Default for ReturnsSettings {
    fn default() -> Self {
        Self {
            address: None,
            soft_bounces: Cap { messages: 3, within: Period::days(30) },
            mailboxes: BTreeMap::new(),
            providers: BTreeMap::new(),
        }
    }
}

/// A mailbox: one of a maildir, an mbox file and a folder on a mail server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MailboxSettings {
    /// A folder with one file a mail, from the project folder.
    Maildir(PathBuf),
    /// One file with all mails, from the project folder; it is only read.
    Mbox(PathBuf),
    /// A folder on a mail server.
    Imap(ImapSettings),
}

/// A folder on a mail server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImapSettings {
    /// The server's name.
    pub host: String,
    /// Its port; 993 with `tls`, 143 with `starttls` unless set.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the connection is kept secret: `tls` or `starttls`.
    #[serde(default = "sealed")]
    pub tls: Tls,
    /// The account.
    pub username: String,
    /// Its password.
    pub password: SecretRef,
    /// The folder.
    #[serde(default = "inbox")]
    pub folder: String,
    /// A PEM file of the authority that signed the server's certificate, where it is not a public one.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

fn sealed() -> Tls {
    Tls::Tls
}

fn inbox() -> String {
    "INBOX".to_owned()
}

/// A provider that calls, and what proves that it is the provider.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderSettings {
    /// Twilio SendGrid's signed event webhook.
    Sendgrid(SendgridSettings),
    /// Amazon SES by way of an SNS topic with `SignatureVersion` 2.
    Ses(SesSettings),
    /// Mailgun's webhooks.
    Mailgun(MailgunSettings),
    /// Postmark's webhooks, with a user and a password in their address.
    Postmark(PostmarkSettings),
    /// A bridge of your own that signs by Standard Webhooks.
    Standard(StandardSettings),
}

/// What proves a call of SendGrid's.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendgridSettings {
    /// The verification key SendGrid shows: base64.
    pub public_key: String,
}

/// What proves a call of Amazon's.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SesSettings {
    /// The topic: `arn:aws:sns:…`.
    pub topic: String,
}

/// What proves a call of Mailgun's.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MailgunSettings {
    /// The HTTP webhook signing key.
    pub signing_key: SecretRef,
}

/// What proves a call of Postmark's.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostmarkSettings {
    /// The user.
    pub username: String,
    /// The password.
    pub password: SecretRef,
}

/// What proves a call by Standard Webhooks.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StandardSettings {
    /// `whsec_` and base64 of 24 to 64 bytes.
    pub secret: SecretRef,
}

impl ReturnsSettings {
    /// Where bounces come back to, with a token for each message.
    pub(crate) fn return_path(&self) -> Result<Option<ReturnPath>, ReturnsError> {
        self.address.as_deref().map(ReturnPath::new).transpose()
    }

    /// A sentence for everything that would keep returns from being read.
    pub(crate) fn mistakes(&self) -> Vec<Diagnosis> {
        let mut found: Vec<Diagnosis> = self.return_path().err().map(|error| error.diagnosis().in_file(FILE)).into_iter().collect();
        if !self.mailboxes.is_empty() && self.address.is_none() {
            let message = "mailboxes are read, and `[delivery.returns]` does not say to which address bounces come back";
            found.push(Diagnosis::new("returns", message).in_file(FILE).hint("set `address`, such as `bounces@mail.ourshop.com`"));
        }
        if self.soft_bounces.messages == 0 {
            let message = "with `soft_bounces = { messages = 0 }` the first full mailbox would silence its owner";
            found.push(Diagnosis::new("returns", message).in_file(FILE).hint("three within 30 days are usual"));
        }
        for (name, settings) in &self.providers {
            let unfit = match settings {
                ProviderSettings::Sendgrid(SendgridSettings { public_key }) => {
                    SendGrid::new(public_key).is_none().then_some("`public_key` is no key of SendGrid's: base64 of an ECDSA P-256 key")
                }
                ProviderSettings::Ses(SesSettings { topic }) => {
                    Ses::new(topic).is_none().then_some("`topic` is no ARN such as `arn:aws:sns:eu-central-1:1:mail`")
                }
                _ => None,
            };
            found.extend(unfit.map(|message| unusable(name, message)));
        }
        found
    }
}

impl MailboxSettings {
    /// Opens the mailbox.
    pub(crate) fn open(&self, root: &Path) -> Result<Mailbox, DeliveryError> {
        let wrong = |error: ReturnsError| DeliveryError::Returns(Box::new(error));
        Ok(match self {
            Self::Maildir(path) => Mailbox::Maildir(Maildir::open(root.join(path)).map_err(wrong)?),
            Self::Mbox(path) => Mailbox::Mbox(Mbox::new(root.join(path))),
            Self::Imap(imap) => {
                let door = ImapDoor {
                    host: imap.host.clone(),
                    port: imap.port,
                    tls: imap.tls,
                    username: imap.username.clone(),
                    password: imap.password.resolve(root)?,
                    folder: imap.folder.clone(),
                };
                let ca = imap.ca.as_ref().map(|file| root.join(file));
                Mailbox::Imap(Box::new(Imap::new(door, ca.as_deref()).map_err(wrong)?))
            }
        })
    }
}

impl ProviderSettings {
    /// The provider, with its secret at hand.
    pub(crate) fn open(&self, name: &str, root: &Path) -> Result<Provider, DeliveryError> {
        let (provider, unfit) = match self {
            Self::Sendgrid(SendgridSettings { public_key }) => {
                (SendGrid::new(public_key).map(Provider::SendGrid), "`public_key` cannot be used")
            }
            Self::Ses(SesSettings { topic }) => (Ses::new(topic).map(Provider::Ses), "`topic` cannot be used"),
            Self::Mailgun(MailgunSettings { signing_key }) => {
                (Mailgun::new(&signing_key.resolve(root)?).map(Provider::Mailgun), "`signing_key` is empty")
            }
            Self::Postmark(PostmarkSettings { username, password }) => (
                Postmark::new(username, &password.resolve(root)?).map(Provider::Postmark),
                "`password` is empty, or there is a `:` in `username`",
            ),
            Self::Standard(StandardSettings { secret }) => {
                (Standard::new(&secret.resolve(root)?).map(Provider::Standard), "`secret` is not `whsec_` and base64 of 24 to 64 bytes")
            }
        };
        provider.ok_or_else(|| DeliveryError::Settings(Box::new(unusable(name, unfit))))
    }
}

fn unusable(name: &str, message: &str) -> Diagnosis {
    Diagnosis::new("returns", format!("[delivery.returns.providers.{name}]: {message}"))
        .in_file(FILE)
        .hint("copy it anew from the provider's page")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ReturnsSettings {
        crate::config::parse(text, Path::new(FILE)).unwrap()
    }

    #[test]
    fn every_setting_is_read_and_what_would_fail_is_named() {
        let settings = parse(
            "address = \"bounces@mail.shop.example\"\nsoft_bounces = { messages = 2, within = \"7d\" }\n\
             [mailboxes.bounces]\nmaildir = \"mail\"\n[mailboxes.loop.imap]\nhost = \"h\"\nusername = \"u\"\npassword = { env = \"P\" }\n\
             [providers.relay.ses]\ntopic = \"arn:aws:sns:eu-central-1:123456789012:mail\"\n[providers.own.standard]\nsecret = { env = \"S\" }\n",
        );
        assert!(settings.mistakes().is_empty(), "{:?}", settings.mistakes());
        assert!(matches!(&settings.mailboxes["loop"], MailboxSettings::Imap(imap) if imap.folder == "INBOX" && imap.tls == Tls::Tls));

        let said = |text: &str| parse(text).mistakes().into_iter().map(|diagnosis| diagnosis.message).collect::<Vec<_>>().join("; ");
        assert!(said("address = \"bounces\"").contains("it has no `@`"));
        assert!(said("[mailboxes.a]\nmbox = \"x\"").contains("does not say to which address"));
        assert!(said("soft_bounces = { messages = 0, within = \"7d\" }").contains("first full mailbox"));
        assert!(said("[providers.a.ses]\ntopic = \"mail\"").contains("no ARN"));
        assert!(said("[providers.a.sendgrid]\npublic_key = \"mail\"").contains("no key"));
    }
}
