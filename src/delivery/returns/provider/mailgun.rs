//! Mailgun's webhooks: one event a call, its proof inside its body.
//!
//! | `event` | is |
//! |---|---|
//! | `delivered` | delivered |
//! | `failed`, `temporary` | deferred |
//! | `failed`, `permanent`, for `suppress-bounce` | bounced, hard |
//! | `failed`, `permanent`, for `suppress-unsubscribe`, `suppress-complaint` | unsubscribed |
//! | `failed` otherwise | bounced; hard as below |
//! | `complained` | complained |
//! | `unsubscribed` | unsubscribed |
//! | `rejected` | rejected |
//! | `accepted`, `stored`, `opened`, `clicked` | not ours |
//!
//! A bounce is hard where its status means a dead address; where that says nothing, where Mailgun's `bounce-type` is `hard`, or, from
//! before there was one, where `reason` is `bounce`.
//!
//! The signature covers timestamp and token, not the body: whoever has seen one call can put another body under it until it is stale. So
//! the receiver remembers [`Reading::replay`].
//!
//! Mailgun repeats a call over eight hours on any answer but 200 and 406. What is repeated is said to bear the signature of the first
//! (hookdeck/webhook-skills; Mailgun's own pages do not say), and then is stale after [`TOLERANCE`](super::TOLERANCE).
//!
//! Sources: documentation.mailgun.com/docs/mailgun/user-manual/webhooks: securing-webhooks, webhook-payloads, webhook-retries.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use super::{
    Call, Reading, Refused, Replay, TOLERANCE,
    event::{Ignored, Kind, PERENNIAL_ID, ProviderEvent, Told, dead, moment, text, written},
};
use crate::secret::Secret;

/// The calls of one Mailgun account.
pub(crate) struct Mailgun {
    key: Hmac<Sha256>,
}

impl std::fmt::Debug for Mailgun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mailgun(••••)")
    }
}

impl Mailgun {
    /// Takes the HTTP webhook signing key, which is not the API key; `None` where it is blank.
    pub(crate) fn new(signing_key: &Secret) -> Option<Self> {
        let key = Some(signing_key.reveal().trim()).filter(|key| !key.is_empty())?;
        Hmac::new_from_slice(key.as_bytes()).ok().map(|key| Self { key })
    }

    /// Reads a call, or refuses it.
    pub(crate) fn read(&self, call: &Call<'_>) -> Result<Reading, Refused> {
        let body = call.json()?;
        let (signed_at, token) = self.verify(call, &body)?;
        let one = body.pointer("/event-data").ok_or(Refused::Malformed("it has no `event-data`"))?;
        let replay = Replay { key: format!("mailgun:{token}"), until: signed_at + TOLERANCE };
        Ok(Reading { replay: Some(replay), ..[event(one, signed_at)].into_iter().collect() })
    }

    fn verify<'a>(&self, call: &Call<'_>, body: &'a Value) -> Result<(DateTime<Utc>, &'a str), Refused> {
        let (Some(timestamp), Some(token)) = (written(body, "/signature/timestamp"), text(body, "/signature/token")) else {
            return Err(Refused::Signature);
        };
        let mut mac = self.key.clone();
        mac.update(timestamp.as_bytes());
        mac.update(token.as_bytes());
        // A subaccount's call bears its own signature and that of the account above it.
        let is_ours = ["/signature/signature", "/signature/parent-signature"].into_iter().any(|place| {
            let given = text(body, place).and_then(|given| hex::decode(given).ok());
            given.is_some_and(|given| mac.clone().verify_slice(&given).is_ok())
        });
        if !is_ours {
            return Err(Refused::Signature);
        }
        Ok((call.signed_at(&timestamp)?, token))
    }
}

fn event(one: &Value, signed_at: DateTime<Utc>) -> Result<ProviderEvent, Ignored> {
    let name = text(one, "/event").ok_or(Ignored::Malformed("it has no `event`"))?;
    let kind = match name {
        "delivered" => Kind::Delivered,
        "failed" if text(one, "/severity") == Some("temporary") => Kind::Deferred,
        "failed" => match text(one, "/reason") {
            Some("suppress-bounce") => Kind::Bounced { hard: true },
            Some("suppress-unsubscribe" | "suppress-complaint") => Kind::Unsubscribed,
            _ => Kind::Bounced { hard: is_hard(one) },
        },
        "complained" => Kind::Complained,
        "unsubscribed" => Kind::Unsubscribed,
        "rejected" => Kind::Rejected,
        "accepted" | "stored" | "opened" | "clicked" => return Err(Ignored::not_ours(name)),
        _ => return Err(Ignored::unknown(name)),
    };
    let at = moment(one, "/timestamp");
    let told = Told {
        provider: "mailgun",
        // Mailgun's own id is unique within a day only.
        id: text(one, "/id").map(|id| format!("{}:{id}", at.map_or(0, |at| at.timestamp()))),
        part: None,
        whole: one,
        at,
        kind,
        message_id: text(one, &format!("/user-variables/{PERENNIAL_ID}")).or_else(|| text(one, "/message/headers/message-id")),
        recipient: text(one, "/recipient").or_else(|| text(one, "/message/headers/to")),
        detail: ["/delivery-status/message", "/delivery-status/description", "/reject/reason", "/reason"]
            .into_iter()
            .find_map(|place| text(one, place)),
    };
    told.read(signed_at)
}

fn is_hard(failure: &Value) -> bool {
    let status = text(failure, "/delivery-status/enhanced-code").or_else(|| text(failure, "/delivery-status/message"));
    match (status.and_then(dead), text(failure, "/delivery-status/bounce-type"), text(failure, "/reason")) {
        (Some(dead), ..) => dead,
        (None, Some(kind), _) => kind == "hard",
        (None, None, reason) => reason == Some("bounce"),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use reqwest::header::HeaderMap;
    use serde_json::json;

    use super::{super::tests::now, *};

    const KEY: &str = "key-3ax6xnjp29jd6fds4gc373sgvjxteol0";
    const TOKEN: &str = "e0b5477167110d68991efc6b9f89f0a11066af27834600e123";

    fn provider() -> Mailgun {
        Mailgun::new(&Secret::new(KEY)).unwrap()
    }

    fn signature(timestamp: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
        mac.update(format!("{timestamp}{TOKEN}").as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    fn signed(at: DateTime<Utc>, data: &Value) -> Value {
        let timestamp = at.timestamp().to_string();
        json!({ "signature": { "timestamp": timestamp, "token": TOKEN, "signature": signature(&timestamp) }, "event-data": data })
    }

    fn read(body: &Value) -> Result<Reading, Refused> {
        provider().read(&Call { headers: &HeaderMap::new(), body: body.to_string().as_bytes(), now: now() })
    }

    /// The reference's example of a delivery, with other fields where given.
    fn data(fields: Value) -> Value {
        let mut data = json!({
            "event": "delivered",
            "id": "MXcc2gEpS-eN8HfkOnmK2w",
            "timestamp": 1_770_146_431.658_528_3,
            "flags": { "is-authenticated": true, "is-routed": false, "is-big": false, "is-system-test": false, "is-test-mode": false },
            "message": { "attachments": [], "headers": {
                "message-id": "20260203192030.53383e583ab41f62@sample.mailgun.com",
                "from": "Sample Sender <sender@sample.mailgun.com>",
                "to": "recipient@mailgun.com",
                "subject": "Sample webhook payload"
            }, "size": 341 },
            "log-level": "info",
            "recipient": "recipient@sample.mailgun.com",
            "recipient-domain": "sample.mailgun.com",
            "tags": ["webhook_payload"],
            "delivery-status": { "attempt-no": 1, "code": 250, "message": "OK", "description": null, "enhanced-code": null, "tls": true },
            "envelope": { "sender": "sender@sample.mailgun.com", "targets": "recipient@sample.mailgun.com", "transport": "smtp" },
            "user-variables": []
        });
        data.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        data
    }

    fn kind(fields: Value) -> Result<Kind, Ignored> {
        event(&data(fields), now()).map(|event| event.kind)
    }

    #[test]
    fn a_delivery_is_read_with_the_key_of_its_replay() {
        let reading = read(&signed(now(), &data(json!({})))).unwrap();
        assert_eq!(
            reading.events,
            [ProviderEvent {
                event_id: "mailgun:1770146431:MXcc2gEpS-eN8HfkOnmK2w".to_owned(),
                at: "2026-02-03T19:20:31.659Z".parse().unwrap(),
                kind: Kind::Delivered,
                message_id: Some("20260203192030.53383e583ab41f62@sample.mailgun.com".to_owned()),
                recipient: Some("recipient@sample.mailgun.com".to_owned()),
                detail: Some("OK".to_owned()),
            }]
        );
        assert_eq!(reading.replay, Some(Replay { key: format!("mailgun:{TOKEN}"), until: now() + TimeDelta::minutes(5) }));
        assert!(!format!("{:?}", provider()).contains("3ax6"));
    }

    #[test]
    fn a_call_without_its_own_signature_is_refused() {
        let good = signed(now(), &data(json!({})));
        for (place, wrong) in [
            ("signature", json!(signature("1"))),
            ("signature", json!("")),
            ("signature", json!("zz")),
            ("signature", json!(5)),
            ("token", json!("another")),
            ("token", json!(null)),
            ("timestamp", json!((now().timestamp() + 1).to_string())),
            ("timestamp", json!(null)),
        ] {
            let mut body = good.clone();
            body["signature"][place] = wrong;
            assert_eq!(read(&body), Err(Refused::Signature), "{body}");
        }
        for body in [json!({ "event-data": {} }), json!([]), json!(null), json!({ "signature": 5 })] {
            assert_eq!(read(&body), Err(Refused::Signature));
        }
        let other = Mailgun::new(&Secret::new("another")).unwrap();
        let body = good.to_string();
        let refused = other.read(&Call { headers: &HeaderMap::new(), body: body.as_bytes(), now: now() });
        assert_eq!(refused, Err(Refused::Signature));
        assert!(Mailgun::new(&Secret::new(" ")).is_none());
    }

    #[test]
    fn a_stale_call_is_refused() {
        for (seconds, passes) in [(-301, false), (-300, true), (300, true), (301, false)] {
            let read = read(&signed(now() + TimeDelta::seconds(seconds), &data(json!({}))));
            assert_eq!(read.err(), (!passes).then_some(Refused::Stale), "{seconds}");
        }
    }

    #[test]
    fn a_subaccounts_call_passes_by_the_signature_of_the_account_above() {
        let mut body = signed(now(), &data(json!({})));
        body["signature"]["parent-signature"] = body["signature"]["signature"].take();
        body["signature"]["signature"] = json!("12d99f5a15355c180971bed7494d578b093c958f57766f3fe750761baed12345");
        // As a number, too, as the reference describes it and its examples do not.
        body["signature"]["timestamp"] = json!(now().timestamp());
        assert_eq!(read(&body).unwrap().events.len(), 1);
    }

    #[test]
    fn every_documented_event_is_read() {
        let ours = |event: &str| kind(json!({ "event": event }));
        assert_eq!(ours("complained"), Ok(Kind::Complained));
        assert_eq!(ours("unsubscribed"), Ok(Kind::Unsubscribed));
        for event in ["accepted", "stored", "opened", "clicked"] {
            assert_eq!(ours(event), Err(Ignored::NotOurs(event.to_owned())));
        }
        assert_eq!(ours("permanent_fail"), Err(Ignored::Unknown("permanent_fail".to_owned())));
        let rejected = json!({
            "event": "rejected", "reject": { "reason": "Sandbox subdomains are for test purposes only" },
            "delivery-status": null, "recipient": null
        });
        let rejected = event(&data(rejected), now()).unwrap();
        assert_eq!((rejected.kind, rejected.recipient.as_deref()), (Kind::Rejected, Some("recipient@mailgun.com")));
        assert_eq!(rejected.detail.as_deref(), Some("Sandbox subdomains are for test purposes only"));
        let temporary = json!({
            "event": "failed", "severity": "temporary", "reason": "generic",
            "delivery-status": { "code": 421, "message": "Your IP is temporary blacklisted", "retry-seconds": 600, "enhanced-code": null }
        });
        assert_eq!(kind(temporary), Ok(Kind::Deferred));
    }

    #[test]
    fn a_failure_is_hard_where_the_address_is_dead() {
        for (reason, status, expected) in [
            // The reference's own example, of a mailbox that is gone.
            (
                "bounce",
                json!({ "code": 550, "enhanced-code": "5.5.0", "message": "5.5.0 mailbox unavailable", "bounce-type": "hard" }),
                Some(true),
            ),
            (
                "bounce",
                json!({ "code": 550, "enhanced-code": "5.1.1", "message": "5.1.1 no such user", "bounce-type": "hard" }),
                Some(true),
            ),
            ("bounce", json!({ "code": 550, "message": "5.1.1 The email account that you tried to reach does not exist." }), Some(true)),
            ("bounce", json!({ "code": 550, "message": "no mailbox by that name" }), Some(true)),
            ("bounce", json!({ "code": 552, "enhanced-code": "5.2.2", "message": "mailbox full", "bounce-type": "hard" }), Some(false)),
            ("bounce", json!({ "code": 550, "enhanced-code": "5.7.1", "message": "blocked", "bounce-type": "soft" }), Some(false)),
            ("bounce", json!({ "code": 550, "enhanced-code": "", "message": "blocked", "bounce-type": "soft" }), Some(false)),
            ("old", json!({ "code": 421, "message": "Too old" }), Some(false)),
            ("generic", json!({ "code": 554, "message": "policy" }), Some(false)),
            (
                "suppress-bounce",
                json!({ "code": 605, "enhanced-code": "", "message": "", "description": "Not delivering to previously bounced address" }),
                Some(true),
            ),
            ("suppress-unsubscribe", json!({ "code": 606, "message": "" }), None),
            ("suppress-complaint", json!({ "code": 607, "message": "" }), None),
        ] {
            let failed = json!({ "event": "failed", "severity": "permanent", "reason": reason, "delivery-status": status });
            let expected = expected.map_or(Kind::Unsubscribed, |hard| Kind::Bounced { hard });
            assert_eq!(kind(failed), Ok(expected), "{reason} {status}");
        }
    }

    #[test]
    fn our_own_id_goes_before_the_header() {
        let ours = json!({ "user-variables": { "perennial_id": "0a@x.example" } });
        assert_eq!(event(&data(ours), now()).unwrap().message_id.as_deref(), Some("0a@x.example"));
    }

    #[test]
    fn a_proven_call_with_a_broken_event_is_read_as_nothing() {
        for broken in [json!(null), json!([]), json!({}), json!({ "event": "failed" })] {
            let reading = read(&signed(now(), &broken)).unwrap();
            assert_eq!((reading.events.len(), reading.ignored.len()), (0, 1), "{broken}");
        }
        let mut body = signed(now(), &json!({}));
        body.as_object_mut().unwrap().remove("event-data");
        assert_eq!(read(&body), Err(Refused::Malformed("it has no `event-data`")));
    }
}
