//! Mail as files: `new` holds what nobody has looked at, `cur` the rest, with flags after `:2,` in the name.
//!
//! Files appear in `new` in no sure order, as a large mail takes longer to write than its name takes to make. So all of `new` is read
//! whatever the cursor says, and every mail that was looked at moves to `cur`, as any mail reader does it. In `cur` the cursor decides:
//! there another program may have put mails before we saw them, whatever flags it gave them.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{Cursor, Fetched, Looked, Mail};
use crate::delivery::returns::{MAX_BYTES, error::ReturnsError};

/// A maildir.
#[derive(Debug, Clone)]
pub(crate) struct Maildir {
    path: PathBuf,
}

/// A mail in a maildir: its unique name, and the file it is in.
type Lying = (String, PathBuf);

impl Maildir {
    /// Takes the folder that holds `new` and `cur`.
    ///
    /// # Errors
    /// Where it does not.
    pub(crate) fn open(path: impl Into<PathBuf>) -> Result<Self, ReturnsError> {
        let path = path.into();
        if ["new", "cur"].iter().all(|folder| path.join(folder).is_dir()) {
            return Ok(Self { path });
        }
        Err(ReturnsError::NotMailbox { path, expected: "a maildir: it has no `new` and `cur`" })
    }

    /// As [`super::Mailbox::fetch`].
    pub(super) fn fetch(&self, after: &Cursor, limit: usize) -> Result<Fetched, ReturnsError> {
        // In this order, so that a mail which moves meanwhile is seen twice, and not never.
        let mut waiting = self.list("new")?;
        waiting.extend(self.list("cur")?.into_iter().filter(|(name, _)| place(name) > place(&after.0)));
        waiting.sort_by(|(a, _), (b, _)| place(a).cmp(&place(b)));
        waiting.dedup_by(|(a, _), (b, _)| a == b);
        let mut fetched = Fetched { mails: Vec::new(), cursor: after.clone() };
        for (name, path) in waiting {
            if fetched.is_full(limit) {
                break;
            }
            if place(&name) > place(&fetched.cursor.0) {
                fetched.cursor = Cursor(name.clone());
            }
            if let Some(bytes) = self.read(&name, &path)? {
                fetched.mails.push(Mail { id: name, bytes });
            }
        }
        Ok(fetched)
    }

    /// As [`super::Mailbox::mark`].
    pub(super) fn mark(&self, looked: &[Looked]) -> Result<(), ReturnsError> {
        let mut moved: Option<HashMap<String, PathBuf>> = None;
        for Looked { id, understood } in looked {
            if id.is_empty() || id.starts_with('.') || id.contains(['/', ':']) {
                continue;
            }
            let flags = if *understood { "S" } else { "" };
            let (new, cur) = (self.path.join("new").join(id), self.path.join("cur").join(format!("{id}:2,{flags}")));
            if rename(&new, &cur)? {
                continue;
            }
            let moved = match &mut moved {
                Some(moved) => moved,
                None => moved.insert(self.list("cur")?.into_iter().collect()),
            };
            // Not there: another program deleted it. Not understood: whoever moved it to `cur` decides about its flags.
            if let Some(old) = moved.get(id).filter(|_| *understood)
                && let Some(name) = seen(old)
            {
                rename(old, &old.with_file_name(name))?;
            }
        }
        Ok(())
    }

    /// What lies in one of the folders, in no order.
    fn list(&self, folder: &str) -> Result<Vec<Lying>, ReturnsError> {
        let folder = self.path.join(folder);
        let unreadable = |error: io::Error| ReturnsError::Unreadable { path: folder.clone(), reason: error.to_string() };
        let mut lying = Vec::new();
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            // No mail system gives a name that is not ASCII.
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            let unique = name.split_once(':').map_or(name, |(unique, _)| unique).to_owned();
            lying.push((unique, entry.path()));
        }
        Ok(lying)
    }

    /// The bytes of a mail; none where it was deleted since, or is no file.
    fn read(&self, name: &str, path: &Path) -> Result<Option<Vec<u8>>, ReturnsError> {
        match head(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let moved = self.list("cur")?.into_iter().find(|(unique, _)| unique == name);
                moved.map_or(Ok(None), |(_, path)| head(&path).or_else(|error| absent(&path, &error)))
            }
            read => read.or_else(|error| absent(path, &error)),
        }
    }
}

/// The order mails are read in: by the second in the name, then by name.
fn place(name: &str) -> (u64, &str) {
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    (name[..digits].parse().unwrap_or(0), name)
}

/// The first bytes of a file; none where it is something else.
fn head(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn absent(path: &Path, error: &io::Error) -> Result<Option<Vec<u8>>, ReturnsError> {
    if error.kind() == io::ErrorKind::NotFound {
        return Ok(None);
    }
    Err(ReturnsError::Unreadable { path: path.to_owned(), reason: error.to_string() })
}

/// The name of a file in `cur` with the flag for "seen", its flags in the order of ASCII; none where it has it, or flags of another kind.
fn seen(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (unique, info) = name.split_once(':').unwrap_or((name, "2,"));
    let mut flags: Vec<char> = info.strip_prefix("2,")?.chars().collect();
    if flags.contains(&'S') {
        return None;
    }
    flags.push('S');
    flags.sort_unstable();
    Some(format!("{unique}:2,{}", flags.into_iter().collect::<String>()))
}

/// Moves a file where there is one, never over another.
fn rename(from: &Path, to: &Path) -> Result<bool, ReturnsError> {
    let unmarked = |reason: String| ReturnsError::Unmarked { path: from.to_owned(), reason };
    if to.try_exists().map_err(|error| unmarked(error.to_string()))? {
        return if from.try_exists().is_ok_and(|there| there) { Err(unmarked("there are two of that name".to_owned())) } else { Ok(true) };
    }
    match fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unmarked(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maildir(files: &[&str]) -> (tempfile::TempDir, Maildir) {
        let root = tempfile::tempdir().unwrap();
        for folder in ["new", "cur", "tmp", ".Sent"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        for file in files {
            fs::write(root.path().join(file), file).unwrap();
        }
        let maildir = Maildir::open(root.path()).unwrap();
        (root, maildir)
    }

    fn ids(fetched: &Fetched) -> Vec<&str> {
        fetched.mails.iter().map(|mail| mail.id.as_str()).collect()
    }

    fn looked(id: &str, understood: bool) -> Looked {
        Looked { id: id.to_owned(), understood }
    }

    fn files(root: &tempfile::TempDir) -> Vec<String> {
        let mut files: Vec<String> = ["new", "cur"]
            .iter()
            .flat_map(|folder| fs::read_dir(root.path().join(folder)).unwrap().map(move |file| (folder, file.unwrap().file_name())))
            .map(|(folder, name)| format!("{folder}/{}", name.to_str().unwrap()))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn mail_is_read_in_the_order_of_its_seconds_with_an_id_without_flags() {
        let (_root, maildir) = maildir(&["new/1000.b.mx", "cur/999.a.mx:2,S", "cur/1001.c.mx,S=9:2,FR", "new/.hidden", "tmp/1.x.mx"]);
        let fetched = maildir.fetch(&Cursor::default(), 9).unwrap();
        assert_eq!(ids(&fetched), ["999.a.mx", "1000.b.mx", "1001.c.mx,S=9"]);
        assert_eq!(fetched.mails[1].bytes, b"new/1000.b.mx");
        assert_eq!(ids(&maildir.fetch(&fetched.cursor, 9).unwrap()), ["1000.b.mx"], "what is not marked is handed out again");
    }

    #[test]
    fn mail_that_turns_up_late_is_read_all_the_same() {
        let (root, maildir) = maildir(&["new/1002.c.mx"]);
        let first = maildir.fetch(&Cursor::default(), 9).unwrap();
        maildir.mark(&[looked("1002.c.mx", true)]).unwrap();
        fs::write(root.path().join("new/1001.large.mx"), "x").unwrap();
        let second = maildir.fetch(&first.cursor, 9).unwrap();
        assert_eq!((ids(&second), &second.cursor), (vec!["1001.large.mx"], &first.cursor));
        maildir.mark(&[looked("1001.large.mx", false)]).unwrap();
        assert!(maildir.fetch(&second.cursor, 9).unwrap().mails.is_empty());
    }

    #[test]
    fn marking_moves_what_is_new_and_never_deletes() {
        let names = ["new/1.a.mx", "new/2.b.mx", "cur/3.c.mx:2,FT", "cur/4.d.mx", "cur/5.e.mx:2,S", "cur/6.f.mx:1,x", "cur/7.g.mx:2,"];
        let (root, maildir) = maildir(&names);
        let all: Vec<Looked> = maildir.fetch(&Cursor::default(), 9).unwrap().mails.iter().map(|mail| looked(&mail.id, true)).collect();
        assert_eq!(all.len(), 7);
        maildir.mark(&[looked("2.b.mx", false), looked("7.g.mx", false), looked("../new/1.a.mx", true), looked("gone", true)]).unwrap();
        maildir.mark(&[&all[..1], &all[2..6]].concat()).unwrap();
        let expected =
            ["cur/1.a.mx:2,S", "cur/2.b.mx:2,", "cur/3.c.mx:2,FST", "cur/4.d.mx:2,S", "cur/5.e.mx:2,S", "cur/6.f.mx:1,x", "cur/7.g.mx:2,"];
        assert_eq!(files(&root), expected);
        maildir.mark(&[&all[..1], &all[2..6]].concat()).unwrap();
        assert_eq!(files(&root), expected, "twice is as good as once");
        fs::write(root.path().join("new/1.a.mx"), "another").unwrap();
        assert!(maildir.mark(&all).unwrap_err().to_string().ends_with("there are two of that name"));
    }

    #[test]
    fn a_folder_that_is_no_maildir_is_refused_and_a_large_mail_is_cut() {
        let root = tempfile::tempdir().unwrap();
        assert!(Maildir::open(root.path()).unwrap_err().to_string().contains("no `new` and `cur`"));
        let (root, maildir) = maildir(&[]);
        fs::write(root.path().join("new/1.a.mx"), vec![b'x'; MAX_BYTES + 5]).unwrap();
        fs::create_dir(root.path().join("new/2.folder")).unwrap();
        let fetched = maildir.fetch(&Cursor::default(), 9).unwrap();
        assert_eq!((fetched.mails.len(), fetched.mails[0].bytes.len()), (1, MAX_BYTES));
    }
}
