//! The lock-down: an SQL text is one `SELECT` that reads tables by their bare names, and nothing that differs from run to run.

use std::{collections::BTreeSet, ops::ControlFlow};

use datafusion::{
    common::TableReference,
    sql::{
        parser::Statement,
        resolve::resolve_table_references,
        sqlparser::{
            ast::{
                BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, JoinConstraint,
                JoinOperator, NamedWindowDefinition, NamedWindowExpr, Query, Select, SetExpr, Spanned, Statement as SqlStatement,
                TableFactor, Value, ValueWithSpan, Visit, Visitor, WindowType, visit_expressions,
            },
            tokenizer::{Span, Token},
        },
    },
};

use super::{
    determinism::{self, Limited},
    diagnosis::explain,
    error::EngineError,
    parser::{self, Unread},
    places,
    query::{Origin, Place},
    weight,
};
use crate::{
    config::nearest,
    diagnosis::{Diagnosis, Finding},
};

/// Characters of a text.
const LONGEST: usize = 200_000;

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
    ("approx_percentile_cont", NO_GUESS),
    ("approx_percentile_cont_with_weight", NO_GUESS),
    ("approx_median", NO_GUESS),
    ("version", "what the engine is called has no meaning for customers"),
];

/// Functions that make something as large as a number says, and so before any row is read.
const MAKERS: &[&str] =
    &["repeat", "lpad", "rpad", "range", "generate_series", "array_repeat", "list_repeat", "array_resize", "list_resize"];
/// The largest number one of [`MAKERS`] may be given.
const LARGEST: u64 = 100_000;

const NO_CHANCE: &str = "use hash_bucket(key, 'a word of your own', n), which gives a key the same number every night";
const NO_GUESS: &str =
    "it depends on how the rows are spread; `median` is exact, and quantile_cuts(value, n) gives the same cuts in every run";
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

/// The text of the query that gives the rows of one of its own `with` clauses; every place in it is that of the whole text.
///
/// # Errors
/// Where the text cannot be read, or has no such clause.
pub fn part_of(sql: &str, part: &str, origin: Origin<'_>) -> Result<String, EngineError> {
    let (statement, _) = read(sql, origin)?;
    let with = match &statement {
        SqlStatement::Query(query) => query.with.as_ref(),
        _ => None,
    };
    let clauses = with.map(|with| with.cte_tables.as_slice()).unwrap_or_default();
    let names: Vec<&str> = clauses.iter().map(|clause| clause.alias.name.value.as_str()).collect();
    let last = clauses.last().map(|clause| clause.closing_paren_token.0.span.end);
    let named = clauses.iter().find(|clause| clause.alias.name.value.eq_ignore_ascii_case(part));
    let (Some(clause), Some(end)) = (named, last) else {
        let diagnosis = Diagnosis::new("unknown_part", format!("the query has no `with` clause `{part}`"));
        return Err(EngineError::wrong(origin.place(
            match nearest(part, names.iter().copied()) {
                Some(near) => diagnosis.hint(format!("did you mean `{near}`?")),
                None if names.is_empty() => diagnosis.hint("it has no `with` clauses at all"),
                None => diagnosis.hint(format!("its clauses are: {}", names.join(", "))),
            },
            None,
        )));
    };
    let kept = places::before(sql, end);
    Ok(format!("{kept}\nselect * from {}", clause.alias.name))
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
    if let Some((place, unseen)) = places::unseen(sql) {
        let message = format!("there is a character here that nobody can see: U+{:04X}", u32::from(unseen));
        let hint = "delete it, and type the words around it anew; such a character makes a text read otherwise than it is carried out";
        return Err(wrong("sql_unseen", message, Some(place), hint));
    }
    if sql.len() > LONGEST {
        let message = format!("the text has {} characters; more than {LONGEST} are not read", sql.len());
        let hint = "put long lists of values into a table of their own, and join it";
        return Err(wrong("sql_too_large", message, None, hint));
    }
    // Before the parser trips over words only other statements have.
    let first = places::tokens(sql).into_iter().find(|token| !matches!(token.token, Token::SemiColon | Token::LParen));
    let Some(first) = first.filter(|token| token.token != Token::EOF) else {
        // Either nothing stands there, or it does not fall into tokens; the parser knows which.
        return match parser::parse(sql) {
            Err(Unread::Wrong(error)) => Err(explain(&error, sql, origin, &Default::default())),
            _ => Err(wrong("sql_empty", "there is no query here".to_owned(), Some((1, 1)), "write one `select`")),
        };
    };
    let begins = first.token.to_string().to_lowercase();
    if !matches!(begins.as_str(), "select" | "with" | "from" | "values") {
        let hint = "an SQL text is one `select`; `with … select` is fine, too";
        return Err(wrong("sql_not_select", format!("`{begins}` is not a query"), places::start(first.span), hint));
    }
    let statements = parser::parse(sql).map_err(|unread| match unread {
        // `select 1 drop table x` is a syntax error of its own, `select 1; drop …` may not parse either: the first is said.
        Unread::Wrong(error) => explain(&error, sql, origin, &Default::default()),
        Unread::Endless(place) => {
            let hint = "put parts of it into `with` clauses; or a mistake inside the brackets, here or before, keeps them from being read";
            wrong("sql_syntax", "the query nests too deep".to_owned(), place, hint)
        }
        Unread::Long(most, what, place) => {
            let message = format!("the query has more than {most} {what}");
            wrong("sql_too_large", message, place, "put long lists of values into a table of their own, and join it")
        }
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
    let (weight, heavy) = weight::weight(&statement);
    if weight > weight::MOST {
        let place = heavy.as_deref().and_then(|name| places::of_name(sql, name));
        let message =
            format!("its `with` clauses name each other so often that the query comes to {weight} parts; {} is the most", weight::MOST);
        let hint = "put what is named so often into a file of its own in sql/models, where it is computed once";
        return Err(wrong("sql_too_large", message, place, hint));
    }
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

/// The whole numbers a function is given as they stand.
fn numbers(function: &Function) -> impl Iterator<Item = u64> {
    let given = match &function.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    given.iter().filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }))) => {
            number.parse::<f64>().ok().map(|number| number as u64)
        }
        _ => None,
    })
}

/// Whether a join that wants a condition has none.
fn is_bare(join: &JoinOperator) -> bool {
    use JoinOperator::{Anti, FullOuter, Inner, Join, Left, LeftAnti, LeftOuter, LeftSemi, Right, RightAnti, RightOuter, RightSemi, Semi};
    match join {
        Join(on) | Inner(on) | Left(on) | LeftOuter(on) | Right(on) | RightOuter(on) | FullOuter(on) => matches!(on, JoinConstraint::None),
        Semi(on) | LeftSemi(on) | RightSemi(on) | Anti(on) | LeftAnti(on) | RightAnti(on) => matches!(on, JoinConstraint::None),
        _ => false,
    }
}

/// Refuses `filter`, `over` and `distinct` on functions that look at one row, where the engine would pass over them in silence.
pub(super) fn refuse_idle_words(statement: &SqlStatement, origin: Origin<'_>, plain: impl Fn(&str) -> bool) -> Result<(), EngineError> {
    let looked = visit_expressions(statement, |expr| {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let distinct = matches!(&function.args, FunctionArguments::List(list) if list.duplicate_treatment.is_some());
        let word = match (function.filter.is_some(), function.over.is_some(), distinct) {
            (true, ..) => "filter",
            (_, true, _) => "over",
            (.., true) => "distinct",
            _ => return ControlFlow::Continue(()),
        };
        let name = determinism::name_of(function);
        if !plain(&name) {
            return ControlFlow::Continue(());
        }
        let message = format!("`{name}` looks at one row at a time, so `{word}` has no meaning for it");
        let hint = "leave it out, or use an aggregate such as max(…)";
        let diagnosis = Diagnosis::new("sql_unsupported", message).hint(hint);
        ControlFlow::Break(EngineError::wrong(origin.place(diagnosis, places::start(function.name.span()))))
    });
    match looked {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Whether an expression is the word `null`.
fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Null, .. }) => true,
        Expr::Nested(inner) => is_null(inner),
        _ => false,
    }
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

    /// Refuses a clause that the engine would pass over in silence.
    fn clause(&self, word: &str, hint: &str) -> ControlFlow<Box<EngineError>> {
        let diagnosis = Diagnosis::new("sql_unsupported", format!("a query cannot have a clause `{word}`")).hint(hint);
        let place = places::last_of_name(self.sql, word);
        ControlFlow::Break(Box::new(EngineError::wrong(self.origin.place(diagnosis, place))))
    }

    /// DataFusion 55 forgets what a window is built upon.
    fn window(&self, other: Option<&Ident>) -> ControlFlow<Box<EngineError>> {
        let Some(name) = other else { return ControlFlow::Continue(()) };
        let hint = "write its `partition by` and `order by` out here; `over NAME`, without brackets, takes a named window as it is";
        self.refuse("sql_unsupported", format!("a window cannot be built upon another: `{name}`"), name.span, hint)
    }

    fn function(&self, function: &Function) -> ControlFlow<Box<EngineError>> {
        if let Some(WindowType::WindowSpec(window)) = &function.over {
            self.window(window.window_name.as_ref())?;
        }
        let name = determinism::name_of(function);
        if MAKERS.contains(&name.as_str()) && numbers(function).any(|number| number > LARGEST) {
            let hint = "a list or text of that size belongs in a table; `generate_series` behind `from` gives rows one after the other";
            let message = format!("`{name}` would make something of more than {LARGEST} parts");
            return self.refuse("sql_too_large", message, function.name.span(), hint);
        }
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
            _ if query.settings.is_some() => self.clause("settings", "[engine] in config/perennial.toml has the settings of all queries"),
            _ if query.format_clause.is_some() => self.clause("format", "`perennial query --format` decides how rows are shown"),
            _ if query.for_clause.is_some() => self.clause("for", "`perennial query --format` decides how rows are shown"),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        if let Some(into) = &select.into {
            let hint = "leave `into` out; the result becomes the table named like the file";
            return self.refuse("sql_not_select", "`select … into` would write to a table", into.name.span(), hint);
        }
        let joins = select.from.iter().flat_map(|from| &from.joins);
        if let Some(join) = joins.into_iter().find(|join| is_bare(&join.join_operator)) {
            let hint = "add `on …`, or write `cross join` where every row is to meet every other";
            let message = format!("`{}` is joined without a condition", join.relation);
            return self.refuse("sql_join", message, join.relation.span(), hint);
        }
        for NamedWindowDefinition(_, window) in &select.named_window {
            self.window(match window {
                NamedWindowExpr::NamedWindow(other) => Some(other),
                NamedWindowExpr::WindowSpec(window) => window.window_name.as_ref(),
            })?;
        }
        let elsewhere = "it belongs to another database; plain `where`, `group by` and `order by` say the same";
        let counted = matches!(&select.group_by, GroupByExpr::All(with) | GroupByExpr::Expressions(_, with) if !with.is_empty());
        let unheard = [
            (counted, "with"),
            (select.prewhere.is_some(), "prewhere"),
            (!select.connect_by.is_empty(), "connect"),
            (!select.distribute_by.is_empty(), "distribute"),
            (select.value_table_mode.is_some(), "as"),
            (select.select_modifiers.as_ref().is_some_and(|modifiers| modifiers.is_any_set()), "select"),
        ];
        match unheard.iter().find(|(given, _)| *given) {
            Some((_, word)) => self.clause(word, elsewhere),
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
            TableFactor::Table { name, args, with_hints, version, with_ordinality, partitions, json_path, index_hints, .. } => {
                let hinted = !with_hints.is_empty() || !index_hints.is_empty() || !partitions.is_empty();
                if hinted || version.is_some() || json_path.is_some() || *with_ordinality {
                    let hint = "name the table alone; how it is read, and which version, is the same for the whole run";
                    let message = format!("what is said beside the table `{name}` has no meaning here");
                    return self.refuse("sql_unsupported", message, name.span(), hint);
                }
                let [part] = name.0.as_slice() else { return ControlFlow::Continue(()) };
                let Some(ident) = part.as_ident() else {
                    let hint = "write the name of a table as it is; it cannot be computed";
                    return self.refuse("sql_unsupported", format!("`{name}` is not the name of a table"), name.span(), hint);
                };
                let named = ident.value.to_lowercase();
                if args.is_some() {
                    self.functions.insert(named)
                } else {
                    self.bare.insert(named)
                };
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
            Expr::InList { expr, list, negated: true } if list.iter().any(is_null) => {
                let hint = "leave the null out, and say `x is not null and x not in (…)`";
                self.refuse("sql_null", "with a null in its list, `not in` is never true", expr.span(), hint)
            }
            Expr::BinaryOp { left, op: BinaryOperator::Eq | BinaryOperator::NotEq, right } if is_null(left) || is_null(right) => {
                let hint = "write `is null` or `is not null`";
                self.refuse("sql_null", "nothing is equal to null, and nothing differs from it", right.span(), hint)
            }
            // The parser takes everything that follows for the right side: `a is distinct from b and c` means `a is distinct from (b and c)`.
            Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right)
                if matches!(right.as_ref(), Expr::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, .. }) =>
            {
                let hint = "write `(a is distinct from b) and c`";
                self.refuse(
                    "sql_brackets",
                    "put brackets around what is (not) distinct, so that it ends where you mean it to",
                    right.span(),
                    hint,
                )
            }
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
