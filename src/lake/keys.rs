//! The keys of a batch: which rows of it count, and which of them a row elsewhere stands for.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, AsArray, RecordBatch, UInt32Array},
    compute::{concat_batches, take_record_batch},
    datatypes::{DataType, Int64Type, SchemaRef},
    row::{RowConverter, SortField},
};
use parquet::{
    basic::Type as Physical,
    file::{metadata::RowGroupMetaData, statistics::Statistics},
};

use super::LakeError;

/// Rows with one row a key, sorted by key, and the way from a key to its row.
#[derive(Debug)]
pub(super) struct Keyed {
    pub(super) rows: RecordBatch,
    columns: Vec<usize>,
    converter: RowConverter,
    place: HashMap<Box<[u8]>, u32>,
    leading: Leading,
}

/// The values of the first key column, sorted, to tell by a row group's range that none of them can stand in it.
#[derive(Debug)]
enum Leading {
    Text(Vec<String>),
    Integer(Vec<i64>),
    Unknown,
}

impl Keyed {
    /// Keeps the last row of every key. `look_up` says whether rows elsewhere are to be compared with these.
    pub(super) fn new(table: &str, key: &[String], schema: &SchemaRef, batches: &[RecordBatch], look_up: bool) -> Result<Self, LakeError> {
        let columns = key
            .iter()
            .map(|name| schema.index_of(name).map_err(|_| LakeError::column(table, name, "is named as a key, but there is no such column")))
            .collect::<Result<Vec<_>, _>>()?;
        if columns.is_empty() {
            return Err(LakeError::column(table, "", "is missing: rows are merged by a key, and none is named"));
        }
        let failed = LakeError::rows(table);
        let fields = columns.iter().map(|column| SortField::new(schema.field(*column).data_type().clone())).collect();
        let converter = RowConverter::new(fields).map_err(&failed)?;
        let all = concat_batches(schema, batches).map_err(&failed)?;
        let encoded = converter.convert_columns(&pick(&all, &columns)).map_err(&failed)?;
        let mut order: Vec<u32> = (0..u32::try_from(all.num_rows()).unwrap_or(u32::MAX)).collect();
        // Of one key the later row comes first, and the first of equal neighbours stays.
        order.sort_unstable_by(|a, b| encoded.row(*a as usize).cmp(&encoded.row(*b as usize)).then(b.cmp(a)));
        order.dedup_by(|next, kept| encoded.row(*next as usize) == encoded.row(*kept as usize));
        let mut place = HashMap::new();
        if look_up {
            place.reserve(order.len());
            for (position, row) in (0..).zip(&order) {
                place.insert(Box::from(encoded.row(*row as usize).as_ref()), position);
            }
        }
        let rows = take_record_batch(&all, &UInt32Array::from(order)).map_err(&failed)?;
        let leading = Leading::of(rows.column(columns[0]).as_ref());
        Ok(Self { rows, columns, converter, place, leading })
    }

    /// For every row of `batch`, which has the columns of the key only, the row here with the same key.
    pub(super) fn matches(&self, table: &str, batch: &RecordBatch) -> Result<Vec<Option<u32>>, LakeError> {
        let encoded = self.converter.convert_columns(batch.columns()).map_err(LakeError::rows(table))?;
        Ok(encoded.iter().map(|row| self.place.get(row.as_ref()).copied()).collect())
    }

    /// The key's columns of a batch in the table's shape.
    pub(super) fn keys_of(&self, table: &str, batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
        batch.project(&self.columns).map_err(LakeError::rows(table))
    }

    /// The table's schema, the key's columns only.
    pub(super) fn key_schema(&self, table: &str, schema: &SchemaRef) -> Result<SchemaRef, LakeError> {
        schema.project(&self.columns).map(Arc::new).map_err(LakeError::rows(table))
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

fn pick(batch: &RecordBatch, columns: &[usize]) -> Vec<arrow::array::ArrayRef> {
    columns.iter().map(|column| Arc::clone(batch.column(*column))).collect()
}
