//! The steps of a job, each on its own: the commands use them too.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};

use super::{House, Moment, post};
use crate::{
    campaign::{FrozenPlan, Limits, PlanRequest, plan_slot},
    config::Period,
    delivery::{self, Account, Collected, DeliverySettings, Options, ThisRun},
    diagnosis::{Diagnosis, Failure},
    lake::Lake,
    ledger::{PlanId, PlanStatus, PlanSummary},
    model::{self, BuildRequest, Built},
    sandbox,
    source::{self, Progress, PullRequest, Pulled, Source},
};

/// Fetches what changed at the sources; `only` names sources or `source.stream`. The practice shop, where a source asks for it, lives at
/// the moment's `as_of` for as long as the pull takes.
///
/// # Errors
/// Where a stream fails; the others are finished first.
pub async fn pull(
    house: &House,
    moment: Moment,
    only: &[String],
    full: bool,
    run: &str,
    progress: Progress,
) -> Result<Vec<Pulled>, Failure> {
    let only = source::select(&house.sources, only)?;
    let _lease = house.lake.write_lease().await?;
    let shop = if house.sources.iter().any(Source::is_practice) {
        let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = &house.project.deployment().sandbox;
        Some(
            sandbox::serve(settings, moment.as_of, loopback)
                .await
                .map_err(|error| Failure::failed(Diagnosis::new("listen", format!("the practice shop cannot be opened: {error}"))))?,
        )
    } else {
        None
    };
    let pulled = source::pull(PullRequest {
        sources: &house.sources,
        only: &only,
        full,
        lake: &house.lake,
        ledger: &house.ledger,
        keys: house.project.keys(),
        run,
        clock: house.project.clock().clone(),
        practice: shop.as_ref().map(|shop| &shop.url),
        root: house.project.root(),
        progress,
    })
    .await?;
    for stream in &pulled {
        metrics::counter!("perennial_pulled_rows_total", "source" => stream.source.clone(), "stream" => stream.stream.clone())
            .increment(stream.rows);
    }
    Ok(pulled)
}

/// Reads the mailboxes bounces and complaints come back to.
///
/// # Errors
/// Where one cannot be read; the others are read all the same.
pub async fn collect(house: &House) -> Result<Collected, Failure> {
    Ok(delivery::collect(&house.desk()).await?)
}

fn scratch_folder(house: &House, as_of: DateTime<Utc>) -> PathBuf {
    house.project.root().join("data/scratch").join(as_of.format("%Y%m%dT%H%M%SZ").to_string())
}

fn scratch(house: &House, moment: Moment) -> Result<Option<Lake>, Failure> {
    if !moment.replay {
        return Ok(None);
    }
    Ok(Some(house.lake.scratch(&scratch_folder(house, moment.as_of))?))
}

/// Rebuilds the tables of `sql/`: live ones at the live slot, scratch ones in a replay.
///
/// # Errors
/// Where nothing can be built. A table that fails its audits is among `failures`; the others are published.
pub async fn build(house: &House, moment: Moment, only: &[String], run: Option<&str>) -> Result<Built, Failure> {
    let scratch = scratch(house, moment)?;
    // A replay writes nothing but its scratch folder, so it takes its turn there: also beside a running night, and where the lake is only read.
    let _lease = scratch.as_ref().unwrap_or(&house.lake).write_lease().await?;
    let built = model::build(
        &house.library,
        BuildRequest {
            lake: &house.lake,
            scratch: scratch.as_ref(),
            engine: &house.engine,
            ledger: &house.ledger,
            brand: house.project.brand_defaults(),
            as_of: moment.as_of,
            now: house.project.clock().now(),
            run,
            only,
        },
    )
    .await?;
    if scratch.is_none() {
        house.repeat_published(run).await?;
    }
    Ok(built)
}

/// Whether there is a raw table of every stream.
pub(super) async fn has_been_pulled(house: &House) -> Result<bool, Failure> {
    let there = house.lake.tables().await?;
    Ok(house.sources.iter().flat_map(Source::streams).all(|stream| there.contains(&stream.table())))
}

/// The plans of a slot, and what kept others from being made.
#[derive(Debug)]
pub struct PlannedSlot {
    /// The plans that stand.
    pub plans: Vec<PlanSummary>,
    /// The accounts of plans whose time ran out before they were sent.
    pub expired: Vec<Account>,
    /// Campaigns that could not be planned.
    pub failures: Vec<Failure>,
}

/// Plans the slot's campaigns, or one of them, on the tables `built` just made (without it: on the published ones). A campaign whose
/// segment is not of this slot is not planned.
///
/// # Errors
/// Where none can be planned.
pub async fn plan(
    house: &House,
    moment: Moment,
    only: Option<&str>,
    run: Option<&str>,
    built: Option<&Built>,
) -> Result<PlannedSlot, Failure> {
    let scratch = scratch(house, moment)?;
    let (versions, stale) = match (&scratch, built) {
        (_, Some(built)) => (built.versions.clone(), built.stale.clone()),
        (None, None) => (house.ledger.published().await?, published_before(house, moment).await?),
        (Some(_), None) => {
            let built = build(house, moment, &[], run).await?;
            (built.versions, built.stale)
        }
    };
    let now = house.project.clock().now();
    let expired = close_expired(house, now).await?;
    let deployment = house.project.deployment();
    let planned = plan_slot(PlanRequest {
        root: house.project.root(),
        campaigns: &house.campaigns,
        only,
        lake: scratch.as_ref().unwrap_or(&house.lake),
        versions: &versions,
        stale: &stale,
        ledger: &house.ledger,
        keys: house.project.keys(),
        brand: &deployment.brand,
        as_of: moment.as_of,
        now,
        replay: moment.replay,
        run,
        limits: limits(&deployment.delivery),
        practice: house.practice,
        public_url: deployment.delivery.public_url.as_deref().unwrap_or_default(),
    })
    .await?;
    let mut slot = PlannedSlot { plans: Vec::new(), expired, failures: Vec::new() };
    for one in planned {
        match one.outcome {
            Ok(made) => {
                for warning in &made.warnings {
                    tracing::warn!(plan = %made.summary.plan, "{warning}");
                }
                slot.plans.push(made.summary);
            }
            Err(error) => slot.failures.push(error.into()),
        }
    }
    Ok(slot)
}

/// The published tables that were made for another time than the moment's.
async fn published_before(house: &House, moment: Moment) -> Result<BTreeMap<String, Failure>, Failure> {
    let mut times = house.ledger.published_as_of().await?;
    times.retain(|_, as_of| *as_of != moment.as_of);
    let told = |as_of: DateTime<Utc>| {
        let (built, wanted) = (as_of.format("%F %H:%M UTC"), moment.as_of.format("%F %H:%M UTC"));
        let diagnosis = Diagnosis::new("not_built_for_slot", format!("it was built as of {built}, the slot is {wanted}"));
        Failure::failed(diagnosis.hint("run the job that builds, or `perennial build`, first"))
    };
    Ok(times.into_iter().map(|(table, as_of)| (table, told(as_of))).collect())
}

/// Closes what nobody decided about or delivered in time, and accounts for the people who waited in vain.
async fn close_expired(house: &House, now: DateTime<Utc>) -> Result<Vec<Account>, Failure> {
    house.ledger.expire_drafts(now).await?;
    let mut accounts = Vec::new();
    for (plan, expired) in house.ledger.close_expired(now).await? {
        tracing::warn!(%plan, expired, "an approved plan's time ran out before it was sent");
        let total = house.ledger.tally(&plan).await?;
        accounts.push(Account { plan, total, this_run: ThisRun { expired, ..ThisRun::default() }, unknown_elsewhere: 0, seconds: 0.0 });
    }
    Ok(accounts)
}

/// The deployment's limits, as planning knows them.
fn limits(settings: &DeliverySettings) -> Limits {
    let policy = &settings.policy;
    Limits { cap: Some(policy.cap), fewer: Some(policy.fewer), quiet_hours: policy.quiet_hours }
}

/// Which plans a run may deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deliverable {
    /// Every approved plan that has not expired, and every delivery that was begun.
    Approved,
    /// Only those that their campaign's own rule approved since then.
    ApprovedByRule(DateTime<Utc>),
}

/// What became of the plans that could go out.
#[derive(Debug, Default)]
pub struct Delivered {
    /// The account of each that was delivered, and of each that expired before it could be.
    pub accounts: Vec<Account>,
    /// Why others could not be delivered.
    pub failures: Vec<Failure>,
}

/// Delivers every plan that may go out, one after the other, the oldest first. What keeps one from going out stops no other.
///
/// # Errors
/// Where the ledger cannot say which plans there are.
pub async fn deliver_approved(house: &House, which: Deliverable, options: Options) -> Result<Delivered, Failure> {
    let now = house.project.clock().now();
    let mut expired = match which {
        Deliverable::Approved => close_expired(house, now).await?,
        Deliverable::ApprovedByRule(_) => Vec::new(),
    };
    let mut delivered = Delivered::default();
    for plan in deliverable(house, which, options.allow_replay, now).await? {
        if house.stop.is_cancelled() {
            break;
        }
        match deliver(house, &plan, options).await {
            Ok(mut account) => {
                // Its process died with messages in hand, and then its time ran out.
                if let Some(at) = expired.iter().position(|other| other.plan == plan) {
                    account.this_run.expired += expired.swap_remove(at).this_run.expired;
                }
                delivered.accounts.push(account);
            }
            Err(failure) => {
                tracing::error!(%plan, code = failure.diagnosis.code, "the plan could not be delivered");
                delivered.failures.push(failure);
            }
        }
    }
    delivered.accounts.extend(expired);
    Ok(delivered)
}

async fn deliverable(house: &House, which: Deliverable, allow_replay: bool, now: DateTime<Utc>) -> Result<Vec<PlanId>, Failure> {
    let mut plans = Vec::new();
    for record in house.ledger.plans(None).await?.into_iter().rev() {
        // Whoever still waits in a delivery that was begun must be accounted for, also when its time is over.
        let open = match record.status {
            PlanStatus::Approved => record.expires_at > now,
            PlanStatus::Delivering => true,
            _ => false,
        };
        if !open || (record.replay && !allow_replay) {
            continue;
        }
        let wanted = match which {
            Deliverable::Approved => true,
            Deliverable::ApprovedByRule(since) => {
                let events = house.ledger.plan_events(&record.plan).await?;
                let approval = events.iter().rfind(|event| event.what == "approved");
                approval.is_some_and(|event| event.by.as_deref() == Some("auto") && event.at >= since)
            }
        };
        if wanted {
            plans.push(record.plan);
        }
    }
    Ok(plans)
}

/// Delivers one plan, under the send law. A plan that was delivered already gives its account again and sends nothing.
///
/// # Errors
/// Where the plan is not approved, was changed, has expired, or people's present state is not known.
pub async fn deliver(house: &House, plan: &PlanId, options: Options) -> Result<Account, Failure> {
    let frozen = FrozenPlan::open(house.project.root(), &house.ledger, house.project.keys(), plan).await?;
    let delivery = Arc::new(post::delivery(frozen)?);
    let account = on_one_thread(delivery::deliver(&house.post(), &delivery, options)).await?;
    for (state, count) in
        [("accepted", account.this_run.accepted), ("rejected", account.this_run.rejected), ("unknown", account.this_run.unknown)]
    {
        metrics::counter!("perennial_messages_total", "state" => state).increment(count);
    }
    Ok(account)
}

/// Stays on the thread it is on. A delivery waits for its ledger thousands of times a second, and would change threads each time.
async fn on_one_thread<T>(work: impl Future<Output = T>) -> T {
    let runtime = Handle::current();
    match runtime.runtime_flavor() {
        RuntimeFlavor::MultiThread => block_in_place(|| runtime.block_on(work)),
        _ => work.await,
    }
}

/// What `tidy` removed.
#[derive(Debug, Default, Serialize)]
pub struct Tidied {
    /// Files of the lake that no kept version needs.
    pub lake_files: u64,
    /// Their bytes.
    pub lake_bytes: u64,
    /// Folders of plans that are over.
    pub plans: u64,
    /// Messages in the outbox.
    pub outbox_files: u64,
    /// Replays.
    pub scratch: u64,
}

/// Removes what is older than it is kept: versions of tables and replays by `[lake] keep_days`, folders of plans that are over and outbox
/// files by `[review] keep_days`. The ledger keeps every promise and outcome for ever.
///
/// # Errors
/// Where a folder cannot be read or a file cannot be removed.
pub async fn tidy(house: &House) -> Result<Tidied, Failure> {
    let _lease = house.lake.write_lease().await?;
    let now = house.project.clock().now();
    let deployment = house.project.deployment();
    let keep_lake = Period::days(deployment.lake.keep_days);
    house.ledger.forget_builds(now - keep_lake.delta()).await?;
    let pinned = house.ledger.pinned_versions(now - keep_lake.delta()).await?;
    let expired = house.lake.expire(keep_lake, now, &pinned).await?;
    let before = now.checked_sub_signed(Period::days(deployment.review.keep_days).delta()).unwrap_or(DateTime::UNIX_EPOCH);
    let mut tidied = Tidied { lake_files: expired.files, lake_bytes: expired.bytes, ..Tidied::default() };
    for record in house.ledger.plans(None).await? {
        let open = matches!(record.status, PlanStatus::Draft | PlanStatus::Approved | PlanStatus::Delivering | PlanStatus::Held);
        if !open && record.expires_at < before {
            tidied.plans += remove_folder(&house.project.plans().join(record.plan.as_str()))?;
        }
    }
    let data = house.project.root().join("data");
    let mut old = older_than(&data.join("outbox"), SystemTime::from(before))?;
    old.retain(|path| path.is_file());
    if !old.is_empty() {
        // A letter of an open plan proves, after a crash, that it was sent.
        let open = house.ledger.open_messages().await?;
        old.retain(|file| !file.file_stem().is_some_and(|id| open.contains(&*id.to_string_lossy())));
    }
    for file in old {
        fs::remove_file(&file).map_err(|error| unremovable(&file, &error))?;
        tidied.outbox_files += 1;
    }
    for folder in older_than(&data.join("scratch"), SystemTime::from(now - keep_lake.delta()))? {
        tidied.scratch += remove_folder(&folder)?;
    }
    Ok(tidied)
}

fn older_than(folder: &Path, oldest: SystemTime) -> Result<Vec<PathBuf>, Failure> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| unremovable(folder, &error))?,
    };
    let mut old = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unremovable(folder, &error))?;
        let modified = entry.metadata().and_then(|meta| meta.modified()).map_err(|error| unremovable(&entry.path(), &error))?;
        if modified < oldest {
            old.push(entry.path());
        }
    }
    Ok(old)
}

fn remove_folder(folder: &Path) -> Result<u64, Failure> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(1),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(unremovable(folder, &error)),
    }
}

fn unremovable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(
        Diagnosis::new("tidy", format!("cannot be removed: {error}")).in_file(path).hint("let the program's user write to the data folder"),
    )
}
