//! The machine under the fuzzed server: its disk, its state machine and its way out, each of which
//! checks what the server asks of it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use raft_core::{
    Address, AppendEntriesResult, Apply, Effect, Envelope, HardState, Index, Message, Payload,
    Recovered, Save, SaveNumber, Server, ServerId, Snapshot, Term,
};

use super::Seen;

/// What the state machine is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    Apply(Apply),
    TakeSnapshot(Index),
    Restore(Snapshot),
}

/// What a crash destroys and what survives it, but for the server itself.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) disk: Recovered,
    pub(crate) unsaved: VecDeque<Save>,
    pub(crate) tasks: VecDeque<Task>,
    /// What the server sent to others, newest last.
    pub(crate) sent: VecDeque<Envelope>,
    /// Snapshots that were seen: others may send them.
    pub(crate) snapshots: Vec<Snapshot>,
    /// The last number given to a save.
    pub(crate) saves: SaveNumber,
    /// Everything up to here was handed to the state machine in this life.
    applying: Index,
    /// Everything up to here was said to be committed in this life.
    committed: Index,
    /// To whom each vote went, in all lives.
    votes: BTreeMap<Term, ServerId>,
    /// A leader replaced entries of its own, which no correct one does; what was confirmed to it before
    /// says nothing any more.
    pub(crate) is_log_cut: bool,
    /// Every effect is carried out before the next one, and needs no answer.
    is_synchronous: bool,
}

impl Host {
    pub(crate) fn new(is_synchronous: bool) -> Self {
        Self { is_synchronous, ..Self::default() }
    }

    /// Carries out one effect as far as it can be at once.
    pub(crate) fn carry_out(&mut self, server: &Server, effect: Effect, seen: &mut Seen) {
        let role = server.role().name();
        match effect {
            Effect::Save(save) => {
                assert_eq!(
                    save.number,
                    SaveNumber(self.saves.0 + 1),
                    "saves are numbered in order"
                );
                self.saves = save.number;
                let is_empty = save.entries.is_empty() && save.compacted.is_none();
                let kind = match (&save.snapshot, save.hard_state) {
                    (Some(_), _) => "snapshot",
                    (None, Some(_)) if is_empty => "hard state",
                    _ => "entries",
                };
                assert!(save.hard_state.is_some() || !is_empty, "a save saves something");
                seen.note(role, "save", kind);
                self.unsaved.push_back(save);
                if self.is_synchronous {
                    self.finish_saves(1);
                }
            }
            Effect::Send(envelope) => {
                self.check_promise(server.id(), &envelope);
                seen.note(role, "send", envelope.message.name());
                self.sent.push_back(envelope);
                if self.sent.len() > 32 {
                    self.sent.pop_front();
                }
            }
            Effect::Apply(apply) => {
                self.check_apply(&apply);
                let outcome = if apply.skipped.is_empty() { "all" } else { "some skipped" };
                seen.note(role, "apply", outcome);
                if !self.is_synchronous || apply.requests().next().is_some() {
                    self.tasks.push_back(Task::Apply(apply));
                }
            }
            Effect::TakeSnapshot { through } => {
                assert_eq!(through, self.applying, "it is of the last entry applied");
                seen.note(role, "snapshot", "take");
                self.tasks.push_back(Task::TakeSnapshot(through));
            }
            Effect::RestoreSnapshot(snapshot) => {
                let through = snapshot.last().index;
                assert!(through > self.applying, "a state machine never goes back");
                assert!(self.disk.snapshot.as_ref() == Some(&snapshot), "it is durable");
                self.applying = through;
                seen.note(role, "snapshot", "restore");
                if !self.is_synchronous {
                    self.tasks.push_back(Task::Restore(snapshot));
                }
            }
            Effect::NotifyCommit { index } => {
                assert!(index > self.committed, "the commit index grows");
                self.committed = index;
                seen.note(role, "commit", "grows");
            }
            Effect::NotifyElectedLeader { .. } => seen.note(role, "elected", ""),
            Effect::NotifyConfiguration { configuration, .. } => {
                let kind = if configuration.is_joint() { "joint" } else { "simple" };
                seen.note(role, "configuration", kind);
            }
            Effect::ReadReady { index, .. } => {
                assert!(index <= server.last_applied(), "what a read has to see is applied");
                seen.note(role, "read", "ready");
            }
            Effect::ReadFailed { .. } => seen.note(role, "read", "failed"),
            Effect::NotifyTransferAborted { .. } => seen.note(role, "transfer", "aborted"),
        }
    }

    /// A promise leaves when what it promises is durable, and is never broken.
    fn check_promise(&mut self, me: ServerId, envelope: &Envelope) {
        let HardState { current_term, voted_for } = self.disk.hard_state;
        let mut vote = |term: Term, candidate: ServerId| {
            assert_eq!((current_term, voted_for), (term, Some(candidate)), "the vote is durable");
            let given = *self.votes.entry(term).or_insert(candidate);
            assert_eq!(given, candidate, "one vote in term {term}");
        };
        match (&envelope.message, envelope.to) {
            (Message::VoteRequest(request), _) => vote(request.term, me),
            (Message::VoteResponse(response), Address::Server(candidate))
                if response.vote_granted =>
            {
                vote(response.term, candidate);
            }
            (Message::AppendEntriesResponse(response), _) => {
                if let AppendEntriesResult::Success { match_index } = response.result {
                    let is_durable = match_index <= self.disk.last_index();
                    assert!(is_durable || self.is_log_cut, "what is acknowledged is durable");
                    assert!(current_term >= response.term, "its term is durable");
                }
            }
            _ => {}
        }
    }

    /// Entries are handed out in order, once, and when they are durable.
    fn check_apply(&mut self, apply: &Apply) {
        for entry in &apply.entries {
            assert_eq!(entry.index, self.applying.next(), "entries are applied in order");
            self.applying = entry.index;
            let on_disk = self.disk.entry(entry.index);
            assert!(on_disk == Some(entry), "what is applied is durable: {entry}");
        }
        assert_eq!(apply.through, self.applying);
        assert!(apply.through <= self.committed, "what is applied is committed");
    }

    /// The oldest saves reach the disk; the number of the last one.
    pub(crate) fn finish_saves(&mut self, count: usize) -> Option<SaveNumber> {
        let count = count.min(self.unsaved.len());
        let mut last = None;
        for save in self.unsaved.drain(..count) {
            last = Some(save.number);
            let keep = save.entries.first().map(|entry| entry.index);
            self.is_log_cut |= keep.is_some_and(|first| first <= self.disk.last_index());
            if let Some(snapshot) = &save.snapshot {
                self.snapshots.push(snapshot.clone());
                if self.snapshots.len() > 4 {
                    self.snapshots.remove(0);
                }
            }
            self.disk.replay(save).expect("saves leave no gap");
        }
        last
    }

    /// The state machine does the next thing, and says so.
    pub(crate) fn finish_task(&mut self, state: Bytes) -> Option<raft_core::Input> {
        use raft_core::Input;

        Some(match self.tasks.pop_front()? {
            Task::Apply(apply) => {
                let response = |_| state.clone();
                let responses = apply.requests().map(response).collect();
                Input::Applied { through: apply.through, responses }
            }
            Task::TakeSnapshot(through) => Input::SnapshotTaken { through, data: state },
            Task::Restore(snapshot) => {
                Input::Applied { through: snapshot.last().index, responses: Vec::new() }
            }
        })
    }

    /// All that was in memory is gone.
    pub(crate) fn crash(&mut self) {
        self.unsaved.clear();
        self.tasks.clear();
        self.sent.clear();
        self.saves = SaveNumber(0);
        self.applying = Index::ZERO;
        // What a snapshot stands for is committed, and a server does not say so again.
        let snapshot = self.disk.snapshot.as_ref();
        self.committed = snapshot.map_or(Index::ZERO, |snapshot| snapshot.last().index);
        self.is_log_cut = false;
    }

    /// What the disk holds of a kind, for those who want to see it all reached.
    pub(crate) fn has_configuration(&self) -> bool {
        let is_one = |entry: &raft_core::Entry| matches!(entry.payload, Payload::Configuration(_));
        self.disk.entries.iter().any(is_one)
    }
}
