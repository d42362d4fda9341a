//! Changes of the configuration (Raft §6; dissertation §4.2, §4.3), which the specification leaves out.
//!
//! Guarantees: voters change through a joint configuration only, one change at a time, each begun by a
//!             leader that has committed an entry of its term (the flaw of 2015 in dissertation §4.1).
//! Elsewhere:  both majorities are counted in `servers.rs`.

use raft_core::{Configuration, Index, Leader, MembershipChange, ServerId, Timestamp};

use super::broken::{Action, Broken};
use super::state::{ConfigurationId, Configurations, Role, State};

impl State {
    /// ChangeConfiguration: a leader may append this configuration after the last one in its log.
    pub(super) fn check_change(
        &self,
        index: Index,
        new: &Configuration,
        now: Timestamp,
        configurations: &Configurations,
    ) -> Result<(), Broken> {
        let (from, _) = self.latest();
        let old = self.configuration(configurations);
        let broken = |but: &str| {
            let did = format!("appended {new} as entry {index} after {old}");
            Err(Broken::new(Action::ChangeConfiguration, did, but))
        };
        if from > self.commit {
            return broken("the change before it is not committed");
        }
        if old.is_joint() {
            let is_end = !new.is_joint()
                && new.voters() == old.voters()
                && new.learners().eq(old.learners());
            return if is_end {
                Ok(())
            } else {
                broken("C_new, and nothing else, follows C_old,new")
            };
        }
        if !self.has_committed {
            return broken("nothing of the leader's term is committed");
        }
        if new.voters().is_empty() {
            return broken("nobody is left to decide");
        }
        match new.old_voters() {
            None if new.voters() == old.voters() => {}
            Some(old_voters) if old_voters == old.voters() => {}
            None | Some(_) => return broken("voters change through C_old,new only"),
        }
        let is_ready = |voter| old.is_voter(voter) || old.is_learner(voter);
        if !new.voters().iter().all(|&voter| is_ready(voter)) {
            return broken("a new voter must have been a learner");
        }
        // The gap that dissertation §4.2.1 warns of: a voter with an empty log holds everything up.
        let lag = |voter| index.previous() - self.matched.get(voter);
        let is_behind = |voter: &&ServerId| {
            let is_new = !old.is_voter(**voter) && **voter != self.id;
            is_new && lag(**voter) > self.settings.catch_up_entries_max
        };
        if let Some(&voter) = new.voters().iter().find(is_behind) {
            return broken(&format!(
                "the new voter {voter} is known to hold everything up to {} only",
                self.matched.get(voter)
            ));
        }
        let is_silent = |voter: &&ServerId| {
            !old.is_voter(**voter) && **voter != self.id && !self.is_heard(**voter, now).1
        };
        if let Some(voter) = new.voters().iter().find(is_silent) {
            return broken(&format!(
                "the new voter {voter} has not answered for an election timeout"
            ));
        }
        Ok(())
    }

    /// ChangeConfiguration, the second half: a leader that has committed an entry of its term knows whether
    /// `C_old,new` is committed, also if another leader did that, and appends `C_new` in the same step.
    pub(super) fn check_left(&self, configurations: &Configurations) -> Result<(), Broken> {
        // Asked after every input: what is rare comes first.
        let is_due =
            self.role == Role::Leader && self.has_committed && self.latest().0 <= self.commit;
        if is_due && self.configuration(configurations).is_joint() {
            let did = format!("stays in {}", self.configuration(configurations));
            let but = "that is committed, so C_new follows at once";
            return Err(Broken::new(Action::ChangeConfiguration, did, but));
        }
        Ok(())
    }

    /// ChangeConfiguration, the request: the configuration is the one before with what was asked for, and
    /// nothing else.
    pub(super) fn check_changed(
        &self,
        before: ConfigurationId,
        changes: &[MembershipChange],
        configurations: &Configurations,
    ) -> Result<(), Broken> {
        use MembershipChange::{AddLearner, AddVoter, Demote, Remove};
        let (old, new) = (configurations.get(before), self.configuration(configurations));
        let part = |of: &Configuration, server| (of.is_voter(server), of.is_learner(server));
        let expected = |server| {
            let asked = changes.iter().rev().find_map(|change| match *change {
                AddVoter(it) if it == server => Some((true, false)),
                AddLearner(it) | Demote(it) if it == server => Some((false, true)),
                Remove(it) if it == server => Some((false, false)),
                _ => None,
            });
            asked.unwrap_or_else(|| part(old, server))
        };
        let is_voter = |server: ServerId| new.voters().contains(&server);
        let found =
            |server| (is_voter(server), !is_voter(server) && new.learners().any(|it| it == server));
        let asked = changes.iter().map(|change| change.server_id());
        let mut all = old.servers().into_iter().chain(new.servers()).chain(asked);
        match all.find(|&server| found(server) != expected(server)) {
            None => Ok(()),
            Some(server) => {
                let did = format!("made {new} of {old}");
                let but = format!("that is not what was asked for {server}");
                Err(Broken::new(Action::ChangeConfiguration, did, but))
            }
        }
    }

    /// True if the server may be needed as leader: it is a voter, or it was one before a change that
    /// it does not know to be committed (dissertation §4.2.2).
    pub(super) fn may_campaign(&self, configurations: &Configurations) -> bool {
        let is_voter = |&(_, id): &(Index, _)| configurations.get(id).is_voter(self.id);
        let [.., last] = self.members.as_slice() else { return false };
        let before = self.members.len().checked_sub(2).map(|place| &self.members[place]);
        is_voter(last) || last.0 > self.commit && before.is_some_and(is_voter)
    }

    /// Notes since when a leader knows its last configuration to be committed.
    pub(super) fn settle_configuration(&mut self, now: Timestamp, configurations: &Configurations) {
        let is_settled = self.role == Role::Leader
            && self.latest().0 <= self.commit
            && !self.configuration(configurations).is_joint();
        self.settled_at = self.settled_at.or(Some(now)).filter(|_| is_settled);
    }

    /// A leader watches over everyone in its configuration; and over nobody else once that is committed and
    /// who has left has had an election timeout to hear of it.
    pub(super) fn check_watched(
        &self,
        now: Timestamp,
        leader: &Leader,
        configuration: &Configuration,
    ) -> Result<(), Broken> {
        let broken =
            |did: String, but: &str| Err(Broken::new(Action::ChangeConfiguration, did, but));
        let is_unwatched =
            |&server: &ServerId| server != self.id && leader.progress.get(&server).is_none();
        if let Some(server) = configuration.servers().into_iter().find(is_unwatched) {
            return broken(format!("knows nothing of {server}"), "it leads that server");
        }
        let patience = self.settings.election_timeout_max;
        if self.settled_at.is_none_or(|since| now < since + patience) {
            return Ok(());
        }
        let mut watched = leader.progress.iter().map(|(&server, _)| server);
        match watched.find(|&server| !configuration.contains(server)) {
            None => Ok(()),
            Some(server) => {
                let but = "that has left, and has had an election timeout to hear of it";
                broken(format!("still watches over {server}"), but)
            }
        }
    }

    /// StepDown: a leader that is no voter any more leads until that is committed (Raft §6).
    pub(super) fn has_left(&self, configurations: &Configurations) -> bool {
        let configuration = self.configuration(configurations);
        self.latest().0 <= self.commit
            && !configuration.is_joint()
            && !configuration.voters().contains(&self.id)
    }
}
