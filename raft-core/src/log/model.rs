//! The log against a naive twin: a vector of terms, and where it starts.

use proptest::prelude::*;

use super::*;

/// What happens to a log. Numbers are taken as far as they make sense.
#[derive(Clone, Debug)]
enum Change {
    /// A leader appends so many entries, each in a step of its own.
    Append { term_step: u64, count: u64 },
    /// A leader appends so many entries in one step.
    AppendTogether { term_step: u64, count: u64 },
    /// A follower takes entries, so many places before its end.
    AppendNew { back: u64, term_step: u64, count: u64 },
    /// Entries are forgotten, up to so many places before the end.
    Compact { back: u64 },
    /// A snapshot replaces all of it, and so many entries that never came.
    Install { ahead: u64 },
}

fn change() -> impl Strategy<Value = Change> {
    let steps = || prop_oneof![3 => Just(0_u64), 1 => 1..3_u64];
    let counts = || prop_oneof![3 => 1..4_u64, 1 => 20..90_u64];
    let places = || prop_oneof![3 => 0..5_u64, 1 => 0..200_u64];
    prop_oneof![
        6 => (steps(), counts()).prop_map(|(term_step, count)| Change::Append { term_step, count }),
        3 => (steps(), counts())
            .prop_map(|(term_step, count)| Change::AppendTogether { term_step, count }),
        3 => (places(), steps(), counts())
            .prop_map(|(back, term_step, count)| Change::AppendNew { back, term_step, count }),
        4 => places().prop_map(|back| Change::Compact { back }),
        1 => (0..9_u64).prop_map(|ahead| Change::Install { ahead }),
    ]
}

/// The term of each entry, index 1 first; those up to `start` are forgotten.
#[derive(Clone, Debug, Default)]
struct Twin {
    start: usize,
    terms: Vec<u64>,
}

impl Twin {
    fn term_at(&self, index: usize) -> Option<u64> {
        match index {
            _ if index < self.start => None,
            0 => Some(0),
            _ => self.terms.get(index - 1).copied(),
        }
    }

    fn last_term(&self) -> u64 {
        self.terms.last().copied().unwrap_or(0)
    }

    /// The entries between these places, both included, that are not forgotten.
    fn entries(&self, first: usize, through: usize) -> Vec<Entry> {
        let places = first.max(self.start + 1)..=through.min(self.terms.len());
        places.map(|index| entry(index as u64, self.terms[index - 1])).collect()
    }
}

fn entry(index: u64, term: u64) -> Entry {
    // Of different sizes, so that limits in bytes matter.
    let payload = Payload::Proposal(vec![0; index as usize % 7].into());
    Entry { term: Term(term), index: Index(index), payload }
}

fn act(log: &mut Log, twin: &mut Twin, change: &Change) {
    let next_term = |term: u64, step: u64| (term + step).max(1);
    match *change {
        Change::Append { term_step, count } | Change::AppendTogether { term_step, count } => {
            let term = next_term(twin.last_term(), term_step);
            for _ in 0..count {
                twin.terms.push(term);
                let payload = entry(twin.terms.len() as u64, term).payload;
                assert_eq!(log.append(Term(term), payload).0, twin.terms.len() as u64);
                if matches!(change, Change::Append { .. }) {
                    log.seal();
                }
            }
            log.seal();
        }
        Change::AppendNew { back, term_step, count } => {
            let keep = twin.terms.len().saturating_sub(back as usize).max(twin.start);
            twin.terms.truncate(keep);
            let term = next_term(twin.last_term(), term_step);
            twin.terms.resize(keep + count as usize, term);
            log.append_new(twin.entries(keep + 1, usize::MAX).into());
        }
        Change::Compact { back } => {
            let through = twin.terms.len().saturating_sub(back as usize);
            log.compact(Index(through as u64));
            twin.start = twin.start.max(through);
        }
        Change::Install { ahead } => {
            let term = next_term(twin.last_term(), 1);
            twin.terms.resize(twin.terms.len() + ahead as usize, term);
            twin.start = twin.terms.len();
            *log = Log::starting_at(LogId::new(
                Term(twin.last_term()),
                Index(twin.terms.len() as u64),
            ));
        }
    }
}

fn check(log: &Log, twin: &Twin) -> Result<(), TestCaseError> {
    let (start, end) = (twin.start, twin.terms.len());
    prop_assert_eq!(log.start().index.0, start as u64);
    prop_assert_eq!(Some(log.start().term.0), twin.term_at(start));
    prop_assert_eq!(log.last(), LogId::new(Term(twin.last_term()), Index(end as u64)));
    prop_assert_eq!(log.len(), (end - start) as u64);
    prop_assert!(log.iter().eq(&twin.entries(1, usize::MAX)));
    prop_assert!(log.lists.iter().all(|list| !list.is_empty()), "no list is empty");
    let small = log.lists.iter().rev().take_while(|list| list.len() < SMALL).count();
    prop_assert!(log.small <= small, "{} of {} lists are small", log.small, small);
    for index in (0..end + 3).filter(|index| index % 11 == 0 || index.abs_diff(start) < 4) {
        let place = Index(index as u64);
        prop_assert_eq!(log.term_at(place).map(|term| term.0), twin.term_at(index));
        let known = twin.entries(index, index).into_iter().next().filter(|_| index > 0);
        prop_assert_eq!(log.entry(place), known.as_ref());
        let rest = twin.entries(index, usize::MAX);
        prop_assert!(log.from(place).eq(&rest), "from {}", index);
        for term in [0, 1, twin.last_term()] {
            let is_there = index < start || twin.term_at(index) == Some(term);
            prop_assert_eq!(log.matches(LogId::new(Term(term), place)), is_there);
            // The last place at or before it that is not of a later term.
            let found = log.last_index_with_term_at_most(Term(term), place);
            let last = (start..=index.min(end))
                .rev()
                .find(|&place| twin.term_at(place).is_some_and(|found| found <= term));
            if let Some(last) = last {
                prop_assert_eq!(found.0, last as u64, "term {} up to {}", term, index);
            }
        }
        if index <= start || index > end {
            continue;
        }
        let term = twin.term_at(index);
        let first = (start + 1..=index).find(|&place| twin.term_at(place) == term);
        prop_assert_eq!(log.conflict_hint(place).index.0, first.unwrap() as u64);
        let mut pieces: Vec<Entry> = Vec::new();
        while pieces.len() < rest.len() {
            let piece = log.stretch(place + pieces.len() as u64, log.last_index());
            prop_assert!(!piece.is_empty());
            pieces.extend_from_slice(&piece);
        }
        prop_assert_eq!(&pieces, &rest);
        for (count_max, bytes_max) in [(1, 0), (3, 1000), (1000, 300), (1000, usize::MAX)] {
            let (batch, bytes) = log.batch(place, count_max, bytes_max);
            prop_assert!(!batch.is_empty() && rest.starts_with(&batch));
            prop_assert_eq!(bytes, batch.iter().map(Entry::size_bytes).sum::<usize>());
            let is_within = batch.len() as u64 <= count_max && bytes <= bytes_max;
            prop_assert!(batch.len() == 1 || is_within);
        }
        for through in [index, (index + 40).min(end), end] {
            let stretch = log.stretch(place, Index(through as u64));
            prop_assert!(!stretch.is_empty() && rest.starts_with(&stretch));
            prop_assert!(stretch.len() <= through + 1 - index);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn a_log_is_a_vector_of_entries_that_lost_its_beginning(
        changes in prop::collection::vec(change(), 1..30),
    ) {
        let (mut log, mut twin) = (Log::default(), Twin::default());
        for change in changes {
            act(&mut log, &mut twin, &change);
            check(&log, &twin)?;
        }
    }
}

/// Many steps of one entry each become few lists.
#[test]
fn small_lists_are_merged() {
    let (mut log, mut twin) = (Log::default(), Twin::default());
    act(&mut log, &mut twin, &Change::Append { term_step: 1, count: 2000 });
    let lists = log.lists.len();
    assert!(lists <= SMALL_IN_A_ROW + 2000 / SMALL_IN_A_ROW, "{lists} lists");
}
