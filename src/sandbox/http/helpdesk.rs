//! The help desk: a name and a token, numbered pages of at most 100, `{"tickets": […], "page": 1, "pages": 9, "total": 812}`.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State},
    http::{Request, header},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    super::records::Stream,
    Desk, Page, Shared,
    manners::{Refusal, System, TOKEN, USER, same},
    page,
    query::Query,
};

/// A page has at most this many records, whatever is asked for.
const CAP: usize = 100;

pub(super) fn router(desk: &Arc<Desk>) -> Router<Arc<Desk>> {
    Router::new()
        .route("/tickets", get(async |state: Shared, query: RawQuery| list(state, query, Stream::Tickets, "tickets").await))
        .route("/ratings", get(async |state: Shared, query: RawQuery| list(state, query, Stream::Ratings, "ratings").await))
        .route_layer(middleware::from_fn_with_state(desk.clone(), guard))
}

async fn guard(State(desk): Shared, request: Request<Body>, next: Next) -> Result<Response, Refusal> {
    let given = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], header::HeaderValue::as_bytes);
    let credentials = match given.split_at_checked(6) {
        Some((scheme, encoded)) if scheme.eq_ignore_ascii_case(b"Basic ") => STANDARD.decode(encoded).unwrap_or_default(),
        _ => Vec::new(),
    };
    if !same(&credentials, format!("{USER}:{TOKEN}").as_bytes()) {
        return Err(Refusal::unauthorized("Basic realm=\"practice help desk\""));
    }
    desk.troubles.meet(System::HelpDesk, desk.world.as_of().to_utc()).await?;
    Ok(next.run(request).await)
}

async fn list(State(desk): Shared, RawQuery(raw): RawQuery, stream: Stream, name: &'static str) -> Result<Response, Refusal> {
    let query = Query::read(raw, &["updated_since", "page", "per_page"])?;
    let size = query.number("per_page", 30)?.min(CAP);
    let number = query.number("page", 1)?;
    let since = query.instant("updated_since")?;
    page(desk, move |world| {
        let start = since.map_or(0, |since| world.position(stream, since));
        let total = world.count(stream) - start;
        let from = start.saturating_add((number - 1).saturating_mul(size)).min(start + total);
        let pages = total.div_ceil(size);
        let rest = format!(",\"page\":{number},\"pages\":{pages},\"total\":{total}");
        Page::of(world, stream, name, from..(from + size).min(start + total), &rest)
    })
    .await
}
