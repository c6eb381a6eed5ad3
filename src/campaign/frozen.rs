//! What a plan is made of, and how its two tables look on disk.
//!
//! `plan.parquet` has one row a person of the segment, `rows.parquet` what the templates see of each planned person, in the same order.
//! Both are written with fixed properties, so that the same plan is the same bytes.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    compute::{concat_batches, filter_record_batch},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit},
};
use chrono::{DateTime, Utc};
use parquet::{
    arrow::{ArrowWriter, ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use super::{
    CampaignError, Reason,
    segment::{instant, instants, texts, value},
};
use crate::{
    diagnosis::Diagnosis,
    ledger::{CustomerId, MessageId, PlanId},
    message::{Row, rows},
};

/// The file with one row a person.
pub(super) const PLAN: &str = "plan.parquet";
/// The file with what the templates see.
pub(super) const ROWS: &str = "rows.parquet";
/// The file that says what the plan is.
pub(super) const MANIFEST: &str = "manifest.json";
/// The folder with the campaign's files as they were.
pub(super) const TEMPLATES: &str = "templates";
/// The page marketing reads.
pub(super) const REVIEW: &str = "review.html";

/// How many rows change threads at once.
const CHUNK: usize = 256;

/// The decision about one person of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanRow {
    /// Who; empty where the person has been erased.
    pub customer: CustomerId,
    /// Why the person is not written to; none where a message is planned.
    pub reason: Option<Reason>,
    /// The variant the person was given.
    pub variant: Option<String>,
    /// What the message is about.
    pub occasion: Option<String>,
    /// 1, or a later letter about the same occasion.
    pub step: i64,
    /// The message's id for ever.
    pub message_id: Option<MessageId>,
    /// Not before this; only where a message is planned.
    pub send_after: Option<DateTime<Utc>>,
    /// The digest of the row an erased person had, hex.
    pub tombstone: Option<String>,
}

impl PlanRow {
    /// Whether a message to the person is planned, and the person has not been erased since.
    #[must_use]
    pub fn is_planned(&self) -> bool {
        self.reason.is_none() && self.tombstone.is_none()
    }
}

/// A file of a campaign's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TemplateFile {
    /// Its path in the folder.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// All files of a campaign's folder, hidden ones aside, sorted by path.
///
/// # Errors
/// Where one cannot be read.
pub(super) fn template_files(folder: &Path) -> Result<Vec<TemplateFile>, CampaignError> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        let here = folder.join(&inner);
        for entry in std::fs::read_dir(&here).map_err(|error| CampaignError::io(&here, error))? {
            let entry = entry.map_err(|error| CampaignError::io(&here, error))?;
            let (name, path) = (entry.file_name(), entry.path());
            if name.to_string_lossy().starts_with('.') {
                continue;
            }
            if path.is_dir() {
                folders.push(inner.join(name));
            } else {
                let bytes = std::fs::read(&path).map_err(|error| CampaignError::io(&path, error))?;
                files.push(TemplateFile { path: inner.join(name), bytes });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// The folder of a plan, by its path in the project.
#[must_use]
pub fn plan_folder(plan: &PlanId) -> PathBuf {
    Path::new("data/plans").join(plan.as_str())
}

fn plan_schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        Field::new("customer_id", DataType::Utf8, false),
        Field::new("decision", DataType::Utf8, false),
        text("reason"),
        text("variant"),
        text("occasion"),
        text("message_id"),
        Field::new("send_after", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("step", DataType::Int64, false),
        text("detail"),
        text("tombstone"),
    ]))
}

/// The decisions as a table.
pub(super) fn plan_batch(rows: &[PlanRow]) -> Result<RecordBatch, CampaignError> {
    let text = |get: &dyn Fn(&PlanRow) -> Option<String>| Arc::new(rows.iter().map(get).collect::<StringArray>()) as ArrayRef;
    let columns: Vec<ArrayRef> = vec![
        text(&|row| Some(row.customer.to_string())),
        text(&|row| Some(if row.reason.is_none() { "send" } else { "excluded" }.to_owned())),
        text(&|row| row.reason.as_ref().map(Reason::key)),
        text(&|row| row.variant.clone()),
        text(&|row| row.occasion.clone()),
        text(&|row| row.message_id.as_ref().map(ToString::to_string)),
        Arc::new(
            rows.iter()
                .map(|row| row.send_after.map(|at| at.timestamp_micros()))
                .collect::<TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        ),
        Arc::new(rows.iter().map(|row| row.step).collect::<Int64Array>()),
        text(&|row| row.reason.as_ref().and_then(|reason| reason.detail().map(str::to_owned))),
        text(&|row| row.tombstone.clone()),
    ];
    RecordBatch::try_new(plan_schema(), columns).map_err(|error| unusable(Path::new(PLAN), &error))
}

/// All decisions of a plan's folder.
pub(super) fn read_decisions(folder: &Path) -> Result<Vec<PlanRow>, CampaignError> {
    decisions(folder)?.collect()
}

/// The decisions of a plan's folder, read piece by piece.
pub(super) fn decisions(folder: &Path) -> Result<impl Iterator<Item = Result<PlanRow, CampaignError>> + use<>, CampaignError> {
    Ok(rows_of(table_batches(&folder.join(PLAN), None)?, decisions_of))
}

/// What the templates see, one planned person after the other.
pub(super) fn seen(batches: impl Iterator<Item = Result<RecordBatch, CampaignError>>) -> impl Iterator<Item = Result<Row, CampaignError>> {
    rows_of(batches, |batch| Ok(rows(batch)?))
}

/// The same, made on a thread of its own, a few rows ahead of whoever takes them.
pub(super) fn ahead<T: Send + 'static>(mut rows: impl Iterator<Item = T> + Send + 'static) -> std::io::Result<impl Iterator<Item = T>> {
    let (send, chunks) = mpsc::sync_channel::<Vec<T>>(2);
    let making = move || {
        loop {
            let chunk: Vec<T> = rows.by_ref().take(CHUNK).collect();
            if chunk.is_empty() || send.send(chunk).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("rows".to_owned()).spawn(making)?;
    Ok(chunks.into_iter().flatten())
}

/// The rows of a table's batches, one after the other.
fn rows_of<T>(
    batches: impl Iterator<Item = Result<RecordBatch, CampaignError>>,
    read: impl Fn(&RecordBatch) -> Result<Vec<T>, CampaignError>,
) -> impl Iterator<Item = Result<T, CampaignError>> {
    batches.flat_map(move |batch| {
        let (found, failed) = match batch.and_then(|batch| read(&batch)) {
            Ok(found) => (found, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        found.into_iter().map(Ok).chain(failed.map(Err))
    })
}

fn decisions_of(batch: &RecordBatch) -> Result<Vec<PlanRow>, CampaignError> {
    let text = |name| texts(batch, PLAN, name);
    let (ids, decision, reason, detail) = (text("customer_id")?, text("decision")?, text("reason")?, text("detail")?);
    let (variant, occasion, message, tombstone) = (text("variant")?, text("occasion")?, text("message_id")?, text("tombstone")?);
    let send_after = instants(batch, PLAN, "send_after")?;
    let step = super::segment::column(batch, PLAN, "step")?;
    let step = step.as_primitive_opt::<Int64Type>().ok_or_else(|| unusable(Path::new(PLAN), &"step is not a whole number"))?;
    let row = |at| {
        let reason = match (decision.value(at), value(Some(&reason), at)) {
            ("send", None) => None,
            ("excluded", Some(key)) => Some(
                Reason::read(key, value(Some(&detail), at)).ok_or_else(|| unusable(Path::new(PLAN), &format!("`{key}` is no reason")))?,
            ),
            (decision, _) => return Err(unusable(Path::new(PLAN), &format!("`{decision}` is no decision, or its reason is amiss"))),
        };
        let owned = |column: &StringArray| value(Some(column), at).map(str::to_owned);
        Ok(PlanRow {
            customer: CustomerId::new(ids.value(at)),
            reason,
            variant: owned(&variant),
            occasion: owned(&occasion),
            step: step.value(at),
            message_id: owned(&message).map(MessageId::new),
            send_after: instant(&send_after, at),
            tombstone: owned(&tombstone),
        })
    };
    (0..batch.num_rows()).map(row).collect()
}

/// The rows of `all` whose place in `planned` says so.
pub(super) fn planned_rows(all: &RecordBatch, planned: impl Iterator<Item = bool>) -> Result<RecordBatch, CampaignError> {
    let mask = planned.map(Some).collect::<arrow::array::BooleanArray>();
    filter_record_batch(all, &mask).map_err(|error| unusable(Path::new(ROWS), &error))
}

/// Writes a table with fixed properties: the same rows make the same bytes.
pub(super) fn write_table(path: &Path, rows: &RecordBatch) -> Result<(), CampaignError> {
    let level = ZstdLevel::try_new(3).map_err(|error| unusable(path, &error))?;
    let properties = WriterProperties::builder()
        .set_created_by("perennial".to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(65_536))
        .build();
    let file = File::create(path).map_err(|error| CampaignError::io(path, error))?;
    let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties)).map_err(|error| unusable(path, &error))?;
    writer.write(rows).map_err(|error| unusable(path, &error))?;
    let file = writer.into_inner().map_err(|error| unusable(path, &error))?;
    file.sync_all().map_err(|error| CampaignError::io(path, error))
}

/// The batches of a table on disk, one after the other: with all its columns, or with one, where it has that.
pub(super) fn table_batches(
    path: &Path,
    column: Option<&str>,
) -> Result<impl Iterator<Item = Result<RecordBatch, CampaignError>> + use<>, CampaignError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => altered(path, "it is gone"),
        _ => CampaignError::io(path, error),
    })?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| {
            let mask = column.map_or_else(ProjectionMask::all, |column| ProjectionMask::columns(builder.parquet_schema(), [column]));
            builder.with_projection(mask).with_batch_size(4096).build()
        })
        .map_err(|error| altered(path, &error.to_string()))?;
    let path = path.to_owned();
    Ok(reader.map(move |batch| batch.map_err(|error| altered(&path, &error.to_string()))))
}

/// A whole table on disk.
pub(super) fn read_table(path: &Path) -> Result<RecordBatch, CampaignError> {
    let batches: Vec<RecordBatch> = table_batches(path, None)?.collect::<Result<_, _>>()?;
    match batches.first() {
        Some(first) => concat_batches(&first.schema(), &batches).map_err(|error| unusable(path, &error)),
        None => Ok(RecordBatch::new_empty(Arc::new(Schema::empty()))),
    }
}

/// A plan whose files are not what was frozen.
pub(super) fn altered(path: &Path, what: &str) -> CampaignError {
    CampaignError::wrong(
        Diagnosis::new("plan_altered", format!("the plan is not what was frozen: {what}"))
            .in_file(path)
            .hint("nothing of it is sent; cancel or reject it and plan the campaign again"),
    )
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> CampaignError {
    CampaignError::wrong(
        Diagnosis::new("plan_files", format!("cannot be written or read: {error}")).in_file(path).hint("plan the campaign again"),
    )
}
