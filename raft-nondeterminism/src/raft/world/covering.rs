//! What servers and clients met, for those who want to know what an exploration has tried.
//!
//! Elsewhere: what there is to meet, and what a step of a server counts for, is in `raft/coverage.rs`.

use raft_core::{Address, ClientId, Envelope};

use super::World;
use super::client::Outcome;
use crate::coverage::Meeting;
use crate::raft::coverage;
use crate::raft::watch::Watch;

impl World {
    /// A server is about to stop.
    pub(super) fn cover_end(&self, place: usize, watch: &mut Watch<'_>) {
        if let (Some(server), Some(coverage)) = (&self.hosts[place].server, watch.coverage()) {
            let state = coverage::state_of(server);
            coverage.meet(coverage::SERVER, state, coverage::CRASH, Meeting::Handled);
            coverage.moves(coverage::SERVER, state, coverage::DOWN);
        }
    }

    /// A server has started again.
    pub(super) fn cover_restart(&self, place: usize, watch: &mut Watch<'_>) {
        if let (Some(server), Some(coverage)) = (&self.hosts[place].server, watch.coverage()) {
            let (kind, down) = (coverage::SERVER, coverage::DOWN);
            coverage.meet(kind, down, coverage::RESTART, Meeting::Handled);
            coverage.moves(kind, down, coverage::state_of(server));
        }
    }

    /// Whether a client waits for anything, as a state.
    pub(super) fn client_state(&self, place: usize) -> usize {
        usize::from(self.clients[place].can_retry())
    }

    /// A client has taken what has arrived.
    pub(super) fn cover_answer(
        &self,
        place: usize,
        before: usize,
        event: usize,
        outcome: &Outcome,
        watch: &mut Watch<'_>,
    ) {
        let after = self.client_state(place);
        let Some(coverage) = watch.coverage() else { return };
        let is_ignored = matches!(outcome, Outcome::Ignored) && before == after;
        let meeting = if is_ignored { Meeting::Ignored } else { Meeting::Handled };
        coverage.meet(coverage::CLIENT, before, event, meeting);
        if before != after {
            coverage.moves(coverage::CLIENT, before, after);
        }
    }

    /// A message goes on its way.
    pub(super) fn cover_sending(&self, envelope: &Envelope, watch: &mut Watch<'_>) {
        if let (Some(coverage), Address::Client(ClientId(id))) = (watch.coverage(), &envelope.from)
        {
            let event = coverage::event_of_message(&envelope.message);
            let client = usize::try_from(*id - 1).expect("it is one of ours");
            coverage.meet(coverage::CLIENT, self.client_state(client), event, Meeting::Sent);
        }
    }
}
