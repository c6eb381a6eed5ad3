//! What an answer means, for the message and for the way. Pure: status, headers and body in, an outcome out.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::Value;

use super::{
    description::{Description, Meaning, Rule},
    sigv4::escaped,
};
use crate::{
    delivery::{
        transport::{Outcome, plain},
        webhook::retry_after,
    },
    message::Channel,
    secret::Secret,
};

/// The longest id of an API that is kept.
const LONGEST_ID: usize = 128;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    /// Whether `body` is all of it: it neither broke off nor was too large.
    pub(super) whole: bool,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    /// What became of the message.
    pub(crate) outcome: Outcome,
    /// Whether others may follow.
    pub(crate) door: Door,
}

/// Whether further messages can leave by this way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Door {
    /// They can.
    Open,
    /// Not now: in so long, where the receiver says it.
    Busy(Option<TimeDelta>),
    /// Nobody answered. Several in a row mean that the receiver is away.
    Silent(String),
    /// Nothing more may leave in this run: everybody would be turned away. Somebody has to set it right.
    Closed(String),
    /// The receiver wants no calls any more, now or later.
    Disabled(String),
}

impl Heard {
    pub(super) fn open(outcome: Outcome) -> Self {
        Self { outcome, door: Door::Open }
    }

    /// Certainly not sent, and nobody else's may be.
    pub(super) fn closed(reason: String) -> Self {
        Self { outcome: Outcome::NotSent, door: Door::Closed(reason) }
    }

    /// No byte that could deliver it left, because there was no connection; it is tried again.
    pub(super) fn unreached(reason: String) -> Self {
        Self { outcome: Outcome::Deferred { reply: Some(reason.clone()), after: None, of_relay: false }, door: Door::Silent(reason) }
    }

    /// The call had begun, and no answer came.
    pub(super) fn unanswered(reason: String) -> Self {
        Self { outcome: Outcome::Unknown(reason.clone()), door: Door::Silent(reason) }
    }
}

impl Rule {
    /// Whether it holds for an answer.
    fn fits(&self, status: u16, headers: &HeaderMap, json: Option<&Value>) -> bool {
        if !self.status.is_empty() && !self.status.contains(&status) {
            return false;
        }
        let found = match (&self.at, &self.header) {
            (Some(at), _) => json.and_then(|json| json.pointer(at)).cloned(),
            (None, Some(name)) => headers.get(name.as_str()).and_then(|text| text.to_str().ok()).map(Value::from),
            (None, None) => return true,
        };
        let Some(found) = found.filter(|found| !found.is_null()) else { return false };
        match (&self.is, &self.is_not, &self.contains) {
            (Some(is), ..) => is.contains(&found),
            (_, Some(is_not), _) => !is_not.contains(&found),
            (.., Some(parts)) => {
                let text = words(&found);
                parts.iter().any(|part| text.contains(part.as_str()))
            }
            _ => true,
        }
    }

    /// What is wrong with it, and what to do.
    pub(super) fn fault(&self, channel: Channel) -> Option<(&'static str, &'static str)> {
        let looks = usize::from(self.at.is_some()) + usize::from(self.header.is_some());
        let tests = usize::from(self.is.is_some()) + usize::from(self.is_not.is_some()) + usize::from(self.contains.is_some());
        let values = || self.is.iter().chain(&self.is_not).flatten();
        let nothing = self.is.as_ref().is_some_and(Vec::is_empty)
            || self.contains.as_ref().is_some_and(|parts| parts.is_empty() || parts.iter().any(String::is_empty));
        let refuses = matches!(self.means, Meaning::Rejected | Meaning::DeadAddress);
        let faults = [
            (looks == 0 && self.status.is_empty(), "the rule holds for every answer", "set `status`, `at` or `header`"),
            (
                looks > 1 || tests > 1 || tests > looks,
                "the rule looks at more than one thing, or at none",
                "set one of `at` and `header`, and one of `is`, `is_not` and `contains`",
            ),
            (self.status.iter().any(|status| !(200..600).contains(status)), "the rule names what is no status", "write it such as 422"),
            (!self.at.as_deref().is_none_or(is_pointer), "`at` is no JSON pointer", "write it such as `/errors/0/code`"),
            (
                self.header.as_ref().is_some_and(|name| HeaderName::try_from(name).is_err()),
                "`header` is no name of a header",
                "write it such as `x-amzn-errortype`",
            ),
            (
                nothing || values().any(|value| matches!(value, Value::Array(_) | Value::Object(_))),
                "the rule compares with nothing, or with a list",
                "name texts, numbers, true or false",
            ),
            (
                self.means == Meaning::DeadAddress && channel == Channel::Webhook,
                "no webhook is sent to an address, and the person's own would get no mail any more",
                "use `means = \"rejected\"`",
            ),
            (
                refuses && looks == 0 && self.status.iter().any(|status| [401, 403, 404].contains(status)),
                "a wrong key or address would reject everybody for good",
                "leave it `closed`, or look into the answer with `at` as well",
            ),
        ];
        faults.into_iter().find(|(wrong, ..)| *wrong).map(|(_, message, hint)| (message, hint))
    }
}

/// Whether a text is a JSON pointer (RFC 6901).
pub(super) fn is_pointer(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}

/// What a status means where no rule says otherwise.
fn usual(status: u16) -> Meaning {
    match status {
        200..=299 => Meaning::Accepted,
        // "See Other" is how a form that was taken is answered; the others ask for the same call elsewhere (RFC 9110, 15.4).
        303 => Meaning::Unknown,
        300..=399 | 401..=405 | 407 => Meaning::Closed,
        // Each says that the request was not acted upon (RFC 9110, 15.5.9 and 15.6.4; RFC 8470; RFC 6585).
        408 | 425 | 429 | 503 => Meaning::Deferred,
        410 => Meaning::Disabled,
        400..=499 => Meaning::Rejected,
        // A gateway that lost its patience, or a fault half way through.
        _ => Meaning::Unknown,
    }
}

/// What an answer means. `to` is the recipient's address and `secrets` are ours: neither is kept with the answer's words.
pub(super) fn classify(description: &Description, answer: &Answer<'_>, to: &str, secrets: &[Secret], now: DateTime<Utc>) -> Heard {
    let status = answer.status;
    let json = answer.whole.then(|| {
        serde_json::from_slice(answer.body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(answer.body).trim().to_owned()))
    });
    let at = |pointer: &String| json.as_ref().and_then(|json| json.pointer(pointer)).filter(|found| !found.is_null()).map(words);
    let id = description.id.as_ref().and_then(at).filter(|id| is_id(id, to));
    let rule = description.answers.iter().find(|rule| rule.fits(status, answer.headers, json.as_ref())).map(|rule| rule.means);
    let looks_inside = description.id.is_some() || description.answers.iter().any(|rule| rule.at.is_some());
    let (meaning, doubt) = match rule.unwrap_or_else(|| usual(status)) {
        Meaning::Accepted if rule.is_none() && !answer.whole && looks_inside => (Meaning::Unknown, " the answer could not be read whole"),
        Meaning::Accepted if rule.is_none() && description.id.is_some() && id.is_none() => {
            (Meaning::Unknown, " the answer does not name the message")
        }
        meaning => (meaning, ""),
    };
    let said: Vec<String> =
        description.says.iter().filter_map(at).map(|text| told(&text, secrets)).filter(|text| !text.is_empty()).collect();
    let reply = match (meaning, &id) {
        (Meaning::Accepted, Some(id)) => format!("{status} {id}"),
        (Meaning::Accepted, None) => status.to_string(),
        _ if said.is_empty() => format!("{status}{doubt}"),
        _ => format!("{status}{doubt} {}", said.join(" ")),
    };
    let refused = |dead| Outcome::Rejected { reason: "refused", reply: Some(reply.clone()), dead };
    match meaning {
        Meaning::Accepted => Heard::open(Outcome::Accepted(Some(reply))),
        Meaning::Rejected => Heard::open(refused(false)),
        Meaning::DeadAddress => Heard::open(refused(true)),
        Meaning::Deferred => {
            let after = retry_after(answer.headers, now);
            Heard { outcome: Outcome::Deferred { reply: Some(reply), after, of_relay: false }, door: Door::Busy(after) }
        }
        Meaning::Unknown => Heard::open(Outcome::Unknown(reply)),
        Meaning::Closed => Heard::closed(reply),
        Meaning::Disabled => Heard { outcome: Outcome::NotSent, door: Door::Disabled(reply) },
    }
}

fn words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a text may be kept as the API's name for a message: one word, not too long, and not the address it went to.
fn is_id(text: &str, to: &str) -> bool {
    let word = !text.is_empty() && text.len() <= LONGEST_ID && text.bytes().all(|byte| byte.is_ascii_graphic());
    word && (to.is_empty() || !text.to_lowercase().contains(&to.to_lowercase()))
}

/// The API's own words, fit for the ledger and the log: no secrets, no addresses, no long numbers, as those of telephones are.
fn told(text: &str, secrets: &[Secret]) -> String {
    let secrets = secrets.iter().map(Secret::reveal).filter(|secret| !secret.is_empty());
    // As they are, and as they stand in an address.
    let text = secrets.fold(text.to_owned(), |text, secret| {
        text.replace(secret, "••••").replace(&escaped(secret.as_bytes(), b""), "••••").replace(&escaped(secret.as_bytes(), b"/"), "••••")
    });
    let digits = |word: &str| word.bytes().filter(u8::is_ascii_digit).count();
    let words: Vec<&str> = text.split_whitespace().map(|word| if digits(word) > 6 { "(number)" } else { word }).collect();
    plain(&words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(rest: &str) -> Description {
        let text = format!("channel = \"webhook\"\nurl = \"https://api.example/\"\n{rest}");
        crate::config::parse(&text, std::path::Path::new("x.toml")).unwrap()
    }

    fn heard(rest: &str, status: u16, body: &str) -> Heard {
        let answer = Answer { status, headers: &HeaderMap::new(), body: body.as_bytes(), whole: true };
        classify(&description(rest), &answer, "ann@example.org", &[Secret::new("s3cret")], Utc::now())
    }

    fn kind(heard: &Heard) -> &'static str {
        match (&heard.outcome, &heard.door) {
            (Outcome::Accepted(_), Door::Open) => "accepted",
            (Outcome::Rejected { dead: true, .. }, Door::Open) => "dead",
            (Outcome::Rejected { .. }, Door::Open) => "rejected",
            (Outcome::Deferred { .. }, Door::Busy(_)) => "deferred",
            (Outcome::Unknown(_), Door::Open) => "unknown",
            (Outcome::NotSent, Door::Closed(_)) => "closed",
            (Outcome::NotSent, Door::Disabled(_)) => "disabled",
            _ => "nonsense",
        }
    }

    #[test]
    fn every_status_has_its_meaning() {
        for (status, expected) in [
            (200, "accepted"),
            (201, "accepted"),
            (202, "accepted"),
            (204, "accepted"),
            (301, "closed"),
            (302, "closed"),
            (303, "unknown"),
            (307, "closed"),
            (308, "closed"),
            (400, "rejected"),
            (401, "closed"),
            (402, "closed"),
            (403, "closed"),
            (404, "closed"),
            (405, "closed"),
            (407, "closed"),
            (408, "deferred"),
            (409, "rejected"),
            (410, "disabled"),
            (413, "rejected"),
            (422, "rejected"),
            (425, "deferred"),
            (429, "deferred"),
            (500, "unknown"),
            (502, "unknown"),
            (503, "deferred"),
            (504, "unknown"),
            (599, "unknown"),
        ] {
            assert_eq!(kind(&heard("", status, "")), expected, "{status}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let rules = "says = [\"/error\"]\n\
            [[answers]]\nat = \"/ok\"\nis = [true]\nmeans = \"accepted\"\n\
            [[answers]]\nat = \"/error\"\nis = [\"slow\", 7]\nmeans = \"deferred\"\n\
            [[answers]]\nat = \"/error\"\ncontains = [\"nobody\"]\nmeans = \"dead_address\"\n\
            [[answers]]\nstatus = [400]\nat = \"/error\"\nmeans = \"closed\"\n\
            [[answers]]\nheader = \"x-error\"\ncontains = [\"Paused\"]\nmeans = \"closed\"\n\
            [[answers]]\nat = \"\"\nis = [\"no_service\"]\nmeans = \"disabled\"\n\
            [[answers]]\nstatus = [200]\nat = \"/ok\"\nis_not = [true]\nmeans = \"rejected\"\n";
        for (status, body, expected) in [
            (200, "{\"ok\": true}", "accepted"),
            (500, "{\"ok\": true}", "accepted"),
            (200, "{\"ok\": false, \"error\": \"slow\"}", "deferred"),
            (200, "{\"ok\": false, \"error\": 7}", "deferred"),
            (200, "{\"ok\": false, \"error\": \"nobody has it\"}", "dead"),
            (400, "{\"error\": \"x\"}", "closed"),
            (400, "{\"error\": null}", "rejected"),
            (404, "no_service\n", "disabled"),
            (200, "{\"ok\": false}", "rejected"),
            (200, "{\"ok\": null}", "accepted"),
            (200, "", "accepted"),
        ] {
            assert_eq!(kind(&heard(rules, status, body)), expected, "{status} {body}");
        }
        let headers = HeaderMap::from_iter([("x-error".parse().unwrap(), "SendingPausedException:".parse().unwrap())]);
        let answer = Answer { status: 400, headers: &headers, body: b"", whole: true };
        assert_eq!(kind(&classify(&description(rules), &answer, "", &[], Utc::now())), "closed");
    }

    #[test]
    fn a_success_that_names_no_message_is_no_success() {
        let named = "id = \"/MessageId\"";
        assert_eq!(heard(named, 200, "{\"MessageId\": \"abc-1\"}").outcome, Outcome::Accepted(Some("200 abc-1".into())));
        assert_eq!(heard(named, 200, "{\"MessageId\": 17}").outcome, Outcome::Accepted(Some("200 17".into())));
        for body in [
            "<html>Welcome to the hotel's network</html>",
            "{}",
            "",
            "{\"MessageId\": null}",
            "{\"MessageId\": \"to ann@example.org\"}",
            "{\"MessageId\": \"ANN@example.org\"}",
        ] {
            assert_eq!(kind(&heard(named, 200, body)), "unknown", "{body}");
        }
        assert_eq!(kind(&heard(named, 422, "")), "rejected");
    }

    #[test]
    fn half_an_answer_says_what_its_status_says_where_that_is_enough() {
        let half = |rest: &str, status| {
            let answer = Answer { status, headers: &HeaderMap::new(), body: b"{\"MessageId\": \"abc", whole: false };
            kind(&classify(&description(rest), &answer, "", &[], Utc::now()))
        };
        let inside = "[[answers]]\nat = \"/ok\"\nis = [false]\nmeans = \"rejected\"\n";
        assert_eq!((half("", 200), half("id = \"/MessageId\"", 200), half(inside, 200)), ("accepted", "unknown", "unknown"));
        assert_eq!((half("id = \"/MessageId\"", 422), half(inside, 429)), ("rejected", "deferred"));
    }

    #[test]
    fn words_are_kept_without_secrets_addresses_and_numbers() {
        let said = heard(
            "says = [\"/code\", \"/message\"]",
            422,
            "{\"code\": 406, \"message\": \"key s3cret:\\n Ann <ann@example.org>, +49 30 5550 1234567 is no 'To'\", \"other\": \"x\"}",
        );
        let expected = "422 406 key ••••: Ann (address) +49 30 5550 (number) is no 'To'";
        assert_eq!(said.outcome, Outcome::Rejected { reason: "refused", reply: Some(expected.into()), dead: false });
    }
}
