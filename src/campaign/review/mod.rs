//! The page marketing reads before it approves: one file, no network, usable without scripts.

mod choose;
mod page;

pub(super) use choose::choose;
pub(crate) use page::grouped;
pub(super) use page::{Changes, Page, Sample, names, people, write};
