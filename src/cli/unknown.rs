//! `perennial unknown`

use std::fmt::Write;

use clap::ValueEnum;

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure},
    ledger::{MessageId, Verdict},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the messages whose outcome cannot be known
    List,
    /// Say by hand what became of one
    Resolve(ResolveArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct ResolveArgs {
    /// The message
    message_id: String,
    /// What became of it
    #[arg(long = "as", value_enum)]
    verdict: As,
    /// Who says so
    #[arg(long, value_name = "NAME")]
    by: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum As {
    Accepted,
    NotSent,
}

pub(super) async fn run(global: &Global, command: Command) -> Result<Exit, Failure> {
    let house = global.house().await?;
    match command {
        Command::List => {
            let unknown = house.ledger.unknown().await?;
            let mut text = String::new();
            for message in &unknown {
                let _ = writeln!(text, "{}  {}  {}", message.message_id, message.customer_id, message.plan);
            }
            if unknown.is_empty() {
                text.push_str("Nothing is unknown.");
            }
            output::print(global, &unknown, text);
        }
        Command::Resolve(args) => {
            let verdict = match args.verdict {
                As::Accepted => Verdict::Accepted,
                As::NotSent => Verdict::NotSent,
            };
            house.ledger.resolve_unknown(&MessageId::new(&args.message_id), verdict, &args.by, house.project.clock().now()).await?;
            output::print(global, &serde_json::json!({ "message_id": args.message_id, "resolved": true }), "Recorded.");
        }
    }
    Ok(Exit::Done)
}
