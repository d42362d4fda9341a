//! The codec of `raft-core`: a frame with one AppendEntries request.

use bytes::Bytes;
use raft_core::codec::{decode_frame, encode_frame};
use raft_core::{
    AppendEntriesRequest, ClusterId, Entry, Envelope, Index, Message, Payload, Round, ServerId,
    Term,
};

use crate::codec::Codec;

/// One envelope.
#[derive(Debug)]
pub struct OurCodec {
    envelopes: [Envelope; 1],
}

/// A command without a client's session, which no peer has in its entries either.
fn entry(place: usize, command: Bytes) -> Entry {
    let index = Index(place as u64 + 8);
    Entry { term: Term(1), index, payload: Payload::Proposal(command) }
}

fn command_bytes(entry: &Entry) -> usize {
    entry.payload.command().map_or(0, Bytes::len)
}

impl Codec for OurCodec {
    fn new(commands: Vec<Bytes>) -> Self {
        let entries = commands.into_iter().enumerate();
        let request = AppendEntriesRequest {
            term: Term(1),
            leader_id: ServerId(1),
            prev_log_index: Index(7),
            prev_log_term: Term(1),
            entries: entries.map(|(place, command)| entry(place, command)).collect(),
            leader_commit: Index(7),
            round: Round(1),
        };
        let message = Message::AppendEntriesRequest(request);
        let (from, to) = (ServerId(1).into(), ServerId(2).into());
        Self { envelopes: [Envelope { cluster_id: ClusterId(1), from, to, message }] }
    }

    fn encode(&self, buffer: &mut Vec<u8>) {
        encode_frame(&self.envelopes, buffer).expect("it fits into a frame");
    }

    fn decode(frame: &Bytes) -> usize {
        let envelopes = decode_frame(frame).expect("it was encoded here");
        let commands = envelopes.iter().map(|envelope| match &envelope.message {
            Message::AppendEntriesRequest(request) => {
                request.entries.iter().map(command_bytes).sum::<usize>()
            }
            other => unreachable!("nobody sent a {}", other.name()),
        });
        commands.sum()
    }
}
