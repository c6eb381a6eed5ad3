//! Tables of Parquet that are merged, replaced, read at a version and expired: Delta tables in one folder, one folder a table.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use chrono::{DateTime, Utc};
use datafusion::{catalog::TableProvider, execution::SendableRecordBatchStream};
use serde::Deserialize;

use crate::config::Period;

/// `[lake]` in `config/perennial.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LakeSettings {
    /// The folder of the tables, relative to the project folder.
    pub path: PathBuf,
    /// How long old versions are kept for `tidy`.
    pub keep_days: u32,
    /// Whether this project may write to the lake at all.
    pub read_only: bool,
}

impl Default for LakeSettings {
    fn default() -> Self {
        Self { path: PathBuf::from("data/lake"), keep_days: 30, read_only: false }
    }
}

/// What can go wrong in the lake.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// Another process holds the writer lease.
    #[error("another process is writing to the lake")]
    Busy,
}

impl crate::diagnosis::Diagnose for LakeError {
    fn diagnosis(&self) -> crate::diagnosis::Diagnosis {
        unimplemented!()
    }

    fn exit(&self) -> crate::diagnosis::Exit {
        unimplemented!()
    }
}

/// The lake; cheap to clone.
#[derive(Debug, Clone)]
pub struct Lake;

/// While it lives, this process alone may write to the lake.
#[derive(Debug)]
pub struct WriteLease;

/// What a write left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The table's version after the write.
    pub version: i64,
    /// The rows in the table after the write.
    pub rows: u64,
    /// Rows that were new.
    pub inserted: u64,
    /// Rows that replaced an earlier one.
    pub updated: u64,
}

/// What a commit says beside its rows.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// The run that wrote it.
    pub run: Option<String>,
    /// The pull cursor that is true from this commit on.
    pub cursor: Option<serde_json::Value>,
}

/// What `expire` removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Files removed.
    pub files: u64,
    /// Bytes freed.
    pub bytes: u64,
}

#[allow(unused_variables, clippy::unimplemented)]
impl Lake {
    /// Opens the lake of the project in `root`; makes the folder where there is none.
    pub fn open(root: &Path, settings: &LakeSettings) -> Result<Self, LakeError> {
        unimplemented!()
    }

    /// A lake of its own in `folder`, for a replay.
    pub fn scratch(&self, folder: &Path) -> Result<Self, LakeError> {
        unimplemented!()
    }

    /// The folder the tables stand in.
    pub fn root(&self) -> &Path {
        unimplemented!()
    }

    /// Takes the writer lease (an OS file lock, gone with the process).
    pub fn write_lease(&self) -> Result<WriteLease, LakeError> {
        unimplemented!()
    }

    /// The names of all tables, sorted.
    pub async fn tables(&self) -> Result<Vec<String>, LakeError> {
        unimplemented!()
    }

    /// The newest version of a table; `None` where there is no such table.
    pub async fn latest(&self, table: &str) -> Result<Option<i64>, LakeError> {
        unimplemented!()
    }

    /// A table's columns at a version (the newest where none is named).
    pub async fn schema(&self, table: &str, version: Option<i64>) -> Result<SchemaRef, LakeError> {
        unimplemented!()
    }

    /// Makes the table where there is none; adds columns that are new and nullable; refuses every other change of schema.
    pub async fn ensure(&self, table: &str, schema: SchemaRef) -> Result<i64, LakeError> {
        unimplemented!()
    }

    /// Upserts by key; of two rows with one key the later in `rows` wins. Without rows, commits the cursor alone.
    pub async fn merge(&self, table: &str, key: &[String], rows: Vec<RecordBatch>, commit: Commit) -> Result<Written, LakeError> {
        unimplemented!()
    }

    /// Adds rows.
    pub async fn append(&self, table: &str, rows: Vec<RecordBatch>, commit: Commit) -> Result<Written, LakeError> {
        unimplemented!()
    }

    /// Puts `rows` in place of the whole table, whose schema may change.
    pub async fn replace(
        &self,
        table: &str,
        schema: SchemaRef,
        rows: SendableRecordBatchStream,
        commit: Commit,
    ) -> Result<Written, LakeError> {
        unimplemented!()
    }

    /// The cursor of the newest commit that carried one.
    pub async fn cursor(&self, table: &str) -> Result<Option<serde_json::Value>, LakeError> {
        unimplemented!()
    }

    /// A table at a version, for the engine: its pinned files with an explicit schema.
    pub async fn provider(&self, table: &str, version: Option<i64>) -> Result<Arc<dyn TableProvider>, LakeError> {
        unimplemented!()
    }

    /// All rows of a table at a version.
    pub async fn read(&self, table: &str, version: Option<i64>) -> Result<Vec<RecordBatch>, LakeError> {
        unimplemented!()
    }

    /// Removes files that no version younger than `keep` and no pinned version needs.
    pub async fn expire(&self, keep: Period, now: DateTime<Utc>, pinned: &BTreeMap<String, Vec<i64>>) -> Result<Expired, LakeError> {
        unimplemented!()
    }
}
