//! The tables every project has, whatever its sources: one shape for orders, people and tickets, so that models and segments are written
//! once. A canonical table is the union of its staging files; where there is none, it is empty.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// A table the program knows the shape of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name in SQL.
    pub name: &'static str,
    /// What one row of it is.
    pub about: &'static str,
    /// The columns that name a row; none where a row has no name of its own.
    pub key: &'static [&'static str],
    /// Its columns.
    pub schema: SchemaRef,
    /// What they hold, in the same order.
    descriptions: Vec<&'static str>,
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

type Columns<'a> = &'a [(&'static str, Type, &'static str)];

fn table(name: &'static str, about: &'static str, key: &'static [&'static str], columns: Columns<'_>) -> Table {
    Table { name, about, key, schema: schema(columns), descriptions: columns.iter().map(|(.., about)| *about).collect() }
}

fn schema(columns: Columns<'_>) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, kind, _)| Field::new(*name, kind.arrow(), true)).collect::<Vec<_>>()))
}

/// The canonical tables, in the order of the contract. `identities` and `customers` are resolved by the program; the others are unions.
#[must_use]
pub fn canonical_tables() -> Vec<Table> {
    vec![
        table(
            "customers",
            "People, each once, whatever the systems that know them.",
            &["customer_id"],
            &[
                ("customer_id", Text, "the person; ids that were merged lead here too, by `identities`"),
                ("email", Text, "the address, where there is one"),
                ("phone", Text, "as the source wrote it"),
                ("first_name", Text, "the name they gave"),
                ("last_name", Text, "the name they gave"),
                ("honorific", Text, "how they want to be addressed, such as Ms or Dr"),
                ("locale", Text, "BCP 47, such as en-GB; the brand's where nobody knows"),
                ("timezone", Text, "IANA, such as Europe/Berlin; the brand's where nobody knows"),
                ("country", Text, "ISO 3166-1, such as DE"),
                ("birthday", Day, "as they gave it"),
                ("created_at", Instant, "since when a source has known them"),
                ("updated_at", Instant, "when a source last changed them"),
                ("deleted_at", Instant, "since when they are gone at their source; null for everybody who is there"),
            ],
        ),
        table(
            "identities",
            "The ids by which the sources know each person.",
            &["source", "source_id"],
            &[("source", Text, "the source that knows them"), ("source_id", Text, "their id there"), ("customer_id", Text, "the person")],
        ),
        table(
            "orders",
            "Orders, refunds with a negative total among them.",
            &["order_id"],
            &[
                ("order_id", Text, "the order"),
                ("customer_id", Text, "who ordered; null for guests nobody knows"),
                ("ordered_at", Instant, "when; of a refund, when the money went back"),
                ("status", Text, "paid, refunded, pending, cancelled, …; only paid counts as bought"),
                ("delivered_at", Instant, "when the parcel arrived; null until somebody says so"),
                ("currency", Text, "ISO 4217, of `total`"),
                ("total", Amount, "what was charged, after the discount; negative where money went back"),
                ("total_base", Amount, "the same in the brand's currency"),
                ("discount_base", Amount, "what was taken off, in the brand's currency"),
                ("coupon_code", Text, "what was typed in at the till"),
                ("channel", Text, "where it was ordered, such as web"),
                ("refunded_base", Amount, "zero or less: what of this order went back, where that is no row of its own"),
            ],
        ),
        table(
            "order_items",
            "The lines of the orders.",
            &["order_id", "line"],
            &[
                ("order_id", Text, "the order"),
                ("line", Integer, "the line's number in it"),
                ("product_id", Text, "what was bought"),
                ("quantity", Integer, "how many; negative in a row that takes goods back"),
                ("unit_price_base", Amount, "what one cost, in the brand's currency"),
                ("returned", Integer, "how many of them came back, where that is no row of its own"),
            ],
        ),
        table(
            "products",
            "What the shop sells or has sold.",
            &["product_id"],
            &[
                ("product_id", Text, "the product"),
                ("name", Text, "as the shop calls it"),
                ("category", Text, "where the shop keeps it"),
                ("url", Text, "its page"),
                ("image_url", Text, "its picture"),
                ("price_base", Amount, "what it costs today, in the brand's currency"),
                ("in_stock", Flag, "whether it can be ordered"),
                ("durable", Flag, "whether people buy it once, as a kettle, and not again and again"),
            ],
        ),
        table(
            "tickets",
            "What people asked or complained of at the help desk.",
            &["ticket_id"],
            &[
                ("ticket_id", Text, "the ticket"),
                ("customer_id", Text, "who wrote"),
                ("opened_at", Instant, "when"),
                ("first_reply_at", Instant, "when somebody first answered; null until then"),
                ("resolved_at", Instant, "when it was settled; null until then"),
                ("status", Text, "open, solved, …, as the help desk says"),
                ("kind", Text, "complaint, question, …"),
                ("satisfaction", Text, "good, bad, or null: not asked or not answered"),
                ("subject", Text, "what they wrote about"),
                ("order_id", Text, "the order it is about"),
                ("product_id", Text, "the product it is about"),
                ("summary_fix", Text, "what was done, in the agent's words"),
                ("agent_name", Text, "who looked after it"),
                ("updated_at", Instant, "when it last changed"),
            ],
        ),
        table(
            "feedback",
            "Answers to a question: how likely they recommend us, how content they are.",
            &[],
            &[
                ("customer_id", Text, "who answered"),
                ("given_at", Instant, "when"),
                ("kind", Text, "nps, csat or review: what was asked"),
                ("score", Integer, "the answer as a number, on the scale of its kind"),
                ("comment", Text, "the answer in words"),
                ("campaign", Text, "the campaign that asked, where one did"),
            ],
        ),
        table(
            "consents",
            "What people agreed to or refused, by channel and purpose.",
            &["customer_id", "channel", "purpose", "at"],
            &[
                ("customer_id", Text, "who"),
                ("channel", Text, "email, …"),
                ("purpose", Text, "marketing or service"),
                ("status", Text, "granted, denied, …; everything but granted and unknown forbids"),
                ("at", Instant, "since when"),
            ],
        ),
        table(
            "fx_rates",
            "What one unit of a currency was worth in the brand's, by day.",
            &["currency", "date"],
            &[("currency", Text, "ISO 4217"), ("date", Day, "the day"), ("rate", Rate, "the brand's currency for one unit")],
        ),
    ]
}

/// The tables that show the ledger to SQL, read-only.
#[must_use]
pub fn ledger_tables() -> Vec<Table> {
    vec![
        table(
            "sends",
            "Messages that went out, or may have.",
            &["message_id"],
            &[
                ("message_id", Text, "the message, unique for ever"),
                ("plan", Text, "the plan it belongs to"),
                ("campaign", Text, "the campaign"),
                ("kind", Text, "marketing, service or internal"),
                ("channel", Text, "email or webhook"),
                ("customer_id", Text, "to whom, or about whom"),
                ("occasion", Text, "what it is about"),
                ("step", Integer, "which letter about it"),
                ("variant", Text, "the variant, where there are some"),
                ("state", Text, "accepted, rejected, deferred, unknown, …"),
                ("at", Instant, "since when it is in that state"),
            ],
        ),
        table(
            "suppressions",
            "Who must not be written to, and since when.",
            &[],
            &[
                ("customer_id", Text, "the person, where it is known"),
                ("address_hash", Text, "a keyed hash of the address"),
                ("channel", Text, "email, …"),
                ("scope", Text, "all, or marketing"),
                ("reason", Text, "unsubscribed, complaint, hard_bounce, manual or imported"),
                ("at", Instant, "since when"),
                ("lifted_at", Instant, "until when; null while it holds"),
            ],
        ),
        table(
            "assignments",
            "Who is in a campaign's control group, and who was given which variant.",
            &[],
            &[
                ("campaign", Text, "the campaign"),
                ("customer_id", Text, "the person"),
                ("occasion", Text, "what the message was about"),
                ("arm", Text, "holdout, or the variant's name"),
                ("plan", Text, "the plan that decided it"),
                ("at", Instant, "when it was approved"),
            ],
        ),
        table(
            "events",
            "What came back: opt-outs and what the systems that send for us tell.",
            &["event_id"],
            &[
                ("event_id", Text, "the event"),
                ("at", Instant, "when"),
                ("kind", Text, "what happened, such as unsubscribed"),
                ("customer_id", Text, "to whom"),
                ("campaign", Text, "of which campaign"),
                ("plan", Text, "of which plan"),
                ("message_id", Text, "of which message"),
                ("detail", Text, "what else was said"),
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

    /// The columns its rows are written in the order of: what belongs to one person stands together, as most questions ask for it.
    pub(crate) fn sorted(&self) -> Vec<String> {
        if !self.has_people() || self.name == "identities" {
            return Vec::new();
        }
        let mut columns = vec!["customer_id"];
        columns.extend(self.happened_at());
        columns.extend(self.key.iter().copied());
        let mut seen = Vec::with_capacity(columns.len());
        for column in columns {
            if !seen.iter().any(|earlier| earlier == column) {
                seen.push(column.to_owned());
            }
        }
        seen
    }

    /// The columns that staging may give beside the table's own; the program uses them and drops them.
    pub(crate) fn extra_columns(&self) -> SchemaRef {
        schema(self.extra())
    }

    fn extra(&self) -> Columns<'static> {
        match self.name {
            "customers" => {
                &[("link_source", Text, "another source that knows the person, by `link_id`"), ("link_id", Text, "the person's id there")]
            }
            "orders" => &[
                ("discount", Amount, "what was taken off, in `currency`"),
                ("refunded", Amount, "zero or less: what of this order went back, in `currency`"),
            ],
            "order_items" => &[
                ("unit_price", Amount, "what one cost, in `currency`"),
                ("currency", Text, "ISO 4217, of `unit_price`"),
                ("ordered_at", Instant, "when it was ordered: the day whose rate counts"),
            ],
            "products" => &[("price", Amount, "what it costs today, in `currency`"), ("currency", Text, "ISO 4217, of `price`")],
            _ => &[],
        }
    }

    /// What a column of its own, or one that staging may give beside them, holds.
    pub(crate) fn description(&self, column: &str) -> Option<&'static str> {
        let own = self.schema.index_of(column).ok().and_then(|position| self.descriptions.get(position).copied());
        own.or_else(|| self.extra().iter().find(|(name, ..)| *name == column).map(|(.., about)| *about))
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
