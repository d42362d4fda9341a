//! Leadership transfer (dissertation §3.10), which the specification leaves out.
//!
//! Guarantees: a server is asked to take over only when it holds everything that the leader has, and
//!             does so only then. Its election is one like any other.

use raft_core::{Configuration, ServerId, TimeoutNow, Timestamp};

use super::broken::{Action, Broken};
use super::state::{Role, State};

impl State {
    /// TransferLeadership, step 1: an operator has the leader hand over, to one server at a time.
    pub(super) fn begin_transfer(&mut self, now: Timestamp) -> Result<(), Broken> {
        let did = "began to hand over";
        if self.handing_over_since.is_some() {
            let but = "it is handing over already, and two would be told to take over";
            return Err(Broken::new(Action::TransferLeadership, did, but));
        }
        self.handing_over_since = Some(now);
        Ok(())
    }

    /// "If leadership transfer does not complete after about an election timeout, the prior leader aborts
    /// the transfer" (dissertation §3.10): with the first heartbeat then.
    pub(super) fn check_transfer(&self, now: Timestamp, has_aborted: bool) -> Result<(), Broken> {
        let patience = self.settings.election_timeout_max;
        if has_aborted || self.handing_over_since.is_none_or(|since| now < since + patience) {
            return Ok(());
        }
        let but = "nobody has taken over for an election timeout";
        Err(Broken::new(Action::TransferLeadership, "goes on handing over", but))
    }

    /// HandleTimeoutNow: a Timeout at the leader's wish, without asking first who would vote.
    pub(super) fn handle_timeout_now(
        &mut self,
        request: &TimeoutNow,
        now: Timestamp,
        configuration: &Configuration,
    ) {
        let is_current = request.term == self.term && self.leader == Some(request.leader_id);
        let is_complete = self.log.last() == request.last;
        let is_able = configuration.is_voter(self.id) && !self.is_disk_stalled(now);
        if is_current && is_complete && is_able {
            self.time_out(true);
        }
    }

    /// TransferLeadership, step 3: the leader tells a voter that has caught up to take over. One that
    /// gives up leading tells whom it likes: the target checks that its log is complete.
    pub(super) fn check_timeout_now(
        &mut self,
        to: ServerId,
        request: &TimeoutNow,
        configuration: &Configuration,
    ) -> Result<(), Broken> {
        let broken = |but: &str| {
            let did = format!("told {to} to take over in term {}", request.term);
            Err(Broken::new(Action::TransferLeadership, did, but))
        };
        if request.leader_id != self.id || request.term > self.term {
            return broken("it does not lead that term");
        }
        self.has_handed_over = true;
        if self.role != Role::Leader || request.term < self.term {
            return Ok(());
        }
        if request.last != self.log.last() {
            return broken("its log ends elsewhere");
        }
        if self.matched.get(to) != request.last.index {
            return broken("it does not know that server to have everything");
        }
        if !configuration.is_voter(to) {
            return broken("only a voter can lead");
        }
        Ok(())
    }
}
