//! `[delivery]` in `config/perennial.toml`: by which way messages leave, whom they may reach, and how often.

use std::{net::IpAddr, path::PathBuf};

use chrono::NaiveTime;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{breaker::BreakerSettings, error::DeliveryError, returns::ReturnsSettings};
use crate::{
    config::{Cap, Period, QuietHours},
    diagnosis::{Diagnosis, Finding},
    message::{Channel, mailable},
    secret::SecretRef,
};

const FILE: &str = "config/perennial.toml";

/// `[delivery]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeliverySettings {
    /// By which way emails leave.
    pub email: EmailBy,
    /// The address the program's server is reached at from outside, https; unsubscribe links begin with it.
    pub public_url: Option<String>,
    /// Patterns such as `*@ourshop.com`; whoever matches none of them is never written to, and notes to staff go to the outbox unless
    /// their receiver is this machine. Empty: everybody may be.
    pub only_to: Vec<String>,
    /// How old each person's present state may be.
    pub max_age: Period,
    /// How often people are written to, and when not.
    pub policy: PolicySettings,
    /// When a campaign stops by itself.
    pub breaker: BreakerSettings,
    /// The mail relay, for `email = "smtp"`.
    pub smtp: Option<SmtpSettings>,
    /// What comes back: bounces, complaints.
    pub returns: ReturnsSettings,
    /// Where webhook calls go; without it, to the outbox.
    pub webhook: Option<WebhookSettings>,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            email: EmailBy::Outbox,
            public_url: None,
            only_to: Vec::new(),
            max_age: Period::hours(24),
            policy: PolicySettings::default(),
            breaker: BreakerSettings::default(),
            smtp: None,
            returns: ReturnsSettings::default(),
            webhook: None,
        }
    }
}

/// By which way emails leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmailBy {
    /// Files in `data/outbox`; nothing leaves the house.
    Outbox,
    /// The relay of `[delivery.smtp]`.
    Smtp,
}

/// `[delivery.policy]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySettings {
    /// The most messages a person gets in a period, of all campaigns together.
    pub cap: Cap,
    /// The peace after any message of ours for people who asked for fewer letters; marketing only.
    pub fewer: Period,
    /// From when to when nobody is written to, on the clock on the person's wall: `["21:00", "08:00"]`.
    #[serde(deserialize_with = "quiet_hours")]
    pub quiet_hours: Option<QuietHours>,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self { cap: Cap { messages: 4, within: Period::days(30) }, fewer: Period::days(90), quiet_hours: None }
    }
}

fn quiet_hours<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<QuietHours>, D::Error> {
    let [from, to] = <[String; 2]>::deserialize(deserializer)?;
    let time = |text: &str| {
        NaiveTime::parse_from_str(text, "%H:%M")
            .map_err(|_| de::Error::custom(format!("`{text}` is not a time of day; write it such as `21:00`")))
    };
    Ok(Some(QuietHours { from: time(&from)?, to: time(&to)? }))
}

/// `[delivery.smtp]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SmtpSettings {
    /// The relay's host name or address.
    pub host: String,
    /// Its port; 465 with `tls`, 587 with `starttls`, 25 with `none` unless set.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the connection is kept secret.
    #[serde(default)]
    pub tls: Tls,
    /// The account on the relay.
    #[serde(default)]
    pub username: Option<String>,
    /// Its password, or with `login = "xoauth2"` its access token. It is read for every connection, so that a token another program renews
    /// in a file is taken.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// How the account proves who it is.
    #[serde(default)]
    pub login: Login,
    /// A PEM file of the authority that signed the relay's certificate, where it is not a public one.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// How many connections are open at once.
    #[serde(default = "four")]
    pub connections: usize,
    /// How many messages a connection carries before it is closed and another opened.
    #[serde(default = "one_thousand")]
    pub messages_per_connection: u64,
    /// The address bounces go to; the brand's `from` unless set.
    #[serde(default)]
    pub return_path: Option<String>,
}

fn four() -> usize {
    4
}

fn one_thousand() -> u64 {
    1_000
}

/// How an account on a relay proves who it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Login {
    /// By a password: `PLAIN`, or `LOGIN` where the relay has only that.
    #[default]
    Password,
    /// By an OAuth 2 access token: `XOAUTH2`, which Google and Microsoft ask for.
    Xoauth2,
}

/// How an SMTP connection is kept secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Not at all.
    None,
    /// It begins in the open and must turn secret before anything is said.
    #[default]
    Starttls,
    /// From the first byte.
    Tls,
}

impl SmtpSettings {
    /// The port in use.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            Tls::None => 25,
            Tls::Starttls => 587,
            Tls::Tls => 465,
        })
    }
}

/// `[delivery.webhook]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Where calls are posted to; https, except for hosts named in `allow` and the machine itself.
    pub url: String,
    /// What calls are signed with by Standard Webhooks: `whsec_` and base64 of 24 to 64 bytes. Without it they are not signed.
    #[serde(default)]
    pub secret: Option<SecretRef>,
    /// Hosts that may be called without https, and where they lie inside the house (private addresses, this machine's network).
    #[serde(default)]
    pub allow: Vec<String>,
    /// How long the other side may take.
    #[serde(default = "thirty_seconds")]
    pub timeout: Period,
}

impl WebhookSettings {
    /// Whether calls go to this machine itself.
    pub(crate) fn is_loopback(&self) -> bool {
        url::Url::parse(&self.url).is_ok_and(|url| url.host_str().is_some_and(is_loopback))
    }
}

fn thirty_seconds() -> Period {
    Period::seconds(30)
}

/// Whether a host name or address is this machine itself.
#[must_use]
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A sentence for every setting that would make a delivery on this channel fail, or leave the house where it must not.
pub(crate) fn mistakes(settings: &DeliverySettings, practice_keys: bool) -> Vec<(Channel, Diagnosis)> {
    let mut found = Vec::new();
    let mut wrong = |channel, code: &str, message: String, hint: &str| {
        found.push((channel, Diagnosis::new(code, message).in_file(FILE).hint(hint)));
    };
    for pattern in &settings.only_to {
        if let Err(error) = glob::Pattern::new(pattern) {
            let message = format!("`{pattern}` in `only_to` is not a pattern: {}", error.msg);
            wrong(Channel::Email, "only_to", message.clone(), "write it such as `*@ourshop.com`");
            wrong(Channel::Webhook, "only_to", message, "write it such as `*@ourshop.com`");
        }
    }
    found.extend(settings.returns.mistakes().into_iter().map(|diagnosis| (Channel::Email, diagnosis)));
    let mut wrong = |channel, code: &str, message: String, hint: &str| {
        found.push((channel, Diagnosis::new(code, message).in_file(FILE).hint(hint)));
    };
    if settings.returns.address.is_some() && settings.smtp.as_ref().is_some_and(|smtp| smtp.return_path.is_some()) {
        let message = "bounces cannot go to `address` of `[delivery.returns]` and to `return_path` of `[delivery.smtp]`".to_owned();
        wrong(Channel::Email, "returns", message, "remove `return_path`");
    }
    match (settings.email, &settings.smtp) {
        (EmailBy::Smtp, None) => {
            wrong(Channel::Email, "smtp", "`email = \"smtp\"` needs a relay".to_owned(), "add `[delivery.smtp]` with `host = …`");
        }
        (EmailBy::Smtp, Some(smtp)) => {
            let loopback = is_loopback(&smtp.host);
            if practice_keys && !loopback {
                let message =
                    format!("with the practice keys the program writes to the outbox and to this machine only, not to `{}`", smtp.host);
                wrong(Channel::Email, "practice", message, "set your own `[keys] master` before real people are written to");
            }
            if smtp.username.is_some() != smtp.password.is_some() {
                let message = "`username` and `password` of `[delivery.smtp]` belong together".to_owned();
                wrong(Channel::Email, "smtp", message, "set both, or neither");
            }
            if smtp.username.is_some() && smtp.tls == Tls::None && !loopback {
                let message = "a password would cross the network in the open".to_owned();
                wrong(Channel::Email, "smtp", message, "set `tls = \"starttls\"` or `tls = \"tls\"` in `[delivery.smtp]`");
            }
            if smtp.connections == 0 || smtp.connections > 64 {
                let message = format!("`connections = {}` is outside 1 to 64", smtp.connections);
                wrong(Channel::Email, "smtp", message, "four are enough for most relays");
            }
        }
        (EmailBy::Outbox, _) => {}
    }
    if settings.smtp.as_ref().is_some_and(|smtp| smtp.messages_per_connection == 0) {
        let message = "with `messages_per_connection = 0` nothing could be sent".to_owned();
        wrong(Channel::Email, "smtp", message, "leave it out, or set how many messages your relay takes on a connection");
    }
    if let Some(webhook) = &settings.webhook {
        match url::Url::parse(&webhook.url) {
            Ok(url) if url.scheme() == "https" || url.scheme() == "http" => {
                let host = url.host_str().unwrap_or_default();
                let loopback = is_loopback(host);
                if practice_keys && !loopback {
                    let message =
                        format!("with the practice keys the program writes to the outbox and to this machine only, not to `{host}`");
                    wrong(Channel::Webhook, "practice", message, "set your own `[keys] master` before other systems are called");
                }
                if url.scheme() == "http" && !loopback && !webhook.allow.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
                    let message = format!("calls to `{host}` would cross the network in the open");
                    wrong(Channel::Webhook, "webhook", message, "use https, or name the host in `allow` of `[delivery.webhook]`");
                }
                if !url.username().is_empty() || url.password().is_some() {
                    let message = "the webhook's `url` holds a password".to_owned();
                    wrong(Channel::Webhook, "webhook", message, "take it out; calls are signed with `secret`");
                }
            }
            _ => wrong(Channel::Webhook, "webhook", "the webhook's `url` is not a web address".to_owned(), "write it such as `https://…`"),
        }
    }
    if let Some(text) = &settings.public_url {
        let sound = url::Url::parse(text)
            .is_ok_and(|url| url.scheme() == "https" || (url.scheme() == "http" && url.host_str().is_some_and(is_loopback)));
        if !sound {
            let message = format!("`public_url = \"{text}\"` is not an https address");
            wrong(Channel::Email, "public_url", message, "mail programs follow unsubscribe links by https only");
        }
    }
    found
}

/// `only_to`, read: whom this environment may reach.
#[derive(Debug, Clone)]
pub(crate) struct OnlyTo(Vec<glob::Pattern>);

impl OnlyTo {
    /// Whether everybody may be reached, also somebody whose address is not known.
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address may be reached, in whichever way its domain is written.
    pub(crate) fn allows(&self, address: &str) -> bool {
        let address = address.trim().to_lowercase();
        let matches = |address: &str| self.0.iter().any(|pattern| pattern.matches(address));
        self.is_open() || matches(&address) || mailable(&address).as_deref().is_some_and(matches)
    }
}

impl DeliverySettings {
    /// Whom this environment may reach.
    pub(crate) fn allowed(&self) -> Result<OnlyTo, DeliveryError> {
        let patterns = self.only_to.iter().map(|pattern| glob::Pattern::new(&pattern.to_lowercase())).collect::<Result<_, _>>();
        patterns.map(OnlyTo).map_err(|error| DeliveryError::Settings(Box::new(Diagnosis::new("only_to", error.to_string()))))
    }

    /// What `perennial check` says about these settings.
    #[must_use]
    pub fn check(&self, practice_keys: bool) -> Vec<Finding> {
        let mut seen = Vec::new();
        for (_, diagnosis) in mistakes(self, practice_keys) {
            if !seen.contains(&diagnosis) {
                seen.push(diagnosis);
            }
        }
        seen.into_iter().map(Finding::error).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Result<DeliverySettings, crate::config::ConfigError> {
        crate::config::parse(text, Path::new(FILE))
    }

    #[test]
    fn nothing_set_means_the_outbox_for_everybody() {
        let settings = parse("").unwrap();
        assert_eq!(settings.email, EmailBy::Outbox);
        assert_eq!((settings.policy.cap.messages, settings.policy.quiet_hours), (4, None));
        assert!(settings.check(true).is_empty());
    }

    #[test]
    fn every_setting_is_read() {
        let settings = parse(
            "email = \"smtp\"\npublic_url = \"https://hello.example\"\nonly_to = [\"*@ourshop.com\"]\nmax_age = \"12h\"\n\
             [policy]\ncap = { messages = 2, within = \"7d\" }\nquiet_hours = [\"21:00\", \"08:00\"]\n\
             [smtp]\nhost = \"relay.example\"\ntls = \"tls\"\nusername = \"u\"\npassword = { env = \"P\" }\nconnections = 2\n\
             [webhook]\nurl = \"https://crm.example/hook\"\nsecret = { file = \"x\" }\nallow = [\"10.0.0.1\"]\n",
        )
        .unwrap();
        assert_eq!(settings.smtp.as_ref().map(SmtpSettings::port), Some(465));
        assert!(settings.policy.quiet_hours.is_some());
        assert!(settings.check(false).is_empty(), "{:?}", settings.check(false));
    }

    #[test]
    fn unknown_keys_and_times_are_errors_with_their_line() {
        for (text, line) in [
            ("emial = \"smtp\"\n", 1),
            ("[policy]\ncaps = { messages = 1, within = \"1d\" }\n", 2),
            ("[policy]\ncap = { message = 1, within = \"1d\" }\n", 2),
            ("[policy]\nquiet_hours = [\"21:00\", \"25:00\"]\n", 2),
            ("[smtp]\nhost = \"x\"\ntsl = \"none\"\n", 3),
            ("[webhook]\nurl = \"x\"\nsecrets = { env = \"X\" }\n", 3),
        ] {
            let error = parse(text).unwrap_err().0;
            assert_eq!(error.line, Some(line), "{text}: {error:?}");
        }
    }

    #[test]
    fn what_would_harm_is_named_before_a_run() {
        let codes = |text: &str, practice| -> Vec<String> {
            parse(text).unwrap().check(practice).into_iter().map(|finding| finding.diagnosis.code).collect()
        };
        assert_eq!(codes("email = \"smtp\"", false), ["smtp"]);
        assert_eq!(codes("email = \"smtp\"\n[smtp]\nhost = \"relay.example\"", true), ["practice"]);
        assert!(codes("email = \"smtp\"\n[smtp]\nhost = \"127.0.0.1\"", true).is_empty());
        assert_eq!(codes("email = \"smtp\"\n[smtp]\nhost = \"relay.example\"\nusername = \"u\"", false), ["smtp"]);
        assert_eq!(codes("[webhook]\nurl = \"http://crm.example/x\"", false), ["webhook"]);
        assert!(codes("[webhook]\nurl = \"http://crm.example/x\"\nallow = [\"crm.example\"]", false).is_empty());
        assert_eq!(codes("[webhook]\nurl = \"https://crm.example/x\"", true), ["practice"]);
        assert_eq!(codes("public_url = \"http://hello.example\"", false), ["public_url"]);
        assert!(codes("public_url = \"http://127.0.0.1:8080\"", true).is_empty());
        assert_eq!(codes("only_to = [\"[\"]", false), ["only_to"]);
    }
}
