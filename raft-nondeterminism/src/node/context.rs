//! What a node can do while it handles an event.
//!
//! Guarantees: nothing a node asks for happens before its handler is done, and then it happens in the
//!             order in which it was asked for.

use std::fmt;

use super::property::Fact;
use super::{Node, NodeId};
use crate::oracle::Oracle;
use crate::rng::Rng;
use crate::strategy::NotReproducible;

/// The surroundings of a node, as far as it can see them.
pub struct Context<'a, N: Node> {
    id: NodeId,
    nodes: usize,
    is_tracing: bool,
    dice: &'a mut dyn Dice,
    effects: &'a mut Vec<Effect<N>>,
    failure: Option<NotReproducible>,
}

/// One thing a node has asked for.
#[derive(Clone, Debug)]
pub(super) enum Effect<N: Node> {
    Send(NodeId, N::Message),
    SetTimer(&'static str),
    CancelTimer(&'static str),
    Save(N),
    Write(N),
    Sync,
    Note(String),
    Fact(Fact),
    Reach(&'static str),
}

/// Who answers what a node leaves open.
pub(super) trait Dice {
    fn choose(&mut self, arity: usize, label: &'static str) -> Result<usize, NotReproducible>;
}

impl Dice for Oracle<'_> {
    fn choose(&mut self, arity: usize, label: &'static str) -> Result<usize, NotReproducible> {
        Oracle::choose(self, arity, label)
    }
}

impl Dice for Rng {
    fn choose(&mut self, arity: usize, _label: &'static str) -> Result<usize, NotReproducible> {
        Ok(self.below(arity))
    }
}

impl<'a, N: Node> Context<'a, N> {
    pub(super) fn new(
        id: NodeId,
        nodes: usize,
        is_tracing: bool,
        dice: &'a mut dyn Dice,
        effects: &'a mut Vec<Effect<N>>,
    ) -> Self {
        Self { id, nodes, is_tracing, dice, effects, failure: None }
    }

    pub(super) fn finish(self) -> Result<(), NotReproducible> {
        self.failure.map_or(Ok(()), Err)
    }

    /// Who is asking.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Everyone.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<N> {
        (0..self.nodes).map(NodeId::at)
    }

    /// Everyone else.
    pub fn others(&self) -> impl Iterator<Item = NodeId> + use<N> {
        let id = self.id;
        self.nodes().filter(move |&other| other != id)
    }

    /// Sends a message, which may be to itself.
    ///
    /// # Panics
    ///
    /// If there is no such node.
    pub fn send(&mut self, to: NodeId, message: N::Message) {
        assert!(to.place() < self.nodes, "{to} is one of the nodes n1 to n{}", self.nodes);
        self.effects.push(Effect::Send(to, message));
    }

    /// Sends a message to everyone else; each copy has a fate of its own.
    pub fn broadcast(&mut self, message: N::Message) {
        for to in self.others() {
            self.send(to, message.clone());
        }
    }

    /// Sets a timer. It has no duration: once set it may fire at any time, so that nothing rests on how
    /// quick the network is. If it is set already, it is set anew.
    pub fn set_timer(&mut self, timer: &'static str) {
        self.effects.push(Effect::SetTimer(timer));
    }

    /// Stops a timer, if it is set.
    pub fn cancel_timer(&mut self, timer: &'static str) {
        self.effects.push(Effect::CancelTimer(timer));
    }

    /// Saves the node as it is now: no crash that follows takes it. A crash may still come between what
    /// was sent before this and the save.
    pub fn save(&mut self, node: &N) {
        self.effects.push(Effect::Save(node.clone()));
    }

    /// Writes the node as it is now. Until the next [`Context::sync`] or [`Context::save`] a crash may take
    /// it, if the plan allows [`Fault::LoseSaves`](crate::Fault::LoseSaves).
    pub fn write(&mut self, node: &N) {
        self.effects.push(Effect::Write(node.clone()));
    }

    /// Waits until everything written is safe.
    pub fn sync(&mut self) {
        self.effects.push(Effect::Sync);
    }

    /// Chooses a number in `0..among`. The choice is part of the schedule; `label` says what for, in one
    /// word.
    ///
    /// # Panics
    ///
    /// If there is nothing to choose from, or the label is more than one word.
    pub fn choose(&mut self, among: usize, label: &'static str) -> usize {
        assert!(among > 0, "{label} is chosen from something");
        let is_word = |letter: char| !letter.is_whitespace() && letter != '=';
        assert!(!label.is_empty() && label.chars().all(is_word), "{label:?} is one word");
        self.dice.choose(among, label).unwrap_or_else(|failure| {
            // The run ends with this event, so it does not matter what the node makes of the answer.
            self.failure.get_or_insert(failure);
            0
        })
    }

    /// Adds a line to the trace: `ctx.note(format_args!("{votes} votes"))` costs nothing where nobody
    /// reads it.
    pub fn note(&mut self, text: impl fmt::Display) {
        if self.is_tracing {
            self.effects.push(Effect::Note(text.to_string()));
        }
    }

    /// Tells the monitors of something that they cannot see in the nodes: an answer to a client, say.
    pub fn fact(&mut self, name: &'static str, value: impl fmt::Display) {
        let value = value.to_string();
        self.effects.push(Effect::Fact(Fact { node: self.id, name, value }));
    }

    /// Reaches a goal: see [`Simulation::goal`](super::Simulation::goal).
    pub fn reach(&mut self, goal: &'static str) {
        self.effects.push(Effect::Reach(goal));
    }
}

impl<N: Node> fmt::Debug for Context<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.id)
            .field("effects", &self.effects)
            .finish_non_exhaustive()
    }
}
