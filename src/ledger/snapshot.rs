//! The ledger's tables as SQL may see them, read some thousand rows at a time: what was sent in years does not fit in memory.

use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt, TryStreamExt, future::ready, stream};
use tokio::sync::mpsc;

use super::{
    Ledger, LedgerError, micros,
    store::{Store, query},
};

/// Rows in a batch.
const BATCH: usize = 8192;
/// Batches that are read before somebody wants them.
const AHEAD: usize = 2;

/// A column of a ledger table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotColumn {
    /// Text.
    Text(Vec<Option<String>>),
    /// Whole numbers and instants.
    Integer(Vec<Option<i64>>),
}

impl SnapshotColumn {
    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Integer(values) => values.len(),
        }
    }
}

/// A message in hand is so in the account of its plan only.
const SENDS: &str = "(with in_hand as materialized (
    select message_id, plan, state, updated_at from recipients indexed by recipients_in_hand where state in ('reserved', 'committing'))
  select m.message_id, m.plan, m.campaign, m.kind, m.channel, m.customer_id, m.occasion, m.step, m.variant,
    coalesce(i.state, m.state) as state, coalesce(i.updated_at, m.at) as at
  from messages m left join in_hand i on i.message_id = m.message_id and i.plan = m.plan) sends";

impl Ledger {
    /// The rows of a ledger table that SQL may see, up to and including `as_of`, in batches: its columns in the order they are named, each
    /// text or (`false`) a number. What happened later is not shown; what is known about a row is today's.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn snapshot(
        &self,
        table: &str,
        columns: &[(String, bool)],
        as_of: DateTime<Utc>,
    ) -> impl Stream<Item = Result<Vec<SnapshotColumn>, LedgerError>> + Send + use<> {
        let (stored, order) = match table {
            "sends" => (SENDS, "message_id"),
            "suppressions" => ("suppressions", "id"),
            "assignments" => ("assignments", "campaign, customer_id, occasion"),
            _ => ("events", "event_id"),
        };
        let names: Vec<String> = columns
            .iter()
            .map(|(name, _)| match name.as_str() {
                "lifted_at" => "case when lifted_at <= ?1 then lifted_at end".to_owned(),
                name => format!("\"{name}\""),
            })
            .collect();
        // What is only promised yet was not sent.
        let which = if table == "sends" { "at <= ?1 and state <> 'waiting'" } else { "at <= ?1" };
        let sql = format!("select {} from {stored} where {which} order by {order}", names.join(", "));
        let texts: Vec<bool> = columns.iter().map(|(_, text)| *text).collect();
        let (pool, (to, mut batches)) = (self.pool().clone(), mpsc::channel(AHEAD));
        // The task ends with the rows, or when nobody wants any more. How it ended is asked: rows before a failure are not all.
        let task = tokio::spawn(async move { read(&pool, sql, &texts, as_of, &to).await });
        let failure = stream::once(task).filter_map(|ended| ready(ended.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into())).err()));
        stream::poll_fn(move |context| batches.poll_recv(context)).map(Ok).chain(failure.map(Err))
    }
}

async fn read(
    pool: &Store,
    sql: String,
    texts: &[bool],
    as_of: DateTime<Utc>,
    to: &mpsc::Sender<Vec<SnapshotColumn>>,
) -> Result<(), LedgerError> {
    let empty = || -> Vec<SnapshotColumn> {
        texts.iter().map(|text| if *text { SnapshotColumn::Text(Vec::new()) } else { SnapshotColumn::Integer(Vec::new()) }).collect()
    };
    let (mut batch, mut count) = (empty(), 0);
    let mut rows = query(sql).bind(micros(as_of)).fetch(pool);
    while let Some(row) = rows.try_next().await? {
        for (position, column) in batch.iter_mut().enumerate() {
            match column {
                SnapshotColumn::Text(values) => values.push(row.try_get(position)?),
                SnapshotColumn::Integer(values) => values.push(row.try_get(position)?),
            }
        }
        count += 1;
        if count == BATCH {
            count = 0;
            if to.send(std::mem::replace(&mut batch, empty())).await.is_err() {
                return Ok(());
            }
        }
    }
    if count > 0 {
        let _ = to.send(batch).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixture;

    async fn read(ledger: &Ledger, table: &str, columns: &[(&str, bool)], as_of: i64) -> Vec<Vec<SnapshotColumn>> {
        let columns: Vec<(String, bool)> = columns.iter().map(|(name, text)| ((*name).to_owned(), *text)).collect();
        let as_of = DateTime::from_timestamp(as_of, 0).unwrap();
        ledger.snapshot(table, &columns, as_of).try_collect().await.unwrap()
    }

    #[tokio::test]
    async fn sql_sees_the_ledger_as_of_the_runs_time() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = fixture::open(folder.path()).await;
        let insert =
            "insert into suppressions (customer_id, channel, scope, reason, at, lifted_at) values (?, 'email', 'all', 'manual', ?, ?)";
        for (id, at, lifted) in [("a", 100_000_000_i64, Some(500_000_000_i64)), ("b", 400_000_000, None)] {
            query(insert).bind(id).bind(at).bind(lifted).execute(ledger.pool()).await.unwrap();
        }
        let columns = [("customer_id", true), ("lifted_at", false)];
        assert!(read(&ledger, "suppressions", &columns, 50).await.is_empty());
        let then = [SnapshotColumn::Text(vec![Some("a".into())]), SnapshotColumn::Integer(vec![None])];
        assert_eq!(read(&ledger, "suppressions", &columns, 200).await, [then]);
        assert_eq!(read(&ledger, "suppressions", &columns, 600).await[0][1], SnapshotColumn::Integer(vec![Some(500_000_000), None]));
    }

    #[tokio::test]
    async fn what_is_in_hand_was_sent_and_what_is_only_promised_was_not() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = fixture::open(folder.path()).await;
        let now = DateTime::from_timestamp(1_000, 0).unwrap();
        fixture::approved(&ledger, "p", "marketing", 4, now, now).await;
        for (id, claim, hand) in
            [("m1", "waiting", "waiting"), ("m2", "waiting", "committing"), ("m3", "deferred", "reserved"), ("m4", "accepted", "accepted")]
        {
            fixture::message(&ledger, id, "p", id, claim, 100_000_000).await;
            fixture::recipient(&ledger, "p", id, id, hand, 200_000_000).await;
        }
        let columns = [("message_id", true), ("state", true), ("at", false)];
        let text = |values: &[&str]| SnapshotColumn::Text(values.iter().map(|value| Some((*value).to_owned())).collect());
        let at = |values: &[i64]| SnapshotColumn::Integer(values.iter().map(|value| Some(value * 1_000_000)).collect());
        let sends = [text(&["m2", "m3", "m4"]), text(&["committing", "reserved", "accepted"]), at(&[200, 200, 100])];
        assert_eq!(read(&ledger, "sends", &columns, 300).await, [sends]);
        assert_eq!(read(&ledger, "sends", &columns, 150).await, [[text(&["m4"]), text(&["accepted"]), at(&[100])]]);
    }

    #[tokio::test]
    async fn more_rows_than_a_batch_come_in_order_and_whoever_stops_reading_waits_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = fixture::open(folder.path()).await;
        let many = 5 * BATCH as i64 + 1;
        let insert = "with recursive n(i) as (select 1 union all select i + 1 from n where i < ?) \
                      insert into suppressions (customer_id, channel, scope, reason, at) select i, 'email', 'all', 'manual', i from n";
        query(insert).bind(many).execute(ledger.pool()).await.unwrap();
        let batches = read(&ledger, "suppressions", &[("at", false)], 1).await;
        let values = batches.iter().flat_map(|batch| match &batch[0] {
            SnapshotColumn::Integer(values) => values.iter().flatten(),
            SnapshotColumn::Text(_) => unreachable!("numbers were asked for"),
        });
        assert!(values.copied().eq(1..=many) && batches.len() == 6);

        for _ in 0..10 {
            let mut rows = Box::pin(ledger.snapshot("suppressions", &[("at".to_owned(), false)], DateTime::from_timestamp(1, 0).unwrap()));
            rows.try_next().await.unwrap().unwrap();
        }
        let reading = std::time::Duration::from_secs(60);
        drop(tokio::time::timeout(reading, ledger.pool().begin()).await.expect("no connection is kept").unwrap());

        if ledger.is_shared() {
            // PostgreSQL takes no text that is none.
            return;
        }
        let broken = format!("update suppressions set customer_id = x'ff' where id = {}", BATCH + 1);
        query(broken).execute(ledger.pool()).await.unwrap();
        let rows = ledger.snapshot("suppressions", &[("customer_id".to_owned(), true)], DateTime::from_timestamp(1, 0).unwrap());
        let told: Vec<bool> = rows.map(|batch| batch.is_ok()).collect().await;
        assert_eq!(told, [true, false], "the rows before a failure are not all");
    }
}
