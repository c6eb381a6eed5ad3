//! Stopping takes one click and is confirmed in one sentence.

use axum::{
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use minijinja::{Environment, context};

use super::Shared;
use crate::delivery::{Claim, Token};

const PAGE: &str = include_str!("unsubscribe.html");

/// The page behind the link in a mail. It changes nothing.
pub(super) async fn page(State(shared): State<Shared>, Path(token): Path<String>) -> Response {
    match claim(&shared, &token) {
        Some(_) => render(&shared, StatusCode::OK, "ask"),
        None => render(&shared, StatusCode::NOT_FOUND, "unknown"),
    }
}

/// The button on the page, and the mail program's own.
pub(super) async fn opt_out(State(shared): State<Shared>, Path(token): Path<String>) -> Response {
    let Some(claim) = claim(&shared, &token) else { return render(&shared, StatusCode::NOT_FOUND, "unknown") };
    match shared.house.ledger.opt_out(&claim, shared.house.clock.now()).await {
        Ok(_) => {
            tracing::info!(customer = %claim.customer_id, campaign = %claim.campaign, "opted out");
            metrics::counter!("perennial_opt_outs_total").increment(1);
            render(&shared, StatusCode::OK, "done")
        }
        Err(error) => {
            tracing::error!(%error, "an opt-out could not be written");
            render(&shared, StatusCode::SERVICE_UNAVAILABLE, "failed")
        }
    }
}

fn claim(shared: &Shared, token: &str) -> Option<Claim> {
    Token::verify(&shared.house.keys, token)
}

fn render(shared: &Shared, status: StatusCode, state: &str) -> Response {
    let house = &shared.house;
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::Html);
    let values = context! { brand => &house.brand.name, color => &house.brand.color, practice => house.practice, state };
    match environment.render_str(PAGE, values) {
        Ok(html) => (
            status,
            [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CACHE_CONTROL, "no-store"),
                (header::REFERRER_POLICY, "no-referrer"),
                (
                    header::CONTENT_SECURITY_POLICY,
                    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
                ),
            ],
            html,
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "the unsubscribe page cannot be drawn");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
