//! Events from anybody's bridge, signed by Standard Webhooks 1.0.0: for a provider that is not listed here, or a relay of one's own.
//!
//! The body is one event or an array of them:
//!
//! ```json
//! { "type": "bounced", "message_id": "0a1b@fernwood.example", "at": "2026-11-22T01:00:00Z", "hard": true, "detail": "550 5.1.1 unknown" }
//! ```
//!
//! | field | what it says |
//! |---|---|
//! | `type` | `delivered`, `bounced`, `deferred`, `complained` or `unsubscribed`; `opened` and `clicked` are not ours |
//! | `message_id` | our message id; this or `recipient` is needed |
//! | `recipient` | the address |
//! | `at` | when, by RFC 3339; otherwise when the call was signed |
//! | `hard` | of a bounce: whether the address is dead; otherwise it is not |
//! | `detail` | what was said |
//!
//! `webhook-id` must be the same when a call is repeated: event ids are made of it.
//!
//! Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use super::{
    Call, Reading, Refused,
    event::{Ignored, Kind, ProviderEvent, Told, moment, text},
};
use crate::secret::Secret;

/// The calls of one bridge.
pub(crate) struct Standard {
    key: Hmac<Sha256>,
}

impl std::fmt::Debug for Standard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Standard(••••)")
    }
}

impl Standard {
    /// Takes the secret both sides share, `whsec_` and the base64 of 24 to 64 bytes; `None` where it is something else.
    pub(crate) fn new(secret: &Secret) -> Option<Self> {
        let text = secret.reveal();
        let key = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok()?;
        if !(24..=64).contains(&key.len()) {
            return None;
        }
        Hmac::new_from_slice(&key).ok().map(|key| Self { key })
    }

    /// Reads a call, or refuses it.
    pub(crate) fn read(&self, call: &Call<'_>) -> Result<Reading, Refused> {
        let (id, signed_at) = self.verify(call)?;
        let body = call.json()?;
        let events = match &body {
            Value::Array(events) => events.as_slice(),
            Value::Object(_) => std::slice::from_ref(&body),
            _ => return Err(Refused::Malformed("it is neither an event nor an array of events")),
        };
        Ok(events.iter().enumerate().map(|(part, one)| event(one, id, part, signed_at)).collect())
    }

    fn verify<'a>(&self, call: &Call<'a>) -> Result<(&'a str, DateTime<Utc>), Refused> {
        let header = |name: &str| call.headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Refused::Signature);
        let (id, timestamp, signatures) = (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
        let mut mac = self.key.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(call.body);
        // There are several while a secret is changed; `v1a` are asymmetric ones.
        let is_ours = signatures.split(' ').filter_map(|one| one.strip_prefix("v1,")).any(|given| {
            let given = STANDARD.decode(given).ok();
            given.is_some_and(|given| mac.clone().verify_slice(&given).is_ok())
        });
        if !is_ours {
            return Err(Refused::Signature);
        }
        if id.is_empty() || id.contains('.') {
            // What is signed is joined by dots: with one inside, the same text could be cut into another timestamp and another body.
            return Err(Refused::Malformed("its `webhook-id` is empty or holds a dot"));
        }
        Ok((id, call.signed_at(timestamp)?))
    }
}

fn event(one: &Value, id: &str, part: usize, signed_at: DateTime<Utc>) -> Result<ProviderEvent, Ignored> {
    let name = text(one, "/type").ok_or(Ignored::Malformed("it has no `type`"))?;
    let kind = match name {
        "delivered" => Kind::Delivered,
        "bounced" => Kind::Bounced { hard: one.pointer("/hard").and_then(Value::as_bool).unwrap_or(false) },
        "deferred" => Kind::Deferred,
        "complained" => Kind::Complained,
        "unsubscribed" => Kind::Unsubscribed,
        "opened" | "clicked" => return Err(Ignored::not_ours(name)),
        _ => return Err(Ignored::unknown(name)),
    };
    let told = Told {
        provider: "standard",
        id: Some(id.to_owned()),
        part: Some(part),
        whole: one,
        at: moment(one, "/at"),
        kind,
        message_id: text(one, "/message_id"),
        recipient: text(one, "/recipient"),
        detail: text(one, "/detail"),
    };
    told.read(signed_at)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::{
        super::tests::{headers, now},
        *,
    };

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn provider() -> Standard {
        Standard::new(&Secret::new(SECRET)).unwrap()
    }

    fn signature(id: &str, timestamp: &str, body: &str) -> String {
        let mut mac = provider().key;
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }

    fn call(id: &str, timestamp: &str, signatures: &str, body: &str) -> Result<Reading, Refused> {
        let headers = headers(&[("webhook-id", id), ("webhook-timestamp", timestamp), ("webhook-signature", signatures)]);
        provider().read(&Call { headers: &headers, body: body.as_bytes(), now: now() })
    }

    fn read(body: &Value) -> Result<Reading, Refused> {
        let (body, timestamp) = (body.to_string(), now().timestamp().to_string());
        call("msg_1", &timestamp, &signature("msg_1", &timestamp, &body), &body)
    }

    #[test]
    fn the_published_vector_is_met() {
        // https://github.com/standard-webhooks/standard-webhooks, the specification's own example. Its body is no event of ours.
        let headers = headers(&[
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ]);
        let now = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        for secret in [SECRET, SECRET.trim_start_matches("whsec_")] {
            let provider = Standard::new(&Secret::new(secret)).unwrap();
            let reading = provider.read(&Call { headers: &headers, body: b"{\"test\": 2432232314}", now }).unwrap();
            assert_eq!(reading.ignored, [Ignored::Malformed("it has no `type`")]);
            assert_eq!(provider.read(&Call { headers: &headers, body: b"{\"test\":2432232314}", now }), Err(Refused::Signature));
            let late = now + TimeDelta::seconds(301);
            assert_eq!(provider.read(&Call { headers: &headers, body: b"{\"test\": 2432232314}", now: late }), Err(Refused::Stale));
        }
        assert!(!format!("{:?}", provider()).contains("Mf"));
    }

    #[test]
    fn short_and_broken_secrets_are_refused() {
        for secret in ["", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64 at all"] {
            assert!(Standard::new(&Secret::new(secret)).is_none(), "{secret}");
        }
    }

    #[test]
    fn one_good_signature_among_several_suffices() {
        let (id, timestamp, body) = ("msg_1", now().timestamp().to_string(), "[]");
        let good = signature(id, &timestamp, body);
        let other = signature("msg_2", &timestamp, body);
        for passes in [good.clone(), format!("{other} {good}"), format!("v1a,AAAA v1,? {good} v2,x")] {
            assert_eq!(call(id, &timestamp, &passes, body), Ok(Reading::default()), "{passes}");
        }
        for refused in [String::new(), other, good.replace("v1,", "v1a,"), good.replace("v1,", ""), "v1,".to_owned(), good[..10].to_owned()]
        {
            assert_eq!(call(id, &timestamp, &refused, body), Err(Refused::Signature), "{refused}");
        }
        assert_eq!(call(id, "1", &good, body), Err(Refused::Signature));
        assert_eq!(call(id, &timestamp, &good, "[ ]"), Err(Refused::Signature));
        for missing in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let mut headers = headers(&[("webhook-id", id), ("webhook-timestamp", &timestamp), ("webhook-signature", &good)]);
            headers.remove(missing);
            assert_eq!(provider().read(&Call { headers: &headers, body: b"[]", now: now() }), Err(Refused::Signature), "{missing}");
        }
    }

    #[test]
    fn a_stale_call_and_a_doubtful_id_are_refused() {
        for (seconds, expected) in [(-301, false), (-300, true), (300, true), (301, false)] {
            let timestamp = (now() + TimeDelta::seconds(seconds)).timestamp().to_string();
            let read = call("msg_1", &timestamp, &signature("msg_1", &timestamp, "[]"), "[]");
            assert_eq!(read, if expected { Ok(Reading::default()) } else { Err(Refused::Stale) }, "{seconds}");
        }
        let timestamp = now().timestamp().to_string();
        for id in ["msg.1", ""] {
            let read = call(id, &timestamp, &signature(id, &timestamp, "[]"), "[]");
            assert!(matches!(read, Err(Refused::Malformed(_))), "{id}");
        }
        for timestamp in ["", "soon", "1e9", "99999999999999999999", "9223372036854775807"] {
            let read = call("m", timestamp, &signature("m", timestamp, "[]"), "[]");
            assert!(matches!(read, Err(Refused::Malformed(_))), "{timestamp}");
        }
    }

    #[test]
    fn every_type_is_read_and_keeps_its_id() {
        let body = json!([
            { "type": "delivered", "message_id": "0a@x.example", "at": "2026-11-22T02:00:00+01:00" },
            { "type": "bounced", "message_id": "<0b@x.example>", "hard": true, "detail": "550 5.1.1 <ann@example.com> no such user" },
            { "type": "bounced", "message_id": "0c@x.example", "hard": "yes" },
            { "type": "deferred", "message_id": "0d@x.example" },
            { "type": "complained", "recipient": "ann@example.com" },
            { "type": "unsubscribed", "recipient": "ann@example.com" },
        ]);
        let reading = read(&body).unwrap();
        assert_eq!(reading, read(&body).unwrap());
        let ids: Vec<_> = reading.events.iter().map(|event| event.event_id.clone()).collect();
        assert_eq!(ids, (0..6).map(|part| format!("standard:msg_1:{part}")).collect::<Vec<_>>());
        let kinds: Vec<_> = reading.events.iter().map(|event| event.kind).collect();
        let (hard, soft) = (Kind::Bounced { hard: true }, Kind::Bounced { hard: false });
        assert_eq!(kinds, [Kind::Delivered, hard, soft, Kind::Deferred, Kind::Complained, Kind::Unsubscribed]);
        assert_eq!(reading.events[0].at, "2026-11-22T01:00:00Z".parse::<DateTime<Utc>>().unwrap());
        assert_eq!(reading.events[1].at, now());
        assert_eq!(reading.events[1].message_id.as_deref(), Some("0b@x.example"));
        assert_eq!(reading.events[1].detail.as_deref(), Some("550 5.1.1 (address) no such user"));
    }

    #[test]
    fn one_broken_event_takes_no_other_with_it() {
        let good = json!({ "type": "delivered", "message_id": "0a@x.example" });
        let body = json!([good, null, 1, {}, { "type": "delivered" }, { "type": "opened" }, { "type": "teleported" }, good]);
        let reading = read(&body).unwrap();
        assert_eq!((reading.events.len(), reading.ignored.len()), (2, 6));
        assert_eq!(reading.ignored[4..], [Ignored::NotOurs("opened".to_owned()), Ignored::Unknown("teleported".to_owned())]);
        assert_eq!(reading.events[1].event_id, "standard:msg_1:7");
        assert_eq!(read(&good).unwrap().events[0].event_id, "standard:msg_1:0");
        assert!(matches!(read(&json!("x")), Err(Refused::Malformed(_))));
    }
}
