//! The envelope of Amazon SNS: that a message is Amazon's, of our own topic, and unchanged.
//!
//! Anybody with an AWS account can have Amazon sign anything for a topic of theirs: a good signature without the right topic proves
//! nothing.
//!
//! The message itself names the certificate it is to be checked with. What is believed of that is the place alone: `https`, a host
//! `sns.<region>.amazonaws.com` (or `.com.cn`), no port, no user, a file `SimpleNotificationService-….pem`, nothing after it. The region
//! has a region's shape, not just any letters: a bucket named `sns` is reached at `sns.s3-us-west-2.amazonaws.com`
//! (nathforge/validatesns#6).
//!
//! A topic signs with SHA-1 unless told otherwise (`SignatureVersion` 1). That is refused: mail servers of strangers write part of what
//! is signed, two texts with one SHA-1 have been affordable since 2020 (Leurent and Peyrin, "SHA-1 is a Shambles"), and one attribute of
//! the topic ends it.
//!
//! Sources: docs.aws.amazon.com/sns/latest/dg: sns-verify-signature-of-message, http-notification-json,
//! http-subscription-confirmation-json.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use url::Url;
use webpki::{EndEntityCert, aws_lc_rs::RSA_PKCS1_2048_8192_SHA256};

use super::{
    Call, Certificates, Refused,
    event::{moment, text},
};
use crate::delivery::transport::plain;

const NOT_SNS: Refused = Refused::Malformed("it is no message of Amazon SNS");

/// A message that is Amazon's, of our topic.
#[derive(Debug)]
pub(super) struct Message {
    /// The same when it is sent again.
    pub(super) id: String,
    /// When it was published.
    pub(super) at: Option<DateTime<Utc>>,
    /// What it holds.
    pub(super) content: Content,
}

/// What a message holds.
#[derive(Debug)]
pub(super) enum Content {
    /// What was published.
    Notification(String),
    /// An address to be called before anything is sent.
    SubscriptionConfirmation(Url),
    /// News that nothing will be sent any more.
    UnsubscribeConfirmation,
}

/// Opens an envelope of `topic`, or refuses it.
pub(super) async fn open(call: &Call<'_>, topic: &str, certificates: &dyn Certificates) -> Result<Message, Refused> {
    if call.header("x-amz-sns-rawdelivery") == Some("true") {
        return Err(Refused::Malformed("it bears no signature; switch off raw message delivery for this subscription"));
    }
    let body = call.json()?;
    // Spelled exactly as it is signed.
    let field = |name: &str| body.get(name).and_then(Value::as_str).ok_or(NOT_SNS);
    if field("TopicArn")? != topic {
        return Err(Refused::WrongTopic);
    }
    let kind = field("Type")?;
    let signed: &[&str] = match kind {
        "Notification" if body.get("Subject").is_some_and(|subject| !subject.is_null()) => {
            &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
        }
        "Notification" => &["Message", "MessageId", "Timestamp", "TopicArn", "Type"],
        "SubscriptionConfirmation" | "UnsubscribeConfirmation" => {
            &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
        }
        _ => return Err(NOT_SNS),
    };
    let mut lines = String::new();
    for name in signed {
        let value = field(name)?;
        // What is signed is parted by line breaks: with one in another field than the text, the same signature would hold for the fields
        // cut in another way, and the same event would come under another id.
        if *name != "Message" && value.contains('\n') {
            return Err(NOT_SNS);
        }
        lines.extend([name, "\n", value, "\n"]);
    }
    match field("SignatureVersion")? {
        "2" => {}
        "1" => return Err(Refused::OldSignature),
        _ => return Err(Refused::Malformed("its `SignatureVersion` is not known")),
    }
    let signature = STANDARD.decode(field("Signature")?).map_err(|_| Refused::Signature)?;
    let place = field("SigningCertURL")?;
    let place = Url::parse(place).ok().filter(is_certificate).ok_or(Refused::ForeignCertificate)?;
    let pem = certificates.fetch(&place).await.map_err(|reason| Refused::Certificate(plain(&reason)))?;
    verify(&pem, lines.as_bytes(), &signature)?;
    let content = match kind {
        "Notification" => Content::Notification(field("Message")?.to_owned()),
        "SubscriptionConfirmation" => {
            let address = Url::parse(field("SubscribeURL")?).ok().filter(is_sns);
            Content::SubscriptionConfirmation(address.ok_or(Refused::Malformed("its `SubscribeURL` does not lie with Amazon SNS"))?)
        }
        _ => Content::UnsubscribeConfirmation,
    };
    let id = text(&body, "/MessageId").ok_or(NOT_SNS)?.to_owned();
    Ok(Message { id, at: moment(&body, "/Timestamp"), content })
}

/// The certificate's own dates and issuer are not looked at: that it came from Amazon by TLS says more.
fn verify(pem: &[u8], signed: &[u8], signature: &[u8]) -> Result<(), Refused> {
    let unreadable = || Refused::Certificate("what came is no X.509 certificate".to_owned());
    let der = CertificateDer::from_pem_slice(pem).map_err(|_| unreadable())?;
    let certificate = EndEntityCert::try_from(&der).map_err(|_| unreadable())?;
    certificate.verify_signature(RSA_PKCS1_2048_8192_SHA256, signed, signature).map_err(|_| Refused::Signature)
}

fn is_certificate(url: &Url) -> bool {
    let name = url.path().strip_prefix("/SimpleNotificationService").and_then(|name| name.strip_suffix(".pem"));
    let is_file = name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    is_sns(url) && is_file && url.query().is_none() && url.fragment().is_none()
}

fn is_sns(url: &Url) -> bool {
    let region = url.host_str().and_then(|host| host.strip_prefix("sns."));
    let region = region.and_then(|host| host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn")));
    url.scheme() == "https"
        && url.username().is_empty()
        && url.password().is_none()
        && url.port().is_none()
        && region.is_some_and(is_region)
}

/// `us-east-1`, `us-gov-west-1`: words of letters, then a number.
fn is_region(name: &str) -> bool {
    let Some((words, number)) = name.rsplit_once('-') else { return false };
    let is = |part: &str, sort: fn(&u8) -> bool| !part.is_empty() && part.bytes().all(|byte| sort(&byte));
    is(number, u8::is_ascii_digit) && words.contains('-') && words.split('-').all(|word| is(word, u8::is_ascii_lowercase))
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        process::{Command, Stdio},
        sync::{Arc, Mutex},
    };

    use async_trait::async_trait;
    use aws_lc_rs::{
        encoding::{AsDer as _, PublicKeyX509Der},
        rand::SystemRandom,
        rsa::{KeyPair, KeySize},
        signature::{KeyPair as _, RSA_PKCS1_SHA256},
    };
    use reqwest::header::HeaderMap;
    use serde_json::json;

    use super::{
        super::tests::{headers, now},
        *,
    };

    pub(crate) const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:MyTopic";
    const PLACE: &str = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem";

    /// Amazon: a key, the certificate for it, and who asked for that.
    pub(crate) struct Amazon {
        key: KeyPair,
        pem: Result<Vec<u8>, String>,
        pub(crate) asked: Arc<Mutex<Vec<String>>>,
    }

    #[async_trait]
    impl Certificates for Amazon {
        async fn fetch(&self, url: &Url) -> Result<Vec<u8>, String> {
            self.asked.lock().unwrap().push(url.to_string());
            self.pem.clone()
        }
    }

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut whole = vec![tag];
        match content.len() {
            short @ ..128 => whole.push(short as u8),
            long => whole.extend([0x82, (long >> 8) as u8, long as u8]),
        }
        whole.extend(content);
        whole
    }

    /// A certificate of version 3 without extensions, in PEM (RFC 5280, 4.1). Nobody looks at who signed it.
    fn certificate(public_key: &[u8]) -> Vec<u8> {
        // sha256WithRSAEncryption
        let algorithm = der(0x30, &[&der(0x06, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b]]), &der(0x05, &[])]);
        let name = der(0x30, &[]);
        let validity = der(0x30, &[&der(0x17, &[b"250101000000Z"]), &der(0x17, &[b"260101000000Z"])]);
        let version = der(0xa0, &[&der(0x02, &[&[2]])]);
        let body = der(0x30, &[&version, &der(0x02, &[&[1]]), &algorithm, &name, &validity, &name, public_key]);
        let whole = der(0x30, &[&body, &algorithm, &der(0x03, &[&[0, 0]])]);
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(whole)).into_bytes()
    }

    impl Amazon {
        pub(crate) fn new() -> Self {
            let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
            let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
            let pem = Ok(certificate(public.as_ref()));
            Self { key, pem, asked: Arc::default() }
        }

        /// Signs the fields in their order; they are those of a message but for signature and place.
        pub(crate) fn sign(&self, mut message: Value) -> Value {
            let lines = canonical(&message);
            let mut signature = vec![0; self.key.public_modulus_len()];
            self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), lines.as_bytes(), &mut signature).unwrap();
            let fields = message.as_object_mut().unwrap();
            fields.insert("SignatureVersion".to_owned(), json!("2"));
            fields.insert("Signature".to_owned(), json!(STANDARD.encode(signature)));
            fields.insert("SigningCertURL".to_owned(), json!(PLACE));
            message
        }
    }

    /// As Amazon's reference spells it: name and value, each on a line, in the order of the names.
    fn canonical(message: &Value) -> String {
        let mut names: Vec<_> = message.as_object().unwrap().keys().filter(|name| *name != "UnsubscribeURL").collect();
        names.sort();
        names.into_iter().map(|name| format!("{name}\n{}\n", message[name].as_str().unwrap())).collect()
    }

    pub(crate) fn notification(content: &str) -> Value {
        json!({
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": TOPIC,
            "Subject": "My First Message",
            "Message": content,
            "Timestamp": "2026-02-03T19:20:31.659Z",
            "UnsubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=Unsubscribe&SubscriptionArn=arn:aws:sns:us-west-2:1:t:c9",
        })
    }

    pub(crate) fn confirmation(kind: &str, address: &str) -> Value {
        json!({
            "Type": kind,
            "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
            "Token": "2336412f37",
            "TopicArn": TOPIC,
            "Message": "You have chosen to subscribe to the topic.\nTo confirm the subscription, visit the SubscribeURL.",
            "SubscribeURL": address,
            "Timestamp": "2026-02-03T19:20:31.659Z",
        })
    }

    async fn open_by(amazon: &Amazon, message: &Value) -> Result<Message, Refused> {
        let body = message.to_string();
        open(&Call { headers: &HeaderMap::new(), body: body.as_bytes(), now: now() }, TOPIC, amazon).await
    }

    #[tokio::test]
    async fn a_signed_notification_opens_with_and_without_a_subject() {
        let amazon = Amazon::new();
        let message = open_by(&amazon, &amazon.sign(notification("a\nb \"ä\""))).await.unwrap();
        assert!(matches!(message.content, Content::Notification(content) if content == "a\nb \"ä\""));
        assert_eq!(message.at, Some("2026-02-03T19:20:31.659Z".parse().unwrap()));
        assert_eq!(*amazon.asked.lock().unwrap(), [PLACE]);
        let mut bare = notification("x");
        bare.as_object_mut().unwrap().remove("Subject");
        let mut bare = amazon.sign(bare);
        assert!(open_by(&amazon, &bare).await.is_ok());
        bare["Subject"] = json!(null);
        assert!(open_by(&amazon, &bare).await.is_ok());
        bare["Subject"] = json!("added");
        assert_eq!(open_by(&amazon, &bare).await.unwrap_err(), Refused::Signature);
    }

    #[tokio::test]
    async fn a_message_that_was_touched_is_refused() {
        let amazon = Amazon::new();
        for good in
            [amazon.sign(notification("{}")), amazon.sign(confirmation("SubscriptionConfirmation", "https://sns.us-west-2.amazonaws.com/"))]
        {
            for name in ["Message", "MessageId", "Subject", "Timestamp", "Token", "SubscribeURL"] {
                if good.get(name).is_some() {
                    let mut touched = good.clone();
                    touched[name] = json!("https://sns.us-west-2.amazonaws.com/?other");
                    assert_eq!(open_by(&amazon, &touched).await.unwrap_err(), Refused::Signature, "{name}");
                }
            }
        }
        let mut touched = amazon.sign(notification("{}"));
        touched["Type"] = json!("UnsubscribeConfirmation");
        assert_eq!(open_by(&amazon, &touched).await.unwrap_err(), NOT_SNS);
        for signature in ["", "?", "AAAA"] {
            touched = amazon.sign(notification("{}"));
            touched["Signature"] = json!(signature);
            assert_eq!(open_by(&amazon, &touched).await.unwrap_err(), Refused::Signature);
        }
        assert_eq!(open_by(&Amazon::new(), &amazon.sign(notification("{}"))).await.unwrap_err(), Refused::Signature, "another key");
    }

    #[tokio::test]
    async fn another_topic_is_refused_however_well_it_is_signed_and_nobody_is_asked() {
        let amazon = Amazon::new();
        for topic in ["arn:aws:sns:us-west-2:999999999999:MyTopic", "", "arn:aws:sns:us-west-2:123456789012:mytopic"] {
            for mut message in [notification("{}"), confirmation("SubscriptionConfirmation", "https://sns.us-west-2.amazonaws.com/")] {
                message["TopicArn"] = json!(topic);
                assert_eq!(open_by(&amazon, &amazon.sign(message)).await.unwrap_err(), Refused::WrongTopic);
            }
        }
        assert!(amazon.asked.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_certificate_from_elsewhere_is_not_fetched() {
        let amazon = Amazon::new();
        for place in [
            "http://sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem",
            "https://sns.us-east-1.amazonaws.com.evil.example/SimpleNotificationService-a.pem",
            "https://evil.example/sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem",
            "https://sns.us-east-1.amazonaws.com@evil.example/SimpleNotificationService-a.pem",
            "https://evil.example#@sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem",
            "https://evil.example\\@sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem",
            "https://user@sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem",
            "https://user:secret@sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem",
            "https://sns.us-east-1.amazonaws.com:8443/SimpleNotificationService-a.pem",
            "https://sns.us-east-1.amazonaws.com./SimpleNotificationService-a.pem",
            "https://xsns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem",
            "https://sns.us-east-1.xamazonaws.com/SimpleNotificationService-a.pem",
            "https://sns.evil.us-east-1.amazonaws.com/SimpleNotificationService-a.pem",
            "https://sns.s3-us-west-2.amazonaws.com/SimpleNotificationService-a.pem",
            "https://sns.s3.amazonaws.com/SimpleNotificationService-a.pem",
            "https://sns.s3.us-east-1.amazonaws.com/SimpleNotificationService-a.pem",
            "https://sns.s3-external-1.amazonaws.com/SimpleNotificationService-a.pem",
            "https://s3.amazonaws.com/sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem",
            "https://sns.us-east-1.amazonaws.com.cn.evil.example/SimpleNotificationService-a.pem",
            "https://sns..amazonaws.com/SimpleNotificationService-a.pem",
            "https://sns.amazonaws.com/SimpleNotificationService-a.pem",
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem?x",
            "https://sns.us-east-1.amazonaws.com/?Action=x&y=SimpleNotificationService-a.pem",
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem#x",
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-a.txt",
            "https://sns.us-east-1.amazonaws.com/a/SimpleNotificationService-a.pem",
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService/../a.pem",
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService%2fa.pem",
            "file:///SimpleNotificationService-a.pem",
            "SimpleNotificationService-a.pem",
            "",
        ] {
            let mut message = amazon.sign(notification("{}"));
            message["SigningCertURL"] = json!(place);
            assert_eq!(open_by(&amazon, &message).await.unwrap_err(), Refused::ForeignCertificate, "{place}");
        }
        assert!(amazon.asked.lock().unwrap().is_empty());
        for place in [
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem",
            "https://SNS.us-gov-west-1.amazonaws.com:443/SimpleNotificationService.pem",
            "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-0a9.pem",
        ] {
            let mut message = amazon.sign(notification("{}"));
            message["SigningCertURL"] = json!(place);
            assert!(open_by(&amazon, &message).await.is_ok(), "{place}");
        }
    }

    #[tokio::test]
    async fn a_certificate_that_cannot_be_had_is_tried_again_later() {
        let mut amazon = Amazon::new();
        let message = amazon.sign(notification("{}"));
        for pem in [Err("404 for <ann@example.com>".to_owned()), Ok(Vec::new()), Ok(b"<html>".to_vec()), Ok(certificate(&[]))] {
            amazon.pem = pem;
            let refused = open_by(&amazon, &message).await.unwrap_err();
            assert!(matches!(refused, Refused::Certificate(_)) && refused.is_transient(), "{refused}");
            assert!(!refused.to_string().contains("ann@"));
        }
        let signature = Refused::Signature;
        assert!(!signature.is_transient());
    }

    #[tokio::test]
    async fn the_old_signature_is_refused_with_the_way_out() {
        let amazon = Amazon::new();
        let mut message = amazon.sign(notification("{}"));
        message["SignatureVersion"] = json!("1");
        let refused = open_by(&amazon, &message).await.unwrap_err();
        assert_eq!(refused, Refused::OldSignature);
        assert!(refused.to_string().contains("set its attribute `SignatureVersion` to 2"));
        message["SignatureVersion"] = json!("3");
        assert!(matches!(open_by(&amazon, &message).await, Err(Refused::Malformed(_))));
    }

    #[tokio::test]
    async fn a_subscription_is_confirmed_with_amazon_alone() {
        let amazon = Amazon::new();
        let good =
            "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-west-2:1:MyTopic&Token=2336412f37";
        let opened = open_by(&amazon, &amazon.sign(confirmation("SubscriptionConfirmation", good))).await.unwrap();
        assert!(matches!(opened.content, Content::SubscriptionConfirmation(url) if url.as_str() == good));
        let ended = open_by(&amazon, &amazon.sign(confirmation("UnsubscribeConfirmation", good))).await.unwrap();
        assert!(matches!(ended.content, Content::UnsubscribeConfirmation));
        for foreign in ["https://evil.example/", "http://sns.us-west-2.amazonaws.com/", "https://sns.us-west-2.amazonaws.com:1/", "x"] {
            let refused = open_by(&amazon, &amazon.sign(confirmation("SubscriptionConfirmation", foreign))).await;
            assert!(matches!(refused, Err(Refused::Malformed(_))), "{foreign}");
        }
    }

    #[tokio::test]
    async fn what_is_no_envelope_is_refused() {
        let amazon = Amazon::new();
        for body in [json!(null), json!([]), json!({}), json!({ "TopicArn": TOPIC }), json!({ "TopicArn": TOPIC, "Type": "Letter" })] {
            assert_eq!(open_by(&amazon, &body).await.unwrap_err(), NOT_SNS, "{body}");
        }
        let good = amazon.sign(notification("{}"));
        for name in ["Message", "MessageId", "Timestamp", "Signature", "SignatureVersion", "SigningCertURL"] {
            let mut without = good.clone();
            without.as_object_mut().unwrap().remove(name);
            assert_eq!(open_by(&amazon, &without).await.unwrap_err(), NOT_SNS, "{name}");
        }
        let raw = headers(&[("x-amz-sns-rawdelivery", "true")]);
        let refused = open(&Call { headers: &raw, body: b"{}", now: now() }, TOPIC, &amazon).await.unwrap_err();
        assert!(refused.to_string().contains("raw message delivery"), "{refused}");
    }

    #[tokio::test]
    async fn what_is_signed_can_be_cut_in_one_way_only() {
        let amazon = Amazon::new();
        let good = amazon.sign(notification("{}"));
        assert!(open_by(&amazon, &good).await.is_ok());
        // The same lines, the subject as part of the id.
        let mut other = good.clone();
        other["MessageId"] = json!(format!("{}\nSubject\n{}", good["MessageId"].as_str().unwrap(), good["Subject"].as_str().unwrap()));
        other.as_object_mut().unwrap().remove("Subject");
        assert_eq!(canonical(&signed(&other)), canonical(&signed(&good)));
        assert_eq!(open_by(&amazon, &other).await.unwrap_err(), NOT_SNS);
    }

    /// A message without what is not signed.
    fn signed(message: &Value) -> Value {
        let mut message = message.clone();
        let fields = message.as_object_mut().unwrap();
        for name in ["SignatureVersion", "Signature", "SigningCertURL"] {
            fields.remove(name);
        }
        message
    }

    #[tokio::test]
    async fn a_certificate_and_a_signature_made_by_openssl_pass() {
        let root = tempfile::tempdir().unwrap();
        let openssl = |arguments: &str| {
            let made = Command::new("openssl").args(arguments.split(' ')).current_dir(&root).stderr(Stdio::null()).status();
            made.is_ok_and(|status| status.success())
        };
        let mut message = notification("{}");
        std::fs::write(root.path().join("lines"), canonical(&message)).unwrap();
        if !openssl("req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=sns.amazonaws.com") {
            #[allow(clippy::print_stderr)] // A test that did not run says so.
            {
                eprintln!("skipped: openssl is needed");
            }
            return;
        }
        assert!(openssl("dgst -sha256 -sign key.pem -out signature lines"));
        let [signature, pem] = ["signature", "cert.pem"].map(|name| std::fs::read(root.path().join(name)).unwrap());
        message["SignatureVersion"] = json!("2");
        message["Signature"] = json!(STANDARD.encode(signature));
        message["SigningCertURL"] = json!(PLACE);
        let amazon = Amazon { pem: Ok(pem), ..Amazon::new() };
        assert!(open_by(&amazon, &message).await.is_ok());
        message["Message"] = json!("{} ");
        assert_eq!(open_by(&amazon, &message).await.unwrap_err(), Refused::Signature);
    }
}
