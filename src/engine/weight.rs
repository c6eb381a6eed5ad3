//! How much a query becomes once its `with` clauses stand wherever they are named.
//!
//! The engine puts a clause's whole plan in every place that names it. Thirty clauses that each name the one before twice are a billion
//! plans, from a text of one page: more than any machine can hold, before a single row is read.

use std::{collections::HashMap, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{Query, Statement, TableFactor, Visit, Visitor};

/// Tables and subqueries that a query may come to; the largest shipped file comes to some fifty.
pub(super) const MOST: u64 = 2_000;

/// The tables and subqueries a statement comes to; where it is more than [`MOST`], the clause that takes it there is named.
pub(super) fn weight(statement: &Statement) -> (u64, Option<String>) {
    let mut scale = Scale::default();
    let _ = statement.visit(&mut scale);
    (scale.total, scale.heavy)
}

#[derive(Default)]
struct Scale {
    open: Vec<Frame>,
    total: u64,
    heavy: Option<String>,
}

/// A query that is being walked through.
#[derive(Default)]
struct Frame {
    weight: u64,
    /// The queries of its `with` clauses, by where they lie in memory, with their names.
    clauses: HashMap<*const Query, String>,
    /// What each of them comes to that has been walked through.
    known: HashMap<String, u64>,
}

impl Visitor for Scale {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let clauses = query.with.iter().flat_map(|with| &with.cte_tables);
        let clauses = clauses.map(|clause| (std::ptr::from_ref(clause.query.as_ref()), clause.alias.name.value.to_lowercase()));
        self.open.push(Frame { weight: 1, clauses: clauses.collect(), known: HashMap::new() });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let Some(done) = self.open.pop() else { return ControlFlow::Continue(()) };
        let Some(around) = self.open.last_mut() else {
            self.total = self.total.saturating_add(done.weight);
            return ControlFlow::Continue(());
        };
        match around.clauses.get(&std::ptr::from_ref(query)) {
            Some(name) => {
                if done.weight > MOST && self.heavy.is_none() {
                    self.heavy = Some(name.clone());
                }
                around.known.insert(name.clone(), done.weight);
            }
            None => around.weight = around.weight.saturating_add(done.weight),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, .. } = factor {
            let name = name.to_string().to_lowercase();
            // The nearest clause of that name is meant.
            let named = self.open.iter().rev().find_map(|frame| frame.known.get(&name)).copied().unwrap_or(1);
            if let Some(frame) = self.open.last_mut() {
                frame.weight = frame.weight.saturating_add(named);
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::{dialect::GenericDialect, parser::Parser};

    use super::*;

    fn of(sql: &str) -> u64 {
        weight(&Parser::parse_sql(&GenericDialect {}, sql).unwrap()[0]).0
    }

    #[test]
    fn a_clause_counts_wherever_it_is_named() {
        assert_eq!(of("select 1"), 1);
        assert_eq!(of("select * from t join u on true"), 3);
        assert_eq!(of("with a as (select * from t) select * from a"), 3);
        assert_eq!(of("with a as (select * from t) select * from a x join A y on true"), 5);
        assert_eq!(of("with a as (select * from t) select * from u"), 2, "what nobody names costs nothing");
        assert_eq!(of("select * from (with a as (select 1) select * from a, a b) q where x in (select 1 from t)"), 1 + 3 + 2);
        assert_eq!(of("with a as (select 1 from t) select * from (select * from a) s"), 1 + 1 + 2);
    }

    #[test]
    fn clauses_that_double_are_found_before_they_are_planned() {
        let mut sql = "with c0 as (select 1 as x)".to_owned();
        for step in 1..60 {
            sql += &format!(", c{step} as (select a.x from c{0} a cross join c{0} b)", step - 1);
        }
        let statements = Parser::parse_sql(&GenericDialect {}, &(sql + " select * from c59")).unwrap();
        let (weight, heavy) = weight(&statements[0]);
        assert!(weight > MOST);
        assert_eq!(heavy.as_deref(), Some("c10"));
    }
}
