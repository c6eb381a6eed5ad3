//! What must hold of whatever mail servers, mailboxes, providers and readers send us, and of every letter, whatever stands in the data it is
//! made of. The fuzz targets ask it of whatever they make up, `cargo test` of the corpus they have left.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rand::{SecureRandom as _, SystemRandom},
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use mail_parser::{Address, MessageParser};
use perennial::{
    delivery::Token,
    fuzzing::{self, Caller, Credentials, Fate, Heard, Session, Told},
    ledger::CustomerId,
    message::{Brand, Channel, Envelope, Field, Message, Offer, Row, Templates, full_name, mailable},
    secret::{Keys, Secret},
};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    runtime::Runtime,
};

/// Bytes that are looked at; what is longer is another text than the one that was asked about.
const LONGEST: usize = 256 << 10;
/// Where bounces come back to.
const RETURNS: &str = "bounces@mail.shop.example";
/// How an account on a relay is proven. Nobody else says these.
const USERNAME: &str = "shop";
const PASSWORD: &str = "Tr0ub4dor&3-correct-horse";
const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:MyTopic";
/// What parts the values a letter is made of.
const NEXT: char = '\u{1e}';

type Promise = Result<(), String>;

/// Where it is asked: keys, providers' secrets made anew each time, a relay's port, and a campaign's templates.
pub struct House {
    keys: Keys,
    sendgrid: EcdsaKeyPair,
    amazon: RsaKeyPair,
    certificate: Vec<u8>,
    mailgun: String,
    postmark: String,
    standard: [u8; 32],
    callers: Vec<(&'static str, Caller)>,
    templates: Templates,
    password: PathBuf,
    listener: TcpListener,
    runtime: Runtime,
}

impl House {
    /// A house that keeps its files in the empty folder `root`.
    pub fn new(root: &Path) -> Self {
        let mut bytes = [[0; 32]; 3];
        for bytes in &mut bytes {
            SystemRandom::new().fill(bytes).unwrap();
        }
        let (mailgun, postmark, standard) = (hex::encode(bytes[0]), format!("shop:{}", hex::encode(bytes[1])), bytes[2]);
        let sendgrid = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let public: PublicKeyX509Der<'_> = sendgrid.public_key().as_der().unwrap();
        let callers = [
            ("sendgrid", STANDARD.encode(public.as_ref())),
            ("ses", TOPIC.to_owned()),
            ("mailgun", mailgun.clone()),
            ("postmark", postmark.clone()),
            ("standard", format!("whsec_{}", STANDARD.encode(standard))),
        ];
        let amazon = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public: PublicKeyX509Der<'_> = amazon.public_key().as_der().unwrap();
        let certificate = certificate(public.as_ref());
        fs::write(root.join("email.mjml"), HTML).unwrap();
        fs::write(root.join("email.txt"), TEXT).unwrap();
        fs::write(root.join("password"), PASSWORD).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self {
            keys: Keys::new(Secret::new("a master key")),
            amazon,
            certificate,
            mailgun,
            postmark,
            standard,
            callers: callers.map(|(kind, secret)| (kind, Caller::new(kind, &secret).unwrap())).into(),
            templates: Templates::load(root, Channel::Email, &brand(), false).unwrap(),
            password: root.join("password"),
            listener: runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap(),
            runtime,
            sendgrid,
        }
    }

    /// Reads a mail that came back.
    ///
    /// # Errors
    /// Names the promise that is broken.
    pub fn returned(&self, mail: &[u8]) -> Promise {
        let mail = &mail[..mail.len().min(LONGEST)];
        let read = fuzzing::returned(mail, RETURNS);
        hold(fuzzing::returned(mail, RETURNS) == read, || format!("read twice, it is not the same: {read:?}"))?;
        for told in read.iter().flatten() {
            sound(told)?;
            if let Some(path) = &told.path {
                self.proves_only_itself(path)?;
            }
        }
        Ok(())
    }

    /// Reads what a relay of another party says in a session of two letters. It begins with `\x01` where the relay is logged in to by a
    /// password, with `\x02` by a token.
    ///
    /// # Errors
    /// Names the promise that is broken.
    pub fn smtp_replies(&self, said: &[u8]) -> Promise {
        let said = &said[..said.len().min(LONGEST)];
        let (login, said) = match said {
            [1, rest @ ..] => (Some(false), rest),
            [2, rest @ ..] => (Some(true), rest),
            _ => (None, said),
        };
        let credentials = login.map(|xoauth2| Credentials { username: USERNAME, file: &self.password, xoauth2 });
        let letters = [0, 1].map(|number| format!("Message-ID: <letter-{number}@shop.example>\r\n\r\nHello\r\n.\r\n"));
        let port = self.listener.local_addr().map_err(|error| error.to_string())?.port();
        let relay = async {
            let (mut tcp, _) = self.listener.accept().await?;
            tcp.set_nodelay(true)?;
            let (mut reading, mut writing) = tcp.split();
            let mut heard = Vec::new();
            let all = async {
                // Whoever listens no more has heard enough.
                let _ = writing.write_all(said).await;
                let _ = writing.shutdown().await;
            };
            let (whole, ()) = tokio::join!(reading.read_to_end(&mut heard), all);
            std::io::Result::Ok((heard, whole.is_ok()))
        };
        let (relay, session) = self.runtime.block_on(async { tokio::join!(relay, fuzzing::session(port, credentials, &letters)) });
        let (heard, whole) = relay.map_err(|error| format!("the relay broke: {error}"))?;
        let heard = String::from_utf8_lossy(&heard);
        // Before it is logged in to, a relay knows nothing to tell.
        kept_to_oneself(&session, heard.contains("\r\nAUTH "))?;
        for (number, letter) in letters.iter().enumerate() {
            let fate = session.fates.get(number);
            let copies = heard.matches(&format!("<letter-{number}@")).count();
            hold(copies <= 1, || format!("letter {number} left {copies} times"))?;
            let may_have_left =
                matches!(fate, Some(Fate::Accepted(_) | Fate::Rejected(_) | Fate::Deferred(_) | Fate::Lost { begun: true, .. }));
            hold(copies == 0 || may_have_left, || format!("letter {number} left, and is {fate:?}"))?;
            let is_whole = !whole || heard.contains(letter.as_str());
            hold(is_whole || !matches!(fate, Some(Fate::Accepted(_))), || format!("letter {number} did not leave, and is {fate:?}"))?;
        }
        match login {
            None => Script::of(said).expects(letters.len(), &session),
            Some(_) => Ok(()),
        }
    }

    /// Reads a provider's call: headers, an empty line, a body.
    ///
    /// # Errors
    /// Names the promise that is broken.
    pub fn provider_events(&self, call: &[u8]) -> Promise {
        let call = &call[..call.len().min(LONGEST)];
        let parted = call.windows(2).position(|pair| pair == b"\n\n");
        let (head, body) = parted.map_or((&[][..], call), |at| (&call[..at], &call[at + 2..]));
        let pair = |line: &[u8]| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((String::from_utf8_lossy(&line[..colon]).into_owned(), line[colon + 1..].trim_ascii().to_vec()))
        };
        let headers: Vec<(String, Vec<u8>)> = head.split(|byte| *byte == b'\n').filter_map(pair).collect();
        for (kind, caller) in &self.callers {
            // The keys were made a moment ago: nobody can have signed anything with them.
            let refused = caller.hear(&headers, body, now(), &self.certificate);
            let refused = refused.err().ok_or_else(|| format!("{kind} takes what nobody signed"))?;
            hold(!refused.contains('@') && !refused.contains(PASSWORD), || format!("{kind} tells: {refused}"))?;
        }
        let content = String::from_utf8_lossy(body);
        for (kind, caller) in &self.callers {
            let (proof, signed) = self.signed(kind, &content);
            let all: Vec<(String, Vec<u8>)> = proof.iter().chain(&headers).cloned().collect();
            let hear = |body: &[u8]| caller.hear(&all, body, now(), &self.certificate);
            let heard = hear(signed.as_bytes());
            hold(hear(signed.as_bytes()) == heard, || format!("{kind} is heard twice, and is not the same: {heard:?}"))?;
            if let Ok(heard) = &heard {
                well_heard(heard).map_err(|broken| format!("{kind}: {broken}"))?;
            }
            for changed in changed(kind, &signed) {
                let heard = hear(changed.as_bytes());
                hold(heard.is_err(), || format!("{kind} takes `{changed}` under the signature of `{signed}`: {heard:?}"))?;
            }
            let late = now() + TimeDelta::minutes(6);
            let heard = caller.hear(&all, signed.as_bytes(), late, &self.certificate);
            let is_dated = matches!(*kind, "sendgrid" | "mailgun" | "standard");
            hold(heard.is_err() || !is_dated, || format!("{kind} takes a call of six minutes ago"))?;
        }
        Ok(())
    }

    /// Reads a text as an unsubscribe token and as a return path, and makes both from its lines: customer, campaign, message, channel, and
    /// what to change.
    ///
    /// # Errors
    /// Names the promise that is broken.
    pub fn tokens(&self, text: &[u8]) -> Promise {
        let text = String::from_utf8_lossy(&text[..text.len().min(LONGEST)]);
        if let Some(claim) = Token::verify(&self.keys, &text) {
            let own = Token::issue(&self.keys, &claim.customer_id, &claim.campaign, &claim.message_id, &claim.channel);
            hold(own == text, || format!("`{text}` passes for `{own}`"))?;
        }
        self.proves_only_itself(&text)?;
        let mut lines = text.split('\n');
        let mut line = || lines.next().unwrap_or_default();
        let (customer, campaign, message, channel, change) = (CustomerId::new(line()), line(), line(), line(), line());
        let other = Keys::new(Secret::new("another master key"));

        let token = Token::issue(&self.keys, &customer, campaign, message, channel);
        let read = Token::verify(&self.keys, &token);
        let same = read.as_ref().is_some_and(|claim| {
            (&claim.customer_id, claim.campaign.as_str(), claim.message_id.as_str(), claim.channel.as_str())
                == (&customer, campaign, message, channel)
        });
        hold(same || (token.len() > 2_048 && read.is_none()), || format!("{token} is read as {read:?}"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        hold(token.chars().all(plain), || format!("{token} does not fit into a link"))?;
        hold(Token::verify(&other, &token).is_none(), || format!("{token} passes for another house's"))?;
        let changed = altered(&token, change);
        hold(changed == token || Token::verify(&self.keys, &changed).is_none(), || format!("{changed} passes for {token}"))?;

        let path = fuzzing::return_path(&self.keys, RETURNS, message).ok_or("there is no return path")?;
        hold(mailable(&path).as_deref() == Some(&path), || format!("{path} is no address"))?;
        if let Some(found) = fuzzing::reference(&self.keys, &path) {
            hold(message.to_lowercase().starts_with(&found), || format!("{path} was made for {message}, and is read as {found}"))?;
            hold(fuzzing::reference(&other, &path).is_none(), || format!("{path} passes for another house's"))?;
        }
        self.proves_only_itself(&altered(&path, change))
    }

    /// What passes for a return path of ours is the one we made, but for capitals and for what stands before its token.
    fn proves_only_itself(&self, path: &str) -> Promise {
        let Some(found) = fuzzing::reference(&self.keys, path) else { return Ok(()) };
        let own = fuzzing::return_path(&self.keys, RETURNS, &format!("{found}@shop.example")).unwrap_or_default();
        let token = |path: &str| {
            let local = path.rsplit_once('@').map_or(path, |(local, _)| local);
            local.rsplit_once('+').map(|(_, token)| token.to_ascii_lowercase())
        };
        hold(token(path) == token(&own) && token(path).is_some(), || format!("`{path}` passes for `{own}`"))
    }

    /// Makes a letter of values that are parted by `\x1e`: first name, family name, title, locale, what stands in the subject, what stands
    /// in the letter, a link, the address, the reply address, the link to stop it, the campaign, the plan, the variant, an offer.
    ///
    /// # Errors
    /// Names the promise that is broken.
    pub fn letter(&self, values: &[u8]) -> Promise {
        let values = String::from_utf8_lossy(&values[..values.len().min(LONGEST)]);
        let mut values = values.split(NEXT);
        let mut value = |usual: &str| values.next().filter(|value| !value.is_empty()).unwrap_or(usual).to_owned();
        let names = ["first_name", "last_name", "honorific", "locale", "opening", "note", "link"];
        let usual = ["Anna", "Berg", "", "de-DE", "Your coffee", "Hello", "https://shop.example/p"];
        let row: Row = names.iter().zip(usual).map(|(name, usual)| ((*name).to_owned(), field(value(usual)))).collect();
        let date: DateTime<Utc> = now();
        let envelope = Envelope {
            to: value("anna@example.org"),
            reply_to: value("hello@shop.example"),
            unsubscribe_url: Some(value("https://shop.example/u/k1.abc")).filter(|url| url != "-"),
            campaign: value("win-back"),
            plan: value("win-back-20261122T010000Z-0a1b2c3d"),
            variant: Some(value("plain")).filter(|variant| variant != "-"),
            offer: Some(Offer { text: value("10 % off"), code: "BACK".to_owned(), valid_until: date.date_naive() }),
            message_id: "0123456789abcdef0123456789abcdef@shop.example".to_owned(),
            step: 1,
            as_of: date,
            date,
        };
        let made = self.templates.render(&row, &envelope);
        let again = self.templates.render(&row, &envelope);
        hold(made.as_ref().ok() == again.as_ref().ok(), || "made twice, it is not the same".to_owned())?;
        let Ok(Message::Email { subject, html, text, bytes, .. }) = made else { return Ok(()) };
        let wire = fuzzing::wire(&bytes).map_err(|reason| format!("it cannot cross: {reason}"))?;
        let message = crossed(&wire)?;
        hold(message.as_bytes() == bytes, || "it does not cross as it is".to_owned())?;
        headers_of_ours(&message, envelope.unsubscribe_url.is_some())?;
        read_back(&message, &row, &envelope, &subject, &text)?;
        let has_link = html.contains(LINK);
        let plain = self.templates.render(&usual_row(names, usual, has_link), &Envelope { offer: None, ..envelope.clone() });
        let Ok(Message::Email { html: plain, .. }) = plain else { return Err("the plain letter cannot be made".to_owned()) };
        hold(tags(&html) == tags(&plain), || format!("a value is markup: {html}"))?;
        for link in html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let open = ["https://", "mailto:", "http://127.0.0.1", "http://localhost", "http://[::1]"];
            hold(open.iter().any(|begin| link.starts_with(begin)), || format!("a link leads to `{link}`"))?;
        }
        let turning = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') || (c.is_control() && !"\n\t".contains(c));
        for (what, written) in [("subject", &subject), ("text", &text), ("HTML", &html)] {
            hold(!written.contains(turning), || format!("a character that turns others stands in the {what}: {written:?}"))?;
        }
        hold(!subject.contains('\n'), || format!("a subject of two lines: {subject:?}"))
    }

    /// A call that proves itself, around a content.
    fn signed(&self, kind: &str, content: &str) -> (Vec<(String, Vec<u8>)>, String) {
        let timestamp = now().timestamp().to_string();
        let mac = |key: &[u8], text: String| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
            mac.update(text.as_bytes());
            mac.finalize().into_bytes()
        };
        let headers =
            |pairs: &[(&str, String)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into_bytes())).collect();
        match kind {
            "sendgrid" => {
                let signature = self.sendgrid.sign(&SystemRandom::new(), format!("{timestamp}{content}").as_bytes()).unwrap();
                let signature = ("x-twilio-email-event-webhook-signature", STANDARD.encode(signature));
                (headers(&[signature, ("x-twilio-email-event-webhook-timestamp", timestamp)]), content.to_owned())
            }
            "ses" => (Vec::new(), self.notification(content).to_string()),
            "mailgun" => {
                let signature = hex::encode(mac(self.mailgun.as_bytes(), format!("{timestamp}t")));
                let signature = json!({ "timestamp": timestamp, "token": "t", "signature": signature });
                (Vec::new(), format!("{{\"signature\":{signature},\"event-data\":{content}}}"))
            }
            "postmark" => (headers(&[("authorization", format!("Basic {}", STANDARD.encode(&self.postmark)))]), content.to_owned()),
            _ => {
                let signature = format!("v1,{}", STANDARD.encode(mac(&self.standard, format!("m.{timestamp}.{content}"))));
                let id = ("webhook-id", "m".to_owned());
                (headers(&[id, ("webhook-timestamp", timestamp), ("webhook-signature", signature)]), content.to_owned())
            }
        }
    }

    /// A message of Amazon SNS.
    fn notification(&self, content: &str) -> Value {
        let mut message = json!({
            "Message": content, "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "Subject": "Amazon SES Email Event Notification",
            "Timestamp": "2026-11-22T00:59:31.659Z", "TopicArn": TOPIC, "Type": "Notification",
        });
        let fields = message.as_object_mut().unwrap();
        let lines: String = fields.iter().map(|(name, value)| format!("{name}\n{}\n", value.as_str().unwrap_or_default())).collect();
        let mut signature = vec![0; self.amazon.public_modulus_len()];
        self.amazon.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), lines.as_bytes(), &mut signature).unwrap();
        let place = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem";
        fields.insert("SignatureVersion".to_owned(), json!("2"));
        fields.insert("Signature".to_owned(), json!(STANDARD.encode(signature)));
        fields.insert("SigningCertURL".to_owned(), json!(place));
        message
    }
}

fn hold(holds: bool, broken: impl FnOnce() -> String) -> Promise {
    if holds { Ok(()) } else { Err(broken()) }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_309_200, 0).unwrap()
}

/// A certificate of version 3 without extensions, in PEM (RFC 5280, 4.1). Nobody looks at who signed it.
fn certificate(public_key: &[u8]) -> Vec<u8> {
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = content.len();
        let head = if length < 128 { vec![tag, length as u8] } else { vec![tag, 0x82, (length >> 8) as u8, length as u8] };
        [head, content].concat()
    }
    // sha256WithRSAEncryption
    let algorithm = der(0x30, &[&der(0x06, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b]]), &der(0x05, &[])]);
    let (version, name) = (der(0xa0, &[&der(0x02, &[&[2]])]), der(0x30, &[]));
    let validity = der(0x30, &[&der(0x17, &[b"250101000000Z"]), &der(0x17, &[b"260101000000Z"])]);
    let body = der(0x30, &[&version, &der(0x02, &[&[1]]), &algorithm, &name, &validity, &name, public_key]);
    let whole = der(0x30, &[&body, &algorithm, &der(0x03, &[&[0, 0]])]);
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(whole)).into_bytes()
}

/// The ways one byte or one field of a call can differ for which its signature must not hold.
fn changed(kind: &str, signed: &str) -> Vec<String> {
    let middle = signed.char_indices().nth(signed.chars().count() / 2).map(|(at, _)| at);
    let one = |at: usize| {
        let mut text = signed.to_owned();
        let end = at + text[at..].chars().next().map_or(0, char::len_utf8);
        let other = if &text[at..end] == "0" { "1" } else { "0" };
        text.replace_range(at..end, other);
        text
    };
    match kind {
        "sendgrid" | "standard" => middle.map(one).into_iter().chain([format!("{signed} ")]).collect(),
        "ses" => {
            let message: Value = serde_json::from_str(signed).unwrap();
            let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
            let with = |changes: &[(&str, Option<String>)]| {
                let mut message = message.clone();
                let fields = message.as_object_mut().unwrap();
                for (name, value) in changes {
                    match value {
                        Some(value) => fields.insert((*name).to_owned(), json!(value)),
                        None => fields.remove(*name),
                    };
                }
                message.to_string()
            };
            let joined = format!("{}\nSubject\n{}", text("MessageId"), text("Subject"));
            let longer = format!("{}\nMessageId\n{}", text("Message"), text("MessageId"));
            vec![
                with(&[("Message", Some(text("Message") + " "))]),
                with(&[("MessageId", Some("another".to_owned()))]),
                with(&[("MessageId", Some(joined)), ("Subject", None)]),
                with(&[("Message", Some(longer)), ("MessageId", None)]),
                with(&[("TopicArn", Some("arn:aws:sns:us-west-2:123456789012:Other".to_owned()))]),
            ]
        }
        // The body is not signed: one under a signature that holds is the provider's, or that of somebody who has seen one.
        _ => Vec::new(),
    }
}

/// What a call says is fit for the ledger and the log.
fn well_heard(heard: &Heard) -> Promise {
    for told in &heard.events {
        sound(told)?;
        let id = told.event_id.as_deref().unwrap_or_default();
        let fit = !id.is_empty() && id.len() < 200 && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
        hold(fit, || format!("an event has the id {id:?}"))?;
        let when = told.at.is_some_and(|at| at >= DateTime::UNIX_EPOCH && at <= now() + TimeDelta::days(2));
        hold(when, || format!("an event happened at {:?}", told.at))?;
        hold(told.message_id.is_some() || told.recipient.is_some(), || "an event is about nobody".to_owned())?;
    }
    heard.ignored.iter().try_for_each(|ignored| unaddressed(ignored))
}

/// What is told is of a shape the ledger takes, and says no address but where one belongs.
fn sound(told: &Told) -> Promise {
    let blank = |c: char| c.is_whitespace() || c.is_control();
    let recipient =
        told.recipient.as_deref().is_none_or(|address| address.contains('@') && address.len() <= 320 && !address.contains(blank));
    hold(recipient, || format!("{:?} is an address", told.recipient))?;
    let message = told.message_id.as_deref().is_none_or(|id| !id.is_empty() && id.len() <= 998 && !id.contains(blank));
    hold(message, || format!("{:?} is a message", told.message_id))?;
    hold(told.path.as_deref().is_none_or(|path| path.len() <= 64 && !path.contains('@')), || format!("{:?} is a path", told.path))?;
    told.detail.as_deref().map_or(Ok(()), |detail| {
        hold(!detail.is_empty() && detail.chars().count() <= 200, || format!("it says {detail:?}"))?;
        unaddressed(detail)
    })
}

/// What is logged has one line and no address.
fn unaddressed(said: &str) -> Promise {
    let addressed = ["@", "%40", "&#64;", "\u{ff20}", "\u{fe6b}"].iter().any(|sign| said.contains(sign));
    hold(!addressed && !said.contains(char::is_control), || format!("it is said: {said:?}"))
}

/// Nothing that is logged of a session tells a secret or an address.
fn kept_to_oneself(session: &Session, knows: bool) -> Promise {
    let fates = session.fates.iter().map(|fate| match fate {
        Fate::Accepted(said)
        | Fate::Rejected(said)
        | Fate::Deferred(said)
        | Fate::SenderRefused(said)
        | Fate::Lost { reason: said, .. } => said,
    });
    let plain = format!("\0{USERNAME}\0{PASSWORD}");
    let bearer = format!("user={USERNAME}\x01auth=Bearer {PASSWORD}\x01\x01");
    let secrets = [PASSWORD.to_owned(), STANDARD.encode(PASSWORD), STANDARD.encode(plain), STANDARD.encode(bearer)];
    let secrets: Vec<String> = secrets.iter().flat_map(|secret| [secret[..12].to_owned(), secret.clone()]).collect();
    let told = |said: &str| secrets.iter().any(|secret| said.to_lowercase().contains(&secret.to_lowercase()));
    let refused = session.closed.as_deref();
    hold(!knows || !refused.is_some_and(told), || format!("it is said: {refused:?}"))?;
    session.closed.iter().chain(fates).try_for_each(|said| unaddressed(said))
}

/// What a relay says, read by the letter of RFC 5321, 4.2, as far as it is read at all: a last line without a text is not.
struct Script<'a> {
    rest: &'a [u8],
}

/// A reply: its code, and the first word of each of its lines.
type Said = Option<(u16, Vec<Option<String>>)>;

impl<'a> Script<'a> {
    fn of(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// The next reply; none where it is no reply, or has no end. After that there is no other.
    fn next(&mut self) -> Said {
        let said = self.read();
        if said.is_none() {
            self.rest = &[];
        }
        said
    }

    fn read(&mut self) -> Said {
        let mut text = String::new();
        loop {
            let end = self.rest.iter().position(|byte| *byte == b'\n')? + 1;
            let (line, rest) = self.rest.split_at(end);
            self.rest = rest;
            text.push_str(std::str::from_utf8(line).ok()?);
            if line.len() > 1_000 || text.len() > 100_000 {
                return None;
            }
            // A line ends by both; one by itself is part of its text.
            if !text.ends_with("\r\n") {
                let begun = text.rsplit("\r\n").next().unwrap_or_default();
                shape(begun)?;
                continue;
            }
            let lines: Vec<&str> = text[..text.len() - 2].split("\r\n").collect();
            let read: Vec<(u16, bool)> = lines.iter().map(|line| shape(line)).collect::<Option<_>>()?;
            let &(code, last) = read.last()?;
            if last {
                let word = |line: &&str| line[4..].split_whitespace().next().map(str::to_owned);
                return read.iter().all(|(own, _)| *own == code).then(|| (code, lines.iter().map(word).collect()));
            }
        }
    }

    /// A reply to what was asked in a phase that a `2` (or, for DATA, a `3`) answers.
    fn answer(&mut self, awaited: u16) -> Option<u16> {
        let (code, _) = self.next()?;
        (code >= 400 || code / 100 == awaited).then_some(code)
    }

    /// As before the message: a goodbye is no answer.
    fn before(&mut self, awaited: u16) -> Option<u16> {
        self.answer(awaited).filter(|code| *code != 421)
    }

    /// What a session that hears this must come to.
    fn expects(mut self, letters: usize, session: &Session) -> Promise {
        let greeted = self.next().is_some_and(|(code, _)| code < 400);
        let known = greeted && self.next().is_some_and(|(code, words)| code < 400 && words[0].is_some());
        let offered = if known { self.next().filter(|(code, _)| *code < 400) } else { None };
        let Some((_, words)) = offered else {
            return hold(session.closed.is_some() && session.fates.is_empty(), || format!("it was not let in: {session:?}"));
        };
        hold(session.closed.is_none(), || format!("it was let in: {session:?}"))?;
        let pipelining = words.iter().skip(1).flatten().any(|word| word.eq_ignore_ascii_case("PIPELINING"));
        let (mut unfinished, mut announced) = (false, false);
        let mut expected = Vec::new();
        for number in 0..letters {
            let fate = self.letter(pipelining, std::mem::take(&mut announced), &mut unfinished, number + 1 < letters, &mut announced);
            let is_over = matches!(fate, Expected::Lost(_));
            expected.push(fate);
            if is_over {
                break;
            }
        }
        let same = expected.len() == session.fates.len() && expected.iter().zip(&session.fates).all(|(expected, fate)| expected.is(fate));
        hold(same, || format!("{expected:?} was said, and {:?} heard", session.fates))
    }

    fn letter(&mut self, pipelining: bool, was_announced: bool, unfinished: &mut bool, more: bool, announced: &mut bool) -> Expected {
        let lost = Expected::Lost(false);
        if *unfinished && !was_announced && self.before(2).is_none_or(|code| code >= 400) {
            return lost;
        }
        if pipelining {
            let (Some(mail), Some(rcpt), Some(data)) = (self.before(2), self.before(2), self.before(3)) else { return lost };
            *unfinished = true;
            let refusal = [(true, mail), (false, rcpt)].into_iter().find(|(_, code)| *code >= 400);
            match (refusal, data < 400) {
                (None, true) => {}
                (None, false) => return Expected::refused(false, data),
                (Some((is_sender, code)), false) => return Expected::refused(is_sender, code),
                (Some((is_sender, code)), true) => {
                    return if self.answer(2).is_some() { Expected::refused(is_sender, code) } else { lost };
                }
            }
        } else {
            *unfinished = true;
            for (is_sender, awaited) in [(true, 2), (false, 2), (false, 3)] {
                match self.before(awaited) {
                    None => return lost,
                    Some(code) if code >= 400 => return Expected::refused(is_sender, code),
                    Some(_) => {}
                }
            }
        }
        *announced = pipelining && more;
        let Some(code) = self.answer(2) else { return Expected::Lost(true) };
        *unfinished = false;
        if code < 400 { Expected::Accepted(code) } else { Expected::refused(false, code) }
    }
}

/// The code of a line, and whether it is the last of its reply.
fn shape(line: &str) -> Option<(u16, bool)> {
    let bytes = line.as_bytes();
    let code = matches!(bytes, [b'2'..=b'5', b'0'..=b'5', b'0'..=b'9', b' ' | b'-', ..]);
    code.then(|| Some((line[..3].parse().ok()?, bytes[3] == b' ')))?
}

/// What must have become of a letter.
#[derive(Debug)]
enum Expected {
    Accepted(u16),
    Rejected(u16),
    Deferred(u16),
    SenderRefused(u16),
    Lost(bool),
}

impl Expected {
    fn refused(is_sender: bool, code: u16) -> Self {
        match code {
            ..500 => Self::Deferred(code),
            code if is_sender && code != 552 => Self::SenderRefused(code),
            code => Self::Rejected(code),
        }
    }

    fn is(&self, fate: &Fate) -> bool {
        match (self, fate) {
            (Self::Accepted(code), Fate::Accepted(said))
            | (Self::Rejected(code), Fate::Rejected(said))
            | (Self::Deferred(code), Fate::Deferred(said))
            | (Self::SenderRefused(code), Fate::SenderRefused(said)) => said.starts_with(&code.to_string()),
            (Self::Lost(may_have_arrived), Fate::Lost { begun, .. }) => may_have_arrived == begun,
            _ => false,
        }
    }
}

/// A text with some of its bytes changed: by pairs of characters, of which the first says where and the second what.
fn altered(text: &str, change: &str) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let change: Vec<char> = change.chars().take(32).collect();
    for pair in change.chunks_exact(2) {
        let at = pair[0] as usize % characters.len().max(1);
        match characters.get_mut(at) {
            Some(_) if pair[1] == '\u{7f}' => drop(characters.remove(at)),
            Some(place) => *place = pair[1],
            None => {}
        }
    }
    characters.into_iter().collect()
}

const LINK: &str = "<a class=\"link\"";
const HTML: &str = "<mjml lang=\"{{ language }}\"><mj-head><mj-title>{{ subject }}</mj-title><mj-preview>{{ preview }}</mj-preview></mj-head>\
    <mj-body><mj-section><mj-column>\n<mj-text><p title=\"{{ note }}\">{{ full_name()|default(\"you\") }}</p><p>{{ opening }}</p>\
    <p>{{ note|bdi }}</p>{% if link %}<a class=\"link\" href=\"{{ link }}\">{{ link }}</a>{% endif %}<p>{{ offer.text|default(\"-\") }}</p>\
    </mj-text></mj-column></mj-section></mj-body></mjml>";
const TEXT: &str = "Subject: {{ opening }}, {{ first_name|default(\"you\") }}\nPreview: {{ note }}\n\n{{ greeting() }}\n\n{{ note }}\n\
    {{ link|default(\"no link\") }}\n{{ unsubscribe_url|default(\"no way out\") }}\n";

fn brand() -> Brand {
    Brand {
        name: "Fernwood".into(),
        url: "https://fernwood.example".into(),
        domain: "fernwood.example".into(),
        from: "Fernwood <hello@fernwood.example>".into(),
        postal_address: vec!["Lindenallee 12".into(), "10115 Berlin".into()],
        locale: "en-GB".into(),
        timezone: "Europe/Berlin".into(),
        currency: "EUR".into(),
        color: "#2f5d50".into(),
        signed_by: "Mara, customer care".into(),
        phone: None,
    }
}

fn field(text: String) -> Field {
    if text.is_empty() { Field::Null } else { Field::Text(text) }
}

/// The row of a letter in which nobody tries anything.
fn usual_row(names: [&str; 7], usual: [&str; 7], has_link: bool) -> Row {
    let value = |name: &str, usual: &str| if name == "link" && !has_link { Field::Null } else { field(usual.to_owned()) };
    names.iter().zip(usual).map(|(name, usual)| ((*name).to_owned(), value(name, usual))).collect()
}

/// A message as the relay has it: no bare line break, no line too long, nothing after the final dot, dots unstuffed.
fn crossed(wire: &str) -> Result<String, String> {
    let body = wire.strip_suffix("\r\n.\r\n").ok_or("it has no final dot")?;
    let mut message = String::new();
    for line in body.split("\r\n") {
        hold(!line.contains(['\r', '\n', '\0']) && line.len() <= 999, || format!("a line that should not be: {line:?}"))?;
        hold(line != ".", || "it ends before its end".to_owned())?;
        message.extend([line.strip_prefix('.').unwrap_or(line), "\r\n"]);
    }
    Ok(message)
}

/// The headers are those that are always there, in their order, and each part has its own.
fn headers_of_ours(message: &str, has_way_out: bool) -> Promise {
    let names = |head: &str| -> Vec<String> {
        let lines = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
        lines.map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect()
    };
    let (head, body) = message.split_once("\r\n\r\n").ok_or("it has no body")?;
    let before = ["Date", "From", "To", "Reply-To", "Subject", "Message-ID", "X-Perennial-Plan", "Feedback-ID", "Content-Language"];
    let way_out: &[&str] = if has_way_out { &["List-Id", "List-Unsubscribe", "List-Unsubscribe-Post"] } else { &[] };
    let expected: BTreeSet<&str> = before.iter().chain(way_out).chain(&["MIME-Version", "Content-Type"]).copied().collect();
    let found = names(head);
    hold(found.len() == expected.len() && found.iter().all(|name| expected.contains(name.as_str())), || format!("it has {found:?}"))?;
    let boundary = head.rsplit_once("boundary=\"").and_then(|(_, rest)| rest.split_once('"')).ok_or("it has no boundary")?.0;
    let delimiter = format!("--{boundary}");
    let parts: Vec<&str> = body.split(&delimiter).collect();
    hold(parts.len() == 4 && parts[3].trim_end() == "--", || format!("it has {} parts", parts.len()))?;
    for part in &parts[1..3] {
        let (head, _) = part.trim_start_matches("\r\n").split_once("\r\n\r\n").ok_or("a part has no body")?;
        hold(names(head) == ["Content-Type", "Content-Transfer-Encoding"], || format!("a part has {:?}", names(head)))?;
    }
    Ok(())
}

/// A parser that did not write the message reads what was meant.
fn read_back(message: &str, row: &Row, envelope: &Envelope, subject: &str, text: &str) -> Promise {
    let read = MessageParser::default().parse(message.as_bytes()).ok_or("it cannot be read")?;
    let one = |address: Option<&Address<'_>>| -> Option<(Option<String>, String)> {
        let Some(Address::List(list)) = address else { return None };
        let [one] = list.as_slice() else { return None };
        Some((one.name.as_ref().map(|name| words(name)), one.address.as_ref()?.to_string()))
    };
    let value = |name: &str| match row.get(name) {
        Some(Field::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let name = full_name(value("first_name"), value("last_name"), value("locale")).map(|name| words(&name));
    let to = one(read.to());
    let expected = mailable(&envelope.to).map(|address| (name, address));
    // The parser drops a blank between plain and encoded words where the line is folded.
    let joined =
        |one: &Option<(Option<String>, String)>| one.clone().map(|(name, address)| (name.map(|name| name.replace(' ', "")), address));
    hold(joined(&to) == joined(&expected), || format!("it is to {to:?}, not {expected:?}"))?;
    let reply_to = one(read.reply_to()).map(|(_, address)| address);
    hold(reply_to.is_some() && reply_to == mailable(&envelope.reply_to), || format!("replies go to {reply_to:?}"))?;
    hold(read.cc().is_none() && read.bcc().is_none(), || "it has other readers".to_owned())?;
    let expected = words(&subject.replace("=?", "= ?"));
    let found = words(read.subject().unwrap_or_default());
    hold(found == expected, || format!("its subject is {found:?}, not {expected:?}"))?;
    let found = read.body_text(0).unwrap_or_default().replace("\r\n", "\n");
    hold(found.trim_end() == text.trim_end(), || format!("its text is {found:?}, not {text:?}"))?;
    hold(read.parts.len() == 3, || format!("it has {} parts", read.parts.len()))
}

/// A text as far as white space does not count: headers are folded at blanks.
fn words(text: &str) -> String {
    text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The names of the tags in a page, in their order.
fn tags(html: &str) -> Vec<&str> {
    let name = |rest: &'_ str| rest.find(|c: char| !(c.is_ascii_alphanumeric() || "/!-".contains(c))).unwrap_or(rest.len());
    html.split('<').skip(1).map(|rest| &rest[..name(rest)]).filter(|name| !name.is_empty()).collect()
}
