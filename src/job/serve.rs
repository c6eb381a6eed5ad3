//! Every job on its schedule, until told to stop.

use chrono::{DateTime, TimeDelta, Utc};

use super::{House, Job, Moment, lock::JobLock, run};
use crate::{
    diagnosis::{Diagnosis, Exit, Failure},
    ledger::{RunStatus, SlotStatus},
    schedule::Waker,
    source::Progress,
};

/// How long after a slot was taken it may be taken again: what was in its way is given time to pass.
const AGAIN_AFTER: TimeDelta = TimeDelta::minutes(1);

/// Runs due slots, each once, one after the other, until the house is asked to stop; a run under way ends at its next step.
///
/// # Errors
/// Where the waker cannot start. A failing run is logged and recorded; the schedule goes on.
pub async fn keep_schedule(house: &House, jobs: &[Job]) -> Result<(), Failure> {
    let refused = |error: tokio_cron_scheduler::JobSchedulerError| {
        Failure::failed(Diagnosis::new("schedule", format!("the scheduler cannot start: {error}")).hint("start `perennial serve` again"))
    };
    let waker = Waker::start().await.map_err(refused)?;
    let begun = house.project.clock().now();
    for job in jobs {
        let next = job.schedule.next(begun).map(|slot| slot.format("%FT%TZ").to_string());
        tracing::info!(job = job.name, next, "on schedule");
    }
    while !house.stop.is_cancelled() {
        for job in jobs {
            if let Err(failure) = run_due(house, job, begun).await {
                log(job, &failure, "the job could not be run");
            }
        }
        tokio::select! {
            () = house.stop.cancelled() => break,
            () = waker.tick() => {}
        }
    }
    waker.stop().await.map_err(refused)
}

/// Runs what is due of one job, and what was interrupted: by SIGTERM, by a kill, or by another process that held the job or the lake.
pub(super) async fn run_due(house: &House, job: &Job, begun: DateTime<Utc>) -> Result<(), Failure> {
    let now = house.project.clock().now();
    // A job that has never run looks back only to when this process began: no old slot is owed to anyone.
    let last = house.ledger.last_slot(&job.name).await?.unwrap_or(begun);
    let mut interrupted = house.ledger.open_slots(&job.name).await?;
    interrupted.retain(|_, claimed_at| *claimed_at + AGAIN_AFTER <= now);
    if !interrupted.is_empty() && !JobLock::is_free(&house.project, &job.name) {
        interrupted.clear();
    }
    let due = job.schedule.due(last, now, interrupted.keys().copied(), job.catch_up, job.deadline);
    let claim = async |slot: DateTime<Utc>| match interrupted.get(&slot) {
        Some(claimed_at) => house.ledger.claim_slot_again(&job.name, slot, *claimed_at, now).await,
        None => house.ledger.claim_slot(&job.name, slot, now).await,
    };
    for slot in due.missed {
        if claim(slot).await? {
            house.ledger.slot_done(&job.name, slot, None, SlotStatus::Missed, now).await?;
            tracing::warn!(job = job.name, slot = %slot.format("%FT%TZ"), "this slot passed while nothing was running");
        }
    }
    for slot in due.run {
        if house.stop.is_cancelled() || !claim(slot).await? {
            continue;
        }
        let live = job.schedule.latest_due(now);
        let moment = Moment { as_of: slot, replay: live != Some(slot), ahead: false };
        match run(house, job, moment, job.deliver, Progress::lines()).await {
            Ok(outcome) => {
                for failure in &outcome.failures {
                    log(job, failure, "a part of the run failed");
                }
                if outcome.is_interrupted() {
                    continue;
                }
                let status = if outcome.status == RunStatus::Done { SlotStatus::Done } else { SlotStatus::Failed };
                house.ledger.slot_done(&job.name, slot, Some(&outcome.run), status, now).await?;
            }
            Err(failure) if failure.exit == Exit::Busy => return Err(failure),
            Err(failure) => {
                house.ledger.slot_done(&job.name, slot, None, SlotStatus::Failed, now).await?;
                return Err(failure);
            }
        }
    }
    Ok(())
}

/// What failed and where. The words themselves may quote a value of a customer's row, so they stand in `perennial status`, not in the log.
fn log(job: &Job, failure: &Failure, what: &str) {
    let Diagnosis { code, file, line, .. } = failure.diagnosis.as_ref();
    tracing::error!(job = job.name, code, file = ?file, line, "{what}; `perennial status` says more");
}
