//! `perennial plan`, `plans`, `approve`, `reject`, `hold`, `resume`, `cancel`

use std::{fmt::Write, path::PathBuf};

use super::{global::Global, output};
use crate::{
    campaign,
    diagnosis::{Diagnosis, Exit, Failure},
    job::{self, House, Moment, Step},
    ledger::{self, PlanStatus, PlanSummary},
};

#[derive(Debug, clap::Args)]
pub(super) struct PlanArgs {
    /// The campaign: a folder of jobs/campaigns/
    campaign: String,
    /// The logical time: RFC 3339, a date, today or yesterday; another than the live slot is a replay
    #[arg(long, value_name = "T")]
    as_of: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct PlansArgs {
    /// Also the ones that are over
    #[arg(long)]
    all: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct PlanId {
    /// The plan
    plan: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct ApproveArgs {
    /// The plan
    plan: String,
    /// Who approves
    #[arg(long, value_name = "NAME")]
    by: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct RejectArgs {
    /// The plan
    plan: String,
    /// Who rejects
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Why
    #[arg(long, value_name = "WORDS")]
    why: String,
}

/// The plan as it is now.
pub(super) async fn find(house: &House, plan: &str) -> Result<PlanSummary, Failure> {
    let id = ledger::PlanId::new(plan);
    let now = house.project.clock().now();
    house.ledger.plan(&id).await?.map(|record| record.at(now).summary()).ok_or_else(|| {
        Failure::wrong(Diagnosis::new("unknown_plan", format!("there is no plan `{plan}`")).hint("`perennial plans` lists them"))
    })
}

/// Where a plan's review page stands, as the reader would open it.
pub(super) fn page(house: &House, plan: &ledger::PlanId) -> PathBuf {
    house.project.plans().join(plan.as_str()).join("review.html")
}

/// A plan's status in plain words.
pub(super) fn status_words(plan: &PlanSummary) -> String {
    let words = if plan.status == PlanStatus::Draft && plan.planned == 0 { "nobody to write to" } else { plan.status.in_words() };
    if plan.replay { format!("{words} (replay)") } else { words.to_owned() }
}

pub(super) async fn plan(global: &Global, args: PlanArgs) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let moment = Moment::of(&house.project, None, Step::Plan, args.as_of.as_deref())?;
    let planned = job::plan(&house, moment, Some(&args.campaign), None, None).await?;
    if let Some(failure) = planned.failures.into_iter().next() {
        return Err(failure);
    }
    let Some(summary) = planned.plans.into_iter().next() else {
        return Err(Failure::failed(Diagnosis::new("no_plan", format!("no plan was made for `{}`", args.campaign))));
    };
    let mut text = format!("{}: {} of {} people, {}\n", summary.plan, summary.planned, summary.in_segment, status_words(&summary));
    for (reason, count) in &summary.excluded {
        let _ = writeln!(text, "  {count:>6}  {reason}");
    }
    let _ = writeln!(text, "  {}", page(&house, &summary.plan).display());
    output::print(global, &summary, text);
    Ok(if planned.expired.is_empty() { Exit::Done } else { Exit::Partly })
}

pub(super) async fn list(global: &Global, args: PlansArgs) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let now = house.project.clock().now();
    let mut plans: Vec<PlanSummary> = house.ledger.plans(None).await?.into_iter().map(|record| record.at(now).summary()).collect();
    if !args.all && !global.json() {
        plans.retain(|plan| matches!(plan.status, PlanStatus::Draft | PlanStatus::Approved | PlanStatus::Delivering | PlanStatus::Held));
    }
    let mut text = String::new();
    for plan in &plans {
        let _ = writeln!(text, "{}\n    {} of {} people · {}", plan.plan, plan.planned, plan.in_segment, status_words(plan));
    }
    if plans.is_empty() {
        text.push_str("No open plans.");
    }
    output::print(global, &plans, text);
    Ok(Exit::Done)
}

pub(super) async fn approve(global: &Global, args: ApproveArgs) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let summary = find(&house, &args.plan).await?;
    campaign::approve(house.project.root(), &house.ledger, house.project.keys(), &summary.plan, &args.by, house.project.clock().now())
        .await?;
    let summary = find(&house, &args.plan).await?;
    let text = format!("Approved for {} people.\nTo send: perennial deliver {}", summary.planned, summary.plan);
    output::print(global, &summary, text);
    Ok(Exit::Done)
}

pub(super) async fn reject(global: &Global, args: RejectArgs) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let summary = find(&house, &args.plan).await?;
    campaign::reject(&house.ledger, &summary.plan, &args.by, &args.why, house.project.clock().now()).await?;
    output::print(global, &find(&house, &args.plan).await?, "Rejected; nobody gets it.");
    Ok(Exit::Done)
}

pub(super) async fn hold(global: &Global, args: PlanId) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let summary = find(&house, &args.plan).await?;
    campaign::hold(&house.ledger, &summary.plan, house.project.clock().now()).await?;
    output::print(global, &find(&house, &args.plan).await?, format!("Held.\nTo go on: perennial resume {}", args.plan));
    Ok(Exit::Done)
}

pub(super) async fn resume(global: &Global, args: PlanId) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let summary = find(&house, &args.plan).await?;
    campaign::resume(&house.ledger, &summary.plan, house.project.clock().now()).await?;
    let summary = find(&house, &args.plan).await?;
    output::print(global, &summary, format!("Resumed: {}.", status_words(&summary)));
    Ok(Exit::Done)
}

pub(super) async fn cancel(global: &Global, args: PlanId) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let summary = find(&house, &args.plan).await?;
    campaign::cancel(&house.ledger, &summary.plan, house.project.clock().now()).await?;
    output::print(global, &find(&house, &args.plan).await?, "Cancelled; whoever has not been written to will not be.");
    Ok(Exit::Done)
}
