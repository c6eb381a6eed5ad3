//! What comes back: bounces and complaints, read from a mailbox and tied to the messages they are about. Nothing is guessed from a
//! subject or a sentence, and no mail is ever deleted.
//!
//! | file | promise |
//! |---|---|
//! | `verp` | the return path: which message a bounce is about, as an address nobody else can make up |
//! | `report` | the bytes of a mail in, notices or the reason why it is none out |
//! | `fields` | the values of a report: addresses, status codes, times |
//! | `mime` | the parts of a mail, with bounded work |
//! | `provider/` | a provider's call: proven, then read |
//! | `settings` | `[delivery.returns]` |
//! | `collect` | from both into the ledger |
//! | `mailbox/` | where mail is read from: a maildir, an mbox file, an IMAP folder |

mod collect;
mod error;
mod fields;
mod mailbox;
mod mime;
pub(crate) mod provider;
mod report;
mod settings;
mod verp;

#[cfg(test)]
mod tests;

pub use collect::{Collected, Desk, Heard, Providers, collect};
pub use error::ReturnsError;
pub(crate) use mailbox::{Cursor, Imap, ImapDoor, Looked, Mail, Mailbox, Maildir, Mbox};
pub(crate) use report::{Kind, Notice, read};
pub use settings::{
    ImapSettings, MailboxSettings, MailgunSettings, PostmarkSettings, ProviderSettings, ReturnsSettings, SendgridSettings, SesSettings,
    StandardSettings,
};
pub(crate) use verp::{Reference, ReturnPath};

/// How much of a mail is looked at. A report says what it has to say before the message it returns, so what is cut off is not missed.
pub(crate) const MAX_BYTES: usize = 1 << 20;
