//! A remote API for tests, with an API's own rules: its filter, its order, its page cap, its ways of paging and of failing.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{Form, Query, State},
    http::{HeaderMap, Response, StatusCode, header},
    routing::{get, post},
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::http::assertion::tests::claims;

/// One answer that is not what it should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// A status, with `Retry-After`.
    Status(u16, Option<String>),
    /// Half a page of JSON, under a whole page's headers.
    Truncated,
    /// A web page.
    Html,
    /// Whatever body.
    Body(String),
    /// A status and a body.
    Said(u16, Value),
    /// Whatever bytes, of a type.
    Bytes(&'static str, Vec<u8>),
    /// A body that never ends.
    Endless,
    /// A redirect.
    Redirect(String),
}

/// One record of the source.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) value: i64,
    pub(super) updated_at: i64,
    pub(super) deleted: bool,
}

/// What happens at the source between two pages.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// A record is written, stamped so many seconds ago.
    Write { id: u32, value: i64, late: i64 },
    /// A record is flagged as deleted.
    Flag { id: u32 },
    /// A record is gone.
    Vanish { id: u32 },
    /// A record is gone, and an event says so that is stamped so many seconds ago; the listing may lag.
    Remove { id: u32, late: i64, shown: bool },
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) records: BTreeMap<u32, Record>,
    /// Records that are deleted, and whether the listing still shows them.
    pub(super) removed: BTreeMap<u32, (Record, bool)>,
    /// What was deleted: the record and when. Events of other kinds have no record.
    pub(super) removals: Vec<(Option<u32>, i64)>,
    /// Seconds since 1970.
    pub(super) now: i64,
    /// The most rows a page has, whatever was asked for.
    pub(super) cap: usize,
    pub(super) faults: VecDeque<Fault>,
    /// Whether the last fault lasts for ever.
    pub(super) for_ever: bool,
    /// Changes after each page that is served.
    pub(super) between: VecDeque<Vec<Change>>,
    /// How many seconds each page lags behind: a replica serves it that does not know yet what was written since.
    pub(super) lags: VecDeque<i64>,
    /// When a record was written, and what it was before.
    before: Vec<(i64, u32, Option<Record>)>,
    /// The newest stamp of each record that was given.
    pub(super) given: BTreeMap<u32, i64>,
    /// Every request that came, as its query or its body.
    pub(super) asked: Vec<String>,
    /// Every token that came.
    pub(super) sent: Vec<String>,
    /// Stamps are multiples of so many seconds.
    pub(super) grain: i64,
    /// Whether tokens repeat for ever.
    pub(super) stuck: bool,
    pub(super) token: Option<(&'static str, String)>,
    /// After how many more requests somebody is told.
    pub(super) tell_at: Option<usize>,
    /// A row put in place of what the records say.
    pub(super) rows: Option<Value>,
    pub(super) login: Login,
}

/// How tokens are given out at `/token`.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// The refresh token that is good; none where a client needs only its secret.
    pub(super) refresh: Option<String>,
    /// Whether each use of it brings a new one.
    pub(super) rotates: bool,
    /// How long an access token lives, in seconds.
    pub(super) lives: Option<i64>,
    /// How many were given out.
    pub(super) given: usize,
    pub(super) faults: VecDeque<(u16, Value)>,
    /// The public key of a client that signs for its tokens, and what it claimed last.
    pub(super) public: Option<Vec<u8>>,
    pub(super) claims: Value,
    /// The header that a token has to come in, where it is one of its own.
    pub(super) header: Option<&'static str>,
    /// Where the API lies, as a token's answer says it.
    pub(super) base: Option<String>,
}

impl World {
    /// With nothing in it.
    pub(super) fn new(cap: usize) -> Self {
        Self {
            records: BTreeMap::new(),
            removed: BTreeMap::new(),
            removals: Vec::new(),
            now: 1_700_000_000,
            cap,
            faults: VecDeque::new(),
            for_ever: false,
            between: VecDeque::new(),
            lags: VecDeque::new(),
            before: Vec::new(),
            given: BTreeMap::new(),
            asked: Vec::new(),
            sent: Vec::new(),
            grain: 1,
            stuck: false,
            token: None,
            tell_at: None,
            rows: None,
            login: Login::default(),
        }
    }

    pub(super) fn change(&mut self, change: &Change) {
        self.now += 1;
        match change {
            Change::Write { id, value, late } => {
                let removed = self.removals.iter().filter(|(of, _)| *of == Some(*id)).map(|(_, at)| at + 1).max().unwrap_or(0);
                let stamped = self.now - late;
                let updated_at = (stamped - stamped % self.grain).max(self.records.get(id).map_or(removed, |record| record.updated_at));
                self.removed.remove(id);
                let before = self.records.insert(*id, Record { value: *value, updated_at, deleted: false });
                self.before.push((self.now, *id, before));
            }
            Change::Flag { id } => {
                let now = self.now - self.now % self.grain;
                if let Some(record) = self.records.get_mut(id) {
                    self.before.push((self.now, *id, Some(record.clone())));
                    *record = Record { deleted: true, updated_at: now, ..record.clone() };
                }
            }
            Change::Vanish { id } => {
                self.records.remove(id);
            }
            Change::Remove { id, late, shown } => {
                if let Some(record) = self.records.remove(id) {
                    self.removals.push((Some(*id), (self.now - late).max(record.updated_at)));
                    self.removed.insert(*id, (record, *shown));
                }
            }
        }
    }

    /// The records as a replica shows them that lags behind by so many seconds. What has been deleted is gone from all at once.
    fn lagging(&self, seconds: i64) -> BTreeMap<u32, Record> {
        let mut records = self.records.clone();
        for (_, id, before) in self.before.iter().rev().take_while(|(at, ..)| *at > self.now - seconds) {
            match before {
                Some(before) if self.records.contains_key(id) => records.insert(*id, before.clone()),
                _ => records.remove(id),
            };
        }
        records
    }
}

/// A fake API on loopback until it is dropped.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) base: String,
    pub(super) world: Arc<Mutex<World>>,
    pub(super) told: Arc<Notify>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Shared = (Arc<Mutex<World>>, Arc<Notify>);

pub(super) fn instant(seconds: i64) -> String {
    DateTime::<Utc>::from_timestamp(seconds, 0).unwrap().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Fake {
    pub(super) async fn start(cap: usize) -> Self {
        let world = World::new(cap);
        let world = Arc::new(Mutex::new(world));
        let told = Arc::new(Notify::new());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/orders", get(orders))
            .route("/search", post(search))
            .route("/removals", get(removals))
            .route("/token", post(token))
            .with_state((Arc::clone(&world), Arc::clone(&told)));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { base, world, told, server }
    }
}

/// RFC 6749: a token for a client that knows its secret, and where there is one its refresh token.
async fn token(State((world, _)): State<Shared>, Form(form): Form<HashMap<String, String>>) -> Response<Body> {
    let mut world = world.lock().unwrap();
    let answer = |status: u16, body: Value| Response::builder().status(status).body(body.to_string().into()).unwrap();
    if let Some((status, body)) = world.login.faults.pop_front() {
        return answer(status, body);
    }
    let sent = |name: &str| form.get(name).map(String::as_str);
    let kind = if world.login.refresh.is_some() { "refresh_token" } else { "client_credentials" };
    if let Some(public) = &world.login.public {
        let claims = claims(sent("assertion").unwrap_or_default(), public);
        let known = sent("grant_type") == Some("urn:ietf:params:oauth:grant-type:jwt-bearer");
        let Some(claims) = claims.filter(|_| known) else {
            return answer(400, json!({"error": "invalid_grant", "error_description": sent("assertion")}));
        };
        world.login.claims = claims;
    } else if sent("grant_type") != Some(kind) || sent("client_secret") != Some("s3cret") {
        let said = format!("the secret {} is wrong", sent("client_secret").unwrap_or_default());
        return answer(401, json!({"error": "invalid_client", "error_description": said}));
    }
    if sent("refresh_token") != world.login.refresh.as_deref() {
        return answer(400, json!({"error": "invalid_grant"}));
    }
    world.login.given += 1;
    let given = world.login.given;
    if world.login.rotates {
        world.login.refresh = Some(format!("refresh-{given}"));
    }
    world.token = Some(match world.login.header {
        Some(name) => (name, format!("access-{given}")),
        None => ("authorization", format!("Bearer access-{given}")),
    });
    answer(
        200,
        json!({
            "access_token": format!("access-{given}"), "token_type": "bearer", "expires_in": world.login.lives,
            "refresh_token": world.login.refresh, "instance_url": world.login.base,
        }),
    )
}

async fn orders(
    State(shared): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    uri: axum::http::Uri,
    headers: HeaderMap,
) -> Response<Body> {
    answer(&shared, &query, uri.query().unwrap_or_default(), &headers, page)
}

/// What happened to orders, in the order it happened.
async fn removals(
    State(shared): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    uri: axum::http::Uri,
    headers: HeaderMap,
) -> Response<Body> {
    answer(&shared, &query, uri.query().unwrap_or_default(), &headers, events)
}

/// The same orders for what is asked in a body. Null is no value.
async fn search(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Response<Body> {
    let asked: BTreeMap<String, Value> = serde_json::from_str(&body).unwrap();
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let query = asked.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, text(value))).collect();
    answer(&shared, &query, &body, &headers, page)
}

type Asked = HashMap<String, String>;

fn answer(
    (world, told): &Shared,
    query: &Asked,
    asked: &str,
    headers: &HeaderMap,
    page: fn(&World, &Asked) -> (Option<String>, Value),
) -> Response<Body> {
    let mut world = world.lock().unwrap();
    world.asked.push(asked.to_owned());
    if let Some(left) = world.tell_at.as_mut() {
        *left = left.saturating_sub(1);
        if *left == 0 {
            world.tell_at = None;
            told.notify_one();
        }
    }
    let sent = |name: &str| headers.get(name).and_then(|sent| sent.to_str().ok().map(str::to_owned));
    world.sent.extend(["authorization", "x-shop-token"].into_iter().filter_map(sent));
    if let Some((name, value)) = &world.token
        && sent(name).as_ref() != Some(value)
    {
        let said = json!({"message": "who are you?"}).to_string();
        return Response::builder().status(StatusCode::UNAUTHORIZED).body(said.into()).unwrap();
    }
    let fault = if world.for_ever { world.faults.front().cloned() } else { world.faults.pop_front() };
    match fault {
        Some(Fault::Status(status, retry_after)) => {
            let mut response = Response::builder().status(status);
            if let Some(retry_after) = retry_after {
                response = response.header(header::RETRY_AFTER, retry_after);
            }
            return response.body(Body::from("<h1>oops</h1>")).unwrap();
        }
        Some(Fault::Html) => {
            return Response::builder().header(header::CONTENT_TYPE, "text/html").body("<html>log in</html>".into()).unwrap();
        }
        Some(Fault::Said(status, body)) => return Response::builder().status(status).body(body.to_string().into()).unwrap(),
        Some(Fault::Bytes(kind, bytes)) => return Response::builder().header(header::CONTENT_TYPE, kind).body(bytes.into()).unwrap(),
        Some(Fault::Endless) => {
            let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'7'; 1 << 14]));
            return Response::builder().body(Body::from_stream(chunks)).unwrap();
        }
        Some(Fault::Body(body)) => return Response::builder().body(body.into()).unwrap(),
        Some(Fault::Redirect(to)) => return Response::builder().status(302).header(header::LOCATION, to).body(Body::empty()).unwrap(),
        Some(Fault::Truncated) | None => {}
    }
    let number = |name: &str| query.get(name).and_then(|number| number.parse::<usize>().ok());
    if number("at_most").zip(number("page")).is_some_and(|(most, page)| page > most) {
        let said = json!({"message": "pages above that are not given"}).to_string();
        return Response::builder().status(StatusCode::BAD_REQUEST).body(said.into()).unwrap();
    }
    let lag = world.lags.pop_front().unwrap_or_default();
    let shown = world.lagging(lag);
    let current = std::mem::replace(&mut world.records, shown);
    let (link, body) = page(&world, query);
    world.records = current;
    let mut text = body.to_string();
    if fault == Some(Fault::Truncated) {
        text.truncate(text.len() / 2);
    } else {
        for (id, at) in stamps(&body) {
            let given = world.given.entry(id).or_insert(at);
            *given = at.max(*given);
        }
        for change in &world.between.pop_front().unwrap_or_default() {
            world.change(change);
        }
    }
    let mut response = Response::builder().header(header::CONTENT_TYPE, "application/json");
    for name in ["pages", "total"] {
        response = response.header(format!("x-{name}"), body[name].to_string());
    }
    if let Some(link) = link {
        response = response.header(header::LINK, link);
    }
    response.body(text.into()).unwrap()
}

/// The records of a page and when they were changed.
fn stamps(body: &Value) -> Vec<(u32, i64)> {
    let stamp = |row: &Value| {
        let at = row["updated_at"].as_str()?.parse::<DateTime<Utc>>().ok()?.timestamp();
        Some((row["id"].as_u64()?.try_into().ok()?, at))
    };
    body["orders"].as_array().into_iter().flatten().filter_map(stamp).collect()
}

fn since(query: &Asked) -> i64 {
    query.get("since").and_then(|since| since.parse::<DateTime<Utc>>().ok()).map_or(i64::MIN, |since| since.timestamp())
}

fn events(world: &World, query: &Asked) -> (Option<String>, Value) {
    let since = since(query);
    let mut events: Vec<(i64, usize, Option<u32>)> =
        world.removals.iter().enumerate().map(|(nth, (of, at))| (*at, nth, *of)).filter(|(at, ..)| *at >= since).collect();
    events.sort_unstable();
    let page = query.get("page").and_then(|page| page.parse().ok()).unwrap_or(0);
    let last = (page + 1) * world.cap >= events.len();
    let rows = events.into_iter().skip(page * world.cap).take(world.cap).map(|(at, nth, of)| {
        let verb = if of.is_some() { "destroy" } else { "create" };
        json!({"id": nth, "verb": verb, "subject_id": of.or(Some(1)), "created_at": instant(at)})
    });
    (None, json!({"removals": rows.collect::<Vec<_>>(), "next": (!last).then(|| (page + 1).to_string())}))
}

fn page(world: &World, query: &Asked) -> (Option<String>, Value) {
    let since = since(query);
    let shown = world.removed.iter().filter(|(_, (_, shown))| *shown).map(|(id, (record, _))| (id, record));
    let mut records: Vec<(i64, u32, &Record)> =
        world.records.iter().chain(shown).map(|(id, record)| (record.updated_at, *id, record)).filter(|(at, ..)| *at >= since).collect();
    if query.get("order").is_some_and(|order| order == "id") {
        let above = query.get("above").map_or(0, |id| id.parse().unwrap());
        records.sort_by_key(|(_, id, _)| *id);
        records.retain(|(_, id, _)| *id > above);
    } else {
        records.sort_by_key(|(at, id, _)| (*at, *id));
    }
    // `(updated_at = {from} AND id > {tie}) OR updated_at > {from}`, or without a tie `updated_at >= {from}`
    if let Some(from) = query.get("from").map(|from| from.parse::<DateTime<Utc>>().unwrap().timestamp()) {
        let tie = query.get("tie").map_or(-1, |id| id.parse::<i64>().unwrap());
        records.retain(|(at, id, _)| *at > from || (*at == from && i64::from(*id) > tie));
    }
    let total = records.len();
    let asked = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(world.cap);
    let size = asked.min(world.cap).max(1);
    let after = query.get("after").map(|token| {
        let (at, id) = token.split_once('.').unwrap();
        (at.parse::<i64>().unwrap(), id.parse::<u32>().unwrap())
    });
    let number = query.get("page").and_then(|page| page.parse::<usize>().ok()).unwrap_or(1);
    let offset = query.get("offset").and_then(|offset| offset.parse::<usize>().ok()).unwrap_or((number - 1) * size);
    let rest: Vec<_> = match after {
        Some(after) => records.into_iter().filter(|(at, id, _)| (*at, *id) > after).collect(),
        None => records.into_iter().skip(offset).collect(),
    };
    let next = if world.stuck {
        Some("1.1".to_owned())
    } else {
        (rest.len() > size).then(|| format!("{}.{}", rest[size - 1].0, rest[size - 1].1))
    };
    let rows: Vec<Value> = rest
        .into_iter()
        .take(size)
        .map(|(at, id, record)| {
            let deleted_at = record.deleted.then(|| instant(at));
            json!({"id": id, "value": record.value, "updated_at": instant(at), "deleted_at": deleted_at, "extra": {"left": "out"}})
        })
        .collect();
    // As some systems do, it repeats how it was asked.
    let key = query.get("key").map(|key| format!("&key={key}")).unwrap_or_default();
    let next_url = next.as_ref().map(|next| format!("/orders?after={next}{key}"));
    let link = next_url.as_ref().map(|url| format!("<{url}>; rel=\"next\""));
    let rows = world.rows.clone().unwrap_or(Value::Array(rows));
    let body = json!({
        "orders": rows, "next": next, "next_url": next_url.as_deref().unwrap_or("/orders?after=9.9"), "last_page": next.is_none(),
        "has_more": next.is_some(), "total": total, "pages": total.div_ceil(size).max(1),
    });
    (link, body)
}
