//! Mail in one file, each after a line that begins with `From ` and ended by an empty line. RFC 4155, mboxo and mboxrd.
//!
//! The file is read from an offset on, a line at a time, and never written. Whoever writes to it locks it meanwhile: by a `.lock` beside
//! it, by flock, or by an fcntl lock, which we cannot see. So the last mail counts only where an empty line ends it; one that is still
//! being written is handed out next time.

use std::{
    fs::{File, TryLockError},
    io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom},
    path::PathBuf,
};

use sha2::{Digest as _, Sha256};

use super::{Cursor, Fetched, Mail};
use crate::delivery::returns::{MAX_BYTES, error::ReturnsError};

/// How many bytes at the file's beginning and before the offset tell whether the file is still the same.
const CHECKED: u64 = 4096;

/// An mbox file.
#[derive(Debug, Clone)]
pub(crate) struct Mbox {
    path: PathBuf,
}

impl Mbox {
    /// Takes the file.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// As [`super::Mailbox::fetch`].
    pub(super) fn fetch(&self, after: &Cursor, limit: usize) -> Result<Fetched, ReturnsError> {
        let unreadable = |error: io::Error| ReturnsError::Unreadable { path: self.path.clone(), reason: error.to_string() };
        let lock = self.path.with_added_extension("lock");
        let mut file = File::open(&self.path).map_err(unreadable)?;
        // Where a file system knows no locks, there are none to wait for.
        if lock.try_exists().map_err(unreadable)? || matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
            return Err(ReturnsError::Locked { path: self.path.clone() });
        }
        let length = file.metadata().map_err(unreadable)?.len();
        let begin = begin(&mut file, after, length).map_err(unreadable)?;
        file.seek(SeekFrom::Start(begin)).map_err(unreadable)?;
        // What is appended from now on is for the next time.
        let mut lines = Lines { bytes: BufReader::new((&file).take(length - begin)), at: begin };
        let mut fetched = Fetched { mails: Vec::new(), cursor: after.clone() };
        let (mut line, mut mail, mut after_blank, mut end) = (Vec::new(), None, true, begin);
        while !fetched.is_full(limit) {
            let from = lines.at;
            let more = lines.next(&mut line).map_err(unreadable)?;
            let begins = after_blank && line.starts_with(b"From ");
            if begins || !more {
                if after_blank {
                    fetched.mails.extend(mail.take().map(finished));
                    end = from;
                }
                if !more {
                    break;
                }
                mail = Some(Vec::new());
            } else if let Some(bytes) = &mut mail {
                let line = unescaped(&line);
                bytes.extend_from_slice(&line[..line.len().min(MAX_BYTES - bytes.len())]);
            } else if begin == 0 && !is_blank(&line) {
                return Err(ReturnsError::NotMailbox { path: self.path.clone(), expected: "an mbox: it does not begin with `From `" });
            }
            after_blank = is_blank(&line);
        }
        fetched.cursor = Cursor(format!("{end}:{}", check(&mut file, end).map_err(unreadable)?));
        Ok(fetched)
    }
}

/// Lines of a file, of which no more than [`MAX_BYTES`] are held.
struct Lines<R> {
    bytes: R,
    at: u64,
}

impl<R: BufRead> Lines<R> {
    /// Reads a line, its line break included, into `line`; `false` at the end.
    fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        let from = self.at;
        loop {
            let bytes = self.bytes.fill_buf()?;
            let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let taken = end.unwrap_or(bytes.len());
            line.extend_from_slice(&bytes[..taken.min(MAX_BYTES - line.len())]);
            self.bytes.consume(taken);
            self.at += taken as u64;
            if end.is_some() || taken == 0 {
                return Ok(self.at > from);
            }
        }
    }
}

fn is_blank(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

/// Without the `>` that keeps a line from looking like the beginning of a mail.
fn unescaped(line: &[u8]) -> &[u8] {
    let signs = line.iter().take_while(|byte| **byte == b'>').count();
    if signs > 0 && line[signs..].starts_with(b"From ") { &line[1..] } else { line }
}

/// Without the empty line that ends a mail in an mbox.
fn finished(mut bytes: Vec<u8>) -> Mail {
    let end = [&b"\r\n\r\n"[..], b"\n\n"].into_iter().find(|end| bytes.ends_with(end));
    bytes.truncate(bytes.len() - end.map_or(0, |end| end.len() / 2));
    Mail { id: hex::encode(Sha256::digest(&bytes)), bytes }
}

/// Where to go on: the cursor's offset, or the beginning where the file is not the one it was made for.
fn begin(file: &mut File, after: &Cursor, length: u64) -> io::Result<u64> {
    let Some((offset, digest)) = after.0.split_once(':') else { return Ok(0) };
    let offset = offset.parse().ok().filter(|offset| *offset <= length).unwrap_or(0);
    Ok(if check(file, offset)? == digest { offset } else { 0 })
}

/// A digest of what stands before an offset: at the file's beginning, and right before it.
fn check(file: &mut File, offset: u64) -> io::Result<String> {
    let mut digest = Sha256::new();
    let size = offset.min(CHECKED);
    for from in [0, offset - size] {
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        (&*file).take(size).read_to_end(&mut bytes)?;
        digest.update(bytes);
    }
    digest.update(offset.to_be_bytes());
    Ok(hex::encode(&digest.finalize()[..8]))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;

    const FROM: &str = "From MAILER-DAEMON Thu Jan  9 10:15:43 2025\n";

    fn mbox(text: &str) -> (tempfile::TempDir, Mbox) {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("mbox"), text).unwrap();
        let mbox = Mbox::new(root.path().join("mbox"));
        (root, mbox)
    }

    fn texts(fetched: &Fetched) -> Vec<&str> {
        fetched.mails.iter().map(|mail| std::str::from_utf8(&mail.bytes).unwrap()).collect()
    }

    fn append(mbox: &Mbox, text: &str) {
        fs::OpenOptions::new().append(true).open(&mbox.path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn mails_are_parted_and_unescaped() {
        let text = format!("{FROM}A: 1\n\none\nFrom here\n>From there\n>>From far\n>from\n\n{FROM}\n{FROM}B: 2\n\n\n\n");
        let (_root, mbox) = mbox(&text);
        let fetched = mbox.fetch(&Cursor::default(), 9).unwrap();
        assert_eq!(texts(&fetched), ["A: 1\n\none\nFrom here\nFrom there\n>From far\n>from\n", "\n", "B: 2\n\n\n"]);
        assert_eq!(fetched.mails[2].id, hex::encode(Sha256::digest(b"B: 2\n\n\n")));
        fs::write(&mbox.path, text.replace('\n', "\r\n")).unwrap();
        assert_eq!(texts(&mbox.fetch(&Cursor::default(), 9).unwrap())[2], "B: 2\r\n\r\n\r\n");
    }

    #[test]
    fn reading_goes_on_where_it_stopped() {
        let (_root, mbox) = mbox(&format!("{FROM}A: 1\n\n{FROM}B: 2\n\n"));
        let first = mbox.fetch(&Cursor::default(), 1).unwrap();
        let second = mbox.fetch(&first.cursor, 9).unwrap();
        assert_eq!((texts(&first), texts(&second)), (vec!["A: 1\n"], vec!["B: 2\n"]));
        let third = mbox.fetch(&second.cursor, 9).unwrap();
        assert!(third.mails.is_empty() && third.cursor == second.cursor);
        append(&mbox, &format!("{FROM}C: 3\n\nhalf"));
        let fourth = mbox.fetch(&third.cursor, 9).unwrap();
        assert!(fourth.mails.is_empty(), "it is still being written");
        append(&mbox, "\n\n");
        assert_eq!(texts(&mbox.fetch(&fourth.cursor, 9).unwrap()), ["C: 3\n\nhalf\n"]);
    }

    #[test]
    fn a_file_that_was_rewritten_is_read_anew() {
        let (_root, mbox) = mbox(&format!("{FROM}A: 1\n\n{FROM}B: 2\n\n"));
        let read = mbox.fetch(&Cursor::default(), 9).unwrap();
        for rewritten in
            ["", &format!("{FROM}B: 2\n\n"), &format!("{FROM}A: 1\n\n{FROM}D: 2\n\n"), &format!("{FROM}C: 1\n\n{FROM}B: 2\n\n")]
        {
            fs::write(&mbox.path, rewritten).unwrap();
            let anew = mbox.fetch(&read.cursor, 9).unwrap();
            assert_eq!(anew.mails.len(), rewritten.matches("From ").count(), "{rewritten}");
            assert!(mbox.fetch(&anew.cursor, 9).unwrap().mails.is_empty());
        }
        for odd in ["x", ":", "7:", "99999999999999999999:00", "3:0011223344556677"] {
            assert_eq!(mbox.fetch(&Cursor(odd.into()), 9).unwrap().mails.len(), 2, "{odd}");
        }
    }

    #[test]
    fn a_locked_file_waits_and_one_of_another_kind_is_refused() {
        let (root, mbox) = mbox(&format!("{FROM}A: 1\n\n"));
        let other = File::open(&mbox.path).unwrap();
        other.lock().unwrap();
        assert!(mbox.fetch(&Cursor::default(), 9).unwrap_err().to_string().contains("locked"));
        other.unlock().unwrap();
        fs::write(root.path().join("mbox.lock"), "").unwrap();
        assert!(mbox.fetch(&Cursor::default(), 9).unwrap_err().to_string().contains("locked"));
        fs::remove_file(root.path().join("mbox.lock")).unwrap();
        assert_eq!(mbox.fetch(&Cursor::default(), 9).unwrap().mails.len(), 1);
        fs::write(&mbox.path, "id,name\n1,Ann\n").unwrap();
        assert!(mbox.fetch(&Cursor::default(), 9).unwrap_err().to_string().ends_with("it does not begin with `From `"));
        assert!(Mbox::new(root.path().join("none")).fetch(&Cursor::default(), 9).is_err());
    }

    #[test]
    fn a_mail_of_any_size_is_cut_and_passed_over() {
        let (_root, mbox) = mbox("");
        append(&mbox, &format!("{FROM}A: 1\n\n"));
        append(&mbox, &"x".repeat(3 * MAX_BYTES));
        append(&mbox, &format!("\n\n{FROM}B: 2\n\n"));
        let fetched = mbox.fetch(&Cursor::default(), 9).unwrap();
        assert_eq!(fetched.mails.iter().map(|mail| mail.bytes.len()).collect::<Vec<_>>(), [MAX_BYTES, 5]);
    }
}
