//! The program as a user runs it: its lines, its files, and its exit codes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

#[path = "cli/files.rs"]
mod files;
#[path = "cli/refusals.rs"]
mod refusals;

const PROGRAM: &str = env!("CARGO_BIN_EXE_raft-explore");
/// Finds the sample's bug within a second, even without optimizations.
const FINDS: &str = "test sample-with-failure --defect vote-counted-twice --strategy weighted \
                     --seed 2 --iterations 20000";

/// An empty folder of one test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The program with these words, in this folder.
fn command(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(words.split_whitespace()).current_dir(folder).stdin(Stdio::null());
    command
}

fn run(folder: &Path, words: &str) -> Output {
    command(folder, words).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What the program prints if it ends with this code.
fn said(folder: &Path, words: &str, code: i32) -> String {
    let output = run(folder, words);
    assert_eq!(output.status.code(), Some(code), "{words}: {}", stderr(&output));
    stdout(&output)
}

/// The last line of what the program prints with `--json`.
fn summary(folder: &Path, words: &str, code: i32) -> Value {
    let said = said(folder, &format!("{words} --json"), code);
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap().clone();
    assert_eq!(last["event"], "summary");
    last
}

/// The line on standard error of a program that refuses to do this, and ends with 1.
fn refusal(folder: &Path, words: &str) -> String {
    let output = run(folder, words);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{words}: {said}");
    assert!(said.starts_with("error: "), "{words}: {said}");
    said
}

/// A schedule that elects two leaders, as the program wrote it.
fn schedule(folder: &Path) -> (PathBuf, String) {
    let found = summary(folder, FINDS, 2);
    let path = folder.join(found["bug"]["trace"].as_str().unwrap());
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

#[test]
fn a_bug_ends_with_2_and_with_a_summary_of_a_fixed_shape() {
    let folder = folder("shape");
    let text = said(&folder, &format!("{FINDS} --json"), 2);
    let last = text.lines().last().unwrap();
    let fields = [
        "event",
        "scenario",
        "strategy",
        "seed",
        "iterations",
        "steps",
        "bug",
        "faults",
        "sometimes",
        "elapsed_ms",
        "steps_per_second",
    ];
    let place = |field: &str| last.find(&format!("\"{field}\":")).unwrap();
    assert!(fields.map(place).is_sorted(), "{last}");
    assert!(last.starts_with(r#"{"event":"summary","scenario":"sample-with-failure","strategy":"#));

    let summary: Value = serde_json::from_str(last).unwrap();
    let bug = summary["bug"].as_object().unwrap();
    for field in ["property", "trace"] {
        assert!(bug[field].is_string(), "{field} of {last}");
    }
    for field in ["iteration", "events", "shrunk_events"] {
        assert!(bug[field].is_u64(), "{field} of {last}");
    }
    assert!(bug["shrunk_events"].as_u64() < bug["events"].as_u64());
    assert!(summary["faults"]["duplicate"].as_u64() > Some(0));
    assert_eq!(summary["faults"]["crash"], 0);
    assert!(summary["sometimes"]["leader-elected"].as_u64() > Some(0));
    assert!(summary["steps_per_second"].as_u64() > Some(0));
}

#[test]
fn what_a_bug_leaves_replays_with_2_and_without_the_defect_with_0() {
    let folder = folder("replay");
    let found = summary(&folder, FINDS, 2);
    for field in ["trace", "full_trace"] {
        let path = found["bug"][field].as_str().unwrap();
        let text = said(&folder, &format!("replay {path}"), 2);
        let message = found["bug"]["property"].as_str().unwrap();
        assert!(text.contains("... The bug shows after "), "{text}");
        assert!(text.contains(message), "{text}");
        assert!(text.contains(" VoteResponse granted"), "the trace is a part of it: {text}");
        let clean = summary(&folder, &format!("replay {path} --defect none"), 0);
        assert_eq!(clean["verdict"], "clean");
        let again = summary(&folder, &format!("replay {path} --tolerant"), 2);
        assert_eq!(again["skipped"], 0);
    }
}

#[test]
fn minimizing_the_run_as_found_leaves_no_more_than_shrinking_did() {
    let folder = folder("minimize");
    let found = summary(&folder, FINDS, 2);
    let full = found["bug"]["full_trace"].as_str().unwrap();
    let least = summary(&folder, &format!("replay {full} --minimize -o least.txt"), 2);
    assert_eq!(least["events"], found["bug"]["shrunk_events"]);
    assert_eq!(summary(&folder, "replay least.txt", 2)["events"], least["events"]);
}

#[test]
fn the_clean_core_ends_with_0_and_leaves_no_file() {
    let folder = folder("clean");
    let summary = summary(&folder, "test sample --iterations 50", 0);
    assert_eq!(summary["bug"], Value::Null);
    assert_eq!(summary["iterations"], 50);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn what_is_found_does_not_depend_on_the_number_of_workers() {
    let folder = folder("workers");
    let with = |workers| {
        let mut summary = summary(&folder, &format!("{FINDS} --workers {workers}"), 2);
        for of_the_machine in ["elapsed_ms", "steps_per_second"] {
            summary[of_the_machine] = Value::Null;
        }
        summary
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn a_coyote_user_finds_the_lines_of_coyote() {
    let folder = folder("coyote");
    let output = run(&folder, &format!("{FINDS} -ms 150"));
    let text = stdout(&output);
    for line in [
        "... Setting up the test:\n",
        "..... Using the ",
        " exploration strategy (seed:2).\n",
        " found bug #1\n",
        "... Testing statistics:\n..... Found 1 bug.\n... Exploration statistics:\n..... Explored ",
        " fair, ",
        " unfair, ",
        " unique.\n",
        "% buggy execution paths.\n",
        "..... Visited ",
        " unique states.\n",
        "..... Elapsed ",
        "... Replay with: raft-explore replay raft-explore.out/sample-with-failure.",
    ] {
        assert!(text.contains(line), "{line:?} is missing in:\n{text}");
    }
    assert!(text.contains(" 150 (max)."), "-ms is --max-steps: {text}");
    assert!(stderr(&output).starts_with("..... Iteration #1\n"), "progress is not a result");
    assert!(!text.contains("..... Iteration #1\n"), "{text}");
    assert!(!text.contains('\x1b') && !stderr(&output).contains('\x1b'), "no colours in a pipe");
    let quiet = run(&folder, "test sample --iterations 20 --json");
    assert_eq!(stderr(&quiet), "", "nobody looks");
}

#[test]
fn everything_that_is_listed_can_be_asked_for() {
    let folder = folder("list");
    let line = said(&folder, "list --json", 0);
    assert_eq!(line.lines().count(), 1);
    let listed: Value = serde_json::from_str(&line).unwrap();
    let text = said(&folder, "list", 0);
    let names = |of: &str| -> Vec<String> {
        let of = listed[of].as_array().unwrap();
        for thing in of {
            assert!(!thing["description"].as_str().unwrap().is_empty(), "{thing} says nothing");
        }
        of.iter().map(|thing| thing["name"].as_str().unwrap().to_owned()).collect()
    };
    let asked = [
        (names("scenarios"), "test NAME -i 1"),
        (names("strategies"), "test sample -i 2 --strategy NAME"),
        (names("defects"), "test sample -i 1 --defect NAME"),
    ];
    for (names, words) in asked {
        assert!(names.len() > 1);
        for name in names {
            assert!(text.contains(&name), "{name}");
            // What is exhausted has no end there.
            let name = if ["bfs", "dfs", "dpor"].contains(&&*name) { name + ":300" } else { name };
            summary(&folder, &words.replace("NAME", &name), 0);
        }
    }
    for name in names("properties").iter().filter(|name| *name != "max-steps") {
        summary(&folder, &format!("test sample -i 1 --property {name}"), 0);
    }
    let rows: Vec<_> = listed["defects"].as_array().unwrap().iter().map(|it| &it["row"]).collect();
    assert_eq!(rows[0], "E01");
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest_and_with_all() {
    let folder = folder("names");
    for (words, nearest, another) in [
        ("test sampel", "sample", "restarts"),
        ("test sample --strategy wieghted", "weighted", "random"),
        ("test sample --defect vote-counted-thrice", "vote-counted-twice", "vote-not-saved"),
        ("test sample --property election-safty", "election-safety", "exactly-once"),
    ] {
        let said = refusal(&folder, words);
        assert!(said.contains(&format!("did you mean {nearest}?")), "{said}");
        assert!(said.contains(another), "{said}");
    }
}

#[test]
fn bounds_of_zero_are_refused_by_name() {
    let folder = folder("zero");
    for option in ["--iterations", "--max-steps", "--workers", "--servers", "--time"] {
        let said = refusal(&folder, &format!("test sample {option} 0"));
        assert!(said.contains(&format!("{option} must be more than zero")), "{said}");
    }
    refusal(&folder, "test sample --time -1");
    refusal(&folder, "test sample --time nan");
    refusal(&folder, "test sample --iterations many");
    refusal(&folder, "test sample --no-such-option");
    refusal(&folder, "test sample --servers 1000000");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_anything_runs() {
    let folder = folder("out");
    fs::write(folder.join("file"), "").unwrap();
    for out in ["file", "file/below"] {
        let output = run(&folder, &format!("{FINDS} --out {out}"));
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(&format!("cannot write to {out}")));
        assert_eq!(stdout(&output), "");
    }
    summary(&folder, &format!("{FINDS} --out new/below"), 2);
    assert!(fs::read_dir(folder.join("new/below")).unwrap().count() > 3);
}

#[test]
fn a_bug_that_cannot_be_kept_is_told_all_the_same() {
    let folder = folder("not-kept");
    fs::write(folder.join("raft-explore.out"), "in the way").unwrap();
    let output = run(&folder, &format!("{FINDS} --json"));
    assert_eq!(output.status.code(), Some(2), "a bug counts more");
    assert!(stderr(&output).contains("cannot write to raft-explore.out"));
    let last = stdout(&output).lines().last().unwrap().to_owned();
    let summary: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(summary["bugs"], 1);
    assert_eq!(summary["bug"]["trace"], Value::Null);
}

#[test]
fn the_files_of_another_run_stay() {
    let folder = folder("kept");
    let (path, text) = schedule(&folder);
    assert_eq!(schedule(&folder).0, path, "the same run has the same files");
    let full = path.display().to_string().replace(".schedule.txt", ".full.schedule.txt");
    fs::write(&full, "somebody's own").unwrap();
    let (other, again) = schedule(&folder);
    assert_ne!(other, path);
    assert_eq!(again, text);
    assert_eq!(fs::read_to_string(&full).unwrap(), "somebody's own");
}

#[test]
fn a_schedule_that_is_not_what_it_was_is_refused() {
    let folder = folder("edited");
    let (_, text) = schedule(&folder);
    let lines: Vec<_> = text.lines().collect();
    let first_event = text.lines().find(|line| line.starts_with("deliver ")).unwrap();
    let property = text.lines().find(|line| line.starts_with("property ")).unwrap();
    let fingerprint = text.lines().find(|line| line.starts_with("fingerprint ")).unwrap();
    for (name, edited, reason) in [
        ("empty", String::new(), "the schedule is empty"),
        ("other", "hello\n".to_owned(), "not a schedule"),
        (
            "version",
            text.replacen(lines[0], "raft-nondeterminism schedule, format 99", 1),
            "this build reads format",
        ),
        ("cut-in-the-header", lines[..4].join("\n"), "the schedule is cut off before"),
        ("cut-in-the-events", lines[..lines.len() - 1].join("\n"), "it was cut or edited"),
        ("unknown", text.replace("scenario sample-with-failure", "scenario simple"), "no scenario"),
        ("of-another", text.replace("servers 5", "servers 0"), "must be more than zero"),
        ("event", text.replacen(first_event, "timeout s9", 1), "not reproducible at step "),
        ("property", text.replace(property, "property exactly-once"), "but its replay breaks"),
        ("end", text.replace(fingerprint, "fingerprint 0000000000000000"), "has fingerprint"),
        ("defect", text.replace("defect vote-counted-twice", "defect nonesuch"), "nonesuch"),
    ] {
        fs::write(folder.join(name), edited).unwrap();
        let said = refusal(&folder, &format!("replay {name}"));
        assert!(said.starts_with(&format!("error: {name}")), "{said}");
        assert!(said.contains(reason), "{name}: {said}");
        assert_eq!(run(&folder, &format!("report {name}")).status.code(), Some(1));
    }
    fs::write(folder.join("binary"), [0xff, 0xfe, 0]).unwrap();
    assert!(refusal(&folder, "replay binary").contains("not a schedule"));
    assert!(refusal(&folder, "replay missing").contains("cannot read missing"));
    let summary = summary(&folder, "replay event", 1);
    assert_eq!(summary["verdict"], "not-reproducible");
    assert!(summary["error"].as_str().unwrap().contains("timeout s9"));
}

#[test]
fn a_run_is_told_in_every_format() {
    let folder = folder("formats");
    let found = summary(&folder, FINDS, 2);
    for path in found["bug"]["files"].as_array().unwrap() {
        assert!(folder.join(path.as_str().unwrap()).metadata().unwrap().len() > 100, "{path}");
    }
    let path = found["bug"]["trace"].as_str().unwrap();
    for (format, start) in [
        ("html", "<!DOCTYPE html>"),
        ("mermaid", "sequenceDiagram"),
        ("dgml", "<"),
        ("json", "{"),
        ("text", "<CreateLog> s1"),
    ] {
        let text = said(&folder, &format!("report {path} --format {format}"), 0);
        assert!(text.to_lowercase().starts_with(&start.to_lowercase()), "{format}: {text}");
        let of_trace = path.replace(".schedule.txt", ".trace.json");
        let same = said(&folder, &format!("report {of_trace} --format {format}"), 0);
        assert!(same == text, "{format} of the trace is that of the schedule");
    }
    let files = |words: &str| -> Vec<String> {
        said(&folder, words, 0).lines().map(str::to_owned).collect()
    };
    let again = files(&format!("report {path}"));
    let written = found["bug"]["files"].as_array().unwrap();
    assert!(again.iter().all(|file| written.iter().any(|known| known == file)), "{again:?}");
    let one = files(&format!("report {path} --format html --out pages"));
    assert!(one.len() == 1 && one[0].starts_with("pages/") && one[0].ends_with(".html"));
    assert!(refusal(&folder, &format!("report {path} --format pdf")).contains("mermaid"));
}

#[test]
fn coverage_is_written_if_asked_for() {
    let folder = folder("coverage");
    let summary = summary(&folder, "test sample --iterations 20 --coverage", 0);
    let files = summary["coverage"].as_array().unwrap();
    assert!(!files.is_empty());
    for path in files {
        assert!(folder.join(path.as_str().unwrap()).metadata().unwrap().len() > 100, "{path}");
    }
}

#[test]
fn choices_are_counted_if_asked_for() {
    let folder = folder("schedule_coverage");
    let words = "test restarts --iterations 40 --schedule-coverage --workers";
    let found = summary(&folder, &format!("{words} 1"), 0);
    let choices = found["choices"].as_array().unwrap();
    let of_events = |it: &&Value| !it["choice"].as_str().unwrap().starts_with("choose ");
    let counts = choices.iter().filter(of_events).map(|it| it["count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), found["steps"].as_u64().unwrap(), "one for each event");
    for it in choices {
        let at_most = it["alternatives"]["at_most"].as_array().unwrap();
        let counts = at_most.iter().map(|pair| pair[1].as_u64().unwrap());
        assert_eq!(counts.sum::<u64>(), it["count"].as_u64().unwrap(), "{it}");
    }
    assert!(choices.iter().any(|it| it["choice"] == "choose saves_kept"), "{choices:?}");
    assert_eq!(summary(&folder, &format!("{words} 2"), 0)["choices"], found["choices"]);
    let plain = summary(&folder, "test restarts --iterations 40", 0);
    assert_eq!(plain.get("choices"), None);
    let text = said(&folder, &format!("{words} 1"), 0);
    assert!(
        text.contains(
            "\n... Scheduling choices, and among how many alternatives:\n..... deliver: "
        )
    );
}

#[test]
fn a_defect_that_cannot_show_just_runs() {
    let folder = folder("defect");
    summary(&folder, "test sample --defect vote-not-saved --iterations 20 --no-settle", 0);
    summary(&folder, "test sample --defect none --iterations 20", 0);
}

#[test]
fn counting_goes_on_after_a_bug_and_the_first_one_is_kept() {
    let folder = folder("explore");
    let first = summary(&folder, FINDS, 2);
    let words = FINDS.replace("--iterations 20000", "");
    let all = summary(&folder, &format!("{words} --explore --workers 2"), 2);
    assert_eq!(all["iterations"], 1_000);
    assert!(all["bugs"].as_u64() > Some(1), "{all}");
    assert_eq!(all["bug"]["iteration"], first["bug"]["iteration"]);
    assert_eq!(summary(&folder, &format!("{words} --until-bug"), 2)["bug"], first["bug"]);
}

#[test]
fn with_a_time_the_number_of_runs_does_not_count() {
    let folder = folder("time");
    let timed = summary(&folder, "test sample --timeout 0.3 --iterations 1", 0);
    assert!(timed["iterations"].as_u64() > Some(1), "{timed}");
    assert!(timed["elapsed_ms"].as_u64() >= Some(300), "{timed}");
}

#[test]
fn a_run_that_would_take_too_long_is_cut_off_and_not_counted() {
    let folder = folder("cut_off");
    let started = std::time::Instant::now();
    let refused = refusal(&folder, "test everything --max-steps 100000000 --time 0.5");
    assert!(refused.contains("the time was over before the first run"), "{refused}");
    assert!(started.elapsed().as_secs() < 60, "it would take hours");
}

#[test]
fn a_run_that_does_not_end_by_itself_is_a_bug_if_asked() {
    let folder = folder("max-steps");
    let found = summary(&folder, "test sample --fail-on-max-steps --max-steps 30", 2);
    assert_eq!(found["bug"]["property"], "max-steps");
    assert_eq!((&found["bug"]["iteration"], &found["bug"]["events"]), (&0.into(), &30.into()));
    let path = found["bug"]["trace"].as_str().unwrap();
    assert_eq!(summary(&folder, &format!("replay {path}"), 2)["property"], "max-steps");
}

#[test]
fn a_bug_found_while_looking_for_one_property_only_replays_as_that() {
    let folder = folder("property");
    let words = format!("{FINDS} --property election-safety --no-shrink");
    let found = summary(&folder, &words, 2);
    assert_eq!(found["bug"]["property"], "election-safety");
    assert_eq!(found["bug"]["events"], found["bug"]["shrunk_events"]);
    let path = found["bug"]["trace"].as_str().unwrap();
    assert_eq!(summary(&folder, &format!("replay {path}"), 2)["property"], "election-safety");
}

#[test]
fn a_cluster_of_three_has_no_use_for_a_vote_counted_twice() {
    let folder = folder("servers");
    let words = "test sample-with-failure --defect vote-counted-twice --servers 3 -i 300";
    assert!(said(&folder, words, 0).contains("sample-with-failure (3 servers)"));
}

#[test]
fn every_command_helps_with_examples() {
    let folder = folder("help");
    for command in ["", "test", "replay", "list", "report", "check-history"] {
        let text = said(&folder, &format!("{command} --help"), 0);
        assert!(text.contains("Examples:\n"), "{command}: {text}");
        assert!(text.contains("Exit codes:") || command == "list", "{command}: {text}");
    }
    assert_eq!(run(&folder, "").status.code(), Some(1), "without a command there is nothing to do");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_with_the_statistics_so_far() {
    use std::io::{BufRead, BufReader, Read};

    let folder = folder("interrupt");
    let mut command = command(&folder, "test sample --until-bug");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It runs, and listens.
    let mut progress = BufReader::new(child.stderr.take().unwrap());
    progress.read_line(&mut String::new()).unwrap();
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    for line in ["..... Interrupted before the end.\n", "..... Explored "] {
        assert!(text.contains(line), "{text}");
    }
    progress.read_to_string(&mut String::new()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn one_run_alone_is_as_it_was_among_the_others() {
    let folder = folder("one_run");
    let all = "test sample-with-failure --defect vote-counted-twice --seed 3";
    let found = summary(&folder, all, 2);
    let iteration = found["bug"]["iteration"].as_u64().expect("a number");
    assert!(iteration > 16, "the portfolio has learned something by then");
    let again = summary(&folder, &format!("{all} --iteration {iteration}"), 2);
    assert_eq!((&again["bug"], &again["iterations"]), (&found["bug"], &Value::from(1)));
    let before = summary(&folder, &format!("{all} --iteration {}", iteration - 1), 0);
    assert_eq!(before["members"].as_array().expect("a list").len(), 1);
    let refused = refusal(&folder, &format!("{all} --iteration 4 --time 1"));
    assert!(refused.contains("--time"), "{refused}");
}

#[test]
fn fair_runs_may_be_longer_than_unfair_ones() {
    let folder = folder("fair_runs");
    let explore = |more: &str| {
        let words = format!("test sample --no-settle --iterations 100 {more}");
        let found = summary(&folder, &words, 0);
        let number = |name: &str| found[name].as_u64().expect("a number");
        (number("steps"), number("fair_iterations"))
    };
    let bounds = "--max-fair-steps 300 --max-unfair-steps 100";
    assert_eq!(explore(&format!("{bounds} --strategy weighted")), (30_000, 100));
    assert_eq!(explore(&format!("{bounds} --strategy pos")), (10_000, 0));
    let (steps, fair) = explore(&format!("{bounds} --portfolio-mode fair"));
    assert!((24_000..=30_000).contains(&steps), "{steps}: a few runs are short");
    assert_eq!(fair, 100);
    assert_eq!(explore(&format!("{bounds} --portfolio-mode unfair")).1, 0);
    let mixed = explore(bounds).1;
    assert!((30..90).contains(&mixed), "{mixed} of 100 runs are fair");
    let refused = refusal(&folder, "test sample --max-fair-steps 0");
    assert!(refused.contains("--max-fair-steps must be more than zero"), "{refused}");
}

#[test]
fn a_search_that_visits_everything_refuses_what_it_has_no_use_for() {
    let folder = folder("exhaustive_refuses");
    for option in [
        "--iteration 3",
        "--until-bug",
        "--explore",
        "--settle",
        "--fail-on-max-steps",
        "--coverage",
        "--until-coverage-stalls",
        "--max-fair-steps 9",
    ] {
        let refused = refusal(&folder, &format!("test small --strategy bfs:1000 {option}"));
        let (name, _) = option.split_once(' ').unwrap_or((option, ""));
        assert!(refused.contains(&format!("has no use for {name}")), "{refused}");
    }
}

#[test]
fn one_clean_run_is_told_if_asked() {
    let folder = folder("one_clean_run");
    let text = said(&folder, "test sample --seed 7 --iteration 41 --verbose", 0);
    assert!(text.contains("  200  "), "all its events are there: {text}");
}

#[test]
fn it_ends_when_nothing_new_is_seen() {
    let folder = folder("coverage_stalls");
    let words = "test sample --servers 1 --max-steps 20 --until-coverage-stalls 500";
    let found = summary(&folder, words, 0);
    let iterations = found["iterations"].as_u64().expect("a number");
    assert!((500..50_000).contains(&iterations), "one server alone can do little: {iterations}");
}

#[test]
fn programs_that_show_results_of_tests_are_told() {
    let folder = folder("junit");
    let words = "test sample-with-failure --junit result.xml --github --iterations 1000";
    let output = run(&folder, words);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let junit = || fs::read_to_string(folder.join("result.xml")).expect("it is written");
    assert!(junit().contains(r#"tests="1" failures="0""#), "{}", junit());
    assert!(!stderr(&output).contains("::error"));

    let output = run(&folder, &format!("{words} --defect vote-counted-twice"));
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(junit().contains(r#"<failure type="leader-completeness""#), "{}", junit());
    assert!(junit().contains("raft-explore replay raft-explore.out"), "{}", junit());
    assert!(stderr(&output).contains("::error file=raft-explore.out"), "{}", stderr(&output));

    refusal(&folder, &format!("{words} --max-steps 0"));
    assert!(junit().contains("--max-steps must be more than zero"), "{}", junit());

    let refused = refusal(&folder, "test sample --junit no/such/folder.xml");
    assert!(refused.contains("cannot write no/such/folder.xml"), "{refused}");
}

#[test]
fn a_bug_is_told_in_the_words_of_its_shrunk_run() {
    let folder = folder("one_message");
    let words = "test sample-with-failure --defect vote-counted-twice --strategy weighted --seed 3";
    let found = summary(&folder, &format!("{words} --junit result.xml"), 2)["bug"].clone();
    let message = found["message"].as_str().unwrap();
    let replay = |field: &str| {
        let again = summary(&folder, &format!("replay {}", found[field].as_str().unwrap()), 2);
        again["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(message, replay("trace"));
    assert_ne!(message, replay("full_trace"), "the terms differ: else nothing is shown here");
    let junit = fs::read_to_string(folder.join("result.xml")).unwrap();
    assert!(junit.contains(&format!("message=\"{message}\"")), "{junit}");
    let text = said(&folder, words, 2);
    assert!(text.contains(&format!("\n..... election-safety: {message}\n")), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_bug_that_nobody_can_be_told_of_ends_with_2() {
    let folder = folder("full_output");
    for (words, code) in [(FINDS, 2), ("test sample --iterations 1", 1)] {
        for more in ["", " --json"] {
            let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let output = command(&folder, &format!("{words}{more}")).stdout(full).output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{words}{more}");
            let said = stderr(&output);
            assert!(said.contains("error: cannot write to standard output: "), "{said}");
        }
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let folder = folder("contradictions");
    let refused = refusal(&folder, "test sample -p election-safety -p comes-to-rest --no-settle");
    assert!(refused.contains("--no-settle says never"), "{refused}");
    for strategy in ["pct:3", "bfs:100"] {
        let refused = refusal(&folder, &format!("test small --strategy {strategy} --sv 4"));
        assert!(refused.contains(&format!("{strategy} has its bound already")), "{refused}");
    }
    assert!(said(&folder, "test sample -p comes-to-rest --iterations 4", 0).contains("0 bugs"));
}

#[test]
fn a_trace_replays_by_the_schedule_in_it() {
    let folder = folder("trace_replays");
    let (path, text) = schedule(&folder);
    let trace = path.to_str().unwrap().replace(".schedule.txt", ".trace.json");
    let again = summary(&folder, &format!("replay {trace}"), 2);
    assert_eq!(again["verdict"], "reproduced");
    let without = fs::read_to_string(&trace).unwrap();
    let mut without: Value = serde_json::from_str(&without).unwrap();
    assert_eq!(without["schedule"], text);
    without.as_object_mut().unwrap().remove("schedule");
    fs::write(folder.join("without.json"), without.to_string()).unwrap();
    let refused = refusal(&folder, "replay without.json");
    assert!(refused.contains("this trace has no schedule in it"), "{refused}");
    for (name, text) in [
        ("other.json", format!("{{\"a\":\"{}\"}}", "b".repeat(9_000))),
        ("other.txt", "b".repeat(9_000)),
    ] {
        fs::write(folder.join(name), text).unwrap();
        let refused = refusal(&folder, &format!("replay {name}"));
        assert!(refused.contains("a schedule") && refused.len() < 200, "{refused}");
    }
}

#[test]
fn a_schedule_may_begin_with_a_byte_order_mark() {
    let folder = folder("byte_order_mark");
    let (_, text) = schedule(&folder);
    fs::write(folder.join("marked.txt"), format!("\u{feff}{text}")).unwrap();
    said(&folder, "replay marked.txt", 2);
}
