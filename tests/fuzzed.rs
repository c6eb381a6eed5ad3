//! What the fuzz targets have left, asked the same as they ask: `fuzz/corpus/<target>/*`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use perennial::model::Library;

use crate::support::repository;

#[allow(unreachable_pub, reason = "the fuzz targets use it, too")]
#[path = "../fuzz/src/mail.rs"]
mod mail;
#[allow(unreachable_pub, reason = "the fuzz targets use it, too")]
#[path = "../fuzz/src/promises.rs"]
mod promises;

use mail::House;
use promises::{Project, STACK};

/// Asks it of every text of a target's corpus.
fn replayed(target: &'static str, ask: impl Fn(&Project, &str) -> Result<(), String> + Send + 'static) {
    let deep = std::thread::Builder::new().stack_size(STACK).spawn(move || {
        let root = tempfile::tempdir().unwrap();
        let project = Project::new(root.path(), repository());
        let texts = fs::read_dir(repository().join("fuzz/corpus").join(target)).unwrap().map(|entry| entry.unwrap().path());
        let texts: Vec<PathBuf> = texts.collect();
        let broken = texts.iter().filter_map(|path| {
            let text = fs::read(path).unwrap();
            let broken = ask(&project, &String::from_utf8_lossy(&text)).err()?;
            Some(format!("{}: {broken}", path.display()))
        });
        let broken: Vec<String> = broken.collect();
        assert!(broken.is_empty() && !texts.is_empty(), "of {} texts: {broken:#?}", texts.len());
    });
    deep.unwrap().join().unwrap();
}

#[test]
fn texts_that_were_read_as_sql_files() {
    replayed("sql_file", Project::sql_file);
}

#[test]
fn texts_that_were_read_as_test_files() {
    replayed("test_file", Project::test_file);
}

/// Asks it of all bytes of a target's corpus.
#[track_caller]
fn held(target: &str, ask: fn(&House, &[u8]) -> Result<(), String>) {
    let root = tempfile::tempdir().unwrap();
    let house = House::new(root.path());
    let paths = fs::read_dir(repository().join("fuzz/corpus").join(target)).unwrap().map(|entry| entry.unwrap().path());
    let paths: Vec<PathBuf> = paths.collect();
    let broken = paths.iter().filter_map(|path| Some(format!("{}: {}", path.display(), ask(&house, &fs::read(path).unwrap()).err()?)));
    let broken: Vec<String> = broken.collect();
    assert!(broken.is_empty() && !paths.is_empty(), "of {} files: {broken:#?}", paths.len());
}

#[test]
fn mails_that_came_back() {
    held("returned", House::returned);
}

#[test]
fn calls_of_providers() {
    held("provider_events", House::provider_events);
}

#[test]
fn what_relays_said() {
    held("smtp_replies", House::smtp_replies);
}

#[test]
fn tokens_and_return_paths() {
    held("tokens", House::tokens);
}

#[test]
fn values_that_letters_were_made_of() {
    held("letter", House::letter);
}

/// Texts that go on and on: what overflows a stack, or grows faster than a text, shows here.
fn long_texts() -> Vec<(&'static str, String)> {
    let mut texts = Vec::new();
    let mut add = |name: &'static str, longest: usize, begin: &str, part: &dyn Fn(usize) -> String, end: &str| {
        let parts = (0..).map(part).scan(begin.len() + end.len(), |length, part| {
            *length += part.len();
            (*length <= longest).then_some(part)
        });
        texts.push((name, format!("{begin}{}{end}", parts.collect::<String>())));
    };
    let mut same = |name: &'static str, begin: &str, part: &str, end: &str| add(name, 60_000, begin, &|_| part.to_owned(), end);
    same("sums", "select ", "1+", "1");
    same("conditions", "select ", "a or ", "a");
    same("unions", "select 1", " union select 1", "");
    same("casts", "select a", "::int", "");
    same("subscripts", "select a", "[1]", "");
    same("fields", "select a", ".a", "");
    same("functions of functions", "select ", "f(", "");
    same("signs", "select ", "-", "1");
    same("is null", "select a", " is null", "");
    same("in", "select a", " in (1)", "");
    same("like", "select a", " like 'a'", "");
    same("at time zone", "select a", " at time zone 'UTC'", "");
    same("collate", "select a", " collate a", "");
    same("columns", "select ", "a,", "a");
    same("values", "select a in (", "1,", "1)");
    same("rows", "values ", "(1),", "(1)");
    same("joins", "select * from a", " join a on true", "");
    same("joins that lean", "select * from ", "a join ", "a on true");
    same("tables", "select * from a", ",a", "");
    same("when", "select case ", "when a then b ", "end");
    same("else", "select ", "case when a then b else ", "1");
    same("windows over", "select ", "f() over w,", "1");
    same("arrays", "select ", "[", "");
    same("structs", "select ", "{'a':", "");
    same("types", "select a::", "array<", "");
    same("types of arrays", "select a::int", "[]", "");
    same("lambdas", "select ", "x->", "1");
    same("brackets", "select ", "(", "");
    same("tables in brackets", "select * from ", "(", "");
    same("comments", "select 1 ", "/**/", "");
    same("comments in comments", "select 1 ", "/*", "");
    same("lines of comments", "", "--\n", "select 1");
    same("semicolons", "select 1", ";", "");
    same("statements", "", "select 1;", "");
    same("quotation marks", "select ", "'", "");
    same("names", "select ", "\"", "");
    same("dollars", "select ", "$", "");
    same("empty lines", "", "\n", "select nothing from");
    same("one word", "select ", "a", " from");
    same("an unknown table", "select 1 from ", "a", "");
    same("an unknown parameter", "select $", "a", "");
    same("pipes", "from a ", "|> where b ", "");
    same("front matter", "", "/* --- --- */", "select 1");
    same("lists", "/* ---\na = ", "[", "\n--- */ select 1");
    same("tables of tables", "/* ---\na = ", "{a=", "\n--- */ select 1");
    same("dots", "/* ---\na", ".a", " = 1\n--- */ select 1");
    same("dots of params", "/* ---\nparams.a", ".a", " = 1\n--- */ select 1");
    same("headers", "/* ---\n[a", ".a", "]\n--- */ select 1");
    same("one audit", "/* ---\naudits = [", "'rows(0, 1)',", "]\n--- */ select 1");
    same("an audit's columns", "/* ---\naudits = ['unique(a", ", a", ")']\n--- */ select 1");
    same("unions in brackets", "", "(select 1) union ", "select 1");
    let mut each = |name: &'static str, begin: &str, part: &dyn Fn(usize) -> String, end: &str| add(name, 20_000, begin, part, end);
    each("clauses", "with a as (select 1)", &|number| format!(", a{number} as (select 1)"), " select * from a");
    each("parameters", "select 1", &|number| format!(", $a{number}"), "");
    each("windows", "select f() over w0 from a window w as (partition by a)", &|number| format!(", w{number} as (w{})", number + 1), "");
    each("aliases", "select 1 as a", &|number| format!(", 1 as a{number}"), "");
    each("unknown tables", "select 1", &|number| format!(", (select 1 from a{number})"), "");
    each("params", "/* ---\n[params]\n", &|number| format!("a{number} = 1\n"), "--- */ select 1");
    each("keys", "/* ---\n", &|number| format!("a{number} = 1\n"), "--- */ select 1");
    each("audits", "/* ---\naudits = [", &|number| format!("'select {number} from a',"), "]\n--- */ select 1");
    each("wrong audits", "/* ---\naudits = [", &|number| format!("'select {number} from',"), "]\n--- */ select 1");
    texts
}

#[test]
fn texts_as_long_as_they_may_be_are_read() {
    let deep = std::thread::Builder::new().stack_size(STACK).spawn(|| {
        for (name, text) in long_texts() {
            let library = Library::of(Path::new("."), [(PathBuf::from("sql/segments/long.sql"), text)]);
            let told = library.files().map(|file| file.problems().len()).sum::<usize>();
            assert!(told > 0, "{name}");
        }
    });
    deep.unwrap().join().unwrap();
}
