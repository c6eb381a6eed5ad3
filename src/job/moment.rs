//! A run's logical time: which `as_of` it has, and whether that is the live slot or a replay.

use chrono::{DateTime, NaiveDate, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

use super::settings::{Job, Step};
use crate::{
    diagnosis::{Diagnosis, Failure},
    project::Project,
};

/// The logical time of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What SQL and planning call now.
    pub as_of: DateTime<Utc>,
    /// Whether it is another time than the live slot: then everything is built into scratch.
    pub replay: bool,
    /// Whether it is later than the live slot.
    pub ahead: bool,
}

impl Moment {
    /// The moment of `job`, or, for a command without a job, of the first job that has the step `owner`; without one, the start of today
    /// in the brand's zone. `asked` is what stands behind `--as-of`: RFC 3339, a date, `today` or `yesterday`.
    ///
    /// # Errors
    /// Where `asked` cannot be understood or the brand's zone is unknown.
    pub fn of(project: &Project, job: Option<&Job>, owner: Step, asked: Option<&str>) -> Result<Self, Failure> {
        let now = project.clock().now();
        let jobs = Job::load_all(project.folder())?;
        let job = job.or_else(|| jobs.iter().find(|job| job.steps.contains(&owner)));
        let zone: Tz = project.deployment().brand.timezone.parse().map_err(|_| {
            Failure::wrong(
                Diagnosis::new("timezone", format!("`{}` is not a time zone", project.deployment().brand.timezone))
                    .in_file("config/perennial.toml")
                    .hint("write a name of the IANA zone database, such as `Europe/Berlin`"),
            )
        })?;
        let live =
            job.and_then(|job| job.schedule.latest_due(now)).unwrap_or_else(|| start_of(now.with_timezone(&zone).date_naive(), zone));
        let as_of = match asked {
            None => live,
            Some(text) => read(text, now, live, job.map_or(zone, |job| job.schedule.zone()), job)?,
        };
        Ok(Self { as_of, replay: as_of != live, ahead: as_of > live })
    }
}

/// What a person wrote behind `--as-of`. A day stands for its last slot, today for the slot that is live, yesterday for the day before
/// that slot's: in the hours between midnight and tonight's slot as well. Only an instant may lie ahead.
fn read(text: &str, now: DateTime<Utc>, live: DateTime<Utc>, zone: Tz, job: Option<&Job>) -> Result<DateTime<Utc>, Failure> {
    let refused = |message: String, hint: String| Failure::wrong(Diagnosis::new("as_of", message).hint(hint));
    let no_time = || {
        refused(
            format!("`{text}` is not a time"),
            "write `2026-11-22T01:00:00Z`, a date such as `2026-11-22`, `today` or `yesterday`".to_owned(),
        )
    };
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        // A logical time is whole seconds, as plans and folders name it.
        return at.to_utc().with_nanosecond(0).ok_or_else(no_time);
    }
    let (today, of_live) = (now.with_timezone(&zone).date_naive(), live.with_timezone(&zone).date_naive());
    let day = match text {
        "today" => Some(today),
        "yesterday" => of_live.pred_opt(),
        _ => text.parse::<NaiveDate>().ok(),
    };
    let day = day.ok_or_else(no_time)?;
    if day > today {
        return Err(refused(format!("`{day}` has not come yet"), format!("name the instant if you mean it: `{day}T01:00:00Z`")));
    }
    if day >= of_live {
        return Ok(live);
    }
    Ok(job.and_then(|job| job.slot_on(day)).unwrap_or_else(|| start_of(day, zone)))
}

/// The first instant of a day; where the clocks skip midnight, the first that exists.
pub(super) fn start_of(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    (0..24)
        .filter_map(|hour| day.and_hms_opt(hour, 0, 0))
        .find_map(|midnight| zone.from_local_datetime(&midnight).earliest())
        .map_or_else(|| day.and_time(chrono::NaiveTime::MIN).and_utc(), |at| at.to_utc())
}
