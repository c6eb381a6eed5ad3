//! A project of two sources for the tests of this room: a shop and a CRM, a real lake, ledger and engine.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, RecordBatch},
    datatypes::{Schema, SchemaRef},
    json::ReaderBuilder,
    util::display::array_value_to_string,
};
use chrono::{DateTime, TimeDelta, Utc};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use serde_json::{Value, json};

use super::{Bench, BrandDefaults, BuildRequest, Built, Library, Outcome, build, canonical::instant};
use crate::{
    engine::{Engine, EngineSettings},
    lake::{Commit, Lake, LakeSettings},
    ledger::{Ledger, LedgerSettings},
};

/// A project in a folder of its own: a shop and a CRM.
pub(super) struct Project {
    pub(super) folder: tempfile::TempDir,
    pub(super) lake: Lake,
    pub(super) ledger: Ledger,
    pub(super) engine: Engine,
}

pub(super) fn at(day: i64) -> DateTime<Utc> {
    "2026-11-01T01:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(day)
}

pub(super) fn brand() -> BrandDefaults {
    BrandDefaults { locale: "en-GB".into(), timezone: "Europe/Berlin".into(), currency: "EUR".into() }
}

pub(super) fn raw_schema(table: &str) -> SchemaRef {
    use arrow::datatypes::{DataType, Field};
    let column = |name: &str| {
        let kind = match name {
            "created_at" | "updated_at" | "deleted_at" | "ordered_at" | "at" => instant(),
            "total" => DataType::Decimal128(18, 4),
            "rate" => DataType::Decimal128(18, 8),
            "date" => DataType::Date32,
            _ => DataType::Utf8,
        };
        Field::new(name, kind, true)
    };
    let columns: &[&str] = match table {
        "shop__customers" => &["id", "email", "first_name", "created_at", "updated_at", "deleted_at"],
        "crm__contacts" => &["id", "email", "first_name", "phone", "timezone", "shop_id", "created_at", "updated_at", "deleted_at"],
        "crm__consents" => &["contact_id", "channel", "purpose", "status", "at"],
        "shop__fx_rates" => &["currency", "date", "rate"],
        _ => &["id", "customer_id", "ordered_at", "status", "currency", "total"],
    };
    Arc::new(Schema::new(columns.iter().map(|name| column(name)).collect::<Vec<_>>()))
}

pub(super) const RAW: [&str; 5] = ["shop__customers", "crm__contacts", "crm__consents", "shop__fx_rates", "shop__orders"];

impl Project {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(folder.path(), &LakeSettings::default()).unwrap();
        let ledger = Ledger::open(folder.path(), &LedgerSettings::default()).await.unwrap();
        let engine = Engine::new(folder.path(), &EngineSettings { memory_limit: "512MiB".into(), ..EngineSettings::default() }).unwrap();
        let project = Self { folder, lake, ledger, engine };
        for table in RAW {
            project.lake.ensure(table, raw_schema(table)).await.unwrap();
        }
        project.write(
            "staging/shop__customers",
            "select id as customer_id, email, first_name, created_at, updated_at, deleted_at from shop__customers",
        );
        project.write(
            "staging/crm__customers",
            "select id as customer_id, email, first_name, phone, timezone, case when shop_id is not null then 'shop' end as link_source,\n\
             shop_id as link_id, created_at, updated_at, deleted_at from crm__contacts",
        );
        project.write(
            "staging/crm__consents",
            "select contact_id as customer_id, channel, purpose, status, at from crm__consents where at <= $as_of",
        );
        project.write("staging/shop__fx_rates", "select * from shop__fx_rates");
        project.write(
            "staging/shop__orders",
            "select id as order_id, customer_id, ordered_at, status, currency, total from shop__orders where ordered_at <= $as_of",
        );
        project.write(
            "models/features",
            "/* ---\nkey = 'customer_id'\n--- */\nselect customer_id, count(*) as orders, max(ordered_at) as last_order_at, sum(total_base) as total\n\
             from orders where customer_id is not null group by customer_id",
        );
        project.write(
            "segments/lapsed",
            "/* ---\nkey = 'customer_id'\nparams = { quiet = 20 }\naudits = ['rows(0, 100)']\n--- */\n-- People gone quiet.\n\
             select f.customer_id, c.email, f.orders from features f join customers c on c.customer_id = f.customer_id\n\
             where days_between(f.last_order_at, $as_of) > $quiet",
        );
        project.write(
            "metrics/size",
            "/* ---\nkey = ['name', 'part']\n--- */\nselect 'people' as name, 'all' as part, count(*) as n from customers\n\
             union all select 'people' as name, country as part, count(*) as n from customers where country is not null group by country\n\
             union all select 'orders' as name, 'all' as part, count(*) as n from orders",
        );
        project
    }

    pub(super) fn write(&self, name: &str, sql: impl AsRef<[u8]>) {
        let path = self.folder.path().join(format!("sql/{name}.sql"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, sql).unwrap();
    }

    pub(super) fn library(&self) -> Library {
        Library::load(self.folder.path()).unwrap()
    }

    pub(super) async fn give(&self, table: &str, rows: Value) {
        let schema = self.lake.schema(table, None).await.unwrap();
        let mut all = self.lake.read(table, None).await.unwrap();
        all.push(batch(&schema, &rows));
        let all = RecordBatchStreamAdapter::new(Arc::clone(&schema), futures::stream::iter(all.into_iter().map(Ok)));
        self.lake.replace(table, schema, Box::pin(all), Commit::default()).await.unwrap();
    }

    /// Two people whom the CRM and the shop both know, one only the shop knows, and a buyer nobody knows.
    pub(super) async fn people(&self) {
        let shop = json!([
            {"id": "1", "email": "ann@example.org", "first_name": "Ann", "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-02-01T00:00:00Z"},
            {"id": "2", "email": "Bob@example.org", "first_name": null, "created_at": "2026-01-03T00:00:00Z", "updated_at": "2026-02-01T00:00:00Z"},
            {"id": "3", "email": "cy@example.org", "first_name": "Cy", "created_at": "2026-01-03T00:00:00Z", "updated_at": "2026-02-01T00:00:00Z",
             "deleted_at": "2026-05-01T00:00:00Z"},
        ]);
        self.give("shop__customers", shop).await;
        let crm = json!([
            {"id": "a", "email": "ann.other@example.org", "first_name": "Anne", "phone": "1", "timezone": "Asia/Tokyo", "shop_id": "1",
             "created_at": "2025-06-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"},
            {"id": "b", "email": "bob@example.org", "first_name": "Bob", "phone": "2",
             "created_at": "2026-06-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "deleted_at": "2026-06-05T00:00:00Z"},
        ]);
        self.give("crm__contacts", crm).await;
        let orders = json!([
            {"id": "o1", "customer_id": "1", "ordered_at": "2026-09-01T10:00:00Z", "status": "paid", "currency": "EUR", "total": "10.5"},
            {"id": "o2", "customer_id": "2", "ordered_at": "2026-10-30T10:00:00Z", "status": "paid", "currency": "USD", "total": "10"},
            {"id": "o3", "customer_id": "9", "ordered_at": "2026-09-01T10:00:00Z", "status": "paid", "currency": "EUR", "total": "1"},
            {"id": "o4", "customer_id": "1", "ordered_at": "2026-11-20T10:00:00Z", "status": "paid", "currency": "EUR", "total": "7"},
        ]);
        self.give("shop__orders", orders).await;
        self.give("shop__fx_rates", json!([{"currency": "usd", "date": "2026-10-01", "rate": "0.9"}])).await;
    }

    pub(super) async fn build(&self, day: i64) -> Built {
        self.build_with(day, None, &[]).await
    }

    pub(super) async fn build_with(&self, day: i64, scratch: Option<&Lake>, only: &[String]) -> Built {
        let request = BuildRequest {
            lake: &self.lake,
            scratch,
            engine: &self.engine,
            ledger: &self.ledger,
            brand: brand(),
            as_of: at(day),
            now: at(day),
            run: None,
            only,
        };
        build(&self.library(), request).await.unwrap()
    }

    pub(super) fn bench<'a>(&'a self, library: &'a Library, built: &'a Built) -> Bench<'a> {
        Bench {
            library,
            engine: &self.engine,
            lake: &self.lake,
            published: &built.versions,
            as_of: built.as_of,
            brand: brand(),
            params: BTreeMap::new(),
        }
    }

    /// The rows of a table as readers see it, as text.
    pub(super) async fn rows(&self, built: &Built, table: &str) -> Vec<String> {
        texts(&self.lake.read(table, Some(built.versions[table])).await.unwrap())
    }
}

pub(super) fn batch(schema: &SchemaRef, rows: &Value) -> RecordBatch {
    let mut decoder = ReaderBuilder::new(Arc::clone(schema)).build_decoder().unwrap();
    decoder.serialize(rows.as_array().unwrap()).unwrap();
    decoder.flush().unwrap().unwrap()
}

pub(super) fn texts(rows: &[RecordBatch]) -> Vec<String> {
    let cell =
        |column: &dyn Array, row: usize| if column.is_null(row) { "-".to_owned() } else { array_value_to_string(column, row).unwrap() };
    let line = |batch: &RecordBatch, row: usize| batch.columns().iter().map(|column| cell(column, row)).collect::<Vec<_>>().join("|");
    let mut lines: Vec<String> =
        rows.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| line(batch, row)).collect::<Vec<_>>()).collect();
    lines.sort();
    lines
}

pub(super) fn outcome<'b>(built: &'b Built, name: &str) -> &'b Outcome {
    &built.tables.iter().find(|table| table.name == name).unwrap().outcome
}
