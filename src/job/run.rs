//! One job once: its steps in order, its lock held, its run recorded.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    House, Job, Moment, Step,
    lock::JobLock,
    steps::{self, Deliverable},
};
use crate::{
    delivery::Account,
    diagnosis::{Diagnosis, Exit, Failure},
    ledger::{PlanId, RunStatus},
    source::Progress,
};

/// What a run did.
#[derive(Debug, Serialize)]
pub struct RunOutcome {
    /// The run's name.
    pub run: String,
    /// The job's name.
    pub job: String,
    /// The run's logical time.
    pub as_of: DateTime<Utc>,
    /// How it ended.
    pub status: RunStatus,
    /// How long it took, in seconds of the wall clock.
    pub seconds: f64,
    /// What came in.
    pub pulled: Vec<PulledRows>,
    /// The plans that stand for this slot.
    pub plans: Vec<PlanId>,
    /// What was delivered.
    pub delivered: Vec<Account>,
    /// What failed without stopping the rest.
    #[serde(skip)]
    pub failures: Vec<Failure>,
}

/// The rows one stream brought.
#[derive(Debug, Serialize)]
pub struct PulledRows {
    /// The source.
    pub source: String,
    /// The stream.
    pub stream: String,
    /// The rows received.
    pub rows: u64,
}

impl RunOutcome {
    /// The exit code: a failure outweighs messages that did not arrive.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if let Some(failure) = self.failures.first() {
            return failure.exit;
        }
        if self.delivered.iter().any(|account| account.exit() == Exit::Partly) { Exit::Partly } else { Exit::Done }
    }
}

/// Runs `job` once at `moment`. A step that fails in part finishes its rest first; what builds on it is left alone.
///
/// # Errors
/// Where the job is already running, or a step fails as a whole.
pub async fn run(house: &House, job: &Job, moment: Moment, deliver: bool, progress: Progress) -> Result<RunOutcome, Failure> {
    let _lock = JobLock::take(&house.project, &job.name)?;
    let started = std::time::Instant::now();
    let now = house.project.clock().now();
    let run = format!("{}-{}-{}", job.name, moment.as_of.format("%Y%m%dT%H%M%SZ"), now.timestamp_micros());
    house.ledger.begin_run(&run, &job.name, moment.as_of, now).await?;
    tracing::info!(run, as_of = %moment.as_of.format("%FT%TZ"), replay = moment.replay, "the job starts");
    let mut outcome = RunOutcome {
        run: run.clone(),
        job: job.name.clone(),
        as_of: moment.as_of,
        status: RunStatus::Done,
        seconds: 0.0,
        pulled: Vec::new(),
        plans: Vec::new(),
        delivered: Vec::new(),
        failures: Vec::new(),
    };
    let result = steps_of(house, job, moment, deliver, progress, &mut outcome).await;
    outcome.seconds = started.elapsed().as_secs_f64();
    let error = match &result {
        Err(failure) => Some(failure.to_string()),
        Ok(()) => outcome.failures.first().map(ToString::to_string),
    };
    let status = if error.is_some() { RunStatus::Failed } else { RunStatus::Done };
    outcome.status = status;
    metrics::counter!("perennial_runs_total", "job" => job.name.clone(), "status" => status.as_str()).increment(1);
    let summary = serde_json::to_string(&outcome).unwrap_or_default();
    house.ledger.finish_run(&run, status, error.as_deref(), Some(&summary), house.project.clock().now()).await?;
    tracing::info!(run, status = ?status, seconds = outcome.seconds, "the job ends");
    result.map(|()| outcome)
}

async fn steps_of(
    house: &House,
    job: &Job,
    moment: Moment,
    deliver: bool,
    progress: Progress,
    outcome: &mut RunOutcome,
) -> Result<(), Failure> {
    let run = outcome.run.clone();
    let mut versions = None;
    for step in &job.steps {
        if house.stop.is_cancelled() {
            return Err(Failure::failed(
                Diagnosis::new("stopped", "the run was asked to stop").hint("run it again; it goes on where it stopped"),
            ));
        }
        match step {
            Step::Pull => {
                let pulled = steps::pull(house, moment, &[], false, &run, progress.clone()).await?;
                outcome.pulled = pulled
                    .into_iter()
                    .map(|pulled| PulledRows { source: pulled.source, stream: pulled.stream, rows: pulled.rows })
                    .collect();
            }
            Step::Build => {
                let built = steps::build(house, moment, &[], Some(&run)).await?;
                outcome.failures.extend(built.failures.iter().cloned());
                versions = Some(built);
            }
            Step::Plan => {
                // What was approved yesterday goes out before tonight's plans are made, so that caps and "already told" count it.
                if deliver && !moment.replay {
                    outcome.delivered.extend(steps::deliver_approved(house, Deliverable::Approved, None).await?);
                }
                let planned = steps::plan(house, moment, None, Some(&run), versions.as_ref()).await?;
                outcome.plans = planned.plans.iter().map(|plan| plan.plan.clone()).collect();
                outcome.failures.extend(planned.failures);
                if deliver && !moment.replay {
                    outcome.delivered.extend(steps::deliver_approved(house, Deliverable::ApprovedByRule, None).await?);
                }
            }
            Step::Tidy => {
                steps::tidy(house).await?;
            }
        }
    }
    Ok(())
}
