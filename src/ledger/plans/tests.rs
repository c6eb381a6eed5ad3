//! A plan's life, against a real ledger.

use chrono::{TimeDelta, TimeZone};

use super::*;
use crate::ledger::LedgerSettings;

async fn ledger() -> (tempfile::TempDir, Ledger) {
    let root = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(root.path(), &LedgerSettings::default()).await.unwrap();
    (root, ledger)
}

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 22, 1, 0, 0).unwrap()
}

fn plan(name: &str) -> NewPlan {
    NewPlan {
        plan: PlanId::new(name),
        campaign: "win-back".into(),
        kind: "marketing".into(),
        channel: "email".into(),
        segment: "lapsed".into(),
        as_of: now(),
        replay: false,
        hash: format!("hash-{name}"),
        in_segment: 3,
        planned: 2,
        excluded: BTreeMap::from([("holdout".into(), 1)]),
        expires_at: now() + TimeDelta::hours(24),
        run: None,
    }
}

async fn drafted(ledger: &Ledger, name: &str) -> PlanRecord {
    match ledger.draft(&plan(name), now()).await.unwrap() {
        Drafted::New(record) => record,
        other => panic!("{other:?}"),
    }
}

fn code(error: &ActError) -> String {
    assert_eq!(error.exit(), Exit::Wrong);
    error.diagnosis().code
}

#[test]
fn the_state_table_is_the_contract() {
    use PlanStatus::{Approved, Delivering, Draft, Held, Rejected, Stopped};
    for status in PlanStatus::ALL {
        let expected = |act| match (act, status) {
            (Act::Approve, Draft) => Some(Approved),
            (Act::Reject, Draft) => Some(Rejected),
            (Act::Hold, Draft | Approved | Delivering) => Some(Held),
            (Act::Cancel, Approved | Delivering) => Some(Stopped),
            _ => None,
        };
        for act in [Act::Approve, Act::Reject, Act::Hold, Act::Resume, Act::Cancel] {
            if status != Held {
                assert_eq!(after(status, None, act), expected(act), "{status} {act:?}");
            }
        }
    }
    for from in [Draft, Approved, Delivering] {
        assert_eq!(after(Held, Some(from), Act::Resume), Some(from));
        assert_eq!(after(Held, Some(from), Act::Approve), None);
        assert_eq!(after(Held, Some(from), Act::Cancel), (from != Draft).then_some(Stopped));
        assert_eq!(after(Held, Some(from), Act::Reject), (from == Draft).then_some(Rejected));
    }
}

#[tokio::test]
async fn a_newer_draft_supersedes_and_an_approved_plan_blocks() {
    let (_root, ledger) = ledger().await;
    drafted(&ledger, "a").await;
    assert!(matches!(ledger.draft(&plan("a"), now()).await.unwrap(), Drafted::Known(_)));
    drafted(&ledger, "b").await;
    assert_eq!(ledger.plan(&PlanId::new("a")).await.unwrap().unwrap().status, PlanStatus::Superseded);
    let error = ledger.approve(&PlanId::new("a"), "Mara", "hash-a", &[], now()).await.unwrap_err();
    assert_eq!(code(&error), "not_a_draft");

    ledger.approve(&PlanId::new("b"), "Mara", "hash-b", &[], now()).await.unwrap();
    let Drafted::Blocked(blocking) = ledger.draft(&plan("c"), now()).await.unwrap() else { panic!("not blocked") };
    assert_eq!(blocking.plan.as_str(), "b");
    ledger.hold(&PlanId::new("b"), None, None, now()).await.unwrap();
    assert!(matches!(ledger.draft(&plan("c"), now()).await.unwrap(), Drafted::Blocked(_)));

    let replay = NewPlan { replay: true, ..plan("r") };
    assert!(matches!(ledger.draft(&replay, now()).await.unwrap(), Drafted::New(_)), "a replay is not blocked by a live plan");
    assert_eq!(ledger.plans(Some("win-back")).await.unwrap().len(), 3);
}

#[tokio::test]
async fn the_same_content_planned_again_is_the_draft_that_stands() {
    let (_root, ledger) = ledger().await;
    let status = async |name: &str| ledger.plan(&PlanId::new(name)).await.unwrap().unwrap().status;
    drafted(&ledger, "a").await;
    drafted(&ledger, "b").await;
    // Somebody took their edit back.
    drafted(&ledger, "a").await;
    assert_eq!((status("a").await, status("b").await), (PlanStatus::Draft, PlanStatus::Superseded));

    let late = now() + TimeDelta::hours(30);
    ledger.expire_drafts(late).await.unwrap();
    let again = NewPlan { expires_at: late + TimeDelta::hours(24), ..plan("a") };
    let Drafted::New(record) = ledger.draft(&again, late).await.unwrap() else { panic!("it stays expired") };
    assert_eq!((record.status, record.expires_at), (PlanStatus::Draft, again.expires_at));
    let events = ledger.plan_events(&record.plan).await.unwrap();
    let told: Vec<&str> = events.iter().map(|event| event.what.as_str()).collect();
    assert_eq!(told, ["created", "superseded", "planned_again", "expired", "planned_again"]);

    ledger.reject(&record.plan, "Mara", "no", late).await.unwrap();
    assert!(matches!(ledger.draft(&again, late).await.unwrap(), Drafted::Known(known) if known.status == PlanStatus::Rejected));
    let promised = drafted(&ledger, "c").await.plan;
    ledger.approve(&promised, "Mara", "hash-c", &[], now()).await.unwrap();
    assert!(matches!(ledger.draft(&plan("b"), now()).await.unwrap(), Drafted::Blocked(_)), "what is promised goes first");
}

#[tokio::test]
async fn a_plan_whose_time_ran_out_is_shown_as_expired_before_anybody_closes_it() {
    let (_root, ledger) = ledger().await;
    let id = drafted(&ledger, "a").await.plan;
    let late = now() + TimeDelta::hours(24);
    let at = async |time| ledger.plan(&id).await.unwrap().unwrap().at(time).status;
    assert_eq!((at(now()).await, at(late).await), (PlanStatus::Draft, PlanStatus::Expired));
    ledger.approve(&id, "Mara", "hash-a", &[], now()).await.unwrap();
    ledger.hold(&id, None, None, now()).await.unwrap();
    assert_eq!((at(now()).await, at(late).await), (PlanStatus::Held, PlanStatus::Expired));
}

#[tokio::test]
async fn a_held_draft_gives_way_to_a_newer_one() {
    let (_root, ledger) = ledger().await;
    drafted(&ledger, "a").await;
    ledger.hold(&PlanId::new("a"), Some("Mara"), None, now()).await.unwrap();
    drafted(&ledger, "b").await;
    assert_eq!(ledger.plan(&PlanId::new("a")).await.unwrap().unwrap().status, PlanStatus::Superseded);
}

#[tokio::test]
async fn an_approval_is_bound_to_the_hash_and_to_time() {
    let (_root, ledger) = ledger().await;
    let id = drafted(&ledger, "a").await.plan;
    assert_eq!(code(&ledger.approve(&id, "Mara", "another", &[], now()).await.unwrap_err()), "plan_changed");
    let late = now() + TimeDelta::hours(24);
    assert_eq!(code(&ledger.approve(&id, "Mara", "hash-a", &[], late).await.unwrap_err()), "plan_expired");
    assert_eq!(ledger.expire_drafts(late - TimeDelta::seconds(1)).await.unwrap(), []);
    assert_eq!(ledger.expire_drafts(late).await.unwrap(), std::slice::from_ref(&id));
    assert_eq!(ledger.plan(&id).await.unwrap().unwrap().status, PlanStatus::Expired);
    assert_eq!(code(&ledger.reject(&id, "Mara", "late", late).await.unwrap_err()), "plan_expired");
    assert_eq!(code(&ledger.approve(&PlanId::new("zzz"), "Mara", "", &[], now()).await.unwrap_err()), "unknown_plan");
}

#[tokio::test]
async fn approval_records_control_group_and_variants_once() {
    let (_root, ledger) = ledger().await;
    let id = drafted(&ledger, "a").await.plan;
    let arm = |customer: &str, arm: &str| Assignment { customer_id: CustomerId::new(customer), occasion: "o".into(), arm: arm.into() };
    ledger.approve(&id, "Mara", "hash-a", &[arm("1", "holdout"), arm("2", "plain")], now()).await.unwrap();
    let rows: Vec<(String, String)> =
        query_as("select customer_id, arm from assignments order by customer_id").fetch_all(ledger.pool()).await.unwrap();
    assert_eq!(rows, [("1".into(), "holdout".into()), ("2".into(), "plain".into())]);
    let events = ledger.plan_events(&id).await.unwrap();
    assert_eq!(events.iter().map(|event| event.what.as_str()).collect::<Vec<_>>(), ["created", "approved"]);
    assert_eq!((events[1].by.as_deref(), events[1].hash.as_deref()), (Some("Mara"), Some("hash-a")));
}

#[tokio::test]
async fn hold_and_resume_come_back_to_where_they_were() {
    let (_root, ledger) = ledger().await;
    let id = drafted(&ledger, "a").await.plan;
    for expected in [PlanStatus::Draft, PlanStatus::Approved] {
        assert_eq!(ledger.hold(&id, None, None, now()).await.unwrap().status, PlanStatus::Held);
        assert_eq!(code(&ledger.hold(&id, None, None, now()).await.unwrap_err()), "plan_state");
        assert_eq!(ledger.resume(&id, None, now()).await.unwrap().status, expected);
        assert_eq!(code(&ledger.resume(&id, None, now()).await.unwrap_err()), "plan_state");
        if expected == PlanStatus::Draft {
            assert_eq!(code(&ledger.cancel(&id, None, now()).await.unwrap_err()), "plan_state");
            ledger.approve(&id, "Mara", "hash-a", &[], now()).await.unwrap();
        }
    }
    assert_eq!(code(&ledger.reject(&id, "Mara", "no", now()).await.unwrap_err()), "plan_state");
    assert_eq!(ledger.cancel(&id, Some("Mara"), now()).await.unwrap().status, PlanStatus::Stopped);
    assert_eq!(code(&ledger.cancel(&id, None, now()).await.unwrap_err()), "plan_state");
    assert_eq!(ledger.plan(&id).await.unwrap().unwrap().status, PlanStatus::Stopped);
}

#[tokio::test]
async fn the_summary_is_the_contract_s_json() {
    let (_root, ledger) = ledger().await;
    let summary = serde_json::to_value(drafted(&ledger, "a").await.summary()).unwrap();
    assert_eq!(
        summary,
        serde_json::json!({
            "plan": "a", "campaign": "win-back", "status": "draft", "as_of": "2026-11-22T01:00:00Z", "replay": false, "in_segment": 3,
            "planned": 2, "excluded": {"holdout": 1}, "hash": "hash-a", "expires_at": "2026-11-23T01:00:00Z"
        })
    );
}
