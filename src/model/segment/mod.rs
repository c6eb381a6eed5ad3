//! Who is in a segment, what is known of them, who came and who left.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Int64Type},
    util::display::array_value_to_string,
};
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use serde::Serialize;

use super::{
    BrandDefaults, Library, ModelError, params,
    shape::{self, cast, quoted},
};
use crate::{
    diagnosis::Diagnosis,
    engine::{Engine, Origin, Query, Session},
    lake::Lake,
};

/// What is known of a column of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
}

/// A segment as its SQL file stands now, computed from what was last built; nothing is written.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The segment.
    pub name: String,
    /// How many people are in it.
    pub rows: u64,
    /// What is known of its columns.
    pub columns: Vec<ColumnStatistics>,
    /// Its first rows, by key.
    pub sample: Vec<RecordBatch>,
    /// Against the published segment; none where none is published.
    pub change: Option<Difference>,
}

/// Who came and who left between two versions of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The people only the later one has, sorted.
    pub entered: Vec<String>,
    /// The people only the earlier one had, sorted.
    pub left: Vec<String>,
    /// How many are in both.
    pub stayed: u64,
}

/// Runs a segment's SQL file on the tables readers see, as of `as_of`, and shows `sample` of its rows.
///
/// # Errors
/// Where there is no such segment, a table it reads was never built, or its SQL is wrong.
#[allow(clippy::too_many_arguments)] // Every one is handed through from the command line.
pub async fn preview(
    library: &Library,
    engine: &Engine,
    lake: &Lake,
    published: &BTreeMap<String, i64>,
    name: &str,
    as_of: DateTime<Utc>,
    brand: &BrandDefaults,
    sample: usize,
) -> Result<Preview, ModelError> {
    let file = library.segment(name)?;
    if let Some(problem) = file.problems().first() {
        return Err(ModelError::wrong(problem.clone()));
    }
    let mut tables = BTreeMap::new();
    for table in file.tables() {
        let Some(version) = published.get(&table) else {
            let diagnosis = file.at_word(Diagnosis::new("not_built", format!("`{table}` was not built yet")), &table);
            return Err(ModelError::wrong(diagnosis.hint("run `perennial build` first")));
        };
        let provider = lake.provider(&table, Some(*version)).await?;
        tables.insert(table, provider);
    }
    let session = engine.session(tables)?;
    let query = file.query(&params::always(as_of, brand));
    let found = session.schema(&query).await?;
    let place = file.place();
    let shape = shape::of_result(&found).map_err(|why| ModelError::wrong(place.put(Diagnosis::new("column_type", why), place.line)))?;
    if let Some(problem) = super::check::result_problem(file, &shape.schema) {
        return Err(ModelError::wrong(problem));
    }
    // The segment is computed once and then looked at from several sides.
    let result = engine.session(BTreeMap::from([("result".to_owned(), session.view(&query).await?)]))?;
    let key: Vec<String> = file.front.key.iter().map(|column| quoted(column)).collect();
    let rows = collect(&result, &format!("select {} from result order by {}", shape.select, key.join(", "))).await?;
    let now = super::check::table_of(&shape.schema, rows.clone()).map_err(|error| {
        ModelError::wrong(Diagnosis::new("internal", format!("the rows of `{name}` could not be kept in memory: {error}")))
    })?;
    let columns = statistics(engine, &now, &file.columns).await?;
    let change = match published.get(name) {
        Some(version) => Some(compare(engine, lake.provider(name, Some(*version)).await?, now).await?),
        None => None,
    };
    let count = rows.iter().map(RecordBatch::num_rows).sum::<usize>();
    Ok(Preview { name: name.to_owned(), rows: count as u64, columns, sample: first(&rows, sample), change })
}

/// Who came and who left between two versions of a segment, each in its own lake: yesterday's and today's, or the live one and a replay's.
///
/// # Errors
/// Where one of them cannot be read.
pub async fn difference(engine: &Engine, name: &str, earlier: (&Lake, i64), later: (&Lake, i64)) -> Result<Difference, ModelError> {
    let earlier = earlier.0.provider(name, Some(earlier.1)).await?;
    let later = later.0.provider(name, Some(later.1)).await?;
    compare(engine, earlier, later).await
}

async fn compare(engine: &Engine, earlier: Arc<dyn TableProvider>, later: Arc<dyn TableProvider>) -> Result<Difference, ModelError> {
    let session = engine.session(BTreeMap::from([("earlier".to_owned(), earlier), ("later".to_owned(), later)]))?;
    let only = |here: &str, there: &str| {
        format!(
            "select {} as id from (select distinct customer_id from {here}) a left anti join {there} b on a.customer_id = b.customer_id \
             order by id",
            cast("a.customer_id", &DataType::Utf8)
        )
    };
    let ids = |rows: Vec<RecordBatch>| -> Vec<String> {
        let columns = rows.iter().filter_map(|batch| batch.column(0).as_string_opt::<i32>());
        columns.flat_map(|column| column.iter().flatten().map(str::to_owned)).collect()
    };
    let entered = ids(collect(&session, &only("later", "earlier")).await?);
    let left = ids(collect(&session, &only("earlier", "later")).await?);
    let both = "select count(distinct a.customer_id) from later a left semi join earlier b on a.customer_id = b.customer_id";
    let stayed = collect(&session, both).await?;
    let stayed = stayed.iter().filter(|batch| batch.num_rows() > 0).map(|batch| batch.column(0).as_primitive::<Int64Type>().value(0));
    Ok(Difference { entered, left, stayed: stayed.sum::<i64>().unsigned_abs() })
}

async fn statistics(
    engine: &Engine,
    table: &Arc<dyn TableProvider>,
    comments: &BTreeMap<String, String>,
) -> Result<Vec<ColumnStatistics>, ModelError> {
    let session = engine.session(BTreeMap::from([("result".to_owned(), Arc::clone(table))]))?;
    let mut columns = Vec::new();
    for field in table.schema().fields() {
        let name = quoted(field.name());
        let ordered = !field.data_type().is_nested() && *field.data_type() != DataType::Boolean;
        let ends = match ordered {
            true => format!("{}, {}", cast(&format!("min({name})"), &DataType::Utf8), cast(&format!("max({name})"), &DataType::Utf8)),
            false => format!("{0}, {0}", cast("null", &DataType::Utf8)),
        };
        let distinct = if field.data_type().is_nested() { "0".to_owned() } else { format!("count(distinct {name})") };
        let found = collect(&session, &format!("select count(*) - count({name}), {distinct}, {ends} from result")).await?;
        let Some(row) = found.iter().find(|batch| batch.num_rows() == 1) else { continue };
        let number = |column: usize| row.column(column).as_primitive::<Int64Type>().value(0).unsigned_abs();
        let text = |column: usize| {
            let column = row.column(column);
            column.is_valid(0).then(|| array_value_to_string(column, 0).unwrap_or_default())
        };
        columns.push(ColumnStatistics {
            name: field.name().clone(),
            kind: field.data_type().to_string(),
            description: comments.get(field.name()).cloned(),
            nulls: number(0),
            distinct: number(1),
            min: text(2),
            max: text(3),
        });
    }
    Ok(columns)
}

async fn collect(session: &Session, sql: &str) -> Result<Vec<RecordBatch>, ModelError> {
    Ok(session.collect(&Query { sql, origin: Origin { file: None, line: 1 }, params: BTreeMap::new() }).await?)
}

fn first(rows: &[RecordBatch], count: usize) -> Vec<RecordBatch> {
    let mut left = count;
    let mut kept = Vec::new();
    for batch in rows {
        let take = batch.num_rows().min(left);
        if take > 0 {
            kept.push(batch.slice(0, take));
        }
        left -= take;
    }
    kept
}
