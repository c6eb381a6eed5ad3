//! Gathers what the site tells: the project's files, what planning them says, and what the ledger knows of the last build.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use arrow::util::display::array_value_to_string;
use chrono::{DateTime, Utc};
use datafusion::scalar::ScalarValue;

use super::super::{TableColumns, Tables, schema::words};
use crate::{
    campaign::Campaign,
    config::{self, Folder},
    diagnosis::{Diagnosis, Failure, Finding, Severity},
    engine::{self, FunctionDoc, Origin, parse_select},
    ledger::{LastBuild, Ledger, LedgerError, PullRecord},
    model::{CONTACT_TABLES, Kind, Library, SqlFile, test_cases},
    report,
    secret::Keys,
    source::Source,
};

/// A job, as the site tells of it. Jobs stand above this room: whoever asks for the site hands them in.
#[derive(Debug, Clone)]
pub struct JobEntry {
    /// Its name.
    pub name: String,
    /// The file it is written in, relative to the project.
    pub file: PathBuf,
    /// When it is due, as its file says.
    pub schedule: String,
    /// The clock it goes by, IANA.
    pub timezone: String,
    /// What it does, in order, in the words of its file.
    pub steps: Vec<String>,
    /// Whether it delivers what was approved when it runs on its schedule.
    pub deliver: bool,
}

/// Everything the site tells.
#[derive(Debug)]
pub(super) struct Facts {
    /// Whose project it is; none where the deployment does not say.
    pub(super) brand: Option<String>,
    /// Whether the people behind the numbers are invented.
    pub(super) practice: bool,
    /// The tables and staging files, by kind and name.
    pub(super) tables: Vec<TableFacts>,
    /// The campaigns, by name.
    pub(super) campaigns: Vec<CampaignFacts>,
    /// The jobs, each with what its file says of it.
    pub(super) jobs: Vec<(JobEntry, Option<String>)>,
    /// The functions of our own.
    pub(super) functions: Vec<FunctionDoc>,
    /// What reads what: from the table that is read to the one that reads it, by their places in `tables`.
    pub(super) reads: BTreeSet<(usize, usize)>,
    /// What only audits look at, alike.
    pub(super) audits: BTreeSet<(usize, usize)>,
    /// What is wrong beside the tables.
    pub(super) findings: Vec<Finding>,
}

/// A table, or a staging file.
#[derive(Debug)]
pub(super) struct TableFacts {
    /// What it is and its columns.
    pub(super) told: TableColumns,
    /// Whom to ask.
    pub(super) owner: Option<String>,
    /// The SQL that makes it.
    pub(super) sql: Option<String>,
    /// What must be true of it, as it is written.
    pub(super) audits: Vec<String>,
    /// Its parameters.
    pub(super) params: Vec<Param>,
    /// The values of the run that it binds, such as `as_of`.
    pub(super) bound: Vec<String>,
    /// Raw tables, and how old the last pull of each may be.
    pub(super) ages: Vec<(String, String)>,
    /// Its tests: each file with the names of its cases.
    pub(super) tests: BTreeMap<PathBuf, Vec<String>>,
    /// Tables it names and nobody knows.
    pub(super) unknown: Vec<String>,
    /// What is wrong with its file.
    pub(super) findings: Vec<Finding>,
    /// The broken tables it rests on, where its own columns are not known because of them, by their places.
    pub(super) waits_for: Vec<usize>,
    /// Who uses it beside other tables, campaigns and jobs: a command or a part of the program, in words.
    pub(super) users: Vec<User>,
    /// What columns hold that its file says nothing of and hands on as they are: the place of the table that says it, and its words.
    pub(super) handed_on: BTreeMap<String, (usize, String)>,
    /// How it stands.
    pub(super) standing: Standing,
}

/// Who uses a table beside other tables, campaigns and jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    /// `perennial report NAME` prints it.
    Report,
    /// The report of a campaign reads it.
    CampaignReport,
    /// Each person's present state, which is looked at when a message is sent, is read from it.
    Sending,
}

/// A parameter of a file.
#[derive(Debug)]
pub(super) struct Param {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) default: String,
}

/// How a table stands, as far as the ledger knows.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The rows readers see.
    pub(super) rows: Option<u64>,
    /// The logical time of the build that made what readers see.
    pub(super) as_of: Option<DateTime<Utc>>,
    /// The last build that looked at it.
    pub(super) build: Option<LastBuild>,
    /// Of a raw table, the last pull of its stream.
    pub(super) pull: Option<PullRecord>,
}

/// A campaign.
#[derive(Debug)]
pub(super) struct CampaignFacts {
    pub(super) campaign: Campaign,
    /// What its file says of it in its first lines.
    pub(super) about: Option<String>,
    /// The place of its segment in the tables; none where there is no such segment.
    pub(super) segment: Option<usize>,
}

impl TableFacts {
    pub(super) fn kind(&self) -> Kind {
        self.told.entry.kind
    }

    pub(super) fn name(&self) -> &str {
        &self.told.entry.table
    }

    /// Whether its file cannot be used.
    pub(super) fn is_broken(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

impl Facts {
    /// Reads the project.
    ///
    /// # Errors
    /// Where an SQL file cannot be read, or the engine's settings do not fit.
    pub(super) async fn gather(folder: &Folder, jobs: Vec<JobEntry>) -> Result<Self, Failure> {
        let (tables, mut findings) = Tables::read(folder)?;
        let (described, of_sql) = tables.described().await?;
        findings.extend(of_sql);
        let library = tables.library();
        let mut facts: Vec<TableFacts> = described.into_iter().map(|told| table(library, told)).collect();
        facts.sort_by(|a, b| (a.kind(), a.name()).cmp(&(b.kind(), b.name())));
        let places = Places::of(&facts);
        let (reads, audits) = edges(library, &places, &mut facts);
        let (cases, broken) = test_cases(library.root());
        findings.extend(broken.into_iter().map(Finding::error));
        for case in cases {
            if let Some(place) = places.file(library, &case.test) {
                facts[place].tests.entry(case.file).or_default().push(case.name);
            }
        }
        for (name, standing) in standing(folder.root(), &tables).await {
            if let Some(place) = places.readable(&name) {
                facts[place].standing = standing;
            }
        }
        findings.retain(|finding| {
            let file = finding.diagnosis.file.as_deref();
            match facts.iter_mut().find(|facts| facts.sql.is_some() && facts.told.entry.files.first().map(PathBuf::as_path) == file) {
                Some(facts) => facts.findings.push(finding.clone()),
                None => return true,
            }
            false
        });
        waiting(&mut facts, &reads);
        hand_on(library, &mut facts, &reads);
        let (campaigns, unusable) = Campaign::load_usable(folder);
        findings.extend(unusable);
        let campaigns = campaigns.into_iter().map(|campaign| CampaignFacts {
            about: folder.text(&campaign.file()).ok().and_then(|text| first_comment(&text)),
            segment: places.built(&campaign.settings.segment).filter(|place| facts[*place].kind() == Kind::Segment),
            campaign,
        });
        let jobs = jobs.into_iter().map(|job| {
            let about = folder.text(&job.file).ok().and_then(|text| first_comment(&text));
            (job, about)
        });
        let deployment = tables.deployment();
        let keys = deployment.and_then(|deployment| Keys::open(&deployment.keys.master, folder.root()).ok());
        Ok(Self {
            brand: deployment.map(|deployment| deployment.brand.name.clone()),
            practice: keys.is_some_and(|keys| keys.are_practice()) || tables.sources().iter().any(Source::is_practice),
            campaigns: campaigns.collect(),
            jobs: jobs.collect(),
            functions: engine::documentation(),
            reads,
            audits,
            tables: facts,
            findings: findings.into_iter().map(|finding| inside(finding, folder.root())).collect(),
        })
    }

    /// Everything that is wrong.
    pub(super) fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().chain(self.tables.iter().flat_map(|table| &table.findings))
    }
}

/// A finding whose file is named by its path in the project.
fn inside(mut finding: Finding, root: &Path) -> Finding {
    if let Some(path) = finding.diagnosis.file.as_ref().and_then(|file| file.strip_prefix(root).ok()) {
        finding.diagnosis.file = Some(path.to_owned());
    }
    finding
}

/// What a table's file says of it.
fn table(library: &Library, told: TableColumns) -> TableFacts {
    let file = library.get(&told.entry.table).filter(|file| file.kind == told.entry.kind);
    let front = file.map(|file| file.front.clone()).unwrap_or_default();
    let bound = file.and_then(SqlFile::parsed).map(|parsed| parsed.params.clone()).unwrap_or_default();
    let mut users = Vec::new();
    match told.entry.kind {
        Kind::Metric => users.push(User::Report),
        Kind::Canonical | Kind::Ledger => {
            let name = told.entry.table.as_str();
            let of_report = parse_select(report::ARMS, Origin::NOWHERE).is_ok_and(|report| report.tables.contains(name));
            users.extend(of_report.then_some(User::CampaignReport));
            users.extend(CONTACT_TABLES.contains(&name).then_some(User::Sending));
        }
        Kind::Raw | Kind::Staging | Kind::Model | Kind::Segment => {}
    }
    TableFacts {
        owner: front.owner,
        sql: file.map(|file| file.sql.clone()),
        audits: front.audits.iter().map(|placed| placed.text.clone()).collect(),
        bound: bound.into_iter().filter(|name| !front.params.contains_key(name)).collect(),
        params: front.params.iter().map(param).collect(),
        ages: front.max_age.iter().map(|(table, age)| (table.clone(), age.to_string())).collect(),
        tests: BTreeMap::new(),
        unknown: Vec::new(),
        findings: Vec::new(),
        waits_for: Vec::new(),
        handed_on: BTreeMap::new(),
        users,
        standing: Standing::default(),
        told,
    }
}

fn param((name, value): (&String, &ScalarValue)) -> Param {
    let default = value.to_array().and_then(|array| Ok(array_value_to_string(&array, 0)?));
    Param { name: name.clone(), kind: words(&value.data_type()), default: default.unwrap_or_else(|_| value.to_string()) }
}

/// Where tables stand among the facts.
struct Places {
    by_kind: BTreeMap<(Kind, String), usize>,
}

impl Places {
    fn of(facts: &[TableFacts]) -> Self {
        Self { by_kind: facts.iter().enumerate().map(|(place, table)| ((table.kind(), table.name().to_owned()), place)).collect() }
    }

    fn get(&self, kind: Kind, name: &str) -> Option<usize> {
        self.by_kind.get(&(kind, name.to_owned())).copied()
    }

    /// A table that a build makes.
    fn built(&self, name: &str) -> Option<usize> {
        [Kind::Canonical, Kind::Ledger, Kind::Model, Kind::Segment, Kind::Metric].into_iter().find_map(|kind| self.get(kind, name))
    }

    /// A table that can be queried.
    fn readable(&self, name: &str) -> Option<usize> {
        self.built(name).or_else(|| self.get(Kind::Raw, name))
    }

    /// An SQL file by its name.
    fn file(&self, library: &Library, name: &str) -> Option<usize> {
        self.get(library.get(name)?.kind, name)
    }
}

type Edges = BTreeSet<(usize, usize)>;

/// What reads what, and what audits look at. Names that are no table's are kept with those who name them.
fn edges(library: &Library, places: &Places, facts: &mut [TableFacts]) -> (Edges, Edges) {
    let (mut reads, mut audits) = (Edges::new(), Edges::new());
    for file in library.files() {
        let Some(to) = places.get(file.kind, &file.name) else { continue };
        let find = |name: &str| match file.kind {
            Kind::Staging => places.get(Kind::Raw, name).or_else(|| places.get(Kind::Ledger, name)),
            _ => places.built(name),
        };
        for name in file.tables() {
            match find(&name) {
                Some(from) => drop(reads.insert((from, to))),
                None => facts[to].unknown.push(name),
            }
        }
        audits.extend(file.audited_tables().iter().filter_map(|name| Some((find(name)?, to))));
        if let Some(table) = file.staged().and_then(|(_, table)| places.get(Kind::Canonical, table)) {
            reads.insert((to, table));
        }
    }
    let identities = places.get(Kind::Canonical, "identities");
    for (.., file) in library.staging_with_people() {
        reads.extend(places.get(Kind::Staging, &file.name).zip(identities));
    }
    // The program's own tables read each other: people are resolved, and amounts turned into the brand's currency.
    let graph = library.graph();
    for ((_, name), to) in places.by_kind.iter().filter(|((kind, _), _)| matches!(kind, Kind::Canonical | Kind::Ledger)) {
        reads.extend(graph.inputs(name).filter_map(|input| Some((places.get(Kind::Canonical, input)?, *to))));
    }
    audits.retain(|edge| !reads.contains(edge));
    (reads, audits)
}

/// Finds what columns hold that are handed on under their own name, from table to table. Where two tables that are read have a column of that
/// name and do not say the same of it, nothing is said.
fn hand_on(library: &Library, facts: &mut [TableFacts], reads: &Edges) {
    let said = |facts: &[TableFacts], place: usize, column: &str| -> Option<(usize, String)> {
        let entry = facts[place].told.columns.iter().find(|entry| entry.name == column)?;
        let own = entry.description.clone().map(|about| (place, about));
        own.or_else(|| facts[place].handed_on.get(column).cloned())
    };
    for name in library.graph().order().tables {
        let Some(file) = library.get(&name) else { continue };
        let Some(place) = facts.iter().position(|table| table.kind() == file.kind && table.name() == name) else { continue };
        let silent = facts[place].told.columns.iter().filter(|column| column.description.is_none() && !file.renames(&column.name));
        let found = silent.filter_map(|column| {
            let inputs = reads.iter().filter(|(_, to)| *to == place).map(|(from, _)| *from);
            let having = inputs.filter(|from| facts[*from].told.columns.iter().any(|entry| entry.name == column.name));
            let mut told: Vec<(usize, String)> = having.map(|from| said(facts, from, &column.name)).collect::<Option<_>>()?;
            told.dedup_by(|a, b| a.1 == b.1);
            if told.len() == 1 { Some((column.name.clone(), told.pop()?)) } else { None }
        });
        facts[place].handed_on = found.collect();
    }
}

/// Finds, for each file that is fine in itself and whose columns are not known, the broken ones it rests on.
fn waiting(facts: &mut [TableFacts], reads: &Edges) {
    let places = 0..facts.len();
    let lacking = places.filter(|place| facts[*place].sql.is_some() && facts[*place].told.columns.is_empty() && !facts[*place].is_broken());
    for place in lacking.collect::<Vec<_>>() {
        let (mut seen, mut open) = (BTreeSet::from([place]), vec![place]);
        while let Some(here) = open.pop() {
            open.extend(reads.iter().filter(|(_, to)| *to == here).map(|(from, _)| *from).filter(|from| seen.insert(*from)));
        }
        facts[place].waits_for = seen.into_iter().filter(|place| facts[*place].is_broken()).collect();
    }
}

/// How each table stands by its name, as far as there is a ledger that can be read.
async fn standing(root: &Path, tables: &Tables) -> BTreeMap<String, Standing> {
    let Some(deployment) = tables.deployment() else { return BTreeMap::new() };
    let read = async || -> Result<_, LedgerError> {
        let Some(ledger) = Ledger::look(root, &deployment.ledger).await? else { return Ok(BTreeMap::new()) };
        let mut standing: BTreeMap<String, Standing> = BTreeMap::new();
        for (name, table) in ledger.published_tables().await? {
            standing.entry(name).or_default().rows = table.rows;
        }
        for (name, as_of) in ledger.published_as_of().await? {
            standing.entry(name).or_default().as_of = Some(as_of);
        }
        for (name, build) in ledger.last_builds().await? {
            standing.entry(name).or_default().build = Some(build);
        }
        for pull in ledger.last_pulls().await? {
            let table = format!("{}__{}", pull.source, pull.stream);
            standing.entry(table).or_default().pull = Some(pull);
        }
        Ok(standing)
    };
    read().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the ledger cannot be read: nothing is told of the last build");
        BTreeMap::new()
    })
}

/// The comment a TOML file begins with.
fn first_comment(text: &str) -> Option<String> {
    config::comment(text.lines().map_while(|line| line.strip_prefix('#')))
}

/// Where a finding stands, in words.
pub(super) fn place(diagnosis: &Diagnosis) -> Option<String> {
    let file = diagnosis.file.as_ref()?.display();
    Some(diagnosis.line.map_or_else(|| file.to_string(), |line| format!("{file}, line {line}")))
}
