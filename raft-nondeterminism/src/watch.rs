//! What is noticed while a run goes on: the first broken property, the fingerprint, and what a reader of
//! the trace wants to know.
//!
//! Guarantees: watching changes nothing, so a run with a trace goes as the same run without one.

use std::fmt;
use std::sync::Arc;

use crate::coverage::{Coverage, NameError};
use crate::event::EventClass;
use crate::fingerprint::Fingerprint;
use crate::sleep::Publicity;
use crate::trace::{Lane, Message, MessageId, Trace, TraceRecorder};
use crate::violation::Violation;

/// The notes of one run.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The first property that was broken.
    pub(crate) violation: Option<Violation>,
    /// What happened, if somebody will read it.
    notes: Option<Box<Notes>>,
    pub(crate) fingerprint: Fingerprint,
    /// What was met, if somebody will ask.
    pub(crate) coverage: Option<Coverage>,
    /// The first name that was met and cannot stand there.
    pub(crate) bad_name: Option<NameError>,
    /// What monitors were told.
    publicity: Publicity,
    /// Who is at work, and to be named if it panics.
    culprit: Culprit,
}

/// What happened, as text and as data.
#[derive(Clone, Debug, Default)]
struct Notes {
    text: String,
    recorder: TraceRecorder,
}

impl Notes {
    fn write(&mut self, line: fmt::Arguments<'_>) {
        fmt::Write::write_fmt(&mut self.text, line).expect("a string takes every line");
        self.text.push('\n');
    }
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
pub(crate) const NO_PANIC: &str = "no-panic";
/// The property that a panic of a monitor breaks: it says nothing about the system under test.
pub(crate) const MONITOR_PANIC: &str = "monitor-panic";

impl Watch {
    pub(crate) fn new(is_recording: bool) -> Self {
        let notes = is_recording.then(Box::default);
        let (fingerprint, culprit) = (Fingerprint::default(), Culprit::Nobody);
        Self {
            violation: None,
            notes,
            fingerprint,
            coverage: None,
            bad_name: None,
            publicity: Publicity::Private,
            culprit,
        }
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

    /// Says that monitors hear of what happens now.
    pub fn publish(&mut self, publicity: Publicity) {
        self.publicity = self.publicity.max(publicity);
    }

    pub(crate) fn publicity(&self) -> Publicity {
        self.publicity
    }

    /// Takes a number that says what an event has done into the fingerprint of the run.
    pub fn mix(&mut self, number: u64) {
        self.fingerprint.mix(number);
    }

    /// Where to write down what was met, if somebody will ask.
    pub fn coverage(&mut self) -> Option<&mut Coverage> {
        self.coverage.as_mut()
    }

    /// Says whether a name that was met can stand in coverage.
    pub(crate) fn check_name(&mut self, checked: Result<(), NameError>) {
        if self.bad_name.is_none() {
            self.bad_name = checked.err();
        }
    }

    /// True if somebody will read the trace.
    #[must_use]
    pub fn is_tracing(&self) -> bool {
        self.notes.is_some()
    }

    /// Adds a line to the trace: what the event has caused, in the one notation.
    pub fn line(&mut self, line: fmt::Arguments<'_>) {
        if let Some(notes) = &mut self.notes {
            let start = notes.text.len();
            notes.write(line);
            let note = notes.text[start..].trim().to_owned();
            notes.recorder.note(note);
        }
    }

    /// An event of the schedule begins.
    pub(crate) fn begin(&mut self, number: usize, class: EventClass, name: &str, place: usize) {
        if let Some(notes) = &mut self.notes {
            notes.write(format_args!("{number:5}  {name}"));
            notes.recorder.begin(class.name(), name, Some(place));
        }
    }

    /// An event begins that no schedule names, because nobody chose it.
    pub fn begin_unchosen(&mut self, class: EventClass, name: &str, place: usize) {
        if let Some(notes) = &mut self.notes {
            notes.write(format_args!("    +  {name}"));
            notes.recorder.begin(class.name(), name, Some(place));
        }
    }

    /// A message goes on its way between two places. Its number is higher than that of every message
    /// before it, and `message` is printed as its name first: `VoteRequest last=1@1`.
    pub fn sent(
        &mut self,
        number: u64,
        (from, to): (usize, usize),
        message: &dyn fmt::Display,
        term: Option<u64>,
    ) {
        if let Some(notes) = &mut self.notes {
            let (id, label) = (MessageId(number), message.to_string());
            notes.recorder.sent(Message { id, from, to, label, term, twin_of: None });
        }
    }

    /// The message with this number arrives.
    pub fn delivered(&mut self, number: u64) {
        if let Some(notes) = &mut self.notes {
            notes.recorder.taken(MessageId(number), false);
        }
    }

    /// The message with this number is lost.
    pub fn lost(&mut self, number: u64) {
        if let Some(notes) = &mut self.notes {
            notes.recorder.taken(MessageId(number), true);
        }
    }

    /// The message with this number gets a twin.
    pub fn doubled(&mut self, number: u64, twin: u64) {
        if let Some(notes) = &mut self.notes {
            notes.recorder.doubled(MessageId(number), MessageId(twin));
        }
    }

    /// How everyone is now, if somebody will read it.
    pub fn observe(&mut self, lanes: impl FnOnce() -> Vec<Lane>) {
        if let Some(notes) = &mut self.notes {
            notes.recorder.observe(lanes());
        }
    }

    /// The trace as text and as data, with what it broke at its end.
    pub(crate) fn into_trace(self) -> Option<(String, Trace)> {
        let mut notes = self.notes?;
        if let Some(violation) = &self.violation {
            notes.write(format_args!("       violated: {violation}"));
        }
        Some((notes.text, notes.recorder.finish(self.violation)))
    }
}
