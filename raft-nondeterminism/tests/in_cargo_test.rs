//! Exploring in `cargo test`: what fails is kept, tried first, explained, and replayed by one command.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use raft_core::Defect;
use raft_nondeterminism::node::{Context, Node, NodeId, Simulation};
use raft_nondeterminism::testing::{self, Check, Environment, TestFailure};
use raft_nondeterminism::{Explorer, Fault, FaultPlan, Scenario, Schedule, systematic_test};

systematic_test! {
    /// The cluster of the sample, which is Raft.
    fn the_sample_survives_losses(
        iterations = 200,
        max_steps = 100,
        strategy = "weighted",
        faults = FaultPlan::none().allow(Fault::Drop, 3),
        workers = 2,
        settle = true,
    ) {
        Scenario::sample()
    }

    /// Nodes that are not, with nothing but what is usual.
    fn two_tickets_differ() {
        tickets(false)
    }

    /// The same, in a folder and with a bug that another test chooses.
    fn tickets_differ_unless_they_are_forgotten(
        iterations = 500,
        beside = std::env::var_os("IN_CARGO_TEST_FOLDER").map_or_else(nowhere, PathBuf::from),
        all_goals = true,
        coverage = std::env::var_os("IN_CARGO_TEST_COVERS").is_some(),
    ) {
        tickets(std::env::var_os("IN_CARGO_TEST_IS_FORGETFUL").is_some())
    }
}

fn nowhere() -> PathBuf {
    folder("nowhere")
}

/// Gives out numbers, and should remember the last one.
#[derive(Clone, Debug, Default)]
struct Dispenser {
    is_forgetful: bool,
    last: u32,
}

impl Node for Dispenser {
    type Message = ();

    fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, (): ()) {}

    fn on_request(&mut self, ctx: &mut Context<'_, Self>, (): ()) {
        self.last += 1;
        if !self.is_forgetful {
            ctx.save(self);
        }
        ctx.fact("ticket", self.last);
        if self.last == 2 {
            ctx.reach("two");
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Different(Vec<String>);

impl raft_nondeterminism::node::Monitor<Dispenser> for Different {
    fn property(&self) -> &'static str {
        "tickets-differ"
    }

    fn observe(
        &mut self,
        view: &raft_nondeterminism::node::View<'_, Dispenser>,
    ) -> Result<(), String> {
        for fact in view.facts() {
            if self.0.contains(&fact.value) {
                return Err(format!("{} is given out twice", fact.value));
            }
            self.0.push(fact.value.clone());
        }
        Ok(())
    }
}

fn tickets(is_forgetful: bool) -> Simulation<Dispenser> {
    Simulation::new("tickets")
        .node("dispenser", Dispenser { is_forgetful, last: 0 })
        .request(NodeId(1), ())
        .request(NodeId(1), ())
        .faults(FaultPlan::none().allow(Fault::Crash, 1))
        .monitor(Different::default())
        .goal("two")
}

/// An empty folder for one test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("in_cargo_test-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the target folder is writable");
    folder
}

fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder.join("regressions")) else { return Vec::new() };
    let names = entries.map(|entry| entry.expect("it is readable").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// A test of tickets in a folder of its own.
fn check(is_forgetful: bool, folder: &Path) -> Check<Simulation<Dispenser>> {
    testing::check(tickets(is_forgetful), "my_crate::tests::tickets").package("my-crate", folder)
}

fn failure(check: Check<Simulation<Dispenser>>) -> TestFailure {
    check.run_in(&Environment::default()).expect_err("it fails")
}

#[test]
fn a_failure_shows_the_shrunk_run_its_schedule_and_the_command_that_replays_it() {
    let folder = folder("shown");
    let text = failure(check(true, &folder)).to_string();
    let file = "regressions/my_crate.tests.tickets.tickets-differ.txt";
    for part in [
        "tickets-differ: 1 is given out twice\nfound in iteration ",
        "of which these 4 are needed:",
        "    1  request dispenser ()\n       dispenser ticket 1\n    2  crash dispenser",
        &format!("kept in {}, and tried first from now on", folder.join(file).display()),
        &format!(
            "replay with: RAFT_EXPLORE_REPLAY={file} cargo test -p my-crate tests::tickets -- --exact \
             --nocapture"
        ),
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    let kept = fs::read_to_string(folder.join(file)).unwrap();
    assert!(kept.starts_with("# tickets-differ: 1 is given out twice\n# replay with: "), "{kept}");
    assert_eq!(kept.parse::<Schedule>().unwrap().events(), 4);
}

#[test]
fn a_page_is_drawn_of_what_fails_if_that_is_asked() {
    let folder = folder("drawn");
    let variable = |name| (name == "RAFT_EXPLORE_OUT").then(|| "pages".to_owned());
    let environment = Environment::from_variables(variable).unwrap();
    let page = folder.join("pages/my_crate.tests.tickets.tickets-differ.html");
    // Once as it is found, and once as it is kept.
    for _ in 0..2 {
        let failure = check(true, &folder).run_in(&environment).expect_err("it fails").to_string();
        assert!(failure.contains(&format!("plays it is {}", page.display())), "{failure}");
        let html = fs::read_to_string(&page).expect("it is drawn");
        assert!(
            html.contains("RAFT_EXPLORE_REPLAY=regressions/my_crate"),
            "it says how to replay it"
        );
        fs::remove_file(&page).expect("it is there");
    }
}

#[test]
fn what_was_met_is_written_if_that_is_asked() {
    let folder = folder("covered");
    let variable = |name| (name == "RAFT_EXPLORE_OUT").then(|| "pages".to_owned());
    let environment = Environment::from_variables(variable).unwrap();
    let outcome = check(false, &folder).coverage(true).run_in(&environment).unwrap();
    let text = outcome.report.unwrap().coverage().unwrap().to_string();
    assert!(text.contains("Events received: crash, request message"), "{text}");
    let base = folder.join("pages/my_crate.tests.tickets.coverage.txt");
    assert_eq!(fs::read_to_string(base).unwrap(), text);
    // Also of a test that fails.
    fs::remove_dir_all(folder.join("pages")).unwrap();
    check(true, &folder).coverage(true).run_in(&environment).unwrap_err();
    assert!(folder.join("pages/my_crate.tests.tickets.coverage.html").exists());
    fs::remove_dir_all(folder.join("regressions")).unwrap();
    let plain = check(false, &folder).coverage(false).run_in(&environment).unwrap();
    assert!(plain.report.unwrap().coverage().is_none());
    fs::write(folder.join("full"), "").unwrap();
    let variable = |name| (name == "RAFT_EXPLORE_OUT").then(|| "full".to_owned());
    let environment = Environment::from_variables(variable).unwrap();
    let error = check(false, &folder).coverage(true).run_in(&environment).unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    // A page that cannot be drawn takes nothing from the failure, and says why.
    let failure = check(true, &folder).run_in(&environment).unwrap_err().to_string();
    let told = failure.lines().find(|line| line.starts_with("no page plays it: cannot write "));
    assert!(told.is_some_and(|line| line.contains(" (os error ")), "{failure}");
}

#[test]
fn a_kept_schedule_is_tried_first_and_is_a_guard_once_it_passes() {
    let folder = folder("first");
    failure(check(true, &folder));
    // Without a single run of its own, the next test finds it.
    let again = failure(check(true, &folder).iterations(1).max_steps(1)).to_string();
    assert!(again.contains("with a schedule that has failed before"), "{again}");
    assert_eq!(files(&folder).len(), 1, "it is not kept twice");
    let outcome = check(false, &folder).run_in(&Environment::default()).unwrap();
    assert_eq!(outcome.healed.len(), 1);
    assert_eq!(outcome.report.unwrap().iterations(), 1_000);
}

#[test]
fn a_kept_schedule_is_followed_as_far_as_it_goes() {
    let folder = folder("tolerant");
    failure(check(true, &folder));
    let file = folder.join("regressions").join(&files(&folder)[0]);
    let text = fs::read_to_string(&file).unwrap();
    // As if the code had changed since: another event, which is not possible any more.
    let text = text.replacen("\ncrash ", "\ntimeout dispenser gone\ncrash ", 1);
    fs::write(&file, text.replacen("events 4", "events 5", 1)).unwrap();
    let again = failure(check(true, &folder).iterations(1).max_steps(1)).to_string();
    assert!(again.contains("tickets-differ: 1 is given out twice"), "{again}");
}

#[test]
fn a_second_failure_does_not_overwrite_the_first() {
    let folder = folder("second");
    failure(check(true, &folder));
    let first = folder.join("regressions").join(&files(&folder)[0]);
    let kept = fs::read_to_string(&first).unwrap();
    // One that has healed, so that exploring goes on and fails another way.
    let healed = kept.replacen("\ncrash dispenser\nrestart dispenser", "", 1);
    fs::write(&first, healed.replacen("events 4", "events 2", 1)).unwrap();
    failure(check(true, &folder));
    let expected = [
        "my_crate.tests.tickets.tickets-differ-2.txt",
        "my_crate.tests.tickets.tickets-differ.txt",
    ];
    assert_eq!(files(&folder), expected);
}

#[test]
fn a_kept_file_that_is_no_schedule_fails_with_its_name() {
    let folder = folder("broken");
    fs::create_dir(folder.join("regressions")).unwrap();
    let file = folder.join("regressions/my_crate.tests.tickets.edited.txt");
    let failed_with = |text: &str| {
        fs::write(&file, text).unwrap();
        failure(check(false, &folder)).to_string()
    };
    let prefix = format!("{} cannot be replayed: ", file.display());
    let suffix = "; mend it, or remove it";
    assert_eq!(failed_with(""), format!("{prefix}the schedule is empty{suffix}"));
    let garbage = failed_with("hello\n");
    assert!(garbage.contains("not a schedule: it starts with \"hello\""), "{garbage}");
    let other = Explorer::new(Scenario::sample()).record(0).unwrap().schedule().to_string();
    assert_eq!(
        failed_with(&other),
        format!("{prefix}the schedule is of scenario \"sample\", not of \"tickets\"{suffix}")
    );
    // That of another test is none of ours.
    fs::rename(&file, folder.join("regressions/my_crate.tests.tickets_too.edited.txt")).unwrap();
    check(false, &folder).run_in(&Environment::default()).unwrap();
}

#[test]
fn what_a_test_finds_does_not_depend_on_its_workers() {
    let kept = |workers| {
        let folder = folder(&format!("workers-{workers}"));
        failure(check(true, &folder).workers(workers));
        fs::read_to_string(folder.join("regressions").join(&files(&folder)[0])).unwrap()
    };
    assert_eq!(kept(1), kept(4));
    let explore = |workers| {
        let workers = NonZeroUsize::new(workers).unwrap();
        let report = Explorer::of(tickets(false)).workers(workers).run().unwrap();
        (report.steps(), report.unique_states(), report.unique_paths(), *report.faults())
    };
    assert_eq!(explore(1), explore(3));
}

#[test]
fn the_environment_counts_more_than_the_code() {
    let variables = |wanted: &'static [(&str, &str)]| {
        Environment::from_variables(move |variable| {
            let set = wanted.iter().find(|(name, _)| *name == variable);
            set.map(|(_, value)| (*value).to_owned())
        })
    };
    let folder = folder("environment");
    let environment = variables(&[
        ("RAFT_EXPLORE_SEED", "7"),
        ("RAFT_EXPLORE_ITERATIONS", "30"),
        ("RAFT_EXPLORE_STRATEGY", "random"),
        ("RAFT_EXPLORE_WORKERS", "2"),
        ("RAFT_EXPLORE_TIME", ""),
    ]);
    let outcome = check(false, &folder).run_in(&environment.unwrap()).unwrap();
    let report = outcome.report.unwrap();
    assert_eq!((report.seed(), report.iterations(), report.strategy()), (7, 30, "random"));

    let error = variables(&[("RAFT_EXPLORE_SEED", "many")]).unwrap_err().to_string();
    assert_eq!(error, "RAFT_EXPLORE_SEED is \"many\", which is not a number");
    let refused =
        |wanted| check(false, &folder).run_in(&variables(wanted).unwrap()).unwrap_err().to_string();
    let unknown = refused(&[("RAFT_EXPLORE_STRATEGY", "hope")]);
    assert!(unknown.starts_with("there is no strategy \"hope\""), "{unknown}");
    assert_eq!(refused(&[("RAFT_EXPLORE_WORKERS", "0")]), "workers must be more than zero");
    let missing = refused(&[("RAFT_EXPLORE_REPLAY", "regressions/gone.txt")]);
    assert!(missing.contains("regressions/gone.txt cannot be replayed: "), "{missing}");
}

#[test]
fn a_test_that_proves_nothing_fails() {
    let folder = folder("nothing");
    let never = failure(check(false, &folder).max_steps(1).iterations(3).seed(1).all_goals(true));
    assert!(
        ["the plan allows the fault crash", "no run of 3 has reached two"]
            .iter()
            .any(|part| never.to_string().contains(part)),
        "{never}"
    );
    let unreached = check(false, &folder).faults(FaultPlan::none()).max_steps(1).all_goals(true);
    assert_eq!(failure(unreached).to_string(), "no run of 1000 has reached two");
}

#[test]
fn a_goal_that_no_run_can_reach_is_not_missed() {
    let folder = folder("unreachable");
    let check = |faults| {
        let check = testing::check(Scenario::sample(), "my_crate::goals").beside(&folder);
        check.iterations(200).faults(faults).all_goals(true).run_in(&Environment::default())
    };
    check(FaultPlan::none()).expect("nobody crashes, so nobody comes back");
    let crash = FaultPlan::none().allow(Fault::Crash, 1);
    let report = check(crash).unwrap().report.unwrap();
    assert!(report.goals().count("server-restarted") > 0);
    let short = Explorer::new(Scenario::sample()).iterations(1).max_steps(1).run().unwrap();
    let missed: Vec<_> = short.unreached_goals().collect();
    assert!(
        missed.contains(&"leader-elected") && !missed.contains(&"server-restarted"),
        "{missed:?}"
    );
}

#[test]
fn a_planted_bug_of_raft_is_kept_and_found_again() {
    let folder = folder("raft");
    let explore = || {
        let explorer = Explorer::new(Scenario::sample_with_failure());
        let explorer = explorer.defect(Defect::VoteCountedTwice).seed(7).iterations(5_000);
        testing::check(explorer, "a::b").package("a", &folder).run_in(&Environment::default())
    };
    assert!(explore().unwrap_err().to_string().contains("\nfound in iteration "));
    let again = explore().unwrap_err().to_string();
    assert!(again.contains("with a schedule that has failed before"), "{again}");
}

/// A test of this file in a process of its own.
fn command(folder: &Path, is_forgetful: bool) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this is a program"));
    command.args(["tickets_differ_unless_they_are_forgotten", "--exact"]);
    command.env("IN_CARGO_TEST_FOLDER", folder);
    if is_forgetful {
        command.env("IN_CARGO_TEST_IS_FORGETFUL", "1");
    }
    command
}

/// Runs it.
fn run(folder: &Path, is_forgetful: bool, replay: Option<&str>) -> Output {
    let mut command = command(folder, is_forgetful);
    command.arg("--nocapture");
    if let Some(file) = replay {
        command.env("RAFT_EXPLORE_REPLAY", file);
    }
    command.output().expect("it runs")
}

/// All that is to be seen of a test.
fn shown(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn the_command_of_a_failure_replays_it_in_another_process() {
    let folder = folder("process");
    let found = run(&folder, true, None);
    let said = String::from_utf8_lossy(&found.stderr).into_owned();
    assert!(!found.status.success());
    let file =
        "regressions/in_cargo_test.tickets_differ_unless_they_are_forgotten.tickets-differ.txt";
    let command = format!(
        "RAFT_EXPLORE_REPLAY={file} cargo test -p raft-nondeterminism \
         tickets_differ_unless_they_are_forgotten -- --exact --nocapture"
    );
    assert!(said.contains(&command), "{said}");

    let replayed = run(&folder, true, Some(file));
    let said = String::from_utf8_lossy(&replayed.stderr).into_owned();
    assert!(!replayed.status.success());
    assert!(said.contains("tickets-differ: 1 is given out twice\nwith a schedule"), "{said}");

    let mended = run(&folder, false, None);
    let said = String::from_utf8_lossy(&mended.stderr).into_owned();
    assert!(mended.status.success(), "{said}");
    assert!(said.contains("does not fail any more: keep it as a guard, or remove it"), "{said}");
}

#[test]
fn a_test_says_what_it_has_met_whether_it_fails_or_not() {
    const MET: &str = "this was met:\n\nTotal actor coverage: ";
    let folder = folder("met");
    let output = |is_forgetful, words: &[&str]| {
        let mut command = command(&folder, is_forgetful);
        command.env("IN_CARGO_TEST_COVERS", "1").args(words).output().expect("it runs")
    };
    let passed = output(false, &["--nocapture"]);
    assert!(passed.status.success() && shown(&passed).contains(MET), "{}", shown(&passed));
    let captured = output(false, &[]);
    assert!(captured.status.success() && !shown(&captured).contains(MET), "cargo shows no success");
    let failed = output(true, &[]);
    assert!(!failed.status.success());
    for part in [MET, "1 is given out twice", "replay with: "] {
        assert!(shown(&failed).contains(part), "{part:?} is missing in:\n{}", shown(&failed));
    }
}
