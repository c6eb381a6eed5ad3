//! One text for two databases.
//!
//! The ledger's statements keep to what SQLite and PostgreSQL both understand. What is left:
//!
//! | in the text | for PostgreSQL |
//! |---|---|
//! | `?1`, or `?` for the next one | `$1` |
//! | `+column`: not by this column's index | `column` |
//! | `indexed by name` | nothing: it chooses by itself |
//! | `cross join … on`: in this order | `join … on` |
//! | `without rowid` | nothing |
//! | `or rollback`: what is refused undoes the transaction, and SQLite need not be able to undo the statement alone | nothing |
//!
//! A statement that is done for each of many rows of values has, beside those that hold for all (`?1`, `?2` …):
//!
//! | in the text | for SQLite, row by row | for PostgreSQL, all at once |
//! |---|---|---|
//! | `{0}`, `{1}` …: the row's own | the values after those for all | `(j.value ->> 0)`: texts |
//! | `{rows}`, where rows are changed | nothing | `from json_each(…) j` |
//! | `{values} … {rows}`, where rows are added | `values (…)` | `select … from json_each(…) j where true` |
//! | no `{rows}`, where rows are found | | `select j.key, found.* from json_each(…) j join lateral (…) found order by j.key` |
//!
//! `json_each(text)` and `instr(text, text)` are functions of the ledger's schema there; `json_each` gives `key` and `value` alike.

use std::borrow::Cow;

/// The statement as PostgreSQL reads it.
pub(super) fn for_postgres(text: &str) -> String {
    let text = without(text, "indexed by ", true);
    let text = without(&text, "without rowid", false);
    let text = without(&text, "or rollback ", false);
    let text = text.replace("cross join ", "join ");
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text.as_str();
    let (mut quoted, mut last, mut before) = (false, 0_u32, ' ');
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '\'' => quoted = !quoted,
            '?' if !quoted => {
                let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                last = rest[..digits].parse().unwrap_or(last + 1);
                rest = &rest[digits..];
                out.push('$');
                out.push_str(&last.to_string());
                before = '$';
                continue;
            }
            '+' if !quoted && matches!(before, ' ' | '(' | '\n') && rest.starts_with(|c: char| c.is_ascii_lowercase()) => continue,
            _ => {}
        }
        out.push(letter);
        before = letter;
    }
    out
}

/// A statement for each row as SQLite reads it; the rows' own values begin at this one.
pub(in crate::ledger) fn for_one(text: &str, first: usize) -> String {
    let rows = if text.contains(VALUES) { ")" } else { "" };
    filled(text, ("values (", rows), |cell| format!("?{}", first + cell))
}

/// A statement for each row as one for all of them; the rows are this value.
pub(super) fn for_each(text: &str, rows: usize) -> String {
    let from = format!("from json_each(?{rows}) j");
    let rows = if text.contains(VALUES) { format!("{from} where true") } else { from.clone() };
    let filled = filled(text, ("select", &rows), |cell| format!("(j.value ->> {cell})"));
    if text.contains(ROWS) { filled } else { format!("select j.key, found.* {from} join lateral ({filled}) found on true order by j.key") }
}

const ROWS: &str = "{rows}";
const VALUES: &str = "{values}";

fn filled(text: &str, (values, rows): (&str, &str), cell: impl Fn(usize) -> String) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut parts = text.split('{');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        match name.parse() {
            Ok(place) => out.push_str(&cell(place)),
            Err(_) => out.push_str(if name == "rows" { rows } else { values }),
        }
        out.push_str(rest);
    }
    out
}

/// The text without a phrase, and without the word that follows it.
fn without<'t>(text: &'t str, phrase: &str, and_next_word: bool) -> Cow<'t, str> {
    if !text.contains(phrase) {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split(phrase);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let skipped = if and_next_word { part.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(part.len()) } else { 0 };
        out.push_str(&part[skipped..]);
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_met_one_by_one_or_all_at_once() {
        let (writes, finds) = ("update t set a = {1} {rows} where b = {0} and c = ?1", "select a from t where b = {0} and c = ?1");
        assert_eq!(for_one(writes, 2), "update t set a = ?3  where b = ?2 and c = ?1");
        assert_eq!(for_one(finds, 2), "select a from t where b = ?2 and c = ?1");
        let adds = "insert or rollback into t (a, b) {values} {0}, ?1 {rows} on conflict (a) do nothing";
        assert_eq!(for_one(adds, 2), "insert or rollback into t (a, b) values ( ?2, ?1 ) on conflict (a) do nothing");
        assert_eq!(
            for_postgres(&for_each(adds, 2)),
            "insert into t (a, b) select (j.value ->> 0), $1 from json_each($2) j where true on conflict (a) do nothing"
        );
        let at_once = "update t set a = (j.value ->> 1) from json_each(?2) j where b = (j.value ->> 0) and c = ?1";
        assert_eq!(for_each(writes, 2), at_once);
        let found = "select j.key, found.* from json_each(?2) j join lateral (select a from t where b = (j.value ->> 0) and c = ?1) found on true \
                     order by j.key";
        assert_eq!(for_each(finds, 2), found);
    }

    #[test]
    fn hints_go_and_values_are_numbered() {
        for (text, expected) in [
            ("select a from t where b = ? and c = ?", "select a from t where b = $1 and c = $2"),
            ("select ?2, ?1 from t where a = ?12", "select $2, $1 from t where a = $12"),
            ("select '?' || ?1, 'it''s ?'", "select '?' || $1, 'it''s ?'"),
            ("select 1 from t indexed by t_waiting where a = ?1", "select 1 from t  where a = $1"),
            ("from j cross join t on +t.a = j.a and (+b = 1 + 2)", "from j join t on t.a = j.a and (b = 1 + 2)"),
            ("create table t (a text) without rowid;", "create table t (a text) ;"),
            ("set attempt = attempt + 1", "set attempt = attempt + 1"),
        ] {
            assert_eq!(for_postgres(text), expected);
        }
    }
}
