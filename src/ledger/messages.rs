//! The occasions people have heard about, or may have heard about: one row a message id, for ever.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::Row as _;

use super::{CustomerId, Ledger, LedgerError, MessageId, instant, micros};

/// How many ids one statement asks about.
const CHUNK: usize = 5_000;

/// What one person was sent since some instant, messages to staff aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentSends {
    /// How many messages reached the person, may have, or are on their way.
    pub count: u32,
    /// When the last of them was.
    pub last_at: DateTime<Utc>,
}

/// A row of `messages`, as SQL sees it in `sends`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The message.
    pub message_id: String,
    /// The plan it was part of, the last one where several tried.
    pub plan: String,
    /// The campaign.
    pub campaign: String,
    /// `marketing`, `service` or `internal`.
    pub kind: String,
    /// `email` or `webhook`.
    pub channel: String,
    /// The person.
    pub customer_id: String,
    /// What it was about.
    pub occasion: String,
    /// 1, or a later letter about the same occasion.
    pub step: i64,
    /// The variant the person was given.
    pub variant: Option<String>,
    /// What became of it.
    pub state: String,
    /// When it last changed.
    pub at: DateTime<Utc>,
}

impl Ledger {
    /// Which of these messages were delivered, may have been, or are promised by an open plan. What was rejected, cancelled or expired
    /// is not among them: that occasion may be told anew.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn told(&self, ids: &[MessageId]) -> Result<HashSet<MessageId>, LedgerError> {
        let mut told = HashSet::new();
        for chunk in ids.chunks(CHUNK) {
            let asked = serde_json::to_string(chunk).unwrap_or_default();
            let rows: Vec<(String,)> = sqlx::query_as(
                "select m.message_id from json_each(?) j join messages m on m.message_id = j.value
                 where m.state not in ('rejected', 'cancelled', 'expired')",
            )
            .bind(asked)
            .fetch_all(self.pool())
            .await?;
            told.extend(rows.into_iter().map(|(id,)| MessageId::new(id)));
        }
        Ok(told)
    }

    /// What each person was sent at or after `since`; messages to staff do not count.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn recent_sends(&self, since: DateTime<Utc>) -> Result<HashMap<CustomerId, RecentSends>, LedgerError> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "select customer_id, count(*), max(at) from messages
             where at >= ? and kind <> 'internal' and state in ('accepted', 'unknown', 'reserved', 'committing')
             group by customer_id",
        )
        .bind(micros(since))
        .fetch_all(self.pool())
        .await?;
        rows.into_iter()
            .map(|(customer, count, last)| {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                Ok((CustomerId::new(customer), RecentSends { count, last_at: instant(last)? }))
            })
            .collect()
    }

    /// All messages in the order of their ids, `limit` of them after the id `after` (`""` to begin).
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn sends(&self, after: &str, limit: u32) -> Result<Vec<Sent>, LedgerError> {
        let rows = sqlx::query(
            "select message_id, plan, campaign, kind, channel, customer_id, occasion, step, variant, state, at
             from messages where message_id > ? order by message_id limit ?",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Sent {
                    message_id: row.try_get(0)?,
                    plan: row.try_get(1)?,
                    campaign: row.try_get(2)?,
                    kind: row.try_get(3)?,
                    channel: row.try_get(4)?,
                    customer_id: row.try_get(5)?,
                    occasion: row.try_get(6)?,
                    step: row.try_get(7)?,
                    variant: row.try_get(8)?,
                    state: row.try_get(9)?,
                    at: instant(row.try_get(10)?)?,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;
    use crate::ledger::LedgerSettings;

    #[tokio::test]
    async fn only_what_people_heard_or_may_hear_counts() {
        let root = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(root.path(), &LedgerSettings::default()).await.unwrap();
        let at = Utc.with_ymd_and_hms(2026, 11, 22, 1, 0, 0).unwrap();
        for (id, kind, state) in [
            ("m1", "marketing", "accepted"),
            ("m2", "service", "unknown"),
            ("m3", "marketing", "rejected"),
            ("m4", "internal", "accepted"),
            ("m5", "marketing", "deferred"),
        ] {
            sqlx::query("insert into messages values (?, 'p', 'c', ?, 'email', 'ann', 'o', 1, null, null, ?, ?)")
                .bind(id)
                .bind(kind)
                .bind(state)
                .bind(micros(at))
                .execute(ledger.pool())
                .await
                .unwrap();
        }
        let ids: Vec<MessageId> = ["m1", "m2", "m3", "m5", "m9"].map(MessageId::new).into();
        assert_eq!(ledger.told(&ids).await.unwrap(), HashSet::from(["m1", "m2", "m5"].map(MessageId::new)));
        let recent = ledger.recent_sends(at).await.unwrap();
        assert_eq!(recent, HashMap::from([(CustomerId::new("ann"), RecentSends { count: 2, last_at: at })]));
        assert!(ledger.recent_sends(at + chrono::TimeDelta::seconds(1)).await.unwrap().is_empty());
        assert_eq!(ledger.sends("m1", 2).await.unwrap().iter().map(|s| s.message_id.as_str()).collect::<Vec<_>>(), ["m2", "m3"]);
    }
}
