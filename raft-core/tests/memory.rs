//! What nobody sends costs little memory: decoding asks for no more than a small multiple of the bytes
//! that are there, whatever numbers stand in them.
//!
//! One test in a program of its own, because the allocator counts for the whole process.

use std::alloc::System;

use bytes::Bytes;
use raft_core::codec::{FORMAT_VERSION, FRAME_BYTES_MAX, MAGIC, decode_entry, decode_frame};
use raft_core::{Snapshot, SnapshotError};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many bytes are asked for, all in all, for each byte that is decoded. An entry without a command
/// takes 17 bytes in a frame and 48 in memory, an envelope at least 15 and 144, and a session with one
/// answer 72 and a map of its own.
const MULTIPLE: usize = 12;
/// What even an empty input may ask for: an error's words, a list's first places.
const FIXED_BYTES: usize = 40 * 1024;

/// Runs `decode` on bytes, and says how much memory it asked for, counting what it gave back, too.
fn allocated<T>(decode: impl FnOnce() -> T) -> (usize, T) {
    let region = Region::new(ALLOCATOR);
    let value = decode();
    let change = region.change();
    (change.bytes_allocated, value)
}

fn le(value: u64, width: usize) -> Vec<u8> {
    value.to_le_bytes()[..width].to_vec()
}

/// A frame of one sender with these envelopes, each behind its length; `count` may lie.
fn frame(count: u64, envelopes: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = [&MAGIC[..], &FORMAT_VERSION.to_le_bytes(), &[0; 8], &[0], &le(2, 8)].concat();
    frame.extend(le(count, 4));
    for envelope in envelopes {
        frame.extend(le(envelope.len() as u64, 4));
        frame.extend(envelope);
    }
    frame
}

/// An AppendEntries request to all servers; `count` may lie.
fn append_entries(count: u64, entries: &[u8]) -> Vec<u8> {
    // Receiver and kind, then term, leader, prev, commit and round.
    [&[2, 2][..], &[0; 48], &le(count, 4), entries].concat()
}

/// As many as fit into a frame.
fn repeat(item: &[u8]) -> (u64, Vec<u8>) {
    let count = (FRAME_BYTES_MAX - 200) / item.len();
    (count as u64, item.repeat(count))
}

fn list(count: u64) -> Vec<u8> {
    let ids = (1..=count).flat_map(|id| le(id, 8));
    le(count, 4).into_iter().chain(ids).collect()
}

/// An entry with a configuration of so many servers in each of its lists.
fn configuration(servers: u64) -> Vec<u8> {
    [&[0; 16][..], &[4], &list(servers), &list(servers), &le(0, 4)].concat()
}

/// A snapshot with this header behind its magic, version and length.
fn snapshot(header: &[u8]) -> Vec<u8> {
    let length = le(header.len() as u64, 8);
    [&b"SNAP"[..], &FORMAT_VERSION.to_le_bytes(), &length, header].concat()
}

/// The frames that cost most for their size, and those that lie about it.
fn hostile_frames() -> Vec<(&'static str, Vec<u8>)> {
    let noop = [0; 17];
    let command = [&[0; 16][..], &[1], &[0; 32], &le(0, 4)].concat();
    let proposal = [&[0; 16][..], &[2], &le(1, 4), &[9]].concat();
    let (noops, commands, proposals) = (repeat(&noop), repeat(&command), repeat(&proposal));
    let small = repeat(&configuration(1));
    let vote = [&[2, 1][..], &[1; 8], &[1]].concat();
    let votes = vec![vote.clone(); FRAME_BYTES_MAX / (vote.len() + 4) - 10];
    let lie = |entries: &[u8]| append_entries(FRAME_BYTES_MAX as u64 / 17 - 20, entries);
    let padded = [lie(&noop), vec![0; FRAME_BYTES_MAX - 200]].concat();
    let claims = |count| {
        let rest = [0xff; FRAME_BYTES_MAX - 27];
        [&frame(count, &[])[..], &rest].concat()
    };
    vec![
        ("nothing", Vec::new()),
        ("entries without a command", frame(1, &[append_entries(noops.0, &noops.1)])),
        ("commands without bytes", frame(1, &[append_entries(commands.0, &commands.1)])),
        ("proposals of one byte", frame(1, &[append_entries(proposals.0, &proposals.1)])),
        ("configurations of one server", frame(1, &[append_entries(small.0, &small.1)])),
        ("one large configuration", frame(1, &[append_entries(1, &configuration(16_000))])),
        ("many votes", frame(votes.len() as u64, &votes)),
        ("as many envelopes as pass for possible", claims((FRAME_BYTES_MAX / 15 - 4) as u64)),
        ("more envelopes than possible", claims(u64::from(u32::MAX))),
        ("more entries than there are", frame(1, &[padded])),
        ("entries that are not there, in a short frame", frame(1, &[append_entries(3, &noop)])),
        (
            "a configuration that is not there",
            frame(1, &[append_entries(1, &configuration(9)[..30])]),
        ),
    ]
}

fn hostile_snapshots() -> Vec<(&'static str, Vec<u8>)> {
    let voters = [&[1; 16][..], &list(1), &le(0, 4), &le(0, 4)].concat();
    let session = |client: u64, requests: &[u8], count| {
        [&le(client, 8)[..], &[0; 32], &le(count, 4), requests].concat()
    };
    let request = |number: u64| [&le(number, 8)[..], &[0; 16], &le(0, 4)].concat();
    let with =
        |count: u64, sessions: Vec<u8>| snapshot(&[&voters[..], &le(count, 4), &sessions].concat());
    let many = |count: u64, make: &dyn Fn(u64) -> Vec<u8>| (0..count).flat_map(make).collect();
    vec![
        ("no sessions", with(0, Vec::new())),
        ("sessions without requests", with(4000, many(4000, &|id| session(id, &[], 0)))),
        ("sessions with one request", with(4000, many(4000, &|id| session(id, &request(1), 1)))),
        ("one session with many", with(1, session(1, &many(9000, &request), 9000))),
        ("sessions that are not there", with(u64::from(u32::MAX), session(1, &[], 0))),
        ("requests that are not there", with(1, session(1, &request(1), u64::from(u32::MAX)))),
    ]
}

#[test]
fn hostile_bytes_ask_for_a_small_multiple_of_themselves() {
    let check = |name: &str, bytes: usize, asked: usize| {
        let limit = MULTIPLE * bytes + FIXED_BYTES;
        println!("{name}: {bytes} bytes ask for {asked}, {} times", asked / bytes.max(1));
        assert!(asked <= limit, "{name}: {bytes} bytes ask for {asked}");
    };
    let mut read = 0;
    for (name, frame) in hostile_frames() {
        let frame = Bytes::from(frame);
        assert!(frame.len() <= FRAME_BYTES_MAX, "{name} is read at all: {}", frame.len());
        let (asked, result) = allocated(|| decode_frame(&frame));
        read += usize::from(result.is_ok());
        check(name, frame.len(), asked);
    }
    assert_eq!(read, 6, "the costly ones are frames");
    for entry in [configuration(10), configuration(10_000)] {
        let entry = Bytes::from(entry);
        let (asked, result) = allocated(|| decode_entry(&entry));
        result.unwrap();
        check("an entry with a configuration", entry.len(), asked);
    }
    let mut read = 0;
    for (name, snapshot) in hostile_snapshots() {
        let snapshot = Bytes::from(snapshot);
        let Err(SnapshotError::Damaged { found, .. }) = Snapshot::from_bytes(&snapshot, 0) else {
            panic!("0 is not the checksum of {name}");
        };
        let (asked, result) = allocated(|| Snapshot::from_bytes(&snapshot, found));
        read += usize::from(result.is_ok());
        check(name, snapshot.len(), asked);
    }
    assert_eq!(read, 4, "the costly ones are snapshots");
}
