//! What of a cluster's state teaches a tester something: roles, how terms, logs and commit indices compare.
//!
//! Guarantees: servers have no names in it, so two clusters that differ by a renaming of the servers
//!             are in one abstract state.

use super::view::View;
use crate::fingerprint::Fingerprint;

/// More than this is one and the same "many".
const FEW: u64 = 3;

/// What the abstract state of a cluster takes from its servers, kept from one event to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Abstraction {
    /// The highest term and commit index of all: every server is compared with them.
    term: u64,
    commit: u64,
    /// Stands for all servers. Addition forgets their order.
    sum: u64,
}

impl Abstraction {
    /// Looks at all servers again; views that are as they were before know what they come to.
    pub(super) fn of(before: Self, views: &mut [View]) -> Self {
        let (mut term, mut commit) = (0, 0);
        for view in &*views {
            term = term.max(view.term);
            commit = commit.max(view.commit);
        }
        let is_same_measure = (term, commit) == (before.term, before.commit);
        let mut sum = 0u64;
        for view in views {
            let known = view.abstraction.filter(|_| is_same_measure);
            let one = known.unwrap_or_else(|| {
                let mut hash = Fingerprint::default();
                hash.mix(of_server(view, term, commit));
                hash.0
            });
            view.abstraction = Some(one);
            sum = sum.wrapping_add(one);
        }
        Self { term, commit, sum }
    }

    /// The abstract state of the cluster with so much in flight.
    pub(super) fn with(self, in_flight: usize) -> u64 {
        let crowd = in_flight.checked_ilog2().map_or(0, |log| u64::from(log) + 1);
        let mut all = Fingerprint(self.sum);
        all.mix(crowd << 8 | self.term.min(7) << 4 | self.commit.min(7));
        all.0
    }
}

fn of_server(view: &View, term: u64, commit: u64) -> u64 {
    if !view.is_up() {
        return 1;
    }
    let fields = [
        (term - view.term).min(FEW),
        view.term.saturating_sub(view.last_term).min(FEW),
        view.last.saturating_sub(view.commit).min(FEW),
        (commit - view.commit).min(FEW),
        view.last.saturating_sub(view.durable).min(FEW),
        view.last.min(7),
    ];
    fields.iter().fold(view.shape, |all, field| all << 4 | field)
}
