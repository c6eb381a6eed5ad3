//! The account of every message of a plan: who waits, who is being written to, what became of each, and how it is opened and closed.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    CustomerId, Errand, Ledger, LedgerError, MessageId, Named, PlanId, Settled, Worker, instant, micros, point,
    store::{Write, query, query_as},
    suppressions::{Event, insert_event},
    turn::settle,
};

/// How many rows one statement writes or asks about.
const CHUNK: usize = 2_000;

/// Where a planned message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not tried yet, or tried and certainly not sent; will be.
    Waiting,
    /// Claimed by a running delivery; no byte has left.
    Reserved,
    /// Bytes that could deliver may be leaving.
    Committing,
    /// The other side took it.
    Accepted,
    /// The other side refused it for good.
    Rejected,
    /// The other side said "not now"; will be tried again.
    Deferred,
    /// Nobody can know whether it arrived; never sent again by itself.
    Unknown,
    /// Dropped out before anything was sent, with a reason.
    Cancelled,
    /// The plan's time ran out before it was sent.
    Expired,
}

impl State {
    /// All states, in the order of the account.
    pub const ALL: [Self; 9] = [
        Self::Waiting,
        Self::Reserved,
        Self::Committing,
        Self::Accepted,
        Self::Rejected,
        Self::Deferred,
        Self::Unknown,
        Self::Cancelled,
        Self::Expired,
    ];

    /// As the ledger writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Reserved => "reserved",
            Self::Committing => "committing",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Deferred => "deferred",
            Self::Unknown => "unknown",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    fn read(text: &str) -> Result<Self, LedgerError> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| LedgerError::Value { value: text.to_owned(), expected: "state of a message" })
    }
}

/// What a plan is, as the delivery of it sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// `approved`, `delivering`, `held`, …
    pub status: String,
    /// After this nothing of it is sent.
    pub expires_at: DateTime<Utc>,
    /// How many messages it promises.
    pub planned: u64,
    /// Whether it was made for another time than the live slot.
    pub replay: bool,
}

/// One planned message, as it enters the account.
#[derive(Debug, Clone)]
pub(crate) struct Enlisted {
    /// The person.
    pub customer_id: CustomerId,
    /// The message's id for ever.
    pub message_id: MessageId,
    /// Not before this.
    pub send_after: Option<DateTime<Utc>>,
    /// What it is about.
    pub occasion: String,
    /// 1, or a later letter about the same occasion.
    pub step: u32,
    /// The variant the person was given.
    pub variant: Option<String>,
    /// The keyed hash of the person's address.
    pub address_hash: Option<String>,
}

/// Whose account is opened.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// The plan.
    pub plan: PlanId,
    /// The campaign.
    pub campaign: String,
    /// `marketing`, `service` or `internal`.
    pub kind: String,
    /// `email` or `webhook`.
    pub channel: String,
}

/// A message found in flight when no delivery runs: its process died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stranded {
    /// The plan.
    pub plan: PlanId,
    /// The message.
    pub message: Named,
    /// `reserved` or `committing`.
    pub state: State,
    /// By which transport it was leaving.
    pub transport: Option<String>,
    /// Whose it was.
    pub worker: Option<i64>,
}

/// A message nobody can know the fate of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// The plan.
    pub plan: PlanId,
    /// The person.
    pub customer_id: CustomerId,
    /// The message.
    pub message_id: MessageId,
}

/// How a person settles an unknown message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It arrived.
    Accepted,
    /// It did not; the occasion may be told again.
    NotSent,
}

/// The account of a plan. `planned` is the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// All messages the plan promised.
    pub planned: u64,
    /// The other side took them.
    pub accepted: u64,
    /// The other side refused them for good.
    pub rejected: u64,
    /// Will be tried again.
    pub deferred: u64,
    /// Not tried yet, or just leaving.
    pub waiting: u64,
    /// Nobody can know; not sent again.
    pub unknown: u64,
    /// Dropped out, each with a reason.
    pub cancelled: u64,
    /// Too late.
    pub expired: u64,
}

impl Tally {
    /// Counts `count` messages in `state`.
    pub fn add(&mut self, state: State, count: u64) {
        self.planned += count;
        *match state {
            State::Waiting | State::Reserved | State::Committing => &mut self.waiting,
            State::Accepted => &mut self.accepted,
            State::Rejected => &mut self.rejected,
            State::Deferred => &mut self.deferred,
            State::Unknown => &mut self.unknown,
            State::Cancelled => &mut self.cancelled,
            State::Expired => &mut self.expired,
        } += count;
    }
}

impl Ledger {
    /// What a plan is, where the ledger knows it.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn plan_standing(&self, plan: &PlanId) -> Result<Option<Standing>, LedgerError> {
        let row: Option<(String, i64, i64, bool)> = query_as("select status, expires_at, planned, replay from plans where plan = ?")
            .bind(plan.as_str())
            .fetch_optional(self.pool())
            .await?;
        row.map(|(status, expires_at, planned, replay)| {
            Ok(Standing { status, expires_at: instant(expires_at)?, planned: planned.unsigned_abs(), replay })
        })
        .transpose()
    }

    /// Opens the account of an approved plan: all its people enter as `waiting` in one transaction, or none does.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub(crate) async fn enlist(&self, account: Account, now: DateTime<Utc>) -> Result<Enlisting, LedgerError> {
        Ok(Enlisting { write: self.begin().await?, account, now })
    }

    /// Whether anybody of the plan can be written to now.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub(crate) async fn anyone_due(&self, plan: &PlanId, now: DateTime<Utc>) -> Result<bool, LedgerError> {
        let (due,): (bool,) = query_as(
            "select exists (select 1 from recipients
             where plan = ? and state in ('waiting', 'deferred') and (next_try_at is null or next_try_at <= ?))",
        )
        .bind(plan.as_str())
        .bind(micros(now))
        .fetch_one(self.pool())
        .await?;
        Ok(due)
    }

    /// When the next message of the plan may leave that waits so as not to be too fast.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub(crate) async fn next_of_pace(&self, plan: &PlanId) -> Result<Option<DateTime<Utc>>, LedgerError> {
        let next: (Option<i64>,) = query_as(
            "select min(next_try_at) from recipients
             where plan = ? and state in ('waiting', 'deferred') and reason = 'pace'",
        )
        .bind(plan.as_str())
        .fetch_one(self.pool())
        .await?;
        next.0.map(instant).transpose()
    }

    /// Who of these people can be written to now.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub(crate) async fn due_among(
        &self,
        plan: &PlanId,
        people: &[&CustomerId],
        now: DateTime<Utc>,
    ) -> Result<HashSet<CustomerId>, LedgerError> {
        let asked = Value::Array(people.iter().map(|id| json!([id.as_str()])).collect());
        let rows: Vec<(String,)> = query_as(
            "select r.customer_id from json_each(?1) j
             cross join recipients r on r.plan = ?2 and r.customer_id = j.value ->> 0
             where r.state in ('waiting', 'deferred') and (r.next_try_at is null or r.next_try_at <= ?3)",
        )
        .bind(asked.to_string())
        .bind(plan.as_str())
        .bind(micros(now))
        .fetch_all(self.pool())
        .await?;
        Ok(rows.into_iter().map(|(id,)| CustomerId::new(id)).collect())
    }

    /// Messages in flight in any plan whose worker has no lease any more.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub(crate) async fn stranded(&self) -> Result<Vec<Stranded>, LedgerError> {
        let rows = query(
            "select plan, customer_id, message_id, state, transport, worker from recipients r
             where state in ('reserved', 'committing') and not exists (select 1 from workers w where w.worker = r.worker)
             order by plan, customer_id",
        )
        .fetch_all(self.pool())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Stranded {
                    plan: PlanId::new(row.try_get::<String, _>(0)?),
                    message: Named {
                        customer_id: CustomerId::new(row.try_get::<String, _>(1)?),
                        message_id: MessageId::new(row.try_get::<String, _>(2)?),
                    },
                    state: State::read(row.try_get(3)?)?,
                    transport: row.try_get(4)?,
                    worker: row.try_get(5)?,
                })
            })
            .collect()
    }

    /// How many messages of a plan other workers have in hand.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub(crate) async fn in_other_hands(&self, plan: &PlanId, worker: Worker) -> Result<u64, LedgerError> {
        let count: i64 = query_as(
            "select count(*) from recipients indexed by recipients_in_hand
             where plan = ?1 and state in ('reserved', 'committing') and (worker is null or worker <> ?2)",
        )
        .bind(plan.as_str())
        .bind(worker.id())
        .fetch_one(self.pool())
        .await?;
        Ok(count.unsigned_abs())
    }

    /// Records what became of messages whose worker has no lease any more. Whatever is not as it was found has been settled by another
    /// meanwhile, and may have been taken anew. Returns what was settled.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub(crate) async fn settle_stranded(
        &self,
        plan: &PlanId,
        found: Vec<(Stranded, State)>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, LedgerError> {
        let mut write = self.begin().await?;
        let still: Vec<(String, String, Option<i64>)> = query_as(
            "select message_id, state, worker from recipients r indexed by recipients_in_hand
             where plan = ?1 and state in ('reserved', 'committing') and not exists (select 1 from workers w where w.worker = r.worker)",
        )
        .bind(plan.as_str())
        .fetch_all(&mut write)
        .await?;
        let still: HashSet<(String, String, Option<i64>)> = still.into_iter().collect();
        let as_found = |one: &Stranded| (one.message.message_id.as_str().to_owned(), one.state.as_str().to_owned(), one.worker);
        let settled: Vec<Settled> = found
            .into_iter()
            .filter(|(stranded, _)| still.contains(&as_found(stranded)))
            .map(|(stranded, state)| Settled {
                message: stranded.message,
                state,
                reason: Some("crashed"),
                reply: None,
                next_try_at: None,
                bounced: None,
            })
            .collect();
        settle(&mut write, plan, None, &settled, now).await?;
        close_stopped(&mut write, plan, now).await?;
        point("ledger.recover.commit")?;
        write.commit().await?;
        point("ledger.recover.durable")?;
        Ok(settled)
    }

    /// What a worker learnt after its lease had been taken away about messages that it had in hand and that count as unknown since: those it
    /// knows to have arrived or not to have left are that, unless somebody has settled them meanwhile. A plan that was closed without them
    /// goes on, while it may.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub(crate) async fn settle_late(&self, errand: &Errand, settled: &[Settled], now: DateTime<Utc>) -> Result<(), LedgerError> {
        let mut write = self.begin().await?;
        let mine: Vec<String> =
            query_as("select message_id from recipients where plan = ?1 and state = 'unknown' and reason = 'crashed' and worker = ?2")
                .bind(errand.plan.as_str())
                .bind(errand.worker.id())
                .fetch_all(&mut write)
                .await?;
        let mine: HashSet<String> = mine.into_iter().collect();
        let known =
            |one: &&Settled| matches!(one.state, State::Accepted | State::Waiting) && mine.contains(one.message.message_id.as_str());
        let mut settled: Vec<Settled> = settled.iter().filter(known).cloned().collect();
        if settled.iter().any(|one| one.state == State::Waiting) && !reopened(&mut write, &errand.plan, now).await? {
            for one in settled.iter_mut().filter(|one| one.state == State::Waiting) {
                (one.state, one.reason) = (State::Cancelled, Some("resolved_not_sent"));
            }
        }
        settle(&mut write, &errand.plan, None, &settled, now).await?;
        close_stopped(&mut write, &errand.plan, now).await?;
        write.commit().await?;
        Ok(())
    }

    /// Closes what cannot go on: past its expiry whoever still waits is `expired`, and a plan in which nobody waits is `delivered`.
    /// Returns how many expired.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub async fn close_plan(&self, plan: &PlanId, now: DateTime<Utc>) -> Result<u64, LedgerError> {
        let mut write = self.begin().await?;
        let expired = close(&mut write, plan, now).await?;
        point("ledger.close.commit")?;
        write.commit().await?;
        point("ledger.close.durable")?;
        Ok(expired)
    }

    /// Closes every promised plan whose time has run out; returns those in which people waited in vain, and how many. Nobody expected a
    /// replay to be sent.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub async fn close_expired(&self, now: DateTime<Utc>) -> Result<Vec<(PlanId, u64)>, LedgerError> {
        let mut write = self.begin().await?;
        let late: Vec<(String, bool)> = query_as(
            "select plan, replay from plans
             where expires_at <= ? and (status in ('approved', 'delivering') or (status = 'held' and held_from <> 'draft')) order by plan",
        )
        .bind(micros(now))
        .fetch_all(&mut write)
        .await?;
        let mut closed = Vec::new();
        for (plan, replay) in late {
            let plan = PlanId::new(plan);
            let expired = close(&mut write, &plan, now).await?;
            if expired > 0 && !replay {
                closed.push((plan, expired));
            }
        }
        write.commit().await?;
        Ok(closed)
    }

    /// Stops a plan for good: it becomes `stopped`, and whoever has not been written to is `cancelled`. A delivery that is running sees
    /// it before its next group; what is already on the wire is finished and recorded.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub async fn stop_plan(&self, plan: &PlanId, by: Option<&str>, now: DateTime<Utc>) -> Result<u64, LedgerError> {
        let mut write = self.begin().await?;
        let stopped =
            query("update plans set status = 'stopped', held_from = null where plan = ? and status in ('approved', 'delivering', 'held')")
                .bind(plan.as_str())
                .execute(&mut write)
                .await?
                .rows_affected();
        if stopped > 0 {
            plan_event(&mut write, plan, "cancelled", by, now).await?;
        }
        let cancelled = close_stopped(&mut write, plan, now).await?;
        write.commit().await?;
        Ok(cancelled)
    }

    /// The account of a plan; one that was never delivered is all `waiting`, `cancelled` or `expired`, as its status says.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn tally(&self, plan: &PlanId) -> Result<Tally, LedgerError> {
        let rows: Vec<(String, i64)> = query_as("select state, count(*) from recipients where plan = ? group by state")
            .bind(plan.as_str())
            .fetch_all(self.pool())
            .await?;
        let mut tally = Tally::default();
        for (state, count) in rows {
            tally.add(State::read(&state)?, count.unsigned_abs());
        }
        if tally.planned == 0
            && let Some(standing) = self.plan_standing(plan).await?
        {
            let state = match standing.status.as_str() {
                "stopped" | "rejected" | "superseded" => State::Cancelled,
                "expired" => State::Expired,
                _ => State::Waiting,
            };
            tally.add(state, standing.planned);
        }
        Ok(tally)
    }

    /// Why people of a plan dropped out or were refused: reason → count.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn reasons(&self, plan: &PlanId) -> Result<BTreeMap<String, u64>, LedgerError> {
        let rows: Vec<(String, i64)> =
            query_as("select reason, count(*) from recipients where plan = ? and reason is not null group by reason")
                .bind(plan.as_str())
                .fetch_all(self.pool())
                .await?;
        Ok(rows.into_iter().map(|(reason, count)| (reason, count.unsigned_abs())).collect())
    }

    /// Where one person's message of a plan stands, with the reason.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn recipient(&self, plan: &PlanId, customer: &CustomerId) -> Result<Option<(State, Option<String>)>, LedgerError> {
        let row: Option<(String, Option<String>)> = query_as("select state, reason from recipients where plan = ? and customer_id = ?")
            .bind(plan.as_str())
            .bind(customer.as_str())
            .fetch_optional(self.pool())
            .await?;
        row.map(|(state, reason)| Ok((State::read(&state)?, reason))).transpose()
    }

    /// The ids of all messages of plans that are not over.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn open_messages(&self) -> Result<HashSet<String>, LedgerError> {
        let open = "select r.message_id from recipients r join plans p on p.plan = r.plan
                    where p.status in ('draft', 'approved', 'delivering', 'held')";
        Ok(query_as(open).fetch_all(self.pool()).await?.into_iter().collect())
    }

    /// All messages nobody can know the fate of.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn unknowns(&self) -> Result<Vec<Unknown>, LedgerError> {
        let rows: Vec<(String, String, String)> = query_as(
            "select plan, customer_id, message_id from recipients indexed by recipients_unknown
             where state = 'unknown' order by plan, customer_id",
        )
        .fetch_all(self.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|(plan, customer, message)| Unknown {
                plan: PlanId::new(plan),
                customer_id: CustomerId::new(customer),
                message_id: MessageId::new(message),
            })
            .collect())
    }

    /// Settles an unknown message by hand. `NotSent` puts it back among the waiting while its plan can still be delivered; otherwise it
    /// is cancelled, and a later plan may tell the occasion. `None` where no unknown message has that id.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub async fn resolve_unknown(
        &self,
        message: &MessageId,
        verdict: Verdict,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<State>, LedgerError> {
        let mut write = self.begin().await?;
        let found: Option<(String, String, String, i64, String)> = query_as(
            "select r.plan, r.customer_id, p.status, p.expires_at, p.campaign from recipients r join plans p on p.plan = r.plan
             where r.message_id = ? and r.state = 'unknown'",
        )
        .bind(message.as_str())
        .fetch_optional(&mut write)
        .await?;
        let Some((plan, customer, status, expires_at, campaign)) = found else { return Ok(None) };
        let open = matches!(status.as_str(), "delivering" | "held") && expires_at > micros(now);
        let (state, reason) = match verdict {
            Verdict::Accepted => (State::Accepted, "resolved_accepted"),
            Verdict::NotSent if open => (State::Waiting, "resolved_not_sent"),
            Verdict::NotSent => (State::Cancelled, "resolved_not_sent"),
        };
        let plan = PlanId::new(plan);
        let named = Named { customer_id: CustomerId::new(&customer), message_id: message.clone() };
        let settled = Settled { message: named, state, reason: Some(reason), reply: None, next_try_at: None, bounced: None };
        settle(&mut write, &plan, None, &[settled], now).await?;
        let event = Event {
            event_id: format!("resolved:{message}:{}", micros(now)),
            at: now,
            kind: "resolved".to_owned(),
            customer_id: Some(customer),
            campaign: Some(campaign),
            plan: Some(plan.as_str().to_owned()),
            message_id: Some(message.as_str().to_owned()),
            detail: Some(format!("{reason} by {by}")),
        };
        insert_event(&mut write, &event).await?;
        write.commit().await?;
        Ok(Some(state))
    }
}

pub(in crate::ledger) const ENTER: &str =
    "insert or rollback into recipients (plan, customer_id, message_id, state, next_try_at, updated_at)
     {values} ?1, {0}, {1}, 'waiting', cast({2} as bigint), ?2 {rows}
     on conflict (plan, customer_id) do nothing";
pub(in crate::ledger) const ENTER_CLAIM: &str = "insert or rollback into messages (message_id, plan, campaign, kind, channel, customer_id, occasion, step, variant, address_hash, state, at)
     {values} {1}, ?1, ?2, ?3, ?4, {0}, {2}, cast({3} as bigint), {4}, {5}, 'waiting', ?5 {rows}
     on conflict (message_id) do nothing";

/// The opening of a plan's account, not yet visible to anybody.
pub(crate) struct Enlisting {
    write: Write<'static>,
    account: Account,
    now: DateTime<Utc>,
}

impl Enlisting {
    /// Adds people, and claims their messages where no plan has; whoever stands in the account already stays as they are.
    pub(crate) async fn add(&mut self, people: &[Enlisted]) -> Result<(), LedgerError> {
        let Account { plan, campaign, kind, channel } = &self.account;
        for chunk in people.chunks(CHUNK) {
            let people = chunk.iter().map(|Enlisted { customer_id, message_id, send_after, .. }| {
                [customer_id.as_str().into(), message_id.as_str().into(), send_after.map(micros).into()]
            });
            query(ENTER).bind(plan.as_str()).bind(micros(self.now)).each(people).execute(&mut self.write).await?;
            let claims = chunk.iter().map(|one| {
                let (variant, address_hash) = (one.variant.as_deref().into(), one.address_hash.as_deref().into());
                [
                    one.customer_id.as_str().into(),
                    one.message_id.as_str().into(),
                    one.occasion.as_str().into(),
                    one.step.into(),
                    variant,
                    address_hash,
                ]
            });
            query(ENTER_CLAIM)
                .bind(plan.as_str())
                .bind(campaign)
                .bind(kind)
                .bind(channel)
                .bind(micros(self.now))
                .each(claims)
                .execute(&mut self.write)
                .await?;
            point("ledger.enlist.added")?;
        }
        Ok(())
    }

    /// Cancels people whose address another of the plan has as well; returns how many had not been yet.
    pub(crate) async fn drop_twins(&mut self, people: &[CustomerId]) -> Result<u64, LedgerError> {
        let rows = Value::Array(people.iter().map(|id| json!([id.as_str()])).collect());
        let dropped = query(
            "update recipients set state = 'cancelled', reason = 'duplicate_address', updated_at = ?3
             where plan = ?2 and customer_id in (select value ->> 0 from json_each(?1)) and state = 'waiting'",
        )
        .bind(rows.to_string())
        .bind(self.account.plan.as_str())
        .bind(micros(self.now))
        .execute(&mut self.write)
        .await?;
        if dropped.rows_affected() > 0 {
            follow(&mut self.write, &self.account.plan, "cancelled", self.now).await?;
        }
        Ok(dropped.rows_affected())
    }

    /// Makes the account stand and the plan `delivering`, if it holds exactly as many people as the plan promised; otherwise nothing
    /// stands, and the count found is returned.
    pub(crate) async fn finish(mut self, planned: u64) -> Result<Result<(), u64>, LedgerError> {
        let (count,): (i64,) =
            query_as("select count(*) from recipients where plan = ?").bind(self.account.plan.as_str()).fetch_one(&mut self.write).await?;
        if count.unsigned_abs() != planned {
            self.write.rollback().await?;
            return Ok(Err(count.unsigned_abs()));
        }
        let changed = query("update plans set status = 'delivering' where plan = ? and status = 'approved'")
            .bind(self.account.plan.as_str())
            .execute(&mut self.write)
            .await?;
        if changed.rows_affected() > 0 {
            plan_event(&mut self.write, &self.account.plan, "delivering", None, self.now).await?;
        }
        point("ledger.enlist.commit")?;
        self.write.commit().await?;
        point("ledger.enlist.durable")?;
        Ok(Ok(()))
    }
}

/// Expires whoever waits in a plan past its time, and closes a plan nobody waits in. Returns how many expired: of a plan that was never
/// begun, all it promised.
async fn close(write: &mut Write<'static>, plan: &PlanId, now: DateTime<Utc>) -> Result<u64, LedgerError> {
    let expired = query(
        "update recipients set state = 'expired', reason = null, next_try_at = null, updated_at = ?2
         where plan = ?1 and state in ('waiting', 'deferred')
           and exists (select 1 from plans p where p.plan = ?1 and p.expires_at <= ?2)",
    )
    .bind(plan.as_str())
    .bind(micros(now))
    .execute(&mut *write)
    .await?
    .rows_affected();
    if expired > 0 {
        follow(write, plan, "expired", now).await?;
    }
    close_stopped(write, plan, now).await?;
    let delivered = query(
        "update plans set status = 'delivered', held_from = null
         where plan = ?1 and (status = 'delivering' or (status = 'held' and expires_at <= ?2))
           and (status = 'delivering' or exists (select 1 from recipients where plan = ?1))
           and not exists (select 1 from recipients where plan = ?1 and state in ('waiting', 'deferred'))
           and not exists (select 1 from recipients indexed by recipients_in_hand where plan = ?1 and state in ('reserved', 'committing'))",
    )
    .bind(plan.as_str())
    .bind(micros(now))
    .execute(&mut *write)
    .await?
    .rows_affected();
    if delivered > 0 {
        plan_event(write, plan, "delivered", None, now).await?;
    }
    let late = query(
        "update plans set status = 'expired', held_from = null
         where plan = ?1 and status in ('approved', 'held') and expires_at <= ?2
           and not exists (select 1 from recipients where plan = ?1)",
    )
    .bind(plan.as_str())
    .bind(micros(now))
    .execute(&mut *write)
    .await?
    .rows_affected();
    if late > 0 {
        plan_event(write, plan, "expired", None, now).await?;
        let (planned,): (i64,) = query_as("select planned from plans where plan = ?").bind(plan.as_str()).fetch_one(&mut *write).await?;
        return Ok(planned.unsigned_abs());
    }
    Ok(expired)
}

/// Cancels whoever waits in a plan that was stopped; returns how many.
async fn close_stopped(write: &mut Write<'static>, plan: &PlanId, now: DateTime<Utc>) -> Result<u64, LedgerError> {
    let cancelled = query(
        "update recipients set state = 'cancelled', reason = 'plan_cancelled', next_try_at = null, updated_at = ?2
         where plan = ?1 and state in ('waiting', 'deferred')
           and exists (select 1 from plans p where p.plan = ?1 and p.status = 'stopped')",
    )
    .bind(plan.as_str())
    .bind(micros(now))
    .execute(&mut *write)
    .await?
    .rows_affected();
    if cancelled > 0 {
        follow(write, plan, "cancelled", now).await?;
    }
    Ok(cancelled)
}

/// Whether somebody can still be written to in a plan, which is opened again where it counts as delivered.
async fn reopened(write: &mut Write<'static>, plan: &PlanId, now: DateTime<Utc>) -> Result<bool, LedgerError> {
    let again = query("update plans set status = 'delivering' where plan = ? and status = 'delivered' and expires_at > ?")
        .bind(plan.as_str())
        .bind(micros(now))
        .execute(&mut *write)
        .await?;
    if again.rows_affected() > 0 {
        plan_event(write, plan, "delivering", None, now).await?;
    }
    Ok(query_as("select exists (select 1 from plans where plan = ? and status in ('delivering', 'held') and expires_at > ?)")
        .bind(plan.as_str())
        .bind(micros(now))
        .fetch_one(write)
        .await?)
}

/// Lets the claims in `messages` follow people who have just been moved to a closing state.
async fn follow(write: &mut Write<'static>, plan: &PlanId, state: &'static str, now: DateTime<Utc>) -> Result<(), LedgerError> {
    query(
        "update messages set state = ?2, at = ?3 from recipients r
         where r.plan = ?1 and r.state = ?2 and messages.message_id = r.message_id and +messages.plan = ?1
           and messages.state in ('waiting', 'deferred', 'reserved')",
    )
    .bind(plan.as_str())
    .bind(state)
    .bind(micros(now))
    .execute(&mut *write)
    .await?;
    Ok(())
}

async fn plan_event(
    write: &mut Write<'static>,
    plan: &PlanId,
    what: &'static str,
    by: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    query("insert into plan_events (plan, at, what, by) values (?, ?, ?, ?)")
        .bind(plan.as_str())
        .bind(micros(now))
        .bind(what)
        .bind(by)
        .execute(&mut *write)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::ledger::fixture;

    #[tokio::test]
    async fn a_plan_that_ran_out_unsent_is_closed_and_its_people_are_counted() {
        let root = tempfile::tempdir().unwrap();
        let ledger = fixture::open(root.path()).await;
        let now: DateTime<Utc> = "2026-11-24T01:00:00Z".parse().unwrap();
        let (as_of, over) = (now - TimeDelta::hours(40), now - TimeDelta::hours(4));
        for (plan, planned, expires_at) in [("late", 7, over), ("nobody", 0, over), ("in-time", 3, now + TimeDelta::hours(1))] {
            fixture::approved(&ledger, plan, "marketing", planned, as_of, expires_at).await;
        }
        fixture::approved(&ledger, "replay", "marketing", 2, as_of, over).await;
        fixture::run(&ledger, "update plans set replay = 1 where plan = 'replay'").await;
        let late = PlanId::new("late");
        assert_eq!(ledger.close_expired(now).await.unwrap(), [(late.clone(), 7)]);
        assert_eq!(ledger.tally(&late).await.unwrap(), Tally { planned: 7, expired: 7, ..Tally::default() });
        assert_eq!(ledger.close_expired(now).await.unwrap(), [], "once");
        for (plan, status) in [("late", "expired"), ("nobody", "expired"), ("replay", "expired"), ("in-time", "approved")] {
            assert_eq!(ledger.plan_standing(&PlanId::new(plan)).await.unwrap().unwrap().status, status, "{plan}");
        }
    }
}
