//! Which abstract states were visited: a bit for each of some millions, so that it stays in the cache.
//!
//! Guarantees: what is counted as new depends on the runs before this epoch only, never on how the
//!             runs of an epoch were shared out; so results do not depend on the number of workers.
//! Elsewhere:  what an abstract state is, is in [`crate::World::abstract_state`].

/// How many bits there are: 512 KiB. A run visits some hundred.
const BITS: u64 = 1 << 22;

/// The abstract states that were visited before.
#[derive(Clone, Debug)]
pub(crate) struct CoverageMap {
    words: Vec<u64>,
    visited: u64,
}

impl CoverageMap {
    pub(crate) fn new() -> Self {
        Self { words: vec![0; (BITS / 64) as usize], visited: 0 }
    }

    /// A map for those who do not care: nothing is in it, and nothing is ever put there.
    pub(crate) fn empty() -> Self {
        Self { words: Vec::new(), visited: 0 }
    }

    /// How many different states were visited, as far as the map can tell them apart.
    pub(crate) fn visited(&self) -> u64 {
        self.visited
    }

    fn place(state: u64) -> (usize, u64) {
        let bit = state.wrapping_mul(0x9e37_79b9_7f4a_7c15) % BITS;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    fn contains(&self, state: u64) -> bool {
        let (word, bit) = Self::place(state);
        self.words.get(word).is_none_or(|word| word & bit != 0)
    }

    /// Takes in what a run found; returns how many of these states nobody had visited.
    pub(crate) fn add(&mut self, states: &[u64]) -> u64 {
        let before = self.visited;
        for &state in states {
            let (word, bit) = Self::place(state);
            self.visited += u64::from(self.words[word] & bit == 0);
            self.words[word] |= bit;
        }
        self.visited - before
    }
}

/// What one run finds that no run of the epochs before had found.
#[derive(Debug)]
pub(crate) struct Novelty<'a> {
    map: &'a CoverageMap,
    /// New states, in the order of their first visit; each may be there more than once.
    states: Vec<u64>,
}

impl<'a> Novelty<'a> {
    pub(crate) fn new(map: &'a CoverageMap) -> Self {
        Self { map, states: Vec::new() }
    }

    /// True if the state is new, and not the one just before.
    pub(crate) fn visit(&mut self, state: u64) -> bool {
        let is_new = !self.map.contains(state) && self.states.last() != Some(&state);
        if is_new {
            self.states.push(state);
        }
        is_new
    }

    pub(crate) fn into_states(self) -> Vec<u64> {
        self.states
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_new_until_its_epoch_ends() {
        let mut map = CoverageMap::new();
        let mut novelty = Novelty::new(&map);
        assert!(novelty.visit(7) && novelty.visit(8) && novelty.visit(7));
        assert!(!novelty.visit(7), "it is still there");
        let states = novelty.into_states();
        assert_eq!(map.add(&states), 2);
        assert_eq!(map.visited(), 2);
        assert!(!Novelty::new(&map).visit(7));
        assert_eq!(map.add(&states), 0);
    }
}
