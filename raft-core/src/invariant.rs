//! What must hold between steps, in the order in which [`Server`] lists it.
//!
//! These are assertions, in release builds too: a server that knows it is wrong stops before it can
//! tell others.

use crate::role::Role;
use crate::server::Server;

impl Server {
    /// # Panics
    ///
    /// If an invariant does not hold.
    pub(crate) fn assert_invariants(&self) {
        let last_index = self.log.last_index();
        assert!(self.last_applied <= self.applying, "applied means handed out before");
        assert!(self.applying <= self.commit_index, "only committed entries are handed out");
        assert!(self.commit_index <= last_index, "committed entries are in the log");
        assert!(
            self.log.start().index <= self.commit_index,
            "only committed entries are compacted"
        );

        assert!(
            self.members.oldest_index() <= self.commit_index,
            "a configuration that is not committed can be taken back"
        );
        assert!(self.log.last_term() <= self.current_term(), "entries are of this term or before");

        let me = self.config.server_id;
        match &self.role {
            Role::Follower(follower) => {
                assert!(follower.leader != Some(me), "a follower does not follow itself");
            }
            Role::PreCandidate(candidate) => {
                assert!(candidate.votes.contains(&me), "a pre-candidate would vote for itself");
            }
            Role::Candidate(_) => {
                assert!(self.hard_state.voted_for == Some(me), "a candidate votes for itself");
            }
            Role::Leader(leader) => {
                for (&follower, progress) in leader.progress.iter() {
                    assert!(follower != me, "a leader does not follow itself");
                    assert!(progress.next_index > progress.match_index, "next is above match");
                    assert!(progress.match_index <= last_index, "nobody has more than the leader");
                    assert!(progress.next_index <= last_index.next(), "nothing unknown is sent");
                }
                if self.commit_index == last_index {
                    assert!(leader.uncommitted_bytes == 0, "what is committed counts no more");
                }
            }
        }
    }
}
