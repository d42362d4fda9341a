//! Numbers that look random and repeat with their seed.

/// A SplitMix64 generator. No secret depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `0..end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, chance: f64) -> bool {
        // The upper 53 bits are a fraction that a float holds exactly.
        chance > 0.0 && (self.bits() >> 11) as f64 / ((1_u64 << 53) as f64) < chance
    }
}
