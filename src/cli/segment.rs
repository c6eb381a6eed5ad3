//! `perennial segment`

use std::fmt::Write;

use arrow::util::pretty::pretty_format_batches;

use super::{global::Global, output};
use crate::{
    diagnosis::{Diagnosis, Exit, Failure},
    job::House,
    model::{self, SqlFile},
};

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
    let sizes = house.ledger.published_rows().await?;
    let mut text = String::new();
    let mut json = Vec::new();
    for file in house.library.segments() {
        let people = sizes.get(&file.name);
        let shown = people.map_or_else(|| "not built".to_owned(), ToString::to_string);
        let sentence = file.description.split(". ").next().unwrap_or_default().trim_end_matches('.');
        let _ = writeln!(text, "{:<16} {shown:>9}  {sentence}", file.name);
        json.push(serde_json::json!({ "segment": file.name, "people": people, "description": file.description }));
    }
    output::print(global, &json, text);
    Ok(Exit::Done)
}

fn show(global: &Global, file: &SqlFile) -> Result<Exit, Failure> {
    let reads: Vec<&str> = file.reads().collect();
    let json =
        serde_json::json!({ "segment": file.name, "file": file.path, "description": file.description, "reads": reads, "sql": file.text });
    output::print(global, &json, format!("{}\nreads: {}\n\n{}", file.path.display(), reads.join(", "), file.text));
    Ok(Exit::Done)
}

async fn preview(global: &Global, house: &House, file: &SqlFile) -> Result<Exit, Failure> {
    let seen = model::preview(&house.lake, &house.engine, &house.ledger, file).await?;
    let failed = |error: arrow::error::ArrowError| Failure::failed(Diagnosis::new("output", error.to_string()));
    let mut text = format!("{} people\n\n", seen.count);
    let _ = writeln!(text, "{:<20} {:>7} {:>9}  smallest … largest", "column", "empty", "different");
    for column in &seen.columns {
        let range = format!("{} … {}", column.min.as_deref().unwrap_or("–"), column.max.as_deref().unwrap_or("–"));
        let _ = writeln!(text, "{:<20} {:>7} {:>9}  {range}", column.name, column.nulls, column.distinct);
    }
    let _ = writeln!(text, "\n{}", pretty_format_batches(&seen.sample).map_err(failed)?);
    output::print(global, &seen, text);
    Ok(Exit::Done)
}

async fn diff(global: &Global, house: &House, file: &SqlFile) -> Result<Exit, Failure> {
    let diff = model::diff(&house.lake, &house.engine, &house.ledger, file).await?;
    let mut text = format!("{} entered, {} left, {} stayed\n", diff.entered.len(), diff.left.len(), diff.stayed);
    for (sign, people) in [("+", &diff.entered), ("-", &diff.left)] {
        for person in people.iter().take(50) {
            let _ = writeln!(text, "  {sign} {person}");
        }
        if people.len() > 50 {
            let _ = writeln!(text, "  {sign} and {} more (--format json lists all)", people.len() - 50);
        }
    }
    output::print(global, &diff, text);
    Ok(Exit::Done)
}
