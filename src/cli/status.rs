//! `perennial status` and `history`

use std::fmt::Write;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure},
    job::{self, Job},
    ledger::{PullRecord, RunRecord, RunStatus, Unknown},
};

#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {}

#[derive(Debug, clap::Args)]
pub(super) struct HistoryArgs {
    /// How many runs
    #[arg(long, default_value_t = 20, value_name = "N")]
    last: u32,
}

#[derive(Debug, Serialize)]
struct Status {
    ok: bool,
    jobs: Vec<JobStatus>,
    streams: Vec<PullRecord>,
    unknown: Vec<Unknown>,
}

#[derive(Debug, Serialize)]
struct JobStatus {
    job: String,
    next: Option<DateTime<Utc>>,
    last: Option<RunRecord>,
}

pub(super) async fn status(global: &Global, _args: StatusArgs) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let now = house.project.clock().now();
    let runs = job::runs(&house, 1000).await?;
    let jobs: Vec<JobStatus> = Job::load_all(house.project.folder())?
        .into_iter()
        .map(|job| JobStatus { next: job.schedule.next(now), last: runs.iter().find(|run| run.job == job.name).cloned(), job: job.name })
        .collect();
    let streams = house.ledger.last_pulls().await?;
    let unknown = house.ledger.unknowns().await?;
    let failed = jobs.iter().any(|job| job.last.as_ref().is_some_and(|run| matches!(run.status, RunStatus::Failed | RunStatus::Died)))
        || streams.iter().any(|stream| stream.error.is_some());
    let mut text = String::new();
    for job in &jobs {
        let last = match &job.last {
            None => "has not run yet".to_owned(),
            Some(run) => format!(
                "last {} as of {}: {}",
                run.started_at.format("%F %H:%M UTC"),
                run.as_of.format("%F %H:%M"),
                match run.status {
                    RunStatus::Died => "died: its process was killed before it ended; run it again",
                    _ => run.error.as_deref().unwrap_or(run.status.as_str()),
                }
            ),
        };
        let next = job.next.map_or_else(|| "never".to_owned(), |next| next.format("%F %H:%M UTC").to_string());
        let _ = writeln!(text, "job {}: {last}; next {next}", job.job);
    }
    for stream in &streams {
        let name = format!("{}.{}", stream.source, stream.stream);
        let state = stream.error.clone().unwrap_or_else(|| format!("{} rows", stream.rows));
        let _ = writeln!(text, "  {name:<24} {} {state}", stream.started_at.format("%F %H:%M"));
    }
    if !unknown.is_empty() {
        let _ = writeln!(text, "\n{} messages whose outcome cannot be known; they are not sent again:", unknown.len());
        for message in &unknown {
            let _ = writeln!(text, "  {}  {}  {}", message.message_id, message.customer_id, message.plan);
        }
        let _ = writeln!(text, "Decide by hand: perennial unknown resolve MESSAGE_ID --as accepted|not-sent --by NAME");
    }
    output::print(global, &Status { ok: !failed && unknown.is_empty(), jobs, streams, unknown }, text);
    Ok(Exit::Done)
}

pub(super) async fn history(global: &Global, args: HistoryArgs) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let runs = job::runs(&house, args.last).await?;
    let mut text = String::new();
    for run in &runs {
        let seconds = run.finished_at.map(|end| (end - run.started_at).num_seconds());
        let took = seconds.map_or_else(|| "did not finish".to_owned(), |seconds| format!("{seconds} s"));
        let _ = writeln!(
            text,
            "{}  {:<12} as of {}  {:<7} {took}  {}",
            run.started_at.format("%F %H:%M"),
            run.job,
            run.as_of.format("%F %H:%M"),
            run.status.as_str(),
            run.error.as_deref().unwrap_or_default()
        );
    }
    if runs.is_empty() {
        text.push_str("No job has run yet.");
    }
    output::print(global, &runs, text);
    Ok(Exit::Done)
}
