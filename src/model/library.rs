//! All SQL files of a project, and how they hang together.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    ModelError, canonical,
    file::{Kind, SqlFile},
    graph::Graph,
};
use crate::{config::nearest, diagnosis::Diagnosis};

/// The source whose staging files read the ledger's own tables; its ids are canonical already.
pub(crate) const LEDGER_SOURCE: &str = "ledger";

/// The `sql/` folder, read.
#[derive(Debug, Clone)]
pub struct Library {
    root: PathBuf,
    files: BTreeMap<String, SqlFile>,
    /// What is wrong with files that cannot be part of it.
    strays: Vec<Diagnosis>,
}

impl Library {
    /// Reads every `.sql` file of the project in `root`. What is wrong with one file is told by [`Library::plan`] and blocks only what
    /// rests on it.
    ///
    /// # Errors
    /// Where a folder cannot be read.
    pub fn load(root: &Path) -> Result<Self, ModelError> {
        let mut library = Self::empty(root);
        for kind in Kind::WRITTEN {
            for path in sql_files(root, &Path::new("sql").join(kind.folder()))? {
                library.add(match sql_text(root, &path) {
                    Ok(text) => SqlFile::read(kind, path, text),
                    Err(problem) => SqlFile::unreadable(kind, path, problem),
                });
            }
        }
        library.examine();
        Ok(library)
    }

    /// The same from texts: each with its path in the project, such as `sql/segments/lapsed.sql`. Those of other folders are passed over.
    #[must_use]
    pub fn of(root: &Path, texts: impl IntoIterator<Item = (PathBuf, String)>) -> Self {
        let mut library = Self::empty(root);
        for (path, text) in texts {
            let folder = path.parent().and_then(|folder| folder.strip_prefix("sql").ok()).map(Path::to_owned);
            if let Some(kind) = Kind::WRITTEN.into_iter().find(|kind| folder.as_deref() == Some(Path::new(kind.folder()))) {
                library.add(SqlFile::read(kind, path, text));
            }
        }
        library.examine();
        library
    }

    fn empty(root: &Path) -> Self {
        Self { root: root.to_owned(), files: BTreeMap::new(), strays: Vec::new() }
    }

    /// Adds a file, unless its name is taken. Where another file has it, neither can be meant.
    fn add(&mut self, file: SqlFile) {
        let known = canonical::canonical(&file.name).or_else(|| canonical::ledger(&file.name));
        let clash = |of: &SqlFile, message: String| {
            let diagnosis = Diagnosis::new("name_clash", message).in_file(&of.path).at(1, 1);
            diagnosis.hint("a file's name is its table's name; give it another")
        };
        match (self.files.get_mut(&file.name), known) {
            (Some(other), _) => {
                let (one, two) = (other.path.display().to_string(), file.path.display().to_string());
                self.strays.push(clash(&file, format!("`{}` is the name of {one}, too", file.name)));
                let problem = clash(other, format!("`{}` is the name of {two}, too", file.name));
                other.refuse(problem);
            }
            (None, Some(table)) => self.strays.push(clash(&file, format!("`{}` is the name of a table the program makes", table.name))),
            (None, None) => drop(self.files.insert(file.name.clone(), file)),
        }
    }

    /// What is wrong with files that cannot be part of the library, because their names are taken.
    #[must_use]
    pub fn strays(&self) -> &[Diagnosis] {
        &self.strays
    }

    /// Adds to each file the problems that only show beside the others: unknown tables and circles.
    fn examine(&mut self) {
        let mut found: Vec<(String, Diagnosis)> = Vec::new();
        for file in self.files.values() {
            for table in file.tables().union(&file.audited_tables()) {
                if let Some(problem) = self.unreadable_table(file, table) {
                    found.push((file.name.clone(), problem));
                }
            }
        }
        for circle in self.graph().order().circles {
            let words = circle.join(" → ");
            for name in circle.iter().collect::<BTreeSet<_>>() {
                if let Some(file) = self.files.get(name) {
                    let next = circle.iter().skip_while(|step| *step != name).nth(1).unwrap_or(name);
                    let problem = Diagnosis::new("cycle", format!("these tables read each other in a circle: {words}"));
                    let problem = file.at_word(problem, next).hint("let one of them read what the other reads, instead of its result");
                    found.push((name.clone(), problem));
                }
            }
        }
        for (name, problem) in found {
            if let Some(file) = self.files.get_mut(&name) {
                file.refuse(problem);
            }
        }
    }

    /// Why a file may not read a table; none where it may, as far as names tell.
    fn unreadable_table(&self, file: &SqlFile, table: &str) -> Option<Diagnosis> {
        let of_ledger = canonical::ledger(table).is_some();
        let problem = |message: String| file.at_word(Diagnosis::new("unknown_table", message), table);
        if let Some((source, _)) = file.staged() {
            if of_ledger {
                let hint = "files that read the ledger are named `ledger__<table>.sql`";
                return (source != LEDGER_SOURCE)
                    .then(|| problem(format!("`{table}` is a table of the ledger, which staging of `{source}` may not read")).hint(hint));
            }
            let built = canonical::canonical(table).is_some() || self.files.get(table).is_some_and(|file| file.kind != Kind::Staging);
            return built.then(|| {
                problem(format!("staging reads what was pulled, and `{table}` is built from it"))
                    .hint("name the raw table, such as `shop__orders`; what needs other tables belongs in sql/models")
            });
        }
        if of_ledger || canonical::canonical(table).is_some() {
            return None;
        }
        match self.files.get(table) {
            Some(other) if other.kind != Kind::Staging => None,
            _ => {
                let all = self.tables();
                let near = match table.split_once("__") {
                    Some((_, canonical)) => all.iter().map(String::as_str).find(|name| *name == canonical),
                    None => None,
                };
                let hint = match near.or_else(|| nearest(table, all.iter().map(String::as_str))) {
                    Some(near) if table.contains("__") => format!("only sql/staging reads a source's own tables; read `{near}`"),
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "`perennial schema` lists the tables there are".to_owned(),
                };
                Some(problem(format!("there is no table `{table}`")).hint(hint))
            }
        }
    }

    /// The project folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All files, by name.
    pub fn files(&self) -> impl Iterator<Item = &SqlFile> {
        self.files.values()
    }

    /// The segments, by name.
    pub fn segments(&self) -> impl Iterator<Item = &SqlFile> {
        self.files().filter(|file| file.kind == Kind::Segment)
    }

    /// The file of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&SqlFile> {
        self.files.get(name)
    }

    /// The segment of that name.
    ///
    /// # Errors
    /// Where there is none; names the nearest.
    pub fn segment(&self, name: &str) -> Result<&SqlFile, ModelError> {
        self.get(name).filter(|file| file.kind == Kind::Segment).ok_or_else(|| {
            let names: Vec<&str> = self.segments().map(|file| file.name.as_str()).collect();
            let hint = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("segments are: {}", names.join(", ")),
            };
            ModelError::wrong(Diagnosis::new("unknown_segment", format!("there is no segment `{name}`")).hint(hint))
        })
    }

    /// The names of all tables a build makes, sorted.
    #[must_use]
    pub fn tables(&self) -> Vec<String> {
        let files = self.files.values().filter(|file| file.kind != Kind::Staging).map(|file| file.name.clone());
        let known = canonical::canonical_tables().into_iter().chain(canonical::ledger_tables()).map(|table| table.name.to_owned());
        let mut names: Vec<String> = files.chain(known).collect();
        names.sort();
        names
    }

    /// What kind of table a build makes under that name.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<Kind> {
        if canonical::canonical(name).is_some() {
            return Some(Kind::Canonical);
        }
        if canonical::ledger(name).is_some() {
            return Some(Kind::Ledger);
        }
        self.get(name).map(|file| file.kind)
    }

    /// The staging files of a canonical table, with their sources.
    pub(crate) fn staging_of(&self, table: &str) -> Vec<(&str, &SqlFile)> {
        let staged = self.files.values().filter_map(|file| Some((file.staged()?, file)));
        staged.filter(|((_, of), _)| *of == table).map(|((source, _), file)| (source, file)).collect()
    }

    /// Every staging file whose ids must be resolved: the source, the canonical table, the file.
    pub(crate) fn staging_with_people(&self) -> Vec<(&str, &str, &SqlFile)> {
        let people = |table: &str| canonical::canonical(table).is_some_and(|table| table.has_people());
        let staged = self.files.values().filter_map(|file| file.staged().map(|(source, table)| (source, table, file)));
        staged.filter(|(source, table, _)| *source != LEDGER_SOURCE && people(table)).collect()
    }

    /// What every built table reads, raw tables included.
    pub(crate) fn graph(&self) -> Graph {
        let mut reads: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for table in canonical::ledger_tables() {
            reads.insert(table.name.to_owned(), BTreeSet::from(["identities".to_owned()]));
        }
        for table in canonical::canonical_tables() {
            let mut inputs: BTreeSet<String> = BTreeSet::new();
            let staging = self.staging_of(table.name);
            let read = |file: &SqlFile| file.tables().into_iter().chain(file.audited_tables());
            inputs.extend(staging.iter().flat_map(|(_, file)| read(file)));
            if table.name == "identities" {
                inputs.extend(self.staging_with_people().iter().flat_map(|(.., file)| read(file)));
            } else if table.name == "customers" || (table.has_people() && !staging.is_empty()) {
                inputs.insert("identities".to_owned());
            }
            if !table.money().is_empty() && !staging.is_empty() {
                inputs.insert("fx_rates".to_owned());
            }
            inputs.remove(table.name);
            reads.insert(table.name.to_owned(), inputs);
        }
        for file in self.files.values().filter(|file| file.kind != Kind::Staging) {
            reads.insert(file.name.clone(), file.tables().into_iter().chain(file.audited_tables()).collect());
        }
        Graph::new(reads)
    }

    /// The raw tables everything named rests on: what staging reads and no build makes.
    pub(crate) fn raw_under(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let built: BTreeSet<String> = self.tables().into_iter().collect();
        names.iter().filter(|name| !built.contains(*name)).cloned().collect()
    }
}

/// The text of a file.
fn sql_text(root: &Path, path: &Path) -> Result<String, Diagnosis> {
    let refused = |why: String| Diagnosis::new("unreadable", format!("cannot be read: {why}")).in_file(path);
    let bytes = std::fs::read(root.join(path))
        .map_err(|error| refused(error.to_string()).at(1, 1).hint("check that the program's user may read it"))?;
    String::from_utf8(bytes).map_err(|error| {
        let text = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
        let line = text.split('\n').next_back().unwrap_or_default();
        refused("it holds a letter that is not in UTF-8".to_owned())
            .at(text.matches('\n').count() + 1, line.chars().count() + 1)
            .hint("save it as UTF-8; most editors offer that as the encoding, under \"Save as\"")
    })
}

/// The `.sql` files of a folder, sorted by name; none where the folder does not exist.
fn sql_files(root: &Path, folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let refused = |error: std::io::Error| ModelError::Unreadable { path: folder.to_owned(), reason: error.to_string() };
    let entries = match std::fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(refused(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = folder.join(entry.map_err(refused)?.file_name());
        if path.extension().is_some_and(|ending| ending == "sql") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
