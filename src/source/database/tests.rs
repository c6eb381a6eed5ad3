//! Real servers from the distribution's packages: what they write is what the lake holds. Without them the tests say so and pass.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection, Row};

use super::server::Server;
use crate::{
    clock::{Clock, ManualClock},
    diagnosis::{Diagnose, Exit},
    lake::{Lake, LakeSettings},
    ledger::{Ledger, LedgerSettings},
    source::{Progress, PullFailure, PullRequest, Pulled, Source, pull, tests::pull_in_chunks},
};

/// A project that reads one database.
struct Project {
    folder: tempfile::TempDir,
    source: Source,
    lake: Lake,
    ledger: Ledger,
    clock: Arc<ManualClock>,
}

impl Project {
    async fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::parse("shop", Path::new("config/sources/shop.toml"), settings).unwrap();
        let lake = Lake::open(folder.path(), &LakeSettings::default()).unwrap();
        let ledger = Ledger::open(folder.path(), &LedgerSettings::default()).await.unwrap();
        let clock = Arc::new(ManualClock::at(Utc::now()));
        Self { folder, source, lake, ledger, clock }
    }

    async fn pull(&self) -> Result<Pulled, PullFailure> {
        // The server's own clock counts; ours only must not be behind it.
        self.clock.set(Utc::now() + TimeDelta::seconds(1));
        let request = PullRequest {
            sources: std::slice::from_ref(&self.source),
            only: &[],
            full: false,
            lake: &self.lake,
            ledger: &self.ledger,
            keys: &crate::secret::Keys::new(crate::secret::Secret::new("0123456789abcdef")),
            run: &self.clock.now().to_rfc3339(),
            clock: self.clock.clone(),
            practice: None,
            root: self.folder.path(),
            progress: Progress::lines(),
        };
        pull(request).await.map(|mut pulled| pulled.remove(0))
    }

    async fn rows(&self) -> RecordBatch {
        let schema = self.lake.schema("shop__rows", None).await.unwrap();
        arrow::compute::concat_batches(&schema, &self.lake.read("shop__rows", None).await.unwrap()).unwrap()
    }

    /// Each row's key and value; a key that stands in the table twice fails.
    async fn values(&self) -> BTreeMap<i64, i64> {
        let rows = self.rows().await;
        let number = |name: &str| rows.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec();
        let values: BTreeMap<i64, i64> = number("id").into_iter().zip(number("value")).collect();
        assert_eq!(values.len(), rows.num_rows());
        values
    }
}

fn settings(server: &Server, more: &str) -> String {
    format!(
        "kind = \"database\"\nurl = \"{}\"\nretry = {{ attempts = 20, wait = \"0s\" }}\n{more}\n[streams.rows.columns]\nid = \"integer\"\nvalue = \"integer\"\nchanged = \"timestamp\"\n",
        server.url()
    )
}

const STREAM: &str =
    "[streams.rows]\ntable = \"rows\"\nkey = [\"id\"]\npage_rows = 100\ncursor = { field = \"changed\", overlap = \"0s\" }";

/// Runs statements on either server, each connection on its own.
enum Hand {
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

impl Hand {
    async fn of(server: &Server) -> Self {
        match server {
            Server::Postgres(_) => Self::Postgres(PgConnection::connect(&server.url()).await.unwrap()),
            Server::MariaDb(_) => Self::MySql(MySqlConnection::connect(&server.url()).await.unwrap()),
        }
    }

    async fn run(&mut self, statement: &str) {
        let statement = AssertSqlSafe(statement.to_owned());
        match self {
            Self::Postgres(connection) => drop(connection.execute(sqlx::raw_sql(statement)).await.unwrap()),
            Self::MySql(connection) => drop(connection.execute(sqlx::raw_sql(statement)).await.unwrap()),
        }
    }

    /// A table of so many rows, changed a while ago.
    async fn fill(&mut self, rows: u32) {
        match self {
            Self::Postgres(_) => {
                self.run("create table rows (id bigint primary key, value bigint, changed timestamptz not null)").await;
                self.run(&format!(
                    "insert into rows select n, n * 10, now() - interval '1 hour' from generate_series(1, {rows}) n; analyze rows"
                ))
                .await;
            }
            Self::MySql(_) => {
                self.run("create table `rows` (id bigint primary key, value bigint, changed timestamp(6) not null)").await;
                self.run(&format!("insert into `rows` select seq, seq * 10, now(6) - interval 1 hour from seq_1_to_{rows}")).await;
            }
        }
    }

    async fn change(&mut self, id: u32, value: i64) {
        let now = if matches!(self, Self::Postgres(_)) { "now()" } else { "now(6)" };
        self.run(&format!("update rows set value = {value}, changed = {now} where id = {id}").replace("update rows", self.rows())).await;
    }

    /// Kills one other connection, if there is one.
    async fn kill(&mut self) -> bool {
        match self {
            Self::Postgres(connection) => {
                let kill = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'perennial' limit 1";
                connection.fetch_optional(kill).await.unwrap().is_some()
            }
            Self::MySql(connection) => {
                let others = "select cast(id as signed) from information_schema.processlist where user = 'shop' and id <> connection_id()";
                let Some(other) = connection.fetch_optional(others).await.unwrap() else { return false };
                let kill = format!("kill {}", other.get::<i64, _>(0));
                // It may have gone by itself meanwhile.
                connection.execute(sqlx::raw_sql(AssertSqlSafe(kill))).await.is_ok()
            }
        }
    }

    fn rows(&self) -> &'static str {
        if matches!(self, Self::Postgres(_)) { "update rows" } else { "update `rows`" }
    }
}

fn servers() -> Vec<Server> {
    [Server::postgres(), Server::mariadb()].into_iter().flatten().collect()
}

fn expected(rows: u32) -> BTreeMap<i64, i64> {
    (1..=i64::from(rows)).map(|id| (id, id * 10)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_loaded_page_by_page_and_then_by_what_changed() {
    for server in servers() {
        let mut hand = Hand::of(&server).await;
        hand.fill(1234).await;
        let project = Project::new(&settings(&server, STREAM)).await;
        let pulled = project.pull().await.unwrap();
        assert_eq!((pulled.rows, pulled.inserted, pulled.updated), (1234, 1234, 0));
        assert_eq!(project.values().await, expected(1234));
        hand.change(7, -1).await;
        let pulled = project.pull().await.unwrap();
        assert!(pulled.updated >= 1 && pulled.rows <= 1234, "{pulled:?}");
        let mut wanted = expected(1234);
        wanted.insert(7, -1);
        assert_eq!(project.values().await, wanted);
        // Once the first hour's rows are behind the cursor, only what changed comes.
        hand.change(8, -2).await;
        let pulled = project.pull().await.unwrap();
        assert!(pulled.rows <= 2, "{pulled:?}");
        wanted.insert(8, -2);
        assert_eq!(project.values().await, wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_writer_commits_late_below_the_cursor_is_not_missed() {
    let Some(server) = Server::postgres() else { return };
    let mut hand = Hand::of(&server).await;
    hand.fill(10).await;
    let project = Project::new(&settings(&server, STREAM)).await;
    project.pull().await.unwrap();
    let mut late = Hand::of(&server).await;
    late.run("begin").await;
    late.change(3, 33).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    // Stamped later, committed earlier.
    hand.change(4, 44).await;
    project.pull().await.unwrap();
    assert_eq!(project.values().await[&4], 44);
    late.run("commit").await;
    project.pull().await.unwrap();
    assert_eq!(project.values().await[&3], 33, "although no overlap is set");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_connection_goes_on_after_its_last_page() {
    for server in servers() {
        let mut hand = Hand::of(&server).await;
        hand.fill(100_000).await;
        let project = Project::new(&settings(&server, &STREAM.replace("page_rows = 100", "page_rows = 50"))).await;
        let killer = async {
            let mut killed = 0;
            for _ in 0..400 {
                tokio::time::sleep(Duration::from_millis(25)).await;
                killed += u32::from(hand.kill().await);
                if killed == 3 {
                    break;
                }
            }
        };
        let (pulled, ()) = tokio::join!(project.pull(), killer);
        let pulled = pulled.unwrap();
        assert_eq!(project.values().await, expected(100_000));
        assert!(pulled.retries > 0, "nothing was killed: {pulled:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_table_is_read_in_ranges_and_what_is_gone_is_marked() {
    for server in servers() {
        let mut hand = Hand::of(&server).await;
        hand.fill(400_000).await;
        let stream = "connections = 3\n[streams.rows]\ntable = \"rows\"\nkey = [\"id\"]\npage_rows = 20000\ndeletes = { reconcile = { every = \"0s\" } }";
        let project = Project::new(&settings(&server, stream)).await;
        let pulled = project.pull().await.unwrap();
        assert_eq!((pulled.rows, pulled.inserted), (400_000, 400_000));
        assert!(pulled.requests >= 20 + 3, "{pulled:?}");
        assert_eq!(project.values().await, expected(400_000));
        hand.run(&format!("{} where id in (5, 399999)", hand.rows().replace("update", "delete from"))).await;
        project.pull().await.unwrap();
        let rows = project.rows().await;
        let deleted = rows.column_by_name("_deleted_at").unwrap();
        assert_eq!((rows.num_rows(), rows.num_rows() - deleted.null_count()), (400_000, 2));
    }
}

/// The rows of the database itself.
async fn truth(hand: &mut Hand) -> BTreeMap<i64, i64> {
    let Hand::Postgres(connection) = hand else { panic!("it is asked of PostgreSQL alone") };
    let rows = connection.fetch_all("select id, value from rows").await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// A large table with room in its last blocks, where changed rows find a new place.
async fn with_room(server: &Server) -> Hand {
    let mut hand = Hand::of(server).await;
    hand.fill(300_000).await;
    hand.run("delete from rows where id > 200000 and id % 2 = 0").await;
    hand.run("vacuum analyze rows").await;
    hand
}

const BY_BLOCKS: &str = "connections = 3\n[streams.rows]\ntable = \"rows\"\nkey = [\"id\"]\npage_rows = 2000\ncursor = { field = \"changed\", overlap = \"0s\" }";

#[tokio::test(flavor = "multi_thread")]
async fn a_large_table_is_read_from_front_to_back_while_it_changes_and_connections_are_lost() {
    let Some(server) = Server::postgres() else { return };
    let mut hand = with_room(&server).await;
    let still = Project::new(&settings(&server, BY_BLOCKS)).await;
    hand.run("select pg_stat_force_next_flush()").await;
    hand.run("select pg_stat_reset()").await;
    still.pull().await.unwrap();
    let scanned = "select (select coalesce(sum(idx_tup_fetch), 0)::bigint from pg_stat_user_indexes where relname = 'rows'),
        (select seq_tup_read from pg_stat_user_tables where relname = 'rows')";
    // A connection tells what it did when it ends.
    let mut by_block: i64 = 0;
    for _ in 0..100 {
        let Hand::Postgres(connection) = &mut hand else { return };
        let row = connection.fetch_one(scanned).await.unwrap();
        let by_key: i64 = row.get(0);
        by_block = row.get(1);
        assert!(by_key < 1000, "the key's index is not what it is read by");
        if by_block >= 250_000 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(by_block >= 250_000, "nor are its blocks");
    assert_eq!(still.values().await, truth(&mut hand).await);

    let project = Project::new(&settings(&server, BY_BLOCKS)).await;
    let troubles = async {
        let mut killed = 0;
        for round in 0..40_i64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            killed += u32::from(killed < 3 && round % 4 == 0 && hand.kill().await);
            // Rows from everywhere, old and new ones, each of which moves to another block.
            let rows = "update rows set value = value + 1, changed = clock_timestamp() where id % 997 =";
            hand.run(&format!("{rows} {round}; insert into rows values (1000000 + {round}, 1, clock_timestamp())")).await;
        }
    };
    let (pulled, ()) = tokio::join!(project.pull(), troubles);
    assert!(pulled.unwrap().retries > 0);
    project.pull().await.unwrap();
    assert_eq!(project.values().await, truth(&mut hand).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_by_blocks_that_broke_off_goes_on_unless_the_table_was_written_anew() {
    let Some(server) = Server::postgres() else { return };
    let mut hand = with_room(&server).await;
    for anew in [false, true] {
        let project = Project::new(&settings(&server, BY_BLOCKS)).await;
        project.clock.set(Utc::now() + TimeDelta::seconds(1));
        let pull = async |chunk| pull_in_chunks(&project.source, &project.lake, &project.clock, project.folder.path(), chunk).await;
        let place =
            async || project.lake.cursor("shop__rows").await.unwrap().is_some_and(|state| state.pointer("/resume/mark/file").is_some());
        // In chunks so small that there is soon a place to go on from.
        for round in 0..100 {
            let patience = Duration::from_millis(100 + 50 * round);
            assert!(tokio::time::timeout(patience, pull(5000)).await.is_err(), "the load was over before it could break off");
            if place().await {
                break;
            }
        }
        assert!(place().await);
        // Somebody mends rows by hand and leaves their stamps as they are: the cursor alone would never know.
        hand.run("update rows set value = value + 1 where id % 49 = 0").await;
        if anew {
            hand.run("vacuum full rows").await;
        }
        let pulled = pull(1_000_000).await.unwrap();
        // Afterwards the cursor asks for what changed meanwhile; here that is every row, for all have one stamp.
        assert!(anew == (pulled.rows >= 2 * 250_000), "{anew}: {pulled:?}");
        assert_eq!(project.values().await, truth(&mut hand).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_postgres_arrives_as_declared() {
    let Some(server) = Server::postgres() else { return };
    let mut hand = Hand::of(&server).await;
    hand.run(
        "create type mood as enum ('glad', 'sad');
         create table rows (
           id uuid primary key, small smallint, int4 int, big bigint, total numeric(12,4), whole numeric, ratio real, share double precision,
           yes boolean, day date, at timestamptz, wall timestamp, note text, code char(4), mood mood, tags text[], lines jsonb, raw json,
           bytes bytea, span interval, net inet);
         insert into rows values
           ('6f1c3a52-0000-4000-8000-000000000001', -5, 6, 9007199254740993, 12345678.9012, 42.000, 0.25, 1e-7, true, '2024-02-29',
            '2026-03-01 12:00:00.123456+02', '2026-07-01 09:30:00', 'Zoë ''\\ 山田', 'ab', 'glad', '{a,\"b,c\"}', '[{\"line\": 1, \"sku\": \"x\"}]',
            '{\"b\": 1, \"a\": 2}', '\\xdeadbeef', '1 day 2 hours', '10.0.0.1'),
           ('6f1c3a52-0000-4000-8000-000000000002', null, null, null, null, null, null, null, null, null, null, null, null, null, null,
            null, null, null, null, null, null)",
    )
    .await;
    let text = format!(
        "kind = \"database\"\nurl = \"{}\"\n[streams.rows]\ntable = \"public.rows\"\nkey = [\"id\"]\n[streams.rows.columns]\n{}",
        server.url(),
        r#"
id = "text"
small = "integer"
int4 = "integer"
big = "integer"
total = "decimal(18,4)"
whole = "integer"
ratio = "float"
share = "float"
yes = "boolean"
day = "date"
at = "timestamp"
wall = { type = "timestamp", zone = "Europe/Berlin" }
remark = { from = "note", type = "text" }
code = "text"
mood = "text"
tags = ["text"]
lines = [{ line = "integer", sku = "text" }]
raw = "json"
bytes = "text"
span = "text"
net = "text"
"#
    );
    let project = Project::new(&text).await;
    project.pull().await.unwrap();
    let rows = project.rows().await;
    let shown = |row: usize| -> Vec<String> {
        rows.columns()[..21].iter().map(|column| arrow::util::display::array_value_to_string(column, row).unwrap()).collect()
    };
    assert_eq!(
        shown(0),
        [
            "6f1c3a52-0000-4000-8000-000000000001",
            "-5",
            "6",
            "9007199254740993",
            "12345678.9012",
            "42",
            "0.25",
            "1e-7",
            "true",
            "2024-02-29",
            "2026-03-01T10:00:00.123456Z",
            "2026-07-01T07:30:00Z",
            "Zoë '\\ 山田",
            "ab  ",
            "glad",
            "[a, b,c]",
            "[{line: 1, sku: x}]",
            "{\"b\": 1, \"a\": 2}",
            "\\xdeadbeef",
            "P1DT2H",
            "10.0.0.1/32",
        ]
    );
    assert!(shown(1)[1..].iter().all(String::is_empty), "{:?}", shown(1));

    // What does not fit is named, and nothing of it is in the table.
    hand.run("insert into rows (id, total, day) values ('6f1c3a52-0000-4000-8000-000000000003', 'NaN', 'infinity')").await;
    let error = project.pull().await.unwrap_err().failed.remove(0);
    assert_eq!(error.to_string(), "shop.rows: row 6f1c3a52-0000-4000-8000-000000000003: `total` is not a number (it is `NaN`)");
    assert_eq!((error.exit(), project.rows().await.num_rows()), (Exit::Failed, 2));
    let zone = Project::new(&text.replace("{ type = \"timestamp\", zone = \"Europe/Berlin\" }", "\"timestamp\"")).await;
    let told = zone.pull().await.unwrap_err().failed.remove(0).diagnosis();
    assert!(told.message.contains("the times of `wall` name no zone"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_mariadb_arrives_as_declared() {
    let Some(server) = Server::mariadb() else { return };
    let mut hand = Hand::of(&server).await;
    hand.run(
        "set sql_mode = '';
         create table `rows` (
           id varchar(20) primary key, tiny tinyint(1), big bigint, huge bigint unsigned, total decimal(12,4), ratio float, share double,
           flag bit(1), day date, wall datetime(6), at timestamp(6) null, note text character set utf8mb4, kind enum('a','b'), items json);
         set time_zone = '+00:00';
         insert into `rows` values
           ('a\\'1', 1, -9007199254740993, 18446744073709551615, 12345678.9012, 0.1, 1e-7, b'1', '2024-02-29', '2026-07-01 09:30:00.5',
            '2026-03-01 10:00:00.123456', 'Zoë 山田 🌱', 'b', '[{\"line\": 1, \"sku\": \"x\"}]'),
           ('b', null, null, null, null, null, null, null, '0000-00-00', '0000-00-00 00:00:00', null, null, null, null)",
    )
    .await;
    let text = format!(
        "kind = \"database\"\nurl = \"{}\"\n[streams.rows]\ntable = \"rows\"\nkey = [\"id\"]\n[streams.rows.columns]\n{}",
        server.url(),
        r#"
id = "text"
tiny = "boolean"
big = "integer"
huge = "decimal(20,0)"
total = "decimal(18,4)"
ratio = "float"
share = "float"
flag = "boolean"
day = "date"
wall = { type = "timestamp", zone = "Europe/Berlin" }
at = "timestamp"
note = "text"
kind = "text"
items = [{ line = "integer", sku = "text" }]
"#
    );
    let project = Project::new(&text).await;
    project.pull().await.unwrap();
    let rows = project.rows().await;
    let shown = |row: usize| -> Vec<String> {
        rows.columns()[..14].iter().map(|column| arrow::util::display::array_value_to_string(column, row).unwrap()).collect()
    };
    assert_eq!(
        shown(0),
        [
            "a'1",
            "true",
            "-9007199254740993",
            "18446744073709551615",
            "12345678.9012",
            "0.10000000149011612",
            "1e-7",
            "true",
            "2024-02-29",
            "2026-07-01T07:30:00.500Z",
            "2026-03-01T10:00:00.123456Z",
            "Zoë 山田 🌱",
            "b",
            "[{line: 1, sku: x}]",
        ]
    );
    assert!(shown(1)[1..].iter().all(String::is_empty), "zero dates are null: {:?}", shown(1));
    let small = Project::new(&text.replace("decimal(20,0)", "integer")).await;
    let error = small.pull().await.unwrap_err().failed.remove(0);
    assert!(error.to_string().contains("row a'1: `huge` is larger than an integer of 64 bits"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_a_stream_and_its_cursor_bounds_it() {
    let Some(server) = Server::postgres() else { return };
    let mut hand = Hand::of(&server).await;
    hand.fill(50).await;
    let stream = "[streams.rows]\nquery = \"select id, value, changed from rows where value > 100;\"\nkey = [\"id\"]\npage_rows = 7\ncursor = { field = \"changed\" }\ndeletes = \"none\"";
    let project = Project::new(&settings(&server, stream)).await;
    assert_eq!(project.pull().await.unwrap().rows, 40);
    let rows = project.rows().await;
    let changed = rows.column_by_name("changed").unwrap().as_primitive::<TimestampMicrosecondType>().value(0);
    assert!(DateTime::from_timestamp_micros(changed).unwrap() < Utc::now() - TimeDelta::minutes(59));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_us_out_is_told_with_what_to_do() {
    let Some(server) = Server::postgres() else { return };
    Hand::of(&server).await.fill(5).await;
    let good = settings(&server, STREAM);
    let told = async |settings: String| Project::new(&settings).await.pull().await.unwrap_err().failed.remove(0).diagnosis();
    let missing = told(good.replace("table = \"rows\"", "table = \"row\"")).await;
    assert!(missing.message.contains("relation \"row\" does not exist"), "{missing:?}");
    assert!(missing.hint.unwrap().contains("`table`"));
    let column = told(good.replace("value = \"integer\"", "valu = \"integer\"")).await;
    assert!(column.hint.unwrap().contains("`columns`"));
    let tls = told(good.replace("[streams.rows]", "tls = \"verify\"\n[streams.rows]")).await;
    assert!(tls.message.contains("encrypted") || tls.message.contains("TLS") || tls.message.contains("SSL"), "{tls:?}");
    let nobody = told(good.replace(&format!(":{}", server.port()), ":1")).await;
    assert!(nobody.hint.unwrap().contains("see whether it is up"), "{}", nobody.message);
    let error =
        Source::parse("shop", &PathBuf::from("x.toml"), &good.replace("postgres://postgres@", "postgres://postgres:pw@")).unwrap_err();
    assert!(error.0.message.contains("holds a password"), "{error:?}");
}
