//! A driver that carries out everything before the next input, and answers only where it is asked to.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, append, append_all, command, envelope};
use bytes::Bytes;
use raft_core::{Effects, Index, Input};

/// An apply without requests needs no answer, but it is done only when those before it are.
#[test]
fn what_needs_no_answer_is_applied_after_what_does() {
    let mut bench = Bench::with(3, 1, None, Vec::new(), |config| config.synchronous_driver = true);
    let mut effects = Effects::new();
    let mut step = |bench: &mut Bench, input| {
        bench.server.step(bench.now, input, &mut effects).unwrap();
        (bench.commit_index(), bench.server.last_applied())
    };
    let request = append_all(1, 2, (0, 0), vec![command((1, 1), 1, "x")], 1);
    assert_eq!(step(&mut bench, Input::Message(envelope(2, request))), (1, Index(0)));
    let request = append(1, 2, (1, 1), &[1], 2);
    let after = step(&mut bench, Input::Message(envelope(2, request)));
    assert_eq!(after, (2, Index(0)), "the command was not answered yet");
    let responses = vec![Bytes::from_static(b"done")];
    let answer = Input::Applied { through: Index(1), responses };
    assert_eq!(step(&mut bench, answer), (2, Index(2)));
}
