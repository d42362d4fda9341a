//! A simulation: nodes, what is asked of them, what may go wrong, and what must hold.
//!
//! Guarantees: the same simulation and the same choices give the same run; its schedules say everything
//!             about it but the code of the nodes and of the properties.
//! Elsewhere:  one run of it is in `world.rs`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::property::{Always, Eventually, Monitor, Sometimes, View};
use super::world::{NodeWorld, covering};
use super::{Node, NodeId};
use crate::coverage::{self, CoveragePlan, NameError, NodeKind};
use crate::fault::{Fault, FaultPlan};
use crate::model::{Model, ModelError, StartError};
use crate::network::Delivery;
use crate::oracle::Oracle;
use crate::schedule::{ScheduleError, Setting, SettingReader};
use crate::watch::Watch;

/// How many nodes fit.
const NODES_MAX: usize = 64;
/// How many goals fit.
const GOALS_MAX: usize = 64;

/// Nodes with everything around them; explore it with [`Explorer::of`](crate::Explorer::of).
#[derive(Clone)]
pub struct Simulation<N: Node> {
    pub(super) name: String,
    pub(super) nodes: Vec<(Arc<str>, N)>,
    pub(super) requests: Vec<(NodeId, N::Message)>,
    pub(super) faults: FaultPlan,
    pub(super) delivery: Delivery,
    pub(super) in_flight_max: usize,
    pub(super) monitors: Vec<Box<dyn Monitor<N>>>,
    pub(super) eventually: Vec<Eventually<N>>,
    pub(super) sometimes: Vec<Sometimes<N>>,
    declared: Vec<NodeKind>,
    labels: Vec<(&'static str, String)>,
}

impl<N: Node> Simulation<N> {
    /// A simulation of nothing yet. The name, one word, stands in its schedules.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            nodes: Vec::new(),
            requests: Vec::new(),
            faults: FaultPlan::none(),
            delivery: Delivery::default(),
            in_flight_max: 64,
            monitors: Vec::new(),
            eventually: Vec::new(),
            sometimes: Vec::new(),
            declared: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// Adds a node, which schedules and traces call by this name: one word. Its id is the next number.
    #[must_use]
    pub fn node(mut self, name: impl AsRef<str>, node: N) -> Self {
        self.nodes.push((Arc::from(name.as_ref()), node));
        self
    }

    /// Adds nodes that are called by their ids: `n1`, `n2`, and so on.
    #[must_use]
    pub fn nodes(mut self, nodes: impl IntoIterator<Item = N>) -> Self {
        for node in nodes {
            let id = NodeId::at(self.nodes.len());
            self = self.node(id.to_string(), node);
        }
        self
    }

    /// Lets somebody from outside ask a node for something, once, at any time: see
    /// [`Node::on_request`].
    #[must_use]
    pub fn request(mut self, to: NodeId, request: N::Message) -> Self {
        self.requests.push((to, request));
        self
    }

    /// Changes how often what may go wrong in one run. Without a plan nothing does, but messages still
    /// arrive in any order, however late, and timers fire at any time.
    ///
    /// Disks of nodes do not fail, so `disk-error` and `disk-stall` never happen here.
    #[must_use]
    pub fn faults(mut self, plan: FaultPlan) -> Self {
        self.faults = plan;
        self
    }

    /// Changes in which order messages arrive.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// Changes how many messages may be in flight before no timer fires, no request is made, and no
    /// message gets a twin; 64 unless changed. It bounds how far behind the network can be.
    #[must_use]
    pub fn in_flight_max(mut self, messages: usize) -> Self {
        self.in_flight_max = messages;
        self
    }

    /// Says something about the simulation that its schedules must say too: a replay is refused if it
    /// was another. For what the nodes were given, such as a planted bug. The name is one word.
    #[must_use]
    pub fn label(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.labels.push((name, value.to_string()));
        self
    }

    /// Demands something of the world after every event.
    #[must_use]
    pub fn always(
        self,
        property: &'static str,
        judge: impl Fn(&View<'_, N>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.monitor(Always { property, judge: Arc::new(judge) })
    }

    /// Watches for a property that needs a memory.
    #[must_use]
    pub fn monitor(mut self, monitor: impl Monitor<N> + 'static) -> Self {
        self.monitors.push(Box::new(monitor));
        self
    }

    /// Demands that this becomes true in the end. Two things break it:
    ///
    /// - Nothing but faults can happen any more, and it is false (the property `deadlock`).
    /// - With [`Explorer::settle`](crate::Explorer::settle): nothing goes wrong any more, everyone is
    ///   back, every message arrives, every timer fires, and it does not become true.
    #[must_use]
    pub fn eventually(
        mut self,
        property: &'static str,
        is_cold: impl Fn(&View<'_, N>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let is_cold = Arc::new(is_cold);
        self.eventually.push(Eventually { property, steps_max: None, is_cold });
        self
    }

    /// The same, and it may not be false for more events in a row than this, if these were fair: what
    /// was in flight, set or down all that time proves nothing but a bad scheduler, so it does not count.
    #[must_use]
    pub fn eventually_within(
        mut self,
        property: &'static str,
        steps_max: usize,
        is_cold: impl Fn(&View<'_, N>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let (steps_max, is_cold) = (Some(steps_max), Arc::new(is_cold));
        self.eventually.push(Eventually { property, steps_max, is_cold });
        self
    }

    /// Counts in how many runs this is true once: a report of runs in which nothing happens is worth
    /// nothing.
    #[must_use]
    pub fn sometimes(
        mut self,
        goal: &'static str,
        is_reached: impl Fn(&View<'_, N>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.sometimes.push(Sometimes { goal, is_reached: Some(Arc::new(is_reached)) });
        self
    }

    /// The same, if the nodes say when: see [`Context::reach`](super::Context::reach).
    #[must_use]
    pub fn goal(mut self, goal: &'static str) -> Self {
        self.sometimes.push(Sometimes { goal, is_reached: None });
        self
    }

    /// Tells coverage of states and messages before they are met, and of what cannot be met in which
    /// state. Nothing has to be told: the names of [`Node::kind_name`], [`Node::state_name`] and
    /// [`Node::message_name`] are learned as they turn up, and every message of a kind of node is missed
    /// in each of its states. But a state in which no node ever was is missed only if it was told of.
    ///
    /// What is no message is called `timeout TIMER`, `request MESSAGE`, `crash` and `restart`, and the state
    /// of a node that has crashed is `down`; so no message and no other state can be called that where
    /// coverage is asked for. A name is one line, and a kind that is declared is that of some node.
    #[must_use]
    pub fn declare(mut self, kind: NodeKind) -> Self {
        self.declared.push(kind);
        self
    }

    fn node_names(&self) -> String {
        let names: Vec<_> = self.nodes.iter().map(|(name, _)| &**name).collect();
        names.join(" ")
    }

    fn check(&self) -> Result<(), SimulationError> {
        let is_word = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
        let names = self.nodes.iter().map(|(name, _)| &**name);
        let labels = self.labels.iter().map(|&(name, _)| name);
        let words = [self.name.as_str()].into_iter().chain(names.clone()).chain(labels);
        if let Some(name) = words.into_iter().find(|name| !is_word(name)) {
            return Err(SimulationError::NotAWord { name: name.to_owned() });
        }
        if let Some((name, _)) = self.labels.iter().find(|(_, value)| value.contains(['\n', '\r']))
        {
            return Err(SimulationError::ManyLines { name });
        }
        let count = self.nodes.len();
        if count == 0 || count > NODES_MAX {
            return Err(SimulationError::NodeCount { count });
        }
        let mut seen = BTreeSet::new();
        let properties = self.monitors.iter().map(|monitor| monitor.property());
        let properties = properties.chain(self.eventually.iter().map(|it| it.property));
        let goals = self.sometimes.iter().map(|it| it.goal);
        let mut titles = properties.clone().chain(goals.clone());
        if let Some(name) = titles.find(|name| !coverage::is_line(name)) {
            return Err(SimulationError::NotALine { name: name.to_owned() });
        }
        for name in names.chain(properties).chain(goals) {
            if !seen.insert(name) {
                return Err(SimulationError::Twice { name: name.to_owned() });
            }
        }
        if self.sometimes.len() > GOALS_MAX {
            return Err(SimulationError::GoalCount { count: self.sometimes.len() });
        }
        if self.in_flight_max == 0 {
            return Err(SimulationError::NothingInFlight);
        }
        let kinds: BTreeSet<_> = self.nodes.iter().map(|(_, node)| node.kind_name()).collect();
        kinds.iter().try_for_each(|kind| coverage::check_line("a kind of node", kind))?;
        for kind in &self.declared {
            coverage::check_kind(kind)?;
            if !kinds.contains(kind.name()) {
                let known = kinds.iter().copied().collect::<Vec<_>>().join(", ");
                return Err(SimulationError::NoSuchKind { kind: kind.name().to_owned(), known });
            }
        }
        let is_stranger = |id: NodeId| id.0 == 0 || id.0 as usize > count;
        match self.requests.iter().find(|(to, _)| is_stranger(*to)) {
            Some(&(to, _)) => Err(SimulationError::Stranger { to }),
            None => Ok(()),
        }
    }
}

impl<N: Node> Model for Simulation<N> {
    type World = NodeWorld<N>;

    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&self) -> String {
        match self.nodes.len() {
            1 => "1 node".to_owned(),
            count => format!("{count} nodes"),
        }
    }

    fn validate(&self) -> Result<(), StartError> {
        self.check().map_err(StartError::new)
    }

    fn start(
        &self,
        oracle: &mut Oracle<'_>,
        watch: &mut Watch,
    ) -> Result<NodeWorld<N>, ModelError> {
        Ok(NodeWorld::start(self, oracle, watch)?)
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("nodes", self.node_names()),
            ("requests", self.requests.len().to_string()),
            ("delivery", self.delivery.name().to_owned()),
            ("in_flight_max", self.in_flight_max.to_string()),
            ("faults", self.faults.to_string()),
        ];
        settings.extend(self.labels.iter().cloned());
        settings
    }

    fn configured(&self, settings: &[Setting]) -> Result<Self, ScheduleError> {
        let mut reader = SettingReader::new(settings);
        let (nodes, requests) = (self.node_names(), self.requests.len().to_string());
        reader.parse("nodes", "the nodes of this simulation", same(&nodes))?;
        reader.parse("requests", "the number of requests of this simulation", same(&requests))?;
        let delivery = reader.parse("delivery", "unordered, fifo or bus", |value| {
            Delivery::ALL.into_iter().find(|delivery| delivery.name() == value)
        })?;
        let in_flight_max = reader.field("in_flight_max", "a number")?;
        let faults = reader.field("faults", "FAULT=NUMBER for each fault")?;
        for (name, value) in &self.labels {
            reader.parse(name, "what this simulation says", same(value))?;
        }
        reader.finish()?;
        Ok(Self { delivery, in_flight_max, faults, ..self.clone() })
    }

    fn faults(&self) -> FaultPlan {
        self.faults
    }

    fn coverage_plan(&self) -> CoveragePlan {
        let mut plan = CoveragePlan::open(self.declared.clone());
        for (_, node) in &self.nodes {
            plan.learn(node.kind_name(), &[covering::state_of(node)], &[]);
            if self.faults.budget(Fault::Crash) > 0 {
                plan.learn(node.kind_name(), &[coverage::DOWN], &[coverage::CRASH]);
                plan.learn(node.kind_name(), &[], &[coverage::RESTART]);
            }
        }
        for (to, request) in &self.requests {
            if let Some((_, node)) = self.nodes.get(to.place()) {
                plan.learn(node.kind_name(), &[], &[&covering::request::<N>(request)]);
            }
        }
        plan
    }

    fn goals(&self) -> Vec<&'static str> {
        self.sometimes.iter().map(|it| it.goal).collect()
    }
}

/// Accepts one value.
fn same(expected: &str) -> impl FnOnce(&str) -> Option<()> {
    move |found| (found == expected).then_some(())
}

impl<N: Node> fmt::Debug for Simulation<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("name", &self.name)
            .field("nodes", &self.nodes)
            .field("requests", &self.requests)
            .field("faults", &self.faults)
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}

/// Why a simulation makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SimulationError {
    /// There are no nodes, or too many.
    #[error("a simulation has 1 to {NODES_MAX} nodes, not {count}")]
    NodeCount {
        /// So many.
        count: usize,
    },
    /// There are too many goals.
    #[error("a simulation has at most {GOALS_MAX} goals, not {count}")]
    GoalCount {
        /// So many.
        count: usize,
    },
    /// Two nodes, properties or goals share a name.
    #[error("{name:?} is the name of two nodes, properties or goals")]
    Twice {
        /// Which.
        name: String,
    },
    /// A name does not fit into a schedule.
    #[error("{name:?} is not one line, and cannot be the name of a property or goal")]
    NotALine {
        /// The name.
        name: String,
    },
    /// A name has to stand in schedules, between blanks.
    #[error("{name:?} is not one word, and cannot be a name")]
    NotAWord {
        /// Which.
        name: String,
    },
    /// A label does not fit into a line.
    #[error("the label {name} has more than one line")]
    ManyLines {
        /// Which.
        name: &'static str,
    },
    /// With a bound of zero no timer would ever fire.
    #[error("in_flight_max must be more than zero")]
    NothingInFlight,
    /// A name cannot stand in coverage.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A kind of node was declared, but no node is of that kind.
    #[error("no node is of the kind {kind:?}, which is declared; there is: {known}")]
    NoSuchKind {
        /// Which.
        kind: String,
        /// What their kinds are.
        known: String,
    },
    /// A node is asked for something that is not there.
    #[error("a request is for {to}, but there is no such node")]
    Stranger {
        /// Whom.
        to: NodeId,
    },
}
