//! Who came, who left, and what changed of those who stayed.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Int64Type, Schema},
};
use datafusion::catalog::TableProvider;
use serde::Serialize;

use super::{
    super::shape::{cast, quoted},
    ModelError, collect,
};
use crate::engine::Engine;

/// How many changed people are told with their values.
const TOLD: usize = 1000;

/// What is different between two versions of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The people only the later one has, sorted.
    pub entered: Vec<String>,
    /// The people only the earlier one had, sorted.
    pub left: Vec<String>,
    /// How many are in both.
    pub stayed: u64,
    /// Of those, how many have another value in some column both versions have.
    pub changed: u64,
    /// By column, how many have another value in it; columns in which nobody has are left out.
    pub columns: BTreeMap<String, u64>,
    /// The first of the changed people, by id.
    pub rows: Vec<ChangedRow>,
    /// Columns only the later version has.
    pub new_columns: Vec<String>,
    /// Columns only the earlier version had.
    pub gone_columns: Vec<String>,
}

/// Somebody in both versions, of whom something is different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedRow {
    /// The person.
    pub customer_id: String,
    /// By column, the value before and after; none is null.
    pub columns: BTreeMap<String, (Option<String>, Option<String>)>,
}

pub(super) async fn between(
    engine: &Engine,
    earlier: Arc<dyn TableProvider>,
    later: Arc<dyn TableProvider>,
) -> Result<Difference, ModelError> {
    let (before, after) = (earlier.schema(), later.schema());
    let session = engine.session(BTreeMap::from([("earlier".to_owned(), earlier), ("later".to_owned(), later)]))?;
    let only = |here: &str, there: &str| {
        format!(
            "select {} as id from (select distinct customer_id from {here}) a left anti join {there} b on a.customer_id = b.customer_id \
             order by id",
            text("a", "customer_id")
        )
    };
    let ids = |rows: Vec<RecordBatch>| -> Vec<String> {
        let columns = rows.iter().filter_map(|batch| batch.column(0).as_string_opt::<i32>());
        columns.flat_map(|column| column.iter().flatten().map(str::to_owned)).collect()
    };
    let entered = ids(collect(&session, &only("later", "earlier")).await?);
    let left = ids(collect(&session, &only("earlier", "later")).await?);
    let lacking = |has: &Schema, lacks: &Schema| -> Vec<String> {
        let lacking = has.fields().iter().filter(|field| lacks.column_with_name(field.name()).is_none());
        lacking.map(|field| field.name().clone()).collect()
    };
    let comparable =
        |name: &str| [&before, &after].iter().all(|schema| schema.field_with_name(name).is_ok_and(|f| !f.data_type().is_nested()));
    let compared: Vec<&str> =
        after.fields().iter().map(|field| field.name().as_str()).filter(|name| *name != "customer_id" && comparable(name)).collect();

    let unlike = |name: &&str| format!("({} is distinct from {})", text("e", name), text("l", name));
    let any = match compared.is_empty() {
        true => "false".to_owned(),
        false => compared.iter().map(unlike).collect::<Vec<_>>().join(" or "),
    };
    let counts: Vec<String> = compared.iter().map(|name| format!("count(*) filter (where {})", unlike(name))).collect();
    let both = "from later l join earlier e on l.customer_id = e.customer_id";
    let counts = [vec!["count(*)".to_owned(), format!("count(*) filter (where {any})")], counts].concat();
    // Names of their own, since no two columns may have the same.
    let counts: Vec<String> = counts.iter().enumerate().map(|(position, count)| format!("{count} as n{position}")).collect();
    let counted = collect(&session, &format!("select {} {both}", counts.join(", "))).await?;
    let number = |column: usize| {
        let rows = counted.iter().filter(|batch| batch.num_rows() > 0);
        rows.map(|batch| batch.column(column).as_primitive::<Int64Type>().value(0)).sum::<i64>().unsigned_abs()
    };
    let (stayed, changed) = (number(0), number(1));
    let columns: BTreeMap<String, u64> =
        compared.iter().enumerate().map(|(position, name)| ((*name).to_owned(), number(position + 2))).filter(|(_, n)| *n > 0).collect();

    let shown: Vec<&str> = compared.into_iter().filter(|name| columns.contains_key(*name)).collect();
    let mut rows = Vec::new();
    if !shown.is_empty() {
        let pairs = shown.iter().enumerate().map(|(at, name)| format!("{} as b{at}, {} as a{at}", text("e", name), text("l", name)));
        let pairs = pairs.collect::<Vec<_>>().join(", ");
        let sql = format!("select {} as id, {pairs} {both} where {any} order by id limit {TOLD}", text("l", "customer_id"));
        for batch in collect(&session, &sql).await? {
            rows.extend((0..batch.num_rows()).map(|row| changed_row(&batch, row, &shown)));
        }
    }
    Ok(Difference {
        entered,
        left,
        stayed,
        changed,
        columns,
        rows,
        new_columns: lacking(&after, &before),
        gone_columns: lacking(&before, &after),
    })
}

/// A column as text, so that versions with other types can be compared.
fn text(table: &str, column: &str) -> String {
    cast(&format!("{table}.{}", quoted(column)), &DataType::Utf8)
}

fn changed_row(batch: &RecordBatch, row: usize, shown: &[&str]) -> ChangedRow {
    let text = |column: usize| {
        let column = batch.column(column).as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let pairs = shown.iter().enumerate().map(|(at, name)| ((*name).to_owned(), (text(2 * at + 1), text(2 * at + 2))));
    ChangedRow { customer_id: text(0).unwrap_or_default(), columns: pairs.filter(|(_, (before, after))| before != after).collect() }
}
