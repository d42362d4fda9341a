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
            "restarts" => "servers crash before their saves are durable, and come back",
            "membership" => "servers join, are promoted, demoted and replaced",
            "snapshots" => "servers compact their logs, and who falls behind gets a snapshot",
            "reads" => "any server is asked for reads while leaders come and go",
            "leases" => "reads by the clock, on clocks that show the same",
            "transfer" => "leaders are asked to hand over",
            "everything" => "everything that can happen and that can go wrong, all at once",
            "sessions" => "clients with more sessions than the servers keep",
            "disks" => "real storage on disks that fail, stall, and lose or tear writes",
            _ => "",
        }
    }

    /// True if a run can reach the goal, given enough luck.
    #[must_use]
    pub fn can_reach(&self, goal: Goal) -> bool {
        let crashes = [Fault::Crash, Fault::DiskError];
        let can_crash = crashes.into_iter().any(|fault| self.faults.budget(fault) > 0);
        let can = |operation| self.operations.budget(operation) > 0;
        match goal {
            Goal::LeaderElected => true,
            Goal::LeaderChanged => self.servers + self.spares > 1,
            Goal::CommandCommitted | Goal::RequestAnswered | Goal::RequestRetried => {
                self.clients > 0 && self.requests > 0
            }
            Goal::ServerRestarted => can_crash,
            Goal::SnapshotInstalled => self.has_snapshots() && self.servers + self.spares > 1,
            Goal::JointLeft => can(Operation::ChangeMembership),
            Goal::ReadServed => can(Operation::Read),
            Goal::LeadershipTransferred => {
                can(Operation::TransferLeadership) && self.servers + self.spares > 1
            }
            Goal::SessionExpired => {
                self.sessions_max > 0 && self.clients > self.sessions_max as usize
            }
            Goal::TornWriteRemoved => can_crash && self.saves == SaveMode::Files,
        }
    }
}
