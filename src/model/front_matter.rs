//! The `/* --- … --- */` at the top of an SQL file: TOML between two lines of dashes, inside a comment.

use std::{collections::BTreeMap, path::Path};

use datafusion::scalar::ScalarValue;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{audits::Audit, params};
use crate::{
    config::{self, FileKind, Period},
    diagnosis::Diagnosis,
    engine::Origin,
};

/// What an SQL file says about itself.
#[derive(Debug, Clone, Default)]
pub struct FrontMatter {
    /// The columns that name a row; audited to be unique and never null.
    pub key: Vec<String>,
    /// The typed defaults of the file's own parameters.
    pub params: BTreeMap<String, ScalarValue>,
    /// What must be true of the result before it replaces yesterday's.
    pub(crate) audits: Vec<PlacedAudit>,
    /// Whom to ask.
    pub owner: Option<String>,
    /// What the table is, in a sentence; the leading `--` comment where the front matter has none.
    pub description: Option<String>,
    /// How old the last pull of a raw table may be.
    pub max_age: BTreeMap<String, Period>,
}

/// An audit, as it is written and where.
#[derive(Debug, Clone)]
pub(crate) struct PlacedAudit {
    /// The audit.
    pub(crate) audit: Audit,
    /// Its text.
    pub(crate) text: String,
    /// Its line in the SQL file.
    pub(crate) line: usize,
    /// The column its query begins at in that line; none where it does not stand there as it is, but with escapes.
    pub(crate) column: Option<usize>,
}

impl PlacedAudit {
    /// Where the text of its query stands.
    pub(crate) fn origin<'a>(&self, file: &'a Path) -> Origin<'a> {
        Origin { file: Some(file), line: self.line, column: self.column.unwrap_or(1) }
    }

    /// What was said of its query, where the file has it.
    pub(crate) fn put(&self, told: Diagnosis) -> Diagnosis {
        if self.column.is_some() && told.line.is_some() { told } else { told.at(self.line, 1) }
    }
}

/// The TOML in the leading comment of SQL files.
pub const FRONT_MATTER: FileKind = FileKind::of::<Written>(
    "front-matter",
    "sql/{staging,models,segments,metrics}/*.sql",
    "What an SQL file says about itself, between `/* ---` and `--- */` in its leading comment.",
);

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Written {
    /// The column or columns that name a row; audited to be unique and never null.
    key: Columns,
    /// The file's own parameters, each with its default: `$quiet_days` is bound to what `quiet_days` says here.
    #[schemars(with = "BTreeMap<String, Param>")]
    params: BTreeMap<String, toml::Value>,
    /// What must be true of the result before it replaces yesterday's: `unique(a, b)`, `not_null(a, b)`, `accepted(status, 'paid')`,
    /// `relationship(customer_id, customers.customer_id)`, `rows(0, 50000)`, `change(40%, 20)`, or a `SELECT` that must return no row.
    audits: Vec<String>,
    /// Whom to ask.
    owner: Option<String>,
    /// What the table is, in a sentence; unless set, the leading `--` comment says it.
    description: Option<String>,
    /// Raw tables, and how old the last pull of each may be.
    inputs: BTreeMap<String, Input>,
}

/// One value: a whole number, a decimal, a text, true or false, a date or an instant. It says the parameter's type.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)] // `params::from_toml` reads them.
pub(super) enum Param {
    Flag(bool),
    Number(f64),
    Text(String),
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a column name or a list of column names is wanted here")]
enum Columns {
    #[default]
    #[schemars(skip)]
    None,
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// How old the last pull of the table may be.
    max_age: Period,
}

/// Reads the front matter of an SQL text; a file without one has none of it.
///
/// # Errors
/// With the line in the SQL file.
pub(crate) fn read(text: &str, file: &Path) -> Result<FrontMatter, Box<Diagnosis>> {
    let Some(body) = body(text, file)? else {
        return Ok(FrontMatter { description: line_comment(text), ..FrontMatter::default() });
    };
    // The TOML is read with everything before it replaced by empty lines and spaces, so that its places are those of the SQL file.
    let (line, column) = config::place(text, body.start);
    let padded = format!("{}{}{}", "\n".repeat(line - 1), " ".repeat(column - 1), &text[body.clone()]);
    let written: Written = config::parse(&padded, file).map_err(|error| error.0)?;
    let place = |keys: &[&str], diagnosis: Diagnosis| match config::locate(&padded, keys) {
        Some((line, column)) => diagnosis.in_file(file).at(line, column),
        None => diagnosis.in_file(file),
    };
    let mut bound = BTreeMap::new();
    for (name, value) in &written.params {
        let refused = |message: String| place(&["params", name], Diagnosis::new("parameter", message));
        if params::ALWAYS.contains(&name.as_str()) {
            return Err(refused(format!("`{name}` is bound by the program and cannot be a parameter")).hint("give it another name").into());
        }
        let value = params::from_toml(value).map_err(|why| refused(format!("the parameter `{name}` cannot be bound: {why}")))?;
        bound.insert(name.clone(), value);
    }
    let mut audits = Vec::new();
    for audit in &written.audits {
        let (line, column) = place_of(text, body.clone(), audit.trim());
        let parsed = Audit::parse(audit)
            .map_err(|why| Diagnosis::new("audit", why).in_file(file).at(line, 1).hint(format!("known audits are: {}", Audit::KNOWN)))?;
        audits.push(PlacedAudit { audit: parsed, text: audit.clone(), line, column });
    }
    Ok(FrontMatter {
        key: match written.key {
            Columns::None => Vec::new(),
            Columns::One(column) => vec![column],
            Columns::Many(columns) => columns,
        },
        params: bound,
        audits,
        owner: written.owner,
        description: written.description.or_else(|| {
            let after = text[body.end..].split_once("*/").and_then(|(_, after)| line_comment(after));
            after.or_else(|| line_comment(text))
        }),
        max_age: written.inputs.into_iter().map(|(table, input)| (table, input.max_age)).collect(),
    })
}

/// The typed defaults of the parameters an SQL text declares; none where it has no front matter.
///
/// # Errors
/// With the line in the SQL file.
pub(crate) fn params_of(text: &str, file: &Path) -> Result<BTreeMap<String, ScalarValue>, Box<Diagnosis>> {
    read(text, file).map(|front| front.params)
}

/// Where the TOML stands in the text; only other comments may stand before it.
fn body(text: &str, file: &Path) -> Result<Option<std::ops::Range<usize>>, Box<Diagnosis>> {
    let mut found = None;
    for (start, leading) in block_comments(text) {
        let inner = text[start + 2..].trim_start_matches([' ', '\t']);
        // A line of dashes is an ornament.
        let Some(after) = inner.strip_prefix("---").filter(|after| !after.starts_with('-')) else { continue };
        let wrong = |message: &str, hint: &str| {
            let line = text[..start].matches('\n').count() + 1;
            Box::new(Diagnosis::new("front_matter", message).in_file(file).at(line, 1).hint(hint))
        };
        if found.is_some() {
            return Err(wrong("there is a second front matter", "keep one, at the top of the file"));
        }
        if !leading {
            return Err(wrong(
                "the front matter stands after the SQL begins, where nothing would read it",
                "move it to the top of the file",
            ));
        }
        let unclosed = || wrong("the front matter is not closed", "close it with a line `--- */` before the SQL begins");
        let end = after.find("*/").ok_or_else(unclosed)?;
        let toml = after[..end].trim_end().strip_suffix("---").ok_or_else(unclosed)?;
        let from = text.len() - after.len();
        found = Some(from..from + toml.len());
    }
    Ok(found)
}

/// Where each block comment begins, and whether only comments stand before it.
fn block_comments(text: &str) -> Vec<(usize, bool)> {
    let mut found = Vec::new();
    let (mut at, mut leading) = (0, true);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        at += if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(comment) = rest.strip_prefix("/*") {
            found.push((at, leading));
            comment.find("*/").map_or(rest.len(), |end| end + 4)
        } else if c == '\'' || c == '"' {
            leading = false;
            rest[1..].find(c).map_or(rest.len(), |end| end + 2)
        } else {
            leading &= c.is_whitespace();
            c.len_utf8()
        };
    }
    found
}

/// The `--` comment a text begins with; one block comment may stand before it.
fn line_comment(text: &str) -> Option<String> {
    let mut rest = text.trim_start();
    if rest.starts_with("/*") {
        rest = rest.split_once("*/").map_or("", |(_, after)| after).trim_start();
    }
    config::comment(rest.lines().map_while(|line| line.trim_start().strip_prefix("--")))
}

/// The line an audit's text begins on, and the column where all of it stands there as it is; the front matter's first line where not even
/// its own first line does.
fn place_of(text: &str, body: std::ops::Range<usize>, audit: &str) -> (usize, Option<usize>) {
    let written = &text[body.clone()];
    let whole = written.find(audit);
    let first = || written.find(audit.lines().next().unwrap_or_default());
    let (line, column) = config::place(text, body.start + whole.or_else(first).unwrap_or(0));
    (line, whole.is_some().then_some(column))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Diagnosis {
        *read(text, Path::new("sql/segments/lapsed.sql")).unwrap_err()
    }

    #[test]
    fn a_file_says_what_it_is() {
        let text = "/* ---\nkey = \"customer_id\"\nparams = { quiet_days = 90 }\naudits = [\n  \"unique(customer_id)\",\n  \
                    \"rows(0, 50000)\"]\ninputs = { shop__orders = { max_age = \"36h\" } }\n--- */\n-- Customers who bought\n-- twice.\nselect 1";
        let front = read(text, Path::new("a.sql")).unwrap();
        assert_eq!(front.key, ["customer_id"]);
        assert_eq!(front.params["quiet_days"], ScalarValue::Int64(Some(90)));
        assert_eq!(front.audits.iter().map(|audit| audit.line).collect::<Vec<_>>(), [5, 6]);
        assert_eq!(front.description.as_deref(), Some("Customers who bought twice."));
        assert_eq!(front.max_age["shop__orders"], Period::hours(36));
    }

    #[test]
    fn a_file_needs_no_front_matter() {
        assert_eq!(read("-- Just words.\nselect 1", Path::new("a.sql")).unwrap().description.as_deref(), Some("Just words."));
        assert!(read("/* a comment */ select 1", Path::new("a.sql")).unwrap().key.is_empty());
    }

    #[test]
    fn an_unknown_key_is_an_error_on_its_line_of_the_sql_file() {
        let diagnosis = error("\n/* ---\nkey = \"a\"\nparms = { x = 1 }\n--- */\nselect 1");
        assert_eq!(
            (diagnosis.code.as_str(), diagnosis.line, diagnosis.hint.as_deref()),
            ("unknown_key", Some(4), Some("did you mean `params`?"))
        );
        assert_eq!(diagnosis.file.as_deref(), Some(Path::new("sql/segments/lapsed.sql")));
    }

    #[test]
    fn a_parameter_of_a_wrong_kind_or_name_is_an_error_on_its_line() {
        let diagnosis = error("/* ---\n[params]\na = 1\nb = [1]\n--- */\nselect 1");
        assert_eq!((diagnosis.code.as_str(), diagnosis.line), ("parameter", Some(4)));
        assert_eq!(error("/* ---\nparams = { as_of = 1 }\n--- */\nselect 1").line, Some(2));
    }

    #[test]
    fn an_unknown_audit_is_an_error_on_its_line() {
        let diagnosis = error("/* ---\naudits = [\n \"unique(a)\",\n \"uniqe(a)\"]\n--- */\nselect 1");
        assert_eq!((diagnosis.code.as_str(), diagnosis.line), ("audit", Some(4)));
    }

    #[test]
    fn a_place_beside_the_dashes_is_that_of_the_file() {
        let diagnosis = error("-- é\n  /* --- kez = 'a' --- */\nselect 1");
        assert_eq!((diagnosis.line, diagnosis.column), (Some(2), Some(10)));
    }

    #[test]
    fn a_query_among_the_audits_has_its_place_where_it_stands_as_it_is() {
        let text = "/* ---\naudits = ['select 1',\n  'select\t2', \"select\\t3\\n\", '''\nselect 4\nfrom a''']\n--- */\nselect 1";
        let front = read(text, Path::new("a.sql")).unwrap();
        let places: Vec<_> = front.audits.iter().map(|audit| (audit.line, audit.column)).collect();
        assert_eq!(places, [(2, Some(12)), (3, Some(4)), (1, None), (4, Some(1))]);
        let told = Diagnosis::new("code", "words").at(9, 9);
        assert_eq!(front.audits[1].put(told.clone()), told);
        assert_eq!(front.audits[2].put(told).line, Some(1), "its own lines are none of the file");
    }

    #[test]
    fn other_comments_may_stand_before_the_front_matter() {
        let text = "-- sqlfmt: off\n/* The shop's own. */\n/* ------ */\n/* ---\nkey = 'a'\naudits = ['rows(0, 1)']\n--- */\n-- What it is.\nselect 1";
        let front = read(text, Path::new("a.sql")).unwrap();
        assert_eq!((front.key, front.audits[0].line, front.description.as_deref()), (vec!["a".to_owned()], 6, Some("What it is.")));
        let front = read("-- What it is.\n/* ---\nkey = 'a'\n--- */\nselect 1", Path::new("a.sql")).unwrap();
        assert_eq!((front.key, front.description.as_deref()), (vec!["a".to_owned()], Some("What it is.")));
    }

    #[test]
    fn a_front_matter_that_nothing_would_read_is_an_error_on_its_line() {
        let late = error("-- Words.\nselect '/* ---', 1 -- /* ---\n/* ---\nkey = 'a'\n--- */\nfrom t");
        assert_eq!((late.code.as_str(), late.line), ("front_matter", Some(3)));
        let second = error("/* ---\nkey = 'a'\n--- */\n/* ---\nkey = 'b'\n--- */\nselect 1");
        assert_eq!((second.code.as_str(), second.line), ("front_matter", Some(4)));
    }

    #[test]
    fn an_unclosed_front_matter_is_an_error() {
        assert_eq!(error("/* ---\nkey = 'a'\nselect 1").code, "front_matter");
        assert_eq!(error("/* ---\nkey = 'a'\n*/\nselect 1").code, "front_matter");
    }
}
