//! A request that stands in the log twice: a leader that did not know of the first copy made another.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, append_all, command, entries, success};

/// Whoever had the second copy made waits for an answer, and the leader that applies it has it: the
/// answer of the first.
#[test]
fn a_second_copy_is_answered_with_what_the_first_one_got() {
    let mut server = Bench::follower(3, 0, &[]);
    let copies = [command((2, 1), 1, "x"), command((3, 1), 1, "x")];
    let log = entries(1, &[1]).into_iter().chain(copies).collect();
    let lines = server.receive(2, append_all(1, 2, (0, 0), log, 2));
    assert!(
        lines.iter().all(|line| !line.contains("ClientResponse")),
        "it does not lead: {lines:?}"
    );

    server.elapse();
    server.win();
    let lines = server.receive(3, success(2, 4));
    let answers: Vec<_> = lines.iter().filter(|line| line.contains("ClientResponse")).collect();
    assert_eq!(answers, ["→ c1 ClientResponse c1#1 applied 2@1"], "{lines:?}");
    assert_eq!(server.applied, ["2@1 c1#1 x"]);
}
