//! Jobs against a fake that keeps the rules of two systems: one job at a time, a signed address on another host for the result, lines of
//! children behind their parent (Shopify); states of its own, parts of CSV behind locators (Salesforce).

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use arrow::{
    array::{Array, AsArray},
    datatypes::Int64Type,
};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use crate::{
    diagnosis::{Diagnose, Exit},
    source::tests::{Project, source},
};

const TOKEN: &str = "s3cret";

#[derive(Default)]
struct World {
    /// What started jobs.
    starts: Vec<String>,
    polls: u32,
    /// How often a job says that it is under way.
    waits: u32,
    /// The state it ends in, where that is no good one.
    ends: Option<&'static str>,
    /// How many starts are refused because another job is under way.
    busy: u32,
    lines: Vec<String>,
    counts: Option<usize>,
    /// The result breaks off so many bytes in, so many times.
    breaks: (usize, u32),
    /// The result stops coming so many bytes in.
    stops: Option<usize>,
    stored: Vec<HeaderMap>,
    /// Whether parts of CSV after the first repeat the header, and what it is then.
    header: Option<&'static str>,
    /// Whether the result's own path leads on to the other host.
    redirects: bool,
    storage: String,
}

type Fake = Mutex<World>;
type Shared = State<Arc<Fake>>;

async fn listen(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

/// The API's address, and the fake behind it.
async fn fake(lines: Vec<String>) -> (String, Arc<Fake>) {
    let fake = Arc::new(Mutex::new(World { lines, waits: 2, ..World::default() }));
    let storage = listen(Router::new().route("/result", get(stored)).with_state(Arc::clone(&fake))).await;
    fake.lock().unwrap().storage = format!("{storage}/result?signature=private");
    let api = Router::new()
        .route("/graphql.json", post(graphql))
        .route("/jobs", post(begin))
        .route("/jobs/{id}", get(state))
        .route("/jobs/{id}/results", get(parts));
    (listen(api.with_state(Arc::clone(&fake))).await, fake)
}

fn knows(headers: &HeaderMap) -> bool {
    headers.get("x-shop-token").is_some_and(|token| token == TOKEN)
}

async fn graphql(State(fake): Shared, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if !knows(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut world = fake.lock().unwrap();
    let query = body["query"].as_str().unwrap();
    if query.starts_with("mutation") {
        if world.busy > 0 {
            world.busy -= 1;
            let told = json!([{"field": null, "message": "A bulk query operation for this app and shop is already in progress: gid://x"}]);
            return Json(json!({"data": {"bulkOperationRunQuery": {"bulkOperation": null, "userErrors": told}}})).into_response();
        }
        world.starts.push(query.to_owned());
        world.polls = 0;
        let id = format!("gid://shopify/BulkOperation/{}", world.starts.len());
        return Json(json!({"data": {"bulkOperationRunQuery": {"bulkOperation": {"id": id}, "userErrors": []}}})).into_response();
    }
    assert!(query.contains(&format!("\"gid://shopify/BulkOperation/{}\"", world.starts.len())), "{query}");
    world.polls += 1;
    let (state, url) = match world.polls > world.waits {
        false => ("RUNNING", None),
        true => (world.ends.unwrap_or("COMPLETED"), Some(world.storage.clone()).filter(|_| !world.lines.is_empty())),
    };
    let error = (state == "FAILED").then_some("INTERNAL_SERVER_ERROR");
    let count = world.counts.unwrap_or(world.lines.len()).to_string();
    Json(json!({"data": {"node": {"status": state, "url": url, "errorCode": error, "objectCount": count}}})).into_response()
}

async fn stored(State(fake): Shared, headers: HeaderMap) -> Response {
    let (text, breaks, stops) = {
        let mut world = fake.lock().unwrap();
        world.stored.push(headers);
        let (at, times) = world.breaks;
        world.breaks.1 = times.saturating_sub(1);
        (world.lines.join("\n"), (times > 0).then_some(at), world.stops)
    };
    let Some(at) = breaks.or(stops) else { return text.into_response() };
    let body = futures::stream::unfold(0, move |part| {
        let text = text.clone();
        async move {
            match part {
                0 => Some((Ok(bytes::Bytes::from(text[..at].to_owned())), 1)),
                _ if breaks.is_none() => std::future::pending().await,
                _ => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Some((Err(std::io::Error::other("cut")), 2))
                }
            }
        }
    });
    Response::new(Body::from_stream(body))
}

async fn begin(State(fake): Shared, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if !knows(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut world = fake.lock().unwrap();
    world.starts.push(body["query"].as_str().unwrap().to_owned());
    Json(json!({"id": "750x", "state": "UploadComplete"})).into_response()
}

async fn state(State(fake): Shared, Path(id): Path<String>) -> Response {
    if id != "750x" {
        return StatusCode::NOT_FOUND.into_response();
    }
    let mut world = fake.lock().unwrap();
    world.polls += 1;
    let state = if world.polls > world.waits { world.ends.unwrap_or("JobComplete") } else { "InProgress" };
    Json(json!({"id": id, "state": state, "numberRecordsProcessed": world.lines.len(), "errorMessage": "INVALIDENTITY: s3cret"}))
        .into_response()
}

/// Parts of two rows.
async fn parts(State(fake): Shared, headers: HeaderMap, Query(query): Query<std::collections::HashMap<String, String>>) -> Response {
    if !knows(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let world = fake.lock().unwrap();
    if world.redirects {
        return (StatusCode::FOUND, [(header::LOCATION, world.storage.clone())]).into_response();
    }
    let from: usize = query.get("locator").map_or(0, |locator| locator.strip_prefix("after-").unwrap().parse().unwrap());
    let until = (from + 2).min(world.lines.len());
    let mut text = String::new();
    if let Some(header) = Some("Id,Total").filter(|_| from == 0).or(world.header) {
        writeln!(text, "{header}").unwrap();
    }
    for line in &world.lines[from..until] {
        writeln!(text, "{line}").unwrap();
    }
    let next = if until < world.lines.len() { format!("after-{until}") } else { "null".to_owned() };
    ([("Sforce-Locator", next), ("Content-Type", "text/csv".to_owned())], text).into_response()
}

fn shopify(base: &str, poll: &str, result: &str) -> String {
    format!(
        r#"
kind = "http"
base_url = "{base}"
auth = {{ header = {{ name = "X-Shop-Token", value = {{ file = "token" }} }} }}
retry = {{ attempts = 3, wait = "0s" }}
[streams.orders]
path = "/graphql.json"
method = "post"
key = ["id"]
cursor = {{ field = "updated_at", start = "2020-01-01T00:00:00Z", overlap = "1m" }}
body = {{ query = "mutation {{ run(query: \"updated_at:>='{{since}}'\") {{ bulkOperation {{ id }} }} }}" }}
[streams.orders.pagination.job]
id = "data.bulkOperationRunQuery.bulkOperation.id"
refused = "data.bulkOperationRunQuery.userErrors"
busy = "already in progress"
[streams.orders.pagination.job.poll]
path = "/graphql.json"
method = "post"
body = {{ query = "{{ node(id: \"{{id}}\") {{ status url errorCode objectCount }} }}" }}
state = "data.node.status"
done = ["COMPLETED"]
failed = ["FAILED", "CANCELED", "EXPIRED"]
error = "data.node.errorCode"
every = "1s"
{poll}
[streams.orders.pagination.job.result]
url = "data.node.url"
format = "ndjson"
parent = {{ id = "__parentId", list = "lineItems" }}
{result}
[streams.orders.columns]
id = "text"
updated_at = {{ from = "updatedAt", type = "timestamp" }}
items = {{ from = "lineItems", type = [{{ id = "text", quantity = "integer" }}] }}
"#
    )
}

const COUNT: &str = "count = \"data.node.objectCount\"";

fn salesforce(base: &str, more: &str) -> String {
    format!(
        r#"
kind = "http"
base_url = "{base}"
auth = {{ header = {{ name = "X-Shop-Token", value = {{ file = "token" }} }} }}
[streams.orders]
path = "/jobs"
method = "post"
key = ["id"]
body = {{ operation = "query", query = "SELECT Id, Total FROM Order" }}
[streams.orders.pagination.job]
id = "id"
poll = {{ path = "/jobs/{{id}}", state = "state", done = ["JobComplete"], failed = ["Failed", "Aborted"], error = "errorMessage", count = "numberRecordsProcessed", every = "1s"{more} }}
result = {{ path = "/jobs/{{id}}/results", format = "csv", token = {{ param = "locator", header = "Sforce-Locator", end = "null" }} }}
[streams.orders.columns]
id = {{ from = "Id", type = "text" }}
total = {{ from = "Total", type = "integer" }}
"#
    )
}

async fn project(settings: &str) -> Project {
    let project = Project::new("shop", settings).await;
    project.write("token", TOKEN.as_bytes());
    project
}

/// Orders of as many items as their number says.
fn orders(count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for order in 1..=count {
        let id = format!("gid://shopify/Order/{order}");
        lines.push(json!({"id": id, "updatedAt": format!("2026-01-{order:02}T00:00:00Z")}).to_string());
        for item in 0..order % 3 {
            lines.push(json!({"id": format!("gid://shopify/LineItem/{order}-{item}"), "quantity": item, "__parentId": id}).to_string());
        }
    }
    lines
}

async fn items(project: &Project) -> Vec<(String, usize)> {
    let rows = project.rows("shop__orders").await;
    let (ids, items) = (rows.column_by_name("id").unwrap().as_string::<i32>(), rows.column_by_name("items").unwrap().as_list::<i32>());
    let mut items: Vec<_> = (0..rows.num_rows()).map(|row| (ids.value(row).to_owned(), items.value(row).len())).collect();
    items.sort();
    items
}

fn expected(count: usize) -> Vec<(String, usize)> {
    let mut items: Vec<_> = (1..=count).map(|order| (format!("gid://shopify/Order/{order}"), order % 3)).collect();
    items.sort();
    items
}

#[test]
fn the_documented_example_can_be_used_as_it_stands() {
    let docs = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sources.md")).unwrap();
    let example = docs.split("```").find(|block| block.starts_with("toml\n[streams.orders]") && block.contains("pagination.job")).unwrap();
    let settings = format!("kind = \"http\"\nbase_url = \"https://shop.example\"\n{}", example.strip_prefix("toml").unwrap());
    source("shop", &settings).unwrap();
}

#[tokio::test]
async fn a_job_is_started_waited_for_and_its_lines_become_rows_with_their_children() {
    let (base, fake) = fake(orders(7)).await;
    let project = project(&shopify(&base, COUNT, "")).await;
    let findings = project.source.probe(None, project.folder.path(), project.clock.clone()).await;
    assert!(findings.is_empty() && fake.lock().unwrap().starts.is_empty(), "no job is started only to look");
    let pulled = project.pull().await.unwrap();
    assert_eq!((pulled.rows, pulled.inserted, pulled.requests), (7, 7, 5), "one start, three looks, one result");
    assert_eq!(items(&project).await, expected(7));
    fake.lock().unwrap().lines = orders(1);
    assert_eq!(project.pull().await.unwrap().rows, 1);
    fake.lock().unwrap().lines = vec![];
    assert_eq!(project.pull().await.unwrap().rows, 0, "where nothing changed, there is no address");
    let world = fake.lock().unwrap();
    let since = |text: &str| format!("mutation {{ run(query: \"updated_at:>='{text}'\") {{ bulkOperation {{ id }} }} }}");
    assert_eq!(world.starts, [since("2020-01-01T00:00:00Z"), since("2026-01-06T23:59:00Z"), since("2026-01-06T23:59:00Z")]);
    for headers in &world.stored {
        assert!(!format!("{headers:?}").contains(TOKEN), "another host was told who we are");
    }
}

#[tokio::test]
async fn a_job_that_fails_is_refused_or_takes_too_long_says_so() {
    let (base, fake) = fake(orders(2)).await;
    let project = project(&shopify(&base, COUNT, "")).await;
    fake.lock().unwrap().ends = Some("FAILED");
    let error = project.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "shop.orders: /graphql.json ended job gid://shopify/BulkOperation/1 as FAILED: INTERNAL_SERVER_ERROR");
    assert_eq!(error.exit(), Exit::Failed);
    assert!(error.diagnosis().hint.unwrap().contains("starts a new job"));
    {
        let mut world = fake.lock().unwrap();
        (world.ends, world.busy) = (None, 2);
    }
    assert_eq!(project.pull().await.unwrap().rows, 2, "a job that is under way is waited for");

    let hasty = self::project(&shopify(&base, "at_most = \"0s\"", "")).await;
    let error = hasty.pull().await.unwrap_err();
    assert!(error.to_string().contains("had job gid://shopify/BulkOperation/3 still at RUNNING after"), "{error}");
    assert!(error.diagnosis().hint.unwrap().contains("at_most"));
    fake.lock().unwrap().busy = 9;
    let error = hasty.pull().await.unwrap_err();
    assert!(error.to_string().contains("started no job: A bulk query operation"), "{error}");

    let wrong = self::project(&shopify(&base, "", "").replace("bulkOperation.id", "operation.id")).await;
    fake.lock().unwrap().busy = 0;
    let error = wrong.pull().await.unwrap_err();
    assert!(error.to_string().contains("names no job at `data.bulkOperationRunQuery.operation.id`"), "{error}");
}

#[tokio::test]
async fn fewer_lines_than_the_job_counted_move_no_cursor() {
    let (base, fake) = fake(orders(3)).await;
    fake.lock().unwrap().counts = Some(9);
    let project = project(&shopify(&base, COUNT, "")).await;
    let error = project.pull().await.unwrap_err();
    assert!(error.to_string().contains('9') && error.to_string().contains('6'), "{error}");
    assert!(project.lake.cursor("shop__orders").await.unwrap().is_none());
    fake.lock().unwrap().lines.clear();
    let error = project.pull().await.unwrap_err();
    assert!(error.to_string().contains("names no address of the result at `data.node.url`"), "{error}");
}

#[tokio::test]
async fn children_far_from_their_parent_stop_the_stream() {
    let mut lines = orders(4);
    lines.rotate_left(1);
    let (base, _) = fake(lines).await;
    let error = project(&shopify(&base, "", "")).await.pull().await.unwrap_err();
    assert!(error.to_string().contains("which is not the row above it"), "{error}");
    assert!(error.diagnosis().hint.unwrap().contains("groupObjects"));
}

#[tokio::test]
async fn a_line_that_is_no_row_is_named_by_its_place() {
    let mut lines = orders(4);
    lines.insert(1, "{\"id\": ".to_owned());
    let (base, _) = fake(lines).await;
    let error = project(&shopify(&base, "", "")).await.pull().await.unwrap_err();
    assert!(
        error.to_string().contains("at line 2 of job gid://shopify/BulkOperation/1") && error.to_string().contains("is no JSON"),
        "{error}"
    );
}

#[tokio::test]
async fn a_result_that_breaks_off_is_asked_for_again_and_gives_no_line_twice() {
    let (base, fake) = fake(orders(9)).await;
    let length = orders(9).join("\n").len();
    fake.lock().unwrap().breaks = (length / 2, 2);
    let project = project(&shopify(&base, COUNT, "")).await;
    assert_eq!(project.pull().await.unwrap().rows, 9);
    assert_eq!((items(&project).await, fake.lock().unwrap().stored.len()), (expected(9), 3));
    fake.lock().unwrap().breaks = (length / 3, 99);
    let error = project.pull().await.unwrap_err();
    assert!(error.to_string().contains("it broke off half way, 3 times in a row"), "{error}");
    assert!(!error.to_string().contains("signature"), "{error}");
}

#[tokio::test]
async fn after_a_crash_the_same_result_is_read_on() {
    let lines: Vec<String> = (0..9000).map(|id| json!({"id": format!("{id}"), "updatedAt": "2026-01-02T00:00:00Z"}).to_string()).collect();
    let (base, fake) = fake(lines.clone()).await;
    let settings = shopify(&base, COUNT, "");
    let mut project = project(&settings).await;
    // Nothing comes any more shortly before the end.
    fake.lock().unwrap().stops = Some(lines.join("\n").len() - 1);
    let committed = async {
        while project.lake.latest("shop__orders").await.unwrap().is_none() || project.lake.rows("shop__orders").await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        outcome = project.pull_in_chunks(1000) => panic!("{outcome:?}"),
        () = committed => {}
    }
    fake.lock().unwrap().stops = None;
    project.source = source("shop", &settings).unwrap();
    let there = project.lake.rows("shop__orders").await.unwrap();
    let outcome = project.pull_in_chunks(1000).await.unwrap();
    // The rest, and then a job of its own for what changed meanwhile: all 9000 lie within the overlap.
    assert_eq!((outcome.rows, outcome.inserted), (9000 - there + 9000, 9000 - there));
    assert_eq!(project.lake.rows("shop__orders").await.unwrap(), 9000);
    let world = fake.lock().unwrap();
    assert_eq!((world.starts.len(), world.stored.len()), (2, 3), "the first job was not started again");
    assert_ne!(world.starts[0], world.starts[1]);
}

#[tokio::test]
async fn parts_of_csv_are_read_whether_they_repeat_the_header_or_not() {
    for header in [None, Some("Id,Total")] {
        let (base, fake) = fake((1..=5).map(|id| format!("{id},{}", id * 10)).collect()).await;
        fake.lock().unwrap().header = header;
        let project = project(&salesforce(&base, "")).await;
        let pulled = project.pull().await.unwrap();
        assert_eq!((pulled.rows, pulled.requests), (5, 7), "{header:?}: one start, three looks, three parts");
        let rows = project.rows("shop__orders").await;
        let totals = rows.column_by_name("total").unwrap().as_primitive::<Int64Type>();
        assert_eq!((totals.null_count(), arrow::compute::sum(totals)), (0, Some(150)));
        assert_eq!(fake.lock().unwrap().starts, ["SELECT Id, Total FROM Order"]);
    }
    let (base, fake) = fake((1..=5).map(|id| format!("{id},0")).collect()).await;
    fake.lock().unwrap().header = Some("Total,Id");
    let error = project(&salesforce(&base, "")).await.pull().await.unwrap_err();
    assert!(error.to_string().contains("names other columns in a later part of the result: Total, Id"), "{error}");
    let error = project(&salesforce(&base, "").replace("from = \"Total\"", "from = \"Totl\"")).await.pull().await.unwrap_err();
    assert!(error.to_string().contains("gave a result without `Totl`"), "{error}");
    assert!(error.diagnosis().hint.unwrap().contains("did you mean `Total`?"));
    fake.lock().unwrap().ends = Some("Aborted");
    let error = project(&salesforce(&base, "")).await.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "shop.orders: /jobs ended job 750x as Aborted: INVALIDENTITY: ••••");
}

#[tokio::test]
async fn a_result_that_lies_elsewhere_is_fetched_without_the_credentials() {
    let (base, fake) = fake(vec!["Id,Total".to_owned(), "1,2".to_owned()]).await;
    fake.lock().unwrap().redirects = true;
    let project = project(&salesforce(&base, "").replace(", count = \"numberRecordsProcessed\"", "")).await;
    assert_eq!(project.pull().await.unwrap().rows, 1);
    assert!(!format!("{:?}", fake.lock().unwrap().stored).contains(TOKEN));
}
