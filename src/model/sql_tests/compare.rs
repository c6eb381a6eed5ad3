//! What is missing and what is too much, as a person reads it.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Float64Type},
    util::display::array_value_to_string,
};

/// Compares two sets of rows over some columns; rows count as often as they stand. Nothing differs where the answer is empty. Rows that
/// agree in `key` are one row gone wrong; where the key is not among the columns, those that agree in the first.
pub(super) fn differences(expected: &RecordBatch, found: &[RecordBatch], columns: &[String], key: &[String]) -> Vec<String> {
    let key: Option<Vec<usize>> = key.iter().map(|name| columns.iter().position(|column| column == name)).collect();
    let key = key.filter(|key| !key.is_empty()).unwrap_or_else(|| vec![0]);
    let named = |row: &[String]| key.iter().filter_map(|column| row.get(*column)).cloned().collect::<Vec<_>>();
    let mut counts: BTreeMap<Vec<String>, i64> = BTreeMap::new();
    for row in 0..expected.num_rows() {
        *counts.entry(cells(expected, row, columns)).or_default() -= 1;
    }
    for batch in found {
        for row in 0..batch.num_rows() {
            *counts.entry(cells(batch, row, columns)).or_default() += 1;
        }
    }
    let missing: Vec<&Vec<String>> = rows(&counts, |count| -count);
    let extra: Vec<&Vec<String>> = rows(&counts, |count| count);
    if missing.is_empty() && extra.is_empty() {
        return Vec::new();
    }
    let mut lines = Vec::new();
    let mut left = extra;
    for row in missing {
        match left.iter().position(|other| named(other) == named(row)) {
            Some(position) => {
                let other = left.remove(position);
                let apart: Vec<String> = (0..columns.len())
                    .filter(|column| row[*column] != other[*column])
                    .map(|column| format!("{}: expected {}, found {}", columns[column], row[column], other[column]))
                    .collect();
                lines.push(format!("~ {}: {}", named(row).join(", "), apart.join("; ")));
            }
            None => lines.push(format!("- missing: {}", line(columns, row))),
        }
    }
    lines.extend(left.into_iter().map(|row| format!("+ not expected: {}", line(columns, row))));
    lines
}

fn rows(counts: &BTreeMap<Vec<String>, i64>, times: impl Fn(i64) -> i64) -> Vec<&Vec<String>> {
    counts.iter().flat_map(|(row, count)| std::iter::repeat_n(row, usize::try_from(times(*count)).unwrap_or(0))).collect()
}

fn line(columns: &[String], row: &[String]) -> String {
    columns.iter().zip(row).map(|(column, cell)| format!("{column} = {cell}")).collect::<Vec<_>>().join(", ")
}

/// Text in quotation marks, so that NULL, empty text and the word `null` look different.
fn cells(batch: &RecordBatch, row: usize, columns: &[String]) -> Vec<String> {
    let cell = |name: &String| {
        let Some(column) = batch.column_by_name(name) else { return "absent".to_owned() };
        if column.is_null(row) {
            return "null".to_owned();
        }
        match column.data_type() {
            DataType::Utf8 => format!("{:?}", column.as_string::<i32>().value(row)),
            // Floats are compared to nine digits: what adds up in another order differs in the last ones.
            DataType::Float64 => format!("{:.9e}", column.as_primitive::<Float64Type>().value(row)),
            _ => array_value_to_string(column, row).unwrap_or_default(),
        }
    };
    columns.iter().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn batch(rows: &[(&str, Option<i64>)]) -> RecordBatch {
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)));
        let counts: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1)));
        RecordBatch::try_from_iter([("id", ids), ("n", counts)]).unwrap()
    }

    fn columns() -> Vec<String> {
        vec!["id".into(), "n".into()]
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_their_number_does() {
        let (a, b) = (batch(&[("a", Some(1)), ("b", None)]), batch(&[("b", None), ("a", Some(1))]));
        assert!(differences(&a, std::slice::from_ref(&b), &columns(), &[]).is_empty());
        assert_eq!(differences(&a, &[b.clone(), b], &columns(), &[]).len(), 2);
    }

    #[test]
    fn a_difference_names_the_column() {
        let lines = differences(&batch(&[("a", Some(1))]), &[batch(&[("a", None), ("c", Some(3))])], &columns(), &[]);
        assert_eq!(lines, ["~ \"a\": n: expected 1, found null", "+ not expected: id = \"c\", n = 3"]);
        assert!(differences(&batch(&[("a", Some(1))]), &[batch(&[("a", None)])], &["id".to_owned()], &[]).is_empty());
        let by_key = |key: &[&str]| {
            let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
            differences(&batch(&[("a", Some(1))]), &[batch(&[("b", Some(1))])], &columns(), &key)
        };
        assert_eq!(by_key(&["n"]), ["~ 1: id: expected \"a\", found \"b\""]);
        assert_eq!(by_key(&["id", "n"]).len(), 2);
        assert_eq!(by_key(&["absent"]).len(), 2, "then by the first column");
    }
}
