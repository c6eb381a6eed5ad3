//! The figures `benches/run.sh` prints: one measure a process, so that each has a peak memory of its own.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::panic, reason = "a benchmark")]

use std::{fs::File, ops::Range, path::Path, sync::Arc, time::Instant};

use arrow::{
    array::{BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, TimeUnit},
};
use chrono::{DateTime, Utc};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use perennial::{
    lake::{Commit, Lake, LakeSettings},
    message::{Brand, Channel, Envelope, Field as Value, Message, Row, Templates},
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(16 << 20).build().unwrap();
    match arguments.first().map(String::as_str) {
        Some("merge") => runtime.block_on(merge(number(&arguments, 1))),
        Some("render") => render(number(&arguments, 1)),
        Some("shop") => shop(number(&arguments, 1), number(&arguments, 2), Path::new(&arguments[3])),
        _ => println!("usage: figures merge ROWS | render LETTERS | shop CUSTOMERS ORDERS FOLDER"),
    }
}

fn number(arguments: &[String], position: usize) -> i64 {
    arguments.get(position).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("argument {position} is a number"))
}

/// The most memory this process ever had, in MB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or_default() / 1024
}

fn orders_schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("order_id", DataType::Utf8, false),
        Field::new("customer_id", DataType::Utf8, true),
        Field::new("ordered_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("total", DataType::Decimal128(18, 4), true),
        Field::new("quantity", DataType::Int64, true),
    ]))
}

/// Orders with ids `from`, `from + step`, … below `to`.
fn orders(from: i64, to: i64, step: usize, quantity: i64) -> RecordBatch {
    let ids: Vec<i64> = (from..to).step_by(step).collect();
    let at = TimestampMicrosecondArray::from_iter_values(ids.iter().map(|id| 1_700_000_000_000_000 + id * 1_000_000)).with_timezone("UTC");
    let totals =
        Decimal128Array::from_iter_values(ids.iter().map(|id| i128::from(id % 30_000) * 100)).with_precision_and_scale(18, 4).unwrap();
    RecordBatch::try_new(
        orders_schema(),
        vec![
            Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("{id:012}")))),
            Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("c{}", id % 1_000_000)))),
            Arc::new(at),
            Arc::new(totals),
            Arc::new(Int64Array::from_iter_values(ids.iter().map(|_| quantity))),
        ],
    )
    .unwrap()
}

/// One percent of the rows, scattered over all keys, merged into a table of `rows`.
async fn merge(rows: i64) {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path(), &LakeSettings::default()).unwrap();
    let _lease = lake.write_lease().await.unwrap();
    let batches = (0..rows).step_by(100_000).map(move |from| Ok(orders(from, (from + 100_000).min(rows), 1, 1)));
    let stream = RecordBatchStreamAdapter::new(orders_schema(), futures::stream::iter(batches));
    let begun = Instant::now();
    lake.replace("orders", orders_schema(), Box::pin(stream), Commit::default()).await.unwrap();
    let written = begun.elapsed().as_secs_f64();
    let changes = vec![orders(37, rows, 100, 2)];
    let begun = Instant::now();
    let merged = lake.merge("orders", &["order_id".to_owned()], changes, Commit::default()).await.unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!((merged.rows, merged.inserted), (u64::try_from(rows).unwrap(), 0));
    println!(
        "merge: {} scattered changes into {rows} rows in {seconds:.2} s (first write {written:.2} s), peak {} MB",
        merged.updated,
        peak()
    );
}

/// The first win-back letter, filled in and made into mail for `letters` people.
fn render(letters: i64) {
    #[derive(serde::Deserialize)]
    struct Deployment {
        brand: Brand,
    }
    let text = std::fs::read_to_string("config/perennial.toml").unwrap();
    let brand = toml::from_str::<Deployment>(&text).unwrap().brand;
    let templates = Templates::load(Path::new("jobs/campaigns/win-back"), Channel::Email, &brand, true).unwrap();
    let text = |value: &str| Value::Text(value.to_owned());
    let mut row = Row::from([
        ("customer_id".to_owned(), text("crm:1")),
        ("locale".to_owned(), text("de-DE")),
        ("timezone".to_owned(), text("Europe/Berlin")),
        ("last_order_at".to_owned(), Value::Instant(DateTime::UNIX_EPOCH)),
        ("orders".to_owned(), Value::Integer(7)),
        ("step".to_owned(), Value::Integer(1)),
        ("next_product_price".to_owned(), Value::Decimal { unscaled: 944_000, scale: 4 }),
        ("currency".to_owned(), text("EUR")),
    ]);
    for (name, value) in [
        ("favourite_category", "tea"),
        ("last_product", "Earl Grey, 100 g"),
        ("last_product_url", "https://fernwood.example/p/earl-grey"),
        ("next_product", "Chef's Knife, 20 cm"),
        ("next_product_url", "https://fernwood.example/p/chefs-knife"),
        ("next_product_reason", "people who bought Earl Grey, 100 g often choose it"),
    ] {
        row.insert(name.to_owned(), text(value));
    }
    let (mut bytes, begun) = (0, Instant::now());
    for letter in 0..letters {
        row.insert("first_name".to_owned(), text(&format!("Zoë {letter}")));
        row.insert("last_name".to_owned(), text("O'Brien"));
        let envelope = Envelope {
            message_id: format!("{letter:032x}@fernwood.example"),
            plan: "win-back-20261122T010000Z-00000000".to_owned(),
            campaign: "win-back".to_owned(),
            to: format!("zoe.{letter}@example.org"),
            reply_to: "hello@fernwood.example".to_owned(),
            unsubscribe_url: Some(format!("https://fernwood.example/u/{letter}")),
            variant: Some("plain".to_owned()),
            step: 1,
            offer: None,
            as_of: DateTime::UNIX_EPOCH,
            date: DateTime::UNIX_EPOCH,
        };
        match templates.render(&row, &envelope).unwrap() {
            Message::Email { bytes: message, .. } => bytes += message.len(),
            Message::Webhook { .. } => panic!("win-back is an email"),
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let size = bytes / usize::try_from(letters).unwrap();
    println!(
        "render: {:.0} letters/s on one core ({letters} of {size} bytes in {seconds:.2} s), peak {} MB",
        letters as f64 / seconds,
        peak()
    );
}

/// Two years of a large shop as `customers.parquet` and `orders.parquet`, with the columns of the csv preset. A few customers buy often,
/// most rarely; all of it hangs on the numbers of the rows, so that two runs on one day measure the same.
fn shop(customers: i64, orders: i64, folder: &Path) {
    let now = Utc::now().timestamp();
    let two_years = 730 * 86_400;
    let instants = |seconds: Vec<i64>| {
        Arc::new(TimestampMicrosecondArray::from_iter_values(seconds.into_iter().map(|second| second * 1_000_000)).with_timezone("UTC"))
    };
    write(&folder.join("customers.parquet"), customers, |ids| {
        let text = |make: &dyn Fn(i64) -> String| Arc::new(StringArray::from_iter_values(ids.clone().map(make)));
        RecordBatch::try_from_iter([
            ("customer_id", text(&|id| format!("c{id}")) as _),
            ("email", text(&|id| format!("c{id}@example.org")) as _),
            ("first_name", text(&|id| format!("First{}", id % 5_000)) as _),
            ("last_name", text(&|id| format!("Last{}", id % 70_000)) as _),
            ("phone", text(&|_| String::new()) as _),
            ("locale", text(&|id| ["de-DE", "fr-FR", "en-GB", "es-ES"][spread(id, 4)].to_owned()) as _),
            ("timezone", text(&|_| "Europe/Berlin".to_owned()) as _),
            ("country", text(&|id| ["DE", "FR", "GB", "ES"][spread(id, 4)].to_owned()) as _),
            ("birthday", text(&|_| "1988-02-29".to_owned()) as _),
            ("created_at", instants(ids.clone().map(|_| now - two_years).collect()) as _),
            ("marketing_consent", Arc::new(ids.clone().map(|id| Some(spread(id, 10) > 0)).collect::<BooleanArray>()) as _),
        ])
        .unwrap()
    });
    write(&folder.join("orders.parquet"), orders, |ids| {
        let text = |make: &dyn Fn(i64) -> String| Arc::new(StringArray::from_iter_values(ids.clone().map(make)));
        // Squared, so that the first hundredth of the customers places a tenth of the orders.
        let buyer = |id: i64| {
            let share = spread(id, 1 << 20) as f64 / f64::from(1 << 20);
            (share * share * customers as f64) as i64
        };
        let seconds = |id: i64| i64::try_from(spread(id ^ 0x5eed, 730 * 86_400)).unwrap();
        let total = ids.clone().map(|id| i128::try_from(10_0000 + spread(id + 7, 200_0000)).unwrap());
        RecordBatch::try_from_iter([
            ("order_id", text(&|id| format!("o{id:09}")) as _),
            ("customer_id", text(&|id| format!("c{}", buyer(id))) as _),
            ("ordered_at", instants(ids.clone().map(|id| now - seconds(id)).collect()) as _),
            ("total", Arc::new(Decimal128Array::from_iter_values(total).with_precision_and_scale(18, 4).unwrap()) as _),
            ("currency", text(&|_| "EUR".to_owned()) as _),
            ("status", text(&|id| if spread(id + 3, 20) == 0 { "refunded" } else { "paid" }.to_owned()) as _),
            ("product", text(&|id| format!("Product {}", spread(id + 11, 2_000))) as _),
            ("category", text(&|id| format!("Category {}", spread(id + 11, 2_000) % 12)) as _),
        ])
        .unwrap()
    });
}

/// A number below `below` that looks drawn, always the same for one `id` (the finaliser of MurmurHash3).
fn spread(id: i64, below: usize) -> usize {
    let mut mixed = u64::from_ne_bytes(id.to_ne_bytes()).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    usize::try_from((mixed ^ (mixed >> 33)) % below as u64).unwrap()
}

fn write(path: &Path, rows: i64, batch: impl Fn(Range<i64>) -> RecordBatch) {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer: Option<ArrowWriter<File>> = None;
    for from in (0..rows).step_by(100_000) {
        let batch = batch(from..(from + 100_000).min(rows));
        writer
            .get_or_insert_with(|| ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties.clone())).unwrap())
            .write(&batch)
            .unwrap();
    }
    writer.unwrap().close().unwrap();
}
