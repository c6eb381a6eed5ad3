//! The hash of a plan: a root over keyed digests of its rows, its templates (the settings among them), its brand and its time.
//!
//! Rows enter as HMACs, so that an erased person's row can be replaced by its digest: the root stays what was approved, and the digest
//! alone tells nothing about the person.

use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest as _, Sha256};

use super::frozen::{PlanRow, TemplateFile};
use crate::{
    message::{Brand, Field, Row},
    secret::Keys,
};

/// The digest of one person's row: the decision, and for planned people what the templates saw.
pub(super) fn leaf(keys: &Keys, row: &PlanRow, seen: Option<&Row>) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(512);
    text(&mut bytes, row.customer.as_str());
    let reason = row.reason.as_ref();
    optional(&mut bytes, reason.map(|reason| reason.key()).as_deref());
    optional(&mut bytes, reason.and_then(|reason| reason.detail()));
    optional(&mut bytes, row.variant.as_deref());
    optional(&mut bytes, row.occasion.as_deref());
    bytes.extend(row.step.to_be_bytes());
    optional(&mut bytes, row.message_id.as_ref().map(|id| id.as_str()));
    optional(&mut bytes, row.send_after.map(|at| at.timestamp_micros().to_string()).as_deref());
    match seen {
        None => bytes.push(0),
        Some(seen) => {
            bytes.push(1);
            fields(&mut bytes, seen);
        }
    }
    keys.mac("plan-row", &[&bytes])
}

/// What a plan is, beside its rows.
pub(super) struct Whole<'a> {
    pub(super) campaign: &'a str,
    pub(super) as_of: DateTime<Utc>,
    pub(super) replay: bool,
    pub(super) practice: bool,
    pub(super) brand: &'a Brand,
    pub(super) templates: &'a [TemplateFile],
}

/// The root over everything that decides who gets which words, hex; the digests of the rows come one after the other.
pub(super) fn root<E>(keys: &Keys, whole: &Whole<'_>, leaves: impl Iterator<Item = Result<[u8; 32], E>>) -> Result<String, E> {
    let as_of = whole.as_of.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let brand = brand_json(whole.brand).to_string();
    let mut templates = Vec::new();
    for file in whole.templates {
        text(&mut templates, &slashed(&file.path));
        templates.extend(Sha256::digest(&file.bytes));
    }
    let flags = [u8::from(whole.replay), u8::from(whole.practice)];
    let mut signing = keys.signing("plan-root");
    for part in [b"1".as_slice(), whole.campaign.as_bytes(), as_of.as_bytes(), &flags, brand.as_bytes(), &templates] {
        signing.part(part);
    }
    for leaf in leaves {
        signing.part(&leaf?);
    }
    Ok(hex::encode(signing.finish()))
}

/// The digest of a template file as the manifest shows it.
pub(super) fn file_digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A path as it is written on every system.
pub(super) fn slashed(path: &Path) -> String {
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// The brand as a plan freezes it; reads back as [`Brand`].
pub(super) fn brand_json(brand: &Brand) -> serde_json::Value {
    let Brand { name, url, domain, from, postal_address, locale, timezone, currency, color, signed_by, phone } = brand;
    serde_json::json!({
        "name": name, "url": url, "domain": domain, "from": from, "postal_address": postal_address, "locale": locale,
        "timezone": timezone, "currency": currency, "color": color, "signed_by": signed_by, "phone": phone,
    })
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_be_bytes());
    bytes.extend(text.as_bytes());
}

fn optional(bytes: &mut Vec<u8>, value: Option<&str>) {
    bytes.push(u8::from(value.is_some()));
    if let Some(value) = value {
        text(bytes, value);
    }
}

fn fields(bytes: &mut Vec<u8>, row: &Row) {
    bytes.extend((row.len() as u64).to_be_bytes());
    for (name, value) in row {
        text(bytes, name);
        field(bytes, value);
    }
}

fn field(bytes: &mut Vec<u8>, value: &Field) {
    match value {
        Field::Null => bytes.push(0),
        Field::Text(value) => {
            bytes.push(1);
            text(bytes, value);
        }
        Field::Integer(number) => {
            bytes.push(2);
            bytes.extend(number.to_be_bytes());
        }
        Field::Decimal { unscaled, scale } => {
            bytes.push(3);
            bytes.extend(unscaled.to_be_bytes());
            bytes.extend(scale.to_be_bytes());
        }
        Field::Float(number) => {
            bytes.push(4);
            bytes.extend(number.to_bits().to_be_bytes());
        }
        Field::Boolean(flag) => bytes.extend([5, u8::from(*flag)]),
        Field::Date(day) => {
            bytes.push(6);
            text(bytes, &day.to_string());
        }
        Field::Instant(at) => {
            bytes.push(7);
            bytes.extend(at.timestamp_micros().to_be_bytes());
        }
        Field::List(values) => {
            bytes.push(8);
            bytes.extend((values.len() as u64).to_be_bytes());
            for value in values {
                field(bytes, value);
            }
        }
        Field::Struct(values) => {
            bytes.push(9);
            fields(bytes, values);
        }
    }
}
