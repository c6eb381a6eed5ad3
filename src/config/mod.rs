//! Finds, overlays and locates settings. Each room owns its own settings struct; this room reads it from TOML and says of every error
//! in which file, on which line, and what to do.
//!
//! The deployment (`config/perennial.toml`) is overlaid by `config/<env>.toml`, then by variables `PERENNIAL__SECTION__KEY`.

mod comment;
mod folder;
mod limits;
mod parse;
mod period;
pub(crate) mod schema;
mod share;

pub use comment::comment;
pub use folder::{Folder, parse_filled};
pub use limits::{Cap, QuietHours};
pub(crate) use parse::{lines, place};
pub use parse::{locate, nearest, parse};
pub use period::Period;
pub use schema::FileKind;
pub use share::Share;

use crate::diagnosis::{Diagnose, Diagnosis, Exit};

/// A settings file that cannot be used, with its place.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub Diagnosis);

impl Diagnose for ConfigError {
    fn diagnosis(&self) -> Diagnosis {
        self.0.clone()
    }

    fn exit(&self) -> Exit {
        Exit::Wrong
    }
}
