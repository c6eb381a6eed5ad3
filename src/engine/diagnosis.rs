//! What the engine says of a query, as a person would say it: what, where, and what to do next.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::{
    common::{Diagnostic, SchemaError, Span},
    error::DataFusionError,
};

use super::{
    cost::Refused,
    error::EngineError,
    foreign, places,
    query::{Origin, Place},
    readable,
};
use crate::{config::nearest, diagnosis::Diagnosis};

/// What a query could have named.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) tables: BTreeSet<String>,
    /// The functions, each with how it is called.
    pub(super) functions: BTreeMap<String, String>,
    /// Functions there are, and that no query may call.
    pub(super) fickle: BTreeSet<String>,
    pub(super) params: BTreeSet<String>,
    /// As set: `1.2 GiB`.
    pub(super) memory_limit: String,
    /// What was last asked of memory in vain.
    pub(super) refused: Option<Refused>,
}

/// A query took longer than `[engine] timeout`.
#[derive(Debug, thiserror::Error)]
#[error("the query took longer than {0}")]
pub(super) struct TookTooLong(pub(super) crate::config::Period);

/// What took up the memory in the thriftiest way that was tried, and what was asked for beyond it. The greediest step stands in the error:
/// `HashJoinInput[0]#7(can spill: false) consumed 27.0 MB, peak 27.0 MB,`.
fn asked(refused: &Refused, message: &str) -> String {
    let step = |name: &str| match name {
        name if name.contains("Join") || name.contains("SMJ") => "a join",
        name if name.contains("Sort") => "a sort",
        name if name.contains("Aggregate") => "a grouping",
        name if name.contains("Window") => "a window that holds all its rows",
        _ => "a step",
    };
    let first = message.lines().find_map(|line| line.trim().split_once(") consumed "));
    let most = first.and_then(|(name, bytes)| Some(format!(", {} of it by {}", bytes.split(',').next()?, step(name)))).unwrap_or_default();
    let (wanted, in_use) = (readable(refused.wanted.max(1 << 20)), readable(refused.in_use));
    format!(": in the thriftiest way that was tried, {in_use} were in use{most}, when {} asked for {wanted} more", step(&refused.step))
}

/// Turns an error of DataFusion into a diagnosis.
pub(super) fn explain(error: &DataFusionError, sql: &str, origin: Origin<'_>, known: &Known) -> EngineError {
    let error = first(error);
    let root = error.find_root();
    let here = |diagnosis: Diagnosis, place: Option<Place>| origin.place(diagnosis, place);
    let noted = error.diagnostic();
    match root {
        DataFusionError::ResourcesExhausted(message) => {
            let spill = message.contains("disk space");
            let (message, hint) = if spill {
                let hint = "raise `[engine] max_spill` in config/perennial.toml, or let the query read and sort less";
                ("the query spilled more to disk than it may".to_owned(), hint)
            } else {
                let hint = "raise `[engine] memory_limit` in config/perennial.toml, or let the query join and sort less at once";
                let asked = known.refused.as_ref().map(|refused| asked(refused, message)).unwrap_or_default();
                (format!("the query needs more memory than the {} it may use{asked}", known.memory_limit), hint)
            };
            EngineError::failed(here(Diagnosis::new("sql_memory", message).hint(hint), None))
        }
        DataFusionError::SQL(parser, _) => {
            let (message, place) = syntax(&parser.to_string());
            let (hint, place) = match place {
                None if message.contains("found: EOF") => {
                    ("the text ends too soon: a bracket or a word is missing", Some(places::end(sql)))
                }
                place => ("the mistake is here or shortly before", place),
            };
            EngineError::wrong(here(Diagnosis::new("sql_syntax", message).hint(hint), place))
        }
        DataFusionError::SchemaError(schema, _) => EngineError::wrong(here(column(schema), place_of(schema, noted, sql))),
        DataFusionError::External(external) if external.is::<TookTooLong>() => {
            let hint = "raise `[engine] timeout` in config/perennial.toml, or let the query read less";
            EngineError::failed(here(Diagnosis::new("sql_timeout", external.to_string()).hint(hint), None))
        }
        DataFusionError::Plan(message) => {
            let (diagnosis, place) = planned(message, noted, sql, known);
            EngineError::wrong(here(diagnosis, place))
        }
        DataFusionError::NotImplemented(message) if message.starts_with("Physical plan does not support logical expression") => {
            let diagnosis =
                Diagnosis::new("sql_unsupported", "an aggregate or a window function stands where the engine cannot compute it");
            EngineError::wrong(here(diagnosis.hint("compute it in a `with` clause, and use its result here"), None))
        }
        DataFusionError::NotImplemented(message) => {
            let hint = "the engine does not know this; write it another way";
            EngineError::wrong(here(Diagnosis::new("sql_unsupported", clean(message)).hint(hint), place_in(message, noted, sql)))
        }
        DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) | DataFusionError::ParquetError(_) => {
            let message = format!("a file of a table cannot be read: {}", clean(&root.to_string()));
            let hint = "run again; if it stays, pull or build that table anew";
            EngineError::failed(here(Diagnosis::new("sql_read", message).hint(hint), None))
        }
        _ => {
            let message = clean(&root.to_string());
            let place = place_in(&message, noted, sql);
            let lower = message.to_lowercase();
            let hint = if lower.contains("divide by zero") {
                "divide by nullif(…, 0)"
            } else if lower.contains("cast") || lower.contains("parse") {
                "use try_cast, which gives null where a value does not fit"
            } else if lower.contains("overflow") {
                "cast to a wider type, such as decimal(38, 4), before computing"
            } else {
                "look at the rows that reach this part of the query"
            };
            let diagnosis = Diagnosis::new("sql_failed", message).hint(hint);
            EngineError::failed(here(diagnosis, place))
        }
    }
}

/// Several mistakes at once: the first is told.
fn first(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Collection(errors) => errors.first().map_or(error, first),
        DataFusionError::Shared(shared) => first(shared),
        _ => error,
    }
}

/// The parser's words without its place, and the place.
fn syntax(message: &str) -> (String, Option<Place>) {
    let message = message.trim_start_matches("sql parser error: ");
    // What was found there may say so, too.
    let Some((said, rest)) = message.rsplit_once(" at Line: ") else { return (lower_first(message), None) };
    let mut numbers = rest.split(", Column: ").map(|number| number.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<usize>());
    let place = match (numbers.next(), numbers.next()) {
        (Some(Ok(line)), Some(Ok(column))) if line > 0 => Some((line, column)),
        _ => None,
    };
    (lower_first(said), place)
}

fn column(error: &SchemaError) -> Diagnosis {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let message = match &field.relation {
                Some(table) => format!("there is no column `{}` in `{table}`", field.name),
                None => format!("there is no column `{}`", field.name),
            };
            let diagnosis = Diagnosis::new("sql_unknown_column", message);
            let of_table = valid_fields.iter().filter(|valid| field.relation.is_none() || valid.relation == field.relation);
            let names: BTreeSet<&str> = of_table.map(|valid| valid.name.as_str()).collect();
            let relations: BTreeSet<String> = valid_fields.iter().filter_map(|valid| Some(valid.relation.as_ref()?.to_string())).collect();
            // A name is told with its table where there is more than one to look in.
            let full = |name: &str, elsewhere: bool| {
                let mut owners = valid_fields
                    .iter()
                    .filter(|valid| valid.name == name && (elsewhere || field.relation.is_none() || valid.relation == field.relation));
                match owners.next().and_then(|owner| owner.relation.as_ref()) {
                    Some(table) if relations.len() > 1 => format!("{table}.{name}"),
                    _ => name.to_owned(),
                }
            };
            // The column may be right and the table wrong.
            let elsewhere = field.relation.is_some() && valid_fields.iter().any(|valid| valid.name == field.name);
            let near = if elsewhere { None } else { nearest(&field.name, names.iter().copied()) };
            match near {
                Some(near) => diagnosis.hint(format!("did you mean `{}`?", full(near, false))),
                None if elsewhere => diagnosis.hint(format!("did you mean `{}`?", full(&field.name, true))),
                None if names.is_empty() && !relations.is_empty() => {
                    let tables = relations.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                    diagnosis.hint(format!("the tables named here are: {tables}"))
                }
                None if names.is_empty() => diagnosis.hint("nothing is read here that has columns; is a `from` missing?"),
                None => diagnosis.hint(format!("known here are: {}", names.into_iter().collect::<Vec<_>>().join(", "))),
            }
        }
        SchemaError::AmbiguousReference { field } => {
            let message = format!("column `{}` stands in more than one table", field.name);
            Diagnosis::new("sql_ambiguous_column", message).hint(format!("name the table, too: `table.{}`", field.name))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            let message = format!("two columns are named `{name}`");
            Diagnosis::new("sql_duplicate_column", message).hint("give one of them another name with `as`")
        }
    }
}

fn place_of(error: &SchemaError, noted: Option<&Diagnostic>, sql: &str) -> Option<Place> {
    let name = match error {
        SchemaError::FieldNotFound { field, .. } | SchemaError::AmbiguousReference { field } => match &field.relation {
            Some(table) => format!("{}.{}", table.table(), field.name),
            None => field.name.clone(),
        },
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => name.clone(),
    };
    span(noted).or_else(|| places::of_name(sql, &name))
}

/// What the planner says in words only.
fn planned(message: &str, noted: Option<&Diagnostic>, sql: &str, known: &Known) -> (Diagnosis, Option<Place>) {
    let named = quoted(message);
    let name = named.first().cloned().unwrap_or_default();
    let place = || span(noted).or_else(|| places::of_name(sql, &name));
    let near = |candidates: &BTreeSet<String>| nearest(&name, candidates.iter().map(String::as_str)).map(str::to_owned);
    let near_function = || nearest(&name, known.functions.keys().map(String::as_str));
    if message.starts_with("table function '") {
        let diagnosis = Diagnosis::new("sql_unknown_table", format!("there is no table function `{name}`"));
        return (diagnosis.hint("a query reads tables by name; `generate_series` and `range` are the only functions here"), place());
    }
    if message.starts_with("table '") && message.ends_with("not found") {
        let diagnosis = Diagnosis::new("sql_unknown_table", format!("there is no table `{name}`"));
        let hint = match near(&known.tables) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.tables.is_empty() => "there are no tables yet: pull a source or build first".to_owned(),
            None => "`perennial schema` lists the tables there are; a table is named like its file".to_owned(),
        };
        return (diagnosis.hint(hint), place());
    }
    if message.starts_with("Invalid function '") && known.fickle.contains(&name) {
        let diagnosis = Diagnosis::new("sql_not_repeatable", format!("`{name}` may give another answer in every run"));
        return (diagnosis.hint("use $as_of for the run's time, hash_bucket for chance, and columns for everything else"), place());
    }
    if message.starts_with("Invalid function '") {
        let diagnosis = Diagnosis::new("sql_unknown_function", format!("there is no function `{name}`"));
        let hint = match (foreign::instead_of(&name), near_function()) {
            (Some((instead, section)), _) => format!("{instead}; see docs/coming-from.md#{section}"),
            (None, Some(near)) => format!("did you mean `{}`?", known.functions.get(near).map_or(near, String::as_str)),
            (None, None) => {
                "docs/coming-from.md says what other databases' functions are called here; `\\f` in `perennial query` lists our own"
                    .to_owned()
            }
        };
        return (diagnosis.hint(hint), place());
    }
    if let Some(param) =
        message.strip_prefix("Unknown placeholder: $").or_else(|| message.strip_prefix("No value found for placeholder with id $"))
    {
        let diagnosis = Diagnosis::new("sql_unknown_parameter", format!("there is no value for the parameter `${param}`"));
        let hint = match nearest(param, known.params.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `${near}`?"),
            None => format!("declare it in the file's front matter: params = {{ {param} = … }}"),
        };
        return (diagnosis.hint(hint), places::of_name(sql, &format!("${param}")));
    }
    if let Some((function, why)) = misused(message) {
        let syntax = known.functions.get(&function).filter(|syntax| !syntax.is_empty());
        let hint = match syntax {
            Some(syntax) => format!("it is called `{syntax}`; cast the values to what it takes"),
            None => "cast the values to the types the function takes".to_owned(),
        };
        return (Diagnosis::new("sql_plan", why).hint(hint), span(noted).or_else(|| places::of_name(sql, &function)));
    }
    if let Some(noted) = noted.filter(|noted| noted.message == "expressions have incompatible types" && !noted.notes.is_empty()) {
        let kinds: Vec<String> = noted.notes.iter().map(|note| types(note.message.trim_start_matches("has type "))).collect();
        let diagnosis = Diagnosis::new("sql_plan", format!("these do not go together: {}", kinds.join(" and ")));
        let place = span(Some(noted)).or_else(|| noted.notes.iter().find_map(|note| note.span.and_then(at)));
        return (diagnosis.hint("cast one of them to the other's type: `cast(… as …)`"), place);
    }
    let said = noted.map_or(message, |noted| noted.message.as_str());
    let help = noted.and_then(|noted| noted.helps.first().map(|help| &help.message).or(noted.notes.first().map(|note| &note.message)));
    let hint = match help {
        // The engine would have us call a function that differs from run to run.
        Some(help) => lower_first(help.split(", or use an aggregate function like").next().unwrap_or(help)),
        None if message.contains("coerce") || message.contains("No function matches") || message.contains("signature") => {
            "cast the values to the types the function or operator takes".to_owned()
        }
        None if message.contains("GROUP BY") => "add the column to `group by`, or aggregate it: min(…), max(…)".to_owned(),
        None => "the query is well formed, but cannot be carried out like this".to_owned(),
    };
    (Diagnosis::new("sql_plan", clean(said)).hint(hint), place_in(message, noted, sql))
}

/// Of a function that does not take the values it is given: its name, and why.
fn misused(message: &str) -> Option<(String, String)> {
    // Our own functions say it themselves: "function 'f' user-defined coercion failed with: Error during planning: why. No function matches …"
    let (_, call) = message.split_once("name and argument types '")?;
    let (call, _) = call.split_once('\'')?;
    let (function, given) = call.split_once('(')?;
    let own = message.split_once("failed with: ").map(|(_, said)| said.split(" No function matches").next().unwrap_or(said));
    let why = match own {
        Some(said) if !said.contains("does not support") => clean(said),
        _ => format!("`{function}` does not take ({}", types(given)),
    };
    Some((function.to_lowercase(), why))
}

/// Types in the words of people who write SQL.
fn types(given: &str) -> String {
    const WORDS: &[(&str, &str)] = &[
        ("Utf8View", "text"),
        ("Utf8", "text"),
        ("Int64", "integer"),
        ("Int32", "integer"),
        ("Float64", "double"),
        ("Boolean", "boolean"),
        ("Date32", "date"),
        ("Decimal128", "decimal"),
        ("Timestamp(µs, \"UTC\")", "instant"),
        ("Timestamp(ns)", "timestamp"),
        ("Interval(MonthDayNano)", "interval"),
    ];
    WORDS.iter().fold(given.to_owned(), |text, (arrow, word)| text.replace(arrow, word))
}

fn span(noted: Option<&Diagnostic>) -> Option<Place> {
    noted?.span.and_then(at)
}

fn at(span: Span) -> Option<Place> {
    let place = (usize::try_from(span.start.line).ok()?, usize::try_from(span.start.column).ok()?);
    (place.0 > 0).then_some(place)
}

/// The place of the first thing a message names that stands in the text.
fn place_in(message: &str, noted: Option<&Diagnostic>, sql: &str) -> Option<Place> {
    let named = || quoted(message).iter().find_map(|name| places::of_name(sql, name).or_else(|| places::of_text(sql, name)));
    span(noted).or_else(named).or_else(|| {
        let words = message.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '.');
        // Short words stand anywhere; names of columns and functions have some length or an underscore.
        words.filter(|word| word.len() > 5 || word.contains('_')).find_map(|word| places::of_name(sql, word))
    })
}

fn quoted(message: &str) -> Vec<String> {
    message.split(['\'', '"', '`']).skip(1).step_by(2).map(str::to_owned).collect()
}

/// One line, in lower case, without the engine's own prefixes, and without what looks like somebody's address.
fn clean(message: &str) -> String {
    const PREFIXES: &[&str] = &[
        "Error during planning: ",
        "Arrow error: ",
        "Execution error: ",
        "Internal error: ",
        "This feature is not implemented: ",
        "Cast error: ",
        "Compute error: ",
        "Parser error: ",
        "Invalid argument error: ",
        "Optimizer rule ",
    ];
    let mut message = message.lines().next().unwrap_or_default().trim();
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| message.strip_prefix(prefix)) {
        message = rest;
    }
    let words: Vec<&str> = message.split(' ').map(|word| if word.contains('@') { "…" } else { word }).collect();
    lower_first(words.join(" ").trim_end_matches('.'))
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        // `GROUP BY` and the like keep their capitals.
        Some(first) if !letters.as_str().starts_with(|c: char| c.is_uppercase()) => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}
