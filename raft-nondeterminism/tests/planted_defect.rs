//! The tester proves itself: it finds the sample's bug, a vote counted twice, and nothing where
//! nothing is.

use raft_core::Defect;
use raft_nondeterminism::{ElectionSafety, Explorer, Fault, FaultPlan, Random, Scenario};

/// Schedules of 200 events. At the measured rate of 0.7 % one exploration in a million misses.
const BUDGET: u64 = 2_000;

fn explorer() -> Explorer {
    Explorer::new(Scenario::sample_with_failure()).iterations(BUDGET).max_steps(200)
}

#[test]
fn a_vote_counted_twice_is_found_within_its_budget_from_any_seed() {
    for seed in 0..10 {
        let report = explorer().seed(seed).defect(Defect::VoteCountedTwice).run().unwrap();
        let bug = report.bug().unwrap_or_else(|| panic!("not found from seed {seed}"));
        // A leader without a majority may also show by what it does not know.
        let shows = ["election-safety", "leader-completeness", "committed-prefix"];
        assert!(shows.contains(&bug.property()), "{} from seed {seed}", bug.violation());
        assert!(report.check().is_err());
    }
}

#[test]
fn two_leaders_of_one_term_are_found_by_a_monitor_of_elections_alone() {
    for seed in 0..3 {
        let only_elections = || {
            let explorer = explorer().without_monitors().monitor(ElectionSafety::default());
            explorer.seed(seed).iterations(2 * BUDGET).defect(Defect::VoteCountedTwice)
        };
        let report = only_elections().run().unwrap();
        let bug = report.bug().unwrap_or_else(|| panic!("not found from seed {seed}"));
        assert_eq!(bug.property(), "election-safety");
        // Two elections of five events each, and at most a detour.
        assert!(bug.shrunk().schedule().events() <= 16, "{bug}");
        only_elections().replay_watched(bug.schedule()).unwrap();
    }
}

#[test]
fn a_promise_before_its_save_is_found_where_crashes_lose_saves() {
    let restarts = || Explorer::new(Scenario::restarts()).iterations(BUDGET);
    let report = restarts().defect(Defect::AcknowledgedBeforeDurable).run().unwrap();
    assert!(report.bug().is_some(), "{report}");
    assert!(restarts().run().unwrap().bug().is_none());
}

#[test]
fn the_clean_core_survives_the_exploration_that_finds_the_defect() {
    let report = explorer().run().unwrap();
    assert_eq!(report.iterations(), BUDGET);
    report.check().unwrap();
}

#[test]
fn choosing_the_class_of_the_event_first_finds_more_than_uniform_choice() {
    let planted = || explorer().defect(Defect::VoteCountedTwice).count_bugs();
    let weighted = planted().run().unwrap().buggy_iterations();
    let uniform = planted().strategy(Random::new()).run().unwrap().buggy_iterations();
    assert!(weighted >= 2 * uniform, "{weighted} against {uniform} of {BUDGET}");
    assert!(weighted >= BUDGET / 250, "{weighted} of {BUDGET}");
}

#[test]
fn with_three_servers_one_vote_counted_twice_elects_nobody_wrongly() {
    // Its own vote and one other are a majority already.
    let scenario = Scenario::sample_with_failure().servers(3);
    let report =
        Explorer::new(scenario).iterations(500).defect(Defect::VoteCountedTwice).run().unwrap();
    report.check().unwrap();
}

#[test]
fn without_duplicates_no_vote_is_counted_twice() {
    let faults = FaultPlan::none().allow(Fault::Drop, 5);
    let scenario = Scenario::sample().faults(faults);
    let report =
        Explorer::new(scenario).iterations(500).defect(Defect::VoteCountedTwice).run().unwrap();
    report.check().unwrap();
}

#[test]
fn the_report_of_a_bug_tells_what_happened_and_how_to_repeat_it() {
    let report = explorer().defect(Defect::VoteCountedTwice).run().unwrap();
    let text = report.to_string();
    for part in [
        "found a bug in iteration ",
        "candidate ⇨ ",
        " VoteResponse granted",
        "violated: ",
        "defect vote-counted-twice",
        "replay with: ",
        "..... Found 1 buggy execution paths.",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

/// What the README shows is what its example prints.
#[test]
fn the_tutorial_finds_what_the_readme_says() {
    let report = Explorer::new(Scenario::sample_with_failure())
        .seed(3)
        .iterations(5_000)
        .max_steps(200)
        .defect(Defect::VoteCountedTwice)
        .run()
        .unwrap();
    let printed = report.to_string();
    let readme = include_str!("../README.md");
    for line in printed.lines().take(2) {
        assert!(readme.contains(line), "the README does not show {line:?}");
    }
}
