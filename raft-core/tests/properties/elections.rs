//! Elections against the clock: whatever was cut, lost or restarted, a leader is there again soon after
//! enough is well again; and what is well is not disturbed.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use raft_core::{Index, Input, MembershipChange, ServerId, Term};

use crate::cluster::{Cluster, request};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Cut(u64, u64),
    Isolate(u64),
    Heal,
    Crash(u64),
    Restart(u64),
    Ask(u64),
    Transfer(u64),
    Demote(u64),
    Run(u64),
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let id = || 0..5_u64;
    prop_oneof![
        3 => (id(), id()).prop_map(|(from, to)| Trouble::Cut(from, to)),
        1 => id().prop_map(Trouble::Isolate),
        1 => Just(Trouble::Heal),
        1 => id().prop_map(Trouble::Crash),
        2 => id().prop_map(Trouble::Restart),
        3 => id().prop_map(Trouble::Ask),
        1 => id().prop_map(Trouble::Transfer),
        1 => id().prop_map(Trouble::Demote),
        6 => (1..1500_u64).prop_map(Trouble::Run),
    ]
}

/// A cluster in which the servers of the set ask before they call an election.
fn cluster(servers: u64, pre_voters: &BTreeSet<u64>, check_quorum: bool, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(servers, |config| {
        config.seed = seed;
        config.pre_vote = pre_voters.contains(&config.server_id.0);
        config.check_quorum = check_quorum;
    });
    for id in cluster.ids() {
        cluster.join(id).unwrap();
    }
    cluster
}

fn all(servers: u64) -> BTreeSet<u64> {
    (1..=servers).collect()
}

fn act(cluster: &mut Cluster, servers: u64, trouble: Trouble) {
    let some = |choice: u64| ServerId(choice % servers + 1);
    match trouble {
        Trouble::Cut(from, to) => cluster.cut(some(from), some(to)),
        Trouble::Isolate(id) => cluster.partition(&[some(id)]),
        Trouble::Heal => cluster.heal(),
        Trouble::Crash(id) => cluster.crash(some(id)),
        Trouble::Restart(id) => restart(cluster, some(id)),
        Trouble::Ask(id) if cluster.is_up(some(id)) => {
            let _ = cluster.step(some(id), Input::Propose(b"x"[..].into()));
        }
        Trouble::Transfer(id) if cluster.is_up(some(id)) => {
            let to = Some(some(id));
            if let Some(leader) = cluster.leader() {
                let _ = cluster.step(leader, Input::TransferLeadership { to });
            }
        }
        Trouble::Demote(id) => {
            if let Some(leader) = cluster.leader() {
                let (demote, promote) =
                    (MembershipChange::Demote(some(id)), MembershipChange::AddVoter(some(id)));
                let is_voter = cluster.server(leader).configuration().is_voter(some(id));
                let change = if is_voter { demote } else { promote };
                let _ = cluster.step(leader, Input::ChangeMembership(vec![change]));
            }
        }
        Trouble::Ask(_) | Trouble::Transfer(_) => {}
        Trouble::Run(millis) => cluster.run(Duration::from_millis(millis)),
    }
    cluster.take_transcript();
}

fn restart(cluster: &mut Cluster, id: ServerId) {
    if !cluster.is_up(id) {
        cluster.restart(id);
        cluster.join(id).unwrap();
    }
}

fn terms(cluster: &Cluster) -> Vec<Term> {
    cluster.ids().into_iter().map(|id| cluster.server(id).current_term()).collect()
}

/// The one leader that all these servers follow.
fn followed(cluster: &Cluster, servers: impl IntoIterator<Item = ServerId>) -> Option<ServerId> {
    let hints: BTreeSet<_> =
        servers.into_iter().map(|id| cluster.server(id).leader_hint()).collect();
    let leader = hints.first().copied().flatten().filter(|_| hints.len() == 1)?;
    cluster.server(leader).role().is_leader().then_some(leader)
}

/// A request to the leader commits on all of these servers.
fn works(cluster: &mut Cluster, servers: &[ServerId]) -> bool {
    let Some(leader) = followed(cluster, servers.iter().copied()) else { return false };
    cluster
        .request(
            leader,
            request(9, cluster.now.since(raft_core::Timestamp::ZERO).as_millis() as u64 + 1, "x"),
        )
        .unwrap();
    let index = cluster.server(leader).log().last_index();
    cluster.run(SECOND);
    servers.iter().all(|&id| cluster.server(id).commit_index() >= index)
}

proptest! {
    #![proptest_config(crate::cases(96))]

    /// Ten times the longest election timeout is enough for a leader that all follow, whatever happened
    /// before, and whoever of them uses pre-vote.
    #[test]
    fn a_cluster_that_is_well_again_has_a_leader_soon(
        servers in 1..6_u64,
        pre_voters in prop::collection::btree_set(1..6_u64, 0..6),
        check_quorum in any::<bool>(),
        seed in any::<u64>(),
        troubles in prop::collection::vec(trouble(), 1..60),
    ) {
        let mut cluster = cluster(servers, &pre_voters, check_quorum, seed);
        for trouble in troubles {
            act(&mut cluster, servers, trouble);
        }
        cluster.heal();
        for id in cluster.ids() {
            restart(&mut cluster, id);
        }
        cluster.run(SECOND * 6);
        let ids = cluster.ids();
        prop_assert!(works(&mut cluster, &ids), "{:#?}", cluster.take_transcript());
    }

    /// A server whose links are cut in any way, in one direction or both, does not depose a leader that
    /// hears the others: neither meanwhile, nor when the links are well again, if all use pre-vote.
    #[test]
    fn a_server_with_broken_links_disturbs_nobody(
        servers in 3..6_u64,
        seed in any::<u64>(),
        outgoing in prop::collection::btree_set(1..6_u64, 0..6),
        incoming in prop::collection::btree_set(1..6_u64, 0..6),
        millis in 1..10_000_u64,
    ) {
        let mut cluster = cluster(servers, &all(servers), true, seed);
        cluster.run(SECOND * 6);
        let leader = cluster.leader().expect("all is well");
        let before = terms(&cluster);
        let broken = ServerId(leader.0 % servers + 1);
        for id in cluster.ids() {
            if outgoing.contains(&id.0) {
                cluster.cut(broken, id);
            }
            if incoming.contains(&id.0) {
                cluster.cut(id, broken);
            }
        }
        cluster.run(Duration::from_millis(millis));
        prop_assert_eq!(cluster.leader(), Some(leader));
        cluster.heal();
        cluster.run(SECOND * 3);
        prop_assert_eq!(terms(&cluster), before);
        let ids = cluster.ids();
        prop_assert!(works(&mut cluster, &ids));
    }

    /// If all servers are connected to one of them, whatever other links are cut, there is a leader with
    /// a majority soon, and it stays.
    #[test]
    fn servers_connected_by_one_of_them_have_a_leader(
        servers in 3..6_u64,
        seed in any::<u64>(),
        links in prop::collection::btree_set((1..6_u64, 1..6_u64), 0..20),
    ) {
        let mut cluster = cluster(servers, &all(servers), true, seed);
        cluster.run(SECOND * 6);
        let bridge = ServerId(seed % servers + 1);
        let is_linked = |one: ServerId, two: ServerId| {
            one == bridge || two == bridge || links.contains(&(one.0.min(two.0), one.0.max(two.0)))
        };
        for one in cluster.ids() {
            for two in cluster.ids() {
                if !is_linked(one, two) {
                    cluster.cut(one, two);
                }
            }
        }
        cluster.run(SECOND * 12);
        let leader = cluster.leader().expect("the bridge can always be elected");
        let near: Vec<_> =
            cluster.ids().into_iter().filter(|&id| id == leader || is_linked(leader, id)).collect();
        prop_assert!(2 * near.len() > servers as usize, "{} hears only {:?}", leader, near);
        prop_assert!(works(&mut cluster, &near));
        let before = terms(&cluster);
        cluster.run(SECOND * 12);
        prop_assert_eq!(terms(&cluster), before);
    }

    /// Of those who run, the most preferred leads after a while, and goes on to lead.
    #[test]
    fn the_preferred_server_leads_as_long_as_it_runs(
        servers in 2..6_u64,
        priorities in Just((1..6_u32).collect::<Vec<_>>()).prop_shuffle(),
        modes in any::<(bool, bool)>(),
        seed in any::<u64>(),
        crashed in prop::collection::btree_set(1..6_u64, 0..3),
        millis in 1..5_000_u64,
    ) {
        let named = (1..).map(ServerId).zip(priorities.iter().copied());
        let mut cluster = Cluster::new(servers, |config| {
            config.seed = seed;
            (config.pre_vote, config.check_quorum) = modes;
            config.priorities = named.clone().collect();
        });
        for id in cluster.ids() {
            cluster.join(id).unwrap();
        }
        cluster.run(Duration::from_millis(millis));
        let crashed = crashed.into_iter().take((servers as usize - 1) / 2).map(ServerId);
        let crashed: Vec<_> = crashed.filter(|id| id.0 <= servers).collect();
        crashed.iter().for_each(|&id| cluster.crash(id));
        let best = |cluster: &Cluster| {
            let up = cluster.ids().into_iter().filter(|&id| cluster.is_up(id));
            up.max_by_key(|id| priorities[id.0 as usize - 1])
        };
        cluster.run(SECOND * 20);
        prop_assert_eq!(cluster.leader(), best(&cluster));
        crashed.iter().for_each(|&id| restart(&mut cluster, id));
        cluster.run(SECOND * 20);
        prop_assert_eq!(cluster.leader(), best(&cluster));
        let before = terms(&cluster);
        cluster.run(SECOND * 20);
        prop_assert_eq!(terms(&cluster), before, "nobody gives it away");
    }

    /// A leader that hears no majority, though it is heard by all, is not the leader for long.
    #[test]
    fn a_leader_that_hears_nobody_is_replaced(servers in 3..6_u64, seed in any::<u64>()) {
        let mut cluster = cluster(servers, &all(servers), true, seed);
        cluster.run(SECOND * 6);
        let leader = cluster.leader().expect("all is well");
        let others: Vec<_> = cluster.ids().into_iter().filter(|&id| id != leader).collect();
        others.iter().for_each(|&id| cluster.cut(id, leader));
        cluster.run(SECOND * 6);
        prop_assert!(cluster.leader() != Some(leader));
        prop_assert!(works(&mut cluster, &others));
    }

    /// Of two servers that are left, the one with the longer log is elected, though it is in the older
    /// term: they never wait for each other.
    #[test]
    fn two_that_are_left_elect_one_of_them(
        seed in any::<u64>(),
        pre_voters in prop::collection::btree_set(1..4_u64, 0..4),
        check_quorum in any::<bool>(),
        logs in [1..4_u64, 1..4_u64],
        ahead in [0..4_u64, 0..4_u64],
    ) {
        let mut cluster = cluster(3, &pre_voters, check_quorum, seed);
        cluster.crash(ServerId(3));
        for (id, (terms, ahead)) in (1..).map(ServerId).zip(logs.into_iter().zip(ahead)) {
            let host = cluster.host_mut(id);
            // Every server's log is a beginning of the same one.
            host.disk.entries = crate::cluster::entries(&(1..=terms).collect::<Vec<_>>());
            host.disk.hard_state.current_term = Term(terms + ahead);
            cluster.restart(id);
            cluster.join(id).unwrap();
        }
        cluster.run(SECOND * 6);
        prop_assert!(works(&mut cluster, &[ServerId(1), ServerId(2)]));
        prop_assert!(cluster.server(ServerId(1)).commit_index() > Index(logs[0].max(logs[1])));
    }
}
