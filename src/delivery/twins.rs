//! Two people of a plan who share an address: the second gets no letter. Planning sees to that; it is looked at once more before the first
//! byte leaves, in two bytes of memory a person.

use std::collections::HashSet;

use crate::ledger::CustomerId;

/// Bits kept for each person (a Bloom filter), [`PROBES`] of which are set: of a million people not one is likely to be looked at again.
const BITS: u64 = 64;
/// How many bits an address sets.
const PROBES: u64 = 6;
/// The most bits altogether.
const MOST: u64 = 32 << 23;

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
        let words = usize::try_from((people.saturating_mul(BITS).min(MOST) / 64).next_power_of_two()).unwrap_or(1);
        Self { bits: vec![0; words], suspects: HashSet::new() }
    }

    /// Notes the hash of an address.
    pub(super) fn note(&mut self, hash: &str) {
        let (first, step) = (name(hash), name(hash.get(16..).unwrap_or_default()) | 1);
        let mut new = false;
        for probe in 0..PROBES {
            let place = first.wrapping_add(step.wrapping_mul(probe)) % (self.bits.len() as u64 * 64);
            let (Ok(word), bit) = (usize::try_from(place / 64), 1 << (place % 64)) else { continue };
            new |= self.bits[word] & bit == 0;
            self.bits[word] |= bit;
        }
        if !new {
            self.suspects.insert(first);
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
