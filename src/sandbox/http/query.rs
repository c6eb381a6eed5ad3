//! Query parameters, read strictly: an API that ignores a filter it does not know gives out too much without a word.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::{super::moment::Moment, manners::Refusal};

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads them; a parameter that is not among `known` is refused, and so is one that comes twice.
    pub(super) fn read(raw: Option<String>, known: &[&str]) -> Result<Self, Refusal> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                return Err(Refusal::bad("unknown_parameter", format!("unknown parameter `{name}`; there are {}", known.join(", "))));
            }
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(Refusal::bad("repeated_parameter", format!("`{name}` is given twice")));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    /// A parameter as it stands.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A whole number of at least 1.
    pub(super) fn number(&self, name: &str, default: usize) -> Result<usize, Refusal> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|number| *number >= 1)
                .ok_or_else(|| Refusal::bad("bad_parameter", format!("`{name}` must be a whole number of at least 1"))),
        }
    }

    /// An instant; it includes records that changed at that very second.
    pub(super) fn instant(&self, name: &str) -> Result<Option<Moment>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let instant = DateTime::parse_from_rfc3339(text)
            .map_err(|_| Refusal::bad("bad_parameter", format!("`{name}` must be an instant such as 2026-11-22T01:00:00Z")))?;
        Ok(Some(Moment::from(instant.with_timezone(&Utc))))
    }
}

/// Where a listing goes on. On the wire it is opaque, and one that was not given out by this list is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// Where the listing began.
    pub(super) start: usize,
    /// Where it goes on.
    pub(super) at: usize,
    /// How many records to a page.
    pub(super) size: usize,
}

impl Token {
    /// The token of a list as text.
    pub(super) fn write(self, list: &str) -> String {
        let mut bytes = Vec::with_capacity(32);
        for number in [self.start, self.at, self.size] {
            bytes.extend_from_slice(&(number as u64).to_be_bytes());
        }
        let seal = Self::seal(list, &bytes);
        bytes.extend_from_slice(&seal);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token that [`Token::write`] made for the same list.
    pub(super) fn read(list: &str, text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (numbers, seal) = bytes.split_at_checked(24)?;
        if seal != Self::seal(list, numbers) {
            return None;
        }
        let number = |index: usize| numbers.get(index * 8..index * 8 + 8)?.try_into().ok().map(|bytes| u64::from_be_bytes(bytes) as usize);
        Some(Self { start: number(0)?, at: number(1)?, size: number(2)? })
    }

    /// Eight bytes that nobody makes by accident.
    fn seal(list: &str, bytes: &[u8]) -> [u8; 8] {
        let digest = Sha256::new().chain_update(list).chain_update([0]).chain_update(bytes).finalize();
        let mut seal = [0; 8];
        seal.copy_from_slice(&digest[..8]);
        seal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_on_only_where_it_came_from() {
        let token = Token { start: 3, at: 203, size: 200 };
        let text = token.write("contacts");
        assert_eq!(Token::read("contacts", &text), Some(token));
        assert_eq!(Token::read("consents", &text), None);
        assert_eq!(Token::read("contacts", &text[1..]), None);
        assert_eq!(Token::read("contacts", "page-2"), None);
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused() {
        assert!(Query::read(Some("limit=5&fresh=yes".to_owned()), &["limit"]).is_err());
        assert!(Query::read(Some("limit=5&limit=6".to_owned()), &["limit"]).is_err());
        let query = Query::read(Some("since=2026-11-22T02%3A00%3A00%2B01%3A00&limit=0".to_owned()), &["limit", "since"]).unwrap();
        assert_eq!(query.instant("since").unwrap().unwrap().to_string(), "2026-11-22T01:00:00Z");
        assert!(query.number("limit", 50).is_err());
    }
}
