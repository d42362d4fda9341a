//! Raft basics: terms (§5.1).

use crate::bench::{Bench, NOTHING, append, conflict, stale, success, vote, vote_request};

/// "If one server's current term is smaller than the other's, then it updates its current term to the
/// larger value."
#[test]
fn every_message_of_a_later_term_brings_the_term_with_it() {
    let messages = [
        vote_request(7, 2, (0, 0)),
        vote(7, false),
        vote(7, true),
        append(7, 2, (0, 0), &[], 0),
        success(7, 0),
        conflict(7, 1, 1, None),
        stale(7),
    ];
    for message in messages {
        let mut bench = Bench::follower(3, 2, &[1, 2]);
        let effects = bench.receive(2, message.clone());
        assert_eq!(effects[0], "save term=7 voted_for=none", "{message}");
        assert_eq!((bench.term(), bench.voted_for()), (7, None), "{message}");
    }
}

/// "If a candidate or leader discovers that its term is out of date, it immediately reverts to
/// follower state."
#[test]
fn candidates_and_leaders_of_an_earlier_term_revert_to_followers() {
    for message in [vote_request(9, 2, (0, 0)), vote(9, false), success(9, 0), stale(9)] {
        for mut bench in [Bench::candidate(3, 2, &[1, 2]), Bench::leader(3, 2, &[1, 2])] {
            bench.receive(2, message.clone());
            assert_eq!((bench.role(), bench.term()), ("follower", 9), "{message}");
            assert_eq!(bench.server.leader_hint(), None, "{message}");
        }
    }
}

/// "If a server receives a request with a stale term number, it rejects the request." And "current
/// terms are exchanged whenever servers communicate", so the sender learns of it.
#[test]
fn a_request_of_an_earlier_term_is_rejected_and_answered_with_the_term() {
    let mut bench = Bench::follower(3, 5, &[1]);
    let before = bench.server.next_timeout();
    assert_eq!(bench.receive(2, vote_request(4, 2, (9, 3))), ["→ s2 VoteResponse refused"]);
    assert_eq!(
        bench.receive(2, append(4, 2, (1, 1), &[4], 2)),
        ["→ s2 AppendEntriesResponse stale term"]
    );
    assert_eq!((bench.term(), bench.voted_for(), bench.log()), (5, None, vec![1]));
    assert_eq!(bench.commit_index(), 0);
    assert_eq!(bench.server.leader_hint(), None, "its sender does not lead");
    assert_eq!(bench.server.next_timeout(), before, "and does not keep us from an election");
}

/// "Terms act as a logical clock … current term … increases monotonically over time."
#[test]
fn answers_of_an_earlier_term_change_nothing() {
    for mut bench in
        [Bench::follower(3, 5, &[1]), Bench::candidate(3, 4, &[1]), Bench::leader(3, 4, &[1])]
    {
        let before = bench.server.status();
        for message in
            [vote(3, true), vote(3, false), success(3, 1), conflict(3, 1, 1, None), stale(3)]
        {
            assert_eq!(bench.receive(2, message), NOTHING);
        }
        assert_eq!(bench.server.status(), before);
    }
}

/// "Raft divides time into terms … each term begins with an election": a term is opened by a candidate
/// and numbered consecutively.
#[test]
fn each_election_opens_the_next_term() {
    let mut bench = Bench::follower(3, 5, &[1]);
    for term in 6..9 {
        bench.elapse();
        assert_eq!(bench.term(), term);
    }
}
