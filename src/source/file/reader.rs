//! Files to pages of rows. Fetching, unpacking and reading run beside the taking in.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Schema, SchemaRef, TimeUnit},
};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use futures::StreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, Receiver, Sender},
};

use super::{
    delta::{self, Due, Table, is_table},
    encoding,
    list::{self, Ended},
    place::Place,
    remote::{Object, Remote, Trouble},
    settings::{FileFormat, FileStream},
    store::FileSource,
};
use crate::{
    config::nearest,
    source::{
        columns::{Column, Columns, Format, Origin, Rows, Rules, Type},
        error::{SourceError, StreamName},
        http::pages::path,
        pull::{Effort, Reader, Window},
        rows::{ArrayColumn, Line, Lines, Page, PageRows},
        settings::{Reads, Stream},
        values::{self, Misfit},
    },
};

/// Rows a page.
const PAGE: usize = 8192;
/// A page of long rows is given out early.
const PAGE_BYTES: usize = 16 << 20;
/// A line longer than this is no row: the whole file would come into memory with it.
const LONGEST_LINE: u64 = 64 << 20;
/// Pages read ahead.
const AHEAD: usize = 2;
/// File systems tell the time of a change no finer than this.
const STILL: Duration = Duration::from_secs(2);

/// The files of one stream.
#[derive(Debug)]
pub(crate) struct FileReader {
    stream: Arc<Stream>,
    root: PathBuf,
    remote: Option<Remote>,
    /// The files that earlier pulls took in, and what changes whenever their bytes do.
    known: BTreeMap<String, String>,
    /// The same, with those of this pull.
    taken: BTreeMap<String, String>,
    /// Whether files taken in by earlier pulls are left alone.
    only_new: bool,
    pages: Option<Receiver<Result<Page, SourceError>>>,
    files: u64,
    /// Whether they are a Delta table.
    is_table: bool,
}

impl FileReader {
    /// A reader of a stream's files, wherever they lie; relative paths count from `root`.
    pub(crate) fn new(source: &FileSource, stream: Arc<Stream>, root: &Path) -> Result<Self, SourceError> {
        let settings = file(&stream)?;
        let remote = Remote::open(source, &settings.path, root).map_err(|trouble| told(&stream, settings_of(&stream), trouble))?;
        let (only_new, is_table) = (settings.new_files_only, settings.written() == Some(FileFormat::Delta));
        let (known, taken) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { stream, root: root.to_owned(), remote, known, taken, only_new, pages: None, files: 0, is_table })
    }

    /// The files the stream names, sorted.
    async fn find(&self, looked: bool) -> Result<Vec<Found>, SourceError> {
        let Some(remote) = &self.remote else { return find(&self.stream, &self.root) };
        let objects = remote.list(looked).await.map_err(|trouble| told(&self.stream, settings_of(&self.stream), trouble))?;
        let found = objects.into_iter().map(|object| Found {
            name: PathBuf::from(&object.name),
            stamp: object.stamp.clone(),
            object: Some(object),
        });
        Ok(found.collect())
    }

    /// The Delta table the stream names.
    async fn table(&self) -> Result<Table, SourceError> {
        let path = &file(&self.stream)?.path;
        let table = Table::open(self.remote.as_ref(), &self.root, path).await;
        table.map_err(|trouble| told(&self.stream, settings_of(&self.stream), trouble))?.ok_or_else(|| missing(&self.stream))
    }

    /// Reads one version of a Delta table: what is new in it, where that is asked for.
    async fn start_table(&mut self) -> Result<(), SourceError> {
        let table = self.table().await?;
        let due = if self.only_new { table.due(&self.known).await } else { Due::All };
        self.taken = table.stamp();
        tracing::info!(stream = %self.stream.name, version = table.version(), due = due.name(), "reads a Delta table");
        self.files = match &due {
            Due::All => table.files,
            Due::Added(files) => files.len() as u64,
            Due::Nothing => 0,
        };
        let (sender, pages) = mpsc::channel(AHEAD);
        self.pages = Some(pages);
        if due == Due::Nothing {
            return Ok(());
        }
        let stream = Arc::clone(&self.stream);
        let provider = table.provider(due).await.map_err(|trouble| told(&stream, settings_of(&stream), trouble))?;
        tokio::task::spawn_blocking(move || {
            let file = PathBuf::from(table.name());
            let reading = Reading { stream: &stream, file: &file, sender: &sender };
            if let Err(Stop::Error(error)) = reading.table(&table, provider) {
                let _ = sender.blocking_send(Err(*error));
            }
        });
        Ok(())
    }

    /// Looks whether the files can be reached, for a check; reads the first page of a `first` stream, where that fetches nothing.
    pub(crate) async fn look(&mut self, first: bool) -> Result<(), SourceError> {
        let near = self.remote.is_none();
        if self.is_table {
            return self.table().await.map(drop);
        }
        if near && !first {
            return Ok(());
        }
        if self.find(true).await?.is_empty() {
            return if self.only_new { Ok(()) } else { Err(missing(&self.stream)) };
        }
        if near {
            self.start(&Window::default(), None).await?;
            self.page().await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Reader for FileReader {
    async fn start(&mut self, _window: &Window, _mark: Option<&Value>) -> Result<(), SourceError> {
        if self.is_table {
            return self.start_table().await;
        }
        let mut files = self.find(self.only_new).await?;
        // Whoever takes files away once they are read leaves nothing behind on a quiet day.
        if files.is_empty() && self.known.is_empty() {
            return Err(missing(&self.stream));
        }
        if self.only_new {
            let all = files.len();
            files.retain(|file| file.stamp.is_none() || file.stamp.as_ref() != self.known.get(&file.key()));
            tracing::info!(stream = %self.stream.name, files = files.len(), of = all, "files that are new or changed");
            self.taken.clone_from(&self.known);
            self.taken.extend(files.iter().filter_map(|file| Some((file.key(), file.stamp.clone()?))));
        }
        self.files = files.len() as u64;
        let (sender, pages) = mpsc::channel(AHEAD);
        self.pages = Some(pages);
        let (stream, root, remote) = (Arc::clone(&self.stream), self.root.clone(), self.remote.clone());
        tokio::task::spawn_blocking(move || {
            for file in files {
                let reading = Reading { stream: &stream, file: &file.name, sender: &sender };
                match reading.read(&root, file.object.as_ref().zip(remote.as_ref())) {
                    Ok(()) => {}
                    Err(Stop::Error(error)) => {
                        // Where nobody listens any more, nobody needs the error either.
                        let _ = sender.blocking_send(Err(*error));
                        return;
                    }
                    Err(Stop::NobodyListens) => return,
                }
            }
        });
        Ok(())
    }

    async fn page(&mut self) -> Result<Option<Page>, SourceError> {
        match &mut self.pages {
            Some(pages) => pages.recv().await.transpose(),
            None => Ok(None),
        }
    }

    fn recall(&mut self, taken: &Value) {
        if self.only_new {
            self.known = serde_json::from_value(taken.clone()).unwrap_or_default();
        }
    }

    fn taken(&self) -> Option<Value> {
        self.only_new.then(|| serde_json::to_value(&self.taken).ok()).flatten()
    }

    fn effort(&self) -> Effort {
        Effort { requests: self.files, retries: 0 }
    }
}

/// One file of a stream.
#[derive(Debug)]
pub(crate) struct Found {
    /// As people know it: relative to the project, or with its bucket.
    name: PathBuf,
    /// What changes whenever its bytes do; `None` where nobody can tell.
    stamp: Option<String>,
    object: Option<Object>,
}

impl Found {
    fn key(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }
}

fn file(stream: &Stream) -> Result<&FileStream, SourceError> {
    match &stream.reads {
        Reads::File(settings) => Ok(settings),
        _ => Err(SourceError::Broken { at: stream.name.clone(), reason: "something else was looked for in files".to_owned() }),
    }
}

fn settings_of(stream: &Stream) -> PathBuf {
    PathBuf::from(format!("config/sources/{}.toml", stream.name.source))
}

fn told(stream: &Stream, file: PathBuf, trouble: Trouble) -> SourceError {
    let at = stream.name.clone();
    match trouble {
        Trouble::Secret(error) => SourceError::Secret { at, error },
        Trouble::Told { reason, hint } => SourceError::File { at, file, line: None, reason, hint },
    }
}

/// There is no file where the stream looks for some.
pub(crate) fn missing(stream: &Stream) -> SourceError {
    let path = file(stream).map_or("", |settings| settings.path.as_str());
    let place = Place::of(path).unwrap_or(Place::Folder);
    let from = if place == Place::Folder { ", relative to the project folder," } else { "," };
    let hint = format!("put it there{from} or correct the stream's `path`; the table is as before");
    let is_table = file(stream).is_ok_and(|settings| settings.written() == Some(FileFormat::Delta));
    let what = if is_table { "Delta table" } else { "file" };
    told(stream, settings_of(stream), Trouble::Told { reason: format!("there is no {what} `{}`", place.name(path)), hint })
}

/// The files a stream names in the project folder, sorted.
fn find(stream: &Stream, root: &Path) -> Result<Vec<Found>, SourceError> {
    let settings = file(stream)?;
    let wrong = |reason: String, hint: &str| told(stream, settings_of(stream), Trouble::Told { reason, hint: hint.to_owned() });
    // The project's own folder is no pattern, whatever it is called.
    let pattern = Path::new(&glob::Pattern::escape(&root.to_string_lossy())).join(&settings.path);
    let found = glob::glob(&pattern.to_string_lossy()).map_err(|error| wrong(error.to_string(), "correct the stream's `path`"))?;
    let mut files = Vec::new();
    for file in found {
        let file = file.map_err(|error| wrong(error.to_string(), "check that the program's user may read the folder"))?;
        if file.is_file() {
            let name = file.strip_prefix(root).map_or_else(|_| file.clone(), Path::to_owned);
            files.push(Found { name, stamp: stamp(&file), object: None });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Whether a stream's files can be found without asking anybody for them; yes, where they lie elsewhere.
pub(crate) fn check(stream: &Stream, root: &Path) -> Result<(), SourceError> {
    let settings = file(stream)?;
    let asked = Place::of(&settings.path) != Ok(Place::Folder);
    if !asked && settings.written() == Some(FileFormat::Delta) {
        return if is_table(&root.join(&settings.path)) { Ok(()) } else { Err(missing(stream)) };
    }
    if asked || settings.new_files_only || !find(stream, root)?.is_empty() { Ok(()) } else { Err(missing(stream)) }
}

/// The size and time of a file, unless it is so new that it could change once more without either showing it.
fn stamp(path: &Path) -> Option<String> {
    let meta = path.metadata().ok()?;
    let changed = meta.modified().ok()?;
    if changed.elapsed().is_ok_and(|age| age < STILL) {
        return None;
    }
    let since = changed.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(format!("{} {}", meta.len(), since.as_nanos()))
}

/// Why reading ends early.
enum Stop {
    Error(Box<SourceError>),
    NobodyListens,
}

/// One file being read.
struct Reading<'a> {
    stream: &'a Stream,
    file: &'a Path,
    sender: &'a Sender<Result<Page, SourceError>>,
}

impl Reading<'_> {
    fn wrong(&self, line: Option<u64>, reason: impl Into<String>, hint: &str) -> Stop {
        let at: StreamName = self.stream.name.clone();
        let line = line.and_then(|line| usize::try_from(line).ok());
        Stop::Error(Box::new(SourceError::File { at, file: self.file.to_owned(), line, reason: reason.into(), hint: hint.to_owned() }))
    }

    fn what(&self) -> &'static str {
        let is_table = file(self.stream).is_ok_and(|settings| settings.written() == Some(FileFormat::Delta));
        if is_table { "table" } else { "file" }
    }

    fn name(&self) -> Arc<str> {
        self.file.file_name().map_or_else(Default::default, |name| name.to_string_lossy()).into()
    }

    fn send(&self, rows: PageRows, bytes: usize) -> Result<(), Stop> {
        if rows.len() == 0 {
            return Ok(());
        }
        self.sender.blocking_send(Ok(Page { rows, announced: None, bytes })).map_err(|_| Stop::NobodyListens)
    }

    fn fetch(&self, root: &Path, object: &Object, remote: &Remote) -> Result<File, Stop> {
        Handle::current().block_on(async {
            tokio::select! {
                () = self.sender.closed() => Err(Stop::NobodyListens),
                file = remote.fetch(object, root) => file.map_err(|trouble| Stop::Error(Box::new(told(self.stream, self.file.to_owned(), trouble)))),
            }
        })
    }

    fn read(&self, root: &Path, elsewhere: Option<(&Object, &Remote)>) -> Result<(), Stop> {
        let settings = file(self.stream).map_err(|error| Stop::Error(Box::new(error)))?;
        let open = |error: std::io::Error| {
            self.wrong(None, format!("the file cannot be read: {error}"), "check that it is whole and that the program's user may read it")
        };
        let file = match elsewhere {
            Some((object, remote)) => self.fetch(root, object, remote)?,
            None => File::open(root.join(self.file)).map_err(open)?,
        };
        let name = self.file.to_string_lossy();
        let packed = name.ends_with(".gz") || name.ends_with(".zst");
        if settings.written() == Some(FileFormat::Parquet) {
            if packed {
                return Err(self.wrong(None, "a packed Parquet file cannot be read", "Parquet is packed inside; unpack the file"));
            }
            return self.parquet(file);
        }
        let buffered = BufReader::with_capacity(1 << 16, file);
        let text: Box<dyn BufRead> = if name.ends_with(".gz") {
            Box::new(BufReader::with_capacity(1 << 16, flate2::bufread::MultiGzDecoder::new(buffered)))
        } else if name.ends_with(".zst") {
            Box::new(BufReader::with_capacity(1 << 16, zstd::Decoder::with_buffer(buffered).map_err(open)?))
        } else {
            Box::new(buffered)
        };
        let text = encoding::utf8(text, settings.encoding).map_err(open)?;
        match settings.written() {
            Some(FileFormat::Ndjson) => self.ndjson(text),
            Some(FileFormat::Json) => self.json(text, settings),
            _ => self.csv(text, settings),
        }
    }

    fn csv(&self, text: impl Read, settings: &FileStream) -> Result<(), Stop> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            // A line with too many or too few values is a row that does not fit, not the end of the file.
            .flexible(true)
            .delimiter(u8::try_from(settings.delimiter()).unwrap_or(b','))
            .quoting(!settings.quote.is_empty())
            .quote(settings.quote.bytes().next().unwrap_or(b'"'))
            .from_reader(text);
        let mut record = csv::ByteRecord::new();
        let columns = &self.stream.columns.list;
        let mut header: Arc<Vec<String>> = Arc::default();
        if settings.header {
            let read = reader.read_byte_record(&mut record).map_err(|error| self.csv_error(&error))?;
            if !read {
                return Err(self.wrong(None, "the file is empty, without even a header", "see why it is empty; the table is as before"));
            }
            let names = decoded(&record).map_err(|_| self.not_utf8(1))?;
            header = Arc::new(names.iter().map(|name| name.trim().to_owned()).collect());
        }
        let fields = Arc::new(self.fields(columns, &header, settings.header)?);
        let expected = if settings.header { header.len() } else { fields.iter().flatten().max().map_or(0, |last| last + 1) };
        let nulls = Arc::new(settings.null_values.clone());
        let lines = || Lines {
            file: self.name(),
            unit: "line",
            header: Arc::clone(&header),
            fields: Arc::clone(&fields),
            nulls: Arc::clone(&nulls),
            rows: Vec::with_capacity(PAGE),
        };
        let (mut page, mut bytes) = (lines(), 0);
        loop {
            if !reader.read_byte_record(&mut record).map_err(|error| self.csv_error(&error))? {
                break;
            }
            // Where the record before ended: empty lines before a row are taken for its beginning.
            let line = record.position().map_or(0, csv::Position::line);
            bytes += record.as_slice().len();
            let fits = if settings.header { record.len() == expected } else { record.len() >= expected };
            let row = match decoded(&record) {
                Err(text) => Line::Broken {
                    reason: "holds characters that are not UTF-8; set `encoding = \"windows-1252\"` if they are".to_owned(),
                    text,
                },
                Ok(record) if !fits => Line::Broken {
                    reason: format!("holds {} values, where {expected} are expected", record.len()),
                    text: record.iter().collect::<Vec<_>>().join(&settings.delimiter().to_string()),
                },
                Ok(record) => Line::Csv(record),
            };
            page.rows.push((line, row));
            if page.rows.len() == PAGE {
                self.send(PageRows::Lines(std::mem::replace(&mut page, lines())), std::mem::take(&mut bytes))?;
            }
        }
        self.send(PageRows::Lines(page), bytes)
    }

    fn csv_error(&self, error: &csv::Error) -> Stop {
        let line = error.position().map(csv::Position::line);
        self.wrong(line, format!("the file cannot be read: {error}"), "see whether the file is whole; the table is as before")
    }

    fn not_utf8(&self, line: u64) -> Stop {
        self.wrong(
            Some(line),
            "the header holds characters that are not UTF-8",
            "set `encoding = \"windows-1252\"` if that is how the file is written",
        )
    }

    /// Which field each column takes.
    fn fields(&self, columns: &[Column], header: &[String], named: bool) -> Result<Vec<Option<usize>>, Stop> {
        let mut fields = Vec::new();
        let mut next = 0;
        for column in columns {
            let Origin::Field(from, _) = &column.origin else {
                fields.push(None);
                continue;
            };
            if !named {
                fields.push(Some(next));
                next += 1;
                continue;
            }
            let mut places = header.iter().enumerate().filter(|(_, name)| *name == from).map(|(place, _)| place);
            match (places.next(), places.next()) {
                (Some(place), None) => fields.push(Some(place)),
                (Some(_), Some(_)) => {
                    let reason = format!("the header names `{from}` twice, and the column `{}` takes it", column.name);
                    return Err(self.wrong(Some(1), reason, "give the two columns different names in the file"));
                }
                (None, _) if column.optional => fields.push(None),
                (None, _) => {
                    let hint = match nearest(from, header.iter().map(String::as_str)) {
                        Some(near) => format!("did you mean `{near}`? set `{} = {{ from = \"{near}\", type = … }}`", column.name),
                        None => format!("the header names: {}", values::shorten(&header.join(", "))),
                    };
                    let reason = format!("the header does not name `{from}`, which the column `{}` takes", column.name);
                    return Err(self.wrong(Some(1), reason, &hint));
                }
            }
        }
        Ok(fields)
    }

    /// An empty page of rows that are JSON, counted in `unit`s.
    fn page_of_json(&self, unit: &'static str) -> Lines {
        Lines {
            file: self.name(),
            unit,
            header: Arc::default(),
            fields: Arc::default(),
            nulls: Arc::default(),
            rows: Vec::with_capacity(PAGE),
        }
    }

    fn ndjson(&self, mut text: Box<dyn BufRead>) -> Result<(), Stop> {
        let lines = || self.page_of_json("line");
        let (mut page, mut bytes, mut number, mut buffer) = (lines(), 0, 0, Vec::new());
        loop {
            buffer.clear();
            number += 1;
            let read = text.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut buffer);
            let read = read.map_err(|error| {
                self.wrong(
                    Some(number),
                    format!("the file cannot be read: {error}"),
                    "see whether the file is whole; the table is as before",
                )
            })?;
            if read == 0 {
                break;
            }
            if read as u64 == LONGEST_LINE {
                let reason = format!("the line is longer than {} MiB", LONGEST_LINE >> 20);
                return Err(self.wrong(
                    Some(number),
                    reason,
                    "see whether the file holds one object a line; for one JSON document set `format = \"json\"`",
                ));
            }
            bytes += read;
            if buffer.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let row = match serde_json::from_slice(&buffer) {
                Ok(value) => Line::Json(value),
                Err(error) => {
                    Line::Broken { reason: format!("is no JSON: {error}"), text: String::from_utf8_lossy(&buffer).trim().to_owned() }
                }
            };
            page.rows.push((number, row));
            if page.rows.len() == PAGE || bytes > PAGE_BYTES {
                self.send(PageRows::Lines(std::mem::replace(&mut page, lines())), std::mem::take(&mut bytes))?;
            }
        }
        self.send(PageRows::Lines(page), bytes)
    }

    fn json(&self, text: impl Read, settings: &FileStream) -> Result<(), Stop> {
        let lines = || self.page_of_json("element");
        let mut page = lines();
        let path = path(&settings.rows);
        let read = Cell::new(0);
        // The parser asks for its bytes one by one.
        let text = BufReader::with_capacity(1 << 16, Counted { text, read: &read });
        let mut before = 0;
        let mut stopped = None;
        let ended = list::rows(text, &path, &mut |place, value| {
            page.rows.push((place, Line::Json(value)));
            if page.rows.len() < PAGE && read.get() - before < PAGE_BYTES {
                return true;
            }
            let bytes = read.get() - before;
            before = read.get();
            match self.send(PageRows::Lines(std::mem::replace(&mut page, lines())), bytes) {
                Ok(()) => true,
                Err(stop) => {
                    stopped = Some(stop);
                    false
                }
            }
        });
        match (stopped, ended) {
            (Some(stop), _) => Err(stop),
            (None, Err(Ended::Wrong(line, reason))) => {
                let hint = "see whether the file is whole, and whether `rows` names where they stand; the table is as before";
                Err(self.wrong(Some(line).filter(|line| *line > 0), reason, hint))
            }
            (None, Err(Ended::Enough)) => Err(Stop::NobodyListens),
            (None, Ok(())) => self.send(PageRows::Lines(page), read.get() - before),
        }
    }

    fn parquet(&self, file: File) -> Result<(), Stop> {
        let broken = |error: String| {
            self.wrong(None, format!("the file cannot be read: {error}"), "see whether the file is whole; the table is as before")
        };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| broken(error.to_string()))?;
        let columns = &self.stream.columns;
        let schema: SchemaRef = builder.schema().clone();
        for column in &columns.list {
            self.known(column, &schema)?;
        }
        let name = self.name();
        for batch in builder.with_batch_size(PAGE).build().map_err(|error| broken(error.to_string()))? {
            let batch = batch.map_err(|error| broken(error.to_string()))?;
            self.arrays(&batch, &name)?;
        }
        Ok(())
    }

    /// A Delta table's rows.
    fn table(&self, table: &Table, provider: Arc<dyn TableProvider>) -> Result<(), Stop> {
        let columns = &self.stream.columns;
        let schema = provider.schema();
        for column in &columns.list {
            self.known(column, &schema)?;
        }
        let stop = |trouble| Stop::Error(Box::new(told(self.stream, self.file.to_owned(), trouble)));
        let mut from: Vec<String> = Vec::new();
        for column in &columns.list {
            if let Origin::Field(name, _) = &column.origin
                && schema.column_with_name(name).is_some()
                && !from.contains(name)
            {
                from.push(name.clone());
            }
        }
        let runtime = Handle::current();
        let mut rows = runtime.block_on(table.rows(provider, from, PAGE)).map_err(stop)?;
        let name = self.name();
        while let Some(batch) = runtime.block_on(rows.next()) {
            let batch = batch.map_err(|error| stop(delta::wrong(table.name(), &error.to_string())))?;
            self.arrays(&batch, &name)?;
        }
        Ok(())
    }

    /// A batch as a page.
    fn arrays(&self, batch: &RecordBatch, name: &Arc<str>) -> Result<(), Stop> {
        let columns = self.stream.columns.list.iter().map(|column| self.array(column, batch, name)).collect::<Result<Vec<_>, _>>()?;
        let bytes = batch.get_array_memory_size();
        self.send(PageRows::Arrays { file: Arc::clone(name), rows: batch.num_rows(), columns }, bytes)
    }

    fn known(&self, column: &Column, schema: &Schema) -> Result<(), Stop> {
        let Origin::Field(from, _) = &column.origin else { return Ok(()) };
        let Some((_, field)) = schema.column_with_name(from) else {
            if column.optional {
                return Ok(());
            }
            let names = schema.fields().iter().map(|field| field.name().as_str());
            let hint =
                nearest(from, names).map_or_else(|| "correct the stream's `columns`".to_owned(), |near| format!("did you mean `{near}`?"));
            return Err(self.wrong(None, format!("the {} holds no column `{from}`", self.what()), &hint));
        };
        let naive = matches!(field.data_type(), DataType::Timestamp(_, None));
        if naive && column.kind == Type::Timestamp && column.rules.zone.is_none() {
            let reason = format!("the times of `{from}` name no zone, and none is declared");
            return Err(self.wrong(
                None,
                reason,
                "add the zone they are meant in, such as { type = \"timestamp\", zone = \"Europe/Berlin\" }",
            ));
        }
        Ok(())
    }

    /// A column of a batch in its declared type, and which of its values do not fit.
    fn array(&self, column: &Column, batch: &RecordBatch, name: &str) -> Result<ArrayColumn, Stop> {
        let wanted = column.kind.arrow();
        let Origin::Field(from, _) = &column.origin else {
            let array = if column.origin == Origin::File { vec![name; batch.num_rows()] } else { vec![] };
            let array: ArrayRef =
                if array.is_empty() { new_null_array(&wanted, batch.num_rows()) } else { Arc::new(arrow::array::StringArray::from(array)) };
            return Ok(ArrayColumn { array, misfits: BTreeMap::new() });
        };
        let cannot = |why: String| {
            self.wrong(None, format!("the column `{from}` cannot become {}: {why}", column.kind), "correct its type under `columns`")
        };
        let Some(given) = batch.column_by_name(from) else {
            // That it may be missing has been seen to.
            return Ok(ArrayColumn { array: new_null_array(&wanted, batch.num_rows()), misfits: BTreeMap::new() });
        };
        let textual = matches!(given.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        if textual && !matches!(column.kind, Type::Text | Type::Json) {
            return read_text(column, given).map_err(|error| cannot(error.to_string()));
        }
        let options = CastOptions { safe: true, ..CastOptions::default() };
        let cast = |array: &ArrayRef, to: &DataType| cast_with_options(array, to, &options).map_err(|error| cannot(error.to_string()));
        let array = match (given.data_type(), column.rules.zone, &column.rules.format) {
            (DataType::Timestamp(_, None), Some(zone), _) if column.kind == Type::Timestamp => {
                let local = cast(given, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
                cast(&cast(&local, &DataType::Timestamp(TimeUnit::Microsecond, Some(zone.name().into())))?, &wanted)?
            }
            (kind, _, Some(Format::Unix)) if kind.is_integer() => {
                cast(&cast(&cast(given, &DataType::Int64)?, &DataType::Timestamp(TimeUnit::Second, Some("UTC".into())))?, &wanted)?
            }
            (kind, _, Some(Format::UnixMs)) if kind.is_integer() => {
                cast(&cast(&cast(given, &DataType::Int64)?, &DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())))?, &wanted)?
            }
            _ => cast(given, &wanted)?,
        };
        let misfits = (0..array.len()).filter(|row| array.is_null(*row) && !given.is_null(*row)).map(|row| {
            let value = arrow::util::display::array_value_to_string(given, row).unwrap_or_default();
            (row, Misfit::new(&column.name, format!("is not a value of type {}", column.kind), &value))
        });
        let misfits = misfits.collect();
        Ok(ArrayColumn { array, misfits })
    }
}

/// Text in a Parquet file is read by the rules of text everywhere.
fn read_text(column: &Column, given: &ArrayRef) -> Result<ArrayColumn, arrow::error::ArrowError> {
    let text = arrow::compute::cast(given, &DataType::Utf8)?;
    let text = text.as_string::<i32>();
    let plain = Column { rules: Rules::default(), ..column.clone() };
    let mut rows = Rows::new(&Columns::new(vec![plain], false));
    let mut misfits = BTreeMap::new();
    for row in 0..text.len() {
        let cell = if text.is_null(row) {
            Ok(values::Cell::Null)
        } else {
            values::from_text(&column.kind, &column.rules, &column.name, text.value(row))
        };
        let cell = cell.unwrap_or_else(|misfit| {
            misfits.insert(row, misfit);
            values::Cell::Null
        });
        rows.push([cell, values::Cell::Null].iter());
    }
    let batch = rows.take()?;
    Ok(ArrayColumn { array: batch.column(0).clone(), misfits })
}

fn decoded(record: &csv::ByteRecord) -> Result<csv::StringRecord, String> {
    csv::StringRecord::from_byte_record(record.clone())
        .map_err(|error| error.into_byte_record().iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(","))
}

/// Text, and how much of it has been read.
struct Counted<'a, R> {
    text: R,
    read: &'a Cell<usize>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.text.read(into)?;
        self.read.set(self.read.get() + read);
        Ok(read)
    }
}
