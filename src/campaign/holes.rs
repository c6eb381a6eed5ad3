//! Who lacks what the letter would show. Whether a null is in the way can depend on a template's conditions, so whoever has one is tried
//! out: the letter is written, and thrown away.

use std::collections::HashSet;

use arrow::array::{Array, StringArray};

use super::{
    Campaign, CampaignError, Reason,
    gates::Person,
    segment::{Segment, value},
    slot::{PlanRequest, in_project, sample_envelope, variant},
};
use crate::{
    diagnosis::Diagnosis,
    ledger::PlanId,
    message::{Templates, rows, usable_link},
};

/// A column the templates mention and some people have nothing in.
struct Column {
    name: String,
    /// Whether a person has nothing in it.
    nulls: Vec<bool>,
    /// How many of those have an address no letter may link to.
    unusable: usize,
}

/// The tries of one campaign.
pub(super) struct Holes<'a> {
    request: &'a PlanRequest<'a>,
    campaign: &'a Campaign,
    segment: &'a Segment,
    templates: &'a Templates,
    columns: Vec<Column>,
    tried: Vec<bool>,
}

impl<'a> Holes<'a> {
    /// Looks at the columns the templates mention.
    ///
    /// # Errors
    /// Where a column that is linked to is not text.
    pub(super) fn new(
        request: &'a PlanRequest<'a>,
        campaign: &'a Campaign,
        segment: &'a Segment,
        templates: &'a Templates,
    ) -> Result<Self, CampaignError> {
        let mut columns = Vec::new();
        for name in templates.mentioned() {
            let Some(column) = segment.rows().column_by_name(&name) else { continue };
            let links = templates.links().contains(&name) && column.data_type().is_string();
            let links: Option<StringArray> = if links { segment.optional(&name)? } else { None };
            let unusable = |at: &usize| value(links.as_ref(), *at).is_some_and(|link| !usable_link(link));
            let blank = |at: &usize| value(links.as_ref(), *at).is_some_and(|link| link.trim().is_empty());
            let nulls: Vec<bool> = (0..column.len()).map(|at| column.is_null(at) || unusable(&at)).collect();
            if nulls.contains(&true) {
                let unusable = (0..column.len()).filter(|at| unusable(at) && !blank(at)).count();
                columns.push(Column { name, nulls, unusable });
            }
        }
        Ok(Self { request, campaign, segment, templates, columns, tried: vec![false; segment.len()] })
    }

    /// What the page says of addresses no letter may link to.
    pub(super) fn unusable_links(&self) -> impl Iterator<Item = String> {
        self.columns.iter().filter(|column| column.unusable > 0).map(|column| {
            format!(
                "`{}` is no https address for {} people of the segment; to the letter it is as if it were not known",
                column.name, column.unusable
            )
        })
    }

    /// Notes of everybody what is missing, before any other gate is looked at. Of people with the same letter and the same nulls one whose
    /// letter can be written speaks for the others.
    ///
    /// # Errors
    /// Where a letter cannot be written for another reason.
    pub(super) fn look_for(&mut self, people: &mut [Person]) -> Result<(), CampaignError> {
        let mut fine = HashSet::new();
        for (at, person) in people.iter_mut().enumerate() {
            let nulls: Vec<bool> = self.columns.iter().map(|column| column.nulls[at]).collect();
            if person.missing.is_some() || !nulls.contains(&true) {
                continue;
            }
            let key = (person.step, variant(self.request.keys, self.campaign, &person.customer).map(str::to_owned), nulls);
            if fine.contains(&key) {
                continue;
            }
            match self.hole(at, person)? {
                Some(name) => person.missing = Some(name),
                None => drop(fine.insert(key)),
            }
        }
        Ok(())
    }

    /// Tries out those whom nothing else stops and others have spoken for: a condition may look at more than nulls.
    ///
    /// # Errors
    /// Where a letter cannot be written for another reason.
    pub(super) fn try_the_rest(&mut self, people: &mut [(Person, Option<Reason>)]) -> Result<(), CampaignError> {
        for (at, (person, reason)) in people.iter_mut().enumerate().filter(|(_, (_, reason))| reason.is_none()) {
            if !self.tried[at] && self.columns.iter().any(|column| column.nulls[at]) {
                *reason = self.hole(at, person)?.map(Reason::MissingField);
            }
        }
        Ok(())
    }

    /// The column a person lacks and the letter needs.
    fn hole(&mut self, at: usize, person: &Person) -> Result<Option<String>, CampaignError> {
        self.tried[at] = true;
        let Some(row) = rows(&self.segment.rows().slice(at, 1))?.pop() else { return Ok(None) };
        let envelope = sample_envelope(self.request, self.campaign, person, &PlanId::new("plan"));
        match self.templates.render(&row, &envelope) {
            Ok(_) => Ok(None),
            Err(error) => match error.missing_field() {
                Some(name) => Ok(Some(name.to_owned())),
                None => {
                    let Diagnosis { message, .. } = &error.0;
                    let message = format!("{message} (the letter to customer {})", person.customer);
                    Err(CampaignError::wrong(in_project(Diagnosis { message, ..error.0.clone() }, self.request.root)))
                }
            },
        }
    }
}
