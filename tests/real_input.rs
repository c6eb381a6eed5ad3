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
    }
    let mut orders: BTreeMap<&str, Order> = BTreeMap::new();
    for line in known.iter().filter(|line| !line.invoice.starts_with(['C', 'A']) && line.quantity > 0 && line.price > 0.0) {
        let key = (line.customer.as_deref().unwrap(), line.article.as_str(), line.quantity);
        let nth = seen.entry(key).or_default();
        let undone = cancelled.get(&key).and_then(|dates| dates.get(*nth)).is_some_and(|at| *at >= line.at);
        *nth += 1;
        let order = orders.entry(&line.invoice).or_insert_with(|| Order { customer: key.0.to_owned(), at: line.at, kept: false });
        order.at = order.at.min(line.at);
        order.kept |= !undone;
    }
    figures.orders = orders.len();
    figures.refunded = orders.values().filter(|order| !order.kept).count();
    let mut by_customer: BTreeMap<&str, Vec<&Order>> = BTreeMap::new();
    for order in orders.values() {
        by_customer.entry(&order.customer).or_default().push(order);
    }
    for (customer, orders) in by_customer {
        let paid = orders.iter().filter(|order| order.kept).count();
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
    for shared in ["sql/models", "sql/segments"] {
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
    assert!(planned.len() > 500, "{}", planned.len());
    assert_eq!(plan["in_segment"].as_u64().unwrap() as usize, expected.lapsed.len());

    // The tables behind the plan, in their scratch folder: figures by figures.
    let built = folder.json(&["build", "--as-of", AS_OF]);
    let rows = |table: &str| {
        built["tables"].as_array().unwrap().iter().find(|built| built["name"] == table).unwrap()["rows"].as_u64().unwrap() as usize
    };
    assert_eq!((rows("orders"), rows("customers")), (expected.orders, expected.customers.len()));
    assert!(expected.refunded > 0);
}
