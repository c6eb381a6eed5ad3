//! The one DataFusion runtime: functions, memory, lock-down and the diagnosis of SQL.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{catalog::TableProvider, execution::SendableRecordBatchStream, scalar::ScalarValue};
use serde::Deserialize;

use crate::{
    config::Period,
    diagnosis::{Diagnose, Diagnosis, Exit, Finding},
};

/// `[engine]` in `config/perennial.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSettings {
    /// `"2GiB"`, or a share of what the machine or its container has: `"60%"`.
    pub memory_limit: String,
    /// Where what does not fit in memory goes, relative to the project folder.
    pub spill_path: PathBuf,
    /// How much may be spilled: `"20GiB"`.
    pub max_spill: String,
    /// Parallel partitions; 0 chooses from cores and memory.
    pub partitions: usize,
    /// How long one query may take.
    pub timeout: Period,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            memory_limit: "60%".to_owned(),
            spill_path: PathBuf::from("data/spill"),
            max_spill: "20GiB".to_owned(),
            partitions: 0,
            timeout: Period::hours(1),
        }
    }
}

/// A query that cannot be read, planned or run.
#[derive(Debug, thiserror::Error)]
#[error("{diagnosis}")]
pub struct EngineError {
    diagnosis: Diagnosis,
    exit: Exit,
}

impl Diagnose for EngineError {
    fn diagnosis(&self) -> Diagnosis {
        self.diagnosis.clone()
    }

    fn exit(&self) -> Exit {
        self.exit
    }
}

/// Where an SQL text stands.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The file; none for a query typed on the command line.
    pub file: Option<&'a Path>,
    /// The line the text's first line has in that file, from 1.
    pub line: usize,
}

/// One `SELECT`, where it stands, and its bound values.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// The text.
    pub sql: &'a str,
    /// Its place.
    pub origin: Origin<'a>,
    /// Values for `$name`.
    pub params: BTreeMap<String, ScalarValue>,
}

/// A text that is one `SELECT` and nothing else.
#[derive(Debug, Clone)]
pub struct ParsedSelect {
    /// The tables it reads, without the names of its own `with` clauses.
    pub tables: BTreeSet<String>,
    /// The parameters it binds, without the `$`.
    pub params: BTreeSet<String>,
    /// What may make two runs differ: unordered `array_agg` or `first_value`, `limit` without a total order.
    pub findings: Vec<Finding>,
}

/// Reads an SQL text; refuses everything but one `SELECT`, and `now()` and its kin.
///
/// # Errors
/// With line and column.
#[allow(unused_variables, clippy::unimplemented)]
pub fn parse_select(sql: &str, origin: Origin<'_>) -> Result<ParsedSelect, EngineError> {
    unimplemented!()
}

/// The runtime of this process: memory pool, spill folder, functions.
#[derive(Debug, Clone)]
pub struct Engine;

/// A set of tables that queries can name.
#[derive(Debug, Clone)]
pub struct Session;

#[allow(unused_variables, clippy::unimplemented)]
impl Engine {
    /// A runtime for the project in `root`.
    pub fn new(root: &Path, settings: &EngineSettings) -> Result<Self, EngineError> {
        unimplemented!()
    }

    /// A session in which exactly these tables can be named.
    pub fn session(&self, tables: BTreeMap<String, Arc<dyn TableProvider>>) -> Result<Session, EngineError> {
        unimplemented!()
    }
}

#[allow(unused_variables, clippy::unimplemented)]
impl Session {
    /// The columns a query would return; nothing is run.
    pub async fn schema(&self, query: &Query<'_>) -> Result<SchemaRef, EngineError> {
        unimplemented!()
    }

    /// The query as a table that another session can name; it runs where that session reads it.
    pub async fn view(&self, query: &Query<'_>) -> Result<Arc<dyn TableProvider>, EngineError> {
        unimplemented!()
    }

    /// The query's rows, as they come. Text columns are `Utf8`, never views.
    pub async fn stream(&self, query: &Query<'_>) -> Result<SendableRecordBatchStream, EngineError> {
        unimplemented!()
    }

    /// All of the query's rows; what does not fit in memory is tried again with sort-merge joins, then with fewer partitions.
    pub async fn collect(&self, query: &Query<'_>) -> Result<Vec<RecordBatch>, EngineError> {
        unimplemented!()
    }
}
