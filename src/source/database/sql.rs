//! The statements as text. Pure: names and values are quoted here and nowhere else.

use chrono::{DateTime, TimeDelta};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::settings::{DatabaseStream, Engine};
use crate::source::{
    columns::{Column, Origin, Type},
    settings::Stream,
    values,
};

/// A range of keys that one connection reads from its beginning to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    /// The key after which it goes on; it begins at the very first without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Vec<String>>,
    /// The last key of it; it ends at the very last without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<Vec<String>>,
    /// Whether it has been read to its end.
    #[serde(default)]
    pub(crate) done: bool,
}

/// A table's blocks as they lie on the server's disk, in ranges of their numbers: `after` is the next block, `to` the one behind the last.
/// Their places are true for one file of the table: whoever writes that anew (`VACUUM FULL`, `CLUSTER`) moves every row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blocks {
    /// The file's number.
    pub(crate) file: i64,
    /// The oldest transaction that the first snapshot does not know the end of: what any later one wrote has changed since.
    pub(crate) since: String,
    /// How many blocks make about a page of rows.
    pub(crate) step: u32,
    pub(crate) ranges: Vec<Range>,
}

impl Blocks {
    /// A table of `count` blocks with about `rows` rows each, in so many parts.
    pub(crate) fn new((file, since): (i64, String), count: u32, rows: f64, (parts, page_rows): (u32, u32)) -> Self {
        /// A wrong guess at the rows must not bring more of them into memory than this many blocks hold.
        const MOST: f64 = 4096.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 1 and 4096")]
        let step = (f64::from(page_rows) / rows.max(1.0)).clamp(1.0, MOST) as u32;
        let parts = u64::from(parts.clamp(1, count.max(1)));
        let cut = |nth: u64| Some(vec![(u64::from(count) * nth / parts).to_string()]);
        Self { file, since, step, ranges: (0..parts).map(|nth| Range { after: cut(nth), to: cut(nth + 1), done: false }).collect() }
    }

    /// The next blocks of a range, and whether they are its last.
    pub(crate) fn next(step: u32, range: &Range) -> (std::ops::Range<u64>, bool) {
        let block = |at: &Option<Vec<String>>| at.as_ref().and_then(|at| at.first()?.parse::<u64>().ok()).unwrap_or(0);
        let (next, end) = (block(&range.after), block(&range.to));
        let until = end.min(next + u64::from(step));
        (next..until, until >= end)
    }
}

/// The condition that a row was written by this transaction or a later one, in PostgreSQL's words.
pub(crate) fn written_since(transaction: &str) -> String {
    format!("age(xmin) <= age({}::xid)", text(Engine::Postgres, transaction))
}

/// The condition that a row lies in one of these blocks, in PostgreSQL's words.
pub(crate) fn lies_in(blocks: &std::ops::Range<u64>) -> String {
    format!("ctid >= '({},0)' and ctid < '({},0)'", blocks.start, blocks.end)
}

/// A column's name as the statement writes it.
pub(crate) fn name(engine: Engine, name: &str) -> String {
    match engine {
        Engine::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
        Engine::MySql => format!("`{}`", name.replace('`', "``")),
    }
}

/// A text as the statement writes it. PostgreSQL's `standard_conforming_strings` and MySQL's `NO_BACKSLASH_ESCAPES` differ on backslashes.
pub(crate) fn text(engine: Engine, text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match engine {
        Engine::Postgres if quoted.contains('\\') => format!("E'{}'", quoted.replace('\\', "\\\\")),
        Engine::Postgres => format!("'{quoted}'"),
        // As hexadecimal digits no server mode can read it otherwise.
        Engine::MySql if quoted.contains('\\') => format!("convert(x'{}' using utf8mb4)", hex::encode(text)),
        Engine::MySql => format!("'{quoted}'"),
    }
}

/// What the rows come from.
pub(crate) fn base(engine: Engine, settings: &DatabaseStream) -> String {
    match (&settings.table, &settings.query) {
        (Some(table), _) => table.split('.').map(|part| name(engine, part)).collect::<Vec<_>>().join("."),
        (None, Some(query)) => format!("({}) as source", query.trim().trim_end_matches(';')),
        (None, None) => String::new(),
    }
}

/// What a column is called in the database.
pub(crate) fn origin(column: &Column) -> &str {
    match &column.origin {
        Origin::Field(name, _) => name,
        Origin::Line | Origin::File | Origin::Extra(_) => &column.name,
    }
}

/// The condition that the cursor is at or above the lower bound, which is the law's own writing of it; `Err` where it cannot be read.
/// A zone is named where the database keeps wall-clock times.
pub(crate) fn since(engine: Engine, column: &Column, local: Option<Tz>, since: &str) -> Result<String, String> {
    let field = name(engine, origin(column));
    let bound = match column.kind {
        Type::Integer => since.parse::<i64>().map_err(|_| format!("`{since}` is no whole number"))?.to_string(),
        _ => {
            let day = since.parse::<chrono::NaiveDate>().ok().map(|day| day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros());
            let micros = match day {
                Some(micros) => micros,
                None => values::timestamp(since, &column.rules)?,
            };
            let at = DateTime::from_timestamp_micros(micros).ok_or_else(|| format!("`{since}` is no instant"))?;
            match (&column.kind, local) {
                (Type::Date, _) => format!("'{}'", at.format("%Y-%m-%d")),
                // Around the autumn change later instants have earlier wall-clock times.
                (_, Some(zone)) => {
                    format!("'{}'", (at.with_timezone(&zone).naive_local() - TimeDelta::hours(2)).format("%Y-%m-%d %H:%M:%S%.6f"))
                }
                (_, None) if engine == Engine::Postgres => format!("'{}+00'", at.format("%Y-%m-%d %H:%M:%S%.6f")),
                (_, None) => format!("'{}'", at.format("%Y-%m-%d %H:%M:%S%.6f")),
            }
        }
    };
    Ok(format!("{field} >= {bound}"))
}

/// A comparison of the whole key with one of its values; a form of it that an index answers.
pub(crate) fn beyond(engine: Engine, key: &[(String, String)], values: &[String], above: bool) -> String {
    let literals: Vec<String> = key.iter().zip(values).map(|((_, kind), value)| literal(engine, value, kind)).collect();
    let names: Vec<&str> = key.iter().map(|(name, _)| name.as_str()).collect();
    let sign = if above { ">" } else { "<=" };
    match (names.as_slice(), literals.as_slice()) {
        ([name], [literal]) => format!("{name} {sign} {literal}"),
        // MySQL uses no index for a comparison of rows, but for one of their first part.
        ([first, ..], [literal, ..]) if engine == Engine::MySql => {
            let first_sign = if above { ">=" } else { "<=" };
            format!("{first} {first_sign} {literal} and ({}) {sign} ({})", names.join(", "), literals.join(", "))
        }
        _ => format!("({}) {sign} ({})", names.join(", "), literals.join(", ")),
    }
}

fn literal(engine: Engine, value: &str, kind: &str) -> String {
    match engine {
        Engine::Postgres => format!("{}::{kind}", text(engine, value)),
        Engine::MySql if value.parse::<i128>().is_ok() && kind.contains("INT") => value.to_owned(),
        Engine::MySql => text(engine, value),
    }
}

/// The names of a stream's key columns in the database, quoted.
pub(crate) fn key_names(engine: Engine, stream: &Stream) -> Vec<String> {
    stream.key.iter().map(|position| name(engine, origin(&stream.columns.list[*position]))).collect()
}

/// One statement: all rows that meet the conditions, or one page of them by key.
pub(crate) fn select(list: &str, base: &str, conditions: &[String], page: Option<(&[String], u32)>) -> String {
    let mut statement = format!("select {list} from {base}");
    if !conditions.is_empty() {
        statement.push_str(" where ");
        statement.push_str(&conditions.join(" and "));
    }
    if let Some((key, rows)) = page {
        statement.push_str(&format!(" order by {} limit {rows}", key.join(", ")));
    }
    statement
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: Type) -> Column {
        Column::new("at", Origin::Field("At".to_owned(), vec![]), kind)
    }

    #[test]
    fn names_and_texts_cannot_break_out() {
        assert_eq!(name(Engine::Postgres, "a\"b"), "\"a\"\"b\"");
        assert_eq!(name(Engine::MySql, "a`b"), "`a``b`");
        assert_eq!(text(Engine::Postgres, "O'Brien"), "'O''Brien'");
        assert_eq!(text(Engine::Postgres, "\\' or 1=1"), "E'\\\\'' or 1=1'");
        assert_eq!(text(Engine::MySql, "\\'"), "convert(x'5c27' using utf8mb4)");
    }

    #[test]
    fn the_lower_bound_is_written_as_the_column_keeps_it() {
        let at = "2026-03-01T12:00:00.000001Z";
        let bound = |engine, kind, zone| since(engine, &column(kind), zone, at).unwrap();
        assert_eq!(bound(Engine::Postgres, Type::Timestamp, None), "\"At\" >= '2026-03-01 12:00:00.000001+00'");
        assert_eq!(bound(Engine::MySql, Type::Timestamp, None), "`At` >= '2026-03-01 12:00:00.000001'");
        assert_eq!(bound(Engine::Postgres, Type::Timestamp, Some(Tz::Europe__Berlin)), "\"At\" >= '2026-03-01 11:00:00.000001'");
        assert_eq!(bound(Engine::Postgres, Type::Date, None), "\"At\" >= '2026-03-01'");
        assert_eq!(since(Engine::MySql, &column(Type::Integer), None, "417").unwrap(), "`At` >= 417");
        assert!(since(Engine::MySql, &column(Type::Integer), None, "1 or 1=1").is_err());
        assert!(since(Engine::Postgres, &column(Type::Timestamp), None, "' or 1=1").is_err());
    }

    #[test]
    fn a_key_of_several_columns_is_compared_as_one() {
        let key = [("\"a\"".to_owned(), "text".to_owned()), ("\"b\"".to_owned(), "bigint".to_owned())];
        let values = ["x'".to_owned(), "7".to_owned()];
        assert_eq!(beyond(Engine::Postgres, &key, &values, true), "(\"a\", \"b\") > ('x'''::text, '7'::bigint)");
        assert_eq!(beyond(Engine::Postgres, &key[1..], &values[1..], false), "\"b\" <= '7'::bigint");
        let key = [("`a`".to_owned(), "VARCHAR".to_owned()), ("`b`".to_owned(), "BIGINT".to_owned())];
        assert_eq!(beyond(Engine::MySql, &key, &values, true), "`a` >= 'x''' and (`a`, `b`) > ('x''', 7)");
    }

    #[test]
    fn blocks_follow_each_other_from_the_first_to_the_last() {
        let read = |count, rows, parts, page_rows| {
            let blocks = Blocks::new((7, String::new()), count, rows, (parts, page_rows));
            let mut read = Vec::new();
            for mut range in blocks.ranges {
                while !range.done {
                    let (these, last) = Blocks::next(blocks.step, &range);
                    (range.after, range.done) = (Some(vec![these.end.to_string()]), last);
                    read.push((these.start, these.end));
                }
            }
            read
        };
        assert_eq!(read(1001, 100.0, 2, 50_000), [(0, 500), (500, 1000), (1000, 1001)]);
        assert_eq!(read(2, 100.0, 4, 50_000), [(0, 1), (1, 2)]);
        assert_eq!(read(3, 1000.0, 1, 1), [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(read(9000, 0.0, 1, u32::MAX), [(0, 4096), (4096, 8192), (8192, 9000)]);
        assert_eq!(read(0, 0.0, 4, 1), [(0, 0)]);
        assert_eq!(lies_in(&(3..8)), "ctid >= '(3,0)' and ctid < '(8,0)'");
    }

    #[test]
    fn a_page_is_ordered_and_limited() {
        assert_eq!(
            select("a, b", "t", &["x > 1".to_owned(), "y".to_owned()], Some((&["a".to_owned(), "b".to_owned()], 10))),
            "select a, b from t where x > 1 and y order by a, b limit 10"
        );
        assert_eq!(select("a", "t", &[], None), "select a from t");
    }
}
