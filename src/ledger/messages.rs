//! The occasions people have heard about, or may have heard about: one row a message id, for ever.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::{CustomerId, Ledger, LedgerError, MessageId, PlanId, instant, micros, store::query_as};

/// A message to a person, as the gates before the next message see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The person.
    pub customer_id: CustomerId,
    /// The keyed hash of the address it went to.
    pub address_hash: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// What people have heard from a campaign, may have heard, or are promised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The messages.
    pub messages: HashSet<MessageId>,
    /// The occasions and steps of each person, by the id they have now: whoever was merged into another has heard what that one heard.
    pub occasions: HashMap<CustomerId, Vec<(String, i64)>>,
}

impl Told {
    /// Whether the person has heard of it.
    #[must_use]
    pub fn knows(&self, message: &MessageId, customer: &CustomerId, occasion: &str, step: i64) -> bool {
        let heard = || self.occasions.get(customer).map(Vec::as_slice).unwrap_or_default();
        self.messages.contains(message) || heard().iter().any(|(about, letter)| about == occasion && *letter == step)
    }
}

impl Ledger {
    /// A campaign's messages that reached people, may have, or are promised; those of plans made for `slot` aside, so that planning a
    /// slot again finds what it found the first time.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn told_before(&self, campaign: &str, slot: DateTime<Utc>) -> Result<Told, LedgerError> {
        let rows: Vec<(String, String, String, i64)> = query_as(
            "select m.message_id, coalesce(a.customer_id, m.customer_id), m.occasion, m.step
             from messages m left join plans p on p.plan = m.plan left join aliases a on a.alias = m.customer_id
             where m.campaign = ? and m.state not in ('rejected', 'cancelled', 'expired') and (p.as_of is null or p.as_of <> ?)",
        )
        .bind(campaign)
        .bind(micros(slot))
        .fetch_all(self.pool())
        .await?;
        let mut told = Told::default();
        for (message, customer, occasion, step) in rows {
            told.messages.insert(MessageId::new(message));
            told.occasions.entry(CustomerId::new(customer)).or_default().push((occasion, step));
        }
        Ok(told)
    }

    /// Whom a plan has written to, may have, is writing to, or left alone to measure it.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn people_of(&self, plan: &PlanId) -> Result<Vec<CustomerId>, LedgerError> {
        let rows: Vec<(String,)> = query_as(
            "select customer_id from recipients where plan = ?1 and state not in ('rejected', 'cancelled', 'expired')
             union select customer_id from assignments where plan = ?1 order by 1",
        )
        .bind(plan.as_str())
        .fetch_all(self.pool())
        .await?;
        Ok(rows.into_iter().map(|(id,)| CustomerId::new(id)).collect())
    }

    /// What people, by the ids they have now, were sent after `since` (and not after `until`), messages to staff and those of plans made for `slot` aside.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn heard_since(
        &self,
        since: DateTime<Utc>,
        until: Option<DateTime<Utc>>,
        slot: DateTime<Utc>,
    ) -> Result<Vec<Heard>, LedgerError> {
        let rows: Vec<(String, Option<String>, i64)> = query_as(
            "with in_hand as (
               select m.plan, m.customer_id, m.address_hash, i.updated_at as at
               from recipients i indexed by recipients_in_hand join messages m on m.message_id = i.message_id
               where i.state in ('reserved', 'committing') and m.plan = i.plan and m.kind <> 'internal'
             ), heard as (
               select plan, customer_id, address_hash, at from messages where kind <> 'internal' and state in ('accepted', 'unknown')
               union all select plan, customer_id, address_hash, at from in_hand
             )
             select coalesce(a.customer_id, m.customer_id), m.address_hash, m.at
             from heard m left join plans p on p.plan = m.plan left join aliases a on a.alias = m.customer_id
             where m.at > ? and m.at <= ? and (p.as_of is null or p.as_of <> ?)",
        )
        .bind(micros(since))
        .bind(until.map_or(i64::MAX, micros))
        .bind(micros(slot))
        .fetch_all(self.pool())
        .await?;
        rows.into_iter()
            .map(|(customer, address_hash, at)| Ok(Heard { customer_id: CustomerId::new(customer), address_hash, at: instant(at)? }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, TimeZone};

    use super::*;
    use crate::ledger::{fixture, store::query};

    #[tokio::test]
    async fn only_what_people_heard_or_may_hear_counts_and_the_slot_itself_does_not() {
        let root = tempfile::tempdir().unwrap();
        let ledger = fixture::open(root.path()).await;
        let now = Utc.with_ymd_and_hms(2026, 11, 22, 1, 0, 0).unwrap();
        fixture::approved(&ledger, "tonight", "marketing", 1, now, now).await;
        fixture::approved(&ledger, "before", "marketing", 4, now - TimeDelta::days(1), now).await;
        for (id, plan, kind, state) in [
            ("m1", "tonight", "marketing", "accepted"),
            ("m2", "before", "marketing", "accepted"),
            ("m3", "before", "marketing", "rejected"),
            ("m4", "before", "internal", "accepted"),
            ("m5", "before", "marketing", "deferred"),
            ("m6", "before", "service", "unknown"),
        ] {
            query(
                "insert into messages (message_id, plan, campaign, kind, channel, customer_id, occasion, step, address_hash, state, at)
                 values (?, ?, 'win-back', ?, 'email', 'ann', 'o', 1, 'h', ?, ?)",
            )
            .bind(id)
            .bind(plan)
            .bind(kind)
            .bind(state)
            .bind(micros(now))
            .execute(ledger.pool())
            .await
            .unwrap();
        }
        let told = ledger.told_before("win-back", now).await.unwrap();
        assert_eq!(told.messages, HashSet::from(["m2", "m4", "m5", "m6"].map(MessageId::new)));
        let yesterday = now - TimeDelta::days(1);
        assert_eq!(ledger.heard_since(yesterday, None, now).await.unwrap().len(), 2, "m2 and m6");
        for (plan, customer, state) in [("before", "bob", "committing"), ("before", "cleo", "waiting"), ("tonight", "dan", "reserved")] {
            fixture::message(&ledger, customer, plan, customer, "waiting", 0).await;
            fixture::recipient(&ledger, plan, customer, customer, state, micros(now)).await;
        }
        let heard = ledger.heard_since(yesterday, None, now).await.unwrap();
        assert!(heard.len() == 3 && heard.iter().any(|one| one.customer_id.as_str() == "bob" && one.at == now), "in hand: {heard:?}");
        assert!(ledger.heard_since(yesterday, Some(now - TimeDelta::hours(1)), now).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn whoever_was_merged_has_heard_what_the_old_name_heard() {
        let root = tempfile::tempdir().unwrap();
        let ledger = fixture::open(root.path()).await;
        let now = Utc.with_ymd_and_hms(2026, 11, 22, 1, 0, 0).unwrap();
        query(
            "insert into messages (message_id, plan, campaign, kind, channel, customer_id, occasion, step, state, at)
             values ('m1', 'old', 'win-back', 'marketing', 'email', 'shop:5', 'o-1', 2, 'accepted', 0)",
        )
        .execute(ledger.pool())
        .await
        .unwrap();
        query("insert into aliases values ('shop:5', 'crm:9')").execute(ledger.pool()).await.unwrap();
        let told = ledger.told_before("win-back", now).await.unwrap();
        let knows = |message: &str, customer: &str, occasion: &str, step| {
            told.knows(&MessageId::new(message), &CustomerId::new(customer), occasion, step)
        };
        assert!(knows("m9", "crm:9", "o-1", 2) && knows("m1", "x", "o-2", 1));
        assert!(!knows("m9", "crm:9", "o-1", 3) && !knows("m9", "crm:9", "o-2", 2) && !knows("m9", "crm:8", "o-1", 2));
        let heard = ledger.heard_since(now - TimeDelta::days(36_500), None, now).await.unwrap();
        assert_eq!(heard[0].customer_id.as_str(), "crm:9");
    }
}
