//! Steps that hold all their rows, counted.
//!
//! DataFusion holds more than it reserves in two places, and a container would be killed before the limit speaks. Every row of a window whose
//! frame has no end, as those of `ntile` and `percent_rank`, is held and nothing reserved for it: here it is reserved on its way. The rows
//! that a hash join looks up are reserved once and then copied into one batch, so that they stand in memory twice: here they are gathered
//! into that batch before the join sees them, column by column, and only the column at hand stands there twice, reserved as such.

use std::{fmt, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    compute::concat,
    datatypes::SchemaRef,
    error::ArrowError,
};
use datafusion::{
    common::{
        Statistics, internal_err,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
        utils::memory::RecordBatchMemoryCounter,
    },
    config::ConfigOptions,
    error::{DataFusionError, Result},
    execution::{
        SendableRecordBatchStream, TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    physical_expr::PhysicalExpr,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
        StatisticsArgs, joins::HashJoinExec, stream::RecordBatchStreamAdapter, windows::WindowAggExec,
    },
};
use futures::{StreamExt, TryStreamExt, stream};

/// The rows of such a window stand in memory twice: as they came, and as one batch.
const TIMES: usize = 2;

/// Counts what windows and hash joins hold. It stands behind every other rule that moves steps.
#[derive(Debug)]
pub(super) struct HoldingSteps;

impl PhysicalOptimizerRule for HoldingSteps {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let counted = plan.transform_up(|node| {
            let by = if node.is::<WindowAggExec>() {
                Holder::Window
            } else if node.is::<HashJoinExec>() {
                Holder::Join
            } else {
                return Ok(Transformed::no(node));
            };
            let mut inputs: Vec<Arc<dyn ExecutionPlan>> = node.children().into_iter().map(Arc::clone).collect();
            // A hash join looks up the rows of its first input.
            inputs[0] = Arc::new(HeldExec { input: Arc::clone(&inputs[0]), by });
            Ok(Transformed::yes(node.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?))
        });
        counted.map(|counted| counted.data)
    }

    fn name(&self) -> &str {
        "holding_steps"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Who holds the rows.
#[derive(Debug, Clone, Copy)]
enum Holder {
    Window,
    Join,
}

/// Reserves memory for rows that the step above holds.
#[derive(Debug)]
struct HeldExec {
    input: Arc<dyn ExecutionPlan>,
    by: Holder,
}

impl DisplayAs for HeldExec {
    fn fmt_as(&self, _type: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldExec")
    }
}

impl ExecutionPlan for HeldExec {
    fn name(&self) -> &str {
        "HeldExec"
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

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(&self, _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) if children.is_empty() => Ok(Arc::new(Self { input, by: self.by })),
            _ => internal_err!("HeldExec has one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let reserved = |step: &str| MemoryConsumer::new(format!("{step}[{partition}]")).register(context.memory_pool());
        match self.by {
            Holder::Window => {
                let held = reserved("WindowAggExec");
                let batches = self.input.execute(partition, context)?.map(move |batch| {
                    let batch = batch?;
                    held.try_grow(batch.get_array_memory_size() * TIMES)?;
                    Ok(batch)
                });
                Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
            }
            Holder::Join => {
                let held = reserved("HashJoinInput");
                let rows = self.input.execute(partition, context)?;
                Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(gather(rows, held)))))
            }
        }
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, input_stats: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&input_stats[0]))
    }
}

/// One column of the rows that came.
#[derive(Default)]
struct Pieces {
    arrays: Vec<ArrayRef>,
    /// Counts what several pieces share once.
    counter: RecordBatchMemoryCounter,
}

/// All rows as one batch; the pieces of a column are let go as soon as they are one. What the join reserves for the batch it is given takes
/// the place of what is reserved here.
async fn gather(mut rows: SendableRecordBatchStream, held: MemoryReservation) -> Result<RecordBatch> {
    let schema = rows.schema();
    let mut columns: Vec<Pieces> = schema.fields().iter().map(|_| Pieces::default()).collect();
    while let Some(batch) = rows.try_next().await? {
        for (number, column) in columns.iter_mut().enumerate() {
            held.try_grow(column.counter.count_batch(&batch.project(&[number])?))?;
            column.arrays.push(Arc::clone(batch.column(number)));
        }
    }
    drop(rows);
    if columns.iter().any(|column| column.arrays.is_empty()) {
        return Ok(RecordBatch::new_empty(schema));
    }
    let mut gathered = Vec::with_capacity(columns.len());
    for Pieces { arrays, counter } in columns {
        held.try_grow(counter.memory_usage())?;
        let pieces: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        gathered.push(concat(&pieces).map_err(too_much)?);
        drop(arrays);
        held.shrink(counter.memory_usage());
    }
    Ok(RecordBatch::try_new(schema, gathered)?)
}

/// A column's text is bounded by what its offsets can tell, 2 GiB: more does not fit in memory in this way, though there may be enough.
fn too_much(error: ArrowError) -> DataFusionError {
    match error {
        ArrowError::OffsetOverflowError(bytes) => {
            DataFusionError::ResourcesExhausted(format!("a join cannot hold {bytes} bytes of text in one column"))
        }
        error => error.into(),
    }
}
