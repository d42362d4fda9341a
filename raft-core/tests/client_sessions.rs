//! A client that opens sessions and pipelines (dissertation §6.3), against answers made by hand.

use raft_core::{
    Address, Client, ClientConfig, ClientError, ClientEvent, ClientId, ClientResponse,
    ClientResult, ClusterId, Envelope, Index, LogId, Message, SequenceNumber, ServerId, SessionId,
    Term, Timestamp,
};

fn registering(in_flight_max: usize) -> Client {
    let config = ClientConfig::new(ClientId(1), [1, 2, 3].map(ServerId));
    Client::new(ClientConfig { in_flight_max, ..config })
}

fn registered(session: u64) -> ClientResult {
    ClientResult::Registered { session: SessionId(session) }
}

fn asked(envelope: &Envelope) -> (u64, u64, u64) {
    match &envelope.message {
        Message::ClientRequest(request) => {
            (request.session.0, request.sequence_number.0, request.first_incomplete.0)
        }
        other => panic!("{other} is no request"),
    }
}

fn answer(from: u64, number: u64, result: ClientResult) -> Envelope {
    let client_id = ClientId(1);
    let sequence_number = SequenceNumber(number);
    let response = ClientResponse { client_id, sequence_number, result };
    Envelope {
        cluster_id: ClusterId::default(),
        from: ServerId(from).into(),
        to: client_id.into(),
        message: Message::ClientResponse(response),
    }
}

fn not_leader(leader: Option<u64>) -> ClientResult {
    ClientResult::NotLeader { leader: leader.map(ServerId) }
}

fn applied() -> ClientResult {
    let log_id = LogId::new(Term(1), Index(2));
    ClientResult::Applied { log_id, response: "ok".into() }
}

fn sent_to(event: ClientEvent) -> u64 {
    match event {
        ClientEvent::Send(Envelope { to: Address::Server(server), .. }) => server.0,
        other => panic!("{other:?} is no request to a server"),
    }
}

#[test]
fn a_session_is_opened_first_and_named_by_every_request() {
    let mut client = registering(1);
    let first = client.request(Timestamp::ZERO, "x".into()).unwrap();
    assert_eq!(first.to_string(), "c1 → s1 RegisterClient c1#1");
    assert!(!client.was_sent(), "the request itself has not left");
    let event = client.handle(Timestamp::ZERO, answer(1, 1, not_leader(Some(2))));
    assert_eq!(sent_to(event), 2);
    let event = client.handle(Timestamp::ZERO, answer(2, 1, registered(7)));
    let ClientEvent::Send(envelope) = event else { panic!("{event:?}") };
    assert_eq!((asked(&envelope), envelope.to), ((7, 1, 1), ServerId(2).into()));
    assert!(client.was_sent());
    let event = client.handle(Timestamp::ZERO, answer(2, 1, registered(8)));
    assert_eq!(event, ClientEvent::Ignored, "a late copy of the answer");
    let again = client.timer_elapsed(Timestamp::from_millis(500)).unwrap();
    assert_eq!(asked(&again), (7, 1, 1));
    let event = client.handle(Timestamp::ZERO, answer(3, 1, applied()));
    assert!(matches!(event, ClientEvent::Applied { .. }));
    let next = client.request(Timestamp::ZERO, "y".into()).unwrap();
    assert_eq!(asked(&next), (7, 2, 2));
}

#[test]
fn a_session_that_ended_is_told_and_the_next_request_opens_another() {
    let mut client = registering(1);
    client.request(Timestamp::ZERO, "x".into()).unwrap();
    client.handle(Timestamp::ZERO, answer(1, 1, registered(7)));
    let result = ClientResult::SessionExpired;
    let event = client.handle(Timestamp::ZERO, answer(1, 1, result.clone()));
    let sequence_number = SequenceNumber(1);
    assert!(!result.is_definite(), "an earlier copy may have been applied");
    assert_eq!(event, ClientEvent::Refused { sequence_number, result });
    assert_eq!((client.session(), client.next_timeout()), (None, None));
    let next = client.request(Timestamp::ZERO, "y".into()).unwrap();
    assert_eq!(next.to_string(), "c1 → s1 RegisterClient c1#2", "later than the first");
}

#[test]
fn requests_are_pipelined_and_say_which_is_the_first_without_an_answer() {
    let now = Timestamp::ZERO;
    let mut client = registering(3);
    for command in ["a", "b", "c"] {
        client.submit(now, command.into()).unwrap();
    }
    let busy = client.submit(now, "d".into());
    assert_eq!(busy, Err(ClientError::Busy { pending: SequenceNumber(1) }));
    let register = client.timer_elapsed(now).unwrap();
    assert_eq!(register.to_string(), "c1 → s1 RegisterClient c1#1");
    assert_eq!(client.timer_elapsed(now), None, "the requests wait for the session");
    let ClientEvent::Send(first) = client.handle(now, answer(1, 1, registered(7))) else {
        panic!("the first leaves at once")
    };
    let rest: Vec<_> = std::iter::from_fn(|| client.timer_elapsed(now)).collect();
    let all: Vec<_> = [first].iter().chain(&rest).map(asked).collect();
    assert_eq!(all, [(7, 1, 1), (7, 2, 1), (7, 3, 1)]);

    client.handle(now, answer(1, 2, applied()));
    client.submit(now, "d".into()).unwrap();
    assert_eq!(asked(&client.timer_elapsed(now).unwrap()), (7, 4, 1), "1 is not answered");
    client.handle(now, answer(1, 1, applied()));
    client.submit(now, "e".into()).unwrap();
    assert_eq!(asked(&client.timer_elapsed(now).unwrap()), (7, 5, 3));
}

#[test]
fn all_that_are_under_way_follow_a_redirect_and_give_a_silent_server_up_once() {
    let now = Timestamp::ZERO;
    let mut client = registering(2);
    client.submit(now, "a".into()).unwrap();
    client.submit(now, "b".into()).unwrap();
    client.timer_elapsed(now).unwrap();
    client.handle(now, answer(1, 1, registered(7)));
    client.timer_elapsed(now).unwrap();
    for number in [1, 2] {
        let event = client.handle(now, answer(1, number, not_leader(Some(2))));
        assert_eq!(sent_to(event), 2);
    }
    let later = Timestamp::from_millis(500);
    for _ in [1, 2] {
        let again = client.timer_elapsed(later).unwrap();
        assert_eq!(again.to, Address::Server(ServerId(3)), "only one step past the silent one");
    }
}

#[test]
fn requests_of_a_session_that_ended_keep_to_it_and_those_that_wait_get_the_next() {
    let now = Timestamp::ZERO;
    let mut client = registering(3);
    client.submit(now, "a".into()).unwrap();
    client.submit(now, "b".into()).unwrap();
    client.timer_elapsed(now).unwrap();
    client.handle(now, answer(1, 1, registered(7)));
    client.timer_elapsed(now).unwrap();
    client.handle(now, answer(1, 1, ClientResult::SessionExpired));
    client.submit(now, "c".into()).unwrap();
    let register = client.timer_elapsed(now).unwrap();
    assert_eq!(register.to_string(), "c1 → s1 RegisterClient c1#3");
    let ClientEvent::Send(third) = client.handle(now, answer(1, 3, registered(9))) else {
        panic!("it waited for the session")
    };
    assert_eq!(asked(&third), (9, 3, 2));
    let second = client.timer_elapsed(Timestamp::from_millis(500)).unwrap();
    assert_eq!(asked(&second), (7, 2, 2), "it may have been applied in the first session");
    client.handle(now, answer(1, 2, ClientResult::SessionExpired));
    assert_eq!(client.session(), Some(SessionId(9)), "which says nothing of the second");
}

#[test]
fn a_busy_leader_is_asked_again_later() {
    let mut client = Client::new(ClientConfig {
        register: false,
        ..ClientConfig::new(ClientId(1), [1, 2, 3].map(ServerId))
    });
    client.request(Timestamp::ZERO, "x".into()).unwrap();
    // The leader says so itself, also when another server passed the request on.
    for from in [1, 3] {
        let event = client.handle(Timestamp::ZERO, answer(from, 1, ClientResult::Busy));
        assert_eq!(event, ClientEvent::Ignored);
        assert_eq!(client.next_timeout(), Some(Timestamp::from_millis(100)));
    }
    let again = client.timer_elapsed(Timestamp::from_millis(100)).unwrap();
    assert_eq!((asked(&again), again.to), ((0, 1, 1), ServerId(1).into()));
}

#[test]
fn a_registration_goes_on_for_the_next_request_when_one_is_given_up() {
    let mut client = registering(1);
    client.request(Timestamp::ZERO, "x".into()).unwrap();
    client.abandon();
    assert_eq!((client.next_timeout(), client.attempts()), (None, 0));
    let again = client.request(Timestamp::ZERO, "y".into()).unwrap();
    assert_eq!(again.to_string(), "c1 → s1 RegisterClient c1#1");
    let event = client.handle(Timestamp::ZERO, answer(1, 1, registered(7)));
    let ClientEvent::Send(envelope) = event else { panic!("{event:?}") };
    assert_eq!(asked(&envelope), (7, 2, 2));
}
