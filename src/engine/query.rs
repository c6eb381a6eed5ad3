//! A query as it is handed in: its text, where it stands, its bound values.

use std::{collections::BTreeMap, path::Path};

use datafusion::scalar::ScalarValue;

use crate::diagnosis::Diagnosis;

/// Where an SQL text stands.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The file; none for a query typed on the command line.
    pub file: Option<&'a Path>,
    /// The line the text's first line has in that file, from 1.
    pub line: usize,
    /// The column its first character has in that line, from 1.
    pub column: usize,
}

/// One `SELECT`, where it stands, and its bound values.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// The text.
    pub sql: &'a str,
    /// Its place.
    pub origin: Origin<'a>,
    /// Values for `$name`.
    pub params: BTreeMap<String, ScalarValue>,
}

/// A place in a text: line and column, both from 1.
pub(super) type Place = (usize, usize);

impl<'a> Origin<'a> {
    /// Of a text that stands in no file.
    pub const NOWHERE: Self = Self { file: None, line: 1, column: 1 };

    /// Of a text that is a whole file.
    #[must_use]
    pub fn of(file: &'a Path) -> Self {
        Self { file: Some(file), ..Self::NOWHERE }
    }

    /// Puts a place of the text into a diagnosis, as a place of the file.
    pub(super) fn place(&self, diagnosis: Diagnosis, place: Option<Place>) -> Diagnosis {
        let diagnosis = match self.file {
            Some(file) => diagnosis.in_file(file),
            None => diagnosis,
        };
        match place {
            Some((1, column)) => diagnosis.at(self.line.max(1), column + self.column.max(1) - 1),
            Some((line, column)) => diagnosis.at(line + self.line.max(1) - 1, column),
            None => diagnosis,
        }
    }
}
