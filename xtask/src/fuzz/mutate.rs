//! New inputs from known ones, and smaller ones from those that fail.

use raft_nondeterminism::Rng;

/// A small generator: the same seed gives the same inputs everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    rng: Rng,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed) }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.rng.bits()
    }

    /// A place below `count`, which is not 0.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }
}

/// The longest input made: as long as a sequence that a server is led through.
const BYTES_MAX: usize = 4096;

/// Changes `data` in a few places; `other` is a second input to take pieces of.
pub(crate) fn mutate(dice: &mut Dice, data: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=dice.below(6) {
        let place = dice.below(data.len() + 1);
        let length = 1 + dice.below(16);
        let end = data.len().min(place + length);
        match dice.below(10) {
            0 | 1 => {
                if let Some(byte) = data.get_mut(place) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            2 | 3 => {
                if let Some(byte) = data.get_mut(place) {
                    *byte = dice.next() as u8;
                }
            }
            4 => {
                // A number more or less, in one of the widths that lengths have.
                let width = [1, 2, 4, 8][dice.below(4)];
                let mut carry = [1_i16, -1, 16, -16][dice.below(4)];
                for byte in data.iter_mut().skip(place).take(width) {
                    let sum = i16::from(*byte) + carry;
                    *byte = sum as u8;
                    carry = sum >> 8;
                }
            }
            5 => drop(data.drain(place..end)),
            6 => {
                let new: Vec<u8> = (0..length).map(|_| dice.next() as u8).collect();
                data.splice(place..place, new);
            }
            7 => {
                let copy = data[place..end].to_vec();
                let to = dice.below(data.len() + 1);
                data.splice(to..to, copy);
            }
            8 => {
                let from = dice.below(other.len() + 1);
                let piece = other[from..other.len().min(from + 1 + dice.below(256))].to_vec();
                data.splice(place..place, piece);
            }
            _ => {
                // Go on at random from here: the beginning led to where it gets interesting.
                data.truncate(place);
                data.extend((0..dice.below(200)).map(|_| dice.next() as u8));
            }
        }
    }
    data.truncate(BYTES_MAX);
}

/// The smallest input found, in bounded time, for which `fails` still holds.
pub(crate) fn shrink(data: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut best = data.to_vec();
    let mut tries = 3_000_u32;
    let mut length = best.len().next_power_of_two();
    while length > 0 && tries > 0 {
        let mut place = 0;
        while place < best.len() && tries > 0 {
            let end = best.len().min(place + length);
            let without = [&best[..place], &best[end..]].concat();
            tries -= 1;
            if fails(&without) { best = without } else { place += length }
        }
        length /= 2;
    }
    for place in 0..best.len() {
        let mut zeroed = best.clone();
        zeroed[place] = 0;
        if tries > 0 && fails(&zeroed) {
            best = zeroed;
        }
        tries = tries.saturating_sub(1);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_makes_the_same_inputs() {
        let make = |seed| {
            let mut dice = Dice::new(seed);
            let mut data = b"to begin with".to_vec();
            (0..50).for_each(|_| mutate(&mut dice, &mut data, b"another one"));
            data
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }

    #[test]
    fn a_failing_input_shrinks_to_what_makes_it_fail() {
        let data: Vec<u8> = (0..=255).collect();
        let fails = |data: &[u8]| data.contains(&7) && data.contains(&200);
        assert_eq!(shrink(&data, fails), [7, 200]);
    }
}
