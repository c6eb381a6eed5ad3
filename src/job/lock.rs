//! One process a job, and one that writes back: operating-system locks that go with the process, however it ends.

use std::{
    fs::{File, TryLockError},
    path::PathBuf,
    time::Duration,
};

use crate::{
    diagnosis::{Diagnosis, Exit, Failure},
    project::Project,
};

/// How often a lock that is held is asked for, and the pause between: whoever only looks holds it for a moment.
const ASKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Held while a job runs, or while something is written back.
#[derive(Debug)]
pub(crate) struct JobLock(#[allow(dead_code, reason = "the lock lives as long as the open file")] File);

impl JobLock {
    /// Takes the lock of `job`.
    pub(crate) async fn take(project: &Project, job: &str) -> Result<Self, Failure> {
        Self::hold(path(project, job), &format!("another process is running the job `{job}`")).await
    }

    /// Takes the lock of writing back: two that tell the same would tell it twice.
    pub(crate) async fn of_write_back(project: &Project) -> Result<Self, Failure> {
        Self::hold(project.root().join("data/.write_back.lock"), "another process is writing back").await
    }

    async fn hold(path: PathBuf, busy: &str) -> Result<Self, Failure> {
        let unwritable = |error: std::io::Error| {
            Failure::failed(
                Diagnosis::new("data_folder", format!("the data folder cannot be written: {error}"))
                    .in_file("data")
                    .hint("let the program's user write to the project's `data` folder; nothing was lost"),
            )
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(unwritable)?;
        }
        let file = File::options().create(true).truncate(false).write(true).open(path).map_err(unwritable)?;
        for _ in 0..ASKS {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
                Err(TryLockError::Error(error)) => return Err(unwritable(error)),
            }
        }
        Err(Failure {
            exit: Exit::Busy,
            diagnosis: Box::new(Diagnosis::new("busy", busy).hint("wait until it has finished; `perennial status` shows it")),
        })
    }

    /// Whether no process runs `job`. Where that cannot be found out, one may.
    pub(crate) fn is_free(project: &Project, job: &str) -> bool {
        match File::open(path(project, job)) {
            Ok(file) => file.try_lock_shared().is_ok(),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }
}

fn path(project: &Project, job: &str) -> PathBuf {
    project.root().join("data/.locks").join(format!("{job}.lock"))
}
