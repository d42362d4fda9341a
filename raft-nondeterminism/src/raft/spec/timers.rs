//! The election timer (Raft §5.2; Fig. 2, rules for followers), which the specification leaves out: there,
//! any server may time out at any time.
//!
//! Guarantees: whoever hears its leader, or gives its vote away, waits an election timeout from then on;
//!             nothing else that arrives puts its own election off, or others could do so for ever.
//!             A leader's timer is that of its heartbeats.
//! Elsewhere:  what a leader does when its heartbeat is due is `elapse` in `explain.rs`.

use raft_core::Timestamp;

use super::broken::{Action, Broken};
use super::state::{Role, State};

/// What is known of the election timer of one server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ElectionTimer {
    /// When it fires, as far as it has been set.
    fires_at: Option<Timestamp>,
    /// This input sets it: the leader spoke, or a vote was given away.
    is_due: bool,
}

impl ElectionTimer {
    /// An input is about to be explained.
    pub(super) fn begin(&mut self) {
        self.is_due = false;
    }

    /// The leader spoke, or a vote was given away: it begins anew.
    pub(super) fn set(&mut self) {
        self.is_due = true;
    }

    /// What ends with this has no timer that is known.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// True if it is due.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.fires_at.is_some_and(|fires_at| now >= fires_at)
    }

    /// It fires then.
    pub(super) fn observe(&mut self, fires_at: Option<Timestamp>) {
        self.fires_at = fires_at;
    }
}

impl State {
    /// Judges when the timer of this server will fire after an input. `was` is its role before; `is_timed`
    /// if the input was the timer itself.
    pub(super) fn check_timer(
        &mut self,
        now: Timestamp,
        fires_at: Option<Timestamp>,
        was: Role,
        is_timed: bool,
    ) -> Result<(), Broken> {
        let ElectionTimer { fires_at: before, is_due } = self.timer;
        self.timer.observe(fires_at);
        let (Some(before), Some(fires_at)) = (before, fires_at) else { return Ok(()) };
        let broken = |but: String| {
            let what = if self.role == Role::Leader { "a heartbeat" } else { "an election" };
            let did = format!("waits for {what} until {fires_at}");
            Err(Broken::new(Action::ElectionTimer, did, but))
        };
        if self.role == Role::Leader {
            let is_set = was != Role::Leader || self.is_beating;
            let expected = if is_set { now + self.settings.heartbeat_interval } else { before };
            return match fires_at == expected {
                true => Ok(()),
                false => broken(format!("its next one is due at {expected}")),
            };
        }
        let earliest = now + self.settings.protection;
        if is_due && fires_at < earliest {
            return broken(format!(
                "its leader spoke, or it has just given its vote away, so it waits until {earliest} at \
                 least"
            ));
        }
        if !is_due && !is_timed && was == self.role && fires_at != before {
            return broken(format!("nothing has happened that changes it from {before}"));
        }
        Ok(())
    }
}
