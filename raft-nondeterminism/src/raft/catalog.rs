//! What the scenarios with a name are for, and what can happen in them at all.

use crate::fault::Fault;
use crate::operation::Operation;
use crate::raft::goal::Goal;
use crate::raft::scenario::{SaveMode, Scenario};

impl Scenario {
    /// What it is for, in a line; nothing is known of those that are not in [`Scenario::all`].
    #[must_use]
    pub fn description(&self) -> &'static str {
        match self.name() {
            "sample" => "the CloudMessaging sample's first tutorial: messages overtake",
            "sample-with-failure" => {
                "the sample's second tutorial: messages are lost and come twice"
            }
            "partitions" => "servers are cut off in halves, one way or with a bridge, and pause",
            "restarts" => "servers crash before their saves are durable, and come back",
            "disk-faults" => "real storage on disks that fail, stall, and lose or tear writes",
            "membership" => "servers join, are promoted, demoted and replaced",
            "snapshots" => "servers compact their logs, and who falls behind gets a snapshot",
            "reads" => "any server is asked for reads while leaders come and go",
            "leases" => "reads by the clock, on clocks that run at different speeds",
            "transfer" => "leaders are asked to hand over",
            "clients" => "more sessions than the servers keep, and several requests at once",
            "bus" => "messages come in order, as from a message bus, or come again",
            "small" => "a cluster so small that everything that can happen can be explored",
            "everything" => "everything that can happen and that can go wrong, all at once",
            _ => "",
        }
    }

    /// True if a run can reach the goal, given enough luck.
    #[must_use]
    pub fn can_reach(&self, goal: Goal) -> bool {
        let crashes = [Fault::Crash, Fault::DiskError];
        let can_crash = crashes.into_iter().any(|fault| self.faults.budget(fault) > 0);
        let can_be_many = self.servers_max + self.spares > 1;
        let can = |operation| self.operations.budget(operation) > 0;
        match goal {
            Goal::LeaderElected => true,
            Goal::LeaderChanged => can_be_many,
            Goal::CommandCommitted | Goal::RequestAnswered | Goal::RequestRetried => {
                self.clients > 0 && self.requests > 0
            }
            Goal::ServerRestarted => can_crash,
            Goal::SnapshotInstalled => self.has_snapshots() && can_be_many,
            Goal::JointLeft => can(Operation::ChangeMembership),
            Goal::ReadServed => can(Operation::Read),
            Goal::LeadershipTransferred => can(Operation::TransferLeadership) && can_be_many,
            Goal::SessionExpired => {
                self.sessions_max > 0 && self.clients > self.sessions_max as usize
            }
            Goal::TornWriteRemoved => {
                can_crash && matches!(self.saves, SaveMode::Files | SaveMode::Varied)
            }
        }
    }
}
