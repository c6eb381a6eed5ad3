//! What must be true of a table before it replaces yesterday's.

use std::collections::BTreeMap;

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
    util::display::array_value_to_string,
};
use datafusion::scalar::ScalarValue;

use super::{file::Place, front_matter::PlacedAudit, shape::quoted};
use crate::{
    diagnosis::Diagnosis,
    engine::{EngineError, Origin, Query, Session},
};

/// How many rows a failed audit names.
const SHOWN: usize = 5;

/// One rule about a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Audit {
    /// No two rows agree in these columns.
    Unique(Vec<String>),
    /// None of these columns is null.
    NotNull(Vec<String>),
    /// A column holds only these values, or null.
    Accepted(String, Vec<String>),
    /// Every value of a column stands in another table's column.
    Relationship {
        /// The column here.
        column: String,
        /// The other table.
        table: String,
        /// Its column.
        other: String,
    },
    /// So many rows at least and at most.
    Rows(u64, u64),
    /// The number of rows differs from the published one by at most so many percent, or by so few rows that a small table may.
    Change {
        /// Percent of the published rows.
        percent: u64,
        /// Rows.
        quiet: u64,
    },
    /// A query that must return no row.
    Select(String),
}

impl Audit {
    /// The audits a file may ask for.
    pub(crate) const KNOWN: &str = "unique(a, b), not_null(a, b), accepted(a, 'x', 'y'), relationship(a, table.column), rows(0, 50000), \
                                    change(40%), change(40%, 20), or a select that must return no row";

    /// Reads `unique(customer_id)` and its kin.
    ///
    /// # Errors
    /// In words, where it is none of [`Audit::KNOWN`].
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let word = text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let first = word.to_lowercase();
        if first == "select" || first == "with" {
            return Ok(Self::Select(text.to_owned()));
        }
        let unreadable = |why: &str| format!("the audit `{text}` cannot be read: {why}");
        let inner = text[word.len()..].trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let inner = inner.ok_or_else(|| unreadable("it is neither name(…) nor a select"))?;
        let parts = arguments(inner).ok_or_else(|| unreadable("a quotation mark is not closed"))?;
        let columns = || match parts.iter().all(|part| is_name(part)) && !parts.is_empty() {
            true => Ok(parts.clone()),
            false => Err(unreadable("it takes the names of columns")),
        };
        match first.as_str() {
            "unique" => columns().map(Self::Unique),
            "not_null" => columns().map(Self::NotNull),
            "accepted" => match parts.split_first() {
                Some((column, values)) if is_name(column) && !values.is_empty() => {
                    let values = values.iter().map(|value| unquoted(value).to_owned()).collect();
                    Ok(Self::Accepted(column.clone(), values))
                }
                _ => Err(unreadable("it takes a column and the values it may hold")),
            },
            "relationship" => match parts.as_slice() {
                [column, other] => match other.split_once('.') {
                    Some((table, other)) if [column, table, other].iter().all(|name| is_name(name)) => {
                        Ok(Self::Relationship { column: column.clone(), table: table.to_owned(), other: other.to_owned() })
                    }
                    _ => Err(unreadable("the other side is written `table.column`")),
                },
                _ => Err(unreadable("it takes a column and `table.column`")),
            },
            "rows" => match parts.iter().map(|part| part.replace('_', "").parse().ok()).collect::<Option<Vec<u64>>>().as_deref() {
                Some([least, most]) if least <= most => Ok(Self::Rows(*least, *most)),
                _ => Err(unreadable("it takes the least and the greatest number of rows")),
            },
            "change" => {
                let percent = parts.first().and_then(|part| part.trim_end_matches('%').trim().parse().ok());
                let quiet = parts.get(1).map_or(Some(0), |part| part.replace('_', "").parse().ok());
                match (percent, quiet, parts.len()) {
                    (Some(percent), Some(quiet), 1 | 2) => Ok(Self::Change { percent, quiet }),
                    _ => Err(unreadable(
                        "it takes a whole number of percent, such as 40%, and after it the rows that may change in any case",
                    )),
                }
            }
            _ => Err(unreadable("there is no audit of that name")),
        }
    }

    /// The columns of the audited table that it names.
    pub(crate) fn columns(&self) -> Vec<&str> {
        match self {
            Self::Unique(columns) | Self::NotNull(columns) => columns.iter().map(String::as_str).collect(),
            Self::Accepted(column, _) | Self::Relationship { column, .. } => vec![column],
            Self::Rows(..) | Self::Change { .. } | Self::Select(_) => Vec::new(),
        }
    }

    /// A query for the rows that break the rule, by their keys; none where the rule is about the number of rows. Rows are not grouped by what
    /// is `constant`: DataFusion 55 takes them for sorted by it then, and hands on groups in a time that grows with their square.
    fn offenders(&self, table: &str, key: &[String], constant: &[String]) -> Option<String> {
        let table = quoted(table);
        let list = |columns: &[String]| columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        let any = |columns: &[String], test: &str| columns.iter().map(|c| format!("{} {test}", quoted(c))).collect::<Vec<_>>();
        match self {
            Self::Unique(columns) => {
                let filled = any(columns, "is not null").join(" and ");
                let (same, telling): (Vec<&String>, Vec<&String>) = columns.iter().partition(|column| constant.contains(column));
                let telling = if telling.is_empty() { columns.iter().collect() } else { telling };
                let shown = columns.iter().map(|column| match same.contains(&column) && !telling.contains(&column) {
                    true => format!("min({0}) as {0}", quoted(column)),
                    false => quoted(column),
                });
                let (shown, telling) =
                    (shown.collect::<Vec<_>>().join(", "), telling.into_iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", "));
                Some(format!("select {shown} from {table} where {filled} group by {telling} having count(*) > 1"))
            }
            Self::NotNull(columns) => {
                let shown = if key.is_empty() { columns } else { key };
                Some(format!("select {} from {table} where {}", list(shown), any(columns, "is null").join(" or ")))
            }
            Self::Accepted(column, values) => {
                let column = quoted(column);
                let values: Vec<String> = values.iter().map(|value| format!("'{}'", value.replace('\'', "''"))).collect();
                let outside = format!("arrow_cast({column}, 'Utf8') not in ({})", values.join(", "));
                Some(format!("select distinct {column} from {table} where {column} is not null and {outside}"))
            }
            Self::Relationship { column, table: other_table, other } => {
                let (column, other, other_table) = (quoted(column), quoted(other), quoted(other_table));
                Some(format!(
                    "select distinct t.{column} from {table} t left anti join {other_table} o on t.{column} = o.{other} \
                     where t.{column} is not null"
                ))
            }
            Self::Select(sql) => Some(sql.clone()),
            Self::Rows(..) | Self::Change { .. } => None,
        }
    }
}

/// The parts between commas that do not stand in quotation marks.
fn arguments(inner: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut quote = None;
    for c in inner.chars() {
        match (quote, c) {
            (None, ',') => parts.push(String::new()),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        if !(quote.is_none() && c == ',') {
            parts.last_mut()?.push(c);
        }
    }
    let parts: Vec<String> = parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
    quote.is_none().then_some(parts)
}

fn unquoted(value: &str) -> &str {
    for mark in ['\'', '"'] {
        if let Some(inner) = value.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark)) {
            return inner;
        }
    }
    value
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_') && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// What one pass over a table tells.
struct Counted {
    rows: u64,
    /// Of each audit, whether it is known to hold.
    holds: Vec<bool>,
    /// Of each audit of several columns, those that hold one value in all rows.
    constant: Vec<Vec<String>>,
}

/// A result to be audited: a session that can name it and the tables its audits mention.
pub(crate) struct Audited<'a> {
    /// The session.
    pub(crate) session: &'a Session,
    /// The table's name.
    pub(crate) table: &'a str,
    /// Where its SQL stands; nowhere for tables the program makes.
    pub(crate) place: Place<'a>,
    /// The columns that name a row.
    pub(crate) key: &'a [String],
    /// The values a `select` audit may bind.
    pub(crate) params: &'a BTreeMap<String, ScalarValue>,
    /// The published number of rows; none where there is none to compare with.
    pub(crate) previous: Option<u64>,
}

impl Audited<'_> {
    /// Runs the key's audits, then the file's own; the first that fails is told.
    ///
    /// # Errors
    /// Where an audit cannot be run.
    pub(crate) async fn run(&self, audits: &[PlacedAudit]) -> Result<Option<Diagnosis>, EngineError> {
        let by_key = |audit: &Audit| matches!(audit, Audit::Unique(columns) | Audit::NotNull(columns) if columns == self.key);
        let own = audits.iter().filter(|placed| !by_key(&placed.audit)).cloned();
        let audits: Vec<PlacedAudit> = self.of_key().into_iter().chain(own).collect();
        if audits.is_empty() {
            return Ok(None);
        }
        let counted = self.count(&audits).await?;
        for ((placed, holds), constant) in audits.iter().zip(&counted.holds).zip(&counted.constant) {
            if !holds && let Some(found) = self.one(placed, counted.rows, constant).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn of_key(&self) -> Vec<PlacedAudit> {
        if self.key.is_empty() {
            return Vec::new();
        }
        let (columns, line) = (self.key.join(", "), self.place.line);
        vec![
            PlacedAudit {
                audit: Audit::NotNull(self.key.to_vec()),
                text: format!("the key must be filled: not_null({columns})"),
                line,
                column: None,
            },
            PlacedAudit {
                audit: Audit::Unique(self.key.to_vec()),
                text: format!("the key must be unique: unique({columns})"),
                line,
                column: None,
            },
        ]
    }

    /// Counts rows and nulls in one pass: what is audited may be a view, computed anew by every query.
    async fn count(&self, audits: &[PlacedAudit]) -> Result<Counted, EngineError> {
        let counts = audits.iter().enumerate().map(|(position, placed)| match &placed.audit {
            Audit::NotNull(columns) => {
                let nulls: Vec<String> = columns.iter().map(|column| format!("{} is null", quoted(column))).collect();
                format!("count(*) filter (where {}) as count_{position}", nulls.join(" or "))
            }
            _ => format!("0 as count_{position}"),
        });
        let several = audits.iter().map(|placed| match &placed.audit {
            Audit::Unique(columns) if columns.len() > 1 => columns.as_slice(),
            _ => &[],
        });
        let ranged = several.clone().flatten().enumerate();
        let same = ranged.map(|(position, column)| format!("min({0}) is not distinct from max({0}) as same_{position}", quoted(column)));
        let counts = counts.chain(same);
        let sql = format!("select count(*) as rows, {} from {}", counts.collect::<Vec<_>>().join(", "), quoted(self.table));
        let query =
            Query { sql: &sql, origin: Origin { file: self.place.file, line: self.place.line, column: 1 }, params: BTreeMap::new() };
        let counts = self.session.collect(&query).await?;
        let count = |column: usize| {
            let counts = counts.iter().filter(|batch| batch.num_rows() == 1);
            counts.map(|batch| batch.column(column).as_primitive::<Int64Type>().value(0).unsigned_abs()).sum::<u64>()
        };
        let holds =
            audits.iter().enumerate().map(|(position, placed)| matches!(placed.audit, Audit::NotNull(_)) && count(position + 1) == 0);
        let same =
            |column: usize| counts.iter().filter(|batch| batch.num_rows() == 1).all(|batch| batch.column(column).as_boolean().value(0));
        let mut column = audits.len();
        let constant = several.map(|columns| {
            let next = |_: &&String| {
                column += 1;
                same(column)
            };
            columns.iter().filter(next).cloned().collect()
        });
        Ok(Counted { rows: count(0), holds: holds.collect(), constant: constant.collect() })
    }

    async fn one(&self, placed: &PlacedAudit, rows: u64, constant: &[String]) -> Result<Option<Diagnosis>, EngineError> {
        let failed = |why: String| {
            let diagnosis = Diagnosis::new("audit", format!("`{}` failed its audit `{}`: {why}", self.table, placed.text))
                .hint("yesterday's table stays; correct the data or the SQL, or the audit if it asks too much, and build again");
            Some(self.place.put(diagnosis, placed.line))
        };
        match placed.audit {
            Audit::Rows(least, most) if rows < least || rows > most => return Ok(failed(format!("it has {rows} rows"))),
            Audit::Change { percent, quiet } => {
                let Some(before) = self.previous.filter(|rows| *rows > 0) else { return Ok(None) };
                let changed = rows.abs_diff(before);
                let too_much = u128::from(changed) * 100 > u128::from(before) * u128::from(percent);
                if too_much && changed > quiet {
                    return Ok(failed(format!("it has {rows} rows, the published one {before}")));
                }
            }
            _ => {}
        }
        let Some(sql) = placed.audit.offenders(self.table, self.key, constant) else { return Ok(None) };
        let origin = Origin { file: self.place.file, line: placed.line, column: placed.column.unwrap_or(1) };
        let query = Query { sql: &sql, origin, params: self.params.clone() };
        let rows = self.session.collect(&query).await?;
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        if count == 0 {
            return Ok(None);
        }
        let words = match count {
            1 => "1 row breaks it".to_owned(),
            _ => format!("{count} rows break it"),
        };
        Ok(failed(format!("{words}: {}", self.names(&rows))))
    }

    /// The keys of the first rows, in a stable order; other columns may hold names and addresses and are not shown.
    fn names(&self, rows: &[RecordBatch]) -> String {
        let mut names: Vec<String> = Vec::new();
        for batch in rows {
            let key: Vec<usize> = self.key.iter().filter_map(|column| batch.schema().index_of(column).ok()).collect();
            let shown = if key.is_empty() { (0..batch.num_columns().min(1)).collect() } else { key };
            for row in 0..batch.num_rows() {
                let parts = shown.iter().map(|column| {
                    let column = batch.column(*column);
                    if column.is_null(row) { "null".to_owned() } else { array_value_to_string(column, row).unwrap_or_default() }
                });
                names.push(parts.collect::<Vec<_>>().join("/"));
            }
        }
        names.sort();
        let more = if names.len() > SHOWN { ", …" } else { "" };
        names.truncate(SHOWN);
        format!("{}{more}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audits_read_as_they_are_written() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(Audit::parse("unique(a, b)"), Ok(Audit::Unique(names(&["a", "b"]))));
        assert_eq!(Audit::parse(" not_null( a )"), Ok(Audit::NotNull(names(&["a"]))));
        assert_eq!(Audit::parse("accepted(tier, 'gold, old', 'new')"), Ok(Audit::Accepted("tier".into(), names(&["gold, old", "new"]))));
        assert_eq!(
            Audit::parse("relationship(customer_id, customers.customer_id)"),
            Ok(Audit::Relationship { column: "customer_id".into(), table: "customers".into(), other: "customer_id".into() })
        );
        assert_eq!(Audit::parse("rows(0, 50_000)"), Ok(Audit::Rows(0, 50_000)));
        assert_eq!(Audit::parse("change(40%)"), Ok(Audit::Change { percent: 40, quiet: 0 }));
        assert_eq!(Audit::parse("change(40%, 1_000)"), Ok(Audit::Change { percent: 40, quiet: 1000 }));
        assert_eq!(Audit::parse("select 1 from x"), Ok(Audit::Select("select 1 from x".into())));
    }

    #[test]
    fn what_is_no_audit_is_refused() {
        for text in [
            "unique()",
            "unique(a b)",
            "uniq(a)",
            "rows(5, 1)",
            "rows(1)",
            "change(much)",
            "change()",
            "change(40%, few)",
            "change(40%, 20, 3)",
            "accepted(a)",
            "relationship(a, b)",
            "x",
            // Their small letters are longer.
            "\u{23a}\u{23a}\u{23a}",
            "\u{130}\u{130}(\u{e9})",
        ] {
            assert!(Audit::parse(text).is_err(), "{text}");
        }
    }
}
