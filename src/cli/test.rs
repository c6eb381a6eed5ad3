//! `perennial test`

use std::fmt::Write;

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure},
    model, project,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only the tests of these files or cases
    names: Vec<String>,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let project = global.open()?;
    let (library, engine, sources) = (project.library()?, project.engine()?, project.sources()?);
    let report = model::run_tests(&library, &engine, &project.brand_defaults(), &project::raw_schemas(&sources), &args.names).await?;
    let mut text = String::new();
    for case in &report.cases {
        match &case.failure {
            None => {
                let _ = writeln!(text, "ok    {}: {}", case.file, case.name);
            }
            Some(why) => {
                let _ = writeln!(text, "FAILED {}: {}\n{}", case.file, case.name, why);
            }
        }
    }
    let failed = report.cases.iter().filter(|case| case.failure.is_some()).count();
    let _ = writeln!(text, "{} passed, {failed} failed", report.cases.len() - failed);
    output::print(global, &report, text);
    Ok(if failed == 0 { Exit::Done } else { Exit::Wrong })
}
