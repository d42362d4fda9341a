//! Check-quorum (dissertation §6.2), which the specification leaves out: a leader that is not heard by a
//! majority is none for long.
//!
//! Guarantees: a leader gives up when its heartbeat is due and no majority has answered for an election
//!             timeout, or its disk is stalled and others could lead, and for no other reason.
//! Elsewhere:  who protects a leader meanwhile is `must_ignore` in `actions.rs`.

use raft_core::{Configuration, ServerId, Timestamp};

use super::broken::{Action, Broken};
use super::servers::{ByServer, is_majority};
use super::state::State;

/// When the servers answered this leader last.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    /// Since it leads; until then everyone counts as heard.
    at: ByServer<Timestamp>,
    /// Since someone is part of the cluster.
    joined_at: ByServer<Timestamp>,
}

impl Answers {
    pub(super) fn of(servers: usize) -> Self {
        Self { at: ByServer::of(servers), joined_at: ByServer::of(servers) }
    }

    /// A leader begins.
    pub(super) fn lead(&mut self, now: Timestamp) {
        self.at.fill(now);
        self.joined_at.fill(now);
    }

    /// This server answered.
    pub(super) fn heard(&mut self, server: ServerId, now: Timestamp) {
        self.at.raise(server, now);
    }

    /// This server is a part of the cluster from now on. Whether it was one a moment ago, and had
    /// answered then, is left open.
    pub(super) fn joined(&mut self, server: ServerId, now: Timestamp) {
        self.joined_at.raise(server, now);
    }

    /// When this server was heard last, at the earliest and at the latest.
    fn last(&self, server: ServerId) -> (Timestamp, Timestamp) {
        let at = self.at.get(server);
        (at, at.max(self.joined_at.get(server)))
    }
}

impl State {
    /// True if this server has answered for certain, or may have, less than an election timeout ago.
    pub(super) fn is_heard(&self, server: ServerId, now: Timestamp) -> (bool, bool) {
        let (earliest, latest) = self.answers.last(server);
        let patience = self.settings.election_timeout_max;
        (now < earliest + patience, now < latest + patience)
    }

    /// When this server answered last, at the latest.
    pub(super) fn answered_at(&self, server: ServerId) -> Timestamp {
        self.answers.last(server).1
    }

    /// A leader whose heartbeat is due leads on, or not.
    pub(super) fn check_leading(
        &self,
        now: Timestamp,
        leads_on: bool,
        configuration: &Configuration,
    ) -> Result<(), Broken> {
        let is_reached = |is_heard: &dyn Fn(ServerId) -> bool| {
            is_majority(configuration, |voter| voter == self.id || is_heard(voter))
        };
        let is_reached_for_certain = is_reached(&|voter| self.is_heard(voter, now).0);
        let may_be_reached = is_reached(&|voter| self.is_heard(voter, now).1);
        let checks = self.settings.check_quorum;
        let is_stalled = self.is_disk_stalled(now) && !self.is_alone(configuration);
        let is_over = if checks && !may_be_reached {
            Some("no majority has answered for an election timeout")
        } else if is_stalled {
            Some("its disk is stalled")
        } else {
            None
        };
        if let Some(but) = is_over.filter(|_| leads_on) {
            let did = format!("leads on in term {}", self.term);
            return Err(Broken::new(Action::StepDown, did, but));
        }
        let has_reason = checks && !is_reached_for_certain || is_stalled;
        if !leads_on && !has_reason {
            let did = format!("gave up leading term {}", self.term);
            let but = "a majority has answered less than an election timeout ago";
            return Err(Broken::new(Action::StepDown, did, but));
        }
        Ok(())
    }
}
