//! Providers tell what became of messages. Whatever they get for an answer says only whether to call again.

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};

use super::Shared;
use crate::delivery::Heard;

/// The longest call; providers send some hundred events at once.
pub(super) const LONGEST: usize = 4 << 20;

/// A provider's call.
pub(super) async fn hear(State(shared): State<Shared>, Path(name): Path<String>, headers: HeaderMap, body: Bytes) -> StatusCode {
    match shared.house.providers.hear(&name, &headers, &body).await {
        Heard::Taken => StatusCode::OK,
        Heard::Stranger => StatusCode::NOT_FOUND,
        // Mailgun tries everything again but 200 and 406.
        Heard::Refused => StatusCode::NOT_ACCEPTABLE,
        Heard::Later => StatusCode::SERVICE_UNAVAILABLE,
    }
}
