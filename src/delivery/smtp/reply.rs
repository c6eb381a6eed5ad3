//! What a relay's reply means for a message, and which phase of the session it came in.

use lettre::transport::smtp::{Error, response::Response};

use crate::delivery::{
    status::Status,
    transport::{Outcome, plain},
};

/// Where in the session something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Recipient,
    /// DATA.
    Data,
    /// From the first byte of the message to the reply to its final dot.
    Message,
}

/// A connection that is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Where it happened.
    pub(crate) phase: Phase,
    /// Whether any byte of the message had been handed to the network.
    pub(crate) begun: bool,
    /// What happened, without addresses.
    pub(crate) reason: String,
}

/// A whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Three digits.
    pub(crate) code: u16,
    /// The lines joined.
    pub(crate) text: String,
}

impl Reply {
    /// Tells replies from connections that broke; `phase` and `begun` say what a break means.
    pub(crate) fn read(answer: Result<Response, Error>, phase: Phase, begun: impl Fn() -> bool) -> Result<Self, Lost> {
        let reply = match answer {
            Ok(response) => Self { code: response.code().into(), text: response.message().collect::<Vec<_>>().join(" ") },
            Err(error) => match error.status() {
                Some(code) => {
                    let text = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    Self { code: code.into(), text }
                }
                None => return Err(Lost { phase, begun: begun(), reason: plain(&error.to_string()) }),
            },
        };
        // "Service not available, closing": the relay ends the session, whatever it was asked.
        if reply.code == 421 && phase != Phase::Message {
            return Err(Lost { phase, begun: false, reason: reply.said() });
        }
        // A "yes" to another question than the one asked (RFC 5321, 4.3.2): from here on replies and commands would not belong together,
        // and the answer to DATA could be taken for the one to the message.
        let awaited = if phase == Phase::Data { 3 } else { 2 };
        if reply.is_positive() && reply.code / 100 != awaited {
            return Err(Lost { phase, begun: begun(), reason: format!("its replies are out of step: {}", reply.said()) });
        }
        Ok(reply)
    }

    /// 2yz or 3yz.
    pub(crate) fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// As the ledger keeps it.
    pub(crate) fn said(&self) -> String {
        plain(&format!("{} {}", self.code, self.text))
    }

    /// Whether the refusal means that there is no such mailbox.
    fn is_dead_address(&self, phase: Phase) -> bool {
        if self.code < 500 {
            return false;
        }
        let status = self.text.split_whitespace().next().and_then(Status::parse);
        match status.filter(|status| status.class == self.code / 100) {
            Some(status) => status.is_dead_address(),
            None => {
                let text = self.text.to_lowercase();
                let words = ["user unknown", "unknown user", "no such user", "no such recipient", "recipient unknown", "unknown recipient"];
                let more = ["does not exist", "mailbox unavailable", "mailbox not found", "no mailbox"];
                phase == Phase::Recipient
                    && matches!(self.code, 550 | 551 | 553)
                    && words.iter().chain(&more).any(|phrase| text.contains(phrase))
            }
        }
    }

    /// What a refusal in `phase` means for the message.
    pub(crate) fn refusal(&self, phase: Phase) -> Outcome {
        if self.code < 500 {
            return Outcome::Deferred { reply: Some(self.said()), after: None, of_relay: phase == Phase::Mail };
        }
        Outcome::Rejected { reason: "refused", reply: Some(self.said()), dead: self.is_dead_address(phase) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(code: u16, text: &str, phase: Phase) -> bool {
        Reply { code, text: text.to_owned() }.is_dead_address(phase)
    }

    #[test]
    fn only_a_missing_mailbox_makes_an_address_dead() {
        for (code, text, expected) in [
            (550, "5.1.1 no such user", true),
            (550, "5.1.10 null mx", true),
            (550, "5.1.8 bad sender address", false),
            (550, "5.2.1 disabled", true),
            (552, "5.2.2 mailbox full", false),
            (550, "5.7.1 blocked", false),
            (550, "5.7.13 account disabled", true),
            (450, "4.1.1 no such user yet", false),
            (550, "4.1.1 codes disagree", false),
            (550, "User unknown", true),
            (550, "listed at a blocklist", false),
            (554, "user unknown", false),
        ] {
            assert_eq!(dead(code, text, Phase::Recipient), expected, "{code} {text}");
        }
        assert!(!dead(550, "user unknown", Phase::Message), "without a code only the answer to RCPT is about the address");
        assert!(dead(550, "5.1.1 no such user", Phase::Message));
    }
}
