//! The door through which a server meets its host: who it is, and what it tells.

use std::fmt;

use crate::log::Entry;
use crate::server::Server;
use crate::types::{ServerId, Term};

/// Hosts one server: knows its identity and listens to what happens to it.
///
/// Monitors listen here, and so does an application that wants to know more than its
/// [`StateMachine`](crate::StateMachine) is told.
pub trait ServerManager: Send {
    /// The server that is hosted.
    fn server_id(&self) -> ServerId;

    /// Every other server of the cluster.
    fn remote_server_ids(&self) -> Vec<ServerId>;

    /// Called once, before the server does anything: open what it needs.
    fn initialize(&mut self) {}

    /// Called once the server has joined and the protocol begins.
    fn start(&mut self) {}

    /// The server was elected leader of `term`.
    fn notify_elected_leader(&mut self, _term: Term) {}

    /// The server's role, its term, or the leader it knows has changed.
    fn notify_role_change(&mut self, _change: RoleChange) {}

    /// The entry is committed: every later leader has it, at this index. Called once per entry and
    /// in log order, for entries without a command and for repeated requests too. Entries that a
    /// snapshot stands for are left out where it was restored: after a restart, or if the server was far
    /// behind.
    fn notify_commit(&mut self, _entry: &Entry) {}
}

/// What a server was, and what it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The server.
    pub server_id: ServerId,
    /// Its term and the name of its role before.
    pub from: (Term, &'static str),
    /// Its term and the name of its role now.
    pub to: (Term, &'static str),
    /// The leader it follows now, if it knows one: itself, if it leads.
    pub leader: Option<ServerId>,
}

/// `s1@1 leader ⇨ s1@2 follower`.
impl fmt::Display for RoleChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server_id, from, to, .. } = self;
        write!(f, "{server_id}@{} {} ⇨ {server_id}@{} {}", from.0, from.1, to.0, to.1)
    }
}

impl RoleChange {
    /// What a server is, before anything changes.
    #[must_use]
    pub fn none(server: &Server) -> Self {
        let now = (server.current_term(), server.role().name());
        Self { server_id: server.id(), from: now, to: now, leader: server.leader_hint() }
    }

    /// The change from there until now; `None` if term, role and leader are the same.
    #[must_use]
    pub fn until(self, server: &Server) -> Option<Self> {
        let now = Self { from: self.from, ..Self::none(server) };
        ((now.to, now.leader) != (self.to, self.leader)).then_some(now)
    }
}
