//! One static site about a project: every table with what it is, where it comes from and who uses it. Plain files that need no server, no
//! network and no script, and are the same bytes as long as the project and its ledger are the same.
//!
//! | file | what it does |
//! |---|---|
//! | `facts.rs` | gathers what is told: files, columns, tests, campaigns, what the ledger knows |
//! | `address.rs` | the names of pages: safe in any file system, no two alike |
//! | `lineage.rs` | where boxes and lines stand in a drawing of what reads what |
//! | `listing.rs` | an SQL text in lines of coloured words |
//! | `pages.rs` | fills the pages in |
//! | `folder.rs` | writes them, and removes those of an earlier run |

mod address;
mod facts;
mod folder;
mod lineage;
mod listing;
mod pages;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use facts::JobEntry;

use self::facts::Facts;
use crate::{
    config::Folder,
    diagnosis::{Diagnosis, Failure, Severity},
};

/// Where the site stands in a project, unless another folder is asked for.
const FOLDER: &str = "data/docs";

/// A site that was written.
#[derive(Debug, Serialize)]
pub struct Site {
    /// Its folder.
    pub folder: PathBuf,
    /// How many tables it tells of.
    pub tables: usize,
    /// Its pages, relative to the folder.
    pub written: Vec<PathBuf>,
    /// Pages of an earlier run that are none of its own any more.
    pub removed: Vec<PathBuf>,
    /// What is wrong with the project; the pages tell it, too.
    #[serde(skip)]
    pub failures: Vec<Failure>,
}

/// Writes the site about the project in `folder`, with the jobs it is given, into `out`, or into `data/docs`. What is wrong with a file
/// stands on its page and in [`Site::failures`]; the others are told all the same. Neither a lake nor a ledger is needed, and none is made.
///
/// # Errors
/// Where an SQL file cannot be opened or is no text, the site cannot be written, or a page would take the place of a file it did not write.
pub async fn docs(folder: &Folder, jobs: Vec<JobEntry>, out: Option<&Path>) -> Result<Site, Failure> {
    let facts = Facts::gather(folder, jobs).await?;
    let pages = pages::write(&facts).map_err(|error| {
        Failure::failed(Diagnosis::new("docs_page", format!("a page cannot be written: {error:#}")).hint("report this"))
    })?;
    let out = out.map_or_else(|| folder.root().join(FOLDER), Path::to_owned);
    let removed = folder::write(&out, &pages)?;
    let wrong = facts.findings().filter(|finding| finding.severity == Severity::Error);
    Ok(Site {
        folder: out,
        tables: facts.tables.len(),
        written: pages.into_keys().map(PathBuf::from).collect(),
        removed,
        failures: wrong.map(|finding| Failure::wrong(finding.diagnosis.clone())).collect(),
    })
}

#[cfg(test)]
mod tests;
