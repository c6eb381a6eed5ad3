//! `perennial schema`

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{global::Global, output};
use crate::{
    campaign,
    config::{FileKind, nearest},
    diagnosis::{Diagnosis, Exit, Failure},
    job, model, project, source,
};

/// The kinds of TOML files people write.
const FILES: [FileKind; 6] =
    [project::DEPLOYMENT_FILE, source::SOURCE_FILE, job::JOB_FILE, campaign::CAMPAIGN_FILE, model::TEST_FILE, model::FRONT_MATTER];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A kind of TOML file: perennial, source, job, campaign, test, front-matter
    name: Option<String>,
    /// Write the JSON Schema of each kind of file there, as <kind>.json
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    write: Option<PathBuf>,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, Failure> {
    if let Some(folder) = &args.write {
        let written = write(folder)?;
        let text: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
        output::print(global, &json!({ "written": written }), text.join("\n"));
        return Ok(Exit::Done);
    }
    let Some(name) = &args.name else {
        let lines = FILES.iter().map(|kind| format!("{:<13} {:<44} {}\n", kind.name, kind.files, kind.about));
        let files: Vec<_> = FILES.iter().map(|kind| json!({ "name": kind.name, "files": kind.files, "description": kind.about })).collect();
        output::print(global, &json!({ "files": files }), lines.collect::<String>());
        return Ok(Exit::Done);
    };
    let schema = FILES.iter().find(|kind| kind.name == name).ok_or_else(|| unknown(name))?.schema();
    output::print(global, &schema, pretty(&schema));
    Ok(Exit::Done)
}

fn unknown(name: &str) -> Failure {
    let diagnosis = Diagnosis::new("unknown_name", format!("there is no kind of file called `{name}`"));
    Failure::wrong(match nearest(name, FILES.iter().map(|kind| kind.name)) {
        Some(near) => diagnosis.hint(format!("did you mean `{near}`?")),
        None => diagnosis.hint("`perennial schema` lists them"),
    })
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
