//! The tables every project has, whatever its sources: one shape for orders, people and tickets, so that models and segments are written
//! once. A canonical table is the union of its staging files; where there is none, it is empty.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// A table the program knows the shape of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name in SQL.
    pub name: &'static str,
    /// The columns that name a row; none where a row has no name of its own.
    pub key: &'static [&'static str],
    /// Its columns.
    pub schema: SchemaRef,
}

/// An amount in its own currency, and the column that holds it in the brand's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Money {
    /// The column in the brand's currency, filled where staging leaves it null.
    pub(crate) base: &'static str,
    /// The amount in `currency`.
    pub(crate) amount: &'static str,
    /// The day whose rate counts; none for the day of `$as_of`.
    pub(crate) at: Option<&'static str>,
}

/// The shorthand a column is declared with.
#[derive(Clone, Copy)]
enum Type {
    Text,
    Integer,
    Flag,
    Day,
    Instant,
    Amount,
    Rate,
}
use Type::{Amount, Day, Flag, Instant, Integer, Rate, Text};

impl Type {
    fn arrow(self) -> DataType {
        match self {
            Text => DataType::Utf8,
            Integer => DataType::Int64,
            Flag => DataType::Boolean,
            Day => DataType::Date32,
            Instant => instant(),
            Amount => DataType::Decimal128(18, 4),
            Rate => DataType::Decimal128(18, 8),
        }
    }
}

/// The type of every instant: microseconds, UTC.
pub(crate) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn table(name: &'static str, key: &'static [&'static str], columns: &[(&str, Type)]) -> Table {
    Table { name, key, schema: schema(columns) }
}

fn schema(columns: &[(&str, Type)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, kind)| Field::new(*name, kind.arrow(), true)).collect::<Vec<_>>()))
}

/// The canonical tables, in the order of the contract. `identities` and `customers` are resolved by the program; the others are unions.
#[must_use]
pub fn canonical_tables() -> Vec<Table> {
    vec![
        table(
            "customers",
            &["customer_id"],
            &[
                ("customer_id", Text),
                ("email", Text),
                ("phone", Text),
                ("first_name", Text),
                ("last_name", Text),
                ("honorific", Text),
                ("locale", Text),
                ("timezone", Text),
                ("country", Text),
                ("birthday", Day),
                ("created_at", Instant),
                ("updated_at", Instant),
                ("deleted_at", Instant),
            ],
        ),
        table("identities", &["source", "source_id"], &[("source", Text), ("source_id", Text), ("customer_id", Text)]),
        table(
            "orders",
            &["order_id"],
            &[
                ("order_id", Text),
                ("customer_id", Text),
                ("ordered_at", Instant),
                ("status", Text),
                ("delivered_at", Instant),
                ("currency", Text),
                ("total", Amount),
                ("total_base", Amount),
                ("discount_base", Amount),
                ("coupon_code", Text),
                ("channel", Text),
                ("refunded_base", Amount),
            ],
        ),
        table(
            "order_items",
            &["order_id", "line"],
            &[
                ("order_id", Text),
                ("line", Integer),
                ("product_id", Text),
                ("quantity", Integer),
                ("unit_price_base", Amount),
                ("returned", Integer),
            ],
        ),
        table(
            "products",
            &["product_id"],
            &[
                ("product_id", Text),
                ("name", Text),
                ("category", Text),
                ("url", Text),
                ("image_url", Text),
                ("price_base", Amount),
                ("in_stock", Flag),
                ("durable", Flag),
            ],
        ),
        table(
            "tickets",
            &["ticket_id"],
            &[
                ("ticket_id", Text),
                ("customer_id", Text),
                ("opened_at", Instant),
                ("first_reply_at", Instant),
                ("resolved_at", Instant),
                ("status", Text),
                ("kind", Text),
                ("satisfaction", Text),
                ("subject", Text),
                ("order_id", Text),
                ("product_id", Text),
                ("summary_fix", Text),
                ("agent_name", Text),
                ("updated_at", Instant),
            ],
        ),
        table(
            "feedback",
            &[],
            &[("customer_id", Text), ("given_at", Instant), ("kind", Text), ("score", Integer), ("comment", Text), ("campaign", Text)],
        ),
        table(
            "consents",
            &["customer_id", "channel", "purpose", "at"],
            &[("customer_id", Text), ("channel", Text), ("purpose", Text), ("status", Text), ("at", Instant)],
        ),
        table("fx_rates", &["currency", "date"], &[("currency", Text), ("date", Day), ("rate", Rate)]),
    ]
}

/// The tables that show the ledger to SQL, read-only.
#[must_use]
pub fn ledger_tables() -> Vec<Table> {
    vec![
        table(
            "sends",
            &["message_id"],
            &[
                ("message_id", Text),
                ("plan", Text),
                ("campaign", Text),
                ("kind", Text),
                ("channel", Text),
                ("customer_id", Text),
                ("occasion", Text),
                ("step", Integer),
                ("variant", Text),
                ("state", Text),
                ("at", Instant),
            ],
        ),
        table(
            "suppressions",
            &[],
            &[
                ("customer_id", Text),
                ("address_hash", Text),
                ("channel", Text),
                ("scope", Text),
                ("reason", Text),
                ("at", Instant),
                ("lifted_at", Instant),
            ],
        ),
        table(
            "assignments",
            &[],
            &[("campaign", Text), ("customer_id", Text), ("occasion", Text), ("arm", Text), ("plan", Text), ("at", Instant)],
        ),
        table(
            "events",
            &["event_id"],
            &[
                ("event_id", Text),
                ("at", Instant),
                ("kind", Text),
                ("customer_id", Text),
                ("campaign", Text),
                ("plan", Text),
                ("message_id", Text),
                ("detail", Text),
            ],
        ),
    ]
}

/// The canonical table of that name.
pub(crate) fn canonical(name: &str) -> Option<Table> {
    canonical_tables().into_iter().find(|table| table.name == name)
}

/// The ledger table of that name.
pub(crate) fn ledger(name: &str) -> Option<Table> {
    ledger_tables().into_iter().find(|table| table.name == name)
}

impl Table {
    /// Whether rows of this table belong to a person.
    pub(crate) fn has_people(&self) -> bool {
        self.schema.column_with_name("customer_id").is_some()
    }

    /// The columns that staging may give beside the table's own; the program uses them and drops them.
    pub(crate) fn extra_columns(&self) -> SchemaRef {
        match self.name {
            "customers" => schema(&[("link_source", Text), ("link_id", Text)]),
            "orders" => schema(&[("discount", Amount), ("refunded", Amount)]),
            "order_items" => schema(&[("unit_price", Amount), ("currency", Text), ("ordered_at", Instant)]),
            "products" => schema(&[("price", Amount), ("currency", Text)]),
            _ => schema(&[]),
        }
    }

    /// When what a row tells happened; none for tables of what simply is. The columns staging may give beside the table's own count, too.
    pub(crate) fn happened_at(&self) -> Option<&'static str> {
        match self.name {
            "orders" | "order_items" => Some("ordered_at"),
            "tickets" => Some("opened_at"),
            "feedback" => Some("given_at"),
            "consents" => Some("at"),
            _ => None,
        }
    }

    /// The amounts of this table that are turned into the brand's currency.
    pub(crate) fn money(&self) -> &'static [Money] {
        match self.name {
            "orders" => &[
                Money { base: "total_base", amount: "total", at: Some("ordered_at") },
                Money { base: "discount_base", amount: "discount", at: Some("ordered_at") },
                Money { base: "refunded_base", amount: "refunded", at: Some("ordered_at") },
            ],
            "order_items" => &[Money { base: "unit_price_base", amount: "unit_price", at: Some("ordered_at") }],
            "products" => &[Money { base: "price_base", amount: "price", at: None }],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_money_name_columns_that_are_there() {
        for table in canonical_tables().into_iter().chain(ledger_tables()) {
            for column in table.key {
                assert!(table.schema.column_with_name(column).is_some(), "{}.{column}", table.name);
            }
            let extra = table.extra_columns();
            if let Some(at) = table.happened_at() {
                assert!(table.schema.column_with_name(at).or(extra.column_with_name(at)).is_some(), "{}.{at}", table.name);
            }
            for money in table.money() {
                assert!(table.schema.column_with_name(money.base).is_some());
                for column in [Some(money.amount), money.at, Some("currency")].into_iter().flatten() {
                    assert!(table.schema.column_with_name(column).or(extra.column_with_name(column)).is_some(), "{}.{column}", table.name);
                }
            }
        }
    }
}
