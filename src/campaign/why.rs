//! One person: which box they are in, in the latest plan of each campaign, why, and what became of their message.

use std::{collections::BTreeSet, path::Path};

use serde::Serialize;

use super::{CampaignError, Kind, frozen, frozen::PlanRow};
use crate::ledger::{CustomerId, Ledger, PlanId, PlanRecord, PlanStatus, State};

/// The answer of one campaign's latest plan about a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The campaign.
    pub campaign: String,
    /// The plan looked at.
    pub plan: PlanId,
    /// Where the plan stands.
    pub status: PlanStatus,
    /// `send`, `excluded`, or `not_in_segment`.
    pub decision: &'static str,
    /// What became of the message, once the plan was approved.
    pub state: Option<State>,
    /// The reason, as the plan writes it, or, where the person dropped out after it, as the ledger does.
    pub reason: Option<String>,
    /// The variant the person was given.
    pub variant: Option<String>,
    /// What the message is about.
    pub occasion: Option<String>,
    /// All of it in words.
    pub words: String,
}

/// Looks a person up in the latest plan of each campaign, or of one. Plans whose files are gone are passed over.
///
/// # Errors
/// Where the ledger cannot be read.
pub async fn why(root: &Path, ledger: &Ledger, customer: &CustomerId, campaign: Option<&str>) -> Result<Vec<Answer>, CampaignError> {
    let mut seen = BTreeSet::new();
    let mut answers = Vec::new();
    // Newest first: the first of each campaign whose files can be read is the one that counts.
    for record in ledger.plans(campaign).await? {
        if record.status == PlanStatus::Superseded || seen.contains(&record.campaign) {
            continue;
        }
        let Ok(decisions) = frozen::read_decisions(&root.join(frozen::plan_folder(&record.plan))) else { continue };
        seen.insert(record.campaign.clone());
        let row = decisions.into_iter().find(|row| row.customer == *customer && row.tombstone.is_none());
        let account = match &row {
            Some(row) if row.is_planned() => ledger.recipient(&record.plan, customer).await?,
            _ => None,
        };
        answers.push(answer(record, row.as_ref(), account));
    }
    answers.sort_by(|a, b| a.campaign.cmp(&b.campaign));
    Ok(answers)
}

fn answer(record: PlanRecord, row: Option<&PlanRow>, account: Option<(State, Option<String>)>) -> Answer {
    let kind = match record.kind.as_str() {
        "service" => Kind::Service,
        "internal" => Kind::Internal,
        _ => Kind::Marketing,
    };
    let (decision, words) = match row {
        None => ("not_in_segment", format!("is not in the segment `{}`, so {} has nothing to tell them", record.segment, record.campaign)),
        Some(PlanRow { reason: Some(reason), .. }) => {
            ("excluded", format!("is in `{}`, but stays out: {}", record.segment, reason.in_words(kind)))
        }
        Some(PlanRow { variant, .. }) => {
            let variant = variant.as_ref().map(|variant| format!(", variant {variant}")).unwrap_or_default();
            let words = match &account {
                Some((state, reason)) => became(*state, reason.as_deref(), &variant),
                None => format!("gets a message{variant}; the plan is {}", record.status.in_words()),
            };
            ("send", words)
        }
    };
    let (state, noted) = account.map_or((None, None), |(state, reason)| (Some(state), reason));
    Answer {
        campaign: record.campaign,
        plan: record.plan,
        status: record.status,
        decision,
        state,
        reason: row.and_then(|row| row.reason.as_ref()).map(super::Reason::key).or(noted),
        variant: row.and_then(|row| row.variant.clone()),
        occasion: row.and_then(|row| row.occasion.clone()),
        words,
    }
}

/// What became of a planned message, in words.
fn became(state: State, reason: Option<&str>, variant: &str) -> String {
    let why = reason.map(|reason| format!(": {}", since_then(reason))).unwrap_or_default();
    match state {
        State::Waiting | State::Reserved | State::Committing => format!("gets a message{variant}; it waits to be sent"),
        State::Accepted => format!("was sent a message{variant}"),
        State::Rejected => format!("was to get a message{variant}, which was refused{why}"),
        State::Deferred => format!("gets a message{variant}; the other side said not now, so it is tried again"),
        State::Unknown => format!("was sent a message{variant}, and nobody can know whether it arrived; `perennial unknown list` names it"),
        State::Cancelled => format!("was planned, but dropped out before it was sent{why}"),
        State::Expired => "was planned, but the plan expired before the message was sent".to_owned(),
    }
}

/// A reason the ledger notes after a plan was approved, in words; one that has none stands for itself.
fn since_then(reason: &str) -> &str {
    match reason {
        "bought_since" => "has bought since",
        "complained_since" => "has complained since",
        "opted_out_since" => "has opted out since",
        "no_longer_in_segment" => "is no longer in the segment",
        "deleted" => "the account has been deleted",
        "suppressed" => "opted out, or the address does not work",
        "already_told" => "already heard about this",
        "cool_off" => "heard from us only a short while ago",
        "capped" => "has had as many messages as we allow",
        "duplicate_address" => "shares an address with somebody already written to",
        "no_address" => "no usable address",
        "only_to" => "`only_to` in [delivery] keeps letters from this address",
        "plan_cancelled" => "the plan was cancelled",
        "refused" => "the other side does not take it",
        other => other,
    }
}
