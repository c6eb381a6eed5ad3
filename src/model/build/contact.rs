//! Everyone's present state, for the moment of sending.
//!
//! Segments look at the world as of the run's logical time; this looks at everything that was pulled, so that who opted out, ordered or
//! complained between the slot and the pull is known to have done so.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, TimestampMicrosecondType},
};
use chrono::{DateTime, Utc};
use datafusion::{common::DataFusionError, execution::SendableRecordBatchStream};
use futures::StreamExt;

use super::{
    make::{own_query, staged},
    workshop::{Trouble, Workshop},
};
use crate::{
    ledger::{ContactState, CustomerId, FreshContactState},
    model::{
        ModelError, canonical, params,
        shape::{cast, literal, quoted},
        staging::{self, NO_ANSWER, YES},
    },
};

/// The tables everyone's state is read from.
pub(crate) const CONTACT_TABLES: [&str; 5] = ["customers", "identities", "consents", "orders", "tickets"];

/// Collects everyone's state; none where this build did not make all it is read from.
pub(super) async fn collect(shop: &Workshop<'_>) -> Result<Option<FreshContactState>, ModelError> {
    if !CONTACT_TABLES.iter().all(|name| shop.standing.contains_key(*name)) {
        return Ok(None);
    }
    match gather(shop).await {
        Ok(fresh) => Ok(Some(fresh)),
        Err(Trouble::Build(error)) => Err(*error),
        Err(Trouble::Table(failure)) => Err(ModelError::Stopped(*failure)),
    }
}

async fn gather(shop: &Workshop<'_>) -> Result<FreshContactState, Trouble> {
    let present = params::always(shop.request.as_of.max(shop.request.now), &shop.request.brand);
    let mut tables = BTreeMap::new();
    for name in ["customers", "identities"] {
        tables.insert(name.to_owned(), shop.provider(name).await?);
    }
    let mut union = BTreeMap::new();
    for name in ["consents", "orders", "tickets"] {
        let views = shop.views(name, &present).await?;
        let Some(table) = canonical::canonical(name) else { continue };
        union.insert(name, staging::rows_query(&table, &staged(&views)));
        tables.extend(views.iter().map(|view| (view.file.name.clone(), std::sync::Arc::clone(&view.provider))));
    }
    let mut members = Vec::new();
    for segment in shop.library.segments() {
        if let Some(provider) = shop.published_provider(&segment.name).await? {
            tables.insert(segment.name.clone(), provider);
            members.push(format!("select customer_id, {} as segment from {}", literal(&segment.name), quoted(&segment.name)));
        }
    }
    let sql = query(&union, &members);
    let session = shop.request.engine.session(tables)?;
    let query = own_query(&sql, present);
    let names = aliases_query();
    let names = own_query(&names, BTreeMap::new());
    let mut attempts = session.attempts(&query)?;
    let fresh = loop {
        let mut fresh = shop.request.ledger.fresh_contact_state().await.map_err(ModelError::from)?;
        match fill(&mut fresh, attempts.begin().await?).await? {
            Ok(()) => {}
            Err(error) if !attempts.another() => return Err(session.explain(&query, &error).into()),
            Err(_) => continue,
        }
        // Names that were merged away: what the ledger holds under them belongs to the person they are part of now.
        for batch in session.collect(&names).await? {
            fresh.add_aliases(&aliases(&batch)).await.map_err(ModelError::from)?;
        }
        break fresh;
    };
    tracing::info!(people = fresh.people(), "contact state");
    Ok(fresh)
}

/// Adds everybody; within, what broke the rows off.
async fn fill(fresh: &mut FreshContactState, mut rows: SendableRecordBatchStream) -> Result<Result<(), DataFusionError>, ModelError> {
    while let Some(batch) = rows.next().await {
        match batch {
            Ok(batch) => fresh.add(&people(&batch)).await?,
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

/// One row a person. Money that went back is a row of its own and no order. Of several answers about one channel the latest counts, and of two at one instant the one that forbids; only a plain
/// yes is consent, and whatever else a source says about a person who was asked is a no.
fn query(union: &BTreeMap<&str, String>, members: &[String]) -> String {
    let of = |name: &str| union.get(name).map_or("", String::as_str);
    let latest = |purpose: &str, answer: &str| format!("max(at) filter (where purpose = '{purpose}' and status {answer})");
    let latest = |purpose: &str| {
        let (yes, no) = (latest(purpose, &format!("= {YES}")), latest(purpose, &format!("not in ({YES}, {NO_ANSWER})")));
        format!("{yes} as {purpose}_yes, {no} as {purpose}_no")
    };
    let consent = |purpose: &str| {
        format!(
            "case when n.{purpose}_yes is null and n.{purpose}_no is null then 'unknown' \
             when n.{purpose}_no is null or n.{purpose}_yes > n.{purpose}_no then 'granted' else 'denied' end as {purpose}"
        )
    };
    let members = match members.is_empty() {
        true => "select '' as customer_id, '' as segment where false".to_owned(),
        false => members.join(" union all "),
    };
    format!(
        "select c.customer_id, {}, {}, coalesce(t.open, false) as open, o.last_at as ordered, t.last_at as complained, c.timezone, \
         c.deleted_at is not null as deleted, g.segments \
         from customers c \
         left join (select customer_id, {}, {} from ({}) where channel = 'email' and customer_id is not null group by customer_id) n \
           on n.customer_id = c.customer_id \
         left join (select customer_id, max(ordered_at) as last_at from ({}) \
           where customer_id is not null and coalesce(status, '') <> 'cancelled' and coalesce(total, total_base, 0) >= 0 \
           group by customer_id) o on o.customer_id = c.customer_id \
         left join (select customer_id, max(opened_at) as last_at, \
           bool_or(coalesce(resolved_at > $as_of, coalesce(status, '') not in ('solved', 'closed', 'resolved'))) as open from ({}) \
           where customer_id is not null and kind = 'complaint' group by customer_id) t on t.customer_id = c.customer_id \
         left join (select customer_id, string_agg(segment, ',') as segments from ({members}) group by customer_id) g \
           on g.customer_id = c.customer_id",
        consent("marketing"),
        consent("service"),
        latest("marketing"),
        latest("service"),
        staging::answers(of("consents")),
        of("orders"),
        of("tickets"),
    )
}

fn aliases_query() -> String {
    let alias = cast("concat(source, ':', source_id)", &DataType::Utf8);
    format!("select alias, customer_id from (select {alias} as alias, customer_id from identities) where alias <> customer_id")
}

fn aliases(batch: &RecordBatch) -> Vec<(String, CustomerId)> {
    let (Some(alias), Some(customer)) = (batch.column(0).as_string_opt::<i32>(), batch.column(1).as_string_opt::<i32>()) else {
        return Vec::new();
    };
    let known = (0..batch.num_rows()).filter(|row| alias.is_valid(*row) && customer.is_valid(*row));
    known.map(|row| (alias.value(row).to_owned(), CustomerId::new(customer.value(row)))).collect()
}

fn people(batch: &RecordBatch) -> Vec<ContactState> {
    let text = |column: usize, row: usize| {
        let column = batch.column(column).as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    let yes =
        |column: usize, row: usize| batch.column(column).as_boolean_opt().is_some_and(|column| column.is_valid(row) && column.value(row));
    let at = |column: usize, row: usize| -> Option<DateTime<Utc>> {
        let column = batch.column(column).as_primitive_opt::<TimestampMicrosecondType>()?;
        column.is_valid(row).then(|| DateTime::from_timestamp_micros(column.value(row))).flatten()
    };
    let people = (0..batch.num_rows()).map(|row| ContactState {
        customer_id: CustomerId::new(text(0, row).unwrap_or_default()),
        marketing_email: text(1, row).unwrap_or("unknown").to_owned(),
        service_email: text(2, row).unwrap_or("unknown").to_owned(),
        open_complaint: yes(3, row),
        last_order_at: at(4, row),
        last_complaint_at: at(5, row),
        timezone: text(6, row).unwrap_or("UTC").to_owned(),
        deleted: yes(7, row),
        segments: sorted(text(8, row)),
    });
    people.collect()
}

fn sorted(list: Option<&str>) -> Vec<String> {
    let mut names: Vec<String> = list.into_iter().flat_map(|list| list.split(',')).map(str::to_owned).collect();
    names.sort();
    names
}
