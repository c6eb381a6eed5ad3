//! How many rows each step of a plan may give, as far as that decides which side of a join is held in memory.
//!
//! DataFusion's own estimates take values for evenly spread between the least and the greatest, and conditions for independent of each
//! other: "kept, not sent back, among the last three" comes to a few hundred of ten million rows, where a quarter of them is meant. A join
//! that rests on such a figure holds the larger side, and fills its table with one core. Here a filter leaves a quarter, however many
//! conditions it has; joins and groups are told from the number of different values in their columns, which the lake knows of every table it
//! wrote. (Two tables of L and R rows that meet in a column with d different values give LR/d rows: Selinger et al., "Access Path Selection
//! in a Relational Database Management System", SIGMOD 1979.)

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::{
    common::{JoinType, Result, Statistics, stats::Precision},
    logical_expr::Operator,
    physical_expr::{
        PhysicalExpr,
        expressions::{BinaryExpr, Column, IsNotNullExpr},
    },
    physical_plan::{
        ExecutionPlan,
        aggregates::AggregateExec,
        filter::FilterExec,
        joins::{CrossJoinExec, HashJoinExec, JoinOnRef, NestedLoopJoinExec, SortMergeJoinExec},
        operator_statistics::{ExtendedStatistics, StatisticsProvider, StatisticsRegistry, StatisticsResult},
        projection::ProjectionExec,
        statistics::{StatisticsArgs, StatisticsContext},
    },
    prelude::SessionConfig,
};

/// Of so many rows that a filter is given, one is left.
const OF_A_FILTER: f64 = 4.0;
/// Of so many rows that are grouped by columns nobody knows the values of, one group is made.
const OF_A_GROUP: f64 = 2.0;
/// Bytes of a value without a width of its own, such as a text.
const WIDE: usize = 24;
/// So many times its bytes it is worth not to hold a side whose rows are in order: held, they are in none, and what groups or sorts by it has
/// to begin anew.
const IN_ORDER: f64 = 8.0;

/// The estimates, to be asked before a join's sides are chosen.
pub(super) fn registry() -> StatisticsRegistry {
    StatisticsRegistry::with_providers(vec![Arc::new(RowEstimates)])
}

/// Settings under which they are asked.
pub(super) fn asked(mut config: SessionConfig) -> SessionConfig {
    config.options_mut().optimizer.use_statistics_registry = true;
    config
}

/// What a step gives.
#[derive(Debug, Clone, PartialEq)]
struct Estimate {
    rows: f64,
    /// Of each column, how many different values; none where nobody knows.
    distinct: Vec<Option<f64>>,
}

#[derive(Debug)]
struct RowEstimates;

impl StatisticsProvider for RowEstimates {
    fn compute_statistics(&self, plan: &dyn ExecutionPlan, children: &[ExtendedStatistics]) -> Result<StatisticsResult> {
        let estimate = if children.is_empty() {
            of_table(&*StatisticsContext::new().compute(plan, &StatisticsArgs::new())?)
        } else {
            let children: Option<Vec<&Estimate>> = children.iter().map(ExtendedStatistics::get_extension).collect();
            children.map(|children| of_step(plan, &children))
        };
        let mut statistics = Statistics::new_unknown(&plan.schema());
        if let Some(Estimate { rows, .. }) = &estimate {
            statistics.num_rows = Precision::Inexact(*rows as usize);
            let worth = if plan.properties().output_ordering().is_some() { IN_ORDER } else { 1.0 };
            statistics.total_byte_size = Precision::Inexact((*rows * width(&plan.schema()) as f64 * worth) as usize);
        }
        let mut statistics = ExtendedStatistics::new(statistics);
        if let Some(estimate) = estimate {
            statistics.set_extension(estimate);
        }
        Ok(StatisticsResult::Computed(statistics))
    }
}

/// What is read; none where nobody knows its rows.
fn of_table(told: &Statistics) -> Option<Estimate> {
    let distinct = told.column_statistics.iter().map(|column| column.distinct_count.get_value().map(|count| *count as f64));
    told.num_rows.get_value().map(|rows| Estimate { rows: *rows as f64, distinct: distinct.collect() })
}

/// What a step gives that is given this much.
fn of_step(plan: &dyn ExecutionPlan, given: &[&Estimate]) -> Estimate {
    let mut estimate = match given {
        [left, right] if plan.is::<CrossJoinExec>() => side_by_side(left.rows * right.rows, left, right),
        [left, right] => match joined(plan, left, right) {
            Some(joined) => joined,
            None => together(given),
        },
        [input] => of_one(plan, input),
        _ => together(given),
    };
    if let Some(most) = plan.fetch() {
        estimate.rows = estimate.rows.min(most as f64);
    }
    // What has columns that nobody followed here says nothing of them.
    estimate.distinct.resize(plan.schema().fields().len(), None);
    for distinct in estimate.distinct.iter_mut().flatten() {
        *distinct = distinct.min(estimate.rows);
    }
    estimate
}

/// What a step gives that has one input.
fn of_one(plan: &dyn ExecutionPlan, input: &Estimate) -> Estimate {
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let left = if leaves_all(filter.predicate()) { 1.0 } else { 1.0 / OF_A_FILTER };
        let distinct = input.distinct.iter().map(|distinct| distinct.map(|distinct| of_some(distinct, input.rows, left))).collect();
        return Estimate { rows: input.rows * left, distinct }.project(filter.projection().as_deref());
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let distinct = projection.expr().iter().map(|column| input.of(&column.expr)).collect();
        return Estimate { rows: input.rows, distinct };
    }
    if let Some(grouped) = plan.downcast_ref::<AggregateExec>() {
        let by: Vec<Option<f64>> = grouped.group_expr().expr().iter().map(|(column, _)| input.of(column)).collect();
        let groups = by.iter().copied().product::<Option<f64>>().unwrap_or(input.rows / OF_A_GROUP);
        return Estimate { rows: groups.min(input.rows), distinct: by };
    }
    match plan.schema().fields().len() < input.distinct.len() {
        true => Estimate { rows: input.rows, distinct: Vec::new() },
        // What a window adds stands behind what it is given.
        false => input.clone(),
    }
}

/// All rows of several inputs, such as those of a union.
fn together(given: &[&Estimate]) -> Estimate {
    let columns = given.first().map_or(0, |first| first.distinct.len());
    let most = |column: usize| -> Option<f64> {
        let each: Option<Vec<f64>> = given.iter().map(|each| *each.distinct.get(column)?).collect();
        each?.into_iter().reduce(f64::max)
    };
    Estimate { rows: given.iter().map(|each| each.rows).sum(), distinct: (0..columns).map(most).collect() }
}

/// What a join gives; none where the step is none.
fn joined(plan: &dyn ExecutionPlan, left: &Estimate, right: &Estimate) -> Option<Estimate> {
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return Some(of_join(*join.join_type(), join.on(), left, right).project(join.projection.as_deref()));
    }
    if let Some(join) = plan.downcast_ref::<SortMergeJoinExec>() {
        return Some(of_join(join.join_type(), join.on(), left, right));
    }
    let join = plan.downcast_ref::<NestedLoopJoinExec>()?;
    let pairs = left.rows * right.rows / if join.filter().is_some() { OF_A_FILTER } else { 1.0 };
    Some(of_pairs(*join.join_type(), pairs, left, right).project(join.projection().as_deref()))
}

/// Rows that find each other by a key.
fn of_join(kind: JoinType, on: JoinOnRef<'_>, left: &Estimate, right: &Estimate) -> Estimate {
    let larger = left.rows.max(right.rows);
    // Where one side's values are known, the other's are among them or the other way round.
    let values = |(of_left, of_right): &(_, _)| match (left.of(of_left), right.of(of_right)) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    };
    let known: Vec<f64> = on.iter().filter_map(values).collect();
    // Of a key nobody knows, each of the larger side's rows has one partner.
    let different = if known.is_empty() { left.rows.min(right.rows) } else { known.iter().product::<f64>().min(larger) };
    of_pairs(kind, left.rows * right.rows / different.max(1.0), left, right)
}

/// What a join gives in which so many pairs are found.
fn of_pairs(kind: JoinType, pairs: f64, left: &Estimate, right: &Estimate) -> Estimate {
    match kind {
        JoinType::Inner => side_by_side(pairs, left, right),
        JoinType::Left => side_by_side(pairs.max(left.rows), left, right),
        JoinType::Right => side_by_side(pairs.max(right.rows), left, right),
        JoinType::Full => side_by_side(pairs.max(left.rows + right.rows - pairs), left, right),
        JoinType::LeftSemi => Estimate { rows: pairs.min(left.rows), ..left.clone() },
        JoinType::RightSemi => Estimate { rows: pairs.min(right.rows), ..right.clone() },
        JoinType::LeftAnti | JoinType::LeftMark => left.clone(),
        JoinType::RightAnti | JoinType::RightMark => right.clone(),
    }
}

fn side_by_side(rows: f64, left: &Estimate, right: &Estimate) -> Estimate {
    Estimate { rows, distinct: left.distinct.iter().chain(&right.distinct).copied().collect() }
}

impl Estimate {
    /// How many different values an expression has.
    fn of(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<f64> {
        *self.distinct.get(expr.downcast_ref::<Column>()?.index())?
    }

    /// The same with some of the columns.
    fn project(self, columns: Option<&[usize]>) -> Self {
        match columns {
            Some(columns) => {
                let distinct = columns.iter().map(|column| self.distinct.get(*column).copied().flatten()).collect();
                Self { rows: self.rows, distinct }
            }
            None => self,
        }
    }
}

/// Of so many different values in so many rows, how many are left in a share of the rows.
fn of_some(distinct: f64, rows: f64, share: f64) -> f64 {
    if distinct <= 0.0 { distinct } else { distinct * (1.0 - (1.0 - share).powf(rows / distinct)) }
}

/// Whether a condition only asks for values that are nearly always there.
fn leaves_all(condition: &Arc<dyn PhysicalExpr>) -> bool {
    match condition.downcast_ref::<BinaryExpr>() {
        Some(both) if *both.op() == Operator::And => leaves_all(both.left()) && leaves_all(both.right()),
        _ => condition.is::<IsNotNullExpr>(),
    }
}

/// Bytes of a row.
fn width(columns: &Schema) -> usize {
    let of = |column: &DataType| if *column == DataType::Boolean { 1 } else { column.primitive_width().unwrap_or(WIDE) };
    columns.fields().iter().map(|field| of(field.data_type())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: f64, distinct: &[f64]) -> Estimate {
        Estimate { rows, distinct: distinct.iter().map(|distinct| (*distinct > 0.0).then_some(*distinct)).collect() }
    }

    fn column(index: usize) -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new("c", index))
    }

    fn rows(kind: JoinType, on: &[(usize, usize)], left: &Estimate, right: &Estimate) -> f64 {
        let on: Vec<_> = on.iter().map(|(left, right)| (column(*left), column(*right))).collect();
        of_join(kind, &on, left, right).rows
    }

    #[test]
    fn a_join_is_told_from_the_different_values_it_meets_in() {
        let (orders, people) = (of(1000.0, &[1000.0, 100.0]), of(100.0, &[100.0]));
        let some = of(25.0, &[25.0]);
        assert_eq!(rows(JoinType::Inner, &[(1, 0)], &orders, &people), 1000.0);
        assert_eq!(rows(JoinType::Inner, &[(1, 0)], &orders, &some), 250.0);
        assert_eq!(rows(JoinType::Left, &[(0, 1)], &people, &orders), 1000.0);
        assert_eq!(rows(JoinType::RightSemi, &[(0, 1)], &some, &orders), 250.0);
        assert_eq!(rows(JoinType::LeftAnti, &[(1, 0)], &orders, &people), 1000.0);
        let pairs = of(200.0, &[20.0, 20.0]);
        assert_eq!(rows(JoinType::Inner, &[(0, 0)], &of(50.0, &[20.0]), &pairs), 500.0, "each row meets ten");
        assert_eq!(rows(JoinType::Inner, &[(0, 0), (1, 1)], &orders, &of(500.0, &[300.0, 300.0])), 500.0, "no more than rows");
        assert_eq!(rows(JoinType::Inner, &[(0, 0)], &of(50.0, &[0.0]), &of(7.0, &[0.0])), 50.0, "nobody knows");
    }

    #[test]
    fn a_filter_leaves_most_values_that_stand_often() {
        assert_eq!(of_some(10.0, 10.0, 0.25), 2.5);
        assert!(of_some(10.0, 1000.0, 0.25) > 9.9);
        assert_eq!(of_some(0.0, 0.0, 0.25), 0.0);
    }
}
