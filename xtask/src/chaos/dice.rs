//! Choices that repeat with their seed.

use raft_nondeterminism::Rng;

/// Numbers that look random. Each part of a run has dice of its own, so that no task's
/// timing changes what another one chooses.
#[derive(Clone, Debug)]
pub(super) struct Dice(Rng);

impl Dice {
    /// The dice of one part of the run with this seed.
    pub(super) fn new(seed: u64, part: u64) -> Self {
        let mut dice = Self(Rng::new(seed ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93)));
        dice.next();
        dice
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0.bits()
    }

    /// A number of `0..end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True `percent` times of a hundred.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these, as often as its weight says; `None` if all weights are zero.
    pub(super) fn weighted<T: Copy>(&mut self, choices: &[(T, u64)]) -> Option<T> {
        let mut place = self.below(choices.iter().map(|(_, weight)| weight).sum());
        choices.iter().find_map(|&(choice, weight)| {
            let is_it = place < weight;
            place = place.saturating_sub(weight);
            is_it.then_some(choice)
        })
    }

    /// One of these.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        choices.get(usize::try_from(self.below(choices.len() as u64)).unwrap_or(0)).copied()
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for place in (1..items.len()).rev() {
            items.swap(place, usize::try_from(self.below(place as u64 + 1)).unwrap_or(place));
        }
    }
}
