//! One run as data: who took part, what happened, who said what to whom, and what became of it.
//!
//! Guarantees: a trace that [`Trace::from_json`] accepts is whole: steps are numbered from 1 without a
//!             gap, lanes exist, and a message is sent once and has at most one fate.
//! Relies on:  whoever records it using the one notation in labels, notes and summaries. Nothing here
//!             knows a protocol: roles, terms and details are words and numbers that any node can give.
//! Elsewhere:  how a running world fills a trace is in `trace/recorder.rs`, what people see of it in
//!             [`crate::report`].

mod matching;
mod recorder;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::violation::Violation;

pub use recorder::TraceRecorder;

/// The version of the format that this build reads and writes.
pub const TRACE_VERSION: u32 = 1;

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The format, [`TRACE_VERSION`].
    pub version: u32,
    /// What people call the run.
    pub title: String,
    /// What was explored: a scenario, or a state machine of one's own.
    pub model: String,
    /// The strategy that chose.
    pub strategy: String,
    /// The seed of the exploration.
    pub seed: u64,
    /// The iteration of the exploration.
    pub iteration: u64,
    /// The planted bug that was switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defect: Option<String>,
    /// The roles there are, in the order in which people list them. Others may turn up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Who takes part.
    pub lanes: Vec<Lane>,
    /// What is in flight before the first step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<Message>,
    /// What was chosen or happened before the first step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// What the run broke, with its last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violation: Option<Violation>,
    /// The numbers of the steps that are needed to break it, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matters: Option<BTreeSet<usize>>,
    /// The schedule of the run, which replays it, if it has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub schedule: String,
    /// How to see the run again.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub replay: String,
}

/// Who takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    /// `s1`.
    pub name: String,
    /// `server`, `client`, or whatever there is.
    pub kind: String,
    /// How it starts.
    pub start: LaneState,
}

/// What is known of one participant after a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneState {
    /// What it takes itself for: `follower`.
    pub role: String,
    /// The term, epoch, view or ballot it is in, if it has such a thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// False while it has crashed.
    pub is_up: bool,
    /// The rest in a line: `log 1@1 2@1 | commit 1`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// Its log, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LaneLog>,
    /// Whatever else there is to know, in the order in which it is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
}

/// A log, to be compared with the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneLog {
    /// The place of the first of `entries`: 1, unless those before it were compacted.
    pub start: u64,
    /// The entries without a gap: `1@1`.
    pub entries: Vec<String>,
    /// The last place that is known to be committed; 0 for none.
    pub committed: u64,
}

/// One thing to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detail {
    /// `voted_for`.
    pub key: String,
    /// `s3`.
    pub value: String,
}

/// Tells a message from every other of its run, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub u64);

/// A message from one lane to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Which.
    pub id: MessageId,
    /// The sender's place among the lanes.
    pub from: usize,
    /// The receiver's place among the lanes.
    pub to: usize,
    /// What is said, its name first: `VoteRequest last=1@1`.
    pub label: String,
    /// The term it speaks of, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// The message of which the network made this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin_of: Option<MessageId>,
}

impl Message {
    /// What kind of message it is: `VoteRequest`.
    #[must_use]
    pub fn name(&self) -> &str {
        first_word(&self.label)
    }
}

/// One event, carried out to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its number, from 1.
    pub number: usize,
    /// The class of the event: `deliver`.
    pub class: String,
    /// What a schedule calls it: `deliver s1@1 → s3 VoteRequest last=0@0`.
    pub name: String,
    /// The place of the lane it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<usize>,
    /// What becomes of which message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<Carried>,
    /// The messages that are in flight because of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<Message>,
    /// What it caused, in the one notation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The lanes that are not as they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<LaneChange>,
}

/// What a step does to a message in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carried {
    /// Which message.
    pub message: MessageId,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It arrives.
    Delivered,
    /// It is lost.
    Lost,
    /// It gets a twin, and stays in flight.
    Doubled,
}

/// What a lane is after a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneChange {
    /// The lane's place.
    pub lane: usize,
    /// What is known of it from here on.
    pub state: LaneState,
}

/// A message with what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight<'a> {
    /// The message.
    pub message: &'a Message,
    /// The number of the step that sent it; 0 if it was there before the first one.
    pub sent_at: usize,
    /// The number of the step that delivered or lost it, and whether it arrived; `None` if it is in
    /// flight to the end.
    pub end: Option<(usize, Fate)>,
}

impl Trace {
    /// Every message with what became of it, in the order in which they were sent.
    #[must_use]
    pub fn flights(&self) -> Vec<Flight<'_>> {
        let in_steps =
            self.steps.iter().flat_map(|step| step.sent.iter().map(|it| (step.number, it)));
        let all = self.sent.iter().map(|message| (0, message)).chain(in_steps);
        let mut flights: Vec<_> =
            all.map(|(sent_at, message)| Flight { message, sent_at, end: None }).collect();
        // Ids are given in the order of sending, so they are sorted.
        for step in &self.steps {
            let Some(Carried { message, fate }) = step.carried else { continue };
            if fate != Fate::Doubled
                && let Ok(place) = flights.binary_search_by_key(&message, |it| it.message.id)
            {
                flights[place].end = Some((step.number, fate));
            }
        }
        flights
    }

    /// How a lane is after a step, or at the start, which is step 0.
    ///
    /// # Panics
    ///
    /// If there is no such lane.
    #[must_use]
    pub fn state_after(&self, lane: usize, step: usize) -> &LaneState {
        let steps = self.steps[..step.min(self.steps.len())].iter().rev();
        let mut changes = steps.flat_map(|step| &step.changes);
        let change = changes.find(|change| change.lane == lane);
        change.map_or(&self.lanes[lane].start, |change| &change.state)
    }

    /// How a lane is before a step.
    ///
    /// # Panics
    ///
    /// If there is no such lane.
    #[must_use]
    pub fn state_before(&self, lane: usize, step: usize) -> &LaneState {
        self.state_after(lane, step.saturating_sub(1))
    }

    /// The roles, declared ones first and each once.
    #[must_use]
    pub fn all_roles(&self) -> Vec<&str> {
        let starts = self.lanes.iter().map(|lane| &lane.start);
        let changes = self.steps.iter().flat_map(|step| &step.changes).map(|change| &change.state);
        let used = starts.chain(changes).map(|state| &state.role);
        let mut roles: Vec<&str> = Vec::new();
        for role in self.roles.iter().chain(used).filter(|role| !role.is_empty()) {
            if !roles.contains(&role.as_str()) {
                roles.push(role);
            }
        }
        roles
    }

    /// True if it is known that the step is needed.
    #[must_use]
    pub fn does_matter(&self, number: usize) -> bool {
        self.matters.as_ref().is_some_and(|numbers| numbers.contains(&number))
    }

    /// The same run, all of whose steps are needed: what shrinking leaves.
    #[must_use]
    pub fn all_matter(mut self) -> Self {
        self.matters = Some(self.steps.iter().map(|step| step.number).collect());
        self
    }

    /// The same run, of which those steps are needed that another one of them has kept.
    #[must_use]
    pub fn matter_as_in(mut self, shrunk: &Self) -> Self {
        self.matters = Some(matching::kept(&self.steps, &shrunk.steps));
        self
    }

    /// As text that [`Trace::from_json`] reads.
    ///
    /// # Panics
    ///
    /// Never: everything in a trace has a place in JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text and numbers have a place in JSON")
    }

    /// Reads what [`Trace::to_json`] wrote, also after an editor that begins files with a byte order mark.
    ///
    /// # Errors
    ///
    /// If the text is cut off, no trace, or one of another version, or if it contradicts itself.
    pub fn from_json(text: &str) -> Result<Self, TraceError> {
        #[derive(Deserialize)]
        struct Header {
            version: u32,
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let Header { version } = serde_json::from_str(text).map_err(TraceError::from_serde)?;
        if version != TRACE_VERSION {
            return Err(TraceError::Version { found: version });
        }
        let trace: Self = serde_json::from_str(text).map_err(TraceError::from_serde)?;
        trace.check()?;
        Ok(trace)
    }

    /// Says whether the trace is whole.
    ///
    /// # Errors
    ///
    /// If it contradicts itself: the first place where it does.
    pub fn check(&self) -> Result<(), TraceError> {
        let mut ids = Ids::default();
        self.sent.iter().try_for_each(|message| self.check_message(0, message, &mut ids))?;
        for (place, step) in self.steps.iter().enumerate() {
            let number = step.number;
            if number != place + 1 {
                return Err(TraceError::Number { expected: place + 1, found: number });
            }
            let changed = step.changes.iter().map(|change| change.lane);
            for lane in step.lane.into_iter().chain(changed) {
                self.check_lane(number, lane)?;
            }
            if let Some(Carried { message, fate }) = step.carried {
                let is_there = match fate {
                    Fate::Doubled => ids.in_flight.contains(&message),
                    Fate::Delivered | Fate::Lost => ids.in_flight.remove(&message),
                };
                if !is_there {
                    return Err(TraceError::NotInFlight { step: number, message });
                }
            }
            step.sent
                .iter()
                .try_for_each(|message| self.check_message(number, message, &mut ids))?;
        }
        let numbers = self.matters.iter().flatten();
        match numbers.copied().find(|number| !(1..=self.steps.len()).contains(number)) {
            Some(number) => Err(TraceError::NoSuchStep { number }),
            None => Ok(()),
        }
    }

    fn check_message(&self, step: usize, sent: &Message, ids: &mut Ids) -> Result<(), TraceError> {
        self.check_lane(step, sent.from)?;
        self.check_lane(step, sent.to)?;
        if ids.last.is_some_and(|last| sent.id <= last) {
            return Err(TraceError::SentTwice { step, message: sent.id });
        }
        ids.last = Some(sent.id);
        ids.in_flight.insert(sent.id);
        Ok(())
    }

    fn check_lane(&self, step: usize, lane: usize) -> Result<(), TraceError> {
        if lane < self.lanes.len() { Ok(()) } else { Err(TraceError::NoSuchLane { step, lane }) }
    }
}

/// The messages that have turned up.
#[derive(Default)]
struct Ids {
    last: Option<MessageId>,
    in_flight: BTreeSet<MessageId>,
}

pub(crate) fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

/// Why a text is no trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// It ends too early.
    #[error("the trace is cut off after line {line}, column {column}")]
    Cut {
        /// Its last line, from 1.
        line: usize,
        /// The end of that line.
        column: usize,
    },
    /// It is something else, or was edited.
    #[error("not a trace")]
    NotATrace(#[source] serde_json::Error),
    /// It was written by another version.
    #[error("the trace has version {found}, this build reads version {TRACE_VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// Steps are missing, or were added.
    #[error("step {expected} is missing: the next one is {found}")]
    Number {
        /// The number that should come next.
        expected: usize,
        /// The one that does.
        found: usize,
    },
    /// A step speaks of a lane that nobody has.
    #[error("step {step} is about lane {lane}, which does not exist")]
    NoSuchLane {
        /// The step; 0 for what was there before the first one.
        step: usize,
        /// The lane's place.
        lane: usize,
    },
    /// Two messages have one id, or the ids go down.
    #[error("step {step} sends message {}, which is not a new one", message.0)]
    SentTwice {
        /// The step; 0 for what was there before the first one.
        step: usize,
        /// Which message.
        message: MessageId,
    },
    /// A message arrives that was never sent, or has arrived.
    #[error("step {step} needs message {}, which is not in flight", message.0)]
    NotInFlight {
        /// The step.
        step: usize,
        /// Which message.
        message: MessageId,
    },
    /// A step that matters is not there.
    #[error("step {number} is said to matter, but it does not exist")]
    NoSuchStep {
        /// Its number.
        number: usize,
    },
}

impl TraceError {
    fn from_serde(error: serde_json::Error) -> Self {
        if error.is_eof() {
            Self::Cut { line: error.line(), column: error.column() }
        } else {
            Self::NotATrace(error)
        }
    }
}

#[cfg(test)]
pub(crate) mod example;
#[cfg(test)]
mod tests;
