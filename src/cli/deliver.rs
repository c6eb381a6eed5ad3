//! `perennial deliver`

use std::fmt::Write;

use super::{global::Global, output};
use crate::{
    delivery::Account,
    diagnosis::{Diagnosis, Exit, Failure},
    job::{self, Deliverable},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The plan
    #[arg(required_unless_present = "approved", conflicts_with = "approved")]
    plan: Option<String>,
    /// Every approved plan that has not expired
    #[arg(long)]
    approved: bool,
    /// Only the first N people, to look at before the rest
    #[arg(long, value_name = "N")]
    first: Option<usize>,
    /// Deliver a plan made for another time than the live slot
    #[arg(long)]
    allow_replay: bool,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let Some(plan) = args.plan else {
        let accounts = job::deliver_approved(&house, Deliverable::Approved, args.first).await?;
        let mut text = String::new();
        for account in &accounts {
            let _ = writeln!(text, "{}: {}", account.plan, sentence(account));
        }
        if accounts.is_empty() {
            text.push_str("No approved plan is waiting.");
        }
        let exit = accounts.iter().map(Account::exit).find(|exit| *exit != Exit::Done).unwrap_or(Exit::Done);
        output::print(global, &accounts, text);
        return Ok(exit);
    };
    let summary = super::plan::find(&house, &plan).await?;
    if summary.replay && !args.allow_replay {
        return Err(Failure::wrong(
            Diagnosis::new("replay", "this plan was made for another time than tonight's, so its letters may no longer be true")
                .hint("plan again without --as-of, or add --allow-replay if you mean it"),
        ));
    }
    let account = job::deliver(&house, &summary.plan, args.first).await?;
    output::print(global, &account, sentence(&account));
    Ok(account.exit())
}

/// An account in words.
pub(super) fn sentence(account: &Account) -> String {
    let mut words = format!("{} of {} accepted", account.accepted, account.planned);
    for (count, what) in [
        (account.waiting, "waiting"),
        (account.deferred, "put off by the other side"),
        (account.rejected, "rejected"),
        (account.unknown, "cannot know; not sent again"),
        (account.cancelled, "dropped with a reason"),
        (account.expired, "expired"),
    ] {
        if count > 0 {
            let _ = write!(words, ", {count} {what}");
        }
    }
    words
}
