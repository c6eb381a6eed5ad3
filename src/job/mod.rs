//! Runs a job's steps in order and records the run.
//!
//! | file | what it does |
//! |---|---|
//! | `settings.rs` | `jobs/<job>.toml` |
//! | `moment.rs` | the run's logical time: live slot or replay |
//! | `steps.rs` | pull, build, plan, deliver, tidy, each on its own; the commands use them too |
//! | `write_back.rs` | the step that tells other systems of opt-outs |
//! | `person.rs` | whom an id names that somebody typed |
//! | `published.rs` | which version of each table readers see |
//! | `post.rs` | a frozen plan in the shape delivery takes |
//! | `lock.rs` | one process a job |
//! | `run.rs` | one job once |
//! | `serve.rs` | every job on its schedule, until told to stop |

mod lock;
mod moment;
mod person;
mod post;
mod published;
mod run;
mod serve;
mod settings;
mod steps;
mod write_back;

#[cfg(test)]
mod tests;

pub use moment::Moment;
pub use person::unknown_person;
pub use run::{RunOutcome, run, runs};
pub use serve::keep_schedule;
pub use settings::{JOB_FILE, Job, Step};
pub use steps::{Deliverable, Delivered, PlannedSlot, Tidied, build, collect, deliver, deliver_approved, plan, pull, tidy};
pub use write_back::{SectionStanding, WrittenBack, WroteBack, unheard, write_back, write_back_standing};

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use crate::{
    campaign::Campaign,
    delivery,
    diagnosis::{Diagnosis, Failure},
    engine::{Engine, Origin, Session, parse_select},
    lake::Lake,
    ledger::Ledger,
    model::Library,
    project::Project,
    source::Source,
};

/// A project with everything a run needs opened.
#[derive(Debug, Clone)]
pub struct House {
    /// The folder and its settings.
    pub project: Project,
    /// The tables.
    pub lake: Lake,
    /// The promises.
    pub ledger: Ledger,
    /// The SQL runtime.
    pub engine: Engine,
    /// The SQL files.
    pub library: Library,
    /// Where data comes from.
    pub sources: Vec<Source>,
    /// What is written to whom.
    pub campaigns: Vec<Campaign>,
    /// Whether the people are invented.
    pub practice: bool,
    /// Cancelled when the program is asked to stop.
    pub stop: CancellationToken,
}

impl House {
    /// Where what came back is taken in.
    #[must_use]
    pub fn desk(&self) -> delivery::Desk {
        delivery::Desk {
            ledger: self.ledger.clone(),
            settings: self.project.deployment().delivery.returns.clone(),
            keys: self.project.keys().clone(),
            clock: self.project.clock().clone(),
            root: self.project.root().to_owned(),
        }
    }

    /// Opens everything.
    ///
    /// # Errors
    /// Where a file does not fit, or the data folder cannot be written.
    pub async fn open(project: Project) -> Result<Self, Failure> {
        let sources = project.sources()?;
        let campaigns = project.campaigns()?;
        let library = project.library()?;
        let engine = project.engine()?;
        let lake = project.lake()?;
        let ledger = project.ledger().await?;
        let practice = project.is_practice(&sources);
        Ok(Self { project, lake, ledger, engine, library, sources, campaigns, practice, stop: CancellationToken::new() })
    }

    /// What delivery needs of the project.
    #[must_use]
    pub fn post(&self) -> delivery::Context {
        delivery::Context {
            ledger: self.ledger.clone(),
            settings: self.project.deployment().delivery.clone(),
            keys: self.project.keys().clone(),
            clock: self.project.clock().clone(),
            root: self.project.root().to_owned(),
            stop: self.stop.clone(),
        }
    }

    /// A campaign by name.
    ///
    /// # Errors
    /// Where there is none.
    pub fn campaign(&self, name: &str) -> Result<&Campaign, Failure> {
        self.campaigns.iter().find(|campaign| campaign.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.campaigns.iter().map(|campaign| campaign.name.as_str()).collect();
            let diagnosis = Diagnosis::new("unknown_campaign", format!("there is no campaign `{name}`")).in_file("jobs/campaigns");
            Failure::wrong(match crate::config::nearest(name, names.iter().copied()) {
                Some(near) => diagnosis.hint(format!("did you mean `{near}`?")),
                None => diagnosis.hint(format!("there are: {}", names.join(", "))),
            })
        })
    }

    /// The tables that can be read, each with the version readers see: of raw tables the newest.
    ///
    /// # Errors
    /// Where the lake or the ledger cannot be read.
    pub async fn readable(&self) -> Result<BTreeMap<String, Option<i64>>, Failure> {
        let mut versions: BTreeMap<String, Option<i64>> =
            self.lake.tables().await?.into_iter().filter(|table| table.contains("__")).map(|table| (table, None)).collect();
        versions.extend(self.published().await?.into_iter().map(|(table, version)| (table, Some(version))));
        Ok(versions)
    }

    /// A session for `sql` over the tables readers see and the raw tables. Where it names a table that is not there, all are at hand, so
    /// that the answer can name the nearest.
    ///
    /// # Errors
    /// Where a table cannot be read. What is wrong with the query is said when it is run.
    pub async fn session(&self, sql: &str) -> Result<Session, Failure> {
        let mut versions = self.readable().await?;
        let named = parse_select(sql, Origin::NOWHERE).map(|parsed| parsed.tables).unwrap_or_default();
        if named.iter().all(|table| versions.contains_key(table)) {
            versions.retain(|table, _| named.contains(table));
        }
        let mut tables = BTreeMap::new();
        for (table, version) in versions {
            let provider = self.lake.provider(&table, version).await?;
            tables.insert(table, provider);
        }
        Ok(self.engine.session(tables)?)
    }
}
