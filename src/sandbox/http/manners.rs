//! What the three systems have in common: they want a token, they refuse politely, and now and then they are too busy, down or slow.
//!
//! Trouble comes by the count of a system's requests, so that the same run meets the same trouble: of three hundred requests the 7th takes
//! 200 ms and the 13th is turned away for a second, by the CRM and the help desk with 429, by the shop with 503; after a thousand requests
//! it is one in a thousand. The first pull of a small shop meets each once and loses some three seconds in all.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::{
    Json,
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

/// The token of all three systems.
pub(super) const TOKEN: &str = "practice-token";
/// The name the help desk wants beside it.
pub(super) const USER: &str = "practice";

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    header: Option<(header::HeaderName, String)>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), header: None }
    }

    /// 401
    pub(super) fn unauthorized(challenge: &'static str) -> Self {
        let refusal = Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "the token is missing or wrong");
        Self { header: Some((header::WWW_AUTHENTICATE, challenge.to_owned())), ..refusal }
    }

    /// 400
    pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404
    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here; the page at / says what there is")
    }

    /// 405
    pub(super) fn not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the practice shop can only be read")
    }

    /// 429
    fn too_many(wait: String) -> Self {
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests; wait as long as Retry-After says");
        Self { header: Some((header::RETRY_AFTER, wait)), ..refusal }
    }

    /// 503
    fn down() -> Self {
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "back in a moment");
        Self { header: Some((header::RETRY_AFTER, "1".to_owned())), ..refusal }
    }

    /// 500
    pub(super) fn broken() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the practice shop could not make this page")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": { "code": self.code, "message": self.message } }))).into_response();
        if let Some((name, value)) = self.header
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// 200 with a JSON body that is already written.
pub(super) fn json(body: Vec<u8>, link: Option<String>) -> Response {
    let mut response = Body::from(body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// One of the systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    Crm,
    Shop,
    HelpDesk,
}

impl System {
    /// How a client is told to wait a second: as seconds, or as the time by the system's own clock (RFC 9110, section 10.2.3).
    fn patience(self, now: DateTime<Utc>) -> String {
        match self {
            Self::Crm | Self::Shop => "1".to_owned(),
            Self::HelpDesk => http_date(now + TimeDelta::seconds(1)),
        }
    }
}

/// An instant as headers write it (RFC 9110, section 5.6.7).
pub(super) fn http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// How many requests each system has had.
#[derive(Debug, Default)]
pub(super) struct Troubles([AtomicU64; 3]);

/// What a request meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Busy,
    Down,
    Slow,
}

impl Troubles {
    /// Counts a request, and waits or refuses where its turn has come.
    pub(super) async fn meet(&self, system: System, now: DateTime<Utc>) -> Result<(), Refusal> {
        let count = self.0[system as usize].fetch_add(1, Ordering::Relaxed) + 1;
        match trouble(system, count) {
            Some(Trouble::Busy) => Err(Refusal::too_many(system.patience(now))),
            Some(Trouble::Down) => Err(Refusal::down()),
            Some(Trouble::Slow) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// What the so-manieth request of a system meets. Two refusals never follow each other, so that one retry is always enough.
fn trouble(system: System, count: u64) -> Option<Trouble> {
    let in_turn = if count < 1000 { count % 300 } else { count % 1009 };
    match (in_turn, system) {
        (7, _) => Some(Trouble::Slow),
        (13, System::Crm | System::HelpDesk) => Some(Trouble::Busy),
        (13, System::Shop) => Some(Trouble::Down),
        _ => None,
    }
}

/// Compares without telling by the time it takes how much was right.
pub(super) fn same(given: &[u8], expected: &[u8]) -> bool {
    use subtle::ConstantTimeEq;
    given.ct_eq(expected).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_retry_is_always_enough_and_trouble_becomes_rare() {
        for system in [System::Crm, System::Shop, System::HelpDesk] {
            let refused = |count| matches!(trouble(system, count), Some(Trouble::Busy | Trouble::Down));
            assert!((1..20_000).all(|count| !(refused(count) && refused(count + 1))));
            assert_eq!((1..1000).filter(|count| refused(*count)).count(), 4);
            assert!((1000..11_000).filter(|count| refused(*count)).count() <= 10);
        }
    }
}
