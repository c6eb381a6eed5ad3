//! What a person is told when something is wrong: what, where, and what to do next.
//!
//! Every room has its own error type; at the edge each becomes a [`Diagnosis`] through [`Diagnose`], and the command line turns that
//! into an exit code and either a drawn snippet or the JSON of `--format json`.

use std::{fmt, path::PathBuf};

use serde::Serialize;

/// The exit codes of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, or nothing to do.
    Done,
    /// 1: failed; running again is safe.
    Failed,
    /// 2: the project or the command line is wrong; running again will not help.
    Wrong,
    /// 3: done, but messages were rejected, deferred, expired or are unknown.
    Partly,
    /// 4: another process holds this job or the lake's writer lease.
    Busy,
}

impl Exit {
    /// The number the process ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Wrong => 2,
            Self::Partly => 3,
            Self::Busy => 4,
        }
    }

    /// How a command ends that met several failures; none where it met none. Where they differ, running again helps some of them.
    #[must_use]
    pub fn of(failures: &[Failure]) -> Option<Self> {
        let first = failures.first()?.exit;
        Some(if failures.iter().all(|failure| failure.exit == first) { first } else { Self::Failed })
    }
}

/// One problem, in words a non-programmer can act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// A stable, machine-readable name such as `unknown_key` or `template_field`.
    pub code: String,
    /// What is wrong, in lower case, one sentence.
    pub message: String,
    /// The file it stands in, relative to the project where possible.
    pub file: Option<PathBuf>,
    /// The line in that file, from 1.
    pub line: Option<usize>,
    /// The column in that line, from 1; only used to draw the caret.
    #[serde(skip)]
    pub column: Option<usize>,
    /// What to do next.
    pub hint: Option<String>,
}

impl Diagnosis {
    /// A diagnosis without a place or a hint.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), file: None, line: None, column: None, hint: None }
    }

    /// Adds the file it stands in.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Adds the place in the file; both count from 1.
    #[must_use]
    pub fn at(mut self, line: usize, column: usize) -> Self {
        self.line = Some(line);
        self.column = Some(column);
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            write!(f, ": ")?;
        }
        write!(f, "{}", self.message)
    }
}

/// How a room's error is told to a person.
pub trait Diagnose: std::error::Error {
    /// The words, the place and the advice.
    fn diagnosis(&self) -> Diagnosis;
    /// What running again would do.
    fn exit(&self) -> Exit;
}

/// What ends a command early: a diagnosis and the exit code that goes with it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What to tell.
    pub diagnosis: Box<Diagnosis>,
}

impl Failure {
    /// The project or the command line is wrong (exit 2).
    #[must_use]
    pub fn wrong(diagnosis: Diagnosis) -> Self {
        Self { exit: Exit::Wrong, diagnosis: Box::new(diagnosis) }
    }

    /// It failed, and running again is safe (exit 1).
    #[must_use]
    pub fn failed(diagnosis: Diagnosis) -> Self {
        Self { exit: Exit::Failed, diagnosis: Box::new(diagnosis) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.diagnosis.fmt(f)
    }
}

impl<E: Diagnose> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: error.exit(), diagnosis: Box::new(error.diagnosis()) }
    }
}

/// How bad a finding of `perennial check` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A run would fail or do harm.
    Error,
    /// Worth a look; a run works.
    Warning,
}

/// One line of `perennial check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What, where and what to do.
    #[serde(flatten)]
    pub diagnosis: Diagnosis,
}

impl Finding {
    /// A finding that makes `check` fail.
    #[must_use]
    pub fn error(diagnosis: Diagnosis) -> Self {
        Self { severity: Severity::Error, diagnosis }
    }

    /// A finding that does not.
    #[must_use]
    pub fn warning(diagnosis: Diagnosis) -> Self {
        Self { severity: Severity::Warning, diagnosis }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_failures_end_as_the_one_that_is_worth_another_try() {
        let failures = |exits: &[Exit]| {
            let one = |exit: &Exit| Failure { exit: *exit, diagnosis: Box::new(Diagnosis::new("code", "words")) };
            exits.iter().map(one).collect::<Vec<_>>()
        };
        let ends = |exits: &[Exit]| Exit::of(&failures(exits));
        assert_eq!(ends(&[]), None);
        assert_eq!(ends(&[Exit::Wrong, Exit::Wrong]), Some(Exit::Wrong));
        assert_eq!(ends(&[Exit::Wrong, Exit::Failed]), Some(Exit::Failed));
        assert_eq!(ends(&[Exit::Busy]), Some(Exit::Busy));
        assert_eq!(ends(&[Exit::Wrong, Exit::Busy]), Some(Exit::Failed));
    }
}
