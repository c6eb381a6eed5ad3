//! Real dirt: UCI Online Retail through the file source, to plans for customers who really lapsed. The figures are computed here a second
//! time, by other code, from the same file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Europe::London;
use flate2::read::GzDecoder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::support::{Folder, copy, repository, skip};

const AS_OF: &str = "2011-12-10T00:00:00Z";

struct Line {
    number: usize,
    invoice: String,
    article: String,
    quantity: i64,
    at: DateTime<Utc>,
    price: f64,
    customer: Option<String>,
}

fn lines(file: &Path) -> Vec<Line> {
    let mut reader = csv::Reader::from_reader(GzDecoder::new(File::open(file).unwrap()));
    let mut lines = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let record = record.unwrap();
        let wall = NaiveDateTime::parse_from_str(&record[4], "%Y-%m-%d %H:%M:%S").unwrap();
        lines.push(Line {
            number: index,
            invoice: record[0].to_owned(),
            article: record[1].to_owned(),
            quantity: record[3].parse().unwrap(),
            at: London.from_local_datetime(&wall).earliest().unwrap().to_utc(),
            price: record[5].parse().unwrap(),
            customer: record[6].split('.').next().filter(|id| !id.is_empty()).map(str::to_owned),
        });
    }
    lines
}

#[derive(Default)]
struct Figures {
    lines: usize,
    without_customer: usize,
    orders: usize,
    refunded: usize,
    customers: BTreeSet<String>,
    lapsed: BTreeSet<String>,
    buyers: BTreeMap<String, Buyer>,
}

/// What somebody bought and kept.
#[derive(Debug, Default, PartialEq)]
struct Buyer {
    /// The London days of their orders, each order once, sorted.
    days: Vec<NaiveDate>,
    /// Ten-thousandths of a pound.
    kept: i64,
}

/// What the project should find, worked out by loops and maps.
fn expected(file: &Path) -> Figures {
    let as_of: DateTime<Utc> = AS_OF.parse().unwrap();
    let lines = lines(file);
    let mut figures = Figures { lines: lines.len(), ..Figures::default() };
    figures.without_customer = lines.iter().filter(|line| line.customer.is_none()).count();
    let mut known: Vec<&Line> = lines.iter().filter(|line| line.customer.is_some() && line.at <= as_of).collect();
    figures.customers = known.iter().filter_map(|line| line.customer.clone()).collect();
    known.sort_by_key(|line| (line.at, line.number));
    // The n-th purchase and the n-th cancellation of as many of an article undo each other.
    let mut cancelled: BTreeMap<(&str, &str, i64), Vec<DateTime<Utc>>> = BTreeMap::new();
    for line in known.iter().filter(|line| line.invoice.starts_with('C') && line.quantity < 0) {
        cancelled.entry((line.customer.as_deref().unwrap(), &line.article, -line.quantity)).or_default().push(line.at);
    }
    let mut seen: BTreeMap<(&str, &str, i64), usize> = BTreeMap::new();
    struct Order {
        customer: String,
        at: DateTime<Utc>,
        kept: bool,
        /// Ten-thousandths of a pound.
        worth: i64,
    }
    let mut orders: BTreeMap<&str, Order> = BTreeMap::new();
    for line in known.iter().filter(|line| !line.invoice.starts_with(['C', 'A']) && line.quantity > 0 && line.price > 0.0) {
        let key = (line.customer.as_deref().unwrap(), line.article.as_str(), line.quantity);
        let nth = seen.entry(key).or_default();
        let undone = cancelled.get(&key).and_then(|dates| dates.get(*nth)).is_some_and(|at| *at >= line.at);
        *nth += 1;
        let order = orders.entry(&line.invoice).or_insert_with(|| Order { customer: key.0.to_owned(), at: line.at, kept: false, worth: 0 });
        order.at = order.at.min(line.at);
        order.kept |= !undone;
        if !undone {
            order.worth += line.quantity * (line.price * 10_000.0).round() as i64;
        }
    }
    figures.orders = orders.len();
    figures.refunded = orders.values().filter(|order| !order.kept).count();
    let mut by_customer: BTreeMap<&str, Vec<&Order>> = BTreeMap::new();
    for order in orders.values() {
        by_customer.entry(&order.customer).or_default().push(order);
    }
    for (customer, orders) in by_customer {
        let paid = orders.iter().filter(|order| order.kept).count();
        if paid > 0 {
            let buyer = figures.buyers.entry(customer.to_owned()).or_default();
            for order in orders.iter().filter(|order| order.kept) {
                buyer.days.push(order.at.with_timezone(&London).date_naive());
                buyer.kept += order.worth;
            }
            buyer.days.sort_unstable();
        }
        let mut days: Vec<NaiveDate> = orders.iter().filter(|order| order.kept).map(|order| order.at.date_naive()).collect();
        days.sort_unstable();
        days.dedup();
        let mut gaps: Vec<i64> = days.windows(2).map(|pair| (pair[1] - pair[0]).num_days()).collect();
        gaps.sort_unstable();
        // Twice the median, so that it stays a whole number.
        let rhythm = if gaps.is_empty() { 0 } else { gaps[(gaps.len() - 1) / 2] + gaps[gaps.len() / 2] };
        let last = orders.iter().map(|order| order.at).max().unwrap();
        let quiet = i64::from(as_of.with_timezone(&London).num_days_from_ce() - last.with_timezone(&London).num_days_from_ce());
        if paid >= 2 && quiet > 60 && quiet < 540 && 2 * quiet > 3 * rhythm {
            figures.lapsed.insert(customer.to_owned());
        }
    }
    figures
}

#[test]
fn real_lapsed_customers_are_found_in_real_data() {
    let data: PathBuf = repository().join("../shared/data/online_retail/online_retail.csv.gz");
    if !data.exists() {
        return skip("the UCI Online Retail file is not here");
    }
    let folder = Folder::of("online_retail");
    for shared in ["sql/models", "sql/segments", "sql/metrics"] {
        copy(&repository().join(shared), &folder.path(shared));
    }
    std::fs::create_dir_all(folder.path("data-in")).unwrap();
    std::os::unix::fs::symlink(&data, folder.path("data-in/online_retail.csv.gz")).unwrap();
    let expected = expected(&data);

    let run = folder.json(&["run", "nightly", "--as-of", AS_OF]);
    assert_eq!(run["pulled"][0]["rows"].as_u64().unwrap() as usize, expected.lines);
    let raw = folder.json(&["query", "select count(*) as lines, count(*) filter (where customer_id is null) as nobody from retail__lines"]);
    assert_eq!(raw, serde_json::json!([{ "lines": expected.lines, "nobody": expected.without_customer }]));

    let plans = folder.json(&["plans"]);
    let plan = plans.as_array().unwrap().iter().find(|plan| plan["campaign"] == "call-list").unwrap();
    assert_eq!((plan["as_of"].as_str(), plan["replay"].as_bool()), (Some(AS_OF), Some(true)), "{plan}");
    let planned: BTreeSet<String> = crate::bad_input::sent(&folder, plan["plan"].as_str().unwrap())
        .into_iter()
        .map(|id| id.strip_prefix("retail:").unwrap().to_owned())
        .collect();
    let missing: Vec<_> = expected.lapsed.difference(&planned).take(5).collect();
    let added: Vec<_> = planned.difference(&expected.lapsed).take(5).collect();
    assert_eq!((missing, added), (vec![], vec![]), "{} expected, {} planned", expected.lapsed.len(), planned.len());
    assert!(planned.len() > 200, "{}", planned.len());
    assert_eq!(plan["in_segment"].as_u64().unwrap() as usize, expected.lapsed.len());

    // The tables behind the plan, in their scratch folder: figures by figures.
    let built = folder.json(&["build", "--as-of", AS_OF]);
    let rows = |table: &str| {
        built["tables"].as_array().unwrap().iter().find(|built| built["name"] == table).unwrap()["rows"].as_u64().unwrap() as usize
    };
    assert_eq!((rows("orders"), rows("customers")), (expected.orders, expected.customers.len()));
    assert!(expected.refunded > 0);

    let scratch = std::fs::read_dir(folder.path("data/scratch")).unwrap().next().unwrap().unwrap().path();
    same_scores(&expected.buyers, &scratch.join("customer_rfm"));
    same_repeat_rates(&expected.buyers, &scratch.join("retention"));
}

/// Recency, frequency and money of every buyer, their fifths and their cells.
fn same_scores(buyers: &BTreeMap<String, Buyer>, table: &Path) {
    // By r from 1 to 5, then by the mean of f and m from 1 to 5, as the map is drawn.
    const CELLS: [[&str; 5]; 5] = [
        ["lost", "hibernating", "at_risk", "at_risk", "cannot_lose"],
        ["hibernating", "hibernating", "at_risk", "at_risk", "cannot_lose"],
        ["about_to_sleep", "about_to_sleep", "needs_attention", "loyal", "loyal"],
        ["promising", "potential_loyalists", "potential_loyalists", "loyal", "loyal"],
        ["new_customers", "potential_loyalists", "potential_loyalists", "champions", "champions"],
    ];
    let today = AS_OF.parse::<DateTime<Utc>>().unwrap().with_timezone(&London).date_naive();
    let recency = |buyer: &Buyer| (today - *buyer.days.last().unwrap()).num_days();
    let fifth = |values: Vec<i64>| {
        let mut sorted = values;
        sorted.sort_unstable();
        let cuts: Vec<i64> = (1..5).map(|k| sorted[(k * sorted.len()).div_ceil(5) - 1]).collect();
        move |value: i64| cuts.iter().filter(|cut| **cut < value).count() + 1
    };
    let r = fifth(buyers.values().map(recency).collect());
    let f = fifth(buyers.values().map(|buyer| buyer.days.len() as i64).collect());
    let m = fifth(buyers.values().map(|buyer| buyer.kept).collect());
    let mut found = BTreeMap::new();
    for row in rows_of(table) {
        let text = |column: &str| row[column].as_str().unwrap_or_else(|| panic!("{row}")).to_owned();
        let number = |column: &str| row[column].as_i64().unwrap_or_else(|| panic!("{row}"));
        let money = (row["monetary"].as_f64().unwrap() * 10_000.0).round() as i64;
        let scores = (number("r") as usize, number("f") as usize, number("m") as usize);
        let customer = text("customer_id").strip_prefix("retail:").unwrap().to_owned();
        found.insert(customer, (number("recency_days"), number("frequency"), money, scores, text("cell")));
    }
    assert_eq!(found.len(), buyers.len());
    for (customer, buyer) in buyers {
        let scores = (6 - r(recency(buyer)), f(buyer.days.len() as i64), m(buyer.kept));
        let cell = CELLS[scores.0 - 1][(scores.1 + scores.2) / 2 - 1];
        assert_eq!(found[customer], (recency(buyer), buyer.days.len() as i64, buyer.kept, scores, cell.to_owned()), "{customer}");
    }
    let cells: BTreeSet<&String> = found.values().map(|row| &row.4).collect();
    assert!(cells.len() >= 10, "{cells:?}");
}

/// Of those whose first order fell into a month, who ordered again on a later day within ninety.
fn same_repeat_rates(buyers: &BTreeMap<String, Buyer>, table: &Path) {
    let mut cohorts: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for buyer in buyers.values() {
        let again = buyer.days.iter().any(|day| (1..=90).contains(&(*day - buyer.days[0]).num_days()));
        let cohort = cohorts.entry(buyer.days[0].format("%Y-%m-01").to_string()).or_default();
        cohort.0 += 1;
        cohort.1 += i64::from(again);
    }
    let (mut months, mut known) = (0, 0);
    for row in rows_of(table) {
        let (new, again) = cohorts[row["month"].as_str().unwrap()];
        assert_eq!(row["new_customers"].as_i64(), Some(new), "{row}");
        months += 1;
        if let Some(rate) = row["repeat_rate"].as_f64() {
            assert!((rate - again as f64 / new as f64).abs() < 0.0001, "{again} of {new}: {row}");
            known += 1;
        }
    }
    assert!(months == cohorts.len() && known >= 9, "{known} of {months} months");
}

/// The rows a table was last made of; its files are named `v<version>-<number>.parquet`.
fn rows_of(table: &Path) -> Vec<serde_json::Value> {
    let names = std::fs::read_dir(table).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: Vec<String> = names.filter(|name| name.ends_with(".parquet")).collect();
    let newest = files.iter().map(|name| name.split('-').next().unwrap()).max().unwrap();
    let mut json = arrow::json::ArrayWriter::new(Vec::new());
    for file in files.iter().filter(|name| name.starts_with(newest)) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(table.join(file)).unwrap()).unwrap().build().unwrap();
        reader.for_each(|batch| json.write(&batch.unwrap()).unwrap());
    }
    json.finish().unwrap();
    serde_json::from_slice(&json.into_inner()).unwrap()
}
