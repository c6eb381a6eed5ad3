//! `perennial init`

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser};

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure},
    project,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder to write, inside the one --project names; it may exist, but nothing in it is overwritten
    dir: Option<PathBuf>,
    /// Where the data comes from; without one, the practice shop
    #[arg(long, value_parser = known())]
    preset: Vec<String>,
}

fn known() -> PossibleValuesParser {
    PossibleValuesParser::new(project::presets().into_iter().map(|(name, about)| PossibleValue::new(name).help(about)))
}

pub(super) fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let here = Path::new(".");
    let dir = match args.dir {
        None => global.project.clone(),
        Some(dir) if global.project == here => dir,
        Some(dir) => global.project.join(dir),
    };
    let begun = project::init(&dir, &args.preset)?;
    let json = serde_json::json!({ "dir": dir, "files": begun.files });
    output::print(global, &json, format!("Wrote {} files to {}.\n\n{}", begun.files.len(), dir.display(), begun.next));
    Ok(Exit::Done)
}
