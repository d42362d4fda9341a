//! Handing leadership over (dissertation §3.10), and to whom: priorities.
//!
//! Guarantees: nothing is lost when it fails: after an election timeout the leader leads on.
//! Relies on:  the target checking that its log ends where the leader's does.
//! Elsewhere:  what the target does is in `election.rs`.

use crate::effect::{Effect, Step};
use crate::error::StepError;
use crate::message::{Message, TimeoutNow};
use crate::progress::{Progress, ProgressState};
use crate::role::{LeadershipTransfer, Role};
use crate::server::Server;
use crate::types::{ServerId, Timestamp};

impl Server {
    /// Begins to hand over: from now on no command is taken, so that the target can catch up.
    ///
    /// Source: dissertation §3.10, steps 1 and 2.
    pub(crate) fn transfer_leadership(
        &mut self,
        step: &mut Step<'_>,
        to: Option<ServerId>,
    ) -> Result<(), StepError> {
        let leader_hint = self.leader_hint();
        let successor = self.successor(step.now);
        let Role::Leader(leader) = &mut self.role else {
            return Err(StepError::NotLeader { leader: leader_hint });
        };
        if leader.transfer.is_some() {
            return Err(StepError::Busy);
        }
        let latest = self.members.latest();
        let is_able = |&target: &ServerId| {
            latest.voters().contains(&target)
                && leader.progress.get(&target).is_some_and(|progress| !progress.has_lost_log)
        };
        let Some(target) = to.or(successor).filter(is_able) else {
            return Err(StepError::NoTransferTarget { target: to });
        };
        let deadline = step.now + self.config.election_timeout_max;
        leader.transfer = Some(LeadershipTransfer { target, deadline, is_sent: false });
        step.replicate();
        Ok(())
    }

    /// The voter that has caught up best, among those heard of lately; the preferred ones first.
    fn successor(&self, now: Timestamp) -> Option<ServerId> {
        let Role::Leader(leader) = &self.role else { return None };
        let voters = self.members.latest().voters();
        let is_able = |(server, progress): &(&ServerId, &Progress)| {
            voters.contains(server)
                && !progress.has_lost_log
                && now < progress.heard_at + self.config.election_timeout_min
        };
        let best = leader.progress.iter().filter(is_able).max_by_key(|(server, progress)| {
            (progress.match_index, self.config.priority(**server))
        });
        best.map(|(&server, _)| server)
    }

    /// Tells the target to take over once it has everything.
    ///
    /// Source: dissertation §3.10, step 3.
    pub(crate) fn maybe_hand_over(&mut self, step: &mut Step<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = leader.transfer.as_mut().filter(|transfer| !transfer.is_sent) else {
            return;
        };
        let last = self.log.last();
        let progress = leader.progress.get(&transfer.target);
        if progress.is_some_and(|progress| progress.match_index == last.index) {
            transfer.is_sent = true;
            // Whoever gets this, however late, may be elected without asking for anyone's promise.
            leader.has_handed_over = true;
            let target = transfer.target;
            let (term, leader_id) = (self.current_term(), self.config.server_id);
            step.send(target, Message::TimeoutNow(TimeoutNow { term, leader_id, last }));
        }
    }

    /// This leader goes: it tells the best of the others to take over at once, so that nobody has to
    /// wait for an election timeout.
    pub(crate) fn hand_over(&mut self, step: &mut Step<'_>) {
        let Some(target) = self.successor(step.now) else { return };
        let last = self.log.last();
        let (term, leader_id) = (self.current_term(), self.config.server_id);
        step.send(target, Message::TimeoutNow(TimeoutNow { term, leader_id, last }));
    }

    /// Leads on if leadership was not handed over in time, or cannot be.
    ///
    /// Source: dissertation §3.10: "if leadership transfer does not complete after about an election
    /// timeout, the prior leader aborts the transfer and resumes accepting client requests".
    pub(crate) fn maybe_abort_transfer(&mut self, step: &mut Step<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(LeadershipTransfer { target, deadline, .. }) = leader.transfer else { return };
        let is_voter = self.members.latest().voters().contains(&target);
        if step.now >= deadline || !is_voter {
            leader.transfer = None;
            step.push(Effect::NotifyTransferAborted { target });
        }
    }

    /// Hands over to a voter of higher priority, if one has caught up.
    pub(crate) fn maybe_defer_to_preferred(&mut self, step: &mut Step<'_>) {
        let Role::Leader(leader) = &self.role else { return };
        if self.config.priorities.is_empty()
            || leader.has_handed_over
            || leader.transfer.is_some()
            || !self.has_committed_in_term()
        {
            return;
        }
        let own = self.config.priority(self.config.server_id);
        let voters = self.members.latest().voters().iter().copied();
        let is_ready = |voter: &ServerId| {
            leader.progress.get(voter).is_some_and(|progress| {
                progress.state == ProgressState::Replicate
                    && !progress.has_lost_log
                    && step.now < progress.heard_at + self.config.election_timeout_min
            })
        };
        let preferred = voters.filter(|&voter| self.config.priority(voter) > own).filter(is_ready);
        let target = preferred.max_by_key(|&voter| self.config.priority(voter));
        if let Some(target) = target {
            // It was just found able; if that is no longer so, nothing is lost.
            let _ = self.transfer_leadership(step, Some(target));
        }
    }
}
