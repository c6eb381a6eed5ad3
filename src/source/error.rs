//! What can go wrong between a source and the lake, told so that someone at 3 a.m. knows what to do.

use std::{fmt, path::PathBuf};

use super::values::Misfit;
use crate::{
    config::{ConfigError, Period},
    diagnosis::{Diagnose, Diagnosis, Exit},
    lake::LakeError,
    secret::SecretError,
};

/// The name of a stream: `shop.orders`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName {
    /// The source.
    pub source: String,
    /// The stream.
    pub stream: String,
}

impl StreamName {
    /// A stream of a source.
    pub fn new(source: impl Into<String>, stream: impl Into<String>) -> Self {
        Self { source: source.into(), stream: stream.into() }
    }

    /// Its table in the lake.
    #[must_use]
    pub fn table(&self) -> String {
        format!("{}__{}", self.source, self.stream)
    }

    /// The table of its rows that did not fit.
    #[must_use]
    pub fn quarantine(&self) -> String {
        format!("{}__{}__quarantine", self.source, self.stream)
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.source, self.stream)
    }
}

/// One stream could not be pulled, or a source's settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no such source or stream.
    #[error("there is no source or stream `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What to write instead.
        hint: String,
    },
    /// A secret could not be read.
    #[error("{at}: {error}")]
    Secret {
        /// The stream.
        at: StreamName,
        /// Why not.
        error: SecretError,
    },
    /// A practice source was pulled without a practice shop.
    #[error("{at} belongs to the practice shop, and none is running here")]
    NoPractice {
        /// The stream.
        at: StreamName,
    },
    /// The source did not answer properly, however often it was asked.
    #[error("{at}: {path} {reason}, {attempts} times in a row")]
    Unavailable {
        /// The stream.
        at: StreamName,
        /// The path of the address, without what was asked for.
        path: String,
        /// What happened last.
        reason: String,
        /// How often it was asked.
        attempts: u32,
    },
    /// The source asks for more patience than the settings allow.
    #[error("{at}: {path} {reason} and asks to be left alone for {asked} s, longer than `max_wait` allows")]
    Impatient {
        /// The stream.
        at: StreamName,
        /// The path of the address.
        path: String,
        /// What happened last.
        reason: String,
        /// How long it asked for, in seconds.
        asked: u64,
    },
    /// The source gave no token to come in with.
    #[error("{at}: got no token: {path} {reason}")]
    Token {
        /// The stream.
        at: StreamName,
        /// The path of the address tokens come from.
        path: String,
        /// What it said.
        reason: String,
    },
    /// The key that signs for a token cannot be used.
    #[error("{at}: the `key` of `jwt_bearer` {reason}")]
    Key {
        /// The stream.
        at: StreamName,
        /// Why not.
        reason: &'static str,
    },
    /// The source understood and said no.
    #[error("{at}: {path} answered {status}{said}")]
    Refused {
        /// The stream.
        at: StreamName,
        /// The path of the address.
        path: String,
        /// The HTTP status.
        status: u16,
        /// What the answer said, shortened.
        said: String,
    },
    /// The answer is not what the settings describe.
    #[error("{at}: {path} {reason}")]
    Answer {
        /// The stream.
        at: StreamName,
        /// The path of the address.
        path: String,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// A row came without all that belongs to it.
    #[error("{at}: row {key} is not whole: `{path}` says that there is more of it")]
    CutOff {
        /// The stream.
        at: StreamName,
        /// The row's key.
        key: String,
        /// The dotted path of the flag that says so.
        path: String,
    },
    /// The source's budget of this run is used up.
    #[error("{at}: the budget of {spent} is used up")]
    Budget {
        /// The stream.
        at: StreamName,
        /// What was allowed.
        spent: String,
        /// Whether the next run goes on from here.
        goes_on: bool,
    },
    /// The source has forgotten changes that were never pulled.
    #[error("{at}: everything up to {seen} has been pulled, and the source keeps its changes for {kept} only: those in between are gone")]
    Gap {
        /// The stream.
        at: StreamName,
        /// Up to when nothing is missing.
        seen: String,
        /// How long the source keeps them.
        kept: Period,
    },
    /// Fewer rows came than the source announced.
    #[error("{at}: the source announced {announced} rows and gave {received}")]
    Short {
        /// The stream.
        at: StreamName,
        /// What it announced.
        announced: u64,
        /// How many different rows came.
        received: u64,
    },
    /// A value does not fit its column.
    #[error("{at}: row {key}: `{field}` {reason} (it is `{value}`)", field = .misfit.field, reason = .misfit.reason, value = .misfit.value)]
    BadValue {
        /// The stream.
        at: StreamName,
        /// The row's key.
        key: String,
        /// What does not fit, and why.
        misfit: Box<BadValue>,
    },
    /// A declared field has gone from the source's rows.
    #[error("{at}: the field `{field}` is gone: every row held it before, and now none does; row {key} holds: {holds}")]
    Gone {
        /// The stream.
        at: StreamName,
        /// The column that takes it.
        column: String,
        /// Its name at the source.
        field: String,
        /// The key of the first row without it.
        key: String,
        /// The names of the fields that row holds.
        holds: String,
        /// The one among them that is called nearly so.
        instead: Option<String>,
    },
    /// Nothing came where rows had been.
    #[error("{at}: {what}")]
    Emptied {
        /// The stream.
        at: StreamName,
        /// What would have been lost.
        what: String,
    },
    /// A file cannot be read.
    #[error("{at}: {reason}")]
    File {
        /// The stream.
        at: StreamName,
        /// The file, relative to the project.
        file: PathBuf,
        /// The line, where it is known.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// A database did not give its rows.
    #[error("{at}: {reason}")]
    Database {
        /// The stream.
        at: StreamName,
        /// What it said.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The lake refused the rows.
    #[error("{at}: {error}")]
    Lake {
        /// The stream.
        at: StreamName,
        /// Why.
        error: LakeError,
    },
    /// The program itself broke.
    #[error("{at}: the pull broke off: {reason}")]
    Broken {
        /// The stream.
        at: StreamName,
        /// What it said.
        reason: String,
    },
}

/// What does not fit its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue {
    /// The field, with the path inside it.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
    /// The value, shortened.
    pub value: String,
}

impl From<Misfit> for Box<BadValue> {
    fn from(Misfit { field, reason, value }: Misfit) -> Self {
        Self::new(BadValue { field, reason, value })
    }
}

impl SourceError {
    /// Whether the source itself said no to what was asked, as it does when a place in its pages is no longer known.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { status, .. } => !matches!(status, 401 | 403),
            Self::Answer { .. } => true,
            _ => false,
        }
    }

    /// The error without any value of a row, for the ledger.
    pub(crate) fn for_the_record(&self) -> String {
        match self {
            Self::BadValue { at, key, misfit } => format!("{at}: row {key}: `{}` {}", misfit.field, misfit.reason),
            other => other.to_string(),
        }
    }
}

const SAFE: &str = "nothing was lost: the cursor has not moved";

impl Diagnose for SourceError {
    fn diagnosis(&self) -> Diagnosis {
        let told = |code: &str| Diagnosis::new(code, self.to_string());
        let settings = |at: &StreamName| format!("config/sources/{}.toml", at.source);
        match self {
            Self::Config(error) => error.diagnosis(),
            Self::Unknown { hint, .. } => told("unknown_stream").hint(hint),
            Self::Secret { at, error } => {
                let hint = error.diagnosis().hint.unwrap_or_default();
                told("secret").in_file(settings(at)).hint(hint)
            }
            Self::NoPractice { at } => {
                told("no_practice").in_file(settings(at)).hint("start one with `perennial sandbox`, or set `base_url` to your own system")
            }
            Self::Unavailable { .. } => {
                told("source_unavailable").hint(format!("see whether the system itself is up, then run the command again; {SAFE}"))
            }
            Self::Impatient { at, .. } => told("source_busy")
                .hint(format!("run the command again later, or allow more under `retry = {{ max_wait = \"1h\" }}` in {}; {SAFE}", settings(at))),
            Self::Token { at, .. } => told("source_token").in_file(settings(at)).hint(format!(
                "check `auth`: the `token_url`, the client's id and secret, and the refresh token, which access granted anew replaces; {SAFE}"
            )),
            Self::Key { at, .. } => told("bad_key")
                .in_file(settings(at))
                .hint("put the PEM file that belongs to the client or the service account there as it is"),
            Self::Budget { goes_on: true, .. } => told("budget").hint("run the command again: it goes on where it stopped; nothing was lost"),
            Self::Budget { at, .. } => told("budget").in_file(settings(at)).hint(
                "run the command again; nothing was lost, but this stream begins anew, so that its `budget` has to be enough for all of it",
            ),
            Self::Gap { at, .. } => told("gap").hint(format!(
                "run `perennial pull {} --full`: it reads everything that is there, and the next pulls go on from it; rows that this stream alone brings stay lost where they are gone at the source",
                at.source
            )),
            Self::CutOff { at, .. } => told("cut_off").in_file(settings(at)).hint(format!(
                "ask for more of it at once, or pull it as a stream of its own that pages through it; {SAFE}"
            )),
            Self::Refused { at, status: 401 | 403, .. } => told("source_refused")
                .in_file(settings(at))
                .hint(format!("check the `auth` setting: the secret may be wrong, expired or without the right to read this; {SAFE}")),
            Self::Refused { at, .. } => told("source_refused")
                .in_file(settings(at))
                .hint(format!("check the stream's `path` and `params` against the system's own documentation; {SAFE}")),
            Self::Answer { hint, .. } => told("source_answer").hint(format!("{hint}; {SAFE}")),
            Self::Short { .. } => told("short_count")
                .hint("rows changed while they were read, the source left some out, or `key` does not tell them apart; run the command again: the cursor has not moved"),
            Self::BadValue { at, .. } => told("bad_row").in_file(settings(at)).hint(format!(
                "correct it at the source, or the column's type; or set `on_bad_value = \"quarantine\"` so that such rows are set aside in {} and the others go on, or \"widen\" where a wider number or an instant would do",
                at.quarantine()
            )),
            Self::Gone { at, column, instead, .. } => {
                let from = instead.as_deref().unwrap_or("its_new_name");
                told("field_gone").in_file(settings(at)).hint(format!(
                    "if it is called otherwise now, say so: {column} = {{ from = \"{from}\", type = … }}; if the source leaves out what is empty, add `optional = true` to the column; nothing of this page was kept, and the cursor has not moved"
                ))
            }
            Self::Emptied { at, .. } => told("emptied").in_file(settings(at)).hint(format!(
                "see whether the source really is empty; if so, remove the folder of the table {} by hand; {SAFE}",
                at.table()
            )),
            Self::File { file, line, hint, .. } => {
                let diagnosis = told("source_file").in_file(file).hint(hint);
                match line {
                    Some(line) => diagnosis.at(*line, 1),
                    None => diagnosis,
                }
            }
            Self::Database { at, hint, .. } => told("source_database").in_file(settings(at)).hint(format!("{hint}; {SAFE}")),
            Self::Lake { at, error } => {
                let inner = error.diagnosis();
                Diagnosis { message: format!("{at}: {}", inner.message), ..inner }
            }
            Self::Broken { .. } => told("pull").hint(format!("run the command again; {SAFE}")),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Unknown { .. } | Self::Secret { .. } | Self::Key { .. } | Self::NoPractice { .. } => Exit::Wrong,
            Self::Lake { error, .. } => error.exit(),
            _ => Exit::Failed,
        }
    }
}

/// Some streams could not be pulled; the others were.
#[derive(Debug, thiserror::Error)]
#[error("{}", Diagnose::diagnosis(self))]
pub struct PullFailure {
    /// What was pulled all the same.
    pub pulled: Vec<super::Pulled>,
    /// What was not, and why. Never empty.
    pub failed: Vec<SourceError>,
}

impl Diagnose for PullFailure {
    fn diagnosis(&self) -> Diagnosis {
        let mut told: Vec<Diagnosis> = self.failed.iter().map(Diagnose::diagnosis).collect();
        if told.len() == 1 {
            return told.remove(0);
        }
        let streams = self.pulled.len() + told.len();
        let words: Vec<&str> = told.iter().map(|told| told.message.as_str()).collect();
        let message = format!("{} of {streams} streams could not be pulled: {}", told.len(), words.join("; "));
        let hints: std::collections::BTreeSet<String> = told.iter().filter_map(|told| told.hint.clone()).collect();
        Diagnosis::new("pull", message).hint(hints.into_iter().collect::<Vec<_>>().join("; "))
    }

    /// A partial failure is worth running again; only where every stream fails by the project's own mistake is it not.
    fn exit(&self) -> Exit {
        let all = |exit| self.failed.iter().all(|error| error.exit() == exit);
        if all(Exit::Wrong) {
            Exit::Wrong
        } else if all(Exit::Busy) {
            Exit::Busy
        } else {
            Exit::Failed
        }
    }
}
