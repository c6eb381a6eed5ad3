//! What a person decides about a plan. An approval first opens the plan and verifies it, so that nobody approves what was altered.

use std::path::Path;

use chrono::{DateTime, Utc};

use super::{CampaignError, FrozenPlan};
use crate::{
    ledger::{ActError, Ledger, PlanId, PlanRecord},
    secret::Keys,
};

/// Approves a draft: verifies it, binds the approval to its hash, and records control group and variants.
///
/// # Errors
/// Where the plan is unknown, was altered, is no draft any more, or has expired (all exit 2).
pub async fn approve(
    root: &Path,
    ledger: &Ledger,
    keys: &Keys,
    plan: &PlanId,
    by: &str,
    now: DateTime<Utc>,
) -> Result<PlanRecord, CampaignError> {
    let frozen = FrozenPlan::open(root, ledger, keys, plan).await?;
    Ok(ledger.approve(plan, by, &frozen.record().hash, &frozen.assignments()?, now).await?)
}

/// Rejects a draft.
///
/// # Errors
/// Where the plan is unknown or no draft.
pub async fn reject(ledger: &Ledger, plan: &PlanId, by: &str, why: &str, now: DateTime<Utc>) -> Result<PlanRecord, ActError> {
    ledger.reject(plan, by, why, now).await
}

/// Pauses an open plan.
///
/// # Errors
/// Where the plan is unknown or closed.
pub async fn hold(ledger: &Ledger, plan: &PlanId, now: DateTime<Utc>) -> Result<PlanRecord, ActError> {
    ledger.hold(plan, None, None, now).await
}

/// Ends a pause.
///
/// # Errors
/// Where the plan is unknown, not held, or has expired.
pub async fn resume(ledger: &Ledger, plan: &PlanId, now: DateTime<Utc>) -> Result<PlanRecord, ActError> {
    ledger.resume(plan, None, now).await
}

/// Stops an approved plan for good; whoever has not been written to is not.
///
/// # Errors
/// Where the plan is unknown, never approved, or closed.
pub async fn cancel(ledger: &Ledger, plan: &PlanId, now: DateTime<Utc>) -> Result<PlanRecord, ActError> {
    ledger.cancel(plan, None, now).await
}
