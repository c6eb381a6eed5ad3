//! MySQL and MariaDB: one connection, its snapshot, what its columns are, and rows by the text protocol.
//!
//! The text protocol says every value as the server writes it: decimals to the last digit, unsigned numbers whole, zero dates as such.

use std::{collections::BTreeMap, path::Path};

use futures::TryStreamExt;
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions, Connection, Executor, MySqlConnection, Row, SqlSafeStr, Statement, TypeInfo,
    mysql::{MySqlConnectOptions, MySqlRow, MySqlSslMode},
};

use super::{
    reader::{Described, Fault, Opened, Rows},
    settings::{DatabaseSource, DatabaseStream, Engine, Tls},
    sql,
};
use crate::{
    secret::Secret,
    source::{
        columns::{Builder, Column, Type},
        rows::ArrayColumn,
        settings::Stream,
        values::{self, Cell, Misfit},
    },
};

pub(super) struct Session {
    connection: MySqlConnection,
}

/// How the columns of a stream come, and how a statement asks for them.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) list: String,
    columns: Vec<Column>,
}

impl Session {
    pub(super) async fn connect(source: &DatabaseSource, password: Option<&Secret>, root: &Path) -> Result<Self, Fault> {
        let mut options = MySqlConnectOptions::new()
            .host(&source.host)
            .port(source.port)
            .username(&source.user)
            .database(&source.database)
            .ssl_mode(match source.tls {
                Tls::Off => MySqlSslMode::Disabled,
                Tls::Require => MySqlSslMode::Required,
                Tls::Verify => MySqlSslMode::VerifyIdentity,
            })
            .timezone("+00:00".to_owned());
        if let Some(password) = password {
            options = options.password(password.reveal());
        }
        if let Some(ca) = &source.ca {
            options = options.ssl_ca(root.join(ca));
        }
        Ok(Self { connection: options.disable_statement_logging().connect().await? })
    }

    /// Begins the snapshot. The server cannot share one: each connection has its own, a moment apart; what changes in between is above
    /// the upper bound and comes with the next pull.
    pub(super) async fn open(&mut self, other: Option<&str>) -> Result<Opened, Fault> {
        self.connection.execute("set session transaction isolation level repeatable read").await?;
        self.connection.execute("start transaction with consistent snapshot, read only").await?;
        if other.is_some() {
            return Ok(Opened::default());
        }
        let micros = |row: &MySqlRow| row.try_get::<Option<i64>, _>(0);
        let now = self.connection.fetch_one("select cast(unix_timestamp(now(6)) * 1000000 as signed)").await?;
        // Needs the right `PROCESS`. Who only reads, as we do, stamps nothing; one of ours may still be on its way out.
        let oldest = self
            .connection
            .fetch_one(
                "select cast(unix_timestamp(min(trx_started)) * 1000000 as signed) from information_schema.innodb_trx
                 where trx_mysql_thread_id <> connection_id() and trx_is_read_only = 0",
            )
            .await;
        Ok(Opened {
            snapshot: Some(String::new()),
            now: micros(&now)?,
            oldest_writer: oldest.ok().and_then(|row| micros(&row).ok().flatten()),
        })
    }

    /// What the stream's columns are in the database.
    pub(super) async fn describe(&mut self, stream: &Stream, settings: &DatabaseStream) -> Result<(Shape, Described), Fault> {
        let base = sql::base(Engine::MySql, settings);
        let names: Vec<String> = stream.columns.list.iter().map(|column| sql::name(Engine::MySql, sql::origin(column))).collect();
        let all = format!("select {} from {base} limit 0", names.join(", "));
        let statement = self.connection.prepare(AssertSqlSafe(all).into_sql_str()).await?;
        let kinds: Vec<String> = statement.columns().iter().map(|column| column.type_info().name().to_owned()).collect();
        let mut columns = Vec::new();
        let mut list = Vec::new();
        for ((column, name), kind) in stream.columns.list.iter().zip(&names).zip(&kinds) {
            let mut column = column.clone();
            match (&column.kind, kind.as_str()) {
                // The session's zone is UTC.
                (Type::Timestamp, "TIMESTAMP") => column.rules.zone = Some(chrono_tz::UTC),
                (Type::Timestamp, "DATETIME" | "DATE") if column.rules.zone.is_none() => {
                    return Err(Fault::Wrong {
                        reason: format!("the times of `{}` name no zone, and none is declared", sql::origin(&column)),
                        hint: format!(
                            "add the zone they are meant in: {} = {{ type = \"timestamp\", zone = \"Europe/Berlin\" }}",
                            column.name
                        ),
                    });
                }
                _ => {}
            }
            // A bit comes as a raw byte, a float cut to six digits.
            list.push(match kind.as_str() {
                "BIT" => format!("{name} + 0"),
                "FLOAT" => format!("cast({name} as double)"),
                _ => name.clone(),
            });
            columns.push(column);
        }
        let key: Vec<(String, String)> = stream.key.iter().map(|position| (names[*position].clone(), kinds[*position].clone())).collect();
        let local = stream
            .cursor
            .as_ref()
            .and_then(|cursor| (kinds[cursor.column] == "DATETIME").then(|| columns[cursor.column].rules.zone).flatten());
        let pageable = stream.key.iter().all(|position| matches!(columns[*position].kind, Type::Text | Type::Integer));
        let unique = match &settings.table {
            Some(table) if pageable => self.is_unique(table, stream).await?,
            _ => false,
        };
        Ok((Shape { list: list.join(", "), columns }, Described { key, local, unique }))
    }

    /// Whether the database itself keeps the key unique and whole.
    async fn is_unique(&mut self, table: &str, stream: &Stream) -> Result<bool, Fault> {
        let (schema, table) = match table.rsplit_once('.') {
            Some((schema, table)) => (sql::text(Engine::MySql, schema), table),
            None => ("database()".to_owned(), table),
        };
        let key: Vec<String> = stream
            .key
            .iter()
            .map(|position| sql::text(Engine::MySql, &sql::origin(&stream.columns.list[*position]).to_ascii_lowercase()))
            .collect();
        let question = format!(
            "select count(*) from (
               select index_name from information_schema.statistics
               where table_schema = {schema} and table_name = {} and non_unique = 0
               group by index_name
               having sum(coalesce(nullable, '') = 'YES' or sub_part is not null or lower(column_name) not in ({})) = 0) as whole",
            sql::text(Engine::MySql, table),
            key.join(", ")
        );
        Ok(self.connection.fetch_one(AssertSqlSafe(question)).await?.try_get::<i64, _>(0)? > 0)
    }

    /// Keys that cut the table into about equal parts, where the key is one whole number.
    pub(super) async fn cuts(
        &mut self,
        settings: &DatabaseStream,
        key: &[(String, String)],
        parts: u32,
    ) -> Result<Vec<Vec<String>>, Fault> {
        let [(name, kind)] = key else { return Ok(vec![]) };
        if parts < 2 || !kind.contains("INT") {
            return Ok(vec![]);
        }
        let table = sql::base(Engine::MySql, settings);
        let question = format!("select cast(min({name}) as char), cast(max({name}) as char) from {table}");
        let row = self.connection.fetch_one(AssertSqlSafe(question)).await?;
        let number = |position: usize| -> Result<Option<i128>, Fault> {
            Ok(row.try_get_unchecked::<Option<&str>, _>(position)?.and_then(|text| text.parse().ok()))
        };
        let (Some(low), Some(high)) = (number(0)?, number(1)?) else { return Ok(vec![]) };
        if high - low < 200_000 {
            return Ok(vec![]);
        }
        Ok((1..i128::from(parts)).map(|part| vec![(low + (high - low) * part / i128::from(parts)).to_string()]).collect())
    }

    /// Runs a statement and hands on its rows, at most `page` at once.
    pub(super) async fn read(&mut self, statement: &str, shape: &Shape, page: usize, hand_on: &mut Rows<'_>) -> Result<(), Fault> {
        let mut taken = Taken::new(&shape.columns);
        let mut zeros = 0;
        {
            let mut rows = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).fetch(&mut self.connection);
            while let Some(row) = rows.try_next().await? {
                zeros += taken.push(&row)?;
                if taken.rows >= page {
                    let (rows, columns, bytes) = taken.take()?;
                    hand_on.page(rows, columns, bytes).await?;
                }
            }
        }
        if zeros > 0 {
            hand_on.zero_dates(zeros);
        }
        let (rows, columns, bytes) = taken.take()?;
        hand_on.page(rows, columns, bytes).await
    }

    pub(super) async fn close(self) {
        let _ = self.connection.close().await;
    }
}

/// Rows on their way into arrays.
struct Taken<'a> {
    columns: &'a [Column],
    builders: Vec<Builder>,
    misfits: Vec<BTreeMap<usize, Misfit>>,
    rows: usize,
    bytes: usize,
}

impl<'a> Taken<'a> {
    fn new(columns: &'a [Column]) -> Self {
        let builders = columns.iter().map(|column| Builder::new(&column.kind)).collect();
        Self { columns, builders, misfits: vec![BTreeMap::new(); columns.len()], rows: 0, bytes: 0 }
    }

    /// Takes a row; says how many zero dates became null.
    fn push(&mut self, row: &MySqlRow) -> Result<u64, Fault> {
        let mut zeros = 0;
        for (position, column) in self.columns.iter().enumerate() {
            let value: Option<&[u8]> = row.try_get_unchecked(position)?;
            self.bytes += value.map_or(0, <[u8]>::len);
            let cell = match value.map(std::str::from_utf8) {
                None => Ok(Cell::Null),
                Some(Ok(text)) if matches!(column.kind, Type::Date | Type::Timestamp) && text.starts_with("0000-00-00") => {
                    zeros += 1;
                    Ok(Cell::Null)
                }
                Some(Ok(text)) => values::from_text(&column.kind, &column.rules, &column.name, text),
                Some(Err(_)) => {
                    let shown = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
                    Err(Misfit::new(&column.name, "holds bytes that are not UTF-8; read it as `hex(…)` in a query", &shown))
                }
            };
            let cell = cell.unwrap_or_else(|misfit| {
                self.misfits[position].insert(self.rows, misfit);
                Cell::Null
            });
            self.builders[position].push(&cell);
        }
        self.rows += 1;
        Ok(zeros)
    }

    fn take(&mut self) -> Result<(usize, Vec<ArrayColumn>, usize), Fault> {
        let columns = self.builders.iter_mut().zip(&mut self.misfits);
        let columns = columns.map(|(builder, misfits)| Ok(ArrayColumn { array: builder.finish()?, misfits: std::mem::take(misfits) }));
        let columns = columns.collect::<Result<_, arrow::error::ArrowError>>().map_err(|error| Fault::Broken(error.to_string()))?;
        Ok((std::mem::take(&mut self.rows), columns, std::mem::take(&mut self.bytes)))
    }
}
