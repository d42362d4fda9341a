//! Faults are counted when they happen, and a plan that injects nothing fails.

use raft_core::Defect;
use raft_nondeterminism::{
    EventClass, Explorer, Failure, Fault, Goal, Kind as _, Scenario, Schedule, Weighted,
};

/// Leaders that last long enough to do something.
fn calm() -> Weighted {
    Weighted::new().weight(EventClass::Timeout, 3).weight(EventClass::Crash, 1)
}

/// How many events of a schedule start with this word.
fn count(schedule: &Schedule, verb: &str) -> u64 {
    let lines = schedule.lines().iter().map(ToString::to_string);
    lines.filter(|line| line.split(' ').next() == Some(verb)).count() as u64
}

#[test]
fn every_fault_counted_is_an_event_of_a_schedule() {
    let explorer = || Explorer::new(Scenario::reads()).seed(2).iterations(20);
    let report = explorer().run().unwrap();
    let schedules: Vec<_> =
        (0..20).map(|k| explorer().record(k).unwrap().schedule().clone()).collect();
    let total = |verb| schedules.iter().map(|schedule| count(schedule, verb)).sum::<u64>();
    assert_eq!(report.faults().count(Fault::Drop), total("drop"));
    assert_eq!(report.faults().count(Fault::Duplicate), total("duplicate"));
    assert_eq!(report.faults().count(Fault::Crash), total("crash"));
    let cuts: u64 = ["cut", "mute", "deafen", "bridge"].map(total).iter().sum();
    assert_eq!(report.faults().count(Fault::Partition), cuts);
    assert_eq!(report.faults().count(Fault::Pause), total("pause"));
    let is_allowed = |fault: &&Fault| !matches!(fault, Fault::DiskError | Fault::DiskStall);
    let allowed = || Fault::ALL.iter().filter(is_allowed);
    assert!(allowed().all(|&fault| report.faults().count(fault) > 0));
}

#[test]
fn no_run_exceeds_its_budgets() {
    let scenario = Scenario::restarts();
    for iteration in 0..50 {
        let recording = Explorer::new(scenario.clone()).max_steps(400).record(iteration).unwrap();
        assert!(count(recording.schedule(), "drop") <= 5);
        assert!(count(recording.schedule(), "duplicate") <= 5);
        assert!(count(recording.schedule(), "crash") <= 4);
    }
}

#[test]
fn a_plan_that_injects_nothing_fails() {
    let strategy = Weighted::new().weight(EventClass::Duplicate, 0);
    let explorer = Explorer::new(Scenario::sample_with_failure()).iterations(50);
    let report = explorer.strategy(strategy).run().unwrap();
    let failure = report.check().unwrap_err();
    assert!(matches!(failure, Failure::NothingInjected { fault: Fault::Duplicate, .. }));
    assert_eq!(
        failure.to_string(),
        "the plan allows the fault duplicate, but it never happened in 50 iterations"
    );
}

#[test]
fn without_a_plan_nothing_is_lost_or_doubled() {
    let report = Explorer::new(Scenario::sample()).iterations(50).run().unwrap();
    assert!(Fault::ALL.iter().all(|&fault| report.faults().count(fault) == 0));
    report.check().unwrap();
}

#[test]
fn messages_in_flight_stay_near_their_bound() {
    let scenario = Scenario::sample_with_failure().in_flight_max(10);
    let recording = Explorer::new(scenario).max_steps(1_000).record(0).unwrap();
    // With room for ten only, most of a thousand events must be deliveries.
    assert!(count(recording.schedule(), "deliver") > 500);
    assert!(count(recording.schedule(), "timeout") > 0);
}

#[test]
fn a_crash_may_lose_what_was_not_saved_and_the_trace_says_so() {
    let lost = (0..20).map(|k| Explorer::new(Scenario::restarts()).record(k).unwrap());
    let trace: String = lost.map(|recording| recording.trace().to_owned()).collect();
    assert!(trace.contains(" unfinished saves\n"), "some crash lost a save");
    assert!(trace.contains("  restart s"), "some server came back");
}

#[test]
fn every_goal_is_reached_in_some_run() {
    let scenarios = [Scenario::everything(), Scenario::sessions(), Scenario::disks()];
    let reports = scenarios.map(|scenario| {
        let explorer = Explorer::new(scenario).iterations(150).max_steps(600);
        let report = explorer.strategy(calm()).run().unwrap();
        report.check().unwrap_or_else(|failure| panic!("{failure}"));
        report
    });
    for goal in Goal::ALL {
        let is_reached = reports.iter().any(|report| report.goals().count(goal) > 0);
        assert!(is_reached, "{goal} is never reached");
    }
}

#[test]
fn a_defect_changes_nothing_where_it_cannot_show() {
    // Without a duplicate the two explorations are the same, event by event.
    let record = |defect: Option<Defect>| {
        let mut explorer = Explorer::new(Scenario::sample()).defect(defect);
        explorer.record(0).unwrap().schedule().fingerprint()
    };
    assert_eq!(record(None), record(Some(Defect::VoteCountedTwice)));
}

/// A majority goes on while the others are cut off or down.
#[test]
fn a_majority_that_is_left_comes_to_rest_before_all_do() {
    let [left, all] = ["the others go on", "everything works from now on"];
    let places = |trace: &str| [left, all].map(|what| trace.find(what));
    for (scenario, ends) in [
        (Scenario::partitions(), ["cut", "mute", "deafen", "bridge"].as_slice()),
        (Scenario::restarts(), &["crash"]),
    ] {
        let mut explorer = Explorer::new(scenario).settle().max_steps(60);
        let mut went_on = 0;
        for iteration in 0..100 {
            let recording = explorer.record(iteration).unwrap();
            assert_eq!(recording.violation(), None, "{}", recording.trace());
            let [left, all] = places(recording.trace());
            let all = all.expect("each run comes to rest");
            let Some(left) = left else { continue };
            went_on += 1;
            assert!(ends.iter().any(|verb| count(recording.schedule(), verb) > 0));
            let meanwhile = &recording.trace()[left..all];
            let is_led = recording.trace()[..all].contains(" elected leader of term ");
            assert!(is_led && !meanwhile.contains("restart s"), "{meanwhile}");
        }
        assert!((10..100).contains(&went_on), "{went_on} of 100");
    }
}
