//! Plans and what people decided about them: the only place where a plan's status, its approval and its assignments stand.

use std::{collections::BTreeMap, fmt};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::{
    CustomerId, Ledger, LedgerError, PlanId, instant, micros,
    store::{Row, Write, query, query_as},
};
use crate::diagnosis::{Diagnose, Diagnosis, Exit};

/// How many rows one statement writes.
const CHUNK: usize = 2_000;

/// Where a plan stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanStatus {
    /// Waiting for approval.
    Draft,
    /// Approved; not begun.
    Approved,
    /// A person said no.
    Rejected,
    /// A newer draft of the campaign took its place.
    Superseded,
    /// Nobody decided, or nobody delivered, in time.
    Expired,
    /// Being sent.
    Delivering,
    /// Sent: nobody waits any more.
    Delivered,
    /// Cancelled after approval.
    Stopped,
    /// Paused; `resume` brings back what it was.
    Held,
}

impl PlanStatus {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Draft,
        Self::Approved,
        Self::Rejected,
        Self::Superseded,
        Self::Expired,
        Self::Delivering,
        Self::Delivered,
        Self::Stopped,
        Self::Held,
    ];

    /// As the ledger and the JSON of the commands write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Superseded => "superseded",
            Self::Expired => "expired",
            Self::Delivering => "delivering",
            Self::Delivered => "delivered",
            Self::Stopped => "stopped",
            Self::Held => "held",
        }
    }

    /// As a page says it.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Draft => "waiting for approval",
            Self::Approved => "approved, not sent yet",
            Self::Rejected => "rejected",
            Self::Superseded => "replaced by a newer plan",
            Self::Expired => "expired",
            Self::Delivering => "being sent",
            Self::Delivered => "sent",
            Self::Stopped => "cancelled",
            Self::Held => "on hold",
        }
    }

    fn read(text: &str) -> Result<Self, LedgerError> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| LedgerError::Value { value: text.to_owned(), expected: "status of a plan" })
    }
}

impl fmt::Display for PlanStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a person can do to a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Let it be sent.
    Approve,
    /// Say no to a draft.
    Reject,
    /// Pause it.
    Hold,
    /// End the pause.
    Resume,
    /// Stop an approved plan for good.
    Cancel,
}

/// What a plan becomes by an act of a person; none where the act is not possible. `held_from` is what a held plan was before.
///
/// Time is looked at elsewhere: an expired plan has the status `expired` before anybody acts on it.
#[must_use]
pub fn after(status: PlanStatus, held_from: Option<PlanStatus>, act: Act) -> Option<PlanStatus> {
    use PlanStatus::{Approved, Delivering, Draft, Held, Rejected, Stopped};
    match (act, status, held_from) {
        (Act::Approve, Draft, _) => Some(Approved),
        (Act::Reject, Draft, _) | (Act::Reject, Held, Some(Draft)) => Some(Rejected),
        (Act::Hold, Draft | Approved | Delivering, _) => Some(Held),
        (Act::Resume, Held, Some(before)) => Some(before),
        (Act::Cancel, Approved | Delivering, _) | (Act::Cancel, Held, Some(Approved | Delivering)) => Some(Stopped),
        _ => None,
    }
}

/// A plan as it enters the ledger.
#[derive(Debug, Clone)]
pub struct NewPlan {
    /// Its id.
    pub plan: PlanId,
    /// The campaign.
    pub campaign: String,
    /// `marketing`, `service` or `internal`.
    pub kind: String,
    /// `email` or `webhook`.
    pub channel: String,
    /// The segment its people are in.
    pub segment: String,
    /// The run's logical time.
    pub as_of: DateTime<Utc>,
    /// Whether it was made for another time than the live slot.
    pub replay: bool,
    /// The root over its content, hex.
    pub hash: String,
    /// How many people the segment had.
    pub in_segment: u64,
    /// How many messages it promises.
    pub planned: u64,
    /// Who is not written to, by reason.
    pub excluded: BTreeMap<String, u64>,
    /// After this it can neither be approved nor sent.
    pub expires_at: DateTime<Utc>,
    /// The run that made it.
    pub run: Option<String>,
}

/// A plan as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanRecord {
    /// Its id.
    pub plan: PlanId,
    /// The campaign.
    pub campaign: String,
    /// `marketing`, `service` or `internal`.
    pub kind: String,
    /// `email` or `webhook`.
    pub channel: String,
    /// The segment its people are in.
    pub segment: String,
    /// The run's logical time.
    pub as_of: DateTime<Utc>,
    /// Whether it was made for another time than the live slot.
    pub replay: bool,
    /// The root over its content, hex.
    pub hash: String,
    /// Where it stands.
    pub status: PlanStatus,
    /// What it was before it was held.
    pub held_from: Option<PlanStatus>,
    /// How many people the segment had.
    pub in_segment: u64,
    /// How many messages it promises.
    pub planned: u64,
    /// Who is not written to, by reason.
    pub excluded: BTreeMap<String, u64>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// After this it can neither be approved nor sent.
    pub expires_at: DateTime<Utc>,
    /// The run that made it.
    pub run: Option<String>,
}

/// A plan as `perennial plan` and `perennial plans` print it. `in_segment` is `planned` and all of `excluded` together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanSummary {
    /// Its id.
    pub plan: PlanId,
    /// The campaign.
    pub campaign: String,
    /// Where it stands.
    pub status: PlanStatus,
    /// The run's logical time, RFC 3339.
    pub as_of: String,
    /// Whether it was made for another time than the live slot.
    pub replay: bool,
    /// How many people the segment had.
    pub in_segment: u64,
    /// How many messages it promises.
    pub planned: u64,
    /// Who is not written to, by reason.
    pub excluded: BTreeMap<String, u64>,
    /// The root over its content, hex.
    pub hash: String,
    /// After this it can neither be approved nor sent, RFC 3339.
    pub expires_at: String,
}

impl PlanRecord {
    /// The plan as the commands print it.
    #[must_use]
    pub fn summary(&self) -> PlanSummary {
        let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        PlanSummary {
            plan: self.plan.clone(),
            campaign: self.campaign.clone(),
            status: self.status,
            as_of: text(self.as_of),
            replay: self.replay,
            in_segment: self.in_segment,
            planned: self.planned,
            excluded: self.excluded.clone(),
            hash: self.hash.clone(),
            expires_at: text(self.expires_at),
        }
    }

    /// The plan as it is at `now`: what nobody decided about or delivered in time is expired, whether or not somebody has closed it.
    /// A delivery that was begun is closed by delivering: only that can say what became of everybody.
    #[must_use]
    pub fn at(mut self, now: DateTime<Utc>) -> Self {
        let begun = matches!((self.status, self.held_from), (PlanStatus::Delivering, _) | (_, Some(PlanStatus::Delivering)));
        if self.expires_at <= now && !begun && matches!(self.status, PlanStatus::Draft | PlanStatus::Approved | PlanStatus::Held) {
            (self.status, self.held_from) = (PlanStatus::Expired, None);
        }
        self
    }

    /// Whether it is promised to go out, so that no newer plan of the campaign may be made: approved and unfinished.
    #[must_use]
    pub fn is_promised(&self) -> bool {
        match self.status {
            PlanStatus::Approved | PlanStatus::Delivering => true,
            PlanStatus::Held => self.held_from != Some(PlanStatus::Draft),
            _ => false,
        }
    }

    /// Whether its people are settled for its slot: promised, or already sent in part or whole.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_promised() || matches!(self.status, PlanStatus::Delivered | PlanStatus::Stopped)
    }

    fn read(row: &Row) -> Result<Self, LedgerError> {
        let excluded: String = row.try_get("excluded")?;
        Ok(Self {
            plan: PlanId::new(row.try_get::<String, _>("plan")?),
            campaign: row.try_get("campaign")?,
            kind: row.try_get("kind")?,
            channel: row.try_get("channel")?,
            segment: row.try_get("segment")?,
            as_of: instant(row.try_get("as_of")?)?,
            replay: row.try_get("replay")?,
            hash: row.try_get("hash")?,
            status: PlanStatus::read(row.try_get("status")?)?,
            held_from: row.try_get::<Option<&str>, _>("held_from")?.map(PlanStatus::read).transpose()?,
            in_segment: row.try_get::<i64, _>("in_segment")?.unsigned_abs(),
            planned: row.try_get::<i64, _>("planned")?.unsigned_abs(),
            excluded: serde_json::from_str(&excluded).map_err(|_| LedgerError::Value { value: excluded, expected: "list of reasons" })?,
            created_at: instant(row.try_get("created_at")?)?,
            expires_at: instant(row.try_get("expires_at")?)?,
            run: row.try_get("run")?,
        })
    }
}

/// Who is in the control group and who gets which variant, as recorded at approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The person.
    pub customer_id: CustomerId,
    /// What the message would have been or is about.
    pub occasion: String,
    /// `holdout`, the variant's name, or `treatment` in a campaign without variants.
    pub arm: String,
}

/// One thing that happened to a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanEvent {
    /// When.
    pub at: DateTime<Utc>,
    /// `created`, `approved`, `held`, …
    pub what: String,
    /// The full hash an approval is bound to.
    pub hash: Option<String>,
    /// Who did it.
    pub by: Option<String>,
    /// Why.
    pub why: Option<String>,
}

/// What became of a plan offered to the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drafted {
    /// It stands as a draft; other drafts of the campaign are superseded. It may have stood before, until another took its place or its
    /// time ran out.
    New(PlanRecord),
    /// The ledger knew it already, and it stays what it was.
    Known(PlanRecord),
    /// An approved, unfinished plan of the campaign stands in the way.
    Blocked(PlanRecord),
}

/// An act on a plan that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The plan's state does not allow it.
    #[error("{0}")]
    Refused(Box<Diagnosis>),
}

impl From<sqlx::Error> for ActError {
    fn from(error: sqlx::Error) -> Self {
        Self::Ledger(error.into())
    }
}

impl Diagnose for ActError {
    fn diagnosis(&self) -> Diagnosis {
        match self {
            Self::Ledger(error) => error.diagnosis(),
            Self::Refused(diagnosis) => (**diagnosis).clone(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Ledger(error) => error.exit(),
            Self::Refused(_) => Exit::Wrong,
        }
    }
}

fn refused(code: &str, message: String, hint: impl Into<String>) -> ActError {
    ActError::Refused(Box::new(Diagnosis::new(code, message).hint(hint)))
}

impl Ledger {
    /// Enters a plan as a draft and supersedes the campaign's other drafts, in one transaction. A plan the ledger knows is left as it is,
    /// unless it was superseded or expired before anybody was written to: the same content planned again is the draft that stands now.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub async fn draft(&self, new: &NewPlan, now: DateTime<Utc>) -> Result<Drafted, LedgerError> {
        let mut write = self.begin().await?;
        let known = fetch(&mut write, &new.plan).await?;
        if let Some(record) = &known
            && !may_stand_again(&mut write, record).await?
        {
            return Ok(Drafted::Known(record.clone()));
        }
        let open = query("select * from plans where campaign = ? and replay = ? and status in ('draft', 'approved', 'delivering', 'held')")
            .bind(&new.campaign)
            .bind(new.replay)
            .fetch_all(&mut write)
            .await?;
        for row in &open {
            let older = PlanRecord::read(row)?;
            if older.is_promised() {
                return Ok(Drafted::Blocked(older));
            }
            set_status(&mut write, &older.plan, PlanStatus::Superseded, None).await?;
            event(&mut write, &older.plan, now, "superseded", None, None, Some(new.plan.as_str())).await?;
        }
        if known.is_some() {
            query("update plans set status = 'draft', held_from = null, expires_at = ?, run = ? where plan = ?")
                .bind(micros(new.expires_at))
                .bind(&new.run)
                .bind(new.plan.as_str())
                .execute(&mut write)
                .await?;
            event(&mut write, &new.plan, now, "planned_again", Some(&new.hash), None, None).await?;
        } else {
            query(
                "insert into plans (plan, campaign, kind, channel, segment, as_of, replay, hash, status, in_segment, planned, excluded,
                                    created_at, expires_at, run)
                 values (?, ?, ?, ?, ?, ?, ?, ?, 'draft', ?, ?, ?, ?, ?, ?)",
            )
            .bind(new.plan.as_str())
            .bind(&new.campaign)
            .bind(&new.kind)
            .bind(&new.channel)
            .bind(&new.segment)
            .bind(micros(new.as_of))
            .bind(new.replay)
            .bind(&new.hash)
            .bind(count(new.in_segment))
            .bind(count(new.planned))
            .bind(serde_json::to_string(&new.excluded).unwrap_or_default())
            .bind(micros(now))
            .bind(micros(new.expires_at))
            .bind(&new.run)
            .execute(&mut write)
            .await?;
            event(&mut write, &new.plan, now, "created", Some(&new.hash), None, None).await?;
        }
        let record = fetch(&mut write, &new.plan).await?;
        write.commit().await?;
        record.map(Drafted::New).ok_or_else(|| LedgerError::Value { value: new.plan.to_string(), expected: "plan just written" })
    }

    /// One plan.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn plan(&self, plan: &PlanId) -> Result<Option<PlanRecord>, LedgerError> {
        let row = query("select * from plans where plan = ?").bind(plan.as_str()).fetch_optional(self.pool()).await?;
        row.as_ref().map(PlanRecord::read).transpose()
    }

    /// All plans, the newest first; of one campaign where it is named.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn plans(&self, campaign: Option<&str>) -> Result<Vec<PlanRecord>, LedgerError> {
        let rows = query("select * from plans where ?1 is null or campaign = ?1 order by as_of desc, created_at desc, plan")
            .bind(campaign)
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(PlanRecord::read).collect()
    }

    /// The plan a new one of the campaign is compared with: the latest of an earlier time, of the same sort (live or replay) first.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn plan_before(&self, campaign: &str, as_of: DateTime<Utc>, replay: bool) -> Result<Option<PlanRecord>, LedgerError> {
        let row = query(
            "select * from plans where campaign = ? and as_of < ?
             order by replay = ? desc, as_of desc, status = 'superseded', created_at desc limit 1",
        )
        .bind(campaign)
        .bind(micros(as_of))
        .bind(replay)
        .fetch_optional(self.pool())
        .await?;
        row.as_ref().map(PlanRecord::read).transpose()
    }

    /// What happened to a plan, in order.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn plan_events(&self, plan: &PlanId) -> Result<Vec<PlanEvent>, LedgerError> {
        let rows = query("select at, what, hash, by, why from plan_events where plan = ? order by rowid")
            .bind(plan.as_str())
            .fetch_all(self.pool())
            .await?;
        rows.iter()
            .map(|row| {
                Ok(PlanEvent {
                    at: instant(row.try_get(0)?)?,
                    what: row.try_get(1)?,
                    hash: row.try_get(2)?,
                    by: row.try_get(3)?,
                    why: row.try_get(4)?,
                })
            })
            .collect()
    }

    /// Approves a draft. The approval is bound to `hash`, the root over exactly what was reviewed; control group and variants are
    /// recorded in the same transaction, before anything can be sent.
    ///
    /// # Errors
    /// Where the plan is unknown, is no draft, has expired, or is not what was reviewed.
    pub async fn approve(
        &self,
        plan: &PlanId,
        by: &str,
        hash: &str,
        assignments: &[Assignment],
        now: DateTime<Utc>,
    ) -> Result<PlanRecord, ActError> {
        let mut write = self.begin().await?;
        let record = due(&mut write, plan, now, Act::Approve).await?;
        if record.hash != hash {
            return Err(refused(
                "plan_changed",
                format!("the plan `{plan}` is not the one that was reviewed: its content has another hash"),
                "open its review page again, and approve what it shows",
            ));
        }
        for chunk in assignments.chunks(CHUNK) {
            let rows: Vec<[&str; 3]> =
                chunk.iter().map(|one| [one.customer_id.as_str(), one.occasion.as_str(), one.arm.as_str()]).collect();
            // Whoever was assigned before about the same occasion stays where they were.
            query(
                "insert into assignments (campaign, customer_id, occasion, arm, plan, at)
                 select ?2, j.value ->> 0, j.value ->> 1, j.value ->> 2, ?3, ?4 from json_each(?1) j where true
                 on conflict (campaign, customer_id, occasion) do nothing",
            )
            .bind(serde_json::to_string(&rows).unwrap_or_default())
            .bind(&record.campaign)
            .bind(plan.as_str())
            .bind(micros(now))
            .execute(&mut write)
            .await?;
        }
        finish(write, record, PlanStatus::Approved, None, Said { now, what: "approved", hash: Some(hash), by: Some(by), why: None }).await
    }

    /// Rejects a draft.
    ///
    /// # Errors
    /// Where the plan is unknown or no draft.
    pub async fn reject(&self, plan: &PlanId, by: &str, why: &str, now: DateTime<Utc>) -> Result<PlanRecord, ActError> {
        let mut write = self.begin().await?;
        let record = due(&mut write, plan, now, Act::Reject).await?;
        finish(write, record, PlanStatus::Rejected, None, Said { now, what: "rejected", hash: None, by: Some(by), why: Some(why) }).await
    }

    /// Pauses a plan that is still open; a delivery that is running stops before its next message.
    ///
    /// # Errors
    /// Where the plan is unknown or closed.
    pub async fn hold(&self, plan: &PlanId, by: Option<&str>, why: Option<&str>, now: DateTime<Utc>) -> Result<PlanRecord, ActError> {
        let mut write = self.begin().await?;
        let record = due(&mut write, plan, now, Act::Hold).await?;
        let from = record.status;
        finish(write, record, PlanStatus::Held, Some(from), Said { now, what: "held", hash: None, by, why }).await
    }

    /// Ends a pause: the plan is again what it was.
    ///
    /// # Errors
    /// Where the plan is unknown or not held.
    pub async fn resume(&self, plan: &PlanId, by: Option<&str>, now: DateTime<Utc>) -> Result<PlanRecord, ActError> {
        let mut write = self.begin().await?;
        let record = due(&mut write, plan, now, Act::Resume).await?;
        let back = record.held_from.unwrap_or(PlanStatus::Draft);
        finish(write, record, back, None, Said { now, what: "resumed", hash: None, by, why: None }).await
    }

    /// Stops an approved plan for good; whoever of it still waits for a message is cancelled with it. A delivery that is running stops
    /// before its next message.
    ///
    /// # Errors
    /// Where the plan is unknown, a draft, or closed.
    pub async fn cancel(&self, plan: &PlanId, by: Option<&str>, now: DateTime<Utc>) -> Result<PlanRecord, ActError> {
        let mut read = self.begin().await?;
        let record = due(&mut read, plan, now, Act::Cancel).await?;
        drop(read);
        self.stop_plan(plan, by, now).await?;
        Ok(PlanRecord { status: PlanStatus::Stopped, held_from: None, ..record })
    }

    /// Closes drafts nobody decided about in time; returns their ids.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub async fn expire_drafts(&self, now: DateTime<Utc>) -> Result<Vec<PlanId>, LedgerError> {
        let mut write = self.begin().await?;
        let rows: Vec<(String,)> = query_as(
            "select plan from plans
             where expires_at <= ? and (status = 'draft' or (status = 'held' and held_from = 'draft')) order by plan",
        )
        .bind(micros(now))
        .fetch_all(&mut write)
        .await?;
        let expired: Vec<PlanId> = rows.into_iter().map(|(plan,)| PlanId::new(plan)).collect();
        for plan in &expired {
            set_status(&mut write, plan, PlanStatus::Expired, None).await?;
            event(&mut write, plan, now, "expired", None, None, None).await?;
        }
        write.commit().await?;
        Ok(expired)
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

async fn fetch(write: &mut Write<'static>, plan: &PlanId) -> Result<Option<PlanRecord>, LedgerError> {
    let row = query("select * from plans where plan = ?").bind(plan.as_str()).fetch_optional(&mut *write).await?;
    row.as_ref().map(PlanRecord::read).transpose()
}

/// Whether a plan is over without a person having said no to it and without anybody having been written to.
async fn may_stand_again(write: &mut Write<'static>, record: &PlanRecord) -> Result<bool, LedgerError> {
    if !matches!(record.status, PlanStatus::Superseded | PlanStatus::Expired) {
        return Ok(false);
    }
    let (begun,): (bool,) =
        query_as("select exists (select 1 from recipients where plan = ?)").bind(record.plan.as_str()).fetch_one(&mut *write).await?;
    Ok(!begun)
}

/// The plan an act is about, where the act is possible now; otherwise what to do instead.
async fn due(write: &mut Write<'static>, plan: &PlanId, now: DateTime<Utc>, act: Act) -> Result<PlanRecord, ActError> {
    let Some(record) = fetch(write, plan).await? else {
        return Err(refused("unknown_plan", format!("there is no plan `{plan}`"), "`perennial plans` lists them all"));
    };
    let late = record.expires_at <= now && matches!(record.status, PlanStatus::Draft | PlanStatus::Approved | PlanStatus::Held);
    if record.status == PlanStatus::Expired || (late && matches!(act, Act::Approve | Act::Resume)) {
        return Err(refused(
            "plan_expired",
            format!("the plan `{plan}` expired at {}", record.expires_at.to_rfc3339_opts(SecondsFormat::Secs, true)),
            format!("people have moved on since; make a new one with `perennial plan {}`", record.campaign),
        ));
    }
    if after(record.status, record.held_from, act).is_some() {
        return Ok(record);
    }
    let (verb, instead) = match (act, record.status) {
        (_, PlanStatus::Superseded) => ("changed", "a newer plan of the campaign took its place; `perennial plans` names it".to_owned()),
        (Act::Approve, PlanStatus::Held) => ("approved", format!("end the pause first: `perennial resume {plan}`")),
        (Act::Approve, _) => ("approved", "only a plan that waits for approval can be approved".to_owned()),
        (Act::Reject, PlanStatus::Approved | PlanStatus::Delivering | PlanStatus::Held) => {
            ("rejected", format!("it is approved already; `perennial cancel {plan}` stops it for good, `perennial hold {plan}` for now"))
        }
        (Act::Reject, _) => ("rejected", "there is nothing left to reject".to_owned()),
        (Act::Hold, PlanStatus::Held) => ("held", format!("it is on hold already; `perennial resume {plan}` ends that")),
        (Act::Hold, _) => ("held", "only a plan that is still open can be held".to_owned()),
        (Act::Resume, _) => ("resumed", "it is not on hold".to_owned()),
        (Act::Cancel, PlanStatus::Draft | PlanStatus::Held) => {
            ("cancelled", format!("nobody has approved it; `perennial reject {plan} --by NAME --why \"…\"` refuses it"))
        }
        (Act::Cancel, _) => ("cancelled", "there is nothing left to cancel".to_owned()),
    };
    let code = if act == Act::Approve { "not_a_draft" } else { "plan_state" };
    Err(refused(code, format!("the plan `{plan}` cannot be {verb}: it is {}", record.status.in_words()), instead))
}

/// What is noted about an act.
struct Said<'a> {
    now: DateTime<Utc>,
    what: &'a str,
    hash: Option<&'a str>,
    by: Option<&'a str>,
    why: Option<&'a str>,
}

async fn finish(
    mut write: Write<'static>,
    record: PlanRecord,
    status: PlanStatus,
    held_from: Option<PlanStatus>,
    said: Said<'_>,
) -> Result<PlanRecord, ActError> {
    set_status(&mut write, &record.plan, status, held_from).await?;
    event(&mut write, &record.plan, said.now, said.what, said.hash, said.by, said.why).await?;
    write.commit().await?;
    Ok(PlanRecord { status, held_from, ..record })
}

async fn set_status(
    write: &mut Write<'static>,
    plan: &PlanId,
    status: PlanStatus,
    held_from: Option<PlanStatus>,
) -> Result<(), LedgerError> {
    query("update plans set status = ?, held_from = ? where plan = ?")
        .bind(status.as_str())
        .bind(held_from.map(PlanStatus::as_str))
        .bind(plan.as_str())
        .execute(&mut *write)
        .await?;
    Ok(())
}

async fn event(
    write: &mut Write<'static>,
    plan: &PlanId,
    at: DateTime<Utc>,
    what: &str,
    hash: Option<&str>,
    by: Option<&str>,
    why: Option<&str>,
) -> Result<(), LedgerError> {
    query("insert into plan_events (plan, at, what, hash, by, why) values (?, ?, ?, ?, ?, ?)")
        .bind(plan.as_str())
        .bind(micros(at))
        .bind(what)
        .bind(hash)
        .bind(by)
        .bind(why)
        .execute(&mut *write)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
