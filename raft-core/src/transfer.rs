//! Handing leadership over (dissertation §3.10), and to whom: priorities.
//!
//! Guarantees: nothing is lost when it fails: after an election timeout the leader leads on. A preferred
//!             voter that cannot lead is asked ever more rarely, so it does not hold the others up.
//! Relies on:  the target checking that its log ends where the leader's does.
//! Elsewhere:  what the target does is in `election.rs`.

use std::time::Duration;

use crate::effect::{Effect, Step};
use crate::error::StepError;
use crate::log::Payload;
use crate::message::{Message, TimeoutNow};
use crate::progress::Progress;
use crate::role::{LeadershipTransfer, Role};
use crate::server::Server;
use crate::types::{ServerId, Timestamp};

/// When a leader last deferred to a preferred voter, and how often in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Deferrals {
    /// Not again before.
    not_before: Timestamp,
    /// How many there were since the last long silence.
    count: u32,
}

impl Deferrals {
    /// After so many times the patience of the last wait, another attempt is the first one again.
    const FORGET_AFTER: u32 = 64;
    /// The wait after the first attempt, in times the patience; it doubles with each.
    const FIRST_WAIT: u32 = 8;
    /// The wait stops to double then.
    const DOUBLINGS_MAX: u32 = 7;

    /// Notes an attempt. If it succeeds there is none after it: the preferred voter leads.
    fn attempt(&mut self, now: Timestamp, patience: Duration) {
        if now >= self.not_before + patience * Self::FORGET_AFTER {
            self.count = 0;
        }
        self.not_before = now + patience * (Self::FIRST_WAIT << self.count);
        self.count = Self::DOUBLINGS_MAX.min(self.count + 1);
    }
}

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

    /// The voter that has caught up best, among those heard of lately; of several, a preferred one.
    fn successor(&self, now: Timestamp) -> Option<ServerId> {
        let Role::Leader(leader) = &self.role else { return None };
        let voters = self.members.latest().voters();
        let is_able = |(server, progress): &(&ServerId, &Progress)| {
            voters.contains(server)
                && !progress.has_lost_log
                && progress.is_heard(now, self.config.election_timeout_min)
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
        // The next step of a change would be appended behind the end of the log that the target is told.
        let is_changing = self.is_changing();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = leader.transfer.as_mut().filter(|transfer| !transfer.is_sent) else {
            return;
        };
        let last = self.log.last();
        let progress = leader.progress.get(&transfer.target);
        if !is_changing && progress.is_some_and(|progress| progress.match_index == last.index) {
            transfer.is_sent = true;
            // Whoever gets this, however late, may be elected without asking for anyone's promise.
            leader.has_handed_over = true;
            let target = transfer.target;
            self.send_timeout_now(step, target);
        }
    }

    /// This leader goes: it tells the best of the others to take over at once, so that nobody has to
    /// wait for an election timeout.
    pub(crate) fn hand_over(&mut self, step: &mut Step<'_>) {
        if let Some(target) = self.successor(step.now) {
            self.send_timeout_now(step, target);
        }
    }

    /// Tells a server to call an election at once, if its log ends where this one does.
    fn send_timeout_now(&self, step: &mut Step<'_>, target: ServerId) {
        let (term, leader_id, last) = (self.current_term(), self.config.server_id, self.log.last());
        step.send(target, Message::TimeoutNow(TimeoutNow { term, leader_id, last }));
    }

    /// Leads on if leadership was not handed over in time. A word that is still on its way to the target
    /// comes too late once that has another entry.
    ///
    /// Source: dissertation §3.10: "if leadership transfer does not complete after about an election
    /// timeout, the prior leader aborts the transfer and resumes accepting client requests".
    pub(crate) fn maybe_abort_transfer(&mut self, step: &mut Step<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(LeadershipTransfer { target, deadline, is_sent }) = leader.transfer else {
            return;
        };
        if step.now >= deadline {
            leader.transfer = None;
            step.push(Effect::NotifyTransferAborted { target });
            if is_sent {
                self.append(step, Payload::Noop);
            }
        }
    }

    /// Hands over to a voter of higher priority, if one has caught up.
    pub(crate) fn maybe_defer_to_preferred(&mut self, step: &mut Step<'_>) {
        let Role::Leader(leader) = &self.role else { return };
        if self.config.priorities.is_empty()
            || step.now < self.deferrals.not_before
            || leader.transfer.is_some()
            || !self.has_committed_in_term()
        {
            return;
        }
        let own = self.config.priority(self.config.server_id);
        let voters = self.members.latest().voters().iter().copied();
        // Whoever holds everything committed keeps pace with a majority, and will not keep the clients
        // waiting for long.
        let is_ready = |voter: &ServerId| {
            leader.progress.get(voter).is_some_and(|progress| {
                progress.counted_index() >= self.commit_index
                    && progress.is_heard(step.now, self.config.election_timeout_min)
            })
        };
        let preferred = voters.filter(|&voter| self.config.priority(voter) > own).filter(is_ready);
        let target = preferred.max_by_key(|&voter| self.config.priority(voter));
        if let Some(target) = target {
            self.deferrals.attempt(step.now, self.config.election_timeout_max);
            // It was just found able; if that is no longer so, nothing is lost.
            let _ = self.transfer_leadership(step, Some(target));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_in_vain_doubles_the_wait_until_it_is_forgotten() {
        let second = Duration::from_secs(1);
        let mut deferrals = Deferrals::default();
        let mut now = Timestamp::ZERO;
        let mut waits = Vec::new();
        for _ in 0..9 {
            deferrals.attempt(now, second);
            waits.push(deferrals.not_before.since(now).as_secs());
            now = deferrals.not_before;
        }
        assert_eq!(waits, [8, 16, 32, 64, 128, 256, 512, 1024, 1024]);

        deferrals.attempt(now + second * 64, second);
        assert_eq!(deferrals.not_before, now + second * (64 + 8));
    }
}
