//! The SQL files as a revision of git has them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    diagnosis::{Diagnosis, Failure},
    model::Library,
};

/// The SQL files of the project in `root` at `revision`, such as `HEAD~1`.
///
/// # Errors
/// Where git is not there, the folder is no checkout, or it knows no such revision.
pub fn library_at(root: &Path, revision: &str) -> Result<Library, Failure> {
    let names = git(root, revision, &["ls-tree", "-r", "--name-only", "-z", revision, "--", "sql"])?;
    let mut texts = Vec::new();
    for name in names.split('\0').filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "sql")) {
        texts.push((PathBuf::from(name), git(root, revision, &["show", &format!("{revision}:./{name}")])?));
    }
    if texts.is_empty() {
        let diagnosis = Diagnosis::new("git", format!("`{revision}` has no SQL files of this project"));
        return Err(Failure::wrong(diagnosis.hint("name a commit in which the folder sql stands, such as HEAD")));
    }
    Ok(Library::of(root, texts))
}

/// What a git command prints.
fn git(root: &Path, revision: &str, arguments: &[&str]) -> Result<String, Failure> {
    // A revision that begins with a dash would be read as an option.
    if revision.starts_with('-') {
        return Err(Failure::wrong(Diagnosis::new("git", format!("`{revision}` is no revision")).hint("write for instance HEAD~1")));
    }
    let said = Command::new("git").arg("-C").arg(root).args(arguments).output().map_err(|error| {
        let diagnosis = Diagnosis::new("git", format!("git cannot be run: {error}"));
        Failure::wrong(diagnosis.hint("install git, or compare with the published segment: leave `--against` out"))
    })?;
    if said.status.success() {
        return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&said.stderr);
    let first = words.lines().next().unwrap_or_default().trim_start_matches("fatal: ");
    let diagnosis = Diagnosis::new("git", format!("git does not give the files of `{revision}`: {first}"));
    Err(Failure::wrong(diagnosis.hint("name a revision of the checkout the project lies in, such as HEAD~1 or a branch")))
}
