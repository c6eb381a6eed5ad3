//! A working project folder to begin with: the practice shop as it stands in this repository, or one for data of your own.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::diagnosis::{Diagnosis, Failure};

/// Every file of the repository's `config`, `jobs`, `sql` and presets.
const FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/project_files.rs"));

const PRESETS: &str = "src/project/presets/";

/// The name of the preset that reads files from `data-in/`.
const CSV: &str = "csv";

/// The systems a new project can take its data from, by name, each with the first line of its settings.
#[must_use]
pub fn presets() -> Vec<(&'static str, &'static str)> {
    let mut presets: Vec<(&str, &str)> = Vec::new();
    for (path, text) in FILES {
        let Some((name, file)) = path.strip_prefix(PRESETS).and_then(|path| path.split_once('/')) else { continue };
        if file.starts_with("config/sources/") && presets.last().is_none_or(|(last, _)| *last != name) {
            presets.push((name, text.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])));
        }
    }
    presets
}

/// What was written, and what to do next.
#[derive(Debug)]
pub struct Begun {
    /// The files, relative to the folder.
    pub files: Vec<PathBuf>,
    /// What to do next, in words.
    pub next: String,
}

/// Writes a project folder into `dir`. Without a preset it is the practice shop's.
///
/// # Errors
/// Where a file that would be written stands there already (nothing is written then), or the folder cannot be written. A `.gitignore` that
/// stands there is added to.
pub fn init(dir: &Path, presets: &[String]) -> Result<Begun, Failure> {
    let (mut files, ignored) = match presets {
        [] => (practice(), "/data\n"),
        _ => (own(presets)?, "/data\n/data-in\n/config/*.key\n"),
    };
    for (path, _) in &files {
        if dir.join(path).exists() {
            return Err(Failure::wrong(
                Diagnosis::new("exists", "this file stands there already, so nothing was written")
                    .in_file(dir.join(path))
                    .hint("choose an empty folder: `perennial init my-shop`"),
            ));
        }
    }
    let unwritable = |path: &Path, error: &io::Error| {
        Failure::failed(
            Diagnosis::new("unwritable", format!("cannot be written: {error}"))
                .in_file(dir.join(path))
                .hint("let the program's user write there, or choose another folder"),
        )
    };
    let gitignore = PathBuf::from(".gitignore");
    let known = match fs::read_to_string(dir.join(&gitignore)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        known => known.map_err(|error| unwritable(&gitignore, &error))?,
    };
    files.push((gitignore, with_lines(known, ignored)));
    for (path, text) in &files {
        write(&dir.join(path), text).map_err(|error| unwritable(path, &error))?;
    }
    // A container mounts its volume there, also where it may not write to the rest.
    fs::create_dir_all(dir.join("data")).map_err(|error| unwritable(Path::new("data"), &error))?;
    let folder = if dir == Path::new(".") { String::new() } else { format!("  cd {}\n", dir.display()) };
    let next =
        if presets.is_empty() { format!("Next:\n{folder}  perennial run nightly") } else { format!("Next:\n{folder}{}", steps(presets)) };
    Ok(Begun { files: files.into_iter().map(|(path, _)| path).collect(), next })
}

/// What is left to do before the first night.
fn steps(presets: &[String]) -> String {
    let mut steps = vec!["fill in [brand] in config/perennial.toml".to_owned()];
    for preset in presets {
        steps.push(match preset.as_str() {
            CSV => "copy customers.csv and orders.csv into data-in/ (columns: config/sources/csv.toml)".to_owned(),
            _ => {
                let sources =
                    FILES.iter().filter_map(|(path, _)| path.strip_prefix(PRESETS)?.strip_prefix(preset.as_str())?.strip_prefix('/'));
                let sources: Vec<&str> = sources.filter(|path| path.starts_with("config/sources/")).collect();
                format!("say where your shop's data is, and set the secrets it names: {}", sources.join(", "))
            }
        });
    }
    steps.extend(["perennial check".to_owned(), "perennial run nightly, then open the review pages it names".to_owned()]);
    let numbered = steps.iter().enumerate().map(|(nth, step)| format!("  {}. {step}", nth + 1));
    numbered.collect::<Vec<_>>().join("\n")
}

fn practice() -> Vec<(PathBuf, String)> {
    FILES.iter().filter(|(path, _)| !path.starts_with(PRESETS)).map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect()
}

/// The shared files of the practice project, without its sources, and the presets' own.
fn own(presets: &[String]) -> Result<Vec<(PathBuf, String)>, Failure> {
    // Staging belongs to its source, and so do its tests; their names begin with the source's, as in `shop__orders`.
    let of_a_source = |path: &str| path.starts_with("sql/staging/") || (path.starts_with("sql/tests/") && path.contains("__"));
    let shared = FILES.iter().filter(|(path, _)| path.starts_with("jobs/") || (path.starts_with("sql/") && !of_a_source(path)));
    let mut files: Vec<(PathBuf, String)> = shared
        .map(|(path, text)| (PathBuf::from(path), text.replace("fernwood.example", "shop.example").replace("Fernwood", "Your Shop")))
        .collect();
    for (path, text) in FILES {
        let Some(path) = path.strip_prefix(PRESETS) else { continue };
        let of_preset = presets.iter().find_map(|preset| path.strip_prefix(preset.as_str())?.strip_prefix('/'));
        match (of_preset, path.contains('/')) {
            (Some(path), _) => files.push((PathBuf::from(path), (*text).to_owned())),
            (None, false) => files.push((Path::new("config").join(path), (*text).to_owned())),
            (None, true) => {}
        }
    }
    files.push((PathBuf::from("config/master.key"), format!("{}\n", new_key()?)));
    if presets.iter().any(|preset| preset == CSV) {
        let text = "Put `customers.csv` and `orders.csv` here; `config/sources/csv.toml` says which columns they have.\n";
        files.push((PathBuf::from("data-in/README.md"), text.to_owned()));
    }
    Ok(files)
}

/// A text with those of `lines` it does not have yet at its end.
fn with_lines(mut text: String, lines: &str) -> String {
    for line in lines.lines() {
        if !text.lines().any(|known| known.trim() == line) {
            let begun = !text.is_empty() && !text.ends_with('\n');
            text.push_str(if begun { "\n" } else { "" });
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn new_key() -> Result<String, Failure> {
    let mut key = [0u8; 32];
    getrandom::fill(&mut key)
        .map_err(|error| Failure::failed(Diagnosis::new("random", format!("the system gives no random numbers: {error}"))))?;
    Ok(hex::encode(key))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)?;
    #[cfg(unix)]
    if path.extension().is_some_and(|ending| ending == "key") {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_writes_and_keys_stay_out_of_git() {
        let root = tempfile::tempdir().unwrap();
        for (presets, lines) in [(vec![], "/data\n"), (vec![CSV.to_owned()], "/data\n/data-in\n/config/*.key\n")] {
            let dir = root.path().join(presets.len().to_string());
            let begun = init(&dir, &presets).unwrap();
            assert!(begun.files.contains(&PathBuf::from(".gitignore")) && dir.join("data").is_dir());
            assert_eq!(fs::read_to_string(dir.join(".gitignore")).unwrap(), lines);
        }
    }

    #[test]
    fn a_gitignore_that_stands_there_is_added_to() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(".gitignore"), "node_modules\n/data").unwrap();
        init(root.path(), &[CSV.to_owned()]).unwrap();
        let text = fs::read_to_string(root.path().join(".gitignore")).unwrap();
        assert_eq!(text, "node_modules\n/data\n/data-in\n/config/*.key\n");
    }

    #[test]
    fn presets_say_what_they_are_and_combine() {
        let known = presets();
        assert!(known.iter().all(|(name, about)| !name.is_empty() && about.ends_with('.')), "{known:?}");
        let all: Vec<String> = known.iter().map(|(name, _)| (*name).to_owned()).collect();
        let root = tempfile::tempdir().unwrap();
        let begun = init(root.path(), &all).unwrap();
        let mut files = begun.files.clone();
        files.dedup();
        assert_eq!(files.len(), begun.files.len());
        assert!(all.iter().all(|name| begun.next.contains(name.as_str())), "{}", begun.next);
    }
}
