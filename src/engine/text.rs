//! Results as everybody expects them: text is `Utf8`, whatever form the engine kept it in.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef},
};
use datafusion::{error::Result, execution::SendableRecordBatchStream, physical_plan::stream::RecordBatchStreamAdapter};
use futures::StreamExt;

/// The schema with `Utf8` and `Binary` for views, dictionaries and large forms of them.
pub(super) fn plain_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(plain_field).collect::<Fields>()))
}

fn plain_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), plain(field.data_type()), field.is_nullable()))
}

fn plain(given: &DataType) -> DataType {
    match given {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, value) => plain(value),
        DataType::List(item) => DataType::List(plain_field(item)),
        DataType::LargeList(item) => DataType::LargeList(plain_field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        other => other.clone(),
    }
}

/// The stream with plain text.
pub(super) fn plain_stream(stream: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let schema = plain_schema(&stream.schema());
    let shape = Arc::clone(&schema);
    let batches = stream.map(move |batch| batch.and_then(|batch| plain_batch(&batch, &shape)));
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

fn plain_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() { Ok(Arc::clone(column)) } else { cast(column, field.data_type()) }
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
