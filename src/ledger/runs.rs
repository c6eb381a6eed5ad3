//! Which jobs ran, what they pulled, and which slots of their schedules are taken.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::{
    Ledger, LedgerError, instant, micros,
    store::{Row, query, query_as},
};

/// How a run ended, or that it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// It has not ended.
    Running,
    /// Its process was killed. The ledger does not know; whoever finds its job's lock free does.
    Died,
    /// It did all it had to.
    Done,
    /// It failed; running it again is safe.
    Failed,
}

impl RunStatus {
    /// As the ledger writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Died => "died",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    fn read(text: &str) -> Result<Self, LedgerError> {
        match text {
            "running" => Ok(Self::Running),
            "done" => Ok(Self::Done),
            "failed" => Ok(Self::Failed),
            other => Err(LedgerError::Value { value: other.to_owned(), expected: "status of a run" }),
        }
    }
}

/// One run of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunRecord {
    /// Its name.
    pub run: String,
    /// The job.
    pub job: String,
    /// Its logical time.
    pub as_of: DateTime<Utc>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// How it ended.
    pub status: RunStatus,
    /// Why it failed.
    pub error: Option<String>,
    /// What it did, as the JSON of `run --format json`.
    pub summary: Option<String>,
}

/// One stream of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PullRecord {
    /// The run.
    pub run: String,
    /// The source.
    pub source: String,
    /// The stream.
    pub stream: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended; none while it runs, or where its process was killed.
    pub finished_at: Option<DateTime<Utc>>,
    /// Rows that came.
    pub rows: u64,
    /// Bytes of the pages or files they came in.
    pub bytes: u64,
    /// Rows that were new.
    pub inserted: u64,
    /// Rows that replaced an earlier one.
    pub updated: u64,
    /// Rows newly marked as deleted.
    pub deleted: u64,
    /// Rows set aside because they did not fit.
    pub quarantined: u64,
    /// Requests sent, or files read.
    pub requests: u64,
    /// Requests among them that were repeated.
    pub retries: u64,
    /// Where the next pull begins, as the source writes it.
    pub cursor: Option<String>,
    /// What that means, where it is an instant; how far it lies behind `finished_at` is the stream's lag.
    pub cursor_at: Option<DateTime<Utc>>,
    /// How the stream sees deletes: `none`, `flag`, `reconcile`, `events` or the last two.
    pub deletes: Option<String>,
    /// What of the source differs from what is declared: fields nobody declared, fields that do not come, columns that have widened.
    pub drift: Option<String>,
    /// Why it failed; never holds a value of a row.
    pub error: Option<String>,
}

impl PullRecord {
    /// A stream that has just begun.
    #[must_use]
    pub fn begin(run: &str, source: &str, stream: &str, now: DateTime<Utc>) -> Self {
        Self {
            run: run.to_owned(),
            source: source.to_owned(),
            stream: stream.to_owned(),
            started_at: now,
            finished_at: None,
            rows: 0,
            bytes: 0,
            inserted: 0,
            updated: 0,
            deleted: 0,
            quarantined: 0,
            requests: 0,
            retries: 0,
            cursor: None,
            cursor_at: None,
            deletes: None,
            drift: None,
            error: None,
        }
    }

    /// How far the table lies behind its source, as far as the cursor says.
    #[must_use]
    pub fn lag(&self) -> Option<TimeDelta> {
        Some((self.finished_at? - self.cursor_at?).max(TimeDelta::zero()))
    }
}

/// What became of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotStatus {
    /// Taken; its run has not ended, or was killed.
    Claimed,
    /// Its run did all it had to.
    Done,
    /// Its run failed.
    Failed,
    /// It passed while nobody was there, and was not caught up.
    Missed,
}

impl SlotStatus {
    fn text(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Missed => "missed",
        }
    }
}

impl Ledger {
    /// Records that a run has begun.
    ///
    /// # Errors
    /// Where the ledger cannot be written, or the run has begun before.
    pub async fn begin_run(&self, run: &str, job: &str, as_of: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), LedgerError> {
        query("insert into runs (run, job, as_of, started_at, status) values (?, ?, ?, ?, 'running')")
            .bind(run)
            .bind(job)
            .bind(micros(as_of))
            .bind(micros(now))
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// Closes the runs of a job whose process died before they ended. Only while the job's lock is held; returns how many.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub async fn close_dead_runs(&self, job: &str, now: DateTime<Utc>) -> Result<u64, LedgerError> {
        let closed = query("update runs set status = 'failed', error = ?, finished_at = ? where job = ? and status = 'running'")
            .bind("its process was killed before it ended")
            .bind(micros(now))
            .bind(job)
            .execute(self.pool())
            .await?;
        Ok(closed.rows_affected())
    }

    /// Records how a run ended.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub async fn finish_run(
        &self,
        run: &str,
        status: RunStatus,
        error: Option<&str>,
        summary: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        query("update runs set status = ?, error = ?, summary = ?, finished_at = ? where run = ?")
            .bind(status.as_str())
            .bind(error)
            .bind(summary)
            .bind(micros(now))
            .bind(run)
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// The last `n` runs of all jobs, the newest first.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn runs(&self, n: u32) -> Result<Vec<RunRecord>, LedgerError> {
        let rows = query("select * from runs order by started_at desc, run desc limit ?").bind(n).fetch_all(self.pool()).await?;
        rows.iter().map(run).collect()
    }

    /// Records how far a stream of a run is; the later record of the same stream and run replaces the earlier.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub async fn record_pull(&self, pull: &PullRecord) -> Result<(), LedgerError> {
        query(
            "insert into pulls
             (run, source, stream, started_at, finished_at, rows, bytes, inserted, updated, deleted, quarantined, requests, retries,
              cursor, cursor_at, deletes, drift, error)
             values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             on conflict (run, source, stream) do update set started_at = excluded.started_at, finished_at = excluded.finished_at,
               rows = excluded.rows, bytes = excluded.bytes, inserted = excluded.inserted, updated = excluded.updated,
               deleted = excluded.deleted, quarantined = excluded.quarantined, requests = excluded.requests, retries = excluded.retries,
               cursor = excluded.cursor, cursor_at = excluded.cursor_at, deletes = excluded.deletes, drift = excluded.drift,
               error = excluded.error",
        )
        .bind(&pull.run)
        .bind(&pull.source)
        .bind(&pull.stream)
        .bind(micros(pull.started_at))
        .bind(pull.finished_at.map(micros))
        .bind(signed(pull.rows))
        .bind(signed(pull.bytes))
        .bind(signed(pull.inserted))
        .bind(signed(pull.updated))
        .bind(signed(pull.deleted))
        .bind(signed(pull.quarantined))
        .bind(signed(pull.requests))
        .bind(signed(pull.retries))
        .bind(&pull.cursor)
        .bind(pull.cursor_at.map(micros))
        .bind(&pull.deletes)
        .bind(&pull.drift)
        .bind(&pull.error)
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// The newest record of every stream ever pulled, by source and stream.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn last_pulls(&self) -> Result<Vec<PullRecord>, LedgerError> {
        let rows = query(
            "select * from (
               select *, row_number() over (partition by source, stream order by started_at desc, rowid desc) as nth from pulls
             ) newest where nth = 1 order by source, stream",
        )
        .fetch_all(self.pool())
        .await?;
        rows.iter().map(pull).collect()
    }

    /// What a run pulled, by source and stream.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn pulls_of(&self, run: &str) -> Result<Vec<PullRecord>, LedgerError> {
        let rows = query("select * from pulls where run = ? order by source, stream").bind(run).fetch_all(self.pool()).await?;
        rows.iter().map(pull).collect()
    }

    /// The streams (source, stream) whose newest pull that went well brought rows.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn streams_with_rows(&self) -> Result<BTreeSet<(String, String)>, LedgerError> {
        let rows: Vec<(String, String)> = query_as(
            "select source, stream from (
               select source, stream, rows, row_number() over (partition by source, stream order by started_at desc, rowid desc) as nth
               from pulls where error is null and finished_at is not null
             ) newest where nth = 1 and rows > 0",
        )
        .fetch_all(self.pool())
        .await?;
        Ok(rows.into_iter().collect())
    }

    /// Takes a slot of a job's schedule; false where it is taken already. Two processes that ask at once get one yes between them.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub async fn claim_slot(&self, job: &str, slot: DateTime<Utc>, now: DateTime<Utc>) -> Result<bool, LedgerError> {
        let done =
            query("insert into slots (job, slot, claimed_at, status) values (?, ?, ?, 'claimed') on conflict (job, slot) do nothing")
                .bind(job)
                .bind(micros(slot))
                .bind(micros(now))
                .execute(self.pool())
                .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Records what became of a slot, also of one that nobody had taken. What is done stays done.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub async fn slot_done(
        &self,
        job: &str,
        slot: DateTime<Utc>,
        run: Option<&str>,
        status: SlotStatus,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        query(
            "insert into slots (job, slot, claimed_at, run, status) values (?, ?, ?, ?, ?)
             on conflict (job, slot) do update set run = coalesce(excluded.run, slots.run), status = excluded.status
               where slots.status <> 'done'",
        )
        .bind(job)
        .bind(micros(slot))
        .bind(micros(now))
        .bind(run)
        .bind(status.text())
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// The latest slot of a job that was taken or passed over.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn last_slot(&self, job: &str) -> Result<Option<DateTime<Utc>>, LedgerError> {
        let (slot,): (Option<i64>,) = query_as("select max(slot) from slots where job = ?").bind(job).fetch_one(self.pool()).await?;
        slot.map(instant).transpose()
    }

    /// The slots of a job that were taken and have not come to an end, and when each was taken. While a process holds the job's lock one
    /// of them is under way; otherwise they were interrupted.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn open_slots(&self, job: &str) -> Result<BTreeMap<DateTime<Utc>, DateTime<Utc>>, LedgerError> {
        let rows: Vec<(i64, i64)> =
            query_as("select slot, claimed_at from slots where job = ? and status = 'claimed'").bind(job).fetch_all(self.pool()).await?;
        rows.into_iter().map(|(slot, claimed_at)| Ok((instant(slot)?, instant(claimed_at)?))).collect()
    }

    /// Takes a slot again that was taken at `claimed_at` and interrupted; false where somebody else has dealt with it since.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub async fn claim_slot_again(
        &self,
        job: &str,
        slot: DateTime<Utc>,
        claimed_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, LedgerError> {
        let done = query("update slots set claimed_at = ? where job = ? and slot = ? and claimed_at = ? and status = 'claimed'")
            .bind(micros(now))
            .bind(job)
            .bind(micros(slot))
            .bind(micros(claimed_at))
            .execute(self.pool())
            .await?;
        Ok(done.rows_affected() == 1)
    }
}

fn run(row: &Row) -> Result<RunRecord, LedgerError> {
    Ok(RunRecord {
        run: row.try_get("run")?,
        job: row.try_get("job")?,
        as_of: instant(row.try_get("as_of")?)?,
        started_at: instant(row.try_get("started_at")?)?,
        finished_at: row.try_get::<Option<i64>, _>("finished_at")?.map(instant).transpose()?,
        status: RunStatus::read(row.try_get("status")?)?,
        error: row.try_get("error")?,
        summary: row.try_get("summary")?,
    })
}

fn pull(row: &Row) -> Result<PullRecord, LedgerError> {
    let count = |name: &str| -> Result<u64, LedgerError> { Ok(u64::try_from(row.try_get::<i64, _>(name)?).unwrap_or(0)) };
    Ok(PullRecord {
        run: row.try_get("run")?,
        source: row.try_get("source")?,
        stream: row.try_get("stream")?,
        started_at: instant(row.try_get("started_at")?)?,
        finished_at: row.try_get::<Option<i64>, _>("finished_at")?.map(instant).transpose()?,
        rows: count("rows")?,
        bytes: count("bytes")?,
        inserted: count("inserted")?,
        updated: count("updated")?,
        deleted: count("deleted")?,
        quarantined: count("quarantined")?,
        requests: count("requests")?,
        retries: count("retries")?,
        cursor: row.try_get("cursor")?,
        cursor_at: row.try_get::<Option<i64>, _>("cursor_at")?.map(instant).transpose()?,
        deletes: row.try_get("deletes")?,
        drift: row.try_get("drift")?,
        error: row.try_get("error")?,
    })
}

/// SQLite counts with a sign.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixture;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    async fn ledger() -> (tempfile::TempDir, Ledger) {
        let root = tempfile::tempdir().unwrap();
        let ledger = fixture::open(root.path()).await;
        (root, ledger)
    }

    #[tokio::test]
    async fn a_slot_is_taken_once_however_many_ask() {
        let (_root, ledger) = ledger().await;
        let (slot, now) = (at("2026-11-22T01:00:00Z"), at("2026-11-22T01:00:03Z"));
        let asks = (0..8).map(|_| ledger.claim_slot("nightly", slot, now));
        let yes = futures::future::join_all(asks).await.into_iter().filter(|claimed| matches!(claimed, Ok(true))).count();
        assert_eq!(yes, 1);
        assert!(ledger.claim_slot("weekly", slot, now).await.unwrap(), "another job has slots of its own");
        assert_eq!(ledger.last_slot("nightly").await.unwrap(), Some(slot));
        assert_eq!(ledger.last_slot("never").await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_done_stays_done() {
        let (_root, ledger) = ledger().await;
        let (first, second, now) = (at("2026-11-22T01:00:00Z"), at("2026-11-23T01:00:00Z"), at("2026-11-23T02:00:00Z"));
        ledger.claim_slot("nightly", first, now).await.unwrap();
        ledger.slot_done("nightly", first, Some("r1"), SlotStatus::Failed, now).await.unwrap();
        ledger.slot_done("nightly", first, Some("r2"), SlotStatus::Done, now).await.unwrap();
        ledger.slot_done("nightly", first, Some("r3"), SlotStatus::Failed, now).await.unwrap();
        ledger.slot_done("nightly", second, None, SlotStatus::Missed, now).await.unwrap();
        let told: Vec<(i64, Option<String>, String)> =
            query_as("select slot, run, status from slots order by slot").fetch_all(ledger.pool()).await.unwrap();
        assert_eq!(told, [(micros(first), Some("r2".into()), "done".into()), (micros(second), None, "missed".into())]);
    }

    #[tokio::test]
    async fn an_interrupted_slot_is_taken_again_once() {
        let (_root, ledger) = ledger().await;
        let (slot, then, now) = (at("2026-11-22T01:00:00Z"), at("2026-11-22T01:00:03Z"), at("2026-11-22T02:00:00Z"));
        ledger.claim_slot("nightly", slot, then).await.unwrap();
        assert_eq!(ledger.open_slots("nightly").await.unwrap(), BTreeMap::from([(slot, then)]));
        let asks = (0..8).map(|_| ledger.claim_slot_again("nightly", slot, then, now));
        let yes = futures::future::join_all(asks).await.into_iter().filter(|claimed| matches!(claimed, Ok(true))).count();
        assert_eq!(yes, 1);
        ledger.slot_done("nightly", slot, None, SlotStatus::Done, now).await.unwrap();
        assert!(!ledger.claim_slot_again("nightly", slot, now, now).await.unwrap(), "what is done stays done");
        assert!(ledger.open_slots("nightly").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn runs_and_pulls_are_read_back_newest_first() {
        let (_root, ledger) = ledger().await;
        let (as_of, first, second) = (at("2026-11-22T01:00:00Z"), at("2026-11-22T01:00:01Z"), at("2026-11-22T02:00:00Z"));
        ledger.begin_run("r1", "nightly", as_of, first).await.unwrap();
        ledger.begin_run("r2", "nightly", as_of, second).await.unwrap();
        ledger.finish_run("r1", RunStatus::Failed, Some("no"), None, second).await.unwrap();
        let runs = ledger.runs(5).await.unwrap();
        assert_eq!(
            runs.iter().map(|run| (run.run.as_str(), run.status)).collect::<Vec<_>>(),
            [("r2", RunStatus::Running), ("r1", RunStatus::Failed)]
        );
        assert_eq!(ledger.close_dead_runs("weekly", second).await.unwrap(), 0);
        assert_eq!(ledger.close_dead_runs("nightly", second).await.unwrap(), 1);
        assert_eq!(ledger.runs(1).await.unwrap()[0].status, RunStatus::Failed);
        let mut pull = PullRecord::begin("r1", "shop", "orders", first);
        ledger.record_pull(&pull).await.unwrap();
        assert!(ledger.streams_with_rows().await.unwrap().is_empty(), "it has not ended");
        pull.finished_at = Some(second);
        pull.rows = 7;
        ledger.record_pull(&pull).await.unwrap();
        let mut failed = PullRecord::begin("r2", "shop", "orders", second);
        failed.finished_at = Some(second);
        failed.error = Some("gone".to_owned());
        failed.drift = Some("not declared: note".to_owned());
        ledger.record_pull(&failed).await.unwrap();
        assert_eq!(ledger.last_pulls().await.unwrap(), [failed]);
        assert!(ledger.streams_with_rows().await.unwrap().contains(&("shop".to_owned(), "orders".to_owned())));
    }
}
