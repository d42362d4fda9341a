//! The one place through which every choice passes.
//!
//! Guarantees: whatever may happen differently next time was asked here, was answered by the
//!             strategy, and stands on the tape.
//! Elsewhere:  how to answer is in [`mod@crate::strategy`]; the tape as text is in `schedule.rs`.

use crate::event::{EnabledView, Pick};
use crate::schedule::Line;
use crate::strategy::{NotReproducible, Step, Strategy};

/// One answer of the oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This event came next.
    Event {
        /// Which.
        pick: Pick,
        /// How many were enabled.
        arity: usize,
    },
    /// This number was taken.
    Value {
        /// What it was for.
        label: &'static str,
        /// Which number.
        value: usize,
        /// It is below this.
        arity: usize,
    },
}

/// Asks the strategy, and writes down what it answers.
#[derive(Debug)]
pub struct Oracle<'a> {
    strategy: &'a mut dyn Strategy,
    tape: Vec<Choice>,
    /// The same choices by name, if somebody will read them.
    lines: Option<Vec<Line>>,
}

impl<'a> Oracle<'a> {
    pub(crate) fn new(
        strategy: &'a mut dyn Strategy,
        is_recording: bool,
        tape: Vec<Choice>,
    ) -> Self {
        Self { strategy, tape, lines: is_recording.then(Vec::new) }
    }

    /// Asks which event comes next; `None` ends the run.
    ///
    /// # Panics
    ///
    /// If the strategy picks an event that is not enabled.
    pub(crate) fn pick(
        &mut self,
        enabled: &EnabledView<'_>,
    ) -> Result<Option<Pick>, NotReproducible> {
        let Some(pick) = self.strategy.pick(enabled)? else { return Ok(None) };
        assert!(enabled.contains(pick), "a strategy picks what is enabled, not {pick:?}");
        self.tape.push(Choice::Event { pick, arity: enabled.total() });
        if let Some(lines) = &mut self.lines {
            lines.push(Line::Event(enabled.name(pick)));
        }
        Ok(Some(pick))
    }

    /// Asks for a number in `0..arity`; `label` says what for, in one word.
    ///
    /// # Errors
    ///
    /// If the run cannot repeat what was recorded.
    ///
    /// # Panics
    ///
    /// If the strategy answers with a larger number.
    pub fn choose(&mut self, arity: usize, label: &'static str) -> Result<usize, NotReproducible> {
        let value = self.strategy.choose(arity, label)?;
        assert!(value < arity, "a strategy chooses from 0..{arity}, not {value}");
        self.tape.push(Choice::Value { label, value, arity });
        if let Some(lines) = &mut self.lines {
            lines.push(Line::Choose { label: label.to_owned(), value, arity });
        }
        Ok(value)
    }

    /// Tells the strategy what came of its last pick.
    pub(crate) fn observe(&mut self, step: &Step) {
        self.strategy.observe(step);
    }

    pub(crate) fn into_parts(self) -> (Vec<Choice>, Option<Vec<Line>>) {
        (self.tape, self.lines)
    }
}
