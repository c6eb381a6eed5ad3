//! What a build has at hand: the pinned inputs, what readers see, and what it has made so far.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use datafusion::{catalog::TableProvider, scalar::ScalarValue};

use super::{BuildRequest, Outcome};
use crate::{
    config::nearest,
    diagnosis::{Diagnosis, Failure},
    engine::{EngineError, Query, Session},
    lake::{Commit, Lake, LakeError, Written},
    ledger::PublishedTable,
    model::{
        Kind, Library, ModelError,
        audits::Audited,
        canonical,
        check::result_problem,
        file::{Place, SqlFile},
        front_matter::PlacedAudit,
        graph::Graph,
        params,
        people::View,
        snapshot::{Contents, Snapshot},
        staging,
    },
};

/// What stops one table, or everything.
#[derive(Debug)]
pub(super) enum Trouble {
    /// This table keeps yesterday's version.
    Table(Box<Failure>),
    /// The build ends.
    Build(Box<ModelError>),
}

impl Trouble {
    /// The rows are not as they must be; other rows may be.
    pub(super) fn failed(diagnosis: Diagnosis) -> Self {
        Self::Table(Box::new(Failure::failed(diagnosis)))
    }
}

/// A mistake in a file.
impl From<Diagnosis> for Trouble {
    fn from(diagnosis: Diagnosis) -> Self {
        Self::Table(Box::new(Failure::wrong(diagnosis)))
    }
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Self {
        Self::Table(Box::new(error.into()))
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Table(Box::new(failure))
    }
}

impl From<ModelError> for Trouble {
    fn from(error: ModelError) -> Self {
        Self::Build(Box::new(error))
    }
}

impl From<LakeError> for Trouble {
    fn from(error: LakeError) -> Self {
        ModelError::from(error).into()
    }
}

/// A table this build made or found unchanged.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) version: i64,
    pub(super) rows: u64,
    pub(super) fingerprint: String,
    /// What it holds; empty where nobody knows.
    pub(super) content: String,
}

impl Standing {
    /// A table that stays as readers see it.
    fn of(before: &PublishedTable, fingerprint: String) -> Self {
        Self { version: before.version, rows: before.rows.unwrap_or_default(), fingerprint, content: before.content.clone() }
    }

    /// What tells whether it is the same to those that rest on it: what it holds, or where that is not known, what it was made from.
    pub(super) fn identity(&self) -> String {
        if self.content.is_empty() { self.fingerprint.clone() } else { self.content.clone() }
    }
}

/// A build at work.
#[derive(Debug)]
pub(super) struct Workshop<'a> {
    pub(super) library: &'a Library,
    pub(super) request: &'a BuildRequest<'a>,
    pub(super) graph: Graph,
    /// The values every query may bind.
    pub(super) always: BTreeMap<String, ScalarValue>,
    /// The version of every raw table that exists.
    pub(super) pins: BTreeMap<String, i64>,
    /// What readers see until this build is published; empty in a replay.
    before: BTreeMap<String, PublishedTable>,
    pub(super) standing: BTreeMap<String, Standing>,
}

impl<'a> Workshop<'a> {
    /// Pins one version of every raw table and reads what is published.
    pub(super) async fn open(library: &'a Library, request: &'a BuildRequest<'a>, raw: &BTreeSet<String>) -> Result<Self, ModelError> {
        let mut pins = BTreeMap::new();
        for table in raw {
            if let Some(version) = request.lake.latest(table).await? {
                pins.insert(table.clone(), version);
            }
        }
        let mut before = match request.scratch {
            Some(_) => BTreeMap::new(),
            None => request.ledger.published_tables().await?,
        };
        // A lake that was put back from an older copy lacks what the ledger remembers.
        let mut lost = Vec::new();
        for (name, table) in &before {
            if request.lake.latest(name).await?.is_none_or(|latest| latest < table.version) {
                lost.push(name.clone());
            }
        }
        lost.iter().for_each(|name| drop(before.remove(name)));
        let always = params::always(request.as_of, &request.brand);
        Ok(Self { library, request, graph: library.graph(), always, pins, before, standing: BTreeMap::new() })
    }

    fn target(&self) -> &'a Lake {
        self.request.scratch.unwrap_or(self.request.lake)
    }

    /// What readers see of a table once this build is published.
    pub(super) fn seen(&self, name: &str) -> Option<PublishedTable> {
        let kind = self.library.kind(name).unwrap_or(Kind::Model);
        match self.standing.get(name) {
            Some(standing) => Some(standing.published(name, kind)),
            None => self.before.get(name).cloned(),
        }
    }

    /// What the build read, made or found unchanged, and what readers see beside that: for the ledger.
    pub(super) fn publication(&self) -> (Vec<PublishedTable>, Vec<PublishedTable>) {
        let raw = self.pins.iter().map(|(name, version)| PublishedTable {
            name: name.clone(),
            kind: Kind::Raw.name().to_owned(),
            version: *version,
            rows: None,
            fingerprint: version.to_string(),
            content: String::new(),
        });
        let (made, kept): (Vec<&str>, Vec<&str>) = self.names().into_iter().partition(|name| self.standing.contains_key(*name));
        let seen = |names: Vec<&str>| names.into_iter().filter_map(|name| self.seen(name)).collect::<Vec<_>>();
        (raw.chain(seen(made)).collect(), seen(kept))
    }

    /// The version of every table readers see.
    pub(super) fn versions(&self) -> BTreeMap<String, i64> {
        self.names().into_iter().filter_map(|name| Some((name.to_owned(), self.seen(name)?.version))).collect()
    }

    pub(super) fn into_pins(self) -> BTreeMap<String, i64> {
        self.pins
    }

    fn names(&self) -> BTreeSet<&str> {
        self.before.keys().chain(self.standing.keys()).map(String::as_str).collect()
    }

    /// Makes a table, or finds that there is nothing to do.
    pub(super) async fn make(&mut self, name: &str) -> Result<Outcome, Trouble> {
        self.usable(name)?;
        self.fresh_inputs(name).await?;
        let held = match self.snapshot(name) {
            Some(snapshot) => snapshot.contents().await?,
            None => Contents::default(),
        };
        let fingerprint = self.fingerprint(name, &held.digest);
        if let Some(before) = self.before.get(name).filter(|before| before.fingerprint == fingerprint) {
            let standing = Standing::of(before, fingerprint);
            self.standing.insert(name.to_owned(), standing);
            return Ok(Outcome::Reused);
        }
        let written = self.write(name, held.rows).await?;
        let content = written.content.map(|content| format!("{content:032x}")).unwrap_or_default();
        // Readers keep the version they have, so that what rests on it is seen to rest on the same.
        let same = self.before.get(name).filter(|before| !content.is_empty() && before.content == content);
        let (standing, outcome) = match same {
            Some(before) => (Standing::of(before, fingerprint), Outcome::Same),
            None => (Standing { version: written.version, rows: written.rows, fingerprint, content }, Outcome::Built),
        };
        self.standing.insert(name.to_owned(), standing);
        Ok(outcome)
    }

    /// A part of the ledger, if the table is one.
    fn snapshot(&self, name: &str) -> Option<Snapshot> {
        canonical::ledger(name).map(|table| Snapshot::new(self.request.ledger, &table, self.request.as_of))
    }

    /// `held` tells how many rows a part of the ledger had when it was last read.
    async fn write(&self, name: &str, held: u64) -> Result<Written, Trouble> {
        match (self.snapshot(name), name, self.library.get(name)) {
            (Some(snapshot), ..) => self.write_snapshot(name, &snapshot, held == 0).await,
            (None, "identities", _) => self.write_identities().await,
            (None, _, Some(file)) => self.write_file(file).await,
            (None, ..) => self.write_canonical(name).await,
        }
    }

    /// Refuses a table whose files cannot be read.
    fn usable(&self, name: &str) -> Result<(), Trouble> {
        let files: Vec<&SqlFile> = match (self.library.get(name), name) {
            (Some(file), _) => vec![file],
            // Without a list of customers nobody knows who is who; without another staging file only its own table is missing.
            (None, "identities") => self.library.staging_of("customers").into_iter().map(|(_, file)| file).collect(),
            (None, _) => self.library.staging_of(name).into_iter().map(|(_, file)| file).collect(),
        };
        match files.into_iter().find_map(|file| file.problems().first()) {
            Some(problem) => Err(problem.clone().into()),
            None => Ok(()),
        }
    }

    /// Refuses a table one of whose raw inputs was pulled too long ago.
    async fn fresh_inputs(&self, name: &str) -> Result<(), Trouble> {
        let staging = self.library.staging_of(name).into_iter().map(|(_, file)| file);
        if self.request.scratch.is_some() {
            return Ok(());
        }
        for file in self.library.get(name).into_iter().chain(staging) {
            for (table, max_age) in &file.front.max_age {
                let (source, stream) = table.split_once("__").unwrap_or((table, ""));
                let pulled = self.request.ledger.last_pulled(source, stream).await.map_err(ModelError::from)?;
                let message = match pulled {
                    Some(at) if self.request.now - at <= max_age.delta() => continue,
                    Some(at) => format!("`{table}` was last pulled at {}, longer than {max_age} ago", at.format("%Y-%m-%d %H:%M UTC")),
                    None => format!("`{table}` was never pulled to its end, and may be at most {max_age} old"),
                };
                let hint = format!("run `perennial pull {source}.{stream}`, and build again");
                return Err(Trouble::failed(file.at_word(Diagnosis::new("stale_input", message), table).hint(hint)));
            }
        }
        Ok(())
    }

    /// A table at the version this build reads.
    pub(super) async fn provider(&self, name: &str) -> Result<Arc<dyn TableProvider>, Trouble> {
        let (lake, version) = match (self.pins.get(name), self.standing.get(name)) {
            (Some(version), _) => (self.request.lake, *version),
            (None, Some(standing)) => (self.target(), standing.version),
            (None, None) => return Err(LakeError::NoTable(name.to_owned()).into()),
        };
        Ok(lake.provider(name, Some(version)).await?)
    }

    /// A table as readers see it once this build is published; none where there is none yet.
    pub(super) async fn published_provider(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, Trouble> {
        match self.seen(name) {
            Some(table) => Ok(Some(self.target().provider(name, Some(table.version)).await?)),
            None => Ok(None),
        }
    }

    /// A session that can name these tables.
    pub(super) async fn session(&self, names: impl IntoIterator<Item = String>) -> Result<Session, Trouble> {
        let mut tables = BTreeMap::new();
        for name in names {
            let provider = self.provider(&name).await?;
            tables.insert(name, provider);
        }
        Ok(self.request.engine.session(tables)?)
    }

    /// A staging file as a table, its columns checked.
    pub(super) async fn view(
        &self,
        source: &'a str,
        table: &'a str,
        file: &'a SqlFile,
        always: &BTreeMap<String, ScalarValue>,
    ) -> Result<View<'a>, Trouble> {
        if let Some(problem) = file.problems().first() {
            return Err(problem.clone().into());
        }
        for raw in file.tables() {
            if !self.pins.contains_key(&raw) && !self.standing.contains_key(&raw) {
                return Err(self.missing_raw(file, &raw).into());
            }
        }
        let session = self.session(file.tables()).await?;
        let query = file.query(always);
        let columns = session.schema(&query).await?;
        if let Some(shape) = canonical::canonical(table)
            && let Some(problem) = staging::column_problem(&shape, file, &columns)
        {
            return Err(problem.into());
        }
        if let Some(problem) = result_problem(file, &columns) {
            return Err(problem.into());
        }
        let provider = session.view(&query).await?;
        Ok(View { source, table, file, provider, columns })
    }

    /// Runs a staging file's own audits on its rows, before anything is made of them.
    pub(super) async fn audit_view(&self, view: &View<'_>) -> Result<(), Trouble> {
        let file = view.file;
        if let Some(raw) = file.audited_tables().into_iter().find(|raw| !self.pins.contains_key(raw) && !self.standing.contains_key(raw)) {
            return Err(self.missing_raw(file, &raw).into());
        }
        self.run_audits(&file.name, Arc::clone(&view.provider), &file.front.key, &file.front.audits, Some(file)).await
    }

    fn missing_raw(&self, file: &SqlFile, raw: &str) -> Diagnosis {
        let diagnosis = file.at_word(Diagnosis::new("unknown_table", format!("nothing was pulled into `{raw}` yet")), raw);
        match nearest(raw, self.pins.keys().map(String::as_str)) {
            Some(near) => diagnosis.hint(format!("did you mean `{near}`?")),
            None => diagnosis.hint("pull its source first, or correct the name: a source's tables are called `<source>__<stream>`"),
        }
    }

    /// Writes a query's rows as the next version of a table; nobody sees it yet.
    pub(super) async fn replace(
        &self,
        name: &str,
        session: &Session,
        query: &Query<'_>,
        sorted: &[String],
        place: Place<'_>,
    ) -> Result<Written, Trouble> {
        let commit = Commit { sorted: sorted.to_owned(), ..self.commit() };
        session.replace(query, self.target(), name, commit).await.map_err(|failure| {
            // What the program's own query says is said about the file whose rows it moves.
            let told = *failure.diagnosis;
            let told = if told.file.is_none() { place.put(told, place.line) } else { told };
            // A lake that cannot be written stops everything; a column no table can hold stops this table.
            let (stops, exit) = (told.code.starts_with("lake_") && told.code != "lake_column", failure.exit);
            match stops {
                true => ModelError::Stopped(Failure { exit, diagnosis: Box::new(told) }).into(),
                false => {
                    let told = Diagnosis { message: format!("`{name}`: {}", told.message), ..told };
                    Trouble::Table(Box::new(Failure { exit, diagnosis: Box::new(told) }))
                }
            }
        })
    }

    pub(super) fn commit(&self) -> Commit {
        Commit { run: self.request.run.map(str::to_owned), ..Commit::default() }
    }

    pub(super) fn lake(&self) -> &'a Lake {
        self.target()
    }

    /// Runs a table's audits on what was just written.
    pub(super) async fn audit(
        &self,
        name: &str,
        written: Written,
        key: &[String],
        audits: &[PlacedAudit],
        file: Option<&SqlFile>,
    ) -> Result<(), Trouble> {
        let table = self.target().provider(name, Some(written.version)).await?;
        self.run_audits(name, table, key, audits, file).await
    }

    async fn run_audits(
        &self,
        name: &str,
        table: Arc<dyn TableProvider>,
        key: &[String],
        audits: &[PlacedAudit],
        file: Option<&SqlFile>,
    ) -> Result<(), Trouble> {
        let mut tables = BTreeMap::from([(name.to_owned(), table)]);
        for other in file.map(SqlFile::audited_tables).unwrap_or_default() {
            let provider = self.provider(&other).await?;
            tables.insert(other, provider);
        }
        let session = self.request.engine.session(tables)?;
        let params = file.map_or_else(|| self.always.clone(), |file| file.bound(&self.always));
        let audited = Audited {
            session: &session,
            table: name,
            place: file.map_or(Place { file: None, line: 1 }, SqlFile::place),
            key,
            params: &params,
            previous: self.before.get(name).and_then(|before| before.rows),
        };
        match audited.run(audits).await? {
            Some(failed) => Err(Trouble::failed(failed)),
            None => Ok(()),
        }
    }
}
