//! `perennial test`

use std::{collections::BTreeMap, fmt::Write};

use serde_json::json;

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure},
    job::{House, Moment, Step},
    model::{self, AuditReport, Bench, CaseOutcome},
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
    let filter = args.filter.as_deref();
    let report = model::run_tests(&library, &engine, &project::raw_schemas(&sources), filter).await;
    let audits = audits(global, filter).await?;
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
    let failed = audits.iter().flatten().filter_map(|audit| audit.failed.as_ref());
    for diagnosis in failed.clone() {
        let _ = writeln!(text, "FAILED  audit\n{}", output::draw(global, diagnosis));
    }
    let _ = match &audits {
        Some(audits) => writeln!(text, "audits: {} tables as they were last built, {} failed", audits.len(), failed.clone().count()),
        None => writeln!(text, "audits: nothing was built yet"),
    };
    let outdated: Vec<&str> = audits.iter().flatten().filter(|audit| audit.outdated).map(|audit| audit.table.as_str()).collect();
    if !outdated.is_empty() {
        let _ = writeln!(text, "not audited, since the file was changed after the build: {}", outdated.join(", "));
    }
    let ok = report.ok() && failed.count() == 0;
    output::print(global, &json!({ "cases": report.cases, "audits": audits.unwrap_or_default() }), text);
    Ok(if ok { Exit::Done } else { Exit::Wrong })
}

/// What the audits say of the tables that were last built; none where none was.
async fn audits(global: &Global, filter: Option<&str>) -> Result<Option<Vec<AuditReport>>, Failure> {
    let project = global.open()?;
    // A test makes no data folder where there is none.
    if !project.root().join(&project.deployment().ledger.path).is_file() {
        return Ok(None);
    }
    let house = House::open(project).await?;
    let moment = Moment::of(&house.project, None, Step::Build, None)?;
    let published = house.ledger.published().await?;
    if published.is_empty() {
        return Ok(None);
    }
    let bench = Bench {
        library: &house.library,
        engine: &house.engine,
        lake: &house.lake,
        published: &published,
        as_of: moment.as_of,
        brand: house.project.brand_defaults(),
        params: BTreeMap::new(),
    };
    Ok(Some(bench.audits(filter).await?))
}
