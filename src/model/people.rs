//! Reads the records of people out of staging, and writes who is who.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringBuilder},
    datatypes::{DataType, Int64Type, SchemaRef, TimestampMicrosecondType},
};
use datafusion::{
    catalog::TableProvider, common::DataFusionError, execution::SendableRecordBatchStream, physical_plan::stream::RecordBatchStreamAdapter,
};
use futures::{StreamExt, TryStreamExt};

use super::{
    canonical::instant,
    file::SqlFile,
    identities::{Resolved, Resolver},
    shape::{cast, quoted},
};
use crate::{
    diagnosis::{Diagnose, Diagnosis, Failure},
    engine::{Engine, EngineError, Held, Origin, Query, Session},
};

/// Rows in a batch of `identities`.
const BATCH: usize = 8192;

/// A staging file as a table.
#[derive(Debug, Clone)]
pub(crate) struct View<'a> {
    /// The source it belongs to.
    pub(crate) source: &'a str,
    /// The canonical table it feeds.
    pub(crate) table: &'a str,
    /// The file.
    pub(crate) file: &'a SqlFile,
    /// Its rows.
    pub(crate) provider: Arc<dyn TableProvider>,
    /// Its columns.
    pub(crate) columns: SchemaRef,
}

/// Collects everyone, and counts the memory that takes.
struct Crowd {
    resolver: Resolver,
    held: Held,
}

/// Resolves everyone whom any staging view names. With them comes the memory they take, counted until it is dropped.
///
/// # Errors
/// Where a view cannot be read, a record of a person has no id, or people take more memory than there is.
pub(crate) async fn resolve(engine: &Engine, views: &[View<'_>]) -> Result<(Resolved, Held), Failure> {
    let mut crowd = Crowd { resolver: Resolver::default(), held: engine.held("finding out who is who") };
    for view in views.iter().filter(|view| view.table == "customers") {
        records(engine, view, &mut crowd).await?;
    }
    for view in views.iter().filter(|view| view.table != "customers" && view.columns.column_with_name("customer_id").is_some()) {
        let listed = views.iter().filter(|other| other.table == "customers" && other.source == view.source);
        strangers(engine, view, &listed.collect::<Vec<_>>(), &mut crowd).await?;
    }
    let Crowd { resolver, held } = crowd;
    held.resize(resolver.size() + resolver.size_of_groups())?;
    let resolved = resolver.resolve();
    held.resize(resolved.size())?;
    Ok((resolved, held))
}

/// The records of a list of customers.
async fn records(engine: &Engine, view: &View<'_>, crowd: &mut Crowd) -> Result<(), Failure> {
    let column = |name: &str, kind: &DataType| match view.columns.column_with_name(name) {
        Some(_) => format!("{} as {name}", cast(&quoted(name), kind)),
        None => format!("{} as {name}", cast("null", kind)),
    };
    let texts = ["customer_id", "email", "link_source", "link_id"].map(|name| column(name, &DataType::Utf8));
    let sql = format!("select {}, {} from {}", texts.join(", "), column("created_at", &instant()), quoted(&view.file.name));
    let session = session(engine, [view])?;
    let nameless = for_each(&session, &sql, view.file, crowd, |batch, resolver| {
        let mut nameless = 0;
        let [id, email, link_source, link_id] = [0, 1, 2, 3].map(|column| batch.column(column).as_string::<i32>());
        let created = batch.column(4).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            if id.is_null(row) {
                nameless += 1;
                continue;
            }
            let email = email.is_valid(row).then(|| email.value(row));
            let linked = link_source.is_valid(row) && link_id.is_valid(row);
            let link = linked.then(|| (link_source.value(row), link_id.value(row)));
            resolver.add(view.source, id.value(row), email, link, created.is_valid(row).then(|| created.value(row)));
        }
        nameless
    })
    .await?;
    if nameless > 0 {
        let message = format!("{nameless} rows have no customer_id, so that nobody can say whose they are");
        let place = view.file.place();
        let diagnosis = place.put(Diagnosis::new("missing_id", message), place.line);
        return Err(Failure::wrong(diagnosis.hint("leave such rows out with `where … is not null`, on purpose")));
    }
    Ok(())
}

/// Ids that orders and tickets mention and no list of customers of their source has.
async fn strangers(engine: &Engine, view: &View<'_>, listed: &[&View<'_>], crowd: &mut Crowd) -> Result<(), Failure> {
    let id = cast("customer_id", &DataType::Utf8);
    let mut sql = format!("select distinct {id} as id from {} where customer_id is not null", quoted(&view.file.name));
    for list in listed {
        sql = format!("select a.id from ({sql}) a left anti join (select {id} as id from {}) b on a.id = b.id", quoted(&list.file.name));
    }
    let views = listed.iter().copied().chain([view]);
    let session = session(engine, views)?;
    let all = for_each(&session, &sql, view.file, crowd, |batch, resolver| {
        let ids = batch.column(0).as_string::<i32>();
        for id in ids.iter().flatten() {
            resolver.add(view.source, id, None, None, None);
        }
        0
    });
    all.await.map(|_| ())
}

fn session<'v>(engine: &Engine, views: impl IntoIterator<Item = &'v View<'v>>) -> Result<Session, Failure> {
    let tables: BTreeMap<_, _> = views.into_iter().map(|view| (view.file.name.clone(), Arc::clone(&view.provider))).collect();
    Ok(engine.session(tables)?)
}

/// Puts a query's rows into the crowd, and says how many `take` could not use. Rows that stop coming because memory ran out are begun anew,
/// and what came of them before is forgotten.
async fn for_each(
    session: &Session,
    sql: &str,
    file: &SqlFile,
    crowd: &mut Crowd,
    take: impl Fn(&RecordBatch, &mut Resolver) -> usize,
) -> Result<usize, Failure> {
    let Crowd { resolver, held } = crowd;
    let query = Query { sql, origin: Origin::NOWHERE, params: BTreeMap::new() };
    let mark = resolver.mark();
    let place = file.place();
    let told = |error: EngineError| Failure { exit: error.exit(), diagnosis: Box::new(place.put(error.diagnosis(), place.line)) };
    let mut attempts = session.attempts(&query).map_err(told)?;
    loop {
        resolver.forget_since(mark);
        let mut unusable = 0;
        let mut rows = attempts.begin().await.map_err(told)?;
        let broken_off = loop {
            match rows.try_next().await {
                Ok(Some(batch)) => {
                    unusable += take(&batch, resolver);
                    if held.resize(resolver.size()).is_err() {
                        let all = count(session, sql).await.map_err(told)?;
                        return Err(told(held.refusal(resolver.size_of(all.saturating_add(mark.records())))));
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        match broken_off {
            None => return Ok(unusable),
            Some(error) if !attempts.another() => return Err(told(session.explain(&query, &error))),
            Some(_) => {}
        }
    }
}

/// How many rows a query has.
async fn count(session: &Session, sql: &str) -> Result<u64, EngineError> {
    let sql = format!("select count(*) from ({sql})");
    let counts = session.collect(&Query { sql: &sql, origin: Origin::NOWHERE, params: BTreeMap::new() }).await?;
    Ok(counts.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values()).map(|count| count.unsigned_abs()).sum())
}

/// `identities`, row by row as it is written.
pub(crate) fn identity_rows(resolved: Arc<Resolved>, schema: SchemaRef) -> SendableRecordBatchStream {
    let starts = (0..resolved.len()).step_by(BATCH);
    let columns = Arc::clone(&schema);
    let batches = futures::stream::iter(starts).map(move |start| {
        let [mut source, mut id, mut person] = [(); 3].map(|()| StringBuilder::new());
        for (from, its, who) in resolved.aliases(start, BATCH) {
            source.append_value(from);
            id.append_value(its);
            person.append_value(&who);
        }
        let arrays: Vec<ArrayRef> = vec![Arc::new(source.finish()), Arc::new(id.finish()), Arc::new(person.finish())];
        RecordBatch::try_new(Arc::clone(&columns), arrays)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, batches.map_err(DataFusionError::from)))
}
