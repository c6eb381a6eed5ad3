//! What answers over HTTP: the unsubscribe page, review pages, health and measures. It decides nothing.
//!
//! | path | what it answers |
//! |---|---|
//! | `GET /health` | 200 and `{"ok":true}` while the ledger answers, else 503 |
//! | `GET /metrics` | counters in Prometheus' text format |
//! | `GET /u/<token>` | a page to stop letters, or to get fewer; changes nothing, since mail scanners follow links |
//! | `POST /u/<token>` | does what the page's form says; without one opts the person out (RFC 8058 one-click: no cookie, no login, no redirect) |
//! | `POST /returns/<name>` | takes in what a provider tells of bounces and complaints, if it proves who it is |

mod returns;
mod unsubscribe;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::SharedClock,
    config::Period,
    delivery::Providers,
    diagnosis::{Diagnosis, Failure},
    ledger::Ledger,
    message::Brand,
    secret::Keys,
};

/// `[server]` in `config/perennial.toml`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSettings {
    /// Where `perennial serve` listens.
    pub address: SocketAddr,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 8080)) }
    }
}

/// The longest form a page of ours sends.
const LONGEST_FORM: usize = 4 << 10;

/// What the pages need.
#[derive(Debug, Clone)]
pub struct House {
    /// Where opt-outs are written.
    pub ledger: Ledger,
    /// What tokens are checked with.
    pub keys: Keys,
    /// Whose pages these are.
    pub brand: Brand,
    /// The peace of people who ask for fewer letters.
    pub fewer: Period,
    /// When an opt-out came.
    pub clock: SharedClock,
    /// Who may tell what came back.
    pub providers: Arc<Providers>,
    /// Whether the pages must say PRACTICE DATA.
    pub practice: bool,
}

#[derive(Clone)]
struct Shared {
    house: Arc<House>,
    metrics: PrometheusHandle,
}

/// Starts counting, for `/metrics`. A process that already counts keeps doing so.
fn recorder() -> PrometheusHandle {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::debug!("measures are already being counted elsewhere in this process");
    }
    handle
}

/// Binds `address`.
///
/// # Errors
/// Where the address is taken or not allowed.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(
            Diagnosis::new("listen", format!("cannot listen on {address}: {error}"))
                .hint("another program may be using the address; set another in `[server] address`"),
        )
    })
}

/// Answers until `stop` is called, then finishes the requests under way.
///
/// # Errors
/// Where the listener fails.
pub async fn serve(listener: TcpListener, house: House, stop: CancellationToken) -> std::io::Result<()> {
    let shared = Shared { house: Arc::new(house), metrics: recorder() };
    let router = Router::new()
        .route("/health", get(health))
        .route("/metrics", get(measures))
        .route("/u/{token}", get(unsubscribe::page).post(unsubscribe::choose).layer(DefaultBodyLimit::max(LONGEST_FORM)))
        .route("/returns/{name}", post(returns::hear).layer(DefaultBodyLimit::max(returns::LONGEST)))
        .with_state(shared);
    axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await }).await
}

async fn health(State(shared): State<Shared>) -> impl IntoResponse {
    match shared.house.ledger.ping().await {
        Ok(()) => (StatusCode::OK, Json(serde_json::json!({ "ok": true }))),
        Err(error) => {
            tracing::error!(%error, "the ledger does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, Json(serde_json::json!({ "ok": false, "reason": "the ledger does not answer" })))
        }
    }
}

async fn measures(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], shared.metrics.render())
}
