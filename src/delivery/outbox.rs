//! Messages as files in `data/outbox`, named by message id: `.eml` an email, `.json` a webhook call. Nothing leaves the house.
//!
//! A file is written beside its place, synced, renamed, and the folder synced before the message counts as accepted. So a file that is
//! there is whole, and after a crash the folder says what was sent: this way knows no `unknown`.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    error::TransportError,
    state::Evidence,
    transport::{Outcome, Parcel, Queue},
};
use crate::{faults, message::Channel};

/// How many files share one sync of the folder.
const GROUP: usize = 16;

/// The outbox folder.
#[derive(Debug)]
pub(crate) struct Outbox {
    folder: PathBuf,
    ending: &'static str,
}

impl Outbox {
    /// The outbox of the project in `root`, for one channel.
    pub(crate) fn new(root: &Path, channel: Channel) -> Self {
        let ending = match channel {
            Channel::Email => "eml",
            Channel::Webhook => "json",
        };
        Self { folder: root.join("data/outbox"), ending }
    }

    /// Makes the folder where there is none.
    pub(crate) fn prepare(&self) -> Result<(), TransportError> {
        fs::create_dir_all(&self.folder).map_err(|error| self.unwritable(&error))
    }

    /// Where a message stands; `None` where its id would not do as a file name.
    fn place(&self, message_id: &str) -> Option<PathBuf> {
        let sound = !message_id.starts_with('.')
            && !message_id.is_empty()
            && message_id.chars().all(|c| c.is_ascii_alphanumeric() || "@.-_+=".contains(c));
        sound.then(|| self.folder.join(format!("{message_id}.{}", self.ending)))
    }

    /// What the folder proves about a message after a crash. Who died may not have synced it: what is there is made to last before it counts.
    pub(crate) fn evidence(&self, message_id: &str) -> Evidence {
        match self.place(message_id).map(|place| place.try_exists()) {
            Some(Ok(true)) if self.sync().is_ok() => Evidence::Delivered,
            Some(Ok(false)) | None => Evidence::Absent,
            Some(Ok(true) | Err(_)) => Evidence::None,
        }
    }

    fn sync(&self) -> std::io::Result<()> {
        File::open(&self.folder).and_then(|folder| folder.sync_all())
    }

    /// Writes parcels until there are no more.
    pub(crate) async fn work(self: Arc<Self>, queue: Queue) {
        loop {
            let group = queue.next_group(GROUP).await;
            if group.is_empty() {
                return;
            }
            let messages: Vec<_> = group.iter().map(|parcel| parcel.message.clone()).collect();
            let outbox = Arc::clone(&self);
            let leave = queue.clone();
            let written = tokio::task::spawn_blocking(move || outbox.write(&group, &|| leave.may_send())).await;
            match written {
                Ok((outcomes, failed)) => {
                    for (message, outcome) in messages.into_iter().zip(outcomes) {
                        outcome.into_iter().for_each(|outcome| queue.done(message.clone(), outcome));
                    }
                    if let Some(error) = failed {
                        queue.closed(error);
                    }
                }
                Err(error) => {
                    for message in messages {
                        queue.done(message, Outcome::NotSent);
                    }
                    queue.closed(TransportError::Unwritable { path: self.folder.clone(), reason: error.to_string() });
                }
            }
        }
    }

    /// Writes one parcel, and returns the file.
    pub(crate) fn deliver(&self, parcel: &Parcel) -> Result<Option<PathBuf>, TransportError> {
        match self.write(std::slice::from_ref(parcel), &|| true).1 {
            Some(error) => Err(error),
            None => Ok(self.place(parcel.message.message_id.as_str())),
        }
    }

    /// Writes a group; an outcome a parcel, as far as it is known, and what went wrong, if anything did. No file gets its name any more once `may_send` says no.
    fn write(&self, group: &[Parcel], may_send: &dyn Fn() -> bool) -> (Vec<Option<Outcome>>, Option<TransportError>) {
        let mut failed = None;
        let mut outcomes: Vec<Option<Outcome>> = group
            .iter()
            .map(|parcel| {
                if failed.is_some() {
                    return Some(Outcome::NotSent);
                }
                let Some(place) = self.place(parcel.message.message_id.as_str()) else {
                    return Some(Outcome::Rejected { reason: "message_id", reply: None, dead: false });
                };
                Some(match self.write_one(&place, &parcel.body, may_send) {
                    Ok(true) => Outcome::Accepted(None),
                    Ok(false) => Outcome::NotSent,
                    Err(error) => {
                        failed = Some(self.unwritable(&error));
                        Outcome::NotSent
                    }
                })
            })
            .collect();
        // Where the folder cannot be synced the files may last or not. Nothing is said of them: the next run looks which are there.
        let synced = faults::at("outbox.folder.sync").and_then(|()| self.sync());
        if let Err(error) = synced {
            failed = Some(self.unwritable(&error));
            outcomes.iter_mut().filter(|outcome| matches!(outcome, Some(Outcome::Accepted(_)))).for_each(|outcome| *outcome = None);
        }
        (outcomes, failed)
    }

    /// Whether the file is there now.
    fn write_one(&self, place: &Path, body: &[u8], may_send: &dyn Fn() -> bool) -> std::io::Result<bool> {
        // It was written by a run that died before it could say so.
        if place.try_exists()? {
            return Ok(true);
        }
        let beside = place.with_extension(format!("{}.part", self.ending));
        faults::at("outbox.file.create")?;
        let mut file = File::create(&beside)?;
        file.write_all(body)?;
        faults::at("outbox.file.sync")?;
        file.sync_all()?;
        faults::at("outbox.file.rename")?;
        if !may_send() {
            fs::remove_file(&beside)?;
            return Ok(false);
        }
        fs::rename(&beside, place)?;
        faults::at("outbox.file.done")?;
        Ok(true)
    }

    fn unwritable(&self, error: &std::io::Error) -> TransportError {
        TransportError::Unwritable { path: self.folder.clone(), reason: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{CustomerId, MessageId, Named};

    fn parcel(id: &str) -> Parcel {
        Parcel {
            letter: None,
            message: Named { customer_id: CustomerId::new("c"), message_id: MessageId::new(id) },
            to: "ann@example.com".into(),
            body: b"Subject: hello\r\n\r\nhello\r\n".to_vec(),
        }
    }

    #[test]
    fn a_file_is_whole_or_not_there_and_is_never_written_twice() {
        let root = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(root.path(), Channel::Email);
        outbox.prepare().unwrap();
        assert_eq!(outbox.evidence("a@x"), Evidence::Absent);
        let place = outbox.place("a@x").unwrap();
        fs::write(place.with_extension("eml.part"), "Subj").unwrap();
        assert_eq!(outbox.evidence("a@x"), Evidence::Absent, "half a file proves nothing");
        let (outcomes, failed) = outbox.write(&[parcel("a@x"), parcel("b@x")], &|| true);
        assert!(failed.is_none());
        assert_eq!(outcomes, [Some(Outcome::Accepted(None)), Some(Outcome::Accepted(None))]);
        assert_eq!(outbox.evidence("a@x"), Evidence::Delivered);
        fs::write(&place, "as a person left it").unwrap();
        outbox.write(&[parcel("a@x")], &|| true);
        assert_eq!(fs::read_to_string(&place).unwrap(), "as a person left it");
        let files = fs::read_dir(root.path().join("data/outbox")).unwrap().count();
        assert_eq!(files, 2);
        let (outcomes, _) = outbox.write(&[parcel("c@x")], &|| false);
        assert_eq!(
            (outcomes, outbox.evidence("c@x")),
            (vec![Some(Outcome::NotSent)], Evidence::Absent),
            "its worker has no lease any more"
        );
    }

    #[test]
    fn no_message_id_leads_out_of_the_folder() {
        let outbox = Outbox::new(Path::new("/x"), Channel::Email);
        for id in ["../a", "a/b", ".a", "", "a\0b", "ä@x"] {
            assert_eq!(outbox.place(id), None, "{id:?}");
        }
    }

    #[test]
    fn a_full_disk_stops_and_skips_nobody() {
        let root = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(root.path(), Channel::Email);
        fs::create_dir_all(root.path().join("data")).unwrap();
        fs::write(root.path().join("data/outbox"), "a file where the folder should be").unwrap();
        let (outcomes, failed) = outbox.write(&[parcel("a@x"), parcel("b@x")], &|| true);
        assert_eq!(outcomes, [Some(Outcome::NotSent), Some(Outcome::NotSent)]);
        assert!(matches!(failed, Some(TransportError::Unwritable { .. })));
        assert!(outbox.prepare().is_err());
    }
}
