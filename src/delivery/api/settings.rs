//! `[delivery.api]`, and what `[delivery.webhook]` and `[delivery.receivers.<name>]` say of an API: which description, and what the
//! deployment adds to it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{
    SHIPPED,
    auth::{Auth, AuthError, Tokens},
    call::{CallError, Caller},
    check::Api,
    description::Rate,
};
use crate::{
    clock::SharedClock,
    config::{Period, nearest},
    delivery::settings::is_loopback,
    diagnosis::{Diagnose, Diagnosis, Finding},
    message::Channel,
    secret::Secret,
    source::{StreamName, TokenDesk, TokenGrant},
};

/// The file the deployment is written in.
pub(super) const DEPLOYMENT: &str = "config/perennial.toml";
/// The folder of a project's own descriptions.
pub(super) const OWN: &str = "config/apis";
/// How long a token may take to come.
const TOKEN: Duration = Duration::from_secs(30);

/// `[delivery.api]`: a provider's HTTP API, by a description of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiSettings {
    /// Which API: `"ses"` or `"postmark"`, or `"<name>"` of a description of your own, `config/apis/<name>.toml`.
    #[serde(rename = "use")]
    pub api: String,
    /// What its description leaves to the deployment: `{ region = "eu-west-1" }`. `perennial check` names what is missing.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
    /// Another address for the same API, in place of its description's: an endpoint of your own network, a stand-in for tests.
    #[serde(default)]
    pub url: Option<String>,
    /// How it knows us, in place of what its description says: `{ bearer = { token = { file = "/run/secrets/token" } } }`.
    #[serde(default)]
    pub(crate) auth: Option<Auth>,
    /// Hosts that may lie inside your own network and be called without https, beside those of its description.
    #[serde(default)]
    pub allow: Vec<String>,
    /// How often it may be called, in place of what its description says.
    #[serde(default)]
    pub(crate) rate: Option<Rate>,
    /// How long a call may take, in place of what its description says.
    #[serde(default)]
    pub timeout: Option<Period>,
}

/// Where an API's settings stand, and what they are for.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    /// `[delivery.api]`.
    pub(crate) name: String,
    /// What is to travel that way.
    pub(crate) channel: Channel,
}

/// The text of a description, and the file it stands in; none where it ships.
pub(super) struct Text {
    pub(super) text: String,
    pub(super) file: Option<PathBuf>,
}

impl ApiSettings {
    /// The API, with what the deployment adds to its description.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn open(&self, section: &Section, root: &Path, practice_keys: bool) -> Result<Api, Vec<Diagnosis>> {
        let text = self.text(section, root).map_err(|told| vec![told])?;
        let api = Api::with(&text, self, &section.name)?;
        if api.channel() != section.channel {
            let (takes, sends) = match section.channel {
                Channel::Email => ("makes calls", "letters"),
                Channel::Webhook => ("sends letters", "calls"),
            };
            let told = Diagnosis::new("api", format!("`{}` {takes}, and {} is for {sends}", self.api, section.name));
            return Err(vec![told.in_file(DEPLOYMENT).hint("look at `channel` in its description, or name another")]);
        }
        let host = api.host();
        if practice_keys && !is_loopback(&host) {
            let message = format!("with the practice keys the program writes to the outbox and to this machine only, not to `{host}`");
            let hint = "set your own `[keys] master` before real people are written to";
            return Err(vec![Diagnosis::new("practice", message).in_file(DEPLOYMENT).hint(hint)]);
        }
        Ok(api)
    }

    /// The description: the project's own goes before one that ships.
    fn text(&self, section: &Section, root: &Path) -> Result<Text, Diagnosis> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if !self.api.is_empty() && self.api.chars().all(plain) {
            let file = Path::new(OWN).join(format!("{}.toml", self.api));
            match std::fs::read_to_string(root.join(&file)) {
                Ok(text) => return Ok(Text { text, file: Some(file) }),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let told = Diagnosis::new("unreadable", format!("cannot be read: {error}")).in_file(file);
                    return Err(told.hint("check that the program's user may read it, and that it is UTF-8"));
                }
            }
        }
        if let Some((_, text)) = SHIPPED.iter().find(|(name, _)| *name == self.api) {
            return Ok(Text { text: (*text).to_owned(), file: None });
        }
        let own: Vec<String> = std::fs::read_dir(root.join(OWN))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".toml")?.to_owned()))
            .collect();
        let names = || SHIPPED.iter().map(|(name, _)| *name).chain(own.iter().map(String::as_str));
        let hint = match nearest(&self.api, names()) {
            Some(near) => format!("did you mean `{near}`? Otherwise write {OWN}/{}.toml", self.api),
            None => format!("there are: {}; or write {OWN}/{}.toml", names().collect::<Vec<_>>().join(", "), self.api),
        };
        let message = format!("`use` of {}: there is no description of an API `{}`", section.name, self.api);
        Err(Diagnosis::new("unknown_api", message).in_file(DEPLOYMENT).hint(hint))
    }

    /// Whether calls go to this machine itself, as far as it can be said.
    pub(crate) fn is_loopback(&self, section: &Section, root: &Path) -> bool {
        self.open(section, root, false).is_ok_and(|api| is_loopback(&api.host()))
    }

    /// What `perennial check` says: what is wrong with the API, and which of its secrets cannot be read here.
    pub(crate) fn check(&self, section: &Section, root: &Path, practice_keys: bool) -> Vec<Finding> {
        let api = match self.open(section, root, practice_keys) {
            Ok(api) => api,
            Err(found) => return found.into_iter().map(Finding::error).collect(),
        };
        let told = |diagnosis: Diagnosis| Diagnosis { message: format!("{}: {}", section.name, diagnosis.message), ..diagnosis };
        let missing: Vec<Finding> = api
            .secrets()
            .into_iter()
            .filter_map(|secret| secret.resolve(root).err())
            .map(|error| Finding::warning(told(error.diagnosis()).in_file(DEPLOYMENT)))
            .collect();
        match api.credentials(root) {
            Err(error) if missing.is_empty() => vec![Finding::error(told(unusable(&error)))],
            _ => missing,
        }
    }
}

/// Secrets that can be read and not be sent.
fn unusable(error: &AuthError) -> Diagnosis {
    Diagnosis::new("api_auth", error.to_string()).in_file(DEPLOYMENT).hint("look at what the variable or the file holds")
}

/// An API, ready to be called with the secrets of the project in `root`.
///
/// # Errors
/// Where a secret cannot be read or sent, or there is no HTTP client.
pub(crate) fn ready(api: Api, name: &str, root: &Path, clock: SharedClock) -> Result<Caller, CallError> {
    let guard = api.guard();
    let tokens = tokens(&api, name, root, &clock)?;
    Caller::new(api, root, guard, clock, tokens)
}

/// Who fetches the tokens of an API that wants some.
fn tokens(api: &Api, name: &str, root: &Path, clock: &SharedClock) -> Result<Option<Arc<dyn Tokens>>, CallError> {
    let Some(client) = api.client_credentials() else { return Ok(None) };
    let url = url::Url::parse(&client.token_url).map_err(|error| CallError::Client(format!("`token_url`: {error}")))?;
    let read = |secret: &crate::secret::SecretRef| secret.resolve(root).map_err(AuthError::Secret);
    let mut form = vec![
        ("grant_type", Secret::new("client_credentials")),
        ("client_id", read(&client.client_id)?),
        ("client_secret", read(&client.client_secret)?),
    ];
    form.extend(client.scope.map(|scope| ("scope", Secret::new(scope))));
    let grant = TokenGrant { url, form, refresh: None, assertion: None, base_url: None, header: None };
    let desk = TokenDesk::new(StreamName::new("delivery", name), grant, Arc::default(), None, TOKEN)
        .map_err(|error| CallError::Client(error.to_string()))?;
    Ok(Some(Arc::new(Desk { desk, clock: Arc::clone(clock), given: Mutex::default() })))
}

/// Fetches tokens as it is done for sources.
#[derive(Debug)]
struct Desk {
    desk: TokenDesk,
    clock: SharedClock,
    /// The one given out last.
    given: Mutex<Option<Secret>>,
}

#[async_trait]
impl Tokens for Desk {
    async fn token(&self) -> Result<Secret, String> {
        let token = self.desk.bearer(self.clock.now()).await?;
        *self.given.lock().await = Some(token.clone());
        Ok(token)
    }

    async fn refused(&self) {
        if let Some(token) = self.given.lock().await.take() {
            self.desk.forget(&token).await;
        }
    }
}
