//! What of a row no column takes: kept as JSON in a column of its own, where the stream says `extra = true`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::columns::{Column, Origin};

/// The column that takes the fields nobody declared.
pub(crate) const EXTRA: &str = "_extra";

/// The fields that columns take, to know which are left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Their names, as a header names them.
    names: BTreeSet<String>,
    /// Their paths in JSON.
    paths: Paths,
}

/// Steps and what is taken below each; nothing below means all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Paths(BTreeMap<String, Paths>);

impl Taken {
    /// What `columns` take.
    pub(crate) fn by(columns: &[Column]) -> Self {
        let mut taken = Self::default();
        for column in columns {
            if let Origin::Field(name, path) = &column.origin {
                taken.names.insert(name.clone());
                taken.paths.take(path);
            }
        }
        taken
    }

    /// Whether a column takes the field that a header names so.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// What of an object is left.
    pub(crate) fn left(&self, object: &Map<String, Value>) -> Map<String, Value> {
        self.paths.left(object)
    }
}

impl Paths {
    fn take(&mut self, path: &[String]) {
        let [step, rest @ ..] = path else { return };
        match self.0.get_mut(step) {
            Some(below) if below.0.is_empty() => {}
            Some(below) if rest.is_empty() => below.0.clear(),
            Some(below) => below.take(rest),
            None => self.0.entry(step.clone()).or_default().take(rest),
        }
    }

    fn left(&self, object: &Map<String, Value>) -> Map<String, Value> {
        let left = object.iter().filter_map(|(name, value)| {
            let rest = match (self.0.get(name), value) {
                (None, value) => Some(value.clone()),
                (Some(below), _) if below.0.is_empty() => None,
                (Some(_), Value::Null) => None,
                (Some(below), Value::Object(inner)) => Some(below.left(inner)).filter(|left| !left.is_empty()).map(Value::Object),
                (Some(_), value) => Some(value.clone()),
            };
            rest.map(|rest| (name.clone(), rest))
        });
        left.collect()
    }
}
