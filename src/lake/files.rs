//! Writing the Parquet files of one version, before anybody can see them.
//!
//! A file is named by the version that wrote it. Until that version's commit names it, a file belongs to nobody: a write that fails
//! removes its own, a process that is killed leaves them to [`expire`](super::Lake::expire).

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, make_comparator},
    compute::{SortOptions, max, min},
    datatypes::{DataType, SchemaRef, TimestampMicrosecondType},
    error::ArrowError,
    row::{Row, RowConverter, SortField},
};
use chrono::{DateTime, SecondsFormat};
use deltalake::kernel::Add;
use futures::FutureExt;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::{
        metadata::{RowGroupMetaData, SortingColumn},
        properties::{WriterProperties, WriterPropertiesBuilder},
        statistics::Statistics,
    },
    schema::types::ColumnPath,
};
use serde_json::{Map, Value, json};

use super::{
    LakeError,
    folder::{Folder, Output},
};

/// Where a file is closed and the next begun: a merge that touches one row rewrites no more than this, and files are its unit of work.
pub(super) const TARGET_BYTES: usize = 32 << 20;
/// Where a sorted file is closed though one value of its first column goes on in the next.
const LARGEST_BYTES: usize = 4 * TARGET_BYTES;
/// Small enough that statistics skip much, large enough that several cores share a file.
const ROW_GROUP_ROWS: usize = 262_144;

/// A finished file that no commit names yet.
#[derive(Debug, Clone)]
pub(super) struct DataFile {
    name: String,
    size: u64,
    pub(super) rows: u64,
    modified: i64,
    stats: String,
}

impl DataFile {
    /// Finishes the file that `output` was written to, under `name` if nobody has taken it.
    pub(super) fn finish(
        staging: &Staging,
        name: String,
        output: Output,
        schema: &SchemaRef,
        (rows, times): (u64, &[TimeRange]),
    ) -> Result<Self, LakeError> {
        let (name, size, modified) = staging.finish(name, output)?;
        Ok(Self { name, size, rows, modified, stats: stats(schema, rows, times) })
    }

    pub(super) fn add(&self) -> Add {
        Add {
            path: self.name.clone(),
            size: i64::try_from(self.size).unwrap_or(i64::MAX),
            modification_time: self.modified,
            data_change: true,
            stats: Some(self.stats.clone()),
            ..Add::default()
        }
    }
}

/// The files of one coming version; they are removed again unless [`keep`](Staging::keep) is called.
#[derive(Debug)]
pub(super) struct Staging {
    folder: Folder,
    table: String,
    version: i64,
    next: AtomicU32,
    created: Mutex<Vec<String>>,
    kept: AtomicBool,
}

impl Staging {
    pub(super) fn new(folder: &Folder, table: &str, version: i64) -> Result<Arc<Self>, LakeError> {
        folder.make()?;
        Ok(Arc::new(Self {
            folder: folder.clone(),
            table: table.to_owned(),
            version,
            next: AtomicU32::new(0),
            created: Mutex::new(Vec::new()),
            kept: AtomicBool::new(false),
        }))
    }

    /// To be called once a commit names the files, or may name them.
    pub(super) fn keep(&self) {
        self.kept.store(true, Ordering::Release);
    }

    /// To be called before a commit that may arrive without our hearing of it.
    pub(super) fn keep_if_far(&self) {
        if self.folder.is_far() {
            self.keep();
        }
    }

    /// A file with a name nobody has: what a killed process left under this version's name stays until it expires.
    pub(super) fn create(&self) -> Result<(String, Output), LakeError> {
        loop {
            let name = self.name();
            if let Some(output) = self.folder.create(&name)? {
                self.created.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
                return Ok((name, output));
            }
        }
    }

    /// Makes a file durable; its name by now, its size and time.
    fn finish(&self, mut name: String, mut output: Output) -> Result<(String, u64, i64), LakeError> {
        loop {
            if let Some((size, modified)) = self.folder.finish(&name, &mut output)? {
                return Ok((name, size, modified.timestamp_millis()));
            }
            let taken = std::mem::replace(&mut name, self.name());
            let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
            created.retain(|ours| *ours != taken);
            created.push(name.clone());
        }
    }

    fn name(&self) -> String {
        format!("v{:09}-{:05}.parquet", self.version, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.kept.load(Ordering::Acquire) {
            return;
        }
        let (folder, created) = (self.folder.clone(), std::mem::take(&mut *self.created.lock().unwrap_or_else(PoisonError::into_inner)));
        // What cannot be removed now is an orphan that expires.
        let remove = async move {
            for name in created {
                let _ = folder.remove(&name).await;
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if self.folder.is_far() => drop(runtime.spawn(remove)),
            _ => drop(remove.now_or_never()),
        }
    }
}

/// Writes batches into files of bounded size, in the order they come; memory is bounded by a row group.
pub(super) struct FileWriter {
    staging: Arc<Staging>,
    schema: SchemaRef,
    /// The columns the rows are sorted by, by their places.
    sorted: Vec<usize>,
    /// Bytes at which a file is closed.
    pub(super) target: usize,
    current: Option<Open>,
    done: Vec<DataFile>,
}

struct Open {
    name: String,
    writer: ArrowWriter<Output>,
    rows: u64,
    times: Vec<TimeRange>,
    /// Of a sorted file that has reached its size, the last value of the first column: the file ends where it does.
    full: Option<ArrayRef>,
}

/// The earliest and latest instant of a column, in microseconds: the only values of rows that stand in a table's log.
pub(super) struct TimeRange {
    pub(super) column: usize,
    range: Option<(i64, i64)>,
    nulls: usize,
}

impl FileWriter {
    pub(super) fn new(staging: &Arc<Staging>, schema: &SchemaRef) -> Self {
        Self::sorted(staging, schema, &[])
    }

    /// For rows that come sorted by these columns, nulls last. The files say so, and no value of the first column stands in two of them,
    /// unless there are too many of it.
    pub(super) fn sorted(staging: &Arc<Staging>, schema: &SchemaRef, by: &[String]) -> Self {
        let sorted = by.iter().map_while(|name| schema.index_of(name).ok()).collect();
        Self { staging: Arc::clone(staging), schema: Arc::clone(schema), sorted, target: TARGET_BYTES, current: None, done: Vec::new() }
    }

    /// Writes a batch that already has the table's schema.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut open = match self.current.take() {
            Some(mut open) => match self.cut(&mut open, batch)? {
                None => open,
                Some(row) => {
                    self.append(&mut open, &batch.slice(0, row))?;
                    self.close(open)?;
                    return self.write(&batch.slice(row, batch.num_rows() - row));
                }
            },
            None => self.open(batch)?,
        };
        self.append(&mut open, batch)?;
        let bytes = open.writer.bytes_written() + open.writer.in_progress_size();
        if bytes < self.target {
            self.current = Some(open);
        } else if let Some(first) = self.sorted.first().filter(|_| bytes < LARGEST_BYTES) {
            open.full = Some(batch.column(*first).slice(batch.num_rows() - 1, 1));
            self.current = Some(open);
        } else {
            self.close(open)?;
        }
        Ok(())
    }

    /// Where the file at hand is to end within the next batch.
    fn cut(&self, open: &mut Open, batch: &RecordBatch) -> Result<Option<usize>, LakeError> {
        let (Some(last), Some(first)) = (open.full.take(), self.sorted.first()) else { return Ok(None) };
        let failed = LakeError::rows(&self.staging.table);
        let same = make_comparator(batch.column(*first), &last, SortOptions::default()).map_err(failed)?;
        Ok((0..batch.num_rows()).find(|row| same(*row, 0).is_ne()))
    }

    fn append(&self, open: &mut Open, batch: &RecordBatch) -> Result<(), LakeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        open.writer.write(batch).map_err(LakeError::parquet(&self.staging.table))?;
        open.rows += batch.num_rows() as u64;
        for times in &mut open.times {
            times.take_in(batch.column(times.column));
        }
        Ok(())
    }

    /// Closes the last file and names all of them, in the order they were written.
    pub(super) fn finish(mut self) -> Result<Vec<DataFile>, LakeError> {
        if let Some(open) = self.current.take() {
            self.close(open)?;
        }
        Ok(self.done)
    }

    /// Begins a file whose first rows are these.
    fn open(&self, first: &RecordBatch) -> Result<Open, LakeError> {
        let failed = LakeError::rows(&self.staging.table);
        let mut properties = properties().set_sorting_columns(self.sorting());
        for (field, column) in self.schema.fields().iter().zip(first.columns()) {
            if mostly_differ(column).map_err(&failed)? {
                properties = properties.set_column_dictionary_enabled(ColumnPath::new(vec![field.name().clone()]), false);
            }
        }
        let (name, file) = self.staging.create()?;
        let writer = ArrowWriter::try_new(file, Arc::clone(&self.schema), Some(properties.build()))
            .map_err(LakeError::parquet(&self.staging.table))?;
        Ok(Open { name, writer, rows: 0, times: TimeRange::of(&self.schema), full: None })
    }

    /// The order of the rows, as Parquet tells it: by the numbers of columns without parts.
    fn sorting(&self) -> Option<Vec<SortingColumn>> {
        let fields = self.schema.fields();
        if self.sorted.is_empty() || fields.iter().any(|field| field.data_type().is_nested()) {
            return None;
        }
        let column =
            |column: &usize| Some(SortingColumn { column_idx: i32::try_from(*column).ok()?, descending: false, nulls_first: false });
        self.sorted.iter().map(column).collect()
    }

    fn close(&mut self, open: Open) -> Result<(), LakeError> {
        let output = open.writer.into_inner().map_err(LakeError::parquet(&self.staging.table))?;
        self.done.push(DataFile::finish(&self.staging, open.name, output, &self.schema, (open.rows, &open.times))?);
        Ok(())
    }
}

/// How every file of a table is written.
pub(super) fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by(concat!("perennial ", env!("CARGO_PKG_VERSION")).to_owned())
}

/// Whether the values of a column, as far as its first ones tell, differ from each other too often for a dictionary, which would be
/// built and given up again for every row group.
fn mostly_differ(column: &ArrayRef) -> Result<bool, ArrowError> {
    const LOOKED_AT: usize = 4096;
    const FEW: usize = 512;
    let some = column.slice(0, column.len().min(LOOKED_AT));
    if column.data_type().is_nested() || some.len() < FEW {
        return Ok(false);
    }
    let keys = RowConverter::new(vec![SortField::new(some.data_type().clone())])?.convert_columns(&[Arc::clone(&some)])?;
    let different: HashSet<Row<'_>> = keys.iter().collect();
    Ok(different.len() > some.len() / 2)
}

impl TimeRange {
    /// One for every column of instants, still without any.
    pub(super) fn of(schema: &SchemaRef) -> Vec<Self> {
        let times = schema.fields().iter().enumerate().filter(|(_, field)| is_time(field.data_type()));
        times.map(|(column, _)| Self { column, range: None, nulls: 0 }).collect()
    }

    pub(super) fn take_in(&mut self, column: &dyn Array) {
        let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() else { return };
        self.add(min(times).zip(max(times)), times.null_count());
    }

    /// What a row group says of its values; `None` where it says too little.
    pub(super) fn told(&self, group: &RowGroupMetaData, name: &str) -> Option<(Option<(i64, i64)>, usize)> {
        let column = group.columns().iter().find(|column| column.column_path().parts() == [name])?;
        let Some(Statistics::Int64(told)) = column.statistics() else { return None };
        let nulls = told.null_count_opt()?;
        let range = told.min_opt().copied().zip(told.max_opt().copied());
        (range.is_some() || i64::try_from(nulls) == Ok(group.num_rows())).then_some((range, usize::try_from(nulls).ok()?))
    }

    pub(super) fn add(&mut self, range: Option<(i64, i64)>, nulls: usize) {
        self.nulls += nulls;
        if let Some((low, high)) = range {
            self.range = Some(self.range.map_or((low, high), |(l, h)| (l.min(low), h.max(high))));
        }
    }
}

pub(super) fn is_time(column: &DataType) -> bool {
    matches!(column, DataType::Timestamp(_, _))
}

/// The statistics of a file as Delta writes them: the number of rows and the range of its instants; no name or address.
fn stats(schema: &SchemaRef, rows: u64, times: &[TimeRange]) -> String {
    let (mut low, mut high, mut nulls) = (Map::new(), Map::new(), Map::new());
    for time in times {
        let name = schema.field(time.column).name();
        nulls.insert(name.clone(), time.nulls.into());
        if let Some((first, last)) = time.range
            && let (Some(first), Some(last)) = (instant(first), instant(last))
        {
            low.insert(name.clone(), first);
            high.insert(name.clone(), last);
        }
    }
    json!({ "numRecords": rows, "minValues": low, "maxValues": high, "nullCount": nulls }).to_string()
}

fn instant(micros: i64) -> Option<Value> {
    Some(Value::String(DateTime::from_timestamp_micros(micros)?.to_rfc3339_opts(SecondsFormat::Micros, true)))
}
