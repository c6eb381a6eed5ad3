//! Ten lines for "my own data": `init --preset csv`, two files, a reviewed plan.

use std::{fmt::Write, fs};

use chrono::{Duration, Utc};

use crate::support::Folder;

#[test]
fn two_csv_files_become_a_reviewed_plan() {
    let folder = Folder::empty();
    let dir = folder.root.path().to_str().unwrap().to_owned();
    folder.run(&["init", &dir, "--preset", "csv"]).ended(0);
    // Nothing is overwritten.
    folder.run(&["init", &dir, "--preset", "csv"]).ended(2);

    let day = |ago: i64| (Utc::now() - Duration::days(ago)).format("%Y-%m-%dT10:00:00Z").to_string();
    let mut customers =
        String::from("customer_id,email,first_name,last_name,phone,locale,timezone,country,birthday,created_at,marketing_consent\n");
    let mut orders = String::from("order_id,customer_id,ordered_at,status,currency,total,product,category\n");
    for (index, (name, consent)) in [("Ann", "yes"), ("Zoë", "yes"), ("O'Brien", "yes"), ("No", "no")].iter().enumerate() {
        let _ =
            writeln!(customers, "{index},{}@example.org,{name},Doe,,,,GB,,{},{consent}", name.to_lowercase().replace('\'', ""), day(400));
        for (number, ago) in [300, 270, 240, 200].iter().enumerate() {
            let _ = writeln!(orders, "{index}-{number},{index},{},paid,EUR,25.50,\"Coffee, dark\",coffee", day(*ago));
        }
    }
    fs::create_dir_all(folder.path("data-in")).unwrap();
    fs::write(folder.path("data-in/customers.csv"), customers).unwrap();
    fs::write(folder.path("data-in/orders.csv"), orders).unwrap();

    folder.run(&["check", "--offline"]).ended(0);
    let run = folder.json(&["run", "nightly"]);
    assert_eq!(run["status"], "done");
    let plan = folder.plan_of("win-back");
    assert_eq!(plan["in_segment"], 4, "{plan}");
    assert_eq!(plan["excluded"]["no_consent"], 1, "{plan}");
    let id = plan["plan"].as_str().unwrap();
    let page = fs::read_to_string(folder.path(&format!("data/plans/{id}/review.html"))).unwrap();
    assert!(!page.contains("PRACTICE DATA"));
    folder.run(&["approve", id, "--by", "Mara"]).ended(0);
    let account = folder.json(&["deliver", id]);
    let sent = account["accepted"].as_u64().unwrap() + account["waiting"].as_u64().unwrap();
    assert_eq!(sent, plan["planned"].as_u64().unwrap(), "accepted, or waiting for the end of quiet hours: {account}");
}

#[test]
fn the_practice_project_can_be_begun_elsewhere() {
    let folder = Folder::empty();
    let dir = folder.path("shop");
    folder.run(&["init", dir.to_str().unwrap()]).ended(0);
    for file in ["config/perennial.toml", "jobs/nightly.toml", "sql/segments/lapsed.sql", "config/sources/shop.toml"] {
        let written = fs::read(dir.join(file)).unwrap();
        assert_eq!(written, fs::read(crate::support::repository().join(file)).unwrap(), "{file}");
    }
}
