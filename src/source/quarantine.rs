//! Rows that do not fit are set aside whole, with the reason, in `<source>__<stream>__quarantine`. Nothing is dropped in silence.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};

use super::columns::{PULLED_AT, instant};

/// The columns by which one row set aside is known: setting it aside again changes nothing.
pub(crate) const KEY: [&str; 2] = ["key", "field"];

/// The columns of every quarantine table.
pub(crate) fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![text("key"), text("field"), text("reason"), text("row"), Field::new(PULLED_AT, instant(), true)]))
}

/// One row set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aside {
    /// The row's key, or where it stood.
    pub(crate) key: String,
    /// The field that does not fit.
    pub(crate) field: String,
    /// Why not.
    pub(crate) reason: String,
    /// The whole row, as JSON.
    pub(crate) row: String,
}

/// The rows set aside as they go into the lake.
pub(crate) fn batch(rows: &[Aside], pulled_at: i64) -> Result<RecordBatch, ArrowError> {
    let text = |part: fn(&Aside) -> &str| -> ArrayRef { Arc::new(rows.iter().map(|row| Some(part(row))).collect::<StringArray>()) };
    let at = TimestampMicrosecondArray::from(vec![pulled_at; rows.len()]).with_timezone("UTC");
    RecordBatch::try_new(
        schema(),
        vec![text(|row| &row.key), text(|row| &row.field), text(|row| &row.reason), text(|row| &row.row), Arc::new(at)],
    )
}
