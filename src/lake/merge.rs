//! Upserting by key: copy-on-write of the files that hold a key of the new rows.
//!
//! 1. The new rows are brought down to one a key, sorted by it.
//! 2. Every file whose statistics allow it is asked for its keys, nothing else of it is read.
//! 3. A file that holds one of them is written anew, the new row in the place of the old one, so that a table stays clustered as it was;
//!    what of it cannot have changed is copied as it lies (`patch.rs`). The others are left alone.
//! 4. Rows whose key was nowhere are written behind, sorted by key. Where small files have gathered, they are folded into one with them.
//!
//! Memory is bounded by the new rows and a row group a core. Delta's own `MERGE` would do as well; this keeps the clustering (a scattered
//! merge does not make the next one scan everything), knows exactly what was new and what was replaced, and needs no query engine.

use std::{
    cmp::Reverse,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::{filter_record_batch, interleave_record_batch},
    datatypes::SchemaRef,
    row::{Row, Rows},
};
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
};

use tokio::sync::mpsc::Receiver;

use super::{
    LakeError, Newest,
    columns::conform,
    files::{DataFile, FileWriter, Staging},
    folder::{Folder, Input},
    keys::Keyed,
    log::{Change, LiveFile},
};

pub(super) const BATCH: usize = 8192;
/// A file below this is small.
const SMALL_BYTES: u64 = 4 << 20;
/// The end of a file, where it says what stands where, is rarely longer.
const FOOTER: u64 = 64 << 10;
/// How many small files are borne before they are folded into one.
const SMALL_FILES: usize = 8;

/// A row of a file, and the place of the new row with its key.
pub(super) type Found = (usize, u32);
/// The keys of some row groups of a file, and the rows of the file that they belong to.
type KeyReader = (ParquetRecordBatchReader, Vec<Range<usize>>);

/// A merge under way.
pub(super) struct Merge<'a> {
    pub(super) table: &'a str,
    pub(super) folder: &'a Folder,
    pub(super) schema: &'a SchemaRef,
    pub(super) files: &'a [LiveFile],
    pub(super) staging: &'a Arc<Staging>,
}

/// What a merge found and wrote.
pub(super) struct Merged {
    pub(super) change: Change,
    pub(super) inserted: u64,
    pub(super) updated: u64,
}

impl Merge<'_> {
    /// Does the work, all but the commit. Blocking.
    pub(super) fn run(&self, key: &[String], newest: Option<&Newest>, rows: &[RecordBatch]) -> Result<Merged, LakeError> {
        let keyed = Keyed::new(self.table, (key, newest), self.schema, rows, !self.files.is_empty())?;
        let found = self.find(&keyed)?;
        let mut is_new = vec![true; keyed.rows.num_rows()];
        for (_, place) in found.iter().flatten() {
            is_new[*place as usize] = false;
        }
        let inserted = is_new.iter().filter(|new| **new).count() as u64;
        let updated = keyed.rows.num_rows() as u64 - inserted;
        let new_rows = filter_record_batch(&keyed.rows, &BooleanArray::from(is_new)).map_err(LakeError::rows(self.table))?;

        let fold = self.to_fold(inserted);
        let (folded, rewritten): (Vec<usize>, Vec<usize>) =
            (0..self.files.len()).filter(|at| fold[*at] || !found[*at].is_empty()).partition(|at| fold[*at]);
        let mut add = self.in_parallel(&rewritten, |at| self.rewrite(at, &keyed, &found[at]))?.into_iter().flatten().collect::<Vec<_>>();
        add.extend(self.write_behind(&folded, &keyed, &found, new_rows)?);
        let remove = folded.iter().chain(&rewritten).map(|at| self.files[*at].clone()).collect();
        Ok(Merged { change: Change { add, remove, ..Change::default() }, inserted, updated })
    }

    /// Writes rows behind the others as they come, all but the commit, and counts them; small files are folded into one with them.
    /// Blocking.
    pub(super) fn append(&self, mut rows: Receiver<RecordBatch>) -> Result<(Change, u64), LakeError> {
        let mut next = rows.blocking_recv();
        let fold = self.to_fold(u64::from(next.is_some()));
        let mut writer = FileWriter::new(self.staging, self.schema);
        let (mut remove, mut count) = (Vec::new(), 0);
        for (file, _) in self.files.iter().zip(fold).filter(|(_, fold)| *fold) {
            for batch in self.open(file)?.build().map_err(LakeError::parquet(self.table))? {
                writer.write(&conform(self.table, &batch.map_err(LakeError::rows(self.table))?, self.schema)?)?;
            }
            remove.push(file.clone());
        }
        while let Some(batch) = next {
            count += batch.num_rows() as u64;
            writer.write(&conform(self.table, &batch, self.schema)?)?;
            next = rows.blocking_recv();
        }
        Ok((Change { add: writer.finish()?, remove, ..Change::default() }, count))
    }

    /// For every file, which of its rows have a key of `keyed`, and its place there.
    fn find(&self, keyed: &Keyed) -> Result<Vec<Vec<Found>>, LakeError> {
        let key_schema = keyed.key_schema(self.table, self.schema)?;
        let all: Vec<usize> = (0..self.files.len()).collect();
        self.in_parallel(&all, |at| {
            let mut found = Vec::new();
            if let Some((reader, groups)) = self.key_reader(&self.files[at], keyed, &key_schema)? {
                let mut rows = groups.into_iter().flatten();
                for batch in reader {
                    let batch = conform(self.table, &batch.map_err(LakeError::rows(self.table))?, &key_schema)?;
                    let places = keyed.matches(self.table, &batch)?.into_iter();
                    found.extend(places.zip(rows.by_ref()).filter_map(|(place, row)| Some((row, place?))));
                }
            }
            Ok(found)
        })
    }

    /// A reader of the key's columns of the row groups that may hold a key, and which rows of the file those are; `None` where none may.
    fn key_reader(&self, file: &LiveFile, keyed: &Keyed, key: &SchemaRef) -> Result<Option<KeyReader>, LakeError> {
        let (builder, input) = open(self.table, self.folder, file, FOOTER)?;
        let metadata = Arc::clone(builder.metadata());
        let groups: Vec<usize> =
            (0..metadata.num_row_groups()).filter(|at| keyed.may_stand_in(metadata.row_group(*at), key.field(0).name())).collect();
        if groups.is_empty() {
            return Ok(None);
        }
        let mut behind = 0;
        let ranges: Vec<Range<usize>> = metadata
            .row_groups()
            .iter()
            .map(|group| {
                let first = behind;
                behind += usize::try_from(group.num_rows()).unwrap_or(0);
                first..behind
            })
            .collect();
        let rows = groups.iter().map(|at| ranges[*at].clone()).collect();
        let names: Vec<&str> = key.fields().iter().map(|field| field.name().as_str()).collect();
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        if let Input::Object(object) = input {
            let columns = groups.iter().flat_map(|at| metadata.row_group(*at).columns().iter().enumerate());
            let wanted = columns.filter(|(leaf, _)| mask.leaf_included(*leaf)).map(|(_, column)| {
                let (start, length) = column.byte_range();
                start..start + length
            });
            object.fetch(&wanted.collect::<Vec<_>>())?;
        }
        let reader = builder.with_row_groups(groups).with_projection(mask).build().map_err(LakeError::parquet(self.table))?;
        Ok(Some((reader, rows)))
    }

    /// Which files are folded into one with `inserted` new rows.
    fn to_fold(&self, inserted: u64) -> Vec<bool> {
        let small = |file: &LiveFile| file.size < SMALL_BYTES;
        let many = self.files.iter().filter(|file| small(file)).count() >= SMALL_FILES;
        self.files.iter().map(|file| many && inserted > 0 && small(file)).collect()
    }

    /// The file once more, with the new rows in the places of the old ones.
    fn rewrite(&self, at: usize, keyed: &Keyed, found: &[Found]) -> Result<Vec<DataFile>, LakeError> {
        if let Some(patched) = self.patch(&self.files[at], keyed, found)? {
            return Ok(vec![patched]);
        }
        let mut writer = FileWriter::new(self.staging, self.schema);
        for batch in self.updated_rows(at, keyed, found)? {
            writer.write(&batch?)?;
        }
        writer.finish()
    }

    /// The rows of a file with the new ones in the places of the old ones, which are `found` in it.
    fn updated_rows<'a>(
        &'a self,
        at: usize,
        keyed: &'a Keyed,
        mut found: &'a [Found],
    ) -> Result<impl Iterator<Item = Result<RecordBatch, LakeError>> + 'a, LakeError> {
        let batches = self.open(&self.files[at])?.build().map_err(LakeError::parquet(self.table))?;
        let mut first = 0;
        Ok(batches.map(move |batch| {
            let batch = conform(self.table, &batch.map_err(LakeError::rows(self.table))?, self.schema)?;
            let behind = first + batch.num_rows();
            let (here, later) = found.split_at(found.partition_point(|(row, _)| *row < behind));
            let updated = self.updated(batch, keyed, &keyed.rows, (here, first));
            (first, found) = (behind, later);
            updated
        }))
    }

    /// A batch of old rows, the first of which is `first` of its file, with the new ones of the same columns in their places.
    pub(super) fn updated(
        &self,
        batch: RecordBatch,
        keyed: &Keyed,
        new: &RecordBatch,
        (found, first): (&[Found], usize),
    ) -> Result<RecordBatch, LakeError> {
        if found.is_empty() {
            return Ok(batch);
        }
        let mut matches = vec![None; batch.num_rows()];
        for (row, place) in found {
            matches[row - first] = Some(*place);
        }
        keyed.leave_newer(self.table, &batch, &mut matches)?;
        let source: Vec<(usize, usize)> =
            matches.iter().enumerate().map(|(row, place)| place.map_or((0, row), |place| (1, place as usize))).collect();
        interleave_record_batch(&[&batch, new], &source).map_err(LakeError::rows(self.table))
    }

    /// The new rows, and with them those of the files that are folded, sorted by key as far as those files are.
    fn write_behind(
        &self,
        folded: &[usize],
        keyed: &Keyed,
        found: &[Vec<Found>],
        new_rows: RecordBatch,
    ) -> Result<Vec<DataFile>, LakeError> {
        let mut writer = FileWriter::new(self.staging, self.schema);
        let slices = (0..new_rows.num_rows()).step_by(BATCH).map(|start| new_rows.slice(start, BATCH.min(new_rows.num_rows() - start)));
        if folded.is_empty() {
            for slice in slices {
                writer.write(&slice)?;
            }
            return writer.finish();
        }
        let mut runs = vec![Run::new(Box::new(slices.map(Ok)))];
        for at in folded {
            runs.push(Run::new(Box::new(self.updated_rows(*at, keyed, &found[*at])?)));
        }
        self.interleave(runs, keyed, &mut writer)?;
        writer.finish()
    }

    /// Writes the rows of all runs, always on with the one whose next key is least; no more of a run is in memory than a batch.
    fn interleave(&self, mut runs: Vec<Run<'_>>, keyed: &Keyed, writer: &mut FileWriter) -> Result<(), LakeError> {
        let failed = LakeError::rows(self.table);
        // What the next batch is made of: batches, and the rows of them in their order.
        let mut held: Vec<RecordBatch> = Vec::new();
        let mut rows: Vec<(usize, usize)> = Vec::with_capacity(BATCH);
        loop {
            for run in &mut runs {
                run.fill(|batch| keyed.encoded(self.table, &keyed.keys_of(self.table, batch)?))?;
            }
            runs.retain(|run| run.current.is_some());
            let mut ahead: Vec<(usize, Row<'_>)> = runs.iter().enumerate().filter_map(|(at, run)| Some((at, run.next()?))).collect();
            ahead.sort_unstable_by_key(|(at, key)| (*key, *at));
            let least = ahead.first().map(|(at, _)| *at);
            let until = ahead.get(1).map(|(_, key)| *key);
            if let Some(least) = least {
                let taken = runs[least].taken(until, BATCH - rows.len());
                let batch = runs[least].hold(&mut held);
                rows.extend(taken.clone().map(|row| (batch, row)));
                runs[least].advance(taken.end);
            }
            if rows.len() >= BATCH || (least.is_none() && !rows.is_empty()) {
                let batches: Vec<&RecordBatch> = held.iter().collect();
                writer.write(&interleave_record_batch(&batches, &rows).map_err(&failed)?)?;
                held.clear();
                rows.clear();
                runs.iter_mut().for_each(|run| run.held = None);
            }
            if least.is_none() {
                return Ok(());
            }
        }
    }

    fn open(&self, file: &LiveFile) -> Result<ParquetRecordBatchReaderBuilder<Input>, LakeError> {
        open(self.table, self.folder, file, u64::MAX).map(|(builder, _)| builder)
    }

    /// Does `work` for each of `files` on as many threads as there are cores, the largest first, so that none is left to one thread alone;
    /// the results come in the order of `files`.
    fn in_parallel<T: Send>(&self, files: &[usize], work: impl Fn(usize) -> Result<T, LakeError> + Sync) -> Result<Vec<T>, LakeError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
        if threads <= 1 {
            return files.iter().map(|at| work(*at)).collect();
        }
        let runtime = tokio::runtime::Handle::current();
        let mut by_size: Vec<(usize, &usize)> = files.iter().enumerate().collect();
        by_size.sort_by_key(|(_, at)| Reverse(self.files[**at].size));
        let next = Mutex::new(by_size.into_iter());
        let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
        let mut results: Vec<(usize, Result<T, LakeError>)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        let _entered = runtime.enter();
                        std::iter::from_fn(take).map(|(order, at)| (order, work(*at))).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        });
        if results.len() < files.len() {
            let died = arrow::error::ArrowError::ComputeError("a thread that read the table's files died".to_owned());
            return Err(LakeError::rows(self.table)(died));
        }
        results.sort_by_key(|(order, _)| *order);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

/// Rows sorted by key, on their way into one file with others.
struct Run<'a> {
    batches: Box<dyn Iterator<Item = Result<RecordBatch, LakeError>> + 'a>,
    /// The batch it stands in, the keys of its rows, and the next row.
    current: Option<(RecordBatch, Rows, usize)>,
    /// Where among the batches held that one is.
    held: Option<usize>,
}

impl<'a> Run<'a> {
    fn new(batches: Box<dyn Iterator<Item = Result<RecordBatch, LakeError>> + 'a>) -> Self {
        Self { batches, current: None, held: None }
    }

    /// Sees that there is a next row, if any is left.
    fn fill(&mut self, keys: impl Fn(&RecordBatch) -> Result<Rows, LakeError>) -> Result<(), LakeError> {
        while self.current.as_ref().is_none_or(|(batch, _, next)| *next >= batch.num_rows()) {
            let Some(batch) = self.batches.next().transpose()? else {
                self.current = None;
                return Ok(());
            };
            let keys = keys(&batch)?;
            self.current = Some((batch, keys, 0));
            self.held = None;
        }
        Ok(())
    }

    fn next(&self) -> Option<Row<'_>> {
        self.current.as_ref().map(|(_, keys, next)| keys.row(*next))
    }

    /// Of the next rows, at most `most`, and none above `until` but the first.
    fn taken(&self, until: Option<Row<'_>>, most: usize) -> Range<usize> {
        let Some((batch, keys, next)) = &self.current else { return 0..0 };
        let here = *next..batch.num_rows().min(next + most);
        let behind = here.clone().skip(1).find(|row| until.is_some_and(|until| keys.row(*row) > until)).unwrap_or(here.end);
        *next..behind
    }

    /// Sees that its batch is among those held; where.
    fn hold(&mut self, held: &mut Vec<RecordBatch>) -> usize {
        *self.held.get_or_insert_with(|| {
            held.extend(self.current.as_ref().map(|(batch, ..)| batch.clone()));
            held.len() - 1
        })
    }

    /// Goes on to a row of its batch.
    fn advance(&mut self, to: usize) {
        if let Some((_, _, next)) = &mut self.current {
            *next = to;
        }
    }
}

/// A file of the table; of one that lies far, at least the last `ahead` bytes.
pub(super) fn fetch(folder: &Folder, file: &LiveFile, ahead: u64) -> Result<Input, LakeError> {
    let input = folder.open(&file.name, file.size)?;
    if let Input::Object(object) = &input {
        object.fetch(std::slice::from_ref(&(file.size.saturating_sub(ahead)..file.size)))?;
    }
    Ok(input)
}

/// Opens a file of the table for reading in batches; of one that lies far, at least the last `ahead` bytes are fetched at once.
pub(super) fn open(
    table: &str,
    folder: &Folder,
    file: &LiveFile,
    ahead: u64,
) -> Result<(ParquetRecordBatchReaderBuilder<Input>, Input), LakeError> {
    let input = fetch(folder, file, ahead)?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(input.clone()).map_err(LakeError::parquet(table))?;
    Ok((builder.with_batch_size(BATCH), input))
}
