//! `webhook.json`: a JSON document with tags in it. Values are written as JSON by themselves: `"name": {{ name }}` and
//! `"say": "call {{ name }}"` are both right for every name.

use super::{
    MessageError,
    html::wrapped,
    scan::{self, Kind},
};
use crate::diagnosis::Diagnosis;

/// Lets values inside a quoted text be written without quotes of their own.
pub(super) fn prepare(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 64);
    let mut quoted = Quoted::default();
    let mut at = 0;
    for tag in scan::tags(source) {
        let text = &source[at..tag.range.start];
        quoted.read(text);
        out.push_str(text);
        match tag.kind {
            Kind::Print if quoted.inside => out.push_str(&wrapped(&tag, source, "inside_json")),
            _ => out.push_str(&source[tag.range.clone()]),
        }
        at = tag.range.end;
    }
    out.push_str(&source[at..]);
    out
}

#[derive(Debug, Default)]
struct Quoted {
    inside: bool,
    escaped: bool,
}

impl Quoted {
    fn read(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' if self.inside => self.escaped = true,
                '"' => self.inside = !self.inside,
                _ => {}
            }
        }
    }
}

/// What practice data says of itself.
pub(super) const PRACTICE: &str = "PRACTICE DATA: the people and orders here are invented.";

/// The finished body: checked, and marked where it is practice.
pub(super) fn finish(filled: &str, practice: bool) -> Result<String, MessageError> {
    let mut body: serde_json::Value = serde_json::from_str(filled).map_err(|error| {
        let line = filled.lines().nth(error.line().saturating_sub(1)).unwrap_or_default().trim();
        MessageError(
            Diagnosis::new("webhook_json", format!("what the template makes is not JSON ({error}), near: {line}"))
                .hint("look for a comma too many or too few round an `{% if … %}`, and for a text without its quotes"),
        )
    })?;
    if let (true, serde_json::Value::Object(members)) = (practice, &mut body) {
        members.shift_insert(0, "practice".to_owned(), PRACTICE.into());
    }
    Ok(format!("{body:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_inside_quotes_are_told_from_bare_ones() {
        let made = prepare("{\"a\": {{ x }}, \"b\": \"to \\\"{{ y }}\\\"\", {% if z %}\"c\": \"{{- v -}}\"{% endif %}}");
        assert_eq!(
            made,
            "{\"a\": {{ x }}, \"b\": \"to \\\"{{( y )|inside_json}}\\\"\", {% if z %}\"c\": \"{{-( v )|inside_json-}}\"{% endif %}}"
        );
    }

    #[test]
    fn practice_says_so_first_and_broken_json_is_an_error() {
        assert!(finish("{\"a\": 1}", true).unwrap().starts_with("{\n  \"practice\": \"PRACTICE DATA"));
        assert_eq!(finish("{\"a\": 1}", false).unwrap(), "{\n  \"a\": 1\n}\n");
        assert_eq!(finish("{\"a\": 1,}", false).unwrap_err().0.code, "webhook_json");
    }
}
