//! Scenarios, planted bugs and properties by name.

use raft_core::Defect;
use raft_nondeterminism::{
    CommittedPrefix, ConfigurationSafety, DurableMajority, ElectionSafety, ExactlyOnce, Explorer,
    LeaderCompleteness, LinearizableReads, Scenario, StateMachineSafety,
};

use super::names;

/// A property with a name.
pub(crate) struct Property {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// Every run is watched for it.
    pub(crate) is_standard: bool,
    watch: fn(Explorer) -> Explorer,
}

/// Every property.
pub(crate) const PROPERTIES: [Property; 12] = [
    Property {
        name: "election-safety",
        description: "at most one leader in each term",
        is_standard: true,
        watch: |explorer| explorer.monitor(ElectionSafety::default()),
    },
    Property {
        name: "leader-completeness",
        description: "what was committed is in the log of every later leader",
        is_standard: true,
        watch: |explorer| explorer.monitor(LeaderCompleteness::default()),
    },
    Property {
        name: "committed-prefix",
        description: "what was committed stays, in the same place on all servers",
        is_standard: true,
        watch: |explorer| explorer.monitor(CommittedPrefix::default()),
    },
    Property {
        name: "exactly-once",
        description: "no request takes effect twice",
        is_standard: true,
        watch: |explorer| explorer.monitor(ExactlyOnce::default()),
    },
    Property {
        name: "state-machine-safety",
        description: "all state machines go through the same states",
        is_standard: true,
        watch: |explorer| explorer.monitor(StateMachineSafety::default()),
    },
    Property {
        name: "configuration-safety",
        description: "configurations that follow on each other share a majority",
        is_standard: true,
        watch: |explorer| explorer.monitor(ConfigurationSafety::default()),
    },
    Property {
        name: "linearizable-reads",
        description: "a read sees every write that was answered before it was asked for",
        is_standard: true,
        watch: |explorer| explorer.monitor(LinearizableReads::default()),
    },
    Property {
        name: "refinement",
        description: "every step is one of the Raft specification (raft.tla, and its extensions)",
        is_standard: true,
        watch: Explorer::with_refinement,
    },
    Property {
        name: "durable-majority",
        description: "votes and committed entries are on the disks of a majority when they count",
        is_standard: false,
        watch: |explorer| explorer.monitor(DurableMajority),
    },
    Property {
        name: "comes-to-rest",
        description: "when nothing goes wrong any more, everything that is under way ends (--settle)",
        is_standard: false,
        watch: Explorer::settle,
    },
    Property {
        name: "no-panic",
        description: "no server panics",
        is_standard: true,
        watch: |explorer| explorer,
    },
    Property {
        name: "max-steps",
        description: "a run ends by itself before --max-steps (--fail-on-max-steps)",
        is_standard: false,
        watch: Explorer::fail_at_max_steps,
    },
];

/// The scenario with this name.
pub(crate) fn scenario(name: &str) -> anyhow::Result<Scenario> {
    let all = Scenario::all();
    names::find(&all, "scenario", name, Scenario::name).cloned()
}

/// The planted bug with this name, or none.
pub(crate) fn defect(name: &str) -> anyhow::Result<Option<Defect>> {
    if name == "none" {
        return Ok(None);
    }
    let found = names::find(&Defect::ALL, "planted defect", name, |defect| defect.name())?;
    Ok(Some(*found))
}

/// Watches for these properties only, or, if there are none, for the standard ones.
pub(crate) fn watch(mut explorer: Explorer, properties: &[String]) -> anyhow::Result<Explorer> {
    if !properties.is_empty() {
        explorer = explorer.without_monitors();
    }
    for name in properties {
        let property = names::find(&PROPERTIES, "property", name, |property| property.name)?;
        explorer = (property.watch)(explorer);
    }
    Ok(explorer)
}
