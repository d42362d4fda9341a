//! Watches a cluster from outside and says when it breaks a promise.
//!
//! Guarantees: what was told in one order gives one verdict; nothing here panics, waits, or asks the
//!             servers anything.
//! Checks:
//! - Election Safety: "at most one leader can be elected in a given term" (Raft §5.2).
//! - State Machine Safety: no two servers ever commit different entries at one index (Raft §5.4.3).
//! - Each server commits every index once and in order; a restarted one begins again at 1. It may leave
//!   out what a snapshot stands for, if its state machine is restored from that before it goes on.
//! - Only committed commands are applied, in log order, each request once (dissertation §6.3), and
//!   what one server applies, every server does: none skips it. Restoring a snapshot counts as
//!   applying what it stands for.
//!
//! Relies on:  every host telling what its server tells: the monitor sees no message and no log.
//! Elsewhere:  [`MockServerManager`](crate::MockServerManager) and
//!             [`Monitored`](crate::Monitored) tell it what happens to a hosted server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::{
    ClientId, ClientRequest, Entry, Index, Payload, SequenceNumber, ServerId, SessionId, Term,
};
use tokio::sync::Notify;

/// How many violations are kept: the first explains, the rest follow from it.
const VIOLATIONS_MAX: usize = 100;

/// Collects what servers tell, and what is wrong with it. Clones share one verdict.
///
/// ```
/// use raft_core::{ServerId, Term};
/// use raft_mocking::{SafetyMonitor, Violation};
///
/// let monitor = SafetyMonitor::new();
/// monitor.notify_elected_leader(ServerId(1), Term(2));
/// assert_eq!(monitor.check(), Ok(()));
///
/// monitor.notify_elected_leader(ServerId(3), Term(2));
/// let violation = monitor.check().unwrap_err();
/// assert_eq!(violation.to_string(), "s1 and s3 were both elected leader of term 2");
/// ```
#[derive(Clone, Default)]
pub struct SafetyMonitor {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something was told.
    told: Notify,
}

#[derive(Default)]
struct State {
    seen: Seen,
    /// Which command was first applied, or else first skipped, by whom.
    outcomes: BTreeMap<Index, (Outcome, ServerId)>,
    violations: Vec<Violation>,
}

/// What a server did with a committed command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Applied,
    /// A repeated request, or one that the state machine could not read.
    Skipped,
}

/// What a cluster has told so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Who was elected first in each term.
    pub leaders: BTreeMap<Term, ServerId>,
    /// The last election told, whatever its term; `None` once its winner was started again.
    pub last_elected: Option<(ServerId, Term)>,
    /// Every entry that some server committed, from index 1 on, and the server that did first.
    pub committed: Vec<(ServerId, Entry)>,
    /// How far each server has come in its present life.
    pub servers: BTreeMap<ServerId, Life>,
}

/// How far a server has come since it was started last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// How often the server was started before.
    pub restarts: u64,
    /// The last entry it committed.
    pub committed: Index,
    /// The last entry its state machine was handed.
    pub applied: Index,
    /// The last request of each client that was applied, and where it stands.
    pub requests: BTreeMap<ClientId, (SequenceNumber, Index)>,
    /// The requests in sessions that were applied: these may be applied in any order.
    pub in_sessions: BTreeMap<(SessionId, SequenceNumber), Index>,
    /// The last command of the snapshot that its state machine was restored from.
    pub restored: Option<Index>,
    /// Commits that were left out: the entry that was next, and the one that came instead.
    pub left_out: Option<(Index, Index)>,
}

impl Seen {
    /// How far a server has come; nowhere if it never told anything.
    #[must_use]
    pub fn life(&self, server: ServerId) -> Life {
        self.servers.get(&server).cloned().unwrap_or_default()
    }

    /// The last entry that some server committed.
    #[must_use]
    pub fn last_committed(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    fn committed_at(&self, index: Index) -> Option<&(ServerId, Entry)> {
        self.committed.get(usize::try_from(index.0.checked_sub(1)?).ok()?)
    }
}

/// A promise that the cluster broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Election Safety: two servers lead one term.
    #[error("{first} and {second} were both elected leader of term {term}")]
    TwoLeaders {
        /// The term.
        term: Term,
        /// Who was elected first.
        first: ServerId,
        /// Who was elected, too.
        second: ServerId,
    },
    /// State Machine Safety: two servers committed different entries at one index.
    #[error("{first} committed {first_entry}, but {second} committed {second_entry}")]
    DifferentEntries {
        /// Who committed first.
        first: ServerId,
        /// What it committed.
        first_entry: Box<Entry>,
        /// Who committed something else.
        second: ServerId,
        /// What that was.
        second_entry: Box<Entry>,
    },
    /// A server committed an entry again, or left one out.
    #[error("{server} committed entry {found} where entry {expected} was next")]
    CommitOutOfOrder {
        /// The server.
        server: ServerId,
        /// The entry that was next.
        expected: Index,
        /// The entry it committed.
        found: Index,
    },
    /// A server applied what it had not committed, or what holds no command.
    #[error("{server} applied entry {index}, which is no command that it committed")]
    AppliedUncommitted {
        /// The server.
        server: ServerId,
        /// The entry.
        index: Index,
    },
    /// A server applied an entry after a later one, or again.
    #[error("{server} applied entry {found} after entry {last}")]
    AppliedOutOfOrder {
        /// The server.
        server: ServerId,
        /// The entry it had applied last.
        last: Index,
        /// The entry it applied then.
        found: Index,
    },
    /// A server applied a request though it, or a later one of its client, was applied before.
    #[error("{server} applied {client_id}{sequence_number} again at entry {second}, after {first}")]
    AppliedTwice {
        /// The server.
        server: ServerId,
        /// Whose request it is.
        client_id: ClientId,
        /// Which of its requests.
        sequence_number: SequenceNumber,
        /// The client's request that was applied before.
        first: Index,
        /// Where it was applied again.
        second: Index,
    },
    /// One server applied a committed command, another went past it.
    #[error("{applied_by} applied entry {index}, but {skipped_by} skipped it")]
    AppliedBySome {
        /// The entry.
        index: Index,
        /// Who applied it.
        applied_by: ServerId,
        /// Who did not.
        skipped_by: ServerId,
    },
}

impl SafetyMonitor {
    /// A monitor that was told nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A server starts, for the first time or again: it will tell its commits from index 1 on.
    pub fn notify_started(&self, server: ServerId) {
        self.tell(|state| {
            let restarts = state.seen.servers.get(&server).map_or(0, |life| life.restarts + 1);
            state.seen.servers.insert(server, Life { restarts, ..Life::default() });
            state.seen.last_elected.take_if(|(leader, _)| *leader == server);
        });
    }

    /// A server was elected leader of `term`.
    pub fn notify_elected_leader(&self, server: ServerId, term: Term) {
        self.tell(|state| {
            state.seen.last_elected = Some((server, term));
            let first = *state.seen.leaders.entry(term).or_insert(server);
            if first != server {
                state.report(Violation::TwoLeaders { term, first, second: server });
            }
        });
    }

    /// A server committed an entry.
    pub fn notify_commit(&self, server: ServerId, entry: &Entry) {
        self.tell(|state| state.commit(server, entry));
    }

    /// A server's state machine was restored from a snapshot, whose last command stands at `index`;
    /// [`Index::ZERO`] if it holds none.
    pub fn notify_restored(&self, server: ServerId, index: Index) {
        self.tell(|state| state.restore(server, index));
    }

    /// A server's state machine was handed the command of the entry at `index`.
    pub fn notify_apply(&self, server: ServerId, index: Index) {
        self.tell(|state| state.apply(server, index));
    }

    /// The verdict so far.
    ///
    /// # Errors
    ///
    /// The first promise that was broken.
    pub fn check(&self) -> Result<(), Violation> {
        self.lock().violations.first().cloned().map_or(Ok(()), Err)
    }

    /// Every promise broken so far, in order; a hundred at most.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    /// What was told so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.lock().seen.clone()
    }

    /// Waits until what was told fulfils the condition, which may be at once.
    pub async fn until(&self, mut is_fulfilled: impl FnMut(&Seen) -> bool) {
        loop {
            // Listens before it looks: what is told in between ends the wait.
            let mut told = std::pin::pin!(self.shared.told.notified());
            told.as_mut().enable();
            if is_fulfilled(&self.lock().seen) {
                return;
            }
            told.await;
        }
    }

    fn tell(&self, what: impl FnOnce(&mut State)) {
        what(&mut self.lock());
        self.shared.told.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only a condition of `until` may panic, and it changes nothing.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn report(&mut self, violation: Violation) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(violation);
        }
    }

    fn commit(&mut self, server: ServerId, entry: &Entry) {
        let last_committed = self.seen.last_committed();
        let life = self.seen.servers.entry(server).or_default();
        let (expected, found) = (life.committed.next(), entry.index);
        life.committed = found;
        if found > expected && found.previous() <= last_committed {
            // A snapshot may stand for what is left out. The state machine will tell.
            life.left_out = Some((life.left_out.map_or(expected, |(first, _)| first), found));
        } else if found != expected {
            self.report(Violation::CommitOutOfOrder { server, expected, found });
        }
        match self.seen.committed_at(found) {
            Some((_, known)) if known == entry => {}
            Some((first, known)) => {
                let violation = Violation::DifferentEntries {
                    first: *first,
                    first_entry: Box::new(known.clone()),
                    second: server,
                    second_entry: Box::new(entry.clone()),
                };
                self.report(violation);
            }
            None if found == self.seen.last_committed().next() => {
                self.seen.committed.push((server, entry.clone()));
            }
            // Past a gap: reported above, and there is nothing to compare it with.
            None => {}
        }
    }

    fn apply(&mut self, server: ServerId, index: Index) {
        let mut life = self.seen.servers.remove(&server).unwrap_or_default();
        if let Some((expected, found)) = life.left_out.take_if(|(_, found)| *found <= index) {
            let is_restored = |index| {
                life.restored.is_some_and(|last| index <= last || self.command_at(index).is_none())
            };
            if !(expected.0..found.0).map(Index).all(is_restored) {
                self.report(Violation::CommitOutOfOrder { server, expected, found });
            }
        }
        if index <= life.applied {
            self.report(Violation::AppliedOutOfOrder { server, last: life.applied, found: index });
        } else {
            for skipped in life.applied.0 + 1..index.0 {
                self.agree(server, Index(skipped), Outcome::Skipped);
            }
            self.agree(server, index, Outcome::Applied);
            self.apply_next(server, &mut life, index);
            life.applied = index;
        }
        self.seen.servers.insert(server, life);
    }

    fn restore(&mut self, server: ServerId, index: Index) {
        let applied = self.outcomes.range(..=index);
        let applied = applied.filter(|(_, (outcome, _))| *outcome == Outcome::Applied);
        let applied: BTreeSet<_> = applied.map(|(&index, _)| index).collect();
        let mut life = self.seen.servers.remove(&server).unwrap_or_default();
        life.restored = Some(index);
        life.requests.clear();
        life.in_sessions.clear();
        if index > Index::ZERO && !applied.contains(&index) {
            // Nobody had this state, so it is none that committed commands lead to.
            self.report(Violation::AppliedUncommitted { server, index });
        }
        for index in applied {
            if let Some(Some(request)) = self.command_at(index) {
                life.remember(&request.clone(), index);
            }
        }
        if index < life.applied {
            self.report(Violation::AppliedOutOfOrder { server, last: life.applied, found: index });
        }
        life.applied = index;
        // The host is told of no entry that the snapshot stands for.
        life.committed = life.committed.max(index);
        self.seen.servers.insert(server, life);
    }

    /// All servers do the same with one command.
    fn agree(&mut self, server: ServerId, index: Index, outcome: Outcome) {
        if self.command_at(index).is_none() {
            return;
        }
        let (first, by) = *self.outcomes.entry(index).or_insert((outcome, server));
        let (applied_by, skipped_by) = match (first, outcome) {
            (Outcome::Applied, Outcome::Skipped) => (by, server),
            (Outcome::Skipped, Outcome::Applied) => (server, by),
            (Outcome::Applied, Outcome::Applied) | (Outcome::Skipped, Outcome::Skipped) => return,
        };
        self.report(Violation::AppliedBySome { index, applied_by, skipped_by });
    }

    fn apply_next(&mut self, server: ServerId, life: &mut Life, index: Index) {
        let Some(command) = self.command_at(index).filter(|_| index <= life.committed) else {
            return self.report(Violation::AppliedUncommitted { server, index });
        };
        // A proposal belongs to no client: it is applied as often as it was made.
        let Some(request) = command.cloned() else { return };
        if let Some(first) = life.remember(&request, index) {
            let ClientRequest { client_id, sequence_number, .. } = *request;
            let second = index;
            self.report(Violation::AppliedTwice {
                server,
                client_id,
                sequence_number,
                first,
                second,
            });
        }
    }

    /// The command at `index`, if one is committed there; and whose request it is, if it is one.
    fn command_at(&self, index: Index) -> Option<Option<&Arc<ClientRequest>>> {
        match &self.seen.committed_at(index)?.1.payload {
            Payload::Noop | Payload::RegisterClient { .. } | Payload::Configuration(_) => None,
            Payload::Proposal(_) => Some(None),
            Payload::Command(request) => Some(Some(request)),
        }
    }
}

impl Life {
    /// Takes notice of a request that is applied at `index`. Returns where it was applied before, or
    /// where a later one of its client was.
    fn remember(&mut self, request: &ClientRequest, index: Index) -> Option<Index> {
        let &ClientRequest { client_id, session, sequence_number, .. } = request;
        if session != SessionId::NONE {
            return self.in_sessions.insert((session, sequence_number), index);
        }
        match self.requests.get(&client_id) {
            Some(&(last, first)) if last >= sequence_number => Some(first),
            Some(_) | None => {
                self.requests.insert(client_id, (sequence_number, index));
                None
            }
        }
    }
}

impl fmt::Debug for SafetyMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SafetyMonitor").field("verdict", &self.check()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S1: ServerId = ServerId(1);
    const S2: ServerId = ServerId(2);

    fn noop(index: u64, term: u64) -> Entry {
        Entry { term: Term(term), index: Index(index), payload: Payload::Noop }
    }

    fn command(index: u64, sequence_number: u64) -> Entry {
        let (client_id, sequence_number) = (ClientId(9), SequenceNumber(sequence_number));
        let request = ClientRequest::new(client_id, sequence_number, "x".into());
        Entry { payload: Payload::Command(request.into()), ..noop(index, 1) }
    }

    fn verdict(tell: impl FnOnce(&SafetyMonitor)) -> String {
        let monitor = SafetyMonitor::new();
        tell(&monitor);
        monitor.check().map_or_else(|violation| violation.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn a_server_that_leads_two_terms_is_fine_and_so_is_being_told_twice() {
        let verdict = verdict(|monitor| {
            monitor.notify_elected_leader(S1, Term(1));
            monitor.notify_elected_leader(S2, Term(2));
            monitor.notify_elected_leader(S1, Term(3));
            monitor.notify_elected_leader(S1, Term(3));
        });
        assert_eq!(verdict, "fine");
    }

    #[test]
    fn two_leaders_of_one_term_are_caught() {
        let verdict = verdict(|monitor| {
            monitor.notify_elected_leader(S1, Term(2));
            monitor.notify_elected_leader(S2, Term(2));
        });
        assert_eq!(verdict, "s1 and s2 were both elected leader of term 2");
    }

    #[test]
    fn different_entries_at_one_index_are_caught() {
        let by_term = verdict(|monitor| {
            monitor.notify_commit(S1, &noop(1, 1));
            monitor.notify_commit(S2, &noop(1, 2));
        });
        assert_eq!(by_term, "s1 committed 1@1 noop, but s2 committed 1@2 noop");
        let by_payload = verdict(|monitor| {
            monitor.notify_commit(S1, &noop(1, 1));
            monitor.notify_commit(S2, &command(1, 1));
        });
        assert_eq!(by_payload, "s1 committed 1@1 noop, but s2 committed 1@1 c9#1 x");
    }

    #[test]
    fn a_restarted_server_that_commits_otherwise_than_in_its_first_life_is_caught() {
        let verdict = verdict(|monitor| {
            monitor.notify_started(S1);
            monitor.notify_commit(S1, &noop(1, 1));
            monitor.notify_started(S1);
            monitor.notify_commit(S1, &noop(1, 2));
        });
        assert_eq!(verdict, "s1 committed 1@1 noop, but s1 committed 1@2 noop");
    }

    #[test]
    fn a_gap_and_a_repetition_in_the_commits_of_one_server_are_caught() {
        let gap = verdict(|monitor| {
            monitor.notify_commit(S1, &noop(1, 1));
            monitor.notify_commit(S1, &noop(3, 1));
        });
        assert_eq!(gap, "s1 committed entry 3 where entry 2 was next");
        let repetition = verdict(|monitor| {
            monitor.notify_commit(S1, &noop(1, 1));
            monitor.notify_commit(S1, &noop(1, 1));
        });
        assert_eq!(repetition, "s1 committed entry 1 where entry 2 was next");
    }

    #[test]
    fn a_restarted_server_begins_again_at_1() {
        let verdict = verdict(|monitor| {
            for _ in 0..2 {
                monitor.notify_started(S1);
                monitor.notify_commit(S1, &noop(1, 1));
                monitor.notify_commit(S1, &command(2, 1));
                monitor.notify_apply(S1, Index(2));
            }
        });
        assert_eq!(verdict, "fine");
    }

    #[test]
    fn what_a_snapshot_stands_for_is_neither_committed_nor_applied_again() {
        let tell = |restored: Option<u64>, applied: u64| {
            move |monitor: &SafetyMonitor| {
                for index in 1..=3 {
                    monitor.notify_commit(S1, &command(index, index));
                    monitor.notify_apply(S1, Index(index));
                }
                monitor.notify_commit(S2, &command(3, 3));
                restored.into_iter().for_each(|to| monitor.notify_restored(S2, Index(to)));
                monitor.notify_apply(S2, Index(applied));
            }
        };
        assert_eq!(verdict(tell(Some(2), 3)), "fine");
        assert_eq!(verdict(tell(None, 3)), "s2 committed entry 3 where entry 1 was next");
        assert_eq!(verdict(tell(Some(1), 3)), "s2 committed entry 3 where entry 1 was next");
        assert_eq!(verdict(tell(Some(3), 3)), "s2 applied entry 3 after entry 3");
        let unknown = "s2 applied entry 9, which is no command that it committed";
        assert_eq!(verdict(tell(Some(9), 10)), unknown, "nobody had such a state");
    }

    #[test]
    fn a_request_that_stands_twice_in_the_log_is_to_be_applied_once() {
        let tell = |applied: &'static [u64]| {
            move |monitor: &SafetyMonitor| {
                for (index, number) in [(1, 1), (2, 1), (3, 2)] {
                    monitor.notify_commit(S1, &command(index, number));
                }
                applied.iter().for_each(|&index| monitor.notify_apply(S1, Index(index)));
            }
        };
        assert_eq!(verdict(tell(&[1, 3])), "fine");
        assert_eq!(verdict(tell(&[1, 2, 3])), "s1 applied c9#1 again at entry 2, after 1");
        assert_eq!(verdict(tell(&[1, 1])), "s1 applied entry 1 after entry 1");
        assert_eq!(verdict(tell(&[3, 1])), "s1 applied entry 1 after entry 3");
    }

    #[test]
    fn a_command_that_one_server_applies_and_another_skips_is_caught() {
        let tell = |first: &'static [u64], second: &'static [u64]| {
            move |monitor: &SafetyMonitor| {
                for (server, applied) in [(S1, first), (S2, second)] {
                    monitor.notify_commit(server, &command(1, 1));
                    monitor.notify_commit(server, &command(2, 2));
                    applied.iter().for_each(|&index| monitor.notify_apply(server, Index(index)));
                }
            }
        };
        assert_eq!(verdict(tell(&[1, 2], &[2])), "s1 applied entry 1, but s2 skipped it");
        assert_eq!(verdict(tell(&[2], &[1, 2])), "s2 applied entry 1, but s1 skipped it");
        assert_eq!(verdict(tell(&[2], &[2])), "fine", "neither could read it");
    }

    #[test]
    fn applying_what_is_not_committed_is_caught() {
        let nobody = verdict(|monitor| monitor.notify_apply(S1, Index(1)));
        assert_eq!(nobody, "s1 applied entry 1, which is no command that it committed");
        let another = verdict(|monitor| {
            monitor.notify_commit(S2, &command(1, 1));
            monitor.notify_apply(S1, Index(1));
        });
        assert_eq!(another, "s1 applied entry 1, which is no command that it committed");
        let no_command = verdict(|monitor| {
            monitor.notify_commit(S1, &noop(1, 1));
            monitor.notify_apply(S1, Index(1));
        });
        assert_eq!(no_command, "s1 applied entry 1, which is no command that it committed");
    }

    #[test]
    fn the_first_violation_is_the_verdict_and_their_number_is_bounded() {
        let monitor = SafetyMonitor::new();
        for term in 1..=200 {
            monitor.notify_elected_leader(S1, Term(term));
            monitor.notify_elected_leader(S2, Term(term));
        }
        let first = Violation::TwoLeaders { term: Term(1), first: S1, second: S2 };
        assert_eq!(monitor.check(), Err(first));
        assert_eq!(monitor.violations().len(), VIOLATIONS_MAX);
    }

    #[test]
    fn a_monitor_can_be_shared_between_threads() {
        fn is_shareable<T: Clone + Send + Sync>() {}
        is_shareable::<SafetyMonitor>();
    }
}
