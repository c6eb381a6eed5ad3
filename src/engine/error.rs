//! A query that cannot be read, planned or run.

use crate::diagnosis::{Diagnose, Diagnosis, Exit};

/// A query that cannot be read, planned or run.
#[derive(Debug, thiserror::Error)]
#[error("{diagnosis}")]
pub struct EngineError {
    diagnosis: Box<Diagnosis>,
    exit: Exit,
}

impl EngineError {
    pub(super) fn wrong(diagnosis: Diagnosis) -> Self {
        Self { diagnosis: Box::new(diagnosis), exit: Exit::Wrong }
    }

    pub(super) fn failed(diagnosis: Diagnosis) -> Self {
        Self { diagnosis: Box::new(diagnosis), exit: Exit::Failed }
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
