//! Access tokens by OAuth2 (RFC 6749): fetched when first needed, shared by the streams of a source, fetched anew shortly before they
//! expire and where they are refused.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{
    Client, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, DATE, HeaderName, HeaderValue, RETRY_AFTER},
    redirect,
};
use serde_json::Value;
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};

use super::{
    assertion::Assertion,
    auth::{AuthError, address, carried},
    pages::path,
    reader::{Trouble, said, unsent},
};
use crate::{
    ledger::{Ledger, LedgerError},
    secret::{Keys, Secret},
    source::{
        error::{SourceError, StreamName},
        retry, values,
    },
};

/// A token that is this near its end is not sent any more: the request may take a while to arrive.
const MARGIN: TimeDelta = TimeDelta::seconds(60);
/// No answer with a token is larger than this.
const LARGEST: usize = 1 << 20;

/// What a token is given for.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) url: Url,
    /// What is sent, but for the refresh token.
    pub(crate) form: Vec<(&'static str, Secret)>,
    /// The refresh token of the settings.
    pub(crate) refresh: Option<Secret>,
    /// What is signed for each token.
    pub(crate) assertion: Option<Assertion>,
    /// The dotted path in the answer to the address under which the API lies.
    pub(crate) base_url: Option<String>,
    /// The header that takes the token as it is; else it is `Authorization: Bearer`.
    pub(crate) header: Option<String>,
}

/// The tokens a source gave us last.
#[derive(Debug, Default)]
pub(crate) struct Held {
    access: Option<Access>,
    /// The refresh token of the settings, and the newest one that came in exchange.
    refresh: Option<(Secret, Secret)>,
}

#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) token: Secret,
    /// Where the API lies, where the token's answer says so.
    pub(super) base: Option<Url>,
    /// Until when it is sent; without, until it is refused.
    until: Option<DateTime<Utc>>,
}

/// Where refresh tokens are kept that a source gave in exchange for older ones: the older ones are good for nothing from then on.
#[derive(Debug, Clone)]
pub(crate) struct Vault {
    pub(crate) ledger: Ledger,
    pub(crate) keys: Keys,
}

/// Where one stream gets the tokens of its source; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    client: Client,
    name: StreamName,
    grant: Arc<Grant>,
    held: Arc<Mutex<Held>>,
    vault: Option<Vault>,
}

impl Desk {
    pub(crate) fn new(
        name: StreamName,
        grant: Grant,
        held: Arc<Mutex<Held>>,
        vault: Option<Vault>,
        timeout: Duration,
    ) -> Result<Self, SourceError> {
        let client = Client::builder()
            .user_agent(concat!("perennial/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| SourceError::Broken { at: name.clone(), reason: error.to_string() })?;
        Ok(Self { client, name, grant: Arc::new(grant), held, vault })
    }

    /// The header that carries a token.
    pub(super) fn header(&self, token: &Secret) -> Result<(HeaderName, HeaderValue), AuthError> {
        carried(token, self.grant.header.as_ref())
    }

    /// Whether the token's answer says where the API lies.
    pub(super) fn places(&self) -> bool {
        self.grant.base_url.is_some()
    }

    /// A token that is good at `now`.
    pub(super) async fn token(&self, now: DateTime<Utc>) -> Result<Access, Trouble> {
        let mut held = self.held.lock().await;
        if let Some(access) = &held.access
            && access.until.is_none_or(|until| now < until)
        {
            return Ok(access.clone());
        }
        let refresh = match (&self.grant.refresh, &held.refresh) {
            (None, _) => None,
            (Some(given), Some((before, newest))) if given == before => Some(newest.clone()),
            (Some(given), _) => Some(self.kept(given).await?.unwrap_or_else(|| given.clone())),
        };
        let assertion = match &self.grant.assertion {
            Some(assertion) => {
                Some(assertion.signed(now).ok_or_else(|| self.refused("is not asked: this machine signs nothing".to_owned()))?)
            }
            None => None,
        };
        let shown: Vec<(&str, &Secret)> =
            refresh.iter().map(|refresh| ("refresh_token", refresh)).chain(assertion.iter().map(|signed| ("assertion", signed))).collect();
        let body = self.ask(&shown, now).await?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        // First of all: it cannot be had again.
        if let (Some(given), Some(old), Some(new)) = (&self.grant.refresh, &refresh, text("refresh_token"))
            && new != old.reveal()
        {
            let new = Secret::new(new);
            held.refresh = Some((given.clone(), new.clone()));
            self.keep(given, &new, now).await?;
        }
        let Some(token) = text("access_token") else {
            return Err(self.refused(format!("gave no `access_token`{}", self.told(&body, &shown))));
        };
        if let Some(kind) = text("token_type").filter(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(self.refused(format!("gave a token of the type `{kind}`, where `Bearer` is expected")));
        }
        let until = lifetime(&body).map(|life| now + (life - MARGIN.min(life / 2)));
        let access = Access { token: Secret::new(token), base: self.base(&body)?, until };
        held.access = Some(access.clone());
        Ok(access)
    }

    fn base(&self, body: &Value) -> Result<Option<Url>, Trouble> {
        let Some(field) = &self.grant.base_url else { return Ok(None) };
        let Some(told) = values::at(body, &path(field)).and_then(Value::as_str) else {
            return Err(self.refused(format!("does not say at `{field}` where the API lies")));
        };
        let base = address(told).filter(|url| url.query().is_none() && url.username().is_empty());
        base.map(Some).ok_or_else(|| {
            let told = values::shorten(told);
            self.refused(format!(
                "says at `{field}` that the API lies at `{told}`, which is no address such as https://shop.example; the token is sent there"
            ))
        })
    }

    /// A token that is good at `now`, for calls that are no source's; or why there is none.
    pub(crate) async fn bearer(&self, now: DateTime<Utc>) -> Result<Secret, String> {
        match self.token(now).await {
            Ok(access) => Ok(access.token),
            Err(Trouble::Passing { reason, .. } | Trouble::Lasting(SourceError::Token { reason, .. })) => Err(reason),
            Err(Trouble::Stale { refusal: error, .. } | Trouble::Lasting(error)) => Err(error.to_string()),
        }
    }

    /// Forgets a token that was refused, unless another stream has fetched a newer one meanwhile.
    pub(crate) async fn forget(&self, token: &Secret) {
        let mut held = self.held.lock().await;
        if held.access.as_ref().is_some_and(|access| access.token == *token) {
            held.access = None;
        }
    }

    async fn ask(&self, shown: &[(&str, &Secret)], now: DateTime<Utc>) -> Result<Value, Trouble> {
        let fields = self.grant.form.iter().map(|(name, value)| (*name, value)).chain(shown.iter().copied());
        let fields = fields.map(|(name, value)| (name, value.reveal()));
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self
            .client
            .post(self.grant.url.clone())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let passing = |what: String, wait| Trouble::Passing { reason: format!("got no token: {} {what}", self.grant.url.path()), wait };
        let mut response = request.send().await.map_err(|error| passing(unsent(&error), None))?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() {
            let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
            let wait = header(RETRY_AFTER).and_then(|value| retry::retry_after(value, header(DATE), now));
            return Err(passing(format!("answered {}", status.as_u16()), wait));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| passing(unsent(&error), None))? {
            if body.len() + chunk.len() > LARGEST {
                return Err(self.refused("gave an answer too large for a token".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        let body = serde_json::from_slice(&body);
        if !status.is_success() {
            return Err(self.refused(format!("answered {}{}", status.as_u16(), self.told(&body.unwrap_or_default(), shown))));
        }
        body.map_err(|error| passing(format!("gave an answer that breaks off or is no JSON ({error})"), None))
    }

    fn told(&self, body: &Value, shown: &[(&str, &Secret)]) -> String {
        let sent = self.grant.form.iter().filter(|(name, _)| *name == "client_secret").map(|(_, secret)| secret);
        said(body, sent.chain(shown.iter().map(|(_, secret)| *secret)))
    }

    fn refused(&self, reason: String) -> Trouble {
        let path = self.grant.url.path().to_owned();
        Trouble::Lasting(SourceError::Token { at: self.name.clone(), path, reason })
    }

    async fn kept(&self, given: &Secret) -> Result<Option<Secret>, Trouble> {
        let Some(vault) = &self.vault else { return Ok(None) };
        vault.ledger.refresh_token(&vault.keys, &self.name.source, given).await.map_err(|error| self.unkept(&error))
    }

    async fn keep(&self, given: &Secret, new: &Secret, now: DateTime<Utc>) -> Result<(), Trouble> {
        let Some(vault) = &self.vault else { return Ok(()) };
        vault.ledger.keep_refresh_token(&vault.keys, &self.name.source, given, new, now).await.map_err(|error| self.unkept(&error))
    }

    fn unkept(&self, error: &LedgerError) -> Trouble {
        self.refused(format!("exchanges refresh tokens, and the ledger does not keep them: {error}"))
    }
}

/// How long a token lives, where the answer says so.
fn lifetime(body: &Value) -> Option<TimeDelta> {
    let seconds = match body.get("expires_in")? {
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        number => number.as_f64()?,
    };
    // A year is as good as for ever, and no date can overflow.
    TimeDelta::from_std(Duration::try_from_secs_f64(seconds.min(31_536_000.0)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lifetime_is_a_number_or_a_text_of_one() {
        assert_eq!(lifetime(&json!({"expires_in": 1800})), Some(TimeDelta::minutes(30)));
        assert_eq!(lifetime(&json!({"expires_in": "1800"})), Some(TimeDelta::minutes(30)));
        assert_eq!(lifetime(&json!({"expires_in": 1e300})), Some(TimeDelta::days(365)));
        for none in [json!({}), json!({"expires_in": null}), json!({"expires_in": -1}), json!({"expires_in": "soon"})] {
            assert_eq!(lifetime(&none), None, "{none}");
        }
    }
}
