//! How each kind of table is made.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Date32Array, Decimal128Array, RecordBatch, StringArray},
    datatypes::{DataType, Date32Type, Decimal128Type, Int64Type},
    error::ArrowError,
};
use chrono::{DateTime, NaiveDate};
use datafusion::{catalog::TableProvider, datasource::MemTable, error::DataFusionError, scalar::ScalarValue};

use super::workshop::{Trouble, Workshop};
use crate::{
    diagnosis::Diagnosis,
    engine::{Origin, Query, Session},
    lake::{Commit, Written},
    model::{
        SqlFile,
        canonical::{self, Money, Table},
        file::Place,
        people::{self, View},
        records::one_row_a_person,
        shape::{self, quoted},
        snapshot::{self, LEDGER_ROWS, Snapshot},
        staging::{self, FX_DAYS, Staged},
    },
};

/// The name under which the session knows a file's rows before they are put in shape.
const RESULT: &str = "result";

/// A query the program wrote itself.
pub(super) fn own_query(sql: &str, params: BTreeMap<String, ScalarValue>) -> Query<'_> {
    Query { sql, origin: Origin::NOWHERE, params }
}

/// Sorted by these columns, if there are any.
fn order_by(columns: &[String]) -> String {
    let columns: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
    if columns.is_empty() { String::new() } else { format!(" order by {}", columns.join(", ")) }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

const NOWHERE: Place<'_> = Place { file: None, line: 1 };

impl<'a> Workshop<'a> {
    /// A part of the ledger.
    pub(super) async fn write_snapshot(&self, name: &str, snapshot: &Snapshot, empty: bool) -> Result<Written, Trouble> {
        let Some(table) = canonical::ledger(name) else { return Err(no_such(name)) };
        let sql = snapshot::query(&table, empty);
        let mut tables = BTreeMap::from([(LEDGER_ROWS.to_owned(), snapshot.provider().map_err(not_laid_out)?)]);
        tables.insert("identities".to_owned(), self.provider("identities").await?);
        let session = self.request.engine.session(tables)?;
        self.replace(name, &session, &own_query(&sql, BTreeMap::new()), &[], NOWHERE).await
    }

    /// Who is who.
    pub(super) async fn write_identities(&self) -> Result<Written, Trouble> {
        let Some(table) = canonical::canonical("identities") else { return Err(no_such("identities")) };
        let mut views = Vec::new();
        for (source, of, file) in self.library.staging_with_people() {
            match self.view(source, of, file, &self.always).await {
                // A list of customers decides who is who, so its audits stand before that, and with it before `customers`.
                Ok(view) if of == "customers" => {
                    self.audit_view(&view).await?;
                    views.push(view);
                }
                Ok(view) => views.push(view),
                // What else is broken is told where its own table is made.
                Err(Trouble::Table(_)) if of != "customers" => {}
                Err(trouble) => return Err(trouble),
            }
        }
        let (resolved, _held) = people::resolve(self.request.engine, &views).await?;
        let rows = people::identity_rows(Arc::new(resolved), Arc::clone(&table.schema));
        Ok(self.lake().replace(table.name, Arc::clone(&table.schema), rows, self.commit()).await?)
    }

    /// A table every project has.
    pub(super) async fn write_canonical(&self, name: &str) -> Result<Written, Trouble> {
        let Some(table) = canonical::canonical(name) else { return Err(no_such(name)) };
        let views = self.views(name, &self.always).await?;
        let session = self.staging_session(&table, &views).await?;
        let staged = staged(&views);
        let written = match name {
            "customers" => self.write_customers(&table, &session, &staged).await?,
            _ => {
                for view in &views {
                    self.audit_view(view).await?;
                }
                let sorted = table.sorted();
                let sql = format!("select * from ({}){}", staging::canonical_query(&table, &staged), order_by(&sorted));
                self.replace(name, &session, &own_query(&sql, self.always.clone()), &sorted, NOWHERE).await?
            }
        };
        self.priced(&table, &session, &staged, written).await?;
        if name == "consents" {
            self.tell_homeless(&session, &staged).await?;
        }
        match self.audit(name, written, &owned(table.key), &[], None).await {
            Ok(()) => Ok(written),
            Err(Trouble::Table(mut failed)) => {
                if let Some(clash) = self.clash(&table, &session, &staged).await? {
                    failed.diagnosis = Box::new(clash);
                }
                Err(Trouble::Table(failed))
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Tells of answers that are nobody's or about nothing, which `consents` leaves out.
    async fn tell_homeless(&self, session: &Session, staged: &[Staged<'_>]) -> Result<(), Trouble> {
        let Some(sql) = canonical::canonical("consents").and_then(|table| staging::homeless_query(&table, staged)) else { return Ok(()) };
        let count = session.collect(&own_query(&sql, self.always.clone())).await?;
        let count = count.iter().filter(|batch| batch.num_rows() == 1);
        let count: i64 = count.map(|batch| batch.column(0).as_primitive::<Int64Type>().value(0)).sum();
        if count > 0 {
            tracing::warn!(table = "consents", rows = count, "answers without a customer, a channel or a purpose were left out");
        }
        Ok(())
    }

    /// What two staging files both give under one key, where that is why a key is not unique.
    async fn clash(&self, table: &Table, session: &Session, staged: &[Staged<'_>]) -> Result<Option<Diagnosis>, Trouble> {
        let (Some(sql), Some(column)) = (staging::clash_query(table, staged), table.key.first()) else { return Ok(None) };
        let rows = session.collect(&own_query(&sql, self.always.clone())).await?;
        let text = |batch: &RecordBatch, column: usize| batch.column(column).as_string::<i32>().value(0).to_owned();
        let Some(first) = rows.iter().find(|batch| batch.num_rows() > 0) else { return Ok(None) };
        let (key, one, other) = (text(first, 0), text(first, 1), text(first, 2));
        let files = staged.iter().filter(|part| part.file.name == one || part.file.name == other);
        let paths: Vec<String> = files.map(|part| part.file.path.display().to_string()).collect();
        let message = format!("`{}` would have two rows with {column} {key}: {} both give it", table.name, paths.join(" and "));
        let hint = match (column.ends_with("_id"), one.split_once("__")) {
            (true, Some((source, _))) => {
                format!("make the ids of each source its own, wherever its files name them, such as `'{source}-' || id as {column}`")
            }
            _ => "leave such rows out of one of the two files".to_owned(),
        };
        let place = staged.iter().find(|part| part.file.name == other).map_or(NOWHERE, |part| part.file.place());
        Ok(Some(place.put(Diagnosis::new("audit", message), place.line).hint(hint)))
    }

    /// One row a person.
    async fn write_customers(&self, table: &Table, session: &Session, staged: &[Staged<'_>]) -> Result<Written, Trouble> {
        let sql = staging::records_query(table, staged);
        let query = own_query(&sql, BTreeMap::new());
        let mut attempts = session.attempts(&query)?;
        loop {
            let rows = one_row_a_person(attempts.begin().await?, Arc::clone(&table.schema), &self.request.brand);
            let commit = Commit { sorted: table.sorted(), ..self.commit() };
            let written = self.lake().replace(table.name, Arc::clone(&table.schema), rows, commit).await;
            if written.is_ok() || !attempts.another() {
                return written.map_err(|error| match error.source_error() {
                    Some(source) => session.explain(&query, source).into(),
                    None => error.into(),
                });
            }
        }
    }

    /// The staging views of a canonical table; those of `sql/staging` that bind `$as_of` see what had happened by then.
    pub(super) async fn views(&self, name: &str, always: &BTreeMap<String, ScalarValue>) -> Result<Vec<View<'a>>, Trouble> {
        let mut views = Vec::new();
        for (source, file) in self.library.staging_of(name) {
            let table = file.staged().map_or("", |(_, table)| table);
            views.push(self.view(source, table, file, always).await?);
        }
        Ok(views)
    }

    /// A session over staging views and what their union needs beside them.
    async fn staging_session(&self, table: &Table, views: &[View<'_>]) -> Result<Session, Trouble> {
        let mut tables: BTreeMap<String, Arc<dyn TableProvider>> =
            views.iter().map(|view| (view.file.name.clone(), Arc::clone(&view.provider))).collect();
        if table.has_people() && self.standing.contains_key("identities") {
            tables.insert("identities".to_owned(), self.provider("identities").await?);
        }
        if !table.money().is_empty() && !views.is_empty() {
            tables.insert(FX_DAYS.to_owned(), self.fx_days().await?);
        }
        Ok(self.request.engine.session(tables)?)
    }

    /// The rate of every day up to the run's.
    async fn fx_days(&self) -> Result<Arc<dyn TableProvider>, Trouble> {
        let session = self.session(["fx_rates".to_owned()]).await?;
        let sql = "select upper(currency) as currency, date, rate from fx_rates \
                   where currency is not null and date is not null and rate is not null";
        let mut rates = Vec::new();
        for batch in session.collect(&own_query(sql, BTreeMap::new())).await? {
            let (currency, day) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Date32Type>());
            let rate = batch.column(2).as_primitive::<Decimal128Type>();
            rates.extend((0..batch.num_rows()).map(|row| (currency.value(row).to_owned(), day.value(row), rate.value(row))));
        }
        let until = self.request.as_of.date_naive().signed_duration_since(NaiveDate::default()).num_days();
        let days = staging::every_day(rates, i32::try_from(until).unwrap_or(i32::MAX));
        let schema = Arc::new(staging::fx_days_schema());
        let rate =
            Decimal128Array::from_iter_values(days.iter().map(|(.., rate)| *rate)).with_data_type(schema.field(2).data_type().clone());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(days.iter().map(|(currency, ..)| currency))),
            Arc::new(Date32Array::from_iter_values(days.iter().map(|(_, day, _)| *day))),
            Arc::new(rate),
        ];
        in_memory(RecordBatch::try_new(schema, columns).map_err(unexpected)?)
    }

    /// Refuses a table with amounts that no rate turns into the brand's currency.
    async fn priced(&self, table: &Table, session: &Session, staged: &[Staged<'_>], written: Written) -> Result<(), Trouble> {
        let given = |money: &&Money| staged.iter().any(|part| part.columns.column_with_name(money.amount).is_some());
        let lacking: Vec<String> = table.money().iter().filter(given).map(|money| format!("{} is null", quoted(money.base))).collect();
        let Some(sql) = staging::unpriced_query(table, staged).filter(|_| !lacking.is_empty()) else { return Ok(()) };
        let fresh = BTreeMap::from([(table.name.to_owned(), self.lake().provider(table.name, Some(written.version)).await?)]);
        let empty = format!("select count(*) from {} where {}", quoted(table.name), lacking.join(" or "));
        let count = self.request.engine.session(fresh)?.collect(&own_query(&empty, BTreeMap::new())).await?;
        if count.iter().all(|batch| batch.num_rows() == 0 || batch.column(0).as_primitive::<Int64Type>().value(0) == 0) {
            return Ok(());
        }
        let mut lacking = Vec::new();
        for batch in session.collect(&own_query(&sql, self.always.clone())).await? {
            let (currency, rows) = (batch.column(0).as_string::<i32>(), batch.column(2).as_primitive::<Int64Type>());
            let day = arrow::compute::cast(batch.column(1), &DataType::Date32).map_err(unexpected)?;
            let day = day.as_primitive::<Date32Type>();
            for row in 0..batch.num_rows() {
                let from = day.is_valid(row).then(|| DateTime::from_timestamp(i64::from(day.value(row)) * 86_400, 0)).flatten();
                let from = from.map(|from| format!(", from {} on", from.format("%Y-%m-%d"))).unwrap_or_default();
                lacking.push(format!("{} ({} rows{from})", currency.value(row), rows.value(row)));
            }
        }
        if lacking.is_empty() {
            return Ok(());
        }
        lacking.sort();
        let message =
            format!("`{}` has amounts that no rate turns into {}: {}", table.name, self.request.brand.currency, lacking.join(", "));
        let hint = "add rates to `fx_rates` (currency, date, rate) by a file sql/staging/<source>__fx_rates.sql; the latest rate on or before \
                    the day counts";
        Err(Trouble::failed(Diagnosis::new("missing_rate", message).hint(hint)))
    }

    /// A model, a segment or a metric.
    pub(super) async fn write_file(&self, file: &SqlFile) -> Result<Written, Trouble> {
        let place = file.place();
        let session = self.session(file.tables()).await?;
        let query = file.query(&self.always);
        let columns = session.schema(&query).await?;
        let shape = shape::of_result(&columns).map_err(|why| place.put(Diagnosis::new("column_type", why), place.line))?;
        if let Some(problem) = super::super::check::result_problem(file, &shape.schema) {
            return Err(problem.into());
        }
        let view = session.view(&query).await?;
        let result = self.request.engine.session(BTreeMap::from([(RESULT.to_owned(), view)]))?;
        let sql = format!("select {} from {RESULT}{}", shape.select, order_by(&file.front.key));
        let written = self.replace(&file.name, &result, &own_query(&sql, BTreeMap::new()), &file.front.key, place).await?;
        self.audit(&file.name, written, &file.front.key, &file.front.audits, Some(file)).await?;
        Ok(written)
    }
}

/// The views as the union's SQL wants them.
pub(super) fn staged<'v>(views: &'v [View<'_>]) -> Vec<Staged<'v>> {
    views.iter().map(|view| Staged { source: view.source, file: view.file, columns: &view.columns }).collect()
}

/// A few rows as a table.
pub(super) fn in_memory(rows: RecordBatch) -> Result<Arc<dyn TableProvider>, Trouble> {
    Ok(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(not_laid_out)?))
}

fn not_laid_out(error: DataFusionError) -> Trouble {
    Trouble::failed(Diagnosis::new("internal", format!("rows could not be laid out as a table: {error}")))
}

fn unexpected(error: ArrowError) -> Trouble {
    Trouble::failed(Diagnosis::new("internal", format!("rates could not be laid out: {error}")))
}

fn no_such(name: &str) -> Trouble {
    Diagnosis::new("unknown_table", format!("there is no table `{name}`")).into()
}
