//! One SQL file, as it stands on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use datafusion::scalar::ScalarValue;
use serde::Serialize;

use super::{
    audits::Audit,
    canonical,
    front_matter::{self, FrontMatter},
    params,
};
use crate::{
    config::nearest,
    diagnosis::{Diagnose, Diagnosis},
    engine::{Origin, ParsedSelect, Query, parse_select},
};

/// What a table is, and so in which folder its SQL stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A source's stream, as pulled.
    Raw,
    /// A part of the ledger, shown to SQL.
    Ledger,
    /// One source's rows in canonical shape.
    Staging,
    /// A table every project has.
    Canonical,
    /// Something worth computing once.
    Model,
    /// People.
    Segment,
    /// Figures.
    Metric,
}

impl Kind {
    /// The kinds that are written as SQL files.
    pub(crate) const WRITTEN: [Self; 4] = [Self::Staging, Self::Model, Self::Segment, Self::Metric];

    /// The folder under `sql/` its files stand in.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Model => "models",
            Self::Segment => "segments",
            Self::Metric => "metrics",
            Self::Raw | Self::Ledger | Self::Canonical => "",
        }
    }

    /// The word the ledger keeps.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Ledger => "ledger",
            Self::Staging => "staging",
            Self::Canonical => "canonical",
            Self::Model => "model",
            Self::Segment => "segment",
            Self::Metric => "metric",
        }
    }
}

/// Where a diagnosis about a table points.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The file; none for tables the program makes.
    pub(crate) file: Option<&'a Path>,
    /// The line where nothing nearer is known.
    pub(crate) line: usize,
}

impl Place<'_> {
    /// Puts a diagnosis on a line of the file.
    pub(crate) fn put(&self, diagnosis: Diagnosis, line: usize) -> Diagnosis {
        match self.file {
            Some(file) => diagnosis.in_file(file).at(line, 1),
            None => diagnosis,
        }
    }
}

/// One `SELECT` in a file of its own, with its front matter.
#[derive(Debug, Clone)]
pub struct SqlFile {
    /// What it makes.
    pub kind: Kind,
    /// Its name, which is the table's.
    pub name: String,
    /// Its path in the project.
    pub path: PathBuf,
    /// Its whole text; the front matter is a comment to SQL, so that lines count from the top of the file.
    pub sql: String,
    /// What it says about itself.
    pub front: FrontMatter,
    /// What the comments at the ends of lines say about columns.
    pub columns: BTreeMap<String, String>,
    parsed: Option<ParsedSelect>,
    /// The audits that are queries, each with its line.
    selects: Vec<(usize, ParsedSelect)>,
    problems: Vec<Diagnosis>,
}

impl SqlFile {
    /// Reads a file's text. What is wrong with it is kept, so that only what rests on it is blocked.
    pub(crate) fn read(kind: Kind, path: PathBuf, sql: String) -> Self {
        // Some editors begin a file with a mark of its byte order, which is no SQL.
        let sql = sql.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(sql);
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let mut problems = Vec::new();
        let front = front_matter::read(&sql, &path).unwrap_or_else(|problem| {
            problems.push(*problem);
            FrontMatter::default()
        });
        let mut parsed = parse_select(&sql, Origin::of(&path)).map_err(|error| problems.push(error.diagnosis())).ok();
        let mut selects = Vec::new();
        for placed in &front.audits {
            if let Audit::Select(query) = &placed.audit {
                match parse_select(query, placed.origin(&path)) {
                    Ok(select) => selects.push((placed.line, select)),
                    Err(error) => problems.push(placed.put(error.diagnosis())),
                }
            }
        }
        let findings = parsed.iter_mut().flat_map(|parsed| &mut parsed.findings).map(|finding| &mut finding.diagnosis);
        let line = first_line(&sql);
        for told in problems.iter_mut().chain(findings).filter(|told| told.line.is_none()) {
            (told.line, told.column) = (Some(line), Some(1));
        }
        let columns = column_comments(&sql);
        let mut file = Self { kind, name, path, sql, front, columns, parsed, selects, problems };
        file.examine();
        file
    }

    /// A file that has no text.
    pub(crate) fn unreadable(kind: Kind, path: PathBuf, problem: Diagnosis) -> Self {
        Self { problems: vec![problem], ..Self::read(kind, path, String::new()) }
    }

    /// What makes the file unusable, as far as its own text tells.
    #[must_use]
    pub fn problems(&self) -> &[Diagnosis] {
        &self.problems
    }

    /// What was read from the SQL; none where it cannot be read.
    pub(crate) fn parsed(&self) -> Option<&ParsedSelect> {
        self.parsed.as_ref()
    }

    /// The tables the query names.
    pub(crate) fn tables(&self) -> BTreeSet<String> {
        self.parsed.as_ref().map(|parsed| parsed.tables.clone()).unwrap_or_default()
    }

    /// The tables its audits name, without its own.
    pub(crate) fn audited_tables(&self) -> BTreeSet<String> {
        let related = self.front.audits.iter().filter_map(|placed| match &placed.audit {
            Audit::Relationship { table, .. } => Some(table),
            _ => None,
        });
        let mut tables: BTreeSet<String> = related.chain(self.selects.iter().flat_map(|(_, select)| &select.tables)).cloned().collect();
        tables.remove(&self.name);
        tables
    }

    /// The source and the canonical table of a staging file: `shop__orders` is `shop`'s `orders`.
    pub(crate) fn staged(&self) -> Option<(&str, &str)> {
        (self.kind == Kind::Staging).then(|| self.name.split_once("__")).flatten()
    }

    /// What a column of a staging file holds, as the canonical table says.
    pub(crate) fn staged_column(&self, column: &str) -> Option<&'static str> {
        canonical::canonical(self.staged()?.1)?.description(column)
    }

    /// The columns that are never null in what is built: those of the key, and those an audit says so of.
    pub(crate) fn never_null(&self) -> BTreeSet<&str> {
        let audited = self.front.audits.iter().filter_map(|placed| match &placed.audit {
            Audit::NotNull(columns) => Some(columns),
            _ => None,
        });
        audited.flatten().chain(&self.front.key).map(String::as_str).collect()
    }

    /// Whether a column is given its name in this file, so that it need not hold what a column of that name holds elsewhere.
    pub(crate) fn renames(&self, column: &str) -> bool {
        let code = code_only(&self.sql);
        let words: Vec<&str> = code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).collect();
        words.windows(2).any(|two| two[0].eq_ignore_ascii_case("as") && two[1] == column)
    }

    /// Whether the query's rows or what its audits say of them depend on the run's logical time or on one of the brand's defaults.
    pub(crate) fn binds(&self, param: &str) -> bool {
        self.selects().any(|select| select.params.contains(param))
    }

    /// The query and the audits that are queries.
    fn selects(&self) -> impl Iterator<Item = &ParsedSelect> {
        self.parsed.iter().chain(self.selects.iter().map(|(_, select)| select))
    }

    /// The query with its values: the file's own defaults and those every query may bind, as far as it names them.
    pub(crate) fn query(&self, always: &BTreeMap<String, ScalarValue>) -> Query<'_> {
        Query { sql: &self.sql, origin: Origin::of(&self.path), params: self.bound(always) }
    }

    /// The values the query binds.
    pub(crate) fn bound(&self, always: &BTreeMap<String, ScalarValue>) -> BTreeMap<String, ScalarValue> {
        let all = always.iter().chain(&self.front.params);
        all.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Where the file begins, for a diagnosis without a nearer place.
    pub(crate) fn place(&self) -> Place<'_> {
        Place { file: Some(&self.path), line: first_line(&self.sql) }
    }

    /// A diagnosis on the first place a word stands in the SQL, comments left out.
    pub(crate) fn at_word(&self, diagnosis: Diagnosis, word: &str) -> Diagnosis {
        let (line, column) = word_place(&code_only(&self.sql), word).unwrap_or_else(|| (self.place().line, 1));
        diagnosis.in_file(&self.path).at(line, column)
    }

    /// A diagnosis that has no place, where the file begins.
    pub(crate) fn somewhere(&self, diagnosis: Diagnosis) -> Diagnosis {
        if diagnosis.line.is_some() { diagnosis } else { self.place().put(diagnosis, self.place().line) }
    }

    /// Adds a problem that only the whole library shows.
    pub(crate) fn refuse(&mut self, problem: Diagnosis) {
        self.problems.push(problem);
    }

    fn examine(&mut self) {
        let mut found = Vec::new();
        let wrong_name = |message: String| Diagnosis::new("file_name", message).in_file(&self.path);
        let plain = self.name.starts_with(|c: char| c.is_ascii_lowercase())
            && self.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !plain {
            let hint = "use lower-case letters, digits and underscores, beginning with a letter";
            found.push(wrong_name(format!("`{}` cannot be the name of a table", self.name)).hint(hint));
        } else if self.kind == Kind::Staging {
            match self.staged() {
                None => found
                    .push(wrong_name("a staging file is named `<source>__<table>.sql`".to_owned()).hint("for example `shop__orders.sql`")),
                Some((_, table)) if table == "identities" || canonical::canonical(table).is_none() => {
                    let tables = canonical::canonical_tables();
                    let names: Vec<&str> = tables.iter().map(|table| table.name).filter(|name| *name != "identities").collect();
                    let hint = match nearest(table, names.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("canonical tables are: {}", names.join(", ")),
                    };
                    found.push(wrong_name(format!("there is no canonical table `{table}`")).hint(hint));
                }
                Some(_) => {}
            }
        } else if self.name.contains("__") {
            found.push(
                wrong_name(format!("`{}` looks like a source's table", self.name))
                    .hint("two underscores in a row are kept for `<source>__<stream>`; use one"),
            );
        }
        if self.front.key.is_empty() && matches!(self.kind, Kind::Model | Kind::Segment) && self.problems.is_empty() {
            found.push(
                Diagnosis::new("missing_key", format!("`{}` does not say which column names a row", self.name))
                    .in_file(&self.path)
                    .at(1, 1)
                    .hint("begin the file with\n/* ---\nkey = \"customer_id\"\n--- */"),
            );
        }
        if let Some(placed) = self.front.audits.iter().find(|placed| matches!(placed.audit, Audit::Change { .. }))
            && self.kind == Kind::Staging
        {
            let message = format!("the audit `{}` has nothing to compare with: a staging file is no table of its own", placed.text);
            let hint = "use rows(least, most) here, or write the audit into a model that reads the table";
            found.push(Diagnosis::new("audit", message).in_file(&self.path).at(placed.line, 1).hint(hint));
        }
        let of_query = self.parsed.iter().flat_map(|parsed| &parsed.params).map(|name| (name, None));
        let of_audits = self.selects.iter().flat_map(|(line, select)| select.params.iter().map(|name| (name, Some(*line))));
        let unknown = |(name, _): &(&String, _)| !params::ALWAYS.contains(&name.as_str()) && !self.front.params.contains_key(*name);
        let unknown: Vec<(&String, Option<usize>)> = of_query.chain(of_audits).filter(unknown).collect();
        let code = if unknown.is_empty() { String::new() } else { code_only(&self.sql) };
        let places = word_places(&code);
        for (name, line) in unknown {
            let known = params::ALWAYS.iter().copied().chain(self.front.params.keys().map(String::as_str));
            let hint = match nearest(name, known) {
                Some(near) => format!("did you mean `${near}`?"),
                None => format!("give it a default in the front matter: params = {{ {name} = … }}"),
            };
            let unknown = Diagnosis::new("unknown_parameter", format!("the parameter `${name}` has no value")).in_file(&self.path);
            let place = line.map(|line| (line, 1)).or_else(|| places.get(format!("${name}").as_str()).copied());
            let (line, column) = place.unwrap_or_else(|| (self.place().line, 1));
            found.push(unknown.at(line, column).hint(hint));
        }
        self.problems.extend(found);
    }
}

/// The line the SQL begins on.
fn first_line(sql: &str) -> usize {
    code_only(sql).lines().position(|line| !line.trim().is_empty()).map_or(1, |position| position + 1)
}

/// The text with comments and quoted texts blanked out, every line and column kept.
pub(crate) fn code_only(sql: &str) -> String {
    #[derive(PartialEq)]
    enum In {
        Code,
        Line,
        Block,
        Text,
    }
    let mut state = In::Code;
    let mut out = String::with_capacity(sql.len());
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        let blank = match (&state, c, next) {
            (In::Code, '-', Some('-')) => {
                state = In::Line;
                true
            }
            (In::Code, '/', Some('*')) => {
                state = In::Block;
                true
            }
            (In::Code, '\'', _) => {
                state = In::Text;
                true
            }
            (In::Line, '\n', _) => {
                state = In::Code;
                false
            }
            (In::Block, '*', Some('/')) => {
                state = In::Code;
                chars.next();
                out.push(' ');
                true
            }
            (In::Text, '\'', _) => {
                state = In::Code;
                true
            }
            (In::Code, ..) => false,
            _ => true,
        };
        out.push(if blank && c != '\n' { ' ' } else { c });
    }
    out
}

/// Whether a letter is one of a word.
fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Line and column at which each word first stands.
fn word_places(code: &str) -> BTreeMap<&str, (usize, usize)> {
    let mut places = BTreeMap::new();
    for (line, text) in code.split('\n').enumerate() {
        let mut column = 1;
        for part in text.split_inclusive(|c| !in_word(c)) {
            places.entry(part.trim_end_matches(|c| !in_word(c))).or_insert((line + 1, column));
            column += part.chars().count();
        }
    }
    places
}

/// Line and column of a word that stands by itself.
fn word_place(code: &str, word: &str) -> Option<(usize, usize)> {
    code.match_indices(word).find_map(|(start, _)| {
        let alone = !code[..start].ends_with(in_word) && !code[start + word.len()..].starts_with(in_word);
        let line_start = code[..start].rfind('\n').map_or(0, |end| end + 1);
        alone.then(|| (code[..start].matches('\n').count() + 1, code[line_start..start].chars().count() + 1))
    })
}

/// `… as quiet_days,  -- days since the last order`: the comment at the end of a line belongs to the column that ends there.
fn column_comments(sql: &str) -> BTreeMap<String, String> {
    let code = code_only(sql);
    let mut comments = BTreeMap::new();
    for (code, line) in code.lines().zip(sql.lines()) {
        let written = code.trim_end();
        let Some(comment) = line.get(written.len()..).and_then(|rest| rest.trim_start().strip_prefix("--")) else { continue };
        let column = written.trim_end_matches(',').trim_end();
        let name = column.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
        if !name.is_empty() && !comment.trim().is_empty() {
            comments.insert(name.to_owned(), comment.trim().to_owned());
        }
    }
    comments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staging(sql: &str) -> SqlFile {
        SqlFile::read(Kind::Staging, PathBuf::from("sql/staging/shop__orders.sql"), sql.to_owned())
    }

    #[test]
    fn a_byte_order_mark_hides_nothing() {
        let file = staging("\u{feff}/* ---\nkey = 'order_id'\n--- */\nselect 1 as order_id");
        assert_eq!((file.front.key.as_slice(), file.problems()), (["order_id".to_owned()].as_slice(), [].as_slice()));
    }

    #[test]
    fn an_audit_s_parameters_are_the_file_s() {
        let file = staging(
            "/* ---\nparams = { late = 1 }\naudits = [\n'select a from shop__orders where b > $as_of and c > $late and d = $latte']\n--- */\nselect 1 as a",
        );
        assert!(file.binds("as_of") && file.binds("late") && !file.binds("brand_locale"));
        let told: Vec<_> = file.problems().iter().map(|problem| (problem.code.as_str(), problem.line)).collect();
        assert_eq!(told, [("unknown_parameter", Some(4))]);
    }

    #[test]
    fn a_staging_file_has_no_earlier_self_to_compare_with() {
        let file = staging("/* ---\naudits = [\n'change(40%)']\n--- */\nselect 1 as order_id");
        let told: Vec<_> = file.problems().iter().map(|problem| (problem.code.as_str(), problem.line)).collect();
        assert_eq!(told, [("audit", Some(3))]);
    }

    #[test]
    fn comments_and_texts_are_not_code() {
        assert_eq!(code_only("a -- b\n'c''d' /* e\nf */ g"), "a     \n           \n     g");
        assert_eq!(code_only("a -- b\nc").lines().count(), 2);
        assert_eq!(word_place("select orders_x,\n  orders from", "orders"), Some((2, 3)));
        assert_eq!(word_places("select $a_x,\n  $a,$b, $a").get("$b"), Some(&(2, 6)));
    }

    #[test]
    fn a_column_that_is_named_here_is_one_of_its_own() {
        let file = staging("select a.b, -- as b\n  count(*) AS c, 'x' as \"d\" from a -- e as e");
        assert_eq!(["b", "c", "d", "e"].map(|column| file.renames(column)), [false, true, true, false]);
    }

    #[test]
    fn a_comment_at_the_end_of_a_line_describes_its_column() {
        let comments =
            column_comments("select\n  a.customer_id, -- who\n  count(*) as orders  -- how many, ever\nfrom x -- y -- z\n-- alone");
        assert_eq!(comments["customer_id"], "who");
        assert_eq!(comments["orders"], "how many, ever");
    }
}
