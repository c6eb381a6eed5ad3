//! A ledger for tests: plans and people without the rooms that make them.

use std::hash::{Hash as _, Hasher as _};

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    CustomerId, Ledger, LedgerError, LedgerSettings, MessageId, PlanId, micros,
    store::{query, query_as},
};
use crate::{config::Period, secret::SecretRef};

/// The variable that names a PostgreSQL server; with it the ledgers of tests lie there, each in a schema of its own.
pub(crate) const SERVER: &str = "PERENNIAL_TEST_LEDGER";

/// The settings of a ledger of the project folder `root`.
pub(crate) fn settings(root: &std::path::Path) -> LedgerSettings {
    if std::env::var_os(SERVER).is_none() {
        return LedgerSettings::default();
    }
    let mut schema = std::hash::DefaultHasher::new();
    root.hash(&mut schema);
    let url = Some(SecretRef::Env(SERVER.to_owned()));
    LedgerSettings { url, schema: format!("t{:x}", schema.finish()), lease: Period::seconds(2), ..LedgerSettings::default() }
}

/// A ledger in the project folder `root`.
pub(crate) async fn open(root: &std::path::Path) -> Ledger {
    Ledger::open(root, &settings(root)).await.unwrap()
}

/// An approved plan of `planned` people of the segment `lapsed`.
pub(crate) async fn approved(ledger: &Ledger, plan: &str, kind: &str, planned: usize, as_of: DateTime<Utc>, expires_at: DateTime<Utc>) {
    query(
        "insert into plans (plan, campaign, kind, channel, segment, as_of, replay, hash, status, in_segment, planned, excluded, created_at, expires_at)
         values (?, 'win-back', ?, 'email', 'lapsed', ?, 0, 'h', 'approved', ?, ?, '{}', ?, ?)",
    )
    .bind(plan)
    .bind(kind)
    .bind(micros(as_of))
    .bind(planned as i64)
    .bind(planned as i64)
    .bind(micros(as_of))
    .bind(micros(expires_at))
    .execute(ledger.pool())
    .await
    .unwrap();
}

/// People `p0` to `p<count>` who agreed to everything, are in the segment `lapsed`, and whose state was published at `now`.
pub(crate) async fn people(ledger: &Ledger, count: usize, now: DateTime<Utc>) {
    let mut write = ledger.begin().await.unwrap();
    for number in 0..count {
        query(
            "insert into contact_state
             values (?, 'granted', 'granted', 0, ?, null, 'Europe/Berlin', 0, '[\"lapsed\"]')
             on conflict (customer_id) do update set last_order_at = excluded.last_order_at",
        )
        .bind(format!("p{number}"))
        .bind(micros(now - TimeDelta::days(200)))
        .execute(&mut write)
        .await
        .unwrap();
    }
    query(
        "insert into contact_state_published values (1, ?, ?)
             on conflict (one) do update set published_at = excluded.published_at, as_of = excluded.as_of",
    )
    .bind(micros(now))
    .bind(micros(now))
    .execute(&mut write)
    .await
    .unwrap();
    write.commit().await.unwrap();
}

/// Any statement.
pub(crate) async fn run(ledger: &Ledger, sql: &str) -> u64 {
    query(sql.to_owned()).execute(ledger.pool()).await.unwrap().rows_affected()
}

/// One number.
pub(crate) async fn number(ledger: &Ledger, sql: &str) -> i64 {
    query_as(sql.to_owned()).fetch_one(ledger.pool()).await.unwrap()
}

/// A claim, and no account.
pub(crate) async fn message(ledger: &Ledger, id: &str, plan: &str, customer: &str, state: &str, at: i64) {
    query(
        "insert into messages (message_id, plan, campaign, kind, channel, customer_id, occasion, step, address_hash, state, at)
         values (?, ?, 'win-back', 'marketing', 'email', ?, 'o', 1, 'h', ?, ?)",
    )
    .bind(id)
    .bind(plan)
    .bind(customer)
    .bind(state)
    .bind(at)
    .execute(ledger.pool())
    .await
    .unwrap();
}

/// Somebody in a plan's account, and no claim.
pub(crate) async fn recipient(ledger: &Ledger, plan: &str, customer: &str, message: &str, state: &str, at: i64) {
    query("insert into recipients (plan, customer_id, message_id, state, updated_at) values (?, ?, ?, ?, ?)")
        .bind(plan)
        .bind(customer)
        .bind(message)
        .bind(state)
        .bind(at)
        .execute(ledger.pool())
        .await
        .unwrap();
}

impl Ledger {
    /// Notes that a person was told about an occasion, as a delivery would.
    pub(crate) async fn note_occasion_for_test(
        &self,
        campaign: &str,
        customer: &CustomerId,
        occasion: &str,
        step: i64,
        at: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        query(
            "insert into messages (message_id, plan, campaign, kind, channel, customer_id, occasion, step, state, at)
             values (?, 'older', ?, 'marketing', 'email', ?, ?, ?, 'accepted', ?)",
        )
        .bind(format!("{campaign}:{customer}:{occasion}:{step}"))
        .bind(campaign)
        .bind(customer.as_str())
        .bind(occasion)
        .bind(step)
        .bind(micros(at))
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Notes a message as accepted, as a delivery would.
    pub(crate) async fn note_message_for_test(
        &self,
        id: &MessageId,
        campaign: &str,
        plan: &PlanId,
        customer: &CustomerId,
        at: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        query(
            "insert into messages (message_id, plan, campaign, kind, channel, customer_id, occasion, step, state, at)
             values (?, ?, ?, 'marketing', 'email', ?, 'o', 1, 'accepted', ?)",
        )
        .bind(id.as_str())
        .bind(plan.as_str())
        .bind(campaign)
        .bind(customer.as_str())
        .bind(micros(at))
        .execute(self.pool())
        .await?;
        Ok(())
    }
}
