//! `perennial status` and `history`

use std::fmt::Write;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure},
    job::{self, Job, SectionStanding},
    ledger::{PullRecord, RunRecord, RunStatus, SlowedDown, Unknown, WriteBackStanding},
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
    streams: Vec<StreamPull>,
    write_back: Vec<SectionStanding>,
    unknown: Vec<Unknown>,
    slowed_down: Vec<SlowedDown>,
}

/// A pull, and how far it left the table behind its source.
#[derive(Debug, Serialize)]
struct StreamPull {
    #[serde(flatten)]
    pull: PullRecord,
    lag_seconds: Option<i64>,
}

impl From<PullRecord> for StreamPull {
    fn from(pull: PullRecord) -> Self {
        Self { lag_seconds: pull.lag().map(|lag| lag.num_seconds()), pull }
    }
}

/// A run and what it pulled.
#[derive(Debug, Serialize)]
struct RunWithPulls {
    #[serde(flatten)]
    run: RunRecord,
    streams: Vec<StreamPull>,
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
    let streams: Vec<StreamPull> = house.ledger.last_pulls().await?.into_iter().map(StreamPull::from).collect();
    let write_back = job::write_back_standing(&house).await?;
    let unknown = house.ledger.unknowns().await?;
    let slowed_down = house.ledger.slowed_down(now).await?;
    let untold = write_back.iter().any(|section| section.standing.failed + section.standing.unknown > 0);
    let failed = jobs.iter().any(|job| job.last.as_ref().is_some_and(|run| matches!(run.status, RunStatus::Failed | RunStatus::Died)))
        || streams.iter().any(|stream| stream.pull.error.is_some());
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
    for StreamPull { pull, .. } in &streams {
        let _ = writeln!(text, "  {} {}", pull.started_at.format("%F %H:%M"), told(pull));
    }
    for SectionStanding { source, section, standing } in &write_back {
        let WriteBackStanding { waiting, failed, unknown, reason } = standing;
        let reason = reason.as_ref().map(|reason| format!("; last: {reason}")).unwrap_or_default();
        let _ = writeln!(text, "write back {source}.{section}: {waiting} waiting, {failed} failed, {unknown} unknown{reason}");
        if *unknown > 0 {
            let _ = writeln!(
                text,
                "  what may have been told is not told again; where that does no harm: perennial write-back {source} --again"
            );
        }
    }
    for SlowedDown { relay, name, until } in &slowed_down {
        let whom = match name.as_str() {
            "" => "nothing leaves: it said that mail came too fast".to_owned(),
            name if name.starts_with('#') => format!("a small domain ({name}) said that mail came too fast"),
            name => format!("{name} said that mail came too fast"),
        };
        let _ = writeln!(text, "relay {relay}: {whom}; the next goes there at {}", until.format("%F %H:%M UTC"));
    }
    if !unknown.is_empty() {
        let _ = writeln!(text, "\n{} messages whose outcome cannot be known; they are not sent again:", unknown.len());
        for message in &unknown {
            let _ = writeln!(text, "  {}  {}  {}", message.message_id, message.customer_id, message.plan);
        }
        let _ = writeln!(text, "Decide by hand: perennial unknown resolve MESSAGE_ID --as accepted|not-sent --by NAME");
    }
    output::print(global, &Status { ok: !failed && !untold && unknown.is_empty(), jobs, streams, write_back, unknown, slowed_down }, text);
    Ok(Exit::Done)
}

/// One pull in a line, and where the stream stands after it.
fn told(pull: &PullRecord) -> String {
    let name = format!("{}.{}", pull.source, pull.stream);
    if let Some(error) = &pull.error {
        return format!("{name:<24} {error}");
    }
    let seconds = pull.finished_at.map(|end| (end - pull.started_at).as_seconds_f64().max(0.0));
    let took = seconds.map_or_else(|| "did not finish".to_owned(), |seconds| format!("{seconds:.1} s"));
    let mut line = format!(
        "{name:<24} {} rows ({}): {} new, {} changed, {} deleted, {} set aside; {took}, {} requests",
        pull.rows,
        size(pull.bytes),
        pull.inserted,
        pull.updated,
        pull.deleted,
        pull.quarantined,
        pull.requests
    );
    if pull.retries > 0 {
        let _ = write!(line, ", {} repeated", pull.retries);
    }
    // A source may count its seconds or days in numbers.
    match (pull.cursor_at, &pull.cursor) {
        (Some(at), _) => drop(write!(line, "; up to {}", at.format("%Y-%m-%d %H:%M:%S UTC"))),
        (None, Some(cursor)) => drop(write!(line, "; up to {cursor}")),
        (None, None) => {}
    }
    if let Some(lag) = pull.lag() {
        let _ = write!(line, ", {} behind", span(lag));
    }
    let _ = write!(line, "; deletes: {}", pull.deletes.as_deref().unwrap_or("none"));
    if let Some(drift) = &pull.drift {
        let _ = write!(line, "; {drift}");
    }
    line
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

fn span(lag: TimeDelta) -> String {
    match lag.num_minutes() {
        0 => format!("{} s", lag.num_seconds()),
        minutes @ 1..120 => format!("{minutes} min"),
        minutes @ 120..2880 => format!("{} h", minutes / 60),
        minutes => format!("{} days", minutes / 1440),
    }
}

pub(super) async fn history(global: &Global, args: HistoryArgs) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let mut runs = Vec::new();
    let mut text = String::new();
    for run in job::runs(&house, args.last).await? {
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
        let streams: Vec<StreamPull> = house.ledger.pulls_of(&run.run).await?.into_iter().map(StreamPull::from).collect();
        for StreamPull { pull, .. } in &streams {
            let _ = writeln!(text, "    {}", told(pull));
        }
        runs.push(RunWithPulls { run, streams });
    }
    if runs.is_empty() {
        text.push_str("No job has run yet.");
    }
    output::print(global, &runs, text);
    Ok(Exit::Done)
}
