//! Audits of the tables readers see: what an audit that was just written would say of what was last built.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use serde::Serialize;

use super::{
    BrandDefaults, Kind, Library, ModelError, SqlFile, audits::Audited, canonical, file::Place, front_matter::PlacedAudit, params,
};
use crate::{diagnosis::Diagnosis, engine::Engine, lake::Lake};

/// What the audits of a table say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// The table.
    pub table: String,
    /// The file that asks for the audits; none for tables the program makes.
    pub file: Option<PathBuf>,
    /// The first that failed; none where all is well.
    pub failed: Option<Diagnosis>,
}

/// Runs the audits of every table that was built, or of those whose name contains `filter`. `change(…)` is left out: what is published
/// has not changed against itself.
///
/// # Errors
/// Where a table cannot be read.
#[allow(clippy::too_many_arguments)] // Every one is handed through from the command line.
pub async fn audit_published(
    library: &Library,
    engine: &Engine,
    lake: &Lake,
    published: &BTreeMap<String, i64>,
    as_of: DateTime<Utc>,
    brand: &BrandDefaults,
    filter: Option<&str>,
) -> Result<Vec<AuditReport>, ModelError> {
    let always = params::always(as_of, brand);
    let mut reports = Vec::new();
    for name in library.tables().iter().filter(|name| filter.is_none_or(|filter| name.contains(filter))) {
        let Some(version) = published.get(name) else { continue };
        let file = library.get(name).filter(|file| file.kind != Kind::Staging);
        let key = match (file, canonical::canonical(name).or_else(|| canonical::ledger(name))) {
            (Some(file), _) => file.front.key.clone(),
            (None, Some(table)) => table.key.iter().map(|column| (*column).to_owned()).collect(),
            (None, None) => continue,
        };
        let audits: &[PlacedAudit] = file.map_or(&[], |file| &file.front.audits);
        let usable = file.is_none_or(|file| file.problems().is_empty());
        if !usable || (key.is_empty() && audits.is_empty()) {
            continue;
        }
        let mut tables: BTreeMap<String, Arc<dyn TableProvider>> =
            BTreeMap::from([(name.clone(), lake.provider(name, Some(*version)).await?)]);
        for other in file.map(SqlFile::audited_tables).unwrap_or_default() {
            if let Some(version) = published.get(&other) {
                let provider = lake.provider(&other, Some(*version)).await?;
                tables.insert(other, provider);
            }
        }
        let session = engine.session(tables)?;
        let params = file.map_or_else(|| always.clone(), |file| file.bound(&always));
        let place = file.map_or(Place { file: None, line: 1 }, SqlFile::place);
        let audited = Audited { session: &session, table: name, place, key: &key, params: &params, previous: None };
        let failed = audited.run(audits).await?;
        // Nothing is being replaced here.
        let failed = failed.map(|told| told.hint("correct the data or the SQL, or the audit if it asks too much"));
        reports.push(AuditReport { table: name.clone(), file: file.map(|file| file.path.clone()), failed });
    }
    Ok(reports)
}
