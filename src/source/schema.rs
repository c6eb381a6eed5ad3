//! What `config/sources/<source>.toml` may say: the settings of its kind, or, over a preset, some of them.

use serde_json::{Value, json};

use super::{database::settings::DatabaseSettings, file::settings::FileSettings, http::settings::HttpSettings, preset, settings::Kind};
use crate::config::{
    FileKind,
    schema::{self, without_required},
};

/// The TOML files sources are written in.
pub const SOURCE_FILE: FileKind = {
    let about = "A source: where its rows are, how it knows us, and what is read from it.";
    let kind = FileKind::of::<HttpSettings>("source", "config/sources/<source>.toml", about).with_schema(document);
    #[cfg(test)]
    let kind = kind.with_reader(reads);
    kind
};

/// A kind of source: what it is called, and the definitions of its settings and of one of its streams.
const KINDS: [(Kind, &str, &str, &str); 3] = [
    (Kind::Http, "http", "HttpSettings", "HttpStream"),
    (Kind::File, "file", "FileSettings", "FileStream"),
    (Kind::Database, "database", "DatabaseSettings", "DatabaseStream"),
];

fn document() -> Value {
    let all = schema::document::<(HttpSettings, FileSettings, DatabaseSettings)>();
    let mut definitions = all.get("definitions").cloned().unwrap_or_default();
    let presets: Vec<_> = preset::presets().collect();
    let (mut of_kind, mut of_preset) = (Vec::new(), Vec::new());
    for (kind, word, settings, stream) in KINDS {
        definitions[settings]["properties"]["kind"] = json!({ "description": "What it is.", "type": "string", "enum": [word] });
        of_kind.push(json!({
            "if": { "properties": { "kind": { "enum": [word] } }, "required": ["kind"] },
            "then": reference(settings),
        }));
        let names: Vec<&str> = presets.iter().filter(|(.., of)| *of == kind).map(|(name, ..)| *name).collect();
        let (partial, partial_stream) = (format!("{settings}OverPreset"), format!("{stream}OverPreset"));
        let mut table = definitions[stream].clone();
        without_required(&mut table);
        definitions[&partial_stream] = table;
        let mut table = definitions[settings].clone();
        without_required(&mut table);
        table["properties"]["preset"] = json!({ "description": "The preset.", "type": "string", "enum": names });
        table["properties"]["streams"]["additionalProperties"] = reference(&partial_stream);
        definitions[&partial] = table;
        of_preset.push(json!({
            "if": { "properties": { "preset": { "enum": names } } },
            "then": reference(&partial),
        }));
    }
    let names = presets.iter().map(|(name, about, _)| json!({ "description": about, "type": "string", "enum": [name] }));
    json!({
        "type": "object",
        "properties": {
            "kind": { "description": "What it is; a preset says it, too.", "allOf": [reference("SourceKind")] },
            "preset": {
                "description": "The preset that says what this file does not: its streams and their columns, parameters and headers are laid over \
                                the preset's one by one, everything else whole.",
                "oneOf": names.collect::<Vec<_>>(),
            },
        },
        "if": { "required": ["preset"] },
        "then": { "allOf": of_preset },
        "else": { "required": ["kind"], "allOf": of_kind },
        // Editors look for what they offer in alternatives, not in conditions. The last one always holds: the conditions above say what is
        // wrong, and where.
        "anyOf": [reference("HttpSettings"), reference("FileSettings"), reference("DatabaseSettings"), {}],
        "definitions": definitions,
    })
}

/// Reads a source's settings, those of a preset included, as far as their shape goes.
#[cfg(test)]
fn reads(text: &str) -> Result<(), String> {
    let filled = preset::filled(text, std::path::Path::new("source.toml")).map_err(|error| error.to_string())?;
    let text = filled.map_or_else(|| text.to_owned(), |filled| filled.to_string());
    match toml::from_str::<super::settings::JustKind>(&text).map_err(|error| error.message().to_owned())?.kind {
        Kind::Http => schema::reads::<HttpSettings>(&text),
        Kind::File => schema::reads::<FileSettings>(&text),
        Kind::Database => schema::reads::<DatabaseSettings>(&text),
    }
}

fn reference(definition: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{definition}") })
}
