//! Regression tests that a program writes.

use std::fmt::Write;

use super::{Testable, follow};
use crate::schedule::Schedule;

/// A `#[test]` in Rust that replays a schedule, to be pasted beside other tests. `what` is an expression
/// for what was explored: `two_phase_commit()`, or `Scenario::sample()`. A planted bug is left out, for
/// the test is to pass once the bug is mended.
///
/// ```
/// use raft_core::Defect;
/// use raft_nondeterminism::{Explorer, Scenario, testing};
///
/// let mut explorer = Explorer::new(Scenario::sample_with_failure());
/// let report = explorer.defect(Defect::VoteCountedTwice).seed(7).iterations(5_000).run()?;
/// let schedule = report.bug().expect("it is found").shrunk().schedule();
/// let test = testing::regression_test(schedule, "Scenario::sample_with_failure()");
/// assert!(test.contains("#[test]\nfn leader_completeness_holds_"));
/// assert!(test.contains("assert_holds(Scenario::sample_with_failure(), r#\""));
/// # Ok::<(), raft_nondeterminism::ExploreError>(())
/// ```
#[must_use]
pub fn regression_test(schedule: &Schedule, what: &str) -> String {
    let property = schedule.property().unwrap_or("nothing");
    let word = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let name: String = property.chars().map(word).collect();
    let text = schedule.clone().with_defect(None).to_string();
    // As many as no line has, so that the text ends where it should.
    let mut fence = "#".to_owned();
    while text.contains(&format!("\"{fence}")) {
        fence.push('#');
    }
    let mut test = String::new();
    let (strategy, seed, iteration) = (schedule.strategy(), schedule.seed(), schedule.iteration());
    writeln!(test, "/// Found by {strategy} from seed {seed}, iteration {iteration}.")
        .and_then(|()| writeln!(test, "#[test]"))
        .and_then(|()| writeln!(test, "fn {name}_holds_in_{}() {{", schedule.fingerprint()))
        .and_then(|()| writeln!(test, "    use raft_nondeterminism::testing::assert_holds;"))
        .and_then(|()| writeln!(test, "    assert_holds({what}, r{fence}\"{text}\"{fence});"))
        .and_then(|()| writeln!(test, "}}"))
        .expect("a string takes every line");
    test
}

/// Asserts that no property is broken along a schedule, as far as it can be followed.
///
/// # Panics
///
/// If one is broken, or the text is no schedule of that.
#[track_caller]
pub fn assert_holds(what: impl Testable, schedule: &str) {
    let schedule: Schedule = match schedule.parse() {
        Ok(schedule) => schedule,
        Err(error) => panic!("{error}"),
    };
    match follow(&mut what.into_explorer(), &schedule) {
        Ok(recording) => {
            if let Some(violation) = recording.violation() {
                panic!("{violation}\n\n{}", recording.trace());
            }
        }
        Err(error) => panic!("{error}"),
    }
}
