//! What the paper leaves open and the dissertation says.

use raft_core::{
    Effects, Index, Input, Message, ProgressState, ServerId, Term, VoteRequest, VoteResponse,
};

use crate::bench::{
    Bench, NOTHING, append, client_envelope, conflict, entries, success, vote_request,
};

/// §10.2.1: "the leader can write to its disk in parallel with replicating to the followers".
#[test]
fn the_leader_replicates_before_its_own_disk_is_done() {
    let mut bench = Bench::leader(3, 0, &[]);
    bench.receive(2, success(1, 1));
    bench.holds_saves = true;
    assert_eq!(
        bench.request(1, 1, "x"),
        ["save entry=2@1", "→ s2 AppendEntriesRequest prev=1@1 entry=2@1 commit=1"]
    );
}

/// §10.2.1: the leader "may even commit an entry before it has been written to its own disk, if a majority
/// of followers have written it to their disks".
#[test]
fn followers_alone_may_be_the_majority() {
    let mut bench = Bench::leader(3, 0, &[]);
    bench.receive(2, success(1, 1));
    bench.receive(3, success(1, 1));
    bench.holds_saves = true;
    bench.request(1, 1, "x");
    bench.receive(2, success(1, 2));
    assert_eq!(bench.commit_index(), 1);
    bench.receive(3, success(1, 2));
    assert_eq!(bench.commit_index(), 2);
    assert!(bench.applied.is_empty(), "its own state machine waits for its own disk");
    bench.saved();
    assert_eq!(bench.applied, ["2@1 c1#1 x"]);
}

/// §10.2.2: requests are pipelined without waiting for answers, once the logs are known to match.
#[test]
fn requests_are_pipelined_once_the_logs_match() {
    let mut bench = Bench::leader(3, 0, &[]);
    assert_eq!(bench.request(1, 1, "x"), ["save entry=2@1"], "one probe at a time");
    assert_eq!(
        bench.receive(2, success(1, 1)),
        ["commit 1", "apply through 1", "→ s2 AppendEntriesRequest prev=1@1 entry=2@1 commit=1"]
    );
    assert_eq!(
        bench.request(1, 2, "y"),
        ["save entry=3@1", "→ s2 AppendEntriesRequest prev=2@1 entry=3@1 commit=1"]
    );
    assert_eq!(bench.progress(2).next_index, Index(4));
    assert_eq!(bench.progress(3).next_index, Index(1), "a probe assumes nothing");
}

/// §10.2.2: a lost request in a pipeline is found by the refusal of the next, and all behind it is sent
/// again.
#[test]
fn a_refusal_in_a_pipeline_goes_back_to_the_gap() {
    let mut bench = Bench::leader(3, 0, &[]);
    bench.receive(2, success(1, 1));
    for number in 1..=3 {
        bench.request(1, number, "x");
    }
    assert_eq!(
        bench.receive(2, conflict(1, 2, 2, None)),
        ["→ s2 AppendEntriesRequest prev=1@1 entries=2@1..4@1 commit=1"]
    );
    assert_eq!(bench.progress(2).state, ProgressState::Probe { is_waiting: true });
    assert_eq!(bench.receive(2, conflict(1, 3, 2, None)), NOTHING, "the refusal of the next one");
    // A refusal of what was never sent is none at all.
    bench.receive(2, success(1, 4));
    assert_eq!(bench.receive(2, conflict(1, 5, 1, None)), NOTHING);
    assert_eq!(bench.progress(2).state, ProgressState::Replicate);
}

/// What is on its way to one follower is limited, so that a slow one does not drown.
#[test]
fn a_pipeline_holds_no_more_than_its_limit() {
    let mut bench = Bench::with(2, 0, None, Vec::new(), |config| config.in_flight_entries_max = 2);
    bench.elapse();
    bench.win();
    bench.receive(2, success(1, 1));
    let sent = |effects: Vec<String>| effects.iter().filter(|line| line.starts_with('→')).count();
    assert_eq!(sent(bench.request(1, 1, "a")), 1);
    assert_eq!(sent(bench.request(1, 2, "b")), 1);
    assert_eq!(sent(bench.request(1, 3, "c")), 0, "two are under way");
    bench.request(1, 4, "d");
    bench.request(1, 5, "e");
    // Room for one, then for two at once.
    let effects = bench.receive(2, success(1, 2));
    assert!(effects.contains(&"→ s2 AppendEntriesRequest prev=3@1 entry=4@1 commit=2".to_owned()));
    let effects = bench.receive(2, success(1, 4));
    assert!(
        effects
            .contains(&"→ s2 AppendEntriesRequest prev=4@1 entries=5@1..6@1 commit=4".to_owned()),
        "{effects:?}"
    );
}

/// Followers that lack the same entries share what is sent, and only as far as there is room for each.
#[test]
fn followers_with_different_room_are_sent_different_entries() {
    let mut bench = Bench::with(3, 0, None, Vec::new(), |config| config.in_flight_entries_max = 2);
    bench.elapse();
    bench.win();
    bench.receive(2, success(1, 1));
    bench.receive(3, success(1, 1));
    bench.request(1, 1, "a");
    bench.receive(2, success(1, 2));
    let mut effects = Effects::new();
    let both = [(1, "b"), (2, "c")];
    let both = both.map(|(client, text)| Input::Message(client_envelope(client, 2, text)));
    bench.server.step_all(bench.now, both, &mut effects).unwrap();
    let effects = effects.drain().map(|effect| effect.to_string());
    let sent: Vec<_> = effects.filter(|line| line.starts_with('→')).collect();
    assert_eq!(
        sent,
        [
            "→ s2 AppendEntriesRequest prev=2@1 entries=3@1..4@1 commit=2",
            "→ s3 AppendEntriesRequest prev=2@1 entry=3@1 commit=2",
        ],
        "one is under way to server 3"
    );
}

/// An idle follower hears of a commit at once if it is to, and once.
#[test]
fn a_commit_is_announced_once() {
    let mut bench = Bench::with(3, 0, None, Vec::new(), |config| config.announce_commits = true);
    bench.elapse();
    bench.win();
    bench.receive(3, success(1, 1));
    bench.receive(2, success(1, 1));
    bench.request(1, 1, "a");
    let announced: Vec<_> = bench.receive(2, success(1, 2));
    for follower in [2, 3] {
        let line = format!("→ s{follower} AppendEntriesRequest prev=2@1 commit=2");
        assert!(announced.contains(&line), "{announced:?}");
    }
    assert_eq!(bench.receive(2, success(1, 2)), NOTHING, "it has been told");
    assert_eq!(bench.receive(3, success(1, 2)), NOTHING, "so has the other one");
}

/// A probe has nothing else under way, so what is unconfirmed does not count against it.
#[test]
fn a_probe_is_not_held_back_by_what_is_unconfirmed() {
    let terms = [1; 10];
    let log = entries(1, &terms);
    let mut bench = Bench::with(2, 1, None, log, |config| config.in_flight_entries_max = 2);
    bench.elapse();
    bench.win();
    assert_eq!(
        bench.receive(2, conflict(2, 10, 6, None)),
        ["→ s2 AppendEntriesRequest prev=5@1 entries=6@1..7@1 commit=0"]
    );
    assert_eq!(bench.receive(2, success(2, 7)).len(), 1);
    assert_eq!(bench.progress(2).next_index, Index(10));
}

/// While a probe is under way, or a pipeline is full, the heartbeat asks without entries, so that a
/// loss shows and a follower that does not answer costs little.
#[test]
fn a_heartbeat_asks_after_a_probe_and_after_a_pipeline() {
    let mut bench = Bench::with(2, 0, None, Vec::new(), |config| config.in_flight_entries_max = 1);
    bench.elapse();
    bench.win();
    for _ in 0..2 {
        assert_eq!(bench.elapse(), ["→ s2 AppendEntriesRequest prev=0@0 commit=0"]);
    }
    bench.receive(2, success(1, 1));
    bench.request(1, 1, "x");
    bench.request(1, 2, "y");
    for _ in 0..2 {
        assert_eq!(bench.elapse(), ["→ s2 AppendEntriesRequest prev=2@1 commit=1"]);
    }
}

/// A heartbeat goes out once for each follower, with entries or without.
#[test]
fn a_heartbeat_is_one_request() {
    let mut bench = Bench::leader(3, 0, &[]);
    bench.receive(2, success(1, 1));
    bench.receive(3, conflict(1, 0, 1, None));
    assert_eq!(
        bench.elapse(),
        [
            "→ s2 AppendEntriesRequest prev=1@1 commit=1",
            "→ s3 AppendEntriesRequest prev=0@0 commit=1",
        ]
    );
}

/// A request holds entries up to its limit in bytes, and one at least.
#[test]
fn a_request_is_limited_in_bytes() {
    let mut bench = Bench::with(2, 0, None, Vec::new(), |config| config.append_bytes_max = 180);
    bench.elapse();
    bench.win();
    for number in 1..=4 {
        bench.request(1, number, "12");
    }
    bench.request(1, 5, &"x".repeat(1000));
    let lines = bench.receive(2, success(1, 1));
    let sent: Vec<_> = lines.iter().filter(|line| line.starts_with('→')).collect();
    assert_eq!(
        sent,
        [
            "→ s2 AppendEntriesRequest prev=1@1 entries=2@1..4@1 commit=1",
            "→ s2 AppendEntriesRequest prev=4@1 entry=5@1 commit=1",
            "→ s2 AppendEntriesRequest prev=5@1 entry=6@1 commit=1",
        ]
    );
}

/// §6.3: a client that has moved on gets no answer to its earlier requests.
#[test]
fn an_earlier_request_of_a_client_is_superseded() {
    let mut bench = Bench::leader(1, 0, &[]);
    bench.request(7, 3, "x");
    assert_eq!(bench.request(7, 2, "late"), ["→ c7 ClientResponse c7#2 superseded"]);
    assert_eq!(bench.applied, ["2@1 c7#3 x"]);
    assert_eq!(bench.request(8, 2, "another client's")[0], "save entry=3@1");
}

/// A command at the limit is taken, one above is refused and can be asked for again in smaller form.
#[test]
fn a_command_over_the_limit_is_refused() {
    let mut bench = Bench::with(1, 0, None, Vec::new(), |config| config.command_bytes_max = 3);
    bench.elapse();
    assert_eq!(
        bench.request(7, 1, "abcd"),
        ["→ c7 ClientResponse c7#1 too large: 4 bytes, at most 3"]
    );
    assert_eq!(bench.request(7, 1, "abc")[0], "save entry=2@1");
}

/// Stepping down forgets what the leader knew of its followers: their logs may change before it leads
/// again (§3.5: a new leader starts without knowledge of them).
#[test]
fn stepping_down_forgets_what_the_leader_knew() {
    let mut bench = Bench::leader(3, 0, &[]);
    bench.receive(2, success(1, 1));
    bench.receive(3, append(2, 3, (1, 1), &[2], 1));
    assert_eq!(bench.role(), "follower");
    bench.elapse();
    bench.win();
    assert_eq!(bench.progress(2).match_index, Index::ZERO);
    assert_eq!(bench.progress(2).next_index, Index(3));
}

/// A server that asks before it disturbs, in a cluster of so many.
fn pre_voter(servers: u64, term: u64, log: &[u64]) -> Bench {
    Bench::with(servers, term, None, entries(1, log), |config| {
        config.pre_vote = true;
        config.check_quorum = true;
    })
}

fn pre_vote_request(term: u64, last: (u64, u64)) -> Message {
    Message::PreVoteRequest(VoteRequest {
        term: Term(term),
        candidate_id: ServerId(2),
        last_log_index: Index(last.0),
        last_log_term: Term(last.1),
        is_transfer: false,
    })
}

fn pre_vote(term: u64, vote_granted: bool) -> Message {
    Message::PreVoteResponse(VoteResponse { term: Term(term), vote_granted })
}

/// §9.6: "other servers … only if the candidate's log is sufficiently up-to-date".
#[test]
fn a_pre_vote_is_refused_to_a_shorter_log() {
    let mut bench = pre_voter(3, 2, &[1, 2]);
    assert_eq!(bench.receive(2, pre_vote_request(3, (1, 1))), ["→ s2 PreVoteResponse refused"]);
    assert_eq!(
        bench.receive(2, pre_vote_request(3, (2, 2))),
        ["→ s2 PreVoteResponse for=3 granted"]
    );
}

/// §9.6: "have not received heartbeats from a valid leader for at least a baseline election timeout".
#[test]
fn a_pre_vote_is_granted_once_the_leader_is_silent() {
    let mut bench = pre_voter(3, 1, &[1]);
    bench.receive(3, append(1, 3, (1, 1), &[], 0));
    assert_eq!(bench.receive(2, pre_vote_request(2, (1, 1))), ["→ s2 PreVoteResponse refused"]);
    bench.now = bench.now + bench.server.config().election_timeout_min;
    assert_eq!(
        bench.receive(2, pre_vote_request(2, (1, 1))),
        ["→ s2 PreVoteResponse for=2 granted"]
    );
}

/// §9.6: "a majority of the cluster" must be willing.
#[test]
fn one_willing_voter_of_four_is_no_majority() {
    let mut bench = pre_voter(5, 1, &[1]);
    bench.elapse();
    assert_eq!(bench.receive(2, pre_vote(2, true)), NOTHING);
    assert_eq!(bench.role(), "pre-candidate");
    assert_eq!(bench.receive(2, pre_vote(2, true)), NOTHING, "one voter is one voter");
    bench.receive(3, pre_vote(2, true));
    assert_eq!(bench.role(), "candidate");
}

/// A pre-vote of an earlier question was about an earlier log and an earlier term.
#[test]
fn a_late_pre_vote_does_not_count_for_a_later_term() {
    let mut bench = pre_voter(3, 1, &[1]);
    bench.elapse();
    bench.receive(2, pre_vote(5, false));
    assert_eq!((bench.term(), bench.role()), (5, "follower"));
    bench.elapse();
    assert_eq!(bench.receive(3, pre_vote(2, true)), NOTHING);
    assert_eq!(bench.role(), "pre-candidate");
    bench.receive(3, pre_vote(6, true));
    assert_eq!(bench.role(), "candidate");
}

/// A leader that does not check its quorum cannot know whether anyone still hears it, so it does not
/// stand in the way of another.
#[test]
fn a_leader_without_check_quorum_grants_a_pre_vote() {
    let mut bench = Bench::leader(3, 1, &[1]);
    assert_eq!(
        bench.receive(2, pre_vote_request(3, (2, 2))),
        ["→ s2 PreVoteResponse for=3 granted"]
    );
}

/// §4.2.3 is about later terms: whoever asks in a term that is over must learn of the present one.
#[test]
fn a_candidate_of_an_old_term_is_answered_though_the_leader_is_heard() {
    let mut bench = pre_voter(3, 4, &[1]);
    bench.receive(3, append(4, 3, (1, 1), &[], 0));
    assert_eq!(bench.receive(2, vote_request(3, 2, (9, 2))), ["→ s2 VoteResponse refused"]);
    assert_eq!(bench.receive(2, vote_request(4, 2, (0, 0))), ["→ s2 VoteResponse refused"]);
    assert_eq!(bench.receive(2, vote_request(5, 2, (9, 4))), NOTHING, "this one would disturb");
}

/// Without check-quorum a leader leads on, whoever is silent.
#[test]
fn a_leader_without_check_quorum_stays_though_nobody_answers() {
    let mut bench = Bench::leader(3, 1, &[1]);
    for _ in 0..50 {
        bench.elapse();
    }
    assert_eq!(bench.role(), "leader");
}

/// §6.2: the election timeout after which a leader steps down begins with its reign, not before.
#[test]
fn a_new_leader_has_a_whole_election_timeout_to_hear_its_followers() {
    let mut bench = Bench::with(3, 1, None, entries(1, &[1]), |config| config.check_quorum = true);
    for _ in 0..10 {
        bench.elapse();
    }
    bench.win();
    let reign_began = bench.now;
    let patience = bench.server.config().election_timeout_max;
    while bench.role() == "leader" {
        bench.elapse();
    }
    let reign = bench.now.since(reign_began);
    assert!((patience..patience * 2).contains(&reign), "{reign:?}");
}
