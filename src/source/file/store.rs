//! `[store]`: how buckets and addresses know us, and what is checked before the first request.

use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder,
};
use std::{path::Path, sync::Arc, time::Duration};

use serde::Deserialize;
use url::Url;

use super::{
    place::{Place, Scheme, is_near},
    settings::FileSettings,
};
use crate::{
    secret::{Secret, SecretError, SecretRef},
    source::retry::Retry,
};

/// How the stores know us; what a store needs and is not set here, it takes from the environment, as its own tools do.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreSettings {
    /// S3: the key's id.
    pub(crate) access_key_id: Option<SecretRef>,
    /// S3: the key itself.
    pub(crate) secret_access_key: Option<SecretRef>,
    /// S3: the region the bucket lies in; `us-east-1` unless set.
    pub(crate) region: Option<String>,
    /// S3: where a store of your own answers: `https://minio.shop.example`.
    pub(crate) endpoint: Option<String>,
    /// S3: whether the endpoint may be asked unencrypted; on this machine only.
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

/// A place in the settings, and what is wrong with it.
type Wrong = (&'static [&'static str], String);

/// Everything of a source of files but its streams.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileSource {
    pub(crate) store: StoreSettings,
    pub(crate) retry: Retry,
}

impl FileSource {
    /// Checks the source's own settings against the places its streams name.
    pub(crate) fn new(settings: &FileSettings) -> Result<Self, Wrong> {
        let store = settings.store.clone();
        let places: Vec<Place> = settings.streams.values().filter_map(|stream| Place::of(&stream.path).ok()).collect();
        let reads = |scheme: Scheme| places.iter().any(|place| matches!(place, Place::Bucket { scheme: other, .. } if *other == scheme));
        let reads_web = places.iter().any(|place| matches!(place, Place::Web(_)));
        let given: [(&'static [&'static str], bool, bool, &str); 10] = [
            (&["store", "access_key_id"], store.access_key_id.is_some(), reads(Scheme::S3), "s3://"),
            (&["store", "secret_access_key"], store.secret_access_key.is_some(), reads(Scheme::S3), "s3://"),
            (&["store", "region"], store.region.is_some(), reads(Scheme::S3), "s3://"),
            (&["store", "endpoint"], store.endpoint.is_some(), reads(Scheme::S3), "s3://"),
            (&["store", "allow_http"], store.allow_http, reads(Scheme::S3), "s3://"),
            (&["store", "service_account"], store.service_account.is_some(), reads(Scheme::Gs), "gs://"),
            (&["store", "account"], store.account.is_some(), reads(Scheme::Az), "az://"),
            (&["store", "key"], store.key.is_some(), reads(Scheme::Az), "az://"),
            (&["store", "token"], store.token.is_some(), reads_web, "https://"),
            (
                &["store", "anonymous"],
                store.anonymous,
                reads(Scheme::S3) || reads(Scheme::Gs) || reads(Scheme::Az),
                "s3://, gs:// or az://",
            ),
        ];
        if let Some((place, _, _, needs)) = given.iter().find(|(_, is_given, is_read, _)| *is_given && !is_read) {
            let name = place.last().copied().unwrap_or_default();
            return Err((place, format!("`{name}` is for {needs}, and no stream of this source is read from there")));
        }
        match (&store.access_key_id, &store.secret_access_key) {
            (Some(_), None) => return Err((&["store", "access_key_id"], "the key's id is set and `secret_access_key` is not".to_owned())),
            (None, Some(_)) => return Err((&["store", "secret_access_key"], "the key is set and `access_key_id` is not".to_owned())),
            _ => {}
        }
        if store.key.is_some() && store.account.is_none() {
            return Err((&["store", "key"], "the key is set and `account` is not".to_owned()));
        }
        if store.anonymous && (store.access_key_id.is_some() || store.service_account.is_some() || store.key.is_some()) {
            return Err((&["store", "anonymous"], "a key is set, and `anonymous` says that none is used".to_owned()));
        }
        let mut near = false;
        if let Some(endpoint) = &store.endpoint {
            let url: Url = endpoint.parse().map_err(|error| -> Wrong {
                (&["store", "endpoint"], format!("`{endpoint}` is no address: {error}; write one such as https://minio.shop.example"))
            })?;
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) || !url.username().is_empty() {
                return Err((&["store", "endpoint"], "the endpoint is no address such as https://minio.shop.example".to_owned()));
            }
            near = is_near(&url);
            if url.scheme() == "http" && !(near && store.allow_http) {
                let message = match near {
                    true => "the endpoint is asked unencrypted; say `allow_http = true` if that is meant".to_owned(),
                    false => "rows would travel readable for everyone on the way; write `https://`".to_owned(),
                };
                return Err((&["store", "endpoint"], message));
            }
        }
        if store.allow_http && !near {
            return Err((&["store", "allow_http"], "an endpoint may be asked unencrypted on this machine only".to_owned()));
        }
        let exposed = |place: &Place| matches!(place, Place::Web(url) if url.scheme() == "http" && !is_near(url));
        if store.token.is_some() && places.iter().any(exposed) {
            return Err((
                &["store", "token"],
                "the token would travel readable for everyone on the way; write `https://` in `path`".to_owned(),
            ));
        }
        Ok(Self { store, retry: settings.retry.clone() })
    }

    /// The secrets it needs.
    pub(crate) fn secrets(&self) -> Vec<&SecretRef> {
        let StoreSettings { access_key_id, secret_access_key, service_account, key, token, .. } = &self.store;
        [access_key_id, secret_access_key, service_account, key, token].into_iter().flatten().collect()
    }

    /// Opens a bucket, and says which secrets must never be told.
    pub(crate) fn open(&self, scheme: Scheme, bucket: &str, root: &Path) -> Result<(Arc<dyn ObjectStore>, Vec<Secret>), Closed> {
        let store = &self.store;
        let mut secrets = Vec::new();
        let mut resolve = |secret: &Option<SecretRef>| -> Result<Option<String>, Closed> {
            let Some(secret) = secret else { return Ok(None) };
            let secret = secret.resolve(root).map_err(Closed::Secret)?;
            secrets.push(secret.clone());
            Ok(Some(secret.reveal().to_owned()))
        };
        let built = |_: object_store::Error| Closed::Unfit;
        let options = ClientOptions::new().with_timeout(ONE_REQUEST).with_allow_http(store.allow_http);
        let opened: Arc<dyn ObjectStore> = match scheme {
            Scheme::S3 => {
                let (id, key) = (resolve(&store.access_key_id)?, resolve(&store.secret_access_key)?);
                let mut builder = match (id, key) {
                    (Some(id), Some(key)) => AmazonS3Builder::new().with_access_key_id(id).with_secret_access_key(key),
                    _ => AmazonS3Builder::from_env(),
                };
                if let Some(region) = &store.region {
                    builder = builder.with_region(region);
                }
                if let Some(endpoint) = &store.endpoint {
                    builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
                }
                if store.anonymous {
                    builder = builder.with_skip_signature(true);
                }
                let builder = builder.with_bucket_name(bucket).with_client_options(options).with_retry(self.patience());
                Arc::new(builder.with_allow_http(store.allow_http).build().map_err(built)?)
            }
            Scheme::Gs => {
                let mut builder = match resolve(&store.service_account)? {
                    Some(account) => GoogleCloudStorageBuilder::new().with_service_account_key(account),
                    None => GoogleCloudStorageBuilder::from_env(),
                };
                if store.anonymous {
                    builder = builder.with_skip_signature(true);
                }
                Arc::new(builder.with_bucket_name(bucket).with_client_options(options).with_retry(self.patience()).build().map_err(built)?)
            }
            Scheme::Az => {
                let mut builder = match resolve(&store.key)? {
                    Some(key) => MicrosoftAzureBuilder::new().with_access_key(key),
                    None => MicrosoftAzureBuilder::from_env(),
                };
                if let Some(account) = &store.account {
                    builder = builder.with_account(account);
                }
                if store.anonymous {
                    builder = builder.with_skip_signature(true);
                }
                Arc::new(
                    builder.with_container_name(bucket).with_client_options(options).with_retry(self.patience()).build().map_err(built)?,
                )
            }
        };
        Ok((opened, secrets))
    }

    fn patience(&self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: self.retry.wait.duration().max(Duration::from_millis(1)),
                max_backoff: LONGEST_WAIT,
                base: 2.0,
            },
            max_retries: usize::try_from(self.retry.attempts.saturating_sub(1)).unwrap_or(usize::MAX),
            // It counts from the first byte of a download, which may take hours before anything goes wrong; attempts are what bounds it.
            retry_timeout: ONE_REQUEST,
        }
    }
}

/// How long the download of one file may take.
const ONE_REQUEST: Duration = Duration::from_secs(6 * 3600);
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
