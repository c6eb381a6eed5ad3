//! `perennial test`

use std::fmt::Write;

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure},
    model::{self, CaseOutcome},
    project,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only tests whose file, SQL file or name contains these words
    filter: Option<String>,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let project = global.open()?;
    let (library, engine, sources) = (project.library()?, project.engine()?, project.sources()?);
    let report = model::run_tests(&library, &engine, &project::raw_schemas(&sources), args.filter.as_deref()).await;
    let mut text = String::new();
    for case in &report.cases {
        match &case.outcome {
            CaseOutcome::Passed => {
                let _ = writeln!(text, "ok      {}: {}", case.test, case.name);
            }
            CaseOutcome::Failed(lines) => {
                let _ = writeln!(text, "FAILED  {}: {} ({})\n    {}", case.test, case.name, case.file.display(), lines.join("\n    "));
            }
            CaseOutcome::Broken(diagnosis) => {
                let _ = writeln!(text, "BROKEN  {}: {}\n{}", case.test, case.name, output::draw(global, diagnosis));
            }
        }
    }
    let _ = writeln!(text, "{} passed, {} failed", report.passed(), report.cases.len() - report.passed());
    output::print(global, &report, text);
    Ok(if report.ok() { Exit::Done } else { Exit::Wrong })
}
