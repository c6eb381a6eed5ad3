//! The prompt of `perennial query`: queries that end with a semicolon, one after the other.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead, IsTerminal, Write as _},
    path::Path,
};

use datafusion::scalar::ScalarValue;

use super::{global::Global, output, query::answer};
use crate::{
    diagnosis::{Exit, Failure},
    engine::{complete, documentation},
    job::House,
};

const HELP: &str = "end a query with `;`   \\d tables   \\d NAME columns of a table   \\f functions of our own   \\q leave";

/// Reads queries until the input ends. On a terminal a mistake is told and the next query is waited for; otherwise it ends the command.
pub(super) async fn run(
    global: &Global,
    house: &House,
    params: &BTreeMap<String, ScalarValue>,
    out: Option<&Path>,
) -> Result<Exit, Failure> {
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        eprintln!("{HELP}");
    }
    let mut typed = String::new();
    loop {
        if terminal {
            eprint!("{}", if typed.is_empty() { "perennial> " } else { "        -> " });
            // Where the prompt cannot be shown, the query can be typed all the same.
            let _ = std::io::stderr().flush();
        }
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line).unwrap_or_default();
        let ended = read == 0;
        if typed.trim().is_empty() && line.trim_start().starts_with('\\') {
            if line.trim() == "\\q" {
                return Ok(Exit::Done);
            }
            print!("{}", command(house, line.trim()).await?);
            continue;
        }
        typed.push_str(&line);
        if (complete(&typed) || ended) && !typed.trim().is_empty() {
            let asked = std::mem::take(&mut typed);
            match answer(global, house, &asked, None, params.clone(), out).await {
                Err(failure) if terminal => output::fail(global, &failure),
                answered => drop(answered?),
            }
        }
        if ended {
            return Ok(Exit::Done);
        }
    }
}

/// What a line that begins with a backslash asks for.
async fn command(house: &House, line: &str) -> Result<String, Failure> {
    let mut words = line.split_whitespace();
    let mut text = String::new();
    match (words.next().unwrap_or_default(), words.next()) {
        ("\\d", None) => house.readable().await?.keys().for_each(|table| {
            let _ = writeln!(text, "{table}");
        }),
        ("\\d", Some(table)) => match house.readable().await?.get(table) {
            Some(version) => {
                let comments = house.library.get(table).map(|file| file.columns.clone()).unwrap_or_default();
                for field in house.lake.schema(table, *version).await?.fields() {
                    let comment = comments.get(field.name()).map(|comment| format!("  {comment}")).unwrap_or_default();
                    let _ = writeln!(text, "{:<26} {}{comment}", field.name(), field.data_type());
                }
            }
            None => {
                let _ = writeln!(text, "there is no table `{table}`; \\d lists them");
            }
        },
        ("\\f", _) => {
            for function in documentation() {
                let _ = writeln!(text, "{}\n    {}", function.syntax, function.description);
            }
        }
        _ => {
            let _ = writeln!(text, "{HELP}");
        }
    }
    Ok(text)
}
