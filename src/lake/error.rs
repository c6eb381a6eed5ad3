//! What can go wrong in the lake, and what to do about it.

use std::path::{Path, PathBuf};

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use deltalake::DeltaTableError;
use parquet::errors::ParquetError;

use crate::{
    diagnosis::{Diagnose, Diagnosis, Exit},
    secret::SecretError,
};

/// What can go wrong in the lake.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// Another process holds the writer lease.
    #[error("another process is writing to the lake")]
    Busy,
    /// The settings forbid writing.
    #[error("the lake is read-only in this project")]
    ReadOnly,
    /// A name that cannot be a table's.
    #[error("`{0}` cannot be the name of a table")]
    Name(String),
    /// No such table.
    #[error("there is no table `{0}` in the lake")]
    NoTable(String),
    /// The table has no such version, or its files have expired.
    #[error("version {version} of table `{table}` is not in the lake")]
    NoVersion {
        /// The table.
        table: String,
        /// The version asked for.
        version: i64,
    },
    /// A column whose type no table can hold, or whose name Parquet readers trip over.
    #[error("column `{column}` of table `{table}` {problem}")]
    Column {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A column would change its type.
    #[error("column `{column}` of table `{table}` is {was}, and {becomes} cannot take its place")]
    Change {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Its type in the table.
        was: String,
        /// The type it was handed with.
        becomes: String,
    },
    /// Another writer published a version in between.
    #[error("table `{0}` was changed by another writer at the same time")]
    Conflict(String),
    /// The table needs features of Delta this program does not read.
    #[error("table `{table}` was written by another program with a feature this one does not read: {feature}")]
    Foreign {
        /// The table.
        table: String,
        /// What it needs.
        feature: String,
    },
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A bucket does not answer, or does not let us in.
    #[error("{reason}")]
    Store {
        /// What was asked for, and why it failed.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// A secret of the bucket is missing.
    #[error("{0}")]
    Secret(SecretError),
    /// The log of a table cannot be read.
    #[error("the log of table `{table}` cannot be read: {source}")]
    Log {
        /// The table.
        table: String,
        /// What the Delta library said.
        source: Box<DeltaTableError>,
    },
    /// Rows of a table cannot be read or written.
    #[error("rows of table `{table}`: {source}")]
    Rows {
        /// The table.
        table: String,
        /// What Arrow or Parquet said.
        source: ArrowError,
    },
    /// The rows handed in broke off.
    #[error("the rows for table `{table}` broke off: {source}")]
    Source {
        /// The table.
        table: String,
        /// What the stream said.
        source: Box<DataFusionError>,
    },
}

impl LakeError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(super) fn rows(table: &str) -> impl Fn(ArrowError) -> Self + '_ {
        move |source| Self::Rows { table: table.to_owned(), source }
    }

    pub(super) fn parquet(table: &str) -> impl Fn(ParquetError) -> Self + '_ {
        move |source| Self::Rows { table: table.to_owned(), source: source.into() }
    }

    pub(super) fn log(table: &str) -> impl Fn(DeltaTableError) -> Self + '_ {
        move |source| Self::Log { table: table.to_owned(), source: Box::new(source) }
    }

    pub(super) fn column(table: &str, column: &str, problem: impl Into<String>) -> Self {
        Self::Column { table: table.to_owned(), column: column.to_owned(), problem: problem.into() }
    }

    /// What broke off the rows handed to a write; the engine knows what to say and whether another way of running the query may help.
    #[must_use]
    pub fn source_error(&self) -> Option<&DataFusionError> {
        match self {
            Self::Source { source, .. } => Some(source),
            _ => None,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Busy => "lake_busy",
            Self::ReadOnly => "lake_read_only",
            Self::Name(_) => "lake_table_name",
            Self::NoTable(_) => "lake_no_table",
            Self::NoVersion { .. } => "lake_no_version",
            Self::Column { .. } => "lake_column",
            Self::Change { .. } => "lake_schema_change",
            Self::Conflict(_) => "lake_conflict",
            Self::Foreign { .. } => "lake_foreign",
            Self::Io { .. } => "lake_io",
            Self::Store { .. } => "lake_store",
            Self::Secret(_) => "secret",
            Self::Log { .. } => "lake_log",
            Self::Rows { .. } => "lake_rows",
            Self::Source { .. } => "lake_source",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Busy => "wait until it is done and run again; `perennial status` shows what runs".to_owned(),
            Self::ReadOnly => {
                "set `read_only = false` under `[lake]` in config/perennial.toml, or run where the lake is written".to_owned()
            }
            Self::Name(_) => "use lower-case letters, digits and `_`, beginning with a letter".to_owned(),
            Self::NoTable(_) => "pull its source or build it first; `perennial schema` lists the tables there are".to_owned(),
            Self::NoVersion { .. } => {
                "versions older than `[lake] keep_days` are removed by `perennial tidy`; run on the newest".to_owned()
            }
            Self::Column { .. } => "give it another name with `as`, or another type with `cast(… as …)`".to_owned(),
            Self::Change { table, .. } => {
                format!("declare the old type again, or move the table's folder `{table}` away and pull its source with `--full`")
            }
            Self::Conflict(_) => "run again; see that only one process writes to the lake".to_owned(),
            Self::Foreign { .. } => "move the table's folder away and let this program write it anew".to_owned(),
            Self::Io { path, source } => match source.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    format!("give the user this program runs as the right to write to {}", path.display())
                }
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    "make room on that volume, or run `perennial tidy`, then run again".to_owned()
                }
                _ => "see that the folder exists and can be written, then run again".to_owned(),
            },
            Self::Store { hint, .. } => hint.clone(),
            Self::Secret(error) => return error.diagnosis().hint,
            Self::Log { .. } | Self::Rows { .. } | Self::Source { .. } => return None,
        })
    }
}

impl Diagnose for LakeError {
    fn diagnosis(&self) -> Diagnosis {
        let mut diagnosis = Diagnosis::new(self.code(), self.to_string());
        diagnosis.hint = self.hint();
        diagnosis
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Busy => Exit::Busy,
            Self::ReadOnly
            | Self::Name(_)
            | Self::NoTable(_)
            | Self::NoVersion { .. }
            | Self::Column { .. }
            | Self::Change { .. }
            | Self::Secret(_)
            | Self::Foreign { .. } => Exit::Wrong,
            Self::Conflict(_) | Self::Store { .. } | Self::Io { .. } | Self::Log { .. } | Self::Rows { .. } | Self::Source { .. } => {
                Exit::Failed
            }
        }
    }
}
