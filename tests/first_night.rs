//! What a newcomer does: the README's first command, then approving and delivering.

use std::collections::BTreeSet;

use crate::support::Folder;

const CAMPAIGNS: [&str; 6] = ["check-in", "first-thanks", "loyal-thanks", "make-it-right", "vip-handoff", "win-back"];

#[test]
fn the_first_command_plans_all_six_campaigns_and_sends_nothing() {
    let folder = Folder::practice(5000);
    let run = folder.json(&["run", "nightly"]);
    assert_eq!((run["status"].as_str(), run["plans"].as_array().unwrap().len()), (Some("done"), 6), "{run:#}");
    let customers = folder.json(&["query", "select count(*) as n from customers"]);
    assert!(customers[0]["n"].as_i64().unwrap() >= 4500, "{customers}");
    let mut planned = 0;
    for campaign in CAMPAIGNS {
        let plan = folder.plan_of(campaign);
        let id = plan["plan"].as_str().unwrap();
        let page = std::fs::read_to_string(folder.path(&format!("data/plans/{id}/review.html"))).unwrap();
        assert!(page.contains("PRACTICE DATA"), "{campaign}");
        assert!(page.contains(&format!("perennial approve {id}")), "{campaign}");
        assert!(!page.contains("http-equiv=\"refresh\"") && !page.contains("src=\"http"), "{campaign}: the page must be self-contained");
        let excluded: i64 = plan["excluded"].as_object().unwrap().values().map(|count| count.as_i64().unwrap()).sum();
        assert_eq!(plan["in_segment"].as_i64().unwrap(), plan["planned"].as_i64().unwrap() + excluded, "{plan}");
        assert!(plan["planned"].as_i64().unwrap() > 0, "{plan}");
        planned += plan["planned"].as_i64().unwrap();
    }
    assert_eq!(folder.outbox(), BTreeSet::new(), "nothing leaves the house before a person approves");

    // Nothing is delivered that nobody approved.
    let draft = folder.plan_of("win-back")["plan"].as_str().unwrap().to_owned();
    let refused = folder.run(&["deliver", &draft, "--format", "json"]).ended(2);
    assert_eq!(refused.json()["error"]["code"], "not_approved");
    assert_eq!(folder.outbox(), BTreeSet::new());

    for campaign in CAMPAIGNS {
        let plan = folder.plan_of(campaign)["plan"].as_str().unwrap().to_owned();
        folder.run(&["approve", &plan, "--by", "Mara"]).ended(0);
        let account = folder.json(&["deliver", &plan]);
        assert_eq!(account["accepted"], account["planned"], "{account}");
    }
    let outbox = folder.outbox();
    assert_eq!(outbox.len() as i64, planned, "the outbox holds exactly the planned messages");

    let again = folder.json(&["deliver", "--approved"]);
    assert_eq!(again, serde_json::json!([]));
    for campaign in CAMPAIGNS {
        let plans = folder.json(&["plans"]);
        let plan = plans.as_array().unwrap().iter().find(|plan| plan["campaign"] == campaign).unwrap()["plan"].as_str().unwrap().to_owned();
        let account = folder.json(&["deliver", &plan]);
        assert_eq!(account["this_run"]["accepted"], 0, "{account}");
    }
    assert_eq!(folder.outbox(), outbox, "the same commands again add none");

    // The same night again meets the same plans.
    let before: BTreeSet<String> = run["plans"].as_array().unwrap().iter().map(|plan| plan.as_str().unwrap().to_owned()).collect();
    let rerun = folder.json(&["run", "nightly"]);
    assert_eq!(rerun["plans"].as_array().unwrap().iter().map(|plan| plan.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>(), before);
    assert_eq!(folder.outbox(), outbox);
}

#[test]
fn two_nights_show_who_entered_and_who_left() {
    let folder = Folder::practice(2000);
    let last_night = folder.json(&["run", "nightly", "--as-of", "yesterday"]);
    let tonight = folder.json(&["run", "nightly"]);
    assert_ne!(last_night["as_of"], tonight["as_of"]);
    let plan = folder.plan_of("check-in")["plan"].as_str().unwrap().to_owned();
    let page = std::fs::read_to_string(folder.path(&format!("data/plans/{plan}/review.html"))).unwrap();
    assert!(page.contains("came into the segment") && page.contains("left it"), "the page says who entered and left since the last plan");
    // A replay is never delivered by accident.
    let replay = last_night["plans"][0].as_str().unwrap();
    folder.run(&["approve", replay, "--by", "Mara"]).ended(0);
    folder.run(&["deliver", replay]).ended(2);
    assert_eq!(folder.json(&["deliver", "--approved"]), serde_json::json!([]));
    let again = folder.run(&["run", "nightly", "--as-of", "yesterday", "--deliver", "--format", "json"]).ended(0);
    assert!(again.stderr.contains("a replay delivers nothing"), "{}", again.stderr);
    assert_eq!(again.json()["pulled"], serde_json::json!([]), "a replay does not move the live tables");
    assert_eq!(folder.outbox(), BTreeSet::new());
    let sent = folder.json(&["deliver", "--approved", "--allow-replay"]);
    assert_eq!(sent[0]["plan"], replay, "{sent}");
}
