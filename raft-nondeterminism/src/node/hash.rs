//! Hashes of states: what tells two states of a node apart, however the node is made.
//!
//! Guarantees: the same value gives the same hash, in every run.
//! Relies on:  `Debug` printing everything that matters, as the derived one does, unless a node says
//!             otherwise: see [`Node::hash_state`](super::Node::hash_state).

use std::fmt::{self, Write};
use std::hash::Hasher;

use crate::fingerprint::StateHasher;

impl StateHasher {
    /// Takes in what `Debug` prints of a value.
    pub fn debug(&mut self, value: &impl fmt::Debug) {
        write!(Text(self), "{value:?}").expect("a hash takes every text");
        self.write_u8(0xff);
    }

    /// Takes in what `Debug` prints of a value, but no digits: so two states have one shape if they
    /// differ by terms, counters and names with numbers alone.
    pub fn shape(&mut self, value: &impl fmt::Debug) {
        write!(Shape(self), "{value:?}").expect("a hash takes every text");
        self.write_u8(0xff);
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
    hasher.write_u64(number as u64);
    hasher.write_u64((number >> 64) as u64);
    hasher.state()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(take: impl FnOnce(&mut StateHasher)) -> u128 {
        let mut hasher = StateHasher::new();
        take(&mut hasher);
        hasher.state()
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
