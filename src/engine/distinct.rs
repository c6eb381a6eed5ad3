//! Counting different days and instants as fast as different numbers.
//!
//! DataFusion counts distinct integers of all groups in one place; of every other type it keeps an object for each group, which for a
//! million customers takes many times as long.

use arrow::datatypes::DataType;
use datafusion::{
    common::tree_node::{Transformed, TreeNode},
    error::Result,
    logical_expr::{Aggregate, Cast, Expr, ExprSchemable, LogicalPlan, expr::AggregateFunction},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule, utils::NamePreserver},
};

/// Counts the integers that stand for dates and instants in their place.
#[derive(Debug)]
pub(super) struct CountingNumbers;

impl OptimizerRule for CountingNumbers {
    fn name(&self) -> &'static str {
        "counting_numbers"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(Aggregate { input, group_expr, aggr_expr, schema, .. }) = plan else { return Ok(Transformed::no(plan)) };
        let names = NamePreserver::new_for_projection();
        let mut changed = false;
        let aggr_expr = aggr_expr.into_iter().map(|expr| {
            let name = names.save(&expr);
            let expr = expr.transform_down(|expr| {
                let Some((function, to)) = counted(&expr, &input)? else { return Ok(Transformed::no(expr)) };
                Ok(Transformed::yes(Expr::AggregateFunction(as_numbers(function, to))))
            })?;
            changed |= expr.transformed;
            Ok(name.restore(expr.data))
        });
        let aggr_expr = aggr_expr.collect::<Result<Vec<_>>>()?;
        let plan = LogicalPlan::Aggregate(Aggregate::try_new_with_schema(input, group_expr, aggr_expr, schema)?);
        Ok(Transformed::new_transformed(plan, changed))
    }
}

/// A count of distinct dates or instants, and the integers that stand for them.
fn counted<'e>(expr: &'e Expr, input: &LogicalPlan) -> Result<Option<(&'e AggregateFunction, DataType)>> {
    let Expr::AggregateFunction(function) = expr else { return Ok(None) };
    let [value] = function.params.args.as_slice() else { return Ok(None) };
    if function.func.name() != "count" || !function.params.distinct {
        return Ok(None);
    }
    let to = match value.get_type(input.schema())? {
        DataType::Date32 => DataType::Int32,
        DataType::Date64 | DataType::Timestamp(..) => DataType::Int64,
        _ => return Ok(None),
    };
    Ok(Some((function, to)))
}

fn as_numbers(function: &AggregateFunction, to: DataType) -> AggregateFunction {
    let mut function = function.clone();
    function.params.args = function.params.args.into_iter().map(|value| Expr::Cast(Cast::new(Box::new(value), to.clone()))).collect();
    function
}
