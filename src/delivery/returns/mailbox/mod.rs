//! Where returns are read from. A mailbox hands out each mail once, moves on by a cursor the caller keeps, and loses nothing: what was
//! not understood is left for a person to look at.
//!
//! | mailbox | a mail's id | what marking does | what the cursor holds |
//! |---|---|---|---|
//! | `maildir` | its unique name | moves it from `new` to `cur`; flag `S` where it was understood | the last name handed out |
//! | `mbox` | SHA-256 of its bytes | nothing: the file is only read | an offset, and a digest that notices a rewritten file |
//! | `imap` | UIDVALIDITY and UID | sets `\Seen` where it was understood | UIDVALIDITY and UID |
//!
//! A crash, a file rewritten by another program, or a lost cursor makes a mailbox hand out mails again: whoever reads them knows them by
//! their id.

mod imap;
mod maildir;
mod mbox;
mod wire;

use serde::{Deserialize, Serialize};

pub(crate) use self::{
    imap::{Imap, ImapDoor},
    maildir::Maildir,
    mbox::Mbox,
};
use super::error::ReturnsError;

/// How many bytes are handed out at once, one mail more or less.
const MAX_FETCHED: usize = 16 << 20;

/// How far a mailbox has been read. The default is its beginning; so is one that another mailbox made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Cursor(String);

impl Cursor {
    /// Takes the text one was kept as.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text to keep.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A mail as it lies in the mailbox.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    /// The same whenever it is read.
    pub(crate) id: String,
    /// Its first [`super::MAX_BYTES`] bytes.
    pub(crate) bytes: Vec<u8>,
}

// By hand: a mail says who it is about.
impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail").field("id", &self.id).field("bytes", &self.bytes.len()).finish()
    }
}

/// Mails, and the cursor to go on from.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// None where there is nothing new.
    pub(crate) mails: Vec<Mail>,
    /// Behind the last of them.
    pub(crate) cursor: Cursor,
}

impl Fetched {
    fn is_full(&self, limit: usize) -> bool {
        self.mails.len() >= limit || self.mails.iter().map(|mail| mail.bytes.len()).sum::<usize>() >= MAX_FETCHED
    }
}

/// A mail that was looked at.
#[derive(Debug, Clone)]
pub(crate) struct Looked {
    /// Its id.
    pub(crate) id: String,
    /// Whether it was a notice. One that was not stays unread, for a person.
    pub(crate) understood: bool,
}

/// A mailbox.
#[derive(Debug)]
pub(crate) enum Mailbox {
    /// A folder with one file a mail.
    Maildir(Maildir),
    /// One file with all mails.
    Mbox(Mbox),
    /// A folder on a mail server.
    Imap(Box<Imap>),
}

impl Mailbox {
    /// The mails after a cursor, at most `limit`, fewer where they are large; none where there is nothing new. What has been handed out is
    /// marked, understood or not, before the next call: a maildir hands out what lies in `new` until then.
    ///
    /// # Errors
    /// Where the mailbox cannot be read.
    pub(crate) async fn fetch(&mut self, after: &Cursor, limit: usize) -> Result<Fetched, ReturnsError> {
        let after = after.clone();
        let reading = match self {
            Self::Maildir(maildir) => {
                let maildir = maildir.clone();
                tokio::task::spawn_blocking(move || maildir.fetch(&after, limit))
            }
            Self::Mbox(mbox) => {
                let mbox = mbox.clone();
                tokio::task::spawn_blocking(move || mbox.fetch(&after, limit))
            }
            Self::Imap(imap) => return imap.fetch(&after, limit).await,
        };
        reading.await.map_err(|_| ReturnsError::Broken)?
    }

    /// Marks mails that were looked at.
    ///
    /// # Errors
    /// Where that cannot be done. Those that could not be marked may be handed out again.
    pub(crate) async fn mark(&mut self, looked: &[Looked]) -> Result<(), ReturnsError> {
        match self {
            Self::Maildir(maildir) => {
                let (maildir, looked) = (maildir.clone(), looked.to_vec());
                tokio::task::spawn_blocking(move || maildir.mark(&looked)).await.map_err(|_| ReturnsError::Broken)?
            }
            Self::Mbox(_) => Ok(()),
            Self::Imap(imap) => imap.mark(looked).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_mail_of_a_mailbox_is_handed_out_once() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["new", "cur", "tmp"] {
            std::fs::create_dir_all(root.path().join("box").join(folder)).unwrap();
        }
        for number in 0..7 {
            let folder = if number % 2 == 0 { "new" } else { "cur" };
            std::fs::write(root.path().join("box").join(folder).join(format!("17{number}.a.mx")), format!("X: {number}\n\n")).unwrap();
        }
        let mails: String = (0..7).map(|number| format!("From mx Thu Jan  9 10:15:43 2025\nX: {number}\n\n\n")).collect();
        std::fs::write(root.path().join("mbox"), mails).unwrap();
        let maildir = Mailbox::Maildir(Maildir::open(root.path().join("box")).unwrap());
        let mbox = Mailbox::Mbox(Mbox::new(root.path().join("mbox")));
        for mut mailbox in [maildir, mbox] {
            let (mut cursor, mut read) = (Cursor::default(), Vec::new());
            loop {
                let fetched = mailbox.fetch(&cursor, 3).await.unwrap();
                assert!(fetched.mails.len() <= 3);
                if fetched.mails.is_empty() {
                    break;
                }
                let looked: Vec<Looked> =
                    fetched.mails.iter().map(|mail| Looked { id: mail.id.clone(), understood: mail.bytes != b"X: 4\n\n" }).collect();
                mailbox.mark(&looked).await.unwrap();
                read.extend(fetched.mails.into_iter().map(|mail| String::from_utf8(mail.bytes).unwrap()));
                // As it is kept between two runs.
                cursor = Cursor::new(fetched.cursor.as_str());
            }
            assert_eq!(read, (0..7).map(|number| format!("X: {number}\n\n")).collect::<Vec<_>>(), "{mailbox:?}");
        }
        assert!(root.path().join("box/cur/174.a.mx:2,").exists(), "what was not understood stays unread");
        assert!(root.path().join("box/cur/173.a.mx:2,S").exists());
    }
}
