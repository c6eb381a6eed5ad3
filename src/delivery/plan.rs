//! What a delivery is handed: a frozen plan's people, and who writes their letters. Delivery knows neither files nor templates.

use chrono::{DateTime, Utc};

use crate::{
    config::Period,
    diagnosis::Diagnosis,
    ledger::{CustomerId, MessageId, PlanId, address_hash},
    message::{Channel, Field, Kind, Message, MessageError, Row},
    secret::Keys,
};

/// An approved plan, ready to be delivered.
pub struct Delivery {
    /// The plan.
    pub plan: PlanId,
    /// Its campaign.
    pub campaign: String,
    /// Which of a person's wishes count.
    pub kind: Kind,
    /// By which channel its messages leave.
    pub channel: Channel,
    /// Which of `[delivery.receivers]` its calls go to; `[delivery.webhook]` where none is named.
    pub receiver: Option<String>,
    /// The segment its people were in, and must still be in.
    pub segment: String,
    /// The plan's logical time.
    pub as_of: DateTime<Utc>,
    /// The campaign's peace after any message of ours.
    pub cool_off: Option<Period>,
    /// The brand's sender, `Name <address>` or an address.
    pub from: String,
    /// The brand's time zone, for people whose own is not known.
    pub timezone: chrono_tz::Tz,
    /// The people to write to.
    pub people: Box<dyn People>,
    /// Who writes their letters.
    pub letters: Box<dyn Letters>,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("plan", &self.plan)
            .field("kind", &self.kind)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// The column of a row that holds the address.
pub(crate) const ADDRESS: &str = "email";

/// One planned person.
#[derive(Debug, Clone)]
pub struct PlannedRecipient {
    /// The person.
    pub customer_id: CustomerId,
    /// The message's id for ever.
    pub message_id: MessageId,
    /// What it is about.
    pub occasion: String,
    /// 1, or a later letter about the same occasion.
    pub step: u32,
    /// The variant the person was given.
    pub variant: Option<String>,
    /// Not before this.
    pub send_after: Option<DateTime<Utc>>,
    /// What the templates see; `email` is the address.
    pub row: Row,
}

impl PlannedRecipient {
    /// The person's address, as the frozen row has it.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        match self.row.get(ADDRESS) {
            Some(Field::Text(address)) if !address.trim().is_empty() => Some(address),
            _ => None,
        }
    }

    /// The keyed hash of the address a message of this kind concerns. Whoever wants no mail is not written to by another way either; only a
    /// note to staff goes to nobody's address.
    pub(super) fn address_hash(&self, kind: Kind, keys: &Keys) -> Option<String> {
        self.address().filter(|_| kind != Kind::Internal).map(|address| address_hash(keys, address))
    }
}

/// The planned people of a plan, one after the other: a plan of a million need not fit into memory.
pub trait People: Send + Sync {
    /// Reads them from the start, whoever is excluded left out. Called on a thread that may block, a few times a delivery.
    ///
    /// # Errors
    /// Where the plan cannot be read.
    fn read(&self) -> Result<PlannedPeople<'_>, Diagnosis>;

    /// The same people; of their rows, only the address need be read.
    ///
    /// # Errors
    /// Where the plan cannot be read.
    fn read_addresses(&self) -> Result<PlannedPeople<'_>, Diagnosis> {
        self.read()
    }
}

/// Planned people as they are read.
pub type PlannedPeople<'a> = Box<dyn Iterator<Item = Result<PlannedRecipient, Diagnosis>> + Send + 'a>;

impl People for Vec<PlannedRecipient> {
    fn read(&self) -> Result<PlannedPeople<'_>, Diagnosis> {
        Ok(Box::new(self.iter().cloned().map(Ok)))
    }
}

/// What delivery alone knows about a letter.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// The one-click unsubscribe link; none where the message cannot be unsubscribed from.
    pub unsubscribe_url: Option<String>,
    /// When it is sent; the `Date` header.
    pub date: DateTime<Utc>,
}

/// Fills a plan's templates in for one person.
pub trait Letters: Send + Sync {
    /// The finished message.
    ///
    /// # Errors
    /// Where the templates cannot be filled in; that person is recorded as `rejected`, the others are not.
    fn write(&self, person: &PlannedRecipient, stamp: &Stamp) -> Result<Message, MessageError>;
}

impl<F: Fn(&PlannedRecipient, &Stamp) -> Result<Message, MessageError> + Send + Sync> Letters for F {
    fn write(&self, person: &PlannedRecipient, stamp: &Stamp) -> Result<Message, MessageError> {
        self(person, stamp)
    }
}
