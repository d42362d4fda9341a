//! Everything that can happen in small clusters, and nothing twice.

#[path = "exhaustive/own_nodes.rs"]
mod own_nodes;

use raft_core::Defect;
use raft_nondeterminism::{
    DurableMajority, Exhausted, Exhaustive, ExhaustiveError, Explorer, Fault, FaultPlan, Operation,
    OperationPlan, Raft, SaveMode, Scenario,
};

fn faults(duplicates: u32, crashes: u32) -> FaultPlan {
    FaultPlan::none().allow(Fault::Duplicate, duplicates).allow(Fault::Crash, crashes)
}

fn small(servers: usize, timeouts: u32, duplicates: u32, crashes: u32) -> Scenario {
    Scenario::small().servers(servers).timeouts_max(timeouts).faults(faults(duplicates, crashes))
}

fn search(scenario: Scenario) -> Exhaustive<Raft> {
    Exhaustive::new(&Raft::new(scenario))
}

fn exhausted(search: &Exhaustive<Raft>) -> Exhausted {
    let exhausted = search.run().expect("it can be explored");
    assert_eq!(exhausted.bug().map(|bug| bug.violation().to_string()), None);
    assert!(exhausted.is_complete());
    exhausted
}

/// The numbers change only with the protocol: whoever changes it looks at them.
#[test]
fn small_clusters_have_so_many_states_and_break_nothing_in_any() {
    let golden = [
        (small(2, 2, 0, 0), 96),
        (small(3, 1, 0, 0), 52),
        (small(3, 1, 1, 1), 5_774),
        (small(2, 2, 1, 1), 7_389),
    ];
    for (scenario, states) in golden {
        let found = exhausted(&search(scenario.clone()));
        assert_eq!((found.starts(), found.states()), (1, states), "{scenario:?}");
    }
    // Leaders send one entry per request, or many.
    let both = exhausted(&search(small(2, 2, 1, 1)).all_starts());
    assert_eq!((both.starts(), both.states()), (2, 14_848));
    let proposing = OperationPlan::none().allow(Operation::Propose, 1);
    let scenario = small(3, 1, 0, 0).operations(proposing);
    let found = exhausted(&search(scenario));
    assert_eq!((found.states(), found.transitions()), (228, 476));
}

/// Events that have nothing to do with each other happen in one order only, and no state is missed.
#[test]
fn sleep_sets_leave_out_ways_but_no_state() {
    let proposing = OperationPlan::none().allow(Operation::Propose, 1);
    let losing = FaultPlan::none().allow(Fault::Crash, 1).allow(Fault::LoseSaves, 1);
    let dropping = FaultPlan::none().allow(Fault::Drop, 2);
    let scenarios = [
        small(2, 2, 1, 1),
        small(3, 1, 1, 1),
        small(3, 1, 0, 0).operations(proposing),
        small(3, 1, 0, 0).saves(SaveMode::Delayed).faults(losing),
        small(3, 1, 0, 0).faults(dropping),
    ];
    for scenario in scenarios {
        for search in [search(scenario.clone()), search(scenario.clone()).depth_first()] {
            let (with, without) = (exhausted(&search), exhausted(&search.without_sleep_sets()));
            assert_eq!(with.states(), without.states(), "{scenario:?}");
            assert!(with.transitions() < without.transitions(), "{scenario:?}");
        }
    }
}

/// What breaks without them breaks with them, and after as few events.
#[test]
fn sleep_sets_leave_out_no_bug() {
    let losing = FaultPlan::none().allow(Fault::Crash, 1).allow(Fault::LoseSaves, 1);
    let delayed = small(3, 2, 0, 0).saves(SaveMode::Delayed).faults(losing);
    let planted = [
        (small(4, 1, 1, 0), Defect::VoteCountedTwice, 5),
        (small(4, 1, 1, 0), Defect::VoteNotSaved, 5),
        (small(3, 1, 1, 1), Defect::VoteNotSaved, 3),
        (delayed.clone(), Defect::VoteNotSaved, 5),
        (delayed, Defect::AcknowledgedBeforeDurable, 3),
    ];
    for (scenario, defect, events) in planted {
        let explorer = Explorer::new(scenario).defect(defect).monitor(DurableMajority);
        let search = Exhaustive::new(explorer.model());
        let found = |search: &Exhaustive<Raft>| {
            let found = search.run().expect("it can be explored");
            let bug = found.bug().expect("a bug was planted");
            (bug.property().to_owned(), bug.schedule().events())
        };
        let with = found(&search);
        assert_eq!(with, found(&search.clone().without_sleep_sets()), "{defect:?}");
        assert_eq!(with.1, events, "{defect:?}");
        assert!(found(&search.depth_first()).1 >= events, "breadth first is the shortest");
    }
}

/// However few worlds are kept, the search is the same: the others are made again.
#[test]
fn worlds_that_are_not_kept_are_made_again() {
    for search in [search(small(2, 2, 1, 1)), search(small(2, 2, 1, 1)).depth_first()] {
        let all = exhausted(&search);
        for worlds_max in [0, 1, 20] {
            let few = exhausted(&search.clone().worlds_max(worlds_max));
            let counts = |it: &Exhausted| (it.states(), it.transitions(), it.depth());
            assert_eq!(counts(&few), counts(&all), "{worlds_max}");
        }
    }
}

#[test]
fn both_orders_visit_the_same_states() {
    let search = search(small(2, 2, 1, 1));
    let (breadth, depth) = (exhausted(&search), exhausted(&search.clone().depth_first()));
    assert_eq!(breadth.states(), depth.states());
    let all = |search: Exhaustive<Raft>| exhausted(&search.without_sleep_sets()).transitions();
    assert_eq!(all(search.clone()), all(search.depth_first()));
    assert!(breadth.depth() < depth.depth(), "the shortest ways are shorter");
}

/// A vote that comes twice elects a leader of four servers with two votes.
#[test]
fn the_shortest_way_to_a_bug_is_found_and_replays() {
    let scenario = small(4, 1, 1, 0);
    let explorer = Explorer::new(scenario).defect(Defect::VoteCountedTwice);
    let mut explorer = explorer.monitor(DurableMajority);
    let found = Exhaustive::new(explorer.model()).run().expect("it can be explored");
    let bug = found.bug().expect("one duplicate is enough");
    assert!(!found.is_complete(), "the search ends with it");
    assert_eq!(
        bug.schedule().events(),
        bug.shrunk().schedule().events(),
        "nothing can be left out"
    );
    explorer = explorer.without_refinement();
    let again = explorer.replay_watched(bug.schedule()).expect("it replays");
    assert_eq!(again.violation(), Some(bug.violation()));
}

#[test]
fn a_search_that_gives_up_says_that_there_is_more() {
    let found = search(small(3, 2, 0, 0)).states_max(100).run().expect("it can be explored");
    assert_eq!((found.states(), found.is_complete()), (100, false));
}

#[test]
fn what_cannot_be_told_apart_is_refused() {
    let files = small(3, 1, 0, 0).saves(SaveMode::Files);
    assert_eq!(search(files).run().unwrap_err(), ExhaustiveError::Unknowable);
    let none = search(small(3, 1, 0, 0)).states_max(0).run().unwrap_err();
    assert_eq!(none, ExhaustiveError::ZeroBound);
    let nobody = search(Scenario::small().servers(0)).run().unwrap_err();
    assert_eq!(nobody.to_string(), "servers must be more than zero");
}
