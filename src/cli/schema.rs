//! `perennial schema`

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{global::Global, output};
use crate::{
    campaign,
    config::FileKind,
    delivery,
    diagnosis::{Diagnosis, Exit, Failure},
    job,
    model::{self, Library},
    project::{self, ColumnEntry, TableColumns, Tables, first_sentence},
    source,
};

/// The kinds of TOML files people write.
const FILES: [FileKind; 7] = [
    project::DEPLOYMENT_FILE,
    source::SOURCE_FILE,
    job::JOB_FILE,
    campaign::CAMPAIGN_FILE,
    delivery::API_FILE,
    model::TEST_FILE,
    model::FRONT_MATTER,
];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A table, or a kind of TOML file: perennial, source, job, campaign, api, test, front-matter
    name: Option<String>,
    /// NAME is a table, though a kind of file is called so, too
    #[arg(long, requires = "name")]
    table: bool,
    /// Write the JSON Schema of each kind of file there, as <kind>.json
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    write: Option<PathBuf>,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    if let Some(folder) = &args.write {
        let written = write(folder)?;
        let text: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
        output::print(global, &json!({ "written": written }), text.join("\n"));
        return Ok(Exit::Done);
    }
    let kind = FILES.iter().find(|kind| !args.table && Some(kind.name) == args.name.as_deref());
    match (&args.name, kind) {
        (_, Some(kind)) => {
            if Library::load(&global.project).is_ok_and(|library| library.kind(kind.name).is_some()) {
                tracing::warn!("there is a table of that name, too: perennial schema --table {}", kind.name);
            }
            let schema = kind.schema();
            output::print(global, &schema, pretty(&schema));
        }
        (Some(name), None) => {
            let told = Tables::open(&global.folder())?.columns(name, &FILES.map(|kind| kind.name)).await?;
            output::print(global, &told, drawn(&told));
        }
        (None, None) => list(global, &Tables::open(&global.folder())?).await,
    }
    Ok(Exit::Done)
}

async fn list(global: &Global, tables: &Tables) {
    let all = tables.all().await;
    let mut text = String::from("TOML files (perennial schema NAME prints the JSON Schema):\n");
    for kind in FILES {
        let _ = writeln!(text, "  {:<13} {:<44} {}", kind.name, kind.files, first_sentence(kind.about));
    }
    text.push_str("\nTables (perennial schema NAME tells the columns):\n");
    let width = all.iter().map(|entry| entry.table.chars().count()).max().unwrap_or_default();
    for entry in &all {
        let _ = writeln!(text, "  {:<width$}  {:<9}  {}", entry.table, entry.kind.name(), entry.sentence());
    }
    let files: Vec<_> = FILES.iter().map(|kind| json!({ "name": kind.name, "files": kind.files, "description": kind.about })).collect();
    output::print(global, &json!({ "files": files, "tables": all }), text);
}

fn drawn(told: &TableColumns) -> String {
    let TableColumns { entry, key, columns, staging } = told;
    let files: Vec<String> = entry.files.iter().map(|file| file.display().to_string()).collect();
    let made = if files.is_empty() { String::new() } else { format!(", {}", files.join(", ")) };
    let mut text = format!("{} ({}{made})\n", entry.table, entry.kind.name());
    if let Some(description) = &entry.description {
        let _ = writeln!(text, "{description}");
    }
    if !key.is_empty() {
        let _ = writeln!(text, "Key: {}", key.join(", "));
    }
    let cells = |column: &ColumnEntry| {
        let null = if column.nullable == Some(false) { "not null" } else { "" };
        [column.name.clone(), column.kind.clone(), null.to_owned(), column.description.clone().unwrap_or_default()]
    };
    text.push('\n');
    text.push_str(&table(columns.iter().map(cells).collect()));
    if !staging.is_empty() {
        text.push_str("\nStaging may also give, for the program to use and drop:\n");
        text.push_str(&table(staging.iter().map(cells).collect()));
    }
    text
}

/// Lines of cells, each column as wide as its widest; a cell that is much wider than the others pushes the rest of its line.
fn table(rows: Vec<[String; 4]>) -> String {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.filter(|width| *width <= 40).max().unwrap_or_default()
    };
    let (name, kind, null) = (width(0), width(1), width(2));
    let mut text = String::new();
    for [a, b, c, d] in &rows {
        let line = format!("  {a:<name$}  {b:<kind$}  {c:<null$}  {d}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Writes the schema of every kind; says where.
fn write(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unwritable = |path: &Path, error: &std::io::Error| {
        Failure::failed(
            Diagnosis::new("unwritable", format!("cannot be written: {error}"))
                .in_file(path)
                .hint("let the program's user write there, or choose another folder"),
        )
    };
    fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    let mut written = Vec::new();
    for kind in FILES {
        let path = folder.join(format!("{}.json", kind.name));
        fs::write(&path, format!("{}\n", pretty(&kind.schema()))).map_err(|error| unwritable(&path, &error))?;
        written.push(path);
    }
    Ok(written)
}

fn pretty(schema: &serde_json::Value) -> String {
    serde_json::to_string_pretty(schema).unwrap_or_default()
}

#[cfg(test)]
mod tests;
