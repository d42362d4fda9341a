//! What the examples say about systems that are not Raft is so.

#[path = "../examples/lock_service.rs"]
#[expect(dead_code, reason = "its `main` is for people")]
mod lock_service;
#[path = "../examples/two_phase_commit.rs"]
#[expect(dead_code, reason = "its `main` is for people")]
mod two_phase_commit;

use raft_nondeterminism::{Explorer, strategies, strategy, testing};

#[test]
fn two_phase_commit_is_atomic_under_every_strategy() {
    for info in strategies() {
        let explorer = Explorer::of(two_phase_commit::two_phase_commit()).max_steps(100).settle();
        let chosen = strategy(info.name(), None).unwrap();
        let report = explorer.boxed_strategy(chosen).run().unwrap();
        report.check().unwrap_or_else(|failure| panic!("{}: {failure}", info.name()));
    }
}

#[test]
fn two_phase_commit_blocks_sometimes() {
    let report = two_phase_commit::explore(2_000).unwrap();
    report.check().unwrap();
    for goal in ["committed", "aborted", "blocked"] {
        assert!(report.goals().count(goal) > 0, "{goal}:\n{report}");
    }
}

#[test]
fn leases_are_safe_with_fencing_tokens() {
    let report = lock_service::explore(true).unwrap();
    report.check().unwrap();
    assert!(report.goals().count("refused") > 0, "{report}");
    assert!(lock_service::tell(&report).contains("Nothing is wrong in 5000 runs"));
}

#[test]
fn a_lock_service_without_fencing_tokens_is_found_out_and_explained() {
    let report = lock_service::explore(false).unwrap();
    let told = lock_service::tell(&report);
    for part in [
        "needed:\n\n    1  request ",
        "timeout locks lease",
        "violated: one-writer-at-a-time: token 1 wrote after token 2",
        "\n#[test]\nfn one_writer_at_a_time_holds_in_",
    ] {
        assert!(told.contains(part), "{part:?} is missing in:\n{told}");
    }
    let shrunk = report.bug().unwrap().shrunk().schedule();
    assert!(shrunk.events() <= 10, "{told}");
    // The generated test passes once the tokens are checked.
    testing::assert_holds(lock_service::lock_service(true), &shrunk.to_string());
}

#[test]
fn a_generated_test_fails_while_the_bug_is_there() {
    let report = lock_service::explore(false).unwrap();
    let schedule = report.bug().unwrap().shrunk().schedule().to_string();
    let asserted = std::panic::catch_unwind(|| {
        testing::assert_holds(lock_service::lock_service(false), &schedule);
    });
    let message = asserted.unwrap_err().downcast::<String>().unwrap();
    assert!(message.starts_with("one-writer-at-a-time: token 1 wrote after token 2"), "{message}");
}

/// Found by weighted+shrunk from seed 0, iteration 5.
#[test]
fn one_writer_at_a_time_holds_in_d75dceb5b4ec3a12() {
    use raft_nondeterminism::testing::assert_holds;
    assert_holds(
        lock_service::lock_service(true),
        r#"raft-nondeterminism schedule, format 3
scenario lock-service
nodes locks storage ann ben
requests 2
delivery fifo
in_flight_max 64
faults drop=1 duplicate=1 crash=1 lose-saves=0 partition=0 disk-error=0 disk-stall=0 pause=1
end open
strategy weighted+shrunk
seed 0
iteration 5
property one-writer-at-a-time
events 9
fingerprint d75dceb5b4ec3a12

request ben Acquire
deliver ben → locks Acquire
deliver locks → ben Granted { token: 1 }
request ann Acquire
deliver ann → locks Acquire
timeout locks lease
deliver locks → ann Granted { token: 2 }
deliver ann → storage Write { token: 2 }
deliver ben → storage Write { token: 1 }
"#,
    );
}
