//! Majorities against counting them out.

use std::collections::BTreeSet;

use proptest::prelude::*;
use raft_core::{Index, Quorum, ServerId};

fn naive_committed(held: &[u64]) -> u64 {
    let is_held = |&index: &u64| 2 * held.iter().filter(|&&h| h >= index).count() > held.len();
    (0..=10).rev().find(is_held).unwrap_or(0)
}

proptest! {
    #![proptest_config(crate::cases(256))]

    #[test]
    fn the_committed_index_is_the_highest_that_more_than_half_hold(
        held in prop::collection::vec(0..10_u64, 1..20),
    ) {
        let quorum = Quorum::new((0..held.len() as u64).map(ServerId));
        let index = quorum.committed_index(|voter| Index(held[voter.0 as usize]));
        prop_assert_eq!(index, Index(naive_committed(&held)));
    }

    #[test]
    fn a_quorum_is_more_than_half_of_the_voters_and_nobody_else(
        voters in prop::collection::btree_set(0..12_u64, 1..10),
        yes in prop::collection::btree_set(0..12_u64, 0..12),
    ) {
        let quorum = Quorum::new(voters.iter().copied().map(ServerId));
        let expected = 2 * voters.intersection(&yes).count() > voters.len();
        prop_assert_eq!(quorum.is_reached_by(|voter| yes.contains(&voter.0)), expected);
        prop_assert_eq!(quorum.majority(), voters.len() / 2 + 1);
        for id in 0..12 {
            prop_assert_eq!(quorum.contains(ServerId(id)), voters.contains(&id));
        }
    }

    #[test]
    fn any_two_quorums_overlap(
        count in 1..9_u64,
        one in prop::collection::btree_set(0..9_u64, 0..9),
        two in prop::collection::btree_set(0..9_u64, 0..9),
    ) {
        let quorum = Quorum::new((0..count).map(ServerId));
        let reached = |set: &BTreeSet<u64>| quorum.is_reached_by(|voter| set.contains(&voter.0));
        if reached(&one) && reached(&two) {
            prop_assert!(one.intersection(&two).any(|&voter| voter < count));
        }
    }
}
