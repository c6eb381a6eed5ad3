//! The parts of a mail. Work is bounded whatever the bytes are: one pass a level, few levels, few parts, no returned message opened.
//!
//! `mail_parser` reads headers and transfer encodings here, not whole mails: 0.11 nests returned messages without limit, so that one mail
//! of 1 MiB overflows the stack, and looks for boundaries that are never closed in quadratic time.

use std::borrow::Cow;

use mail_parser::{
    HeaderName, Message, MessageParser, MimeHeaders as _,
    decoders::{base64::base64_decode, quoted_printable::quoted_printable_decode},
};

/// The headers read of one part; Postfix takes 100 kB (`header_size_limit`). `mail_parser` needs time in the square of it at worst.
const MAX_HEADERS: usize = 64 << 10;
/// The parts looked at on one level.
const MAX_PARTS: usize = 32;

/// A mail, or a part of one.
#[derive(Debug)]
pub(super) struct Entity<'a> {
    headers: Option<Message<'a>>,
    body: &'a [u8],
}

impl<'a> Entity<'a> {
    /// Takes the headers, as far as the first empty line, from the body.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let mut end = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            end += line.len();
            if matches!(line, b"\n" | b"\r\n") {
                break;
            }
        }
        let (head, body) = bytes.split_at(end);
        let parser = MessageParser::new().header_content_type(HeaderName::ContentType).default_header_raw();
        let headers = parser.parse_headers(&head[..head.len().min(MAX_HEADERS)]);
        Self { headers, body }
    }

    /// The values of a header as they stand there, line breaks of folding included; those that are not UTF-8 are left out.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let all = self.headers.iter().flat_map(|headers| headers.headers_raw());
        all.filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Whether it has any header at all.
    pub(super) fn has_headers(&self) -> bool {
        self.headers.is_some()
    }

    /// Its media type in small letters, such as `multipart/report`.
    pub(super) fn media_type(&self) -> String {
        let declared = self.headers.as_ref().and_then(|headers| headers.content_type());
        let declared = declared.and_then(|declared| Some(format!("{}/{}", declared.ctype(), declared.subtype()?)));
        // RFC 2045 5.2.
        declared.map_or_else(|| "text/plain".to_owned(), |declared| declared.to_lowercase())
    }

    /// Its parts, where it has any. The last may have no end: a mail that was cut off is read as far as it goes.
    pub(super) fn parts(&self) -> Vec<Self> {
        let declared = self.headers.as_ref().and_then(|headers| headers.content_type());
        let boundary = declared.filter(|declared| declared.ctype().eq_ignore_ascii_case("multipart"));
        let boundary = boundary.and_then(|declared| declared.attribute("boundary")).unwrap_or_default().trim_end();
        if boundary.is_empty() {
            return Vec::new();
        }
        let (mut parts, mut begun, mut end) = (Vec::new(), None, 0);
        for line in self.body.split_inclusive(|byte| *byte == b'\n') {
            let begin = end;
            end += line.len();
            let Some(last) = delimits(line, boundary) else { continue };
            parts.extend(begun.replace(end).map(|from| Self::read(unbroken(&self.body[from..begin]))));
            if last || parts.len() == MAX_PARTS {
                return parts;
            }
        }
        parts.extend(begun.map(|from| Self::read(&self.body[from..])));
        parts
    }

    /// The body without its transfer encoding. What cannot be decoded is given as it is.
    pub(super) fn content(&self) -> Cow<'a, [u8]> {
        let encoding = self.values("Content-Transfer-Encoding").next().unwrap_or_default();
        let decoded = match encoding {
            _ if encoding.eq_ignore_ascii_case("base64") => base64_decode(self.body),
            _ if encoding.eq_ignore_ascii_case("quoted-printable") => quoted_printable_decode(self.body),
            _ => None,
        };
        decoded.map_or(Cow::Borrowed(self.body), Cow::Owned)
    }
}

/// Whether a line stands between two parts (`false`), after the last (`true`), or neither. RFC 2046 5.1.1.
fn delimits(line: &[u8], boundary: &str) -> Option<bool> {
    match line.trim_ascii_end().strip_prefix(b"--")?.strip_prefix(boundary.as_bytes())? {
        b"" => Some(false),
        b"--" => Some(true),
        _ => None,
    }
}

/// Without the line break that belongs to the delimiter after it.
fn unbroken(part: &[u8]) -> &[u8] {
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    part.strip_suffix(b"\r").unwrap_or(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(mail: &str) -> Vec<String> {
        Entity::read(mail.as_bytes()).parts().iter().map(|part| String::from_utf8(part.content().into_owned()).unwrap()).collect()
    }

    #[test]
    fn parts_end_where_their_own_boundary_stands_alone_on_a_line() {
        let mail = "Content-Type: Multipart/Mixed;\n boundary=\"a b\"\n\nbefore\n--a b\n\none\n--a bc\n \
                    --a b\n--a b--x\n\n--a b \nX: y\n\ntwo\n--a b--\nafter";
        assert_eq!(bodies(mail), ["one\n--a bc\n --a b\n--a b--x\n", "two"]);
        assert_eq!(bodies(&mail.replace('\n', "\r\n"))[1], "two");
        assert_eq!(bodies("Content-Type: multipart/mixed; boundary=a\n\n--a\n\none\n--a\n\ncut o"), ["one", "cut o"]);
        for none in ["", "\n", "Content-Type: multipart/mixed\n\n--\n--\n", "Content-Type: text/plain; boundary=a\n\n--a\n\none\n--a--\n"] {
            assert!(bodies(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn a_body_is_decoded_where_that_is_possible() {
        let body = |encoding: &str, body: &str| {
            let mail = format!("Content-Transfer-Encoding: {encoding}\n\n{body}");
            String::from_utf8(Entity::read(mail.as_bytes()).content().into_owned()).unwrap()
        };
        assert_eq!(body("BASE64", "QWN0aW9u\nOiBm\n"), "Action: f");
        assert_eq!(body("quoted-printable", "Action:=20f=\nailed"), "Action: failed");
        assert_eq!(body("7bit", "Action=3A"), "Action=3A");
        assert_eq!(body("base64", "Action: failed"), "Action: failed", "it says base64 and is not");
    }

    #[test]
    fn a_value_is_found_whatever_its_letters() {
        let mail = Entity::read(b"X-A: 1\nx-a: 2\n 3\nX-B: \xff\n\nX-A: 4\n");
        assert_eq!(mail.values("x-A").collect::<Vec<_>>(), ["1", "2\n 3"]);
        assert_eq!((mail.values("x-b").count(), mail.media_type().as_str()), (0, "text/plain"));
        assert!(mail.has_headers() && !Entity::read(b"").has_headers() && !Entity::read(b"\nX: y\n").has_headers());
    }

    #[test]
    fn work_is_bounded_whatever_the_bytes() {
        let nested = "Content-Type: message/rfc822\n\n".repeat(35_000);
        assert!(Entity::read(nested.as_bytes()).parts().is_empty());
        let opened = "--a\nContent-Type: multipart/mixed; boundary=b\n\nx\n".repeat(20_000);
        let opened = format!("Content-Type: multipart/mixed; boundary=a\n\n{opened}");
        assert_eq!(Entity::read(opened.as_bytes()).parts().len(), MAX_PARTS);
        let parameters: String = (0..150_000).map(|number| format!(";a{number}*1=b")).collect();
        assert!(Entity::read(format!("Content-Type: multipart/mixed{parameters}\n\n").as_bytes()).parts().is_empty());
    }
}
