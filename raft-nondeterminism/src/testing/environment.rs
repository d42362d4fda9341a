//! What the environment of a test changes.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::failure::TestFailure;

/// Settings of all tests in a process, which count more than those in the code: for nightly runs, and for
/// replays.
///
/// | Variable | What it changes |
/// | --- | --- |
/// | `RAFT_EXPLORE_SEED` | the seed from which everything follows |
/// | `RAFT_EXPLORE_ITERATIONS` | the number of runs |
/// | `RAFT_EXPLORE_TIME` | how long to explore, in seconds, whatever the number of runs |
/// | `RAFT_EXPLORE_STRATEGY` | who chooses, by name |
/// | `RAFT_EXPLORE_WORKERS` | how many threads share the runs of one test |
/// | `RAFT_EXPLORE_REPLAY` | a schedule to replay instead of exploring |
/// | `RAFT_EXPLORE_OUT` | a folder for the page, graphs and logs of a failing run, and for coverage |
///
/// A night of one hour per test, which explores what no night did before:
///
/// ```text
/// RAFT_EXPLORE_TIME=3600 RAFT_EXPLORE_SEED=$(date +%s) cargo test --release
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Environment {
    /// The seed.
    pub seed: Option<u64>,
    /// The number of runs.
    pub iterations: Option<u64>,
    /// How long to explore.
    pub time: Option<Duration>,
    /// Who chooses.
    pub strategy: Option<String>,
    /// How many threads share the runs.
    pub workers: Option<usize>,
    /// A schedule to replay, beside the manifest unless it is an absolute path.
    pub replay: Option<PathBuf>,
    /// Where the page, graphs and logs of a failing run go, and what was met, if a test asks for that;
    /// beside the manifest unless it is an absolute path; nowhere, if that is not said.
    pub out: Option<PathBuf>,
}

impl Environment {
    /// That of this process.
    ///
    /// # Errors
    ///
    /// The first variable that makes no sense.
    pub fn of_process() -> Result<Self, TestFailure> {
        Self::from_variables(|variable| {
            env::var_os(variable).map(|value| value.to_string_lossy().into_owned())
        })
    }

    /// That in which variables have these values. One that is empty says nothing.
    ///
    /// # Errors
    ///
    /// The first variable that makes no sense.
    pub fn from_variables(
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, TestFailure> {
        let variable = |name| variable(name).filter(|value| !value.is_empty()).map(|it| (name, it));
        Ok(Self {
            seed: number(variable("RAFT_EXPLORE_SEED"))?,
            iterations: number(variable("RAFT_EXPLORE_ITERATIONS"))?,
            time: number(variable("RAFT_EXPLORE_TIME"))?.map(Duration::from_secs),
            strategy: variable("RAFT_EXPLORE_STRATEGY").map(|(_, name)| name),
            workers: number(variable("RAFT_EXPLORE_WORKERS"))?,
            replay: variable("RAFT_EXPLORE_REPLAY").map(|(_, file)| PathBuf::from(file)),
            out: variable("RAFT_EXPLORE_OUT").map(|(_, folder)| PathBuf::from(folder)),
        })
    }
}

fn number<T: FromStr>(set: Option<(&'static str, String)>) -> Result<Option<T>, TestFailure> {
    let Some((variable, value)) = set else { return Ok(None) };
    let parsed = value.trim().parse();
    parsed.map(Some).map_err(|_| TestFailure::Variable { variable, value })
}
