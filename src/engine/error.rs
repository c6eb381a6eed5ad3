//! A query that cannot be read, planned or run.

use crate::diagnosis::{Diagnose, Diagnosis, Exit};

/// A query that cannot be read, planned or run.
#[derive(Debug, thiserror::Error)]
#[error("{diagnosis}")]
pub struct EngineError {
    diagnosis: Box<Diagnosis>,
    exit: Exit,
    exhausted: bool,
}

impl EngineError {
    pub(super) fn wrong(diagnosis: Diagnosis) -> Self {
        Self { diagnosis: Box::new(diagnosis), exit: Exit::Wrong, exhausted: false }
    }

    pub(super) fn failed(diagnosis: Diagnosis) -> Self {
        Self { diagnosis: Box::new(diagnosis), exit: Exit::Failed, exhausted: false }
    }

    pub(super) fn exhausted(diagnosis: Diagnosis) -> Self {
        Self { diagnosis: Box::new(diagnosis), exit: Exit::Failed, exhausted: true }
    }

    /// Whether memory or the room for spilling ran out.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }
}

impl Diagnose for EngineError {
    fn diagnosis(&self) -> Diagnosis {
        (*self.diagnosis).clone()
    }

    fn exit(&self) -> Exit {
        self.exit
    }
}
