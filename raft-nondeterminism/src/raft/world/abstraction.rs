//! What of a cluster's state teaches a tester something: roles, how terms, logs and commit indices compare.
//!
//! Guarantees: servers have no names in it, so two clusters that differ by a renaming of the servers
//!             are in one abstract state.

use super::view::View;
use crate::fingerprint::Fingerprint;

/// More than this is one and the same "many".
const FEW: u64 = 3;

/// The abstract state of a cluster with so much in flight.
pub(super) fn of(views: &[View], in_flight: usize) -> u64 {
    let (mut term, mut commit) = (0, 0);
    for view in views {
        term = term.max(view.term);
        commit = commit.max(view.commit);
    }
    // Addition forgets the order.
    let sum = views.iter().fold(0u64, |sum, view| {
        let mut hash = Fingerprint::default();
        hash.mix(of_server(view, term, commit));
        sum.wrapping_add(hash.0)
    });
    let crowd = in_flight.checked_ilog2().map_or(0, |log| u64::from(log) + 1);
    let mut all = Fingerprint(sum);
    all.mix(crowd << 8 | term.min(7) << 4 | commit.min(7));
    all.0
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
