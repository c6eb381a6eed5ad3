//! Opens a frozen plan, and only if it is what was frozen: every row, every template, the settings and the brand are hashed again and
//! compared with the root the ledger holds.

use std::{
    fs,
    path::{Path, PathBuf},
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
    message::{Brand, Envelope, Offer, Row, Templates, rows},
    secret::Keys,
};

/// The arm of whoever is written to by a campaign without variants.
const TREATMENT: &str = "treatment";
/// The arm of the control group.
const HOLDOUT: &str = "holdout";

/// A plan as it was frozen. It cannot be altered; whoever holds one knows that it is what the ledger's hash says.
#[derive(Debug, Clone)]
pub struct FrozenPlan {
    record: PlanRecord,
    folder: PathBuf,
    settings: CampaignSettings,
    brand: Brand,
    practice: bool,
    decisions: Vec<PlanRow>,
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
        let decisions = frozen::read_decisions(&folder)?;
        let leaves = leaves(keys, &decisions, frozen::table_batches(&folder.join(ROWS))?)?;
        let whole = digest::Whole {
            campaign: &record.campaign,
            as_of: record.as_of,
            replay: record.replay,
            practice,
            brand: &brand,
            templates: &templates,
        };
        if digest::root(keys, &whole, &leaves) != record.hash {
            return Err(frozen::altered(&inside, "its content has another hash than the one that was recorded when it was made"));
        }
        let file = inside.join(TEMPLATES).join("campaign.toml");
        let text = templates.iter().find(|file| file.path == Path::new("campaign.toml")).map(|file| String::from_utf8_lossy(&file.bytes));
        let settings = settings::read(&text.unwrap_or_default(), &file)?;
        Ok(Self { record, folder, settings, brand, practice, decisions })
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
    #[must_use]
    pub fn decisions(&self) -> &[PlanRow] {
        &self.decisions
    }

    /// The people a message is planned for, sorted by customer id.
    pub fn planned(&self) -> impl Iterator<Item = &PlanRow> {
        self.decisions.iter().filter(|row| row.is_planned())
    }

    /// What the templates see of each planned person, in the order of [`FrozenPlan::planned`], read piece by piece.
    ///
    /// # Errors
    /// Where the file is gone or cannot be read; it was verified when the plan was opened.
    pub fn rows(&self) -> Result<impl Iterator<Item = Result<Row, CampaignError>> + use<>, CampaignError> {
        let batches = frozen::table_batches(&self.folder.join(ROWS))?;
        Ok(batches.flat_map(|batch| {
            let (found, failed) = match batch.and_then(|batch| Ok(rows(&batch)?)) {
                Ok(found) => (found, None),
                Err(error) => (Vec::new(), Some(error)),
            };
            found.into_iter().map(Ok).chain(failed.map(Err))
        }))
    }

    /// The decision about one person and, where a message is planned, what the templates see.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn person(&self, customer: &CustomerId) -> Result<Option<(&PlanRow, Option<Row>)>, CampaignError> {
        let Some(found) = self.decisions.iter().find(|row| row.customer == *customer && row.tombstone.is_none()) else { return Ok(None) };
        if !found.is_planned() {
            return Ok(Some((found, None)));
        }
        let place = self.planned().take_while(|row| row.customer != *customer).count();
        Ok(Some((found, self.rows()?.nth(place).transpose()?)))
    }

    /// The templates as they were.
    ///
    /// # Errors
    /// Where they cannot be used any more, after an update of the program say.
    pub fn templates(&self) -> Result<Templates, CampaignError> {
        Ok(Templates::load(&self.folder.join(TEMPLATES), self.settings.channel, &self.brand, self.practice)?)
    }

    /// What stands round a planned person's message; nothing where the row is not a planned one. `to` is the address, or for a webhook
    /// the person it is about.
    #[must_use]
    pub fn envelope(&self, row: &PlanRow, to: &str, unsubscribe_url: Option<String>, date: DateTime<Utc>) -> Option<Envelope> {
        let message_id = row.message_id.as_ref().filter(|_| row.is_planned())?;
        Some(envelope(
            &self.settings,
            &self.brand,
            &About { plan: &self.record.plan, campaign: &self.record.campaign, as_of: self.record.as_of },
            &Letter { message_id: message_id.as_str(), variant: row.variant.as_deref(), step: row.step, to },
            unsubscribe_url,
            date,
        ))
    }

    /// Who is in the control group and who gets which variant, as an approval records it. Service messages have none.
    #[must_use]
    pub fn assignments(&self) -> Vec<Assignment> {
        if self.settings.kind == Kind::Service {
            return Vec::new();
        }
        let assigned = self.decisions.iter().filter(|row| row.tombstone.is_none()).filter_map(|row| {
            let arm = match &row.reason {
                None => row.variant.clone().unwrap_or_else(|| TREATMENT.to_owned()),
                Some(Reason::Holdout) => HOLDOUT.to_owned(),
                Some(_) => return None,
            };
            Some(Assignment { customer_id: row.customer.clone(), occasion: row.occasion.clone()?, arm })
        });
        assigned.collect()
    }

    /// Replaces a person's row by its digest and takes what the templates saw of them out of the folder; the plan's hash stays what it
    /// was. The review page, which shows the person, is removed. `false` where the person is not in the plan.
    ///
    /// # Errors
    /// Where the folder cannot be written; then the plan is as it was, or cannot be opened and nothing of it is sent.
    pub fn erase(&mut self, keys: &Keys, customer: &CustomerId) -> Result<bool, CampaignError> {
        let Some(at) = self.decisions.iter().position(|row| row.customer == *customer && row.tombstone.is_none()) else { return Ok(false) };
        let seen = frozen::read_table(&self.folder.join(ROWS))?;
        let leaf = leaves(keys, &self.decisions, slices(&seen))?[at];
        let keep: Vec<bool> = self.planned().map(|row| row.customer != *customer).collect();
        let left = frozen::planned_rows(&seen, keep.into_iter())?;
        let erased = PlanRow {
            customer: CustomerId::new(""),
            reason: self.decisions[at].reason.clone(),
            variant: None,
            occasion: None,
            step: 1,
            message_id: None,
            send_after: None,
            tombstone: Some(hex::encode(leaf)),
        };
        self.decisions[at] = erased;
        let tables = [(ROWS, left), (PLAN, frozen::plan_batch(&self.decisions)?)];
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
pub(super) struct Letter<'a> {
    pub(super) message_id: &'a str,
    pub(super) variant: Option<&'a str>,
    pub(super) step: i64,
    pub(super) to: &'a str,
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
    let zone: Tz = brand.timezone.parse().unwrap_or(Tz::UTC);
    let offer = settings.offer.as_ref().filter(|offer| offer.is_for(letter.variant)).map(|offer| Offer {
        text: offer.text.clone(),
        code: offer.code.clone(),
        valid_until: (about.as_of + offer.valid.delta()).with_timezone(&zone).date_naive(),
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
