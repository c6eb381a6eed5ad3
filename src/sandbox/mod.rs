//! The practice shop: a seeded world with a known truth, served over HTTP the way real systems are.
//!
//! | file | what it decides |
//! |---|---|
//! | `life` | who arrives, orders, leaves and is erased: the process and its [`TRUTH`] |
//! | `person`, `names`, `places`, `consent` | who they are, which systems know them, what they allowed |
//! | `basket`, `catalogue`, `money`, `exchange` | what they buy and what it costs |
//! | `fate`, `rating`, `words` | what becomes of an order: delivery, refund, complaint, review |
//! | `records`, `ids` | the records of the three systems |
//! | `world` | all of it at one instant, page by page |
//! | `http` | the three APIs |
//! | `dice`, `moment` | randomness and time |

mod basket;
mod catalogue;
mod consent;
mod dice;
mod exchange;
mod fate;
mod http;
mod ids;
mod life;
mod moment;
mod money;
mod names;
mod person;
mod places;
mod rating;
pub mod records;
mod words;
mod world;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::{
    http::{Running, serve},
    life::{TRUTH, Truth},
    moment::{Date, Moment},
    money::Money,
    world::World,
};

/// `[sandbox]` in `config/perennial.toml`: how large the practice shop is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxSettings {
    /// About how many customers it has at any date.
    pub customers: u32,
    /// Which world it is; the same seed (and number of customers) is the same world.
    pub seed: u64,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self { customers: 5000, seed: 42 }
    }
}

#[cfg(test)]
mod tests;
