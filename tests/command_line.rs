//! What every command promises: one document for programs, words for people, a line for a log; and ids, addresses and folders taken at
//! their word.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Answer, Folder};

/// The error of a command that a program ran.
#[track_caller]
fn error(folder: &Folder, arguments: &[&str], code: i32) -> Value {
    let all = [arguments, &["--format", "json"]].concat();
    let error = folder.run(&all).ended(code).json()["error"].clone();
    assert!(error["message"].is_string() && error["hint"].is_string(), "{error}");
    error
}

#[test]
fn a_command_line_nobody_can_read_is_told_as_json_where_json_was_asked_for() {
    let folder = Folder::empty();
    assert_eq!(error(&folder, &["plns"], 2)["code"], "usage");
    let missing = error(&folder, &["approve", "some-plan"], 2);
    assert!(missing["message"].as_str().unwrap().contains("--by"), "{missing}");
    let answer = folder.run(&["run", "--format=json"]).ended(2);
    assert_eq!(answer.json()["error"]["code"], "usage");
    let text = folder.run(&["plns"]).ended(2);
    assert!(text.stdout.is_empty() && text.stderr.contains("Usage"), "{text:#?}");
    for asked in ["--help", "--version"] {
        let answer = folder.run(&[asked, "--format", "json"]).ended(0);
        assert!(answer.stdout.contains("perennial") && !answer.stdout.contains('{'), "{answer:#?}");
    }
}

#[test]
fn a_failure_is_a_line_of_a_json_log() {
    let folder = Folder::practice(300);
    folder.edit("config/perennial.toml", "postal_address", "postal_adress");
    let line = |answer: Answer| -> Value { serde_json::from_str(answer.stderr.trim()).unwrap_or_else(|_| panic!("{answer:#?}")) };
    let answer = folder.run(&["plans", "--log-format", "json"]).ended(2);
    assert!(answer.stdout.is_empty());
    let told = line(answer);
    assert_eq!((&told["level"], &told["code"], &told["file"]), (&json!("ERROR"), &json!("unknown_key"), &json!("config/perennial.toml")));
    assert_eq!((&told["line"].is_u64(), &told["hint"]), (&true, &json!("did you mean `postal_address`?")));
    assert_eq!(line(folder.run(&["plns", "--log-format", "json"]).ended(2))["code"], "usage");
}

#[test]
fn a_null_is_written() {
    let folder = Folder::practice(300);
    let sql = "select 1 as a, cast(null as text) as b";
    assert_eq!(folder.json(&["query", sql]), json!([{ "a": 1, "b": null }]));
    assert_eq!(folder.run(&["query", sql, "--format", "ndjson"]).ended(0).stdout, "{\"a\":1,\"b\":null}\n");
    assert_eq!(folder.json(&["query", "select 1 as a where false"]), json!([]));
}

#[test]
fn a_secret_in_plain_is_never_shown() {
    let mut folder = Folder::practice(300);
    folder.edit("config/perennial.toml", "master = { file = \"config/practice.key\" }", "master = \"s3cret-of-ours\"");
    let shown = |folder: &Folder| {
        for arguments in [&["plans"][..], &["plans", "--format", "json"], &["plans", "--log-format", "json"], &["check", "--offline"]] {
            let answer = folder.run(arguments).ended(2);
            let said = format!("{}{}", answer.stdout, answer.stderr);
            assert!(!said.contains("s3cret") && said.contains("env = "), "{said}");
        }
    };
    shown(&folder);
    folder.edit("config/perennial.toml", "master = \"s3cret-of-ours\"", "master = { file = \"config/practice.key\" }");
    folder.set("PERENNIAL__KEYS__MASTER", "s3cret-of-ours");
    shown(&folder);
}

#[test]
fn tables_and_files_are_described_before_anything_was_pulled() {
    let folder = Folder::practice(300);
    let listed = folder.json(&["schema"]);
    let names = |list: &str, key: &str| -> Vec<String> {
        listed[list].as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("files", "name"), ["perennial", "source", "job", "campaign", "api", "test", "front-matter"]);
    assert!(
        ["orders", "sends", "customer_features", "lapsed", "retention", "shop__orders"]
            .iter()
            .all(|table| { names("tables", "table").iter().any(|name| name == table) })
    );
    let orders = folder.json(&["schema", "orders"]);
    assert_eq!((&orders["columns"][0]["name"], &orders["columns"][0]["nullable"]), (&json!("order_id"), &json!(false)));
    assert_eq!(folder.json(&["schema", "campaign"])["properties"]["segment"]["type"], "string");
    assert_eq!(error(&folder, &["schema", "ordres"], 2)["hint"], "did you mean `orders`?");
    folder.run(&["schema", "--write", folder.path("schemas").to_str().unwrap()]).ended(0);
    assert!(folder.path("schemas/front-matter.json").is_file() && !folder.path("data/lake").exists());
    // A table may be called as a kind of file is.
    fs::copy(folder.path("sql/models/next_product.sql"), folder.path("sql/models/job.sql")).unwrap();
    let warned = folder.run(&["schema", "job"]).ended(0);
    assert!(warned.json()["properties"]["steps"].is_object() && warned.stderr.contains("schema --table job"), "{warned:#?}");
    assert_eq!(folder.json(&["schema", "--table", "job"])["kind"], "model");
}

#[test]
fn init_writes_where_it_is_told() {
    let folder = Folder::empty();
    folder.run(&["init", "--preset", "csv"]).ended(0);
    assert!(folder.path("config/perennial.toml").is_file());
    assert!(fs::read_to_string(folder.path(".gitignore")).unwrap().contains("/data\n"));
    folder.run(&["init", "practice"]).ended(0);
    assert_eq!(fs::read_to_string(folder.path("practice/.gitignore")).unwrap(), "/data\n");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let folder = Folder::practice(300);
    folder.edit("config/perennial.toml", "signed_by", "sined_by");
    folder.edit("config/perennial.toml", "color = ", "colour = ");
    folder.edit("jobs/campaigns/win-back/campaign.toml", "segment =", "segmnt =");
    folder.edit("jobs/campaigns/check-in/campaign.toml", "occasion = \"last_order_id\"", "occasion = \"last_oder_id\"");
    fs::write(folder.path("jobs/weekly.toml"), "schedule = \"0 2 * * 7\"\ntimezone = \"Europe/Berlin\"\nsteps = [\"pul\"]\n").unwrap();
    let checked = folder.run(&["check", "--offline", "--format", "json"]).ended(2).json();
    let findings = checked["findings"].as_array().unwrap();
    let about = |file: &str, words: &str| {
        findings.iter().any(|one| one["file"] == file && format!("{} {}", one["message"], one["hint"]).contains(words))
    };
    for (file, words) in [
        ("config/perennial.toml", "signed_by"),
        ("config/perennial.toml", "`color`"),
        ("jobs/campaigns/win-back/campaign.toml", "`segment`"),
        ("jobs/campaigns/check-in/campaign.toml", "`last_order_id`"),
        ("jobs/weekly.toml", "`pull`"),
    ] {
        assert!(about(file, words), "{file}: {words}: {checked:#}");
    }
}

#[test]
fn a_letter_without_a_way_out_is_an_error() {
    let folder = Folder::practice(300);
    let file = "jobs/campaigns/loyal-thanks/email.txt";
    let text = fs::read_to_string(folder.path(file)).unwrap();
    fs::write(folder.path(file), text.replace("unsubscribe_url", "brand.url")).unwrap();
    let checked = folder.run(&["check", "--offline", "--format", "json"]).ended(2).json();
    let finding = &checked["findings"][0];
    assert_eq!((&finding["code"], &finding["file"]), (&json!("no_way_out"), &json!(file)), "{checked:#}");
}

#[test]
fn plans_without_their_ledger_stop_every_command() {
    let folder = Folder::practice(300);
    folder.json(&["run", "nightly"]);
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _ = fs::remove_file(folder.path("data").join(file));
    }
    let commands: [&[&str]; 7] = [
        &["plans"],
        &["status"],
        &["build"],
        &["approve", "some-plan", "--by", "Mara"],
        &["deliver", "--approved"],
        &["run", "nightly", "--deliver"],
        &["why", "shop:1"],
    ];
    for command in commands {
        assert_eq!(error(&folder, command, 2)["code"], "ledger_missing", "{command:?}");
    }
    assert_eq!(folder.run(&["check", "--offline", "--format", "json"]).ended(2).json()["findings"][0]["code"], "ledger_missing");
    assert!(!folder.path("data/ledger.db").exists(), "none is made in its place");
}

#[test]
fn suppressing_and_asking_why_take_people_by_the_ids_they_have() {
    let folder = Folder::practice(600);
    assert_eq!(error(&folder, &["why", "shop:1"], 2)["code"], "no_plan");
    assert!(error(&folder, &["why", "shop:1"], 2)["hint"].as_str().unwrap().contains("perennial run nightly"));
    assert_eq!(error(&folder, &["suppress", "add", "--customer", "shop:1"], 2)["code"], "not_built");
    folder.json(&["run", "nightly"]);

    assert!(error(&folder, &["why", "shop:1", "winback"], 2)["hint"].as_str().unwrap().contains("win-back"));
    assert_eq!(error(&folder, &["why", "nobody:1"], 2)["code"], "unknown_customer");
    // Somebody who is known at two sources goes by one id, and is found by the other.
    let merged = "select customer_id, source || ':' || source_id as alias from identities where customer_id <> source || ':' || source_id order by 1, 2 limit 1";
    let merged = folder.json(&["query", merged]);
    let [person, alias] = ["customer_id", "alias"].map(|name| merged[0][name].as_str().unwrap());
    assert_eq!(folder.json(&["why", alias]), folder.json(&["why", person]));
    assert!(folder.run(&["why", alias]).ended(0).stdout.starts_with(&format!("{alias} is {person}\n")));

    assert_eq!(error(&folder, &["suppress", "add", "anna"], 2)["code"], "not_an_address");
    assert_eq!(error(&folder, &["suppress", "remove", "anna@example.org", "--marketing"], 2)["code"], "usage");
    assert_eq!(error(&folder, &["suppress", "add", "--customer", "nobody:1"], 2)["code"], "unknown_customer");
    folder.json(&["suppress", "add", "--customer", alias, "--by", "Mara"]);
    let listed = folder.json(&["suppress", "list"]);
    assert_eq!((listed[0]["customer_id"].as_str(), &listed[0]["address"]), (Some(person), &Value::Null));
    assert_eq!(folder.json(&["suppress", "remove", "--customer", person]), json!({ "lifted": 1 }));
}

#[test]
fn tidy_leaves_what_belongs_to_an_open_plan() {
    let mut folder = Folder::practice(1500);
    folder.json(&["run", "nightly"]);
    let [sent, open] = ["win-back", "check-in"].map(|campaign| folder.plan_of(campaign)["plan"].as_str().unwrap().to_owned());
    for plan in [&sent, &open] {
        folder.run(&["approve", plan, "--by", "Mara"]).ended(0);
    }
    folder.json(&["deliver", &sent]);
    let of_sent = folder.outbox();
    folder.json(&["deliver", &open, "--first", "2"]);
    let of_open: Vec<String> = folder.outbox().difference(&of_sent).cloned().collect();
    assert_eq!(of_open.len(), 2);
    folder.set("PERENNIAL__REVIEW__KEEP_DAYS", "0");
    let tidied = folder.json(&["tidy"]);
    assert_eq!(tidied["outbox_files"], of_sent.len(), "{tidied}");
    assert_eq!(folder.outbox().into_iter().collect::<Vec<_>>(), of_open);
    assert!(folder.path(&format!("data/plans/{open}/plan.parquet")).is_file());
}
