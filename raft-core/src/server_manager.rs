//! The door through which a server meets its host: who it is, and what it tells.

use crate::log::Entry;
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

    /// The entry is committed: every later leader has it, at this index. Called once per entry and
    /// in log order, for entries without a command and for repeated requests too.
    fn notify_commit(&mut self, _entry: &Entry) {}
}
