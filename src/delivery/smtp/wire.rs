//! A message as it crosses an SMTP connection.

use memchr::{memchr, memchr2_iter};

/// The longest line RFC 5322 allows, without its line break.
const LONGEST_LINE: usize = 998;

/// The message dot-stuffed and ended by its final dot, to be written at once.
///
/// A bare CR or LF could end the message early at a careless relay, and what follows would be taken for commands (SMTP smuggling); such a
/// message is refused, with the reason.
pub(crate) fn encode(message: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(message).map_err(|_| "not_utf8")?;
    let ended = text.strip_suffix("\r\n").unwrap_or(text);
    if memchr(0, ended.as_bytes()).is_some() {
        return Err("bare_line_break");
    }
    let mut wire = String::with_capacity(text.len() + text.len() / 64 + 8);
    // What is copied next begins at `copied`, the present line at `begun`.
    let (mut copied, mut begun) = (0, 0);
    let bytes = ended.as_bytes();
    for at in memchr2_iter(b'\r', b'\n', bytes).chain([bytes.len()]) {
        let ends = match bytes.get(at) {
            // The other half of the break looked at last.
            Some(b'\n') if at + 1 == begun => continue,
            Some(b'\r') if bytes.get(at + 1) == Some(&b'\n') => at + 2,
            None => at,
            Some(_) => return Err("bare_line_break"),
        };
        if at - begun > LONGEST_LINE {
            return Err("line_too_long");
        }
        if bytes.get(begun) == Some(&b'.') {
            wire.push_str(&ended[copied..begun]);
            wire.push('.');
            copied = begun;
        }
        begun = ends;
    }
    wire.push_str(&ended[copied..]);
    wire.push_str("\r\n.\r\n");
    Ok(wire)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As RFC 5321, 4.5.2 has it, line by line.
    fn by_lines(text: &str) -> Result<String, &'static str> {
        let mut wire = String::new();
        for line in text.strip_suffix("\r\n").unwrap_or(text).split("\r\n") {
            if line.contains(['\r', '\n', '\0']) {
                return Err("bare_line_break");
            }
            if line.len() > LONGEST_LINE {
                return Err("line_too_long");
            }
            wire += &format!("{}{line}\r\n", if line.starts_with('.') { "." } else { "" });
        }
        Ok(wire + ".\r\n")
    }

    proptest! {
        #[test]
        fn every_line_crosses_as_it_is(pieces in prop::collection::vec(prop_oneof![
            4 => Just("\r\n"), 3 => Just("."), 3 => Just("Grüße"), 1 => Just("\r"), 1 => Just("\n"), 1 => Just("\0"), 1 => Just(" ")
        ], 0..24)) {
            let text: String = pieces.concat();
            let (ours, theirs) = (encode(text.as_bytes()), by_lines(&text));
            prop_assert_eq!(ours.is_ok(), theirs.is_ok());
            if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
                prop_assert_eq!(ours, theirs);
            }
        }
    }

    #[test]
    fn dots_are_stuffed_and_the_end_is_one_dot() {
        assert_eq!(encode(b"A: b\r\n\r\n.\r\n..x\r\nend\r\n").unwrap(), "A: b\r\n\r\n..\r\n...x\r\nend\r\n.\r\n");
        assert_eq!(encode(b"A: b\r\n\r\nend").unwrap(), "A: b\r\n\r\nend\r\n.\r\n");
        assert_eq!(encode(b"\r\n").unwrap(), "\r\n.\r\n");
    }

    #[test]
    fn nothing_that_could_end_a_message_early_passes() {
        for message in ["a\n.\r\nMAIL", "a\r.\r\n", "a\r\n.\n", "a\0b", "\n", "\r"] {
            assert_eq!(encode(message.as_bytes()), Err("bare_line_break"), "{message:?}");
        }
        assert_eq!(encode(b"\xff\r\n"), Err("not_utf8"));
        assert_eq!(encode("x".repeat(999).as_bytes()), Err("line_too_long"));
        assert!(encode("x".repeat(998).as_bytes()).is_ok());
    }
}
