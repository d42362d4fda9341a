//! A client against servers that answer anything: a request keeps its number, a number its request.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use raft_core::{
    Client, ClientConfig, ClientError, ClientEvent, ClientId, ClientResponse, ClientResult,
    ClusterId, Envelope, Index, LogId, Message, SequenceNumber, ServerId, SessionId, Term,
    Timestamp,
};

#[derive(Clone, Debug)]
enum Event {
    Request,
    Abandon,
    /// Time passes, perhaps up to the timer.
    Wait(u64),
    Answer {
        from: u64,
        number: u64,
        result: ClientResult,
    },
    Stranger(Envelope),
}

fn event() -> impl Strategy<Value = Event> {
    let result = prop_oneof![
        2 => Just(ClientResult::Applied {
            log_id: LogId::new(Term(1), Index(1)),
            response: Bytes::from_static(b"done"),
        }),
        4 => prop::option::of(0..6_u64)
            .prop_map(|leader| ClientResult::NotLeader { leader: leader.map(ServerId) }),
        1 => Just(ClientResult::Superseded),
        1 => Just(ClientResult::TooLarge { command_bytes: 2, command_bytes_max: 1 }),
    ];
    prop_oneof![
        3 => Just(Event::Request),
        1 => Just(Event::Abandon),
        4 => (0..600_u64).prop_map(Event::Wait),
        6 => (1..4_u64, 0..4_u64, result)
            .prop_map(|(from, back, result)| Event::Answer { from, number: back, result }),
        1 => crate::any::envelope().prop_map(Event::Stranger),
    ]
}

proptest! {
    #![proptest_config(crate::cases(256))]

    #[test]
    fn a_request_never_has_two_numbers_nor_a_number_two_requests(
        events in prop::collection::vec(event(), 1..60),
    ) {
        let servers = [1, 2, 3].map(ServerId);
        let config = ClientConfig::new(ClientId(1), servers);
        let mut client = Client::new(ClientConfig { register: false, ..config });
        let mut now = Timestamp::ZERO;
        let mut asked: BTreeMap<u64, Bytes> = BTreeMap::new();
        let mut answered: Vec<u64> = Vec::new();
        let mut last = 0;
        let mut target = 0;
        for event in events {
            let pending = client.pending().map(|number| number.0);
            let mut sent = None;
            match event {
                Event::Request => {
                    let command = Bytes::from(format!("request {}", asked.len()));
                    match client.request(now, command.clone()) {
                        Ok(envelope) => {
                            prop_assert!(pending.is_none());
                            last += 1;
                            asked.insert(last, command);
                            sent = Some(envelope);
                        }
                        Err(error) => {
                            let number = SequenceNumber(pending.unwrap());
                            prop_assert_eq!(error, ClientError::Busy { pending: number });
                        }
                    }
                }
                Event::Abandon => client.abandon(),
                Event::Wait(millis) => {
                    now = now + std::time::Duration::from_millis(millis);
                    let is_due = client.next_timeout().is_some_and(|deadline| deadline <= now);
                    sent = client.timer_elapsed(now);
                    prop_assert_eq!(sent.is_some(), is_due);
                }
                Event::Answer { from, number, result } => {
                    let number = last.saturating_sub(number);
                    let (client_id, sequence_number) = (ClientId(1), SequenceNumber(number));
                    let message = Message::ClientResponse(ClientResponse {
                        client_id,
                        sequence_number,
                        result: result.clone(),
                    });
                    let cluster_id = ClusterId::default();
                    let (from_server, to) = (ServerId(from), client_id.into());
                    let envelope = Envelope { cluster_id, from: from_server.into(), to, message };
                    match client.handle(now, envelope) {
                        ClientEvent::Ignored => {}
                        ClientEvent::Send(envelope) => {
                            prop_assert_eq!(Some(number), pending);
                            let is_no = matches!(result, ClientResult::NotLeader { .. });
                            prop_assert!(is_no && from == target, "only a redirect is followed");
                            sent = Some(envelope);
                        }
                        ClientEvent::Applied { sequence_number, by, .. } => {
                            prop_assert_eq!(Some(sequence_number.0), pending);
                            prop_assert_eq!(by, from_server);
                            prop_assert!(!answered.contains(&number), "answered once");
                            answered.push(number);
                            prop_assert_eq!(client.pending(), None);
                        }
                        ClientEvent::Refused { sequence_number, .. } => {
                            prop_assert_eq!(Some(sequence_number.0), pending);
                            prop_assert_eq!(client.pending(), None);
                        }
                    }
                }
                Event::Stranger(mut envelope) => {
                    // Of another cluster, so it means nothing.
                    envelope.cluster_id = ClusterId(77);
                    prop_assert_eq!(client.handle(now, envelope), ClientEvent::Ignored);
                }
            }
            if let Some(envelope) = sent {
                let Message::ClientRequest(request) = &envelope.message else {
                    return Err(TestCaseError::fail("a client only asks"));
                };
                prop_assert_eq!(request.sequence_number, SequenceNumber(last));
                prop_assert_eq!(Some(&request.command), asked.get(&last));
                prop_assert_eq!(client.pending(), Some(SequenceNumber(last)));
                prop_assert!(client.next_timeout().unwrap() > now);
                let raft_core::Address::Server(to) = envelope.to else {
                    return Err(TestCaseError::fail("a client asks servers"));
                };
                prop_assert!(servers.contains(&to));
                target = to.0;
            }
        }
    }
}

/// What happens to a client that registers: a server takes something off the network, or is silent.
#[derive(Clone, Debug)]
enum Happening {
    Submit,
    Abandon,
    Wait(u64),
    /// A server answers one of the questions so far, however old: so, or with a no.
    Answer(usize, bool),
    /// All sessions end.
    Expire,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => Just(Happening::Submit),
        1 => Just(Happening::Abandon),
        4 => (0..600_u64).prop_map(Happening::Wait),
        12 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(which, is_taken)| Happening::Answer(which.index(64), is_taken)),
        1 => Just(Happening::Expire),
    ]
}

proptest! {
    #![proptest_config(crate::cases(256))]

    #[test]
    fn a_request_keeps_its_session_and_none_that_is_unanswered_is_below_the_first_incomplete(
        in_flight_max in 1..5_usize,
        happenings in prop::collection::vec(happening(), 1..80),
    ) {
        let config = ClientConfig::new(ClientId(1), [1, 2, 3].map(ServerId));
        let mut client = Client::new(ClientConfig { in_flight_max, ..config });
        let mut now = Timestamp::ZERO;
        let mut sent: Vec<Envelope> = Vec::new();
        let mut sessions: BTreeMap<u64, SessionId> = BTreeMap::new();
        let mut registrations: BTreeMap<u64, SessionId> = BTreeMap::new();
        let mut open: Vec<SessionId> = Vec::new();
        let mut unanswered: Vec<u64> = Vec::new();
        let mut last = 0;
        for happening in happenings {
            let mut event = ClientEvent::Ignored;
            match happening {
                Happening::Submit => match client.submit(now, Bytes::from(vec![last as u8 + 1])) {
                    Ok(number) => {
                        last += 1;
                        prop_assert_eq!(number.0, last);
                        unanswered.push(last);
                    }
                    Err(error) => {
                        prop_assert_eq!(unanswered.len(), in_flight_max);
                        let pending = SequenceNumber(unanswered[0]);
                        prop_assert_eq!(error, ClientError::Busy { pending });
                    }
                },
                Happening::Abandon => {
                    client.abandon();
                    unanswered.clear();
                }
                Happening::Wait(millis) => now = now + std::time::Duration::from_millis(millis),
                Happening::Expire => open.clear(),
                Happening::Answer(which, is_taken) => {
                    let Some(question) = sent.iter().rev().nth(which % sent.len().max(1)) else {
                        continue;
                    };
                    let (sequence_number, result) = match &question.message {
                        Message::RegisterClient(request) => {
                            let session = SessionId(1000 + registrations.len() as u64);
                            let session =
                                *registrations.entry(request.registration.0).or_insert(session);
                            if Some(&session) == registrations.values().last() {
                                open = vec![session];
                            }
                            (request.registration, ClientResult::Registered { session })
                        }
                        Message::ClientRequest(request) if open.contains(&request.session) => {
                            let log_id = LogId::new(Term(1), Index(1));
                            let response = request.command.clone();
                            let result = ClientResult::Applied { log_id, response };
                            (request.sequence_number, result)
                        }
                        Message::ClientRequest(request) => {
                            (request.sequence_number, ClientResult::SessionExpired)
                        }
                        other => return Err(TestCaseError::fail(format!("a client sent {other}"))),
                    };
                    let no = ClientResult::NotLeader { leader: Some(ServerId(2)) };
                    let result = if is_taken { result } else { no };
                    let response = ClientResponse { client_id: ClientId(1), sequence_number, result };
                    let message = Message::ClientResponse(response);
                    let (cluster_id, from) = (question.cluster_id, question.to);
                    let envelope = Envelope { cluster_id, from, to: ClientId(1).into(), message };
                    event = client.handle(now, envelope);
                }
            }
            let mut leaving = Vec::new();
            match event {
                ClientEvent::Ignored => {}
                ClientEvent::Send(envelope) => leaving.push(envelope),
                ClientEvent::Applied { sequence_number, response, .. } => {
                    let place = unanswered.iter().position(|&it| it == sequence_number.0);
                    prop_assert!(place.is_some(), "{} is answered once", sequence_number);
                    unanswered.remove(place.unwrap());
                    prop_assert_eq!(response[0], sequence_number.0 as u8, "the answer to this one");
                }
                ClientEvent::Refused { sequence_number, result } => {
                    prop_assert_eq!(result, ClientResult::SessionExpired);
                    unanswered.retain(|&it| it != sequence_number.0);
                }
            }
            leaving.extend(std::iter::from_fn(|| client.timer_elapsed(now)));
            prop_assert!(client.next_timeout().is_none_or(|at| at > now));
            prop_assert_eq!(client.pending().map(|it| it.0), unanswered.first().copied());
            for envelope in leaving {
                if let Message::ClientRequest(request) = &envelope.message {
                    let number = request.sequence_number.0;
                    prop_assert!(unanswered.contains(&number), "nothing is asked again for nothing");
                    prop_assert_eq!(request.command[0], number as u8);
                    let first = *sessions.entry(number).or_insert(request.session);
                    prop_assert_eq!(first, request.session, "the session of {}", number);
                    prop_assert_eq!(request.first_incomplete.0, unanswered[0]);
                }
                sent.push(envelope);
            }
        }
    }
}

/// Each part of an answer's address is checked: it may be for someone else in every one of them.
#[test]
fn an_answer_for_someone_else_is_ignored() {
    let right = || {
        let (client_id, sequence_number) = (ClientId(1), SequenceNumber(1));
        let log_id = LogId::new(Term(1), Index(1));
        let result = ClientResult::Applied { log_id, response: Bytes::new() };
        let response = ClientResponse { client_id, sequence_number, result };
        let envelope = Envelope {
            cluster_id: ClusterId::default(),
            from: ServerId(1).into(),
            to: client_id.into(),
            message: Message::ClientResponse(response.clone()),
        };
        (envelope, response)
    };
    let (envelope, response) = right();
    let with = |response| Envelope { message: Message::ClientResponse(response), ..right().0 };
    let wrong = [
        Envelope { cluster_id: ClusterId(9), ..right().0 },
        Envelope { from: ClientId(1).into(), ..right().0 },
        Envelope { to: ServerId(1).into(), ..right().0 },
        Envelope { to: ClientId(2).into(), ..right().0 },
        with(ClientResponse { client_id: ClientId(2), ..response.clone() }),
        with(ClientResponse { sequence_number: SequenceNumber(0), ..response.clone() }),
        with(ClientResponse { sequence_number: SequenceNumber(2), ..response }),
    ];
    let config = ClientConfig::new(ClientId(1), [ServerId(1)]);
    let mut client = Client::new(ClientConfig { register: false, ..config });
    client.request(Timestamp::ZERO, Bytes::new()).unwrap();
    for envelope in wrong {
        assert_eq!(client.handle(Timestamp::ZERO, envelope.clone()), ClientEvent::Ignored);
    }
    assert!(matches!(client.handle(Timestamp::ZERO, envelope), ClientEvent::Applied { .. }));
}

#[test]
fn a_client_without_servers_says_so() {
    let mut client = Client::new(ClientConfig::new(ClientId(1), []));
    let error = client.request(Timestamp::ZERO, Bytes::new()).unwrap_err();
    assert_eq!(error, ClientError::NoServers);
    assert_eq!((client.pending(), client.next_timeout(), client.attempts()), (None, None, 0));
}
