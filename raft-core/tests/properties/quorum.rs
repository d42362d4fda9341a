//! Majorities, joint majorities and changes of who has a vote, against counting them out.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use raft_core::{Configuration, Index, Input, MembershipChange, Quorum, ServerId};

use crate::bench::{Bench, success};

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

/// The voters of the new half and, while the configuration is joint, of the old one.
type Halves = (BTreeSet<u64>, Option<BTreeSet<u64>>);

fn halves() -> impl Strategy<Value = Halves> {
    let half = || prop::collection::btree_set(0..12_u64, 1..8);
    (half(), prop::option::of(half()))
}

fn configuration((voters, old): &Halves) -> Configuration {
    let ids = |half: &BTreeSet<u64>| half.iter().copied().map(ServerId).collect::<Vec<_>>();
    match old {
        None => Configuration::new(ids(voters), []),
        Some(old) => Configuration::joint(ids(old), ids(voters), []),
    }
}

/// More than half of the one half, and of the other, by counting.
fn naive_is_reached((voters, old): &Halves, agrees: impl Fn(u64) -> bool) -> bool {
    let is_more_than_half =
        |half: &BTreeSet<u64>| 2 * half.iter().filter(|&&voter| agrees(voter)).count() > half.len();
    is_more_than_half(voters) && old.as_ref().is_none_or(is_more_than_half)
}

proptest! {
    #![proptest_config(crate::cases(512))]

    #[test]
    fn a_joint_quorum_is_a_majority_of_both_halves(
        halves in halves(),
        yes in prop::collection::btree_set(0..12_u64, 0..12),
    ) {
        let expected = naive_is_reached(&halves, |voter| yes.contains(&voter));
        let configuration = configuration(&halves);
        prop_assert_eq!(configuration.is_reached_by(|voter| yes.contains(&voter.0)), expected);
        for id in 0..13 {
            let (voters, old) = &halves;
            let is_voter = voters.contains(&id) || old.as_ref().is_some_and(|old| old.contains(&id));
            prop_assert_eq!(configuration.is_voter(ServerId(id)), is_voter);
        }
    }

    #[test]
    fn the_joint_committed_index_is_the_highest_that_a_joint_quorum_holds(
        halves in halves(),
        held in prop::collection::vec(0..10_u64, 12),
    ) {
        let is_held = |&index: &u64| naive_is_reached(&halves, |id| held[id as usize] >= index);
        let expected = (0..10).rev().find(is_held).unwrap_or(0);
        let index = configuration(&halves).committed_index(|voter| Index(held[voter.0 as usize]));
        prop_assert_eq!(index, Index(expected));
    }

    /// What makes joint consensus safe (Raft §6): neither the old nor the new voters decide anything
    /// without someone who decided with both.
    #[test]
    fn a_joint_quorum_overlaps_with_the_quorums_of_both_halves(
        (voters, old) in halves(),
        one in prop::collection::btree_set(0..12_u64, 0..12),
        two in prop::collection::btree_set(0..12_u64, 0..12),
    ) {
        let old = old.unwrap_or_else(|| voters.clone());
        let reaches = |halves: Halves, set: &BTreeSet<u64>| {
            configuration(&halves).is_reached_by(|voter| set.contains(&voter.0))
        };
        if reaches((voters.clone(), Some(old.clone())), &one) {
            for half in [voters, old] {
                if reaches((half, None), &two) {
                    prop_assert!(!one.is_disjoint(&two), "{:?} and {:?}", one, two);
                }
            }
        }
    }
}

/// The cases that other implementations keep as tables: one half or two, apart, overlapping or the same,
/// of one voter, of even and of odd size.
#[test]
fn joint_majorities_by_table() {
    // Columns: new voters, old voters (none: not joint), what voters 1 to 6 hold, what is committed.
    type Row = (&'static [u64], &'static [u64], [u64; 6], u64);
    let table: [Row; 22] = [
        (&[1], &[], [7, 0, 0, 0, 0, 0], 7),
        (&[1], &[1], [7, 0, 0, 0, 0, 0], 7),
        (&[1, 2], &[], [9, 4, 0, 0, 0, 0], 4),
        (&[1, 2], &[1], [9, 4, 0, 0, 0, 0], 4),
        (&[1], &[1, 2], [9, 4, 0, 0, 0, 0], 4),
        (&[1], &[2], [9, 4, 0, 0, 0, 0], 4),
        (&[2], &[1], [9, 0, 0, 0, 0, 0], 0),
        (&[1, 2, 3], &[], [9, 5, 1, 0, 0, 0], 5),
        (&[1, 2, 3], &[1, 2, 3], [9, 5, 1, 0, 0, 0], 5),
        (&[1, 2, 3], &[1, 2, 4], [5, 1, 9, 9, 0, 0], 5),
        (&[1, 2, 3], &[1, 2, 4], [1, 5, 9, 0, 0, 0], 1),
        (&[1, 2, 3], &[3, 4, 5], [2, 2, 9, 9, 1, 0], 2),
        (&[1, 2, 3], &[3, 4, 5], [9, 9, 0, 3, 3, 0], 3),
        (&[1, 2, 3], &[4, 5, 6], [9, 9, 9, 0, 0, 0], 0),
        (&[1, 2, 3], &[4, 5, 6], [0, 0, 0, 9, 9, 9], 0),
        (&[1, 2, 3], &[4, 5, 6], [9, 8, 0, 0, 6, 7], 6),
        (&[1, 2, 3, 4], &[1, 2, 3], [7, 7, 0, 0, 0, 0], 0),
        (&[1, 2, 3, 4], &[1, 2, 3], [7, 7, 0, 5, 0, 0], 5),
        (&[1, 2, 3], &[1, 2, 3, 4], [7, 7, 0, 5, 0, 0], 5),
        (&[1, 2, 3, 4], &[3, 4, 5, 6], [9, 0, 9, 9, 0, 0], 0),
        (&[1, 2, 3, 4], &[3, 4, 5, 6], [9, 0, 9, 8, 0, 3], 3),
        (&[1, 2, 3, 4, 5], &[1], [0, 9, 9, 9, 9, 0], 0),
    ];
    for (voters, old, held, committed) in table {
        let halves = (voters.iter().copied().collect(), old.iter().copied().collect());
        let halves = (halves.0, Some(halves.1).filter(|half: &BTreeSet<_>| !half.is_empty()));
        let index = configuration(&halves).committed_index(|id| Index(held[id.0 as usize - 1]));
        assert_eq!(index, Index(committed), "{voters:?}, {old:?}: {held:?}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Voter,
    Learner,
}

/// What a leader should make of changes: whose role is what, or a refusal.
fn naive_change(
    members: &BTreeMap<u64, Member>,
    changes: &[MembershipChange],
) -> Option<BTreeMap<u64, Member>> {
    let mut after = members.clone();
    let mut named = BTreeSet::new();
    for change in changes {
        let id = change.server_id().0;
        let (is_allowed, becomes) = match (change, members.get(&id)) {
            (MembershipChange::AddLearner(_), before) => (before.is_none(), Some(Member::Learner)),
            (MembershipChange::AddVoter(_), before) => {
                (before == Some(&Member::Learner), Some(Member::Voter))
            }
            (MembershipChange::Demote(_), before) => {
                (before == Some(&Member::Voter), Some(Member::Learner))
            }
            (MembershipChange::Remove(_), before) => (before.is_some(), None),
        };
        if !is_allowed || !named.insert(id) {
            return None;
        }
        match becomes {
            Some(member) => drop(after.insert(id, member)),
            None => drop(after.remove(&id)),
        }
    }
    let has_voter = after.values().any(|&member| member == Member::Voter);
    Some(after).filter(|_| has_voter && !changes.is_empty())
}

proptest! {
    #![proptest_config(crate::cases(512))]

    #[test]
    fn changes_are_made_as_a_naive_twin_makes_them(
        voters in 1..4_u64,
        learners in 0..3_u64,
        changes in prop::collection::vec((0..4_u8, 1..8_u64), 0..4),
    ) {
        let change = |&(kind, id): &(u8, u64)| match kind {
            0 => MembershipChange::AddLearner(ServerId(id)),
            1 => MembershipChange::AddVoter(ServerId(id)),
            2 => MembershipChange::Demote(ServerId(id)),
            _ => MembershipChange::Remove(ServerId(id)),
        };
        let changes: Vec<_> = changes.iter().map(change).collect();
        let mut bench = Bench::with(voters, 0, None, Vec::new(), |config| {
            config.learners = (voters + 1..=voters + learners).map(ServerId).collect();
        });
        bench.elapse();
        bench.win();
        for follower in 2..=voters + learners {
            bench.receive(follower, success(1, 1));
        }
        let role = |id| if id <= voters { Member::Voter } else { Member::Learner };
        let before: BTreeMap<_, _> = (1..=voters + learners).map(|id| (id, role(id))).collect();

        bench.holds_saves = true;
        let result = bench.step(Input::ChangeMembership(changes.clone()));
        let Some(after) = naive_change(&before, &changes) else {
            prop_assert!(result.is_err());
            prop_assert_eq!(bench.server.log().last_index(), Index(1));
            return Ok(());
        };
        prop_assert!(result.is_ok(), "{:?}", result);
        let named = |members: &BTreeMap<u64, Member>, wanted| -> Vec<_> {
            let are = members.iter().filter(|&(_, &member)| member == wanted);
            are.map(|(&id, _)| ServerId(id)).collect()
        };
        let configuration = bench.server.configuration();
        prop_assert_eq!(configuration.voters(), named(&after, Member::Voter));
        let learners: Vec<_> = configuration.learners().collect();
        prop_assert_eq!(learners, named(&after, Member::Learner));
        let old = named(&before, Member::Voter);
        let is_same = configuration.voters() == old;
        prop_assert_eq!(configuration.old_voters(), Some(&old[..]).filter(|_| !is_same));
    }
}
