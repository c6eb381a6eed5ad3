//! A subject, two parts and an envelope as one message by RFC 5322, ready for the wire.

use std::borrow::Cow;

use chrono::{DateTime, Datelike, Timelike, Utc};
use lettre::{
    Address,
    message::{
        Mailbox,
        header::{From, HeaderName, HeaderValue, Headers},
    },
};

use super::{Envelope, MessageError, transfer::Transfer};
use crate::diagnosis::Diagnosis;

/// An address as mail servers take it: domain in ASCII; none where it is no address, or needs a server that takes Unicode local parts.
#[must_use]
pub fn mailable(address: &str) -> Option<String> {
    let address = address.trim();
    let (local, domain) = address.rsplit_once('@')?;
    if local.len() > 64 {
        return None;
    }
    if address.len() <= 254 && is_plain(local, domain) {
        return Some(address.to_owned());
    }
    let domain = match url::Host::parse(domain).ok()? {
        url::Host::Domain(domain) if domain.contains('.') => domain,
        _ => return None,
    };
    let address = format!("{local}@{domain}");
    let fits = address.is_ascii() && address.len() <= 254 && !address.bytes().any(|c| c.is_ascii_control());
    (fits && address.parse::<Address>().is_ok()).then_some(address)
}

/// Whether an address is of the kind nearly all are, which needs no closer look: words of letters and digits with dots between them.
fn is_plain(local: &str, domain: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'+'));
    local.split('.').all(word) && is_known_domain(domain)
}

/// Whether a domain is surely one, and written as servers know it: no other spelling of it, and no number of a machine.
pub(super) fn is_known_domain(domain: &str) -> bool {
    let lower = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = |c: Option<&u8>| c.is_some_and(|c| lower(*c));
        // An `xn--` may stand for nothing.
        let ready = bytes.len() <= 63 && bytes.get(2..4) != Some(b"--");
        ready && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(|c| lower(*c) || *c == b'-')
    };
    // What ends in digits may be a number.
    let named = domain.rsplit_once('.').is_some_and(|(_, last)| last.bytes().all(|c| c.is_ascii_lowercase()));
    named && domain.len() <= 253 && domain.split('.').all(label)
}

/// The sender as `From` shows it; none where what is written could not be read back.
pub(super) fn sender(sender: &Mailbox) -> Option<String> {
    let mut headers = Headers::new();
    headers.set(From::from(lettre::message::Mailboxes::from(sender.clone())));
    headers.get::<From>()?;
    let header = headers.to_string();
    header.strip_prefix("From: ").and_then(|value| value.strip_suffix("\r\n")).map(str::to_owned)
}

/// What a message is made of.
pub(super) struct Parts<'a> {
    /// As made by [`sender`].
    pub(super) sender: &'a str,
    pub(super) name: Option<String>,
    pub(super) brand_name: &'a str,
    pub(super) domain: &'a str,
    pub(super) language: &'a str,
    pub(super) subject: &'a str,
    pub(super) text: &'a str,
    pub(super) html: &'a str,
    pub(super) practice: bool,
}

/// The whole message, CRLF line ends. The same parts make the same bytes.
///
/// Put together here rather than by lettre's builder, which reads the sender again for every message and copies each header three times
/// and each part five times; what is hard to write (mailboxes, encoded words) is written by lettre still. A test holds the two together.
pub(super) fn build(parts: &Parts<'_>, envelope: &Envelope) -> Result<Vec<u8>, MessageError> {
    let address = |text: &str, what: &str| {
        mailable(text).ok_or_else(|| {
            MessageError(
                Diagnosis::new("bad_address", format!("the {what} is not an address mail can be sent to"))
                    .hint("people without a usable address belong in the gate `no_address`; check `reply_to` in campaign.toml"),
            )
        })
    };
    let to = address(&envelope.to, "recipient's address")?;
    let reply_to = address(&envelope.reply_to, "reply address")?;
    let (text, html) = (Transfer::of(parts.text), Transfer::of(parts.html));
    let mut out = Head(Vec::with_capacity(HEAD + text.room() + html.room()));
    let campaign = envelope.campaign.as_str();
    out.date(envelope.date);
    out.ready("From", parts.sender);
    out.ready("To", &recipient(parts.name.as_deref(), &to)?);
    out.add("Reply-To", &[&reply_to])?;
    out.subject(parts.subject);
    out.add("Message-ID", &["<", bracketed("Message-ID", &envelope.message_id)?, ">"])?;
    out.add("X-Perennial-Plan", &[&envelope.plan])?;
    // Campaign, variant, kind of mail and sender, by which mailbox providers report complaints back.
    out.add("Feedback-ID", &[campaign, ":", envelope.variant.as_deref().unwrap_or("-"), ":perennial:", parts.domain])?;
    out.add("Content-Language", &[parts.language])?;
    if parts.practice {
        out.ready("X-Perennial-Practice", "yes");
    }
    if let Some(url) = &envelope.unsubscribe_url {
        out.add("List-Id", &["\"", &list(parts.brand_name), "\" <", bracketed("List-Id", campaign)?, ".", parts.domain, ">"])?;
        out.add("List-Unsubscribe", &["<", bracketed("List-Unsubscribe", url)?, ">,"])?;
        out.go_on("List-Unsubscribe", &["<mailto:", &reply_to, "?subject=unsubscribe>"])?;
        out.ready("List-Unsubscribe-Post", "List-Unsubscribe=One-Click");
    }
    out.ready("MIME-Version", "1.0");
    // "=_" stands in no encoded body (RFC 2045, 6.7), and the id makes the boundary differ between messages without dice. A body that is
    // not encoded may hold it all the same.
    let mut boundary = String::with_capacity(40);
    boundary.push_str("=_");
    boundary.extend(envelope.message_id.chars().filter(char::is_ascii_alphanumeric).take(32));
    while text.shows(&boundary) || html.shows(&boundary) {
        boundary.push('_');
    }
    out.ready("Content-Type", "multipart/alternative;");
    out.go_on("Content-Type", &["boundary=\"", &boundary, "\""])?;
    let Head(mut out) = out;
    for (kind, part) in [("plain", text), ("html", html)] {
        for piece in ["\r\n--", &boundary, "\r\nContent-Type: text/", kind, "; charset=utf-8\r\nContent-Transfer-Encoding: ", part.name()] {
            out.extend_from_slice(piece.as_bytes());
        }
        out.extend_from_slice(b"\r\n\r\n");
        part.write(&mut out);
    }
    for piece in ["\r\n--", &boundary, "--\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
    Ok(out)
}

/// Room for the headers of most messages; a token makes the longest of them.
const HEAD: usize = 2_048;

/// The headers of a message being written.
struct Head(Vec<u8>);

impl Head {
    /// A header whose value may stand in a message as it is.
    fn ready(&mut self, name: &str, value: &str) {
        for piece in [name, ": ", value, "\r\n"] {
            self.0.extend_from_slice(piece.as_bytes());
        }
    }

    /// A header of printable ASCII that must not be encoded or broken, such as an id or a link; the value comes in pieces.
    fn add(&mut self, name: &str, value: &[&str]) -> Result<(), MessageError> {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b":");
        self.go_on(name, value)
    }

    /// One more line of the header added last.
    fn go_on(&mut self, name: &str, value: &[&str]) -> Result<(), MessageError> {
        let start = self.0.len();
        self.0.push(b' ');
        value.iter().for_each(|piece| self.0.extend_from_slice(piece.as_bytes()));
        printable(name, &self.0[start..])?;
        self.0.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// `Sun, 22 Nov 2026 07:00:00 +0000`
    fn date(&mut self, at: DateTime<Utc>) {
        let day = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][at.weekday().num_days_from_monday() as usize];
        let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][at.month0() as usize];
        let (hour, minute, second) = (at.hour(), at.minute(), at.second());
        self.ready("Date", &format!("{day}, {:02} {month} {:04} {hour:02}:{minute:02}:{second:02} +0000", at.day(), at.year()));
    }

    /// A word too long for a line can only be broken where it is encoded.
    fn subject(&mut self, text: &str) {
        const NAME: &str = "Subject";
        // What looks like an encoded word would be decoded by the reader's program.
        let text = text.replace("=?", "= ?");
        if text.len() + NAME.len() + 2 <= LINE && text.bytes().all(is_printable) {
            self.ready(NAME, &text);
        } else if text.split(' ').all(|word| word.len() <= LONGEST_WORD) {
            let mut header = Headers::new();
            header.insert_raw(HeaderValue::new(HeaderName::new_from_ascii_str(NAME), text));
            self.0.extend_from_slice(header.to_string().as_bytes());
        } else {
            // The first word shares its line with the header's name.
            let (first, rest) = text.split_at(text.floor_char_boundary(WORD - 9));
            let mut words = Vec::new();
            encode(&mut first.to_owned(), &mut words);
            encode(&mut rest.to_owned(), &mut words);
            self.ready(NAME, &words.join("\r\n "));
        }
    }
}

/// Whether a line of a header may stand in a message (RFC 5322, 2.1.1 and 2.2).
fn printable(name: &str, line: &[u8]) -> Result<(), MessageError> {
    if line.len() + name.len() <= 990 && line.iter().fold(true, |all, byte| all & is_printable(*byte)) {
        return Ok(());
    }
    Err(injected(name))
}

/// What stands between angle brackets, and nothing that would end them and begin others.
fn bracketed<'a>(name: &str, value: &'a str) -> Result<&'a str, MessageError> {
    if value.bytes().any(|byte| matches!(byte, b'<' | b'>' | b',' | b' ')) { Err(injected(name)) } else { Ok(value) }
}

fn injected(name: &str) -> MessageError {
    MessageError(
        Diagnosis::new("header", format!("the header {name} would hold a line break or a character no header may hold, or be too long"))
            .hint("campaign names, plan names and links are written in plain ASCII"),
    )
}

fn is_printable(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte)
}

/// How long a line is where that can be helped.
const LINE: usize = 76;

/// A longer word is encoded, so that it can be broken; lines have at most 78 characters where that can be helped (RFC 5322, 2.1.1).
const LONGEST_WORD: usize = 60;

/// The most bytes of UTF-8 one encoded word of 75 characters holds (RFC 2047, 2): 60 of base64.
const WORD: usize = 45;

/// `To`, with the name in words that any parser puts together again: two encoded words never stand side by side where it can be helped,
/// because some parsers read a space between them.
fn recipient(name: Option<&str>, address: &str) -> Result<String, MessageError> {
    let mut words = name.map(phrase).unwrap_or_default();
    words.push(if words.is_empty() { Cow::Borrowed(address) } else { Cow::Owned(["<", address, ">"].concat()) });
    let mut header = String::with_capacity(128);
    let mut column = "To: ".len();
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            let breaks = column + 1 + word.len() > LINE;
            header.push_str(if breaks { "\r\n " } else { " " });
            column = if breaks { 1 } else { column + 1 };
        }
        header.push_str(word);
        column += word.len();
    }
    header.split("\r\n ").try_for_each(|line| printable("To", line.as_bytes()))?;
    Ok(header)
}

/// A display name as a phrase (RFC 5322, 3.2.5): atoms, else one quoted text; or encoded words for what is not ASCII and what would need
/// quotes beside it, because some parsers drop the space between a quoted word and its neighbour.
fn phrase(name: &str) -> Vec<Cow<'_, str>> {
    let words: Vec<&str> = name.split(' ').filter(|word| !word.is_empty()).collect();
    let plain = |word: &&str| word.is_ascii() && !word.contains("=?") && word.len() < 200;
    let atom = |word: &&str| plain(word) && word.bytes().all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&c));
    if words.iter().all(plain) && !words.iter().all(atom) {
        return vec![Cow::Owned(format!("\"{}\"", words.join(" ").replace('\\', "\\\\").replace('"', "\\\"")))];
    }
    let mut out = Vec::new();
    let mut run = String::new();
    for word in words {
        if atom(&word) {
            encode(&mut run, &mut out);
            out.push(Cow::Borrowed(word));
        } else {
            if !run.is_empty() {
                run.push(' ');
            }
            run.push_str(word);
        }
    }
    encode(&mut run, &mut out);
    out
}

/// A run as few encoded words, broken after a space where there is one.
fn encode(run: &mut String, out: &mut Vec<Cow<'_, str>>) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let text = std::mem::take(run);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let mut end = rest.len().min(WORD);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        if end < rest.len() {
            end = rest[..end].rfind(' ').map_or(end, |space| space + 1);
        }
        let (now, later) = rest.split_at(end);
        out.push(Cow::Owned(["=?utf-8?b?", &STANDARD.encode(now), "?="].concat()));
        rest = later;
    }
}

/// The brand's name as `List-Id` shows it, between quotation marks.
fn list(brand: &str) -> String {
    let name: String = brand.chars().filter(|c| c.is_ascii_alphanumeric() || " .-".contains(*c)).collect();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*, sample::select};

    use super::{super::fixture, *};

    #[test]
    fn addresses_are_taken_as_servers_take_them() {
        for (address, expected) in [
            ("anna@example.org", Some("anna@example.org")),
            (" o'brien+x@example.org ", Some("o'brien+x@example.org")),
            ("jo@bücher.example", Some("jo@xn--bcher-kva.example")),
            ("jürgen@example.org", None),
            ("anna@localhost", None),
            ("anna", None),
            ("a b@example.org", None),
            ("a@example.org\r\nBcc: x@example.org", None),
            ("a@b@example.org", None),
            ("<a@example.org>", None),
            ("", None),
        ] {
            assert_eq!(mailable(address).as_deref(), expected, "{address:?}");
        }
    }

    #[test]
    fn names_become_phrases_without_neighbouring_encoded_words() {
        assert_eq!(phrase("Anna Berg"), ["Anna", "Berg"]);
        assert_eq!(phrase("José de la Cruz María"), ["=?utf-8?b?Sm9zw6k=?=", "de", "la", "Cruz", "=?utf-8?b?TWFyw61h?="]);
        assert_eq!(phrase("J. O'Neil \"x\\"), ["\"J. O'Neil \\\"x\\\\\""]);
        assert_eq!(phrase("J. Müller, Dr"), ["=?utf-8?b?Si4gTcO8bGxlciw=?=", "Dr"]);
        assert_eq!(phrase("محمد عبد الرحمن").len(), 1);
        assert_eq!(phrase("=?utf-8?q?evil?=").len(), 1);
        assert!(phrase("=?utf-8?q?evil?=")[0].starts_with("=?utf-8?b?"));
        for name in ["長".repeat(100), "Константин Константинопольский".repeat(3)] {
            assert!(phrase(&name).iter().all(|word| word.len() <= 75), "{name}");
        }
        let long = recipient(Some(&"Ärger ".repeat(40)), "a@example.org");
        assert!(long.is_ok());
    }

    #[test]
    fn a_subject_without_a_space_for_miles_still_crosses() {
        use base64::{Engine, engine::general_purpose::STANDARD};
        for word in ["x".repeat(2_000), "é".repeat(700), format!("short {} end", "長".repeat(400))] {
            let mut head = Head(Vec::new());
            head.subject(&word);
            let text = String::from_utf8(head.0).unwrap();
            assert!(text.split("\r\n").all(|line| line.len() <= 78), "{text}");
            let words = text.trim_start_matches("Subject: ").split_whitespace();
            let read: Vec<u8> =
                words.flat_map(|word| STANDARD.decode(word.trim_start_matches("=?utf-8?b?").trim_end_matches("?=")).unwrap()).collect();
            assert_eq!(String::from_utf8(read).unwrap(), word);
        }
    }

    #[test]
    fn no_header_lets_a_line_break_through() {
        let mut head = Head(Vec::new());
        assert!(head.add("X-Perennial-Plan", &["a\r\nBcc: x"]).is_err());
        assert!(head.add("X-Perennial-Plan", &["a\r", "\nBcc: x"]).is_err());
        assert!(head.go_on("List-Unsubscribe", &["<a>\r\n", "Bcc: x"]).is_err());
        assert!(head.add("X-Perennial-Plan", &["é"]).is_err());
        assert!(head.add("X-Perennial-Plan", &[&"x".repeat(1_000)]).is_err());
        assert!(recipient(Some("Anna\r\nBcc: x"), "a@example.org").is_err());
    }

    /// The message as lettre's builder makes it.
    fn by_lettre(parts: &Parts<'_>, from: &Mailbox, envelope: &Envelope) -> Vec<u8> {
        use lettre::message::{MultiPart, SinglePart, header::ContentType};
        let header = |name: &'static str, value: String| {
            HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), value.clone(), value)
        };
        let (to, reply_to): (Address, Address) =
            (mailable(&envelope.to).unwrap().parse().unwrap(), mailable(&envelope.reply_to).unwrap().parse().unwrap());
        let subject = parts.subject.replace("=?", "= ?");
        let mut message = lettre::Message::builder()
            .envelope(lettre::address::Envelope::new(Some(from.email.clone()), vec![to.clone()]).unwrap())
            .date(envelope.date.into())
            .from(from.clone())
            .raw_header(header("To", recipient(parts.name.as_deref(), to.as_ref()).unwrap()))
            .reply_to(Mailbox::new(None, reply_to.clone()))
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Subject"), subject))
            .raw_header(header("Message-ID", format!("<{}>", envelope.message_id)))
            .raw_header(header("X-Perennial-Plan", envelope.plan.clone()))
            .raw_header(header(
                "Feedback-ID",
                format!("{}:{}:perennial:{}", envelope.campaign, envelope.variant.as_deref().unwrap_or("-"), parts.domain),
            ))
            .raw_header(header("Content-Language", parts.language.to_owned()));
        if parts.practice {
            message = message.raw_header(header("X-Perennial-Practice", "yes".into()));
        }
        if let Some(url) = &envelope.unsubscribe_url {
            message = message
                .raw_header(header("List-Id", format!("\"{}\" <{}.{}>", list(parts.brand_name), envelope.campaign, parts.domain)))
                .raw_header(header("List-Unsubscribe", format!("<{url}>,\r\n <mailto:{reply_to}?subject=unsubscribe>")))
                .raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".into()));
        }
        let id: String = envelope.message_id.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
        let body = MultiPart::alternative()
            .boundary(format!("=_{id}"))
            .singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(parts.text.to_owned()))
            .singlepart(SinglePart::builder().header(ContentType::TEXT_HTML).body(parts.html.to_owned()));
        message.multipart(body).unwrap().formatted()
    }

    const WORDS: [&str; 16] = [
        "Anna",
        "O'Connor-D’Arcy",
        "J.",
        "山田太郎",
        "محمد",
        "נעמי",
        "Zażółć",
        "Олександр",
        "เจนจิรา",
        "नेहा",
        "🌱",
        "=?utf-8?q?x?=",
        "\"x\\\"",
        "(why)",
        "a,b;c:d",
        "Your coffee from March",
    ];

    fn line(most: usize) -> impl Strategy<Value = String> {
        let word = prop_oneof![3 => select(&WORDS[..]).prop_map(str::to_owned), 2 => "[!-~]{1,20}", 1 => "[^\\p{C}\\p{Z}]{1,12}"];
        vec(word, 1..most).prop_map(|words| words.join(" "))
    }

    fn body() -> impl Strategy<Value = String> {
        let line =
            prop_oneof![3 => line(12), 1 => Just(String::new()), 1 => "<p style=\"[a-z:;=]{0,120}\">[a-z ]{0,90}</p>", 1 => ".{0,9}"];
        vec(line, 0..12).prop_map(|lines| lines.join("\n").replace('\r', ""))
    }

    proptest! {
        #[test]
        fn a_message_is_what_lettre_would_make_and_reads_back(
            (name, subject, text, html) in (option::of(line(6)), line(10), body(), body()),
            (sender, brand, practice) in (line(4), line(4), any::<bool>()),
            (seconds, variant, url) in (0..4_102_444_800_i64, option::of("[a-z-]{1,12}"), option::of("https://[a-z]{3,9}[.]example/u/k1[.][A-Za-z0-9_.-]{0,300}")),
            (to, reply_to) in ("[a-z0-9.'_+-]{0,9}[a-z]@[a-zü-]{0,3}[a-z]{1,9}[.]example", "[a-z]{1,9}@(shop|bücher)[.]example"),
        ) {
            prop_assume!(mailable(&to).is_some());
            // A word that lettre cannot break has a way of its own.
            prop_assume!(subject.split(' ').all(|word| word.len() <= LONGEST_WORD));
            let from = Mailbox::new(Some(sender), "hello@fernwood.example".parse().unwrap());
            let Some(sender) = super::sender(&from) else { return Ok(()) };
            let envelope = Envelope {
                to,
                reply_to,
                variant,
                unsubscribe_url: url,
                date: DateTime::from_timestamp(seconds, 0).unwrap(),
                ..fixture::envelope()
            };
            let parts = Parts {
                sender: &sender,
                name,
                brand_name: &brand,
                domain: "fernwood.example",
                language: "en",
                subject: &subject,
                text: &text,
                html: &html,
                practice,
            };
            let bytes = build(&parts, &envelope).unwrap();
            if ![&text, &html].iter().any(|part| part.contains(|c: char| c.is_ascii_control() && c != '\t' && c != '\n')) {
                let theirs = by_lettre(&parts, &from, &envelope);
                prop_assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&theirs));
            }
            let wire = String::from_utf8(bytes).unwrap();
            prop_assert!(wire.is_ascii() && wire.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n', '\0'])));
            let read = mail_parser::MessageParser::default().parse(wire.as_bytes()).unwrap();
            prop_assert_eq!(read.subject().map(str::to_owned), Some(subject.replace("=?", "= ?")));
            prop_assert_eq!(read.date().unwrap().to_timestamp(), seconds);
            prop_assert_eq!(read.message_id(), Some(envelope.message_id.as_str()));
            let address = read.to().and_then(|to| to.first()).unwrap();
            prop_assert_eq!(address.address().map(str::to_owned), mailable(&envelope.to));
            for (part, ours) in [(read.body_text(0), &text), (read.body_html(0), &html)] {
                prop_assert_eq!(part.unwrap_or_default().replace("\r\n", "\n"), ours.as_str());
            }
        }

        #[test]
        fn a_plain_address_is_one_by_the_long_way_too(local in "[a-zA-Z0-9._+-]{1,12}", domain in "[a-z0-9-]{1,5}([.][a-z0-9-]{1,6}){0,3}[.]?") {
            if is_plain(&local, &domain) {
                prop_assert_eq!(url::Host::parse(&domain), Ok(url::Host::Domain(domain.clone())));
                let address = format!("{local}@{domain}");
                prop_assert!(address.parse::<Address>().is_ok(), "{}", address);
            }
        }
    }

    #[test]
    fn nearly_every_address_is_plain_and_an_odd_one_is_not() {
        for (local, domain) in [("anna", "example.org"), ("anna.b+x_y-z", "mail.shop-24.example"), ("A1", "a.co.uk")] {
            assert!(is_plain(local, domain), "{local}@{domain}");
        }
        for (local, domain) in [
            ("", "a.example"),
            ("a.", "a.example"),
            (".a", "a.example"),
            ("a..b", "a.example"),
            ("a@b", "a.example"),
            ("ü", "a.example"),
            ("a", "example"),
            ("a", "a.example."),
            ("a", ".example"),
            ("a", "a..example"),
            ("a", "-a.example"),
            ("a", "a-.example"),
            ("a", "xn--a.example"),
            ("a", "1.2.3.4"),
            ("a", "a.0x1f"),
            ("a", "A.example"),
            ("a", "ü.example"),
            ("a", ""),
        ] {
            assert!(!is_plain(local, domain), "{local}@{domain}");
        }
    }
}
