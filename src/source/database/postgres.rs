//! PostgreSQL: one connection, its snapshot, what its columns are, and pages by binary `COPY`.

use std::path::Path;

use futures::StreamExt;
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions, Connection, Executor, PgConnection, Row, SqlSafeStr, Statement, TypeInfo,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{
    copy::{Decoder, Form},
    reader::{Described, Fault, Opened, Rows},
    settings::{DatabaseSource, DatabaseStream, Engine, Tls},
    sql::{self, Blocks},
};
use crate::{
    secret::Secret,
    source::{
        columns::{Column, Type},
        settings::Stream,
    },
};

/// Built-in types whose binary form is their UTF-8 text: `name`, `text`, `char`, `varchar`.
const TEXTS: [u32; 4] = [19, 25, 1042, 1043];

/// Rows from which on it is worth reading a table in parts.
const LARGE: f32 = 200_000.0;

pub(super) struct Session {
    connection: PgConnection,
}

/// How the columns of a stream come, and how a statement asks for them.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) list: String,
    pub(super) columns: Vec<(Column, Form)>,
}

impl Session {
    pub(super) async fn connect(source: &DatabaseSource, password: Option<&Secret>, root: &Path) -> Result<Self, Fault> {
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&source.host)
            .port(source.port)
            .username(&source.user)
            .database(&source.database)
            .application_name("perennial")
            .ssl_mode(match source.tls {
                Tls::Off => PgSslMode::Disable,
                Tls::Require => PgSslMode::Require,
                Tls::Verify => PgSslMode::VerifyFull,
            })
            // Values are told apart by their text; these settings fix how it is written.
            .options([("TimeZone", "UTC"), ("DateStyle", "ISO"), ("IntervalStyle", "iso_8601"), ("extra_float_digits", "3")]);
        if let Some(password) = password {
            options = options.password(password.reveal());
        }
        if let Some(ca) = &source.ca {
            options = options.ssl_root_cert(root.join(ca));
        }
        Ok(Self { connection: options.disable_statement_logging().connect().await? })
    }

    /// Begins the snapshot, or joins that of another connection.
    pub(super) async fn open(&mut self, snapshot: Option<&str>) -> Result<Opened, Fault> {
        self.connection.execute("begin transaction isolation level repeatable read read only").await?;
        if let Some(snapshot) = snapshot {
            let join = format!("set transaction snapshot {}", sql::text(Engine::Postgres, snapshot));
            // The snapshot goes with the connection it came from.
            self.connection.execute(AssertSqlSafe(join)).await.map_err(|error| Fault::Passing(error.to_string()))?;
            return Ok(Opened::default());
        }
        // `now()` of a writer is the beginning of its transaction. Others' beginnings are null without the right to see them. Our own
        // connections only read, and one of an earlier pull may still be on its way out.
        let row = self
            .connection
            .fetch_one(
                "select pg_export_snapshot(),
                   (extract(epoch from clock_timestamp()) * 1000000)::bigint,
                   (select (extract(epoch from min(xact_start)) * 1000000)::bigint from pg_stat_activity
                     where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
                       and application_name <> 'perennial')",
            )
            .await?;
        Ok(Opened { snapshot: Some(row.try_get(0)?), now: Some(row.try_get(1)?), oldest_writer: row.try_get(2)? })
    }

    /// What the stream's columns are in the database.
    pub(super) async fn describe(&mut self, stream: &Stream, settings: &DatabaseStream) -> Result<(Shape, Described), Fault> {
        let base = sql::base(Engine::Postgres, settings);
        let columns = &stream.columns.list;
        let names: Vec<String> = columns.iter().map(|column| sql::name(Engine::Postgres, sql::origin(column))).collect();
        let all = format!("select {} from {base} limit 0", names.join(", "));
        let statement = self.connection.prepare(AssertSqlSafe(all).into_sql_str()).await?;
        let mut shape = Shape { list: String::new(), columns: Vec::new() };
        let mut list = Vec::new();
        for ((column, name), found) in columns.iter().zip(&names).zip(statement.columns()) {
            let oid = found.type_info().oid().map_or(0, |oid| oid.0);
            let (form, asked) = form(column, oid, name)?;
            list.push(asked);
            shape.columns.push((column.clone(), form));
        }
        shape.list = list.join(", ");
        let kinds = statement.columns().iter().map(|column| column.type_info().name().to_owned()).collect::<Vec<_>>();
        let key = stream.key.iter().map(|position| (names[*position].clone(), cast(&kinds[*position]))).collect();
        let local = stream
            .cursor
            .as_ref()
            .and_then(|cursor| (shape.columns[cursor.column].1 == Form::Local).then(|| columns[cursor.column].rules.zone).flatten());
        let pageable = stream.key.iter().all(|position| {
            matches!((&columns[*position].kind, shape.columns[*position].1), (Type::Text, _) | (Type::Integer, Form::Integer))
        });
        let unique = match &settings.table {
            Some(_) if pageable => self.is_unique(&base, stream).await?,
            _ => false,
        };
        Ok((shape, Described { key, local, unique }))
    }

    /// Whether the database itself keeps the key unique and whole.
    async fn is_unique(&mut self, table: &str, stream: &Stream) -> Result<bool, Fault> {
        let key: Vec<String> =
            stream.key.iter().map(|position| sql::text(Engine::Postgres, sql::origin(&stream.columns.list[*position]))).collect();
        let question = format!(
            "select exists (
               select 1 from pg_index i where i.indrelid = {}::regclass and i.indisunique and i.indisvalid
                 and i.indpred is null and i.indexprs is null
                 and (select bool_and(a.attnotnull and a.attname = any (array[{}]::name[]))
                      from unnest(i.indkey::int2[]) with ordinality k (attnum, nth)
                      join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum where k.nth <= i.indnkeyatts))",
            sql::text(Engine::Postgres, table),
            key.join(", ")
        );
        Ok(self.connection.fetch_one(AssertSqlSafe(question)).await?.try_get(0)?)
    }

    /// The blocks of a large plain table, where the server can read it block by block.
    pub(super) async fn blocks(&mut self, settings: &DatabaseStream, parts: u32) -> Result<Option<Blocks>, Fault> {
        if settings.table.is_none() {
            return Ok(None);
        }
        // Before PostgreSQL 14 each part would read the whole table; and only where changes are made is each snapshot newer than the last.
        let fit = "select current_setting('server_version_num')::int >= 140000 and not pg_is_in_recovery()";
        if !self.connection.fetch_one(fit).await?.try_get::<bool, _>(0)? {
            return Ok(None);
        }
        let table = sql::text(Engine::Postgres, &sql::base(Engine::Postgres, settings));
        // A table that others inherit from is several.
        let question = format!(
            "select pg_relation_filenode(c.oid)::bigint, pg_relation_size(c.oid) / current_setting('block_size')::bigint,
               c.reltuples::float8 / greatest(c.relpages, 1), pg_snapshot_xmin(pg_current_snapshot())::xid::text
             from pg_class c join pg_am a on a.oid = c.relam
             where c.oid = {table}::regclass and c.relkind = 'r' and a.amname = 'heap' and c.reltuples >= {LARGE}
               and not exists (select 1 from pg_inherits where inhparent = c.oid)"
        );
        let Some(row) = self.connection.fetch_optional(AssertSqlSafe(question)).await? else { return Ok(None) };
        let (Some(file), Ok(count)) = (row.try_get::<Option<i64>, _>(0)?, u32::try_from(row.try_get::<i64, _>(1)?)) else {
            return Ok(None);
        };
        Ok(Some(Blocks::new((file, row.try_get(3)?), count, row.try_get(2)?, (parts, settings.page_rows))))
    }

    /// Whether this server is where changes are made, and the table still lies in the file of that number, if one is named.
    pub(super) async fn still(&mut self, settings: &DatabaseStream, file: Option<i64>) -> Result<bool, Fault> {
        let table = sql::base(Engine::Postgres, settings);
        // Somebody may be about to write the table anew. Asking for its rows, even for none, locks it until the transaction ends: whoever
        // was first has then done it, and nobody else can.
        self.connection.execute(AssertSqlSafe(format!("select from {table} limit 0"))).await?;
        let table = sql::text(Engine::Postgres, &table);
        let question = format!("select not pg_is_in_recovery(), pg_relation_filenode({table}::regclass)::bigint");
        let row = self.connection.fetch_one(AssertSqlSafe(question)).await?;
        let (changes, found) = (row.try_get::<bool, _>(0)?, row.try_get::<Option<i64>, _>(1)?);
        Ok(changes && file.is_none_or(|file| found == Some(file)))
    }

    /// Keys that cut the table into about equal parts; none where it is small or cannot be sampled.
    pub(super) async fn cuts(
        &mut self,
        settings: &DatabaseStream,
        key: &[(String, String)],
        parts: u32,
    ) -> Result<Vec<Vec<String>>, Fault> {
        let ([(name, _)], Some(_)) = (key, &settings.table) else { return Ok(vec![]) };
        let table = sql::base(Engine::Postgres, settings);
        let size = format!(
            "select relkind = 'r' and reltuples >= {LARGE}, {LARGE} * 100 / greatest(reltuples, 1) from pg_class where oid = {}::regclass",
            sql::text(Engine::Postgres, &table)
        );
        let row = self.connection.fetch_one(AssertSqlSafe(size)).await?;
        if !row.try_get::<bool, _>(0)? {
            return Ok(vec![]);
        }
        let percent = row.try_get::<f64, _>(1)?.clamp(0.01, 100.0);
        let shares: Vec<String> = (1..parts).map(|part| format!("{:.4}", f64::from(part) / f64::from(parts))).collect();
        if shares.is_empty() {
            return Ok(vec![]);
        }
        let question = format!(
            "select unnest(percentile_disc(array[{}]) within group (order by {name}))::text from {table} tablesample system ({percent})",
            shares.join(", ")
        );
        let mut cuts: Vec<Vec<String>> = Vec::new();
        for row in self.connection.fetch_all(AssertSqlSafe(question)).await? {
            if let Some(cut) = row.try_get::<Option<String>, _>(0)?
                && cuts.last().is_none_or(|last| last[0] != cut)
            {
                cuts.push(vec![cut]);
            }
        }
        Ok(cuts)
    }

    /// Runs a statement and hands on its rows, at most `page` at once.
    pub(super) async fn read(&mut self, statement: &str, shape: &Shape, page: usize, hand_on: &mut Rows<'_>) -> Result<(), Fault> {
        let copy = format!("copy ({statement}) to stdout (format binary)");
        let mut decoder = Decoder::new(&shape.columns);
        let mut stream = self.connection.copy_out_raw(&copy).await?;
        while let Some(bytes) = stream.next().await {
            decoder.feed(&bytes?).map_err(|error| Fault::Broken(error.to_string()))?;
            if decoder.rows() >= page {
                let bytes = decoder.bytes;
                let (rows, columns) = decoder.take().map_err(|error| Fault::Broken(error.to_string()))?;
                hand_on.page(rows, columns, bytes).await?;
            }
        }
        if !decoder.ended() {
            return Err(Fault::Passing("broke off in the middle of a page".to_owned()));
        }
        let bytes = decoder.bytes;
        let (rows, columns) = decoder.take().map_err(|error| Fault::Broken(error.to_string()))?;
        hand_on.page(rows, columns, bytes).await
    }

    pub(super) async fn close(self) {
        let _ = self.connection.close().await;
    }
}

/// The type as a cast writes it.
fn cast(name: &str) -> String {
    match name {
        "\"CHAR\"" => "text".to_owned(),
        other => other.to_ascii_lowercase(),
    }
}

/// How a column comes, and how the statement asks for it. Whatever this table does not know comes as the text the server writes.
fn form(column: &Column, oid: u32, name: &str) -> Result<(Form, String), Fault> {
    let plain = name.to_owned();
    Ok(match (&column.kind, oid) {
        (Type::Text, oid) if TEXTS.contains(&oid) => (Form::Text, plain),
        (Type::Text, _) => (Form::Text, format!("{name}::text")),
        (Type::Integer, 20) => (Form::Integer, plain),
        (Type::Integer, 21 | 23 | 26) => (Form::Integer, format!("{name}::bigint")),
        (Type::Float, 701) => (Form::Float, plain),
        (Type::Decimal(..), 1700) => (Form::Numeric, plain),
        (Type::Decimal(..), 20 | 21 | 23) => (Form::Numeric, format!("{name}::numeric")),
        (Type::Boolean, 16) => (Form::Boolean, plain),
        (Type::Date, 1082) => (Form::Date, plain),
        (Type::Timestamp, 1184) => (Form::Instant, plain),
        (Type::Timestamp, 1114) if column.rules.zone.is_none() => {
            return Err(Fault::Wrong {
                reason: format!("the times of `{}` name no zone, and none is declared", sql::origin(column)),
                hint: format!("add the zone they are meant in: {} = {{ type = \"timestamp\", zone = \"Europe/Berlin\" }}", column.name),
            });
        }
        (Type::Timestamp, 1114) => (Form::Local, plain),
        (Type::Json, 114) => (Form::Text, format!("{name}::text")),
        (Type::Json, 3802) => (Form::Text, format!("{name}::text")),
        (Type::Json, _) => (Form::Text, format!("to_jsonb({name})::text")),
        (Type::List(_) | Type::Struct(_), 114 | 3802) => (Form::Parsed, format!("{name}::text")),
        (Type::List(_) | Type::Struct(_), _) => (Form::Parsed, format!("to_jsonb({name})::text")),
        _ => (Form::Parsed, format!("{name}::text")),
    })
}
