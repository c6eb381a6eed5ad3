//! Messages leave by an API, one call each, until there are no more or the API lets nobody in.
//!
//! | the API | what follows |
//! |---|---|
//! | says "not now" | everybody pauses, as long as it asks for or a little longer each time; where that is too long, the run ends |
//! | three times in a row says nothing, or what nobody can make out | the run ends: going on would only make more unknowns |
//! | turns away what it would turn away for everybody | the run ends, and this message waits, too |
//! | wants no calls any more | the same, and the plan goes on hold |

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::{
    answer::{Door, Heard},
    call::Caller,
    request::{Content, Outgoing},
};
use crate::delivery::{
    error::TransportError,
    transport::{Outcome, Parcel, Queue},
};

/// So many calls in a row without an answer that says what became of them mean that the API is away.
const AWAY_IN_A_ROW: u32 = 3;
/// So many pauses in a row without a message taken in between are one too many: 1, 2, 4, 8 and 16 seconds were not enough.
const BUSY_IN_A_ROW: u32 = 6;
/// The longest pause a run makes; whoever asks for more is asked again in another run.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often everybody has waited since a message was taken.
#[derive(Debug, Default)]
struct Patience(u32);

impl Patience {
    /// How long everybody waits now, where the API asks for so long; the error is a wait that is too long for a run. Pure.
    fn wait(&mut self, asked: Option<Duration>) -> Result<Duration, Duration> {
        let wait = asked.unwrap_or_else(|| Duration::from_secs(1 << self.0.min(BUSY_IN_A_ROW)));
        self.0 += 1;
        if wait > LONGEST_PAUSE || self.0 >= BUSY_IN_A_ROW { Err(wait) } else { Ok(wait) }
    }
}

/// What is the same for every message of a delivery.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    /// The brand's sender, `Name <address>` or an address.
    pub(crate) from: String,
    /// The campaign.
    pub(crate) campaign: String,
    /// The plan.
    pub(crate) plan: String,
}

/// Carries messages to an API.
#[derive(Debug)]
pub(crate) struct Courier {
    caller: Caller,
    common: Common,
    away: AtomicU32,
    patience: Mutex<Patience>,
}

impl Courier {
    pub(crate) fn new(caller: Caller, common: Common) -> Self {
        Self { caller, common, away: AtomicU32::new(0), patience: Mutex::default() }
    }

    /// The host that is called.
    pub(crate) fn host(&self) -> String {
        self.caller.api().host()
    }

    /// How many calls may be under way at once.
    pub(crate) fn at_once(&self) -> usize {
        self.caller.api().at_once()
    }

    /// Makes calls until there are no more.
    pub(crate) async fn work(self: Arc<Self>, queue: Queue) {
        while let Some(parcel) = queue.next().await {
            let heard = self.call(&parcel, queue.stopped()).await;
            let unheard = matches!(heard.outcome, Outcome::Unknown(_)) || matches!(heard.door, Door::Silent(_));
            let away = match unheard {
                true => self.away.fetch_add(1, Ordering::AcqRel) + 1,
                // What was never sent says nothing of the other side.
                false if heard.outcome == Outcome::NotSent => 0,
                false => {
                    self.away.store(0, Ordering::Release);
                    0
                }
            };
            let closed = match heard.door {
                Door::Open => {
                    if matches!(heard.outcome, Outcome::Accepted(_)) {
                        *self.patience.lock().unwrap_or_else(PoisonError::into_inner) = Patience::default();
                    }
                    let reason = || "what it answers does not say whether messages were taken".to_owned();
                    (away >= AWAY_IN_A_ROW).then(|| TransportError::Unreachable { host: self.host(), reason: reason() })
                }
                Door::Silent(reason) => (away >= AWAY_IN_A_ROW).then(|| TransportError::Unreachable { host: self.host(), reason }),
                Door::Busy(asked) => self.pause(asked),
                Door::Closed(reason) => Some(TransportError::Closed { host: self.host(), reason }),
                Door::Disabled(_) => Some(TransportError::Gone { host: self.host() }),
            };
            queue.done(parcel.message, heard.outcome);
            if let Some(error) = closed {
                queue.closed(error);
            }
        }
    }

    /// Makes everybody wait; or says that it would be too long.
    fn pause(&self, asked: Option<TimeDelta>) -> Option<TransportError> {
        let asked = asked.map(|asked| asked.to_std().unwrap_or_default());
        let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        // What was under way when a pause began may make it longer, and does not count as another.
        if self.caller.is_paused() && asked.is_none_or(|wait| wait <= LONGEST_PAUSE) {
            self.caller.pause(asked.unwrap_or_default());
            return None;
        }
        match patience.wait(asked) {
            Ok(wait) => {
                self.caller.pause(wait);
                None
            }
            Err(wait) => Some(TransportError::Busy { host: self.host(), seconds: wait.as_secs() }),
        }
    }

    /// One call of its own, outside a delivery.
    pub(crate) async fn send_alone(&self, parcel: &Parcel) -> Result<Outcome, TransportError> {
        let heard = self.call(parcel, &CancellationToken::new()).await;
        match heard.door {
            Door::Closed(reason) => Err(TransportError::Closed { host: self.host(), reason }),
            Door::Disabled(_) => Err(TransportError::Gone { host: self.host() }),
            Door::Open | Door::Busy(_) | Door::Silent(_) => Ok(heard.outcome),
        }
    }

    async fn call(&self, parcel: &Parcel, stop: &CancellationToken) -> Heard {
        let text = String::from_utf8_lossy(&parcel.body);
        let content = match &parcel.letter {
            Some(letter) => Content::Email {
                mime: &parcel.body,
                from: &self.common.from,
                to: &parcel.to,
                subject: &letter.subject,
                html: &letter.html,
                text: &letter.text,
            },
            None => Content::Webhook { body: &text },
        };
        let message = Outgoing {
            message_id: parcel.message.message_id.as_str(),
            customer_id: parcel.message.customer_id.as_str(),
            campaign: &self.common.campaign,
            plan: &self.common.plan,
            content,
        };
        self.caller.call(&message, stop).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_they_are_too_many_or_too_long() {
        let seconds = |asked: &[Option<u64>]| {
            let mut patience = Patience::default();
            let waits = asked.iter().map(|asked| patience.wait(asked.map(Duration::from_secs)));
            waits.map(|wait| wait.map(|wait| wait.as_secs()).map_err(|wait| wait.as_secs())).collect::<Vec<_>>()
        };
        assert_eq!(seconds(&[None; 6]), [Ok(1), Ok(2), Ok(4), Ok(8), Ok(16), Err(32)]);
        assert_eq!(seconds(&[Some(30), Some(0), None, Some(60)]), [Ok(30), Ok(0), Ok(4), Ok(60)]);
        assert_eq!(seconds(&[Some(61)]), [Err(61)]);
        assert_eq!(seconds(&[Some(1); 6])[5], Err(1), "whoever asks for a second for ever is asked in vain");
    }
}
