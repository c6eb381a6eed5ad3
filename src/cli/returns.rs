//! `perennial returns`

use std::fmt::Write;

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure},
    job,
};

pub(super) async fn run(global: &Global) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let collected = job::collect(&house).await?;
    let mut text = String::new();
    if house.project.deployment().delivery.returns.mailboxes.is_empty() {
        text.push_str("No mailbox is set in `[delivery.returns.mailboxes]`.");
    } else {
        let _ = write!(text, "{} mails read", collected.mails);
        for (kind, count) in &collected.noted {
            let _ = write!(text, ", {count} {}", kind.replace('_', " "));
        }
        if collected.known > 0 {
            let _ = write!(text, ", {} told before", collected.known);
        }
        for (reason, count) in &collected.ignored {
            let _ = write!(text, ", {count} left alone ({})", reason.replace('_', " "));
        }
        text.push('.');
    }
    output::print(global, &collected, text);
    Ok(Exit::Done)
}
