//! `perennial init`

use std::path::PathBuf;

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure},
    project::{self, Preset},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder to write; it may exist, but nothing in it is overwritten
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where the data comes from; without one, the practice shop
    #[arg(long, value_enum)]
    preset: Vec<Preset>,
}

pub(super) fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let begun = project::init(&args.dir, &args.preset)?;
    let json = serde_json::json!({ "dir": args.dir, "files": begun.files });
    output::print(global, &json, format!("Wrote {} files to {}.\n\n{}", begun.files.len(), args.dir.display(), begun.next));
    Ok(Exit::Done)
}
