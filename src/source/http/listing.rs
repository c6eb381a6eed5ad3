//! What an answer lists: where its rows stand, whether each is whole, and whether they keep the order asked for.

use super::pages::{Lost, path, unordered};
use crate::source::{
    intake::{Reached, named, reached},
    json::{Is, Json, JsonRows},
    pull::exact,
    settings::Stream,
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
pub(super) fn span(stream: &Stream, rows: &JsonRows, tie: Option<&str>) -> Result<Option<Span>, Lost> {
    let Some(cursor) = &stream.cursor else { return Ok(None) };
    let tie = tie.map(path);
    let mut first = None;
    let mut last: Option<(Reached, Option<Json<'_>>, Json<'_>)> = None;
    for row in rows.iter() {
        let Some(reached) = reached(stream, row) else { continue };
        let apart = match &tie {
            Some(tie) => match row.at(tie) {
                Some(apart) if matches!(apart.is(), Is::Text(_) | Is::Number(_)) => Some(apart),
                _ => return Err(unordered(format!("holds nothing at `{}` of row {} to go on from", tie.join("."), named(stream, row)))),
            },
            None => None,
        };
        if let Some((before, tied, other)) = &last {
            let tied = before.literal == reached.literal && tied.zip(apart).is_some_and(|(a, b)| !ascends(&a.literal(), &b.literal()));
            if before.at > reached.at || tied {
                return Err(unordered(format!("lists row {} before row {}", named(stream, *other), named(stream, row))));
            }
        }
        first.get_or_insert(reached.at);
        last = Some((reached, apart, row));
    }
    Ok(first.zip(last).map(|(first, (reached, tie, _))| Span {
        first,
        last: reached.at,
        after: exact(cursor, &reached),
        tie: tie.map(Json::literal),
    }))
}

/// Whether one comes before the other in any order a system may sort by: as numbers, letter by letter, in upper and lower case alike.
fn ascends(a: &str, b: &str) -> bool {
    let as_numbers = a.parse::<i128>().ok().zip(b.parse::<i128>().ok()).is_some_and(|(a, b)| a <= b);
    as_numbers || a <= b || a.to_lowercase() <= b.to_lowercase()
}

/// What the flag at a dotted path of a row says; in a list on the way, one that is true is enough. `None` where there is no such flag,
/// an error where something else stands there. Where nothing is, nothing is cut off.
pub(super) fn flagged(row: Json<'_>, path: &[String]) -> Result<Option<bool>, ()> {
    match (row.is(), path) {
        (Is::Bool(flag), []) => Ok(Some(flag)),
        (Is::Null, _) => Ok(Some(false)),
        (Is::List, _) if row.items().next().is_none() => Ok(Some(false)),
        (Is::List, _) => row.items().map(|item| flagged(item, path)).try_fold(None, |said, flag| Ok(said.max(flag?))),
        (_, []) => Err(()),
        (_, [step, rest @ ..]) => row.field(step).map_or(Ok(None), |inner| flagged(inner, rest)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ties_ascend_in_any_order_a_system_may_have() {
        assert!(ascends("9", "10") && ascends("10", "9x") && ascends("a", "B") && ascends("B", "a"));
        assert!(!ascends("10", "1") && !ascends("b", "a"));
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
            assert_eq!(flagged(Json::Tree(&row), &path), said, "{row}");
        }
    }
}
