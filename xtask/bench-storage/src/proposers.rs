//! Concurrent proposers: how many of their commands share a save of the leader's.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bench_core::clock::median;
use bench_core::driver::{self, TokioCluster, TokioLoad};
use bench_core::measure::Figures;
use bench_core::ours_driver::OurCluster;
use raft_core::{ClusterId, FileStorage, Recovered, Save, ServerId, Storage, StorageError};

use crate::store::Outcome;

/// Counts the calls that wait for the disk.
#[derive(Debug)]
struct Counting {
    storage: FileStorage,
    saves: Arc<AtomicU64>,
}

impl Storage for Counting {
    fn load(&mut self) -> Result<Recovered, StorageError> {
        self.storage.load()
    }

    fn save(&mut self, saves: &[Save]) -> Result<(), StorageError> {
        self.saves.fetch_add(1, Ordering::Relaxed);
        self.storage.save(saves)
    }

    fn is_instant(&self) -> bool {
        self.storage.is_instant()
    }
}

/// Saves of the leader per as many commands as there are clients, and what a command waits.
///
/// # Errors
///
/// If a storage cannot be opened.
pub fn measure(folder: &Path, load: TokioLoad) -> Outcome<Figures> {
    let voters: Vec<_> = (1..=load.servers as u64).map(ServerId).collect();
    let mut storages = Vec::new();
    let mut counts = Vec::new();
    for &server_id in &voters {
        let folder = folder.join(server_id.to_string());
        let storage = FileStorage::open(folder, ClusterId(1), server_id, &voters)?;
        let saves = Arc::new(AtomicU64::new(0));
        counts.push(Arc::clone(&saves));
        storages.push(Counting { storage, saves });
    }
    let (saves, mut latencies) = driver::runtime().block_on(async {
        let mut cluster = OurCluster::with_storages(storages, load.clients).await;
        let count = |server_id: ServerId| counts[server_id.0 as usize - 1].load(Ordering::Relaxed);
        let per_client = load.count / load.clients as u64;
        let warm_up = per_client / 10 + 1;
        let clients = cluster.clients();
        let (clients, _) = driver::write_all(clients, 0, warm_up, load.bytes).await;
        let leader = cluster.leader_id();
        let before = count(leader);
        let (_, latencies) = driver::write_all(clients, warm_up, per_client, load.bytes).await;
        let saves = count(leader) - before;
        driver::check(&cluster, load.clients, warm_up + per_client).await;
        cluster.stop().await;
        let latencies: Vec<_> =
            latencies.iter().map(|latency| latency.as_nanos() as f64 / 1000.0).collect();
        (saves, latencies)
    });
    let rounds = latencies.len() as f64 / load.clients as f64;
    Ok(vec![
        ("saves_per_round", saves as f64 / rounds),
        ("p50_microseconds", median(&mut latencies)),
    ])
}
