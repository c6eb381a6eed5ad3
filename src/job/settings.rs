//! `jobs/<job>.toml`: when a job runs and what it does.

use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::Deserialize;

use super::moment::start_of;
use crate::{
    config::{ConfigError, FileKind, Folder, Period, locate},
    diagnosis::{Diagnose, Finding},
    schedule::{CatchUp, Schedule},
};

/// The TOML files jobs are written in.
pub const JOB_FILE: FileKind = FileKind::of::<Settings>("job", "jobs/<job>.toml", "A job: when it runs and what it does.");

/// One thing a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Fetch what changed at the sources.
    Pull,
    /// Rebuild the tables of `sql/`.
    Build,
    /// Plan the campaigns.
    Plan,
    /// Tell other systems whom they must not write to; only in a run that delivers.
    WriteBack,
    /// Remove what is older than it is kept.
    Tidy,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// When it is due: minute, hour, day of month, month, day of week; `0 2 * * *` is every night at two.
    schedule: String,
    /// The clock it goes by, IANA: `Europe/Berlin`.
    timezone: String,
    /// What it does, in order.
    steps: Vec<Step>,
    /// Whether `perennial serve` also delivers approved plans. `perennial run` does so with `--deliver` only.
    #[serde(default)]
    deliver: bool,
    /// What happens to slots nobody was there for.
    #[serde(default)]
    catch_up: CatchUp,
    /// How late a slot may still start.
    #[serde(default = "six_hours")]
    deadline: Period,
}

fn six_hours() -> Period {
    Period::hours(6)
}

/// A job of the project.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name: the file's, without `.toml`.
    pub name: String,
    /// When it is due.
    pub schedule: Schedule,
    /// What it does, in order.
    pub steps: Vec<Step>,
    /// Whether `perennial serve` also delivers.
    pub deliver: bool,
    /// What happens to slots nobody was there for.
    pub catch_up: CatchUp,
    /// How late a slot may still start.
    pub deadline: Period,
}

impl Job {
    /// Reads one job's file.
    ///
    /// # Errors
    /// Where it cannot be read or does not fit.
    pub fn load(folder: &Folder, file: &Path) -> Result<Self, ConfigError> {
        let text = folder.text(file)?;
        let settings: Settings = crate::config::parse(&text, file)?;
        let schedule = Schedule::parse(&settings.schedule, &settings.timezone).map_err(|error| {
            let key = if matches!(error, crate::schedule::ScheduleError::Zone(_)) { "timezone" } else { "schedule" };
            let diagnosis = error.diagnosis().in_file(file);
            ConfigError(match locate(&text, &[key]) {
                Some((line, column)) => diagnosis.at(line, column),
                None => diagnosis,
            })
        })?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Settings { steps, deliver, catch_up, deadline, .. } = settings;
        Ok(Self { name, schedule, steps, deliver, catch_up, deadline })
    }

    /// The file it is written in, by its path in the project.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        Path::new("jobs").join(format!("{}.toml", self.name))
    }

    /// All jobs of the project, sorted by name.
    ///
    /// # Errors
    /// Where one cannot be read or does not fit.
    pub fn load_all(folder: &Folder) -> Result<Vec<Self>, ConfigError> {
        folder.toml_files(&PathBuf::from("jobs"))?.iter().map(|file| Self::load(folder, file)).collect()
    }

    /// All jobs that can be used, sorted by name, and what is wrong with the others.
    #[must_use]
    pub fn load_usable(folder: &Folder) -> (Vec<Self>, Vec<Finding>) {
        let files = match folder.toml_files(Path::new("jobs")) {
            Ok(files) => files,
            Err(error) => return (Vec::new(), vec![Finding::error(error.diagnosis())]),
        };
        let (mut jobs, mut findings) = (Vec::new(), Vec::new());
        for file in files {
            match Self::load(folder, &file) {
                Ok(job) => jobs.push(job),
                Err(error) => findings.push(Finding::error(error.diagnosis())),
            }
        }
        (jobs, findings)
    }

    /// The job's last slot on a day of its own calendar.
    #[must_use]
    pub fn slot_on(&self, day: NaiveDate) -> Option<DateTime<Utc>> {
        let zone = self.schedule.zone();
        let second = TimeDelta::seconds(1);
        self.schedule.between(start_of(day, zone) - second, start_of(day.succ_opt()?, zone) - second).pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_job_does_not_hide_the_others() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("jobs")).unwrap();
        let good = "schedule = \"0 2 * * *\"\ntimezone = \"UTC\"\nsteps = [\"tidy\"]\ndeliver = true\n";
        for (name, text) in [("a", good.replace("tidy", "tidi")), ("b", good.to_owned()), ("c", good.replace("UTC", "Nowhere"))] {
            std::fs::write(root.path().join(format!("jobs/{name}.toml")), text).unwrap();
        }
        let (jobs, findings) = Job::load_usable(&Folder::new(root.path(), None, std::iter::empty()));
        assert_eq!(jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["b"], "a job may deliver without planning");
        let places: Vec<_> = findings.iter().map(|one| (one.diagnosis.file.clone().unwrap(), one.diagnosis.line)).collect();
        assert_eq!(places, [(PathBuf::from("jobs/a.toml"), Some(3)), (PathBuf::from("jobs/c.toml"), Some(2))]);
    }
}
