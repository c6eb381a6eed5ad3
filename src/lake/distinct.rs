//! How many different values a column holds, about: HyperLogLog (Flajolet, Fusy, Gandouet and Meunier, 2007) over hashes that are made anyway.

use std::collections::BTreeMap;

/// About how many different values columns have, by their names.
pub(super) type Distinct = BTreeMap<String, u64>;

/// Binary digits of a hash that choose a register: 1,024 of them are wrong by some three percent.
const CHOOSING: u32 = 10;
const REGISTERS: usize = 1 << CHOOSING;

/// What was seen of a column's values.
#[derive(Debug, Clone)]
pub(super) struct Sketch {
    /// Of the hashes that chose it, the most leading zeros and one.
    registers: Box<[u8; REGISTERS]>,
}

impl Sketch {
    pub(super) fn new() -> Self {
        Self { registers: Box::new([0; REGISTERS]) }
    }

    /// Takes in the hashes of values.
    pub(super) fn take_in(&mut self, hashes: &[u64]) {
        for hash in hashes {
            let mixed = mixed(*hash);
            let register = &mut self.registers[(mixed >> (64 - CHOOSING)) as usize];
            *register = (*register).max(zeros_and_one(mixed));
        }
    }

    /// Takes in what another sketch saw.
    pub(super) fn join(&mut self, other: &Self) {
        for (register, other) in self.registers.iter_mut().zip(other.registers.iter()) {
            *register = (*register).max(*other);
        }
    }

    /// About how many different values were seen.
    pub(super) fn count(&self) -> u64 {
        let registers = REGISTERS as f64;
        let sum: f64 = self.registers.iter().map(|register| 2_f64.powi(-i32::from(*register))).sum();
        let raw = 0.7213 / (1.0 + 1.079 / registers) * registers * registers / sum;
        let empty = self.registers.iter().filter(|register| **register == 0).count();
        // Few values are counted better by the registers nobody chose.
        let count = if raw <= 2.5 * registers && empty > 0 { registers * (registers / empty as f64).ln() } else { raw };
        count.round() as u64
    }
}

/// The digits of a hash, each made to hang on all others (the last steps of SplitMix64): some hashes of small numbers are small.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ hash >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let hash = (hash ^ hash >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ hash >> 31
}

/// How many zeros follow the digits that chose the register, and one.
fn zeros_and_one(mixed: u64) -> u8 {
    let rest = mixed << CHOOSING | 1 << (CHOOSING - 1);
    (rest.leading_zeros() + 1) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sketch_counts_different_values_whatever_their_number_and_parts(
            different in 0_u64..200_000, again in 1_u64..3, cut in 0.0_f64..1.0, small: bool, from: u64,
        ) {
            let hash = |value: u64| if small { value } else { (value.wrapping_add(from)).wrapping_mul(0xD6E8_FEB8_6659_FD93).rotate_left(32) };
            let hashes: Vec<u64> = (0..different * again).map(|row| hash(row % different)).collect();
            let (left, right) = hashes.split_at((hashes.len() as f64 * cut) as usize);
            let (mut sketch, mut other) = (Sketch::new(), Sketch::new());
            sketch.take_in(left);
            other.take_in(right);
            sketch.join(&other);
            let count = sketch.count();
            prop_assert!(count.abs_diff(different) as f64 <= 2.0 + 0.16 * different as f64, "{count} of {different}");
        }
    }
}
