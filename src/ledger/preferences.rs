//! What people asked for on their page, short of silence: letters less often, or none of this kind.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    Contact, CustomerId, Ledger, LedgerError, OptOut, micros,
    store::{query, query_as},
    suppressions::{Event, insert_event, sent_to},
};

/// How many people one statement asks about.
const CHUNK: usize = 2_000;

/// A wish of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To be written to less often.
    Fewer,
    /// To get no more letters of the campaign.
    Without,
}

impl Wish {
    /// As the ledger writes it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Fewer => "fewer",
            Self::Without => "without",
        }
    }
}

/// Who of the people asked about has which wish.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Whoever wants fewer letters.
    pub fewer: HashSet<CustomerId>,
    /// Whoever wants none of the campaign.
    pub without: HashSet<CustomerId>,
}

impl Ledger {
    /// Records a wish as the page of a letter brings it; it holds from the next reservation on, also in a delivery already running. `false`
    /// where it stood before.
    ///
    /// # Errors
    /// Where the ledger cannot be written; then the person must be told that it did not work.
    pub async fn wish(&self, letter: &OptOut, wish: Wish, now: DateTime<Utc>) -> Result<bool, LedgerError> {
        let mut write = self.begin().await?;
        let (address_hash, plan) = sent_to(&mut write, &letter.message_id).await?;
        let campaign = (wish == Wish::Without).then_some(&letter.campaign);
        let new = query(
            "insert into preferences (customer_id, address_hash, wish, campaign, at)
             select ?1, ?2, ?3, ?4, ?5
             where not exists (select 1 from preferences
               where lifted_at is null and customer_id = ?1 and address_hash is not distinct from ?2 and wish = ?3 and campaign is not distinct from ?4)",
        )
        .bind(letter.customer_id.as_str())
        .bind(&address_hash)
        .bind(wish.as_str())
        .bind(campaign)
        .bind(micros(now))
        .execute(&mut write)
        .await?
        .rows_affected()
            > 0;
        if new {
            let event = Event {
                event_id: format!("wish:{}:{}:{}", wish.as_str(), letter.message_id, micros(now)),
                at: now,
                kind: match wish {
                    Wish::Fewer => "wants_fewer",
                    Wish::Without => "left_campaign",
                }
                .to_owned(),
                customer_id: Some(letter.customer_id.as_str().to_owned()),
                campaign: Some(letter.campaign.clone()),
                plan,
                message_id: Some(letter.message_id.clone()),
                detail: None,
            };
            insert_event(&mut write, &event).await?;
        }
        write.commit().await?;
        Ok(new)
    }

    /// Who of these people wants fewer letters, and who none of the campaign; a wish under a name the person had before a merge counts, and
    /// one of somebody else at the same address.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn wishes(&self, people: &[Contact], campaign: &str) -> Result<Wishes, LedgerError> {
        let mut wishes = Wishes::default();
        for chunk in people.chunks(CHUNK) {
            let asked = Value::Array(chunk.iter().map(|person| json!([person.customer_id.as_str(), person.address_hash])).collect());
            let rows: Vec<(String, bool)> = query_as(
                "with p (customer_id, name, address_hash) as (
                   select value ->> 0, value ->> 0, value ->> 1 from json_each(?1)
                   union all
                   select j.value ->> 0, a.alias, null from json_each(?1) j cross join aliases a on a.customer_id = j.value ->> 0)
                 select distinct p.customer_id, f.wish = 'fewer'
                 from p cross join preferences f on f.customer_id = p.name or f.address_hash = p.address_hash
                 where f.lifted_at is null and (f.wish = 'fewer' or f.campaign = ?2)",
            )
            .bind(asked.to_string())
            .bind(campaign)
            .fetch_all(self.pool())
            .await?;
            for (customer, fewer) in rows {
                if fewer { &mut wishes.fewer } else { &mut wishes.without }.insert(CustomerId::new(customer));
            }
        }
        Ok(wishes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixture;

    fn letter(customer: &str, message: &str) -> OptOut {
        OptOut { customer_id: CustomerId::new(customer), campaign: "win-back".into(), message_id: message.into(), channel: "email".into() }
    }

    #[tokio::test]
    async fn a_wish_stands_once_and_follows_the_person_and_the_address() {
        let root = tempfile::tempdir().unwrap();
        let ledger = fixture::open(root.path()).await;
        let now = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        fixture::run(
            &ledger,
            "insert into messages (message_id, plan, campaign, kind, channel, customer_id, occasion, step, address_hash, state, at)
             values ('m@x', 'p', 'win-back', 'marketing', 'email', 'shop:1', 'o', 1, 'h1', 'accepted', 0)",
        )
        .await;
        fixture::run(&ledger, "insert into aliases values ('shop:1', 'crm:1')").await;
        assert!(ledger.wish(&letter("shop:1", "m@x"), Wish::Without, now).await.unwrap());
        assert!(!ledger.wish(&letter("shop:1", "m@x"), Wish::Without, now).await.unwrap());
        assert!(ledger.wish(&letter("b", "n@x"), Wish::Fewer, now).await.unwrap());
        let people = [("crm:1", "new"), ("twin", "h1"), ("b", "h2"), ("c", "h3")]
            .map(|(id, hash)| Contact { customer_id: CustomerId::new(id), address_hash: Some(hash.into()) });
        let ids = |wanted: &HashSet<CustomerId>| {
            let mut ids: Vec<String> = wanted.iter().map(ToString::to_string).collect();
            ids.sort();
            ids
        };
        let wishes = ledger.wishes(&people, "win-back").await.unwrap();
        assert_eq!((ids(&wishes.without), ids(&wishes.fewer)), (vec!["crm:1".into(), "twin".into()], vec!["b".into()]));
        let elsewhere = ledger.wishes(&people, "check-in").await.unwrap();
        assert_eq!((ids(&elsewhere.without), ids(&elsewhere.fewer)), (vec![], vec!["b".to_owned()]));
        let events = ledger.events(None, 9).await.unwrap();
        let mut kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["left_campaign", "wants_fewer"]);
        assert_eq!(ledger.lift(Some(&CustomerId::new("b")), None, "email", "Mara", now).await.unwrap(), 1);
        assert!(ledger.wishes(&people, "win-back").await.unwrap().fewer.is_empty());
    }
}
