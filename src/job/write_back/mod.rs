//! Writing back: other systems are told whom they must not write to any more, under the send law. The intent is durable before each call,
//! an answer is final, what failed waits for the next run, and what nobody can know is shown.
//!
//! Only suppressions are told: what happened here. What a source itself says about consent never comes back to it, and neither does a
//! suppression that was lifted.

use std::sync::Arc;

use serde::Serialize;

use self::people::{Needs, People, Whom};
use super::{House, Job, Step, lock::JobLock};
use crate::{
    config::Folder,
    delivery::OnlyTo,
    diagnosis::{Diagnosis, Failure, Finding},
    ledger::{Call, CustomerId, Telling, Untold, WriteBackStanding},
    secret::Keys,
    source::{self, Answer, News, Source, Vault, WriteBackSection},
};

mod people;
#[cfg(test)]
mod tests;

/// So many calls in a row that come to nothing mean that the system is away, whomever they are about.
const AWAY_IN_A_ROW: usize = 3;
const WAITS: &str = "whoever it was not told of waits for the next run";

/// What one section of a source told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WrittenBack {
    /// The source.
    pub source: String,
    /// The section.
    pub section: String,
    /// Calls that were taken in this run.
    pub told: u64,
    /// Suppressions of whom that system knows nobody, by its answer in this run or by `identities`.
    pub not_there: u64,
    /// Calls still to be made, in the next run.
    pub waiting: u64,
    /// Calls of this and earlier runs that may have been taken; they are not repeated by themselves.
    pub unknown: u64,
    /// Whether some became unknown or failed in this run.
    #[serde(skip)]
    pub partly: bool,
}

/// What writing back did.
#[derive(Debug, Default)]
pub struct WroteBack {
    /// Each section.
    pub sections: Vec<WrittenBack>,
    /// Why others, or the rest of them, could not be told.
    pub failures: Vec<Failure>,
}

/// How much a section has not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SectionStanding {
    /// The source.
    pub source: String,
    /// The section.
    pub section: String,
    /// The counts.
    #[serde(flatten)]
    pub standing: WriteBackStanding,
}

/// Tells every source that asks for it, or `only` one, what it has not been told; `again`: also what it may have been told already. A
/// source that cannot be told stops no other.
///
/// # Errors
/// Where `only` names no source that is told anything, another process writes back, or the ledger refuses.
pub async fn write_back(house: &House, only: Option<&str>, again: bool) -> Result<WroteBack, Failure> {
    if let Some(name) = only {
        source::select(&house.sources, &[name.to_owned()])?;
        if !house.sources.iter().any(|source| source.name() == name && !source.write_back().is_empty()) {
            let diagnosis = Diagnosis::new("no_write_back", format!("the source `{name}` is told nothing"));
            return Err(Failure::wrong(diagnosis.hint("add a section `[write_back.<name>]` to its settings; docs/sources.md shows one")));
        }
    }
    let mut wrote = WroteBack::default();
    let told = |source: &&Source| !source.write_back().is_empty() && only.is_none_or(|only| only == source.name());
    let sources: Vec<&Source> = house.sources.iter().filter(told).collect();
    if sources.is_empty() {
        return Ok(wrote);
    }
    let _lock = JobLock::of_write_back(&house.project).await?;
    let only_to = house.project.deployment().delivery.allowed()?;
    for source in sources {
        if let Some(diagnosis) = source.must_not_be_told(house.project.keys().are_practice()) {
            wrote.failures.push(Failure::wrong(diagnosis));
            continue;
        }
        for section in source.write_back() {
            let mut round = Round { house, source, section, only_to: &only_to, again, done: WrittenBack::default() };
            round.done.source = source.name().to_owned();
            round.done.section.clone_from(&section.name.stream);
            if let Err(failure) = round.go().await {
                tracing::error!(section = %section.name, code = failure.diagnosis.code, "not everything could be told");
                wrote.failures.push(failure);
            }
            let WrittenBack { told, not_there, waiting, unknown, .. } = round.done;
            tracing::info!(section = %section.name, told, not_there, waiting, unknown, "written back");
            metrics::counter!("perennial_written_back_total", "source" => source.name().to_owned()).increment(told);
            wrote.sections.push(round.done);
        }
    }
    Ok(wrote)
}

/// How much every section has not told.
///
/// # Errors
/// Where the ledger cannot be read.
pub async fn write_back_standing(house: &House) -> Result<Vec<SectionStanding>, Failure> {
    let mut all = Vec::new();
    for section in house.sources.iter().flat_map(Source::write_back) {
        let (source, name) = (section.name.source.clone(), section.name.stream.clone());
        let standing = house.ledger.write_back_standing(&source, &name, section.when()).await?;
        all.push(SectionStanding { source, section: name, standing });
    }
    Ok(all)
}

/// Sources that want to be told something, in a project of which no job does so.
#[must_use]
pub fn unheard(folder: &Folder) -> Vec<Finding> {
    let (jobs, _) = Job::load_usable(folder);
    if jobs.iter().any(|job| job.steps.contains(&Step::WriteBack)) {
        return Vec::new();
    }
    let (sources, _) = Source::load_usable(folder);
    let sources = sources.iter().filter(|source| !source.write_back().is_empty());
    let warned = sources.map(|source| {
        let message = format!("no job tells `{}` what its `[write_back]` asks for", source.name());
        let hint = "add `\"write_back\"` before `\"tidy\"` to `steps` in jobs/nightly.toml, or run `perennial write-back` yourself";
        Finding::warning(Diagnosis::new("no_write_back_step", message).in_file(source.file()).hint(hint))
    });
    warned.collect()
}

/// One section's turn.
struct Round<'a> {
    house: &'a House,
    source: &'a Source,
    section: &'a Arc<WriteBackSection>,
    only_to: &'a OnlyTo,
    again: bool,
    done: WrittenBack,
}

/// A call to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Due<'a> {
    untold: &'a Untold,
    whom: Whom,
    attempts: u32,
}

impl Round<'_> {
    async fn go(&mut self) -> Result<(), Failure> {
        let (house, section) = (self.house, self.section);
        let (source, name) = (section.name.source.as_str(), section.name.stream.as_str());
        let (ledger, clock) = (&house.ledger, house.project.clock());
        if !section.is_repeatable() {
            self.done.partly |= ledger.strand_write_backs(source, name, clock.now()).await? > 0;
        }
        let all = ledger.untold(source, name, section.when()).await?;
        let tried = all.iter().flat_map(|one| one.tried.values());
        self.done.unknown = tried.filter(|tried| tried.state == Telling::Unknown && !self.again).count() as u64;
        let needs = Needs::of(section);
        // Ids may be added to a person at any time, an address is one.
        let open: Vec<&Untold> =
            all.iter().filter(|one| needs.id() || one.tried.get("").is_none_or(|tried| tried.is_owed(self.again))).collect();
        let people = People::read(house, source, needs, &open, !self.only_to.is_open()).await?;
        let (mut due, mut nobody) = (Vec::new(), Vec::new());
        for untold in open {
            match people.named(untold, needs) {
                Ok(named) => due.extend(named.into_iter().filter_map(|whom| {
                    let tried = untold.tried.get(&whom.target);
                    let owed = tried.is_none_or(|tried| tried.is_owed(self.again));
                    owed.then(|| Due { untold, attempts: tried.map_or(0, |tried| tried.attempts), whom })
                })),
                Err(reason) => nobody.push((untold.id, reason)),
            }
        }
        ledger.nobody_to_tell(source, name, &nobody, clock.now()).await?;
        self.done.not_there = nobody.len() as u64;
        let before = due.len();
        due.retain(|one| self.only_to.is_open() || one.whom.email.as_deref().is_some_and(|email| self.only_to.allows(email)));
        let kept = before - due.len();
        if kept > 0 {
            tracing::info!(section = %section.name, kept, "`only_to` in [delivery] keeps some from being told of");
        }
        self.done.waiting = before as u64;
        // Whoever has failed before does not stand in the way of the others.
        due.sort_by(|a, b| (a.attempts, a.untold.id, &a.whom.target).cmp(&(b.attempts, b.untold.id, &b.whom.target)));
        if due.is_empty() { Ok(()) } else { self.tell(&due).await }
    }

    async fn tell(&mut self, due: &[Due<'_>]) -> Result<(), Failure> {
        let (house, section) = (self.house, self.section);
        let (ledger, keys, clock) = (&house.ledger, house.project.keys(), house.project.clock());
        let vault = Vault { ledger: ledger.clone(), keys: keys.clone() };
        let teller = self.source.teller(section, house.project.root(), clock.clone(), vault)?;
        let mut in_vain = 0;
        for Due { untold, whom, .. } in due {
            if house.stop.is_cancelled() {
                break;
            }
            let call = Call { source: &section.name.source, section: &section.name.stream, suppression: untold.id, target: &whom.target };
            if !ledger.begin_write_back(call, clock.now()).await? {
                self.done.waiting -= 1;
                continue;
            }
            let answer = teller.tell(&news(keys, call, untold, whom), &house.stop).await;
            let (state, reason) = match &answer {
                Answer::Told => (Telling::Told, None),
                Answer::NotThere(reason) => (Telling::NotThere, Some(reason)),
                Answer::Unknown(reason) => (Telling::Unknown, Some(reason)),
                Answer::Failed { reason, .. } | Answer::Closed { reason, .. } => (Telling::Failed, Some(reason)),
            };
            ledger.end_write_back(call, state, reason.map(String::as_str), clock.now()).await?;
            match state {
                Telling::Told => self.done.told += 1,
                Telling::NotThere => self.done.not_there += 1,
                Telling::Unknown => self.done.unknown += 1,
                Telling::Failed | Telling::Begun => {}
            }
            let failed = matches!(state, Telling::Failed);
            self.done.waiting -= u64::from(!failed);
            self.done.partly |= failed || state == Telling::Unknown;
            in_vain = if matches!(answer, Answer::Unknown(_) | Answer::Failed { passing: true, .. }) { in_vain + 1 } else { 0 };
            match answer {
                Answer::Closed { reason, hint } => return Err(self.closed(&reason, hint)),
                Answer::Unknown(reason) | Answer::Failed { reason, .. } if in_vain == AWAY_IN_A_ROW => {
                    let reason = format!("{reason}, {AWAY_IN_A_ROW} times in a row");
                    return Err(self.closed(&reason, "see whether the system itself is up"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn closed(&self, reason: &str, hint: &str) -> Failure {
        let diagnosis = Diagnosis::new("write_back", format!("{}: {reason}", self.section.name));
        Failure::failed(diagnosis.in_file(self.source.file()).hint(format!("{hint}; {WAITS}")))
    }
}

fn news<'a>(keys: &Keys, call: Call<'_>, untold: &'a Untold, whom: &'a Whom) -> News<'a> {
    let (id, at) = (untold.id.to_be_bytes(), untold.at.timestamp_micros().to_be_bytes());
    // The time as well: a ledger that was restored from a backup gives the same numbers to others.
    let parts: [&[u8]; 5] = [call.source.as_bytes(), call.section.as_bytes(), &id, &at, call.target.as_bytes()];
    News {
        email: whom.email.as_deref(),
        source_id: whom.source_id.as_deref(),
        customer_id: whom.customer_id.as_ref().map(CustomerId::as_str),
        channel: &untold.channel,
        scope: &untold.scope,
        reason: &untold.reason,
        at: untold.at,
        key: hex::encode(&keys.mac("write back", &parts)[..16]),
    }
}
