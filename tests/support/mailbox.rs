//! Letters as they lie in a folder, one file each.

use std::{fs, path::Path};

/// A letter that arrived.
#[derive(Debug)]
pub(crate) struct Letter {
    /// Its Message-ID, without brackets.
    pub(crate) id: String,
    /// The address it names as its recipient's.
    pub(crate) to: String,
    /// The address the server put it into a mailbox for, where it says so.
    pub(crate) put_for: Option<String>,
    /// The whole of it.
    pub(crate) text: String,
}

/// The letters in a folder; none where there is no such folder.
pub(crate) fn letters(folder: &Path) -> Vec<Letter> {
    let files = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    files.map(|file| Letter::of(&fs::read(file).unwrap())).collect()
}

impl Letter {
    /// A letter from its bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let header = |name: &str| header(&text, name);
        let bare = |value: String| value.rsplit_once('<').map_or(value.clone(), |(_, rest)| rest.trim_end_matches('>').to_owned());
        let id = header("Message-ID").map(bare).unwrap_or_default();
        let to = header("To").map(bare).unwrap_or_default();
        let put_for = header("Delivered-To").or_else(|| header("Envelope-to"));
        Self { id, to, put_for, text }
    }
}

/// The first header of that name, on one line.
fn header(text: &str, name: &str) -> Option<String> {
    let mut found: Option<String> = None;
    for line in text.lines().take_while(|line| !line.is_empty()) {
        match &mut found {
            Some(value) if line.starts_with([' ', '\t']) => value.push_str(line),
            Some(_) => break,
            None => {
                found =
                    line.split_once(':').filter(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned());
            }
        }
    }
    found
}
