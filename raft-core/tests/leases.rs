//! How long a lease lasts (dissertation §6.4.1).
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

#[path = "support/cluster.rs"]
mod cluster;

use std::time::Duration;

use raft_core::{Index, Input, ReadId, ReadMode, ServerId};

use crate::cluster::Cluster;

/// With clocks of one speed, a lease lasts as long as the promises it rests on, from when the round was
/// sent to the last moment before the least election timeout is over.
#[test]
fn a_lease_ends_with_the_promises_it_rests_on() {
    let leader = ServerId(1);
    let mut cluster = Cluster::new(3, |config| {
        (config.lease_reads, config.check_quorum, config.clock_drift_permille) = (true, true, 0);
    });
    for id in cluster.ids() {
        cluster.join(id).unwrap();
    }
    cluster.elect(leader);
    cluster.elapse(leader);
    let sent_at = cluster.now;
    cluster.stabilize();
    for (id, millis, is_held) in [(1, 299, true), (2, 300, false)] {
        cluster.now = sent_at + Duration::from_millis(millis);
        cluster.step(leader, Input::Read { id: ReadId(id), mode: ReadMode::Lease }).unwrap();
        let is_served = cluster.reads.contains(&(ReadId(id), Some(Index(1))));
        assert_eq!(is_served, is_held, "after {millis} ms");
    }
}
