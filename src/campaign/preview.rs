//! One message as one person would get it, from the segment as it stands.

use std::{collections::BTreeMap, path::Path};

use arrow::array::Array;
use chrono::{DateTime, Utc};

use super::{
    Campaign, CampaignError, facts, ids,
    open::{self, About, Letter},
    segment::{Segment, value},
    slot::{specimen, variant},
};
use crate::{
    diagnosis::Diagnosis,
    lake::Lake,
    ledger::{CustomerId, PlanId},
    message::{Brand, Message, Templates, rows},
    secret::Keys,
};

/// What a preview needs to know.
#[derive(Debug, Clone, Copy)]
pub struct PreviewRequest<'a> {
    /// The project folder.
    pub root: &'a Path,
    /// The lake.
    pub lake: &'a Lake,
    /// The table versions readers see.
    pub versions: &'a BTreeMap<String, i64>,
    /// The project's keys.
    pub keys: &'a Keys,
    /// Who writes.
    pub brand: &'a Brand,
    /// The time the message is shown for.
    pub as_of: DateTime<Utc>,
    /// Whether the data are the practice shop's.
    pub practice: bool,
    /// Where unsubscribe links lead; the one in the preview unsubscribes nobody.
    pub public_url: &'a str,
    /// The address to write to instead of the person's own, for a test to a colleague.
    pub to: Option<&'a str>,
}

/// The message a person of the campaign's segment would get, whatever the gates say; nothing is planned or sent.
///
/// # Errors
/// Where the person is not in the segment, lacks a value the templates need, or the templates cannot be used.
pub async fn preview(request: PreviewRequest<'_>, campaign: &Campaign, customer: &CustomerId) -> Result<Message, CampaignError> {
    let settings = &campaign.settings;
    let version = facts::version(request.versions, &settings.segment)?;
    let schema = request.lake.schema(&settings.segment, Some(version)).await?;
    let segment = Segment::new(&settings.segment, &schema, &request.lake.read(&settings.segment, Some(version)).await?)?;
    let templates = Templates::load(&request.root.join(&campaign.folder), settings.channel, request.brand, request.practice)?;
    let people = segment.people(&campaign.name, settings, &[], request.brand, request.keys)?;
    let Some(at) = people.iter().position(|person| person.customer == *customer) else {
        let some: Vec<&str> = people.iter().take(3).map(|person| person.customer.as_str()).collect();
        let hint = if some.is_empty() {
            format!("nobody is in `{}` today", settings.segment)
        } else {
            format!("people in it today: {}; `perennial segment preview {}` shows more", some.join(", "), settings.segment)
        };
        let message = format!("customer {customer} is not in the segment `{}`", settings.segment);
        return Err(CampaignError::wrong(Diagnosis::new("not_in_segment", message).hint(hint)));
    };
    let person = &people[at];
    let row = rows(&segment.rows().slice(at, 1))?.pop().unwrap_or_default();
    let addresses = segment.optional("email")?;
    let own = value(addresses.as_ref().filter(|addresses| addresses.len() > at), at).unwrap_or(customer.as_str());
    let occasion = person.occasion.as_deref().unwrap_or("preview");
    let message_id = ids::message_id(request.keys, &campaign.name, customer, occasion, person.step, &request.brand.domain);
    let letter = Letter {
        message_id: message_id.as_str(),
        variant: variant(request.keys, campaign, customer),
        step: person.step,
        to: request.to.unwrap_or(own),
    };
    let about = About { plan: &PlanId::new("preview"), campaign: &campaign.name, as_of: request.as_of };
    let unsubscribe = specimen(settings, request.public_url);
    let envelope = open::envelope(settings, request.brand, &about, &letter, unsubscribe, request.as_of);
    Ok(templates.render(&row, &envelope)?)
}
