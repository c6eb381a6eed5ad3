//! JSON over HTTP: how a source knows us (`auth.rs`), how pages follow each other (`pages.rs`), and the
//! requests themselves (`reader.rs`).

pub(crate) mod auth;
pub(crate) mod pages;
pub(crate) mod reader;
pub(crate) mod settings;
