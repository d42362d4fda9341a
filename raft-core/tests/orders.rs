//! An order to take over comes from another server, which may be wrong.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, append, entries};
use raft_core::{Index, LogId, Message, ServerId, Term, TimeoutNow};

fn order(leader: u64) -> Message {
    let last = LogId::new(Term(1), Index(1));
    Message::TimeoutNow(TimeoutNow { term: Term(1), leader_id: ServerId(leader), last })
}

/// Leaders name voters only; a server that has no vote does not rely on it.
#[test]
fn a_learner_obeys_no_order_to_take_over() {
    for is_learner in [false, true] {
        let mut server = Bench::with(3, 1, None, entries(1, &[1]), |config| {
            if is_learner {
                config.voters = [2, 3].map(ServerId).to_vec();
                config.learners = vec![ServerId(1)];
            }
        });
        server.receive(2, append(1, 2, (1, 1), &[], 0));
        server.receive(2, order(2));
        assert_eq!(server.role(), if is_learner { "follower" } else { "candidate" });
    }
}
