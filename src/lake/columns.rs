//! Which columns a table can hold, how they may change, and how a batch is brought into a table's shape.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit},
};

use super::LakeError;

/// Delta calls the rows of a list so.
const ELEMENT: &str = "element";

/// The schema a table has when it is to hold `schema`: every column nullable, text `Utf8`, instants in microseconds UTC, unsigned
/// integers in the next wider signed type.
pub(super) fn storable(table: &str, schema: &Schema) -> Result<SchemaRef, LakeError> {
    let mut fields: Vec<FieldRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let name = field.name();
        if name.is_empty() || name.contains([' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '=']) {
            return Err(LakeError::column(table, name, "has a name with blanks or signs that tables cannot carry"));
        }
        if fields.iter().any(|other| other.name().eq_ignore_ascii_case(name)) {
            return Err(LakeError::column(table, name, "appears twice"));
        }
        fields.push(Arc::new(Field::new(name, storable_type(table, name, field.data_type())?, true)));
    }
    if fields.is_empty() {
        return Err(LakeError::column(table, "", "is missing: a table needs at least one column"));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn storable_type(table: &str, column: &str, given: &DataType) -> Result<DataType, LakeError> {
    use DataType as T;
    let nested = |inner: &DataType| storable_type(table, column, inner);
    Ok(match given {
        T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Null => T::Utf8,
        T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64 | T::Date32 => given.clone(),
        T::UInt8 => T::Int16,
        T::UInt16 => T::Int32,
        T::UInt32 | T::UInt64 => T::Int64,
        T::Float16 => T::Float32,
        T::Date64 => T::Date32,
        T::Timestamp(_, _) => T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) | T::Decimal256(p, s) if *p <= 38 && *s >= 0 => T::Decimal128(*p, *s),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        T::List(e) | T::LargeList(e) | T::FixedSizeList(e, _) | T::ListView(e) | T::LargeListView(e) => {
            T::List(Arc::new(Field::new(ELEMENT, nested(e.data_type())?, true)))
        }
        T::Struct(fields) => T::Struct(
            fields.iter().map(|f| Ok(Arc::new(Field::new(f.name(), nested(f.data_type())?, true)))).collect::<Result<_, LakeError>>()?,
        ),
        T::Dictionary(_, value) => nested(value)?,
        T::RunEndEncoded(_, value) => nested(value.data_type())?,
        other => return Err(LakeError::column(table, column, format!("is of type {other}, which a table cannot hold"))),
    })
}

/// The table's schema after rows of `given` joined it: new columns come last; a column that is there keeps its type.
pub(super) fn evolve(table: &str, present: &SchemaRef, given: &Schema) -> Result<SchemaRef, LakeError> {
    let wanted = storable(table, given)?;
    let mut fields: Vec<FieldRef> = present.fields().to_vec();
    for (field, raw) in wanted.fields().iter().zip(given.fields()) {
        match present.field_with_name(field.name()) {
            Ok(old) if old.data_type() == field.data_type() || raw.data_type() == &DataType::Null => {}
            Ok(old) => {
                return Err(LakeError::Change {
                    table: table.to_owned(),
                    column: field.name().clone(),
                    was: old.data_type().to_string(),
                    becomes: field.data_type().to_string(),
                });
            }
            Err(_) => fields.push(Arc::clone(field)),
        }
    }
    if fields.len() == present.fields().len() {
        return Ok(Arc::clone(present));
    }
    storable(table, &Schema::new(fields))
}

/// The columns of a table that are named.
pub(super) fn some(present: &Schema, names: &[String]) -> SchemaRef {
    let fields: Vec<FieldRef> = present.fields().iter().filter(|field| names.contains(field.name())).cloned().collect();
    Arc::new(Schema::new(fields))
}

/// The rows of `batch` in the shape of `schema`: columns in its order and types, absent ones null.
pub(super) fn conform(table: &str, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, LakeError> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => cast(table, field, column),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        })
        .collect::<Result<Vec<ArrayRef>, LakeError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(LakeError::rows(table))
}

fn cast(table: &str, field: &Field, column: &ArrayRef) -> Result<ArrayRef, LakeError> {
    if column.data_type() == field.data_type() {
        return Ok(Arc::clone(column));
    }
    // `safe: false`: a value that does not fit is an error, never a silent null.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    // The library's words would repeat the value, which may be somebody's address.
    cast_with_options(column, field.data_type(), &options)
        .map_err(|_| LakeError::column(table, field.name(), format!("holds a value that does not fit {}", field.data_type())))
}
