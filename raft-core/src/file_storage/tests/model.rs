//! The storage against its twin in memory: whatever is saved, and whenever it is opened again.

use proptest::prelude::*;

use super::*;
use crate::storage::MemoryStorage;

/// What happens to a storage. Numbers are taken as far as they make sense.
#[derive(Clone, Debug)]
enum Change {
    /// So many entries of so many bytes, from so many places before the end.
    Append {
        back: u64,
        term_step: u64,
        count: u64,
        payload_bytes: usize,
    },
    Vote {
        term_step: u64,
    },
    /// A snapshot of the entry so many places before the end; the log keeps so many before that.
    Compact {
        back: u64,
        kept: u64,
        state_bytes: usize,
    },
    /// A snapshot replaces the log, and so many entries that never came.
    Install {
        ahead: u64,
    },
    /// The next few are saved together.
    Together,
    OpenAgain,
}

fn change() -> impl Strategy<Value = Change> {
    let appended =
        (0..4_u64, 0..2_u64, 1..4_u64, prop_oneof![4 => 0..50_usize, 1 => 0..1500_usize]);
    prop_oneof![
        8 => appended.prop_map(|(back, term_step, count, payload_bytes)| Change::Append {
            back, term_step, count, payload_bytes
        }),
        2 => (0..3_u64).prop_map(|term_step| Change::Vote { term_step }),
        3 => (0..6_u64, 0..4_u64, 0..900_usize)
            .prop_map(|(back, kept, state_bytes)| Change::Compact { back, kept, state_bytes }),
        1 => (0..5_u64).prop_map(|ahead| Change::Install { ahead }),
        2 => Just(Change::Together),
        2 => Just(Change::OpenAgain),
    ]
}

/// The save that a change stands for, if it makes sense on top of what was saved.
fn save_of(change: &Change, saved: &Recovered) -> Option<Save> {
    let term = saved.hard_state.current_term.0;
    let last = saved.last_index().0;
    Some(match *change {
        Change::Append { back, term_step, count, payload_bytes } => {
            let first = (last + 1).saturating_sub(back).max(saved.start.index.0 + 1);
            let term = term + term_step;
            let entries =
                (first..first + count).map(|index| long_entry(index, term, payload_bytes));
            save(term, entries.collect())
        }
        Change::Vote { term_step } => save(term + term_step, Vec::new()),
        Change::Compact { back, kept, state_bytes } => {
            let through = last.saturating_sub(back);
            let entry = saved.entry(Index(through))?;
            let snapshot = snapshot(through, entry.term.0, state_bytes);
            let to = saved.entry(Index(through.saturating_sub(kept)));
            let compacted = to.map(Entry::log_id);
            Save { snapshot: Some(snapshot), compacted, ..Save::default() }
        }
        Change::Install { ahead } => {
            let snapshot = snapshot(last + ahead, term + 1, 20);
            let compacted = Some(snapshot.last());
            Save { snapshot: Some(snapshot), compacted, ..Save::default() }
        }
        Change::Together | Change::OpenAgain => return None,
    })
}

proptest! {
    #[test]
    fn what_is_loaded_is_what_was_saved(changes in prop::collection::vec(change(), 0..60)) {
        let folder = tempfile::tempdir().unwrap();
        let mut twin = MemoryStorage::new();
        let (mut storage, _) = load_short(folder.path()).unwrap();
        let mut waiting = Vec::new();
        let mut saved = twin.load().unwrap();
        let mut is_together = false;
        for change in &changes {
            if let Some(save) = save_of(change, &saved) {
                saved.replay(save.clone()).unwrap();
                waiting.push(save);
            }
            match change {
                Change::Together => is_together = !is_together,
                Change::OpenAgain => {
                    storage.save(&waiting).unwrap();
                    twin.save(&std::mem::take(&mut waiting)).unwrap();
                    drop(storage);
                    let recovered;
                    (storage, recovered) = load_short(folder.path()).unwrap();
                    prop_assert_eq!(recovered, twin.load().unwrap());
                }
                _ if is_together => {}
                _ => {
                    storage.save(&waiting).unwrap();
                    twin.save(&std::mem::take(&mut waiting)).unwrap();
                }
            }
        }
        storage.save(&waiting).unwrap();
        drop(storage);
        prop_assert_eq!(inspect_folder(folder.path()).unwrap().damage, []);
        prop_assert_eq!(load_short(folder.path()).unwrap().1, saved);
    }
}
