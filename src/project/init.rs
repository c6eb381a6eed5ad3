//! A working project folder to begin with: the practice shop as it stands in this repository, or one for data of your own.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::ValueEnum;

use crate::diagnosis::{Diagnosis, Failure};

/// Every file of the repository's `config`, `jobs`, `sql` and presets.
const FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/project_files.rs"));

const PRESETS: &str = "src/project/presets/";

/// Where a new project's data comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// customers.csv and orders.csv in data-in/
    Csv,
}

impl Preset {
    fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
        }
    }
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
pub fn init(dir: &Path, presets: &[Preset]) -> Result<Begun, Failure> {
    let (mut files, ignored) =
        if presets.is_empty() { (practice(), "/data\n") } else { (own(presets)?, "/data\n/data-in\n/config/*.key\n") };
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
    let next = if presets.is_empty() {
        format!("Next:\n{folder}  perennial run nightly")
    } else {
        format!(
            "Next:\n{folder}  1. fill in [brand] in config/perennial.toml\n  2. copy customers.csv and orders.csv into data-in/ (columns: config/sources/csv.toml)\n  3. perennial check\n  4. perennial run nightly, then open the review pages it names"
        )
    };
    Ok(Begun { files: files.into_iter().map(|(path, _)| path).collect(), next })
}

fn practice() -> Vec<(PathBuf, String)> {
    FILES.iter().filter(|(path, _)| !path.starts_with(PRESETS)).map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect()
}

/// The shared files of the practice project, without its sources, and the presets' own.
fn own(presets: &[Preset]) -> Result<Vec<(PathBuf, String)>, Failure> {
    // Staging belongs to its source, and so do its tests; their names begin with the source's, as in `shop__orders`.
    let of_a_source = |path: &str| path.starts_with("sql/staging/") || (path.starts_with("sql/tests/") && path.contains("__"));
    let shared = FILES.iter().filter(|(path, _)| path.starts_with("jobs/") || (path.starts_with("sql/") && !of_a_source(path)));
    let mut files: Vec<(PathBuf, String)> = shared
        .map(|(path, text)| (PathBuf::from(path), text.replace("fernwood.example", "shop.example").replace("Fernwood", "Your Shop")))
        .collect();
    for (path, text) in FILES {
        let Some(path) = path.strip_prefix(PRESETS) else { continue };
        let of_preset = presets.iter().find_map(|preset| path.strip_prefix(preset.name())?.strip_prefix('/'));
        match (of_preset, path.contains('/')) {
            (Some(path), _) => files.push((PathBuf::from(path), (*text).to_owned())),
            (None, false) => files.push((Path::new("config").join(path), (*text).to_owned())),
            (None, true) => {}
        }
    }
    files.push((PathBuf::from("config/master.key"), format!("{}\n", new_key()?)));
    files.push((
        PathBuf::from("data-in/README.md"),
        "Put `customers.csv` and `orders.csv` here; `config/sources/csv.toml` says which columns they have.\n".to_owned(),
    ));
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
        for (presets, lines) in [(&[][..], "/data\n"), (&[Preset::Csv][..], "/data\n/data-in\n/config/*.key\n")] {
            let dir = root.path().join(presets.len().to_string());
            let begun = init(&dir, presets).unwrap();
            assert!(begun.files.contains(&PathBuf::from(".gitignore")) && dir.join("data").is_dir());
            assert_eq!(fs::read_to_string(dir.join(".gitignore")).unwrap(), lines);
        }
    }

    #[test]
    fn a_gitignore_that_stands_there_is_added_to() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(".gitignore"), "node_modules\n/data").unwrap();
        init(root.path(), &[Preset::Csv]).unwrap();
        let text = fs::read_to_string(root.path().join(".gitignore")).unwrap();
        assert_eq!(text, "node_modules\n/data\n/data-in\n/config/*.key\n");
    }
}
