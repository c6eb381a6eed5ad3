//! What APIs have of their own: rows that are not whole, tokens that are signed for and say where the API lies, listings that end before
//! the rows do.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Json, Router, routing::get};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::assertion::tests::rsa_key;
use crate::{
    diagnosis::{Diagnose, Exit},
    source::{
        fake::{Change, Fake, Fault, instant},
        tests::{COLUMNS, CURSOR, KEYSET, LINK, NOW, NUMBERS, Project, TOKEN, asked, fake, shop, source, write},
    },
};

#[tokio::test]
async fn a_row_whose_list_is_cut_off_stops_the_stream() {
    let fake = fake(50, 0).await;
    let row = |id: &str, more: Value| json!({"id": id, "updated_at": "2023-11-14T22:13:21Z", "items": {"page": {"more": more}}});
    let settings = shop(&fake.base, "\"none\"", &format!("{CURSOR}\ntruncated = [\"items.page.more\"]"));
    let project = Project::new("shop", &settings).await;
    let rows = |rows: Value| fake.world.lock().unwrap().rows = Some(rows);
    rows(json!([row("a", json!(false)), row("b", json!(true))]));
    let error = project.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "shop.orders: row b is not whole: `items.page.more` says that there is more of it");
    assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("cut_off", Exit::Failed));
    assert!(project.orders().await.is_empty() && project.lake.cursor("shop__orders").await.unwrap().is_none());
    rows(json!([row("a", json!("no"))]));
    let error = project.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "shop.orders: /orders holds neither true nor false at `items.page.more` of row a");
    rows(json!([row("a", json!(false)), {"id": "b", "updated_at": "2023-11-14T22:13:21Z", "items": null}]));
    fake.world.lock().unwrap().rows.as_mut().unwrap()[0]["value"] = json!(1);
    fake.world.lock().unwrap().rows.as_mut().unwrap()[1]["value"] = json!(1);
    assert_eq!(project.pull().await.map(|pulled| pulled.rows).unwrap(), 2);
}

fn login(base: &str, auth: &str, api: &str) -> String {
    format!("auth = {{ {auth}, token_url = \"{base}/token\" }} }}\n{}", shop(api, TOKEN, CURSOR))
}

const SIGNED: &str = "jwt_bearer = { issuer = \"me\", subject = \"shop@example.com\", audience = \"https://login.example\", key = { file = \"config/key\" }, scope = \"read\"";
const CLIENT: &str = "client_credentials = { client_id = \"me\", client_secret = { file = \"config/secret\" }, base_url = \"instance_url\"";

#[tokio::test]
async fn a_token_is_given_for_a_signature_and_signed_for_anew_when_it_ends() {
    let fake = fake(3, 6).await;
    let (key, public) = rsa_key();
    {
        let login = &mut fake.world.lock().unwrap().login;
        (login.public, login.lives) = (Some(public), Some(1800));
    }
    let project = Project::new("shop", &login(&fake.base, SIGNED, &fake.base)).await;
    project.write("config/key", key.reveal().as_bytes());
    assert_eq!(project.pull().await.unwrap().rows, 6);
    let now: DateTime<Utc> = NOW.parse().unwrap();
    {
        let login = &fake.world.lock().unwrap().login;
        let claims = ["iss", "sub", "aud", "scope", "exp"].map(|name| login.claims[name].clone());
        let ends = json!((now + TimeDelta::seconds(120)).timestamp());
        assert_eq!(claims, [json!("me"), json!("shop@example.com"), json!("https://login.example"), json!("read"), ends]);
        assert_eq!(login.given, 1);
    }
    project.pull().await.unwrap();
    assert_eq!(fake.world.lock().unwrap().login.given, 1);
    project.clock.set(now + TimeDelta::seconds(1741));
    project.pull().await.unwrap();
    assert_eq!(fake.world.lock().unwrap().login.given, 2);

    let other = Project::new("shop", &login(&fake.base, SIGNED, &fake.base)).await;
    other.write("config/key", rsa_key().0.reveal().as_bytes());
    let error = other.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "shop.orders: got no token: /token answered 400: ••••", "what was signed is not repeated");
    other.write("config/key", b"s3cret");
    let error = other.pull().await.unwrap_err();
    assert!(error.to_string().starts_with("shop.orders: the `key` of `jwt_bearer` is no private key in PEM"), "{error}");
    assert!(!format!("{error:?}").contains("s3cret"));
    assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("bad_key", Exit::Wrong));
}

#[tokio::test]
async fn a_token_goes_into_the_header_that_is_named() {
    let fake = fake(3, 6).await;
    fake.world.lock().unwrap().login.header = Some("x-shop-token");
    let client = "client_credentials = { client_id = \"me\", client_secret = { file = \"config/secret\" }, header = \"X-Shop-Token\"";
    let project = Project::new("shop", &login(&fake.base, client, &fake.base)).await;
    project.write("config/secret", b"s3cret\n");
    assert_eq!(project.pull().await.unwrap().rows, 6);
    assert_eq!(fake.world.lock().unwrap().sent, ["access-1"; 2]);
    let wrong = login(&fake.base, &client.replace("X-Shop-Token", "X Shop"), &fake.base);
    assert_eq!(source("shop", &wrong).unwrap_err().code, "bad_value");
}

#[tokio::test]
async fn the_answer_with_the_token_says_where_the_api_lies() {
    for paging in [TOKEN, LINK] {
        let fake = fake(3, 9).await;
        let base = |base: Option<String>| fake.world.lock().unwrap().login.base = base;
        // Nothing answers where the settings point to.
        let settings = login(&fake.base, CLIENT, "http://127.0.0.1:1").replace(TOKEN, paging);
        let project = async || {
            let project = Project::new("shop", &settings).await;
            project.write("config/secret", b"s3cret\n");
            project
        };
        base(Some(format!("{}/", fake.base)));
        let known = project().await;
        let pulled = known.pull().await.unwrap();
        assert_eq!((pulled.rows, pulled.requests), (9, 3));
        assert_eq!(known.orders().await, fake.world.lock().unwrap().records);
        for (told, words) in [
            (None, "does not say at `instance_url` where the API lies"),
            (
                Some("http://shop.example".to_owned()),
                "says at `instance_url` that the API lies at `http://shop.example`, which is no address",
            ),
            (Some("shop".to_owned()), "says at `instance_url` that the API lies at `shop`, which is no address"),
        ] {
            base(told);
            let error = project().await.pull().await.unwrap_err();
            assert!(error.to_string().starts_with(&format!("shop.orders: got no token: /token {words}")), "{error}");
        }
    }
}

#[tokio::test]
async fn a_pull_that_broke_off_goes_on_where_the_token_says_the_api_lies() {
    let fake = fake(5, 60).await;
    fake.world.lock().unwrap().login.base = Some(fake.base.clone());
    let settings = login(&fake.base, CLIENT, "http://127.0.0.1:1").replace(TOKEN, LINK);
    let mut project = Project::new("shop", &settings).await;
    project.write("config/secret", b"s3cret\n");
    fake.world.lock().unwrap().tell_at = Some(9);
    tokio::select! {
        outcome = project.pull_in_chunks(10) => panic!("{outcome:?}"),
        () = fake.told.notified() => {}
    }
    let there = project.orders().await.len() as u64;
    project.source = source("shop", &settings).unwrap();
    let outcome = project.pull_in_chunks(10).await.unwrap();
    assert_eq!((outcome.rows, outcome.inserted), (60 - there + 60, 60 - there));

    // Where it has moved meanwhile, the link is not followed: the pull begins anew.
    fake.world.lock().unwrap().change(&write(1, 5));
    fake.world.lock().unwrap().tell_at = Some(6);
    project.clock.set(NOW.parse::<DateTime<Utc>>().unwrap() + TimeDelta::hours(1));
    tokio::select! {
        outcome = project.pull_in_chunks(5) => panic!("{outcome:?}"),
        () = fake.told.notified() => {}
    }
    project.source = source("shop", &settings).unwrap();
    fake.world.lock().unwrap().login.base = Some(fake.base.replace("127.0.0.1", "localhost"));
    project.pull_in_chunks(5).await.unwrap();
    assert_eq!(project.orders().await, fake.world.lock().unwrap().records);
}

/// Twelve rows a listing, three a page.
const WINDOWS: &str = "{ page_number = { param = \"page\", at_most = 4 } }\nparams = { at_most = \"4\" }";

fn begun(fake: &Fake) -> Vec<String> {
    let asked = fake.world.lock().unwrap().asked.clone();
    let first = asked.into_iter().filter(|asked| asked.contains("page=1"));
    first.map(|asked| asked.split('&').find_map(|pair| pair.strip_prefix("since=")).unwrap_or_default().replace("%3A", ":")).collect()
}

#[tokio::test]
async fn above_its_last_page_a_listing_is_asked_anew_from_the_greatest_cursor_on() {
    let fake = fake(3, 30).await;
    let project = Project::new("shop", &shop(&fake.base, WINDOWS, CURSOR)).await;
    let pulled = project.pull().await.unwrap();
    assert_eq!((pulled.inserted, pulled.rows, pulled.retries), (30, 32, 0));
    assert_eq!(begun(&fake), ["".to_owned(), instant(1_700_000_012), instant(1_700_000_023)]);
    assert_eq!(project.orders().await, fake.world.lock().unwrap().records);
    assert_eq!(project.ledger.last_pulls().await.unwrap()[0].cursor.as_deref(), Some("2023-11-14T22:13:50Z"));
}

#[tokio::test]
async fn what_slips_in_such_a_listing_is_read_again_from_the_first_row_that_moved() {
    let fake = fake(3, 30).await;
    // After the second page of the second window its first row moves to the end, and pulls another one along.
    fake.world.lock().unwrap().between = [vec![]].into_iter().cycle().take(5).chain([vec![write(13, 99)]]).collect();
    let project = Project::new("shop", &shop(&fake.base, WINDOWS, CURSOR)).await;
    project.pull().await.unwrap();
    assert_eq!(project.orders().await, fake.world.lock().unwrap().records);
    assert_eq!(begun(&fake)[3], instant(1_700_000_013), "not from the beginning");

    // Where they never stand still, the cursor comes as far as the first of them.
    let busy = crate::source::tests::fake(3, 30).await;
    busy.world.lock().unwrap().between =
        (0..60).map(|nth| if nth % 3 == 1 { vec![write(20 + nth % 5, 100 + i64::from(nth))] } else { vec![] }).collect();
    let project = Project::new("shop", &shop(&busy.base, WINDOWS, CURSOR)).await;
    project.pull().await.unwrap();
    let state = project.lake.cursor("shop__orders").await.unwrap().unwrap();
    let reached = DateTime::from_timestamp_micros(state["at"].as_i64().unwrap()).unwrap().timestamp();
    assert!((1_700_000_020..1_700_000_060).contains(&reached), "{state}");
    busy.world.lock().unwrap().between.clear();
    project.pull().await.unwrap();
    assert_eq!(project.orders().await, busy.world.lock().unwrap().records);
}

#[tokio::test]
async fn what_cannot_be_gone_on_from_in_order_is_an_error() {
    let ties = "shop.orders: /orders holds more rows at the cursor value `2023-11-14T22:13:20Z` than";
    let keyset = "{ keyset = { size = 3 } }\nparams = { from = \"{after}\", limit = \"3\" }";
    for (way, words) in [(WINDOWS, format!("{ties} `at_most` pages")), (keyset, format!("{ties} a page has"))] {
        let tied = Fake::start(3).await;
        tied.world.lock().unwrap().grain = 1000;
        (1..30).for_each(|id| tied.world.lock().unwrap().change(&write(id, 1)));
        let project = Project::new("shop", &shop(&tied.base, way, CURSOR)).await;
        assert_eq!(project.pull().await.unwrap_err().to_string(), words);
        assert!(project.lake.cursor("shop__orders").await.unwrap().is_none());
    }
    let row = |id: &str, at: i64| json!({"id": id, "value": 1, "updated_at": instant(at)});
    let nothing = "shop.orders: /orders holds nothing at `id` of row  to go on from".to_owned();
    for (way, rows, words) in [
        (WINDOWS, json!([row("a", 9), row("b", 8)]), "shop.orders: /orders lists row a before row b".to_owned()),
        (KEYSET, json!([row("a", 9), row("b", 8)]), "shop.orders: /orders lists row a before row b".to_owned()),
        (KEYSET, json!([row("b", 9), row("a", 9)]), "shop.orders: /orders lists row b before row a".to_owned()),
        (KEYSET, json!([{"updated_at": instant(9)}]), nothing),
        (KEYSET, json!([{"id": "a"}]), "shop.orders: /orders holds no row with a cursor value to go on from".to_owned()),
    ] {
        let fake = fake(3, 0).await;
        fake.world.lock().unwrap().rows = Some(rows);
        let project = Project::new("shop", &asked(&fake.base, way, CURSOR)).await;
        let error = project.pull().await.unwrap_err();
        assert_eq!(error.to_string(), words);
        assert!(project.orders().await.is_empty());
    }
}

#[tokio::test]
async fn a_keyset_brings_more_rows_of_one_instant_than_fit_on_a_page() {
    let fake = Fake::start(3).await;
    fake.world.lock().unwrap().grain = 1000;
    (1..=40).for_each(|id| fake.world.lock().unwrap().change(&write(id, i64::from(id))));
    let project = Project::new("shop", &asked(&fake.base, KEYSET, CURSOR)).await;
    let pulled = project.pull().await.unwrap();
    assert_eq!((pulled.rows, pulled.requests), (40, 15));
    assert_eq!(project.orders().await, fake.world.lock().unwrap().records);
    assert_eq!(fake.world.lock().unwrap().asked[..2], ["tie=0", "from=2023-11-14T22%3A13%3A20Z&tie=3"]);

    // With the size of its pages known, the first shorter one is the last; without a tie, the last row comes twice.
    for (keyset, rows) in [
        ("{ keyset = { tie = \"id\", first = \"0\", size = 3 } }\nparams = { from = \"{after}\", tie = \"{tie}\" }", 40),
        ("{ keyset = { size = 3 } }\nparams = { from = \"{after}\" }", 59),
    ] {
        let fake = crate::source::tests::fake(3, 40).await;
        let project = Project::new("shop", &shop(&fake.base, keyset, CURSOR)).await;
        let pulled = project.pull().await.unwrap();
        assert_eq!((pulled.rows, pulled.inserted), (rows, 40), "{keyset}");
        assert_eq!(project.orders().await, fake.world.lock().unwrap().records);
    }
}

#[tokio::test]
async fn a_budget_ends_a_run_in_good_order_and_the_next_one_goes_on() {
    for way in [TOKEN, LINK, KEYSET] {
        let fake = fake(5, 60).await;
        let project = Project::new("shop", &format!("budget = {{ requests = 5 }}\n{}", asked(&fake.base, way, CURSOR))).await;
        for rows in [25, 50] {
            let error = project.pull().await.unwrap_err();
            assert_eq!(error.to_string(), "shop.orders: the budget of 5 requests is used up");
            assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("budget", Exit::Failed));
            assert!(error.diagnosis().hint.unwrap().contains("it goes on where it stopped"));
            assert_eq!(project.orders().await.len(), rows, "{way}");
            assert_eq!(project.ledger.last_pulls().await.unwrap()[0].requests, 5);
        }
        // The rest; what is left of the budget goes into what changed meanwhile, and is no failure where that is not all.
        let (rest, left) = if way == KEYSET { (3, 2) } else { (2, 3) };
        assert_eq!(project.pull().await.unwrap().rows, 10 + 5 * left);
        assert_eq!(project.orders().await, fake.world.lock().unwrap().records);
        assert_eq!(fake.world.lock().unwrap().asked.len() as u64, 10 + rest + left);
    }
    let fake = fake(5, 60).await;
    let settings = format!("budget = {{ requests = 5 }}\n{}", shop(&fake.base, NUMBERS, CURSOR));
    let twice = settings.clone()
        + &COLUMNS.replace("orders", "again")
        + &settings[settings.find("path =").unwrap()..settings.find("\n[streams.orders.columns]").unwrap()]
            .replace("path", "[streams.again]\npath");
    let project = Project::new("shop", &twice).await;
    let failure = project.pull_all(false).await.unwrap_err();
    assert_eq!(failure.failed.len(), 2, "it is the source's, not the stream's");
    assert!(failure.failed.iter().all(|error| error.diagnosis().hint.unwrap().contains("this stream begins anew")));
    assert_eq!(fake.world.lock().unwrap().asked.len(), 5);
    assert!(project.lake.cursor("shop__again").await.unwrap().is_none());
}

#[tokio::test]
async fn sources_that_ask_the_same_host_keep_its_rate_together() {
    let fake = fake(3, 6).await;
    let settings = format!("rate = {{ requests = 2, per = \"1s\" }}\n{}", shop(&fake.base, TOKEN, CURSOR));
    let unlimited = shop(&fake.base, TOKEN, CURSOR);
    let project = Project::new("shop", &settings).await;
    for other in [settings, unlimited] {
        let sources = [project.source.clone(), source("other", &other).unwrap()];
        let began = Instant::now();
        project.pull_from(&sources, false).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(990), "four requests, two a second");
    }
}

#[tokio::test]
async fn as_many_streams_are_pulled_beside_each_other_as_is_said() {
    let here = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let answer = get(move || {
        let here = Arc::clone(&here);
        async move {
            here.fetch_add(1, Ordering::SeqCst);
            let mut met = false;
            // The other one comes soon, or not at all.
            for _ in 0..100 {
                met |= here.load(Ordering::SeqCst) == 2;
                tokio::time::sleep(Duration::from_millis(if met { 1 } else { 10 })).await;
            }
            here.fetch_sub(1, Ordering::SeqCst);
            Json(json!([{"id": "0", "value": i32::from(met), "updated_at": NOW}]))
        }
    });
    let server = tokio::spawn(async move { axum::serve(listener, Router::new().route("/orders", answer)).await.unwrap() });
    let one = shop(&base, "\"none\"", CURSOR).replace("rows = \"orders\"", "");
    let streams = one[one.find("[streams").unwrap()..].replace("streams.orders", "streams.again");
    for (at_once, met) in [(2, 1), (1, 0)] {
        let project = Project::new("shop", &format!("at_once = {at_once}\n{one}{streams}")).await;
        project.pull_all(false).await.unwrap();
        assert_eq!(project.orders().await[&0].value, met, "{at_once}");
    }
    server.abort();
}

#[tokio::test]
async fn what_the_source_has_forgotten_is_told_and_not_skipped() {
    let fake = fake(50, 6).await;
    let cursor = "cursor = { field = \"updated_at\", param = \"since\", kept = \"29d\" }";
    let project = Project::new("shop", &shop(&fake.base, TOKEN, cursor)).await;
    let day = |day: i64| project.clock.set(DateTime::from_timestamp(1_700_000_100 + day * 86_400, 0).unwrap());
    day(0);
    project.pull().await.unwrap();
    for quiet in [28, 56] {
        day(quiet);
        project.pull().await.unwrap();
    }
    day(86);
    let error = project.pull().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "shop.orders: everything up to 2024-01-09 22:15 UTC has been pulled, and the source keeps its changes for 29d only: those in between are gone"
    );
    assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("gap", Exit::Failed));
    assert!(error.diagnosis().hint.unwrap().contains("run `perennial pull shop --full`"));
    fake.world.lock().unwrap().change(&Change::Vanish { id: 1 });
    project.pull().await.unwrap_err();
    assert_eq!(project.pull_all(true).await.unwrap()[0].rows, 5);
    day(87);
    project.pull().await.unwrap();
    assert_eq!(project.orders().await.len(), 6, "what is gone at the source stays");
}

#[tokio::test]
async fn a_refusal_that_names_a_passing_code_is_waited_out() {
    let fake = fake(3, 6).await;
    let settings = format!("error = {{ passing = [\"REQUEST_LIMIT_EXCEEDED\"] }}\n{}", shop(&fake.base, TOKEN, CURSOR));
    let project = Project::new("shop", &settings).await;
    let said = |code: &str| {
        let body = json!([{"errorCode": code, "message": "no"}]);
        fake.world.lock().unwrap().faults.push_back(Fault::Said(403, body));
    };
    said("REQUEST_LIMIT_EXCEEDED");
    let pulled = project.pull().await.unwrap();
    assert_eq!((pulled.rows, pulled.retries), (6, 1));
    said("INSUFFICIENT_ACCESS");
    assert_eq!(project.pull().await.unwrap_err().to_string(), "shop.orders: /orders answered 403: no");
}

#[tokio::test]
async fn dirt_that_comes_over_http_is_told_apart() {
    let json = "application/json";
    let bytes = |kind, bytes: &[u8]| Fault::Bytes(kind, bytes.to_vec());
    for (fault, words) in [
        (bytes("text/html; charset=utf-8", b"{\"orders\": []}"), "answered with a web page instead of JSON"),
        (bytes("application/xml", b"<?xml version=\"1.0\"?><orders/>"), "answered with a web page instead of JSON"),
        (bytes(json, b"\xef\xbb\xbf <html>"), "answered with a web page instead of JSON"),
        (bytes(json, b"{\"orders\": [{\"id\": \"M\xfcller\"}]}"), "gave a page with bytes that are not UTF-8, the first at byte 22"),
        (bytes(json, b"{\"orders\": [{\"id\": \"M\xc3"), "gave a page that breaks off, 3 times in a row"),
        (bytes(json, b""), "gave a page that breaks off or is no JSON (EOF while parsing a value at line 1 column 0), 3 times in a row"),
        (bytes(json, b"{\"orders\": [NaN]}"), "gave a page that breaks off or is no JSON"),
        (bytes(json, b"{\"orders\": []} {}"), "gave a page that breaks off or is no JSON (trailing characters"),
        (Fault::Endless, "gave a page larger than 1 MiB"),
    ] {
        let fake = fake(3, 6).await;
        {
            let mut world = fake.world.lock().unwrap();
            (world.for_ever, world.faults) = (true, [fault].into());
        }
        let project = Project::new("shop", &format!("max_page_mib = 1\n{}", shop(&fake.base, TOKEN, CURSOR))).await;
        let error = project.pull().await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("shop.orders: /orders {words}")), "{error}");
        assert!(project.orders().await.is_empty());
    }
    for good in [bytes("text/plain", b"{\"orders\": []}"), bytes(json, b"\xef\xbb\xbf{\"orders\": []}")] {
        let fake = fake(3, 6).await;
        fake.world.lock().unwrap().faults.push_back(good);
        Project::new("shop", &shop(&fake.base, TOKEN, CURSOR)).await.pull().await.unwrap();
    }
}

#[tokio::test]
async fn rows_that_do_not_fit_are_named_with_what_is_wrong_and_numbers_may_be_texts() {
    let fake = fake(50, 0).await;
    let at = "2023-11-14T22:13:21Z";
    for (row, words) in [
        (json!({"id": "b", "value": 1, "updated_at": null}), "row b: `updated_at` is missing, and the cursor follows it"),
        (json!({"id": "b", "value": 1, "updated_at": "2023-11-14T22:13:21"}), "row b: `updated_at` has no time zone"),
        (json!({"id": "b", "value": "1.5", "updated_at": at}), "row b: `value` "),
        (json!({"id": "b", "value": 1e30, "updated_at": at}), "row b: `value` "),
        (json!({"id": ["b"], "value": 1, "updated_at": at}), "row number 1: `id` is a list, not text"),
    ] {
        fake.world.lock().unwrap().rows = Some(json!([row]));
        let error = Project::new("shop", &shop(&fake.base, "\"none\"", CURSOR)).await.pull().await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("shop.orders: {words}")), "{error}");
    }
    // Of a key that stands on a page twice, the newer row stays, whichever comes first.
    let row = |value: Value, at: i64| json!({"id": 7, "value": value, "updated_at": instant(at)});
    for rows in [json!([row(json!("1"), 5), row(json!("2"), 6)]), json!([row(json!("2"), 6), row(json!("1"), 5)])] {
        fake.world.lock().unwrap().rows = Some(rows);
        let project = Project::new("shop", &shop(&fake.base, "\"none\"", CURSOR)).await;
        assert_eq!(project.pull().await.unwrap().rows, 2);
        assert_eq!(project.orders().await[&7].value, 2);
    }
}

#[tokio::test]
async fn pages_that_never_end_end_at_max_pages() {
    let fake = fake(1, 3).await;
    fake.world.lock().unwrap().between = (0..100).map(|nth| vec![write(1000 + nth, 1)]).collect();
    let project = Project::new("shop", &shop(&fake.base, TOKEN, &format!("{CURSOR}\nmax_pages = 20"))).await;
    let error = project.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "shop.orders: /orders has more than 20 pages");
    assert_eq!(fake.world.lock().unwrap().asked.len(), 20);
    assert!(project.lake.cursor("shop__orders").await.unwrap().is_none());
}

#[tokio::test]
async fn no_credentials_follow_a_redirect_to_another_host() {
    for auth in
        ["bearer = { token = { file = \"config/token\" } }", "header = { name = \"X-Shop-Token\", value = { file = \"config/token\" } }"]
    {
        let (fake, other) = (fake(3, 6).await, fake(3, 6).await);
        fake.world.lock().unwrap().faults.push_back(Fault::Redirect(format!("{}/orders", other.base)));
        let project = Project::new("shop", &format!("auth = {{ {auth} }}\n{}", shop(&fake.base, TOKEN, CURSOR))).await;
        project.write("config/token", b"s3cret\n");
        let error = project.pull().await.unwrap_err();
        assert_eq!(error.to_string(), "shop.orders: /orders redirects to 127.0.0.1; the credentials are not sent there");
        assert!(error.diagnosis().hint.unwrap().contains("`base_url`"));
        assert_eq!((fake.world.lock().unwrap().sent.len(), other.world.lock().unwrap().asked.len()), (1, 0));
        // On the same host it is followed.
        fake.world.lock().unwrap().faults.push_back(Fault::Redirect("/orders".to_owned()));
        assert_eq!(project.pull().await.unwrap().rows, 6);
    }
}

/// A web server over TLS that prints its port, then every token it was sent.
const PYTHON_SHOP: &str = r#"
import http.server, ssl, sys
class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print(self.headers["Authorization"], flush=True)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"orders": [], "next": null}')
server = http.server.HTTPServer(("127.0.0.1", 0), Shop)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

#[tokio::test]
async fn a_certificate_nobody_vouches_for_gets_no_token() {
    let root = tempfile::tempdir().unwrap();
    let (cert, key) = (root.path().join("cert.pem"), root.path().join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=elsewhere.example"])
        .args(["-addext", "subjectAltName=DNS:elsewhere.example", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) || Command::new("python3").arg("--version").output().is_err() {
        #[allow(clippy::print_stderr)] // A test that did not run says so.
        {
            eprintln!("skipped: openssl and python3 are needed");
        }
        return;
    }
    let mut server = Command::new("python3")
        .args(["-c", PYTHON_SHOP])
        .arg(&cert)
        .arg(&key)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let port: u16 = lines.next().unwrap().unwrap().parse().unwrap();
    let settings = shop(&format!("https://localhost:{port}"), TOKEN, CURSOR);
    let project = Project::new("shop", &format!("auth = {{ bearer = {{ token = {{ file = \"config/token\" }} }} }}\n{settings}")).await;
    project.write("config/token", b"s3cret\n");
    let error = project.pull().await.unwrap_err();
    assert!(error.to_string().starts_with("shop.orders: /orders shows a certificate that is not trusted ("), "{error}");
    assert!(error.diagnosis().hint.unwrap().contains("whether `base_url` names the right host"));
    assert_eq!(project.ledger.last_pulls().await.unwrap()[0].requests, 1, "it is not asked again and again");
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(lines.next().is_none(), "nothing was sent");
}
