//! What is noticed while a run goes on: the first broken property, the fingerprint, and what a reader of
//! the trace wants to know.
//!
//! Guarantees: watching changes nothing, so a run with a trace goes as the same run without one.

use std::fmt;
use std::sync::Arc;

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
    /// Who is at work, and to be named if it panics.
    culprit: Culprit,
}

/// Whose code is running.
#[derive(Clone, Debug, Default)]
enum Culprit {
    #[default]
    Nobody,
    Node(Arc<str>),
    Monitor(&'static str),
}

/// The property that a panic of the system under test breaks.
const NO_PANIC: &str = "no-panic";
/// The property that a panic of a monitor breaks: it says nothing about the system under test.
const MONITOR_PANIC: &str = "monitor-panic";

impl Watch {
    pub(crate) fn new(is_recording: bool) -> Self {
        let trace = is_recording.then(String::new);
        let (fingerprint, culprit) = (Fingerprint::default(), Culprit::Nobody);
        Self { violation: None, trace, fingerprint, culprit }
    }

    /// Says that a node's code runs from here on.
    pub(crate) fn enter_node(&mut self, name: &Arc<str>) {
        self.culprit = Culprit::Node(Arc::clone(name));
    }

    /// Says that a monitor's code runs from here on.
    pub(crate) fn enter_monitor(&mut self, property: &'static str) {
        self.culprit = Culprit::Monitor(property);
    }

    /// Says that nobody else's code runs from here on.
    pub(crate) fn leave(&mut self) {
        self.culprit = Culprit::Nobody;
    }

    /// Something panicked, and said this.
    pub(crate) fn panicked(&mut self, message: String) {
        match std::mem::take(&mut self.culprit) {
            Culprit::Nobody => self.break_property(NO_PANIC, message),
            Culprit::Node(name) => self.break_property(NO_PANIC, format!("{name}: {message}")),
            Culprit::Monitor(property) => {
                let message = format!("the monitor of {property} panicked: {message}");
                self.break_property(MONITOR_PANIC, message);
            }
        }
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
