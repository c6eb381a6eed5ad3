//! The TOML of a test file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    config::{self, FileKind},
    diagnosis::Diagnosis,
    model::{BrandDefaults, front_matter::Param},
};

/// The TOML files SQL tests are written in.
pub const TEST_FILE: FileKind =
    FileKind::of::<Written>("test", "sql/tests/*.toml", "Tests of one SQL file: rows given, rows expected, `$as_of` frozen.");

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The SQL file that is tested, by its name without `.sql`.
    test: Option<String>,
    /// The SQL file that is tested, by its path: `segments/lapsed.sql`; `test` says the same in fewer words.
    file: Option<PathBuf>,
    /// The logical time of all cases that name none: `2026-11-22T01:00:00Z`.
    #[schemars(with = "Option<String>")]
    as_of: Option<toml::Value>,
    /// Values in place of the defaults of the file's parameters, for all cases.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Param>")]
    params: BTreeMap<String, toml::Value>,
    /// The brand's defaults.
    brand: Option<WrittenBrand>,
    /// Values for columns that a given row does not name, by table.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, BTreeMap<String, Value>>")]
    default: BTreeMap<String, BTreeMap<String, toml::Value>>,
    /// The cases.
    #[serde(default)]
    case: Vec<WrittenCase>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WrittenBrand {
    /// `$brand_timezone`; `UTC` unless set.
    timezone: Option<String>,
    /// `$brand_currency`; `EUR` unless set.
    currency: Option<String>,
    /// `$brand_locale`; `en-GB` unless set.
    locale: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WrittenCase {
    /// What the case promises, in words.
    name: String,
    /// The logical time.
    #[schemars(with = "Option<String>")]
    as_of: Option<toml::Value>,
    /// Values in place of the defaults of the file's parameters.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Param>")]
    params: BTreeMap<String, toml::Value>,
    /// The tables the query reads, by name; one that is not given is empty.
    #[serde(default)]
    given: BTreeMap<String, Rows>,
    /// The rows that must come out.
    expect: Option<Rows>,
    /// The rows of the file's `with` clauses, by name, beside or instead of `expect`.
    #[serde(default)]
    expect_in: BTreeMap<String, Rows>,
    /// Whether only the columns named in the expected rows count.
    #[serde(default)]
    partial: bool,
}

/// Rows as they are written.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "rows are a list of tables, or CSV text with a header line")]
pub(super) enum Rows {
    /// CSV with a header line; a blank cell is NULL, `""` is empty text.
    Csv(String),
    /// One table a row.
    #[schemars(with = "Vec<BTreeMap<String, Value>>")]
    Tables(Vec<BTreeMap<String, toml::Value>>),
}

/// One case, with everything its file says for all of them.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// The test file.
    pub(super) file: PathBuf,
    /// Its line there.
    pub(super) line: Option<usize>,
    /// The tested SQL file's name.
    pub(super) test: String,
    /// What the case promises.
    pub(super) name: String,
    /// The logical time.
    pub(super) as_of: toml::Value,
    /// Parameters in place of their defaults.
    pub(super) params: BTreeMap<String, toml::Value>,
    /// The brand's defaults.
    pub(super) brand: BrandDefaults,
    /// Values for columns a given row does not name, by table.
    pub(super) default: BTreeMap<String, BTreeMap<String, toml::Value>>,
    /// The tables.
    pub(super) given: BTreeMap<String, Rows>,
    /// What must come out; of the whole file where no `with` clause is named.
    pub(super) expect: Vec<(Option<String>, Rows)>,
    /// Whether only the named columns count.
    pub(super) partial: bool,
}

/// A test file.
#[derive(Debug)]
pub(super) struct File(Vec<Case>);

impl File {
    pub(super) fn cases(self) -> Vec<Case> {
        self.0
    }
}

/// Reads a test file.
pub(super) fn read(text: &str, path: &Path) -> Result<File, Box<Diagnosis>> {
    let written: Written = config::parse(text, path).map_err(|error| error.0)?;
    let problem = |message: String| Diagnosis::new("test", message).in_file(path);
    let named = written.file.as_ref().and_then(|file| file.file_stem()).map(|stem| stem.to_string_lossy().into_owned());
    let Some(test) = written.test.or(named) else {
        return Err(problem("it does not say which SQL file it tests".to_owned())
            .at(1, 1)
            .hint("begin with a line `test = \"lapsed\"`")
            .into());
    };
    let lines = config::lines(text, "case");
    let brand = written.brand.unwrap_or(WrittenBrand { timezone: None, currency: None, locale: None });
    let brand = BrandDefaults {
        timezone: brand.timezone.unwrap_or_else(|| "UTC".to_owned()),
        currency: brand.currency.unwrap_or_else(|| "EUR".to_owned()),
        locale: brand.locale.unwrap_or_else(|| "en-GB".to_owned()),
    };
    let mut cases: Vec<Case> = Vec::new();
    for (position, case) in written.case.into_iter().enumerate() {
        let line = lines.get(position).copied();
        let at = |diagnosis: Diagnosis| match line {
            Some(line) => diagnosis.at(line, 1),
            None => diagnosis,
        };
        if cases.iter().any(|earlier| earlier.name == case.name) {
            return Err(at(problem(format!("two cases are called `{}`", case.name))).hint("say in the name what each promises").into());
        }
        let Some(as_of) = case.as_of.or_else(|| written.as_of.clone()) else {
            return Err(at(problem(format!("the case `{}` has no `as_of`", case.name)))
                .hint("add `as_of = \"2026-11-22T01:00:00Z\"` to the case, or to the top of the file for all cases")
                .into());
        };
        let of_parts = case.expect_in.into_iter().map(|(part, rows)| (Some(part), rows));
        let expect: Vec<(Option<String>, Rows)> = case.expect.map(|rows| (None, rows)).into_iter().chain(of_parts).collect();
        if expect.is_empty() {
            return Err(at(problem(format!("the case `{}` expects nothing", case.name)))
                .hint("add `expect = [{ … }]`, `expect = []` for no rows, or `expect_in.name = [{ … }]` for the rows of a `with` clause")
                .into());
        }
        let mut params = written.params.clone();
        params.extend(case.params);
        cases.push(Case {
            file: path.to_owned(),
            line,
            test: test.clone(),
            name: case.name,
            as_of,
            params,
            brand: brand.clone(),
            default: written.default.clone(),
            given: case.given,
            expect,
            partial: case.partial,
        });
    }
    Ok(File(cases))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_inherits_what_its_file_says_for_all() {
        let text = "test = \"lapsed\"\nas_of = 2026-11-22T01:00:00Z\nparams = { a = 1, b = 2 }\n\n[[case]]\nname = \"one\"\nparams = { b = 3 }\n\
                    given.orders = \"\"\"\norder_id\no1\n\"\"\"\nexpect = []\n";
        let cases = read(text, Path::new("t.toml")).unwrap().cases();
        assert_eq!((cases[0].test.as_str(), cases[0].line), ("lapsed", Some(5)));
        assert_eq!(cases[0].params["b"], toml::Value::Integer(3));
        assert_eq!(cases[0].given["orders"], Rows::Csv("order_id\no1\n".into()));
        assert_eq!(cases[0].expect, [(None, Rows::Tables(Vec::new()))]);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let error = |text: &str| *read(text, Path::new("t.toml")).unwrap_err();
        assert_eq!(error("as_of = 'x'\n").line, Some(1));
        let unknown = error("test = 'a'\nas_of = 'x'\n[[case]]\nname = 'n'\nexpekt = []\n");
        assert_eq!((unknown.line, unknown.hint.as_deref()), (Some(5), Some("did you mean `expect`?")));
        assert_eq!(error("test = 'a'\n[[case]]\nname = 'n'\nexpect = []\n").line, Some(2));
        let twice = error("test = 'a'\nas_of = '''\n[[case]]\n'''\ncase = [\n{ name = 'n', expect = [] },\n{ name = 'n', expect = [] }]\n");
        assert_eq!(twice.line, Some(7), "however a case is written");
        let nothing = error("test = 'a'\nas_of = 'x'\n\n[[case]]\nname = 'n'\n");
        assert_eq!((nothing.line, nothing.message.as_str()), (Some(4), "the case `n` expects nothing"));
    }
}
