//! What an operator chooses for one server, and what makes no sense.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::codec::FRAME_BYTES_MAX;
use crate::error::NewServerError;
use crate::storage::Recovered;
use crate::types::{ClusterId, ServerId};

/// What a frame needs besides the entries of one request: far less than this.
const FRAME_ROOM_BYTES: usize = 1024;

/// The settings of one server. All servers of a cluster should share all but `server_id` and `seed`.
///
/// ```
/// use raft_core::{Config, ServerId};
///
/// let config = Config::new(ServerId(1), [1, 2, 3].map(ServerId));
/// assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The cluster this server belongs to; messages of others are refused.
    pub cluster_id: ClusterId,
    /// This server.
    pub server_id: ServerId,
    /// Every server with a vote when the cluster begins. From then on the log says who belongs to it
    /// (Raft §6): a server that is added later is started with the voters that the cluster began with,
    /// or with those it has now, and need not be one of them.
    pub voters: Vec<ServerId>,
    /// Every server without a vote when the cluster begins (dissertation §4.2.1).
    pub learners: Vec<ServerId>,
    /// Whether the server may find nothing in its storage, and what it is then.
    pub start: Start,
    /// A follower that hears nothing for a random time from this on becomes a candidate (Raft §5.2).
    pub election_timeout_min: Duration,
    /// The random time stays below this. Twice the minimum spreads candidates well.
    pub election_timeout_max: Duration,
    /// How often a leader shows that it lives; well below `election_timeout_min`, and above the
    /// time a message takes.
    pub heartbeat_interval: Duration,
    /// Ask whether an election could be won before starting one, so that a server that was cut off
    /// does not depose a leader when it comes back (dissertation §9.6).
    pub pre_vote: bool,
    /// A leader that hears from no majority for `election_timeout_max` steps down, and a server that
    /// hears its leader helps no one to depose it (dissertation §6.2, §4.2.3). All servers of a
    /// cluster must agree on it: with it here and not at the leader, a leader that cannot hear could
    /// not be replaced.
    pub check_quorum: bool,
    /// The driver carries out each effect before the next one, and all of them before it gives the
    /// server another input. Then it need not say so: it answers neither a
    /// [`Save`](crate::Effect::Save) nor a [`RestoreSnapshot`](crate::Effect::RestoreSnapshot), and an
    /// [`Apply`](crate::Effect::Apply) only if that holds requests of clients. This suits storage in
    /// memory, and simple drivers; others keep it off, so that the disk and the network work at once.
    /// `driver::Driver` is such another one, and ignores it.
    pub synchronous_driver: bool,
    /// A leader whose oldest save is not durable after this long steps down, and calls no election
    /// before it is: a server whose disk hangs would hold everyone up. `None` waits for ever.
    pub disk_stall_timeout: Option<Duration>,
    /// Whom to prefer as leader: a server waits longer before an election for each voter of higher
    /// priority, and a leader hands over to a voter of higher priority that has caught up. Servers
    /// that are not named have priority 0. All servers of a cluster should agree on it.
    pub priorities: BTreeMap<ServerId, u32>,
    /// Serve [`ReadMode::Lease`](crate::ReadMode::Lease) by the clock. All servers of a cluster must
    /// agree on it, and `check_quorum` must be on: a voter that just started protects a leader it may
    /// have heard before.
    pub lease_reads: bool,
    /// By how much the clocks of two servers may differ in speed, in thousandths. Only lease reads
    /// depend on it; if a clock is further off, they may miss a write.
    pub clock_drift_permille: u32,
    /// Tell idle followers of a new commit index at once, and not with the next heartbeat: they apply
    /// sooner, at the price of one more message and answer for each.
    pub announce_commits: bool,
    /// A follower passes a client's request on to the leader it knows, and does not send the client
    /// there.
    pub forward_requests: bool,
    /// Take a snapshot whenever so many entries were applied since the last one; `None` takes one
    /// only when asked.
    pub snapshot_entries: Option<u64>,
    /// How many entries stay in the log behind a snapshot, for followers that are not far behind.
    pub snapshot_keep_entries: u64,
    /// How many sessions of clients are kept; the one used least lately ends when one more is opened.
    /// Clients that do not register keep up to 65,536 of them, until the next one registers.
    /// The leader's setting counts.
    pub sessions_max: u32,
    /// A learner becomes a voter only if it lacks no more entries than this.
    pub catch_up_entries_max: u64,
    /// Chooses the random times. Two servers with the same seed still choose differently.
    pub seed: u64,
    /// The size of the entries in one AppendEntries request, in bytes. One entry is always sent,
    /// however large.
    pub append_bytes_max: usize,
    /// How many entries may be on their way to one follower before the leader waits.
    pub in_flight_entries_max: u64,
    /// How many requests with entries may be on their way to one follower.
    pub in_flight_messages_max: usize,
    /// How many bytes of entries may be on their way to one follower. One entry is always sent.
    pub in_flight_bytes_max: usize,
    /// How many bytes of entries ([`Entry::size_bytes`](crate::Entry::size_bytes)) the leader takes
    /// that are not committed yet; beyond, it is busy. One entry is always taken.
    pub uncommitted_bytes_max: usize,
    /// The size of the largest command the leader takes, in bytes.
    pub command_bytes_max: usize,
    /// A planted bug, for tutorials and to prove that the tester finds it.
    #[cfg(feature = "defects")]
    pub defect: Option<crate::defect::Defect>,
}

impl Config {
    /// Settings that suit servers some milliseconds apart: 50 ms heartbeats, elections after 300 to
    /// 600 ms of silence. Over a slow bus, take at least ten times its slowest hop instead.
    #[must_use]
    pub fn new(server_id: ServerId, voters: impl IntoIterator<Item = ServerId>) -> Self {
        Self {
            cluster_id: ClusterId::default(),
            server_id,
            voters: voters.into_iter().collect(),
            learners: Vec::new(),
            start: Start::Any,
            election_timeout_min: Duration::from_millis(300),
            election_timeout_max: Duration::from_millis(600),
            heartbeat_interval: Duration::from_millis(50),
            pre_vote: true,
            check_quorum: true,
            synchronous_driver: false,
            disk_stall_timeout: Some(Duration::from_secs(5)),
            priorities: BTreeMap::new(),
            lease_reads: false,
            clock_drift_permille: 50,
            announce_commits: false,
            forward_requests: false,
            snapshot_entries: None,
            snapshot_keep_entries: 1024,
            sessions_max: 10_000,
            catch_up_entries_max: 1024,
            seed: 0,
            append_bytes_max: 64 * 1024,
            in_flight_entries_max: 1024,
            in_flight_messages_max: 256,
            in_flight_bytes_max: 4 * 1024 * 1024,
            uncommitted_bytes_max: 64 * 1024 * 1024,
            command_bytes_max: 128 * 1024,
            #[cfg(feature = "defects")]
            defect: None,
        }
    }

    /// Checks that the settings make sense together.
    ///
    /// # Errors
    ///
    /// The first that does not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.voters.is_empty() {
            return Err(ConfigError::NoVoters);
        }
        if let Some(place) =
            (1..self.voters.len()).find(|&i| self.voters[..i].contains(&self.voters[i]))
        {
            return Err(ConfigError::VoterTwice { server_id: self.voters[place] });
        }
        if let Some(&server_id) = self.learners.iter().find(|id| self.voters.contains(id)) {
            return Err(ConfigError::VoterTwice { server_id });
        }
        if self.lease_reads && !self.check_quorum {
            return Err(ConfigError::LeaseWithoutCheckQuorum);
        }
        if self.clock_drift_permille >= 1000 {
            let clock_drift_permille = self.clock_drift_permille;
            return Err(ConfigError::DriftTooLarge { clock_drift_permille });
        }
        if self.heartbeat_interval.is_zero() {
            return Err(ConfigError::Zero { setting: "heartbeat_interval" });
        }
        if self.heartbeat_interval >= self.election_timeout_min {
            return Err(ConfigError::HeartbeatTooSlow {
                heartbeat_interval: self.heartbeat_interval,
                election_timeout_min: self.election_timeout_min,
            });
        }
        if self.election_timeout_min >= self.election_timeout_max {
            return Err(ConfigError::NoRandomness {
                election_timeout_min: self.election_timeout_min,
                election_timeout_max: self.election_timeout_max,
            });
        }
        let sizes = [
            ("append_bytes_max", self.append_bytes_max as u64),
            ("in_flight_entries_max", self.in_flight_entries_max),
            ("in_flight_messages_max", self.in_flight_messages_max as u64),
            ("in_flight_bytes_max", self.in_flight_bytes_max as u64),
            ("uncommitted_bytes_max", self.uncommitted_bytes_max as u64),
            ("snapshot_entries", self.snapshot_entries.unwrap_or(1)),
            ("sessions_max", u64::from(self.sessions_max)),
            ("command_bytes_max", self.command_bytes_max as u64),
        ];
        if let Some((setting, _)) = sizes.into_iter().find(|&(_, value)| value == 0) {
            return Err(ConfigError::Zero { setting });
        }
        // What does not fit into a frame would be appended and never replicated.
        let bytes_max = FRAME_BYTES_MAX - FRAME_ROOM_BYTES;
        let sizes = [
            ("append_bytes_max", self.append_bytes_max),
            ("command_bytes_max", self.command_bytes_max),
        ];
        match sizes.into_iter().find(|&(_, bytes)| bytes > bytes_max) {
            Some((setting, bytes)) => Err(ConfigError::TooLarge { setting, bytes, bytes_max }),
            None => Ok(()),
        }
    }

    /// Refuses a server that has lost its storage, as far as its host can tell.
    pub(crate) fn check_start(&self, recovered: &Recovered) -> Result<(), NewServerError> {
        let server_id = self.server_id;
        let is_new = *recovered == Recovered::default();
        let is_named = self.voters.contains(&server_id) || self.learners.contains(&server_id);
        match self.start {
            Start::Found if !is_new => Err(NewServerError::AlreadyRan { server_id }),
            Start::Found if !is_named => Err(NewServerError::NotAFounder { server_id }),
            Start::Join if is_new && is_named => Err(NewServerError::JoinsAsFounder { server_id }),
            Start::Rejoin if is_new => Err(NewServerError::StorageLost { server_id }),
            Start::Any | Start::Found | Start::Join | Start::Rejoin => Ok(()),
        }
    }

    /// How long a leader may trust its clock after a round of heartbeats that a majority answered: what
    /// voters wait on the fastest clock, measured on the slowest.
    pub(crate) fn lease(&self) -> Duration {
        let drift = self.clock_drift_permille;
        self.election_timeout_min * (1000 - drift) / (1000 + drift)
    }

    pub(crate) fn priority(&self, server: ServerId) -> u32 {
        self.priorities.get(&server).copied().unwrap_or_default()
    }

    /// True if this planted bug is switched on; never in a build without the feature `defects`.
    #[cfg(feature = "defects")]
    pub(crate) fn has_defect(&self, defect: crate::defect::Defect) -> bool {
        self.defect == Some(defect)
    }
}

/// Whether a server may find nothing in its storage, and what it is then. A server that lost its disk
/// must not come back under its old id, and only the host can know whether it ran before; for the other
/// lines of defence see [`crate::recovery`].
///
/// | | storage holds nothing | storage holds something |
/// | --- | --- | --- |
/// | `Any` | a founder, if it is named among the servers, else one that joins | goes on |
/// | `Found` | a founder; refused if it is not named among the servers | refused |
/// | `Join` | one that joins; refused if it is named among the servers | goes on |
/// | `Rejoin` | refused | goes on |
///
/// A storage holds nothing until the server has voted or heard a leader; before that there is nothing
/// to lose, and it may be started as for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The storage is trusted: it holds nothing if and only if the server never ran.
    #[default]
    Any,
    /// This start founds a cluster, with the servers that the configuration names.
    Found,
    /// The server has an id that nobody had before, and joins a cluster that runs. It is in no
    /// configuration until the log says so, and calls no election before that.
    Join,
    /// The server has run before.
    Rejoin,
}

/// Why settings make no sense together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A cluster has at least one server.
    #[error("a cluster needs at least one server")]
    NoVoters,
    /// Voters could elect another leader while a lease holds.
    #[error("lease_reads needs check_quorum")]
    LeaseWithoutCheckQuorum,
    /// No lease would be left.
    #[error("clock_drift_permille must be below 1000, not {clock_drift_permille}")]
    DriftTooLarge {
        /// The setting.
        clock_drift_permille: u32,
    },
    /// One server is named twice.
    #[error("{server_id} is named twice among the servers")]
    VoterTwice {
        /// The server.
        server_id: ServerId,
    },
    /// Followers would call elections between two heartbeats.
    #[error(
        "heartbeat_interval {heartbeat_interval:?} must be shorter than election_timeout_min \
         {election_timeout_min:?}"
    )]
    HeartbeatTooSlow {
        /// The interval between heartbeats.
        heartbeat_interval: Duration,
        /// The shortest silence that starts an election.
        election_timeout_min: Duration,
    },
    /// Without randomness, split votes repeat for ever (Raft §5.2).
    #[error(
        "election_timeout_min {election_timeout_min:?} must be shorter than election_timeout_max \
         {election_timeout_max:?}"
    )]
    NoRandomness {
        /// The shortest silence that starts an election.
        election_timeout_min: Duration,
        /// The longest.
        election_timeout_max: Duration,
    },
    /// A message of that size does not fit into a frame.
    #[error("{setting} is {bytes}, but a frame holds at most {bytes_max} bytes of entries")]
    TooLarge {
        /// Its name.
        setting: &'static str,
        /// Its value.
        bytes: usize,
        /// The largest value.
        bytes_max: usize,
    },
    /// A setting that must be positive is zero.
    #[error("{setting} must be more than zero")]
    Zero {
        /// Its name.
        setting: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused_by_name() {
        let ms = Duration::from_millis;
        let base = || Config::new(ServerId(1), [1, 2, 3].map(ServerId));
        let refused = |change: fn(&mut Config)| {
            let mut config = base();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(base().validate(), Ok(()));
        assert_eq!(refused(|c| c.voters.clear()), "a cluster needs at least one server");
        assert_eq!(refused(|c| c.voters.push(ServerId(2))), "s2 is named twice among the servers");
        assert_eq!(
            refused(|c| c.learners.push(ServerId(2))),
            "s2 is named twice among the servers"
        );
        assert_eq!(
            refused(|c| (c.lease_reads, c.check_quorum) = (true, false)),
            "lease_reads needs check_quorum"
        );
        assert_eq!(
            refused(|c| c.clock_drift_permille = 1000),
            "clock_drift_permille must be below 1000, not 1000"
        );
        assert_eq!(
            refused(|c| c.heartbeat_interval = c.election_timeout_min),
            "heartbeat_interval 300ms must be shorter than election_timeout_min 300ms"
        );
        assert_eq!(
            refused(|c| c.election_timeout_max = c.election_timeout_min),
            "election_timeout_min 300ms must be shorter than election_timeout_max 300ms"
        );
        assert_eq!(
            refused(|c| c.heartbeat_interval = Duration::ZERO),
            "heartbeat_interval must be more than zero"
        );
        assert_eq!(refused(|c| c.append_bytes_max = 0), "append_bytes_max must be more than zero");
        assert_eq!(
            refused(|c| c.in_flight_entries_max = 0),
            "in_flight_entries_max must be more than zero"
        );
        assert_eq!(
            refused(|c| c.command_bytes_max = 0),
            "command_bytes_max must be more than zero"
        );
        assert_eq!(
            refused(|c| c.command_bytes_max = FRAME_BYTES_MAX),
            "command_bytes_max is 262144, but a frame holds at most 261120 bytes of entries"
        );
        assert!(base().heartbeat_interval < ms(100));
    }
}
