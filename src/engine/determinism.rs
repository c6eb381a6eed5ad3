//! What may make two runs over the same rows differ: the engine reads rows in no order of its own.

use std::{collections::HashMap, ops::ControlFlow};

use datafusion::sql::sqlparser::{
    ast::{
        Distinct, Expr, Function, FunctionArgumentClause, FunctionArguments, Ident, LimitClause, NamedWindowDefinition, NamedWindowExpr,
        OrderByKind, Query, Select, SelectItem, SetExpr, Spanned, Statement, Visit, Visitor, WindowType,
    },
    tokenizer::Span,
};

use super::{places, query::Origin};
use crate::diagnosis::{Diagnosis, Finding};

/// Aggregates whose answer depends on the order rows come in.
const ORDERED_AGGREGATES: &[&str] = &["array_agg", "first_value", "last_value", "nth_value", "string_agg"];
/// The aggregate that takes a row at will, and knows no order.
const ANY: &str = "any_value";
/// Window functions that mean nothing without an order, beside those aggregates.
const ORDERED_WINDOWS: &[&str] = &["row_number", "rank", "dense_rank", "ntile", "percent_rank", "cume_dist", "lag", "lead"];
/// Window functions that hold their whole input in memory nobody counts.
const HOLDS_ALL: &[&str] = &["ntile", "percent_rank", "cume_dist"];

/// The name of a function as the engine looks it up.
pub(super) fn name_of(function: &Function) -> String {
    let last = function.name.0.last().and_then(|part| part.as_ident());
    last.map(|ident| ident.value.to_lowercase()).unwrap_or_default()
}

/// What in a query may make two runs differ.
pub(super) fn findings(statement: &Statement, origin: Origin<'_>) -> Vec<Finding> {
    let mut linter = Linter { origin, windows: Vec::new(), findings: Vec::new() };
    let _: ControlFlow<()> = statement.visit(&mut linter);
    linter.findings
}

/// A `limit` on the whole query, and what says which rows it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    /// The columns of the result that its rows are ordered by; none where `order by` is not there or names all.
    pub by: Option<Vec<String>>,
    /// Line and column of the order, from 1.
    pub place: Option<(usize, usize)>,
}

/// How the rows of a query with a `limit` are ordered.
pub(super) fn limited(statement: &Statement) -> Option<Limited> {
    let Statement::Query(query) = statement else { return None };
    limit_of(query)?;
    let order = query.order_by.as_ref()?;
    let place = places::start(order.span());
    let OrderByKind::Expressions(expressions) = &order.kind else { return Some(Limited { by: None, place }) };
    let items = match query.body.as_ref() {
        SetExpr::Select(select) => select.projection.as_slice(),
        _ => &[],
    };
    let by = expressions.iter().filter_map(|ordered| match &ordered.expr {
        Expr::Value(value) => items.get(value.to_string().parse::<usize>().ok()?.checked_sub(1)?).and_then(column_of),
        // `order by o.id` orders the result's column that is `o.id`, whatever it is called.
        expr => items
            .iter()
            .find(|item| matches!(item, SelectItem::ExprWithAlias { expr: selected, .. } if selected == expr))
            .map_or_else(|| last_name(expr), column_of),
    });
    Some(Limited { by: Some(by.collect()), place })
}

/// The span of a query's `limit` or `fetch`; none without one.
fn limit_of(query: &Query) -> Option<Span> {
    match (&query.limit_clause, &query.fetch) {
        (Some(LimitClause::LimitOffset { limit: None, offset: None, .. }), None) | (None, None) => None,
        (Some(clause), _) => Some(clause.span()),
        (None, Some(fetch)) => Some(fetch.span()),
    }
}

/// What a column of the result is called, where it is a name.
fn column_of(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expr) => last_name(expr),
        SelectItem::ExprWithAlias { alias, .. } => Some(plain(alias)),
        _ => None,
    }
}

fn last_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(plain(name)),
        Expr::CompoundIdentifier(names) => names.last().map(plain),
        _ => None,
    }
}

fn plain(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

struct Linter<'a> {
    origin: Origin<'a>,
    /// Of the selects around, the names in the `window` clause of each; whether a window of that name has no order.
    windows: Vec<HashMap<String, bool>>,
    findings: Vec<Finding>,
}

impl Linter<'_> {
    fn error(&mut self, code: &str, message: String, span: Span, hint: &str) {
        let place = places::start(span);
        self.findings.push(Finding::error(self.origin.place(Diagnosis::new(code, message).hint(hint), place)));
    }

    fn function(&mut self, function: &Function) {
        let name = name_of(function);
        let span = function.name.span();
        match &function.over {
            _ if name == ANY => {
                let hint = "use min(…), or first_value(… order by …) with a key last so that no two rows are equal";
                self.error("sql_unordered", format!("`{name}` takes any row, so two runs may differ"), span, hint);
            }
            None if ORDERED_AGGREGATES.contains(&name.as_str()) && !is_ordered(function) => {
                let hint = format!("order its rows: `{name}(… order by …)`, with a key last so that no two rows are equal");
                self.error("sql_unordered", format!("`{name}` takes its rows in any order, so two runs may differ"), span, &hint);
            }
            Some(window)
                if (ORDERED_WINDOWS.contains(&name.as_str()) || ORDERED_AGGREGATES.contains(&name.as_str()))
                    && !is_ordered(function)
                    && self.without_order(window) =>
            {
                let hint = "give the window an `order by`, with a key last so that no two rows are equal";
                self.error(
                    "sql_unordered",
                    format!("`{name}` takes the rows of its window in any order, so two runs may differ"),
                    span,
                    hint,
                );
            }
            _ => {}
        }
        if function.over.is_some() && HOLDS_ALL.contains(&name.as_str()) {
            let message = format!("`{name}` holds all its rows in memory and spills none");
            let hint = "score the distinct values (`group by` first) and join back";
            let diagnosis = Diagnosis::new("sql_unbounded_window", message).hint(hint);
            self.findings.push(Finding::warning(self.origin.place(diagnosis, places::start(span))));
        }
    }
}

impl Linter<'_> {
    /// Whether a window has no `order by`. Names that are not there are left to the planner.
    fn without_order(&self, window: &WindowType) -> bool {
        match window {
            WindowType::WindowSpec(own) => own.order_by.is_empty(),
            WindowType::NamedWindow(name) => self.windows.last().and_then(|known| known.get(&plain(name))).copied().unwrap_or(false),
        }
    }
}

/// Of each name in a `window` clause, whether its window has no `order by`. Of two windows of one name, the first counts.
fn unordered_windows(definitions: &[NamedWindowDefinition]) -> HashMap<String, bool> {
    let mut known = HashMap::new();
    for NamedWindowDefinition(name, definition) in definitions {
        if let NamedWindowExpr::WindowSpec(window) = definition {
            known.entry(plain(name)).or_insert(window.order_by.is_empty());
        }
    }
    known
}

impl Visitor for Linter<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.windows.push(unordered_windows(&select.named_window));
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &Select) -> ControlFlow<()> {
        self.windows.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if query.order_by.is_some() {
            return ControlFlow::Continue(());
        }
        if let SetExpr::Select(select) = query.body.as_ref()
            && let Some(Distinct::On(on)) = &select.distinct
        {
            let span = on.first().map_or_else(Span::empty, Spanned::span);
            let message = "`distinct on` without `order by` keeps any row, so two runs may differ".to_owned();
            self.error("sql_unordered", message, span, "add `order by`, beginning with the columns of `distinct on`");
        }
        let Some(limit) = limit_of(query) else { return ControlFlow::Continue(()) };
        // A span covers the number, not the word before it; without one, the word is looked for.
        let span = if places::start(limit).is_some() { limit } else { query.span() };
        let message = "`limit` without `order by` keeps any rows, so two runs may differ".to_owned();
        self.error("sql_unordered_limit", message, span, "add `order by`, with a key last so that no two rows are equal");
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            self.function(function);
        }
        ControlFlow::Continue(())
    }
}

fn is_ordered(function: &Function) -> bool {
    let clause = match &function.args {
        FunctionArguments::List(list) => list.clauses.iter().any(|clause| matches!(clause, FunctionArgumentClause::OrderBy(_))),
        _ => false,
    };
    clause || !function.within_group.is_empty()
}
