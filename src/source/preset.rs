//! Presets: settings of sources that come with the program. `preset = "shopify"` stands for that preset's whole file; what the file at hand
//! says itself wins: streams and their columns, parameters and headers one by one, everything else whole.

use std::path::Path;

use toml::{Table, Value};

use super::settings::{JustKind, Kind};
use crate::{
    config::{ConfigError, nearest, parse},
    diagnosis::Diagnosis,
};

/// The name of each preset and its settings.
const PRESETS: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/presets.rs"));
/// The key that names one.
const KEY: &str = "preset";

/// The presets: the name of each, the first line of its file, and what kind of source it is.
pub(super) fn presets() -> impl Iterator<Item = (&'static str, &'static str, Kind)> {
    PRESETS.iter().filter_map(|(name, text)| {
        let JustKind { kind } = toml::from_str(text).ok()?;
        Some((*name, text.lines().next().unwrap_or_default().trim_start_matches(['#', ' ']), kind))
    })
}

/// The settings in `text`, laid over the preset they name; `None` where they name none.
pub(super) fn filled(text: &str, file: &Path) -> Result<Option<Table>, ConfigError> {
    let Ok(mut own) = text.parse::<Table>() else { return Ok(None) };
    let name = match own.remove(KEY) {
        None => return Ok(None),
        Some(Value::String(name)) => name,
        Some(_) => String::new(),
    };
    let Some((_, preset)) = PRESETS.iter().find(|(known, _)| *known == name) else {
        let names = || PRESETS.iter().map(|(name, _)| *name);
        let hint = match nearest(&name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", names().collect::<Vec<_>>().join(", ")),
        };
        let told = Diagnosis::new("unknown_preset", format!("there is no preset `{name}`")).in_file(file).hint(hint);
        return Err(ConfigError(match crate::config::locate(text, &[KEY]) {
            Some((line, column)) => told.at(line, column),
            None => told,
        }));
    };
    let mut base = parse::<Table>(preset, Path::new("the preset's own file"))?;
    lay(&mut base, own, &[]);
    Ok(Some(base))
}

/// Whether what stands at `keys` is laid over entry by entry.
fn by_entry(keys: &[&str]) -> bool {
    matches!(keys, ["headers" | "streams"] | ["streams", _] | ["streams", _, "columns" | "params"])
}

fn lay(base: &mut Table, over: Table, above: &[&str]) {
    for (key, value) in over {
        let keys = [above, &[key.as_str()]].concat();
        match (base.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) if by_entry(&keys) => lay(inner, value, &keys),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    fn file() -> &'static Path {
        Path::new("config/sources/mine.toml")
    }

    #[test]
    fn every_preset_can_be_used_as_it_is() {
        for (name, text) in PRESETS {
            let source = Source::parse(name, file(), text).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            assert!(!source.streams().is_empty(), "{name}");
            let short = Source::parse("mine", file(), &format!("preset = \"{name}\"\n")).unwrap();
            assert_eq!(short.streams().len(), source.streams().len(), "{name}");
        }
    }

    #[test]
    fn what_a_file_says_itself_wins_and_the_rest_is_the_presets() {
        let text = "preset = \"csv\"\n[streams.orders]\npath = \"elsewhere/*.csv\"\n[streams.orders.columns]\nshop = \"text\"\n";
        let filled = filled(text, file()).unwrap().unwrap();
        let orders = &filled["streams"]["orders"];
        assert_eq!(orders["path"].as_str(), Some("elsewhere/*.csv"));
        assert!(orders["columns"].get("order_id").is_some() && orders["columns"].get("shop").is_some());
        assert!(filled["streams"].get("customers").is_some() && filled["kind"].as_str() == Some("file"));
    }

    #[test]
    fn a_mistake_is_shown_in_the_file_that_names_the_preset() {
        let told = |text: &str| Source::parse("mine", file(), text).unwrap_err().0;
        let unknown = told("\npreset = \"cvs\"\n");
        assert_eq!(
            (unknown.code.as_str(), unknown.line, unknown.hint.as_deref()),
            ("unknown_preset", Some(2), Some("did you mean `csv`?"))
        );
        let misspelt = told("preset = \"csv\"\n[streams.orders]\npaht = \"x\"\n");
        assert_eq!((misspelt.code.as_str(), misspelt.line), ("unknown_key", Some(3)), "{misspelt:?}");
        let wrong = told("preset = \"csv\"\n[streams.orders]\nkey = [\"nobody\"]\n");
        assert_eq!((wrong.code.as_str(), wrong.line), ("unknown_column", Some(3)), "{wrong:?}");
    }
}
