//! The client as a function, over more than one question.

use raft_core::{
    Address, Client, ClientConfig, ClientEvent, ClientId, ClientResponse, ClientResult, ClusterId,
    Envelope, Message, SequenceNumber, ServerId, Timestamp,
};

const ID: ClientId = ClientId(1);

/// `from` says that `leader` leads.
fn redirect(from: u64, leader: u64) -> Envelope {
    let result = ClientResult::NotLeader { leader: Some(ServerId(leader)) };
    let response = ClientResponse { client_id: ID, sequence_number: SequenceNumber(1), result };
    Envelope {
        cluster_id: ClusterId::default(),
        from: ServerId(from).into(),
        to: ID.into(),
        message: Message::ClientResponse(response),
    }
}

fn asked(event: ClientEvent) -> Option<Address> {
    match event {
        ClientEvent::Send(envelope) => Some(envelope.to),
        ClientEvent::Ignored => None,
        other => panic!("{other:?}"),
    }
}

/// Only circles are cut short: after a wait, the cluster may have made up its mind.
#[test]
fn a_client_that_has_waited_follows_redirects_again() {
    for register in [false, true] {
        let config = ClientConfig::new(ID, [1, 2].map(ServerId));
        let mut client = Client::new(ClientConfig { register, ..config });
        client.request(Timestamp::ZERO, "x".into()).unwrap();
        for _ in 0..3 {
            let now = client.next_timeout().unwrap();
            assert_eq!(asked(client.handle(now, redirect(1, 2))), Some(ServerId(2).into()));
            assert_eq!(asked(client.handle(now, redirect(2, 1))), Some(ServerId(1).into()));
            assert_eq!(asked(client.handle(now, redirect(1, 2))), None, "they point at each other");
            let again = client.timer_elapsed(client.next_timeout().unwrap()).unwrap();
            assert_eq!(again.to, ServerId(2).into());
            // Server 2 was just asked; let it be server 1's turn.
            let now = client.next_timeout().unwrap();
            assert_eq!(asked(client.handle(now, redirect(2, 1))), Some(ServerId(1).into()));
            let now = client.next_timeout().unwrap();
            client.timer_elapsed(now).unwrap();
            client.timer_elapsed(client.next_timeout().unwrap()).unwrap();
        }
    }
}
