//! Where everything is drawn: a lane for each process, a column for each event.

use std::collections::BTreeMap;

use super::short;
use crate::history::Operation;
use crate::linearizability::Violation;

/// More operations are no picture.
const CORE_MAX: usize = 16;
/// More of what happened meanwhile distracts.
const AROUND_MAX: usize = 6;
/// More disturbances than this are left to the file.
const MARKS_MAX: usize = 6;
/// Longer names of processes are cut.
const NAME_MAX: usize = 16;

/// A violation, placed.
#[derive(Debug)]
pub(super) struct Layout<'v> {
    /// The names of the lanes, from the top; empty where one belongs to the lane above.
    pub(super) lanes: Vec<String>,
    pub(super) name_width: usize,
    pub(super) bars: Vec<Bar<'v>>,
    pub(super) marks: Vec<Mark>,
    /// Columns, without the names.
    pub(super) width: usize,
    /// Operations of the violation for which there was no place.
    pub(super) left_out: usize,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Bar<'v> {
    pub(super) operation: &'v Operation,
    pub(super) role: Role,
    pub(super) label: String,
    pub(super) lane: usize,
    /// Its first and its last column.
    pub(super) from: usize,
    pub(super) to: usize,
    /// Whether nobody knows how it ended, so that it never does.
    pub(super) is_open: bool,
}

/// Why an operation is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It cannot be explained.
    Impossible,
    /// It is needed to see why.
    Core,
    /// It was under way.
    Around,
}

/// What the nemesis did.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) label: String,
    pub(super) line: usize,
    pub(super) lane: usize,
    pub(super) column: usize,
}

impl<'v> Layout<'v> {
    /// Places as much of a violation as fits.
    pub(super) fn new(violation: &'v Violation, columns: usize) -> Self {
        let mut core: Vec<&Operation> = violation.core.iter().collect();
        let mut around: Vec<&Operation> = violation.around.iter().collect();
        let total = core.len() + around.len();
        // The latest say most about the impossible one.
        core.drain(..core.len().saturating_sub(CORE_MAX));
        around.drain(..around.len().saturating_sub(AROUND_MAX));
        loop {
            let mut layout = Self::place(violation, &core, &around);
            layout.left_out = total - core.len() - around.len();
            let is_narrow = layout.name_width + 2 + layout.width <= columns;
            let spare = core.iter().position(|operation| **operation != violation.impossible);
            if is_narrow || (around.is_empty() && (core.len() <= 2 || spare.is_none())) {
                return layout;
            }
            if around.is_empty() {
                core.remove(spare.unwrap_or_default());
            } else {
                around.remove(0);
            }
        }
    }

    fn place(violation: &'v Violation, core: &[&'v Operation], around: &[&'v Operation]) -> Self {
        let mut bars: Vec<_> = core
            .iter()
            .map(|&operation| match *operation == violation.impossible {
                true => (operation, Role::Impossible),
                false => (operation, Role::Core),
            })
            .chain(around.iter().map(|&operation| (operation, Role::Around)))
            .map(|(operation, role)| Bar {
                operation,
                role,
                label: short(&operation.to_string()),
                lane: 0,
                from: 0,
                to: 0,
                is_open: operation.completed.is_none(),
            })
            .collect();
        bars.sort_by_key(|bar| bar.operation.invoked);
        let mut marks: Vec<_> = violation
            .disturbances
            .iter()
            .take(MARKS_MAX)
            .map(|disturbance| {
                let what = disturbance.value.as_ref().filter(|value| !value.is_null());
                let what = what.map(|value| format!(" {value}")).unwrap_or_default();
                let label = format!("{} {}{what}", disturbance.process, disturbance.f);
                (disturbance, Mark { label, line: disturbance.line, lane: 0, column: 0 })
            })
            .collect();
        let width = place_in_time(&mut bars, &mut marks);
        let mut marks: Vec<_> = marks.into_iter().map(|(_, mark)| mark).collect();
        let mut lanes = place_in_lanes(&mut bars);
        if !marks.is_empty() {
            marks.iter_mut().for_each(|mark| mark.lane = lanes.len());
            lanes.push("nemesis".to_owned());
        }
        let name_width = lanes.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        Self { lanes, name_width, bars, marks, width, left_out: 0 }
    }
}

/// What happens to a bar or a mark, by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Begin(usize),
    Disturb(usize),
    End(usize),
}

/// Gives each event a column of its own, and each bar the length of its label. Returns the width.
fn place_in_time(
    bars: &mut [Bar<'_>],
    marks: &mut [(&crate::history::Disturbance, Mark)],
) -> usize {
    let mut events = Vec::new();
    for (number, bar) in bars.iter().enumerate() {
        events.push((bar.operation.invoked, Event::Begin(number)));
        events.extend(bar.operation.completed.map(|moment| (moment, Event::End(number))));
    }
    for (number, (disturbance, _)) in marks.iter().enumerate() {
        events.push((disturbance.moment, Event::Disturb(number)));
    }
    events.sort_unstable();
    let mut column = 0;
    for (_, event) in events {
        match event {
            Event::Begin(number) => bars[number].from = column,
            Event::Disturb(number) => marks[number].1.column = column,
            Event::End(number) => {
                let bar = &mut bars[number];
                column = column.max(bar.from + bar.label.chars().count() + 1);
                bar.to = column;
                // Its cross wants a column.
                column += usize::from(bar.role == Role::Impossible);
            }
        }
        column += 1;
    }
    let ends = bars.iter().map(|bar| bar.from + bar.label.chars().count() + 3);
    let width = ends.max().unwrap_or(0).max(column);
    for bar in bars.iter_mut().filter(|bar| bar.is_open) {
        bar.to = width - 1;
    }
    width
}

/// Gives each process a lane, and one more for each operation that it left open and went on.
fn place_in_lanes(bars: &mut [Bar<'_>]) -> Vec<String> {
    let mut of_process: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (number, bar) in bars.iter().enumerate() {
        of_process.entry(&bar.operation.process).or_default().push(number);
    }
    let of_process: Vec<_> =
        of_process.into_iter().map(|(process, numbers)| (process.clone(), numbers)).collect();
    let mut lanes = Vec::new();
    for (process, numbers) in of_process {
        let first = lanes.len();
        // The last column that is taken in each lane of this process.
        let mut taken: Vec<usize> = Vec::new();
        for number in numbers {
            let bar = &mut bars[number];
            let free = taken.iter().position(|end| *end < bar.from);
            let lane = free.unwrap_or(taken.len());
            if free.is_none() {
                taken.push(0);
                let name: String = format!("process {process}").chars().take(NAME_MAX).collect();
                lanes.push(if lane == 0 { name } else { String::new() });
            }
            taken[lane] = bar.to + usize::from(bar.role == Role::Impossible);
            bar.lane = first + lane;
        }
    }
    lanes
}
