//! Values that never print, and the keys derived from the project's master key.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

use crate::diagnosis::{Diagnose, Diagnosis, Exit};

/// A secret in memory. `Debug` and `Display` show dots; only [`Secret::reveal`] shows the value.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value that must never be shown.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("••••")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("••••")
    }
}

/// Where a secret is kept: `{ env = "X" }` or `{ file = "/run/secrets/x" }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file whose content, without the last line break, is the secret; a relative path counts from the project folder.
    File(PathBuf),
}

/// A secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not set.
    #[error("the environment variable `{0}` is not set")]
    Env(String),
    /// The file cannot be read.
    #[error("the secret file {path} cannot be read: {error}", path = .0.display(), error = .1)]
    File(PathBuf, std::io::Error),
}

impl Diagnose for SecretError {
    fn diagnosis(&self) -> Diagnosis {
        Diagnosis::new("secret", self.to_string()).hint(match self {
            Self::Env(name) => format!("set `{name}` where the program runs, or name another variable in the project's settings"),
            Self::File(..) => "check that the file is mounted and that the program's user may read it".to_owned(),
        })
    }

    fn exit(&self) -> Exit {
        Exit::Wrong
    }
}

impl SecretRef {
    /// Reads the secret of the project in `root`.
    ///
    /// # Errors
    /// Where the variable is not set or the file cannot be read.
    pub fn resolve(&self, root: &Path) -> Result<Secret, SecretError> {
        match self {
            Self::Env(name) => std::env::var(name).map(Secret::new).map_err(|_| SecretError::Env(name.clone())),
            Self::File(path) => std::fs::read_to_string(root.join(path))
                .map(|text| Secret::new(text.trim_end_matches(['\n', '\r'])))
                .map_err(|error| SecretError::File(path.clone(), error)),
        }
    }
}

/// The keys of a project, all derived from one master key by HMAC-SHA256 with a label.
///
/// Message and holdout keys never rotate: a message id must stay the same for ever, and so must a control group.
#[derive(Clone)]
pub struct Keys {
    master: Secret,
    practice: bool,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(••••)")
    }
}

/// The master key that ships with the practice project. Whoever uses it reaches the outbox and loopback only.
pub const PRACTICE_MASTER: &str = "practice";

impl Keys {
    /// Keys derived from `master`.
    #[must_use]
    pub fn new(master: Secret) -> Self {
        let practice = master.reveal() == PRACTICE_MASTER;
        Self { master, practice }
    }

    /// Whether these are the keys everybody has.
    #[must_use]
    pub fn are_practice(&self) -> bool {
        self.practice
    }

    /// HMAC-SHA256 over `parts` under the key derived for `label`; parts are length-prefixed, so that no two lists collide.
    #[must_use]
    pub fn mac(&self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        let derived = hmac(self.master.reveal().as_bytes(), &[label.as_bytes()]);
        hmac(&derived, parts)
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    #[allow(clippy::expect_used)] // HMAC takes a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("hunter2");
        assert!(!format!("{secret:?} {secret}").contains("hunter2"));
    }

    #[test]
    fn parts_do_not_run_together() {
        let keys = Keys::new(Secret::new("k"));
        assert_ne!(keys.mac("message", &[b"ab", b"c"]), keys.mac("message", &[b"a", b"bc"]));
        assert_ne!(keys.mac("message", &[b"a"]), keys.mac("holdout", &[b"a"]));
    }
}
