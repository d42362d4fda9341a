//! What there is to cover in a cluster: the roles of servers, and everything they can be told.
//!
//! Guarantees: every message and every input has a place, and so does every new one, or this does not
//!             compile.

use raft_core::{Effect, Input, Message, Server};

use crate::coverage::{Coverage, CoveragePlan, Meeting, NodeKind};

/// The place of servers among the kinds.
pub(super) const SERVER: usize = 0;
/// The place of clients.
pub(super) const CLIENT: usize = 1;

const STATES: [&str; 6] = ["follower", "pre-candidate", "candidate", "leader", "learner", "down"];
/// The place of `down` among the states.
pub(super) const DOWN: usize = 5;

const MESSAGES: [&str; 14] = [
    "PreVoteRequest",
    "PreVoteResponse",
    "VoteRequest",
    "VoteResponse",
    "AppendEntriesRequest",
    "AppendEntriesResponse",
    "InstallSnapshotRequest",
    "InstallSnapshotResponse",
    "TimeoutNow",
    "ReadIndexRequest",
    "ReadIndexResponse",
    "RegisterClient",
    "ClientRequest",
    "ClientResponse",
];

const INPUTS: [&str; 10] = [
    "NotifyJoinedService",
    "TimerElapsed",
    "Saved",
    "Applied",
    "Propose",
    "ChangeMembership",
    "TransferLeadership",
    "TakeSnapshot",
    "SnapshotTaken",
    "Read",
];

/// The place of `crash` among the events.
pub(super) const CRASH: usize = MESSAGES.len() + INPUTS.len();
/// The place of `restart`.
pub(super) const RESTART: usize = CRASH + 1;

const CLIENT_STATES: [&str; 2] = ["idle", "waiting"];

pub(super) fn plan() -> CoveragePlan {
    let events: Vec<_> =
        MESSAGES.iter().chain(&INPUTS).chain(&["crash", "restart"]).copied().collect();
    let up = &STATES[..DOWN];
    let server = NodeKind::new("server", &STATES, &events)
        .only(&["down"], &["restart"])
        // A server joins before it has any other role, and only clients get answers of servers.
        .without(up, &["restart", "ClientResponse"])
        .without(&["pre-candidate", "candidate", "leader"], &["NotifyJoinedService"]);
    let client = NodeKind::new("client", &CLIENT_STATES, &MESSAGES)
        .only(&CLIENT_STATES, &["ClientResponse"]);
    CoveragePlan::new(vec![server, client])
}

/// The state in which a server is.
pub(super) fn state_of(server: &Server) -> usize {
    let name = server.role().name();
    if name == STATES[0] && server.configuration().is_learner(server.id()) {
        return 4;
    }
    STATES.iter().position(|state| *state == name).expect("every role is a state")
}

pub(super) fn event_of_message(message: &Message) -> usize {
    match message {
        Message::PreVoteRequest(_) => 0,
        Message::PreVoteResponse(_) => 1,
        Message::VoteRequest(_) => 2,
        Message::VoteResponse(_) => 3,
        Message::AppendEntriesRequest(_) => 4,
        Message::AppendEntriesResponse(_) => 5,
        Message::InstallSnapshotRequest(_) => 6,
        Message::InstallSnapshotResponse(_) => 7,
        Message::TimeoutNow(_) => 8,
        Message::ReadIndexRequest(_) => 9,
        Message::ReadIndexResponse(_) => 10,
        Message::RegisterClient(_) => 11,
        Message::ClientRequest(_) => 12,
        Message::ClientResponse(_) => 13,
    }
}

pub(super) fn event_of(input: &Input) -> usize {
    let place = match input {
        Input::Message(envelope) => return event_of_message(&envelope.message),
        Input::NotifyJoinedService => 0,
        Input::TimerElapsed => 1,
        Input::Saved(_) => 2,
        Input::Applied { .. } => 3,
        Input::Propose(_) => 4,
        Input::ChangeMembership(_) => 5,
        Input::TransferLeadership { .. } => 6,
        Input::TakeSnapshot => 7,
        Input::SnapshotTaken { .. } => 8,
        Input::Read { .. } => 9,
    };
    MESSAGES.len() + place
}

/// Takes in what a server did with some inputs.
pub(super) fn cover_step(
    coverage: &mut Coverage,
    (before, after): (usize, usize),
    heard: impl Iterator<Item = usize>,
    is_refused: bool,
    effects: &[Effect],
) {
    let is_seen = !is_refused && (before != after || !effects.is_empty());
    let meeting = if is_seen { Meeting::Handled } else { Meeting::Ignored };
    heard.for_each(|event| coverage.meet(SERVER, before, event, meeting));
    for effect in effects {
        if let Effect::Send(envelope) = effect {
            coverage.meet(SERVER, after, event_of_message(&envelope.message), Meeting::Sent);
        }
    }
    if before != after {
        coverage.moves(SERVER, before, after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft_core::{Envelope, ServerId, Term, VoteResponse};

    #[test]
    fn every_event_is_at_its_own_place() {
        let plan = plan();
        let events = plan.kinds()[SERVER].events();
        assert_eq!((&*events[CRASH], &*events[RESTART]), ("crash", "restart"));
        assert_eq!(plan.kinds()[SERVER].states()[DOWN], "down");
        let response = VoteResponse { term: Term(1), vote_granted: true };
        let message = Message::VoteResponse(response);
        assert_eq!(events[event_of_message(&message)], message.name());
        let (from, to) = (ServerId(1).into(), ServerId(2).into());
        let envelope = Envelope { cluster_id: Default::default(), from, to, message };
        assert_eq!(events[event_of(&Input::Message(envelope))], "VoteResponse");
        assert_eq!(events[event_of(&Input::TakeSnapshot)], "TakeSnapshot");
        let read = Input::TransferLeadership { to: None };
        assert_eq!(events[event_of(&read)], "TransferLeadership");
    }
}
