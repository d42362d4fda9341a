//! Snapshots under the driver: on paused time, with logs in real files.
#![cfg(all(feature = "driver", feature = "file-storage"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc as blocking};
use std::time::Duration;

use raft_core::driver::{Driver, DriverError, Handle};
use raft_core::{
    ClientId, ClientRequest, ClusterId, ClusterManager, CommandList, Config, Entry, Envelope,
    FileStorage, Index, MemoryStorage, Message, RestoreError, SequenceNumber, ServerId,
    ServerManager, StateMachine, Storage, codec,
};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, yield_now};

const IDS: [ServerId; 3] = [ServerId(1), ServerId(2), ServerId(3)];

/// Where the servers can be reached, and what their hosts were told of.
#[derive(Clone, Default)]
struct World {
    servers: Arc<Mutex<BTreeMap<ServerId, mpsc::UnboundedSender<Envelope>>>>,
    committed: Arc<Mutex<BTreeMap<ServerId, Vec<u64>>>>,
}

impl ClusterManager for World {
    fn send(&mut self, envelope: Envelope) {
        for (&id, server) in self.servers.lock().unwrap().iter() {
            if envelope.to == id.into() {
                let _ = server.send(envelope.clone());
            }
        }
    }

    fn broadcast(&mut self, envelope: Envelope) {
        for (&id, server) in self.servers.lock().unwrap().iter() {
            if envelope.from != id.into() {
                let _ = server.send(envelope.clone());
            }
        }
    }

    fn answer(&mut self, _envelope: Envelope) {}
}

struct Host(ServerId, World);

impl ServerManager for Host {
    fn server_id(&self) -> ServerId {
        self.0
    }

    fn remote_server_ids(&self) -> Vec<ServerId> {
        IDS.into_iter().filter(|&id| id != self.0).collect()
    }

    fn notify_commit(&mut self, entry: &Entry) {
        self.1.committed.lock().unwrap().entry(self.0).or_default().push(entry.index.0);
    }
}

struct Running<M: StateMachine> {
    handle: Handle<M>,
    task: JoinHandle<Result<(), DriverError>>,
}

impl<M: StateMachine> Running<M> {
    fn start(world: &World, config: Config, machine: M, storage: impl Storage) -> Self {
        let id = config.server_id;
        let (sender, mut arrivals) = mpsc::unbounded_channel();
        world.servers.lock().unwrap().insert(id, sender);
        let host = Host(id, world.clone());
        let (driver, handle) = Driver::new(config, machine, storage, world.clone(), host).unwrap();
        let (task, door) = (tokio::spawn(driver.run()), handle.clone());
        tokio::spawn(async move {
            let _ = door.notify_joined_service().await;
            while let Some(envelope) = arrivals.recv().await {
                let _ = door.deliver(envelope).await;
            }
        });
        Self { handle, task }
    }

    async fn request(&self, number: u64, text: &str) {
        let command = codec::encode_value(&text.to_owned()).into();
        let request = ClientRequest::new(ClientId(9), SequenceNumber(number), command);
        let to = self.handle.status().await.unwrap().server_id;
        let envelope = Envelope {
            cluster_id: ClusterId::default(),
            from: ClientId(9).into(),
            to: to.into(),
            message: Message::ClientRequest(request),
        };
        self.handle.deliver(envelope).await.unwrap();
    }

    async fn stop(self, world: &World) {
        let id = self.handle.status().await.unwrap().server_id;
        world.servers.lock().unwrap().remove(&id);
        self.handle.stop().await.unwrap();
        self.task.await.unwrap().unwrap();
    }
}

/// Lets paused time pass until the look says so.
async fn until(mut look: impl AsyncFnMut() -> bool) {
    let patience = async {
        while !look().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), patience).await.unwrap();
}

fn file(folder: &Path, config: &Config) -> FileStorage {
    let folder = folder.join(config.server_id.to_string());
    FileStorage::open(folder, config.cluster_id, config.server_id, &config.voters).unwrap()
}

fn alone() -> Config {
    let config = Config::new(IDS[0], [IDS[0]]);
    Config { snapshot_entries: Some(4), snapshot_keep_entries: 1, ..config }
}

fn letters(count: u64) -> Vec<String> {
    (1..=count).map(|number| format!("c{number}")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_server_goes_on_from_its_snapshot_in_a_file() {
    let (folder, world) = (tempfile::tempdir().unwrap(), World::default());
    let start =
        || Running::start(&world, alone(), CommandList::new(), file(folder.path(), &alone()));
    for round in 0..3 {
        let server = start();
        let handle = &server.handle;
        until(async || handle.status().await.unwrap().role == "leader").await;
        for number in round * 5 + 1..=round * 5 + 5 {
            server.request(number, &format!("c{number}")).await;
            until(async || handle.query_stale(()).await.unwrap() == letters(number)).await;
        }
        let status = handle.status().await.unwrap();
        assert!(status.snapshot.index > Index(round * 5), "{status:?}");
        assert_eq!(status.log_start.index, Index(status.snapshot.index.0 - 1));
        // The host is told of what comes after the snapshot, in order, and of nothing twice.
        let told = std::mem::take(&mut *world.committed.lock().unwrap());
        let told = &told[&IDS[0]];
        assert!(told.windows(2).all(|pair| pair[1] == pair[0] + 1), "{told:?}");
        assert_eq!(told.last(), Some(&status.commit_index.0));
        assert_eq!(told[0] == 1, round == 0, "{told:?}");
        server.stop(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_taken_when_the_handle_asks_for_it() {
    let (folder, world) = (tempfile::tempdir().unwrap(), World::default());
    let config = Config { snapshot_entries: None, ..alone() };
    let storage = file(folder.path(), &config);
    let server = Running::start(&world, config, CommandList::new(), storage);
    let handle = &server.handle;
    until(async || handle.status().await.unwrap().last_applied == Index(1)).await;
    server.request(1, "c1").await;
    until(async || handle.status().await.unwrap().last_applied == Index(2)).await;
    assert_eq!(handle.status().await.unwrap().snapshot.index, Index(0));
    handle.take_snapshot().await.unwrap();
    until(async || handle.status().await.unwrap().log_start.index == Index(1)).await;
    assert_eq!(handle.status().await.unwrap().snapshot.index, Index(2));
    server.stop(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_is_far_behind_is_restored_and_its_host_is_told_in_order() {
    let (folder, world) = (tempfile::tempdir().unwrap(), World::default());
    let start = |id| {
        let config = Config::new(id, IDS);
        let config = Config { snapshot_entries: Some(3), snapshot_keep_entries: 0, ..config };
        let storage = file(folder.path(), &config);
        (id, Running::start(&world, config, CommandList::new(), storage))
    };
    let mut servers: BTreeMap<_, _> = IDS.into_iter().map(start).collect();
    let mut leader = None;
    until(async || {
        for (&id, server) in &servers {
            let status = server.handle.status().await.unwrap();
            leader = leader.or((status.role == "leader").then_some(id));
        }
        leader.is_some()
    })
    .await;
    let leader = leader.unwrap();
    let behind = IDS.into_iter().find(|&id| id != leader).unwrap();
    let handle = servers[&leader].handle.clone();
    servers[&leader].request(1, "c1").await;
    until(async || servers[&behind].handle.query_stale(()).await.unwrap() == letters(1)).await;
    servers.remove(&behind).unwrap().stop(&world).await;
    world.committed.lock().unwrap().remove(&behind);
    for number in 2..=20 {
        servers[&leader].request(number, &format!("c{number}")).await;
        until(async || handle.query_stale(()).await.unwrap() == letters(number)).await;
    }
    let log_start = handle.status().await.unwrap().log_start.index;
    assert!(log_start > Index(10), "{log_start}");

    let (_, back) = start(behind);
    until(async || back.handle.query_stale(()).await.unwrap() == letters(20)).await;
    let told = world.committed.lock().unwrap().remove(&behind).unwrap_or_default();
    assert!(told.windows(2).all(|pair| pair[1] > pair[0]), "{told:?}");
    assert!(told.iter().filter(|&&index| index > log_start.0).count() < 10, "{told:?}");
    back.stop(&world).await;
}

/// The same while a thread works: paused time stands still then.
async fn soon(mut look: impl AsyncFnMut() -> bool) {
    while !look().await {
        yield_now().await;
    }
}

/// A state machine whose state takes a while to write down.
struct Slow {
    count: u64,
    release: Arc<Mutex<blocking::Receiver<()>>>,
}

impl StateMachine for Slow {
    type Command = String;
    type Response = ();
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, _index: Index, _command: String) {
        self.count += 1;
    }

    fn query(&self, (): ()) -> u64 {
        self.count
    }

    fn snapshot(&self) -> Vec<u8> {
        self.begin_snapshot()()
    }

    fn begin_snapshot(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
        let (count, release) = (self.count, self.release.clone());
        Box::new(move || {
            // Whoever held it may be gone: then nobody waits for the state either.
            let _ = release.lock().unwrap().recv();
            assert_ne!(count, 13, "a state that cannot be written");
            count.to_le_bytes().to_vec()
        })
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), RestoreError> {
        unreachable!("it is never restored")
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_goes_on_while_its_state_is_written_down() {
    let world = World::default();
    let (sender, release) = blocking::channel();
    let machine = Slow { count: 0, release: Arc::new(Mutex::new(release)) };
    let config = Config { snapshot_entries: Some(3), snapshot_keep_entries: 0, ..alone() };
    let server = Running::start(&world, config, machine, MemoryStorage::new());
    let handle = &server.handle;
    until(async || handle.status().await.unwrap().last_applied == Index(1)).await;
    for number in 1..=12 {
        server.request(number, "x").await;
        soon(async || handle.query_stale(()).await.unwrap() == number).await;
    }
    assert_eq!(handle.status().await.unwrap().snapshot.index, Index(0));
    sender.send(()).unwrap();
    soon(async || handle.status().await.unwrap().snapshot.index == Index(3)).await;
    let data = handle.inspect(|server, _| server.snapshot().unwrap().data().clone());
    assert_eq!(data.await.unwrap()[..], 2_u64.to_le_bytes(), "as it was at entry 3");

    // The next one is under way already; the state after it cannot be written.
    sender.send(()).unwrap();
    soon(async || handle.status().await.unwrap().snapshot.index == Index(13)).await;
    server.request(13, "x").await;
    soon(async || handle.query_stale(()).await.unwrap() == 13).await;
    handle.take_snapshot().await.unwrap();
    sender.send(()).unwrap();
    let error = server.task.await.unwrap().unwrap_err();
    assert!(matches!(error, DriverError::SnapshotPanicked), "{error:?}");
}
