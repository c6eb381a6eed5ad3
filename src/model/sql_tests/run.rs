//! One case, run in a session of its own.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;

use super::{
    CaseOutcome,
    compare::differences,
    format::{Case, Rows},
    rows::{instant, typed},
};
use crate::{
    config::nearest,
    diagnosis::{Diagnose, Diagnosis},
    engine::{Engine, Origin, Query},
    model::{
        Kind, Library, SqlFile,
        check::{Planner, table_of},
        params, shape,
        shape::quoted,
    },
};

/// Runs a case.
///
/// # Errors
/// Where the test or the SQL cannot be used.
pub(super) async fn run(
    library: &Library,
    engine: &Engine,
    raw: &BTreeMap<String, SchemaRef>,
    case: &Case,
) -> Result<CaseOutcome, Diagnosis> {
    let file = tested(library, case).map_err(|told| *told)?;
    let as_of = case.as_of.as_str().map_or_else(|| case.as_of.to_string(), str::to_owned);
    let as_of = instant(&as_of).ok_or_else(|| problem(case, format!("`{as_of}` is not an instant such as 2026-11-22T01:00:00Z")))?;
    let always = params::always(as_of, &case.brand);
    let needed = needed(library, file);
    for table in case.given.keys() {
        if !needed.iter().any(|needed| needed == table) {
            let diagnosis = problem(case, format!("`{}` does not read `{table}`", file.name));
            return Err(match nearest(table, needed.iter().map(String::as_str)) {
                Some(near) => diagnosis.hint(format!("did you mean `{near}`?")),
                None => diagnosis.hint(format!("it reads: {}", needed.join(", "))),
            });
        }
    }
    let mut planner = Planner::new(library, engine, raw);
    let mut tables: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::new();
    for name in &needed {
        let computed = library.get(name).filter(|file| file.kind != Kind::Staging);
        let table = match (case.given.get(name), computed) {
            (None, Some(upstream)) => result(engine, upstream, case, &always, &tables).await?,
            (given, _) => {
                let schema = match computed {
                    Some(_) => planner.plan_upto(name).await?,
                    None => planner.columns(name).cloned(),
                };
                let schema =
                    schema.ok_or_else(|| problem(case, format!("the columns of `{name}` are not known: no source declares it")))?;
                let rows = given.cloned().unwrap_or(Rows::Tables(Vec::new()));
                let rows = typed(name, &rows, case.default.get(name), &schema).map_err(|why| problem(case, why))?;
                table_of(&rows.rows.schema(), vec![rows.rows]).map_err(|error| problem(case, error.to_string()))?
            }
        };
        tables.insert(name.clone(), table);
    }
    let table = result(engine, file, case, &always, &tables).await?;
    let schema = table.schema();
    let expected = typed("expect", &case.expect, None, &schema).map_err(|why| problem(case, why))?;
    let all: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    if !case.partial && expected.rows.num_rows() > 0 && expected.named != all {
        let unnamed: Vec<&str> = all.iter().filter(|column| !expected.named.contains(column)).map(String::as_str).collect();
        let message = format!("`expect` says nothing about {}", unnamed.join(", "));
        return Err(
            problem(case, message).hint("name them (`{}` is NULL), or set `partial = true` to compare only the columns that are named")
        );
    }
    let session = engine.session(BTreeMap::from([("result".to_owned(), table)])).map_err(|error| error.diagnosis())?;
    let query = Query { sql: "select * from result", origin: Origin { file: None, line: 1 }, params: BTreeMap::new() };
    let found = session.collect(&query).await.map_err(|error| {
        let told = error.diagnosis();
        Diagnosis { message: format!("`{}`: {}", file.name, told.message), ..told }
    })?;
    let columns = if case.partial { expected.named } else { all };
    let lines = differences(&expected.rows, &found, &columns);
    Ok(if lines.is_empty() { CaseOutcome::Passed } else { CaseOutcome::Failed(lines) })
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

/// What the tested file reads, directly or through other files, each after what it reads itself. Canonical tables are given, not built.
fn needed(library: &Library, file: &SqlFile) -> Vec<String> {
    if file.kind == Kind::Staging {
        return file.tables().into_iter().collect();
    }
    let mut found: Vec<String> = Vec::new();
    let mut open: Vec<String> = file.tables().into_iter().collect();
    while let Some(name) = open.pop() {
        if !found.contains(&name) {
            open.extend(library.get(&name).map(SqlFile::tables).unwrap_or_default());
            found.push(name);
        }
    }
    let order = library.graph().order().unwrap_or_default();
    found.sort_by_key(|name| order.iter().position(|ordered| ordered == name));
    found
}

/// A file's rows over these tables, in the shape a table holds, as a table that is computed where it is read.
async fn result(
    engine: &Engine,
    file: &SqlFile,
    case: &Case,
    always: &BTreeMap<String, datafusion::scalar::ScalarValue>,
    tables: &BTreeMap<String, Arc<dyn TableProvider>>,
) -> Result<Arc<dyn TableProvider>, Diagnosis> {
    let told = |error: crate::engine::EngineError| error.diagnosis();
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
    let columns = session.schema(&query).await.map_err(told)?;
    let shape = shape::of_result(&columns).map_err(|why| {
        let place = file.place();
        place.put(Diagnosis::new("column_type", why), place.line)
    })?;
    let view = session.view(&query).await.map_err(told)?;
    let inner = engine.session(BTreeMap::from([(file.name.clone(), view)])).map_err(told)?;
    let sql = format!("select {} from {}", shape.select, quoted(&file.name));
    let shaped = Query { sql: &sql, origin: Origin { file: None, line: 1 }, params: BTreeMap::new() };
    inner.view(&shaped).await.map_err(told)
}
