//! Which version of each table readers see. The ledger knows it, and the lake repeats it in a small table for those who share the lake
//! without its ledger, such as an analyst's laptop.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{AsArray, Int64Array, RecordBatch, StringArray},
    datatypes::{Int64Type, SchemaRef},
    error::ArrowError,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream;

use super::House;
use crate::{
    diagnosis::{Diagnosis, Failure},
    lake::{Commit, Lake},
};

/// Its name; raw tables, which are all that a reader looks for beside the published ones, have two underscores in theirs.
const TABLE: &str = "published";

impl House {
    /// The tables that were built, each with the version readers see: by the ledger, or by the lake where this ledger has seen no build.
    ///
    /// # Errors
    /// Where the ledger or the lake cannot be read.
    pub async fn published(&self) -> Result<BTreeMap<String, i64>, Failure> {
        let known = self.ledger.published().await?;
        if known.is_empty() { read(&self.lake).await } else { Ok(known) }
    }

    /// Repeats in the lake what the ledger has published.
    pub(super) async fn repeat_published(&self, run: Option<&str>) -> Result<(), Failure> {
        let known = self.ledger.published().await?;
        if known == read(&self.lake).await? {
            return Ok(());
        }
        let (tables, versions): (Vec<&str>, Vec<i64>) = known.iter().map(|(table, version)| (table.as_str(), *version)).unzip();
        let columns = [("table_name", Arc::new(StringArray::from(tables)) as _), ("version", Arc::new(Int64Array::from(versions)) as _)];
        let rows = RecordBatch::try_from_iter(columns).map_err(unexpected)?;
        let schema: SchemaRef = rows.schema();
        let rows = RecordBatchStreamAdapter::new(Arc::clone(&schema), stream::iter([Ok(rows)]));
        let commit = Commit { run: run.map(str::to_owned), ..Commit::default() };
        self.lake.replace(TABLE, schema, Box::pin(rows), commit).await?;
        Ok(())
    }
}

async fn read(lake: &Lake) -> Result<BTreeMap<String, i64>, Failure> {
    let mut published = BTreeMap::new();
    if lake.latest(TABLE).await?.is_none() {
        return Ok(published);
    }
    for batch in lake.read(TABLE, None).await? {
        let (Some(tables), Some(versions)) = (batch.column_by_name("table_name"), batch.column_by_name("version")) else { continue };
        let (tables, versions) = (tables.as_string::<i32>(), versions.as_primitive::<Int64Type>());
        published.extend(tables.iter().flatten().map(str::to_owned).zip(versions.iter().flatten()));
    }
    Ok(published)
}

fn unexpected(error: ArrowError) -> Failure {
    Failure::failed(Diagnosis::new("internal", format!("the published tables could not be laid out: {error}")))
}
