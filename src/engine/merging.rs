//! Joins that need no room for a whole side.
//!
//! DataFusion plans sort-merge joins for two partitions and more only; for one it always holds a join's left side in memory. The last ways
//! of running a query have one partition, because every further one takes memory of its own, and must not hold anything.

use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::{
    common::tree_node::{Transformed, TreeNode},
    config::ConfigOptions,
    error::Result,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan,
        joins::{HashJoinExec, SortMergeJoinExec},
    },
};

/// Makes sort-merge joins of hash joins where a single partition is to do without the latter. It stands before every other rule, which
/// then add the sorting.
#[derive(Debug)]
pub(super) struct MergingJoins;

impl PhysicalOptimizerRule for MergingJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        if config.execution.target_partitions > 1 || config.optimizer.prefer_hash_join {
            return Ok(plan);
        }
        let merging = plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else { return Ok(Transformed::no(node)) };
            // `not in` over a column with nulls has no other join; what an earlier rule put into the join would be lost.
            if join.null_aware || join.contains_projection() {
                return Ok(Transformed::no(node));
            }
            let merging = SortMergeJoinExec::try_new(
                Arc::clone(join.left()),
                Arc::clone(join.right()),
                join.on().to_vec(),
                join.filter().cloned(),
                *join.join_type(),
                vec![SortOptions::default(); join.on().len()],
                join.null_equality(),
            )?;
            Ok(Transformed::yes(Arc::new(merging) as _))
        });
        merging.map(|merging| merging.data)
    }

    fn name(&self) -> &str {
        "merging_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
