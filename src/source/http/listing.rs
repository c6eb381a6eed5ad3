//! What an answer lists: where its rows stand, whether each is whole, and whether they keep the order asked for.

use serde_json::Value;

use super::pages::{Lost, path, unordered};
use crate::source::{
    intake::{Reached, named, reached},
    pull::exact,
    settings::Stream,
    values,
};

/// Where the rows of a page stand by the cursor, from the first to the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// The last value as it is asked for.
    pub(crate) after: String,
    /// What tells the last row from others with its value.
    pub(crate) tie: Option<String>,
}

/// Follows the cursor over the rows of a page, which have to ascend by it, and by `tie` where they agree in it. Rows without a cursor
/// value do not count.
pub(super) fn span(stream: &Stream, rows: &[Value], tie: Option<&str>) -> Result<Option<Span>, Lost> {
    let Some(cursor) = &stream.cursor else { return Ok(None) };
    let tie = tie.map(path);
    let mut first = None;
    let mut last: Option<(Reached, Option<&Value>, &Value)> = None;
    for row in rows {
        let Some(reached) = reached(stream, row) else { continue };
        let apart = match &tie {
            Some(tie) => match values::at(row, tie) {
                Some(apart @ (Value::String(_) | Value::Number(_))) => Some(apart),
                _ => return Err(unordered(format!("holds nothing at `{}` of row {} to go on from", tie.join("."), named(stream, row)))),
            },
            None => None,
        };
        if let Some((before, tied, other)) = &last {
            let tied = before.literal == reached.literal && tied.zip(apart).is_some_and(|(a, b)| !ascends(a, b));
            if before.at > reached.at || tied {
                return Err(unordered(format!("lists row {} before row {}", named(stream, other), named(stream, row))));
            }
        }
        first.get_or_insert(reached.at);
        last = Some((reached, apart, row));
    }
    Ok(first.zip(last).map(|(first, (reached, tie, _))| Span {
        first,
        last: reached.at,
        after: exact(cursor, &reached),
        tie: tie.map(|tie| tie.as_str().map_or_else(|| tie.to_string(), str::to_owned)),
    }))
}

/// Whether one comes before the other in any order a system may sort by: as numbers, letter by letter, in upper and lower case alike.
fn ascends(a: &Value, b: &Value) -> bool {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (a, b) = (text(a), text(b));
    let as_numbers = a.parse::<i128>().ok().zip(b.parse::<i128>().ok()).is_some_and(|(a, b)| a <= b);
    as_numbers || a <= b || a.to_lowercase() <= b.to_lowercase()
}

/// Takes the list of rows out of an answer. A missing list is never taken for an empty one.
pub(super) fn take_rows(body: &mut Value, place: &[String]) -> Result<Vec<Value>, String> {
    let dotted = place.join(".");
    let mut here = body;
    for step in place {
        here = here.get_mut(step).ok_or_else(|| format!("holds nothing at `{dotted}`, where the rows should be"))?;
    }
    match here {
        Value::Array(rows) => Ok(std::mem::take(rows)),
        _ if place.is_empty() => Err("is an object, where a list of rows should be".to_owned()),
        _ => Err(format!("holds no list at `{dotted}`, where the rows should be")),
    }
}

/// What the flag at a dotted path of a row says; in a list on the way, one that is true is enough. `None` where there is no such flag,
/// an error where something else stands there. Where nothing is, nothing is cut off.
pub(super) fn flagged(row: &Value, path: &[String]) -> Result<Option<bool>, ()> {
    match (row, path) {
        (Value::Bool(flag), []) => Ok(Some(*flag)),
        (Value::Null, _) => Ok(Some(false)),
        (Value::Array(list), _) if list.is_empty() => Ok(Some(false)),
        (Value::Array(list), _) => list.iter().map(|item| flagged(item, path)).try_fold(None, |said, flag| Ok(said.max(flag?))),
        (_, []) => Err(()),
        (row, [step, rest @ ..]) => row.get(step).map_or(Ok(None), |inner| flagged(inner, rest)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ties_ascend_in_any_order_a_system_may_have() {
        let ascends = |a: Value, b: Value| ascends(&a, &b);
        assert!(ascends(json!(9), json!(10)) && ascends(json!("9"), json!("10")) && ascends(json!("10"), json!("9")));
        assert!(ascends(json!("a"), json!("B")) && ascends(json!("B"), json!("a")));
        assert!(!ascends(json!(10), json!(1)) && !ascends(json!("b"), json!("a")));
    }

    #[test]
    fn a_flag_inside_a_row_is_found_through_lists() {
        let path: Vec<String> = ["items", "page", "more"].map(str::to_owned).to_vec();
        for (row, said) in [
            (json!({"items": {"page": {"more": true}}}), Ok(Some(true))),
            (json!({"items": {"page": {"more": false}}}), Ok(Some(false))),
            (json!({"items": [{"page": {"more": false}}, {}, {"page": {"more": true}}]}), Ok(Some(true))),
            (json!({"items": null}), Ok(Some(false))),
            (json!({"items": []}), Ok(Some(false))),
            (json!({"items": {"page": {}}}), Ok(None)),
            (json!({"item": {}}), Ok(None)),
            (json!({"items": {"page": {"more": "yes"}}}), Err(())),
            (json!({"items": {"page": {"more": {}}}}), Err(())),
        ] {
            assert_eq!(flagged(&row, &path), said, "{row}");
        }
    }
}
