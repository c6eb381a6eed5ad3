//! `perennial query`

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::RecordBatch,
    csv::WriterBuilder as CsvWriter,
    datatypes::{Schema, SchemaRef},
    json::writer::{JsonArray, LineDelimited},
    util::pretty::pretty_format_batches,
};
use datafusion::scalar::ScalarValue;
use parquet::arrow::ArrowWriter;

use super::{
    global::{Format, Global},
    output, prompt,
};
use crate::{
    diagnosis::{Diagnosis, Exit, Failure},
    engine::{Origin, Query},
    job::{House, Moment, Step},
    model,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One SELECT over the tables of the last build and the raw tables (--format table, csv, json, ndjson or parquet); without one, they
    /// are read from a prompt
    #[arg(conflicts_with = "file")]
    sql: Option<String>,
    /// Read the SELECT from a file; the parameters its front matter declares have their defaults
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Write the rows there
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A value for $name; a whole number, a decimal, true, false, a date, or text
    #[arg(long, value_name = "NAME=VALUE")]
    param: Vec<String>,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let moment = Moment::of(&house.project, None, Step::Build, None)?;
    let mut params = model::bound_params(moment.as_of, &house.project.brand_defaults());
    let out = args.out.as_deref();
    let Some(file) = &args.file else {
        params.extend(parse_params(&args.param)?);
        return match &args.sql {
            Some(sql) => answer(global, &house, sql, None, params, out).await,
            None => prompt::run(global, &house, &params, out).await,
        };
    };
    let sql = std::fs::read_to_string(file).map_err(|error| unusable(file, &error))?;
    params.extend(model::params_of(&sql, file).map_err(|told| Failure::wrong(*told))?);
    params.extend(parse_params(&args.param)?);
    answer(global, &house, &sql, Some(file), params, out).await
}

/// Runs a query and writes its rows.
pub(super) async fn answer(
    global: &Global,
    house: &House,
    sql: &str,
    file: Option<&Path>,
    params: BTreeMap<String, ScalarValue>,
    out: Option<&Path>,
) -> Result<Exit, Failure> {
    let session = house.session(sql).await?;
    let query = Query { sql, origin: Origin { file, ..Origin::NOWHERE }, params };
    let schema = session.schema(&query).await?;
    let batches = session.collect(&query).await?;
    write(global, out, schema, batches)
}

fn write(global: &Global, out: Option<&Path>, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Exit, Failure> {
    let mut bytes = Vec::new();
    let failed = |error: String| {
        Failure::failed(Diagnosis::new("output", format!("the rows cannot be written: {error}")).hint("try another --format"))
    };
    match global.format {
        Format::Text | Format::Table => {
            let shown = if batches.is_empty() { vec![RecordBatch::new_empty(schema)] } else { batches };
            let table = pretty_format_batches(&shown).map_err(|error| failed(error.to_string()))?;
            bytes.extend_from_slice(format!("{table}\n").as_bytes());
        }
        Format::Json => {
            bytes = output::as_json::<JsonArray>(&batches).map_err(|error| failed(error.to_string()))?;
            bytes.push(b'\n');
        }
        Format::Ndjson => bytes = output::as_json::<LineDelimited>(&batches).map_err(|error| failed(error.to_string()))?,
        Format::Csv => {
            let mut writer = CsvWriter::new().with_header(true).build(&mut bytes);
            let all = if batches.is_empty() { vec![RecordBatch::new_empty(schema)] } else { batches };
            all.iter().try_for_each(|batch| writer.write(batch)).map_err(|error| failed(error.to_string()))?;
            drop(writer);
        }
        Format::Parquet if out.is_none() => {
            return Err(Failure::wrong(Diagnosis::new("format", "parquet is not for the screen").hint("add --out FILE")));
        }
        Format::Parquet => {
            let schema = Arc::new(Schema::clone(&schema));
            let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).map_err(|error| failed(error.to_string()))?;
            batches.iter().try_for_each(|batch| writer.write(batch)).map_err(|error| failed(error.to_string()))?;
            writer.close().map_err(|error| failed(error.to_string()))?;
        }
    }
    match out {
        Some(file) => File::create(file).and_then(|mut out| out.write_all(&bytes)).map_err(|error| unusable(file, &error))?,
        // A closed pipe (`| head`) is the reader's wish, not a failure.
        None => match std::io::stdout().write_all(&bytes) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(failed(error.to_string())),
            _ => {}
        },
    }
    Ok(Exit::Done)
}

/// Reads `NAME=VALUE` pairs into typed values.
pub(super) fn parse_params(pairs: &[String]) -> Result<BTreeMap<String, ScalarValue>, Failure> {
    pairs.iter().map(|pair| split_param(pair).map(|(name, value)| (name.to_owned(), value_of(value)))).collect()
}

/// The two sides of `NAME=VALUE`.
pub(super) fn split_param(pair: &str) -> Result<(&str, &str), Failure> {
    let (name, value) = pair.split_once('=').ok_or_else(|| {
        Failure::wrong(Diagnosis::new("param", format!("`{pair}` is not NAME=VALUE")).hint("write for instance --param quiet_days=90"))
    })?;
    Ok((name.trim_start_matches('$'), value))
}

/// A value as people write it: a whole number, a decimal, true or false, a date, else text.
fn value_of(text: &str) -> ScalarValue {
    if let Ok(number) = text.parse::<i64>() {
        return ScalarValue::Int64(Some(number));
    }
    if let Ok(yes) = text.parse::<bool>() {
        return ScalarValue::Boolean(Some(yes));
    }
    if let Ok(day) = text.parse::<chrono::NaiveDate>() {
        let days = (day - chrono::NaiveDate::default()).num_days();
        return ScalarValue::Date32(i32::try_from(days).ok());
    }
    match text.split_once('.') {
        Some((whole, part)) if part.len() <= 18 && part.bytes().all(|digit| digit.is_ascii_digit()) => {
            match (format!("{whole}{part}").parse::<i128>(), i8::try_from(part.len())) {
                (Ok(unscaled), Ok(scale)) => ScalarValue::Decimal128(Some(unscaled), 38, scale),
                _ => ScalarValue::from(text),
            }
        }
        _ => ScalarValue::from(text),
    }
}

fn unusable(file: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::wrong(Diagnosis::new("unreadable", format!("cannot be used: {error}")).in_file(file).hint("check the name and the folder"))
}
