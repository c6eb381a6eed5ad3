//! What the TOML files people write may say, as JSON Schemas that editors read. They come from the settings structs themselves, so that
//! they say what the program takes; doc comments become descriptions. Types that read a text of their own say here how it is written.

use schemars::{
    JsonSchema,
    r#gen::SchemaSettings,
    schema::{InstanceType, Metadata, Schema, SchemaObject, StringValidation, SubschemaValidation},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A kind of TOML file that people write.
#[derive(Debug, Clone, Copy)]
pub struct FileKind {
    /// Its name: `campaign`.
    pub name: &'static str,
    /// Which files are of that kind, by their paths in the project.
    pub files: &'static str,
    /// What such a file says, in a sentence.
    pub about: &'static str,
    schema: fn() -> Value,
    /// Whether the program reads a text, as far as its shape goes; else what it says of it.
    #[cfg(test)]
    pub(crate) reads: fn(&str) -> Result<(), String>,
}

impl FileKind {
    /// The kind of files that are read as a `T`.
    pub(crate) const fn of<T: JsonSchema + DeserializeOwned>(name: &'static str, files: &'static str, about: &'static str) -> Self {
        Self {
            name,
            files,
            about,
            schema: document::<T>,
            #[cfg(test)]
            reads: reads::<T>,
        }
    }

    /// The same files with another schema, for what the structs alone do not say.
    pub(crate) const fn with_schema(self, schema: fn() -> Value) -> Self {
        Self { schema, ..self }
    }

    /// The same files with another reader, where more than one struct reads them.
    #[cfg(test)]
    pub(crate) const fn with_reader(self, reads: fn(&str) -> Result<(), String>) -> Self {
        Self { reads, ..self }
    }

    /// The JSON Schema of such a file, draft 7.
    #[must_use]
    pub fn schema(&self) -> Value {
        let head = [
            ("$schema", "http://json-schema.org/draft-07/schema#".to_owned()),
            ("title", format!("perennial: {}", self.files)),
            ("description", self.about.to_owned()),
        ];
        let mut document: Map<String, Value> = head.into_iter().map(|(key, text)| (key.to_owned(), Value::from(text))).collect();
        if let Value::Object(parts) = (self.schema)() {
            for (key, part) in parts {
                document.entry(key).or_insert(part);
            }
        }
        let mut document = Value::Object(document);
        tidy(&mut document);
        document
    }
}

/// The schema of a struct, with the definitions it needs. TOML knows no null.
pub(crate) fn document<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.option_add_null_type = false;
        settings.option_nullable = false;
    });
    serde_json::to_value(settings.into_generator().into_root_schema_for::<T>()).unwrap_or_default()
}

/// Lets a table lack every key; tables in it are left as they are.
pub(crate) fn without_required(table: &mut Value) {
    if let Value::Object(parts) = table {
        parts.remove("required");
    }
}

#[cfg(test)]
pub(crate) fn reads<T: DeserializeOwned>(text: &str) -> Result<(), String> {
    toml::from_str::<T>(text).map(|_| ()).map_err(|error| error.message().to_owned())
}

/// Takes out what only Rust knows: the widths of its numbers, and defaults that are nothing. Bounds are whole numbers.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(parts) => {
            parts.retain(|key, part| match (key.as_str(), &*part) {
                ("default", Value::Null) => false,
                ("format", Value::String(format)) => !["int", "uint", "float", "double"].iter().any(|number| format.starts_with(number)),
                _ => true,
            });
            if parts.get("minimum").and_then(Value::as_f64) == Some(0.0) {
                parts.insert("minimum".to_owned(), 0.into());
            }
            parts.values_mut().for_each(tidy);
        }
        Value::Array(parts) => parts.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// A text that looks like `pattern`, and how it is written, in words.
pub(crate) fn text(pattern: &str, about: &str) -> Schema {
    let string = StringValidation { pattern: Some(pattern.to_owned()), ..StringValidation::default() };
    SchemaObject {
        metadata: described(about),
        instance_type: Some(InstanceType::String.into()),
        string: Some(Box::new(string)),
        ..SchemaObject::default()
    }
    .into()
}

/// One word of a list.
pub(crate) fn words(words: &[&str], about: &str) -> Schema {
    SchemaObject {
        metadata: described(about),
        instance_type: Some(InstanceType::String.into()),
        enum_values: Some(words.iter().copied().map(Value::from).collect()),
        ..SchemaObject::default()
    }
    .into()
}

/// A value that is written in one of several ways.
pub(crate) fn any_of(ways: Vec<Schema>, about: &str) -> Schema {
    let subschemas = SubschemaValidation { any_of: Some(ways), ..SubschemaValidation::default() };
    SchemaObject { metadata: described(about), subschemas: Some(Box::new(subschemas)), ..SchemaObject::default() }.into()
}

fn described(about: &str) -> Option<Box<Metadata>> {
    (!about.is_empty()).then(|| Box::new(Metadata { description: Some(about.to_owned()), ..Metadata::default() }))
}
