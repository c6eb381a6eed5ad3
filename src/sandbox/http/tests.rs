//! The manners of the three systems, as a client meets them.

use std::{collections::HashSet, time::Duration};

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;

use super::*;

async fn shop(customers: u32) -> Running {
    let settings = SandboxSettings { customers, seed: 42 };
    serve(&settings, "2026-11-22T01:00:00Z".parse().unwrap(), "127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// A request with the token its system wants.
fn ask(running: &Running, path: &str) -> RequestBuilder {
    let url = if path.starts_with("http") { path.parse().unwrap() } else { running.url.join(path).unwrap() };
    let request = Client::new().get(url.clone());
    match url.path().split('/').nth(1) {
        Some("crm") => request.bearer_auth(manners::TOKEN),
        Some("shop") => request.header("X-Shop-Token", manners::TOKEN),
        _ => request.basic_auth(manners::USER, Some(manners::TOKEN)),
    }
}

/// The body and the `Link` header of a page, asked for again as long as the system is busy or down.
async fn get(running: &Running, path: &str) -> (Value, Option<String>) {
    for _ in 0..3 {
        let response = ask(running, path).send().await.unwrap();
        if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            continue;
        }
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["x-practice-data"], "PRACTICE DATA");
        assert_eq!(response.headers()["date"], "Sun, 22 Nov 2026 01:00:00 GMT");
        let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        return (response.json().await.unwrap(), link);
    }
    panic!("{path} did not answer");
}

/// Status and error code of a refusal; trouble is asked again.
async fn refusal(request: impl Fn() -> RequestBuilder) -> (StatusCode, String) {
    loop {
        let response = request().send().await.unwrap();
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        if status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::SERVICE_UNAVAILABLE {
            assert!(body["error"]["message"].is_string());
            return (status, body["error"]["code"].as_str().unwrap_or_default().to_owned());
        }
    }
}

/// All records of a list, page by page, each system in its own way.
async fn pull(running: &Running, path: &str, name: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut next = Some(path.to_owned());
    let mut number = 1;
    while let Some(path) = next {
        let (body, link) = get(running, &path).await;
        all.extend(body[name].as_array().unwrap().iter().cloned());
        next = if let Some(cursor) = body.get("next_cursor") {
            let base = path.split("&cursor=").next().unwrap().to_owned();
            cursor.as_str().map(|cursor| format!("{base}&cursor={cursor}"))
        } else if let Some(pages) = body.get("pages") {
            number += 1;
            let base = path.split("&page=").next().unwrap().to_owned();
            (number <= pages.as_u64().unwrap()).then(|| format!("{base}&page={number}"))
        } else {
            link.map(|link| link.split(['<', '>']).nth(1).unwrap().to_owned())
        };
    }
    all
}

const LISTS: [(&str, &str, Stream); 8] = [
    ("/crm/contacts?limit=200", "data", Stream::Contacts),
    ("/crm/consents?limit=200", "data", Stream::Consents),
    ("/shop/customers?limit=250", "customers", Stream::Customers),
    ("/shop/orders?limit=250&status=any", "orders", Stream::Orders),
    ("/shop/products?limit=100", "products", Stream::Products),
    ("/shop/fx_rates?limit=250", "fx_rates", Stream::FxRates),
    ("/helpdesk/tickets?per_page=100", "tickets", Stream::Tickets),
    ("/helpdesk/ratings?per_page=100", "ratings", Stream::Ratings),
];

#[tokio::test]
async fn paging_gives_out_every_record_once_and_in_order() {
    let running = shop(700).await;
    for (path, name, stream) in LISTS {
        let pulled = pull(&running, path, name).await;
        let expected = serde_json::to_value(running.desk.world.page(stream, 0..usize::MAX)).unwrap();
        assert!(Value::Array(pulled) == expected, "{path}");
    }
}

#[tokio::test]
async fn only_what_changed_since_is_given_out_when_asked_for() {
    let running = shop(700).await;
    let since = "2026-11-01T00:00:00Z";
    for (path, name, stream) in LISTS {
        let pulled = pull(&running, &format!("{path}&updated_since={since}"), name).await;
        let all = serde_json::to_value(running.desk.world.page(stream, 0..usize::MAX)).unwrap();
        let expected: Vec<&Value> =
            all.as_array().unwrap().iter().filter(|record| record["updated_at"].as_str().unwrap() >= since).collect();
        assert!(pulled.iter().eq(expected), "{path}");
        assert!(all.as_array().unwrap().len() > pulled.len(), "{path}");
    }
    // The bound itself is included.
    let last = running.desk.world.page(Stream::Tickets, 0..usize::MAX).len() - 1;
    let last = serde_json::to_value(&running.desk.world.page(Stream::Tickets, last..last + 1)[0]).unwrap();
    let (body, _) = get(&running, &format!("/helpdesk/tickets?updated_since={}", last["updated_at"].as_str().unwrap())).await;
    assert_eq!((body["total"].as_u64(), &body["tickets"][0]), (Some(1), &last));
}

#[tokio::test]
async fn each_system_wants_its_own_token() {
    let running = shop(50).await;
    for path in ["/crm/contacts", "/shop/orders?status=any", "/helpdesk/tickets"] {
        let url = running.url.join(path).unwrap();
        for request in [
            Client::new().get(url.clone()),
            Client::new().get(url.clone()).bearer_auth("wrong").header("X-Shop-Token", "wrong"),
            Client::new().get(url.clone()).basic_auth("someone", Some(manners::TOKEN)),
        ] {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
            assert!(response.headers().contains_key("www-authenticate"));
            assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "unauthorized");
        }
    }
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let running = shop(50).await;
    for (path, status, code) in [
        ("/crm/contacts?updated_after=2026-01-01", 400, "unknown_parameter"),
        ("/crm/contacts?limit=201", 400, "bad_parameter"),
        ("/crm/contacts?limit=many", 400, "bad_parameter"),
        ("/crm/contacts?updated_since=yesterday", 400, "bad_parameter"),
        ("/crm/contacts?cursor=page-2", 400, "bad_cursor"),
        ("/shop/orders?state=any", 400, "unknown_parameter"),
        ("/shop/orders?status=closed", 400, "bad_parameter"),
        ("/shop/products?status=any", 400, "unknown_parameter"),
        ("/shop/orders?page_info=abc", 400, "bad_page_info"),
        ("/shop/orders?page_info=abc&updated_since=2026-01-01T00:00:00Z", 400, "bad_parameter"),
        ("/helpdesk/tickets?page=0", 400, "bad_parameter"),
        ("/helpdesk/tickets?cursor=abc", 400, "unknown_parameter"),
        ("/crm/deals", 404, "not_found"),
        ("/warehouse", 404, "not_found"),
    ] {
        let (got, why) = refusal(|| ask(&running, path)).await;
        assert_eq!((got.as_u16(), why.as_str()), (status, code), "{path}");
    }
    let post = || Client::new().post(running.url.join("/shop/orders").unwrap()).header("X-Shop-Token", manners::TOKEN);
    assert_eq!(refusal(post).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_page_has_its_cap_and_its_default() {
    let running = shop(700).await;
    for (path, name, length) in [
        ("/crm/contacts", "data", 50),
        ("/shop/customers?limit=1000", "customers", 250),
        ("/shop/customers", "customers", 50),
        ("/helpdesk/tickets?per_page=1000", "tickets", 100),
        ("/helpdesk/tickets", "tickets", 30),
        ("/helpdesk/tickets?page=100000", "tickets", 0),
    ] {
        assert_eq!(get(&running, path).await.0[name].as_array().unwrap().len(), length, "{path}");
    }
}

#[tokio::test]
async fn without_status_any_only_open_orders_are_given_out() {
    let running = shop(2000).await;
    let open = pull(&running, "/shop/orders?limit=10", "orders").await;
    assert!(open.len() > 10 && open.len() < 200, "{}", open.len());
    assert!(open.iter().all(|order| order["delivered_at"].is_null() && order["status"] != "cancelled"));
    assert_eq!(open.iter().map(|order| order["id"].as_str().unwrap()).collect::<HashSet<_>>().len(), open.len());
}

#[tokio::test]
async fn now_and_then_a_system_is_slow_or_turns_a_request_away() {
    let running = shop(50).await;
    let told_to_wait = [
        ("/crm/contacts?limit=1", StatusCode::TOO_MANY_REQUESTS, "1"),
        ("/shop/products?limit=1", StatusCode::SERVICE_UNAVAILABLE, "1"),
        ("/helpdesk/tickets?per_page=1", StatusCode::TOO_MANY_REQUESTS, "Sun, 22 Nov 2026 01:00:01 GMT"),
    ];
    for (path, status, wait) in told_to_wait {
        let mut refused = Vec::new();
        let mut slow = 0;
        for _ in 0..60 {
            let started = std::time::Instant::now();
            let response = ask(&running, path).send().await.unwrap();
            match response.status() {
                StatusCode::OK => slow += usize::from(started.elapsed() >= Duration::from_millis(200)),
                other => refused.push((other, response.headers()["retry-after"].to_str().unwrap().to_owned())),
            }
        }
        assert_eq!(refused, [(status, wait.to_owned())], "{path}");
        assert!(slow >= 1, "{path}");
    }
}

#[tokio::test]
async fn the_front_page_says_that_it_is_practice() {
    let running = shop(50).await;
    let page = Client::new().get(running.url.clone()).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("PRACTICE DATA") && page.contains("2026-11-22T01:00:00Z"), "{page}");
    let told = running.to_string();
    assert!(told.contains("about 50 customers") && told.contains("PRACTICE DATA"), "{told}");
}

#[tokio::test]
async fn it_closes_when_it_is_dropped_and_opens_on_loopback_only() {
    let running = shop(50).await;
    let url = running.url.clone();
    drop(running);
    let mut closed = false;
    for _ in 0..50 {
        closed = Client::new().get(url.clone()).send().await.is_err();
        if closed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(closed, "still open");
    let settings = SandboxSettings::default();
    let elsewhere = serve(&settings, "2026-11-22T01:00:00Z".parse().unwrap(), "0.0.0.0:0".parse().unwrap()).await;
    assert_eq!(elsewhere.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}
