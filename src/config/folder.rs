//! The project folder's settings files, with the deployment's overlays.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use super::{
    ConfigError,
    parse::{explain, holds, locate, missing_key, parse},
};
use crate::{diagnosis::Diagnosis, secret::PLACES};

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
        let layers = self.layers()?;
        read(&self.merged(&layers)?).map_err(|(keys, message)| self.locate_in(&layers, &keys, explain(&message)))
    }

    /// The deployment as far as it can be used, with everything that is wrong with it: what does not fit is left out, and the rest read
    /// on. `None` where a setting that must be there is not.
    pub fn usable_deployment<T: DeserializeOwned>(&self) -> (Option<T>, Vec<ConfigError>) {
        let read_on = || -> Result<_, ConfigError> {
            let layers = self.layers()?;
            let mut merged = self.merged(&layers)?;
            let (mut mistakes, mut without): (Vec<ConfigError>, Vec<Vec<String>>) = (Vec::new(), Vec::new());
            loop {
                let (keys, message) = match read(&merged) {
                    Ok(deployment) => return Ok((Some(deployment), mistakes)),
                    Err(mistake) => mistake,
                };
                // A setting that is missing because it has just been left out has been told of.
                let missing = missing_key(&message).map(|missing| [keys.as_slice(), &[missing.to_owned()]].concat());
                if !missing.is_some_and(|missing| without.contains(&missing)) {
                    mistakes.push(self.locate_in(&layers, &keys, explain(&message)));
                }
                match leave_out(&mut merged, &keys) {
                    Some(left_out) => without.push(left_out),
                    None => return Ok((None, mistakes)),
                }
            }
        };
        read_on().unwrap_or_else(|mistake| (None, vec![mistake]))
    }

    /// The files the deployment is made of, the base first, and their texts.
    fn layers(&self) -> Result<Vec<(PathBuf, String)>, ConfigError> {
        let overlay = self.env.iter().map(|env| PathBuf::from(format!("config/{env}.toml")));
        let files = std::iter::once(PathBuf::from(DEPLOYMENT)).chain(overlay);
        files.map(|file| self.text(&file).map(|text| (file, text))).collect()
    }

    fn merged(&self, layers: &[(PathBuf, String)]) -> Result<toml::Table, ConfigError> {
        let mut merged = toml::Table::new();
        for (file, text) in layers {
            overlay(&mut merged, parse::<toml::Table>(text, file)?, is_reference);
        }
        // The variables are one layer: two places for one secret are a mistake, and neither silently wins.
        let mut variables = toml::Table::new();
        for (name, value) in &self.variables {
            overlay(&mut variables, variable(name, value), |_| false);
        }
        overlay(&mut merged, variables, is_reference);
        Ok(merged)
    }

    /// Names the variable or the file and line that brought the value at `keys`.
    fn locate_in(&self, layers: &[(PathBuf, String)], keys: &[String], diagnosis: Diagnosis) -> ConfigError {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let holder = layers.iter().rev().find(|(_, text)| !keys.is_empty() && holds(text, &keys));
        if let Some(variable) = self.variable_of(&keys, holder.is_some()) {
            let hint = if diagnosis.code == "bad_value" { Some("correct the variable, or unset it".to_owned()) } else { diagnosis.hint };
            let message = format!("the environment variable {variable}: {}", diagnosis.message);
            return ConfigError(Diagnosis { message, hint, ..diagnosis });
        }
        let (file, text) = holder.unwrap_or(&layers[0]);
        let diagnosis = diagnosis.in_file(file);
        ConfigError(match locate(text, &keys) {
            Some((line, column)) => diagnosis.at(line, column),
            None => diagnosis,
        })
    }

    /// The variable that set the value at `keys`, or, where no file holds it, one that set something inside it: with
    /// `PERENNIAL__DELIVER__EMAIL` it is `deliver` that nobody knows.
    fn variable_of(&self, keys: &[&str], in_a_file: bool) -> Option<&str> {
        let of = |variable: &&String| keys_of(variable).split("__").map(str::to_owned).collect::<Vec<_>>();
        let mut names = self.variables.keys();
        let exact = names.clone().find(|name| of(name) == *keys);
        let inside = || {
            names.find(|name| {
                !in_a_file && !keys.is_empty() && of(name).iter().map(String::as_str).take(keys.len()).eq(keys.iter().copied())
            })
        };
        exact.or_else(inside).map(String::as_str)
    }
}

/// Reads settings that were put together from a preset and the text of `file`; a mistake is shown where the text speaks of it.
///
/// # Errors
/// Where a key is unknown or missing, or a value does not fit.
pub fn parse_filled<T: DeserializeOwned>(filled: &toml::Table, text: &str, file: &Path) -> Result<T, ConfigError> {
    // Columns know their order by where they stand, so they are read from a text.
    let written = filled.to_string();
    let read = toml::Deserializer::parse(&written).map_err(|error| (Vec::new(), error.message().to_owned())).and_then(|reader| {
        serde_path_to_error::deserialize(reader).map_err(|error| (keys_to(error.path()), error.inner().message().to_owned()))
    });
    read.map_err(|(keys, message)| {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let diagnosis = explain(&message).in_file(file);
        ConfigError(match locate(text, &keys) {
            Some((line, column)) => diagnosis.at(line, column),
            None => diagnosis,
        })
    })
}

/// Reads the merged table; a mistake comes with the keys that lead to it.
fn read<T: DeserializeOwned>(merged: &toml::Table) -> Result<T, (Vec<String>, String)> {
    serde_path_to_error::deserialize(toml::Value::Table(merged.clone())).map_err(|error| {
        let keys = keys_to(error.path());
        (keys, error.inner().message().to_owned())
    })
}

/// The keys of a path. A mistake in an element of a list, `only_to[1]`, stands where the list does.
fn keys_to(path: &serde_path_to_error::Path) -> Vec<String> {
    let path = path.to_string();
    let keys = path.split('.').filter_map(|key| key.split('[').next()).filter(|key| !key.is_empty() && *key != "?");
    keys.map(str::to_owned).collect()
}

/// Takes what stands at `keys`, or at the nearest place above it, out of a table; says which keys it stood at.
fn leave_out(table: &mut toml::Table, keys: &[String]) -> Option<Vec<String>> {
    let (key, rest) = keys.split_first()?;
    if let Some(toml::Value::Table(inner)) = table.get_mut(key)
        && let Some(below) = leave_out(inner, rest)
    {
        return Some([vec![key.clone()], below].concat());
    }
    table.remove(key).map(|_| vec![key.clone()])
}

/// Lays `over` on `under`: tables merge, everything else replaces; so does a table where either side is `whole`.
fn overlay(under: &mut toml::Table, over: toml::Table, whole: fn(&toml::Table) -> bool) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) if !whole(inner) && !whole(&value) => {
                overlay(inner, value, whole);
            }
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// Whether a table says where a secret is kept. Merged, `{ file = … }` and `{ env = … }` would name two places.
fn is_reference(table: &toml::Table) -> bool {
    !table.is_empty() && table.keys().all(|key| PLACES.contains(&key.as_str()))
}

/// The keys a variable sets, `delivery__smtp__port`.
fn keys_of(variable: &str) -> String {
    variable[VARIABLE_PREFIX.len()..].to_lowercase()
}

/// `PERENNIAL__DELIVERY__SMTP__PORT=2525` as the table `delivery.smtp.port = 2525`. What does not read as a TOML value is text.
fn variable(name: &str, value: &str) -> toml::Table {
    let value = format!("v = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut nested = value;
    for key in keys_of(name).rsplit("__") {
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
    use crate::secret::SecretRef;

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
        assert_eq!((error.file, error.hint.unwrap().contains("line")), (None, false));
    }

    #[test]
    fn a_mistyped_variable_is_named_and_so_is_the_nearest_setting() {
        for (name, nearest) in
            [("PERENNIAL__BRANT__NAME", "brand"), ("PERENNIAL__BRAND__NAM", "name"), ("PERENNIAL__BRAND__NANE__X", "name")]
        {
            let (_root, folder) = folder(None, &[(name, "x")]);
            let error = folder.deployment::<Deployment>().unwrap_err().0;
            assert_eq!((error.code.as_str(), error.file.as_deref()), ("unknown_key", None), "{error}");
            assert!(error.message.contains(name), "{error}");
            assert_eq!(error.hint, Some(format!("did you mean `{nearest}`?")));
        }
        // What stands in a file is the file's mistake, whatever variables set beside it.
        let (_root, folder) = folder(Some("bad"), &[("PERENNIAL__BRAND__SIZE", "2")]);
        assert_eq!(folder.deployment::<Deployment>().unwrap_err().0.file.as_deref(), Some(Path::new("config/bad.toml")));
    }

    #[derive(Debug, Deserialize)]
    struct WithKeys {
        keys: Keys,
    }

    #[derive(Debug, Deserialize)]
    struct Keys {
        master: SecretRef,
    }

    fn master(env: Option<&str>, variables: &[(&str, &str)]) -> Result<SecretRef, ConfigError> {
        let (root, folder) = folder(env, variables);
        std::fs::write(root.path().join(DEPLOYMENT), "[keys]\nmaster = { file = \"config/practice.key\" }\n").unwrap();
        std::fs::write(root.path().join("config/prod.toml"), "[keys]\nmaster = { env = \"X\" }\n").unwrap();
        folder.deployment::<WithKeys>().map(|read| read.keys.master)
    }

    #[test]
    fn a_secret_kept_elsewhere_replaces_the_whole_reference() {
        assert_eq!(master(None, &[]).unwrap(), SecretRef::File("config/practice.key".into()));
        assert_eq!(master(Some("prod"), &[]).unwrap(), SecretRef::Env("X".into()));
        assert_eq!(master(None, &[("PERENNIAL__KEYS__MASTER", "{ env = \"K\" }")]).unwrap(), SecretRef::Env("K".into()));
        assert_eq!(master(None, &[("PERENNIAL__KEYS__MASTER__ENV", "K")]).unwrap(), SecretRef::Env("K".into()));
        assert_eq!(master(Some("prod"), &[("PERENNIAL__KEYS__MASTER__FILE", "/run/k")]).unwrap(), SecretRef::File("/run/k".into()));
        let two = master(None, &[("PERENNIAL__KEYS__MASTER__ENV", "K"), ("PERENNIAL__KEYS__MASTER__FILE", "/run/k")]);
        assert!(two.unwrap_err().0.message.contains("one place"));
    }

    #[test]
    fn a_secret_in_a_variable_is_not_repeated() {
        let error = master(None, &[("PERENNIAL__KEYS__MASTER", "s3cret")]).unwrap_err().0;
        assert_eq!(error.code, "secret_in_plain");
        assert!(error.message.contains("PERENNIAL__KEYS__MASTER") && !format!("{error:?}").contains("s3cret"), "{error:?}");
    }

    #[test]
    fn every_mistake_is_found_and_the_rest_is_read() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            brand: Brand,
            #[serde(default)]
            more: Option<More>,
        }
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct More {
            count: u8,
            names: Vec<String>,
        }
        let (root, folder) = folder(None, &[("PERENNIAL__MORE__KOUNT", "1")]);
        let lines = |text: &str| {
            std::fs::write(root.path().join(DEPLOYMENT), text).unwrap();
            let (read, mistakes) = folder.usable_deployment::<Whole>();
            let mut lines: Vec<Option<usize>> = mistakes.iter().map(|mistake| mistake.0.line).collect();
            lines.sort_unstable();
            (read, lines)
        };
        let (read, found) = lines("[brand]\nname = \"Base\"\nsize = 1\nsise = 2\n[more]\ncount = \"many\"\nnames = [\"a\", 1]\n[moer]\n");
        assert_eq!(found, [None, Some(4), Some(6), Some(7), Some(8)], "the one without a line is the variable's");
        let read = read.unwrap();
        assert_eq!((read.brand.name.as_str(), read.more.unwrap().count), ("Base", 0));
        // Without a name there is no brand; what stands below it is looked at all the same, and said once.
        let (read, found) = lines("[brand]\nsize = \"x\"\n[more]\ncount = -1\n");
        assert!(read.is_none());
        assert_eq!(found.len(), 4, "the size, the name, the count, the variable: {found:?}");
    }
}
