//! How an API knows us. The kinds are called as those of sources are; beside them stand a signature by AWS, one by Standard Webhooks, and
//! an address that is itself the secret.

use std::path::Path;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{description::filled, sigv4};
use crate::{
    delivery::webhook::Signer,
    secret::{Secret, SecretError, SecretRef},
};

/// `auth = …`. In plain texts `{name}` stands for one of `values`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Auth {
    /// Nothing is asked.
    #[default]
    None,
    /// `{ bearer = { token = { env = "X" } } }`
    Bearer(Bearer),
    /// `{ basic = { user = "{account}", password = { env = "X" } } }`
    Basic(Basic),
    /// `{ header = { name = "X-Server-Token", value = { env = "X" } } }`
    Header(Named),
    /// `{ path = { secret = { env = "X" } } }`: whoever knows the address may call. `{secret}` says where in `url` it stands.
    Path(InPath),
    /// `{ client_credentials = { token_url = "https://…", client_id = { env = "X" }, client_secret = { env = "Y" } } }`
    ClientCredentials(ClientCredentials),
    /// `{ aws_sigv4 = { region = "{region}", service = "ses", access_key_id = …, secret_access_key = { env = "X" } } }`
    AwsSigv4(AwsSigv4),
    /// `{ standard_webhooks = { secret = { env = "X" } } }`
    StandardWebhooks(StandardWebhooks),
}

// Structs of their own, because the TOML parser names the nearest key in structs only, not in variants with fields.

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bearer {
    /// The token that goes into `Authorization: Bearer`.
    token: SecretRef,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Basic {
    /// Who calls.
    user: String,
    /// The user's password.
    password: SecretRef,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    /// The header's name.
    name: String,
    /// What it says.
    value: SecretRef,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InPath {
    /// The part of the address nobody must know, such as `T0/B0/XXX`.
    secret: SecretRef,
}

/// RFC 6749, section 4.4.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientCredentials {
    /// Where tokens are asked for.
    pub(crate) token_url: String,
    /// The client.
    pub(crate) client_id: SecretRef,
    /// The client's secret.
    pub(crate) client_secret: SecretRef,
    /// What the token is to be good for, where the system wants to know.
    pub(crate) scope: Option<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AwsSigv4 {
    /// The region, such as `eu-west-1`.
    pub(super) region: String,
    /// What AWS calls the service when it is signed for: `ses`.
    pub(super) service: String,
    /// The key's id.
    access_key_id: SecretRef,
    /// The key.
    secret_access_key: SecretRef,
    /// What goes with a key that is lent for a while.
    session_token: Option<SecretRef>,
}

/// <https://github.com/standard-webhooks/standard-webhooks>, 1.0.0.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StandardWebhooks {
    /// `whsec_` and the base64 of 24 to 64 random bytes, as the receiver shows it.
    secret: SecretRef,
}

/// Where an access token comes from. The program's own desk asks for it as it does for sources: it posts `grant_type=client_credentials`
/// with the client's id and secret to `token_url`, keeps the token until shortly before its end, and shares it between calls.
#[async_trait]
pub(crate) trait Tokens: std::fmt::Debug + Send + Sync {
    /// A token that is good now, or why there is none.
    async fn token(&self) -> Result<Secret, String>;

    /// Forgets the token in hand: it was refused.
    async fn refused(&self);
}

/// What goes with every call, with the secrets in it.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// Headers, marked sensitive, so that they are never logged.
    pub(super) headers: HeaderMap,
    pub(super) path: Option<Secret>,
    pub(super) aws: Option<sigv4::Key>,
    pub(super) signer: Option<Signer>,
    /// All of them, to be taken out of what an API says about a mistake.
    pub(super) secrets: Vec<Secret>,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    /// A secret could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// What was read cannot be sent.
    #[error("the secret of `auth` cannot be sent: it is empty, or has a character in it that belongs in no {0}")]
    Unsendable(&'static str),
    /// It is no key of Standard Webhooks.
    #[error("the secret of `auth.standard_webhooks` is not `whsec_` and the base64 of 24 to 64 bytes")]
    NotStandard,
}

impl Auth {
    /// The plain texts in it that names in braces may stand in, but for an address.
    pub(super) fn texts(&self) -> Vec<&str> {
        match self {
            Self::Basic(basic) => vec![&basic.user],
            Self::AwsSigv4(aws) => vec![&aws.region, &aws.service],
            _ => Vec::new(),
        }
    }

    /// The secrets it names.
    pub(super) fn secrets(&self) -> Vec<&SecretRef> {
        match self {
            Self::None => Vec::new(),
            Self::Bearer(Bearer { token }) => vec![token],
            Self::Basic(Basic { password, .. }) => vec![password],
            Self::Header(Named { value, .. }) => vec![value],
            Self::Path(InPath { secret }) | Self::StandardWebhooks(StandardWebhooks { secret }) => vec![secret],
            Self::ClientCredentials(client) => vec![&client.client_id, &client.client_secret],
            Self::AwsSigv4(aws) => [&aws.access_key_id, &aws.secret_access_key].into_iter().chain(&aws.session_token).collect(),
        }
    }

    /// The header that is its own, where its name is not fixed.
    pub(super) fn header(&self) -> Option<&str> {
        match self {
            Self::Header(Named { name, .. }) => Some(name),
            _ => None,
        }
    }

    /// Reads the secrets of the project in `root`; `value` says what the names in plain texts stand for.
    pub(super) fn open(&self, root: &Path, value: impl Fn(&str) -> Option<String>) -> Result<Credentials, AuthError> {
        let mut credentials = Credentials::default();
        let mut read = |secret: &SecretRef| -> Result<Secret, AuthError> {
            let secret = secret.resolve(root)?;
            credentials.secrets.push(secret.clone());
            Ok(secret)
        };
        let text = |text: &str| filled(text, &value).unwrap_or_else(|_| text.to_owned());
        match self {
            Self::None | Self::ClientCredentials(_) => {}
            Self::Bearer(Bearer { token }) => {
                let token = sensitive(&format!("Bearer {}", given(&read(token)?)?))?;
                credentials.headers.insert(AUTHORIZATION, token);
            }
            Self::Basic(Basic { user, password }) => {
                let user = text(user);
                let pair = STANDARD.encode(format!("{user}:{}", given(&read(password)?)?));
                credentials.headers.insert(AUTHORIZATION, sensitive(&format!("Basic {pair}"))?);
                credentials.secrets.push(Secret::new(pair));
            }
            Self::Header(Named { name, value }) => {
                let name = HeaderName::try_from(name.as_str()).map_err(|_| AuthError::Unsendable("header"))?;
                let value = sensitive(given(&read(value)?)?)?;
                credentials.headers.insert(name, value);
            }
            Self::Path(InPath { secret }) => {
                let secret = read(secret)?;
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
                if secret.reveal().is_empty() || !secret.reveal().bytes().all(plain) {
                    return Err(AuthError::Unsendable("path"));
                }
                credentials.path = Some(secret);
            }
            Self::AwsSigv4(aws) => {
                credentials.aws = Some(sigv4::Key {
                    region: text(&aws.region),
                    service: text(&aws.service),
                    access_key_id: read(&aws.access_key_id)?,
                    secret_access_key: read(&aws.secret_access_key)?,
                    session_token: aws.session_token.as_ref().map(read).transpose()?,
                });
            }
            Self::StandardWebhooks(StandardWebhooks { secret }) => {
                credentials.signer = Some(Signer::new(&read(secret)?).ok_or(AuthError::NotStandard)?);
            }
        }
        Ok(credentials)
    }
}

fn given(secret: &Secret) -> Result<&str, AuthError> {
    Some(secret.reveal()).filter(|text| !text.is_empty()).ok_or(AuthError::Unsendable("header"))
}

/// A header's value that is never logged.
pub(super) fn sensitive(text: &str) -> Result<HeaderValue, AuthError> {
    let mut value = HeaderValue::try_from(text).map_err(|_| AuthError::Unsendable("header"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(toml: &str, secret: &str) -> Result<Credentials, AuthError> {
        #[derive(Deserialize)]
        struct File {
            auth: Auth,
        }
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("s"), secret).unwrap();
        let file: File = crate::config::parse(toml, Path::new("x.toml")).unwrap();
        file.auth.open(root.path(), |name| (name == "account").then(|| "AC1".to_owned()))
    }

    #[test]
    fn every_kind_is_read_and_never_prints() {
        for (kind, header) in [
            ("bearer = { token = { file = \"s\" } }", Some(("authorization", "Bearer s3cret"))),
            ("basic = { user = \"{account}\", password = { file = \"s\" } }", Some(("authorization", "Basic QUMxOnMzY3JldA=="))),
            ("header = { name = \"X-Token\", value = { file = \"s\" } }", Some(("x-token", "s3cret"))),
            ("path = { secret = { file = \"s\" } }", None),
            (
                "aws_sigv4 = { region = \"r\", service = \"ses\", access_key_id = { file = \"s\" }, secret_access_key = { file = \"s\" } }",
                None,
            ),
        ] {
            let credentials = open(&format!("auth = {{ {kind} }}"), "s3cret").unwrap();
            if let Some((name, value)) = header {
                assert_eq!(credentials.headers.get(name).unwrap(), value, "{kind}");
            }
            assert!(credentials.secrets.contains(&Secret::new("s3cret")), "{kind}");
            let words = format!("{credentials:?}");
            assert!(!words.contains("s3cret") && !words.contains("QUMx"), "{words}");
        }
        assert!(open("auth = \"none\"", "").unwrap().secrets.is_empty());
    }

    #[test]
    fn what_cannot_be_sent_is_refused_without_repeating_it() {
        for (kind, secret) in [
            ("bearer = { token = { file = \"s\" } }", "a\nb"),
            ("bearer = { token = { file = \"s\" } }", ""),
            ("path = { secret = { file = \"s\" } }", "T0/B0?x=1"),
            ("path = { secret = { file = \"s\" } }", ""),
            ("standard_webhooks = { secret = { file = \"s\" } }", "whsec_c2hvcnQ="),
            ("standard_webhooks = { secret = { file = \"s\" } }", "whsec_not base64 at all"),
        ] {
            let error = open(&format!("auth = {{ {kind} }}"), secret).unwrap_err().to_string();
            assert!(secret.is_empty() || !error.contains(secret), "{error}");
        }
    }
}
