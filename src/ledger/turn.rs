//! One step of a running delivery: what came back is recorded, who is next is looked at, and what may be sent is reserved and committed.
//!
//! All of it happens in one synced transaction, so durability costs one sync a group, not one a message; and what the policy decides by is
//! still true when the decision is written, and when the message leaves.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    CustomerId, Ledger, LedgerError, MessageId, PlanId, State, Worker, micros, point,
    present::{Present, present},
    shaping::{Quota, count, counted},
    store::{Value, Write, query, query_as},
    suppressions::{Event, NewSuppression, Scope, insert_event, insert_suppression},
};

/// How many rows one statement writes.
const CHUNK: usize = 2_000;

/// What a delivery is about; the same for all its messages.
#[derive(Debug, Clone)]
pub(crate) struct Errand {
    /// The plan.
    pub plan: PlanId,
    /// The campaign.
    pub campaign: String,
    /// `marketing`, `service` or `internal`.
    pub kind: String,
    /// `email` or `webhook`.
    pub channel: String,
    /// The segment its people are in.
    pub segment: String,
    /// `outbox`, `smtp` or `http`.
    pub transport: &'static str,
    /// Who delivers.
    pub worker: Worker,
    /// Messages since this long count against the cap.
    pub cap_window: TimeDelta,
}

/// One message about to be reserved.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// The person.
    pub customer_id: CustomerId,
    /// The message's id for ever.
    pub message_id: MessageId,
    /// The keyed hash of the person's address; none for notes to staff.
    pub address_hash: Option<String>,
    /// What it is about.
    pub occasion: String,
    /// 1, or a later letter about the same occasion.
    pub step: u32,
    /// The variant the person was given.
    pub variant: Option<String>,
}

/// What the policy says about one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Send it now.
    Send,
    /// Never send it in this plan, for this reason.
    Drop(&'static str),
    /// Not before this.
    Wait(DateTime<Utc>),
}

/// A message some group is named by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// The person.
    pub customer_id: CustomerId,
    /// The message.
    pub message_id: MessageId,
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The message.
    pub message: Named,
    /// Its new state.
    pub state: State,
    /// Why, in one word, where there is a why.
    pub reason: Option<&'static str>,
    /// What the other side answered, without addresses.
    pub reply: Option<String>,
    /// For `waiting` and `deferred`: not before this.
    pub next_try_at: Option<DateTime<Utc>>,
    /// The keyed hash of an address the other side called dead; it is suppressed in the same transaction.
    pub bounced: Option<String>,
}

/// A message whose turn has come.
#[derive(Debug, Clone)]
pub(crate) struct Due {
    /// The message.
    pub candidate: Candidate,
    /// Whether its letter is written and can leave; where not, it is claimed all the same, so that nobody tries again.
    pub written: bool,
    /// Which of the turn's quotas it counts against.
    pub quotas: [Option<usize>; 2],
}

/// One step of a running delivery.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// What came back since the last step.
    pub settle: Vec<Settled>,
    /// Messages to take next.
    pub take: Vec<Due>,
    /// Messages that may not leave before a time, so as not to be too fast.
    pub put_off: Vec<(Named, DateTime<Utc>)>,
    /// How many may leave today.
    pub quotas: Vec<Option<Quota>>,
}

impl Turn {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.settle.is_empty() && self.take.is_empty() && self.put_off.is_empty()
    }
}

/// What one step did.
#[derive(Debug, Default)]
pub(crate) struct Turned {
    /// The plan's status; when it is no longer `delivering`, nothing was taken.
    pub status: String,
    /// Messages that were taken, by their places among those to take, with how often each was tried before: those that are written may leave now.
    pub taken: Vec<(usize, u32)>,
    /// People dropped in this step.
    pub dropped: u64,
    /// How many of the messages the account holds.
    pub looked_at: u64,
    /// How many have left today, by quota.
    pub sent: Vec<u64>,
}

// Each is done for every message that it is about, found by the account's key.
const MOVE_RECIPIENTS: &str =
    "update or rollback recipients set state = {2}, reason = {3}, reply = coalesce({4}, reply), next_try_at = cast({5} as bigint),
   worker = coalesce(?3, worker), updated_at = ?2
 {rows} where plan = ?1 and customer_id = {0} and +message_id = {1}";
// Whoever believes that a turn of theirs failed, and it stood, may settle what others have in hand since: only what a worker has itself counts.
const SETTLE: &str = "update or rollback recipients set state = {2}, reason = {3}, reply = coalesce({4}, reply), next_try_at = cast({5} as bigint), updated_at = ?2
 {rows} where plan = ?1 and customer_id = {0} and +message_id = {1} and worker = ?3 and +state in ('reserved', 'committing')";
const MOVE_MESSAGES: &str = "update or rollback messages set state = {2}, at = ?2 {rows} where messages.customer_id = {0} and +messages.message_id = {1} and messages.plan = ?1";
/// The same for those the worker has settled itself.
const MOVE_OWN_MESSAGES: &str = "update or rollback messages set state = {2}, at = ?2 {rows} where messages.customer_id = {0} and +messages.message_id = {1} and messages.plan = ?1
   and exists (select 1 from recipients r where r.plan = ?1 and r.customer_id = {0} and +r.message_id = {1} and r.worker = ?3 and +r.state = {2})";
const TAKE: &str = "update or rollback recipients set state = {2}, reason = null, next_try_at = null,
   attempt = attempt + case when {2} = 'committing' then 1 else 0 end, transport = ?3, worker = ?4, updated_at = ?2
 {rows} where plan = ?1 and customer_id = {0} and +message_id = {1}";
const WAITING: &str = "update or rollback recipients set next_try_at = cast({2} as bigint), reason = coalesce({3}, reason)
 {rows} where plan = ?1 and customer_id = {0} and +message_id = {1} and +state in ('waiting', 'deferred')";
/// Why somebody waits whose turn would have been too early.
const PACE: &str = "pace";
// Whom, which campaign, occasion and step a message is about is what its id is made of.
const CLAIM: &str =
    "insert or rollback into messages (message_id, plan, campaign, kind, channel, customer_id, occasion, step, variant, address_hash, state, at)
             {values} {1}, ?1, ?2, ?3, ?4, {0}, {2}, cast({3} as bigint), {4}, {5}, 'waiting', ?5 {rows}
             on conflict (message_id) do update set plan = excluded.plan, kind = excluded.kind, channel = excluded.channel,
               variant = excluded.variant, address_hash = excluded.address_hash, state = excluded.state, at = excluded.at";

impl Ledger {
    /// One step of a running delivery, in one synced transaction: what came back is recorded; then, while the plan is `delivering`, the next
    /// messages are reserved and committed, each after `decide` has looked at the person's present state. From its end on their bytes may
    /// leave.
    ///
    /// # Errors
    /// Where the ledger cannot be written, or the worker's lease was taken away; then nothing of the step stands, and nothing may be sent.
    pub(crate) async fn turn(
        &self,
        errand: &Errand,
        turn: &Turn,
        now: DateTime<Utc>,
        decide: &(dyn Fn(&Candidate, &Present) -> Decision + Send + Sync),
    ) -> Result<Turned, LedgerError> {
        point("ledger.turn.begin")?;
        let mut write = self.begin().await?;
        let (status, lives): (String, bool) = query_as(
            "select case when expires_at <= ?3 then 'expired' else status end, exists (select 1 from workers where worker = ?2)
                 from plans where plan = ?1",
        )
        .bind(errand.plan.as_str())
        .bind(errand.worker.id())
        .bind(micros(now))
        .fetch_one(&mut write)
        .await?;
        if !lives {
            return Err(LedgerError::Fenced);
        }
        settle(&mut write, &errand.plan, Some(errand), &turn.settle, now).await?;
        point("ledger.turn.settled")?;
        let mut turned = Turned { status, ..Turned::default() };
        if turned.status == "delivering" {
            put_off(&mut write, errand, &turn.put_off).await?;
            take(&mut write, errand, turn, now, decide, &mut turned).await?;
        }
        point("ledger.turn.commit")?;
        write.commit().await?;
        point("ledger.turn.durable")?;
        Ok(turned)
    }
}

/// Records what became of messages. Their claims in `messages` follow; while a message is in hand, its claim stays as it was.
pub(in crate::ledger) async fn settle(
    write: &mut Write<'static>,
    plan: &PlanId,
    errand: Option<&Errand>,
    settled: &[Settled],
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    for chunk in settled.chunks(CHUNK) {
        let rows = || chunk.iter().map(row_of);
        let Some(errand) = errand else {
            move_states(write, plan, None, rows, now).await?;
            continue;
        };
        let worker = errand.worker.id();
        let settled = query(SETTLE).bind(plan.as_str()).bind(micros(now)).bind(worker).each(rows()).execute(write).await?;
        if settled.rows_affected() == chunk.len() as u64 {
            query(MOVE_MESSAGES).bind(plan.as_str()).bind(micros(now)).each(rows()).execute(write).await?;
        } else {
            query(MOVE_OWN_MESSAGES).bind(plan.as_str()).bind(micros(now)).bind(worker).each(rows()).execute(write).await?;
        }
    }
    for one in settled {
        let (Some(hash), Some(errand)) = (&one.bounced, errand) else { continue };
        let suppression = NewSuppression {
            customer_id: None,
            address_hash: Some(hash.clone()),
            address: None,
            channel: errand.channel.clone(),
            scope: Scope::All,
            reason: "hard_bounce".to_owned(),
            by: None,
        };
        insert_suppression(write, &suppression, now).await?;
        let event = Event {
            event_id: format!("bounced:{}", one.message.message_id),
            at: now,
            kind: "bounced".to_owned(),
            customer_id: Some(one.message.customer_id.as_str().to_owned()),
            campaign: Some(errand.campaign.clone()),
            plan: Some(plan.as_str().to_owned()),
            message_id: Some(one.message.message_id.as_str().to_owned()),
            detail: one.reply.clone(),
        };
        insert_event(write, &event).await?;
    }
    Ok(())
}

/// A message's customer and id, its new state, why, what was answered, and when it is tried again.
type Moved<'q> = [Value<'q>; 6];

fn row_of(one: &Settled) -> Moved<'_> {
    let Settled { message: Named { customer_id, message_id }, state, reason, reply, next_try_at, .. } = one;
    let reply = reply.as_deref().into();
    [
        customer_id.as_str().into(),
        message_id.as_str().into(),
        state.as_str().into(),
        (*reason).into(),
        reply,
        next_try_at.map(micros).into(),
    ]
}

/// Moves messages to their new states, in the account and in `messages`.
async fn move_states<'q, I: Iterator<Item = Moved<'q>>>(
    write: &mut Write<'static>,
    plan: &'q PlanId,
    worker: Option<Worker>,
    rows: impl Fn() -> I,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let worker = worker.map(Worker::id);
    query(MOVE_RECIPIENTS).bind(plan.as_str()).bind(micros(now)).bind(worker).each(rows()).execute(write).await?;
    query(MOVE_MESSAGES).bind(plan.as_str()).bind(micros(now)).each(rows()).execute(write).await?;
    Ok(())
}

/// Lets messages wait until a time.
async fn put_off(write: &mut Write<'static>, errand: &Errand, put_off: &[(Named, DateTime<Utc>)]) -> Result<(), LedgerError> {
    for chunk in put_off.chunks(CHUNK) {
        let rows = chunk.iter().map(|(one, until)| wait(one.customer_id.as_str(), one.message_id.as_str(), *until, Some(PACE)));
        query(WAITING).bind(errand.plan.as_str()).each(rows).execute(write).await?;
    }
    Ok(())
}

fn wait<'q>(customer: &'q str, message: &'q str, until: DateTime<Utc>, why: Option<&'q str>) -> [Value<'q>; 4] {
    [customer.into(), message.into(), micros(until).into(), why.into()]
}

/// Looks at each person's present state, and takes the messages that may be sent.
async fn take<'q>(
    write: &mut Write<'static>,
    errand: &'q Errand,
    turn: &'q Turn,
    now: DateTime<Utc>,
    decide: &(dyn Fn(&Candidate, &Present) -> Decision + Send + Sync),
    turned: &mut Turned,
) -> Result<(), LedgerError> {
    let Turn { take: due, quotas, .. } = turn;
    if due.is_empty() {
        return Ok(());
    }
    let mut sent = counted(write, quotas).await?;
    let found = present(write, errand, due, now).await?;
    turned.looked_at = found.len() as u64;
    let (mut takes, mut claims, mut drops, mut waits) = (Vec::<[Value<'_>; 3]>::new(), Vec::new(), Vec::new(), Vec::new());
    for (place, present) in &found {
        // Where another worker has it in hand, or is done with it, there is nothing to decide.
        let (Some(Due { candidate, written, quotas: counts }), Some(present)) = (due.get(*place), present) else { continue };
        let (customer, message) = (candidate.customer_id.as_str(), candidate.message_id.as_str());
        match decide(candidate, present) {
            Decision::Send => {
                let mut full = counts.iter().flatten().filter_map(|place| Some((quotas.get(*place)?.as_ref()?, sent.get(*place)?)));
                if let Some((quota, _)) = full.find(|(quota, sent)| **sent >= quota.most) {
                    waits.push(wait(customer, message, quota.until, Some(PACE)));
                    continue;
                }
                for place in counts.iter().flatten() {
                    sent.get_mut(*place).into_iter().for_each(|sent| *sent += u64::from(*written));
                }
                let state = if *written { State::Committing } else { State::Reserved };
                takes.push([customer.into(), message.into(), state.as_str().into()]);
                // Most were claimed when the account was opened; the rest had been claimed by a plan that did not send them.
                if !present.claimed {
                    let Candidate { occasion, step, variant, address_hash, .. } = candidate;
                    let claim: [Value<'_>; 6] = [
                        customer.into(),
                        message.into(),
                        occasion.into(),
                        (*step).into(),
                        variant.as_deref().into(),
                        address_hash.as_deref().into(),
                    ];
                    claims.push(claim);
                }
                turned.taken.push((*place, present.attempt));
            }
            Decision::Drop(reason) => drops.push((customer, message, reason)),
            Decision::Wait(until) => waits.push(wait(customer, message, until, None)),
        }
    }
    turned.dropped += drops.len() as u64;
    if !drops.is_empty() {
        let rows = || {
            let row = |(customer, message, reason): &(&'q str, &'q str, &'static str)| -> Moved<'q> {
                [(*customer).into(), (*message).into(), "cancelled".into(), (*reason).into(), None::<&str>.into(), None::<i64>.into()]
            };
            drops.iter().map(row)
        };
        move_states(write, &errand.plan, Some(errand.worker), rows, now).await?;
    }
    if !waits.is_empty() {
        query(WAITING).bind(errand.plan.as_str()).each(waits).execute(write).await?;
    }
    count(write, quotas, &sent).await?;
    turned.sent = sent;
    if !takes.is_empty() {
        let take = query(TAKE).bind(errand.plan.as_str()).bind(micros(now)).bind(errand.transport).bind(errand.worker.id());
        take.each(takes).execute(write).await?;
    }
    if !claims.is_empty() {
        let claim = query(CLAIM).bind(errand.plan.as_str()).bind(&errand.campaign).bind(&errand.kind).bind(&errand.channel);
        claim.bind(micros(now)).each(claims).execute(write).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{
        LedgerSettings, fixture,
        present::{HEARD, SILENCES, STATE},
        recipients::{ENTER, ENTER_CLAIM},
        store::for_one,
    };

    #[tokio::test]
    async fn a_claim_stands_while_its_message_is_in_hand_and_what_others_have_in_hand_counts_as_heard() {
        let root = tempfile::tempdir().unwrap();
        let ledger = fixture::open(root.path()).await;
        let now: DateTime<Utc> = "2026-11-22T01:00:00Z".parse().unwrap();
        fixture::people(&ledger, 3, now).await;
        for plan in ["ours", "theirs"] {
            fixture::approved(&ledger, plan, "marketing", 3, now, now + TimeDelta::days(2)).await;
        }
        fixture::run(&ledger, "update plans set status = 'delivering'").await;
        for person in ["p0", "p1", "p2"] {
            fixture::recipient(&ledger, "ours", person, &format!("{person}@ours"), "waiting", 0).await;
        }
        // The first has a message of theirs in hand, the second waits for one, and of the third they had promised this very message.
        for (person, state) in [("p0", "committing"), ("p1", "waiting")] {
            fixture::message(&ledger, &format!("{person}@ours"), "ours", person, "waiting", 0).await;
            fixture::message(&ledger, &format!("{person}@theirs"), "theirs", person, "waiting", 0).await;
            fixture::recipient(&ledger, "theirs", person, &format!("{person}@theirs"), state, micros(now)).await;
        }
        fixture::message(&ledger, "p2@ours", "theirs", "p2", "cancelled", 0).await;

        let lease = ledger.join(now).await.unwrap();
        let errand = Errand {
            plan: PlanId::new("ours"),
            campaign: "win-back".into(),
            kind: "marketing".into(),
            channel: "email".into(),
            segment: "lapsed".into(),
            transport: "smtp",
            worker: lease.worker(),
            cap_window: TimeDelta::days(1),
        };
        let due = ["p0", "p1", "p2"].map(|person| Due {
            candidate: Candidate {
                customer_id: CustomerId::new(person),
                message_id: MessageId::new(format!("{person}@ours")),
                address_hash: None,
                occasion: "another".into(),
                step: 1,
                variant: None,
            },
            written: true,
            quotas: [None; 2],
        });
        let turn = Turn { take: due.into(), ..Turn::default() };
        let seen = std::sync::Mutex::new(Vec::new());
        let note = |_: &Candidate, present: &Present| {
            seen.lock().unwrap().push((present.told, present.claimed, present.messages, present.last_message_at));
            Decision::Send
        };
        assert_eq!(ledger.turn(&errand, &turn, now, &note).await.unwrap().taken.len(), 3);
        assert_eq!(*seen.lock().unwrap(), [(false, true, 1, Some(now)), (false, true, 0, None), (false, false, 0, None)]);
        let claims = "select count(*) from messages where plan = 'ours' and state = 'waiting'";
        assert_eq!(fixture::number(&ledger, claims).await, 3);
        assert_eq!(fixture::number(&ledger, "select count(*) from recipients where plan = 'ours' and state = 'committing'").await, 3);
    }

    #[tokio::test]
    async fn no_statement_of_a_turn_walks_through_a_table() {
        let root = tempfile::tempdir().unwrap();
        // PostgreSQL is told to go by keys.
        let ledger = Ledger::open(root.path(), &LedgerSettings::default()).await.unwrap();
        let allowed = ["SCAN n", "SCAN h", "SCAN CONSTANT ROW"];
        let indexed = ["(plan=? AND customer_id=?)", "(message_id=?)", "(customer_id=?)", "(address_hash=?)"];
        for sql in [STATE, HEARD, SILENCES, MOVE_RECIPIENTS, SETTLE, MOVE_MESSAGES, MOVE_OWN_MESSAGES, TAKE, WAITING, CLAIM] {
            let plan = query(format!("explain query plan {}", for_one(sql, 10))).fetch_all(ledger.pool()).await.unwrap();
            for step in plan {
                let step: String = step.try_get(3).unwrap();
                let walks = step.starts_with("SCAN") && !allowed.iter().any(|start| step.starts_with(start));
                let seeks_wide = step.starts_with("SEARCH") && !indexed.iter().any(|key| step.contains(key));
                assert!(!walks && !seeks_wide, "{step}, in: {sql}");
            }
        }
    }

    #[tokio::test]
    async fn no_statement_of_a_turn_makes_a_table_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        // PostgreSQL makes none that cost.
        let ledger = Ledger::open(root.path(), &LedgerSettings::default()).await.unwrap();
        for sql in [STATE, HEARD, SILENCES, SETTLE, MOVE_MESSAGES, TAKE, ENTER, ENTER_CLAIM] {
            let steps = query(format!("explain {}", for_one(sql, 10))).fetch_all(ledger.pool()).await.unwrap();
            let steps: Vec<String> = steps.iter().map(|step| step.try_get(1).unwrap()).collect();
            assert!(steps.len() > 10 && !steps.iter().any(|step| step == "OpenEphemeral"), "{sql}: {steps:?}");
        }
    }
}
