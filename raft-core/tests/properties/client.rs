//! A client against servers that answer anything: a request keeps its number, a number its request.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use raft_core::{
    Client, ClientConfig, ClientError, ClientEvent, ClientId, ClientResponse, ClientResult,
    ClusterId, Envelope, Index, LogId, Message, SequenceNumber, ServerId, Term, Timestamp,
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
        let mut client = Client::new(ClientConfig::new(ClientId(1), servers));
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
    let mut client = Client::new(ClientConfig::new(ClientId(1), [ServerId(1)]));
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
