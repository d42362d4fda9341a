//! The figures of an exploration in Coyote's own lines, so that its readers are at home.

use std::fmt;
use std::time::Duration;

use super::escape::counted;

/// The figures of an exploration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// How many runs broke a property.
    pub bugs: u64,
    /// How many runs were made by a strategy that is fair from some step on.
    pub fair_paths: u64,
    /// How many were not.
    pub unfair_paths: u64,
    /// How many runs went a way of their own.
    pub unique_paths: u64,
    /// How many different states there were; 0 if nobody counted.
    pub unique_states: u64,
    /// How many events there were in all runs.
    pub events: u64,
    /// The fewest and the most events of a run.
    pub event_bounds: (usize, usize),
    /// The number of events after which a run ends, and how many runs it has ended.
    pub max_steps: Option<(usize, u64)>,
    /// How long it took.
    pub elapsed: Duration,
    /// How long of that nothing new was explored, because a failing run was made shorter.
    pub shrinking: Duration,
}

impl Statistics {
    fn paths(&self) -> u64 {
        self.fair_paths + self.unfair_paths
    }

    /// How many events there were in a second; 0 if that cannot be told.
    #[must_use]
    pub fn events_per_second(&self) -> f64 {
        let seconds = self.elapsed.saturating_sub(self.shrinking).as_secs_f64();
        if seconds > 0.0 { self.events as f64 / seconds } else { 0.0 }
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.paths();
        let percent = |share: u64| share as f64 * 100.0 / paths.max(1) as f64;
        writeln!(f, "... Testing statistics:")?;
        writeln!(f, "..... Found {}.", counted(self.bugs, "bug"))?;
        writeln!(f, "... Exploration statistics:")?;
        writeln!(
            f,
            "..... Explored {}: {} fair, {} unfair, {} unique.",
            counted(paths, "execution path"),
            self.fair_paths,
            self.unfair_paths,
            self.unique_paths
        )?;
        if self.bugs > 0 {
            writeln!(f, "..... Found {:.2}% buggy execution paths.", percent(self.bugs))?;
        }
        if self.unique_states > 0 {
            writeln!(f, "..... Visited {}.", counted(self.unique_states, "unique state"))?;
        }
        if let Some(average) = self.events.checked_div(paths) {
            let (least, most) = self.event_bounds;
            writeln!(
                f,
                "..... Number of scheduling decisions: {least} (min), {average} (avg), {most} (max)."
            )?;
        }
        if let Some((bound, runs)) = self.max_steps.filter(|(_, runs)| *runs > 0) {
            writeln!(
                f,
                "..... Hit the max-steps bound of '{bound}' in {:.2}% of the execution paths.",
                percent(runs)
            )?;
        }
        let rate = self.events_per_second();
        if rate > 0.0 {
            writeln!(f, "..... Took {rate:.0} scheduling decisions per second.")?;
        }
        writeln!(f, "..... Elapsed {} sec.", seconds(self.elapsed))
    }
}

/// As Coyote writes it: `1.5`, `0.02`, `12`.
fn seconds(elapsed: Duration) -> String {
    let text = format!("{:.3}", elapsed.as_secs_f64());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_in_coyotes_lines() {
        let statistics = Statistics {
            bugs: 1,
            fair_paths: 30,
            unfair_paths: 4,
            unique_paths: 33,
            unique_states: 1_234,
            events: 6_773,
            event_bounds: (12, 200),
            max_steps: Some((200, 17)),
            elapsed: Duration::from_millis(20),
            shrinking: Duration::ZERO,
        };
        let expected = "\
... Testing statistics:
..... Found 1 bug.
... Exploration statistics:
..... Explored 34 execution paths: 30 fair, 4 unfair, 33 unique.
..... Found 2.94% buggy execution paths.
..... Visited 1234 unique states.
..... Number of scheduling decisions: 12 (min), 199 (avg), 200 (max).
..... Hit the max-steps bound of '200' in 50.00% of the execution paths.
..... Took 338650 scheduling decisions per second.
..... Elapsed 0.02 sec.
";
        assert_eq!(statistics.to_string(), expected);
    }

    #[test]
    fn what_was_not_counted_is_left_out() {
        let expected = "\
... Testing statistics:
..... Found 0 bugs.
... Exploration statistics:
..... Explored 0 execution paths: 0 fair, 0 unfair, 0 unique.
..... Elapsed 0 sec.
";
        assert_eq!(Statistics::default().to_string(), expected);
    }
}
