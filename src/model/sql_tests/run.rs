//! One case, run in a session of its own.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use chrono::{DateTime, Utc};
use datafusion::{catalog::TableProvider, scalar::ScalarValue};

use super::{
    CaseOutcome,
    compare::differences,
    format::{Case, Rows},
    rows::{instant, typed},
};
use crate::{
    config::nearest,
    diagnosis::{Diagnose, Diagnosis},
    engine::{Engine, EngineError, Origin, Query, part_of},
    model::{
        Kind, Library, SqlFile, canonical,
        check::{Planner, table_of},
        params, shape,
        shape::quoted,
    },
};

/// The columns of the tables a case may give, as far as they are known; of a file whose SQL is wrong, what is wrong.
pub(super) type Columns = BTreeMap<String, Result<SchemaRef, Box<Diagnosis>>>;

/// The columns of every table the cases give.
pub(super) async fn columns(library: &Library, engine: &Engine, raw: &BTreeMap<String, SchemaRef>, cases: &[Case]) -> Columns {
    let mut planner = Planner::new(library, engine, raw);
    let mut columns = Columns::new();
    for name in cases.iter().flat_map(|case| tested(library, case).map(|file| needed(library, file, &case.given)).unwrap_or_default()) {
        if columns.contains_key(&name) {
            continue;
        }
        let given = || cases.iter().any(|case| case.given.contains_key(&name));
        let known = match library.get(&name).filter(|file| file.kind != Kind::Staging) {
            // What is computed in every case need not be known before.
            Some(_) if !given() => continue,
            Some(_) => planner.plan_upto(&name).await.map_err(Box::new),
            None => Ok(planner.columns(&name).cloned()),
        };
        if let Some(known) = known.transpose() {
            columns.insert(name, known);
        }
    }
    columns
}

/// What of a case cannot be read: its time, its rows of canonical tables.
pub(super) fn problems(case: &Case) -> Vec<Diagnosis> {
    let rows = case.given.iter().filter_map(|(name, rows)| {
        let table = canonical::canonical(name)?;
        typed(name, rows, case.default.get(name), &table.schema).err()
    });
    let time = as_of(case).err();
    time.into_iter().chain(rows.map(|why| problem(case, why))).collect()
}

/// The logical time of a case.
fn as_of(case: &Case) -> Result<DateTime<Utc>, Diagnosis> {
    let written = case.as_of.as_str().map_or_else(|| case.as_of.to_string(), str::to_owned);
    instant(&written).ok_or_else(|| problem(case, format!("`{written}` is not an instant such as 2026-11-22T01:00:00Z")))
}

/// Runs a case.
///
/// # Errors
/// Where the test or the SQL cannot be used.
pub(super) async fn run(library: &Library, engine: &Engine, columns: &Columns, case: &Case) -> Result<CaseOutcome, Diagnosis> {
    let file = tested(library, case).map_err(|told| *told)?;
    let always = params::always(as_of(case)?, &case.brand);
    let read = needed(library, file, &BTreeMap::new());
    if let Some(table) = case.given.keys().find(|table| !read.contains(table)) {
        let diagnosis = problem(case, format!("`{}` does not read `{table}`", file.name));
        return Err(match nearest(table, read.iter().map(String::as_str)) {
            Some(near) => diagnosis.hint(format!("did you mean `{near}`?")),
            None => diagnosis.hint(format!("it reads: {}", read.join(", "))),
        });
    }
    let mut tables: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::new();
    for name in &needed(library, file, &case.given) {
        let computed = library.get(name).filter(|file| file.kind != Kind::Staging);
        let table = match (case.given.get(name), computed) {
            (None, Some(upstream)) => result(engine, upstream, None, case, &always, &tables).await?.table,
            (given, _) => {
                let known = columns.get(name).cloned().transpose().map_err(|told| *told)?;
                let schema = known.ok_or_else(|| problem(case, format!("the columns of `{name}` are not known: no source declares it")))?;
                let rows = given.cloned().unwrap_or(Rows::Tables(Vec::new()));
                let rows = typed(name, &rows, case.default.get(name), &schema).map_err(|why| problem(case, why))?;
                table_of(&rows.rows.schema(), vec![rows.rows]).map_err(|error| problem(case, error.to_string()))?
            }
        };
        tables.insert(name.clone(), table);
    }
    let mut lines = Vec::new();
    for (part, rows) in &case.expect {
        let found = result(engine, file, part.as_deref(), case, &always, &tables).await?;
        let apart = compared(case, file, rows, &found)?;
        lines.extend(apart.into_iter().map(|line| match part {
            Some(part) => format!("in `{part}`: {line}"),
            None => line,
        }));
    }
    Ok(if lines.is_empty() { CaseOutcome::Passed } else { CaseOutcome::Failed(lines) })
}

/// What differs between the rows expected and those found.
fn compared(case: &Case, file: &SqlFile, expect: &Rows, found: &Found) -> Result<Vec<String>, Diagnosis> {
    let schema = found.table.schema();
    let expected = typed("expect", expect, None, &schema).map_err(|why| problem(case, why))?;
    let all: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    if !case.partial && expected.rows.num_rows() > 0 && expected.named != all {
        let unnamed: Vec<&str> = all.iter().filter(|column| !expected.named.contains(column)).map(String::as_str).collect();
        let message = format!("`expect` says nothing about {}", unnamed.join(", "));
        return Err(
            problem(case, message).hint("name them (`{}` is NULL), or set `partial = true` to compare only the columns that are named")
        );
    }
    let columns = if case.partial { expected.named } else { all };
    Ok(differences(&expected.rows, &found.rows, &columns, &file.front.key))
}

fn problem(case: &Case, message: String) -> Diagnosis {
    let diagnosis = Diagnosis::new("test", message).in_file(&case.file);
    match case.line {
        Some(line) => diagnosis.at(line, 1),
        None => diagnosis,
    }
}

fn tested<'l>(library: &'l Library, case: &Case) -> Result<&'l SqlFile, Box<Diagnosis>> {
    let file = library.get(&case.test).ok_or_else(|| {
        let diagnosis = problem(case, format!("there is no SQL file `{}` to test", case.test));
        match nearest(&case.test, library.files().map(|file| file.name.as_str())) {
            Some(near) => Box::new(diagnosis.hint(format!("did you mean `{near}`?"))),
            None => Box::new(diagnosis),
        }
    })?;
    match file.problems().first() {
        Some(problem) => Err(problem.clone().into()),
        None => Ok(file),
    }
}

/// What the tested file reads, directly or through files whose rows are not given, each after what it reads itself. Canonical tables are
/// given, not built.
fn needed(library: &Library, file: &SqlFile, given: &BTreeMap<String, Rows>) -> Vec<String> {
    if file.kind == Kind::Staging {
        return file.tables().into_iter().collect();
    }
    let mut found: Vec<String> = Vec::new();
    let mut open: Vec<String> = file.tables().into_iter().collect();
    while let Some(name) = open.pop() {
        if !found.contains(&name) {
            if !given.contains_key(&name) {
                open.extend(library.get(&name).map(SqlFile::tables).unwrap_or_default());
            }
            found.push(name);
        }
    }
    let order = library.graph().order().tables;
    found.sort_by_key(|name| order.iter().position(|ordered| ordered == name));
    found
}

/// A file's rows, and the table they make for whoever reads them.
struct Found {
    rows: Vec<RecordBatch>,
    table: Arc<dyn TableProvider>,
}

/// A file's rows over these tables, or those of one of its `with` clauses, in the shape a table holds.
async fn result(
    engine: &Engine,
    file: &SqlFile,
    part: Option<&str>,
    case: &Case,
    always: &BTreeMap<String, ScalarValue>,
    tables: &BTreeMap<String, Arc<dyn TableProvider>>,
) -> Result<Found, Diagnosis> {
    let told = |error: EngineError| error.diagnosis();
    let read = file.tables();
    let own = tables.iter().filter(|(name, _)| read.contains(*name)).map(|(name, table)| (name.clone(), Arc::clone(table)));
    let session = engine.session(own.collect()).map_err(told)?;
    let mut query = file.query(always);
    if file.name == case.test {
        for (name, value) in &case.params {
            let Some(default) = file.front.params.get(name) else {
                return Err(problem(case, format!("`{}` has no parameter `{name}`", file.name)));
            };
            let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let value = params::parse_like(default, &written).map_err(|why| problem(case, format!("the parameter `{name}`: {why}")))?;
            query.params.insert(name.clone(), value);
        }
    }
    let of_part = part.map(|part| part_of(query.sql, part, query.origin)).transpose();
    let of_part = of_part.map_err(|error| problem(case, error.diagnosis().message).hint(error.diagnosis().hint.unwrap_or_default()))?;
    let query = Query { sql: of_part.as_deref().unwrap_or(query.sql), ..query };
    let columns = session.schema(&query).await.map_err(told)?;
    let shape = shape::of_result(&columns).map_err(|why| {
        let place = file.place();
        place.put(Diagnosis::new("column_type", why), place.line)
    })?;
    let view = session.view(&query).await.map_err(told)?;
    let inner = engine.session(BTreeMap::from([(file.name.clone(), view)])).map_err(told)?;
    let sql = format!("select {} from {}", shape.select, quoted(&file.name));
    let shaped = Query { sql: &sql, origin: Origin::NOWHERE, params: BTreeMap::new() };
    // Computed once, however often others read it.
    let rows = inner.collect(&shaped).await.map_err(|error| {
        let told = error.diagnosis();
        let told = Diagnosis { message: format!("`{}`: {}", file.name, told.message), ..told };
        if told.file.is_some() { told } else { told.in_file(&file.path) }
    })?;
    let table = table_of(&shape.schema, rows.clone()).map_err(|error| problem(case, error.to_string()))?;
    Ok(Found { rows, table })
}
