//! One process a job: an operating-system lock that goes with the process, however it ends.

use std::fs::File;

use crate::{
    diagnosis::{Diagnosis, Exit, Failure},
    project::Project,
};

/// Held while a job runs.
#[derive(Debug)]
pub(crate) struct JobLock(#[allow(dead_code, reason = "the lock lives as long as the open file")] File);

impl JobLock {
    /// Takes the lock of `job`.
    pub(crate) fn take(project: &Project, job: &str) -> Result<Self, Failure> {
        let folder = project.root().join("data/.locks");
        let unwritable = |error: std::io::Error| {
            Failure::failed(
                Diagnosis::new("data_folder", format!("the data folder cannot be written: {error}"))
                    .in_file("data")
                    .hint("let the program's user write to the project's `data` folder; nothing was lost"),
            )
        };
        std::fs::create_dir_all(&folder).map_err(unwritable)?;
        let file = File::options().create(true).truncate(false).write(true).open(folder.join(format!("{job}.lock"))).map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(std::fs::TryLockError::WouldBlock) => Err(Failure {
                exit: Exit::Busy,
                diagnosis: Box::new(
                    Diagnosis::new("busy", format!("another process is running the job `{job}`"))
                        .hint("wait until it has finished; `perennial status` shows it"),
                ),
            }),
            Err(std::fs::TryLockError::Error(error)) => Err(unwritable(error)),
        }
    }
}
