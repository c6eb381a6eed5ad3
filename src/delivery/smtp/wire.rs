//! A message as it crosses an SMTP connection.

/// The longest line RFC 5322 allows, without its line break.
const LONGEST_LINE: usize = 998;

/// The message dot-stuffed and ended by its final dot, to be written at once.
///
/// A bare CR or LF could end the message early at a careless relay, and what follows would be taken for commands (SMTP smuggling); such a
/// message is refused, with the reason.
pub(crate) fn encode(message: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(message).map_err(|_| "not_utf8")?;
    let mut wire = String::with_capacity(text.len() + text.len() / 64 + 8);
    let ended = text.strip_suffix("\r\n").unwrap_or(text);
    for line in ended.split("\r\n") {
        if line.contains(['\r', '\n', '\0']) {
            return Err("bare_line_break");
        }
        if line.len() > LONGEST_LINE {
            return Err("line_too_long");
        }
        if line.starts_with('.') {
            wire.push('.');
        }
        wire.push_str(line);
        wire.push_str("\r\n");
    }
    wire.push_str(".\r\n");
    Ok(wire)
}

#[cfg(test)]
mod tests {
    use super::*;

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
