//! Fills a trace while a run goes on.
//!
//! Guarantees: what is not different is not written down; a message in flight has one id for life, and a
//!             lane has one state at a time.
//! Relies on:  whoever carries the messages keeping the id of each one for the recorder.

use super::{
    BrokenProperty, Carried, Fate, Lane, LaneChange, LaneState, Message, MessageId, Step,
    TRACE_VERSION, Trace,
};

/// A trace that grows with its run.
#[derive(Clone, Debug)]
pub struct TraceRecorder {
    trace: Trace,
    /// How each lane is now.
    states: Vec<LaneState>,
    last_message: MessageId,
}

impl TraceRecorder {
    /// A run of these lanes, before its first step. Whoever records it fills in where it comes from.
    #[must_use]
    pub fn new(lanes: Vec<Lane>) -> Self {
        let states = lanes.iter().map(|lane| lane.start.clone()).collect();
        let trace = Trace {
            version: TRACE_VERSION,
            title: String::new(),
            model: String::new(),
            strategy: String::new(),
            seed: 0,
            iteration: 0,
            defect: None,
            roles: Vec::new(),
            lanes,
            sent: Vec::new(),
            notes: Vec::new(),
            steps: Vec::new(),
            violation: None,
            matters: None,
            replay: String::new(),
        };
        Self { trace, states, last_message: MessageId(0) }
    }

    /// The next step begins: everything from here on is because of it.
    pub fn begin(&mut self, class: &str, name: &str, lane: Option<usize>) {
        let number = self.trace.steps.len() + 1;
        self.trace.steps.push(Step {
            number,
            class: class.to_owned(),
            name: name.to_owned(),
            lane,
            carried: None,
            sent: Vec::new(),
            notes: Vec::new(),
            changes: Vec::new(),
        });
    }

    /// A message goes on its way: the id it has from now on.
    pub fn sent(&mut self, from: usize, to: usize, label: String, term: Option<u64>) -> MessageId {
        self.put_in_flight(from, to, label, term, None)
    }

    /// The network makes a twin of a message in flight: the twin's id.
    ///
    /// # Panics
    ///
    /// If there is no such message.
    pub fn doubled(&mut self, message: MessageId) -> MessageId {
        self.carried(message, Fate::Doubled);
        let in_steps = self.trace.steps.iter().flat_map(|step| &step.sent);
        let mut all = self.trace.sent.iter().chain(in_steps);
        let original = all.find(|it| it.id == message).expect("what gets a twin was sent").clone();
        let Message { from, to, label, term, .. } = original;
        self.put_in_flight(from, to, label, term, Some(message))
    }

    fn put_in_flight(
        &mut self,
        from: usize,
        to: usize,
        label: String,
        term: Option<u64>,
        twin_of: Option<MessageId>,
    ) -> MessageId {
        let id = MessageId(self.last_message.0 + 1);
        self.last_message = id;
        let message = Message { id, from, to, label, term, twin_of };
        match self.trace.steps.last_mut() {
            Some(step) => step.sent.push(message),
            None => self.trace.sent.push(message),
        }
        id
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

    /// How a lane is now. Before the first step, it is how it starts; and if nothing has changed,
    /// nothing is written down.
    ///
    /// # Panics
    ///
    /// If there is no such lane.
    pub fn state(&mut self, lane: usize, state: LaneState) {
        if self.states[lane] == state {
            return;
        }
        self.states[lane].clone_from(&state);
        let Some(step) = self.trace.steps.last_mut() else {
            self.trace.lanes[lane].start = state;
            return;
        };
        match step.changes.iter_mut().find(|change| change.lane == lane) {
            Some(change) => change.state = state,
            None => step.changes.push(LaneChange { lane, state }),
        }
    }

    /// How many lanes there are.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.states.len()
    }

    /// The run is over.
    #[must_use]
    pub fn finish(mut self, violation: Option<BrokenProperty>) -> Trace {
        self.trace.violation = violation;
        self.trace
    }
}
