//! Every step of the real servers is one of the Raft specification, and a step that is none is found when
//! it is made.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use raft_core::Defect;
use raft_nondeterminism::{Explorer, Fault, FaultPlan, Report, Scenario, Schedule};

/// Explores under the specification alone.
fn refine(scenario: Scenario) -> Explorer {
    Explorer::new(scenario).without_monitors().with_refinement().max_steps(300)
}

fn buggy_runs(explorer: Explorer, defect: Defect) -> Report {
    explorer.defect(defect).iterations(400).count_bugs().run().unwrap()
}

#[test]
fn the_clean_core_does_only_what_the_specification_allows() {
    for scenario in Scenario::all() {
        let report = refine(scenario).iterations(60).run().unwrap();
        if let Some(bug) = report.bug() {
            panic!("a false alarm, or a bug of the core:\n{bug}");
        }
    }
}

#[test]
fn a_leader_without_a_majority_is_found_when_it_is_elected() {
    let report = refine(Scenario::sample_with_failure())
        .iterations(400)
        .defect(Defect::VoteCountedTwice)
        .run()
        .unwrap();
    let bug = report.bug().expect("a vote that comes twice elects a leader without a majority");
    assert_eq!(bug.property(), "refinement");
    let message = &bug.shrunk().violation().unwrap().message;
    let claim = ", which BecomeLeader (Raft §5.2) does not allow: only ";
    assert!(message.contains(claim), "{message}");
    // One election, and no second one that contradicts it.
    let events = bug.shrunk().schedule().events();
    assert!(events <= 10, "{events} events:\n{bug}");
}

#[test]
fn the_specification_finds_a_planted_bug_more_often_than_the_other_monitors_do() {
    let scenario = Scenario::sample_with_failure;
    let refined = buggy_runs(refine(scenario()), Defect::VoteCountedTwice);
    let monitored = Explorer::new(scenario()).without_refinement().max_steps(300);
    let monitored = buggy_runs(monitored, Defect::VoteCountedTwice);
    let (refined, monitored) = (refined.buggy_iterations(), monitored.buggy_iterations());
    assert!(refined >= 3 * monitored && monitored > 0, "{refined} against {monitored} of 400");
}

#[test]
fn a_vote_that_is_not_on_its_way_to_the_disk_is_found_without_any_crash() {
    let scenario = Scenario::sample().faults(FaultPlan::none().allow(Fault::Crash, 0));
    let report = refine(scenario).iterations(20).defect(Defect::VoteNotSaved).run().unwrap();
    let bug = report.bug().expect("every vote is lost");
    let message = &bug.violation().message;
    let claim = "Persist (Raft Fig. 2: updated on stable storage before responding)";
    assert!(message.contains(claim), "{message}");
}

#[test]
fn a_step_that_is_none_of_the_specification_is_found_again_from_its_schedule() {
    let scenario = Scenario::sample_with_failure().refines(true);
    let explorer = Explorer::new(scenario).iterations(400).defect(Defect::VoteCountedTwice);
    let report = explorer.max_steps(300).run().unwrap();
    let bug = report.bug().expect("it is found");
    let schedule: Schedule = bug.schedule().to_string().parse().unwrap();
    assert_eq!(schedule.property(), Some("refinement"));
    let again = Explorer::replay(&schedule).unwrap();
    assert_eq!(again.violation(), bug.full().violation());
}

#[test]
fn nobody_asks_the_specification_unless_it_is_wanted() {
    let explorer = Explorer::new(Scenario::sample_with_failure()).without_refinement();
    let report = buggy_runs(explorer.max_steps(300), Defect::VoteCountedTwice);
    let bug = report.bug().expect("the other monitors find it too");
    assert_ne!(bug.property(), "refinement");
}

/// What was once taken for a fault of the core, and was one of the specification's transcription.
#[test]
fn steps_that_were_refused_wrongly_are_explained() {
    let kept = [
        include_str!("../schedules/acknowledged-before-a-later-term.txt"),
        include_str!("../schedules/answer-of-a-stranger-in-a-batch.txt"),
        include_str!("../schedules/answer-of-a-stranger-to-a-leader.txt"),
        include_str!("../schedules/answers-of-two-that-leave.txt"),
        include_str!("../schedules/answer-from-a-snapshot.txt"),
        include_str!("../schedules/answers-of-a-stranger-around-a-step-down.txt"),
        include_str!("../schedules/lease-of-the-only-voter.txt"),
        include_str!("../schedules/read-asked-within-a-batch.txt"),
    ];
    for text in kept {
        let schedule: Schedule = text.parse().expect("it is a schedule");
        let mut explorer = Explorer::new(schedule.scenario().expect("of a scenario"));
        let recording = explorer.replay_tolerant(&schedule).expect("it can be followed");
        assert_eq!(recording.schedule().events(), schedule.events(), "every event happens");
        assert_eq!(recording.violation(), None);
    }
}
