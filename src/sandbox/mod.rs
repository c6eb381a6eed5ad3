//! The practice shop: a seeded world with a known truth, served over HTTP the way real systems are.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use url::Url;

/// `[sandbox]` in `config/perennial.toml`: how large the practice shop is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxSettings {
    /// How many customers it has at any date.
    pub customers: u32,
    /// Which world it is; the same seed is the same world.
    pub seed: u64,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self { customers: 5000, seed: 42 }
    }
}

/// A practice shop that answers on loopback until it is dropped.
#[derive(Debug)]
pub struct Running {
    /// `http://127.0.0.1:<port>`; the systems stand below it at `/crm`, `/shop` and `/helpdesk`.
    pub url: Url,
}

/// Serves the shop as it stands at `as_of`, on `address` (port 0 chooses a free one).
///
/// # Errors
/// Where the address cannot be bound.
#[allow(unused_variables, clippy::unimplemented)]
pub async fn serve(settings: &SandboxSettings, as_of: DateTime<Utc>, address: std::net::SocketAddr) -> std::io::Result<Running> {
    unimplemented!()
}
