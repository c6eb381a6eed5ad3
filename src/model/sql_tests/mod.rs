//! SQL tests: given rows, expected rows. `sql/tests/*.toml`, one file a tested SQL file:
//!
//! ```toml
//! test = "lapsed"                          # or: file = "segments/lapsed.sql"
//! as_of = "2026-11-22T01:00:00Z"           # for all cases; each may have its own
//! params = { quiet_days = 90 }             # in place of the front matter's defaults; for all cases, or for one
//! brand = { timezone = "Europe/Berlin", currency = "EUR", locale = "en-GB" }   # UTC, EUR, en-GB where absent
//!
//! [default.orders]                         # values for columns that a given row does not name
//! status = "paid"
//!
//! [[case]]
//! name = "somebody who bought twice and went quiet is lapsed"
//! given.customers = [ { customer_id = "c1", email = "ann@example.org" } ]
//! given.orders = """
//! order_id, customer_id, ordered_at,           total_base, coupon_code
//! o1,       c1,          2026-01-05T10:00:00Z, 25.50,
//! o2,       c1,          2026-03-05T10:00:00Z, 19.00,      ""
//! """
//! expect = [ { customer_id = "c1", quiet_days = 261 } ]
//! partial = true                           # compare only the columns that `expect` names
//! ```
//!
//! - Rows are tables or CSV text with a header line. Spaces around unquoted cells are cut off, empty lines skipped. No order matters.
//! - NULL is a blank unquoted cell, a key left out, or `{}`; `""` is empty text; `[]` is no rows.
//! - Types are those of the tables themselves: canonical, of the ledger, declared by a source, or returned by another file. Decimals may
//!   be written as text or number and must fit their scale; instants as TOML datetimes or text (`2026-01-05` is midnight UTC); lists and
//!   structs as TOML arrays and tables, in CSV as quoted JSON.
//! - A column the table does not have is an error, as is a table the file does not read, directly or through others. A canonical, ledger
//!   or raw table that is not given is empty; a model that is read and not given is computed from what is given.
//! - `expect_in.placed = [ … ]` expects rows of the file's `with` clause `placed`, beside or instead of `expect`.
//! - `expect` is whole unless `partial`: exactly these rows, every column named by at least one of them.
//!
//! | file | what lives there |
//! |---|---|
//! | `format.rs` | the TOML of a test file |
//! | `rows.rs` | written rows into typed ones, by the schema of their table |
//! | `run.rs` | a case run in a session of its own |
//! | `compare.rs` | what is missing, what is too much |

mod compare;
mod format;
mod rows;
mod run;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::datatypes::SchemaRef;
pub use format::TEST_FILE;
use futures::{StreamExt, stream};
use serde::Serialize;

use super::Library;
use crate::{diagnosis::Diagnosis, engine::Engine};

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseOutcome {
    /// The rows are those expected.
    Passed,
    /// They are not; line by line, what is missing (`-`) and what is too much (`+`).
    Failed(Vec<String>),
    /// The test itself, or the SQL, cannot be used.
    Broken(Diagnosis),
}

/// One case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseReport {
    /// The test file.
    pub file: PathBuf,
    /// The tested SQL file's name.
    pub test: String,
    /// The case; empty where the whole file cannot be used.
    pub name: String,
    /// The case's line in the test file.
    pub line: Option<usize>,
    /// What became of it.
    pub outcome: CaseOutcome,
}

/// All cases, in the order they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TestReport {
    /// The cases.
    pub cases: Vec<CaseReport>,
}

impl TestReport {
    /// Whether every case passed.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.cases.iter().all(|case| case.outcome == CaseOutcome::Passed)
    }

    /// How many passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.cases.iter().filter(|case| case.outcome == CaseOutcome::Passed).count()
    }
}

/// One case, as its file tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseEntry {
    /// The test file.
    pub file: PathBuf,
    /// The tested SQL file's name.
    pub test: String,
    /// What the case promises.
    pub name: String,
}

/// The cases of `sql/tests` without running them, in the order of the files, and what is wrong with files that cannot be used.
#[must_use]
pub fn test_cases(root: &Path) -> (Vec<CaseEntry>, Vec<Diagnosis>) {
    let (cases, broken) = read_all(root);
    let cases = cases.into_iter().map(|case| CaseEntry { file: case.file, test: case.test, name: case.name });
    (cases.collect(), broken.into_iter().map(|(_, diagnosis)| diagnosis).collect())
}

/// What is wrong with the text of a test file, as far as it shows without the tested one, and with the rows it gives of canonical tables.
#[doc(hidden)] // For the fuzzer: what `run_tests` does before it runs a query.
#[must_use]
pub fn test_file_problems(text: &str, path: &Path) -> Vec<Diagnosis> {
    match format::read(text, path) {
        Ok(file) => file.cases().iter().flat_map(run::problems).collect(),
        Err(diagnosis) => vec![*diagnosis],
    }
}

/// The cases of all test files, and the files that cannot be used.
fn read_all(root: &Path) -> (Vec<format::Case>, Vec<(PathBuf, Diagnosis)>) {
    let (mut cases, mut broken) = (Vec::new(), Vec::new());
    for path in test_files(root) {
        match std::fs::read_to_string(root.join(&path)) {
            Ok(text) => match format::read(&text, &path) {
                Ok(file) => cases.extend(file.cases()),
                Err(diagnosis) => broken.push((path, *diagnosis)),
            },
            Err(error) => {
                let diagnosis = Diagnosis::new("unreadable", format!("cannot be read: {error}")).in_file(&path);
                broken.push((path, diagnosis));
            }
        }
    }
    (cases, broken)
}

/// Runs the cases of `sql/tests`, or those whose file, tested name or case name contains `filter`. `raw` declares the columns of the
/// sources' tables.
pub async fn run_tests(library: &Library, engine: &Engine, raw: &BTreeMap<String, SchemaRef>, filter: Option<&str>) -> TestReport {
    let (mut work, broken) = read_all(library.root());
    let told = |(file, diagnosis)| CaseReport {
        file,
        test: String::new(),
        name: String::new(),
        line: None,
        outcome: CaseOutcome::Broken(diagnosis),
    };
    let mut broken: Vec<CaseReport> = broken.into_iter().map(told).collect();
    let wanted = |case: &format::Case| {
        filter.is_none_or(|filter| case.test.contains(filter) || case.name.contains(filter) || case.file.to_string_lossy().contains(filter))
    };
    work.retain(wanted);
    let columns = Arc::new(run::columns(library, engine, raw, &work).await);
    let library = Arc::new(library.clone());
    // Each is a task of its own: what takes the time is planning, which keeps a core busy.
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let cases = stream::iter(work)
        .map(|case| {
            let (library, engine, columns) = (Arc::clone(&library), engine.clone(), Arc::clone(&columns));
            tokio::spawn(async move {
                let outcome = run::run(&library, &engine, &columns, &case).await.unwrap_or_else(CaseOutcome::Broken);
                CaseReport { file: case.file, test: case.test, name: case.name, line: case.line, outcome }
            })
        })
        .buffered(at_once);
    let cases: Vec<CaseReport> = cases
        .map(|done| match done {
            Ok(report) => report,
            // A panic is a defect of the program and stays one.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        })
        .collect()
        .await;
    broken.extend(cases);
    broken.sort_by(|a, b| a.file.cmp(&b.file));
    TestReport { cases: broken }
}

/// The test files, sorted by name.
fn test_files(root: &Path) -> Vec<PathBuf> {
    let folder = Path::new("sql").join("tests");
    let entries = std::fs::read_dir(root.join(&folder)).into_iter().flatten().filter_map(Result::ok);
    let files = entries.map(|entry| folder.join(entry.file_name()));
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
    files.sort();
    files
}
