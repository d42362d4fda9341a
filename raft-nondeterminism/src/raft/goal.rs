//! Goals: what should happen at least sometimes, so that a clean report is not one of nothing.

use std::collections::BTreeSet;
use std::fmt;

use raft_core::{ClientResult, Index, Payload, ServerId, Term};

use crate::raft::monitor::Fact;

/// Something that should happen in some runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Goal {
    /// A leader was elected.
    LeaderElected,
    /// A server was elected after another one had been.
    LeaderChanged,
    /// A client's command was committed.
    CommandCommitted,
    /// A client got its answer.
    RequestAnswered,
    /// A client asked for the same thing again.
    RequestRetried,
    /// A server came back after a crash.
    ServerRestarted,
    /// A server that ran was given a snapshot.
    SnapshotInstalled,
    /// A change of the voters was finished.
    JointLeft,
    /// A read was served.
    ReadServed,
    /// A server was elected because its leader had asked it to lead.
    LeadershipTransferred,
    /// A client was told that its session has ended.
    SessionExpired,
    /// A server that came back removed a write that its crash had torn.
    TornWriteRemoved,
}

impl Goal {
    /// How many there are.
    pub const COUNT: usize = 12;
    /// Every goal.
    pub const ALL: [Self; Self::COUNT] = [
        Self::LeaderElected,
        Self::LeaderChanged,
        Self::CommandCommitted,
        Self::RequestAnswered,
        Self::RequestRetried,
        Self::ServerRestarted,
        Self::SnapshotInstalled,
        Self::JointLeft,
        Self::ReadServed,
        Self::LeadershipTransferred,
        Self::SessionExpired,
        Self::TornWriteRemoved,
    ];

    /// The name it has in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LeaderElected => "leader-elected",
            Self::LeaderChanged => "leader-changed",
            Self::CommandCommitted => "command-committed",
            Self::RequestAnswered => "request-answered",
            Self::RequestRetried => "request-retried",
            Self::ServerRestarted => "server-restarted",
            Self::SnapshotInstalled => "snapshot-installed",
            Self::JointLeft => "joint-left",
            Self::ReadServed => "read-served",
            Self::LeadershipTransferred => "leadership-transferred",
            Self::SessionExpired => "session-expired",
            Self::TornWriteRemoved => "torn-write-removed",
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Goal> for &'static str {
    fn from(goal: Goal) -> Self {
        goal.name()
    }
}

/// The goals one run has reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Goals {
    reached: u64,
    leader: Option<ServerId>,
    committed: Index,
    /// The last committed configuration was a joint one.
    is_joint: bool,
    /// Who runs.
    running: BTreeSet<ServerId>,
    /// Who was asked to lead last, and in which term it would.
    successor: Option<(ServerId, Term)>,
}

impl Goals {
    pub(crate) fn observe(&mut self, fact: &Fact<'_>) {
        match *fact {
            Fact::ElectedLeader { server, term, .. } => {
                self.reach(Goal::LeaderElected);
                if self.successor == Some((server, term)) {
                    self.reach(Goal::LeadershipTransferred);
                }
                if self.leader.is_some_and(|before| before != server) {
                    self.reach(Goal::LeaderChanged);
                }
                self.leader = Some(server);
            }
            Fact::Committed { index, log, .. } => {
                let new = log.from(self.committed.next());
                for entry in new.take_while(|entry| entry.index <= index) {
                    if entry.payload.is_command() {
                        self.reach(Goal::CommandCommitted);
                    }
                    if let Payload::Configuration(configuration) = &entry.payload {
                        if self.is_joint && !configuration.is_joint() {
                            self.reach(Goal::JointLeft);
                        }
                        self.is_joint = configuration.is_joint();
                    }
                }
                self.committed = self.committed.max(index);
            }
            Fact::Answered { .. } => self.reach(Goal::RequestAnswered),
            Fact::Retried { .. } => self.reach(Goal::RequestRetried),
            Fact::Configured { server, .. } => drop(self.running.insert(server)),
            // A server that starts is told its configuration last.
            Fact::Restored { server, .. } if self.running.contains(&server) => {
                self.reach(Goal::SnapshotInstalled);
            }
            Fact::Crashed { server } => drop(self.running.remove(&server)),
            Fact::Restarted { was_torn, .. } => {
                self.reach(Goal::ServerRestarted);
                if was_torn {
                    self.reach(Goal::TornWriteRemoved);
                }
            }
            Fact::ReadServed { .. } => self.reach(Goal::ReadServed),
            Fact::RequestRefused { result: ClientResult::SessionExpired, .. } => {
                self.reach(Goal::SessionExpired);
            }
            Fact::AskedToLead { server, term } => self.successor = Some((server, term)),
            Fact::Applied { .. }
            | Fact::Restored { .. }
            | Fact::Decided { .. }
            | Fact::ReadAsked { .. }
            | Fact::ReadFailed { .. }
            | Fact::RequestRefused { .. }
            | Fact::Refused { .. } => {}
        }
    }

    /// A bit for each that was reached.
    pub(crate) fn reached(&self) -> u64 {
        self.reached
    }

    fn reach(&mut self, goal: Goal) {
        self.reached |= 1 << goal as u64;
    }
}
