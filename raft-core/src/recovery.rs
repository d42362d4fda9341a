//! After a disaster: going on without a majority, and keeping servers that forgot from deciding.
//!
//! # When a majority is lost for good
//!
//! Raft waits for a majority for ever, and it is right: only a majority knows what is committed. If the
//! disks of a majority are gone, an administrator has to accept that data may be lost (dissertation
//! §3.8). [`RecoveryPlan`] reads
//! what the storages of the survivors hold, chooses the log to go on with, and says what that loses and
//! what it decides; nothing is written until its saves are carried out. This is *unsafe* in the exact
//! sense that it may undo what clients were told is done.
//!
//! A plan gives one survivor an entry that makes the survivors the only voters, in a term that no
//! server has seen. From there on everything is Raft: a majority of the survivors elects that server,
//! whose log is the most up to date (Raft §5.4.1), and the logs of the others are repaired (§5.3).
//!
//! What becomes of a lost server that comes back after all:
//! - It gets no vote of a survivor: its log ends in a term before the one that the plan invented, which
//!   lies further ahead than elections can have brought anyone.
//! - What it says as a leader or candidate of its time is of a term that is over.
//! - It disturbs no one: it is refused as any server that was removed is, by pre-vote and by the
//!   leader's heartbeats (dissertation §4.2.3, §9.6).
//! - Only among themselves could lost servers still elect a leader, if so many come back that they are
//!   a majority of the old cluster ([`RecoveryPlan::lost_could_decide`]). No log of the survivors can
//!   prevent that. So start the survivors, and their clients, under a new
//!   [`Config::cluster_id`]: then nobody hears the others ([`StepError::ForeignCluster`]).
//! - Until the first leader has committed the plan's entry, a survivor that does not hold it yet could
//!   still help a lost server; keep those away until then, or take a new cluster id.
//!
//! # When one server has lost its disk
//!
//! A server that forgot its vote could vote twice in one term, and one that forgot its log could help
//! to elect a leader without what it had confirmed. So it cannot safely come back under its old id, but
//! it may be added to the cluster under a new one (dissertation §3.8). Three lines of defence, each for
//! what passes the one before:
//! 1. **At the start:** a host that knows that a server has run before says so with
//!    [`Start::Rejoin`], and [`Server::new`] refuses an empty storage. The right way back is a new id,
//!    [`Start::Join`], and a change of the cluster that takes the old id out.
//! 2. **At the door:** messages of another cluster are refused whatever they say
//!    ([`StepError::ForeignCluster`]), and so is a storage that belongs to another server or cluster
//!    ([`StorageError::Foreign`](crate::StorageError::Foreign)).
//! 3. **At the leader:** a follower that says it lacks what it confirmed is found out
//!    ([`Progress::has_lost_log`](crate::Progress::has_lost_log)) and counts for nothing any more. This
//!    is the last resort: a leader that was elected since knows nothing of what was confirmed before.
//!
//! Guarantees: a plan depends on the storages alone, and making one changes nothing.
//! Relies on:  every storage that can still be read being named, and being read after its server ended.
//!
//! [`Config::cluster_id`]: crate::Config::cluster_id
//! [`Start::Join`]: crate::Start::Join
//! [`Start::Rejoin`]: crate::Start::Rejoin
//! [`StepError::ForeignCluster`]: crate::StepError::ForeignCluster

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::config::{Config, Start};
use crate::effect::Save;
use crate::error::NewServerError;
use crate::log::{Entry, Log, Payload};
use crate::membership::Configuration;
use crate::message::ABSURD;
use crate::server::Server;
use crate::snapshot::{Snapshot, SnapshotId};
use crate::storage::{HardState, Recovered};
use crate::types::{ClusterId, Index, LogId, ServerId, Term};

/// How far the term of a plan lies ahead of every term that a survivor has seen. The lost majority may
/// have held elections that no survivor heard of, but hardly so many; and there is room for two hundred
/// recoveries before a server that joins with term 0 would take the leader's term for a forgery.
const TERMS_AHEAD: u64 = 1 << 24;

/// How to go on without a majority: what the survivors become, and what that costs. A dry run until
/// the saves of [`RecoveryPlan::save`] are carried out.
///
/// ```
/// use raft_core::recovery::RecoveryPlan;
/// use raft_core::*;
///
/// // Of five servers, the storages of two are left; the second one missed what the first one has.
/// let ids = [1, 2, 3, 4, 5].map(ServerId);
/// let entry = |index| Entry { term: Term(3), index: Index(index), payload: Payload::Noop };
/// let hard_state = HardState { current_term: Term(3), voted_for: None };
/// let stored = |count| {
///     let mut storage = MemoryStorage::new();
///     let entries = (1..=count).map(entry).collect();
///     let save = Save { hard_state: Some(hard_state), entries, ..Save::default() };
///     storage.save(&[save]).map(|()| storage)
/// };
/// let mut storages = [(ids[0], stored(7)?), (ids[1], stored(5)?)];
///
/// let mut survivors = Vec::new();
/// for (id, storage) in &mut storages {
///     survivors.push((Config::new(*id, ids), storage.load()?));
/// }
/// let plan = RecoveryPlan::new(survivors)?;
/// println!("{plan}");
/// assert_eq!((plan.chosen(), plan.last()), (ids[0], LogId::new(Term(3), Index(7))));
/// assert!(plan.lost_could_decide(), "so the survivors need a new cluster id");
///
/// // Somebody has read that, and decides to go on.
/// for (id, storage) in &mut storages {
///     storage.save(&[plan.save(*id).expect("it is a survivor").clone()])?;
/// }
/// let server = Server::new(Config::new(ids[0], ids), storages[0].1.load()?)?;
/// assert_eq!(server.configuration().to_string(), "voters s1 s2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryPlan {
    chosen: ServerId,
    last: LogId,
    committed: LogId,
    undecided: Vec<Entry>,
    old_configuration: Arc<Configuration>,
    new_configuration: Arc<Configuration>,
    configuration_at: LogId,
    survivors: BTreeMap<ServerId, Survivor>,
}

/// What a plan found in one survivor's storage, and what it makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Its term and vote.
    pub hard_state: HardState,
    /// The place before the first entry of its log.
    pub log_start: LogId,
    /// Its last entry.
    pub last: LogId,
    /// Its snapshot.
    pub snapshot: Option<SnapshotId>,
    /// How many sessions of clients its snapshot holds.
    pub sessions: usize,
    /// The last configuration that it knows.
    pub configuration: Arc<Configuration>,
    /// Entries of its log that the chosen log does not hold, and that will be replaced. They were most
    /// likely never committed, but nobody is left who could say. What stands where the chosen log is
    /// compacted is not compared: what differs there was never committed.
    pub discarded: Vec<Entry>,
    save: Save,
}

/// Why no plan is made. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// Nothing is left to go on from.
    #[error("no server has survived")]
    NoSurvivor,
    /// One server is named twice.
    #[error("{server_id} is named twice")]
    SurvivorTwice {
        /// The server.
        server_id: ServerId,
    },
    /// A survivor could not start from what its storage holds.
    #[error("what {server_id} has stored cannot be used")]
    Unusable {
        /// The server.
        server_id: ServerId,
        /// Why.
        #[source]
        source: NewServerError,
    },
    /// The survivors are of several clusters.
    #[error("{server_id} is of cluster {found}, others are of {expected}")]
    ForeignCluster {
        /// The survivor.
        server_id: ServerId,
        /// Its cluster.
        found: ClusterId,
        /// The cluster of the first one.
        expected: ClusterId,
    },
    /// Two storages hold what no two servers of one cluster can hold: different entries that are both
    /// committed, or one entry with two contents. One of them is of another cluster, or damaged.
    #[error("{one} and {other} contradict each other at entry {index}")]
    Contradiction {
        /// A survivor.
        one: ServerId,
        /// Another one.
        other: ServerId,
        /// Where.
        index: Index,
    },
    /// A survivor does not belong to the cluster, as far as the chosen log knows.
    #[error("{server_id} is no member of {configuration}")]
    NotAMember {
        /// The survivor.
        server_id: ServerId,
        /// The configuration of the chosen log.
        configuration: Configuration,
    },
    /// The survivors can elect this server by themselves: start them, and nothing is lost.
    #[error("no recovery is needed: the survivors can elect {server_id}")]
    NotNeeded {
        /// Who can be elected.
        server_id: ServerId,
    },
    /// There is no higher term to go on in.
    #[error("no term is left after {term}")]
    NoTermLeft {
        /// The latest term seen.
        term: Term,
    },
}

impl RecoveryPlan {
    /// Plans to go on with these servers as the only voters, from what their storages hold. Name every
    /// server whose storage can be read, learners too: one that is left out may know of something
    /// committed that the others lack. Each comes with the configuration that it would be started with.
    ///
    /// # Errors
    ///
    /// If the survivors need no plan, or if there is none that makes sense.
    pub fn new(
        survivors: impl IntoIterator<Item = (Config, Recovered)>,
    ) -> Result<Self, RecoveryError> {
        let servers = read(survivors)?;
        check_consistency(&servers)?;
        // Raft §5.4.1 alone does not do: an entry of an early term may be committed, by way of a later
        // entry that is lost, while another survivor still holds an entry of a term between them.
        let committed = servers.values().map(|stored| stored.committed());
        let committed = committed.max_by_key(|id| id.index).ok_or(RecoveryError::NoSurvivor)?;
        let (&chosen, base) = servers
            .iter()
            .filter(|(_, stored)| stored.server.log().matches(committed))
            .max_by_key(|&(&server_id, stored)| (stored.server.log().last(), !server_id.0))
            .ok_or(RecoveryError::NoSurvivor)?;
        let configuration = base.server.configuration();
        if let Some(&server_id) = servers.keys().find(|&&id| !configuration.contains(id)) {
            let configuration = configuration.clone();
            return Err(RecoveryError::NotAMember { server_id, configuration });
        }
        if let Some(server_id) = electable(&servers) {
            return Err(RecoveryError::NotNeeded { server_id });
        }
        let seen = servers.values().map(|stored| stored.server.current_term()).max();
        let seen = seen.unwrap_or_default();
        let term = Term(seen.0 + TERMS_AHEAD);
        if term.0 >= ABSURD {
            return Err(RecoveryError::NoTermLeft { term: seen });
        }
        let log = base.server.log();
        let configuration_at = LogId::new(term, log.last_index().next());
        let new_configuration = Arc::new(Configuration::new(servers.keys().copied(), []));
        let survivors = servers.iter().map(|(&server_id, stored)| {
            let mut save = stored.repair();
            save.hard_state = Some(HardState { current_term: term, voted_for: None });
            if server_id == chosen {
                let payload = Payload::Configuration(new_configuration.clone());
                let entry = Entry { term, index: configuration_at.index, payload };
                save.entries = [entry].into_iter().collect();
            }
            (server_id, stored.report(log, save))
        });
        Ok(Self {
            chosen,
            last: log.last(),
            committed,
            undecided: log.from(committed.index.next()).cloned().collect(),
            old_configuration: Arc::new(configuration.clone()),
            configuration_at,
            survivors: survivors.collect(),
            new_configuration,
        })
    }

    /// The server whose log the cluster goes on with. Only this one can be elected at first.
    #[must_use]
    pub fn chosen(&self) -> ServerId {
        self.chosen
    }

    /// The last entry of the chosen log.
    #[must_use]
    pub fn last(&self) -> LogId {
        self.last
    }

    /// Everything up to here is committed for certain: a snapshot stands for it. All of it is kept.
    #[must_use]
    pub fn committed(&self) -> LogId {
        self.committed
    }

    /// The entries of the chosen log of which nobody knows whether they were committed. They will be,
    /// whatever clients were told of them.
    #[must_use]
    pub fn undecided(&self) -> &[Entry] {
        &self.undecided
    }

    /// The last configuration of the chosen log, whose majority is lost.
    #[must_use]
    pub fn old_configuration(&self) -> &Configuration {
        &self.old_configuration
    }

    /// The configuration that the plan puts behind the chosen log.
    #[must_use]
    pub fn new_configuration(&self) -> &Configuration {
        &self.new_configuration
    }

    /// Where it stands: in a term that no server has seen.
    #[must_use]
    pub fn configuration_at(&self) -> LogId {
        self.configuration_at
    }

    /// The servers of the old configuration that have not survived.
    #[must_use]
    pub fn lost(&self) -> BTreeSet<ServerId> {
        let mut lost = self.old_configuration.servers();
        lost.retain(|server_id| !self.survivors.contains_key(server_id));
        lost
    }

    /// True if the lost servers, should all come back, are a majority of the old cluster. They could
    /// elect a leader of their own then, so the survivors need a new cluster id.
    #[must_use]
    pub fn lost_could_decide(&self) -> bool {
        self.old_configuration.is_reached_by(|server_id| !self.survivors.contains_key(&server_id))
    }

    /// The survivors, and what the plan found of each.
    #[must_use]
    pub fn survivors(&self) -> &BTreeMap<ServerId, Survivor> {
        &self.survivors
    }

    /// What this survivor's storage must save before the server starts again; `None` for a server that
    /// the plan does not know. The order in which the survivors save does not matter, and a plan that
    /// was carried out in part can be made again.
    #[must_use]
    pub fn save(&self, server_id: ServerId) -> Option<&Save> {
        self.survivors.get(&server_id).map(|survivor| &survivor.save)
    }
}

/// One survivor, as it would start.
#[derive(Debug)]
struct Stored {
    server: Server,
    /// What its storage would have to be told so that it holds what the server would start with.
    repair: Option<(Snapshot, LogId)>,
}

impl Stored {
    /// The last entry that this survivor alone proves to be committed.
    fn committed(&self) -> LogId {
        self.server.snapshot().map_or(LogId::ZERO, Snapshot::last)
    }

    /// A crash may have left a snapshot without the log that goes with it.
    fn repair(&self) -> Save {
        let (snapshot, compacted) = self.repair.clone().unzip();
        Save { snapshot, compacted, ..Save::default() }
    }

    fn report(&self, chosen: &Log, save: Save) -> Survivor {
        let log = self.server.log();
        Survivor {
            hard_state: self.server.hard_state(),
            log_start: log.start(),
            last: log.last(),
            snapshot: self.server.snapshot().map(Snapshot::id),
            sessions: self.server.snapshot().map_or(0, |snapshot| snapshot.sessions().len()),
            configuration: Arc::new(self.server.configuration().clone()),
            discarded: log.from(common_index(chosen, log).next()).cloned().collect(),
            save,
        }
    }
}

/// Reads every storage as its server would.
fn read(
    survivors: impl IntoIterator<Item = (Config, Recovered)>,
) -> Result<BTreeMap<ServerId, Stored>, RecoveryError> {
    let mut servers = BTreeMap::new();
    let mut cluster_id = None;
    for (config, recovered) in survivors {
        let server_id = config.server_id;
        let (found, expected) = (config.cluster_id, *cluster_id.get_or_insert(config.cluster_id));
        if found != expected {
            return Err(RecoveryError::ForeignCluster { server_id, found, expected });
        }
        // It did run, if it holds anything; if not, there is nothing to lose.
        let config = Config { start: Start::Any, ..config };
        let (start, last) = (recovered.start, recovered.last_index());
        let server = Server::new(config, recovered)
            .map_err(|source| RecoveryError::Unusable { server_id, source })?;
        let is_whole = server.log().start() == start && server.log().last_index() == last;
        let snapshot = server.snapshot().filter(|_| !is_whole).cloned();
        let repair = snapshot.map(|snapshot| (snapshot, server.log().start()));
        if servers.insert(server_id, Stored { server, repair }).is_some() {
            return Err(RecoveryError::SurvivorTwice { server_id });
        }
    }
    Ok(servers)
}

/// Makes sure that all these logs can be of one cluster.
fn check_consistency(servers: &BTreeMap<ServerId, Stored>) -> Result<(), RecoveryError> {
    for (&one, first) in servers {
        for (&other, second) in servers.iter().filter(|&(&other, _)| other != one) {
            let contradiction = |index| RecoveryError::Contradiction { one, other, index };
            let (committed, known) = (first.committed(), second.server.log());
            // What both know to be committed is the same entry.
            if committed.index <= second.committed().index {
                let is_same = match known.term_at(committed.index) {
                    Some(term) => term == committed.term,
                    None => committed.term <= known.start().term,
                };
                let configurations = (first.server.snapshot(), second.server.snapshot());
                let is_same = is_same
                    && (committed != second.committed()
                        || configurations.0.map(Snapshot::configuration)
                            == configurations.1.map(Snapshot::configuration));
                if !is_same {
                    return Err(contradiction(committed.index));
                }
            }
            // Log Matching (Raft §5.3): where they hold the same entry, all before it is the same.
            let log = first.server.log();
            let through = common_index(log, known);
            let both = log.from(known.start().index.next());
            for entry in both.take_while(|entry| entry.index <= through) {
                if known.entry(entry.index) != Some(entry) {
                    return Err(contradiction(entry.index));
                }
            }
        }
    }
    Ok(())
}

/// The last place where both logs hold the same entry, or where the later one of them begins.
fn common_index(one: &Log, other: &Log) -> Index {
    let begin = one.start().index.max(other.start().index);
    let mut index = one.last_index().min(other.last_index());
    while index > begin && one.term_at(index) != other.term_at(index) {
        index = index.previous();
    }
    index.max(begin)
}

/// A server that the others would elect without any help.
fn electable(servers: &BTreeMap<ServerId, Stored>) -> Option<ServerId> {
    let is_electable = |candidate: &ServerId| {
        let Server { members, log, .. } = &servers[candidate].server;
        let votes = |voter: ServerId| {
            servers.get(&voter).is_some_and(|stored| stored.server.log().last() <= log.last())
        };
        let configuration = members.latest();
        configuration.is_voter(*candidate) && configuration.is_reached_by(votes)
    };
    servers.keys().copied().find(is_electable)
}

/// What to read before deciding, one fact in a line.
impl fmt::Display for RecoveryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost: Vec<_> = self.lost().iter().map(ToString::to_string).collect();
        let lost = lost.join(" ");
        writeln!(f, "go on from {}, whose log ends with {}; lost: {lost}", self.chosen, self.last)?;
        for (server_id, survivor) in &self.survivors {
            writeln!(f, "{server_id} has {survivor}")?;
        }
        writeln!(f, "old configuration: {}", self.old_configuration)?;
        write!(f, "new configuration: {}", self.new_configuration)?;
        writeln!(f, ", as entry {}", self.configuration_at)?;
        writeln!(f, "kept for certain: everything up to {}", self.committed)?;
        write!(f, "becomes committed, though perhaps it never was: ")?;
        write_entries(f, &self.undecided)?;
        for (server_id, survivor) in &self.survivors {
            if !survivor.discarded.is_empty() {
                write!(f, "thrown away on {server_id}, though perhaps committed: ")?;
                write_entries(f, &survivor.discarded)?;
            }
        }
        write!(f, "cannot be known: whether the lost servers held anything else after ")?;
        writeln!(f, "{}; it is gone, even if clients were told that it is done", self.committed)?;
        if self.lost_could_decide() {
            write!(f, "warning: {lost} can still elect a leader if they come back: ")?;
            writeln!(f, "start the survivors and their clients under a new cluster id")?;
        }
        Ok(())
    }
}

/// `term=3 voted_for=none log 5@2..7@3, snapshot 5@2 (120 bytes) with 2 sessions`.
impl fmt::Display for Survivor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} log {}..{}", self.hard_state, self.log_start, self.last)?;
        match &self.snapshot {
            Some(snapshot) => write!(f, ", {snapshot} with {} sessions", self.sessions),
            None => f.write_str(", no snapshot"),
        }
    }
}

/// How many there are, and the first ones of them.
fn write_entries(f: &mut fmt::Formatter<'_>, entries: &[Entry]) -> fmt::Result {
    const SHOWN: usize = 20;
    match entries.len() {
        0 => f.write_str("nothing"),
        1 => f.write_str("1 entry"),
        count => write!(f, "{count} entries"),
    }?;
    for entry in entries.iter().take(SHOWN) {
        write!(f, "\n  {entry}")?;
    }
    match entries.len().saturating_sub(SHOWN) {
        0 => writeln!(f),
        more => writeln!(f, "\n  and {more} more"),
    }
}

#[cfg(test)]
mod tests;
