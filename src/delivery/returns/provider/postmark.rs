//! Postmark's webhooks: one event a call, proven by the user and password of the address it is posted to.
//!
//! | `RecordType` | `Type` or `SuppressionReason` | is |
//! |---|---|---|
//! | `Delivery` | | delivered |
//! | `Bounce` | `HardBounce`, `BadEmailAddress` | bounced, hard |
//! | | `SoftBounce`, `SpamNotification`, `Blocked`, `DMARCPolicy`, `VirusNotification`, `Unknown` | bounced |
//! | | `Transient`, `DnsError` | deferred |
//! | | `Unsubscribe`, `ManuallyDeactivated` | unsubscribed |
//! | | `SpamComplaint` | complained |
//! | | `SMTPApiError`, `TemplateRenderingFailed`, `Unconfirmed` | rejected |
//! | | `AutoResponder`, `AddressChange`, `ChallengeVerification`, `OpenRelayTest`, `Subscribe`, `InboundError` | not ours |
//! | `SpamComplaint` | | complained |
//! | `SubscriptionChange`, sending suppressed | `HardBounce` | bounced, hard |
//! | | `SpamComplaint` | complained |
//! | | otherwise | unsubscribed |
//! | `SubscriptionChange`, sending resumed; `Open`, `Click` | | not ours |
//!
//! `SpamNotification` is a filter's answer; the person's own is `SpamComplaint`. A hard bounce and a complaint are told twice where both
//! webhooks are switched on, as `Bounce` or `SpamComplaint` and as `SubscriptionChange`, under two ids.
//!
//! Nothing is signed, and no time: a copy is told by its event ids alone.
//!
//! Sources: postmarkapp.com/developer: webhooks/bounce-webhook, …/subscription-change-webhook, api/bounce-api (bounce types).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{
    Call, Reading, Refused,
    event::{Ignored, Kind, PERENNIAL_ID, ProviderEvent, Told, moment, text, written},
};
use crate::secret::Secret;

/// The calls of one Postmark server.
pub(crate) struct Postmark {
    /// Of user, colon and password: two digests are compared in the same time, whatever the lengths of what they are of.
    digest: [u8; 32],
}

impl std::fmt::Debug for Postmark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Postmark(••••)")
    }
}

impl Postmark {
    /// Takes the user and the password in the address Postmark posts to; `None` where the password is blank, or the user holds a colon,
    /// which basic authentication has no spelling for.
    pub(crate) fn new(user: &str, password: &Secret) -> Option<Self> {
        let password = password.reveal();
        let usable = !password.trim().is_empty() && !user.contains(':');
        usable.then(|| Self { digest: Sha256::digest(format!("{user}:{password}")).into() })
    }

    /// Reads a call, or refuses it.
    pub(crate) fn read(&self, call: &Call<'_>) -> Result<Reading, Refused> {
        self.verify(call)?;
        let one = call.json()?;
        if !one.is_object() {
            return Err(Refused::Malformed("it is no single event"));
        }
        Ok([event(&one, call.now)].into_iter().collect())
    }

    fn verify(&self, call: &Call<'_>) -> Result<(), Refused> {
        let given = call.header("authorization").and_then(|header| header.split_once(' '));
        let given =
            given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic")).and_then(|(_, given)| STANDARD.decode(given.trim()).ok());
        let given = Sha256::digest(given.ok_or(Refused::Signature)?);
        if bool::from(given.as_slice().ct_eq(&self.digest)) { Ok(()) } else { Err(Refused::Signature) }
    }
}

fn event(one: &Value, now: DateTime<Utc>) -> Result<ProviderEvent, Ignored> {
    let name = text(one, "/RecordType").ok_or(Ignored::Malformed("it has no `RecordType`"))?;
    let kind = match name {
        "Delivery" => Kind::Delivered,
        "Bounce" => bounce(text(one, "/Type").ok_or(Ignored::Malformed("the bounce has no `Type`"))?)?,
        "SpamComplaint" => Kind::Complained,
        "SubscriptionChange" => match (one.pointer("/SuppressSending").and_then(Value::as_bool), text(one, "/SuppressionReason")) {
            (Some(true), Some("HardBounce")) => Kind::Bounced { hard: true },
            (Some(true), Some("SpamComplaint")) => Kind::Complained,
            (Some(true), _) => Kind::Unsubscribed,
            (Some(false), _) => return Err(Ignored::not_ours("SubscriptionChange: sending resumed")),
            (None, _) => return Err(Ignored::Malformed("the change has no `SuppressSending`")),
        },
        "Open" | "Click" => return Err(Ignored::not_ours(name)),
        _ => return Err(Ignored::unknown(name)),
    };
    let told = Told {
        provider: "postmark",
        // Bounces and complaints share one sequence of numbers; the others have none.
        id: written(one, "/ID"),
        part: None,
        whole: one,
        at: ["/BouncedAt", "/DeliveredAt", "/ChangedAt"].into_iter().find_map(|place| moment(one, place)),
        kind,
        message_id: metadata(one),
        recipient: text(one, "/Email").or_else(|| text(one, "/Recipient")),
        detail: ["/Details", "/Description", "/SuppressionReason"].into_iter().find_map(|place| text(one, place)),
    };
    told.read(now)
}

fn bounce(kind: &str) -> Result<Kind, Ignored> {
    Ok(match kind {
        "HardBounce" | "BadEmailAddress" => Kind::Bounced { hard: true },
        "SoftBounce" | "SpamNotification" | "Blocked" | "DMARCPolicy" | "VirusNotification" | "Unknown" => Kind::Bounced { hard: false },
        "Transient" | "DnsError" => Kind::Deferred,
        "Unsubscribe" | "ManuallyDeactivated" => Kind::Unsubscribed,
        "SpamComplaint" => Kind::Complained,
        "SMTPApiError" | "TemplateRenderingFailed" | "Unconfirmed" => Kind::Rejected,
        "AutoResponder" | "AddressChange" | "ChallengeVerification" | "OpenRelayTest" | "Subscribe" | "InboundError" => {
            return Err(Ignored::not_ours(kind));
        }
        _ => return Err(Ignored::unknown(kind)),
    })
}

/// Whoever writes or forwards the header may change its case, and so the key's.
fn metadata(one: &Value) -> Option<&str> {
    let metadata = one.pointer("/Metadata")?.as_object()?;
    metadata.iter().find(|(key, _)| key.eq_ignore_ascii_case(PERENNIAL_ID)).and_then(|(_, id)| id.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::tests::{headers, now},
        *,
    };

    fn read(authorization: Option<&str>, body: &str) -> Result<Reading, Refused> {
        let headers = headers(&authorization.map(|value| ("authorization", value)).into_iter().collect::<Vec<_>>());
        let provider = Postmark::new("fernwood", &Secret::new("p:ss wörd")).unwrap();
        provider.read(&Call { headers: &headers, body: body.as_bytes(), now: now() })
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    /// The reference's example of a bounce, with other fields where given.
    fn data(fields: Value) -> Value {
        let mut data = json!({
            "RecordType": "Bounce",
            "ID": 901_542_550,
            "Type": "HardBounce",
            "TypeCode": 1,
            "ServerID": 23,
            "MessageStream": "broadcast",
            "Name": "Hard bounce",
            "MessageID": "2706ee8a-737c-4285-b032-ccd317af53ed",
            "Description": "The server was unable to deliver your message (ex: unknown user, mailbox not found).",
            "Details": "smtp;550 5.1.1 <bounce@example.com> The email account that you tried to reach does not exist.",
            "Email": "bounce@example.com",
            "From": "sender@example.com",
            "BouncedAt": "2016-04-27T16:28:50.3963933-04:00",
            "DumpAvailable": true,
            "Inactive": true,
            "CanActivate": true,
            "Subject": "Postmark event test",
            "Metadata": { "perennial_id": "0a@fernwood.example" }
        });
        data.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        data
    }

    fn kind(fields: Value) -> Result<Kind, Ignored> {
        event(&data(fields), now()).map(|event| event.kind)
    }

    #[test]
    fn a_bounce_is_read() {
        let reading = read(Some(&basic("fernwood:p:ss wörd")), &data(json!({})).to_string()).unwrap();
        assert_eq!(
            reading.events,
            [ProviderEvent {
                event_id: "postmark:901542550".to_owned(),
                at: "2016-04-27T20:28:50.3963933Z".parse().unwrap(),
                kind: Kind::Bounced { hard: true },
                message_id: Some("0a@fernwood.example".to_owned()),
                recipient: Some("bounce@example.com".to_owned()),
                detail: Some("smtp;550 5.1.1 (address) The email account that you tried to reach does not exist.".to_owned()),
            }]
        );
    }

    #[test]
    fn only_the_right_user_and_password_pass() {
        let body = data(json!({})).to_string();
        assert!(read(Some(&basic("fernwood:p:ss wörd").replace("Basic", "bAsIc")), &body).is_ok());
        for wrong in [
            None,
            Some(String::new()),
            Some("Basic".to_owned()),
            Some("Basic ".to_owned()),
            Some("Basic ?".to_owned()),
            Some("Bearer fernwood".to_owned()),
            Some(basic("fernwood:p:ss wör")),
            Some(basic("fernwood:p:ss wörd ")),
            Some(basic("fernwood")),
            Some(basic(":")),
            Some(basic("Fernwood:p:ss wörd")),
            Some("fernwood:p:ss".to_owned()),
        ] {
            assert_eq!(read(wrong.as_deref(), &body), Err(Refused::Signature), "{wrong:?}");
        }
        assert!(Postmark::new("fernwood", &Secret::new(" ")).is_none());
        assert!(Postmark::new("fern:wood", &Secret::new("secret")).is_none());
    }

    #[test]
    fn every_type_of_bounce_is_told_apart() {
        let ours = |kind_of: &str| kind(json!({ "Type": kind_of }));
        for (kind_of, expected) in [
            ("HardBounce", Kind::Bounced { hard: true }),
            ("BadEmailAddress", Kind::Bounced { hard: true }),
            ("SoftBounce", Kind::Bounced { hard: false }),
            ("SpamNotification", Kind::Bounced { hard: false }),
            ("Blocked", Kind::Bounced { hard: false }),
            ("DMARCPolicy", Kind::Bounced { hard: false }),
            ("VirusNotification", Kind::Bounced { hard: false }),
            ("Unknown", Kind::Bounced { hard: false }),
            ("Transient", Kind::Deferred),
            ("DnsError", Kind::Deferred),
            ("Unsubscribe", Kind::Unsubscribed),
            ("ManuallyDeactivated", Kind::Unsubscribed),
            ("SpamComplaint", Kind::Complained),
            ("SMTPApiError", Kind::Rejected),
            ("TemplateRenderingFailed", Kind::Rejected),
            ("Unconfirmed", Kind::Rejected),
        ] {
            assert_eq!(ours(kind_of), Ok(expected), "{kind_of}");
        }
        for kind_of in ["AutoResponder", "AddressChange", "ChallengeVerification", "OpenRelayTest", "Subscribe", "InboundError"] {
            assert_eq!(ours(kind_of), Err(Ignored::NotOurs(kind_of.to_owned())));
        }
        assert_eq!(ours("Boomerang"), Err(Ignored::Unknown("Boomerang".to_owned())));
        assert!(matches!(kind(json!({ "Type": null })), Err(Ignored::Malformed(_))));
    }

    #[test]
    fn every_other_record_is_read() {
        let delivery = json!({
            "RecordType": "Delivery", "ServerId": 23, "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483", "Recipient": "john@example.com",
            "Tag": "welcome-email", "Metadata": { "Perennial_ID": "0b@x.example", "userid": "12345" },
            "DeliveredAt": "2014-08-01T13:28:10.2735393-04:00", "Details": "Test delivery webhook details"
        });
        let delivered = event(&delivery, now()).unwrap();
        assert_eq!((delivered.kind, delivered.message_id.as_deref()), (Kind::Delivered, Some("0b@x.example")));
        assert_eq!(delivered.event_id, event(&delivery.clone(), now()).unwrap().event_id);
        let complaint =
            json!({ "RecordType": "SpamComplaint", "Type": "SpamComplaint", "TypeCode": 512, "Details": "Test spam complaint details" });
        assert_eq!(kind(complaint), Ok(Kind::Complained));
        for event in ["Open", "Click"] {
            assert_eq!(kind(json!({ "RecordType": event })), Err(Ignored::NotOurs(event.to_owned())));
        }
        assert_eq!(kind(json!({ "RecordType": "Inbound" })), Err(Ignored::Unknown("Inbound".to_owned())));
        let change = |suppress: Value, reason: Value| {
            let change = json!({
                "RecordType": "SubscriptionChange", "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483", "ServerID": 123_456,
                "MessageStream": "outbound", "ChangedAt": "2020-02-01T10:53:34.416071Z", "Recipient": "bounced-address@wildbit.com",
                "Origin": "Recipient", "SuppressSending": suppress, "SuppressionReason": reason, "Tag": "my-tag",
                "Metadata": { "example": "value", "example_2": "value" }
            });
            event(&change, now()).map(|event| (event.kind, event.message_id))
        };
        assert_eq!(change(json!(true), json!("HardBounce")), Ok((Kind::Bounced { hard: true }, None)));
        assert_eq!(change(json!(true), json!("SpamComplaint")), Ok((Kind::Complained, None)));
        assert_eq!(change(json!(true), json!("ManualSuppression")), Ok((Kind::Unsubscribed, None)));
        assert_eq!(change(json!(true), json!(null)), Ok((Kind::Unsubscribed, None)));
        assert!(matches!(change(json!(false), json!(null)), Err(Ignored::NotOurs(_))));
        assert!(matches!(change(json!(null), json!(null)), Err(Ignored::Malformed(_))));
    }

    #[test]
    fn what_is_no_event_is_refused_or_passed_over() {
        let right = basic("fernwood:p:ss wörd");
        assert_eq!(read(Some(&right), "[]"), Err(Refused::Malformed("it is no single event")));
        assert_eq!(read(Some(&right), "{"), Err(Refused::Malformed("its body is no JSON")));
        let reading = read(Some(&right), "{}").unwrap();
        assert_eq!((reading.events.len(), reading.ignored.len()), (0, 1));
    }
}
