//! Two people of a plan who share an address: the second gets no letter. Planning sees to that; it is looked at once more before the first
//! byte leaves, in two bytes of memory a person.

use std::collections::HashSet;

use crate::ledger::CustomerId;

/// Bits kept for each person (a Bloom filter). Two of them are set for everybody, so about one in a hundred is looked at again.
const BITS: u64 = 16;

/// The addresses of a plan, by their keyed hashes.
#[derive(Debug)]
pub(super) struct Addresses {
    bits: Vec<u64>,
    /// Hashes that may have been seen twice.
    suspects: HashSet<u64>,
}

impl Addresses {
    /// Room for so many people.
    pub(super) fn of(people: u64) -> Self {
        let words = usize::try_from((people * BITS / 64).next_power_of_two()).unwrap_or(1);
        Self { bits: vec![0; words], suspects: HashSet::new() }
    }

    /// Notes the hash of an address.
    pub(super) fn note(&mut self, hash: &str) {
        let name = name(hash);
        let mut new = false;
        for half in [name, name >> 32] {
            let place = usize::try_from(half & u64::from(u32::MAX)).unwrap_or_default() % (self.bits.len() * 64);
            let (word, bit) = (&mut self.bits[place / 64], 1 << (place % 64));
            new |= *word & bit == 0;
            *word |= bit;
        }
        if !new {
            self.suspects.insert(name);
        }
    }

    /// Whether nobody can have a twin.
    pub(super) fn are_distinct(&self) -> bool {
        self.suspects.is_empty()
    }

    /// Of the same people in the same order, those whose address somebody before them has.
    pub(super) fn twins<E>(&self, people: impl Iterator<Item = Result<(CustomerId, Option<String>), E>>) -> Result<Vec<CustomerId>, E> {
        let (mut seen, mut twins) = (HashSet::new(), Vec::new());
        for person in people {
            let (customer, Some(hash)) = person? else { continue };
            if self.suspects.contains(&name(&hash)) && !seen.insert(hash) {
                twins.push(customer);
            }
        }
        Ok(twins)
    }
}

/// The first 64 bits of a hash in hexadecimal.
fn name(hash: &str) -> u64 {
    hash.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        ledger::address_hash,
        secret::{Keys, Secret},
    };

    proptest! {
        #[test]
        fn exactly_those_who_share_an_address_with_somebody_before_them_are_twins(houses in prop::collection::vec(prop::option::of(0..40_u32), 0..120)) {
            let keys = Keys::new(Secret::new("a master key"));
            let people: Vec<_> = houses
                .iter()
                .enumerate()
                .map(|(number, house)| {
                    let hash = house.map(|house| address_hash(&keys, &format!("h{house}@example.org")));
                    Ok::<_, ()>((CustomerId::new(format!("c{number}")), hash))
                })
                .collect();
            // However little room there is, only the work grows.
            for room in [0, 8, 1_000] {
                let mut addresses = Addresses::of(room);
                people.iter().filter_map(|person| person.as_ref().unwrap().1.as_ref()).for_each(|hash| addresses.note(hash));
                let twins = addresses.twins(people.iter().cloned()).unwrap();
                let expected: Vec<_> = (0..houses.len())
                    .filter(|at| houses[*at].is_some() && houses[..*at].contains(&houses[*at]))
                    .map(|at| CustomerId::new(format!("c{at}")))
                    .collect();
                prop_assert!(expected.is_empty() || !addresses.are_distinct());
                prop_assert_eq!(twins, expected);
            }
        }
    }
}
