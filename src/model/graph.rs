//! What reads what. Pure: names in, names out.

use std::collections::{BTreeMap, BTreeSet};

/// Tables that are built, each with the tables it reads; what is read and not built is an input.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    reads: BTreeMap<String, BTreeSet<String>>,
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

    /// Every built table after the tables it reads; among equals, by name.
    ///
    /// # Errors
    /// With a circle of tables that read each other, its first name repeated at the end.
    pub(crate) fn order(&self) -> Result<Vec<String>, Vec<String>> {
        let settled = self.settled();
        if settled.len() == self.reads.len() {
            return Ok(settled);
        }
        Err(self.circle(&settled.iter().map(String::as_str).collect()))
    }

    /// The same as far as it goes: without the tables of a circle and those that rest on one.
    pub(crate) fn settled(&self) -> Vec<String> {
        let mut order = Vec::with_capacity(self.reads.len());
        let mut done: BTreeSet<&str> = BTreeSet::new();
        let ready = |done: &BTreeSet<&str>, name: &str| {
            !done.contains(name) && self.inputs(name).all(|input| done.contains(input) || !self.reads.contains_key(input))
        };
        while let Some(name) = self.reads.keys().find(|name| ready(&done, name)) {
            done.insert(name);
            order.push(name.clone());
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

    /// Follows inputs that are not done until a name comes round again.
    fn circle(&self, done: &BTreeSet<&str>) -> Vec<String> {
        let mut path: Vec<String> = Vec::new();
        let mut here = self.reads.keys().find(|name| !done.contains(name.as_str())).cloned();
        while let Some(name) = here {
            if let Some(start) = path.iter().position(|seen| *seen == name) {
                path.drain(..start);
                path.push(name);
                return path;
            }
            here = self.inputs(&name).find(|input| self.reads.contains_key(*input) && !done.contains(input)).map(str::to_owned);
            path.push(name);
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
        assert_eq!(graph.order().unwrap(), ["customers", "orders", "features", "lapsed"]);
    }

    #[test]
    fn a_circle_is_named() {
        let graph = graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"]), ("d", &[])]);
        assert_eq!(graph.order().unwrap_err(), ["b", "c", "b"]);
        assert_eq!(graph.settled(), ["d"], "a rests on the circle");
        assert_eq!(super::Graph::new(BTreeMap::from([("x".into(), BTreeSet::from(["x".into()]))])).order().unwrap_err(), ["x", "x"]);
    }

    #[test]
    fn a_few_names_need_only_what_they_rest_on() {
        let graph = graph(&[("lapsed", &["features"]), ("features", &["orders"]), ("orders", &["shop__orders"]), ("other", &["orders"])]);
        let closure = graph.closure(&["lapsed".to_owned()]);
        assert_eq!(closure.into_iter().collect::<Vec<_>>(), ["features", "lapsed", "orders", "shop__orders"]);
    }
}
