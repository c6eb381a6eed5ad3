//! Columns that get a wider type because a value needs it (`on_bad_value = "widen"`).
//!
//! The table itself remembers: what it holds is the type that counts, as long as it is wider than the declared one. It is written anew with
//! the wider type in one commit, its rows, their order and the cursor as they were; only then are the pages read again, from where the last
//! chunk left them.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{Field, Schema};
use datafusion::{error::DataFusionError, physical_plan::stream::RecordBatchStreamAdapter};
use futures::TryStreamExt;

use super::Scene;
use crate::{
    lake::{Commit, LakeError},
    source::{
        columns::{Columns, Type},
        error::SourceError,
        settings::{OnBadValue, Stream, Write},
    },
};

/// The stream with the types its table has, where those are wider than declared; a table that is narrower is widened.
pub(super) async fn as_it_is(scene: &Scene, stream: &Arc<Stream>) -> Result<Arc<Stream>, SourceError> {
    let failed = |error| SourceError::Lake { at: stream.name.clone(), error };
    let table = stream.name.table();
    if stream.on_bad_value != OnBadValue::Widen || scene.lake.latest(&table).await.map_err(failed)?.is_none() {
        return Ok(Arc::clone(stream));
    }
    let schema = scene.lake.schema(&table, None).await.map_err(failed)?;
    let mut wider = BTreeMap::new();
    for (position, column) in stream.columns.list.iter().enumerate() {
        let there = schema.field_with_name(&column.name).ok().and_then(|field| Type::of(field.data_type()));
        if let Some(kind) = there.and_then(|there| there.join(&column.kind)).filter(|_| !stream.compares(position)) {
            wider.insert(position, kind);
        }
    }
    let stream = with(stream, &wider);
    rewrite(scene, &stream).await?;
    Ok(stream)
}

/// The stream with wider types for the columns at these positions, and its table likewise.
pub(super) async fn widen(scene: &Scene, stream: &Arc<Stream>, wider: &BTreeMap<usize, Type>) -> Result<Arc<Stream>, SourceError> {
    for (position, kind) in wider {
        let column = &stream.columns.list[*position];
        tracing::warn!(stream = %stream.name, column = column.name, was = %column.kind, is = %kind, "a value did not fit; the column has a wider type now");
    }
    let stream = with(stream, wider);
    rewrite(scene, &stream).await?;
    Ok(stream)
}

fn with(stream: &Arc<Stream>, wider: &BTreeMap<usize, Type>) -> Arc<Stream> {
    let mut list = stream.columns.list.clone();
    for (position, kind) in wider {
        let column = &mut list[*position];
        if column.kind != *kind {
            column.declared.get_or_insert(std::mem::replace(&mut column.kind, kind.clone()));
        }
    }
    let columns = Columns::new(list, stream.deletes_declared().any());
    Arc::new(Stream { columns, ..Stream::clone(stream) })
}

/// Writes the table anew where its columns are narrower than the stream's. One that is replaced by every pull is left to that.
async fn rewrite(scene: &Scene, stream: &Stream) -> Result<(), SourceError> {
    let failed = |error: LakeError| SourceError::Lake { at: stream.name.clone(), error };
    let table = stream.name.table();
    let old = scene.lake.schema(&table, None).await.map_err(failed)?;
    let kind = |field: &Field| {
        let column = stream.columns.list.iter().find(|column| column.name == *field.name())?;
        let joined = Type::of(field.data_type())?.join(&column.kind)?;
        (joined == column.kind).then(|| joined.arrow())
    };
    let fields: Vec<Field> =
        old.fields().iter().map(|field| Field::new(field.name(), kind(field).unwrap_or_else(|| field.data_type().clone()), true)).collect();
    let new = Arc::new(Schema::new(fields));
    if new == old || stream.write == Write::Replace {
        return Ok(());
    }
    let rows = scene.lake.batches(&table, None, None).await.map_err(failed)?;
    let rows = Box::pin(RecordBatchStreamAdapter::new(old, rows.map_err(|error| DataFusionError::External(error.into()))));
    let commit = Commit { run: Some(scene.run.clone()), ..Commit::default() };
    scene.lake.replace(&table, new, rows, commit).await.map(|_| ()).map_err(failed)
}
