//! Files: CSV, NDJSON, JSON, Parquet and Delta tables, one or many, packed or not, in the project folder, in a bucket or at an address.
//!
//! | file | what it answers |
//! |---|---|
//! | `settings.rs`, `store.rs` | what the settings may say of files, and of the stores they lie in |
//! | `place.rs` | where a `path` points to |
//! | `remote.rs` | files elsewhere: listed, fetched, and what to do where that fails |
//! | `reader.rs` | which files are due, and their rows as pages |
//! | `delta.rs` | one version of a Delta table |
//! | `encoding.rs` | other ways of writing characters, as UTF-8 |
//! | `list.rs` | the rows of one JSON document, one by one |

mod delta;
mod encoding;
mod list;
mod place;
pub(crate) mod reader;
mod remote;
pub(crate) mod settings;
pub(crate) mod store;
#[cfg(test)]
mod tests;
