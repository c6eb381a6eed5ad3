//! `kind = "file"`: the settings of a source that lies in files.

use std::collections::BTreeMap;

use schemars::{JsonSchema, r#gen::SchemaGenerator, schema::Schema};
use serde::{Deserialize, Serialize};

use super::place::{Place, is_exact};
use crate::{
    config::{ConfigError, schema},
    lake::store::StoreSettings,
    source::{
        columns::DeclaredColumns,
        deletes::Deletes,
        retry::Retry,
        settings::{Kind, OnBadValue, Spot},
    },
};

/// A source of files.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSettings {
    /// What it is.
    #[allow(dead_code)] // Read first, to know which settings to expect.
    pub(crate) kind: Kind,
    /// How buckets and addresses know us.
    #[serde(default)]
    pub(crate) store: StoreSettings,
    /// How patient we are with them.
    #[serde(default)]
    pub(crate) retry: Retry,
    /// What is read.
    pub(crate) streams: BTreeMap<String, FileStream>,
}

/// One stream of files; unless told otherwise, every pull reads them whole.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileStream {
    /// The file or files, from the project folder: `data-in/orders-*.csv.gz`; or in a bucket: `s3://shop/orders/*.csv`, `gs://…`, `az://…`;
    /// or one at an address: `https://…`. The ending `.gz` or `.zst` says how they are packed.
    pub(crate) path: String,
    /// How they are written; unless set, the ending says it.
    pub(crate) format: Option<FileFormat>,
    /// CSV: what stands between two values; unless set, a comma, in `.tsv` files a tab.
    pub(crate) delimiter: Option<char>,
    /// CSV: what stands around values that hold a delimiter or a line break; empty: nothing does.
    #[serde(default = "double_quote")]
    pub(crate) quote: String,
    /// CSV: whether the first line names the columns; else they come in the order of `columns`.
    #[serde(default = "yes")]
    pub(crate) header: bool,
    /// JSON: the dotted path to the list of rows; empty where the file is the list itself.
    #[serde(default)]
    pub(crate) rows: String,
    /// CSV, NDJSON and JSON: how characters are written.
    #[serde(default)]
    #[schemars(schema_with = "encodings")]
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
    /// Whether files that an earlier pull took in are left alone until they change.
    #[serde(default)]
    pub(crate) new_files_only: bool,
    /// A column that takes the line each row starts on, the header being line 1; in JSON its place in the list.
    pub(crate) row_number: Option<String>,
    /// A column that takes the name of the file each row stands in.
    pub(crate) file_name: Option<String>,
    /// How deleted rows are seen.
    #[serde(default)]
    pub(crate) deletes: Deletes,
    /// What happens to a row that does not fit.
    #[serde(default)]
    pub(crate) on_bad_value: OnBadValue,
    /// Whether fields that are not declared are kept, in `_extra`.
    #[serde(default)]
    pub(crate) extra: bool,
    /// The columns and their types.
    pub(crate) columns: DeclaredColumns,
}

fn double_quote() -> String {
    "\"".to_owned()
}

fn yes() -> bool {
    true
}

fn empty() -> Vec<String> {
    vec![String::new()]
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileFormat {
    /// Values between delimiters, one row a line (more where quoted).
    Csv,
    /// One JSON object a line.
    Ndjson,
    /// One JSON document that holds a list of objects.
    Json,
    /// Apache Parquet.
    Parquet,
    /// A Delta table: the folder that holds its `_delta_log`.
    Delta,
}

/// How characters are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Encoding {
    /// UTF-8, with or without a byte order mark.
    #[default]
    #[serde(rename = "utf-8", alias = "utf8")]
    Utf8,
    /// ISO 8859-1.
    #[serde(rename = "latin1", alias = "iso-8859-1")]
    Latin1,
    /// What Windows programs in western Europe write: as ISO 8859-1, with `€` and curly quotes.
    #[serde(rename = "windows-1252", alias = "cp1252")]
    Windows1252,
    /// UTF-16; a byte order mark says which, and little endian is meant where there is none.
    #[serde(rename = "utf-16", alias = "utf16")]
    Utf16,
}

/// The encodings by all of their names.
fn encodings(generator: &mut SchemaGenerator) -> Schema {
    let others = schema::words(&["utf8", "iso-8859-1", "cp1252", "utf16"], "Other names of these.");
    schema::any_of(vec![generator.subschema_for::<Encoding>(), others], "")
}

/// What the files are to the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// All of it.
    #[default]
    Replace,
    /// Some of it, by key.
    Merge,
}

/// The path, where it names one folder.
fn place_of_table<'a>(place: &'a Place, path: &'a str) -> Option<&'a str> {
    let path = match place {
        Place::Folder => path,
        Place::Bucket { key, .. } => key,
        Place::Web(_) => return None,
    };
    Some(path).filter(|path| is_exact(path))
}

impl FileStream {
    /// The name of the file or files without what packs them: its ending says how they are written.
    fn unpacked(&self) -> String {
        let name = Place::of(&self.path).map_or_else(|_| self.path.clone(), |place| place.name(&self.path));
        let name = name.trim_end_matches('*');
        name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name).to_owned()
    }

    /// How the files are written: as set, or as their ending says.
    pub(crate) fn written(&self) -> Option<FileFormat> {
        self.format.or(match self.unpacked().rsplit('.').next().unwrap_or_default() {
            "csv" | "tsv" | "txt" => Some(FileFormat::Csv),
            "ndjson" | "jsonl" => Some(FileFormat::Ndjson),
            "json" => Some(FileFormat::Json),
            "parquet" => Some(FileFormat::Parquet),
            _ => None,
        })
    }

    /// What stands between two values.
    pub(crate) fn delimiter(&self) -> char {
        self.delimiter.unwrap_or(if self.unpacked().ends_with(".tsv") { '\t' } else { ',' })
    }

    /// What besides the path, the key and the columns decides which rows a file gives.
    pub(crate) fn reading(&self) -> String {
        let Self { format, delimiter, quote, header, rows, encoding, null_values, row_number, file_name, .. } = self;
        format!("{format:?}{delimiter:?}{quote:?}{header}{rows:?}{encoding:?}{null_values:?}{row_number:?}{file_name:?}")
    }

    /// What can be known to be wrong without opening a file.
    pub(crate) fn check(&self, spot: &Spot<'_>) -> Result<(), ConfigError> {
        let wrong = |place: &str, message: String| Err(spot.wrong(&[place], "bad_value", message, None));
        let place = Place::of(&self.path).map_err(|(message, hint)| spot.wrong(&["path"], "bad_value", message, Some(hint)))?;
        let Some(format) = self.written() else {
            let message = format!("the ending of `{}` does not say how the files are written", place.name(&self.path));
            let hint = "add `format = \"csv\"`, `\"ndjson\"`, `\"json\"`, `\"parquet\"` or `\"delta\"`".to_owned();
            return Err(spot.wrong(&["path"], "bad_value", message, Some(hint)));
        };
        let pattern = match &place {
            Place::Folder => Some(&self.path),
            Place::Bucket { key, .. } => Some(key),
            Place::Web(_) => None,
        };
        if let Some(pattern) = pattern.filter(|pattern| !is_exact(pattern))
            && let Err(error) = glob::Pattern::new(pattern)
        {
            return wrong("path", format!("the pattern `{pattern}` cannot be read: {error}"));
        }
        if format == FileFormat::Delta {
            if place_of_table(&place, &self.path).is_none() {
                let message = format!("`{}` is no folder of a Delta table", place.name(&self.path));
                let hint = "write the folder that holds its `_delta_log`: data-in/orders or s3://bucket/orders".to_owned();
                return Err(spot.wrong(&["path"], "bad_value", message, Some(hint)));
            }
            if self.file_name.is_some() {
                return wrong("file_name", "which file of a Delta table a row stands in says nothing".to_owned());
            }
        }
        if !self.delimiter().is_ascii() {
            return wrong("delimiter", format!("the delimiter `{}` is not a plain character", self.delimiter()));
        }
        if self.quote.len() > 1 || !self.quote.is_ascii() {
            return wrong("quote", format!("the quote `{}` is not one plain character", self.quote));
        }
        let binary = matches!(format, FileFormat::Parquet | FileFormat::Delta);
        if binary && self.row_number.is_some() {
            return wrong("row_number", "a Parquet file has no lines to number".to_owned());
        }
        if binary && self.encoding != Encoding::Utf8 {
            return wrong("encoding", "a Parquet file says itself how its characters are written".to_owned());
        }
        if format != FileFormat::Json && !self.rows.is_empty() {
            return wrong("rows", "only in JSON documents is there a path to the rows".to_owned());
        }
        if self.new_files_only && self.mode == Mode::Replace {
            let message = "new files alone are not the whole table, which they would replace".to_owned();
            let hint = "set `mode = \"merge\"` and a `key`".to_owned();
            return Err(spot.wrong(&["new_files_only"], "bad_value", message, Some(hint)));
        }
        if self.extra && (binary || format == FileFormat::Csv && !self.header) {
            let message = "fields that are not declared can be kept where each has a name of its own: in JSON, and in CSV with a header";
            return wrong("extra", message.to_owned());
        }
        if binary && self.on_bad_value == OnBadValue::Widen {
            return wrong(
                "on_bad_value",
                "Parquet files and Delta tables have types of their own; widen the column's type under `columns`".to_owned(),
            );
        }
        if self.deletes.any() && self.mode == Mode::Replace {
            let message = "the files are the whole table: what is not in them is not in it, and nothing is marked".to_owned();
            return Err(spot.wrong(&["deletes"], "bad_value", message, Some("remove it, or set `mode = \"merge\"`".to_owned())));
        }
        if self.deletes.reconciles() && self.new_files_only {
            return wrong("deletes", "new files alone do not say what is gone".to_owned());
        }
        Ok(())
    }
}
