//! Files to pages of rows. Reading and unpacking run beside the taking in.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Schema, SchemaRef, TimeUnit},
};
use async_trait::async_trait;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::settings::{Encoding, FileFormat, FileStream};
use crate::{
    config::nearest,
    source::{
        columns::{Column, Columns, Format, Origin, Rows, Rules, Type},
        error::{SourceError, StreamName},
        pull::{Effort, Reader, Window},
        rows::{ArrayColumn, Line, Lines, Page, PageRows},
        settings::{Reads, Stream},
        values::{self, Misfit},
    },
};

/// Rows a page.
const PAGE: usize = 8192;
/// Pages read ahead.
const AHEAD: usize = 2;

/// The files of one stream.
#[derive(Debug)]
pub(crate) struct FileReader {
    stream: Arc<Stream>,
    root: PathBuf,
    pages: Option<Receiver<Result<Page, SourceError>>>,
    files: u64,
}

impl FileReader {
    /// A reader of a stream's files below `root`.
    pub(crate) fn new(stream: Arc<Stream>, root: &Path) -> Self {
        Self { stream, root: root.to_owned(), pages: None, files: 0 }
    }
}

#[async_trait]
impl Reader for FileReader {
    async fn start(&mut self, _window: &Window, _mark: Option<&serde_json::Value>) -> Result<(), SourceError> {
        let files = find(&self.stream, &self.root)?;
        self.files = files.len() as u64;
        let (sender, pages) = mpsc::channel(AHEAD);
        self.pages = Some(pages);
        let (stream, root) = (Arc::clone(&self.stream), self.root.clone());
        tokio::task::spawn_blocking(move || {
            for file in files {
                let reading = Reading { stream: &stream, file: &file, sender: &sender };
                match reading.read(&root) {
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

    fn effort(&self) -> Effort {
        Effort { requests: self.files, retries: 0 }
    }
}

/// The files a stream names, sorted, relative to the project.
pub(crate) fn find(stream: &Stream, root: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let Reads::File(settings) = &stream.reads else { return Ok(vec![]) };
    let wrong = |reason: String, hint: &str| SourceError::File {
        at: stream.name.clone(),
        file: PathBuf::from(format!("config/sources/{}.toml", stream.name.source)),
        line: None,
        reason,
        hint: hint.to_owned(),
    };
    // The project's own folder is no pattern, whatever it is called.
    let pattern = Path::new(&glob::Pattern::escape(&root.to_string_lossy())).join(&settings.path);
    let found = glob::glob(&pattern.to_string_lossy()).map_err(|error| wrong(error.to_string(), "correct the stream's `path`"))?;
    let mut files = Vec::new();
    for file in found {
        let file = file.map_err(|error| wrong(error.to_string(), "check that the program's user may read the folder"))?;
        if file.is_file() {
            files.push(file.strip_prefix(root).map_or_else(|_| file.clone(), Path::to_owned));
        }
    }
    if files.is_empty() {
        let reason = format!("there is no file `{}`", settings.path);
        return Err(wrong(reason, "put it there, relative to the project folder, or correct the stream's `path`; the table is as before"));
    }
    files.sort();
    Ok(files)
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

    fn name(&self) -> Arc<str> {
        self.file.file_name().map_or_else(Default::default, |name| name.to_string_lossy()).into()
    }

    fn send(&self, rows: PageRows, bytes: usize) -> Result<(), Stop> {
        if rows.len() == 0 {
            return Ok(());
        }
        self.sender.blocking_send(Ok(Page { rows, announced: None, bytes })).map_err(|_| Stop::NobodyListens)
    }

    fn read(&self, root: &Path) -> Result<(), Stop> {
        let Reads::File(settings) = &self.stream.reads else { return Ok(()) };
        let open = |error: std::io::Error| {
            self.wrong(None, format!("the file cannot be read: {error}"), "check that it is whole and that the program's user may read it")
        };
        let file = File::open(root.join(self.file)).map_err(open)?;
        let name = self.file.to_string_lossy();
        let packed = name.ends_with(".gz") || name.ends_with(".zst");
        if settings.written() == Some(FileFormat::Parquet) {
            if packed {
                return Err(self.wrong(None, "a packed Parquet file cannot be read", "Parquet is packed inside; unpack the file"));
            }
            return self.parquet(file);
        }
        let buffered = BufReader::with_capacity(1 << 16, file);
        let mut text: Box<dyn BufRead> = if name.ends_with(".gz") {
            Box::new(BufReader::with_capacity(1 << 16, flate2::bufread::MultiGzDecoder::new(buffered)))
        } else if name.ends_with(".zst") {
            Box::new(BufReader::with_capacity(1 << 16, zstd::Decoder::with_buffer(buffered).map_err(open)?))
        } else {
            Box::new(buffered)
        };
        // A byte order mark is no part of the first name or the first row.
        if text.fill_buf().map_err(open)?.starts_with(b"\xef\xbb\xbf") {
            text.consume(3);
        }
        match settings.written() {
            Some(FileFormat::Ndjson) => self.ndjson(text, settings),
            _ => self.csv(text, settings),
        }
    }

    fn csv(&self, text: impl Read, settings: &FileStream) -> Result<(), Stop> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            // A line with too many or too few values is a row that does not fit, not the end of the file.
            .flexible(true)
            .delimiter(u8::try_from(settings.delimiter).unwrap_or(b','))
            .from_reader(text);
        let mut record = csv::ByteRecord::new();
        let columns = &self.stream.columns.list;
        let mut header: Arc<Vec<String>> = Arc::default();
        if settings.header {
            let read = reader.read_byte_record(&mut record).map_err(|error| self.csv_error(&error))?;
            if !read {
                return Err(self.wrong(None, "the file is empty, without even a header", "see why it is empty; the table is as before"));
            }
            let names = decoded(&record, settings.encoding).map_err(|_| self.not_utf8(1))?;
            header = Arc::new(names.iter().map(|name| name.trim().to_owned()).collect());
        }
        let fields = Arc::new(self.fields(columns, &header, settings.header)?);
        let expected = if settings.header { header.len() } else { fields.iter().flatten().max().map_or(0, |last| last + 1) };
        let nulls = Arc::new(settings.null_values.clone());
        let lines = || Lines {
            file: self.name(),
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
            let row = match decoded(&record, settings.encoding) {
                Err(text) => {
                    Line::Broken { reason: "holds characters that are not UTF-8; set `encoding = \"latin1\"` if they are".to_owned(), text }
                }
                Ok(record) if !fits => Line::Broken {
                    reason: format!("holds {} values, where {expected} are expected", record.len()),
                    text: record.iter().collect::<Vec<_>>().join(&settings.delimiter.to_string()),
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
            "set `encoding = \"latin1\"` if that is how the file is written",
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

    fn ndjson(&self, mut text: Box<dyn BufRead>, settings: &FileStream) -> Result<(), Stop> {
        let lines = || Lines {
            file: self.name(),
            header: Arc::default(),
            fields: Arc::default(),
            nulls: Arc::default(),
            rows: Vec::with_capacity(PAGE),
        };
        let (mut page, mut bytes, mut number, mut buffer) = (lines(), 0, 0, Vec::new());
        loop {
            buffer.clear();
            number += 1;
            let read = text.read_until(b'\n', &mut buffer);
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
            bytes += read;
            if buffer.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let latin1: String;
            let line = if settings.encoding == Encoding::Latin1 {
                latin1 = buffer.iter().copied().map(char::from).collect();
                latin1.as_bytes()
            } else {
                buffer.as_slice()
            };
            let row = match serde_json::from_slice(line) {
                Ok(value) => Line::Json(value),
                Err(error) => {
                    Line::Broken { reason: format!("is no JSON: {error}"), text: String::from_utf8_lossy(line).trim().to_owned() }
                }
            };
            page.rows.push((number, row));
            if page.rows.len() == PAGE {
                self.send(PageRows::Lines(std::mem::replace(&mut page, lines())), std::mem::take(&mut bytes))?;
            }
        }
        self.send(PageRows::Lines(page), bytes)
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
            let arrays = columns.list.iter().map(|column| self.array(column, &batch, &name)).collect::<Result<Vec<_>, _>>()?;
            let bytes = batch.get_array_memory_size();
            self.send(PageRows::Arrays { file: Arc::clone(&name), rows: batch.num_rows(), columns: arrays }, bytes)?;
        }
        Ok(())
    }

    fn known(&self, column: &Column, schema: &Schema) -> Result<(), Stop> {
        let Origin::Field(from, _) = &column.origin else { return Ok(()) };
        let Some((_, field)) = schema.column_with_name(from) else {
            let names = schema.fields().iter().map(|field| field.name().as_str());
            let hint =
                nearest(from, names).map_or_else(|| "correct the stream's `columns`".to_owned(), |near| format!("did you mean `{near}`?"));
            return Err(self.wrong(None, format!("the file holds no column `{from}`"), &hint));
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
        let Some(given) = batch.column_by_name(from) else { return Err(cannot("it is missing".to_owned())) };
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

fn decoded(record: &csv::ByteRecord, encoding: Encoding) -> Result<csv::StringRecord, String> {
    match encoding {
        Encoding::Utf8 => csv::StringRecord::from_byte_record(record.clone())
            .map_err(|error| error.into_byte_record().iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(",")),
        Encoding::Latin1 => Ok(record.iter().map(|field| field.iter().copied().map(char::from).collect::<String>()).collect()),
    }
}
