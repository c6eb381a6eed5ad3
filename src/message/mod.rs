//! A template and a row become a finished email or webhook body. Nothing here knows what a plan is.

use std::{collections::BTreeMap, path::Path};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;

use crate::diagnosis::{Diagnose, Diagnosis, Exit, Finding};

/// `[brand]` in `config/perennial.toml`: who writes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Brand {
    /// The shop's name.
    pub name: String,
    /// The shop's page, https.
    pub url: String,
    /// The domain of message ids, unsubscribe links aside.
    pub domain: String,
    /// The sender, `Name <address>` or an address.
    pub from: String,
    /// The postal address, one line a line.
    pub postal_address: Vec<String>,
    /// The default locale, BCP 47: `en-GB`.
    pub locale: String,
    /// The default time zone, IANA: `Europe/Berlin`.
    pub timezone: String,
    /// The currency of `*_base`, ISO 4217.
    pub currency: String,
    /// The accent colour of mails and pages, `#rrggbb`.
    #[serde(default = "default_color")]
    pub color: String,
    /// Who signs the letters: a person's first name and role, such as `"Mara, customer care"`.
    pub signed_by: String,
    /// A telephone number people can call, where there is one.
    #[serde(default)]
    pub phone: Option<String>,
}

fn default_color() -> String {
    "#2f5d50".to_owned()
}

/// One value of a row, typed as its column is.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// No value.
    Null,
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// An exact number: `unscaled / 10^scale`.
    Decimal {
        /// All digits.
        unscaled: i128,
        /// How many of them stand behind the point.
        scale: i8,
    },
    /// A floating-point number.
    Float(f64),
    /// Yes or no.
    Boolean(bool),
    /// A calendar day.
    Date(NaiveDate),
    /// An instant, UTC.
    Instant(DateTime<Utc>),
    /// Several values.
    List(Vec<Field>),
    /// Named values.
    Struct(BTreeMap<String, Field>),
}

/// What a template sees of one person.
pub type Row = BTreeMap<String, Field>;

/// The rows of a batch, in order.
///
/// # Errors
/// Where a column has a type templates cannot show.
#[allow(clippy::unimplemented)]
pub fn rows(_batch: &RecordBatch) -> Result<Vec<Row>, MessageError> {
    unimplemented!()
}

/// A template that cannot be used, or a row it cannot be filled with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MessageError(pub Diagnosis);

impl Diagnose for MessageError {
    fn diagnosis(&self) -> Diagnosis {
        self.0.clone()
    }

    fn exit(&self) -> Exit {
        Exit::Wrong
    }
}

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// An email.
    Email,
    /// A JSON body posted to an address of the shop's own systems.
    Webhook,
}

/// What stands round a message beside the person's row.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// The message's id for ever, without angle brackets.
    pub message_id: String,
    /// The plan it belongs to.
    pub plan: String,
    /// The campaign.
    pub campaign: String,
    /// The recipient's address; for a webhook the person it is about.
    pub to: String,
    /// Where a reply goes.
    pub reply_to: String,
    /// The one-click unsubscribe link; none for service messages that cannot be unsubscribed from, and for webhooks.
    pub unsubscribe_url: Option<String>,
    /// The variant the person was given.
    pub variant: Option<String>,
    /// 1, or a later letter about the same occasion.
    pub step: u32,
    /// The run's logical time.
    pub as_of: DateTime<Utc>,
    /// When it is sent; the `Date` header.
    pub date: DateTime<Utc>,
}

/// A finished message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// An email, as it goes over the wire and as a page shows it.
    Email {
        /// The subject.
        subject: String,
        /// The first line an inbox shows beside it.
        preview: String,
        /// The HTML part.
        html: String,
        /// The text part.
        text: String,
        /// The whole message by RFC 5322, CRLF line ends.
        bytes: Vec<u8>,
    },
    /// A webhook's JSON body.
    Webhook {
        /// The body; signing and headers belong to delivery.
        body: String,
    },
}

/// A campaign's templates, compiled once; filling them in for a person is cheap. Shared between threads.
#[derive(Debug, Clone)]
pub struct Templates;

#[allow(unused_variables, clippy::unimplemented)]
impl Templates {
    /// Reads `email.mjml` (or `email.html`) and `email.txt`, or `webhook.json`, from a campaign's folder (or a plan's frozen copy).
    pub fn load(folder: &Path, channel: Channel, brand: &Brand, practice: bool) -> Result<Self, MessageError> {
        unimplemented!()
    }

    /// The columns the templates need without a default; a null in one of them excludes the person (`missing_field:<name>`).
    pub fn required(&self) -> Vec<String> {
        unimplemented!()
    }

    /// All columns the templates mention.
    pub fn mentioned(&self) -> Vec<String> {
        unimplemented!()
    }

    /// Whether the templates fit a segment's columns: unknown columns are errors with file, line and the nearest name.
    pub fn check(&self, columns: &SchemaRef) -> Vec<Finding> {
        unimplemented!()
    }

    /// Fills the templates in for one person.
    pub fn render(&self, row: &Row, envelope: &Envelope) -> Result<Message, MessageError> {
        unimplemented!()
    }
}
