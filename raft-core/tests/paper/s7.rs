//! Log compaction (§7).

use bytes::Bytes;
use raft_core::{
    Config, Effects, HardState, Index, Input, InstallSnapshotRequest, InstallSnapshotResponse,
    LogId, MembershipChange, Message, NewServerError, Recovered, Round, Save, SaveNumber, Server,
    ServerId, Snapshot, SnapshotId, StepError, Term, Timestamp,
};

use crate::bench::{Bench, append, conflict, entries, envelope, success};

/// A leader of this term in a cluster of three, with one command in its log behind entries of these
/// terms, all committed and applied.
fn leader(term: u64, log: &[u64]) -> Bench {
    let mut bench = Bench::with(3, term - 1, None, entries(1, log), |config| {
        config.snapshot_keep_entries = 0;
    });
    bench.elapse();
    bench.win();
    bench.request(7, 1, "x");
    bench.receive(2, success(term, log.len() as u64 + 2));
    bench
}

/// The snapshot that such a leader takes.
fn snapshot(term: u64, log: &[u64]) -> Snapshot {
    let mut bench = leader(term, log);
    bench.step(Input::TakeSnapshot).unwrap();
    bench.server.snapshot().unwrap().clone()
}

fn bytes_of(snapshot: &Snapshot) -> Bytes {
    snapshot.parts().map(|part| &part[..]).concat().into()
}

/// What a leader sends of a snapshot.
fn chunk(term: u64, leader: u64, id: SnapshotId, offset: usize, data: Bytes) -> Message {
    let request = InstallSnapshotRequest {
        term: Term(term),
        leader_id: ServerId(leader),
        round: Round(0),
        id,
        offset: offset as u64,
        data,
    };
    Message::InstallSnapshotRequest(Box::new(request))
}

fn whole(term: u64, leader: u64, snapshot: &Snapshot) -> Message {
    chunk(term, leader, snapshot.id(), 0, bytes_of(snapshot))
}

/// "The last included index is the index of the last entry in the log that the snapshot replaces (the
/// last entry the state machine had applied), and the last included term is the term of this entry."
#[test]
fn a_snapshot_names_the_last_entry_that_was_applied() {
    let mut bench = leader(2, &[1]);
    bench.request(7, 2, "not committed");
    let effects = bench.step(Input::TakeSnapshot).unwrap();
    assert_eq!(effects[0], "take snapshot through 3");
    let snapshot = bench.server.snapshot().unwrap();
    assert_eq!(snapshot.last(), LogId::new(Term(2), Index(3)));
    assert_eq!(snapshot.data()[..], *b"3@2 c7#1 x");
    assert!(snapshot.configuration().voters().iter().map(|id| id.0).eq([1, 2, 3]));
    assert_eq!(bench.log(), [2], "what is not applied stays");
}

/// "These are preserved to support the AppendEntries consistency check for the first log entry following
/// the snapshot, since that entry needs a previous log index and term."
#[test]
fn the_first_entry_after_a_snapshot_is_checked_against_it() {
    let mut bench = leader(2, &[1]);
    bench.step(Input::TakeSnapshot).unwrap();
    assert!(bench.log().is_empty());
    let effects = bench.request(7, 2, "y");
    assert_eq!(effects[1], "→ s2 AppendEntriesRequest prev=3@2 entry=4@2 commit=3");

    let mut follower = Bench::follower(3, 2, &[1]);
    follower.receive(2, whole(2, 2, &snapshot(2, &[1])));
    let effects = follower.receive(2, append(2, 2, (3, 2), &[2], 3));
    assert_eq!(effects, ["save entry=4@2", "→ s2 AppendEntriesResponse match=4"]);
    let error = follower.refuse(2, append(2, 2, (3, 1), &[1], 3));
    assert!(matches!(error, StepError::CommittedConflict { .. }), "{error}");
}

/// "Once a server completes writing a snapshot, it may delete all log entries up through the last
/// included index, as well as any prior snapshot."
#[test]
fn entries_are_deleted_once_the_snapshot_is_written() {
    let mut bench = leader(2, &[1]);
    bench.holds_saves = true;
    bench.request(7, 2, "y");
    let effects = bench.step(Input::TakeSnapshot).unwrap();
    assert_eq!(effects[1], "save snapshot 3@2 (156 bytes) compacted=3@2");
    bench.saved_one();
    assert_eq!(bench.log(), [1, 2, 2, 2], "the save of y is not that of the snapshot");
    bench.saved_one();
    assert_eq!(bench.log(), [2]);
}

/// "In this case, the follower discards its entire log; it is all superseded by the snapshot and may
/// possibly have uncommitted entries that conflict with the snapshot."
#[test]
fn a_follower_that_lacks_what_a_snapshot_stands_for_discards_its_log() {
    for log in [&[][..], &[1], &[1, 1], &[1, 1, 1, 1, 1]] {
        let mut bench = Bench::follower(3, 1, log);
        let effects = bench.receive(2, whole(2, 2, &snapshot(2, &[1])));
        assert_eq!(
            effects,
            [
                "save term=2 voted_for=none snapshot 3@2 (156 bytes) compacted=3@2",
                "configuration 3: voters s1 s2 s3",
                "commit 3",
                "restore snapshot 3@2 (156 bytes)",
                "→ s2 AppendEntriesResponse match=3",
            ]
        );
        assert!(bench.log().is_empty());
        assert_eq!(bench.applied, ["3@2 c7#1 x"]);
    }
}

/// "If instead the follower receives a snapshot that describes a prefix of its log (due to retransmission
/// or by mistake), then ... entries following the snapshot are still valid and must be retained." The
/// paper has the follower delete what the snapshot covers; ours does so with its own snapshots only.
#[test]
fn a_snapshot_of_a_prefix_deletes_nothing() {
    let snapshot = snapshot(2, &[1]);
    let mut bench = Bench::follower(3, 2, &[1, 2, 2, 2, 2]);
    let effects = bench.receive(2, whole(2, 2, &snapshot));
    let expected = ["commit 3", "apply through 3", "→ s2 AppendEntriesResponse match=3"];
    assert_eq!(effects, expected);
    bench.receive(2, append(2, 2, (5, 2), &[], 5));
    // Its own snapshot is newer, and its log begins after the leader's.
    bench.step(Input::TakeSnapshot).unwrap();
    let effects = bench.receive(2, whole(2, 2, &snapshot));
    assert_eq!(effects, ["→ s2 AppendEntriesResponse match=3"]);
    assert_eq!((bench.commit_index(), bench.server.log().last_index()), (5, Index(5)));
}

/// Fig. 13: "Reply immediately if term < currentTerm".
#[test]
fn an_old_leaders_chunk_is_not_taken() {
    let snapshot = snapshot(2, &[1]);
    let mut bench = Bench::follower(3, 3, &[]);
    let effects = bench.receive(2, whole(2, 2, &snapshot));
    assert_eq!(effects, ["→ s2 AppendEntriesResponse stale term"]);
    assert!(bench.server.snapshot().is_none());
}

/// Fig. 13: "Write data into snapshot file at given offset. Reply and wait for more data chunks if done is
/// false." Ours takes bytes only where they follow, and says which do.
#[test]
fn chunks_are_put_together_in_order() {
    let snapshot = snapshot(2, &[1]);
    let (id, bytes) = (snapshot.id(), bytes_of(&snapshot));
    let mut bench = Bench::follower(3, 2, &[]);
    let mut send = |offset: usize, end: usize| {
        let mut effects = bench.receive(2, chunk(2, 2, id, offset, bytes.slice(offset..end)));
        effects.pop().unwrap()
    };
    let needs =
        |offset| format!("→ s2 InstallSnapshotResponse snapshot 3@2 (156 bytes) needs={offset}");
    assert_eq!(send(0, 100), needs(100));
    assert_eq!(send(0, 100), needs(100), "a copy");
    assert_eq!(send(120, 156), needs(100), "a gap");
    assert_eq!(send(50, 120), needs(100), "no chunk that any leader sends");
    assert_eq!(send(100, 100), needs(100), "nothing");
    assert_eq!(send(100, 155), needs(155));
    assert_eq!(send(155, 156), "→ s2 AppendEntriesResponse match=3");
    assert_eq!(bench.server.snapshot(), Some(&snapshot));
}

/// Two snapshots of one place and one size are still two: their checksums differ.
#[test]
fn chunks_of_two_snapshots_are_never_put_together() {
    let first = snapshot(2, &[1]);
    let bytes = bytes_of(&first);
    let mut other = bytes.to_vec();
    *other.last_mut().unwrap() ^= 1;
    let other = Snapshot::from_bytes(&other.clone().into(), crc32fast::hash(&other)).unwrap();
    assert_eq!((first.last(), first.id().size_bytes), (other.last(), other.id().size_bytes));
    let mut bench = Bench::follower(3, 2, &[]);
    bench.receive(2, chunk(2, 2, first.id(), 0, bytes.slice(..100)));
    let effects = bench.receive(2, chunk(2, 2, other.id(), 100, bytes.slice(100..)));
    assert_eq!(effects, ["→ s2 InstallSnapshotResponse snapshot 3@2 (156 bytes) needs=0"]);
    assert!(bench.server.snapshot().is_none());
    assert!(bench.server.refusals().is_empty(), "nothing was put together");
}

#[test]
fn a_damaged_snapshot_is_asked_for_again() {
    let snapshot = snapshot(2, &[1]);
    let mut damaged = bytes_of(&snapshot).to_vec();
    damaged[120] ^= 1;
    let mut bench = Bench::follower(3, 2, &[1, 1, 1]);
    let effects = bench.receive(2, chunk(2, 2, snapshot.id(), 0, damaged.into()));
    assert_eq!(effects, ["→ s2 InstallSnapshotResponse snapshot 3@2 (156 bytes) needs=0"]);
    assert_eq!(bench.server.refusals().get("damaged-snapshot"), Some(&1));
    assert_eq!(bench.log(), [1, 1, 1]);
    bench.receive(2, whole(2, 2, &snapshot));
    assert_eq!(bench.server.snapshot(), Some(&snapshot));
}

/// What a server of another version took, or one that says that it stands for something else.
#[test]
fn a_snapshot_that_cannot_be_read_is_not_asked_for_again() {
    let snapshot = snapshot(2, &[1]);
    let bytes = bytes_of(&snapshot);
    let mut other_version = bytes.to_vec();
    other_version[4] ^= 1;
    let checksum = crc32fast::hash(&other_version);
    let unreadable = SnapshotId { checksum, ..snapshot.id() };
    let last = LogId::new(Term(2), Index(4));
    let other_place = SnapshotId { last, ..snapshot.id() };
    for (id, bytes) in [(unreadable, other_version.into()), (other_place, bytes)] {
        let mut bench = Bench::follower(3, 2, &[]);
        for count in 1..=3 {
            let effects = bench.receive(2, chunk(2, 2, id, 0, bytes.clone()));
            assert_eq!(effects, crate::bench::NOTHING);
            assert_eq!(bench.server.refusals().get("unreadable-snapshot"), Some(&count));
        }
        bench.receive(2, whole(2, 2, &snapshot));
        assert_eq!(bench.server.snapshot(), Some(&snapshot), "another one may be fine");
    }
}

/// Only what has arrived takes memory.
#[test]
fn a_snapshot_that_claims_to_be_huge_takes_no_memory() {
    let snapshot = snapshot(2, &[1]);
    let id = SnapshotId { size_bytes: 1 << 40, ..snapshot.id() };
    let mut bench = Bench::follower(3, 2, &[]);
    let effects = bench.receive(2, chunk(2, 2, id, 0, bytes_of(&snapshot)));
    assert!(effects[0].ends_with("needs=156"), "{effects:?}");
}

/// Every leader has what is committed (Leader Completeness), so no snapshot of one contradicts it.
#[test]
fn a_snapshot_that_contradicts_what_is_committed_is_refused() {
    let snapshot = snapshot(2, &[1]);
    for (log, commit) in [(&[1, 1, 3][..], 3), (&[1, 3], 2)] {
        let mut bench = Bench::follower(3, 3, log);
        let prev = (log.len() as u64, *log.last().unwrap());
        bench.receive(2, append(3, 2, prev, &[], commit));
        let error = bench.refuse(2, whole(3, 2, &snapshot));
        assert!(matches!(error, StepError::CommittedConflict { .. }), "{error}");
    }
}

/// While the snapshot is not durable, the disk holds a log that differs from the leader's. A crash would
/// bring it back, so nothing of what the snapshot stands for may be acknowledged by itself.
#[test]
fn nothing_is_acknowledged_for_a_snapshot_that_is_not_durable() {
    let mut bench = Bench::follower(3, 2, &[1, 1, 1, 1]);
    bench.holds_saves = true;
    let effects = bench.receive(2, whole(2, 2, &snapshot(2, &[1])));
    assert_eq!(effects.last().unwrap(), "commit 3");
    assert_eq!(bench.server.durable_index(), Index(0));
    // A request that comes late brings only what the snapshot stands for.
    assert_eq!(bench.receive(2, append(2, 2, (0, 0), &[1, 2], 0)), crate::bench::NOTHING);
    let effects = bench.saved();
    assert_eq!(
        effects,
        [
            "restore snapshot 3@2 (156 bytes)",
            "→ s2 AppendEntriesResponse match=3",
            "→ s2 AppendEntriesResponse match=2",
        ]
    );
}

/// What had arrived of a snapshot is forgotten when it is not needed any more.
#[test]
fn a_transfer_that_entries_have_overtaken_begins_anew() {
    let snapshot = snapshot(2, &[1]);
    let (id, bytes) = (snapshot.id(), bytes_of(&snapshot));
    let mut bench = Bench::follower(3, 2, &[1]);
    bench.receive(2, chunk(2, 2, id, 0, bytes.slice(..100)));
    bench.receive(2, append(2, 2, (1, 1), &[2, 2], 3));
    // Nothing shows what is in memory but a copy of the server, printed.
    let printed = format!("{:?}", bench.server);
    assert!(printed.contains("arriving: None"), "{printed}");
}

/// A snapshot whose follower lacks nothing else is enough: the probe starts after it.
#[test]
fn a_leader_sends_a_snapshot_when_it_has_discarded_the_next_entry() {
    let mut bench = leader(2, &[1]);
    bench.step(Input::TakeSnapshot).unwrap();
    let effects = bench.receive(3, conflict(2, 1, 1, None));
    assert_eq!(
        effects,
        ["→ s3 InstallSnapshotRequest snapshot 3@2 (156 bytes) bytes=0..156"],
        "\"the leader has already discarded the next log entry that it needs to send\""
    );
    let effects = bench.receive(3, success(2, 3));
    assert_eq!(effects, crate::bench::NOTHING);
    assert_eq!(bench.progress(3).next_index, Index(4));
}

fn recovered(snapshot: Option<Snapshot>, start: (u64, u64), terms: &[u64]) -> Recovered {
    Recovered {
        hard_state: HardState { current_term: Term(5), voted_for: None },
        snapshot,
        start: LogId::new(Term(start.1), Index(start.0)),
        entries: entries(start.0 + 1, terms),
    }
}

fn restart(recovered: Recovered) -> Result<(Server, Vec<String>), NewServerError> {
    let config = Config::new(ServerId(1), [1, 2, 3].map(ServerId));
    let mut server = Server::new(config, recovered)?;
    let mut effects = Effects::new();
    server.step(Timestamp::ZERO, Input::NotifyJoinedService, &mut effects).unwrap();
    let effects = effects.as_slice().iter().map(ToString::to_string).collect();
    Ok((server, effects))
}

/// A storage may make a snapshot durable and crash before it has deleted the log that it replaces.
#[test]
fn a_server_restarts_from_a_snapshot_and_whatever_log_is_left() {
    let snapshot = snapshot(2, &[1]);
    let restored = ["restore snapshot 3@2 (156 bytes)"];
    let kept = [((0, 0), &[1, 2, 2, 4][..]), ((1, 1), &[2, 2, 4]), ((3, 2), &[4])];
    for (start, terms) in kept {
        let (server, effects) = restart(recovered(Some(snapshot.clone()), start, terms)).unwrap();
        assert_eq!(effects, restored);
        assert_eq!(server.log().last(), LogId::new(Term(4), Index(4)));
        assert_eq!(server.commit_index(), Index(3));
    }
    let replaced =
        [((0, 0), &[][..]), ((0, 0), &[1, 1]), ((0, 0), &[1, 1, 1, 1]), ((1, 1), &[1, 1, 3])];
    for (start, terms) in replaced {
        let disk = recovered(Some(snapshot.clone()), start, terms);
        let (server, effects) = restart(disk.clone()).unwrap();
        // The storage is told what to delete, so that the next entry fits.
        assert_eq!(effects, ["save snapshot 3@2 (156 bytes) compacted=3@2", restored[0]]);
        assert_eq!((server.log().start(), server.log().len()), (snapshot.last(), 0));
        let mut disk = disk;
        let snapshot = Some(snapshot.clone());
        let (number, compacted) = (SaveNumber(1), Some(server.log().start()));
        let next = entries(4, &[5]).into();
        disk.replay(Save { number, snapshot, compacted, entries: next, ..Save::default() })
            .unwrap();
        assert_eq!(disk.entries, entries(4, &[5]));
    }
}

#[test]
fn a_log_whose_beginning_is_lost_is_refused() {
    let snapshot = snapshot(2, &[1]);
    let disks = [
        (None, (1, 1)),
        (Some(snapshot.clone()), (4, 2)),
        // The same place, but not the same entry.
        (Some(snapshot), (3, 1)),
    ];
    for (snapshot, start) in disks {
        let error = restart(recovered(snapshot, start, &[4])).map(drop).unwrap_err();
        let expected = LogId::new(Term(start.1), Index(start.0));
        assert!(matches!(error, NewServerError::NoSnapshot { start } if start == expected));
    }
}

/// Only what is applied is in a snapshot, the configuration too: a later one may be taken back.
#[test]
fn a_snapshot_holds_no_configuration_that_is_not_committed() {
    let mut bench = leader(2, &[1]);
    let change = MembershipChange::AddLearner(ServerId(4));
    bench.step(Input::ChangeMembership(vec![change])).unwrap();
    assert_eq!(bench.server.configuration().learners().count(), 1);
    bench.step(Input::TakeSnapshot).unwrap();
    assert_eq!(bench.server.snapshot().unwrap().configuration().learners().count(), 0);
}

/// An answer that tells of another snapshot says nothing of the one under way.
#[test]
fn an_answer_about_another_snapshot_moves_no_transfer() {
    let mut bench = leader(2, &[1]);
    bench.step(Input::TakeSnapshot).unwrap();
    bench.receive(3, conflict(2, 1, 1, None));
    let id = bench.server.snapshot().unwrap().id();
    let response = |id| {
        let response = InstallSnapshotResponse { term: Term(2), round: Round(0), id, offset: 50 };
        Message::InstallSnapshotResponse(response)
    };
    let other = SnapshotId { checksum: !id.checksum, ..id };
    assert_eq!(bench.receive(3, response(other)), crate::bench::NOTHING);
    let effects = bench.receive(3, response(id));
    assert_eq!(effects, ["→ s3 InstallSnapshotRequest snapshot 3@2 (156 bytes) bytes=50..156"]);
}

/// What the operator asks for is done once, and without a new entry there is nothing to do.
#[test]
fn one_wish_takes_one_snapshot() {
    let mut server = leader(2, &[1]).server;
    let mut effects = Effects::new();
    let mut step = |input| {
        server.step(Timestamp::ZERO, input, &mut effects).unwrap();
        let texts: Vec<_> = effects.as_slice().iter().map(ToString::to_string).collect();
        effects.clear();
        texts
    };
    let command = || Input::Propose(Bytes::from_static(b"y"));
    let commit = |match_index| Input::Message(envelope(2, success(2, match_index)));
    let applied = |index| Input::Applied { through: Index(index), responses: Vec::new() };
    let taken = |index| Input::SnapshotTaken { through: Index(index), data: Bytes::new() };
    assert_eq!(step(Input::TakeSnapshot), ["take snapshot through 3"]);
    assert_eq!(step(Input::TakeSnapshot), crate::bench::NOTHING, "it is being taken");
    assert_eq!(step(taken(3))[0], "save snapshot 3@2 (146 bytes) compacted=3@2");
    assert_eq!(step(Input::TakeSnapshot), crate::bench::NOTHING, "there is nothing new");
    step(Input::Saved(SaveNumber(4)));
    step(command());
    step(Input::Saved(SaveNumber(5)));
    step(commit(4));
    assert_eq!(step(applied(4)), crate::bench::NOTHING);

    // Asked again while it is being taken, and everything is applied meanwhile.
    assert_eq!(step(Input::TakeSnapshot), ["take snapshot through 4"]);
    step(command());
    step(Input::Saved(SaveNumber(6)));
    step(commit(5));
    step(applied(5));
    assert_eq!(step(Input::TakeSnapshot), crate::bench::NOTHING);
    assert_eq!(step(taken(4))[1], "take snapshot through 5");
}
