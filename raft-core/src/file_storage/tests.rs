//! The storage over a real file system: what is torn, damaged, foreign or locked.

use std::sync::Arc;

use bytes::Bytes;

use super::record::{PREFIX_BYTES, Prefix};
use super::*;
use crate::entries::Entries;
use crate::log::{Entry, Payload};
use crate::membership::Configuration;
use crate::message::ClientRequest;
use crate::session::Sessions;
use crate::snapshot::Snapshot;
use crate::storage::HardState;
use crate::types::{ClientId, Index, LogId, SaveNumber, SequenceNumber, Term};

pub(super) fn open(folder: &Path) -> Result<FileStorage, StorageError> {
    FileStorage::open(folder, ClusterId(7), ServerId(1), &[1, 2, 3].map(ServerId))
}

pub(super) fn entry(index: u64, term: u64) -> Entry {
    let request = ClientRequest::new(
        ClientId(1),
        SequenceNumber(index),
        Bytes::from(format!("command {index}")),
    );
    Entry { term: Term(term), index: Index(index), payload: Payload::Command(request.into()) }
}

pub(super) fn save(term: u64, entries: Vec<Entry>) -> Save {
    let hard_state = HardState { current_term: Term(term), voted_for: Some(ServerId(term)) };
    Save {
        number: SaveNumber(1),
        hard_state: Some(hard_state),
        entries: entries.into(),
        ..Save::default()
    }
}

/// A snapshot of the entry at `index`, with so many bytes of state, that stands for the log up to there,
/// and one entry more.
pub(super) fn snapshot_save(index: u64, state_bytes: usize) -> Save {
    let last = LogId::new(Term(1), Index(index));
    let configuration = Arc::new(Configuration::new([1, 2, 3].map(ServerId), []));
    let state = vec![index as u8; state_bytes].into();
    let snapshot = Snapshot::new(last, configuration, Sessions::default(), state);
    let entries = vec![entry(index + 1, 1)].into();
    Save { snapshot: Some(snapshot), compacted: Some(last), entries, ..Save::default() }
}

/// A storage with three records, and where each of them ends.
fn three_records(folder: &Path) -> Vec<u64> {
    let mut storage = open(folder).unwrap();
    storage.load().unwrap();
    let saves = [
        save(1, vec![entry(1, 1), entry(2, 1)]),
        save(2, vec![]),
        save(2, vec![entry(2, 2), entry(3, 2)]),
    ];
    let mut ends = vec![storage.end];
    for save in saves {
        storage.save(&[save]).unwrap();
        ends.push(storage.file.metadata().unwrap().len());
    }
    ends
}

pub(super) fn bytes(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join(FILE_NAME)).unwrap()
}

#[test]
fn what_was_saved_is_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    three_records(folder.path());
    let recovered = open(folder.path()).unwrap().load().unwrap();
    let hard_state = HardState { current_term: Term(2), voted_for: Some(ServerId(2)) };
    assert_eq!(recovered.hard_state, hard_state);
    assert_eq!(recovered.entries, [entry(1, 1), entry(2, 2), entry(3, 2)]);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_off_and_writing_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let ends = three_records(folder.path());
    let whole = bytes(folder.path());
    for length in ends[2]..ends[3] {
        std::fs::write(folder.path().join(FILE_NAME), &whole[..length as usize]).unwrap();
        let mut storage = open(folder.path()).unwrap();
        assert_eq!(storage.load().unwrap().entries, [entry(1, 1), entry(2, 1)]);
        storage.save(&[save(3, vec![entry(3, 3)])]).unwrap();
        drop(storage);
        let recovered = open(folder.path()).unwrap().load().unwrap();
        assert_eq!(recovered.entries, [entry(1, 1), entry(2, 1), entry(3, 3)]);
    }
}

#[test]
fn a_flipped_bit_before_the_last_record_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let ends = three_records(folder.path());
    let whole = bytes(folder.path());
    for at in ends[0]..ends[2] {
        let mut damaged = whole.clone();
        damaged[at as usize] ^= 1;
        std::fs::write(folder.path().join(FILE_NAME), &damaged).unwrap();
        let error = open(folder.path()).unwrap().load().unwrap_err();
        let expected = if at < ends[1] { ends[0] } else { ends[1] };
        assert!(
            matches!(error, StorageError::Corrupt { offset, .. } if offset == expected),
            "byte {at}: {error}"
        );
        assert_eq!(bytes(folder.path()), damaged, "a damaged file is left alone");
    }
}

/// A storage with one record and a second one with these commands, and where the second starts.
fn record_with(folder: &Path, commands: &[Vec<u8>]) -> usize {
    let mut storage = open(folder).unwrap();
    storage.load().unwrap();
    storage.save(&[save(1, vec![entry(1, 1)])]).unwrap();
    let start = storage.end as usize;
    let entries = (2..).zip(commands).map(|(index, command)| Entry {
        payload: Payload::Proposal(command.clone().into()),
        ..entry(index, 1)
    });
    storage.save(&[save(1, entries.collect())]).unwrap();
    start
}

/// The last record is cut off, whichever part of it a crash kept from the disk.
fn assert_is_cut_off_however_torn(folder: &Path, start: usize) {
    let whole = bytes(folder);
    let [mut no_prefix, mut no_start, mut no_end] = [(); 3].map(|()| whole.clone());
    no_prefix[start..start + PREFIX_BYTES].fill(0);
    no_start[start + PREFIX_BYTES] ^= 1;
    no_end.pop();
    for torn in [no_prefix, no_start, no_end] {
        std::fs::write(folder.join(FILE_NAME), &torn).unwrap();
        assert_eq!(open(folder).unwrap().load().unwrap().entries, [entry(1, 1)]);
        assert_eq!(bytes(folder), whole[..start]);
    }
}

#[test]
fn a_command_that_looks_like_a_record_does_not_keep_a_torn_one() {
    let body = [1; 20];
    let bare = [&20_u32.to_le_bytes()[..], &crc32fast::hash(&body).to_le_bytes(), &body];
    let elsewhere = Prefix { length: 20, checksum: crc32fast::hash(&body) }.encode(77);
    for command in [bare.concat(), [&elsewhere[..], &body].concat()] {
        let folder = tempfile::tempdir().unwrap();
        let start = record_with(folder.path(), &[command]);
        assert_is_cut_off_however_torn(folder.path(), start);
    }
}

/// Each of its bytes could start a record that reaches far: reading the bodies as well would take
/// minutes.
#[test]
fn a_large_torn_record_is_cut_off_without_reading_it_again_from_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let command = [0, 0, 32, 0].repeat(1 << 14);
    let start = record_with(folder.path(), &vec![command; 64]);
    assert_is_cut_off_however_torn(folder.path(), start);
}

#[test]
fn a_save_of_nothing_leaves_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let ends = three_records(folder.path());
    let mut storage = open(folder.path()).unwrap();
    storage.load().unwrap();
    storage.save(&[]).unwrap();
    assert_eq!(bytes(folder.path()).len() as u64, ends[3]);
}

#[test]
fn a_header_torn_while_it_was_made_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let whole = bytes(folder.path());
    for length in 0..whole.len() {
        std::fs::write(folder.path().join(FILE_NAME), &whole[..length]).unwrap();
        assert_eq!(open(folder.path()).unwrap().load().unwrap(), Recovered::default());
        assert_eq!(bytes(folder.path()), whole);
    }
}

#[test]
fn a_header_whose_bytes_a_crash_kept_from_the_disk_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let whole = bytes(folder.path());
    for length in 0..=whole.len() {
        std::fs::write(folder.path().join(FILE_NAME), vec![0; length]).unwrap();
        assert_eq!(open(folder.path()).unwrap().load().unwrap(), Recovered::default());
        assert_eq!(bytes(folder.path()), whole);
    }
    // What follows may have been saved.
    std::fs::write(folder.path().join(FILE_NAME), vec![0; whole.len() + 1]).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { offset: 0, .. }), "{error}");
}

#[test]
fn a_damaged_header_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    three_records(folder.path());
    let whole = bytes(folder.path());
    let start = open(folder.path()).unwrap().header.len();
    for at in 0..start {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(folder.path().join(FILE_NAME), &damaged).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(matches!(error, StorageError::Corrupt { offset: 0, .. }), "{at}: {error}");
        assert_eq!(bytes(folder.path()), damaged, "a damaged file is left alone");
    }
}

/// One server that comes back as a cluster of three could lose everything it committed alone.
#[test]
fn other_voters_are_refused_by_name_until_a_snapshot_says_who_votes() {
    let folder = tempfile::tempdir().unwrap();
    let open = |voters: &[u64]| {
        let voters: Vec<_> = voters.iter().copied().map(ServerId).collect();
        let mut storage =
            FileStorage::open(folder.path(), ClusterId(7), ServerId(1), &voters).unwrap();
        storage.load().map(|recovered| (storage, recovered))
    };
    let refusal = |voters| match open(voters).unwrap_err() {
        StorageError::Foreign { found, expected, .. } => format!("{found}, not {expected}"),
        other => panic!("{other}"),
    };
    drop(open(&[1]).unwrap());
    let other = "a cluster that began with s1, not a cluster that began with s1, s2, s3";
    assert_eq!(refusal(&[1, 2, 3]), other);
    std::fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
    let (mut storage, _) = open(&[3, 1, 2]).unwrap();
    // What the log says of the cluster may be taken back.
    let configuration = Arc::new(Configuration::new([1, 2].map(ServerId), []));
    let change = Entry { payload: Payload::Configuration(configuration), ..entry(1, 1) };
    storage.save(&[save(1, vec![change])]).unwrap();
    drop(storage);
    let began = "a cluster that began with s1, s2, s3, not a cluster that began with";
    assert_eq!(refusal(&[1]), format!("{began} s1"));
    assert_eq!(refusal(&[1, 2, 4]), format!("{began} s1, s2, s4"));

    let (mut storage, recovered) = open(&[2, 3, 1]).unwrap();
    assert_eq!(recovered.entries.len(), 1);
    storage.save(&[Save { entries: Entries::new(), ..snapshot_save(1, 10) }]).unwrap();
    drop(storage);
    let (mut storage, _) = open(&[1, 2]).unwrap();
    storage.save(&[save(2, vec![entry(2, 2)])]).unwrap();
    drop(storage);
    assert_eq!(open(&[3, 4]).unwrap().1.entries, [entry(2, 2)]);
}

#[test]
fn a_record_that_was_written_but_not_confirmed_is_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    three_records(folder.path());
    let written = bytes(folder.path());
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join(FILE_NAME), &written).unwrap();
    assert_eq!(open(other.path()).unwrap().load().unwrap().entries.len(), 3);
    assert_eq!(bytes(other.path()), written, "what is synced is not changed");
}

#[test]
fn folders_are_made_where_there_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b/c");
    three_records(&deep);
    assert_eq!(open(&deep).unwrap().load().unwrap().entries.len(), 3);
    create_folder(Path::new(".")).unwrap();
    create_folder(Path::new("/")).unwrap();
}

#[test]
fn a_storage_of_someone_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let voters = [1, 2, 3].map(ServerId);
    for (cluster, server) in [(7, 2), (8, 1)] {
        let (cluster, server) = (ClusterId(cluster), ServerId(server));
        let other = FileStorage::open(folder.path(), cluster, server, &voters).unwrap_err();
        let StorageError::Foreign { found, expected, .. } = other else { panic!("{other}") };
        assert_eq!(found, format!("s1 of cluster {}", ClusterId(7)));
        assert_eq!(expected, format!("{server} of cluster {cluster}"));
    }
    std::fs::write(folder.path().join(FILE_NAME), "something else, and long enough").unwrap();
    let no_log = open(folder.path()).unwrap_err();
    assert!(matches!(no_log, StorageError::Corrupt { offset: 0, .. }), "{no_log}");
}

#[test]
fn two_processes_cannot_share_a_storage() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    let second = open(folder.path()).unwrap_err();
    assert!(matches!(second, StorageError::InUse { .. }), "{second}");
    drop(first);
    open(folder.path()).unwrap();
}

#[test]
fn nothing_is_written_before_the_end_of_the_file_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = open(folder.path()).unwrap();
    assert!(storage.save(&[save(1, vec![])]).is_err());
    storage.load().unwrap();
    assert!(storage.save(&[save(1, vec![])]).is_ok());
}

#[test]
fn a_snapshot_stands_for_the_entries_that_it_replaces() {
    let folder = tempfile::tempdir().unwrap();
    three_records(folder.path());
    let mut storage = open(folder.path()).unwrap();
    storage.load().unwrap();
    // Entry 2 is of another term, so nothing is kept.
    let install = snapshot_save(2, 100);
    storage.save(&[install.clone(), save(3, vec![entry(4, 1)])]).unwrap();
    drop(storage);
    let recovered = open(folder.path()).unwrap().load().unwrap();
    assert_eq!(recovered.snapshot, install.snapshot);
    assert_eq!(Some(recovered.start), install.compacted);
    assert_eq!(recovered.entries, [entry(3, 1), entry(4, 1)]);
}

#[test]
fn entries_that_leave_a_gap_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let ends = three_records(folder.path());
    let mut storage = open(folder.path()).unwrap();
    storage.load().unwrap();
    let error = storage.save(&[save(3, vec![entry(5, 3)])]).unwrap_err();
    assert!(matches!(error, StorageError::Gap { last: Index(3), found: Index(5) }), "{error}");
    assert_eq!(bytes(folder.path()).len() as u64, ends[3]);
    assert!(storage.save(&[save(3, vec![])]).is_err(), "and nothing is from then on");
}

#[test]
fn a_file_of_another_format_is_refused_with_its_number() {
    let folder = tempfile::tempdir().unwrap();
    three_records(folder.path());
    let mut older = bytes(folder.path());
    older[7] = 2;
    std::fs::write(folder.path().join(FILE_NAME), &older).unwrap();
    let StorageError::Corrupt { reason, .. } = open(folder.path()).unwrap_err() else { panic!() };
    assert_eq!(reason, "it is of format 2, and only 3 can be read here");
}

#[test]
fn a_length_that_the_file_does_not_have_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let ends = three_records(folder.path());
    let mut file = bytes(folder.path());
    file.extend_from_slice(&Prefix { length: u32::MAX, checksum: 0 }.encode(ends[3]));
    std::fs::write(folder.path().join(FILE_NAME), &file).unwrap();
    assert_eq!(open(folder.path()).unwrap().load().unwrap().entries.len(), 3);
    let mut end = &file[ends[3] as usize..];
    assert_eq!(read_record(&mut end, ends[3], file.len() as u64).unwrap(), None);
}
