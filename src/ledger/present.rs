//! A person's present state and history, as they stand inside the transaction that decides about a message.
//!
//! What was said to a name the person had before a merge counts for the person.

use chrono::{DateTime, Utc};

use super::{
    Due, Errand, LedgerError, instant, micros,
    store::{FromRow, Row, Write, query},
};

/// What a person agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Yes.
    Granted,
    /// No.
    Denied,
    /// Never asked, or not recorded.
    Unknown,
}

impl Consent {
    fn read(text: &str) -> Self {
        match text {
            "granted" => Self::Granted,
            "denied" => Self::Denied,
            _ => Self::Unknown,
        }
    }
}

/// A person's present state and history, as it stands inside the transaction that reserves.
#[derive(Debug, Clone)]
pub(crate) struct Present {
    /// How often it was tried before.
    pub attempt: u32,
    /// Not before this.
    pub next_try_at: Option<DateTime<Utc>>,
    /// Whether the last build knows the person.
    pub known: bool,
    /// Whether the person has been deleted at the source.
    pub deleted: bool,
    /// Consent to marketing by email.
    pub marketing: Consent,
    /// Consent to service mail.
    pub service: Consent,
    /// Whether a complaint is open.
    pub open_complaint: bool,
    /// The last order.
    pub last_order_at: Option<DateTime<Utc>>,
    /// The last complaint.
    pub last_complaint_at: Option<DateTime<Utc>>,
    /// The person's time zone, IANA.
    pub timezone: Option<String>,
    /// Whether the person is in the plan's segment today.
    pub in_segment: bool,
    /// Why nothing may be sent, where a suppression holds.
    pub suppressed: Option<String>,
    /// Whether the person wants no more letters of the campaign.
    pub left_campaign: bool,
    /// Whether the person wants fewer letters.
    pub wants_fewer: bool,
    /// Whether another plan has told, may have told or promised this occasion.
    pub told: bool,
    /// Whether the plan itself has claimed the message.
    pub claimed: bool,
    /// Messages within the cap's window, this one aside.
    pub messages: u32,
    /// The last message of ours.
    pub last_message_at: Option<DateTime<Utc>>,
}

// No lists in `in (…)`, of each of which SQLite would make a table for each person.
macro_rules! stands {
    () => {
        "m.state <> 'rejected' and m.state <> 'cancelled' and m.state <> 'expired'"
    };
}

// When a message reached the person, may have, or is about to: one in hand is so in the account of its plan only.
macro_rules! reached_at {
    () => {
        concat!(
            "case when m.message_id = {1} or m.kind = 'internal' then null when m.state = 'accepted' or m.state = 'unknown' then m.at when ",
            stands!(),
            " then (select i.updated_at from recipients i where i.plan = m.plan and i.customer_id = m.customer_id
                 and +i.message_id = m.message_id and (+i.state = 'reserved' or +i.state = 'committing')) end"
        )
    };
}

pub(in crate::ledger) const STATE: &str = "
select r.state, r.attempt, r.next_try_at,
  c.customer_id is not null, coalesce(c.deleted, 0), coalesce(c.marketing_email, 'unknown'), coalesce(c.service_email, 'unknown'),
  coalesce(c.open_complaint, 0), c.last_order_at, c.last_complaint_at, c.timezone,
  coalesce(instr(c.segments, ?2), 0) > 0
from recipients r left join contact_state c on c.customer_id = r.customer_id
where r.plan = ?1 and r.customer_id = {0} and +r.message_id = {1}";

// The person's own claim is among them; found by the person, and not by its id, because those of the people next to them lie beside it.
pub(in crate::ledger) const HEARD: &str = concat!(
    "
select
  max(case when m.plan <> ?1 and (m.message_id = {1} or m.campaign = ?2 and m.occasion = {2} and m.step = cast({3} as bigint)) and ",
    stands!(),
    " then 1 else 0 end),
  max(case when m.plan = ?1 and m.message_id = {1} then 1 else 0 end),
  count(*) filter (where ",
    reached_at!(),
    " >= ?3),
  max(",
    reached_at!(),
    ")
from (select {0} as name union all select alias from aliases where customer_id = {0}) n
cross join messages m on m.customer_id = n.name
having count(*) > 0"
);

macro_rules! suppressed {
    () => {
        "s.lifted_at is null and s.channel in ('email', ?1) and (s.scope = 'all' or ?2 = 1)"
    };
}

macro_rules! wished {
    () => {
        "f.lifted_at is null and (f.wish = 'fewer' or f.campaign = ?3)"
    };
}

/// Suppressions and wishes: of people, by each name they were or are known by, and of addresses.
pub(in crate::ledger) const SILENCES: &str = concat!(
    "select s.reason, 0 from suppressions s where s.customer_id = {0} and ",
    suppressed!(),
    " union all select s.reason, 0 from aliases a cross join suppressions s on s.customer_id = a.alias where a.customer_id = {0} and ",
    suppressed!(),
    " union all select s.reason, 0 from suppressions s where s.address_hash = {1} and ",
    suppressed!(),
    " union all select null, case when f.wish = 'fewer' then 1 else 2 end from preferences f where f.customer_id = {0} and ",
    wished!(),
    " union all select null, case when f.wish = 'fewer' then 1 else 2 end
        from aliases a cross join preferences f on f.customer_id = a.alias where a.customer_id = {0} and ",
    wished!(),
    " union all select null, case when f.wish = 'fewer' then 1 else 2 end from preferences f where f.address_hash = {1} and ",
    wished!(),
);

/// What stands about each message that the account holds, by its place; none of those that are neither waiting nor deferred.
pub(in crate::ledger) async fn present(
    write: &mut Write<'static>,
    errand: &Errand,
    due: &[Due],
    now: DateTime<Utc>,
) -> Result<Vec<(usize, Option<Present>)>, LedgerError> {
    let segment = serde_json::Value::from(errand.segment.as_str()).to_string();
    let asked = due.iter().map(|Due { candidate: one, .. }| [one.customer_id.as_str().into(), one.message_id.as_str().into()]);
    let states = query(STATE).bind(errand.plan.as_str()).bind(segment).each(asked).fetch_all(write).await?;
    let mut found = Vec::with_capacity(states.len());
    let mut places = vec![None; due.len()];
    for row in &states {
        let place = place(row.try_get(0)?);
        let is_due = matches!(row.try_get(1)?, "waiting" | "deferred");
        if let Some(known) = places.get_mut(place) {
            *known = Some(found.len());
        }
        found.push((place, if is_due { Some(read(row)?) } else { None }));
    }
    let mut of = |key: i64, change: &mut dyn FnMut(&mut Present)| {
        let known = places.get(place(key)).copied().flatten();
        if let Some((_, Some(present))) = known.and_then(|known| found.get_mut(known)) {
            change(present);
        }
    };
    let asked = due.iter().map(|Due { candidate: one, .. }| {
        [one.customer_id.as_str().into(), one.message_id.as_str().into(), one.occasion.as_str().into(), one.step.into()]
    });
    let heard = query(HEARD).bind(errand.plan.as_str()).bind(&errand.campaign).bind(micros(now - errand.cap_window));
    let heard = heard.each(asked).fetch_all(write).await?;
    for row in heard {
        let (told, claimed): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
        let (messages, last): (u32, Option<i64>) = (row.try_get(3)?, row.try_get(4)?);
        let last = last.map(instant).transpose()?;
        of(row.try_get(0)?, &mut |present| {
            (present.told, present.claimed) = (told > 0, claimed > 0);
            present.messages = messages;
            present.last_message_at = last;
        });
    }
    let asked = due.iter().map(|Due { candidate: one, .. }| [one.customer_id.as_str().into(), one.address_hash.as_deref().into()]);
    let silences = query(SILENCES).bind(&errand.channel).bind(errand.kind == "marketing").bind(&errand.campaign);
    for row in silences.each(asked).fetch_all(write).await? {
        let (key, reason, wish): (i64, Option<String>, i64) = FromRow::from_row(row)?;
        of(key, &mut |present| {
            present.wants_fewer |= wish == 1;
            present.left_campaign |= wish == 2;
            // Of several reasons the first by the alphabet, so that it is the same every time.
            if let Some(reason) = &reason
                && present.suppressed.as_ref().is_none_or(|known| reason < known)
            {
                present.suppressed = Some(reason.clone());
            }
        });
    }
    Ok(found)
}

/// A row's place among those asked about.
fn place(key: i64) -> usize {
    usize::try_from(key).unwrap_or(usize::MAX)
}

fn read(row: &Row) -> Result<Present, LedgerError> {
    let moment =
        |column: usize| -> Result<Option<DateTime<Utc>>, LedgerError> { row.try_get::<Option<i64>, _>(column)?.map(instant).transpose() };
    Ok(Present {
        attempt: row.try_get(2)?,
        next_try_at: moment(3)?,
        known: row.try_get(4)?,
        deleted: row.try_get(5)?,
        marketing: Consent::read(row.try_get(6)?),
        service: Consent::read(row.try_get(7)?),
        open_complaint: row.try_get(8)?,
        last_order_at: moment(9)?,
        last_complaint_at: moment(10)?,
        timezone: row.try_get(11)?,
        in_segment: row.try_get(12)?,
        suppressed: None,
        wants_fewer: false,
        left_campaign: false,
        told: false,
        claimed: false,
        messages: 0,
        last_message_at: None,
    })
}
