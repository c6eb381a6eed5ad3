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
    let mut text = String::new();
    for table in &built.tables {
        let _ = writeln!(text, "{:<20} {:>10} rows {:>7.2} s  {}", table.name, table.rows, table.seconds, words(&table.outcome));
    }
    let document = serde_json::json!({ "build": built.build, "as_of": built.as_of, "tables": built.tables });
    output::print_with(global, &document, text, &built.failures);
    Ok(Exit::of(&built.failures).unwrap_or(Exit::Done))
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Built => "built".to_owned(),
        Outcome::Reused => "unchanged".to_owned(),
        Outcome::Kept(why) => format!("yesterday's stays: {why}"),
        Outcome::Blocked(by) => format!("yesterday's stays: waits for {by}"),
    }
}
