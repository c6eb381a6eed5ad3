//! The log of one table: what a version holds, and how the next version appears all at once.
//!
//! The log is Delta's (protocol reader 1, writer 2), read through `deltalake`. A version is published by this room itself: on a disk the
//! commit is written beside the log, synced, and linked under its number, which fails where another writer was first; in a bucket it is
//! created on condition that its number is free. A process killed at any point therefore leaves the old version or the new one, never half
//! of one; and because files are synced before the link and the link after, a published version also survives a power cut on file systems
//! that honour `fsync`. Checkpoints (a summary of the log, every [`CHECKPOINT_EVERY`] versions) are written by `deltalake`, which does not
//! sync them.
//!
//! The pull cursor stands in the table's own properties, which Delta carries from version to version and through checkpoints: it changes
//! in the commit that holds its rows, each version knows its own, and no removed log file can take it away. The commit's `commitInfo`
//! repeats it for people who read the history. Of a table that is written as a whole, about how many different values each column holds stands
//! there, too.

use std::collections::HashMap;

use arrow::datatypes::{Schema, SchemaRef};
use chrono::{DateTime, Utc};
use deltalake::{
    DeltaTable,
    kernel::{
        Action, Metadata, MetadataExt, Protocol, Remove, StructType, engine::arrow_conversion::TryIntoKernel, new_metadata,
        transaction::CommitData,
    },
    protocol::{DeltaOperation, SaveMode},
};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::{
    Commit, LakeError,
    bucket::AT_ONCE,
    columns::storable,
    distinct::Distinct,
    files::{DataFile, is_time},
    folder::{Folder, wait},
};

/// How many versions lie between two checkpoints.
const CHECKPOINT_EVERY: i64 = 50;
const CURSOR: &str = "perennial.cursor";
const DISTINCT: &str = "perennial.distinct";

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

    /// About how many different values columns have, as far as that is known.
    pub(super) fn distinct(&self) -> Distinct {
        self.metadata.configuration().get(DISTINCT).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
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
    /// Of all its rows as they are then, where that is known.
    pub(super) distinct: Option<Distinct>,
}

/// The newest version in the log of `folder`; `None` where there is no table.
pub(super) async fn latest(folder: &Folder) -> Result<Option<i64>, LakeError> {
    Ok(folder.commits().await?.last().copied())
}

/// Reads a version (the newest where none is named); `None` where there is no table.
pub(super) async fn load(folder: &Folder, table: &str, version: Option<i64>) -> Result<Option<Snapshot>, LakeError> {
    let Some(newest) = latest(folder).await? else {
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

async fn open(folder: &Folder, table: &str, version: u64) -> Result<DeltaTable, LakeError> {
    let mut delta = folder.delta(table)?;
    delta.load_version(version).await.map_err(folder.failed(table))?;
    Ok(delta)
}

/// Publishes the version after `base` (version 0 where there is none). Blocking.
pub(super) fn publish(folder: &Folder, table: &str, base: Option<&Snapshot>, change: Change, note: &Commit) -> Result<i64, LakeError> {
    let version = base.map_or(0, |snapshot| snapshot.version + 1);
    let mut actions = Vec::new();
    let mut metadata = base.map(|snapshot| snapshot.metadata.clone());
    if let Some(schema) = &change.schema {
        metadata = Some(described(table, metadata, schema)?);
    }
    let cursor = note.cursor.as_ref().map(|cursor| (CURSOR, cursor.to_string()));
    let distinct = change.distinct.as_ref().map(|distinct| (DISTINCT, json!(distinct).to_string()));
    for (key, value) in cursor.into_iter().chain(distinct) {
        metadata = metadata
            .map(|metadata| metadata.add_config_key(key.to_owned(), value))
            .transpose()
            .map_err(|error| LakeError::log(table)(error.into()))?;
    }
    // What was counted of other rows says nothing of these.
    let other_rows = !(change.add.is_empty() && change.remove.is_empty());
    let outdated = other_rows && change.distinct.is_none() && base.is_some_and(|base| !base.distinct().is_empty());
    if outdated {
        metadata = metadata
            .map(|metadata| metadata.remove_config_key(DISTINCT))
            .transpose()
            .map_err(|error| LakeError::log(table)(error.into()))?;
    }
    if base.is_none() {
        let protocol: Protocol = serde_json::from_value(json!({ "minReaderVersion": 1, "minWriterVersion": 2 }))
            .map_err(|error| LakeError::log(table)(deltalake::DeltaTableError::generic(error.to_string())))?;
        actions.push(Action::Protocol(protocol));
    }
    if let Some(metadata) = metadata
        && (change.schema.is_some() || note.cursor.is_some() || change.distinct.is_some() || outdated)
    {
        actions.push(Action::Metadata(metadata));
    }
    actions.extend(change.remove.into_iter().map(|file| Action::Remove(file.remove)));
    actions.extend(change.add.iter().map(|file| Action::Add(file.add())));
    let mode = if change.overwrite { SaveMode::Overwrite } else { SaveMode::Append };
    let operation = DeltaOperation::Write { mode, partition_by: None, predicate: None };
    let mut info = HashMap::new();
    if folder.is_far() {
        // So that a commit whose answer got lost can be told from another writer's.
        let mut mark = [0; 12];
        getrandom::fill(&mut mark).map_err(|error| LakeError::log(table)(deltalake::DeltaTableError::generic(error.to_string())))?;
        info.insert("perennial.commit".to_owned(), json!(hex::encode(mark)));
    }
    if let Some(run) = &note.run {
        info.insert("perennial.run".to_owned(), json!(run));
    }
    if let Some(cursor) = &note.cursor {
        info.insert(CURSOR.to_owned(), cursor.clone());
    }
    let bytes = CommitData::new(actions, operation, info, Vec::new()).get_bytes().map_err(|error| LakeError::log(table)(error.into()))?;
    wait(folder.publish(table, version, bytes))?;
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

/// Summarises the log where enough versions have passed since the last summary.
pub(super) async fn checkpoint(folder: &Folder, table: &str, version: i64) {
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

/// What the log remembers: every file it still knows, with its lifetime, and the instant of every commit.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) files: HashMap<String, Lifetime>,
    pub(super) commits: Vec<(i64, DateTime<Utc>)>,
}

/// Reads the whole log.
pub(super) async fn memory(folder: &Folder, newest: &Snapshot) -> Result<Memory, LakeError> {
    let mut files: HashMap<String, Lifetime> = newest.files.iter().map(|file| (file.name.clone(), Lifetime::default())).collect();
    let mut instants = Vec::new();
    let versions = folder.commits().await?;
    let mut texts = stream::iter(versions).map(|version| async move { Ok((version, folder.commit(version).await?)) }).buffered(AT_ONCE);
    while let Some((version, text)) = texts.try_next().await? {
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
    Ok(Memory { files, commits: instants })
}

#[cfg(test)]
pub(super) async fn delta(folder: &Folder) -> DeltaTable {
    let version = latest(folder).await.unwrap().unwrap();
    open(folder, "test", u64::try_from(version).unwrap()).await.unwrap()
}
