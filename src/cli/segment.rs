//! `perennial segment`

use std::fmt::Write;

use arrow::{json::writer::JsonArray, util::pretty::pretty_format_batches};

use super::{global::Global, output};
use crate::{
    diagnosis::{Diagnosis, Exit, Failure},
    job::{House, Moment, Step},
    model::{self, SqlFile},
};

/// How many rows `preview` shows.
const SAMPLE: usize = 10;

/// How many people `diff` names on the screen.
const SHOWN: usize = 50;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the segments, and how many people are in each
    List,
    /// Show one segment's SQL and what it reads
    Show(Name),
    /// Who is in it: count, sample, what its columns hold (one person's letter: perennial preview)
    Preview(Name),
    /// Who entered and who left since the build before
    Diff(Name),
}

#[derive(Debug, clap::Args)]
pub(super) struct Name {
    /// The segment: a file of sql/segments without .sql
    name: String,
}

pub(super) async fn run(global: &Global, command: Command) -> Result<Exit, Failure> {
    let house = global.house().await?;
    match command {
        Command::List => list(global, &house).await,
        Command::Show(args) => show(global, find(&house, &args.name)?),
        Command::Preview(args) => preview(global, &house, find(&house, &args.name)?).await,
        Command::Diff(args) => diff(global, &house, find(&house, &args.name)?).await,
    }
}

fn find<'a>(house: &'a House, name: &str) -> Result<&'a SqlFile, Failure> {
    house.library.segments().find(|file| file.name == name).ok_or_else(|| {
        let names: Vec<&str> = house.library.segments().map(|file| file.name.as_str()).collect();
        let diagnosis = Diagnosis::new("unknown_segment", format!("there is no segment `{name}`")).in_file("sql/segments");
        Failure::wrong(match crate::config::nearest(name, names.iter().copied()) {
            Some(near) => diagnosis.hint(format!("did you mean `{near}`?")),
            None => diagnosis.hint(format!("the segments are: {}", names.join(", "))),
        })
    })
}

async fn list(global: &Global, house: &House) -> Result<Exit, Failure> {
    let published = house.ledger.published_tables().await?;
    let mut text = String::new();
    let mut json = Vec::new();
    for file in house.library.segments() {
        let people: Option<u64> = published.get(&file.name).and_then(|table| table.rows);
        let shown = people.map_or_else(|| "not built".to_owned(), |people| people.to_string());
        let description = file.front.description.as_deref().unwrap_or_default();
        let sentence = description.split(['.', ';', ':']).next().unwrap_or_default();
        let _ = writeln!(text, "{:<16} {shown:>9}  {sentence}", file.name);
        json.push(serde_json::json!({ "segment": file.name, "people": people, "description": description }));
    }
    output::print(global, &json, text);
    Ok(Exit::Done)
}

fn show(global: &Global, file: &SqlFile) -> Result<Exit, Failure> {
    let reads: Vec<String> = file.tables().into_iter().collect();
    let json = serde_json::json!({
        "segment": file.name, "file": file.path, "description": file.front.description, "reads": reads, "sql": file.sql,
    });
    output::print(global, &json, format!("{}\nreads: {}\n\n{}", file.path.display(), reads.join(", "), file.sql));
    Ok(Exit::Done)
}

async fn preview(global: &Global, house: &House, file: &SqlFile) -> Result<Exit, Failure> {
    let moment = Moment::of(&house.project, None, Step::Build, None)?;
    let published = house.ledger.published().await?;
    let defaults = house.project.brand_defaults();
    let seen = model::preview(&house.library, &house.engine, &house.lake, &published, &file.name, moment.as_of, &defaults, SAMPLE).await?;
    let failed = |error: arrow::error::ArrowError| Failure::failed(Diagnosis::new("output", error.to_string()));
    let mut text = format!("{} people as the file stands now\n", seen.rows);
    if let Some(change) = &seen.change {
        let _ =
            writeln!(text, "against the last build: {} enter, {} leave, {} stay", change.entered.len(), change.left.len(), change.stayed);
    }
    let _ = writeln!(text, "\n{:<20} {:>7} {:>9}  smallest … largest", "column", "empty", "different");
    for column in &seen.columns {
        let range = format!("{} … {}", column.min.as_deref().unwrap_or("–"), column.max.as_deref().unwrap_or("–"));
        let _ = writeln!(text, "{:<20} {:>7} {:>9}  {range}", column.name, column.nulls, column.distinct);
    }
    let _ = writeln!(text, "\n{}", pretty_format_batches(&seen.sample).map_err(failed)?);
    let rows = output::as_json::<JsonArray>(&seen.sample).map_err(failed)?;
    let sample: serde_json::Value = serde_json::from_slice(&rows).unwrap_or_default();
    let json = serde_json::json!({
        "segment": seen.name, "people": seen.rows, "columns": seen.columns, "change": seen.change, "sample": sample,
    });
    output::print(global, &json, text);
    Ok(Exit::Done)
}

async fn diff(global: &Global, house: &House, file: &SqlFile) -> Result<Exit, Failure> {
    let versions = house.ledger.versions_of(&file.name, 2).await?;
    let [(now, _), (before, at)] = versions[..] else {
        let diagnosis = Diagnosis::new("one_build", format!("`{}` has not been built twice yet", file.name));
        return Err(Failure::wrong(
            diagnosis.hint("run `perennial run nightly` on another night, or `perennial segment preview` for what a change would do"),
        ));
    };
    let diff = model::difference(&house.engine, &file.name, (&house.lake, before), (&house.lake, now)).await?;
    let since = at.format("%F %H:%M UTC");
    let mut text = format!("since {since}: {} entered, {} left, {} stayed\n", diff.entered.len(), diff.left.len(), diff.stayed);
    for (sign, people) in [("+", &diff.entered), ("-", &diff.left)] {
        for person in people.iter().take(SHOWN) {
            let _ = writeln!(text, "  {sign} {person}");
        }
        if people.len() > SHOWN {
            let _ = writeln!(text, "  {sign} and {} more (--format json lists all)", people.len() - SHOWN);
        }
    }
    output::print(global, &diff, text);
    Ok(Exit::Done)
}
