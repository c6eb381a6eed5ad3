//! Buckets: how they know us, how they are opened, and what to say where that fails. The lake may lie in one, and so may files of sources.

use std::{path::Path, sync::Arc, time::Duration};

use deltalake::{
    DeltaResult, DeltaTable, DeltaTableError,
    logstore::{StorageConfig, default_logstore},
};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder,
};
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::secret::{Secret, SecretError, SecretRef};

/// Which store a bucket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Amazon S3, and everything that speaks like it.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage.
    Az,
}

impl Scheme {
    /// The store of `s3://…`, `gs://…` or `az://…`.
    pub(crate) fn of(word: &str) -> Option<Self> {
        [Self::S3, Self::Gs, Self::Az].into_iter().find(|scheme| scheme.word() == word)
    }

    /// As it stands before `://`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Az => "az",
        }
    }
}

/// Whether something at this host never leaves the machine.
pub(crate) fn is_near(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// How the stores know us; what a store needs and is not set here, it takes from the environment, as its own tools do.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreSettings {
    /// S3: the key's id.
    pub(crate) access_key_id: Option<SecretRef>,
    /// S3: the key itself.
    pub(crate) secret_access_key: Option<SecretRef>,
    /// S3: the region the bucket lies in; `us-east-1` unless set.
    pub(crate) region: Option<String>,
    /// Buckets: where the store answers that is not at its maker's usual address: `https://minio.shop.example`.
    pub(crate) endpoint: Option<String>,
    /// Buckets: whether the endpoint may be asked unencrypted; on this machine only.
    pub(crate) allow_http: bool,
    /// GCS: the service account's key, a JSON document.
    pub(crate) service_account: Option<SecretRef>,
    /// Azure: the storage account.
    pub(crate) account: Option<String>,
    /// Azure: the account's key.
    pub(crate) key: Option<SecretRef>,
    /// An address: the bearer token.
    pub(crate) token: Option<SecretRef>,
    /// Buckets: nobody is asked who they are.
    pub(crate) anonymous: bool,
}

/// A setting of the section, and what is wrong with it.
pub(crate) type Wrong = (&'static str, String);

/// Whose settings they are: which stores it reaches, and the words for it.
pub(crate) struct Whose<'a> {
    /// Whether it reaches buckets of a store.
    pub(crate) reaches: &'a dyn Fn(Scheme) -> bool,
    /// Whether it reaches addresses.
    pub(crate) reaches_web: bool,
    /// What to say of settings for a store it does not reach: `no stream of this source is read from there`.
    pub(crate) not_there: &'static str,
}

impl StoreSettings {
    /// What can be known to be wrong before the first request.
    pub(crate) fn check(&self, whose: &Whose<'_>) -> Result<(), Wrong> {
        let reaches = whose.reaches;
        let buckets = reaches(Scheme::S3) || reaches(Scheme::Gs) || reaches(Scheme::Az);
        let given: [(&'static str, bool, bool, &str); 10] = [
            ("access_key_id", self.access_key_id.is_some(), reaches(Scheme::S3), "s3://"),
            ("secret_access_key", self.secret_access_key.is_some(), reaches(Scheme::S3), "s3://"),
            ("region", self.region.is_some(), reaches(Scheme::S3), "s3://"),
            ("endpoint", self.endpoint.is_some(), buckets, "s3://, gs:// or az://"),
            ("allow_http", self.allow_http, buckets, "s3://, gs:// or az://"),
            ("service_account", self.service_account.is_some(), reaches(Scheme::Gs), "gs://"),
            ("account", self.account.is_some(), reaches(Scheme::Az), "az://"),
            ("key", self.key.is_some(), reaches(Scheme::Az), "az://"),
            ("token", self.token.is_some(), whose.reaches_web, "https://"),
            ("anonymous", self.anonymous, buckets, "s3://, gs:// or az://"),
        ];
        if let Some((name, _, _, needs)) = given.iter().find(|(_, is_given, is_reached, _)| *is_given && !is_reached) {
            return Err((name, format!("`{name}` is for {needs}, and {}", whose.not_there)));
        }
        match (&self.access_key_id, &self.secret_access_key) {
            (Some(_), None) => return Err(("access_key_id", "the key's id is set and `secret_access_key` is not".to_owned())),
            (None, Some(_)) => return Err(("secret_access_key", "the key is set and `access_key_id` is not".to_owned())),
            _ => {}
        }
        if self.key.is_some() && self.account.is_none() {
            return Err(("key", "the key is set and `account` is not".to_owned()));
        }
        if self.anonymous && (self.access_key_id.is_some() || self.service_account.is_some() || self.key.is_some()) {
            return Err(("anonymous", "a key is set, and `anonymous` says that none is used".to_owned()));
        }
        let mut near = false;
        if let Some(endpoint) = &self.endpoint {
            let url: Url = endpoint.parse().map_err(|error| -> Wrong {
                ("endpoint", format!("`{endpoint}` is no address: {error}; write one such as https://minio.shop.example"))
            })?;
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) || !url.username().is_empty() {
                return Err(("endpoint", "the endpoint is no address such as https://minio.shop.example".to_owned()));
            }
            near = is_near(&url);
            if url.scheme() == "http" && !(near && self.allow_http) {
                let message = match near {
                    true => "the endpoint is asked unencrypted; say `allow_http = true` if that is meant".to_owned(),
                    false => "rows would travel readable for everyone on the way; write `https://`".to_owned(),
                };
                return Err(("endpoint", message));
            }
        }
        if self.allow_http && !near {
            return Err(("allow_http", "an endpoint may be asked unencrypted on this machine only".to_owned()));
        }
        Ok(())
    }

    /// The secrets it needs.
    pub(crate) fn secrets(&self) -> Vec<&SecretRef> {
        let Self { access_key_id, secret_access_key, service_account, key, token, .. } = self;
        [access_key_id, secret_access_key, service_account, key, token].into_iter().flatten().collect()
    }

    /// Opens a bucket, and says which secrets must never be told; those in files are found from `root`.
    pub(crate) fn open(
        &self,
        scheme: Scheme,
        bucket: &str,
        root: &Path,
        patience: &Patience,
    ) -> Result<(Arc<dyn ObjectStore>, Vec<Secret>), Closed> {
        let mut secrets = Vec::new();
        let mut resolve = |secret: &Option<SecretRef>| -> Result<Option<String>, Closed> {
            let Some(secret) = secret else { return Ok(None) };
            let secret = secret.resolve(root).map_err(Closed::Secret)?;
            secrets.push(secret.clone());
            Ok(Some(secret.reveal().to_owned()))
        };
        let built = |_: object_store::Error| Closed::Unfit;
        let retry = patience.retry();
        let options = ClientOptions::new().with_timeout(patience.request).with_allow_http(self.allow_http);
        let endpoint = self.endpoint.as_deref().map(|endpoint| endpoint.trim_end_matches('/'));
        let opened: Arc<dyn ObjectStore> = match scheme {
            Scheme::S3 => {
                let (id, key) = (resolve(&self.access_key_id)?, resolve(&self.secret_access_key)?);
                let mut builder = match (id, key) {
                    (Some(id), Some(key)) => AmazonS3Builder::new().with_access_key_id(id).with_secret_access_key(key),
                    _ => AmazonS3Builder::from_env(),
                };
                if let Some(region) = &self.region {
                    builder = builder.with_region(region);
                }
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                if self.anonymous {
                    builder = builder.with_skip_signature(true);
                }
                Arc::new(builder.with_bucket_name(bucket).with_client_options(options).with_retry(retry).build().map_err(built)?)
            }
            Scheme::Gs => {
                let mut builder = match resolve(&self.service_account)? {
                    Some(account) => GoogleCloudStorageBuilder::new().with_service_account_key(account),
                    None => GoogleCloudStorageBuilder::from_env(),
                };
                if let Some(endpoint) = endpoint {
                    builder = builder.with_base_url(endpoint);
                }
                if self.anonymous {
                    builder = builder.with_skip_signature(true);
                }
                Arc::new(builder.with_bucket_name(bucket).with_client_options(options).with_retry(retry).build().map_err(built)?)
            }
            Scheme::Az => {
                let mut builder = match resolve(&self.key)? {
                    Some(key) => MicrosoftAzureBuilder::new().with_access_key(key),
                    None => MicrosoftAzureBuilder::from_env(),
                };
                if let Some(account) = &self.account {
                    builder = builder.with_account(account);
                }
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint.to_owned());
                }
                if self.anonymous {
                    builder = builder.with_skip_signature(true);
                }
                Arc::new(builder.with_container_name(bucket).with_client_options(options).with_retry(retry).build().map_err(built)?)
            }
        };
        Ok((opened, secrets))
    }
}

/// The Delta table at an address of a store, `s3://bucket/table/`, not yet read.
pub(crate) fn delta(store: &Arc<dyn ObjectStore>, address: &str) -> DeltaResult<DeltaTable> {
    let url: Url = address.parse().map_err(|_| DeltaTableError::InvalidTableLocation(address.to_owned()))?;
    let config = StorageConfig::default();
    let below = config.decorate_store(Arc::clone(store), &url)?;
    Ok(DeltaTable::new(default_logstore(Arc::new(below), Arc::clone(store), &url, &config)))
}

/// How patient we are with a store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// How often one request is made before it fails.
    pub(crate) attempts: u32,
    /// The first wait between two of them.
    pub(crate) wait: Duration,
    /// How long one request may take, its body included.
    pub(crate) request: Duration,
}

impl Patience {
    fn retry(&self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig { init_backoff: self.wait.max(Duration::from_millis(1)), max_backoff: LONGEST_WAIT, base: 2.0 },
            max_retries: usize::try_from(self.attempts.saturating_sub(1)).unwrap_or(usize::MAX),
            // It counts from the first byte of a download, which may take hours before anything goes wrong; attempts are what bounds it.
            retry_timeout: self.request,
        }
    }
}

/// Waits stop doubling here.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Why a bucket could not be opened.
#[derive(Debug)]
pub(crate) enum Closed {
    /// A secret is missing.
    Secret(SecretError),
    /// The settings do not fit together; what the store's own error says may quote a key.
    Unfit,
}

/// A request to a store, to say why it failed.
pub(crate) struct Asked<'a> {
    pub(crate) scheme: Scheme,
    /// What was asked for: `s3://bucket/key`.
    pub(crate) at: String,
    /// The section that says how the store knows us.
    pub(crate) section: &'static str,
    /// The setting that says where things lie.
    pub(crate) path: &'static str,
    /// What we may not do, where we may not: `read`.
    pub(crate) access: &'static str,
    pub(crate) attempts: u32,
    pub(crate) secrets: &'a [Secret],
    /// What to do where it may work another time.
    pub(crate) again: &'static str,
}

impl Asked<'_> {
    /// An error in words that name the bucket and the key, and no secret: stores like to quote what they were sent. Then what to do.
    pub(crate) fn explain(&self, error: &object_store::Error) -> (String, String) {
        let Self { at, access, again, .. } = self;
        let text = error.to_string();
        let said = code(&text).map(|code| format!(" ({code})")).unwrap_or_default();
        let status = status(&text);
        let number = status.and_then(|status| status.get(..3)?.parse::<u16>().ok());
        let (reason, hint) = match (error, number) {
            // Where no key is set, the machine's own service for keys is asked, and there is none.
            _ if text.contains("169.254.169.254") || text.contains("metadata.google.internal") => {
                (format!("{at} cannot be {access} without a key, and the environment holds none"), self.credentials())
            }
            (object_store::Error::NotFound { .. }, _) | (_, Some(404)) => {
                (format!("{at} is not there{said}"), format!("correct the bucket or the key in {}", self.path))
            }
            (object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }, _) | (_, Some(401 | 403)) => {
                (format!("{at} may not be {access}{said}"), self.credentials())
            }
            (_, Some(408 | 429 | 500..)) => {
                let attempts = self.attempts.max(1);
                (format!("{at} answered {}{said}, {attempts} times in a row", status.unwrap_or_default()), (*again).to_owned())
            }
            (_, Some(_)) => (format!("{at} answered {}{said}", status.unwrap_or_default()), (*again).to_owned()),
            (error, None) => (format!("{at} cannot be {access}: {}", innermost(error)), (*again).to_owned()),
        };
        (self.hidden(reason), hint)
    }

    /// What to check where the store does not let us in.
    pub(crate) fn credentials(&self) -> String {
        let section = self.section;
        let keys = match self.scheme {
            Scheme::S3 => format!(
                "`access_key_id`, `secret_access_key` and `region` under `{section}`, or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION"
            ),
            Scheme::Gs => format!("`service_account` under `{section}`, or GOOGLE_SERVICE_ACCOUNT"),
            Scheme::Az => {
                format!("`account` and `key` under `{section}`, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY")
            }
        };
        format!("check {keys} in the environment, and that this bucket may be listed and {}", self.access)
    }

    fn hidden(&self, text: String) -> String {
        self.secrets.iter().map(Secret::reveal).filter(|secret| !secret.is_empty()).fold(text, |text, secret| text.replace(secret, "••••"))
    }
}

/// What a store calls what went wrong: `<Code>NoSuchBucket</Code>`.
fn code(text: &str) -> Option<&str> {
    let (code, _) = text.split_once("<Code>")?.1.split_once("</Code>")?;
    (!code.is_empty() && code.len() < 64 && code.chars().all(|c| c.is_ascii_alphanumeric())).then_some(code)
}

/// The status a store answered with, in its error's own words: `503 Service Unavailable`.
fn status(text: &str) -> Option<&str> {
    let (_, status) = text.split_once("status code: ")?;
    status.split([':', '<', '\n']).next().map(str::trim)
}

/// The innermost cause, without the page of HTML that some proxies answer with.
fn innermost(error: &object_store::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string().split('<').next().unwrap_or_default().trim().chars().take(160).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stores_answer_is_told_by_its_code_alone() {
        assert_eq!(code("… 403: <Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>AKIA</AWSAccessKeyId>"), Some("InvalidAccessKeyId"));
        assert_eq!(code("<Code>a <b></Code>"), None);
        assert_eq!(code("plain"), None);
        assert_eq!(status("… status code: 503 Service Unavailable: <html>"), Some("503 Service Unavailable"));
        assert_eq!(status("connection refused"), None);
    }
}
