//! What earlier deliveries say about the pace of the next: how many messages left on a day, and who asked for a pause.

use chrono::{DateTime, Utc};

use super::{
    Ledger, LedgerError, instant, micros,
    store::{Write, query, query_as},
};

/// How many messages may leave on a day, by a relay or to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quota {
    /// The relay.
    pub relay: String,
    /// The provider; empty for all.
    pub name: String,
    /// The day, as `2026-11-27`.
    pub day: String,
    /// So many.
    pub most: u64,
    /// When the day ends.
    pub until: DateTime<Utc>,
}

/// Who asked for a pause, and how long it lasts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SlowedDown {
    /// The relay.
    pub relay: String,
    /// A large provider's domain, the keyed hash of another's (`#…`), or nothing for the relay itself.
    pub name: String,
    /// Nothing goes there before.
    pub until: DateTime<Utc>,
}

impl Ledger {
    /// On how many days before `day` messages left by a relay to a provider, and how many have on that day.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub(crate) async fn sent_on(&self, relay: &str, name: &str, day: &str) -> Result<(usize, u64), LedgerError> {
        let (days, sent): (i64, i64) = query_as(
            "select count(*) filter (where day < ?3), cast(coalesce(sum(case when day = ?3 then sent else 0 end), 0) as bigint)
             from sent_on where relay = ?1 and name = ?2 and sent > 0",
        )
        .bind(relay)
        .bind(name)
        .bind(day)
        .fetch_one(self.pool())
        .await?;
        Ok((usize::try_from(days).unwrap_or(0), sent.unsigned_abs()))
    }

    /// Who asked for a pause of messages by a relay: the name, until when, and how often. Those long over are left out.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub(crate) async fn pauses(&self, relay: &str, now: DateTime<Utc>) -> Result<Vec<(String, DateTime<Utc>, u32)>, LedgerError> {
        let rows: Vec<(String, i64, u32)> = query_as("select name, until, steps from pauses where relay = ?1 and until > ?2")
            .bind(relay)
            .bind(micros(now - chrono::TimeDelta::hours(12)))
            .fetch_all(self.pool())
            .await?;
        rows.into_iter().map(|(name, until, steps)| Ok((name, instant(until)?, steps))).collect()
    }

    /// Who is left alone at this moment, by all relays.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn slowed_down(&self, now: DateTime<Utc>) -> Result<Vec<SlowedDown>, LedgerError> {
        let rows: Vec<(String, String, i64)> = query_as("select relay, name, until from pauses where until > ? order by relay, name")
            .bind(micros(now))
            .fetch_all(self.pool())
            .await?;
        rows.into_iter().map(|(relay, name, until)| Ok(SlowedDown { relay, name, until: instant(until)? })).collect()
    }

    /// Remembers a pause, or that there is none any more.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub(crate) async fn keep_pause(&self, relay: &str, name: &str, pause: Option<(DateTime<Utc>, u32)>) -> Result<(), LedgerError> {
        match pause {
            None => query("delete from pauses where relay = ? and name = ?").bind(relay).bind(name).execute(self.pool()).await?,
            Some((until, steps)) => {
                query(
                    "insert into pauses (relay, name, until, steps) values (?, ?, ?, ?)
                     on conflict (relay, name) do update set until = excluded.until, steps = excluded.steps",
                )
                .bind(relay)
                .bind(name)
                .bind(micros(until))
                .bind(steps)
                .execute(self.pool())
                .await?
            }
        };
        Ok(())
    }
}

/// How many messages have left against each quota, inside the caller's transaction.
pub(in crate::ledger) async fn counted(write: &mut Write<'static>, quotas: &[Option<Quota>]) -> Result<Vec<u64>, LedgerError> {
    let mut sent = Vec::with_capacity(quotas.len());
    for quota in quotas {
        let Some(Quota { relay, name, day, .. }) = quota else {
            sent.push(0);
            continue;
        };
        let count: Option<i64> = query_as("select sent from sent_on where relay = ? and name = ? and day = ?")
            .bind(relay)
            .bind(name)
            .bind(day)
            .fetch_optional(&mut *write)
            .await?;
        sent.push(count.unwrap_or(0).unsigned_abs());
    }
    Ok(sent)
}

/// Writes how many messages have left against each quota.
pub(in crate::ledger) async fn count(write: &mut Write<'static>, quotas: &[Option<Quota>], sent: &[u64]) -> Result<(), LedgerError> {
    for (Quota { relay, name, day, .. }, sent) in quotas.iter().zip(sent).filter_map(|(quota, sent)| Some((quota.as_ref()?, sent))) {
        query(
            "insert into sent_on (relay, name, day, sent) values (?, ?, ?, ?)
             on conflict (relay, name, day) do update set sent = excluded.sent",
        )
        .bind(relay)
        .bind(name)
        .bind(day)
        .bind(i64::try_from(*sent).unwrap_or(i64::MAX))
        .execute(&mut *write)
        .await?;
    }
    Ok(())
}
