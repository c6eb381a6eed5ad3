//! `perennial tidy`

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure},
    job,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn run(global: &Global, _args: Args) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let tidied = job::tidy(&house).await?;
    let text = format!(
        "Removed {} old files of the lake ({} kB), {} plans, {} outbox files, {} scratch builds.",
        tidied.lake_files,
        tidied.lake_bytes / 1024,
        tidied.plans,
        tidied.outbox_files,
        tidied.scratch
    );
    output::print(global, &tidied, text);
    Ok(Exit::Done)
}
