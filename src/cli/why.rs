//! `perennial why`

use std::fmt::Write;

use super::{global::Global, output};
use crate::{
    campaign,
    diagnosis::{Exit, Failure},
    ledger::CustomerId,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The person
    customer: String,
    /// Only this campaign
    campaign: Option<String>,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let boxes = campaign::why(house.project.root(), &house.ledger, &CustomerId::new(&args.customer), args.campaign.as_deref()).await?;
    let mut text = String::new();
    for one in &boxes {
        let _ = writeln!(text, "{:<13} {}", one.campaign, one.words);
    }
    output::print(global, &boxes, text);
    Ok(Exit::Done)
}
