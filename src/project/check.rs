//! Everything that can be known to be wrong before a run: settings, sources, SQL, campaigns and their templates. Jobs stand above this
//! room; the command adds what is wrong with them.

use std::path::Path;

use arrow::datatypes::SchemaRef;

use super::{Deployment, raw_schemas};
use crate::{
    campaign::Campaign,
    clock::SharedClock,
    config::{Folder, nearest},
    delivery::DeliverySettings,
    diagnosis::{Diagnose, Diagnosis, Failure, Finding},
    engine::{Engine, EngineSettings},
    lake::Lake,
    ledger::Ledger,
    message::{Brand, Channel, Message, Templates},
    model::Library,
    secret::Keys,
    source::Source,
};

/// Looks at the whole project and says everything that is wrong, not only the first thing. Unless `offline`, asks each source one
/// question, to see that it answers and lets us in.
pub async fn check(folder: &Folder, clock: SharedClock, offline: bool) -> Vec<Finding> {
    let (deployment, mistakes) = folder.usable_deployment::<Deployment>();
    let mut findings: Vec<Finding> = mistakes.iter().map(|mistake| Finding::error(mistake.diagnosis())).collect();
    if let Some(deployment) = &deployment {
        check_deployment(deployment, folder.root(), &mut findings);
    }
    let (sources, unusable) = Source::load_usable(folder);
    findings.extend(unusable);
    findings.extend(sources.iter().flat_map(|source| source.check(folder.root())));
    let keys = deployment.as_ref().and_then(|deployment| Keys::open(&deployment.keys.master, folder.root()).ok());
    let practice = keys.is_some_and(|keys| keys.are_practice());
    findings.extend(sources.iter().filter_map(|source| source.must_not_be_told(practice)).map(Finding::error));
    let (campaigns, unusable) = Campaign::load_usable(folder);
    findings.extend(unusable);
    check_sql_and_letters(folder, deployment.as_ref(), &sources, &campaigns, &mut findings).await;
    if !offline {
        if let Some(deployment) = deployment.as_ref().filter(|deployment| deployment.lake.is_far())
            && let Some(lake) = kept(Lake::open(folder.root(), &deployment.lake), &mut findings)
        {
            kept(lake.tables().await, &mut findings);
        }
        for source in sources.iter().filter(|source| !source.is_practice()) {
            findings.extend(source.probe(None, folder.root(), clock.clone()).await);
        }
    }
    let mut told: Vec<Finding> = Vec::new();
    for finding in findings.into_iter().map(|finding| relative(finding, folder.root())) {
        // What is wrong with the brand is met again in every campaign.
        if !told.contains(&finding) {
            told.push(finding);
        }
    }
    told
}

fn check_deployment(deployment: &Deployment, root: &Path, findings: &mut Vec<Finding>) {
    let practice = kept(Keys::open(&deployment.keys.master, root), findings).is_some_and(|keys| keys.are_practice());
    kept(Ledger::present(root, &deployment.ledger), findings);
    findings.extend(deployment.delivery.check(practice, root));
    findings.extend(brand_findings(&deployment.brand, practice));
}

/// The value, or its failure as a finding.
fn kept<T, E: Into<Failure>>(result: Result<T, E>, findings: &mut Vec<Finding>) -> Option<T> {
    result.map_err(|error| findings.push(Finding::error(*error.into().diagnosis))).ok()
}

async fn check_sql_and_letters(
    folder: &Folder,
    deployment: Option<&Deployment>,
    sources: &[Source],
    campaigns: &[Campaign],
    findings: &mut Vec<Finding>,
) {
    let settings = deployment.map_or_else(EngineSettings::default, |deployment| deployment.engine.clone());
    let (library, engine) = (kept(Library::load(folder.root()), findings), kept(Engine::new(folder.root(), &settings), findings));
    let mut sql = None;
    if let (Some(library), Some(engine)) = (&library, &engine) {
        let planned = library.plan(engine, &raw_schemas(sources)).await;
        findings.extend(planned.findings);
        sql = Some((library, planned.columns));
    }
    for campaign in campaigns {
        let templates = deployment.and_then(|deployment| {
            let folder = folder.root().join(&campaign.folder);
            kept(Templates::load(&folder, campaign.settings.channel, &deployment.brand, false), findings)
        });
        findings.extend(templates.as_ref().and_then(|templates| campaign.check_way_out(templates)));
        let Some((library, columns)) = &sql else { continue };
        let segment = &campaign.settings.segment;
        if !library.segments().any(|file| file.name == *segment) {
            let diagnosis = Diagnosis::new("unknown_segment", format!("there is no segment `{segment}`"));
            let hint = match nearest(segment, library.segments().map(|file| file.name.as_str())) {
                Some(near) => format!("did you mean `{near}`? Otherwise write sql/segments/{segment}.sql"),
                None => format!("write sql/segments/{segment}.sql, or correct the name"),
            };
            findings.push(Finding::error(campaign.at_key(folder, "segment", diagnosis.hint(hint))));
            continue;
        }
        // Where its columns are not known, what is wrong with the SQL has been said already.
        if let Some(columns) = columns.get(segment) {
            findings.extend(campaign.check_columns(folder, columns));
            findings.extend(templates.iter().flat_map(|templates| templates.check(columns)));
            if let (Some(templates), Some(deployment)) = (&templates, deployment) {
                findings.extend(call_findings(folder, &deployment.delivery, campaign, templates, columns));
            }
        }
    }
}

/// Whether a campaign's calls fit the system they go to.
fn call_findings(
    folder: &Folder,
    delivery: &DeliverySettings,
    campaign: &Campaign,
    templates: &Templates,
    columns: &SchemaRef,
) -> Option<Finding> {
    if campaign.settings.channel != Channel::Webhook {
        return None;
    }
    // What cannot be filled in has been said already.
    let calls = templates.samples(columns).filter_map(|made| match made {
        Ok(Message::Webhook { body }) => Some(body),
        _ => None,
    });
    let told = delivery.try_out(campaign.settings.receiver.as_deref(), &calls.collect::<Vec<_>>(), folder.root()).err()?;
    Some(Finding::error(match told.code.as_str() {
        "unknown_receiver" => campaign.at_key(folder, "receiver", told),
        _ => told.in_file(campaign.folder.join("webhook.json")),
    }))
}

fn relative(mut finding: Finding, root: &Path) -> Finding {
    if let Some(file) = &finding.diagnosis.file
        && let Ok(inside) = file.strip_prefix(root)
    {
        finding.diagnosis.file = Some(inside.to_owned());
    }
    finding
}

/// What would embarrass a sender.
fn brand_findings(brand: &Brand, practice: bool) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        brand.findings().into_iter().map(|told| Finding::error(told.in_file("config/perennial.toml"))).collect();
    if brand.from.to_lowercase().contains("noreply@") || brand.from.to_lowercase().contains("no-reply@") {
        findings.push(Finding::error(
            Diagnosis::new("brand", "letters must come from an address that can be answered")
                .in_file("config/perennial.toml")
                .hint("set `from` in [brand] to a mailbox somebody reads"),
        ));
    }
    if brand.domain.ends_with(".example") && !practice {
        findings.push(Finding::warning(
            Diagnosis::new("brand", format!("`{}` is a placeholder", brand.domain))
                .in_file("config/perennial.toml")
                .hint("fill in [brand] before writing to people"),
        ));
    }
    findings
}
