//! A project folder of its own for each test, and the real binary run in it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) mod apis;
pub(crate) mod approved;
pub(crate) mod authority;
#[allow(dead_code, reason = "the unit tests use the rest")]
#[path = "../../src/source/database/server.rs"]
pub(crate) mod database;
pub(crate) mod exim;
pub(crate) mod machine;
pub(crate) mod mailbox;
pub(crate) mod oracle;
pub(crate) mod postfix;
pub(crate) mod relay;
pub(crate) mod sink;

/// The repository, which is itself the practice project.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A copy of the practice project.
pub(crate) struct Folder {
    pub(crate) root: TempDir,
    variables: Vec<(String, String)>,
}

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    #[allow(dead_code, reason = "shown where a test fails")]
    pub(crate) stderr: String,
}

impl Answer {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The one JSON document on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}) on stdout: {self:#?}"))
    }

    /// Fails the test unless the command ended with `code`.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

impl Folder {
    /// The practice project with a shop of `customers`.
    pub(crate) fn practice(customers: u32) -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["config", "jobs", "sql"] {
            copy(&repository().join(folder), &root.path().join(folder));
        }
        let variables = vec![("PERENNIAL__SANDBOX__CUSTOMERS".to_owned(), customers.to_string())];
        Self { root, variables }
    }

    /// A project of a test's own, kept under `tests/`.
    pub(crate) fn of(project: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        copy(&repository().join("tests").join(project), root.path());
        Self { root, variables: Vec::new() }
    }

    /// An empty folder.
    pub(crate) fn empty() -> Self {
        Self { root: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    /// A copy of all a delivery reads and writes.
    pub(crate) fn for_delivery(&self) -> Self {
        let folder = Self::empty();
        for inside in ["config", "jobs", "sql", "data/plans"] {
            copy(&self.path(inside), &folder.path(inside));
        }
        for file in fs::read_dir(self.path("data")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            fs::copy(&file, folder.path("data").join(file.file_name().unwrap())).unwrap();
        }
        folder
    }

    /// The same with its ledger in a database, whose address is `url`.
    pub(crate) fn with_ledger_at(&mut self, url: &str) {
        fs::write(self.path("config/ledger.url"), url).unwrap();
        let settings = fs::read_to_string(self.path("config/perennial.toml")).unwrap();
        if !settings.contains("[ledger]") {
            let ledger = "\n[ledger]\nurl = { file = \"config/ledger.url\" }\nlease = \"2s\"\n";
            fs::write(self.path("config/perennial.toml"), settings + ledger).unwrap();
        }
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside)
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    /// Puts `new` in place of `old` in a file; fails the test where `old` does not stand there.
    #[track_caller]
    pub(crate) fn edit(&self, file: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(old), "`{old}` does not stand in {file}");
        fs::write(self.path(file), text.replacen(old, new, 1)).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perennial"));
        command.arg("--project").arg(self.root.path()).args(arguments);
        command.env_remove("PERENNIAL_ENV").envs(self.variables.iter().cloned());
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        Answer::of(&self.command(arguments).output().unwrap())
    }

    /// Runs a command that prints JSON and must end with 0.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let all = [arguments, &["--format", "json"]].concat();
        self.run(&all).ended(0).json()
    }

    /// The names of the files in the outbox.
    pub(crate) fn outbox(&self) -> BTreeSet<String> {
        match fs::read_dir(self.path("data/outbox")) {
            Ok(entries) => entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect(),
            Err(_) => BTreeSet::new(),
        }
    }

    /// The open plans, by campaign.
    pub(crate) fn plan_of(&self, campaign: &str) -> Value {
        let plans = self.json(&["plans"]);
        let open = |plan: &&Value| plan["campaign"] == campaign && plan["status"] != "superseded" && plan["replay"] == false;
        plans.as_array().unwrap().iter().find(open).unwrap_or_else(|| panic!("no plan of {campaign} in {plans:#}")).clone()
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Says why a test that needs something of the machine is skipped.
pub(crate) fn skip(what: &str) {
    eprintln!("skipped: {what}");
}
