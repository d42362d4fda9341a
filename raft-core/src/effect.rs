//! What a step asks of the world: the only way out of the core.
//!
//! Guarantees: effects are data in a buffer the caller owns; a promise appears here only after the
//!             save it depends on was confirmed (see [`crate::durability`]).
//! Relies on:  the driver carrying out saves in order, each durable before it is confirmed.

use crate::log::Entry;
use crate::message::{Address, Envelope, Message};
use crate::storage::HardState;
use crate::types::{ClusterId, Index, SaveNumber, ServerId, Term, Timestamp};

/// One thing a server asks of its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write this, make it durable, then answer [`Input::Saved`](crate::Input::Saved).
    Save(Save),
    /// Deliver this message, or lose it.
    Send(Envelope),
    /// Apply these commands in order, then answer [`Input::Applied`](crate::Input::Applied).
    Apply(Apply),
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
}

/// What must survive a crash before the promises that depend on it leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Save {
    /// Confirm with this number; it confirms all lower ones too.
    pub number: SaveNumber,
    /// Replaces the saved hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// Contiguous. They replace every saved entry from the first one's index on.
    pub entries: Vec<Entry>,
}

/// Commands to hand to the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// Committed commands in log order, each for the first and only time: entries without a command
    /// and repeated requests are left out, so indices may jump.
    pub entries: Vec<Entry>,
    /// Everything up to this index is then applied.
    pub through: Index,
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
    /// Where this step's effects start in the buffer.
    start: usize,
    /// What this step must save: its hard state, and its log from an index on.
    pub(crate) hard_state: Option<HardState>,
    pub(crate) entries_from: Option<Index>,
    /// Messages that wait for the save of this step, and for all before it.
    pub(crate) promises: Vec<Envelope>,
}

impl<'a> Step<'a> {
    pub(crate) fn new(
        now: Timestamp,
        cluster_id: ClusterId,
        server_id: ServerId,
        effects: &'a mut Effects,
    ) -> Self {
        let start = effects.list.len();
        Self {
            now,
            cluster_id,
            server_id,
            effects,
            start,
            hard_state: None,
            entries_from: None,
            promises: Vec::new(),
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

    /// Sends what promises nothing: it leaves at once.
    pub(crate) fn send(&mut self, to: impl Into<Address>, message: Message) {
        let envelope = self.envelope(to.into(), message);
        self.push(Effect::Send(envelope));
    }

    /// Sends a promise: it leaves when everything asked to be saved so far is durable.
    pub(crate) fn send_when_saved(&mut self, to: impl Into<Address>, message: Message) {
        let envelope = self.envelope(to.into(), message);
        self.promises.push(envelope);
    }

    /// Adds an effect after those of this step so far.
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.list.push(effect);
    }

    /// Puts the save of this step before everything else the step asked, as it reads best.
    pub(crate) fn push_save_first(&mut self, save: Save) {
        self.effects.list.insert(self.start, Effect::Save(save));
    }

    fn envelope(&self, to: Address, message: Message) -> Envelope {
        Envelope { cluster_id: self.cluster_id, from: self.server_id.into(), to, message }
    }
}
