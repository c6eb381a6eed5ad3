//! What keeps returns from being read.

use std::path::PathBuf;

use crate::diagnosis::{Diagnose, Diagnosis, Exit};

/// A return path that would not do, or a mailbox that cannot be read or marked.
#[derive(Debug, thiserror::Error)]
pub enum ReturnsError {
    /// No address can be made for bounces.
    #[error("bounces cannot come back to `{address}`: {reason}")]
    Address {
        /// The address in the settings.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is not the kind of mailbox it is said to be.
    #[error("{}: is not {expected}", path.display())]
    NotMailbox {
        /// The file or folder.
        path: PathBuf,
        /// What it should have been.
        expected: &'static str,
    },
    /// Another program has locked the mailbox.
    #[error("{}: another program has locked it", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A mail that was read cannot be marked as read.
    #[error("{}: cannot be marked as read: {reason}", path.display())]
    Unmarked {
        /// The mail.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// No connection to a mail server can be set up with these settings.
    #[error("the mail server `{host}` cannot be used: {reason}")]
    Settings {
        /// The server.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// No connection to the mail server.
    #[error("the mail server `{host}` cannot be reached: {reason}")]
    Unreachable {
        /// The server.
        host: String,
        /// What the system or the server said.
        reason: String,
    },
    /// The mail server says no: to the login, or to what was asked of it.
    #[error("the mail server `{host}` refuses: {reason}")]
    Refused {
        /// The server.
        host: String,
        /// What it answered, without addresses.
        reason: String,
    },
    /// The mail server answers what IMAP does not allow, or more than is read.
    #[error("the mail server `{host}` cannot be understood: {reason}")]
    Garbled {
        /// The server.
        host: String,
        /// What was odd.
        reason: &'static str,
    },
    /// A worker of ours died.
    #[error("reading the mailbox was broken off")]
    Broken,
}

impl Diagnose for ReturnsError {
    fn diagnosis(&self) -> Diagnosis {
        let diagnosis = |code: &str| Diagnosis::new(code, self.to_string());
        match self {
            Self::Address { .. } => diagnosis("return_path").hint("name an address like `bounces@mail.shop.example`, whose mail is read"),
            Self::NotMailbox { path, .. } => diagnosis("no_mailbox").in_file(path).hint("check its kind and its path"),
            Self::Locked { path } => diagnosis("locked_mailbox")
                .in_file(path)
                .hint(format!("it is read again next time; where nothing uses it any more, remove `{}.lock`", path.display())),
            Self::Unreadable { path, .. } => {
                diagnosis("unreadable_mailbox").in_file(path).hint("check that the program's user may read it; no mail was lost")
            }
            Self::Unmarked { path, .. } => diagnosis("unmarked_mail")
                .in_file(path)
                .hint("check that the program's user may write to the maildir's `new` and `cur`; no mail was lost"),
            Self::Settings { .. } => diagnosis("mail_server").hint("check `host`, `tls` and `ca`"),
            Self::Unreachable { .. } => diagnosis("mail_server").hint("check `host`, `port` and `tls`; what came back waits there"),
            Self::Refused { .. } => diagnosis("mail_server").hint("check `username`, `password` and `folder`; what came back waits there"),
            Self::Garbled { .. } => diagnosis("mail_server").hint("check that `host` and `port` are those of an IMAP server"),
            Self::Broken => diagnosis("broken").hint("run it again; please report this as a fault of the program"),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Address { .. } | Self::NotMailbox { .. } | Self::Settings { .. } => Exit::Wrong,
            _ => Exit::Failed,
        }
    }
}
