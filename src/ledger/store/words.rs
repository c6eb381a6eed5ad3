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
//!
//! `json_each(text)` and `instr(text, text)` are functions of the ledger's schema there; `json_each` gives `key` and `value` alike.

use std::borrow::Cow;

/// The statement as PostgreSQL reads it.
pub(super) fn for_postgres(text: &str) -> String {
    let text = without(text, "indexed by ", true);
    let text = without(&text, "without rowid", false);
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
