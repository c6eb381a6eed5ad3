//! The four ways out, behind one door: parcels in, reports out.
//!
//! | way | what its silence means | after a crash |
//! |---|---|---|
//! | outbox | it was not written | the file is the evidence |
//! | smtp | after the first byte of the message: unknown | unknown |
//! | http | after the first byte of the call: unknown | unknown |
//! | api | once its body began to leave: unknown | unknown |

use std::{
    collections::VecDeque,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use chrono::TimeDelta;
use tokio::{
    runtime::Builder,
    sync::{Mutex, Notify, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{api::Courier, error::TransportError, outbox::Outbox, smtp::Relay, threads::interrupt_nobody, webhook::Receiver};
use crate::ledger::{Lease, Named};

/// A finished message on its way to a transport.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// Which message.
    pub(crate) message: Named,
    /// The recipient's address; for a webhook the person it is about.
    pub(crate) to: String,
    /// What is sent: an email by RFC 5322, or a JSON body.
    pub(crate) body: Vec<u8>,
    /// An email's parts, for a way that takes letters apart.
    pub(crate) letter: Option<Box<Letter>>,
}

/// What a letter says, before it became a message by RFC 5322.
#[derive(Debug)]
pub(crate) struct Letter {
    /// The subject.
    pub(crate) subject: String,
    /// The HTML part.
    pub(crate) html: String,
    /// The text part.
    pub(crate) text: String,
}

/// What became of a parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The other side took it.
    Accepted(Option<String>),
    /// The other side refused it for good.
    Rejected {
        /// Why, in one word.
        reason: &'static str,
        /// What was answered, without addresses.
        reply: Option<String>,
        /// Whether the answer means that the address is dead.
        dead: bool,
    },
    /// The other side said "not now".
    Deferred {
        /// What was answered, without addresses.
        reply: Option<String>,
        /// When the other side wants to be asked again.
        after: Option<TimeDelta>,
        /// Whether it was said about the sender, not about this recipient.
        of_relay: bool,
    },
    /// Bytes left that could have delivered it, and no answer came.
    Unknown(String),
    /// No byte of it left; it still waits.
    NotSent,
}

/// What a transport says.
#[derive(Debug)]
pub(crate) enum Report {
    /// A parcel is done with.
    Done(Named, Outcome),
    /// Nothing can leave by this way now.
    Closed(TransportError),
}

impl Report {
    /// Whether nothing but the account follows from it.
    fn can_wait(&self) -> bool {
        matches!(self, Self::Done(_, Outcome::Accepted(_)))
    }
}

/// A way out.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// Files in a folder.
    Outbox(Arc<Outbox>),
    /// A mail relay.
    Smtp(Arc<Relay>),
    /// A signed call.
    Http(Arc<Receiver>),
    /// An API, by a description of it.
    Api(Arc<Courier>),
}

impl Way {
    /// As the ledger writes it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Outbox(_) => "outbox",
            Self::Smtp(_) => "smtp",
            Self::Http(_) => "http",
            Self::Api(_) => "api",
        }
    }

    /// Whose pace mail by this way keeps; none where it stays in the house or is no mail.
    pub(crate) fn relay(&self) -> Option<String> {
        match self {
            Self::Smtp(relay) => Some(relay.host().to_owned()),
            Self::Api(courier) => Some(courier.host()),
            Self::Outbox(_) | Self::Http(_) => None,
        }
    }

    /// Whether letters travel in their parts.
    pub(crate) fn takes_parts(&self) -> bool {
        matches!(self, Self::Api(_))
    }
}

/// Parcels wait here for a worker; whoever is free takes the next.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    parcels: Arc<Mutex<mpsc::Receiver<Parcel>>>,
    board: Arc<Board>,
    stop: CancellationToken,
    lease: Lease,
}

impl Queue {
    /// The next parcel to send; `None` when there will be none. While the delivery stops, parcels go back unsent.
    pub(crate) async fn next(&self) -> Option<Parcel> {
        self.next_group(1).await.pop()
    }

    /// Whether a parcel may still leave: not while the delivery stops, nor once others may have taken over what this process had in hand.
    pub(crate) fn may_send(&self) -> bool {
        !self.stop.is_cancelled() && self.lease.holds()
    }

    /// Is cancelled when the delivery stops.
    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Whether the delivery stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// A parcel that waits already and that no other worker is about to take.
    pub(crate) fn waiting(&self) -> Option<Parcel> {
        // Whoever waits for a parcel holds the lock.
        let parcel = self.parcels.try_lock().ok()?.try_recv().ok()?;
        if !self.may_send() {
            self.done(parcel.message, Outcome::NotSent);
            return None;
        }
        Some(parcel)
    }

    /// The parcels waiting now, at least one and at most `limit`; none when there will be none.
    pub(crate) async fn next_group(&self, limit: usize) -> Vec<Parcel> {
        let mut group = Vec::with_capacity(limit);
        // Whoever waits for a parcel holds the lock, so all that follows it is taken under the same one.
        let mut parcels = self.parcels.lock().await;
        while group.is_empty() && parcels.recv_many(&mut group, limit).await > 0 {
            if !self.may_send() {
                group.drain(..).for_each(|parcel| self.done(parcel.message, Outcome::NotSent));
            }
        }
        group
    }

    /// Says what became of a parcel.
    pub(crate) fn done(&self, message: Named, outcome: Outcome) {
        // Nobody listens any more only when the delivery itself was dropped; the ledger then says `committing`, which is true.
        self.board.post(Report::Done(message, outcome));
    }

    /// Says that nothing can leave by this way now.
    pub(crate) fn closed(&self, error: TransportError) {
        self.stop.cancel();
        self.board.post(Report::Closed(error));
    }
}

/// Where workers leave their reports. Whoever reads them is woken once as many are there as it waits for, or one that cannot wait: to be woken
/// costs more than a report does.
#[derive(Debug, Default)]
struct Board {
    posted: std::sync::Mutex<Posted>,
    wanted: AtomicUsize,
    enough: Notify,
}

#[derive(Debug, Default)]
struct Posted {
    reports: VecDeque<Report>,
    /// Nobody is left who could post more.
    last: bool,
}

impl Board {
    fn post(&self, report: Report) {
        let can_wait = report.can_wait();
        let mut posted = self.posted();
        posted.reports.push_back(report);
        let count = posted.reports.len();
        drop(posted);
        if !can_wait || count >= self.wanted.load(Ordering::SeqCst) {
            self.enough.notify_one();
        }
    }

    /// There will be no more.
    fn close(&self) {
        self.posted().last = true;
        self.enough.notify_one();
    }

    fn take(&self) -> Option<Report> {
        self.posted().reports.pop_front()
    }

    /// Waits until so many are there, or one that cannot wait, or there will be no more.
    async fn fill(&self, wanted: usize) {
        self.wanted.store(wanted, Ordering::SeqCst);
        // Whatever is posted from here on sees what is wanted.
        let enough = || {
            let posted = self.posted();
            posted.last || posted.reports.len() >= wanted || !posted.reports.iter().all(Report::can_wait)
        };
        while !enough() {
            self.enough.notified().await;
        }
    }

    fn posted(&self) -> std::sync::MutexGuard<'_, Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the workers' thread, whichever way it comes: nobody waits for a report of theirs any more.
struct End<'q>(&'q Queue);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.closed(TransportError::Broken);
        }
        self.0.board.close();
    }
}

/// The workers of one delivery, on a thread of their own: they go on while the ledger waits for its disk. Dropping it ends them at once.
#[derive(Debug)]
pub(crate) struct Couriers {
    parcels: Option<mpsc::Sender<Parcel>>,
    board: Arc<Board>,
    stop: CancellationToken,
    gone: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Couriers {
    /// Sets the workers of `way` to work; at most `open` parcels are with them at once.
    pub(crate) fn start(way: &Way, open: usize, lease: &Lease) -> Self {
        let (parcels, waiting) = mpsc::channel(open);
        let (board, stop, gone) = (Arc::<Board>::default(), CancellationToken::new(), CancellationToken::new());
        let queue = Queue { parcels: Arc::new(Mutex::new(waiting)), board: Arc::clone(&board), stop: stop.clone(), lease: lease.clone() };
        let (way, end) = (way.clone(), gone.clone());
        let work = move || {
            let _end = End(&queue);
            interrupt_nobody();
            let worked = Builder::new_current_thread().enable_all().build().map(|runtime| {
                runtime.block_on(async {
                    tokio::select! {
                        () = end.cancelled() => {}
                        () = all(&way, &queue) => {}
                    }
                });
            });
            if let Err(error) = worked {
                queue.closed(TransportError::NoWorkers(error.to_string()));
            }
        };
        let thread = std::thread::Builder::new().name("couriers".to_owned()).spawn(work);
        let thread = thread.map_err(|error| {
            board.post(Report::Closed(TransportError::NoWorkers(error.to_string())));
            board.close();
        });
        Self { parcels: Some(parcels), board, stop, gone, thread: thread.ok() }
    }

    /// Hands over a parcel whose message stands in the ledger as `committing`. Gives it back where no worker takes it.
    pub(crate) fn send(&self, parcel: Parcel) -> Result<(), Parcel> {
        let Some(parcels) = &self.parcels else { return Err(parcel) };
        parcels.try_send(parcel).map_err(|error| match error {
            mpsc::error::TrySendError::Full(parcel) | mpsc::error::TrySendError::Closed(parcel) => parcel,
        })
    }

    /// The next report, once `wanted` are there, or one that something must be done about; `None` when all workers have gone.
    pub(crate) async fn report(&self, wanted: usize) -> Option<Report> {
        self.board.fill(wanted).await;
        self.board.take()
    }

    /// The next report, where one is there already.
    pub(crate) fn report_now(&self) -> Option<Report> {
        self.board.take()
    }

    /// Lets the workers finish what they have in hand and say goodbye; what waits comes back as not sent.
    pub(crate) fn stop(&mut self) {
        self.stop.cancel();
        self.parcels = None;
    }

    /// Waits until the workers have gone.
    pub(crate) async fn finish(self) {
        while self.report(usize::MAX).await.is_some() {}
    }
}

impl Drop for Couriers {
    fn drop(&mut self) {
        self.gone.cancel();
        // Whatever comes after must not meet a worker that still writes.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The workers of a way, until all of them have gone.
async fn all(way: &Way, queue: &Queue) {
    let mut workers = JoinSet::new();
    let count = match way {
        Way::Outbox(_) | Way::Http(_) => 4,
        Way::Smtp(relay) => relay.connections(),
        Way::Api(courier) => courier.at_once(),
    };
    for _ in 0..count {
        let queue = queue.clone();
        match way.clone() {
            Way::Outbox(outbox) => workers.spawn(async move { outbox.work(queue).await }),
            Way::Smtp(relay) => workers.spawn(async move { relay.work(queue).await }),
            Way::Http(receiver) => workers.spawn(async move { receiver.work(queue).await }),
            Way::Api(courier) => workers.spawn(async move { courier.work(queue).await }),
        };
    }
    while let Some(ended) = workers.join_next().await {
        // A worker that panics takes its message with it: that stays `committing`, and the next run calls it unknown.
        if ended.is_err() {
            queue.closed(TransportError::Broken);
        }
    }
}

/// How `@` is written, in links and in other widths too.
const SIGNS: [&str; 5] = ["@", "%40", "&#64;", "\u{ff20}", "\u{fe6b}"];

/// The most characters of a reply that are kept.
const LONGEST: usize = 200;

/// What the other side said, fit for the ledger and the log: one line, no addresses, not too long.
pub(crate) fn plain(reply: &str) -> String {
    if is_plain(reply) { reply.to_owned() } else { made_plain(reply) }
}

/// Whether it is fit as it is, as most are: short, of printable ASCII with single spaces, and without what begins a sign.
fn is_plain(reply: &str) -> bool {
    let printable = |byte: u8| (b' '..=b'~').contains(&byte) && !matches!(byte, b'@' | b'%' | b'&');
    reply.len() <= LONGEST && reply.bytes().all(printable) && reply.trim() == reply && !reply.contains("  ")
}

fn made_plain(reply: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    // What is taken out first cannot hide a sign: `%\0` and `40`.
    for word in reply.split_whitespace().map(|word| word.replace(char::is_control, "")) {
        if !SIGNS.iter().any(|sign| word.contains(sign)) {
            words.push(word);
            continue;
        }
        // `"ann smith"@example.com` began some words before.
        let is_end = word.find("\"@").is_some_and(|at| !word[..at].contains('"'));
        if let Some(begin) = words.iter().rposition(|word| word.contains('"')).filter(|_| is_end) {
            words.truncate(begin);
        }
        words.push("(address)".to_owned());
    }
    let mut line: String = words.join(" ").chars().take(LONGEST).collect();
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixture;

    #[test]
    fn a_reply_keeps_its_sense_and_loses_its_addresses() {
        assert_eq!(plain("550 5.1.1 <ann@example.com>: user\r\nunknown"), "550 5.1.1 (address) user unknown");
        assert_eq!(plain("550 <\"ann smith\"@example.com> of \"x y\" <\"ben\"@example.com>"), "550 (address) of \"x y\" (address)");
        for written in
            ["https://example.com/why?to=ann%40example.com", "ann%\u{0}40example.com", "ann\u{ff20}example.com", "ann&#64;example.com"]
        {
            assert_eq!(plain(&format!("550 see {written} now")), "550 see (address) now", "{written}");
        }
        assert_eq!(plain(&"x".repeat(500)).len(), 200);
    }

    #[tokio::test]
    async fn nobody_waits_for_workers_whose_thread_broke() {
        let (_parcels, waiting) = mpsc::channel(1);
        let root = tempfile::tempdir().unwrap();
        let lease = fixture::open(root.path()).await.join(chrono::Utc::now()).await.unwrap();
        let queue = Queue { parcels: Arc::new(Mutex::new(waiting)), board: Arc::default(), stop: CancellationToken::new(), lease };
        let theirs = queue.clone();
        let broken = std::thread::spawn(move || {
            let _end = End(&theirs);
            panic!("as a bug would");
        });
        assert!(broken.join().is_err() && queue.is_stopping());
        queue.board.fill(2).await;
        assert!(matches!(queue.board.take(), Some(Report::Closed(TransportError::Broken))));
        assert!(queue.board.take().is_none() && queue.board.posted().last);
    }

    proptest::proptest! {
        #[test]
        fn a_reply_that_is_fit_as_it_is_is_what_would_be_made_of_it(reply in "[ -~]{0,30}( [a-z0-9.=-]{1,12}){0,20}") {
            let said = made_plain(&reply);
            proptest::prop_assert!(!is_plain(&reply) || said == reply, "{reply:?}: {said:?}");
        }
    }
}
