//! A thousand letters in every script cross the connection and come out as they went in; a mail parser that is not ours reads them.

use std::{
    fs,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{
    Folder,
    approved::Approved,
    copy,
    relay::{KIND, Relay},
    repository, skip,
};

const PEOPLE: usize = 1000;

#[test]
fn a_thousand_letters_in_every_script_arrive_with_nothing_changed() {
    if Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err() {
        return skip("python3 is not installed");
    }
    let folder = Folder::empty();
    folder.run(&["init", folder.root.path().to_str().unwrap(), "--preset", "csv"]).ended(0);
    // Of the project that is written for a shop's own data stays what reads the two files; the campaign is the test's.
    for inside in ["jobs/campaigns", "sql/segments", "sql/models", "sql/metrics", "sql/tests"] {
        fs::remove_dir_all(folder.path(inside)).unwrap();
    }
    copy(&repository().join("tests/every_script"), folder.root.path());
    folder.edit(
        "config/sources/csv.toml",
        "marketing_consent =",
        "topic = \"text\"\nopening = \"text\"\nnote = \"text\"\nlink = \"text\"\nmarketing_consent =",
    );
    folder.edit("config/perennial.toml", "quiet_hours =", "# quiet_hours =");
    python(&["write", folder.path("data-in").to_str().unwrap()]);
    folder.json(&["pull"]);
    folder.json(&["build"]);
    folder.json(&["plan", "everybody"]);
    let approved = Approved::of(folder, "everybody");

    let relay = Relay::start(KIND);
    let mut folder = approved.copy();
    folder.send_to_port(relay.port);
    let delivered = approved.deliver(&folder, &[]);
    let refused: Vec<_> = delivered.lines.iter().filter(|(_, line)| line.state != "accepted").collect();
    assert_eq!((delivered.answer.code, delivered.count("accepted")), (0, PEOPLE), "{refused:#?}");

    let log = relay.log();
    let mail = tempfile::tempdir().unwrap();
    for (number, message) in log.taken.iter().enumerate() {
        fs::write(mail.path().join(format!("{number:04}")), message).unwrap();
    }
    let compared = python(&["compare", approved.project().to_str().unwrap(), mail.path().to_str().unwrap()]);
    eprintln!("{} letters compared; {} of them came in one breath with the next envelope", log.taken.len(), log.together);
    let compared: Value = serde_json::from_str(&compared).unwrap();
    assert_eq!(compared["wrong"], 0, "{compared:#}");
    for what in ["letters", "people", "ids"] {
        assert_eq!(compared[what], PEOPLE, "{compared:#}");
    }
}

/// Runs the script that makes people up and reads letters back; returns what it printed.
#[track_caller]
fn python(arguments: &[&str]) -> String {
    let script = repository().join("tests/every_script/letters.py");
    let output = Command::new("python3").arg(script).args(arguments).env("PYTHONUTF8", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
