//! The schemas say what the program takes: every file that ships fits them, and what the program refuses of a file, they refuse.

mod rare;
mod validate;

use std::{collections::BTreeSet, path::Path};

use rare::RARE;
use serde_json::Value;
use validate::{mistakes, resolved};

use super::*;

/// Texts of TOML with the kind of file they are and where they stand: those that ship, and the rare ones.
fn texts() -> Vec<(FileKind, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["config", "jobs", "sql", "src/project/presets", "src/delivery/api/apis"] {
        walk(&root.join(folder), &mut |path| {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let text = || fs::read_to_string(path).unwrap();
            let kind = match path.extension().and_then(|ending| ending.to_str()) {
                Some("toml") if name.contains("config/sources/") => "source",
                Some("toml") if name.contains("/apis/") => "api",
                Some("toml") if name.contains("sql/tests/") => "test",
                Some("toml") if name.ends_with("/campaign.toml") => "campaign",
                Some("toml") if name.starts_with("jobs/") => "job",
                Some("toml") => "perennial",
                Some("sql") => "front-matter",
                _ => return,
            };
            let text = match kind {
                "front-matter" => text().split_once("/* ---").and_then(|(_, rest)| Some(rest.split_once("--- */")?.0.to_owned())),
                _ => Some(text()),
            };
            found.extend(text.map(|text| (kind_of(kind), name, text)));
        });
    }
    found.extend(RARE.iter().map(|(kind, text)| (kind_of(kind), format!("a rare {kind}"), (*text).to_owned())));
    found
}

fn walk(folder: &Path, found: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found(&path) }
    }
}

fn kind_of(name: &str) -> FileKind {
    FILES.into_iter().find(|kind| kind.name == name).unwrap()
}

fn parsed(text: &str) -> toml::Table {
    text.parse().unwrap()
}

/// A document as editors see it: dates are texts.
fn as_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(yes) => (*yes).into(),
        toml::Value::Datetime(at) => at.to_string().into(),
        toml::Value::Array(items) => items.iter().map(as_json).collect(),
        toml::Value::Table(table) => Value::Object(table.iter().map(|(key, value)| (key.clone(), as_json(value))).collect()),
    }
}

/// The mistakes the schema of its kind finds in a text.
fn found_in(kind: FileKind, text: &str) -> Vec<String> {
    mistakes(&kind.schema(), &as_json(&parsed(text).into()))
}

#[test]
fn every_shipped_file_fits_its_schema() {
    let texts = texts();
    for kind in FILES {
        let schema = kind.schema();
        let mine = texts.iter().filter(|(of, ..)| of.name == kind.name);
        let told: Vec<_> = mine.clone().map(|(_, name, text)| (name, mistakes(&schema, &as_json(&parsed(text).into())))).collect();
        assert!(!told.is_empty(), "no {} ships", kind.name);
        assert!(told.iter().all(|(_, mistakes)| mistakes.is_empty()), "{told:#?}");
    }
}

/// A step down into a document: a key, or a place in a list.
#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Nth(usize),
}

/// A place in a document, and the schemas that may hold there.
type Place<'a> = (Vec<Step>, Vec<&'a Value>);

/// The places of a document, one for each place of the schema and each sort of value there.
fn places<'a>(kind: &FileKind, schema: &'a Value, document: &toml::Value, seen: &mut BTreeSet<String>) -> Vec<Place<'a>> {
    struct Walk<'a, 's> {
        root: &'a Value,
        seen: &'s mut BTreeSet<String>,
        found: Vec<Place<'a>>,
    }
    impl<'a> Walk<'a, '_> {
        fn walk(&mut self, schemas: Vec<&'a Value>, value: &toml::Value, way: &[Step], place: &str) {
            let closed = closed(&schemas);
            let steps: Vec<(Step, String, &toml::Value)> = match value {
                toml::Value::Table(table) => {
                    let named = |key: &str| if closed.iter().any(|keys| keys.contains(key)) { key.to_owned() } else { "*".to_owned() };
                    table.iter().map(|(key, value)| (Step::Key(key.clone()), named(key), value)).collect()
                }
                toml::Value::Array(items) => {
                    items.iter().enumerate().map(|(nth, value)| (Step::Nth(nth), "[]".to_owned(), value)).collect()
                }
                _ => Vec::new(),
            };
            for (step, name, value) in steps {
                let below: Vec<&Value> = schemas.iter().filter_map(|schema| below(schema, &step)).collect();
                let below = below.into_iter().flat_map(|schema| alternatives(self.root, schema)).collect();
                self.walk(below, value, &[way, &[step]].concat(), &format!("{place}.{name}"));
            }
            if self.seen.insert(format!("{place} {}", value.type_str())) {
                self.found.push((way.to_vec(), schemas));
            }
        }
    }
    let which = document.get("kind").or(document.get("preset")).and_then(toml::Value::as_str).unwrap_or_default();
    let mut walk = Walk { root: schema, seen, found: Vec::new() };
    walk.walk(alternatives(schema, schema), document, &[], &format!("{} {which}", kind.name));
    walk.found
}

/// A schema and all that may hold in its place.
fn alternatives<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let schema = resolved(root, schema);
    let listed = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|word| schema[word].as_array().into_iter().flatten());
    let branches = ["then", "else"].into_iter().filter_map(|word| schema.get(word));
    std::iter::once(schema).chain(listed.chain(branches).flat_map(|one| alternatives(root, one))).collect()
}

fn below<'a>(schema: &'a Value, step: &Step) -> Option<&'a Value> {
    match step {
        Step::Key(key) => schema["properties"].get(key).or(schema.get("additionalProperties")),
        Step::Nth(_) => schema.get("items"),
    }
}

fn keys(table: &Value) -> BTreeSet<String> {
    table["properties"].as_object().into_iter().flat_map(|table| table.keys().cloned()).collect()
}

/// The tables among schemas that take no other keys than theirs.
fn closed(schemas: &[&Value]) -> Vec<BTreeSet<String>> {
    schemas.iter().filter(|schema| schema["additionalProperties"] == Value::Bool(false)).map(|schema| keys(schema)).collect()
}

/// The words that schemas list.
fn listed(schemas: &[&Value]) -> BTreeSet<String> {
    schemas
        .iter()
        .flat_map(|schema| schema["enum"].as_array().into_iter().flatten())
        .filter_map(|word| Some(word.as_str()?.to_owned()))
        .collect()
}

fn at<'a>(document: &'a mut toml::Value, way: &[Step]) -> &'a mut toml::Value {
    way.iter().fold(document, |value, step| match step {
        Step::Key(key) => value.get_mut(key).unwrap(),
        Step::Nth(nth) => value.get_mut(nth).unwrap(),
    })
}

/// What the program says of a document.
fn read(kind: &FileKind, document: &toml::Value) -> Result<(), String> {
    (kind.reads)(&document.as_table().unwrap().to_string())
}

/// The key nobody knows.
const STRANGE: &str = "zzzzzzzzzzzz";

/// What a parser says it knows where it met something strange: the keys, or else the words.
fn expected(message: &str, what: &str) -> Option<BTreeSet<String>> {
    let rest = message.strip_prefix(&format!("unknown {what} `{STRANGE}`"))?;
    Some(rest.split('`').skip(1).step_by(2).map(str::to_owned).collect())
}

#[test]
fn keys_and_words_are_those_the_program_knows() {
    let (mut seen, mut tried) = (BTreeSet::new(), BTreeSet::new());
    for (kind, name, text) in texts() {
        let (schema, document) = (kind.schema(), toml::Value::from(parsed(&text)));
        for (way, schemas) in places(&kind, &schema, &document, &mut seen) {
            let (tables, words) = (closed(&schemas), listed(&schemas));
            let together: BTreeSet<String> = tables.iter().flatten().cloned().collect();
            let here = format!("{name}: at {way:?} the schema has {tables:#?} and {words:#?}; the program");
            let takes = |changed: &toml::Value| mistakes(&schema, &as_json(changed)).is_empty();

            let mut changed = document.clone();
            if let Some(table) = at(&mut changed, &way).as_table_mut() {
                table.insert(STRANGE.to_owned(), 1.into());
                match read(&kind, &changed).map_err(|message| expected(&message, "field")) {
                    Ok(()) => assert!(takes(&changed), "{here} takes any key"),
                    Err(Some(mut known)) => {
                        assert!(!takes(&changed), "{here} knows {known:#?} only");
                        let same = tables.contains(&known) || together == known;
                        // What is laid over a preset names it, too.
                        known.insert("preset".to_owned());
                        assert!(same || tables.contains(&known), "{here} knows {known:#?}");
                        tried.extend(tables.iter().map(|keys| (kind.name, keys.clone())));
                    }
                    Err(None) => {}
                }
            }
            if way.is_empty() {
                continue;
            }
            let mut changed = document.clone();
            *at(&mut changed, &way) = STRANGE.into();
            if let Some(known) = read(&kind, &changed).err().and_then(|message| expected(&message, "variant")) {
                assert!(!takes(&changed), "{here} knows {known:#?} only");
                // A table may be one of the words that has settings of its own.
                let settled = &words | &together;
                assert!(known == words || known == settled, "{here} knows {known:#?}");
                tried.extend(tables.into_iter().filter(|_| known == settled).map(|keys| (kind.name, keys)));
            }
        }
    }
    // What stands in a schema and was never tried may say anything.
    for kind in FILES {
        let mut all = Vec::new();
        every_table(&kind.schema(), &mut all);
        let untried: Vec<_> = all.into_iter().filter(|keys| !tried.contains(&(kind.name, keys.clone()))).collect();
        assert!(untried.is_empty(), "no text writes these tables of a {}: {untried:?}", kind.name);
    }
}

/// The closed tables anywhere in a schema.
fn every_table(schema: &Value, found: &mut Vec<BTreeSet<String>>) {
    if schema["additionalProperties"] == Value::Bool(false) {
        found.push(keys(schema));
    }
    match schema {
        Value::Object(parts) => parts.values().for_each(|part| every_table(part, found)),
        Value::Array(parts) => parts.iter().for_each(|part| every_table(part, found)),
        _ => {}
    }
}

#[test]
fn values_of_a_wrong_type_are_refused_where_the_program_refuses_them() {
    let (mut seen, mut refused) = (BTreeSet::new(), 0);
    for (kind, name, text) in texts() {
        let (schema, document) = (kind.schema(), toml::Value::from(parsed(&text)));
        for (way, _) in places(&kind, &schema, &document, &mut seen).into_iter().filter(|(way, _)| !way.is_empty()) {
            for wrong in [toml::Value::from(7), STRANGE.into(), toml::Table::from_iter([(STRANGE.to_owned(), 7.into())]).into()] {
                let mut changed = document.clone();
                *at(&mut changed, &way) = wrong;
                if let Err(message) = read(&kind, &changed)
                    && message.starts_with("invalid type")
                {
                    refused += 1;
                    assert!(
                        !mistakes(&schema, &as_json(&changed)).is_empty(),
                        "{name}: the schema takes what the program does not at {way:?}: {message}"
                    );
                }
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn mistakes_people_make_are_found() {
    for (kind, text) in [
        ("perennial", "[brand]\nnane = \"x\""),
        ("perennial", "[delivery.policy]\nquiet_hours = [\"21:00\"]"),
        ("perennial", "[delivery.smtp]\npassword = \"s3cret\""),
        ("source", "base_url = \"https://shop.example\""),
        ("source", "kind = \"htp\""),
        ("source", "kind = \"http\"\nbase_url = \"https://shop.example\"\nstreems = {}"),
        ("source", "kind = \"file\"\nstreams.orders = { path = \"x.csv\", columns = { id = \"txt\" } }"),
        ("source", "preset = \"shopfy\""),
        ("source", "preset = \"csv\"\nbase_url = \"https://shop.example\""),
        ("source", "preset = \"shopify\"\nstreams.orders.curser = {}"),
        ("job", "schedule = \"0 2 * * *\"\ntimezone = \"UTC\"\nsteps = [\"pul\"]"),
        ("job", "timezone = \"UTC\"\nsteps = [\"pull\"]"),
        ("campaign", "segment = \"lapsed\""),
        ("perennial", "[delivery.api]\nuse = 7"),
        ("api", "channel = \"email\""),
        ("api", "channel = \"webhook\"\nurl = \"https://x.example\"\nauth = { bearer = { token = \"s3cret\" } }"),
        ("test", "test = \"lapsed\"\nas_of = \"x\"\n[[case]]\nname = \"n\"\nexpekt = []"),
        ("front-matter", "params = { a = [1] }"),
        ("front-matter", "inputs = { shop__orders = { max_age = \"36\" } }"),
    ] {
        assert!(!found_in(kind_of(kind), text).is_empty(), "{text}");
    }
}

#[test]
fn what_a_preset_says_need_not_be_said_again() {
    for (preset, _) in project::presets() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/project/presets").join(preset).join("config/sources");
        for file in fs::read_dir(root).unwrap() {
            let name = file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
            let text = format!("preset = \"{name}\"\nstreams.orders.columns.shop = \"text\"");
            assert_eq!(found_in(kind_of("source"), &text), [""; 0], "{name}");
        }
    }
}

#[test]
fn every_setting_is_described() {
    fn undescribed(schema: &Value, at: &str, found: &mut Vec<String>) {
        match schema {
            Value::Object(parts) => {
                for (name, property) in parts.get("properties").and_then(Value::as_object).into_iter().flatten() {
                    // What a variant is, the variant says.
                    let only = parts.get("required").is_some_and(|required| *required == serde_json::json!([name]))
                        && parts.contains_key("description");
                    if property.get("description").is_none() && !only {
                        found.push(format!("{at}/{name}"));
                    }
                }
                parts.iter().for_each(|(name, part)| undescribed(part, &format!("{at}/{name}"), found));
            }
            Value::Array(parts) => parts.iter().for_each(|part| undescribed(part, at, found)),
            _ => {}
        }
    }
    for kind in FILES {
        let schema = kind.schema();
        assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
        assert!(schema["title"].is_string() && schema["description"].is_string());
        let mut found = Vec::new();
        undescribed(&schema["definitions"], kind.name, &mut found);
        undescribed(&schema, kind.name, &mut found);
        found.retain(|place| !place.contains("/if/") && !place.contains("/definitions/"));
        assert_eq!(found, [""; 0]);
    }
}

#[test]
fn a_schema_per_kind_is_written() {
    let root = tempfile::tempdir().unwrap();
    let written = write(&root.path().join("schemas")).unwrap();
    for (kind, path) in FILES.iter().zip(written) {
        assert!(path.ends_with(format!("schemas/{}.json", kind.name)));
        assert_eq!(serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap(), kind.schema());
    }
}
