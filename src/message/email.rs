//! A subject, two parts and an envelope as one message by RFC 5322, ready for the wire.

use std::time::SystemTime;

use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{ContentType, HeaderName, HeaderValue},
    },
};

use super::{Envelope, MessageError};
use crate::diagnosis::Diagnosis;

/// An address as mail servers take it: domain in ASCII; none where it is no address, or needs a server that takes Unicode local parts.
#[must_use]
pub fn mailable(address: &str) -> Option<String> {
    let (local, domain) = address.trim().rsplit_once('@')?;
    let domain = match url::Host::parse(domain).ok()? {
        url::Host::Domain(domain) if domain.contains('.') => domain,
        _ => return None,
    };
    let address = format!("{local}@{domain}");
    let fits = address.is_ascii() && address.len() <= 254 && local.len() <= 64 && !address.bytes().any(|c| c.is_ascii_control());
    (fits && address.parse::<Address>().is_ok()).then_some(address)
}

/// What a message is made of.
pub(super) struct Parts<'a> {
    pub(super) sender: &'a Mailbox,
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
pub(super) fn build(parts: &Parts<'_>, envelope: &Envelope) -> Result<Vec<u8>, MessageError> {
    let address = |text: &str, what: &str| -> Result<Address, MessageError> {
        mailable(text).and_then(|address| address.parse().ok()).ok_or_else(|| {
            MessageError(
                Diagnosis::new("bad_address", format!("the {what} is not an address mail can be sent to"))
                    .hint("people without a usable address belong in the gate `no_address`; check `reply_to` in campaign.toml"),
            )
        })
    };
    let to = address(&envelope.to, "recipient's address")?;
    let reply_to = address(&envelope.reply_to, "reply address")?;
    let route = lettre::address::Envelope::new(Some(parts.sender.email.clone()), vec![to.clone()]).map_err(|error| built(&error))?;
    let mut message = Message::builder()
        .envelope(route)
        .date(SystemTime::from(envelope.date))
        .from(parts.sender.clone())
        .raw_header(recipient(parts.name.as_deref(), &to)?)
        .reply_to(Mailbox::new(None, reply_to.clone()))
        .raw_header(subject(parts.subject)?)
        .raw_header(raw("Message-ID", &format!("<{}>", bracketed("Message-ID", &envelope.message_id)?))?)
        .raw_header(raw("X-Perennial-Plan", &envelope.plan)?)
        // Campaign, variant, kind of mail and sender, by which mailbox providers report complaints back.
        .raw_header(raw(
            "Feedback-ID",
            &format!("{}:{}:perennial:{}", envelope.campaign, envelope.variant.as_deref().unwrap_or("-"), parts.domain),
        )?)
        .raw_header(raw("Content-Language", parts.language)?);
    if parts.practice {
        message = message.raw_header(raw("X-Perennial-Practice", "yes")?);
    }
    if let Some(url) = &envelope.unsubscribe_url {
        let url = bracketed("List-Unsubscribe", url)?;
        let stop = format!("<{url}>,\r\n <mailto:{reply_to}?subject=unsubscribe>");
        message = message
            .raw_header(list(parts.brand_name, &envelope.campaign, parts.domain)?)
            .raw_header(folded("List-Unsubscribe", &stop)?)
            .raw_header(raw("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")?);
    }
    // "=_" stands in no encoded body (RFC 2045, 6.7), and the id makes the boundary differ between messages without dice. A body that is
    // not encoded may hold it all the same.
    let id: String = envelope.message_id.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    let mut boundary = format!("=_{id}");
    while parts.text.contains(&boundary) || parts.html.contains(&boundary) {
        boundary.push('_');
    }
    let body = MultiPart::alternative()
        .boundary(boundary)
        .singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(parts.text.to_owned()))
        .singlepart(SinglePart::builder().header(ContentType::TEXT_HTML).body(parts.html.to_owned()));
    Ok(message.multipart(body).map_err(|error| built(&error))?.formatted())
}

fn built(error: &dyn std::error::Error) -> MessageError {
    MessageError(Diagnosis::new("message", format!("the message could not be put together: {error}")))
}

/// A header of printable ASCII that must not be encoded or broken, such as an id or a link.
fn raw(name: &'static str, value: &str) -> Result<HeaderValue, MessageError> {
    if value.bytes().any(|c| !(b' '..=b'~').contains(&c)) {
        return Err(injected(name));
    }
    folded(name, value)
}

/// What stands between angle brackets, and nothing that would end them and begin others.
fn bracketed<'a>(name: &'static str, value: &'a str) -> Result<&'a str, MessageError> {
    if value.contains(['<', '>', ',', ' ']) { Err(injected(name)) } else { Ok(value) }
}

/// As [`raw`], already broken into lines.
fn folded(name: &'static str, value: &str) -> Result<HeaderValue, MessageError> {
    let lines = value.split("\r\n ");
    if lines.clone().any(|line| line.len() + name.len() > 990 || line.bytes().any(|c| !(b' '..=b'~').contains(&c))) {
        return Err(injected(name));
    }
    Ok(HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), value.to_owned(), value.to_owned()))
}

fn injected(name: &str) -> MessageError {
    MessageError(
        Diagnosis::new("header", format!("the header {name} would hold a line break or a character no header may hold, or be too long"))
            .hint("campaign names, plan names and links are written in plain ASCII"),
    )
}

/// `Subject`. A word too long for a line can only be broken where it is encoded.
fn subject(text: &str) -> Result<HeaderValue, MessageError> {
    // What looks like an encoded word would be decoded by the reader's program.
    let text = text.replace("=?", "= ?");
    if text.split(' ').all(|word| word.len() <= LONGEST_WORD) {
        return Ok(HeaderValue::new(HeaderName::new_from_ascii_str("Subject"), text));
    }
    // The first word shares its line with the header's name.
    let (first, rest) = text.split_at(text.floor_char_boundary(WORD - 9));
    let mut words = Vec::new();
    encode(&mut first.to_owned(), &mut words);
    encode(&mut rest.to_owned(), &mut words);
    folded("Subject", &words.join("\r\n "))
}

/// A longer word is encoded, so that it can be broken; lines have at most 78 characters where that can be helped (RFC 5322, 2.1.1).
const LONGEST_WORD: usize = 60;

/// The most bytes of UTF-8 one encoded word of 75 characters holds (RFC 2047, 2): 60 of base64.
const WORD: usize = 45;

/// `To`, with the name in words that any parser puts together again: two encoded words never stand side by side where it can be helped,
/// because some parsers read a space between them.
fn recipient(name: Option<&str>, address: &Address) -> Result<HeaderValue, MessageError> {
    let mut words = name.map(phrase).unwrap_or_default();
    words.push(if words.is_empty() { address.to_string() } else { format!("<{address}>") });
    let mut header = String::new();
    let mut column = "To: ".len();
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            let breaks = column + 1 + word.len() > 76;
            header.push_str(if breaks { "\r\n " } else { " " });
            column = if breaks { 1 } else { column + 1 };
        }
        header.push_str(word);
        column += word.len();
    }
    folded("To", &header)
}

/// A display name as a phrase (RFC 5322, 3.2.5): atoms, else one quoted text; or encoded words for what is not ASCII and what would need
/// quotes beside it, because some parsers drop the space between a quoted word and its neighbour.
fn phrase(name: &str) -> Vec<String> {
    let words: Vec<&str> = name.split(' ').filter(|word| !word.is_empty()).collect();
    let plain = |word: &&str| word.is_ascii() && !word.contains("=?") && word.len() < 200;
    let atom = |word: &&str| plain(word) && word.bytes().all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&c));
    if words.iter().all(plain) && !words.iter().all(atom) {
        return vec![format!("\"{}\"", words.join(" ").replace('\\', "\\\\").replace('"', "\\\""))];
    }
    let mut out: Vec<String> = Vec::new();
    let mut run = String::new();
    for word in words {
        if atom(&word) {
            encode(&mut run, &mut out);
            out.push(word.to_owned());
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
fn encode(run: &mut String, out: &mut Vec<String>) {
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
        out.push(format!("=?utf-8?b?{}?=", STANDARD.encode(now)));
        rest = later;
    }
}

fn list(brand: &str, campaign: &str, domain: &str) -> Result<HeaderValue, MessageError> {
    let name: String = brand.chars().filter(|c| c.is_ascii_alphanumeric() || " .-".contains(*c)).collect();
    raw("List-Id", &format!("\"{}\" <{}.{domain}>", name.trim(), bracketed("List-Id", campaign)?))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let long = recipient(Some(&"Ärger ".repeat(40)), &"a@example.org".parse().unwrap());
        assert!(long.is_ok());
    }

    #[test]
    fn a_subject_without_a_space_for_miles_still_crosses() {
        use base64::{Engine, engine::general_purpose::STANDARD};
        for word in ["x".repeat(2_000), "é".repeat(700), format!("short {} end", "長".repeat(400))] {
            let mut headers = lettre::message::header::Headers::new();
            headers.insert_raw(subject(&word).unwrap());
            let text = headers.to_string();
            assert!(text.split("\r\n").all(|line| line.len() <= 78), "{text}");
            let words = text.trim_start_matches("Subject: ").split_whitespace();
            let read: Vec<u8> =
                words.flat_map(|word| STANDARD.decode(word.trim_start_matches("=?utf-8?b?").trim_end_matches("?=")).unwrap()).collect();
            assert_eq!(String::from_utf8(read).unwrap(), word);
        }
    }

    #[test]
    fn no_header_lets_a_line_break_through() {
        assert!(raw("X-Perennial-Plan", "a\r\nBcc: x").is_err());
        assert!(folded("List-Unsubscribe", "<a>\r\nBcc: x").is_err());
        assert!(raw("X-Perennial-Plan", "é").is_err());
    }
}
