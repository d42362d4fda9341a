//! Concurrent proposers: how many of their commands share a wait for the leader's disk.

use std::path::Path;

use bench_core::clock::median;
use bench_core::driver::{self, TokioCluster, TokioLoad};
use bench_core::measure::Figures;
use bench_core::ours_driver::OurCluster;
use raft_core::{ClusterId, FileStorage, ServerId};

use crate::store::Outcome;
use crate::syncs::CountingFileSystem;

/// Syncs of the leader per as many commands as there are clients, and what a command waits.
///
/// # Errors
///
/// If a storage cannot be opened.
pub fn measure(folder: &Path, load: TokioLoad) -> Outcome<Figures> {
    let voters: Vec<_> = (1..=load.servers as u64).map(ServerId).collect();
    let (mut storages, mut syncs) = (Vec::new(), Vec::new());
    for &server_id in &voters {
        let fs = CountingFileSystem::default();
        syncs.push(fs.syncs.clone());
        let folder = folder.join(server_id.to_string());
        storages.push(FileStorage::open_in(fs, folder, ClusterId(1), server_id, &voters)?);
    }
    let (syncs, latencies) = driver::runtime().block_on(async {
        let mut cluster = OurCluster::with_storages(storages, load.clients).await;
        let of_leader = &syncs[cluster.leader_id().0 as usize - 1];
        let per_client = load.count / load.clients as u64;
        let warm_up = per_client / 10 + 1;

        let clients = cluster.clients();
        let (clients, _) = driver::write_all(clients, 0, warm_up, load.bytes).await;
        let before = of_leader.count();
        let (_, latencies) = driver::write_all(clients, warm_up, per_client, load.bytes).await;
        let syncs = of_leader.count() - before;

        driver::check(&cluster, load.clients, warm_up + per_client).await;
        cluster.stop().await;
        (syncs, latencies)
    });
    let rounds = latencies.len() as f64 / load.clients as f64;
    let mut latencies: Vec<_> =
        latencies.iter().map(|latency| latency.as_nanos() as f64 / 1000.0).collect();
    Ok(vec![
        ("syncs_per_round", syncs as f64 / rounds),
        ("p50_microseconds", median(&mut latencies)),
    ])
}
