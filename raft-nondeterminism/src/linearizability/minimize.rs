//! Leaving out of a history that cannot be explained whatever is not needed to see why.
//!
//! Guarantees: what is left cannot be explained either, for a reason that holds in the whole history
//!             too: whenever the whole could be explained, so could the part.
//!
//! That is why only three things are left out:
//! - what happens after the moment at which the search was stuck; what was under way then may take
//!   effect or not;
//! - reads, because they only ask for more;
//! - values with all that writes, reads, expects or replaces them. Where an order explains the whole,
//!   leave these out of it: whoever finds another value finds it still, because whatever put it there
//!   is still the last that came before. Where values are appended to, they belong together.

use std::collections::BTreeMap;

use super::register::{Action, NULL, Step, Values};
use super::sweep::{Budget, Impossible, Stuck, search};

/// Attempts to leave something out. Most histories need a tenth of it.
const ATTEMPTS_MAX: u32 = 600;

/// A part of a history that cannot be explained, and where in it the search is stuck.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) steps: Vec<Step>,
    pub(super) impossible: Impossible,
}

/// Shortens a history in which the search was stuck.
pub(super) fn minimize(
    values: &Values<'_>,
    steps: &[Step],
    impossible: Impossible,
    budget: &mut Budget,
) -> Core {
    let culprit = steps[impossible.step].place;
    let beginning = up_to(steps, impossible.step);
    let mut shrinking = Shrinking { values, budget, attempts: 0 };
    let Some(stuck) = shrinking.stuck(&beginning) else {
        return Core { steps: steps.to_vec(), impossible };
    };
    let mut core = Core { steps: beginning, impossible: stuck };
    let groups = groups(&core.steps);
    let kept = groups.iter().find(|group| group.contains(&culprit)).cloned().unwrap_or_default();
    shrinking
        .without_blocks(&mut core, groups.into_iter().filter(|group| *group != kept).collect());
    let reads = core
        .steps
        .iter()
        .filter(|step| matches!(step.action, Action::Read(_)) && step.place != culprit);
    let reads = reads.map(|step| vec![step.place]).collect();
    shrinking.without_blocks(&mut core, reads);
    core
}

struct Shrinking<'a, 'h> {
    values: &'a Values<'h>,
    budget: &'a mut Budget,
    attempts: u32,
}

impl Shrinking<'_, '_> {
    fn stuck(&mut self, steps: &[Step]) -> Option<Impossible> {
        self.attempts += 1;
        if self.attempts > ATTEMPTS_MAX {
            return None;
        }
        match search(self.values, steps, self.budget) {
            Err(Stuck::Impossible(impossible)) => Some(impossible),
            Ok(()) | Err(Stuck::OutOfSteps | Stuck::OutOfMemory) => None,
        }
    }

    /// Leaves out blocks of groups, large ones first, down to single groups. Groups are lists of places.
    fn without_blocks(&mut self, core: &mut Core, mut groups: Vec<Vec<usize>>) {
        let mut size = groups.len();
        while size > 0 {
            let mut start = 0;
            while start < groups.len() {
                let end = (start + size).min(groups.len());
                let mut out: Vec<_> = groups[start..end].concat();
                out.sort_unstable();
                let mut fewer = core.steps.clone();
                fewer.retain(|step| out.binary_search(&step.place).is_err());
                match self.stuck(&fewer) {
                    // What follows moved here, so the same place is tried again.
                    Some(impossible) => {
                        *core = Core { steps: fewer, impossible };
                        groups.drain(start..end);
                    }
                    None => start = end,
                }
            }
            size /= 2;
        }
    }
}

/// What was invoked before a step completed. What was not over by then may take effect or not.
fn up_to(steps: &[Step], last: usize) -> Vec<Step> {
    let end = steps[last].completed.map(|completed| (completed, last));
    let mut beginning = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let is_over = step.completed.map(|completed| (completed, number)) <= end;
        let completed = step.completed.filter(|_| is_over);
        let is_begun = end.is_none_or(|(end, _)| step.invoked <= end);
        let is_read = matches!(step.action, Action::Read(_));
        if is_begun && (completed.is_some() || !is_read) {
            beginning.push(Step { completed, ..*step });
        }
    }
    beginning
}

/// The places of steps that can only be left out together: those that have values in common.
fn groups(steps: &[Step]) -> Vec<Vec<usize>> {
    let has_appends = steps.iter().any(|step| matches!(step.action, Action::Append(_)));
    if has_appends {
        return vec![steps.iter().map(|step| step.place).collect()];
    }
    // Each value points at another one of its group, and the first of a group at itself.
    let mut linked: BTreeMap<u32, u32> = BTreeMap::new();
    fn first(linked: &mut BTreeMap<u32, u32>, mut value: u32) -> u32 {
        while let Some(&next) = linked.get(&value)
            && next != value
        {
            value = next;
        }
        value
    }
    let value_of = |step: &Step| match step.action {
        Action::Read(value) | Action::Write(value) | Action::Append(value) => value,
        Action::Cas { value, .. } => value,
    };
    for step in steps {
        if let Action::Cas { expected, value } = step.action {
            let (one, other) = (first(&mut linked, expected), first(&mut linked, value));
            // What every register holds at first stays the first of its group.
            let (one, other) = if other == NULL { (other, one) } else { (one, other) };
            linked.insert(other, one);
        }
    }
    let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for step in steps {
        groups.entry(first(&mut linked, value_of(step))).or_default().push(step.place);
    }
    groups.into_values().collect()
}
