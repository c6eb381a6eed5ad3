//! `perennial` finds the customers who are drifting away and the ones who deserve thanks, writes each of them a message worth
//! getting, lets a person review it, and sends it exactly once.
//!
//! The data goes one way, room by room:
//!
//! ```text
//! source ──pull──▶ lake ──build──▶ model ──plan──▶ campaign ──approve──▶ delivery ──▶ ledger
//! ```
//!
//! Imports point down this list, never up:
//!
//! | room | its promise |
//! |---|---|
//! | [`cli`] | one small file a command; arguments in, exit code out |
//! | [`schedule`], [`job`] | which job is due, once per slot; a job's steps in order |
//! | [`server`] | unsubscribe links, health, measures over HTTP |
//! | [`project`] | the project folder as a whole: opened, checked, described, begun |
//! | [`report`] | numbers for people, with what they rest on |
//! | [`campaign`] | segment rows pass the gates and become a frozen plan |
//! | [`delivery`] | a finished message goes out, under the send law |
//! | [`model`] | SQL files become a graph, the graph becomes tables |
//! | [`sandbox`] | the practice shop |
//! | [`source`] | pages of what a shop knows become rows, under the pull law |
//! | [`engine`] | the one SQL runtime |
//! | [`message`] | a template and a row become a finished message |
//! | [`lake`], [`ledger`] | tables of Parquet; what was promised, tried and done |
//! | [`config`], [`diagnosis`], [`clock`], [`secret`] | settings with their lines, words for what is wrong, time, keys |
//! | `faults` | where tests let a process fail |
//! | `fuzzing` | doors for the fuzz targets |

pub mod campaign;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod diagnosis;
pub mod engine;
mod faults;
#[doc(hidden)]
pub mod fuzzing;
pub mod job;
pub mod lake;
pub mod ledger;
pub mod message;
pub mod model;
pub mod project;
pub mod report;
pub mod sandbox;
pub mod schedule;
pub mod secret;
pub mod server;
pub mod source;
