use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType},
    error::ArrowError,
    temporal_conversions::date32_to_datetime,
};
use chrono::{DateTime, NaiveDate, Utc};

use super::MessageError;
use crate::diagnosis::Diagnosis;

/// One value of a row, typed as its column is.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// No value.
    Null,
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// An exact number: `unscaled / 10^scale`.
    Decimal {
        /// All digits.
        unscaled: i128,
        /// How many of them stand behind the point.
        scale: i8,
    },
    /// A floating-point number.
    Float(f64),
    /// Yes or no.
    Boolean(bool),
    /// A calendar day.
    Date(NaiveDate),
    /// An instant, UTC.
    Instant(DateTime<Utc>),
    /// Several values.
    List(Vec<Field>),
    /// Named values.
    Struct(BTreeMap<String, Field>),
}

/// What a template sees of one person.
pub type Row = BTreeMap<String, Field>;

/// The rows of a batch, in order.
///
/// # Errors
/// Where a column has a type templates cannot show.
pub fn rows(batch: &RecordBatch) -> Result<Vec<Row>, MessageError> {
    let schema = batch.schema();
    let mut rows = vec![Row::new(); batch.num_rows()];
    for (column, field) in batch.columns().iter().zip(schema.fields()) {
        let values = fields(column.as_ref()).map_err(|_| {
            MessageError(
                Diagnosis::new(
                    "column_type",
                    format!("the column `{}` has the type {}, which no template can show", field.name(), field.data_type()),
                )
                .hint("cast it to text, a number, a date or a timestamp in the segment's SQL"),
            )
        })?;
        for (row, value) in rows.iter_mut().zip(values) {
            row.insert(field.name().clone(), value);
        }
    }
    Ok(rows)
}

/// The values of a column, in order.
fn fields(column: &dyn Array) -> Result<Vec<Field>, ArrowError> {
    let unsupported = || Err(ArrowError::NotYetImplemented(column.data_type().to_string()));
    Ok(match column.data_type() {
        DataType::Null => vec![Field::Null; column.len()],
        DataType::Utf8 => each(column.as_string::<i32>().iter(), |text| Field::Text(text.to_owned())),
        DataType::LargeUtf8 => each(column.as_string::<i64>().iter(), |text| Field::Text(text.to_owned())),
        DataType::Utf8View => each(column.as_string_view().iter(), |text| Field::Text(text.to_owned())),
        DataType::Dictionary(_, values) => fields(&cast(column, values)?)?,
        DataType::Boolean => each(column.as_boolean().iter(), Field::Boolean),
        DataType::Int64 => each(column.as_primitive::<Int64Type>().iter(), Field::Integer),
        kind if kind.is_integer() => fields(&cast(column, &DataType::Int64)?)?,
        DataType::Float64 => each(column.as_primitive::<Float64Type>().iter(), Field::Float),
        kind if kind.is_floating() => fields(&cast(column, &DataType::Float64)?)?,
        DataType::Decimal128(_, scale) => {
            each(column.as_primitive::<Decimal128Type>().iter(), |unscaled| Field::Decimal { unscaled, scale: *scale })
        }
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal256(..) => {
            let scale = match column.data_type() {
                DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal256(_, scale) => *scale,
                _ => 0,
            };
            fields(&cast(column, &DataType::Decimal128(38, scale))?)?
        }
        DataType::Date32 => column
            .as_primitive::<Date32Type>()
            .iter()
            .map(|day| day.and_then(date32_to_datetime).map_or(Field::Null, |day| Field::Date(day.date())))
            .collect(),
        DataType::Date64 => fields(&cast(column, &DataType::Date32)?)?,
        DataType::Timestamp(TimeUnit::Microsecond, _) => column
            .as_primitive::<TimestampMicrosecondType>()
            .iter()
            .map(|at| at.and_then(DateTime::from_timestamp_micros).map_or(Field::Null, Field::Instant))
            .collect(),
        DataType::Timestamp(_, zone) => fields(&cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?)?,
        DataType::List(_) => lists(column.as_list::<i32>().iter())?,
        DataType::LargeList(_) => lists(column.as_list::<i64>().iter())?,
        DataType::Struct(members) => {
            let array = column.as_struct();
            let mut structs = vec![BTreeMap::new(); array.len()];
            for (member, values) in members.iter().zip(array.columns()) {
                for (row, value) in structs.iter_mut().zip(fields(values.as_ref())?) {
                    row.insert(member.name().clone(), value);
                }
            }
            let valid = |at: usize| array.is_valid(at);
            structs.into_iter().enumerate().map(|(at, row)| if valid(at) { Field::Struct(row) } else { Field::Null }).collect()
        }
        _ => return unsupported(),
    })
}

fn each<T>(values: impl Iterator<Item = Option<T>>, field: impl Fn(T) -> Field) -> Vec<Field> {
    values.map(|value| value.map_or(Field::Null, &field)).collect()
}

fn lists(values: impl Iterator<Item = Option<arrow::array::ArrayRef>>) -> Result<Vec<Field>, ArrowError> {
    values.map(|value| value.map_or(Ok(Field::Null), |list| fields(list.as_ref()).map(Field::List))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray, StringViewArray,
            StructArray, TimestampMicrosecondArray, TimestampSecondArray, UInt8Array,
        },
        datatypes::{Field as Column, Schema},
    };

    use super::*;

    #[test]
    fn every_type_of_the_lake_becomes_a_field_and_nulls_stay_nulls() {
        let at = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        let second = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let nested = StructArray::from(vec![(
            Arc::new(Column::new("sku", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec![Some("a"), None])) as ArrayRef,
        )]);
        let mut list = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
        list.append_value([Some("x"), None]);
        list.append_null();
        let batch = RecordBatch::try_from_iter_with_nullable(vec![
            ("text", Arc::new(StringArray::from(vec![Some("José"), None])) as ArrayRef, true),
            ("view", Arc::new(StringViewArray::from(vec![Some("山田"), None])), true),
            ("integer", Arc::new(Int64Array::from(vec![Some(7), None])), true),
            ("small", Arc::new(Int32Array::from(vec![Some(-7), None])), true),
            ("tiny", Arc::new(UInt8Array::from(vec![Some(7), None])), true),
            ("money", Arc::new(Decimal128Array::from(vec![Some(125_000), None]).with_precision_and_scale(18, 4).unwrap()), true),
            ("float", Arc::new(Float64Array::from(vec![Some(0.5), None])), true),
            ("flag", Arc::new(BooleanArray::from(vec![Some(true), None])), true),
            ("day", Arc::new(Date32Array::from(vec![Some(0), None])), true),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(at.timestamp_micros()), None]).with_timezone("UTC")), true),
            ("second", Arc::new(TimestampSecondArray::from(vec![Some(1_700_000_000), None])), true),
            ("list", Arc::new(list.finish()), true),
            ("nested", Arc::new(nested), true),
        ])
        .unwrap();
        let rows = rows(&batch).unwrap();
        let text = |value: &str| Field::Text(value.into());
        let expected = [
            ("text", text("José")),
            ("view", text("山田")),
            ("integer", Field::Integer(7)),
            ("small", Field::Integer(-7)),
            ("tiny", Field::Integer(7)),
            ("money", Field::Decimal { unscaled: 125_000, scale: 4 }),
            ("float", Field::Float(0.5)),
            ("flag", Field::Boolean(true)),
            ("day", Field::Date(NaiveDate::default())),
            ("at", Field::Instant(at)),
            ("second", Field::Instant(second)),
            ("list", Field::List(vec![text("x"), Field::Null])),
            ("nested", Field::Struct(BTreeMap::from([("sku".into(), text("a"))]))),
        ];
        for (name, value) in expected {
            assert_eq!(rows[0][name], value, "{name}");
            if name != "nested" {
                assert_eq!(rows[1][name], Field::Null, "{name}");
            }
        }
    }

    #[test]
    fn a_column_no_template_can_show_is_named() {
        let schema = Arc::new(Schema::new(vec![Column::new("blob", DataType::Binary, true)]));
        let batch = RecordBatch::new_empty(schema);
        assert!(rows(&batch).unwrap_err().0.message.contains("`blob`"));
    }
}
