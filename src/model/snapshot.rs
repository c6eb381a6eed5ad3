//! The ledger as tables that SQL can read, as of the run's time. People merged since then appear under their present id.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, SchemaRef},
    error::ArrowError,
};
use chrono::{DateTime, Utc};
use datafusion::{
    catalog::{TableProvider, streaming::StreamingTable},
    common::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use futures::{Stream, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use super::{
    ModelError,
    canonical::Table,
    shape::{cast, quoted},
};
use crate::ledger::{Ledger, LedgerError, SnapshotColumn};

/// A ledger table as of the run's time.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    ledger: Ledger,
    name: &'static str,
    schema: SchemaRef,
    as_of: DateTime<Utc>,
}

/// What a ledger table held.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contents {
    /// How many rows.
    pub(crate) rows: u64,
    /// A digest of them.
    pub(crate) digest: String,
}

/// The name under which the session knows the rows as the ledger holds them.
pub(crate) const LEDGER_ROWS: &str = "ledger_rows";

impl Snapshot {
    /// A ledger table; nothing is read yet.
    pub(crate) fn new(ledger: &Ledger, table: &Table, as_of: DateTime<Utc>) -> Self {
        Self { ledger: ledger.clone(), name: table.name, schema: Arc::clone(&table.schema), as_of }
    }

    /// Reads it once. Rows that change before they are read again make another digest of the next build, which then makes the table anew.
    ///
    /// # Errors
    /// Where the ledger refuses.
    pub(crate) async fn contents(&self) -> Result<Contents, ModelError> {
        let (mut rows, mut digest) = (0, Sha256::new());
        let mut batches = std::pin::pin!(self.read());
        while let Some(columns) = batches.try_next().await? {
            for column in &columns {
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
            rows += columns.first().map_or(0, SnapshotColumn::rows) as u64;
        }
        Ok(Contents { rows, digest: hex::encode(digest.finalize()) })
    }

    /// Its rows, read from the ledger whenever a query asks for them.
    ///
    /// # Errors
    /// Where its columns contradict themselves.
    pub(crate) fn provider(&self) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        Ok(Arc::new(StreamingTable::try_new(Arc::clone(&self.schema), vec![Arc::new(self.clone())])?))
    }

    fn read(&self) -> impl Stream<Item = Result<Vec<SnapshotColumn>, LedgerError>> + Send + use<> {
        let columns: Vec<(String, bool)> =
            self.schema.fields().iter().map(|field| (field.name().clone(), *field.data_type() == DataType::Utf8)).collect();
        self.ledger.snapshot(self.name, &columns, self.as_of)
    }
}

impl PartitionStream for Snapshot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let batches = self.read().map(move |columns| {
            let columns = columns.map_err(|error| DataFusionError::External(Box::new(error)))?;
            Ok(batch(columns, &schema)?)
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

fn batch(columns: Vec<SnapshotColumn>, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let arrays = columns.into_iter().zip(schema.fields()).map(|(column, field)| match column {
        SnapshotColumn::Text(values) => Arc::new(StringArray::from(values)) as ArrayRef,
        SnapshotColumn::Integer(values) if *field.data_type() == DataType::Int64 => Arc::new(Int64Array::from(values)),
        SnapshotColumn::Integer(values) => Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")),
    });
    RecordBatch::try_new(Arc::clone(schema), arrays.collect())
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
    // Few people go by another name than their own, so that these few are looked up.
    let alias = cast("concat(source, ':', source_id)", &DataType::Utf8);
    let renamed =
        format!("select alias, customer_id from (select {alias} as alias, customer_id from identities) where alias <> customer_id");
    format!("select {} from ({renamed}) i right join {LEDGER_ROWS} l on i.alias = l.customer_id", columns.collect::<Vec<_>>().join(", "))
}
