//! Wrong SQL files, each with exactly what is said of it: `tests/wrong_sql/<group>/*.sql`, the answers in `tests/wrong_sql/answers/`.
//!
//! A file stands for `sql/segments/<its name>.sql` beside the shipped ones, unless lines `-- file: sql/models/a.sql` say otherwise. After a
//! change of words, `INSTA_UPDATE=always cargo test wrong_sql` writes the answers anew: read the difference before it is committed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use perennial::{
    config::Folder,
    diagnosis::{Finding, Severity},
    engine::{Engine, EngineSettings},
    model::Library,
    project::raw_schemas,
    source::Source,
};

use crate::support::repository;

type Texts = BTreeMap<PathBuf, String>;

/// A case: its name and the files it puts beside the shipped ones.
struct Case {
    name: String,
    files: Texts,
}

fn sql_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ending| ending == "sql")).collect();
    files.sort();
    files
}

fn shipped() -> Texts {
    let mut texts = Texts::new();
    for folder in ["staging", "models", "segments", "metrics"] {
        for path in sql_files(&repository().join("sql").join(folder)) {
            texts.insert(path.strip_prefix(repository()).unwrap().to_owned(), fs::read_to_string(&path).unwrap());
        }
    }
    texts
}

fn cases(group: &Path) -> Vec<Case> {
    sql_files(group).iter().map(|path| case(path)).collect()
}

fn case(path: &Path) -> Case {
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let text = fs::read_to_string(path).unwrap();
    let mut files = Texts::new();
    let mut file = None;
    for line in text.split_inclusive('\n') {
        match line.strip_prefix("-- file: ") {
            Some(named) => {
                let named = PathBuf::from(named.trim_end());
                files.insert(named.clone(), String::new());
                file = Some(named);
            }
            None => {
                let file = file.get_or_insert_with(|| PathBuf::from(format!("sql/segments/{name}.sql")));
                files.entry(file.clone()).or_default().push_str(line);
            }
        }
    }
    Case { name, files }
}

/// A case's files, and of the shipped ones those it can have to do with: all where it changes one of them, else no segment or metric that
/// it does not name.
fn beside(shipped: &Texts, files: &Texts) -> Texts {
    let named = |path: &Path| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        files.iter().any(|(path, text)| text.contains(name) || path.to_str().unwrap().contains(name))
    };
    let changes = files.keys().any(|path| shipped.contains_key(path));
    let kept =
        shipped.iter().filter(|(path, _)| changes || path.starts_with("sql/staging") || path.starts_with("sql/models") || named(path));
    kept.chain(files).map(|(path, text)| (path.clone(), text.clone())).collect()
}

/// What is said of each case, with the line it is about.
fn answers(group: &str) -> String {
    let folder = repository().join("tests/wrong_sql").join(group);
    let (root, shipped) = (tempfile::tempdir().unwrap(), shipped());
    let engine = Engine::new(root.path(), &EngineSettings { partitions: 1, ..EngineSettings::default() }).unwrap();
    let sources = Source::load_all(&Folder::new(repository(), None, std::iter::empty())).unwrap();
    let raw = raw_schemas(&sources);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let check = |texts: &Texts| {
        let library = Library::of(root.path(), texts.clone());
        runtime.block_on(library.plan(&engine, &raw)).findings
    };
    let cases = cases(&folder);
    // Segments that only add themselves are looked at together: nobody reads them.
    let alone =
        |case: &Case| case.files.len() == 1 && case.files.keys().all(|file| *file == Path::new(&format!("sql/segments/{}.sql", case.name)));
    let mut together = shipped.clone();
    together.extend(cases.iter().filter(|case| alone(case)).flat_map(|case| case.files.clone()));
    let found = check(&together);
    let mut text = String::new();
    for case in &cases {
        let paths: BTreeSet<&PathBuf> = case.files.keys().collect();
        let own;
        let findings: Vec<&Finding> = if alone(case) {
            found.iter().filter(|finding| finding.diagnosis.file.as_ref().is_some_and(|file| paths.contains(file))).collect()
        } else {
            own = check(&beside(&shipped, &case.files));
            own.iter().collect()
        };
        let _ = writeln!(text, "## {}", case.name);
        for finding in &findings {
            text += &told(finding, &case.files);
        }
        if findings.is_empty() {
            text += "NOTHING IS SAID\n";
        }
        text.push('\n');
    }
    text
}

fn told(finding: &Finding, files: &Texts) -> String {
    let (diagnosis, mut text) = (&finding.diagnosis, String::new());
    let word = if finding.severity == Severity::Error { "error" } else { "warning" };
    let place = diagnosis.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    let (line, column) = (diagnosis.line, diagnosis.column.unwrap_or(1));
    let at = line.map(|line| format!(":{line}:{column}")).unwrap_or_default();
    let _ = writeln!(text, "{word} {} {place}{at}\n  {}", diagnosis.code, diagnosis.message);
    let shown = diagnosis.file.as_ref().zip(line).and_then(|(file, line)| files.get(file)?.lines().nth(line - 1));
    if let Some(shown) = shown {
        // Far columns of a long line are not worth a page.
        let from = column.saturating_sub(60);
        let window: String = shown.chars().skip(from).take(100).map(|c| if c.is_control() { '·' } else { c }).collect();
        let _ = writeln!(text, "  | {window}\n  | {}^", " ".repeat(column - 1 - from));
    }
    if let Some(hint) = &diagnosis.hint {
        let _ = writeln!(text, "  help: {}", hint.replace('\n', "\n        "));
    }
    text
}

macro_rules! groups {
    ($($group:ident)*) => {$(
        #[test]
        fn $group() {
            let mut settings = insta::Settings::clone_current();
            settings.set_snapshot_path("wrong_sql/answers");
            settings.set_prepend_module_to_snapshot(false);
            settings.set_omit_expression(true);
            // The program runs its queries on deep stacks, too.
            let deep = std::thread::Builder::new().stack_size(16 << 20).spawn(|| answers(stringify!($group))).unwrap();
            let answers = deep.join().unwrap();
            settings.bind(|| insta::assert_snapshot!(stringify!($group), answers));
            assert!(!answers.contains("NOTHING IS SAID"), "wrong files pass: {answers}");
        }
    )*};
}

groups!(audits foreign front_matter graph hostile names syntax types);
