//! `kind = "file"`: the settings of a source that lies in files.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    config::ConfigError,
    source::{
        columns::DeclaredColumns,
        settings::{Kind, OnBadValue, Spot},
    },
};

/// A source of files.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSettings {
    #[allow(dead_code)] // Read first, to know which settings to expect.
    pub(crate) kind: Kind,
    /// What is read.
    pub(crate) streams: BTreeMap<String, FileStream>,
}

/// One stream of files; every pull reads them whole.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileStream {
    /// The file or files, from the project folder: `data-in/orders-*.csv.gz`. The ending `.gz` or `.zst` says how they are packed.
    pub(crate) path: String,
    /// How they are written; unless set, the ending says it.
    pub(crate) format: Option<FileFormat>,
    /// CSV: what stands between two values.
    #[serde(default = "comma")]
    pub(crate) delimiter: char,
    /// CSV: whether the first line names the columns; else they come in the order of `columns`.
    #[serde(default = "yes")]
    pub(crate) header: bool,
    /// CSV and NDJSON: how characters are written.
    #[serde(default)]
    pub(crate) encoding: Encoding,
    /// CSV: what stands for nothing.
    #[serde(default = "empty")]
    pub(crate) null_values: Vec<String>,
    /// The columns that name a row; may be empty where the table is replaced.
    #[serde(default)]
    pub(crate) key: Vec<String>,
    /// Whether the files are the whole table or are merged into it.
    #[serde(default)]
    pub(crate) mode: Mode,
    /// CSV and NDJSON: a column that takes the line each row starts on, the header being line 1.
    pub(crate) row_number: Option<String>,
    /// A column that takes the name of the file each row stands in.
    pub(crate) file_name: Option<String>,
    /// What happens to a row that does not fit.
    #[serde(default)]
    pub(crate) on_bad_value: OnBadValue,
    /// The columns and their types.
    pub(crate) columns: DeclaredColumns,
}

fn comma() -> char {
    ','
}

fn yes() -> bool {
    true
}

fn empty() -> Vec<String> {
    vec![String::new()]
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileFormat {
    /// Values between delimiters, one row a line (more where quoted).
    Csv,
    /// One JSON object a line.
    Ndjson,
    /// Apache Parquet.
    Parquet,
}

/// How characters are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Encoding {
    /// UTF-8, with or without a byte order mark.
    #[default]
    #[serde(rename = "utf-8", alias = "utf8")]
    Utf8,
    /// ISO 8859-1.
    #[serde(rename = "latin1", alias = "iso-8859-1")]
    Latin1,
}

/// What the files are to the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// All of it.
    #[default]
    Replace,
    /// Some of it, by key.
    Merge,
}

impl FileStream {
    /// How the files are written: as set, or as their ending says.
    pub(crate) fn written(&self) -> Option<FileFormat> {
        let name = self.path.trim_end_matches('*');
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
        let ending = name.rsplit('.').next().unwrap_or_default();
        self.format.or(match ending {
            "csv" | "tsv" | "txt" => Some(FileFormat::Csv),
            "ndjson" | "jsonl" => Some(FileFormat::Ndjson),
            "parquet" => Some(FileFormat::Parquet),
            _ => None,
        })
    }

    /// What can be known to be wrong without opening a file.
    pub(crate) fn check(&self, spot: &Spot<'_>) -> Result<(), ConfigError> {
        let Some(format) = self.written() else {
            let message = format!("the ending of `{}` does not say how the files are written", self.path);
            let hint = "add `format = \"csv\"`, `\"ndjson\"` or `\"parquet\"`".to_owned();
            return Err(spot.wrong(&["path"], "bad_value", message, Some(hint)));
        };
        if let Err(error) = glob::Pattern::new(&self.path) {
            return Err(spot.wrong(&["path"], "bad_value", format!("the pattern `{}` cannot be read: {error}", self.path), None));
        }
        if !self.delimiter.is_ascii() {
            return Err(spot.wrong(
                &["delimiter"],
                "bad_value",
                format!("the delimiter `{}` is not a plain character", self.delimiter),
                None,
            ));
        }
        if format == FileFormat::Parquet && self.row_number.is_some() {
            return Err(spot.wrong(&["row_number"], "bad_value", "a Parquet file has no lines to number".to_owned(), None));
        }
        Ok(())
    }
}
