//! A look at a segment: who is in it, what is known of them, who would come and go. Nothing is written.
//!
//! | file | what it tells |
//! |---|---|
//! | `statistics` | of a column: what is missing, how its values are spread |
//! | `difference` | between two versions: who came, who left, what changed |

mod difference;
mod statistics;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use chrono::{DateTime, Utc};
use datafusion::{catalog::TableProvider, scalar::ScalarValue};
use futures::{FutureExt, future::BoxFuture};

pub use self::{
    difference::{ChangedRow, Difference},
    statistics::ColumnStatistics,
};
use super::{
    BrandDefaults, Kind, Library, ModelError, SqlFile, params,
    shape::{self, quoted},
};
use crate::{
    diagnosis::Diagnosis,
    engine::{Engine, Origin, Query, Session},
    lake::Lake,
};

/// A segment as its SQL file stands now, computed from what was last built.
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

/// What is at hand to look at segments with.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The SQL files.
    pub library: &'a Library,
    /// The engine.
    pub engine: &'a Engine,
    /// The tables.
    pub lake: &'a Lake,
    /// The version of each that readers see.
    pub published: &'a BTreeMap<String, i64>,
    /// The logical time.
    pub as_of: DateTime<Utc>,
    /// The brand's defaults.
    pub brand: BrandDefaults,
    /// Values in place of those the segment's front matter gives its parameters.
    pub params: BTreeMap<String, ScalarValue>,
}

/// The rows of a segment, and their columns.
struct Rows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Rows {
    fn table(&self) -> Result<Arc<dyn TableProvider>, ModelError> {
        super::check::table_of(&self.schema, self.batches.clone())
            .map_err(|error| ModelError::wrong(Diagnosis::new("internal", format!("rows could not be kept in memory: {error}"))))
    }
}

impl Bench<'_> {
    /// Runs a segment's SQL file on the tables readers see, and shows `sample` of its rows.
    ///
    /// # Errors
    /// Where there is no such segment, a table it reads was never built, or its SQL is wrong.
    pub async fn preview(&self, name: &str, sample: usize) -> Result<Preview, ModelError> {
        let file = self.library.segment(name)?;
        let rows = self.rows(self.library, file, &BTreeSet::new()).await?;
        let columns = statistics::of(self.engine, &rows, &file.columns).await?;
        let change = match self.published.get(name) {
            Some(version) => Some(difference::between(self.engine, self.lake.provider(name, Some(*version)).await?, rows.table()?).await?),
            None => None,
        };
        let count = rows.batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        Ok(Preview { name: name.to_owned(), rows: count as u64, columns, sample: first(&rows.batches, sample), change })
    }

    /// The segment as its file stands now, against what readers see.
    ///
    /// # Errors
    /// As [`Bench::preview`], and where the segment was never built.
    pub async fn against_published(&self, name: &str) -> Result<Difference, ModelError> {
        let file = self.library.segment(name)?;
        let Some(version) = self.published.get(name) else { return Err(not_built(file, name)) };
        let rows = self.rows(self.library, file, &BTreeSet::new()).await?;
        difference::between(self.engine, self.lake.provider(name, Some(*version)).await?, rows.table()?).await
    }

    /// The segment as the files stand now, against what `earlier` ones make of the same tables. Models that differ between the two are
    /// computed on both sides; all others are as they were last built.
    ///
    /// # Errors
    /// As [`Bench::preview`], and where the earlier files have no such segment, or are wrong.
    pub async fn against(&self, earlier: &Library, name: &str) -> Result<Difference, ModelError> {
        let anew = self.unlike(earlier, name);
        let now = self.rows(self.library, self.library.segment(name)?, &anew).await?;
        let before = self.rows(earlier, earlier.segment(name)?, &anew).await?;
        difference::between(self.engine, before.table()?, now.table()?).await
    }

    /// The files under a segment that are not the same in both libraries, and what reads them.
    fn unlike(&self, earlier: &Library, name: &str) -> BTreeSet<String> {
        let mut anew = BTreeSet::new();
        for library in [self.library, earlier] {
            let graph = library.graph();
            let under = graph.closure(&[name.to_owned()]);
            for step in graph.order().tables.iter().filter(|step| under.contains(*step)) {
                let Some(file) = library.get(step).filter(|file| file.kind != Kind::Staging) else { continue };
                let same = [self.library, earlier]
                    .iter()
                    .all(|library| library.get(step).is_some_and(|other| other.sql == file.sql && other.front.params == file.front.params));
                if !same || file.tables().iter().any(|table| anew.contains(table)) {
                    anew.insert(step.clone());
                }
            }
        }
        anew
    }

    /// A file's rows by key; the tables named in `anew` are computed, all others are as readers see them.
    async fn rows(&self, library: &Library, file: &SqlFile, anew: &BTreeSet<String>) -> Result<Rows, ModelError> {
        let view = self.view(library, file, anew).await?;
        let schema = view.schema();
        if let Some(problem) = super::check::result_problem(file, &schema) {
            return Err(ModelError::wrong(problem));
        }
        let result = self.engine.session(BTreeMap::from([("result".to_owned(), view)]))?;
        let key: Vec<String> = file.front.key.iter().map(|column| quoted(column)).collect();
        let order = if key.is_empty() { String::new() } else { format!(" order by {}", key.join(", ")) };
        let batches = collect(&result, &format!("select * from result{order}")).await?;
        Ok(Rows { schema, batches })
    }

    /// A file's query as a table, in the shape a build would write.
    fn view<'f>(
        &'f self,
        library: &'f Library,
        file: &'f SqlFile,
        anew: &'f BTreeSet<String>,
    ) -> BoxFuture<'f, Result<Arc<dyn TableProvider>, ModelError>> {
        async move {
            if let Some(problem) = file.problems().first() {
                return Err(ModelError::wrong(problem.clone()));
            }
            let mut tables = BTreeMap::new();
            for table in file.tables() {
                let provider = match (library.get(&table).filter(|_| anew.contains(&table)), self.published.get(&table)) {
                    (Some(upstream), _) => self.view(library, upstream, anew).await?,
                    (None, Some(version)) => self.lake.provider(&table, Some(*version)).await?,
                    (None, None) => return Err(not_built(file, &table)),
                };
                tables.insert(table, provider);
            }
            let session = self.engine.session(tables)?;
            let mut query = file.query(&params::always(self.as_of, &self.brand));
            if file.kind == Kind::Segment {
                query.params.extend(self.params.clone());
            }
            let found = session.schema(&query).await?;
            let place = file.place();
            let shape =
                shape::of_result(&found).map_err(|why| ModelError::wrong(place.put(Diagnosis::new("column_type", why), place.line)))?;
            let inner = self.engine.session(BTreeMap::from([("result".to_owned(), session.view(&query).await?)]))?;
            let shaped = format!("select {} from result", shape.select);
            Ok(inner.view(&own(&shaped)).await?)
        }
        .boxed()
    }
}

fn not_built(file: &SqlFile, table: &str) -> ModelError {
    let diagnosis = file.at_word(Diagnosis::new("not_built", format!("`{table}` was not built yet")), table);
    ModelError::wrong(diagnosis.hint("run `perennial build` first"))
}

fn own(sql: &str) -> Query<'_> {
    Query { sql, origin: Origin::NOWHERE, params: BTreeMap::new() }
}

async fn collect(session: &Session, sql: &str) -> Result<Vec<RecordBatch>, ModelError> {
    Ok(session.collect(&own(sql)).await?)
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

/// Who came and who left between two versions of a segment, each in its own lake: yesterday's and today's, or the live one and a replay's.
///
/// # Errors
/// Where one of them cannot be read.
pub async fn difference(engine: &Engine, name: &str, earlier: (&Lake, i64), later: (&Lake, i64)) -> Result<Difference, ModelError> {
    let earlier = earlier.0.provider(name, Some(earlier.1)).await?;
    let later = later.0.provider(name, Some(later.1)).await?;
    difference::between(engine, earlier, later).await
}
