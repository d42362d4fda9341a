//! What is noticed while a run goes on: the first broken property, the fingerprint, and what a reader of
//! the trace wants to know.
//!
//! Guarantees: watching changes nothing, so a run with a trace goes as the same run without one.

use std::fmt;

use crate::fingerprint::Fingerprint;
use crate::violation::Violation;

/// The notes of one run.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The first property that was broken.
    pub(crate) violation: Option<Violation>,
    /// What happened as text, if somebody will read it.
    trace: Option<String>,
    pub(crate) fingerprint: Fingerprint,
}

impl Watch {
    pub(crate) fn new(is_recording: bool) -> Self {
        let trace = is_recording.then(String::new);
        Self { violation: None, trace, fingerprint: Fingerprint::default() }
    }

    /// Says that a property is broken. Only the first one counts: what follows may follow from it.
    pub fn break_property(&mut self, property: &str, message: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { property: property.to_owned(), message });
        }
    }

    /// True if a property is broken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.violation.is_some()
    }

    /// Takes a number that says what an event has done into the fingerprint of the run.
    pub fn mix(&mut self, number: u64) {
        self.fingerprint.mix(number);
    }

    /// True if somebody will read the trace.
    #[must_use]
    pub fn is_tracing(&self) -> bool {
        self.trace.is_some()
    }

    /// Adds a line to the trace.
    pub fn line(&mut self, line: fmt::Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            fmt::Write::write_fmt(trace, line).expect("a string takes every line");
            trace.push('\n');
        }
    }

    pub(crate) fn into_trace(self) -> Option<String> {
        self.trace
    }
}
