//! `config/perennial.toml` as a whole: one struct, one section a room.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    config::{FileKind, schema},
    delivery::DeliverySettings,
    engine::EngineSettings,
    lake::LakeSettings,
    ledger::LedgerSettings,
    message::Brand,
    sandbox::SandboxSettings,
    secret::SecretRef,
    server::ServerSettings,
};

/// The TOML files a deployment is written in.
pub const DEPLOYMENT_FILE: FileKind = FileKind::of::<Deployment>(
    "perennial",
    "config/perennial.toml, config/<env>.toml",
    "The deployment. The file of an environment is laid over `config/perennial.toml`, and variables over both, so that no one file has to \
     say everything: `perennial check` tells what is missing.",
)
.with_schema(layer);

/// The deployment's schema, but that nothing has to be there: another layer may say it.
fn layer() -> Value {
    let mut document = schema::document::<Deployment>();
    schema::without_required(&mut document);
    if let Some(Value::Object(definitions)) = document.get_mut("definitions") {
        definitions.values_mut().for_each(schema::without_required);
    }
    document
}

/// The deployment: what `config/perennial.toml`, the overlay of the environment and the variables say together.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// The key all others are derived from.
    pub master: SecretRef,
}

/// `[review]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
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
