//! Monitors: properties that must always hold, watched from outside.
//!
//! Guarantees: a monitor hears of every election, commit, application and answer, in the order in
//!             which they happen, and depends on nothing the servers conclude from them.
//! Elsewhere:  what should happen at least *sometimes* is in `goal.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use raft_core::{
    ClientId, Entry, Index, Log, LogId, Payload, SequenceNumber, ServerId, StepError, Term,
};

/// Something that happened and that a property may be about.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fact<'a> {
    /// A server was elected.
    ElectedLeader {
        /// Who.
        server: ServerId,
        /// In which term.
        term: Term,
        /// Its log, with the entry that opens its term.
        log: &'a Log,
    },
    /// A server says that everything in its log up to `index` is committed.
    Committed {
        /// Who.
        server: ServerId,
        /// Its term.
        term: Term,
        /// Up to where.
        index: Index,
        /// Its log.
        log: &'a Log,
    },
    /// The state machine of a server applied an entry.
    Applied {
        /// Whose.
        server: ServerId,
        /// Which.
        entry: &'a Entry,
    },
    /// A server refused an input because the cluster as a whole broke a promise.
    Refused {
        /// Who.
        server: ServerId,
        /// Why; only errors with [`StepError::is_fatal`].
        error: StepError,
    },
    /// A client was told that its request is applied.
    Answered {
        /// Who.
        client: ClientId,
        /// Which of its requests.
        sequence_number: SequenceNumber,
        /// Where it was told the command stands.
        log_id: LogId,
    },
    /// A client sent a request that it had sent before.
    Retried {
        /// Who.
        client: ClientId,
    },
    /// A server stopped; its commit index and its state machine are gone.
    Crashed {
        /// Who.
        server: ServerId,
    },
    /// A stopped server started from what it saved.
    Restarted {
        /// Who.
        server: ServerId,
    },
}

/// Watches for one property.
///
/// ```
/// use raft_nondeterminism::{Explorer, Fact, Monitor, Scenario};
///
/// /// Claims that elections are never contested, which is not so.
/// #[derive(Debug)]
/// struct OneTermIsEnough;
///
/// impl Monitor for OneTermIsEnough {
///     fn property(&self) -> &'static str {
///         "one-term-is-enough"
///     }
///     fn begin(&mut self) {}
///     fn observe(&mut self, fact: &Fact<'_>) -> Result<(), String> {
///         match fact {
///             Fact::ElectedLeader { server, term, .. } if term.0 > 1 => {
///                 Err(format!("{server} leads term {term}"))
///             }
///             _ => Ok(()),
///         }
///     }
/// }
///
/// let report = Explorer::new(Scenario::sample()).monitor(OneTermIsEnough).run()?;
/// assert_eq!(report.bug().expect("it is found").property(), "one-term-is-enough");
/// # Ok::<(), raft_nondeterminism::ExploreError>(())
/// ```
pub trait Monitor: fmt::Debug {
    /// The name of the property, in kebab-case.
    fn property(&self) -> &'static str;

    /// Starts a run: forget the last one.
    fn begin(&mut self);

    /// Takes notice of a fact.
    ///
    /// # Errors
    ///
    /// In one sentence, what breaks the property.
    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), String>;
}

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The name of the property.
    pub property: String,
    /// What broke it.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.message)
    }
}

/// The monitors every run has.
pub(crate) fn standard() -> Vec<Box<dyn Monitor>> {
    vec![
        Box::new(ElectionSafety::default()),
        Box::new(LeaderCompleteness::default()),
        Box::new(CommittedPrefix::default()),
        Box::new(ExactlyOnce::default()),
    ]
}

/// At most one leader is elected in each term (Raft §5.2, Election Safety).
#[derive(Clone, Debug, Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<Term, ServerId>,
}

impl Monitor for ElectionSafety {
    fn property(&self) -> &'static str {
        "election-safety"
    }

    fn begin(&mut self) {
        self.leaders.clear();
    }

    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::ElectedLeader { server, term, .. } => {
                let known = *self.leaders.entry(term).or_insert(server);
                if known == server {
                    return Ok(());
                }
                Err(format!("{known} and {server} were both elected in term {term}"))
            }
            Fact::Refused { server, error: error @ StepError::TwoLeaders { .. } } => {
                Err(format!("{server} was told so: {error}"))
            }
            _ => Ok(()),
        }
    }
}

/// What was committed in one term is in the log of every leader of a later one (Raft §5.4, Leader
/// Completeness).
#[derive(Clone, Debug, Default)]
pub struct LeaderCompleteness {
    /// The entry at each index, from 1, and the term in which it was first said to be committed.
    committed: Vec<(LogId, Term)>,
}

impl Monitor for LeaderCompleteness {
    fn property(&self) -> &'static str {
        "leader-completeness"
    }

    fn begin(&mut self) {
        self.committed.clear();
    }

    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Committed { term, index, log, .. } => {
                let known = self.committed.len();
                let upto = usize::try_from(index.0).unwrap_or(usize::MAX);
                let new = log.entries().iter().take(upto).skip(known);
                self.committed.extend(new.map(|entry| (entry.log_id(), term)));
                Ok(())
            }
            Fact::ElectedLeader { server, term, log } => {
                // A leader of an earlier term may be elected late: it never saw what came after.
                let before = self.committed.iter().take_while(|(_, committed)| *committed < term);
                let mut ids = before.map(|&(log_id, _)| log_id);
                match ids.find(|&log_id| !log.matches(log_id)) {
                    None => Ok(()),
                    Some(log_id) => Err(format!(
                        "{server} was elected in term {term} without {log_id}, which was committed"
                    )),
                }
            }
            _ => Ok(()),
        }
    }
}

/// Everything any server says is committed agrees with everything any server ever said was: the same
/// entry at the same place, growing only; what is applied and what clients are told is committed
/// (Raft §5.3, State Machine Safety).
#[derive(Clone, Debug, Default)]
pub struct CommittedPrefix {
    committed: Vec<Entry>,
    /// The commit index of each server that runs.
    commit_index: BTreeMap<ServerId, Index>,
}

impl CommittedPrefix {
    fn committed_at(&self, index: Index) -> Option<&Entry> {
        self.committed.get(usize::try_from(index.previous().0).ok()?)
    }

    fn commit(&mut self, server: ServerId, index: Index, log: &Log) -> Result<(), String> {
        let before = self.commit_index.insert(server, index).unwrap_or(Index::ZERO);
        if index <= before {
            return Err(format!("{server} committed {index} after {before}"));
        }
        if index > log.last_index() {
            let last = log.last_index();
            return Err(format!("{server} committed {index}, but its log ends at {last}"));
        }
        for entry in &log.from(before.next())[..(index - before) as usize] {
            match self.committed_at(entry.index) {
                None => self.committed.push(entry.clone()),
                Some(known) if known == entry => {}
                Some(known) => {
                    return Err(format!("{server} committed {entry}, but {known} was before"));
                }
            }
        }
        Ok(())
    }
}

impl Monitor for CommittedPrefix {
    fn property(&self) -> &'static str {
        "committed-prefix"
    }

    fn begin(&mut self) {
        self.committed.clear();
        self.commit_index.clear();
    }

    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Committed { server, index, log, .. } => self.commit(server, index, log),
            Fact::Applied { server, entry } => match self.committed_at(entry.index) {
                Some(committed) if committed == entry => Ok(()),
                Some(committed) => {
                    Err(format!("{server} applied {entry}, but {committed} is committed there"))
                }
                None => Err(format!("{server} applied {entry} before it was committed")),
            },
            Fact::Answered { client, sequence_number, log_id } => {
                let is_committed = self.committed_at(log_id.index).is_some_and(|entry| {
                    entry.log_id() == log_id
                        && matches!(&entry.payload, Payload::Command(request)
                            if request.client_id == client
                                && request.sequence_number == sequence_number)
                });
                if is_committed {
                    return Ok(());
                }
                Err(format!("{client}{sequence_number} was answered at {log_id}, where it is not"))
            }
            Fact::Refused { server, error: error @ StepError::CommittedConflict { .. } } => {
                Err(format!("{server} was asked to forget: {error}"))
            }
            Fact::Crashed { server } => {
                // The commit index is volatile (Raft, Fig. 2): it starts again from 0.
                self.commit_index.remove(&server);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// No state machine applies one request of one client twice, and each applies in log order
/// (dissertation §6.3).
#[derive(Clone, Debug, Default)]
pub struct ExactlyOnce {
    servers: BTreeMap<ServerId, Applied>,
}

/// What the state machine of one server has applied since the server started.
#[derive(Clone, Debug, Default)]
struct Applied {
    requests: BTreeSet<(ClientId, SequenceNumber)>,
    last: Index,
}

impl Monitor for ExactlyOnce {
    fn property(&self) -> &'static str {
        "exactly-once"
    }

    fn begin(&mut self) {
        self.servers.clear();
    }

    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Applied { server, entry } => {
                let applied = self.servers.entry(server).or_default();
                if entry.index <= applied.last {
                    return Err(format!("{server} applied {entry} after {}", applied.last));
                }
                applied.last = entry.index;
                let Payload::Command(request) = &entry.payload else { return Ok(()) };
                let id = (request.client_id, request.sequence_number);
                if applied.requests.insert(id) {
                    return Ok(());
                }
                Err(format!("{server} applied {}{} twice, now as {entry}", id.0, id.1))
            }
            Fact::Crashed { server } => {
                // The state machine is rebuilt from the log.
                self.servers.remove(&server);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
