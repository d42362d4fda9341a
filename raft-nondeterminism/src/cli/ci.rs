//! What came of an exploration, for the programs that show the results of tests.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use raft_nondeterminism::Report;
use raft_nondeterminism::report::{self, TestCase, TestFailure};

use super::output::{self, Written};

/// Checks that a file can be written, before anything runs. Until then it says that nothing has ended.
pub(crate) fn check(path: &Path, scenario: &str) -> anyhow::Result<()> {
    write_junit(path, &unfinished(scenario, "it has not ended"))
}

/// An exploration that came to nothing, as one test.
pub(crate) fn unfinished(scenario: &str, why: &str) -> TestCase {
    let failure = TestFailure {
        kind: "error".to_owned(),
        message: why.to_owned(),
        details: String::new(),
        file: None,
    };
    TestCase { name: scenario.to_owned(), elapsed: Duration::ZERO, failure: Some(failure) }
}

/// The exploration as one test.
pub(crate) fn case(report: &Report, written: Option<&Written>) -> TestCase {
    let failure = report.bug().map(|bug| {
        let trace = bug.shrunk().trace().trim_end();
        let replay = written.map(|written| output::replay_line(&written.schedule));
        TestFailure {
            kind: bug.property().to_owned(),
            message: bug.violation().message.clone(),
            details: format!("{trace}\n\n{}\n", replay.unwrap_or_default()),
            file: written.map(|written| written.trace.display().to_string()),
        }
    });
    TestCase { name: report.model().to_owned(), elapsed: report.elapsed(), failure }
}

pub(crate) fn annotations(case: &TestCase) -> String {
    report::github_annotations(std::slice::from_ref(case))
}

pub(crate) fn write_junit(path: &Path, case: &TestCase) -> anyhow::Result<()> {
    let text = report::junit("raft-explore", std::slice::from_ref(case));
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
