//! Sums of doubles. Their last digits depend on the order in which they are added up, and that differs from run to run.

use datafusion::{
    common::{
        Column, DFSchema,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    logical_expr::{Expr, ExprSchemable, LogicalPlan, WindowFunctionDefinition},
};

use super::query::Origin;
use crate::diagnosis::{Diagnosis, Finding};

/// Aggregates that add their rows up, and have an exact answer for decimals.
const SUMS: [&str; 2] = ["sum", "avg"];

/// The sums of doubles in a plan whose types are those the query was written with: an average of whole numbers is worked out in doubles, too,
/// but those are exact.
pub(super) fn findings(plan: &LogicalPlan, origin: Origin<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    // A clause that is named twice stands in the plan twice.
    let mut tell = |name: &str, place| {
        let message = format!("`{name}` adds up doubles: its last digits may differ from run to run");
        let hint = format!("add up decimals, which are exact: `{name}(cast(… as decimal(18, 4)))`");
        let finding = Finding::warning(origin.place(Diagnosis::new("sql_inexact_sum", message).hint(hint), place));
        if !found.contains(&finding) {
            found.push(finding);
        }
    };
    let _ = plan.apply_with_subqueries(|node| {
        if let (LogicalPlan::Aggregate(_) | LogicalPlan::Window(_), Some(input)) = (node, node.inputs().first()) {
            for expr in node.expressions() {
                let _ = expr.apply(|part| {
                    if let Some((name, summed)) = sum_of_doubles(part, input.schema()) {
                        tell(name, place(summed));
                    }
                    Ok(TreeNodeRecursion::Continue)
                });
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// The name of the function and what it adds up. A window that is in order adds up its rows in that order.
fn sum_of_doubles<'e>(expr: &'e Expr, input: &DFSchema) -> Option<(&'e str, &'e Expr)> {
    let (name, arguments) = match expr {
        Expr::AggregateFunction(function) => (function.func.name(), &function.params.args),
        Expr::WindowFunction(function) => match &function.fun {
            WindowFunctionDefinition::AggregateUDF(sum) if function.params.order_by.is_empty() => (sum.name(), &function.params.args),
            _ => return None,
        },
        _ => return None,
    };
    let summed = arguments.first()?;
    (SUMS.contains(&name) && summed.get_type(input).is_ok_and(|kind| kind.is_floating())).then_some((name, summed))
}

/// Where the first column of an expression stands.
fn place(expr: &Expr) -> Option<(usize, usize)> {
    let mut place = None;
    let _ = expr.apply(|part| {
        if let Expr::Column(Column { spans, .. }) = part {
            place = spans.first().and_then(|span| Some((usize::try_from(span.start.line).ok()?, usize::try_from(span.start.column).ok()?)));
        }
        Ok(if place.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    place
}
