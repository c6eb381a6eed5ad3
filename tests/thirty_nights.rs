//! Thirty nights with a clock that is moved by hand, across the night the clocks go forward: plans made and approved each night, some
//! delivered in the morning, the others by the next night's run, as people do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use perennial::{
    campaign,
    clock::{Clock, ManualClock},
    config::Folder as Settings,
    delivery::Options,
    diagnosis::Exit,
    job::{self, House, Job, Moment, Step},
    ledger::PlanStatus,
    project::Project,
    source::Progress,
};
use sqlx::{Row, SqlitePool, sqlite::SqliteConnectOptions};

use crate::support::Folder;

const NIGHTS: i64 = 30;

/// One letter that was accepted.
struct Sent {
    campaign: String,
    customer: String,
    occasion: String,
    kind: String,
    plan_as_of: DateTime<Utc>,
    at: DateTime<Utc>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_nights_keep_every_promise() {
    let folder = Folder::practice(700);
    let clock = Arc::new(ManualClock::at("2026-03-10T00:00:00Z".parse().unwrap()));
    let variables = [("PERENNIAL__SANDBOX__CUSTOMERS".to_owned(), "700".to_owned())];
    let settings = Settings::new(folder.root.path(), None, variables.into_iter());
    let project = Project::open(settings, clock.clone()).unwrap();
    let house = House::open(project).await.unwrap();
    let job = Job::load_all(house.project.folder()).unwrap().into_iter().find(|job| job.name == "nightly").unwrap();
    let mut slot = job.schedule.latest_due(clock.now()).unwrap();
    let mut slots = Vec::new();
    for night in 0..NIGHTS {
        slot = job.schedule.next(slot).unwrap();
        slots.push(slot);
        // Each night a minute later after its slot than the night before, as nights do: yesterday's plans must not have expired by then.
        clock.set(slot + TimeDelta::minutes(61 + night));
        let moment = Moment::of(&house.project, Some(&job), Step::Plan, None).unwrap();
        assert_eq!((moment.as_of, moment.replay), (slot, false));
        let outcome = job::run(&house, &job, moment, true, Progress::lines()).await.unwrap();
        assert!(outcome.failures.is_empty(), "night {night}: {:?}", outcome.failures);
        assert_ne!(outcome.exit(), Exit::Failed);
        assert_eq!(outcome.plans.len(), 6, "night {night}: every date finds people for all campaigns");
        clock.set(slot + TimeDelta::hours(7));
        for plan in &outcome.plans {
            let summary = house.ledger.plan(plan).await.unwrap().unwrap();
            if summary.status == PlanStatus::Draft && summary.planned > 0 {
                campaign::approve(house.project.root(), &house.ledger, house.project.keys(), plan, "Mara", clock.now()).await.unwrap();
                if matches!(summary.campaign.as_str(), "make-it-right" | "first-thanks" | "vip-handoff") {
                    job::deliver(&house, plan, Options::default()).await.unwrap();
                }
            }
        }
    }
    let sent = sent(&folder).await;
    assert!(sent.len() > 200, "the month wrote {} letters", sent.len());

    let mut occasions = BTreeSet::new();
    for letter in &sent {
        let occasion = (&letter.campaign, &letter.customer, &letter.occasion);
        assert!(occasions.insert(occasion), "{occasion:?} was heard about twice");
    }
    caps_hold(&sent);
    one_marketing_letter_a_night(&sent);
    nobody_who_bought_since_was_missed(&house, &sent).await;
    account_balances(&folder).await;
}

fn caps_hold(sent: &[Sent]) {
    let mut letters: BTreeMap<&str, Vec<DateTime<Utc>>> = BTreeMap::new();
    for letter in sent.iter().filter(|letter| letter.kind != "internal") {
        letters.entry(&letter.customer).or_default().push(letter.at);
    }
    for (customer, mut at) in letters {
        at.sort_unstable();
        for window in at.windows(5) {
            assert!(window[4] - window[0] > TimeDelta::days(30), "{customer} had five letters within thirty days");
        }
    }
}

fn one_marketing_letter_a_night(sent: &[Sent]) {
    let mut slots = BTreeSet::new();
    for letter in sent.iter().filter(|letter| letter.kind == "marketing") {
        assert!(slots.insert((&letter.customer, letter.plan_as_of)), "{} had two marketing letters of one night", letter.customer);
    }
}

/// A letter that misses somebody must not reach a person whose order the shop already knew of when it went out.
async fn nobody_who_bought_since_was_missed(house: &House, sent: &[Sent]) {
    let orders = house.lake.read("orders", house.ledger.published().await.unwrap().get("orders").copied()).await.unwrap();
    let mut bought: BTreeMap<String, Vec<DateTime<Utc>>> = BTreeMap::new();
    for batch in &orders {
        let text = |name: &str| arrow::array::AsArray::as_string::<i32>(batch.column_by_name(name).unwrap()).clone();
        let (customers, status) = (text("customer_id"), text("status"));
        let at =
            arrow::array::AsArray::as_primitive::<arrow::datatypes::TimestampMicrosecondType>(batch.column_by_name("ordered_at").unwrap())
                .clone();
        for row in 0..batch.num_rows() {
            if status.value(row) == "paid" {
                bought.entry(customers.value(row).to_owned()).or_default().push(DateTime::from_timestamp_micros(at.value(row)).unwrap());
            }
        }
    }
    for letter in sent.iter().filter(|letter| matches!(letter.campaign.as_str(), "win-back" | "check-in")) {
        // What the shop knew is what the last night's pull brought: orders up to that night's slot.
        let known = letter.at - TimeDelta::hours(2);
        let since = bought.get(&letter.customer).into_iter().flatten().find(|at| **at > letter.plan_as_of && **at <= known);
        assert_eq!(since, None, "{} was missed at {} though they had bought since", letter.customer, letter.at);
    }
}

async fn pool(folder: &Folder) -> SqlitePool {
    SqlitePool::connect_with(SqliteConnectOptions::new().filename(folder.path("data/ledger.db")).read_only(true)).await.unwrap()
}

async fn sent(folder: &Folder) -> Vec<Sent> {
    let sql = "select m.campaign, m.customer_id, m.occasion, m.kind, p.as_of, m.at from messages m join plans p using (plan) where m.state = 'accepted'";
    let rows = sqlx::query(sql).fetch_all(&pool(folder).await).await.unwrap();
    let instant = |micros: i64| DateTime::from_timestamp_micros(micros).unwrap();
    rows.iter()
        .map(|row| Sent {
            campaign: row.get(0),
            customer: row.get(1),
            occasion: row.get(2),
            kind: row.get(3),
            plan_as_of: instant(row.get(4)),
            at: instant(row.get(5)),
        })
        .collect()
}

async fn account_balances(folder: &Folder) {
    let pool = pool(folder).await;
    let unbalanced = "select p.plan, p.planned, count(r.customer_id) from plans p join recipients r using (plan) group by p.plan, p.planned having p.planned <> count(r.customer_id)";
    assert!(sqlx::query(unbalanced).fetch_all(&pool).await.unwrap().is_empty());
    let dropped: i64 = sqlx::query("select count(*) from recipients where reason = 'bought_since'").fetch_one(&pool).await.unwrap().get(0);
    assert!(dropped > 0, "in a month somebody bought between planning and sending");
}
