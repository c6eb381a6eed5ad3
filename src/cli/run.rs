//! `perennial run JOB`

use std::fmt::Write;

use super::{global::Global, output};
use crate::{
    diagnosis::{Diagnosis, Exit, Failure},
    job::{self, House, Job, Moment, RunOutcome, Step},
    ledger::PlanStatus,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The job: a file of jobs/ without .toml
    job: String,
    /// The run's logical time: RFC 3339, a date, today or yesterday; another than the live slot is a replay
    #[arg(long, value_name = "T")]
    as_of: Option<String>,
    /// Also deliver: approved plans first, then what may go out without review
    #[arg(long)]
    deliver: bool,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let house = global.house().await?;
    super::serve::on_signal(&house);
    let job = find(&house, &args.job)?;
    let moment = Moment::of(&house.project, Some(&job), Step::Plan, args.as_of.as_deref())?;
    let outcome = job::run(&house, &job, moment, args.deliver, global.progress()).await?;
    output::print_with(global, &outcome, text(&house, &outcome).await?, &outcome.failures);
    Ok(outcome.exit())
}

fn find(house: &House, name: &str) -> Result<Job, Failure> {
    let jobs = Job::load_all(house.project.folder())?;
    jobs.iter().find(|job| job.name == name).cloned().ok_or_else(|| {
        let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
        let diagnosis = Diagnosis::new("unknown_job", format!("there is no job `{name}`")).in_file("jobs");
        Failure::wrong(match crate::config::nearest(name, names.iter().copied()) {
            Some(near) => diagnosis.hint(format!("did you mean `{near}`?")),
            None => diagnosis.hint(format!("the jobs are: {}", names.join(", "))),
        })
    })
}

async fn text(house: &House, outcome: &RunOutcome) -> Result<String, Failure> {
    let mut text = String::new();
    let rows: u64 = outcome.pulled.iter().map(|pulled| pulled.rows).sum();
    let _ = writeln!(text, "{} as of {} took {:.1} s", outcome.job, outcome.as_of.format("%F %H:%M UTC"), outcome.seconds);
    if !outcome.pulled.is_empty() {
        let _ = writeln!(text, "  pulled {rows} rows from {} streams", outcome.pulled.len());
    }
    for account in &outcome.delivered {
        let what = if account.total.expired == account.total.planned { "too late for" } else { "delivered" };
        let _ = writeln!(text, "  {what} {}: {}", account.plan, super::deliver::sentence(account));
    }
    for section in &outcome.written_back {
        let _ = writeln!(text, "  wrote back {}", super::write_back::sentence(section));
    }
    if outcome.plans.is_empty() {
        return Ok(text);
    }
    let _ = writeln!(text);
    let mut waiting = 0;
    for plan in &outcome.plans {
        let summary = super::plan::find(house, plan.as_str()).await?;
        let _ = writeln!(
            text,
            "  {:<13} {:>5} of {:>5} people · {}",
            summary.campaign,
            summary.planned,
            summary.in_segment,
            super::plan::status_words(&summary)
        );
        let _ = writeln!(text, "                {}", super::plan::page(house, plan).display());
        waiting += u32::from(summary.status == PlanStatus::Draft);
    }
    if waiting > 0 {
        let _ = writeln!(text, "\nNothing has been sent. Open a page above, then: perennial approve PLAN --by YOUR-NAME");
    }
    Ok(text)
}
