//! Raft §6, cluster membership changes, and what the dissertation adds to it in chapter 4.

use std::sync::Arc;

use raft_core::{
    Configuration, Entry, Index, Input, MembershipChange, MembershipError, Message, Payload,
    ServerId, StepError, Term, VoteRequest,
};

use crate::bench::{Bench, NOTHING, append, append_all, conflict, entries, success, vote};

const JOINT: &str = "voters s2 s3 s4 old s1 s2 s3";

/// The leader of voters 1, 2, 3 and of the learner 4, who all have its first entry.
fn leader() -> Bench {
    let mut bench =
        Bench::with(3, 0, None, Vec::new(), |config| config.learners = vec![ServerId(4)]);
    bench.elapse();
    bench.win();
    for follower in 2..=4 {
        bench.receive(follower, success(1, 1));
    }
    bench
}

fn change(bench: &mut Bench, changes: &[MembershipChange]) -> Vec<String> {
    bench.step(Input::ChangeMembership(changes.to_vec())).unwrap()
}

/// Server 4 takes the place of server 1, which leads.
fn replace_the_leader(bench: &mut Bench) -> Vec<String> {
    let changes = [MembershipChange::AddVoter(ServerId(4)), MembershipChange::Remove(ServerId(1))];
    change(bench, &changes)
}

fn configuration(index: u64, term: u64, configuration: Configuration) -> Entry {
    let payload = Payload::Configuration(Arc::new(configuration));
    Entry { index: Index(index), term: Term(term), payload }
}

fn voters(ids: &[u64]) -> impl Iterator<Item = ServerId> + '_ {
    ids.iter().copied().map(ServerId)
}

/// Server 1 with a log in which it has left a cluster of three, by a change in two steps.
fn has_left() -> Bench {
    let mut log = entries(1, &[1]);
    log.push(configuration(2, 1, Configuration::joint(voters(&[1, 2, 3]), voters(&[2, 3]), [])));
    log.push(configuration(3, 1, Configuration::new(voters(&[2, 3]), [])));
    Bench::with(3, 1, None, log, |_| {})
}

/// "Once a given server adds the new configuration entry to its log, it uses that configuration for
/// all future decisions (a server always uses the latest configuration in its log, regardless of
/// whether the entry is committed)."
#[test]
fn a_server_uses_the_latest_configuration_in_its_log() {
    let mut bench = Bench::follower(3, 1, &[1]);
    let two = configuration(2, 1, Configuration::new(voters(&[1, 2]), []));
    let lines = bench.receive(2, append_all(1, 2, (1, 1), vec![two], 0));
    assert!(lines.contains(&"configuration 2: voters s1 s2".to_owned()), "{lines:?}");
    bench.elapse();
    bench.receive(3, vote(2, true));
    assert_eq!(bench.role(), "candidate", "server 3 has no vote any more");
    bench.receive(2, vote(2, true));
    assert_eq!(bench.role(), "leader");
}

/// "Log entries are replicated to all servers in both configurations."
#[test]
fn entries_go_to_all_servers_in_both_configurations() {
    let mut bench = leader();
    let lines = replace_the_leader(&mut bench);
    assert_eq!(
        lines,
        [
            "save entry=2@1",
            &format!("configuration 2: {JOINT}"),
            "→ s2 AppendEntriesRequest prev=1@1 entry=2@1 commit=1",
            "→ s3 AppendEntriesRequest prev=1@1 entry=2@1 commit=1",
            "→ s4 AppendEntriesRequest prev=1@1 entry=2@1 commit=1",
        ]
    );
}

/// "Agreement (for elections and entry commitment) requires separate majorities from both the old and
/// new configurations": here for commitment.
#[test]
fn commitment_requires_separate_majorities() {
    let mut bench = leader();
    replace_the_leader(&mut bench);
    bench.receive(4, success(1, 2));
    assert_eq!(bench.commit_index(), 1, "1 and 4, of which only 1 is an old voter");
    bench.receive(3, success(1, 2));
    assert_eq!(bench.commit_index(), 2, "1 and 3 of the old ones, 3 and 4 of the new ones");
}

/// The same, for elections.
#[test]
fn an_election_requires_separate_majorities() {
    let mut log = entries(1, &[1]);
    let joint = Configuration::joint(voters(&[1, 2, 3]), voters(&[1, 4, 5]), []);
    log.push(configuration(2, 1, joint));
    let candidate = || {
        let mut bench = Bench::with(3, 1, None, log.clone(), |_| {});
        bench.elapse();
        bench
    };
    for voters in [[2, 3], [4, 5]] {
        let mut bench = candidate();
        for voter in voters {
            bench.receive(voter, vote(2, true));
        }
        assert_eq!(bench.role(), "candidate", "{voters:?}");
    }
    for voters in [[2, 4], [5, 3]] {
        let mut bench = candidate();
        for voter in voters {
            bench.receive(voter, vote(2, true));
        }
        assert_eq!(bench.role(), "leader", "{voters:?}");
    }
}

/// "The third issue is that the cluster leader may not be part of the new configuration. … the leader
/// … replicates log entries but does not count itself in majorities"; it "steps down … once it has
/// committed the Cnew log entry".
#[test]
fn a_leader_that_leaves_does_not_count_itself() {
    let mut bench = leader();
    replace_the_leader(&mut bench);
    bench.receive(4, success(1, 2));
    let lines = bench.receive(3, success(1, 2));
    assert!(lines.contains(&"configuration 3: voters s2 s3 s4".to_owned()), "{lines:?}");
    bench.receive(3, success(1, 3));
    assert_eq!((bench.role(), bench.commit_index()), ("leader", 2));
    let lines = bench.receive(4, success(1, 3));
    assert_eq!((bench.role(), bench.commit_index()), ("follower", 3));
    assert!(lines.contains(&"→ s4 TimeoutNow last=3@1".to_owned()), "{lines:?}");
}

/// "servers disregard RequestVote RPCs when they believe a current leader exists. Specifically, if a
/// server receives a RequestVote RPC within the minimum election timeout of hearing from a current
/// leader, it does not update its term or grant its vote."
#[test]
fn a_server_that_hears_its_leader_disregards_a_candidate() {
    let mut bench = Bench::with(3, 1, None, entries(1, &[1]), |config| config.check_quorum = true);
    bench.receive(2, append(1, 2, (1, 1), &[], 0));
    let request = |is_transfer| {
        Message::VoteRequest(VoteRequest {
            term: Term(9),
            candidate_id: ServerId(7),
            last_log_index: Index(9),
            last_log_term: Term(1),
            is_transfer,
        })
    };
    bench.now = bench.now + bench.server.config().election_timeout_min / 2;
    assert_eq!(bench.receive(7, request(false)), NOTHING);
    assert_eq!(bench.term(), 1);
    let mut told_by_the_leader = bench.clone();
    told_by_the_leader.receive(7, request(true));
    assert_eq!((told_by_the_leader.term(), told_by_the_leader.voted_for()), (9, Some(7)));
    bench.now = bench.now + bench.server.config().election_timeout_min / 2;
    bench.receive(7, request(false));
    assert_eq!((bench.term(), bench.voted_for()), (9, Some(7)), "the leader is silent now");
}

/// Dissertation §4.1: a server votes for a candidate that is not part of its own configuration, and
/// follows a leader that is not: it may be the one that is out of date.
#[test]
fn a_server_votes_for_and_follows_one_that_it_does_not_know() {
    let mut bench = Bench::follower(3, 1, &[1]);
    let lines = bench.receive(9, append(2, 9, (1, 1), &[2], 0));
    assert_eq!(lines.last().unwrap(), "→ s9 AppendEntriesResponse match=2");
    let mut bench = Bench::follower(3, 1, &[1]);
    let request = VoteRequest {
        term: Term(2),
        candidate_id: ServerId(9),
        last_log_index: Index(1),
        last_log_term: Term(1),
        is_transfer: false,
    };
    let lines = bench.receive(9, Message::VoteRequest(request));
    assert_eq!(lines.last().unwrap(), "→ s9 VoteResponse granted");
}

/// Dissertation §4.2.2: a server that is not part of its own latest configuration still starts
/// elections, as it may be needed until that is committed; it does not count its own vote.
#[test]
fn a_server_that_has_left_calls_elections_until_it_knows_that_it_has() {
    let mut bench = has_left();
    bench.elapse();
    assert_eq!(bench.role(), "candidate");
    bench.receive(2, vote(2, true));
    assert_eq!(bench.role(), "candidate", "its own vote does not count");
    bench.receive(3, vote(2, true));
    assert_eq!(bench.role(), "leader");
    bench.receive(2, success(2, 4));
    bench.receive(3, success(2, 4));
    assert_eq!((bench.role(), bench.commit_index()), ("follower", 4), "it has done its part");
    bench.elapse();
    assert_eq!(bench.role(), "follower");

    let mut bench = has_left();
    bench.receive(2, append(1, 2, (3, 1), &[], 3));
    bench.elapse();
    assert_eq!(bench.role(), "follower", "its leader said that the change is committed");
}

/// One change at a time: a change after the one by which a server left proves that one committed.
#[test]
fn a_server_that_left_before_the_last_change_calls_no_elections() {
    let mut log = entries(1, &[1]);
    log.push(configuration(2, 1, Configuration::joint(voters(&[1, 2, 3]), voters(&[2, 3]), [])));
    log.push(configuration(3, 1, Configuration::new(voters(&[2, 3]), [])));
    log.push(configuration(4, 1, Configuration::new(voters(&[2, 3]), [ServerId(1)])));
    let mut bench = Bench::with(3, 1, None, log, |_| {});
    assert_eq!(bench.elapse(), NOTHING);
    assert_eq!(bench.role(), "follower");
}

/// Who has left is sent to for an election timeout more; then its answers are those of a stranger.
#[test]
fn who_has_left_hears_of_it_and_is_forgotten() {
    let mut bench = leader();
    change(&mut bench, &[MembershipChange::Remove(ServerId(4))]);
    bench.receive(2, success(1, 2));
    assert_eq!(bench.commit_index(), 2);
    let lines = bench.elapse();
    let farewell = "→ s4 AppendEntriesRequest prev=2@1 commit=2";
    assert!(lines.contains(&farewell.to_owned()), "{lines:?}");
    assert_eq!(bench.receive(4, success(1, 2)), NOTHING);
    let patience = bench.server.config().election_timeout_max;
    let lines = bench.elapse_after(patience);
    assert!(!lines.iter().any(|line| line.starts_with("→ s4")), "{lines:?}");
    let error = bench.refuse(4, success(1, 2));
    assert!(matches!(error, StepError::UnknownSender { .. }), "{error}");
}

/// Whoever comes back is a new server: nothing of what was known of it holds.
#[test]
fn who_comes_back_is_a_new_server() {
    let mut bench = leader();
    change(&mut bench, &[MembershipChange::Remove(ServerId(4))]);
    bench.receive(2, success(1, 2));
    assert_eq!(bench.progress(4).match_index, Index(1));
    change(&mut bench, &[MembershipChange::AddLearner(ServerId(4))]);
    assert_eq!(bench.progress(4).match_index, Index::ZERO);
}

/// Dissertation §4.2.1: a new server gets a vote when it has caught up. What it lacks, and whether it
/// was heard of, decide; a change about another server waits for nobody.
#[test]
fn a_learner_is_promoted_once_it_has_caught_up() {
    let promote = || Input::ChangeMembership(vec![MembershipChange::AddVoter(ServerId(4))]);
    let lag = |error| match error {
        StepError::Membership(MembershipError::NotCaughtUp { server_id, lag }) => {
            (server_id.0, lag)
        }
        other => panic!("{other}"),
    };
    let mut fresh = leader();
    change(&mut fresh, &[MembershipChange::AddLearner(ServerId(5))]);
    fresh.receive(2, success(1, 2));
    let input = Input::ChangeMembership(vec![MembershipChange::AddVoter(ServerId(5))]);
    assert_eq!(lag(fresh.refuse_input(input)), (5, 2), "nothing was heard of it");
    fresh.receive(5, conflict(1, 1, 1, None));
    let input = Input::ChangeMembership(vec![MembershipChange::AddVoter(ServerId(5))]);
    assert_eq!(lag(fresh.refuse_input(input)), (5, 2), "it has nothing");

    let mut silent = leader();
    silent.now = silent.now + silent.server.config().election_timeout_max;
    assert_eq!(lag(silent.refuse_input(promote())), (4, 0));

    let mut behind = leader();
    for number in 1..=1025 {
        behind.request(7, number, "x");
    }
    assert_eq!(lag(behind.refuse_input(promote())), (4, 1025));
    behind.receive(4, success(1, 2));
    assert_eq!(behind.step(promote()).unwrap()[0], "save entry=1027@1");
}

/// A leader that inherits a committed `C_old,new` puts the last step of the change behind its first
/// own entry, so before that it tells nobody where its log ends.
#[test]
fn a_target_is_told_after_the_last_step_of_an_inherited_change() {
    let mut bench = Bench::follower(3, 1, &[1]);
    let joint = Configuration::joint(voters(&[1, 2, 3]), voters(&[1, 2, 4, 5]), []);
    bench.receive(2, append_all(1, 2, (1, 1), vec![configuration(2, 1, joint)], 2));
    bench.elapse();
    for voter in [2, 3, 4] {
        bench.receive(voter, vote(2, true));
    }
    assert_eq!((bench.role(), bench.commit_index()), ("leader", 2));
    bench.step(Input::TransferLeadership { to: Some(ServerId(2)) }).unwrap();
    assert_eq!(bench.receive(2, success(2, 3)), NOTHING, "it has everything so far");
    let lines = bench.receive(4, success(2, 3));
    assert!(lines.contains(&"configuration 4: voters s1 s2 s4 s5".to_owned()), "{lines:?}");
    bench.receive(4, success(2, 4));
    let lines = bench.receive(2, success(2, 4));
    assert!(lines.contains(&"→ s2 TimeoutNow last=4@2".to_owned()), "{lines:?}");
}

/// `C_new` follows when `C_old,new` is committed, and not when an entry before it is.
#[test]
fn the_joint_configuration_is_left_when_it_is_committed_itself() {
    let mut bench = leader();
    bench.request(1, 1, "x");
    replace_the_leader(&mut bench);
    bench.receive(3, success(1, 2));
    bench.receive(4, success(1, 2));
    assert_eq!(bench.commit_index(), 2);
    assert!(bench.server.configuration().is_joint());
    assert_eq!(bench.server.log().last_index(), Index(3));
}
