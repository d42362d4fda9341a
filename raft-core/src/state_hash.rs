//! Everything that a server's future depends on, as a hash: for whoever explores what can happen.

use std::hash::{Hash, Hasher};

use crate::server::Server;

impl Server {
    /// Takes into a hash everything that this server's future depends on, but for what its random
    /// numbers will be: equal servers with equal inputs do the same, if `election_timeout_min` and
    /// `election_timeout_max` are equal.
    ///
    /// For testers that must know whether they have been in a state before.
    pub fn hash_state(&self, state: &mut impl Hasher) {
        // Whoever adds a field decides here whether it is state.
        let Self {
            config: _,
            members,
            hard_state,
            log,
            durability,
            role,
            commit_index,
            applying,
            last_applied,
            applies,
            sessions,
            snapshots,
            reads,
            now,
            deadline,
            election_timeout,
            rng: _,
            recovered_index,
            sticky_until,
            deferrals,
            deferred,
            refusals: _,
        } = self;
        (members, hard_state, log, durability, role).hash(state);
        (commit_index, applying, last_applied, applies).hash(state);
        (sessions, snapshots, reads, deferrals, deferred).hash(state);
        (now, deadline, election_timeout, recovered_index, sticky_until).hash(state);
    }
}
