//! What came back about messages: bounces, complaints, opt-outs and word of arrival, and what follows from each.
//!
//! | what came back | event | what follows |
//! |---|---|---|
//! | no such mailbox | `bounced` | the address is suppressed at once |
//! | not delivered, for another reason | `soft_bounced` | the address is suppressed at the n-th within a period |
//! | a complaint | `complained` | the person and the address are suppressed at once |
//! | an opt-out by way of the provider | `unsubscribed` | the same |
//! | delivered, or still trying | `delivered`, `delayed` | nothing |
//! | the provider did not send it | `dropped` | nothing |
//!
//! Whatever came back about a message proves that it left: one that was `unknown` is `accepted` from then on.

use chrono::{DateTime, Utc};

use super::{
    CustomerId, Ledger, LedgerError, MessageId, Named, PlanId, Settled, State, micros,
    store::{Write, query, query_as},
    suppressions::{Event, NewSuppression, Scope, insert_event, insert_suppression},
    turn::settle,
};
use crate::config::Cap;

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReturnKind {
    /// It arrived, or went on to a system that reports no more.
    Delivered,
    /// It has not arrived yet.
    Delayed,
    /// It did not arrive.
    Bounced {
        /// Because there is no such mailbox.
        hard: bool,
    },
    /// The recipient calls it junk.
    Complained,
    /// The recipient wants no more, and said so to the provider.
    Unsubscribed,
    /// The provider did not send it.
    Dropped,
}

impl ReturnKind {
    /// As `events` has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Delayed => "delayed",
            Self::Bounced { hard: true } => "bounced",
            Self::Bounced { hard: false } => "soft_bounced",
            Self::Complained => "complained",
            Self::Unsubscribed => "unsubscribed",
            Self::Dropped => "dropped",
        }
    }
}

/// One thing that came back about one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Returned {
    /// The same however often it is told.
    pub event_id: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What happened.
    pub kind: ReturnKind,
    /// The message's id, or the part of it before the `@`.
    pub message_id: Option<String>,
    /// The keyed hash of the address it is about.
    pub address_hash: Option<String>,
    /// Whether the address alone may be believed: a call that a provider signed, not a mail that anybody can send.
    pub proven: bool,
    /// What was said, without addresses.
    pub detail: Option<String>,
}

/// What became of something that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It stands in `events` now, and what follows from it is done.
    New,
    /// It had been told before.
    Known,
    /// It is about no message of this ledger.
    Foreign,
}

/// What became of a campaign's last messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    /// How many there were, up to as many as were asked for; not counted where nothing came back.
    pub messages: u32,
    /// To how many of them there was no such mailbox.
    pub bounced: u32,
    /// About how many of them somebody complained.
    pub complained: u32,
}

/// The message something is about.
struct Sent {
    message_id: String,
    plan: String,
    campaign: String,
    channel: String,
    customer_id: String,
    address_hash: Option<String>,
}

impl Ledger {
    /// Records what came back, and does what follows from it; all in one transaction, each thing once however often it is told. After
    /// `soft` of them within their period, bounces for other reasons than a dead address suppress the address too.
    ///
    /// # Errors
    /// Where the ledger cannot be written; then nothing of it stands, and it may be told again.
    pub(crate) async fn note_returned(&self, returned: &[Returned], soft: Cap, now: DateTime<Utc>) -> Result<Vec<Noted>, LedgerError> {
        let mut write = self.begin().await?;
        let mut noted = Vec::with_capacity(returned.len());
        for one in returned {
            noted.push(note(&mut write, one, soft, now).await?);
        }
        write.commit().await?;
        Ok(noted)
    }

    /// What became of the last `over` messages of a plan's campaign; what came back before somebody let the plan go on does not count.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub(crate) async fn rates(&self, plan: &PlanId, campaign: &str, over: u32) -> Result<Rates, LedgerError> {
        let (messages, bounced, complained) = query_as(
            "with against as (
               select distinct e.message_id, e.kind from events e
               where e.campaign = ?2 and e.kind in ('bounced', 'complained')
                 and e.at > coalesce((select max(at) from plan_events where plan = ?1 and what = 'resumed'), 0)
                 and e.message_id in (select message_id from messages
                   where campaign = ?2 and state in ('accepted', 'rejected') order by at desc limit ?3))
             select case when not exists (select 1 from against) then 0 else (select count(*) from (select 1 as one from messages
                 where campaign = ?2 and state in ('accepted', 'rejected') order by at desc limit ?3) last) end,
               count(*) filter (where kind = 'bounced'), count(*) filter (where kind = 'complained')
             from against",
        )
        .bind(plan.as_str())
        .bind(campaign)
        .bind(over)
        .fetch_one(self.pool())
        .await?;
        Ok(Rates { messages, bounced, complained })
    }

    /// How far a mailbox has been read.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub(crate) async fn mailbox_cursor(&self, mailbox: &str) -> Result<Option<String>, LedgerError> {
        Ok(query_as("select cursor from mailboxes where mailbox = ?").bind(mailbox).fetch_optional(self.pool()).await?)
    }

    /// Remembers how far a mailbox has been read.
    ///
    /// # Errors
    /// Where the ledger cannot be written; then its mails are read again, and known by their ids.
    pub(crate) async fn mailbox_read(&self, mailbox: &str, cursor: &str, now: DateTime<Utc>) -> Result<(), LedgerError> {
        query(
            "insert into mailboxes (mailbox, cursor, at) values (?, ?, ?)
             on conflict (mailbox) do update set cursor = excluded.cursor, at = excluded.at",
        )
        .bind(mailbox)
        .bind(cursor)
        .bind(micros(now))
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Whether a provider's call with this key has been taken before.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub(crate) async fn has_taken_call(&self, key: &str) -> Result<bool, LedgerError> {
        Ok(query_as("select exists (select 1 from provider_calls where key = ?)").bind(key).fetch_one(self.pool()).await?)
    }

    /// Remembers a provider's call until its signature is too old by itself.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub(crate) async fn call_taken(&self, key: &str, until: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), LedgerError> {
        query("delete from provider_calls where until < ?").bind(micros(now)).execute(self.pool()).await?;
        query("insert into provider_calls (key, until) values (?, ?) on conflict (key) do nothing")
            .bind(key)
            .bind(micros(until))
            .execute(self.pool())
            .await?;
        Ok(())
    }
}

async fn note(write: &mut Write<'static>, one: &Returned, soft: Cap, now: DateTime<Utc>) -> Result<Noted, LedgerError> {
    let sent = match &one.message_id {
        Some(id) => find(write, id).await?,
        None => None,
    };
    // An address in a mail that names no message of ours proves nothing: anybody could silence anybody with it.
    if sent.is_none() && !(one.proven && one.address_hash.is_some()) {
        return Ok(Noted::Foreign);
    }
    let event = Event {
        event_id: one.event_id.clone(),
        at: one.at,
        kind: one.kind.as_str().to_owned(),
        customer_id: sent.as_ref().map(|sent| sent.customer_id.clone()),
        campaign: sent.as_ref().map(|sent| sent.campaign.clone()),
        plan: sent.as_ref().map(|sent| sent.plan.clone()),
        message_id: sent.as_ref().map(|sent| sent.message_id.clone()),
        detail: one.detail.clone(),
    };
    if !insert_event(write, &event).await? {
        return Ok(Noted::Known);
    }
    if let Some(sent) = sent.as_ref().filter(|_| one.kind != ReturnKind::Dropped) {
        it_left(write, sent, now).await?;
    }
    // The address the message was sent to; a forwarder's own address is not the person's.
    let address_hash = sent.as_ref().and_then(|sent| sent.address_hash.clone()).or_else(|| one.address_hash.clone());
    let suppression = |customer_id: Option<&Sent>, reason: &str| NewSuppression {
        customer_id: customer_id.map(|sent| CustomerId::new(&sent.customer_id)),
        address_hash: address_hash.clone(),
        address: None,
        channel: sent.as_ref().map_or("email", |sent| &sent.channel).to_owned(),
        scope: Scope::All,
        reason: reason.to_owned(),
        by: None,
    };
    match one.kind {
        ReturnKind::Bounced { hard: true } if address_hash.is_some() => {
            insert_suppression(write, &suppression(None, "hard_bounce"), now).await?;
        }
        ReturnKind::Bounced { hard: false } => {
            if let Some(hash) = &address_hash
                && soft_bounces(write, hash, now - soft.within.delta()).await? >= i64::from(soft.messages)
            {
                insert_suppression(write, &suppression(None, "soft_bounces"), now).await?;
            }
        }
        // The person, whatever address they have later: they asked for peace, not for another mailbox.
        ReturnKind::Complained => {
            insert_suppression(write, &suppression(sent.as_ref(), "complaint"), now).await?;
        }
        ReturnKind::Unsubscribed => {
            insert_suppression(write, &suppression(sent.as_ref(), "unsubscribed"), now).await?;
        }
        _ => {}
    }
    Ok(Noted::New)
}

/// The message of a whole id, or of the part before the `@`.
async fn find(write: &mut Write<'static>, id: &str) -> Result<Option<Sent>, LedgerError> {
    // `A` is the letter after `@`.
    let (from, to) = if id.contains('@') { (id.to_owned(), id.to_owned()) } else { (format!("{id}@"), format!("{id}A")) };
    let row: Option<(String, String, String, String, String, Option<String>)> = query_as(
        "select message_id, plan, campaign, channel, customer_id, address_hash from messages
         where message_id >= ?1 and (message_id < ?2 or message_id = ?1) order by message_id limit 1",
    )
    .bind(from)
    .bind(to)
    .fetch_optional(&mut *write)
    .await?;
    Ok(row.map(|(message_id, plan, campaign, channel, customer_id, address_hash)| Sent {
        message_id,
        plan,
        campaign,
        channel,
        customer_id,
        address_hash,
    }))
}

/// Resolves an unknown outcome by what came back: the message did leave.
async fn it_left(write: &mut Write<'static>, sent: &Sent, now: DateTime<Utc>) -> Result<(), LedgerError> {
    let unknown: bool = query_as("select exists (select 1 from recipients where message_id = ?1 and state = 'unknown' and +plan = ?2)")
        .bind(&sent.message_id)
        .bind(&sent.plan)
        .fetch_one(&mut *write)
        .await?;
    if !unknown {
        return Ok(());
    }
    let message = Named { customer_id: CustomerId::new(&sent.customer_id), message_id: MessageId::new(&sent.message_id) };
    let settled =
        Settled { message, state: State::Accepted, reason: Some("resolved_by_return"), reply: None, next_try_at: None, bounced: None };
    settle(write, &PlanId::new(&sent.plan), None, &[settled], now).await
}

/// How many messages to an address have come back since, one just told included, and none has arrived after the first.
async fn soft_bounces(write: &mut Write<'static>, address_hash: &str, since: DateTime<Utc>) -> Result<i64, LedgerError> {
    Ok(query_as(
        "select count(distinct e.message_id) from events e join messages m on m.message_id = e.message_id
         where e.kind = 'soft_bounced' and e.at >= ?2 and m.address_hash = ?1
           and e.at > coalesce((select max(d.at) from events d join messages w on w.message_id = d.message_id
                                where d.kind = 'delivered' and w.address_hash = ?1), 0)",
    )
    .bind(address_hash)
    .bind(micros(since))
    .fetch_one(&mut *write)
    .await?)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::{
        config::Period,
        ledger::{Contact, fixture},
    };

    fn soft() -> Cap {
        Cap { messages: 3, within: Period::days(30) }
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000, 0).unwrap()
    }

    /// A ledger that has sent a message `m<n>@x` to each of five people at the address `h<n>`; the last outcome is unknown.
    async fn ledger() -> (tempfile::TempDir, Ledger) {
        let root = tempfile::tempdir().unwrap();
        let ledger = fixture::open(root.path()).await;
        fixture::approved(&ledger, "plan", "marketing", 5, now(), now() + TimeDelta::days(1)).await;
        for number in 0..5 {
            let state = if number == 4 { "unknown" } else { "accepted" };
            fixture::run(
                &ledger,
                &format!("insert into recipients (plan, customer_id, message_id, state, updated_at) values ('plan', 'p{number}', 'm{number}@x', '{state}', 0)"),
            )
            .await;
            fixture::run(
                &ledger,
                &format!(
                    "insert into messages (message_id, plan, campaign, kind, channel, customer_id, occasion, step, address_hash, state, at)
                     values ('m{number}@x', 'plan', 'win-back', 'marketing', 'email', 'p{number}', 'o', 1, 'h{number}', '{state}', 0)"
                ),
            )
            .await;
        }
        (root, ledger)
    }

    fn returned(event: &str, kind: ReturnKind, message: &str) -> Returned {
        Returned {
            event_id: event.into(),
            at: now(),
            kind,
            message_id: Some(message.into()),
            address_hash: None,
            proven: false,
            detail: None,
        }
    }

    async fn note(ledger: &Ledger, one: Returned) -> Noted {
        ledger.note_returned(&[one], soft(), now()).await.unwrap()[0]
    }

    async fn silenced(ledger: &Ledger, person: &str, address: &str) -> Option<String> {
        let contact = Contact { customer_id: CustomerId::new(person), address_hash: Some(address.into()) };
        ledger.suppressed(&[contact], "email", false).await.unwrap().remove(&CustomerId::new(person))
    }

    #[tokio::test]
    async fn each_kind_silences_whom_it_must_and_nobody_else() {
        let (_root, ledger) = ledger().await;
        let kinds = [ReturnKind::Bounced { hard: true }, ReturnKind::Complained, ReturnKind::Unsubscribed, ReturnKind::Delayed];
        for (number, kind) in kinds.into_iter().enumerate() {
            assert_eq!(note(&ledger, returned(&format!("e{number}"), kind, &format!("m{number}@x"))).await, Noted::New);
        }
        for (number, reason) in [Some("hard_bounce"), Some("complaint"), Some("unsubscribed"), None].into_iter().enumerate() {
            let (person, address) = (format!("p{number}"), format!("h{number}"));
            assert_eq!(silenced(&ledger, &person, &address).await.as_deref(), reason);
            assert_eq!(silenced(&ledger, "somebody", &address).await.as_deref(), reason, "whoever has the address");
            // A dead address is not the person: they may have a new one. Who complained or left means themselves.
            assert_eq!(silenced(&ledger, &person, "new").await.as_deref(), reason.filter(|reason| *reason != "hard_bounce"));
        }
        let kinds: Vec<String> = ledger.events(None, 9).await.unwrap().into_iter().map(|event| event.kind).collect();
        assert_eq!(kinds, ["bounced", "complained", "unsubscribed", "delayed"]);
    }

    #[tokio::test]
    async fn what_is_told_twice_counts_once() {
        let (_root, ledger) = ledger().await;
        let bounce = || returned("e", ReturnKind::Bounced { hard: true }, "m0@x");
        assert_eq!(ledger.note_returned(&[bounce(), bounce()], soft(), now()).await.unwrap(), [Noted::New, Noted::Known]);
        assert_eq!(note(&ledger, bounce()).await, Noted::Known);
        assert_eq!(fixture::number(&ledger, "select count(*) from suppressions").await, 1);
    }

    #[tokio::test]
    async fn a_message_is_found_by_the_part_before_the_at_and_a_stranger_is_not() {
        let (_root, ledger) = ledger().await;
        assert_eq!(note(&ledger, returned("a", ReturnKind::Delivered, "m0")).await, Noted::New);
        for id in ["m", "m0x", "m0@", "m0@y", "", "'"] {
            assert_eq!(note(&ledger, returned(id, ReturnKind::Complained, id)).await, Noted::Foreign, "{id}");
        }
        // An address alone counts only where the provider has proven itself.
        let about =
            |proven| Returned { message_id: None, address_hash: Some("h3".into()), proven, ..returned("b", ReturnKind::Complained, "") };
        assert_eq!(note(&ledger, about(false)).await, Noted::Foreign);
        assert_eq!(silenced(&ledger, "p3", "h3").await, None);
        assert_eq!(note(&ledger, about(true)).await, Noted::New);
        assert_eq!(silenced(&ledger, "p3", "h3").await.as_deref(), Some("complaint"));
    }

    #[tokio::test]
    async fn soft_bounces_silence_an_address_by_the_third_with_nothing_delivered_between() {
        let (_root, ledger) = ledger().await;
        fixture::run(&ledger, "update messages set address_hash = 'h'").await;
        let bounce = |number: i64, days: i64| Returned {
            at: now() + TimeDelta::days(days),
            ..returned(&format!("s{number}:{days}"), ReturnKind::Bounced { hard: false }, &format!("m{number}@x"))
        };
        for one in [bounce(0, -40), bounce(1, -3), bounce(1, -2), bounce(2, -1)] {
            assert_eq!(note(&ledger, one).await, Noted::New);
        }
        assert_eq!(silenced(&ledger, "p", "h").await, None, "one is too old, and two are about one message");
        let delivered = Returned { at: now() - TimeDelta::hours(30), ..returned("d", ReturnKind::Delivered, "m0@x") };
        note(&ledger, delivered).await;
        note(&ledger, bounce(3, 0)).await;
        assert_eq!(silenced(&ledger, "p", "h").await, None, "a letter arrived in between");
        note(&ledger, Returned { event_id: "s".into(), ..bounce(4, 0) }).await;
        assert_eq!(silenced(&ledger, "p", "h").await.as_deref(), Some("soft_bounces"));
    }

    #[tokio::test]
    async fn whatever_comes_back_proves_that_an_unknown_message_left() {
        for kind in [ReturnKind::Delivered, ReturnKind::Delayed, ReturnKind::Bounced { hard: true }, ReturnKind::Complained] {
            let (_root, ledger) = ledger().await;
            note(&ledger, returned("e", kind, "m4@x")).await;
            assert!(ledger.unknowns().await.unwrap().is_empty(), "{kind:?}");
            let state = "select count(*) from recipients r join messages m on m.message_id = r.message_id
                         where r.message_id = 'm4@x' and r.state = 'accepted' and m.state = 'accepted' and r.reason = 'resolved_by_return'";
            assert_eq!(fixture::number(&ledger, state).await, 1, "{kind:?}");
        }
        let (_root, ledger) = ledger().await;
        note(&ledger, returned("e", ReturnKind::Dropped, "m4@x")).await;
        assert_eq!(ledger.unknowns().await.unwrap().len(), 1, "what the provider did not send proves nothing");
    }

    #[tokio::test]
    async fn a_mailbox_goes_on_where_it_was_and_a_copied_call_is_known() {
        let (_root, ledger) = ledger().await;
        assert_eq!(ledger.mailbox_cursor("bounces").await.unwrap(), None);
        ledger.mailbox_read("bounces", "1", now()).await.unwrap();
        ledger.mailbox_read("bounces", "2", now()).await.unwrap();
        assert_eq!(ledger.mailbox_cursor("bounces").await.unwrap().as_deref(), Some("2"));
        ledger.call_taken("k", now() + TimeDelta::minutes(5), now()).await.unwrap();
        assert!(ledger.has_taken_call("k").await.unwrap());
        ledger.call_taken("l", now() + TimeDelta::hours(1), now() + TimeDelta::minutes(6)).await.unwrap();
        assert!(!ledger.has_taken_call("k").await.unwrap(), "its signature is too old by itself");
    }
}
