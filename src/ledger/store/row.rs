//! Rows of either database, read by the same types.

use std::sync::Arc;

use rusqlite::types::Value as Cell;
use sqlx::{
    ColumnIndex, Decode, Row as _, Type, TypeInfo as _, ValueRef as _,
    postgres::{PgRow, Postgres},
    sqlite::{Sqlite, SqliteRow},
};

/// One row of an answer.
#[derive(Debug)]
pub(in crate::ledger) enum Row {
    /// From a file.
    Sqlite(SqliteRow),
    /// From a file, by a connection that writes.
    File { names: Arc<[Box<str>]>, cells: Box<[Cell]> },
    /// From a database.
    Postgres(PgRow),
}

impl Row {
    /// The value of a column, by its place or its name.
    pub(in crate::ledger) fn try_get<'r, T, I>(&'r self, column: I) -> Result<T, sqlx::Error>
    where
        T: Column<'r>,
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow> + Place,
    {
        match self {
            Self::Sqlite(row) => T::of_sqlite(row, &column),
            Self::File { names, cells } => {
                let cell = column.among(names).and_then(|place| cells.get(place));
                T::of_cell(cell.ok_or_else(|| sqlx::Error::ColumnNotFound(format!("{column:?}")))?)
            }
            Self::Postgres(row) => T::of_postgres(row, &column),
        }
    }
}

/// How a column is named.
pub(in crate::ledger) trait Place: std::fmt::Debug {
    /// Its place, counted from 0.
    fn among(&self, names: &[Box<str>]) -> Option<usize>;
}

impl Place for usize {
    fn among(&self, _: &[Box<str>]) -> Option<usize> {
        Some(*self)
    }
}

impl Place for &str {
    fn among(&self, names: &[Box<str>]) -> Option<usize> {
        names.iter().position(|name| **name == **self)
    }
}

/// A type that columns are read as.
pub(in crate::ledger) trait Column<'r>: Sized {
    /// From a file's row.
    fn of_sqlite(row: &'r SqliteRow, column: &dyn ColumnIndexOf<SqliteRow>) -> Result<Self, sqlx::Error>;
    /// From a value the connection that writes to the file has read.
    fn of_cell(cell: &'r Cell) -> Result<Self, sqlx::Error>;
    /// From a database's row.
    fn of_postgres(row: &'r PgRow, column: &dyn ColumnIndexOf<PgRow>) -> Result<Self, sqlx::Error>;
}

/// A column's place in a row.
pub(in crate::ledger) trait ColumnIndexOf<R> {
    /// Counted from 0.
    fn place(&self, row: &R) -> Result<usize, sqlx::Error>;
}

impl<R: sqlx::Row, I: ColumnIndex<R>> ColumnIndexOf<R> for I {
    fn place(&self, row: &R) -> Result<usize, sqlx::Error> {
        self.index(row)
    }
}

fn plain_sqlite<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(
    row: &'r SqliteRow,
    column: &dyn ColumnIndexOf<SqliteRow>,
) -> Result<T, sqlx::Error> {
    row.try_get(column.place(row)?)
}

fn plain_postgres<'r, T: Decode<'r, Postgres> + Type<Postgres>>(
    row: &'r PgRow,
    column: &dyn ColumnIndexOf<PgRow>,
) -> Result<T, sqlx::Error> {
    row.try_get(column.place(row)?)
}

/// Another kind of value than was asked for.
fn mismatch(cell: &Cell) -> sqlx::Error {
    sqlx::Error::Decode(format!("a value of another kind was expected, not {}", cell.data_type()).into())
}

macro_rules! plain {
    ($($type:ty => $($cell:pat => $value:expr),+;)*) => { $(
        impl<'r> Column<'r> for $type {
            fn of_sqlite(row: &'r SqliteRow, column: &dyn ColumnIndexOf<SqliteRow>) -> Result<Self, sqlx::Error> {
                plain_sqlite(row, column)
            }
            fn of_cell(cell: &'r Cell) -> Result<Self, sqlx::Error> {
                match cell {
                    $($cell => Ok($value),)+
                    other => Err(mismatch(other)),
                }
            }
            fn of_postgres(row: &'r PgRow, column: &dyn ColumnIndexOf<PgRow>) -> Result<Self, sqlx::Error> {
                plain_postgres(row, column)
            }
        }
    )* };
}

plain! {
    &'r str => Cell::Text(text) => text;
    Option<&'r str> => Cell::Text(text) => Some(text), Cell::Null => None;
    String => Cell::Text(text) => text.clone();
    Option<String> => Cell::Text(text) => Some(text.clone()), Cell::Null => None;
    f64 => Cell::Real(number) => *number;
    Vec<u8> => Cell::Blob(bytes) => bytes.clone();
}

/// A number that stands in a statement is a short one in PostgreSQL.
impl<'r> Column<'r> for Option<i64> {
    fn of_sqlite(row: &'r SqliteRow, column: &dyn ColumnIndexOf<SqliteRow>) -> Result<Self, sqlx::Error> {
        plain_sqlite(row, column)
    }

    fn of_cell(cell: &'r Cell) -> Result<Self, sqlx::Error> {
        match cell {
            Cell::Integer(number) => Ok(Some(*number)),
            Cell::Null => Ok(None),
            other => Err(mismatch(other)),
        }
    }

    fn of_postgres(row: &'r PgRow, column: &dyn ColumnIndexOf<PgRow>) -> Result<Self, sqlx::Error> {
        let place = column.place(row)?;
        if row.try_get_raw(place)?.type_info().name() == "INT4" {
            Ok(row.try_get::<Option<i32>, _>(place)?.map(i64::from))
        } else {
            row.try_get(place)
        }
    }
}

impl<'r> Column<'r> for i64 {
    fn of_sqlite(row: &'r SqliteRow, column: &dyn ColumnIndexOf<SqliteRow>) -> Result<Self, sqlx::Error> {
        plain_sqlite(row, column)
    }

    fn of_cell(cell: &'r Cell) -> Result<Self, sqlx::Error> {
        let number: Option<Self> = Column::of_cell(cell)?;
        number.ok_or_else(|| mismatch(cell))
    }

    fn of_postgres(row: &'r PgRow, column: &dyn ColumnIndexOf<PgRow>) -> Result<Self, sqlx::Error> {
        let number: Option<Self> = Column::of_postgres(row, column)?;
        number.ok_or_else(|| sqlx::Error::Decode("a number is missing".into()))
    }
}

impl<'r> Column<'r> for u32 {
    fn of_sqlite(row: &'r SqliteRow, column: &dyn ColumnIndexOf<SqliteRow>) -> Result<Self, sqlx::Error> {
        plain_sqlite(row, column)
    }

    fn of_cell(cell: &'r Cell) -> Result<Self, sqlx::Error> {
        let number: i64 = Column::of_cell(cell)?;
        Self::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
    }

    fn of_postgres(row: &'r PgRow, column: &dyn ColumnIndexOf<PgRow>) -> Result<Self, sqlx::Error> {
        let number: i64 = Column::of_postgres(row, column)?;
        Self::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
    }
}

/// The ledger's tables have 0 and 1; what is compared gives PostgreSQL's own kind of truth.
impl<'r> Column<'r> for bool {
    fn of_sqlite(row: &'r SqliteRow, column: &dyn ColumnIndexOf<SqliteRow>) -> Result<Self, sqlx::Error> {
        plain_sqlite(row, column)
    }

    fn of_cell(cell: &'r Cell) -> Result<Self, sqlx::Error> {
        Ok(<i64 as Column>::of_cell(cell)? != 0)
    }

    fn of_postgres(row: &'r PgRow, column: &dyn ColumnIndexOf<PgRow>) -> Result<Self, sqlx::Error> {
        let place = column.place(row)?;
        if row.try_get_raw(place)?.type_info().name() == "BOOL" { row.try_get(place) } else { Ok(row.try_get::<i64, _>(place)? != 0) }
    }
}

/// What a whole row is read as.
pub(in crate::ledger) trait FromRow: Sized {
    /// From one row.
    fn from_row(row: Row) -> Result<Self, sqlx::Error>;
}

macro_rules! single {
    ($($type:ty),*) => { $(
        impl FromRow for $type {
            fn from_row(row: Row) -> Result<Self, sqlx::Error> {
                row.try_get(0)
            }
        }
    )* };
}

single!(String, i64, bool, u32);

macro_rules! tuple {
    ($($name:ident $place:tt),*) => {
        impl<$($name: for<'r> Column<'r>),*> FromRow for ($($name,)*) {
            fn from_row(row: Row) -> Result<Self, sqlx::Error> {
                Ok(($(row.try_get::<$name, _>($place)?,)*))
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
