//! `kill -9` in the middle of a pull, again and again: the table ends up as its source is, refers to no file that is not there, and nothing
//! is left lying about after tidying.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Query, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::support::Folder;

const ROWS: u64 = 200_000;
const PAGE: u64 = 1_000;
const KILLS: u32 = 100;

/// A source whose rows all change at once, now and then.
#[derive(Default)]
struct Source {
    generation: AtomicU64,
    /// When they last changed, in seconds since 1970.
    changed: AtomicU64,
    pages: AtomicU64,
}

impl Source {
    fn change(&self) {
        self.changed.store(u64::try_from(Utc::now().timestamp()).unwrap(), Ordering::SeqCst);
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

fn value(id: u64, generation: u64) -> u64 {
    id * 31 + generation
}

async fn page(State(source): State<Arc<Source>>, Query(asked): Query<BTreeMap<String, String>>) -> impl IntoResponse {
    let (generation, changed) = (source.generation.load(Ordering::SeqCst), source.changed.load(Ordering::SeqCst));
    let since = asked.get("since").and_then(|since| since.parse().ok()).unwrap_or(0);
    let from: u64 = asked.get("after").map_or(0, |after| after.parse().unwrap());
    let rows = if changed >= since { from..(from + PAGE).min(ROWS) } else { 0..0 };
    let next = if rows.end < ROWS && !rows.is_empty() { format!("\"{}\"", rows.end) } else { "null".to_owned() };
    let at = DateTime::from_timestamp(changed.try_into().unwrap(), 0).unwrap().to_rfc3339();
    let mut body = format!("{{\"next\":{next},\"rows\":[");
    for id in rows.clone() {
        let comma = if id == rows.start { "" } else { "," };
        let _ = write!(body, "{comma}{{\"id\":\"{id}\",\"value\":{},\"changed\":\"{at}\"}}", value(id, generation));
    }
    body.push_str("]}");
    source.pages.fetch_add(1, Ordering::SeqCst);
    ([(CONTENT_TYPE, "application/json")], body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_of_a_load_lose_no_row_and_leave_nothing_behind() {
    let source = Arc::new(Source::default());
    source.change();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/rows", get(page)).with_state(Arc::clone(&source));
    tokio::spawn(async move { axum::serve(listener, router).await });
    tokio::task::spawn_blocking(move || kill_again_and_again(&source, &format!("http://{address}"))).await.unwrap();
}

fn kill_again_and_again(source: &Source, base: &str) {
    let mut folder = Folder::practice(100);
    fs::remove_dir_all(folder.path("config/sources")).unwrap();
    fs::create_dir_all(folder.path("config/sources")).unwrap();
    let settings = format!(
        "kind = \"http\"\nbase_url = \"{base}\"\n[streams.rows]\npath = \"/rows\"\nrows = \"rows\"\nkey = [\"id\"]\n\
         cursor = {{ field = \"changed\", param = \"since\", format = \"unix\", overlap = \"0s\" }}\n\
         pagination = {{ cursor_token = {{ param = \"after\", next = \"next\" }} }}\n\
         [streams.rows.columns]\nid = \"text\"\nvalue = \"integer\"\nchanged = \"timestamp\"\n"
    );
    fs::write(folder.path("config/sources/big.toml"), settings).unwrap();

    let (mut random, mut hits, mut loads) = (29u64, 0, 0);
    while hits < KILLS {
        let mut pull = folder.command(&["pull", "-q"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // A small linear congruential sequence: the moments differ from kill to kill and repeat from run to run. Some lie among the pages,
        // some after the last one, when rows are merged and committed.
        random = (random * 6_364_136_223 + 1_442_695_040) % 1_000_003;
        let goal = source.pages.load(Ordering::SeqCst) + 1 + random % (ROWS / PAGE);
        while source.pages.load(Ordering::SeqCst) < goal && pull.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(random % 61));
        match pull.try_wait().unwrap() {
            None => {
                pull.kill().unwrap();
                pull.wait().unwrap();
                hits += 1;
            }
            Some(status) => {
                assert!(status.success(), "a pull after a kill ended with {status}");
                loads += 1;
                same(&folder, source);
                // A second passes, so that the change is later than what has been seen.
                std::thread::sleep(Duration::from_millis(1100));
                source.change();
            }
        }
    }
    eprintln!("{hits} kills, {loads} loads came to their end between them");
    folder.run(&["pull"]).ended(0);
    same(&folder, source);

    let (named, lying) = files(&folder);
    assert!(named.is_subset(&lying), "the table refers to files that are not there: {:?}", named.difference(&lying));
    folder.set("PERENNIAL__LAKE__KEEP_DAYS", "0");
    folder.run(&["tidy"]).ended(0);
    let (named, lying) = files(&folder);
    assert_eq!(named, lying, "what no version needs is removed");
    same(&folder, source);
}

/// The table is what the source is, row for row.
#[track_caller]
fn same(folder: &Folder, source: &Source) {
    let generation = source.generation.load(Ordering::SeqCst);
    let table = folder.run(&["query", "select id, value from big__rows", "--format", "csv"]).ended(0).stdout;
    let held: BTreeMap<u64, u64> = table
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').map(|(id, value)| (id.parse().unwrap(), value.parse().unwrap())).unwrap())
        .collect();
    assert_eq!((table.lines().count() - 1) as u64, ROWS, "no row stands twice");
    for id in 0..ROWS {
        assert_eq!(held.get(&id), Some(&value(id, generation)), "row {id}");
    }
}

/// The data files the newest version names, and those that lie in the table's folder.
fn files(folder: &Folder) -> (BTreeSet<String>, BTreeSet<String>) {
    let table = folder.path("data/lake/big__rows");
    let mut log: Vec<_> = fs::read_dir(table.join("_delta_log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    log.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    log.sort();
    let mut named = BTreeSet::new();
    for action in log.iter().flat_map(|file| fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()) {
        let action: Value = serde_json::from_str(&action).unwrap();
        if let Some(path) = action["add"]["path"].as_str() {
            named.insert(path.to_owned());
        }
        if let Some(path) = action["remove"]["path"].as_str() {
            named.remove(path);
        }
    }
    let lying = fs::read_dir(&table).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    (named, lying.filter(|name| name.contains(".parquet")).collect())
}
