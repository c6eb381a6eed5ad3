//! `perennial build`

use std::fmt::Write;

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure},
    job::{self, Moment, Step},
    model::Outcome,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these tables, and what they need
    names: Vec<String>,
    /// The logical time: RFC 3339, a date, today or yesterday; another than the live slot builds into data/scratch
    #[arg(long, value_name = "T")]
    as_of: Option<String>,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let moment = Moment::of(&house.project, None, Step::Build, args.as_of.as_deref())?;
    let built = job::build(&house, moment, &args.names, None).await?;
    let mut text = format!("{:<24} {:>11} {:>12} {:>9} {:>9} {:>9} {:>9}\n", "", "rows", "rows read", "read", "memory", "spilled", "time");
    for table in &built.tables {
        let cost = &table.cost;
        let read = if cost.rows_read == 0 { String::new() } else { grouped(cost.rows_read) };
        let bytes = size(cost.bytes_read);
        let _ = writeln!(
            text,
            "{:<24} {:>11} {read:>12} {bytes:>9} {:>9} {:>9} {:>7.2} s  {}",
            table.name,
            grouped(table.rows),
            size(cost.peak_memory),
            size(cost.spilled),
            table.seconds,
            words(&table.outcome, cost.retries),
        );
    }
    let document = serde_json::json!({ "build": built.build, "as_of": built.as_of, "tables": built.tables });
    output::print_with(global, &document, text, &built.failures);
    Ok(Exit::of(&built.failures).unwrap_or(Exit::Done))
}

/// A number with commas between the thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let (head, rest) = digits.split_at(first);
    let groups = rest.as_bytes().chunks(3).map(|group| std::str::from_utf8(group).unwrap_or_default());
    std::iter::once(head).filter(|head| !head.is_empty()).chain(groups).collect::<Vec<_>>().join(",")
}

/// Bytes as people read them; nothing for none.
fn size(bytes: u64) -> String {
    match bytes {
        0 => String::new(),
        bytes if bytes < 10 << 20 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        bytes if bytes < 10 << 30 => format!("{} MiB", bytes >> 20),
        bytes => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

fn words(outcome: &Outcome, retries: u64) -> String {
    match outcome {
        Outcome::Built if retries == 1 => "built, after memory ran out once".to_owned(),
        Outcome::Built if retries > 1 => format!("built, after memory ran out {retries} times"),
        Outcome::Built => "built".to_owned(),
        Outcome::Same => "made anew, the same rows as before".to_owned(),
        Outcome::Reused => "unchanged".to_owned(),
        Outcome::Kept(why) => format!("yesterday's stays: {why}"),
        Outcome::Blocked(by) => format!("yesterday's stays: waits for {by}"),
    }
}
