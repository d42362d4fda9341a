//! The driver on paused time: three servers and a client over channels, nothing but tokio.
#![cfg(feature = "driver")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use raft_core::driver::{ClientDriver, Driver, DriverError, Handle, RequestError};
use raft_core::{
    Address, AppendEntriesRequest, ClientConfig, ClientId, ClientRequest, ClusterId,
    ClusterManager, CommandList, Config, Entry, Envelope, Index, MemoryStorage, Message, Payload,
    Recovered, RoleChange, Round, Save, SequenceNumber, ServerId, ServerManager, Storage,
    StorageError, Term, codec, decode_outcome,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const IDS: [ServerId; 3] = [ServerId(1), ServerId(2), ServerId(3)];
const CLIENT: ClientId = ClientId(9);
const LONG: Duration = Duration::from_secs(60);

/// Where everybody can be reached; whoever is not in it is gone.
#[derive(Clone, Default)]
struct Network {
    servers: Arc<Mutex<BTreeMap<ServerId, mpsc::UnboundedSender<Envelope>>>>,
    clients: Arc<Mutex<BTreeMap<ClientId, mpsc::Sender<Envelope>>>>,
}

impl ClusterManager for Network {
    fn send(&mut self, envelope: Envelope) {
        let Address::Server(to) = envelope.to else { panic!("{envelope} is for no server") };
        if let Some(server) = self.servers.lock().unwrap().get(&to) {
            let _ = server.send(envelope);
        }
    }

    fn broadcast(&mut self, envelope: Envelope) {
        for (&id, server) in self.servers.lock().unwrap().iter() {
            if envelope.from != Address::Server(id) {
                let _ = server.send(envelope.clone());
            }
        }
    }

    fn answer(&mut self, envelope: Envelope) {
        let Address::Client(to) = envelope.to else { panic!("{envelope} is for no client") };
        if let Some(client) = self.clients.lock().unwrap().get(&to) {
            let _ = client.try_send(envelope);
        }
    }
}

/// What the hosts of all servers were told.
#[derive(Clone, Default)]
struct Told {
    elected: Arc<Mutex<Vec<(ServerId, Term)>>>,
    committed: Arc<Mutex<BTreeMap<ServerId, Vec<Index>>>>,
    roles: Arc<Mutex<Vec<String>>>,
}

struct Host {
    server_id: ServerId,
    told: Told,
}

impl ServerManager for Host {
    fn server_id(&self) -> ServerId {
        self.server_id
    }

    fn remote_server_ids(&self) -> Vec<ServerId> {
        IDS.into_iter().filter(|&id| id != self.server_id).collect()
    }

    fn notify_elected_leader(&mut self, term: Term) {
        self.told.elected.lock().unwrap().push((self.server_id, term));
    }

    fn notify_role_change(&mut self, change: RoleChange) {
        self.told.roles.lock().unwrap().push(change.to_string());
    }

    fn notify_commit(&mut self, entry: &Entry) {
        let mut committed = self.told.committed.lock().unwrap();
        committed.entry(self.server_id).or_default().push(entry.index);
    }
}

/// A disk that outlives its server; each write takes a thread, as a real one does.
#[derive(Clone, Default)]
struct Disk {
    storage: Arc<Mutex<MemoryStorage>>,
    writes: Arc<Mutex<usize>>,
    is_broken: Arc<Mutex<bool>>,
}

impl Storage for Disk {
    fn load(&mut self) -> Result<Recovered, StorageError> {
        self.storage.lock().unwrap().load()
    }

    fn save(&mut self, saves: &[Save]) -> Result<(), StorageError> {
        if *self.is_broken.lock().unwrap() {
            let source = std::io::Error::other("broken");
            return Err(StorageError::Io { action: "write", path: "disk".to_owned(), source });
        }
        *self.writes.lock().unwrap() += 1;
        self.storage.lock().unwrap().save(saves)
    }
}

struct Running {
    handle: Handle<CommandList>,
    task: JoinHandle<Result<(), DriverError>>,
    delivery: JoinHandle<()>,
}

fn start(network: &Network, told: &Told, config: Config, disk: Disk) -> Running {
    let id = config.server_id;
    let (sender, mut arrivals) = mpsc::unbounded_channel();
    network.servers.lock().unwrap().insert(id, sender);
    let host = Host { server_id: id, told: told.clone() };
    let machine = CommandList::new();
    let (driver, handle) = Driver::new(config, machine, disk, network.clone(), host).unwrap();
    let task = tokio::spawn(driver.run());
    let door = handle.clone();
    let delivery = tokio::spawn(async move {
        if door.notify_joined_service().await.is_err() {
            return;
        }
        while let Some(envelope) = arrivals.recv().await {
            if door.deliver(envelope).await.is_err() {
                return;
            }
        }
    });
    Running { handle, task, delivery }
}

fn of_three(id: ServerId) -> Config {
    Config { seed: 11, ..Config::new(id, IDS) }
}

/// Ends a server as a crash would: in the middle of whatever it does.
async fn kill(network: &Network, id: ServerId, running: Running) {
    network.servers.lock().unwrap().remove(&id);
    running.task.abort();
    running.delivery.abort();
    let _ = running.task.await;
}

fn client(network: &Network) -> ClientDriver<Network> {
    let (sender, arrivals) = mpsc::channel(16);
    network.clients.lock().unwrap().insert(CLIENT, sender);
    ClientDriver::new(ClientConfig::new(CLIENT, IDS), network.clone(), arrivals)
}

fn command(text: &str) -> Bytes {
    codec::encode_value(&text.to_owned()).into()
}

/// Lets paused time pass until the look says so.
async fn until(mut look: impl AsyncFnMut() -> bool) {
    let patience = async {
        while !look().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, patience).await.expect("it happens within a minute of paused time");
}

#[tokio::test(start_paused = true)]
async fn three_servers_elect_a_leader_and_apply_commands_in_order() {
    let (network, told) = (Network::default(), Told::default());
    let servers = IDS.map(|id| start(&network, &told, of_three(id), Disk::default()));
    let mut client = client(&network);
    for (count, text) in ["a", "b", "c"].into_iter().enumerate() {
        let answer = client.request(command(text), LONG).await.unwrap();
        assert_eq!(decode_outcome(&answer.response).unwrap(), Ok(count as u64 + 1));
    }
    for server in &servers {
        until(async || server.handle.query_stale(()).await.unwrap() == ["a", "b", "c"]).await;
    }
    assert_eq!(told.elected.lock().unwrap().len(), 1, "one leader, elected once");
    for indices in told.committed.lock().unwrap().values() {
        let expected: Vec<_> = (1..=indices.len() as u64).map(Index).collect();
        assert_eq!(*indices, expected, "every entry is reported once and in order");
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_replaced_and_catches_up_when_it_comes_back() {
    let (network, told) = (Network::default(), Told::default());
    let disks: BTreeMap<_, _> = IDS.into_iter().map(|id| (id, Disk::default())).collect();
    let run = |id: ServerId| start(&network, &told, of_three(id), disks[&id].clone());
    let mut servers: BTreeMap<_, _> = IDS.into_iter().map(|id| (id, run(id))).collect();
    let mut client = client(&network);
    let first = client.request(command("a"), LONG).await.unwrap();
    kill(&network, first.by, servers.remove(&first.by).unwrap()).await;
    let second = client.request(command("b"), LONG).await.unwrap();
    assert_ne!(second.by, first.by);
    assert!(second.log_id.term > first.log_id.term);

    let back = run(first.by);
    until(async || back.handle.query_stale(()).await.unwrap() == ["a", "b"]).await;
    let roles = told.roles.lock().unwrap();
    assert!(roles.iter().any(|role| role.ends_with("leader")), "{roles:?}");
}

#[expect(clippy::await_holding_lock, reason = "the disk hangs while the requests come in")]
#[tokio::test(start_paused = true)]
async fn saves_that_pile_up_share_the_next_write() {
    let (network, told) = (Network::default(), Told::default());
    let disk = Disk::default();
    let (writes, storage) = (disk.writes.clone(), disk.storage.clone());
    let alone = Config::new(ServerId(1), [ServerId(1)]);
    let server = start(&network, &told, alone, disk);
    let handle = &server.handle;
    until(async || handle.status().await.unwrap().last_applied == Index(1)).await;
    let before = *writes.lock().unwrap();

    // The disk hangs while the requests come in.
    let held = storage.lock().unwrap();
    for client in 1..=50 {
        let message = Message::ClientRequest(ClientRequest::new(
            ClientId(client),
            SequenceNumber(1),
            command("x"),
        ));
        let (from, to) = (ClientId(client).into(), ServerId(1).into());
        let envelope = Envelope { cluster_id: ClusterId::default(), from, to, message };
        handle.deliver(envelope).await.unwrap();
    }
    let status = handle.status().await.unwrap();
    assert_eq!(status.last.index, Index(51), "proposals flow while a write is under way");
    assert_eq!(status.commit_index, Index(1), "but nothing commits before it is durable");
    drop(held);

    handle.stop().await.unwrap();
    server.task.await.unwrap().unwrap();
    assert_eq!(storage.lock().unwrap().load().unwrap().entries.len(), 51);
    let writes = *writes.lock().unwrap() - before;
    assert!(writes <= 2, "{writes} writes for 50 commands");
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_storage_fails_stops_and_says_why() {
    let (network, told) = (Network::default(), Told::default());
    let disk = Disk::default();
    *disk.is_broken.lock().unwrap() = true;
    let server = start(&network, &told, Config::new(ServerId(1), [ServerId(1)]), disk);
    let error = server.task.await.unwrap().unwrap_err();
    assert!(matches!(error, DriverError::Storage(StorageError::Io { .. })), "{error:?}");
    assert!(server.handle.status().await.is_err(), "and its handles know");
}

#[tokio::test(start_paused = true)]
async fn a_request_nobody_answers_times_out() {
    let mut client = client(&Network::default());
    let error = client.request(command("a"), Duration::from_millis(2900)).await.unwrap_err();
    assert!(matches!(error, RequestError::TimedOut { attempts: 6, .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_leaves_the_client_free_for_the_next() {
    let (network, told) = (Network::default(), Told::default());
    let mut client = client(&network);
    let dropped = tokio::time::timeout(Duration::from_secs(1), client.request(command("a"), LONG));
    assert!(dropped.await.is_err(), "nobody is there to answer");
    let _servers = IDS.map(|id| start(&network, &told, of_three(id), Disk::default()));
    let answer = client.request(command("b"), LONG).await.unwrap();
    assert_eq!(answer.sequence_number, SequenceNumber(2));
    assert_eq!(decode_outcome(&answer.response).unwrap(), Ok(1_u64), "the first never arrived");
}

/// Remembers the order of calls.
struct Orderly(Arc<Mutex<Vec<&'static str>>>);

impl ServerManager for Orderly {
    fn server_id(&self) -> ServerId {
        ServerId(1)
    }

    fn remote_server_ids(&self) -> Vec<ServerId> {
        vec![ServerId(2), ServerId(3)]
    }

    fn initialize(&mut self) {
        self.0.lock().unwrap().push("initialize");
    }

    fn start(&mut self) {
        self.0.lock().unwrap().push("start");
    }

    fn notify_role_change(&mut self, _change: RoleChange) {
        self.0.lock().unwrap().push("role change");
    }

    fn notify_commit(&mut self, _entry: &Entry) {
        self.0.lock().unwrap().push("commit");
    }
}

#[tokio::test(start_paused = true)]
async fn the_host_is_started_once_and_before_it_is_told_anything() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (driver, handle) = Driver::new(
        of_three(ServerId(1)),
        CommandList::new(),
        MemoryStorage::new(),
        Network::default(),
        Orderly(calls.clone()),
    )
    .unwrap();
    let task = tokio::spawn(driver.run());
    // It arrives before the server has joined, and is deferred.
    let message = Message::AppendEntriesRequest(AppendEntriesRequest {
        term: Term(1),
        leader_id: ServerId(2),
        prev_log_index: Index::ZERO,
        prev_log_term: Term(0),
        entries: vec![Entry { term: Term(1), index: Index(1), payload: Payload::Noop }].into(),
        leader_commit: Index(1),
        round: Round(0),
    });
    let (from, to) = (ServerId(2).into(), ServerId(1).into());
    let cluster_id = ClusterId::default();
    handle.deliver(Envelope { cluster_id, from, to, message }).await.unwrap();
    handle.notify_joined_service().await.unwrap();
    handle.notify_joined_service().await.unwrap();
    let refusals = handle.status().await.unwrap().refusals;
    assert_eq!(refusals.get("joined-twice"), Some(&1));
    assert_eq!(*calls.lock().unwrap(), ["initialize", "start", "role change", "commit"]);
    handle.stop().await.unwrap();
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_stops_when_its_last_handle_is_dropped() {
    let (network, told) = (Network::default(), Told::default());
    let server = start(&network, &told, of_three(ServerId(1)), Disk::default());
    let Running { handle, task, delivery } = server;
    drop(handle);
    network.servers.lock().unwrap().clear();
    delivery.await.unwrap();
    task.await.unwrap().unwrap();
}
