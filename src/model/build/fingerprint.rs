//! What a table was made from, as one digest: the same digest means the same table, and no work.

use sha2::{Digest, Sha256};

use super::workshop::{Standing, Workshop};
use crate::model::{
    canonical,
    file::{Kind, SqlFile},
    params::ALWAYS,
};

/// Changes when the program makes tables in another way.
const METHOD: &str = concat!("3 ", env!("CARGO_PKG_VERSION"));

impl Workshop<'_> {
    /// The digest of everything that decides the table's rows. `content` stands for an input that is no table.
    pub(super) fn fingerprint(&self, name: &str, content: &str) -> String {
        let mut digest = Sha256::new();
        let mut add = |part: &str| {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        };
        [METHOD, name, content].into_iter().for_each(&mut add);
        let files: Vec<&SqlFile> = match (self.library.get(name), name) {
            (Some(file), _) => vec![file],
            (None, "identities") => self.library.staging_with_people().into_iter().map(|(.., file)| file).collect(),
            (None, _) => self.library.staging_of(name).into_iter().map(|(_, file)| file).collect(),
        };
        for file in &files {
            add(&file.name);
            add(&file.sql);
            for (param, value) in &file.front.params {
                add(&format!("{param}={value:?}"));
            }
        }
        // Rates are looked up by the run's day, and what happens after the run's time is left out: both move with it.
        let timely = |table: canonical::Table| !table.money().is_empty() || table.happened_at().is_some();
        let timely = canonical::canonical(name).is_some_and(timely) && !files.is_empty();
        let made = matches!(self.library.kind(name), Some(Kind::Canonical)) && name != "identities";
        for param in ALWAYS {
            let bound = files.iter().any(|file| file.binds(param)) || (made && param != "as_of") || (timely && param == "as_of");
            if bound && let Some(value) = self.always.get(param) {
                add(&format!("{param}={value:?}"));
            }
        }
        for input in self.graph.inputs(name) {
            add(input);
            add(&match self.pins.get(input) {
                Some(version) => format!("{version}"),
                None => self.standing.get(input).map(Standing::identity).unwrap_or_default(),
            });
        }
        hex::encode(digest.finalize())
    }
}
