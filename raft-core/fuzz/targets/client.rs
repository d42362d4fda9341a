//! A client: it never asks for two things under one number, and believes only the answer to the request
//! under way.

use std::collections::BTreeMap;
use std::time::Duration;

use raft_core::{
    Address, Client, ClientConfig, ClientEvent, ClientId, ClientRequest, ClientResponse,
    ClientResult, ClusterId, Envelope, Index, LogId, Message, SequenceNumber, ServerId, SessionId,
    Term, Timestamp,
};

use super::Seen;
use super::source::Source;

const ME: ClientId = ClientId(7);

pub(crate) fn run(data: &[u8], seen: &mut Seen) {
    let mut source = Source::new(data);
    let mut config = ClientConfig::new(ME, (1..=source.below(4)).map(ServerId));
    config.first_sequence_number = SequenceNumber(1 + source.below(5));
    config.register = source.flag();
    config.in_flight_max = 1 + source.below(4) as usize;
    let mut client = Client::new(config);
    let mut now = Timestamp::ZERO;
    let mut asked = BTreeMap::new();
    while !source.is_empty() {
        match source.below(6) {
            0 => {
                let command = source.bytes();
                match client.request(now, command) {
                    Ok(envelope) => note_question(&mut asked, &envelope),
                    Err(error) => seen.trace(|| error.to_string()),
                }
            }
            1 => {
                let command = source.bytes();
                let result = client.submit(now, command);
                seen.note("client", "submit", if result.is_ok() { "taken" } else { "busy" });
            }
            2 => {
                let wait = Duration::from_millis(source.below(256) * 4);
                now = client.next_timeout().unwrap_or(now).max(now) + wait;
                for _ in 0..16 {
                    let Some(envelope) = client.timer_elapsed(now) else { break };
                    note_question(&mut asked, &envelope);
                    seen.note("client", "timer", envelope.message.name());
                }
                let next = client.next_timeout();
                assert!(next.is_none_or(|next| next > now), "whatever was due was sent");
            }
            3 if source.byte() == 0 => client.abandon(),
            _ => {
                let number = client.pending().unwrap_or_default();
                let answer = answer(&mut source, number);
                seen.trace(|| answer.to_string());
                let event = client.handle(now, answer);
                seen.trace(|| format!("{event:?}"));
                match event {
                    ClientEvent::Ignored => seen.note("client", "answer", "ignored"),
                    ClientEvent::Send(envelope) => {
                        note_question(&mut asked, &envelope);
                        seen.note("client", "answer", envelope.message.name());
                    }
                    ClientEvent::Applied { sequence_number, .. } => {
                        assert!(asked.contains_key(&sequence_number), "it was asked for");
                        seen.note("client", "answer", "applied");
                    }
                    ClientEvent::Refused { sequence_number, .. } => {
                        assert!(asked.contains_key(&sequence_number), "it was asked for");
                        seen.note("client", "answer", "refused");
                    }
                }
            }
        }
        let is_busy = client.pending().is_some();
        assert_eq!(client.next_timeout().is_some(), is_busy, "what is under way has an end");
    }
}

/// A number is never used for a second command, nor in a second session.
fn note_question(asked: &mut BTreeMap<SequenceNumber, ClientRequest>, envelope: &Envelope) {
    assert_eq!(envelope.from, Address::Client(ME));
    let Message::ClientRequest(request) = &envelope.message else { return };
    let first = asked.entry(request.sequence_number).or_insert_with(|| request.clone());
    let first = (first.session, &first.command);
    assert_eq!(first, (request.session, &request.command), "a retry is the same");
}

fn answer(source: &mut Source<'_>, pending: SequenceNumber) -> Envelope {
    let client_id = ClientId(source.near(ME.0));
    let result = match source.below(7) {
        0 => ClientResult::Applied {
            log_id: LogId::new(Term(source.near(1)), Index(source.near(1))),
            response: source.bytes(),
        },
        1 => ClientResult::NotLeader { leader: source.flag().then(|| ServerId(source.below(6))) },
        2 => ClientResult::Registered { session: SessionId(source.near(1)) },
        3 => ClientResult::Superseded,
        4 => ClientResult::SessionExpired,
        5 => ClientResult::Busy,
        _ => ClientResult::TooLarge { command_bytes: source.near(9), command_bytes_max: 1 },
    };
    let sequence_number = SequenceNumber(source.near(pending.0));
    Envelope {
        cluster_id: ClusterId(source.near(0)),
        from: Address::Server(ServerId(1 + source.below(4))),
        to: Address::Client(ClientId(source.near(ME.0))),
        message: Message::ClientResponse(ClientResponse { client_id, sequence_number, result }),
    }
}
