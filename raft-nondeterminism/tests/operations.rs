//! Members, snapshots, reads and transfers are explored, break nothing, and really happen.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use raft_nondeterminism::{
    DurableMajority, EventClass, Explorer, Fault, FaultPlan, Goal, Protocol, Report, SaveMode,
    Scenario, Weighted,
};

/// Explores with leaders that last long enough to do something.
fn explore(scenario: Scenario) -> Report {
    let is_short_of_sessions = scenario == Scenario::sessions();
    let calm = Weighted::new().weight(EventClass::Timeout, 4).weight(EventClass::Crash, 1);
    let explorer = Explorer::new(scenario).strategy(calm).monitor(DurableMajority).settle();
    let report = explorer.iterations(150).max_steps(600).run().unwrap();
    report.check().unwrap_or_else(|failure| panic!("{failure}"));
    // Where there is room for every session, none ends.
    assert!(is_short_of_sessions || report.goals().count(Goal::SessionExpired) == 0, "{report}");
    report
}

/// How many of the runs reach the goal, in per cent.
fn per_cent(report: &Report, goal: Goal) -> u64 {
    100 * report.goals().count(goal) / report.iterations()
}

#[test]
fn voters_are_replaced_and_every_change_is_finished() {
    let report = explore(Scenario::membership());
    assert!(per_cent(&report, Goal::JointLeft) > 80, "{report}");
}

#[test]
fn who_falls_behind_is_given_a_snapshot_in_chunks() {
    let report = explore(Scenario::snapshots());
    assert!(per_cent(&report, Goal::SnapshotInstalled) > 10, "{report}");
}

#[test]
fn reads_are_served_by_any_server_and_miss_no_write() {
    let report = explore(Scenario::reads());
    assert!(per_cent(&report, Goal::ReadServed) > 80, "{report}");
}

#[test]
fn reads_by_the_clock_miss_no_write_while_clocks_agree() {
    let report = explore(Scenario::leases());
    assert!(per_cent(&report, Goal::ReadServed) > 80, "{report}");
}

#[test]
fn leadership_is_handed_over() {
    let report = explore(Scenario::transfer());
    assert!(per_cent(&report, Goal::LeadershipTransferred) > 70, "{report}");
}

#[test]
fn sessions_end_and_no_request_is_applied_twice_in_them() {
    let report = explore(Scenario::sessions());
    assert!(per_cent(&report, Goal::SessionExpired) > 10, "{report}");
}

#[test]
fn everything_at_once_breaks_nothing_whatever_disks_and_protocol_are() {
    for saves in [SaveMode::Delayed, SaveMode::Immediate] {
        for protocol in [Protocol::Full, Protocol::Plain] {
            // Where saves are immediate there is none to lose.
            let lost = if saves == SaveMode::Delayed { 3 } else { 0 };
            let faults = FaultPlan::none()
                .allow(Fault::Drop, 5)
                .allow(Fault::Duplicate, 5)
                .allow(Fault::Crash, 4)
                .allow(Fault::LoseSaves, lost);
            let scenario = Scenario::everything().saves(saves).protocol(protocol);
            explore(scenario.faults(faults));
        }
    }
}
