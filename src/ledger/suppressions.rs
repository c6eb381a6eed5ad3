//! Who must not be written to, and what came back.
//!
//! A suppression names a person, an address (by its keyed hash) or both, on one channel. It is lifted, never deleted. Every opt-out,
//! bounce and complaint is also a row of `events`, so that SQL can count it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    CustomerId, Ledger, LedgerError, instant, micros,
    store::{Write, query, query_as},
};
use crate::secret::Keys;

/// Why somebody is not written to any more, as the ledger writes it.
pub const REASONS: [&str; 6] = ["unsubscribed", "complaint", "hard_bounce", "soft_bounces", "manual", "imported"];

/// How many people one statement asks about.
const CHUNK: usize = 2_000;

/// The keyed hash an address is known by where the address itself may not stand: hex HMAC of the trimmed, lower-case text, its domain as
/// mail servers see it.
#[must_use]
pub fn address_hash(keys: &Keys, address: &str) -> String {
    let address = address.trim().to_lowercase();
    let ascii = address.rsplit_once('@').and_then(|(local, domain)| match url::Host::parse(domain) {
        Ok(url::Host::Domain(ascii)) if ascii != domain => Some(format!("{local}@{ascii}")),
        _ => None,
    });
    hex::encode(keys.mac("address", &[ascii.unwrap_or(address).as_bytes()]))
}

/// What a suppression covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Every message to a person: a dead address, a complaint, a person who wants no mail at all.
    All,
    /// Marketing only; a note about a person's own order still arrives.
    Marketing,
}

impl Scope {
    /// As the ledger writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Marketing => "marketing",
        }
    }

    fn read(text: &str) -> Result<Self, LedgerError> {
        match text {
            "all" => Ok(Self::All),
            "marketing" => Ok(Self::Marketing),
            _ => Err(LedgerError::Value { value: text.to_owned(), expected: "suppression scope" }),
        }
    }
}

/// A suppression to be written. At least one of person and address hash is set.
#[derive(Debug, Clone)]
pub struct NewSuppression {
    /// The person, where known.
    pub customer_id: Option<CustomerId>,
    /// The address's keyed hash, where known.
    pub address_hash: Option<String>,
    /// The address itself, where a person entered it by hand; shown in the list, emptied when the person is erased.
    pub address: Option<String>,
    /// `email` or `webhook`.
    pub channel: String,
    /// What it covers.
    pub scope: Scope,
    /// One of [`REASONS`].
    pub reason: String,
    /// Who entered it, where a person did.
    pub by: Option<String>,
}

/// A suppression as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suppression {
    /// Its number; ever growing.
    pub id: i64,
    /// The person, where known.
    pub customer_id: Option<String>,
    /// The address's keyed hash, where known.
    pub address_hash: Option<String>,
    /// The address itself, where a person entered it by hand.
    pub address: Option<String>,
    /// `email` or `webhook`.
    pub channel: String,
    /// What it covers.
    pub scope: Scope,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: DateTime<Utc>,
    /// Who entered it.
    pub by: Option<String>,
    /// When it was lifted; none while it holds.
    pub lifted_at: Option<DateTime<Utc>>,
}

/// A person a suppression may cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The person.
    pub customer_id: CustomerId,
    /// The keyed hash of the address a message would go to.
    pub address_hash: Option<String>,
}

/// Something that came back: an opt-out, a bounce, a complaint, an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Unique; the same event recorded twice stands once.
    pub event_id: String,
    /// When.
    pub at: DateTime<Utc>,
    /// `unsubscribed`, `bounced`, `complained`, …
    pub kind: String,
    /// Whom it concerns, where known.
    pub customer_id: Option<String>,
    /// The campaign it answers.
    pub campaign: Option<String>,
    /// The plan it answers.
    pub plan: Option<String>,
    /// The message it answers.
    pub message_id: Option<String>,
    /// What was said, without addresses.
    pub detail: Option<String>,
}

/// An opt-out as its link or its button brings it.
#[derive(Debug, Clone)]
pub struct OptOut {
    /// The person.
    pub customer_id: CustomerId,
    /// The campaign whose message carried the link.
    pub campaign: String,
    /// The message that carried the link.
    pub message_id: String,
    /// The channel to be silent on.
    pub channel: String,
}

impl Ledger {
    /// Suppresses a person or an address. `false` where an equal suppression already holds.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub async fn suppress(&self, new: &NewSuppression, now: DateTime<Utc>) -> Result<bool, LedgerError> {
        Ok(self.suppress_all(std::slice::from_ref(new), now).await? > 0)
    }

    /// Suppresses many in one transaction; returns how many were new.
    ///
    /// # Errors
    /// Where the ledger cannot be written; then none of them stands.
    pub async fn suppress_all(&self, new: &[NewSuppression], now: DateTime<Utc>) -> Result<usize, LedgerError> {
        let mut write = self.begin().await?;
        let mut written = 0;
        for suppression in new {
            written += usize::from(insert_suppression(&mut write, suppression, now).await?);
        }
        write.commit().await?;
        Ok(written)
    }

    /// Lifts every suppression and every wish of a person or an address on a channel; returns how many were lifted.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub async fn lift(
        &self,
        customer_id: Option<&CustomerId>,
        address_hash: Option<&str>,
        channel: &str,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<u64, LedgerError> {
        let mut write = self.begin().await?;
        let mut lifted = 0;
        for statement in [
            "update suppressions set lifted_at = ?1, lifted_by = ?2
             where lifted_at is null and channel = ?3 and (customer_id = ?4 or address_hash = ?5)",
            "update preferences set lifted_at = ?1, lifted_by = ?2
             where lifted_at is null and ?3 = 'email' and (customer_id = ?4 or address_hash = ?5)",
        ] {
            lifted += query(statement)
                .bind(micros(now))
                .bind(by)
                .bind(channel)
                .bind(customer_id.map(CustomerId::as_str))
                .bind(address_hash)
                .execute(&mut write)
                .await?
                .rows_affected();
        }
        write.commit().await?;
        Ok(lifted)
    }

    /// Suppressions in the order they were entered, `limit` of them after the number `after`; lifted ones too.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn suppressions(&self, after: i64, limit: u32) -> Result<Vec<Suppression>, LedgerError> {
        let rows = query(
            "select id, customer_id, address_hash, address, channel, scope, reason, at, by, lifted_at
             from suppressions where id > ? order by id limit ?",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Suppression {
                    id: row.try_get(0)?,
                    customer_id: row.try_get(1)?,
                    address_hash: row.try_get(2)?,
                    address: row.try_get(3)?,
                    channel: row.try_get(4)?,
                    scope: Scope::read(row.try_get(5)?)?,
                    reason: row.try_get(6)?,
                    at: instant(row.try_get(7)?)?,
                    by: row.try_get(8)?,
                    lifted_at: row.try_get::<Option<i64>, _>(9)?.map(instant).transpose()?,
                })
            })
            .collect()
    }

    /// Which of these people may not be written to on a channel now, with the reason. Whoever wants no mail gets no message by another
    /// way either; an opt-out under a name the person had before a merge counts; marketing also obeys the suppressions that cover
    /// marketing only.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn suppressed(&self, people: &[Contact], channel: &str, marketing: bool) -> Result<HashMap<CustomerId, String>, LedgerError> {
        let mut found = HashMap::new();
        for chunk in people.chunks(CHUNK) {
            let asked = serde_json::Value::Array(
                chunk.iter().map(|person| serde_json::json!([person.customer_id.as_str(), person.address_hash])).collect(),
            );
            let rows: Vec<(String, String)> = query_as(
                "with p (customer_id, name, address_hash) as (
                   select value ->> 0, value ->> 0, value ->> 1 from json_each(?1)
                   union all
                   select j.value ->> 0, a.alias, null from json_each(?1) j cross join aliases a on a.customer_id = j.value ->> 0)
                 select p.customer_id, min(s.reason)
                 from p cross join suppressions s on s.customer_id = p.name or s.address_hash = p.address_hash
                 where s.lifted_at is null and s.channel in ('email', ?2) and (s.scope = 'all' or ?3 = 1)
                 group by p.customer_id",
            )
            .bind(asked.to_string())
            .bind(channel)
            .bind(marketing)
            .fetch_all(self.pool())
            .await?;
            found.extend(rows.into_iter().map(|(customer, reason)| (CustomerId::new(customer), reason)));
        }
        Ok(found)
    }

    /// Records an opt-out: the person and the address the message went to get no more marketing on the channel, from the next
    /// reservation on, also in a delivery already running. `false` where the person had opted out before.
    ///
    /// # Errors
    /// Where the ledger cannot be written; then the person must be told that it did not work.
    pub async fn opt_out(&self, out: &OptOut, now: DateTime<Utc>) -> Result<bool, LedgerError> {
        let mut write = self.begin().await?;
        let (address_hash, plan) = sent_to(&mut write, &out.message_id).await?;
        let suppression = NewSuppression {
            customer_id: Some(out.customer_id.clone()),
            address_hash,
            address: None,
            channel: out.channel.clone(),
            scope: Scope::All,
            reason: "unsubscribed".to_owned(),
            by: None,
        };
        let new = insert_suppression(&mut write, &suppression, now).await?;
        if new {
            let event = Event {
                event_id: format!("unsubscribed:{}:{}", out.message_id, micros(now)),
                at: now,
                kind: "unsubscribed".to_owned(),
                customer_id: Some(out.customer_id.as_str().to_owned()),
                campaign: Some(out.campaign.clone()),
                plan,
                message_id: Some(out.message_id.clone()),
                detail: None,
            };
            insert_event(&mut write, &event).await?;
        }
        write.commit().await?;
        Ok(new)
    }

    /// What came back, by time and id, `limit` rows after the given place.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn events(&self, after: Option<(DateTime<Utc>, &str)>, limit: u32) -> Result<Vec<Event>, LedgerError> {
        let (at, id) = after.map_or((i64::MIN, ""), |(at, id)| (micros(at), id));
        let rows = query(
            "select event_id, at, kind, customer_id, campaign, plan, message_id, detail
             from events where (at, event_id) > (?, ?) order by at, event_id limit ?",
        )
        .bind(at)
        .bind(id)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Event {
                    event_id: row.try_get(0)?,
                    at: instant(row.try_get(1)?)?,
                    kind: row.try_get(2)?,
                    customer_id: row.try_get(3)?,
                    campaign: row.try_get(4)?,
                    plan: row.try_get(5)?,
                    message_id: row.try_get(6)?,
                    detail: row.try_get(7)?,
                })
            })
            .collect()
    }
}

/// The keyed hash of the address a letter went to, and its plan; neither where there is no such letter.
pub(in crate::ledger) async fn sent_to(write: &mut Write<'_>, message_id: &str) -> Result<(Option<String>, Option<String>), LedgerError> {
    let sent: Option<(Option<String>, String)> =
        query_as("select address_hash, plan from messages where message_id = ?").bind(message_id).fetch_optional(write).await?;
    Ok(sent.map_or((None, None), |(hash, plan)| (hash, Some(plan))))
}

/// Writes a suppression inside the caller's transaction; `false` where one that covers as much already holds.
pub(in crate::ledger) async fn insert_suppression(
    write: &mut Write<'_>,
    new: &NewSuppression,
    now: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    let written = query(
        "insert into suppressions (customer_id, address_hash, address, channel, scope, reason, at, by)
         select ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
         where not exists (
           select 1 from suppressions
           where lifted_at is null and channel = ?4 and scope in ('all', ?5)
             and (?1 is null or customer_id = ?1) and (?2 is null or address_hash = ?2))",
    )
    .bind(new.customer_id.as_ref().map(CustomerId::as_str))
    .bind(&new.address_hash)
    .bind(&new.address)
    .bind(&new.channel)
    .bind(new.scope.as_str())
    .bind(&new.reason)
    .bind(micros(now))
    .bind(&new.by)
    .execute(write)
    .await?;
    Ok(written.rows_affected() > 0)
}

/// Writes an event inside the caller's transaction; `false` where it stands already.
pub(in crate::ledger) async fn insert_event(write: &mut Write<'_>, event: &Event) -> Result<bool, LedgerError> {
    let written = query(
        "insert into events (event_id, at, kind, customer_id, campaign, plan, message_id, detail)
         values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (event_id) do nothing",
    )
    .bind(&event.event_id)
    .bind(micros(event.at))
    .bind(&event.kind)
    .bind(&event.customer_id)
    .bind(&event.campaign)
    .bind(&event.plan)
    .bind(&event.message_id)
    .bind(&event.detail)
    .execute(write)
    .await?;
    Ok(written.rows_affected() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ledger::fixture, secret::Secret};

    async fn ledger() -> (tempfile::TempDir, Ledger) {
        let root = tempfile::tempdir().unwrap();
        let ledger = fixture::open(root.path()).await;
        (root, ledger)
    }

    fn at(hour: u32) -> DateTime<Utc> {
        use chrono::TimeZone;
        Utc.with_ymd_and_hms(2026, 11, 22, hour, 0, 0).unwrap()
    }

    fn person(id: &str, hash: &str) -> Contact {
        Contact { customer_id: CustomerId::new(id), address_hash: Some(hash.to_owned()) }
    }

    #[test]
    fn an_address_has_one_hash_however_it_is_written() {
        let keys = Keys::new(Secret::new("k"));
        assert_eq!(address_hash(&keys, " Ann@Example.COM "), address_hash(&keys, "ann@example.com"));
        assert_eq!(address_hash(&keys, "Ann@Bücher.example"), address_hash(&keys, "ann@xn--bcher-kva.example"));
        assert_ne!(address_hash(&keys, "ann@example.com"), address_hash(&Keys::new(Secret::new("other")), "ann@example.com"));
    }

    #[tokio::test]
    async fn a_suppression_covers_the_person_and_the_address_until_it_is_lifted() {
        let (_root, ledger) = ledger().await;
        let new = NewSuppression {
            customer_id: None,
            address_hash: Some("h1".into()),
            address: None,
            channel: "email".into(),
            scope: Scope::All,
            reason: "hard_bounce".into(),
            by: None,
        };
        assert!(ledger.suppress(&new, at(1)).await.unwrap());
        assert!(!ledger.suppress(&new, at(2)).await.unwrap(), "an equal suppression stands once");
        let asked = [person("a", "h1"), person("b", "h2")];
        let found = ledger.suppressed(&asked, "email", false).await.unwrap();
        assert_eq!(found, HashMap::from([(CustomerId::new("a"), "hard_bounce".to_owned())]));
        assert_eq!(ledger.suppressed(&asked, "webhook", false).await.unwrap(), found, "silence by mail is silence by every way");
        assert_eq!(ledger.lift(None, Some("h1"), "email", "Mara", at(3)).await.unwrap(), 1);
        assert!(ledger.suppressed(&asked, "email", true).await.unwrap().is_empty());
        assert_eq!(ledger.suppressions(0, 10).await.unwrap()[0].lifted_at, Some(at(3)));
    }

    #[tokio::test]
    async fn an_opt_out_holds_after_the_person_was_merged_into_another() {
        let (_root, ledger) = ledger().await;
        let out = OptOut {
            customer_id: CustomerId::new("shop:5"),
            campaign: "win-back".into(),
            message_id: "m@x".into(),
            channel: "email".into(),
        };
        ledger.opt_out(&out, at(1)).await.unwrap();
        let asked = [person("crm:9", "another address"), person("crm:8", "h8")];
        assert!(ledger.suppressed(&asked, "email", true).await.unwrap().is_empty());
        query("insert into aliases values ('shop:5', 'crm:9')").execute(ledger.pool()).await.unwrap();
        let found = ledger.suppressed(&asked, "email", true).await.unwrap();
        assert_eq!(found, HashMap::from([(CustomerId::new("crm:9"), "unsubscribed".to_owned())]));
    }

    #[tokio::test]
    async fn an_opt_out_silences_every_letter_and_leaves_one_event() {
        let (_root, ledger) = ledger().await;
        let out =
            OptOut { customer_id: CustomerId::new("a"), campaign: "win-back".into(), message_id: "m@x".into(), channel: "email".into() };
        assert!(ledger.opt_out(&out, at(1)).await.unwrap());
        assert!(!ledger.opt_out(&out, at(2)).await.unwrap());
        let asked = [person("a", "h1")];
        assert_eq!(ledger.suppressed(&asked, "email", true).await.unwrap().len(), 1);
        assert_eq!(ledger.suppressed(&asked, "email", false).await.unwrap().len(), 1, "service letters stop too");
        let events = ledger.events(None, 10).await.unwrap();
        assert_eq!(events.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(), ["unsubscribed"]);
        assert!(ledger.events(Some((events[0].at, &events[0].event_id)), 10).await.unwrap().is_empty());
    }
}
