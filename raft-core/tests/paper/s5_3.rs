//! Log replication (§5.3).

use std::slice;

use raft_core::{Index, ProgressState, StepError};

use crate::bench::{
    Bench, NOTHING, append, append_all, command, conflict, entries, stale, success,
};

/// A leader of three servers in term 1 whose first entry both followers have.
fn settled() -> Bench {
    let mut bench = Bench::leader(3, 0, &[]);
    bench.receive(2, success(1, 1));
    bench.receive(3, success(1, 1));
    bench
}

/// "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in
/// parallel to each of the other servers."
#[test]
fn a_command_is_appended_and_sent_to_everyone() {
    let mut bench = settled();
    assert_eq!(
        bench.request(1, 1, "x"),
        [
            "save entry=2@1",
            "→ s2 AppendEntriesRequest prev=1@1 entry=2@1 commit=1",
            "→ s3 AppendEntriesRequest prev=1@1 entry=2@1 commit=1",
        ]
    );
}

/// "When the entry has been safely replicated, the leader applies the entry to its state machine and
/// returns the result of that execution to the client."
#[test]
fn the_client_is_answered_after_commit_and_apply() {
    let mut bench = settled();
    bench.request(1, 1, "x");
    assert_eq!(
        bench.receive(2, success(1, 2)),
        ["commit 2", "apply 2@1 c1#1 x, through 2", "→ c1 ClientResponse c1#1 applied 2@1"]
    );
}

/// "If followers crash or run slowly, or if network packets are lost, the leader retries AppendEntries
/// RPCs indefinitely (even after it has responded to the client)."
#[test]
fn the_leader_retries_for_ever() {
    let mut bench = settled();
    bench.request(1, 1, "x");
    bench.receive(2, success(1, 2));
    for _ in 0..10 {
        bench.elapse();
        let repair = bench.receive(3, conflict(1, 2, 2, None));
        assert_eq!(repair, ["→ s3 AppendEntriesRequest prev=1@1 entry=2@1 commit=2"]);
        // Lost again: the heartbeat asks, and the answer has it sent again.
        let heartbeat = bench.elapse();
        assert_eq!(heartbeat[1], "→ s3 AppendEntriesRequest prev=1@1 commit=2");
        assert_eq!(bench.receive(3, success(1, 1)), repair);
    }
}

/// The leader "includes that index in future AppendEntries RPCs (including heartbeats) so that the
/// other servers eventually find out", and "once a follower learns that a log entry is committed, it
/// applies the entry to its local state machine (in log order)".
#[test]
fn a_follower_learns_of_commits_from_heartbeats_and_applies_in_order() {
    let mut bench = Bench::follower(3, 1, &[]);
    let log = vec![command((1, 1), 1, "a"), command((2, 1), 2, "b"), command((3, 1), 3, "c")];
    bench.receive(2, append_all(1, 2, (0, 0), log, 0));
    assert_eq!((bench.commit_index(), bench.applied.len()), (0, 0));
    assert_eq!(
        bench.receive(2, append(1, 2, (3, 1), &[], 2)),
        [
            "commit 2",
            "apply 1@1 c1#1 a, 2@1 c1#2 b, through 2",
            "→ s2 AppendEntriesResponse match=3"
        ]
    );
    bench.receive(2, append(1, 2, (3, 1), &[], 3));
    assert_eq!(bench.applied, ["1@1 c1#1 a", "2@1 c1#2 b", "3@1 c1#3 c"]);
    // Told again, nothing happens again.
    assert_eq!(
        bench.receive(2, append(1, 2, (3, 1), &[], 3)),
        ["→ s2 AppendEntriesResponse match=3"]
    );
    assert_eq!(
        bench.receive(2, append(1, 2, (3, 1), &[], 1)),
        ["→ s2 AppendEntriesResponse match=3"]
    );
    assert_eq!(bench.commit_index(), 3, "a commit index never falls");
}

/// "If the follower does not find an entry in its log with the same index and term, then it refuses
/// the new entries."
#[test]
fn entries_are_refused_where_the_log_does_not_match() {
    let mut bench = Bench::follower(3, 4, &[1, 2, 2]);
    // Too short.
    assert_eq!(
        bench.receive(2, append(4, 2, (4, 3), &[4], 0)),
        ["→ s2 AppendEntriesResponse conflict prev=4 hint=4"]
    );
    // Another term there.
    assert_eq!(
        bench.receive(2, append(4, 2, (3, 3), &[4], 0)),
        ["→ s2 AppendEntriesResponse conflict prev=3 hint=2@2"]
    );
    assert_eq!(bench.log(), [1, 2, 2]);
    // The place before the first entry always matches.
    assert_eq!(
        bench.receive(2, append(4, 2, (0, 0), &[3], 0)),
        ["save entry=1@3", "→ s2 AppendEntriesResponse match=1"]
    );
    assert_eq!(bench.log(), [3]);
}

/// A refused request commits nothing, whatever it says is committed.
#[test]
fn a_refused_request_commits_nothing() {
    let mut bench = Bench::follower(3, 4, &[1, 2, 2]);
    bench.receive(2, append(4, 2, (3, 3), &[], 3));
    assert_eq!(bench.commit_index(), 0);
}

/// "Conflicting entries in follower logs will be overwritten with entries from the leader's log":
/// "delete the existing entry and all that follow it" (Fig. 2).
#[test]
fn a_conflicting_entry_and_all_behind_it_are_replaced() {
    let mut bench = Bench::follower(3, 4, &[1, 1, 2, 2, 2]);
    assert_eq!(
        bench.receive(2, append(4, 2, (1, 1), &[1, 3], 0)),
        ["save entry=3@3", "→ s2 AppendEntriesResponse match=3"]
    );
    assert_eq!(bench.log(), [1, 1, 3]);
}

/// "If an existing entry conflicts with a new one (same index but different terms)": what does not
/// conflict stays, however short the request.
#[test]
fn entries_that_do_not_conflict_are_kept() {
    let mut bench = Bench::follower(3, 4, &[1, 1, 2, 2, 2]);
    for (prev, terms, matched) in
        [((0, 0), &[][..], 0), ((1, 1), &[1], 2), ((2, 1), &[2, 2], 4), ((5, 2), &[], 5)]
    {
        assert_eq!(
            bench.receive(2, append(4, 2, prev, terms, 0)),
            [format!("→ s2 AppendEntriesResponse match={matched}")]
        );
    }
    assert_eq!(bench.log(), [1, 1, 2, 2, 2]);
}

/// An answer says what the request vouched for, not how long the follower's log is: what stands behind
/// may be an old leader's.
#[test]
fn an_acknowledgement_covers_the_request_and_no_more() {
    let mut bench = Bench::follower(3, 4, &[1, 2, 2]);
    let effects = bench.receive(2, append(4, 2, (1, 1), &[], 0));
    assert_eq!(effects, ["→ s2 AppendEntriesResponse match=1"]);
}

/// "min(leaderCommit, index of last new entry)" (Fig. 2): an unverified tail is not committed by the
/// leader's word, and nothing is committed that the follower does not have.
#[test]
fn a_follower_does_not_commit_an_old_leaders_tail() {
    let mut bench = Bench::follower(3, 4, &[1, 2, 2]);
    bench.receive(2, append(4, 2, (1, 1), &[], 3));
    assert_eq!(bench.commit_index(), 1);
    bench.receive(2, append(4, 2, (1, 1), &[3], 9));
    assert_eq!((bench.commit_index(), bench.log()), (2, vec![1, 3]));
}

/// "When a leader first comes to power, it initializes all nextIndex values to the index just after
/// the last one in its log."
#[test]
fn a_new_leader_starts_right_behind_its_log() {
    let bench = Bench::leader(3, 3, &[1, 2, 3]);
    for follower in [2, 3] {
        let progress = bench.progress(follower);
        assert_eq!((progress.next_index, progress.match_index), (Index(4), Index(0)));
        assert_eq!(progress.state, ProgressState::Probe { is_waiting: true });
    }
}

/// "After a rejection, the leader decrements nextIndex and retries the AppendEntries RPC. Eventually
/// nextIndex will reach a point where the leader and follower logs match." Never below the first entry
/// nor what is confirmed, whatever a follower hints at.
#[test]
fn each_refusal_moves_the_leader_back_at_least_one_place() {
    for hint in [(9, None), (5, None), (9, Some(9)), (1, Some(3)), (5, Some(2))] {
        let mut bench = Bench::leader(3, 3, &[1, 2, 2, 3]);
        for prev in (1..=4).rev() {
            let before = bench.progress(2).next_index;
            assert_eq!(before, Index(prev + 1));
            bench.receive(2, conflict(4, prev, hint.0, hint.1));
            let after = bench.progress(2).next_index;
            assert!(after < before && after >= Index::FIRST, "{hint:?}: {before} to {after}");
            if after != Index(prev) {
                break;
            }
        }
    }
}

/// "The follower can include the term of the conflicting entry and the first index it stores for that
/// term. With this information, the leader can decrement nextIndex to bypass all of the conflicting
/// entries in that term."
#[test]
fn a_hint_bypasses_a_whole_term() {
    // The leader's log ends with its own entry of term 7.
    let table = [
        // The refused place, the hint, and where the leader looks next.
        ((6, 3, Some(3)), 3, "it never saw term 3, so the follower's first entry of it goes"),
        ((6, 2, Some(2)), 4, "its own last entry of term 2 is 3"),
        ((6, 5, Some(4)), 5, "its own last entry of term 4 is 4, and the hint is no better"),
        ((6, 2, None), 2, "the follower's log ends at 1"),
        ((6, 9, None), 6, "the hint makes no sense, so it goes back one place"),
        ((6, 1, None), 1, "the follower has nothing"),
    ];
    for ((prev, index, term), next, why) in table {
        let mut bench = Bench::leader(3, 6, &[1, 2, 2, 4, 5, 6]);
        bench.receive(2, conflict(7, prev, index, term));
        assert_eq!(bench.progress(2).next_index, Index(next), "{why}");
    }
    // A term that the leader has only behind the refused place is no help.
    let mut bench = Bench::leader(3, 6, &[1, 2, 2, 4, 5, 6]);
    bench.receive(2, conflict(7, 6, 4, None));
    bench.receive(2, conflict(7, 3, 2, Some(4)));
    assert_eq!(bench.progress(2).next_index, Index(2));
}

/// A refusal answers one request: late or repeated, it says nothing any more.
#[test]
fn a_refusal_that_answers_nothing_under_way_is_ignored() {
    let mut bench = Bench::leader(3, 3, &[1, 2, 3]);
    // Two places below the one asked for, or above: not an answer to the probe.
    assert_eq!(bench.receive(2, conflict(4, 2, 1, None)), NOTHING);
    assert_eq!(bench.receive(2, conflict(4, 4, 1, None)), NOTHING);
    assert_eq!(bench.progress(2).next_index, Index(4));
    // What was confirmed since cannot be refused.
    bench.receive(2, success(4, 4));
    assert_eq!(bench.receive(2, conflict(4, 3, 1, None)), NOTHING);
    assert_eq!(bench.receive(2, conflict(4, 4, 1, None)), NOTHING);
    assert_eq!(bench.progress(2).next_index, Index(5));
}

/// A follower that lost what it had confirmed has broken its promise; the leader does not pretend that
/// it never made it.
#[test]
fn next_index_never_falls_to_what_is_confirmed() {
    let mut bench = settled();
    bench.request(1, 1, "x");
    bench.request(1, 2, "y");
    bench.receive(2, success(1, 2));
    bench.receive(2, conflict(1, 3, 1, None));
    assert_eq!((bench.progress(2).match_index, bench.progress(2).next_index), (Index(2), Index(3)));
}

/// An answer of the term before, which the follower sent before it learnt of this one, is no word about
/// the log.
#[test]
fn stale_term_of_the_current_term_sends_nothing() {
    let mut bench = Bench::leader(3, 3, &[1, 2, 3]);
    bench.elapse();
    let known = |bench: &Bench| {
        let progress = bench.progress(2);
        (progress.match_index, progress.next_index, progress.state)
    };
    let before = known(&bench);
    assert_eq!(bench.receive(2, stale(4)), NOTHING);
    assert_eq!(known(&bench), before);
}

/// "matchIndex … index of highest log entry known to be replicated" (Fig. 2): an answer says which
/// entries it is about, so a late one tells nothing of what was sent since.
#[test]
fn an_acknowledgement_counts_for_what_it_names() {
    let mut bench = settled();
    bench.request(1, 1, "x");
    bench.request(1, 2, "y");
    bench.receive(2, success(1, 2));
    assert_eq!((bench.progress(2).match_index, bench.commit_index()), (Index(2), 2));
    // A late one takes nothing back.
    bench.receive(2, success(1, 1));
    assert_eq!(bench.progress(2).match_index, Index(2));
    assert_eq!(bench.progress(2).next_index, Index(4));
}

/// No follower holds more than the leader: an answer that says so is not a server's.
#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused() {
    let mut bench = settled();
    let error = bench.refuse(2, success(1, 2));
    assert!(matches!(error, StepError::Malformed { message: "AppendEntriesResponse", .. }));
    // In an earlier reign it may have been true, of entries that are gone; and a later term is a later
    // term, whatever else is said in it.
    let mut bench = Bench::leader(3, 3, &[1, 2, 3]);
    assert_eq!(bench.receive(2, success(3, 9)), NOTHING);
    assert_eq!(bench.receive(2, success(9, 9)), ["save term=9 voted_for=none"]);
    // To a follower it is an answer to its own past, and means nothing.
    let mut bench = Bench::follower(3, 1, &[]);
    assert_eq!(bench.receive(2, success(1, 2)), NOTHING);
}

/// "Leader Append-Only: a leader never overwrites or deletes entries in its log; it only appends new
/// entries." An AppendEntries of its own term cannot come: it is refused loudly.
#[test]
fn a_leader_never_deletes_entries_of_its_log() {
    let mut bench = Bench::leader(3, 0, &[]);
    bench.request(1, 1, "x");
    let error = bench.refuse(2, append(1, 2, (0, 0), &[1], 0));
    assert!(matches!(error, StepError::TwoLeaders { .. }));
    assert!(error.is_fatal());
    assert_eq!(bench.log(), [1, 1]);
}

/// The same told to a follower: a term has one leader (§5.2, Election Safety).
#[test]
fn a_second_leader_of_a_term_is_refused_loudly() {
    let mut bench = Bench::follower(3, 2, &[]);
    bench.receive(2, append(2, 2, (0, 0), &[], 0));
    let error = bench.refuse(3, append(2, 3, (0, 0), &[], 0));
    assert_eq!(error.to_string(), "s2 and s3 both lead term 2");
    // The next term may have another one, and the same one may go on.
    bench.receive(2, append(2, 2, (0, 0), &[1], 0));
    bench.receive(3, append(3, 3, (1, 1), &[], 0));
    // Who led the term before has no say, and is told so.
    assert_eq!(
        bench.receive(2, append(2, 2, (0, 0), &[], 0)),
        ["→ s2 AppendEntriesResponse stale term"]
    );
}

/// "If a log entry is committed in a given term, then that entry will be present in the logs of the
/// leaders for all higher-numbered terms": a request to replace it is refused loudly.
#[test]
fn a_committed_entry_is_never_replaced() {
    let mut bench = Bench::follower(3, 4, &[1, 1, 2]);
    bench.receive(2, append(4, 2, (2, 1), &[], 2));
    for (prev, terms, index) in [((1, 1), &[3][..], 2), ((0, 0), &[2], 1), ((2, 3), &[], 2)] {
        let error = bench.refuse(2, append(4, 2, prev, terms, 0));
        assert!(
            matches!(error, StepError::CommittedConflict { index: at, .. } if at == Index(index)),
            "{error}"
        );
        assert!(error.is_fatal());
    }
    // What is not committed may go, and what is equal may come.
    bench.receive(2, append(4, 2, (0, 0), &[1, 1, 3], 0));
    assert_eq!(bench.log(), [1, 1, 3]);
    // An old leader may say what it likes.
    assert_eq!(
        bench.receive(3, append(3, 3, (0, 0), &[2], 0)),
        ["→ s3 AppendEntriesResponse stale term"]
    );
}

/// "The leader maintains a nextIndex for each follower", and never goes back behind what the follower
/// confirmed: one that came back without its log is not served as if it were new, but it is seen.
#[test]
fn a_follower_that_forgot_what_it_confirmed_is_counted_and_not_believed() {
    let mut bench = Bench::leader(3, 1, &[1, 1]);
    bench.receive(2, conflict(2, 2, 1, None));
    assert!(bench.server.refusals().is_empty(), "nothing was confirmed yet");
    bench.receive(2, success(2, 3));
    let progress = bench.progress(2);
    for count in 1..=3 {
        assert_eq!(bench.receive(2, conflict(2, 3, 1, None)), NOTHING);
        assert_eq!(bench.server.status().refusals["forgotten-entries"], count);
        assert_eq!(bench.progress(2), progress);
    }
}

/// "If two entries in different logs have the same index and term, then they store the same command":
/// where they do not, going on would leave two servers with different logs for ever.
#[test]
fn an_entry_with_another_payload_is_never_taken_for_the_same() {
    let known = [command((1, 1), 1, "x"), command((2, 2), 2, "y")];
    let mut bench = Bench::with(3, 4, None, known.to_vec(), |_| {});
    let others =
        [command((2, 2), 2, "z"), command((2, 2), 3, "y"), entries(2, &[2]).pop().unwrap()];
    for other in others {
        for (prev, before) in [((0, 0), &known[..1]), ((1, 1), &[])] {
            let entries = [before, slice::from_ref(&other), &entries(3, &[3])].concat();
            let error = bench.refuse(2, append_all(4, 2, prev, entries, 0));
            assert_eq!(error.to_string(), "s2 has another payload than this server in entry 2@2");
            assert!(error.is_fatal());
        }
    }
    // The same ones are welcome again, and where the terms differ any payload is.
    bench.receive(2, append_all(4, 2, (0, 0), known.to_vec(), 0));
    bench.receive(2, append_all(4, 2, (1, 1), vec![command((2, 3), 2, "z")], 0));
    assert_eq!(bench.log(), [1, 3]);
}

/// "If two entries in different logs have the same index and term, then the logs are identical in all
/// preceding entries": entries come contiguous, so the log has no holes.
#[test]
fn a_log_never_has_a_hole() {
    let mut bench = Bench::follower(3, 4, &[1]);
    let holed = vec![entries(2, &[1]).remove(0), entries(4, &[1]).remove(0)];
    let error = bench.refuse(2, append_all(4, 2, (1, 1), holed, 0));
    assert_eq!(error.to_string(), "malformed AppendEntriesRequest: its entries are not contiguous");
}
