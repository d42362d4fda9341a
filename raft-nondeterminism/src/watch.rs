//! What is noticed while a run goes on: the first broken property, the fingerprint, and what a reader of
//! the trace wants to know.
//!
//! Guarantees: watching changes nothing, so a run with a trace goes as the same run without one.

use std::fmt;

use crate::coverage::Coverage;
use crate::event::EventClass;
use crate::fingerprint::Fingerprint;
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

impl Watch {
    pub(crate) fn new(is_recording: bool) -> Self {
        let notes = is_recording.then(Box::default);
        Self { violation: None, notes, fingerprint: Fingerprint::default(), coverage: None }
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

    /// Where to write down what was met, if somebody will ask.
    pub fn coverage(&mut self) -> Option<&mut Coverage> {
        self.coverage.as_mut()
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
