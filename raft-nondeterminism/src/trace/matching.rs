//! Which steps of a run another one has kept.
//!
//! A shrunk run leaves steps out, and that may change what the others are called: a message speaks of an
//! earlier term, or of another index. So a step of the shrunk run is looked for by its whole name first,
//! and by who says what kind of thing to whom second.

use std::collections::BTreeSet;

use super::Step;

/// How many pairs of steps are compared before a simpler way has to do.
const TABLE_MAX: usize = 16 << 20;

/// The numbers of the `steps` that stand for one of `shrunk`: the longest common subsequence, in which
/// equal names count more than similar ones, and later steps are preferred because they lead to the end.
pub(super) fn kept(steps: &[Step], shrunk: &[Step]) -> BTreeSet<usize> {
    let (rows, columns) = (steps.len(), shrunk.len());
    let skeletons: Vec<_> = steps.iter().map(|step| skeleton(&step.name)).collect();
    let shrunk_skeletons: Vec<_> = shrunk.iter().map(|step| skeleton(&step.name)).collect();
    let likeness = |row: usize, column: usize| {
        if steps[row].name == shrunk[column].name {
            // Of two messages that say the same, the one that had an effect is the one that was kept.
            3 + u32::from(steps[row].notes == shrunk[column].notes)
        } else if skeletons[row] == shrunk_skeletons[column] {
            2
        } else {
            0
        }
    };
    if rows * columns > TABLE_MAX {
        return last_alike(rows, columns, likeness, |row| steps[row].number);
    }
    // `best[row][column]` is the weight of what the first `row` and `column` steps have in common.
    let mut best = vec![vec![0_u32; columns + 1]; rows + 1];
    for row in 0..rows {
        for column in 0..columns {
            let like = likeness(row, column);
            let both = if like > 0 { best[row][column] + like } else { 0 };
            best[row + 1][column + 1] = both.max(best[row][column + 1]).max(best[row + 1][column]);
        }
    }
    let (mut row, mut column) = (rows, columns);
    let mut numbers = BTreeSet::new();
    while row > 0 && column > 0 {
        let like = likeness(row - 1, column - 1);
        if like > 0 && best[row][column] == best[row - 1][column - 1] + like {
            (row, column) = (row - 1, column - 1);
            numbers.insert(steps[row].number);
        } else if best[row][column] == best[row][column - 1] {
            column -= 1;
        } else {
            row -= 1;
        }
    }
    numbers
}

/// The last step that is like each one, from the end on: not the best choice, but one that needs no table.
fn last_alike(
    rows: usize,
    columns: usize,
    likeness: impl Fn(usize, usize) -> u32,
    number: impl Fn(usize) -> usize,
) -> BTreeSet<usize> {
    let mut end = rows;
    let mut numbers = BTreeSet::new();
    for column in (0..columns).rev() {
        if let Some(row) = (0..end).rev().find(|&row| likeness(row, column) > 0) {
            numbers.insert(number(row));
            end = row;
        }
    }
    numbers
}

/// A name without the terms and what follows the message's name:
/// `deliver s1@2 → s3 VoteRequest last=1@1` is `deliver s1 → s3 VoteRequest`.
fn skeleton(name: &str) -> String {
    let words = name.split(' ').take(5).map(|word| word.split('@').next().unwrap_or_default());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(names: &[&str]) -> Vec<Step> {
        let step = |(place, name): (usize, &&str)| Step {
            number: place + 1,
            class: String::new(),
            name: (*name).to_owned(),
            lane: None,
            carried: None,
            sent: Vec::new(),
            notes: Vec::new(),
            changes: Vec::new(),
        };
        names.iter().enumerate().map(step).collect()
    }

    #[test]
    fn a_step_is_found_by_its_name_and_else_by_what_it_is_like() {
        let full = steps(&[
            "timeout s1",
            "timeout s2",
            "deliver s1@7 → s3 VoteRequest last=2@2",
            "drop s2@8 ⇥ s3 VoteRequest last=0@0",
            "timeout s1",
            "deliver s1@9 → s3 VoteRequest last=2@2",
        ]);
        let shrunk = steps(&["timeout s1", "deliver s1@1 → s3 VoteRequest last=0@0"]);
        assert_eq!(kept(&full, &shrunk), BTreeSet::from([5, 6]));
    }

    #[test]
    fn a_run_keeps_all_of_itself() {
        let full = steps(&["timeout s1", "timeout s1", "crash s2", "timeout s1"]);
        assert_eq!(kept(&full, &full), BTreeSet::from([1, 2, 3, 4]));
        assert_eq!(kept(&full, &[]), BTreeSet::new());
    }
}
