//! Windows that number and add up rows as they pass.
//!
//! DataFusion carries out every window by gathering each person's rows into batches of their own, which costs microseconds a person. What
//! `row_number()` and `lag(x)`, and sums, counts and extremes from the first row to the present one, say of a row can be told from the row
//! before it: here they are, in one pass over rows that are sorted anyway.

use std::{fmt, ops::Range, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, Int64Array, PrimitiveArray, RecordBatch, UInt64Array, downcast_primitive, make_comparator, new_null_array,
    },
    compute::{SortOptions, interleave, partition},
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

/// A fold over whatever primitive type this is.
macro_rules! fold_any {
    ($of:expr, $returns:expr, $with:expr) => {{
        macro_rules! of_type {
            ($type:ty) => {
                fold::<$type>($of, $returns, $with)
            };
        }
        downcast_primitive! {
            $returns => (of_type),
            other => return internal_err!("no window tells the least or greatest {other} row by row"),
        }
    }};
}

/// What one window tells of a row.
#[derive(Debug, Clone)]
enum Running {
    RowNumber,
    Lag(Arc<dyn PhysicalExpr>),
    /// Of the rows in which this is not null.
    Count(Arc<dyn PhysicalExpr>),
    /// Of this, of that type.
    Sum(Arc<dyn PhysicalExpr>, DataType),
    Min(Arc<dyn PhysicalExpr>, DataType),
    Max(Arc<dyn PhysicalExpr>, DataType),
}

impl Running {
    fn of(window: &Arc<dyn WindowExpr>) -> Option<Self> {
        if let Some(standard) = window.as_any().downcast_ref::<StandardWindowExpr>() {
            let function = standard.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>()?;
            // As with filters below.
            let minds_nulls = format!("{function:?}").ends_with("ignore_nulls: false }");
            return match (function.fun().name(), function.args()) {
                ("row_number", _) => Some(Self::RowNumber),
                ("lag", [of]) if minds_nulls => Some(Self::Lag(Arc::clone(of))),
                _ => None,
            };
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
        let adds_up = matches!(returns, DataType::Int64 | DataType::Decimal128(..));
        // Of floating-point numbers, which one is the smaller is a matter of convention.
        let has_order = returns.is_integer() || returns.is_decimal() || (returns.is_temporal() && returns.is_primitive());
        match function.fun().name() {
            "count" => Some(Self::Count(argument)),
            "sum" if adds_up => Some(Self::Sum(argument, returns)),
            "min" if has_order => Some(Self::Min(argument, returns)),
            "max" if has_order => Some(Self::Max(argument, returns)),
            _ => None,
        }
    }

    /// Before the first row.
    fn start(&self) -> Result<Box<dyn Told>> {
        Ok(match self {
            Self::RowNumber => Box::new(Numbers(0)),
            Self::Lag(of) => Box::new(Lagging { of: Arc::clone(of), before: None }),
            Self::Count(of) => Box::new(Counts { of: Arc::clone(of), before: 0 }),
            Self::Sum(of, DataType::Int64) => fold::<Int64Type>(of, &DataType::Int64, ArrowNativeTypeOp::add_wrapping),
            Self::Sum(of, returns) => fold::<Decimal128Type>(of, returns, ArrowNativeTypeOp::add_wrapping),
            Self::Min(of, returns) => fold_any!(of, returns, |a, b| if b.is_lt(a) { b } else { a }),
            Self::Max(of, returns) => fold_any!(of, returns, |a, b| if b.is_gt(a) { b } else { a }),
        })
    }
}

/// A window on its way through the rows.
trait Told: Send {
    /// Its value in every row of a batch. `groups` are the rows of one partition each; the first goes on with what was told of the row
    /// before if it `continues` the last partition of the batch before.
    fn next(&mut self, batch: &RecordBatch, groups: &[Range<usize>], continues: bool) -> Result<ArrayRef>;
}

struct Numbers(u64);

impl Told for Numbers {
    fn next(&mut self, batch: &RecordBatch, groups: &[Range<usize>], continues: bool) -> Result<ArrayRef> {
        let mut numbers = Vec::with_capacity(batch.num_rows());
        for (group, rows) in groups.iter().enumerate() {
            let from = if group == 0 && continues { self.0 } else { 0 };
            self.0 = from + rows.len() as u64;
            numbers.extend(from + 1..=self.0);
        }
        Ok(Arc::new(UInt64Array::from(numbers)))
    }
}

struct Lagging {
    of: Arc<dyn PhysicalExpr>,
    /// Its value in the row before, alone.
    before: Option<ArrayRef>,
}

impl Told for Lagging {
    fn next(&mut self, batch: &RecordBatch, groups: &[Range<usize>], continues: bool) -> Result<ArrayRef> {
        let values = self.of.evaluate(batch)?.into_array(batch.num_rows())?;
        let null = new_null_array(values.data_type(), 1);
        let before = self.before.replace(values.slice(values.len() - 1, 1)).filter(|_| continues).unwrap_or_else(|| Arc::clone(&null));
        let mut places: Vec<(usize, usize)> = (0..values.len()).map(|row| (0, row.saturating_sub(1))).collect();
        for group in groups {
            places[group.start] = if group.start == 0 { (1, 0) } else { (2, 0) };
        }
        Ok(interleave(&[&values, &before, &null], &places)?)
    }
}

struct Counts {
    of: Arc<dyn PhysicalExpr>,
    before: i64,
}

impl Told for Counts {
    fn next(&mut self, batch: &RecordBatch, groups: &[Range<usize>], continues: bool) -> Result<ArrayRef> {
        let nulls = self.of.evaluate(batch)?.into_array(batch.num_rows())?.logical_nulls();
        let mut counts = Vec::with_capacity(batch.num_rows());
        for (group, rows) in groups.iter().enumerate() {
            if group > 0 || !continues {
                self.before = 0;
            }
            counts.extend(rows.clone().map(|row| {
                self.before += i64::from(nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)));
                self.before
            }));
        }
        Ok(Arc::new(Int64Array::from(counts)))
    }
}

/// What comes of taking one value after the other; null until there is one.
struct Fold<T: ArrowPrimitiveType> {
    of: Arc<dyn PhysicalExpr>,
    returns: DataType,
    with: fn(T::Native, T::Native) -> T::Native,
    before: Option<T::Native>,
}

impl<T: ArrowPrimitiveType> Told for Fold<T> {
    fn next(&mut self, batch: &RecordBatch, groups: &[Range<usize>], continues: bool) -> Result<ArrayRef> {
        let values = self.of.evaluate(batch)?.into_array(batch.num_rows())?;
        let values = values.as_primitive::<T>();
        let mut folded = PrimitiveArray::<T>::builder(values.len());
        for (group, rows) in groups.iter().enumerate() {
            if group > 0 || !continues {
                self.before = None;
            }
            for row in rows.clone() {
                if values.is_valid(row) {
                    let value = values.value(row);
                    self.before = Some(self.before.map_or(value, |before| (self.with)(before, value)));
                }
                folded.append_option(self.before);
            }
        }
        Ok(Arc::new(folded.finish().with_data_type(self.returns.clone())))
    }
}

fn fold<T: ArrowPrimitiveType>(
    of: &Arc<dyn PhysicalExpr>,
    returns: &DataType,
    with: fn(T::Native, T::Native) -> T::Native,
) -> Box<dyn Told> {
    Box::new(Fold::<T> { of: Arc::clone(of), returns: returns.clone(), with, before: None })
}

/// `rows between unbounded preceding and current row`
fn up_to_the_row(frame: &WindowFrame) -> bool {
    frame.units == WindowFrameUnits::Rows && frame.start_bound.is_unbounded() && frame.end_bound == WindowFrameBound::CurrentRow
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
            told: self.running.iter().map(Running::start).collect::<Result<_>>()?,
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
    told: Vec<Box<dyn Told>>,
    partition_by: Vec<Arc<dyn PhysicalExpr>>,
    /// The values of `partition by` in the last row of the batch before.
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
        for told in &mut self.told {
            columns.push(told.next(batch, &groups, continues)?);
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
        array::{BooleanArray, Date32Array, Decimal128Array, StringArray},
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
            ("day", Arc::new(rows.iter().map(|row| row.2.map(|day| (day % 1000) as i32)).collect::<Date32Array>()), true),
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
                ("lag(v) over (partition by person order by at)".to_owned(), true),
                ("lag(person) over (order by at desc)".to_owned(), true),
                ("lag(v) ignore nulls over (partition by person order by at)".to_owned(), false),
                ("lag(v, 2) over (partition by person order by at)".to_owned(), false),
                ("lead(v) over (partition by person order by at)".to_owned(), false),
                (format!("sum(v) over (partition by person order by at {TO_HERE})"), true),
                (format!("sum(price) over (partition by person, thing order by at desc {TO_HERE})"), true),
                (format!("count(v) over (partition by thing, person order by at {TO_HERE})"), true),
                (format!("count(*) over (order by at {TO_HERE})"), true),
                (format!("min(price) over (partition by person order by at {TO_HERE})"), true),
                (format!("max(day) over (partition by thing order by at {TO_HERE})"), true),
                (format!("max(person) over (partition by thing order by at {TO_HERE})"), false),
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
                "select at, row_number() over mine as n, sum(v) over mine as s, count(v) over mine as c \
                 from t window mine as (partition by person order by at {TO_HERE}) order by at"
            );
            let ours = runtime.block_on(rows(&sql, table(&given, at_once), at_once, true)).0;
            prop_assert_eq!(ours, runtime.block_on(rows(&sql, table(&given, at_once), at_once, false)).0);
        }
    }
}
