//! Whom a suppression is about, as the last build knew them: addresses from `customers`, ids at a source from `identities`.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch};
use datafusion::scalar::ScalarValue;

use super::House;
use crate::{
    diagnosis::Failure,
    engine::{Origin, Query},
    ledger::{CustomerId, Untold, address_hash},
    source::WriteBackSection,
};

/// Whom a call names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Whom {
    /// The id the call hangs on; empty where it names the address alone.
    pub(super) target: String,
    pub(super) email: Option<String>,
    pub(super) source_id: Option<String>,
    pub(super) customer_id: Option<CustomerId>,
}

/// What a call of a section cannot do without.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Needs {
    email: bool,
    source_id: bool,
    customer_id: bool,
}

impl Needs {
    pub(super) fn of(section: &WriteBackSection) -> Self {
        Self { email: section.uses("{email}"), source_id: section.uses("{source_id}"), customer_id: section.uses("{customer_id}") }
    }

    pub(super) fn id(self) -> bool {
        self.source_id || self.customer_id
    }
}

/// What the tables say about the people of suppressions.
#[derive(Debug, Default)]
pub(super) struct People {
    emails: BTreeMap<CustomerId, String>,
    /// Who has an address, by its keyed hash.
    by_hash: BTreeMap<String, Vec<CustomerId>>,
    /// Their ids at one source.
    ids: BTreeMap<CustomerId, BTreeSet<String>>,
}

const ADDRESSES: &str = "select customer_id, email from customers where email is not null";
const IDS: &str = "select customer_id, source_id from identities where source = $source";

impl People {
    /// Those that `untold` are about, as the last build knew them; nobody where nothing has been built yet.
    pub(super) async fn read(house: &House, source: &str, needs: Needs, untold: &[&Untold], addresses: bool) -> Result<Self, Failure> {
        let mut people = Self::default();
        let by_address = |one: &&&Untold| one.customer_id.is_none();
        let hashes: BTreeSet<&str> = untold.iter().filter(by_address).filter_map(|one| one.address_hash.as_deref()).collect();
        let known: BTreeSet<&str> = untold.iter().filter_map(|one| one.customer_id.as_ref().map(CustomerId::as_str)).collect();
        let published = house.ledger.published().await?;
        let wanted = (needs.email && !known.is_empty()) || addresses || !hashes.is_empty();
        if wanted && !untold.is_empty() && published.contains_key("customers") {
            let keys = house.project.keys();
            for (customer, email) in read(house, ADDRESSES, source).await?.iter().flat_map(pairs) {
                // A hash of every address is only made where one is looked for.
                let hash = (!hashes.is_empty()).then(|| address_hash(keys, email)).filter(|hash| hashes.contains(hash.as_str()));
                if hash.is_some() || known.contains(customer) {
                    people.emails.insert(CustomerId::new(customer), email.trim().to_owned());
                }
                if let Some(hash) = hash {
                    people.by_hash.entry(hash).or_default().push(CustomerId::new(customer));
                }
            }
        }
        if needs.source_id && !untold.is_empty() && published.contains_key("identities") {
            let found: BTreeSet<&str> = people.emails.keys().map(CustomerId::as_str).chain(known).collect();
            let mut ids: BTreeMap<CustomerId, BTreeSet<String>> = BTreeMap::new();
            for (customer, id) in read(house, IDS, source).await?.iter().flat_map(pairs).filter(|(customer, _)| found.contains(customer)) {
                ids.entry(CustomerId::new(customer)).or_default().insert(id.to_owned());
            }
            people.ids = ids;
        }
        Ok(people)
    }

    /// Whom the calls about a suppression name; `Err` with the reason where there is nobody.
    pub(super) fn named(&self, untold: &Untold, needs: Needs) -> Result<Vec<Whom>, &'static str> {
        let of_address = || untold.address_hash.as_ref().and_then(|hash| self.by_hash.get(hash)).map_or(&[][..], Vec::as_slice);
        let persons = untold.customer_id.as_ref().map_or_else(of_address, std::slice::from_ref);
        let email = |person: Option<&CustomerId>| {
            let email = untold.address.as_ref().or_else(|| self.emails.get(person?));
            email.filter(|email| !email.trim().is_empty()).cloned()
        };
        let mut named = Vec::new();
        if needs.id() {
            for person in persons {
                let whom = Whom {
                    target: person.as_str().to_owned(),
                    email: email(Some(person)),
                    source_id: None,
                    customer_id: Some(person.clone()),
                };
                if !needs.source_id {
                    named.push(whom);
                    continue;
                }
                let ids = self.ids.get(person).into_iter().flatten().filter(|id| !id.trim().is_empty());
                named.extend(ids.map(|id| Whom { target: id.clone(), source_id: Some(id.clone()), ..whom.clone() }));
            }
        } else {
            // Several people may share an address; it is told once.
            let email = persons.iter().find_map(|person| email(Some(person))).or_else(|| email(None));
            named.push(Whom { email, ..Whom::default() });
        }
        if named.is_empty() {
            return Err(if needs.source_id { "no id of this person at the source is known" } else { "no person is known by this address" });
        }
        named.retain(|whom| !needs.email || whom.email.is_some());
        if named.is_empty() { Err("no address of this person is known") } else { Ok(named) }
    }
}

async fn read(house: &House, sql: &str, source: &str) -> Result<Vec<RecordBatch>, Failure> {
    let params = BTreeMap::from([("source".to_owned(), ScalarValue::from(source))]);
    let params = if sql.contains("$source") { params } else { BTreeMap::new() };
    let session = house.session(sql).await?;
    Ok(session.collect(&Query { sql, origin: Origin::NOWHERE, params }).await?)
}

/// The rows of two columns of text in which neither is null.
fn pairs(batch: &RecordBatch) -> impl Iterator<Item = (&str, &str)> {
    let (left, right) = (batch.column(0).as_string_opt::<i32>(), batch.column(1).as_string_opt::<i32>());
    left.zip(right).into_iter().flat_map(|(left, right)| {
        let whole = |row: &usize| !left.is_null(*row) && !right.is_null(*row);
        (0..left.len()).filter(whole).map(|row| (left.value(row), right.value(row)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> CustomerId {
        CustomerId::new(name)
    }

    fn people() -> People {
        People {
            emails: [("a", "ann@example.org"), ("b", "ben@example.org"), ("b2", "ben@example.org")]
                .map(|(name, email)| (id(name), email.to_owned()))
                .into(),
            by_hash: [("ann", vec![id("a")]), ("ben", vec![id("b"), id("b2")])].map(|(hash, who)| (hash.to_owned(), who)).into(),
            ids: [("a", vec!["17", "18"]), ("b", vec!["20"]), ("c", vec!["", "30"])]
                .map(|(name, ids)| (id(name), ids.into_iter().map(str::to_owned).collect()))
                .into(),
        }
    }

    fn about(person: Option<&str>, hash: Option<&str>, address: Option<&str>) -> Untold {
        Untold {
            id: 1,
            customer_id: person.map(CustomerId::new),
            address_hash: hash.map(str::to_owned),
            address: address.map(str::to_owned),
            channel: "email".into(),
            scope: "all".into(),
            reason: "manual".into(),
            at: chrono::DateTime::UNIX_EPOCH,
            tried: BTreeMap::new(),
        }
    }

    /// Target and address of each call.
    fn named(untold: &Untold, needs: Needs) -> Result<Vec<(String, Option<String>)>, &'static str> {
        people().named(untold, needs).map(|all| all.into_iter().map(|whom| (whom.target, whom.email)).collect())
    }

    #[test]
    fn an_address_is_told_once_and_every_id_of_a_person_at_the_source() {
        let (email, ids) = (Needs { email: true, ..Needs::default() }, Needs { source_id: true, ..Needs::default() });
        let both = Needs { email: true, source_id: true, customer_id: false };
        let call = |target: &str, email: Option<&str>| (target.to_owned(), email.map(str::to_owned));
        assert_eq!(named(&about(Some("a"), None, None), email), Ok(vec![call("", Some("ann@example.org"))]));
        assert_eq!(named(&about(None, Some("ben"), None), email), Ok(vec![call("", Some("ben@example.org"))]), "two share it");
        assert_eq!(named(&about(None, Some("?"), Some("x@example.org")), email), Ok(vec![call("", Some("x@example.org"))]));
        let ann = Some("ann@example.org");
        assert_eq!(
            named(&about(Some("a"), Some("ben"), None), both),
            Ok(vec![call("17", ann), call("18", ann)]),
            "the person counts first"
        );
        assert_eq!(named(&about(None, Some("ben"), None), ids), Ok(vec![call("20", Some("ben@example.org"))]));
        assert_eq!(named(&about(Some("c"), None, None), ids), Ok(vec![call("30", None)]), "an empty id would name everybody");
        let customers = Needs { customer_id: true, ..Needs::default() };
        assert_eq!(named(&about(None, Some("ben"), None), customers).unwrap().len(), 2);
    }

    #[test]
    fn where_there_is_nobody_it_says_what_is_missing() {
        let reason = |untold: Untold, needs: Needs| named(&untold, needs).unwrap_err();
        let (email, ids) = (Needs { email: true, ..Needs::default() }, Needs { source_id: true, ..Needs::default() });
        assert!(reason(about(None, Some("?"), None), email).contains("address"));
        assert!(reason(about(Some("d"), None, None), email).contains("address"));
        assert!(reason(about(Some("d"), None, None), ids).contains("id of this person"));
        assert!(reason(about(Some("c"), None, None), Needs { email: true, ..ids }).contains("no address"));
        assert!(reason(about(None, Some("?"), Some("x@example.org")), Needs { customer_id: true, ..email }).contains("by this address"));
    }
}
