//! `jobs/campaigns/<name>/campaign.toml`: whom a campaign writes to, about what, and under which rules.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, r#gen::SchemaGenerator, schema::Schema};
use serde::{Deserialize, Deserializer, de};

use super::CampaignError;
use crate::{
    config::{FileKind, Folder, Period, Share, locate, parse, schema},
    diagnosis::{Diagnose, Diagnosis, Finding},
    message::{Channel, Kind},
};

/// The folder all campaigns stand in, by its path in the project.
pub const CAMPAIGNS: &str = "jobs/campaigns";
const FILE: &str = "campaign.toml";

/// The TOML files campaigns are written in.
pub const CAMPAIGN_FILE: FileKind = FileKind::of::<CampaignSettings>(
    "campaign",
    "jobs/campaigns/<name>/campaign.toml",
    "A campaign: whom it writes to, about what, and under which rules.",
);

/// Who approves a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// A person does.
    Review,
    /// The program does, within `max_recipients` and `max_change`; beyond them a person.
    Auto,
}

/// What a campaign hopes for: an order within a window after the plan's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goal {
    /// How long an order counts.
    pub within: Period,
}

impl<'de> Deserialize<'de> for Goal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.strip_prefix("order within ")
            .and_then(Period::parse)
            .map(|within| Self { within })
            .ok_or_else(|| de::Error::custom(format!("`{text}` is not a goal; write it such as `order within 30d`")))
    }
}

impl JsonSchema for Goal {
    fn schema_name() -> String {
        "Goal".to_owned()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema::text(r"^order within \s*\+?[0-9]+\s*[smhd]$", "`order within` and a length of time, such as `order within 30d`.")
    }
}

/// A token some variants carry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The variants that carry it; everybody where none is named.
    #[serde(default)]
    pub variants: Vec<String>,
    /// What the customer types at the till.
    pub code: String,
    /// What it gives, in words: `10 % off`.
    pub text: String,
    /// How long it holds, counted from the plan's time.
    pub valid: Period,
}

impl Offer {
    /// Whether a person with this variant is given it.
    #[must_use]
    pub fn is_for(&self, variant: Option<&str>) -> bool {
        self.variants.is_empty() || variant.is_some_and(|variant| self.variants.iter().any(|name| name == variant))
    }
}

/// `[policy]`: how a campaign gives way to people's peace and to its siblings.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Of two campaigns that want the same person in one slot, the larger wins; ties go to the name.
    pub priority: i64,
    /// The share of people who are left alone, so that the effect can be measured.
    pub holdout: Share,
    /// How long a person has peace after any message of ours.
    pub cool_off: Option<Period>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { priority: 0, holdout: Share::percent(0.0), cool_off: None }
    }
}

/// `campaign.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CampaignSettings {
    /// The segment whose people it writes to.
    pub segment: String,
    /// Which gates apply.
    pub kind: Kind,
    /// How the message travels.
    pub channel: Channel,
    /// For `channel = "webhook"`: which of `[delivery.receivers]` is called; without it, `[delivery.webhook]`.
    #[serde(default)]
    pub receiver: Option<String>,
    /// The segment's column that says what the message is about; a person hears about one occasion once.
    pub occasion: String,
    /// The segment's column that counts several letters about one occasion; without it there is one.
    #[serde(default)]
    pub step: Option<String>,
    /// Who approves its plans.
    pub approval: Approval,
    /// A monitored address replies go to.
    pub reply_to: String,
    /// The most people one plan may reach without a warning, or by `auto` at all.
    #[serde(default)]
    pub max_recipients: Option<u64>,
    /// How much the segment may grow or shrink since the last plan without a warning, or by `auto` at all.
    #[serde(default = "default_max_change")]
    pub max_change: Share,
    /// The share of people who may lack a value the templates need.
    #[serde(default = "default_max_missing")]
    pub max_missing: Share,
    /// What it hopes for.
    #[serde(default)]
    pub goal: Option<Goal>,
    /// Variants and their weights.
    #[serde(default)]
    pub variants: BTreeMap<String, u32>,
    /// What some variants carry.
    #[serde(default)]
    pub offer: Option<Offer>,
    /// How long a plan may wait for approval and delivery.
    #[serde(default = "default_expires")]
    pub expires: Period,
    /// Peace and precedence.
    #[serde(default)]
    pub policy: Policy,
}

fn default_max_change() -> Share {
    Share::percent(40.0)
}

fn default_max_missing() -> Share {
    Share::percent(1.0)
}

fn default_expires() -> Period {
    Period::hours(24)
}

/// One campaign of the project.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// Its name, which is its folder's.
    pub name: String,
    /// Its folder, by its path in the project.
    pub folder: PathBuf,
    /// Its settings.
    pub settings: CampaignSettings,
}

impl Campaign {
    /// Reads one campaign by name.
    ///
    /// # Errors
    /// Where there is no such campaign, or its settings cannot be used; names the file, the line and the nearest known word.
    pub fn load(project: &Folder, name: &str) -> Result<Self, CampaignError> {
        let folder = Path::new(CAMPAIGNS).join(name);
        if !project.root().join(&folder).join(FILE).is_file() {
            let known = names(project)?;
            let hint = match crate::config::nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => format!("there is none yet: make a folder `{CAMPAIGNS}/{name}` with a `{FILE}`"),
                None => format!("there are: {}", known.join(", ")),
            };
            return Err(CampaignError::wrong(Diagnosis::new("unknown_campaign", format!("there is no campaign `{name}`")).hint(hint)));
        }
        let file = folder.join(FILE);
        let settings = read(&project.text(&file)?, &file)?;
        Ok(Self { name: name.to_owned(), folder, settings })
    }

    /// Reads all campaigns of the project, by name.
    ///
    /// # Errors
    /// Where one of them cannot be used.
    pub fn load_all(project: &Folder) -> Result<Vec<Self>, CampaignError> {
        names(project)?.iter().map(|name| Self::load(project, name)).collect()
    }

    /// All campaigns that can be used, by name, and what is wrong with the others.
    #[must_use]
    pub fn load_usable(project: &Folder) -> (Vec<Self>, Vec<Finding>) {
        let names = match names(project) {
            Ok(names) => names,
            Err(error) => return (Vec::new(), vec![Finding::error(error.diagnosis())]),
        };
        let (mut campaigns, mut findings) = (Vec::new(), Vec::new());
        for name in names {
            match Self::load(project, &name) {
                Ok(campaign) => campaigns.push(campaign),
                Err(error) => findings.push(Finding::error(error.diagnosis())),
            }
        }
        (campaigns, findings)
    }

    /// The file its settings stand in, by its path in the project.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }
}

/// The names of all campaigns, sorted: the folders that hold a `campaign.toml`.
///
/// # Errors
/// Where the folder cannot be read.
pub fn names(project: &Folder) -> Result<Vec<String>, CampaignError> {
    let entries = match std::fs::read_dir(project.root().join(CAMPAIGNS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CampaignError::io(Path::new(CAMPAIGNS), error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| CampaignError::io(Path::new(CAMPAIGNS), error))?;
        if entry.path().join(FILE).is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Reads the text of a `campaign.toml` and checks the rules of its kind.
///
/// # Errors
/// Where it cannot be used, with the line.
pub(super) fn read(text: &str, file: &Path) -> Result<CampaignSettings, CampaignError> {
    let settings: CampaignSettings = parse(text, file)?;
    match broken_rule(&settings) {
        None => Ok(settings),
        Some((keys, message, hint)) => {
            let diagnosis = Diagnosis::new("campaign_rule", message).in_file(file).hint(hint);
            Err(CampaignError::wrong(match locate(text, keys) {
                Some((line, column)) => diagnosis.at(line, column),
                None => diagnosis,
            }))
        }
    }
}

type BrokenRule = (&'static [&'static str], String, String);

/// The first rule the settings break: the key it stands at, what is wrong, and what to do.
fn broken_rule(settings: &CampaignSettings) -> Option<BrokenRule> {
    let rule = |keys: &'static [&'static str], message: String, hint: &str| Some((keys, message, hint.to_owned()));
    let CampaignSettings { kind, channel, policy, .. } = settings;
    if let Some(why) = unmonitored(&settings.reply_to) {
        return rule(&["reply_to"], why, "name an address that a person reads: people do answer, and an answer is worth having");
    }
    if *kind == Kind::Service && policy.holdout.fraction() > 0.0 {
        return rule(
            &["policy", "holdout"],
            "a service message takes no control group".to_owned(),
            "remove the line `holdout`: nobody is left without an apology for the sake of measuring",
        );
    }
    if *kind == Kind::Service && settings.offer.is_some() {
        return rule(
            &["offer"],
            "a service message carries no offer".to_owned(),
            "remove `offer`, or make the campaign `kind = \"marketing\"`, which asks for consent",
        );
    }
    if *kind == Kind::Internal && settings.offer.is_some() {
        return rule(
            &["offer"],
            "a note to staff carries no offer".to_owned(),
            "remove `offer`, or write to the customers themselves with `kind = \"marketing\"`",
        );
    }
    if *kind == Kind::Internal && *channel == Channel::Email {
        return rule(&["channel"], "a note to staff does not go to the customer's address".to_owned(), "use `channel = \"webhook\"`");
    }
    if *channel == Channel::Email && settings.receiver.is_some() {
        return rule(
            &["receiver"],
            "a letter goes to a person, not to a receiver of calls".to_owned(),
            "remove the line `receiver`, or use `channel = \"webhook\"`",
        );
    }
    if *kind == Kind::Internal && policy.cool_off.is_some() {
        return rule(
            &["policy", "cool_off"],
            "a note to staff does not disturb the customer, so there is nothing to wait for".to_owned(),
            "remove the line `cool_off`",
        );
    }
    if policy.holdout.fraction() >= 1.0 {
        return rule(
            &["policy", "holdout"],
            "a control group of everybody leaves nobody to write to".to_owned(),
            "use a share such as `10%`",
        );
    }
    if settings.max_missing.fraction() > 1.0 {
        return rule(&["max_missing"], "more than 100 % can not be missing".to_owned(), "use a share such as `1%`");
    }
    if settings.approval == Approval::Auto && settings.max_recipients.is_none() {
        return rule(
            &["approval"],
            "a campaign that approves itself needs a limit".to_owned(),
            "add `max_recipients = …`: a larger plan then waits for a person",
        );
    }
    if !settings.variants.is_empty() && settings.variants.values().all(|weight| *weight == 0) {
        return rule(
            &["variants"],
            "no variant has a weight above 0".to_owned(),
            "give each variant a weight, such as `{ plain = 50, offer = 50 }`",
        );
    }
    if settings.variants.contains_key("holdout") {
        return rule(&["variants"], "`holdout` is the name of the control group".to_owned(), "give the variant another name");
    }
    if let Some(offer) = &settings.offer
        && let Some(stranger) = offer.variants.iter().find(|name| !settings.variants.contains_key(*name))
    {
        let known: Vec<&str> = settings.variants.keys().map(String::as_str).collect();
        return rule(
            &["offer", "variants"],
            format!("there is no variant `{stranger}`"),
            &format!("the variants are: {}", known.join(", ")),
        );
    }
    if settings.expires.delta() <= chrono::TimeDelta::zero() {
        return rule(&["expires"], "a plan that expires at once can never be approved".to_owned(), "use a period such as `24h`");
    }
    None
}

/// Why an address is not one a person reads; none where it may be.
fn unmonitored(address: &str) -> Option<String> {
    let Some((local, domain)) = address.split_once('@') else {
        return Some(format!("`{address}` is not an address"));
    };
    let word: String = local.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    if local.is_empty() || domain.is_empty() || domain.contains('@') || address.contains(char::is_whitespace) {
        return Some(format!("`{address}` is not an address"));
    }
    ["noreply", "donotreply", "nichtantworten", "nepasrepondre"]
        .iter()
        .any(|refused| word.starts_with(refused))
        .then(|| format!("`{address}` says that nobody reads the answers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
segment = "lapsed"
kind = "marketing"
channel = "email"
occasion = "last_order_id"
step = "step"
approval = "review"
reply_to = "hello@fernwood.example"
max_recipients = 2000
max_change = "40%"
max_missing = "1%"
goal = "order within 30d"
variants = { plain = 50, offer = 50 }
offer = { variants = ["offer"], code = "COMEBACK10", text = "10 % off", valid = "14d" }
expires = "24h"
[policy]
priority = 30
holdout = "10%"
cool_off = "7d"
"#;

    fn refusal(text: &str) -> Diagnosis {
        read(text, Path::new("campaign.toml")).unwrap_err().diagnosis()
    }

    #[test]
    fn a_whole_campaign_reads() {
        let settings = read(GOOD, Path::new("campaign.toml")).unwrap();
        assert_eq!(settings.policy.holdout.fraction(), 0.1);
        assert_eq!(settings.goal.unwrap().within, Period::days(30));
        assert!(settings.offer.unwrap().is_for(Some("offer")));
    }

    #[test]
    fn a_broken_campaign_does_not_hide_the_others() {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in
            [("a", GOOD.replace("lapsed", "x")), ("b", GOOD.replace("segment", "segmnt")), ("c", GOOD.into()), ("d", "?".into())]
        {
            std::fs::create_dir_all(root.path().join(CAMPAIGNS).join(name)).unwrap();
            std::fs::write(root.path().join(CAMPAIGNS).join(name).join(FILE), text).unwrap();
        }
        let (usable, findings) = Campaign::load_usable(&Folder::new(root.path(), None, std::iter::empty()));
        assert_eq!(usable.iter().map(|campaign| campaign.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        let files: Vec<_> = findings.iter().map(|finding| finding.diagnosis.file.clone().unwrap()).collect();
        assert_eq!(files, [Path::new("jobs/campaigns/b/campaign.toml"), Path::new("jobs/campaigns/d/campaign.toml")]);
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let error = refusal(&GOOD.replace("cool_off", "cooloff"));
        assert_eq!((error.code.as_str(), error.line, error.hint.as_deref()), ("unknown_key", Some(19), Some("did you mean `cool_off`?")));
        assert_eq!(refusal(&GOOD.replace("code =", "cod =")).code, "unknown_key");
    }

    #[test]
    fn an_address_nobody_reads_is_refused() {
        for address in
            ["noreply@x.example", "no-reply@x.example", "No.Reply+1@x.example", "do-not-reply@x.example", "hello", "a b@x.example"]
        {
            let error = refusal(&GOOD.replace("hello@fernwood.example", address));
            assert_eq!((error.code.as_str(), error.line), ("campaign_rule", Some(8)), "{address}");
        }
        assert_eq!(refusal(&GOOD.replace("reply_to = \"hello@fernwood.example\"\n", "")).code, "missing_key");
    }

    #[test]
    fn a_service_message_takes_no_control_group_and_no_offer() {
        let service = GOOD.replace("\"marketing\"", "\"service\"");
        assert!(refusal(&service).message.contains("control group"));
        assert!(refusal(&service.replace("holdout = \"10%\"", "")).message.contains("offer"));
    }

    #[test]
    fn a_note_to_staff_does_not_go_to_the_customer() {
        let internal = GOOD.replace("\"marketing\"", "\"internal\"").replace("offer = {", "#");
        assert!(refusal(&internal).message.contains("customer's address"));
    }

    #[test]
    fn approving_itself_needs_a_limit() {
        let auto = GOOD.replace("\"review\"", "\"auto\"").replace("max_recipients = 2000\n", "");
        assert!(refusal(&auto).hint.unwrap().contains("max_recipients"));
    }

    #[test]
    fn an_offer_names_variants_that_exist() {
        assert!(refusal(&GOOD.replace("variants = [\"offer\"]", "variants = [\"ofer\"]")).message.contains("`ofer`"));
    }

    #[test]
    fn shares_are_percentages() {
        assert!(refusal(&GOOD.replace("\"10%\"", "\"0.1\"")).message.contains("percentage"));
        assert_eq!(Share::percent(12.5).to_string(), "12.5 %");
    }
}
