//! Fills a trace while a run goes on.
//!
//! Guarantees: what is not different is not written down; a lane has one state at a time; and of equal
//!             messages in flight the first one comes first, whichever the network takes, so that two
//!             runs of one schedule have one trace.
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
    /// What is in flight, in the order of sending.
    in_flight: Vec<Message>,
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
            schedule: String::new(),
            lanes: Vec::new(),
            sent: Vec::new(),
            notes: Vec::new(),
            steps: Vec::new(),
            violation: None,
            matters: None,
            replay: String::new(),
        };
        Self { trace, states: Vec::new(), in_flight: Vec::new() }
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
        self.in_flight.push(message.clone());
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
        let place = self.first_like(message);
        let original = self.in_flight[place].clone();
        self.carry(original.id, Fate::Doubled);
        self.sent(Message { id: twin, twin_of: Some(original.id), ..original });
    }

    /// A message in flight arrives, or is lost.
    ///
    /// # Panics
    ///
    /// If there is no such message.
    pub fn taken(&mut self, message: MessageId, is_lost: bool) {
        let place = self.first_like(message);
        let Message { id, .. } = self.in_flight.remove(place);
        self.carry(id, if is_lost { Fate::Lost } else { Fate::Delivered });
    }

    /// The place of the first message in flight that says the same as this one. This one may be gone: what
    /// was taken first was recorded as the first one.
    fn first_like(&self, message: MessageId) -> usize {
        let says_same = |one: &Message, other: &Message| {
            (one.from, one.to, one.term) == (other.from, other.to, other.term)
                && one.label == other.label
        };
        let in_steps = self.trace.steps.iter().rev().flat_map(|step| &step.sent);
        let mut all = in_steps.chain(&self.trace.sent);
        let meant = all.find(|it| it.id == message).expect("what is taken was sent");
        let place = self.in_flight.iter().position(|it| says_same(it, meant));
        place.expect("as many are in flight as were sent and not taken")
    }

    fn carry(&mut self, message: MessageId, fate: Fate) {
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
