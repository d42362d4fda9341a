//! A follower's log against the receiver of Figure 2, written down naively over a vector of terms.

use proptest::prelude::*;
use raft_core::{Index, LogId, StepError, Term};

use crate::bench::{Bench, append};

/// What a leader of the last term says.
#[derive(Clone, Debug)]
struct Request {
    prev: (u64, u64),
    terms: Vec<u64>,
    commit: u64,
}

const TERM: u64 = 9;

fn request() -> impl Strategy<Value = Request> {
    (0..7_u64, 1..5_u64, prop::collection::vec(0..2_u64, 0..4), 0..4_u64).prop_map(
        |(prev, prev_term, steps, commit)| {
            let prev_term = if prev == 0 { 0 } else { prev_term };
            let mut term: u64 = prev_term;
            let mut next = |step: u64| {
                term = (term + step).max(1);
                term
            };
            let terms = steps.into_iter().map(&mut next).collect();
            Request { prev: (prev, prev_term), terms, commit }
        },
    )
}

/// A log of terms, index 1 first, and a commit index.
#[derive(Clone, Debug, Default, PartialEq)]
struct Twin {
    log: Vec<u64>,
    commit: usize,
}

impl Twin {
    fn term_at(&self, index: u64) -> Option<u64> {
        if index == 0 { Some(0) } else { self.log.get(index as usize - 1).copied() }
    }

    /// The answer, or `None` if a committed entry would have to go.
    fn append(&mut self, request: &Request) -> Option<String> {
        let before = self.clone();
        let (prev, prev_term) = request.prev;
        if self.term_at(prev) != Some(prev_term) {
            if prev as usize <= self.commit {
                return None;
            }
            return Some(match self.term_at(prev) {
                None => format!("conflict prev={prev} hint={}", self.log.len() + 1),
                Some(term) => {
                    let first = self.log.iter().position(|&t| t == term).unwrap() + 1;
                    format!("conflict prev={prev} hint={first}@{term}")
                }
            });
        }
        let mut index = prev as usize;
        for &term in &request.terms {
            index += 1;
            match self.log.get(index - 1) {
                Some(&there) if there == term => {}
                Some(_) => {
                    if index <= self.commit {
                        *self = before;
                        return None;
                    }
                    self.log.truncate(index - 1);
                    self.log.push(term);
                }
                None => self.log.push(term),
            }
        }
        self.commit = self.commit.max(index.min(request.commit as usize));
        Some(format!("match={index}"))
    }
}

proptest! {
    #![proptest_config(crate::cases(512))]

    #[test]
    fn a_follower_does_what_figure_2_says(
        mut start in prop::collection::vec(1..5_u64, 0..6),
        requests in prop::collection::vec(request(), 1..8),
    ) {
        start.sort_unstable();
        let mut bench = Bench::follower(3, TERM, &start);
        let mut twin = Twin { log: start, commit: 0 };
        for request in requests {
            let message = append(TERM, 2, request.prev, &request.terms, request.commit);
            match twin.append(&request) {
                Some(answer) => {
                    let effects = bench.receive(2, message);
                    let expected = format!("→ s2 AppendEntriesResponse {answer}");
                    prop_assert_eq!(effects.last(), Some(&expected));
                }
                None => {
                    let error = bench.refuse(2, message);
                    let is_conflict = matches!(error, StepError::CommittedConflict { .. });
                    prop_assert!(is_conflict, "{}", error);
                }
            }
            prop_assert_eq!(bench.log(), twin.log.clone());
            prop_assert_eq!(bench.commit_index() as usize, twin.commit);
            prop_assert_eq!(bench.server.last_applied().0 as usize, twin.commit);
        }
        let log = bench.server.log();
        for index in 0..10 {
            let id = Index(index);
            prop_assert_eq!(log.term_at(id).map(|term| term.0), twin.term_at(index));
            prop_assert_eq!(log.entry(id).map(|e| e.index.0), twin.term_at(index).and(Some(index)).filter(|&i| i > 0));
            prop_assert_eq!(log.from(id).count(), twin.log.len().saturating_sub(index.saturating_sub(1) as usize));
            for term in 0..6 {
                let is_there = twin.term_at(index) == Some(term);
                prop_assert_eq!(log.matches(LogId::new(Term(term), id)), is_there);
            }
        }
        prop_assert_eq!(log.last_index().0 as usize, twin.log.len());
        prop_assert_eq!(log.last_term().0, twin.log.last().copied().unwrap_or(0));
    }
}
