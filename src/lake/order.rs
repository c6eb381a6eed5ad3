//! Tables whose rows were written in an order are read in it, and cut where the values of its first column say, so that rows that belong
//! together are read together: what groups, ranks or joins by that column has nothing to sort and nothing to send around.
//!
//! The order stands in the files' footers, as Parquet's sorting columns; so do the least and greatest values of every page. All tables with
//! a first column of one name are cut at the same values where that suits them, so that joins find both sides cut alike.

use std::{
    cmp::Ordering,
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{Array, ArrayRef, UInt64Array},
    compute::SortOptions,
    datatypes::SchemaRef,
};
use datafusion::{
    common::{SplitPoint, Statistics, stats::Precision},
    datasource::{
        listing::PartitionedFile,
        physical_plan::{
            FileGroup,
            parquet::{ParquetAccessPlan, RowGroupAccess, metadata::DFParquetMetadata, metadata::ordering_from_parquet_metadata},
        },
    },
    error::Result,
    execution::cache::cache_manager::FileMetadataCache,
    physical_expr::{LexOrdering, Partitioning, PhysicalSortExpr, RangePartitioning, expressions::Column},
    scalar::ScalarValue,
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use parquet::{
    arrow::arrow_reader::{RowSelection, statistics::StatisticsConverter},
    file::metadata::{PageIndexPolicy, ParquetMetaData},
};

use super::bucket::AT_ONCE;

/// The order in which rows are sorted by a column: that of SQL's `order by` without further words.
pub(super) const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: false };

/// The values at which tables are cut, by the name of their first column and the number of parts.
#[derive(Debug, Clone, Default)]
pub(super) struct Cuts(Arc<Mutex<Known>>);

type Known = HashMap<(String, usize), Vec<ScalarValue>>;

/// What the footers of a table's files tell of the order of its rows.
#[derive(Debug)]
pub(super) struct Order {
    /// The order, over the table's columns.
    pub(super) by: LexOrdering,
    /// Its first column.
    pub(super) first: Column,
    /// The files in that order, with the least and greatest values of the columns they are sorted by.
    pub(super) files: Vec<PartitionedFile>,
    /// The rows of each row group of each file.
    groups: Vec<Vec<usize>>,
    /// None where too little is known.
    blocks: Vec<Block>,
}

/// Neighbouring rows, and between which values those of the first column lie.
#[derive(Debug)]
struct Block {
    file: usize,
    group: usize,
    /// Within the row group.
    rows: Range<usize>,
    /// None where all are null. Nulls come last.
    least: Option<ScalarValue>,
    /// None where there are nulls.
    greatest: Option<ScalarValue>,
}

/// A table cut in parts.
pub(super) struct Parts {
    pub(super) files: Vec<FileGroup>,
    /// The first value of every part but the first.
    pub(super) cuts: Vec<ScalarValue>,
}

impl Order {
    /// Reads the footers. None where the rows are in no order that is written down.
    pub(super) async fn read(
        files: &[PartitionedFile],
        schema: &SchemaRef,
        store: &dyn ObjectStore,
        cache: Arc<FileMetadataCache>,
    ) -> Result<Option<Self>> {
        let footer = |file: usize| {
            let cache = Arc::clone(&cache);
            async move {
                let reading = DFParquetMetadata::new(store, &files[file].object_meta)
                    .with_file_metadata_cache(Some(cache))
                    .with_page_index_policy(Some(PageIndexPolicy::Optional));
                reading.fetch_metadata().await
            }
        };
        let Some(by) = ordering_from_parquet_metadata(footer(0).await?.as_ref(), schema)? else { return Ok(None) };
        let Some(first) = by.first().expr.downcast_ref::<Column>().cloned() else { return Ok(None) };
        let footers: Vec<Arc<ParquetMetaData>> = stream::iter(0..files.len()).map(footer).buffered(AT_ONCE).try_collect().await?;
        let mut read = Vec::with_capacity(files.len());
        for (file, footer) in files.iter().zip(footers) {
            if ordering_from_parquet_metadata(&footer, schema)?.as_ref() != Some(&by) || by.iter().any(|sort| sort.options != ASCENDING) {
                return Ok(None);
            }
            let file = with_bounds(file, &footer, &by, schema)?;
            read.push((file, footer));
        }
        let least = |file: &PartitionedFile| {
            let column = file.statistics.as_ref().map(|told| told.column_statistics[first.index()].min_value.clone());
            column.and_then(|least| least.get_value().cloned())
        };
        // Within one value, a later file has a later name.
        read.sort_by(|(a, _), (b, _)| {
            nulls_last(least(a).as_ref(), least(b).as_ref()).then_with(|| a.object_meta.location.cmp(&b.object_meta.location))
        });
        let mut blocks = Vec::new();
        for (file, (_, footer)) in read.iter().enumerate() {
            match of_file(file, footer, first.name(), schema)? {
                Some(some) => blocks.extend(some),
                None => {
                    blocks.clear();
                    break;
                }
            }
        }
        let rows = |group: &parquet::file::metadata::RowGroupMetaData| usize::try_from(group.num_rows()).unwrap_or_default();
        let groups = read.iter().map(|(_, footer)| footer.row_groups().iter().map(rows).collect()).collect();
        Ok(Some(Self { by, first, files: read.into_iter().map(|(file, _)| file).collect(), groups, blocks }))
    }

    /// The table in so many parts, each of the rows between two values; none where one part is wanted, or it has too few rows or values for
    /// more.
    pub(super) fn parts(&self, wanted: usize, shared: &Cuts) -> Option<Parts> {
        if wanted < 2 {
            return None;
        }
        let key = (self.first.name().to_owned(), wanted);
        let mut known = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cuts = match known.get(&key).filter(|cuts| self.suited(cuts)) {
            Some(cuts) => cuts.clone(),
            None => {
                let cuts = self.cuts(wanted)?;
                // A process that lives for months sees its tables outgrow the first cuts.
                known.insert(key, cuts.clone());
                cuts
            }
        };
        drop(known);
        let files = (0..wanted).map(|part| self.part(part, &cuts)).collect();
        Some(Parts { files, cuts })
    }

    /// Values that cut the table into parts of about equal size.
    fn cuts(&self, wanted: usize) -> Option<Vec<ScalarValue>> {
        let rows: usize = self.blocks.iter().map(|block| block.rows.len()).sum();
        let mut cuts: Vec<ScalarValue> = Vec::with_capacity(wanted.saturating_sub(1));
        let mut before = 0;
        for block in &self.blocks {
            if cuts.len() + 1 < wanted
                && before >= rows * (cuts.len() + 1) / wanted
                && let Some(least) = &block.least
                && cuts.last().is_none_or(|last| last < least)
                && before > 0
            {
                cuts.push(least.clone());
            }
            before += block.rows.len();
        }
        (cuts.len() + 1 == wanted).then_some(cuts).filter(|cuts| self.suited(cuts))
    }

    /// Whether no part would be much smaller than the others.
    fn suited(&self, cuts: &[ScalarValue]) -> bool {
        let mut parts = vec![0; cuts.len() + 1];
        for block in &self.blocks {
            let part = cuts.iter().take_while(|cut| block.least.as_ref().is_none_or(|least| *cut <= least)).count();
            parts[part] += block.rows.len();
        }
        let rows: usize = parts.iter().sum();
        parts.iter().all(|part| part * parts.len() * 2 > rows)
    }

    /// What has to be read for one part: every page that may have a row of it.
    fn part(&self, part: usize, cuts: &[ScalarValue]) -> FileGroup {
        let (from, to) = (part.checked_sub(1).map(|before| &cuts[before]), cuts.get(part));
        let touched = |block: &&Block| {
            let reaches = from.is_none_or(|from| block.greatest.as_ref().is_none_or(|greatest| greatest >= from));
            let begins = to.is_none_or(|to| block.least.as_ref().is_some_and(|least| least < to));
            reaches && begins
        };
        let mut files: Vec<(usize, ParquetAccessPlan, usize)> = Vec::new();
        for blocks in self.blocks.chunk_by(|a, b| (a.file, a.group) == (b.file, b.group)) {
            let touched: Vec<Range<usize>> = blocks.iter().filter(touched).map(|block| block.rows.clone()).collect();
            let Some(block) = blocks.first().filter(|_| !touched.is_empty()) else { continue };
            if files.last().is_none_or(|(file, ..)| *file != block.file) {
                files.push((block.file, ParquetAccessPlan::new_none(self.groups[block.file].len()), 0));
            }
            let Some((_, access, rows)) = files.last_mut() else { continue };
            *rows += touched.iter().map(Range::len).sum::<usize>();
            let all = self.groups[block.file][block.group];
            access.set(
                block.group,
                match touched.len() == blocks.len() {
                    true => RowGroupAccess::Scan,
                    false => RowGroupAccess::Selection(RowSelection::from_consecutive_ranges(touched.into_iter(), all)),
                },
            );
        }
        let files = files.into_iter().map(|(file, access, rows)| {
            let file = self.files[file].clone();
            let statistics = file.statistics.as_ref().map(|told| Statistics { num_rows: Precision::Inexact(rows), ..(**told).clone() });
            let file = file.with_extension(access);
            match statistics {
                Some(statistics) => file.with_statistics(Arc::new(statistics)),
                None => file,
            }
        });
        FileGroup::new(files.collect())
    }

    /// How a table in parts is spread.
    pub(super) fn partitioning(&self, cuts: &[ScalarValue]) -> Result<Partitioning> {
        let by = PhysicalSortExpr::new(Arc::new(self.first.clone()), ASCENDING);
        let cuts = cuts.iter().map(|cut| SplitPoint::new(vec![cut.clone()])).collect();
        Ok(Partitioning::Range(RangePartitioning::try_new(LexOrdering::from([by]), cuts)?))
    }
}

fn nulls_last(a: Option<&ScalarValue>, b: Option<&ScalarValue>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// The file with the least and greatest values of the columns it is sorted by, which tell DataFusion that one file follows the other.
fn with_bounds(file: &PartitionedFile, footer: &ParquetMetaData, by: &LexOrdering, schema: &SchemaRef) -> Result<PartitionedFile> {
    let Some(told) = &file.statistics else { return Ok(file.clone()) };
    let mut told = (**told).clone();
    for sort in by {
        let Some(column) = sort.expr.downcast_ref::<Column>() else { continue };
        let converter = StatisticsConverter::try_new(column.name(), schema, footer.file_metadata().schema_descr())?;
        let least = extreme(&converter.row_group_mins(footer.row_groups())?, Ordering::Less)?;
        let greatest = extreme(&converter.row_group_maxes(footer.row_groups())?, Ordering::Greater)?;
        // Long texts are shortened in a footer: no row lies outside, but there may be none at the edge.
        let column = &mut told.column_statistics[column.index()];
        (column.min_value, column.max_value) =
            (least.map_or(Precision::Absent, Precision::Inexact), greatest.map_or(Precision::Absent, Precision::Inexact));
    }
    Ok(file.clone().with_statistics(Arc::new(told)))
}

/// The least or greatest value of an array, nulls aside.
fn extreme(values: &ArrayRef, wanted: Ordering) -> Result<Option<ScalarValue>> {
    let mut found: Option<ScalarValue> = None;
    for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
        let value = ScalarValue::try_from_array(values, row)?;
        if found.as_ref().is_none_or(|found| value.partial_cmp(found) == Some(wanted)) {
            found = Some(value);
        }
    }
    Ok(found)
}

/// The pages of a file, or its row groups where it has no index of pages; none where too little is known of them.
fn of_file(file: usize, footer: &ParquetMetaData, column: &str, schema: &SchemaRef) -> Result<Option<Vec<Block>>> {
    let converter = StatisticsConverter::try_new(column, schema, footer.file_metadata().schema_descr())?;
    let mut blocks = Vec::new();
    for (number, group) in footer.row_groups().iter().enumerate() {
        let (mins, maxes, nulls, rows) = match (footer.column_index(), footer.offset_index()) {
            (Some(pages), Some(offsets)) => {
                let this = [number];
                let rows = converter.data_page_row_counts(offsets, footer.row_groups(), &this)?;
                (
                    converter.data_page_mins(pages, offsets, &this)?,
                    converter.data_page_maxes(pages, offsets, &this)?,
                    converter.data_page_null_counts(pages, offsets, &this)?,
                    rows.unwrap_or_else(|| UInt64Array::from(Vec::<u64>::new())),
                )
            }
            _ => (
                converter.row_group_mins([group])?,
                converter.row_group_maxes([group])?,
                converter.row_group_null_counts([group])?,
                UInt64Array::from(vec![u64::try_from(group.num_rows()).unwrap_or_default()]),
            ),
        };
        let mut begin = 0;
        for page in 0..rows.len() {
            let (Some(count), Some(nulls)) = (value(&rows, page), value(&nulls, page)) else { return Ok(None) };
            let bound = |of: &ArrayRef| match page < of.len() && of.is_valid(page) {
                true => ScalarValue::try_from_array(of, page).map(Some),
                false => Ok(None),
            };
            let (least, greatest) = (bound(&mins)?, bound(&maxes)?);
            if nulls < count && (least.is_none() || greatest.is_none()) {
                return Ok(None);
            }
            let end = begin + count;
            blocks.push(Block { file, group: number, rows: begin..end, least, greatest: greatest.filter(|_| nulls == 0) });
            begin = end;
        }
        if i64::try_from(begin) != Ok(group.num_rows()) {
            return Ok(None);
        }
    }
    Ok(Some(blocks))
}

fn value(of: &UInt64Array, row: usize) -> Option<usize> {
    (row < of.len() && of.is_valid(row)).then(|| usize::try_from(of.value(row)).ok())?
}
