//! Any message-passing system: write its nodes as [`Node`]s, put them into a [`Simulation`], and explore.
//!
//! Guarantees: a node changes by its handlers alone, one event at a time; everything that may go
//!             differently next time is chosen by the strategy: which message arrives, is lost or comes
//!             twice, which timer fires, who crashes, pauses, or is cut off.
//! Relies on:  nodes that are functions of what they are told: no clock, no thread, no chance but
//!             [`Context::choose`], no order of a hash map. A run that is made again finds out.
//! Elsewhere:  what a node can do is in [`Context`], what must hold in [`Monitor`] and [`Simulation`].
//!
//! Two nodes that greet each other, and a claim that does not hold, because messages may come twice:
//!
//! ```
//! use raft_nondeterminism::node::{Context, Node, NodeId, Simulation};
//! use raft_nondeterminism::{Explorer, Fault, FaultPlan};
//!
//! #[derive(Clone, Debug, Default)]
//! struct Greeter {
//!     heard: u32,
//! }
//!
//! impl Node for Greeter {
//!     type Message = &'static str;
//!
//!     fn on_start(&mut self, ctx: &mut Context<'_, Self>) {
//!         ctx.broadcast("hello");
//!     }
//!
//!     fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, _text: &'static str) {
//!         self.heard += 1;
//!     }
//! }
//!
//! let greeters = Simulation::new("greeters")
//!     .nodes([Greeter::default(), Greeter::default()])
//!     .faults(FaultPlan::none().allow(Fault::Duplicate, 1))
//!     .always("greeted-once", |view| match view.nodes().find(|(_, node)| node.heard > 1) {
//!         Some((id, node)) => Err(format!("{id} was greeted {} times", node.heard)),
//!         None => Ok(()),
//!     });
//! let report = Explorer::of(greeters).run()?;
//! let bug = report.bug().expect("a greeting comes twice");
//! assert_eq!(bug.property(), "greeted-once");
//! assert_eq!(bug.shrunk().schedule().events(), 3, "a duplicate, and two deliveries");
//! # Ok::<(), raft_nondeterminism::ExploreError>(())
//! ```

mod context;
mod hash;
mod property;
mod simulation;
mod world;

use std::fmt;

use crate::fingerprint::StateHasher;

pub use crate::network::Delivery;
pub use context::Context;
pub use property::{Fact, Monitor, MonitorFork, View};
pub use simulation::{Simulation, SimulationError};
pub use world::NodeWorld;

/// A node's number, from 1 in the order in which the simulation was given its nodes: `n1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    pub(crate) fn at(place: usize) -> Self {
        Self(u32::try_from(place + 1).expect("there are at most 64 nodes"))
    }

    /// Its place among the nodes, from 0.
    ///
    /// # Panics
    ///
    /// If it is 0, which no node has.
    pub(crate) fn place(self) -> usize {
        assert!(self.0 > 0, "nodes are numbered from 1");
        self.0 as usize - 1
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// As in all other places, so that messages with ids in them read well.
impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One node of a message-passing system, without its surroundings: it is told what happens, and says
/// what to do about it. Each handler runs to its end before anything else happens.
///
/// Only [`Node::on_message`] has to be written. If a system has nodes of several kinds, make them the
/// variants of an enum, and implement this for the enum.
///
/// # What a crash leaves
///
/// The fields of a node are its memory, and a crash takes them. What is to stay must be saved:
/// [`Context::save`] puts a copy of the node on its disk, as a write and a sync do. A node that comes
/// back is the last copy that was saved, or, if none was, the node as the simulation was given it; then
/// [`Node::on_restart`] is called, which should set back what the disk would not have held.
/// [`Context::write`] is the quick and dangerous way: until the next sync a crash may take it.
pub trait Node: Clone + fmt::Debug + Send + Sync + 'static {
    /// What nodes and clients say. In schedules and traces it stands as `Debug` prints it, which should be
    /// one line; two messages that print the same should be the same.
    type Message: Clone + fmt::Debug + Send + Sync + 'static;

    /// The node starts for the first time.
    fn on_start(&mut self, ctx: &mut Context<'_, Self>) {
        let _ = ctx;
    }

    /// A message arrives.
    fn on_message(&mut self, ctx: &mut Context<'_, Self>, from: NodeId, message: Self::Message);

    /// A timer that was set has fired, and is not set any more.
    fn on_timeout(&mut self, ctx: &mut Context<'_, Self>, timer: &'static str) {
        let _ = (ctx, timer);
    }

    /// Somebody from outside asks for something: see [`Simulation::request`].
    fn on_request(&mut self, ctx: &mut Context<'_, Self>, request: Self::Message) {
        let _ = (ctx, request);
    }

    /// The node is back after a crash, as it was saved. No timer is set. Unless it says otherwise it
    /// does what it does at its first start.
    fn on_restart(&mut self, ctx: &mut Context<'_, Self>) {
        self.on_start(ctx);
    }

    /// What it is doing, in one word: `leader`. Each change of it is a line in the trace, and coverage
    /// says which message was met in which of them. Few words, and no numbers, read best.
    fn state_name(&self) -> &str {
        ""
    }

    /// What kind of node it is, in one word, if there are several: coverage tells them apart. It stays the
    /// same.
    fn kind_name(&self) -> &str {
        "node"
    }

    /// What kind of message it is: `Vote`. Coverage takes messages with one name for the same. Unless it
    /// says otherwise that is the first word that `Debug` prints, or `message` if there is none.
    fn message_name(message: &Self::Message) -> String {
        first_word(&format!("{message:?}"))
    }

    /// Takes in everything that the node's future depends on: two nodes with one hash are taken for the
    /// same. Unless it says otherwise that is all that `Debug` prints; for a node that is `Hash`,
    /// `self.hash(state)` is quicker.
    fn hash_state(&self, state: &mut StateHasher) {
        state.debug(self);
    }

    /// Takes in what a tester wants to have seen: two nodes with one hash teach nothing new. Unless it
    /// says otherwise that is all that `Debug` prints but the digits.
    fn hash_shape(&self, state: &mut StateHasher) {
        state.shape(self);
    }
}

/// The first word of what `Debug` prints of something.
fn first_word(text: &str) -> String {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    let text = text.trim_start_matches('"');
    let word = text.split(|letter| !is_part(letter)).next().unwrap_or_default();
    let is_name = word.starts_with(|letter: char| letter.is_alphabetic() || letter == '_');
    if is_name { word.to_owned() } else { "message".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::first_word;

    #[test]
    fn a_message_is_called_by_its_first_word() {
        let debug = [
            ("Vote { can_commit: true }", "Vote"),
            ("Number(7)", "Number"),
            ("Next", "Next"),
            ("\"hello\"", "hello"),
            ("\"give-up now\"", "give-up"),
            ("17", "message"),
            ("(1, 2)", "message"),
            ("", "message"),
        ];
        for (text, name) in debug {
            assert_eq!(first_word(text), name, "{text}");
        }
    }
}
