//! `[lake]` in the deployment's settings.

use std::path::PathBuf;

use serde::Deserialize;

/// `[lake]` in `config/perennial.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LakeSettings {
    /// The folder of the tables, relative to the project folder.
    pub path: PathBuf,
    /// How long old versions are kept for `tidy`.
    pub keep_days: u32,
    /// Whether this project may write to the lake at all.
    pub read_only: bool,
}

impl Default for LakeSettings {
    fn default() -> Self {
        Self { path: PathBuf::from("data/lake"), keep_days: 30, read_only: false }
    }
}
