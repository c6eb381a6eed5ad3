//! The one shape every provider's event is read into, and the reading of fields that come from outside: nothing in them is believed to be
//! there, to be short, or to be of its type.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::delivery::{status::Status, transport::plain};

/// The name our message id goes by where a provider gives back what it was given.
pub(super) const PERENNIAL_ID: &str = "perennial_id";
/// Longer than any provider's id of an event.
const LONGEST_ID: usize = 128;
/// A line of a header is no longer (RFC 5322, 2.1.1).
const LONGEST_MESSAGE_ID: usize = 998;
/// 64 before the `@`, 255 after it (RFC 5321, 4.5.3.1).
const LONGEST_ADDRESS: usize = 320;
/// How far a provider's clocks may disagree before an event that is told has not happened yet.
const AHEAD: TimeDelta = TimeDelta::days(1);

/// What became of one message, or what its recipient wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProviderEvent {
    /// The same whenever the provider tells the same event again; begins with the provider's name, and holds no address.
    pub(crate) event_id: String,
    /// When it happened; where the provider does not say, or says what cannot be, when it was told.
    pub(crate) at: DateTime<Utc>,
    /// What happened.
    pub(crate) kind: Kind,
    /// Our message id, without angle brackets, or as much of it as the provider was given: the part before the `@` is unique by itself.
    pub(crate) message_id: Option<String>,
    /// The address it is about.
    pub(crate) recipient: Option<String>,
    /// What was said, in one line without addresses.
    pub(crate) detail: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The recipient's server took it.
    Delivered,
    /// It came back.
    Bounced {
        /// Whether the address is dead: nothing sent there will ever arrive.
        hard: bool,
    },
    /// The provider is still trying.
    Deferred,
    /// The recipient called it spam.
    Complained,
    /// The recipient, or somebody for them, asked for no more. So is a complaint of earlier days, for which a provider drops a new
    /// message: it must stop the mail, and must not count as a fresh complaint.
    Unsubscribed,
    /// The provider did not send it.
    Rejected,
}

/// Something told that is no event for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ignored {
    /// Opens, clicks and the like.
    NotOurs(String),
    /// A type we have never heard of.
    Unknown(String),
    /// It lacks what it needs.
    Malformed(&'static str),
}

impl Ignored {
    /// An event of a type that does not concern us.
    pub(super) fn not_ours(kind: &str) -> Self {
        Self::NotOurs(plain(kind))
    }

    /// An event of a type that is not known.
    pub(super) fn unknown(kind: &str) -> Self {
        Self::Unknown(plain(kind))
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOurs(kind) => write!(f, "`{kind}` does not say whether mail arrives or is wanted"),
            Self::Unknown(kind) => write!(f, "`{kind}` is no type of event that is known here"),
            Self::Malformed(reason) => write!(f, "an event cannot be read: {reason}"),
        }
    }
}

/// An event as a provider tells it, its fields still as they came.
pub(super) struct Told<'a> {
    /// The provider's name.
    pub(super) provider: &'static str,
    /// The provider's own id of the event.
    pub(super) id: Option<String>,
    /// Which of the events told under this id it is.
    pub(super) part: Option<usize>,
    /// All that is told.
    pub(super) whole: &'a Value,
    /// When it happened.
    pub(super) at: Option<DateTime<Utc>>,
    /// What happened.
    pub(super) kind: Kind,
    /// Our message id.
    pub(super) message_id: Option<&'a str>,
    /// The recipient's address.
    pub(super) recipient: Option<&'a str>,
    /// What was said.
    pub(super) detail: Option<&'a str>,
}

impl Told<'_> {
    /// The event, or what it lacks. `told_at` stands in for a time it does not say.
    pub(super) fn read(self, told_at: DateTime<Utc>) -> Result<ProviderEvent, Ignored> {
        let (message_id, recipient) = (self.message_id.and_then(bare), self.recipient.and_then(address));
        if message_id.is_none() && recipient.is_none() {
            return Err(Ignored::Malformed("it names neither a message nor an address"));
        }
        // Without an id of the provider's, the same text is the same event: a call that is repeated is repeated word for word.
        let is_sound =
            |id: &String| !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
        let id = self.id.filter(is_sound);
        let id = id.unwrap_or_else(|| hex::encode(&Sha256::digest(self.whole.to_string())[..16]));
        let part = self.part.map(|part| format!(":{part}")).unwrap_or_default();
        Ok(ProviderEvent {
            event_id: format!("{}:{id}{part}", self.provider),
            at: self.at.filter(|at| *at >= DateTime::UNIX_EPOCH && *at - told_at <= AHEAD).unwrap_or(told_at),
            kind: self.kind,
            message_id,
            recipient,
            detail: self.detail.map(plain).filter(|detail| !detail.is_empty()),
        })
    }
}

/// The text at a JSON pointer (RFC 6901), unless it is blank.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// The text or the number at a JSON pointer, as text.
pub(super) fn written(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::Number(number) => Some(number.to_string()),
        _ => text(value, pointer).map(str::to_owned),
    }
}

/// The moment at a JSON pointer: by RFC 3339, or in seconds of Unix time with or without a fraction.
pub(super) fn moment(value: &Value, pointer: &str) -> Option<DateTime<Utc>> {
    let written = written(value, pointer)?;
    if let Ok(moment) = DateTime::parse_from_rfc3339(&written) {
        return Some(moment.to_utc());
    }
    let seconds: f64 = written.parse().ok().filter(|seconds: &f64| seconds.is_finite())?;
    // Casting saturates, and what lies outside the calendar is no moment.
    DateTime::from_timestamp_millis((seconds * 1000.0).round() as i64)
}

/// What a status code at the beginning of a text says about the address: that it is dead, that it is not, or nothing.
pub(super) fn dead(text: &str) -> Option<bool> {
    let status = Status::parse(text.split_whitespace().next()?)?;
    match (status.class, status.subject, status.detail) {
        // "Other or undefined": the code leaves open what the provider may know.
        (5, 2.., 0) | (5, 0, 0) | (2, ..) => None,
        _ => Some(status.is_dead_address()),
    }
}

fn bare(id: &str) -> Option<String> {
    let id = id.trim();
    let id = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id);
    let sound = !id.is_empty() && id.len() <= LONGEST_MESSAGE_ID && id.bytes().all(|byte| byte.is_ascii_graphic());
    sound.then(|| id.to_owned())
}

fn address(text: &str) -> Option<String> {
    let text = text.trim();
    // `Ann <ann@example.com>`, as SES may quote a header.
    let text = text.strip_suffix('>').and_then(|text| text.rsplit_once('<')).map_or(text, |(_, address)| address);
    let sound = text.contains('@') && text.len() <= LONGEST_ADDRESS && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    sound.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told<'a>(whole: &'a Value, id: Option<&str>) -> Told<'a> {
        Told {
            provider: "house",
            id: id.map(str::to_owned),
            part: None,
            whole,
            at: None,
            kind: Kind::Delivered,
            message_id: text(whole, "/message"),
            recipient: text(whole, "/to"),
            detail: text(whole, "/said"),
        }
    }

    fn read(whole: &Value, id: Option<&str>) -> Result<ProviderEvent, Ignored> {
        told(whole, id).read(DateTime::UNIX_EPOCH)
    }

    #[test]
    fn an_event_names_a_message_or_an_address() {
        let message = |id: &str| read(&json!({ "message": id }), None).map(|event| event.message_id);
        assert_eq!(message(" <0a@fernwood.example> "), Ok(Some("0a@fernwood.example".to_owned())));
        assert_eq!(message("0a"), Ok(Some("0a".to_owned())));
        for nothing in ["", "<>", "< >", "a b", "a\nb", "ä", &"a".repeat(999)] {
            assert!(message(nothing).is_err(), "{nothing:?}");
        }
        let to = |address: &str| read(&json!({ "to": address }), None).map(|event| event.recipient);
        assert_eq!(to("ann@example.com"), Ok(Some("ann@example.com".to_owned())));
        assert_eq!(to("Ann <x> <ann@example.com>"), Ok(Some("ann@example.com".to_owned())));
        for nothing in ["ann", "a nn@example.com", "ann@example.com\u{7}", &format!("{}@x", "a".repeat(319))] {
            assert!(to(nothing).is_err(), "{nothing:?}");
        }
    }

    #[test]
    fn an_id_that_is_missing_or_unfit_is_made_from_the_whole_event() {
        let (one, other) = (json!({ "to": "ann@example.com" }), json!({ "to": "bob@example.com" }));
        let id = |whole: &Value, id: Option<&str>| read(whole, id).unwrap().event_id;
        assert_eq!(id(&one, Some("rbtnWrG1DVDGGGFHFyun0A==")), "house:rbtnWrG1DVDGGGFHFyun0A==");
        assert_eq!(id(&one, None), id(&one, None));
        assert_ne!(id(&one, None), id(&other, None));
        for unfit in ["", "a b", "a\nb", "ann@example.com", &"a".repeat(129)] {
            assert_eq!(id(&one, Some(unfit)), id(&one, None), "{unfit:?}");
        }
        assert!(!id(&one, None).contains("ann"));
        let part = Told { part: Some(2), ..told(&one, Some("x")) };
        assert_eq!(part.read(DateTime::UNIX_EPOCH).unwrap().event_id, "house:x:2");
    }

    #[test]
    fn a_detail_is_one_short_line_without_addresses() {
        let detail = |said: &str| read(&json!({ "to": "ann@example.com", "said": said }), None).unwrap().detail;
        assert_eq!(detail("550 5.1.1 <ann@example.com>:\r\nunknown").as_deref(), Some("550 5.1.1 (address) unknown"));
        assert_eq!(detail(&"ä".repeat(500)).unwrap().chars().count(), 200);
        assert_eq!((detail(" \r\n "), detail("\u{7}")), (None, None));
        assert_eq!(Ignored::unknown("ann@example.com\nx").to_string(), "`(address) x` is no type of event that is known here");
    }

    #[test]
    fn moments_come_in_several_spellings() {
        let at = |value: Value| moment(&json!({ "at": value }), "/at").map(|moment| moment.to_rfc3339());
        assert_eq!(at(json!(1_513_299_569)).as_deref(), Some("2017-12-15T00:59:29+00:00"));
        assert_eq!(at(json!("1513299569")).as_deref(), Some("2017-12-15T00:59:29+00:00"));
        assert_eq!(at(json!(1_770_146_431.658_528_3)).as_deref(), Some("2026-02-03T19:20:31.659+00:00"));
        assert_eq!(at(json!("2016-04-27T16:28:50.3963933-04:00")).as_deref(), Some("2016-04-27T20:28:50.396393300+00:00"));
        for nothing in [json!("soon"), json!(""), json!(1e300), json!("NaN"), json!("inf"), json!(null), json!([1]), json!(true)] {
            assert_eq!(at(nothing.clone()), None, "{nothing}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_is_that_of_the_telling() {
        let (whole, now) = (json!({ "to": "ann@example.com" }), super::super::tests::now());
        let at = |at| Told { at: Some(at), ..told(&whole, None) }.read(now).unwrap().at;
        for possible in [now, now - TimeDelta::days(40), now + TimeDelta::hours(24), DateTime::UNIX_EPOCH] {
            assert_eq!(at(possible), possible);
        }
        for impossible in
            [now + TimeDelta::hours(25), DateTime::UNIX_EPOCH - TimeDelta::seconds(1), DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC]
        {
            assert_eq!(at(impossible), now);
        }
        assert_eq!(Told { at: Some(now), ..told(&whole, None) }.read(DateTime::<Utc>::MIN_UTC).unwrap().at, DateTime::<Utc>::MIN_UTC);
    }

    #[test]
    fn a_status_means_a_dead_address_as_it_does_in_a_relays_reply() {
        for (status, expected) in [
            ("5.1.1", Some(true)),
            ("5.1.1 (bad destination mailbox address)", Some(true)),
            ("5.1.0", Some(true)),
            ("5.1.7", Some(false)),
            ("5.1.8", Some(false)),
            ("5.1.10", Some(true)),
            ("5.2.1", Some(true)),
            ("5.2.2", Some(false)),
            ("5.4.4", Some(true)),
            ("5.7.1", Some(false)),
            ("5.7.13", Some(true)),
            ("5.0.0", None),
            ("5.5.0", None),
            ("4.1.1", Some(false)),
            ("2.0.0", None),
            ("", None),
            ("550", None),
            ("5.1", None),
            ("5.1.x", None),
            ("5.1.1.1", None),
        ] {
            assert_eq!(dead(status), expected, "{status}");
        }
    }
}
