//! The project folder as a whole: opened, checked, described, begun.
//!
//! | file | what it answers |
//! |---|---|
//! | `deployment.rs` | what `config/perennial.toml` says |
//! | `init.rs` | a working folder to begin with |
//! | `check.rs` | everything that can be known to be wrong before a run |
//! | `schema.rs` | what tables there are, and what their columns hold |
//! | `docs/` | the same as pages: a static site about the project |

mod check;
mod deployment;
mod docs;
mod init;
mod revision;
mod schema;

use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;

pub use check::check;
pub use deployment::{DEPLOYMENT_FILE, Deployment, KeySettings, ReviewSettings};
pub use docs::{JobEntry, Site, docs};
pub use init::{init, presets};
pub use revision::library_at;
pub use schema::{ColumnEntry, TableColumns, TableEntry, Tables, first_sentence};

use crate::{
    campaign::Campaign,
    clock::SharedClock,
    config::Folder,
    diagnosis::Failure,
    engine::Engine,
    lake::Lake,
    ledger::Ledger,
    model::{BrandDefaults, Library},
    secret::Keys,
    source::Source,
};

/// An opened project folder: its settings are read and fit. Tables and ledger are opened when they are asked for.
#[derive(Debug, Clone)]
pub struct Project {
    folder: Folder,
    deployment: Deployment,
    keys: Keys,
    clock: SharedClock,
}

impl Project {
    /// Reads the deployment of `folder`.
    ///
    /// # Errors
    /// Where the deployment cannot be read, does not fit, or its master key is not there or too short.
    pub fn open(folder: Folder, clock: SharedClock) -> Result<Self, Failure> {
        let deployment: Deployment = folder.deployment()?;
        let keys = Keys::open(&deployment.keys.master, folder.root())?;
        Ok(Self { folder, deployment, keys, clock })
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.folder.root()
    }

    /// The folder, as a place settings are read from.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What the settings say.
    #[must_use]
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// What canonical tables fall back to.
    #[must_use]
    pub fn brand_defaults(&self) -> BrandDefaults {
        let brand = &self.deployment.brand;
        BrandDefaults { locale: brand.locale.clone(), timezone: brand.timezone.clone(), currency: brand.currency.clone() }
    }

    /// The lake.
    ///
    /// # Errors
    /// Where its folder cannot be made.
    pub fn lake(&self) -> Result<Lake, Failure> {
        Ok(Lake::open(self.root(), &self.deployment.lake)?)
    }

    /// The ledger.
    ///
    /// # Errors
    /// Where it cannot be opened, or is missing beside plans.
    pub async fn ledger(&self) -> Result<Ledger, Failure> {
        Ok(Ledger::open(self.root(), &self.deployment.ledger).await?)
    }

    /// The engine.
    ///
    /// # Errors
    /// Where its settings do not fit.
    pub fn engine(&self) -> Result<Engine, Failure> {
        Ok(Engine::new(self.root(), &self.deployment.engine)?)
    }

    /// The SQL files.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn library(&self) -> Result<Library, Failure> {
        Ok(Library::load(self.root())?)
    }

    /// The sources.
    ///
    /// # Errors
    /// Where a file of `config/sources` does not fit.
    pub fn sources(&self) -> Result<Vec<Source>, Failure> {
        Ok(Source::load_all(&self.folder)?)
    }

    /// The campaigns, sorted by name.
    ///
    /// # Errors
    /// Where a `campaign.toml` does not fit.
    pub fn campaigns(&self) -> Result<Vec<Campaign>, Failure> {
        Ok(Campaign::load_all(&self.folder)?)
    }

    /// Whether what this project knows is invented, so that every page and mail must say so.
    #[must_use]
    pub fn is_practice(&self, sources: &[Source]) -> bool {
        self.keys.are_practice() || sources.iter().any(Source::is_practice)
    }

    /// Where plans stand.
    #[must_use]
    pub fn plans(&self) -> PathBuf {
        self.root().join("data/plans")
    }
}

/// The columns of every raw table that the sources declare.
#[must_use]
pub fn raw_schemas(sources: &[Source]) -> std::collections::BTreeMap<String, SchemaRef> {
    sources.iter().flat_map(Source::schemas).collect()
}
