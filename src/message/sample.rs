//! Made-up values of every type, to try a template out before a run.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::{DataType, SchemaRef};
use chrono::{DateTime, NaiveDate, TimeDelta};

use super::{Envelope, Field, Offer, Row};

/// A row with a value in every column; `links` are those the letter links to.
pub(super) fn row(columns: &SchemaRef, links: &BTreeSet<String>) -> Row {
    let value = |name: &str, kind: &DataType| match field(name, kind) {
        Field::Text(_) if links.contains(name) => Field::Text(LINK.to_owned()),
        value => value,
    };
    columns.fields().iter().map(|column| (column.name().clone(), value(column.name(), column.data_type()))).collect()
}

const LINK: &str = "https://example.org/";

fn field(name: &str, kind: &DataType) -> Field {
    match kind {
        DataType::Boolean => Field::Boolean(true),
        kind if kind.is_integer() => Field::Integer(2),
        kind if kind.is_floating() => Field::Float(2.5),
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => {
            Field::Decimal { unscaled: 125_000, scale: *scale }
        }
        DataType::Date32 | DataType::Date64 => Field::Date(NaiveDate::default()),
        DataType::Timestamp(..) => Field::Instant(DateTime::UNIX_EPOCH),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Field::List(vec![field(name, item.data_type())])
        }
        DataType::Struct(members) => {
            let member =
                |column: &std::sync::Arc<arrow::datatypes::Field>| (column.name().clone(), field(column.name(), column.data_type()));
            Field::Struct(members.iter().map(member).collect::<BTreeMap<_, _>>())
        }
        // Text, in the shapes text comes in.
        _ if name.ends_with("url") || name.ends_with("link") => Field::Text(LINK.to_owned()),
        _ if name == "locale" => Field::Text("en-GB".to_owned()),
        _ if name == "timezone" => Field::Text("Europe/Berlin".to_owned()),
        _ if name.ends_with("currency") => Field::Text("EUR".to_owned()),
        _ => Field::Text("Aa".to_owned()),
    }
}

pub(super) fn envelope(step: u32, variant: Option<String>, way_out: bool) -> Envelope {
    let date = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    Envelope {
        message_id: "0123456789abcdef0123456789abcdef@example.org".to_owned(),
        plan: "sample".to_owned(),
        campaign: "sample".to_owned(),
        to: "someone@example.org".to_owned(),
        reply_to: "hello@example.org".to_owned(),
        unsubscribe_url: way_out.then(|| "https://example.org/u/x".to_owned()),
        variant,
        step,
        offer: Some(Offer { text: "10 % off".to_owned(), code: "CODE10".to_owned(), valid_until: date.date_naive() + TimeDelta::days(14) }),
        as_of: date,
        date,
    }
}
