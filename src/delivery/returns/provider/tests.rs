//! What holds for every provider, whatever is sent.

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use proptest::prelude::*;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::json;
use sha2::Sha256;

use super::{
    sns::tests::{Amazon, TOPIC, notification},
    *,
};
use crate::secret::Secret;

pub(super) fn now() -> DateTime<Utc> {
    "2026-11-22T01:00:00Z".parse().unwrap()
}

pub(super) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())).collect()
}

const WHSEC: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Every provider, and how to prove any body to it.
struct House {
    sendgrid: EcdsaKeyPair,
    amazon: Amazon,
    providers: Vec<Provider>,
}

impl House {
    fn new() -> Self {
        let sendgrid = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let public: PublicKeyX509Der<'_> = sendgrid.public_key().as_der().unwrap();
        let providers = vec![
            Provider::SendGrid(SendGrid::new(&STANDARD.encode(public.as_ref())).unwrap()),
            Provider::Ses(Ses::new(TOPIC).unwrap()),
            Provider::Mailgun(Mailgun::new(&Secret::new("key")).unwrap()),
            Provider::Postmark(Postmark::new("u", &Secret::new("p")).unwrap()),
            Provider::Standard(Standard::new(&Secret::new(WHSEC)).unwrap()),
        ];
        Self { sendgrid, amazon: Amazon::new(), providers }
    }

    /// A call that proves itself, around `content`.
    fn proven(&self, provider: &Provider, content: &str) -> (HeaderMap, String) {
        let timestamp = now().timestamp().to_string();
        let mac = |key: &[u8], text: String| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
            mac.update(text.as_bytes());
            mac.finalize().into_bytes()
        };
        match provider {
            Provider::SendGrid(_) => {
                let signature = self.sendgrid.sign(&SystemRandom::new(), format!("{timestamp}{content}").as_bytes()).unwrap();
                let names = ["x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp"];
                (headers(&[(names[0], &STANDARD.encode(signature)), (names[1], &timestamp)]), content.to_owned())
            }
            Provider::Ses(_) => (HeaderMap::new(), self.amazon.sign(notification(content)).to_string()),
            Provider::Mailgun(_) => {
                let signature = hex::encode(mac(b"key", format!("{timestamp}t")));
                let signature = json!({ "timestamp": timestamp, "token": "t", "signature": signature });
                (HeaderMap::new(), format!("{{\"signature\":{signature},\"event-data\":{content}}}"))
            }
            Provider::Postmark(_) => (headers(&[("authorization", &format!("Basic {}", STANDARD.encode("u:p")))]), content.to_owned()),
            Provider::Standard(_) => {
                let signature = mac(&STANDARD.decode(WHSEC).unwrap(), format!("m.{timestamp}.{content}"));
                let signature = format!("v1,{}", STANDARD.encode(signature));
                let pairs = [("webhook-id", "m"), ("webhook-timestamp", &timestamp), ("webhook-signature", &signature)];
                (headers(&pairs), content.to_owned())
            }
        }
    }

    fn read(&self, provider: &Provider, headers: &HeaderMap, body: &[u8]) -> Result<Reading, Refused> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(provider.read(&Call { headers, body, now: now() }, &self.amazon))
    }
}

/// What each provider sends, in short.
fn contents() -> [Value; 5] {
    [
        json!([
            {
                "event": "bounce", "email": "ann@example.com", "timestamp": 1_513_299_569, "sg_event_id": "e1", "smtp-id": "<0a@x.example>",
                "perennial_id": "0a", "type": "bounce", "status": "5.1.1", "bounce_classification": "Unclassified",
                "reason": "500 <ann@example.com>"
            },
            { "event": "dropped", "email": "bob@example.com", "timestamp": 1_513_299_569, "sg_event_id": "e2", "reason": "Invalid" },
        ]),
        json!({
            "eventType": "Bounce",
            "bounce": {
                "bounceType": "Permanent", "bounceSubType": "General", "timestamp": "2017-08-05T00:41:02.669Z", "feedbackId": "f1",
                "bouncedRecipients": [
                    { "emailAddress": "ann@example.com", "action": "failed", "status": "5.1.1", "diagnosticCode": "550 <ann@example.com>" },
                    { "emailAddress": "Bob <bob@example.com>" },
                ]
            },
            "mail": {
                "messageId": "0100-0", "headers": [{ "name": "Message-ID", "value": "<0a@x.example>" }], "tags": { "perennial_id": ["0a"] },
                "commonHeaders": { "messageId": "0a@x.example" }, "destination": ["ann@example.com"]
            }
        }),
        json!({
            "event": "failed", "severity": "permanent", "reason": "bounce", "id": "i1", "timestamp": 1_770_146_431.6,
            "recipient": "ann@example.com", "user-variables": { "perennial_id": "0a" },
            "message": { "headers": { "message-id": "0a@x.example", "to": "ann@example.com" } },
            "delivery-status": { "code": 550, "enhanced-code": "5.1.1", "message": "no <ann@example.com>", "bounce-type": "hard" }
        }),
        json!({
            "RecordType": "Bounce", "Type": "HardBounce", "ID": 42, "Email": "ann@example.com", "Metadata": { "perennial_id": "0a" },
            "BouncedAt": "2016-04-27T16:28:50.3963933-04:00", "Details": "550 <ann@example.com>", "SuppressSending": true
        }),
        json!([
            { "type": "bounced", "message_id": "0a", "recipient": "ann@example.com", "at": "2026-11-22T01:00:00Z", "hard": true },
            { "type": "unsubscribed", "recipient": "ann@example.com" },
        ]),
    ]
}

/// A value of any type and any depth where another is expected.
fn anything() -> impl Strategy<Value = Value> {
    let words =
        "Bounce Complaint Delivery Subscription SubscriptionChange failed dropped complained 5.1.1 <> @ ann@example.com \u{0} \u{202e}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(words.split(' ').collect::<Vec<_>>()).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..3).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Every value within a value.
fn places(value: &Value, here: String, all: &mut Vec<String>) {
    match value {
        Value::Array(values) => values.iter().enumerate().for_each(|(number, value)| places(value, format!("{here}/{number}"), all)),
        Value::Object(values) => values.iter().for_each(|(name, value)| places(value, format!("{here}/{name}"), all)),
        _ => {}
    }
    all.push(here);
}

fn is_sound(reading: &Reading) -> bool {
    reading.events.iter().all(|event| {
        event.event_id.bytes().all(|byte| byte.is_ascii_graphic())
            && event.event_id.len() < 200
            && !event.event_id.contains('@')
            && (event.message_id.is_some() || event.recipient.is_some())
            && event.detail.iter().all(|detail| detail.chars().count() <= 200 && !detail.contains(['@', '\n', '\r']))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_prove_nothing_and_break_nothing(
        body in prop::collection::vec(any::<u8>(), 0..400),
        names in prop::collection::vec((prop::sample::select(vec![
            "x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp", "authorization", "webhook-id",
            "webhook-timestamp", "webhook-signature", "x-amz-sns-rawdelivery",
        ]), prop::collection::vec(32u8.., 0..40)), 0..8),
    ) {
        thread_local!(static HOUSE: House = House::new());
        HOUSE.with(|house| {
            let pair = |(name, value): &(&str, Vec<u8>)| Some((HeaderName::try_from(*name).ok()?, HeaderValue::from_bytes(value).ok()?));
            let headers = names.iter().filter_map(pair).collect();
            for provider in &house.providers {
                assert!(house.read(provider, &headers, &body).is_err(), "{provider:?}");
            }
        });
    }

    #[test]
    fn whatever_a_proven_call_holds_is_read_or_listed(
        which in 0..5usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), anything()), 0..4),
    ) {
        let mut content = contents()[which].clone();
        for (place, value) in changes {
            let mut all = Vec::new();
            places(&content, String::new(), &mut all);
            // A name with a slash in it leads nowhere.
            if let Some(slot) = content.pointer_mut(place.get::<String>(&all)) {
                *slot = value;
            }
        }
        thread_local!(static HOUSE: House = House::new());
        HOUSE.with(|house| {
            for provider in &house.providers {
                let (headers, body) = house.proven(provider, &content.to_string());
                match house.read(provider, &headers, body.as_bytes()) {
                    Ok(reading) => {
                        assert!(is_sound(&reading), "{reading:?}");
                        assert_eq!(Ok(reading), house.read(provider, &headers, body.as_bytes()), "told again");
                    }
                    Err(refused) => assert!(matches!(refused, Refused::Malformed(_)), "{provider:?}: {refused}"),
                }
            }
        });
    }

    #[test]
    fn a_proven_call_with_one_byte_changed_is_no_longer_proven(place in any::<prop::sample::Index>(), bit in 0u32..7) {
        thread_local!(static HOUSE: House = House::new());
        HOUSE.with(|house| {
            let content = json!([{ "event": "delivered", "email": "a@x.example", "type": "delivered", "recipient": "a@x.example" }]);
            // Mailgun signs no body, Postmark nothing at all; of an SNS message some fields are not signed.
            for provider in house.providers.iter().filter(|provider| matches!(provider, Provider::SendGrid(_) | Provider::Standard(_))) {
                let (headers, body) = house.proven(provider, &content.to_string());
                assert_eq!(house.read(provider, &headers, body.as_bytes()).unwrap().events.len(), 1);
                let mut body = body.into_bytes();
                let place = place.index(body.len());
                body[place] ^= 1 << bit;
                assert_eq!(house.read(provider, &headers, &body), Err(Refused::Signature));
            }
        });
    }
}

#[test]
fn what_each_provider_sends_is_read_by_its_own() {
    let house = House::new();
    for (provider, content) in house.providers.iter().zip(contents()) {
        let (headers, body) = house.proven(provider, &content.to_string());
        let reading = house.read(provider, &headers, body.as_bytes()).unwrap();
        assert!(is_sound(&reading) && reading.ignored.is_empty(), "{reading:?}");
        let first = &reading.events[0];
        assert_eq!((first.kind, first.message_id.as_deref()), (Kind::Bounced { hard: true }, Some("0a")), "{provider:?}");
        assert_eq!(reading.replay.is_some(), matches!(provider, Provider::Mailgun(_)));
    }
}

#[test]
fn no_refusal_tells_a_secret_or_an_address() {
    let house = House::new();
    for provider in &house.providers {
        let shown = format!("{provider:?}");
        assert!(!shown.contains(WHSEC) && !shown.contains("u:p") && !shown.contains("\"key\""), "{shown}");
    }
    for refused in [
        Refused::Signature,
        Refused::Stale,
        Refused::Malformed("x"),
        Refused::WrongTopic,
        Refused::OldSignature,
        Refused::ForeignCertificate,
        Refused::Certificate("x".to_owned()),
    ] {
        let told = refused.to_string();
        assert!(!told.contains('@') && told.chars().next().is_some_and(char::is_lowercase), "{told}");
    }
}
