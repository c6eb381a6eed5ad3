//! What may make two runs over the same rows differ: the engine reads rows in no order of its own.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{
        Distinct, Expr, Function, FunctionArgumentClause, FunctionArguments, LimitClause, Query, SetExpr, Spanned, Statement, Visit,
        Visitor, WindowType,
    },
    tokenizer::Span,
};

use super::{places, query::Origin};
use crate::diagnosis::{Diagnosis, Finding};

/// Aggregates whose answer depends on the order rows come in.
const ORDERED_AGGREGATES: &[&str] = &["array_agg", "first_value", "last_value", "nth_value", "string_agg"];
/// Window functions that mean nothing without an order.
const ORDERED_WINDOWS: &[&str] =
    &["row_number", "rank", "dense_rank", "ntile", "percent_rank", "cume_dist", "lag", "lead", "first_value", "last_value", "nth_value"];
/// Window functions that hold their whole input in memory nobody counts.
const HOLDS_ALL: &[&str] = &["ntile", "percent_rank", "cume_dist"];

/// The name of a function as the engine looks it up.
pub(super) fn name_of(function: &Function) -> String {
    let last = function.name.0.last().and_then(|part| part.as_ident());
    last.map(|ident| ident.value.to_lowercase()).unwrap_or_default()
}

/// What in a query may make two runs differ.
pub(super) fn findings(statement: &Statement, origin: Origin<'_>) -> Vec<Finding> {
    let mut linter = Linter { origin, findings: Vec::new() };
    let _: ControlFlow<()> = statement.visit(&mut linter);
    linter.findings
}

struct Linter<'a> {
    origin: Origin<'a>,
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
            None if ORDERED_AGGREGATES.contains(&name.as_str()) && !is_ordered(function) => {
                let hint = format!("order its rows: `{name}(… order by …)`, with a key last so that no two rows are equal");
                self.error("sql_unordered", format!("`{name}` takes its rows in any order, so two runs may differ"), span, &hint);
            }
            Some(WindowType::WindowSpec(window))
                if window.window_name.is_none() && window.order_by.is_empty() && ORDERED_WINDOWS.contains(&name.as_str()) =>
            {
                let hint = "give the window an `order by`, with a key last so that no two rows are equal";
                self.error("sql_unordered", format!("`{name}` numbers rows in any order, so two runs may differ"), span, hint);
            }
            _ => {}
        }
        if function.over.is_some() && HOLDS_ALL.contains(&name.as_str()) {
            let message = format!("`{name}` holds all its rows in memory, beyond what `[engine] memory_limit` counts");
            let hint = "score the distinct values (`group by` first) and join back, or use approx_percentile_cont";
            let diagnosis = Diagnosis::new("sql_unbounded_window", message).hint(hint);
            self.findings.push(Finding::warning(self.origin.place(diagnosis, places::start(span))));
        }
    }
}

impl Visitor for Linter<'_> {
    type Break = ();

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
        let limit = match (&query.limit_clause, &query.fetch) {
            (Some(LimitClause::LimitOffset { limit: None, offset: None, .. }), None) | (None, None) => return ControlFlow::Continue(()),
            (Some(clause), _) => clause.span(),
            (None, Some(fetch)) => fetch.span(),
        };
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
