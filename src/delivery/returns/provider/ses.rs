//! Amazon SES, by way of an SNS topic: `sns` proves the envelope, here its content is read.
//!
//! SES has two shapes for the same events, `eventType` of event publishing and `notificationType` of an identity's feedback:
//!
//! | type | is |
//! |---|---|
//! | `Delivery` | delivered |
//! | `Bounce`, `Permanent` | bounced; hard as below |
//! | `Bounce`, `Transient` or `Undetermined` | bounced |
//! | `Bounce` of a recipient whose `action` is `delayed`; `DeliveryDelay` | deferred |
//! | `Complaint` | complained |
//! | `Complaint` for the account's suppression list | unsubscribed: the complaint is of earlier days |
//! | `Complaint` that says `not-spam`, or `auth-failure`, which no person sent | not ours |
//! | `Reject`, `Rendering Failure` | rejected |
//! | `Subscription` that leaves all topics, or one more than before | unsubscribed |
//! | `Subscription` otherwise; `Send`, `Open`, `Click`, `AmazonSnsSubscriptionSucceeded` | not ours |
//!
//! A permanent bounce is hard for the subtypes `NoEmail`, `Suppressed` and `OnAccountSuppressionList`, otherwise unless its status says
//! something else of the address.
//!
//! Sources: docs.aws.amazon.com/ses/latest/dg: event-publishing-retrieving-sns-contents, …-examples, notification-contents.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{
    Action, Call, Certificates, Reading, Refused,
    event::{Ignored, Kind, PERENNIAL_ID, ProviderEvent, Told, dead, moment, text},
    sns::{self, Content},
};

/// What SNS sends as text when a topic is made the destination of events.
const VALIDATED: &str = "Successfully validated SNS topic for Amazon SES event publishing.";

/// The calls of one SNS topic.
#[derive(Debug)]
pub(crate) struct Ses {
    topic: String,
}

impl Ses {
    /// Takes the topic's ARN; `None` where it is none of SNS.
    pub(crate) fn new(topic: &str) -> Option<Self> {
        let parts: Vec<_> = topic.split(':').collect();
        let [arn, partition, service, region, account, name] = parts.as_slice() else { return None };
        let sound = *arn == "arn" && *service == "sns" && [partition, region, account, name].iter().all(|part| !part.is_empty());
        sound.then(|| Self { topic: topic.to_owned() })
    }

    /// Reads a call, or refuses it.
    pub(crate) async fn read(&self, call: &Call<'_>, certificates: &dyn Certificates) -> Result<Reading, Refused> {
        let message = sns::open(call, &self.topic, certificates).await?;
        let told_at = message.at.unwrap_or(call.now);
        Ok(match message.content {
            Content::Notification(content) => events(&content, &message.id, told_at).into_iter().collect(),
            Content::SubscriptionConfirmation(address) => Reading { action: Some(Action::Confirm(address)), ..Reading::default() },
            Content::UnsubscribeConfirmation => Reading { action: Some(Action::Ended), ..Reading::default() },
        })
    }
}

/// One event a recipient; SES may tell of several at once, and of each in its own way.
fn events(content: &str, id: &str, told_at: DateTime<Utc>) -> Vec<Result<ProviderEvent, Ignored>> {
    let Ok(one) = serde_json::from_str::<Value>(content) else {
        let ignored = if content.trim() == VALIDATED { Ignored::not_ours(VALIDATED) } else { Ignored::Malformed("it is no JSON") };
        return vec![Err(ignored)];
    };
    let Some(name) = text(&one, "/eventType").or_else(|| text(&one, "/notificationType")) else {
        return vec![Err(Ignored::Malformed("it has neither `eventType` nor `notificationType`"))];
    };
    let (recipients, about) = match name {
        "Delivery" => ("/delivery/recipients", "/delivery"),
        "Bounce" => ("/bounce/bouncedRecipients", "/bounce"),
        "DeliveryDelay" => ("/deliveryDelay/delayedRecipients", "/deliveryDelay"),
        "Complaint" => ("/complaint/complainedRecipients", "/complaint"),
        "Reject" => ("/mail/destination", "/reject"),
        "Rendering Failure" => ("/mail/destination", "/failure"),
        "Subscription" => ("/mail/destination", "/subscription"),
        "Send" | "Open" | "Click" | "AmazonSnsSubscriptionSucceeded" => return vec![Err(Ignored::not_ours(name))],
        _ => return vec![Err(Ignored::unknown(name))],
    };
    let about = one.pointer(about).unwrap_or(&Value::Null);
    let recipients = one.pointer(recipients).and_then(Value::as_array).filter(|recipients| !recipients.is_empty());
    // Whoever it is about, the message is known.
    let recipients = recipients.map_or(std::slice::from_ref(&Value::Null), Vec::as_slice);
    let each = recipients.iter().enumerate().map(|(part, recipient)| {
        let told = Told {
            provider: "ses",
            // Bounces and complaints keep their id when they are told in both shapes.
            id: Some(text(about, "/feedbackId").unwrap_or(id).to_owned()),
            part: Some(part),
            whole: &one,
            at: moment(about, "/timestamp"),
            kind: kind(name, about, recipient)?,
            message_id: message_id(&one),
            recipient: recipient.as_str().or_else(|| text(recipient, "/emailAddress")),
            detail: text(recipient, "/diagnosticCode").or_else(|| {
                let places = [
                    "/smtpResponse",
                    "/bounceSubType",
                    "/complaintFeedbackType",
                    "/complaintSubType",
                    "/delayType",
                    "/reason",
                    "/errorMessage",
                ];
                places.into_iter().find_map(|place| text(about, place))
            }),
        };
        told.read(told_at)
    });
    each.collect()
}

fn kind(name: &str, about: &Value, recipient: &Value) -> Result<Kind, Ignored> {
    Ok(match name {
        "Delivery" => Kind::Delivered,
        "DeliveryDelay" => Kind::Deferred,
        "Bounce" if text(recipient, "/action") == Some("delayed") => Kind::Deferred,
        "Bounce" => {
            let certain = matches!(text(about, "/bounceSubType"), Some("NoEmail" | "Suppressed" | "OnAccountSuppressionList"));
            let open = || text(recipient, "/status").and_then(dead).unwrap_or(true);
            Kind::Bounced { hard: text(about, "/bounceType") == Some("Permanent") && (certain || open()) }
        }
        "Complaint" => match (text(about, "/complaintFeedbackType"), text(about, "/complaintSubType")) {
            (Some(feedback @ ("not-spam" | "auth-failure")), _) => return Err(Ignored::not_ours(feedback)),
            (_, Some("OnAccountSuppressionList")) => Kind::Unsubscribed,
            _ => Kind::Complained,
        },
        "Subscription" if has_left(about) => Kind::Unsubscribed,
        "Subscription" => return Err(Ignored::not_ours("Subscription: no topic left")),
        _ => Kind::Rejected,
    })
}

fn has_left(subscription: &Value) -> bool {
    let left = |preferences: &str| -> Vec<&str> {
        let topics = subscription.pointer(preferences).and_then(|preferences| preferences.pointer("/topicSubscriptionStatus"));
        let topics = topics.and_then(Value::as_array).into_iter().flatten();
        topics.filter(|topic| text(topic, "/subscriptionStatus") == Some("OptOut")).filter_map(|topic| text(topic, "/topicName")).collect()
    };
    let before = left("/oldTopicPreferences");
    subscription.pointer("/newTopicPreferences/unsubscribeAll").and_then(Value::as_bool) == Some(true)
        || left("/newTopicPreferences").iter().any(|topic| !before.contains(topic))
}

/// SES writes its own `Message-ID` over ours when it sends. Its events quote the one we wrote, and its own where we wrote none.
fn message_id(one: &Value) -> Option<&str> {
    let theirs = text(one, "/mail/messageId");
    let headers = one.pointer("/mail/headers").and_then(Value::as_array);
    let header =
        headers.into_iter().flatten().find(|header| text(header, "/name").is_some_and(|name| name.eq_ignore_ascii_case("message-id")));
    let quoted = header.and_then(|header| text(header, "/value")).or_else(|| text(one, "/mail/commonHeaders/messageId"));
    text(one, &format!("/mail/tags/{PERENNIAL_ID}/0")).or_else(|| quoted.filter(|id| Some(*id) != theirs))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;
    use serde_json::json;

    use super::{
        super::{
            sns::tests::{Amazon, TOPIC, confirmation, notification},
            tests::now,
        },
        *,
    };

    async fn read(message: Value) -> Result<Reading, Refused> {
        let amazon = Amazon::new();
        let body = amazon.sign(message).to_string();
        Ses::new(TOPIC).unwrap().read(&Call { headers: &HeaderMap::new(), body: body.as_bytes(), now: now() }, &amazon).await
    }

    fn mail() -> Value {
        json!({
            "timestamp": "2016-01-27T14:59:38.237Z",
            "source": "john@example.com",
            "sourceArn": "arn:aws:ses:us-east-1:888888888888:identity/example.com",
            "sendingAccountId": "123456789012",
            "messageId": "00000138111222aa-33322211-cccc-cccc-cccc-ddddaaaa0680-000000",
            "destination": ["jane@example.com"],
            "headersTruncated": false,
            "headers": [
                { "name": "From", "value": "\"John Doe\" <john@example.com>" },
                { "name": "Message-ID", "value": "<0a@fernwood.example>" },
            ],
            "commonHeaders": { "from": ["John Doe <john@example.com>"], "messageId": " <0a@fernwood.example>", "subject": "Hello" }
        })
    }

    fn told(fields: Value) -> Vec<Result<ProviderEvent, Ignored>> {
        let mut one = json!({ "mail": mail() });
        one.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        events(&one.to_string(), "22b80b92", now())
    }

    fn kinds(fields: Value) -> Vec<Kind> {
        told(fields).into_iter().map(|event| event.unwrap().kind).collect()
    }

    fn bounce(kind: &str, sub: &str, recipient: Value) -> Value {
        json!({ "eventType": "Bounce", "bounce": {
            "bounceType": kind, "bounceSubType": sub, "bouncedRecipients": [recipient],
            "timestamp": "2017-08-05T00:41:02.669Z", "feedbackId": "01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000"
        } })
    }

    #[tokio::test]
    async fn a_bounce_with_a_status_report_is_read() {
        // The guide's example of a notification.
        let one = json!({ "notificationType": "Bounce", "bounce": {
            "bounceType": "Permanent",
            "reportingMTA": "dns; email.example.com",
            "bouncedRecipients": [{
                "emailAddress": "jane@example.com", "status": "5.1.1", "action": "failed",
                "diagnosticCode": "smtp; 550 5.1.1 <jane@example.com>... User"
            }],
            "bounceSubType": "General",
            "timestamp": "2016-01-27T14:59:38.237Z",
            "feedbackId": "00000138111222aa-33322211-cccc-cccc-cccc-ddddaaaa068a-000000",
            "remoteMtaIp": "127.0.2.0"
        }, "mail": mail() });
        let reading = read(notification(&one.to_string())).await.unwrap();
        assert_eq!(
            reading.events,
            [ProviderEvent {
                event_id: "ses:00000138111222aa-33322211-cccc-cccc-cccc-ddddaaaa068a-000000:0".to_owned(),
                at: "2016-01-27T14:59:38.237Z".parse().unwrap(),
                kind: Kind::Bounced { hard: true },
                message_id: Some("0a@fernwood.example".to_owned()),
                recipient: Some("jane@example.com".to_owned()),
                detail: Some("smtp; 550 5.1.1 (address) User".to_owned()),
            }]
        );
        assert_eq!((reading.ignored.len(), reading.action, reading.replay), (0, None, None));
    }

    #[tokio::test]
    async fn what_is_no_event_is_an_action_or_passed_over() {
        let address = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37";
        let confirm = read(confirmation("SubscriptionConfirmation", address)).await.unwrap();
        assert_eq!(confirm.action, Some(Action::Confirm(address.parse().unwrap())));
        assert_eq!(read(confirmation("UnsubscribeConfirmation", address)).await.unwrap().action, Some(Action::Ended));
        let ignored = |content: &'static str| async move { read(notification(content)).await.unwrap().ignored };
        assert!(matches!(ignored(VALIDATED).await[..], [Ignored::NotOurs(_)]));
        assert!(matches!(ignored("hello").await[..], [Ignored::Malformed(_)]));
        assert!(matches!(ignored("{}").await[..], [Ignored::Malformed(_)]));
        assert!(matches!(ignored("[1]").await[..], [Ignored::Malformed(_)]));
        assert_eq!(ignored(r#"{"notificationType":"Received"}"#).await, [Ignored::Unknown("Received".to_owned())]);
    }

    #[test]
    fn only_an_arn_of_sns_is_a_topic() {
        for topic in ["", "MyTopic", "arn:aws:sqs:us-west-2:1:q", "arn:aws:sns:us-west-2:1:", "arn:aws:sns:us-west-2:1:t:c9135db0"] {
            assert!(Ses::new(topic).is_none(), "{topic}");
        }
        assert!(Ses::new("arn:aws-cn:sns:cn-north-1:123456789012:t").is_some());
    }

    #[test]
    fn a_bounce_is_hard_where_the_address_is_dead() {
        let to = |status: &str| json!({ "emailAddress": "recipient@example.com", "action": "failed", "status": status });
        for (kind, sub, status, hard) in [
            ("Permanent", "General", "5.1.1", true),
            ("Permanent", "General", "5.0.0", true),
            ("Permanent", "General", "", true),
            ("Permanent", "General", "5.7.1", false),
            ("Permanent", "General", "5.2.2", false),
            ("Permanent", "NoEmail", "5.7.1", true),
            ("Permanent", "Suppressed", "5.1.1", true),
            ("Permanent", "OnAccountSuppressionList", "", true),
            ("Transient", "General", "5.1.1", false),
            ("Transient", "MailboxFull", "5.2.2", false),
            ("Transient", "MessageTooLarge", "", false),
            ("Transient", "ContentRejected", "", false),
            ("Transient", "AttachmentRejected", "", false),
            ("Undetermined", "Undetermined", "5.1.1", false),
            ("Tomorrow", "New", "5.1.1", false),
        ] {
            assert_eq!(kinds(bounce(kind, sub, to(status))), [Kind::Bounced { hard }], "{kind} {sub} {status}");
        }
        let delayed = json!({ "emailAddress": "recipient2@example.com", "status": "4.0.0", "action": "delayed" });
        assert_eq!(kinds(bounce("Permanent", "General", delayed)), [Kind::Deferred]);
    }

    #[test]
    fn every_documented_event_is_read() {
        let delivery = json!({ "eventType": "Delivery", "delivery": {
            "timestamp": "2016-10-19T23:21:04.133Z", "processingTimeMillis": 11893, "recipients": ["recipient@example.com"],
            "smtpResponse": "250 2.6.0 Message received", "reportingMTA": "mta.example.com"
        } });
        let delivered = told(delivery)[0].clone().unwrap();
        assert_eq!((delivered.kind, delivered.event_id.as_str()), (Kind::Delivered, "ses:22b80b92:0"));
        assert_eq!(delivered.detail.as_deref(), Some("250 2.6.0 Message received"));
        let reject = json!({ "eventType": "Reject", "reject": { "reason": "Bad content" } });
        let rejected = told(reject)[0].clone().unwrap();
        assert_eq!((rejected.kind, rejected.recipient.as_deref(), rejected.at), (Kind::Rejected, Some("jane@example.com"), now()));
        assert_eq!(
            kinds(json!({ "eventType": "Rendering Failure", "failure": { "errorMessage": "x", "templateName": "y" } })),
            [Kind::Rejected]
        );
        let delay = json!({ "eventType": "DeliveryDelay", "deliveryDelay": {
            "timestamp": "2020-06-16T00:25:40.095Z", "delayType": "TransientCommunicationFailure",
            "expirationTime": "2020-06-16T00:25:40.914Z",
            "delayedRecipients": [{
                "emailAddress": "recipient@example.com", "status": "4.4.1", "diagnosticCode": "smtp; 421 4.4.1 Unable to connect"
            }]
        } });
        assert_eq!(kinds(delay), [Kind::Deferred]);
        for event in ["Send", "Open", "Click", "AmazonSnsSubscriptionSucceeded"] {
            assert_eq!(told(json!({ "eventType": event })), [Err(Ignored::NotOurs(event.to_owned()))]);
        }
        assert_eq!(told(json!({ "eventType": "Sunrise" })), [Err(Ignored::Unknown("Sunrise".to_owned()))]);
    }

    #[test]
    fn a_complaint_counts_where_a_person_made_it_now() {
        let complaint = |feedback: Value, sub: Value| {
            told(json!({ "eventType": "Complaint", "complaint": {
                "complainedRecipients": [{ "emailAddress": "recipient@example.com" }], "timestamp": "2017-08-05T00:41:02.669Z",
                "feedbackId": "01000157c44f053b", "userAgent": "Mozilla/5.0", "complaintFeedbackType": feedback, "complaintSubType": sub,
                "arrivalDate": "2017-08-05T00:41:02.669Z"
            } }))
            .remove(0)
            .map(|event| event.kind)
        };
        for feedback in [json!("abuse"), json!("fraud"), json!("virus"), json!("other"), json!(null)] {
            assert_eq!(complaint(feedback.clone(), json!(null)), Ok(Kind::Complained), "{feedback}");
        }
        for feedback in ["not-spam", "auth-failure"] {
            assert_eq!(complaint(json!(feedback), json!(null)), Err(Ignored::NotOurs(feedback.to_owned())));
        }
        assert_eq!(complaint(json!(null), json!("OnAccountSuppressionList")), Ok(Kind::Unsubscribed));
    }

    #[test]
    fn a_subscription_is_an_opt_out_where_a_topic_was_left() {
        let topics = |topics: &[(&str, &str)]| -> Value {
            topics.iter().map(|(name, status)| json!({ "topicName": name, "subscriptionStatus": status })).collect()
        };
        let change = |all: bool, old: &[(&str, &str)], new: &[(&str, &str)]| {
            told(json!({ "eventType": "Subscription", "subscription": {
                "contactList": "ContactListName", "timestamp": "2022-01-12T01:00:17.910Z", "source": "UnsubscribeHeader",
                "newTopicPreferences": { "unsubscribeAll": all, "topicSubscriptionStatus": topics(new) },
                "oldTopicPreferences": { "unsubscribeAll": false, "topicSubscriptionStatus": topics(old) }
            } }))
            .remove(0)
            .map(|event| event.kind)
            .ok()
        };
        assert_eq!(change(true, &[], &[]), Some(Kind::Unsubscribed));
        assert_eq!(change(false, &[("a", "OptIn")], &[("a", "OptOut")]), Some(Kind::Unsubscribed));
        assert_eq!(change(false, &[("a", "OptOut"), ("b", "OptOut")], &[("a", "OptIn"), ("b", "OptOut")]), None);
        assert_eq!(change(false, &[], &[]), None);
    }

    #[test]
    fn our_id_is_found_by_tag_or_header_and_never_sess_own() {
        let id = |fields: Value| {
            let mut mail = mail();
            mail.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            message_id(&json!({ "mail": mail })).map(str::to_owned)
        };
        assert_eq!(id(json!({ "tags": { "perennial_id": ["0a"], "ses:configuration-set": ["ConfigSet"] } })).as_deref(), Some("0a"));
        assert_eq!(id(json!({ "headers": [{ "name": "message-id", "value": "<0b@x>" }] })).as_deref(), Some("<0b@x>"));
        assert_eq!(id(json!({ "headers": null })).as_deref(), Some("<0a@fernwood.example>"));
        // The guide's examples of event publishing: nothing was written by the sender.
        let own = "00000138111222aa-33322211-cccc-cccc-cccc-ddddaaaa0680-000000";
        assert_eq!(id(json!({ "headers": [{ "name": "From", "value": "x" }], "commonHeaders": { "messageId": own } })), None);
        assert_eq!(id(json!({ "headers": [{ "name": "Message-ID", "value": own }] })), None);
    }

    #[test]
    fn every_recipient_is_an_event_and_a_broken_one_takes_no_other_with_it() {
        let mut one = bounce("Permanent", "General", json!(null));
        one["bounce"]["bouncedRecipients"] = json!([{ "emailAddress": "jane@example.com" }, 7, { "emailAddress": "richard@example.com" }]);
        one["mail"] = json!({ "messageId": "x" });
        let told = told(one);
        let ids: Vec<_> = told.iter().flatten().map(|event| event.event_id.rsplit_once(':').unwrap().1.to_owned()).collect();
        assert_eq!(ids, ["0", "2"]);
        assert!(matches!(told[1], Err(Ignored::Malformed(_))));
        // A bounce that names nobody still names its message.
        let mut nobody = bounce("Permanent", "General", json!(null));
        nobody["bounce"]["bouncedRecipients"] = json!([]);
        let nobody = self::told(nobody);
        assert_eq!(nobody[0].as_ref().unwrap().message_id.as_deref(), Some("0a@fernwood.example"));
    }
}
