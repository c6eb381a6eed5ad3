//! People who are due get their letters written, beside whatever else the delivery does.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::{JoinError, JoinSet},
};

use super::{
    deliver::Context,
    error::TransportError,
    plan::{Delivery, PlannedRecipient, Stamp},
    settings::OnlyTo,
    shaping::domain,
    threads::step_back,
    transport::{Letter, Parcel},
    unsubscribe::Token,
};
use crate::{
    ledger::{Candidate, Named},
    message::{Channel, Kind, Message, mailable},
};

/// How many groups are written at once, at most.
const AT_ONCE: usize = 3;

/// Those who write, on threads that step back behind those of the ledger and the network. Letters are written ahead; what has to be recorded,
/// and what comes back, is waited for.
pub(super) struct Scribes {
    threads: Handle,
    /// Whose threads they are; nothing else is driven by it. None once it is shut down.
    runtime: Option<Runtime>,
    writing: JoinSet<Vec<Written>>,
    in_work: usize,
}

impl Scribes {
    /// With nothing to write.
    pub(super) fn new() -> Result<Self, TransportError> {
        let runtime = Builder::new_current_thread().max_blocking_threads(AT_ONCE).thread_name("letters").on_thread_start(step_back).build();
        let runtime = runtime.map_err(|error| TransportError::NoWorkers(error.to_string()))?;
        Ok(Self { threads: runtime.handle().clone(), runtime: Some(runtime), writing: JoinSet::new(), in_work: 0 })
    }

    /// How many letters are being written.
    pub(super) fn in_work(&self) -> usize {
        self.in_work
    }

    /// Has the letters of a group written.
    pub(super) fn write(&mut self, scribe: Scribe, group: Vec<PlannedRecipient>) {
        self.in_work += group.len();
        self.writing.spawn_blocking_on(move || group.into_iter().map(|person| scribe.write(person)).collect(), &self.threads);
    }

    /// The next group that is written; none where nothing is being written. An error means that the writing panicked.
    pub(super) async fn written(&mut self) -> Option<Result<Vec<Written>, JoinError>> {
        let written = self.writing.join_next().await?;
        self.in_work -= written.as_ref().map_or(0, Vec::len);
        Some(written)
    }
}

impl Drop for Scribes {
    fn drop(&mut self) {
        // Whoever drops it may be in the middle of something that must not wait.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// A letter ready to leave, or the reason there is none.
pub(super) struct Written {
    /// The message, as the ledger is asked about it.
    pub(super) candidate: Candidate,
    /// What leaves.
    pub(super) outgoing: Outgoing,
}

/// What leaves once the ledger agrees.
pub(super) struct Outgoing {
    /// Why the person's address keeps it from leaving, whatever else holds.
    pub(super) barred: Option<&'static str>,
    /// Where it goes, as far as that matters for the pace.
    pub(super) domain: String,
    /// The letter, or why there is none.
    pub(super) parcel: Result<Parcel, &'static str>,
}

/// Writes letters.
pub(super) struct Scribe {
    /// What is delivered.
    pub(super) delivery: Arc<Delivery>,
    /// What the delivery works with.
    pub(super) context: Context,
    /// The channel's name.
    pub(super) channel: String,
    /// To whom letters may go.
    pub(super) only_to: Arc<OnlyTo>,
    /// Whether letters travel in their parts.
    pub(super) in_parts: bool,
    /// The `Date` of the letters.
    pub(super) date: DateTime<Utc>,
}

impl Scribe {
    fn write(&self, person: PlannedRecipient) -> Written {
        let message = Named { customer_id: person.customer_id.clone(), message_id: person.message_id.clone() };
        let link = self.delivery.kind.has_way_out(self.delivery.channel).then_some(&self.context.settings.public_url);
        let unsubscribe_url = link.and_then(Option::as_ref).map(|public_url| {
            let (campaign, id) = (&self.delivery.campaign, person.message_id.as_str());
            Token::url(public_url, &Token::issue(&self.context.keys, &person.customer_id, campaign, id, &self.channel))
        });
        let letter = self.delivery.letters.write(&person, &Stamp { unsubscribe_url, date: self.date });
        let parcel = match (letter, self.delivery.channel) {
            (Ok(Message::Email { subject, html, text, bytes, .. }), Channel::Email) => {
                let letter = self.in_parts.then(|| Box::new(Letter { subject, html, text }));
                // The envelope names the address as `To` does.
                match person.address().and_then(mailable) {
                    Some(to) => Ok(Parcel { message, to, body: bytes, letter }),
                    None => Err("no_address"),
                }
            }
            (Ok(Message::Webhook { body }), Channel::Webhook) => {
                let to = person.customer_id.to_string();
                Ok(Parcel { message, to, body: body.into_bytes(), letter: None })
            }
            (Ok(_), _) => Err("wrong_channel"),
            (Err(_), _) => Err("template"),
        };
        let (barred, domain) = (self.barred(&person), person.address().map_or_else(String::new, domain));
        let address_hash = person.address_hash(self.delivery.kind, &self.context.keys);
        let PlannedRecipient { customer_id, message_id, occasion, step, variant, .. } = person;
        let candidate = Candidate { customer_id, message_id, address_hash, occasion, step, variant };
        Written { candidate, outgoing: Outgoing { barred, domain, parcel } }
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
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::{super::threads::niceness, *};

    #[test]
    fn whoever_writes_letters_lets_others_go_first() {
        let scribes = Scribes::new().unwrap();
        let theirs = scribes.threads.block_on(scribes.threads.spawn_blocking(niceness)).unwrap();
        let ours = niceness();
        assert!(theirs > ours, "{theirs} and {ours}");
    }
}
