//! Which event was met in which state: what an exploration has tried, and what it has never tried.
//!
//! Guarantees: recording takes an addition to a number in an array; counts of several runs or workers add
//!             up to the same whatever their order.
//! Elsewhere:  as text, graph and page it is in `coverage/`; which abstract states there were, which
//!             guides strategies, is in `coverage_map.rs`.

mod data;
mod dgml;
mod html;
mod learned;
mod names;
mod text;

use std::sync::Arc;

pub use data::{COVERAGE_VERSION, CoverageError};
pub(crate) use learned::{CRASH, DOWN, RESTART};
pub use names::NameError;
pub(crate) use names::{
    REQUEST, TIMEOUT, check_kind, check_line, check_message, check_state, is_line,
};

/// What there is to cover: declared before anything runs, or learned as it is met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoveragePlan {
    kinds: Vec<NodeKind>,
    /// More may turn up; then all names are sorted.
    is_open: bool,
}

/// One kind of node: a server, a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeKind {
    name: String,
    states: Vec<String>,
    events: Vec<String>,
    /// For each state and each event, whether it should be received there at some time.
    is_declared: Vec<bool>,
    /// The events that such nodes only send, as far as is known: true for each.
    is_only_sent: Vec<bool>,
}

impl NodeKind {
    /// A kind with these states and events, every event to be received in every state.
    #[must_use]
    pub fn new(name: &str, states: &[&str], events: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let is_declared = vec![true; states.len() * events.len()];
        let is_only_sent = vec![false; events.len()];
        let (name, states, events) = (name.to_owned(), owned(states), owned(events));
        Self { name, states, events, is_declared, is_only_sent }
    }

    /// The same, but these events cannot be received in these states.
    ///
    /// # Panics
    ///
    /// If there is no such state or event, with its name.
    #[must_use]
    pub fn without(mut self, states: &[&str], events: &[&str]) -> Self {
        for state in states {
            for event in events {
                let place = |names: &[String], wanted: &str| {
                    let place = names.iter().position(|name| name == wanted);
                    place.unwrap_or_else(|| panic!("{} declares no {wanted:?}", self.name))
                };
                let cell = place(&self.states, state) * self.events.len();
                let cell = cell + place(&self.events, event);
                self.is_declared[cell] = false;
            }
        }
        self
    }

    /// The same, but in these states nothing but these events can be received.
    ///
    /// # Panics
    ///
    /// If there is no such state.
    #[must_use]
    pub fn only(self, states: &[&str], events: &[&str]) -> Self {
        let others: Vec<_> =
            self.events.iter().filter(|event| !events.contains(&event.as_str())).cloned().collect();
        let others: Vec<_> = others.iter().map(String::as_str).collect();
        self.without(states, &others)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of its states.
    #[must_use]
    pub fn states(&self) -> &[String] {
        &self.states
    }

    /// The names of its events.
    #[must_use]
    pub fn events(&self) -> &[String] {
        &self.events
    }

    fn cells(&self) -> usize {
        self.states.len() * self.events.len()
    }

    /// How many numbers are kept of it.
    fn counts(&self) -> usize {
        Meeting::COUNT * self.cells() + self.states.len() * self.states.len()
    }
}

impl CoveragePlan {
    /// What these kinds declare, and nothing else.
    #[must_use]
    pub fn new(kinds: Vec<NodeKind>) -> Self {
        Self { kinds, is_open: false }
    }

    /// The kinds, in the order of their places.
    #[must_use]
    pub fn kinds(&self) -> &[NodeKind] {
        &self.kinds
    }

    /// True if nothing is declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Every state of every kind, each once.
    #[must_use]
    pub fn states(&self) -> Vec<String> {
        let mut states: Vec<String> = Vec::new();
        for state in self.kinds.iter().flat_map(|kind| &kind.states) {
            if !states.contains(state) {
                states.push(state.clone());
            }
        }
        states
    }
}

/// How an event and a state meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// It was received, and something came of it.
    Handled,
    /// It was received and refused, or nothing came of it that can be seen from outside.
    Ignored,
    /// It was sent.
    Sent,
}

impl Meeting {
    const COUNT: usize = 3;
}

/// How often which event was met in which state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    plan: Arc<CoveragePlan>,
    /// For each kind: handled, ignored and sent events by state, and moves from state to state.
    counts: Vec<u64>,
    /// Where the numbers of each kind begin.
    starts: Vec<usize>,
}

impl Coverage {
    /// Nothing is covered yet.
    #[must_use]
    pub fn new(plan: Arc<CoveragePlan>) -> Self {
        let mut starts = Vec::with_capacity(plan.kinds.len());
        let mut total = 0;
        for kind in &plan.kinds {
            starts.push(total);
            total += kind.counts();
        }
        Self { plan, counts: vec![0; total], starts }
    }

    /// What there is to cover.
    #[must_use]
    pub fn plan(&self) -> &CoveragePlan {
        &self.plan
    }

    /// The same, to be shared with other runs.
    pub(crate) fn shared_plan(&self) -> &Arc<CoveragePlan> {
        &self.plan
    }

    /// A node of this kind meets an event while it is in this state. All three are places in the plan.
    ///
    /// # Panics
    ///
    /// If the plan has no such place.
    pub fn meet(&mut self, kind: usize, state: usize, event: usize, meeting: Meeting) {
        let place = self.cell(kind, state, event, meeting);
        self.counts[place] += 1;
    }

    /// A node of this kind goes from one state to another one.
    ///
    /// # Panics
    ///
    /// If the plan has no such place.
    pub fn moves(&mut self, kind: usize, from: usize, to: usize) {
        let place = self.moves_cell(kind, from, to);
        self.counts[place] += 1;
    }

    fn cell(&self, kind: usize, state: usize, event: usize, meeting: Meeting) -> usize {
        let declared = &self.plan.kinds[kind];
        assert!(state < declared.states.len() && event < declared.events.len(), "it is declared");
        let table = self.starts[kind] + meeting as usize * declared.cells();
        table + state * declared.events.len() + event
    }

    fn moves_cell(&self, kind: usize, from: usize, to: usize) -> usize {
        let declared = &self.plan.kinds[kind];
        assert!(from < declared.states.len() && to < declared.states.len(), "it is declared");
        let table = self.starts[kind] + Meeting::COUNT * declared.cells();
        table + from * declared.states.len() + to
    }

    /// How often an event was met in a state in this way.
    #[must_use]
    pub fn count(&self, kind: usize, state: usize, event: usize, meeting: Meeting) -> u64 {
        self.counts[self.cell(kind, state, event, meeting)]
    }

    /// How often a node went from one state to another.
    #[must_use]
    pub fn move_count(&self, kind: usize, from: usize, to: usize) -> u64 {
        self.counts[self.moves_cell(kind, from, to)]
    }

    /// How often an event was received in a state.
    #[must_use]
    pub fn received(&self, kind: usize, state: usize, event: usize) -> u64 {
        let count = |meeting| self.count(kind, state, event, meeting);
        count(Meeting::Handled) + count(Meeting::Ignored)
    }

    /// True if the event should be received in the state at some time.
    #[must_use]
    pub fn is_declared(&self, kind: usize, state: usize, event: usize) -> bool {
        let declared = &self.plan.kinds[kind];
        !declared.is_only_sent[event] && declared.is_declared[state * declared.events.len() + event]
    }

    /// Adds what another run has covered. Two open plans become one that knows the names of both.
    ///
    /// # Errors
    ///
    /// If it is of another plan; nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), CoverageError> {
        if self.plan != other.plan {
            if self.plan.is_open && other.plan.is_open {
                self.merge_by_name(other);
                return Ok(());
            }
            return Err(CoverageError::OtherPlan);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        Ok(())
    }

    /// How many of the declared pairs of a kind, or of one of its states, were received, and how many
    /// there are.
    #[must_use]
    pub fn covered(&self, kind: usize, state: Option<usize>) -> (usize, usize) {
        let declared = &self.plan.kinds[kind];
        let states = state.map_or(0..declared.states.len(), |state| state..state + 1);
        let mut covered = (0, 0);
        for state in states {
            for event in 0..declared.events.len() {
                if self.is_declared(kind, state, event) {
                    covered.0 += usize::from(self.received(kind, state, event) > 0);
                    covered.1 += 1;
                }
            }
        }
        covered
    }

    /// The same of all kinds together.
    #[must_use]
    pub fn total_covered(&self) -> (usize, usize) {
        let each = (0..self.plan.kinds.len()).map(|kind| self.covered(kind, None));
        each.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }
}

/// As Coyote writes a share: `76.5`; all, if there is nothing to cover.
fn percent((covered, all): (usize, usize)) -> String {
    if all == 0 {
        return "100.0".to_owned();
    }
    format!("{:.1}", covered as f64 * 100.0 / all as f64)
}

#[cfg(test)]
mod tests;
