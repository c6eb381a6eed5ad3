//! Who delivers now. A row of `workers` is a lease: without one nobody reserves or commits.
//!
//! Whoever stands still for longer than the lease may lose it to another, which then settles what it had in hand: reserved messages wait again,
//! those that may be leaving are `unknown`. Whether somebody still has a lease is asked in the transaction that commits, under the write lock,
//! so no clock decides what may be sent; clocks only decide when a lease may be taken away. A worker asks itself, too, before each message
//! leaves ([`Lease::holds`]), so that one that wakes up late does not even finish what others have settled.
//!
//! Only one process at a time delivers from a file, which a lock of the system sees to; leases of others are then of the dead.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;

use super::{
    Ledger, LedgerError, micros, point,
    store::{Write, query, query_as},
};

/// The name of a worker while it lives; never given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Worker(i64);

impl Worker {
    /// As the ledger writes it.
    pub(in crate::ledger) fn id(self) -> i64 {
        self.0
    }
}

/// A worker's own view of its lease; kept alive in the background until it is dropped. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    worker: Worker,
    /// None where nobody can take it away.
    term: Option<Arc<Term>>,
}

#[derive(Debug)]
struct Term {
    /// Until when it surely holds, by the clock that only goes forward and by the one on the wall: the first stands still while a machine
    /// sleeps.
    until: Mutex<(Instant, SystemTime)>,
    lost: AtomicBool,
    renewal: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Term {
    fn drop(&mut self) {
        if let Ok(mut renewal) = self.renewal.lock()
            && let Some(task) = renewal.take()
        {
            task.abort();
        }
    }
}

impl Term {
    fn extend(&self, asked: (Instant, SystemTime), by: Duration) {
        if let Ok(mut until) = self.until.lock() {
            *until = (asked.0 + by, asked.1 + by);
        }
    }
}

impl Lease {
    /// Whose it is.
    pub(crate) fn worker(&self) -> Worker {
        self.worker
    }

    /// Whether nobody can have taken it away yet.
    pub(crate) fn holds(&self) -> bool {
        let Some(term) = &self.term else { return true };
        let (until, on_the_wall) = term.until.lock().map_or_else(|_| (Instant::now(), SystemTime::UNIX_EPOCH), |until| *until);
        !term.lost.load(Ordering::Relaxed) && Instant::now() < until && SystemTime::now() < on_the_wall
    }
}

impl Ledger {
    /// Whether several processes may deliver from this ledger at once.
    pub(crate) fn is_shared(&self) -> bool {
        self.pool().is_shared()
    }

    /// How long a worker may stand still.
    pub(crate) fn term(&self) -> Duration {
        self.lease.duration()
    }

    /// A lease for a new worker.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub(crate) async fn join(&self, now: DateTime<Utc>) -> Result<Lease, LedgerError> {
        let asked = (Instant::now(), SystemTime::now());
        let mut write = self.begin().await?;
        let now = wall(&mut write, now).await?;
        let worker: i64 = query_as("insert into workers (began_at, until) values (?1, ?1 + ?2) returning worker")
            .bind(now)
            .bind(self.lease.delta().num_microseconds())
            .fetch_one(&mut write)
            .await?;
        point("ledger.join.commit")?;
        write.commit().await?;
        point("ledger.join.durable")?;
        let worker = Worker(worker);
        if !self.is_shared() {
            return Ok(Lease { worker, term: None });
        }
        let sure = self.term() - self.term() / 6;
        let until = Mutex::new((asked.0 + sure, asked.1 + sure));
        let term = Arc::new(Term { until, lost: AtomicBool::new(false), renewal: Mutex::new(None) });
        let (ledger, renewed, often) = (self.clone(), Arc::downgrade(&term), self.term() / 4);
        let renewal = tokio::spawn(async move {
            loop {
                tokio::time::sleep(often).await;
                let asked = (Instant::now(), SystemTime::now());
                let alive = ledger.renew(worker).await;
                let Some(term) = renewed.upgrade() else { return };
                match alive {
                    Ok(true) => term.extend(asked, sure),
                    Ok(false) => return term.lost.store(true, Ordering::Relaxed),
                    // It holds until its time; perhaps the database is back by then.
                    Err(error) => tracing::warn!(%error, "the lease of this worker could not be renewed"),
                }
            }
        });
        if let Ok(mut task) = term.renewal.lock() {
            *task = Some(renewal);
        }
        Ok(Lease { worker, term: Some(term) })
    }

    /// Extends a lease by its term; `false` where it has been taken away.
    async fn renew(&self, worker: Worker) -> Result<bool, LedgerError> {
        let renewed =
            query("update workers set until = cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) + ?2 where worker = ?1")
                .bind(worker.0)
                .bind(self.lease.delta().num_microseconds())
                .execute(self.pool())
                .await?;
        Ok(renewed.rows_affected() > 0)
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// Where the ledger cannot be written; then it runs out by itself.
    pub(crate) async fn leave(&self, worker: Worker) -> Result<(), LedgerError> {
        query("delete from workers where worker = ?").bind(worker.0).execute(self.pool()).await?;
        Ok(())
    }

    /// Takes away the leases that have run out; of a file, where only one may deliver, all but this worker's. Returns how many.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub(crate) async fn take_over(&self, worker: Worker, now: DateTime<Utc>) -> Result<u64, LedgerError> {
        let mut write = self.begin().await?;
        let now = if self.is_shared() { wall(&mut write, now).await? } else { i64::MAX };
        let taken = query("delete from workers where worker <> ?1 and until < ?2").bind(worker.0).bind(now).execute(&mut write).await?;
        point("ledger.take_over.commit")?;
        write.commit().await?;
        point("ledger.take_over.durable")?;
        Ok(taken.rows_affected())
    }

    /// How many workers have a lease, and how many of them came before this one.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub(crate) async fn company(&self, worker: Worker) -> Result<(u64, u64), LedgerError> {
        let (all, before): (i64, i64) =
            query_as("select count(*), count(*) filter (where worker < ?) from workers").bind(worker.0).fetch_one(self.pool()).await?;
        Ok((all.unsigned_abs(), before.unsigned_abs()))
    }
}

/// The time leases go by: workers on several machines ask the one database.
async fn wall(write: &mut Write<'static>, now: DateTime<Utc>) -> Result<i64, LedgerError> {
    if let Write::File(_) = write {
        return Ok(micros(now));
    }
    Ok(query_as("select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)").fetch_one(write).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixture;

    #[tokio::test]
    async fn a_lease_that_was_taken_away_is_gone_for_good() {
        let root = tempfile::tempdir().unwrap();
        let ledger = fixture::open(root.path()).await;
        let now = Utc::now();
        let (first, second) = (ledger.join(now).await.unwrap(), ledger.join(now).await.unwrap());
        assert_ne!(first.worker(), second.worker());
        assert_eq!(ledger.company(second.worker()).await.unwrap(), (2, 1));
        if ledger.is_shared() {
            assert_eq!(ledger.take_over(second.worker(), now).await.unwrap(), 0, "it lives");
            fixture::run(&ledger, &format!("update workers set until = 5 where worker = {}", first.worker().id())).await;
        }
        assert_eq!(ledger.take_over(second.worker(), now).await.unwrap(), 1);
        if ledger.is_shared() {
            assert!(!ledger.renew(first.worker()).await.unwrap(), "no way back");
            assert!(ledger.renew(second.worker()).await.unwrap());
        }
        ledger.leave(second.worker()).await.unwrap();
        let third = ledger.join(now).await.unwrap();
        assert!(third.worker().id() > second.worker().id(), "no name is given twice");
        assert!(third.holds());
    }
}
