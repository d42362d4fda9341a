//! Snapshots that are not what they should be.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, append};
use bytes::{Bytes, BytesMut};
use raft_core::{
    Config, Effects, Index, Input, InstallSnapshotRequest, LogId, Message, Round, ServerId,
    Snapshot, SnapshotError, SnapshotId, StepError, Term,
};

/// What the server in the middle of the table has committed is entry 2 of term 1.
fn follower() -> Bench {
    let mut server = Bench::with(3, 1, None, Vec::new(), |_: &mut Config| {});
    server.receive(2, append(1, 2, (0, 0), &[1, 1], 2));
    assert_eq!(server.commit_index(), 2);
    server
}

#[test]
fn a_snapshot_with_a_damaged_byte_is_none() {
    let mut server = follower();
    server.step(Input::TakeSnapshot).unwrap();
    let snapshot = server.server.snapshot().unwrap();
    let [header, data] = snapshot.parts();
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(data);
    let checksum = snapshot.id().checksum;
    assert_eq!(Snapshot::from_bytes(&bytes.clone().freeze(), checksum).unwrap(), *snapshot);
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        let found = Snapshot::from_bytes(&damaged.freeze(), checksum);
        assert!(matches!(found, Err(SnapshotError::Damaged { .. })), "byte {place}: {found:?}");
    }
}

/// Every leader has what is committed, so one that sends another entry in that place is none.
#[test]
fn a_snapshot_that_ends_in_another_committed_entry_is_refused() {
    for (last, is_refused) in [((1, 2), true), ((2, 2), true), ((3, 2), false)] {
        let last = LogId::new(Term(last.1), Index(last.0));
        let request = InstallSnapshotRequest {
            term: Term(3),
            leader_id: ServerId(3),
            round: Round(1),
            id: SnapshotId { last, size_bytes: 9, checksum: 7 },
            offset: 0,
            data: Bytes::from_static(b"x"),
        };
        let message = Message::InstallSnapshotRequest(Box::new(request));
        if is_refused {
            let error = follower().refuse(3, message);
            assert!(matches!(error, StepError::CommittedConflict { .. }), "{last}: {error}");
        } else {
            follower().receive(3, message);
        }
    }
}

#[test]
fn a_state_that_was_not_asked_for_is_refused() {
    let mut server = follower();
    let mut effects = Effects::new();
    server.server.step(server.now, Input::TakeSnapshot, &mut effects).unwrap();
    for (through, is_asked) in [(1, false), (3, false), (2, true), (2, false)] {
        let input = Input::SnapshotTaken { through: Index(through), data: Bytes::new() };
        let result = server.server.step(server.now, input, &mut effects);
        assert_eq!(result.is_ok(), is_asked, "through {through}: {result:?}");
    }
}
