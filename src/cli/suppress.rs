//! `perennial suppress`

use std::{fmt::Write, path::PathBuf};

use super::{global::Global, output};
use crate::{
    diagnosis::{Diagnosis, Exit, Failure},
    ledger::{NewSuppression, Scope, address_hash},
    secret::Keys,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Never write to an address again
    Add(One),
    /// Lift what stands against an address
    Remove(One),
    /// List what stands
    List,
    /// Take over a list: one address a line, or a CSV with a column `email`
    Import {
        /// The file
        file: PathBuf,
        /// Who brings it
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// The address
    address: String,
    /// Only marketing letters; receipts and apologies still go out
    #[arg(long)]
    marketing: bool,
    /// Who says so
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

pub(super) async fn run(global: &Global, command: Command) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let (keys, now) = (house.project.keys(), house.project.clock().now());
    match command {
        Command::Add(one) => {
            house.ledger.suppress(&against(keys, &one.address, one.marketing, "manual", one.by), now).await?;
            output::print(global, &serde_json::json!({ "suppressed": 1 }), "Nobody will be written to there again.");
        }
        Command::Remove(one) => {
            let lifted = {
                let hash = address_hash(keys, &one.address);
                house.ledger.lift(None, Some(&hash), "email", one.by.as_deref().unwrap_or_default(), now).await?
            };
            let text = if lifted == 0 { "Nothing stood against this address.".to_owned() } else { format!("Lifted {lifted}.") };
            output::print(global, &serde_json::json!({ "lifted": lifted }), text);
        }
        Command::List => {
            let mut list = house.ledger.suppressions(0, u32::MAX).await?;
            list.retain(|one| one.lifted_at.is_none());
            let mut text = String::new();
            for one in &list {
                let who = one.address.as_deref().or(one.customer_id.as_deref()).unwrap_or("(erased)");
                let _ = writeln!(text, "{}  {:<10} {:<14} {who}", one.at.format("%F"), one.scope.as_str(), one.reason);
            }
            if list.is_empty() {
                text.push_str("Nobody is suppressed.");
            }
            output::print(global, &list, text);
        }
        Command::Import { file, by } => {
            let addresses = read(&file)?;
            let list: Vec<NewSuppression> = addresses.iter().map(|address| against(keys, address, false, "imported", by.clone())).collect();
            let count = house.ledger.suppress_all(&list, now).await?;
            output::print(
                global,
                &serde_json::json!({ "suppressed": count, "read": addresses.len() }),
                format!("Took over {count} of {} addresses; the others stood already.", addresses.len()),
            );
        }
    }
    Ok(Exit::Done)
}

fn against(keys: &Keys, address: &str, marketing: bool, reason: &str, by: Option<String>) -> NewSuppression {
    NewSuppression {
        customer_id: None,
        address_hash: Some(address_hash(keys, address)),
        address: Some(address.to_owned()),
        channel: "email".to_owned(),
        scope: if marketing { Scope::Marketing } else { Scope::All },
        reason: reason.to_owned(),
        by,
    }
}

/// One address a line, or the column `email` of a CSV. A line that is no address stops the import, so that nobody is missed in silence.
fn read(file: &std::path::Path) -> Result<Vec<String>, Failure> {
    let refused = |message: String, line: usize| {
        Failure::wrong(
            Diagnosis::new("import", message).in_file(file).at(line, 1).hint("put one address on each line, or name the column `email`"),
        )
    };
    let text = std::fs::read_to_string(file).map_err(|error| refused(format!("cannot be read: {error}"), 1))?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut column = 0;
    let mut addresses = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|error| refused(error.to_string(), index + 1))?;
        if index == 0
            && let Some(named) = record.iter().position(|cell| cell.eq_ignore_ascii_case("email"))
        {
            column = named;
            continue;
        }
        let address = record.get(column).unwrap_or_default();
        if address.is_empty() && record.len() <= 1 {
            continue;
        }
        if !address.contains('@') {
            return Err(refused(format!("`{address}` is not an address"), index + 1));
        }
        addresses.push(address.to_owned());
    }
    Ok(addresses)
}
