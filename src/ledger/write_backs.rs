//! What other systems were told about suppressions: the intent before each call, the outcome after it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{CustomerId, Ledger, LedgerError, instant, micros, store::query};

/// Where the telling of one suppression stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    /// The call may be under way, or its process died in it.
    Begun,
    /// The other side took it.
    Told,
    /// The other side knows no such person: it said so, or we know of none (then nothing was called).
    NotThere,
    /// It was certainly not taken; it is told in the next run.
    Failed,
    /// It may have been taken, and must not be told twice.
    Unknown,
}

impl Telling {
    fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "telling",
            Self::Told => "told",
            Self::NotThere => "not_there",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    fn read(text: &str) -> Result<Self, LedgerError> {
        let all = [Self::Begun, Self::Told, Self::NotThere, Self::Failed, Self::Unknown];
        all.into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| LedgerError::Value { value: text.to_owned(), expected: "state of a write-back" })
    }
}

/// What has been tried for one target of a suppression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tried {
    /// Where it stands.
    pub state: Telling,
    /// How often it was called.
    pub attempts: u32,
}

impl Tried {
    /// Whether a call is owed, having been tried like this before; `again`: also one that may have been taken.
    pub(crate) fn is_owed(self, again: bool) -> bool {
        match self.state {
            Telling::Begun | Telling::Failed => true,
            Telling::NotThere => self.attempts == 0,
            Telling::Unknown => again,
            Telling::Told => false,
        }
    }
}

/// A suppression that holds, and what a section has told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Untold {
    /// The suppression's number.
    pub id: i64,
    /// The person as they are called today, where the suppression names one.
    pub customer_id: Option<CustomerId>,
    /// The keyed hash of the address, where it names one.
    pub address_hash: Option<String>,
    /// The address itself, where somebody typed it.
    pub address: Option<String>,
    /// `email` or `webhook`.
    pub channel: String,
    /// `all` or `marketing`.
    pub scope: String,
    /// One of [`super::REASONS`].
    pub reason: String,
    /// Since when.
    pub at: DateTime<Utc>,
    /// What was tried, by target.
    pub tried: BTreeMap<String, Tried>,
}

/// One call: of which section, about which suppression, naming whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The source.
    pub source: &'a str,
    /// Its section.
    pub section: &'a str,
    /// The suppression.
    pub suppression: i64,
    /// The id it names; empty where that is the address alone.
    pub target: &'a str,
}

/// How many suppressions a system has not been told of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WriteBackStanding {
    /// Not tried yet.
    pub waiting: u64,
    /// Tried in vain; the next run tries again.
    pub failed: u64,
    /// Perhaps told; not told again by itself.
    pub unknown: u64,
    /// What was answered last to one that failed or is unknown.
    pub reason: Option<String>,
}

impl Ledger {
    /// The suppressions that hold for one of `reasons`, in the order they were entered, each with what a section has told of it.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub(crate) async fn untold(&self, source: &str, section: &str, reasons: &[String]) -> Result<Vec<Untold>, LedgerError> {
        let rows = query(
            "select s.id, coalesce(a.customer_id, s.customer_id), s.address_hash, s.address, s.channel, s.scope, s.reason, s.at,
               w.target, w.state, w.attempt
             from suppressions s
             left join aliases a on a.alias = s.customer_id
             left join write_backs w on w.source = ?1 and w.section = ?2 and w.suppression = s.id
             where s.lifted_at is null and s.reason in (select value ->> 0 from json_each(?3))
             order by s.id, w.target",
        )
        .bind(source)
        .bind(section)
        .bind(each(reasons))
        .fetch_all(self.pool())
        .await?;
        let mut found: Vec<Untold> = Vec::new();
        for row in rows {
            let id: i64 = row.try_get(0)?;
            if found.last().is_none_or(|last| last.id != id) {
                found.push(Untold {
                    id,
                    customer_id: row.try_get::<Option<String>, _>(1)?.map(CustomerId::new),
                    address_hash: row.try_get(2)?,
                    address: row.try_get(3)?,
                    channel: row.try_get(4)?,
                    scope: row.try_get(5)?,
                    reason: row.try_get(6)?,
                    at: instant(row.try_get(7)?)?,
                    tried: BTreeMap::new(),
                });
            }
            if let (Some(target), Some(last)) = (row.try_get::<Option<String>, _>(8)?, found.last_mut()) {
                let tried = Tried { state: Telling::read(row.try_get(9)?)?, attempts: row.try_get(10)? };
                last.tried.insert(target, tried);
            }
        }
        Ok(found)
    }

    /// Records the intent to call, durably. `false` where the suppression has been lifted meanwhile; then nothing may be called.
    ///
    /// # Errors
    /// Where the ledger cannot be written, or the other side has answered before; then nothing may be called.
    pub(crate) async fn begin_write_back(&self, call: Call<'_>, now: DateTime<Utc>) -> Result<bool, LedgerError> {
        let mut write = self.begin().await?;
        let begun = query(
            "insert into write_backs (source, section, suppression, target, state, attempt, at)
             select ?1, ?2, id, ?4, 'telling', 1, ?5 from suppressions where id = ?3 and lifted_at is null
             on conflict (source, section, suppression, target) do update
             set state = 'telling', attempt = write_backs.attempt + 1, reason = null, at = excluded.at",
        )
        .bind(call.source)
        .bind(call.section)
        .bind(call.suppression)
        .bind(call.target)
        .bind(micros(now))
        .execute(&mut write)
        .await?;
        // Nobody was known there; now somebody is.
        query("delete from write_backs where source = ? and section = ? and suppression = ? and target = '' and attempt = 0")
            .bind(call.source)
            .bind(call.section)
            .bind(call.suppression)
            .execute(&mut write)
            .await?;
        write.commit().await?;
        Ok(begun.rows_affected() > 0)
    }

    /// Records what became of a call.
    ///
    /// # Errors
    /// Where the ledger cannot be written; then the call counts as begun.
    pub(crate) async fn end_write_back(
        &self,
        call: Call<'_>,
        state: Telling,
        reason: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        query("update write_backs set state = ?, reason = ?, at = ? where source = ? and section = ? and suppression = ? and target = ?")
            .bind(state.as_str())
            .bind(reason)
            .bind(micros(now))
            .bind(call.source)
            .bind(call.section)
            .bind(call.suppression)
            .bind(call.target)
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// Records suppressions of whom that system knows nobody, with the reason. They are looked at again in every run.
    ///
    /// # Errors
    /// Where the ledger cannot be written; then none of them stands.
    pub(crate) async fn nobody_to_tell(
        &self,
        source: &str,
        section: &str,
        suppressions: &[(i64, &'static str)],
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        query(
            "insert into write_backs (source, section, suppression, target, state, attempt, reason, at)
             select ?1, ?2, cast(value ->> 0 as bigint), '', 'not_there', 0, value ->> 1, ?4 from json_each(?3) where true
             on conflict (source, section, suppression, target) do nothing",
        )
        .bind(source)
        .bind(section)
        .bind(serde_json::json!(suppressions).to_string())
        .bind(micros(now))
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Marks the calls of a section that a process died in as unknown; returns how many. Only while no other process writes back, and where
    /// a call must not be repeated.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub(crate) async fn strand_write_backs(&self, source: &str, section: &str, now: DateTime<Utc>) -> Result<u64, LedgerError> {
        let stranded = query(
            "update write_backs set state = 'unknown', reason = 'the process died during the call', at = ?
             where source = ? and section = ? and state = 'telling'",
        )
        .bind(micros(now))
        .bind(source)
        .bind(section)
        .execute(self.pool())
        .await?;
        Ok(stranded.rows_affected())
    }

    /// How many of the suppressions that hold for one of `reasons` a section has not told.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub(crate) async fn write_back_standing(
        &self,
        source: &str,
        section: &str,
        reasons: &[String],
    ) -> Result<WriteBackStanding, LedgerError> {
        let row = query(
            "with w as (
               select s.id, w.state, w.reason, w.at from suppressions s
               left join write_backs w on w.source = ?1 and w.section = ?2 and w.suppression = s.id
               where s.lifted_at is null and s.reason in (select value ->> 0 from json_each(?3)))
             select count(*) filter (where state is null or state = 'telling'), count(*) filter (where state = 'failed'),
               count(*) filter (where state = 'unknown'),
               (select reason from w where state in ('failed', 'unknown') order by at desc, id desc limit 1)
             from w",
        )
        .bind(source)
        .bind(section)
        .bind(each(reasons))
        .fetch_one(self.pool())
        .await?;
        let count = |at: usize| Ok::<u64, LedgerError>(row.try_get::<i64, _>(at)?.unsigned_abs());
        Ok(WriteBackStanding { waiting: count(0)?, failed: count(1)?, unknown: count(2)?, reason: row.try_get(3)? })
    }
}

/// Texts as a statement takes them: one row each.
fn each(texts: &[String]) -> String {
    serde_json::json!(texts.iter().map(|text| [text]).collect::<Vec<_>>()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{NewSuppression, OptOut, Scope, fixture};

    const CRM: [&str; 2] = ["crm", "unsubscribed"];

    fn call(suppression: i64, target: &str) -> Call<'_> {
        Call { source: CRM[0], section: CRM[1], suppression, target }
    }

    fn at(hour: u32) -> DateTime<Utc> {
        use chrono::TimeZone;
        Utc.with_ymd_and_hms(2026, 11, 22, hour, 0, 0).unwrap()
    }

    async fn suppressed(ledger: &Ledger, reason: &str, hash: &str) {
        let new = NewSuppression {
            customer_id: None,
            address_hash: Some(hash.to_owned()),
            address: None,
            channel: "email".into(),
            scope: Scope::All,
            reason: reason.to_owned(),
            by: None,
        };
        assert!(ledger.suppress(&new, at(1)).await.unwrap());
    }

    async fn untold(ledger: &Ledger, reasons: &[&str]) -> Vec<Untold> {
        let reasons: Vec<String> = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        ledger.untold(CRM[0], CRM[1], &reasons).await.unwrap()
    }

    #[tokio::test]
    async fn what_holds_for_a_reason_that_is_asked_for_is_told_of_under_the_person_s_present_name() {
        let root = tempfile::tempdir().unwrap();
        let ledger = fixture::open(root.path()).await;
        let out = OptOut {
            customer_id: CustomerId::new("shop:5"),
            campaign: "win-back".into(),
            message_id: "m@x".into(),
            channel: "email".into(),
        };
        ledger.opt_out(&out, at(1)).await.unwrap();
        suppressed(&ledger, "hard_bounce", "h1").await;
        suppressed(&ledger, "imported", "h2").await;
        fixture::run(&ledger, "insert into aliases values ('shop:5', 'crm:9')").await;
        let found = untold(&ledger, &["unsubscribed", "hard_bounce"]).await;
        assert_eq!(found.iter().map(|one| one.reason.as_str()).collect::<Vec<_>>(), ["unsubscribed", "hard_bounce"]);
        assert_eq!(found[0].customer_id, Some(CustomerId::new("crm:9")));
        ledger.lift(None, Some("h1"), "email", "Mara", at(2)).await.unwrap();
        assert_eq!(untold(&ledger, &["hard_bounce"]).await, [], "what was lifted does not hold");
        assert!(!ledger.begin_write_back(call(2, ""), at(3)).await.unwrap(), "nor is it told when it was lifted a moment ago");
        assert_eq!(fixture::number(&ledger, "select count(*) from write_backs").await, 0);
    }

    #[tokio::test]
    async fn once_the_other_side_has_answered_the_ledger_refuses_another_call() {
        let root = tempfile::tempdir().unwrap();
        let ledger = fixture::open(root.path()).await;
        for hash in ["h1", "h2", "h3"] {
            suppressed(&ledger, "manual", hash).await;
        }
        for (id, state) in [(1, Telling::Told), (2, Telling::NotThere)] {
            assert!(ledger.begin_write_back(call(id, ""), at(2)).await.unwrap());
            ledger.end_write_back(call(id, ""), state, None, at(2)).await.unwrap();
            assert!(ledger.begin_write_back(call(id, ""), at(3)).await.is_err(), "{state:?}");
        }
        for state in [Telling::Failed, Telling::Unknown] {
            assert!(ledger.begin_write_back(call(3, ""), at(2)).await.unwrap());
            ledger.end_write_back(call(3, ""), state, Some("answered 500"), at(2)).await.unwrap();
        }
        assert!(ledger.begin_write_back(call(3, ""), at(3)).await.unwrap());
        assert_eq!(untold(&ledger, &["manual"]).await[2].tried[""], Tried { state: Telling::Begun, attempts: 3 });
    }

    #[tokio::test]
    async fn whoever_becomes_known_there_is_no_longer_unknown_there() {
        let root = tempfile::tempdir().unwrap();
        let ledger = fixture::open(root.path()).await;
        suppressed(&ledger, "manual", "h1").await;
        for hour in [2, 3] {
            ledger.nobody_to_tell(CRM[0], CRM[1], &[(1, "no_source_id")], at(hour)).await.unwrap();
        }
        let tried = untold(&ledger, &["manual"]).await.remove(0).tried;
        assert_eq!(tried, BTreeMap::from([(String::new(), Tried { state: Telling::NotThere, attempts: 0 })]));
        assert!(tried[""].is_owed(false));
        assert!(ledger.begin_write_back(call(1, "17"), at(4)).await.unwrap());
        assert_eq!(untold(&ledger, &["manual"]).await[0].tried.keys().collect::<Vec<_>>(), ["17"]);
    }

    #[tokio::test]
    async fn what_stands_open_is_counted_with_the_last_reason() {
        let root = tempfile::tempdir().unwrap();
        let ledger = fixture::open(root.path()).await;
        for hash in ["h1", "h2", "h3", "h4"] {
            suppressed(&ledger, "manual", hash).await;
        }
        for (id, state, reason) in [(1, Telling::Failed, Some("answered 500")), (2, Telling::Told, None)] {
            ledger.begin_write_back(call(id, ""), at(2)).await.unwrap();
            ledger.end_write_back(call(id, ""), state, reason, at(2)).await.unwrap();
        }
        ledger.begin_write_back(call(3, ""), at(2)).await.unwrap();
        let standing = async || ledger.write_back_standing(CRM[0], CRM[1], &["manual".to_owned()]).await.unwrap();
        let expected = WriteBackStanding { waiting: 2, failed: 1, unknown: 0, reason: Some("answered 500".into()) };
        assert_eq!(standing().await, expected);
        assert_eq!(ledger.strand_write_backs("shop", CRM[1], at(3)).await.unwrap(), 0);
        assert_eq!(ledger.strand_write_backs(CRM[0], CRM[1], at(3)).await.unwrap(), 1);
        let expected = WriteBackStanding { waiting: 1, failed: 1, unknown: 1, reason: Some("the process died during the call".into()) };
        assert_eq!(standing().await, expected);
    }
}
