//! What can happen to a server: the only way in.

use bytes::Bytes;

use crate::membership::MembershipChange;
use crate::message::Envelope;
use crate::read::ReadMode;
use crate::types::{Index, ReadId, SaveNumber, ServerId};

/// Something that happened to a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The server has joined the service that carries its messages. Until then every other input is
    /// deferred, in order, and none is lost: the order of registration is never a race.
    NotifyJoinedService,
    /// A message arrived.
    Message(Envelope),
    /// The moment has come that [`Server::next_timeout`](crate::Server::next_timeout) named. Too early,
    /// it changes nothing.
    TimerElapsed,
    /// All saves up to this one are durable.
    Saved(SaveNumber),
    /// The state machine has applied what one [`Effect::Apply`](crate::Effect::Apply) asked for, or was
    /// restored as one [`Effect::RestoreSnapshot`](crate::Effect::RestoreSnapshot) asked.
    Applied {
        /// Its last entry.
        through: Index,
        /// What the state machine answered to each of [`Apply::requests`](crate::Apply::requests), in
        /// order. Commands that were proposed here have none: their proposer saw them applied.
        responses: Vec<Bytes>,
    },
    /// The embedding application wants this command replicated, if this server leads. It stands where
    /// [`Server::log`](crate::Server::log) ends after the step, and is applied there or never: compare
    /// term and index.
    Propose(Bytes),
    /// The operator wants these changes made together, if this server leads.
    ChangeMembership(Vec<MembershipChange>),
    /// The operator wants another server to lead: this one, or the one that has caught up best.
    TransferLeadership {
        /// Who; a voter.
        to: Option<ServerId>,
    },
    /// The operator wants a snapshot taken now, whatever the policy says.
    TakeSnapshot,
    /// The state machine gave its state for [`Effect::TakeSnapshot`](crate::Effect::TakeSnapshot).
    SnapshotTaken {
        /// Its `through`.
        through: Index,
        /// The state, in the state machine's own encoding.
        data: Bytes,
    },
    /// The application wants to read what every earlier write has left:
    /// [`Effect::ReadReady`](crate::Effect::ReadReady) says when.
    Read {
        /// Tells this read from every other.
        id: ReadId,
        /// How to make sure.
        mode: ReadMode,
    },
}
