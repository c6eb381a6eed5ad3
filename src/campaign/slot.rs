//! Plans the campaigns of one slot: reads what the run pinned, lets everybody pass the gates, settles who writes to whom, and freezes
//! the plans that were asked for.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use arrow::array::RecordBatch;
use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Approval, Campaign, CampaignError, CampaignSettings, FrozenPlan, Kind, Limits, Reason,
    arbitration::{Contender, Taken, arbitrate},
    facts::{self, Tables},
    freeze::Draft,
    frozen::{self, PlanRow, TemplateFile},
    gates::{self, Facts, History, Person, Record, Rules},
    holes::Holes,
    ids,
    open::{self, About, Letter},
    review::{self, Changes, Page},
    segment::Segment,
};
use crate::{
    config::locate,
    diagnosis::{Diagnosis, Failure, Severity},
    lake::Lake,
    ledger::{Contact, CustomerId, Drafted, Ledger, NewPlan, PlanId, PlanRecord, PlanStatus, PlanSummary},
    message::{Brand, Channel, Templates, rows},
    secret::Keys,
};

/// The tables that say who may be written to and who has come back. On yesterday's of these nobody is planned.
const PRESENT: [&str; 5] = ["consents", "customers", "identities", "orders", "tickets"];

/// What planning a slot needs to know.
#[derive(Debug, Clone, Copy)]
pub struct PlanRequest<'a> {
    /// The project folder.
    pub root: &'a Path,
    /// All campaigns of the slot; arbitration looks at every one of them.
    pub campaigns: &'a [Campaign],
    /// The one campaign to plan; all of them where none is named.
    pub only: Option<&'a str>,
    /// The lake the run built into: the live one, or a replay's scratch.
    pub lake: &'a Lake,
    /// The table versions the run pinned.
    pub versions: &'a BTreeMap<String, i64>,
    /// The tables among them that are not of this slot, and why: a segment of another night may name people who have come back since.
    pub stale: &'a BTreeMap<String, Failure>,
    /// The ledger.
    pub ledger: &'a Ledger,
    /// The project's keys.
    pub keys: &'a Keys,
    /// Who writes.
    pub brand: &'a Brand,
    /// The run's logical time.
    pub as_of: DateTime<Utc>,
    /// The wall clock; it governs expiry only.
    pub now: DateTime<Utc>,
    /// Whether `as_of` is another time than the live slot.
    pub replay: bool,
    /// The run that asks.
    pub run: Option<&'a str>,
    /// The deployment's limits on every campaign.
    pub limits: Limits,
    /// Whether the data are the practice shop's.
    pub practice: bool,
    /// Where unsubscribe links lead; the page's sample messages show it.
    pub public_url: &'a str,
}

/// What became of one campaign of a slot.
#[derive(Debug)]
pub struct Planned {
    /// The campaign.
    pub campaign: String,
    /// Its plan, or why there is none; the other campaigns are not touched by it.
    pub outcome: Result<Made, CampaignError>,
}

/// A plan that stands for a campaign after planning.
#[derive(Debug, Clone)]
pub struct Made {
    /// The plan, as the commands print it.
    pub summary: PlanSummary,
    /// Whether it was made just now; otherwise it stood already.
    pub fresh: bool,
    /// The page marketing reads, by its path in the project.
    pub review: PathBuf,
    /// What the page warns of.
    pub warnings: Vec<String>,
}

/// Plans the campaigns of one slot.
///
/// # Errors
/// Where the ledger or the canonical tables cannot be read or are not of this slot, or no campaign has the name asked for; what is wrong
/// with one campaign alone stands in its [`Planned`].
pub async fn plan_slot(request: PlanRequest<'_>) -> Result<Vec<Planned>, CampaignError> {
    if let Some(name) = request.only
        && !request.campaigns.iter().any(|campaign| campaign.name == name)
    {
        let known: Vec<&str> = request.campaigns.iter().map(|campaign| campaign.name.as_str()).collect();
        return Err(CampaignError::wrong(
            Diagnosis::new("unknown_campaign", format!("there is no campaign `{name}`")).hint(format!("there are: {}", known.join(", "))),
        ));
    }
    request.ledger.expire_drafts(request.now).await?;
    request.ledger.close_expired(request.now).await?;
    if let Some((table, why)) = PRESENT.into_iter().find_map(|table| Some((table, request.stale.get(table)?))) {
        return Err(stale(table, why, "no campaign is planned: who may be written to and who has come back is not known"));
    }
    let tables = Tables::read(request.lake, request.versions).await?;
    let facts = Facts { history: history(&request).await?, ..tables.facts(request.as_of)? };
    let standing = Standing::read(&request).await?;

    let mut contenders = Vec::new();
    let mut ready: BTreeMap<&str, Ready> = BTreeMap::new();
    let mut failed: BTreeMap<&str, CampaignError> = BTreeMap::new();
    for campaign in request.campaigns.iter().filter(|campaign| !standing.stands_for(campaign)) {
        match examine(&request, campaign, &facts).await {
            Ok((contender, prepared)) => {
                contenders.push(contender);
                ready.insert(&campaign.name, prepared);
            }
            Err(error) => {
                failed.insert(&campaign.name, error);
            }
        }
    }
    arbitrate(&mut contenders, standing.taken(&request, &tables).await?, request.keys);

    let mut planned = Vec::new();
    for campaign in request.campaigns.iter().filter(|campaign| request.only.is_none_or(|only| only == campaign.name)) {
        let contender = contenders.iter().position(|contender| contender.campaign == campaign.name).map(|at| contenders.swap_remove(at));
        let outcome = match (standing.of(campaign), failed.remove(campaign.name.as_str()), contender, ready.remove(campaign.name.as_str()))
        {
            (Some(record), ..) => Ok(existing(record, standing_words(record))),
            (_, Some(error), ..) => Err(error),
            (_, _, Some(contender), Some(prepared)) => freeze(&request, &tables, campaign, contender, prepared).await,
            _ => continue,
        };
        planned.push(Planned { campaign: campaign.name.clone(), outcome });
    }
    Ok(planned)
}

fn existing(record: &PlanRecord, warnings: Vec<String>) -> Made {
    Made { summary: record.summary(), fresh: false, review: frozen::plan_folder(&record.plan).join(frozen::REVIEW), warnings }
}

fn standing_words(record: &PlanRecord) -> Vec<String> {
    if record.is_promised() {
        vec![format!("the plan {} is {}; no newer one is made before it is finished", record.plan, record.status.in_words())]
    } else {
        Vec::new()
    }
}

/// Plans that are not made again: approved and unfinished ones, and those of this slot that were sent or stopped.
struct Standing {
    records: Vec<PlanRecord>,
}

impl Standing {
    async fn read(request: &PlanRequest<'_>) -> Result<Self, CampaignError> {
        let mut records = request.ledger.plans(None).await?;
        records.retain(|record| {
            record.replay == request.replay && (record.is_promised() || (record.is_settled() && record.as_of == request.as_of))
        });
        Ok(Self { records })
    }

    /// The plan that stands for a campaign: one that is promised before one that was sent.
    fn of(&self, campaign: &Campaign) -> Option<&PlanRecord> {
        let own = || self.records.iter().filter(|record| record.campaign == campaign.name);
        own().find(|record| record.is_promised()).or_else(|| own().next())
    }

    fn stands_for(&self, campaign: &Campaign) -> bool {
        self.of(campaign).is_some()
    }

    /// Their people: whoever is promised a message, or was left out of one to measure it, is not written to by another campaign.
    async fn taken(&self, request: &PlanRequest<'_>, tables: &Tables) -> Result<Taken, CampaignError> {
        let mut taken = Taken::default();
        for record in self.records.iter().filter(|record| record.kind != Kind::Internal.as_str()) {
            let people: Vec<CustomerId> = match frozen::read_decisions(&request.root.join(frozen::plan_folder(&record.plan))) {
                Ok(decisions) => {
                    let kept = decisions.into_iter().filter(|row| row.is_planned() || row.reason == Some(Reason::Holdout));
                    kept.map(|row| row.customer).collect()
                }
                // Nothing more of such a plan is sent; whom it has written to, or leaves alone, the ledger knows.
                Err(error) => {
                    tracing::warn!(plan = %record.plan, %error, "the plan's files cannot be read; its people are taken from the ledger");
                    request.ledger.people_of(&record.plan).await?
                }
            };
            let wanted: HashSet<&str> = people.iter().map(CustomerId::as_str).collect();
            let addresses = tables.addresses(&wanted)?;
            for customer in &people {
                let hash = addresses.get(customer.as_str()).map(|address| crate::ledger::address_hash(request.keys, address));
                taken.take(&record.campaign, customer, hash.as_deref());
            }
        }
        Ok(taken)
    }
}

/// What people were sent within the longest window any campaign or the cap looks back. A replay does not see what came after its time.
async fn history(request: &PlanRequest<'_>) -> Result<History, CampaignError> {
    let peace = request.campaigns.iter().filter_map(|campaign| campaign.settings.policy.cool_off);
    let longest = peace
        .chain(request.limits.cap.map(|cap| cap.within))
        .chain(request.limits.fewer)
        .map(|period| period.delta())
        .max()
        .unwrap_or(TimeDelta::zero());
    let until = request.replay.then_some(request.as_of);
    Ok(History::new(request.ledger.heard_since(request.as_of - longest, until, request.as_of).await?))
}

/// What freezing a campaign's plan needs beside the decisions.
struct Ready {
    segment: Segment,
    templates: Templates,
    files: Vec<TemplateFile>,
    notes: Vec<String>,
}

/// Lets everybody in a campaign's segment pass the gates up to the cap.
async fn examine(request: &PlanRequest<'_>, campaign: &Campaign, facts: &Facts) -> Result<(Contender, Ready), CampaignError> {
    let settings = &campaign.settings;
    let at = |error: CampaignError| at_setting(error, request, campaign, "segment");
    if let Some(why) = request.stale.get(&settings.segment) {
        let so = format!("`{}` is not planned: its people may have come back since", campaign.name);
        return Err(at(stale(&settings.segment, why, &so)));
    }
    let version = facts::version(request.versions, &settings.segment).map_err(at)?;
    let schema = request.lake.schema(&settings.segment, Some(version)).await?;
    let segment = Segment::new(&settings.segment, &schema, &request.lake.read(&settings.segment, Some(version)).await?)?;

    let files = frozen::template_files(&request.root.join(&campaign.folder))?;
    let templates = Templates::load(&request.root.join(&campaign.folder), settings.channel, request.brand, request.practice)?;
    let mut notes = Vec::new();
    for finding in templates.check(&schema) {
        match finding.severity {
            Severity::Error => return Err(CampaignError::wrong(in_project(finding.diagnosis, request.root))),
            Severity::Warning => notes.push(finding.diagnosis.message),
        }
    }
    if settings.kind.has_way_out(settings.channel)
        && let Some(lacking) = templates.without_way_out()
    {
        return Err(CampaignError::wrong(in_project(lacking, request.root)));
    }
    let mut people = segment
        .people(&campaign.name, settings, &templates.required(), request.brand, request.keys)
        .map_err(|error| at_setting(error, request, campaign, "occasion"))?;
    let mut holes = Holes::new(request, campaign, &segment, &templates)?;
    notes.extend(holes.unusable_links());
    holes.look_for(&mut people)?;

    let contacts: Vec<Contact> =
        people.iter().map(|person| Contact { customer_id: person.customer.clone(), address_hash: person.address_hash.clone() }).collect();
    let marketing = settings.kind == Kind::Marketing;
    let suppressed = request.ledger.suppressed(&contacts, settings.channel.as_str(), marketing).await?;
    let wishes = request.ledger.wishes(&contacts, &campaign.name).await?;
    let told = request.ledger.told_before(&campaign.name, request.as_of).await?;
    // Whoever wants no more letters of this kind is as silent to it as somebody who wants none at all.
    let suppressed = suppressed.into_keys().chain(wishes.without).collect();
    let record = Record { suppressed, wants_fewer: wishes.fewer, told };
    let rules = Rules {
        kind: settings.kind,
        channel: settings.channel,
        cool_off: settings.policy.cool_off.map(|period| period.delta()),
        cap: request.limits.cap,
        fewer: request.limits.fewer.map(|period| period.delta()),
        as_of: request.as_of,
    };
    let mut people: Vec<(Person, Option<Reason>)> = people
        .into_iter()
        .map(|person| {
            let reason = gates::stopped(&person, &rules, facts, &record);
            (person, reason)
        })
        .collect();
    holes.try_the_rest(&mut people)?;
    too_many_missing(campaign, &people)?;
    let contender = Contender {
        campaign: campaign.name.clone(),
        kind: settings.kind,
        priority: settings.policy.priority,
        holdout: settings.policy.holdout.fraction(),
        people,
    };
    Ok((contender, Ready { segment, templates, files, notes }))
}

/// A table of another night. It ends as what kept it from being made does: where that is a mistake in a file, running again does not help.
fn stale(table: &str, why: &Failure, so: &str) -> CampaignError {
    let told = &why.diagnosis;
    let hint = match &told.file {
        Some(file) => format!("mend {}, and run again", file.display()),
        None => told.hint.clone().unwrap_or_else(|| "run again when the table can be built".to_owned()),
    };
    let message = format!("`{table}` is not of this slot ({}), so {so}", told.message);
    CampaignError::Told { diagnosis: Box::new(Diagnosis::new("segment_stale", message).hint(hint)), exit: why.exit }
}

/// The message's surroundings as the page and the tries see them; the unsubscribe link is a specimen.
pub(super) fn sample_envelope(request: &PlanRequest<'_>, campaign: &Campaign, person: &Person, plan: &PlanId) -> crate::message::Envelope {
    let settings = &campaign.settings;
    let variant = variant(request.keys, campaign, &person.customer);
    let letter = Letter {
        message_id: person.message_id.as_ref().map_or("", |id| id.as_str()),
        variant,
        step: person.step,
        // Whoever has no address is never written to; what their letter would need is known all the same.
        to: match settings.channel {
            Channel::Email => person.address.as_deref().unwrap_or(&settings.reply_to),
            Channel::Webhook => person.customer.as_str(),
        },
    };
    let about = About { plan, campaign: &campaign.name, as_of: request.as_of };
    open::envelope(settings, request.brand, &about, &letter, specimen(settings, request.public_url), request.as_of)
}

/// An unsubscribe link that unsubscribes nobody, for messages that are only looked at; there where the message sent has one.
pub(super) fn specimen(settings: &CampaignSettings, public_url: &str) -> Option<String> {
    settings.kind.has_way_out(settings.channel).then(|| format!("{}/u/preview", public_url.trim_end_matches('/')))
}

/// The variant a person is given.
pub(super) fn variant<'a>(keys: &Keys, campaign: &'a Campaign, customer: &CustomerId) -> Option<&'a str> {
    let weights = campaign.settings.variants.iter().map(|(name, weight)| (name.as_str(), *weight));
    ids::variant(keys, &campaign.name, customer, weights)
}

/// A plan in which too many lack what the templates need is not made. The share is rounded up to whole people.
fn too_many_missing(campaign: &Campaign, people: &[(Person, Option<Reason>)]) -> Result<(), CampaignError> {
    let missing = || people.iter().filter_map(|(_, reason)| reason.as_ref()).filter(|reason| matches!(reason, Reason::MissingField(_)));
    let allowed = (campaign.settings.max_missing.fraction() * people.len() as f64).ceil();
    let found = missing().count();
    if found as f64 <= allowed {
        return Ok(());
    }
    let fields = gates::tally(missing());
    let fields: Vec<String> = fields.iter().map(|(key, count)| format!("{} ({count})", key.trim_start_matches("missing_field:"))).collect();
    let message = format!(
        "{found} of {} people in `{}` lack a value the templates need: {}; more than max_missing ({}) allows, so nothing was planned",
        people.len(),
        campaign.settings.segment,
        fields.join(", "),
        campaign.settings.max_missing,
    );
    Err(CampaignError::failed(
        Diagnosis::new("max_missing", message)
            .in_file(campaign.file())
            .hint("see whether a source lost the values; else give them a default in the template, or raise max_missing"),
    ))
}

/// Freezes one campaign's decisions, enters the draft, and approves it where the campaign may do that itself.
async fn freeze(
    request: &PlanRequest<'_>,
    tables: &Tables,
    campaign: &Campaign,
    contender: Contender,
    ready: Ready,
) -> Result<Made, CampaignError> {
    let settings = &campaign.settings;
    let Ready { segment, templates, files, notes } = ready;
    let people = contender.people;
    let decisions: Vec<PlanRow> = people
        .iter()
        .map(|(person, reason)| PlanRow {
            customer: person.customer.clone(),
            reason: reason.clone(),
            variant: reason.is_none().then(|| variant(request.keys, campaign, &person.customer)).flatten().map(str::to_owned),
            occasion: person.occasion.clone(),
            step: person.step,
            message_id: person.message_id.clone(),
            // A note to staff wakes no customer.
            send_after: reason.is_none().then(|| {
                let quiet = request.limits.quiet_hours.filter(|_| settings.kind != Kind::Internal);
                quiet.and_then(|quiet| quiet.end(request.as_of, person.zone)).unwrap_or(request.as_of)
            }),
            tombstone: None,
        })
        .collect();
    let seen = frozen::planned_rows(segment.rows(), decisions.iter().map(PlanRow::is_planned))?;
    let draft = Draft {
        campaign,
        as_of: request.as_of,
        replay: request.replay,
        practice: request.practice,
        brand: request.brand,
        versions: request.versions,
        templates: files,
        decisions,
        seen,
    };
    let name = draft.name(request.keys)?;
    let known = request.ledger.plan(&name.plan).await?;
    if let Some(record) = known.as_ref().filter(|record| !may_be_planned_again(record)) {
        return Ok(existing(record, Vec::new()));
    }
    let before = request.ledger.plan_before(&campaign.name, request.as_of, request.replay).await?;
    let changes = before.as_ref().and_then(|record| changes(request, tables, record, &draft, &segment));
    let (mut warnings, doubts) = warnings(request, campaign, &draft, before.as_ref(), notes);
    let auto = settings.approval == Approval::Auto && draft.planned() > 0;
    if let Some(record) = known.filter(|record| record.status == PlanStatus::Draft) {
        // The process that made it may have died before its rule approved it.
        let record = if auto && doubts.is_empty() { approve_by_rule(request, record).await? } else { record };
        return Ok(existing(&record, Vec::new()));
    }
    if auto && !doubts.is_empty() {
        warnings.insert(0, format!("this campaign approves itself, but not this time: {}", doubts.join("; ")));
    }
    let samples = samples(request, campaign, &people, &draft.seen, &templates, &name.plan)?;
    let page = Page {
        plan: &name.plan,
        campaign,
        brand: request.brand,
        as_of: request.as_of,
        replay: request.replay,
        practice: request.practice,
        approves_itself: auto && doubts.is_empty(),
        about: segment_words(request.root, &settings.segment),
        people: review::people(&people, &segment)?,
        decisions: &draft.decisions,
        changes,
        samples,
        warnings: &warnings,
    };
    let page = review::write(&page)?;
    let folder = draft.write(request.root, &name, &page)?;
    let new = NewPlan {
        plan: name.plan.clone(),
        campaign: campaign.name.clone(),
        kind: settings.kind.as_str().to_owned(),
        channel: settings.channel.as_str().to_owned(),
        segment: settings.segment.clone(),
        as_of: request.as_of,
        replay: request.replay,
        hash: name.hash,
        in_segment: draft.decisions.len() as u64,
        planned: draft.planned(),
        excluded: draft.excluded(),
        expires_at: request.now + settings.expires.delta(),
        run: request.run.map(str::to_owned),
    };
    let mut record = match request.ledger.draft(&new, request.now).await? {
        Drafted::New(record) => record,
        Drafted::Known(record) => return Ok(existing(&record, Vec::new())),
        Drafted::Blocked(record) => return Ok(existing(&record, standing_words(&record))),
    };
    tracing::info!(plan = %record.plan, in_segment = record.in_segment, planned = record.planned, "plan made");
    if auto && doubts.is_empty() {
        record = approve_by_rule(request, record).await?;
    }
    Ok(Made { summary: record.summary(), fresh: true, review: folder.join(frozen::REVIEW), warnings })
}

/// Whether planning the same content again changes anything: a draft may be due for its campaign's own approval, and what was superseded
/// or has expired stands again.
fn may_be_planned_again(record: &PlanRecord) -> bool {
    matches!(record.status, PlanStatus::Draft | PlanStatus::Superseded | PlanStatus::Expired)
}

async fn approve_by_rule(request: &PlanRequest<'_>, record: PlanRecord) -> Result<PlanRecord, CampaignError> {
    let frozen = FrozenPlan::open(request.root, request.ledger, request.keys, &record.plan).await?;
    Ok(request.ledger.approve(&record.plan, "auto", &record.hash, &frozen.assignments()?, request.now).await?)
}

/// What a person should look at before approving, and of it what keeps a campaign from approving itself.
fn warnings(
    request: &PlanRequest<'_>,
    campaign: &Campaign,
    draft: &Draft<'_>,
    before: Option<&PlanRecord>,
    notes: Vec<String>,
) -> (Vec<String>, Vec<String>) {
    let settings = &campaign.settings;
    let mut doubts = Vec::new();
    if request.replay {
        doubts.push("this is a plan for another time than the present one; it is not sent without --allow-replay".to_owned());
    }
    if let Some(most) = settings.max_recipients.filter(|most| draft.planned() > *most) {
        doubts.push(format!("it would reach {} people, more than the {most} this campaign expects (max_recipients)", draft.planned()));
    }
    if let Some(before) = before {
        let (now, then) = (draft.decisions.len() as f64, before.in_segment as f64);
        let change = (now - then).abs() / then.max(1.0);
        if change > settings.max_change.fraction() {
            doubts.push(format!(
                "the segment has {} people, it had {} in the plan before: a change of more than {} (max_change)",
                draft.decisions.len(),
                before.in_segment,
                settings.max_change
            ));
        }
    }
    let mut warnings = doubts.clone();
    let missing = draft.decisions.iter().filter(|row| matches!(row.reason, Some(Reason::MissingField(_)))).count();
    if missing > 0 {
        warnings.push(format!("{missing} people stay out because we lack a value the message needs"));
    }
    if let Some(offer) = settings.offer.as_ref().filter(|offer| offer.valid.delta() < TimeDelta::days(4)) {
        warnings.push(format!("the offer {} ends soon: it holds for {} from the day of this plan", offer.code, offer.valid));
    }
    let late = draft.decisions.iter().filter(|row| row.send_after.is_some_and(|at| at > request.as_of)).count();
    if late > 0 {
        warnings.push(format!("it is night for {late} of them; theirs waits until the morning where they live"));
    }
    warnings.extend(notes);
    (warnings, doubts)
}

/// Who came and who went since the plan before; nothing where that plan's files are gone.
fn changes(request: &PlanRequest<'_>, tables: &Tables, before: &PlanRecord, draft: &Draft<'_>, segment: &Segment) -> Option<Changes> {
    let then = frozen::read_decisions(&request.root.join(frozen::plan_folder(&before.plan))).ok()?;
    let was: HashSet<&str> = then.iter().filter(|row| row.tombstone.is_none()).map(|row| row.customer.as_str()).collect();
    let is: HashSet<&str> = draft.decisions.iter().map(|row| row.customer.as_str()).collect();
    let names = review::names(segment).ok()?;
    let entered = draft.decisions.iter().zip(names).filter(|(row, _)| !was.contains(row.customer.as_str()));
    let entered = entered.map(|(row, name)| (row.customer.to_string(), name)).collect();
    let mut gone: Vec<&str> = was.difference(&is).copied().collect();
    gone.sort_unstable();
    let mut known = tables.names(&gone.iter().copied().collect()).ok()?;
    let left = gone.into_iter().map(|id| (id.to_owned(), known.remove(id).unwrap_or_default())).collect();
    Some(Changes { since: before.as_of, entered, left })
}

/// Real messages of real recipients: one of each letter and variant, and the people whose names test a template.
fn samples(
    request: &PlanRequest<'_>,
    campaign: &Campaign,
    people: &[(Person, Option<Reason>)],
    seen: &RecordBatch,
    templates: &Templates,
    plan: &PlanId,
) -> Result<Vec<review::Sample>, CampaignError> {
    let planned: Vec<&Person> = people.iter().filter(|(_, reason)| reason.is_none()).map(|(person, _)| person).collect();
    let labels: Vec<(i64, Option<&str>)> =
        planned.iter().map(|person| (person.step, variant(request.keys, campaign, &person.customer))).collect();
    let mut samples = Vec::new();
    for (at, why) in review::choose(seen, &labels)? {
        let Some(row) = rows(&seen.slice(at, 1))?.pop() else { continue };
        let message = templates.render(&row, &sample_envelope(request, campaign, planned[at], plan))?;
        samples.push(review::Sample { at, why, customer: planned[at].customer.to_string(), message });
    }
    Ok(samples)
}

/// What the segment's SQL file says of itself.
fn segment_words(root: &Path, segment: &str) -> Option<String> {
    first_paragraph(&std::fs::read_to_string(root.join("sql/segments").join(format!("{segment}.sql"))).ok()?)
}

/// The first paragraph of a file's first comment after the front matter; what follows an empty line of it is for whoever edits the file.
fn first_paragraph(sql: &str) -> Option<String> {
    let body = sql.split_once("*/").map_or(sql, |(_, body)| body);
    let lines = body.lines().map(str::trim).skip_while(|line| line.is_empty()).map_while(|line| line.strip_prefix("--"));
    let words = lines.map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    (!words.is_empty()).then_some(words)
}

/// A complaint about the data, at the setting that brought it up.
fn at_setting(error: CampaignError, request: &PlanRequest<'_>, campaign: &Campaign, key: &str) -> CampaignError {
    match error {
        CampaignError::Told { mut diagnosis, exit } if diagnosis.file.is_none() => {
            let text = std::fs::read_to_string(request.root.join(campaign.file())).unwrap_or_default();
            let place = locate(&text, &[key]);
            (diagnosis.line, diagnosis.column) = (place.map(|(line, _)| line), place.map(|(_, column)| column));
            diagnosis.file = Some(campaign.file());
            CampaignError::Told { diagnosis, exit }
        }
        other => other,
    }
}

pub(super) fn in_project(mut diagnosis: Diagnosis, root: &Path) -> Diagnosis {
    if let Some(inside) = diagnosis.file.as_deref().and_then(|file| file.strip_prefix(root).ok()) {
        diagnosis.file = Some(inside.to_owned());
    }
    diagnosis
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_the_first_paragraph_of_a_segment_s_comment() {
        let sql =
            "/* ---\nkey = 'customer_id'\n--- */\n\n-- People gone quiet\n-- for longer than usual.\n--\n-- The join is left.\nselect 1";
        assert_eq!(first_paragraph(sql).as_deref(), Some("People gone quiet for longer than usual."));
        assert_eq!(first_paragraph("select 1"), None);
    }
}
