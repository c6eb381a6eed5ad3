//! Writes a plan's folder: all of it or nothing, and the same plan for the same inputs.

use std::{
    borrow::Borrow,
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use arrow::array::RecordBatch;
use chrono::{DateTime, SecondsFormat, Utc};

use super::{
    Campaign, CampaignError, digest,
    frozen::{self, MANIFEST, PLAN, PlanRow, REVIEW, ROWS, TEMPLATES, TemplateFile, plan_folder},
    gates,
};
use crate::{
    ledger::PlanId,
    message::{Brand, Row},
    secret::Keys,
};

/// A plan that has been decided but not written.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) campaign: &'a Campaign,
    pub(super) as_of: DateTime<Utc>,
    pub(super) replay: bool,
    pub(super) practice: bool,
    pub(super) brand: &'a Brand,
    pub(super) versions: &'a BTreeMap<String, i64>,
    /// The campaign's folder as it is.
    pub(super) templates: Vec<TemplateFile>,
    /// One decision a person, sorted by customer id.
    pub(super) decisions: Vec<PlanRow>,
    /// What the templates see of the planned, in the same order.
    pub(super) seen: RecordBatch,
}

/// A plan's name and the root over its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) plan: PlanId,
    pub(super) hash: String,
}

impl Draft<'_> {
    /// How many messages it promises.
    pub(super) fn planned(&self) -> u64 {
        self.decisions.iter().filter(|row| row.is_planned()).count() as u64
    }

    /// Who is not written to, by reason.
    pub(super) fn excluded(&self) -> BTreeMap<String, u64> {
        gates::tally(self.decisions.iter().filter_map(|row| row.reason.as_ref()))
    }

    /// What the plan will be called.
    pub(super) fn name(&self, keys: &Keys) -> Result<Name, CampaignError> {
        let whole = digest::Whole {
            campaign: &self.campaign.name,
            as_of: self.as_of,
            replay: self.replay,
            practice: self.practice,
            brand: self.brand,
            templates: &self.templates,
        };
        let hash = digest::root(keys, &whole, leaves(keys, self.decisions.iter().map(Ok), frozen::seen(slices(&self.seen))))?;
        let plan = PlanId::new(format!("{}-{}-{}", self.campaign.name, self.as_of.format("%Y%m%dT%H%M%SZ"), &hash[..8]));
        Ok(Name { plan, hash })
    }

    /// Writes the folder beside its place and moves it there when everything is on disk.
    pub(super) fn write(&self, root: &Path, name: &Name, review: &str) -> Result<PathBuf, CampaignError> {
        let folder = plan_folder(&name.plan);
        let place = root.join(&folder);
        let plans = root.join("data/plans");
        let draft = plans.join(format!(".tmp-{}", name.plan));
        fs::create_dir_all(&plans).map_err(|error| CampaignError::io(Path::new("data/plans"), error))?;
        remove(&draft)?;
        fs::create_dir(&draft).map_err(|error| CampaignError::io(&draft, error))?;
        for file in &self.templates {
            put(&draft.join(TEMPLATES).join(&file.path), &file.bytes)?;
        }
        frozen::write_table(&draft.join(PLAN), &frozen::plan_batch(&self.decisions)?)?;
        frozen::write_table(&draft.join(ROWS), &self.seen)?;
        let manifest = serde_json::to_string_pretty(&self.manifest(name)).unwrap_or_default();
        put(&draft.join(MANIFEST), format!("{manifest}\n").as_bytes())?;
        put(&draft.join(REVIEW), review.as_bytes())?;
        sync(&draft.join(TEMPLATES))?;
        sync(&draft)?;
        // A folder without a row in the ledger was left by a process that died between the two; nobody has seen it.
        remove(&place)?;
        fs::rename(&draft, &place).map_err(|error| CampaignError::io(&folder, error))?;
        sync(&plans)?;
        Ok(folder)
    }

    /// What the plan is, for people and programs that open the folder. When it was made and who approved it stands in the ledger only.
    fn manifest(&self, name: &Name) -> serde_json::Value {
        let settings = &self.campaign.settings;
        let templates: BTreeMap<String, String> =
            self.templates.iter().map(|file| (digest::slashed(&file.path), digest::file_digest(&file.bytes))).collect();
        serde_json::json!({
            "format": 1,
            "plan": name.plan,
            "hash": name.hash,
            "campaign": self.campaign.name,
            "kind": settings.kind,
            "channel": settings.channel.as_str(),
            "segment": settings.segment,
            "as_of": self.as_of.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            "replay": self.replay,
            "practice": self.practice,
            "in_segment": self.decisions.len(),
            "planned": self.planned(),
            "excluded": self.excluded(),
            "brand": digest::brand_json(self.brand),
            "templates": templates,
            "tables": self.versions,
        })
    }
}

/// The digests of all rows, in order; `seen` gives what the templates see of the planned, in the same order. Neither is held as a whole.
pub(super) fn leaves<D: Borrow<PlanRow>>(
    keys: &Keys,
    mut decisions: impl Iterator<Item = Result<D, CampaignError>>,
    mut seen: impl Iterator<Item = Result<Row, CampaignError>>,
) -> impl Iterator<Item = Result<[u8; 32], CampaignError>> {
    std::iter::from_fn(move || {
        let Some(decision) = decisions.next() else {
            return seen
                .next()
                .map(|row| row.and_then(|_| Err(frozen::altered(Path::new(ROWS), "it has more rows than people are planned"))));
        };
        let leaf = |decision: &PlanRow, seen: &mut dyn Iterator<Item = Result<Row, CampaignError>>| match &decision.tombstone {
            Some(digest) => tombstone(digest),
            None if decision.is_planned() => {
                let row = seen.next().ok_or_else(|| frozen::altered(Path::new(ROWS), "it has fewer rows than people are planned"))??;
                Ok(digest::leaf(keys, decision, Some(&row)))
            }
            None => Ok(digest::leaf(keys, decision, None)),
        };
        Some(decision.and_then(|decision| leaf(decision.borrow(), &mut seen)))
    })
}

fn tombstone(digest: &str) -> Result<[u8; 32], CampaignError> {
    let mut leaf = [0; 32];
    hex::decode_to_slice(digest, &mut leaf).map_err(|_| frozen::altered(Path::new(PLAN), "a tombstone is not a digest"))?;
    Ok(leaf)
}

/// A table in pieces small enough to be turned into rows one after the other.
pub(super) fn slices(batch: &RecordBatch) -> impl Iterator<Item = Result<RecordBatch, CampaignError>> + '_ {
    (0..batch.num_rows()).step_by(4096).map(|from| Ok(batch.slice(from, 4096.min(batch.num_rows() - from))))
}

pub(super) fn put(path: &Path, bytes: &[u8]) -> Result<(), CampaignError> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| CampaignError::io(path, error))
}

/// Syncs a folder's entries; on systems where folders cannot be opened there is nothing to sync.
pub(super) fn sync(folder: &Path) -> Result<(), CampaignError> {
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| CampaignError::io(folder, error))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

fn remove(folder: &Path) -> Result<(), CampaignError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(CampaignError::io(folder, error)),
        _ => Ok(()),
    }
}
