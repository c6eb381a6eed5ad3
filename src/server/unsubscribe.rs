//! Stopping takes one click and is confirmed in one sentence. Short of that a person may ask for fewer letters, or for none of this kind.
//!
//! | the form says | what follows |
//! |---|---|
//! | `choice=kind` | no more letters of the campaign the link came with |
//! | `choice=fewer` | letters less often |
//! | `choice=all`, or nothing of the kind, such as a mail program's `List-Unsubscribe=One-Click` | no more letters |

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use minijinja::{Environment, context};

use super::Shared;
use crate::{
    delivery::{Claim, Token},
    ledger::Wish,
};

const PAGE: &str = include_str!("unsubscribe.html");

/// The page behind the link in a mail. It changes nothing.
pub(super) async fn page(State(shared): State<Shared>, Path(token): Path<String>) -> Response {
    match claim(&shared, &token) {
        Some(_) => render(&shared, StatusCode::OK, "ask"),
        None => render(&shared, StatusCode::NOT_FOUND, "unknown"),
    }
}

/// The buttons on the page, and the mail program's own.
pub(super) async fn choose(State(shared): State<Shared>, Path(token): Path<String>, body: Bytes) -> Response {
    let Some(claim) = claim(&shared, &token) else { return render(&shared, StatusCode::NOT_FOUND, "unknown") };
    let (ledger, now) = (&shared.house.ledger, shared.house.clock.now());
    let choice = Choice::read(&body);
    let written = match choice {
        Choice::Kind => ledger.wish(&claim, Wish::Without, now).await,
        Choice::Fewer => ledger.wish(&claim, Wish::Fewer, now).await,
        Choice::All => ledger.opt_out(&claim, now).await,
    };
    match written {
        Ok(_) => {
            tracing::info!(customer = %claim.customer_id, campaign = %claim.campaign, ?choice, "a person chose what they get");
            if choice == Choice::All {
                metrics::counter!("perennial_opt_outs_total").increment(1);
            } else {
                metrics::counter!("perennial_wishes_total", "wish" => choice.state()).increment(1);
            }
            render(&shared, StatusCode::OK, choice.state())
        }
        Err(error) => {
            tracing::error!(%error, "what a person chose could not be written");
            render(&shared, StatusCode::SERVICE_UNAVAILABLE, "failed")
        }
    }
}

/// What a person chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// No more letters of this kind.
    Kind,
    /// Letters less often.
    Fewer,
    /// No more letters.
    All,
}

impl Choice {
    /// What a form says. Whatever is not understood stops all letters: that is what a mail program's button asks for.
    fn read(form: &[u8]) -> Self {
        match url::form_urlencoded::parse(form).find(|(name, _)| name == "choice").map(|(_, choice)| choice).as_deref() {
            Some("kind") => Self::Kind,
            Some("fewer") => Self::Fewer,
            _ => Self::All,
        }
    }

    /// What the page says afterwards.
    fn state(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Fewer => "fewer",
            Self::All => "done",
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
    let values = context! {
        brand => &house.brand.name, color => &house.brand.color, ink => house.brand.ink(), practice => house.practice, state,
        days => house.fewer.delta().num_days().max(1),
    };
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
