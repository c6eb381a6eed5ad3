//! `config/perennial.toml` as a whole: one struct, one section a room.

use serde::Deserialize;

use crate::{
    delivery::DeliverySettings, engine::EngineSettings, lake::LakeSettings, ledger::LedgerSettings, message::Brand,
    sandbox::SandboxSettings, secret::SecretRef, server::ServerSettings,
};

/// The deployment: what `config/perennial.toml`, the overlay of the environment and the variables say together.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Who writes.
    pub brand: Brand,
    /// Where the tables stand.
    #[serde(default)]
    pub lake: LakeSettings,
    /// Where promises and outcomes stand.
    #[serde(default)]
    pub ledger: LedgerSettings,
    /// How much memory and time SQL may take.
    #[serde(default)]
    pub engine: EngineSettings,
    /// The master key.
    pub keys: KeySettings,
    /// How messages leave the house.
    #[serde(default)]
    pub delivery: DeliverySettings,
    /// What reviewers see.
    #[serde(default)]
    pub review: ReviewSettings,
    /// The address of `perennial serve`.
    #[serde(default)]
    pub server: ServerSettings,
    /// The practice shop, where a source asks for it.
    #[serde(default)]
    pub sandbox: SandboxSettings,
}

/// `[keys]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// The key all others are derived from.
    pub master: SecretRef,
}

/// `[review]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReviewSettings {
    /// How many days plans that are over, and outbox files, are kept before `tidy` removes them.
    pub keep_days: u32,
}

impl Default for ReviewSettings {
    fn default() -> Self {
        Self { keep_days: 90 }
    }
}
