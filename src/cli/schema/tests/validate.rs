//! As much of JSON Schema, draft 7, as our schemas use; a keyword it does not know fails the test.

use std::{cell::RefCell, collections::HashMap};

use regex::Regex;
use serde_json::Value;

thread_local! {
    /// Reading a pattern takes longer than all else.
    static PATTERNS: RefCell<HashMap<String, Regex>> = RefCell::default();
}

/// What the schema holds against a document: where, and what.
pub(super) fn mistakes(root: &Value, document: &Value) -> Vec<String> {
    of(root, root, document, "")
}

/// The schema that a reference leads to.
pub(super) fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { return schema };
    let target = reference.strip_prefix('#').and_then(|place| root.pointer(place));
    resolved(root, target.unwrap_or_else(|| panic!("{reference} leads nowhere")))
}

fn of(root: &Value, schema: &Value, document: &Value, at: &str) -> Vec<String> {
    let Value::Object(keywords) = schema else {
        let anything = *schema == Value::Bool(true);
        return if anything { Vec::new() } else { vec![format!("{at}: nothing may stand here")] };
    };
    let here = |schema: &Value| of(root, schema, document, at);
    let fits = |schema: &Value| here(schema).is_empty();
    let unless = |fine: bool, what: String| if fine { Vec::new() } else { vec![format!("{at}: {what}")] };
    let checked = keywords.iter().map(|(keyword, value)| match keyword.as_str() {
        "$schema" | "title" | "description" | "default" | "definitions" | "then" | "else" => Vec::new(),
        "$ref" => here(resolved(root, schema)),
        "type" => unless(is(value.as_str().unwrap(), document), format!("{document} is no {value}")),
        "enum" => unless(value.as_array().unwrap().contains(document), format!("{document} is none of {value}")),
        "pattern" => unless(
            document.as_str().is_none_or(|text| matches(value.as_str().unwrap(), text)),
            format!("{document} does not look like {value}"),
        ),
        "minimum" => {
            unless(document.as_f64().is_none_or(|number| number >= value.as_f64().unwrap()), format!("{document} is below {value}"))
        }
        "minLength" | "maxLength" | "minItems" | "maxItems" => {
            let length = document.as_str().map(|text| text.chars().count()).or(document.as_array().map(Vec::len));
            let bound = usize::try_from(value.as_u64().unwrap()).unwrap();
            let fine = length.is_none_or(|length| if keyword.starts_with("min") { length >= bound } else { length <= bound });
            unless(fine, format!("{document} is of the wrong length"))
        }
        "items" => {
            let items = document.as_array().into_iter().flatten().enumerate();
            items.flat_map(|(nth, item)| of(root, value, item, &format!("{at}[{nth}]"))).collect()
        }
        "required" => {
            let lacking = value.as_array().unwrap().iter().filter_map(Value::as_str);
            let lacking = lacking.filter(|key| document.as_object().is_some_and(|table| !table.contains_key(*key)));
            lacking.map(|key| format!("{at}: `{key}` is missing")).collect()
        }
        "properties" | "additionalProperties" => {
            let table = document.as_object().into_iter().flatten();
            let known = |key: &str| schema["properties"].as_object().is_some_and(|properties| properties.contains_key(key));
            let entries = table.filter(|(key, _)| known(key) == (keyword == "properties"));
            entries
                .flat_map(|(key, entry)| of(root, if keyword == "properties" { &value[key] } else { value }, entry, &format!("{at}.{key}")))
                .collect()
        }
        "allOf" => value.as_array().unwrap().iter().flat_map(here).collect(),
        "anyOf" => unless(value.as_array().unwrap().iter().any(fits), format!("{document} is written in none of the ways there are")),
        "oneOf" => {
            let ways = value.as_array().unwrap().iter().filter(|way| fits(way)).count();
            unless(ways == 1, format!("{document} is written in {ways} of the ways there are"))
        }
        "if" => schema.get(if fits(value) { "then" } else { "else" }).map(here).unwrap_or_default(),
        other => panic!("this keyword is not known here: {other}"),
    });
    checked.flatten().collect()
}

fn matches(pattern: &str, text: &str) -> bool {
    PATTERNS.with_borrow_mut(|patterns| patterns.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).unwrap()).is_match(text))
}

fn is(kind: &str, document: &Value) -> bool {
    match kind {
        "object" => document.is_object(),
        "array" => document.is_array(),
        "string" => document.is_string(),
        "boolean" => document.is_boolean(),
        "integer" => document.is_i64() || document.is_u64(),
        "number" => document.is_number(),
        other => panic!("this type is not known here: {other}"),
    }
}
