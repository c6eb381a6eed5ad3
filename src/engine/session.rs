//! Running queries over a set of tables, and trying again in a thriftier way where memory runs out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    catalog::{TableProvider, view::ViewTable},
    error::DataFusionError,
    execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder},
    logical_expr::LogicalPlan,
    physical_plan::{execute_stream, stream::RecordBatchStreamAdapter},
};
use futures::{StreamExt, TryStreamExt};

use super::{
    diagnosis::{Known, TookTooLong, explain},
    error::EngineError,
    planner,
    query::Query,
    select,
    spill::SpillFolder,
    text::{plain_schema, plain_stream},
};
use crate::{
    config::Period,
    diagnosis::Failure,
    lake::{Commit, Lake, LakeError, Written},
};

/// A set of tables that queries can name.
#[derive(Debug, Clone)]
pub struct Session {
    pub(super) state: SessionState,
    pub(super) tables: Arc<BTreeMap<String, Arc<dyn TableProvider>>>,
    pub(super) timeout: Period,
    pub(super) memory_limit: String,
    /// Kept while queries may spill into it.
    pub(super) _spill: Option<Arc<SpillFolder>>,
}

/// One way of running a query; each later one needs less memory and more time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rung {
    hash_join: bool,
    partitions: usize,
}

impl Session {
    /// The columns a query would return; nothing is run.
    ///
    /// # Errors
    /// Where the query cannot be read or planned, with its place.
    pub async fn schema(&self, query: &Query<'_>) -> Result<SchemaRef, EngineError> {
        let plan = self.plan(query)?;
        // Types are settled by the analyzer; a mistake in them shows only there.
        let plan = self.state.optimize(&plan).map_err(|error| self.explain(query, &error))?;
        Ok(plain_schema(plan.schema().as_arrow()))
    }

    /// The query as a table that another session can name; it runs where that session reads it.
    ///
    /// # Errors
    /// Where the query cannot be read or planned, with its place.
    pub async fn view(&self, query: &Query<'_>) -> Result<Arc<dyn TableProvider>, EngineError> {
        let plan = self.plan(query)?;
        // Types are settled here, so that the table's columns are those `schema` tells.
        let analyzed = self.state.analyzer().execute_and_check(plan, self.state.config_options(), |_, _| {});
        let plan = analyzed.map_err(|error| self.explain(query, &error))?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }

    /// The query's rows, as they come. Text columns are `Utf8`, never views.
    ///
    /// Rows already given out cannot be taken back, so a stream is not tried again where memory runs out; [`Session::replace`] is.
    ///
    /// # Errors
    /// Where the query cannot be read, planned or begun. An error in the stream itself becomes a diagnosis by [`Session::explain`].
    pub async fn stream(&self, query: &Query<'_>) -> Result<SendableRecordBatchStream, EngineError> {
        let plan = self.plan(query)?;
        self.begin(&plan, self.rungs()[0]).await.map_err(|error| self.explain(query, &error))
    }

    /// All of the query's rows; what does not fit in memory is tried again with sort-merge joins, then with fewer partitions.
    ///
    /// # Errors
    /// Where the query cannot be read, planned or run, or takes longer than `[engine] timeout`.
    pub async fn collect(&self, query: &Query<'_>) -> Result<Vec<RecordBatch>, EngineError> {
        let plan = self.plan(query)?;
        let mut rungs = self.rungs().into_iter();
        let mut rung = rungs.next();
        loop {
            let Some(way) = rung else {
                return Err(self.explain(query, &DataFusionError::ResourcesExhausted(String::new())));
            };
            let rows = async { self.begin(&plan, way).await?.try_collect().await };
            match rows.await {
                Ok(rows) => return Ok(rows),
                Err(error) => {
                    rung = rungs.next();
                    if !is_exhausted(&error) || rung.is_none() {
                        return Err(self.explain(query, &error));
                    }
                    tell(&error, rung);
                }
            }
        }
    }

    /// Puts the query's rows in place of a table of the lake, without holding them in memory; tried again as [`Session::collect`] is.
    ///
    /// # Errors
    /// Where the query cannot be read, planned or run, or its rows not be written.
    pub async fn replace(&self, query: &Query<'_>, lake: &Lake, table: &str, commit: Commit) -> Result<Written, Failure> {
        let plan = self.plan(query)?;
        let mut rungs = self.rungs().into_iter().peekable();
        while let Some(way) = rungs.next() {
            let stream = self.begin(&plan, way).await.map_err(|error| self.explain(query, &error))?;
            let error = match lake.replace(table, stream.schema(), stream, commit.clone()).await {
                Ok(written) => return Ok(written),
                Err(error) => error,
            };
            match error.source_error() {
                Some(source) if is_exhausted(source) && rungs.peek().is_some() => tell(source, rungs.peek().copied()),
                _ => return Err(self.failure(query, &error)),
            }
        }
        Err(self.explain(query, &DataFusionError::ResourcesExhausted(String::new())).into())
    }

    /// What went wrong while a stream of `query` was read.
    #[must_use]
    pub fn explain(&self, query: &Query<'_>, error: &DataFusionError) -> EngineError {
        let known = Known {
            tables: self.tables.keys().cloned().collect(),
            functions: planner::functions(&self.state),
            params: query.params.keys().cloned().collect(),
            memory_limit: self.memory_limit.clone(),
        };
        explain(error, query.sql, query.origin, &known)
    }

    /// What went wrong while rows of `query` were written: of the lake where the lake failed, of the query where that broke off.
    #[must_use]
    pub fn failure(&self, query: &Query<'_>, error: &LakeError) -> Failure {
        match error.source_error() {
            Some(source) => self.explain(query, source).into(),
            None => {
                use crate::diagnosis::Diagnose;
                let diagnosis = query.origin.place(error.diagnosis(), None);
                Failure { exit: error.exit(), diagnosis: Box::new(diagnosis) }
            }
        }
    }

    fn plan(&self, query: &Query<'_>) -> Result<LogicalPlan, EngineError> {
        let (statement, _) = select::read(query.sql, query.origin)?;
        planner::plan(&self.state, &self.tables, statement, &query.params).map_err(|error| self.explain(query, &error))
    }

    /// The ways of running a query, in the order they are tried.
    fn rungs(&self) -> Vec<Rung> {
        let configured = self.state.config().target_partitions();
        let mut rungs = vec![Rung { hash_join: true, partitions: configured }];
        // DataFusion plans sort-merge joins for two partitions and more only; a single one is left for what does not join.
        let mut partitions = configured.max(2);
        while partitions > 1 {
            rungs.push(Rung { hash_join: false, partitions });
            partitions /= 2;
        }
        if configured > 1 {
            rungs.push(Rung { hash_join: false, partitions: 1 });
        }
        rungs
    }

    async fn begin(&self, plan: &LogicalPlan, way: Rung) -> Result<SendableRecordBatchStream, DataFusionError> {
        let mut config = self.state.config().clone().with_target_partitions(way.partitions);
        config.options_mut().optimizer.prefer_hash_join = way.hash_join;
        let state = SessionStateBuilder::new_from_existing(self.state.clone()).with_config(config).build();
        let physical = match state.create_physical_plan(plan).await {
            Err(error) if is_overcautious(&error) => unchecked(state.clone()).create_physical_plan(plan).await?,
            physical => physical?,
        };
        let stream = plain_stream(execute_stream(physical, state.task_ctx())?);
        Ok(within(self.timeout, stream))
    }
}

fn is_exhausted(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(message) if !message.contains("disk space"))
}

/// DataFusion 55 refuses its own plan for `order by` over a `union all` in which some columns are constants of one branch, as in every
/// table of figures: it leaves them out of that branch's sort, rightly, and its last check then misses them.
fn is_overcautious(error: &DataFusionError) -> bool {
    error.strip_backtrace().contains("does not satisfy order requirements")
}

/// The same planning without the last check, which changes nothing in a plan.
fn unchecked(state: SessionState) -> SessionState {
    let rules = state.physical_optimizers().iter().filter(|rule| rule.name() != "SanityCheckPlan").cloned().collect();
    SessionStateBuilder::new_from_existing(state).with_physical_optimizer_rules(rules).build()
}

fn tell(error: &DataFusionError, next: Option<Rung>) {
    if let Some(next) = next {
        let error = error.to_string();
        let first_line = error.lines().next().unwrap_or_default();
        tracing::warn!(error = first_line, hash_join = next.hash_join, partitions = next.partitions, "memory ran out, trying again");
    }
}

/// The stream, broken off when `timeout` has passed since it began.
fn within(timeout: Period, stream: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let schema = stream.schema();
    let wait: Duration = timeout.duration();
    let late = futures::stream::once(async move {
        tokio::time::sleep(wait).await;
        Err(DataFusionError::External(Box::new(TookTooLong(timeout))))
    });
    // Whichever comes first: the next batch, or the end of patience.
    let batches = futures::stream::unfold((Some(stream), Box::pin(late)), |(stream, mut late)| async move {
        let mut stream = stream?;
        tokio::select! {
            // The clock first: a busy query uses up what Tokio lets one task do in a row, and the clock would never be looked at.
            biased;
            too_late = late.next() => too_late.map(|error| (error, (None, late))),
            batch = stream.next() => batch.map(|batch| (batch, (Some(stream), late))),
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}
