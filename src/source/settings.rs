//! What the kinds of sources have in common in `config/sources/<source>.toml`, and what is checked before the first request.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    columns::{Column, Columns, DeclaredColumns, Format, Origin, Type},
    database::settings::DatabaseStream,
    deletes::{Deletes, Events, Seeing},
    error::StreamName,
    extra::{EXTRA, Taken},
    file::settings::{FileStream, Mode},
    http::{
        job::Job,
        pages::{Keyset, Pagination, path},
        settings::{CursorFormat, HttpStream, Method},
    },
    pull, values,
};
use crate::{
    config::{ConfigError, Period, locate, nearest},
    diagnosis::Diagnosis,
};

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SourceKind")]
pub(crate) enum Kind {
    /// JSON over HTTP.
    Http,
    /// Files in the project folder, in a bucket or at an address.
    File,
    /// A PostgreSQL or MySQL/MariaDB database.
    Database,
}

/// Read before anything else.
#[derive(Debug, Deserialize)]
pub(crate) struct JustKind {
    pub(crate) kind: Kind,
}

/// What happens to a row that does not fit its columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnBadValue {
    /// The stream fails, and says which row.
    #[default]
    Stop,
    /// The row goes to the quarantine table, and is counted.
    Quarantine,
    /// The column gets a type that holds the value and all that was there; where none does, the stream fails.
    Widen,
}

/// How rows get into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// By key.
    Merge,
    /// In place of all that was there.
    Replace,
}

/// One stream, checked.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) name: StreamName,
    pub(crate) columns: Columns,
    /// Positions of the key's columns.
    pub(crate) key: Vec<usize>,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) deletes: Seeing,
    /// Where else they are listed; known once all streams of the source are.
    pub(crate) events: Option<Events>,
    pub(crate) on_bad_value: OnBadValue,
    pub(crate) write: Write,
    /// What the cursor is true for: with other columns, another path or other parameters it says nothing.
    pub(crate) fingerprint: String,
    pub(crate) reads: Reads,
}

/// What a stream is read from.
#[derive(Debug, Clone)]
pub(crate) enum Reads {
    Http(Box<HttpStream>),
    File(Box<FileStream>),
    Database(Box<DatabaseStream>),
}

/// How a stream asks for what changed, checked.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    /// The position of the column.
    pub(crate) column: usize,
    /// Whether it is an instant (or a date); else it is a number that grows.
    pub(crate) timed: bool,
    /// Whether the source takes an upper bound.
    pub(crate) bounded_above: bool,
    pub(crate) overlap: Period,
    pub(crate) settle: Period,
    pub(crate) start: Option<String>,
    /// Whether there may be rows older than `start`; from 1970 on it is the very beginning.
    pub(crate) starts_late: bool,
    /// How long the source keeps its changes, where not for ever.
    pub(crate) kept: Option<Period>,
    pub(crate) format: CursorFormat,
}

impl Stream {
    /// How it is said to see deletes.
    pub(crate) fn deletes_declared(&self) -> &Deletes {
        match &self.reads {
            Reads::Http(settings) => &settings.deletes,
            Reads::File(settings) => &settings.deletes,
            Reads::Database(settings) => &settings.deletes,
        }
    }

    /// How it sees deletes, as its settings name it.
    pub(crate) fn sees_deletes(&self) -> &'static str {
        match (self.deletes, &self.events) {
            (Seeing::Nothing, None) => "none",
            (Seeing::Nothing, Some(_)) => "events",
            (Seeing::Flag(_), _) => "flag",
            (Seeing::Reconcile { .. }, None) => "reconcile",
            (Seeing::Reconcile { .. }, Some(_)) => "events, reconcile",
        }
    }

    /// Whether rows are compared by the column at a position, so that it keeps its type.
    pub(crate) fn compares(&self, position: usize) -> bool {
        self.key.contains(&position) || self.cursor.as_ref().is_some_and(|cursor| cursor.column == position)
    }

    /// The job whose result it is, where it is one.
    pub(crate) fn job(&self) -> Option<&Job> {
        match &self.reads {
            Reads::Http(settings) => match &settings.pagination {
                Pagination::Job(job) => Some(job),
                _ => None,
            },
            _ => None,
        }
    }

    /// The key's columns by name.
    pub(crate) fn key_names(&self) -> Vec<String> {
        self.key.iter().map(|position| self.columns.list[*position].name.clone()).collect()
    }

    /// Checks a stream over HTTP.
    pub(crate) fn http(spot: &Spot<'_>, name: StreamName, settings: HttpStream) -> Result<Self, ConfigError> {
        let spot = spot.below(&name.stream);
        let mut asked = vec![settings.path.clone(), settings.rows.clone(), format!("{:?}", settings.params), format!("{:?}", settings.key)];
        asked.extend(settings.body.as_ref().map(ToString::to_string));
        asked.extend(settings.deletes.events.as_ref().map(|events| format!("{events:?}")));
        asked.extend(settings.extra.then(|| EXTRA.to_owned()));
        if let Pagination::Job(job) = &settings.pagination {
            asked.push(job.reading());
            check_job(&spot, &settings, job)?;
        }
        let fingerprint = fingerprint(&asked, &settings.columns);
        if !settings.path.starts_with('/') {
            return Err(spot.wrong(&["path"], "bad_value", format!("the path `{}` does not begin with `/`", settings.path), None));
        }
        if settings.max_pages == 0 {
            return Err(spot.wrong(&["max_pages"], "bad_value", "a stream of no pages reads nothing".to_owned(), None));
        }
        check_request(&spot, &settings)?;
        let columns = checked(&spot, &settings.columns, Vec::new(), settings.extra)?;
        let key = merge_key(&spot, &columns, &settings.key)?;
        let cursor = match &settings.cursor {
            None => None,
            Some(cursor) => {
                let (column, timed) = followed(&spot, &columns, &cursor.field)?;
                let bounded_above = cursor.until_param.is_some() || settings.uses("{until}").any();
                if !timed && (cursor.overlap.is_some() || bounded_above || cursor.format != CursorFormat::default()) {
                    let message = "a cursor that counts has no `overlap`, `until_param` (nor `{until}`) or `format`".to_owned();
                    return Err(spot.wrong(&["cursor"], "bad_cursor", message, None));
                }
                if bounded_above && settings.pagination.can_slip() && settings.pagination.total().is_none() {
                    let message =
                        "rows that change while numbered pages are read leave the window unseen, unless their total is known".to_owned();
                    let hint =
                        "add the path of the total to `pagination`, such as `total = \"total\"`, or leave out the upper bound".to_owned();
                    return Err(spot.wrong(&["cursor", "until_param"], "bad_cursor", message, Some(hint)));
                }
                check_start(&spot, cursor.start.as_deref(), timed, &columns[column])?;
                if cursor.kept.is_some() && (!timed || matches!(settings.deletes.seeing(&spot, &columns)?, Seeing::Reconcile { .. })) {
                    let message =
                        "changes that are `kept` for some time only have a cursor that is an instant, and nothing is reconciled with them";
                    return Err(spot.wrong(&["cursor", "kept"], "bad_cursor", message.to_owned(), None));
                }
                Some(Cursor {
                    column,
                    timed,
                    kept: cursor.kept,
                    bounded_above,
                    overlap: cursor.overlap.unwrap_or(Period::seconds(if timed { 300 } else { 0 })),
                    settle: cursor.settle,
                    start: cursor.start.as_deref().map(|start| begins(start, cursor.format, &columns[column])),
                    starts_late: starts_late(cursor.start.as_deref(), &columns[column]),
                    format: cursor.format,
                })
            }
        };
        let mut taken: Vec<(&str, &[&str])> =
            settings.pagination.params().into_iter().map(|param| (param, ["pagination"].as_slice())).collect();
        if let Some(cursor) = &settings.cursor {
            taken.extend(cursor.param.as_deref().map(|param| (param, ["cursor", "param"].as_slice())));
            taken.extend(cursor.until_param.as_deref().map(|param| (param, ["cursor", "until_param"].as_slice())));
        }
        for (position, (param, place)) in taken.iter().enumerate() {
            if settings.params.contains_key(*param) {
                let message = format!("the parameter `{param}` is also set by `{}`", place[0]);
                return Err(spot.wrong(&["params", param], "param_clash", message, Some("remove it from `params`".to_owned())));
            }
            if taken[..position].iter().any(|(other, _)| other == param) {
                let message = format!("the parameter `{param}` is used twice, for paging and for the cursor");
                return Err(spot.wrong(place, "param_clash", message, None));
            }
        }
        let deletes = settings.deletes.seeing(&spot, &columns)?;
        check_sweep(&spot, deletes, cursor.as_ref())?;
        Ok(Self {
            name,
            columns: Columns::new(columns, settings.deletes.any()),
            key,
            cursor,
            deletes,
            events: None,
            on_bad_value: settings.on_bad_value,
            write: Write::Merge,
            fingerprint,
            reads: Reads::Http(Box::new(settings)),
        })
    }

    /// Checks a table or query of a database.
    pub(crate) fn database(spot: &Spot<'_>, name: StreamName, settings: DatabaseStream) -> Result<Self, ConfigError> {
        let spot = spot.below(&name.stream);
        let mut asked = vec![format!("{:?}{:?}{:?}", settings.table, settings.query, settings.key)];
        asked.extend(settings.deletes.events.as_ref().map(|events| format!("{events:?}")));
        let fingerprint = fingerprint(&asked, &settings.columns);
        settings.check(&spot)?;
        let columns = checked(&spot, &settings.columns, Vec::new(), false)?;
        let key = merge_key(&spot, &columns, &settings.key)?;
        let cursor = match &settings.cursor {
            None => None,
            Some(cursor) => {
                let (column, timed) = followed(&spot, &columns, &cursor.field)?;
                if !timed && cursor.overlap.is_some() {
                    let message = "a cursor that counts has no `overlap`".to_owned();
                    return Err(spot.wrong(&["cursor"], "bad_cursor", message, None));
                }
                if columns[column].rules.format.is_some() {
                    let message = format!("the database compares what it keeps, and `{}` has a `timestamp_format`", cursor.field);
                    let hint = "follow a column of times, or declare this one as `integer` where it counts them".to_owned();
                    return Err(spot.wrong(&["cursor", "field"], "bad_cursor", message, Some(hint)));
                }
                check_start(&spot, cursor.start.as_deref(), timed, &columns[column])?;
                Some(Cursor {
                    column,
                    timed,
                    bounded_above: false,
                    overlap: cursor.overlap.unwrap_or(Period::seconds(if timed { 300 } else { 0 })),
                    settle: cursor.settle,
                    start: cursor.start.clone(),
                    starts_late: starts_late(cursor.start.as_deref(), &columns[column]),
                    kept: None,
                    format: CursorFormat::Rfc3339,
                })
            }
        };
        let deletes = settings.deletes.seeing(&spot, &columns)?;
        check_sweep(&spot, deletes, cursor.as_ref())?;
        Ok(Self {
            name,
            columns: Columns::new(columns, settings.deletes.any()),
            key,
            cursor,
            deletes,
            events: None,
            on_bad_value: settings.on_bad_value,
            write: Write::Merge,
            fingerprint,
            reads: Reads::Database(Box::new(settings)),
        })
    }

    /// Checks a stream of files.
    pub(crate) fn file(spot: &Spot<'_>, name: StreamName, settings: FileStream) -> Result<Self, ConfigError> {
        let spot = spot.below(&name.stream);
        let mut asked = vec![settings.path.clone(), format!("{:?}", settings.key), settings.reading()];
        asked.extend(settings.deletes.events.as_ref().map(|events| format!("{events:?}")));
        asked.extend(settings.extra.then(|| EXTRA.to_owned()));
        let fingerprint = fingerprint(&asked, &settings.columns);
        settings.check(&spot)?;
        let mut made = Vec::new();
        for (setting, name, origin, kind) in [
            ("row_number", &settings.row_number, Origin::Line, Type::Integer),
            ("file_name", &settings.file_name, Origin::File, Type::Text),
        ] {
            if let Some(name) = name {
                if settings.columns.0.iter().any(|(declared, _)| declared == name) {
                    let message = format!("the column `{name}` of `{setting}` is declared among the columns too");
                    return Err(spot.wrong(&[setting], "bad_value", message, None));
                }
                made.push(Column::new(name, origin, kind));
            }
        }
        let columns = checked(&spot, &settings.columns, made, settings.extra)?;
        let key = key(&spot, &columns, &settings.key)?;
        if key.is_empty() && settings.mode == Mode::Merge {
            let message = "rows are merged by their key, and none is named".to_owned();
            let hint = "name the columns that tell one row from another, or set `mode = \"replace\"`".to_owned();
            return Err(spot.wrong(&["mode"], "bad_value", message, Some(hint)));
        }
        let deletes = settings.deletes.seeing(&spot, &columns)?;
        Ok(Self {
            name,
            columns: Columns::new(columns, settings.deletes.any()),
            key,
            cursor: None,
            deletes,
            events: None,
            on_bad_value: settings.on_bad_value,
            write: if settings.mode == Mode::Merge { Write::Merge } else { Write::Replace },
            fingerprint,
            reads: Reads::File(Box::new(settings)),
        })
    }
}

/// Checks what a stream says of a job.
fn check_job(spot: &Spot<'_>, settings: &HttpStream, job: &Job) -> Result<(), ConfigError> {
    job.check().map_err(|(place, message, hint)| {
        let place: Vec<&str> = ["pagination", "job"].iter().chain(place).copied().collect();
        spot.wrong(&place, "bad_value", message, Some(hint.to_owned()))
    })?;
    let none = |place: &str, message: &str| Err(spot.wrong(&[place], "bad_value", message.to_owned(), Some("remove it".to_owned())));
    match settings {
        HttpStream { rows, .. } if !rows.is_empty() => none("rows", "the rows of a job's result are its lines"),
        HttpStream { truncated, .. } if !truncated.is_empty() => none("truncated", "what a job's result holds is whole"),
        _ => Ok(()),
    }
}

/// The key of a stream whose rows are merged: it cannot be empty.
fn merge_key(spot: &Spot<'_>, columns: &[Column], names: &[String]) -> Result<Vec<usize>, ConfigError> {
    if names.is_empty() {
        let hint = "name the columns that tell one row from another, such as `key = [\"id\"]`".to_owned();
        return Err(spot.wrong(&["key"], "bad_value", "the key is empty; rows are merged by it".to_owned(), Some(hint)));
    }
    key(spot, columns, names)
}

/// The column that a cursor follows, and whether it is an instant.
fn followed(spot: &Spot<'_>, columns: &[Column], field: &str) -> Result<(usize, bool), ConfigError> {
    let column = position(spot, columns, &["cursor", "field"], field)?;
    match columns[column].kind {
        Type::Timestamp | Type::Date => Ok((column, true)),
        Type::Integer => Ok((column, false)),
        _ => {
            let message = format!("the cursor `{field}` is neither a timestamp, a date nor an integer");
            Err(spot.wrong(&["cursor", "field"], "bad_cursor", message, None))
        }
    }
}

/// Checks what a stream over HTTP asks with: its body, and the placeholders in it.
fn check_request(spot: &Spot<'_>, settings: &HttpStream) -> Result<(), ConfigError> {
    let wrong = |place: &[&str], code: &str, message: &str, hint: &str| {
        Err(spot.wrong(place, code, message.to_owned(), Some(hint.to_owned()).filter(|hint| !hint.is_empty())))
    };
    let (since, until, token) = (settings.uses("{since}"), settings.uses("{until}"), settings.uses("{token}"));
    let (after, tie) = (settings.uses("{after}"), settings.uses("{tie}"));
    match &settings.body {
        Some(_) if settings.method == Method::Get => {
            return wrong(&["body"], "bad_value", "a body is posted, and this stream asks with GET", "add `method = \"post\"`");
        }
        // What the TOML parser makes of a date that stands there without quotes.
        Some(body) if !body.is_object() || body.to_string().contains("$__toml_private_datetime") => {
            return wrong(&["body"], "bad_value", "a body is a table of texts, numbers, lists and tables", "put dates in quotes");
        }
        _ => {}
    }
    if settings.method == Method::Post && settings.pagination.follows() {
        let message = "addresses of next pages are followed with GET, and this stream asks with POST";
        return wrong(&["pagination"], "bad_value", message, "use `cursor_token` or `last_id` with `{token}` in the body");
    }
    if let Err((message, hint)) = settings.pagination.check() {
        return wrong(&["pagination"], "bad_value", message, hint);
    }
    if settings.pagination.ascends() && settings.cursor.is_none() {
        let message = "this way of paging follows the cursor, and the stream has none";
        return wrong(&["pagination"], "bad_value", message, "add a line `cursor = { field = … }`; the rows have to ascend by it");
    }
    match &settings.pagination {
        Pagination::Keyset(Keyset { tie: named, first, .. }) => {
            if !after.any() || tie.any() != named.is_some() {
                let message =
                    "`{after}` stands for the last row's cursor value and `{tie}` for its `tie`, and what is asked for has to hold them";
                let hint = "put `{after}`, and `{tie}` where `tie` names a field, into `params`, `path` or `body`";
                return wrong(&["pagination"], "bad_value", message, hint);
            }
            if tie.within && first.is_none() {
                let message = "`{tie}` stands inside a longer text, and the first page has nothing to put there";
                return wrong(&["pagination"], "bad_value", message, "say what stands there first: `keyset = { tie = …, first = \"\" }`");
            }
        }
        _ if after.any() || tie.any() => {
            let message = "`{after}` and `{tie}` stand for the last row of a page, and this stream's paging does not follow it";
            return wrong(&["pagination"], "bad_value", message, "use `keyset`, or remove them");
        }
        _ => {}
    }
    match &settings.cursor {
        None if since.any() || until.any() => {
            let message = "`{since}` and `{until}` stand for the bounds of a cursor, and this stream has none";
            return wrong(&[], "bad_cursor", message, "add a line `cursor = { field = … }`");
        }
        Some(cursor) if cursor.param.is_none() && !since.any() && !after.any() => {
            let message = "nothing asks for rows from the cursor on";
            return wrong(
                &["cursor"],
                "bad_cursor",
                message,
                "name the query parameter, `param = …`, or put `{since}` into `params`, `path` or `body`",
            );
        }
        Some(cursor) if cursor.start.is_none() && (since.within || after.within) => {
            let message = "the lower bound stands inside a longer text, and the first pull has nothing to put there";
            return wrong(
                &["cursor"],
                "bad_cursor",
                message,
                "say where the first pull begins, such as `start = \"2020-01-01T00:00:00Z\"`",
            );
        }
        _ => {}
    }
    let pagination = &settings.pagination;
    let by_param = pagination.takes_token() && !pagination.params().is_empty();
    if token.any() && !pagination.takes_token() {
        let message = "`{token}` stands for where a page begins, and this stream's paging has no tokens";
        return wrong(&["pagination"], "bad_value", message, "use `cursor_token` or `last_id`, or remove `{token}`");
    }
    if pagination.takes_token() && by_param == token.any() {
        let message = if by_param { "the token goes into a parameter and into `{token}` too" } else { "the token goes nowhere" };
        return wrong(
            &["pagination"],
            "bad_value",
            message,
            "either name the query parameter, `param = …`, or put `{token}` into `params`, `path` or `body`",
        );
    }
    if token.within && pagination.first_token().is_none() {
        let message = "`{token}` stands inside a longer text, and the first page has none";
        return wrong(
            &["pagination"],
            "bad_value",
            message,
            "let it be a text of its own, or say what stands there first: `last_id = { first = … }`",
        );
    }
    Ok(())
}

/// Where the first pull begins, as the source reads it.
fn begins(start: &str, format: CursorFormat, column: &Column) -> String {
    match moment(start, column).filter(|_| format != CursorFormat::Rfc3339) {
        Some(at) => pull::written(at, format, None),
        None => start.to_owned(),
    }
}

/// What a start means, in microseconds since 1970: written as the source writes its times, as an instant, or as a day.
fn moment(start: &str, column: &Column) -> Option<i64> {
    let instant = || Some(start.parse::<chrono::DateTime<chrono::Utc>>().ok()?.timestamp_micros());
    let day = || Some(start.parse::<chrono::NaiveDate>().ok()?.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros());
    values::timestamp(start, &column.rules).ok().or_else(instant).or_else(day)
}

fn starts_late(start: Option<&str>, column: &Column) -> bool {
    start.is_some_and(|start| match column.kind {
        Type::Integer => start.trim().parse::<i64>().is_ok_and(|number| number > 0),
        _ => moment(start, column).is_none_or(|at| at > 0),
    })
}

fn check_start(spot: &Spot<'_>, start: Option<&str>, timed: bool, column: &Column) -> Result<(), ConfigError> {
    match start {
        Some(start) if timed && moment(start, column).is_none() => {
            let message = format!("the start `{start}` is not an instant such as 2024-01-01T00:00:00Z");
            Err(spot.wrong(&["cursor", "start"], "bad_cursor", message, None))
        }
        _ => Ok(()),
    }
}

/// What is gone is told by reading everything; a start that leaves rows out makes that impossible.
fn check_sweep(spot: &Spot<'_>, deletes: Seeing, cursor: Option<&Cursor>) -> Result<(), ConfigError> {
    if matches!(deletes, Seeing::Reconcile { .. }) && cursor.is_some_and(|cursor| cursor.starts_late) {
        let message = "rows older than `start` are not asked for, so none can be known to be gone".to_owned();
        let hint = "let it start at the very beginning, `start = \"1970-01-01T00:00:00Z\"`, or remove `reconcile`".to_owned();
        return Err(spot.wrong(&["deletes"], "bad_value", message, Some(hint)));
    }
    Ok(())
}

fn checked(spot: &Spot<'_>, declared: &DeclaredColumns, made: Vec<Column>, extra: bool) -> Result<Vec<Column>, ConfigError> {
    if declared.0.is_empty() {
        return Err(spot.wrong(&["columns"], "bad_value", "the stream declares no columns".to_owned(), None));
    }
    let mut columns: Vec<Column> = Vec::new();
    for (name, declared) in &declared.0 {
        let place = ["columns", name.as_str()];
        if name.starts_with('_') {
            let message = format!("the column `{name}` begins with `_`, as only the program's own do");
            let hint = format!("give it another name: {} = {{ from = \"{name}\", type = … }}", name.trim_start_matches('_'));
            return Err(spot.wrong(&place, "bad_value", message, Some(hint)));
        }
        if columns.iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
            let message = format!("the column `{name}` differs from another one only in upper and lower case; SQL cannot tell them apart");
            return Err(spot.wrong(&place, "bad_value", message, None));
        }
        let rules = &declared.rules;
        if (rules.zone.is_some() && declared.kind != Type::Timestamp)
            || (rules.round && !matches!(declared.kind, Type::Decimal(..)))
            || (rules.format.is_some() && !matches!(declared.kind, Type::Timestamp | Type::Date))
        {
            let message = format!("the column `{name}` is of type {}, which takes no such option", declared.kind);
            let hint = "`timestamp_format` goes with timestamps and dates, `zone` with timestamps, `round` with decimals".to_owned();
            return Err(spot.wrong(&place, "bad_value", message, Some(hint)));
        }
        if let (Type::Timestamp, Some(Format::Pattern(pattern)), None) = (&declared.kind, &rules.format, rules.zone)
            && !["%z", "%:z", "%#z", "%+", "%::z"].iter().any(|offset| pattern.contains(offset))
        {
            let message = format!("the times of `{name}` name no zone, and none is declared");
            let hint = format!("add the zone they are meant in: {name} = {{ …, zone = \"Europe/Berlin\" }}");
            return Err(spot.wrong(&place, "no_zone", message, Some(hint)));
        }
        let field = declared.from.clone().unwrap_or_else(|| name.clone());
        let steps = path(&field);
        let column = Column::new(name, Origin::Field(field, steps), declared.kind.clone());
        columns.push(Column { rules: rules.clone(), optional: declared.optional, ..column });
    }
    columns.extend(made);
    if extra {
        columns.push(Column::new(EXTRA, Origin::Extra(Taken::by(&columns)), Type::Json));
    }
    Ok(columns)
}

/// The position of a column by its name.
pub(crate) fn position(spot: &Spot<'_>, columns: &[Column], place: &[&str], name: &str) -> Result<usize, ConfigError> {
    columns.iter().position(|column| column.name == name).ok_or_else(|| {
        let names = columns.iter().map(|column| column.name.as_str());
        let hint = match nearest(name, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("declare it under `columns`, such as {name} = \"text\""),
        };
        spot.wrong(place, "unknown_column", format!("there is no column `{name}` in this stream"), Some(hint))
    })
}

fn key(spot: &Spot<'_>, columns: &[Column], names: &[String]) -> Result<Vec<usize>, ConfigError> {
    let mut key = Vec::new();
    for name in names {
        let column = position(spot, columns, &["key"], name)?;
        if matches!(columns[column].kind, Type::List(_) | Type::Struct(_) | Type::Json | Type::Float) {
            let message = format!("the column `{name}` is of type {}, which no key can be made of", columns[column].kind);
            return Err(spot.wrong(&["key"], "bad_key", message, None));
        }
        if key.contains(&column) {
            return Err(spot.wrong(&["key"], "bad_key", format!("the key names `{name}` twice"), None));
        }
        key.push(column);
    }
    Ok(key)
}

fn fingerprint(parts: &[String], columns: &DeclaredColumns) -> String {
    let mut columns: Vec<String> =
        columns.0.iter().map(|(name, declared)| format!("{name}{:?}{}{:?}", declared.from, declared.kind, declared.rules)).collect();
    columns.sort();
    let mut digest = Sha256::new();
    for part in parts.iter().chain(&columns) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    hex::encode(&digest.finalize()[..8])
}

/// A place in a settings file, to say where a mistake stands.
#[derive(Debug, Clone)]
pub(crate) struct Spot<'a> {
    pub(crate) file: &'a Path,
    pub(crate) text: &'a str,
    above: Vec<String>,
}

impl<'a> Spot<'a> {
    /// The top of a file.
    pub(crate) fn top(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, above: Vec::new() }
    }

    /// One of its streams.
    pub(crate) fn below(&self, stream: &str) -> Self {
        Self { above: vec!["streams".to_owned(), stream.to_owned()], ..self.clone() }
    }

    /// A mistake at a place below.
    pub(crate) fn wrong(&self, place: &[&str], code: &str, message: String, hint: Option<String>) -> ConfigError {
        let whole: Vec<&str> = self.above.iter().map(String::as_str).chain(place.iter().copied()).collect();
        let diagnosis =
            Diagnosis::new(code, message).in_file(self.file).hint(hint.unwrap_or_else(|| "correct the value on this line".to_owned()));
        ConfigError(match locate(self.text, &whole) {
            Some((line, column)) => diagnosis.at(line, column),
            None => diagnosis,
        })
    }
}

/// Whether a source or a stream may be called so: what it is called becomes the name of a table.
pub(crate) fn check_name(spot: &Spot<'_>, place: &[&str], what: &str, name: &str) -> Result<(), ConfigError> {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.contains("__")
        && !name.ends_with('_')
        && name != "quarantine";
    if plain {
        return Ok(());
    }
    let message = format!("a {what} cannot be called `{name}`");
    let hint = "use small letters, digits and single underscores, as in `order_lines`; the table is named after it".to_owned();
    Err(spot.wrong(place, "bad_name", message, Some(hint)))
}
