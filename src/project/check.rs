//! Everything that can be known to be wrong before a run: settings, sources, SQL, campaigns and their templates. Jobs stand above this
//! room; the command adds what is wrong with them.

use std::path::Path;

use super::{Project, raw_schemas};
use crate::{
    campaign::Campaign,
    clock::SharedClock,
    config::Folder,
    diagnosis::{Diagnosis, Failure, Finding, Severity},
    message::Templates,
    source::Source,
};

/// Looks at the whole project and says everything that is wrong, not only the first thing. Unless `offline`, asks each source one
/// question, to see that it answers and lets us in.
pub async fn check(folder: &Folder, clock: SharedClock, offline: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let project = match Project::open(folder.clone(), clock) {
        Ok(project) => project,
        Err(failure) => return vec![Finding::error(*failure.diagnosis)],
    };
    let (sources, unusable) = Source::load_usable(folder);
    findings.extend(unusable);
    findings.extend(sources.iter().flat_map(|source| source.check(project.root())));
    findings.extend(project.deployment().delivery.check(project.keys().are_practice()));
    findings.extend(brand_findings(&project));
    let campaigns = kept(project.campaigns(), &mut findings).unwrap_or_default();
    sql_and_templates(&project, &sources, &campaigns, &mut findings).await;
    if !offline {
        for source in sources.iter().filter(|source| !source.is_practice()) {
            findings.extend(source.probe(None, project.root(), project.clock().clone()).await);
        }
    }
    findings.sort_by(|a, b| (a.severity, &a.diagnosis.file, a.diagnosis.line).cmp(&(b.severity, &b.diagnosis.file, b.diagnosis.line)));
    findings
}

/// The value, or its failure as a finding.
fn kept<T>(result: Result<T, Failure>, findings: &mut Vec<Finding>) -> Option<T> {
    result.map_err(|failure| findings.push(Finding::error(*failure.diagnosis))).ok()
}

async fn sql_and_templates(project: &Project, sources: &[Source], campaigns: &[Campaign], findings: &mut Vec<Finding>) {
    let (Some(library), Some(engine)) = (kept(project.library(), findings), kept(project.engine(), findings)) else { return };
    let raw = raw_schemas(sources);
    findings.extend(library.check(&engine, &raw).await);
    let broken_sql = findings.iter().any(|finding| finding.severity == Severity::Error);
    for campaign in campaigns {
        let (brand, segment) = (&project.deployment().brand, &campaign.settings.segment);
        let Some(templates) = kept(
            Templates::load(&project.root().join(&campaign.folder), campaign.settings.channel, brand, false).map_err(Failure::from),
            findings,
        ) else {
            continue;
        };
        if !library.segments().any(|file| file.name == *segment) {
            findings.push(Finding::error(
                Diagnosis::new("unknown_segment", format!("there is no segment `{segment}`"))
                    .in_file(campaign.file())
                    .hint("write the SQL file in sql/segments, or correct the name"),
            ));
            continue;
        }
        match library.schema_of(&engine, &raw, segment).await {
            Ok(columns) => {
                findings.extend(templates.check(&columns).into_iter().map(|finding| relative(finding, project.root())));
            }
            // What is wrong with the SQL has been said already.
            Err(_) if broken_sql => {}
            Err(error) => findings.push(Finding::error(*Failure::from(error).diagnosis)),
        }
    }
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
fn brand_findings(project: &Project) -> Vec<Finding> {
    let brand = &project.deployment().brand;
    let mut findings = Vec::new();
    let mut error = |message: &str, hint: &str| {
        findings.push(Finding::error(Diagnosis::new("brand", message).in_file("config/perennial.toml").hint(hint)));
    };
    if brand.from.to_lowercase().contains("noreply@") || brand.from.to_lowercase().contains("no-reply@") {
        error("letters must come from an address that can be answered", "set `from` in [brand] to a mailbox somebody reads");
    }
    if brand.postal_address.iter().all(|line| line.trim().is_empty()) {
        error("the brand has no postal address", "set `postal_address` in [brand]; the law asks for it, and so do readers");
    }
    if brand.timezone.parse::<chrono_tz::Tz>().is_err() {
        error(&format!("`{}` is not a time zone", brand.timezone), "write a name of the IANA zone database, such as `Europe/Berlin`");
    }
    if brand.domain.ends_with(".example") && !project.keys().are_practice() {
        findings.push(Finding::warning(
            Diagnosis::new("brand", format!("`{}` is a placeholder", brand.domain))
                .in_file("config/perennial.toml")
                .hint("fill in [brand] before writing to people"),
        ));
    }
    findings
}
