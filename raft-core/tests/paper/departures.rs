//! Where the CloudMessaging sample departs from the paper, by the number it has in our list: the right
//! behaviour holds here. (26 is the commit rule on a quorum's index, 27 names features, 28 and 29 are
//! of the sample's test harness, not of its server.)

use raft_core::ServerId;

use crate::bench::{
    Bench, NOTHING, append, append_all, command, conflict, success, vote, vote_request,
};

/// A leader of `servers` in term 1 whose opening entry everyone has.
fn settled(servers: u64) -> Bench {
    let mut bench = Bench::leader(servers, 0, &[]);
    for follower in 2..=servers {
        bench.receive(follower, success(1, 1));
    }
    bench
}

#[test]
fn departure_01_a_duplicated_vote_elects_nobody() {
    let mut bench = Bench::candidate(5, 0, &[]);
    for _ in 0..3 {
        bench.receive(2, vote(1, true));
    }
    assert_eq!(bench.role(), "candidate");
}

#[test]
fn departure_02_a_longer_log_of_an_older_term_does_not_refuse_a_newer_one() {
    let mut bench = Bench::follower(3, 2, &[1, 1, 1]);
    assert_eq!(
        bench.receive(2, vote_request(3, 2, (1, 2))).last().unwrap(),
        "→ s2 VoteResponse granted"
    );
}

#[test]
fn departure_03_term_vote_and_log_are_saved_and_recovered() {
    let mut bench = Bench::follower(3, 0, &[]);
    bench.holds_saves = true;
    assert_eq!(bench.receive(2, vote_request(4, 2, (0, 0))), ["save term=4 voted_for=s2"]);
    let recovered = Bench::with(3, 4, Some(2), Vec::new(), |_| {});
    let mut recovered = recovered;
    assert_eq!(recovered.receive(3, vote_request(4, 3, (9, 3))), ["→ s3 VoteResponse refused"]);
}

#[test]
fn departure_04_a_divergent_tail_is_not_committed() {
    let mut bench = Bench::follower(3, 3, &[1, 2, 2]);
    bench.receive(2, append(3, 2, (1, 1), &[], 3));
    assert_eq!(bench.commit_index(), 1);
}

#[test]
fn departure_05_everything_committed_is_applied_at_once() {
    let mut bench = Bench::follower(3, 1, &[]);
    let log = (1..=4).map(|n| command((n, 1), n, "x")).collect();
    bench.receive(2, append_all(1, 2, (0, 0), log, 4));
    assert_eq!(bench.applied.len(), 4);
}

#[test]
fn departure_06_the_leader_applies_and_its_reply_carries_the_result() {
    let mut bench = settled(3);
    bench.request(1, 1, "x");
    let effects = bench.receive(2, success(1, 2));
    assert_eq!(
        effects[1..],
        ["apply 2@1 c1#1 x, through 2", "→ c1 ClientResponse c1#1 applied 2@1"]
    );
    assert_eq!(bench.server.last_applied().0, 2);
}

#[test]
fn departure_07_an_acknowledgement_counts_for_the_entries_it_names() {
    let mut bench = settled(3);
    for number in 1..=3 {
        bench.request(1, number, "x");
    }
    bench.receive(2, success(1, 2));
    assert_eq!((bench.progress(2).match_index.0, bench.commit_index()), (2, 2));
}

#[test]
fn departure_08_acknowledgements_of_different_entries_are_not_added_up() {
    let mut bench = settled(5);
    bench.request(1, 1, "x");
    bench.request(1, 2, "y");
    for message in [success(1, 2), success(1, 2), success(1, 3)] {
        bench.receive(2, message);
        assert_eq!(bench.commit_index(), 1);
    }
    bench.receive(3, success(1, 2));
    assert_eq!(bench.commit_index(), 2, "three servers hold 2, two hold 3");
}

#[test]
fn departure_09_acknowledgements_of_a_heartbeat_commit_nothing() {
    let mut bench = settled(5);
    bench.request(1, 1, "x");
    for follower in 2..=5 {
        bench.receive(follower, success(1, 1));
    }
    assert_eq!(bench.commit_index(), 1);
}

#[test]
fn departure_10_the_client_is_not_answered_before_the_commit() {
    let mut bench = settled(5);
    bench.request(1, 1, "x");
    assert_eq!(bench.receive(2, success(1, 2)), NOTHING);
    assert_eq!(bench.receive(3, success(1, 2))[0], "commit 2");
}

#[test]
fn departure_11_late_acknowledgements_do_not_start_the_next_count() {
    let mut bench = settled(5);
    bench.request(1, 1, "x");
    bench.receive(2, success(1, 2));
    bench.receive(3, success(1, 2));
    bench.request(1, 2, "y");
    bench.receive(4, success(1, 2));
    bench.receive(5, success(1, 2));
    assert_eq!(bench.commit_index(), 2);
    bench.receive(4, success(1, 3));
    assert_eq!(bench.commit_index(), 2);
}

#[test]
fn departure_12_a_retry_at_another_leader_is_not_run_again() {
    let mut bench = Bench::follower(3, 1, &[]);
    bench.receive(2, append_all(1, 2, (0, 0), vec![command((1, 1), 1, "x")], 1));
    bench.elapse();
    bench.win();
    assert_eq!(bench.request(1, 1, "x"), ["→ c1 ClientResponse c1#1 applied 1@1"]);
    assert_eq!(bench.applied, ["1@1 c1#1 x"]);
}

#[test]
fn departure_13_a_retry_while_pending_appends_no_second_copy() {
    let mut bench = settled(3);
    bench.request(1, 1, "x");
    assert_eq!(bench.request(1, 1, "x"), NOTHING);
    assert_eq!(bench.log(), [1, 1]);
}

#[test]
fn departure_14_equal_commands_of_two_clients_are_two() {
    let mut bench = Bench::leader(1, 0, &[]);
    bench.request(1, 1, "x");
    bench.request(2, 1, "x");
    assert_eq!(bench.applied, ["2@1 c1#1 x", "3@1 c2#1 x"]);
}

#[test]
fn departure_15_the_leader_sends_heartbeats() {
    let mut bench = settled(3);
    assert_eq!(bench.elapse().len(), 2);
}

#[test]
fn departure_16_a_healthy_leader_is_not_deposed() {
    let mut bench = Bench::follower(3, 1, &[]);
    let interval = bench.server.config().heartbeat_interval;
    for _ in 0..100 {
        bench.elapse_after(interval);
        bench.receive(2, append(1, 2, (0, 0), &[], 0));
    }
    assert_eq!((bench.role(), bench.term()), ("follower", 1));
}

#[test]
fn departure_17_each_elapsed_timeout_starts_an_election() {
    let mut bench = Bench::follower(3, 0, &[]);
    for term in 1..=20 {
        bench.elapse();
        assert_eq!((bench.role(), bench.term()), ("candidate", term));
    }
}

#[test]
fn departure_18_a_candidate_follows_the_leader_of_its_term() {
    let mut bench = Bench::candidate(3, 0, &[]);
    bench.receive(2, append(1, 2, (0, 0), &[1], 0));
    assert_eq!((bench.role(), bench.log()), ("follower", vec![1]));
}

#[test]
fn departure_19_an_old_leader_is_told_the_term() {
    let stale = ["→ s2 AppendEntriesResponse stale term"];
    for mut bench in
        [Bench::follower(3, 5, &[]), Bench::candidate(3, 4, &[]), Bench::leader(3, 4, &[])]
    {
        assert_eq!(bench.receive(2, append(3, 2, (0, 0), &[], 0)), stale);
    }
}

#[test]
fn departure_20_a_late_refusal_does_not_move_next_index_below_match_index() {
    let mut bench = settled(3);
    for _ in 0..3 {
        assert_eq!(bench.receive(2, conflict(1, 1, 1, None)), NOTHING);
    }
    assert_eq!((bench.progress(2).match_index.0, bench.progress(2).next_index.0), (1, 2));
}

#[test]
fn departure_21_one_refusal_skips_a_whole_term() {
    let mut bench = Bench::leader(3, 2, &[1, 1, 2, 2, 2, 2, 2]);
    bench.receive(2, conflict(3, 7, 3, Some(1)));
    assert_eq!(bench.progress(2).next_index.0, 3);
}

#[test]
fn departure_22_a_cluster_of_one_elects_itself() {
    let mut bench = Bench::follower(1, 0, &[]);
    let effects = bench.elapse();
    assert_eq!(bench.role(), "leader");
    assert!(!effects.iter().any(|line| line.contains("→ all")), "there is nobody to ask");
}

#[test]
fn departure_23_who_does_not_lead_redirects_the_client() {
    let mut bench = Bench::follower(3, 1, &[]);
    bench.receive(3, append(1, 3, (0, 0), &[], 0));
    assert_eq!(bench.server.leader_hint(), Some(ServerId(3)));
    assert_eq!(bench.request(1, 1, "x"), ["→ c1 ClientResponse c1#1 not leader, try s3"]);
}

#[test]
fn departure_24_an_idle_follower_is_repaired() {
    let mut bench = settled(3);
    bench.request(1, 1, "x");
    // The request is lost; nothing but time passes.
    assert_eq!(bench.elapse()[0], "→ s2 AppendEntriesRequest prev=2@1 commit=1");
    assert_eq!(
        bench.receive(2, conflict(1, 2, 2, None)),
        ["→ s2 AppendEntriesRequest prev=1@1 entry=2@1 commit=1"]
    );
}

#[test]
fn departure_25_a_term_opens_with_a_noop_that_commits_what_was_left() {
    let mut bench = Bench::leader(3, 1, &[1, 1]);
    assert_eq!(bench.log(), [1, 1, 2]);
    bench.receive(2, success(2, 3));
    assert_eq!(bench.commit_index(), 3);
}

#[test]
fn departure_26_the_term_is_tested_at_the_index_a_quorum_holds() {
    let mut bench = Bench::leader(5, 1, &[1, 1]);
    // One follower holds the entry of this term, the quorum only those of term 1.
    bench.receive(2, success(2, 3));
    bench.receive(3, success(2, 2));
    bench.receive(4, success(2, 2));
    assert_eq!(bench.commit_index(), 0);
}
