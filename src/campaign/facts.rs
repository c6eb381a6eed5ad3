//! What the canonical tables say about everybody at the plan's time: who agreed, who complained, whose account is gone.
//!
//! The tables are read at the versions the run pinned, never from the present state of the ledger, so that a plan can be made again.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::{Array, RecordBatch};
use chrono::{DateTime, Utc};

use super::{
    CampaignError,
    gates::Facts,
    segment::{instant, instants, texts, value},
};
use crate::{diagnosis::Diagnosis, lake::Lake, ledger::CustomerId, message::full_name};

/// The canonical tables planning reads, at the versions a run pinned.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables {
    /// `consents`.
    pub consents: Vec<RecordBatch>,
    /// `customers`.
    pub customers: Vec<RecordBatch>,
    /// `tickets`.
    pub tickets: Vec<RecordBatch>,
}

impl Tables {
    /// Reads the tables.
    ///
    /// # Errors
    /// Where one has not been built, or cannot be read.
    pub(super) async fn read(lake: &Lake, versions: &BTreeMap<String, i64>) -> Result<Self, CampaignError> {
        let read = async |table: &str| Ok::<_, CampaignError>(lake.read(table, Some(version(versions, table)?)).await?);
        Ok(Self { consents: read("consents").await?, customers: read("customers").await?, tickets: read("tickets").await? })
    }

    /// What they say at `as_of`, without what the ledger knows.
    ///
    /// # Errors
    /// Where a column is not there or of another type.
    pub(super) fn facts(&self, as_of: DateTime<Utc>) -> Result<Facts, CampaignError> {
        Ok(Facts {
            deleted: self.deleted()?,
            marketing: self.last_word("marketing", as_of)?,
            service: self.last_word("service", as_of)?,
            complaints: self.open_complaints(as_of)?,
            ..Facts::default()
        })
    }

    /// The names of these customers, as far as they are known.
    ///
    /// # Errors
    /// Where a column is not there or of another type.
    pub(super) fn names(&self, wanted: &HashSet<&str>) -> Result<HashMap<String, String>, CampaignError> {
        let mut names = HashMap::new();
        for batch in &self.customers {
            let text = |name| texts(batch, "customers", name);
            let (ids, first, last, locale) = (text("customer_id")?, text("first_name")?, text("last_name")?, text("locale")?);
            for at in (0..batch.num_rows()).filter(|at| ids.is_valid(*at) && wanted.contains(ids.value(*at))) {
                let name = full_name(value(Some(&first), at), value(Some(&last), at), value(Some(&locale), at));
                names.insert(ids.value(at).to_owned(), name.unwrap_or_default());
            }
        }
        Ok(names)
    }

    /// The addresses these customers have in `customers`.
    ///
    /// # Errors
    /// Where a column is not there or of another type.
    pub(super) fn addresses(&self, wanted: &HashSet<&str>) -> Result<HashMap<String, String>, CampaignError> {
        let mut addresses = HashMap::new();
        for batch in &self.customers {
            let (ids, email) = (texts(batch, "customers", "customer_id")?, texts(batch, "customers", "email")?);
            for at in (0..batch.num_rows()).filter(|at| ids.is_valid(*at) && email.is_valid(*at) && wanted.contains(ids.value(*at))) {
                addresses.insert(ids.value(at).to_owned(), email.value(at).to_owned());
            }
        }
        Ok(addresses)
    }

    fn deleted(&self) -> Result<HashSet<CustomerId>, CampaignError> {
        let mut deleted = HashSet::new();
        for batch in &self.customers {
            let (ids, gone) = (texts(batch, "customers", "customer_id")?, instants(batch, "customers", "deleted_at")?);
            deleted.extend((0..batch.num_rows()).filter(|at| gone.is_valid(*at)).map(|at| CustomerId::new(ids.value(at))));
        }
        Ok(deleted)
    }

    /// The latest answer of each person about mail for a purpose. Of two at one instant the "no" counts, and only `granted` is a yes.
    fn last_word(&self, purpose: &str, as_of: DateTime<Utc>) -> Result<HashMap<CustomerId, bool>, CampaignError> {
        let mut last: HashMap<CustomerId, (DateTime<Utc>, bool)> = HashMap::new();
        for batch in &self.consents {
            let text = |name| texts(batch, "consents", name);
            let (ids, channel, about, status) = (text("customer_id")?, text("channel")?, text("purpose")?, text("status")?);
            let given = instants(batch, "consents", "at")?;
            for at in 0..batch.num_rows() {
                let Some(when) = instant(&given, at).filter(|when| *when <= as_of) else { continue };
                if value(Some(&channel), at) != Some("email") || value(Some(&about), at) != Some(purpose) || ids.is_null(at) {
                    continue;
                }
                let yes = value(Some(&status), at) == Some("granted");
                let word = last.entry(CustomerId::new(ids.value(at))).or_insert((when, yes));
                if (when, !yes) >= (word.0, !word.1) {
                    *word = (when, yes);
                }
            }
        }
        Ok(last.into_iter().map(|(customer, (_, yes))| (customer, yes)).collect())
    }

    /// Whoever had complained by `as_of` and had not been answered for good.
    fn open_complaints(&self, as_of: DateTime<Utc>) -> Result<HashSet<CustomerId>, CampaignError> {
        let mut open = HashSet::new();
        for batch in &self.tickets {
            let text = |name| texts(batch, "tickets", name);
            let (ids, kind, status) = (text("customer_id")?, text("kind")?, text("status")?);
            let (opened, resolved) = (instants(batch, "tickets", "opened_at")?, instants(batch, "tickets", "resolved_at")?);
            for at in 0..batch.num_rows() {
                let complained = value(Some(&kind), at) == Some("complaint") && instant(&opened, at).is_some_and(|when| when <= as_of);
                // A ticket that is closed without a time of resolution was resolved at some time nobody wrote down.
                let resolved = match instant(&resolved, at) {
                    Some(when) => when <= as_of,
                    None => matches!(value(Some(&status), at), Some("solved" | "closed" | "resolved")),
                };
                if complained && !resolved && ids.is_valid(at) {
                    open.insert(CustomerId::new(ids.value(at)));
                }
            }
        }
        Ok(open)
    }
}

/// The version a run pinned of a table.
///
/// # Errors
/// Where the table has never been built.
pub(super) fn version(versions: &BTreeMap<String, i64>, table: &str) -> Result<i64, CampaignError> {
    versions.get(table).copied().ok_or_else(|| {
        let diagnosis = Diagnosis::new("not_built", format!("there is no table `{table}` yet"));
        CampaignError::wrong(match crate::config::nearest(table, versions.keys().map(String::as_str)) {
            Some(near) => diagnosis.hint(format!("did you mean `{near}`? Otherwise build it: `perennial build {table}`")),
            None => diagnosis.hint(format!("pull and build first: `perennial pull`, then `perennial build {table}`")),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
    use chrono::TimeDelta;

    use super::{super::gates::tests::as_of, *};

    fn text<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
        Arc::new(values.into_iter().collect::<StringArray>())
    }

    fn days<const N: usize>(ago: [Option<i64>; N]) -> ArrayRef {
        let at = ago.map(|days| days.map(|days| (as_of() - TimeDelta::days(days)).timestamp_micros()));
        Arc::new(TimestampMicrosecondArray::from(at.to_vec()).with_timezone("UTC"))
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> Vec<RecordBatch> {
        vec![RecordBatch::try_from_iter(columns).unwrap()]
    }

    fn tables() -> Tables {
        Tables {
            consents: batch(vec![
                ("customer_id", text(["a", "a", "b", "b", "c", "d", "e"].map(Some))),
                ("channel", text(["email", "email", "email", "email", "email", "sms", "email"].map(Some))),
                ("purpose", text(["marketing"; 7].map(Some))),
                ("status", text(["granted", "denied", "denied", "granted", "granted", "granted", "withdrawn"].map(Some))),
                ("at", days([9, 3, 9, 3, -1, 9, 9].map(Some))),
            ]),
            customers: batch(vec![
                ("customer_id", text(["a", "b", "c"].map(Some))),
                ("email", text([Some("a@shop.example"), None, None])),
                ("first_name", text([Some("Ann"), None, Some("太郎")])),
                ("last_name", text([Some("Lee"), Some("Okafor"), Some("山田")])),
                ("locale", text([Some("en-GB"), None, Some("ja-JP")])),
                ("deleted_at", days([None, Some(2), None])),
            ]),
            tickets: batch(vec![
                ("customer_id", text(["a", "b", "c", "d", "e"].map(Some))),
                ("kind", text(["complaint", "complaint", "question", "complaint", "complaint"].map(Some))),
                ("status", text(["open", "solved", "open", "solved", "closed"].map(Some))),
                ("opened_at", days([5, 5, 5, 5, 5].map(Some))),
                ("resolved_at", days([None, Some(1), None, Some(-1), None])),
            ]),
        }
    }

    #[test]
    fn the_last_word_before_the_plan_s_time_counts_and_only_granted_is_a_yes() {
        let facts = tables().facts(as_of()).unwrap();
        let word = |id: &str| facts.marketing.get(&CustomerId::new(id)).copied();
        assert_eq!((word("a"), word("b"), word("c"), word("d"), word("e")), (Some(false), Some(true), None, None, Some(false)));
        assert!(facts.service.is_empty());
    }

    #[test]
    fn a_complaint_is_open_until_it_was_resolved_at_the_plan_s_time() {
        let open = tables().facts(as_of()).unwrap().complaints;
        assert_eq!(open, HashSet::from(["a", "d"].map(CustomerId::new)));
    }

    #[test]
    fn deleted_accounts_and_names_are_known() {
        let tables = tables();
        assert_eq!(tables.facts(as_of()).unwrap().deleted, HashSet::from([CustomerId::new("b")]));
        let names = tables.names(&HashSet::from(["a", "b", "c", "z"])).unwrap();
        assert_eq!((names["a"].as_str(), names["b"].as_str(), names["c"].as_str()), ("Ann Lee", "Okafor", "山田太郎"));
        assert_eq!(names.len(), 3);
        assert_eq!(tables.addresses(&HashSet::from(["a", "b"])).unwrap().len(), 1);
    }
}
