//! Which job is due: every slot once, in the job's own time zone, also across the nights the clocks change.
//!
//! `tokio-cron-scheduler` only wakes; the slots are computed here from the pattern and a zone database and claimed in the ledger, where
//! a second claim of one slot is refused. So a late, doubled or forgotten tick of the waker can neither lose a slot nor run it twice.

mod slots;
mod waker;

pub use slots::{CatchUp, Due, Schedule, ScheduleError};
pub use waker::Waker;
