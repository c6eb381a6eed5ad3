//! `perennial unknown`

use std::fmt::Write;

use clap::ValueEnum;

use super::{global::Global, output};
use crate::{
    diagnosis::{Diagnosis, Exit, Failure},
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
            let unknown = house.ledger.unknowns().await?;
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
            let id = MessageId::new(&args.message_id);
            let Some(state) = house.ledger.resolve_unknown(&id, verdict, &args.by, house.project.clock().now()).await? else {
                let diagnosis = Diagnosis::new("unknown_message", format!("no message with an unknown outcome is called `{id}`"));
                return Err(Failure::wrong(diagnosis.hint("`perennial unknown list` names them")));
            };
            let json = serde_json::json!({ "message_id": id, "state": state });
            output::print(global, &json, format!("Recorded: {}.", state.as_str()));
        }
    }
    Ok(Exit::Done)
}
