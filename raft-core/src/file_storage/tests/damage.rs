//! What is torn is told from what is damaged.

use super::super::record::{PREFIX_BYTES, Prefix, SECTOR_BYTES};
use super::*;

#[test]
fn a_tail_torn_at_any_byte_is_removed_and_told_and_writing_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let ends = three_records(folder.path());
    let whole = bytes(folder.path());
    let used = whole.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    for length in ends[2] + 1..used {
        let mut zeroed = whole.clone();
        zeroed[length..].fill(0);
        for torn in [&whole[..length], &zeroed] {
            write(folder.path(), torn);
            let (mut storage, recovered) = load(folder.path()).unwrap();
            assert_eq!(recovered.entries, [entry(1, 1), entry(2, 1)]);
            let told = storage.recovery_report().torn.clone().expect("it is told");
            assert_eq!(told.offset, ends[2] as u64);
            assert!(told.bytes > 0 && told.bytes <= (length - ends[2]) as u64);
            storage.save(&[save(3, vec![entry(3, 3)])]).unwrap();
            drop(storage);
            let (storage, recovered) = load(folder.path()).unwrap();
            assert_eq!(recovered.entries, [entry(1, 1), entry(2, 1), entry(3, 3)]);
            assert_eq!(storage.recovery_report().torn, None);
        }
    }
}

/// The last record too: its end is there, so it is not torn.
#[test]
fn a_flipped_bit_in_any_record_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let ends = three_records(folder.path());
    let whole = bytes(folder.path());
    let used = whole.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    for at in 0..used {
        let starts = [&[0, segment::START as usize], &ends[..3]].concat();
        let expected = *starts.iter().rev().find(|&&start| start <= at).unwrap();
        let end = *ends.iter().find(|&&end| end > at).unwrap();
        for bit in [0, 4, 7] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            write(folder.path(), &damaged);
            let is_padding = whole[at..end].iter().all(|&byte| byte == 0);
            if is_padding {
                load(folder.path()).expect("the zeros behind a record mean nothing");
                continue;
            }
            let (name, offset, reason) = damage(load(folder.path()));
            assert_eq!((name, offset), (segment::name(1), expected as u64), "{at}: {reason}");
            assert_eq!(bytes(folder.path()), damaged, "a damaged file is left alone");
        }
    }
}

/// A storage with one record and a second one with these commands, and where the second starts.
fn record_with(folder: &Path, commands: &[Vec<u8>]) -> usize {
    let (mut storage, _) = load(folder).unwrap();
    storage.save(&[save(1, vec![entry(1, 1)])]).unwrap();
    let start = end(&storage);
    let entries = (2..).zip(commands).map(|(index, command)| Entry {
        payload: Payload::Proposal(command.clone().into()),
        ..entry(index, 1)
    });
    storage.save(&[save(1, entries.collect())]).unwrap();
    assert_eq!(names(folder), [&segment::name(1), ID_NAME], "one segment is enough");
    start
}

/// The last record is removed, whichever of its sectors a crash kept from the disk; and refused if they
/// are all there and one is damaged.
fn assert_torn_is_told_from_damaged(folder: &Path, start: usize) {
    let whole = bytes(folder);
    let used = whole.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    let sector = SECTOR_BYTES as usize;
    let mut sectors = Vec::new();
    let mut at = start;
    while at < used {
        let end = ((at / sector + 1) * sector).min(used);
        sectors.push(at..end);
        at = end;
    }
    let written: Vec<_> =
        sectors.iter().filter(|it| whole[(*it).clone()].iter().any(|b| *b != 0)).collect();
    let lost = (0..written.len()).map(|place| vec![place]);
    let lost = lost.chain([(0..written.len()).step_by(2).collect(), (0..written.len()).collect()]);
    for lost in lost {
        let mut torn = whole.clone();
        lost.iter().for_each(|&place: &usize| torn[written[place].clone()].fill(0));
        write(folder, &torn);
        assert_eq!(load(folder).unwrap().1.entries, [entry(1, 1)], "without sectors {lost:?}");
        let (storage, recovered) = load(folder).unwrap();
        assert_eq!(recovered.entries, [entry(1, 1)]);
        assert_eq!(storage.recovery_report().torn, None, "it goes on elsewhere");
    }
    for sector in &sectors {
        let mut damaged = whole.clone();
        // One bit of several, or one among zeros alone.
        let at = sector.clone().find(|&at| whole[at].count_ones() > 1).unwrap_or(sector.start);
        damaged[at] ^= (whole[at] & whole[at].wrapping_neg()).max(1);
        write(folder, &damaged);
        let (_, offset, reason) = damage(load(folder));
        assert_eq!(offset, start as u64);
        assert_eq!(reason, "the last record was written to its end, and is damaged");
    }
}

#[test]
fn a_torn_record_is_told_from_a_damaged_one() {
    for payload_bytes in [1, 100, 400, 500, 512, 1000, 5000] {
        let folder = tempfile::tempdir().unwrap();
        let start = record_with(folder.path(), &[vec![7; payload_bytes]]);
        assert_torn_is_told_from_damaged(folder.path(), start);
    }
}

#[test]
fn zeros_of_its_own_are_none_that_a_record_lacks() {
    for command in [vec![0; 5000], [vec![0; 2000], vec![7; 600], vec![0; 2000]].concat()] {
        let folder = tempfile::tempdir().unwrap();
        let start = record_with(folder.path(), &[command]);
        assert_torn_is_told_from_damaged(folder.path(), start);
    }
}

#[test]
fn a_command_that_looks_like_a_record_does_not_keep_a_torn_one() {
    let prefix = Prefix { length: 20, checksum: crc32c::crc32c(&[1; 20]), zero_sectors: 0 };
    let elsewhere = Place { segment: 1, offset: 77 * 16 };
    let used_before = Place { segment: 2, offset: 0 };
    for place in [elsewhere, used_before] {
        let copy = [&prefix.encode(place)[..], &[1; 20], b"raft"].concat();
        // At every distance from a place where a record could be.
        let commands = (0..16).map(|shift| [vec![1; shift], copy.repeat(20)].concat());
        let folder = tempfile::tempdir().unwrap();
        let start = record_with(folder.path(), &commands.collect::<Vec<_>>());
        assert_torn_is_told_from_damaged(folder.path(), start);
    }
}

/// A command may hold what was a record in this very place, but of another segment.
#[test]
fn a_record_counts_in_its_own_segment_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = vec![7; 4096];
    record_with(folder.path(), &[command.clone()]);
    let first = bytes(folder.path()).windows(64).position(|it| it == [7; 64]).unwrap();
    let offset = (first + 1024).next_multiple_of(16);
    let prefix = Prefix { length: 20, checksum: crc32c::crc32c(&[1; 20]), zero_sectors: 0 };
    for (number, is_taken_for_one) in [(2, false), (1, true)] {
        let place = Place { segment: number, offset: offset as u64 };
        let copy = [&prefix.encode(place)[..], &[1; 20], b"raft"].concat();
        command[offset - first..offset - first + copy.len()].copy_from_slice(&copy);
        let folder = tempfile::tempdir().unwrap();
        let start = record_with(folder.path(), &[command.clone()]);
        let mut torn = bytes(folder.path());
        torn[start..(start + 1).next_multiple_of(SECTOR_BYTES as usize)].fill(0);
        write(folder.path(), &torn);
        assert_eq!(load(folder.path()).is_err(), is_taken_for_one, "segment {number}");
    }
}

#[test]
fn damage_that_others_follow_is_no_torn_write_even_if_it_looks_like_one() {
    let folder = tempfile::tempdir().unwrap();
    let ends = three_records(folder.path());
    let mut lost = bytes(folder.path());
    lost[ends[1]..ends[2]].fill(0);
    write(folder.path(), &lost);
    let (_, offset, reason) = damage(load(folder.path()));
    assert_eq!((offset, &*reason), (ends[1] as u64, "the record is damaged, and others follow"));
}

#[test]
fn a_length_that_the_file_does_not_have_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let ends = three_records(folder.path());
    let mut file = bytes(folder.path());
    let prefix = Prefix { length: u32::MAX, checksum: 0, zero_sectors: 0 };
    let place = Place { segment: 1, offset: ends[3] as u64 };
    file[ends[3]..ends[3] + PREFIX_BYTES].copy_from_slice(&prefix.encode(place));
    write(folder.path(), &file);
    assert_eq!(load(folder.path()).unwrap().1.entries.len(), 3);
}
