//! The values of a report: fields in groups, addresses with their type, status codes, diagnostics, times. What does not read as what it
//! should be is left out, never guessed.

use chrono::{DateTime, Utc};

/// The groups of fields read of one report; each but the first is about one recipient.
const MAX_GROUPS: usize = 101;
/// Longer than any address (RFC 5321 4.5.3.1).
const MAX_ADDRESS: usize = 320;

/// Fields that stand together, their values unfolded.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The groups of a report, parted by empty lines. RFC 3464 2.1.
    pub(super) fn groups(report: &[u8]) -> Vec<Self> {
        let text = String::from_utf8_lossy(report);
        let (mut groups, mut group) = (Vec::new(), Self::default());
        for line in text.lines() {
            if line.trim().is_empty() {
                if !group.0.is_empty() {
                    groups.push(std::mem::take(&mut group));
                }
                if groups.len() == MAX_GROUPS {
                    return groups;
                }
            } else if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = group.0.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                group.0.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
        if !group.0.is_empty() {
            groups.push(group);
        }
        groups
    }

    /// The first value of a field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().find(|(own, value)| own.eq_ignore_ascii_case(name) && !value.is_empty());
        field.map(|(_, value)| value.as_str())
    }

    /// The first word of a field, in small letters.
    pub(super) fn word(&self, name: &str) -> Option<String> {
        let words = self.get(name)?.split(|c: char| c.is_whitespace() || "(;".contains(c));
        words.map(str::to_lowercase).find(|word| !word.is_empty())
    }
}

/// What a mail server answered, without the type before it: `smtp; 550 …`.
pub(super) fn untyped(value: &str) -> &str {
    match value.split_once(';') {
        Some((kind, rest)) if kind.trim().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => rest.trim(),
        _ => value.trim(),
    }
}

/// The address in `rfc822; ann@example.com` or `utf-8; …` (RFC 6533); none where it is of a type that mail is not sent to.
pub(super) fn address(value: &str) -> Option<String> {
    let (kind, address) = value.split_once(';').map_or(("rfc822", value), |(kind, address)| (kind.trim(), address));
    let address = address.trim().trim_start_matches('<').trim_end_matches('>').trim();
    let address = match kind.to_lowercase().as_str() {
        "rfc822" => unquoted(address),
        "utf-8" => unescaped(address),
        _ => return None,
    };
    let sound = address.contains('@') && address.len() <= MAX_ADDRESS && !address.contains(|c: char| c.is_whitespace() || c.is_control());
    sound.then_some(address)
}

/// Undoes the xtext of RFC 3461 4, which some systems forget to undo, for the two signs an address has that it must encode. `+20` stays:
/// nobody encodes `2024` in `ann+2024@example.com`, and a blank stands in no address.
fn unquoted(address: &str) -> String {
    address.replace("+3D", "=").replace("+2B", "+")
}

/// Undoes the `\x{2B}` of RFC 6533 3.
fn unescaped(address: &str) -> String {
    let mut pieces = address.split("\\x{");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let character = piece.split_once('}').and_then(|(code, rest)| Some((char::from_u32(u32::from_str_radix(code, 16).ok()?)?, rest)));
        match character {
            Some((character, rest)) => {
                plain.push(character);
                plain.push_str(rest);
            }
            None => {
                plain.push_str("\\x{");
                plain.push_str(piece);
            }
        }
    }
    plain
}

/// The id in a `Message-ID` header, without its angle brackets.
pub(super) fn message_id(value: &str) -> Option<String> {
    let id = value.split_once('<').map_or(value, |(_, rest)| rest.split_once('>').map_or(rest, |(id, _)| id)).trim();
    let sound = id.contains('@') && id.len() <= MAX_ADDRESS && !id.contains(|c: char| c.is_whitespace() || c.is_control());
    sound.then(|| id.to_owned())
}

/// A time as mail writes it, in UTC. RFC 5322 3.3.
pub(super) fn time(value: &str) -> Option<DateTime<Utc>> {
    let plain = value.split_once('(').map_or(value, |(before, _)| before);
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    DateTime::parse_from_rfc2822(&plain).ok().map(|at| at.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_in_groups_and_are_unfolded() {
        let groups = Fields::groups(
            b"\r\nReporting-MTA: dns; a\r\n\r\n\r\naction : Failed (really)\r\nDiagnostic-Code: smtp;\r\n 550\r\n\tno\r\n\
            Status:\r\n \r\nno colon\r\nX: y",
        );
        assert_eq!(groups.len(), 3);
        assert_eq!((groups[0].get("reporting-mta"), groups[1].get("diagnostic-code")), (Some("dns; a"), Some("smtp; 550 no")));
        assert_eq!((groups[1].word("Action").as_deref(), groups[1].get("Status")), (Some("failed"), None));
        assert_eq!(Fields::groups("a: b\n\n".repeat(5000).as_bytes()).len(), MAX_GROUPS);
    }

    #[test]
    fn an_address_is_read_without_its_type() {
        for (value, expected) in [
            ("rfc822;ann@example.com", Some("ann@example.com")),
            ("RFC822; <ann@example.com>", Some("ann@example.com")),
            ("ann@example.com", Some("ann@example.com")),
            ("rfc822;ann+2Bshop+3D1@example.com", Some("ann+shop=1@example.com")),
            ("rfc822;ann+2024@example.com", Some("ann+2024@example.com")),
            ("utf-8; jörg@bücher.example", Some("jörg@bücher.example")),
            ("utf-8; j\\x{F6}rg\\x{2B}\\x{zz}@bücher.example", Some("jörg+\\x{zz}@bücher.example")),
            ("x-unix; |procmail", None),
            ("x500; ann@example.com", None),
            ("rfc822; ann", None),
            ("rfc822; ann b@example.com", None),
            ("", None),
        ] {
            assert_eq!(address(value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn ids_times_and_answers_are_read_as_mail_writes_them() {
        assert_eq!(message_id("\n <a@b> (added by mx)").as_deref(), Some("a@b"));
        assert_eq!(
            (message_id("a@b").as_deref(), message_id("<a b@c>"), message_id("<a>"), message_id("")),
            (Some("a@b"), None, None, None)
        );
        let at = time("Thu,  9 Jan 2025 02:15:43\r\n -0800 (PST)").unwrap();
        assert_eq!(at.to_rfc3339(), "2025-01-09T10:15:43+00:00");
        assert_eq!((time("9 Jan 2025 10:15:43 GMT"), time("yesterday"), time("")), (Some(at), None, None));
        assert_eq!(
            (untyped("smtp; 550 no"), untyped("X-Postfix;unknown"), untyped("550 no; really")),
            ("550 no", "unknown", "550 no; really")
        );
    }
}
