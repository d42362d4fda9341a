//! What differs from run to run within a scenario: the settings of the servers and their surroundings.
//!
//! Guarantees: everything is asked of the oracle before the first event; 0 is always what a server does by
//!             default, so a schedule from before there was a choice still says the same.

use std::time::Duration;

use raft_core::{Config, ServerId};

use super::World;
use super::files::FirstStart;
use super::host::SPEED;
use crate::fault::Fault;
use crate::operation::Operation;
use crate::oracle::Oracle;
use crate::raft::changes::Aim;
use crate::raft::scenario::{Clocks, Protocol, SaveMode, Scenario};
use crate::strategy::NotReproducible;

/// The settings that differ from run to run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variant {
    /// How fast the clock of each server runs, in thousandths; empty if they all show the same.
    pub(super) speeds: Vec<u64>,
    /// A leader sends one entry per request, and snapshots in small chunks.
    pub(super) is_one_by_one: bool,
    /// How many entries stay in the log behind a snapshot.
    pub(super) keep_entries: u64,
    /// Idle followers hear of commits at once.
    pub(super) announces_commits: bool,
    /// Servers pass on to the leader what clients ask them.
    pub(super) forwards_requests: bool,
    /// One server is to lead whenever it can.
    pub(super) has_priorities: bool,
    /// Servers take what has arrived together, as busy hosts do.
    pub(super) is_batching: bool,
    /// State machines take their time too.
    pub(super) applies_slowly: bool,
    /// Saves and applications need no answer, because they are done before anything else happens.
    pub(super) is_synchronous: bool,
    /// Candidates do not ask first who would vote for them.
    pub(super) skips_pre_vote: bool,
    /// Leaders go on without a majority that hears them, and nobody protects them.
    pub(super) skips_check_quorum: bool,
    /// A learner may be no more than an entry behind when it becomes a voter.
    pub(super) wants_close_learners: bool,
    /// How many requests a leader sends a follower before it waits for an answer; 0 for many.
    pub(super) requests_in_flight: usize,
    /// Two heartbeats take longer than any election timeout, so that time passes in few large steps.
    pub(super) beats_rarely: bool,
    /// Everyone waits for the least election timeout, and clocks that show the same do not drift either:
    /// things then happen at the very moment at which something ends.
    pub(super) is_punctual: bool,
    /// A disk that has not finished within a heartbeat counts as stalled.
    pub(super) stalls_soon: bool,
    /// Which limit of a leader is so low that runs reach it.
    pub(super) limit: Limit,
    /// Commands are larger than a sector of a disk.
    pub(super) has_large_commands: bool,
    /// Servers crash only when it hurts most.
    pub(super) aims_crashes: bool,
    /// What the operators are after.
    pub(super) operators: Aim,
    /// The application proposes something right behind each change, and a leader sends a follower one entry
    /// after the other: that `C_old,new` is committed is then heard by whoever lacks `C_new`.
    pub(super) changes_slowly: bool,
    /// Timers fire so late that nobody was heard of lately.
    pub(super) oversleeps: bool,
    /// There is room for the sessions of all clients.
    pub(super) keeps_sessions: bool,
    /// Who asks again for one thing asks again for everything.
    pub(super) retries_all: bool,
    /// How the very first start of each server on its files ends.
    pub(super) first_start: FirstStart,
}

/// A limit of a leader that is lower than by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Limit {
    #[default]
    None,
    /// One entry of clients or the application may be uncommitted.
    Uncommitted,
    /// Two entries may be on their way to a follower.
    Entries,
    /// About two entries fit into a request.
    Bytes,
}

impl Limit {
    const ALL: [Self; 4] = [Self::None, Self::Uncommitted, Self::Entries, Self::Bytes];
}

impl Variant {
    /// Asks the oracle for what matters in this scenario; returns the scenario with everything in it that
    /// varies chosen.
    pub(in crate::raft) fn choose(
        scenario: &Scenario,
        oracle: &mut Oracle<'_>,
    ) -> Result<(Scenario, Self), NotReproducible> {
        let mut scenario = scenario.clone();
        let is_varied = scenario.vary(oracle)?;
        let mut speeds = Vec::new();
        if scenario.clocks == Clocks::Drifting {
            let drift = u64::from(Config::new(ServerId(1), [ServerId(1)]).clock_drift_permille);
            for _ in 0..scenario.servers + scenario.spares {
                speeds.push([SPEED, SPEED - drift, SPEED + drift][oracle.choose(3, "speed")?]);
            }
        }
        // Some bugs in committing show only if a leader cannot send all it has in one request.
        let is_one_by_one = oracle.choose(2, "one_entry_per_request")? == 1;
        let mut variant = Self { speeds, is_one_by_one, ..Self::default() };
        if scenario.has_snapshots() {
            variant.keep_entries = oracle.choose(3, "keep_entries")? as u64;
        }
        if scenario.has_operations() || is_varied {
            variant.announces_commits = oracle.choose(2, "announce_commits")? == 1;
            variant.forwards_requests = oracle.choose(2, "forward_requests")? == 1;
            variant.has_priorities = oracle.choose(4, "priorities")? == 1;
            variant.is_batching = oracle.choose(3, "batches")? == 1;
            variant.applies_slowly = oracle.choose(3, "slow_state_machines")? == 1;
            variant.skips_pre_vote = oracle.choose(4, "without_pre_vote")? == 1;
            variant.skips_check_quorum = oracle.choose(8, "without_check_quorum")? == 1;
            variant.wants_close_learners = oracle.choose(2, "close_learners")? == 1;
            variant.requests_in_flight = oracle.choose(4, "requests_in_flight")?;
            if scenario.saves == SaveMode::Immediate {
                variant.is_synchronous = oracle.choose(2, "synchronous_driver")? == 1;
            } else {
                variant.stalls_soon = oracle.choose(4, "short_stalls")? == 1;
            }
            variant.beats_rarely = oracle.choose(4, "rare_heartbeats")? == 1;
            // Who has left may then depose every leader for ever, if nobody is protected: what ends that
            // is that election timeouts are random (Raft §5.2).
            let is_protected = scenario.protocol == Protocol::Full
                && !variant.skips_pre_vote
                && !variant.skips_check_quorum;
            if is_protected {
                variant.is_punctual = oracle.choose(3, "punctual")? == 1;
            }
            // Mostly none of them.
            let limit = oracle.choose(2 * Limit::ALL.len(), "low_limit")?;
            variant.limit = Limit::ALL.get(limit).copied().unwrap_or_default();
            if scenario.faults.budget(Fault::Crash) > 0 {
                variant.aims_crashes = oracle.choose(6, "aimed_crashes")? == 1;
            }
        }
        if scenario.operations.budget(Operation::ChangeMembership) > 0 {
            let aims = [Aim::Any, Aim::More, Aim::Fewer, Aim::Any, Aim::Promotion];
            variant.operators = aims[oracle.choose(aims.len(), "operators")?];
            let slowness = oracle.choose(4, "slow_changes")?;
            variant.changes_slowly = slowness >= 2;
            // What makes a difference then is a leader that stops half-way.
            variant.aims_crashes |= slowness == 3 && scenario.faults.budget(Fault::Crash) > 0;
            // A leader that needs to hear a majority would give up each time; and without that no promise
            // rests on clocks.
            if scenario.protocol == Protocol::Plain || variant.skips_check_quorum {
                variant.oversleeps = oracle.choose(2, "late_timers")? == 1;
            }
        }
        if scenario.sessions_max > 0 {
            variant.keeps_sessions = oracle.choose(2, "kept_sessions")? == 1;
            variant.retries_all = oracle.choose(2, "retries_of_all")? == 1;
        }
        if scenario.saves == SaveMode::Files {
            variant.has_large_commands = oracle.choose(3, "large_commands")? == 1;
            variant.first_start = FirstStart::choose(oracle)?;
        }
        Ok((scenario, variant))
    }
}

impl World {
    /// The settings of a server.
    pub(super) fn config(&self, server_id: ServerId) -> Config {
        let Self { scenario, variant, .. } = self;
        // Those that stand by are started with the voters that the cluster began with.
        let voters = self.hosts.iter().map(|host| host.id).take(scenario.servers);
        let mut config = Config::new(server_id, voters);
        config.defect = self.defect;
        if scenario.protocol == Protocol::Plain {
            config.pre_vote = false;
            config.check_quorum = false;
        }
        config.pre_vote &= !variant.skips_pre_vote;
        config.check_quorum &= !variant.skips_check_quorum;
        if variant.wants_close_learners {
            config.catch_up_entries_max = 1;
        }
        if variant.requests_in_flight > 0 {
            config.in_flight_messages_max = variant.requests_in_flight;
        }
        match variant.limit {
            Limit::None => {}
            Limit::Uncommitted => config.uncommitted_bytes_max = 1,
            Limit::Entries => config.in_flight_entries_max = 2,
            Limit::Bytes => (config.append_bytes_max, config.in_flight_bytes_max) = (130, 190),
        }
        if variant.beats_rarely {
            config.heartbeat_interval = config.election_timeout_min * 9 / 10;
        }
        if variant.stalls_soon {
            config.disk_stall_timeout = Some(config.heartbeat_interval);
        }
        if variant.is_punctual && scenario.clocks == Clocks::Common {
            config.clock_drift_permille = 0;
        }
        if scenario.term_max > 0 || variant.is_punctual {
            // Where timers fire at any time, how long they take is one more thing that differs.
            config.election_timeout_max = config.election_timeout_min + Duration::from_nanos(1);
        }
        if variant.changes_slowly {
            config.in_flight_messages_max = 1;
        }
        if variant.is_one_by_one || variant.changes_slowly {
            // Of a snapshot, more than a byte at a time: it takes a message each.
            config.append_bytes_max = if scenario.has_snapshots() { 24 } else { 1 };
        }
        config.snapshot_entries = Some(scenario.snapshot_entries).filter(|&entries| entries > 0);
        config.snapshot_keep_entries = variant.keep_entries;
        config.lease_reads = scenario.clocks != Clocks::Free && config.check_quorum;
        config.announce_commits = variant.announces_commits;
        config.forward_requests = variant.forwards_requests;
        config.synchronous_driver = variant.is_synchronous;
        if scenario.sessions_max > 0 && !variant.keeps_sessions {
            // Who leads when a session is opened decides how many there are.
            config.sessions_max = scenario.sessions_max + u32::from(server_id.0.is_multiple_of(2));
        }
        if variant.has_priorities {
            config.priorities.insert(ServerId(2), 1);
        }
        config
    }
}
