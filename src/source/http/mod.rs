//! JSON over HTTP.
//!
//! | file | what it answers |
//! |---|---|
//! | `settings.rs` | what may be set |
//! | `auth.rs`, `token.rs` | how a source knows us, and where tokens come from |
//! | `pages.rs` | how one page leads to the next |
//! | `placeholders.rs` | where bounds and tokens stand in a request |
//! | `pace.rs` | how often a source may be asked |
//! | `reader.rs` | the requests themselves |
//! | `write_back.rs` | calls that tell a system what happened here |

pub(crate) mod auth;
mod pace;
pub(crate) mod pages;
mod placeholders;
pub(crate) mod reader;
pub(crate) mod settings;
pub(crate) mod token;
pub(crate) mod write_back;
