//! Running queries over a set of tables, and trying again in a thriftier way where memory runs out.

use std::{
    collections::BTreeMap,
    iter::Peekable,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    catalog::{TableProvider, view::ViewTable},
    error::DataFusionError,
    execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder, runtime_env::RuntimeEnvBuilder},
    logical_expr::LogicalPlan,
    physical_expr::Partitioning,
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties, display::DisplayableExecutionPlan, displayable, execute_stream,
        sorts::sort_preserving_merge::SortPreservingMergeExec, stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, TryStreamExt};

use super::{
    cost::{Cost, Counting, Meter},
    diagnosis::{Known, TookTooLong, explain},
    error::EngineError,
    inexact, planner,
    query::Query,
    rungs::Rung,
    select,
    spill::SpillFolder,
    text::{plain_schema, plain_stream},
};
use crate::{
    config::Period,
    diagnosis::{Failure, Finding},
    lake::{Commit, Lake, LakeError, Written},
};

/// A set of tables that queries can name.
#[derive(Debug, Clone)]
pub struct Session {
    pub(super) state: SessionState,
    pub(super) tables: Arc<BTreeMap<String, Arc<dyn TableProvider>>>,
    pub(super) timeout: Period,
    /// Bytes that queries may use.
    pub(super) memory: u64,
    /// Kept while queries may spill into it.
    pub(super) spill: Option<Arc<SpillFolder>>,
    /// Bytes that a query may spill.
    pub(super) max_spill: u64,
    pub(super) meter: Arc<Meter>,
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

    /// As [`Session::schema`], and the query is planned as far as it can be without data: what no step can carry out shows only there. With
    /// the columns comes what is worth a look and only shows with their types.
    ///
    /// # Errors
    /// Where the query cannot be read or planned, with its place.
    pub async fn prove(&self, query: &Query<'_>) -> Result<(SchemaRef, Vec<Finding>), EngineError> {
        let plan = self.plan(query)?;
        let explain = |error: DataFusionError| self.explain(query, &error);
        let optimized = self.state.optimize(&plan).map_err(explain)?;
        self.physical(&plan, Rung::first(self.memory, self.state.config().target_partitions())).await.map_err(explain)?;
        Ok((plain_schema(optimized.schema().as_arrow()), inexact::findings(&plan, query.origin)))
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

    /// The query, to be run in one way after the other until its rows fit in memory.
    ///
    /// # Errors
    /// Where the query cannot be read or planned, with its place.
    pub fn attempts<'a>(&'a self, query: &'a Query<'a>) -> Result<Attempts<'a>, EngineError> {
        let plan = self.plan(query)?;
        Ok(Attempts { session: self, query, plan, ways: self.ways().into_iter().peekable(), exhausted: Arc::default() })
    }

    /// All of the query's rows; what does not fit in memory is tried again as [`Attempts`] do.
    ///
    /// # Errors
    /// Where the query cannot be read, planned or run, or takes longer than `[engine] timeout`.
    pub async fn collect(&self, query: &Query<'_>) -> Result<Vec<RecordBatch>, EngineError> {
        let mut attempts = self.attempts(query)?;
        loop {
            let rows = attempts.begin().await?.try_collect().await;
            if rows.is_ok() || !attempts.another() {
                return rows.map_err(|error| self.explain(query, &error));
            }
        }
    }

    /// Puts the query's rows in place of a table of the lake, without holding them in memory; tried again as [`Attempts`] do.
    ///
    /// # Errors
    /// Where the query cannot be read, planned or run, or its rows not be written.
    pub async fn replace(&self, query: &Query<'_>, lake: &Lake, table: &str, commit: Commit) -> Result<Written, Failure> {
        let mut attempts = self.attempts(query)?;
        loop {
            let parts = attempts.begin_in_parts().await?;
            let Some(schema) = parts.first().map(|rows| rows.schema()) else { return Err(self.explain(query, &no_parts()).into()) };
            let written = lake.replace_in_parts(table, schema, parts, commit.clone()).await;
            if written.is_ok() || !attempts.another() {
                return written.map_err(|error| self.failure(query, &error));
            }
        }
    }

    /// What went wrong while a stream of `query` was read.
    #[must_use]
    pub fn explain(&self, query: &Query<'_>, error: &DataFusionError) -> EngineError {
        let known = Known {
            tables: self.tables.keys().cloned().collect(),
            functions: planner::functions(&self.state),
            fickle: planner::fickle(&self.state),
            params: query.params.keys().cloned().collect(),
            memory_limit: super::readable(self.memory),
            refused: self.meter.refused(),
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

    pub(super) fn plan(&self, query: &Query<'_>) -> Result<LogicalPlan, EngineError> {
        let (statement, _) = select::read(query.sql, query.origin)?;
        select::refuse_idle_words(&statement, query.origin, |name| planner::looks_at_one_row(&self.state, name))?;
        planner::plan(&self.state, &self.tables, statement, &query.params).map_err(|error| self.explain(query, &error))
    }

    /// How the query would be carried out, step by step, the first step last. Where it is to be `run`, what each step took stands beside it;
    /// its rows are thrown away. What does not fit in memory is tried again as [`Attempts`] do: told is the way that led to the end.
    ///
    /// # Errors
    /// Where the query cannot be read, planned or run.
    pub async fn explanation(&self, query: &Query<'_>, run: bool) -> Result<String, EngineError> {
        let explain = |error: DataFusionError| self.explain(query, &error);
        let plan = self.plan(query)?;
        let ways = self.ways();
        for (number, way) in ways.iter().enumerate() {
            let (physical, state) = self.physical(&plan, *way).await.map_err(explain)?;
            if !run {
                return Ok(displayable(physical.as_ref()).indent(false).to_string());
            }
            match self.carry_out(&physical, &state).await {
                Err(error) if is_exhausted(&error) && number + 1 < ways.len() => {}
                Err(error) => return Err(explain(error)),
                Ok(()) => {
                    let steps = DisplayableExecutionPlan::with_metrics(physical.as_ref()).indent(false).to_string();
                    return Ok(if number == 0 {
                        steps
                    } else {
                        format!("Memory ran out {number}x before this way of running it:\n{steps}")
                    });
                }
            }
        }
        Err(explain(no_parts()))
    }

    /// Reads all rows of a plan and throws them away.
    async fn carry_out(&self, physical: &Arc<dyn ExecutionPlan>, state: &SessionState) -> Result<(), DataFusionError> {
        let mut rows = within(self.timeout, execute_stream(Arc::clone(physical), state.task_ctx())?);
        while rows.try_next().await?.is_some() {}
        Ok(())
    }

    /// All ways of running a query, the quickest first.
    fn ways(&self) -> Vec<Rung> {
        let partitions = self.state.config().target_partitions();
        let mut ways = Rung::thriftier(self.memory, partitions);
        ways.insert(0, Rung::first(self.memory, partitions));
        ways
    }

    /// The rows of a query: in several parts where `apart` allows it and each part holds the rows between two values of the column they are
    /// sorted by, so that one after the other they are in order.
    pub(super) async fn begin(
        &self,
        plan: &LogicalPlan,
        way: Rung,
        apart: bool,
    ) -> Result<Vec<SendableRecordBatchStream>, DataFusionError> {
        let (physical, state) = self.physical(plan, way).await?;
        let counting = Arc::new(Counting { plan: Arc::clone(&physical), meter: Arc::clone(&self.meter) });
        let streams = match parts(&physical).filter(|_| apart) {
            Some(parts) => {
                let count = parts.output_partitioning().partition_count();
                (0..count).map(|part| parts.execute(part, state.task_ctx())).collect::<Result<Vec<_>, _>>()?
            }
            None => vec![execute_stream(physical, state.task_ctx())?],
        };
        let finish = |stream| counted(Arc::clone(&counting), within(self.timeout, plain_stream(stream)));
        Ok(streams.into_iter().map(finish).collect())
    }

    /// The plan of one way of running a query, and the state it runs in.
    async fn physical(&self, plan: &LogicalPlan, way: Rung) -> Result<(Arc<dyn ExecutionPlan>, SessionState), DataFusionError> {
        let mut runtime = Arc::clone(self.state.runtime_env());
        if way.merge_fan_in != runtime.disk_manager.max_spill_merge_fan_in() {
            // The bound on merges is the disk manager's, so another one needs a manager of its own; memory stays that of all queries.
            let disk = super::disk(self.spill.as_deref(), self.max_spill, way);
            runtime = RuntimeEnvBuilder::from_runtime_env(&runtime).with_disk_manager_builder(disk).build_arc()?;
        }
        let builder = SessionStateBuilder::new_from_existing(self.state.clone());
        let mut state = builder.with_config(way.config(self.state.config().clone())).with_runtime_env(runtime).build();
        let physical = match state.create_physical_plan(plan).await {
            Err(error) if is_overcautious(&error) => unchecked(state.clone()).create_physical_plan(plan).await?,
            physical => physical?,
        };
        *state.config_mut() = way.carrying_out(state.config().clone(), &physical);
        Ok((physical, state))
    }
}

/// A query on its way through the ways of running it: each has all rows from the first on, and needs less memory than the one before.
///
/// Whoever takes the rows begins anew with each way, too, as nothing given out can be taken back.
pub struct Attempts<'a> {
    session: &'a Session,
    query: &'a Query<'a>,
    plan: LogicalPlan,
    ways: Peekable<std::vec::IntoIter<Rung>>,
    /// What was said when memory ran out in the present way.
    exhausted: Arc<OnceLock<String>>,
}

impl Attempts<'_> {
    /// The query's rows, as they come. Text columns are `Utf8`, never views. An error in them becomes a diagnosis by [`Session::explain`].
    ///
    /// # Errors
    /// Where the query cannot be begun in any way that is left.
    pub async fn begin(&mut self) -> Result<SendableRecordBatchStream, EngineError> {
        let mut rows = self.begin_some(false).await?;
        rows.pop().ok_or_else(|| self.session.explain(self.query, &no_parts()))
    }

    /// As [`Attempts::begin`], in several parts where the plan has such: read one after the other they are in the query's order.
    ///
    /// # Errors
    /// As [`Attempts::begin`].
    pub async fn begin_in_parts(&mut self) -> Result<Vec<SendableRecordBatchStream>, EngineError> {
        self.begin_some(true).await
    }

    async fn begin_some(&mut self, apart: bool) -> Result<Vec<SendableRecordBatchStream>, EngineError> {
        loop {
            self.exhausted = Arc::default();
            let begun = match self.ways.next() {
                Some(way) => self.session.begin(&self.plan, way, apart).await,
                None => Err(DataFusionError::ResourcesExhausted(String::new())),
            };
            match begun {
                Ok(parts) => return Ok(parts.into_iter().map(|rows| watched(rows, &self.exhausted)).collect()),
                Err(error) => {
                    note(&error, &self.exhausted);
                    if !self.another() {
                        return Err(self.session.explain(self.query, &error));
                    }
                }
            }
        }
    }

    /// Whether the rows given last broke off because memory ran out, and there is another way to try.
    pub fn another(&mut self) -> bool {
        let (Some(error), Some(next)) = (self.exhausted.get(), self.ways.peek()) else { return false };
        tracing::warn!(error, next = ?next, "memory ran out, trying again");
        self.session.meter.add(Cost { retries: 1, ..Cost::default() });
        true
    }
}

/// What a plan merges in the end, where that only sets parts in order that lie one behind the other.
fn parts(plan: &Arc<dyn ExecutionPlan>) -> Option<&Arc<dyn ExecutionPlan>> {
    let merge = plan.downcast_ref::<SortPreservingMergeExec>().filter(|merge| merge.fetch().is_none())?;
    let input = merge.input();
    match input.output_partitioning() {
        Partitioning::Range(range) if range.ordering().iter().eq(merge.expr().iter().take(1)) => Some(input),
        _ => None,
    }
}

fn no_parts() -> DataFusionError {
    DataFusionError::Internal("a plan without any partition".to_owned())
}

/// The stream, counted when it and those of the same plan are dropped.
fn counted(counting: Arc<Counting>, stream: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let schema = stream.schema();
    let batches = stream.inspect(move |_| {
        let _ = &counting;
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// The stream, with a note of whether memory ran out in it.
fn watched(stream: SendableRecordBatchStream, exhausted: &Arc<OnceLock<String>>) -> SendableRecordBatchStream {
    let (schema, exhausted) = (stream.schema(), Arc::clone(exhausted));
    let batches = stream.inspect_err(move |error| note(error, &exhausted));
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// Keeps the first line of an error of memory.
fn note(error: &DataFusionError, exhausted: &OnceLock<String>) {
    if is_exhausted(error) {
        exhausted.get_or_init(|| error.to_string().lines().next().unwrap_or_default().to_owned());
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
