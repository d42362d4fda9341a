//! Client interaction (§8).

use raft_core::{
    AppendEntriesResponse, AppendEntriesResult, Index, Input, Message, ReadId, ReadMode, Round,
    Term,
};

use crate::bench::{Bench, append, append_all, command, success};

/// "If the client's first choice is not the leader, that server will reject the client's request and
/// supply information about the most recent leader it has heard from."
#[test]
fn a_server_that_does_not_lead_names_the_leader() {
    let mut bench = Bench::follower(3, 1, &[]);
    assert_eq!(bench.request(7, 1, "x"), ["→ c7 ClientResponse c7#1 not leader"]);
    bench.receive(2, append(1, 2, (0, 0), &[], 0));
    assert_eq!(bench.request(7, 1, "x"), ["→ c7 ClientResponse c7#1 not leader, try s2"]);
    bench.elapse();
    assert_eq!(bench.request(7, 1, "x"), ["→ c7 ClientResponse c7#1 not leader"]);
    assert!(bench.log().is_empty());
}

/// "If it receives a command whose serial number has already been executed, it responds immediately
/// without re-executing the request."
#[test]
fn a_request_that_was_executed_is_answered_and_not_executed_again() {
    let mut bench = Bench::leader(3, 0, &[]);
    bench.request(7, 1, "x");
    bench.receive(2, success(1, 2));
    let again = bench.request(7, 1, "x");
    assert_eq!(again, ["→ c7 ClientResponse c7#1 applied 2@1"]);
    assert_eq!(bench.applied, ["2@1 c7#1 x"]);
}

/// "The state machine tracks the latest serial number processed for each client, along with the
/// associated response": it follows from the log, so every server knows it.
#[test]
fn a_follower_knows_what_was_executed_when_it_becomes_leader() {
    let mut bench = Bench::follower(3, 1, &[]);
    bench.receive(2, append_all(1, 2, (0, 0), vec![command((1, 1), 1, "x")], 1));
    bench.elapse();
    bench.win();
    assert_eq!(bench.request(1, 1, "x"), ["→ c1 ClientResponse c1#1 applied 1@1"]);
    assert_eq!(bench.log(), [1, 2]);
}

/// A request that is in the log and not executed yet is neither forgotten nor taken twice.
#[test]
fn a_request_inherited_from_an_earlier_leader_is_not_taken_twice() {
    let log = vec![command((1, 1), 1, "x"), command((2, 1), 2, "y")];
    let mut bench = Bench::with(3, 1, None, log, |_| {});
    bench.elapse();
    bench.win();
    for number in [1, 2] {
        assert_eq!(bench.request(1, number, "again"), crate::bench::NOTHING);
    }
    assert_eq!(bench.log(), [1, 1, 2]);
    // The next one is new.
    assert_eq!(bench.request(1, 3, "z")[0], "save entry=4@2");
    let effects = bench.receive(2, success(2, 4));
    assert_eq!(
        effects,
        [
            "commit 4",
            "apply 1@1 c1#1 x, 2@1 c1#2 y, 4@2 c1#3 z, through 4",
            "→ c1 ClientResponse c1#1 applied 1@1",
            "→ c1 ClientResponse c1#2 applied 2@1",
            "→ c1 ClientResponse c1#3 applied 4@2",
        ]
    );
}

/// "Each leader commit[s] a blank no-op entry into the log at the start of its term."
#[test]
fn a_leader_opens_its_term_with_a_noop() {
    let bench = Bench::leader(3, 3, &[1, 2]);
    let last = bench.server.log().iter().last().unwrap();
    assert_eq!(last.to_string(), "3@4 noop");
}

/// A follower applies without answering: the leader does that.
#[test]
fn only_the_leader_answers() {
    let mut bench = Bench::follower(3, 1, &[]);
    assert_eq!(
        bench.receive(2, append_all(1, 2, (0, 0), vec![command((1, 1), 1, "x")], 1)),
        [
            "save entry=1@1",
            "commit 1",
            "apply 1@1 c1#1 x, through 1",
            "→ s2 AppendEntriesResponse match=1"
        ]
    );
}

fn read(bench: &mut Bench, id: u64) -> Vec<String> {
    bench.step(Input::Read { id: ReadId(id), mode: ReadMode::ReadIndex }).unwrap()
}

/// Server `from` holds everything up to `match_index`, and answers the leader's round.
fn answered(round: u64, match_index: u64) -> Message {
    let result = AppendEntriesResult::Success { match_index: Index(match_index) };
    let (term, round) = (Term(1), Round(round));
    Message::AppendEntriesResponse(AppendEntriesResponse { term, round, result })
}

/// "Read-only operations can be handled without writing anything into the log."
#[test]
fn a_read_writes_nothing() {
    let mut bench = Bench::leader(3, 0, &[]);
    bench.receive(2, answered(1, 1));
    read(&mut bench, 7);
    assert_eq!(bench.receive(2, answered(2, 1)), ["read 7 ready at 1"]);
    assert_eq!(bench.log(), [1]);
}

/// "First, a leader must have the latest information on which entries are committed. … at the start
/// of its term, it may not know which those are. To find out, it needs to commit an entry from its
/// term."
#[test]
fn a_leader_that_has_committed_nothing_of_its_term_serves_no_read() {
    let mut bench = Bench::leader(3, 0, &[]);
    assert_eq!(read(&mut bench, 7), crate::bench::NOTHING);
    // A majority follows, but holds nothing yet.
    let follows = bench.receive(2, answered(1, 0));
    let committed = bench.receive(2, answered(1, 1));
    assert!(committed.contains(&"commit 1".to_owned()), "{committed:?}");
    let mut effects = follows.iter().chain(&committed);
    assert!(!effects.any(|effect| effect.contains("ready")), "{follows:?} {committed:?}");
    assert_eq!(bench.receive(2, answered(2, 1)), ["read 7 ready at 1"]);
}

/// "Second, a leader must check whether it has been deposed before processing a read-only request …
/// Raft handles this by having the leader exchange heartbeat messages with a majority of the cluster
/// before responding to read-only requests."
#[test]
fn a_read_waits_for_a_majority_of_answers_to_heartbeats_sent_after_it() {
    let mut bench = Bench::leader(5, 0, &[]);
    for follower in [2, 3] {
        bench.receive(follower, answered(1, 1));
    }
    let asked = read(&mut bench, 7);
    assert_eq!(asked.len(), 4, "a heartbeat to each follower: {asked:?}");
    // Late answers to the round before, and one server twice.
    for (follower, round) in [(4, 1), (5, 1), (2, 2), (2, 2)] {
        let effects = bench.receive(follower, answered(round, 1));
        assert!(!effects.iter().any(|effect| effect.contains("ready")), "{effects:?}");
    }
    assert_eq!(bench.receive(3, answered(2, 1)), ["read 7 ready at 1"]);
}
