//! What a measure is, and what belongs to all measures of one kind.

#[cfg(test)]
use std::collections::BTreeSet;

/// Ours, as the programs call it.
pub(super) const OURS: &str = "raft-core";
/// A lower bound that needs no other library.
pub(super) const FLOOR: &str = "floor";

/// Everything that one `bench` measures, and what whoever reads it should know.
#[derive(Clone, Debug)]
pub(super) struct Suite {
    /// What it is called on the command line.
    pub(super) name: &'static str,
    /// The package that measures, in `xtask`, and the program that it builds.
    pub(super) package: &'static str,
    /// The title of the report.
    pub(super) title: &'static str,
    /// How often what varies is measured.
    pub(super) rounds: usize,
    /// The same if there is little time.
    pub(super) rounds_quick: usize,
    /// In the order of the table.
    pub(super) measures: Vec<Measure>,
    /// Everybody but us, in the order of the table.
    pub(super) peers: &'static [&'static str],
    /// Whose versions the report states.
    pub(super) crates: &'static [&'static str],
    /// How every figure came about.
    pub(super) method: &'static [&'static str],
    /// Variables of the environment of all that is measured.
    pub(super) environment: &'static [(&'static str, &'static str)],
}

impl Suite {
    /// Asserts that every goal belongs to a measure, and that no name is given twice.
    #[cfg(test)]
    pub(super) fn check(&self, goals: &[(&str, f64)]) {
        let names: BTreeSet<_> = self.measures.iter().map(|measure| &*measure.name).collect();
        for (name, _) in goals {
            assert!(names.contains(name), "{name} is not measured");
        }
        assert_eq!(names.len(), self.measures.len(), "no name is given twice");
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(super) struct Measure {
    /// Never changes: programs look for it.
    pub(super) name: String,
    /// The value should not exceed this.
    pub(super) goal: Option<f64>,
    pub(super) run: Run,
    /// Which of the figures of the run it is.
    pub(super) figure: &'static str,
}

/// A run of the program, or several that belong together. One run may have figures for many measures.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    pub(super) tool: Tool,
    pub(super) arguments: Vec<String>,
    /// Who takes part, besides us.
    pub(super) peers: &'static [&'static str],
}

/// With what it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    /// The program that times, several times.
    Clock,
    /// The same for times of a disk: after a pause, and each time beside the floor.
    Disk,
    /// The program that counts allocations, once: it always counts the same.
    Allocator,
    /// Callgrind, for two lengths; their difference holds no start.
    Callgrind { counts: [u64; 2] },
}

/// The figure of a run under callgrind.
pub(super) const INSTRUCTIONS: &str = "instructions";

/// The figure that [`Tool::Disk`] adds to each: how many times that of the floor beside it.
pub(super) const OVER_FLOOR: &str = "_over_floor";
/// The figure of a program whose disk was throttled; it has no other then.
pub(super) const THROTTLED: &str = "throttled";

/// Measures, in the order in which they are added.
#[derive(Debug)]
pub(super) struct Table {
    goals: &'static [(&'static str, f64)],
    pub(super) measures: Vec<Measure>,
}

impl Table {
    pub(super) fn new(goals: &'static [(&'static str, f64)]) -> Self {
        Self { goals, measures: Vec::new() }
    }

    pub(super) fn add(
        &mut self,
        name: &str,
        tool: Tool,
        arguments: &str,
        peers: &'static [&'static str],
        figure: &'static str,
    ) {
        let goal = self.goals.iter().find(|(of, _)| *of == name).map(|&(_, goal)| goal);
        let arguments = arguments.split(' ').map(str::to_owned).collect();
        let run = Run { tool, arguments, peers };
        self.measures.push(Measure { name: name.to_owned(), goal, run, figure });
    }
}
