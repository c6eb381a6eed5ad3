//! One job once: its steps in order, its lock held, its run recorded.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    House, Job, Moment, Step, WrittenBack,
    lock::JobLock,
    steps::{self, Deliverable},
    write_back::write_back,
};
use crate::{
    delivery::{Account, Collected, Options},
    diagnosis::{Diagnosis, Exit, Failure},
    ledger::{PlanId, RunRecord, RunStatus},
    source::{Progress, Source},
};

/// The code of the failure of a run that was asked to stop.
const STOPPED: &str = "stopped";

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
    /// What was delivered, and what expired unsent.
    pub delivered: Vec<Account>,
    /// What other systems were told.
    pub written_back: Vec<WrittenBack>,
    /// What came back about messages sent before.
    pub returns: Collected,
    /// What failed; the last of them may have ended the run before its time.
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
        let partly = self.delivered.iter().any(|account| account.exit() == Exit::Partly) || self.written_back.iter().any(|one| one.partly);
        Exit::of(&self.failures).unwrap_or(if partly { Exit::Partly } else { Exit::Done })
    }

    /// Whether it was kept from coming to its end by something that passes: it was asked to stop, or another process held what it needs.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.failures.iter().any(|failure| failure.exit == Exit::Busy || failure.diagnosis.code == STOPPED)
    }
}

/// Runs `job` once at `moment`. A step that fails in part finishes its rest first; what builds on a step that failed as a whole is left
/// alone. Whatever failed stands in the outcome, beside what was done.
///
/// # Errors
/// Where the run cannot begin: the job is already running, the time lies ahead of the practice shop, or the ledger refuses.
pub async fn run(house: &House, job: &Job, moment: Moment, deliver: bool, progress: Progress) -> Result<RunOutcome, Failure> {
    if moment.ahead && job.steps.contains(&Step::Pull) && house.sources.iter().any(Source::is_practice) {
        let message = format!("the practice shop would live at {}, ahead of the live tables", moment.as_of.format("%F %H:%M UTC"));
        let hint = "choose a time up to the job's latest slot; `perennial build --as-of` builds for a later one from what was pulled";
        return Err(Failure::wrong(Diagnosis::new("as_of_ahead", message).hint(hint)));
    }
    let _lock = JobLock::take(&house.project, &job.name).await?;
    let started = std::time::Instant::now();
    let now = house.project.clock().now();
    house.ledger.close_dead_runs(&job.name, now).await?;
    let run = format!("{}-{}-{}", job.name, moment.as_of.format("%Y%m%dT%H%M%SZ"), now.timestamp_micros());
    house.ledger.begin_run(&run, &job.name, moment.as_of, now).await?;
    tracing::info!(run, as_of = %moment.as_of.format("%FT%TZ"), replay = moment.replay, "the job starts");
    if deliver && moment.replay {
        tracing::warn!("a replay delivers nothing; approve a plan of it, and `perennial deliver PLAN --allow-replay` sends that one");
    }
    let mut outcome = RunOutcome {
        run: run.clone(),
        job: job.name.clone(),
        as_of: moment.as_of,
        status: RunStatus::Done,
        seconds: 0.0,
        pulled: Vec::new(),
        plans: Vec::new(),
        delivered: Vec::new(),
        written_back: Vec::new(),
        returns: Collected::default(),
        failures: Vec::new(),
    };
    // Boxed, as what a step awaits: the futures of a whole night do not fit on the stack of a thread.
    if let Err(failure) = Box::pin(steps_of(house, job, moment, deliver && !moment.replay, progress, &mut outcome)).await {
        outcome.failures.push(failure);
    }
    outcome.seconds = started.elapsed().as_secs_f64();
    let error = outcome.failures.first().map(ToString::to_string);
    outcome.status = if error.is_some() { RunStatus::Failed } else { RunStatus::Done };
    metrics::counter!("perennial_runs_total", "job" => job.name.clone(), "status" => outcome.status.as_str()).increment(1);
    let summary = serde_json::to_string(&outcome).unwrap_or_default();
    house.ledger.finish_run(&run, outcome.status, error.as_deref(), Some(&summary), house.project.clock().now()).await?;
    tracing::info!(run, status = ?outcome.status, seconds = outcome.seconds, "the job ends");
    Ok(outcome)
}

/// The last runs of all jobs, the newest first. A run that has not ended although no process holds its job's lock has died.
///
/// # Errors
/// Where the ledger cannot be read.
pub async fn runs(house: &House, last: u32) -> Result<Vec<RunRecord>, Failure> {
    let free = |run: &RunRecord| run.status == RunStatus::Running && JobLock::is_free(&house.project, &run.job);
    let dead: Vec<String> = house.ledger.runs(last).await?.into_iter().filter(free).map(|run| run.run).collect();
    // A run ends in the ledger before it lets go of its lock: read again, whoever ended in between is seen to have ended.
    let mut runs = house.ledger.runs(last).await?;
    for run in runs.iter_mut().filter(|run| run.status == RunStatus::Running && dead.contains(&run.run)) {
        run.status = RunStatus::Died;
    }
    Ok(runs)
}

async fn steps_of(
    house: &House,
    job: &Job,
    moment: Moment,
    deliver: bool,
    progress: Progress,
    outcome: &mut RunOutcome,
) -> Result<(), Failure> {
    let (run, begun) = (outcome.run.clone(), house.project.clock().now());
    let mut built = None;
    let mut to_deliver = deliver;
    for (at, step) in job.steps.iter().enumerate() {
        stopped(house)?;
        // What was approved yesterday goes out on tonight's news and before tonight's plans are made, so that caps and "already told"
        // count it.
        let more_news = job.steps[at..].iter().any(|step| matches!(step, Step::Pull | Step::Build));
        if to_deliver && (!more_news || *step == Step::Plan) {
            to_deliver = false;
            deliver_approved(house, Deliverable::Approved, outcome).await?;
        }
        match step {
            Step::Pull if moment.replay && steps::has_been_pulled(house).await? => {
                tracing::info!("a replay reads what was pulled before; nothing is fetched");
            }
            Step::Pull => {
                let pulled = Box::pin(steps::pull(house, moment, &[], false, &run, progress.clone())).await?;
                outcome.pulled = pulled
                    .into_iter()
                    .map(|pulled| PulledRows { source: pulled.source, stream: pulled.stream, rows: pulled.rows })
                    .collect();
                // What came back overnight counts tonight.
                match steps::collect(house).await {
                    Ok(collected) => outcome.returns = collected,
                    Err(failure) => outcome.failures.push(failure),
                }
            }
            Step::Build => {
                let made = Box::pin(steps::build(house, moment, &[], Some(&run))).await?;
                outcome.failures.extend(made.failures.iter().cloned());
                built = Some(made);
            }
            Step::Plan => {
                match Box::pin(steps::plan(house, moment, None, Some(&run), built.as_ref())).await {
                    Ok(planned) => {
                        outcome.plans = planned.plans.iter().map(|plan| plan.plan.clone()).collect();
                        outcome.delivered.extend(planned.expired);
                        outcome.failures.extend(planned.failures);
                    }
                    Err(failure) => outcome.failures.push(failure),
                }
                if deliver {
                    deliver_approved(house, Deliverable::ApprovedByRule(begun), outcome).await?;
                }
            }
            Step::WriteBack if !deliver => {}
            Step::WriteBack => match write_back(house, None, false).await {
                Ok(wrote) => {
                    outcome.written_back = wrote.sections;
                    outcome.failures.extend(wrote.failures);
                }
                Err(failure) => outcome.failures.push(failure),
            },
            Step::Tidy if moment.replay => {}
            Step::Tidy => {
                steps::tidy(house).await?;
            }
        }
    }
    if to_deliver {
        deliver_approved(house, Deliverable::Approved, outcome).await?;
    }
    Ok(())
}

/// A plan that cannot be delivered keeps no other from going out, and nothing from being planned.
async fn deliver_approved(house: &House, which: Deliverable, outcome: &mut RunOutcome) -> Result<(), Failure> {
    let delivered = Box::pin(steps::deliver_approved(house, which, Options::default())).await?;
    outcome.delivered.extend(delivered.accounts);
    outcome.failures.extend(delivered.failures);
    stopped(house)
}

fn stopped(house: &House) -> Result<(), Failure> {
    if !house.stop.is_cancelled() {
        return Ok(());
    }
    Err(Failure::failed(Diagnosis::new(STOPPED, "the run was asked to stop").hint("run it again; it goes on where it stopped")))
}
