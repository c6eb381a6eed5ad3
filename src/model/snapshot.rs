//! The ledger as tables that SQL can read, as of the run's time. People merged since then appear under their present id.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::DataType,
    error::ArrowError,
};
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::{
    ModelError,
    canonical::Table,
    shape::{cast, quoted},
};
use crate::{
    diagnosis::Diagnosis,
    ledger::{Ledger, SnapshotColumn},
};

/// What a ledger table held.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Its rows.
    pub(crate) rows: RecordBatch,
    /// A digest of them.
    pub(crate) digest: String,
}

/// The name under which the session knows the rows as the ledger holds them.
pub(crate) const LEDGER_ROWS: &str = "ledger_rows";

/// Reads a ledger table.
///
/// # Errors
/// Where the ledger refuses.
pub(crate) async fn take(ledger: &Ledger, table: &Table, as_of: DateTime<Utc>) -> Result<Snapshot, ModelError> {
    let columns: Vec<(String, bool)> =
        table.schema.fields().iter().map(|field| (field.name().clone(), *field.data_type() == DataType::Utf8)).collect();
    let read = ledger.snapshot(table.name, &columns, as_of).await?;
    let mut digest = Sha256::new();
    for column in &read {
        match column {
            SnapshotColumn::Text(values) => values.iter().for_each(|value| match value {
                Some(text) => {
                    digest.update((text.len() as u64).to_be_bytes());
                    digest.update(text);
                }
                None => digest.update(u64::MAX.to_be_bytes()),
            }),
            SnapshotColumn::Integer(values) => values.iter().for_each(|value| {
                digest.update([u8::from(value.is_some())]);
                digest.update(value.unwrap_or_default().to_be_bytes());
            }),
        }
    }
    let arrays = read.into_iter().zip(table.schema.fields()).map(|(column, field)| match column {
        SnapshotColumn::Text(values) => Arc::new(StringArray::from(values)) as ArrayRef,
        SnapshotColumn::Integer(values) if *field.data_type() == DataType::Int64 => Arc::new(Int64Array::from(values)),
        SnapshotColumn::Integer(values) => Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")),
    });
    let rows = RecordBatch::try_new(Arc::clone(&table.schema), arrays.collect()).map_err(|error: ArrowError| {
        ModelError::wrong(Diagnosis::new("ledger", format!("the ledger's table `{}` cannot be read: {error}", table.name)))
    })?;
    Ok(Snapshot { rows, digest: hex::encode(digest.finalize()) })
}

/// The query that makes the table: ids that were merged into another person's follow it.
pub(crate) fn query(table: &Table, empty: bool) -> String {
    let names: Vec<String> = table.schema.fields().iter().map(|field| field.name().clone()).collect();
    if empty {
        return format!("select {} from {LEDGER_ROWS}", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "));
    }
    let columns = names.iter().map(|name| match name.as_str() {
        "customer_id" => "coalesce(i.customer_id, l.customer_id) as customer_id".to_owned(),
        name => format!("l.{0} as {0}", quoted(name)),
    });
    let alias = format!("{} as alias", cast("concat(source, ':', source_id)", &DataType::Utf8));
    format!(
        "select {} from {LEDGER_ROWS} l left join (select {alias}, customer_id from identities) i on i.alias = l.customer_id",
        columns.collect::<Vec<_>>().join(", ")
    )
}
