//! Follower and candidate crashes (§5.5).

use crate::bench::{Bench, append, success, vote_request};

/// "Raft RPCs are idempotent, so this causes no harm. For example, if a follower receives an
/// AppendEntries request that includes log entries already present in its log, it ignores those entries
/// in the new request."
#[test]
fn a_repeated_request_changes_nothing() {
    let mut bench = Bench::follower(3, 1, &[1]);
    let request = append(2, 2, (1, 1), &[2, 2], 2);
    assert_eq!(
        bench.receive(2, request.clone()),
        [
            "save term=2 voted_for=none entries=2@2..3@2",
            "commit 2",
            "apply through 1",
            "apply through 2",
            "→ s2 AppendEntriesResponse match=3"
        ]
    );
    let status = bench.server.status();
    assert_eq!(bench.receive(2, request), ["→ s2 AppendEntriesResponse match=3"]);
    assert_eq!(bench.server.status(), status);
}

/// The same for a vote that is asked for twice, and for answers that come twice.
#[test]
fn repeated_answers_and_votes_change_nothing() {
    let mut bench = Bench::follower(3, 1, &[1]);
    bench.receive(2, vote_request(2, 2, (1, 1)));
    let status = bench.server.status();
    assert_eq!(bench.receive(2, vote_request(2, 2, (1, 1))), ["→ s2 VoteResponse granted"]);
    assert_eq!(bench.server.status(), status);

    let mut bench = Bench::leader(3, 1, &[1]);
    bench.receive(2, success(2, 2));
    let status = bench.server.status();
    assert_eq!(bench.receive(2, success(2, 2)), crate::bench::NOTHING);
    assert_eq!(bench.server.status(), status);
}
