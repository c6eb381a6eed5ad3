//! What reads what. Pure: names in, names out.

use std::collections::{BTreeMap, BTreeSet};

/// Tables that are built, each with the tables it reads; what is read and not built is an input.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    reads: BTreeMap<String, BTreeSet<String>>,
}

/// Built tables in the order of building.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// All of them.
    pub(crate) tables: Vec<String>,
    /// The circles among them: tables that read each other, each with its first name repeated at the end.
    pub(crate) circles: Vec<Vec<String>>,
}

impl Graph {
    /// A graph of built tables and what each of them reads.
    pub(crate) fn new(reads: BTreeMap<String, BTreeSet<String>>) -> Self {
        Self { reads }
    }

    /// What a table reads.
    pub(crate) fn inputs(&self, name: &str) -> impl Iterator<Item = &str> {
        self.reads.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Every built table after the tables it reads; among equals, by name. The tables of a circle stand where it could begin, before what
    /// rests on it.
    pub(crate) fn order(&self) -> Order {
        let mut order = Order::default();
        let mut done: BTreeSet<&str> = BTreeSet::new();
        let built = |name: &&str| self.reads.contains_key(*name);
        while done.len() < self.reads.len() {
            let ready = |name: &&str| !done.contains(name) && self.inputs(name).filter(built).all(|input| done.contains(input));
            let next = match self.reads.keys().map(String::as_str).find(ready) {
                Some(name) => vec![name],
                None => {
                    let circle = self.circle(&done);
                    order.circles.push(circle.iter().chain(circle.first()).map(|name| (*name).to_owned()).collect());
                    circle
                }
            };
            order.tables.extend(next.iter().map(|name| (*name).to_owned()));
            done.extend(next);
        }
        order
    }

    /// The named tables and every table they rest on, inputs included.
    pub(crate) fn closure(&self, names: &[String]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&str> = names.iter().map(String::as_str).collect();
        while let Some(name) = open.pop() {
            if found.insert(name.to_owned()) {
                open.extend(self.inputs(name));
            }
        }
        found
    }

    /// Follows inputs that are not done until a name comes round again: the tables of that circle, each reading the next, the first by name
    /// first.
    fn circle(&self, done: &BTreeSet<&str>) -> Vec<&str> {
        let mut path: Vec<&str> = Vec::new();
        let open = |name: &&str| self.reads.contains_key(*name) && !done.contains(name);
        let mut here = self.reads.keys().map(String::as_str).find(open);
        while let Some(name) = here {
            if let Some(start) = path.iter().position(|seen| *seen == name) {
                let mut circle = path.split_off(start);
                let first = (0..circle.len()).min_by_key(|place| circle[*place]).unwrap_or_default();
                circle.rotate_left(first);
                return circle;
            }
            path.push(name);
            here = self.inputs(name).find(open);
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> Graph {
        Graph::new(edges.iter().map(|(name, reads)| ((*name).to_owned(), reads.iter().map(|read| (*read).to_owned()).collect())).collect())
    }

    #[test]
    fn a_table_comes_after_what_it_reads() {
        let graph =
            graph(&[("lapsed", &["features", "customers"]), ("features", &["orders"]), ("orders", &["shop__orders"]), ("customers", &[])]);
        assert_eq!(graph.order().tables, ["customers", "orders", "features", "lapsed"]);
    }

    #[test]
    fn every_circle_is_named_and_what_rests_on_it_comes_after() {
        let graph = graph(&[("a", &["b", "y"]), ("b", &["c"]), ("c", &["b", "raw"]), ("d", &[]), ("x", &["x"]), ("y", &["x", "d"])]);
        let order = graph.order();
        assert_eq!(order.circles, [vec!["b", "c", "b"], vec!["x", "x"]]);
        assert_eq!(order.tables, ["d", "b", "c", "x", "y", "a"]);
    }

    #[test]
    fn a_few_names_need_only_what_they_rest_on() {
        let graph = graph(&[("lapsed", &["features"]), ("features", &["orders"]), ("orders", &["shop__orders"]), ("other", &["orders"])]);
        let closure = graph.closure(&["lapsed".to_owned()]);
        assert_eq!(closure.into_iter().collect::<Vec<_>>(), ["features", "lapsed", "orders", "shop__orders"]);
    }
}
