//! What a step asks of the world: the only way out of the core.
//!
//! Guarantees: effects are data in a buffer the caller owns; a promise appears here only after the
//!             save it depends on was confirmed (see [`crate::durability`]).
//! Relies on:  the driver carrying out saves in order, each durable before it is confirmed.

use std::sync::Arc;

use crate::entries::Entries;
use crate::log::{Entry, Payload};
use crate::membership::Configuration;
use crate::message::{Address, ClientRequest, Envelope, Message};
use crate::read::ReadFailure;
use crate::snapshot::Snapshot;
use crate::storage::HardState;
use crate::types::{ClusterId, Index, LogId, ReadId, SaveNumber, ServerId, Term, Timestamp};

/// One thing a server asks of its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write this, make it durable, then answer [`Input::Saved`](crate::Input::Saved).
    Save(Save),
    /// Deliver this message, or lose it.
    Send(Envelope),
    /// Apply these commands in order, then answer [`Input::Applied`](crate::Input::Applied).
    Apply(Apply),
    /// Give the state of the state machine as it is after everything up to `through`, and before
    /// anything else is applied; answer [`Input::SnapshotTaken`](crate::Input::SnapshotTaken). It may
    /// take its time.
    TakeSnapshot {
        /// The last entry applied.
        through: Index,
    },
    /// Replace the state of the state machine by [`Snapshot::data`], then answer
    /// [`Input::Applied`](crate::Input::Applied) through [`Snapshot::last`], without responses.
    RestoreSnapshot(Snapshot),
    /// This server was elected in `term`.
    NotifyElectedLeader {
        /// The term it leads.
        term: Term,
    },
    /// Everything up to `index` is committed: it will never change and every later leader has it.
    NotifyCommit {
        /// The new commit index.
        index: Index,
    },
    /// This server uses another configuration from now on. It may not be committed yet, and may be
    /// taken back by another one.
    NotifyConfiguration {
        /// Where it stands in the log.
        index: Index,
        /// The configuration.
        configuration: Arc<Configuration>,
    },
    /// The read may be served: the state machine has applied everything it has to see.
    ReadReady {
        /// Which.
        id: ReadId,
        /// Everything up to here is applied.
        index: Index,
    },
    /// The read cannot be served here; ask again, here or elsewhere.
    ReadFailed {
        /// Which.
        id: ReadId,
        /// Why.
        failure: ReadFailure,
    },
    /// Leadership was not handed over in time; this server leads on.
    NotifyTransferAborted {
        /// Who was to lead.
        target: ServerId,
    },
}

/// What must survive a crash before the promises that depend on it leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Save {
    /// Confirm with this number; it confirms all lower ones too.
    pub number: SaveNumber,
    /// Replaces the saved hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// Replaces the saved snapshot. It must be durable before any saved entry is deleted for it.
    pub snapshot: Option<Snapshot>,
    /// Delete the saved entries up to this one, which the snapshot stands for. If the saved log does
    /// not hold this very entry, delete all of them: the log then begins behind it.
    pub compacted: Option<LogId>,
    /// Contiguous. They replace every saved entry from the first one's index on.
    pub entries: Entries,
}

/// A stretch of the log to hand to the state machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Apply {
    /// Committed entries, contiguous. Those to run are [`Apply::commands`].
    pub entries: Entries,
    /// Which of them are repetitions, or belong to an ended session, and must not be run; ascending.
    pub skipped: Vec<Index>,
    /// Everything up to this index is then applied.
    pub through: Index,
}

impl Apply {
    /// The entries to run, in log order, each for the first and only time: entries without a command
    /// and repeated requests are left out, so indices may jump.
    pub fn commands(&self) -> impl Iterator<Item = &Entry> + '_ {
        let is_run = |entry: &&Entry| {
            entry.payload.is_command() && self.skipped.binary_search(&entry.index).is_err()
        };
        self.entries.iter().filter(is_run)
    }

    /// The requests of clients among them: each has a response in
    /// [`Input::Applied`](crate::Input::Applied).
    pub fn requests(&self) -> impl Iterator<Item = (LogId, &ClientRequest)> + '_ {
        self.commands().filter_map(|entry| match &entry.payload {
            Payload::Command(request) => Some((entry.log_id(), &**request)),
            _ => None,
        })
    }
}

/// A reusable list of effects, in the order in which they are to be started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    list: Vec<Effect>,
}

impl Effects {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The effects so far.
    #[must_use]
    pub fn as_slice(&self) -> &[Effect] {
        &self.list
    }

    /// True if nothing was asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes all effects out and keeps the buffer's memory.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect> + '_ {
        self.list.drain(..)
    }

    /// Forgets all effects and keeps the buffer's memory.
    pub fn clear(&mut self) {
        self.list.clear();
    }
}

/// One step in progress: the one `now`, and what the step has asked so far.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) now: Timestamp,
    cluster_id: ClusterId,
    server_id: ServerId,
    effects: &'a mut Effects,
    /// Where the next save of this step goes in the buffer.
    save_at: usize,
    /// What this step must save: its hard state, its snapshot, and its log from an index on.
    pub(crate) hard_state: Option<HardState>,
    pub(crate) entries_from: Option<Index>,
    pub(crate) compacted: Option<LogId>,
    /// The compaction is that of an installed snapshot, which replaces the log.
    pub(crate) is_install: bool,
    /// Messages that wait for the save of this step, and for all before it: the first, and the rest,
    /// which few steps have.
    first_promise: Option<Envelope>,
    more_promises: Vec<Envelope>,
    /// Followers may lack something that can be sent now.
    pub(crate) is_news: bool,
    /// Every follower is to hear of the leader, whether or not it lacks something.
    pub(crate) is_heartbeat: bool,
}

impl<'a> Step<'a> {
    pub(crate) fn new(
        now: Timestamp,
        cluster_id: ClusterId,
        server_id: ServerId,
        effects: &'a mut Effects,
    ) -> Self {
        let save_at = effects.list.len();
        Self {
            now,
            cluster_id,
            server_id,
            effects,
            save_at,
            hard_state: None,
            entries_from: None,
            compacted: None,
            is_install: false,
            first_promise: None,
            more_promises: Vec::new(),
            is_news: false,
            is_heartbeat: false,
        }
    }

    /// Asks for the hard state to be saved; the last word of a step counts.
    pub(crate) fn save(&mut self, hard_state: HardState) {
        self.hard_state = Some(hard_state);
    }

    /// Asks for the log from `first` on to be saved.
    pub(crate) fn save_entries(&mut self, first: Index) {
        self.entries_from = Some(self.entries_from.map_or(first, |earlier| earlier.min(first)));
    }

    /// Asks for the latest snapshot to be saved, and for the log up to `compacted` to be deleted then.
    pub(crate) fn save_snapshot(&mut self, compacted: LogId) {
        self.compacted = Some(compacted);
    }

    /// Asks for the latest snapshot to be saved in the place of the whole log.
    pub(crate) fn install_snapshot(&mut self, last: LogId) {
        (self.compacted, self.is_install) = (Some(last), true);
        self.entries_from = None;
    }

    /// Followers are to get what they lack, at the end of the step.
    pub(crate) fn replicate(&mut self) {
        self.is_news = true;
    }

    /// True if this step asks for anything to be saved.
    pub(crate) fn has_save(&self) -> bool {
        self.hard_state.is_some() || self.entries_from.is_some() || self.compacted.is_some()
    }

    /// Sends what promises nothing: it leaves at once.
    pub(crate) fn send(&mut self, to: impl Into<Address>, message: Message) {
        let envelope = self.envelope(to.into(), message);
        self.push(Effect::Send(envelope));
    }

    /// Sends a promise: it leaves when everything asked to be saved so far is durable.
    pub(crate) fn send_when_saved(&mut self, to: impl Into<Address>, message: Message) {
        let envelope = self.envelope(to.into(), message);
        if self.first_promise.is_none() {
            self.first_promise = Some(envelope);
        } else {
            self.more_promises.push(envelope);
        }
    }

    /// Takes the next promise, in the order in which they were made.
    pub(crate) fn take_promises(&mut self) -> impl Iterator<Item = Envelope> + use<> {
        let more = std::mem::take(&mut self.more_promises);
        self.first_promise.take().into_iter().chain(more)
    }

    /// True if there is one.
    pub(crate) fn has_promises(&self) -> bool {
        self.first_promise.is_some()
    }

    /// What is asked so far.
    pub(crate) fn effects(&self) -> &[Effect] {
        &self.effects.list
    }

    /// Adds an effect after those of this step so far.
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.list.push(effect);
    }

    /// Puts the save of this step before everything else the step asked, as it reads best; what the
    /// step changed after that save comes in its turn.
    pub(crate) fn push_save(&mut self, save: Save) {
        self.effects.list.insert(self.save_at, Effect::Save(save));
        self.save_at += 1;
    }

    /// Further saves come after everything that was asked so far.
    pub(crate) fn end_saves(&mut self) {
        self.save_at = self.effects.list.len();
    }

    fn envelope(&self, to: Address, message: Message) -> Envelope {
        Envelope { cluster_id: self.cluster_id, from: self.server_id.into(), to, message }
    }
}
