//! The log of one table: what a version holds, and how the next version appears all at once.
//!
//! The log is Delta's (protocol reader 1, writer 2), read through `deltalake`. A version is published by this module itself: the commit
//! is written beside the log, synced, and linked under its number, which fails where another writer was first. A process killed at any
//! point therefore leaves the old version or the new one, never half of one; and because files are synced before the link and the link
//! after, a published version also survives a power cut on file systems that honour `fsync`. Checkpoints (a summary of the log, every
//! [`CHECKPOINT_EVERY`] versions) are written by `deltalake`, which does not sync them.
//!
//! The pull cursor stands in the table's own properties, which Delta carries from version to version and through checkpoints: it changes
//! in the commit that holds its rows, each version knows its own, and no removed log file can take it away. The commit's `commitInfo`
//! repeats it for people who read the history.

use std::{
    collections::HashMap,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use arrow::datatypes::{Schema, SchemaRef};
use chrono::{DateTime, Utc};
use deltalake::{
    DeltaTable, DeltaTableBuilder,
    kernel::{
        Action, Metadata, MetadataExt, Protocol, Remove, StructType, engine::arrow_conversion::TryIntoKernel, new_metadata,
        transaction::CommitData,
    },
    protocol::{DeltaOperation, SaveMode},
};
use serde_json::json;
use url::Url;

use super::{
    Commit, LakeError,
    columns::storable,
    files::{DataFile, is_time},
};

pub(super) const LOG: &str = "_delta_log";
/// How many versions lie between two checkpoints.
const CHECKPOINT_EVERY: i64 = 50;
const CURSOR: &str = "perennial.cursor";

/// One file of a version.
#[derive(Debug, Clone)]
pub(super) struct LiveFile {
    /// Its name in the table's folder.
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) rows: u64,
    pub(super) modified: DateTime<Utc>,
    remove: Remove,
}

/// What one version of a table holds.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) version: i64,
    pub(super) schema: SchemaRef,
    pub(super) files: Vec<LiveFile>,
    metadata: Metadata,
}

impl Snapshot {
    pub(super) fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    pub(super) fn cursor(&self) -> Option<serde_json::Value> {
        self.metadata.configuration().get(CURSOR).and_then(|text| serde_json::from_str(text).ok())
    }
}

/// What the next version adds, takes away and changes.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) add: Vec<DataFile>,
    pub(super) remove: Vec<LiveFile>,
    /// Where the columns change, or the table is new.
    pub(super) schema: Option<SchemaRef>,
    pub(super) overwrite: bool,
}

/// The newest version in the log of `folder`; `None` where there is no table.
pub(super) fn latest(folder: &Path) -> Result<Option<i64>, LakeError> {
    Ok(commits(folder)?.last().map(|(version, _)| *version))
}

/// The commits in the log, oldest first.
pub(super) fn commits(folder: &Path) -> Result<Vec<(i64, PathBuf)>, LakeError> {
    let log = folder.join(LOG);
    let entries = match std::fs::read_dir(&log) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LakeError::io(&log)(error)),
    };
    let mut commits = Vec::new();
    for entry in entries {
        let path = entry.map_err(LakeError::io(&log))?.path();
        if path.extension().is_some_and(|ending| ending == "json")
            && let Some(version) = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok())
        {
            commits.push((version, path));
        }
    }
    commits.sort_unstable();
    Ok(commits)
}

/// Reads a version (the newest where none is named); `None` where there is no table.
pub(super) async fn load(folder: &Path, table: &str, version: Option<i64>) -> Result<Option<Snapshot>, LakeError> {
    let Some(newest) = latest(folder)? else {
        return Ok(None);
    };
    let version = version.unwrap_or(newest);
    let missing = || LakeError::NoVersion { table: table.to_owned(), version };
    if version > newest {
        return Err(missing());
    }
    let number = u64::try_from(version).map_err(|_| missing())?;
    let delta = open(folder, table, number).await.map_err(|error| match error {
        LakeError::Log { .. } if version != newest => missing(),
        error => error,
    })?;
    let state = delta.snapshot().map_err(LakeError::log(table))?;
    if state.protocol().min_reader_version() > 1 {
        let feature = format!("reader version {}", state.protocol().min_reader_version());
        return Err(LakeError::Foreign { table: table.to_owned(), feature });
    }
    let schema = storable(table, &state.snapshot().arrow_schema())?;
    let mut files = state
        .log_data()
        .iter()
        .map(|view| {
            let modified = DateTime::from_timestamp_millis(view.modification_time()).unwrap_or_default();
            LiveFile {
                name: view.path().into_owned(),
                size: u64::try_from(view.size()).unwrap_or_default(),
                rows: view.num_records().unwrap_or_default() as u64,
                modified,
                remove: view.remove_action(true),
            }
        })
        .collect::<Vec<_>>();
    // In the order they were written.
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(Some(Snapshot { version, schema, files, metadata: state.metadata().clone() }))
}

async fn open(folder: &Path, table: &str, version: u64) -> Result<DeltaTable, LakeError> {
    let url = Url::from_directory_path(folder).map_err(|()| LakeError::Name(table.to_owned()))?;
    let builder = DeltaTableBuilder::from_url(url).map_err(LakeError::log(table))?;
    builder.with_version(version).load().await.map_err(LakeError::log(table))
}

/// Publishes the version after `base` (version 0 where there is none). Blocking.
pub(super) fn publish(folder: &Path, table: &str, base: Option<&Snapshot>, change: Change, note: &Commit) -> Result<i64, LakeError> {
    let version = base.map_or(0, |snapshot| snapshot.version + 1);
    let mut actions = Vec::new();
    let mut metadata = base.map(|snapshot| snapshot.metadata.clone());
    if let Some(schema) = &change.schema {
        metadata = Some(described(table, metadata, schema)?);
    }
    if let Some(cursor) = &note.cursor {
        metadata = metadata
            .map(|metadata| metadata.add_config_key(CURSOR.to_owned(), cursor.to_string()))
            .transpose()
            .map_err(|error| LakeError::log(table)(error.into()))?;
    }
    if base.is_none() {
        let protocol: Protocol = serde_json::from_value(json!({ "minReaderVersion": 1, "minWriterVersion": 2 }))
            .map_err(|error| LakeError::log(table)(deltalake::DeltaTableError::generic(error.to_string())))?;
        actions.push(Action::Protocol(protocol));
    }
    if let Some(metadata) = metadata
        && (change.schema.is_some() || note.cursor.is_some())
    {
        actions.push(Action::Metadata(metadata));
    }
    actions.extend(change.remove.into_iter().map(|file| Action::Remove(file.remove)));
    actions.extend(change.add.iter().map(|file| Action::Add(file.add())));
    let mode = if change.overwrite { SaveMode::Overwrite } else { SaveMode::Append };
    let operation = DeltaOperation::Write { mode, partition_by: None, predicate: None };
    let mut info = HashMap::new();
    if let Some(run) = &note.run {
        info.insert("perennial.run".to_owned(), json!(run));
    }
    if let Some(cursor) = &note.cursor {
        info.insert(CURSOR.to_owned(), cursor.clone());
    }
    let bytes = CommitData::new(actions, operation, info, Vec::new()).get_bytes().map_err(|error| LakeError::log(table)(error.into()))?;
    link(folder, table, version, &bytes)?;
    Ok(version)
}

/// The table's metadata with the columns of `schema`.
fn described(table: &str, old: Option<Metadata>, schema: &Schema) -> Result<Metadata, LakeError> {
    let columns: StructType = schema.try_into_kernel().map_err(LakeError::rows(table))?;
    let failed = |error: deltalake::kernel::Error| LakeError::log(table)(error.into());
    // No statistics but those of instants: other programs that write to the table keep names and addresses out of the log, too.
    let times: Vec<String> =
        schema.fields().iter().filter(|field| is_time(field.data_type())).map(|field| format!("`{}`", field.name())).collect();
    let (wanted, unwanted) = ("delta.dataSkippingStatsColumns", "delta.dataSkippingNumIndexedCols");
    let (key, other, value) = if times.is_empty() { (unwanted, wanted, "0".to_owned()) } else { (wanted, unwanted, times.join(",")) };
    match old {
        Some(metadata) => metadata
            .with_schema(&columns)
            .and_then(|metadata| metadata.remove_config_key(other))
            .and_then(|metadata| metadata.add_config_key(key.to_owned(), value))
            .map_err(failed),
        // This program removes old versions itself, by the versions the ledger has pinned.
        None => new_metadata(&columns, Vec::<String>::new(), [(key, value.as_str()), ("delta.enableExpiredLogCleanup", "false")])
            .map_err(failed),
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
    let published = log.join(format!("{version:020}.json"));
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

/// Summarises the log where enough versions have passed since the last summary.
pub(super) async fn checkpoint(folder: &Path, table: &str, version: i64) {
    if version == 0 || version % CHECKPOINT_EVERY != 0 {
        return;
    }
    let Ok(number) = u64::try_from(version) else { return };
    let made = async {
        let delta = open(folder, table, number).await?;
        deltalake::checkpoints::create_checkpoint(&delta, None).await.map_err(LakeError::log(table))
    };
    if let Err(error) = made.await {
        // The log alone says everything; the next checkpoint makes up for this one.
        tracing::warn!(table, version, %error, "no checkpoint was written");
    }
}

/// What the log says of a file over time: the version that added it and the one that removed it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lifetime {
    pub(super) added: i64,
    pub(super) removed: Option<i64>,
}

/// Every file the log still knows, with its lifetime, and the instant of every commit.
pub(super) fn lifetimes(folder: &Path, newest: &Snapshot) -> Result<(HashMap<String, Lifetime>, Vec<(i64, DateTime<Utc>)>), LakeError> {
    let mut files: HashMap<String, Lifetime> = newest.files.iter().map(|file| (file.name.clone(), Lifetime::default())).collect();
    let mut instants = Vec::new();
    for (version, path) in commits(folder)? {
        let text = std::fs::read_to_string(&path).map_err(LakeError::io(&path))?;
        let mut instant = None;
        for line in text.lines() {
            let Ok(action) = serde_json::from_str::<Action>(line) else { continue };
            match action {
                Action::Add(add) => {
                    files.insert(add.path, Lifetime { added: version, removed: None });
                }
                Action::Remove(remove) => {
                    files.entry(remove.path).or_default().removed = Some(version);
                }
                Action::CommitInfo(info) => instant = info.timestamp.and_then(DateTime::from_timestamp_millis),
                _ => {}
            }
        }
        instants.push((version, instant.unwrap_or_default()));
    }
    Ok((files, instants))
}

#[cfg(test)]
pub(super) async fn delta(folder: &Path) -> DeltaTable {
    let version = latest(folder).unwrap().unwrap();
    open(folder, "test", u64::try_from(version).unwrap()).await.unwrap()
}
