//! Clusters on tokio: concurrent clients, each of which waits for its answer before it asks again.
//!
//! Everything runs in one process and on one runtime with two threads, clients included; messages are
//! handed over in memory, and saves are instant unless a cluster is given storages of another kind.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};

use crate::clock::CpuClock;
use crate::cluster::{Machine, command};
use crate::measure::Figures;

/// How long the servers may take to apply what is committed, and how often they are asked.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);

/// A running cluster.
pub trait TokioCluster: Sized {
    /// One client of it.
    type Client: TokioClient;

    /// Starts a cluster, and waits for its leader.
    fn start(servers: usize, clients: usize) -> impl Future<Output = Self>;

    /// All clients.
    fn clients(&mut self) -> Vec<Self::Client>;

    /// What every server has applied so far.
    fn machines(&self) -> impl Future<Output = Vec<Machine>>;

    /// Ends it.
    fn stop(self) -> impl Future<Output = ()>;
}

/// A client with one request at a time.
pub trait TokioClient: Send + 'static {
    /// Has a command replicated, committed and applied, and waits for the answer.
    fn write(&mut self, command: Bytes) -> impl Future<Output = ()> + Send;
}

/// What is put through a cluster.
#[derive(Clone, Copy, Debug)]
pub struct TokioLoad {
    /// How many servers.
    pub servers: usize,
    /// How many clients at the same time.
    pub clients: usize,
    /// The size of a command.
    pub bytes: usize,
    /// How many commands all clients write together.
    pub count: u64,
}

/// Commits per second, the latency of one, and the CPU time of the whole process for it.
///
/// # Panics
///
/// If not every server applies every command once.
pub fn measure<C: TokioCluster>(load: TokioLoad) -> Figures {
    runtime().block_on(async {
        let mut cluster = C::start(load.servers, load.clients).await;
        let per_client = load.count / load.clients as u64;
        let warm_up = per_client / 10 + 1;

        let clients = cluster.clients();
        let (clients, _) = write_all(clients, 0, warm_up, load.bytes).await;
        let (cpu, wall) = (CpuClock::Process.now(), Instant::now());
        let (_, mut latencies) = write_all(clients, warm_up, per_client, load.bytes).await;
        let (cpu, wall) = (CpuClock::Process.now() - cpu, wall.elapsed());

        check(&cluster, load.clients, warm_up + per_client).await;
        cluster.stop().await;

        latencies.sort_unstable();
        let commits = latencies.len() as f64;
        let percentile =
            |percent: usize| latencies[latencies.len() * percent / 100].as_nanos() as f64 / 1000.0;
        vec![
            ("commits_per_second", commits / wall.as_secs_f64()),
            ("p50_microseconds", percentile(50)),
            ("p99_microseconds", percentile(99)),
            ("cpu_microseconds_per_commit", cpu.as_secs_f64() * 1e6 / commits),
        ]
    })
}

/// Two threads, for servers and clients.
///
/// # Panics
///
/// If they cannot be had.
#[must_use]
pub fn runtime() -> Runtime {
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_time().build();
    runtime.expect("two threads can be had")
}

/// Asserts that every server applies what so many clients wrote, and nothing else. Each of them numbers
/// its commands from 0.
///
/// # Panics
///
/// If one does not, or not soon.
pub async fn check<C: TokioCluster>(cluster: &C, clients: usize, per_client: u64) {
    let one = Machine::after(per_client);
    let clients = clients as u64;
    let expected = Machine { count: one.count * clients, sum: one.sum * clients };
    let deadline = Instant::now() + PATIENCE;
    while cluster.machines().await.iter().any(|&machine| machine != expected) {
        assert!(Instant::now() < deadline, "a server has not applied every command once");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Has every client write its commands, and returns the clients with all latencies.
///
/// # Panics
///
/// If a client does.
pub async fn write_all<C: TokioClient>(
    clients: Vec<C>,
    first: u64,
    count: u64,
    bytes: usize,
) -> (Vec<C>, Vec<Duration>) {
    let write = |mut client: C| async move {
        let mut latencies = Vec::with_capacity(count as usize);
        for number in first..first + count {
            let started = Instant::now();
            client.write(command(number, bytes).into()).await;
            latencies.push(started.elapsed());
        }
        (client, latencies)
    };
    let tasks: Vec<_> = clients.into_iter().map(|client| tokio::spawn(write(client))).collect();
    let (mut clients, mut latencies) = (Vec::new(), Vec::new());
    for task in tasks {
        let (client, of_client) = task.await.expect("a client does not panic");
        clients.push(client);
        latencies.extend(of_client);
    }
    (clients, latencies)
}
