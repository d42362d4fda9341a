//! Majorities (Raft §5.1). Pure arithmetic over sets of servers.
//!
//! Guarantees: any two quorums of one [`Quorum`] have a server in common.

use crate::types::{Index, ServerId};

/// The servers that have a vote: more than half of them decide.
///
/// ```
/// use raft_core::{Index, Quorum, ServerId};
///
/// let quorum = Quorum::new([ServerId(1), ServerId(2), ServerId(3)]);
/// assert!(quorum.is_reached_by(|voter| voter != ServerId(3)));
/// // Two of three hold entry 5, so it is the last that a majority holds.
/// let held = |voter: ServerId| Index(7 - voter.0);
/// assert_eq!(quorum.committed_index(held), Index(5));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Quorum {
    /// Sorted, each once.
    voters: Vec<ServerId>,
}

impl Quorum {
    /// The majority of these voters; naming one twice gives it no second vote.
    #[must_use]
    pub fn new(voters: impl IntoIterator<Item = ServerId>) -> Self {
        let mut voters: Vec<_> = voters.into_iter().collect();
        voters.sort_unstable();
        voters.dedup();
        Self { voters }
    }

    /// Who has a vote, in ascending order.
    #[must_use]
    pub fn voters(&self) -> &[ServerId] {
        &self.voters
    }

    /// True if this server has a vote.
    #[must_use]
    pub fn contains(&self, server: ServerId) -> bool {
        self.voters.binary_search(&server).is_ok()
    }

    /// How many voters decide: more than half. One vote too few if there are no voters at all, so
    /// that nobody decides nothing.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// True if `agrees` holds for a majority of the voters. Others are never asked.
    #[must_use]
    pub fn is_reached_by(&self, agrees: impl Fn(ServerId) -> bool) -> bool {
        self.voters.iter().filter(|&&voter| agrees(voter)).count() >= self.majority()
    }

    /// The last index that a majority holds, if each voter holds everything up to `held(voter)`;
    /// [`Index::ZERO`] without voters.
    #[must_use]
    pub fn committed_index(&self, held: impl Fn(ServerId) -> Index) -> Index {
        /// More voters than anyone runs; larger clusters take the slow way.
        const ON_STACK: usize = 9;
        let mut few = [Index::ZERO; ON_STACK];
        let mut many = Vec::new();
        let sorted = if self.voters.len() <= ON_STACK {
            &mut few[..self.voters.len()]
        } else {
            many.resize(self.voters.len(), Index::ZERO);
            &mut many[..]
        };
        for (slot, &voter) in sorted.iter_mut().zip(&self.voters) {
            *slot = held(voter);
        }
        sorted.sort_unstable();
        // Counted from the top, the majority-th index is held by a majority.
        sorted.len().checked_sub(self.majority()).map_or(Index::ZERO, |place| sorted[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quorum(count: u64) -> Quorum {
        Quorum::new((1..=count).map(ServerId))
    }

    #[test]
    fn a_majority_is_more_than_half() {
        let majorities: Vec<_> = (1..=7).map(|count| quorum(count).majority()).collect();
        assert_eq!(majorities, [1, 2, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn the_committed_index_is_what_a_majority_holds() {
        // Columns: what each voter holds, what is committed.
        let table: [(&[u64], u64); 9] = [
            (&[7], 7),
            (&[7, 0], 0),
            (&[7, 5], 5),
            (&[9, 5, 0], 5),
            (&[5, 5, 9], 5),
            (&[1, 2, 3, 4], 2),
            (&[4, 4, 4, 0], 4),
            (&[1, 2, 3, 4, 5], 3),
            (&[0, 0, 9, 9, 9], 9),
        ];
        for (held, committed) in table {
            let quorum = quorum(held.len() as u64);
            let index = quorum.committed_index(|voter| Index(held[voter.0 as usize - 1]));
            assert_eq!(index, Index(committed), "{held:?}");
        }
    }

    #[test]
    fn nobody_decides_nothing() {
        let nobody = quorum(0);
        assert!(!nobody.is_reached_by(|_| true));
        assert_eq!(nobody.committed_index(|_| Index(9)), Index::ZERO);
    }

    #[test]
    fn a_voter_named_twice_has_one_vote() {
        let quorum = Quorum::new([2, 1, 2, 3].map(ServerId));
        assert_eq!(quorum.voters(), [1, 2, 3].map(ServerId));
        assert!(!quorum.is_reached_by(|voter| voter == ServerId(2)));
    }

    #[test]
    fn a_large_cluster_is_counted_like_a_small_one() {
        let quorum = quorum(33);
        assert_eq!(quorum.committed_index(|voter| Index(voter.0)), Index(17));
    }
}
