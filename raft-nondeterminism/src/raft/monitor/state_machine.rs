//! What the state machines are given, and what they make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash as _;

use raft_core::{ClientId, ClientResult, Index, Payload, SequenceNumber, ServerId};

use crate::fingerprint::StateHasher;

use super::{Fact, Monitor};

/// No state machine applies one request of one client twice, and each applies in log order
/// (dissertation §6.3). Who is restored from a snapshot has applied what that stands for. And no answer
/// is forgotten as long as a client waits for it, unless its session ends.
#[derive(Clone, Debug, Default, Hash)]
pub struct ExactlyOnce {
    servers: BTreeMap<ServerId, Applied>,
    /// What some state machine applied at each place.
    applied: BTreeMap<Index, Request>,
}

/// No client uses a number twice, not even in two sessions.
type Request = (ClientId, SequenceNumber);

/// What the state machine of one server has applied since the server started.
#[derive(Clone, Debug, Default, Hash)]
struct Applied {
    requests: BTreeSet<Request>,
    last: Index,
}

impl Monitor for ExactlyOnce {
    fn property(&self) -> &'static str {
        "exactly-once"
    }

    fn hash_state(&self, state: &mut StateHasher) -> bool {
        self.hash(state);
        true
    }

    fn begin(&mut self) {
        self.servers.clear();
        self.applied.clear();
    }

    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Applied { server, entry, .. } => {
                let applied = self.servers.entry(server).or_default();
                if entry.index <= applied.last {
                    return Err(format!("{server} applied {entry} after {}", applied.last));
                }
                applied.last = entry.index;
                let Payload::Command(request) = &entry.payload else { return Ok(()) };
                let id = (request.client_id, request.sequence_number);
                self.applied.entry(entry.index).or_insert(id);
                if applied.requests.insert(id) {
                    return Ok(());
                }
                Err(format!("{server} applied {}{} twice, now as {entry}", id.0, id.1))
            }
            Fact::Restored { server, last, .. } => {
                let applied = self.servers.entry(server).or_default();
                if last.index <= applied.last {
                    return Err(format!("{server} was restored to {last} after {}", applied.last));
                }
                applied.last = last.index;
                applied.requests = self.applied.range(..=last.index).map(|(_, &id)| id).collect();
                Ok(())
            }
            Fact::RequestRefused { client, sequence_number, result: ClientResult::Superseded } => {
                Err(format!("the answer to {client}{sequence_number} was forgotten too early"))
            }
            Fact::Crashed { server } => {
                // The state machine is rebuilt from the log.
                self.servers.remove(&server);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// All state machines go through the same states, whoever skips, repeats, crashes or is restored from
/// a snapshot, and clients hear of these states (Raft §5.4.3, State Machine Safety).
#[derive(Clone, Debug, Default, Hash)]
pub struct StateMachineSafety {
    /// The digest after each command, and who got there first.
    states: BTreeMap<Index, (u64, ServerId)>,
}

impl Monitor for StateMachineSafety {
    fn property(&self) -> &'static str {
        "state-machine-safety"
    }

    fn hash_state(&self, state: &mut StateHasher) -> bool {
        self.hash(state);
        true
    }

    fn begin(&mut self) {
        self.states.clear();
    }

    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Applied { server, entry, digest } => {
                let (known, first) = *self.states.entry(entry.index).or_insert((digest, server));
                if known == digest {
                    return Ok(());
                }
                Err(format!("{server} is in another state after {entry} than {first} was"))
            }
            Fact::Restored { server, last, digest } => {
                let before = self.states.range(..=last.index).next_back();
                if digest == before.map_or(0, |(_, &(digest, _))| digest) {
                    return Ok(());
                }
                Err(format!("{server} was restored to {last}, but is in another state than that"))
            }
            Fact::Answered { client, sequence_number, log_id, response } => {
                let known = self.states.get(&log_id.index);
                if known.is_some_and(|&(digest, _)| digest == response) {
                    return Ok(());
                }
                Err(format!(
                    "{client}{sequence_number} was told of a state that {log_id} did not make"
                ))
            }
            _ => Ok(()),
        }
    }
}
