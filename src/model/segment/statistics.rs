//! What is known of the columns of a segment.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::cast as cast_array,
    datatypes::{DataType, Float64Type, Int64Type},
    util::display::array_value_to_string,
};
use serde::Serialize;

use super::{
    super::shape::{cast, quoted},
    ModelError, Rows, collect,
};
use crate::engine::Engine;

/// How many parts the range of a column is cut into.
const BINS: usize = 16;
/// A column with no more different values than this is told value by value.
const FEW: u64 = 12;

/// What is known of a column of a segment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnStatistics {
    /// Its name.
    pub name: String,
    /// Its type, in Arrow's words.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the comment beside it in the SQL file says.
    pub description: Option<String>,
    /// In how many rows it is null.
    pub nulls: u64,
    /// How many different values it has.
    pub distinct: u64,
    /// Its least value; none for lists and where it is always null.
    pub min: Option<String>,
    /// Its greatest value.
    pub max: Option<String>,
    /// Of numbers, dates and instants: the rows in each of equal parts between `min` and `max`.
    pub histogram: Vec<u64>,
    /// Of a few words: each with its rows, the most frequent first.
    pub values: Vec<(String, u64)>,
}

pub(super) async fn of(engine: &Engine, rows: &Rows, comments: &BTreeMap<String, String>) -> Result<Vec<ColumnStatistics>, ModelError> {
    let session = engine.session(BTreeMap::from([("result".to_owned(), rows.table()?)]))?;
    let mut columns = Vec::new();
    for (position, field) in rows.schema.fields().iter().enumerate() {
        let name = quoted(field.name());
        let ordered = !field.data_type().is_nested() && *field.data_type() != DataType::Boolean;
        let ends = match ordered {
            true => format!("{}, {}", cast(&format!("min({name})"), &DataType::Utf8), cast(&format!("max({name})"), &DataType::Utf8)),
            // Names of their own, since no two columns may have the same.
            false => format!("{0} as least, {0} as greatest", cast("null", &DataType::Utf8)),
        };
        let distinct = if field.data_type().is_nested() { "0".to_owned() } else { format!("count(distinct {name})") };
        let found = collect(&session, &format!("select count(*) - count({name}), {distinct}, {ends} from result")).await?;
        let Some(row) = found.iter().find(|batch| batch.num_rows() == 1) else { continue };
        let number = |column: usize| row.column(column).as_primitive::<Int64Type>().value(0).unsigned_abs();
        let text = |column: usize| {
            let column = row.column(column);
            column.is_valid(0).then(|| array_value_to_string(column, 0).unwrap_or_default())
        };
        let wordy = matches!(field.data_type(), DataType::Utf8 | DataType::Boolean) && (1..=FEW).contains(&number(1));
        columns.push(ColumnStatistics {
            name: field.name().clone(),
            kind: field.data_type().to_string(),
            description: comments.get(field.name()).cloned(),
            nulls: number(0),
            distinct: number(1),
            min: text(2),
            max: text(3),
            histogram: histogram(rows, position),
            values: if wordy { values(rows, position) } else { Vec::new() },
        });
    }
    Ok(columns)
}

/// The rows in each of [`BINS`] equal parts of a column's range; empty where it has none.
fn histogram(rows: &Rows, position: usize) -> Vec<u64> {
    let kind = rows.schema.field(position).data_type();
    if !(kind.is_numeric() || kind.is_temporal()) {
        return Vec::new();
    }
    let columns = rows.batches.iter().map(|batch| as_floats(batch.column(position)));
    let numbers: Vec<f64> =
        columns.flatten().flat_map(|column| column.as_primitive::<Float64Type>().iter().flatten().collect::<Vec<_>>()).collect();
    let (least, greatest) = numbers.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
    if greatest <= least || !(greatest - least).is_finite() {
        return Vec::new();
    }
    let mut bins = vec![0; BINS];
    for number in numbers {
        // Between 0 and 1, so the place is within the bins.
        let place = ((number - least) / (greatest - least) * BINS as f64) as usize;
        bins[place.min(BINS - 1)] += 1;
    }
    bins
}

/// A column as floats, for drawing only.
fn as_floats(column: &ArrayRef) -> Option<ArrayRef> {
    let whole = match column.data_type() {
        DataType::Date32 => cast_array(column, &DataType::Int32).ok()?,
        kind if kind.is_temporal() => cast_array(column, &DataType::Int64).ok()?,
        _ => column.clone(),
    };
    cast_array(&whole, &DataType::Float64).ok()
}

/// How often each value of a column stands, the most frequent first.
fn values(rows: &Rows, position: usize) -> Vec<(String, u64)> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for batch in &rows.batches {
        let column = batch.column(position);
        for row in (0..batch.num_rows()).filter(|row| column.is_valid(*row)) {
            *counts.entry(array_value_to_string(column, row).unwrap_or_default()).or_default() += 1;
        }
    }
    let mut values: Vec<(String, u64)> = counts.into_iter().collect();
    values.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    values
}
