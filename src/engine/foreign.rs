//! What functions of other databases are called here.
//!
//! `foreign.csv` has one line a function: its name, the section of docs/coming-from.md that tells more, and what to write instead.

/// The names of other databases, sorted as they are written in the file.
const FUNCTIONS: &str = include_str!("foreign.csv");

/// What to write instead of a function of another database, and the section of docs/coming-from.md that tells more.
pub(super) fn instead_of(function: &str) -> Option<(String, &'static str)> {
    lines().find(|(name, ..)| *name == function).map(|(_, section, instead)| (instead, section))
}

/// Name, section, what to write.
fn lines() -> impl Iterator<Item = (&'static str, &'static str, String)> {
    FUNCTIONS.lines().skip(1).filter_map(|line| {
        let (name, rest) = line.split_once(',')?;
        let (section, instead) = rest.split_once(',')?;
        // Quoted as CSV has it.
        let instead = match instead.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => instead.to_owned(),
        };
        Some((name, section, instead))
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;
    use crate::engine::{Engine, EngineSettings, planner};

    #[test]
    fn every_function_is_foreign_and_told_of_in_the_guide() {
        let guide = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/coming-from.md")).unwrap();
        let slug = |heading: &str| heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        let sections: BTreeSet<String> = guide.lines().filter(|line| line.starts_with('#')).map(slug).collect();
        let root = tempfile::tempdir().unwrap();
        let engine = Engine::new(root.path(), &EngineSettings::default()).unwrap();
        let own = planner::functions(&engine.state);
        let mut seen = BTreeSet::new();
        for (name, section, instead) in lines() {
            assert!(seen.insert(name), "{name} stands twice");
            assert!(!own.contains_key(name), "{name} is a function here");
            assert!(sections.contains(section), "{name}: docs/coming-from.md has no section {section}");
            assert!(!instead.is_empty() && instead.len() < 150, "{name}: {instead}");
        }
        assert!(seen.len() > 80, "{}", seen.len());
        assert_eq!(FUNCTIONS.lines().count(), seen.len() + 1, "every line can be read");
    }
}
