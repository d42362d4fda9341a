//! Snapshots that are not what they should be.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, append, entries};
use bytes::{Bytes, BytesMut};
use raft_core::{
    Config, Effects, HardState, Index, Input, InstallSnapshotRequest, LogId, Message,
    NewServerError, Recovered, Round, Server, ServerId, Snapshot, SnapshotError, SnapshotId,
    StepError, Term,
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

/// Terms never decrease along a log, so one that ends in an older term cannot hold what is committed.
#[test]
fn a_snapshot_of_an_older_term_than_what_is_committed_is_refused() {
    let mut server = Bench::with(3, 2, None, Vec::new(), |_: &mut Config| {});
    server.receive(2, append(2, 2, (0, 0), &[2, 2], 2));
    let error = server.refuse(3, chunk((3, 1)));
    assert!(matches!(error, StepError::CommittedConflict { .. }), "{error}");
    server.receive(3, chunk((3, 2)));
}

/// The first byte of a snapshot of a leader of term 3.
fn chunk((index, term): (u64, u64)) -> Message {
    let last = LogId::new(Term(term), Index(index));
    Message::InstallSnapshotRequest(Box::new(InstallSnapshotRequest {
        term: Term(3),
        leader_id: ServerId(3),
        round: Round(1),
        id: SnapshotId { last, size_bytes: 9, checksum: 7 },
        offset: 0,
        data: Bytes::from_static(b"x"),
    }))
}

/// Every leader has what is committed, so one that sends another entry in that place is none.
#[test]
fn a_snapshot_that_ends_in_another_committed_entry_is_refused() {
    for (last, is_refused) in [((1, 2), true), ((2, 2), true), ((3, 2), false)] {
        let message = chunk(last);
        if is_refused {
            let error = follower().refuse(3, message);
            assert!(matches!(error, StepError::CommittedConflict { .. }), "{last:?}: {error}");
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

/// What storage recovered of a server of three in term 2, and what becomes of it.
fn restart(recovered: Recovered) -> Result<Server, NewServerError> {
    let hard_state = HardState { current_term: Term(2), voted_for: None };
    let config = Config::new(ServerId(1), [1, 2, 3].map(ServerId));
    Server::new(config, Recovered { hard_state, ..recovered })
}

#[test]
fn a_log_whose_beginning_is_gone_needs_its_snapshot() {
    let start = LogId::new(Term(1), Index(2));
    for entries in [Vec::new(), entries(3, &[1])] {
        let result = restart(Recovered { start, entries, ..Recovered::default() });
        assert_eq!(result.map(|_| ()), Err(NewServerError::NoSnapshot { start }));
    }
}

/// A crash may come between an installed snapshot and the end of the log that it replaces.
#[test]
fn a_log_that_contradicts_the_recovered_snapshot_is_gone() {
    let mut server = follower();
    server.step(Input::TakeSnapshot).unwrap();
    let snapshot = server.server.snapshot().cloned();
    for (terms, kept) in [(&[1, 2, 2][..], 0), (&[1], 0), (&[1, 1, 2], 3)] {
        let (snapshot, entries) = (snapshot.clone(), entries(1, terms));
        let server = restart(Recovered { snapshot, entries, ..Recovered::default() }).unwrap();
        assert_eq!(server.log().len(), kept, "{terms:?}");
    }
}
