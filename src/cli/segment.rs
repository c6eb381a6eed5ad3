//! `perennial segment`

use std::{collections::BTreeMap, fmt::Write};

use arrow::{json::writer::JsonArray, util::pretty::pretty_format_batches};
use datafusion::scalar::ScalarValue;

use super::{global::Global, output, query::split_param};
use crate::{
    config::nearest,
    diagnosis::{Diagnosis, Exit, Failure},
    job::{House, Moment, Step},
    model::{self, Bench, ColumnStatistics, Difference, SqlFile},
    project,
};

/// How many rows `preview` shows.
const SAMPLE: usize = 10;

/// How many people of each kind `diff` names on the screen.
const SHOWN: usize = 20;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the segments, and how many people are in each
    List,
    /// Show one segment's SQL and what it reads
    Show(Name),
    /// Who is in it: count, sample, what its columns hold (one person's letter: perennial preview)
    Preview(PreviewArgs),
    /// Who would enter, who would leave, and what would change, if the file were built as it stands
    Diff(DiffArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct PreviewArgs {
    /// The segment: a file of sql/segments without .sql
    name: String,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// The segment: a file of sql/segments without .sql
    name: String,
    /// Against what the SQL files of a git revision make of the same tables, such as HEAD~1, in place of what was last built
    #[arg(long, value_name = "REV", conflicts_with = "nights")]
    against: Option<String>,
    /// The last build against the one before: what the night changed
    #[arg(long, conflicts_with_all = ["as_of", "param"])]
    nights: bool,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, clap::Args)]
pub(super) struct Look {
    /// The logical time: RFC 3339, a date, today or yesterday; the tables are those of the last build
    #[arg(long, value_name = "T")]
    as_of: Option<String>,
    /// A value in place of a parameter's default
    #[arg(long, value_name = "NAME=VALUE")]
    param: Vec<String>,
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
        Command::Show(args) => show(global, house.library.segment(&args.name)?),
        Command::Preview(args) => preview(global, &house, house.library.segment(&args.name)?, &args.look).await,
        Command::Diff(args) => diff(global, &house, house.library.segment(&args.name)?, &args).await,
    }
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
        let _ = writeln!(text, "{:<26} {shown:>9}  {sentence}", file.name);
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

/// The values given on the command line, typed like the defaults they stand for.
fn params(file: &SqlFile, given: &[String]) -> Result<BTreeMap<String, ScalarValue>, Failure> {
    let read = |pair: &String| {
        let (name, written) = split_param(pair)?;
        let Some(default) = file.front.params.get(name) else {
            let diagnosis = Diagnosis::new("param", format!("`{}` has no parameter `{name}`", file.name)).in_file(&file.path);
            let names: Vec<&str> = file.front.params.keys().map(String::as_str).collect();
            return Err(Failure::wrong(match nearest(name, names.iter().copied()) {
                Some(near) => diagnosis.hint(format!("did you mean `{near}`?")),
                None if names.is_empty() => diagnosis.hint("it has none; declare them in its front matter"),
                None => diagnosis.hint(format!("it has: {}", names.join(", "))),
            }));
        };
        let value = model::param_like(default, written)
            .map_err(|why| Failure::wrong(Diagnosis::new("param", format!("the parameter `{name}`: {why}")).in_file(&file.path)))?;
        Ok((name.to_owned(), value))
    };
    given.iter().map(read).collect()
}

async fn preview(global: &Global, house: &House, file: &SqlFile, look: &Look) -> Result<Exit, Failure> {
    let published = house.published().await?;
    let bench = bench(house, &published, file, look)?;
    let seen = bench.preview(&file.name, SAMPLE).await?;
    let failed = |error: arrow::error::ArrowError| Failure::failed(Diagnosis::new("output", error.to_string()));
    let mut text = format!("{} people as the file stands now\n", seen.rows);
    if let Some(change) = &seen.change {
        let _ = writeln!(
            text,
            "against the last build: {} enter, {} leave, {} stay, {} of them with other values",
            change.entered.len(),
            change.left.len(),
            change.stayed,
            change.changed
        );
    }
    let _ =
        writeln!(text, "\n{:<22} {:>7} {:>9}  {:<16}  smallest … largest, or the most frequent", "column", "empty", "different", "spread");
    for column in &seen.columns {
        let _ = writeln!(text, "{:<22} {:>7} {:>9}  {:<16}  {}", column.name, column.nulls, column.distinct, spread(column), range(column));
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

/// A histogram in one line.
fn spread(column: &ColumnStatistics) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = column.histogram.iter().copied().max().unwrap_or_default().max(1);
    let bar = |rows: &u64| match *rows {
        0 => ' ',
        // At most 7, as no bin has more rows than the fullest.
        rows => BARS[usize::try_from((rows * 8 - 1) / most).unwrap_or_default().min(7)],
    };
    column.histogram.iter().map(bar).collect()
}

/// The ends of a column, or how often each of a few words stands.
fn range(column: &ColumnStatistics) -> String {
    const WORDS: usize = 4;
    if column.values.len() > 1 {
        let told = column.values.iter().take(WORDS).map(|(value, rows)| format!("{value} {rows}")).collect::<Vec<_>>().join(", ");
        return if column.values.len() > WORDS { format!("{told}, …") } else { told };
    }
    match (&column.min, &column.max) {
        (Some(min), Some(max)) if min == max => min.clone(),
        (Some(min), Some(max)) => format!("{min} … {max}"),
        _ => column.values.first().map_or_else(|| "–".to_owned(), |(value, _)| value.clone()),
    }
}

fn bench<'a>(house: &'a House, published: &'a BTreeMap<String, i64>, file: &SqlFile, look: &Look) -> Result<Bench<'a>, Failure> {
    let moment = Moment::of(&house.project, None, Step::Build, look.as_of.as_deref())?;
    Ok(Bench {
        library: &house.library,
        engine: &house.engine,
        lake: &house.lake,
        published,
        as_of: moment.as_of,
        brand: house.project.brand_defaults(),
        params: params(file, &look.param)?,
    })
}

async fn diff(global: &Global, house: &House, file: &SqlFile, args: &DiffArgs) -> Result<Exit, Failure> {
    let published = house.published().await?;
    let (what, diff) = if args.nights {
        nights(house, file).await?
    } else {
        let bench = bench(house, &published, file, &args.look)?;
        match &args.against {
            Some(revision) => {
                let earlier = project::library_at(house.project.root(), revision)?;
                (format!("the file as it stands, against {revision}"), bench.against(&earlier, &file.name).await?)
            }
            None => ("the file as it stands, against what was last built".to_owned(), bench.against_published(&file.name).await?),
        }
    };
    output::print(global, &diff, told(&what, &diff));
    Ok(Exit::Done)
}

/// What the last build changed.
async fn nights(house: &House, file: &SqlFile) -> Result<(String, Difference), Failure> {
    let versions = house.ledger.versions_of(&file.name, 2).await?;
    let [(now, _), (before, at)] = versions[..] else {
        let diagnosis = Diagnosis::new("one_build", format!("no two builds have made `{}` differently yet", file.name));
        return Err(Failure::wrong(
            diagnosis.hint("run `perennial run nightly` on another night; without --nights, the file is compared with the last build"),
        ));
    };
    let diff = model::difference(&house.engine, &file.name, (&house.lake, before), (&house.lake, now)).await?;
    Ok((format!("the last build, against that of {}", at.format("%F %H:%M UTC")), diff))
}

/// A difference in words.
fn told(what: &str, diff: &Difference) -> String {
    let mut text = format!(
        "{what}: {} entered, {} left, {} stayed, {} of them with other values\n",
        diff.entered.len(),
        diff.left.len(),
        diff.stayed,
        diff.changed
    );
    for (words, columns) in [("new columns", &diff.new_columns), ("columns that are gone", &diff.gone_columns)] {
        if !columns.is_empty() {
            let _ = writeln!(text, "{words}: {}", columns.join(", "));
        }
    }
    if !diff.columns.is_empty() {
        let columns: Vec<String> = diff.columns.iter().map(|(column, rows)| format!("{column} {rows}")).collect();
        let _ = writeln!(text, "other values in: {}", columns.join(", "));
    }
    for (sign, people) in [("+", &diff.entered), ("-", &diff.left)] {
        for person in people.iter().take(SHOWN) {
            let _ = writeln!(text, "  {sign} {person}");
        }
        if people.len() > SHOWN {
            let _ = writeln!(text, "  {sign} and {} more (--format json lists all)", people.len() - SHOWN);
        }
    }
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    for row in diff.rows.iter().take(SHOWN) {
        let changes = row.columns.iter().map(|(column, (before, after))| format!("{column} {} → {}", value(before), value(after)));
        let _ = writeln!(text, "  ~ {}  {}", row.customer_id, changes.collect::<Vec<_>>().join("; "));
    }
    if diff.changed > SHOWN as u64 {
        let _ = writeln!(text, "  ~ and {} more", diff.changed - SHOWN as u64);
    }
    text
}
