//! The door through which messages leave: who carries them is not the core's business.

use crate::message::{
    Address, AppendEntriesRequest, AppendEntriesResponse, ClientRequest, ClientResponse, Envelope,
    InstallSnapshotResponse, Message, ReadIndexRequest, ReadIndexResponse, RegisterClient,
    TimeoutNow, VoteRequest, VoteResponse,
};

/// Models the publish/subscribe system of a cluster: to one server, to all servers, to a client.
///
/// Delivery is best effort: a message may be lost, repeated, delayed or overtaken, and Raft stays
/// safe. So no method waits and none fails; an implementation counts what it could not carry.
///
/// There is one provided method per message. Override one, and you have a network with one fault:
///
/// ```
/// use raft_core::{ClusterManager, Envelope, VoteRequest};
///
/// /// Carries every vote request twice.
/// struct Twice<C>(C);
///
/// impl<C: ClusterManager> ClusterManager for Twice<C> {
///     fn send(&mut self, envelope: Envelope) {
///         self.0.send(envelope);
///     }
///     fn broadcast(&mut self, envelope: Envelope) {
///         self.0.broadcast(envelope);
///     }
///     fn answer(&mut self, envelope: Envelope) {
///         self.0.answer(envelope);
///     }
///     fn broadcast_vote_request(&mut self, envelope: Envelope, _request: VoteRequest) {
///         self.0.broadcast(envelope.clone());
///         self.0.broadcast(envelope);
///     }
/// }
/// ```
pub trait ClusterManager: Send {
    /// Delivers to the one server in `envelope.to`.
    fn send(&mut self, envelope: Envelope);

    /// Delivers to every server but the sender.
    fn broadcast(&mut self, envelope: Envelope);

    /// Delivers to the client in `envelope.to`.
    fn answer(&mut self, envelope: Envelope);

    /// Carries a pre-candidate's question.
    fn broadcast_pre_vote_request(&mut self, envelope: Envelope, _request: VoteRequest) {
        self.route(envelope);
    }

    /// Carries the answer to a pre-candidate.
    fn send_pre_vote_response(&mut self, envelope: Envelope, _response: VoteResponse) {
        self.route(envelope);
    }

    /// Carries a candidate's request.
    fn broadcast_vote_request(&mut self, envelope: Envelope, _request: VoteRequest) {
        self.route(envelope);
    }

    /// Carries a voter's answer.
    fn send_vote_response(&mut self, envelope: Envelope, _response: VoteResponse) {
        self.route(envelope);
    }

    /// Carries a leader's entries or its heartbeat.
    fn send_append_entries_request(&mut self, envelope: Envelope) {
        self.route(envelope);
    }

    /// Carries a follower's answer.
    fn send_append_entries_response(
        &mut self,
        envelope: Envelope,
        _response: AppendEntriesResponse,
    ) {
        self.route(envelope);
    }

    /// Carries a part of a snapshot.
    fn send_install_snapshot_request(&mut self, envelope: Envelope) {
        self.route(envelope);
    }

    /// Carries a follower's answer to a part of a snapshot.
    fn send_install_snapshot_response(
        &mut self,
        envelope: Envelope,
        _response: InstallSnapshotResponse,
    ) {
        self.route(envelope);
    }

    /// Carries a leader's wish that another server lead.
    fn send_timeout_now(&mut self, envelope: Envelope, _request: TimeoutNow) {
        self.route(envelope);
    }

    /// Carries a question for a read index.
    fn send_read_index_request(&mut self, envelope: Envelope, _request: ReadIndexRequest) {
        self.route(envelope);
    }

    /// Carries a read index.
    fn send_read_index_response(&mut self, envelope: Envelope, _response: ReadIndexResponse) {
        self.route(envelope);
    }

    /// Carries a client's wish for a session.
    fn send_register_client(&mut self, envelope: Envelope, _request: RegisterClient) {
        self.route(envelope);
    }

    /// Carries a client's request.
    fn send_client_request(&mut self, envelope: Envelope) {
        self.route(envelope);
    }

    /// Carries the answer to a client.
    fn send_client_response(&mut self, envelope: Envelope) {
        self.route(envelope);
    }

    /// Hands an envelope to the method for its receiver, whatever it says.
    fn route(&mut self, envelope: Envelope) {
        match envelope.to {
            Address::Server(_) => self.send(envelope),
            Address::AllServers => self.broadcast(envelope),
            Address::Client(_) => self.answer(envelope),
        }
    }

    /// Hands an envelope to the method for its message: what a driver calls.
    fn dispatch(&mut self, envelope: Envelope) {
        match envelope.message {
            Message::PreVoteRequest(request) => self.broadcast_pre_vote_request(envelope, request),
            Message::PreVoteResponse(response) => self.send_pre_vote_response(envelope, response),
            Message::VoteRequest(request) => self.broadcast_vote_request(envelope, request),
            Message::VoteResponse(response) => self.send_vote_response(envelope, response),
            Message::AppendEntriesRequest(AppendEntriesRequest { .. }) => {
                self.send_append_entries_request(envelope);
            }
            Message::AppendEntriesResponse(response) => {
                self.send_append_entries_response(envelope, response);
            }
            Message::InstallSnapshotRequest(_) => self.send_install_snapshot_request(envelope),
            Message::InstallSnapshotResponse(response) => {
                self.send_install_snapshot_response(envelope, response);
            }
            Message::TimeoutNow(request) => self.send_timeout_now(envelope, request),
            Message::ReadIndexRequest(request) => self.send_read_index_request(envelope, request),
            Message::ReadIndexResponse(response) => {
                self.send_read_index_response(envelope, response);
            }
            Message::RegisterClient(request) => self.send_register_client(envelope, request),
            Message::ClientRequest(ClientRequest { .. }) => self.send_client_request(envelope),
            Message::ClientResponse(ClientResponse { .. }) => self.send_client_response(envelope),
        }
    }
}

impl<C: ClusterManager + ?Sized> ClusterManager for Box<C> {
    fn send(&mut self, envelope: Envelope) {
        (**self).send(envelope);
    }

    fn broadcast(&mut self, envelope: Envelope) {
        (**self).broadcast(envelope);
    }

    fn answer(&mut self, envelope: Envelope) {
        (**self).answer(envelope);
    }

    // The inner implementation may have overridden any of the rest, so none may be bypassed.
    fn broadcast_pre_vote_request(&mut self, envelope: Envelope, request: VoteRequest) {
        (**self).broadcast_pre_vote_request(envelope, request);
    }

    fn send_pre_vote_response(&mut self, envelope: Envelope, response: VoteResponse) {
        (**self).send_pre_vote_response(envelope, response);
    }

    fn broadcast_vote_request(&mut self, envelope: Envelope, request: VoteRequest) {
        (**self).broadcast_vote_request(envelope, request);
    }

    fn send_vote_response(&mut self, envelope: Envelope, response: VoteResponse) {
        (**self).send_vote_response(envelope, response);
    }

    fn send_append_entries_request(&mut self, envelope: Envelope) {
        (**self).send_append_entries_request(envelope);
    }

    fn send_append_entries_response(
        &mut self,
        envelope: Envelope,
        response: AppendEntriesResponse,
    ) {
        (**self).send_append_entries_response(envelope, response);
    }

    fn send_install_snapshot_request(&mut self, envelope: Envelope) {
        (**self).send_install_snapshot_request(envelope);
    }

    fn send_install_snapshot_response(
        &mut self,
        envelope: Envelope,
        response: InstallSnapshotResponse,
    ) {
        (**self).send_install_snapshot_response(envelope, response);
    }

    fn send_timeout_now(&mut self, envelope: Envelope, request: TimeoutNow) {
        (**self).send_timeout_now(envelope, request);
    }

    fn send_read_index_request(&mut self, envelope: Envelope, request: ReadIndexRequest) {
        (**self).send_read_index_request(envelope, request);
    }

    fn send_read_index_response(&mut self, envelope: Envelope, response: ReadIndexResponse) {
        (**self).send_read_index_response(envelope, response);
    }

    fn send_register_client(&mut self, envelope: Envelope, request: RegisterClient) {
        (**self).send_register_client(envelope, request);
    }

    fn send_client_request(&mut self, envelope: Envelope) {
        (**self).send_client_request(envelope);
    }

    fn send_client_response(&mut self, envelope: Envelope) {
        (**self).send_client_response(envelope);
    }

    fn route(&mut self, envelope: Envelope) {
        (**self).route(envelope);
    }

    fn dispatch(&mut self, envelope: Envelope) {
        (**self).dispatch(envelope);
    }
}
