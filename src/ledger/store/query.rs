//! Statements, their values and their answers.

use std::{borrow::Cow, marker::PhantomData};

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use sqlx::{Postgres, SqlSafeStr as _, SqlStr, Sqlite};

use super::{
    On, Store, file,
    row::{FromRow, Row},
    words::for_postgres,
};

/// A value bound to a statement. Truth is 1 or 0, as the tables have it.
#[derive(Debug)]
pub(in crate::ledger) enum Value<'q> {
    Text(Option<Cow<'q, str>>),
    Integer(Option<i64>),
    Real(f64),
    Bytes(Cow<'q, [u8]>),
}

impl Value<'_> {
    /// The same value, without what it was made of.
    pub(in crate::ledger) fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text.as_deref().map(Cow::Borrowed)),
            Self::Integer(number) => Value::Integer(*number),
            Self::Real(number) => Value::Real(*number),
            Self::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
        }
    }
}

/// A statement with its values, whose rows are read one column at a time.
#[derive(Debug)]
pub(in crate::ledger) struct Query<'q> {
    pub(super) text: Cow<'static, str>,
    pub(super) values: Vec<Value<'q>>,
}

/// A statement with its values, each of whose rows is a `T`.
#[derive(Debug)]
pub(in crate::ledger) struct QueryAs<'q, T> {
    query: Query<'q>,
    of: PhantomData<T>,
}

/// What a statement did.
#[derive(Debug, Clone, Copy)]
pub(in crate::ledger) struct Done(pub(super) u64);

impl Done {
    /// How many rows it wrote.
    pub(in crate::ledger) fn rows_affected(self) -> u64 {
        self.0
    }
}

/// A statement in the words of [`super::words`]; what it names comes from the program, never from outside.
pub(in crate::ledger) fn query<'q>(text: impl Into<Cow<'static, str>>) -> Query<'q> {
    Query { text: text.into(), values: Vec::new() }
}

/// The same, where each row is read as a `T`.
pub(in crate::ledger) fn query_as<'q, T: FromRow>(text: impl Into<Cow<'static, str>>) -> QueryAs<'q, T> {
    QueryAs { query: query(text), of: PhantomData }
}

type SqliteQuery<'q> = sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments>;
type PostgresQuery<'q> = sqlx::query::Query<'q, Postgres, sqlx::postgres::PgArguments>;

/// Runs `$query` as `$run` says on whichever database `$on` is.
macro_rules! run {
    ($query:expr, $on:expr, $run:ident) => {
        match $on.into() {
            On::SqlitePool(pool) => $query.for_sqlite().$run(pool).await.map(Into::into),
            On::File(connection) => file::$run(connection, &$query).map(Into::into),
            On::PostgresPool(pool) => $query.for_postgres().$run(pool).await.map(Into::into),
            On::Postgres(connection) => $query.for_postgres().$run(connection).await.map(Into::into),
        }
    };
}

/// Rows of either database, all, one, or perhaps one.
struct Rows(Vec<Row>);
struct Maybe(Option<Row>);

impl From<Vec<sqlx::sqlite::SqliteRow>> for Rows {
    fn from(rows: Vec<sqlx::sqlite::SqliteRow>) -> Self {
        Self(rows.into_iter().map(Row::Sqlite).collect())
    }
}

impl From<Vec<Row>> for Rows {
    fn from(rows: Vec<Row>) -> Self {
        Self(rows)
    }
}

impl From<Option<Row>> for Maybe {
    fn from(row: Option<Row>) -> Self {
        Self(row)
    }
}

impl From<Vec<sqlx::postgres::PgRow>> for Rows {
    fn from(rows: Vec<sqlx::postgres::PgRow>) -> Self {
        Self(rows.into_iter().map(Row::Postgres).collect())
    }
}

impl From<Option<sqlx::sqlite::SqliteRow>> for Maybe {
    fn from(row: Option<sqlx::sqlite::SqliteRow>) -> Self {
        Self(row.map(Row::Sqlite))
    }
}

impl From<Option<sqlx::postgres::PgRow>> for Maybe {
    fn from(row: Option<sqlx::postgres::PgRow>) -> Self {
        Self(row.map(Row::Postgres))
    }
}

impl From<sqlx::sqlite::SqliteQueryResult> for Done {
    fn from(done: sqlx::sqlite::SqliteQueryResult) -> Self {
        Self(done.rows_affected())
    }
}

impl From<sqlx::postgres::PgQueryResult> for Done {
    fn from(done: sqlx::postgres::PgQueryResult) -> Self {
        Self(done.rows_affected())
    }
}

impl<'q> Query<'q> {
    /// The next value.
    pub(in crate::ledger) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.values.push(value.into());
        self
    }

    fn for_sqlite(self) -> SqliteQuery<'q> {
        let mut query = sqlx::query(told(self.text));
        for value in self.values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Integer(number) => query.bind(number),
                Value::Real(number) => query.bind(number),
                Value::Bytes(bytes) => query.bind(bytes.into_owned()),
            };
        }
        query
    }

    fn for_postgres(self) -> PostgresQuery<'q> {
        let mut query = sqlx::query(sqlx::AssertSqlSafe(for_postgres(&self.text)));
        for value in self.values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Integer(number) => query.bind(number),
                Value::Real(number) => query.bind(number),
                Value::Bytes(bytes) => query.bind(bytes.into_owned()),
            };
        }
        query
    }

    /// Does it.
    pub(in crate::ledger) async fn execute(self, on: impl Into<On<'_>>) -> Result<Done, sqlx::Error> {
        run!(self, on, execute)
    }

    /// All its rows.
    pub(in crate::ledger) async fn fetch_all(self, on: impl Into<On<'_>>) -> Result<Vec<Row>, sqlx::Error> {
        let rows: Result<Rows, sqlx::Error> = run!(self, on, fetch_all);
        Ok(rows?.0)
    }

    /// Its first row, where it has one.
    pub(in crate::ledger) async fn fetch_optional(self, on: impl Into<On<'_>>) -> Result<Option<Row>, sqlx::Error> {
        let row: Result<Maybe, sqlx::Error> = run!(self, on, fetch_optional);
        Ok(row?.0)
    }

    /// Its first row, which it must have.
    pub(in crate::ledger) async fn fetch_one(self, on: impl Into<On<'_>>) -> Result<Row, sqlx::Error> {
        self.fetch_optional(on).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Its rows as they come.
    pub(in crate::ledger) fn fetch<'s>(self, store: &'s Store) -> impl Stream<Item = Result<Row, sqlx::Error>> + Send + 's
    where
        'q: 's,
    {
        match store {
            Store::Sqlite { pool, .. } => self.for_sqlite().fetch(pool).map_ok(Row::Sqlite).left_stream(),
            Store::Postgres { pool, .. } => self.for_postgres().fetch(pool).map_ok(Row::Postgres).right_stream(),
        }
    }
}

impl<'q, T: FromRow> QueryAs<'q, T> {
    /// The next value.
    pub(in crate::ledger) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.query = self.query.bind(value);
        self
    }

    /// All its rows.
    pub(in crate::ledger) async fn fetch_all(self, on: impl Into<On<'_>>) -> Result<Vec<T>, sqlx::Error> {
        self.query.fetch_all(on).await?.into_iter().map(T::from_row).collect()
    }

    /// Its first row, where it has one.
    pub(in crate::ledger) async fn fetch_optional(self, on: impl Into<On<'_>>) -> Result<Option<T>, sqlx::Error> {
        self.query.fetch_optional(on).await?.map(T::from_row).transpose()
    }

    /// Its first row, which it must have.
    pub(in crate::ledger) async fn fetch_one(self, on: impl Into<On<'_>>) -> Result<T, sqlx::Error> {
        T::from_row(self.query.fetch_one(on).await?)
    }
}

fn told(text: Cow<'static, str>) -> SqlStr {
    match text {
        Cow::Borrowed(text) => SqlStr::from_static(text),
        Cow::Owned(text) => sqlx::AssertSqlSafe(text).into_sql_str(),
    }
}

macro_rules! values {
    ($($type:ty => $value:ident => $make:expr;)*) => { $(
        impl<'q> From<$type> for Value<'q> {
            fn from($value: $type) -> Self {
                $make
            }
        }
    )* };
}

values! {
    &'q str => text => Value::Text(Some(Cow::Borrowed(text)));
    &'q String => text => Value::Text(Some(Cow::Borrowed(text)));
    String => text => Value::Text(Some(Cow::Owned(text)));
    Option<&'q str> => text => Value::Text(text.map(Cow::Borrowed));
    Option<&'q String> => text => Value::Text(text.map(|text| Cow::Borrowed(text.as_str())));
    &'q Option<String> => text => Value::Text(text.as_deref().map(Cow::Borrowed));
    Option<String> => text => Value::Text(text.map(Cow::Owned));
    i64 => number => Value::Integer(Some(number));
    Option<i64> => number => Value::Integer(number);
    u32 => number => Value::Integer(Some(i64::from(number)));
    bool => yes => Value::Integer(Some(i64::from(yes)));
    f64 => number => Value::Real(number);
    &'q f64 => number => Value::Real(*number);
    Vec<u8> => bytes => Value::Bytes(Cow::Owned(bytes));
}
