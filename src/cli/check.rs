//! `perennial check`

use std::fmt::Write;

use serde::Serialize;

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure, Finding, Severity},
    job::{self, Job},
    project,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Do not ask the sources whether they answer and let us in
    #[arg(long)]
    offline: bool,
}

#[derive(Debug, Serialize)]
struct Checked {
    ok: bool,
    findings: Vec<Finding>,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let mut findings = project::check(&global.folder(), std::sync::Arc::new(crate::clock::SystemClock), args.offline).await;
    findings.extend(Job::load_usable(&global.folder()).1);
    findings.extend(job::unheard(&global.folder()));
    findings.sort_by(|a, b| (a.severity, &a.diagnosis.file, a.diagnosis.line).cmp(&(b.severity, &b.diagnosis.file, b.diagnosis.line)));
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let mut text = String::new();
    if !global.json() {
        for finding in &findings {
            text.push_str(&output::draw(global, &finding.diagnosis));
        }
    }
    let warnings = findings.len() - errors;
    let _ = match (errors, warnings) {
        (0, 0) => writeln!(text, "Everything fits."),
        (0, _) => writeln!(text, "{warnings} to look at; a run works."),
        _ => writeln!(text, "{errors} to put right before a run, {warnings} to look at."),
    };
    output::print(global, &Checked { ok: errors == 0, findings }, text);
    Ok(if errors == 0 { Exit::Done } else { Exit::Wrong })
}
