//! The pull law against a real HTTP server and a real lake, and every way a source has of going wrong.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    fake::{Change, Fake, Fault, Record},
    *,
};
use crate::{clock::ManualClock, diagnosis::Exit, lake::LakeSettings, ledger::LedgerSettings, secret::Secret};

/// A project with one source, its lake and its ledger.
pub(super) struct Project {
    pub(super) folder: tempfile::TempDir,
    pub(super) source: Source,
    pub(super) lake: Lake,
    pub(super) ledger: Ledger,
    pub(super) clock: Arc<ManualClock>,
    runs: std::cell::Cell<u32>,
}

pub(super) const NOW: &str = "2026-11-22T01:00:00Z";

impl Project {
    pub(super) async fn new(name: &str, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = source(name, settings).unwrap();
        let lake = Lake::open(folder.path(), &LakeSettings::default()).unwrap();
        let ledger = Ledger::open(folder.path(), &LedgerSettings::default()).await.unwrap();
        let clock = Arc::new(ManualClock::at(NOW.parse().unwrap()));
        Self { folder, source, lake, ledger, clock, runs: std::cell::Cell::new(0) }
    }

    pub(super) async fn pull(&self) -> Result<Pulled, SourceError> {
        self.pull_all(false).await.map(|mut pulled| pulled.remove(0)).map_err(|mut failure| failure.failed.remove(0))
    }

    pub(super) async fn pull_all(&self, full: bool) -> Result<Vec<Pulled>, PullFailure> {
        self.pull_from(std::slice::from_ref(&self.source), full).await
    }

    pub(super) async fn pull_from(&self, sources: &[Source], full: bool) -> Result<Vec<Pulled>, PullFailure> {
        self.runs.set(self.runs.get() + 1);
        let run = format!("run-{}", self.runs.get());
        pull(PullRequest {
            sources,
            only: &[],
            full,
            lake: &self.lake,
            ledger: &self.ledger,
            keys: &Keys::new(Secret::new("0123456789abcdef")),
            run: &run,
            clock: self.clock.clone(),
            practice: None,
            root: self.folder.path(),
            progress: Progress::lines(),
        })
        .await
    }

    /// A pull with chunks so small that most pulls have several; what came of its last stream.
    pub(super) async fn pull_in_chunks(&self, chunk_rows: usize) -> Result<pull::Outcome, SourceError> {
        pull_in_chunks(&self.source, &self.lake, &self.clock, self.folder.path(), chunk_rows).await
    }

    pub(super) async fn rows(&self, table: &str) -> RecordBatch {
        rows(&self.lake, table).await
    }

    pub(super) async fn orders(&self) -> BTreeMap<u32, Record> {
        orders(&self.lake).await
    }

    pub(super) fn write(&self, file: &str, bytes: &[u8]) {
        let path = self.folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

pub(super) async fn pull_in_chunks(
    source: &Source,
    lake: &Lake,
    clock: &Arc<ManualClock>,
    root: &Path,
    chunk_rows: usize,
) -> Result<pull::Outcome, SourceError> {
    let mut last = Ok(pull::Outcome::default());
    for stream in source.in_order() {
        let (run, full, had_rows) = ("chunks".to_owned(), false, false);
        let scene = Scene { lake: lake.clone(), clock: clock.clone(), run, full, chunk_rows, had_rows };
        let reader = source.reader(&stream, None, root, clock.clone(), "chunks", Shared::default()).unwrap();
        let mut progress = Progress::lines().stream(&stream.name);
        last = pull::pull(&scene, &stream, reader, &mut progress).await.0;
    }
    last
}

async fn rows(lake: &Lake, table: &str) -> RecordBatch {
    let batches = lake.read(table, None).await.unwrap();
    let schema = lake.schema(table, None).await.unwrap();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

/// The table of orders: id → value, updated at, whether deleted.
pub(super) async fn orders(lake: &Lake) -> BTreeMap<u32, Record> {
    let rows = rows(lake, "shop__orders").await;
    let text = rows.column_by_name("id").unwrap().as_string::<i32>().clone();
    let value = rows.column_by_name("value").unwrap().as_primitive::<Int64Type>().clone();
    let updated = rows.column_by_name("updated_at").unwrap().as_primitive::<TimestampMicrosecondType>().clone();
    let deleted = rows.column_by_name("_deleted_at");
    let records = (0..rows.num_rows()).map(|row| {
        let deleted = deleted.is_some_and(|deleted| !deleted.is_null(row));
        (text.value(row).parse().unwrap(), Record { value: value.value(row), updated_at: updated.value(row) / 1_000_000, deleted })
    });
    let records: Vec<(u32, Record)> = records.collect();
    let count = records.len();
    let map: BTreeMap<u32, Record> = records.into_iter().collect();
    assert_eq!(map.len(), count, "a key stands in the table twice");
    map
}

pub(super) fn source(name: &str, settings: &str) -> Result<Source, Diagnosis> {
    Source::parse(name, Path::new(&format!("config/sources/{name}.toml")), settings).map_err(|error| error.0)
}

pub(super) const COLUMNS: &str = r#"
[streams.orders.columns]
id = "text"
value = "integer"
updated_at = "timestamp"
deleted_at = "timestamp"
"#;

pub(super) fn shop(base: &str, pagination: &str, more: &str) -> String {
    format!(
        r#"
kind = "http"
base_url = "{base}"
retry = {{ attempts = 3, wait = "0s" }}
[streams.orders]
path = "/orders"
rows = "orders"
key = ["id"]
pagination = {pagination}
{more}
{COLUMNS}"#
    )
}

pub(super) const CURSOR: &str = "cursor = { field = \"updated_at\", param = \"since\" }\ndeletes = \"flag\"";
pub(super) const TOKEN: &str = "{ cursor_token = { param = \"after\", next = \"next\" } }";
pub(super) const LINK: &str = "{ link_header = {} }";
pub(super) const NUMBERS: &str = "{ page_number = { param = \"page\", pages = \"pages\" } }";
pub(super) const COUNTED: &str = "{ page_number = { param = \"page\", total = \"total\", pages = \"pages\" } }";
pub(super) const OFFSETS: &str = "{ offset = { param = \"offset\", limit_param = \"limit\", limit = 10 } }";

pub(super) const NEXT_URL: &str = "{ next_url = { path = \"next_url\", end = { path = \"last_page\" } } }";
pub(super) const LAST_ID: &str = "{ last_id = { param = \"above\", field = \"id\", more = \"has_more\" } }\nparams = { order = \"id\" }";
pub(super) const HEADERS: &str = "{ page_number = { param = \"page\", total = \"header:X-Total\", pages = \"header:X-Pages\" } }";
pub(super) const SEARCH: &str =
    "{ cursor_token = { next = \"next\" } }\nmethod = \"post\"\nbody = { since = \"{since}\", after = \"{token}\", limit = 5 }";
pub(super) const SEARCH_IDS: &str = "{ last_id = { field = \"id\", first = \"0\" } }\nmethod = \"post\"\nbody = { since = \"{since}\", above = \"{token}\", order = \"id\" }";
pub(super) const WINDOWS: &str = "{ page_number = { param = \"page\", at_most = 8 } }\nparams = { at_most = \"8\" }";
pub(super) const KEYSET: &str = "{ keyset = { tie = \"id\", first = \"0\" } }\nparams = { from = \"{after}\", tie = \"{tie}\" }";
const WAYS: [&str; 12] = [TOKEN, LINK, NUMBERS, COUNTED, OFFSETS, NEXT_URL, LAST_ID, HEADERS, SEARCH, SEARCH_IDS, WINDOWS, KEYSET];

const EVENTS: &str = r#"cursor = { field = "updated_at", param = "since" }
deletes = { events = { stream = "removals", key = { id = "order_id" }, at = "at", where = { verb = ["destroy", "purge"] } } }"#;
const REMOVALS: &str = r#"
[streams.removals]
path = "/removals"
rows = "removals"
key = ["id"]
pagination = { cursor_token = { param = "page", next = "next" } }
cursor = { field = "at", param = "since" }
[streams.removals.columns]
id = "text"
verb = "text"
order_id = { from = "subject_id", type = "text" }
at = { from = "created_at", type = "timestamp" }
"#;

/// The shop, with another stream that lists deletions.
pub(super) fn listing(base: &str, way: &str) -> String {
    asked(base, way, EVENTS) + REMOVALS
}

/// The shop, asked in a way that may be a search.
pub(super) fn asked(base: &str, way: &str, more: &str) -> String {
    let settings = shop(base, way, more);
    let settings = if way.contains("post") { settings.replace("\"/orders\"", "\"/search\"") } else { settings };
    if way.contains("post") || way == KEYSET { settings.replace(", param = \"since\"", "") } else { settings }
}

pub(super) fn write(id: u32, value: i64) -> Change {
    Change::Write { id, value, late: 0 }
}

pub(super) async fn fake(cap: usize, records: u32) -> Fake {
    let fake = Fake::start(cap).await;
    {
        let mut world = fake.world.lock().unwrap();
        for id in 1..=records {
            world.change(&write(id, i64::from(id)));
        }
    }
    fake
}

#[tokio::test]
async fn every_way_of_paging_brings_every_row() {
    for pagination in WAYS.into_iter().chain(["{ page_number = { param = \"page\" } }"]) {
        let fake = fake(7, 23).await;
        let project = Project::new("shop", &asked(&fake.base, pagination, CURSOR)).await;
        let pulled = project.pull().await.unwrap();
        assert_eq!((pulled.rows, pulled.inserted, pulled.updated, pulled.retries), (23, 23, 0, 0), "{pagination}");
        assert_eq!(project.orders().await, fake.world.lock().unwrap().records, "{pagination}");
    }
}

#[tokio::test]
async fn the_next_pull_asks_from_the_cursor_less_the_overlap_and_full_asks_for_everything() {
    let fake = fake(50, 5).await;
    let settings =
        shop(&fake.base, TOKEN, "cursor = { field = \"updated_at\", param = \"since\", overlap = \"2s\" }\nparams = { status = \"any\" }");
    let project = Project::new("shop", &settings).await;
    project.pull().await.unwrap();
    fake.world.lock().unwrap().change(&write(2, 99));
    let pulled = project.pull().await.unwrap();
    // Cursor at 1700000005; two seconds below it, that second included: 3, 4, 5 and the new version of 2.
    assert_eq!((pulled.rows, pulled.updated), (4, 4));
    let pulled = project.pull_all(true).await.unwrap();
    assert_eq!(pulled[0].rows, 5);
    assert_eq!(fake.world.lock().unwrap().asked, ["status=any", "status=any&since=2023-11-14T22%3A13%3A23Z", "status=any"]);
    let record = &project.ledger.last_pulls().await.unwrap()[0];
    assert_eq!((record.rows, record.cursor.as_deref(), record.error.as_deref()), (5, Some("2023-11-14T22:13:26Z"), None));
    assert_eq!((record.inserted, record.updated, record.deletes.as_deref()), (0, 5, Some("none")));
    assert!(record.bytes > 100, "{}", record.bytes);
    assert_eq!(record.lag(), Some(NOW.parse::<DateTime<Utc>>().unwrap() - "2023-11-14T22:13:26Z".parse::<DateTime<Utc>>().unwrap()));
}

#[tokio::test]
async fn the_cursor_never_passes_the_start_of_the_pull_and_newer_rows_are_kept_all_the_same() {
    let fake = fake(50, 5).await;
    let project = Project::new(
        "shop",
        &shop(&fake.base, TOKEN, "cursor = { field = \"updated_at\", param = \"since\", overlap = \"0s\", settle = \"1s\" }"),
    )
    .await;
    project.clock.set(DateTime::from_timestamp(1_700_000_004, 0).unwrap());
    assert_eq!(project.pull().await.unwrap().rows, 5);
    project.pull().await.unwrap();
    assert_eq!(fake.world.lock().unwrap().asked[1], "since=2023-11-14T22%3A13%3A23Z", "the source's own writing of 1700000003");
}

#[tokio::test]
async fn a_pull_that_broke_off_goes_on_where_it_was() {
    for pagination in [TOKEN, LINK, NEXT_URL, SEARCH, KEYSET] {
        let fake = fake(5, 60).await;
        let project = Project::new("shop", &asked(&fake.base, pagination, CURSOR)).await;
        fake.world.lock().unwrap().tell_at = Some(9);
        tokio::select! {
            outcome = project.pull_in_chunks(10) => panic!("{outcome:?}"),
            () = fake.told.notified() => {}
        }
        let there = project.orders().await.len();
        assert!((10..60).contains(&there), "{there}");
        fake.world.lock().unwrap().asked.clear();
        let outcome = project.pull_in_chunks(10).await.unwrap();
        // The rest, and then what changed meanwhile: all 60 lie within the overlap.
        assert_eq!((outcome.rows, outcome.inserted), (60 - there as u64 + 60, 60 - there as u64), "{pagination}");
        assert_eq!(fake.world.lock().unwrap().asked.len(), 12 - there / 5 + 12 + 2 * usize::from(pagination == KEYSET));
        assert_eq!(project.orders().await, fake.world.lock().unwrap().records);
        assert_eq!(outcome.cursor.as_deref(), Some("2023-11-14T22:14:20Z"));
        // Finished, it is forgotten: the next pull asks from the cursor.
        project.pull_in_chunks(10).await.unwrap();
        let since = match pagination {
            SEARCH => "\"since\":\"2023-11-14T22:09:20Z\"",
            KEYSET => "from=2023-11-14T22%3A09%3A20Z&tie=0",
            _ => "since=2023-11-14T22%3A09%3A20Z",
        };
        assert!(fake.world.lock().unwrap().asked.iter().any(|asked| asked.contains(since)));
    }
}

#[tokio::test]
async fn a_place_the_source_has_forgotten_or_that_is_old_means_reading_from_the_beginning() {
    for days in [0, 4] {
        let fake = fake(5, 60).await;
        let project = Project::new("shop", &shop(&fake.base, TOKEN, CURSOR)).await;
        fake.world.lock().unwrap().tell_at = Some(9);
        tokio::select! {
            outcome = project.pull_in_chunks(10) => panic!("{outcome:?}"),
            () = fake.told.notified() => {}
        }
        project.clock.set(NOW.parse::<DateTime<Utc>>().unwrap() + chrono::TimeDelta::days(days));
        if days == 0 {
            fake.world.lock().unwrap().faults.push_back(Fault::Status(410, None));
        }
        let outcome = project.pull_in_chunks(10).await.unwrap();
        assert_eq!(outcome.rows, 60);
        assert_eq!(project.orders().await, fake.world.lock().unwrap().records);
    }
}

#[tokio::test]
async fn what_came_in_a_pass_is_not_gone_because_a_replica_leaves_it_out_of_the_next() {
    let fake = Fake::start(3).await;
    let write = |id| Change::Write { id, value: 0, late: 0 };
    [1, 2, 3, 4].iter().for_each(|id| fake.world.lock().unwrap().change(&write(*id)));
    let settings = shop(&fake.base, COUNTED, "deletes = { reconcile = { every = \"0s\" } }");
    let project = Project::new("shop", &settings).await;
    project.pull().await.unwrap();
    {
        let mut world = fake.world.lock().unwrap();
        [1, 9].iter().for_each(|id| world.change(&write(*id)));
        // A page that knows of neither, one that knows of both, so that a row is missing; then none that knows.
        world.lags = [2, 0, 2, 2].into();
    }
    assert_eq!(project.pull().await.unwrap().deleted, 0);
    assert!(!project.orders().await[&9].deleted);
    project.pull().await.unwrap();
    assert_eq!(project.orders().await, fake.world.lock().unwrap().records);
}

#[tokio::test]
async fn a_pull_that_comes_after_the_source_forgot_stops_until_everything_has_been_read() {
    let fake = fake(3, 6).await;
    let cursor = "cursor = { field = \"updated_at\", param = \"since\", kept = \"7d\" }";
    let project = Project::new("shop", &shop(&fake.base, TOKEN, cursor)).await;
    // The server's own clock, which says when it answered, stands at now.
    let now = Utc::now();
    let days = |days: i64| project.clock.set(now + chrono::TimeDelta::days(days));
    days(0);
    project.pull().await.unwrap();
    days(6);
    project.pull().await.unwrap();
    let before = project.orders().await;
    fake.world.lock().unwrap().change(&Change::Write { id: 77, value: 1, late: 0 });
    days(8);
    for _ in 0..2 {
        let failure = project.pull_all(false).await.unwrap_err();
        let told = failure.diagnosis();
        assert_eq!((told.code.as_str(), failure.exit()), ("gap", Exit::Failed));
        assert!(
            told.message.contains(&now.format("%Y-%m-%d").to_string()) && told.hint.as_ref().unwrap().contains("pull shop --full"),
            "{told:?}"
        );
        assert_eq!(project.orders().await, before, "nothing is half known");
    }
    project.pull_all(true).await.unwrap();
    assert_eq!(project.orders().await.len(), before.len() + 1);
    days(6);
    project.pull().await.unwrap();
}

#[tokio::test]
async fn other_columns_make_the_cursor_say_nothing() {
    let fake = fake(50, 5).await;
    let mut project = Project::new("shop", &shop(&fake.base, TOKEN, CURSOR)).await;
    project.pull().await.unwrap();
    project.source = source("shop", &(shop(&fake.base, TOKEN, CURSOR) + "extra = \"json\"\n")).unwrap();
    project.pull().await.unwrap();
    assert_eq!(fake.world.lock().unwrap().asked[1], "", "everything is read again, so that old rows have the new column");
    let rows = project.rows("shop__orders").await;
    assert_eq!(rows.column_by_name("extra").unwrap().null_count(), 0);
}

#[tokio::test]
async fn a_row_pushed_past_the_reader_is_found_by_reading_again() {
    for pagination in [NUMBERS, OFFSETS, COUNTED] {
        let fake = fake(5, 10).await;
        // The first row moves to the end after the first page: the sixth becomes the fifth and is never seen.
        fake.world.lock().unwrap().between.push_back(vec![write(1, 100)]);
        let project = Project::new("shop", &shop(&fake.base, pagination, CURSOR)).await;
        project.pull().await.unwrap();
        assert_eq!(project.orders().await, fake.world.lock().unwrap().records, "{pagination}");
    }
}

#[tokio::test]
async fn where_rows_never_stand_still_the_cursor_waits_and_a_short_count_fails() {
    let moving = |fake: &Fake| {
        let mut world = fake.world.lock().unwrap();
        world.between = (0..40).map(|nth| if nth % 2 == 0 { vec![write(nth / 2 % 5 + 1, 100 + i64::from(nth))] } else { vec![] }).collect();
    };
    let busy = fake(5, 10).await;
    moving(&busy);
    let project = Project::new("shop", &shop(&busy.base, NUMBERS, CURSOR)).await;
    project.pull().await.unwrap();
    assert_eq!(project.lake.cursor("shop__orders").await.unwrap(), None);
    busy.world.lock().unwrap().between.clear();
    project.pull().await.unwrap();
    assert_eq!(project.orders().await, busy.world.lock().unwrap().records);

    let busy = fake(5, 10).await;
    moving(&busy);
    let project = Project::new("shop", &shop(&busy.base, COUNTED, CURSOR)).await;
    let error = project.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "shop.orders: the source announced 10 rows and gave 9");
    assert_eq!(error.diagnosis().code, "short_count");
    assert_eq!(project.lake.cursor("shop__orders").await.unwrap(), None);
}

#[tokio::test]
async fn flagged_rows_are_marked_and_reconciling_marks_what_is_gone() {
    let flagged = fake(3, 6).await;
    let project = Project::new("shop", &shop(&flagged.base, TOKEN, CURSOR)).await;
    project.pull().await.unwrap();
    flagged.world.lock().unwrap().change(&Change::Flag { id: 4 });
    project.pull().await.unwrap();
    assert_eq!(project.orders().await.iter().filter(|(_, order)| order.deleted).map(|(id, _)| *id).collect::<Vec<_>>(), [4]);

    let gone = fake(3, 6).await;
    let settings = "cursor = { field = \"updated_at\", param = \"since\" }\ndeletes = { reconcile = { every = \"1d\" } }";
    let project = Project::new("shop", &shop(&gone.base, TOKEN, settings)).await;
    project.pull().await.unwrap();
    gone.world.lock().unwrap().change(&Change::Vanish { id: 2 });
    project.pull().await.unwrap();
    assert_eq!(project.orders().await.values().filter(|order| order.deleted).count(), 0, "not due yet");
    project.clock.set("2026-11-23T01:00:00Z".parse().unwrap());
    let pulled = project.pull().await.unwrap();
    assert_eq!((pulled.rows, pulled.updated, pulled.deleted), (5, 5, 1));
    let orders = project.orders().await;
    assert_eq!(orders.iter().filter(|(_, order)| order.deleted).map(|(id, _)| *id).collect::<Vec<_>>(), [2]);
    gone.world.lock().unwrap().change(&write(2, 7));
    project.pull().await.unwrap();
    assert!(!project.orders().await[&2].deleted, "what comes back is there again");

    gone.world.lock().unwrap().records.clear();
    project.clock.set("2026-11-25T01:00:00Z".parse().unwrap());
    let error = project.pull().await.unwrap_err();
    assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("emptied", Exit::Failed));
    assert!(error.to_string().contains("6 would be marked as deleted"), "{error}");
}

fn remove(id: u32) -> Change {
    Change::Remove { id, late: 0, shown: false }
}

impl Project {
    async fn deleted(&self) -> Vec<u32> {
        self.orders().await.into_iter().filter(|(_, order)| order.deleted).map(|(id, _)| id).collect()
    }
}

#[tokio::test]
async fn what_another_stream_lists_as_deleted_is_marked_until_it_changes() {
    let fake = fake(3, 6).await;
    let project = Project::new("shop", &listing(&fake.base, TOKEN)).await;
    project.pull().await.unwrap();
    {
        let mut world = fake.world.lock().unwrap();
        world.removals.push((None, 1_800_000_000));
        world.change(&remove(4));
        world.change(&Change::Remove { id: 5, late: 0, shown: true });
    }
    let pulled = project.pull().await.unwrap();
    assert_eq!((project.deleted().await, pulled.deleted), (vec![4, 5], 2), "an event of another kind marks nothing");
    let rows = project.rows("shop__orders").await;
    let since = rows.column_by_name("_deleted_at").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(arrow::compute::max(since), Some(1_700_000_008_000_000), "since the event");
    let pulled = project.pull().await.unwrap();
    assert_eq!((project.deleted().await, pulled.deleted), (vec![4, 5], 0), "a listing that lags brings nobody back");
    assert_eq!(project.pull_all(true).await.unwrap()[0].deleted, 0);
    assert_eq!(project.deleted().await, [4, 5]);

    fake.world.lock().unwrap().change(&write(4, 44));
    project.pull().await.unwrap();
    assert_eq!(project.deleted().await, [5], "what changed after its event lives again");

    {
        let mut world = fake.world.lock().unwrap();
        world.change(&Change::Write { id: 9, value: 9, late: 100 });
        world.change(&Change::Remove { id: 9, late: 0, shown: false });
    }
    project.pull().await.unwrap();
    fake.world.lock().unwrap().removed.get_mut(&9).unwrap().1 = true;
    project.pull().await.unwrap();
    assert_eq!(project.deleted().await, [5, 9], "what comes after its own event is marked, too");
    let record = &project.ledger.last_pulls().await.unwrap()[0];
    assert_eq!((record.stream.as_str(), record.deletes.as_deref()), ("orders", Some("events")));
}

#[tokio::test]
async fn rows_are_pulled_and_marked_by_what_is_known_where_the_list_of_deletions_fails() {
    let fake = fake(3, 6).await;
    let mut project = Project::new("shop", &listing(&fake.base, TOKEN)).await;
    project.pull().await.unwrap();
    fake.world.lock().unwrap().change(&remove(2));
    project.pull().await.unwrap();
    fake.world.lock().unwrap().change(&write(1, 11));
    project.source = source("shop", &listing(&fake.base, TOKEN).replace("path = \"/removals\"", "path = \"/nowhere\"")).unwrap();
    let failure = project.pull_all(true).await.unwrap_err();
    assert_eq!(failure.diagnosis().message, "shop.removals: /nowhere answered 404");
    assert_eq!(failure.pulled.iter().map(|pulled| (pulled.stream.as_str(), pulled.rows)).collect::<Vec<_>>(), [("orders", 5)]);
    assert_eq!((project.deleted().await, project.orders().await[&1].value), (vec![2], 11));
}

#[tokio::test]
async fn rows_are_marked_as_listed_although_their_own_pull_fails() {
    let fake = fake(3, 6).await;
    let mut project = Project::new("shop", &listing(&fake.base, TOKEN)).await;
    project.pull().await.unwrap();
    fake.world.lock().unwrap().change(&remove(2));
    project.source = source("shop", &listing(&fake.base, TOKEN).replace("path = \"/orders\"", "path = \"/nowhere\"")).unwrap();
    assert!(project.pull_all(false).await.is_err());
    assert_eq!(project.deleted().await, [2], "who asked to be forgotten is not written to because a listing is down");
}

#[tokio::test]
async fn without_an_instant_to_compare_with_a_listed_row_stays_deleted() {
    let fake = fake(3, 6).await;
    for cursor in ["", "cursor = { field = \"value\", param = \"from\" }"] {
        let settings = listing(&fake.base, TOKEN).replacen("cursor = { field = \"updated_at\", param = \"since\" }", cursor, 1);
        let project = Project::new("shop", &settings).await;
        fake.world.lock().unwrap().change(&remove(2));
        fake.world.lock().unwrap().change(&write(2, 22));
        project.pull().await.unwrap();
        assert_eq!(project.deleted().await, [2]);
    }
}

#[tokio::test]
async fn events_and_reconciling_go_together() {
    let fake = fake(3, 6).await;
    let settings = listing(&fake.base, TOKEN).replace("[\"destroy\", \"purge\"] } }", "\"destroy\" } }, reconcile = { every = \"1d\" }");
    let project = Project::new("shop", &settings).await;
    project.pull().await.unwrap();
    fake.world.lock().unwrap().change(&remove(2));
    fake.world.lock().unwrap().change(&Change::Vanish { id: 3 });
    project.pull().await.unwrap();
    assert_eq!(project.deleted().await, [2], "the other one is not due yet");
    project.clock.set("2026-11-23T01:00:00Z".parse().unwrap());
    let pulled = project.pull().await.unwrap();
    assert_eq!((project.deleted().await, pulled.deleted, pulled.updated), (vec![2, 3], 1, 4));
    assert_eq!(project.ledger.last_pulls().await.unwrap()[0].deletes.as_deref(), Some("events, reconcile"));
}

#[test]
fn mistakes_in_where_deletions_are_listed_are_told_with_their_line() {
    let good = listing("https://shop.example", LINK);
    source("shop", &good).unwrap();
    let cases = [
        ("stream = \"removals\"", "stream = \"removal\"", "unknown_stream", "did you mean `removals`?"),
        ("stream = \"removals\"", "stream = \"orders\"", "bad_value", "name the stream in which"),
        ("{ id = \"order_id\" }", "{ id = \"orderid\" }", "unknown_column", "did you mean `order_id`?"),
        ("{ id = \"order_id\" }", "{}", "bad_value", "add it: key = { id = \"…\" }"),
        ("{ id = \"order_id\" }", "{ id = \"order_id\", value = \"id\" }", "bad_value", "write there id alone"),
        ("{ id = \"order_id\" }", "{ id = \"at\" }", "bad_value", "declare both with one type"),
        ("at = \"at\"", "at = \"verb\"", "bad_value", "name a column of type timestamp"),
        ("at = \"at\"", "at = \"when\"", "unknown_column", "declare it in [streams.removals.columns]"),
        ("{ verb = [", "{ vreb = [", "unknown_column", "did you mean `verb`?"),
        ("{ verb = [", "{ at = [", "bad_value", "declare it as text"),
        ("[\"destroy\", \"purge\"]", "7", "bad_value", ""),
        ("where =", "were =", "unknown_key", "did you mean `where`?"),
        ("deletes = {", "deletes = { flag = \"deleted_at\",", "bad_value", ""),
    ];
    for (from, to, code, hint) in cases {
        let error = source("shop", &good.replacen(from, to, 1)).unwrap_err();
        assert_eq!((error.code.as_str(), error.line), (code, Some(11)), "{to}: {error:?}");
        assert!(error.hint.as_deref().unwrap_or_default().starts_with(hint), "{to}: {error:?}");
    }
}

#[tokio::test]
async fn a_source_that_answers_500_for_ever_fails_and_loses_nothing() {
    let fake = fake(3, 6).await;
    let project = Project::new("shop", &shop(&fake.base, TOKEN, CURSOR)).await;
    project.pull().await.unwrap();
    let (before, cursor) = (project.orders().await, project.lake.cursor("shop__orders").await.unwrap());
    {
        let mut world = fake.world.lock().unwrap();
        world.change(&write(1, 50));
        world.faults.push_back(Fault::Status(500, None));
        world.for_ever = true;
    }
    let failure = project.pull_all(false).await.unwrap_err();
    assert_eq!(failure.exit(), Exit::Failed);
    let told = failure.diagnosis();
    assert_eq!(told.message, "shop.orders: /orders answered 500, 3 times in a row");
    assert!(told.hint.as_deref().unwrap().contains("run the command again"), "{told:?}");
    assert_eq!((project.orders().await, project.lake.cursor("shop__orders").await.unwrap()), (before, cursor));
    let record = &project.ledger.last_pulls().await.unwrap()[0];
    assert_eq!(
        (record.requests, record.retries, record.error.as_deref()),
        (3, 2, Some("shop.orders: /orders answered 500, 3 times in a row"))
    );
    fake.world.lock().unwrap().for_ever = false;
    fake.world.lock().unwrap().faults.clear();
    project.pull().await.unwrap();
    assert_eq!(project.orders().await, fake.world.lock().unwrap().records);
}

#[tokio::test]
async fn passing_faults_are_waited_out() {
    let fake = fake(3, 6).await;
    fake.world.lock().unwrap().faults = [Fault::Status(429, Some("0.01".to_owned())), Fault::Truncated]
        .into_iter()
        .chain([Fault::Status(503, Some("0".to_owned()))])
        .collect();
    let project = Project::new("shop", &shop(&fake.base, TOKEN, CURSOR).replace("attempts = 3", "attempts = 4")).await;
    let pulled = project.pull().await.unwrap();
    assert_eq!((pulled.rows, pulled.requests, pulled.retries), (6, 5, 3));
}

#[tokio::test]
async fn answers_that_are_not_what_they_should_be_are_told_apart() {
    let cases = [
        (Fault::Truncated, true, "gave a page that breaks off or is no JSON"),
        (Fault::Html, true, "/orders answered with a web page instead of JSON"),
        (Fault::Status(429, Some("3600".to_owned())), true, "asks to be left alone for 3600 s"),
        (Fault::Status(404, None), true, "/orders answered 404"),
        (Fault::Body("{\"items\": []}".to_owned()), true, "holds nothing at `orders`, where the rows should be"),
        (Fault::Body("{\"orders\": null}".to_owned()), true, "holds no list at `orders`"),
        (
            Fault::Redirect("http://elsewhere.example/".to_owned()),
            true,
            "redirects to elsewhere.example; the credentials are not sent there",
        ),
    ];
    for (fault, for_ever, words) in cases {
        let fake = fake(3, 6).await;
        let project = Project::new("shop", &shop(&fake.base, TOKEN, CURSOR)).await;
        {
            let mut world = fake.world.lock().unwrap();
            // The first page is whole.
            world.faults.push_back(fault);
            world.for_ever = for_ever;
        }
        let error = project.pull().await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.exit(), Exit::Failed);
        assert!(project.orders().await.is_empty());
    }
}

#[tokio::test]
async fn a_repeated_token_is_an_error_and_the_cursor_stays() {
    let fake = fake(3, 6).await;
    fake.world.lock().unwrap().stuck = true;
    let project = Project::new("shop", &shop(&fake.base, TOKEN, CURSOR)).await;
    let error = project.pull().await.unwrap_err();
    assert!(error.to_string().contains("the paging would never end"), "{error}");
    assert_eq!(project.lake.cursor("shop__orders").await.unwrap(), None);
}

#[tokio::test]
async fn more_pages_than_allowed_are_an_error() {
    let fake = fake(1, 6).await;
    let project = Project::new("shop", &shop(&fake.base, TOKEN, &format!("{CURSOR}\nmax_pages = 3"))).await;
    assert!(project.pull().await.unwrap_err().to_string().contains("has more than 3 pages"));
}

#[tokio::test]
async fn a_wrong_token_is_told_with_what_to_check_and_a_right_one_passes() {
    let fake = fake(3, 6).await;
    fake.world.lock().unwrap().token = Some(("x-shop-token", "right".to_owned()));
    let auth = "auth = { header = { name = \"X-Shop-Token\", value = { file = \"config/token\" } } }\n";
    let settings = format!("{auth}{}", shop(&fake.base, LINK, CURSOR));
    let project = Project::new("shop", &settings).await;
    let error = project.pull().await.unwrap_err();
    assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("secret", Exit::Wrong));
    project.write("config/token", b"wrong\n");
    let error = project.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "shop.orders: /orders answered 401: who are you?");
    assert!(error.diagnosis().hint.unwrap().contains("`auth`"));
    let findings = project.source.probe(None, project.folder.path(), project.clock.clone()).await;
    assert_eq!(findings[0].diagnosis.code, "source_refused");
    project.write("config/token", b"right\n");
    assert_eq!(project.source.probe(None, project.folder.path(), project.clock.clone()).await, []);
    assert_eq!(project.pull().await.unwrap().rows, 6, "the token goes with every page");
}

#[tokio::test]
async fn a_secret_in_the_query_goes_with_every_page_and_is_kept_nowhere() {
    for pagination in [TOKEN, LINK, NEXT_URL] {
        let fake = fake(5, 60).await;
        let auth = "auth = { query = { name = \"key\", value = { file = \"config/token\" } } }\n";
        let project = Project::new("shop", &format!("{auth}{}", shop(&fake.base, pagination, CURSOR))).await;
        project.write("config/token", b"s3cret\n");
        fake.world.lock().unwrap().tell_at = Some(9);
        tokio::select! {
            outcome = project.pull_in_chunks(10) => panic!("{outcome:?}"),
            () = fake.told.notified() => {}
        }
        let asked = fake.world.lock().unwrap().asked.clone();
        assert!(asked.len() > 3 && asked.iter().all(|asked| asked.matches("key=s3cret").count() == 1), "{asked:?}");
        let state = project.lake.cursor("shop__orders").await.unwrap().unwrap().to_string();
        assert!(state.contains("resume") && !state.contains("s3cret"), "{state}");
        fake.world.lock().unwrap().faults.push_back(Fault::Status(404, None));
        project.pull_in_chunks(10).await.unwrap();
        assert_eq!(project.orders().await, fake.world.lock().unwrap().records);
        fake.world.lock().unwrap().faults.push_back(Fault::Body("{\"orders\": 1, \"message\": \"s3cret\"}".to_owned()));
        let error = project.pull().await.unwrap_err();
        assert!(!format!("{error:?} {:?}", error.diagnosis()).contains("s3cret"));
    }
    let clash = format!(
        "auth = {{ query = {{ name = \"key\", value = {{ env = \"X\" }} }} }}\n{}",
        shop("https://shop.example", LINK, "params = { key = \"x\" }")
    );
    assert_eq!(source("shop", &clash).unwrap_err().code, "param_clash");
}

fn login(base: &str, kind: &str) -> String {
    let token = if kind == "refresh_token" { ", token = { file = \"config/token\" }" } else { ", scope = \"read\"" };
    let client = "client_id = \"me\", client_secret = { file = \"config/secret\" }";
    format!("auth = {{ {kind} = {{ token_url = \"{base}/token\", {client}{token} }} }}\n{}", shop(base, LINK, CURSOR))
}

#[tokio::test]
async fn a_token_is_fetched_once_and_anew_when_it_expires_or_is_refused() {
    let fake = fake(3, 6).await;
    fake.world.lock().unwrap().login.lives = Some(1800);
    let project = Project::new("shop", &login(&fake.base, "client_credentials")).await;
    project.write("config/secret", b"s3cret\n");
    let given = || fake.world.lock().unwrap().login.given;
    let pulled = project.pull().await.unwrap();
    assert_eq!((pulled.rows, pulled.requests, given()), (6, 2, 1));
    project.pull().await.unwrap();
    assert_eq!(given(), 1);
    project.clock.set(NOW.parse::<DateTime<Utc>>().unwrap() + chrono::TimeDelta::seconds(1741));
    project.pull().await.unwrap();
    assert_eq!(given(), 2, "a minute before it ends it is not sent any more");

    fake.world.lock().unwrap().token = Some(("authorization", "Bearer another".to_owned()));
    let pulled = project.pull().await.unwrap();
    assert_eq!((pulled.retries, given()), (1, 3), "what is refused is fetched anew, once");
    assert_eq!(project.orders().await, fake.world.lock().unwrap().records);

    fake.world.lock().unwrap().faults.push_back(Fault::Status(401, None));
    fake.world.lock().unwrap().for_ever = true;
    let error = project.pull().await.unwrap_err();
    assert_eq!((error.to_string().as_str(), given()), ("shop.orders: /orders answered 401", 4));
}

#[tokio::test]
async fn a_token_that_is_not_given_is_waited_for_or_told_without_the_secret() {
    let fake = fake(3, 6).await;
    let project = Project::new("shop", &login(&fake.base, "client_credentials")).await;
    project.write("config/secret", b"s3cret\n");
    let faults = |faults: &[(u16, Value)]| fake.world.lock().unwrap().login.faults = faults.iter().cloned().collect();
    faults(&[(503, json!({})), (429, json!({}))]);
    assert_eq!(project.pull().await.unwrap().rows, 6);
    for (answers, words) in [
        (vec![(503, json!({})); 3], "shop.orders: /orders got no token: /token answered 503, 3 times in a row"),
        (vec![(200, json!({"error": "bad s3cret"}))], "shop.orders: got no token: /token gave no `access_token`: bad ••••"),
        (
            vec![(200, json!({"access_token": "x", "token_type": "mac"}))],
            "shop.orders: got no token: /token gave a token of the type `mac`",
        ),
        (vec![(302, json!({}))], "shop.orders: got no token: /token answered 302"),
    ] {
        let project = Project::new("shop", &login(&fake.base, "client_credentials")).await;
        project.write("config/secret", b"s3cret\n");
        faults(&answers);
        let error = project.pull().await.unwrap_err();
        assert!(error.to_string().starts_with(words), "{error}");
    }
    project.write("config/secret", b"wrong-one\n");
    let project = Project { source: source("shop", &login(&fake.base, "client_credentials")).unwrap(), ..project };
    faults(&[]);
    let told = project.pull().await.unwrap_err().diagnosis();
    assert_eq!(told.message, "shop.orders: got no token: /token answered 401: the secret •••• is wrong");
    assert!(told.hint.unwrap().contains("`auth`"));
}

#[tokio::test]
async fn a_refresh_token_given_in_exchange_is_kept_for_the_next_run() {
    let fake = fake(3, 6).await;
    let grant = |token: &str| {
        let mut world = fake.world.lock().unwrap();
        (world.login.refresh, world.login.rotates) = (Some(token.to_owned()), true);
    };
    grant("granted");
    let mut project = Project::new("shop", &login(&fake.base, "refresh_token")).await;
    project.write("config/secret", b"s3cret\n");
    project.write("config/token", b"granted\n");
    for night in 1..4 {
        // As a process that has just begun.
        project.source = source("shop", &login(&fake.base, "refresh_token")).unwrap();
        project.pull().await.unwrap();
        assert_eq!(fake.world.lock().unwrap().login.refresh, Some(format!("refresh-{night}")));
        assert!(project.source.probe(None, project.folder.path(), project.clock.clone()).await.is_empty());
    }
    assert_eq!(fake.world.lock().unwrap().login.given, 3, "a check does not use one up");

    project.source = source("shop", &login(&fake.base, "refresh_token")).unwrap();
    grant("granted-anew");
    let error = project.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "shop.orders: got no token: /token answered 400: invalid_grant");
    project.write("config/token", b"granted-anew\n");
    project.pull().await.unwrap();
}

#[tokio::test]
async fn an_error_under_status_200_is_no_page() {
    let fake = fake(3, 6).await;
    let settings = format!("error = {{ path = \"errors\", passing = [\"THROTTLED\"] }}\n{}", shop(&fake.base, LINK, CURSOR));
    let project = Project::new("shop", &settings).await;
    let fault = |code: &str| {
        let body = json!({"orders": [], "errors": [{"message": "too dear", "extensions": {"code": code}}]}).to_string();
        fake.world.lock().unwrap().faults.push_back(Fault::Body(body));
    };
    fault("THROTTLED");
    let pulled = project.pull().await.unwrap();
    assert_eq!((pulled.rows, pulled.retries), (6, 1));
    fault("UNKNOWN_FIELD");
    let error = project.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "shop.orders: /orders answered 200 with an error: too dear");
    (0..3).for_each(|_| fault("THROTTLED"));
    let error = project.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "shop.orders: /orders answered 200 with an error: too dear, 3 times in a row");
}

#[tokio::test]
async fn the_bounds_stand_where_they_are_asked_for_and_in_the_source_s_own_writing() {
    let fake = fake(50, 5).await;
    let cursor = "cursor = { field = \"updated_at\", format = \"unix\", start = \"2023-11-14T22:13:23Z\", overlap = \"1s\" }";
    let query = "params = { q = \"at >= {since} and at < {until}\", page = \"{token}\", since = \"2023-11-14T22:13:23Z\" }";
    let settings = shop(&fake.base, "{ cursor_token = { next = \"next\" } }", &format!("{cursor}\n{query}"));
    let project = Project::new("shop", &settings).await;
    project.clock.set(DateTime::from_timestamp(1_700_000_010, 0).unwrap());
    assert_eq!(project.source.probe(None, project.folder.path(), project.clock.clone()).await, []);
    assert_eq!(project.pull().await.unwrap().rows, 3);
    project.pull().await.unwrap();
    let asked = |from: u32| format!("q=at+%3E%3D+{from}+and+at+%3C+1700000010&since=2023-11-14T22%3A13%3A23Z");
    assert_eq!(fake.world.lock().unwrap().asked, [asked(1_700_000_003), asked(1_700_000_003), asked(1_700_000_004)]);
}

#[tokio::test]
async fn a_value_that_does_not_fit_stops_the_stream_or_is_set_aside() {
    let fake = fake(50, 0).await;
    let good = json!({"id": "a", "value": 1, "updated_at": "2023-11-14T22:13:21Z"});
    let rows = |bad: Value| json!([good, bad]);
    let cases = [
        (
            json!({"id": "b", "value": "x", "updated_at": "2023-11-14T22:13:21Z"}),
            "shop.orders: row b: `value` is not a number (it is `\"x\"`)",
        ),
        (
            json!({"id": null, "updated_at": "2023-11-14T22:13:21Z"}),
            "shop.orders: row number 2: `id` is missing, and it is part of the key (it is `null`)",
        ),
        (json!({"id": "b", "updated_at": "2023-11-14 22:13:21"}), "shop.orders: row b: `updated_at` has no time zone"),
        (json!({"id": "b", "value": 1}), "shop.orders: row b: `updated_at` is missing, and the cursor follows it"),
        (json!("b"), "shop.orders: row number 2: `id` is missing: the row is not an object"),
    ];
    for (bad, words) in cases {
        fake.world.lock().unwrap().rows = Some(rows(bad.clone()));
        let project = Project::new("shop", &shop(&fake.base, "\"none\"", CURSOR)).await;
        let error = project.pull().await.unwrap_err();
        assert!(error.to_string().starts_with(words), "{error}");
        assert_eq!(error.exit(), Exit::Failed);
        assert!(project.orders().await.is_empty(), "nothing of a pull that failed is in the table");
        let recorded = project.ledger.last_pulls().await.unwrap()[0].error.clone().unwrap();
        assert!(!recorded.contains("it is `"), "{recorded}");

        let settings = shop(&fake.base, "\"none\"", &format!("{CURSOR}\non_bad_value = \"quarantine\""));
        let project = Project::new("shop", &settings).await;
        let pulled = project.pull().await.unwrap();
        assert_eq!((pulled.rows, pulled.inserted, pulled.quarantined), (2, 1, 1));
        project.pull().await.unwrap();
        let aside = project.rows("shop__orders__quarantine").await;
        assert_eq!(aside.num_rows(), 1, "set aside once, however often it comes");
        assert_eq!(aside.column_by_name("row").unwrap().as_string::<i32>().value(0), bad.to_string());
    }
}

#[tokio::test]
async fn a_stream_that_fails_does_not_stop_the_others() {
    let fake = fake(3, 6).await;
    let settings = shop(&fake.base, TOKEN, CURSOR)
        + &COLUMNS.replace("orders", "broken")
        + "[streams.broken]\npath = \"/nowhere\"\nkey = [\"id\"]\npagination = \"none\"\n";
    let project = Project::new("shop", &settings).await;
    let failure = project.pull_all(false).await.unwrap_err();
    assert_eq!(failure.pulled.iter().map(|pulled| (pulled.stream.as_str(), pulled.rows)).collect::<Vec<_>>(), [("orders", 6)]);
    assert_eq!(failure.diagnosis().message, "shop.broken: /nowhere answered 404");
    assert_eq!(failure.exit(), Exit::Failed);
}

#[tokio::test]
async fn tables_stand_before_the_first_page_even_when_it_never_comes() {
    let project = Project::new("shop", &shop("http://127.0.0.1:1", TOKEN, CURSOR)).await;
    let error = project.pull().await.unwrap_err();
    assert!(error.to_string().contains("/orders cannot be reached"), "{error}");
    let schema = project.lake.schema("shop__orders", None).await.unwrap();
    assert_eq!(
        schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["id", "value", "updated_at", "deleted_at", "_pulled_at", "_deleted_at"]
    );
    assert_eq!(project.source.schemas()["shop__orders"], schema);
}

#[tokio::test]
async fn the_practice_shop_is_found_by_the_address_handed_in() {
    let fake = fake(3, 6).await;
    let mut project = Project::new("shop", &shop("practice://orders", TOKEN, CURSOR)).await;
    assert!(project.source.is_practice());
    assert_eq!(project.pull().await.unwrap_err().diagnosis().code, "no_practice");
    project.source = source("shop", &shop("practice://orders", TOKEN, CURSOR).replace("\"/orders\"", "\"/\"")).unwrap();
    let stream = &project.source.inner.streams[0];
    let base: Url = fake.base.parse().unwrap();
    let reader = project.source.reader(stream, Some(&base), project.folder.path(), project.clock.clone(), "r", Shared::default());
    assert!(reader.is_ok());
    let found = project.source.probe(Some(&base), project.folder.path(), project.clock.clone()).await;
    // The fake serves `/orders`, the practice address is `/orders/`.
    assert!(found[0].diagnosis.message.contains("/orders/ answered 404"), "{found:?}");
}

#[test]
fn words_select_sources_and_streams() {
    let shop = source("shop", &shop("https://shop.example", LINK, CURSOR)).unwrap();
    let words = |words: &[&str]| select(std::slice::from_ref(&shop), &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    assert_eq!(words(&["shop"]).unwrap(), [StreamName::new("shop", "orders")]);
    assert_eq!(words(&["shop.orders", "shop"]).unwrap().len(), 1);
    let error = words(&["shop.order"]).unwrap_err();
    assert_eq!((error.diagnosis().hint.as_deref(), error.exit()), (Some("did you mean `shop.orders`?"), Exit::Wrong));
}

#[test]
fn mistakes_in_the_settings_are_told_with_their_line() {
    let good = shop("https://shop.example", LINK, CURSOR);
    let cases = [
        ("rows = \"orders\"", "row = \"orders\"", "unknown_key", Some("did you mean `rows`?"), 7),
        ("key = [\"id\"]", "key = [\"idd\"]", "unknown_column", Some("did you mean `id`?"), 8),
        ("key = [\"id\"]", "key = []", "bad_value", None, 8),
        ("field = \"updated_at\"", "field = \"updated\"", "unknown_column", Some("did you mean `updated_at`?"), 10),
        ("field = \"updated_at\"", "field = \"id\"", "bad_cursor", None, 10),
        ("param = \"since\"", "parm = \"since\"", "unknown_key", Some("did you mean `param`?"), 10),
        ("value = \"integer\"", "value = \"intger\"", "bad_value", None, 15),
        ("value = \"integer\"", "_value = \"integer\"", "bad_value", None, 15),
        ("deletes = \"flag\"", "deletes = \"flags\"", "unknown_value", Some("did you mean `flag`?"), 11),
        ("deletes = \"flag\"", "deletes = { flag = \"gone\" }", "unknown_column", None, 11),
        ("{ link_header = {} }", "{ link_headers = {} }", "unknown_value", Some("did you mean `link_header`?"), 9),
        ("{ link_header = {} }", "{ cursor_token = { param = \"since\", next = \"n\" } }", "param_clash", None, 10),
        ("{ link_header = {} }", "{ page_number = { parm = \"p\" } }", "unknown_key", Some("did you mean `param`?"), 9),
        ("deletes = \"flag\"", "params = { since = \"x\" }", "param_clash", Some("remove it from `params`"), 11),
        ("path = \"/orders\"", "path = \"orders\"", "bad_value", None, 6),
        ("kind = \"http\"", "kind = \"htp\"", "unknown_value", Some("did you mean `http`?"), 2),
        ("https://shop.example", "shop.example", "bad_value", None, 3),
        ("[streams.orders", "[streams.Orders", "bad_name", None, 5),
    ];
    for (from, to, code, hint, line) in cases {
        let error = source("shop", &good.replace(from, to)).unwrap_err();
        assert_eq!((error.code.as_str(), error.line), (code, Some(line)), "{to}: {error:?}");
        if let Some(hint) = hint {
            assert_eq!(error.hint.as_deref(), Some(hint), "{to}");
        }
    }
    assert_eq!(source("Shop", &good).unwrap_err().code, "bad_name");
    let window = good.replace(LINK, NUMBERS).replace("param = \"since\"", "param = \"since\", until_param = \"until\"");
    assert_eq!(source("shop", &window).unwrap_err().code, "bad_cursor");
    // A start is an instant, a day, or written as the source writes its times.
    let counted = good.replace("updated_at = \"timestamp\"", "updated_at = { type = \"timestamp\", timestamp_format = \"unix\" }");
    for (start, fits) in [("2024-01-01T00:00:00+01:00", true), ("2024-01-01", true), ("1704067200", true), ("yesterday", false)] {
        let parsed = source("shop", &counted.replace("param = \"since\"", &format!("param = \"since\", start = \"{start}\"")));
        assert_eq!(parsed.map(drop).map_err(|error| error.code), if fits { Ok(()) } else { Err("bad_cursor".to_owned()) }, "{start}");
    }
    let database = "kind = \"database\"\nurl = \"postgres://me@db.example/shop\"\n[streams.orders]\ntable = \"o\"\nkey = [\"id\"]\ncursor = { field = \"at\" }\n[streams.orders.columns]\nid = \"text\"\nat = { type = \"timestamp\", timestamp_format = \"unix\" }\n";
    let told = source("shop", database).unwrap_err();
    assert_eq!((told.code.as_str(), told.line), ("bad_cursor", Some(6)), "{told:?}");

    let cursor = "cursor = { field = \"updated_at\", param = \"since\" }";
    let bare = "cursor = { field = \"updated_at\" }";
    let cases = [
        (cursor, "body = { a = 1 }", "bad_value", 10),
        (LINK, "{ link_header = {} }\nmethod = \"post\"", "bad_value", 9),
        (LINK, "{ cursor_token = { next = \"n\" } }", "bad_value", 9),
        (LINK, "{ cursor_token = { next = \"n\", param = \"t\" } }\nparams = { t2 = \"{token}\" }", "bad_value", 9),
        (LINK, "{ cursor_token = { next = \"n\" } }\nparams = { q = \"id > {token}\" }", "bad_value", 9),
        (LINK, "{ link_header = {} }\nparams = { q = \"{token}\" }", "bad_value", 9),
        (LINK, "\"none\"\nmethod = \"post\"\nbody = { at = 2026-01-01 }", "bad_value", 11),
        (LINK, "{ keyset = { tie = \"id\" } }\nparams = { a = \"{after}\" }", "bad_value", 9),
        (LINK, "{ keyset = { tie = \"id\" } }\nparams = { a = \"{after}\", t = \"id > {tie}\" }", "bad_value", 9),
        (LINK, "{ keyset = { size = 5 } }", "bad_value", 9),
        (LINK, "{ keyset = {} }\nparams = { a = \"{after}\" }", "bad_value", 9),
        (LINK, "{ keyset = { size = 5 } }\nparams = { a = \"at >= {after}\" }", "bad_cursor", 11),
        (LINK, "{ link_header = {} }\nparams = { a = \"{after}\" }", "bad_value", 9),
        (LINK, "{ page_number = { param = \"page\", at_most = 0 } }", "bad_value", 9),
        (cursor, "params = { q = \"{since}\" }", "bad_cursor", 5),
        (cursor, bare, "bad_cursor", 10),
        (cursor, "cursor = { field = \"updated_at\" }\nparams = { q = \"at >= {since}\" }", "bad_cursor", 10),
        (cursor, "cursor = { field = \"value\" }\nparams = { a = \"{since}\", b = \"{until}\" }", "bad_cursor", 10),
        ("kind = \"http\"", "kind = \"http\"\nrate = { requests = 0 }", "bad_value", 3),
        ("kind = \"http\"", "kind = \"http\"\nbudget = {}", "bad_value", 3),
        ("kind = \"http\"", "kind = \"http\"\nat_once = 0", "bad_value", 3),
        ("kind = \"http\"", "kind = \"http\"\nerror = {}", "bad_value", 3),
        (CURSOR, "cursor = { field = \"updated_at\", param = \"since\", kept = \"29d\" }\ndeletes = \"reconcile\"", "bad_cursor", 10),
        (
            "kind = \"http\"",
            "kind = \"http\"\nauth = { client_credentials = { token_url = \"http://a.example/\", client_id = \"a\", client_secret = { env = \"X\" } } }",
            "bad_value",
            3,
        ),
    ];
    for (from, to, code, line) in cases {
        let error = source("shop", &good.replace(from, to)).unwrap_err();
        assert_eq!((error.code.as_str(), error.line), (code, Some(line)), "{to}: {error:?}");
    }
}

#[test]
fn the_searches_of_the_documentation_can_be_used() {
    let page = include_str!("../../docs/sources.md");
    let search =
        page.split("```toml\n").filter_map(|block| block.split("```").next()).find(|block| block.contains("filterGroups")).unwrap();
    let crm = source("crm", &format!("kind = \"http\"\nbase_url = \"https://crm.example\"\n{search}")).unwrap();
    assert_eq!(crm.streams(), [StreamName::new("crm", "accounts"), StreamName::new("crm", "contacts")]);
}

// Files.

fn files(stream: &str, columns: &str) -> String {
    format!("kind = \"file\"\n[streams.orders]\n{stream}\n[streams.orders.columns]\n{columns}\n")
}

fn texts(rows: &RecordBatch, column: &str) -> Vec<Option<String>> {
    rows.column_by_name(column).unwrap().as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

const CSV: &str =
    "id;name;price;at\n1;\"Müller; \"\"Söhne\"\"\";19.90;01.12.2010 08:26\n\n2;;NA;01.07.2011 08:26\n3;\"two\nlines\";3;01.07.2011 08:26\n";
const CSV_STREAM: &str =
    "path = \"in/*.csv*\"\ndelimiter = \";\"\nnull_values = [\"\", \"NA\"]\nrow_number = \"line\"\nfile_name = \"file\"";
const CSV_COLUMNS: &str = "id = \"text\"\nname = \"text\"\namount = { from = \"price\", type = \"decimal(18,4)\" }\nat = { type = \"timestamp\", timestamp_format = \"%d.%m.%Y %H:%M\", zone = \"Europe/London\" }";

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

#[tokio::test]
async fn csv_files_are_read_whole_however_they_are_packed() {
    let project = Project::new("till", &files(CSV_STREAM, CSV_COLUMNS)).await;
    project.write("in/a.csv", &[b"\xef\xbb\xbf", CSV.as_bytes()].concat());
    project.write("in/b.csv.gz", &gz(CSV.as_bytes()));
    project.write("in/c.csv.zst", &zstd::encode_all(CSV.as_bytes(), 1).unwrap());
    let pulled = project.pull().await.unwrap();
    assert_eq!((pulled.rows, pulled.inserted, pulled.requests), (9, 9, 3));
    let rows = project.rows("till__orders").await;
    assert_eq!(texts(&rows, "id"), some(&["1", "2", "3"].repeat(3)));
    assert_eq!(texts(&rows, "name")[..3], [Some("Müller; \"Söhne\"".to_owned()), None, Some("two\nlines".to_owned())]);
    assert_eq!(texts(&rows, "file")[2..4], some(&["a.csv", "b.csv.gz"]));
    assert_eq!(
        rows.column_by_name("line").unwrap().as_primitive::<Int64Type>().values()[..3],
        [2, 3, 5],
        "an empty line before a row is taken for its beginning"
    );
    let amount = rows.column_by_name("amount").unwrap().as_primitive::<Decimal128Type>();
    assert_eq!((amount.value(0), amount.is_null(1), amount.value(2)), (199_000, true, 30_000));
    let at = rows.column_by_name("at").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(at.value(1), "2011-07-01T07:26:00Z".parse::<DateTime<Utc>>().unwrap().timestamp_micros());

    project.write("in/a.csv", b"id;name;price;at\n9;;;\n");
    std::fs::remove_file(project.folder.path().join("in/b.csv.gz")).unwrap();
    std::fs::remove_file(project.folder.path().join("in/c.csv.zst")).unwrap();
    project.pull().await.unwrap();
    assert_eq!(texts(&project.rows("till__orders").await, "id"), some(&["9"]), "the files are the table");
    project.write("in/a.csv", b"id;name;price;at\n");
    let error = project.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "till.orders: the files hold no rows, and the table would be emptied");
    assert_eq!(project.rows("till__orders").await.num_rows(), 1);
}

#[tokio::test]
async fn dirt_in_csv_is_named_with_its_line_or_set_aside() {
    let cases: [(&[u8], &str); 6] = [
        (b"id;name;price;at\n1;a;1\n", "till.orders: row at line 2 of a.csv: `the whole row` holds 3 values, where 4 are expected"),
        (b"id;name;price;at\n1;a;1;\n2;b;cheap;\n", "till.orders: row 2: `amount` is not a number (it is `cheap`)"),
        (b"id;name;price;at\n;b;1;\n", "till.orders: row at line 2 of a.csv: `id` is missing"),
        (b"id;name;price;at\n1;a;1;\n1;b;1;\n", "till.orders: row 1: `id` is the key of an earlier row too"),
        (b"id;name;price;at\n1;M\xfcller;1;\n", "till.orders: row at line 2 of a.csv: `the whole row` holds characters that are not UTF-8"),
        (b"id;name;price;at\n1;a;1;2011-07-01 08:26:00\n", "till.orders: row 1: `at` is not a time written as"),
    ];
    let stream = CSV_STREAM.to_owned() + "\nkey = [\"id\"]";
    for (dirt, words) in cases {
        let project = Project::new("till", &files(&stream, CSV_COLUMNS)).await;
        project.write("in/a.csv", dirt);
        let error = project.pull().await.unwrap_err();
        assert!(error.to_string().starts_with(words), "{error}");
        assert_eq!(project.rows("till__orders").await.num_rows(), 0);
        let project = Project::new("till", &files(&(stream.clone() + "\non_bad_value = \"quarantine\""), CSV_COLUMNS)).await;
        project.write("in/a.csv", &[dirt, b"7;good;1;\n"].concat());
        let pulled = project.pull().await.unwrap();
        assert_eq!((pulled.quarantined, pulled.rows - pulled.inserted), (1, 1));
        assert_eq!(project.rows("till__orders__quarantine").await.num_rows(), 1);
    }
    let project = Project::new("till", &files(&(stream + "\nencoding = \"latin1\""), CSV_COLUMNS)).await;
    project.write("in/a.csv", b"id;name;price;at\n1;M\xfcller;1;\n");
    project.pull().await.unwrap();
    assert_eq!(texts(&project.rows("till__orders").await, "name"), some(&["Müller"]));
}

#[tokio::test]
async fn files_that_are_missing_broken_or_otherwise_named_say_what_to_do() {
    let project = Project::new("till", &files(CSV_STREAM, CSV_COLUMNS)).await;
    let error = project.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "till.orders: there is no file `in/*.csv*`");
    assert_eq!(project.source.check(project.folder.path())[0].diagnosis.code, "source_file");
    let told = |bytes: &[u8], name: &str| {
        project.write(name, bytes);
        let project = &project;
        let name = name.to_owned();
        async move {
            let told = project.pull().await.unwrap_err().diagnosis();
            std::fs::remove_file(project.folder.path().join(name)).unwrap();
            told
        }
    };
    let missing = told(b"id;name;prise;at\n", "in/a.csv").await;
    assert_eq!((missing.file.clone(), missing.line), (Some(PathBuf::from("in/a.csv")), Some(1)));
    assert!(missing.message.contains("the header does not name `price`"), "{missing:?}");
    assert!(missing.hint.unwrap().contains("did you mean `prise`?"));
    assert!(told(b"id;name;price;at;price\n1;a;1;;2\n", "in/a.csv").await.message.contains("the header names `price` twice"));
    assert!(told(b"", "in/a.csv").await.message.contains("the file is empty"));
    let whole = gz(&CSV.repeat(50).into_bytes());
    assert!(told(&whole[..whole.len() / 2], "in/a.csv.gz").await.message.contains("the file cannot be read"));
}

#[tokio::test]
async fn ndjson_merges_by_key_and_names_broken_lines() {
    let stream = "path = \"in/o.ndjson\"\nmode = \"merge\"\nkey = [\"id\"]\nrow_number = \"line\"";
    let columns = "id = \"text\"\ncity = { from = \"address.city\", type = \"text\" }\ntags = [\"text\"]";
    let project = Project::new("till", &files(stream, columns)).await;
    project.write("in/o.ndjson", b"{\"id\": 1, \"address\": {\"city\": \"K\xc3\xb6ln\"}, \"tags\": [\"a\"]}\n\n{\"id\": 2}\n");
    project.pull().await.unwrap();
    project.write("in/o.ndjson", b"{\"id\": 2, \"address\": {\"city\": \"Ulm\"}}\n{\"id\": 3}");
    let pulled = project.pull().await.unwrap();
    assert_eq!((pulled.inserted, pulled.updated), (1, 1));
    let rows = project.rows("till__orders").await;
    let cities: BTreeMap<_, _> = texts(&rows, "id").into_iter().zip(texts(&rows, "city")).collect();
    assert_eq!(cities.into_values().collect::<Vec<_>>(), [Some("Köln".to_owned()), Some("Ulm".to_owned()), None]);
    project.write("in/o.ndjson", b"{\"id\": 4}\n{\"id\": ");
    let error = project.pull().await.unwrap_err();
    assert!(error.to_string().starts_with("till.orders: row at line 2 of o.ndjson: `the whole row` is no JSON"), "{error}");
}

#[tokio::test]
async fn parquet_is_cast_to_what_is_declared() {
    use arrow::array::{Float64Array, Int32Array, StringArray, TimestampSecondArray};
    let columns =
        "id = \"text\"\nprice = { type = \"decimal(18,4)\" }\nday = \"date\"\nat = { type = \"timestamp\", zone = \"Europe/Berlin\" }";
    let settings = files("path = \"in/o.parquet\"\nkey = [\"id\"]\non_bad_value = \"quarantine\"", columns);
    let project = Project::new("till", &settings).await;
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int32Array::from(vec![1, 2, 3])) as arrow::array::ArrayRef),
        ("price", Arc::new(Float64Array::from(vec![Some(1.5), None, Some(1e20)]))),
        ("day", Arc::new(StringArray::from(vec!["2026-01-02", "1970-01-02", "x"]))),
        ("at", Arc::new(TimestampSecondArray::from(vec![0, 0, 0]))),
    ])
    .unwrap();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    project.write("in/o.parquet", &bytes);
    let pulled = project.pull().await.unwrap();
    assert_eq!((pulled.rows, pulled.inserted, pulled.quarantined), (3, 2, 1));
    let rows = project.rows("till__orders").await;
    assert_eq!(texts(&rows, "id"), some(&["1", "2"]));
    assert_eq!(rows.column_by_name("price").unwrap().as_primitive::<Decimal128Type>().value(0), 15_000);
    assert_eq!(rows.column_by_name("at").unwrap().as_primitive::<TimestampMicrosecondType>().value(0), -3_600_000_000);
    let aside = project.rows("till__orders__quarantine").await;
    assert_eq!(texts(&aside, "field"), some(&["price"]));
    let project = Project::new("till", &settings.replace(", zone = \"Europe/Berlin\"", "")).await;
    project.write("in/o.parquet", &bytes);
    assert!(project.pull().await.unwrap_err().to_string().contains("name no zone"));
}

#[test]
fn mistakes_in_file_settings_are_told_with_their_line() {
    let good = files(CSV_STREAM, CSV_COLUMNS);
    let cases = [
        ("in/*.csv*", "in/orders.xls", "bad_value", 3),
        ("row_number = \"line\"", "row_number = \"id\"", "bad_value", 6),
        ("row_number = \"line\"", "mode = \"merge\"", "bad_value", 6),
        (", zone = \"Europe/London\"", "", "no_zone", 12),
        ("\"decimal(18,4)\"", "\"decimal(18,4)\", zone = \"Europe/London\"", "bad_value", 11),
        ("delimiter = \";\"", "delimitr = \";\"", "unknown_key", 4),
    ];
    for (from, to, code, line) in cases {
        let error = source("till", &good.replace(from, to)).unwrap_err();
        assert_eq!((error.code.as_str(), error.line), (code, Some(line)), "{to}: {error:?}");
    }
}

#[tokio::test]
async fn a_file_without_a_natural_key_has_its_line_for_one() {
    let stream = "path = \"in/o.csv\"\nrow_number = \"line\"\nkey = [\"line\"]";
    let columns = "invoice = { from = \"InvoiceNo\", type = \"text\" }\ncustomer = { from = \"CustomerID\", type = \"integer\" }\nat = { from = \"InvoiceDate\", type = \"timestamp\", zone = \"Europe/London\" }";
    let project = Project::new("till", &files(stream, columns)).await;
    project.write("in/o.csv", b"InvoiceNo,InvoiceDate,CustomerID\n536365,2010-12-01 08:26:00,17850.0\n536365,2010-12-01 08:26:00,17850.0\nC5,2011-07-01 08:26:00,\n");
    project.pull().await.unwrap();
    let rows = project.rows("till__orders").await;
    let customer = rows.column_by_name("customer").unwrap().as_primitive::<Int64Type>();
    assert_eq!((rows.num_rows(), customer.value(1), customer.is_null(2)), (3, 17850, true));
    assert_eq!(rows.column_by_name("line").unwrap().as_primitive::<Int64Type>().values()[..], [2, 3, 4]);
}

// What changes at the source.

#[tokio::test]
async fn fields_nobody_declared_are_kept_where_the_stream_says_so() {
    let fake = fake(3, 6).await;
    let mut project = Project::new("shop", &shop(&fake.base, TOKEN, CURSOR)).await;
    project.pull().await.unwrap();
    assert!(project.lake.schema("shop__orders", None).await.unwrap().index_of("_extra").is_err());
    assert_eq!(project.ledger.last_pulls().await.unwrap()[0].drift.as_deref(), Some("not declared: extra"));
    fake.world.lock().unwrap().asked.clear();
    project.source = source("shop", &shop(&fake.base, TOKEN, &format!("{CURSOR}\nextra = true"))).unwrap();
    project.pull().await.unwrap();
    assert!(!fake.world.lock().unwrap().asked[0].contains("since"), "everything is read again, so that old rows have theirs");
    assert_eq!(texts(&project.rows("shop__orders").await, "_extra"), some(&[r#"{"extra":{"left":"out"}}"#; 6]));

    let columns = "id = \"text\"\ncity = { from = \"address.city\", type = \"text\" }\ntags = \"json\"";
    let project = Project::new("till", &files("path = \"in/o.ndjson\"\nextra = true\nkey = [\"id\"]", columns)).await;
    let rows = [
        r#"{"id": 1, "address": {"city": "Ulm", "zip": "89073"}, "tags": {"a": 1}, "note": null}"#,
        r#"{"id": 2, "address": {"city": "Bonn"}}"#,
        r#"{"id": 3, "address": "somewhere"}"#,
        r#"{"id": 4, "address": null}"#,
    ];
    project.write("in/o.ndjson", rows.join("\n").as_bytes());
    project.pull().await.unwrap();
    let extra = texts(&project.rows("till__orders").await, "_extra");
    let expected = [Some(r#"{"address":{"zip":"89073"},"note":null}"#), None, Some(r#"{"address":"somewhere"}"#), None];
    assert_eq!(extra, expected.map(|text| text.map(str::to_owned)));

    let project = Project::new("till", &files("path = \"in/o.csv\"\nextra = true", "id = \"text\"")).await;
    project.write("in/o.csv", b"id,note,spare\n1,\"a \"\"b\"\"\",\n");
    project.pull().await.unwrap();
    assert_eq!(texts(&project.rows("till__orders").await, "_extra"), some(&[r#"{"note":"a \"b\"","spare":null}"#]));
    for stream in ["path = \"in/o.parquet\"", "path = \"in/o\"\nformat = \"delta\"", "path = \"in/o.csv\"\nheader = false"] {
        let stream = format!("{stream}\nextra = true");
        let error = source("till", &files(&stream, "id = \"text\"")).unwrap_err();
        assert!(error.message.starts_with("fields that are not declared can be kept where each has a name"), "{error:?}");
    }
}

fn row(id: usize, field: &str) -> Value {
    json!({"id": id, field: id, "updated_at": "2023-11-14T22:13:21Z"})
}

#[tokio::test]
async fn a_field_that_had_always_been_there_and_is_gone_stops_the_stream() {
    let fake = fake(50, 0).await;
    let serve = |rows: std::ops::Range<usize>, field: &str| {
        fake.world.lock().unwrap().rows = Some(rows.map(|id| row(id, field)).collect());
    };
    serve(0..120, "value");
    let mut project = Project::new("shop", &shop(&fake.base, "\"none\"", "cursor = { field = \"updated_at\", param = \"since\" }")).await;
    project.pull().await.unwrap();
    let state = || async { (project.orders().await, project.lake.cursor("shop__orders").await.unwrap()) };
    let before = state().await;
    serve(200..205, "valeu");
    let error = project.pull().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "shop.orders: the field `value` is gone: every row held it before, and now none does; row 200 holds: id, valeu, updated_at"
    );
    let told = error.diagnosis();
    assert!(told.hint.as_deref().unwrap().contains("value = { from = \"valeu\", type = … }"), "{told:?}");
    assert!(told.hint.unwrap().contains("`optional = true`"));
    assert_eq!(state().await, before, "nothing of it is in the table");

    // Few rows prove little, until there are more of them.
    serve(200..203, "valeu");
    project.pull().await.unwrap();
    serve(203..205, "valeu");
    assert_eq!(project.pull().await.unwrap_err().diagnosis().code, "field_gone");
    let optional = shop(&fake.base, "\"none\"", "").replace("value = \"integer\"", "value = { type = \"integer\", optional = true }");
    project.source = source("shop", &optional).unwrap();
    project.pull().await.unwrap();
    let renamed = shop(&fake.base, "\"none\"", "").replace("value = \"integer\"", "value = { from = \"valeu\", type = \"integer\" }");
    project.source = source("shop", &renamed).unwrap();
    project.pull().await.unwrap();
    assert_eq!(project.orders().await[&204].value, 204);
}

#[tokio::test]
async fn a_source_that_leaves_out_what_is_empty_is_left_in_peace() {
    let fake = fake(50, 0).await;
    let serve = |rows: Vec<Value>| fake.world.lock().unwrap().rows = Some(Value::Array(rows));
    let project = Project::new("shop", &shop(&fake.base, "\"none\"", CURSOR)).await;
    for _ in 0..3 {
        // `deleted_at` has never come.
        serve((0..120).map(|id| row(id, if id == 50 { "none" } else { "value" })).collect());
        project.pull().await.unwrap();
        serve((200..220).map(|id| row(id, "none")).collect());
        project.pull().await.unwrap();
    }
    assert_eq!(project.orders().await.len(), 140);
}

#[tokio::test]
async fn what_stops_a_long_pull_leaves_whole_chunks_and_the_cursor_where_it_was() {
    let stream = "path = \"in/*.ndjson\"\nmode = \"merge\"\nkey = [\"id\"]\nnew_files_only = true";
    let good: String = (0..120).map(|id| format!("{{\"id\": {id}, \"n\": {id}}}\n")).collect();
    let gone: String = (200..205).map(|id| format!("{{\"id\": {id}}}\n")).collect();
    for (bad, code) in [(gone.as_str(), "field_gone"), ("{\"id\": 200, \"n\": 1}\n{\"id\": 201, \"n\": \"x\"}\n", "bad_row")] {
        let project = Project::new("till", &files(stream, "id = \"text\"\nn = \"integer\"")).await;
        project.write("in/a.ndjson", good.as_bytes());
        project.write("in/b.ndjson", bad.as_bytes());
        assert_eq!(project.pull_in_chunks(10).await.unwrap_err().diagnosis().code, code);
        assert_eq!(project.rows("till__orders").await.num_rows(), 120, "what was committed is whole, the rest is not there");
        assert_eq!(project.lake.cursor("till__orders").await.unwrap(), None);
        project.write("in/b.ndjson", b"{\"id\": 200, \"n\": 1}\n");
        project.pull_in_chunks(10).await.unwrap();
        assert_eq!(project.rows("till__orders").await.num_rows(), 121);
    }
    // A table that is replaced remembers as well.
    let project = Project::new("till", &files("path = \"in/*.ndjson\"", "id = \"text\"\nn = \"integer\"")).await;
    project.write("in/a.ndjson", good.as_bytes());
    project.pull().await.unwrap();
    project.write("in/a.ndjson", gone.as_bytes());
    assert_eq!(project.pull().await.unwrap_err().diagnosis().code, "field_gone");
    assert_eq!(project.rows("till__orders").await.num_rows(), 120);
}

#[tokio::test]
async fn optional_columns_of_files_may_be_missing_altogether() {
    let project = Project::new("till", &files("path = \"in/o.csv\"", "id = \"text\"\nnote = { type = \"text\", optional = true }")).await;
    project.write("in/o.csv", b"id\n1\n");
    project.pull().await.unwrap();
    assert_eq!(texts(&project.rows("till__orders").await, "note"), [None]);
}

/// The type of a decimal column and its values, by id.
fn decimals(rows: &RecordBatch, column: &str) -> (String, Vec<i128>) {
    let array = rows.column_by_name(column).unwrap();
    let values: BTreeMap<_, _> = texts(rows, "id").into_iter().zip(array.as_primitive::<Decimal128Type>().values().to_vec()).collect();
    (array.data_type().to_string(), values.into_values().collect())
}

const WIDEN: &str = "cursor = { field = \"updated_at\", param = \"since\" }\non_bad_value = \"widen\"";

#[tokio::test]
async fn a_column_widens_with_its_values_and_stays_wide() {
    let fake = fake(50, 3).await;
    let settings = shop(&fake.base, TOKEN, WIDEN);
    let mut project = Project::new("shop", &settings).await;
    project.pull().await.unwrap();
    let before = project.lake.latest("shop__orders").await.unwrap();
    let cursor = || async { project.lake.cursor("shop__orders").await.unwrap().unwrap()["literal"].clone() };
    assert_eq!(cursor().await, "2023-11-14T22:13:23Z");
    let at = "2023-11-14T22:13:22Z";
    let serve = |rows: Value| fake.world.lock().unwrap().rows = Some(rows);
    serve(json!([{"id": "2", "value": 2.5, "updated_at": at}, {"id": "4", "value": "1.25", "updated_at": at}]));
    let pulled = project.pull().await.unwrap();
    assert_eq!((pulled.rows, pulled.inserted, pulled.updated), (2, 1, 1));
    assert_eq!(decimals(&project.rows("shop__orders").await, "value"), ("Decimal128(21, 2)".to_owned(), vec![100, 250, 300, 125]));
    assert_eq!(cursor().await, "2023-11-14T22:13:23Z", "it stands where it stood");
    let drift = project.ledger.last_pulls().await.unwrap()[0].drift.clone().unwrap();
    assert_eq!(drift, "in no row of a page: deleted_at; widened: value is decimal(21,2)");
    let old = project.lake.read("shop__orders", before).await.unwrap();
    assert_eq!(old[0].column_by_name("value").unwrap().data_type().to_string(), "Int64", "an older version is as it was");

    fake.world.lock().unwrap().rows = None;
    project.pull().await.unwrap();
    assert_eq!(decimals(&project.rows("shop__orders").await, "value"), ("Decimal128(21, 2)".to_owned(), vec![100, 200, 300, 125]));

    // What no wider type holds stops the stream, and leaves the type as it was.
    let version = project.lake.latest("shop__orders").await.unwrap();
    for (bad, field) in [
        (json!([{"id": "5", "value": 0.125, "updated_at": at}, {"id": "6", "value": "x", "updated_at": at}]), "value"),
        (json!([{"id": "5", "value": "0.00000000000000000000001", "updated_at": at}]), "value"),
        (json!([{"id": "5", "value": true, "updated_at": at}]), "value"),
        (json!([{"id": "5", "value": 1, "updated_at": 7}]), "updated_at"),
    ] {
        serve(bad);
        let error = project.pull().await.unwrap_err();
        assert!(matches!(&error, SourceError::BadValue { misfit, .. } if misfit.field == field), "{error}");
        assert_eq!(project.lake.latest("shop__orders").await.unwrap(), version);
    }

    fake.world.lock().unwrap().rows = None;
    project.source = source("shop", &settings.replace("value = \"integer\"", "value = \"decimal(18,4)\"")).unwrap();
    project.pull().await.unwrap();
    let (kind, values) = decimals(&project.rows("shop__orders").await, "value");
    assert_eq!((kind.as_str(), values), ("Decimal128(23, 4)", vec![10_000, 20_000, 30_000, 12_500]), "a wider declaration widens, too");
}

#[tokio::test]
async fn a_long_pull_that_widens_goes_on_after_its_last_chunk() {
    for pagination in [TOKEN, NUMBERS] {
        let fake = fake(5, 40).await;
        // Only JSON numbers of the last page need it.
        let project = Project::new("shop", &shop(&fake.base, pagination, WIDEN).replace("\"integer\"", "\"decimal(3,0)\"")).await;
        fake.world.lock().unwrap().change(&write(38, 12_345));
        let outcome = project.pull_in_chunks(10).await.unwrap();
        assert_eq!(outcome.inserted, 40);
        let rows = project.rows("shop__orders").await;
        let (kind, values) = decimals(&rows, "value");
        assert_eq!(kind, "Decimal128(5, 0)");
        assert_eq!((rows.num_rows(), values.len()), (40, 40));
        assert_eq!(values.iter().sum::<i128>(), (1..=40).sum::<i128>() - 38 + 12_345);
    }
}

#[tokio::test]
async fn files_widen_merged_or_replaced_and_dates_become_instants() {
    let columns = "id = \"text\"\nn = \"integer\"\nday = { type = \"date\", timestamp_format = \"%d.%m.%Y\" }";
    for mode in ["merge", "replace"] {
        let stream = format!("path = \"in/*.csv\"\nkey = [\"id\"]\nmode = \"{mode}\"\non_bad_value = \"widen\"");
        let project = Project::new("till", &files(&stream, columns)).await;
        project.write("in/a.csv", b"id,n,day\n1,1,31.01.2026\n");
        project.pull().await.unwrap();
        assert_eq!(project.rows("till__orders").await.column_by_name("day").unwrap().data_type().to_string(), "Date32");
        project.write("in/b.csv", b"id,n,day\n2,2.5,2026-02-01T10:00:00+01:00\n3,1e20,01.02.2026\n");
        for _ in 0..2 {
            let pulled = project.pull().await.unwrap();
            assert_eq!(pulled.rows, 3, "{mode}");
            let rows = project.rows("till__orders").await;
            // Files that are written anew at once come in any order.
            let order = arrow::compute::sort_to_indices(rows.column_by_name("id").unwrap(), None, None).unwrap();
            let rows = arrow::compute::take_record_batch(&rows, &order).unwrap();
            let day = |text: &str| text.parse::<DateTime<Utc>>().unwrap().timestamp_micros();
            let days = rows.column_by_name("day").unwrap().as_primitive::<TimestampMicrosecondType>();
            assert_eq!(days.values()[..], ["2026-01-31T00:00:00Z", "2026-02-01T09:00:00Z", "2026-02-01T00:00:00Z"].map(day));
            let (kind, values) = decimals(&rows, "n");
            assert_eq!((kind.as_str(), values), ("Decimal128(22, 1)", vec![10, 25, 1_000_000_000_000_000_000_000]));
        }
    }
    let project = Project::new("till", &files("path = \"in/*.csv\"\nkey = [\"id\"]\non_bad_value = \"widen\"", "id = \"integer\"")).await;
    project.write("in/a.csv", b"id\n1.5\n");
    assert_eq!(project.pull().await.unwrap_err().diagnosis().code, "bad_row", "a key keeps its type");
    for stream in ["path = \"in/o.parquet\"", "path = \"in/o\"\nformat = \"delta\""] {
        let error = source("till", &files(&format!("{stream}\non_bad_value = \"widen\""), "id = \"text\"")).unwrap_err();
        assert!(error.message.contains("types of their own"), "{error:?}");
    }
}

#[test]
fn what_a_database_has_no_use_for_is_told_with_its_line() {
    let good = "kind = \"database\"\nurl = \"postgres://me@localhost/shop\"\n[streams.orders]\ntable = \"orders\"\nkey = [\"id\"]\n\n[streams.orders.columns]\nid = \"text\"\n";
    source("db", good).unwrap();
    for (from, to, line) in [
        ("key = [\"id\"]\n", "key = [\"id\"]\nextra = true", 6),
        ("key = [\"id\"]\n", "key = [\"id\"]\non_bad_value = \"widen\"", 6),
        ("id = \"text\"", "id = { type = \"text\", optional = true }", 8),
    ] {
        let error = source("db", &good.replace(from, to)).unwrap_err();
        assert_eq!((error.code.as_str(), error.line), ("bad_value", Some(line)), "{to}: {error:?}");
    }
}
