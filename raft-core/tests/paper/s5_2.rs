//! Leader election (§5.2).

use std::collections::BTreeSet;
use std::time::Duration;

use raft_core::{Config, Recovered, Server, ServerId, Timestamp};

use crate::bench::{Bench, NOTHING, append, vote, vote_request};

/// "When servers start up, they begin as followers."
#[test]
fn a_server_starts_as_a_follower_and_waits() {
    let bench = Bench::follower(3, 0, &[]);
    assert_eq!((bench.role(), bench.term()), ("follower", 0));
    assert!(bench.server.next_timeout().is_some());
}

/// "A server remains in follower state as long as it receives valid RPCs from a leader or candidate."
#[test]
fn a_leaders_word_and_a_granted_vote_start_the_wait_anew() {
    let messages = [append(1, 2, (0, 0), &[], 0), vote_request(1, 2, (0, 0))];
    for message in messages {
        let mut bench = Bench::follower(3, 1, &[]);
        bench.now = bench.server.next_timeout().unwrap();
        bench.receive(2, message.clone());
        let wait = bench.server.next_timeout().unwrap().since(bench.now);
        assert!(wait >= bench.server.config().election_timeout_min, "{message}: {wait:?}");
        let late = Timestamp::from_nanos(bench.now.as_nanos());
        assert_eq!((bench.elapse_after(Duration::ZERO), bench.now), (vec![], late));
        assert_eq!(bench.role(), "follower");
    }
}

/// A leader's word counts as one even if its entries do not fit yet.
#[test]
fn a_conflict_starts_the_wait_anew_too() {
    let mut bench = Bench::follower(3, 1, &[]);
    bench.now = bench.server.next_timeout().unwrap();
    bench.receive(2, append(1, 2, (4, 1), &[], 0));
    assert!(bench.server.next_timeout().unwrap() > bench.now);
    assert_eq!(bench.server.leader_hint(), Some(ServerId(2)));
}

/// A candidate that is refused is no reason to wait: else a server that nobody may vote for could keep
/// all others from an election for ever.
#[test]
fn a_refused_candidate_does_not_start_the_wait_anew() {
    let mut bench = Bench::follower(3, 1, &[1, 1]);
    let before = bench.server.next_timeout();
    bench.now = Timestamp::from_millis(10);
    bench.receive(2, vote_request(2, 2, (1, 1)));
    assert_eq!((bench.term(), bench.server.next_timeout()), (2, before));
    // The same for a candidate that loses its term that way.
    let mut bench = Bench::candidate(3, 1, &[1, 1]);
    let before = bench.server.next_timeout();
    bench.receive(2, vote_request(3, 2, (1, 1)));
    assert_eq!((bench.role(), bench.server.next_timeout()), ("follower", before));
}

/// A leader has no election timer, so it starts one as it steps down.
#[test]
fn a_leader_that_steps_down_waits_a_whole_election_timeout() {
    let mut bench = Bench::leader(3, 1, &[1, 1]);
    bench.receive(2, vote_request(3, 2, (1, 1)));
    let wait = bench.server.next_timeout().unwrap().since(bench.now);
    let config = bench.server.config();
    assert!((config.election_timeout_min..config.election_timeout_max).contains(&wait), "{wait:?}");
}

/// "If a follower receives no communication over a period of time called the election timeout, then it
/// … begins an election": "increments its current term and transitions to candidate state", "votes for
/// itself and issues RequestVote RPCs in parallel to each of the other servers".
#[test]
fn silence_makes_a_follower_a_candidate() {
    let mut bench = Bench::follower(3, 4, &[1, 4]);
    assert_eq!(bench.elapse(), ["save term=5 voted_for=s1", "→ all VoteRequest last=2@4"]);
    assert_eq!((bench.role(), bench.term(), bench.voted_for()), ("candidate", 5, Some(1)));
    let wait = bench.server.next_timeout().unwrap().since(bench.now);
    assert!(wait >= bench.server.config().election_timeout_min, "it waits for votes: {wait:?}");
}

/// A timer that goes off early, as timers do, starts nothing.
#[test]
fn an_early_timer_changes_nothing() {
    for mut bench in
        [Bench::follower(3, 1, &[]), Bench::candidate(3, 1, &[]), Bench::leader(3, 1, &[])]
    {
        let (deadline, role) = (bench.server.next_timeout().unwrap(), bench.role());
        bench.now = Timestamp::from_nanos(deadline.as_nanos() - 1);
        assert_eq!(bench.elapse_after(Duration::ZERO), NOTHING);
        assert_eq!((bench.server.next_timeout(), bench.role()), (Some(deadline), role));
        assert_ne!(bench.elapse_after(Duration::from_nanos(1)), NOTHING);
    }
}

/// "If a follower receives no communication over a period of time called the election timeout": a
/// request that was granted already is none, or a bus that repeats it would end all elections.
#[test]
fn a_vote_granted_again_does_not_start_the_wait_anew() {
    let mut bench = Bench::follower(3, 1, &[]);
    bench.receive(2, vote_request(2, 2, (0, 0)));
    let deadline = bench.server.next_timeout().unwrap();
    for _ in 0..9 {
        bench.now = bench.now + Duration::from_millis(1);
        assert_eq!(
            bench.receive(2, vote_request(2, 2, (0, 0))),
            ["→ s2 VoteResponse granted"],
            "the candidate may not have heard it"
        );
        assert_eq!(bench.server.next_timeout(), Some(deadline));
    }
    bench.elapse();
    assert_eq!((bench.role(), bench.term()), ("candidate", 3));
}

/// "A candidate wins an election if it receives votes from a majority of the servers in the full
/// cluster for the same term."
#[test]
fn a_majority_of_the_full_cluster_elects() {
    for servers in 2..=7 {
        let mut bench = Bench::candidate(servers, 0, &[]);
        for voter in 2..=servers {
            let is_elected = bench.role() == "leader";
            // With the candidate's own vote, `voter - 1` have voted so far.
            assert_eq!(is_elected, voter > servers / 2 + 1, "{servers} servers, {voter}");
            bench.receive(voter, vote(1, true));
        }
        assert_eq!(bench.role(), "leader", "{servers} servers");
    }
}

/// Votes are counted by voter.
#[test]
fn a_vote_delivered_again_is_no_second_vote() {
    let mut bench = Bench::candidate(5, 0, &[]);
    for _ in 0..5 {
        assert_eq!(bench.receive(2, vote(1, true)), NOTHING);
    }
    assert_eq!(bench.role(), "candidate");
}

/// A refusal is no vote.
#[test]
fn a_refusal_does_not_elect() {
    let mut bench = Bench::candidate(3, 0, &[]);
    assert_eq!(bench.receive(2, vote(1, false)), NOTHING);
    assert_eq!(bench.receive(3, vote(1, false)), NOTHING);
    assert_eq!(bench.role(), "candidate");
}

/// Votes are for candidates: one who has lost, or won, has no use for them.
#[test]
fn a_vote_that_comes_when_the_election_is_over_changes_nothing() {
    let mut bench = Bench::candidate(3, 0, &[]);
    bench.receive(2, append(1, 2, (0, 0), &[1], 0));
    assert_eq!(bench.receive(3, vote(1, true)), NOTHING);
    assert_eq!(bench.role(), "follower");
    let mut bench = Bench::leader(5, 0, &[]);
    let before = bench.server.status();
    assert_eq!(bench.receive(5, vote(1, true)), NOTHING);
    assert_eq!(bench.server.status(), before);
}

/// "Each server will vote for at most one candidate in a given term, on a first-come-first-served
/// basis."
#[test]
fn the_first_candidate_of_a_term_gets_the_vote_and_no_other() {
    let mut bench = Bench::follower(5, 1, &[]);
    assert_eq!(
        bench.receive(2, vote_request(2, 2, (0, 0))),
        ["save term=2 voted_for=s2", "→ s2 VoteResponse granted"]
    );
    assert_eq!(bench.receive(3, vote_request(2, 3, (9, 1))), ["→ s3 VoteResponse refused"]);
    // Asked again, the vote stands; there is nothing new to save.
    assert_eq!(bench.receive(2, vote_request(2, 2, (0, 0))), ["→ s2 VoteResponse granted"]);
    // A later term, a new vote.
    assert_eq!(
        bench.receive(3, vote_request(3, 3, (0, 0))),
        ["save term=3 voted_for=s3", "→ s3 VoteResponse granted"]
    );
}

/// The term may be known before its first candidate asks: the vote is saved then.
#[test]
fn a_free_vote_of_the_current_term_is_given_and_saved() {
    let mut bench = Bench::follower(5, 2, &[]);
    assert_eq!(
        bench.receive(2, vote_request(2, 2, (0, 0))),
        ["save term=2 voted_for=s2", "→ s2 VoteResponse granted"]
    );
    assert_eq!(bench.voted_for(), Some(2));
}

/// "While waiting for votes, a candidate may receive an AppendEntries RPC from another server claiming
/// to be leader. If the leader's term is at least as large … the candidate recognizes the leader as
/// legitimate and returns to follower state."
#[test]
fn a_candidate_recognizes_the_leader_of_its_term() {
    let mut bench = Bench::candidate(3, 0, &[]);
    let effects = bench.receive(2, append(1, 2, (0, 0), &[1], 0));
    assert_eq!(effects, ["save entry=1@1", "→ s2 AppendEntriesResponse match=1"]);
    assert_eq!((bench.role(), bench.term(), bench.voted_for()), ("follower", 1, Some(1)));
    assert_eq!(bench.server.leader_hint(), Some(ServerId(2)));
}

/// "If the term in the RPC is smaller than the candidate's current term, then the candidate rejects the
/// RPC and continues in candidate state."
#[test]
fn a_candidate_rejects_the_leader_of_an_earlier_term() {
    let mut bench = Bench::candidate(3, 4, &[]);
    assert_eq!(
        bench.receive(2, append(4, 2, (0, 0), &[1], 0)),
        ["→ s2 AppendEntriesResponse stale term"]
    );
    assert_eq!((bench.role(), bench.term()), ("candidate", 5));
}

/// "If many followers become candidates at the same time, votes could be split … each candidate will
/// time out and start a new election by incrementing its term."
#[test]
fn a_candidate_without_a_majority_starts_over() {
    let mut bench = Bench::candidate(5, 0, &[]);
    bench.receive(2, vote(1, true));
    assert_eq!(bench.elapse(), ["save term=2 voted_for=s1", "→ all VoteRequest last=0@0"]);
    assert_eq!(bench.role(), "candidate");
    // The votes of the split term are forgotten with it.
    bench.receive(3, vote(2, true));
    assert_eq!(bench.role(), "candidate");
    bench.receive(2, vote(2, true));
    assert_eq!(bench.role(), "leader");
}

/// "Election timeouts are chosen randomly from a fixed interval" and "each candidate restarts its
/// randomized election timeout at the start of an election".
#[test]
fn election_timeouts_are_spread_over_the_whole_interval() {
    let config = Config::new(ServerId(1), [1, 2, 3].map(ServerId));
    let (min, max) = (config.election_timeout_min, config.election_timeout_max);
    let mut bench = Bench::follower(3, 0, &[]);
    let mut waits = BTreeSet::new();
    for _ in 0..200 {
        waits.insert(bench.server.next_timeout().unwrap().since(bench.now));
        bench.elapse();
    }
    assert!(waits.iter().all(|wait| (min..max).contains(wait)), "{waits:?}");
    let (first, last) = (*waits.first().unwrap(), *waits.last().unwrap());
    assert!(last - first > (max - min) * 9 / 10, "{first:?} to {last:?}");
    assert!(waits.len() > 190, "they differ");
}

/// Two servers with the same settings do not choose alike, or they would split votes for ever.
#[test]
fn servers_with_the_same_seed_choose_different_timeouts() {
    let timeout = |id| {
        let config = Config::new(ServerId(id), [1, 2, 3].map(ServerId));
        let mut server = Server::new(config, Recovered::default()).unwrap();
        let mut effects = raft_core::Effects::new();
        server.step(Timestamp::ZERO, raft_core::Input::NotifyJoinedService, &mut effects).unwrap();
        server.next_timeout().unwrap()
    };
    let timeouts: BTreeSet<_> = [1, 2, 3].map(timeout).into();
    assert_eq!(timeouts.len(), 3);
}

/// "Once a candidate wins an election, it becomes leader. It then sends heartbeat messages to all of
/// the other servers to establish its authority."
#[test]
fn a_new_leader_speaks_to_everyone_at_once() {
    let mut bench = Bench::candidate(3, 0, &[]);
    assert_eq!(
        bench.receive(2, vote(1, true)),
        [
            "save entry=1@1",
            "elected leader of term 1",
            "→ s2 AppendEntriesRequest prev=0@0 entry=1@1 commit=0",
            "→ s3 AppendEntriesRequest prev=0@0 entry=1@1 commit=0",
        ]
    );
}

/// "Leaders send periodic heartbeats … to all followers in order to maintain their authority."
#[test]
fn a_leader_sends_heartbeats_periodically() {
    let mut bench = Bench::leader(3, 0, &[]);
    for follower in [2, 3] {
        bench.receive(follower, crate::bench::success(1, 1));
    }
    let interval = bench.server.config().heartbeat_interval;
    for _ in 0..3 {
        assert_eq!(bench.server.next_timeout(), Some(bench.now + interval));
        assert_eq!(
            bench.elapse(),
            [
                "→ s2 AppendEntriesRequest prev=1@1 commit=1",
                "→ s3 AppendEntriesRequest prev=1@1 commit=1",
            ]
        );
        assert_eq!(bench.role(), "leader");
    }
}

/// The heartbeat of a new leader comes one interval after its election, not when its election timer
/// would have gone off.
#[test]
fn the_first_heartbeat_follows_within_one_interval() {
    let mut bench = Bench::candidate(3, 0, &[]);
    bench.now = Timestamp::from_millis(5000);
    bench.win();
    let interval = bench.server.config().heartbeat_interval;
    assert_eq!(bench.server.next_timeout(), Some(bench.now + interval));
}
