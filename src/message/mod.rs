//! A template and a row become a finished email or webhook body. Nothing here knows what a plan is.
//!
//! | file | promise |
//! |---|---|
//! | `brand` | who writes |
//! | `row` | what the lake holds, as fields a template can show |
//! | `scan` | what a template names, where, and what it cannot do without |
//! | `html`, `text`, `webhook` | the three kinds of file, made ready once a campaign |
//! | `template` | a campaign's files together: loaded, checked, filled in for one person |
//! | `context`, `filters`, `person`, `locale` | what templates see of a person, and how they say it in the reader's manner |
//! | `email`, `transfer` | subject and parts as one message by RFC 5322, each part encoded as RFC 2045 has it |
//! | `sample` | made-up values, to try templates out |

mod brand;
mod context;
mod email;
mod error;
mod filters;
mod html;
mod locale;
mod person;
mod row;
mod sample;
mod scan;
mod template;
mod text;
mod transfer;
mod webhook;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::Deserialize;

pub use brand::Brand;
pub use email::mailable;
pub use error::MessageError;
pub use filters::usable_link;
pub use person::full_name;
pub use row::{Field, Row, rows};
pub use template::Templates;

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// An email.
    Email,
    /// A JSON body posted to an address of the shop's own systems.
    Webhook,
}

impl Channel {
    /// The word used in settings and in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Webhook => "webhook",
        }
    }
}

/// Why a message is written; it decides what the person's wishes forbid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Needs consent, and gives way to complaints, orders and peace.
    Marketing,
    /// An apology or a receipt-like note: needs no marketing consent, takes no control group, carries no offer.
    Service,
    /// Goes to the shop's own staff: not gated by the person's mail consent.
    Internal,
}

impl Kind {
    /// The word used in settings, the ledger and on pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Marketing => "marketing",
            Self::Service => "service",
            Self::Internal => "internal",
        }
    }

    /// Whether a message must carry the link that makes it stop: every email to a person does. What is reviewed, checked and sent goes
    /// by this one rule.
    #[must_use]
    pub fn has_way_out(self, channel: Channel) -> bool {
        self != Self::Internal && channel == Channel::Email
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an offer is, where the person's variant makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// In words, such as `10 % off`.
    pub text: String,
    /// What to type in at the till.
    pub code: String,
    /// The last day it holds.
    pub valid_until: NaiveDate,
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
    /// The one-click unsubscribe link; none for webhooks ([`Kind::has_way_out`]).
    pub unsubscribe_url: Option<String>,
    /// The variant the person was given.
    pub variant: Option<String>,
    /// 1, or a later letter about the same occasion.
    pub step: u32,
    /// The offer, where the variant makes one.
    pub offer: Option<Offer>,
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
