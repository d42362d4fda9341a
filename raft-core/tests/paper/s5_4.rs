//! Safety (§5.4).

use crate::bench::{Bench, append, entries, success, vote_request};

/// "If the logs have last entries with different terms, then the log with the later term is more
/// up-to-date. If the logs end with the same term, then whichever log is longer is more up-to-date."
#[test]
fn the_voter_denies_its_vote_to_a_log_less_up_to_date_than_its_own() {
    // The voter's log ends with 3@2.
    let table = [
        ((0, 0), false),
        ((2, 1), false),
        ((9, 1), false),
        ((2, 2), false),
        ((3, 2), true),
        ((4, 2), true),
        ((1, 3), true),
        ((3, 3), true),
        ((9, 3), true),
    ];
    for (last, granted) in table {
        let mut bench = Bench::follower(3, 3, &[1, 2, 2]);
        let effects = bench.receive(2, vote_request(4, 2, last));
        let expected =
            if granted { "→ s2 VoteResponse granted" } else { "→ s2 VoteResponse refused" };
        assert_eq!(effects.last().unwrap(), expected, "{last:?}");
        assert_eq!(bench.voted_for(), granted.then_some(2), "{last:?}");
        assert_eq!(bench.term(), 4, "the term is learnt all the same");
    }
}

/// A vote already given does not waive the restriction: the voter's log may have grown since.
#[test]
fn the_same_candidate_is_refused_once_the_voter_has_more() {
    let mut bench = Bench::follower(3, 3, &[1]);
    bench.receive(2, vote_request(4, 2, (1, 1)));
    bench.receive(2, append(4, 2, (1, 1), &[4], 0));
    assert_eq!(bench.receive(2, vote_request(4, 2, (1, 1))), ["→ s2 VoteResponse refused"]);
}

/// "Raft never commits log entries from previous terms by counting replicas. Only log entries from the
/// leader's current term are committed by counting replicas" (Fig. 8).
#[test]
fn entries_of_earlier_terms_are_not_committed_by_counting() {
    let mut bench = Bench::leader(5, 3, &[1, 2]);
    for follower in 2..=5 {
        bench.receive(follower, success(4, 2));
    }
    assert_eq!(bench.commit_index(), 0, "2@2 is everywhere, and is not committed");
    bench.receive(2, success(4, 3));
    assert_eq!(bench.commit_index(), 0);
}

/// "Once an entry from the current term has been committed in this way, then all prior entries are
/// committed indirectly."
#[test]
fn an_entry_of_the_current_term_commits_all_before_it() {
    let mut bench = Bench::leader(5, 3, &[1, 2]);
    bench.receive(2, success(4, 3));
    assert_eq!(bench.receive(3, success(4, 3))[0], "commit 3");
    assert_eq!(bench.commit_index(), 3);
}

/// "If there exists an N such that N > commitIndex, a majority of matchIndex[i] ≥ N" (Fig. 2): the
/// commit index is what a majority holds, wherever each of them stands.
#[test]
fn the_commit_index_is_what_a_majority_holds() {
    for servers in 2..=6_u64 {
        let mut bench = Bench::leader(servers, 0, &[]);
        for number in 1..=servers {
            bench.request(1, number, "x");
        }
        // Follower `n` holds `n` entries; the leader holds all.
        for follower in 2..=servers {
            bench.receive(follower, success(1, follower));
        }
        let mut held: Vec<_> = (2..=servers).chain([servers + 1]).collect();
        held.sort_unstable();
        let majority = (servers / 2 + 1) as usize;
        assert_eq!(bench.commit_index(), held[held.len() - majority], "{servers} servers");
    }
}

/// "CommitIndex … increases monotonically" (Fig. 2): late and repeated answers take nothing back.
#[test]
fn the_commit_index_never_falls() {
    let mut bench = Bench::leader(3, 0, &[]);
    bench.request(1, 1, "x");
    bench.receive(2, success(1, 2));
    assert_eq!(bench.commit_index(), 2);
    for message in [success(1, 1), success(1, 0), success(1, 2)] {
        bench.receive(2, message.clone());
        bench.receive(3, message);
        assert_eq!(bench.commit_index(), 2);
    }
}

/// An acknowledgement of an earlier reign is no word about this one: what stood there may have been
/// replaced by another leader since (R13; needs five servers to do harm).
#[test]
fn an_acknowledgement_held_over_from_an_earlier_reign_does_not_count() {
    // Server 1 leads term 1 and sends two entries to server 2, whose answer is slow.
    let mut bench = Bench::leader(5, 0, &[]);
    bench.request(1, 1, "old");
    let held = success(1, 2);
    // Another leader replaces them; server 1 is elected again.
    bench.receive(3, append(2, 3, (0, 0), &[2], 0));
    bench.elapse();
    bench.win();
    assert_eq!((bench.role(), bench.term(), bench.log()), ("leader", 3, vec![2, 3]));
    bench.receive(4, success(3, 2));
    let before = bench.progress(2);
    assert_eq!(bench.receive(2, held), crate::bench::NOTHING);
    assert_eq!((bench.progress(2), bench.commit_index()), (before, 0));
    bench.receive(2, success(3, 2));
    assert_eq!(bench.commit_index(), 2);
}

/// "State Machine Safety: if a server has applied a log entry at a given index, no other server will
/// ever apply a different log entry for the same index": what is applied is the committed prefix.
#[test]
fn only_committed_entries_are_applied_in_order_and_once() {
    let mut bench = Bench::with(1, 0, None, Vec::new(), |_| {});
    bench.elapse();
    for number in 1..=5 {
        bench.request(1, number, &format!("c{number}"));
        let applied = bench.applied.len() as u64;
        assert_eq!(applied, number);
        assert_eq!(bench.server.last_applied(), bench.server.commit_index());
    }
    let in_order: Vec<_> = (1..=5).map(|n| format!("{}@1 c1#{n} c{n}", n + 1)).collect();
    assert_eq!(bench.applied, in_order);
}

/// A leader holds what earlier leaders left behind, and answers for it when it commits.
#[test]
fn a_new_leader_keeps_the_entries_of_earlier_terms() {
    let mut bench = Bench::leader(3, 3, &[1, 2]);
    assert_eq!(bench.log(), [1, 2, 4]);
    bench.receive(2, crate::bench::conflict(4, 2, 1, None));
    let kept: Vec<_> = bench.server.log().iter().take(2).cloned().collect();
    assert_eq!(kept, entries(1, &[1, 2]));
}
