//! A lost majority, and what a recovery plan makes of the rest (module `recovery`; dissertation §3.8).
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

#[path = "support/cluster.rs"]
mod cluster;

use cluster::{Cluster, request, word};
use raft_core::recovery::{RecoveryError, RecoveryPlan};
use raft_core::{ClusterId, Config, Input, MembershipChange, Server, ServerId, Start};

const fn s(id: u64) -> ServerId {
    ServerId(id)
}

/// Five servers of which server 1 leads; `x` is committed and applied everywhere.
fn five(change: impl Fn(&mut Config)) -> Cluster {
    let mut cluster = Cluster::new(5, change);
    for id in cluster.ids() {
        cluster.join(id).unwrap();
    }
    cluster.elect(s(1));
    cluster.request(s(1), request(1, 1, "x")).unwrap();
    cluster.stabilize();
    cluster.elapse(s(1));
    cluster.stabilize();
    cluster
}

/// Server 1 gives `y` to server 2 only; it is not committed. Then servers 3, 4 and 5 are lost.
fn lose_three(cluster: &mut Cluster) {
    for id in [3, 4, 5] {
        cluster.cut(s(1), s(id));
    }
    cluster.request(s(1), request(2, 1, "y")).unwrap();
    cluster.stabilize();
    for id in cluster.ids() {
        cluster.crash(id);
    }
    cluster.heal();
}

fn plan(cluster: &Cluster, survivors: &[u64]) -> Result<RecoveryPlan, RecoveryError> {
    let stored = |&id: &u64| {
        let host = cluster.host(s(id));
        (host.config.clone(), host.disk.clone())
    };
    RecoveryPlan::new(survivors.iter().map(stored))
}

fn carry_out(cluster: &mut Cluster, plan: &RecoveryPlan, id: u64) {
    let save = plan.save(s(id)).unwrap().clone();
    cluster.host_mut(s(id)).disk.replay(save).unwrap();
}

fn start(cluster: &mut Cluster, ids: &[u64]) {
    for &id in ids {
        cluster.restart(s(id));
        cluster.join(s(id)).unwrap();
    }
}

fn applied(cluster: &Cluster, id: u64) -> Vec<String> {
    cluster.host(s(id)).applied.iter().map(word).collect()
}

/// The survivors 1 and 2, recovered, with server 1 elected.
fn recovered(change: impl Fn(&mut Config)) -> Cluster {
    let mut cluster = five(change);
    lose_three(&mut cluster);
    let plan = plan(&cluster, &[1, 2]).unwrap();
    carry_out(&mut cluster, &plan, 1);
    carry_out(&mut cluster, &plan, 2);
    start(&mut cluster, &[1, 2]);
    cluster.elect(s(1));
    cluster
}

#[test]
fn two_of_five_go_on_when_three_are_lost() {
    let mut cluster = recovered(|_| {});
    cluster.request(s(1), request(1, 3, "z")).unwrap();
    cluster.stabilize();
    cluster.elapse(s(1));
    cluster.stabilize();
    for id in [1, 2] {
        assert_eq!(applied(&cluster, id), ["x", "y", "z"]);
        assert_eq!(cluster.server(s(id)).configuration().to_string(), "voters s1 s2");
    }
}

#[test]
fn the_dry_run_says_what_is_kept_decided_and_lost() {
    let mut cluster = five(|_| {});
    lose_three(&mut cluster);
    let before = cluster.host(s(1)).disk.clone();
    let plan = plan(&cluster, &[2, 1]).unwrap();
    assert_eq!(cluster.host(s(1)).disk, before, "nothing is written");
    let text = "\
go on from s1, whose log ends with 3@1; lost: s3 s4 s5
s1 has term=1 voted_for=s1 log 0@0..3@1, no snapshot
s2 has term=1 voted_for=s1 log 0@0..3@1, no snapshot
old configuration: voters s1 s2 s3 s4 s5
new configuration: voters s1 s2, as entry 4@16777217
kept for certain: everything up to 0@0
becomes committed, though perhaps it never was: 3 entries
  1@1 noop
  2@1 c1#1 x
  3@1 c2#1 y
cannot be known: whether the lost servers held anything else after 0@0; it is gone, even if clients were told that it is done
warning: s3 s4 s5 can still elect a leader if they come back: start the survivors and their clients under a new cluster id
";
    assert_eq!(plan.to_string(), text);
}

#[test]
fn a_log_that_ends_elsewhere_is_repaired_by_its_leader() {
    let mut cluster = five(|_| {});
    // Server 1 goes on alone; the others elect server 3, and commit something else in those places.
    cluster.partition(&[s(1)]);
    for (number, command) in [(2, "lost"), (3, "too"), (4, "many")] {
        cluster.request(s(1), request(1, number, command)).unwrap();
    }
    cluster.elect(s(3));
    cluster.request(s(3), request(2, 1, "y")).unwrap();
    cluster.stabilize();
    for id in cluster.ids() {
        cluster.crash(id);
    }
    cluster.heal();
    let plan = plan(&cluster, &[1, 2]).unwrap();
    assert_eq!(plan.chosen(), s(2), "its log ends in the later term, though earlier");
    let words: Vec<_> = plan.survivors()[&s(1)].discarded.iter().map(word).collect();
    assert_eq!(words, ["lost", "too", "many"]);
    let text = plan.to_string();
    assert!(
        text.contains("thrown away on s1, though perhaps committed: 3 entries\n  3@1 c1#2 lost")
    );
    // The order does not matter, and server 1 need not even hear of the plan.
    carry_out(&mut cluster, &plan, 2);
    start(&mut cluster, &[1, 2]);
    cluster.elect(s(2));
    for id in [1, 2] {
        assert_eq!(applied(&cluster, id), ["x", "y"]);
    }
}

#[test]
fn a_plan_carried_out_in_part_is_made_again_and_one_carried_out_is_not() {
    let mut cluster = five(|_| {});
    lose_three(&mut cluster);
    let first = plan(&cluster, &[1, 2]).unwrap();
    carry_out(&mut cluster, &first, 2);
    let second = plan(&cluster, &[1, 2]).unwrap();
    assert_eq!(second.chosen(), first.chosen());
    assert!(second.configuration_at().term > first.configuration_at().term);
    carry_out(&mut cluster, &second, 1);
    let error = plan(&cluster, &[1, 2]).unwrap_err();
    assert_eq!(error, RecoveryError::NotNeeded { server_id: s(1) });
    start(&mut cluster, &[1, 2]);
    cluster.elect(s(1));
}

/// Without pre-vote and check-quorum, so that nothing but the logs stands against it.
#[test]
fn a_lost_server_that_comes_back_cannot_win() {
    let mut cluster = recovered(|_| {});
    start(&mut cluster, &[3, 4]);
    let led = cluster.elected.len();
    for _ in 0..20 {
        for id in [3, 4] {
            cluster.elapse(s(id));
            cluster.stabilize();
            assert!(!cluster.server(s(id)).role().is_leader());
        }
    }
    assert_eq!(cluster.elected.len(), led);
    cluster.elect(s(2));
    assert_eq!(applied(&cluster, 2), ["x", "y"]);
}

#[test]
fn a_lost_server_that_comes_back_disturbs_no_one() {
    let mut cluster = recovered(|config| (config.pre_vote, config.check_quorum) = (true, true));
    let term = cluster.server(s(1)).current_term();
    start(&mut cluster, &[3]);
    for _ in 0..20 {
        let deadline = cluster.server(s(3)).next_timeout().unwrap();
        // The leader leads on meanwhile.
        while cluster.server(s(1)).next_timeout().unwrap() < deadline {
            cluster.elapse(s(1));
            cluster.stabilize();
        }
        cluster.elapse(s(3));
        cluster.stabilize();
    }
    assert!(cluster.server(s(1)).role().is_leader());
    assert_eq!(cluster.server(s(1)).current_term(), term);
}

/// A majority of the old cluster can always elect a leader of its own; under a new cluster id nobody
/// hears it.
#[test]
fn under_a_new_cluster_id_the_survivors_do_not_hear_the_lost_majority() {
    let mut cluster = five(|_| {});
    lose_three(&mut cluster);
    let plan = plan(&cluster, &[1, 2]).unwrap();
    assert!(plan.lost_could_decide());
    assert_eq!(plan.lost().into_iter().collect::<Vec<_>>(), [s(3), s(4), s(5)]);
    for id in [1, 2] {
        carry_out(&mut cluster, &plan, id);
        cluster.host_mut(s(id)).config.cluster_id = ClusterId(2);
    }
    start(&mut cluster, &[1, 2, 3, 4, 5]);
    cluster.elect(s(1));
    cluster.elapse(s(3));
    cluster.stabilize();
    assert!(cluster.server(s(3)).role().is_leader(), "the danger is real");
    cluster.request(s(1), request(1, 3, "z")).unwrap();
    cluster.stabilize();
    assert_eq!(applied(&cluster, 1), ["x", "y", "z"]);
    assert!(cluster.server(s(1)).refusals()["foreign-cluster"] > 0);
    assert!(cluster.server(s(3)).refusals()["foreign-cluster"] > 0);
}

#[test]
fn a_survivor_with_a_snapshot_keeps_it_and_gives_it_to_the_other() {
    let mut cluster = five(|config| config.snapshot_keep_entries = 0);
    cluster.partition(&[s(2)]);
    for number in 2..6 {
        cluster.request(s(1), request(1, number, &format!("x{number}"))).unwrap();
        cluster.stabilize();
    }
    cluster.step(s(1), Input::TakeSnapshot).unwrap();
    cluster.stabilize();
    let log_start = cluster.server(s(1)).log().start();
    assert_eq!(log_start, cluster.server(s(1)).log().last());
    lose_three(&mut cluster);
    let plan = plan(&cluster, &[1, 2]).unwrap();
    assert_eq!((plan.chosen(), plan.committed()), (s(1), log_start));
    assert_eq!(plan.survivors()[&s(1)].sessions, 1);
    assert_eq!(plan.undecided().len(), 1, "what follows the snapshot");
    for id in [1, 2] {
        carry_out(&mut cluster, &plan, id);
    }
    start(&mut cluster, &[1, 2]);
    cluster.elect(s(1));
    cluster.elapse(s(1));
    cluster.stabilize();
    assert_eq!(applied(&cluster, 2), ["x", "x2", "x3", "x4", "x5", "y"]);
    assert_eq!(cluster.server(s(2)).configuration().to_string(), "voters s1 s2");
    // The session came with the snapshot: a repeated request runs no second time.
    cluster.request(s(1), request(1, 2, "x2")).unwrap();
    cluster.stabilize();
    assert_eq!(applied(&cluster, 1).len(), 6);
}

/// The leader made C_old,new, and then a majority of each half is lost.
#[test]
fn a_survivor_in_a_joint_configuration_leaves_it() {
    let mut cluster = Cluster::new(5, |config| {
        (config.voters, config.learners) = ([1, 2, 3].map(s).into(), [4, 5].map(s).into());
    });
    for id in cluster.ids() {
        cluster.join(id).unwrap();
    }
    cluster.elect(s(1));
    for id in [3, 4, 5] {
        cluster.cut(s(id), s(1));
    }
    let changes = [MembershipChange::AddVoter(s(4)), MembershipChange::AddVoter(s(5))].to_vec();
    cluster.step(s(1), Input::ChangeMembership(changes)).unwrap();
    cluster.stabilize();
    assert!(cluster.server(s(1)).configuration().is_joint());
    for id in cluster.ids() {
        cluster.crash(id);
    }
    cluster.heal();
    let error = plan(&cluster, &[1, 2, 4]).unwrap_err();
    assert!(matches!(error, RecoveryError::NotNeeded { .. }), "majorities of both halves: {error}");
    // Server 2 was a voter before, server 4 becomes one.
    let plan = plan(&cluster, &[1, 4]).unwrap();
    assert_eq!(plan.old_configuration().to_string(), "voters s1 s2 s3 s4 s5 old s1 s2 s3");
    assert!(plan.lost_could_decide(), "s2, s3 and s5 are majorities of both halves");
    for id in [1, 4] {
        carry_out(&mut cluster, &plan, id);
    }
    start(&mut cluster, &[1, 4]);
    cluster.elect(plan.chosen());
    cluster.request(plan.chosen(), request(1, 1, "x")).unwrap();
    cluster.stabilize();
    let configuration = cluster.server(plan.chosen()).configuration();
    assert_eq!(configuration.to_string(), "voters s1 s4");
    assert_eq!(applied(&cluster, plan.chosen().0), ["x"]);
}

#[test]
fn a_single_survivor_goes_on_alone_and_the_cluster_grows_again() {
    let mut cluster = five(|_| {});
    lose_three(&mut cluster);
    let plan = plan(&cluster, &[2]).unwrap();
    carry_out(&mut cluster, &plan, 2);
    start(&mut cluster, &[2]);
    cluster.elect(s(2));
    assert_eq!(applied(&cluster, 2), ["x", "y"]);
    // A server with nothing joins under an id that nobody had, and its term is 0.
    let joins = Config { start: Start::Join, ..Config::new(s(6), [2].map(s)) };
    cluster.add(joins);
    cluster.join(s(6)).unwrap();
    cluster.step(s(2), Input::ChangeMembership(vec![MembershipChange::AddLearner(s(6))])).unwrap();
    cluster.stabilize();
    cluster.elapse(s(2));
    cluster.stabilize();
    assert_eq!(applied(&cluster, 6), ["x", "y"]);
}

#[test]
fn a_server_that_has_run_before_needs_its_storage() {
    let ids = [1, 2, 3].map(s);
    let cluster = five(|_| {});
    let disk = cluster.host(s(1)).disk.clone();
    let start_with = |start, id: u64, disk| {
        let config = Config { start, ..Config::new(s(id), ids) };
        Server::new(config, disk).map(|_| ()).map_err(|error| error.to_string())
    };
    let empty = raft_core::Recovered::default;
    let lost = "s1 has run before, but its storage is empty: let it join under a new id";
    assert_eq!(start_with(Start::Rejoin, 1, empty()).unwrap_err(), lost);
    assert_eq!(start_with(Start::Rejoin, 1, disk.clone()), Ok(()));
    let ran = "s1 cannot found a cluster: its storage is not empty";
    assert_eq!(start_with(Start::Found, 1, disk.clone()).unwrap_err(), ran);
    assert_eq!(start_with(Start::Found, 1, empty()), Ok(()));
    let unnamed = "s4 cannot found a cluster that it is not named in";
    assert_eq!(start_with(Start::Found, 4, empty()).unwrap_err(), unnamed);
    let named = "s1 cannot join as one of the servers that the cluster began with";
    assert_eq!(start_with(Start::Join, 1, empty()).unwrap_err(), named);
    assert_eq!(start_with(Start::Join, 1, disk.clone()), Ok(()), "it goes on");
    assert_eq!(start_with(Start::Join, 4, empty()), Ok(()));
    for (id, disk) in [(1, empty()), (1, disk), (4, empty())] {
        assert_eq!(start_with(Start::Any, id, disk), Ok(()));
    }
    let learner = Config { learners: vec![s(4)], start: Start::Join, ..Config::new(s(4), ids) };
    assert!(Server::new(learner.clone(), empty()).is_err(), "a learner is named too");
    assert!(Server::new(Config { start: Start::Found, ..learner }, empty()).is_ok());
    assert_eq!(Config::new(s(1), ids).start, Start::Any);
}

/// Only the log can make it one of the cluster.
#[test]
fn a_server_that_joins_calls_no_election_until_the_log_names_it() {
    let mut cluster = five(|_| {});
    cluster.add(Config { start: Start::Join, ..Config::new(s(6), (1..=5).map(s)) });
    cluster.join(s(6)).unwrap();
    for _ in 0..5 {
        cluster.elapse(s(6));
        assert!(cluster.network.is_empty(), "it says nothing");
    }
    let term = cluster.server(s(6)).current_term();
    assert_eq!(term.0, 0);
    let change = |change| Input::ChangeMembership(vec![change]);
    cluster.step(s(1), change(MembershipChange::AddLearner(s(6)))).unwrap();
    cluster.stabilize();
    cluster.elapse(s(6));
    assert!(cluster.network.is_empty(), "a learner does not either");
    cluster.elapse(s(1));
    cluster.stabilize();
    cluster.step(s(1), change(MembershipChange::AddVoter(s(6)))).unwrap();
    cluster.stabilize();
    cluster.elect(s(6));
}
