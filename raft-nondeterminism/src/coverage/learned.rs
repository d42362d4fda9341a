//! Coverage of a system that declares nothing, or not all: names are learned as they are met.
//!
//! Guarantees: names are kept in sorted order, so what several runs come to depends neither on their
//!             order nor on that in which each of them met something.

use std::sync::Arc;

use super::{Coverage, CoveragePlan, Meeting, NodeKind};

/// The state of a node that has crashed.
pub(crate) const DOWN: &str = "down";
/// What takes a node there.
pub(crate) const CRASH: &str = "crash";
/// The one thing that can be received there, and nowhere else.
pub(crate) const RESTART: &str = "restart";

impl NodeKind {
    /// Whether an event should be received in a state; `None` if one of the two is not known.
    fn declares(&self, state: &str, event: &str) -> Option<bool> {
        let state = self.states.iter().position(|name| name == state)?;
        let event = self.events.iter().position(|name| name == event)?;
        Some(self.is_declared[state * self.events.len() + event])
    }

    /// Everything that either of the two knows, sorted. Where neither knows better, every event should be
    /// received in every state.
    fn joined(&self, other: &Self) -> Self {
        let states = sorted(&self.states, &other.states);
        let events = sorted(&self.events, &other.events);
        let pairs = states.iter().flat_map(|state| events.iter().map(move |event| (state, event)));
        let is_declared = pairs.map(|(state, event)| {
            let known = self.declares(state, event).or_else(|| other.declares(state, event));
            known.unwrap_or_else(|| belongs(state, event))
        });
        let is_declared = is_declared.collect();
        let is_received = |kind: &Self, event: &String| {
            let place = kind.events.iter().position(|name| name == event);
            place.is_some_and(|place| !kind.is_only_sent[place])
        };
        let is_only_sent = |event| !is_received(self, event) && !is_received(other, event);
        let is_only_sent = events.iter().map(is_only_sent).collect();
        Self { name: self.name.clone(), states, events, is_declared, is_only_sent }
    }
}

impl CoveragePlan {
    /// What these kinds declare, and whatever else turns up: see [`Coverage::meet_by_name`].
    #[must_use]
    pub fn open(kinds: Vec<NodeKind>) -> Self {
        let mut plan = Self { kinds: Vec::new(), is_open: true };
        kinds.iter().for_each(|kind| plan.learn_kind(kind));
        plan
    }

    /// True if names that were not declared may turn up.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Takes in that nodes of a kind may be in these states and receive these events.
    pub(crate) fn learn(&mut self, kind: &str, states: &[&str], events: &[&str]) {
        let states = NodeKind::new(kind, states, &[]);
        self.learn_kind(&states.joined(&NodeKind::new(kind, &[], events)));
    }

    /// Takes in that nodes of a kind may send this in this state.
    fn learn_sent(&mut self, kind: &str, state: &str, event: &str) {
        let event = NodeKind { is_only_sent: vec![true], ..NodeKind::new(kind, &[], &[event]) };
        self.learn_kind(&NodeKind::new(kind, &[state], &[]).joined(&event));
    }

    /// True if such nodes may be in these states.
    fn knows_states(&self, kind: &str, states: &[&str]) -> bool {
        self.place(kind)
            .map(|place| &self.kinds[place])
            .is_some_and(|known| states.iter().all(|state| find(&known.states, state).is_some()))
    }

    /// Whether such nodes are known to send an event only, if it is known at all.
    fn only_sends(&self, kind: &str, event: &str) -> Option<bool> {
        let kind = &self.kinds[self.place(kind)?];
        find(&kind.events, event).map(|place| kind.is_only_sent[place])
    }

    /// Takes in what another plan knows of a kind.
    fn learn_kind(&mut self, kind: &NodeKind) {
        assert!(self.is_open, "what is declared is all there is");
        match self.kinds.binary_search_by(|known| known.name.cmp(&kind.name)) {
            Ok(place) => self.kinds[place] = self.kinds[place].joined(kind),
            Err(place) => self.kinds.insert(place, kind.joined(kind)),
        }
    }

    fn place(&self, kind: &str) -> Option<usize> {
        self.kinds.binary_search_by(|known| known.name.as_str().cmp(kind)).ok()
    }
}

impl Coverage {
    /// A node of this kind meets an event while it is in this state. Names that are new are learned.
    ///
    /// # Panics
    ///
    /// If the plan is not open, and has no such names.
    pub fn meet_by_name(&mut self, kind: &str, state: &str, event: &str, meeting: Meeting) {
        if meeting != Meeting::Sent {
            self.learn(kind, &[state], &[event]);
        } else if !self.plan.knows_states(kind, &[state])
            || self.plan.only_sends(kind, event).is_none()
        {
            self.grow(|plan| plan.learn_sent(kind, state, event));
        }
        let (kind, [state]) = self.states(kind, [state]);
        let event = find(&self.plan.kinds[kind].events, event).expect("it was learned");
        self.meet(kind, state, event, meeting);
    }

    /// A node of this kind goes from one state to another one. Names that are new are learned.
    ///
    /// # Panics
    ///
    /// If the plan is not open, and has no such names.
    pub fn moves_by_name(&mut self, kind: &str, from: &str, to: &str) {
        self.learn(kind, &[from, to], &[]);
        let (kind, [from, to]) = self.states(kind, [from, to]);
        self.moves(kind, from, to);
    }

    /// Takes in that nodes of a kind may be in these states and receive these events, whether any does or
    /// not.
    ///
    /// # Panics
    ///
    /// If the plan is not open, and has no such names.
    pub fn learn(&mut self, kind: &str, states: &[&str], events: &[&str]) {
        let is_received = |event: &&str| self.plan.only_sends(kind, event) == Some(false);
        if !self.plan.knows_states(kind, states) || !events.iter().all(is_received) {
            self.grow(|plan| plan.learn(kind, states, events));
        }
    }

    /// Adds what was met under another open plan.
    pub(super) fn merge_by_name(&mut self, other: &Self) {
        self.grow(|plan| other.plan.kinds.iter().for_each(|kind| plan.learn_kind(kind)));
        self.add(other);
    }

    /// Goes on with a plan that knows more.
    fn grow(&mut self, learn: impl FnOnce(&mut CoveragePlan)) {
        let mut plan = CoveragePlan::clone(&self.plan);
        learn(&mut plan);
        if plan != *self.plan {
            let before = std::mem::replace(self, Self::new(Arc::new(plan)));
            self.add(&before);
        }
    }

    /// Adds counts of states and events all of which are known here, perhaps in other places.
    pub(super) fn add(&mut self, other: &Self) {
        for (theirs, kind) in other.plan.kinds.iter().enumerate() {
            let mine = self.plan.place(&kind.name).expect("every kind is known");
            let known = &self.plan.kinds[mine];
            let places = |all: &[String], names: &[String]| -> Vec<usize> {
                names.iter().map(|name| find(all, name).expect("every name is known")).collect()
            };
            let states = places(&known.states, &kind.states);
            let events = places(&known.events, &kind.events);
            for (from, &state) in states.iter().enumerate() {
                for (event, &place) in events.iter().enumerate() {
                    for meeting in [Meeting::Handled, Meeting::Ignored, Meeting::Sent] {
                        let cell = self.cell(mine, state, place, meeting);
                        self.counts[cell] += other.count(theirs, from, event, meeting);
                    }
                }
                for (to, &place) in states.iter().enumerate() {
                    let cell = self.moves_cell(mine, state, place);
                    self.counts[cell] += other.move_count(theirs, from, to);
                }
            }
        }
    }

    fn states<const COUNT: usize>(
        &self,
        kind: &str,
        names: [&str; COUNT],
    ) -> (usize, [usize; COUNT]) {
        let kind = self.plan.place(kind).expect("it was learned");
        let states = &self.plan.kinds[kind].states;
        (kind, names.map(|name| find(states, name).expect("it was learned")))
    }
}

/// True if an event of which nobody has said anything should be received in a state.
pub(super) fn belongs(state: &str, event: &str) -> bool {
    (state == DOWN) == (event == RESTART)
}

/// The place of a name among sorted ones.
fn find(names: &[String], wanted: &str) -> Option<usize> {
    names.binary_search_by(|name| name.as_str().cmp(wanted)).ok()
}

/// The names of both, sorted, each once.
fn sorted(one: &[String], other: &[String]) -> Vec<String> {
    let mut names: Vec<_> = one.iter().chain(other).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names
}
