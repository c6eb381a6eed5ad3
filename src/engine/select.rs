//! The lock-down: an SQL text is one `SELECT` that reads tables by their bare names, and nothing that differs from run to run.

use std::{collections::BTreeSet, ops::ControlFlow};

use datafusion::{
    common::TableReference,
    sql::{
        parser::{DFParserBuilder, Statement},
        resolve::resolve_table_references,
        sqlparser::{
            ast::{
                Expr, Function, Query, Select, SetExpr, Spanned, Statement as SqlStatement, TableFactor, Value, ValueWithSpan, Visit,
                Visitor,
            },
            tokenizer::{Span, Token},
        },
    },
};

use super::{
    determinism::{self, Limited},
    diagnosis::explain,
    error::EngineError,
    places,
    query::{Origin, Place},
};
use crate::diagnosis::{Diagnosis, Finding};

/// How deep brackets and subqueries may nest.
const DEPTH: usize = 60;

/// What gives another answer at every call, and what to write instead.
const REFUSED: &[(&str, &str)] = &[
    ("now", "use $as_of"),
    ("current_timestamp", "use $as_of"),
    ("current_date", "use $as_of"),
    ("current_time", "use $as_of"),
    ("localtime", "use $as_of"),
    ("localtimestamp", "use $as_of"),
    ("today", "use $as_of"),
    ("random", NO_CHANCE),
    ("rand", NO_CHANCE),
    ("uuid", "use a key the data has"),
    ("input_file_name", NO_FILES),
    ("file_row_index", NO_FILES),
];

const NO_CHANCE: &str = "use hash_bucket(key, 'a word of your own', n), which gives a key the same number every night";
const NO_FILES: &str = "which file holds a row changes whenever its table is written; use a column the data has";

/// A text that is one `SELECT` and nothing else.
#[derive(Debug, Clone)]
pub struct ParsedSelect {
    /// The tables it reads, without the names of its own `with` clauses.
    pub tables: BTreeSet<String>,
    /// The parameters it binds, without the `$`.
    pub params: BTreeSet<String>,
    /// What may make two runs differ: unordered `array_agg` or `first_value`, `limit` without an order.
    pub findings: Vec<Finding>,
    /// How the rows are ordered of which the query keeps some; none where it keeps all.
    pub limited: Option<Limited>,
}

/// Reads an SQL text; refuses everything but one `SELECT`, and `now()` and its kin.
///
/// # Errors
/// With line and column.
pub fn parse_select(sql: &str, origin: Origin<'_>) -> Result<ParsedSelect, EngineError> {
    read(sql, origin).map(|(_, parsed)| parsed)
}

/// Whether a function is refused by name.
pub(super) fn is_refused(function: &str) -> bool {
    REFUSED.iter().any(|(name, _)| *name == function)
}

/// The syntax tree beside what [`parse_select`] tells.
pub(super) fn read(sql: &str, origin: Origin<'_>) -> Result<(SqlStatement, ParsedSelect), EngineError> {
    let wrong = |code: &str, message: String, place: Option<Place>, hint: &str| {
        EngineError::wrong(origin.place(Diagnosis::new(code, message).hint(hint), place))
    };
    // Before the parser trips over words only other statements have.
    let first = places::tokens(sql).into_iter().find(|token| !matches!(token.token, Token::SemiColon | Token::LParen));
    let Some(first) = first.filter(|token| token.token != Token::EOF) else {
        // Either nothing stands there, or it does not fall into tokens; the parser knows which.
        return match DFParserBuilder::new(sql).with_recursion_limit(DEPTH).build() {
            Err(error) => Err(explain(&error, sql, origin, &Default::default())),
            Ok(_) => Err(wrong("sql_empty", "there is no query here".to_owned(), None, "write one `select`")),
        };
    };
    let begins = first.token.to_string().to_lowercase();
    if !matches!(begins.as_str(), "select" | "with" | "from" | "values") {
        let hint = "an SQL text is one `select`; `with … select` is fine, too";
        return Err(wrong("sql_not_select", format!("`{begins}` is not a query"), places::start(first.span), hint));
    }
    let parser = DFParserBuilder::new(sql).with_recursion_limit(DEPTH).build();
    let statements = parser.and_then(|mut parser| parser.parse_statements()).map_err(|error| {
        // `select 1 drop table x` is a syntax error of its own, `select 1; drop …` may not parse either: the first is said.
        explain(&error, sql, origin, &Default::default())
    })?;
    if statements.len() > 1 {
        let hint = "keep one `select` a file; put steps into `with` clauses or files of their own";
        return Err(wrong("sql_statements", "there is more than one statement".to_owned(), places::of_second_statement(sql), hint));
    }
    let statement = match statements.into_iter().next() {
        Some(Statement::Statement(statement)) if matches!(*statement, SqlStatement::Query(_)) => *statement,
        _ => {
            let hint = "an SQL text is one `select`; `with … select` is fine, too";
            return Err(wrong("sql_not_select", format!("`{begins}` is not a query"), places::start(first.span), hint));
        }
    };
    let mut reader = Reader { sql, origin, params: BTreeSet::new(), functions: BTreeSet::new(), bare: BTreeSet::new() };
    if let ControlFlow::Break(error) = statement.visit(&mut reader) {
        return Err(*error);
    }
    let (tables, _) = resolve_table_references(&Statement::Statement(Box::new(statement.clone())), true)
        .map_err(|error| explain(&error, sql, origin, &Default::default()))?;
    let mut names = BTreeSet::new();
    for table in tables {
        let name = match table {
            TableReference::Bare { table } => table.to_string(),
            qualified => {
                let place = places::of_name(sql, &qualified.to_string());
                let hint = "name the table alone; every table has one name";
                return Err(wrong("sql_qualified_table", format!("`{qualified}` is not the bare name of a table"), place, hint));
            }
        };
        if !reader.functions.contains(&name) || reader.bare.contains(&name) {
            names.insert(name);
        }
    }
    let findings = determinism::findings(&statement, origin);
    let limited = determinism::limited(&statement);
    Ok((statement, ParsedSelect { tables: names, params: reader.params, findings, limited }))
}

/// Walks the syntax tree for what is refused and what is bound.
struct Reader<'a> {
    sql: &'a str,
    origin: Origin<'a>,
    params: BTreeSet<String>,
    /// Functions in the place of a table: `generate_series(…)`.
    functions: BTreeSet<String>,
    bare: BTreeSet<String>,
}

impl Reader<'_> {
    fn refuse(&self, code: &str, message: impl Into<String>, span: Span, hint: &str) -> ControlFlow<Box<EngineError>> {
        let diagnosis = Diagnosis::new(code, message).hint(hint);
        ControlFlow::Break(Box::new(EngineError::wrong(self.origin.place(diagnosis, places::start(span)))))
    }

    fn function(&self, function: &Function) -> ControlFlow<Box<EngineError>> {
        let name = determinism::name_of(function);
        match REFUSED.iter().find(|(refused, _)| *refused == name) {
            Some((_, hint)) => {
                let message = format!("`{name}` gives another answer at every run");
                self.refuse("sql_not_repeatable", message, function.name.span(), hint)
            }
            None => ControlFlow::Continue(()),
        }
    }
}

impl Visitor for Reader<'_> {
    type Break = Box<EngineError>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        let hint = "an SQL text only reads; the program writes the result into the table named like the file";
        match query.body.as_ref() {
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                self.refuse("sql_not_select", "a query cannot write to a table", query.body.span(), hint)
            }
            _ if !query.locks.is_empty() => self.refuse("sql_not_select", "a query cannot lock rows", query.body.span(), hint),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        match &select.into {
            Some(into) => {
                let hint = "leave `into` out; the result becomes the table named like the file";
                self.refuse("sql_not_select", "`select … into` would write to a table", into.name.span(), hint)
            }
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        match factor {
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                let place = places::of_name(self.sql, "tablesample");
                let diagnosis = Diagnosis::new("sql_not_repeatable", "`tablesample` reads other rows in every run").hint(NO_CHANCE);
                return ControlFlow::Break(Box::new(EngineError::wrong(self.origin.place(diagnosis, place))));
            }
            TableFactor::Table { name, args, .. } => {
                let function = args.is_some();
                if let [part] = name.0.as_slice()
                    && let Some(ident) = part.as_ident()
                {
                    let name = ident.value.to_lowercase();
                    if function {
                        self.functions.insert(name)
                    } else {
                        self.bare.insert(name)
                    };
                }
            }
            TableFactor::Function { name, .. } => {
                self.functions.insert(name.to_string().to_lowercase());
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Function(function) => self.function(function),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<Self::Break> {
        let Value::Placeholder(text) = &value.value else { return ControlFlow::Continue(()) };
        match text.strip_prefix('$') {
            Some(name) if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') => {
                self.params.insert(name.to_owned());
                ControlFlow::Continue(())
            }
            _ => {
                let span = places::of_name(self.sql, text).map_or(value.span, |_| value.span);
                self.refuse("sql_parameter", format!("`{text}` is not a parameter"), span, "name it: `$quiet_days`")
            }
        }
    }
}
