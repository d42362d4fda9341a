//! The states that a search has still to go on from.
//!
//! Guarantees: however many there are, only so many worlds are kept; the others are made again when their
//!             turn comes.

use std::collections::VecDeque;

use crate::sleep::SleepSet;

/// A state to go on from.
#[derive(Debug)]
pub(super) struct Waiting<W> {
    pub(super) number: u32,
    /// `None` if it has to be made again.
    pub(super) world: Option<Box<W>>,
    /// Only what has woken up since the state was left; `None` for all that is not asleep.
    pub(super) woken: Option<SleepSet>,
}

/// What waits, in the order of a queue or of a stack.
#[derive(Debug)]
pub(super) struct Frontier<W> {
    waiting: VecDeque<Waiting<W>>,
    is_stack: bool,
    /// How many of them have a world.
    worlds: usize,
    /// In a stack, so many at its bottom have lost theirs.
    bare: usize,
    worlds_max: usize,
}

impl<W> Frontier<W> {
    pub(super) fn new(is_stack: bool, worlds_max: usize) -> Self {
        Self { waiting: VecDeque::new(), is_stack, worlds: 0, bare: 0, worlds_max }
    }

    /// If too many are kept, that world goes whose turn is furthest.
    pub(super) fn push(&mut self, mut waiting: Waiting<W>) {
        if waiting.world.is_some() && self.worlds >= self.worlds_max {
            let lowest = self.waiting.range_mut(self.bare..).enumerate();
            match lowest.filter(|_| self.is_stack).find(|(_, it)| it.world.is_some()) {
                Some((above, lost)) => {
                    lost.world = None;
                    self.bare += above + 1;
                    self.worlds -= 1;
                }
                None => waiting.world = None,
            }
        }
        self.worlds += usize::from(waiting.world.is_some());
        self.waiting.push_back(waiting);
    }

    pub(super) fn pop(&mut self) -> Option<Waiting<W>> {
        let next = if self.is_stack { self.waiting.pop_back() } else { self.waiting.pop_front() }?;
        self.worlds -= usize::from(next.world.is_some());
        self.bare = self.bare.min(self.waiting.len());
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that come out, and which of them have their world.
    fn order(is_stack: bool) -> Vec<(u32, bool)> {
        let mut frontier = Frontier::new(is_stack, 2);
        let waiting = |number| Waiting { number, world: Some(Box::new(())), woken: None };
        (1..=2).for_each(|number| frontier.push(waiting(number)));
        frontier.push(Waiting { world: None, ..waiting(3) });
        (4..=5).for_each(|number| frontier.push(waiting(number)));
        let mut order = Vec::new();
        while let Some(it) = frontier.pop() {
            order.push((it.number, it.world.is_some()));
            if it.number == 3 {
                frontier.push(waiting(6));
            }
        }
        assert_eq!((frontier.worlds, frontier.bare), (0, 0));
        order
    }

    #[test]
    fn the_worlds_that_are_needed_last_are_not_kept() {
        let queue = [(1, true), (2, true), (3, false), (4, false), (5, false), (6, true)];
        assert_eq!(order(false), queue);
        let stack = [(5, true), (4, true), (3, false), (6, true), (2, false), (1, false)];
        assert_eq!(order(true), stack);
    }
}
