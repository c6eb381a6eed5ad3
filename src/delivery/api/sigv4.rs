//! AWS Signature Version 4, in the `Authorization` header.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>; the vectors are those AWS publishes in
//! `awslabs/aws-c-auth`, `tests/aws-signing-test-suite/v4`.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::secret::Secret;

/// Whose signature it is, and for what.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) region: String,
    pub(super) service: String,
    pub(super) access_key_id: Secret,
    pub(super) secret_access_key: Secret,
    /// Goes with keys that are lent for a while.
    pub(super) session_token: Option<Secret>,
}

/// What is signed of a call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    /// As it travels, percents and all.
    pub(super) path: &'a str,
    /// As it travels, without `?`.
    pub(super) query: &'a str,
    pub(super) content_type: Option<&'a str>,
    pub(super) body: &'a [u8],
}

impl Key {
    /// The headers that go with a call, `Authorization` last. They are good for some minutes round `now`.
    pub(super) fn sign(&self, call: &Call<'_>, now: DateTime<Utc>) -> Vec<(&'static str, String)> {
        let (time, day) = (now.format("%Y%m%dT%H%M%SZ").to_string(), now.format("%Y%m%d").to_string());
        let token = self.session_token.as_ref().map(|token| token.reveal().to_owned());
        // By name, as the canonical form wants them.
        let signed: Vec<(&str, &str)> = [
            ("content-type", call.content_type),
            ("host", Some(call.host)),
            ("x-amz-date", Some(time.as_str())),
            ("x-amz-security-token", token.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
        let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let headers: String = signed.iter().map(|(name, value)| format!("{name}:{}\n", squeezed(value))).collect();
        let canonical = [
            call.method,
            &escaped(call.path.as_bytes(), b"/"),
            &canonical_query(call.query),
            &headers,
            &names,
            &hex::encode(Sha256::digest(call.body)),
        ]
        .join("\n");
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let signature = hex::encode(hmac(&self.day_key(&day), text.as_bytes()));
        let id = self.access_key_id.reveal();
        let authorization = format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        let token = token.map(|token| ("x-amz-security-token", token));
        [("x-amz-date", time)].into_iter().chain(token).chain([("authorization", authorization)]).collect()
    }

    fn day_key(&self, day: &str) -> [u8; 32] {
        let first = hmac(format!("AWS4{}", self.secret_access_key.reveal()).as_bytes(), day.as_bytes());
        [self.region.as_str(), &self.service, "aws4_request"].iter().fold(first, |key, part| hmac(&key, part.as_bytes()))
    }
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    #[allow(clippy::expect_used)] // HMAC takes a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// A header's value with its blanks squeezed.
fn squeezed(value: &str) -> String {
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Everything but letters, digits, `-._~` and `but` in percents. A path that has percents already gets them a second time: every service
/// but S3 wants it so.
pub(super) fn escaped(bytes: &[u8], but: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || but.contains(byte);
    bytes.iter().map(|byte| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A query's pairs by name and value, as they travel: what is put into an address is escaped already.
fn canonical_query(query: &str) -> String {
    let pair = |pair: &str| pair.split_once('=').map_or_else(|| format!("{pair}="), |_| pair.to_owned());
    let mut pairs: Vec<String> = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
    pairs.sort_by(|one, other| one.split('=').cmp(other.split('=')));
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(service: &str, token: Option<&str>) -> Key {
        Key {
            region: "us-east-1".into(),
            service: service.into(),
            access_key_id: Secret::new("AKIDEXAMPLE"),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: token.map(Secret::new),
        }
    }

    fn signature(key: &Key, call: &Call<'_>) -> String {
        let headers = key.sign(call, "2015-08-30T12:36:00Z".parse().unwrap());
        assert_eq!(headers[0], ("x-amz-date", "20150830T123600Z".to_owned()));
        headers.last().unwrap().1.clone()
    }

    fn get<'a>(path: &'a str, query: &'a str) -> Call<'a> {
        Call { method: "GET", host: "example.amazonaws.com", path, query, content_type: None, body: b"" }
    }

    #[test]
    fn the_published_vectors_are_met() {
        let suite = key("service", None);
        for (name, call, expected) in [
            ("get-vanilla", get("/", ""), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            (
                "get-vanilla-query-order-key-case",
                get("/", "Param2=value2&Param1=value1"),
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            ("get-utf8", get("/ሴ", ""), "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
            ("post-vanilla", Call { method: "POST", ..get("/", "") }, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ] {
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, \
                 Signature={expected}"
            );
            assert_eq!(signature(&suite, &call), expected, "{name}");
        }
    }

    #[test]
    fn a_session_token_is_signed_and_sent() {
        let token = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
        let key = key("service", Some(token));
        assert_eq!(
            signature(&key, &get("/", "")),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-security-token, \
             Signature=07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"
        );
        assert_eq!(key.sign(&get("/", ""), Utc::now())[1], ("x-amz-security-token", token.to_owned()));
    }

    #[test]
    fn the_documented_walk_through_is_met() {
        // "Create a signed AWS API request" in the IAM User Guide: `ListUsers`.
        let call = Call {
            host: "iam.amazonaws.com",
            content_type: Some("application/x-www-form-urlencoded; charset=utf-8"),
            ..get("/", "Action=ListUsers&Version=2010-05-08")
        };
        let signature = signature(&key("iam", None), &call);
        assert!(signature.ends_with("Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"), "{signature}");
    }

    #[test]
    fn paths_are_escaped_again_and_queries_ordered() {
        assert_eq!(escaped(b"/a%20b/c", b"/"), "/a%2520b/c");
        assert_eq!(canonical_query("b=%20x&a-b=1&a=y&a=1%2F2&c"), "a=1%2F2&a=y&a-b=1&b=%20x&c=");
    }

    #[test]
    fn the_key_never_prints() {
        assert!(!format!("{:?}", key("ses", Some("lent"))).contains("wJal"));
    }
}
