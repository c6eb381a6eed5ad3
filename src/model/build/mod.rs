//! The build: every table whose inputs changed is made anew, written beside what readers see, audited, and at the end published with all
//! others in one transaction of the ledger.
//!
//! A table that fails keeps yesterday's version and so does everything that rests on it; the rest is published.

mod contact;
mod fingerprint;
mod make;
mod workshop;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{BrandDefaults, Kind, Library, ModelError};
use crate::{
    config::nearest,
    diagnosis::{Diagnosis, Failure},
    engine::{Cost, Engine},
    lake::Lake,
    ledger::{Ledger, Publication, PublishedTable, TableOutcome},
};
pub(crate) use contact::CONTACT_TABLES;
use workshop::{Standing, Trouble, Workshop};

/// What to build, from what, and when it is.
#[derive(Debug)]
pub struct BuildRequest<'a> {
    /// The lake that was pulled into, and that a live build writes to.
    pub lake: &'a Lake,
    /// Where a replay writes instead; it publishes nothing.
    pub scratch: Option<&'a Lake>,
    /// The engine.
    pub engine: &'a Engine,
    /// The ledger.
    pub ledger: &'a Ledger,
    /// The brand's defaults.
    pub brand: BrandDefaults,
    /// The logical time.
    pub as_of: DateTime<Utc>,
    /// The present instant.
    pub now: DateTime<Utc>,
    /// The run this belongs to.
    pub run: Option<&'a str>,
    /// Only these tables and what they rest on; all where it is empty.
    pub only: &'a [String],
}

/// What became of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "because")]
pub enum Outcome {
    /// Made anew.
    Built,
    /// Made anew, with the same rows as before: what rests on it need not be.
    Same,
    /// Nothing it rests on has changed.
    Reused,
    /// It failed; yesterday's stays, where there is one.
    Kept(String),
    /// A table it rests on failed; yesterday's stays, where there is one.
    Blocked(String),
}

impl Outcome {
    /// The word the ledger keeps.
    fn name(&self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Same => "same",
            Self::Reused => "reused",
            Self::Kept(_) => "kept",
            Self::Blocked(_) => "blocked",
        }
    }
}

/// One table of a build.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BuiltTable {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its rows, as readers see it now.
    pub rows: u64,
    /// The version readers see; none where there is none yet.
    pub version: Option<i64>,
    /// What it took, in seconds of wall clock.
    pub seconds: f64,
    /// What its queries took.
    #[serde(flatten)]
    pub cost: Cost,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What a build did.
#[derive(Debug, Clone)]
pub struct Built {
    /// Its name; none where nothing was published, as in a replay.
    pub build: Option<String>,
    /// The logical time.
    pub as_of: DateTime<Utc>,
    /// Every table that was looked at, in the order of building.
    pub tables: Vec<BuiltTable>,
    /// The version of every built table readers should use: of the lake, or in a replay of the scratch lake.
    pub versions: BTreeMap<String, i64>,
    /// The version of every raw table that was read.
    pub pinned: BTreeMap<String, i64>,
    /// Every table that could not be made for this time, whether or not an older one stays, and the failure at the root of it.
    pub stale: BTreeMap<String, Failure>,
    /// What failed, in the order it was met; empty where all is well.
    pub failures: Vec<Failure>,
}

/// Builds what changed.
///
/// # Errors
/// Where the build cannot go on at all: an unknown name, a lake or ledger that refuses. What goes wrong with single
/// tables stands in [`Built::failures`].
pub async fn build(library: &Library, request: BuildRequest<'_>) -> Result<Built, ModelError> {
    let graph = library.graph();
    let wanted = wanted(library, &graph, request.only)?;
    let mut shop = Workshop::open(library, &request, &library.raw_under(&wanted)).await?;
    let mut tables = Vec::new();
    let mut failures: Vec<Failure> = library.strays().iter().cloned().map(Failure::wrong).collect();
    let mut stale: BTreeMap<String, Failure> = BTreeMap::new();
    for name in graph.order().tables.into_iter().filter(|name| wanted.contains(name)) {
        let started = Instant::now();
        let _before = request.engine.cost();
        let kind = library.kind(&name).unwrap_or(Kind::Model);
        let blocked = graph.inputs(&name).find_map(|input| Some((input, stale.get(input)?.clone())));
        let outcome = match blocked {
            Some((input, root)) => {
                let outcome = Outcome::Blocked(input.to_owned());
                stale.insert(name.clone(), root);
                outcome
            }
            None => match Box::pin(shop.make(&name)).await {
                Ok(outcome) => outcome,
                Err(Trouble::Table(failure)) => {
                    tracing::warn!(table = name, code = failure.diagnosis.code, "a table could not be built");
                    let reason = failure.diagnosis.message.clone();
                    stale.insert(name.clone(), (*failure).clone());
                    failures.push(*failure);
                    Outcome::Kept(reason)
                }
                Err(Trouble::Build(error)) => return Err(*error),
            },
        };
        let seen = shop.seen(&name);
        let (seconds, cost) = (started.elapsed().as_secs_f64(), request.engine.cost());
        let rows = seen.as_ref().and_then(|table| table.rows).unwrap_or_default();
        tracing::info!(
            table = name,
            rows,
            seconds,
            rows_read = cost.rows_read,
            bytes_read = cost.bytes_read,
            peak_memory = cost.peak_memory,
            spilled = cost.spilled,
            ?outcome,
            "table"
        );
        tables.push(BuiltTable { kind, rows, version: seen.map(|table| table.version), seconds, cost, outcome, name });
    }
    let made = tables.iter().any(|table| matches!(table.outcome, Outcome::Built | Outcome::Same | Outcome::Reused));
    let mut build = None;
    if made && request.scratch.is_none() {
        let contact_state = match contact::collect(&shop).await {
            Ok(state) => state,
            Err(error) => {
                failures.push(error.into());
                None
            }
        };
        let outcomes: Vec<TableOutcome> = tables.iter().map(|table| kept_of(table, &stale)).collect();
        let (tables, kept) = shop.publication();
        let (run, as_of, now) = (request.run, request.as_of, request.now);
        let publication = Publication { run, as_of, now, tables: &tables, kept: &kept, outcomes: &outcomes, contact_state };
        build = Some(request.ledger.publish(publication).await?);
    }
    let versions = shop.versions();
    Ok(Built { build, as_of: request.as_of, tables, versions, pinned: shop.into_pins(), stale, failures })
}

/// What the ledger keeps of a table: of a failure only its code, since its words may name people.
fn kept_of(table: &BuiltTable, stale: &BTreeMap<String, Failure>) -> TableOutcome {
    let because = match &table.outcome {
        Outcome::Kept(_) => stale.get(&table.name).map(|failure| failure.diagnosis.code.clone()),
        Outcome::Blocked(by) => Some(by.clone()),
        Outcome::Built | Outcome::Same | Outcome::Reused => None,
    };
    TableOutcome { table: table.name.clone(), outcome: table.outcome.name().to_owned(), because, seconds: table.seconds }
}

/// The tables to look at.
fn wanted(library: &Library, graph: &super::graph::Graph, only: &[String]) -> Result<BTreeSet<String>, ModelError> {
    let all = library.tables();
    for name in only {
        if !all.contains(name) {
            let hint = match nearest(name, all.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`perennial schema` lists the tables there are".to_owned(),
            };
            return Err(ModelError::wrong(Diagnosis::new("unknown_table", format!("no file in sql makes a table `{name}`")).hint(hint)));
        }
    }
    Ok(graph.closure(if only.is_empty() { &all } else { only }))
}

impl Standing {
    fn published(&self, name: &str, kind: Kind) -> PublishedTable {
        PublishedTable {
            name: name.to_owned(),
            kind: kind.name().to_owned(),
            version: self.version,
            rows: Some(self.rows),
            fingerprint: self.fingerprint.clone(),
            content: self.content.clone(),
        }
    }
}
