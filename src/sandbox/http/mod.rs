//! The three systems over HTTP, on loopback: the CRM below `/crm`, the shop below `/shop`, the help desk below `/helpdesk`.
//! They page, refuse and stumble as real APIs do; `manners` has the rules they share.

mod crm;
mod front;
mod helpdesk;
mod manners;
mod query;
mod shop;

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::{Router, body::Body, extract::State, http::Request, middleware, response::Response};
use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::manners::{Refusal, Troubles, json};
use super::{SandboxSettings, World, records::Stream};

/// A practice shop that answers on loopback until it is dropped.
#[derive(Debug)]
pub struct Running {
    /// `http://127.0.0.1:<port>`; the systems stand below it at `/crm`, `/shop` and `/helpdesk`.
    pub url: Url,
    desk: Arc<Desk>,
    stop: CancellationToken,
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Desk { world, settings, .. } = &*self.desk;
        write!(
            f,
            "practice shop at {} as of {}: about {} customers, seed {} (PRACTICE DATA)",
            self.url,
            world.as_of(),
            settings.customers,
            settings.seed
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What every answer is made from.
#[derive(Debug)]
struct Desk {
    settings: SandboxSettings,
    world: World,
    troubles: Troubles,
}

/// The desk, as handlers share it.
type Shared = State<Arc<Desk>>;

/// Serves the shop as it stands at `as_of`, on `address` (port 0 chooses a free one). Requests under way when it is dropped are
/// answered to their end.
///
/// # Errors
/// Where the address is not on loopback, or cannot be bound.
pub async fn serve(settings: &SandboxSettings, as_of: DateTime<Utc>, address: SocketAddr) -> std::io::Result<Running> {
    if !address.ip().is_loopback() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "the practice shop answers on loopback only, such as 127.0.0.1:0",
        ));
    }
    let listener = TcpListener::bind(address).await?;
    let local = listener.local_addr()?;
    let url = Url::parse(&format!("http://{local}")).map_err(std::io::Error::other)?;
    let desk = Arc::new(Desk { settings: settings.clone(), world: World::new(settings, as_of), troubles: Troubles::default() });
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let app = router(desk.clone());
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
            tracing::error!(%error, "the practice shop stopped");
        }
    });
    tracing::debug!(%url, customers = settings.customers, "the practice shop is open");
    Ok(Running { url, desk, stop })
}

fn router(desk: Arc<Desk>) -> Router {
    let app = Router::new()
        .route("/", axum::routing::get(front::page))
        .nest("/crm", crm::router(&desk))
        .nest("/shop", shop::router(&desk))
        .nest("/helpdesk", helpdesk::router(&desk))
        .fallback(async || Refusal::not_found())
        .method_not_allowed_fallback(async || Refusal::not_allowed());
    app.layer(middleware::from_fn_with_state(desk.clone(), stamp)).with_state(desk)
}

/// Every answer says that it is practice, and carries the shop's own time, which stands still.
async fn stamp(State(desk): Shared, request: Request<Body>, next: middleware::Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert("x-practice-data", axum::http::HeaderValue::from_static("PRACTICE DATA"));
    if let Ok(date) = manners::http_date(desk.world.as_of().to_utc()).parse() {
        headers.insert(axum::http::header::DATE, date);
    }
    response
}

/// Makes one page in the background, because it is computed when it is asked for: what `make` returns, as JSON.
async fn page<F>(desk: Arc<Desk>, make: F) -> Result<Response, Refusal>
where
    F: FnOnce(&World) -> Result<Page, Refusal> + Send + 'static,
{
    let made = tokio::task::spawn_blocking(move || make(&desk.world)).await;
    made.map_err(|_| Refusal::broken())?.map(|page| json(page.body, page.link))
}

/// A page on its way out.
struct Page {
    body: Vec<u8>,
    /// The `Link` header, where there is one.
    link: Option<String>,
}

impl Page {
    /// `{"<name>":[…records…]<rest>}`; `rest` begins with a comma or is empty.
    fn of(world: &World, stream: Stream, name: &str, range: std::ops::Range<usize>, rest: &str) -> Result<Self, Refusal> {
        let mut body = format!("{{\"{name}\":").into_bytes();
        serde_json::to_writer(&mut body, &world.page(stream, range)).map_err(|_| Refusal::broken())?;
        body.extend_from_slice(rest.as_bytes());
        body.push(b'}');
        Ok(Self { body, link: None })
    }
}

#[cfg(test)]
mod tests;
