//! `kill -9` in the middle of a delivery, again and again: nobody twice, nobody skipped, every unknown outcome shown.

use std::{collections::BTreeSet, time::Duration};

use crate::support::{Folder, sink::Sink, skip};

const KILLS: usize = 30;
/// So many of the kills must find messages in hand; the last ones may come when everybody has been written to.
const MOST: usize = 25;

#[test]
fn thirty_kills_lose_nobody_and_reach_nobody_twice() {
    let Some(sink) = Sink::start(&[]) else { return skip("smtp-sink is not installed (Debian package postfix)") };
    // A shop of this size plans about 2,000 letters a night.
    let mut folder = Folder::practice(12_000);
    let run = folder.json(&["run", "nightly"]);
    assert_eq!(run["status"], "done");
    folder.send_to(&sink);
    let mut plans = Vec::new();
    let mut planned = 0;
    for campaign in ["win-back", "check-in", "first-thanks", "loyal-thanks"] {
        let plan = folder.plan_of(campaign);
        planned += plan["planned"].as_u64().unwrap();
        let id = plan["plan"].as_str().unwrap().to_owned();
        folder.run(&["approve", &id, "--by", "Mara"]).ended(0);
        plans.push(id);
    }
    assert!(planned >= 1_500, "{planned} letters are too few for {KILLS} kills");
    let (mut random, mut hits) = (17, 0);
    for _ in 0..KILLS {
        let mut delivery = folder
            .command(&["deliver", "--approved", "-q"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // A small linear congruential sequence: the moments differ from kill to kill and repeat from run to run.
        random = (random * 6_364_136_223 + 1_442_695_040) % 1_000_003;
        let goal = sink.files().len() + 1 + random % 12;
        while sink.files().len() < goal && delivery.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let running = delivery.try_wait().unwrap().is_none();
        let _ = delivery.kill();
        let _ = delivery.wait();
        hits += usize::from(running && in_hand(&folder) > 0);
    }
    eprintln!("{hits} of {KILLS} kills found messages in hand; {} of {planned} letters had been received by then", sink.files().len());
    assert!(hits >= MOST, "only {hits} of {KILLS} kills found messages in hand");
    let code = folder.run(&["deliver", "--approved"]).code;
    assert!(code == 0 || code == 3, "{code}");

    let received = sink.message_ids();
    let twice: Vec<_> = received.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "received twice: {twice:?}");
    let status = folder.json(&["status"]);
    let unknown: BTreeSet<String> =
        status["unknown"].as_array().unwrap().iter().map(|one| one["message_id"].as_str().unwrap().to_owned()).collect();
    let (mut total, mut accepted, mut open) = (0, 0, 0);
    for plan in &plans {
        let account = folder.run(&["deliver", plan, "--format", "json"]).json();
        total += account["planned"].as_u64().unwrap();
        accepted += account["accepted"].as_u64().unwrap();
        open += account["waiting"].as_u64().unwrap() + account["deferred"].as_u64().unwrap();
        let parts = ["accepted", "rejected", "deferred", "waiting", "unknown", "cancelled", "expired"];
        let sum: u64 = parts.iter().map(|part| account[*part].as_u64().unwrap()).sum();
        assert_eq!(sum, account["planned"].as_u64().unwrap(), "the account balances: {account}");
    }
    assert_eq!((total, open), (planned, 0), "nobody is skipped");
    eprintln!("{planned} planned, {accepted} accepted, {} unknown, {} received", unknown.len(), received.len());
    assert_eq!(accepted + unknown.len() as u64, planned, "accepted or shown as unknown");
    // What was accepted was seen; what was seen is accepted or unknown.
    assert!(
        received.len() as u64 >= accepted && received.len() as u64 <= accepted + unknown.len() as u64,
        "{} seen, {accepted} accepted",
        received.len()
    );
}

/// How many messages a process that was killed had reserved or on the wire, as its ledger says.
fn in_hand(folder: &Folder) -> i64 {
    let ledger = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path("data/ledger.db"));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let pool = sqlx::SqlitePool::connect_with(ledger).await.unwrap();
        let count = sqlx::query_scalar("select count(*) from recipients where state in ('reserved', 'committing')").fetch_one(&pool).await;
        pool.close().await;
        count.unwrap()
    })
}
