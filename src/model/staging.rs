//! One source's rows into a canonical table: the union by name, casts, ids of people, money in the brand's currency.
//!
//! Each staging file is a view in the session, under its own name; beside them stand `identities` and `fx_days` (the rate of every day).

use arrow::datatypes::{DataType, Schema};

use super::{
    canonical::{self, Table},
    file::SqlFile,
    library::LEDGER_SOURCE,
    records::KNOWN,
    shape::{cast, literal, quoted},
};
use crate::{config::nearest, diagnosis::Diagnosis};

/// The name under which the session knows the rate of every day.
pub(crate) const FX_DAYS: &str = "fx_days";

/// A staging file and the columns it returns.
#[derive(Debug)]
pub(crate) struct Staged<'a> {
    /// The source, from the file's name.
    pub(crate) source: &'a str,
    /// The file; its name is the view's.
    pub(crate) file: &'a SqlFile,
    /// Its columns.
    pub(crate) columns: &'a Schema,
}

/// What is wrong with the columns of a staging file: unknown ones, or a missing one that nothing can do without.
pub(crate) fn column_problem(table: &Table, file: &SqlFile, columns: &Schema) -> Option<Diagnosis> {
    let extra = table.extra_columns();
    let known: Vec<&str> = table.schema.fields().iter().chain(extra.fields()).map(|field| field.name().as_str()).collect();
    for field in columns.fields() {
        if !known.contains(&field.name().as_str()) {
            let message = format!("`{}` has no column `{}`", table.name, field.name());
            let hint = match nearest(field.name(), known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its columns are: {}", known.join(", ")),
            };
            return Some(file.at_word(Diagnosis::new("unknown_column", message), field.name()).hint(hint));
        }
    }
    let missing = table.key.iter().find(|key| columns.column_with_name(key).is_none())?;
    let message = format!("the column `{missing}` is missing, which names the rows of `{}`", table.name);
    Some(file.place().put(Diagnosis::new("missing_column", message), file.place().line).hint(format!("select it `as {missing}`")))
}

/// The query that makes a canonical table from its staging views; `customers` is made from [`records_query`].
pub(crate) fn canonical_query(table: &Table, staged: &[Staged<'_>]) -> String {
    match (table.name, staged) {
        (_, []) => empty_query(table),
        ("consents", _) => {
            // Two records of one person may answer at one instant, as in a bulk import: whatever answer forbids wins.
            format!(
                "select customer_id, channel, purpose, coalesce(max(status) filter (where status not in ({NO_ANSWER}, {YES})), \
                 max(status) filter (where status = {YES}), max(status)) as status, at \
                 from ({}) where customer_id is not null and channel is not null and purpose is not null \
                 group by customer_id, channel, purpose, at",
                answers(&happened(table, staged))
            )
        }
        _ if table.money().is_empty() => happened(table, staged),
        _ => priced(table, &happened(table, staged)),
    }
}

/// The status of a consent that is one.
pub(crate) const YES: &str = "'granted'";
/// What a person who was not asked, or did not answer, is recorded with. Every other status forbids.
pub(crate) const NO_ANSWER: &str = "'unknown', ''";

/// Consents as everything here reads them: in lower case, and an answer whose time nobody kept older than any other.
pub(crate) fn answers(rows: &str) -> String {
    format!(
        "select customer_id, lower(btrim(channel)) as channel, lower(btrim(purpose)) as purpose, lower(btrim(status)) as status, \
         coalesce(at, {}) as at from ({rows})",
        cast("0", &canonical::instant())
    )
}

/// A query for the number of answers that `consents` leaves out, because they are nobody's or about nothing.
pub(crate) fn homeless_query(table: &Table, staged: &[Staged<'_>]) -> Option<String> {
    let homeless = "customer_id is null or channel is null or purpose is null";
    (!staged.is_empty()).then(|| format!("select count(*) from ({}) where {homeless}", happened(table, staged)))
}

/// A query for a key that two staging files give, as text, and for the names of the two; none where there are no two.
pub(crate) fn clash_query(table: &Table, staged: &[Staged<'_>]) -> Option<String> {
    if staged.len() < 2 || table.key.is_empty() || table.key.contains(&"customer_id") {
        return None;
    }
    let key = table.key.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
    let parts: Vec<String> = staged
        .iter()
        .map(|part| {
            let columns = table.key.iter().map(|column| {
                let kind = table.schema.field_with_name(column).map_or(DataType::Utf8, |field| field.data_type().clone());
                format!("{} as {}", cast(&quoted(column), &kind), quoted(column))
            });
            let columns = columns.collect::<Vec<_>>().join(", ");
            format!("select {columns}, {} as file from {}", literal(&part.file.name), quoted(&part.file.name))
        })
        .collect();
    let shown: Vec<String> = table.key.iter().map(|column| cast(&quoted(column), &DataType::Utf8)).collect();
    Some(format!(
        "select {} as shown, min(file) as one, max(file) as other from ({}) group by {2} having min(file) <> max(file) order by {2} limit 1",
        cast(&format!("concat_ws('/', {})", shown.join(", ")), &DataType::Utf8),
        parts.join(" union all "),
        key
    ))
}

/// The union of the staging views, without what happens only after the run's time.
fn happened(table: &Table, staged: &[Staged<'_>]) -> String {
    let union = union(table, staged);
    let told = |at: &&str| staged.iter().any(|part| part.columns.column_with_name(at).is_some());
    match table.happened_at().filter(told) {
        Some(at) => format!("select * from ({union}) where {0} is null or {0} <= $as_of", quoted(at)),
        None => union,
    }
}

/// The rows of a table's staging views, mapped to people; nothing is filled, merged or dropped.
pub(crate) fn rows_query(table: &Table, staged: &[Staged<'_>]) -> String {
    if staged.is_empty() { empty_query(table) } else { union(table, staged) }
}

/// No rows, all columns.
fn empty_query(table: &Table) -> String {
    let columns: Vec<String> = table.schema.fields().iter().map(|field| null(field.name(), field.data_type())).collect();
    format!("select {} where false", columns.join(", "))
}

fn null(name: &str, kind: &DataType) -> String {
    format!("{} as {}", cast("null", kind), quoted(name))
}

/// The staging views one below the other, columns matched by name, each cast to its type; extra columns are kept.
fn union(table: &Table, staged: &[Staged<'_>]) -> String {
    let extra = table.extra_columns();
    let parts: Vec<String> = staged
        .iter()
        .map(|part| {
            let mapped = table.has_people() && part.source != LEDGER_SOURCE && part.columns.column_with_name("customer_id").is_some();
            let columns = table.schema.fields().iter().chain(extra.fields()).map(|field| {
                let name = field.name();
                if name == "customer_id" && mapped {
                    "i.customer_id as customer_id".to_owned()
                } else if part.columns.column_with_name(name).is_some() {
                    format!("{} as {}", cast(&format!("s.{}", quoted(name)), field.data_type()), quoted(name))
                } else {
                    null(name, field.data_type())
                }
            });
            let columns = columns.collect::<Vec<_>>().join(", ");
            let join = if mapped { identity_join(part.source) } else { String::new() };
            format!("select {columns} from {} s{join}", quoted(&part.file.name))
        })
        .collect();
    parts.join(" union all ")
}

fn identity_join(source: &str) -> String {
    format!(
        " left join (select source_id, customer_id from identities where source = {}) i on i.source_id = {}",
        literal(source),
        cast("s.customer_id", &DataType::Utf8)
    )
}

/// Fills `*_base` where staging left it null.
fn priced(table: &Table, union: &str) -> String {
    let money = table.money();
    let day = match money.iter().find_map(|money| money.at) {
        Some(at) => format!("u.{}", quoted(at)),
        None => "$as_of".to_owned(),
    };
    let columns = table.schema.fields().iter().map(|field| {
        let name = quoted(field.name());
        match money.iter().find(|money| money.base == field.name()) {
            Some(money) => {
                let amount = format!("u.{}", quoted(money.amount));
                let converted = cast(&format!("{amount} * fx.rate"), field.data_type());
                format!(
                    "case when u.{name} is not null then u.{name} when upper(u.currency) = upper($brand_currency) then {amount} \
                     else {converted} end as {name}"
                )
            }
            None => format!("u.{name} as {name}"),
        }
    });
    format!(
        "select {} from ({union}) u left join {FX_DAYS} fx on fx.currency = upper(u.currency) and fx.day = {}",
        columns.collect::<Vec<_>>().join(", "),
        cast(&day, &DataType::Date32)
    )
}

/// A query for the amounts that could not be converted: their day and currency, in the columns `currency` and `day`.
pub(crate) fn unpriced_query(table: &Table, staged: &[Staged<'_>]) -> Option<String> {
    let money = table.money();
    if money.is_empty() || staged.is_empty() {
        return None;
    }
    let day = match money.iter().find_map(|money| money.at) {
        Some(at) => format!("u.{}", quoted(at)),
        None => "$as_of".to_owned(),
    };
    let lacking = money.iter().map(|money| format!("(u.{} is not null and u.{} is null)", quoted(money.amount), quoted(money.base)));
    Some(format!(
        "select coalesce(u.currency, 'no currency') as currency, min({day}) as day, count(*) as rows from ({}) u \
         left join {FX_DAYS} fx on fx.currency = upper(u.currency) and fx.day = {} \
         where ({}) and fx.rate is null and (u.currency is null or upper(u.currency) <> upper($brand_currency)) group by u.currency",
        happened(table, staged),
        cast(&day, &DataType::Date32),
        lacking.collect::<Vec<_>>().join(" or ")
    ))
}

/// Every record of every person, in the order [`super::records`] merges them.
pub(crate) fn records_query(table: &Table, staged: &[Staged<'_>]) -> String {
    let mut records: Vec<String> = staged
        .iter()
        .map(|part| {
            let columns = table.schema.fields().iter().filter(|field| field.name() != "customer_id").map(|field| {
                let name = field.name();
                match part.columns.column_with_name(name) {
                    // What stands for nothing must not hide another record's value.
                    Some(_) if *field.data_type() == DataType::Utf8 => {
                        format!("nullif({}, '') as {}", cast(&format!("s.{}", quoted(name)), field.data_type()), quoted(name))
                    }
                    Some(_) => format!("{} as {}", cast(&format!("s.{}", quoted(name)), field.data_type()), quoted(name)),
                    None => null(name, field.data_type()),
                }
            });
            format!(
                "select i.customer_id as customer_id, {} as source, {} as source_id, 1 as {KNOWN}, {} from {} s{}",
                literal(part.source),
                cast("s.customer_id", &DataType::Utf8),
                columns.collect::<Vec<_>>().join(", "),
                quoted(&part.file.name),
                identity_join(part.source)
            )
        })
        .collect();
    records.push(bare_records(table, staged));
    format!(
        "select * from ({}) order by customer_id, deleted_at is not null, coalesce(updated_at, created_at) desc nulls last, source, source_id",
        records.join(" union all ")
    )
}

/// People of whom only an id is known: an order's buyer that no list of customers has.
fn bare_records(table: &Table, staged: &[Staged<'_>]) -> String {
    let columns = table.schema.fields().iter().filter(|field| field.name() != "customer_id").map(|f| null(f.name(), f.data_type()));
    let columns = columns.collect::<Vec<_>>().join(", ");
    let listed: Vec<String> = staged
        .iter()
        .map(|part| {
            let id = cast("customer_id", &DataType::Utf8);
            format!("select {} as source, {id} as source_id from {}", literal(part.source), quoted(&part.file.name))
        })
        .collect();
    let anti = match listed.is_empty() {
        true => String::new(),
        false => format!(" left anti join ({}) l on i.source = l.source and i.source_id = l.source_id", listed.join(" union all ")),
    };
    format!("select i.customer_id, i.source, i.source_id, 0 as {KNOWN}, {columns} from identities i{anti}")
}

/// The rate of every day from the first that is known to the last day asked for, so that a join on the day finds the latest rate.
pub(crate) fn fx_days_schema() -> Schema {
    use arrow::datatypes::Field;
    let rate = canonical::canonical("fx_rates").and_then(|table| table.schema.field_with_name("rate").ok().map(|f| f.data_type().clone()));
    Schema::new(vec![
        Field::new("currency", DataType::Utf8, true),
        Field::new("day", DataType::Date32, true),
        Field::new("rate", rate.unwrap_or(DataType::Decimal128(18, 8)), true),
    ])
}

/// Fills the days between known rates. Rates are (currency, day, value) in any order; the result is sorted.
pub(crate) fn every_day(mut rates: Vec<(String, i32, i128)>, until: i32) -> Vec<(String, i32, i128)> {
    rates.retain(|(_, day, _)| *day <= until);
    rates.sort();
    let mut days = Vec::new();
    for (position, (currency, day, rate)) in rates.iter().enumerate() {
        let next = rates.get(position + 1).filter(|next| next.0 == *currency).map_or(until + 1, |next| next.1);
        days.extend((*day..next).map(|day| (currency.clone(), day, *rate)));
    }
    days
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_without_a_rate_has_the_latest_before_it() {
        let rates = vec![("USD".to_owned(), 12, 92), ("USD".to_owned(), 10, 90), ("GBP".to_owned(), 11, 115), ("GBP".to_owned(), 99, 1)];
        let days = every_day(rates, 13);
        let usd: Vec<(i32, i128)> = days.iter().filter(|(currency, ..)| currency == "USD").map(|(_, day, rate)| (*day, *rate)).collect();
        assert_eq!(usd, [(10, 90), (11, 90), (12, 92), (13, 92)]);
        assert_eq!(days.iter().filter(|(currency, ..)| currency == "GBP").count(), 3);
    }
}
