//! The shop: a token in a header of its own, pages of at most 250, the next one named by a `Link` header whose `page_info` stands
//! for all filters. Without `status=any` it gives out only orders that are still open, which has cost many a report its history.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, Request, header},
    middleware::{self, Next},
    response::Response,
    routing::get,
};

use super::{
    super::records::Stream,
    Desk, Page, Shared,
    manners::{Refusal, System, TOKEN, same},
    page,
    query::{Query, Token},
};

/// A page has at most this many records, whatever is asked for.
const CAP: usize = 250;

pub(super) fn router(desk: &Arc<Desk>) -> Router<Arc<Desk>> {
    let plain = ["updated_since", "limit", "page_info"].as_slice();
    let list = move |stream: Stream, name: &'static str| {
        get(async move |State(desk): Shared, RawQuery(raw): RawQuery, headers: HeaderMap| {
            let query = Query::read(raw, plain)?;
            listing(desk, &query, &headers, stream, name).await
        })
    };
    Router::new()
        .route("/customers", list(Stream::Customers, "customers"))
        .route("/products", list(Stream::Products, "products"))
        .route("/fx_rates", list(Stream::FxRates, "fx_rates"))
        .route("/orders", get(orders))
        .route_layer(middleware::from_fn_with_state(desk.clone(), guard))
}

async fn guard(State(desk): Shared, request: Request<Body>, next: Next) -> Result<Response, Refusal> {
    let given = request.headers().get("x-shop-token").map_or(&b""[..], header::HeaderValue::as_bytes);
    if !same(given, TOKEN.as_bytes()) {
        return Err(Refusal::unauthorized("X-Shop-Token"));
    }
    desk.troubles.meet(System::Shop, desk.world.as_of().to_utc()).await?;
    Ok(next.run(request).await)
}

async fn orders(State(desk): Shared, RawQuery(raw): RawQuery, headers: HeaderMap) -> Result<Response, Refusal> {
    let query = Query::read(raw, &["updated_since", "limit", "page_info", "status"])?;
    let stream = match (query.text("status"), query.text("page_info")) {
        // A page of all orders goes on as a page of all orders.
        (None, Some(info)) if Token::read("orders:any", info).is_some() => Stream::Orders,
        (None | Some("open"), _) => Stream::OpenOrders,
        (Some("any"), _) => Stream::Orders,
        (Some(_), _) => return Err(Refusal::bad("bad_parameter", "`status` is `any` or `open`")),
    };
    listing(desk, &query, &headers, stream, "orders").await
}

async fn listing(desk: Arc<Desk>, query: &Query, headers: &HeaderMap, stream: Stream, name: &'static str) -> Result<Response, Refusal> {
    let list = if stream == Stream::Orders { "orders:any" } else { name };
    let info = match query.text("page_info") {
        None => None,
        Some(_) if query.text("updated_since").is_some() || query.text("status").is_some() => {
            return Err(Refusal::bad("bad_parameter", "beside `page_info`, which remembers the filters, only `limit` may stand"));
        }
        Some(text) => {
            Some(Token::read(list, text).ok_or_else(|| Refusal::bad("bad_page_info", "this `page_info` was not given out by this list"))?)
        }
    };
    let size = query.number("limit", info.map_or(50, |info| info.size))?.min(CAP);
    let since = query.instant("updated_since")?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost").to_owned();
    page(desk, move |world| {
        let start = since.map_or(0, |since| world.position(stream, since));
        let at = info.map_or(start, |info| info.at);
        let end = (at + size).min(world.count(stream));
        let mut page = Page::of(world, stream, name, at..end, "")?;
        if end < world.count(stream) {
            let token = Token { start, at: end, size }.write(list);
            page.link = Some(format!("<http://{host}/shop/{name}?limit={size}&page_info={token}>; rel=\"next\""));
        }
        Ok(page)
    })
    .await
}
