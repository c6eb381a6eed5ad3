//! The keys of a batch: which rows of it count, and which of them a row elsewhere stands for.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array},
    compute::{cast, concat_batches, take_record_batch},
    datatypes::{DataType, Int64Type, SchemaRef},
    error::ArrowError,
    row::{RowConverter, Rows, SortField},
};
use parquet::{
    basic::Type as Physical,
    file::{metadata::RowGroupMetaData, statistics::Statistics},
};

use super::{LakeError, Newest, files::is_time};

/// Rows with one row a key, sorted by key, and the way from a key to its row.
#[derive(Debug)]
pub(super) struct Keyed {
    pub(super) rows: RecordBatch,
    columns: Vec<usize>,
    converter: RowConverter,
    place: HashMap<Box<[u8]>, u32>,
    leading: Leading,
    /// The columns that tell which of two rows is newer, and what they hold here.
    newest: Option<(Newest, Ages)>,
}

/// The values of the first key column, sorted, to tell by a row group's range that none of them can stand in it.
#[derive(Debug)]
enum Leading {
    Text(Vec<String>),
    Integer(Vec<i64>),
    Unknown,
}

impl Keyed {
    /// Keeps the last row of every key, or the newest. `look_up` says whether rows elsewhere are to be compared with these.
    pub(super) fn new(
        table: &str,
        (key, newest): (&[String], Option<&Newest>),
        schema: &SchemaRef,
        batches: &[RecordBatch],
        look_up: bool,
    ) -> Result<Self, LakeError> {
        let column = |name: &str, what| schema.index_of(name).map_err(|_| LakeError::column(table, name, what));
        let columns =
            key.iter().map(|name| column(name, "is named as a key, but there is no such column")).collect::<Result<Vec<_>, _>>()?;
        if columns.is_empty() {
            return Err(LakeError::column(table, "", "is missing: rows are merged by a key, and none is named"));
        }
        let failed = LakeError::rows(table);
        let fields = columns.iter().map(|column| SortField::new(schema.field(*column).data_type().clone())).collect();
        let converter = RowConverter::new(fields).map_err(&failed)?;
        let all = concat_batches(schema, batches).map_err(&failed)?;
        let encoded = converter.convert_columns(&pick(&all, &columns)).map_err(&failed)?;
        let mut order: Vec<u32> = (0..u32::try_from(all.num_rows()).unwrap_or(u32::MAX)).collect();
        let ages_of = |rows: &RecordBatch| newest.map(|newest| Ages::of(table, rows, newest)).transpose();
        let ages = ages_of(&all)?;
        // Of one key the newer or later row comes first, and the first of equal neighbours stays.
        let newer = |a: u32, b: u32| ages.as_ref().map_or(Ordering::Equal, |ages| ages.of_row(b).cmp(&ages.of_row(a))).then(b.cmp(&a));
        order.sort_unstable_by(|a, b| encoded.row(*a as usize).cmp(&encoded.row(*b as usize)).then_with(|| newer(*a, *b)));
        order.dedup_by(|next, kept| encoded.row(*next as usize) == encoded.row(*kept as usize));
        let mut place = HashMap::new();
        if look_up {
            place.reserve(order.len());
            for (position, row) in (0..).zip(&order) {
                place.insert(Box::from(encoded.row(*row as usize).as_ref()), position);
            }
        }
        let rows = take_record_batch(&all, &UInt32Array::from(order)).map_err(&failed)?;
        let newest = newest.cloned().zip(ages_of(&rows)?);
        let leading = Leading::of(rows.column(columns[0]).as_ref());
        Ok(Self { rows, columns, converter, place, leading, newest })
    }

    /// For every row of `batch`, which has the columns of the key only, the row here with the same key.
    pub(super) fn matches(&self, table: &str, batch: &RecordBatch) -> Result<Vec<Option<u32>>, LakeError> {
        let encoded = self.encoded(table, batch)?;
        Ok(encoded.iter().map(|row| self.place.get(row.as_ref()).copied()).collect())
    }

    /// The keys of `batch`, which has the columns of the key only, as bytes that sort as they do.
    pub(super) fn encoded(&self, table: &str, batch: &RecordBatch) -> Result<Rows, LakeError> {
        self.converter.convert_columns(batch.columns()).map_err(LakeError::rows(table))
    }

    /// Takes the rows here out of `matches` that are older than the row of the table that has their key.
    pub(super) fn leave_newer(&self, table: &str, batch: &RecordBatch, matches: &mut [Option<u32>]) -> Result<(), LakeError> {
        let Some((newest, ages)) = self.newest.as_ref().filter(|_| matches.iter().any(Option::is_some)) else { return Ok(()) };
        let theirs = Ages::of(table, batch, newest)?;
        for (row, place) in (0..).zip(matches) {
            *place = place.filter(|place| ages.compare(*place, &theirs, row) != Some(Ordering::Less));
        }
        Ok(())
    }

    /// The key's columns of a batch in the table's shape.
    pub(super) fn keys_of(&self, table: &str, batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
        batch.project(&self.columns).map_err(LakeError::rows(table))
    }

    /// The table's schema, the key's columns only.
    pub(super) fn key_schema(&self, table: &str, schema: &SchemaRef) -> Result<SchemaRef, LakeError> {
        schema.project(&self.columns).map(Arc::new).map_err(LakeError::rows(table))
    }

    /// The columns of the table that have to be looked at where a row stands for another one: all but the key, in which they are equal.
    pub(super) fn to_look_at(&self, schema: &SchemaRef) -> Vec<usize> {
        // Of instants the range is told, and of what tells which row is newer every value counts.
        let newest = |name: &str| self.newest.as_ref().is_some_and(|(newest, _)| newest.by == name || newest.among == name);
        let looked_at = |at: &usize| {
            let field = schema.field(*at);
            !self.columns.contains(at) || is_time(field.data_type()) || newest(field.name())
        };
        (0..schema.fields().len()).filter(looked_at).collect()
    }

    /// Whether a row group can hold any of the keys, as far as its statistics say.
    pub(super) fn may_stand_in(&self, group: &RowGroupMetaData, leading: &str) -> bool {
        let Some(column) = group.columns().iter().find(|column| column.column_path().parts() == [leading]) else { return true };
        match (&self.leading, column.statistics()) {
            (Leading::Text(values), Some(Statistics::ByteArray(range))) => match (range.min_opt(), range.max_opt()) {
                (Some(low), Some(high)) => {
                    let at = values.partition_point(|value| value.as_bytes() < low.data());
                    values.get(at).is_some_and(|value| value.as_bytes() <= high.data())
                }
                _ => true,
            },
            (Leading::Integer(values), Some(Statistics::Int64(range))) if column.column_type() == Physical::INT64 => {
                match (range.min_opt(), range.max_opt()) {
                    (Some(low), Some(high)) => {
                        let at = values.partition_point(|value| value < low);
                        values.get(at).is_some_and(|value| value <= high)
                    }
                    _ => true,
                }
            }
            _ => true,
        }
    }
}

/// What tells which of two rows is newer.
#[derive(Debug)]
struct Ages {
    by: Int64Array,
    among: Int64Array,
}

impl Ages {
    fn of(table: &str, batch: &RecordBatch, newest: &Newest) -> Result<Self, LakeError> {
        let unknown = "tells which row is newer, but there is no such column";
        let numbers = |name: &str| {
            let column = batch.column_by_name(name).ok_or_else(|| LakeError::column(table, name, unknown))?;
            numbers(column).map_err(LakeError::rows(table))
        };
        Ok(Self { by: numbers(&newest.by)?, among: numbers(&newest.among)? })
    }

    /// What `by` holds for a row; less than anything where that is nothing.
    fn of_row(&self, row: u32) -> Option<i64> {
        let row = row as usize;
        self.by.is_valid(row).then(|| self.by.value(row))
    }

    /// How old one row is, beside another one's; `None` where that says nothing about which of them stays.
    fn compare(&self, row: u32, other: &Self, theirs: u32) -> Option<Ordering> {
        let (row, theirs) = (row as usize, theirs as usize);
        let known = |ages: &Self, row: usize| ages.by.is_valid(row) && ages.among.is_valid(row);
        let comparable = known(self, row) && known(other, theirs) && self.among.value(row) == other.among.value(theirs);
        comparable.then(|| self.by.value(row).cmp(&other.by.value(theirs)))
    }
}

/// The values of a column as they are ordered. Dates are counted in 32 bits, instants and numbers in 64.
fn numbers(column: &ArrayRef) -> Result<Int64Array, ArrowError> {
    let column = if *column.data_type() == DataType::Date32 { cast(column, &DataType::Int32)? } else { Arc::clone(column) };
    Ok(cast(&column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

impl Leading {
    fn of(column: &dyn Array) -> Self {
        if column.null_count() > 0 {
            return Self::Unknown;
        }
        match column.data_type() {
            DataType::Utf8 => {
                let mut values: Vec<String> = column.as_string::<i32>().iter().flatten().map(str::to_owned).collect();
                values.dedup();
                Self::Text(values)
            }
            DataType::Int64 => Self::Integer(column.as_primitive::<Int64Type>().values().to_vec()),
            _ => Self::Unknown,
        }
    }
}

fn pick(batch: &RecordBatch, columns: &[usize]) -> Vec<ArrayRef> {
    columns.iter().map(|column| Arc::clone(batch.column(*column))).collect()
}
