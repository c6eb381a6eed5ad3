//! `perennial suppress`

use std::{fmt::Write, path::PathBuf};

use super::{global::Global, output};
use crate::{
    diagnosis::{Diagnosis, Exit, Failure},
    job::House,
    ledger::{CustomerId, NewSuppression, Scope, address_hash},
    secret::Keys,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Never write to an address or a person again
    Add {
        #[command(flatten)]
        whom: Whom,
        /// Only marketing letters; receipts and apologies still go out
        #[arg(long)]
        marketing: bool,
    },
    /// Lift everything that stands against an address or a person
    Remove(Whom),
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
pub(super) struct Whom {
    /// The address
    #[arg(required_unless_present = "customer", conflicts_with = "customer")]
    address: Option<String>,
    /// The person, whatever their address is
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// Who says so
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

pub(super) async fn run(global: &Global, command: Command) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let (keys, now) = (house.project.keys(), house.project.clock().now());
    match command {
        Command::Add { whom, marketing } => {
            let (customer_id, address) = find(&house, &whom).await?;
            house.ledger.suppress(&against(keys, customer_id, address, marketing, "manual", whom.by), now).await?;
            let text = if marketing { "No marketing letter goes there again." } else { "Nobody will be written to there again." };
            output::print(global, &serde_json::json!({ "suppressed": 1 }), text);
        }
        Command::Remove(whom) => {
            let (customer_id, address) = find(&house, &whom).await?;
            let hash = address.map(|address| address_hash(keys, &address));
            let by = whom.by.unwrap_or_default();
            let lifted = house.ledger.lift(customer_id.as_ref(), hash.as_deref(), "email", &by, now).await?;
            let text = if lifted == 0 { "Nothing stood against them.".to_owned() } else { format!("Lifted {lifted}.") };
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
            let list: Vec<NewSuppression> =
                addresses.iter().map(|address| against(keys, None, Some(address.clone()), false, "imported", by.clone())).collect();
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

/// The person or the address that was typed.
async fn find(house: &House, whom: &Whom) -> Result<(Option<CustomerId>, Option<String>), Failure> {
    match (&whom.customer, &whom.address) {
        (Some(id), _) => Ok((Some(house.known_person(id).await?), None)),
        (None, Some(address)) if is_address(address) => Ok((None, Some(address.trim().to_owned()))),
        (None, address) => {
            let address = address.as_deref().unwrap_or_default();
            let diagnosis = Diagnosis::new("not_an_address", format!("`{address}` is not an address"));
            Err(Failure::wrong(diagnosis.hint("write the whole address, `ann@example.org`, or name the person with --customer ID")))
        }
    }
}

/// Whether a text may be an address. No more is asked than that it has both halves: also a strange one must be kept from being written to.
fn is_address(text: &str) -> bool {
    let text = text.trim();
    text.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty()) && !text.contains(char::is_whitespace)
}

fn against(
    keys: &Keys,
    customer_id: Option<CustomerId>,
    address: Option<String>,
    marketing: bool,
    reason: &str,
    by: Option<String>,
) -> NewSuppression {
    NewSuppression {
        customer_id,
        address_hash: address.as_deref().map(|address| address_hash(keys, address)),
        address,
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
        if !is_address(address) {
            return Err(refused(format!("`{address}` is not an address"), index + 1));
        }
        addresses.push(address.to_owned());
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_is_no_address() {
        for (text, is) in [
            ("ann@example.org", true),
            (" ann@localhost ", true),
            ("anna", false),
            ("ann@", false),
            ("@x.org", false),
            ("a b@x.org", false),
        ] {
            assert_eq!(is_address(text), is, "{text}");
        }
    }
}
