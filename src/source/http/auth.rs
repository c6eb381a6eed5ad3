//! How a source knows us: a bearer token, a user and a password, a header or a query parameter of its own, or a token that is fetched
//! first (`token.rs`).

use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::{
    assertion::{Algorithm, Assertion},
    token::Grant,
};
use crate::secret::{Secret, SecretError, SecretRef};

/// `auth = …`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
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
    /// `{ query = { name = "consumer_key", value = { env = "X" } } }`
    Query(Query),
    /// `{ client_credentials = { token_url = "https://…", client_id = "…", client_secret = { env = "X" } } }`
    ClientCredentials(ClientCredentials),
    /// `{ refresh_token = { token_url = "https://…", client_id = "…", client_secret = { env = "X" }, token = { env = "Y" } } }`
    RefreshToken(RefreshToken),
    /// `{ jwt_bearer = { token_url = "https://…", issuer = "…", subject = "…", audience = "…", key = { file = "X" } } }`
    JwtBearer(JwtBearer),
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
    /// Who asks, in plain text or as a secret.
    user: User,
    /// The user's password.
    password: SecretRef,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    /// The header's name.
    name: String,
    /// What it says.
    value: SecretRef,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    /// The query parameter's name.
    name: String,
    /// What it says.
    value: SecretRef,
}

/// RFC 6749, section 4.4.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientCredentials {
    /// Where tokens are asked for.
    token_url: String,
    /// The client, in plain text or as a secret.
    client_id: User,
    /// The client's secret.
    client_secret: SecretRef,
    /// What the token is to be good for, where the system wants to know.
    scope: Option<String>,
    /// The dotted path in the answer to the address under which the API lies; it takes the place of the source's own.
    base_url: Option<String>,
    /// The header that takes the token as it is, where it does not go into `Authorization: Bearer`.
    header: Option<String>,
}

/// RFC 6749, section 6.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshToken {
    /// Where tokens are asked for.
    token_url: String,
    /// The client, in plain text or as a secret.
    client_id: User,
    /// The client's secret.
    client_secret: SecretRef,
    /// The refresh token the system gave when access was granted. Where it gives a new one in exchange, that one is kept in the ledger.
    token: SecretRef,
    /// The dotted path in the answer to the address under which the API lies; it takes the place of the source's own.
    base_url: Option<String>,
    /// The header that takes the token as it is, where it does not go into `Authorization: Bearer`.
    header: Option<String>,
}

/// RFC 7523, section 2.1.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JwtBearer {
    /// Where tokens are asked for.
    token_url: String,
    /// Who asks: the client's id, or a service account.
    issuer: User,
    /// On whose behalf, where the system wants to know.
    subject: Option<User>,
    /// Whom it is meant for, as the system calls itself.
    audience: String,
    /// The private key, in PEM.
    key: SecretRef,
    /// The key's name, where the system knows several.
    key_id: Option<String>,
    /// What the token is to be good for, where the system wants to know.
    scope: Option<String>,
    /// How the assertion is signed.
    #[serde(default)]
    algorithm: Algorithm,
    /// The dotted path in the answer to the address under which the API lies; it takes the place of the source's own.
    base_url: Option<String>,
    /// The header that takes the token as it is, where it does not go into `Authorization: Bearer`.
    header: Option<String>,
}

/// How a token is asked for, whatever is shown for it.
struct Tokens<'a> {
    token_url: &'a str,
    /// The dotted path in the answer to the address under which the API lies; it takes the place of the source's own.
    base_url: Option<&'a String>,
    /// The header that takes the token as it is, where it does not go into `Authorization: Bearer`.
    header: Option<&'a String>,
}

/// A user's name is rarely a secret, but some systems make it one.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
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

impl User {
    fn secret(&self) -> Option<&SecretRef> {
        match self {
            Self::Plain(_) => None,
            Self::Secret(secret) => Some(secret),
        }
    }

    fn read(&self, root: &Path) -> Result<Secret, AuthError> {
        match self {
            Self::Plain(user) => Ok(Secret::new(user)),
            Self::Secret(user) => read(user, root),
        }
    }
}

/// What goes with every request, with the secrets in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    /// Headers, marked sensitive, so that they are never logged.
    pub(crate) headers: HeaderMap,
    /// A query parameter; it is added when a request is sent and stands nowhere else.
    pub(crate) query: Option<(String, Secret)>,
    /// How to get a token.
    pub(crate) grant: Option<Grant>,
    /// All of them, to be taken out of what a source says about a mistake.
    pub(crate) secrets: Vec<Secret>,
}

impl Auth {
    /// The secrets it needs.
    pub(crate) fn secrets(&self) -> Vec<&SecretRef> {
        match self {
            Self::None => vec![],
            Self::Bearer(Bearer { token }) => vec![token],
            Self::Basic(Basic { user, password }) => user.secret().into_iter().chain([password]).collect(),
            Self::Header(Header { value, .. }) | Self::Query(Query { value, .. }) => vec![value],
            Self::ClientCredentials(ClientCredentials { client_id, client_secret, .. }) => {
                client_id.secret().into_iter().chain([client_secret]).collect()
            }
            Self::RefreshToken(RefreshToken { client_id, client_secret, token, .. }) => {
                client_id.secret().into_iter().chain([client_secret, token]).collect()
            }
            Self::JwtBearer(JwtBearer { issuer, subject, key, .. }) => {
                issuer.secret().into_iter().chain(subject.as_ref().and_then(User::secret)).chain([key]).collect()
            }
        }
    }

    fn tokens(&self) -> Option<Tokens<'_>> {
        let (token_url, base_url, header) = match self {
            Self::ClientCredentials(ClientCredentials { token_url, base_url, header, .. }) => (token_url, base_url, header),
            Self::RefreshToken(RefreshToken { token_url, base_url, header, .. }) => (token_url, base_url, header),
            Self::JwtBearer(JwtBearer { token_url, base_url, header, .. }) => (token_url, base_url, header),
            _ => return None,
        };
        Some(Tokens { token_url, base_url: base_url.as_ref(), header: header.as_ref() })
    }

    /// What is wrong with it, secrets aside.
    pub(crate) fn check(&self) -> Result<(), String> {
        if matches!(self, Self::Query(Query { name, .. }) if name.is_empty()) {
            return Err("the query parameter has no name".to_owned());
        }
        let Some(Tokens { token_url, header, .. }) = self.tokens() else { return Ok(()) };
        if let Some(name) = header.filter(|name| HeaderName::try_from(name.as_str()).is_err()) {
            return Err(format!("`{name}` is no name of a header"));
        }
        address(token_url).map(|_| ()).ok_or_else(|| {
            format!("`token_url` is `{token_url}`, not an address such as https://login.example/oauth/token; secrets are sent there")
        })
    }

    /// Whether asking may use up a token that the source exchanges for a new one.
    pub(crate) fn uses_up(&self) -> bool {
        matches!(self, Self::RefreshToken(_))
    }

    /// The query parameter that is its own.
    pub(crate) fn param(&self) -> Option<&str> {
        match self {
            Self::Query(Query { name, .. }) => Some(name),
            _ => None,
        }
    }

    /// Reads the secrets of the project in `root`.
    pub(crate) fn credentials(&self, root: &Path) -> Result<Credentials, AuthError> {
        let mut credentials = Credentials::default();
        for secret in self.secrets() {
            credentials.secrets.push(read(secret, root)?);
        }
        let grant = |form, refresh, assertion| -> Result<Option<Grant>, AuthError> {
            let Some(Tokens { token_url, base_url, header }) = self.tokens() else { return Ok(None) };
            let url = address(token_url).ok_or(AuthError::Unsendable)?;
            Ok(Some(Grant { url, form, refresh, assertion, base_url: base_url.cloned(), header: header.cloned() }))
        };
        let headers = &mut credentials.headers;
        match self {
            Self::None => {}
            Self::Bearer(Bearer { token }) => {
                headers.insert(AUTHORIZATION, bearer(&read(token, root)?)?);
            }
            Self::Basic(Basic { user, password }) => {
                let pair = BASE64_STANDARD.encode(format!("{}:{}", user.read(root)?.reveal(), read(password, root)?.reveal()));
                headers.insert(AUTHORIZATION, sensitive(&format!("Basic {pair}"))?);
            }
            Self::Header(Header { name, value }) => {
                let name = HeaderName::try_from(name.as_str()).map_err(|_| AuthError::Unsendable)?;
                headers.insert(name, sensitive(read(value, root)?.reveal())?);
            }
            Self::Query(Query { name, value }) => credentials.query = Some((name.clone(), read(value, root)?)),
            Self::ClientCredentials(ClientCredentials { client_id, client_secret, scope, .. }) => {
                let mut form = vec![
                    ("grant_type", Secret::new("client_credentials")),
                    ("client_id", client_id.read(root)?),
                    ("client_secret", read(client_secret, root)?),
                ];
                form.extend(scope.as_ref().map(|scope| ("scope", Secret::new(scope))));
                credentials.grant = grant(form, None, None)?;
            }
            Self::RefreshToken(RefreshToken { client_id, client_secret, token, .. }) => {
                let form = vec![
                    ("grant_type", Secret::new("refresh_token")),
                    ("client_id", client_id.read(root)?),
                    ("client_secret", read(client_secret, root)?),
                ];
                credentials.grant = grant(form, Some(read(token, root)?), None)?;
            }
            Self::JwtBearer(JwtBearer { issuer, subject, audience, key, key_id, scope, algorithm, .. }) => {
                let mut claims = Map::new();
                let mut claim = |name: &str, text: &str| claims.insert(name.to_owned(), Value::from(text));
                claim("iss", issuer.read(root)?.reveal());
                if let Some(subject) = subject {
                    claim("sub", subject.read(root)?.reveal());
                }
                claim("aud", audience);
                let mut form = vec![("grant_type", Secret::new("urn:ietf:params:oauth:grant-type:jwt-bearer"))];
                // RFC 7521 has it among the parameters, Google among the claims; each leaves the other's alone.
                if let Some(scope) = scope {
                    claim("scope", scope);
                    form.push(("scope", Secret::new(scope)));
                }
                let assertion = Assertion::new(&read(key, root)?, *algorithm, key_id.as_ref(), claims).map_err(AuthError::Key)?;
                credentials.grant = grant(form, None, Some(assertion))?;
            }
        }
        Ok(credentials)
    }
}

/// An address that secrets are sent to: encrypted on the way, or on this machine.
pub(crate) fn address(url: &str) -> Option<Url> {
    let url: Url = url.parse().ok()?;
    let near = matches!(url.host_str()?, "localhost" | "127.0.0.1" | "[::1]");
    (url.scheme() == "https" || (url.scheme() == "http" && near)).then_some(url)
}

/// Why no header could be made.
#[derive(Debug)]
pub(crate) enum AuthError {
    /// The secret cannot be read.
    Secret(SecretError),
    /// The secret holds characters a header cannot carry.
    Unsendable,
    /// The key cannot sign.
    Key(&'static str),
}

fn read(secret: &SecretRef, root: &Path) -> Result<Secret, AuthError> {
    secret.resolve(root).map_err(AuthError::Secret)
}

/// The header that carries a token.
fn bearer(token: &Secret) -> Result<HeaderValue, AuthError> {
    sensitive(&format!("Bearer {}", token.reveal()))
}

/// The header that carries a token: `Authorization`, or the one named, which takes it as it is.
pub(crate) fn carried(token: &Secret, header: Option<&String>) -> Result<(HeaderName, HeaderValue), AuthError> {
    match header {
        None => Ok((AUTHORIZATION, bearer(token)?)),
        Some(name) => Ok((HeaderName::try_from(name.as_str()).map_err(|_| AuthError::Unsendable)?, sensitive(token.reveal())?)),
    }
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
        let headers = parse::<Sample>(text, Path::new("x.toml")).unwrap().auth.credentials(root.path()).unwrap().headers;
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
    fn what_is_not_a_header_does_not_print_either() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("token"), "s3cret\n").unwrap();
        std::fs::write(root.path().join("key"), crate::source::http::assertion::tests::rsa_key().0.reveal()).unwrap();
        let secret = "{ file = \"token\" }";
        for auth in [
            format!("auth = {{ query = {{ name = \"key\", value = {secret} }} }}"),
            format!(
                "auth = {{ client_credentials = {{ token_url = \"https://a.example/t\", client_id = \"me\", client_secret = {secret} }} }}"
            ),
            format!(
                "auth = {{ refresh_token = {{ token_url = \"https://a.example/t\", client_id = {secret}, client_secret = {secret}, token = {secret} }} }}"
            ),
            format!(
                "auth = {{ jwt_bearer = {{ token_url = \"https://a.example/t\", issuer = {secret}, subject = {secret}, audience = \"a\", key = {{ file = \"key\" }} }} }}"
            ),
        ] {
            let auth = parse::<Sample>(&auth, Path::new("x.toml")).unwrap().auth;
            auth.check().unwrap();
            let credentials = auth.credentials(root.path()).unwrap();
            assert!(credentials.query.is_some() != credentials.grant.is_some());
            assert_eq!(credentials.secrets.len(), auth.secrets().len());
            assert!(!format!("{credentials:?}").contains("s3cret"));
        }
    }

    #[test]
    fn tokens_are_fetched_over_encrypted_ways_only() {
        for (url, good) in [
            ("https://login.example/token", true),
            ("http://127.0.0.1:8080/token", true),
            ("http://login.example/token", false),
            ("login.example/token", false),
        ] {
            assert_eq!(address(url).is_some(), good, "{url}");
        }
    }

    #[test]
    fn an_unknown_key_inside_is_an_error() {
        let error = parse::<Sample>("auth = { bearer = { tokn = { env = \"X\" } } }", Path::new("x.toml")).unwrap_err().0;
        assert_eq!(error.hint.as_deref(), Some("did you mean `token`?"));
    }
}
