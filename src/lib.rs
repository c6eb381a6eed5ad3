//! `perennial` finds the customers who are drifting away and the ones who deserve thanks, writes each of them a message worth
//! getting, lets a person review it, and sends it exactly once.
//!
//! The data goes one way, room by room:
//!
//! ```text
//! source ──pull──▶ lake ──build──▶ model ──plan──▶ campaign ──approve──▶ delivery ──▶ ledger
//! ```

pub mod campaign;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod diagnosis;
pub mod engine;
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
