//! Files in the project folder: CSV, NDJSON and Parquet, one or many, packed or not.

pub(crate) mod reader;
pub(crate) mod settings;
