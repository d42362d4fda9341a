//! Bytes from the wire and from files: decoding is total and exact, and what was read is written again
//! as it was.

use bytes::Bytes;
use raft_core::codec::{DecodeError, decode_entry, decode_frame, encode_entry, encode_frame};
use raft_core::{
    Config, Effects, HardState, Input, Recovered, Server, ServerId, Snapshot, SnapshotError, Term,
    Timestamp,
};

use super::Seen;

pub(crate) fn run_frame(data: &[u8], seen: &mut Seen) {
    let bytes = Bytes::copy_from_slice(data);
    let envelopes = match decode_frame(&bytes) {
        Ok(envelopes) => envelopes,
        Err(error) => return seen.note("frame", reason(&error), "refused"),
    };
    let mut again = Vec::new();
    encode_frame(&envelopes, &mut again).expect("what was read is one frame");
    assert!(again == bytes, "one frame has one encoding");
    for envelope in envelopes {
        let outcome = envelope.check().err().unwrap_or("taken");
        seen.note("frame", envelope.message.name(), outcome);
        seen.trace(|| format!("{envelope}: {outcome}"));
    }
}

pub(crate) fn run_entry(data: &[u8], seen: &mut Seen) {
    let bytes = Bytes::copy_from_slice(data);
    let entry = match decode_entry(&bytes) {
        Ok(entry) => entry,
        Err(error) => return seen.note("entry", reason(&error), "refused"),
    };
    let mut again = Vec::new();
    encode_entry(&entry, &mut again).expect("what was read is short enough");
    assert!(again == bytes, "one entry has one encoding");
    assert!(again.len() <= entry.size_bytes() + 8, "the size is not underestimated");
    seen.note("entry", if entry.payload.is_command() { "command" } else { "other" }, "read");
    seen.trace(|| entry.to_string());
}

/// A snapshot has a checksum, which no fuzzer would guess: the refusal tells it.
pub(crate) fn run_snapshot(data: &[u8], seen: &mut Seen) {
    let bytes = Bytes::copy_from_slice(data);
    let checksum = match Snapshot::from_bytes(&bytes, 0) {
        Err(SnapshotError::Damaged { found, .. }) => found,
        Ok(_) | Err(_) => 0,
    };
    let snapshot = match Snapshot::from_bytes(&bytes, checksum) {
        Ok(snapshot) => snapshot,
        Err(SnapshotError::Unreadable(error)) => {
            return seen.note("snapshot", reason(&error), "refused");
        }
        Err(_) => return seen.note("snapshot", "damaged", "refused"),
    };
    seen.trace(|| format!("{snapshot:?}"));
    assert_eq!(
        snapshot.parts().map(|part| &part[..]).concat(),
        bytes,
        "its bytes are those it was read from"
    );
    assert_eq!(snapshot.id().size_bytes, bytes.len() as u64);
    // A server that finds it on its disk starts, or says why not.
    let config = Config::new(ServerId(1), [ServerId(1)]);
    let last = snapshot.last();
    let current_term = Term(last.term.0.max(1));
    let recovered = Recovered {
        hard_state: HardState { current_term, voted_for: None },
        start: last,
        snapshot: Some(snapshot),
        entries: Vec::new(),
    };
    let Ok(mut server) = Server::new(config, recovered) else {
        return seen.note("snapshot", "server", "refused");
    };
    let mut effects = Effects::new();
    let mut step = |server: &mut Server, input| {
        effects.clear();
        server.step(Timestamp::ZERO, input, &mut effects).is_ok()
    };
    assert!(step(&mut server, Input::NotifyJoinedService));
    let applied = Input::Applied { through: last.index, responses: Vec::new() };
    let outcome = if step(&mut server, applied) { "restored" } else { "not asked for" };
    step(&mut server, Input::TakeSnapshot);
    seen.note("snapshot", "server", outcome);
}

/// Why bytes were refused, without the numbers.
fn reason(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::NotAFrame => "no magic",
        DecodeError::UnknownVersion { .. } => "unknown version",
        DecodeError::TooLong { .. } => "too long",
        DecodeError::Trailing { .. } => "trailing",
        DecodeError::Malformed { reason } => {
            // The reasons are many; these tell apart how far it came.
            let known = [
                "no envelope",
                "more envelopes than bytes",
                "more items than bytes",
                "an envelope is cut off",
                "a snapshot is cut off",
                "a cluster without voters",
                "a configuration out of order",
                "the frame is cut off",
            ];
            let found = known.into_iter().find(|known| reason == known);
            found.unwrap_or(if reason.starts_with("unknown kind") {
                "unknown kind"
            } else {
                "malformed"
            })
        }
        _ => "other",
    }
}
