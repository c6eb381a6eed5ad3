//! A description is looked at before a run: what would fail, turn everybody away, or let something out that must stay in, is found with
//! file, line and hint.

use std::path::Path;

use chrono::DateTime;
use reqwest::header::HeaderName;
use url::Url;

use super::{
    answer::is_pointer,
    auth::{Auth, AuthError, ClientCredentials, Credentials},
    call::REPEATS,
    description::{Description, filled},
    request::{self, COMMON, Content, OF_EMAIL, OF_WEBHOOK, Outgoing, Unsendable},
    settings::{ApiSettings, DEPLOYMENT, Text},
    template::{Body, Fault, Template},
};
use crate::{
    config::{lines, locate, nearest, parse},
    delivery::{guard::Guard, settings::is_loopback},
    diagnosis::Diagnosis,
    message::Channel,
    secret::{Secret, SecretRef},
};

/// A description without mistakes, its templates compiled.
#[derive(Debug)]
pub(crate) struct Api {
    pub(super) description: Description,
    pub(super) body: Body,
}

/// Headers that are the program's own business.
const OURS: [&str; 8] =
    ["authorization", "connection", "content-length", "cookie", "host", "idempotency-key", "proxy-authorization", "transfer-encoding"];

/// What a message may put into the address.
const IN_URL: [&str; 6] = ["message_id", "id", "customer_id", "campaign", "plan", "secret"];

/// A made-up letter. Its texts hold whatever might break a body.
const SAMPLE: Outgoing<'static> = Outgoing {
    message_id: "0123456789abcdef0123456789abcdef@example.org",
    customer_id: "crm:17",
    campaign: "win-back",
    plan: "win-back-20261122T010000Z-0a1b2c3d",
    content: Content::Email {
        mime: b"From: A <a@example.org>\r\nList-Unsubscribe: <https://example.org/u/x>\r\n\r\nhello\r\n",
        from: "\"O'Neil\" <a@example.org>",
        to: "someone@example.org",
        subject: "\"{{ 1 }}\" \\ 😀",
        html: "<p class=\"x\">\u{2028}</p>\n",
        text: "\"\\\r\n\t",
    },
};

impl Api {
    /// The API described in `text`; what the deployment says in `section` goes before it.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(super) fn with(text: &Text, given: &ApiSettings, section: &str) -> Result<Self, Vec<Diagnosis>> {
        let file = text.file.as_deref().unwrap_or(Path::new("the description that ships"));
        let mut description: Description = parse(&text.text, file).map_err(|error| vec![error.0])?;
        let mut checks = Checks { text: &text.text, file: text.file.as_deref(), section, given, found: Vec::new() };
        if let Some(url) = &given.url {
            description.url.clone_from(url);
            // This machine may be named as it is: whoever writes the settings is on it.
            let own = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
            description.allow.extend(own.filter(|host| is_loopback(host)));
        }
        description.allow.extend(given.allow.iter().cloned());
        if let Some(auth) = &given.auth {
            description.auth = auth.clone();
        }
        description.rate = given.rate.or(description.rate);
        description.timeout = given.timeout.unwrap_or(description.timeout);
        // What is made of values that are yet to be filled in need not be told as well.
        if checks.values(&mut description) {
            checks.names(&description);
            checks.address(&description);
        }
        checks.answers(&description);
        checks.limits(&description);
        let body = checks.body(&description);
        let api = match body {
            Some(body) if checks.found.is_empty() => Self { description, body },
            _ => return Err(checks.found),
        };
        if let (Channel::Email, Err(error)) = (api.channel(), api.try_out(&SAMPLE)) {
            let key = if api.description.form.is_some() { "form" } else { "body" };
            checks.wrong(&[key], error.to_string(), "look for a comma too many or too few, and for a text without its quotes");
        }
        if checks.found.is_empty() { Ok(api) } else { Err(checks.found) }
    }

    /// Whom it may call: the internet, and the hosts in its `allow`.
    pub(crate) fn guard(&self) -> Guard {
        Guard::new(&self.description.allow)
    }

    /// Reads a description that stands in `file`; `given` are the deployment's `values`.
    #[cfg(test)]
    pub(super) fn read(text: &str, file: &Path, given: &std::collections::BTreeMap<String, String>) -> Result<Self, Vec<Diagnosis>> {
        let text = Text { text: text.to_owned(), file: Some(file.to_owned()) };
        let given =
            ApiSettings { api: "x".to_owned(), values: given.clone(), url: None, auth: None, allow: Vec::new(), rate: None, timeout: None };
        Self::with(&text, &given, "[delivery.api]")
    }

    /// The host that is called.
    pub(crate) fn host(&self) -> String {
        let url = request::address(&self.description, Some(&Secret::new("secret")), &SAMPLE).ok();
        url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }

    /// How many calls may be under way at once.
    pub(crate) fn at_once(&self) -> usize {
        self.description.at_once
    }

    /// The secrets it needs.
    pub(crate) fn secrets(&self) -> Vec<&SecretRef> {
        self.description.auth.secrets()
    }

    /// Its secrets, read and fit to be sent.
    pub(super) fn credentials(&self, root: &Path) -> Result<Credentials, AuthError> {
        self.description.auth.open(root, |name| self.description.value(name))
    }

    /// What travels this way.
    pub(crate) fn channel(&self) -> Channel {
        self.description.channel
    }

    /// How tokens are fetched, where `auth` wants that.
    pub(crate) fn client_credentials(&self) -> Option<ClientCredentials> {
        let Auth::ClientCredentials(client) = &self.description.auth else { return None };
        let token_url = filled(&client.token_url, |name| self.description.value(name)).ok()?;
        Some(ClientCredentials { token_url, ..client.clone() })
    }

    /// Whether a message fits.
    ///
    /// # Errors
    /// Why it does not.
    fn try_out(&self, message: &Outgoing<'_>) -> Result<(), Unsendable> {
        let credentials = Credentials { path: Some(Secret::new("secret")), ..Credentials::default() };
        request::prepare(self, &credentials, None, message, DateTime::UNIX_EPOCH).map(|_| ())
    }
}

impl Api {
    /// Whether a campaign's `webhook.json` fits, filled in with made-up values before anybody is told of.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) fn fits(&self, body: &str) -> Result<(), Unsendable> {
        self.try_out(&Outgoing { content: Content::Webhook { body }, ..SAMPLE })
    }
}

struct Checks<'a> {
    text: &'a str,
    /// Where it stands; a description that ships cannot be edited, so that what is wrong with it is told of the deployment.
    file: Option<&'a Path>,
    section: &'a str,
    given: &'a ApiSettings,
    found: Vec<Diagnosis>,
}

impl Checks<'_> {
    fn wrong(&mut self, place: &[&str], message: impl Into<String>, hint: impl Into<String>) {
        let code = format!("api_{}", place.first().unwrap_or(&"file"));
        let key = place.first().copied().unwrap_or_default();
        let overlaid = match key {
            "url" => self.given.url.is_some(),
            "auth" => self.given.auth.is_some(),
            "rate" => self.given.rate.is_some(),
            "timeout" => self.given.timeout.is_some(),
            "values" => place.get(1).is_some_and(|name| self.given.values.contains_key(*name)),
            _ => false,
        };
        self.found.push(match (self.file.filter(|_| !overlaid), locate(self.text, place)) {
            (Some(file), Some((line, column))) => Diagnosis::new(code, message).in_file(file).hint(hint).at(line, column),
            (Some(file), None) => Diagnosis::new(code, message).in_file(file).hint(hint),
            (None, _) => {
                let message = format!("`{key}` of {}: {}", self.section, message.into());
                Diagnosis::new(code, message).in_file(DEPLOYMENT).hint(hint)
            }
        });
    }

    /// What the comment beside a value that is yet to be filled in says.
    fn beside(&self, name: &str) -> &str {
        let of_it = |line: &&str| line.split('=').next().is_some_and(|key| key.trim() == name);
        let line = self.text.lines().skip_while(|line| line.trim() != "[values]").find(of_it).unwrap_or_default();
        line.split_once('#').map_or("", |(_, words)| words.trim())
    }

    fn unless(&mut self, sound: bool, place: &[&str], message: impl Into<String>, hint: &str) {
        if !sound {
            self.wrong(place, message, hint);
        }
    }

    fn unknown<'k>(&mut self, place: &[&str], name: &str, known: impl Iterator<Item = &'k str> + Clone) {
        let hint = match nearest(name, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
        };
        self.wrong(place, format!("nothing is called `{name}` here"), hint);
    }

    /// Fills in what the deployment gives; whether nothing is missing.
    fn values(&mut self, description: &mut Description) -> bool {
        for (name, value) in &self.given.values {
            match description.values.get_mut(name) {
                Some(mine) => mine.clone_from(value),
                None => self.unknown(&["values", name], name, description.values.keys().map(String::as_str)),
            }
        }
        for name in description.optional.iter().filter(|name| !description.values.contains_key(*name)) {
            self.unknown(&["optional"], name, description.values.keys().map(String::as_str));
        }
        for (name, value) in &description.values {
            let filled = !value.is_empty() || description.optional.contains(name);
            let beside = self.beside(name);
            let hint = match beside.is_empty() {
                true => format!("set it in `values` of {}", self.section),
                false => format!("set it in `values` of {}: {beside}", self.section),
            };
            self.unless(filled, &["values", name], format!("`{name}` is yet to be filled in"), &hint);
            let plain = !value.chars().any(char::is_control);
            self.unless(plain, &["values", name], format!("`{name}` has a line break in it"), "write it on one line");
        }
        description.values.iter().all(|(name, value)| !value.is_empty() || description.optional.contains(name))
    }

    /// A text with names in braces, filled in.
    fn filled(&mut self, place: &[&str], text: &str, description: &Description) -> Option<String> {
        let filled = filled(text, |name| description.value(name));
        filled.map_err(|name| self.unknown(place, &name, description.values.keys().map(String::as_str))).ok()
    }

    /// Headers, and names in `auth`.
    fn names(&mut self, description: &Description) {
        for (name, text) in &description.headers {
            let place = ["headers", name.as_str()];
            let mine = OURS.contains(&name.to_ascii_lowercase().as_str());
            self.unless(!mine, &place, format!("`{name}` is set by the program itself"), "use `auth` and `idempotency`");
            let text = self.filled(&place, text, description).unwrap_or_default();
            let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            self.unless(plain, &place, format!("`{name}` holds what no header may hold"), "write it in plain ASCII, on one line");
        }
        let headers = description.headers.keys().map(|name| ("headers", name.as_str()));
        let others = [("auth", description.auth.header()), ("idempotency", description.idempotency.header.as_deref())];
        for (key, name) in headers.chain(others.into_iter().filter_map(|(key, name)| Some((key, name?)))) {
            let sound = HeaderName::try_from(name).is_ok();
            self.unless(sound, &[key], format!("`{name}` is no name of a header"), "write it such as `X-Account`");
        }
        for text in description.auth.texts() {
            self.filled(&["auth"], text, description);
        }
        if let Auth::ClientCredentials(client) = &description.auth {
            let url = self.filled(&["auth"], &client.token_url, description).unwrap_or_default();
            let sound = Url::parse(&url).is_ok_and(|url| Guard::new(&description.allow).check(&url).is_ok());
            let message = format!("`token_url` is `{url}`, and secrets are sent there");
            self.unless(sound, &["auth"], message, "write it such as https://login.example/oauth/token");
        }
    }

    /// Where calls go.
    fn address(&mut self, description: &Description) {
        let url = description.url.as_str();
        let (begin, behind) = url.split_at(request::host_end(url));
        let decides = IN_URL.iter().find(|name| begin.contains(&format!("{{{name}}}")));
        if let Some(name) = decides {
            return self.wrong(&["url"], format!("`{{{name}}}` would decide which host is called"), "put it behind the host");
        }
        let known = IN_URL.iter().copied().chain(description.values.keys().map(String::as_str));
        if let Err(name) = filled(url, |name| known.clone().any(|other| other == name).then(String::new)) {
            return self.unknown(&["url"], &name, known);
        }
        let (has, says) = (matches!(description.auth, Auth::Path(_)), behind.contains("{secret}"));
        self.unless(says || !has, &["url"], "`auth.path` has a secret, and `url` does not say where it belongs", "put `{secret}` there");
        self.unless(has || !says, &["url"], "`{secret}` stands in it, and nothing says which", "set `auth = { path = { secret = … } }`");
        let begin = filled(begin, |name| description.value(name)).unwrap_or_default();
        let host = begin.split_once("://").map_or("", |(_, host)| host);
        let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
        match request::address(description, Some(&Secret::new("secret")), &SAMPLE) {
            Ok(made) if plain && made.fragment().is_none() => {
                if let Err(refused) = Guard::new(&description.allow).check(&made) {
                    self.wrong(&["url"], refused.to_string(), "use https and a host in the internet, or name the host in `allow`");
                }
            }
            _ => {
                let hint = "write it such as `https://api.example/messages`: no user, no password, no `#`";
                self.wrong(&["url"], format!("`{begin}{behind}` is not the address of a host"), hint);
            }
        }
    }

    /// What is sent.
    fn body(&mut self, description: &Description) -> Option<Body> {
        let email = description.channel == Channel::Email;
        let (key, body) = match (&description.body, &description.form) {
            (Some(_), Some(_)) => {
                self.wrong(&["form"], "there is a `body` and a `form`", "keep the one the API wants");
                return None;
            }
            (Some(source), None) => ("body", Template::json(source).map(|template| Body::Json(Box::new(template)))),
            (None, Some(fields)) => {
                let fields = fields.iter().map(|(name, source)| Ok((name.clone(), Template::text(source)?)));
                ("form", fields.collect::<Result<_, _>>().map(Body::Form))
            }
            (None, None) => ("url", Ok(Body::Verbatim)),
        };
        let body = body.map_err(|fault| self.fault(key, &fault)).ok()?;
        let known = || COMMON.iter().chain(if email { &OF_EMAIL[..] } else { &OF_WEBHOOK }).copied();
        let names = body.names();
        if email && matches!(body, Body::Verbatim) {
            self.wrong(&["channel"], "nothing says what the API is told", "add a `body`");
            return None;
        }
        for name in names.iter().filter(|name| !known().any(|other| other == *name)) {
            self.unknown(&[key], name, known());
        }
        let uses = |any: &[&str]| names.iter().any(|name| any.contains(&name.as_str()));
        let message = "List-Unsubscribe would be lost on the way, and with it the click that makes letters stop";
        self.unless(!email || uses(&["mime", "headers"]), &[key], message, "send `mime`, or all of `headers`");
        self.unless(!email || uses(&["mime", "to"]), &[key], "the call does not say whom the letter is to", "send `to`, or `mime`");
        let idempotency = &description.idempotency;
        let named = uses(&["message_id", "id"]) || ["{message_id}", "{id}"].iter().any(|name| description.url.contains(name));
        let told = named || idempotency.header.is_some() || matches!(description.auth, Auth::StandardWebhooks(_));
        let hint = "set `header`, or name `message_id` in `url` or `body`, as the API's documentation says";
        self.unless(told || !idempotency.honours, &["idempotency"], "nothing in a repeated call says that it is one", hint);
        Some(body)
    }

    /// A template's mistake. A text over several lines begins on the line after its key.
    fn fault(&mut self, key: &str, fault: &Fault) {
        let hint = "texts, tags such as `{{ subject }}`, `{% if … %}` and `{% for … %}` may stand in it";
        self.wrong(&[key], format!("the template cannot be used: {}", fault.message), hint);
        if let (Some(Diagnosis { line: Some(line), column, .. }), Some(within)) = (self.found.last_mut(), fault.line)
            && self.text.lines().nth(*line - 1).is_some_and(|line| line.ends_with("\"\"\""))
        {
            (*line, *column) = (*line + within, Some(1));
        }
    }

    /// What answers mean.
    fn answers(&mut self, description: &Description) {
        let places = lines(self.text, "answers").into_iter().map(Some).chain(std::iter::repeat(None));
        for (rule, line) in description.answers.iter().zip(places) {
            let Some((message, hint)) = rule.fault(description.channel) else { continue };
            self.wrong(&["answers"], message, hint);
            if let (Some(diagnosis), Some(_)) = (self.found.last_mut(), line) {
                (diagnosis.line, diagnosis.column) = (line, Some(1));
            }
        }
        let pointers = description.says.iter().map(|pointer| ("says", pointer)).chain(description.id.iter().map(|pointer| ("id", pointer)));
        for (key, pointer) in pointers {
            self.unless(is_pointer(pointer), &[key], format!("`{pointer}` is no JSON pointer"), "write it such as `/errors/0/code`");
        }
    }

    /// How much, how often, how long.
    fn limits(&mut self, description: &Description) {
        let timeout = description.timeout.duration();
        let rate = description.rate.map_or(1, |rate| u64::from(rate.requests) * rate.per.duration().as_secs().min(1));
        for (key, value, most) in [
            ("at_once", description.at_once as u64, 64),
            ("max_body_kib", description.max_body_kib.into(), 64 * 1024),
            ("max_answer_kib", description.max_answer_kib.into(), 1024),
            ("timeout", timeout.as_secs(), 600),
            ("rate", rate, 100_000),
        ] {
            self.unless((1..=most).contains(&value), &[key], format!("`{key}` is outside 1 to {most}"), "leave it out for what is usual");
        }
        let idempotency = &description.idempotency;
        let long = !idempotency.honours || idempotency.window.duration() > timeout * 3 + REPEATS.iter().sum();
        self.unless(long, &["idempotency"], "its window is over before a repeated call could end", "set it to what the API promises");
    }
}
