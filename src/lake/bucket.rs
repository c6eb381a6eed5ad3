//! A bucket that tables stand in.
//!
//! Nothing is written over anything: data files and commits are created on condition that their name is free (`If-None-Match: *` on S3,
//! generations and ETags elsewhere), so that of two writers of one version one loses. An answer that got lost is asked for: a commit under
//! our number that reads as we wrote it is ours.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use datafusion::datasource::object_store::ObjectStoreUrl;
use deltalake::{DeltaResult, DeltaTable};
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, path::Path as Key};
use parquet::errors::ParquetError;

use super::{
    LakeError,
    store::{self, Asked, Closed, Patience, Scheme, StoreSettings},
};
use crate::secret::Secret;

/// Files of the lake are small; what takes longer hangs.
const PATIENCE: Patience = Patience { attempts: 6, wait: Duration::from_millis(200), request: Duration::from_secs(300) };
/// How often a commit is tried whose outcome is not known.
const COMMITS: u32 = 4;
/// How many small objects are read at once.
pub(super) const AT_ONCE: usize = 16;

/// A bucket, opened.
#[derive(Debug)]
pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    scheme: Scheme,
    name: String,
    /// What all keys of the lake begin with.
    prefix: Key,
    engine_url: ObjectStoreUrl,
    secrets: Vec<Secret>,
    settings: StoreSettings,
    project: PathBuf,
    /// Set once another process holds the lease that this one had.
    ousted: AtomicBool,
}

impl Bucket {
    pub(super) fn open(settings: &StoreSettings, scheme: Scheme, name: &str, prefix: &Key, project: &Path) -> Result<Self, LakeError> {
        let unfit = || {
            let asked = asked(scheme, String::new(), &[]);
            let reason = format!("`{}://{name}` cannot be opened with what `[lake.store]` or the environment says", scheme.word());
            LakeError::Store { reason, hint: asked.credentials() }
        };
        let (store, secrets) = settings.open(scheme, name, project, &PATIENCE).map_err(|closed| match closed {
            Closed::Secret(error) => LakeError::Secret(error),
            Closed::Unfit => unfit(),
        })?;
        let engine_url = ObjectStoreUrl::parse(format!("{}://{name}", scheme.word())).map_err(|_| unfit())?;
        Ok(Self {
            store,
            scheme,
            name: name.to_owned(),
            prefix: prefix.clone(),
            engine_url,
            secrets,
            settings: settings.clone(),
            project: project.to_owned(),
            ousted: AtomicBool::new(false),
        })
    }

    /// The same bucket through a connection of its own, for a thread of its own.
    pub(super) fn again(&self) -> Result<Self, LakeError> {
        Self::open(&self.settings, self.scheme, &self.name, &self.prefix, &self.project)
    }

    pub(super) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    pub(super) fn engine_url(&self) -> ObjectStoreUrl {
        self.engine_url.clone()
    }

    /// What the keys of a table, or of something else beside the tables, begin with.
    pub(super) fn table(&self, name: &str) -> Key {
        self.prefix.clone().join(name)
    }

    /// Another process may write from here on, and this one may not.
    pub(super) fn oust(&self, ousted: bool) {
        self.ousted.store(ousted, Ordering::Release);
    }

    pub(super) fn delta(&self, table: &Key) -> DeltaResult<DeltaTable> {
        store::delta(&self.store, &format!("{}/", self.address(table)))
    }

    /// The names of the folders below the lake's own.
    pub(super) async fn folders(&self) -> Result<Vec<String>, LakeError> {
        let listed = self.store.list_with_delimiter(Some(&self.prefix)).await.map_err(|error| self.failed(&self.prefix, &error))?;
        Ok(listed.common_prefixes.iter().filter_map(|folder| Some(folder.filename()?.to_owned())).collect())
    }

    /// The objects right below a key, with their time and size.
    pub(super) async fn list(&self, key: &Key) -> Result<Vec<(String, DateTime<Utc>, u64)>, LakeError> {
        let listed = self.store.list_with_delimiter(Some(key)).await.map_err(|error| self.failed(key, &error))?;
        let named = |meta: object_store::ObjectMeta| Some((meta.location.filename()?.to_owned(), meta.last_modified, meta.size));
        Ok(listed.objects.into_iter().filter_map(named).collect())
    }

    pub(super) async fn read(&self, key: &Key) -> Result<Bytes, LakeError> {
        let read = async { self.store.get(key).await?.bytes().await };
        read.await.map_err(|error| self.failed(key, &error))
    }

    pub(super) async fn remove(&self, key: &Key) -> Result<(), LakeError> {
        match self.store.delete(key).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(key, &error)),
        }
    }

    /// Makes an object; says whether its name was free.
    pub(super) async fn create(&self, key: &Key, bytes: Bytes) -> Result<bool, LakeError> {
        match self.store.put_opts(key, bytes.into(), PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(self.failed(key, &error)),
        }
    }

    /// Publishes a commit where its number is free.
    pub(super) async fn publish(&self, table: &str, key: &Key, bytes: Bytes) -> Result<(), LakeError> {
        if self.ousted.load(Ordering::Acquire) {
            return Err(LakeError::Busy);
        }
        let mut attempt = 1;
        loop {
            let error = match self.store.put_opts(key, bytes.clone().into(), PutMode::Create.into()).await {
                Ok(_) => return Ok(()),
                Err(error @ (Error::PermissionDenied { .. } | Error::Unauthenticated { .. })) => return Err(self.failed(key, &error)),
                Err(error) => error,
            };
            // The client tries again by itself, and an answer can get lost: what stands there may be ours.
            match self.store.get(key).await {
                Ok(there) => {
                    let there = there.bytes().await.map_err(|error| self.failed(key, &error))?;
                    return if there == bytes { Ok(()) } else { Err(LakeError::Conflict(table.to_owned())) };
                }
                Err(Error::NotFound { .. }) if attempt < COMMITS => {}
                Err(_) => return Err(self.failed(key, &error)),
            }
            tokio::time::sleep(PATIENCE.wait * attempt).await;
            attempt += 1;
        }
    }

    pub(super) fn failed(&self, key: &Key, error: &Error) -> LakeError {
        let (reason, hint) = asked(self.scheme, self.address(key), &self.secrets).explain(error);
        LakeError::Store { reason, hint }
    }

    /// `s3://bucket/key`
    pub(super) fn address(&self, key: &Key) -> String {
        format!("{}://{}/{key}", self.scheme.word(), self.name)
    }
}

fn asked(scheme: Scheme, at: String, secrets: &[Secret]) -> Asked<'_> {
    Asked {
        scheme,
        at,
        section: "[lake.store]",
        path: "`path` under `[lake]`",
        access: "read or written",
        attempts: PATIENCE.attempts,
        secrets,
        again: "see whether it can be reached from here, then run the command again: the tables are whole",
    }
}

/// An object being read, in the parts that are fetched of it.
#[derive(Debug, Clone)]
pub(super) struct Object {
    bucket: Arc<Bucket>,
    key: Key,
    size: u64,
    parts: Arc<Mutex<Vec<(u64, Bytes)>>>,
}

impl Object {
    pub(super) fn new(bucket: &Arc<Bucket>, key: Key, size: u64) -> Self {
        Self { bucket: Arc::clone(bucket), key, size, parts: Arc::default() }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Fetches parts ahead, as few requests as may be. Blocking.
    pub(super) fn fetch(&self, ranges: &[Range<u64>]) -> Result<(), LakeError> {
        let fetched = super::folder::wait(self.bucket.store.get_ranges(&self.key, ranges));
        let fetched = fetched.map_err(|error| self.bucket.failed(&self.key, &error))?;
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.extend(ranges.iter().map(|range| range.start).zip(fetched));
        Ok(())
    }

    /// What is there already from `start` on.
    fn ready(&self, start: u64) -> Option<Bytes> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let (begins, bytes) = parts.iter().find(|(begins, bytes)| (*begins..*begins + bytes.len() as u64).contains(&start))?;
        Some(bytes.slice(usize::try_from(start - begins).ok()?..))
    }

    /// The bytes of a range. Blocking.
    pub(super) fn range(&self, range: Range<u64>) -> Result<Bytes, ParquetError> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        if let Some(bytes) = self.ready(range.start).filter(|bytes| bytes.len() >= length) {
            return Ok(bytes.slice(..length));
        }
        self.missing(range)
    }

    /// The bytes from `start` to the end, or of the part that was fetched ahead. Blocking.
    pub(super) fn tail(&self, start: u64) -> Result<Bytes, ParquetError> {
        match self.ready(start) {
            Some(bytes) => Ok(bytes),
            None => self.missing(start..self.size),
        }
    }

    fn missing(&self, range: Range<u64>) -> Result<Bytes, ParquetError> {
        let fetched = super::folder::wait(self.bucket.store.get_range(&self.key, range));
        fetched.map_err(|error| ParquetError::General(self.bucket.failed(&self.key, &error).to_string()))
    }
}
