//! What came of an exploration, for the programs that show the results of tests.

use std::fs;
use std::path::Path;

use anyhow::Context;
use raft_nondeterminism::Report;
use raft_nondeterminism::report::{self, TestCase, TestFailure};

use super::output::{self, Written};

/// Checks that a file can be written, before anything runs, and leaves in it what it holds.
pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    let file = fs::File::options().append(true).create(true).open(path);
    file.map(drop).with_context(|| cannot_write(path))
}

/// The exploration as one test.
pub(crate) fn case(report: &Report, written: Option<&Written>) -> TestCase {
    let failure = report.bug().map(|bug| {
        let shrunk = bug.shrunk();
        let violation = shrunk.violation().unwrap_or(bug.violation());
        let trace = shrunk.trace().trim_end();
        let replay = written.map(|written| output::replay_line(&written.schedule));
        TestFailure {
            kind: bug.property().to_owned(),
            message: violation.message.clone(),
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
    fs::write(path, text).with_context(|| cannot_write(path))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
