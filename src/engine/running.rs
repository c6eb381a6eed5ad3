//! Windows that number and add up rows as they pass.
//!
//! DataFusion carries out every window by gathering each person's rows into batches of their own, which costs microseconds a person. What
//! `row_number()`, and sums and counts from the first row to the present one, say of a row can be told from the row before it: here they
//! are, in one pass over rows that are sorted anyway.

use std::{fmt, ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray, RecordBatch, UInt64Array, make_comparator},
    compute::{SortOptions, partition},
    datatypes::{ArrowNativeTypeOp, ArrowPrimitiveType, DataType, Decimal128Type, Int64Type, SchemaRef},
};
use datafusion::{
    common::{
        Statistics, internal_err,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    config::ConfigOptions,
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits},
    physical_expr::{
        OrderingRequirements, PhysicalExpr,
        window::{PlainAggregateWindowExpr, StandardWindowExpr, WindowExpr},
    },
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements,
        InputOrderMode, PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
        metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput},
        stream::RecordBatchStreamAdapter,
        windows::{BoundedWindowAggExec, WindowUDFExpr},
    },
};
use futures::StreamExt;

/// Takes over the windows that can be told row by row. It stands behind every other rule.
#[derive(Debug)]
pub(super) struct RunningWindows;

impl PhysicalOptimizerRule for RunningWindows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let taken_over = plan.transform_up(|node| match RunningWindowExec::instead_of(&node) {
            Some(running) => Ok(Transformed::yes(Arc::new(running) as _)),
            None => Ok(Transformed::no(node)),
        });
        taken_over.map(|taken_over| taken_over.data)
    }

    fn name(&self) -> &str {
        "running_windows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// What one window tells of a row.
#[derive(Debug, Clone)]
enum Running {
    RowNumber,
    /// Of the rows in which this is not null.
    Count(Arc<dyn PhysicalExpr>),
    /// As DataFusion's `sum`: null until there is a value, and beyond the bounds of its type it wraps around.
    Sum(Arc<dyn PhysicalExpr>, DataType),
}

impl Running {
    fn of(window: &Arc<dyn WindowExpr>) -> Option<Self> {
        if let Some(standard) = window.as_any().downcast_ref::<StandardWindowExpr>() {
            let function = standard.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>()?;
            return (function.fun().name() == "row_number").then_some(Self::RowNumber);
        }
        let window = window.as_any().downcast_ref::<PlainAggregateWindowExpr>()?;
        let function = window.get_aggregate_expr();
        // DataFusion 55 shows a window's filter nowhere else.
        let unfiltered = format!("{window:?}").ends_with("filter: None }");
        if function.is_distinct() || !unfiltered || !up_to_the_row(window.get_window_frame()) {
            return None;
        }
        let [argument] = <[_; 1]>::try_from(function.expressions()).ok()?;
        let returns = function.field().data_type().clone();
        match function.fun().name() {
            "count" => Some(Self::Count(argument)),
            "sum" if matches!(returns, DataType::Int64 | DataType::Decimal128(..)) => Some(Self::Sum(argument, returns)),
            _ => None,
        }
    }

    /// Its value in every row of a batch. `groups` are the rows of one partition each; the first goes on with what was `before` if it
    /// `continues` the last of the batch before.
    fn next(&self, batch: &RecordBatch, groups: &[Range<usize>], continues: bool, before: &mut Before) -> Result<ArrayRef> {
        let rows = batch.num_rows();
        let values = |of: &Arc<dyn PhysicalExpr>| of.evaluate(batch)?.into_array(rows);
        Ok(match (self, before) {
            (Self::RowNumber, Before::Count(before)) => {
                let mut numbers = Vec::with_capacity(rows);
                for (group, of_group) in groups.iter().enumerate() {
                    let from = if group == 0 && continues { *before } else { 0 };
                    *before = from + of_group.len() as u64;
                    numbers.extend(from + 1..=*before);
                }
                Arc::new(UInt64Array::from(numbers))
            }
            (Self::Count(of), Before::Count(before)) => {
                let values = values(of)?;
                let nulls = values.logical_nulls();
                let mut counts = Vec::with_capacity(rows);
                for (group, of_group) in groups.iter().enumerate() {
                    let mut count = if group == 0 && continues { *before } else { 0 };
                    for row in of_group.clone() {
                        count += u64::from(nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)));
                        counts.push(count.cast_signed());
                    }
                    *before = count;
                }
                Arc::new(Int64Array::from(counts))
            }
            (Self::Sum(of, _), Before::Integer(before)) => {
                Arc::new(sums::<Int64Type>(values(of)?.as_primitive(), groups, continues, before))
            }
            (Self::Sum(of, returns), Before::Decimal(before)) => {
                let sums = sums::<Decimal128Type>(values(of)?.as_primitive(), groups, continues, before);
                Arc::new(sums.with_data_type(returns.clone()))
            }
            (running, before) => return internal_err!("{running:?} goes on from {before:?}"),
        })
    }

    fn start(&self) -> Before {
        match self {
            Self::RowNumber | Self::Count(_) => Before::Count(0),
            Self::Sum(_, DataType::Int64) => Before::Integer(None),
            Self::Sum(..) => Before::Decimal(None),
        }
    }
}

/// What a window told of the row before.
#[derive(Debug)]
enum Before {
    Count(u64),
    Integer(Option<i64>),
    Decimal(Option<i128>),
}

/// `rows between unbounded preceding and current row`
fn up_to_the_row(frame: &WindowFrame) -> bool {
    frame.units == WindowFrameUnits::Rows && frame.start_bound.is_unbounded() && frame.end_bound == WindowFrameBound::CurrentRow
}

fn sums<T: ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    groups: &[Range<usize>],
    continues: bool,
    before: &mut Option<T::Native>,
) -> PrimitiveArray<T> {
    let mut sums = PrimitiveArray::<T>::builder(values.len());
    for (group, of_group) in groups.iter().enumerate() {
        let mut sum = before.filter(|_| group == 0 && continues);
        for row in of_group.clone() {
            if values.is_valid(row) {
                let value = values.value(row);
                sum = Some(sum.map_or(value, |sum| sum.add_wrapping(value)));
            }
            sums.append_option(sum);
        }
        *before = sum;
    }
    sums.finish()
}

/// A window that is carried out row by row; in everything else it is the window of DataFusion whose place it takes.
#[derive(Debug)]
struct RunningWindowExec {
    window: Arc<dyn ExecutionPlan>,
    running: Vec<Running>,
    partition_by: Vec<Arc<dyn PhysicalExpr>>,
    metrics: ExecutionPlanMetricsSet,
}

impl RunningWindowExec {
    /// What can take the place of this node: only where rows come sorted, and everything the node tells of them can be told row by row.
    fn instead_of(node: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let window = node.downcast_ref::<BoundedWindowAggExec>()?;
        if window.input_order_mode != InputOrderMode::Sorted {
            return None;
        }
        let running = window.window_expr().iter().map(Running::of).collect::<Option<Vec<_>>>()?;
        let partition_by = window.window_expr().first()?.partition_by().to_vec();
        Some(Self { window: Arc::clone(node), running, partition_by, metrics: ExecutionPlanMetricsSet::new() })
    }
}

impl DisplayAs for RunningWindowExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")?;
        self.window.fmt_as(format, f)
    }
}

impl ExecutionPlan for RunningWindowExec {
    fn name(&self) -> &str {
        "RunningWindowExec"
    }

    fn schema(&self) -> SchemaRef {
        self.window.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.window.properties()
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.window.required_input_ordering()
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.input_distribution_requirements().into_per_child()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.window.input_distribution_requirements()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.window.maintains_input_order()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.window.children()
    }

    fn apply_expressions(&self, f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        self.window.apply_expressions(f)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let window = Arc::clone(&self.window).replace_children(children, options)?;
        Ok(match Self::instead_of(&window) {
            Some(running) => Arc::new(running),
            None => window,
        })
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let [input] = self.children()[..] else { return internal_err!("a window has one input") };
        let input = input.execute(partition, context)?;
        let (schema, metrics) = (self.schema(), BaselineMetrics::new(&self.metrics, partition));
        let mut passing = Passing {
            schema: Arc::clone(&schema),
            before: self.running.iter().map(Running::start).collect(),
            running: self.running.clone(),
            partition_by: self.partition_by.clone(),
            last: None,
        };
        let batches = input.map(move |batch| {
            let _timer = metrics.elapsed_compute().timer();
            passing.next(&batch?).record_output(&metrics)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.window.child_stats_requests(partition)
    }

    fn statistics_from_inputs(&self, input_stats: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        self.window.statistics_from_inputs(input_stats, args)
    }
}

/// One partition's rows on their way.
struct Passing {
    schema: SchemaRef,
    running: Vec<Running>,
    partition_by: Vec<Arc<dyn PhysicalExpr>>,
    /// What was told of the last row of the batch before, by window.
    before: Vec<Before>,
    /// That row's values of `partition by`.
    last: Option<Vec<ArrayRef>>,
}

impl Passing {
    fn next(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let keys = self.partition_by.iter().map(|key| key.evaluate(batch)?.into_array(rows)).collect::<Result<Vec<_>>>()?;
        // Without `partition by`, all rows are one partition.
        let groups = if keys.is_empty() { std::iter::once(0..rows).collect() } else { partition(&keys)?.ranges() };
        let continues = match &self.last {
            Some(last) => same(last, &keys)?,
            None => false,
        };
        let mut columns = batch.columns().to_vec();
        for (running, before) in self.running.iter().zip(&mut self.before) {
            columns.push(running.next(batch, &groups, continues, before)?);
        }
        self.last = Some(keys.iter().map(|key| key.slice(rows - 1, 1)).collect());
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// Whether these values stand in the first row of those columns; null is the same as null.
fn same(values: &[ArrayRef], columns: &[ArrayRef]) -> Result<bool> {
    for (value, column) in values.iter().zip(columns) {
        if make_comparator(value, column, SortOptions::default())?(0, 0).is_ne() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{BooleanArray, Decimal128Array, StringArray},
        util::pretty::pretty_format_batches,
    };
    use datafusion::{
        datasource::MemTable,
        execution::SessionStateBuilder,
        physical_optimizer::optimizer::PhysicalOptimizer,
        physical_plan::{collect, displayable},
        prelude::{SessionConfig, SessionContext},
    };
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    const TO_HERE: &str = "rows between unbounded preceding and current row";

    /// A person, one of their things, a number and whether it counts.
    type Row = (Option<u8>, u8, Option<i64>, bool);

    fn table(rows: &[Row], at_once: usize) -> MemTable {
        let batch = RecordBatch::try_from_iter_with_nullable(vec![
            ("person", Arc::new(rows.iter().map(|row| row.0.map(|person| person.to_string())).collect::<StringArray>()) as ArrayRef, true),
            ("thing", Arc::new(rows.iter().map(|row| Some(row.1.to_string())).collect::<StringArray>()), true),
            ("v", Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>()), true),
            ("price", Arc::new(rows.iter().map(|row| row.2.map(i128::from)).collect::<Decimal128Array>()), true),
            ("counts", Arc::new(rows.iter().map(|row| Some(row.3)).collect::<BooleanArray>()), true),
            ("at", Arc::new(Int64Array::from_iter_values((0_i64..).take(rows.len()).map(|n| n * 37 % 101))), true),
        ]);
        let batch = batch.unwrap();
        let batches = (0..rows.len()).step_by(at_once).map(|from| batch.slice(from, at_once.min(rows.len() - from))).collect();
        MemTable::try_new(batch.schema(), vec![batches, vec![]]).unwrap()
    }

    /// The rows as text, and the plan.
    async fn rows(sql: &str, table: MemTable, at_once: usize, taken_over: bool) -> (String, String) {
        let mut rules = PhysicalOptimizer::new().rules;
        if taken_over {
            rules.push(Arc::new(RunningWindows));
        }
        let config = SessionConfig::new().with_batch_size(at_once).with_target_partitions(2);
        let state = SessionStateBuilder::new().with_default_features().with_config(config).with_physical_optimizer_rules(rules).build();
        let context = SessionContext::new_with_state(state);
        context.register_table("t", Arc::new(table)).unwrap();
        let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let batches = collect(Arc::clone(&plan), context.task_ctx()).await.unwrap();
        (pretty_format_batches(&batches).unwrap().to_string(), displayable(plan.as_ref()).indent(false).to_string())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn rows_told_one_by_one_are_those_of_datafusion(
            given in vec((option::weighted(0.9, 0_u8..6), 0_u8..3, option::weighted(0.8, prop_oneof![-5_i64..50, Just(i64::MAX)]), any::<bool>()), 1..60),
            at_once in 1_usize..9,
        ) {
            let windows = [
                ("row_number() over (partition by person order by v desc nulls last, at)".to_owned(), true),
                ("row_number() over (order by at)".to_owned(), true),
                (format!("sum(v) over (partition by person order by at {TO_HERE})"), true),
                (format!("sum(price) over (partition by person, thing order by at desc {TO_HERE})"), true),
                (format!("count(v) over (partition by thing, person order by at {TO_HERE})"), true),
                (format!("count(*) over (order by at {TO_HERE})"), true),
                (format!("sum(v) filter (where counts) over (partition by person order by at {TO_HERE})"), false),
                ("sum(v) over (partition by person order by at rows between 1 preceding and current row)".to_owned(), false),
                ("sum(price) over (partition by person order by v)".to_owned(), false),
                ("rank() over (partition by person order by thing)".to_owned(), false),
            ];
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for (window, can_run) in windows {
                let sql = format!("select at, {window} as told from t order by at");
                let (ours, plan) = runtime.block_on(rows(&sql, table(&given, at_once), at_once, true));
                let (theirs, _) = runtime.block_on(rows(&sql, table(&given, at_once), at_once, false));
                prop_assert_eq!(plan.contains("RunningBoundedWindowAggExec"), can_run, "{}\n{}", window, plan);
                prop_assert_eq!(ours, theirs, "{}", window);
            }
            let sql = format!(
                "select at, row_number() over mine as n, sum(v) over (mine {TO_HERE}) as s, count(v) over (mine {TO_HERE}) as c \
                 from t window mine as (partition by person order by at) order by at"
            );
            let ours = runtime.block_on(rows(&sql, table(&given, at_once), at_once, true)).0;
            prop_assert_eq!(ours, runtime.block_on(rows(&sql, table(&given, at_once), at_once, false)).0);
        }
    }
}
