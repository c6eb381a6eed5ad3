//! Twilio SendGrid's Event Webhook, signed: batches of events, each with an id that stays.
//!
//! | `event` | is |
//! |---|---|
//! | `delivered` | delivered |
//! | `bounce` | bounced; hard as below |
//! | `deferred` | deferred |
//! | `dropped` for `Bounced Address`, `Invalid` | bounced, hard |
//! | `dropped` for `Unsubscribed Address`, `Spam Reporting Address` | unsubscribed |
//! | `dropped` otherwise | rejected |
//! | `spamreport` | complained |
//! | `unsubscribe`, `group_unsubscribe` | unsubscribed |
//! | `processed`, `open`, `click`, `group_resubscribe`, `account_status_change` | not ours |
//!
//! A bounce of `type` `blocked` is never hard. Of the others those are that SendGrid classifies as `Invalid Address`, or whose status means
//! a dead address, or of which neither class nor status says anything: SendGrid itself takes them for permanent.
//!
//! A message that bounces later than its own session comes back without `unique_args` and ids; only the address tells whose it was.
//!
//! Sources: twilio.com/docs/sendgrid/for-developers/tracking-events/event and …/getting-started-event-webhook-security-features.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{
    Call, Reading, Refused,
    event::{Ignored, Kind, PERENNIAL_ID, ProviderEvent, Told, dead, moment, text},
};

const SIGNATURE: &str = "x-twilio-email-event-webhook-signature";
const TIMESTAMP: &str = "x-twilio-email-event-webhook-timestamp";

/// The calls of one SendGrid account.
#[derive(Debug)]
pub(crate) struct SendGrid {
    key: ParsedPublicKey,
}

impl SendGrid {
    /// Takes the verification key as SendGrid shows it, base64 of a `SubjectPublicKeyInfo`; `None` where it is no key of the curve P-256.
    pub(crate) fn new(public_key: &str) -> Option<Self> {
        let der = STANDARD.decode(public_key.trim()).ok()?;
        ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, der).ok().map(|key| Self { key })
    }

    /// Reads a call, or refuses it.
    pub(crate) fn read(&self, call: &Call<'_>) -> Result<Reading, Refused> {
        let signed_at = self.verify(call)?;
        let Value::Array(events) = call.json()? else { return Err(Refused::Malformed("it is no array of events")) };
        Ok(events.iter().map(|one| event(one, signed_at)).collect())
    }

    fn verify(&self, call: &Call<'_>) -> Result<DateTime<Utc>, Refused> {
        let (Some(signature), Some(timestamp)) = (call.header(SIGNATURE), call.header(TIMESTAMP)) else { return Err(Refused::Signature) };
        let signature = STANDARD.decode(signature).map_err(|_| Refused::Signature)?;
        let signed = [timestamp.as_bytes(), call.body].concat();
        self.key.verify_sig(&signed, &signature).map_err(|_| Refused::Signature)?;
        call.signed_at(timestamp)
    }
}

fn event(one: &Value, signed_at: DateTime<Utc>) -> Result<ProviderEvent, Ignored> {
    let name = text(one, "/event").ok_or(Ignored::Malformed("it has no `event`"))?;
    let kind = match name {
        "delivered" => Kind::Delivered,
        "bounce" => Kind::Bounced { hard: is_hard(one) },
        "deferred" => Kind::Deferred,
        "dropped" => match text(one, "/reason") {
            Some("Bounced Address" | "Invalid") => Kind::Bounced { hard: true },
            Some("Unsubscribed Address" | "Spam Reporting Address") => Kind::Unsubscribed,
            _ => Kind::Rejected,
        },
        "spamreport" => Kind::Complained,
        "unsubscribe" | "group_unsubscribe" => Kind::Unsubscribed,
        "processed" | "open" | "click" | "group_resubscribe" | "account_status_change" => return Err(Ignored::not_ours(name)),
        _ => return Err(Ignored::unknown(name)),
    };
    let told = Told {
        provider: "sendgrid",
        id: text(one, "/sg_event_id").map(str::to_owned),
        part: None,
        whole: one,
        at: moment(one, "/timestamp"),
        kind,
        message_id: text(one, &format!("/{PERENNIAL_ID}")).or_else(|| text(one, "/smtp-id")),
        recipient: text(one, "/email"),
        detail: text(one, "/reason").or_else(|| text(one, "/response")),
    };
    told.read(signed_at)
}

fn is_hard(bounce: &Value) -> bool {
    if text(bounce, "/type") == Some("blocked") {
        return false;
    }
    match (text(bounce, "/bounce_classification"), text(bounce, "/status").and_then(dead)) {
        (Some("Invalid Address"), _) => true,
        (_, Some(dead)) => dead,
        (None | Some("Unclassified"), None) => true,
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::{AsDer as _, PublicKeyX509Der},
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
    };
    use chrono::TimeDelta;
    use serde_json::json;

    use super::{
        super::tests::{headers, now},
        *,
    };

    fn key() -> (EcdsaKeyPair, SendGrid) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let provider = SendGrid::new(&STANDARD.encode(public.as_ref())).unwrap();
        (pair, provider)
    }

    fn call(pair: &EcdsaKeyPair, provider: &SendGrid, at: DateTime<Utc>, body: &str, sent: &str) -> Result<Reading, Refused> {
        let timestamp = at.timestamp().to_string();
        let signature = pair.sign(&SystemRandom::new(), format!("{timestamp}{body}").as_bytes()).unwrap();
        let headers = headers(&[(SIGNATURE, &STANDARD.encode(signature)), (TIMESTAMP, &timestamp)]);
        provider.read(&Call { headers: &headers, body: sent.as_bytes(), now: now() })
    }

    fn read(body: &Value) -> Reading {
        let (pair, provider) = key();
        call(&pair, &provider, now(), &body.to_string(), &body.to_string()).unwrap()
    }

    fn kind(fields: Value) -> Result<Kind, Ignored> {
        let mut one = json!({ "email": "example@test.com", "timestamp": 1_513_299_569, "sg_event_id": "e", "smtp-id": "<m@x>" });
        one.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        event(&one, now()).map(|event| event.kind)
    }

    #[test]
    fn the_vector_of_sendgrids_own_library_is_met() {
        // sendgrid/sendgrid-python, test/unit/test_eventwebhook.py
        let key =
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
        let signature = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=";
        let body = concat!(
            r#"[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address","#,
            r#""sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA","#,
            r#""sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0","#,
            r#""smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]"#,
            "\r\n"
        );
        let provider = SendGrid::new(key).unwrap();
        let headers = headers(&[(SIGNATURE, signature), (TIMESTAMP, "1600112502")]);
        let now = DateTime::from_timestamp(1_600_112_502, 0).unwrap();
        let reading = provider.read(&Call { headers: &headers, body: body.as_bytes(), now }).unwrap();
        assert_eq!(
            reading.events,
            [ProviderEvent {
                event_id: "sendgrid:ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA".to_owned(),
                at: DateTime::from_timestamp(1_600_112_492, 0).unwrap(),
                kind: Kind::Bounced { hard: true },
                message_id: Some("LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net".to_owned()),
                recipient: Some("hello@world.com".to_owned()),
                detail: Some("Bounced Address".to_owned()),
            }]
        );
        let without_end = &body.as_bytes()[..body.len() - 2];
        assert_eq!(provider.read(&Call { headers: &headers, body: without_end, now }), Err(Refused::Signature));
    }

    #[test]
    fn only_the_signed_body_at_the_signed_time_passes() {
        let (pair, provider) = key();
        let try_at = |at, sent| call(&pair, &provider, at, "[]", sent);
        assert_eq!(try_at(now(), "[]"), Ok(Reading::default()));
        assert_eq!(try_at(now(), "[ ]"), Err(Refused::Signature));
        assert_eq!(call(&key().0, &provider, now(), "[]", "[]"), Err(Refused::Signature));
        for (seconds, expected) in [(-301, false), (-300, true), (300, true), (301, false)] {
            let read = try_at(now() + TimeDelta::seconds(seconds), "[]");
            assert_eq!(read, if expected { Ok(Reading::default()) } else { Err(Refused::Stale) }, "{seconds}");
        }
        for unsigned in
            [headers(&[]), headers(&[(TIMESTAMP, "1")]), headers(&[(SIGNATURE, "AA=="), (TIMESTAMP, "1")]), headers(&[(SIGNATURE, "?")])]
        {
            assert_eq!(provider.read(&Call { headers: &unsigned, body: b"[]", now: now() }), Err(Refused::Signature));
        }
        assert_eq!(call(&pair, &provider, now(), "{}", "{}"), Err(Refused::Malformed("it is no array of events")));
        assert_eq!(call(&pair, &provider, now(), "[", "["), Err(Refused::Malformed("its body is no JSON")));
    }

    #[test]
    fn only_a_key_of_p_256_is_taken() {
        let p384 = EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
        let public: PublicKeyX509Der<'_> = p384.public_key().as_der().unwrap();
        assert!(SendGrid::new(&STANDARD.encode(public.as_ref())).is_none());
        for text in ["", "MFkw", "not base64"] {
            assert!(SendGrid::new(text).is_none(), "{text}");
        }
    }

    #[test]
    fn every_documented_event_is_read() {
        let ours = |event: &str| kind(json!({ "event": event }));
        assert_eq!(ours("delivered"), Ok(Kind::Delivered));
        assert_eq!(ours("deferred"), Ok(Kind::Deferred));
        assert_eq!(ours("spamreport"), Ok(Kind::Complained));
        assert_eq!(ours("unsubscribe"), Ok(Kind::Unsubscribed));
        assert_eq!(ours("group_unsubscribe"), Ok(Kind::Unsubscribed));
        for event in ["processed", "open", "click", "group_resubscribe", "account_status_change"] {
            assert_eq!(ours(event), Err(Ignored::NotOurs(event.to_owned())));
        }
        assert_eq!(ours("cannonball"), Err(Ignored::Unknown("cannonball".to_owned())));
        let dropped = |reason: &str| kind(json!({ "event": "dropped", "reason": reason, "status": "5.0.0" })).unwrap();
        assert_eq!(dropped("Bounced Address"), Kind::Bounced { hard: true });
        assert_eq!(dropped("Invalid"), Kind::Bounced { hard: true });
        assert_eq!(dropped("Unsubscribed Address"), Kind::Unsubscribed);
        assert_eq!(dropped("Spam Reporting Address"), Kind::Unsubscribed);
        for reason in ["Invalid SMTPAPI header", "Spam Content (if Spam Checker app is enabled)", "Recipient List over Package Quota", ""] {
            assert_eq!(dropped(reason), Kind::Rejected, "{reason}");
        }
    }

    #[test]
    fn a_bounce_is_hard_where_the_address_is_dead() {
        let bounce = |kind_of: &str, class: Option<&str>, status: &str| {
            let mut fields = json!({ "event": "bounce", "type": kind_of, "status": status, "reason": "500 unknown recipient" });
            fields["bounce_classification"] = json!(class);
            kind(fields)
        };
        for (kind_of, class, status, hard) in [
            // The reference's own two examples.
            ("bounce", None, "5.0.0", true),
            ("blocked", None, "5.0.0", false),
            ("blocked", None, "5.1.1", false),
            ("bounce", None, "5.1.1", true),
            ("bounce", Some("Invalid Address"), "5.1.1", true),
            ("bounce", Some("Invalid Address"), "5.7.1", true),
            ("bounce", Some("Unclassified"), "", true),
            ("bounce", Some("Mailbox Unavailable"), "5.2.2", false),
            ("bounce", Some("Mailbox Unavailable"), "5.2.1", true),
            ("bounce", Some("Reputation"), "5.0.0", false),
            ("bounce", Some("Content"), "5.7.1", false),
            ("bounce", Some("Technical Failure"), "5.4.4", true),
        ] {
            assert_eq!(bounce(kind_of, class, status), Ok(Kind::Bounced { hard }), "{kind_of} {class:?} {status}");
        }
    }

    #[test]
    fn our_own_id_goes_before_sendgrids() {
        let body = json!([
            { "email": "a@x.example", "event": "delivered", "sg_event_id": "1", "smtp-id": "<x@ismtpd>", "perennial_id": "0a@x.example" },
            { "email": "a@example.com", "event": "bounce", "sg_event_id": "2", "timestamp": 1, "smtp-id": "" },
        ]);
        let ids: Vec<_> = read(&body).events.into_iter().map(|event| event.message_id).collect();
        assert_eq!(ids, [Some("0a@x.example".to_owned()), None]);
    }

    #[test]
    fn one_broken_event_takes_no_other_with_it() {
        let good = json!({ "email": "a@example.com", "event": "delivered", "sg_event_id": "1", "timestamp": 1_513_299_569 });
        let body = json!([good, null, 7, "x", [], {}, { "event": 5 }, { "event": "bounce" }, { "event": "brunch" }, good]);
        let reading = read(&body);
        assert_eq!((reading.events.len(), reading.ignored.len()), (2, 8));
        assert_eq!(reading.events[0], reading.events[1]);
        let untimed = json!([{ "email": "a@example.com", "event": "delivered", "sg_event_id": "1", "timestamp": "soon" }]);
        assert_eq!(read(&untimed).events[0].at, now());
    }
}
