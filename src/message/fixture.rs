//! What the room's tests share.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Brand, Envelope, Field, Offer, Row};

pub(super) fn brand() -> Brand {
    Brand {
        name: "Fernwood".into(),
        url: "https://fernwood.example".into(),
        domain: "fernwood.example".into(),
        from: "Fernwood <hello@fernwood.example>".into(),
        postal_address: vec!["Fernwood".into(), "Lindenallee 12".into(), "10115 Berlin".into(), "Germany".into()],
        locale: "en-GB".into(),
        timezone: "Europe/Berlin".into(),
        currency: "EUR".into(),
        color: "#2f5d50".into(),
        signed_by: "Mara, customer care".into(),
        phone: Some("+49 30 5550 1234".into()),
    }
}

pub(super) fn envelope() -> Envelope {
    let date: DateTime<Utc> = "2026-11-22T07:00:00Z".parse().unwrap();
    Envelope {
        message_id: "0123456789abcdef0123456789abcdef@fernwood.example".into(),
        plan: "win-back-20261122T010000Z-0a1b2c3d".into(),
        campaign: "win-back".into(),
        to: "anna@example.org".into(),
        reply_to: "hello@fernwood.example".into(),
        unsubscribe_url: Some("https://fernwood.example/u/azEuYWJjZGVmZw".into()),
        variant: Some("plain".into()),
        step: 1,
        offer: None,
        as_of: date,
        date,
    }
}

pub(super) fn offer() -> Offer {
    Offer { text: "10 % off".into(), code: "COMEBACK10".into(), valid_until: envelope().date.date_naive() + TimeDelta::days(14) }
}

pub(super) fn text(value: &str) -> Field {
    if value.is_empty() { Field::Null } else { Field::Text(value.into()) }
}

pub(super) fn at(value: &str) -> Field {
    Field::Instant(value.parse().unwrap())
}

/// The columns every segment has.
pub(super) fn person(first: &str, last: &str, honorific: &str, locale: &str, zone: &str) -> Row {
    Row::from(
        [
            ("customer_id", "crm:17"),
            ("email", "anna@example.org"),
            ("first_name", first),
            ("last_name", last),
            ("honorific", honorific),
            ("locale", locale),
            ("timezone", zone),
            ("country", "DE"),
        ]
        .map(|(name, value)| (name.to_owned(), text(value))),
    )
}
