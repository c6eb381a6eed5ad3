//! Other ways of writing characters become UTF-8 on the way, so that everything behind needs to know one alone.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read};

use encoding_rs::{Decoder, DecoderResult, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::settings::Encoding;

/// How many bytes are turned at once; no character takes more than three times its bytes.
const AT_ONCE: usize = 1 << 14;

/// `text` as UTF-8, without a byte order mark.
pub(crate) fn utf8(mut text: Box<dyn BufRead>, encoding: Encoding) -> std::io::Result<Box<dyn BufRead>> {
    let begins = text.fill_buf()?;
    let decoder = match encoding {
        Encoding::Utf8 => {
            if begins.starts_with(b"\xef\xbb\xbf") {
                text.consume(3);
            }
            return Ok(text);
        }
        Encoding::Latin1 => None,
        Encoding::Windows1252 => Some(WINDOWS_1252.new_decoder_without_bom_handling()),
        Encoding::Utf16 if begins.starts_with(b"\xfe\xff") => Some(UTF_16BE.new_decoder_with_bom_removal()),
        Encoding::Utf16 => Some(UTF_16LE.new_decoder_with_bom_removal()),
    };
    Ok(Box::new(BufReader::with_capacity(1 << 16, Turned { text, decoder, ready: Vec::new(), given: 0, ended: false })))
}

/// Text being turned into UTF-8.
struct Turned {
    text: Box<dyn BufRead>,
    /// `None`: each byte is the character of that number.
    decoder: Option<Decoder>,
    ready: Vec<u8>,
    /// How much of `ready` has been given out.
    given: usize,
    ended: bool,
}

impl Turned {
    fn turn(&mut self) -> std::io::Result<()> {
        let bytes = self.text.fill_buf()?;
        let bytes = &bytes[..bytes.len().min(AT_ONCE)];
        let last = bytes.is_empty();
        self.ready.resize(AT_ONCE * 3 + 16, 0);
        self.given = 0;
        let (read, written) = match &mut self.decoder {
            None => (bytes.len(), encoding_rs::mem::convert_latin1_to_utf8(bytes, &mut self.ready)),
            Some(decoder) => match decoder.decode_to_utf8_without_replacement(bytes, &mut self.ready, last) {
                (DecoderResult::Malformed(..), _, _) => {
                    return Err(Error::new(ErrorKind::InvalidData, "it holds bytes that its `encoding` does not know"));
                }
                (_, read, written) => (read, written),
            },
        };
        self.ready.truncate(written);
        self.text.consume(read);
        self.ended = last;
        Ok(())
    }
}

impl Read for Turned {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.given == self.ready.len() && !self.ended {
            self.turn()?;
        }
        let some = into.len().min(self.ready.len() - self.given);
        into[..some].copy_from_slice(&self.ready[self.given..self.given + some]);
        self.given += some;
        Ok(some)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turned(bytes: &[u8], encoding: Encoding) -> std::io::Result<String> {
        let mut text = String::new();
        utf8(Box::new(BufReader::with_capacity(7, std::io::Cursor::new(bytes.to_vec()))), encoding)?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn what_windows_programs_write_is_read() {
        assert_eq!(turned(b"M\xfcller \x80", Encoding::Windows1252).unwrap(), "Müller €");
        assert_eq!(turned(b"M\xfcller \x80", Encoding::Latin1).unwrap(), "Müller \u{80}");
        assert_eq!(turned(b"\xef\xbb\xbfid", Encoding::Utf8).unwrap(), "id");
        assert_eq!(turned(b"\xfe\xff\x00i\x00d", Encoding::Utf16).unwrap(), "id");
        assert!(turned(b"i\x00d", Encoding::Utf16).unwrap_err().to_string().contains("encoding"), "half a character");
        assert!(turned(b"\x00\xdc", Encoding::Utf16).is_err(), "half a pair");
    }

    proptest! {
        #[test]
        fn any_text_survives_utf_16(text in "\\PC{0,40}", mark: bool) {
            let mut bytes: Vec<u8> = if mark { vec![0xff, 0xfe] } else { vec![] };
            bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
            prop_assume!(!text.starts_with('\u{feff}') && !bytes.starts_with(b"\xfe\xff"));
            prop_assert_eq!(turned(&bytes, Encoding::Utf16).unwrap(), text);
        }
    }
}
