//! A log in many segments: what goes, what must not, and what is missed.

use super::*;

/// A log of short segments, and what it holds.
pub(super) fn many_segments(folder: &Path) -> (FileStorage, Recovered) {
    let (mut storage, mut expected) = load_short(folder).unwrap();
    for index in 1..=20 {
        let save = save(1, vec![long_entry(index, 1, 500)]);
        expected.replay(save.clone()).unwrap();
        storage.save(&[save]).unwrap();
    }
    assert!(storage.active.as_ref().unwrap().number > 5, "they are short");
    (storage, expected)
}

#[test]
fn a_log_goes_on_in_new_segments_and_is_read_back_from_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, expected) = many_segments(folder.path());
    drop(storage);
    let (mut storage, recovered) = load_short(folder.path()).unwrap();
    assert_eq!(recovered, expected);
    // One that is longer than a segment.
    storage.save(&[save(1, vec![long_entry(21, 1, 9000)])]).unwrap();
    storage.save(&[save(1, vec![entry(22, 1)])]).unwrap();
    drop(storage);
    assert_eq!(load(folder.path()).unwrap().1.entries.len(), 22);
}

#[test]
fn segments_go_when_all_their_entries_are_compacted_and_no_earlier() {
    let folder = tempfile::tempdir().unwrap();
    let (mut storage, _) = many_segments(folder.path());
    let count =
        |folder: &Path| names(folder).iter().filter(|it| segment::number(it).is_some()).count();
    let before = count(folder.path());
    for through in [3, 9, 10, 19] {
        let compact = snapshot(through, 1, 10);
        let compacted = Some(compact.last());
        storage.save(&[Save { snapshot: Some(compact), compacted, ..Save::default() }]).unwrap();
        storage.spare.stop();
        let report = inspect_folder(folder.path()).unwrap();
        // One is kept for a spare.
        let (last, others) = report.segments.split_last().unwrap();
        let is_needed = |it: &&SegmentReport| it.last_index > Some(Index(through));
        assert!(others.iter().filter(|it| !is_needed(it)).count() <= 1, "{through}: {others:?}");
        assert!(last.last_index.is_none() || last.last_index == Some(Index(20)));
        let expected: Vec<_> = (through + 1..=20).map(|index| long_entry(index, 1, 500)).collect();
        drop(storage);
        let (again, recovered) = load_short(folder.path()).unwrap();
        assert_eq!(recovered.entries, expected);
        assert_eq!(recovered.start.index, Index(through));
        storage = again;
    }
    assert!(before > 5 && count(folder.path()) <= 3);
}

/// The last entries that were made in a term may be replaced after the segment they are in is full, and
/// compacted when it is gone.
#[test]
fn entries_that_were_replaced_do_not_come_back_with_the_segments_that_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let (mut storage, mut expected) = many_segments(folder.path());
    let mut save_both = |storage: &mut FileStorage, save: Save| {
        expected.replay(save.clone()).unwrap();
        storage.save(&[save]).unwrap();
        expected.clone()
    };
    for index in 18..=30 {
        save_both(&mut storage, save(2, vec![long_entry(index, 2, 300)]));
    }
    let compact = snapshot(20, 2, 10);
    let compacted = Some(compact.last());
    let compact = Save { snapshot: Some(compact), compacted, ..Save::default() };
    let expected = save_both(&mut storage, compact);
    drop(storage);
    assert_eq!(load_short(folder.path()).unwrap().1, expected);
}

#[test]
fn a_segment_that_is_gone_or_ends_early_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    drop(many_segments(folder.path()));
    let path = segment_path(folder.path(), 2);
    let whole = std::fs::read(&path).unwrap();
    // Torn at a record's start, so that each that is left is whole.
    let mut short = whole.clone();
    let file = RealFileSystem::new().open(&path, false).unwrap();
    let mut reader = segment::Reader::new(&file, 2).unwrap();
    assert!(reader.next().unwrap().is_some() && reader.next().unwrap().is_some());
    short[reader.at as usize..].fill(0);
    std::fs::write(&path, &short).unwrap();
    let (name, offset, reason) = damage(load_short(folder.path()));
    assert_eq!((name, offset), (segment::name(2), reader.at), "{reason}");
    assert!(reason.starts_with("a record is damaged or missing"), "{reason}");
    // Torn within a record.
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let (name, _, reason) = damage(load_short(folder.path()));
    assert_eq!(name, segment::name(2));
    assert!(reason.starts_with("a record is damaged or missing"), "{reason}");
    // What stands behind its end is of a write that was torn.
    let end = whole.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1;
    let mut more = whole.clone();
    more[end.next_multiple_of(16) as usize..].fill(7);
    std::fs::write(&path, &more).unwrap();
    load_short(folder.path()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let (name, _, reason) = damage(load_short(folder.path()));
    assert_eq!(name, segment::name(3));
    assert!(reason.starts_with("the segments before it are gone"), "{reason}");
    // And one under another's name.
    std::fs::copy(segment_path(folder.path(), 3), &path).unwrap();
    let (name, offset, reason) = damage(load_short(folder.path()));
    assert_eq!((name, offset), (segment::name(2), 0));
    assert_eq!(reason, "it is another segment than its name says");
}

#[test]
fn an_old_segment_that_a_crash_brought_back_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let (mut storage, _) = many_segments(folder.path());
    let first = bytes(folder.path());
    let compact = snapshot(15, 1, 10);
    let compacted = Some(compact.last());
    storage.save(&[Save { snapshot: Some(compact), compacted, ..Save::default() }]).unwrap();
    drop(storage);
    let expected = load_short(folder.path()).unwrap().1;
    std::fs::write(segment_path(folder.path(), 1), &first).unwrap();
    assert_eq!(load_short(folder.path()).unwrap().1, expected);
}

#[cfg(unix)]
#[test]
fn the_next_segment_is_made_before_it_is_needed_out_of_one_that_is_not_needed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut storage, _) = load_short(folder.path()).unwrap();
    let spare = folder.path().join(SPARE_NAME);
    storage.save(&[save(1, vec![long_entry(1, 1, 700)])]).unwrap();
    // It is being made beside the writing.
    assert!(storage.spare.is_made());
    assert_eq!(std::fs::read(&spare).unwrap(), [0; 2048]);
    storage.save(&[save(1, vec![long_entry(2, 1, 700)])]).unwrap();
    storage.save(&[save(1, vec![long_entry(3, 1, 700)])]).unwrap();
    assert_eq!(std::fs::metadata(segment_path(folder.path(), 2)).unwrap().len(), 2048);
    // What is compacted stays until the spare is used up, and becomes the next one.
    storage.save(&[Save { entries: Entries::new(), ..snapshot_save(3, 10) }]).unwrap();
    let old = std::fs::File::open(folder.path().join(storage.reserve.as_ref().unwrap())).unwrap();
    let mut index = 3;
    while storage.reserve.is_some() {
        assert!(storage.spare.is_made());
        index += 1;
        storage.save(&[save(1, vec![long_entry(index, 1, 700)])]).unwrap();
    }
    assert!(storage.spare.is_made());
    let inode = |metadata: std::fs::Metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.ino()
    };
    assert_eq!(inode(old.metadata().unwrap()), inode(std::fs::metadata(&spare).unwrap()));
    assert_eq!(std::fs::read(&spare).unwrap(), [0; 2048]);
}
