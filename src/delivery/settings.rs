//! `[delivery]` in `config/perennial.toml`: by which way messages leave, whom they may reach, and how often.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use chrono::NaiveTime;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{
    api::{ApiSettings, Auth, Rate, Section},
    breaker::BreakerSettings,
    error::DeliveryError,
    returns::ReturnsSettings,
    shaping::ShapingSettings,
};
use crate::{
    config::{Cap, Period, QuietHours, nearest},
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
    /// At what pace mail leaves.
    pub shaping: ShapingSettings,
    /// The mail relay, for `email = "smtp"`.
    pub smtp: Option<SmtpSettings>,
    /// The provider's HTTP API, for `email = "api"`.
    pub api: Option<ApiSettings>,
    /// What comes back: bounces, complaints.
    pub returns: ReturnsSettings,
    /// Where webhook calls go; without it, to the outbox.
    pub webhook: Option<WebhookSettings>,
    /// Further places calls go to, by name: a campaign chooses one with `receiver = "<name>"`.
    pub receivers: BTreeMap<String, WebhookSettings>,
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
            shaping: ShapingSettings::default(),
            smtp: None,
            api: None,
            returns: ReturnsSettings::default(),
            webhook: None,
            receivers: BTreeMap::new(),
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
    /// The provider's API of `[delivery.api]`.
    Api,
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

/// `[delivery.webhook]` and `[delivery.receivers.<name>]`: a system that speaks Standard Webhooks at `url`, or another one by a description
/// of its API.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Where calls are posted to; https, except for hosts named in `allow` and the machine itself. Beside `use`: another address for the
    /// same API.
    #[serde(default)]
    pub url: Option<String>,
    /// What calls are signed with by Standard Webhooks: `whsec_` and base64 of 24 to 64 bytes. Without it they are not signed.
    #[serde(default)]
    pub secret: Option<SecretRef>,
    /// In place of a system that speaks Standard Webhooks: `"slack"`, `"slack-hook"`, `"hubspot-task"`, `"salesforce-task"`, `"braze"`,
    /// `"twilio-sms"`, `"twilio-whatsapp"`, or `"<name>"` of a description of your own, `config/apis/<name>.toml`.
    #[serde(default, rename = "use")]
    pub api: Option<String>,
    /// With `use`: what its description leaves to the deployment, `{ channel = "C0123456789" }`. `perennial check` names what is missing.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
    /// With `use`: how it knows us, in place of what its description says.
    #[serde(default)]
    pub(crate) auth: Option<Auth>,
    /// With `use`: how often it may be called, in place of what its description says.
    #[serde(default)]
    pub(crate) rate: Option<Rate>,
    /// Hosts that may be called without https, and where they lie inside the house (private addresses, this machine's network).
    #[serde(default)]
    pub allow: Vec<String>,
    /// How long the other side may take; 30 seconds, or what its description says, unless set.
    #[serde(default)]
    pub timeout: Option<Period>,
}

impl WebhookSettings {
    /// The API in use, where one is named.
    pub(crate) fn as_api(&self) -> Option<ApiSettings> {
        Some(ApiSettings {
            api: self.api.clone()?,
            values: self.values.clone(),
            url: self.url.clone(),
            auth: self.auth.clone(),
            allow: self.allow.clone(),
            rate: self.rate,
            timeout: self.timeout,
        })
    }

    /// Whether calls go to this machine itself.
    pub(crate) fn is_loopback(&self, section: &Section, root: &Path) -> bool {
        match self.as_api() {
            Some(api) => api.is_loopback(section, root),
            None => self.is_near(),
        }
    }

    /// Whether `url` is this machine itself.
    pub(crate) fn is_near(&self) -> bool {
        let url = self.url.as_deref().and_then(|url| url::Url::parse(url).ok());
        url.is_some_and(|url| url.host_str().is_some_and(is_loopback))
    }

    /// A sentence for everything that would make calls fail, or leave the house where they must not; but for what is wrong with an API.
    pub(crate) fn mistakes(&self, section: &Section, practice_keys: bool) -> Vec<Diagnosis> {
        let name = &section.name;
        let mut found = Vec::new();
        let mut wrong = |code: &str, message: String, hint: String| found.push(Diagnosis::new(code, message).in_file(FILE).hint(hint));
        let url = match (&self.url, &self.api) {
            (_, Some(_)) => {
                if self.secret.is_some() {
                    let message =
                        format!("{name} has `secret` and `use`; calls are signed with `secret` only where they go to `url` alone");
                    wrong("webhook", message, "remove `secret`: the API's description says how it knows us".to_owned());
                }
                return found;
            }
            (None, None) => {
                wrong(
                    "webhook",
                    format!("{name} does not say where calls go"),
                    "set `url`, or `use` with the name of an API such as `slack`".to_owned(),
                );
                return found;
            }
            (Some(url), None) => url,
        };
        if !self.values.is_empty() || self.auth.is_some() || self.rate.is_some() {
            let message = format!("`values`, `auth` and `rate` of {name} belong to an API, and none is named");
            wrong("webhook", message, "set `use`, or remove them".to_owned());
        }
        match url::Url::parse(url) {
            Ok(url) if url.scheme() == "https" || url.scheme() == "http" => {
                let host = url.host_str().unwrap_or_default();
                let loopback = is_loopback(host);
                if practice_keys && !loopback {
                    let message =
                        format!("with the practice keys the program writes to the outbox and to this machine only, not to `{host}`");
                    wrong("practice", message, "set your own `[keys] master` before other systems are called".to_owned());
                }
                if url.scheme() == "http" && !loopback && !self.allow.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
                    let message = format!("calls to `{host}` would cross the network in the open");
                    wrong("webhook", message, format!("use https, or name the host in `allow` of {name}"));
                }
                if !url.username().is_empty() || url.password().is_some() {
                    wrong(
                        "webhook",
                        format!("the `url` of {name} holds a password"),
                        "take it out; calls are signed with `secret`".to_owned(),
                    );
                }
            }
            _ => wrong("webhook", format!("the `url` of {name} is not a web address"), "write it such as `https://…`".to_owned()),
        }
        found
    }

    /// What `perennial check` says.
    fn check(&self, section: &Section, root: &Path, practice_keys: bool) -> Vec<Finding> {
        let mistakes = self.mistakes(section, practice_keys).into_iter().map(Finding::error);
        mistakes.chain(self.as_api().map(|api| api.check(section, root, practice_keys)).unwrap_or_default()).collect()
    }
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
    let of_mail = settings.returns.mistakes().into_iter().chain(settings.shaping.mistakes());
    found.extend(of_mail.map(|diagnosis| (Channel::Email, diagnosis)));
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
        (EmailBy::Api, _) if settings.api.is_none() => {
            let hint = "add `[delivery.api]` with `use = \"ses\"`, `use = \"postmark\"` or a description of your own";
            wrong(Channel::Email, "api", "`email = \"api\"` needs an API".to_owned(), hint);
        }
        (EmailBy::Outbox | EmailBy::Api, _) => {}
    }
    if settings.smtp.as_ref().is_some_and(|smtp| smtp.messages_per_connection == 0) {
        let message = "with `messages_per_connection = 0` nothing could be sent".to_owned();
        wrong(Channel::Email, "smtp", message, "leave it out, or set how many messages your relay takes on a connection");
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

    /// The API letters leave by, where they do.
    pub(crate) fn email_api(&self) -> Option<(Section, &ApiSettings)> {
        let api = self.api.as_ref().filter(|_| self.email == EmailBy::Api)?;
        Some((Section { name: "[delivery.api]".to_owned(), channel: Channel::Email }, api))
    }

    /// Where calls go: to the receiver of that name, or to that of all who name none.
    ///
    /// # Errors
    /// Where there is no such receiver.
    pub(crate) fn receiver(&self, name: Option<&str>) -> Result<Option<(Section, &WebhookSettings)>, Diagnosis> {
        let section = |name: String| Section { name, channel: Channel::Webhook };
        let Some(name) = name else {
            return Ok(self.webhook.as_ref().map(|webhook| (section("[delivery.webhook]".to_owned()), webhook)));
        };
        match self.receivers.get(name) {
            Some(receiver) => Ok(Some((section(format!("[delivery.receivers.{name}]")), receiver))),
            None => {
                let hint = match nearest(name, self.receivers.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`? Otherwise add `[delivery.receivers.{name}]` to {FILE}"),
                    None => format!("add `[delivery.receivers.{name}]` to {FILE}, with `url` or `use`"),
                };
                Err(Diagnosis::new("unknown_receiver", format!("there is no receiver `{name}`")).hint(hint))
            }
        }
    }

    /// Whether a campaign's calls fit the API its receiver names, tried out with made-up ones. What is wrong with the API is for
    /// [`Self::check`] to say.
    ///
    /// # Errors
    /// Why they do not: there is no such receiver (`unknown_receiver`), or its description needs something else (`api_body`).
    pub fn try_out(&self, receiver: Option<&str>, calls: &[String], root: &Path) -> Result<(), Diagnosis> {
        let Some((section, receiver)) = self.receiver(receiver)? else { return Ok(()) };
        let Some(settings) = receiver.as_api() else { return Ok(()) };
        let Ok(api) = settings.open(&section, root, false) else { return Ok(()) };
        match calls.iter().find_map(|call| api.fits(call).err()) {
            None => Ok(()),
            Some(error) => {
                let message = format!("what the template makes does not fit `{}`: {error}", settings.api);
                Err(Diagnosis::new("api_body", message)
                    .hint("write what its description asks for: see \"Notes to staff\" in docs/marketing.md"))
            }
        }
    }

    /// What `perennial check` says about these settings, of the project in `root`.
    #[must_use]
    pub fn check(&self, practice_keys: bool, root: &Path) -> Vec<Finding> {
        let mut found: Vec<Finding> = mistakes(self, practice_keys).into_iter().map(|(_, diagnosis)| Finding::error(diagnosis)).collect();
        if let Some((section, api)) = self.email_api() {
            found.extend(api.check(&section, root, practice_keys));
        }
        let names = self.receivers.keys().map(|name| Some(name.as_str()));
        for (section, receiver) in std::iter::once(None).chain(names).filter_map(|name| self.receiver(name).ok().flatten()) {
            found.extend(receiver.check(&section, root, practice_keys));
        }
        let mut seen = Vec::new();
        for finding in found {
            if !seen.contains(&finding) {
                seen.push(finding);
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<DeliverySettings, crate::config::ConfigError> {
        crate::config::parse(text, Path::new(FILE))
    }

    #[test]
    fn nothing_set_means_the_outbox_for_everybody() {
        let settings = parse("").unwrap();
        assert_eq!(settings.email, EmailBy::Outbox);
        assert_eq!((settings.policy.cap.messages, settings.policy.quiet_hours), (4, None));
        assert!(settings.check(true, Path::new(".")).is_empty());
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
        assert!(settings.check(false, Path::new(".")).is_empty(), "{:?}", settings.check(false, Path::new(".")));
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
            parse(text).unwrap().check(practice, Path::new(".")).into_iter().map(|finding| finding.diagnosis.code).collect()
        };
        assert_eq!(codes("email = \"smtp\"", false), ["smtp"]);
        assert_eq!(codes("email = \"smtp\"\n[smtp]\nhost = \"relay.example\"", true), ["practice"]);
        assert!(codes("email = \"smtp\"\n[smtp]\nhost = \"127.0.0.1\"", true).is_empty());
        assert_eq!(codes("email = \"smtp\"\n[smtp]\nhost = \"relay.example\"\nusername = \"u\"", false), ["smtp"]);
        assert_eq!(codes("[webhook]\nurl = \"http://crm.example/x\"", false), ["webhook"]);
        assert!(codes("[webhook]\nurl = \"http://crm.example/x\"\nallow = [\"crm.example\"]", false).is_empty());
        assert_eq!(codes("[webhook]\nurl = \"https://crm.example/x\"", true), ["practice"]);
        assert_eq!(codes("[webhook]\ntimeout = \"5s\"", false), ["webhook"]);
        assert_eq!(codes("[webhook]\nurl = \"https://crm.example/x\"\nvalues = { a = \"b\" }", false), ["webhook"]);
        assert_eq!(codes("[receivers.sms]\nuse = \"twilio-sms\"\nsecret = { env = \"X\" }", false)[0], "webhook");
        assert_eq!(codes("email = \"api\"", false), ["api"]);
        assert_eq!(codes("public_url = \"http://hello.example\"", false), ["public_url"]);
        assert!(codes("public_url = \"http://127.0.0.1:8080\"", true).is_empty());
        assert_eq!(codes("only_to = [\"[\"]", false), ["only_to"]);
    }
}
