//! Records of one person become one row: of each column the first value that is there, the most recently updated record asked first and
//! deleted ones last; the earliest `created_at`, the latest `updated_at`, and `deleted_at` only where every record is deleted.
//!
//! The records come sorted, so that one pass suffices and memory holds a batch and one person.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt32Array},
    compute::{concat_batches, take},
    datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType},
    error::ArrowError,
};
use datafusion::{common::DataFusionError, execution::SendableRecordBatchStream, physical_plan::stream::RecordBatchStreamAdapter};
use futures::{StreamExt, future::ready, stream};

use super::BrandDefaults;

/// The column that tells a source's record (1) from an id nobody described (0).
pub(crate) const KNOWN: &str = "known";

/// Merges records, sorted as [`super::staging::records_query`] sorts them, into rows of `schema`.
pub(crate) fn one_row_a_person(records: SendableRecordBatchStream, schema: SchemaRef, brand: &BrandDefaults) -> SendableRecordBatchStream {
    let mut merger = Merger { schema: Arc::clone(&schema), brand: brand.clone(), open: None };
    let rows = records.map(Some).chain(stream::once(ready(None))).filter_map(move |next| {
        let merged = match next {
            Some(Ok(batch)) => merger.push(&batch).map_err(DataFusionError::from),
            Some(Err(error)) => Err(error),
            None => merger.finish().map_err(DataFusionError::from),
        };
        ready(merged.transpose())
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

struct Merger {
    schema: SchemaRef,
    brand: BrandDefaults,
    /// The last person's records; more of them may follow.
    open: Option<RecordBatch>,
}

impl Merger {
    fn push(&mut self, batch: &RecordBatch) -> Result<Option<RecordBatch>, ArrowError> {
        let records = match self.open.take() {
            Some(open) => concat_batches(&batch.schema(), [&open, batch])?,
            None => batch.clone(),
        };
        let people = people(&records)?;
        let Some(last) = people.last().cloned() else { return Ok(None) };
        self.open = Some(records.slice(last.start, last.len()));
        match people.len() {
            1 => Ok(None),
            many => self.merge(&records, &people[..many - 1]).map(Some),
        }
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        match self.open.take() {
            Some(open) => self.merge(&open, &people(&open)?).map(Some),
            None => Ok(None),
        }
    }

    /// One row for each run of records.
    fn merge(&self, records: &RecordBatch, people: &[std::ops::Range<usize>]) -> Result<RecordBatch, ArrowError> {
        let known = column(records, KNOWN)?.as_primitive::<Int64Type>();
        let columns = self.schema.fields().iter().map(|field| {
            let values = column(records, field.name())?;
            let filled = |run: &std::ops::Range<usize>| run.clone().filter(|row| values.is_valid(*row));
            let chosen: UInt32Array = match field.name().as_str() {
                name @ ("created_at" | "updated_at" | "deleted_at") => {
                    let at = values.as_primitive::<TimestampMicrosecondType>();
                    let pick = |run: &std::ops::Range<usize>| match name {
                        "created_at" => filled(run).min_by_key(|row| at.value(*row)),
                        "deleted_at" if run.clone().any(|row| known.value(row) == 1 && values.is_null(row)) => None,
                        _ => filled(run).max_by_key(|row| at.value(*row)),
                    };
                    people.iter().map(|run| index(pick(run))).collect()
                }
                _ => people.iter().map(|run| index(filled(run).next())).collect(),
            };
            let merged = take(values, &chosen, None)?;
            Ok(match field.name().as_str() {
                "locale" => or_else(&merged, &self.brand.locale),
                "timezone" => or_else(&merged, &self.brand.timezone),
                _ => merged,
            })
        });
        RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<_, ArrowError>>()?)
    }
}

/// The runs of records that belong to one person each.
fn people(records: &RecordBatch) -> Result<Vec<std::ops::Range<usize>>, ArrowError> {
    let ids = column(records, "customer_id")?.as_string::<i32>();
    let mut runs = Vec::new();
    let mut start = 0;
    for row in 1..=records.num_rows() {
        if row == records.num_rows() || ids.value(row) != ids.value(start) {
            runs.push(start..row);
            start = row;
        }
    }
    Ok(runs)
}

fn column<'r>(records: &'r RecordBatch, name: &str) -> Result<&'r ArrayRef, ArrowError> {
    records.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("records have no column `{name}`")))
}

fn index(row: Option<usize>) -> Option<u32> {
    row.and_then(|row| u32::try_from(row).ok())
}

fn or_else(values: &ArrayRef, default: &str) -> ArrayRef {
    let values = values.as_string::<i32>();
    Arc::new(values.iter().map(|value| Some(value.unwrap_or(default))).collect::<StringArray>())
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Int64Array, TimestampMicrosecondArray},
        util::display::array_value_to_string,
    };
    use futures::TryStreamExt;

    use super::*;
    use crate::model::canonical::canonical;

    /// Person, e-mail, created, deleted, known.
    type Given<'a> = (&'a str, Option<&'a str>, Option<i64>, Option<i64>, i64);

    async fn merge(records: &[Given<'_>], size: usize) -> Vec<String> {
        let schema = canonical("customers").unwrap().schema;
        let batch = |rows: &[Given<'_>]| {
            let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
            fields.push(Arc::new(arrow::datatypes::Field::new(KNOWN, arrow::datatypes::DataType::Int64, false)));
            let columns = fields.iter().map(|field| -> ArrayRef {
                let times = |values: Vec<Option<i64>>| Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"));
                match field.name().as_str() {
                    "customer_id" => Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))),
                    "email" => Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>()),
                    "created_at" => times(rows.iter().map(|row| row.2).collect()),
                    "deleted_at" => times(rows.iter().map(|row| row.3).collect()),
                    KNOWN => Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.4))),
                    _ => arrow::array::new_null_array(field.data_type(), rows.len()),
                }
            });
            let columns: Vec<ArrayRef> = columns.collect();
            Ok(RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns).unwrap())
        };
        let batches: Vec<_> = records.chunks(size).map(batch).collect();
        let given = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), stream::iter(batches)));
        let brand = BrandDefaults { locale: "en".into(), timezone: "UTC".into(), currency: "EUR".into() };
        let rows: Vec<RecordBatch> = one_row_a_person(given, schema, &brand).try_collect().await.unwrap();
        let cell = |batch: &RecordBatch, name: &str, row: usize| match batch.column_by_name(name).unwrap() {
            column if column.is_null(row) => "-".to_owned(),
            column => array_value_to_string(column, row).unwrap().replace("1970-01-01T00:00:00.0000", "").replace('Z', ""),
        };
        let names = ["customer_id", "email", "locale", "created_at", "deleted_at"];
        let line = |batch: &RecordBatch, row: usize| names.map(|name| cell(batch, name, row)).join("|");
        rows.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| line(batch, row)).collect::<Vec<_>>()).collect()
    }

    #[tokio::test]
    async fn a_person_is_one_row_however_their_records_are_cut_into_batches() {
        let records = [
            ("a", None, Some(30), None, 1),
            ("a", Some("a@x"), Some(20), Some(50), 1),
            ("a", Some("old@x"), None, Some(60), 1),
            ("b", Some("b@x"), Some(10), Some(40), 1),
            ("b", None, None, Some(70), 1),
            ("b", None, None, None, 0),
            ("c", None, None, None, 0),
        ];
        for size in 1..=7 {
            assert_eq!(merge(&records, size).await, ["a|a@x|en|20|-", "b|b@x|en|10|70", "c|-|en|-|-"], "{size}");
        }
        assert!(merge(&[], 1).await.is_empty());
    }
}
