//! One TOML text to one settings struct, with a person's answer to every mistake.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use crate::{diagnosis::Diagnosis, secret::IN_PLAIN};

/// Reads settings from the text of `file`.
///
/// # Errors
/// Where the text is not TOML, a key is unknown or missing, or a value does not fit; with the line, and the nearest known key.
pub fn parse<T: DeserializeOwned>(text: &str, file: &Path) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let diagnosis = explain(error.message()).in_file(file);
        let at = error.span().map(|span| span.start).or_else(|| nests_too_deep(error.message()).then(|| deepest(text)));
        ConfigError(match at {
            Some(at) => {
                let (line, column) = place(text, at);
                diagnosis.at(line, column)
            }
            None => diagnosis,
        })
    })
}

/// The line of each element of the list `key`.
pub(crate) fn lines(text: &str, key: &str) -> Vec<usize> {
    let table = DeTable::parse(text).ok();
    let list = table.as_ref().and_then(|table| table.get_ref().get(key)).and_then(|value| value.get_ref().as_array());
    list.into_iter().flatten().map(|element| place(text, element.span().start).0).collect()
}

/// Whether the parser gave up because of depth; it tells no place then.
fn nests_too_deep(message: &str) -> bool {
    message.trim() == "recursion limit"
}

/// Where the line begins that has the most levels in it.
fn deepest(text: &str) -> usize {
    let levels = |line: &str| line.matches(['.', '[', '{']).count();
    let lines = text.split_inclusive('\n').scan(0, |at, line| {
        *at += line.len();
        Some((levels(line), *at - line.len()))
    });
    lines.fold((0, 0), |most, line| if line.0 > most.0 { line } else { most }).1
}

/// The line and column of the value at `path`, such as `["streams", "orders", "cursor"]`, or of its nearest parent that stands in the
/// text. Both count from 1.
#[must_use]
pub fn locate(text: &str, path: &[&str]) -> Option<(usize, usize)> {
    let table = DeTable::parse(text).ok()?;
    let mut here = None;
    let mut tables = vec![table.get_ref()];
    for key in path {
        let (name, value) = tables.pop()?.iter().find(|(name, _)| name.get_ref() == key)?;
        here = Some(name.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => tables.push(inner),
            _ => break,
        }
    }
    here.map(|offset| place(text, offset))
}

/// Whether every key of `path` stands in the text.
pub(super) fn holds(text: &str, path: &[&str]) -> bool {
    let Ok(mut table) = text.parse::<toml::Table>() else { return false };
    for (position, key) in path.iter().enumerate() {
        match table.remove(*key) {
            Some(toml::Value::Table(inner)) => table = inner,
            Some(_) => return position + 1 == path.len(),
            None => return false,
        }
    }
    true
}

/// The setting a parser's words say is missing.
pub(super) fn missing_key(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}

/// Turns the parser's words into a person's, and finds the nearest known key.
pub(super) fn explain(message: &str) -> Diagnosis {
    let named = quoted(message);
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let unknown = named.first().cloned().unwrap_or_default();
        let known = quoted(rest).split_off(1);
        let diagnosis = Diagnosis::new("unknown_key", format!("there is no setting `{unknown}` here"));
        return match nearest(&unknown, known.iter().map(String::as_str)) {
            Some(near) => diagnosis.hint(format!("did you mean `{near}`?")),
            None if known.is_empty() => diagnosis.hint("nothing can be set here; remove the line"),
            None => diagnosis.hint(format!("known here are: {}", known.join(", "))),
        };
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        let unknown = named.first().cloned().unwrap_or_default();
        let known = quoted(rest).split_off(1);
        let diagnosis = Diagnosis::new("unknown_value", format!("`{unknown}` is not one of the values this setting takes"));
        return match nearest(&unknown, known.iter().map(String::as_str)) {
            Some(near) => diagnosis.hint(format!("did you mean `{near}`?")),
            None => diagnosis.hint(format!("it takes: {}", known.join(", "))),
        };
    }
    if let Some(missing) = missing_key(message) {
        return Diagnosis::new("missing_key", format!("the setting `{missing}` is missing")).hint(format!("add a line `{missing} = …`"));
    }
    if message.trim() == IN_PLAIN {
        return Diagnosis::new("secret_in_plain", IN_PLAIN)
            .hint("keep it elsewhere and say where: `{ env = \"X\" }` for an environment variable, `{ file = \"…\" }` for a file");
    }
    if nests_too_deep(message) {
        return Diagnosis::new("bad_value", "lists and tables nest too deep here").hint("no setting needs more than a few levels");
    }
    let message = message.lines().next().unwrap_or(message).trim();
    Diagnosis::new("bad_value", message.to_owned()).hint("correct the value on this line")
}

/// The candidate that looks most like `name`, where one looks alike at all.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = |candidate: &str| 2.max(candidate.len() / 3);
    let letters = name.chars().count();
    candidates
        // What differs so much in length already need not be looked at: a name may be as long as a file.
        .filter(|candidate| letters.abs_diff(candidate.chars().count()) <= far(candidate))
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= far(candidate))
        .min()
        .map(|(_, candidate)| candidate)
}

fn quoted(message: &str) -> Vec<String> {
    message.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Line and column, both from 1, of a byte offset.
pub(crate) fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Sample {
        segment: String,
        #[serde(default)]
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Marketing,
        Service,
    }

    #[test]
    fn an_unknown_key_names_the_nearest_and_its_line() {
        let error = parse::<Sample>("segment = \"x\"\nkimd = \"service\"\n", Path::new("campaign.toml")).unwrap_err().0;
        assert_eq!((error.code.as_str(), error.line, error.hint.as_deref()), ("unknown_key", Some(2), Some("did you mean `kind`?")));
    }

    #[test]
    fn a_wrong_value_and_a_missing_key_are_told_apart() {
        let error = parse::<Sample>("segment = \"x\"\nkind = \"servce\"\n", Path::new("c.toml")).unwrap_err().0;
        assert_eq!((error.line, error.hint.as_deref()), (Some(2), Some("did you mean `service`?")));
        let error = parse::<Sample>("kind = \"service\"\n", Path::new("c.toml")).unwrap_err().0;
        assert_eq!(error.code, "missing_key");
    }

    #[test]
    fn what_nests_too_deep_has_a_place() {
        for (deep, column) in [(format!("segment = {}", "[".repeat(200)), 91), (format!("[segment{}]", ".a".repeat(200)), 1)] {
            let error = parse::<Sample>(&format!("kind = [[]]\n{deep}\n"), Path::new("c.toml")).unwrap_err().0;
            assert_eq!((error.line, error.column, error.code.as_str()), (Some(2), Some(column), "bad_value"), "{}", error.message);
        }
    }

    #[test]
    fn a_setting_is_found_in_the_text() {
        let text = "a = 1\n[streams.orders]\npath = \"/o\"\ncursor = { field = \"x\" }\n";
        assert_eq!(locate(text, &["streams", "orders", "cursor", "field"]), Some((4, 12)));
        assert_eq!(locate(text, &["a"]), Some((1, 1)));
        assert_eq!(locate(text, &["b"]), None);
    }
}
