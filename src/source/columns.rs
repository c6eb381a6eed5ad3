//! Declared columns: the types people write in `[streams.<name>.columns]`, the Arrow schema they mean, and the builders that fill it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int64Builder, ListArray, RecordBatch, StringBuilder,
        StructArray, TimestampMicrosecondBuilder,
    },
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};
use chrono_tz::Tz;
use schemars::{JsonSchema, r#gen::SchemaGenerator};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use toml::Spanned;

use super::{
    extra::Taken,
    values::{Cell, DAY, Misfit},
};
use crate::config::{nearest, schema};

/// The column that says when a row was pulled.
pub(crate) const PULLED_AT: &str = "_pulled_at";
/// The column that says since when a row is gone at its source.
pub(crate) const DELETED_AT: &str = "_deleted_at";

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    /// `text`
    Text,
    /// `integer`: 64 bits, signed
    Integer,
    /// `float`
    Float,
    /// `decimal(precision,scale)`
    Decimal(u8, u8),
    /// `boolean`
    Boolean,
    /// `date`
    Date,
    /// `timestamp`: an instant, kept in UTC
    Timestamp,
    /// `json`: whatever stands there, kept as JSON text
    Json,
    /// `["text"]`: a list
    List(Box<Type>),
    /// `{ line = "integer", … }` inside a list or behind `type =`: named parts
    Struct(Vec<(String, Type)>),
}

const SIMPLE: [&str; 7] = ["text", "integer", "float", "boolean", "date", "timestamp", "json"];

impl Type {
    /// Reads `decimal(18,4)` and its kin.
    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "text" => Self::Text,
            "integer" => Self::Integer,
            "float" => Self::Float,
            "boolean" => Self::Boolean,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            "json" => Self::Json,
            _ => return Self::decimal(text),
        })
    }

    fn decimal(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('(').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let sizes = rest.and_then(|rest| {
            let (precision, scale) = rest.strip_suffix(')')?.split_once(',')?;
            Some((precision.trim().parse::<u8>().ok()?, scale.trim().parse::<u8>().ok()?))
        });
        match (name.trim(), sizes) {
            ("decimal", Some((precision, scale))) if (1..=38).contains(&precision) && scale <= precision => {
                Ok(Self::Decimal(precision, scale))
            }
            ("decimal", _) => Err(format!(
                "`{text}` is not a column type; write `decimal(18,4)`: at most 38 digits in all, and how many of them after the point"
            )),
            (other, _) => Err(match nearest(other, SIMPLE.into_iter().chain(["decimal"])) {
                Some("decimal") => {
                    let tail = rest.map_or_else(|| "(18,4)".to_owned(), |rest| format!("({rest}"));
                    format!("`{text}` is not a column type; did you mean `decimal{tail}`?")
                }
                Some(near) => format!("`{text}` is not a column type; did you mean `{near}`?"),
                None => format!("`{text}` is not a column type; there are {}, decimal(18,4)", SIMPLE.join(", ")),
            }),
        }
    }

    /// The narrowest type that holds both without loss; `None` where there is none, and where a loss would be possible.
    ///
    /// As Delta's own widening: whole numbers become decimals, decimals get more digits on either side of the point, dates become instants.
    pub(crate) fn join(&self, other: &Self) -> Option<Self> {
        let digits = |kind: &Self| match kind {
            // An integer of 64 bits has up to 19.
            Self::Integer => Some((19, 0)),
            Self::Decimal(precision, scale) => Some((precision - scale, *scale)),
            _ => None,
        };
        match (self, other) {
            (one, other) if one == other => Some(one.clone()),
            (Self::Date, Self::Timestamp) | (Self::Timestamp, Self::Date) => Some(Self::Timestamp),
            _ => {
                let ((whole, places), (other_whole, other_places)) = (digits(self)?, digits(other)?);
                let (whole, places) = (whole.max(other_whole), places.max(other_places));
                (whole + places <= 38).then_some(Self::Decimal(whole + places, places))
            }
        }
    }

    /// The type of a table's column, where it is one that types can widen to.
    pub(crate) fn of(kind: &DataType) -> Option<Self> {
        Some(match kind {
            DataType::Int64 => Self::Integer,
            DataType::Decimal128(precision, scale) => Self::Decimal(*precision, u8::try_from(*scale).ok()?),
            DataType::Date32 => Self::Date,
            DataType::Timestamp(..) => Self::Timestamp,
            _ => return None,
        })
    }

    /// The Arrow type it is kept as.
    pub(crate) fn arrow(&self) -> DataType {
        match self {
            Self::Text | Self::Json => DataType::Utf8,
            Self::Integer => DataType::Int64,
            Self::Float => DataType::Float64,
            // A scale is at most 38.
            Self::Decimal(precision, scale) => DataType::Decimal128(*precision, i8::try_from(*scale).unwrap_or(0)),
            Self::Boolean => DataType::Boolean,
            Self::Date => DataType::Date32,
            Self::Timestamp => instant(),
            Self::List(item) => DataType::List(element(item)),
            Self::Struct(parts) => DataType::Struct(fields(parts)),
        }
    }
}

/// The type of every instant in the lake.
pub(crate) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Delta tables name a list's items `element`; so do we from the start.
fn element(item: &Type) -> FieldRef {
    Arc::new(Field::new("element", item.arrow(), true))
}

fn fields(parts: &[(String, Type)]) -> Fields {
    parts.iter().map(|(name, kind)| Field::new(name, kind.arrow(), true)).collect()
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Integer => f.write_str("integer"),
            Self::Float => f.write_str("float"),
            Self::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Self::Boolean => f.write_str("boolean"),
            Self::Date => f.write_str("date"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Json => f.write_str("json"),
            Self::List(item) => write!(f, "[{item}]"),
            Self::Struct(parts) => {
                f.write_str("{")?;
                for (name, kind) in parts {
                    write!(f, " {name}={kind}")?;
                }
                f.write_str(" }")
            }
        }
    }
}

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Type;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a column type such as \"text\", [\"text\"] or [{ line = \"integer\" }]")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Type, E> {
                Type::parse(text).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Type, A::Error> {
                let one = || de::Error::custom("a list column names exactly one type for its items, such as [\"text\"]");
                let item = list.next_element::<Type>()?.ok_or_else(one)?;
                if list.next_element::<Type>()?.is_some() {
                    return Err(one());
                }
                Ok(Type::List(Box::new(item)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Type, A::Error> {
                Ok(Type::Struct(in_order(map)?))
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

impl JsonSchema for Type {
    fn schema_name() -> String {
        "ColumnType".to_owned()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> schemars::schema::Schema {
        let ways = [Type::bare(generator), <BTreeMap<String, Type>>::json_schema(generator)];
        schema::any_of(ways.into(), "The type of a column, `[…]` for a list of it, or a table of named parts.")
    }
}

impl Type {
    /// A type that is no table: one of a word, or a list.
    fn bare(generator: &mut SchemaGenerator) -> schemars::schema::Schema {
        let ways = [
            schema::words(&SIMPLE, ""),
            schema::text(
                r"^decimal\s*\(\s*[0-9]+\s*,\s*[0-9]+\s*\)$",
                "`decimal(18,4)`: at most 18 digits in all, 4 of them after the point.",
            ),
            <[Type; 1]>::json_schema(generator),
        ];
        schema::any_of(ways.into(), "The type of a column, or `[…]` for a list of it.")
    }
}

/// The entries of a TOML table in the order they are written; the parser itself sorts them by name.
fn in_order<'de, A: MapAccess<'de>, T: Deserialize<'de>>(mut map: A) -> Result<Vec<(String, T)>, A::Error> {
    let mut entries: Vec<(usize, String, T)> = Vec::new();
    while let Some((name, value)) = map.next_entry::<String, Spanned<T>>()? {
        entries.push((value.span().start, name, value.into_inner()));
    }
    entries.sort_by_key(|(position, ..)| *position);
    Ok(entries.into_iter().map(|(_, name, value)| (name, value)).collect())
}

/// How times are written where they are not written as RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// Seconds since 1970, whole or with a fraction.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    /// A pattern such as `%d.%m.%Y %H:%M`.
    Pattern(String),
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "unix" => Ok(Self::Unix),
            "unix_ms" => Ok(Self::UnixMs),
            _ if chrono::format::StrftimeItems::new(&text).any(|item| item == chrono::format::Item::Error) || !text.contains('%') => {
                Err(de::Error::custom(format!(
                    "`{text}` is not a time format; write `unix`, `unix_ms` or a pattern such as `%Y-%m-%d %H:%M:%S`"
                )))
            }
            _ => Ok(Self::Pattern(text)),
        }
    }
}

/// How the values of one column are read, beside their type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// How times are written.
    pub(crate) format: Option<Format>,
    /// The zone of times that name none.
    pub(crate) zone: Option<Tz>,
    /// Whether surplus decimal places are rounded (half to even) instead of refused.
    pub(crate) round: bool,
}

/// One column as it is declared: a bare type, or a table with a type and how to read it.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    /// The name or dotted path at the source, where it differs from the column's name.
    pub(crate) from: Option<String>,
    /// Its type.
    pub(crate) kind: Type,
    /// How its values are read.
    pub(crate) rules: Rules,
    /// Whether the source may know no such field.
    pub(crate) optional: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Its type.
    #[serde(rename = "type")]
    kind: Type,
    /// The name or dotted path at the source, where it differs from the column's name.
    from: Option<String>,
    /// How times are written, where they are not written as RFC 3339: `unix`, `unix_ms` or a pattern such as `%d.%m.%Y %H:%M`.
    #[serde(alias = "format")]
    #[schemars(with = "Option<String>")]
    timestamp_format: Option<Format>,
    /// The zone of times that name none, IANA: `Europe/Berlin`.
    #[serde(default, deserialize_with = "zone")]
    #[schemars(with = "Option<String>")]
    zone: Option<Tz>,
    /// Whether surplus decimal places are rounded (half to even) instead of refused.
    #[serde(default)]
    round: bool,
    /// Whether the source may know no such field.
    #[serde(default)]
    optional: bool,
}

fn zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Tz>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<Tz>().map(Some).map_err(|_| {
        let near = nearest(&text, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
        let near = near.map_or_else(|| "write one such as `Europe/Berlin`".to_owned(), |near| format!("did you mean `{near}`?"));
        de::Error::custom(format!("`{text}` is not a time zone; {near}"))
    })
}

impl<'de> Deserialize<'de> for Declared {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Declared;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a column type such as \"text\", or a table such as { from = \"CustomerID\", type = \"text\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Declared, E> {
                Type::parse(text).map(plain).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Declared, A::Error> {
                Type::deserialize(de::value::SeqAccessDeserializer::new(list)).map(plain)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Declared, A::Error> {
                let Options { kind, from, timestamp_format, zone, round, optional } =
                    Options::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Declared { from, kind, rules: Rules { format: timestamp_format, zone, round }, optional })
            }
        }
        fn plain(kind: Type) -> Declared {
            Declared { from: None, kind, rules: Rules::default(), optional: false }
        }
        deserializer.deserialize_any(Reads)
    }
}

impl JsonSchema for Declared {
    fn schema_name() -> String {
        "DeclaredColumn".to_owned()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> schemars::schema::Schema {
        let mut table = Options::json_schema(generator).into_object();
        // Known by another name, too.
        if let Some(format) = table.object().properties.get("timestamp_format").cloned() {
            table.object().properties.insert("format".to_owned(), format);
        }
        let ways = vec![Type::bare(generator), table.into()];
        schema::any_of(ways, "A column: its type, or a table with its type and how it is read.")
    }
}

/// `[streams.<name>.columns]`, in the order written.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeclaredColumns(pub(crate) Vec<(String, Declared)>);

impl<'de> Deserialize<'de> for DeclaredColumns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = DeclaredColumns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("columns and their types")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DeclaredColumns, A::Error> {
                in_order(map).map(DeclaredColumns)
            }
        }
        deserializer.deserialize_map(Reads)
    }
}

impl JsonSchema for DeclaredColumns {
    fn schema_name() -> String {
        "Columns".to_owned()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> schemars::schema::Schema {
        <BTreeMap<String, Declared>>::json_schema(generator)
    }
}

/// Where a column's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A field of the row: its name as written, and the path it means in JSON.
    Field(String, Vec<String>),
    /// The line of the file the row starts on.
    Line,
    /// The name of the file.
    File,
    /// What of the row no other column takes, as JSON.
    Extra(Taken),
}

/// One column, ready to be filled.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    /// Its name in the lake.
    pub(crate) name: String,
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// Its type.
    pub(crate) kind: Type,
    /// How its values are read.
    pub(crate) rules: Rules,
    /// Whether the source may know no such field.
    pub(crate) optional: bool,
    /// The type it is declared with, where the table has come to hold a wider one.
    pub(crate) declared: Option<Type>,
}

impl Column {
    /// A column that is read by its type alone.
    pub(crate) fn new(name: impl Into<String>, origin: Origin, kind: Type) -> Self {
        Self { name: name.into(), origin, kind, rules: Rules::default(), optional: false, declared: None }
    }

    /// A value, read by the column's type. What was declared as a date is still read as one; as an instant it is the day's first, in UTC.
    pub(crate) fn read<'a>(&self, by: impl Fn(&Type, &Rules) -> Result<Cell<'a>, Misfit>) -> Result<Cell<'a>, Misfit> {
        if self.declared != Some(Type::Date) {
            return by(&self.kind, &self.rules);
        }
        match by(&Type::Date, &self.rules) {
            Ok(Cell::Date(days)) => Ok(Cell::Timestamp(i64::from(days) * DAY)),
            Ok(cell) => Ok(cell),
            Err(_) => by(&self.kind, &Rules::default()),
        }
    }
}

/// The columns of one stream's table.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    /// The declared ones, in order.
    pub(crate) list: Vec<Column>,
    /// The whole raw table: the declared ones, then `_pulled_at` and, where deletes are seen, `_deleted_at`.
    pub(crate) schema: SchemaRef,
}

impl Columns {
    /// The columns as declared, and whether the table carries `_deleted_at`.
    pub(crate) fn new(list: Vec<Column>, deletes: bool) -> Self {
        let mut fields: Vec<Field> = list.iter().map(|column| Field::new(&column.name, column.kind.arrow(), true)).collect();
        fields.push(Field::new(PULLED_AT, instant(), true));
        if deletes {
            fields.push(Field::new(DELETED_AT, instant(), true));
        }
        Self { list, schema: Arc::new(Schema::new(fields)) }
    }
}

/// Rows on their way into a record batch.
#[derive(Debug)]
pub(crate) struct Rows {
    schema: SchemaRef,
    builders: Vec<Builder>,
    rows: usize,
}

impl Rows {
    /// Empty rows of these columns.
    pub(crate) fn new(columns: &Columns) -> Self {
        let mut builders: Vec<Builder> = columns.list.iter().map(|column| Builder::new(&column.kind)).collect();
        while builders.len() < columns.schema.fields().len() {
            builders.push(Builder::new(&Type::Timestamp));
        }
        Self { schema: columns.schema.clone(), builders, rows: 0 }
    }

    /// How many rows are in.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Adds one row: one cell for each column of the schema, in its order.
    pub(crate) fn push<'a>(&mut self, cells: impl Iterator<Item = &'a Cell<'a>>) {
        for (builder, cell) in self.builders.iter_mut().zip(cells) {
            builder.push(cell);
        }
        self.rows += 1;
    }

    /// The rows so far as one batch; starts again empty.
    pub(crate) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let arrays = self.builders.iter_mut().map(Builder::finish).collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(self.schema.clone(), arrays)
    }
}

/// Values of one type on their way into an array.
#[derive(Debug)]
pub(crate) enum Builder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Float(Float64Builder),
    Decimal(Decimal128Builder, DataType),
    Boolean(BooleanBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    List { item: FieldRef, offsets: Vec<i32>, valid: Vec<bool>, items: Box<Builder>, count: i32 },
    Struct { fields: Fields, valid: Vec<bool>, parts: Vec<Builder> },
}

impl Builder {
    /// Without values yet.
    pub(crate) fn new(kind: &Type) -> Self {
        match kind {
            Type::Text | Type::Json => Self::Text(StringBuilder::new()),
            Type::Integer => Self::Integer(Int64Builder::new()),
            Type::Float => Self::Float(Float64Builder::new()),
            Type::Decimal(..) => Self::Decimal(Decimal128Builder::new(), kind.arrow()),
            Type::Boolean => Self::Boolean(BooleanBuilder::new()),
            Type::Date => Self::Date(Date32Builder::new()),
            Type::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::new()),
            Type::List(item) => {
                Self::List { item: element(item), offsets: vec![0], valid: Vec::new(), items: Box::new(Self::new(item)), count: 0 }
            }
            Type::Struct(parts) => {
                Self::Struct { fields: fields(parts), valid: Vec::new(), parts: parts.iter().map(|(_, kind)| Self::new(kind)).collect() }
            }
        }
    }

    /// Cells come from `values.rs` under the same type, so a cell of another type cannot arrive; it would be a null.
    pub(crate) fn push(&mut self, cell: &Cell<'_>) {
        match (self, cell) {
            (Self::Text(builder), Cell::Text(text)) => builder.append_value(text),
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Integer(builder), Cell::Integer(number)) => builder.append_value(*number),
            (Self::Integer(builder), _) => builder.append_null(),
            (Self::Float(builder), Cell::Float(number)) => builder.append_value(*number),
            (Self::Float(builder), _) => builder.append_null(),
            (Self::Decimal(builder, _), Cell::Decimal(number)) => builder.append_value(*number),
            (Self::Decimal(builder, _), _) => builder.append_null(),
            (Self::Boolean(builder), Cell::Boolean(yes)) => builder.append_value(*yes),
            (Self::Boolean(builder), _) => builder.append_null(),
            (Self::Date(builder), Cell::Date(days)) => builder.append_value(*days),
            (Self::Date(builder), _) => builder.append_null(),
            (Self::Timestamp(builder), Cell::Timestamp(micros)) => builder.append_value(*micros),
            (Self::Timestamp(builder), _) => builder.append_null(),
            (Self::List { offsets, valid, items, count, .. }, cell) => {
                if let Cell::Nested(cells) = cell {
                    for cell in cells {
                        items.push(cell);
                        *count += 1;
                    }
                }
                valid.push(matches!(cell, Cell::Nested(_)));
                offsets.push(*count);
            }
            (Self::Struct { valid, parts, .. }, cell) => {
                let cells: &[Cell<'_>] = if let Cell::Nested(cells) = cell { cells } else { &[] };
                for (position, part) in parts.iter_mut().enumerate() {
                    part.push(cells.get(position).unwrap_or(&Cell::Null));
                }
                valid.push(matches!(cell, Cell::Nested(_)));
            }
        }
    }

    /// The values as an array; starts again empty.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder, kind) => Arc::new(builder.finish().with_data_type(kind.clone())),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish().with_timezone("UTC")),
            Self::List { item, offsets, valid, items, count } => {
                *count = 0;
                let offsets = OffsetBuffer::new(std::mem::replace(offsets, vec![0]).into());
                let nulls = NullBuffer::from(std::mem::take(valid));
                Arc::new(ListArray::try_new(item.clone(), offsets, items.finish()?, Some(nulls))?)
            }
            Self::Struct { fields, valid, parts } => {
                let arrays = parts.iter_mut().map(Self::finish).collect::<Result<Vec<_>, _>>()?;
                let nulls = NullBuffer::from(std::mem::take(valid));
                let length = nulls.len();
                Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, Some(nulls), length)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        columns: DeclaredColumns,
    }

    fn columns(text: &str) -> Result<Vec<(String, Declared)>, crate::diagnosis::Diagnosis> {
        parse::<Sample>(text, Path::new("shop.toml")).map(|sample| sample.columns.0).map_err(|error| error.0)
    }

    #[test]
    fn columns_keep_the_order_they_are_written_in() {
        let names: Vec<String> = columns("[columns]\nz = \"text\"\na = [{ y = \"integer\", b = \"text\" }]\nm = { type = \"date\" }\n")
            .unwrap()
            .into_iter()
            .map(|(name, declared)| format!("{name} {}", declared.kind))
            .collect();
        assert_eq!(names, ["z text", "a [{ y=integer b=text }]", "m date"]);
    }

    #[test]
    fn a_misspelt_type_is_named_with_its_line_and_the_nearest() {
        let error = columns("[columns]\na = \"text\"\nb = \"decmal(18,4)\"\n").unwrap_err();
        assert_eq!(error.line, Some(3));
        assert_eq!(error.message, "`decmal(18,4)` is not a column type; did you mean `decimal(18,4)`?");
        let error = columns("[columns]\na = [{ x = \"txt\" }]\n").unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (Some(2), "`txt` is not a column type; did you mean `text`?"));
        let error = columns("[columns]\na = \"decimal(40,2)\"\n").unwrap_err();
        assert!(error.message.contains("at most 38 digits"), "{error}");
    }

    #[test]
    fn an_unknown_option_and_an_unknown_zone_are_errors_with_a_line() {
        let error = columns("[columns]\na = \"text\"\nb = { typ = \"text\" }\n").unwrap_err();
        assert_eq!((error.line, error.hint.as_deref()), (Some(3), Some("did you mean `type`?")));
        let error = columns("[columns]\nb = { type = \"timestamp\", zone = \"Europe/Lodnon\" }\n").unwrap_err();
        assert!(error.message.contains("did you mean `Europe/London`?"), "{error}");
        let error = columns("[columns]\nb = { type = \"timestamp\", timestamp_format = \"%Q\" }\n").unwrap_err();
        assert_eq!(error.line, Some(2));
    }

    #[test]
    fn nested_rows_become_lists_of_structs() {
        let kind = Type::List(Box::new(Type::Struct(vec![("line".to_owned(), Type::Integer), ("sku".to_owned(), Type::Text)])));
        let column = Column::new("items", Origin::Line, kind);
        let columns = Columns::new(vec![column], false);
        let mut rows = Rows::new(&columns);
        let item = |line| Cell::Nested(vec![Cell::Integer(line), Cell::Text("x".into())]);
        for cells in [Cell::Nested(vec![item(1), item(2)]), Cell::Null, Cell::Nested(vec![])] {
            rows.push([cells, Cell::Timestamp(5)].iter());
        }
        let batch = rows.take().unwrap();
        assert_eq!((batch.num_rows(), rows.len()), (3, 0));
        let list = batch.column(0).as_any().downcast_ref::<ListArray>().unwrap();
        assert_eq!((list.value_length(0), arrow::array::Array::is_null(list, 1), list.value_length(2)), (2, true, 0));
    }
}
