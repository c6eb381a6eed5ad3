//! Written rows into typed ones. Each row becomes JSON in the types of its table, and Arrow reads that; what the types do not take is told
//! by table, row and column.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Schema, SchemaRef},
    json::ReaderBuilder,
};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde_json::{Map, Value};

use super::format::Rows;
use crate::config::nearest;

/// A cell as it is written.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Null,
    /// Text out of CSV: read by its column's type.
    Text(String),
    Toml(toml::Value),
}

/// Typed rows, and which columns they name.
#[derive(Debug)]
pub(super) struct Typed {
    /// The rows.
    pub(super) rows: RecordBatch,
    /// The columns that at least one row names, in the order of the schema.
    pub(super) named: Vec<String>,
}

/// Reads rows by the schema of their table.
///
/// # Errors
/// In words: an unknown column, a value that does not fit.
pub(super) fn typed(
    table: &str,
    rows: &Rows,
    default: Option<&BTreeMap<String, toml::Value>>,
    schema: &SchemaRef,
) -> Result<Typed, String> {
    let written = match rows {
        Rows::Csv(text) => csv(text).map_err(|why| format!("`{table}`: {why}"))?,
        Rows::Tables(tables) => {
            let row = |row: &BTreeMap<String, toml::Value>| row.iter().map(|(name, value)| (name.clone(), cell(value.clone()))).collect();
            tables.iter().map(row).collect()
        }
    };
    let mut named: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    let header = if let Rows::Csv(text) = rows { header(text) } else { Vec::new() };
    let defaults = default.into_iter().flatten().map(|(name, value)| (name.clone(), cell(value.clone())));
    let defaults: BTreeMap<String, Cell> = defaults.collect();
    for name in header.iter().chain(written.iter().flat_map(BTreeMap::keys)).chain(defaults.keys()) {
        if schema.column_with_name(name).is_none() {
            let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let near = match nearest(name, columns.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its columns are: {}", columns.join(", ")),
            };
            return Err(format!("`{table}` has no column `{name}`; {near}"));
        }
    }
    for (position, row) in written.iter().enumerate() {
        let mut object = Map::new();
        for field in schema.fields() {
            let Some(cell) = row.get(field.name()).or_else(|| defaults.get(field.name())) else { continue };
            let value = value(cell, field.data_type())
                .map_err(|why| format!("`{table}`, row {}, column `{}`: {why}", position + 1, field.name()))?;
            object.insert(field.name().clone(), value);
        }
        lines.push(Value::Object(object));
    }
    for field in schema.fields() {
        if header.contains(field.name()) || written.iter().any(|row| row.contains_key(field.name())) {
            named.push(field.name().clone());
        }
    }
    let unreadable = |error: arrow::error::ArrowError| format!("`{table}`: {error}");
    // What a query says can never be null, a test may well leave out.
    let schema = &nullable(schema);
    let mut decoder = ReaderBuilder::new(Arc::clone(schema)).build_decoder().map_err(unreadable)?;
    decoder.serialize(&lines).map_err(unreadable)?;
    let rows = decoder.flush().map_err(unreadable)?.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(schema)));
    Ok(Typed { rows, named })
}

fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// `{}` is NULL; everything else is itself.
fn cell(value: toml::Value) -> Cell {
    match value {
        toml::Value::Table(table) if table.is_empty() => Cell::Null,
        value => Cell::Toml(value),
    }
}

/// A cell as JSON that Arrow reads as that type.
fn value(cell: &Cell, kind: &DataType) -> Result<Value, String> {
    match (cell, kind) {
        (Cell::Null, _) => Ok(Value::Null),
        (Cell::Text(text), DataType::List(_) | DataType::Struct(_)) => {
            let json: Value = serde_json::from_str(text).map_err(|error| format!("`{text}` is not JSON: {error}"))?;
            nested(&json, kind)
        }
        (Cell::Text(text), _) => scalar(text, kind),
        (Cell::Toml(value), DataType::List(_) | DataType::Struct(_)) => nested(&plain(value), kind),
        (Cell::Toml(toml::Value::Array(_) | toml::Value::Table(_)), _) => Err(format!("a list or a table is not of type {kind}")),
        (Cell::Toml(toml::Value::Boolean(yes)), DataType::Boolean) => Ok(Value::Bool(*yes)),
        (Cell::Toml(toml::Value::String(text)), _) => scalar(text, kind),
        (Cell::Toml(other), DataType::Utf8) => Err(format!("`{other}` is not text; write it in quotation marks")),
        (Cell::Toml(other), _) => scalar(&other.to_string(), kind),
    }
}

/// TOML as JSON, dates as text.
fn plain(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text.clone()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(yes) => Value::Bool(*yes),
        toml::Value::Datetime(at) => Value::String(at.to_string()),
        toml::Value::Array(values) => Value::Array(values.iter().map(plain).collect()),
        toml::Value::Table(table) if table.is_empty() => Value::Null,
        toml::Value::Table(table) => Value::Object(table.iter().map(|(name, value)| (name.clone(), plain(value))).collect()),
    }
}

/// Lists and structs, their innermost values by type.
fn nested(json: &Value, kind: &DataType) -> Result<Value, String> {
    match (json, kind) {
        (Value::Null, _) => Ok(Value::Null),
        (Value::Array(values), DataType::List(item)) => {
            values.iter().map(|value| nested(value, item.data_type())).collect::<Result<_, _>>().map(Value::Array)
        }
        (Value::Object(object), DataType::Struct(fields)) => {
            let known = |name: &String| fields.iter().find(|field| field.name() == name);
            let member = |(name, value): (&String, &Value)| {
                let field = known(name).ok_or_else(|| format!("there is no field `{name}` in it"))?;
                Ok::<_, String>((name.clone(), nested(value, field.data_type())?))
            };
            object.iter().map(member).collect::<Result<Map<_, _>, _>>().map(Value::Object)
        }
        (Value::Bool(yes), DataType::Boolean) => Ok(Value::Bool(*yes)),
        (Value::String(text), _) if !kind.is_nested() => scalar(text, kind),
        (Value::Number(number), _) if !kind.is_nested() => scalar(&number.to_string(), kind),
        _ => Err(format!("`{json}` is not of type {kind}")),
    }
}

/// Text as a value of that type, in the form Arrow's JSON reader takes.
fn scalar(text: &str, kind: &DataType) -> Result<Value, String> {
    let refused = |wanted: &str| format!("`{text}` is not {wanted}");
    let trimmed = text.trim();
    Ok(match kind {
        DataType::Utf8 => Value::String(text.to_owned()),
        DataType::Int64 => Value::from(trimmed.parse::<i64>().map_err(|_| refused("a whole number"))?),
        DataType::Boolean => Value::Bool(trimmed.parse().map_err(|_| refused("true or false"))?),
        DataType::Float64 => Value::from(trimmed.parse::<f64>().map_err(|_| refused("a number"))?),
        DataType::Decimal128(_, scale) => {
            let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
            let numeric = !whole.is_empty() && whole.chars().chain(fraction.chars()).all(|c| c.is_ascii_digit());
            if !numeric {
                return Err(refused("a decimal number"));
            }
            if fraction.trim_end_matches('0').len() > usize::try_from(*scale).unwrap_or(0) {
                return Err(format!("`{text}` has more than {scale} digits after the point"));
            }
            let fraction = fraction.trim_end_matches('0');
            let sign = if trimmed.starts_with('-') { "-" } else { "" };
            Value::String(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
        }
        DataType::Date32 => {
            let date = trimmed.parse::<NaiveDate>().map_err(|_| refused("a date such as 2026-11-22"))?;
            Value::String(date.to_string())
        }
        DataType::Timestamp(..) => {
            let at = instant(trimmed).ok_or_else(|| refused("an instant such as 2026-11-22T01:00:00Z"))?;
            Value::String(at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
        }
        other => return Err(format!("a column of type {other} cannot be written in a test")),
    })
}

/// An instant with its offset, or a date, which is midnight UTC.
pub(super) fn instant(text: &str) -> Option<DateTime<Utc>> {
    let spaced = text.replacen(' ', "T", 1);
    if let Ok(at) = DateTime::parse_from_rfc3339(&spaced) {
        return Some(at.with_timezone(&Utc));
    }
    let date = text.parse::<NaiveDate>().ok()?;
    Some(NaiveDateTime::from(date).and_utc())
}

/// The column names of CSV text.
fn header(text: &str) -> Vec<String> {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// CSV that tells a blank cell (NULL) from a quoted empty one (empty text), which is why it is read here and not by a CSV library.
fn csv(text: &str) -> Result<Vec<BTreeMap<String, Cell>>, String> {
    let columns = header(text);
    let mut rows = Vec::new();
    for (line, cells) in records(text)?.into_iter().skip(1) {
        if cells.len() != columns.len() {
            return Err(format!("line {line} has {} cells, its header {}", cells.len(), columns.len()));
        }
        rows.push(columns.iter().cloned().zip(cells).collect());
    }
    Ok(rows)
}

/// The records of CSV text with the line each begins on; lines without anything are skipped.
fn records(text: &str) -> Result<Vec<(usize, Vec<Cell>)>, String> {
    let mut records = Vec::new();
    let mut cells = Vec::new();
    let mut cell = String::new();
    let (mut quoted, mut inside) = (false, false);
    let (mut line, mut begun) = (1, 1);
    let mut chars = text.chars().chain(['\n']).peekable();
    let finish = |cell: &mut String, quoted: &mut bool| {
        let text = std::mem::take(cell);
        match std::mem::take(quoted) {
            true => Cell::Text(text),
            false if text.trim().is_empty() => Cell::Null,
            false => Cell::Text(text.trim().to_owned()),
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '"' if inside && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if inside => inside = false,
            _ if inside => {
                line += usize::from(c == '\n');
                cell.push(c);
            }
            '"' if cell.trim().is_empty() => {
                cell.clear();
                (quoted, inside) = (true, true);
            }
            ',' => cells.push(finish(&mut cell, &mut quoted)),
            '\n' => {
                let last = finish(&mut cell, &mut quoted);
                if !cells.is_empty() || last != Cell::Null {
                    cells.push(last);
                    records.push((begun, std::mem::take(&mut cells)));
                }
                line += 1;
                begun = line;
            }
            _ if quoted && c.is_whitespace() => {}
            _ if quoted => return Err(format!("line {line}: something follows a closed quotation mark")),
            _ => cell.push(c),
        }
    }
    if inside { Err(format!("line {begun}: a quotation mark is not closed")) } else { Ok(records) }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Array, AsArray},
        datatypes::{Decimal128Type, Field, Fields, TimestampMicrosecondType},
    };

    use super::*;
    use crate::model::canonical::canonical;

    fn orders() -> SchemaRef {
        canonical("orders").unwrap().schema
    }

    fn rows(text: &str, schema: &SchemaRef) -> Result<Typed, String> {
        #[derive(serde::Deserialize)]
        struct One {
            v: Rows,
        }
        typed("orders", &toml::from_str::<One>(text).unwrap().v, None, schema)
    }

    #[test]
    fn blank_is_null_and_quoted_blank_is_empty_text() {
        let typed = rows("v = '''\norder_id, coupon_code, channel, status\no1, , \"\", \"a, \"\"b\"\"\"\n\n'''", &orders()).unwrap();
        let column = |name: &str| typed.rows.column_by_name(name).unwrap().as_string::<i32>();
        assert!(column("coupon_code").is_null(0));
        assert!(column("channel").is_valid(0) && column("channel").value(0).is_empty());
        assert_eq!(column("status").value(0), "a, \"b\"");
        assert_eq!(typed.named, ["order_id", "status", "coupon_code", "channel"]);
        assert_eq!(typed.rows.num_rows(), 1);
    }

    #[test]
    fn a_key_left_out_and_an_empty_table_are_null() {
        let default = BTreeMap::from([("status".to_owned(), toml::Value::String("paid".into()))]);
        let given = Rows::Tables(vec![
            BTreeMap::from([("order_id".to_owned(), toml::Value::String("o1".into()))]),
            BTreeMap::from([("status".to_owned(), toml::Value::Table(toml::Table::new()))]),
        ]);
        let typed = typed("orders", &given, Some(&default), &orders()).unwrap();
        let status = typed.rows.column_by_name("status").unwrap().as_string::<i32>();
        assert_eq!(status.value(0), "paid");
        assert!(status.is_null(1));
        assert!(typed.rows.column_by_name("channel").unwrap().is_null(0));
    }

    #[test]
    fn values_are_read_by_the_type_of_their_column() {
        let typed = rows(
            "v = [{ total_base = 12.5, total = \"-7.2500\", ordered_at = 2026-01-05T11:00:00+01:00, delivered_at = \"2026-01-06\" }]",
            &orders(),
        );
        let typed = typed.unwrap();
        assert_eq!(typed.rows.column_by_name("total_base").unwrap().as_primitive::<Decimal128Type>().value(0), 125_000);
        assert_eq!(typed.rows.column_by_name("total").unwrap().as_primitive::<Decimal128Type>().value(0), -72_500);
        let ordered = typed.rows.column_by_name("ordered_at").unwrap().as_primitive::<TimestampMicrosecondType>().value(0);
        assert_eq!(ordered, instant("2026-01-05T10:00:00Z").unwrap().timestamp_micros());
    }

    #[test]
    fn what_does_not_fit_is_told_by_row_and_column() {
        let error = rows("v = [{ order_id = \"a\" }, { total = \"1.23456\" }]", &orders()).unwrap_err();
        assert!(error.contains("row 2, column `total`") && error.contains("4 digits"), "{error}");
        assert!(rows("v = [{ ordered_at = \"yesterday\" }]", &orders()).unwrap_err().contains("instant"));
        assert!(rows("v = [{ order_id = 1 }]", &orders()).unwrap_err().contains("quotation marks"));
        assert!(rows("v = [{ orderid = \"a\" }]", &orders()).unwrap_err().contains("did you mean `order_id`?"));
        assert!(rows("v = \"order_id, status\\no1\"", &orders()).unwrap_err().contains("line 2 has 1 cells"));
    }

    #[test]
    fn lists_of_structs_are_read_in_both_forms() {
        let line = Fields::from(vec![Field::new("line", DataType::Int64, true), Field::new("product_id", DataType::Utf8, true)]);
        let items = DataType::List(Arc::new(Field::new("item", DataType::Struct(line), true)));
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, true), Field::new("items", items, true)]));
        let a = rows("v = [{ id = \"o\", items = [{ line = 1, product_id = \"p\" }] }]", &schema).unwrap();
        let c = rows("v = '''\nid, items\no, \"[{\"\"line\"\": 1, \"\"product_id\"\": \"\"p\"\"}]\"\n'''", &schema).unwrap();
        assert_eq!(a.rows, c.rows);
        assert!(rows("v = [{ items = [{ lyne = 1 }] }]", &schema).unwrap_err().contains("`lyne`"));
    }
}
