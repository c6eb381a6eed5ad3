//! Everything that can be known to be wrong before a run: each file is planned against the columns its inputs will have.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{Schema, SchemaRef};
use chrono::DateTime;
use datafusion::{
    catalog::TableProvider,
    common::DataFusionError,
    datasource::{MemTable, empty::EmptyTable},
    scalar::ScalarValue,
};

use super::{BrandDefaults, Kind, Library, ModelError, SqlFile, audits::Audit, canonical, params, shape, staging::column_problem};
use crate::{
    config::nearest,
    diagnosis::{Diagnose, Diagnosis, Finding},
    engine::{Engine, EngineError, Query},
};

/// What is wrong with a file's columns, known from their names and types: a key or an audited column that is not there, a segment
/// without people.
pub(crate) fn result_problem(file: &SqlFile, columns: &Schema) -> Option<Diagnosis> {
    let names: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
    let place = file.place();
    if file.kind == Kind::Segment && !names.contains(&"customer_id") {
        let message = format!("the segment `{}` does not return `customer_id`", file.name);
        return Some(
            place
                .put(Diagnosis::new("missing_column", message), place.line)
                .hint("a segment is a list of people; select their customer_id"),
        );
    }
    let of_key = file.front.key.iter().map(|column| (column.as_str(), 1, "the key names"));
    let of_audits = file.front.audits.iter();
    let of_audits = of_audits.flat_map(|placed| placed.audit.columns().into_iter().map(|column| (column, placed.line, "an audit names")));
    let (column, line, who) = of_key.chain(of_audits).find(|(column, ..)| !names.contains(column))?;
    let diagnosis = place.put(Diagnosis::new("unknown_column", format!("{who} `{column}`, which `{}` does not return", file.name)), line);
    Some(match nearest(column, names.iter().copied()) {
        Some(near) => diagnosis.hint(format!("did you mean `{near}`?")),
        None => diagnosis.hint(format!("its columns are: {}", names.join(", "))),
    })
}

/// Plans files one after the other and remembers what columns each returns.
pub(crate) struct Planner<'a> {
    library: &'a Library,
    engine: &'a Engine,
    raw: &'a BTreeMap<String, SchemaRef>,
    always: BTreeMap<String, ScalarValue>,
    /// The columns of every built table that could be planned.
    known: BTreeMap<String, SchemaRef>,
    /// What is worth a look in the files planned so far.
    findings: Vec<Finding>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(library: &'a Library, engine: &'a Engine, raw: &'a BTreeMap<String, SchemaRef>) -> Self {
        let known = canonical::canonical_tables().into_iter().chain(canonical::ledger_tables());
        let brand = BrandDefaults { locale: "en-GB".to_owned(), timezone: "UTC".to_owned(), currency: "EUR".to_owned() };
        Self {
            library,
            engine,
            raw,
            always: params::always(DateTime::UNIX_EPOCH, &brand),
            known: known.map(|table| (table.name.to_owned(), table.schema)).collect(),
            findings: Vec::new(),
        }
    }

    /// The columns of a table: raw, canonical, of the ledger, or of a file that was planned.
    pub(crate) fn columns(&self, name: &str) -> Option<&SchemaRef> {
        self.known.get(name).or_else(|| self.raw.get(name))
    }

    /// Plans a model, segment or metric; its inputs must have been planned. `None` where one of them could not be.
    async fn plan(&mut self, file: &SqlFile) -> Result<Option<SchemaRef>, Diagnosis> {
        let mut tables: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::new();
        for name in file.tables() {
            match self.known.get(&name) {
                Some(schema) => tables.insert(name, Arc::new(EmptyTable::new(Arc::clone(schema)))),
                None => return Ok(None),
            };
        }
        let found = self.result(file, tables).await?;
        let shape = shape::of_result(&found).map_err(|why| {
            let place = file.place();
            place.put(Diagnosis::new("column_type", why), place.line)
        })?;
        if let Some(problem) = result_problem(file, &shape.schema) {
            return Err(problem);
        }
        self.known.insert(file.name.clone(), Arc::clone(&shape.schema));
        let audited = file.audited_tables().into_iter().chain([file.name.clone()]).filter_map(|name| {
            let schema = self.known.get(&name)?;
            Some((name, Arc::new(EmptyTable::new(Arc::clone(schema))) as Arc<dyn TableProvider>))
        });
        self.plan_audits(file, &audited.collect()).await?;
        Ok(Some(shape.schema))
    }

    /// Plans a staging file against the declared raw columns.
    async fn plan_staging(&mut self, file: &SqlFile) -> Result<Option<SchemaRef>, Diagnosis> {
        let mut tables: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::new();
        let (read, audited) = (file.tables(), file.audited_tables());
        for name in read.union(&audited) {
            let Some(schema) = self.raw.get(name).cloned().or_else(|| canonical::ledger(name).map(|table| table.schema)) else {
                let diagnosis = file.at_word(Diagnosis::new("unknown_table", format!("no source has a stream `{name}`")), name);
                let hint = match nearest(name, self.raw.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "a source's tables are called `<source>__<stream>`, as config/sources/<source>.toml declares them".to_owned(),
                };
                return Err(diagnosis.hint(hint));
            };
            tables.insert(name.clone(), Arc::new(EmptyTable::new(schema)));
        }
        let found = self.result(file, tables.clone()).await?;
        let table = file.staged().and_then(|(_, table)| canonical::canonical(table));
        match table.and_then(|table| column_problem(&table, file, &found)) {
            Some(problem) => return Err(problem),
            None => result_problem(file, &found).map_or(Ok(()), Err)?,
        }
        // An audit names the file's rows by the file's name, also where a raw table has that name, too.
        tables.insert(file.name.clone(), Arc::new(EmptyTable::new(Arc::clone(&found))));
        self.plan_audits(file, &tables).await?;
        Ok(Some(found))
    }

    async fn result(&mut self, file: &SqlFile, tables: BTreeMap<String, Arc<dyn TableProvider>>) -> Result<SchemaRef, Diagnosis> {
        let told = |error: EngineError| error.diagnosis();
        let (columns, findings) = self.engine.session(tables).map_err(told)?.prove(&file.query(&self.always)).await.map_err(told)?;
        self.findings.extend(findings);
        Ok(columns)
    }

    /// Plans a file's audits over the tables they may name.
    async fn plan_audits(&self, file: &SqlFile, tables: &BTreeMap<String, Arc<dyn TableProvider>>) -> Result<(), Diagnosis> {
        for placed in &file.front.audits {
            match &placed.audit {
                Audit::Select(sql) => {
                    let session = self.engine.session(tables.clone()).map_err(|error| error.diagnosis())?;
                    let query = Query { sql, origin: placed.origin(&file.path), params: file.bound(&self.always) };
                    session.schema(&query).await.map_err(|error| placed.put(error.diagnosis()))?;
                }
                Audit::Relationship { table, other, .. }
                    if tables.get(table).is_some_and(|known| known.schema().column_with_name(other).is_none()) =>
                {
                    let message = format!("the audit `{}` names `{other}`, which `{table}` does not have", placed.text);
                    return Err(file.place().put(Diagnosis::new("unknown_column", message), placed.line));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Plans a table and everything it rests on, as far as it can be planned.
    pub(crate) async fn plan_upto(&mut self, name: &str) -> Result<Option<SchemaRef>, Diagnosis> {
        let library = self.library;
        let graph = library.graph();
        let order = graph.order().tables;
        let needed = graph.closure(&[name.to_owned()]);
        for step in order.iter().filter(|step| needed.contains(*step)) {
            if let Some(file) = library.get(step).filter(|_| !self.known.contains_key(step)) {
                if let Some(problem) = file.problems().first() {
                    return Err(problem.clone());
                }
                self.plan(file).await?;
            }
        }
        Ok(self.known.get(name).cloned())
    }
}

/// What is known of all SQL files once each has been planned.
#[derive(Debug, Default)]
pub struct Planned {
    /// What is wrong with them.
    pub findings: Vec<Finding>,
    /// The columns each file returns, by the file's name: of staging as they are written, of the others as tables hold them. None where a
    /// file cannot be planned.
    pub columns: BTreeMap<String, SchemaRef>,
}

impl Library {
    /// Plans each SQL file against the columns its inputs will have: the declared columns of the raw tables, those of the canonical tables,
    /// and those other files return. A file whose input is broken is not told twice.
    pub async fn plan(&self, engine: &Engine, raw: &BTreeMap<String, SchemaRef>) -> Planned {
        let mut findings: Vec<Finding> = self.strays().iter().cloned().map(Finding::error).collect();
        let mut columns = BTreeMap::new();
        let mut planner = Planner::new(self, engine, raw);
        let staging = self.files().filter(|file| file.kind == Kind::Staging);
        let order = self.graph().order().tables;
        let built = order.iter().filter_map(|name| self.get(name));
        for file in staging.chain(built) {
            findings.extend(file.problems().iter().cloned().map(Finding::error));
            findings.extend(file.parsed().map(|parsed| parsed.findings.clone()).unwrap_or_default());
            findings.extend(self.input_ages(file, raw));
            findings.extend(unused_params(file));
            findings.extend(partial_order(file));
            if file.problems().is_empty() {
                let planned = match file.kind {
                    Kind::Staging => planner.plan_staging(file).await,
                    _ => planner.plan(file).await,
                };
                findings.append(&mut planner.findings);
                match planned {
                    Ok(Some(schema)) => drop(columns.insert(file.name.clone(), schema)),
                    Ok(None) => {}
                    Err(problem) => findings.push(Finding::error(file.somewhere(problem))),
                }
            }
        }
        Planned { findings, columns }
    }

    /// The columns a table will have, without any data.
    ///
    /// # Errors
    /// Where there is no such table, or it or what it rests on cannot be planned.
    pub async fn schema_of(&self, engine: &Engine, raw: &BTreeMap<String, SchemaRef>, name: &str) -> Result<SchemaRef, ModelError> {
        let planned = Planner::new(self, engine, raw).plan_upto(name).await.map_err(ModelError::wrong)?;
        planned.or_else(|| raw.get(name).cloned()).ok_or_else(|| {
            let all = self.tables();
            let diagnosis = Diagnosis::new("unknown_table", format!("there is no table `{name}`"));
            ModelError::wrong(match nearest(name, all.iter().map(String::as_str)) {
                Some(near) => diagnosis.hint(format!("did you mean `{near}`?")),
                None => diagnosis,
            })
        })
    }

    /// `inputs = { … }` must name raw tables.
    fn input_ages(&self, file: &SqlFile, raw: &BTreeMap<String, SchemaRef>) -> Vec<Finding> {
        let unknown = file.front.max_age.keys().filter(|table| !raw.contains_key(*table));
        let findings = unknown.map(|table| {
            let diagnosis = Diagnosis::new("unknown_table", format!("`inputs` names `{table}`, and no source has such a stream"));
            let diagnosis = diagnosis.in_file(&file.path).at(1, 1);
            Finding::error(match nearest(table, raw.keys().map(String::as_str)) {
                Some(near) => diagnosis.hint(format!("did you mean `{near}`?")),
                None => diagnosis.hint("name a source's table, such as `shop__orders`"),
            })
        });
        findings.collect()
    }
}

/// A `limit` keeps the same rows in every run only where no two rows are equal in what they are ordered by: where that has the key in it.
fn partial_order(file: &SqlFile) -> Option<Finding> {
    let limited = file.parsed()?.limited.as_ref()?;
    let lacking: Vec<&str> =
        file.front.key.iter().filter(|column| !limited.by.as_ref().is_none_or(|by| by.contains(column))).map(String::as_str).collect();
    if lacking.is_empty() {
        return None;
    }
    let message = "`limit` keeps any of the rows that are equal in what they are ordered by, so two runs may differ";
    let diagnosis = Diagnosis::new("sql_unordered_limit", message).in_file(&file.path);
    let (line, column) = limited.place.unwrap_or((file.place().line, 1));
    Some(Finding::error(diagnosis.at(line, column).hint(format!("add the rest of the key to `order by`: {}", lacking.join(", ")))))
}

fn unused_params(file: &SqlFile) -> Vec<Finding> {
    if file.parsed().is_none() {
        return Vec::new();
    }
    let unused = file.front.params.keys().filter(|name| !file.binds(name));
    let findings = unused.map(|name| {
        let diagnosis = Diagnosis::new("unused_parameter", format!("the parameter `{name}` is not used"));
        Finding::warning(diagnosis.in_file(&file.path).at(1, 1).hint(format!("write `${name}` where its value belongs, or remove it")))
    });
    findings.collect()
}

/// Rows of a known shape as a table; used where tables are given by hand.
pub(crate) fn table_of(schema: &SchemaRef, rows: Vec<arrow::array::RecordBatch>) -> Result<Arc<dyn TableProvider>, DataFusionError> {
    Ok(Arc::new(MemTable::try_new(Arc::clone(schema), vec![rows])?))
}
