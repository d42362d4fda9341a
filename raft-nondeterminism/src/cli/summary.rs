//! What an exploration came to: in Coyote's lines for people, in one line of JSON for programs.
//!
//! Guarantees: the fields of the JSON stay where they are; more may follow at the end.

use std::path::{Path, PathBuf};

use raft_nondeterminism::report::{ChoiceCount, ChoiceCounts};
use raft_nondeterminism::{
    Bug, Exhausted, Kind, MemberCounts, Model, Plan, Raft, Report, Scenario,
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::count;
use super::exhaust;
use super::output::Written;

/// Names with numbers, in their order.
#[derive(Debug, Default)]
pub(crate) struct Counted(pub(crate) Vec<(&'static str, u64)>);

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

impl Counted {
    fn of<K: Kind>(count: impl Fn(K) -> u64) -> Self {
        Self(K::ALL.iter().map(|&kind| (kind.name(), count(kind))).collect())
    }

    /// How often each kind may happen in a run.
    pub(crate) fn budgets<K: Kind>(plan: &Plan<K>) -> Self {
        Self::of(|kind: K| u64::from(plan.budget(kind)))
    }

    /// Those with a number above zero, as text.
    pub(crate) fn list(&self) -> String {
        let counts = self.0.iter().filter(|(_, count)| *count > 0);
        let words: Vec<_> = counts.map(|(name, count)| format!("{name} {count}")).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    }
}

/// What an exploration came to.
#[derive(Debug, Serialize)]
pub(crate) struct Summary<'a> {
    event: &'static str,
    scenario: &'a str,
    strategy: &'a str,
    seed: u64,
    iterations: u64,
    steps: u64,
    bug: Option<BugLine<'a>>,
    faults: Counted,
    sometimes: Counted,
    elapsed_ms: u64,
    steps_per_second: u64,
    bugs: u64,
    operations: Counted,
    /// What never happened although the scenario allows it.
    unreached: Vec<&'static str>,
    not_injected: Vec<&'static str>,
    members: Vec<Member<'a>>,
    fair_iterations: u64,
    unique_paths: u64,
    unique_states: u64,
    is_interrupted: bool,
    /// The files that say what was met, if that was asked for.
    coverage: Vec<String>,
    /// What an exhaustive search came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    exhaustive: Option<Value>,
    /// How often which choice was made, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<Value>,
    /// In Coyote's lines, the choices too.
    #[serde(skip)]
    chosen: String,
    #[serde(skip)]
    statistics: String,
}

#[derive(Debug, Serialize)]
struct BugLine<'a> {
    property: &'a str,
    iteration: u64,
    events: usize,
    shrunk_events: usize,
    /// `None` if it could not be written.
    trace: Option<String>,
    message: &'a str,
    full_trace: Option<String>,
    files: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Member<'a> {
    name: &'a str,
    iterations: u64,
    steps: u64,
    bugs: u64,
    new_states: u64,
}

impl<'a> Summary<'a> {
    pub(crate) fn new(
        report: &'a Report,
        scenario: &Scenario,
        written: Option<&Written>,
        coverage: &[PathBuf],
        is_interrupted: bool,
    ) -> Self {
        let model = Raft::new(scenario.clone());
        let (faults, operations) = (model.faults(), model.operations());
        Self {
            event: "summary",
            scenario: report.model(),
            strategy: report.strategy(),
            seed: report.seed(),
            iterations: report.iterations(),
            steps: report.steps(),
            bug: report.bug().map(|bug| BugLine::new(bug, written)),
            faults: Counted::of(|fault| report.faults().count(fault)),
            sometimes: Counted(report.goals().iter().collect()),
            elapsed_ms: u64::try_from(report.elapsed().as_millis()).unwrap_or(u64::MAX),
            steps_per_second: report.statistics().events_per_second() as u64,
            bugs: report.buggy_iterations(),
            operations: Counted::of(|operation| report.operations().count(operation)),
            unreached: report.unreached_goals().collect(),
            not_injected: never(&faults, |fault| report.faults().count(fault))
                .chain(never(&operations, |operation| report.operations().count(operation)))
                .collect(),
            members: members(report),
            fair_iterations: report.fair_iterations(),
            unique_paths: report.unique_paths(),
            unique_states: report.unique_states(),
            is_interrupted,
            coverage: coverage.iter().map(|path| path.display().to_string()).collect(),
            exhaustive: None,
            choices: report.choices().map(choices),
            chosen: report.choices().map(ToString::to_string).unwrap_or_default(),
            statistics: report.statistics().to_string(),
        }
    }

    /// Says what an exhaustive search came to.
    pub(crate) fn with_exhausted(mut self, exhausted: Option<&Exhausted>) -> Self {
        let Some(exhausted) = exhausted else { return self };
        self.exhaustive = Some(exhaust::json(exhausted));
        self.statistics = exhaust::text(exhausted);
        if !exhausted.is_complete() {
            // What was not reached may come later.
            (self.unreached, self.not_injected) = (Vec::new(), Vec::new());
        }
        self
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> String {
        let line = serde_json::to_string(self).expect("names and numbers have a JSON");
        line + "\n"
    }

    /// Coyote's lines, and some more.
    pub(crate) fn text(&self) -> String {
        let mut text = self.statistics.clone();
        let mut line = |said: String| {
            text += &said;
            text.push('\n');
        };
        if self.is_interrupted {
            line("..... Interrupted before the end.".to_owned());
        }
        line(format!("..... Injected faults: {}.", self.faults.list()));
        if self.operations.0.iter().any(|(_, count)| *count > 0) {
            line(format!("..... Took operations: {}.", self.operations.list()));
        }
        line(format!("..... Paths that reached a goal: {}.", self.sometimes.list()));
        for (what, names) in
            [("UNREACHED goals", &self.unreached), ("NEVER happened", &self.not_injected)]
        {
            if !names.is_empty() {
                line(format!("..... {what}: {}.", names.join(", ")));
            }
        }
        if self.members.len() > 1 {
            for Member { name, iterations, bugs, new_states, .. } in &self.members {
                let paths = count(*iterations, "path");
                line(format!("..... By {name}: {paths}, {bugs} buggy, {new_states} new states."));
            }
        }
        text + &self.chosen
    }
}

impl<'a> BugLine<'a> {
    fn new(bug: &'a Bug, written: Option<&Written>) -> Self {
        let path = |path: &Path| path.display().to_string();
        Self {
            property: bug.property(),
            iteration: bug.iteration(),
            events: bug.schedule().events(),
            shrunk_events: bug.shrunk().schedule().events(),
            trace: written.map(|written| path(&written.schedule)),
            message: &bug.violation().message,
            full_trace: written.map(|written| path(&written.full)),
            files: written.map(|it| it.paths().map(path).collect()).unwrap_or_default(),
        }
    }
}

/// Each kind of choice in the order in which people read them.
fn choices(counts: &ChoiceCounts) -> Value {
    let line = |(name, it): (String, &ChoiceCount)| {
        let (min, max) = it.alternatives();
        let at_most: Vec<_> = it.histogram().collect();
        let alternatives = json!({
            "min": min, "avg": it.average(), "max": max, "at_most": at_most,
        });
        json!({"choice": name, "count": it.count(), "alternatives": alternatives})
    };
    counts.iter().map(line).collect()
}

/// What the plan allows and what never happened.
fn never<K: Kind>(plan: &Plan<K>, count: impl Fn(K) -> u64) -> impl Iterator<Item = &'static str> {
    let is_missing = move |kind: &K| plan.budget(*kind) > 0 && count(*kind) == 0;
    K::ALL.iter().copied().filter(is_missing).map(Kind::name)
}

fn members<'a>(report: &'a Report) -> Vec<Member<'a>> {
    let members = report.members().iter();
    let member = |(name, counts): (&'a String, &MemberCounts)| Member {
        name,
        iterations: counts.iterations,
        steps: counts.steps,
        bugs: counts.buggy_iterations,
        new_states: counts.new_states,
    };
    members.map(member).collect()
}
