//! The two doors of the edge, `ClusterManager` and `ServerManager`: which calls are made, and in which
//! order.

use bytes::Bytes;
use mockall::predicate::eq;
use mockall::{Sequence, mock};
use raft_core::{
    Address, AppendEntriesRequest, AppendEntriesResponse, AppendEntriesResult, ClientId,
    ClientRequest, ClientResponse, ClientResult, ClusterId, ClusterManager, Config, Effects,
    Entries, Entry, Envelope, Index, Input, Message, Payload, Recovered, RoleChange, Round,
    SaveNumber, SequenceNumber, Server, ServerId, ServerManager, Term, Timestamp, VoteRequest,
    VoteResponse,
};

mock! {
    Carrier {}

    impl ClusterManager for Carrier {
        fn send(&mut self, envelope: Envelope);
        fn broadcast(&mut self, envelope: Envelope);
        fn answer(&mut self, envelope: Envelope);
    }
}

mock! {
    /// One that overrides every provided method for a message.
    Network {}

    impl ClusterManager for Network {
        fn send(&mut self, envelope: Envelope);
        fn broadcast(&mut self, envelope: Envelope);
        fn answer(&mut self, envelope: Envelope);
        fn broadcast_vote_request(&mut self, envelope: Envelope, request: VoteRequest);
        fn send_vote_response(&mut self, envelope: Envelope, response: VoteResponse);
        fn send_append_entries_request(&mut self, envelope: Envelope);
        fn send_append_entries_response(
            &mut self,
            envelope: Envelope,
            response: AppendEntriesResponse,
        );
        fn send_client_request(&mut self, envelope: Envelope);
        fn send_client_response(&mut self, envelope: Envelope);
        fn route(&mut self, envelope: Envelope);
    }
}

mock! {
    Host {}

    impl ServerManager for Host {
        fn server_id(&self) -> ServerId;
        fn remote_server_ids(&self) -> Vec<ServerId>;
        fn initialize(&mut self);
        fn start(&mut self);
        fn notify_elected_leader(&mut self, term: Term);
        fn notify_role_change(&mut self, change: RoleChange);
        fn notify_commit(&mut self, entry: &Entry);
    }
}

fn envelope(to: impl Into<Address>, message: Message) -> Envelope {
    let cluster_id = ClusterId::default();
    Envelope { cluster_id, from: ServerId(1).into(), to: to.into(), message }
}

fn vote_request() -> VoteRequest {
    VoteRequest {
        term: Term(2),
        candidate_id: ServerId(1),
        last_log_index: Index(0),
        last_log_term: Term(0),
        is_transfer: false,
    }
}

fn vote_response() -> VoteResponse {
    VoteResponse { term: Term(2), vote_granted: true }
}

fn append_response() -> AppendEntriesResponse {
    AppendEntriesResponse { term: Term(2), round: Round(0), result: AppendEntriesResult::StaleTerm }
}

fn change() -> RoleChange {
    RoleChange {
        server_id: ServerId(1),
        from: (Term(2), "candidate"),
        to: (Term(3), "leader"),
        leader: Some(ServerId(1)),
    }
}

/// One envelope of each kind, addressed as servers and clients address it.
fn one_of_each() -> [Envelope; 6] {
    let append = AppendEntriesRequest {
        term: Term(2),
        leader_id: ServerId(1),
        prev_log_index: Index(0),
        prev_log_term: Term(0),
        entries: Entries::new(),
        leader_commit: Index(0),
        round: Round(0),
    };
    let (client_id, sequence_number) = (ClientId(7), SequenceNumber(1));
    let request = ClientRequest::new(client_id, sequence_number, Bytes::from_static(b"x"));
    let response = ClientResponse { client_id, sequence_number, result: ClientResult::Superseded };
    [
        envelope(Address::AllServers, Message::VoteRequest(vote_request())),
        envelope(ServerId(2), Message::VoteResponse(vote_response())),
        envelope(ServerId(2), Message::AppendEntriesRequest(append)),
        envelope(ServerId(2), Message::AppendEntriesResponse(append_response())),
        Envelope {
            from: client_id.into(),
            ..envelope(ServerId(2), Message::ClientRequest(request))
        },
        envelope(client_id, Message::ClientResponse(response)),
    ]
}

#[test]
fn each_message_leaves_by_the_method_for_its_receiver() {
    let mut carrier = MockCarrier::new();
    let mut order = Sequence::new();
    let [to_all, vote, append, appended, request, response] = one_of_each();
    carrier.expect_broadcast().with(eq(to_all)).once().in_sequence(&mut order).return_const(());
    for envelope in [vote, append, appended, request] {
        carrier.expect_send().with(eq(envelope)).once().in_sequence(&mut order).return_const(());
    }
    carrier.expect_answer().with(eq(response)).once().in_sequence(&mut order).return_const(());
    for envelope in one_of_each() {
        carrier.dispatch(envelope);
    }
}

#[test]
fn each_message_is_dispatched_to_the_one_method_for_it() {
    let mut network = MockNetwork::new();
    let mut order = Sequence::new();
    let [vote_asked, voted, append, appended, request, response] = one_of_each();
    network
        .expect_broadcast_vote_request()
        .with(eq(vote_asked), eq(vote_request()))
        .once()
        .in_sequence(&mut order)
        .return_const(());
    network
        .expect_send_vote_response()
        .with(eq(voted), eq(vote_response()))
        .once()
        .in_sequence(&mut order)
        .return_const(());
    network
        .expect_send_append_entries_request()
        .with(eq(append))
        .once()
        .in_sequence(&mut order)
        .return_const(());
    network
        .expect_send_append_entries_response()
        .with(eq(appended), eq(append_response()))
        .once()
        .in_sequence(&mut order)
        .return_const(());
    network
        .expect_send_client_request()
        .with(eq(request))
        .once()
        .in_sequence(&mut order)
        .return_const(());
    network
        .expect_send_client_response()
        .with(eq(response))
        .once()
        .in_sequence(&mut order)
        .return_const(());
    // Through a box, too: an overridden method is never bypassed.
    let mut boxed: Box<dyn ClusterManager> = Box::new(network);
    for envelope in one_of_each() {
        boxed.dispatch(envelope);
    }
}

#[test]
fn a_box_reaches_every_overridden_method_when_called_directly() {
    let [vote_asked, voted, append, appended, request, response] = one_of_each();
    let mut network = MockNetwork::new();
    network.expect_broadcast_vote_request().once().return_const(());
    network.expect_send_vote_response().once().return_const(());
    network.expect_send_append_entries_request().once().return_const(());
    network.expect_send_append_entries_response().once().return_const(());
    network.expect_send_client_request().once().return_const(());
    network.expect_send_client_response().once().return_const(());
    network.expect_send().with(eq(voted.clone())).once().return_const(());
    network.expect_broadcast().with(eq(vote_asked.clone())).once().return_const(());
    network.expect_answer().with(eq(response.clone())).once().return_const(());
    network.expect_route().with(eq(response.clone())).once().return_const(());
    let mut boxed: Box<MockNetwork> = Box::new(network);
    let door: &mut dyn ClusterManager = &mut boxed;
    door.route(response.clone());
    door.send(voted.clone());
    door.broadcast(vote_asked.clone());
    door.answer(response.clone());
    door.broadcast_vote_request(vote_asked, vote_request());
    door.send_vote_response(voted, vote_response());
    door.send_append_entries_request(append);
    door.send_append_entries_response(appended, append_response());
    door.send_client_request(request);
    door.send_client_response(response);
}

/// What is routed goes where it is addressed, whatever it says.
#[test]
fn a_route_goes_by_the_address() {
    let mut carrier = MockCarrier::new();
    let message = || Message::VoteRequest(vote_request());
    let to_one = envelope(ServerId(3), message());
    let to_client = envelope(ClientId(3), message());
    carrier.expect_send().with(eq(to_one.clone())).once().return_const(());
    carrier.expect_answer().with(eq(to_client.clone())).once().return_const(());
    carrier.route(to_one);
    carrier.route(to_client);
}

/// A network with one fault overrides one method and inherits the rest.
#[test]
fn overriding_one_method_changes_that_message_only() {
    struct NoVotes<C>(C);
    impl<C: ClusterManager> ClusterManager for NoVotes<C> {
        fn send(&mut self, envelope: Envelope) {
            self.0.send(envelope);
        }
        fn broadcast(&mut self, envelope: Envelope) {
            self.0.broadcast(envelope);
        }
        fn answer(&mut self, envelope: Envelope) {
            self.0.answer(envelope);
        }
        fn send_vote_response(&mut self, _envelope: Envelope, _response: VoteResponse) {}
    }
    let mut carrier = MockCarrier::new();
    carrier.expect_broadcast().once().return_const(());
    carrier.expect_send().times(3).return_const(());
    carrier.expect_answer().once().return_const(());
    let mut faulty = NoVotes(carrier);
    for envelope in one_of_each() {
        faulty.dispatch(envelope);
    }
}

#[test]
fn a_host_that_only_knows_its_servers_need_do_nothing_else() {
    struct Plain;
    impl ServerManager for Plain {
        fn server_id(&self) -> ServerId {
            ServerId(1)
        }
        fn remote_server_ids(&self) -> Vec<ServerId> {
            vec![ServerId(2)]
        }
    }
    let mut host = Plain;
    host.initialize();
    host.start();
    host.notify_elected_leader(Term(1));
    host.notify_role_change(change());
    host.notify_commit(&Entry { term: Term(1), index: Index(1), payload: Payload::Noop });
    assert_eq!((host.server_id(), host.remote_server_ids()), (ServerId(1), vec![ServerId(2)]));
}

#[test]
fn a_host_hears_of_its_server_in_order() {
    let mut host = MockHost::new();
    let mut order = Sequence::new();
    let entry = Entry { term: Term(3), index: Index(1), payload: Payload::Noop };
    host.expect_initialize().once().in_sequence(&mut order).return_const(());
    host.expect_start().once().in_sequence(&mut order).return_const(());
    host.expect_notify_elected_leader()
        .with(eq(Term(3)))
        .once()
        .in_sequence(&mut order)
        .return_const(());
    host.expect_notify_role_change()
        .with(eq(change()))
        .once()
        .in_sequence(&mut order)
        .return_const(());
    let committed = entry.clone();
    host.expect_notify_commit()
        .withf(move |told| *told == committed)
        .once()
        .in_sequence(&mut order)
        .return_const(());
    let door: &mut dyn ServerManager = &mut host;
    door.initialize();
    door.start();
    door.notify_elected_leader(Term(3));
    door.notify_role_change(change());
    door.notify_commit(&entry);
}

#[test]
fn a_change_of_role_is_told_with_its_terms_and_only_if_there_is_one() {
    let config = Config::new(ServerId(1), [ServerId(1)]);
    let mut server = Server::new(config, Recovered::default()).unwrap();
    let mut effects = Effects::new();
    server.step(Timestamp::ZERO, Input::NotifyJoinedService, &mut effects).unwrap();
    let before = RoleChange::none(&server);
    assert_eq!(before.until(&server), None);
    let late = server.next_timeout().unwrap();
    server.step(late, Input::TimerElapsed, &mut effects).unwrap();
    let candidate = before.until(&server).unwrap();
    assert_eq!(candidate.to_string(), "s1@0 follower ⇨ s1@1 candidate");
    assert_eq!(candidate.leader, None);
    server.step(late, Input::Saved(SaveNumber(1)), &mut effects).unwrap();
    let leader = candidate.until(&server).unwrap();
    assert_eq!(leader.to_string(), "s1@0 follower ⇨ s1@1 leader");
    assert_eq!(leader.leader, Some(ServerId(1)));
}
