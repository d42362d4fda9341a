//! Coverage as JSON: to be kept, read back and merged.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Coverage, CoveragePlan, Meeting, NodeKind, learned};

/// The version of the format that this build reads and writes.
pub const COVERAGE_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    version: u32,
    /// More names may turn up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    open: bool,
    kinds: Vec<KindData>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KindData {
    name: String,
    states: Vec<String>,
    events: Vec<String>,
    /// The events that are known to be sent only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    only_sent: Vec<usize>,
    /// What is not listed is neither declared nor was it met.
    cells: Vec<CellData>,
    moves: Vec<MoveData>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CellData {
    state: usize,
    event: usize,
    declared: bool,
    handled: u64,
    ignored: u64,
    sent: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveData {
    from: usize,
    to: usize,
    count: u64,
}

impl Coverage {
    /// As text that [`Coverage::from_json`] reads.
    ///
    /// # Panics
    ///
    /// Never: everything in it has a place in JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let kinds = (0..self.plan.kinds.len()).map(|kind| self.kind_data(kind)).collect();
        let data = Data { version: COVERAGE_VERSION, open: self.plan.is_open, kinds };
        serde_json::to_string(&data).expect("text and numbers have a place in JSON")
    }

    fn kind_data(&self, kind: usize) -> KindData {
        let NodeKind { name, states, events, is_only_sent, .. } = &self.plan.kinds[kind];
        let pairs =
            (0..states.len()).flat_map(|state| (0..events.len()).map(move |it| (state, it)));
        let cell = |(state, event)| {
            let count = |meeting| self.count(kind, state, event, meeting);
            let (handled, ignored) = (count(Meeting::Handled), count(Meeting::Ignored));
            let (sent, declared) = (count(Meeting::Sent), self.is_declared(kind, state, event));
            CellData { state, event, declared, handled, ignored, sent }
        };
        let is_something = |it: &CellData| it.declared || it.handled + it.ignored + it.sent > 0;
        let ways = (0..states.len()).flat_map(|from| (0..states.len()).map(move |to| (from, to)));
        let way = |(from, to)| MoveData { from, to, count: self.move_count(kind, from, to) };
        KindData {
            name: name.clone(),
            states: states.clone(),
            events: events.clone(),
            only_sent: (0..events.len()).filter(|&event| is_only_sent[event]).collect(),
            cells: pairs.map(cell).filter(is_something).collect(),
            moves: ways.map(way).filter(|it| it.count > 0).collect(),
        }
    }

    /// Reads what [`Coverage::to_json`] wrote.
    ///
    /// # Errors
    ///
    /// If the text is cut off, no coverage, or one of another version.
    pub fn from_json(text: &str) -> Result<Self, CoverageError> {
        #[derive(Deserialize)]
        struct Header {
            version: u32,
        }
        let Header { version } = serde_json::from_str(text)?;
        if version != COVERAGE_VERSION {
            return Err(CoverageError::Version { found: version });
        }
        let data: Data = serde_json::from_str(text)?;
        let kinds = data.kinds.iter().map(KindData::kind).collect::<Result<Vec<_>, _>>()?;
        let mut coverage = Self::new(Arc::new(CoveragePlan::new(kinds.clone())));
        for (kind, data) in data.kinds.iter().enumerate() {
            for it in &data.cells {
                let counts = [
                    (Meeting::Handled, it.handled),
                    (Meeting::Ignored, it.ignored),
                    (Meeting::Sent, it.sent),
                ];
                for (meeting, count) in counts {
                    let place = coverage.cell(kind, it.state, it.event, meeting);
                    coverage.counts[place] = count;
                }
            }
            for it in &data.moves {
                let place = coverage.moves_cell(kind, it.from, it.to);
                coverage.counts[place] = it.count;
            }
        }
        if data.open {
            // Whoever edited the file need not know in which order its names are.
            let read = coverage;
            coverage = Self::new(Arc::new(CoveragePlan::open(kinds)));
            coverage.add(&read);
        }
        Ok(coverage)
    }
}

impl KindData {
    fn kind(&self) -> Result<NodeKind, CoverageError> {
        let (states, events) = (self.states.len(), self.events.len());
        let mut is_declared = vec![false; states * events];
        for it in &self.cells {
            if it.state >= states || it.event >= events {
                return Err(CoverageError::NoSuchPlace { kind: self.name.clone() });
            }
            is_declared[it.state * events + it.event] = it.declared;
        }
        let mut is_only_sent = vec![false; events];
        for &event in &self.only_sent {
            let is_sent = is_only_sent.get_mut(event);
            *is_sent.ok_or_else(|| CoverageError::NoSuchPlace { kind: self.name.clone() })? = true;
            // Nobody has said where it cannot be received.
            for (state, name) in self.states.iter().enumerate() {
                is_declared[state * events + event] = learned::belongs(name, &self.events[event]);
            }
        }
        if self.moves.iter().any(|it| it.from >= states || it.to >= states) {
            return Err(CoverageError::NoSuchPlace { kind: self.name.clone() });
        }
        Ok(NodeKind {
            name: self.name.clone(),
            states: self.states.clone(),
            events: self.events.clone(),
            is_declared,
            is_only_sent,
        })
    }
}

/// Why coverage cannot be read or merged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoverageError {
    /// It is cut off, or something else.
    #[error("not a coverage file")]
    NotCoverage(#[from] serde_json::Error),
    /// It was written by another version.
    #[error("the coverage has version {found}, this build reads version {COVERAGE_VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// It speaks of a state or an event that it does not name.
    #[error("the coverage of {kind} speaks of a state or an event that it does not name")]
    NoSuchPlace {
        /// Of which kind.
        kind: String,
    },
    /// Two coverages of different systems, or of different versions of one.
    #[error("the two coverages are of different states and events")]
    OtherPlan,
}
