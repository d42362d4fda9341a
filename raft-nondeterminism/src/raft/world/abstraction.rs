//! What of a cluster's state teaches a tester something: roles, how terms, logs and commit indices compare.
//!
//! Guarantees: servers have no names in it, so two clusters that differ by a renaming of the servers
//!             are in one abstract state.

use raft_core::{Envelope, Server};

use super::host::Host;
use crate::fingerprint::Fingerprint;
use crate::network::Network;
use crate::shared::Shared;

/// More than this is one and the same "many".
const FEW: u64 = 3;

/// The abstract state of a cluster.
pub(super) fn of(hosts: &[Shared<Host>], network: &Network<Envelope>) -> u64 {
    let servers = || hosts.iter().filter_map(|host| host.server.as_ref());
    let term = servers().map(|server| server.current_term().0).max().unwrap_or_default();
    let commit = servers().map(|server| server.commit_index().0).max().unwrap_or_default();
    let mut sum = 0u64;
    for host in hosts {
        let one = host.server.as_ref().map_or(1, |server| of_server(server, term, commit));
        let mut hash = Fingerprint::default();
        hash.mix(one);
        // Addition forgets the order.
        sum = sum.wrapping_add(hash.0);
    }
    let crowd = network.in_flight().checked_ilog2().map_or(0, |log| u64::from(log) + 1);
    let mut all = Fingerprint(sum);
    all.mix(crowd << 8 | term.min(7) << 4 | commit.min(7));
    all.0
}

fn of_server(server: &Server, term: u64, commit: u64) -> u64 {
    let log = server.log();
    let hard_state = server.hard_state();
    let current = hard_state.current_term.0;
    let last_term = log.last_term().0;
    let last = log.last_index().0;
    let fields = [
        // Roles have names of different length.
        server.role().name().len() as u64 & 15,
        (term - current).min(FEW),
        u64::from(hard_state.voted_for.is_some()),
        (current - last_term.min(current)).min(FEW),
        last.saturating_sub(server.commit_index().0).min(FEW),
        (commit - server.commit_index().0).min(FEW),
        (last - server.durable_index().0.min(last)).min(FEW),
        last.min(7),
        u64::from(server.snapshot().is_some()),
        u64::from(server.configuration().is_joint()),
    ];
    fields.iter().fold(2, |all, field| all << 4 | field)
}
