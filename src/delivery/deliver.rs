//! From an approved plan to its account: what must hold before the first message, the run itself, and what is said at the end.

use std::{path::PathBuf, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::{
    account::{Account, ThisRun},
    api::{self, ApiSettings, CallError, Common, Courier, Section},
    error::DeliveryError,
    outbox::Outbox,
    plan::{Delivery, PlannedRecipient},
    recover::{Lock, recover},
    run::{Run, Share},
    settings::{DeliverySettings, EmailBy, mistakes},
    shaping::{PATIENCE, Shaper},
    smtp::Relay,
    transport::Way,
    twins::Addresses,
    webhook::Receiver,
};
use crate::{
    clock::SharedClock,
    diagnosis::Diagnosis,
    ledger::{CustomerId, Enlisted, Lease, Ledger, PlanAccount, PlanId, State},
    message::{Channel, Kind},
    secret::Keys,
};

/// How many people enter the account by one statement.
const CHUNK: usize = 2_000;

/// What a delivery works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where every promise and outcome stands.
    pub ledger: Ledger,
    /// `[delivery]`.
    pub settings: DeliverySettings,
    /// The project's keys.
    pub keys: Keys,
    /// The wall clock: expiry, caps and quiet hours go by it.
    pub clock: SharedClock,
    /// The project folder.
    pub root: PathBuf,
    /// Cancelled when the program is asked to stop: what is on the wire is finished and recorded, nothing new begins.
    pub stop: CancellationToken,
}

/// What a person asked for on the command line.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// At most so many messages leave in this run.
    pub first: Option<usize>,
    /// Deliver a plan made for another time than the live slot.
    pub allow_replay: bool,
}

/// Delivers an approved plan, or goes on with one that was begun.
///
/// # Errors
/// Where it may not begin (not approved, expired, practice keys, settings, another process), or had to stop (the other side or the ledger
/// cannot be reached). Whatever had been done by then stands in the ledger; running again is safe.
pub async fn deliver(context: &Context, delivery: &Arc<Delivery>, options: Options) -> Result<Account, DeliveryError> {
    let started = context.clock.now();
    let (ledger, plan) = (&context.ledger, &delivery.plan);
    let way = way(context, &Batch::of(delivery))?;
    let _lock = if ledger.is_shared() { None } else { Some(Lock::take(&context.root)?) };
    let lease = ledger.join(started).await?;
    let ended = with_lease(context, delivery, options, &way, &lease, started).await;
    if let Err(error) = ledger.leave(lease.worker()).await {
        tracing::warn!(%plan, %error, "the lease of this worker could not be given back; it runs out by itself");
    }
    ended
}

/// The delivery itself.
async fn with_lease(
    context: &Context,
    delivery: &Arc<Delivery>,
    options: Options,
    way: &Way,
    lease: &Lease,
    started: DateTime<Utc>,
) -> Result<Account, DeliveryError> {
    let (ledger, plan) = (&context.ledger, &delivery.plan);
    ledger.take_over(lease.worker(), started).await?;
    let (mut run, elsewhere) = recover(ledger, &context.root, plan, started).await?;
    let account = |run| account(context, plan, run, elsewhere, started);
    run.add(State::Expired, ledger.close_plan(plan, started).await?);
    let standing = ledger.plan_standing(plan).await?.ok_or_else(|| DeliveryError::NoPlan(plan.clone()))?;
    match standing.status.as_str() {
        "approved" | "delivering" => {}
        "delivered" => return account(run).await,
        "expired" => return Err(DeliveryError::Expired { plan: plan.clone(), at: standing.expires_at }),
        _ => return Err(DeliveryError::NotApproved { plan: plan.clone(), status: standing.status }),
    }
    if standing.replay && !options.allow_replay {
        return Err(DeliveryError::Replay(plan.clone()));
    }
    if delivery.kind.has_way_out(delivery.channel) && context.settings.public_url.is_none() {
        let diagnosis = Diagnosis::new("public_url", "every letter to a person has a link that makes it stop, and `public_url` is not set");
        let hint = "set `public_url` in `[delivery]` to the https address at which `perennial serve` is reached";
        return Err(DeliveryError::Settings(Box::new(diagnosis.in_file("config/perennial.toml").hint(hint))));
    }
    let (published, _) = ledger.contact_state_published().await?.ok_or(DeliveryError::NeverBuilt)?;
    if started - published > context.settings.max_age.delta() {
        return Err(DeliveryError::Stale(published));
    }
    // Others who deliver from a shared ledger take people meanwhile.
    let mut fresh = standing.status == "approved" && !ledger.is_shared();
    if standing.status == "approved" {
        run.add(State::Cancelled, enlist(context, delivery, standing.planned, started).await?);
    }
    tracing::info!(%plan, way = way.name(), "delivering");
    let mut ended = Ok(());
    loop {
        let before = run;
        let due = ledger.anyone_due(plan, context.clock.now()).await?;
        if due {
            let (workers, place) = ledger.company(lease.worker()).await?;
            let share = (lease, Share { workers, place, fresh: std::mem::take(&mut fresh) });
            let shaper = shaper(context, delivery, way).await?;
            ended = Run::new(context, delivery, way.clone(), &standing, options.first, share, shaper)?.go(&mut run).await;
        }
        let in_vain = due && run == before;
        if ended.is_err() || options.first.is_some() {
            break;
        }
        let others = ledger.is_shared() && !in_vain && wait_for_others(context, plan, lease, &mut run).await?;
        if !others && !wait_for_pace(context, plan).await? {
            break;
        }
    }
    run.add(State::Expired, ledger.close_plan(plan, context.clock.now()).await?);
    ended?;
    account(run).await
}

/// The pace mail leaves at by a way; none for what is no mail, or stays here.
async fn shaper(context: &Context, delivery: &Delivery, way: &Way) -> Result<Option<Shaper>, DeliveryError> {
    let Some(relay) = way.relay().filter(|_| delivery.channel == Channel::Email) else { return Ok(None) };
    let now = context.clock.now();
    let shaping = &context.settings.shaping;
    Ok(Some(Shaper::open(shaping, &relay, delivery.timezone, &context.keys, &context.ledger, now).await?))
}

/// Waits for whoever may be written to soon: whether there is somebody. Where all have to wait for longer, this delivery has done what it could.
async fn wait_for_pace(context: &Context, plan: &PlanId) -> Result<bool, DeliveryError> {
    let ledger = &context.ledger;
    if ledger.plan_standing(plan).await?.is_none_or(|standing| standing.status != "delivering") {
        return Ok(false);
    }
    let Some(next) = ledger.next_of_pace(plan).await? else { return Ok(false) };
    let wait = next - context.clock.now();
    if wait >= PATIENCE {
        tracing::info!(%plan, until = %next, "the others have to wait, so as not to be too fast");
        return Ok(false);
    }
    tokio::select! {
        () = context.stop.cancelled() => Ok(false),
        () = tokio::time::sleep(wait.to_std().unwrap_or_default()) => Ok(true),
    }
}

/// Waits until the other workers have nothing of the plan in hand, takes over what those that died had, and says whether there may be something
/// left to do. Whoever lives finishes what they have, so after the term of a lease there is nothing to wait for.
async fn wait_for_others(context: &Context, plan: &PlanId, lease: &Lease, run: &mut ThisRun) -> Result<bool, DeliveryError> {
    let (ledger, term) = (&context.ledger, context.ledger.term());
    let pause = (term / 20).min(Duration::from_secs(1));
    let mut waited = Duration::ZERO;
    while ledger.in_other_hands(plan, lease.worker()).await? > 0 {
        tokio::select! {
            () = context.stop.cancelled() => return Ok(false),
            () = tokio::time::sleep(pause) => waited += pause,
        }
        let now = context.clock.now();
        if ledger.take_over(lease.worker(), now).await? > 0 {
            let (recovered, _) = recover(ledger, &context.root, plan, now).await?;
            run.join(recovered);
        } else if waited > term + term / 4 {
            return Ok(false);
        }
    }
    let standing = ledger.plan_standing(plan).await?;
    let is_due = ledger.anyone_due(plan, context.clock.now()).await?;
    Ok(is_due && !context.stop.is_cancelled() && standing.is_some_and(|standing| standing.status == "delivering"))
}

async fn account(
    context: &Context,
    plan: &PlanId,
    this_run: ThisRun,
    unknown_elsewhere: u64,
    started: DateTime<Utc>,
) -> Result<Account, DeliveryError> {
    let total = context.ledger.tally(plan).await?;
    let seconds = (context.clock.now() - started).as_seconds_f64().max(0.0);
    tracing::info!(%plan, accepted = this_run.accepted, rejected = this_run.rejected, deferred = this_run.deferred,
        unknown = this_run.unknown, cancelled = this_run.cancelled, expired = this_run.expired, waiting = total.waiting, "delivered");
    Ok(Account { plan: plan.clone(), total, this_run, unknown_elsewhere, seconds })
}

/// What travels together: all a way out has to know of a delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    /// Which of a person's wishes count.
    pub(crate) kind: Kind,
    /// By which channel.
    pub(crate) channel: Channel,
    /// The receiver of calls, where the campaign names one.
    pub(crate) receiver: Option<&'a str>,
    /// The brand's sender.
    pub(crate) from: &'a str,
    /// The campaign.
    pub(crate) campaign: &'a str,
    /// The plan.
    pub(crate) plan: &'a str,
}

impl<'a> Batch<'a> {
    /// All messages of a delivery.
    fn of(delivery: &'a Delivery) -> Self {
        Self {
            kind: delivery.kind,
            channel: delivery.channel,
            receiver: delivery.receiver.as_deref(),
            from: &delivery.from,
            campaign: &delivery.campaign,
            plan: delivery.plan.as_str(),
        }
    }
}

/// The way out the settings choose for a channel, after everything that can be wrong with it has been looked at.
///
/// `only_to` is about people's addresses, and a note to staff has none: while it is set, notes leave this machine for nowhere.
pub(crate) fn way(context: &Context, batch: &Batch<'_>) -> Result<Way, DeliveryError> {
    let (settings, root, practice) = (&context.settings, &context.root, context.keys.are_practice());
    let wrong = |diagnosis| DeliveryError::Settings(Box::new(diagnosis));
    let mistakes = mistakes(settings, practice);
    if let Some((_, diagnosis)) = mistakes.into_iter().find(|(concerned, _)| *concerned == batch.channel) {
        return Err(wrong(diagnosis));
    }
    match batch.channel {
        Channel::Email => {
            if let Some((section, api)) = settings.email_api() {
                return courier(context, batch, &section, api);
            }
            if let (EmailBy::Smtp, Some(smtp)) = (settings.email, &settings.smtp) {
                let returns = settings.returns.return_path().map_err(|error| DeliveryError::Returns(Box::new(error)))?;
                let returns = returns.map(|path| (path, context.keys.clone()));
                return Ok(Way::Smtp(Arc::new(Relay::new(smtp, root, batch.from, returns)?)));
            }
        }
        Channel::Webhook => {
            if let Some((section, receiver)) = settings.receiver(batch.receiver).map_err(wrong)? {
                if let Some(diagnosis) = receiver.mistakes(&section, practice).into_iter().next() {
                    return Err(wrong(diagnosis));
                }
                if batch.kind != Kind::Internal || settings.only_to.is_empty() || receiver.is_loopback(&section, root) {
                    if let Some(api) = receiver.as_api() {
                        return courier(context, batch, &section, &api);
                    }
                    let secret = receiver.secret.as_ref().map(|secret| secret.resolve(root)).transpose()?;
                    return Ok(Way::Http(Arc::new(Receiver::new(receiver, secret.as_ref(), Arc::clone(&context.clock))?)));
                }
            }
        }
    }
    let outbox = Outbox::new(root, batch.channel);
    outbox.prepare().map_err(DeliveryError::Transport)?;
    Ok(Way::Outbox(Arc::new(outbox)))
}

/// The way by an API.
fn courier(context: &Context, batch: &Batch<'_>, section: &Section, settings: &ApiSettings) -> Result<Way, DeliveryError> {
    let told = |diagnosis: Diagnosis| DeliveryError::Settings(Box::new(diagnosis));
    let api = settings.open(section, &context.root, context.keys.are_practice());
    // Several things may be wrong; `perennial check` tells all of them.
    let api = api.map_err(|found| found.into_iter().next().map_or_else(|| told(Diagnosis::new("api", "the API cannot be used")), told))?;
    let caller = api::ready(api, &settings.api, &context.root, Arc::clone(&context.clock)).map_err(|error| match error {
        CallError::Auth(api::AuthError::Secret(error)) => DeliveryError::Secret(error),
        error => {
            let diagnosis = Diagnosis::new("api", format!("{}: {error}", section.name)).in_file("config/perennial.toml");
            told(diagnosis.hint("`perennial check` looks at the API's settings and secrets"))
        }
    })?;
    let common = Common { from: batch.from.to_owned(), campaign: batch.campaign.to_owned(), plan: batch.plan.to_owned() };
    Ok(Way::Api(Arc::new(Courier::new(caller, common))))
}

/// Opens the plan's account with everybody `waiting`, if the plan's files hold exactly the people it promised. Whoever shares an address with
/// somebody before them is cancelled at once; returns how many those are.
async fn enlist(context: &Context, delivery: &Arc<Delivery>, planned: u64, now: DateTime<Utc>) -> Result<u64, DeliveryError> {
    let (send, mut chunks) = tokio::sync::mpsc::channel(2);
    let (reading, keys) = (Arc::clone(delivery), context.keys.clone());
    let reader = tokio::task::spawn_blocking(move || -> Result<Vec<CustomerId>, Diagnosis> {
        let mut addresses = Addresses::of(planned);
        let mut chunk = Vec::with_capacity(CHUNK);
        for person in reading.people.read_addresses()? {
            let person = person?;
            let address_hash = person.address_hash(reading.kind, &keys);
            address_hash.iter().for_each(|hash| addresses.note(hash));
            let PlannedRecipient { customer_id, message_id, occasion, step, variant, send_after, .. } = person;
            chunk.push(Enlisted { customer_id, message_id, send_after, occasion, step, variant, address_hash });
            if chunk.len() == CHUNK && send.blocking_send(std::mem::take(&mut chunk)).is_err() {
                return Ok(Vec::new());
            }
        }
        let _ = send.blocking_send(chunk);
        if addresses.are_distinct() {
            return Ok(Vec::new());
        }
        let again = reading.people.read_addresses()?;
        addresses.twins(again.map(|person| {
            let person = person?;
            let hash = person.address_hash(reading.kind, &keys);
            Ok((person.customer_id, hash))
        }))
    });
    let account = PlanAccount {
        plan: delivery.plan.clone(),
        campaign: delivery.campaign.clone(),
        kind: delivery.kind.as_str().to_owned(),
        channel: delivery.channel.as_str().to_owned(),
    };
    let mut account = context.ledger.enlist(account, now).await?;
    while let Some(chunk) = chunks.recv().await {
        account.add(&chunk).await?;
    }
    let twins = reader
        .await
        .map_err(|error| DeliveryError::People(Box::new(Diagnosis::new("people", error.to_string()))))?
        .map_err(|diagnosis| DeliveryError::People(Box::new(diagnosis)))?;
    let dropped = account.drop_twins(&twins).await?;
    account.finish(planned).await?.map_err(|found| DeliveryError::Mismatch { plan: delivery.plan.clone(), planned, found })?;
    Ok(dropped)
}
