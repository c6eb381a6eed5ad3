//! The ways of running a query, in the order they are tried: each later one needs less memory and more time.
//!
//! What cannot give memory back is what a merge of spilled runs holds, a few batches of each run in every partition. So a way bounds the
//! partitions, the rows of a batch, the runs merged at once, and what all sorts together set aside for merging. What that takes is not told
//! from the rows: beside each of them stands its key, written so that bytes compare as values do, which is longer than a narrow row.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    physical_plan::{ExecutionPlan, ExecutionPlanProperties, sorts::sort::SortExec},
    prelude::SessionConfig,
};

/// Rows of a batch, where memory is no concern: DataFusion's own number.
const BATCH: usize = 8192;
/// Bytes of such a batch, if its rows are wide.
const BATCH_BYTES: u64 = 1 << 20;
/// What all sorts set aside for merging where memory is no concern: it counts as used, though mostly nobody needs it.
const FOR_MERGING: u64 = 64 << 20;
/// Sorts that are merging at the same time in one partition of an ordinary query.
const SORTS: u64 = 4;

/// What the built side of a join may come to, in bytes, for it to be held once for all of more partitions than two instead of dealing both
/// sides out. One core fills the table of what is held once, and the others wait; but the other side keeps its order and its parts, and what
/// follows need not deal rows out and sort them again. For two partitions that is worth it whatever is held.
const HELD_ONCE: usize = 32 << 20;

/// One way of running a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rung {
    pub(super) hash_join: bool,
    pub(super) partitions: usize,
    /// Rows.
    pub(super) batch_size: usize,
    /// Spilled runs that a sort may merge at once. A merge takes all it can get: without a bound the first sorts of a sort-merge join leave
    /// nothing to the others.
    pub(super) merge_fan_in: usize,
    /// Bytes that all sorts of a query set aside for merging.
    pub(super) for_merging: usize,
}

impl Rung {
    /// The quickest way.
    pub(super) fn first(limit: u64, partitions: usize) -> Self {
        let parts = partitions.max(1) as u64;
        Self {
            hash_join: true,
            partitions,
            batch_size: BATCH,
            merge_fan_in: size((limit / (BATCH_BYTES * SORTS * parts)).clamp(2, 64)),
            for_merging: size((limit / 8).min(FOR_MERGING)),
        }
    }

    /// The other ways: sort-merge joins, fewer partitions, at last small batches and two runs at a time.
    pub(super) fn thriftier(limit: u64, configured: usize) -> Vec<Self> {
        let halves = std::iter::successors(Some(configured.max(1)), |partitions| (*partitions > 1).then_some(partitions / 2));
        let for_merging = size(limit / 3);
        let mut rungs: Vec<Self> =
            halves.map(|partitions| Self { hash_join: false, for_merging, ..Self::first(limit, partitions) }).collect();
        let last = |batch_size| Self { hash_join: false, partitions: 1, batch_size, merge_fan_in: 2, for_merging };
        rungs.extend([last(1024), last(256)]);
        rungs
    }

    /// Settings that run a query this way.
    pub(super) fn config(self, config: SessionConfig) -> SessionConfig {
        let mut config = config.with_target_partitions(self.partitions).with_batch_size(self.batch_size);
        let options = config.options_mut();
        options.optimizer.prefer_hash_join = self.hash_join;
        options.optimizer.hash_join_single_partition_threshold = if self.partitions <= 2 { usize::MAX } else { HELD_ONCE };
        // Rows that lie together by customer lie together by customer and product, too.
        options.optimizer.subset_repartition_threshold = 1;
        config
    }

    /// Settings that carry out a plan this way.
    pub(super) fn carrying_out(self, mut config: SessionConfig, plan: &Arc<dyn ExecutionPlan>) -> SessionConfig {
        config.options_mut().execution.sort_spill_reservation_bytes = self.for_merging / sorts(plan).max(1);
        config
    }
}

/// How many sorts a plan has, in all partitions.
fn sorts(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let mut count = 0;
    let _ = plan.apply(|step| {
        if let Some(sort) = step.downcast_ref::<SortExec>() {
            count += sort.input().output_partitioning().partition_count();
        }
        Ok(TreeNodeRecursion::Continue)
    });
    count
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_end_with_one_partition_and_small_batches() {
        for configured in [1, 2, 3, 8] {
            let rungs = Rung::thriftier(64 << 20, configured);
            assert!(rungs.iter().all(|rung| !rung.hash_join && rung.merge_fan_in >= 2 && rung.for_merging > 0));
            assert!(rungs.is_sorted_by(|a, b| a.partitions >= b.partitions && a.batch_size >= b.batch_size), "{rungs:?}");
            let last = rungs.last().unwrap();
            assert_eq!((last.partitions, last.batch_size, last.merge_fan_in, last.for_merging), (1, 256, 2, (64 << 20) / 3));
        }
    }
}
