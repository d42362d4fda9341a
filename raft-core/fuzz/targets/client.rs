//! A client: it never asks for two things under one number, and believes only the answer to the request
//! under way.

use std::time::Duration;

use raft_core::{
    Address, Client, ClientConfig, ClientEvent, ClientId, ClientResponse, ClientResult, ClusterId,
    Envelope, Index, LogId, Message, SequenceNumber, ServerId, SessionId, Term, Timestamp,
};

use super::Seen;
use super::source::Source;

const ME: ClientId = ClientId(7);

pub(crate) fn run(data: &[u8], seen: &mut Seen) {
    let mut source = Source::new(data);
    let mut config = ClientConfig::new(ME, (1..=source.below(4)).map(ServerId));
    config.first_sequence_number = SequenceNumber(1 + source.below(5));
    let mut client = Client::new(config);
    let mut now = Timestamp::ZERO;
    let mut asked: Vec<(SequenceNumber, bytes::Bytes)> = Vec::new();
    while !source.is_empty() {
        match source.below(5) {
            0 => {
                let command = source.bytes();
                match client.request(now, command) {
                    Ok(envelope) => note_question(&mut asked, &envelope),
                    Err(error) => seen.trace(|| error.to_string()),
                }
            }
            1 => {
                let wait = Duration::from_millis(source.below(256) * 4);
                now = client.next_timeout().unwrap_or(now).max(now) + wait;
                if let Some(envelope) = client.timer_elapsed(now) {
                    note_question(&mut asked, &envelope);
                    seen.note("client", "timer", "asks again");
                }
            }
            2 if source.byte() == 0 => client.abandon(),
            _ => {
                let answer = answer(&mut source, client.pending().unwrap_or_default());
                seen.trace(|| answer.to_string());
                let pending = client.pending();
                let (event, name) = (client.handle(now, answer), "answer");
                seen.trace(|| format!("{event:?}"));
                match event {
                    ClientEvent::Ignored => seen.note("client", name, "ignored"),
                    ClientEvent::Send(envelope) => {
                        note_question(&mut asked, &envelope);
                        seen.note("client", name, "redirected");
                    }
                    ClientEvent::Applied { sequence_number, .. } => {
                        assert_eq!(pending, Some(sequence_number), "it was under way");
                        assert_eq!(client.pending(), None);
                        seen.note("client", name, "applied");
                    }
                    ClientEvent::Refused { sequence_number, .. } => {
                        assert_eq!(pending, Some(sequence_number), "it was under way");
                        seen.note("client", name, "refused");
                    }
                }
            }
        }
        let is_busy = client.pending().is_some();
        assert_eq!(client.next_timeout().is_some(), is_busy, "what is under way has an end");
    }
}

/// A number is never used for a second command, and never goes back.
fn note_question(asked: &mut Vec<(SequenceNumber, bytes::Bytes)>, envelope: &Envelope) {
    assert_eq!(envelope.from, Address::Client(ME));
    let Message::ClientRequest(request) = &envelope.message else { return };
    let question = (request.sequence_number, request.command.clone());
    match asked.last() {
        Some(last) if last.0 == question.0 => assert_eq!(*last, question, "a retry is the same"),
        Some(last) => {
            assert!(question.0 > last.0, "numbers ascend");
            asked.push(question);
        }
        None => asked.push(question),
    }
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
