//! Clusters of Raft servers as something to explore: the only place here that knows Raft.
//!
//! Guarantees: the servers are the real ones of [`raft_core`]; everything around them is a pure model.
//! Elsewhere:  one run is in `world.rs`, what must hold in `monitor.rs`, what should happen in `goal.rs`.

mod catalog;
pub(crate) mod changes;
mod coverage;
pub(crate) mod disk;
pub(crate) mod goal;
mod machine;
pub(crate) mod monitor;
pub(crate) mod scenario;
mod spec;
mod watch;
mod world;

use raft_core::Defect;

use crate::coverage::CoveragePlan;
use crate::explorer::Explorer;
use crate::fault::FaultPlan;
use crate::model::{Model, ModelError, StartError};
use crate::network::Delivery;
use crate::operation::OperationPlan;
use crate::oracle::Oracle;
use crate::raft::goal::Goal;
use crate::raft::monitor::Monitor;
use crate::raft::scenario::{Clocks, Protocol, SaveMode, Scenario};
use crate::raft::spec::Refinement;
use crate::raft::watch::Observers;
use crate::raft::world::World;
use crate::raft::world::variant::Variant;
use crate::recording::{Recording, ReplayError};

use crate::schedule::{Schedule, ScheduleError, Setting, SettingReader};
use crate::watch::Watch;
pub use world::World as Cluster;

/// A scenario with what is demanded of it, and perhaps with a planted bug.
#[derive(Clone, Debug)]
pub struct Raft {
    scenario: Scenario,
    defect: Option<Defect>,
    monitors: Vec<Box<dyn Monitor>>,
}

impl Raft {
    /// The scenario under the standard monitors, and with every step checked against the specification.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        Self { scenario, defect: None, monitors: monitor::standard() }
    }
}

impl Model for Raft {
    type World = World;

    fn name(&self) -> &str {
        self.scenario.name()
    }

    fn describe(&self) -> String {
        let Scenario { servers, servers_max, .. } = self.scenario;
        match servers_max {
            1 => "1 server".to_owned(),
            most if most == servers => format!("{servers} servers"),
            most => format!("{servers} to {most} servers"),
        }
    }

    fn validate(&self) -> Result<(), StartError> {
        self.scenario.validate().map_err(StartError::new)
    }

    fn start(&self, oracle: &mut Oracle<'_>, watch: &mut Watch) -> Result<World, ModelError> {
        let (scenario, variant) = Variant::choose(&self.scenario, oracle)?;
        let refinement = scenario.refines.then(|| Refinement::new(scenario.servers_and_spares()));
        let observers = Observers::new(&self.monitors, refinement);
        let world = World::new(scenario, self.defect, variant, observers, watch);
        Ok(world.map_err(StartError::new)?)
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let Scenario {
            name: _,
            servers,
            servers_max,
            clients,
            requests,
            protocol,
            saves,
            faults,
            in_flight_max,
            spares,
            operations,
            snapshot_entries,
            sessions_max,
            clocks,
            delivery,
            timeouts_max,
            term_max,
            refines,
        } = &self.scenario;
        vec![
            ("servers", servers.to_string()),
            ("servers_max", servers_max.to_string()),
            ("clients", clients.to_string()),
            ("requests", requests.to_string()),
            ("protocol", protocol.name().to_owned()),
            ("saves", saves.name().to_owned()),
            ("in_flight_max", in_flight_max.to_string()),
            ("faults", faults.to_string()),
            ("spares", spares.to_string()),
            ("operations", operations.to_string()),
            ("snapshot_entries", snapshot_entries.to_string()),
            ("sessions_max", sessions_max.to_string()),
            ("clocks", clocks.name().to_owned()),
            ("delivery", delivery.name().to_owned()),
            ("timeouts_max", timeouts_max.to_string()),
            ("term_max", term_max.to_string()),
            ("refines", refines.to_string()),
            ("defect", self.defect.map_or("none", Defect::name).to_owned()),
        ]
    }

    fn configured(&self, settings: &[Setting]) -> Result<Self, ScheduleError> {
        let mut reader = SettingReader::new(settings);
        let scenario = Scenario {
            name: self.scenario.name.clone(),
            servers: reader.field("servers", "a number")?,
            servers_max: reader.field("servers_max", "a number")?,
            clients: reader.field("clients", "a number")?,
            requests: reader.field("requests", "a number")?,
            protocol: reader.parse("protocol", "plain, full or varied", |value| {
                Protocol::ALL.into_iter().find(|protocol| protocol.name() == value)
            })?,
            saves: reader.parse("saves", "immediate, delayed, files or varied", |value| {
                SaveMode::ALL.into_iter().find(|mode| mode.name() == value)
            })?,
            in_flight_max: reader.field("in_flight_max", "a number")?,
            faults: reader.field("faults", "FAULT=NUMBER for each fault")?,
            spares: reader.field("spares", "a number")?,
            operations: reader.field("operations", "OPERATION=NUMBER for each operation")?,
            snapshot_entries: reader.field("snapshot_entries", "a number")?,
            sessions_max: reader.field("sessions_max", "a number")?,
            clocks: reader.parse("clocks", "free, common, drifting or varied", |value| {
                Clocks::ALL.into_iter().find(|clocks| clocks.name() == value)
            })?,
            delivery: reader.parse("delivery", "unordered, fifo or bus", |value| {
                Delivery::ALL.into_iter().find(|delivery| delivery.name() == value)
            })?,
            timeouts_max: reader.field("timeouts_max", "a number")?,
            term_max: reader.field("term_max", "a number")?,
            refines: reader.field("refines", "true or false")?,
        };
        let defect = reader.parse("defect", "none or a planted defect's name", |value| {
            if value == "none" { Some(None) } else { value.parse().ok().map(Some) }
        })?;
        reader.finish()?;
        Ok(Self { scenario, defect, monitors: self.monitors.clone() })
    }

    fn coverage_plan(&self) -> CoveragePlan {
        coverage::plan()
    }

    fn exhaustible(&self) -> Self {
        let scenario = self.scenario.clone().refines(false);
        Self { scenario, ..self.clone() }
    }

    fn has_all_starts(&self) -> bool {
        false
    }

    fn faults(&self) -> FaultPlan {
        self.scenario.faults
    }

    fn operations(&self) -> OperationPlan {
        self.scenario.operations
    }

    fn goals(&self) -> Vec<&'static str> {
        Goal::ALL.into_iter().map(Goal::name).collect()
    }

    fn can_reach(&self, goal: &str) -> bool {
        let mut goals = Goal::ALL.into_iter();
        goals.find(|known| known.name() == goal).is_some_and(|goal| self.scenario.can_reach(goal))
    }
}

impl Explorer<Raft> {
    /// Explores this scenario: 1,000 iterations of at most 200 steps from seed 0, by weighted random
    /// choice, up to the first bug.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        Self::of(Raft::new(scenario))
    }

    /// Switches a planted bug on.
    #[must_use]
    pub fn defect(mut self, defect: impl Into<Option<Defect>>) -> Self {
        self.model.defect = defect.into();
        self
    }

    /// Watches for one more property, besides the standard ones.
    #[must_use]
    pub fn monitor(mut self, monitor: impl Monitor + 'static) -> Self {
        self.model.monitors.push(Box::new(monitor));
        self
    }

    /// Watches for nothing but panics, and for what [`Explorer::monitor`] adds from here on. Replay
    /// what it finds with [`Explorer::replay_watched`]: the standard monitors may fire earlier.
    #[must_use]
    pub fn without_monitors(mut self) -> Self {
        self.model.monitors.clear();
        self.without_refinement()
    }

    /// Does not check that every step is one of the Raft specification (the property `refinement`),
    /// which finds most faults long before another property breaks.
    #[must_use]
    pub fn without_refinement(mut self) -> Self {
        self.model.scenario.refines = false;
        self
    }

    /// Checks that every step is one of the Raft specification, as is done anyway unless it was switched
    /// off.
    #[must_use]
    pub fn with_refinement(mut self) -> Self {
        self.model.scenario.refines = true;
        self
    }

    /// Replays a schedule, event by event, under the standard monitors.
    ///
    /// # Errors
    ///
    /// If the run cannot follow the schedule, or follows it to another end.
    pub fn replay(schedule: &Schedule) -> Result<Recording, ReplayError> {
        Self::new(schedule.scenario()?).replay_watched(schedule)
    }
}

impl Schedule {
    /// The scenario of a cluster of Raft servers that this schedule is of.
    ///
    /// # Errors
    ///
    /// If it is of something else.
    pub fn scenario(&self) -> Result<Scenario, ScheduleError> {
        let model = Raft::new(Scenario::new(self.model(), 1));
        Ok(model.configured_by(self)?.scenario)
    }

    /// The planted bug that was switched on in a cluster of Raft servers.
    #[must_use]
    pub fn defect(&self) -> Option<Defect> {
        self.setting("defect")?.parse().ok()
    }

    /// The same schedule with another planted bug, or none: to see whether the bug is to blame.
    #[must_use]
    pub fn with_defect(mut self, defect: impl Into<Option<Defect>>) -> Self {
        let name = defect.into().map_or("none", Defect::name);
        for setting in self.settings.iter_mut().filter(|setting| setting.key == "defect") {
            name.clone_into(&mut setting.value);
        }
        self
    }
}
