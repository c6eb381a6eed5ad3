//! Where tables stand, on a disk or in a bucket: what the rest of this room asks of a folder, and what a disk answers.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Buf, Bytes};
use chrono::{DateTime, Utc};
use datafusion::datasource::object_store::ObjectStoreUrl;
use deltalake::{DeltaTable, DeltaTableBuilder};
use object_store::{ObjectStore, path::Path as Key};
use parquet::{
    errors::ParquetError,
    file::reader::{ChunkReader, Length},
};
use url::Url;

use super::{
    LakeError,
    bucket::{Bucket, Object},
    settings::{LakePath, LakeSettings},
};

pub(super) const LOG: &str = "_delta_log";

/// What is asked of a bucket, waited for. Only where threads may block.
pub(super) fn wait<F: Future>(asked: F) -> F::Output {
    tokio::runtime::Handle::current().block_on(asked)
}

/// Where all tables stand.
#[derive(Debug, Clone)]
pub(super) enum Root {
    Disk(PathBuf),
    Bucket(Arc<Bucket>),
}

impl Root {
    /// Opens the place that the settings of the project in `project` name.
    pub(super) fn open(project: &Path, settings: &LakeSettings) -> Result<Self, LakeError> {
        match &settings.path {
            LakePath::Folder(folder) => Self::disk(&project.join(folder), settings.read_only),
            LakePath::Bucket { scheme, bucket, prefix } => {
                let bucket = Bucket::open(&settings.store, *scheme, bucket, prefix, project)?;
                Ok(Self::Bucket(Arc::new(bucket)))
            }
        }
    }

    /// A folder on a disk; made where there is none, unless it is only read.
    pub(super) fn disk(folder: &Path, read_only: bool) -> Result<Self, LakeError> {
        if !read_only {
            std::fs::create_dir_all(folder).map_err(LakeError::io(folder))?;
        }
        // Delta and the engine name files by absolute paths.
        Ok(Self::Disk(std::path::absolute(folder).map_err(LakeError::io(folder))?))
    }

    /// The folder of one table.
    pub(super) fn table(&self, name: &str) -> Folder {
        match self {
            Self::Disk(root) => Folder::Disk(root.join(name)),
            Self::Bucket(bucket) => Folder::Bucket(Arc::clone(bucket), bucket.table(name)),
        }
    }

    /// The names of all folders.
    pub(super) async fn folders(&self) -> Result<Vec<String>, LakeError> {
        let root = match self {
            Self::Bucket(bucket) => return bucket.folders().await,
            Self::Disk(root) => root,
        };
        let entries = match std::fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(LakeError::io(root)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(LakeError::io(root))?.file_name();
            names.extend(name.into_string());
        }
        Ok(names)
    }
}

/// The folder of one table: its files, and its log below.
#[derive(Debug, Clone)]
pub(super) enum Folder {
    Disk(PathBuf),
    Bucket(Arc<Bucket>, Key),
}

impl Folder {
    /// Whether the outcome of a write can stay unknown, because it travels.
    pub(super) fn is_far(&self) -> bool {
        matches!(self, Self::Bucket(..))
    }

    /// Makes the folder where there is none; in a bucket there is nothing to make.
    pub(super) fn make(&self) -> Result<(), LakeError> {
        match self {
            Self::Disk(folder) => std::fs::create_dir_all(folder).map_err(LakeError::io(folder)),
            Self::Bucket(..) => Ok(()),
        }
    }

    /// The numbers of the commits in the log, sorted; none where there is no table.
    pub(super) async fn commits(&self) -> Result<Vec<i64>, LakeError> {
        let names = match self {
            Self::Bucket(bucket, key) => bucket.list(&key.clone().join(LOG)).await?.into_iter().map(|(name, ..)| name).collect(),
            Self::Disk(folder) => {
                let log = folder.join(LOG);
                let entries = match std::fs::read_dir(&log) {
                    Ok(entries) => entries,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                    Err(error) => return Err(LakeError::io(&log)(error)),
                };
                let mut names = Vec::new();
                for entry in entries {
                    names.extend(entry.map_err(LakeError::io(&log))?.file_name().into_string());
                }
                names
            }
        };
        let mut commits: Vec<i64> = names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
        commits.sort_unstable();
        Ok(commits)
    }

    /// The text of one commit.
    pub(super) async fn commit(&self, version: i64) -> Result<String, LakeError> {
        let name = commit_name(version);
        match self {
            Self::Disk(folder) => {
                let path = folder.join(LOG).join(name);
                std::fs::read_to_string(&path).map_err(LakeError::io(&path))
            }
            Self::Bucket(bucket, key) => {
                let bytes = bucket.read(&key.clone().join(LOG).join(name)).await?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
        }
    }

    /// Publishes a commit under its number, all at once; [`LakeError::Conflict`] where the number is taken.
    pub(super) async fn publish(&self, table: &str, version: i64, bytes: Bytes) -> Result<(), LakeError> {
        match self {
            Self::Disk(folder) => link(folder, table, version, &bytes),
            Self::Bucket(bucket, key) => bucket.publish(table, &key.clone().join(LOG).join(commit_name(version)), bytes).await,
        }
    }

    /// The files beside the log, with their age and size.
    pub(super) async fn files(&self) -> Result<Vec<(String, DateTime<Utc>, u64)>, LakeError> {
        let folder = match self {
            Self::Bucket(bucket, key) => return bucket.list(key).await,
            Self::Disk(folder) => folder,
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(LakeError::io(folder))? {
            let path = entry.map_err(LakeError::io(folder))?.path();
            let metadata = std::fs::metadata(&path).map_err(LakeError::io(&path))?;
            if metadata.is_file()
                && let Some(name) = path.file_name().and_then(|name| name.to_str())
            {
                let modified = metadata.modified().map_err(LakeError::io(&path))?;
                files.push((name.to_owned(), modified.into(), metadata.len()));
            }
        }
        Ok(files)
    }

    /// Whether all these files are there.
    pub(super) async fn holds(&self, names: impl Iterator<Item = &str>) -> Result<bool, LakeError> {
        match self {
            Self::Disk(folder) => {
                let mut names = names;
                Ok(names.all(|name| folder.join(name).exists()))
            }
            // One listing, whatever the number of files.
            Self::Bucket(bucket, key) => {
                let there: std::collections::HashSet<String> = bucket.list(key).await?.into_iter().map(|(name, ..)| name).collect();
                let mut names = names;
                Ok(names.all(|name| there.contains(name)))
            }
        }
    }

    /// Removes a file.
    pub(super) async fn remove(&self, name: &str) -> Result<(), LakeError> {
        match self {
            Self::Disk(folder) => {
                let path = folder.join(name);
                std::fs::remove_file(&path).map_err(LakeError::io(&path))
            }
            Self::Bucket(bucket, key) => bucket.remove(&key.clone().join(name)).await,
        }
    }

    /// Opens a file for reading. Blocking.
    pub(super) fn open(&self, name: &str, size: u64) -> Result<Input, LakeError> {
        match self {
            Self::Disk(folder) => {
                let path = folder.join(name);
                Ok(Input::File(Arc::new(File::open(&path).map_err(LakeError::io(&path))?)))
            }
            Self::Bucket(bucket, key) => Ok(Input::Object(Object::new(bucket, key.clone().join(name), size))),
        }
    }

    /// Begins a file; `None` where the name is already taken. Blocking.
    pub(super) fn create(&self, name: &str) -> Result<Option<Output>, LakeError> {
        match self {
            Self::Disk(folder) => {
                let path = folder.join(name);
                match OpenOptions::new().write(true).create_new(true).open(&path) {
                    Ok(file) => Ok(Some(Output::File(file))),
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
                    Err(error) => Err(LakeError::io(&path)(error)),
                }
            }
            // An object appears whole when it is finished; until then it is in memory.
            Self::Bucket(..) => Ok(Some(Output::Bytes(Vec::new()))),
        }
    }

    /// Makes what was written durable, and says its size and time; `None` where the name is taken by now. Blocking.
    pub(super) fn finish(&self, name: &str, output: &mut Output) -> Result<Option<(u64, DateTime<Utc>)>, LakeError> {
        match (self, output) {
            (Self::Bucket(bucket, key), Output::Bytes(written)) => {
                let bytes = Bytes::from(std::mem::take(written));
                let size = bytes.len() as u64;
                if wait(bucket.create(&key.clone().join(name), bytes.clone()))? {
                    return Ok(Some((size, Utc::now())));
                }
                *written = bytes.into();
                Ok(None)
            }
            (Self::Disk(folder), Output::File(file)) => {
                let path = folder.join(name);
                file.sync_all().map_err(LakeError::io(&path))?;
                let metadata = file.metadata().map_err(LakeError::io(&path))?;
                Ok(Some((metadata.len(), metadata.modified().map_or(DateTime::UNIX_EPOCH, DateTime::from))))
            }
            _ => Ok(None),
        }
    }

    /// Where a file lies in the store that [`store_url`](Self::store_url) names.
    pub(super) fn location(&self, name: &str) -> Result<Key, LakeError> {
        match self {
            Self::Disk(folder) => {
                let path = folder.join(name);
                Key::from_absolute_path(&path)
                    .map_err(|error| LakeError::io(&path)(std::io::Error::new(std::io::ErrorKind::InvalidInput, error.to_string())))
            }
            Self::Bucket(_, key) => Ok(key.clone().join(name)),
        }
    }

    /// How the engine names the store.
    pub(super) fn store_url(&self) -> ObjectStoreUrl {
        match self {
            Self::Disk(_) => ObjectStoreUrl::local_filesystem(),
            Self::Bucket(bucket, _) => bucket.engine_url(),
        }
    }

    /// The store, where the engine does not know it by itself.
    pub(super) fn store(&self) -> Option<Arc<dyn ObjectStore>> {
        match self {
            Self::Disk(_) => None,
            Self::Bucket(bucket, _) => Some(bucket.store()),
        }
    }

    /// The table as the Delta library sees it, not yet read.
    pub(super) fn delta(&self, table: &str) -> Result<DeltaTable, LakeError> {
        match self {
            Self::Disk(folder) => {
                let url = Url::from_directory_path(folder).map_err(|()| LakeError::Name(table.to_owned()))?;
                DeltaTableBuilder::from_url(url).and_then(DeltaTableBuilder::build).map_err(LakeError::log(table))
            }
            Self::Bucket(bucket, key) => bucket.delta(key).map_err(LakeError::log(table)),
        }
    }

    /// What the Delta library says, in words that name the bucket where that is what failed.
    pub(super) fn failed(&self, table: &str) -> impl Fn(deltalake::DeltaTableError) -> LakeError + '_ {
        let table = table.to_owned();
        move |error| {
            if let Self::Bucket(bucket, key) = self {
                let mut cause: Option<&dyn std::error::Error> = Some(&error);
                while let Some(deeper) = cause {
                    match deeper.downcast_ref::<object_store::Error>() {
                        Some(error) if !matches!(error, object_store::Error::NotFound { .. }) => return bucket.failed(key, error),
                        _ => cause = deeper.source(),
                    }
                }
            }
            LakeError::log(&table)(error)
        }
    }
}

fn commit_name(version: i64) -> String {
    format!("{version:020}.json")
}

/// A file being written.
#[derive(Debug)]
pub(super) enum Output {
    File(File),
    Bytes(Vec<u8>),
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Bytes(all) => all.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Bytes(_) => Ok(()),
        }
    }
}

/// A file being read.
#[derive(Debug, Clone)]
pub(super) enum Input {
    File(Arc<File>),
    Object(Object),
}

impl Length for Input {
    fn len(&self) -> u64 {
        match self {
            Self::File(file) => file.len(),
            Self::Object(object) => object.size(),
        }
    }
}

impl ChunkReader for Input {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(match self {
            Self::File(file) => Box::new(file.get_read(start)?),
            Self::Object(object) => Box::new(object.tail(start)?.reader()),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        match self {
            Self::File(file) => file.get_bytes(start, length),
            Self::Object(object) => object.range(start..start + length as u64),
        }
    }
}

/// Writes the commit beside the log and links it under its number; the link fails where the number is taken.
fn link(folder: &Path, table: &str, version: i64, bytes: &[u8]) -> Result<(), LakeError> {
    let log = folder.join(LOG);
    std::fs::create_dir_all(&log).map_err(LakeError::io(&log))?;
    let draft = folder.join(format!(".commit-{version:020}-{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        sync(folder)
    };
    write().map_err(LakeError::io(&draft))?;
    let published = log.join(commit_name(version));
    let linked = match std::fs::hard_link(&draft, &published) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(LakeError::Conflict(table.to_owned())),
        // Some file systems know no links; there the lease alone keeps a second writer out.
        Err(_) if !published.exists() => std::fs::rename(&draft, &published).map_err(LakeError::io(&published)),
        linked => linked.map_err(LakeError::io(&published)),
    };
    let _ = std::fs::remove_file(&draft);
    linked?;
    if let Err(error) = sync(&log) {
        // It is published all the same: taking it for a failure would remove the files it names.
        tracing::warn!(table, version, %error, "a version was published, but not synced to disk");
    }
    Ok(())
}

/// Makes the names in a folder durable.
fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
