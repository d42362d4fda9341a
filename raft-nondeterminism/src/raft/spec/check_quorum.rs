//! Check-quorum (dissertation §6.2), which the specification leaves out: a leader that is not heard by a
//! majority is none for long.
//!
//! Guarantees: a leader gives up when its heartbeat is due and no majority has answered for an election
//!             timeout, or its disk is stalled and others could lead, and for no other reason.
//! Elsewhere:  who protects a leader meanwhile is `must_ignore` in `actions.rs`.

use raft_core::{Configuration, ServerId, Timestamp};

use super::broken::{Action, Broken};
use super::servers::is_majority;
use super::state::State;

/// When the servers answered this leader last, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    /// Since it leads; until then everyone counts as heard.
    at: Vec<Timestamp>,
    /// Since someone is part of the cluster.
    joined_at: Vec<Timestamp>,
}

impl Answers {
    pub(super) fn of(servers: usize) -> Self {
        let never = vec![Timestamp::ZERO; servers + 1];
        Self { at: never.clone(), joined_at: never }
    }

    /// A leader begins.
    pub(super) fn lead(&mut self, now: Timestamp) {
        self.at.fill(now);
        self.joined_at.fill(now);
    }

    /// This server answered.
    pub(super) fn heard(&mut self, server: ServerId, now: Timestamp) {
        set(&mut self.at, server, now);
    }

    /// This server is a part of the cluster from now on. Whether it was one a moment ago, and had
    /// answered then, is left open.
    pub(super) fn joined(&mut self, server: ServerId, now: Timestamp) {
        set(&mut self.joined_at, server, now);
    }

    /// When this server was heard last, at the earliest and at the latest.
    fn last(&self, server: ServerId) -> (Timestamp, Timestamp) {
        let get = |times: &[Timestamp]| {
            let place = usize::try_from(server.0).unwrap_or(usize::MAX);
            times.get(place).copied().unwrap_or_default()
        };
        (get(&self.at), get(&self.at).max(get(&self.joined_at)))
    }
}

fn set(times: &mut [Timestamp], server: ServerId, now: Timestamp) {
    let place = usize::try_from(server.0).unwrap_or(usize::MAX);
    if let Some(time) = times.get_mut(place) {
        *time = now.max(*time);
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
        if leads_on && checks && !may_be_reached {
            let did = format!("leads on in term {}", self.term);
            let but = "no majority has answered for an election timeout";
            return Err(Broken::new(Action::StepDown, did, but));
        }
        if leads_on && self.is_disk_stalled(now) && !self.is_alone(configuration) {
            let did = format!("leads on in term {}", self.term);
            return Err(Broken::new(Action::StepDown, did, "its disk is stalled"));
        }
        let has_reason = checks && !is_reached_for_certain || self.is_disk_stalled(now);
        if !leads_on && !has_reason {
            let did = format!("gave up leading term {}", self.term);
            let but = "a majority has answered less than an election timeout ago";
            return Err(Broken::new(Action::StepDown, did, but));
        }
        Ok(())
    }
}
