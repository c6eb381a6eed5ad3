//! The project folder's settings files, with the deployment's overlays.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use super::{
    ConfigError,
    parse::{explain, holds, locate, parse},
};
use crate::diagnosis::Diagnosis;

const DEPLOYMENT: &str = "config/perennial.toml";
const VARIABLE_PREFIX: &str = "PERENNIAL__";

/// A project folder as a place settings are read from.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    env: Option<String>,
    variables: BTreeMap<String, String>,
}

impl Folder {
    /// The folder `root`, with the overlay `config/<env>.toml` where an environment is named, and the process's variables.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, env: Option<String>, variables: impl Iterator<Item = (String, String)>) -> Self {
        let variables = variables.filter(|(name, _)| name.starts_with(VARIABLE_PREFIX)).collect();
        Self { root: root.into(), env, variables }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The environment named by `--env` or `PERENNIAL_ENV`.
    #[must_use]
    pub fn env(&self) -> Option<&str> {
        self.env.as_deref()
    }

    /// The text of a file, by its path in the project.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn text(&self, file: &Path) -> Result<String, ConfigError> {
        std::fs::read_to_string(self.root.join(file)).map_err(|error| {
            ConfigError(
                Diagnosis::new("unreadable", format!("cannot be read: {error}"))
                    .in_file(file)
                    .hint("check the name, and that the program's user may read it; `perennial init` writes a working project folder"),
            )
        })
    }

    /// One settings file, without overlays.
    ///
    /// # Errors
    /// Where it cannot be read or used.
    pub fn load<T: DeserializeOwned>(&self, file: &Path) -> Result<T, ConfigError> {
        parse(&self.text(file)?, file)
    }

    /// The files with the ending `.toml` in a folder of the project, sorted by name; none where the folder does not exist.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn toml_files(&self, folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
        let unreadable =
            |error: std::io::Error| ConfigError(Diagnosis::new("unreadable", format!("cannot be read: {error}")).in_file(folder));
        let entries = match std::fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let name = entry.map_err(unreadable)?.file_name();
            if Path::new(&name).extension().is_some_and(|ending| ending == "toml") {
                files.push(folder.join(name));
            }
        }
        files.sort();
        Ok(files)
    }

    /// The deployment: `config/perennial.toml`, overlaid by `config/<env>.toml`, then by `PERENNIAL__SECTION__KEY` variables.
    ///
    /// # Errors
    /// Where a layer cannot be read, or the whole does not fit; the place named is that of the layer that brought the value.
    pub fn deployment<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let mut layers = vec![(PathBuf::from(DEPLOYMENT), self.text(Path::new(DEPLOYMENT))?)];
        if let Some(env) = &self.env {
            let file = PathBuf::from(format!("config/{env}.toml"));
            let text = self.text(&file)?;
            layers.push((file, text));
        }
        let mut merged = toml::Table::new();
        for (file, text) in &layers {
            overlay(&mut merged, parse::<toml::Table>(text, file)?);
        }
        for (name, value) in &self.variables {
            overlay(&mut merged, variable(name, value));
        }
        serde_path_to_error::deserialize(toml::Value::Table(merged)).map_err(|error| {
            let path = error.path().to_string();
            let keys: Vec<&str> = path.split('.').filter(|key| *key != "?").collect();
            let message = error.inner().message().to_owned();
            ConfigError(self.locate_in(&layers, &keys, explain(&message)))
        })
    }

    fn locate_in(&self, layers: &[(PathBuf, String)], keys: &[&str], diagnosis: Diagnosis) -> Diagnosis {
        let variable = format!("{VARIABLE_PREFIX}{}", keys.join("__").to_uppercase());
        if self.variables.contains_key(&variable) {
            return Diagnosis { message: format!("the environment variable {variable}: {}", diagnosis.message), ..diagnosis };
        }
        let (file, text) = layers.iter().rev().find(|(_, text)| holds(text, keys)).unwrap_or(&layers[0]);
        let diagnosis = diagnosis.in_file(file);
        match locate(text, keys) {
            Some((line, column)) => diagnosis.at(line, column),
            None => diagnosis,
        }
    }
}

/// Lays `over` on `under`: tables merge, everything else replaces.
fn overlay(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) => overlay(inner, value),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// `PERENNIAL__DELIVERY__SMTP__PORT=2525` as the table `delivery.smtp.port = 2525`. What does not read as a TOML value is text.
fn variable(name: &str, value: &str) -> toml::Table {
    let value = format!("v = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let keys = name[VARIABLE_PREFIX.len()..].to_lowercase();
    let mut nested = value;
    for key in keys.rsplit("__") {
        nested = toml::Value::Table(toml::Table::from_iter([(key.to_owned(), nested)]));
    }
    match nested {
        toml::Value::Table(table) => table,
        _ => toml::Table::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Deployment {
        brand: Brand,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Brand {
        name: String,
        size: u8,
    }

    fn folder(env: Option<&str>, variables: &[(&str, &str)]) -> (tempfile::TempDir, Folder) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("config")).unwrap();
        std::fs::write(root.path().join(DEPLOYMENT), "[brand]\nname = \"Base\"\nsize = 1\n").unwrap();
        std::fs::write(root.path().join("config/dev.toml"), "[brand]\nname = \"Dev\"\n").unwrap();
        std::fs::write(root.path().join("config/bad.toml"), "\n[brand]\nnane = \"Dev\"\n").unwrap();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let folder = Folder::new(root.path(), env.map(str::to_owned), variables);
        (root, folder)
    }

    #[test]
    fn an_environment_and_variables_overlay_the_base() {
        let (_root, folder) = folder(Some("dev"), &[("PERENNIAL__BRAND__SIZE", "7"), ("HOME", "/x")]);
        let brand = folder.deployment::<Deployment>().unwrap().brand;
        assert_eq!((brand.name.as_str(), brand.size), ("Dev", 7));
    }

    #[test]
    fn a_mistake_names_the_layer_it_stands_in() {
        let (_root, folder) = folder(Some("bad"), &[]);
        let error = folder.deployment::<Deployment>().unwrap_err().0;
        assert_eq!((error.file.as_deref(), error.line), (Some(Path::new("config/bad.toml")), Some(3)));
        assert_eq!(error.hint.as_deref(), Some("did you mean `name`?"));
    }

    #[test]
    fn a_mistake_in_a_variable_names_the_variable() {
        let (_root, folder) = folder(None, &[("PERENNIAL__BRAND__SIZE", "many")]);
        let error = folder.deployment::<Deployment>().unwrap_err().0;
        assert!(error.message.contains("PERENNIAL__BRAND__SIZE"), "{error}");
    }
}
