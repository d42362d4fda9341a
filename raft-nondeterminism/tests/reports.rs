//! Reports of real clusters: a trace is whole whatever happens in a run, and coverage counts what did.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use raft_core::Defect;
use raft_nondeterminism::coverage::{Coverage, Meeting};
use raft_nondeterminism::node::{Context, Node, NodeId, Simulation};
use raft_nondeterminism::report::{html, readable_log, shiviz, write_bug, write_coverage};
use raft_nondeterminism::trace::{Fate, Trace};
use raft_nondeterminism::{Explorer, Fault, FaultPlan, Report, Scenario};

/// A folder of the test's own, which is empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn buggy() -> Report {
    let scenario = Scenario::sample_with_failure();
    let explorer = Explorer::new(scenario).seed(7).iterations(5_000).cover();
    explorer.defect(Defect::VoteCountedTwice).run().unwrap()
}

#[test]
fn the_trace_of_every_scenario_is_whole() {
    for scenario in Scenario::all() {
        let name = scenario.name().to_owned();
        let mut explorer = Explorer::new(scenario).max_steps(300).settle();
        for iteration in 0..5 {
            let recording = explorer.record(iteration).unwrap();
            let trace = recording.trace_data();
            trace.check().unwrap_or_else(|error| panic!("{name}, iteration {iteration}: {error}"));
            assert_eq!(Trace::from_json(&trace.to_json()).unwrap(), trace);
            assert_eq!((&*trace.model, trace.iteration), (&*name, iteration));
            // Each event of the schedule is a step, and then everything comes to rest.
            let events = recording.schedule().events();
            let names = recording.schedule().lines().iter().map(ToString::to_string);
            let names: Vec<_> = names.filter(|line| !line.starts_with("choose ")).collect();
            let steps = trace.steps.iter().take(events).map(|step| step.name.clone());
            assert_eq!(steps.collect::<Vec<_>>(), names, "{name}, iteration {iteration}");
            // Whoever does not take part in a step does not change by it, unless time passes for all.
            let deliveries = trace.steps.iter().filter(|step| step.class == "deliver");
            for step in deliveries {
                assert!(
                    step.changes.iter().all(|change| Some(change.lane) == step.lane),
                    "{step:?}"
                );
            }
            assert!(!html(&trace).is_empty() && !readable_log(&trace).is_empty());
            assert!(!shiviz(&trace).is_empty());
        }
    }
}

#[test]
fn a_trace_says_what_the_network_did() {
    let mut explorer = Explorer::new(Scenario::sample_with_failure()).seed(3);
    let trace = explorer.record(0).unwrap().trace_data();
    let count = |class: &str| trace.steps.iter().filter(|step| step.class == class).count();
    let flights = trace.flights();
    let ended =
        |fate: Fate| flights.iter().filter(|it| it.end.is_some_and(|end| end.1 == fate)).count();
    assert_eq!(ended(Fate::Delivered), count("deliver"));
    assert_eq!(ended(Fate::Lost), count("drop"));
    let twins = flights.iter().filter(|it| it.message.twin_of.is_some()).count();
    assert_eq!(twins, count("duplicate"));
    assert!(count("drop") > 0 && twins > 0, "the run shows what it claims to");
}

#[test]
fn a_full_run_marks_what_its_shrunk_one_needs() {
    let report = buggy();
    let bug = report.bug().unwrap();
    let shrunk = bug.shrunk().trace_data();
    let full = bug.full().trace_data().matter_as_in(&shrunk);
    let needed = full.matters.as_ref().unwrap();
    assert!(needed.len() <= shrunk.steps.len() && needed.len() * 10 >= shrunk.steps.len() * 8);
    assert!(full.does_matter(full.steps.len()), "the last step breaks the property");
    assert_eq!(full.violation.as_ref(), bug.full().violation());
    assert_eq!(full.defect.as_deref(), Some("vote-counted-twice"));
}

#[test]
fn a_bug_is_written_with_everything_there_is_to_see_and_the_same_each_time() {
    let (report, again) = (buggy(), buggy());
    let (one, two) = (folder("bug-one"), folder("bug-two"));
    let files = write_bug(report.bug().unwrap(), &one, "bug").unwrap();
    write_bug(again.bug().unwrap(), &two, "bug").unwrap();
    let names: Vec<_> = files.iter().map(|it| it.file_name().unwrap().to_str().unwrap()).collect();
    let endings = [
        ".txt",
        ".trace.json",
        ".html",
        ".mmd",
        ".states.mmd",
        ".trace.dgml",
        ".shiviz.log",
        ".log",
    ];
    for ending in endings {
        for name in [format!("bug{ending}"), format!("bug-full{ending}")] {
            assert!(names.contains(&&*name), "{name} in {names:?}");
            let read = |folder: &Path| fs::read_to_string(folder.join(&name)).unwrap();
            assert_eq!(read(&one), read(&two), "{name}");
        }
    }
    assert_eq!(names.len(), 2 * endings.len());
    let schedule = fs::read_to_string(&files[0]).unwrap().parse().unwrap();
    assert_eq!(
        Explorer::replay(&schedule).unwrap().violation(),
        report.bug().unwrap().shrunk().violation()
    );
    let file = one.join("a file");
    fs::write(&file, "").unwrap();
    let error = write_bug(report.bug().unwrap(), &file, "bug").unwrap_err().to_string();
    assert!(error.starts_with("cannot write ") && error.ends_with("a file"), "{error}");
}

#[test]
fn coverage_does_not_depend_on_the_workers_and_is_kept_in_a_file() {
    let cover = |workers: usize| {
        let explorer = Explorer::new(Scenario::restarts()).iterations(100).cover();
        let report = explorer.workers(NonZeroUsize::new(workers).unwrap()).run().unwrap();
        report.coverage().unwrap().clone()
    };
    let coverage = cover(1);
    assert_eq!(coverage, cover(2));
    let folder = folder("coverage");
    let files = write_coverage(&coverage, &folder, "restarts").unwrap();
    assert_eq!(files.len(), 4);
    let text = fs::read_to_string(folder.join("restarts.coverage.json")).unwrap();
    let mut sum = Coverage::from_json(&text).unwrap();
    assert_eq!(sum, coverage);
    sum.merge(&coverage).unwrap();
    assert_eq!(sum.total_covered(), coverage.total_covered());
}

#[test]
fn coverage_tells_what_happened_and_what_never_can() {
    let report = Explorer::new(Scenario::everything()).iterations(300).max_steps(600).cover();
    let report = { report }.run().unwrap();
    let coverage = report.coverage().unwrap();
    let server = &coverage.plan().kinds()[0];
    let place = |names: &[String], name: &str| names.iter().position(|it| it == name).unwrap();
    let received = |state: &str, event: &str| {
        coverage.received(0, place(server.states(), state), place(server.events(), event))
    };
    for state in ["follower", "pre-candidate", "candidate", "leader", "learner"] {
        assert!(received(state, "AppendEntriesRequest") > 0 || state == "leader", "{state}");
        assert!(received(state, "crash") > 0, "{state}");
    }
    assert!(received("down", "restart") > 0);
    // What cannot be is not waited for.
    for (state, name) in server.states().iter().enumerate() {
        for (event, event_name) in server.events().iter().enumerate() {
            let is_received = coverage.received(0, state, event) > 0;
            let is_declared = coverage.is_declared(0, state, event);
            assert!(is_declared || !is_received, "{event_name} is received by a {name}");
        }
    }
    let leader = place(server.states(), "leader");
    let request = place(server.events(), "AppendEntriesRequest");
    assert!(coverage.count(0, leader, request, Meeting::Sent) > 0);
    assert!(coverage.move_count(0, place(server.states(), "candidate"), leader) > 0);
    // Without being asked, nobody counts.
    let plain = Explorer::new(Scenario::sample()).iterations(1).run().unwrap();
    assert!(plain.coverage().is_none());
}

/// Counts what it hears, and says it on.
#[derive(Clone, Debug, Default)]
struct Echo {
    heard: u64,
}

impl Node for Echo {
    type Message = u64;

    fn on_request(&mut self, ctx: &mut Context<'_, Self>, number: u64) {
        ctx.broadcast(number);
        ctx.set_timer("again");
    }

    fn on_message(&mut self, ctx: &mut Context<'_, Self>, from: NodeId, number: u64) {
        self.heard += 1;
        ctx.save(self);
        if number > 0 {
            ctx.send(from, number - 1);
        }
    }

    fn state_name(&self) -> &str {
        if self.heard > 0 { "hearing" } else { "waiting" }
    }
}

#[test]
fn any_state_machine_has_a_trace_with_its_states_and_fields() {
    let faults = [Fault::Crash, Fault::Drop, Fault::Duplicate, Fault::Partition, Fault::Pause];
    let plan = faults.into_iter().fold(FaultPlan::none(), |plan, fault| plan.allow(fault, 3));
    let echoes =
        Simulation::new("echoes").nodes([Echo::default(), Echo::default(), Echo::default()]);
    let echoes = echoes.request(NodeId(1), 3).request(NodeId(2), 2).faults(plan);
    let mut explorer = Explorer::of(echoes).max_steps(60).settle();
    for iteration in 0..20 {
        let trace = explorer.record(iteration).unwrap().trace_data();
        trace.check().unwrap_or_else(|error| panic!("iteration {iteration}: {error}"));
        assert_eq!(trace.lanes.len(), 3);
        assert_eq!(trace.lanes[0].start.role, "waiting");
        let last = trace.state_after(1, trace.steps.len());
        assert_eq!((&*last.role, &*last.details[0].key), ("hearing", "heard"), "{last:?}");
        assert!(html(&trace).contains("hearing"));
    }
}
