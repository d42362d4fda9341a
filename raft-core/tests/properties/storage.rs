//! What storage replays against a naive twin: a map of entries, and a place up to which it was emptied.

use std::collections::BTreeMap;

use proptest::prelude::*;
use raft_core::{Entry, HardState, Index, LogId, Recovered, Save, SaveNumber, Term};

use crate::bench::entries;

/// A save, with its numbers as they are drawn.
#[derive(Clone, Debug)]
struct Draft {
    term: Option<u64>,
    /// Place and term.
    compacted: Option<(u64, u64)>,
    /// The first place, and the terms from there on.
    entries: Option<(u64, Vec<u64>)>,
}

fn draft() -> impl Strategy<Value = Draft> {
    let entries = (1..12_u64, prop::collection::vec(1..4_u64, 1..5));
    let compacted = prop::option::weighted(0.3, (1..12_u64, 1..4_u64));
    (prop::option::of(1..9_u64), compacted, prop::option::weighted(0.7, entries))
        .prop_map(|(term, compacted, entries)| Draft { term, compacted, entries })
}

impl Draft {
    fn save(&self) -> Save {
        let hard_state =
            self.term.map(|term| HardState { current_term: Term(term), voted_for: None });
        let compacted = self.compacted.map(|(index, term)| LogId::new(Term(term), Index(index)));
        let entries = self.entries.iter().flat_map(|(first, terms)| entries(*first, terms));
        let entries = entries.collect();
        Save { number: SaveNumber(1), hard_state, compacted, entries, ..Save::default() }
    }
}

#[derive(Clone, Debug, Default)]
struct Twin {
    term: u64,
    /// What was deleted ends here.
    start: (u64, u64),
    log: BTreeMap<u64, u64>,
}

impl Twin {
    /// False if there would be a gap.
    fn replay(&mut self, draft: &Draft) -> bool {
        let mut next = self.clone();
        if let Some(term) = draft.term {
            next.term = term;
        }
        if let Some((index, term)) = draft.compacted.filter(|&(index, _)| index > next.start.0) {
            if next.log.get(&index) != Some(&term) {
                next.log.clear();
            }
            next.log.retain(|&place, _| place > index);
            next.start = (index, term);
        }
        if let Some((first, terms)) = &draft.entries {
            let last = next.log.keys().next_back().copied().unwrap_or(next.start.0);
            if *first <= next.start.0 || *first > last + 1 {
                return false;
            }
            next.log.retain(|place, _| place < first);
            next.log.extend((*first..).zip(terms.iter().copied()));
        }
        *self = next;
        true
    }
}

proptest! {
    #![proptest_config(crate::cases(1024))]

    #[test]
    fn storage_replays_what_was_saved(drafts in prop::collection::vec(draft(), 1..20)) {
        let (mut recovered, mut twin) = (Recovered::default(), Twin::default());
        for draft in drafts {
            let before = recovered.clone();
            let is_taken = recovered.replay(draft.save()).is_ok();
            prop_assert_eq!(is_taken, twin.replay(&draft));
            if !is_taken {
                prop_assert_eq!(&recovered, &before, "a refused save changes nothing");
            }
            prop_assert_eq!(recovered.hard_state.current_term.0, twin.term);
            let start = (recovered.start.index.0, recovered.start.term.0);
            prop_assert_eq!(start, twin.start);
            let log = |entry: &Entry| (entry.index.0, entry.term.0);
            let log: BTreeMap<_, _> = recovered.entries.iter().map(log).collect();
            prop_assert_eq!(&log, &twin.log);
            prop_assert_eq!(log.len(), recovered.entries.len());
            let last = twin.log.keys().next_back().copied().unwrap_or(twin.start.0);
            prop_assert_eq!(recovered.last_index(), Index(last));
            for index in 0..20 {
                let found = recovered.entry(Index(index)).map(|entry| entry.term.0);
                prop_assert_eq!(found, twin.log.get(&index).copied());
            }
        }
    }
}
