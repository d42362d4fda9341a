//! What nodes met, for those who want to know what an exploration has tried.
//!
//! Guarantees: nothing is named unless somebody asked for coverage, and asking changes nothing.
//! Elsewhere:  how names are learned is in `coverage/learned.rs`.

use super::{Effect, Event, NodeWorld};
use crate::coverage::{self, CRASH, DOWN, Meeting, REQUEST, RESTART, TIMEOUT};
use crate::node::Node;
use crate::watch::Watch;

/// A node that is about to meet something.
pub(super) struct Before {
    place: usize,
    /// Its state.
    state: String,
    /// Stands for everything about it.
    hash: u128,
    /// What it is about to meet; `None` if it only starts.
    event: Option<String>,
}

/// The state of a node that is up.
pub(in crate::node) fn state_of<N: Node>(node: &N) -> &str {
    match node.state_name() {
        "" => "up",
        name => name,
    }
}

/// What a request is called.
pub(in crate::node) fn request<N: Node>(message: &N::Message) -> String {
    format!("{REQUEST}{}", N::message_name(message))
}

fn timeout(timer: &str) -> String {
    format!("{TIMEOUT}{timer}")
}

impl<N: Node> NodeWorld<N> {
    /// An event is about to happen.
    pub(super) fn cover_event(&self, event: Event, watch: &mut Watch) -> Option<Before> {
        watch.coverage()?;
        let name = match event {
            Event::Deliver(slot) => N::message_name(&self.network.message(slot).message),
            Event::Timeout(_, timer) => timeout(timer),
            Event::Request(which) => {
                let message = &self.requests[which].message;
                watch.check_name(coverage::check_message(&N::message_name(message)));
                request::<N>(message)
            }
            Event::Crash(_) => CRASH.to_owned(),
            Event::Restart(_) => RESTART.to_owned(),
            // These are about messages and links: no node is told.
            Event::Drop(_)
            | Event::Duplicate(_)
            | Event::Pause(_)
            | Event::Resume(_)
            | Event::Cut(_)
            | Event::Heal => return None,
        };
        self.cover_from(self.whose(event)?, Some(name), watch)
    }

    /// A node is about to meet something, or to start.
    pub(super) fn cover_from(
        &self,
        place: usize,
        event: Option<String>,
        watch: &mut Watch,
    ) -> Option<Before> {
        watch.coverage()?;
        self.check_state(place, watch);
        let (state, hash) = (self.cover_state(place).to_owned(), self.hosts[place].hashes.0);
        Some(Before { place, state, hash, event })
    }

    /// It has met it, with everything that came of it.
    pub(super) fn cover_to(&self, before: Option<Before>, watch: &mut Watch) {
        let Some(before) = before else { return };
        self.check_state(before.place, watch);
        let Some(coverage) = watch.coverage() else { return };
        let Before { place, state, hash, event } = before;
        let (kind, after) = (self.cover_kind(place), self.cover_state(place));
        let is_seen = self.has_acted || state != after || hash != self.hosts[place].hashes.0;
        let meeting = if is_seen { Meeting::Handled } else { Meeting::Ignored };
        if let Some(event) = event {
            coverage.meet_by_name(kind, &state, &event, meeting);
        }
        if state != after {
            coverage.moves_by_name(kind, &state, after);
        }
    }

    /// A node crashes in the middle of what it does.
    pub(super) fn cover_crash(&self, place: usize, watch: &mut Watch) {
        let Some(coverage) = watch.coverage() else { return };
        let (kind, state) = (self.cover_kind(place), self.cover_state(place));
        coverage.meet_by_name(kind, state, CRASH, Meeting::Handled);
    }

    /// A node does something. What is on its way to somebody should arrive there at some time.
    pub(super) fn cover_effect(&self, place: usize, effect: &Effect<N>, watch: &mut Watch) {
        if watch.coverage().is_none() {
            return;
        }
        let kind = self.cover_kind(place);
        match effect {
            Effect::Send(to, message) => {
                let (name, state) = (N::message_name(message), self.cover_state(place));
                watch.check_name(coverage::check_message(&name));
                let Some(coverage) = watch.coverage() else { return };
                coverage.meet_by_name(kind, state, &name, Meeting::Sent);
                coverage.learn(self.cover_kind(to.place()), &[], &[&name]);
            }
            Effect::SetTimer(timer) => {
                watch.check_name(coverage::check_line("a timer", timer));
                let Some(coverage) = watch.coverage() else { return };
                coverage.learn(kind, &[], &[&timeout(timer)]);
            }
            _ => {}
        }
    }

    /// What a node that is up calls its state must not be what others are called.
    fn check_state(&self, place: usize, watch: &mut Watch) {
        if let Some(node) = &self.hosts[place].node {
            watch.check_name(coverage::check_state(state_of(node)));
        }
    }

    fn cover_kind(&self, place: usize) -> &str {
        self.hosts[place].node.as_ref().unwrap_or(&self.hosts[place].disk).kind_name()
    }

    fn cover_state(&self, place: usize) -> &str {
        self.hosts[place].node.as_ref().map_or(DOWN, state_of)
    }
}
