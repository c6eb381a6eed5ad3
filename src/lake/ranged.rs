//! The parts of a table, cut exactly: pages at the edge of a part are read for both of its sides, and each side takes the rows that are its.

use std::{fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, make_comparator},
    datatypes::SchemaRef,
};
use datafusion::{
    common::{Statistics, internal_err, tree_node::TreeNodeRecursion},
    config::ConfigOptions,
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_plan::{
        ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, StatisticsArgs,
        execution_plan::CardinalityEffect,
        filter_pushdown::{ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation},
        stream::RecordBatchStreamAdapter,
    },
    scalar::ScalarValue,
};
use futures::{StreamExt, future::ready};

use super::order::ASCENDING;

/// Gives of every part the rows that are its.
#[derive(Debug, Clone)]
pub(super) struct RangedExec {
    input: Arc<dyn ExecutionPlan>,
    /// The name of the column that the parts are cut by.
    column: String,
    /// The first value of every part but the first.
    cuts: Vec<ScalarValue>,
}

impl RangedExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, column: &str, cuts: Vec<ScalarValue>) -> Self {
        Self { input, column: column.to_owned(), cuts }
    }
}

/// How many rows of a sorted column come before a value.
fn before(column: &ArrayRef, cut: &ScalarValue) -> Result<usize> {
    let cut = cut.cast_to(column.data_type())?.to_array()?;
    let compare = make_comparator(column, &cut, ASCENDING)?;
    let (mut low, mut high) = (0, column.len());
    // Most batches lie on one side as a whole.
    if high == 0 || compare(high - 1, 0).is_lt() {
        return Ok(high);
    }
    while low < high {
        let middle = low.midpoint(high);
        match compare(middle, 0).is_lt() {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    Ok(low)
}

/// The rows from one value on, before another.
fn trimmed(batch: &RecordBatch, column: usize, from: Option<&ScalarValue>, to: Option<&ScalarValue>) -> Result<RecordBatch> {
    let values = batch.column(column);
    let begin = from.map_or(Ok(0), |from| before(values, from))?;
    let end = to.map_or(Ok(values.len()), |to| before(values, to))?;
    Ok(batch.slice(begin, end.saturating_sub(begin)))
}

impl DisplayAs for RangedExec {
    fn fmt_as(&self, _type: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RangedExec: parts={}, by={}", self.cuts.len() + 1, self.column)
    }
}

impl ExecutionPlan for RangedExec {
    fn name(&self) -> &str {
        "RangedExec"
    }

    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(&self, _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) if children.is_empty() => Ok(Arc::new(Self { input, ..Self::clone(&self) })),
            _ => internal_err!("RangedExec reads one table"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let column = self.input.schema().index_of(&self.column)?;
        let from = partition.checked_sub(1).and_then(|before| self.cuts.get(before)).cloned();
        let to = self.cuts.get(partition).cloned();
        let batches = self.input.execute(partition, context)?.map(move |batch| trimmed(&batch?, column, from.as_ref(), to.as_ref()));
        let batches = batches.filter(|batch| ready(batch.as_ref().map_or(true, |batch| batch.num_rows() > 0)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, input_stats: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&input_stats[0]))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::LowerEqual
    }

    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _phase: FilterPushdownPhase,
        child_pushdown_result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(child_pushdown_result))
    }
}
