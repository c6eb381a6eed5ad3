//! Files that lie elsewhere: listed, and fetched one at a time into a file of this process that leaves no trace.

use std::{
    fs::File,
    io::{Seek, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chrono::Utc;
use deltalake::DeltaTable;
use futures::{Stream, StreamExt, TryStreamExt};
use glob::{MatchOptions, Pattern};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use reqwest::{
    Client, StatusCode,
    header::{DATE, ETAG, HeaderMap, LAST_MODIFIED, RETRY_AFTER},
};
use url::Url;

use super::{
    place::{Place, fixed_prefix, is_exact},
    store::FileSource,
};
use crate::{
    lake::store::{Asked, Closed, Scheme, delta},
    secret::{Secret, SecretError},
    source::retry::{self, Next, Retry},
};

/// Where fetched files lie while they are read.
const FOLDER: &str = "data/spill";
/// A store that sends nothing for so long has gone away.
const SILENCE: Duration = Duration::from_secs(60);
/// So has one that answers nothing for so long, however often it is asked.
const UNANSWERED: Duration = Duration::from_secs(600);

/// One file that lies elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// What it is called: `s3://bucket/orders/1.csv`.
    pub(crate) name: String,
    /// Its key in the bucket.
    key: object_store::path::Path,
    /// What changes whenever its bytes do, where the store tells it.
    pub(crate) stamp: Option<String>,
}

/// Why files could not be listed or fetched, and what to do.
#[derive(Debug)]
pub(crate) enum Trouble {
    Secret(SecretError),
    Told { reason: String, hint: String },
}

pub(super) fn told(reason: impl Into<String>, hint: impl Into<String>) -> Trouble {
    Trouble::Told { reason: reason.into(), hint: hint.into() }
}

/// The place of one stream's files, opened.
#[derive(Debug, Clone)]
pub(crate) enum Remote {
    Bucket(Bucket),
    Web(Web),
}

#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    /// `s3://bucket`
    address: String,
    scheme: Scheme,
    /// The pattern over its keys.
    key: String,
    secrets: Vec<Secret>,
    retry: Retry,
}

#[derive(Debug, Clone)]
pub(crate) struct Web {
    client: Client,
    url: Url,
    token: Option<Secret>,
    name: String,
    retry: Retry,
}

impl Remote {
    /// Opens the place that `path` names; `None` where that is the project folder.
    pub(crate) fn open(source: &FileSource, path: &str, root: &Path) -> Result<Option<Self>, Trouble> {
        let place = Place::of(path).map_err(|(reason, hint)| told(reason, hint))?;
        let name = place.name(path);
        let retry = source.retry.clone();
        Ok(match place {
            Place::Folder => None,
            Place::Bucket { scheme, bucket, key } => {
                let (store, secrets) = source.open(scheme, &bucket, root).map_err(|closed| match closed {
                    Closed::Secret(error) => Trouble::Secret(error),
                    Closed::Unfit => told(
                        format!("`{}://{bucket}` cannot be opened with what `[store]` or the environment says", scheme.word()),
                        asked(scheme, String::new(), 1, &[]).credentials(),
                    ),
                })?;
                Some(Self::Bucket(Bucket { store, address: format!("{}://{bucket}", scheme.word()), scheme, key, secrets, retry }))
            }
            Place::Web(url) => {
                let token = source.store.token.as_ref().map(|token| token.resolve(root)).transpose().map_err(Trouble::Secret)?;
                let client = Client::builder()
                    .user_agent(concat!("perennial/", env!("CARGO_PKG_VERSION")))
                    .connect_timeout(Duration::from_secs(10))
                    .read_timeout(SILENCE)
                    // A file's ending says how it is packed, whatever the server thinks of it.
                    .no_gzip()
                    .no_proxy()
                    .https_only(url.scheme() == "https")
                    .build()
                    .map_err(|error| {
                        told(format!("no connection can be made: {error}"), "see whether the machine's certificates are whole")
                    })?;
                Some(Self::Web(Web { client, url, token, name, retry }))
            }
        })
    }

    /// The files there, sorted by name. An address is asked only where it is `looked` at what stands there.
    pub(crate) async fn list(&self, looked: bool) -> Result<Vec<Object>, Trouble> {
        match self {
            Self::Bucket(bucket) => bucket.list().await,
            Self::Web(web) => {
                let mut object = Object { name: web.name.clone(), key: object_store::path::Path::default(), stamp: None };
                if looked {
                    object.stamp = stamp(web.ask().await?.headers());
                }
                Ok(vec![object])
            }
        }
    }

    /// Fetches a file into one below `root` that is gone as soon as it is closed.
    pub(crate) async fn fetch(&self, object: &Object, root: &Path) -> Result<File, Trouble> {
        match self {
            Self::Bucket(bucket) => bucket.fetch(object, root).await,
            Self::Web(web) => web.fetch(root).await,
        }
    }
}

impl Bucket {
    async fn list(&self) -> Result<Vec<Object>, Trouble> {
        if is_exact(&self.key) {
            let key = object_store::path::Path::parse(&self.key).map_err(|error| told(error.to_string(), "correct the stream's `path`"))?;
            return match self.answered(self.store.head(&key)).await? {
                Ok(meta) => Ok(vec![self.object(meta)]),
                Err(object_store::Error::NotFound { .. }) => Ok(vec![]),
                Err(error) => Err(self.explain(&self.key, &error)),
            };
        }
        let pattern = Pattern::new(&self.key).map_err(|error| told(error.to_string(), "correct the stream's `path`"))?;
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
        let mut listed = self.store.list(fixed_prefix(&self.key).as_ref());
        let mut objects = Vec::new();
        while let Some(meta) = self.answered(listed.try_next()).await?.map_err(|error| self.explain(&self.key, &error))? {
            if pattern.matches_with(meta.location.as_ref(), options) {
                objects.push(self.object(meta));
            }
        }
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    /// What is asked, unless no answer comes at all: the client itself knows only how long a whole download may take.
    async fn answered<T>(&self, asked: impl Future<Output = T>) -> Result<T, Trouble> {
        tokio::time::timeout(UNANSWERED, asked).await.map_err(|_| told(format!("{}/{} does not answer", self.address, self.key), AGAIN))
    }

    fn object(&self, meta: ObjectMeta) -> Object {
        let stamp = meta.e_tag.unwrap_or_else(|| meta.last_modified.to_rfc3339());
        Object { name: format!("{}/{}", self.address, meta.location), key: meta.location, stamp: Some(format!("{} {stamp}", meta.size)) }
    }

    /// The Delta table at the path, not yet read; `None` where there is no log of one.
    pub(super) async fn table(&self) -> Result<Option<DeltaTable>, Trouble> {
        let key = self.key.trim_end_matches('/');
        let log = object_store::path::Path::parse(format!("{key}/_delta_log"))
            .map_err(|error| told(error.to_string(), "correct the stream's `path`"))?;
        let listed = self.answered(self.store.list_with_delimiter(Some(&log))).await?.map_err(|error| self.explain(key, &error))?;
        if listed.objects.is_empty() {
            return Ok(None);
        }
        delta(&self.store, &format!("{}/{key}/", self.address)).map(Some).map_err(|error| told(error.to_string(), AGAIN))
    }

    /// Why something below the path cannot be read.
    pub(super) fn broken(&self, error: &object_store::Error) -> Trouble {
        self.explain(&self.key, error)
    }

    async fn fetch(&self, object: &Object, root: &Path) -> Result<File, Trouble> {
        let got = self.answered(self.store.get(&object.key)).await?.map_err(|error| self.explain(object.key.as_ref(), &error))?;
        let size = got.meta.size;
        let mut file = scratch(root)?;
        match copy(got.into_stream(), &mut file).await {
            Ok(written) if written == size => Ok(file),
            Ok(written) => Err(told(format!("{} has {size} bytes, and {written} came", object.name), AGAIN)),
            Err(Broke::Disk(error)) => Err(full(&error)),
            Err(Broke::Silent) => Err(told(format!("{} stopped coming half way", object.name), AGAIN)),
            Err(Broke::Source(error)) => Err(self.explain(object.key.as_ref(), &error)),
        }
    }

    fn explain(&self, key: &str, error: &object_store::Error) -> Trouble {
        let (reason, hint) = self.asked(key).explain(error);
        told(reason, hint)
    }

    fn asked(&self, key: &str) -> Asked<'_> {
        asked(self.scheme, format!("{}/{key}", self.address), self.retry.attempts, &self.secrets)
    }
}

/// A request for files.
fn asked(scheme: Scheme, at: String, attempts: u32, secrets: &[Secret]) -> Asked<'_> {
    Asked { scheme, at, section: "[store]", path: "the stream's `path`", access: "read", attempts, secrets, again: AGAIN }
}

pub(super) const AGAIN: &str = "see whether it can be reached from here, then run the command again; the table is as before";

impl Web {
    fn wrong(&self, reason: &str) -> Trouble {
        told(format!("{} {reason}", self.name), AGAIN)
    }

    /// An answer whose body is still to come; asked again as patiently as the settings say.
    async fn ask(&self) -> Result<reqwest::Response, Trouble> {
        let (mut attempt, mut waited) = (0, Duration::ZERO);
        loop {
            attempt += 1;
            let mut request = self.client.get(self.url.clone());
            if let Some(token) = &self.token {
                request = request.bearer_auth(token.reveal());
            }
            let (reason, hint) = match request.send().await {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => {
                    let status = answer.status();
                    match status {
                        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                            return Err(told(
                                format!("{} answered {}", self.name, status.as_u16()),
                                "check `token` under `[store]`: it may be wrong, expired or without the right to read this",
                            ));
                        }
                        StatusCode::NOT_FOUND | StatusCode::GONE => {
                            return Err(told(
                                format!("{} is not there ({})", self.name, status.as_u16()),
                                "correct the address in the stream's `path`",
                            ));
                        }
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {}
                        _ if status.is_server_error() => {}
                        _ => return Err(self.wrong(&format!("answered {}", status.as_u16()))),
                    }
                    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
                    let hint = header(RETRY_AFTER).and_then(|value| retry::retry_after(value, header(DATE), Utc::now()));
                    (format!("answered {}", status.as_u16()), hint)
                }
                Err(error) => (unsent(&error), None),
            };
            match self.retry.next(attempt, waited, hint, retry::jitter(&self.name, attempt)) {
                Next::Wait(wait) => {
                    tracing::info!(file = self.name, reason, ?wait, "asking again");
                    tokio::time::sleep(wait).await;
                    waited += wait;
                }
                Next::GiveUp | Next::TooLong(_) => return Err(self.wrong(&format!("{reason}, {attempt} times in a row"))),
            }
        }
    }

    /// The whole file: what breaks off half way begins anew, since few servers promise that the rest still belongs to it.
    async fn fetch(&self, root: &Path) -> Result<File, Trouble> {
        let (mut attempt, mut waited) = (0, Duration::ZERO);
        loop {
            attempt += 1;
            let answer = self.ask().await?;
            let mut file = scratch(root)?;
            match copy(answer.bytes_stream(), &mut file).await {
                Ok(_) => return Ok(file),
                Err(Broke::Disk(error)) => return Err(full(&error)),
                Err(Broke::Source(_) | Broke::Silent) => {}
            }
            match self.retry.next(attempt, waited, None, retry::jitter(&self.name, attempt)) {
                Next::Wait(wait) => {
                    tracing::info!(file = self.name, ?wait, "the file broke off half way; fetching it again");
                    tokio::time::sleep(wait).await;
                    waited += wait;
                }
                Next::GiveUp | Next::TooLong(_) => return Err(self.wrong(&format!("broke off half way, {attempt} times in a row"))),
            }
        }
    }
}

/// Why no answer came, without the address: what it asks for may be a secret.
fn unsent(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match error.is_timeout() {
        true => "did not answer".to_owned(),
        false if error.is_connect() => format!("cannot be reached ({cause})"),
        false => format!("did not answer properly ({cause})"),
    }
}

fn stamp(headers: &HeaderMap) -> Option<String> {
    let stamp = headers.get(ETAG).or_else(|| headers.get(LAST_MODIFIED))?;
    stamp.to_str().ok().map(str::to_owned)
}

/// Why bytes stopped coming in.
enum Broke<E> {
    Source(E),
    Disk(std::io::Error),
    Silent,
}

/// Writes what comes to the file and rewinds it; says how many bytes came.
async fn copy<E>(bytes: impl Stream<Item = Result<Bytes, E>>, file: &mut File) -> Result<u64, Broke<E>> {
    let mut bytes = std::pin::pin!(bytes);
    let mut written = 0;
    loop {
        let Ok(next) = tokio::time::timeout(SILENCE, bytes.next()).await else { return Err(Broke::Silent) };
        let Some(some) = next else { break };
        let some = some.map_err(Broke::Source)?;
        file.write_all(&some).map_err(Broke::Disk)?;
        written += some.len() as u64;
    }
    file.rewind().map_err(Broke::Disk)?;
    Ok(written)
}

fn full(error: &std::io::Error) -> Trouble {
    told(
        format!("nothing can be written to {FOLDER}: {error}"),
        format!("fetched files lie in {FOLDER} while they are read; make room there, and see that it can be written"),
    )
}

/// A file without a name: whatever ends the process, nothing of it is left.
fn scratch(root: &Path) -> Result<File, Trouble> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let folder = root.join(FOLDER);
    let path = folder.join(format!("fetched-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let made = || {
        std::fs::create_dir_all(&folder)?;
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    };
    made().map_err(|error| full(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetched_file_leaves_no_trace() {
        let root = tempfile::tempdir().unwrap();
        let mut file = scratch(root.path()).unwrap();
        file.write_all(b"rows").unwrap();
        assert_eq!(std::fs::read_dir(root.path().join(FOLDER)).unwrap().count(), 0);
        std::fs::write(root.path().join("data/x"), "").unwrap();
        let error = scratch(&root.path().join("data/x")).unwrap_err();
        assert!(matches!(error, Trouble::Told { reason, .. } if reason.starts_with("nothing can be written to data/spill")));
    }
}
