//! A frozen plan in the shape delivery takes: its people one after the other, and who writes their letters.

use std::sync::Arc;

use crate::{
    campaign::{FrozenPlan, Letter, PlanRow},
    delivery::{ADDRESS, Delivery, People, PlannedPeople, PlannedRecipient, Stamp},
    diagnosis::{Diagnose, Diagnosis, Failure},
    message::{Channel, Message, MessageError, Templates},
};

/// The delivery of a plan that has been opened and verified.
pub(super) fn delivery(plan: FrozenPlan) -> Result<Delivery, Failure> {
    let plan = Arc::new(plan);
    let (record, settings) = (plan.record().clone(), plan.settings().clone());
    let timezone = plan.brand().timezone.parse().map_err(|_| {
        Failure::wrong(
            Diagnosis::new("timezone", format!("`{}` is not a time zone", plan.brand().timezone))
                .hint("plan again with a zone of the IANA database"),
        )
    })?;
    let letters = Letters { plan: Arc::clone(&plan), templates: plan.templates()? };
    Ok(Delivery {
        kind: settings.kind,
        channel: settings.channel,
        receiver: settings.receiver,
        cool_off: settings.policy.cool_off,
        from: plan.brand().from.clone(),
        timezone,
        plan: record.plan,
        campaign: record.campaign,
        segment: record.segment,
        as_of: record.as_of,
        people: Box::new(Planned(plan)),
        letters: Box::new(letters),
    })
}

struct Planned(Arc<FrozenPlan>);

impl People for Planned {
    fn read(&self) -> Result<PlannedPeople<'_>, Diagnosis> {
        self.people(None)
    }

    fn read_addresses(&self) -> Result<PlannedPeople<'_>, Diagnosis> {
        self.people(Some(ADDRESS))
    }
}

impl Planned {
    /// The plan's people; of what the templates see, only a column, where one is named.
    fn people(&self, column: Option<&str>) -> Result<PlannedPeople<'_>, Diagnosis> {
        let planned = self.0.planned_with(column).map_err(|error| error.diagnosis())?;
        Ok(Box::new(planned.filter_map(|row| match row {
            Ok((planned, row)) => recipient(planned, row).map(Ok),
            Err(error) => Some(Err(error.diagnosis())),
        })))
    }
}

/// Nobody where the row is a tombstone: whoever was erased is written to no more.
fn recipient(planned: PlanRow, row: crate::message::Row) -> Option<PlannedRecipient> {
    let PlanRow { customer, message_id, occasion, step, variant, send_after, .. } = planned;
    let step = u32::try_from(step).unwrap_or(1);
    Some(PlannedRecipient { customer_id: customer, message_id: message_id?, occasion: occasion?, step, variant, send_after, row })
}

struct Letters {
    plan: Arc<FrozenPlan>,
    templates: Templates,
}

impl crate::delivery::Letters for Letters {
    fn write(&self, person: &PlannedRecipient, stamp: &Stamp) -> Result<Message, MessageError> {
        let to = match self.plan.settings().channel {
            Channel::Email => person.address().unwrap_or_default(),
            Channel::Webhook => person.customer_id.as_str(),
        };
        let (message_id, variant) = (person.message_id.as_str(), person.variant.as_deref());
        let letter = Letter { message_id, variant, step: person.step.into(), to };
        self.templates.render(&person.row, &self.plan.envelope(&letter, stamp.unsubscribe_url.clone(), stamp.date))
    }
}
