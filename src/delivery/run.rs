//! One run of a delivery: one turn of the ledger after another, until nobody is due.
//!
//! People are read in chunks; the letters of those who are due are written ahead, and taken in groups: reserved and committed in one turn of
//! the ledger, and handed to the workers. All of it overlaps, and at any moment no more than [`OPEN`] messages are `committing`: a crash
//! makes no more unknowns.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{sync::mpsc, task::JoinError};

use super::{
    account::ThisRun,
    breaker::tripped,
    deliver::Context,
    error::{DeliveryError, TransportError},
    plan::{Delivery, PlannedRecipient},
    policy::Policy,
    scribe::{Outgoing, Scribe, Scribes, Written},
    settings::OnlyTo,
    shaping::{Go, PATIENCE, Shaper, domain},
    transport::{Couriers, Outcome, Report, Way},
    webhook,
};
use crate::{
    diagnosis::Diagnosis,
    ledger::{Candidate, CustomerId, Decision, Due, Errand, Lease, LedgerError, MessageId, Named, Present, Settled, Standing, State, Turn},
    message::Channel,
};

/// The most messages that are `committing` at once.
const OPEN: usize = 64;
/// How many messages one turn takes at least, while others are under way. The longer a turn, the more there is room for when it ends.
const GROUP: usize = 16;
/// How many letters are written at once.
const SHEAF: usize = 32;
/// How many letters are written ahead of those that leave.
const AHEAD: usize = 96;
/// How many people are held who may go soon.
const HELD: usize = 2_000;
/// How many people are read at once.
const CHUNK: usize = 256;
/// When a deferred mail is tried again, by how often it was tried; the last goes on until the plan expires.
const TRY_AGAIN: [TimeDelta; 3] = [TimeDelta::minutes(5), TimeDelta::minutes(30), TimeDelta::hours(2)];

/// Why a run ends before everybody was looked at.
enum Ending {
    /// The program was asked to stop, the plan was held or cancelled, or as many messages as wanted have left.
    Quiet,
    /// Nothing can leave, or nothing can be recorded.
    Failed(DeliveryError),
}

/// A message on the wire.
struct InHand {
    attempt: u32,
    /// Where it goes, as far as that matters for the pace.
    domain: String,
    address_hash: Option<String>,
}

/// A run in progress.
pub(crate) struct Run<'a> {
    context: &'a Context,
    delivery: &'a Arc<Delivery>,
    errand: Errand,
    policy: Policy,
    only_to: Arc<OnlyTo>,
    planned: u64,
    /// How many messages may still be taken.
    left: Option<usize>,
    couriers: Couriers,
    /// Whether letters travel in their parts.
    in_parts: bool,
    people: mpsc::Receiver<Result<Vec<PlannedRecipient>, Diagnosis>>,
    read_all: bool,
    /// Nobody of the account has been looked at, and nobody else takes anybody.
    fresh: bool,
    /// Due.
    due: VecDeque<PlannedRecipient>,
    /// The pace, for mail.
    shaper: Option<Shaper>,
    /// Due, and too early for the pace, by when they may go.
    held: BTreeMap<(DateTime<Utc>, u64), PlannedRecipient>,
    /// Too early by far: they wait in the ledger.
    put_off: Vec<(Named, DateTime<Utc>)>,
    counter: u64,
    /// Their letters are being written.
    scribes: Scribes,
    /// Written, and not taken yet.
    ready: VecDeque<Written>,
    /// Committing.
    in_hand: HashMap<MessageId, InHand>,
    /// What came back and is not recorded yet.
    settle: Vec<Settled>,
    /// People the ledger has no such message for.
    strangers: u64,
    ending: Option<Ending>,
}

impl<'a> Run<'a> {
    /// A run by `way`, of a worker with a lease and a share of the people; at most `first` messages leave.
    pub(crate) fn new(
        context: &'a Context,
        delivery: &'a Arc<Delivery>,
        way: Way,
        standing: &Standing,
        first: Option<usize>,
        (lease, share): (&Lease, Share),
        shaper: Option<Shaper>,
    ) -> Result<Self, DeliveryError> {
        let cap = context.settings.policy.cap;
        let errand = Errand {
            plan: delivery.plan.clone(),
            campaign: delivery.campaign.clone(),
            kind: delivery.kind.as_str().to_owned(),
            channel: delivery.channel.as_str().to_owned(),
            segment: delivery.segment.clone(),
            transport: way.name(),
            worker: lease.worker(),
            cap_window: cap.within.delta(),
        };
        let policy = Policy {
            kind: delivery.kind,
            as_of: delivery.as_of,
            replay: standing.replay,
            cap: Some(cap.messages),
            cool_off: delivery.cool_off.map(|peace| peace.delta()),
            fewer: context.settings.policy.fewer.delta(),
            quiet_hours: context.settings.policy.quiet_hours,
            zone: delivery.timezone,
        };
        Ok(Self {
            context,
            delivery,
            errand,
            policy,
            only_to: Arc::new(context.settings.allowed()?),
            planned: standing.planned,
            left: first,
            couriers: Couriers::start(&way, OPEN, lease),
            in_parts: way.takes_parts(),
            people: read(Arc::clone(delivery), share),
            read_all: false,
            fresh: share.fresh,
            due: VecDeque::new(),
            shaper,
            held: BTreeMap::new(),
            put_off: Vec::new(),
            counter: 0,
            scribes: Scribes::new().map_err(DeliveryError::Transport)?,
            ready: VecDeque::new(),
            in_hand: HashMap::new(),
            settle: Vec::new(),
            strangers: 0,
            ending: None,
        })
    }

    /// Goes until nobody is due or something ends it; counts into `run` what is recorded.
    pub(crate) async fn go(mut self, run: &mut ThisRun) -> Result<(), DeliveryError> {
        loop {
            while let Some(report) = self.couriers.report_now() {
                self.note(report);
            }
            if self.ending.is_none() && (self.context.stop.is_cancelled() || self.left == Some(0) && self.due_is_done()) {
                self.ending = Some(Ending::Quiet);
            }
            if self.ending.is_some() {
                break;
            }
            if let Some(shaper) = &mut self.shaper {
                let day = shaper.turn_of_the_day(&self.context.ledger, self.context.clock.now()).await;
                if let Err(error) = day {
                    self.ending = Some(Ending::Failed(error.into()));
                    break;
                }
            }
            self.begin_writing();
            let (turn, group) = self.next_turn();
            if turn.is_empty() {
                if self.is_done() {
                    break;
                }
                self.wait().await;
            } else {
                self.take(turn, group, run).await;
            }
        }
        self.wind_up(run).await
    }

    /// Whether as many messages as wanted have left and all of those are done with.
    fn due_is_done(&self) -> bool {
        self.in_hand.is_empty() && self.settle.is_empty()
    }

    fn is_done(&self) -> bool {
        self.read_all
            && self.due.is_empty()
            && self.held.is_empty()
            && self.scribes.in_work() == 0
            && self.ready.is_empty()
            && self.due_is_done()
    }

    /// What the ledger should do next, and what leaves then; an empty turn means that there is nothing to do but wait.
    ///
    /// A turn costs a sync whatever it holds, so what can wait rides along: outcomes are recorded when a group can be taken, and by
    /// themselves only where nothing else is going to happen.
    fn next_turn(&mut self) -> (Turn, Vec<Outgoing>) {
        let room = (OPEN - self.in_hand.len()).min(self.left.unwrap_or(OPEN));
        let group = GROUP.min(self.ready.len()).min(self.left.unwrap_or(GROUP));
        let more_to_come = self.scribes.in_work() > 0 && self.ready.len() < GROUP && !self.in_hand.is_empty();
        let take = if group > 0 && room >= group && !more_to_come { self.ready.len().min(room) } else { 0 };
        let starved = (self.ready.is_empty() && self.scribes.in_work() == 0) || self.left == Some(0);
        let idle = starved && self.in_hand.is_empty();
        if take == 0 && !idle && self.put_off.len() < CHUNK {
            return (Turn::default(), Vec::new());
        }
        let shaper = self.shaper.as_ref();
        let due = |Written { candidate, outgoing }| {
            let quotas = shaper.map_or([None; 2], |shaper| shaper.quota_of(&outgoing.domain));
            (Due { candidate, written: outgoing.parcel.is_ok(), quotas }, outgoing)
        };
        let (take, group) = self.ready.drain(..take).map(due).unzip();
        let turn = Turn {
            take,
            quotas: shaper.map(|shaper| shaper.quotas(self.context.clock.now())).unwrap_or_default(),
            settle: std::mem::take(&mut self.settle),
            put_off: std::mem::take(&mut self.put_off),
        };
        (turn, group)
    }

    /// One turn of the ledger, and what follows from it.
    async fn take(&mut self, turn: Turn, group: Vec<Outgoing>, run: &mut ThisRun) {
        let now = self.context.clock.now();
        let barred: HashMap<&CustomerId, &'static str> =
            turn.take.iter().zip(&group).filter_map(|(due, outgoing)| Some((&due.candidate.customer_id, outgoing.barred?))).collect();
        let policy = &self.policy;
        let decide = |candidate: &Candidate, present: &Present| match policy.decide(present, now) {
            Decision::Drop(reason) => Decision::Drop(reason),
            decision => barred.get(&candidate.customer_id).map_or(decision, |reason| Decision::Drop(reason)),
        };
        let turned = match self.context.ledger.turn(&self.errand, &turn, now, &decide).await {
            Ok(turned) => turned,
            Err(error) => {
                // Nothing of the turn stands, or it does and we did not hear of it: what came back is kept for the last try, nothing new leaves,
                // and what it took has not left.
                self.settle = turn.settle;
                self.settle.extend(turn.take.into_iter().map(|Due { candidate, .. }| Settled {
                    message: Named { customer_id: candidate.customer_id, message_id: candidate.message_id },
                    state: State::Waiting,
                    reason: None,
                    reply: None,
                    next_try_at: None,
                    bounced: None,
                }));
                self.put_off = turn.put_off;
                self.ending = Some(Ending::Failed(DeliveryError::Ledger(error)));
                return;
            }
        };
        for settled in &turn.settle {
            run.add(settled.state, 1);
        }
        if turned.status != "delivering" {
            tracing::info!(plan = %self.errand.plan, status = %turned.status, "the plan is no longer being delivered");
            self.ending = Some(Ending::Quiet);
            return;
        }
        run.add(State::Cancelled, turned.dropped);
        if turn.settle.iter().any(|settled| settled.bounced.is_some())
            && let Err(error) = self.look_back().await
        {
            self.ending = Some(Ending::Failed(error));
        }
        self.strangers += (turn.take.len() as u64).saturating_sub(turned.looked_at);
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(turned.taken.len());
        }
        if let Some(shaper) = &mut self.shaper {
            shaper.have_left(&turned.sent);
            if let Err(error) = shaper.keep(&self.context.ledger).await {
                self.ending = Some(Ending::Failed(error.into()));
            }
        }
        self.hand_over(turn.take, group, &turned.taken);
    }

    /// Messages that were taken leave.
    fn hand_over(&mut self, due: Vec<Due>, group: Vec<Outgoing>, taken: &[(usize, u32)]) {
        let attempts: HashMap<usize, u32> = taken.iter().copied().collect();
        let now = self.context.clock.now();
        for (place, (Due { candidate, .. }, Outgoing { parcel, domain, .. })) in due.into_iter().zip(group).enumerate() {
            let attempt = attempts.get(&place).copied();
            if let Some(shaper) = self.shaper.as_mut().filter(|_| attempt.is_none() || parcel.is_err()) {
                shaper.done(&domain, None, now);
            }
            let Some(attempt) = attempt else { continue };
            let Candidate { customer_id, message_id, address_hash, .. } = candidate;
            match parcel {
                Ok(parcel) => {
                    self.in_hand.insert(message_id, InHand { attempt, domain, address_hash });
                    if let Err(parcel) = self.couriers.send(parcel) {
                        self.note(Report::Done(parcel.message, Outcome::NotSent));
                    }
                }
                Err(reason) => {
                    tracing::warn!(%customer_id, %message_id, reason, "the letter could not be written");
                    let message = Named { customer_id, message_id };
                    let settled =
                        Settled { message, state: State::Rejected, reason: Some(reason), reply: None, next_try_at: None, bounced: None };
                    self.settle.push(settled);
                }
            }
        }
    }

    /// People who are due get their letters written, on a thread of their own.
    fn begin_writing(&mut self) {
        let ahead = self.scribes.in_work() + self.ready.len();
        let wanted = AHEAD.min(self.left.unwrap_or(AHEAD)).saturating_sub(ahead);
        // In groups, as they leave.
        let count = (self.due.len() + self.held.len()).min(wanted).min(SHEAF);
        if count == 0 || (count < SHEAF && ahead > 0 && !self.read_all) {
            return;
        }
        let group = self.whose_turn_it_is(count);
        if group.is_empty() {
            return;
        }
        let scribe = Scribe {
            delivery: Arc::clone(self.delivery),
            context: self.context.clone(),
            channel: self.errand.channel.clone(),
            only_to: Arc::clone(&self.only_to),
            in_parts: self.in_parts,
            date: self.context.clock.now(),
        };
        self.scribes.write(scribe, group);
    }

    /// So many of the people who are due and may go at the pace that holds. Whoever may go soon is held; who may not is put off.
    fn whose_turn_it_is(&mut self, count: usize) -> Vec<PlannedRecipient> {
        let Some(shaper) = &mut self.shaper else { return self.due.drain(..count).collect() };
        let now = self.context.clock.now();
        let (mut group, mut behind) = (Vec::with_capacity(count), Vec::new());
        while group.len() < count && behind.len() < 4 * SHEAF {
            let (person, was_held) = if self.held.first_key_value().is_some_and(|((at, _), _)| *at <= now) {
                (self.held.pop_first().map(|(_, person)| person), true)
            } else if self.held.len() < HELD {
                (self.due.pop_front(), false)
            } else {
                (None, false)
            };
            let Some(person) = person else { break };
            let to = person.address().map_or_else(String::new, domain);
            if was_held {
                shaper.waits(&to, false);
            }
            match shaper.ask(&to, now) {
                Go::Now => group.push(person),
                Go::At(at) if at - now >= PATIENCE => {
                    let PlannedRecipient { customer_id, message_id, .. } = person;
                    self.put_off.push((Named { customer_id, message_id }, at));
                }
                Go::Behind => behind.push((to, person)),
                Go::At(at) => {
                    shaper.waits(&to, true);
                    self.counter += 1;
                    self.held.insert((at, self.counter), person);
                }
            }
        }
        // They come after whoever has waited as long: of many who wait for each other's end nobody keeps the rest from being asked.
        for (to, person) in behind {
            shaper.waits(&to, true);
            self.counter += 1;
            self.held.insert((now, self.counter), person);
        }
        group
    }

    /// Waits for whatever comes first: a report, a group of letters, more people, or the request to stop.
    async fn wait(&mut self) {
        let hungry = !self.read_all && self.due.len() < AHEAD && self.left != Some(0) && self.held.len() < HELD;
        let now = self.context.clock.now();
        // What was accepted makes room, and before that is enough for a group nothing follows from it.
        let wanted = (GROUP + self.in_hand.len()).saturating_sub(OPEN).max(1);
        let next = self.held.first_key_value().map(|((at, _), _)| (*at - now).to_std().unwrap_or_default());
        tokio::select! {
            () = self.context.stop.cancelled() => {}
            () = tokio::time::sleep(next.unwrap_or_default().max(Duration::from_millis(20))), if next.is_some() => {}
            report = self.couriers.report(wanted) => match report {
                Some(report) => self.note(report),
                None => self.ending = Some(Ending::Quiet),
            },
            Some(written) = self.scribes.written() => self.collect(written),
            chunk = self.people.recv(), if hungry => match chunk {
                Some(Ok(chunk)) => self.admit(chunk).await,
                Some(Err(diagnosis)) => self.ending = Some(Ending::Failed(DeliveryError::People(Box::new(diagnosis)))),
                None => self.read_all = true,
            },
        }
    }

    /// Puts the plan on hold, by whatever noticed that it must not go on.
    async fn hold(&self, by: &str, why: &str) {
        let held = self.context.ledger.hold(&self.errand.plan, Some(by), Some(why), self.context.clock.now()).await;
        if let Err(error) = held {
            // Somebody was quicker; either way it does not go on.
            tracing::warn!(plan = %self.errand.plan, %error, "the plan could not be put on hold");
        }
    }

    /// Puts the plan on hold where too much of what the campaign sent came back.
    async fn look_back(&mut self) -> Result<(), DeliveryError> {
        let (ledger, settings) = (&self.context.ledger, self.context.settings.breaker);
        let rates = ledger.rates(&self.errand.plan, &self.errand.campaign, settings.over).await?;
        let Some(why) = tripped(settings, rates).filter(|_| self.delivery.channel == Channel::Email) else { return Ok(()) };
        self.hold("circuit breaker", &why).await;
        Err(DeliveryError::Tripped { plan: self.errand.plan.clone(), why })
    }

    /// Of a chunk, those who are due wait for their turn.
    async fn admit(&mut self, chunk: Vec<PlannedRecipient>) {
        if let Err(error) = self.look_back().await {
            self.ending = Some(Ending::Failed(error));
            return;
        }
        let now = self.context.clock.now();
        if self.fresh {
            // Whoever is not due all the same is noticed when their turn comes.
            self.due.extend(chunk.into_iter().filter(|person| person.send_after.is_none_or(|after| after <= now)));
            return;
        }
        let ids: Vec<&CustomerId> = chunk.iter().map(|person| &person.customer_id).collect();
        match self.context.ledger.due_among(&self.errand.plan, &ids, now).await {
            Ok(due) => self.due.extend(chunk.into_iter().filter(|person| due.contains(&person.customer_id))),
            Err(error) => self.ending = Some(Ending::Failed(error.into())),
        }
    }

    fn collect(&mut self, written: Result<Vec<Written>, JoinError>) {
        match written {
            Ok(written) => self.ready.extend(written),
            Err(_) => {
                // A letter's writing panicked.
                let diagnosis = Diagnosis::new("letters", "a group of letters could not be written");
                self.ending = Some(Ending::Failed(DeliveryError::People(Box::new(diagnosis))));
            }
        }
    }

    /// Notes what a worker said; the next turn records it.
    fn note(&mut self, report: Report) {
        let (message, outcome) = match report {
            Report::Done(message, outcome) => (message, outcome),
            Report::Closed(error) => {
                self.ending.get_or_insert(Ending::Failed(DeliveryError::Transport(error)));
                return;
            }
        };
        let Some(in_hand) = self.in_hand.remove(&message.message_id) else { return };
        if let Some(shaper) = &mut self.shaper {
            let outcome = if outcome == Outcome::NotSent { None } else { Some(&outcome) };
            shaper.done(&in_hand.domain, outcome, self.context.clock.now());
        }
        let settled = judge(message, outcome, &in_hand, self.delivery.channel, self.context.clock.now());
        if matches!(settled.state, State::Rejected | State::Unknown | State::Deferred) {
            tracing::warn!(customer_id = %settled.message.customer_id, message_id = %settled.message.message_id,
                state = settled.state.as_str(), reply = settled.reply.as_deref().unwrap_or(""), "a message was not accepted");
        }
        self.settle.push(settled);
    }

    /// What is on the wire is finished and recorded.
    async fn wind_up(mut self, run: &mut ThisRun) -> Result<(), DeliveryError> {
        self.couriers.stop();
        self.people.close();
        while !self.in_hand.is_empty() {
            match self.couriers.report(1).await {
                Some(report) => self.note(report),
                // With every worker gone and no word from them, what was committed stays so: the next run calls it unknown, which it is.
                None => break,
            }
        }
        if !self.settle.is_empty() {
            let turn = Turn { settle: std::mem::take(&mut self.settle), ..Turn::default() };
            let now = self.context.clock.now();
            match self.context.ledger.turn(&self.errand, &turn, now, &|_, _| Decision::Drop("")).await {
                Ok(_) => turn.settle.iter().for_each(|settled| run.add(settled.state, 1)),
                Err(LedgerError::Fenced) => {
                    self.context.ledger.settle_late(&self.errand, &turn.settle, now).await?;
                    self.ending = Some(Ending::Failed(LedgerError::Fenced.into()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(Ending::Failed(DeliveryError::Transport(gone @ TransportError::Gone { .. }))) = &self.ending {
            self.hold("the receiver", &gone.to_string()).await;
        }
        self.couriers.finish().await;
        match self.ending {
            Some(Ending::Failed(error)) => Err(error),
            _ if self.strangers > 0 => Err(DeliveryError::Mismatch {
                plan: self.delivery.plan.clone(),
                planned: self.planned,
                found: self.planned.saturating_sub(self.strangers),
            }),
            _ => Ok(()),
        }
    }
}

/// What an outcome means for the account.
fn judge(message: Named, outcome: Outcome, in_hand: &InHand, channel: Channel, now: DateTime<Utc>) -> Settled {
    let settled = |state, reason, reply| Settled { message: message.clone(), state, reason, reply, next_try_at: None, bounced: None };
    match outcome {
        Outcome::Accepted(reply) => settled(State::Accepted, None, reply),
        Outcome::Rejected { reason, reply, dead } => {
            let bounced = dead.then(|| in_hand.address_hash.clone()).flatten();
            Settled { bounced, ..settled(State::Rejected, Some(if dead { "hard_bounce" } else { reason }), reply) }
        }
        Outcome::Deferred { reply, after, .. } => {
            let tried = usize::try_from(in_hand.attempt).unwrap_or(usize::MAX).min(TRY_AGAIN.len() - 1);
            let pause = after.unwrap_or(match channel {
                Channel::Email => TRY_AGAIN[tried],
                Channel::Webhook => webhook::pause(in_hand.attempt.saturating_add(1)),
            });
            Settled { next_try_at: Some(now + pause), ..settled(State::Deferred, None, reply) }
        }
        Outcome::Unknown(reason) => settled(State::Unknown, Some("no_answer"), Some(reason)),
        Outcome::NotSent => settled(State::Waiting, None, None),
    }
}

/// Which part of a plan a worker begins with: of so many workers that deliver, it is that one, counted from 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) workers: u64,
    pub(super) place: u64,
    /// The account was opened a moment ago, and this worker alone takes people from it.
    pub(super) fresh: bool,
}

/// Reads the plan's people on a thread of its own, a few chunks ahead: first the worker's own share, then what the others began with, as
/// far as they have left any.
fn read(delivery: Arc<Delivery>, share: Share) -> mpsc::Receiver<Result<Vec<PlannedRecipient>, Diagnosis>> {
    let (send, people) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let reading = || -> Result<(), Diagnosis> {
            for own in [true, false].into_iter().take(if share.workers > 1 { 2 } else { 1 }) {
                let (mut chunk, mut number) = (Vec::with_capacity(CHUNK), 0);
                let mut people = delivery.people.read()?;
                loop {
                    let person = people.next().transpose()?;
                    let is_last = person.is_none();
                    chunk.extend(person);
                    if chunk.len() == CHUNK || is_last {
                        let wanted = (number % share.workers.max(1) == share.place) == own;
                        let chunk = std::mem::take(&mut chunk);
                        if wanted && send.blocking_send(Ok(chunk)).is_err() {
                            return Ok(());
                        }
                        number += 1;
                    }
                    if is_last {
                        break;
                    }
                }
            }
            Ok(())
        };
        if let Err(diagnosis) = reading() {
            let _ = send.blocking_send(Err(diagnosis));
        }
    });
    people
}
