//! What must hold in a simulation, and what its judges see.
//!
//! Guarantees: a monitor sees the world after every event, and what the nodes told it of that event;
//!             looking changes nothing.

use std::fmt;
use std::sync::Arc;

use super::world::{Envelope, Host};
use super::{Node, NodeId};
use crate::network::Network;

/// Something that a node has told the monitors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Who.
    pub node: NodeId,
    /// What it is about: `granted`.
    pub name: &'static str,
    /// The rest of it.
    pub value: String,
}

/// A simulation as its judges see it, after an event.
#[derive(Debug)]
pub struct View<'a, N: Node> {
    pub(super) hosts: &'a [Host<N>],
    pub(super) network: &'a Network<Envelope<N::Message>>,
    pub(super) facts: &'a [Fact],
    pub(super) changed: Option<NodeId>,
    pub(super) requests_left: usize,
}

impl<'a, N: Node> View<'a, N> {
    /// Every node that is up, in order.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &'a N)> + use<'a, N> {
        let hosts = self.hosts.iter().enumerate();
        hosts.filter_map(|(place, host)| Some((NodeId::at(place), host.node.as_ref()?)))
    }

    /// A node; `None` if it is down, or there is no such node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&'a N> {
        self.hosts.get(id.place())?.node.as_ref()
    }

    /// What every node would be after a crash, in order, whether it is up or not: what was saved last.
    pub fn saved(&self) -> impl Iterator<Item = (NodeId, &'a N)> + use<'a, N> {
        self.hosts.iter().enumerate().map(|(place, host)| (NodeId::at(place), &host.disk))
    }

    /// What the nodes told of this event, in order: see [`Context::fact`](super::Context::fact).
    #[must_use]
    pub fn facts(&self) -> &'a [Fact] {
        self.facts
    }

    /// Whose event it was; `None` if it was nobody's alone.
    #[must_use]
    pub fn changed(&self) -> Option<NodeId> {
        self.changed
    }

    /// Everything in flight: from whom, to whom, and what; in no order that means anything.
    pub fn in_flight(&self) -> impl Iterator<Item = (NodeId, NodeId, &'a N::Message)> + use<'a, N> {
        let envelopes = self.network.iter();
        envelopes.map(|(place, it)| (it.message.from, NodeId::at(place), &it.message.message))
    }

    /// How many requests were not made yet.
    #[must_use]
    pub fn requests_left(&self) -> usize {
        self.requests_left
    }
}

/// Watches for one property, and may remember what it saw. A copy that has seen nothing begins each run.
///
/// What needs no memory is said shorter with [`Simulation::always`](super::Simulation::always).
///
/// ```
/// use std::collections::BTreeSet;
/// use raft_nondeterminism::node::{Monitor, Node, View};
///
/// /// No ticket is given out twice, also if somebody forgets what they gave out.
/// #[derive(Clone, Debug, Default)]
/// struct EachTicketOnce {
///     given: BTreeSet<String>,
/// }
///
/// impl<N: Node> Monitor<N> for EachTicketOnce {
///     fn property(&self) -> &'static str {
///         "each-ticket-once"
///     }
///
///     fn observe(&mut self, view: &View<'_, N>) -> Result<(), String> {
///         for fact in view.facts().iter().filter(|fact| fact.name == "given") {
///             if !self.given.insert(fact.value.clone()) {
///                 return Err(format!("{} gives ticket {} again", fact.node, fact.value));
///             }
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Monitor<N: Node>: MonitorFork<N> + fmt::Debug + Send + Sync {
    /// The name of the property, in kebab-case.
    fn property(&self) -> &'static str;

    /// Takes notice of the world after an event, and before the first one.
    ///
    /// # Errors
    ///
    /// In one sentence, what breaks the property.
    fn observe(&mut self, view: &View<'_, N>) -> Result<(), String>;
}

/// A copy for another run. Whoever is `Clone` has it.
pub trait MonitorFork<N: Node> {
    /// A copy that has seen the same.
    fn fork(&self) -> Box<dyn Monitor<N>>;
}

impl<N: Node, M: Monitor<N> + Clone + 'static> MonitorFork<N> for M {
    fn fork(&self) -> Box<dyn Monitor<N>> {
        Box::new(self.clone())
    }
}

impl<N: Node> Clone for Box<dyn Monitor<N>> {
    fn clone(&self) -> Self {
        (**self).fork()
    }
}

type Judge<N> = Arc<dyn Fn(&View<'_, N>) -> Result<(), String> + Send + Sync>;
type Predicate<N> = Arc<dyn Fn(&View<'_, N>) -> bool + Send + Sync>;

/// What must hold after every event.
pub(super) struct Always<N: Node> {
    pub(super) property: &'static str,
    pub(super) judge: Judge<N>,
}

impl<N: Node> Clone for Always<N> {
    fn clone(&self) -> Self {
        Self { property: self.property, judge: Arc::clone(&self.judge) }
    }
}

impl<N: Node> fmt::Debug for Always<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.property)
    }
}

impl<N: Node> Monitor<N> for Always<N> {
    fn property(&self) -> &'static str {
        self.property
    }

    fn observe(&mut self, view: &View<'_, N>) -> Result<(), String> {
        (self.judge)(view)
    }
}

/// What must become true again and again.
pub(super) struct Eventually<N: Node> {
    pub(super) property: &'static str,
    /// It may be false for so many events in a row, if it may at all.
    pub(super) steps_max: Option<usize>,
    pub(super) is_cold: Predicate<N>,
}

impl<N: Node> Clone for Eventually<N> {
    fn clone(&self) -> Self {
        Self { is_cold: Arc::clone(&self.is_cold), ..*self }
    }
}

impl<N: Node> fmt::Debug for Eventually<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.property)
    }
}

/// What should happen in some runs.
pub(super) struct Sometimes<N: Node> {
    pub(super) goal: &'static str,
    /// `None` if the nodes say themselves when they reach it.
    pub(super) is_reached: Option<Predicate<N>>,
}

impl<N: Node> Clone for Sometimes<N> {
    fn clone(&self) -> Self {
        Self { goal: self.goal, is_reached: self.is_reached.clone() }
    }
}

impl<N: Node> fmt::Debug for Sometimes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.goal)
    }
}
