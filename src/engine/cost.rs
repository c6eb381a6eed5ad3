//! What queries took: rows and bytes read, memory at the highest, bytes spilled.

use std::{
    fmt,
    ops::AddAssign,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use datafusion::{
    error::Result,
    execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
    physical_plan::{ExecutionPlan, metrics::MetricsSet},
};
use serde::Serialize;

/// What queries took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Rows that came out of tables, after filters the files themselves could apply.
    pub rows_read: u64,
    /// Bytes of Parquet read.
    pub bytes_read: u64,
    /// Bytes of memory that queries had reserved at the highest; what they hold without reserving it does not count.
    pub peak_memory: u64,
    /// Bytes written to the spill folder.
    pub spilled: u64,
    /// How often memory ran out and a thriftier way was taken.
    pub retries: u64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.rows_read += other.rows_read;
        self.bytes_read += other.bytes_read;
        self.peak_memory = self.peak_memory.max(other.peak_memory);
        self.spilled += other.spilled;
        self.retries += other.retries;
    }
}

/// Adds up what the queries of an engine take.
#[derive(Debug, Default)]
pub(super) struct Meter {
    sum: Mutex<Cost>,
    pool: Arc<Seen>,
}

/// What was seen of a pool.
#[derive(Debug, Default)]
struct Seen {
    /// Bytes in use at the highest.
    peak: AtomicUsize,
    refused: Mutex<Option<Refused>>,
}

/// What was asked of a pool in vain.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    /// DataFusion's name of the step that asked.
    pub(super) step: String,
    /// Bytes it asked for.
    pub(super) wanted: u64,
    /// Bytes that all steps held.
    pub(super) in_use: u64,
}

impl Meter {
    /// A pool that notes how much of it was used at the highest.
    pub(super) fn watch<P: MemoryPool>(&self, pool: P) -> Watched<P> {
        Watched { pool, seen: Arc::clone(&self.pool) }
    }

    /// What was last asked in vain.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.pool.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn add(&self, cost: Cost) {
        *self.sum.lock().unwrap_or_else(PoisonError::into_inner) += cost;
    }

    /// What was taken since this was last asked; `reserved` is what is in use now.
    pub(super) fn take(&self, reserved: usize) -> Cost {
        let mut cost = std::mem::take(&mut *self.sum.lock().unwrap_or_else(PoisonError::into_inner));
        cost.peak_memory = self.pool.peak.swap(reserved, Ordering::Relaxed) as u64;
        cost
    }
}

/// Counts a plan that was run, once its rows are no longer read.
pub(super) struct Counting {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) meter: Arc<Meter>,
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.meter.add(taken(self.plan.as_ref()));
    }
}

/// What a plan and all below it have taken.
fn taken(plan: &dyn ExecutionPlan) -> Cost {
    let metrics = plan.metrics();
    let metrics = metrics.as_ref();
    let number = |count: Option<usize>| count.unwrap_or_default() as u64;
    let mut cost = Cost { spilled: number(metrics.and_then(MetricsSet::spilled_bytes)), ..Cost::default() };
    let below = plan.children();
    if below.is_empty() {
        cost.rows_read = number(metrics.and_then(MetricsSet::output_rows));
        cost.bytes_read = number(metrics.and_then(|metrics| metrics.sum_by_name("bytes_scanned")).map(|bytes| bytes.as_usize()));
    }
    for child in below {
        cost += taken(child.as_ref());
    }
    cost
}

/// A pool whose highest use is noted, and what it refuses.
#[derive(Debug)]
pub(super) struct Watched<P> {
    pool: P,
    seen: Arc<Seen>,
}

impl<P: MemoryPool> Watched<P> {
    fn note(&self) {
        self.seen.peak.fetch_max(self.pool.reserved(), Ordering::Relaxed);
    }
}

impl<P: MemoryPool> fmt::Display for Watched<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.pool, f)
    }
}

impl<P: MemoryPool> MemoryPool for Watched<P> {
    fn name(&self) -> &str {
        self.pool.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.pool.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.pool.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pool.grow(reservation, additional);
        self.note();
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let grown = self.pool.try_grow(reservation, additional);
        match &grown {
            Ok(()) => self.note(),
            Err(_) => {
                let step = reservation.consumer().name().split('[').next().unwrap_or_default().to_owned();
                let (wanted, in_use) = (additional as u64, self.pool.reserved() as u64);
                *self.seen.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(Refused { step, wanted, in_use });
            }
        }
        grown
    }

    fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.pool.memory_limit()
    }
}
