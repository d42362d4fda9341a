//! Which servers form the cluster, and how that changes (Raft §6; dissertation §4.2.1, §4.3).
//!
//! Guarantees: any two majorities that decide have a server in common, also while the voters change:
//!             in between, the old and the new majority must both agree (joint consensus).
//! Relies on:  every server using the last configuration in its log, committed or not (Raft §6); one
//!             change at a time, and none before the leader has committed an entry of its term.
//! Elsewhere:  one majority is counted in [`crate::quorum`].

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use crate::effect::{Effect, Step};
use crate::error::StepError;
use crate::log::Payload;
use crate::progress::{Progress, ProgressState};
use crate::quorum::Quorum;
use crate::role::Role;
use crate::server::Server;
use crate::types::{Index, ServerId, Timestamp};

/// The servers of a cluster, and who of them decides.
///
/// Invariants:
/// - There is at least one voter.
/// - A learner is none of `voters`; one of `old_voters` may be about to become a learner.
///
/// ```
/// use raft_core::{Configuration, ServerId};
///
/// let configuration = Configuration::new([1, 2, 3].map(ServerId), [ServerId(4)]);
/// assert!(configuration.is_voter(ServerId(3)) && configuration.is_learner(ServerId(4)));
/// assert_eq!(configuration.to_string(), "voters s1 s2 s3 learners s4");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Configuration {
    voters: Quorum,
    /// The voters of `C_old`, as long as both majorities are needed (Raft §6).
    old_voters: Option<Quorum>,
    learners: BTreeSet<ServerId>,
}

impl Configuration {
    /// Voters that decide by majority, and learners that only receive (dissertation §4.2.1). Who is
    /// named as both is a voter.
    #[must_use]
    pub fn new(
        voters: impl IntoIterator<Item = ServerId>,
        learners: impl IntoIterator<Item = ServerId>,
    ) -> Self {
        let voters = Quorum::new(voters);
        let learners = learners.into_iter().filter(|&id| !voters.contains(id)).collect();
        Self { voters, old_voters: None, learners }
    }

    /// `C_old,new`: both majorities must agree (Raft §6).
    #[must_use]
    pub fn joint(
        old_voters: impl IntoIterator<Item = ServerId>,
        voters: impl IntoIterator<Item = ServerId>,
        learners: impl IntoIterator<Item = ServerId>,
    ) -> Self {
        Self { old_voters: Some(Quorum::new(old_voters)), ..Self::new(voters, learners) }
    }

    /// Who decides; while the configuration is joint, those of `C_new`.
    #[must_use]
    pub fn voters(&self) -> &[ServerId] {
        self.voters.voters()
    }

    /// Who must agree as well while the configuration is joint: the voters of `C_old`.
    #[must_use]
    pub fn old_voters(&self) -> Option<&[ServerId]> {
        self.old_voters.as_ref().map(Quorum::voters)
    }

    /// Who receives entries and does not decide, in ascending order.
    pub fn learners(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.learners.iter().copied()
    }

    /// True while the old and the new majority are both needed.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        self.old_voters.is_some()
    }

    /// True for who decides, in either half of a joint configuration.
    #[must_use]
    pub fn is_voter(&self, server: ServerId) -> bool {
        self.voters.contains(server)
            || self.old_voters.as_ref().is_some_and(|old| old.contains(server))
    }

    /// True for who receives entries and does not decide.
    #[must_use]
    pub fn is_learner(&self, server: ServerId) -> bool {
        self.learners.contains(&server) && !self.is_voter(server)
    }

    /// True for every server of the cluster.
    #[must_use]
    pub fn contains(&self, server: ServerId) -> bool {
        self.is_voter(server) || self.learners.contains(&server)
    }

    /// Every server of the cluster, once, in ascending order.
    #[must_use]
    pub fn servers(&self) -> BTreeSet<ServerId> {
        let old = self.old_voters().unwrap_or_default();
        let voters = self.voters().iter().chain(old).copied();
        voters.chain(self.learners()).collect()
    }

    /// How many servers it names.
    pub(crate) fn size(&self) -> usize {
        let old = self.old_voters().unwrap_or_default();
        self.voters().len() + old.len() + self.learners.len()
    }

    /// True if this server alone decides.
    pub(crate) fn is_only_voter(&self, server: ServerId) -> bool {
        let is_only = |quorum: &Quorum| quorum.voters() == [server];
        is_only(&self.voters) && self.old_voters.as_ref().is_none_or(is_only)
    }

    /// True if `agrees` holds for a majority; for both majorities, if the configuration is joint.
    #[must_use]
    pub fn is_reached_by(&self, agrees: impl Fn(ServerId) -> bool) -> bool {
        self.voters.is_reached_by(&agrees)
            && self.old_voters.as_ref().is_none_or(|old| old.is_reached_by(&agrees))
    }

    /// The last index that a majority holds, or both majorities, if each voter holds everything up
    /// to `held(voter)`.
    #[must_use]
    pub fn committed_index(&self, held: impl Fn(ServerId) -> Index) -> Index {
        let index = self.voters.committed_index(&held);
        match &self.old_voters {
            Some(old) => index.min(old.committed_index(&held)),
            None => index,
        }
    }

    /// `C_new`, once `C_old,new` is committed.
    fn leave_joint(&self) -> Self {
        Self { old_voters: None, ..self.clone() }
    }

    /// What this becomes when the changes are made, through a joint configuration if the voters
    /// change.
    fn changed(&self, changes: &[MembershipChange]) -> Result<Self, MembershipError> {
        let mut voters: BTreeSet<_> = self.voters().iter().copied().collect();
        let mut learners = self.learners.clone();
        for (place, &change) in changes.iter().enumerate() {
            let server_id = change.server_id();
            // A learner added and promoted at once would never have caught up.
            if changes[..place].iter().any(|earlier| earlier.server_id() == server_id) {
                return Err(MembershipError::NamedTwice { server_id });
            }
            let (is_voter, is_learner) =
                (voters.contains(&server_id), learners.contains(&server_id));
            match change {
                MembershipChange::AddLearner(_) if is_voter || is_learner => {
                    return Err(MembershipError::AlreadyAMember { server_id });
                }
                MembershipChange::AddVoter(_) if is_voter => {
                    return Err(MembershipError::AlreadyAMember { server_id });
                }
                MembershipChange::AddVoter(_) if !is_learner => {
                    return Err(MembershipError::NotALearner { server_id });
                }
                MembershipChange::Demote(_) if !is_voter => {
                    return Err(MembershipError::NotAVoter { server_id });
                }
                MembershipChange::Remove(_) if !is_voter && !is_learner => {
                    return Err(MembershipError::NotAMember { server_id });
                }
                MembershipChange::AddLearner(_) | MembershipChange::Demote(_) => {
                    voters.remove(&server_id);
                    learners.insert(server_id);
                }
                MembershipChange::AddVoter(_) => {
                    learners.remove(&server_id);
                    voters.insert(server_id);
                }
                MembershipChange::Remove(_) => {
                    voters.remove(&server_id);
                    learners.remove(&server_id);
                }
            }
        }
        if voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        if voters.iter().eq(self.voters()) {
            return Ok(Self::new(voters, learners));
        }
        Ok(Self::joint(self.voters().iter().copied(), voters, learners))
    }
}

/// `voters s1 s2 s3 learners s4`; `voters s1 s2 s4 old s1 s2 s3` while both are needed.
impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("voters")?;
        self.voters().iter().try_for_each(|voter| write!(f, " {voter}"))?;
        if let Some(old) = self.old_voters() {
            f.write_str(" old")?;
            old.iter().try_for_each(|voter| write!(f, " {voter}"))?;
        }
        if !self.learners.is_empty() {
            f.write_str(" learners")?;
        }
        self.learners().try_for_each(|learner| write!(f, " {learner}"))
    }
}

/// One change of the cluster. Several are made together, or not at all; each is about another server.
///
/// ```
/// use raft_core::{
///     Config, Effects, Input, MembershipChange, Recovered, SaveNumber, Server, ServerId, Timestamp,
/// };
///
/// // A cluster of one elects itself, and commits its first entry once that is saved.
/// let mut server = Server::new(Config::new(ServerId(1), [ServerId(1)]), Recovered::default())?;
/// let mut effects = Effects::new();
/// server.step(Timestamp::ZERO, Input::NotifyJoinedService, &mut effects)?;
/// let now = server.next_timeout().expect("it has joined");
/// server.step(now, Input::TimerElapsed, &mut effects)?;
/// server.step(now, Input::Saved(SaveNumber(1)), &mut effects)?;
/// server.step(now, Input::Saved(SaveNumber(2)), &mut effects)?;
///
/// // From now on server 2 receives everything. It gets a vote by a second change, when it has caught up.
/// let changes = vec![MembershipChange::AddLearner(ServerId(2))];
/// server.step(now, Input::ChangeMembership(changes), &mut effects)?;
/// assert_eq!(server.configuration().to_string(), "voters s1 learners s2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MembershipChange {
    /// Adds a server that receives everything and decides nothing, until it has caught up
    /// (dissertation §4.2.1).
    AddLearner(ServerId),
    /// Gives a learner that has caught up a vote.
    AddVoter(ServerId),
    /// Takes a voter's vote and keeps it as a learner.
    Demote(ServerId),
    /// Takes a server out.
    Remove(ServerId),
}

impl MembershipChange {
    /// Whom it is about.
    #[must_use]
    pub fn server_id(self) -> ServerId {
        match self {
            Self::AddLearner(id) | Self::AddVoter(id) | Self::Demote(id) | Self::Remove(id) => id,
        }
    }
}

/// Why the cluster is not changed. Nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// One change at a time: the one before, at `index`, is not finished.
    #[error("the change at entry {index} is not finished")]
    InProgress {
        /// Where its last configuration stands.
        index: Index,
    },
    /// The leader has not committed an entry of its own term, so it cannot know whether an earlier
    /// change is finished.
    #[error("the leader has not committed an entry of its term yet")]
    NothingCommitted,
    /// The learner would hold the cluster up: it lacks too much, or was not heard of lately.
    #[error("{server_id} has not caught up: it lacks {lag} entries, or was not heard of lately")]
    NotCaughtUp {
        /// The learner.
        server_id: ServerId,
        /// How many entries it lacks, as far as the leader knows.
        lag: u64,
    },
    /// The learner came back without what it had confirmed. Remove it, and add it again.
    #[error("{server_id} has lost entries that it had confirmed; remove it and add it again")]
    LostLog {
        /// The learner.
        server_id: ServerId,
    },
    /// It has to be a learner first, so that it has caught up before it counts.
    #[error("{server_id} is no learner; add it as one first")]
    NotALearner {
        /// The server.
        server_id: ServerId,
    },
    /// It is what it should become.
    #[error("{server_id} is a member already")]
    AlreadyAMember {
        /// The server.
        server_id: ServerId,
    },
    /// It has no vote to lose.
    #[error("{server_id} is no voter")]
    NotAVoter {
        /// The server.
        server_id: ServerId,
    },
    /// It is not in the cluster.
    #[error("{server_id} is no member")]
    NotAMember {
        /// The server.
        server_id: ServerId,
    },
    /// Two of the changes are about one server; make one after the other.
    #[error("{server_id} is named twice")]
    NamedTwice {
        /// The server.
        server_id: ServerId,
    },
    /// Nobody would be left to decide.
    #[error("no voter would be left")]
    NoVoters,
    /// No change was asked for.
    #[error("no change was asked for")]
    NoChange,
}

/// The configurations a server knows, each from the place in the log where it takes effect.
///
/// Invariants:
/// - There is always one, and their places ascend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Members {
    history: VecDeque<(Index, Arc<Configuration>)>,
}

impl Members {
    /// The configuration before the first entry, or that of a snapshot.
    pub(crate) fn new(index: Index, configuration: Arc<Configuration>) -> Self {
        Self { history: VecDeque::from([(index, configuration)]) }
    }

    /// The last configuration in the log, committed or not, and where it stands.
    fn last(&self) -> &(Index, Arc<Configuration>) {
        self.history.back().expect("there is always one")
    }

    /// The last configuration in the log, committed or not: the one a server uses (Raft §6).
    pub(crate) fn latest(&self) -> &Arc<Configuration> {
        &self.last().1
    }

    /// The configuration before the last one, unless that is compacted.
    fn before_latest(&self) -> Option<&Arc<Configuration>> {
        let before = self.history.len().checked_sub(2)?;
        Some(&self.history[before].1)
    }

    /// Where the first configuration stands that is known.
    pub(crate) fn oldest_index(&self) -> Index {
        self.history[0].0
    }

    /// Where the last configuration stands.
    pub(crate) fn latest_index(&self) -> Index {
        self.last().0
    }

    /// The configuration that is in force at `index`.
    pub(crate) fn at(&self, index: Index) -> &Arc<Configuration> {
        let after = self.history.partition_point(|(from, _)| *from <= index);
        &self.history[after.saturating_sub(1)].1
    }

    pub(crate) fn append(&mut self, index: Index, configuration: Arc<Configuration>) {
        assert!(index > self.latest_index(), "configurations come in log order");
        self.history.push_back((index, configuration));
    }

    /// Goes back to what was in force at `keep`: what came later was deleted from the log. True if
    /// that is another one.
    pub(crate) fn truncate(&mut self, keep: Index) -> bool {
        let before = self.history.len();
        while self.history.len() > 1 && self.latest_index() > keep {
            self.history.pop_back();
        }
        self.history.len() < before
    }

    /// Forgets what is no longer in force at `through`.
    pub(crate) fn compact(&mut self, through: Index) {
        while self.history.get(1).is_some_and(|(from, _)| *from <= through) {
            self.history.pop_front();
        }
    }
}

impl Server {
    /// The configuration this server uses: the last one in its log (Raft §6).
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        self.members.latest()
    }

    /// Begins to change the cluster, if this server leads it and no other change is under way.
    ///
    /// Source: Raft §6; dissertation §4.3.
    pub(crate) fn change_membership(
        &mut self,
        step: &mut Step<'_>,
        changes: &[MembershipChange],
    ) -> Result<(), StepError> {
        let leader_hint = self.leader_hint();
        let Role::Leader(leader) = &self.role else {
            return Err(StepError::NotLeader { leader: leader_hint });
        };
        let latest = self.members.latest();
        if changes.is_empty() {
            return Err(MembershipError::NoChange.into());
        }
        // The log of a leader that hands over stands still, so that the target can reach its end.
        if leader.transfer.is_some() {
            return Err(StepError::Busy);
        }
        // Until then the leader does not know whether a change that an earlier leader began was
        // committed; two that overlap could elect two leaders (the flaw of 2015 in dissertation §4.1).
        if !self.has_committed_in_term() {
            return Err(MembershipError::NothingCommitted.into());
        }
        if self.is_changing() {
            let index = self.members.latest_index();
            return Err(MembershipError::InProgress { index }.into());
        }
        let target = latest.changed(changes)?;
        for &server_id in target.voters() {
            let is_new = !latest.is_voter(server_id) && server_id != self.config.server_id;
            if let Some(progress) = leader.progress.get(&server_id).filter(|_| is_new) {
                if progress.has_lost_log {
                    return Err(MembershipError::LostLog { server_id }.into());
                }
                let lag = self.log.last_index() - progress.match_index;
                let is_heard = progress.is_heard(step.now, self.config.election_timeout_max);
                let is_near = lag <= self.config.catch_up_entries_max;
                if !is_heard || !is_near || progress.state != ProgressState::Replicate {
                    return Err(MembershipError::NotCaughtUp { server_id, lag }.into());
                }
            }
        }
        // Whoever has left and comes back is a new server.
        self.end_farewell(step.now);
        self.append(step, Payload::Configuration(Arc::new(target)));
        Ok(())
    }

    /// True until the last step of a change is committed.
    pub(crate) fn is_changing(&self) -> bool {
        self.members.latest().is_joint() || self.members.latest_index() > self.commit_index
    }

    /// Uses a configuration from the moment it stands in the log (Raft §6: "a server always uses the
    /// latest configuration in its log, regardless of whether the entry is committed").
    pub(crate) fn adopt(&mut self, step: &mut Step<'_>, index: Index, new: Arc<Configuration>) {
        self.members.append(index, new);
        self.follow_configuration(step);
    }

    /// Goes back to the configuration before a deleted one.
    pub(crate) fn forget_configurations(&mut self, step: &mut Step<'_>, keep: Index) {
        if self.members.truncate(keep) {
            self.follow_configuration(step);
        }
    }

    /// Tells the host, and as a leader watches over exactly the servers of the configuration.
    pub(crate) fn follow_configuration(&mut self, step: &mut Step<'_>) {
        let (index, configuration) = (self.members.latest_index(), self.members.latest().clone());
        self.watch_followers(step.now, index.previous());
        step.push(Effect::NotifyConfiguration { index, configuration });
    }

    /// True for the servers that a leader sends to: all of the configuration, and who leaves it, until
    /// that is committed and a while after. Whoever leaves should know, so that it calls no elections.
    pub(crate) fn is_watched(&self, server: ServerId) -> bool {
        if let Role::Leader(leader) = &self.role {
            return leader.progress.get(&server).is_some();
        }
        self.members.latest().contains(server)
            || self.members.at(self.commit_index).contains(server)
    }

    /// True if this server may be needed as leader: it is a voter, or it was one before the last change
    /// and does not know that change to be committed.
    ///
    /// Source: dissertation §4.2.2: a server that is not part of its own latest configuration still
    /// starts elections, because it may be needed until `C_new` is committed. It does not count its own
    /// vote then.
    pub(crate) fn may_campaign(&self) -> bool {
        let me = self.config.server_id;
        let is_unknown = self.members.latest_index() > self.commit_index;
        self.members.latest().is_voter(me)
            || is_unknown && self.members.before_latest().is_some_and(|before| before.is_voter(me))
    }

    /// As a leader, keeps progress of exactly the other servers that it sends to. New ones are thought
    /// to hold everything up to `last_index`.
    pub(crate) fn watch_followers(&mut self, now: Timestamp, last_index: Index) {
        let mut followers = self.members.at(self.commit_index).servers();
        followers.extend(self.members.latest().servers());
        followers.remove(&self.config.server_id);
        if let Role::Leader(leader) = &mut self.role {
            // Nobody else is sent to, nor counted.
            leader.progress.retain(|server| followers.contains(&server));
            for server in followers {
                leader.progress.add(server, Progress::new(last_index, now));
            }
        }
    }

    /// Goes on with a change whose last step is committed: leaves the joint configuration, and steps
    /// down if this server is in no configuration any more.
    ///
    /// Source: Raft §6: "once C_old,new has been committed ... it is now safe for the leader to create
    /// a log entry describing C_new", and "the leader steps down once it has committed the C_new log
    /// entry".
    pub(crate) fn maybe_finish_change(&mut self, step: &mut Step<'_>, committed_before: Index) {
        let index = self.members.latest_index();
        // Also if a leader before this one has committed it, but could not go on.
        let is_just_committed = index <= self.commit_index
            && (index > committed_before || self.members.latest().is_joint());
        if !self.role.is_leader() || !is_just_committed {
            return;
        }
        let latest = self.members.latest();
        if latest.is_joint() {
            let new = latest.leave_joint();
            self.append(step, Payload::Configuration(Arc::new(new)));
        } else if !latest.is_voter(self.config.server_id) {
            self.hand_over(step);
            self.become_follower(step, None);
        } else if let Role::Leader(leader) = &mut self.role {
            leader.farewell_until = Some(step.now + self.config.election_timeout_max);
        }
    }

    /// Sends nothing more to who has left, once it has had the time to hear that it is so.
    pub(crate) fn maybe_end_farewell(&mut self, now: Timestamp) {
        let Role::Leader(leader) = &self.role else { return };
        if leader.farewell_until.is_some_and(|until| now >= until) {
            self.end_farewell(now);
        }
    }

    fn end_farewell(&mut self, now: Timestamp) {
        if let Role::Leader(leader) = &mut self.role {
            leader.farewell_until = None;
        }
        self.watch_followers(now, self.log.last_index());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_behind_what_is_compacted_can_still_be_taken_back() {
        let of = |voter| Arc::new(Configuration::new([ServerId(voter)], []));
        let mut members = Members::new(Index::ZERO, of(1));
        members.append(Index(3), of(2));
        members.append(Index(6), of(3));
        members.compact(Index(5));
        assert_eq!(members.at(Index(5)), &of(2));
        assert!(members.truncate(Index(5)));
        assert_eq!((members.latest(), members.latest_index()), (&of(2), Index(3)));
        assert!(!members.truncate(Index(5)), "nothing is deleted twice");
    }

    #[test]
    fn a_configuration_at_the_last_entry_kept_stays_in_force() {
        let of = |voter| Arc::new(Configuration::new([ServerId(voter)], []));
        let mut members = Members::new(Index::ZERO, of(1));
        members.append(Index(3), of(2));
        assert!(!members.truncate(Index(3)), "it is kept");
        assert_eq!(members.latest_index(), Index(3));
        assert!(members.truncate(Index(2)), "now it is gone");
        assert_eq!((members.latest(), members.latest_index()), (&of(1), Index::ZERO));
    }
}
