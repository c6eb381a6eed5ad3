//! Writes the site into a folder that may hold other things: what it did not write is neither replaced nor removed.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::address;
use crate::diagnosis::{Diagnosis, Failure};

/// What a page begins with: it names its own place, so that a copy somebody put elsewhere is theirs.
pub(super) fn mark(page: &str) -> String {
    format!("<!doctype html>\n<!-- perennial docs: {page} -->\n")
}

/// Writes the pages, by their place in the site, and removes those of an earlier run; returns what was removed.
///
/// # Errors
/// Where a file that is no page of ours stands in the place of one (nothing is written then), or the folder cannot be written.
pub(super) fn write(folder: &Path, pages: &BTreeMap<String, String>) -> Result<Vec<PathBuf>, Failure> {
    let unwritable = |path: &Path, error: &io::Error| {
        let diagnosis = Diagnosis::new("unwritable", format!("cannot be written: {error}")).in_file(path);
        Failure::failed(diagnosis.hint("let the program's user write there, or choose another folder: `perennial docs --out DIR`"))
    };
    for page in pages.keys() {
        let path = folder.join(page);
        if fs::symlink_metadata(&path).is_ok() && !is_ours(&path, page) {
            let diagnosis = Diagnosis::new("exists", "this file was not written by `perennial docs`, so nothing was written");
            return Err(Failure::wrong(diagnosis.in_file(path).hint("choose a folder of its own: `perennial docs --out DIR`")));
        }
    }
    for (page, text) in pages {
        let path = folder.join(page);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| unwritable(parent, &error))?;
        }
        fs::write(&path, text).map_err(|error| unwritable(&path, &error))?;
    }
    let mut removed = Vec::new();
    for page in standing(folder).map_err(|error| unwritable(folder, &error))? {
        let path = folder.join(&page);
        if !pages.contains_key(&page) && is_ours(&path, &page) {
            fs::remove_file(&path).map_err(|error| unwritable(&path, &error))?;
            removed.push(PathBuf::from(page));
        }
    }
    Ok(removed)
}

/// The places in the site where there is a file now, sorted.
fn standing(folder: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for part in std::iter::once("").chain(address::FOLDERS) {
        let entries = match fs::read_dir(folder.join(part)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            if let Some(name) = entry?.file_name().to_str().filter(|name| name.ends_with(".html")) {
                found.push(if part.is_empty() { name.to_owned() } else { format!("{part}/{name}") });
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file is the page of that place, written by this program.
fn is_ours(path: &Path, page: &str) -> bool {
    let wanted = mark(page);
    let mut head = vec![0; wanted.len()];
    let regular = fs::symlink_metadata(path).is_ok_and(|file| file.is_file());
    regular && fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == wanted.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(names: &[&str]) -> BTreeMap<String, String> {
        names.iter().map(|name| ((*name).to_owned(), format!("{}<p>{name}", mark(name)))).collect()
    }

    #[test]
    fn pages_of_an_earlier_run_go_and_what_others_wrote_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(write(folder.path(), &pages(&["index.html", "models/a.html", "models/b.html"])).unwrap().is_empty());
        fs::write(at("models/notes.html"), "mine").unwrap();
        fs::write(at("models/empty.html"), "").unwrap();
        fs::copy(at("models/a.html"), at("models/copy.html")).unwrap();
        fs::copy(at("models/a.html"), at("a.html")).unwrap();
        fs::create_dir(at("models/folder.html")).unwrap();
        let removed = write(folder.path(), &pages(&["index.html", "models/b.html"])).unwrap();
        assert_eq!(removed, [PathBuf::from("models/a.html")]);
        for kept in ["models/notes.html", "models/empty.html", "models/copy.html", "a.html", "models/folder.html", "models/b.html"] {
            assert!(at(kept).exists(), "{kept}");
        }
    }

    #[test]
    fn a_file_of_somebody_else_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("index.html"), "<!doctype html>\nmine").unwrap();
        let refused = write(folder.path(), &pages(&["functions.html", "index.html"])).unwrap_err();
        assert_eq!(refused.diagnosis.code, "exists");
        assert!(!folder.path().join("functions.html").exists(), "nothing is written");
    }

    #[cfg(unix)]
    #[test]
    fn no_link_leads_out_of_the_folder() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = elsewhere.path().join("target");
        fs::write(&target, format!("{}mine", mark("index.html"))).unwrap();
        std::os::unix::fs::symlink(&target, folder.path().join("index.html")).unwrap();
        assert_eq!(write(folder.path(), &pages(&["index.html"])).unwrap_err().diagnosis.code, "exists");
        assert!(fs::read_to_string(&target).unwrap().ends_with("mine"));
    }
}
