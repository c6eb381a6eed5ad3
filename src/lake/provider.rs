//! A version of a table as the query engine sees it: its pinned files, and the columns the log declares.
//!
//! Files written before a column was added lack it; DataFusion's Parquet scan fills it with nulls. Statistics of row groups and pages prune.
//! A table that was written in order is read in [order](super::order), in as many parts as the query has.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Statistics, stats::Precision},
    datasource::{
        listing::PartitionedFile,
        physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource, parquet::CachedParquetFileReaderFactory},
        source::DataSourceExec,
    },
    error::{DataFusionError, Result},
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::{ExecutionPlan, empty::EmptyExec},
};
use object_store::ObjectMeta;
use tokio::sync::OnceCell;

use super::{
    LakeError,
    distinct::Distinct,
    folder::Folder,
    log::Snapshot,
    order::{Cuts, Order, Parts},
    ranged::RangedExec,
};

/// A table at one version.
#[derive(Debug)]
pub(super) struct PinnedTable {
    schema: SchemaRef,
    files: Vec<PartitionedFile>,
    folder: Folder,
    rows: usize,
    bytes: usize,
    distinct: Distinct,
    /// Read with the first query.
    order: OnceCell<Option<Order>>,
    cuts: Cuts,
}

impl PinnedTable {
    /// Fails where a file of the version has expired.
    pub(super) async fn new(folder: Folder, table: &str, snapshot: &Snapshot, cuts: Cuts) -> Result<Self, LakeError> {
        if !folder.holds(snapshot.files.iter().map(|file| file.name.as_str())).await? {
            return Err(LakeError::NoVersion { table: table.to_owned(), version: snapshot.version });
        }
        let mut files = Vec::with_capacity(snapshot.files.len());
        for file in &snapshot.files {
            let location = folder.location(&file.name)?;
            let meta = ObjectMeta { location, last_modified: file.modified, size: file.size, e_tag: None, version: None };
            let statistics = Statistics {
                num_rows: Precision::Exact(usize::try_from(file.rows).unwrap_or(usize::MAX)),
                total_byte_size: Precision::Absent,
                column_statistics: Statistics::unknown_column(&snapshot.schema),
            };
            files.push(PartitionedFile::new_from_meta(meta).with_statistics(Arc::new(statistics)));
        }
        Ok(Self {
            schema: Arc::clone(&snapshot.schema),
            files,
            folder,
            rows: usize::try_from(snapshot.rows()).unwrap_or(usize::MAX),
            bytes: usize::try_from(snapshot.files.iter().map(|file| file.size).sum::<u64>()).unwrap_or(usize::MAX),
            distinct: snapshot.distinct(),
            order: OnceCell::new(),
            cuts,
        })
    }

    fn whole(&self) -> Statistics {
        let mut columns = Statistics::unknown_column(&self.schema);
        for (column, field) in columns.iter_mut().zip(self.schema.fields()) {
            let distinct = self.distinct.get(field.name()).and_then(|distinct| usize::try_from(*distinct).ok());
            column.distinct_count = distinct.map_or(Precision::Absent, Precision::Inexact);
        }
        Statistics { num_rows: Precision::Exact(self.rows), total_byte_size: Precision::Inexact(self.bytes), column_statistics: columns }
    }
}

#[async_trait]
impl TableProvider for PinnedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.files.is_empty() {
            let schema = match projection {
                Some(columns) => Arc::new(self.schema.project(columns)?),
                None => Arc::clone(&self.schema),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let url = self.folder.store_url();
        let runtime = state.runtime_env();
        if let Some(store) = self.folder.store() {
            runtime.register_object_store(url.as_ref(), store);
        }
        let (store, footers) = (runtime.object_store(&url)?, runtime.cache_manager.get_file_metadata_cache());
        let order = self.order.get_or_try_init(|| Order::read(&self.files, &self.schema, store.as_ref(), Arc::clone(&footers))).await?;
        // Without its first column, rows are in no order that anybody could use.
        let order = order.as_ref().filter(|order| projection.is_none_or(|columns| columns.contains(&order.first.index())));
        let reader = Arc::new(CachedParquetFileReaderFactory::new(store, footers));
        // The filters reach the source through the physical optimizer's pushdown, dynamic ones included.
        let source = ParquetSource::new(Arc::clone(&self.schema))
            .with_table_parquet_options(state.table_options().parquet.clone())
            .with_parquet_file_reader_factory(reader);
        let config = FileScanConfigBuilder::new(url, Arc::new(source)).with_statistics(self.whole());
        let config = config.with_projection_indices(projection.cloned())?;
        let partitions = state.config().target_partitions();
        let Some(order) = order else {
            let files = FileGroup::new(self.files.clone()).split_files(partitions);
            return Ok(DataSourceExec::from_data_source(config.with_file_groups(files).with_limit(limit).build()));
        };
        let config = config.with_output_ordering(vec![order.by.clone()]);
        match order.parts(partitions, &self.cuts) {
            // The limit is left to others: some of the rows that a part reads first may be those of its neighbour.
            Some(Parts { files, cuts }) => {
                let config = config.with_file_groups(files).with_output_partitioning(Some(order.partitioning(&cuts)?)).build();
                Ok(Arc::new(RangedExec::new(DataSourceExec::from_data_source(config), order.first.name(), cuts)))
            }
            None => {
                let files = vec![FileGroup::new(order.files.clone())];
                Ok(DataSourceExec::from_data_source(config.with_file_groups(files).with_limit(limit).build()))
            }
        }
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.whole())
    }
}
