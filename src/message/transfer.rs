//! How the text of a part crosses servers that take nothing but ASCII in short lines (RFC 2045, 6): as it is, quoted-printable or base64.
//!
//! The same choice and the same bytes as lettre's `Body`, into the message itself and several times as fast; the tests hold the two
//! against each other. Only a text with control characters, which lettre lets through as it is where it is short, is always encoded here: no
//! message may hold a bare CR or a NUL.

use base64::{Engine, engine::general_purpose::STANDARD};
use memchr::{memchr, memchr_iter, memmem};

/// The longest line of encoded text (RFC 2045, 6.7 and 6.8).
const LINE: usize = 76;

/// A text and how it crosses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transfer<'a> {
    text: &'a str,
    encoding: Encoding,
    /// The most bytes it takes.
    room: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    SevenBit,
    QuotedPrintable,
    Base64,
}

impl<'a> Transfer<'a> {
    /// The encoding that makes the fewest bytes of a text.
    pub(super) fn of(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let (mut quoted, mut equals, mut lines) = (0, 0, 0);
        for piece in bytes.chunks(255) {
            quoted += count(piece, |byte| !(byte == b'\t' || (b' '..=b'~').contains(&byte)));
            equals += count(piece, |byte| byte == b'=');
            lines += count(piece, |byte| byte == b'\n');
        }
        let encoding = if quoted == lines && !has_long_line(bytes) {
            Encoding::SevenBit
        } else if quoted <= bytes.len() / 3 {
            Encoding::QuotedPrintable
        } else {
            Encoding::Base64
        };
        let crossing = bytes.len() + lines;
        let room = match encoding {
            Encoding::SevenBit => crossing,
            Encoding::QuotedPrintable => {
                let marked = crossing + 2 * (quoted + equals);
                marked + marked / (LINE - 3) * 3 + lines * 2 + 6
            }
            Encoding::Base64 => crossing.div_ceil(3) * 4 + crossing / 57 * 2,
        };
        Self { text, encoding, room }
    }

    /// The value of `Content-Transfer-Encoding`.
    pub(super) fn name(&self) -> &'static str {
        match self.encoding {
            Encoding::SevenBit => "7bit",
            Encoding::QuotedPrintable => "quoted-printable",
            Encoding::Base64 => "base64",
        }
    }

    /// Whether a word that no encoded text holds stands in this one because it crosses as it is.
    pub(super) fn shows(&self, word: &str) -> bool {
        self.encoding == Encoding::SevenBit && memmem::find(self.text.as_bytes(), word.as_bytes()).is_some()
    }

    /// The most bytes [`Transfer::write`] writes.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// Writes the text as it crosses; every line that ends, ends in CRLF.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self.encoding {
            Encoding::SevenBit => canonical(self.text.as_bytes(), out),
            Encoding::QuotedPrintable => {
                let mut rest = self.text.as_bytes();
                while let Some(end) = memchr(b'\n', rest) {
                    quote(rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]), out);
                    out.extend_from_slice(b"\r\n");
                    rest = &rest[end + 1..];
                }
                quote(rest, out);
            }
            Encoding::Base64 => {
                let mut whole = Vec::with_capacity(self.room);
                canonical(self.text.as_bytes(), &mut whole);
                let mut line = [0; LINE];
                for (number, piece) in whole.chunks(LINE / 4 * 3).enumerate() {
                    if number > 0 {
                        out.extend_from_slice(b"\r\n");
                    }
                    let end = STANDARD.encode_slice(piece, &mut line).unwrap_or_default();
                    out.extend_from_slice(&line[..end]);
                }
            }
        }
    }
}

/// How many of at most 255 bytes are such; so few that the sum is a byte, which the compiler makes a few wide instructions of.
fn count(piece: &[u8], is: impl Fn(u8) -> bool) -> usize {
    usize::from(piece.iter().fold(0_u8, |sum, byte| sum.wrapping_add(u8::from(is(*byte)))))
}

/// Whether a line is too long to stand as it is, by lettre's count, in which all but the first have one character less.
fn has_long_line(bytes: &[u8]) -> bool {
    let mut last = 0;
    memchr_iter(b'\n', bytes).any(|at| at - std::mem::replace(&mut last, at) >= LINE) || bytes.len() - last >= LINE
}

/// The text with every line end as CRLF.
fn canonical(mut rest: &[u8], out: &mut Vec<u8>) {
    while let Some(end) = memchr(b'\n', rest) {
        out.extend_from_slice(rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]));
        out.extend_from_slice(b"\r\n");
        rest = &rest[end + 1..];
    }
    out.extend_from_slice(rest);
}

/// What stands for itself in quoted-printable; a space or tab does not at the end of a line.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        plain[byte as usize] = byte != b'=';
        byte += 1;
    }
    plain[b'\t' as usize] = true;
    plain
};

/// How many bytes at the beginning of a line stand for themselves. Eight are looked at in one word, by the ways of "Bit Twiddling Hacks" to
/// find a byte that is zero or less than another: the lowest bit they set is always right.
fn plain(line: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let less = |word: u64, than: u8| word.wrapping_sub(ONES * u64::from(than)) & !word;
    let mut at = 0;
    while at < line.len() {
        if let Some(eight) = line[at..].first_chunk::<8>() {
            let word = u64::from_le_bytes(*eight);
            let is = |byte: u8| less(word ^ (ONES * u64::from(byte)), 1);
            let found = (word | less(word, b' ') | is(b'=') | is(0x7f)) & HIGH;
            if found == 0 {
                at += 8;
                continue;
            }
            at += found.trailing_zeros() as usize / 8;
        }
        if !PLAIN[usize::from(line[at])] {
            break;
        }
        at += 1;
    }
    at
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// One line of text in quoted-printable, without the line break behind it. A line goes on after a `=` at the end of a shorter one; only
/// the last needs none and has one character more.
fn quote(line: &[u8], out: &mut Vec<u8>) {
    let plain_end = line.len() - usize::from(line.ends_with(b" ") || line.ends_with(b"\t"));
    let (mut at, mut column) = (0, 0);
    while at < line.len() {
        let run = plain(&line[at..plain_end]);
        let fits = if at + run == line.len() && column + run <= LINE { run } else { run.min(LINE - 1 - column) };
        out.extend_from_slice(&line[at..at + fits]);
        at += fits;
        column += fits;
        if fits == run && at < line.len() {
            let width = if at + 1 == line.len() { LINE } else { LINE - 1 };
            if column + 3 <= width {
                let byte = line[at];
                out.extend_from_slice(&[b'=', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
                at += 1;
                column += 3;
                continue;
            }
        }
        if at < line.len() {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use lettre::message::Body;
    use proptest::prelude::*;

    use super::*;

    fn crossed(text: &str) -> (&'static str, String) {
        let transfer = Transfer::of(text);
        let mut out = Vec::new();
        transfer.write(&mut out);
        assert!(out.len() <= transfer.room(), "{} > {}: {text:?}", out.len(), transfer.room());
        (transfer.name(), String::from_utf8(out).unwrap())
    }

    /// What any server takes, whatever the text was.
    #[track_caller]
    fn fit(name: &str, crossed: &str) {
        let longest = if name == "7bit" { 998 } else { LINE };
        for line in crossed.split("\r\n") {
            assert!(line.len() <= longest, "{line:?}");
            assert!(line.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)), "{line:?}");
            assert!(name != "quoted-printable" || !line.ends_with([' ', '\t']), "{line:?}");
        }
    }

    #[test]
    fn each_text_takes_the_shortest_way() {
        assert_eq!(crossed("Hello,\n\nall is well.\n"), ("7bit", "Hello,\r\n\r\nall is well.\r\n".into()));
        assert_eq!(
            crossed("Grüße = 1, und noch viel mehr \nx"),
            ("quoted-printable", "Gr=C3=BC=C3=9Fe =3D 1, und noch viel mehr=20\r\nx".into())
        );
        assert_eq!(crossed("日本"), ("base64", "5pel5pys".into()));
        assert_eq!(crossed("a\rb"), ("quoted-printable", "a=0Db".into()));
        assert_eq!(
            crossed("nothing after this: \0, and a good deal more"),
            ("quoted-printable", "nothing after this: =00, and a good deal more".into())
        );
        assert_eq!(crossed(""), ("7bit", String::new()));
    }

    #[test]
    fn a_word_shows_only_where_nothing_is_encoded() {
        for (text, shows) in [("a =_id b\n", true), ("a id b\n", false), ("all these words: ü =_id b\n", false), ("日本 =_id", false)] {
            assert_eq!(Transfer::of(text).shows("=_id"), shows, "{text}");
            assert_eq!(crossed(text).1.contains("=_id"), shows, "{text}");
        }
    }

    #[test]
    fn a_line_of_every_length_breaks_where_lettre_breaks_it() {
        for before in 0..160 {
            for end in ["", " ", "\t", "=", "ü", "x ", "ü ", " \n", "\r\n", "=\n=", "ü\n", "xxxx", "=xxx", "xx=x", "\t\t", " \r", "\r\r\n"]
            {
                // Long enough for quoted-printable whatever stands at the end.
                let text = format!("{}{end}\n{}", "a".repeat(before), "b".repeat(100));
                let body = Body::new(text.clone());
                let (name, ours) = crossed(&text);
                fit(name, &ours);
                assert_eq!((name, ours.as_bytes()), (body.encoding().to_string().as_str(), body.as_ref()), "{text:?}");
            }
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => "[ -~]{0,90}",
            3 => proptest::sample::select(vec![
                "=", " ", "  ", "\t", "\n", "\n\n", "\r\n", " \n", "\t\r\n", "ü", "€", "日本語", "🌱", "نعم", "\u{200d}", "\u{a0}", "\u{202f}", "."
            ]).prop_map(str::to_owned),
            2 => "[a-z=]{60,80}",
            1 => "\\PC{0,40}",
            1 => any::<String>(),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn every_text_crosses_as_lettre_would_send_it(text in texts()) {
            let (name, ours) = crossed(&text);
            fit(name, &ours);
            let body = Body::new(text.clone());
            if name != "7bit" && body.encoding().to_string() == "7bit" {
                prop_assert!(text.contains(|c: char| c.is_ascii_control() && c != '\t' && c != '\n'), "{:?}", text);
            } else {
                let (theirs, encoded) = (body.encoding().to_string(), String::from_utf8_lossy(body.as_ref()));
                prop_assert_eq!((name, ours.as_str()), (theirs.as_str(), encoded.as_ref()));
            }
        }

        #[test]
        fn every_text_reads_back(text in texts()) {
            let (name, ours) = crossed(&text);
            let whole = format!("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {name}\r\n\r\n{ours}");
            let read = mail_parser::MessageParser::default().parse(whole.as_bytes()).and_then(|read| read.body_text(0).map(|text| text.into_owned()));
            prop_assert_eq!(read.unwrap_or_default().replace("\r\n", "\n"), text.replace("\r\n", "\n"));
        }
    }
}
