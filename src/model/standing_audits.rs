//! Audits of the tables readers see: what an audit that was just written would say of what was last built.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use datafusion::catalog::TableProvider;
use serde::Serialize;

use super::{
    Bench, Kind, ModelError, SqlFile, audits::Audited, canonical, check::result_problem, file::Place, front_matter::PlacedAudit, params,
};
use crate::diagnosis::{Diagnose, Diagnosis};

/// What the audits of a table say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// The table.
    pub table: String,
    /// The file that asks for the audits; none for tables the program makes.
    pub file: Option<PathBuf>,
    /// Whether the table lacks what the file's audits name, since the file was changed after it was built: they were not run.
    pub outdated: bool,
    /// The first that failed; none where all is well.
    pub failed: Option<Diagnosis>,
}

impl Bench<'_> {
    /// Runs the audits of every table that was built, or of those whose name contains `filter`. `change(…)` is left out: what is published
    /// has not changed against itself.
    ///
    /// # Errors
    /// Where a table cannot be read.
    pub async fn audits(&self, filter: Option<&str>) -> Result<Vec<AuditReport>, ModelError> {
        let mut reports = Vec::new();
        for name in self.library.tables().iter().filter(|name| filter.is_none_or(|filter| name.contains(filter))) {
            let Some(version) = self.published.get(name) else { continue };
            let file = self.library.get(name).filter(|file| file.kind != Kind::Staging);
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
            let mut report = AuditReport { table: name.clone(), file: file.map(|file| file.path.clone()), outdated: false, failed: None };
            let table = self.lake.provider(name, Some(*version)).await?;
            if file.is_some_and(|file| result_problem(file, &table.schema()).is_some()) {
                report.outdated = true;
            } else {
                report.failed = self.audit(name, table, &key, audits, file).await?;
            }
            reports.push(report);
        }
        Ok(reports)
    }

    async fn audit(
        &self,
        name: &str,
        table: Arc<dyn TableProvider>,
        key: &[String],
        audits: &[PlacedAudit],
        file: Option<&SqlFile>,
    ) -> Result<Option<Diagnosis>, ModelError> {
        let mut tables: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::from([(name.to_owned(), table)]);
        for other in file.map(SqlFile::audited_tables).unwrap_or_default() {
            if let Some(version) = self.published.get(&other) {
                let provider = self.lake.provider(&other, Some(*version)).await?;
                tables.insert(other, provider);
            }
        }
        let session = self.engine.session(tables)?;
        let always = params::always(self.as_of, &self.brand);
        let params = file.map_or_else(|| always.clone(), |file| file.bound(&always));
        let place = file.map_or(Place { file: None, line: 1 }, SqlFile::place);
        let audited = Audited { session: &session, table: name, place, key, params: &params, previous: None };
        // An audit that cannot be run fails like one that finds something, and the others are still told.
        let failed = audited.run(audits).await.unwrap_or_else(|error| Some(error.diagnosis()));
        // Nothing is being replaced here.
        Ok(failed.map(
            |told| if told.code == "audit" { told.hint("correct the data or the SQL, or the audit if it asks too much") } else { told },
        ))
    }
}
