//! The CRM: a bearer token, pages by opaque cursor, `{"data": […], "next_cursor": …}`.

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

use super::{
    super::records::Stream,
    Desk, Page, Shared,
    manners::{Refusal, System, TOKEN, same},
    page,
    query::{Query, Token},
};

/// A page has at most this many records; more is an error, as with many CRMs.
const MOST: usize = 200;

pub(super) fn router(desk: &Arc<Desk>) -> Router<Arc<Desk>> {
    Router::new()
        .route("/contacts", get(async |state: Shared, query: RawQuery| list(state, query, Stream::Contacts, "contacts").await))
        .route("/consents", get(async |state: Shared, query: RawQuery| list(state, query, Stream::Consents, "consents").await))
        .route_layer(middleware::from_fn_with_state(desk.clone(), guard))
}

async fn guard(State(desk): Shared, request: Request<Body>, next: Next) -> Result<Response, Refusal> {
    let given = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], header::HeaderValue::as_bytes);
    let token = match given.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => token,
        _ => b"",
    };
    if !same(token, TOKEN.as_bytes()) {
        return Err(Refusal::unauthorized("Bearer realm=\"practice crm\""));
    }
    desk.troubles.meet(System::Crm, desk.world.as_of().to_utc()).await?;
    Ok(next.run(request).await)
}

async fn list(State(desk): Shared, RawQuery(raw): RawQuery, stream: Stream, name: &'static str) -> Result<Response, Refusal> {
    let query = Query::read(raw, &["updated_since", "limit", "cursor"])?;
    let size = query.number("limit", 50)?;
    if size > MOST {
        return Err(Refusal::bad("bad_parameter", format!("`limit` is at most {MOST}")));
    }
    let since = query.instant("updated_since")?;
    let cursor = match query.text("cursor") {
        None => None,
        Some(text) => {
            Some(Token::read(name, text).ok_or_else(|| Refusal::bad("bad_cursor", "this cursor was not given out by this list"))?)
        }
    };
    page(desk, move |world| {
        let start = since.map_or(0, |since| world.position(stream, since));
        let at = match cursor {
            None => start,
            Some(cursor) if since.is_some() && cursor.start != start => {
                return Err(Refusal::bad("bad_cursor", "this cursor belongs to another `updated_since`"));
            }
            Some(cursor) => cursor.at,
        };
        let start = cursor.map_or(start, |cursor| cursor.start);
        let end = (at + size).min(world.count(stream));
        let rest = if end < world.count(stream) {
            format!(",\"next_cursor\":\"{}\"", Token { start, at: end, size }.write(name))
        } else {
            ",\"next_cursor\":null".to_owned()
        };
        Page::of(world, stream, "data", at..end, &rest)
    })
    .await
}
