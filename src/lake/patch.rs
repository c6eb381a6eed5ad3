//! A file once more, with new rows in the places of old ones. What cannot have changed is copied as it lies, neither read nor compressed
//! again: row groups without a new row, and the columns of the key.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use parquet::{
    arrow::{
        ArrowSchemaConverter, ArrowWriter, ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
        arrow_writer::{ArrowColumnWriter, compute_leaves},
    },
    column::writer::ColumnCloseResult,
    file::{
        metadata::{PageIndexPolicy, RowGroupMetaData},
        writer::SerializedRowGroupWriter,
    },
};

use super::{
    LakeError,
    columns::conform,
    files::{DataFile, TARGET_BYTES, TimeRange, properties},
    folder::{Input, Output},
    keys::Keyed,
    log::LiveFile,
    merge::{BATCH, Found, Merge, fetch},
};

/// An old file, and what is put into it.
struct Patch<'a> {
    merge: &'a Merge<'a>,
    keyed: &'a Keyed,
    input: Input,
    old: ArrowReaderMetadata,
    /// The columns that are read and written, as the table has them; the others are copied.
    shape: SchemaRef,
    /// The same of the new rows.
    new: RecordBatch,
    /// The same as Parquet counts them, nested ones by their parts.
    mask: ProjectionMask,
    times: Vec<TimeRange>,
}

impl Merge<'_> {
    /// Writes a file so, if that can be done: not where its columns are no longer the table's, and not where it has grown so much that it
    /// should become several.
    pub(super) fn patch(&self, file: &LiveFile, keyed: &Keyed, mut found: &[Found]) -> Result<Option<DataFile>, LakeError> {
        let failed = LakeError::parquet(self.table);
        if file.size > 2 * TARGET_BYTES as u64 {
            return Ok(None);
        }
        let input = fetch(self.folder, file, u64::MAX)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let old = ArrowReaderMetadata::load(&input, options).map_err(&failed)?;
        let columns = ArrowSchemaConverter::new().convert(self.schema).map_err(&failed)?;
        let looked_at = keyed.to_look_at(self.schema);
        if old.metadata().file_metadata().schema_descr().root_schema() != columns.root_schema() || looked_at.is_empty() {
            return Ok(None);
        }
        let shape = Arc::new(self.schema.project(&looked_at).map_err(LakeError::rows(self.table))?);
        let new = keyed.rows.project(&looked_at).map_err(LakeError::rows(self.table))?;
        let mask = ProjectionMask::roots(&columns, looked_at);
        let mut patch = Patch { merge: self, keyed, input, old: old.clone(), shape, new, mask, times: TimeRange::of(self.schema) };

        let groups = old.metadata().row_groups();
        let mut properties = properties();
        // Whether a dictionary is worth it was seen when the file was first written.
        for column in groups.first().into_iter().flat_map(RowGroupMetaData::columns) {
            properties = properties.set_column_dictionary_enabled(column.column_path().clone(), column.dictionary_page_offset().is_some());
        }
        let (name, output) = self.staging.create()?;
        let writer = ArrowWriter::try_new(output, Arc::clone(self.schema), Some(properties.build())).map_err(&failed)?;
        let (mut writer, factory) = writer.into_serialized_writer().map_err(&failed)?;
        let mut first = 0;
        for (nth, group) in groups.iter().enumerate() {
            let behind = first + usize::try_from(group.num_rows()).unwrap_or(0);
            let (here, later) = found.split_at(found.partition_point(|(row, _)| *row < behind));
            let mut out = writer.next_row_group().map_err(&failed)?;
            if here.is_empty() && patch.take_over_times(group) {
                (0..group.num_columns()).try_for_each(|column| patch.copy(nth, column, &mut out))?;
            } else {
                let encoders = factory.create_column_writers(nth).map_err(&failed)?;
                patch.update(nth, (here, first), encoders, &mut out)?;
            }
            out.close().map_err(&failed)?;
            (first, found) = (behind, later);
        }
        let output = writer.into_inner().map_err(&failed)?;
        DataFile::finish(self.staging, name, output, self.schema, (first as u64, &patch.times)).map(Some)
    }
}

impl Patch<'_> {
    /// A row group with the new rows `found` in it, whose first row is `first` of the file.
    fn update(
        &mut self,
        nth: usize,
        (mut found, mut first): (&[Found], usize),
        mut encoders: Vec<ArrowColumnWriter>,
        out: &mut SerializedRowGroupWriter<'_, Output>,
    ) -> Result<(), LakeError> {
        let (table, failed) = (self.merge.table, LakeError::parquet(self.merge.table));
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.input.clone(), self.old.clone())
            .with_batch_size(BATCH)
            .with_row_groups(vec![nth])
            .with_projection(self.mask.clone());
        for batch in reader.build().map_err(&failed)? {
            let batch = conform(table, &batch.map_err(LakeError::rows(table))?, &self.shape)?;
            let behind = first + batch.num_rows();
            let (here, later) = found.split_at(found.partition_point(|(row, _)| *row < behind));
            let batch = self.merge.updated(batch, self.keyed, &self.new, (here, first))?;
            (first, found) = (behind, later);
            for time in &mut self.times {
                if let Some(column) = batch.column_by_name(self.merge.schema.field(time.column).name()) {
                    time.take_in(column);
                }
            }
            let mut encoders = encoders.iter_mut().enumerate().filter(|(column, _)| self.mask.leaf_included(*column));
            for (field, column) in self.shape.fields().iter().zip(batch.columns()) {
                for (values, (_, encoder)) in compute_leaves(field, column).map_err(&failed)?.iter().zip(encoders.by_ref()) {
                    encoder.write(values).map_err(&failed)?;
                }
            }
        }
        for (column, encoder) in encoders.into_iter().enumerate() {
            match self.mask.leaf_included(column) {
                true => encoder.close().and_then(|chunk| chunk.append_to_row_group(out)).map_err(&failed)?,
                false => self.copy(nth, column, out)?,
            }
        }
        Ok(())
    }

    /// Copies a column of a row group, with its statistics and the places of its pages.
    fn copy(&self, nth: usize, column: usize, out: &mut SerializedRowGroupWriter<'_, Output>) -> Result<(), LakeError> {
        let old = self.old.metadata();
        let group = old.row_group(nth);
        let metadata = group.column(column).clone();
        let close = ColumnCloseResult {
            bytes_written: u64::try_from(metadata.compressed_size()).unwrap_or(0),
            rows_written: u64::try_from(group.num_rows()).unwrap_or(0),
            metadata,
            bloom_filter: None,
            column_index: old.column_index().and_then(|index| index.get(nth)?.get(column).cloned()),
            offset_index: old.offset_index().and_then(|index| index.get(nth)?.get(column).cloned()),
        };
        out.append_column(&self.input, close).map_err(LakeError::parquet(self.merge.table))
    }

    /// Takes the range of a row group's instants from its statistics, if it has them all.
    fn take_over_times(&mut self, group: &RowGroupMetaData) -> bool {
        let told = self.times.iter().map(|time| time.told(group, self.merge.schema.field(time.column).name()));
        let Some(told) = told.collect::<Option<Vec<_>>>() else { return false };
        for (time, (range, nulls)) in self.times.iter_mut().zip(told) {
            time.add(range, nulls);
        }
        true
    }
}
