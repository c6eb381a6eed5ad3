//! `perennial deliver`

use std::fmt::Write;

use super::{global::Global, output};
use crate::{
    delivery::{Account, Options},
    diagnosis::{Exit, Failure},
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
    super::serve::on_signal(&house);
    let options = Options { first: args.first, allow_replay: args.allow_replay };
    let Some(plan) = args.plan else {
        let delivered = job::deliver_approved(&house, Deliverable::Approved, options).await?;
        let (accounts, failures) = (delivered.accounts, delivered.failures);
        let mut text = String::new();
        for account in &accounts {
            let _ = writeln!(text, "{}: {}", account.plan, sentence(account));
        }
        if accounts.is_empty() && failures.is_empty() {
            text.push_str("No approved plan is waiting.");
        }
        let partly = accounts.iter().map(Account::exit).find(|exit| *exit != Exit::Done).unwrap_or(Exit::Done);
        match failures.is_empty() {
            true => output::print(global, &accounts, text),
            false => output::print_with(global, &serde_json::json!({ "delivered": accounts }), text, &failures),
        }
        return Ok(Exit::of(&failures).unwrap_or(partly));
    };
    let summary = super::plan::find(&house, &plan).await?;
    let account = job::deliver(&house, &summary.plan, options).await?;
    output::print(global, &account, sentence(&account));
    Ok(account.exit())
}

/// An account in words.
pub(super) fn sentence(account: &Account) -> String {
    let mut words = format!("{} of {} accepted", account.total.accepted, account.total.planned);
    for (count, what) in [
        (account.total.waiting, "waiting"),
        (account.total.deferred, "put off by the other side"),
        (account.total.rejected, "rejected"),
        (account.total.unknown, "cannot know; not sent again"),
        (account.total.cancelled, "dropped with a reason"),
        (account.total.expired, "expired"),
    ] {
        if count > 0 {
            let _ = write!(words, ", {count} {what}");
        }
    }
    words
}
