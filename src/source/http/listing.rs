//! What an answer lists: where its rows stand, whether each is whole, and whether they keep the order asked for.

use serde_json::Value;

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
