//! How a source knows us: a bearer token, a user and a password, or a header of its own.

use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use crate::secret::{Secret, SecretError, SecretRef};

/// `auth = …`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Auth {
    /// Nothing is asked.
    #[default]
    None,
    /// `{ bearer = { token = { env = "X" } } }`
    Bearer(Bearer),
    /// `{ basic = { user = "me@shop.example/token", password = { env = "X" } } }`
    Basic(Basic),
    /// `{ header = { name = "X-Shop-Token", value = { env = "X" } } }`
    Header(Header),
}

// Structs of their own, because the TOML parser names the nearest key in structs only, not in variants with fields.

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bearer {
    token: SecretRef,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Basic {
    /// In plain text or as a secret.
    user: User,
    password: SecretRef,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    name: String,
    value: SecretRef,
}

/// A user's name is rarely a secret, but some systems make it one.
#[derive(Debug, Clone)]
pub(crate) enum User {
    /// Written in the settings.
    Plain(String),
    /// Kept elsewhere.
    Secret(SecretRef),
}

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> serde::de::Visitor<'de> for Reads {
            type Value = User;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a user's name, or { env = \"X\" }")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<User, E> {
                Ok(User::Plain(text.to_owned()))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<User, A::Error> {
                SecretRef::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(User::Secret)
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

impl Auth {
    /// The secrets it needs.
    pub(crate) fn secrets(&self) -> Vec<&SecretRef> {
        match self {
            Self::None => vec![],
            Self::Bearer(Bearer { token }) => vec![token],
            Self::Basic(Basic { user: User::Secret(user), password }) => vec![user, password],
            Self::Basic(Basic { password, .. }) => vec![password],
            Self::Header(Header { value, .. }) => vec![value],
        }
    }

    /// The header that goes with every request; marked sensitive, so that it is never logged.
    pub(crate) fn header(&self, root: &Path) -> Result<HeaderMap, AuthError> {
        let mut headers = HeaderMap::new();
        match self {
            Self::None => {}
            Self::Bearer(Bearer { token }) => {
                headers.insert(AUTHORIZATION, sensitive(&format!("Bearer {}", read(token, root)?.reveal()))?);
            }
            Self::Basic(Basic { user, password }) => {
                let user = match user {
                    User::Plain(user) => user.clone(),
                    User::Secret(user) => read(user, root)?.reveal().to_owned(),
                };
                let pair = BASE64_STANDARD.encode(format!("{user}:{}", read(password, root)?.reveal()));
                headers.insert(AUTHORIZATION, sensitive(&format!("Basic {pair}"))?);
            }
            Self::Header(Header { name, value }) => {
                let name = HeaderName::try_from(name.as_str()).map_err(|_| AuthError::Unsendable)?;
                headers.insert(name, sensitive(read(value, root)?.reveal())?);
            }
        }
        Ok(headers)
    }
}

/// Why no header could be made.
#[derive(Debug)]
pub(crate) enum AuthError {
    /// The secret cannot be read.
    Secret(SecretError),
    /// The secret holds characters a header cannot carry.
    Unsendable,
}

fn read(secret: &SecretRef, root: &Path) -> Result<Secret, AuthError> {
    secret.resolve(root).map_err(AuthError::Secret)
}

fn sensitive(value: &str) -> Result<HeaderValue, AuthError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| AuthError::Unsendable)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[derive(Debug, Deserialize)]
    struct Sample {
        auth: Auth,
    }

    fn header(text: &str) -> (String, String) {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("token"), "s3cret\n").unwrap();
        let headers = parse::<Sample>(text, Path::new("x.toml")).unwrap().auth.header(root.path()).unwrap();
        let (name, value) = headers.iter().next().unwrap();
        assert!(!format!("{headers:?}").contains("s3cret"));
        (name.to_string(), value.to_str().unwrap().to_owned())
    }

    #[test]
    fn each_kind_makes_its_header_and_keeps_it_out_of_logs() {
        assert_eq!(header("auth = { bearer = { token = { file = \"token\" } } }").1, "Bearer s3cret");
        assert_eq!(header("auth = { basic = { user = \"me/token\", password = { file = \"token\" } } }").1, "Basic bWUvdG9rZW46czNjcmV0");
        let (name, value) = header("auth = { header = { name = \"X-Shop-Token\", value = { file = \"token\" } } }");
        assert_eq!((name.as_str(), value.as_str()), ("x-shop-token", "s3cret"));
    }

    #[test]
    fn an_unknown_key_inside_is_an_error() {
        let error = parse::<Sample>("auth = { bearer = { tokn = { env = \"X\" } } }", Path::new("x.toml")).unwrap_err().0;
        assert_eq!(error.hint.as_deref(), Some("did you mean `token`?"));
    }
}
