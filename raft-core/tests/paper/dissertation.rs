//! What the paper leaves open and the dissertation says.

use raft_core::{Index, ProgressState};

use crate::bench::{Bench, NOTHING, append, conflict, success};

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

/// A probe has nothing else under way, so what is unconfirmed does not count against it.
#[test]
fn a_probe_is_not_held_back_by_what_is_unconfirmed() {
    let terms = [1; 10];
    let log = crate::bench::entries(1, &terms);
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

/// While a probe is under way, its heartbeat repeats it; a pipeline that is full is probed without
/// entries, so that a loss shows.
#[test]
fn a_heartbeat_repeats_a_probe_and_asks_after_a_pipeline() {
    let mut bench = Bench::with(2, 0, None, Vec::new(), |config| config.in_flight_entries_max = 1);
    bench.elapse();
    bench.win();
    for _ in 0..2 {
        assert_eq!(bench.elapse(), ["→ s2 AppendEntriesRequest prev=0@0 entry=1@1 commit=0"]);
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
            "→ s3 AppendEntriesRequest prev=0@0 entry=1@1 commit=1",
        ]
    );
}

/// A request holds entries up to its limit in bytes, and one at least.
#[test]
fn a_request_is_limited_in_bytes() {
    let mut bench = Bench::with(2, 0, None, Vec::new(), |config| config.append_bytes_max = 150);
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
