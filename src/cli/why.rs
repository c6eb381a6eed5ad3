//! `perennial why`

use std::fmt::Write;

use super::{global::Global, output};
use crate::{
    campaign,
    diagnosis::{Diagnosis, Exit, Failure},
    job::{self, House, Job, Step},
    ledger::CustomerId,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The person: their id, or one they are known by at a source, SOURCE:ID
    customer: String,
    /// Only this campaign
    campaign: Option<String>,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let campaign = args.campaign.as_deref();
    let person = house.person(&args.customer).await?;
    let customer = person.clone().unwrap_or_else(|| CustomerId::new(&args.customer));
    let boxes = campaign::why(house.project.root(), &house.ledger, &customer, campaign).await?;
    if boxes.is_empty() {
        // Only now: a campaign that has been removed from the project still has its plans.
        if let Some(name) = campaign {
            house.campaign(name)?;
        }
        return Err(no_plan(&house, campaign)?);
    }
    // Plans remember people the sources have forgotten.
    if person.is_none() && boxes.iter().all(|one| one.decision == "not_in_segment") {
        return Err(job::unknown_person(&args.customer));
    }
    let mut text = String::new();
    if customer.as_str() != args.customer {
        let _ = writeln!(text, "{} is {customer}", args.customer);
    }
    for one in &boxes {
        let _ = writeln!(text, "{:<13} {}", one.campaign, one.words);
    }
    output::print(global, &boxes, text);
    Ok(Exit::Done)
}

/// There is no plan to look into, and what makes one.
fn no_plan(house: &House, campaign: Option<&str>) -> Result<Failure, Failure> {
    let what = campaign.map_or_else(|| "there is no plan yet".to_owned(), |name| format!("there is no plan of `{name}` yet"));
    let plans = Job::load_all(house.project.folder())?.into_iter().find(|job| job.steps.contains(&Step::Plan));
    let hint = match plans {
        Some(job) => format!("`perennial run {}` makes one; it sends nothing", job.name),
        None => "`perennial pull`, `perennial build`, then `perennial plan CAMPAIGN` make one".to_owned(),
    };
    Ok(Failure::wrong(Diagnosis::new("no_plan", what).hint(hint)))
}
