//! Shortening a failing run: delta debugging on its list of choices (Zeller and Hildebrandt 2002).
//!
//! Guarantees: what comes out still fails the same way, and no single choice can be left out of it; if
//!             it is short, no two either.
//! Relies on:  a replay that skips what is not possible, so that any part of a run is a run.

use crate::schedule::Line;

/// Leaves out what a failing run does not need. `retry` runs a list of choices and returns those that
/// were really made, if it fails the same way.
pub(crate) fn shrink(
    lines: &[Line],
    mut retry: impl FnMut(Vec<Line>) -> Option<Vec<Line>>,
) -> Vec<Line> {
    let mut best = lines.to_vec();
    let mut size = best.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        let mut has_shrunk = false;
        while start < best.len() {
            let end = (start + size).min(best.len());
            let rest: Vec<_> = best[..start].iter().chain(&best[end..]).cloned().collect();
            match retry(rest) {
                // What follows moved here, so the same place is tried again.
                Some(fewer) if fewer.len() < best.len() => {
                    best = fewer;
                    has_shrunk = true;
                }
                Some(_) | None => start = end,
            }
        }
        // Each success may have made other blocks of the same size dispensable.
        if !has_shrunk {
            size /= 2;
        }
    }
    while let Some(fewer) = without_a_pair(&best, &mut retry) {
        best = fewer;
    }
    best
}

/// Leaves two choices out at once: a time-out that raises a term, say, and the message that carries
/// the term to others, of which neither can be spared alone. A long run is left as it is: there are
/// too many pairs.
fn without_a_pair(
    lines: &[Line],
    retry: &mut impl FnMut(Vec<Line>) -> Option<Vec<Line>>,
) -> Option<Vec<Line>> {
    const LENGTH_MAX: usize = 60;
    if lines.len() > LENGTH_MAX {
        return None;
    }
    let pairs = (0..lines.len()).flat_map(|one| (one + 1..lines.len()).map(move |two| (one, two)));
    for (one, two) in pairs {
        let mut rest = lines.to_vec();
        rest.remove(two);
        rest.remove(one);
        if let Some(fewer) = retry(rest).filter(|fewer| fewer.len() < lines.len()) {
            return Some(fewer);
        }
    }
    None
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
