//! A number that stands for a whole run: its events, and what became of the servers in each.

use std::fmt;

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
