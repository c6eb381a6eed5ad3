//! The return path: the address in a message's envelope that says which message a bounce is about, and that nobody else can make up.
//!
//! A bounce does not always quote the headers of the message it is about, but it always comes back to the envelope's sender (listmonk
//! #833, #1162, #946). So every message gets its own: `bounces+<token>@mail.shop.example`. The token is lower-case base32 without padding
//! (RFC 4648) of the first 16 bytes of the message's id and 8 bytes of an HMAC over them: 39 characters. With the `+` that leaves 24 of
//! the 64 bytes a local part may have (RFC 5321 4.5.3.1.1). Capitals do not count: some mail systems change them.

use subtle::ConstantTimeEq as _;

use super::error::ReturnsError;
use crate::secret::Keys;

/// The key tokens are made with.
const LABEL: &str = "return-path";
const REFERENCE: usize = 16;
const MAC: usize = 8;
const TOKEN: usize = ((REFERENCE + MAC) * 8).div_ceil(5);
/// RFC 5321 4.5.3.1.1.
const MAX_LOCAL: usize = 64;
/// RFC 5321 4.5.3.1.3, without the angle brackets of a path.
const MAX_ADDRESS: usize = 254;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Which message a return is about: the first sixteen bytes of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Reference([u8; REFERENCE]);

impl Reference {
    /// The reference of a message id: `<32 to 64 hex digits>@<domain>`. None for any other, such as the id of a proof.
    fn of(message_id: &str) -> Option<Self> {
        let (digest, _) = message_id.split_once('@')?;
        if !(2 * REFERENCE..=64).contains(&digest.len()) || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut reference = [0; REFERENCE];
        hex::decode_to_slice(&digest.as_bytes()[..2 * REFERENCE], &mut reference).ok()?;
        Some(Self(reference))
    }

    /// Which message an address of ours, or its local part, was made for; `None` where it was not made with these keys. What stands
    /// before the last `+` does not count, so addresses from before the settings changed are still read.
    pub(crate) fn read(keys: &Keys, address: &str) -> Option<Self> {
        let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
        let (_, token) = local.rsplit_once('+')?;
        let bytes = decode(token)?;
        let (reference, given) = bytes.split_first_chunk::<REFERENCE>()?;
        bool::from(mac(keys, reference).as_slice().ct_eq(given)).then_some(Self(*reference))
    }

    /// The 32 hex digits the message's id begins with. The ledger holds one such message: `substr(message_id, 1, 32) = ?`. As long as
    /// ids carry sixteen bytes, the id is this, `@` the brand's domain. A range over `message_id` would not find it everywhere: in the
    /// collations of some databases `@` has no place.
    pub(crate) fn prefix(&self) -> String {
        hex::encode(self.0)
    }
}

/// The address bounces come back to, as the settings have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReturnPath {
    local: String,
    domain: String,
}

impl ReturnPath {
    /// Takes the plain address, such as `bounces@mail.shop.example`.
    ///
    /// # Errors
    /// Where it is no plain ASCII address, or leaves no room for a token.
    pub(crate) fn new(base: &str) -> Result<Self, ReturnsError> {
        let wrong = |reason: String| Err(ReturnsError::Address { address: base.to_owned(), reason });
        let Some((local, domain)) = base.split_once('@') else { return wrong("it has no `@`".to_owned()) };
        // RFC 5322 3.2.3: what stands in a local part without quotes.
        let atext = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        if !local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(atext)) {
            return wrong("only plain letters, digits and signs may stand before the `@`".to_owned());
        }
        let label = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !domain.split('.').all(label) {
            return wrong("what follows the `@` is no domain; write one with other letters as `xn--…`".to_owned());
        }
        let room = MAX_LOCAL - 1 - TOKEN;
        if local.len() > room {
            return wrong(format!("{} characters stand before the `@`; {room} are the most that leave room for a token", local.len()));
        }
        if local.len() + 1 + TOKEN + 1 + domain.len() > MAX_ADDRESS {
            return wrong(format!("with a token it would be longer than {MAX_ADDRESS} characters"));
        }
        Ok(Self { local: local.to_owned(), domain: domain.to_owned() })
    }

    /// The envelope's sender for a message. For an id that is not one of a customer's message it is the plain address.
    pub(crate) fn address_for(&self, keys: &Keys, message_id: &str) -> String {
        let Some(Reference(reference)) = Reference::of(message_id) else { return format!("{}@{}", self.local, self.domain) };
        let mut bytes = [0; REFERENCE + MAC];
        bytes[..REFERENCE].copy_from_slice(&reference);
        bytes[REFERENCE..].copy_from_slice(&mac(keys, &reference));
        format!("{}+{}@{}", self.local, encode(&bytes), self.domain)
    }

    /// The first of the addresses in a header's value that could be one of ours with a token: its local part.
    pub(super) fn find_in(&self, value: &str) -> Option<String> {
        let words = value.split(|c: char| c.is_whitespace() || "<>,;:\"()".contains(c));
        let locals = words.map(|word| word.split_once('@').map_or(word, |(local, _)| local));
        let mut ours = locals.filter(|local| {
            let (own, rest) = (self.local.as_bytes(), local.as_bytes());
            local.len() <= MAX_LOCAL && rest.get(own.len()) == Some(&b'+') && rest[..own.len()].eq_ignore_ascii_case(own)
        });
        ours.next().map(str::to_owned)
    }
}

fn mac(keys: &Keys, reference: &[u8; REFERENCE]) -> [u8; MAC] {
    let mut first = [0; MAC];
    first.copy_from_slice(&keys.mac(LABEL, &[reference])[..MAC]);
    first
}

fn encode(bytes: &[u8; REFERENCE + MAC]) -> String {
    let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
    let character = |at: usize| char::from(ALPHABET[(0..5).fold(0, |value, place| value << 1 | usize::from(bit(5 * at + place)))]);
    (0..TOKEN).map(character).collect()
}

fn decode(token: &str) -> Option<[u8; REFERENCE + MAC]> {
    if token.len() != TOKEN {
        return None;
    }
    let mut bytes = [0; REFERENCE + MAC];
    for (at, character) in token.bytes().enumerate() {
        let value = ALPHABET.iter().position(|known| *known == character.to_ascii_lowercase())?;
        for place in (0..5).filter(|place| value >> (4 - place) & 1 == 1) {
            let bit = 5 * at + place;
            // The last character has bits to spare; a token that sets one was not made here.
            *bytes.get_mut(bit / 8)? |= 1 << (7 - bit % 8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::Secret;

    const ID: &str = "4f1d0c9a7be2485fb6c3d21e0a9f7788@shop.example";

    fn keys() -> Keys {
        Keys::new(Secret::new("a master key"))
    }

    fn base() -> ReturnPath {
        ReturnPath::new("bounces@mail.shop.example").unwrap()
    }

    #[test]
    fn an_address_made_today_is_the_one_made_years_ago() {
        // Bounces of old messages must still be understood: this text may never change.
        assert_eq!(base().address_for(&keys(), ID), "bounces+j4oqzgt34jef7nwd2ipavh3xrdtlwftpgl7somi@mail.shop.example");
    }

    #[test]
    fn an_address_says_which_message_it_was_made_for() {
        let address = base().address_for(&keys(), ID);
        let (local, _) = address.split_once('@').unwrap();
        for written in [&address, local, &address.to_uppercase(), &address.replace("bounces+", "old+name+")] {
            assert_eq!(Reference::read(&keys(), written).unwrap().prefix(), "4f1d0c9a7be2485fb6c3d21e0a9f7788", "{written}");
        }
        let longer = ID.replace('@', "0123456789abcdef@");
        assert_eq!(base().address_for(&keys(), &longer), address, "what follows the first sixteen bytes does not count");
    }

    #[test]
    fn what_was_not_made_here_says_nothing() {
        let address = base().address_for(&keys(), ID);
        assert!(Reference::read(&Keys::new(Secret::new("another")), &address).is_none());
        let token = &address[8..47];
        for other in
            ["", "+", "@", token, &format!("bounces-{token}"), &format!("bounces+{token}="), &address[..46], "bounces@mail.shop.example"]
        {
            assert!(Reference::read(&keys(), other).is_none(), "{other}");
        }
    }

    #[test]
    fn an_id_of_another_kind_gets_the_plain_address() {
        for id in ["test-4f1d0c9a7be2485fb6c3d21e0a9f7788@shop.example", "0001@shop.example", "4f1d0c9a7be2485fb6c3d21e0a9f7788", ""] {
            assert_eq!(base().address_for(&keys(), id), "bounces@mail.shop.example", "{id}");
        }
    }

    #[test]
    fn an_address_that_would_not_do_is_refused() {
        for (address, reason) in [
            ("bounces", "no `@`"),
            ("@shop.example", "before the `@`"),
            ("a b@shop.example", "before the `@`"),
            ("a..b@shop.example", "before the `@`"),
            ("bounces@", "no domain"),
            ("bounces@shop..example", "no domain"),
            ("bounces@a@shop.example", "no domain"),
            ("bounces@bücher.example", "no domain"),
            ("abcdefghijklmnopqrstuvwxy@shop.example", "25 characters stand before the `@`; 24"),
            (&format!("bounces@{}", "a".repeat(250)), "longer than 254"),
        ] {
            let said = ReturnPath::new(address).unwrap_err().to_string();
            assert!(said.contains(reason), "{said}");
        }
        let longest = ReturnPath::new("abcdefghijklmnopqrstuvwx@shop.example").unwrap().address_for(&keys(), ID);
        assert_eq!(longest.find('@'), Some(64));
    }

    #[test]
    fn our_address_is_found_among_others() {
        let find = |value: &str| base().find_in(value);
        assert_eq!(find("Shop <Bounces+abc@mail.shop.example>"), Some("Bounces+abc".to_owned()));
        assert_eq!(find("ann@example.com, bounces+a+b@other.example"), Some("bounces+a+b".to_owned()));
        assert_eq!(find("rfc822;bounces+abc@mail.shop.example"), Some("bounces+abc".to_owned()));
        for other in ["", "bounces@mail.shop.example", "xbounces+a@x", "bounces", "böunces+a@x", &format!("bounces+{}@x", "a".repeat(60))]
        {
            assert_eq!(find(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_message_is_found_again_and_no_changed_token_passes(
            digest in "[0-9a-f]{32,64}", at in 0..TOKEN, other in 0..31usize, capital in any::<bool>()
        ) {
            let address = base().address_for(&keys(), &format!("{digest}@shop.example"));
            prop_assert!(address.find('@').unwrap() <= MAX_LOCAL);
            prop_assert_eq!(Reference::read(&keys(), &address).unwrap().prefix(), &digest[..32]);
            let mut changed = address.into_bytes();
            let place = "bounces+".len() + at;
            let was = ALPHABET.iter().position(|known| *known == changed[place]).unwrap();
            changed[place] = ALPHABET[(was + 1 + other) % 32];
            if capital {
                changed[place].make_ascii_uppercase();
            }
            prop_assert!(Reference::read(&keys(), std::str::from_utf8(&changed).unwrap()).is_none());
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            prop_assert!(Reference::read(&keys(), &text).is_none());
            let _ = base().find_in(&text);
            let _ = ReturnPath::new(&text);
        }
    }
}
