//! Opens a frozen plan, and only if it is what was frozen: every row, every template, the settings and the brand are hashed again and
//! compared with the root the ledger holds.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::{
    CampaignError, CampaignSettings, Kind, Reason, digest,
    freeze::{self, leaves, slices},
    frozen::{self, MANIFEST, PLAN, PlanRow, REVIEW, ROWS, TEMPLATES, plan_folder},
    settings,
};
use crate::{
    diagnosis::Diagnosis,
    ledger::{Assignment, CustomerId, Ledger, PlanId, PlanRecord},
    message::{Brand, Envelope, Offer, Row, Templates},
    secret::Keys,
};

/// The arm of whoever is written to by a campaign without variants.
const TREATMENT: &str = "treatment";
/// The arm of the control group.
const HOLDOUT: &str = "holdout";

/// A plan as it was frozen. It cannot be altered; whoever holds one knows that it is what the ledger's hash says. Its people stay on disk, and
/// are read piece by piece: a plan of a million takes no more memory than one of a hundred.
#[derive(Debug, Clone)]
pub struct FrozenPlan {
    record: PlanRecord,
    folder: PathBuf,
    settings: CampaignSettings,
    brand: Brand,
    practice: bool,
    /// Its tables as they were verified.
    plan: Stamp,
    rows: Stamp,
}

/// A file, as far as one can tell without reading it that it is still the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    changed: SystemTime,
}

impl Stamp {
    fn of(path: &Path) -> Result<Self, CampaignError> {
        let of = |path| fs::metadata(path).and_then(|file| Ok(Self { bytes: file.len(), changed: file.modified()? }));
        of(path).map_err(|error| CampaignError::io(path, error))
    }
}

impl FrozenPlan {
    /// Opens a plan of the project in `root` and verifies it.
    ///
    /// # Errors
    /// Where the ledger does not know the plan, its files are gone, or anything in them is not what was frozen (exit 2).
    pub async fn open(root: &Path, ledger: &Ledger, keys: &Keys, plan: &PlanId) -> Result<Self, CampaignError> {
        let Some(record) = ledger.plan(plan).await? else {
            let known = ledger.plans(None).await?;
            let known: Vec<&str> = known.iter().map(|record| record.plan.as_str()).collect();
            let diagnosis = Diagnosis::new("unknown_plan", format!("the ledger knows no plan `{plan}`"));
            return Err(CampaignError::wrong(match crate::config::nearest(plan.as_str(), known.into_iter()) {
                Some(near) => diagnosis.hint(format!("did you mean `{near}`?")),
                None => diagnosis.hint("`perennial plans` lists them all; a plan's folder without its ledger cannot be used"),
            }));
        };
        Self::read(root, keys, record)
    }

    fn read(root: &Path, keys: &Keys, record: PlanRecord) -> Result<Self, CampaignError> {
        let inside = plan_folder(&record.plan);
        let folder = root.join(&inside);
        let path = folder.join(MANIFEST);
        let manifest = fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => frozen::altered(&inside.join(MANIFEST), "it is gone"),
            _ => CampaignError::io(&path, error),
        })?;
        let mut manifest: serde_json::Value =
            serde_json::from_str(&manifest).map_err(|error| frozen::altered(&inside.join(MANIFEST), &error.to_string()))?;
        let practice = manifest.get("practice").and_then(serde_json::Value::as_bool).unwrap_or_default();
        let brand: Brand = manifest
            .get_mut("brand")
            .map(serde_json::Value::take)
            .and_then(|brand| serde_json::from_value(brand).ok())
            .ok_or_else(|| frozen::altered(&inside.join(MANIFEST), "its brand cannot be read"))?;
        let templates = frozen::template_files(&folder.join(TEMPLATES))
            .map_err(|_| frozen::altered(&inside.join(TEMPLATES), "a file of it cannot be read"))?;
        // Taken before they are opened: a file that takes another's place meanwhile never passes for the one that is verified.
        let (plan, rows) = (Stamp::of(&folder.join(PLAN)), Stamp::of(&folder.join(ROWS)));
        let seen = frozen::ahead(frozen::seen(frozen::table_batches(&folder.join(ROWS), None)?));
        let seen = seen.map_err(|error| CampaignError::io(&folder.join(ROWS), error))?;
        let leaves = leaves(keys, frozen::decisions(&folder)?, seen);
        let whole = digest::Whole {
            campaign: &record.campaign,
            as_of: record.as_of,
            replay: record.replay,
            practice,
            brand: &brand,
            templates: &templates,
        };
        if digest::root(keys, &whole, leaves)? != record.hash {
            return Err(frozen::altered(&inside, "its content has another hash than the one that was recorded when it was made"));
        }
        let file = inside.join(TEMPLATES).join("campaign.toml");
        let text = templates.iter().find(|file| file.path == Path::new("campaign.toml")).map(|file| String::from_utf8_lossy(&file.bytes));
        let settings = settings::read(&text.unwrap_or_default(), &file)?;
        Ok(Self { record, folder, settings, brand, practice, plan: plan?, rows: rows? })
    }

    /// What the ledger said of it when it was opened.
    #[must_use]
    pub fn record(&self) -> &PlanRecord {
        &self.record
    }

    /// The campaign's settings as they were.
    #[must_use]
    pub fn settings(&self) -> &CampaignSettings {
        &self.settings
    }

    /// The brand as it was.
    #[must_use]
    pub fn brand(&self) -> &Brand {
        &self.brand
    }

    /// Whether it was made from practice data.
    #[must_use]
    pub fn practice(&self) -> bool {
        self.practice
    }

    /// Its folder on disk.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Everybody of the segment with the decision about them, sorted by customer id; people erased since have a tombstone.
    ///
    /// # Errors
    /// Where the file is gone, cannot be read, or is another than the one that was verified.
    pub fn decisions(&self) -> Result<impl Iterator<Item = Result<PlanRow, CampaignError>> + use<>, CampaignError> {
        let decisions = frozen::decisions(&self.folder)?;
        self.unchanged(PLAN, self.plan)?;
        Ok(decisions)
    }

    /// The people a message is planned for, sorted by customer id, each with what the templates see.
    ///
    /// # Errors
    /// As [`FrozenPlan::decisions`].
    pub fn planned(&self) -> Result<impl Iterator<Item = Result<(PlanRow, Row), CampaignError>> + use<>, CampaignError> {
        self.planned_with(None)
    }

    /// The same people; of what the templates see, only this column is read, where there is one.
    ///
    /// # Errors
    /// As [`FrozenPlan::decisions`].
    pub fn planned_with(
        &self,
        column: Option<&str>,
    ) -> Result<impl Iterator<Item = Result<(PlanRow, Row), CampaignError>> + use<>, CampaignError> {
        let mut rows = frozen::seen(frozen::table_batches(&self.folder.join(ROWS), column)?);
        self.unchanged(ROWS, self.rows)?;
        let short = || frozen::altered(Path::new(ROWS), "it has fewer rows than people are planned");
        let planned = self.decisions()?.filter(|row| !matches!(row, Ok(row) if !row.is_planned()));
        Ok(planned.map(move |row| row.and_then(|row| Ok((row, rows.next().ok_or_else(short)??)))))
    }

    /// The files are read again when they are needed; another one in their place was not verified.
    fn unchanged(&self, name: &str, stamp: Stamp) -> Result<(), CampaignError> {
        if Stamp::of(&self.folder.join(name))? == stamp {
            return Ok(());
        }
        let diagnosis = Diagnosis::new("plan_changed", "the plan was changed while it was being read")
            .in_file(plan_folder(&self.record.plan).join(name));
        Err(CampaignError::wrong(diagnosis.hint("somebody of it may have been erased; run the command again")))
    }

    /// The decision about one person and, where a message is planned, what the templates see.
    ///
    /// # Errors
    /// As [`FrozenPlan::decisions`].
    pub fn person(&self, customer: &CustomerId) -> Result<Option<(PlanRow, Option<Row>)>, CampaignError> {
        let is = |row: &PlanRow| row.customer == *customer && row.tombstone.is_none();
        let found = self.decisions()?.find(|row| !matches!(row, Ok(row) if !is(row))).transpose()?;
        let Some(found) = found else { return Ok(None) };
        if !found.is_planned() {
            return Ok(Some((found, None)));
        }
        let seen = self.planned()?.find(|row| !matches!(row, Ok((row, _)) if !is(row))).transpose()?;
        Ok(Some((found, seen.map(|(_, seen)| seen))))
    }

    /// The templates as they were.
    ///
    /// # Errors
    /// Where they cannot be used any more, after an update of the program say.
    pub fn templates(&self) -> Result<Templates, CampaignError> {
        Ok(Templates::load(&self.folder.join(TEMPLATES), self.settings.channel, &self.brand, self.practice)?)
    }

    /// What stands round a planned person's message; `to` is the address, or for a webhook the person it is about.
    #[must_use]
    pub fn envelope(&self, letter: &Letter<'_>, unsubscribe_url: Option<String>, date: DateTime<Utc>) -> Envelope {
        let about = About { plan: &self.record.plan, campaign: &self.record.campaign, as_of: self.record.as_of };
        envelope(&self.settings, &self.brand, &about, letter, unsubscribe_url, date)
    }

    /// Who is in the control group and who gets which variant, as an approval records it. Service messages have none.
    ///
    /// # Errors
    /// As [`FrozenPlan::decisions`].
    pub fn assignments(&self) -> Result<Vec<Assignment>, CampaignError> {
        if self.settings.kind == Kind::Service {
            return Ok(Vec::new());
        }
        let arm = |row: PlanRow| {
            let arm = match row.reason {
                _ if row.tombstone.is_some() => return None,
                None => row.variant.unwrap_or_else(|| TREATMENT.to_owned()),
                Some(Reason::Holdout) => HOLDOUT.to_owned(),
                Some(_) => return None,
            };
            Some(Assignment { customer_id: row.customer, occasion: row.occasion?, arm })
        };
        self.decisions()?.filter_map(|row| row.map(arm).transpose()).collect()
    }

    /// Replaces a person's row by its digest and takes what the templates saw of them out of the folder; the plan's hash stays what it
    /// was. The review page, which shows the person, is removed. `false` where the person is not in the plan.
    ///
    /// # Errors
    /// Where the folder cannot be written; then the plan is as it was, or cannot be opened and nothing of it is sent.
    pub fn erase(&mut self, keys: &Keys, customer: &CustomerId) -> Result<bool, CampaignError> {
        let mut decisions = self.decisions()?.collect::<Result<Vec<_>, _>>()?;
        let Some(at) = decisions.iter().position(|row| row.customer == *customer && row.tombstone.is_none()) else { return Ok(false) };
        let seen = frozen::read_table(&self.folder.join(ROWS))?;
        let leaf = leaves(keys, decisions.iter().map(Ok), frozen::seen(slices(&seen))).nth(at).transpose()?.unwrap_or_default();
        let keep: Vec<bool> = decisions.iter().filter(|row| row.is_planned()).map(|row| row.customer != *customer).collect();
        let left = frozen::planned_rows(&seen, keep.into_iter())?;
        let erased = PlanRow {
            customer: CustomerId::new(""),
            reason: decisions[at].reason.clone(),
            variant: None,
            occasion: None,
            step: 1,
            message_id: None,
            send_after: None,
            tombstone: Some(hex::encode(leaf)),
        };
        decisions[at] = erased;
        let tables = [(ROWS, left), (PLAN, frozen::plan_batch(&decisions)?)];
        for (name, table) in &tables {
            frozen::write_table(&self.folder.join(format!(".{name}")), table)?;
        }
        for (name, _) in &tables {
            let path = self.folder.join(name);
            fs::rename(self.folder.join(format!(".{name}")), &path).map_err(|error| CampaignError::io(&path, error))?;
        }
        let page = self.folder.join(REVIEW);
        match fs::remove_file(&page) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(CampaignError::io(&page, error)),
            _ => freeze::sync(&self.folder)?,
        }
        (self.plan, self.rows) = (Stamp::of(&self.folder.join(PLAN))?, Stamp::of(&self.folder.join(ROWS))?);
        Ok(true)
    }
}

/// The plan a message belongs to.
pub(super) struct About<'a> {
    pub(super) plan: &'a PlanId,
    pub(super) campaign: &'a str,
    pub(super) as_of: DateTime<Utc>,
}

/// One message of it.
#[derive(Debug)]
pub struct Letter<'a> {
    /// Its id for ever.
    pub message_id: &'a str,
    /// The variant the person was given.
    pub variant: Option<&'a str>,
    /// 1, or a later letter about the same occasion.
    pub step: i64,
    /// The address, or for a webhook the person it is about.
    pub to: &'a str,
}

/// What stands round a message, the offer of its variant among it. An offer counts from the plan's time, in the brand's zone.
pub(super) fn envelope(
    settings: &CampaignSettings,
    brand: &Brand,
    about: &About<'_>,
    letter: &Letter<'_>,
    unsubscribe_url: Option<String>,
    date: DateTime<Utc>,
) -> Envelope {
    let zone = || -> Tz { brand.timezone.parse().unwrap_or(Tz::UTC) };
    let offer = settings.offer.as_ref().filter(|offer| offer.is_for(letter.variant)).map(|offer| Offer {
        text: offer.text.clone(),
        code: offer.code.clone(),
        valid_until: (about.as_of + offer.valid.delta()).with_timezone(&zone()).date_naive(),
    });
    Envelope {
        message_id: letter.message_id.to_owned(),
        plan: about.plan.to_string(),
        campaign: about.campaign.to_owned(),
        to: letter.to.to_owned(),
        reply_to: settings.reply_to.clone(),
        unsubscribe_url,
        variant: letter.variant.map(str::to_owned),
        step: u32::try_from(letter.step).unwrap_or(1),
        offer,
        as_of: about.as_of,
        date,
    }
}
