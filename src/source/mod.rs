//! Pages of what the shop knows become rows of the lake, under the pull law.
//!
//! | file | what it answers |
//! |---|---|
//! | `settings.rs` | what `config/sources/<source>.toml` may say, and what is checked before the first request |
//! | `schema.rs` | the same, as editors are told |
//! | `preset.rs` | settings that come with the program |
//! | `columns.rs`, `values.rs` | declared types, and which values fit them |
//! | `deletes.rs` | how deleted rows are seen |
//! | `extra.rs`, `held.rs` | fields that nobody declared, and declared ones that no longer come |
//! | `rows.rs` | a row, whatever shape its source gives it |
//! | `intake.rs` | rows in, record batches out; keys, versions and the cursor are followed on the way |
//! | `pull/` | the pull law; how rows are merged, and how a table is replaced |
//! | `quarantine.rs` | where rows go that do not fit |
//! | `retry.rs` | how long to wait before asking again |
//! | `http/`, `file/`, `database/` | one folder a kind of source |

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::datatypes::SchemaRef;
use serde::Serialize;
use tokio::{sync::Semaphore, task::JoinSet};
use url::Url;

use crate::{
    clock::SharedClock,
    config::{ConfigError, Folder, nearest, parse, parse_filled},
    diagnosis::{Diagnose, Diagnosis, Finding},
    lake::Lake,
    ledger::{Ledger, PullRecord},
    secret::{Keys, SecretRef},
};

mod columns;
pub(crate) mod database;
mod deletes;
mod error;
mod extra;
#[cfg(test)]
mod fake;
mod file;
mod held;
mod http;
mod intake;
mod json;
#[cfg(test)]
mod law_tests;
mod preset;
mod progress;
mod pull;
mod quarantine;
mod retry;
mod rows;
mod schema;
mod settings;
#[cfg(test)]
mod tests;
mod values;

pub use error::{BadValue, PullFailure, SourceError, StreamName};
pub(crate) use http::{
    token::{Desk as TokenDesk, Grant as TokenGrant, Vault},
    write_back::{Answer, News, Section as WriteBackSection},
};
pub use progress::Progress;
pub use schema::SOURCE_FILE;

use database::{
    reader::DatabaseReader,
    settings::{DatabaseSettings, DatabaseSource},
};
use file::{reader::FileReader, settings::FileSettings, store::FileSource};
use http::{
    budget::Purse,
    job::JobReader,
    pace::{Pace, Rate},
    reader::{HttpReader, HttpSource, Shared},
    settings::HttpSettings,
    write_back::{Section, Teller},
};
use pull::{Reader, Scene};
use settings::{JustKind, Kind, OnBadValue, Spot, Stream, check_name};

/// Where the sources' settings lie in a project.
const FOLDER: &str = "config/sources";
/// How many sources are pulled at the same time.
const AT_ONCE: usize = 4;

/// One source as its settings describe it; cheap to clone.
#[derive(Debug, Clone)]
pub struct Source {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    file: PathBuf,
    reach: Reach,
    streams: Vec<Arc<Stream>>,
    write_back: Vec<Arc<Section>>,
}

#[derive(Debug)]
enum Reach {
    Http(Box<HttpSource>),
    Files(Box<FileSource>),
    Database(Box<DatabaseSource>),
}

impl Source {
    /// All sources of a project, by name.
    ///
    /// # Errors
    /// At the first settings file that cannot be used, with line and hint.
    pub fn load_all(folder: &Folder) -> Result<Vec<Self>, SourceError> {
        folder.toml_files(Path::new(FOLDER))?.iter().map(|file| Self::load(folder, file)).collect()
    }

    /// All sources that can be used, and what is wrong with the others.
    #[must_use]
    pub fn load_usable(folder: &Folder) -> (Vec<Self>, Vec<Finding>) {
        let files = match folder.toml_files(Path::new(FOLDER)) {
            Ok(files) => files,
            Err(error) => return (vec![], vec![Finding::error(error.diagnosis())]),
        };
        let (mut sources, mut findings) = (vec![], vec![]);
        for file in files {
            match Self::load(folder, &file) {
                Ok(source) => sources.push(source),
                Err(error) => findings.push(Finding::error(error.diagnosis())),
            }
        }
        (sources, findings)
    }

    fn load(folder: &Folder, file: &Path) -> Result<Self, SourceError> {
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self::parse(&name, file, &folder.text(file)?)?)
    }

    /// Reads the settings of the source `name` from the text of `file`.
    pub(crate) fn parse(name: &str, file: &Path, text: &str) -> Result<Self, ConfigError> {
        let spot = Spot::top(file, text);
        check_name(&spot, &[], "source", name)?;
        let filled = preset::filled(text, file)?;
        let JustKind { kind } = read(filled.as_ref(), text, file)?;
        let (mut streams, mut write_back) = (Vec::new(), Vec::new());
        let named = |stream: &str| -> Result<StreamName, ConfigError> {
            check_name(&spot, &["streams", stream], "stream", stream)?;
            Ok(StreamName::new(name, stream))
        };
        let reach = match kind {
            Kind::Http => {
                let settings: HttpSettings = read(filled.as_ref(), text, file)?;
                let source = HttpSource::new(&settings).map_err(|(key, message)| spot.wrong(&[key], "bad_value", message, None))?;
                for (stream, settings) in settings.streams {
                    if let Some(param) = source.auth.param()
                        && settings.params.contains_key(param)
                    {
                        let message = format!("the parameter `{param}` is also set by `auth`");
                        let hint = Some("remove it from `params`".to_owned());
                        return Err(spot.wrong(&["streams", &stream, "params", param], "param_clash", message, hint));
                    }
                    streams.push(Stream::http(&spot, named(&stream)?, settings)?);
                }
                for (section, settings) in settings.write_back {
                    check_name(&spot, &["write_back", &section], "section", &section)?;
                    write_back.push(Arc::new(Section::new(&spot, StreamName::new(name, section), settings, source.is_practice())?));
                }
                Reach::Http(Box::new(source))
            }
            Kind::File => {
                let settings: FileSettings = read(filled.as_ref(), text, file)?;
                let source = FileSource::new(&settings).map_err(|(place, message)| spot.wrong(&place, "bad_value", message, None))?;
                for (stream, settings) in settings.streams {
                    streams.push(Stream::file(&spot, named(&stream)?, settings)?);
                }
                Reach::Files(Box::new(source))
            }
            Kind::Database => {
                let settings: DatabaseSettings = read(filled.as_ref(), text, file)?;
                let source = DatabaseSource::new(&settings).map_err(|(key, message)| spot.wrong(&[key], "bad_value", message, None))?;
                for (stream, settings) in settings.streams {
                    streams.push(Stream::database(&spot, named(&stream)?, settings)?);
                }
                Reach::Database(Box::new(source))
            }
        };
        deletes::resolve(&spot, &mut streams)?;
        let streams = streams.into_iter().map(Arc::new).collect();
        Ok(Self { inner: Arc::new(Inner { name: name.to_owned(), file: file.to_owned(), reach, streams, write_back }) })
    }

    /// The source's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its settings file, relative to the project.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.inner.file
    }

    /// Its streams, by name.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamName> {
        self.inner.streams.iter().map(|stream| stream.name.clone()).collect()
    }

    /// Its streams in the order they are pulled: those that list deletions before the others.
    fn in_order(&self) -> Vec<Arc<Stream>> {
        let mut streams = self.inner.streams.clone();
        streams.sort_by_key(|stream| !self.lists(stream));
        streams
    }

    /// Whether a stream lists the deletions of another one.
    fn lists(&self, stream: &Stream) -> bool {
        self.inner.streams.iter().filter_map(|other| other.events.as_ref()).any(|events| events.stream == stream.name)
    }

    /// The tables it fills, quarantine included, and their columns.
    #[must_use]
    pub fn schemas(&self) -> BTreeMap<String, SchemaRef> {
        let mut schemas = BTreeMap::new();
        for stream in &self.inner.streams {
            schemas.insert(stream.name.table(), stream.columns.schema.clone());
            if stream.on_bad_value == OnBadValue::Quarantine {
                schemas.insert(stream.name.quarantine(), quarantine::schema());
            }
        }
        schemas
    }

    /// What one of the tables it fills is, in a sentence.
    #[must_use]
    pub fn describe(&self, table: &str) -> String {
        let of = |name: fn(&StreamName) -> String| self.inner.streams.iter().find(|stream| name(&stream.name) == table);
        match (of(StreamName::table), of(StreamName::quarantine)) {
            (Some(stream), _) => format!("The stream `{}` of the source `{}`, as pulled.", stream.name.stream, self.name()),
            (None, Some(stream)) => format!("Rows of the stream `{}` that did not fit, whole, with the reason.", stream.name.stream),
            (None, None) => String::new(),
        }
    }

    /// Whether it belongs to the practice shop.
    #[must_use]
    pub fn is_practice(&self) -> bool {
        self.http().is_some_and(HttpSource::is_practice)
    }

    fn http(&self) -> Option<&HttpSource> {
        if let Reach::Http(source) = &self.inner.reach { Some(source) } else { None }
    }

    /// What it is told of what happens here, by name.
    pub(crate) fn write_back(&self) -> &[Arc<Section>] {
        &self.inner.write_back
    }

    /// Why it may not be told anything: with the practice keys, nothing leaves this machine.
    pub(crate) fn must_not_be_told(&self, practice_keys: bool) -> Option<Diagnosis> {
        let Reach::Http(source) = &self.inner.reach else { return None };
        if !practice_keys || self.inner.write_back.is_empty() || source.is_near() {
            return None;
        }
        let host = source.base_url.host_str().unwrap_or_default();
        let message = format!("with the practice keys the program tells nobody but this machine anything, not `{host}`");
        let hint = "set your own `[keys] master` before other systems are called, or remove `[write_back]`";
        Some(Diagnosis::new("practice", message).in_file(&self.inner.file).hint(hint))
    }

    /// What makes the calls of a section.
    pub(crate) fn teller(&self, section: &Arc<Section>, root: &Path, clock: SharedClock, vault: Vault) -> Result<Teller, SourceError> {
        match &self.inner.reach {
            Reach::Http(source) => Teller::new(source, Arc::clone(section), root, clock, vault),
            _ => Err(SourceError::Broken { at: section.name.clone(), reason: "only sources over HTTP are told anything".to_owned() }),
        }
    }

    /// What can be known to be wrong in the project of `root` without asking the source.
    #[must_use]
    pub fn check(&self, root: &Path) -> Vec<Finding> {
        let mut findings = Vec::new();
        match &self.inner.reach {
            Reach::Http(source) => {
                findings.extend(self.missing_secrets(root, source.auth.secrets()));
                if source.is_exposed() {
                    findings.push(Finding::warning(
                        Diagnosis::new("exposed_secret", format!("the secret of `{}` travels unencrypted", self.name()))
                            .in_file(&self.inner.file)
                            .hint("write `https://` in `base_url`"),
                    ));
                }
            }
            Reach::Database(source) => findings.extend(self.missing_secrets(root, source.password.iter().collect())),
            Reach::Files(source) => {
                findings.extend(self.missing_secrets(root, source.secrets()));
                for stream in &self.inner.streams {
                    if let Err(error) = file::reader::check(stream, root) {
                        findings.push(Finding::warning(error.diagnosis()));
                    }
                }
            }
        }
        if self.inner.streams.is_empty() && self.inner.write_back.is_empty() {
            let told = Diagnosis::new("no_streams", format!("the source `{}` has no streams", self.name()));
            findings.push(Finding::warning(told.in_file(&self.inner.file).hint("add a section `[streams.<name>]`, or remove the file")));
        }
        findings
    }

    fn missing_secrets(&self, root: &Path, secrets: Vec<&SecretRef>) -> Vec<Finding> {
        let missing = secrets.into_iter().filter_map(|secret| secret.resolve(root).err());
        missing.map(|error| Finding::warning(Diagnosis { file: Some(self.inner.file.clone()), ..error.diagnosis() })).collect()
    }

    /// Asks the source for one page, to see whether it can be reached and knows us: the first one of its first stream. Files that lie
    /// elsewhere are looked for and not fetched, those of every stream. A source that exchanges refresh tokens is not asked: the new one
    /// could get lost.
    pub async fn probe(&self, practice: Option<&Url>, root: &Path, clock: SharedClock) -> Vec<Finding> {
        if let Reach::Files(source) = &self.inner.reach {
            return self.look(source, root).await;
        }
        // A job is not started only to look.
        let Some(stream) = self.inner.streams.iter().find(|stream| stream.job().is_none()) else { return vec![] };
        if matches!(&self.inner.reach, Reach::Http(source) if source.auth.uses_up()) {
            tracing::info!(source = self.name(), "not asked: that could use up its refresh token");
            return vec![];
        }
        let ask = async {
            let window = pull::open(stream, None, clock.now(), true).window;
            let mut reader = self.reader(stream, practice, root, clock, "check", Shared::default())?;
            reader.start(&window, None).await?;
            reader.page().await
        };
        match ask.await {
            Ok(_) => vec![],
            Err(error) => vec![self.unreached(&error)],
        }
    }

    fn unreached(&self, error: &SourceError) -> Finding {
        let told = error.diagnosis();
        Finding::error(Diagnosis { file: told.file.or_else(|| Some(self.inner.file.clone())), ..told })
    }

    async fn look(&self, source: &FileSource, root: &Path) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (nth, stream) in self.inner.streams.iter().enumerate() {
            let looked = match FileReader::new(source, Arc::clone(stream), root) {
                Ok(mut reader) => reader.look(nth == 0).await,
                Err(error) => Err(error),
            };
            findings.extend(looked.err().map(|error| self.unreached(&error)));
        }
        findings
    }

    fn reader(
        &self,
        stream: &Arc<Stream>,
        practice: Option<&Url>,
        root: &Path,
        clock: SharedClock,
        run: &str,
        shared: Shared,
    ) -> Result<Box<dyn Reader>, SourceError> {
        Ok(match &self.inner.reach {
            Reach::Http(source) => {
                let reader = HttpReader::new(source, Arc::clone(stream), practice, root, clock, run, shared)?;
                match stream.job() {
                    Some(job) => Box::new(JobReader::new(reader, job.clone())),
                    None => Box::new(reader),
                }
            }
            Reach::Files(source) => Box::new(FileReader::new(source, Arc::clone(stream), root)?),
            Reach::Database(source) => Box::new(DatabaseReader::new(source, Arc::clone(stream), root, run)?),
        })
    }
}

/// What a column holds that no source declares: the program adds it to its tables.
#[must_use]
pub fn made_column(table: &str, column: &str) -> Option<&'static str> {
    match column {
        columns::PULLED_AT => Some("when it was pulled"),
        columns::DELETED_AT => Some("since when it is gone at its source; null while it is there"),
        extra::EXTRA => Some("the fields nobody declared, as JSON"),
        "key" if table.ends_with("__quarantine") => Some("the row's key, or where it stood"),
        "field" if table.ends_with("__quarantine") => Some("the field that does not fit"),
        "reason" if table.ends_with("__quarantine") => Some("why it does not"),
        "row" if table.ends_with("__quarantine") => Some("the whole row, as JSON"),
        _ => None,
    }
}

/// Reads settings, those of a preset included.
fn read<T: serde::de::DeserializeOwned>(filled: Option<&toml::Table>, text: &str, file: &Path) -> Result<T, ConfigError> {
    match filled {
        Some(filled) => parse_filled(filled, text, file),
        None => parse(text, file),
    }
}

/// The streams that words of the form `SOURCE` or `SOURCE.STREAM` name.
///
/// # Errors
/// Where there is no such source or stream; with the nearest one.
pub fn select(sources: &[Source], words: &[String]) -> Result<Vec<StreamName>, SourceError> {
    let all: Vec<StreamName> = sources.iter().flat_map(Source::streams).collect();
    let mut selected = Vec::new();
    for word in words {
        let matching: Vec<&StreamName> = all.iter().filter(|name| *word == name.source || *word == name.to_string()).collect();
        if matching.is_empty() && !sources.iter().any(|source| source.name() == word) {
            let names: Vec<String> =
                sources.iter().map(|source| source.name().to_owned()).chain(all.iter().map(StreamName::to_string)).collect();
            let hint = match nearest(word, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => format!("there are no sources yet; describe one in {FOLDER}/"),
                None => format!("there are: {}", names.join(", ")),
            };
            return Err(SourceError::Unknown { name: word.clone(), hint });
        }
        for name in matching {
            if !selected.contains(name) {
                selected.push(name.clone());
            }
        }
    }
    Ok(selected)
}

/// What to pull, and with what.
#[derive(Debug)]
pub struct PullRequest<'a> {
    /// The project's sources.
    pub sources: &'a [Source],
    /// The streams to pull; empty: all.
    pub only: &'a [StreamName],
    /// Whether everything is read, whatever the cursors say.
    pub full: bool,
    /// Where rows go.
    pub lake: &'a Lake,
    /// Where it is recorded.
    pub ledger: &'a Ledger,
    /// What seals the tokens that the ledger keeps.
    pub keys: &'a Keys,
    /// The run it is part of.
    pub run: &'a str,
    /// The wall clock: it fixes the upper bounds.
    pub clock: SharedClock,
    /// The practice shop, where one is running.
    pub practice: Option<&'a Url>,
    /// The project folder.
    pub root: &'a Path,
    /// How it is shown.
    pub progress: Progress,
}

/// One stream that is in the lake.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pulled {
    /// The source.
    pub source: String,
    /// The stream.
    pub stream: String,
    /// Rows that came.
    pub rows: u64,
    /// Rows that were new.
    pub inserted: u64,
    /// Rows that replaced an earlier one.
    pub updated: u64,
    /// Rows newly marked as deleted.
    pub deleted: u64,
    /// Rows set aside because they did not fit.
    pub quarantined: u64,
    /// Bytes of the pages or files they came in.
    pub bytes: u64,
    /// Requests sent, or files read.
    pub requests: u64,
    /// Requests among them that were repeated.
    pub retries: u64,
    /// How long it took.
    pub seconds: f64,
}

/// The pace of each host that a source sets a rate for.
fn paces(sources: &[Source]) -> BTreeMap<String, Arc<Pace>> {
    let mut rates: BTreeMap<String, Vec<Rate>> = BTreeMap::new();
    for source in sources.iter().filter_map(Source::http) {
        if let Some(rate) = &source.rate {
            rates.entry(source.host()).or_default().push(rate.clone());
        }
    }
    rates.into_iter().map(|(host, rates)| (host, Arc::new(Pace::new(rates)))).collect()
}

/// Pulls streams into the lake: sources beside each other, the streams of one source one after the other unless it allows more `at_once`.
/// A stream that fails does not stop the others.
///
/// # Errors
/// After all have been tried, where some could not be pulled.
pub async fn pull(request: PullRequest<'_>) -> Result<Vec<Pulled>, PullFailure> {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let had_rows = request.ledger.streams_with_rows().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the ledger does not say which streams had rows");
        Default::default()
    });
    let had_rows = Arc::new(had_rows);
    let paces = paces(request.sources);
    let mut tasks = JoinSet::new();
    for source in request.sources {
        let mut streams = source.in_order();
        streams.retain(|stream| request.only.is_empty() || request.only.contains(&stream.name));
        let one = OneSource {
            source: source.clone(),
            streams,
            lake: request.lake.clone(),
            ledger: request.ledger.clone(),
            shared: Shared {
                vault: Some(Vault { ledger: request.ledger.clone(), keys: request.keys.clone() }),
                pace: source.http().and_then(|http| paces.get(&http.host())).cloned(),
                purse: source.http().and_then(|http| http.budget.clone()).map(|budget| Arc::new(Purse::new(budget))),
            },
            run: request.run.to_owned(),
            full: request.full,
            clock: request.clock.clone(),
            practice: request.practice.cloned(),
            root: request.root.to_owned(),
            progress: request.progress.clone(),
            had_rows: Arc::clone(&had_rows),
        };
        let room = Arc::clone(&room);
        tasks.spawn(async move {
            // The semaphore is never closed.
            let _place = room.acquire_owned().await.ok();
            one.pull().await
        });
    }
    let (mut pulled, mut failed) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(streams) => {
                for stream in streams {
                    match stream {
                        Ok(stream) => pulled.push(stream),
                        Err(error) => failed.push(error),
                    }
                }
            }
            Err(error) => {
                let at = StreamName::new("?", "?");
                failed.push(SourceError::Broken { at, reason: error.to_string() });
            }
        }
    }
    pulled.sort_by(|a, b| (&a.source, &a.stream).cmp(&(&b.source, &b.stream)));
    failed.sort_by_key(ToString::to_string);
    if failed.is_empty() { Ok(pulled) } else { Err(PullFailure { pulled, failed }) }
}

/// The streams of one source.
struct OneSource {
    source: Source,
    streams: Vec<Arc<Stream>>,
    lake: Lake,
    ledger: Ledger,
    shared: Shared,
    run: String,
    full: bool,
    clock: SharedClock,
    practice: Option<Url>,
    root: PathBuf,
    progress: Progress,
    had_rows: Arc<std::collections::BTreeSet<(String, String)>>,
}

impl OneSource {
    async fn pull(self) -> Vec<Result<Pulled, SourceError>> {
        let room = Arc::new(Semaphore::new(self.source.http().map_or(1, |source| source.at_once)));
        let this = Arc::new(self);
        let mut done = Vec::new();
        // What lists deletions has to be there before the rows it marks come.
        for lists in [true, false] {
            let mut tasks = JoinSet::new();
            for stream in this.streams.iter().filter(|stream| this.source.lists(stream) == lists) {
                // The semaphore is never closed.
                let place = Arc::clone(&room).acquire_owned().await.ok();
                let (this, stream) = (Arc::clone(&this), Arc::clone(stream));
                tasks.spawn(async move {
                    let _place = place;
                    this.stream(&stream).await
                });
            }
            while let Some(stream) = tasks.join_next().await {
                let broken = |error: tokio::task::JoinError| {
                    let at = StreamName::new(this.source.name(), "?");
                    Err(SourceError::Broken { at, reason: error.to_string() })
                };
                done.push(stream.unwrap_or_else(broken));
            }
        }
        done
    }

    async fn stream(&self, stream: &Arc<Stream>) -> Result<Pulled, SourceError> {
        let StreamName { source, stream: name } = stream.name.clone();
        let mut progress = self.progress.stream(&stream.name);
        let started_at = self.clock.now();
        let mut record = PullRecord::begin(&self.run, &source, &name, started_at);
        record.deletes = Some(stream.sees_deletes().to_owned());
        self.record(&record).await;
        let scene = Scene {
            lake: self.lake.clone(),
            clock: self.clock.clone(),
            run: self.run.clone(),
            full: self.full,
            chunk_rows: intake::CHUNK_ROWS,
            had_rows: self.had_rows.contains(&(source.clone(), name.clone())),
        };
        let shared = self.shared.clone();
        let reader = self.source.reader(stream, self.practice.as_ref(), &self.root, self.clock.clone(), &self.run, shared);
        let (outcome, effort) = match reader {
            Ok(reader) => pull::pull(&scene, stream, reader, &mut progress).await,
            Err(error) => (Err(error), Default::default()),
        };
        let finished_at = self.clock.now();
        record.finished_at = Some(finished_at);
        record.requests = effort.requests;
        record.retries = effort.retries;
        match outcome {
            Ok(outcome) => {
                record.rows = outcome.rows;
                record.bytes = outcome.bytes;
                record.inserted = outcome.inserted;
                record.updated = outcome.updated;
                record.deleted = outcome.deleted;
                record.quarantined = outcome.quarantined;
                record.cursor = outcome.cursor;
                record.drift = outcome.drift;
                record.cursor_at = outcome.cursor_at.and_then(chrono::DateTime::from_timestamp_micros);
                self.record(&record).await;
                let pulled = Pulled {
                    source,
                    stream: name,
                    rows: outcome.rows,
                    inserted: outcome.inserted,
                    updated: outcome.updated,
                    deleted: outcome.deleted,
                    quarantined: outcome.quarantined,
                    bytes: outcome.bytes,
                    requests: effort.requests,
                    retries: effort.retries,
                    seconds: (finished_at - started_at).as_seconds_f64().max(0.0),
                };
                progress.done(&pulled);
                Ok(pulled)
            }
            Err(error) => {
                record.error = Some(error.for_the_record());
                self.record(&record).await;
                progress.failed();
                Err(error)
            }
        }
    }

    /// The record is for people; a pull whose rows are in the lake does not fail for the want of it.
    async fn record(&self, record: &PullRecord) {
        if let Err(error) = self.ledger.record_pull(record).await {
            tracing::warn!(%error, "the pull could not be recorded");
        }
    }
}
