//! Slots, interruptions and logical times, with a clock that is moved by hand.

use std::{path::Path, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};

use super::{lock::JobLock, serve::run_due, *};
use crate::{
    clock::ManualClock,
    config::Folder,
    diagnosis::Exit,
    ledger::{RunStatus, fixture},
    source::Progress,
};

pub(super) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The practice project with one job: `job.toml`.
pub(super) async fn house(now: &str, job: &str) -> (tempfile::TempDir, Arc<ManualClock>, House, Job) {
    let root = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["config", "sql", "jobs/campaigns"] {
        copy(&shipped.join(folder), &root.path().join(folder));
    }
    std::fs::write(root.path().join("jobs/job.toml"), job).unwrap();
    let clock = Arc::new(ManualClock::at(at(now)));
    let project = Project::open(Folder::new(root.path(), None, std::iter::empty()), clock.clone()).unwrap();
    let house = House::open(project).await.unwrap();
    let job = Job::load_all(house.project.folder()).unwrap().remove(0);
    (root, clock, house, job)
}

const HOURLY: &str = "schedule = \"0 * * * *\"\ntimezone = \"UTC\"\nsteps = [\"tidy\"]\ndeadline = \"3h\"\n";

async fn slots(house: &House, status: &str) -> i64 {
    fixture::number(&house.ledger, &format!("select count(*) from slots where status = '{status}'")).await
}

async fn count_runs(house: &House) -> i64 {
    fixture::number(&house.ledger, "select count(*) from runs").await
}

#[tokio::test]
async fn a_slot_whose_process_was_killed_is_run_again_once() {
    let (_root, clock, house, job) = house("2026-11-22T01:20:00Z", HOURLY).await;
    let slot = at("2026-11-22T01:00:00Z");
    house.ledger.claim_slot(&job.name, slot, at("2026-11-22T01:00:02Z")).await.unwrap();
    let held = JobLock::take(&house.project, &job.name).await.unwrap();
    run_due(&house, &job, slot).await.unwrap();
    assert_eq!((slots(&house, "claimed").await, count_runs(&house).await), (1, 0), "its process lives");
    drop(held);
    run_due(&house, &job, slot).await.unwrap();
    assert_eq!((slots(&house, "done").await, count_runs(&house).await), (1, 1));
    clock.set(at("2026-11-22T01:40:00Z"));
    run_due(&house, &job, slot).await.unwrap();
    assert_eq!(count_runs(&house).await, 1);
}

#[tokio::test]
async fn a_slot_interrupted_too_long_ago_is_missed() {
    let (_root, _clock, house, job) = house("2026-11-22T06:20:00Z", HOURLY).await;
    for hour in [1, 6] {
        let slot = at("2026-11-22T00:00:00Z") + TimeDelta::hours(hour);
        house.ledger.claim_slot(&job.name, slot, slot).await.unwrap();
    }
    run_due(&house, &job, at("2026-11-22T00:00:00Z")).await.unwrap();
    assert_eq!((slots(&house, "missed").await, slots(&house, "done").await), (1, 1));
}

#[tokio::test]
async fn a_run_that_was_asked_to_stop_or_found_the_lake_taken_leaves_its_slot_open() {
    let (_root, clock, mut house, job) = house("2026-11-22T01:00:05Z", HOURLY).await;
    let begun = at("2026-11-22T00:30:00Z");
    let lease = house.lake.write_lease().await.unwrap();
    run_due(&house, &job, begun).await.unwrap();
    assert_eq!((slots(&house, "claimed").await, count_runs(&house).await), (1, 1), "another process writes to the lake");
    drop(lease);
    run_due(&house, &job, begun).await.unwrap();
    assert_eq!(count_runs(&house).await, 1, "it is not tried again at once");
    clock.set(at("2026-11-22T01:02:00Z"));
    run_due(&house, &job, begun).await.unwrap();
    assert_eq!((slots(&house, "done").await, count_runs(&house).await), (1, 2));

    clock.set(at("2026-11-22T01:02:30Z"));
    house.stop.cancel();
    let moment = Moment::of(&house.project, Some(&job), Step::Plan, None).unwrap();
    let outcome = run(&house, &job, moment, false, Progress::lines()).await.unwrap();
    assert!(outcome.is_interrupted());
    assert_eq!((outcome.status, outcome.exit()), (RunStatus::Failed, Exit::Failed));
    house.stop = CancellationToken::new();
    clock.set(at("2026-11-22T01:03:00Z"));
    assert!(!run(&house, &job, moment, false, Progress::lines()).await.unwrap().is_interrupted());
}

#[tokio::test]
async fn a_run_whose_process_was_killed_is_shown_as_died_and_closed_by_the_next() {
    let (_root, _clock, house, job) = house("2026-11-22T01:20:00Z", HOURLY).await;
    let slot = at("2026-11-22T01:00:00Z");
    house.ledger.begin_run("killed", &job.name, slot, slot).await.unwrap();
    let held = JobLock::take(&house.project, &job.name).await.unwrap();
    assert_eq!(runs(&house, 9).await.unwrap()[0].status, RunStatus::Running);
    let busy = run(&house, &job, Moment { as_of: slot, replay: false, ahead: false }, false, Progress::lines()).await.unwrap_err();
    assert_eq!(busy.exit, Exit::Busy);
    drop(held);
    assert_eq!(runs(&house, 9).await.unwrap()[0].status, RunStatus::Died);
    run(&house, &job, Moment { as_of: slot, replay: false, ahead: false }, false, Progress::lines()).await.unwrap();
    let told: Vec<RunStatus> = runs(&house, 9).await.unwrap().iter().map(|run| run.status).collect();
    assert_eq!(told, [RunStatus::Done, RunStatus::Failed]);
}

#[tokio::test]
async fn a_day_stands_for_its_last_slot_and_none_lies_ahead_unless_it_is_written_out() {
    let evening = "schedule = \"30 23 * * *\"\ntimezone = \"Europe/Berlin\"\nsteps = [\"plan\"]\n";
    let (_root, clock, house, job) = house("2026-11-22T12:00:00Z", evening).await;
    let of = |asked: Option<&str>| Moment::of(&house.project, Some(&job), Step::Plan, asked);
    let live = at("2026-11-21T22:30:00Z");
    assert_eq!(of(None).unwrap(), Moment { as_of: live, replay: false, ahead: false });
    for today in ["today", "2026-11-22", "2026-11-21"] {
        assert_eq!(of(Some(today)).unwrap().as_of, live, "{today}: tonight's slot has not come");
    }
    for before in ["yesterday", "2026-11-20"] {
        assert_eq!(of(Some(before)).unwrap().as_of, at("2026-11-20T22:30:00Z"), "{before}");
    }
    assert_eq!(of(Some("2026-11-23")).unwrap_err().exit, Exit::Wrong);
    let ahead = of(Some("2026-11-23T01:00:00Z")).unwrap();
    assert!(ahead.replay && ahead.ahead);
    clock.set(at("2026-11-22T22:45:00Z"));
    assert_eq!(of(Some("today")).unwrap().as_of, at("2026-11-22T22:30:00Z"));
    // The day of 25 hours keeps its late slot as well.
    assert_eq!(job.slot_on("2026-10-25".parse().unwrap()), Some(at("2026-10-25T22:30:00Z")));
}

#[tokio::test]
async fn the_practice_shop_is_not_asked_about_a_time_ahead_of_the_live_tables() {
    let pulling = HOURLY.replace("\"tidy\"", "\"pull\", \"build\"");
    let (_root, _clock, house, job) = house("2026-11-22T01:20:00Z", &pulling).await;
    let moment = Moment::of(&house.project, Some(&job), Step::Plan, Some("2027-01-01T00:00:00Z")).unwrap();
    let refused = run(&house, &job, moment, false, Progress::lines()).await.unwrap_err();
    assert_eq!((refused.exit, refused.diagnosis.code.as_str()), (Exit::Wrong, "as_of_ahead"));
    assert!(house.lake.tables().await.unwrap().is_empty());
}
