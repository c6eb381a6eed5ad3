//! Everything a person can get wrong ends with the right exit code and words that say what, where and what to do; and loses nothing.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;

use crate::support::{Answer, Folder};

/// An HTTP server that answers every request with the same bytes and counts them.
fn answering(reply: Vec<u8>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            let mut buffer = [0u8; 4096];
            if stream.read(&mut buffer).unwrap_or(0) > 0 {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(&reply);
            }
        }
    });
    (port, count)
}

/// The error of a failed command, which must have words and advice.
#[track_caller]
fn error(answer: Answer, code: i32) -> Value {
    let error = answer.ended(code).json()["error"].clone();
    assert!(error["code"].is_string() && error["message"].is_string(), "{error}");
    assert!(error["hint"].is_string(), "says what to do: {error}");
    error
}

fn night(folder: &Folder) -> Answer {
    folder.run(&["run", "nightly", "--format", "json"])
}

/// Everything of the lake that a later night must find unchanged.
fn rows(folder: &Folder) -> Value {
    folder.json(&["query", "select (select count(*) from orders) as orders, (select count(*) from customers) as customers"])
}

#[test]
fn a_source_that_answers_500_for_ever_ends_the_run_and_loses_nothing() {
    let folder = Folder::practice(300);
    assert_eq!(night(&folder).ended(0).json()["status"], "done");
    let before = rows(&folder);
    let (port, count) = answering(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops".to_vec());
    folder.edit("config/sources/shop.toml", "practice://shop", &format!("http://127.0.0.1:{port}"));
    let error = error(night(&folder), 1);
    assert!(error["message"].as_str().unwrap().contains("shop"), "{error}");
    assert!(count.load(Ordering::SeqCst) > 1, "it was tried more than once");
    assert_eq!(rows(&folder), before);
    // The source is back: the next run needs no help.
    folder.edit("config/sources/shop.toml", &format!("http://127.0.0.1:{port}"), "practice://shop");
    assert_eq!(night(&folder).ended(0).json()["status"], "done");
}

#[test]
fn a_page_that_breaks_half_way_leaves_the_table_as_it_was() {
    let folder = Folder::practice(300);
    night(&folder).ended(0);
    let before = rows(&folder);
    let half = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n{\"orders\":[{\"id\":\"1\",\"tot".to_vec();
    let (port, _) = answering(half);
    folder.edit("config/sources/shop.toml", "practice://shop", &format!("http://127.0.0.1:{port}"));
    let error = error(night(&folder), 1);
    assert!(error["message"].as_str().unwrap().contains("shop"), "{error}");
    assert_eq!(rows(&folder), before);
}

#[test]
fn a_typo_in_a_segment_names_file_line_and_the_nearest_column() {
    let folder = Folder::practice(300);
    folder.edit("sql/segments/lapsed.sql", "quiet_days", "quiet_dais");
    let checked = folder.run(&["check", "--offline", "--format", "json"]).ended(2).json();
    let finding = checked["findings"].as_array().unwrap().iter().find(|finding| finding["severity"] == "error").unwrap().clone();
    assert_eq!(finding["file"], "sql/segments/lapsed.sql", "{finding}");
    assert!(finding["line"].as_u64().unwrap() > 1, "{finding}");
    // The other five campaigns are planned all the same, and the run says that one is missing.
    let answer = night(&folder);
    assert_ne!(answer.code, 0);
    let plans = folder.json(&["plans"]);
    let campaigns: Vec<_> = plans.as_array().unwrap().iter().map(|plan| plan["campaign"].as_str().unwrap().to_owned()).collect();
    assert!(campaigns.contains(&"check-in".to_owned()) && !campaigns.contains(&"win-back".to_owned()), "{campaigns:?}");
}

#[test]
fn a_template_with_an_unknown_field_stops_its_plan_and_names_the_line() {
    let folder = Folder::practice(300);
    let file = "jobs/campaigns/check-in/email.txt";
    let text = fs::read_to_string(folder.path(file)).unwrap();
    fs::write(folder.path(file), format!("{text}\n{{{{ first_nmae }}}}\n")).unwrap();
    let checked = folder.run(&["check", "--offline", "--format", "json"]).ended(2).json();
    let finding = &checked["findings"][0];
    assert_eq!(finding["file"], file, "{finding}");
    assert!(finding["hint"].as_str().unwrap().contains("first_name"), "{finding}");
    let answer = night(&folder);
    assert_eq!(answer.code, 2, "{answer:#?}");
    let plans = folder.json(&["plans"]);
    assert!(plans.as_array().unwrap().iter().all(|plan| plan["campaign"] != "check-in"), "{plans}");
    assert!(plans.as_array().unwrap().iter().any(|plan| plan["campaign"] == "win-back"), "the others are planned: {plans}");
}

#[test]
fn a_null_in_one_row_excludes_that_person_and_no_other() {
    let folder = Folder::practice(1500);
    night(&folder).ended(0);
    let plan = folder.plan_of("check-in");
    let planned = plan["planned"].as_i64().unwrap();
    let somebody = folder.json(&["query", "select customer_id from at_risk where last_product is not null order by customer_id limit 400"]);
    assert!(planned > 1 && !somebody.as_array().unwrap().is_empty());
    // A letter that needs the product's name, and one person for whom it is not known.
    let template = "jobs/campaigns/check-in/email.txt";
    let text = fs::read_to_string(folder.path(template)).unwrap();
    fs::write(folder.path(template), format!("{text}\n{{{{ tip_for_you }}}}\n")).unwrap();
    let sent_to = sent(&folder, plan["plan"].as_str().unwrap());
    let victim = sent_to[0].clone();
    let sql = fs::read_to_string(folder.path("sql/segments/at_risk.sql")).unwrap();
    let wrapped = wrap(&sql, &format!("case when customer_id = '{victim}' then null else 'a tip' end as tip_for_you"));
    fs::write(folder.path("sql/segments/at_risk.sql"), wrapped).unwrap();
    folder.edit("jobs/campaigns/check-in/campaign.toml", "max_missing = \"1%\"", "max_missing = \"20%\"");
    night(&folder).ended(0);
    let plan = folder.plan_of("check-in");
    assert_eq!(plan["excluded"]["missing_field:tip_for_you"], 1, "{plan}");
    let now: Vec<String> = sent(&folder, plan["plan"].as_str().unwrap());
    let expected: Vec<String> = sent_to.into_iter().filter(|person| *person != victim).collect();
    assert_eq!(now, expected);
}

/// The people a plan would write to, read from its Parquet by the program's own query over the frozen file's ids.
pub(crate) fn sent(folder: &Folder, plan: &str) -> Vec<String> {
    let file = fs::File::open(folder.path(&format!("data/plans/{plan}/plan.parquet"))).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut people = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        let text = |name: &str| arrow::array::AsArray::as_string::<i32>(batch.column_by_name(name).unwrap()).clone();
        let (ids, decisions) = (text("customer_id"), text("decision"));
        people.extend((0..batch.num_rows()).filter(|row| decisions.value(*row) == "send").map(|row| ids.value(row).to_owned()));
    }
    people
}

/// A segment with one more column.
fn wrap(sql: &str, column: &str) -> String {
    let (header, body) = sql.split_once("--- */").unwrap();
    format!("{header}--- */\nselect *, {column} from (\n{}\n) as segment\n", body.trim().trim_end_matches(';'))
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    let folder = Folder::practice(300);
    folder.edit("jobs/campaigns/win-back/campaign.toml", "occasion =", "ocasion =");
    let error = error(night(&folder), 2);
    assert_eq!(
        (error["file"].as_str(), error["code"].as_str()),
        (Some("jobs/campaigns/win-back/campaign.toml"), Some("unknown_key")),
        "{error}"
    );
    assert!(error["hint"].as_str().unwrap().contains("occasion") && error["line"].as_u64().is_some(), "{error}");
    folder.edit("jobs/campaigns/win-back/campaign.toml", "ocasion =", "occasion =");
    folder.edit("config/perennial.toml", "postal_address", "postal_adress");
    assert_eq!(self::error(night(&folder), 2)["file"], "config/perennial.toml");
}

#[test]
fn an_unwritable_data_folder_is_named() {
    let folder = Folder::practice(300);
    // A file where the folder should be: also the superuser, whom permissions do not stop, cannot write there.
    fs::write(folder.path("data"), "in the way").unwrap();
    let error = error(night(&folder), 1);
    assert!(error["message"].as_str().unwrap().contains("data") || error["file"].as_str().unwrap_or_default().contains("data"), "{error}");
    assert_eq!(fs::read_to_string(folder.path("data")).unwrap(), "in the way");
}

#[test]
fn a_stale_plan_is_not_delivered() {
    let folder = Folder::practice(600);
    for campaign in ["check-in", "win-back", "first-thanks", "loyal-thanks"] {
        let file = format!("jobs/campaigns/{campaign}/campaign.toml");
        let text = fs::read_to_string(folder.path(&file)).unwrap();
        let text: String = text.lines().filter(|line| !line.starts_with("expires")).map(|line| format!("{line}\n")).collect();
        fs::write(folder.path(&file), format!("expires = \"1s\"\n{text}")).unwrap();
    }
    night(&folder).ended(0);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let plan = folder.json(&["plans"]);
    let plan = plan.as_array().unwrap().iter().find(|plan| plan["campaign"] == "win-back").unwrap()["plan"].as_str().unwrap().to_owned();
    let error = error(folder.run(&["approve", &plan, "--by", "Mara", "--format", "json"]), 2);
    assert_eq!(error["code"], "expired", "{error}");
    folder.run(&["deliver", &plan]).ended(2);
    assert!(folder.outbox().is_empty());
}

#[test]
fn a_plan_that_was_touched_after_review_is_not_delivered() {
    let folder = Folder::practice(600);
    night(&folder).ended(0);
    let plan = folder.plan_of("check-in")["plan"].as_str().unwrap().to_owned();
    folder.run(&["approve", &plan, "--by", "Mara"]).ended(0);
    let template = folder.path(&format!("data/plans/{plan}/templates/email.txt"));
    fs::write(&template, fs::read_to_string(&template).unwrap() + "\nPS: only today!\n").unwrap();
    error(folder.run(&["deliver", &plan, "--format", "json"]), 2);
    assert!(folder.outbox().is_empty());
}

#[test]
fn a_wrong_command_line_is_told_and_changes_nothing() {
    let folder = Folder::practice(300);
    assert!(error(folder.run(&["run", "nigthly", "--format", "json"]), 2)["hint"].as_str().unwrap().contains("nightly"));
    error(folder.run(&["run", "nightly", "--as-of", "soon", "--format", "json"]), 2);
    error(folder.run(&["approve", "no-such-plan", "--by", "Mara", "--format", "json"]), 2);
    error(folder.run(&["query", "delete from customers", "--format", "json"]), 2);
    folder.run(&["deliver"]).ended(2);
}
