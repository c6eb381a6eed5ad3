//! The rows of a JSON document, one by one: only one of them is in memory at a time.

use std::{fmt, io::Read};

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Why the rows ended early.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The document is not what it should be: the line, and why.
    Wrong(u64, String),
    /// Whoever takes the rows wants no more.
    Enough,
}

/// Gives each element of the list at `path` to `each`, with its place in it from 1, until it says `false`.
pub(crate) fn rows(text: impl Read, path: &[String], each: &mut dyn FnMut(u64, Value) -> bool) -> Result<(), Ended> {
    let mut deserializer = serde_json::Deserializer::from_reader(text);
    let mut walk = Walk { each, place: 0, enough: false, found: false, inside: false };
    let walked = Step { path, walk: &mut walk }.deserialize(&mut deserializer);
    let Walk { place, enough, found, inside, .. } = walk;
    if enough {
        return Err(Ended::Enough);
    }
    let wrong = |error: serde_json::Error| {
        let line = u64::try_from(error.line()).unwrap_or(0);
        let (at, words) = (format!(" at line {} column {}", error.line(), error.column()), error.to_string());
        let words = words.strip_suffix(&at).unwrap_or(&words);
        match inside {
            true => Ended::Wrong(line, format!("element {} of the list is no JSON: {words}", place + 1)),
            false => Ended::Wrong(line, words.to_owned()),
        }
    };
    walked.map_err(wrong)?;
    if !found {
        return Err(Ended::Wrong(1, format!("the document holds no `{}`", path.join("."))));
    }
    deserializer
        .end()
        .map_err(|error| Ended::Wrong(u64::try_from(error.line()).unwrap_or(0), format!("after the rows it is no JSON: {error}")))
}

struct Walk<'a> {
    each: &'a mut dyn FnMut(u64, Value) -> bool,
    place: u64,
    enough: bool,
    found: bool,
    inside: bool,
}

/// A value on the way to the list, or the list itself.
struct Step<'a, 'b> {
    path: &'a [String],
    walk: &'a mut Walk<'b>,
}

impl<'de> DeserializeSeed<'de> for Step<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.path.is_empty() {
            true => deserializer.deserialize_seq(self),
            false => deserializer.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for Step<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path {
            [] => f.write_str("a list of rows; where it stands deeper in the document, name its path with `rows`"),
            [step, ..] => write!(f, "an object that holds `{step}`"),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        (self.walk.found, self.walk.inside) = (true, true);
        while let Some(value) = list.next_element()? {
            self.walk.place += 1;
            if !(self.walk.each)(self.walk.place, value) {
                self.walk.enough = true;
                return Err(de::Error::custom("enough"));
            }
        }
        self.walk.inside = false;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match self.path {
                [step, rest @ ..] if *step == key => map.next_value_seed(Step { path: rest, walk: self.walk })?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str, path: &str) -> Result<Vec<Value>, String> {
        let path: Vec<String> = path.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect();
        let mut read = Vec::new();
        let ended = rows(text.as_bytes(), &path, &mut |place, value| {
            read.push(value);
            place == read.len() as u64
        });
        match ended {
            Ok(()) => Ok(read),
            Err(Ended::Wrong(line, reason)) => Err(format!("{line}: {reason}")),
            Err(Ended::Enough) => Err("enough".to_owned()),
        }
    }

    #[test]
    fn rows_are_found_where_they_are_said_to_stand() {
        assert_eq!(read("[1, {\"a\": [2]}]", ""), Ok(vec![json!(1), json!({"a": [2]})]));
        let deep = "{\"items\": 1, \"data\": {\"x\": [], \"items\": [{\"id\": 7}]}, \"next\": null}";
        assert_eq!(read(deep, "data.items"), Ok(vec![json!({"id": 7})]));
        assert_eq!(read("[]", ""), Ok(vec![]));
    }

    #[test]
    fn what_is_broken_is_named_by_its_place() {
        for (text, path, words) in [
            ("[{\"id\": 1},\n{\"id\": 2},\n{\"id\": }]", "", "3: element 3 of the list is no JSON: expected value"),
            ("[{\"id\": 1}, {\"id\"", "", "1: element 2 of the list is no JSON: EOF"),
            ("{\"rows\": []}", "", "1: invalid type: map, expected a list of rows"),
            ("{\"rows\": []}", "data.items", "1: the document holds no `data.items`"),
            ("{\"data\": []}", "data.items", "1: invalid type: sequence, expected an object that holds `items`"),
            ("[] []", "", "1: after the rows it is no JSON"),
            ("", "", "1: EOF"),
            ("<html>", "", "1: expected value"),
        ] {
            let error = read(text, path).unwrap_err();
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }

    #[test]
    fn nothing_is_read_past_what_is_wanted() {
        let mut seen = 0;
        let ended = rows("[1, 2, 3".as_bytes(), &[], &mut |_, _| {
            seen += 1;
            seen < 2
        });
        assert!(matches!(ended, Err(Ended::Enough)));
        assert_eq!(seen, 2);
    }

    proptest! {
        #[test]
        fn a_document_gives_what_serde_would(ids in prop::collection::vec(any::<i64>(), 0..20), name in "\\PC{0,12}") {
            let values: Vec<Value> = ids.iter().map(|id| json!({"id": id, "name": name, "deep": {"items": [id]}})).collect();
            let text = json!({"before": values, "data": {"items": values}, "after": [1]}).to_string();
            prop_assert_eq!(read(&text, "data.items").unwrap(), values);
        }
    }
}
