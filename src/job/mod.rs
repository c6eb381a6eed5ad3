//! Runs a job's steps in order and records the run.
//!
//! | file | what it does |
//! |---|---|
//! | `settings.rs` | `jobs/<job>.toml` |
//! | `moment.rs` | the run's logical time: live slot or replay |
//! | `steps.rs` | pull, build, plan, deliver, tidy, each on its own; the commands use them too |
//! | `run.rs` | one job once |
//! | `serve.rs` | every job on its schedule, until told to stop |

mod lock;
mod moment;
mod run;
mod serve;
mod settings;
mod steps;

pub use moment::Moment;
pub use run::{RunOutcome, run};
pub use serve::keep_schedule;
pub use settings::{Job, Step};
pub use steps::{Deliverable, Tidied, build, deliver, deliver_approved, open_plan, plan, pull, tidy};

use crate::{
    campaign::Campaign, diagnosis::Failure, engine::Engine, lake::Lake, ledger::Ledger, model::Library, project::Project, source::Source,
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
}

impl House {
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
        Ok(Self { project, lake, ledger, engine, library, sources, campaigns, practice })
    }
}
