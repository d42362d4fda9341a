//! Hashes of states: what tells two states of a node apart, however the node is made.
//!
//! Guarantees: the same value gives the same hash, on every machine and in every run.
//! Relies on:  `Debug` printing everything that matters, as the derived one does, unless a node says
//!             otherwise: see [`Node::hash_state`](super::Node::hash_state).

use std::fmt::{self, Write};
use std::hash::Hasher;

/// Takes in a state, and stands for it in 128 bits. It is a [`Hasher`], so a node that is `Hash` can
/// give itself.
#[derive(Clone, Debug)]
pub struct StateHasher {
    lanes: [u64; 2],
}

const START: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];
const FACTORS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93];

impl StateHasher {
    pub(crate) fn new() -> Self {
        Self { lanes: START }
    }

    /// Takes in what `Debug` prints of a value.
    pub fn debug(&mut self, value: &impl fmt::Debug) {
        write!(Text(self), "{value:?}").expect("a hash takes every text");
    }

    /// Takes in what `Debug` prints of a value, but no digits: so two states have one shape if they
    /// differ by terms, counters and names with numbers alone.
    pub fn shape(&mut self, value: &impl fmt::Debug) {
        write!(Shape(self), "{value:?}").expect("a hash takes every text");
    }

    /// Everything taken in so far.
    #[must_use]
    pub(crate) fn wide(&self) -> u128 {
        let [one, two] = self.lanes;
        u128::from(one) << 64 | u128::from(two)
    }

    fn mix(&mut self, word: u64) {
        for (lane, factor) in self.lanes.iter_mut().zip(FACTORS) {
            let product = u128::from(*lane ^ word) * u128::from(factor | 1);
            *lane = (product as u64 ^ (product >> 64) as u64).rotate_left(29).wrapping_add(factor);
        }
    }
}

impl Hasher for StateHasher {
    fn finish(&self) -> u64 {
        self.lanes[0] ^ self.lanes[1].rotate_left(32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        self.mix(bytes.len() as u64);
    }
}

/// Takes in text, piece by piece.
struct Text<'a>(&'a mut StateHasher);

impl Write for Text<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.0.write(piece.as_bytes());
        Ok(())
    }
}

/// Takes in text without its digits.
struct Shape<'a>(&'a mut StateHasher);

impl Write for Shape<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        for word in piece.split(|letter: char| letter.is_ascii_digit()) {
            if !word.is_empty() {
                self.0.write(word.as_bytes());
            }
        }
        Ok(())
    }
}

/// Stands for a number that is one of several, so that sums of them forget their order and no more.
pub(super) fn spread(number: u128) -> u128 {
    let mut hasher = StateHasher::new();
    hasher.mix(number as u64);
    hasher.mix((number >> 64) as u64);
    hasher.wide()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(take: impl FnOnce(&mut StateHasher)) -> u128 {
        let mut hasher = StateHasher::new();
        take(&mut hasher);
        hasher.wide()
    }

    #[test]
    fn states_with_one_shape_differ_by_numbers_alone() {
        let exact = |value: &Option<(u32, bool)>| hash(|state| state.debug(value));
        let shape = |value: &Option<(u32, bool)>| hash(|state| state.shape(value));
        assert_ne!(exact(&Some((1, true))), exact(&Some((22, true))));
        assert_eq!(shape(&Some((1, true))), shape(&Some((22, true))));
        assert_ne!(shape(&Some((1, true))), shape(&Some((1, false))));
        assert_ne!(shape(&Some((1, true))), shape(&None));
    }

    #[test]
    fn a_state_has_the_same_hash_in_every_run() {
        assert_eq!(hash(|state| state.debug(&"a")), hash(|state| state.debug(&"a")));
        let many: std::collections::BTreeSet<_> =
            (0..10_000u32).map(|number| hash(|state| state.debug(&number))).collect();
        assert_eq!(many.len(), 10_000);
    }
}
