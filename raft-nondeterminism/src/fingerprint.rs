//! A number that stands for a whole run: its events, and what became of the servers in each.

use std::fmt;
use std::hash::Hasher;

/// Two runs with the same fingerprint went the same way, but for one chance in `2^64`.
///
/// It is made of the class and the place of each event, and of term, vote, log end, commit index and
/// role of the server it changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// Takes another number in; order matters.
    pub(crate) fn mix(&mut self, number: u64) {
        let mixed = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Hashes a whole state into 128 bits, the same on every machine: two lanes with different constants, so
/// that two different states are taken for one with a chance of one in `2^128`, or `2^64` for a search
/// of `2^32` states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateHasher {
    lanes: [u64; 2],
}

impl StateHasher {
    /// Nothing taken in yet.
    #[must_use]
    pub fn new() -> Self {
        Self { lanes: [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344] }
    }

    /// Everything taken in so far, in their order.
    #[must_use]
    pub fn state(&self) -> u128 {
        let [one, two] = self.lanes;
        u128::from(one ^ one >> 29) << 64 | u128::from(two ^ two >> 31)
    }
}

impl Default for StateHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl Hasher for StateHasher {
    fn finish(&self) -> u64 {
        self.lanes[0]
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|&word| self.write_u64(u64::from_le_bytes(word)));
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // A multiplication that keeps both halves, so that no bit of the input is lost.
        let fold = |lane: u64, odd: u64| {
            let product = u128::from(lane ^ number) * u128::from(odd);
            (product as u64) ^ (product >> 64) as u64 ^ lane.rotate_left(23)
        };
        let [one, two] = self.lanes;
        self.lanes = [fold(one, 0x9e37_79b9_7f4a_7c15), fold(two, 0xbf58_476d_1ce4_e5b9)];
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    fn write_u128(&mut self, number: u128) {
        self.write_u64(number as u64);
        self.write_u64((number >> 64) as u64);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}
