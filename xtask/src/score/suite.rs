//! The suites that have to notice, and what they say.
//!
//! Guarantees: randomness is seeded and nothing outside says otherwise, so a verdict can be had again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::process::{self, Ended};
use super::scratch::{Exploring, Scratch, Subject};
use super::table::Mutant;

/// What a build, or the unmutated copy, may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// A mutant may take so many times what the unmutated copy took, but this at least: the machine may
/// be busier than it was.
const SLOWER_MAX: u32 = 10;
const PATIENCE_MIN: Duration = Duration::from_secs(20);

/// A target that builds and runs fast, and notices most.
const FIRST: &str = "golden";
/// A target whose tests say less than any other.
const LAST: &str = "properties";

/// Who has to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suite {
    Tests,
    Explorer,
}

impl Suite {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tests => "tests",
            Self::Explorer => "explorer",
        }
    }
}

/// What a suite says of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This test failed, or this property broke.
    Caught(String),
    /// This test did not end in time, or took too much memory.
    Timeout(String),
    /// Nobody noticed.
    Survived,
    /// There is nothing to judge.
    Error(String),
}

/// A verdict, and what each strategy of the explorer had to say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    /// What `judge` prints, one for each.
    pub(super) strategies: Vec<Value>,
}

impl From<Verdict> for Judged {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, strategies: Vec::new() }
    }
}

/// Builds and runs the suites in the copy.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    subject: &'a Subject,
    scratch: &'a Scratch,
    /// How long each program took on the unmutated copy.
    took: BTreeMap<String, Duration>,
    /// What a mutant may take at least.
    pub(super) patience_min: Duration,
    /// Targets of other packages that rows name: `PACKAGE/TARGET`.
    elsewhere: Vec<String>,
}

/// A program that was built: the name of its target, and where it is.
type Program = (String, PathBuf);

impl<'a> Bench<'a> {
    pub(super) fn new(subject: &'a Subject, scratch: &'a Scratch) -> Self {
        let (took, patience_min) = (BTreeMap::new(), PATIENCE_MIN);
        Self { subject, scratch, took, patience_min, elsewhere: Vec::new() }
    }

    /// Has the tests of other packages judge too that these rows name.
    pub(super) fn with_rows(mut self, mutants: &[Mutant]) -> Self {
        let named = mutants.iter().flat_map(|mutant| &mutant.tests);
        let elsewhere: BTreeSet<_> = named.filter(|name| name.contains('/')).cloned().collect();
        self.elsewhere = elsewhere.into_iter().collect();
        self
    }

    pub(super) fn suites(&self, has_tests: bool, has_explorer: bool) -> Vec<Suite> {
        let chosen = [(has_tests, Suite::Tests), (has_explorer, Suite::Explorer)];
        chosen.into_iter().filter(|(is_chosen, _)| *is_chosen).map(|(_, suite)| suite).collect()
    }

    /// Runs the suite on a copy that must pass, and remembers how long each program takes.
    pub(super) fn run_unmutated(&mut self, suite: Suite) -> Result<Verdict> {
        let mut programs = match self.build(suite, &[])? {
            Ok(programs) => programs,
            Err(reason) => return Ok(Verdict::Error(reason)),
        };
        let elsewhere: Vec<&str> = self.elsewhere.iter().map(String::as_str).collect();
        if suite == Suite::Tests && !elsewhere.is_empty() {
            match self.build(suite, &elsewhere)? {
                Ok(more) => programs.extend(more),
                Err(reason) => return Ok(Verdict::Error(reason)),
            }
        }
        for (name, program) in programs {
            let started = Instant::now();
            let judged = self.judge(suite, &name, &program)?;
            if judged.verdict != Verdict::Survived {
                return Ok(judged.verdict);
            }
            self.took.insert(name, started.elapsed());
        }
        Ok(Verdict::Survived)
    }

    /// Runs the suite on a mutated copy up to the first one that notices: the targets in `first`,
    /// then all others.
    pub(super) fn run(&self, suite: Suite, first: &[String]) -> Result<Judged> {
        let first: Vec<&str> = match (suite, first) {
            (Suite::Explorer, _) => Vec::new(),
            (Suite::Tests, []) => vec![FIRST],
            (Suite::Tests, first) => first.iter().map(String::as_str).collect(),
        };
        // An empty list of targets means all of them.
        let first: Vec<_> =
            first.into_iter().filter(|name| self.took.contains_key(*name)).collect();
        let stages = if first.is_empty() { vec![first] } else { vec![first, Vec::new()] };
        let mut done = Vec::new();
        for targets in stages {
            let programs = match self.build(suite, &targets)? {
                Ok(programs) => programs,
                Err(reason) => return Ok(Verdict::Error(reason).into()),
            };
            for (name, program) in programs {
                if done.contains(&name) {
                    continue;
                }
                let judged = self.judge(suite, &name, &program)?;
                if judged.verdict != Verdict::Survived || !judged.strategies.is_empty() {
                    return Ok(judged);
                }
                done.push(name);
            }
        }
        Ok(Verdict::Survived.into())
    }

    /// Builds these targets, or all of the package; or says why they do not build.
    fn build(&self, suite: Suite, targets: &[&str]) -> Result<Result<Vec<Program>, String>> {
        let (elsewhere, own): (Vec<&str>, Vec<&str>) =
            targets.iter().partition(|target| target.contains('/'));
        let mut programs = Vec::new();
        for name in elsewhere {
            let (package, test) = name.split_once('/').context("it names a package")?;
            let mut cargo = self.scratch.cargo();
            cargo.args(["test", "--no-run", "-p", package, "--test", test]);
            match Self::build_with(cargo)? {
                Ok(built) => programs
                    .extend(built.into_iter().map(|(_, program)| (name.to_owned(), program))),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        if own.is_empty() && !targets.is_empty() {
            return Ok(Ok(programs));
        }
        let mut cargo = self.scratch.cargo();
        match suite {
            Suite::Tests => {
                cargo.args(["test", "--no-run", "-p", self.subject.package]);
                cargo.args(["--features", self.subject.features]);
                let targets = &own[..];
                match targets {
                    [] => {
                        cargo.args(["--lib", "--tests"]);
                    }
                    targets => targets.iter().for_each(|target| match *target {
                        "lib" => drop(cargo.arg("--lib")),
                        test => drop(cargo.args(["--test", test])),
                    }),
                }
            }
            Suite::Explorer => {
                let (package, example) =
                    self.subject.explorer.context("there is no explorer to run")?;
                cargo.args(["build", "--release", "-p", package, "--example", example]);
                // Built for each mutant, so it must build fast; and a number that overflows is a find.
                cargo.env("CARGO_PROFILE_RELEASE_INCREMENTAL", "true");
                cargo.env("CARGO_PROFILE_RELEASE_LTO", "off");
                cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "64");
                cargo.env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
            }
        }
        match Self::build_with(cargo)? {
            Ok(built) => programs.extend(built),
            Err(reason) => return Ok(Err(reason)),
        }
        let place = |name: &str| match targets.iter().position(|target| *target == name) {
            Some(place) => place,
            None => targets.len() + usize::from(name == LAST),
        };
        programs.sort_by_key(|(name, _)| (place(name), name.clone()));
        Ok(Ok(programs))
    }

    fn build_with(mut cargo: Command) -> Result<Result<Vec<Program>, String>> {
        cargo.arg("--message-format=json");
        let mut programs = Vec::new();
        let mut errors = Vec::new();
        let ended = process::run(&mut cargo, PATIENCE, |line| {
            // What is not a message of cargo is of no interest here.
            let message: Value = serde_json::from_str(line).unwrap_or_default();
            if message["message"]["level"] == "error" {
                errors.extend(message["message"]["message"].as_str().map(str::to_owned));
            }
            programs.extend(program(&message));
            true
        })?;
        match ended {
            Ended::Exited(status) if status.success() => {}
            Ended::Exited(status) if errors.is_empty() => bail!("{cargo:?} failed: {status}"),
            Ended::Exited(_) => return Ok(Err(format!("does not build: {}", errors[0]))),
            Ended::Stopped | Ended::TimedOut => bail!("{cargo:?} took too long"),
        }
        Ok(Ok(programs))
    }

    fn judge(&self, suite: Suite, name: &str, program: &Path) -> Result<Judged> {
        let mut command = process::limited(program);
        let package = name.split_once('/').map_or(self.subject.package, |(package, _)| package);
        command.current_dir(self.scratch.folder().join(package));
        match suite {
            // One after the other, in the order of their names: the first that fails is the same
            // each time.
            Suite::Tests => command.arg("--test-threads=1"),
            Suite::Explorer => {
                let Exploring { strategies, seconds } = &self.subject.exploring;
                command.args(["--seconds", &seconds.to_string()]);
                command.args(["--strategies", &strategies.join(",")])
            }
        };
        settle(&mut command);
        let patience = self.took.get(name).map_or(PATIENCE, |took| *took * SLOWER_MAX);
        let mut heard = Heard::default();
        let ended =
            process::run(&mut command, patience.max(self.patience_min), |line| heard.hear(line))?;
        let strategies = std::mem::take(&mut heard.strategies);
        Ok(Judged { verdict: heard.verdict(name, ended), strategies })
    }
}

/// Fixes what a test may ask the environment for.
fn settle(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PROPTEST_")) {
            command.env_remove(name);
        }
    }
    command.env("PROPTEST_RNG_SEED", "1");
    // It is enough to know that it fails.
    command.env("PROPTEST_MAX_SHRINK_ITERS", "0");
    command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
    command.env("RUST_BACKTRACE", "0").env_remove("UPDATE_GOLDENFILES");
}

/// The program that a message of cargo announces.
fn program(message: &Value) -> Option<Program> {
    let executable = message["executable"].as_str()?;
    let target = &message["target"];
    let is_of =
        |kind: &str| target["kind"].as_array().is_some_and(|it| it.iter().any(|it| it == kind));
    // A program of the package is built beside its tests, and judges nothing.
    if is_of("bin") {
        return None;
    }
    let is_lib = is_of("lib");
    let name = if is_lib { "lib" } else { target["name"].as_str()? };
    Some((name.to_owned(), executable.into()))
}

/// What a program has said so far.
#[derive(Debug, Default)]
struct Heard {
    /// The last test that began.
    current: Option<String>,
    failed: Option<String>,
    is_out_of_memory: bool,
    strategies: Vec<Value>,
}

impl Heard {
    /// Takes a line; false if it is the last one of interest.
    fn hear(&mut self, line: &str) -> bool {
        self.is_out_of_memory |= line.contains("memory allocation of");
        if let Some(found) = line.strip_prefix("found ") {
            self.failed.get_or_insert_with(|| found.to_owned());
            // The explorer's other strategies are asked too.
            return true;
        }
        if line.starts_with('{') {
            self.strategies.extend(serde_json::from_str::<Value>(line));
            return true;
        }
        // A test that has only begun has no outcome yet.
        let test = line.strip_prefix("test ").and_then(|line| line.split_once(" ..."));
        if let Some((name, outcome)) = test {
            self.current = Some(name.to_owned());
            if outcome == " FAILED" {
                self.failed.get_or_insert_with(|| name.to_owned());
            }
        }
        self.failed.is_none()
    }

    fn verdict(self, target: &str, ended: Ended) -> Verdict {
        let place = |test: Option<String>| match test {
            Some(test) => format!("{target}: {test}"),
            None => target.to_owned(),
        };
        if let Some(failed) = self.failed {
            return Verdict::Caught(place(Some(failed)));
        }
        match ended {
            Ended::Exited(status) if status.success() => Verdict::Survived,
            Ended::Exited(_) if self.is_out_of_memory => {
                Verdict::Timeout(format!("{} (out of memory)", place(self.current)))
            }
            Ended::Exited(status) => Verdict::Caught(format!("{} ({status})", place(self.current))),
            Ended::TimedOut => Verdict::Timeout(place(self.current)),
            Ended::Stopped => unreachable!("only a failure stops a program"),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    fn heard(lines: &[&str]) -> Heard {
        let mut heard = Heard::default();
        for line in lines {
            heard.hear(line);
        }
        heard
    }

    fn exited(code: i32) -> Ended {
        Ended::Exited(ExitStatus::from_raw(code << 8))
    }

    #[test]
    fn the_first_failing_test_is_named() {
        let mut heard = heard(&["running 2 tests", "test a::one ... ok"]);
        assert!(heard.hear("test a::two ... ok"));
        assert!(!heard.hear("test a::three ... FAILED"), "no more need be read");
        let verdict = heard.verdict("paper", Ended::Stopped);
        assert_eq!(verdict, Verdict::Caught("paper: a::three".to_owned()));
    }

    #[test]
    fn a_test_that_hangs_or_takes_all_memory_or_ends_the_program_is_named() {
        let verdict = heard(&["test one ... ok", "test two ..."]).verdict("lib", Ended::TimedOut);
        assert_eq!(verdict, Verdict::Timeout("lib: two".to_owned()));
        let lines = ["test one ... memory allocation of 99 bytes failed"];
        let aborted = Ended::Exited(ExitStatus::from_raw(6));
        let verdict = heard(&lines).verdict("lib", aborted);
        assert_eq!(verdict, Verdict::Timeout("lib: one (out of memory)".to_owned()));
        let verdict = heard(&["test one ..."]).verdict("lib", aborted);
        assert_eq!(verdict, Verdict::Caught("lib: one (signal: 6 (SIGABRT))".to_owned()));
        let verdict = heard(&[]).verdict("lib", exited(3));
        assert_eq!(verdict, Verdict::Caught("lib (exit status: 3)".to_owned()));
    }

    #[test]
    fn a_suite_that_passes_lets_the_mutant_survive() {
        let verdict = heard(&["test one ... ok"]).verdict("lib", exited(0));
        assert_eq!(verdict, Verdict::Survived);
    }

    #[test]
    fn what_the_explorer_found_is_named() {
        let verdict = heard(&["found election-safety in sample"]).verdict("judge", exited(2));
        assert_eq!(verdict, Verdict::Caught("judge: election-safety in sample".to_owned()));
    }
}
