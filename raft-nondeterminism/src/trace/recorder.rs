//! Fills a trace while a run goes on.
//!
//! Guarantees: what is not different is not written down; a message in flight has one id for life, and a
//!             lane has one state at a time.
//! Relies on:  whoever carries the messages keeping the id of each one for the recorder.

use super::{
    Carried, Fate, Lane, LaneChange, LaneState, Message, MessageId, Step, TRACE_VERSION, Trace,
};
use crate::violation::Violation;

/// A trace that grows with its run.
#[derive(Clone, Debug)]
pub struct TraceRecorder {
    trace: Trace,
    /// How each lane is now.
    states: Vec<LaneState>,
}

impl Default for TraceRecorder {
    fn default() -> Self {
        Self::new()
    }
}

impl TraceRecorder {
    /// A run before its first step. Whoever records it fills in where it comes from.
    #[must_use]
    pub fn new() -> Self {
        let trace = Trace {
            version: TRACE_VERSION,
            title: String::new(),
            model: String::new(),
            strategy: String::new(),
            seed: 0,
            iteration: 0,
            defect: None,
            roles: Vec::new(),
            lanes: Vec::new(),
            sent: Vec::new(),
            notes: Vec::new(),
            steps: Vec::new(),
            violation: None,
            matters: None,
            replay: String::new(),
        };
        Self { trace, states: Vec::new() }
    }

    /// The next step begins: everything from here on is because of it.
    pub fn begin(&mut self, class: &str, name: &str, lane: Option<usize>) {
        let number = self.trace.steps.len() + 1;
        self.trace.steps.push(Step {
            number,
            class: class.to_owned(),
            name: name.to_owned(),
            lane: lane.filter(|&lane| lane < self.states.len()),
            carried: None,
            sent: Vec::new(),
            notes: Vec::new(),
            changes: Vec::new(),
        });
    }

    /// A message goes on its way. Its id is higher than that of every message before it.
    pub fn sent(&mut self, message: Message) {
        match self.trace.steps.last_mut() {
            Some(step) => step.sent.push(message),
            None => self.trace.sent.push(message),
        }
    }

    /// The network makes a twin of a message in flight.
    ///
    /// # Panics
    ///
    /// If there is no such message.
    pub fn doubled(&mut self, message: MessageId, twin: MessageId) {
        self.carried(message, Fate::Doubled);
        let in_steps = self.trace.steps.iter().flat_map(|step| &step.sent);
        let mut all = self.trace.sent.iter().chain(in_steps);
        let original = all.find(|it| it.id == message).expect("what gets a twin was sent").clone();
        self.sent(Message { id: twin, twin_of: Some(message), ..original });
    }

    /// The step does this to a message in flight.
    pub fn carried(&mut self, message: MessageId, fate: Fate) {
        if let Some(step) = self.trace.steps.last_mut() {
            step.carried = Some(Carried { message, fate });
        }
    }

    /// Something that happened, in the one notation.
    pub fn note(&mut self, note: impl Into<String>) {
        let notes = match self.trace.steps.last_mut() {
            Some(step) => &mut step.notes,
            None => &mut self.trace.notes,
        };
        notes.push(note.into());
    }

    /// How all lanes are now. The first time, it is how they start; then only what has changed is
    /// written down.
    pub fn observe(&mut self, lanes: Vec<Lane>) {
        if self.states.is_empty() {
            self.states = lanes.iter().map(|lane| lane.start.clone()).collect();
            self.trace.lanes = lanes;
            return;
        }
        for (place, lane) in lanes.into_iter().enumerate().take(self.states.len()) {
            self.state(place, lane.start);
        }
    }

    /// How a lane is now, after the step.
    ///
    /// # Panics
    ///
    /// If there is no such lane, or no step.
    pub fn state(&mut self, lane: usize, state: LaneState) {
        if self.states[lane] == state {
            return;
        }
        self.states[lane].clone_from(&state);
        let step = self.trace.steps.last_mut().expect("something changes by steps alone");
        match step.changes.iter_mut().find(|change| change.lane == lane) {
            Some(change) => change.state = state,
            None => step.changes.push(LaneChange { lane, state }),
        }
    }

    /// The run is over.
    #[must_use]
    pub fn finish(mut self, violation: Option<Violation>) -> Trace {
        self.trace.violation = violation;
        self.trace
    }
}
