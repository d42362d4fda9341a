//! Monitors: properties that must always hold, watched from outside.
//!
//! Guarantees: a monitor hears of every election, commit, application and answer, in the order in
//!             which they happen, and depends on nothing the servers conclude from them.
//! Relies on:  what is compacted anywhere having been committed somewhere before, so that a monitor
//!             that remembers every commit knows what a snapshot stands for.
//! Elsewhere:  what should happen at least *sometimes* is in `goal.rs`.

mod committed_prefix;
mod membership;
mod reads;
mod state_machine;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::Hash as _;

use raft_core::{
    ClientId, ClientResult, Configuration, Entry, Index, Log, LogId, ReadId, SequenceNumber,
    ServerId, StepError, Term,
};

use crate::fingerprint::StateHasher;

pub use committed_prefix::CommittedPrefix;
pub use membership::{ConfigurationSafety, DurableMajority};
pub use reads::LinearizableReads;
pub use state_machine::{ExactlyOnce, StateMachineSafety};

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
        /// Stands for the whole state after that.
        digest: u64,
    },
    /// The state machine of a server was restored from a snapshot.
    Restored {
        /// Whose.
        server: ServerId,
        /// The last entry that the snapshot stands for.
        last: LogId,
        /// Stands for the whole state after that.
        digest: u64,
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
        /// What it was told the state machine answered: the digest after that command.
        response: u64,
    },
    /// A server uses another configuration from now on, or the one it was started with.
    Configured {
        /// Who.
        server: ServerId,
        /// Where the configuration stands in the log.
        index: Index,
        /// Which.
        configuration: &'a Configuration,
        /// Its log, with the configuration, unless a snapshot stands for it.
        log: &'a Log,
    },
    /// A server did what only a majority may decide.
    Decided {
        /// Who.
        server: ServerId,
        /// What it did.
        what: &'static str,
        /// Whose majority it takes.
        configuration: &'a Configuration,
        /// Who agrees, according to what is on its disk at that moment.
        supporters: &'a BTreeSet<ServerId>,
    },
    /// A server calls an election because its leader asked it to.
    AskedToLead {
        /// Who.
        server: ServerId,
        /// In which term.
        term: Term,
    },
    /// A server was asked for a read.
    ReadAsked {
        /// Who.
        server: ServerId,
        /// Which.
        id: ReadId,
    },
    /// A server says that a read may be served.
    ReadServed {
        /// Who.
        server: ServerId,
        /// Which.
        id: ReadId,
        /// Up to where its state machine has applied everything.
        index: Index,
    },
    /// A server says that a read cannot be served there.
    ReadFailed {
        /// Who.
        server: ServerId,
        /// Which.
        id: ReadId,
    },
    /// A client was told that its request is not applied any more, though it may have been before.
    RequestRefused {
        /// Who.
        client: ClientId,
        /// Which of its requests.
        sequence_number: SequenceNumber,
        /// What it was told.
        result: &'a ClientResult,
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
        /// The last write before it stopped was torn, and it removed that.
        was_torn: bool,
    },
}

/// Watches for one property.
///
/// ```
/// use raft_nondeterminism::{Explorer, Fact, Monitor, Scenario};
///
/// /// Claims that elections are never contested, which is not so.
/// #[derive(Clone, Debug)]
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
pub trait Monitor: MonitorFork + fmt::Debug + Send + Sync {
    /// The name of the property, in kebab-case.
    fn property(&self) -> &'static str;

    /// Starts a run: forget the last one.
    fn begin(&mut self);

    /// Takes what it remembers into a hash, so that exhaustive search can tell when it has been in a state
    /// before. False if it does not: then there is no exhaustive search with it.
    fn hash_state(&self, state: &mut StateHasher) -> bool {
        let _ = state;
        false
    }

    /// Takes notice of a fact.
    ///
    /// # Errors
    ///
    /// In one sentence, what breaks the property.
    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), String>;
}

/// A copy for another run. Whoever is `Clone` has it.
pub trait MonitorFork {
    /// A copy that has seen the same.
    fn fork(&self) -> Box<dyn Monitor>;
}

impl<M: Monitor + Clone + 'static> MonitorFork for M {
    fn fork(&self) -> Box<dyn Monitor> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Monitor> {
    fn clone(&self) -> Self {
        (**self).fork()
    }
}

/// The monitors every run has.
pub(crate) fn standard() -> Vec<Box<dyn Monitor>> {
    vec![
        Box::new(ElectionSafety::default()),
        Box::new(LeaderCompleteness::default()),
        Box::new(CommittedPrefix::default()),
        Box::new(ExactlyOnce::default()),
        Box::new(StateMachineSafety::default()),
        Box::new(ConfigurationSafety::default()),
        Box::new(LinearizableReads::default()),
    ]
}

/// At most one leader is elected in each term (Raft §5.2, Election Safety).
#[derive(Clone, Debug, Default, Hash)]
pub struct ElectionSafety {
    leaders: BTreeMap<Term, ServerId>,
}

impl Monitor for ElectionSafety {
    fn property(&self) -> &'static str {
        "election-safety"
    }

    fn hash_state(&self, state: &mut StateHasher) -> bool {
        self.hash(state);
        true
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
#[derive(Clone, Debug, Default, Hash)]
pub struct LeaderCompleteness {
    /// The entry at each index, from 1, and the term in which it was first said to be committed.
    committed: Vec<(LogId, Term)>,
}

impl Monitor for LeaderCompleteness {
    fn property(&self) -> &'static str {
        "leader-completeness"
    }

    fn hash_state(&self, state: &mut StateHasher) -> bool {
        self.hash(state);
        true
    }

    fn begin(&mut self) {
        self.committed.clear();
    }

    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Committed { term, index, log, .. } => {
                // A log that was compacted past what is known here shows in `committed-prefix`.
                let known = Index(self.committed.len() as u64);
                if log.start().index <= known {
                    let new = log.from(known.next()).take_while(|entry| entry.index <= index);
                    self.committed.extend(new.map(|entry| (entry.log_id(), term)));
                }
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
