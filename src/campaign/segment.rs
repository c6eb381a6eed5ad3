//! A segment's table as people: its rows sorted by customer, and what the gates need of each.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray},
    compute::{cast, concat_batches, sort_to_indices, take_record_batch},
    datatypes::{DataType, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType},
};
use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;

use super::{CampaignError, CampaignSettings, gates::Person, ids};
use crate::{
    config::nearest,
    diagnosis::Diagnosis,
    ledger::{CustomerId, address_hash},
    message::{Brand, mailable},
    secret::Keys,
};

/// A segment at one version, sorted by customer id, each customer once.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    name: String,
    rows: RecordBatch,
}

impl Segment {
    /// Takes a segment's table as it was read.
    ///
    /// # Errors
    /// Where it has no text column `customer_id`, a null in it, or one customer twice.
    pub(super) fn new(name: &str, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Self, CampaignError> {
        let rows = concat_batches(schema, batches).map_err(|error| broken(name, "its batches", &error))?;
        let ids: ArrayRef = Arc::new(texts(&rows, name, "customer_id")?);
        if ids.null_count() > 0 {
            return Err(CampaignError::wrong(
                Diagnosis::new("segment_rows", format!("the segment `{name}` has a row without a customer_id"))
                    .hint("add `where customer_id is not null`, or correct the join that lost it"),
            ));
        }
        let order = sort_to_indices(&ids, None, None).map_err(|error| broken(name, "customer_id", &error))?;
        let rows = take_record_batch(&rows, &order).map_err(|error| broken(name, "its rows", &error))?;
        let segment = Self { name: name.to_owned(), rows };
        let ids = segment.texts("customer_id")?;
        if let Some(twice) = (1..ids.len()).find(|at| ids.value(*at) == ids.value(at - 1)) {
            return Err(CampaignError::wrong(
                Diagnosis::new("segment_rows", format!("the segment `{name}` lists customer {} twice", ids.value(twice)))
                    .hint("one row a customer: choose one of the rows in its SQL, and add the audit `unique(customer_id)`"),
            ));
        }
        Ok(segment)
    }

    /// All its rows, sorted by customer id.
    #[must_use]
    pub(super) fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// How many people it has.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Its people, as the gates of a campaign see them. `needed` are the columns the templates cannot do without.
    ///
    /// # Errors
    /// Where a column the campaign names or the templates need is not there.
    pub(super) fn people(
        &self,
        campaign: &str,
        settings: &CampaignSettings,
        needed: &[String],
        brand: &Brand,
        keys: &Keys,
    ) -> Result<Vec<Person>, CampaignError> {
        let ids = self.texts("customer_id")?;
        let addresses = self.optional("email")?;
        let zones = self.optional("timezone")?;
        let occasions = self.occasions(&settings.occasion)?;
        let steps = settings.step.as_deref().map(|step| self.integers(step)).transpose()?;
        let needed = needed
            .iter()
            .map(|name| Ok((name.as_str(), self.column(name)?.clone())))
            .collect::<Result<Vec<(&str, ArrayRef)>, CampaignError>>()?;
        let home = brand.timezone.parse().unwrap_or(Tz::UTC);
        let people = (0..self.len()).map(|at| {
            let customer = CustomerId::new(ids.value(at));
            let address = value(addresses.as_ref(), at).map(str::trim).filter(|address| mailable(address).is_some());
            let occasion = occasions[at].clone();
            let step = steps.as_ref().and_then(|steps| steps[at]).unwrap_or(1);
            let missing = match &occasion {
                None => Some(settings.occasion.clone()),
                Some(_) => needed.iter().find(|(_, column)| is_missing(column, at)).map(|(name, _)| (*name).to_owned()),
            };
            Person {
                message_id: occasion.as_deref().map(|about| ids::message_id(keys, campaign, &customer, about, step, &brand.domain)),
                customer,
                address: address.map(str::to_owned),
                address_hash: address.map(|address| address_hash(keys, address)),
                occasion,
                step,
                missing,
                zone: value(zones.as_ref(), at).and_then(|zone| zone.parse().ok()).unwrap_or(home),
            }
        });
        Ok(people.collect())
    }

    /// The values of a text column that may not be there.
    pub(super) fn optional(&self, name: &str) -> Result<Option<StringArray>, CampaignError> {
        self.rows.column_by_name(name).map(|_| self.texts(name)).transpose()
    }

    fn texts(&self, name: &str) -> Result<StringArray, CampaignError> {
        texts(&self.rows, &self.name, name)
    }

    fn integers(&self, name: &str) -> Result<Vec<Option<i64>>, CampaignError> {
        let column = cast(self.column(name)?, &DataType::Int64).map_err(|error| broken(&self.name, name, &error))?;
        Ok(column.as_primitive::<Int64Type>().iter().collect())
    }

    /// What each row is about, as text that stays the same for ever: instants as RFC 3339 in UTC, days as ISO 8601.
    fn occasions(&self, name: &str) -> Result<Vec<Option<String>>, CampaignError> {
        let column = self.column(name)?;
        match column.data_type() {
            DataType::Timestamp(..) => {
                let at = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
                    .map_err(|error| broken(&self.name, name, &error))?;
                Ok(at
                    .as_primitive::<TimestampMicrosecondType>()
                    .iter()
                    .map(|at| at.and_then(DateTime::from_timestamp_micros).map(|at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
                    .collect())
            }
            kind if can_be_occasion(kind) => {
                let text = self.texts(name)?;
                Ok(text.iter().map(|text| text.filter(|text| !text.trim().is_empty()).map(str::to_owned)).collect())
            }
            other => Err(CampaignError::wrong(
                Diagnosis::new("occasion_type", format!("the occasion `{name}` of the segment `{}` has the type {other}", self.name))
                    .hint("an occasion is an id, a whole number, a date or an instant"),
            )),
        }
    }

    fn column(&self, name: &str) -> Result<&ArrayRef, CampaignError> {
        column(&self.rows, &self.name, name)
    }
}

/// Whether what a message is about can be told from values of this type, and stays the same for ever.
pub(super) fn can_be_occasion(kind: &DataType) -> bool {
    kind.is_integer() || kind.is_string() || matches!(kind, DataType::Timestamp(..) | DataType::Date32 | DataType::Null)
}

/// A value the templates need counts as missing when it is null, or text without anything in it.
fn is_missing(column: &ArrayRef, at: usize) -> bool {
    let blank = match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(at).trim().is_empty(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(at).trim().is_empty(),
        DataType::Utf8View => column.as_string_view().value(at).trim().is_empty(),
        DataType::Null => true,
        _ => false,
    };
    blank || column.is_null(at)
}

/// The value of an optional text column.
pub(super) fn value(column: Option<&StringArray>, at: usize) -> Option<&str> {
    column.filter(|column| column.is_valid(at)).map(|column| column.value(at))
}

/// A column of a table by name.
pub(super) fn column<'a>(batch: &'a RecordBatch, table: &str, name: &str) -> Result<&'a ArrayRef, CampaignError> {
    batch.column_by_name(name).ok_or_else(|| {
        let schema = batch.schema();
        let known = schema.fields().iter().map(|field| field.name().as_str());
        let diagnosis = Diagnosis::new("missing_column", format!("`{table}` has no column `{name}`"));
        CampaignError::wrong(match nearest(name, known) {
            Some(near) => diagnosis.hint(format!("did you mean `{near}`? Otherwise add the column to the SQL of `{table}`")),
            None => diagnosis.hint(format!("add the column to the SQL of `{table}`, then build again")),
        })
    })
}

/// A column as text, whatever it was.
pub(super) fn texts(batch: &RecordBatch, table: &str, name: &str) -> Result<StringArray, CampaignError> {
    let column = cast(column(batch, table, name)?, &DataType::Utf8).map_err(|error| broken(table, name, &error))?;
    Ok(column.as_string::<i32>().clone())
}

/// A column as instants.
pub(super) fn instants(batch: &RecordBatch, table: &str, name: &str) -> Result<TimestampMicrosecondArray, CampaignError> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let column = cast(column(batch, table, name)?, &micros).map_err(|error| broken(table, name, &error))?;
    Ok(column.as_primitive::<TimestampMicrosecondType>().clone())
}

/// The instant at a place of a column.
pub(super) fn instant(column: &TimestampMicrosecondArray, at: usize) -> Option<DateTime<Utc>> {
    column.is_valid(at).then(|| DateTime::from_timestamp_micros(column.value(at))).flatten()
}

fn broken(table: &str, what: &str, error: &arrow::error::ArrowError) -> CampaignError {
    CampaignError::wrong(
        Diagnosis::new("table_shape", format!("`{table}` cannot be read: {what}: {error}"))
            .hint("check the types of its columns, and build it again"),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::{
        array::{Int64Array, TimestampMicrosecondArray},
        datatypes::{Field, Schema},
    };

    use super::*;
    use crate::{campaign::settings, secret::Secret};

    fn brand() -> Brand {
        serde_json::from_value(serde_json::json!({
            "name": "Fernwood", "url": "https://fernwood.example", "domain": "fernwood.example", "from": "hello@fernwood.example",
            "postal_address": ["1 Mill Lane"], "locale": "en-GB", "timezone": "Europe/Berlin", "currency": "EUR", "signed_by": "Mara"
        }))
        .unwrap()
    }

    fn settings() -> CampaignSettings {
        let text = "segment = \"lapsed\"\nkind = \"marketing\"\nchannel = \"email\"\noccasion = \"at\"\nstep = \"step\"\napproval = \"review\"\nreply_to = \"a@b.example\"\n";
        settings::read(text, Path::new("campaign.toml")).unwrap()
    }

    fn segment(ids: Vec<Option<&str>>) -> Result<Segment, CampaignError> {
        let count = ids.len();
        let schema = Arc::new(Schema::new(vec![
            Field::new("customer_id", DataType::Utf8, true),
            Field::new("email", DataType::Utf8, true),
            Field::new("first_name", DataType::Utf8, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Field::new("step", DataType::Int64, true),
        ]));
        let cycle =
            |values: [Option<&str>; 3]| StringArray::from((0..count).map(|at| values[at % 3].map(str::to_owned)).collect::<Vec<_>>());
        let batch = RecordBatch::try_new(
            schema.clone(),
            vec![
                Arc::new(StringArray::from(ids)),
                Arc::new(cycle([Some(" Ann@Shop.example "), Some("nobody"), None])),
                Arc::new(cycle([Some("Ann"), Some("  "), None])),
                Arc::new(
                    TimestampMicrosecondArray::from(
                        (0..count).map(|at| (at % 3 != 2).then_some(1_700_000_000_000_000)).collect::<Vec<_>>(),
                    )
                    .with_timezone("UTC"),
                ),
                Arc::new(Int64Array::from((0..count).map(|at| (at % 3 == 0).then_some(2)).collect::<Vec<_>>())),
            ],
        )
        .unwrap();
        Segment::new("lapsed", &schema, &[batch])
    }

    #[test]
    fn people_are_sorted_and_carry_what_the_gates_need() {
        let segment = segment(vec![Some("b"), Some("c"), Some("a")]).unwrap();
        let keys = Keys::new(Secret::new("practice"));
        let people = segment.people("win-back", &settings(), &["first_name".into()], &brand(), &keys).unwrap();
        assert_eq!(people.iter().map(|person| person.customer.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        let [a, b, c] = &people[..] else { panic!() };
        assert_eq!((a.missing.as_deref(), a.message_id.is_none()), (Some("at"), true), "a message without an occasion is missing it");
        assert_eq!((b.address.as_deref(), b.missing.as_deref(), b.step), (Some("Ann@Shop.example"), None, 2));
        assert_eq!(b.occasion.as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!((c.address_hash.as_deref(), c.missing.as_deref(), c.step), (None, Some("first_name"), 1), "a blank name is no name");
        assert_eq!(b.zone, Tz::Europe__Berlin);
    }

    #[test]
    fn a_needed_column_the_segment_lacks_is_named_with_its_neighbour() {
        let segment = segment(vec![Some("a")]).unwrap();
        let keys = Keys::new(Secret::new("practice"));
        let error = segment.people("win-back", &settings(), &["frist_name".into()], &brand(), &keys).unwrap_err();
        let diagnosis = crate::diagnosis::Diagnose::diagnosis(&error);
        assert_eq!(diagnosis.code, "missing_column");
        assert!(diagnosis.hint.unwrap().contains("first_name"));
    }

    #[test]
    fn a_customer_twice_or_without_an_id_is_refused() {
        assert!(segment(vec![Some("a"), Some("b"), Some("a")]).unwrap_err().to_string().contains("lists customer a twice"));
        assert!(segment(vec![Some("a"), None]).unwrap_err().to_string().contains("without a customer_id"));
        assert!(segment(vec![]).unwrap().len() == 0);
    }
}
