//! The storage over a real file system: what is torn, damaged, foreign, locked or gone.

mod damage;
mod model;
mod segments;

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::entries::Entries;
use crate::log::{Entry, Payload};
use crate::membership::Configuration;
use crate::message::ClientRequest;
use crate::session::Sessions;
use crate::snapshot::Snapshot;
use crate::storage::HardState;
use crate::types::{ClientId, LogId, SaveNumber, SequenceNumber, Term};

fn open(folder: &Path) -> Result<FileStorage, StorageError> {
    FileStorage::open(folder, ClusterId(7), ServerId(1), &[1, 2, 3].map(ServerId))
}

/// Opened, and read.
fn load(folder: &Path) -> Result<(FileStorage, Recovered), StorageError> {
    let mut storage = open(folder)?.with_segment_bytes_max(128 * 1024);
    storage.load().map(|recovered| (storage, recovered))
}

/// With segments so short that a few records fill one.
fn load_short(folder: &Path) -> Result<(FileStorage, Recovered), StorageError> {
    let mut storage = open(folder)?.with_segment_bytes_max(2048);
    storage.load().map(|recovered| (storage, recovered))
}

fn entry(index: u64, term: u64) -> Entry {
    let request = ClientRequest::new(
        ClientId(1),
        SequenceNumber(index),
        Bytes::from(format!("command {index}")),
    );
    Entry { term: Term(term), index: Index(index), payload: Payload::Command(request.into()) }
}

/// An entry with so many bytes of payload.
fn long_entry(index: u64, term: u64, payload_bytes: usize) -> Entry {
    Entry { payload: Payload::Proposal(vec![7; payload_bytes].into()), ..entry(index, term) }
}

fn save(term: u64, entries: Vec<Entry>) -> Save {
    let hard_state = HardState { current_term: Term(term), voted_for: Some(ServerId(term)) };
    Save {
        number: SaveNumber(1),
        hard_state: Some(hard_state),
        entries: entries.into(),
        ..Save::default()
    }
}

fn snapshot(index: u64, term: u64, state_bytes: usize) -> Snapshot {
    let last = LogId::new(Term(term), Index(index));
    let configuration = Arc::new(Configuration::new([1, 2, 3].map(ServerId), []));
    let state = vec![index as u8; state_bytes].into();
    Snapshot::new(last, configuration, Sessions::default(), state)
}

/// A snapshot of the entry at `index`, with so many bytes of state, that stands for the log up to there,
/// and one entry more.
fn snapshot_save(index: u64, state_bytes: usize) -> Save {
    let snapshot = snapshot(index, 1, state_bytes);
    let compacted = Some(snapshot.last());
    let entries = vec![entry(index + 1, 1)].into();
    Save { snapshot: Some(snapshot), compacted, entries, ..Save::default() }
}

/// Where the next record goes.
fn end(storage: &FileStorage) -> usize {
    storage.active.as_ref().unwrap().end as usize
}

/// A storage with three records, and where each of them ends; first where the first one starts.
fn three_records(folder: &Path) -> Vec<usize> {
    let (mut storage, _) = load(folder).unwrap();
    let saves = [
        save(1, vec![entry(1, 1), entry(2, 1)]),
        save(2, vec![]),
        save(2, vec![entry(2, 2), entry(3, 2)]),
    ];
    let mut ends = vec![end(&storage)];
    for save in saves {
        storage.save(&[save]).unwrap();
        ends.push(end(&storage));
    }
    ends
}

fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(segment::name(number))
}

/// The bytes of the first segment.
fn bytes(folder: &Path) -> Vec<u8> {
    std::fs::read(segment_path(folder, 1)).unwrap()
}

/// Makes them the bytes of the only segment.
fn write(folder: &Path, bytes: &[u8]) {
    for name in names(folder).iter().filter(|name| segment::number(name).is_some()) {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    std::fs::write(segment_path(folder, 1), bytes).unwrap();
}

/// The names of the files in a folder, without what is only ahead of its time.
fn names(folder: &Path) -> Vec<String> {
    let mut names = RealFileSystem::new().list(folder).unwrap();
    names.retain(|name| !name.starts_with("spare"));
    names
}

/// Where it is damaged.
#[track_caller]
fn damage(result: Result<(FileStorage, Recovered), StorageError>) -> (String, u64, String) {
    match result.map(|(_, recovered)| recovered).unwrap_err() {
        StorageError::Corrupt { path, offset, reason } => {
            let name = path.rsplit('/').next().unwrap().to_owned();
            (name, offset, reason)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_was_saved_is_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    three_records(folder.path());
    let (storage, recovered) = load(folder.path()).unwrap();
    let hard_state = HardState { current_term: Term(2), voted_for: Some(ServerId(2)) };
    assert_eq!(recovered.hard_state, hard_state);
    assert_eq!(recovered.entries, [entry(1, 1), entry(2, 2), entry(3, 2)]);
    let report = storage.recovery_report().to_string();
    assert_eq!(report, "3 entries from 3 writes in 1 segment");
}

#[test]
fn a_save_of_nothing_leaves_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let ends = three_records(folder.path());
    let (mut storage, _) = load(folder.path()).unwrap();
    storage.save(&[]).unwrap();
    assert_eq!(end(&storage), ends[3]);
}

#[test]
fn an_id_that_was_torn_while_it_was_made_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    drop(load(folder.path()).unwrap());
    let path = folder.path().join(ID_NAME);
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        let mut zeroed = whole.clone();
        zeroed[length..].fill(0);
        for torn in [&whole[..length], &zeroed, &vec![0; length]] {
            std::fs::write(&path, torn).unwrap();
            assert_eq!(load(folder.path()).unwrap().1, Recovered::default());
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
    }
}

#[test]
fn a_damaged_id_is_refused_once_something_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    three_records(folder.path());
    let path = folder.path().join(ID_NAME);
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let (name, offset, _) = damage(load(folder.path()));
        assert_eq!((&*name, offset), (ID_NAME, 0), "byte {at}");
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "a damaged file is left alone");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(damage(load(folder.path())).0, ID_NAME);
}

#[test]
fn a_log_that_is_gone_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    three_records(folder.path());
    std::fs::remove_file(segment_path(folder.path(), 1)).unwrap();
    let (name, _, reason) = damage(load(folder.path()));
    assert_eq!(name, ID_NAME);
    assert_eq!(reason, "the folder belongs to a server that has run, but its log is gone");
}

/// One server that comes back as a cluster of three could lose everything it committed alone.
#[test]
fn other_voters_are_refused_by_name_until_a_snapshot_says_who_votes() {
    let folder = tempfile::tempdir().unwrap();
    let open = |folder: &Path, voters: &[u64]| {
        let voters: Vec<_> = voters.iter().copied().map(ServerId).collect();
        let mut storage = FileStorage::open(folder, ClusterId(7), ServerId(1), &voters).unwrap();
        storage.load().map(|recovered| (storage, recovered))
    };
    let refusal = |folder: &Path, voters| match open(folder, voters).unwrap_err() {
        StorageError::Foreign { found, expected, .. } => format!("{found}, not {expected}"),
        other => panic!("{other}"),
    };
    let alone = tempfile::tempdir().unwrap();
    drop(open(alone.path(), &[1]).unwrap());
    let other = "a cluster that began with s1, not a cluster that began with s1, s2, s3";
    assert_eq!(refusal(alone.path(), &[1, 2, 3]), other);
    let folder = folder.path();
    let (mut storage, _) = open(folder, &[3, 1, 2]).unwrap();
    // What the log says of the cluster may be taken back.
    let configuration = Arc::new(Configuration::new([1, 2].map(ServerId), []));
    let change = Entry { payload: Payload::Configuration(configuration), ..entry(1, 1) };
    storage.save(&[save(1, vec![change])]).unwrap();
    drop(storage);
    let began = "a cluster that began with s1, s2, s3, not a cluster that began with";
    assert_eq!(refusal(folder, &[1]), format!("{began} s1"));
    assert_eq!(refusal(folder, &[1, 2, 4]), format!("{began} s1, s2, s4"));

    let (mut storage, recovered) = open(folder, &[2, 3, 1]).unwrap();
    assert_eq!(recovered.entries.len(), 1);
    storage.save(&[Save { entries: Entries::new(), ..snapshot_save(1, 10) }]).unwrap();
    drop(storage);
    let (mut storage, _) = open(folder, &[1, 2]).unwrap();
    storage.save(&[save(2, vec![entry(2, 2)])]).unwrap();
    drop(storage);
    assert_eq!(open(folder, &[3, 4]).unwrap().1.entries, [entry(2, 2)]);
}

#[test]
fn folders_are_made_where_there_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b/c");
    three_records(&deep);
    assert_eq!(load(&deep).unwrap().1.entries.len(), 3);
    RealFileSystem::new().create_folder(Path::new(".")).unwrap();
    RealFileSystem::new().create_folder(Path::new("/")).unwrap();
}

#[test]
fn a_storage_of_someone_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    three_records(folder.path());
    let voters = [1, 2, 3].map(ServerId);
    for (cluster, server) in [(7, 2), (8, 1)] {
        let (cluster, server) = (ClusterId(cluster), ServerId(server));
        let other = FileStorage::open(folder.path(), cluster, server, &voters).unwrap_err();
        let StorageError::Foreign { found, expected, .. } = other else { panic!("{other}") };
        assert_eq!(found, format!("s1 of cluster {}", ClusterId(7)));
        assert_eq!(expected, format!("{server} of cluster {cluster}"));
        // And one segment of somebody else in a folder of one's own.
        let own = tempfile::tempdir().unwrap();
        let open = || FileStorage::open(own.path(), cluster, server, &voters);
        open().unwrap().load().unwrap();
        write(own.path(), &bytes(folder.path()));
        let other = open().unwrap().load().unwrap_err();
        assert!(matches!(other, StorageError::Foreign { .. }), "{other}");
        let seen = inspect_folder(own.path()).unwrap().damage;
        assert_eq!(seen[0].reason, format!("it belongs to s1 of cluster {}", ClusterId(7)));
    }
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
fn nothing_is_written_before_the_end_of_the_log_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = open(folder.path()).unwrap();
    assert!(storage.save(&[save(1, vec![])]).is_err());
    storage.load().unwrap();
    assert!(storage.save(&[save(1, vec![])]).is_ok());
}

#[test]
fn entries_that_leave_a_gap_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    three_records(folder.path());
    let whole = bytes(folder.path());
    let (mut storage, _) = load(folder.path()).unwrap();
    let error = storage.save(&[save(3, vec![entry(5, 3)])]).unwrap_err();
    assert!(matches!(error, StorageError::Gap { last: Index(3), found: Index(5) }), "{error}");
    assert_eq!(bytes(folder.path()), whole);
    assert!(storage.save(&[save(3, vec![])]).is_err(), "and nothing is from then on");
}

#[test]
fn a_file_of_another_format_is_refused_with_its_number() {
    let folder = tempfile::tempdir().unwrap();
    three_records(folder.path());
    let whole = bytes(folder.path());
    for (format, age) in [(MAGIC_FORMAT - 1, "an older"), (MAGIC_FORMAT + 1, "a newer")] {
        let words = format!(
            "it is of format {format}, of {age} version of this program, and only format 4 can be \
             read here"
        );
        let mut other = whole.clone();
        other[7] = format;
        write(folder.path(), &other);
        assert_eq!(damage(load(folder.path())), (segment::name(1), 0, words.clone()));
        write(folder.path(), &whole);
        let path = folder.path().join(ID_NAME);
        let id = std::fs::read(&path).unwrap();
        let mut other = id.clone();
        other[7] = format;
        std::fs::write(&path, other).unwrap();
        let StorageError::Corrupt { reason, .. } = open(folder.path()).unwrap_err() else {
            panic!("another error");
        };
        assert_eq!(reason, words);
        std::fs::write(&path, id).unwrap();
    }
    let old = tempfile::tempdir().unwrap();
    std::fs::write(old.path().join(OLD_NAME), "RAFTLOG\x03").unwrap();
    let StorageError::Corrupt { reason, .. } = open(old.path()).unwrap_err() else {
        panic!("another error");
    };
    assert!(reason.contains("older version"), "{reason}");
    assert_eq!(names(old.path()), [OLD_NAME], "nothing is made beside it");
    assert!(matches!(inspect_folder(old.path()), Err(StorageError::Corrupt { .. })));
}

/// The format version of this program.
const MAGIC_FORMAT: u8 = crate::file_header::MAGIC[7];

#[test]
fn a_snapshot_stands_for_the_entries_that_it_replaces() {
    let folder = tempfile::tempdir().unwrap();
    three_records(folder.path());
    let (mut storage, _) = load(folder.path()).unwrap();
    // Entry 2 is of another term, so nothing is kept.
    let install = snapshot_save(2, 100);
    storage.save(&[install.clone(), save(3, vec![entry(4, 1)])]).unwrap();
    drop(storage);
    let recovered = load(folder.path()).unwrap().1;
    assert_eq!(recovered.snapshot, install.snapshot);
    assert_eq!(Some(recovered.start), install.compacted);
    assert_eq!(recovered.entries, [entry(3, 1), entry(4, 1)]);
}

#[test]
fn only_the_snapshot_that_counts_is_kept_and_it_must_be_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (mut storage, _) = load(folder.path()).unwrap();
    storage.save(&[save(1, vec![entry(1, 1)])]).unwrap();
    for index in 1..=4 {
        storage.save(&[snapshot_save(index, 2000)]).unwrap();
    }
    // Two at once: the last one counts.
    storage.save(&[snapshot_save(5, 2000), snapshot_save(6, 3000)]).unwrap();
    drop(storage);
    let name = snapshot_file::name(snapshot(6, 1, 3000).id());
    assert_eq!(names(folder.path()), [&segment::name(1), ID_NAME, &name]);

    // What a crash may leave.
    let other = snapshot_file::name(snapshot(5, 1, 2000).id());
    for remains in [&other, snapshot_file::NEW_NAME, NEW_SEGMENT_NAME] {
        std::fs::write(folder.path().join(remains), [1; 100]).unwrap();
    }
    assert_eq!(load(folder.path()).unwrap().1.snapshot, Some(snapshot(6, 1, 3000)));
    assert_eq!(names(folder.path()), [&segment::name(1), ID_NAME, &name]);

    let path = folder.path().join(&name);
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(61) {
        let mut damaged = whole.clone();
        damaged[at] ^= 16;
        for bad in [&damaged, &whole[..at]] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(damage(load(folder.path())).0, name);
        }
    }
    std::fs::remove_file(&path).unwrap();
    let (found, offset, reason) = damage(load(folder.path()));
    assert_eq!((found, offset), (name, 0));
    assert_eq!(reason, "the log needs it, and it is not there");
}

#[test]
fn a_full_disk_ends_the_storage_and_loses_nothing_that_was_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let open = |fs| {
        let voters = [1, 2, 3].map(ServerId);
        let storage = FileStorage::open_in(fs, folder.path(), ClusterId(7), ServerId(1), &voters);
        storage.map(|storage| storage.with_segment_bytes_max(2048))
    };
    let mut storage = open(RealFileSystem::with_quota(12_000)).unwrap();
    storage.load().unwrap();
    let mut saved = 0;
    let full = loop {
        match storage.save(&[save(1, vec![long_entry(saved + 1, 1, 500)])]) {
            Ok(()) => saved += 1,
            Err(error) => break error,
        }
    };
    let StorageError::Io { source, .. } = full else { panic!("{full}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    assert!(saved > 5, "{saved}");
    storage.save(&[save(1, vec![])]).expect_err("it is never written again");
    drop(storage);
    let mut storage = open(RealFileSystem::new()).unwrap();
    assert_eq!(storage.load().unwrap().entries.len() as u64, saved);
    storage.save(&[save(1, vec![entry(saved + 1, 1)])]).unwrap();
}

#[test]
fn a_folder_is_looked_at_while_its_server_runs_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (mut storage, _) = segments::many_segments(folder.path());
    storage.save(&[snapshot_save(5, 100)]).unwrap();
    storage.spare.stop();
    let report = inspect_folder(folder.path()).unwrap();
    assert!(report.is_in_use);
    assert_eq!((report.cluster_id, report.server_id), (Some(ClusterId(7)), Some(ServerId(1))));
    assert_eq!(report.state.last, LogId::new(Term(1), Index(6)));
    assert_eq!(report.damage, []);
    assert_eq!(report.snapshots.len(), 1);
    assert!(report.snapshots[0].is_needed);
    let path = segment_path(folder.path(), storage.active.as_ref().unwrap().number);
    drop(storage);

    // A write that was not finished, and two damages.
    let mut last = std::fs::read(&path).unwrap();
    let used = last.iter().rposition(|&byte| byte != 0).unwrap();
    last[used - 3..].fill(0);
    std::fs::write(&path, &last).unwrap();
    let oldest = report.segments[0].name.clone();
    let oldest = folder.path().join(oldest);
    let mut damaged = std::fs::read(&oldest).unwrap();
    damaged[300] ^= 1;
    std::fs::write(&oldest, damaged).unwrap();
    let snapshot = folder.path().join(&report.snapshots[0].name);
    let again = inspect_folder(folder.path()).unwrap();
    assert!(!again.is_in_use);
    assert!(matches!(again.segments.last().unwrap().tail, TailReport::Torn { bytes: 1.. }));
    assert_eq!(again.segments[0].tail, TailReport::Damaged);
    assert_eq!(again.damage.len(), 1, "{:?}", again.damage);
    assert!(snapshot.exists());
    assert_eq!(std::fs::read(&path).unwrap(), last, "looking changes nothing");
    let none = inspect_folder(folder.path().join("nothing")).unwrap_err();
    assert!(matches!(none, StorageError::Io { .. }), "{none}");
}
