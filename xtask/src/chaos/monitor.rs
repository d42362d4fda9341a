//! What must hold in everything that servers tell, dead ones included.
//!
//! Guarantees: at most one leader per term (Election Safety), and one entry at each committed place
//!             (State Machine Safety); a breach is told in words, once for each term and place.

use std::collections::{BTreeMap, BTreeSet};

use raft_azure::event::{Event, LogEntry, ServerStatus};

/// Watches from outside.
#[derive(Debug, Default)]
pub(super) struct Monitor {
    leaders: BTreeMap<u64, u64>,
    committed: BTreeMap<u64, (u64, LogEntry)>,
    /// Terms and places that were told of.
    told: BTreeSet<(&'static str, u64)>,
}

impl Monitor {
    /// Takes what a server tells, and says what that breaks.
    pub(super) fn note(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::Role { server, term, role, .. } if role == "leader" => {
                let known = *self.leaders.entry(*term).or_insert(*server);
                (known != *server && self.told.insert(("term", *term)))
                    .then(|| format!("s{known} and s{server} were both elected in term {term}"))
            }
            Event::Commit { server, entry } => {
                let known = self.committed.entry(entry.index);
                let (first, known) = known.or_insert_with(|| (*server, entry.clone()));
                (known != entry && self.told.insert(("index", entry.index)))
                    .then(|| format!("s{first} committed {known}, and s{server} {entry}"))
            }
            _ => None,
        }
    }

    /// How many leaders were elected.
    pub(super) fn elections(&self) -> usize {
        self.leaders.len()
    }

    /// How many entries were committed.
    pub(super) fn commits(&self) -> usize {
        self.committed.len()
    }
}

/// What two servers differ in, when nothing is under way any more.
pub(super) fn difference(one: &ServerStatus, other: &ServerStatus) -> Option<String> {
    let (a, b) = (one.server, other.server);
    let ends = |status: &ServerStatus| (status.commit_index, status.last_applied);
    if ends(one) != ends(other) {
        return Some(format!("s{a} ends at {:?}, and s{b} at {:?}", ends(one), ends(other)));
    }
    // Each was compacted where its last snapshot stands, so only what both still hold compares.
    let held: BTreeMap<_, _> = one.log.iter().map(|entry| (entry.index, entry)).collect();
    for entry in &other.log {
        if let Some(held) = held.get(&entry.index).filter(|&&held| held != entry) {
            return Some(format!("s{a} holds {held}, and s{b} {entry}"));
        }
    }
    let differs = |(x, y): &(&String, &String)| x != y;
    let line = one.state.iter().zip(&other.state).find(differs);
    match line {
        Some((x, y)) => Some(format!("s{a} has applied {x:?}, and s{b} {y:?}")),
        None if one.state.len() != other.state.len() => Some(format!(
            "the state of s{a} has {} lines, that of s{b} {}",
            one.state.len(),
            other.state.len()
        )),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elected(server: u64, term: u64) -> Event {
        let role = "leader".to_owned();
        let from_role = "candidate".to_owned();
        Event::Role { server, from_term: term, from_role, term, role, leader: Some(server) }
    }

    fn entry(index: u64, term: u64) -> LogEntry {
        LogEntry { index, term, client: None, sequence: None, command: None }
    }

    #[test]
    fn two_leaders_of_one_term_are_noticed() {
        let mut monitor = Monitor::default();
        assert_eq!(monitor.note(&elected(1, 1)), None);
        assert_eq!(monitor.note(&elected(2, 2)), None);
        assert_eq!(monitor.note(&elected(1, 1)), None, "told again");
        let breach = monitor.note(&elected(3, 2)).unwrap();
        assert_eq!(breach, "s2 and s3 were both elected in term 2");
    }

    #[test]
    fn two_entries_at_one_place_are_noticed() {
        let mut monitor = Monitor::default();
        let commit = |server, entry| Event::Commit { server, entry };
        assert_eq!(monitor.note(&commit(1, entry(7, 2))), None);
        assert_eq!(monitor.note(&commit(2, entry(7, 2))), None);
        let breach = monitor.note(&commit(2, entry(7, 3))).unwrap();
        assert_eq!(breach, "s1 committed 7@2 noop, and s2 7@3 noop");
        assert_eq!(monitor.note(&commit(3, entry(7, 3))), None, "that was told");
    }

    #[test]
    fn servers_are_compared_in_what_both_hold() {
        let status = |server, log: &[(u64, u64)], state: &[&str]| ServerStatus {
            server,
            role: "follower".to_owned(),
            term: 3,
            leader: None,
            commit_index: 9,
            last_applied: 9,
            log: log.iter().map(|&(index, term)| entry(index, term)).collect(),
            state: state.iter().map(|&line| line.to_owned()).collect(),
            refusals: BTreeMap::new(),
            undecodable: 0,
            own: 0,
            too_large: 0,
        };
        let one = status(1, &[(8, 2), (9, 3)], &["a = 1"]);
        assert_eq!(difference(&one, &status(2, &[(9, 3)], &["a = 1"])), None);
        let table = [
            (status(2, &[(8, 3), (9, 3)], &["a = 1"]), "s1 holds 8@2 noop, and s2 8@3 noop"),
            (status(2, &[], &["a = 2"]), "s1 has applied \"a = 1\", and s2 \"a = 2\""),
            (status(2, &[], &["a = 1", "b = 2"]), "the state of s1 has 1 lines, that of s2 2"),
            (
                ServerStatus { last_applied: 8, ..one.clone() },
                "s1 ends at (9, 9), and s1 at (9, 8)",
            ),
        ];
        for (other, expected) in table {
            assert_eq!(difference(&one, &other).as_deref(), Some(expected));
        }
    }
}
