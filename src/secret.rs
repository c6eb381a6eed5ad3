//! Values that never print, and the keys derived from the project's master key.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use hmac::{Hmac, KeyInit, Mac};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

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

/// How much of a spelling in one piece gives a secret away.
const TELLING: usize = 8;

/// What somebody else said, without the secret in any of its `spellings`, nor a piece of one.
pub(crate) fn without(text: &str, spellings: &[String]) -> String {
    const HIDDEN: &str = "(secret)";
    let spellings = || spellings.iter().filter(|spelling| !spelling.trim().is_empty());
    // One with a blank in it is no word.
    let whole = spellings().fold(text.to_owned(), |text, spelling| text.replace(spelling.as_str(), HIDDEN));
    let tells = |word: &str| {
        let word = word.to_lowercase();
        spellings().any(|spelling| {
            let spelling = spelling.to_lowercase();
            spelling.as_bytes().windows(TELLING).any(|piece| memchr::memmem::find(word.as_bytes(), piece).is_some())
        })
    };
    whole.split(' ').map(|word| if tells(word) { HIDDEN } else { word }).collect::<Vec<_>>().join(" ")
}

/// Where a secret is kept: `{ env = "X" }` or `{ file = "/run/secrets/x" }`.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file whose content, without the last line break, is the secret; a relative path counts from the project folder.
    File(PathBuf),
}

/// The keys a reference to a secret has one of.
pub(crate) const PLACES: &[&str] = &["env", "file"];

/// What is said of a secret written into the settings themselves: fixed words, which never repeat it.
pub(crate) const IN_PLAIN: &str = "a secret stands here in plain text, where everybody who reads the settings or a log would see it";

// By hand, because a derived one repeats the value it found: `invalid type: string "s3cret"`.
impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reads)
    }
}

struct Reads;

impl<'de> Visitor<'de> for Reads {
    type Value = SecretRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ env = \"X\" } or { file = \"…\" }")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<SecretRef, E> {
        Err(E::custom(IN_PLAIN))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<SecretRef, E> {
        Err(E::custom(IN_PLAIN))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<SecretRef, E> {
        Err(E::custom(IN_PLAIN))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<SecretRef, E> {
        Err(E::custom(IN_PLAIN))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<SecretRef, E> {
        Err(E::custom(IN_PLAIN))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<SecretRef, A::Error> {
        Err(de::Error::custom(IN_PLAIN))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretRef, A::Error> {
        let place = match map.next_key::<String>()?.as_deref() {
            Some("env") => SecretRef::Env(map.next_value()?),
            Some("file") => SecretRef::File(map.next_value()?),
            Some(typed) if crate::config::nearest(typed, PLACES.iter().copied()).is_some() => {
                return Err(de::Error::unknown_field(typed, PLACES));
            }
            // `{ value = "s3cret" }`
            Some(_) => return Err(de::Error::custom(IN_PLAIN)),
            None => return Err(de::Error::custom("nothing says where the secret is kept: { env = \"X\" } or { file = \"…\" }")),
        };
        match map.next_key::<String>()?.as_deref() {
            None => Ok(place),
            Some("env" | "file") => Err(de::Error::custom("a secret is kept in one place, `env` or `file`, not in two")),
            Some(other) => Err(de::Error::unknown_field(other, PLACES)),
        }
    }
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
    /// The master key can be guessed.
    #[error("the master key is shorter than {SHORTEST} bytes, so that it can be guessed, and with it every unsubscribe link")]
    Short,
}

impl Diagnose for SecretError {
    fn diagnosis(&self) -> Diagnosis {
        let code = if matches!(self, Self::Short) { "short_key" } else { "secret" };
        Diagnosis::new(code, self.to_string()).hint(match self {
            Self::Env(name) => format!("set `{name}` where the program runs, or name another variable in the project's settings"),
            Self::File(..) => "check that the file is mounted and that the program's user may read it".to_owned(),
            Self::Short => {
                "make one with `openssl rand -hex 32`, and keep a copy where you keep secrets: it never changes once mail has gone out"
                    .to_owned()
            }
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
    /// By their labels, ready to take what they sign: a letter is signed for some five times.
    derived: Arc<RwLock<HashMap<&'static str, Signing>>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(••••)")
    }
}

/// The master key that ships with the practice project. Whoever uses it reaches the outbox and loopback only.
pub const PRACTICE_MASTER: &str = "practice";

/// The fewest bytes a master key has.
const SHORTEST: usize = 16;

impl Keys {
    /// The keys of the project in `root`, from where its master key is kept. Blanks and line breaks around the key do not count: they
    /// come and go with the ways secrets are handed in, and a key must stay the same for ever.
    ///
    /// # Errors
    /// Where the key cannot be read, or is short enough to be guessed and not the practice key.
    pub fn open(master: &SecretRef, root: &Path) -> Result<Self, SecretError> {
        let keys = Self::new(Secret::new(master.resolve(root)?.reveal().trim()));
        if keys.practice || keys.master.reveal().len() >= SHORTEST { Ok(keys) } else { Err(SecretError::Short) }
    }

    /// Keys derived from `master`.
    #[must_use]
    pub fn new(master: Secret) -> Self {
        let practice = master.reveal() == PRACTICE_MASTER;
        Self { master, practice, derived: Arc::default() }
    }

    /// Whether these are the keys everybody has.
    #[must_use]
    pub fn are_practice(&self) -> bool {
        self.practice
    }

    /// HMAC-SHA256 over `parts` under the key derived for `label`; parts are length-prefixed, so that no two lists collide.
    #[must_use]
    pub fn mac(&self, label: &'static str, parts: &[&[u8]]) -> [u8; 32] {
        let mut signing = self.signing(label);
        parts.iter().for_each(|part| signing.part(part));
        signing.finish()
    }

    /// The same, where the parts come one after the other.
    #[must_use]
    pub fn signing(&self, label: &'static str) -> Signing {
        let known = self.derived.read().unwrap_or_else(PoisonError::into_inner).get(label).cloned();
        known.unwrap_or_else(|| {
            let mut master = Signing::by(self.master.reveal().as_bytes());
            master.part(label.as_bytes());
            let derived = Signing::by(&master.finish());
            self.derived.write().unwrap_or_else(PoisonError::into_inner).insert(label, derived.clone());
            derived
        })
    }
}

/// What was sealed cannot be opened: with other keys, or altered.
#[derive(Debug, thiserror::Error)]
#[error("a sealed value does not open with this master key")]
pub struct Unopened;

const NONCE: usize = 16;
const TAG: usize = 32;

impl Keys {
    /// A secret as it may be written down: the exclusive or with HMAC-SHA256 in counter mode under a fresh nonce, then a MAC over nonce and
    /// ciphertext. `label` and `name` say what it is for; it opens for nothing else.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn seal(&self, label: &'static str, name: &str, secret: &Secret) -> Result<Vec<u8>, getrandom::Error> {
        let mut sealed = vec![0; NONCE];
        getrandom::fill(&mut sealed)?;
        let text = self.masked(label, name, &sealed, secret.reveal().as_bytes());
        sealed.extend(text);
        let tag = self.mac(label, &[b"tag", name.as_bytes(), &sealed]);
        sealed.extend(tag);
        Ok(sealed)
    }

    /// The secret back.
    ///
    /// # Errors
    /// Where it was sealed for something else, with another master key, or has been altered.
    pub fn unseal(&self, label: &'static str, name: &str, sealed: &[u8]) -> Result<Secret, Unopened> {
        let (inner, tag) = sealed.split_at_checked(sealed.len().wrapping_sub(TAG)).ok_or(Unopened)?;
        let (nonce, text) = inner.split_at_checked(NONCE).ok_or(Unopened)?;
        let expected = self.mac(label, &[b"tag", name.as_bytes(), inner]);
        if !bool::from(expected.ct_eq(tag)) {
            return Err(Unopened);
        }
        String::from_utf8(self.masked(label, name, nonce, text)).map(Secret::new).map_err(|_| Unopened)
    }

    fn masked(&self, label: &'static str, name: &str, nonce: &[u8], text: &[u8]) -> Vec<u8> {
        let blocks = (0u64..).zip(text.chunks(32));
        let masked = blocks.flat_map(|(block, bytes)| {
            let mask = self.mac(label, &[b"mask", name.as_bytes(), nonce, &block.to_be_bytes()]);
            bytes.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect::<Vec<u8>>()
        });
        masked.collect()
    }
}

/// A message code over parts that come one after the other.
#[derive(Clone)]
pub struct Signing(Hmac<Sha256>);

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signing(••••)")
    }
}

impl Signing {
    #[allow(clippy::expect_used)] // HMAC takes a key of any length.
    fn by(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    /// The next part, prefixed by its length.
    pub fn part(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    /// The code.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into_bytes().into()
    }
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
    fn what_others_say_is_kept_without_the_secret() {
        let spellings = ["correct horse battery".to_owned(), "AGFubgBjb3JyZWN0IGhvcnNlIGJhdHRlcnk=".to_owned(), "s3c".to_owned()];
        for (said, expected) in [
            ("500 unknown: AUTH PLAIN AGFubgBjb3JyZWN0IGhvcnNlIGJhdHRlcnk=", "500 unknown: AUTH PLAIN (secret)"),
            ("500 \"AUTH PLAIN AGFubgBjb3JyZWN0\"...", "500 \"AUTH PLAIN (secret)"),
            ("535 agfubgbjb3jyzwn0 refused", "535 (secret) refused"),
            ("535 no such password: correct horse battery", "535 no such password: (secret)"),
            ("535 <s3c>", "535 <(secret)>"),
            ("535 5.7.8 Username and Password not accepted", "535 5.7.8 Username and Password not accepted"),
        ] {
            assert_eq!(without(said, &spellings), expected);
        }
        assert_eq!(without("535 no", &[String::new()]), "535 no");
    }

    #[derive(Debug, Deserialize)]
    struct Sample {
        token: SecretRef,
    }

    fn read(text: &str) -> Result<SecretRef, Diagnosis> {
        crate::config::parse::<Sample>(text, Path::new("x.toml")).map(|sample| sample.token).map_err(|error| error.0)
    }

    #[test]
    fn a_secret_in_plain_is_refused_and_not_repeated() {
        for plain in ["\"s3cret\"", "3141592", "-3141592", "3.141592", "true", "[\"s3cret\"]", "{ value = \"s3cret\" }"] {
            let told = read(&format!("token = {plain}")).unwrap_err();
            assert_eq!((told.code.as_str(), told.line), ("secret_in_plain", Some(1)), "{plain}");
            let words = format!("{told:?}");
            assert!(!words.contains("s3cret") && !words.contains("141592"), "{words}");
            assert!(told.hint.unwrap().contains("{ env = \"X\" }"));
        }
    }

    #[test]
    fn a_secret_is_kept_in_one_place() {
        assert_eq!(read("token = { env = \"X\" }"), Ok(SecretRef::Env("X".into())));
        assert_eq!(read("token = { file = \"/run/x\" }"), Ok(SecretRef::File("/run/x".into())));
        assert_eq!(read("token = { fil = \"x\" }").unwrap_err().hint.as_deref(), Some("did you mean `file`?"));
        for neither in ["token = {}", "token = { env = \"X\", file = \"x\" }"] {
            assert_eq!(read(neither).unwrap_err().code, "bad_value", "{neither}");
        }
    }

    #[test]
    fn a_master_key_is_trimmed_and_long_enough_or_the_practice_key() {
        let root = tempfile::tempdir().unwrap();
        let keys = |text: &str| {
            std::fs::write(root.path().join("key"), text).unwrap();
            Keys::open(&SecretRef::File("key".into()), root.path())
        };
        let long = "0123456789abcdef";
        assert_eq!(keys(&format!(" {long} \r\n\n")).unwrap().mac("x", &[]), Keys::new(Secret::new(long)).mac("x", &[]));
        assert!(keys(" practice\n").unwrap().are_practice());
        for short in ["", "\n", "0123456789abcde", "0123456789abcde  \n"] {
            let error = keys(short).unwrap_err();
            assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("short_key", Exit::Wrong), "{short:?}");
            assert!(error.diagnosis().hint.unwrap().contains("openssl rand -hex 32"));
        }
    }

    #[test]
    fn what_is_sealed_opens_for_its_own_name_and_key_only() {
        let keys = Keys::new(Secret::new("0123456789abcdef"));
        let long = "long ".repeat(40);
        for text in ["", "s3cret", "exactly thirty-two bytes, s3cret", long.as_str()] {
            let sealed = keys.seal("token", "shop", &Secret::new(text)).unwrap();
            assert_eq!(keys.unseal("token", "shop", &sealed).unwrap().reveal(), text);
            assert_ne!(sealed, keys.seal("token", "shop", &Secret::new(text)).unwrap(), "no two look alike");
            assert!(text.is_empty() || !sealed.windows(text.len()).any(|part| part == text.as_bytes()));
            assert!(keys.unseal("token", "crm", &sealed).is_err() && keys.unseal("other", "shop", &sealed).is_err());
            assert!(Keys::new(Secret::new("fedcba9876543210")).unseal("token", "shop", &sealed).is_err());
            for position in 0..sealed.len() {
                let mut altered = sealed.clone();
                altered[position] ^= 1;
                assert!(keys.unseal("token", "shop", &altered).is_err(), "{position}");
            }
            assert!(keys.unseal("token", "shop", &sealed[1..]).is_err() && keys.unseal("token", "shop", &[]).is_err());
        }
    }

    #[test]
    fn parts_do_not_run_together() {
        let keys = Keys::new(Secret::new("k"));
        assert_ne!(keys.mac("message", &[b"ab", b"c"]), keys.mac("message", &[b"a", b"bc"]));
        assert_ne!(keys.mac("message", &[b"a"]), keys.mac("holdout", &[b"a"]));
    }
}
