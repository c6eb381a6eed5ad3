//! `[engine]` in the deployment's settings.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::Period;

/// `[engine]` in `config/perennial.toml`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSettings {
    /// `"2GiB"`, or a share of what the machine or its container has: `"60%"`.
    #[schemars(regex(pattern = r"^\s*([0-9]+\s*%|[0-9]+\s*([KMGT]i?)?B)\s*$"))]
    pub memory_limit: String,
    /// Where what does not fit in memory goes, relative to the project folder.
    pub spill_path: PathBuf,
    /// How much may be spilled: `"20GiB"`.
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*([KMGT]i?)?B\s*$"))]
    pub max_spill: String,
    /// Parallel partitions; 0 chooses from cores and memory.
    pub partitions: usize,
    /// How long one query may take.
    pub timeout: Period,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            memory_limit: "60%".to_owned(),
            spill_path: PathBuf::from("data/spill"),
            max_spill: "20GiB".to_owned(),
            partitions: 0,
            timeout: Period::hours(1),
        }
    }
}
