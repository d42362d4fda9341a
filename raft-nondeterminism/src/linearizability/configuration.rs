//! How far one way to explain a history has come, and which of two ways is the better one.
//!
//! Guarantees: whatever can still be explained from a configuration that another one covers can be
//!             explained from that one too.

use std::cmp::Ordering;

use super::state::State;

/// One way to order what has happened so far.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    /// What the register holds.
    pub(super) state: State,
    /// The operations under way that took effect, by slot.
    pub(super) done: Bits,
    /// The operations under way that may count as done from now on, because there was a moment at which
    /// they would have changed nothing; or may still take effect.
    pub(super) free: Bits,
    /// Which step put the state there. For people: it is no part of what is compared.
    pub(super) writer: Option<usize>,
}

impl Configuration {
    /// Whether whatever can follow on `other` can follow on this too. `open` are the operations that
    /// need not take effect at all.
    ///
    /// An operation that is free here can do what it does there, whether it is done there or not. One
    /// that need not happen is better off unused. Anything else has to be the same.
    pub(super) fn covers(&self, other: &Self, open: &Bits) -> bool {
        let words = [&self.done, &self.free, &other.done, &other.free].map(Bits::len);
        let words = words.into_iter().max().unwrap_or(0);
        self.state == other.state
            && (0..words).all(|at| {
                let (done, free, open) = (self.done.word(at), self.free.word(at), open.word(at));
                let (other_done, other_free) = (other.done.word(at), other.free.word(at));
                let differs = (done ^ other_done) | other_free;
                done & !other_done & open == 0 && differs & !free & !open == 0
            })
    }

    /// How much memory it takes: as much as one with few operations under way, and as much again for
    /// each 256 of them.
    pub(super) fn weight(&self) -> usize {
        1 + self.done.len().max(self.free.len()) / 4
    }

    fn compared(&self) -> (State, &Bits, &Bits) {
        (self.state, &self.done, &self.free)
    }
}

impl PartialEq for Configuration {
    fn eq(&self, other: &Self) -> bool {
        self.compared() == other.compared()
    }
}

impl Eq for Configuration {}

impl PartialOrd for Configuration {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Configuration {
    fn cmp(&self, other: &Self) -> Ordering {
        self.compared().cmp(&other.compared())
    }
}

/// A set of slots. Up to 64 of them need no memory of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bits {
    low: u64,
    /// The others, without zeros at the end, so that equal sets are equal.
    high: Vec<u64>,
}

impl Bits {
    pub(super) fn contains(&self, slot: usize) -> bool {
        self.word(slot / 64) >> (slot % 64) & 1 == 1
    }

    pub(super) fn insert(&mut self, slot: usize) {
        let bit = 1 << (slot % 64);
        match slot / 64 {
            0 => self.low |= bit,
            at => {
                if self.high.len() < at {
                    self.high.resize(at, 0);
                }
                self.high[at - 1] |= bit;
            }
        }
    }

    pub(super) fn remove(&mut self, slot: usize) {
        let mask = !(1 << (slot % 64));
        match slot / 64 {
            0 => self.low &= mask,
            at => {
                if let Some(word) = self.high.get_mut(at - 1) {
                    *word &= mask;
                }
                while self.high.last() == Some(&0) {
                    self.high.pop();
                }
            }
        }
    }

    /// How many slots are in the set.
    pub(super) fn count(&self) -> u32 {
        (0..self.len()).map(|at| self.word(at).count_ones()).sum()
    }

    /// How many slots are in both sets.
    pub(super) fn common(&self, other: &Self) -> u32 {
        (0..self.len()).map(|at| (self.word(at) & other.word(at)).count_ones()).sum()
    }

    /// The smallest slot that is not in the set.
    pub(super) fn first_missing(&self) -> usize {
        let at = (0..).find(|&at| self.word(at) != u64::MAX).unwrap_or_default();
        at * 64 + self.word(at).trailing_ones() as usize
    }

    fn word(&self, at: usize) -> u64 {
        match at {
            0 => self.low,
            at => self.high.get(at - 1).copied().unwrap_or(0),
        }
    }

    fn len(&self) -> usize {
        1 + self.high.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(slots: &[usize]) -> Bits {
        let mut bits = Bits::default();
        slots.iter().for_each(|&slot| bits.insert(slot));
        bits
    }

    #[test]
    fn a_set_is_the_same_however_it_came_about() {
        let mut set = bits(&[3, 64, 200]);
        assert!(set.contains(200) && set.contains(64) && !set.contains(63) && !set.contains(500));
        set.remove(200);
        set.remove(500);
        assert_eq!(set, bits(&[64, 3]));
        assert_eq!((set.count(), set.common(&bits(&[64, 65, 300]))), (2, 1));
        assert_eq!(bits(&[]).first_missing(), 0);
        let full: Vec<_> = (0..70).collect();
        assert_eq!(bits(&full).first_missing(), 70);
    }

    #[test]
    fn the_configuration_that_can_do_more_covers_the_other() {
        let configuration = |done: &[usize], free: &[usize]| Configuration {
            state: 1,
            done: bits(done),
            free: bits(free),
            writer: None,
        };
        let open = bits(&[70, 71]);
        let cases = [
            ("the same", configuration(&[1], &[2]), configuration(&[1], &[2]), true),
            ("free instead of done", configuration(&[], &[1]), configuration(&[1], &[]), true),
            ("free instead of neither", configuration(&[], &[1]), configuration(&[], &[]), true),
            ("done instead of free", configuration(&[1], &[]), configuration(&[], &[1]), false),
            ("done instead of neither", configuration(&[1], &[]), configuration(&[], &[]), false),
            ("neither instead of done", configuration(&[], &[]), configuration(&[1], &[]), false),
            ("neither instead of free", configuration(&[], &[]), configuration(&[], &[1]), false),
            ("open and unused", configuration(&[70], &[]), configuration(&[70, 71], &[]), true),
            ("open and used", configuration(&[70, 71], &[]), configuration(&[70], &[]), false),
        ];
        for (what, one, other, covers) in cases {
            assert_eq!(one.covers(&other, &open), covers, "{what}");
        }
    }
}
