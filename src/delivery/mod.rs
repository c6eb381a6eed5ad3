//! A finished message goes out into the world, under the send law: no person hears about the same occasion twice, nobody planned is
//! silently skipped, and what nobody can know is recorded as unknown and shown. `kill -9` anywhere changes none of this.
//!
//! | file | promise |
//! |---|---|
//! | `state` | the send law as a pure state machine |
//! | `policy` | whether a person may still be written to: present state in, decision out |
//! | `settings` | `[delivery]` of the deployment |
//! | `plan` | what a delivery is handed: people, and who writes their letters |
//! | `deliver` | from an approved plan to its account |
//! | `run` | one turn of the ledger after another, until nobody is due |
//! | `scribe` | letters are written ahead of those that leave |
//! | `threads` | whose threads give way to whose |
//! | `status` | enhanced status codes, and which mean that an address is dead |
//! | `twins` | two people of a plan with one address |
//! | `shaping/` | at what pace mail leaves, and who is left alone for a while |
//! | `breaker` | a campaign that bounces or annoys too often stops |
//! | `account` | what became of everybody |
//! | `recover` | what a process that died left behind |
//! | `transport` | the four ways out, behind one door |
//! | `outbox` | files in a folder, one a message |
//! | `smtp/` | a mail relay, over connections driven by hand |
//! | `webhook` | a signed JSON call |
//! | `api/` | any other HTTP API, by a description of it in a file |
//! | `guard` | what calls may reach: the internet, and inside the house only hosts allowed by name |
//! | `proof` | one mail to a colleague |
//! | `returns/` | what comes back: bounces, complaints, opt-outs |
//! | `unsubscribe` | the link that makes it stop |
//! | `simulator/` | the send law under every interleaving that a seed makes up; tests only |
//!
//! Where the present state, the suppressions and the caps are looked at is the ledger's `turn`: inside the transaction that reserves.

mod account;
mod api;
mod breaker;
mod deliver;
mod error;
mod guard;
mod outbox;
mod plan;
mod policy;
mod proof;
mod recover;
mod returns;
mod run;
mod scribe;
mod settings;
mod shaping;
mod smtp;
mod state;
mod status;
mod threads;
mod transport;
mod twins;
mod unsubscribe;
mod webhook;

#[cfg(test)]
mod simulator;
#[cfg(test)]
mod tests;

pub use account::{Account, ThisRun};
pub use api::{API_FILE, ApiSettings};
pub use breaker::BreakerSettings;
pub use deliver::{Context, Options, deliver};
pub use error::{DeliveryError, TransportError};
pub(crate) use plan::ADDRESS;
pub use plan::{Delivery, Letters, People, PlannedPeople, PlannedRecipient, Stamp};
pub use proof::{proof_id, send_proof};
pub use returns::{
    Collected, Desk, Heard, ImapSettings, MailboxSettings, MailgunSettings, PostmarkSettings, ProviderSettings, Providers, ReturnsError,
    ReturnsSettings, SendgridSettings, SesSettings, StandardSettings, collect,
};
pub(crate) use settings::OnlyTo;
pub use settings::{DeliverySettings, EmailBy, Login, PolicySettings, SmtpSettings, Tls, WebhookSettings};
pub use shaping::{PaceSettings, ShapingSettings};
pub use unsubscribe::{Claim, Token};

/// What the fuzz targets reach through [`crate::fuzzing`].
pub(crate) mod fuzzing {
    pub(crate) use super::{
        returns::{
            Reference, ReturnPath,
            provider::{Call, Certificates, Mailgun, Postmark, Provider, SendGrid, Ses, Standard},
            read,
        },
        smtp::fuzzing::{Account, Attempt, Connection, Door, Letter as WireLetter, Lost, Timeouts, encode},
        transport::Outcome,
    };
}
