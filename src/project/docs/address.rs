//! The names of pages. A table's page stands in the folder of its kind, since a raw table and its staging file may have one name, and a
//! table may be called like one of the site's own pages.

use sha2::{Digest, Sha256};

use crate::model::Kind;

/// The folders tables' pages stand in.
pub(super) const FOLDERS: [&str; 7] = ["raw", "staging", "canonical", "ledger", "models", "segments", "metrics"];

/// Names that are devices to Windows, whatever their ending.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// How long a name may be as it is.
const LONGEST: usize = 80;

/// Where a table's page stands in the site.
pub(super) fn page(kind: Kind, name: &str) -> String {
    format!("{}/{}.html", folder(kind), stem(name))
}

/// The folder of a kind's pages.
pub(super) fn folder(kind: Kind) -> &'static str {
    let [raw, staging, canonical, ledger, models, segments, metrics] = FOLDERS;
    match kind {
        Kind::Raw => raw,
        Kind::Staging => staging,
        Kind::Canonical => canonical,
        Kind::Ledger => ledger,
        Kind::Model => models,
        Kind::Segment => segments,
        Kind::Metric => metrics,
    }
}

/// A name as it may stand in a file's name and in a link. What is no plain name gets a digest behind a hyphen, which no plain name has, so
/// that `Lapsed` and `lapsed` stay two files where a file system takes them for one.
pub(super) fn stem(name: &str) -> String {
    let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let device = DEVICES.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit()));
    if !name.is_empty() && name.len() <= LONGEST && name.chars().all(safe) && !device {
        return name.to_owned();
    }
    let kept: String = name.to_lowercase().chars().map(|c| if safe(c) { c } else { '_' }).take(LONGEST).collect();
    let digest = hex::encode(Sha256::digest(name));
    format!("{kept}-{}", &digest[..12])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn pages_have_safe_names_and_no_two_alike() {
        assert_eq!(page(Kind::Segment, "lapsed"), "segments/lapsed.html");
        assert_eq!(page(Kind::Model, "index"), "models/index.html");
        assert_ne!(page(Kind::Raw, "shop__orders"), page(Kind::Staging, "shop__orders"));
        let long = "x".repeat(300);
        let names = ["lapsed", "Lapsed", "LAPSED", "a b", "a/b", "a\\b", "..", "", "con", "com1", "<script>", "ünïcode", "a-b", &long];
        let stems: BTreeSet<String> = names.iter().map(|name| stem(name)).collect();
        assert_eq!(stems.len(), names.len(), "{stems:?}");
        for stem in &stems {
            let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
            assert!(stem.chars().all(safe) && stem.len() < 120 && !DEVICES.contains(&stem.as_str()), "{stem}");
        }
    }
}
