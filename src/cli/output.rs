//! How results and failures look.

use std::{fmt::Display, io::Write};

use arrow::{
    array::RecordBatch,
    error::ArrowError,
    json::{WriterBuilder, writer::JsonFormat},
};
use miette::{Diagnostic, GraphicalReportHandler, LabeledSpan, NamedSource};
use serde::Serialize;

use super::global::Global;
use crate::diagnosis::{Diagnosis, Exit, Failure};

/// Prints the result: one JSON document, or words for people.
pub(super) fn print(global: &Global, json: &impl Serialize, text: impl Display) {
    if global.json() {
        say(&serde_json::to_string_pretty(json).unwrap_or_default());
    } else {
        let text = text.to_string();
        if !text.is_empty() {
            say(text.trim_end());
        }
    }
}

/// Prints a result that may not be whole: in JSON the one document has the first failure as `error` and all of them as `errors`; people
/// read what was done, and on stderr what was not.
pub(super) fn print_with(global: &Global, json: &impl Serialize, text: impl Display, failures: &[Failure]) {
    if !global.json() {
        print(global, json, text);
        failures.iter().for_each(|failure| fail(global, failure));
        return;
    }
    let mut document = serde_json::to_value(json).unwrap_or_default();
    // The one that gives the exit code its number is told first.
    let chief = failures.iter().find(|failure| Some(failure.exit) == Exit::of(failures)).or(failures.first());
    if let (Some(chief), Some(fields)) = (chief, document.as_object_mut()) {
        fields.insert("error".to_owned(), serde_json::json!(chief.diagnosis));
        fields.insert("errors".to_owned(), failures.iter().map(|failure| serde_json::json!(failure.diagnosis)).collect());
    }
    print(global, &document, "");
}

/// Writes a line to stdout. A reader who has closed the pipe (`| head`) has seen enough; that is no failure.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Rows as JSON, `as_json::<JsonArray>` or `as_json::<LineDelimited>`. A null is written, so that every row has every column.
pub(super) fn as_json<F: JsonFormat>(batches: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    let mut bytes = Vec::new();
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, F>(&mut bytes);
    writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
    writer.finish()?;
    drop(writer);
    Ok(bytes)
}

/// Prints a failure: `{"error": {…}}` on stdout, a drawn diagnosis on stderr, or a line of the log where that is JSON.
pub(super) fn fail(global: &Global, failure: &Failure) {
    if global.json() {
        say(&error_json(&failure.diagnosis));
    }
    if global.json_log() {
        eprintln!("{}", log_line(&failure.diagnosis));
    } else if !global.json() {
        eprintln!("{}", draw(global, &failure.diagnosis));
    }
}

/// A wrong command line, which is told before it is known what it asks for: `json` and `json_log` are what stands in it all the same.
pub(super) fn misused(diagnosis: &Diagnosis, json: bool, json_log: bool) {
    if json {
        say(&error_json(diagnosis));
    }
    if json_log {
        eprintln!("{}", log_line(diagnosis));
    }
}

fn error_json(diagnosis: &Diagnosis) -> String {
    serde_json::to_string_pretty(&serde_json::json!({ "error": diagnosis })).unwrap_or_default()
}

/// A failure as a line of a JSON log: the log's own `timestamp` and `level`, then the diagnosis.
fn log_line(diagnosis: &Diagnosis) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        timestamp: String,
        level: &'static str,
        #[serde(flatten)]
        diagnosis: &'a Diagnosis,
    }
    let timestamp = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    serde_json::to_string(&Line { timestamp, level: "ERROR", diagnosis }).unwrap_or_default()
}

/// A diagnosis with the line it is about, a caret, and what to do. A secret that stands in that line is not shown.
pub(super) fn draw(global: &Global, diagnosis: &Diagnosis) -> String {
    let mut drawn = String::new();
    let report = Drawn::of(global, diagnosis);
    let _ = GraphicalReportHandler::new().with_width(110).render_report(&mut drawn, &report);
    drawn
}

#[derive(Debug)]
struct Drawn {
    diagnosis: Diagnosis,
    source: Option<NamedSource<String>>,
    offset: Option<(usize, usize)>,
}

impl Drawn {
    fn of(global: &Global, diagnosis: &Diagnosis) -> Self {
        let place = diagnosis.file.as_ref().zip(diagnosis.line).filter(|_| diagnosis.code != "secret_in_plain");
        let place = place.and_then(|(file, line)| {
            let text = std::fs::read_to_string(global.project.join(file)).ok()?;
            let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
            let on_line = text[start..].lines().next().unwrap_or_default();
            let skip: usize = on_line.chars().take(diagnosis.column.unwrap_or(1).saturating_sub(1)).map(char::len_utf8).sum();
            let word: usize = on_line[skip..].chars().take_while(|c| c.is_alphanumeric() || "_.".contains(*c)).map(char::len_utf8).sum();
            Some((NamedSource::new(file.display().to_string(), text), (start + skip, word.max(1))))
        });
        let (source, offset) = place.unzip();
        Self { diagnosis: diagnosis.clone(), source, offset }
    }
}

impl Display for Drawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.source {
            Some(_) => f.write_str(&self.diagnosis.message),
            None => self.diagnosis.fmt(f),
        }
    }
}

impl std::error::Error for Drawn {}

impl Diagnostic for Drawn {
    fn code(&self) -> Option<Box<dyn Display + '_>> {
        Some(Box::new(&self.diagnosis.code))
    }

    fn help(&self) -> Option<Box<dyn Display + '_>> {
        self.diagnosis.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|source| source as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.offset.map(|(offset, length)| Box::new(std::iter::once(LabeledSpan::new(Some("here".to_owned()), offset, length))) as _)
    }
}
