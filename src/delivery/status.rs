//! Enhanced status codes (RFC 3463): what a mail server says about why.

use std::fmt;

/// A status code: class, subject, detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Status {
    /// 2 done, 4 not yet, 5 never.
    pub(super) class: u16,
    /// What it is about: 1 the address, 2 the mailbox, 4 the way there, 7 a policy.
    pub(super) subject: u16,
    /// What is wrong; 0 where that is not said.
    pub(super) detail: u16,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl Status {
    /// Reads `5.1.1`, and nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| {
            let digits = (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
            if digits { part.parse().ok() } else { None }
        });
        let status = Self { class: parts.next()??, subject: parts.next()??, detail: parts.next()?? };
        (parts.next().is_none() && matches!(status.class, 2 | 4 | 5)).then_some(status)
    }

    /// The code in what a mail server answered: `550 5.1.1 …`, `550-5.1.1 …`, `550 #5.1.1 …`, `5.1.1 …`, or qmail's `… (#5.1.1)`.
    pub(super) fn in_diagnostic(diagnostic: &str) -> Option<Self> {
        let mut words = diagnostic.split(|c: char| c.is_whitespace() || c == '-').filter(|word| !word.is_empty());
        let first = words.next()?;
        let reply = first.parse::<u16>().ok().filter(|reply| (200..600).contains(reply));
        let second = if reply.is_some() { words.next().unwrap_or_default() } else { first };
        let bracketed = || diagnostic.split_once("(#").and_then(|(_, rest)| Self::parse(rest.split_once(')')?.0));
        let status = Self::parse(second.trim_start_matches('#').trim_end_matches([':', ','])).or_else(bracketed)?;
        // A code that contradicts the reply it stands in says nothing.
        reply.is_none_or(|reply| reply / 100 == status.class).then_some(status)
    }

    /// Whether there is no such mailbox. A refused sender, a full mailbox or a policy does not mean that.
    pub(super) fn is_dead_address(self) -> bool {
        match (self.class, self.subject, self.detail) {
            // 5.1.7 and 5.1.8 are about the sender.
            (5, 1, detail) => !matches!(detail, 7 | 8),
            (5, 2, 1) | (5, 4, 4) | (5, 7, 13) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_a_server_gives_is_read_where_it_stands() {
        for (diagnostic, expected) in [
            ("550 5.1.1 <a@b>: no", Some("5.1.1")),
            ("550-5.1.1 The email account", Some("5.1.1")),
            ("550-'5.1.1 no", None),
            ("550 #5.1.0 Address rejected.", Some("5.1.0")),
            ("5.1.0 - Unknown address error", Some("5.1.0")),
            ("550 5.4.1: Recipient address rejected", Some("5.4.1")),
            ("550 sorry, no mailbox here by that name (#5.1.1)", Some("5.1.1")),
            ("550 4.2.2 codes disagree", None),
            ("421 4.7.0 later", Some("4.7.0")),
            ("550 User unknown 5.1.1", None),
            ("550", None),
            ("550 10.0.0.1 is listed", None),
            ("550 5.1.1.1 listed", None),
            ("", None),
        ] {
            assert_eq!(Status::in_diagnostic(diagnostic).map(|status| status.to_string()).as_deref(), expected, "{diagnostic}");
        }
        for odd in ["", "5", "5.1", "5.1.", "5.1.1.", "5.1.1000", "9.1.1", "5.+1.1", "x.1.1"] {
            assert_eq!(Status::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn only_a_missing_mailbox_makes_an_address_dead() {
        for (code, expected) in [
            ("5.1.1", true),
            ("5.1.10", true),
            ("5.1.7", false),
            ("5.1.8", false),
            ("5.2.1", true),
            ("5.2.2", false),
            ("5.4.4", true),
            ("5.7.1", false),
            ("5.7.13", true),
            ("4.1.1", false),
            ("5.0.0", false),
        ] {
            assert_eq!(Status::parse(code).unwrap().is_dead_address(), expected, "{code}");
        }
    }
}
