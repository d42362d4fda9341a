//! A run is its choices: the same seed, or the same schedule, gives the same run.

use raft_core::Defect;
use raft_nondeterminism::{
    Bug, EnabledView, ExploreError, Explorer, Line, NotReproducible, Pick, Random, ReplayError,
    Scenario, Schedule, ScheduleError, Strategy, Weighted, strategy,
};

fn explorer() -> Explorer {
    Explorer::new(Scenario::sample_with_failure()).defect(Defect::VoteCountedTwice)
}

fn bug() -> Bug {
    let report = explorer().run().expect("runs repeat");
    report.bug().expect("the defect is found from seed 0").clone()
}

#[test]
fn a_bug_is_found_again_from_its_seed_and_iteration() {
    let bug = bug();
    assert!(bug.iteration() > 0, "the iterations before it are left out");
    let again = explorer().record(bug.iteration()).unwrap();
    assert_eq!(&again, bug.full());
}

#[test]
fn a_run_by_a_strategy_that_learns_is_made_again_as_it_was() {
    for name in ["portfolio", "coverage", "q-learning", "urw"] {
        let explorer = || explorer().boxed_strategy(strategy(name, None).unwrap()).seed(2);
        let report = explorer().iterations(20_000).run().unwrap();
        let bug = report.bug().unwrap_or_else(|| panic!("{name} finds it"));
        assert!(bug.iteration() > 16, "{name} has learned something by then");
        assert_eq!(&explorer().record(bug.iteration()).unwrap(), bug.full(), "{name}");
        let again = explorer().only(bug.iteration()).run().unwrap();
        assert_eq!((again.iterations(), again.bug()), (1, Some(bug)), "{name}");
    }
}

#[test]
fn a_bug_is_found_again_from_its_text_choice_by_choice() {
    let bug = bug();
    for recording in [bug.full(), bug.shrunk()] {
        let text = recording.schedule().to_string();
        let schedule: Schedule = text.parse().unwrap();
        assert_eq!(&schedule, recording.schedule());
        assert_eq!(&Explorer::replay(&schedule).unwrap(), recording);
    }
}

#[test]
fn a_run_with_crashes_and_slow_disks_replays_from_its_text() {
    let mut has_choice = false;
    for iteration in 0..20 {
        let recording = Explorer::new(Scenario::restarts()).record(iteration).unwrap();
        let schedule: Schedule = recording.schedule().to_string().parse().unwrap();
        assert_eq!(Explorer::replay(&schedule).unwrap(), recording);
        has_choice |= schedule.lines().iter().any(|line| matches!(line, Line::Choose { .. }));
    }
    assert!(has_choice, "some crash left open how much was saved");
}

#[test]
fn every_scenario_replays_from_its_text_though_messages_share_names() {
    for scenario in Scenario::all() {
        let name = scenario.name().to_owned();
        for iteration in 0..15 {
            let explorer = Explorer::new(scenario.clone()).strategy(Weighted::new());
            let recording = explorer.max_steps(400).record(iteration).unwrap();
            let schedule: Schedule = recording.schedule().to_string().parse().unwrap();
            let again = Explorer::replay(&schedule);
            let is_same = again.as_ref().is_ok_and(|again| *again == recording);
            assert!(is_same, "{name}, iteration {iteration}: {:?}", again.err());
        }
    }
}

#[test]
fn a_run_repeated_with_its_seed_matches_choice_by_choice() {
    for scenario in Scenario::all() {
        let record = || {
            let mut explorer = Explorer::new(scenario.clone()).seed(3).strategy(Random::new());
            explorer.record(5).unwrap()
        };
        assert_eq!(record(), record());
    }
}

#[test]
fn seeds_and_iterations_lead_to_different_runs() {
    let fingerprint = |seed, iteration| {
        let recording = explorer().seed(seed).record(iteration).unwrap();
        recording.schedule().fingerprint()
    };
    assert_ne!(fingerprint(1, 0), fingerprint(2, 0));
    assert_ne!(fingerprint(1, 0), fingerprint(1, 1));
}

#[test]
fn a_shrunk_run_is_short_and_needs_each_of_its_events() {
    let bug = bug();
    let shrunk = bug.shrunk().schedule();
    assert!(shrunk.events() <= 20, "{} events", shrunk.events());
    assert!(shrunk.events() < bug.schedule().events());
    let text = shrunk.to_string();
    for line in shrunk.lines().iter().filter(|line| matches!(line, Line::Event(_))) {
        // Remove one event, and say so in the header.
        let fewer = text.replacen(&format!("\n{line}\n"), "\n", 1);
        let events = shrunk.events();
        let fewer =
            fewer.replace(&format!("events {events}\n"), &format!("events {}\n", events - 1));
        let recording = explorer().replay_tolerant(&fewer.parse().unwrap()).unwrap();
        assert_eq!(recording.violation(), None, "without {line}");
    }
}

#[test]
fn a_cut_schedule_is_refused() {
    let text = bug().schedule().to_string();
    let lines: Vec<_> = text.lines().collect();
    let first = |count: usize| lines[..count].join("\n").parse::<Schedule>().unwrap_err();
    assert_eq!(first(0), ScheduleError::Empty);
    assert_eq!(first(4).to_string(), "the schedule is cut off before `end`");
    let cut = first(lines.len() - 1);
    let expected = bug().schedule().events();
    assert_eq!(cut, ScheduleError::Events { expected, found: expected - 1 });
}

#[test]
fn a_foreign_text_is_refused_by_its_line() {
    let text = bug().schedule().to_string();
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from), "{from:?} is in the schedule");
        let parsed = text.replacen(from, to, 1).parse::<Schedule>();
        parsed.and_then(|schedule| schedule.scenario()).unwrap_err().to_string()
    };
    assert_eq!(
        "# Raft\n".parse::<Schedule>().unwrap_err(),
        ScheduleError::Empty,
        "a comment says nothing"
    );
    assert_eq!(
        "{\"events\": []}".parse::<Schedule>().unwrap_err().to_string(),
        "not a schedule: it starts with \"{\\\"events\\\": []}\" instead of \
         \"raft-nondeterminism schedule, format 3\""
    );
    assert_eq!(
        refused("format 3", "format 1"),
        "the schedule has format \"1\", this build reads format 3"
    );
    assert_eq!(
        refused("servers 5", "servers many"),
        "line 3: \"servers many\" is not `servers` and a number"
    );
    assert_eq!(
        refused("servers 5", "servers 0"),
        "the schedule's scenario makes no sense: servers must be more than zero"
    );
    assert_eq!(
        refused("servers 5", "servers 18446744073709551615"),
        "the schedule's scenario makes no sense: servers is 18446744073709551615, but at most 99 can \
         be explored"
    );
    assert_eq!(
        refused("clients 1", "clients 4294967295"),
        "the schedule's scenario makes no sense: clients is 4294967295, but at most 999 can be explored"
    );
    assert_eq!(
        refused("vote-counted-twice", "vote-counted-thrice"),
        "line 20: \"defect vote-counted-thrice\" is not `defect` and none or a planted defect's name"
    );
    assert_eq!(
        refused("duplicate=10", "flood=10"),
        "line 10: \"faults drop=5 flood=10 crash=0 lose-saves=0 partition=0 disk-error=0 disk-stall=0 pause=0\" is not `faults` and FAULT=NUMBER \
         for each fault"
    );
    assert_eq!(
        refused("deliver ", "teleport "),
        format!("line {}: {:?} is neither an event nor a choice", first_deliver(&text).0, {
            first_deliver(&text).1.replace("deliver", "teleport")
        })
    );
}

/// The number of the first line that delivers something, from 1, and the line.
fn first_deliver(text: &str) -> (usize, &str) {
    let mut lines = text.lines().enumerate();
    let (place, line) = lines.find(|(_, line)| line.starts_with("deliver ")).expect("there is one");
    (place + 1, line)
}

#[test]
fn an_edited_event_is_refused_at_its_step() {
    let bug = bug();
    let text = bug.shrunk().schedule().to_string();
    let (_, line) = first_deliver(&text);
    let edited: Schedule = text.replacen(line, "timeout s9", 1).parse().unwrap();
    let mut events = edited.lines().iter().filter(|line| matches!(line, Line::Event(_)));
    let step = events.position(|line| line.to_string() == "timeout s9").unwrap() + 1;
    let error = Explorer::replay(&edited).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "not reproducible at step {step}: the schedule says \"timeout s9\", but that cannot \
             happen here"
        )
    );
}

#[test]
fn an_edit_that_can_happen_is_refused_for_where_it_leads() {
    let bug = bug();
    let schedule = bug.full().schedule();
    let clean = schedule.clone().with_defect(None);
    let error = Explorer::replay(&clean).unwrap_err();
    assert!(matches!(error, ReplayError::OtherProperty { .. }), "{error}");

    let text = schedule.to_string();
    let fingerprint = schedule.fingerprint().to_string();
    let edited = text.replace(&fingerprint, "0000000000000000").parse().unwrap();
    let error = Explorer::replay(&edited).unwrap_err();
    let expected = "0000000000000000".to_owned();
    assert_eq!(error, ReplayError::OtherFingerprint { expected, found: fingerprint });
}

#[test]
fn the_kept_schedule_elects_two_leaders_with_the_defect_and_one_without() {
    let schedule: Schedule = include_str!("../schedules/two-leaders.txt").parse().unwrap();
    let mut explorer = Explorer::new(schedule.scenario().unwrap());
    let recording = explorer.replay_tolerant(&schedule).unwrap();
    assert_eq!(recording.violation().unwrap().property, "election-safety");
    let recording = explorer.replay_tolerant(&schedule.with_defect(None)).unwrap();
    assert_eq!(recording.violation(), None);
}

/// Remembers more than its seed: each run goes on where the last one ended.
#[derive(Clone, Debug)]
struct Forgetless {
    calls: usize,
}

impl Strategy for Forgetless {
    fn begin(&mut self, _seed: u64) {}

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        self.calls += 1;
        Ok(enabled.nth((self.calls / 7) % enabled.total()))
    }

    fn choose(&mut self, _arity: usize, _label: &str) -> Result<usize, NotReproducible> {
        Ok(0)
    }

    fn describe(&self) -> String {
        "forgetless".to_owned()
    }
}

#[test]
fn a_run_that_does_not_repeat_is_reported() {
    let error = explorer().strategy(Forgetless { calls: 0 }).run().unwrap_err();
    assert!(matches!(error, ExploreError::Nondeterminism { iteration: 0, .. }), "{error}");
}

#[test]
fn bounds_of_zero_are_refused() {
    let error = explorer().iterations(0).run().unwrap_err();
    assert_eq!(error.to_string(), "iterations must be more than zero");
    let error = explorer().max_steps(0).run().unwrap_err();
    assert_eq!(error.to_string(), "max_steps must be more than zero");
    let error = Explorer::new(Scenario::new("empty", 0)).run().unwrap_err();
    assert_eq!(error.to_string(), "servers must be more than zero");
    let error = Explorer::new(Scenario::new("two words", 3)).run().unwrap_err();
    assert_eq!(error.to_string(), "\"two words\" is no name for a scenario: it must be one word");
}
