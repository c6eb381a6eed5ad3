//! Tables of Parquet that are merged, replaced, read at a version and expired: Delta tables in one folder, on a disk or in a bucket, one
//! folder a table.
//!
//! | file | what it holds |
//! |---|---|
//! | `settings`, `store` | `[lake]`, and how a bucket knows us |
//! | `folder`, `bucket` | what is asked of a table's folder, and what a disk and a bucket answer |
//! | `log` | a table's log: what a version holds, how the next one appears all at once, where the pull cursor stands |
//! | `columns` | which columns a table can hold and how they may change |
//! | `files` | writing the Parquet files of a version |
//! | `keys`, `merge` | upserting by key |
//! | `provider` | a version as the query engine sees it |
//! | `order`, `ranged` | tables written in order: read in it, cut into parts |
//! | `expire` | which files nobody can ask for any more |
//! | `lease` | one writing process at a time |
//!
//! **What holds after a crash.** A version is its commit, one file that appears under its number in one step. `kill -9` at any moment leaves
//! each table at a whole version, the cursor at the rows it belongs to, and at worst some files that no version names, which `expire`
//! sweeps. Data files and commits are synced to disk in that order, so on a file system that honours `fsync` this is true of a power cut,
//! too; only Delta's checkpoints (summaries of the log, written now and then) are not synced: should one be torn by a power cut, remove it
//! and `_last_checkpoint`, the log itself says everything. In a bucket a file is there whole or not at all, and what was answered stays.

mod bucket;
mod columns;
mod content;
mod distinct;
mod error;
mod expire;
mod files;
mod folder;
mod keys;
mod lease;
mod log;
mod merge;
mod order;
mod patch;
mod provider;
mod ranged;
#[cfg(test)]
pub(crate) mod server;
mod settings;
pub(crate) mod store;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError};
use chrono::{DateTime, Utc};
use datafusion::{catalog::TableProvider, execution::SendableRecordBatchStream};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use parquet::arrow::ProjectionMask;
use tokio::task::JoinSet;

use self::{
    content::Content,
    files::{DataFile, FileWriter, Staging},
    folder::{Folder, Root, wait},
    lease::Rhythm,
    log::{Change, LiveFile, Snapshot},
    merge::Merge,
    order::Cuts,
    provider::PinnedTable,
};
pub use self::{error::LakeError, lease::WriteLease, settings::LakeSettings};
use crate::config::Period;

/// How many batches may wait between a query and the thread that writes its rows.
const AHEAD: usize = 4;

/// The lake; cheap to clone.
#[derive(Debug, Clone)]
pub struct Lake {
    root: Root,
    rhythm: Rhythm,
    read_only: bool,
    /// One write a table at a time within this process; other processes are kept out by the lease.
    turns: Arc<Mutex<HashMap<String, Turn>>>,
    cuts: Cuts,
}

type Turn = Arc<tokio::sync::Mutex<()>>;
/// A turn that has come.
type Held = tokio::sync::OwnedMutexGuard<()>;

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
    /// What the table holds, where the whole of it was written: the same rows give the same number, in whatever order.
    pub content: Option<u128>,
}

/// What a commit says beside its rows.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// The run that wrote it.
    pub run: Option<String>,
    /// The pull cursor that is true from this commit on.
    pub cursor: Option<serde_json::Value>,
    /// Which of several rows with one key a merge keeps; else the last.
    pub newest: Option<Newest>,
    /// The columns by which rows that replace a table are sorted, nulls last; none where they are in no order.
    pub sorted: Vec<String>,
}

/// The row with the greatest value of `by` is kept, and the last of those that agree in it. One that stands in the table is kept only
/// before rows that agree with it in `among`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// A column of instants, dates or integers.
    pub by: String,
    /// A column of instants.
    pub among: String,
}

/// Rows on their way into a table.
#[derive(Debug)]
pub struct Appending {
    rows: tokio::sync::mpsc::Sender<RecordBatch>,
    commit: tokio::sync::oneshot::Sender<Commit>,
}

impl Appending {
    /// Where rows are sent; it is closed where they cannot be written.
    #[must_use]
    pub fn rows(&self) -> tokio::sync::mpsc::Sender<RecordBatch> {
        self.rows.clone()
    }

    /// There are no more rows, and all of them are to stand in the table.
    pub fn commit(self, commit: Commit) {
        // Where nobody listens any more, writing has failed, and says so itself.
        let _ = self.commit.send(commit);
    }
}

/// Where some of the rows of a table's next version are written.
struct Part {
    table: String,
    schema: SchemaRef,
    sorted: Vec<String>,
    staging: Arc<Staging>,
}

impl Part {
    /// Writes rows as they come; they are encoded on a thread of their own.
    async fn write(self, mut rows: SendableRecordBatchStream) -> Result<(Vec<DataFile>, Option<Content>), LakeError> {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<RecordBatch>(AHEAD);
        let table = self.table.clone();
        let writing = tokio::task::spawn_blocking(move || -> Result<(Vec<DataFile>, Option<Content>), LakeError> {
            let (mut writer, mut content) = (FileWriter::sorted(&self.staging, &self.schema, &self.sorted), Content::of(&self.schema));
            while let Some(batch) = receiver.blocking_recv() {
                let batch = columns::conform(&self.table, &batch, &self.schema)?;
                if let Some(content) = &mut content {
                    content.take_in(&self.table, &batch)?;
                }
                writer.write(&batch)?;
            }
            Ok((writer.finish()?, content))
        });
        let mut broken = None;
        while let Some(batch) = rows.next().await {
            match batch {
                // The writer hangs up when it fails; its own error is the one to tell.
                Ok(batch) => {
                    if sender.send(batch).await.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    broken = Some(LakeError::Source { table: table.clone(), source: Box::new(error) });
                    break;
                }
            }
        }
        drop((sender, rows));
        let written = writing.await.map_err(|error| died(&table, &error))?;
        match broken {
            Some(error) => Err(error),
            None => written,
        }
    }
}

/// What `expire` removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Files removed.
    pub files: u64,
    /// Bytes freed.
    pub bytes: u64,
}

impl Lake {
    /// Opens the lake of the project in `root`; makes the folder where there is none. A bucket is not asked yet.
    ///
    /// # Errors
    /// Where the folder cannot be made, or a secret of the bucket is missing.
    pub fn open(root: &Path, settings: &LakeSettings) -> Result<Self, LakeError> {
        Ok(Self::at(Root::open(root, settings)?, settings.read_only))
    }

    /// A lake of its own in `folder`, for a replay. It can be written even where the project's lake is read-only.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub fn scratch(&self, folder: &Path) -> Result<Self, LakeError> {
        Ok(Self::at(Root::disk(folder, false)?, false))
    }

    fn at(root: Root, read_only: bool) -> Self {
        Self { root, rhythm: Rhythm::default(), read_only, turns: Arc::default(), cuts: Cuts::default() }
    }

    /// Takes the writer lease: on a disk an OS file lock, gone with the process; in a bucket an object that is taken over a minute after its
    /// holder gave the last sign.
    ///
    /// # Errors
    /// [`LakeError::Busy`] while another process or another lease of this one holds it; where the lake is read-only or cannot be written.
    pub async fn write_lease(&self) -> Result<WriteLease, LakeError> {
        self.writable()?;
        WriteLease::take(&self.root, self.rhythm).await
    }

    /// The names of all tables, sorted.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub async fn tables(&self) -> Result<Vec<String>, LakeError> {
        let folders = self.root.folders().await?.into_iter().filter(|name| is_table_name(name));
        let looks = stream::iter(folders).map(|name| async move { Ok((log::latest(&self.root.table(&name)).await?, name)) });
        let mut looks = looks.buffer_unordered(bucket::AT_ONCE);
        let mut tables = Vec::new();
        while let Some((latest, name)) = looks.try_next().await? {
            tables.extend(latest.map(|_| name));
        }
        tables.sort();
        Ok(tables)
    }

    /// The newest version of a table; `None` where there is no such table.
    ///
    /// # Errors
    /// Where its log cannot be listed.
    pub async fn latest(&self, table: &str) -> Result<Option<i64>, LakeError> {
        log::latest(&self.folder(table)?).await
    }

    /// How many rows the newest version of a table holds.
    ///
    /// # Errors
    /// Where there is no such table.
    pub async fn rows(&self, table: &str) -> Result<u64, LakeError> {
        Ok(self.snapshot(table, None).await?.rows())
    }

    /// A table's columns at a version (the newest where none is named).
    ///
    /// # Errors
    /// Where there is no such table or version.
    pub async fn schema(&self, table: &str, version: Option<i64>) -> Result<SchemaRef, LakeError> {
        Ok(self.snapshot(table, version).await?.schema)
    }

    /// Makes the table where there is none; adds columns that are new and nullable; refuses every other change of schema.
    ///
    /// # Errors
    /// Where a column would change its type, or has one no table can hold.
    pub async fn ensure(&self, table: &str, schema: SchemaRef) -> Result<i64, LakeError> {
        let turn = self.turn(table).await?;
        let base = self.find(table, None).await?;
        let schema = match &base {
            Some(base) => {
                let evolved = columns::evolve(table, &base.schema, &schema)?;
                if evolved == base.schema {
                    return Ok(base.version);
                }
                evolved
            }
            None => columns::storable(table, &schema)?,
        };
        let change = Change { schema: Some(schema), ..Change::default() };
        self.publish(turn, table, base, change, Commit::default(), None).await
    }

    /// Upserts by key; of two rows with one key the later in `rows` wins. Without rows, commits the cursor alone.
    ///
    /// Columns of `rows` that the table lacks are added to it. Every merge makes a version, so hand in as many rows at once as memory
    /// bears: some 100,000 rather than a page.
    ///
    /// # Errors
    /// Where the rows do not fit the table, or a file cannot be read or written; the table is then as it was.
    pub async fn merge(&self, table: &str, key: &[String], rows: Vec<RecordBatch>, commit: Commit) -> Result<Written, LakeError> {
        let turn = self.turn(table).await?;
        let base = self.find(table, None).await?;
        let Some((schema, evolved, rows)) = shaped(table, base.as_ref(), &rows)? else {
            let base = base.ok_or_else(|| LakeError::NoTable(table.to_owned()))?;
            return self.publish_cursor(turn, table, base, commit).await;
        };
        let (folder, name, key, newest) = (self.folder(table)?, table.to_owned(), key.to_vec(), commit.newest.clone());
        let files = base.as_ref().map(|base| base.files.clone()).unwrap_or_default();
        let staging = Staging::new(&folder, table, next_version(base.as_ref()))?;
        let staged = Arc::clone(&staging);
        let merged = blocking(table, move || {
            let merge = Merge { table: &name, folder: &folder, schema: &schema, files: &files, staging: &staged };
            merge.run(&key, newest.as_ref(), &rows)
        })
        .await?;
        let before = base.as_ref().map_or(0, Snapshot::rows);
        let change = Change { schema: evolved, ..merged.change };
        let version = self.publish(turn, table, base, change, commit, Some(staging)).await?;
        Ok(Written { version, rows: before + merged.inserted, inserted: merged.inserted, updated: merged.updated, content: None })
    }

    /// Adds rows to a table as they come: what is sent into the first half is written while the second is polled. Dropped before
    /// [`Appending::commit`], nothing of it stands, and the second half gives `None`. Memory is bounded by a row group.
    ///
    /// # Errors
    /// Where the rows do not fit the table, or a file cannot be written; the table is then as it was.
    pub fn append(&self, table: &str) -> (Appending, impl Future<Output = Result<Option<Written>, LakeError>> + Send + use<>) {
        let (sender, rows) = tokio::sync::mpsc::channel(AHEAD);
        let (commit, committed) = tokio::sync::oneshot::channel();
        let (lake, table) = (self.clone(), table.to_owned());
        let written = async move {
            let turn = lake.turn(&table).await?;
            let base = lake.snapshot(&table, None).await?;
            let (folder, name) = (lake.folder(&table)?, table.clone());
            let (schema, files) = (Arc::clone(&base.schema), base.files.clone());
            let staging = Staging::new(&folder, &table, next_version(Some(&base)))?;
            let staged = Arc::clone(&staging);
            let (change, inserted) = blocking(&table, move || {
                Merge { table: &name, folder: &folder, schema: &schema, files: &files, staging: &staged }.append(rows)
            })
            .await?;
            let Ok(commit) = committed.await else { return Ok(None) };
            if inserted == 0 {
                return lake.publish_cursor(turn, &table, base, commit).await.map(Some);
            }
            let before = base.rows();
            let version = lake.publish(turn, &table, Some(base), change, commit, Some(staging)).await?;
            Ok(Some(Written { version, rows: before + inserted, inserted, updated: 0, content: None }))
        };
        (Appending { rows: sender, commit }, written)
    }

    /// Commits a cursor without rows.
    ///
    /// # Errors
    /// Where there is no such table, or its log cannot be written.
    pub async fn note(&self, table: &str, commit: Commit) -> Result<Written, LakeError> {
        let turn = self.turn(table).await?;
        let base = self.snapshot(table, None).await?;
        self.publish_cursor(turn, table, base, commit).await
    }

    /// Puts `rows` in place of the whole table, whose schema may change. The rows keep their order; memory is bounded by a row group.
    ///
    /// # Errors
    /// Where the rows break off ([`LakeError::Source`]), do not fit `schema`, or cannot be written; the table is then as it was.
    pub async fn replace(
        &self,
        table: &str,
        schema: SchemaRef,
        rows: SendableRecordBatchStream,
        commit: Commit,
    ) -> Result<Written, LakeError> {
        self.replace_in_parts(table, schema, vec![rows], commit).await
    }

    /// As [`Lake::replace`], with rows that come in several parts at once; where they are sorted, every part begins with greater values of
    /// the first column than the one before ends with.
    ///
    /// # Errors
    /// As [`Lake::replace`].
    pub async fn replace_in_parts(
        &self,
        table: &str,
        schema: SchemaRef,
        parts: Vec<SendableRecordBatchStream>,
        commit: Commit,
    ) -> Result<Written, LakeError> {
        let turn = self.turn(table).await?;
        let base = self.find(table, None).await?;
        let schema = columns::storable(table, &schema)?;
        let staging = Staging::new(&self.folder(table)?, table, next_version(base.as_ref()))?;
        let mut writing = JoinSet::new();
        for (number, rows) in parts.into_iter().enumerate() {
            let part =
                Part { table: table.to_owned(), schema: Arc::clone(&schema), sorted: commit.sorted.clone(), staging: Arc::clone(&staging) };
            writing.spawn(async move { (number, part.write(rows).await) });
        }
        let (mut written, mut broken) = (BTreeMap::new(), None);
        while let Some(part) = writing.join_next().await {
            match part.map_err(|error| died(table, &error))? {
                (number, Ok(part)) => {
                    written.insert(number, part);
                }
                (_, Err(error)) => {
                    // The others are of no use any more; files are removed when all have let go of them.
                    broken.get_or_insert(error);
                    writing.abort_all();
                    while writing.join_next().await.is_some() {}
                }
            }
        }
        if let Some(error) = broken {
            return Err(error);
        }
        let (mut add, mut content) = (Vec::new(), Content::of(&schema));
        for (files, of_part) in written.into_values() {
            add.extend(files);
            content = content.zip(of_part).map(|(sum, part)| sum.and(&part));
        }
        let count = add.iter().map(|file: &DataFile| file.rows).sum();
        let (remove, changed) = match &base {
            Some(base) => (base.files.clone(), base.schema != schema),
            None => (Vec::new(), true),
        };
        let distinct = content.as_ref().map(Content::distinct);
        let change = Change { add, remove, schema: changed.then_some(schema), overwrite: true, distinct };
        let version = self.publish(turn, table, base, change, commit, Some(staging)).await?;
        Ok(Written { version, rows: count, inserted: count, updated: 0, content: content.map(|content| content.number()) })
    }

    /// The cursor of the newest commit that carried one.
    ///
    /// # Errors
    /// Where the table's log cannot be read.
    pub async fn cursor(&self, table: &str) -> Result<Option<serde_json::Value>, LakeError> {
        Ok(self.find(table, None).await?.and_then(|snapshot| snapshot.cursor()))
    }

    /// A table at a version, for the engine: its pinned files with an explicit schema.
    ///
    /// # Errors
    /// Where there is no such table or version, or the version has expired.
    pub async fn provider(&self, table: &str, version: Option<i64>) -> Result<Arc<dyn TableProvider>, LakeError> {
        let snapshot = self.snapshot(table, version).await?;
        Ok(Arc::new(PinnedTable::new(self.folder(table)?, table, &snapshot, self.cuts.clone()).await?))
    }

    /// All rows of a table at a version.
    ///
    /// # Errors
    /// Where there is no such table or version, or the version has expired.
    pub async fn read(&self, table: &str, version: Option<i64>) -> Result<Vec<RecordBatch>, LakeError> {
        self.batches(table, version, None).await?.try_collect().await
    }

    /// The rows of a table at a version, batch after batch; only those of `columns` that it has, where they are named. Memory is bounded
    /// by a few batches.
    ///
    /// # Errors
    /// Where there is no such table or version; in the stream, where the version has expired or a file cannot be read.
    pub async fn batches(
        &self,
        table: &str,
        version: Option<i64>,
        columns: Option<&[String]>,
    ) -> Result<impl Stream<Item = Result<RecordBatch, LakeError>> + Send + Unpin + use<>, LakeError> {
        let snapshot = self.snapshot(table, version).await?;
        let schema = match columns {
            None => Arc::clone(&snapshot.schema),
            Some(names) => columns::some(&snapshot.schema, names),
        };
        let (folder, name) = (self.folder(table)?, table.to_owned());
        let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
        let reading = tokio::task::spawn_blocking(move || {
            let read = |file: &LiveFile| -> Result<bool, LakeError> {
                let (builder, _) = merge::open(&name, &folder, file, u64::MAX)?;
                let wanted = builder.schema().fields().iter().enumerate().filter(|(_, field)| schema.index_of(field.name()).is_ok());
                let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.map(|(place, _)| place));
                for batch in builder.with_projection(mask).build().map_err(LakeError::parquet(&name))? {
                    let batch = columns::conform(&name, &batch.map_err(LakeError::rows(&name))?, &schema)?;
                    if sender.blocking_send(Ok(batch)).is_err() {
                        return Ok(false);
                    }
                }
                Ok(true)
            };
            let missing = match wait(folder.holds(snapshot.files.iter().map(|file| file.name.as_str()))) {
                Ok(true) => None,
                Ok(false) => Some(LakeError::NoVersion { table: name.clone(), version: snapshot.version }),
                Err(error) => Some(error),
            };
            if let Some(error) = missing {
                let _ = sender.blocking_send(Err(error));
                return;
            }
            for file in &snapshot.files {
                match read(file) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        // Where nobody listens any more, nobody needs the error either.
                        let _ = sender.blocking_send(Err(error));
                        return;
                    }
                }
            }
        });
        let table = table.to_owned();
        Ok(Box::pin(stream::unfold((receiver, Some(reading), table), |(mut receiver, reading, table)| async move {
            if let Some(batch) = receiver.recv().await {
                return Some((batch, (receiver, reading, table)));
            }
            // The end, unless the thread died.
            let error = reading?.await.err()?;
            Some((Err(died(&table, &error)), (receiver, None, table)))
        })))
    }

    /// Removes files that no version younger than `keep` and no pinned version needs, and what killed processes left behind.
    ///
    /// # Errors
    /// Where a log cannot be read or a file not removed.
    pub async fn expire(&self, keep: Period, now: DateTime<Utc>, pinned: &BTreeMap<String, Vec<i64>>) -> Result<Expired, LakeError> {
        self.writable()?;
        let cutoff = now - keep.delta();
        let mut total = Expired::default();
        for table in self.tables().await? {
            let _turn = self.turn(&table).await?;
            let newest = self.snapshot(&table, None).await?;
            let (folder, pinned) = (self.folder(&table)?, pinned.get(&table).cloned().unwrap_or_default());
            let expired = blocking(&table, move || wait(expire::expire(&folder, &newest, cutoff, &pinned))).await?;
            total.files += expired.files;
            total.bytes += expired.bytes;
        }
        Ok(total)
    }

    fn folder(&self, table: &str) -> Result<Folder, LakeError> {
        if is_table_name(table) { Ok(self.root.table(table)) } else { Err(LakeError::Name(table.to_owned())) }
    }

    fn writable(&self) -> Result<(), LakeError> {
        if self.read_only { Err(LakeError::ReadOnly) } else { Ok(()) }
    }

    /// The right to write a table within this process.
    async fn turn(&self, table: &str) -> Result<Held, LakeError> {
        self.writable()?;
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(table.to_owned()).or_default())
        };
        Ok(turn.lock_owned().await)
    }

    async fn find(&self, table: &str, version: Option<i64>) -> Result<Option<Snapshot>, LakeError> {
        log::load(&self.folder(table)?, table, version).await
    }

    async fn snapshot(&self, table: &str, version: Option<i64>) -> Result<Snapshot, LakeError> {
        self.find(table, version).await?.ok_or_else(|| LakeError::NoTable(table.to_owned()))
    }

    /// Commits a change. The turn is held until it is done, also where nobody waits for it any more: who comes next finds all of it.
    async fn publish(
        &self,
        turn: Held,
        table: &str,
        base: Option<Snapshot>,
        change: Change,
        commit: Commit,
        staging: Option<Arc<Staging>>,
    ) -> Result<i64, LakeError> {
        let (folder, name) = (self.folder(table)?, table.to_owned());
        let (version, _turn) = blocking(table, move || {
            if let Some(staging) = &staging {
                staging.keep_if_far();
            }
            let version = log::publish(&folder, &name, base.as_ref(), change, &commit)?;
            // Here and not in the caller, which may be gone by now: its files belong to the version that names them.
            if let Some(staging) = staging {
                staging.keep();
            }
            Ok((version, turn))
        })
        .await?;
        log::checkpoint(&self.folder(table)?, table, version).await;
        Ok(version)
    }

    /// A commit without rows: of the cursor, where there is one.
    async fn publish_cursor(&self, turn: Held, table: &str, base: Snapshot, commit: Commit) -> Result<Written, LakeError> {
        let (rows, mut version) = (base.rows(), base.version);
        if commit.cursor.is_some() {
            version = self.publish(turn, table, Some(base), Change::default(), commit, None).await?;
        }
        Ok(Written { version, rows, inserted: 0, updated: 0, content: None })
    }
}

/// The table's schema with the rows' new columns, that schema again where it changed, and the rows in its shape; `None` without rows.
type Shaped = (SchemaRef, Option<SchemaRef>, Vec<RecordBatch>);

fn shaped(table: &str, base: Option<&Snapshot>, rows: &[RecordBatch]) -> Result<Option<Shaped>, LakeError> {
    let rows: Vec<&RecordBatch> = rows.iter().filter(|batch| batch.num_rows() > 0).collect();
    let Some(first) = rows.first() else { return Ok(None) };
    let mut schema = match base {
        Some(base) => Arc::clone(&base.schema),
        None => columns::storable(table, first.schema_ref())?,
    };
    for batch in &rows {
        schema = columns::evolve(table, &schema, batch.schema_ref())?;
    }
    let evolved = base.is_none_or(|base| base.schema != schema).then(|| Arc::clone(&schema));
    let rows = rows.into_iter().map(|batch| columns::conform(table, batch, &schema)).collect::<Result<Vec<_>, _>>()?;
    Ok(Some((schema, evolved, rows)))
}

fn next_version(base: Option<&Snapshot>) -> i64 {
    base.map_or(0, |base| base.version + 1)
}

fn is_table_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

async fn blocking<T: Send + 'static>(table: &str, work: impl FnOnce() -> Result<T, LakeError> + Send + 'static) -> Result<T, LakeError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| died(table, &error))?
}

fn died(table: &str, error: &tokio::task::JoinError) -> LakeError {
    LakeError::rows(table)(ArrowError::ComputeError(error.to_string()))
}

#[cfg(test)]
mod bucket_tests;
#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod tests;
