//! What an application asks of the server in its own process, on paused time: every call is answered,
//! and says whether what it asked for may have happened.
#![cfg(feature = "driver")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raft_core::driver::{
    ChangeError, Driver, DriverError, Handle, ProposeError, QueryError, TransferError,
};
use raft_core::{
    Address, ClusterManager, CommandList, Config, Envelope, MembershipChange, MembershipError,
    MemoryStorage, ReadFailure, ReadMode, Recovered, Save, ServerId, ServerManager, Storage,
    StorageError,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const IDS: [ServerId; 3] = [ServerId(1), ServerId(2), ServerId(3)];

/// Hands envelopes over in memory, except to and from those that are cut off.
#[derive(Clone, Default)]
struct Network {
    servers: Arc<Mutex<BTreeMap<ServerId, Handle<CommandList>>>>,
    cut_off: Arc<Mutex<BTreeSet<ServerId>>>,
    /// How many messages were sent.
    sent: Arc<Mutex<usize>>,
}

impl ClusterManager for Network {
    fn send(&mut self, envelope: Envelope) {
        let (Address::Server(from), Address::Server(to)) = (envelope.from, envelope.to) else {
            panic!("{envelope} is between servers")
        };
        *self.sent.lock().unwrap() += 1;
        let cut_off = self.cut_off.lock().unwrap();
        if let Some(server) = self.servers.lock().unwrap().get(&to)
            && !cut_off.contains(&from)
            && !cut_off.contains(&to)
        {
            let _is_lost = !server.try_deliver(envelope);
        }
    }

    fn broadcast(&mut self, envelope: Envelope) {
        for to in IDS.into_iter().filter(|&id| envelope.from != Address::Server(id)) {
            self.send(Envelope { to: to.into(), ..envelope.clone() });
        }
    }

    fn answer(&mut self, envelope: Envelope) {
        panic!("{envelope} is for a client, and there is none");
    }
}

impl Network {
    fn cut_off(&self, id: ServerId) {
        self.cut_off.lock().unwrap().insert(id);
    }

    fn heal(&self) {
        self.cut_off.lock().unwrap().clear();
    }
}

struct Host(ServerId);

impl ServerManager for Host {
    fn server_id(&self) -> ServerId {
        self.0
    }

    fn remote_server_ids(&self) -> Vec<ServerId> {
        IDS.into_iter().filter(|&id| id != self.0).collect()
    }
}

/// A memory that counts how often it was written.
#[derive(Clone, Default)]
struct Counting {
    inner: MemoryStorage,
    writes: Arc<Mutex<usize>>,
}

impl Storage for Counting {
    fn load(&mut self) -> Result<Recovered, StorageError> {
        self.inner.load()
    }

    fn save(&mut self, saves: &[Save]) -> Result<(), StorageError> {
        *self.writes.lock().unwrap() += 1;
        self.inner.save(saves)
    }

    fn is_instant(&self) -> bool {
        true
    }
}

struct Running {
    handle: Handle<CommandList>,
    task: JoinHandle<Result<(), DriverError>>,
    writes: Arc<Mutex<usize>>,
}

fn config(id: ServerId) -> Config {
    Config { seed: 7, lease_reads: true, ..Config::new(id, IDS) }
}

fn start(network: &Network, config: Config) -> Running {
    let id = config.server_id;
    let storage = Counting::default();
    let writes = storage.writes.clone();
    let machine = CommandList::new();
    let (driver, handle) =
        Driver::new(config, machine, storage, network.clone(), Host(id)).unwrap();
    network.servers.lock().unwrap().insert(id, handle.clone());
    Running { handle, task: tokio::spawn(driver.run()), writes }
}

/// Three servers, the leader first.
async fn cluster(network: &Network, change: impl Fn(&mut Config)) -> Vec<Running> {
    let mut servers: Vec<_> = IDS
        .into_iter()
        .map(|id| {
            let mut config = config(id);
            change(&mut config);
            start(network, config)
        })
        .collect();
    for server in &servers {
        server.handle.notify_joined_service().await.unwrap();
    }
    let place = until(async || {
        for (place, server) in servers.iter().enumerate() {
            if leads(server).await {
                return Some(place);
            }
        }
        None
    })
    .await;
    servers.swap(0, place);
    servers
}

/// True for a leader that has committed an entry of its term.
async fn leads(server: &Running) -> bool {
    let status = server.handle.status().await.unwrap();
    status.role == "leader" && status.commit_index >= status.last.index
}

/// Lets paused time pass until there is something to see.
async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let patience = async {
        loop {
            match look().await {
                Some(seen) => return seen,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(60), patience).await;
    seen.expect("it happens within a minute of paused time")
}

async fn id_of(server: &Running) -> ServerId {
    server.handle.status().await.unwrap().server_id
}

fn propose(server: &Running, command: impl Into<String>) -> JoinHandle<Result<u64, ProposeError>> {
    let (handle, command) = (server.handle.clone(), command.into());
    tokio::spawn(async move { handle.propose(command).await })
}

#[tokio::test(start_paused = true)]
async fn each_proposal_gets_its_own_response_and_those_that_come_together_share_a_save() {
    let servers = cluster(&Network::default(), |_| {}).await;
    let leader = &servers[0];
    let writes = *leader.writes.lock().unwrap();
    let proposals: Vec<_> = (0..100).map(|n| propose(leader, format!("{n}"))).collect();
    let mut responses = Vec::new();
    for proposal in proposals {
        responses.push(proposal.await.unwrap().unwrap());
    }
    assert_eq!(responses, (1..=100).collect::<Vec<_>>(), "in the order of the log");
    let commands = leader.handle.query_stale(()).await.unwrap();
    assert_eq!(commands, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    let writes = *leader.writes.lock().unwrap() - writes;
    assert!(writes <= 2, "{writes} writes for 100 proposals");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_did_not_happen_and_says_so() {
    let network = Network::default();
    let servers = cluster(&network, |config| {
        (config.command_bytes_max, config.uncommitted_bytes_max) = (100, 200);
    })
    .await;
    let leader = id_of(&servers[0]).await;
    let error = servers[1].handle.propose("x".to_owned()).await.unwrap_err();
    assert_eq!(error, ProposeError::NotLeader { leader: Some(leader) });
    assert!(!error.may_have_been_applied());

    let error = servers[0].handle.propose("x".repeat(200)).await.unwrap_err();
    assert!(matches!(error, ProposeError::TooLarge { command_bytes_max: 100, .. }), "{error}");
    assert!(!error.may_have_been_applied());

    network.cut_off(leader);
    let waiting: Vec<_> = (0..3).map(|_| propose(&servers[0], "y".repeat(80))).collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let error = servers[0].handle.propose("z".to_owned()).await.unwrap_err();
    assert_eq!(error, ProposeError::Busy);
    assert!(!error.may_have_been_applied());
    waiting.iter().for_each(JoinHandle::abort);
}

/// The driver writes while it goes on, so it must not promise that each save is durable at once.
#[tokio::test(start_paused = true)]
async fn a_driver_is_not_synchronous_whatever_its_settings_say() {
    let network = Network::default();
    let servers = cluster(&network, |config| config.synchronous_driver = true).await;
    let is_synchronous =
        servers[0].handle.inspect(|server, _| server.config().synchronous_driver).await;
    assert_eq!(is_synchronous, Ok(false));
    assert_eq!(servers[0].handle.propose("x".to_owned()).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn who_has_not_joined_leads_nobody() {
    let server = start(&Network::default(), config(ServerId(1)));
    let handle = &server.handle;
    let error = handle.propose("x".to_owned()).await.unwrap_err();
    assert_eq!(error, ProposeError::NotLeader { leader: None });
    let error = handle.query((), ReadMode::ReadIndex).await.unwrap_err();
    assert_eq!(error, QueryError::NoLeader);
    let error = handle.transfer_leadership(None).await.unwrap_err();
    assert_eq!(error, TransferError::NotLeader { leader: None });
    let error = handle.change_membership([]).await.unwrap_err();
    assert_eq!(error, ChangeError::NotLeader { leader: None });
}

#[tokio::test(start_paused = true)]
async fn a_proposal_in_flight_when_leadership_is_lost_may_have_been_applied() {
    let network = Network::default();
    let servers = cluster(&network, |_| {}).await;
    network.cut_off(id_of(&servers[0]).await);
    let error = servers[0].handle.propose("lost".to_owned()).await.unwrap_err();
    assert_eq!(error, ProposeError::LeadershipLost, "the leader steps down when nobody answers");
    assert!(error.may_have_been_applied());

    // The next leader has never heard of it, and puts something else in its place.
    let index = servers[0].handle.status().await.unwrap().last.index;
    until(async || {
        let (one, two) = (leads(&servers[1]).await, leads(&servers[2]).await);
        (one || two).then_some(())
    })
    .await;
    network.heal();
    until(async || {
        let status = servers[0].handle.status().await.unwrap();
        (status.commit_index >= index && status.leader.is_some()).then_some(())
    })
    .await;
    assert_eq!(servers[0].handle.query((), ReadMode::ReadIndex).await.unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_proposal_in_flight_when_the_server_ends_may_have_been_applied() {
    let network = Network::default();
    let servers = cluster(&network, |_| {}).await;
    network.cut_off(id_of(&servers[0]).await);
    let proposal = propose(&servers[0], "x");
    tokio::time::sleep(Duration::from_millis(1)).await;
    servers[0].task.abort();
    let error = proposal.await.unwrap().unwrap_err();
    assert_eq!(error, ProposeError::StoppedMeanwhile);
    assert!(error.may_have_been_applied());

    let error = servers[0].handle.propose("y".to_owned()).await.unwrap_err();
    assert_eq!(error, ProposeError::Stopped, "this one was never taken");
    assert!(!error.may_have_been_applied());
}

#[tokio::test(start_paused = true)]
async fn a_query_at_any_server_sees_what_was_answered_before() {
    let servers = cluster(&Network::default(), |_| {}).await;
    for (count, mode) in [(1, ReadMode::ReadIndex), (2, ReadMode::Lease)] {
        servers[0].handle.propose(format!("{count}")).await.unwrap();
        for server in &servers {
            let queries: Vec<_> = (0..9).map(|_| server.handle.query((), mode)).collect();
            for query in queries {
                assert_eq!(query.await.unwrap().len(), count, "{mode:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn queries_that_come_together_share_a_round() {
    let network = Network::default();
    let servers = cluster(&network, |_| {}).await;
    let before = *network.sent.lock().unwrap();
    let ask = |_| {
        let handle = servers[0].handle.clone();
        tokio::spawn(async move { handle.query((), ReadMode::ReadIndex).await.unwrap() })
    };
    let queries: Vec<_> = (0..100).map(ask).collect();
    for query in queries {
        query.await.unwrap();
    }
    let sent = *network.sent.lock().unwrap() - before;
    assert!(sent <= 8, "{sent} messages for 100 queries: two rounds of two questions and answers");
}

#[tokio::test(start_paused = true)]
async fn a_query_without_a_majority_fails() {
    let network = Network::default();
    let servers = cluster(&network, |_| {}).await;
    network.cut_off(id_of(&servers[0]).await);
    let error = servers[0].handle.query((), ReadMode::ReadIndex).await.unwrap_err();
    assert_eq!(error, QueryError::Failed(ReadFailure::LeaderChanged));
    let error = servers[0].handle.query((), ReadMode::ReadIndex).await.unwrap_err();
    assert_eq!(error, QueryError::NoLeader, "it has stepped down");
}

#[tokio::test(start_paused = true)]
async fn a_transfer_returns_when_the_server_leads_no_more() {
    let network = Network::default();
    let servers = cluster(&network, |_| {}).await;
    let target = id_of(&servers[1]).await;
    servers[0].handle.transfer_leadership(Some(target)).await.unwrap();
    assert_ne!(servers[0].handle.status().await.unwrap().role, "leader");
    until(async || leads(&servers[1]).await.then_some(())).await;

    let error = servers[0].handle.transfer_leadership(None).await.unwrap_err();
    assert!(matches!(error, TransferError::NotLeader { .. }), "{error}");
    let error = servers[1].handle.transfer_leadership(Some(ServerId(9))).await.unwrap_err();
    assert_eq!(error, TransferError::NoTarget { target: Some(ServerId(9)) });
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_fails_says_so_and_the_leader_leads_on() {
    let network = Network::default();
    let servers = cluster(&network, |_| {}).await;
    let target = id_of(&servers[1]).await;
    network.cut_off(target);
    servers[0].handle.propose("the target lacks this".to_owned()).await.unwrap();
    let handle = servers[0].handle.clone();
    let transfer = tokio::spawn(async move { handle.transfer_leadership(Some(target)).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let error = servers[0].handle.transfer_leadership(None).await.unwrap_err();
    assert_eq!(error, TransferError::Busy);
    let error = servers[0].handle.propose("x".to_owned()).await.unwrap_err();
    assert_eq!(error, ProposeError::Busy, "meanwhile it takes nothing");
    assert_eq!(transfer.await.unwrap(), Err(TransferError::Aborted { target }));
    assert_eq!(servers[0].handle.propose("x".to_owned()).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_change_returns_the_configuration_once_it_is_committed() {
    let servers = cluster(&Network::default(), |_| {}).await;
    let (leader, other) = (id_of(&servers[0]).await, id_of(&servers[1]).await);
    let handle = &servers[0].handle;
    let configuration = handle.change_membership([MembershipChange::Remove(other)]).await.unwrap();
    assert_eq!(configuration.voters().len(), 2);
    assert!(!configuration.is_joint() && !configuration.contains(other));

    let error = handle.change_membership([MembershipChange::Remove(other)]).await.unwrap_err();
    assert_eq!(error, ChangeError::Refused(MembershipError::NotAMember { server_id: other }));

    // A leader that takes itself out leads no more, and the change is made.
    let configuration = handle.change_membership([MembershipChange::Remove(leader)]).await.unwrap();
    assert!(!configuration.contains(leader));
    let error = handle.change_membership([MembershipChange::Remove(other)]).await.unwrap_err();
    assert!(matches!(error, ChangeError::NotLeader { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_make_a_change_loses_it_with_its_leadership() {
    let network = Network::default();
    let servers = cluster(&network, |_| {}).await;
    network.cut_off(id_of(&servers[0]).await);
    let change = [MembershipChange::AddLearner(ServerId(9))];
    let error = servers[0].handle.change_membership(change).await.unwrap_err();
    assert_eq!(error, ChangeError::LeadershipLost);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_hands_over_first() {
    let network = Network::default();
    let mut servers = cluster(&network, |_| {}).await;
    let leader = servers.remove(0);
    let stopped_at = Instant::now();
    // Nobody else has this yet, so the server cannot go at once.
    let (proposed, stopped) =
        tokio::join!(leader.handle.propose("last".to_owned()), leader.handle.stop());
    assert_eq!((proposed, stopped), (Ok(1), Ok(())));
    leader.task.await.unwrap().unwrap();
    until(async || {
        let (one, two) = (leads(&servers[0]).await, leads(&servers[1]).await);
        (one || two).then_some(())
    })
    .await;
    let without_leader = stopped_at.elapsed();
    assert!(without_leader < Duration::from_millis(300), "{without_leader:?}: an election timeout");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_last_handle_is_dropped_hands_over_as_well_as_it_can() {
    let network = Network::default();
    let mut servers = cluster(&network, |_| {}).await;
    let leader = servers.remove(0);
    let dropped_at = Instant::now();
    let id = id_of(&leader).await;
    network.servers.lock().unwrap().remove(&id);
    drop(leader.handle);
    leader.task.await.unwrap().unwrap();
    until(async || {
        let (one, two) = (leads(&servers[0]).await, leads(&servers[1]).await);
        (one || two).then_some(())
    })
    .await;
    assert!(dropped_at.elapsed() < Duration::from_millis(300));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_nobody_answers_stops_all_the_same() {
    let network = Network::default();
    let servers = cluster(&network, |_| {}).await;
    network.cut_off(id_of(&servers[0]).await);
    let stopped_at = Instant::now();
    servers[0].handle.stop().await.unwrap();
    let ended = until(async || servers[0].task.is_finished().then(Instant::now)).await;
    assert!(
        ended - stopped_at <= Duration::from_millis(700),
        "an election timeout, and a heartbeat"
    );
}
