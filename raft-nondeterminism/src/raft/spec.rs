//! Refinement: every step of the real servers is one of the Raft specification (Ongaro's TLA+
//! specification `raft.tla`, transcribed as a relation, with extensions for what it leaves out).
//!
//! Guarantees: a step that no short list of the specification's actions explains is found when it is
//!             made, and the message names the action that comes closest and the guard or effect that
//!             failed.
//! Relies on:  nothing that a server concludes: votes, acknowledgements, rounds, configurations and what
//!             is durable are known here from the messages delivered and the saves confirmed.
//! Elsewhere:  the actions are in `spec/actions.rs`; `nextIndex`, pre-vote, check-quorum, timers, snapshots,
//!             membership, reads, transfer and sessions each in a file of their own; how a step is taken
//!             apart in `spec/explain.rs`; what may be sent, saved and applied in `spec/sends.rs`.

mod actions;
mod broken;
mod check_quorum;
mod compare;
mod disk;
mod explain;
mod membership;
#[cfg(test)]
mod model;
mod next_index;
mod pre_vote;
mod reads;
mod sends;
mod sent;
mod servers;
mod sessions;
mod snapshots;
mod state;
mod terms;
#[cfg(test)]
mod tests;
mod timers;
mod transfer;

use std::sync::Arc;

use raft_core::{
    Configuration, Effect, Envelope, Index, Input, LogId, Message, Payload, Server, ServerId,
    StepError, Timestamp,
};

use broken::{Action, Broken};
use disk::Image;
use explain::{Heard, Hints, Observed, Step};
use sends::Outcome;
use sent::Sent;
use sessions::Sessions;
use snapshots::Snapshots;
use state::{ConfigurationId, Configurations, Settings, State};

/// The name of the property that a step without an explanation breaks.
pub(crate) const PROPERTY: &str = "refinement";

/// The state of the specification beside a running cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refinement {
    servers: Vec<State>,
    /// The configuration that each server was first started with.
    initial: Vec<Option<ConfigurationId>>,
    configurations: Configurations,
    snapshots: Snapshots,
    sessions: Sessions,
    sent: Sent,
    /// A message that arrived and that nobody sent.
    forged: Option<String>,
    /// What is to be taken in the step under way; how many of these inputs, and of the effects, are
    /// explained; and what is not.
    heard: Vec<Heard>,
    taken: usize,
    judged: usize,
    broken: Option<Broken>,
    /// Buffers, of use only during a step.
    hints: Hints,
    replies: Vec<(ServerId, actions::Reply)>,
}

impl Refinement {
    /// Servers that were never started.
    pub(crate) fn new(servers: usize) -> Self {
        let mut this = Self { initial: vec![None; servers], ..Self::default() };
        this.servers = vec![State::of(servers); servers];
        this
    }

    /// A message was put on its way.
    pub(crate) fn sent(&mut self, envelope: &Envelope) {
        self.sent.insert(envelope);
    }

    /// A server is about to take an input, in the same step as those since the last step.
    pub(crate) fn hear(&mut self, input: &Input) {
        if let Input::Message(envelope) = input {
            if !self.sent.contains(envelope) {
                self.forged.get_or_insert_with(|| envelope.to_string());
            }
            if let Message::ClientRequest(request) = &envelope.message {
                self.sessions.hear(request);
            }
        }
        self.heard.push(Heard::of(input));
    }

    /// A server took the next of the inputs heard, or refused it; these are the effects of the step so
    /// far. What does not explain it is told when the step ends.
    pub(crate) fn took(
        &mut self,
        place: usize,
        now: Timestamp,
        server: &Server,
        effects: &[Effect],
        outcome: Result<(), StepError>,
    ) {
        let Some(heard) = self.heard.get(self.taken).filter(|_| self.broken.is_none()) else {
            return;
        };
        let Self { servers, configurations, snapshots, sessions, sent, hints, replies, .. } = self;
        let (state, effects) = (&mut servers[place], &effects[self.judged..]);
        hints.take(effects);
        let observed = Observed::of(server);
        let mut step = Step::new(now, observed, hints, configurations, snapshots, replies);
        let result = state.explain(&mut step, heard, outcome).and_then(|()| {
            let configuration = state.configuration(configurations);
            let outcome = Outcome { now, observed, configuration, snapshots, replies };
            sessions.take(server, effects.iter())?;
            effects.iter().try_for_each(|effect| state.judge(&outcome, effect, sessions, sent))?;
            state.check_patience(now)
        });
        self.broken = result.err();
        (self.taken, self.judged) = (self.taken + 1, self.judged + effects.len());
    }

    /// A server was created from what its disk holds, for the first time or again.
    ///
    /// # Errors
    ///
    /// Why Restart does not allow the state that it is in, as a sentence.
    pub(crate) fn start(
        &mut self,
        place: usize,
        now: Timestamp,
        server: &Server,
    ) -> Result<(), String> {
        let Self { servers, initial, configurations, .. } = self;
        let (state, initial) = (&mut servers[place], &mut initial[place]);
        state.id = server.id();
        state.settings = Settings::from(server.config());
        let initial = *initial
            .get_or_insert_with(|| configurations.id(&Arc::new(server.configuration().clone())));
        state
            .start(server, initial, now, configurations)
            .map_err(|broken| format!("{} {broken}", server.id()))
    }

    /// A server ended a step: it took what was heard, and asks for these effects in all.
    ///
    /// # Errors
    ///
    /// Why no actions explain the step, as a sentence.
    pub(crate) fn step(
        &mut self,
        place: usize,
        now: Timestamp,
        server: &Server,
        effects: &[Effect],
    ) -> Result<(), String> {
        let result = self.end(place, now, server, effects);
        self.heard.clear();
        self.replies.clear();
        (self.taken, self.judged, self.broken) = (0, 0, None);
        result.map_err(|broken| format!("{} {broken}", server.id()))
    }

    fn end(
        &mut self,
        place: usize,
        now: Timestamp,
        server: &Server,
        effects: &[Effect],
    ) -> Result<(), Broken> {
        if let Some(forged) = self.forged.take() {
            return Err(Broken::new(
                Action::Receive,
                format!("received {forged}"),
                "nobody sent it",
            ));
        }
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        let Self { servers, configurations, snapshots, sessions, sent, hints, replies, .. } = self;
        let state = &mut servers[place];
        let observed = Observed::of(server);
        state.take_saves(effects, now, configurations, snapshots)?;
        if state.settings.is_synchronous {
            // What a synchronous driver is asked to save, it has saved when the step ends.
            state.disk.confirm_all();
        }
        // Saves come before what was asked with each input.
        let is_left = |effect: &&Effect| !matches!(effect, Effect::Save(_));
        let left = || effects.iter().filter(is_left).skip(self.judged);
        hints.take(left());
        let mut step = Step::new(now, observed, hints, configurations, snapshots, replies);
        state.settle(&mut step)?;
        state.timer.observe(observed.fires_at);
        state.check_persistence()?;
        let configuration = state.configuration(configurations);
        let outcome = Outcome { now, observed, configuration, snapshots, replies };
        sessions.take(server, left())?;
        left().try_for_each(|effect| state.judge(&outcome, effect, sessions, sent))?;
        state.check_progress(observed)?;
        state.end_step(observed.memory, configuration, effects)
    }
}

impl State {
    /// Restart, from the disk as some of its last saves left it.
    fn start(
        &mut self,
        server: &Server,
        initial: ConfigurationId,
        now: Timestamp,
        configurations: &mut Configurations,
    ) -> Result<(), Broken> {
        let log = server.log();
        let snapshot = server.snapshot().map_or(LogId::ZERO, |snapshot| snapshot.last());
        let is_found = |image: &Image| {
            image.hard_state == server.hard_state()
                && image.snapshot == snapshot
                && image.log.start() == log.start()
                && image.log.first_difference(log, log.start().index).is_none()
        };
        if !self.disk.recover(is_found) {
            let did = format!(
                "started with {} and {} as its last entry",
                server.hard_state(),
                log.last()
            );
            let Image { hard_state, log, .. } = &self.disk.durable;
            let but = format!("its disk held {hard_state} and {} at least", log.last());
            return Err(Broken::new(Action::Restart, did, but));
        }
        self.restart(now);
        self.members.clear();
        self.members.push(match server.snapshot() {
            Some(snapshot) => {
                let configuration = Arc::new(snapshot.configuration().clone());
                (snapshot.last().index, configurations.id(&configuration))
            }
            None => (Index::ZERO, initial),
        });
        let first = self.members[0].0.next();
        for entry in log.from(first) {
            if let Payload::Configuration(configuration) = &entry.payload {
                self.members.push((entry.index, configurations.id(configuration)));
            }
        }
        let latest = self.configuration(configurations);
        if latest != server.configuration() || self.commit != server.commit_index() {
            let did = format!(
                "started with {}, and everything up to {} committed",
                server.configuration(),
                server.commit_index()
            );
            let but = format!("its disk held {latest}, and a snapshot of entry {}", self.commit);
            return Err(Broken::new(Action::Restart, did, but));
        }
        Ok(())
    }

    /// Judges an effect, and takes note of what is sent.
    fn judge(
        &mut self,
        outcome: &Outcome<'_>,
        effect: &Effect,
        sessions: &Sessions,
        sent: &mut Sent,
    ) -> Result<(), Broken> {
        self.check_effect(outcome, effect, sessions)?;
        if let Effect::Send(envelope) = effect {
            sent.insert(envelope);
        }
        Ok(())
    }

    /// Checks what a step must have asked for in the end, and takes note of what a leader sent.
    fn end_step(
        &mut self,
        memory: &raft_core::Role,
        configuration: &Configuration,
        effects: &[Effect],
    ) -> Result<(), Broken> {
        let raft_core::Role::Leader(leader) = memory else { return Ok(()) };
        self.next.observe(leader);
        if self.is_beating { self.check_heartbeats(configuration, effects) } else { Ok(()) }
    }

    /// Takes the saves that a step asks for, before anything else: all the rest may depend on them.
    fn take_saves(
        &mut self,
        effects: &[Effect],
        now: Timestamp,
        configurations: &mut Configurations,
        snapshots: &mut Snapshots,
    ) -> Result<(), Broken> {
        let is_save = |effect: &Effect| matches!(effect, Effect::Save(_));
        if !effects.first().is_none_or(is_save) && effects.iter().any(is_save) {
            let but = "what comes before it would not wait for it";
            return Err(Broken::new(Action::Persist, "asks for a save last", but));
        }
        for effect in effects {
            let Effect::Save(save) = effect else { continue };
            if let Some(snapshot) = &save.snapshot
                && snapshots.configuration(snapshot.id()).is_none()
            {
                self.take_snapshot(snapshot, configurations, snapshots)?;
            }
            self.disk.issue(now, save);
            self.check_saved_term()?;
        }
        Ok(())
    }

    /// A crash may come after any save: none may leave entries of a term that the server forgets.
    fn check_saved_term(&self) -> Result<(), Broken> {
        let Image { hard_state, log, .. } = &self.disk.issued;
        let last = log.last();
        if last.term <= hard_state.current_term {
            return Ok(());
        }
        let but = format!("after a crash it would be in term {} again", hard_state.current_term);
        Err(Broken::new(Action::Persist, format!("saves {last}"), but))
    }

    /// What a server says of its progress: what is durable is what was saved of this very log, and what is
    /// applied was handed out, and stays applied.
    fn check_progress(&mut self, observed: Observed<'_>) -> Result<(), Broken> {
        let Observed { durable: said, applied, .. } = observed;
        // What stood there before an installed snapshot is no part of the log, though it may be confirmed.
        let durable = self.durable_index();
        let durable = if durable < self.log.start().index { Index::ZERO } else { durable };
        if said != durable {
            let did = format!("says that everything up to {said} is durable");
            let but = format!("of its log, what is up to {durable} is");
            return Err(Broken::new(Action::Persist, did, but));
        }
        if applied < self.said_applied || applied > self.applied {
            let did = format!("says that everything up to {applied} is applied");
            let but = match applied > self.applied {
                true => format!("it handed out what is up to {} only", self.applied),
                false => format!("it was applied up to {} before", self.said_applied),
            };
            return Err(Broken::new(Action::Apply, did, but));
        }
        self.said_applied = applied;
        Ok(())
    }

    /// What changed is on its way to the disk: once all saves are done, it holds what the server
    /// remembers.
    fn check_persistence(&self) -> Result<(), Broken> {
        let Image { hard_state, log, .. } = &self.disk.issued;
        if (hard_state.current_term, hard_state.voted_for) != (self.term, self.voted_for) {
            let did = format!("saves {hard_state} in term {}", self.term);
            let vote = self.voted_for.map_or("nobody".to_owned(), |vote| vote.to_string());
            let but = format!("it must not forget this term and its vote for {vote}");
            return Err(Broken::new(Action::Persist, did, but));
        }
        if log.last() != self.log.last() || log.last_common(&self.log) != self.log.last_index() {
            let did = format!("saves a log that ends with {}", log.last());
            let but = format!("its log ends with {}", self.log.last());
            return Err(Broken::new(Action::Persist, did, but));
        }
        Ok(())
    }
}
