//! From the bytes of a mail to notices, or to the reason why it is none: bounces by RFC 3464 and RFC 6533, complaints by RFC 5965.
//!
//! Only the part of a report that is made for machines counts. A mail without one is no report, whatever its subject says: counting
//! automatic replies and bounces of no known form made one sender's share of bounces 4 % where it was 0.6 % (listmonk #1334).

use chrono::{DateTime, Utc};

use super::{
    MAX_BYTES,
    fields::{Fields, address, message_id, time, untyped},
    mime::Entity,
    verp::ReturnPath,
};
use crate::delivery::{status::Status, transport::plain};

/// How deep a report may be wrapped: a footer or a signature puts one more part around it.
const MAX_DEPTH: usize = 3;
/// Where mail systems note the envelope's recipient, then where the sender wrote it.
const RECIPIENTS: [&str; 7] = ["Delivered-To", "X-Original-To", "X-Delivered-To", "Envelope-To", "X-Envelope-To", "X-RCPT-To", "To"];

/// What came back about one recipient of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// What happened.
    pub(crate) kind: Kind,
    /// The code it happened with; the one in the diagnostic where the report's own says no detail.
    pub(crate) status: Option<Status>,
    /// The id of the message it is about, without angle brackets, where its headers were returned. Anybody can write one.
    pub(crate) original_message_id: Option<String>,
    /// Whom the message was for: as we wrote it where that is said, else as it was at last.
    pub(crate) recipient: Option<String>,
    /// The local part of the return path it came by, token and all; [`super::Reference::read`] says what it is worth.
    pub(crate) verp: Option<String>,
    /// What a mail server answered: one line, at most 200 characters, no addresses.
    pub(crate) diagnostic: Option<String>,
    /// When the message reached who reports, else when the report was written.
    pub(crate) at: Option<DateTime<Utc>>,
}

/// What happened to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// It did not arrive.
    Failed {
        /// Because there is no such mailbox: nothing more is sent there.
        hard: bool,
    },
    /// It has not arrived yet.
    Delayed,
    /// It arrived, or went on to a system that reports no more: it did leave.
    Delivered,
    /// The recipient calls it junk.
    Complaint,
    /// The recipient wants no more of it, and says so through the provider.
    OptOut,
}

/// Why a mail is no notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ignored {
    /// It has no headers.
    NoMail,
    /// A machine answered for a person who is away.
    AutoReply,
    /// It has no part made for machines: a person's mail, or a bounce of no known form.
    NoReport,
    /// It reports something else, such as that a mail was read.
    OtherReport,
    /// It reports about nobody, or nothing that is known of.
    NoRecipient,
    /// The recipient took it out of the junk.
    NotSpam,
}

impl Ignored {
    /// The reason in one word, for measures and the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoMail => "no_mail",
            Self::AutoReply => "auto_reply",
            Self::NoReport => "no_report",
            Self::OtherReport => "other_report",
            Self::NoRecipient => "no_recipient",
            Self::NotSpam => "not_spam",
        }
    }
}

/// Reads a mail. `returns` is where bounces come back to.
///
/// # Errors
/// The reason why the mail is no notice.
pub(crate) fn read(mail: &[u8], returns: &ReturnPath) -> Result<Vec<Notice>, Ignored> {
    let mail = Entity::read(&mail[..mail.len().min(MAX_BYTES)]);
    if !mail.has_headers() {
        return Err(Ignored::NoMail);
    }
    // RFC 3834 5. Bounces say `auto-replied` too, so it counts only where there is no report.
    let automatic = mail.values("Auto-Submitted").any(|value| !value.to_lowercase().starts_with("no"));
    let none = if automatic { Ignored::AutoReply } else { Ignored::NoReport };
    let parts = report(&mail, MAX_DEPTH).ok_or(none)?;
    let (part, is_complaint) = parts.iter().find_map(|part| Some((part, is_complaint(part)?))).ok_or(Ignored::OtherReport)?;
    let groups = Fields::groups(&part.content());
    let general = groups.first().ok_or(Ignored::NoRecipient)?;
    let (id, path) = parts.iter().find_map(|part| returned(part, returns)).unwrap_or_default();
    let noted = RECIPIENTS.iter().flat_map(|name| mail.values(name)).find_map(|value| returns.find_in(value));
    let senders = ["Original-Mail-From", "X-Postfix-Sender"];
    let mut arrived = ["Arrival-Date", "Received-Date"].iter();
    let common = Notice {
        kind: Kind::Complaint,
        status: None,
        // Google repeats it here where it returns no headers.
        original_message_id: id.or_else(|| general.get("X-Original-Message-ID").and_then(message_id)),
        recipient: None,
        verp: noted.or_else(|| senders.iter().find_map(|name| returns.find_in(general.get(name)?))).or(path),
        diagnostic: None,
        at: arrived.find_map(|name| time(general.get(name)?)).or_else(|| mail.values("Date").find_map(time)),
    };
    if is_complaint {
        return complaint(general, common).map(|notice| vec![notice]);
    }
    let notices: Vec<Notice> = groups.iter().filter_map(|group| delivery(group, &common)).collect();
    if notices.is_empty() { Err(Ignored::NoRecipient) } else { Ok(notices) }
}

/// The parts of the report in a mail. A message within the mail is not opened: what it reports was not reported to us.
fn report<'a>(mail: &Entity<'a>, depth: usize) -> Option<Vec<Entity<'a>>> {
    let parts = mail.parts();
    if parts.is_empty() || depth == 0 {
        return None;
    }
    if mail.media_type() == "multipart/report" {
        return Some(parts);
    }
    parts.iter().find_map(|part| report(part, depth - 1))
}

/// Whether the part is a complaint (`true`) or a delivery status (`false`). `report-type` is not asked: it is missing in some reports.
fn is_complaint(part: &Entity<'_>) -> Option<bool> {
    match part.media_type().as_str() {
        "message/feedback-report" => Some(true),
        "message/delivery-status" | "message/global-delivery-status" => Some(false),
        _ => None,
    }
}

/// The id and the return path in the headers of the returned message, where the part has them.
fn returned(part: &Entity<'_>, returns: &ReturnPath) -> Option<(Option<String>, Option<String>)> {
    let kinds = ["message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers"];
    if !kinds.contains(&part.media_type().as_str()) {
        return None;
    }
    let content = part.content();
    let message = Entity::read(&content);
    let path = message.values("Return-Path").find_map(|value| returns.find_in(value));
    Some((message.values("Message-ID").find_map(message_id), path))
}

/// What a group of fields says about one recipient.
fn delivery(group: &Fields, common: &Notice) -> Option<Notice> {
    let action = group.word("Action")?;
    let diagnostic = group.get("Diagnostic-Code").map(untyped);
    let own = group.word("Status").and_then(|word| Status::parse(&word));
    let answered = diagnostic.and_then(Status::in_diagnostic);
    let status = match (own, answered) {
        // Exim says 5.0.0 whatever it was answered.
        (Some(own), Some(answered)) if own.detail == 0 && own.class == answered.class => Some(answered),
        (own, answered) => own.or(answered),
    };
    let kind = match action.as_str() {
        "failed" => Kind::Failed { hard: status.is_some_and(Status::is_dead_address) },
        "delayed" => Kind::Delayed,
        "delivered" | "relayed" | "expanded" => Kind::Delivered,
        _ => return None,
    };
    let recipient = ["Original-Recipient", "Final-Recipient"].iter().find_map(|name| address(group.get(name)?));
    let diagnostic = diagnostic.map(plain).filter(|diagnostic| !diagnostic.is_empty());
    Some(Notice { kind, status, recipient, diagnostic, ..common.clone() })
}

/// What a feedback report says. RFC 5965 3.5 and 7.3; `opt-out` is of an early draft, and still sent.
fn complaint(report: &Fields, common: Notice) -> Result<Notice, Ignored> {
    let kind = match report.word("Feedback-Type").as_deref() {
        Some("abuse" | "fraud" | "virus" | "other") => Kind::Complaint,
        Some("opt-out" | "opt-out-list") => Kind::OptOut,
        Some("not-spam") => return Err(Ignored::NotSpam),
        // Such as `auth-failure` (RFC 6591): no person complains.
        _ => return Err(Ignored::OtherReport),
    };
    let recipient = ["Original-Rcpt-To", "Removal-Recipient"].iter().find_map(|name| address(report.get(name)?));
    Ok(Notice { kind, recipient, ..common })
}
