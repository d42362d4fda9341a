//! A small cluster that takes snapshots all the time, under the faults of `simulation.rs`. Its logs are
//! forgotten at their start, so the observer keeps the whole history, as the servers told of commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use raft_core::{
    ClientId, ClientResult, Config, Configuration, Entry, Index, LogId, Message, Payload, Role,
    SequenceNumber, ServerId, Snapshot,
};

use crate::cluster::{Cluster, entries_of};
use crate::simulation::{Event, Observe, configurations, event, run};

/// Knows everything that was ever committed.
#[derive(Default)]
struct Historian {
    /// Who leads each term.
    leaders: BTreeMap<u64, ServerId>,
    /// Every entry that was ever committed, and the term of the server that first said so.
    committed: Vec<(Entry, u64)>,
    /// The commands among them as every state machine has to run them.
    history: Vec<LogId>,
    /// The last number run of each client.
    last_run: BTreeMap<ClientId, SequenceNumber>,
    /// The answer that each request got.
    answers: BTreeMap<(ClientId, SequenceNumber), (LogId, Bytes)>,
    /// Snapshots of others that a running server went on from.
    installs: usize,
    /// Logs that were seen to begin later than before.
    compactions: usize,
    starts: BTreeMap<ServerId, Index>,
    seen: (usize, usize, usize, usize),
}

impl Observe for Historian {
    fn is_answered(&self, client: ClientId, number: SequenceNumber) -> bool {
        self.answers.contains_key(&(client, number))
    }

    fn look(&mut self, cluster: &Cluster) -> Result<(), TestCaseError> {
        for &(term, leader) in &cluster.elected[self.seen.0..] {
            let first = *self.leaders.entry(term).or_insert(leader);
            prop_assert_eq!(first, leader, "Election Safety: two leaders of term {}", term);
        }
        self.seen.0 = cluster.elected.len();
        for (id, entries) in &cluster.commits[self.seen.1..] {
            let term = if cluster.is_up(*id) { cluster.server(*id).current_term().0 } else { 0 };
            for entry in entries {
                self.learn(*id, entry, term)?;
            }
        }
        self.seen.1 = cluster.commits.len();
        self.installs += cluster.restores.len() - self.seen.2;
        for (id, snapshot) in &cluster.restores[self.seen.2..] {
            self.check_snapshot(*id, snapshot)?;
        }
        self.seen.2 = cluster.restores.len();
        for id in cluster.ids() {
            if cluster.is_up(id) {
                self.look_at(cluster, id)?;
            }
            if let Some(snapshot) = &cluster.host(id).disk.snapshot {
                self.check_snapshot(id, snapshot)?;
            }
        }
        self.look_at_logs(cluster)?;
        self.look_at_disks(cluster)?;
        self.look_at_answers(cluster)
    }
}

impl Historian {
    /// A server said that this entry is committed.
    fn learn(&mut self, id: ServerId, entry: &Entry, term: u64) -> Result<(), TestCaseError> {
        let place = entry.index.0 as usize - 1;
        if let Some((known, _)) = self.committed.get(place) {
            prop_assert_eq!(known, entry, "State Machine Safety: {}", id);
            return Ok(());
        }
        prop_assert_eq!(place, self.committed.len(), "{} learns of {} first", id, entry);
        if let Payload::Command(request) = &entry.payload {
            let last = self.last_run.entry(request.client_id).or_default();
            if request.sequence_number > *last {
                *last = request.sequence_number;
                self.history.push(entry.log_id());
            }
        }
        self.committed.push((entry.clone(), term));
        Ok(())
    }

    /// What every state machine has run after the entry at `index`.
    fn run_until(&self, index: Index) -> &[LogId] {
        let count = self.history.partition_point(|log_id| log_id.index <= index);
        &self.history[..count]
    }

    fn check_snapshot(&self, id: ServerId, snapshot: &Snapshot) -> Result<(), TestCaseError> {
        let last = snapshot.last();
        let known = self.committed.get(last.index.0 as usize - 1).map(|(entry, _)| entry.log_id());
        prop_assert_eq!(known, Some(last), "the snapshot of {} stands for something else", id);
        let state = entries_of(snapshot.data().clone());
        let state: Vec<_> = state.iter().map(Entry::log_id).collect();
        prop_assert_eq!(&state[..], self.run_until(last.index), "{} of {}", snapshot.id(), id);
        Ok(())
    }

    fn look_at(&mut self, cluster: &Cluster, id: ServerId) -> Result<(), TestCaseError> {
        let (server, host) = (cluster.server(id), cluster.host(id));
        let (log, term) = (server.log(), server.current_term().0);
        if let Some(snapshot) = server.snapshot() {
            self.check_snapshot(id, snapshot)?;
        }
        let applied: Vec<_> = host.applied.iter().map(Entry::log_id).collect();
        let expected = self.run_until(server.last_applied());
        prop_assert_eq!(&applied[..], expected, "{} applied", id);

        let start = log.start();
        let before = self.starts.insert(id, start.index).unwrap_or_default();
        self.compactions += usize::from(start.index > before);
        if let Some(place) = start.index.0.checked_sub(1) {
            let known = self.committed.get(place as usize).map(|(entry, _)| entry.log_id());
            prop_assert_eq!(known, Some(start), "the log of {} starts elsewhere", id);
        }
        prop_assert!(start.index <= server.snapshot().map_or(Index::ZERO, |s| s.last().index));
        if host.unsaved.is_empty() {
            let entries: Vec<_> = log.iter().cloned().collect();
            prop_assert_eq!(host.disk.start, start, "the disk of {} starts elsewhere", id);
            prop_assert_eq!(&host.disk.entries, &entries, "the disk of {}", id);
            prop_assert_eq!(host.disk.snapshot.as_ref(), server.snapshot());
        }
        if let Role::Leader(leader) = server.role() {
            for (place, (entry, committed_in)) in self.committed.iter().enumerate() {
                let index = Index(place as u64 + 1);
                if *committed_in <= term && index > start.index {
                    let held = log.entry(index);
                    prop_assert_eq!(held, Some(entry), "Leader Completeness: {}", id);
                }
            }
            for (follower, progress) in leader.progress.iter() {
                prop_assert!(
                    !progress.has_lost_log,
                    "{} is thought to have lost its log",
                    follower
                );
            }
        }
        Ok(())
    }

    fn look_at_logs(&self, cluster: &Cluster) -> Result<(), TestCaseError> {
        let up: Vec<_> = cluster.ids().into_iter().filter(|&id| cluster.is_up(id)).collect();
        for &id in &up {
            for &other in up.iter().filter(|&&other| other < id) {
                let (ours, theirs) = (cluster.server(id).log(), cluster.server(other).log());
                let start = ours.start().index.max(theirs.start().index);
                let end = ours.last_index().min(theirs.last_index());
                let is_same =
                    |&index: &u64| ours.term_at(Index(index)) == theirs.term_at(Index(index));
                let Some(same) = (start.0 + 1..=end.0).rev().find(is_same) else { continue };
                for index in (start.0 + 1..=same).map(Index) {
                    let (ours, theirs) = (ours.entry(index), theirs.entry(index));
                    prop_assert_eq!(ours, theirs, "Log Matching: {} and {}", id, other);
                }
            }
        }
        Ok(())
    }

    /// What is committed is on a majority of the disks, as an entry or in a snapshot.
    fn look_at_disks(&self, cluster: &Cluster) -> Result<(), TestCaseError> {
        let ids = cluster.ids();
        let committed = self.committed.iter().map(|(entry, _)| entry);
        let last = configurations(&cluster.first, committed).pop();
        let newer = ids.iter().filter(|&&id| cluster.is_up(id)).flat_map(|&id| {
            let log = cluster.server(id).log().from(Index(self.committed.len() as u64 + 1));
            configurations(&cluster.first, log).split_off(1)
        });
        let in_force: Vec<_> = last.into_iter().chain(newer).collect();
        for (entry, _) in &self.committed {
            let holds = |id: &&ServerId| {
                let disk = &cluster.host(**id).disk;
                let snapshot = disk.snapshot.as_ref();
                disk.entry(entry.index) == Some(entry)
                    || snapshot.is_some_and(|snapshot| snapshot.last().index >= entry.index)
            };
            let copies: Vec<_> = ids.iter().filter(holds).collect();
            let is_held = |by: &Arc<Configuration>| by.is_reached_by(|id| copies.contains(&&id));
            prop_assert!(in_force.iter().any(is_held), "only {:?} hold {}", copies, entry);
        }
        Ok(())
    }

    fn look_at_answers(&mut self, cluster: &Cluster) -> Result<(), TestCaseError> {
        for envelope in &cluster.answers[self.seen.3..] {
            let Message::ClientResponse(response) = &envelope.message else { continue };
            if let ClientResult::Applied { log_id, response: bytes } = &response.result {
                let place = self.history.iter().position(|known| known == log_id);
                let place = place.map(|place| (place + 1).to_string());
                let given = std::str::from_utf8(bytes).unwrap().to_owned();
                prop_assert_eq!(place, Some(given), "the answer for {}", log_id);
                let key = (response.client_id, response.sequence_number);
                let answer = (*log_id, bytes.clone());
                let first = self.answers.entry(key).or_insert_with(|| answer.clone());
                prop_assert_eq!(&*first, &answer, "one answer for {:?}", key);
            }
        }
        self.seen.3 = cluster.answers.len();
        Ok(())
    }
}

/// How often snapshots are taken, and how little of them goes into one message.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    snapshot_entries: Option<u64>,
    snapshot_keep_entries: u64,
    append_bytes_max: usize,
}

fn sizes() -> impl Strategy<Value = Sizes> {
    let entries = prop_oneof![1 => Just(None), 4 => (1..8_u64).prop_map(Some)];
    let bytes = prop_oneof![Just(1_usize), 20..400_usize];
    (entries, 0..4_u64, bytes).prop_map(
        |(snapshot_entries, snapshot_keep_entries, append_bytes_max)| Sizes {
            snapshot_entries,
            snapshot_keep_entries,
            append_bytes_max,
        },
    )
}

fn events(count: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        30 => event(),
        1 => any::<u8>().prop_map(Event::TakeSnapshot),
    ];
    prop::collection::vec(event, count)
}

fn simulate(
    servers: u64,
    sizes: Sizes,
    seed: u64,
    events: &[Event],
) -> Result<Historian, TestCaseError> {
    let cluster = Cluster::new(servers, |config: &mut Config| {
        config.snapshot_entries = sizes.snapshot_entries;
        config.snapshot_keep_entries = sizes.snapshot_keep_entries;
        config.append_bytes_max = sizes.append_bytes_max;
        config.in_flight_entries_max = 4;
        config.seed = seed;
        // All four ways to run come up as often; all servers agree on the second.
        config.pre_vote = seed & 1 == 0;
        config.check_quorum = seed & 2 == 0;
    });
    run(cluster, Historian::default(), events)
}

proptest! {
    #![proptest_config(crate::cases(96))]

    #[test]
    fn a_cluster_that_forgets_its_logs_keeps_every_promise(
        servers in prop_oneof![1 => 1..3_u64, 4 => Just(3_u64), 2 => 4..6_u64],
        sizes in sizes(),
        seed in any::<u64>(),
        events in events(50..400),
    ) {
        simulate(servers, sizes, seed, &events)?;
    }
}

/// The simulation reaches what it is about: logs are compacted, and snapshots installed.
#[test]
fn the_simulation_compacts_and_installs() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut commits, mut compactions, mut installs) = (0, 0, 0);
    let sizes =
        Sizes { snapshot_entries: Some(3), snapshot_keep_entries: 0, append_bytes_max: 100 };
    for seed in 0..16 {
        let events = events(400).new_tree(&mut runner).unwrap().current();
        let observer = simulate(3, sizes, seed, &events).unwrap();
        commits += observer.committed.len();
        compactions += observer.compactions;
        installs += observer.installs;
    }
    let is_busy = commits >= 100 && compactions >= 60 && installs >= 30;
    assert!(is_busy, "{commits}, {compactions}, {installs}");
}
