//! Assertions (RFC 7523): who asks for a token, and on whose behalf, signed with a private key that stays here.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::secret::Secret;

/// How long one is good for. Salesforce allows three minutes, and clocks differ.
const GOOD_FOR: TimeDelta = TimeDelta::seconds(120);

/// How it is signed (RFC 7518).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Algorithm {
    /// RSA with SHA-256.
    #[default]
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on the curve P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
}

/// What is signed anew for every token.
#[derive(Clone)]
pub(crate) struct Assertion {
    key: Arc<Key>,
    header: Value,
    claims: Map<String, Value>,
}

enum Key {
    Rsa(rsa::KeyPair),
    Ec(EcdsaKeyPair),
}

// By hand: claims may hold what the settings call a secret.
impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Assertion(••••)")
    }
}

impl Assertion {
    /// An assertion of `claims`, signed with the private key in `pem`; `Err` says what is wrong with the key.
    pub(crate) fn new(
        pem: &Secret,
        algorithm: Algorithm,
        key_id: Option<&String>,
        claims: Map<String, Value>,
    ) -> Result<Self, &'static str> {
        let key = Key::read(pem.reveal(), algorithm)?;
        let name = if algorithm == Algorithm::Rs256 { "RS256" } else { "ES256" };
        let mut header = json!({"alg": name, "typ": "JWT"});
        if let Some(id) = key_id {
            header["kid"] = Value::from(id.as_str());
        }
        Ok(Self { key: Arc::new(key), header, claims })
    }

    /// It, as it is sent at `now`; `None` where the machine gives no random numbers.
    pub(crate) fn signed(&self, now: DateTime<Utc>) -> Option<Secret> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).ok()?;
        let mut claims = self.claims.clone();
        claims.insert("iat".to_owned(), now.timestamp().into());
        claims.insert("exp".to_owned(), (now + GOOD_FOR).timestamp().into());
        claims.insert("jti".to_owned(), hex::encode(id).into());
        let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let said = format!("{}.{}", part(self.header.to_string().as_bytes()), part(Value::Object(claims).to_string().as_bytes()));
        Some(Secret::new(format!("{said}.{}", part(&self.key.sign(said.as_bytes())?))))
    }
}

impl Key {
    fn read(pem: &str, algorithm: Algorithm) -> Result<Self, &'static str> {
        // Environment variables and JSON documents often hold the line breaks in two letters.
        let pem = pem.replace("\\n", "\n");
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(
            |_| "is no private key in PEM, from `-----BEGIN PRIVATE KEY-----` to `-----END PRIVATE KEY-----`, without a password",
        )?;
        let read = match (algorithm, &der) {
            (Algorithm::Rs256, PrivateKeyDer::Pkcs8(der)) => rsa::KeyPair::from_pkcs8(der.secret_pkcs8_der()).map(Self::Rsa),
            (Algorithm::Rs256, PrivateKeyDer::Pkcs1(der)) => rsa::KeyPair::from_der(der.secret_pkcs1_der()).map(Self::Rsa),
            (Algorithm::Es256, PrivateKeyDer::Pkcs8(_) | PrivateKeyDer::Sec1(_)) => {
                EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der()).map(Self::Ec)
            }
            _ => return Err("is of another kind than its `algorithm`: RS256 takes RSA keys, ES256 those of the curve P-256"),
        };
        read.map_err(
            |_| "is damaged, too short, or of another kind than its `algorithm`: RS256 takes RSA keys, ES256 those of the curve P-256",
        )
    }

    fn sign(&self, said: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, said, &mut signature).ok()?;
                Some(signature)
            }
            Self::Ec(key) => Some(key.sign(&random, said).ok()?.as_ref().to_vec()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::{
        encoding::{AsDer, Pkcs8V1Der},
        signature::{ECDSA_P256_SHA256_FIXED, KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm},
    };
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    fn pem(label: &str, der: &[u8]) -> Secret {
        Secret::new(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----", BASE64_STANDARD.encode(der)))
    }

    /// A new RSA key: in PEM, and its public half.
    pub(crate) fn rsa_key() -> (Secret, Vec<u8>) {
        let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        (pem("PRIVATE KEY", der.as_ref()), pair.public_key().as_ref().to_vec())
    }

    /// The claims of an assertion whose signature is good.
    pub(crate) fn claims(sent: &str, public: &[u8]) -> Option<Value> {
        opened(sent, &RSA_PKCS1_2048_8192_SHA256, public).map(|(_, claims)| claims)
    }

    fn opened(sent: &str, algorithm: &'static dyn VerificationAlgorithm, public: &[u8]) -> Option<(Value, Value)> {
        let (said, signature) = sent.rsplit_once('.')?;
        let bytes = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        UnparsedPublicKey::new(algorithm, public).verify(said.as_bytes(), &bytes(signature)?).ok()?;
        let (header, claims) = said.split_once('.')?;
        Some((serde_json::from_slice(&bytes(header)?).ok()?, serde_json::from_slice(&bytes(claims)?).ok()?))
    }

    fn sample() -> Map<String, Value> {
        Map::from_iter([("iss".to_owned(), json!("me"))])
    }

    #[test]
    fn what_is_signed_is_verified_with_the_public_key_and_ends_soon() {
        let now: DateTime<Utc> = "2026-11-22T01:00:00Z".parse().unwrap();
        let (rsa, public) = rsa_key();
        // PKCS#8 wraps PKCS#1 in 26 bytes at this length.
        let der = BASE64_STANDARD.decode(rsa.reveal().lines().nth(1).unwrap()).unwrap();
        let in_one_line = Secret::new(rsa.reveal().replace('\n', "\\n"));
        for key in [rsa, pem("RSA PRIVATE KEY", &der[26..]), in_one_line] {
            let assertion = Assertion::new(&key, Algorithm::Rs256, Some(&"k1".to_owned()), sample()).unwrap();
            let sent = assertion.signed(now).unwrap();
            let (header, claims) = opened(sent.reveal(), &RSA_PKCS1_2048_8192_SHA256, &public).unwrap();
            assert_eq!(header, json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
            assert_eq!((&claims["iss"], &claims["iat"], &claims["exp"]), (&json!("me"), &json!(1_795_309_200), &json!(1_795_309_320)));
            assert_ne!(sent, assertion.signed(now).unwrap(), "no two are alike, so that none is taken for a repetition");
            assert!(opened(&sent.reveal().replacen('.', ".A", 1), &RSA_PKCS1_2048_8192_SHA256, &public).is_none());
            assert!(!format!("{assertion:?}").contains("me"));
        }
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let key = pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref());
        let sent = Assertion::new(&key, Algorithm::Es256, None, sample()).unwrap().signed(now).unwrap();
        let (header, _) = opened(sent.reveal(), &ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref()).unwrap();
        assert_eq!(header, json!({"alg": "ES256", "typ": "JWT"}));
    }

    #[test]
    fn a_key_that_cannot_sign_says_why() {
        let (rsa, _) = rsa_key();
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let ec = pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref());
        for (key, algorithm, words) in [
            (Secret::new("s3cret"), Algorithm::Rs256, "is no private key in PEM"),
            (pem("CERTIFICATE", b"x"), Algorithm::Rs256, "is no private key in PEM"),
            (pem("EC PRIVATE KEY", b"x"), Algorithm::Rs256, "is of another kind than its `algorithm`"),
            (pem("PRIVATE KEY", b"x"), Algorithm::Rs256, "is damaged, too short"),
            (rsa, Algorithm::Es256, "of another kind than its `algorithm`"),
            (ec, Algorithm::Rs256, "of another kind than its `algorithm`"),
        ] {
            let error = Assertion::new(&key, algorithm, None, sample()).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
