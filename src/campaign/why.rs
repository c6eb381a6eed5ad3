//! One person: which box they are in, in the latest plan of each campaign, and why.

use std::{collections::BTreeSet, path::Path};

use serde::Serialize;

use super::{CampaignError, Kind, frozen, frozen::PlanRow};
use crate::ledger::{CustomerId, Ledger, PlanId, PlanRecord, PlanStatus};

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
    /// The reason, as the plan writes it.
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
        answers.push(answer(record, row.as_ref()));
    }
    answers.sort_by(|a, b| a.campaign.cmp(&b.campaign));
    Ok(answers)
}

fn answer(record: PlanRecord, row: Option<&PlanRow>) -> Answer {
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
            ("send", format!("gets a message{variant}; the plan is {}", record.status.in_words()))
        }
    };
    Answer {
        campaign: record.campaign,
        plan: record.plan,
        status: record.status,
        decision,
        reason: row.and_then(|row| row.reason.as_ref()).map(super::Reason::key),
        variant: row.and_then(|row| row.variant.clone()),
        occasion: row.and_then(|row| row.occasion.clone()),
        words,
    }
}
