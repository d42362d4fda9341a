//! Random numbers from a seed: the only source of chance here.
//!
//! Guarantees: the same seed gives the same numbers, on every machine and in every version; stored
//!             seeds depend on it.

/// A splitmix64 generator (Steele, Lea and Flood 2014): eight bytes of state, so that starting one
/// for every run costs nothing. No secret depends on it.
///
/// ```
/// use raft_nondeterminism::Rng;
///
/// let (mut one, mut other) = (Rng::new(7), Rng::new(7));
/// assert_eq!(one.below(100), other.below(100));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A generator that starts at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.state)
    }

    /// A number in `0..bound`. Its bias is below `bound / 2^64`, which no schedule is long enough to
    /// show.
    ///
    /// # Panics
    ///
    /// If `bound` is zero: there is nothing to choose from.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "there is something to choose from");
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }
}

/// Scatters bits: numbers that are close to each other become numbers that look random.
pub(crate) fn mixed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The seed of one iteration. It depends on nothing but the two numbers, so an iteration can be
/// repeated without those before it.
pub(crate) fn iteration_seed(seed: u64, iteration: u64) -> u64 {
    let offset = Rng::new(iteration).bits();
    Rng::new(seed ^ offset).bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        let mut rng = Rng::new(0);
        assert_eq!(rng.bits(), 0xe220_a839_7b1d_cdaf, "the published first value of splitmix64");
        assert_eq!(rng.bits(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn every_number_below_the_bound_is_as_likely_as_the_others() {
        let mut rng = Rng::new(3);
        let mut counts = [0; 5];
        for _ in 0..10_000 {
            counts[rng.below(5)] += 1;
        }
        assert!(counts.iter().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn iterations_and_seeds_do_not_share_their_runs() {
        let mut seeds: Vec<_> = (0..100)
            .flat_map(|seed| (0..100).map(move |iteration| iteration_seed(seed, iteration)))
            .collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 10_000);
    }
}
