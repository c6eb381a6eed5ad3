//! `perennial docs`

use std::{fmt::Write, path::PathBuf};

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure},
    job::{Job, Step},
    project::{self, JobEntry},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write the site there; unless set, into data/docs of the project
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let (jobs, unusable) = Job::load_usable(&global.folder());
    let mut site = project::docs(&global.folder(), jobs.iter().map(entry).collect(), args.out.as_deref()).await?;
    site.failures.extend(unusable.into_iter().map(|finding| Failure::wrong(finding.diagnosis)));
    let mut text = format!("{} pages about {} tables: {}\n", site.written.len(), site.tables, site.folder.join("index.html").display());
    if !site.removed.is_empty() {
        let removed: Vec<String> = site.removed.iter().map(|page| page.display().to_string()).collect();
        let _ = writeln!(text, "removed, since nothing stands behind them any more: {}", removed.join(", "));
    }
    output::print_with(global, &site, text, &site.failures);
    Ok(Exit::of(&site.failures).unwrap_or(Exit::Done))
}

/// A job, as the site tells of it.
fn entry(job: &Job) -> JobEntry {
    JobEntry {
        name: job.name.clone(),
        file: job.file(),
        schedule: job.schedule.pattern().to_owned(),
        timezone: job.schedule.zone().to_string(),
        steps: job.steps.iter().map(|step| word(*step).to_owned()).collect(),
        deliver: job.deliver,
    }
}

/// A step in the word of the job's file.
fn word(step: Step) -> &'static str {
    match step {
        Step::Pull => "pull",
        Step::Build => "build",
        Step::Plan => "plan",
        Step::WriteBack => "write_back",
        Step::Tidy => "tidy",
    }
}
