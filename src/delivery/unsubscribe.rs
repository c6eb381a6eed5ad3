//! The link that makes it stop. It works for ever, from any message ever sent, and says nothing about a person but their id.
//!
//! A token is `k1.<claim>.<mac>`, both base64url without padding: the claim a JSON array of customer, campaign, message and channel, the
//! mac the first 16 bytes of an HMAC under the key the leading key id names. Tokens of a retired key verify as long as its id is known.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq as _;

use crate::{
    ledger::{CustomerId, OptOut},
    secret::Keys,
};

/// The key new tokens are made with, and the label it is derived by.
const KEY_ID: &str = "k1";
const KEYS: [(&str, &str); 1] = [(KEY_ID, "unsubscribe.k1")];
const MAC_BYTES: usize = 16;
/// Longer than any token of ours; what is longer is not looked at.
const MAX_LENGTH: usize = 2_048;

/// What a token says: who asks not to be written to, on which channel, and what message they answer.
pub type Claim = OptOut;

/// The unsubscribe token of one message.
#[derive(Debug)]
pub struct Token;

impl Token {
    /// Makes the token for a message.
    #[must_use]
    pub fn issue(keys: &Keys, customer: &CustomerId, campaign: &str, message_id: &str, channel: &str) -> String {
        #[allow(clippy::expect_used)] // Texts are always JSON.
        let claim = serde_json::to_string(&[customer.as_str(), campaign, message_id, channel]).expect("texts are JSON");
        let mac = mac(keys, KEYS[0].1, claim.as_bytes());
        [KEY_ID, ".", &URL_SAFE_NO_PAD.encode(&claim), ".", &URL_SAFE_NO_PAD.encode(mac)].concat()
    }

    /// Reads a token back; `None` where it is not one of ours, whole and unchanged.
    #[must_use]
    pub fn verify(keys: &Keys, text: &str) -> Option<Claim> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let mut parts = text.split('.');
        let (key, claim, given) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let label = KEYS.iter().find(|(id, _)| *id == key)?.1;
        let claim = URL_SAFE_NO_PAD.decode(claim).ok()?;
        let given = URL_SAFE_NO_PAD.decode(given).ok()?;
        if !bool::from(mac(keys, label, &claim).as_slice().ct_eq(&given)) {
            return None;
        }
        let (customer, campaign, message_id, channel): (String, String, String, String) = serde_json::from_slice(&claim).ok()?;
        Some(Claim { customer_id: CustomerId::new(customer), campaign, message_id, channel })
    }

    /// The link for a token, below the address the program's server is reached at.
    #[must_use]
    pub fn url(public_url: &str, token: &str) -> String {
        format!("{}/u/{token}", public_url.trim_end_matches('/'))
    }
}

fn mac(keys: &Keys, label: &'static str, claim: &[u8]) -> [u8; MAC_BYTES] {
    let whole = keys.mac(label, &[claim]);
    let mut first = [0; MAC_BYTES];
    first.copy_from_slice(&whole[..MAC_BYTES]);
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn keys() -> Keys {
        Keys::new(Secret::new("a master key"))
    }

    fn token() -> String {
        Token::issue(&keys(), &CustomerId::new("crm:17"), "win-back", "0a@fernwood.example", "email")
    }

    #[test]
    fn a_token_reads_back() {
        let claim = Token::verify(&keys(), &token()).unwrap();
        assert_eq!(
            (claim.customer_id.as_str(), claim.campaign.as_str(), claim.message_id.as_str(), claim.channel.as_str()),
            ("crm:17", "win-back", "0a@fernwood.example", "email")
        );
        assert!(token().chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)), "{}", token());
        assert_eq!(Token::url("https://hello.example/", "t"), "https://hello.example/u/t");
    }

    #[test]
    fn a_token_made_today_is_the_one_made_years_ago() {
        // Links in old inboxes must go on working: this text may never change.
        assert_eq!(token(), "k1.WyJjcm06MTciLCJ3aW4tYmFjayIsIjBhQGZlcm53b29kLmV4YW1wbGUiLCJlbWFpbCJd.YLpFcQdjHoPp18y12HSP0Q");
        assert!(Token::verify(&keys(), &token()).is_some());
    }

    #[test]
    fn no_changed_token_passes() {
        let token = token();
        for position in 0..token.len() {
            for replacement in ["A", "b", "0", ".", "-", "", "é"] {
                let mut changed = token.clone();
                changed.replace_range(position..=position, replacement);
                // The last character of a base64 text may carry bits that are not part of the value; those texts are refused too.
                if changed != token {
                    assert!(Token::verify(&keys(), &changed).is_none(), "{changed}");
                }
            }
        }
        assert!(Token::verify(&Keys::new(Secret::new("another")), &token).is_none());
        for text in ["", ".", "..", "k1..", "k2.e30.e30", &"a".repeat(1 << 20)] {
            assert!(Token::verify(&keys(), text).is_none());
        }
    }
}
