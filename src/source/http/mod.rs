//! JSON over HTTP.
//!
//! | file | what it answers |
//! |---|---|
//! | `settings.rs` | what may be set |
//! | `auth.rs`, `token.rs`, `assertion.rs` | how a source knows us, and where tokens come from |
//! | `pages.rs` | how one page leads to the next |
//! | `listing.rs` | what an answer lists |
//! | `job.rs` | results that are prepared first and read when they are ready |
//! | `placeholders.rs` | where bounds and tokens stand in a request |
//! | `pace.rs`, `budget.rs` | how often a source may be asked, and how much in one run |
//! | `reader.rs` | the requests themselves |
//! | `write_back.rs` | calls that tell a system what happened here |

pub(crate) mod assertion;
pub(crate) mod auth;
pub(crate) mod budget;
pub(crate) mod job;
#[cfg(test)]
mod job_tests;
mod listing;
pub(crate) mod pace;
pub(crate) mod pages;
mod placeholders;
pub(crate) mod reader;
pub(crate) mod settings;
#[cfg(test)]
mod tests;
pub(crate) mod token;
pub(crate) mod write_back;
