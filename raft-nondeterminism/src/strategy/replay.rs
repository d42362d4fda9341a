//! Repeating a recorded schedule, event by event and by name.
//!
//! Guarantees: the strict replay does what the schedule says or names the first step where it
//!             cannot; the tolerant one leaves out what is not possible.

use super::{NotReproducible, Strategy};
use crate::event::{EnabledView, Pick};
use crate::oracle::Choice;
use crate::schedule::Line;

/// Repeats a run of this very build, choice by choice and by number: the fastest replay, and the strictest.
#[derive(Clone, Debug)]
pub(crate) struct TapeReplay {
    tape: Vec<Choice>,
    next: usize,
}

impl TapeReplay {
    pub(crate) fn new(tape: &[Choice]) -> Self {
        Self { tape: tape.to_vec(), next: 0 }
    }

    fn next(&mut self) -> Option<Choice> {
        let choice = self.tape.get(self.next).copied();
        self.next += 1;
        choice
    }

    fn not_reproducible(&self, expected: Choice, found: String) -> NotReproducible {
        NotReproducible { step: self.next, expected: format!("{expected:?}"), found }
    }
}

impl Strategy for TapeReplay {
    fn begin(&mut self, _seed: u64) {
        self.next = 0;
    }

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        match self.next() {
            None => Ok(None),
            Some(Choice::Event { pick, arity })
                if arity == enabled.total() && enabled.contains(pick) =>
            {
                Ok(Some(pick))
            }
            Some(choice) => {
                let found = format!("{} events are enabled", enabled.total());
                Err(self.not_reproducible(choice, found))
            }
        }
    }

    fn choose(&mut self, among: usize, wanted: &str) -> Result<usize, NotReproducible> {
        match self.next() {
            Some(Choice::Value { label, value, arity }) if arity == among && label == wanted => {
                Ok(value)
            }
            Some(choice) => {
                Err(self.not_reproducible(choice, format!("{wanted} is chosen from {among}")))
            }
            None => Err(NotReproducible {
                step: self.next,
                expected: "(the end)".to_owned(),
                found: format!("{wanted} is chosen from {among}"),
            }),
        }
    }

    fn describe(&self) -> String {
        "tape-replay".to_owned()
    }
}

/// Does exactly what the lines say.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    lines: Vec<Line>,
    next: usize,
    step: usize,
}

impl Replay {
    pub(crate) fn new(lines: &[Line]) -> Self {
        Self { lines: lines.to_vec(), next: 0, step: 0 }
    }

    fn not_reproducible(&self, expected: &str, found: impl Into<String>) -> NotReproducible {
        NotReproducible { step: self.step, expected: expected.to_owned(), found: found.into() }
    }
}

impl Strategy for Replay {
    fn begin(&mut self, _seed: u64) {
        (self.next, self.step) = (0, 0);
    }

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        self.step += 1;
        let Some(line) = self.lines.get(self.next) else { return Ok(None) };
        self.next += 1;
        let Line::Event(name) = line else {
            return Err(self.not_reproducible(&line.to_string(), "an event comes next"));
        };
        match enabled.find(name) {
            Some(pick) => Ok(Some(pick)),
            None => Err(self.not_reproducible(name, "that cannot happen here")),
        }
    }

    fn choose(&mut self, arity: usize, label: &str) -> Result<usize, NotReproducible> {
        let found = || format!("{label} is to be chosen from {arity}");
        let Some(line) = self.lines.get(self.next) else {
            return Err(self.not_reproducible("(the end)", found()));
        };
        self.next += 1;
        match line {
            Line::Choose { label: expected, value, arity: among }
                if expected == label && *among == arity =>
            {
                Ok(*value)
            }
            Line::Choose { .. } | Line::Event(_) => {
                Err(self.not_reproducible(&line.to_string(), found()))
            }
        }
    }

    fn describe(&self) -> String {
        "replay".to_owned()
    }
}

/// Does what the lines say as far as it is possible, and skips the rest: what shrinking needs, when
/// some events of a recorded run are taken out.
#[derive(Clone, Debug)]
pub(crate) struct TolerantReplay {
    lines: Vec<Line>,
    next: usize,
}

impl TolerantReplay {
    pub(crate) fn new(lines: Vec<Line>) -> Self {
        Self { lines, next: 0 }
    }
}

impl Strategy for TolerantReplay {
    fn begin(&mut self, _seed: u64) {
        self.next = 0;
    }

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        while let Some(line) = self.lines.get(self.next) {
            self.next += 1;
            let Line::Event(name) = line else { continue };
            if let Some(pick) = enabled.find_like(name) {
                return Ok(Some(pick));
            }
        }
        Ok(None)
    }

    fn choose(&mut self, arity: usize, label: &str) -> Result<usize, NotReproducible> {
        match self.lines.get(self.next) {
            Some(Line::Choose { label: recorded, value, .. }) if recorded == label => {
                self.next += 1;
                Ok((*value).min(arity - 1))
            }
            Some(_) | None => Ok(0),
        }
    }

    fn describe(&self) -> String {
        "tolerant-replay".to_owned()
    }
}
