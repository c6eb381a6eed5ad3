//! A page of rows in whatever shape its source gives them, read alike.

use std::{collections::BTreeMap, sync::Arc};

use arrow::array::{Array, ArrayRef};
use serde_json::Value;

use super::{
    columns::{Column, Origin, Type},
    extra::Taken,
    json::{Is, Json, JsonRows},
    values::{self, Cell, Misfit},
};

/// One page.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its rows.
    pub(crate) rows: PageRows,
    /// How many rows all pages together hold, where the source says so.
    pub(crate) announced: Option<u64>,
    /// About how much memory it takes.
    pub(crate) bytes: usize,
}

/// The rows of a page.
#[derive(Debug)]
pub(crate) enum PageRows {
    /// Objects of an answer.
    Json(JsonRows),
    /// Lines of a file.
    Lines(Lines),
    /// Arrays of a Parquet file, in the types declared.
    Arrays { file: Arc<str>, rows: usize, columns: Vec<ArrayColumn> },
}

/// Lines of one text file.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) file: Arc<str>,
    /// What its rows are counted in: lines, or elements of a list.
    pub(crate) unit: &'static str,
    /// CSV: the names of its fields.
    pub(crate) header: Arc<Vec<String>>,
    /// CSV: which field each declared column takes.
    pub(crate) fields: Arc<Vec<Option<usize>>>,
    /// CSV: what stands for nothing.
    pub(crate) nulls: Arc<Vec<String>>,
    /// Each row and the line it starts on, or its place in the list.
    pub(crate) rows: Vec<(u64, Line)>,
}

/// One row of a text file.
#[derive(Debug)]
pub(crate) enum Line {
    Csv(csv::StringRecord),
    Json(Value),
    /// It cannot be read at all.
    Broken {
        reason: String,
        text: String,
    },
}

/// One declared column of a page of Parquet.
#[derive(Debug)]
pub(crate) struct ArrayColumn {
    pub(crate) array: ArrayRef,
    /// The rows whose value does not fit, and why.
    pub(crate) misfits: BTreeMap<usize, Misfit>,
}

impl PageRows {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Json(rows) => rows.len(),
            Self::Lines(lines) => lines.rows.len(),
            Self::Arrays { rows, .. } => *rows,
        }
    }

    /// One of them, by its position.
    pub(crate) fn row(&self, position: usize) -> Row<'_> {
        match self {
            Self::Json(rows) => Row::Json { value: rows.get(position), place: None },
            Self::Lines(lines) => {
                let (number, line) = &lines.rows[position];
                let place = Some(Place { number: *number, unit: lines.unit, file: &lines.file });
                match line {
                    Line::Csv(record) => Row::Csv { record, lines, line: *number },
                    Line::Json(value) => Row::Json { value: Json::Tree(value), place },
                    Line::Broken { reason, text } => Row::Broken { reason, text, line: *number, file: &lines.file },
                }
            }
            Self::Arrays { columns, file, .. } => Row::Arrays { columns, row: position, file },
        }
    }
}

/// Where a row stands in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    number: u64,
    unit: &'static str,
    file: &'a str,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Row<'a> {
    Json { value: Json<'a>, place: Option<Place<'a>> },
    Csv { record: &'a csv::StringRecord, lines: &'a Lines, line: u64 },
    Arrays { columns: &'a [ArrayColumn], row: usize, file: &'a str },
    Broken { reason: &'a str, text: &'a str, line: u64, file: &'a str },
}

impl<'a> Row<'a> {
    /// The value of a column; `None` where a JSON row does not hold the field at all.
    pub(crate) fn cell(self, position: usize, column: &Column) -> Result<Option<Cell<'a>>, Misfit> {
        let path = match &column.origin {
            Origin::Line => return Ok(Some(self.line().map_or(Cell::Null, Cell::Integer))),
            Origin::File => return Ok(Some(self.file().map_or(Cell::Null, |file| Cell::Text(file.into())))),
            Origin::Extra(taken) => return Ok(Some(self.left(taken).map_or(Cell::Null, |left| Cell::Text(left.into())))),
            Origin::Field(_, path) => path,
        };
        match self {
            Self::Json { value, .. } => match value.at(path) {
                Some(value) => column.read(|kind, rules| values::from_json(kind, rules, &column.name, value)).map(Some),
                None if value.is_object() => Ok(None),
                None => Err(Misfit::new(&column.name, "is missing: the row is not an object", &value.to_string())),
            },
            Self::Csv { .. } => match self.text(position) {
                Some(text) => column.read(|kind, rules| values::from_text(kind, rules, &column.name, text)).map(Some),
                None => Ok(Some(Cell::Null)),
            },
            Self::Arrays { columns, row, .. } => {
                let Some(column) = columns.get(position) else { return Ok(Some(Cell::Null)) };
                match column.misfits.get(&row) {
                    Some(misfit) => Err(misfit.clone()),
                    None => Ok(Some(values::from_array(&column.array, row))),
                }
            }
            Self::Broken { reason, text, .. } => Err(Misfit::new("the whole row", reason, text)),
        }
    }

    /// What no column takes, as a JSON object; `None` where nothing is left.
    fn left(self, taken: &Taken) -> Option<String> {
        let left = match self {
            Self::Json { value, .. } => taken.left(value.to_value().as_object()?),
            Self::Csv { record, lines, .. } => {
                let rest = lines.header.iter().zip(record).filter(|(name, _)| !taken.has(name));
                let value = |text: &str| if lines.nulls.iter().any(|null| null == text) { Value::Null } else { Value::from(text) };
                rest.map(|(name, text)| (name.clone(), value(text))).collect()
            }
            Self::Arrays { .. } | Self::Broken { .. } => return None,
        };
        (!left.is_empty()).then(|| Value::Object(left).to_string())
    }

    /// The type of a value that does not fit its column, where such columns can widen to it.
    pub(crate) fn wider(self, position: usize, column: &Column) -> Option<Type> {
        let text = match (self, &column.origin) {
            (Self::Json { value, .. }, Origin::Field(_, path)) => match value.at(path)?.is() {
                Is::Text(text) => text.to_owned(),
                // Of a number in JSON no more digits can be relied on.
                Is::Number(number) => Some(number.to_string()).filter(|text| !number.is_f64() || values::significant(text) <= 15)?,
                _ => return None,
            },
            _ => self.text(position)?.to_owned(),
        };
        values::wider(&column.kind, &column.rules, &text)
    }

    /// A CSV field, unless it stands for nothing.
    fn text(self, position: usize) -> Option<&'a str> {
        let Self::Csv { record, lines, .. } = self else { return None };
        let text = lines.fields.get(position).copied().flatten().and_then(|field| record.get(field))?;
        (!lines.nulls.iter().any(|null| null == text)).then_some(text)
    }

    /// The source's own writing of a value, letter by letter.
    pub(crate) fn literal(self, position: usize, column: &Column) -> Option<String> {
        match (self, &column.origin) {
            (Self::Json { value, .. }, Origin::Field(_, path)) => Some(value.at(path)?.literal()),
            (Self::Csv { .. }, _) => self.text(position).map(str::to_owned),
            _ => None,
        }
    }

    /// The names of the fields a row of JSON or CSV holds.
    pub(crate) fn names(self) -> impl Iterator<Item = &'a str> {
        let object = if let Self::Json { value, .. } = self { Some(value.names()) } else { None };
        let header = if let Self::Csv { lines, .. } = self { Some(&*lines.header) } else { None };
        object.into_iter().flatten().chain(header.into_iter().flatten().map(String::as_str))
    }

    /// Whether it may hold a field or not, as rows of JSON may.
    pub(crate) fn is_json(self) -> bool {
        matches!(self, Self::Json { .. })
    }

    fn line(self) -> Option<i64> {
        let line = match self {
            Self::Json { place, .. } => place.map(|place| place.number),
            Self::Csv { line, .. } | Self::Broken { line, .. } => Some(line),
            Self::Arrays { .. } => None,
        };
        line.and_then(|line| i64::try_from(line).ok())
    }

    fn unit(self) -> &'static str {
        if let Self::Json { place: Some(place), .. } = self { place.unit } else { "line" }
    }

    fn file(self) -> Option<&'a str> {
        match self {
            Self::Json { place, .. } => place.map(|place| place.file),
            Self::Csv { lines, .. } => Some(&lines.file),
            Self::Arrays { file, .. } | Self::Broken { file, .. } => Some(file),
        }
    }

    /// Where the row stands, for a row without a key: `line 7 of orders.csv`; `nth` counts the rows of the pull from 1.
    pub(crate) fn place(self, nth: u64) -> String {
        match (self.line(), self.file()) {
            (Some(line), Some(file)) => format!("at {} {line} of {file}", self.unit()),
            (None, Some(file)) => format!("number {nth} ({file})"),
            _ => format!("number {nth}"),
        }
    }

    /// The whole row as JSON text, for the quarantine.
    pub(crate) fn json(self, columns: &[Column]) -> String {
        match self {
            Self::Json { value, .. } => value.to_string(),
            Self::Broken { text, .. } => Value::from(text).to_string(),
            Self::Csv { record, lines, .. } => {
                let names = lines.header.iter().cloned().chain((lines.header.len()..).map(|position| (position + 1).to_string()));
                Value::Object(names.zip(record.iter().map(Value::from)).collect()).to_string()
            }
            Self::Arrays { columns: arrays, row, .. } => {
                let fields = columns.iter().zip(arrays).map(|(column, array)| {
                    let value = match array.misfits.get(&row) {
                        Some(misfit) => Value::from(misfit.value.clone()),
                        None if array.array.is_null(row) => Value::Null,
                        None => arrow::util::display::array_value_to_string(&array.array, row).map_or(Value::Null, Value::from),
                    };
                    (column.name.clone(), value)
                });
                Value::Object(fields.collect()).to_string()
            }
        }
    }
}
