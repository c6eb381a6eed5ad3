//! One run of a delivery: one turn of the ledger after another, until nobody is due.
//!
//! People are read in chunks; of each chunk those who are due are reserved in groups, their letters written, committed and handed to the
//! workers. All of it overlaps, and at any moment no more than [`OPEN`] messages are `committing`: a crash makes no more unknowns.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    account::ThisRun,
    breaker::tripped,
    deliver::Context,
    error::{DeliveryError, TransportError},
    plan::{Delivery, PlannedRecipient, Stamp},
    policy::Policy,
    settings::OnlyTo,
    transport::{Couriers, Outcome, Parcel, Report, Way},
    unsubscribe::Token,
    webhook,
};
use crate::{
    diagnosis::Diagnosis,
    ledger::{
        Candidate, CustomerId, Decision, Errand, Lease, LedgerError, MessageId, Named, Present, Settled, Standing, State, Turn, Turned,
    },
    message::{Channel, Kind, Message, mailable},
};

/// The most messages that are `committing` at once.
const OPEN: usize = 64;
/// How many messages one turn commits at least, while others are under way.
const GROUP: usize = 32;
/// How many messages are reserved, and their letters written, ahead of those that leave.
const AHEAD: usize = 96;
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

/// A person whose message is reserved, written or on the wire.
struct InHand {
    person: CustomerId,
    attempt: u32,
    address_hash: Option<String>,
}

/// A letter ready to leave, or the reason there is none.
type Written = (Named, Result<Parcel, &'static str>);

/// A run in progress.
pub(crate) struct Run<'a> {
    context: &'a Context,
    delivery: &'a Arc<Delivery>,
    errand: Errand,
    policy: Policy,
    only_to: OnlyTo,
    planned: u64,
    /// How many messages may still be reserved.
    left: Option<usize>,
    couriers: Couriers,
    people: mpsc::Receiver<Result<Vec<PlannedRecipient>, Diagnosis>>,
    read_all: bool,
    /// Due, and not looked at yet.
    due: VecDeque<PlannedRecipient>,
    /// Reserved; their letters are being written.
    writing: JoinSet<Vec<Written>>,
    /// Reserved, and ready to leave.
    ready: VecDeque<Parcel>,
    /// Reserved or committing.
    in_hand: HashMap<MessageId, InHand>,
    /// Committing.
    open: usize,
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
            only_to: context.settings.allowed()?,
            planned: standing.planned,
            left: first,
            couriers: Couriers::start(&way, OPEN, lease),
            people: read(Arc::clone(delivery), share),
            read_all: false,
            due: VecDeque::new(),
            writing: JoinSet::new(),
            ready: VecDeque::new(),
            in_hand: HashMap::new(),
            open: 0,
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
            let turn = self.next_turn();
            if turn.settle.is_empty() && turn.commit.is_empty() && turn.reserve.is_empty() {
                if self.is_done() {
                    break;
                }
                self.wait().await;
            } else {
                self.take(turn, run).await;
            }
        }
        self.wind_up(run).await
    }

    /// Whether as many messages as wanted are reserved and all of those are done with.
    fn due_is_done(&self) -> bool {
        self.in_hand.is_empty() && self.settle.is_empty()
    }

    fn is_done(&self) -> bool {
        self.read_all && self.due.is_empty() && self.in_hand.is_empty() && self.settle.is_empty()
    }

    /// How many messages are reserved and have not left.
    fn reserved(&self) -> usize {
        self.in_hand.len() - self.open
    }

    /// What the ledger should do next; an empty turn means that there is nothing to do but wait.
    ///
    /// A turn costs a sync whatever it holds, so what can wait rides along: outcomes are recorded and people reserved when a group can be
    /// committed, and by themselves only where nothing else is going to happen.
    fn next_turn(&mut self) -> Turn {
        let room = OPEN - self.open;
        let commit = if !self.ready.is_empty() && room >= GROUP.min(self.ready.len()) { self.ready.len().min(room) } else { 0 };
        let starved = self.ready.is_empty() && self.writing.is_empty();
        let wanted = (AHEAD + commit).saturating_sub(self.reserved()).min(self.left.unwrap_or(AHEAD));
        let enough = self.due.len() >= wanted || self.read_all;
        let reserve = if commit > 0 || (starved && enough) { self.due.len().min(wanted) } else { 0 };
        let idle = starved && self.open == 0 && (self.due.is_empty() || wanted == 0);
        if commit == 0 && reserve == 0 && !idle {
            return Turn::default();
        }
        let reserve: Vec<Candidate> = self.due.iter().take(reserve).map(|person| self.candidate(person)).collect();
        Turn {
            settle: std::mem::take(&mut self.settle),
            commit: self.ready.iter().take(commit).map(|parcel| parcel.message.clone()).collect(),
            reserve,
        }
    }

    fn candidate(&self, person: &PlannedRecipient) -> Candidate {
        Candidate {
            customer_id: person.customer_id.clone(),
            message_id: person.message_id.clone(),
            address_hash: person.address_hash(self.delivery.kind, &self.context.keys),
            occasion: person.occasion.clone(),
            step: person.step,
            variant: person.variant.clone(),
        }
    }

    /// Why a person's address keeps the message from leaving, whatever else holds.
    fn barred(&self, person: &PlannedRecipient) -> Option<&'static str> {
        let address = person.address().unwrap_or_default().trim().to_lowercase();
        if self.delivery.channel == Channel::Email && mailable(&address).is_none() {
            return Some("no_address");
        }
        // Where a note to staff may go depends on its receiver; that was looked at before the first.
        (self.delivery.kind != Kind::Internal && !self.only_to.allows(&address)).then_some("only_to")
    }

    /// One turn of the ledger, and what follows from it.
    async fn take(&mut self, turn: Turn, run: &mut ThisRun) {
        let now = self.context.clock.now();
        let barred: HashMap<CustomerId, &'static str> = self
            .due
            .iter()
            .take(turn.reserve.len())
            .filter_map(|person| self.barred(person).map(|reason| (person.customer_id.clone(), reason)))
            .collect();
        let policy = self.policy.clone();
        let decide = move |candidate: &Candidate, present: &Present| match policy.decide(present, now) {
            Decision::Drop(reason) => Decision::Drop(reason),
            decision => barred.get(&candidate.customer_id).map_or(decision, |reason| Decision::Drop(reason)),
        };
        let turned = match self.context.ledger.turn(&self.errand, &turn, now, &decide).await {
            Ok(turned) => turned,
            Err(error) => {
                // Nothing of the turn stands: what came back is kept for the last try, and nothing new leaves.
                self.settle = turn.settle;
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
        self.hand_over(&turn, &turned.committed);
        self.begin_writing(&turn, &turned, now);
    }

    /// Committed messages leave; those that dropped out since their reservation do not.
    fn hand_over(&mut self, turn: &Turn, committed: &[Named]) {
        let leaving: HashSet<&MessageId> = committed.iter().map(|named| &named.message_id).collect();
        for _ in 0..turn.commit.len() {
            let Some(parcel) = self.ready.pop_front() else { break };
            if !leaving.contains(&parcel.message.message_id) {
                self.in_hand.remove(&parcel.message.message_id);
                continue;
            }
            self.open += 1;
            if let Err(parcel) = self.couriers.send(parcel) {
                self.note(Report::Done(parcel.message, Outcome::NotSent));
            }
        }
    }

    /// Reserved people get their letters written, on a thread of their own.
    fn begin_writing(&mut self, turn: &Turn, turned: &Turned, now: DateTime<Utc>) {
        let looked_at: Vec<PlannedRecipient> = self.due.drain(..turn.reserve.len()).collect();
        self.strangers += (turn.reserve.len() as u64).saturating_sub(turned.looked_at);
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(turned.reserved.len());
        }
        if turned.reserved.is_empty() {
            return;
        }
        let attempts: HashMap<&MessageId, u32> = turned.reserved.iter().map(|(named, attempt)| (&named.message_id, *attempt)).collect();
        let mut group = Vec::with_capacity(attempts.len());
        for (person, candidate) in looked_at.into_iter().zip(&turn.reserve) {
            let Some(attempt) = attempts.get(&person.message_id).copied() else { continue };
            let in_hand = InHand { person: person.customer_id.clone(), attempt, address_hash: candidate.address_hash.clone() };
            self.in_hand.insert(person.message_id.clone(), in_hand);
            group.push(person);
        }
        let scribe =
            Scribe { delivery: Arc::clone(self.delivery), context: self.context.clone(), channel: self.errand.channel.clone(), date: now };
        self.writing.spawn_blocking(move || group.into_iter().map(|person| scribe.write(&person)).collect());
    }

    /// Waits for whatever comes first: a report, a group of letters, more people, or the request to stop.
    async fn wait(&mut self) {
        let hungry = !self.read_all && self.due.len() < AHEAD && self.left != Some(0);
        tokio::select! {
            () = self.context.stop.cancelled() => {}
            report = self.couriers.report() => match report {
                Some(report) => self.note(report),
                None => self.ending = Some(Ending::Quiet),
            },
            Some(written) = self.writing.join_next() => self.collect(written),
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
        let ids: Vec<&CustomerId> = chunk.iter().map(|person| &person.customer_id).collect();
        match self.context.ledger.due_among(&self.errand.plan, &ids, self.context.clock.now()).await {
            Ok(due) => self.due.extend(chunk.into_iter().filter(|person| due.contains(&person.customer_id))),
            Err(error) => self.ending = Some(Ending::Failed(error.into())),
        }
    }

    fn collect(&mut self, written: Result<Vec<Written>, tokio::task::JoinError>) {
        let Ok(written) = written else {
            // A letter's writing panicked; its group stays reserved and is released at the end.
            let diagnosis = Diagnosis::new("letters", "a group of letters could not be written");
            self.ending = Some(Ending::Failed(DeliveryError::People(Box::new(diagnosis))));
            return;
        };
        for (message, letter) in written {
            match letter {
                Ok(parcel) => self.ready.push_back(parcel),
                Err(reason) => {
                    tracing::warn!(customer_id = %message.customer_id, message_id = %message.message_id, reason, "the letter could not be written");
                    self.in_hand.remove(&message.message_id);
                    self.settle.push(Settled {
                        message,
                        state: State::Rejected,
                        reason: Some(reason),
                        reply: None,
                        next_try_at: None,
                        bounced: None,
                    });
                }
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
        self.open -= 1;
        let settled = judge(message, outcome, &in_hand, self.delivery.channel, self.context.clock.now());
        if matches!(settled.state, State::Rejected | State::Unknown | State::Deferred) {
            tracing::warn!(customer_id = %settled.message.customer_id, message_id = %settled.message.message_id,
                state = settled.state.as_str(), reply = settled.reply.as_deref().unwrap_or(""), "a message was not accepted");
        }
        self.settle.push(settled);
    }

    /// What is on the wire is finished and recorded, what has not left is released.
    async fn wind_up(mut self, run: &mut ThisRun) -> Result<(), DeliveryError> {
        self.couriers.stop();
        self.people.close();
        while self.open > 0 {
            match self.couriers.report().await {
                Some(report) => self.note(report),
                None => break,
            }
        }
        while let Some(written) = self.writing.join_next().await {
            self.collect(written);
        }
        let open = std::mem::take(&mut self.open);
        // With every worker gone and no word from them, what was committed stays so: the next run calls it unknown, which it is.
        let released = if open == 0 { std::mem::take(&mut self.in_hand) } else { HashMap::new() };
        for (message_id, in_hand) in released {
            let message = Named { customer_id: in_hand.person, message_id };
            self.settle.push(Settled { message, state: State::Waiting, reason: None, reply: None, next_try_at: None, bounced: None });
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

/// Writes the letters of a group.
struct Scribe {
    delivery: Arc<Delivery>,
    context: Context,
    channel: String,
    date: DateTime<Utc>,
}

impl Scribe {
    fn write(&self, person: &PlannedRecipient) -> Written {
        let message = Named { customer_id: person.customer_id.clone(), message_id: person.message_id.clone() };
        let link = self.delivery.kind.has_way_out(self.delivery.channel).then_some(&self.context.settings.public_url);
        let unsubscribe_url = link.and_then(Option::as_ref).map(|public_url| {
            let (campaign, id) = (&self.delivery.campaign, person.message_id.as_str());
            Token::url(public_url, &Token::issue(&self.context.keys, &person.customer_id, campaign, id, &self.channel))
        });
        let letter = self.delivery.letters.write(person, &Stamp { unsubscribe_url, date: self.date });
        let parcel = match (letter, self.delivery.channel) {
            (Ok(Message::Email { bytes, .. }), Channel::Email) => {
                // The envelope names the address as `To` does.
                match person.address().and_then(mailable) {
                    Some(to) => Ok(Parcel { message: message.clone(), to, body: bytes }),
                    None => Err("no_address"),
                }
            }
            (Ok(Message::Webhook { body }), Channel::Webhook) => {
                Ok(Parcel { message: message.clone(), to: person.customer_id.to_string(), body: body.into_bytes() })
            }
            (Ok(_), _) => Err("wrong_channel"),
            (Err(_), _) => Err("template"),
        };
        (message, parcel)
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
        Outcome::Deferred { reply, after } => {
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
