//! What must hold of every text that is read as an SQL file or as a file of SQL tests. The fuzz targets ask it of whatever they make up,
//! `cargo test` of the corpus they have left.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use datafusion::{
    arrow::datatypes::SchemaRef,
    sql::sqlparser::{
        ast::{ObjectName, Query, Select, SetExpr, Statement, TableFactor, Visit, Visitor},
        dialect::GenericDialect,
        parser::Parser,
    },
};
use perennial::{
    config::Folder,
    diagnosis::{Diagnose, Diagnosis},
    engine::{Engine, EngineSettings, Origin, ParsedSelect, parse_select, part_of},
    model::{Library, test_file_problems},
    project::raw_schemas,
    source::Source,
};
use tokio::runtime::Runtime;

/// As the program's own threads have.
pub const STACK: usize = 16 << 20;

/// Bytes of the longest text that is planned, too: that takes a hundred times as long as reading it.
const PLANNED: usize = 1_000;

/// A project without data, in which texts are read.
pub struct Project {
    engine: Engine,
    raw: BTreeMap<String, SchemaRef>,
    runtime: Runtime,
    root: PathBuf,
}

impl Project {
    /// A project in the empty folder `root`, with the sources of the repository.
    pub fn new(root: &Path, repository: &Path) -> Self {
        let sources = Source::load_all(&Folder::new(repository, None, std::iter::empty())).unwrap();
        Self {
            engine: Engine::new(root, &EngineSettings { partitions: 1, ..EngineSettings::default() }).unwrap(),
            raw: raw_schemas(&sources),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            root: root.to_owned(),
        }
    }

    /// Reads a text as the one SQL file of the project: a staging file where it names a source's table, else a segment.
    ///
    /// # Errors
    /// Names the promise that is broken.
    pub fn sql_file(&self, text: &str) -> Result<(), String> {
        let path = PathBuf::from(if text.contains("__") { "sql/staging/shop__orders.sql" } else { "sql/segments/fuzzed.sql" });
        let library = Library::of(&self.root, [(path.clone(), text.to_owned())]);
        let file = library.files().next().ok_or("the file is not in the library")?;
        let again = Library::of(&self.root, [(path.clone(), text.to_owned())]);
        if again.files().next().map(|again| format!("{again:?}")) != Some(format!("{file:?}")) {
            return Err("read twice, the file is not the same".to_owned());
        }
        file.problems().iter().try_for_each(|problem| placed(problem, &path, &file.sql))?;
        if let Ok(parsed) = parse_select(&file.sql, Origin::NOWHERE) {
            one_select(&file.sql, &parsed)?;
        }
        if text.len() <= PLANNED {
            let findings = self.runtime.block_on(library.plan(&self.engine, &self.raw)).findings;
            findings.iter().try_for_each(|finding| placed(&finding.diagnosis, &path, &file.sql))?;
        }
        Ok(())
    }

    /// Reads a text as a file of SQL tests.
    ///
    /// # Errors
    /// Names the promise that is broken.
    pub fn test_file(&self, text: &str) -> Result<(), String> {
        let path = Path::new("sql/tests/fuzzed.toml");
        let problems = test_file_problems(text, path);
        if test_file_problems(text, path) != problems {
            return Err("read twice, the test file is not the same".to_owned());
        }
        problems.iter().try_for_each(|problem| placed(problem, path, text))
    }
}

/// What is told has words, and a place in its file.
fn placed(told: &Diagnosis, path: &Path, text: &str) -> Result<(), String> {
    let broken = |why: &str| Err(format!("{why}: {told:?}"));
    if told.message.trim().is_empty() || told.message.contains('\0') || told.file.as_deref() != Some(path) {
        return broken("a diagnosis without words or file");
    }
    let (Some(line), Some(column)) = (told.line, told.column) else { return broken("a diagnosis without a place") };
    match line.checked_sub(1).and_then(|line| text.split('\n').nth(line)) {
        Some(shown) if (1..=shown.chars().count() + 1).contains(&column) => Ok(()),
        _ => broken("a diagnosis outside its file"),
    }
}

/// What is accepted is one `select` that only reads, to a parser that knows nothing of what was looked at before; it is accepted as it is
/// printed, too, and so is each of its `with` clauses.
fn one_select(sql: &str, parsed: &ParsedSelect) -> Result<(), String> {
    let statements =
        Parser::new(&GenericDialect).with_recursion_limit(1_000).try_with_sql(sql).and_then(|mut parser| parser.parse_statements());
    let statements = statements.map_err(|error| format!("accepted, and not to be parsed: {error}"))?;
    let [Statement::Query(query)] = statements.as_slice() else { return Err(format!("accepted, and no query: {statements:?}")) };
    let mut names = Names::default();
    if let ControlFlow::Break(why) = query.visit(&mut names) {
        return Err(format!("accepted with {why}"));
    }
    if let Some(table) = parsed.tables.iter().find(|table| !names.tables.contains(&table.to_lowercase())) {
        return Err(format!("it is said to read `{table}`, which does not stand in it"));
    }
    let printed = query.to_string();
    match parse_select(&printed, Origin::NOWHERE) {
        Ok(again) if (&again.tables, &again.params) == (&parsed.tables, &parsed.params) => {}
        other => return Err(format!("printed as `{printed}`, it is read as {other:?}")),
    }
    for clause in query.with.iter().flat_map(|with| &with.cte_tables) {
        let part = part_of(sql, &clause.alias.name.value, Origin::NOWHERE).map_err(|error| format!("a clause is not found: {error}"))?;
        match parse_select(&part, Origin::NOWHERE).map_err(|error| error.diagnosis()) {
            // What nobody named counted nothing before.
            Err(told) if told.code != "sql_too_large" => return Err(format!("a clause by itself, `{part}`, is refused: {told}")),
            _ => {}
        }
    }
    Ok(())
}

/// The tables a query names, unless something stands in it that does not only read.
#[derive(Default)]
struct Names {
    tables: BTreeSet<String>,
}

impl Visitor for Names {
    type Break = &'static str;

    fn pre_visit_statement(&mut self, _: &Statement) -> ControlFlow<Self::Break> {
        ControlFlow::Break("a statement inside it")
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        if matches!(*query.body, SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)) {
            return ControlFlow::Break("a query that writes");
        }
        if query.settings.is_some() || query.format_clause.is_some() || query.for_clause.is_some() || !query.locks.is_empty() {
            return ControlFlow::Break("settings, a format or locks");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        if select.into.is_some() { ControlFlow::Break("an `into`") } else { ControlFlow::Continue(()) }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        match factor {
            TableFactor::Table { name: ObjectName(parts), .. } if parts.len() != 1 => ControlFlow::Break("a qualified table"),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Self::Break> {
        let last = relation.0.last().and_then(|part| part.as_ident());
        self.tables.extend(last.map(|name| name.value.to_lowercase()));
        ControlFlow::Continue(())
    }
}
