//! The core breaks no property, whatever befalls it: a soak over sizes, disks and strategies.

use raft_nondeterminism::{
    EventClass, Explorer, Fault, FaultPlan, Goal, Random, SaveMode, Scenario, Weighted,
};

/// Everything that can go wrong, often.
fn rough() -> FaultPlan {
    FaultPlan::none()
        .allow(Fault::Drop, 10)
        .allow(Fault::Duplicate, 10)
        .allow(Fault::Crash, 8)
        .allow(Fault::LoseSaves, 8)
}

#[test]
fn clusters_of_every_size_survive_losses_duplicates_and_crashes() {
    for servers in 1..=5 {
        let scenario = Scenario::restarts().servers(servers).faults(rough());
        let report = Explorer::new(scenario).iterations(150).max_steps(400).run().unwrap();
        report.check().unwrap_or_else(|failure| panic!("with {servers} servers: {failure}"));
        assert!(report.goals().count(Goal::RequestAnswered) > 0, "with {servers} servers");
    }
}

#[test]
fn a_cluster_with_few_elections_commits_much_and_breaks_nothing() {
    let scenario = Scenario::restarts().servers(5).requests(10).faults(rough());
    let calm = Weighted::new().weight(EventClass::Timeout, 2).weight(EventClass::Crash, 1);
    let report = Explorer::new(scenario).strategy(calm).iterations(150).max_steps(400).run();
    let report = report.unwrap();
    report.check().unwrap();
    let answered = report.goals().count(Goal::RequestAnswered);
    assert!(answered > report.iterations() / 2, "{answered} of {}", report.iterations());
}

#[test]
fn immediate_saves_and_uniform_choice_break_nothing_either() {
    let scenario = Scenario::restarts().saves(SaveMode::Immediate);
    let faults = rough().allow(Fault::LoseSaves, 0);
    let explorer = Explorer::new(scenario.faults(faults)).strategy(Random::new());
    explorer.iterations(300).run().unwrap().check().unwrap();
}
