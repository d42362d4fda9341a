//! What is explored: how many servers and clients, what they may suffer, when saves are durable.
//!
//! Guarantees: a scenario is data, and a schedule carries all of it; so a schedule can be replayed
//!             after the scenario of that name has changed.

use crate::fault::{Fault, FaultPlan};
use crate::network::Delivery;
use crate::operation::{Operation, OperationPlan};
use crate::oracle::Oracle;
use crate::strategy::NotReproducible;

/// When what a server saves becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveMode {
    /// At once, before anything else happens.
    Immediate,
    /// At some later time, chosen like everything else: completing a save is an event of its own.
    Delayed,
    /// The same, but through [`raft_core::FileStorage`] on a [`SimulatedDisk`](crate::SimulatedDisk): a
    /// crash stops it anywhere, and what a server finds again is what the storage code reads.
    Files,
    /// One of the other three, chosen for each run; mostly the first two.
    Varied,
}

impl SaveMode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Immediate, Self::Delayed, Self::Files, Self::Varied];

    /// The name it has in schedules.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Immediate => "immediate",
            Self::Delayed => "delayed",
            Self::Files => "files",
            Self::Varied => "varied",
        }
    }
}

/// What of the protocol the servers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The paper's core, as in the sample: no pre-vote, no check-quorum.
    Plain,
    /// Everything that is on by default.
    Full,
    /// One of the two, chosen for each run; mostly the second.
    Varied,
}

impl Protocol {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Full, Self::Varied];

    /// The name it has in schedules.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Full => "full",
            Self::Varied => "varied",
        }
    }
}

/// What the clocks of the servers have to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clocks {
    /// Nothing: each stands still until its timer fires, and then jumps there. Any timer may fire at
    /// any time, so nothing that holds depends on time.
    Free,
    /// All show the same, so that the timer that is due first fires first; messages take any time all
    /// the same. Lease reads depend on that (dissertation §6.4.1), and are switched on.
    Common,
    /// Each runs at a speed of its own, within the bound that the servers rely on
    /// ([`raft_core::Config::clock_drift_permille`]), and servers may pause. Otherwise as
    /// [`Clocks::Common`].
    Drifting,
    /// One of the other three, chosen for each run; mostly the first.
    Varied,
}

impl Clocks {
    /// Every choice.
    pub const ALL: [Self; 4] = [Self::Free, Self::Common, Self::Drifting, Self::Varied];

    /// The name they have in schedules.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Common => "common",
            Self::Drifting => "drifting",
            Self::Varied => "varied",
        }
    }
}

/// A cluster of real [`Server`](raft_core::Server)s with its clients, and what may befall it.
///
/// ```
/// use raft_nondeterminism::{Fault, FaultPlan, SaveMode, Scenario};
///
/// let scenario = Scenario::new("two-clients", 3)
///     .clients(2)
///     .requests(5)
///     .saves(SaveMode::Delayed)
///     .faults(FaultPlan::none().allow(Fault::Crash, 2));
/// assert_eq!(scenario.name(), "two-clients");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    pub(crate) name: String,
    pub(crate) servers: usize,
    /// If this is more, each run has between the two.
    pub(crate) servers_max: usize,
    pub(crate) clients: usize,
    pub(crate) requests: u32,
    pub(crate) protocol: Protocol,
    pub(crate) saves: SaveMode,
    pub(crate) faults: FaultPlan,
    pub(crate) in_flight_max: usize,
    pub(crate) spares: usize,
    pub(crate) operations: OperationPlan,
    pub(crate) snapshot_entries: u64,
    pub(crate) sessions_max: u32,
    pub(crate) clocks: Clocks,
    pub(crate) delivery: Delivery,
    pub(crate) timeouts_max: u32,
    pub(crate) term_max: u64,
    /// Every step must be one of the Raft specification.
    pub(crate) refines: bool,
}

impl Scenario {
    /// So many servers with the full protocol, one client with two requests, immediate saves, and no
    /// faults.
    #[must_use]
    pub fn new(name: &str, servers: usize) -> Self {
        Self {
            name: name.to_owned(),
            servers,
            servers_max: servers,
            clients: 1,
            requests: 2,
            protocol: Protocol::Full,
            saves: SaveMode::Immediate,
            faults: FaultPlan::none(),
            in_flight_max: 64,
            spares: 0,
            operations: OperationPlan::none(),
            snapshot_entries: 0,
            sessions_max: 0,
            clocks: Clocks::Free,
            delivery: Delivery::Unordered,
            timeouts_max: 0,
            term_max: 0,
            refines: true,
        }
    }

    /// The CloudMessaging sample's first tutorial: five servers, two requests, no faults.
    #[must_use]
    pub fn sample() -> Self {
        Self::new("sample", 5).protocol(Protocol::Plain).refines(false)
    }

    /// The sample's second tutorial: the same cluster, but messages are lost and come twice.
    #[must_use]
    pub fn sample_with_failure() -> Self {
        let faults = FaultPlan::none().allow(Fault::Drop, 5).allow(Fault::Duplicate, 10);
        Self { name: "sample-with-failure".to_owned(), ..Self::sample() }.faults(faults)
    }

    /// Servers that crash before their saves are durable and come back, among losses and duplicates.
    #[must_use]
    pub fn restarts() -> Self {
        let faults = FaultPlan::none()
            .allow(Fault::Drop, 5)
            .allow(Fault::Duplicate, 5)
            .allow(Fault::Crash, 4)
            .allow(Fault::LoseSaves, 4);
        let scenario = Self::new("restarts", 3).servers_between(2, 5).clients(2).requests(3);
        scenario.protocol(Protocol::Varied).saves(SaveMode::Delayed).faults(faults)
    }

    /// Servers are cut off from each other: in two halves, in one direction, or with a bridge.
    #[must_use]
    pub fn partitions() -> Self {
        let faults = FaultPlan::none()
            .allow(Fault::Drop, 3)
            .allow(Fault::Duplicate, 3)
            .allow(Fault::Partition, 4)
            .allow(Fault::Pause, 2);
        let scenario = Self::new("partitions", 3).servers_between(3, 5).clients(2).requests(4);
        scenario.protocol(Protocol::Varied).clocks(Clocks::Varied).faults(faults)
    }

    /// Servers come, are promoted, demoted and replaced, while messages are lost and servers crash.
    #[must_use]
    pub fn membership() -> Self {
        let operations = OperationPlan::none().allow(Operation::ChangeMembership, 6);
        let scenario = Self::rough("membership").servers_between(2, 4);
        scenario.spares(3).clocks(Clocks::Varied).operations(operations)
    }

    /// Servers take snapshots every few entries, and who falls behind gets one.
    #[must_use]
    pub fn snapshots() -> Self {
        let operations = OperationPlan::none().allow(Operation::TakeSnapshot, 3);
        Self::rough("snapshots").requests(6).operations(operations).snapshot_entries(3)
    }

    /// Any server is asked for reads while leaders come and go, by rounds of heartbeats and by clocks.
    #[must_use]
    pub fn reads() -> Self {
        let operations = OperationPlan::none()
            .allow(Operation::Read, 20)
            .allow(Operation::TransferLeadership, 2);
        let scenario = Self::rough("reads").servers_between(3, 5).clocks(Clocks::Varied);
        let faults = scenario.faults.allow(Fault::Pause, 2);
        scenario.faults(faults).operations(operations)
    }

    /// Reads by the clock, on clocks that run at different speeds.
    #[must_use]
    pub fn leases() -> Self {
        let operations = OperationPlan::none()
            .allow(Operation::Read, 30)
            .allow(Operation::TransferLeadership, 2);
        let scenario = Self::rough("leases").protocol(Protocol::Full).operations(operations);
        let faults = scenario.faults.allow(Fault::Pause, 2);
        scenario.faults(faults).clocks(Clocks::Drifting)
    }

    /// Leaders are asked to hand over.
    #[must_use]
    pub fn transfer() -> Self {
        let operations = OperationPlan::none().allow(Operation::TransferLeadership, 8);
        Self::rough("transfer").operations(operations)
    }

    /// Everything that can happen, and that can go wrong, in clusters of two to five servers.
    #[must_use]
    pub fn everything() -> Self {
        let operations = OperationPlan::none()
            .allow(Operation::TakeSnapshot, 3)
            .allow(Operation::ChangeMembership, 6)
            .allow(Operation::TransferLeadership, 4)
            .allow(Operation::Read, 12)
            .allow(Operation::Propose, 4);
        let scenario = Self::rough("everything").servers_between(2, 5).requests(8).spares(3);
        let faults = scenario.faults.allow(Fault::Pause, 2);
        let scenario = scenario.faults(faults).operations(operations).snapshot_entries(3);
        scenario.saves(SaveMode::Varied).clocks(Clocks::Varied)
    }

    /// Clients with sessions, one more than the servers keep, ask for several things at once, and again.
    #[must_use]
    pub fn sessions() -> Self {
        // Of a small cluster without slow disks clients hear more within a run.
        let scenario = Self::rough("clients").servers_between(1, 4).saves(SaveMode::Varied);
        let scenario = scenario.clients(3).requests(8);
        // What has to be told apart is a late copy.
        let faults = scenario.faults.allow(Fault::Duplicate, 20);
        scenario.faults(faults).sessions_max(2).snapshot_entries(4)
    }

    /// Messages come as from a subscription of a message bus: in order, but for those whose lock was lost.
    #[must_use]
    pub fn bus() -> Self {
        Self::rough("bus").delivery(Delivery::Bus).servers_between(3, 5)
    }

    /// Real storage on simulated disks, which fail, stall, and lose or tear what was not synced.
    #[must_use]
    pub fn disks() -> Self {
        let operations = OperationPlan::none().allow(Operation::TakeSnapshot, 3);
        let scenario = Self::rough("disk-faults").requests(6).saves(SaveMode::Files);
        let faults = scenario.faults.allow(Fault::DiskError, 2).allow(Fault::DiskStall, 2);
        scenario.faults(faults).operations(operations).snapshot_entries(3)
    }

    /// Every scenario that has a name.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![
            Self::sample(),
            Self::sample_with_failure(),
            Self::partitions(),
            Self::restarts(),
            Self::disks(),
            Self::membership(),
            Self::snapshots(),
            Self::reads(),
            Self::leases(),
            Self::transfer(),
            Self::sessions(),
            Self::bus(),
            Self::small(),
            Self::everything(),
        ]
    }

    /// As [`Scenario::restarts`], with partitions.
    fn rough(name: &str) -> Self {
        let restarts = Self::restarts();
        let faults = restarts.faults.allow(Fault::Partition, 2);
        Self { name: name.to_owned(), faults, ..restarts }
    }

    /// Changes the number of servers.
    #[must_use]
    pub fn servers(mut self, servers: usize) -> Self {
        (self.servers, self.servers_max) = (servers, servers);
        self
    }

    /// Lets each run have between so many and so many servers, which the oracle chooses: some bugs need an
    /// even number, others more than three.
    #[must_use]
    pub fn servers_between(mut self, least: usize, most: usize) -> Self {
        (self.servers, self.servers_max) = (least, most);
        self
    }

    /// Changes the number of clients, who ask independently of each other.
    #[must_use]
    pub fn clients(mut self, clients: usize) -> Self {
        self.clients = clients;
        self
    }

    /// Changes how many requests each client has.
    #[must_use]
    pub fn requests(mut self, requests: u32) -> Self {
        self.requests = requests;
        self
    }

    /// Changes what of the protocol the servers use.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Changes when saves become durable.
    #[must_use]
    pub fn saves(mut self, saves: SaveMode) -> Self {
        self.saves = saves;
        self
    }

    /// Changes what may go wrong.
    #[must_use]
    pub fn faults(mut self, faults: FaultPlan) -> Self {
        self.faults = faults;
        self
    }

    /// Changes how many messages may be in flight before timers, clients and duplication rest. None
    /// is lost by it: what servers answer still goes out.
    #[must_use]
    pub fn in_flight_max(mut self, in_flight_max: usize) -> Self {
        self.in_flight_max = in_flight_max;
        self
    }

    /// Changes how many servers stand by that are no members of the cluster when it begins.
    #[must_use]
    pub fn spares(mut self, spares: usize) -> Self {
        self.spares = spares;
        self
    }

    /// Changes what operators and applications may ask for.
    #[must_use]
    pub fn operations(mut self, operations: OperationPlan) -> Self {
        self.operations = operations;
        self
    }

    /// Changes after how many entries each server takes a snapshot; 0 for never.
    #[must_use]
    pub fn snapshot_entries(mut self, snapshot_entries: u64) -> Self {
        self.snapshot_entries = snapshot_entries;
        self
    }

    /// Changes how many sessions the servers keep; the clients then have several requests under way. With
    /// 0, the servers keep as many as by default, and the clients ask for one thing at a time.
    #[must_use]
    pub fn sessions_max(mut self, sessions_max: u32) -> Self {
        self.sessions_max = sessions_max;
        self
    }

    /// Changes what the clocks have to do with each other.
    #[must_use]
    pub fn clocks(mut self, clocks: Clocks) -> Self {
        self.clocks = clocks;
        self
    }

    /// Changes the order in which messages arrive.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// Changes whether every step must be one of the Raft specification (the property `refinement`). It must,
    /// but in the tutorials' scenarios, whose bugs are to show in what a cluster comes to.
    #[must_use]
    pub fn refines(mut self, refines: bool) -> Self {
        self.refines = refines;
        self
    }

    /// Changes how often the timers of all servers together fire in a run, before it comes to rest; 0 for
    /// no bound. With that and [`Scenario::term_max`] a run has an end, so all runs can be explored.
    #[must_use]
    pub fn timeouts_max(mut self, timeouts_max: u32) -> Self {
        self.timeouts_max = timeouts_max;
        self
    }

    /// Changes the last term for which anyone campaigns, before a run comes to rest; 0 for no bound.
    #[must_use]
    pub fn term_max(mut self, term_max: u64) -> Self {
        self.term_max = term_max;
        self
    }

    /// A cluster so small that everything that can happen in it can be explored: see
    /// [`Exhaustive`](crate::Exhaustive).
    #[must_use]
    pub fn small() -> Self {
        let faults = FaultPlan::none().allow(Fault::Duplicate, 1).allow(Fault::Crash, 1);
        let scenario = Self::new("small", 3).protocol(Protocol::Plain).clients(0).faults(faults);
        scenario.timeouts_max(2).term_max(2)
    }

    /// How many servers there are, members of the cluster or not.
    pub(crate) fn servers_and_spares(&self) -> usize {
        self.servers + self.spares
    }

    /// True if every run has an end, so that everything can be explored.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.timeouts_max > 0
    }

    /// True if the servers may compact their logs.
    pub(crate) fn has_snapshots(&self) -> bool {
        self.snapshot_entries > 0 || self.operations.budget(Operation::TakeSnapshot) > 0
    }

    /// True if more of the protocol is used than elections and replication.
    pub(crate) fn has_operations(&self) -> bool {
        self.has_snapshots() || !self.operations.is_empty()
    }

    /// Chooses what varies from run to run. True if anything does.
    pub(crate) fn vary(&mut self, oracle: &mut Oracle<'_>) -> Result<bool, NotReproducible> {
        let before = self.clone();
        if self.servers_max > self.servers {
            self.servers += oracle.choose(self.servers_max - self.servers + 1, "servers")?;
        }
        if self.protocol == Protocol::Varied {
            let is_plain = oracle.choose(4, "plain_protocol")? == 1;
            self.protocol = if is_plain { Protocol::Plain } else { Protocol::Full };
        }
        if self.saves == SaveMode::Varied {
            self.saves = match oracle.choose(8, "saves")? {
                0..=2 => SaveMode::Immediate,
                3..=6 => SaveMode::Delayed,
                _ => SaveMode::Files,
            };
        }
        if self.clocks == Clocks::Varied {
            self.clocks = match oracle.choose(4, "clocks")? {
                0 | 1 => Clocks::Free,
                2 => Clocks::Common,
                _ => Clocks::Drifting,
            };
        }
        Ok(before.servers_max > before.servers || *self != before)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks that the settings make sense.
    pub(crate) fn validate(&self) -> Result<(), ScenarioError> {
        if self.name.is_empty() || self.name.contains(char::is_whitespace) {
            return Err(ScenarioError::Name { name: self.name.clone() });
        }
        let sizes = [("servers", self.servers), ("in_flight_max", self.in_flight_max)];
        if let Some((setting, _)) = sizes.into_iter().find(|&(_, size)| size == 0) {
            return Err(ScenarioError::Zero { setting });
        }
        // An edited schedule may ask for anything.
        let sizes = [
            ("servers", self.servers, SERVERS_MAX),
            ("servers_max", self.servers_max, SERVERS_MAX),
            ("spares", self.spares, SERVERS_MAX),
            ("clients", self.clients, CLIENTS_MAX),
            ("in_flight_max", self.in_flight_max, IN_FLIGHT_MAX),
        ];
        if let Some((setting, size, max)) = sizes.into_iter().find(|&(_, size, max)| size > max) {
            return Err(ScenarioError::TooLarge { setting, size, max });
        }
        if self.servers_max < self.servers {
            let (least, most) = (self.servers, self.servers_max);
            return Err(ScenarioError::NoSize { least, most });
        }
        Ok(())
    }
}

/// More servers, clients and messages than anyone explores, and few enough to build at once.
const SERVERS_MAX: usize = 99;
const CLIENTS_MAX: usize = 999;
const IN_FLIGHT_MAX: usize = 1 << 20;

/// Why a scenario makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The name would not survive in a schedule.
    #[error("{name:?} is no name for a scenario: it must be one word")]
    Name {
        /// The name.
        name: String,
    },
    /// A setting is larger than anything that can be explored.
    #[error("{setting} is {size}, but at most {max} can be explored")]
    TooLarge {
        /// Its name.
        setting: &'static str,
        /// Its value.
        size: usize,
        /// The largest value.
        max: usize,
    },
    /// There is no such number of servers.
    #[error("no cluster has at least {least} and at most {most} servers")]
    NoSize {
        /// At least.
        least: usize,
        /// At most.
        most: usize,
    },
    /// A setting that must be positive is zero.
    #[error("{setting} must be more than zero")]
    Zero {
        /// Its name.
        setting: &'static str,
    },
}
