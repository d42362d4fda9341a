//! What is chosen besides events: every combination of it, one after the other.

use crate::event::{EnabledView, Pick};
use crate::oracle::Choice;
use crate::strategy::{NotReproducible, Strategy};

/// Answers with what was chosen last time, but for the last number that can be larger by one.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    /// Each number, and what it was below.
    chosen: Vec<(usize, usize)>,
    next: usize,
}

impl Script {
    /// One that answers as it was answered before.
    pub(super) fn again(choices: &[Choice]) -> Self {
        let value = |choice: &Choice| match *choice {
            Choice::Value { value, arity, .. } => Some((value, arity)),
            Choice::Event { .. } => None,
        };
        Self { chosen: choices.iter().filter_map(value).collect(), next: 0 }
    }

    /// Goes on to the next combination of numbers. False if there is none.
    pub(super) fn advance(&mut self) -> bool {
        self.next = 0;
        while let Some((value, arity)) = self.chosen.last_mut() {
            if *value + 1 < *arity {
                *value += 1;
                return true;
            }
            self.chosen.pop();
        }
        false
    }
}

impl Strategy for Script {
    fn begin(&mut self, _seed: u64) {}

    fn pick(&mut self, _enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        unreachable!("the search picks every event itself")
    }

    fn choose(&mut self, arity: usize, _label: &str) -> Result<usize, NotReproducible> {
        if self.next == self.chosen.len() {
            self.chosen.push((0, arity));
        }
        self.next += 1;
        Ok(self.chosen[self.next - 1].0)
    }

    fn describe(&self) -> String {
        "exhaustive".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_comes_once_also_if_one_choice_hangs_on_another() {
        let mut script = Script::default();
        let mut seen = Vec::new();
        loop {
            let one = script.choose(2, "one").expect("it answers");
            let two = (one == 1).then(|| script.choose(3, "two").expect("it answers"));
            seen.push((one, two));
            if !script.advance() {
                break;
            }
        }
        assert_eq!(seen, [(0, None), (1, Some(0)), (1, Some(1)), (1, Some(2))]);
    }
}
