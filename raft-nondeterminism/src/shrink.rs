//! Shortening a failing run: delta debugging on its list of choices (Zeller and Hildebrandt 2002).
//!
//! Guarantees: what comes out still fails the same way, and within a bound on the number of
//!             replays, neither a single choice nor two can be left out of it, and no number in it can be
//!             less: fewer servers, the first of several ways, nothing lost by a crash.
//! Relies on:  a replay that skips what is not possible, so that any part of a run is a run.

use crate::schedule::Line;

/// After so many replays the best so far has to do. Most runs need a tenth of it.
const REPLAYS_MAX: u32 = 10_000;

/// Leaves out what a failing run does not need. `retry` runs a list of choices and returns those that
/// were really made, if it fails the same way.
pub(crate) fn shrink(
    lines: &[Line],
    mut retry: impl FnMut(Vec<Line>) -> Option<Vec<Line>>,
) -> Vec<Line> {
    let mut best = lines.to_vec();
    let mut replays = 0;
    let mut retry = |lines| {
        replays += 1;
        if replays > REPLAYS_MAX { None } else { retry(lines) }
    };
    loop {
        best = without_blocks(best, &mut retry);
        if let Some(simpler) = with_less(&best, &mut retry) {
            best = simpler;
            continue;
        }
        match without_two(&best, &mut retry) {
            Some(fewer) => best = fewer,
            None => return best,
        }
    }
}

/// Leaves out blocks, large ones first, down to single choices.
fn without_blocks(
    mut best: Vec<Line>,
    retry: &mut impl FnMut(Vec<Line>) -> Option<Vec<Line>>,
) -> Vec<Line> {
    let mut size = best.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        let mut has_shrunk = false;
        while start < best.len() {
            let end = (start + size).min(best.len());
            match retry_without(&best, retry, |place| (start..end).contains(&place)) {
                // What follows moved here, so the same place is tried again.
                Some(fewer) => {
                    best = fewer;
                    has_shrunk = true;
                }
                None => start = end,
            }
        }
        // Each success may have made other blocks of the same size dispensable.
        if !has_shrunk {
            size /= 2;
        }
    }
    best
}

/// Makes numbers smaller, one after the other: 0 if that will do, or half, or one less.
fn with_less(
    lines: &[Line],
    retry: &mut impl FnMut(Vec<Line>) -> Option<Vec<Line>>,
) -> Option<Vec<Line>> {
    let mut best = lines.to_vec();
    let mut place = 0;
    while place < best.len() {
        let Line::Choose { value, .. } = best[place] else {
            place += 1;
            continue;
        };
        let mut less = [0, value / 2, value.saturating_sub(1)].into_iter();
        let simpler = less.by_ref().filter(|&less| less < value).find_map(|less| {
            let mut lines = best.clone();
            if let Line::Choose { value, .. } = &mut lines[place] {
                *value = less;
            }
            // What is possible may follow from the number, and other numbers be asked for.
            retry(lines).filter(|lines| (lines.len(), sum(lines)) < (best.len(), sum(&best)))
        });
        match simpler {
            Some(simpler) => best = simpler,
            None => place += 1,
        }
    }
    (best != lines).then_some(best)
}

/// All numbers together.
fn sum(lines: &[Line]) -> usize {
    let values = lines.iter().map(|line| match line {
        Line::Choose { value, .. } => *value,
        Line::Event(_) => 0,
    });
    values.sum()
}

/// Leaves two choices out at once, or one and everything up to another: an early time-out raises the
/// term of one server, and a message or a second time-out takes others along, so that neither can be
/// spared alone.
fn without_two(
    lines: &[Line],
    retry: &mut impl FnMut(Vec<Line>) -> Option<Vec<Line>>,
) -> Option<Vec<Line>> {
    let mut pairs =
        (0..lines.len()).flat_map(|one| (one + 1..lines.len()).map(move |two| (one, two)));
    pairs.find_map(|(one, two)| {
        retry_without(lines, retry, |place| place <= one || place == two)
            .or_else(|| retry_without(lines, retry, |place| place == one || place == two))
    })
}

fn retry_without(
    lines: &[Line],
    retry: &mut impl FnMut(Vec<Line>) -> Option<Vec<Line>>,
    is_out: impl Fn(usize) -> bool,
) -> Option<Vec<Line>> {
    let kept = (0..lines.len()).filter(|&place| !is_out(place));
    let fewer = retry(kept.map(|place| lines[place].clone()).collect())?;
    (fewer.len() < lines.len()).then_some(fewer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_all_that_is_needed() {
        let line = |number: usize| Line::Event(format!("timeout s{number}"));
        let lines: Vec<_> = (0..100).map(line).collect();
        let needed = [line(3), line(40), line(41), line(99)];
        let mut replays = 0;
        let shrunk = shrink(&lines, |lines| {
            replays += 1;
            needed.iter().all(|line| lines.contains(line)).then_some(lines)
        });
        assert_eq!(shrunk, needed);
        assert!(replays < 200, "{replays} replays");
    }

    #[test]
    fn numbers_are_as_small_as_they_can_be() {
        let choose = |value| Line::Choose { label: "servers".to_owned(), value, arity: 9 };
        let lines = [choose(8), choose(7), Line::Event("crash s1".to_owned())];
        let shrunk = shrink(&lines, |lines| {
            // It stands for a replay: a number that is missing is asked for, and is 0.
            let at = |place| lines.get(place).filter(|it| matches!(it, Line::Choose { .. }));
            let numbers = [0, 1].map(|place| at(place).cloned().unwrap_or(choose(0)));
            let needed = sum(&numbers[..1]) >= 3;
            let events = lines.iter().filter(|it| matches!(it, Line::Event(_))).cloned();
            needed.then(|| numbers.into_iter().chain(events).collect())
        });
        assert_eq!(shrunk, [choose(3), choose(0)]);
    }

    #[test]
    fn two_choices_that_need_each_other_are_left_out_together() {
        let line = |number: usize| Line::Event(format!("timeout s{number}"));
        let lines: Vec<_> = (0..10).map(line).collect();
        let shrunk = shrink(&lines, |lines| {
            let is_whole = lines.contains(&line(2)) == lines.contains(&line(7));
            (is_whole && lines.contains(&line(5))).then_some(lines)
        });
        assert_eq!(shrunk, [line(5)]);
    }
}
