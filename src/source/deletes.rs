//! How a stream sees deleted rows: the setting `deletes`, and what is checked of it before the first request.

use std::{collections::BTreeMap, fmt};

use schemars::{JsonSchema, r#gen::SchemaGenerator, schema::Schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{
    columns::{Column, Type},
    error::StreamName,
    settings::{Spot, Stream, position},
};
use crate::config::{ConfigError, Period, nearest, schema};

/// How deleted rows are seen: `"none"`, `"flag"`, `{ flag = "field" }`, `"reconcile"`, `{ reconcile = { every = "7d" } }`,
/// `{ events = { … } }`, or the last two together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Deletes {
    /// A column says so: a time, or true.
    flag: Option<String>,
    /// Now and then everything is read, and what no longer comes is marked. How much time passes between two such readings; zero: every
    /// pull.
    reconcile: Option<Period>,
    /// Another stream lists them.
    pub(crate) events: Option<DeleteEvents>,
}

/// `events = { stream = "deletions", key = { id = "subject_id" }, at = "created_at", where = { verb = "destroy" } }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteEvents {
    /// The stream of the same source that lists them.
    stream: String,
    /// For each column of the key, the column of that stream that holds it.
    key: BTreeMap<String, String>,
    /// The column of that stream that says since when.
    at: String,
    /// Which of its rows are meant: a column, and the text or one of the texts it holds.
    #[serde(default, rename = "where")]
    only: BTreeMap<String, Texts>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "`where` compares a column with a text or with a list of texts")]
enum Texts {
    One(String),
    Any(Vec<String>),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reconcile {
    /// How much time passes between two readings of everything.
    every: Period,
}

/// The ways that need no more than a word.
const WORDS: [&str; 3] = ["none", "flag", "reconcile"];

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DeletesBy")]
struct Ways {
    /// The column that says so: a time, or true.
    flag: Option<String>,
    /// Now and then everything is read, and what no longer comes is marked.
    reconcile: Option<Reconcile>,
    /// Another stream lists them.
    events: Option<DeleteEvents>,
}

impl JsonSchema for Deletes {
    fn schema_name() -> String {
        "Deletes".to_owned()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let word = schema::words(&WORDS, "`flag` reads the column `deleted_at`; `reconcile` reads everything in every pull.");
        schema::any_of(vec![word, generator.subschema_for::<Ways>()], "How deleted rows are seen.")
    }
}

impl<'de> Deserialize<'de> for Deletes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Deletes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"none\", \"flag\", { flag = \"deleted_at\" }, \"reconcile\" or { events = { … } }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Deletes, E> {
                match text {
                    "none" => Ok(Deletes::default()),
                    "flag" => Ok(Deletes { flag: Some("deleted_at".to_owned()), ..Deletes::default() }),
                    "reconcile" => Ok(Deletes { reconcile: Some(Period::seconds(0)), ..Deletes::default() }),
                    other => Err(E::unknown_variant(other, &WORDS)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Deletes, A::Error> {
                let Ways { flag, reconcile, events } = Ways::deserialize(MapAccessDeserializer::new(map))?;
                if flag.is_some() && (reconcile.is_some() || events.is_some()) {
                    return Err(de::Error::custom(
                        "a column that flags deleted rows says it all; only `events` and `reconcile` go together",
                    ));
                }
                if flag.is_none() && reconcile.is_none() && events.is_none() {
                    return Err(de::Error::custom("name a way: { flag = \"deleted_at\" } or { reconcile = { every = \"7d\" } }"));
                }
                Ok(Deletes { flag, reconcile: reconcile.map(|reconcile| reconcile.every), events })
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

/// How the rows of a stream tell, or its pull finds, that they are deleted; checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seeing {
    Nothing,
    /// The position of the column that says so.
    Flag(usize),
    Reconcile {
        every: Period,
    },
}

/// Where a stream's deletions are listed, checked. Columns are those of the other stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Events {
    /// The stream that lists them.
    pub(crate) stream: StreamName,
    /// The columns of the key, in the key's own order.
    pub(crate) key: Vec<String>,
    /// Since when.
    pub(crate) at: String,
    /// Columns and the texts they may hold.
    pub(crate) only: Vec<(String, Vec<String>)>,
}

impl Deletes {
    /// Whether the table says since when a row is gone.
    pub(crate) fn any(&self) -> bool {
        *self != Self::default()
    }

    /// Whether everything is read now and then to find what is gone.
    pub(crate) fn reconciles(&self) -> bool {
        self.reconcile.is_some()
    }

    /// Checks what a stream says of itself.
    pub(crate) fn seeing(&self, spot: &Spot<'_>, columns: &[Column]) -> Result<Seeing, ConfigError> {
        if let Some(every) = self.reconcile {
            return Ok(Seeing::Reconcile { every });
        }
        let Some(field) = &self.flag else { return Ok(Seeing::Nothing) };
        let column = position(spot, columns, &["deletes"], field)?;
        if !matches!(columns[column].kind, Type::Timestamp | Type::Boolean) {
            let message = format!("the column `{field}` that flags deleted rows is neither a timestamp nor a boolean");
            return Err(spot.wrong(&["deletes"], "bad_value", message, None));
        }
        Ok(Seeing::Flag(column))
    }
}

/// Checks what the streams of a source say of each other.
pub(crate) fn resolve(spot: &Spot<'_>, streams: &mut [Stream]) -> Result<(), ConfigError> {
    let found = streams.iter().map(|stream| stream.deletes_declared().events.as_ref().map(|events| listed(spot, streams, stream, events)));
    let found = found.map(Option::transpose).collect::<Result<Vec<_>, _>>()?;
    for (stream, events) in streams.iter_mut().zip(found) {
        stream.events = events;
    }
    Ok(())
}

fn listed(spot: &Spot<'_>, streams: &[Stream], stream: &Stream, declared: &DeleteEvents) -> Result<Events, ConfigError> {
    let spot = spot.below(&stream.name.stream);
    let wrong =
        |place: &str, code: &str, message: String, hint: String| Err(spot.wrong(&["deletes", "events", place], code, message, Some(hint)));
    let others = || streams.iter().map(|other| other.name.stream.as_str()).filter(|name| *name != stream.name.stream);
    let Some(events) = streams.iter().find(|other| other.name.stream == declared.stream) else {
        let hint = match nearest(&declared.stream, others()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("describe it in this file, under [streams.{}]", declared.stream),
        };
        return wrong("stream", "unknown_stream", format!("there is no stream `{}` in this source", declared.stream), hint);
    };
    if events.name == stream.name || events.deletes_declared().events.is_some() {
        let message = "a stream that lists deletions is another one, and its own are not listed by events".to_owned();
        return wrong("stream", "bad_value", message, "name the stream in which the system says what it deleted".to_owned());
    }
    let column = |place: &str, name: &str| match events.columns.list.iter().find(|column| column.name == name) {
        Some(column) => Ok(column),
        None => {
            let hint = match nearest(name, events.columns.list.iter().map(|column| column.name.as_str())) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("declare it in [streams.{}.columns]", declared.stream),
            };
            Err(spot.wrong(
                &["deletes", "events", place],
                "unknown_column",
                format!("there is no column `{name}` in the stream `{}`", declared.stream),
                Some(hint),
            ))
        }
    };
    let names = stream.key_names();
    if let Some(unknown) = declared.key.keys().find(|name| !names.contains(name)) {
        let hint = format!("write there {} alone", names.join(", "));
        return wrong("key", "bad_value", format!("the column `{unknown}` is no part of the key of `{}`", stream.name.stream), hint);
    }
    let mut key = Vec::new();
    for (name, position) in names.iter().zip(&stream.key) {
        let Some(theirs) = declared.key.get(name) else {
            let message = format!("nothing says which column of `{}` holds the `{name}` of a deleted row", declared.stream);
            return wrong("key", "bad_value", message, format!("add it: key = {{ {name} = \"…\" }}"));
        };
        let (ours, theirs) = (&stream.columns.list[*position], column("key", theirs)?);
        if ours.kind != theirs.kind {
            let message = format!("`{name}` is of type {}, and `{}` of `{}` is {}", ours.kind, theirs.name, declared.stream, theirs.kind);
            return wrong("key", "bad_value", message, "declare both with one type, so that they can be compared".to_owned());
        }
        key.push(theirs.name.clone());
    }
    if column("at", &declared.at)?.kind != Type::Timestamp {
        let message = format!("the column `{}` of `{}` is no timestamp, and says since when a row is gone", declared.at, declared.stream);
        return wrong("at", "bad_value", message, "name a column of type timestamp".to_owned());
    }
    for name in declared.only.keys() {
        let kind = &column("where", name)?.kind;
        if *kind != Type::Text {
            let message = format!("the column `{name}` of `{}` is of type {kind}, and is compared with text", declared.stream);
            return wrong("where", "bad_value", message, "declare it as text".to_owned());
        }
    }
    let only = declared.only.iter().map(|(name, texts)| match texts {
        Texts::One(text) => (name.clone(), vec![text.clone()]),
        Texts::Any(texts) => (name.clone(), texts.clone()),
    });
    Ok(Events { stream: events.name.clone(), key, at: declared.at.clone(), only: only.collect() })
}
