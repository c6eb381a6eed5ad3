//! A statement done once for each of many rows of values.
//!
//! A file's connection does it row by row, prepared once, and meets no JSON on the way; a database gets all rows in one question.
//! [`super::words`] says how one text serves both.

use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeSeq as _},
};

use super::{
    Write, file,
    query::{Done, Query, Value},
    row::Row,
    words,
};

/// A statement, the values that hold for all rows, and the rows' own.
#[derive(Debug)]
pub(in crate::ledger) struct Each<'q> {
    pub(super) query: Query<'q>,
    width: usize,
    cells: Vec<Value<'q>>,
}

impl<'q> Query<'q> {
    /// Once for each of these rows.
    pub(in crate::ledger) fn each<const N: usize>(self, rows: impl IntoIterator<Item = [Value<'q>; N]>) -> Each<'q> {
        Each { query: self, width: N, cells: rows.into_iter().flatten().collect() }
    }
}

impl<'q> Each<'q> {
    /// The rows' own values.
    pub(super) fn rows(&self) -> std::slice::Chunks<'_, Value<'q>> {
        self.cells.chunks(self.width.max(1))
    }

    /// All of it as one statement of a database.
    fn at_once(&self) -> Result<Query<'_>, sqlx::Error> {
        let rows = serde_json::to_string(&Rows(self)).map_err(|error| sqlx::Error::Encode(error.into()))?;
        let values = self.query.values.iter().map(Value::borrowed).chain([Value::from(rows)]).collect();
        Ok(Query { text: words::for_each(&self.query.text, self.query.values.len() + 1).into(), values })
    }

    /// Does it; says how many rows were written in all.
    pub(in crate::ledger) async fn execute(self, write: &mut Write<'_>) -> Result<Done, sqlx::Error> {
        match write {
            Write::File(write) => file::execute_each(write, &self),
            Write::Postgres(_) => self.at_once()?.execute(write).await,
        }
    }

    /// The rows it finds. Their first column, before the statement's own, is the place of the row of values they were found for.
    pub(in crate::ledger) async fn fetch_all(self, write: &mut Write<'_>) -> Result<Vec<Row>, sqlx::Error> {
        match write {
            Write::File(write) => file::fetch_each(write, &self),
            Write::Postgres(_) => self.at_once()?.fetch_all(write).await,
        }
    }
}

/// The rows' own values as a JSON array of arrays.
struct Rows<'r, 'q>(&'r Each<'q>);

impl Serialize for Rows<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.rows().map(Cells))
    }
}

struct Cells<'r, 'q>(&'r [Value<'q>]);

impl Serialize for Cells<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_seq(Some(self.0.len()))?;
        for value in self.0 {
            match value {
                Value::Text(text) => row.serialize_element(text)?,
                Value::Integer(number) => row.serialize_element(number)?,
                Value::Real(number) => row.serialize_element(number)?,
                Value::Bytes(_) => return Err(S::Error::custom("bytes are no value of a row")),
            }
        }
        row.end()
    }
}
