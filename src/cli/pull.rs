//! `perennial pull`

use std::fmt::Write;

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure},
    job::{self, Moment, Step},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these sources or streams: SOURCE or SOURCE.STREAM
    streams: Vec<String>,
    /// Read everything again, whatever the cursor says
    #[arg(long)]
    full: bool,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let moment = Moment::of(&house.project, None, Step::Pull, None)?;
    let run = format!("pull-{}", house.project.clock().now().timestamp_micros());
    let pulled = job::pull(&house, moment, &args.streams, args.full, &run, global.progress()).await?;
    let mut text = String::new();
    for stream in &pulled {
        let name = format!("{}.{}", stream.source, stream.stream);
        let _ = write!(text, "{name:<24} {:>9} rows, {} new, {} changed", stream.rows, stream.inserted, stream.updated);
        let _ = if stream.quarantined > 0 { writeln!(text, ", {} put aside", stream.quarantined) } else { writeln!(text) };
    }
    output::print(global, &serde_json::json!({ "pulled": pulled }), text);
    Ok(Exit::Done)
}
