//! The columns a table will have: a query's result, in the types tables hold.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::canonical::instant;

/// A result's columns as a table holds them.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// The table's columns.
    pub(crate) schema: SchemaRef,
    /// What to select from the result to get them.
    pub(crate) select: String,
}

/// The table that a result becomes: every integer a `bigint`, every instant in microseconds UTC, every text plain.
///
/// # Errors
/// In words, naming the column that no table can hold.
pub(crate) fn of_result(result: &Schema) -> Result<Shape, String> {
    let mut fields: Vec<Field> = Vec::new();
    let mut select = Vec::new();
    for field in result.fields() {
        let (name, found) = (field.name(), field.data_type());
        if fields.iter().any(|earlier| earlier.name() == name) {
            return Err(format!("two columns are called `{name}`; rename one with `as`"));
        }
        let held = held(found).ok_or_else(|| format!("the column `{name}` is of type {found}, which a table cannot hold; cast it"))?;
        select.push(if held == *found { quoted(name) } else { format!("{} as {}", cast(&quoted(name), &held), quoted(name)) });
        fields.push(Field::new(name, held, true));
    }
    Ok(Shape { schema: Arc::new(Schema::new(fields)), select: select.join(", ") })
}

/// The type a column of that type has in a table.
fn held(found: &DataType) -> Option<DataType> {
    Some(match found {
        DataType::Boolean | DataType::Date32 | DataType::Float64 | DataType::Binary | DataType::Decimal128(..) => found.clone(),
        integer if integer.is_integer() => DataType::Int64,
        DataType::Float16 | DataType::Float32 => DataType::Float64,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => DataType::Decimal128(*precision, *scale),
        DataType::Decimal256(_, scale) => DataType::Decimal128(38, *scale),
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => held(values)?,
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(..) => instant(),
        DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) => found.clone(),
        _ => return None,
    })
}

/// A cast in SQL, by Arrow's own name of the type.
pub(crate) fn cast(expression: &str, to: &DataType) -> String {
    let name = match to {
        DataType::Timestamp(..) => "Timestamp(Microsecond, Some(\"UTC\"))".to_owned(),
        DataType::Decimal128(precision, scale) => format!("Decimal128({precision}, {scale})"),
        other => other.to_string(),
    };
    format!("arrow_cast({expression}, '{name}')")
}

/// A name in SQL, whatever letters it has.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{IntervalUnit, TimeUnit};

    use super::*;

    fn shape(fields: &[(&str, DataType)]) -> Result<Shape, String> {
        of_result(&Schema::new(fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), false)).collect::<Vec<_>>()))
    }

    #[test]
    fn a_result_becomes_plain_types() {
        let shape = shape(&[
            ("n", DataType::UInt64),
            ("t", DataType::Utf8View),
            ("at", DataType::Timestamp(TimeUnit::Nanosecond, None)),
            ("ok", DataType::Boolean),
        ])
        .unwrap();
        let types: Vec<DataType> = shape.schema.fields().iter().map(|field| field.data_type().clone()).collect();
        assert_eq!(types, [DataType::Int64, DataType::Utf8, instant(), DataType::Boolean]);
        assert!(shape.select.ends_with(", \"ok\""), "{}", shape.select);
    }

    #[test]
    fn what_no_table_holds_is_refused_by_name() {
        assert!(shape(&[("gap", DataType::Interval(IntervalUnit::DayTime))]).unwrap_err().contains("`gap`"));
        assert!(shape(&[("a", DataType::Utf8), ("a", DataType::Utf8)]).unwrap_err().contains("`a`"));
    }
}
