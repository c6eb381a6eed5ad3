//! Rows that another stream lists as deleted.
//!
//! What is listed stands in the lake before the first page of the rows is asked for. The rows that are there are marked first, in a commit
//! of their own that a later pull repeats where a crash cut it off; rows that come are marked on their way in. An event counts for a row
//! unless the row changed after it: so a listing that lags brings nobody back, and whoever comes back lives again.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray},
    compute::{cast, filter_record_batch},
    datatypes::TimestampMicrosecondType,
    error::ArrowError,
};
use futures::TryStreamExt;

use super::Scene;
use crate::{
    lake::{Commit, LakeError},
    source::{
        columns::DELETED_AT,
        deletes::Events,
        error::SourceError,
        intake::{digest, instant_of},
        settings::Stream,
        values,
    },
};

/// When each key was last listed as deleted.
#[derive(Debug, Default)]
pub(crate) struct Deletions(HashMap<u128, i64>);

impl Deletions {
    /// Since when the row with this key is gone, if it has not changed since; `changed` is its cursor value, where that is an instant.
    pub(crate) fn since(&self, key: u128, changed: Option<i64>) -> Option<i64> {
        self.0.get(&key).copied().filter(|at| changed.is_none_or(|changed| *at >= changed))
    }
}

/// Reads what is listed so far; `None` where nothing is.
pub(super) async fn listed(scene: &Scene, stream: &Stream) -> Result<Option<Arc<Deletions>>, SourceError> {
    let failed = |error| SourceError::Lake { at: stream.name.clone(), error };
    let Some(events) = &stream.events else { return Ok(None) };
    let table = events.stream.table();
    if scene.lake.latest(&table).await.map_err(failed)?.is_none() {
        return Ok(None);
    }
    let mut columns = events.key.clone();
    columns.push(events.at.clone());
    columns.extend(events.only.iter().map(|(name, _)| name.clone()));
    let (mut deletions, mut unclear) = (Deletions::default(), 0u64);
    let mut batches = scene.lake.batches(&table, None, Some(&columns)).await.map_err(failed)?;
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        unclear += take_in(stream, events, &batch, &mut deletions).map_err(broken(stream))?;
    }
    if unclear > 0 {
        tracing::warn!(stream = %stream.name, events = unclear, of = %events.stream, "deletions that name no key or no instant mark nothing");
    }
    Ok((!deletions.0.is_empty()).then(|| Arc::new(deletions)))
}

/// Takes in a batch of events; says how many name no key or no instant.
fn take_in(stream: &Stream, events: &Events, batch: &RecordBatch, deletions: &mut Deletions) -> Result<u64, ArrowError> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("`{name}` is not there")));
    let own = |(name, position): (&String, &usize)| cast(column(name)?, &stream.columns.list[*position].kind.arrow());
    let key = events.key.iter().zip(&stream.key).map(own).collect::<Result<Vec<ArrayRef>, _>>()?;
    let at = column(&events.at)?.as_primitive::<TimestampMicrosecondType>();
    let only =
        events.only.iter().map(|(name, texts)| Ok((column(name)?.as_string::<i32>(), texts))).collect::<Result<Vec<_>, ArrowError>>()?;
    let mut unclear = 0;
    for row in 0..batch.num_rows() {
        if !only.iter().all(|(column, texts)| column.is_valid(row) && texts.iter().any(|text| text == column.value(row))) {
            continue;
        }
        if at.is_null(row) || key.iter().any(|column| column.is_null(row)) {
            unclear += 1;
            continue;
        }
        let cells: Vec<_> = key.iter().map(|column| values::from_array(column, row)).collect();
        let latest = deletions.0.entry(digest(cells.iter())).or_insert(i64::MIN);
        *latest = at.value(row).max(*latest);
    }
    Ok(unclear)
}

/// Marks the rows of the table that are listed; says how many.
pub(super) async fn mark(scene: &Scene, stream: &Stream, deletions: &Deletions) -> Result<u64, SourceError> {
    let failed = |error: LakeError| SourceError::Lake { at: stream.name.clone(), error };
    let table = stream.name.table();
    let mut columns = stream.key_names();
    columns.extend(stream.cursor.iter().map(|cursor| stream.columns.list[cursor.column].name.clone()));
    columns.push(DELETED_AT.to_owned());
    // Most nights nothing is to be marked, and these few columns say so.
    let mut any = false;
    let mut batches = scene.lake.batches(&table, None, Some(&columns)).await.map_err(failed)?;
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        any |= marked(stream, &batch, |key, changed| deletions.since(key, changed)).map_err(broken(stream))?.is_some();
    }
    if !any {
        return Ok(0);
    }
    let mut rows = Vec::new();
    let mut batches = scene.lake.batches(&table, None, None).await.map_err(failed)?;
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        rows.extend(marked(stream, &batch, |key, changed| deletions.since(key, changed)).map_err(broken(stream))?);
    }
    let commit = Commit { run: Some(scene.run.clone()), ..Commit::default() };
    let written = scene.lake.merge(&table, &stream.key_names(), rows, commit).await.map_err(failed)?;
    tracing::info!(stream = %stream.name, rows = written.updated, "rows that are listed as deleted are marked");
    Ok(written.updated)
}

/// The rows of a batch of the table that are alive and gone since an instant, marked so; `since` is told their key and, where it is an
/// instant, their cursor value.
pub(super) fn marked(
    stream: &Stream,
    batch: &RecordBatch,
    since: impl Fn(u128, Option<i64>) -> Option<i64>,
) -> Result<Option<RecordBatch>, ArrowError> {
    let column = |position: usize| {
        let name = &stream.columns.list[position].name;
        batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("`{name}` is not there")))
    };
    let place = batch.schema_ref().index_of(DELETED_AT)?;
    let key = stream.key.iter().map(|position| column(*position)).collect::<Result<Vec<_>, _>>()?;
    let changed = stream.cursor.as_ref().filter(|cursor| cursor.timed).map(|cursor| column(cursor.column)).transpose()?;
    let gone: Vec<Option<i64>> = (0..batch.num_rows())
        .map(|row| {
            if batch.column(place).is_valid(row) {
                return None;
            }
            let cells: Vec<_> = key.iter().map(|column| values::from_array(column, row)).collect();
            since(digest(cells.iter()), changed.and_then(|changed| instant_of(&values::from_array(changed, row))))
        })
        .collect();
    let chosen: BooleanArray = gone.iter().map(|at| Some(at.is_some())).collect();
    if chosen.true_count() == 0 {
        return Ok(None);
    }
    let rows = filter_record_batch(batch, &chosen)?;
    let mut columns = rows.columns().to_vec();
    columns[place] = Arc::new(gone.into_iter().filter(Option::is_some).collect::<TimestampMicrosecondArray>().with_timezone("UTC"));
    RecordBatch::try_new(rows.schema(), columns).map(Some)
}

fn broken(stream: &Stream) -> impl Fn(ArrowError) -> SourceError + '_ {
    |error| SourceError::Broken { at: stream.name.clone(), reason: error.to_string() }
}
