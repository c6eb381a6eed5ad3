//! Who of those that passed the gates is written to by which campaign: one campaign a person in a slot, one message an address, and a
//! control group. It looks at all campaigns of the slot, also when one is planned alone.

use std::collections::{HashMap, HashSet};

use super::{Kind, gates::Person, gates::Reason, ids};
use crate::{ledger::CustomerId, secret::Keys};

/// One campaign's people on their way through the last gates, sorted by customer id.
#[derive(Debug, Clone)]
pub(super) struct Contender {
    /// The campaign.
    pub campaign: String,
    /// Which gates apply.
    pub kind: Kind,
    /// The larger wins.
    pub priority: i64,
    /// The share of the control group.
    pub holdout: f64,
    /// Everybody in the segment, each with what has stopped them so far.
    pub people: Vec<(Person, Option<Reason>)>,
}

/// People and addresses that a campaign of the slot writes to, or leaves alone to measure it.
#[derive(Debug, Clone, Default)]
pub(super) struct Taken {
    customers: HashMap<CustomerId, String>,
    addresses: HashMap<String, String>,
}

impl Taken {
    /// Notes that `campaign` has this person.
    pub(super) fn take(&mut self, campaign: &str, customer: &CustomerId, address_hash: Option<&str>) {
        self.customers.entry(customer.clone()).or_insert_with(|| campaign.to_owned());
        if let Some(address) = address_hash {
            self.addresses.entry(address.to_owned()).or_insert_with(|| campaign.to_owned());
        }
    }

    fn by(&self, person: &Person) -> Option<&String> {
        self.customers.get(&person.customer).or_else(|| person.address_hash.as_ref().and_then(|address| self.addresses.get(address)))
    }
}

/// Stops whoever another campaign comes first for, whoever shares an address with somebody before them, and the control group.
///
/// `taken` holds the people of plans of the slot that are approved or sent already: those stand, whatever their priority.
pub(super) fn arbitrate(contenders: &mut [Contender], mut taken: Taken, keys: &Keys) {
    contenders.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.campaign.cmp(&b.campaign)));
    for contender in contenders {
        let Contender { campaign, kind, holdout, people, .. } = contender;
        let mut addresses = HashSet::new();
        for (person, reason) in people.iter_mut().filter(|(_, reason)| reason.is_none()) {
            if *kind != Kind::Internal {
                if let Some(first) = taken.by(person) {
                    *reason = Some(Reason::Outranked(first.clone()));
                    continue;
                }
                if person.address_hash.as_ref().is_some_and(|address| !addresses.insert(address.clone())) {
                    *reason = Some(Reason::DuplicateAddress);
                    continue;
                }
            }
            if *kind != Kind::Service && ids::in_holdout(keys, campaign, &person.customer, *holdout) {
                *reason = Some(Reason::Holdout);
            }
        }
        if *kind != Kind::Internal {
            // The control group counts as taken: whoever got another message instead would no longer be a fair comparison.
            for (person, _) in people.iter().filter(|(_, reason)| matches!(reason, None | Some(Reason::Holdout))) {
                taken.take(campaign, &person.customer, person.address_hash.as_deref());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::{super::gates::tests::person, *};
    use crate::secret::Secret;

    fn keys() -> Keys {
        Keys::new(Secret::new("practice"))
    }

    fn contender(campaign: &str, kind: Kind, priority: i64, people: impl IntoIterator<Item = Person>) -> Contender {
        let people = people.into_iter().map(|person| (person, None)).collect();
        Contender { campaign: campaign.into(), kind, priority, holdout: 0.0, people }
    }

    fn reasons(contenders: &[Contender]) -> BTreeMap<(String, String), Option<String>> {
        contenders
            .iter()
            .flat_map(|one| {
                one.people.iter().map(|(person, reason)| {
                    (
                        (one.campaign.clone(), person.customer.to_string()),
                        reason.as_ref().map(|reason| {
                            format!("{}{}", reason.key(), reason.detail().map(|detail| format!(" {detail}")).unwrap_or_default())
                        }),
                    )
                })
            })
            .collect()
    }

    fn key(campaign: &str, customer: &str) -> (String, String) {
        (campaign.into(), customer.into())
    }

    #[test]
    fn the_higher_priority_wins_and_ties_go_to_the_name() {
        let mut slot = [
            contender("check-in", Kind::Marketing, 20, [person("a"), person("b")]),
            contender("win-back", Kind::Marketing, 30, [person("a")]),
            contender("another", Kind::Marketing, 20, [person("b")]),
            contender("vip", Kind::Internal, 99, [person("a"), person("b")]),
        ];
        arbitrate(&mut slot, Taken::default(), &keys());
        let reasons = reasons(&slot);
        assert_eq!(reasons[&key("win-back", "a")], None);
        assert_eq!(reasons[&key("check-in", "a")].as_deref(), Some("outranked win-back"));
        assert_eq!(reasons[&key("another", "b")], None);
        assert_eq!(reasons[&key("check-in", "b")].as_deref(), Some("outranked another"));
        assert_eq!(
            (&reasons[&key("vip", "a")], &reasons[&key("vip", "b")]),
            (&None, &None),
            "a note to staff takes no slot and loses none"
        );
    }

    #[test]
    fn whoever_was_stopped_before_takes_no_slot() {
        let mut slot =
            [contender("win-back", Kind::Marketing, 30, [person("a")]), contender("check-in", Kind::Marketing, 20, [person("a")])];
        slot[0].people[0].1 = Some(Reason::AlreadyTold);
        arbitrate(&mut slot, Taken::default(), &keys());
        assert_eq!(reasons(&slot)[&key("check-in", "a")], None);
    }

    #[test]
    fn a_plan_that_is_approved_or_sent_keeps_its_people_whatever_its_priority() {
        let mut taken = Taken::default();
        taken.take("check-in", &CustomerId::new("a"), None);
        let mut slot = [contender("win-back", Kind::Marketing, 30, [person("a")])];
        arbitrate(&mut slot, taken, &keys());
        assert_eq!(reasons(&slot)[&key("win-back", "a")].as_deref(), Some("outranked check-in"));
    }

    #[test]
    fn one_message_an_address_also_across_campaigns() {
        let twin = Person { address_hash: person("a").address_hash, ..person("b") };
        let mut slot =
            [contender("win-back", Kind::Marketing, 30, [person("a"), twin.clone()]), contender("check-in", Kind::Marketing, 20, [twin])];
        arbitrate(&mut slot, Taken::default(), &keys());
        let reasons = reasons(&slot);
        assert_eq!(reasons[&key("win-back", "b")].as_deref(), Some("duplicate_address"));
        assert_eq!(reasons[&key("check-in", "b")].as_deref(), Some("outranked win-back"));
    }

    #[test]
    fn service_has_no_control_group_and_a_control_group_is_left_alone_by_all() {
        let everyone = || (0..50).map(|number| person(&format!("p{number:02}")));
        let mut slot = [
            contender("win-back", Kind::Marketing, 30, everyone()),
            contender("check-in", Kind::Marketing, 20, everyone()),
            contender(
                "sorry",
                Kind::Service,
                10,
                everyone().map(|p| Person { customer: CustomerId::new(format!("s-{}", p.customer)), address_hash: None, ..p }),
            ),
        ];
        slot[0].holdout = 0.5;
        slot[2].holdout = 0.9;
        arbitrate(&mut slot, Taken::default(), &keys());
        let held = slot[0].people.iter().filter(|(_, reason)| *reason == Some(Reason::Holdout)).count();
        assert!((10..40).contains(&held), "{held}");
        assert!(slot[1].people.iter().all(|(_, reason)| matches!(reason, Some(Reason::Outranked(_)))));
        assert!(slot[2].people.iter().all(|(_, reason)| reason.is_none()));
    }

    fn some_slot() -> impl Strategy<Value = Vec<Contender>> {
        let one = (0u8..3, 0i64..3, 0.0f64..0.5, proptest::collection::btree_map(0u8..20, (0u8..8, proptest::bool::ANY), 0..15));
        proptest::collection::vec(one, 1..5).prop_map(|campaigns| {
            let built = campaigns.into_iter().enumerate().map(|(at, (kind, priority, holdout, people))| {
                let kind = [Kind::Marketing, Kind::Service, Kind::Internal][usize::from(kind)];
                let people = people
                    .into_iter()
                    .map(|(id, (address, stopped))| {
                        let person = Person { address_hash: (address > 0).then(|| format!("#{address}")), ..person(&format!("p{id:02}")) };
                        (person, stopped.then_some(Reason::Capped))
                    })
                    .collect();
                Contender { campaign: format!("c{at}"), kind, priority, holdout, people }
            });
            built.collect()
        })
    }

    fn written_to(slot: &[Contender]) -> impl Iterator<Item = (&Contender, &Person)> {
        slot.iter().flat_map(|one| one.people.iter().filter(|(_, reason)| reason.is_none()).map(move |(person, _)| (one, person)))
    }

    proptest! {
        #[test]
        fn nobody_and_no_address_is_written_to_twice_in_a_slot(slot in some_slot()) {
            let mut after = slot.clone();
            arbitrate(&mut after, Taken::default(), &keys());
            let (mut customers, mut addresses) = (BTreeSet::new(), BTreeSet::new());
            for (one, person) in written_to(&after) {
                if one.kind != Kind::Internal {
                    prop_assert!(customers.insert(person.customer.clone()));
                    if let Some(address) = &person.address_hash {
                        prop_assert!(addresses.insert(address.clone()));
                    }
                }
            }
            // Everybody is still in exactly one box, and who was stopped before is stopped by the same gate.
            for before in &slot {
                let now = after.iter().find(|one| one.campaign == before.campaign).unwrap();
                prop_assert_eq!(now.people.len(), before.people.len());
                let sent = now.people.iter().filter(|(_, reason)| reason.is_none()).count() as u64;
                let stopped: u64 = super::super::gates::tally(now.people.iter().filter_map(|(_, reason)| reason.as_ref())).values().sum();
                prop_assert_eq!(sent + stopped, before.people.len() as u64);
                for ((_, old), (_, new)) in before.people.iter().zip(&now.people) {
                    prop_assert!(old.is_none() || old == new);
                }
            }
        }

        #[test]
        fn leaving_a_person_out_only_frees_who_they_stood_before(slot in some_slot(), gone in 0u8..20) {
            let gone = CustomerId::new(format!("p{gone:02}"));
            let (mut with, mut without) = (slot.clone(), slot);
            for one in &mut without {
                one.people.retain(|(person, _)| person.customer != gone);
            }
            arbitrate(&mut with, Taken::default(), &keys());
            arbitrate(&mut without, Taken::default(), &keys());
            let (before, after) = (reasons(&with), reasons(&without));
            for (who, reason) in &after {
                if reason.is_none() && before[who].is_some() {
                    let was = before[who].clone().unwrap_or_default();
                    prop_assert!(was.starts_with("outranked") || was == "duplicate_address", "{was}");
                }
            }
        }
    }
}
