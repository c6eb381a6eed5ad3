//! What an analyst does: look at a segment, change it, see who would come and go, test it; and that nothing of it reaches live tables.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use arrow::{array::RecordBatch, util::pretty::pretty_format_batches};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::support::{Folder, copy};

const GIT: [&str; 4] = ["-c", "user.name=An Analyst", "-c", "user.email=analyst@example.org"];

fn git(folder: &Folder, arguments: &[&str]) {
    let done = Command::new("git").arg("-C").arg(folder.root.path()).args(GIT).args(arguments).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn a_segment_is_changed_and_compared_before_anybody_is_written_to() {
    let folder = Folder::practice(1500);
    folder.json(&["pull"]);
    let built = folder.json(&["build"]);
    let tables = built["tables"].as_array().unwrap();
    let features = tables.iter().find(|table| table["name"] == "customer_features").unwrap();
    assert!(features["rows_read"].as_u64() > features["rows"].as_u64() && features["bytes_read"].as_u64() > Some(0), "{features}");
    let before = folder.json(&["query", "select count(*) as n from lapsed"])[0]["n"].as_u64().unwrap();
    git(&folder, &["init", "--quiet"]);
    git(&folder, &["add", "sql"]);
    git(&folder, &["commit", "--quiet", "-m", "as it came"]);

    // As built: nobody comes or goes.
    let same = folder.json(&["segment", "diff", "lapsed"]);
    assert_eq!((same["entered"].as_array().unwrap().len(), same["stayed"].as_u64(), same["changed"].as_u64()), (0, Some(before), Some(0)));

    folder.edit("sql/segments/lapsed.sql", "min_quiet_days = 60", "min_quiet_days = 200");
    folder.edit("sql/segments/lapsed.sql", "f.quiet_days,", "f.quiet_days + 1 as quiet_days,");
    let diff = folder.json(&["segment", "diff", "lapsed"]);
    let left = diff["left"].as_array().unwrap().len() as u64;
    assert!(left > 0 && left < before, "{left} of {before}");
    assert_eq!(diff["stayed"].as_u64(), Some(before - left));
    assert_eq!(diff["columns"]["quiet_days"].as_u64(), Some(before - left), "{}", diff["columns"]);
    let row = &diff["rows"][0]["columns"]["quiet_days"];
    assert_eq!(row[0].as_str().unwrap().parse::<i64>().unwrap() + 1, row[1].as_str().unwrap().parse::<i64>().unwrap());
    let shown = folder.run(&["segment", "diff", "lapsed"]).ended(0).stdout;
    assert!(shown.contains(&format!("0 entered, {left} left")) && shown.contains(" → "), "{shown}");

    // The same against the commit; and a model that was changed is computed on both sides.
    let against = folder.json(&["segment", "diff", "lapsed", "--against", "HEAD"]);
    assert_eq!((&against["left"], &against["columns"]), (&diff["left"], &diff["columns"]));
    git(&folder, &["checkout", "--quiet", "sql"]);
    folder.edit("sql/models/customer_features.sql", "where status <> 'cancelled'", "where status <> 'cancelled' and channel = 'web'");
    let model = folder.json(&["segment", "diff", "lapsed", "--against", "HEAD"]);
    assert!(!model["left"].as_array().unwrap().is_empty() || !model["entered"].as_array().unwrap().is_empty(), "{model}");
    git(&folder, &["checkout", "--quiet", "sql"]);
    let wrong = folder.run(&["segment", "diff", "lapsed", "--against", "no-such-branch", "--format", "json"]).ended(2).json();
    assert_eq!(wrong["error"]["code"], "git", "{wrong}");

    let preview = folder.json(&["segment", "preview", "lapsed", "--param", "min_quiet_days=200"]);
    assert_eq!(preview["people"].as_u64(), Some(before - left));
    let columns = preview["columns"].as_array().unwrap();
    let quiet = columns.iter().find(|column| column["name"] == "quiet_days").unwrap();
    let spread: u64 = quiet["histogram"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
    assert_eq!(spread, before - left, "{quiet}");
    folder.run(&["segment", "preview", "lapsed", "--param", "min_quite_days=200"]).ended(2);
    assert_eq!(folder.json(&["query", "select count(*) as n from lapsed"])[0]["n"].as_u64(), Some(before), "live tables stay");

    let plan = folder.run(&["explain", "lapsed"]).ended(0).stdout;
    assert!(plan.contains("customer_features") || plan.contains("DataSourceExec"), "{plan}");
    let run = folder.run(&["explain", "select count(*) from orders where channel = 'web'", "--run"]).ended(0).stdout;
    assert!(run.contains("output_rows"), "{run}");
    folder.run(&["explain", "select count(*) from order"]).ended(2);
}

#[test]
fn queries_come_from_a_prompt_a_file_or_the_command_line() {
    let folder = Folder::practice(300);
    folder.json(&["pull"]);
    folder.json(&["build", "customer_features"]);
    let piped = |input: &str| {
        let mut child = folder
            .command(&["query", "--format", "csv"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    assert_eq!(piped("select ';' as a;\nselect 1\n as b;\n"), (Some(0), "a\n;\nb\n1\n".to_owned()));
    assert_eq!(piped("select 2 as c"), (Some(0), "c\n2\n".to_owned()));
    assert_eq!(piped("select x;\nselect 1 as b;\n"), (Some(2), String::new()), "what is piped ends with its first mistake");
    let (code, functions) = piped("\\f\n\\d\n\\d customer_features\n\\q\nselect 1;\n");
    assert_eq!(code, Some(0));
    for known in ["months_between(a, b[, zone])", "shop__orders\n", "quiet_days", "recency"] {
        assert!(functions.contains(known), "{known} is not in {functions}");
    }
    std::fs::write(
        folder.path("question.sql"),
        "/* ---\nparams = { least = 3 }\n--- */\nselect min(orders) >= $least as ok from customer_features where orders >= $least",
    )
    .unwrap();
    let file = folder.path("question.sql");
    assert_eq!(folder.json(&["query", "-f", file.to_str().unwrap()])[0]["ok"], true);
    assert_eq!(folder.json(&["query", "-f", file.to_str().unwrap(), "--param", "least=1"])[0]["ok"], true);
}

#[test]
fn a_replay_needs_no_right_to_write_the_lake() {
    let mut folder = Folder::practice(300);
    folder.json(&["pull"]);
    folder.json(&["build"]);
    folder.set("PERENNIAL__LAKE__READ_ONLY", "true");
    let refused = folder.run(&["build", "--format", "json"]).ended(2).json();
    assert_eq!(refused["error"]["code"], "lake_read_only");
    let replay = folder.json(&["build", "lapsed", "--as-of", "yesterday"]);
    assert!(replay["build"].is_null(), "{replay}");
    let people = folder.json(&["segment", "preview", "lapsed"])["people"].as_u64();
    assert!(people.is_some());

    // Another machine that has the lake, and no ledger.
    std::fs::remove_file(folder.path("data/ledger.db")).unwrap();
    assert_eq!(folder.json(&["segment", "preview", "lapsed"])["people"].as_u64(), people);
    let counted = folder.json(&["query", "select count(*) as n from lapsed l join customers c on c.customer_id = l.customer_id"]);
    assert_eq!(counted[0]["n"].as_u64(), people);
}

#[test]
fn the_same_inputs_give_the_same_rows_however_many_cores_there_are() {
    let mut pulled = Folder::practice(1500);
    pulled.set("PERENNIAL__SANDBOX__SEED", "11");
    let as_of = "2026-11-20T01:00:00Z";
    pulled.json(&["pull"]);
    let tables: Vec<String> = ["models", "segments", "metrics"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(pulled.path("sql").join(folder)).unwrap())
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    // Everything a build wrote: the bytes of the rows in the order they were written, which for tables with a key is the key's.
    let contents = |partitions: &str| -> BTreeMap<String, String> {
        let mut folder = Folder::empty();
        copy(pulled.root.path(), folder.root.path());
        folder.set("PERENNIAL__ENGINE__PARTITIONS", partitions);
        let built = folder.json(&["build", "--as-of", as_of]);
        assert!(built["tables"].as_array().unwrap().iter().all(|table| table["outcome"] == "built"), "{built:#}");
        let scratch = std::fs::read_dir(folder.path("data/scratch")).unwrap().next().unwrap().unwrap().path();
        tables.iter().map(|table| (table.clone(), rows_of(&scratch.join(table)))).collect()
    };
    let two = contents("2");
    assert!(two.values().filter(|rows| !rows.is_empty()).count() > 20, "most tables have rows");
    for partitions in ["2", "1", "8"] {
        for (table, rows) in contents(partitions) {
            assert!(rows == two[&table], "{table} is another with {partitions} partitions");
        }
    }
}

/// The rows of a table that was written once, as text in the order of its files.
fn rows_of(table: &Path) -> String {
    let mut files: Vec<_> = std::fs::read_dir(table).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "parquet"));
    files.sort();
    let mut text = String::new();
    for file in files {
        let rows = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap().build().unwrap();
        let rows: Vec<RecordBatch> = rows.map(Result::unwrap).collect();
        text += &pretty_format_batches(&rows).unwrap().to_string();
    }
    text
}

#[test]
fn every_shipped_file_passes_its_tests_and_audits() {
    let folder = Folder::practice(300);
    let untouched = folder.run(&["test", "customer_products", "--format", "json"]).ended(0).json();
    assert_eq!(untouched["audits"], serde_json::json!([]));
    assert!(!folder.path("data/ledger.db").exists(), "tests begin no ledger");
    folder.json(&["run", "nightly"]);
    let report = folder.json(&["test"]);
    let cases = report["cases"].as_array().unwrap();
    assert!(cases.len() > 200 && cases.iter().all(|case| case["outcome"] == "passed"), "{} cases", cases.len());
    let audits = report["audits"].as_array().unwrap();
    assert!(audits.len() > 25 && audits.iter().all(|audit| audit["failed"].is_null()), "{audits:#?}");
    // Every file that makes a table is tested.
    for folder_of in ["models", "segments", "metrics", "staging"] {
        for entry in std::fs::read_dir(folder.path("sql").join(folder_of)).unwrap() {
            let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
            assert!(cases.iter().any(|case| case["test"] == name.as_str()), "{folder_of}/{name}.sql has no test");
        }
    }
    folder.edit("sql/segments/lapsed.sql", "rows(0, 500000)", "rows(0, 1)");
    let failed = folder.run(&["test", "lapsed", "--format", "json"]).ended(2).json();
    let audit = failed["audits"].as_array().unwrap().iter().find(|audit| audit["table"] == "lapsed").unwrap();
    assert_eq!((audit["failed"]["code"].as_str(), audit["failed"]["line"].as_u64()), (Some("audit"), Some(4)), "{audit}");
}
