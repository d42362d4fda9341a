//! A small cluster under losses, copies, reordering, slow disks, slow state machines, partitions,
//! crashes that forget what was not saved, and operators that change it and move its leader, watched by
//! an observer that knows everything: the five properties of Figure 3, durability, exactly-once, majorities
//! that overlap, and that the cluster works again when it may.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use raft_core::{
    Address, ClientId, ClientResult, ClusterId, Configuration, Entry, Envelope, Input, LogId,
    MembershipChange, Message, Payload, Role, SequenceNumber, ServerId,
};

use crate::cluster::{Cluster, request};

/// What happens next, and two numbers that say to whom and how.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Deliver(u16),
    DeliverOldest(u8),
    Drop(u16),
    Duplicate(u16),
    Elapse(u8),
    Heartbeat,
    Ask(u8, u8),
    Abandon(u8),
    Saved(u8, u8),
    Applied(u8),
    SlowDisk(u8, bool),
    SlowMachine(u8, bool),
    Crash(u8, u8),
    Restart(u8),
    Partition(u8),
    Heal,
    Change(u8, u8, u8),
    Transfer(Option<u8>),
    TakeSnapshot(u8),
}

/// Any event but a snapshot.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        30 => any::<u16>().prop_map(Event::Deliver),
        30 => any::<u8>().prop_map(Event::DeliverOldest),
        3 => any::<u16>().prop_map(Event::Drop),
        4 => any::<u16>().prop_map(Event::Duplicate),
        3 => any::<u8>().prop_map(Event::Elapse),
        10 => Just(Event::Heartbeat),
        24 => any::<(u8, u8)>().prop_map(|(client, to)| Event::Ask(client, to)),
        1 => any::<u8>().prop_map(Event::Abandon),
        10 => any::<(u8, u8)>().prop_map(|(id, count)| Event::Saved(id, count)),
        6 => any::<u8>().prop_map(Event::Applied),
        2 => (any::<u8>(), prop::bool::weighted(0.3))
            .prop_map(|(id, slow)| Event::SlowDisk(id, slow)),
        1 => (any::<u8>(), prop::bool::weighted(0.3))
            .prop_map(|(id, slow)| Event::SlowMachine(id, slow)),
        1 => any::<(u8, u8)>().prop_map(|(id, saved)| Event::Crash(id, saved)),
        3 => any::<u8>().prop_map(Event::Restart),
        1 => any::<u8>().prop_map(Event::Partition),
        3 => Just(Event::Heal),
        8 => any::<(u8, u8, u8)>().prop_map(|(kind, one, two)| Event::Change(kind, one, two)),
        1 => any::<Option<u8>>().prop_map(Event::Transfer),
    ]
}

const CLIENTS: u64 = 3;

/// Whoever watches a simulation.
pub(crate) trait Observe {
    /// Looks at the cluster after something happened.
    fn look(&mut self, cluster: &Cluster) -> Result<(), TestCaseError>;

    /// True if the client has got an answer.
    fn is_answered(&self, client: ClientId, number: SequenceNumber) -> bool;
}

/// Knows everything that ever happened.
#[derive(Default)]
struct Observer {
    /// Who leads each term.
    leaders: BTreeMap<u64, ServerId>,
    /// Every entry that was ever committed, and the term of the server that first said so.
    committed: Vec<(Entry, u64)>,
    /// Each leader's log when last seen, by term.
    leader_logs: BTreeMap<u64, Vec<Entry>>,
    /// The commands of the committed entries as every state machine has to run them.
    history: Vec<LogId>,
    /// The last number run of each client.
    last_run: BTreeMap<ClientId, SequenceNumber>,
    /// The answer that each request got.
    answers: BTreeMap<(ClientId, SequenceNumber), (LogId, Bytes)>,
    seen: (usize, usize),
    /// Configurations that follow on each other in some log, and were found to overlap.
    overlapping: Vec<(Arc<Configuration>, Arc<Configuration>)>,
    /// How many changes were committed.
    changes: usize,
}

/// The configurations in a log, the first one before its first entry.
pub(crate) fn configurations<'a>(
    first: &Arc<Configuration>,
    log: impl Iterator<Item = &'a Entry>,
) -> Vec<Arc<Configuration>> {
    let in_log = log.filter_map(|entry| match &entry.payload {
        Payload::Configuration(configuration) => Some(configuration.clone()),
        _ => None,
    });
    std::iter::once(first.clone()).chain(in_log).collect()
}

/// True if any two majorities, one of each, have a server in common.
fn overlap(one: &Configuration, two: &Configuration) -> bool {
    let servers: Vec<_> = one.servers().union(&two.servers()).copied().collect();
    (0_u32..1 << servers.len()).all(|set| {
        let place = |server| servers.iter().position(|&known| known == server).unwrap();
        let is_in = |server| set >> place(server) & 1 == 1;
        !(one.is_reached_by(is_in) && two.is_reached_by(|server| !is_in(server)))
    })
}

impl Observe for Observer {
    fn is_answered(&self, client: ClientId, number: SequenceNumber) -> bool {
        self.answers.contains_key(&(client, number))
    }

    fn look(&mut self, cluster: &Cluster) -> Result<(), TestCaseError> {
        let ids = cluster.ids();
        for &(term, leader) in &cluster.elected[self.seen.0..] {
            let first = *self.leaders.entry(term).or_insert(leader);
            prop_assert_eq!(first, leader, "Election Safety: two leaders of term {}", term);
        }
        self.seen.0 = cluster.elected.len();

        let up: Vec<_> = ids.iter().copied().filter(|&id| cluster.is_up(id)).collect();
        for &id in &up {
            let server = cluster.server(id);
            let log: Vec<_> = server.log().iter().cloned().collect();
            let term = server.current_term().0;
            for (place, entry) in log.iter().take(server.commit_index().0 as usize).enumerate() {
                match self.committed.get(place) {
                    Some((known, _)) => {
                        prop_assert_eq!(known, entry, "State Machine Safety: {}", id);
                    }
                    None => self.commit(entry.clone(), term),
                }
            }
            let chain = configurations(&cluster.first, log.iter());
            for pair in chain.windows(2) {
                let pair = (pair[0].clone(), pair[1].clone());
                if !self.overlapping.contains(&pair) {
                    prop_assert!(overlap(&pair.0, &pair.1), "{} and then {}", pair.0, pair.1);
                    self.overlapping.push(pair);
                }
            }
            if let Role::Leader(leader) = server.role() {
                let lost = leader.progress.iter().find(|(_, progress)| progress.has_lost_log);
                prop_assert!(lost.is_none(), "no disk ever forgets, but {} says {:?}", id, lost);
                let before = self.leader_logs.insert(term, log.to_vec()).unwrap_or_default();
                prop_assert!(log.starts_with(&before), "Leader Append-Only: {}", id);
                for (place, (entry, committed_in)) in self.committed.iter().enumerate() {
                    if *committed_in <= term {
                        let held = log.get(place);
                        prop_assert_eq!(held, Some(entry), "Leader Completeness: {}", id);
                    }
                }
            }
            for &other in up.iter().filter(|&&other| other < id) {
                let theirs: Vec<_> = cluster.server(other).log().iter().cloned().collect();
                let is_same = |place: &usize| log[*place].term == theirs[*place].term;
                if let Some(place) = (0..log.len().min(theirs.len())).rev().find(is_same) {
                    let (ours, theirs) = (&log[..=place], &theirs[..=place]);
                    prop_assert_eq!(ours, theirs, "Log Matching: {} and {}", id, other);
                }
            }
            let applied: Vec<_> = cluster.host(id).applied.iter().map(Entry::log_id).collect();
            prop_assert!(self.history.starts_with(&applied), "{} applied {:?}", id, applied);
        }
        // What decides is the last committed configuration, or one that a leader has put after it.
        let committed = self.committed.iter().map(|(entry, _)| entry);
        let last = configurations(&cluster.first, committed).pop();
        let newer = up.iter().flat_map(|&id| {
            let log = cluster.server(id).log().iter().skip(self.committed.len());
            configurations(&cluster.first, log).split_off(1)
        });
        let in_force: Vec<_> = last.into_iter().chain(newer).collect();
        for (place, (entry, _)) in self.committed.iter().enumerate() {
            let holds = |id: &&ServerId| cluster.host(**id).disk.entries.get(place) == Some(entry);
            let copies: BTreeSet<_> = ids.iter().filter(holds).collect();
            let is_held = |by: &Arc<Configuration>| by.is_reached_by(|id| copies.contains(&id));
            prop_assert!(in_force.iter().any(is_held), "only {:?} hold {}", copies, entry);
        }
        for envelope in &cluster.answers[self.seen.1..] {
            let Message::ClientResponse(response) = &envelope.message else { continue };
            if let ClientResult::Applied { log_id, response: bytes } = &response.result {
                prop_assert!(self.history.contains(log_id), "answered and not committed");
                let key = (response.client_id, response.sequence_number);
                let answer = (*log_id, bytes.clone());
                let first = self.answers.entry(key).or_insert_with(|| answer.clone());
                prop_assert_eq!(&*first, &answer, "one answer for {:?}", key);
            }
        }
        self.seen.1 = cluster.answers.len();
        Ok(())
    }
}

impl Observer {
    fn commit(&mut self, entry: Entry, term: u64) {
        self.changes += usize::from(matches!(entry.payload, Payload::Configuration(_)));
        if let Payload::Command(request) = &entry.payload {
            let last = self.last_run.entry(request.client_id).or_default();
            if request.sequence_number > *last {
                *last = request.sequence_number;
                self.history.push(entry.log_id());
            }
        }
        self.committed.push((entry, term));
    }
}

pub(crate) struct World<O> {
    cluster: Cluster,
    observer: O,
    /// The number of the request each client has under way.
    numbers: [u64; CLIENTS as usize],
}

impl<O: Observe> World<O> {
    fn some(&self, choice: u8) -> ServerId {
        let ids = self.cluster.ids();
        ids[usize::from(choice) % ids.len()]
    }

    fn place(&self, choice: u16) -> Option<usize> {
        let count = self.cluster.network.len();
        (count > 0).then(|| usize::from(choice) % count)
    }

    fn act(&mut self, event: Event) {
        match event {
            Event::Deliver(choice) => {
                if let Some(place) = self.place(choice) {
                    self.cluster.deliver(place);
                }
            }
            Event::DeliverOldest(count) => {
                for _ in 0..count % 16 {
                    if !self.cluster.network.is_empty() {
                        self.cluster.deliver(0);
                    }
                }
            }
            Event::Drop(choice) => {
                if let Some(place) = self.place(choice) {
                    self.cluster.lose_at(place);
                }
            }
            Event::Duplicate(choice) => {
                if let Some(place) = self.place(choice).filter(|_| self.cluster.network.len() < 40)
                {
                    let copy = self.cluster.network[place].clone();
                    self.cluster.network.push(copy);
                }
            }
            Event::Elapse(choice) => {
                let id = self.some(choice);
                if self.cluster.is_up(id) {
                    self.cluster.elapse(id);
                }
            }
            Event::Heartbeat => {
                for id in self.cluster.ids() {
                    if self.cluster.is_up(id) && self.cluster.server(id).role().is_leader() {
                        self.cluster.elapse(id);
                    }
                }
            }
            Event::Ask(client, to) => {
                let client = u64::from(client) % CLIENTS;
                self.ask(client, self.some(to));
            }
            Event::Abandon(client) => self.numbers[usize::from(client) % CLIENTS as usize] += 1,
            Event::Saved(id, count) => {
                let id = self.some(id);
                self.cluster.finish_saves(id, usize::from(count % 4));
            }
            Event::Applied(id) => {
                let id = self.some(id);
                self.cluster.finish_applies(id, 1);
            }
            Event::SlowDisk(id, is_slow) => {
                let id = self.some(id);
                self.cluster.host_mut(id).holds_saves = is_slow;
            }
            Event::SlowMachine(id, is_slow) => {
                let id = self.some(id);
                self.cluster.host_mut(id).holds_applies = is_slow;
            }
            Event::Crash(id, saved) => {
                // Some saves may have reached the disk though nobody was told.
                let host = self.cluster.host_mut(self.some(id));
                let count = usize::from(saved % 4).min(host.unsaved.len());
                let saves: Vec<_> = host.unsaved.drain(..count).collect();
                for save in saves {
                    host.disk.replay(save).expect("saves leave no gap");
                }
                let id = self.some(id);
                self.cluster.crash(id);
            }
            Event::Restart(id) => {
                let id = self.some(id);
                if !self.cluster.is_up(id) {
                    self.cluster.restart(id);
                    self.cluster.join(id).expect("nothing was deferred");
                }
            }
            Event::Partition(id) => self.cluster.partition(&[self.some(id)]),
            Event::Heal => self.cluster.heal(),
            Event::Change(kind, one, two) => {
                let (one, two) = (self.some(one), self.some(two));
                let changes = match kind % 6 {
                    0 => vec![MembershipChange::AddLearner(one)],
                    1 | 2 => vec![MembershipChange::AddVoter(one)],
                    3 => vec![MembershipChange::Demote(one)],
                    4 => vec![MembershipChange::Remove(one)],
                    _ => vec![MembershipChange::AddVoter(one), MembershipChange::Remove(two)],
                };
                self.ask_leader(Input::ChangeMembership(changes));
            }
            Event::Transfer(to) => {
                let to = to.map(|choice| self.some(choice));
                self.ask_leader(Input::TransferLeadership { to });
            }
            Event::TakeSnapshot(id) => {
                let id = self.some(id);
                if self.cluster.is_up(id) {
                    let _ = self.cluster.step(id, Input::TakeSnapshot);
                }
            }
        }
    }

    /// An operator asks whoever leads, and may be refused.
    fn ask_leader(&mut self, input: Input) {
        if let Some(leader) = self.cluster.leader() {
            let _ = self.cluster.step(leader, input);
        }
    }

    fn ask(&mut self, client: u64, to: ServerId) {
        let number = self.numbers[client as usize];
        let from: Address = ClientId(client).into();
        let message =
            Message::ClientRequest(request(client, number, &format!("{client}#{number}")));
        let cluster_id = ClusterId::default();
        self.cluster.network.push(Envelope { cluster_id, from, to: to.into(), message });
    }

    /// Clients whose request is answered go on to the next one.
    fn read_answers(&mut self) {
        for client in 0..CLIENTS {
            let number = &mut self.numbers[client as usize];
            if self.observer.is_answered(ClientId(client), SequenceNumber(*number)) {
                *number += 1;
            }
        }
    }

    /// With everyone up and connected again, a request is committed, applied everywhere and answered.
    fn recover(&mut self) -> Result<(), TestCaseError> {
        self.cluster.heal();
        for id in self.cluster.ids() {
            let host = self.cluster.host_mut(id);
            (host.holds_saves, host.holds_applies) = (false, false);
            if !self.cluster.is_up(id) {
                self.cluster.restart(id);
                self.cluster.join(id).expect("nothing was deferred");
            }
            self.cluster.finish_saves(id, usize::MAX);
            self.cluster.finish_applies(id, usize::MAX);
        }
        for _ in 0..400 {
            self.cluster.stabilize();
            self.observer.look(&self.cluster)?;
            self.read_answers();
            // Servers that are in no configuration any more may be left behind.
            let leader = self.cluster.leader().unwrap_or(ServerId(1));
            let configuration = self.cluster.server(leader).configuration();
            let servers: Vec<_> = configuration.servers().into_iter().collect();
            let is_finished = !configuration.is_joint();
            let status = |&id: &ServerId| self.cluster.server(id).status();
            let statuses: Vec<_> = servers.iter().map(status).collect();
            let first = &statuses[0];
            let is_level = |s: &raft_core::Status| {
                (s.last, s.commit_index, s.last_applied, s.leader)
                    == (first.last, first.last.index, first.last.index, first.leader)
            };
            if first.leader.is_some()
                && is_finished
                && self.observer.is_answered(ClientId(0), SequenceNumber(self.numbers[0] - 1))
                && self.numbers[0] >= 1_000
                && statuses.iter().all(is_level)
            {
                return Ok(());
            }
            // Whose timer is next.
            let ids = self.cluster.ids();
            let next = ids.iter().min_by_key(|&&id| self.cluster.server(id).next_timeout());
            let next = *next.expect("a cluster has servers");
            self.cluster.elapse(next);
            if self.cluster.server(next).role().is_leader() && self.numbers[0] < 1_001 {
                self.numbers[0] = 1_000;
                self.ask(0, next);
            }
        }
        let statuses = self.cluster.ids().into_iter().map(|id| self.cluster.server(id).status());
        let statuses: Vec<_> = statuses.map(|status| status.to_string()).collect();
        Err(TestCaseError::fail(format!("the cluster does not recover: {statuses:#?}")))
    }
}

/// Runs the events, and says how much happened.
fn simulate(
    (voters, spares): (u64, u64),
    in_flight: u64,
    append_bytes: usize,
    seed: u64,
    events: &[Event],
) -> Result<Observer, TestCaseError> {
    let cluster = Cluster::new(voters + spares, |config| {
        config.voters = (1..=voters).map(ServerId).collect();
        config.catch_up_entries_max = 4;
        config.in_flight_entries_max = in_flight;
        config.append_bytes_max = append_bytes;
        config.seed = seed;
        // All four ways to run come up as often; all servers agree on the second.
        config.pre_vote = seed & 1 == 0;
        config.check_quorum = seed & 2 == 0;
    });
    run(cluster, Observer::default(), events)
}

/// Lets these events happen to servers that have not joined yet, and gives back who watched.
pub(crate) fn run<O: Observe>(
    mut cluster: Cluster,
    observer: O,
    events: &[Event],
) -> Result<O, TestCaseError> {
    for id in cluster.ids() {
        cluster.join(id).expect("nothing was deferred");
    }
    let mut world = World { cluster, observer, numbers: [1; CLIENTS as usize] };
    let result = (|| {
        for &event in events {
            world.act(event);
            world.observer.look(&world.cluster)?;
            world.read_answers();
        }
        world.recover()
    })();
    let transcript = world.cluster.take_transcript();
    result.map_err(|error| {
        let from = transcript.len().saturating_sub(400);
        TestCaseError::fail(format!("{error}\n{}", transcript[from..].join("\n")))
    })?;
    Ok(world.observer)
}

proptest! {
    #![proptest_config(crate::cases(96))]

    #[test]
    fn a_cluster_under_faults_keeps_every_promise(
        voters in prop_oneof![1 => 1..3_u64, 4 => Just(3_u64), 2 => 4..6_u64],
        spares in 0..3_u64,
        in_flight in 1..6_u64,
        append_bytes in prop_oneof![Just(1_usize), 50..300_usize],
        seed in any::<u64>(),
        events in prop::collection::vec(event(), 50..400),
    ) {
        simulate((voters, spares), in_flight, append_bytes, seed, &events)?;
    }
}

/// The simulation reaches what it is about: leaders change, entries commit, requests are answered.
#[test]
fn the_simulation_is_not_idle() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut terms, mut commits, mut answers, mut changes) = (0, 0, 0, 0);
    for seed in 0..16 {
        let events = prop::collection::vec(event(), 400).new_tree(&mut runner).unwrap().current();
        let observer = simulate((3, 1), 4, 300, seed, &events).unwrap();
        terms += observer.leaders.len();
        commits += observer.committed.len();
        answers += observer.answers.len();
        changes += observer.changes;
    }
    assert!(terms >= 30 && commits >= 100, "{terms}, {commits}");
    assert!(answers >= 50 && changes >= 50, "{answers}, {changes}");
}
