//! One Raft server as a function: an input in, effects out.
//!
//! Guarantees: the same inputs at the same times give the same effects; a refused input changes
//!             nothing but its count.
//! Relies on:  the driver carrying out effects in order (see [`crate::effect`]).
//! Elsewhere:  elections in `election.rs`, replication in `replication.rs`, clients in `request.rs`;
//!             here are the doors, the term rule (Raft §5.1) and the dispatch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::durability::Durability;
use crate::effect::{Effect, Effects, Save, Step};
use crate::entries::Entries;
use crate::error::{NewServerError, Refusals, StepError};
use crate::input::Input;
use crate::log::{Log, Payload};
use crate::membership::{Configuration, Members};
use crate::message::{ABSURD, Address, Envelope, Message, check_log_id};
use crate::read::{ReadFailure, Reads};
use crate::request::PendingApply;
use crate::rng::Rng;
use crate::role::{Follower, Role};
use crate::session::Sessions;
use crate::snapshot::Snapshots;
use crate::storage::{HardState, Recovered};
use crate::transfer::Deferrals;
use crate::types::{Index, LogId, SaveNumber, ServerId, Term, Timestamp};

/// No server falls behind by more terms than this. A message that says so would, if it were believed,
/// bring the cluster close to the last term there is.
const TERM_JUMP_MAX: u64 = 1 << 32;

/// One Raft server.
///
/// Invariants:
/// - `last_applied <= applying <= commit_index <= last index of the log`.
/// - The configuration in force at `commit_index` is known, whatever comes after it.
/// - Terms in the log are at most `current_term`.
/// - A candidate voted for itself; a leader has progress for every other server, and for no one else.
/// - `next_index > match_index` for every follower, and no `match_index` is past the log's end.
/// - A leader counts the bytes of exactly what stands in its log past `commit_index`.
///
/// ```
/// use raft_core::{Config, Effects, Input, Recovered, Server, ServerId, Timestamp};
///
/// // A cluster of one elects itself as soon as its vote is saved.
/// let config = Config::new(ServerId(1), [ServerId(1)]);
/// let mut server = Server::new(config, Recovered::default())?;
/// let mut effects = Effects::new();
/// server.step(Timestamp::ZERO, Input::NotifyJoinedService, &mut effects)?;
///
/// let wake_at = server.next_timeout().expect("a follower waits for a leader");
/// server.step(wake_at, Input::TimerElapsed, &mut effects)?;
/// assert_eq!(effects.as_slice().len(), 1, "a save of the term and the vote");
///
/// server.step(wake_at, Input::Saved(raft_core::SaveNumber(1)), &mut effects)?;
/// assert!(server.role().is_leader());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Server {
    pub(crate) config: Config,
    pub(crate) members: Members,
    pub(crate) hard_state: HardState,
    pub(crate) log: Log,
    pub(crate) durability: Durability,
    pub(crate) role: Role,
    /// Everything up to here is on a majority, in this term or before.
    pub(crate) commit_index: Index,
    /// Everything up to here was handed to the state machine.
    pub(crate) applying: Index,
    /// Everything up to here was applied.
    pub(crate) last_applied: Index,
    /// What was handed out and not confirmed yet, oldest first.
    pub(crate) applies: VecDeque<PendingApply>,
    pub(crate) sessions: Sessions,
    pub(crate) snapshots: Snapshots,
    pub(crate) reads: Reads,
    /// When the last input was taken.
    pub(crate) now: Timestamp,
    /// When to call an election, or as a leader, when to send heartbeats.
    pub(crate) deadline: Timestamp,
    /// How long to wait without a leader, chosen at random before each election.
    pub(crate) election_timeout: Duration,
    pub(crate) rng: Rng,
    /// The last entry found in storage when this server started. Whoever asked for what stands up to
    /// here was answered by another life of this server, or by another leader, or asks again.
    pub(crate) recovered_index: Index,
    /// Until when this server elects nobody for the lease of a leader that it forgot: one it may have
    /// heard before it started, or in an earlier term. Only with lease reads.
    pub(crate) sticky_until: Timestamp,
    pub(crate) deferrals: Deferrals,
    /// Inputs that came before the server joined; `None` once it has.
    pub(crate) deferred: Option<VecDeque<Input>>,
    pub(crate) refusals: Refusals,
}

impl Server {
    /// A server that continues from what its storage recovered; it does nothing until
    /// [`Input::NotifyJoinedService`].
    ///
    /// # Errors
    ///
    /// If the configuration makes no sense, or the recovered state is none a server of this kind
    /// ever saved.
    pub fn new(config: Config, recovered: Recovered) -> Result<Self, NewServerError> {
        config.validate()?;
        config.check_start(&recovered)?;
        let Recovered { hard_state, snapshot, mut start, mut entries } = recovered;
        let mut is_behind_snapshot = false;
        if let Some(snapshot) = &snapshot {
            let last = snapshot.last();
            if start.index > last.index || start.index == last.index && start != last {
                return Err(NewServerError::NoSnapshot { start });
            }
            let base = Recovered { start, entries, ..Recovered::default() };
            is_behind_snapshot = base.kept_behind(last).is_none();
            entries = base.entries;
            if is_behind_snapshot {
                // A crash came between an installed snapshot and the end of the log it replaces.
                (start, entries) = (last, Vec::new());
            }
        } else if start != LogId::ZERO {
            return Err(NewServerError::NoSnapshot { start });
        }
        // Only what no other server sends can be stored either, and it leaves room to count on.
        if check_log_id(start).is_err() {
            return Err(NewServerError::AbsurdEntry { log_id: start });
        }
        let mut last = start;
        for entry in &entries {
            let is_next = entry.index == last.index.next() && entry.term >= last.term;
            if !is_next || entry.term == Term(0) {
                return Err(NewServerError::BrokenLog { after: last, found: entry.log_id() });
            }
            last = entry.log_id();
        }
        if last.term > hard_state.current_term {
            let current_term = hard_state.current_term;
            return Err(NewServerError::TermBehindLog { current_term, last });
        }
        if hard_state.current_term.0 >= ABSURD {
            return Err(NewServerError::AbsurdTerm { current_term: hard_state.current_term });
        }
        let mut log = Log::starting_at(start);
        log.append_new(entries.into());
        let voters = (config.voters.iter().copied(), config.learners.iter().copied());
        let mut members = match &snapshot {
            None => Members::new(Index::ZERO, Arc::new(Configuration::new(voters.0, voters.1))),
            Some(snapshot) => {
                Members::new(snapshot.last().index, Arc::new(snapshot.configuration().clone()))
            }
        };
        for entry in log.from(members.latest_index().next()) {
            if let Payload::Configuration(configuration) = &entry.payload {
                members.append(entry.index, configuration.clone());
            }
        }
        let commit_index = snapshot.as_ref().map_or(Index::ZERO, |snapshot| snapshot.last().index);
        Ok(Self {
            members,
            hard_state,
            durability: Durability::recovered(log.last_index()),
            recovered_index: log.last_index(),
            log,
            role: Role::Follower(Follower::default()),
            commit_index,
            applying: Index::ZERO,
            last_applied: Index::ZERO,
            applies: VecDeque::new(),
            sessions: Sessions::default(),
            snapshots: Snapshots::recovered(snapshot, is_behind_snapshot),
            reads: Reads::default(),
            sticky_until: Timestamp::ZERO,
            deferrals: Deferrals::default(),
            now: Timestamp::ZERO,
            deadline: Timestamp::ZERO,
            election_timeout: config.election_timeout_max,
            rng: Rng::new(config.seed, config.server_id.0),
            deferred: Some(VecDeque::new()),
            refusals: Refusals::new(),
            config,
        })
    }

    /// Takes one input at the time `now` and appends what it asks for to `effects`.
    ///
    /// # Errors
    ///
    /// If the input is refused. The server is unchanged then, but for its count of refusals.
    ///
    /// # Panics
    ///
    /// If the server finds that one of its own invariants does not hold. No input from outside can
    /// cause that; going on could lose data.
    pub fn step(
        &mut self,
        now: Timestamp,
        input: Input,
        effects: &mut Effects,
    ) -> Result<(), StepError> {
        let (cluster_id, server_id) = (self.config.cluster_id, self.config.server_id);
        self.now = now;
        let mut step = Step::new(now, cluster_id, server_id, effects);
        let result = self.take(&mut step, input);
        self.finish(&mut step);
        result
    }

    /// Takes several inputs as one step: they share one save, and one request to each follower. This is
    /// how a busy host batches (dissertation §10.2.2).
    ///
    /// # Errors
    ///
    /// If an input is refused; the others are taken all the same. The error is the first one, or the
    /// first that [`StepError::is_fatal`], and after that nothing more is taken.
    ///
    /// # Panics
    ///
    /// As [`Server::step`].
    pub fn step_all(
        &mut self,
        now: Timestamp,
        inputs: impl IntoIterator<Item = Input>,
        effects: &mut Effects,
    ) -> Result<(), StepError> {
        self.step_each(now, inputs, effects, |_, _, _| ())
    }

    /// As [`Server::step_all`], and shows the server after each input, with what is asked so far, but for
    /// saves and what waits for them; and says why an input was refused. An input that comes before the
    /// server has joined is only kept: `Ok` says nothing of it, and a proposal is refused on joining.
    ///
    /// # Errors
    ///
    /// As [`Server::step_all`].
    ///
    /// # Panics
    ///
    /// As [`Server::step`].
    ///
    /// ```
    /// # use raft_core::*;
    /// # let mut server = Server::new(Config::new(ServerId(1), [ServerId(1)]), Recovered::default())?;
    /// let mut effects = Effects::new();
    /// let inputs = [Input::NotifyJoinedService, Input::Propose("x".into())];
    /// let mut ends = Vec::new();
    /// let result = server.step_each(Timestamp::ZERO, inputs, &mut effects, |server, _, outcome| {
    ///     ends.push(outcome.map(|()| server.log().last()));
    /// });
    /// let refused = StepError::NotLeader { leader: None };
    /// assert_eq!((result, ends), (Err(refused), vec![Ok(LogId::ZERO), Err(refused)]));
    /// # Ok::<(), NewServerError>(())
    /// ```
    pub fn step_each(
        &mut self,
        now: Timestamp,
        inputs: impl IntoIterator<Item = Input>,
        effects: &mut Effects,
        mut taken: impl FnMut(&Self, &[Effect], Result<(), StepError>),
    ) -> Result<(), StepError> {
        let (cluster_id, server_id) = (self.config.cluster_id, self.config.server_id);
        let mut step = Step::new(now, cluster_id, server_id, effects);
        let mut result = Ok(());
        for input in inputs {
            let outcome = self.take(&mut step, input);
            self.now = if outcome.is_ok() { now } else { self.now };
            taken(self, step.effects(), outcome);
            if let Err(error) = outcome {
                if error.is_fatal() || result.is_ok() {
                    result = Err(error);
                }
                if error.is_fatal() {
                    break;
                }
            }
        }
        self.finish(&mut step);
        result
    }

    /// Takes one input, or keeps it until the server has joined.
    fn take(&mut self, step: &mut Step<'_>, input: Input) -> Result<(), StepError> {
        match &mut self.deferred {
            None => {}
            Some(deferred) if !matches!(input, Input::NotifyJoinedService) => {
                deferred.push_back(input);
                return Ok(());
            }
            Some(_) => return self.join(step),
        }
        let result = self.handle(step, input);
        if let Err(error) = &result {
            self.count_refusal(error.reason());
            tracing::debug!(server = %self.config.server_id, %error, "refused");
        }
        result
    }

    /// When to come back with [`Input::TimerElapsed`]; `None` before the server has joined.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.deferred.is_none().then_some(self.deadline)
    }

    /// This server.
    #[must_use]
    pub fn id(&self) -> ServerId {
        self.config.server_id
    }

    /// What the operator chose.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the server is at the moment.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The latest term the server has seen, and its vote in it.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// The latest term the server has seen.
    #[must_use]
    pub fn current_term(&self) -> Term {
        self.hard_state.current_term
    }

    /// The log in memory; its end may not be durable yet.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The last entry this server knows to be committed.
    #[must_use]
    pub fn commit_index(&self) -> Index {
        self.commit_index
    }

    /// The last entry the state machine has applied.
    #[must_use]
    pub fn last_applied(&self) -> Index {
        self.last_applied
    }

    /// The last entry that is durable here.
    #[must_use]
    pub fn durable_index(&self) -> Index {
        self.durability.durable_index()
    }

    /// The leader of the current term, if this server knows it: itself, or one that spoke to it.
    #[must_use]
    pub fn leader_hint(&self) -> Option<ServerId> {
        match &self.role {
            Role::Follower(follower) => follower.leader,
            Role::PreCandidate(_) | Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.config.server_id),
        }
    }

    /// How often inputs were refused, by reason; see [`Refusals`].
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// True once the server has joined and the protocol runs.
    #[must_use]
    pub fn has_joined(&self) -> bool {
        self.deferred.is_none()
    }

    /// How many inputs wait for the server to join.
    #[must_use]
    pub fn deferred(&self) -> usize {
        self.deferred.as_ref().map_or(0, VecDeque::len)
    }

    pub(crate) fn count_refusal(&mut self, reason: &'static str) {
        *self.refusals.entry(reason).or_default() += 1;
    }

    /// True for the only voter: there is nobody to ask.
    pub(crate) fn is_alone(&self) -> bool {
        self.members.latest().is_only_voter(self.config.server_id)
    }

    /// Starts as a follower, and takes what came too early, in the order in which it came.
    fn join(&mut self, step: &mut Step<'_>) -> Result<(), StepError> {
        self.reset_election_timeout(step.now);
        // Also in term 0: the first leader it heard may count on an answer whose term was never saved.
        if self.config.lease_reads {
            self.sticky_until = step.now + self.config.election_timeout_min;
        }
        let deferred = self.deferred.take().unwrap_or_default();
        self.finish_install(step);
        // The state machine starts from the snapshot, if there is one.
        self.maybe_apply(step);
        for input in deferred {
            let read = match &input {
                Input::Read { id, .. } => Some(*id),
                _ => None,
            };
            match self.take(step, input) {
                // Nobody waits for the answer any more, but the refusal is counted; and whoever reads
                // waits for an effect.
                Err(error) if !error.is_fatal() => {
                    let failure = ReadFailure::LeaderChanged;
                    read.into_iter().for_each(|id| step.push(Effect::ReadFailed { id, failure }));
                }
                Err(fatal) => return Err(fatal),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn handle(&mut self, step: &mut Step<'_>, input: Input) -> Result<(), StepError> {
        match input {
            Input::NotifyJoinedService => Err(StepError::JoinedTwice),
            Input::Message(envelope) => {
                self.admit(&envelope)?;
                self.handle_message(step, envelope);
                Ok(())
            }
            Input::TimerElapsed => {
                if step.now >= self.deadline {
                    match self.role {
                        Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                            self.call_election(step);
                        }
                        Role::Leader(_) => self.lead_on(step),
                    }
                }
                Ok(())
            }
            Input::Saved(number) => self.handle_saved(step, number),
            Input::Applied { through, responses } => self.handle_applied(step, through, responses),
            Input::Propose(command) => {
                self.admit_proposal(command.len())?;
                self.append(step, Payload::Proposal(command));
                Ok(())
            }
            Input::ChangeMembership(changes) => self.change_membership(step, &changes),
            Input::TransferLeadership { to } => self.transfer_leadership(step, to),
            Input::TakeSnapshot => {
                self.request_snapshot(step);
                Ok(())
            }
            Input::SnapshotTaken { through, data } => {
                self.handle_snapshot_taken(step, through, data)
            }
            Input::Read { id, mode } => self.handle_read(step, id, mode),
        }
    }

    /// Checks everything that would make a message refused, before anything changes.
    fn admit(&self, envelope: &Envelope) -> Result<(), StepError> {
        let Envelope { cluster_id, from, to, ref message } = *envelope;
        let me = self.config.server_id;
        if cluster_id != self.config.cluster_id {
            let expected = self.config.cluster_id;
            return Err(StepError::ForeignCluster { found: cluster_id, expected });
        }
        if to != Address::Server(me) && to != Address::AllServers {
            return Err(StepError::NotForMe { to });
        }
        let message_name = message.name();
        let is_known = match (from, message) {
            (Address::Client(client), Message::ClientRequest(request)) => {
                client == request.client_id
            }
            (Address::Client(client), Message::RegisterClient(request)) => {
                client == request.client_id
            }
            // What a bus hands back of a server's own broadcast is never handled.
            (Address::Server(server), _) if server == me => false,
            // A server whose configuration is out of date still follows and votes (dissertation
            // §4.1), though its vote may not count; and a server passes on what a client asked for.
            (
                Address::Server(_),
                Message::PreVoteRequest(_)
                | Message::PreVoteResponse(_)
                | Message::VoteRequest(_)
                | Message::VoteResponse(_)
                | Message::AppendEntriesRequest(_)
                | Message::InstallSnapshotRequest(_)
                | Message::TimeoutNow(_)
                | Message::ReadIndexRequest(_)
                | Message::ReadIndexResponse(_)
                | Message::RegisterClient(_)
                | Message::ClientRequest(_),
            ) => true,
            (
                Address::Server(server),
                Message::AppendEntriesResponse(_) | Message::InstallSnapshotResponse(_),
            ) => self.is_watched(server),
            (Address::Server(_), Message::ClientResponse(_))
            | (Address::Client(_) | Address::AllServers, _) => false,
        };
        if !is_known {
            return Err(StepError::UnknownSender { from, message: message_name });
        }
        if let Err(reason) = envelope.check() {
            return Err(StepError::Malformed { message: message_name, reason });
        }
        if message.claimed_term().is_some_and(|term| term.0 > self.current_term().0 + TERM_JUMP_MAX)
        {
            let reason = "its term is further ahead than elections can have brought it";
            return Err(StepError::Malformed { message: message_name, reason });
        }
        match message {
            Message::AppendEntriesRequest(request) => self.admit_append_entries(request),
            Message::AppendEntriesResponse(response) => self.admit_append_response(response),
            Message::InstallSnapshotRequest(request) => {
                self.admit_leader(request.term, request.leader_id)?;
                self.admit_snapshot(request)
            }
            Message::TimeoutNow(request) => self.admit_leader(request.term, request.leader_id),
            Message::PreVoteRequest(_)
            | Message::PreVoteResponse(_)
            | Message::VoteRequest(_)
            | Message::VoteResponse(_)
            | Message::InstallSnapshotResponse(_)
            | Message::ReadIndexRequest(_)
            | Message::ReadIndexResponse(_)
            | Message::RegisterClient(_)
            | Message::ClientRequest(_)
            | Message::ClientResponse(_) => Ok(()),
        }
    }

    fn handle_message(&mut self, step: &mut Step<'_>, envelope: Envelope) {
        let Envelope { from, message, .. } = envelope;
        if self.is_disruptive(step.now, &message) {
            tracing::debug!(server = %self.config.server_id, %message, "the leader lives");
            return;
        }
        // The term rule (Raft §5.1): "if one server's current term is smaller than the other's,
        // then it updates its current term to the larger value", and a candidate or leader "that
        // discovers that its term is out of date immediately reverts to follower state".
        if let Some(term) = message.term().filter(|&term| term > self.current_term()) {
            self.hard_state = HardState { current_term: term, voted_for: None };
            step.save(self.hard_state);
            self.become_follower(step, None);
        }
        match message {
            Message::RegisterClient(request) => self.handle_register_client(step, from, request),
            Message::ClientRequest(request) => self.handle_client_request(step, from, request),
            message => match from {
                Address::Server(server) => self.handle_servers_message(step, server, message),
                Address::Client(_) | Address::AllServers => {
                    unreachable!("`admit` has refused these")
                }
            },
        }
    }

    fn handle_servers_message(&mut self, step: &mut Step<'_>, from: ServerId, message: Message) {
        match message {
            Message::PreVoteRequest(request) => self.handle_pre_vote_request(step, request),
            Message::PreVoteResponse(response) => {
                self.handle_pre_vote_response(step, from, response);
            }
            Message::VoteRequest(request) => self.handle_vote_request(step, request),
            Message::VoteResponse(response) => self.handle_vote_response(step, from, response),
            Message::AppendEntriesRequest(request) => {
                self.handle_append_entries_request(step, request);
            }
            Message::AppendEntriesResponse(response) => {
                self.handle_append_entries_response(step, from, response);
            }
            Message::InstallSnapshotRequest(request) => {
                self.handle_install_snapshot_request(step, *request);
            }
            Message::InstallSnapshotResponse(response) => {
                self.handle_install_snapshot_response(step, from, response);
            }
            Message::TimeoutNow(request) => self.handle_timeout_now(step, request),
            Message::ReadIndexRequest(request) => {
                self.handle_read_index_request(step, from, request);
            }
            Message::ReadIndexResponse(response) => {
                self.handle_read_index_response(step, response);
            }
            Message::RegisterClient(_) | Message::ClientRequest(_) | Message::ClientResponse(_) => {
                unreachable!("`admit` has refused these, or they were handled before")
            }
        }
    }

    fn handle_saved(&mut self, step: &mut Step<'_>, number: SaveNumber) -> Result<(), StepError> {
        if !self.durability.confirm(step.now, number) {
            let issued = self.durability.issued();
            return Err(StepError::UnknownSave { number, issued });
        }
        self.go_on_after_save(step);
        Ok(())
    }

    /// Does what waited for a save.
    fn go_on_after_save(&mut self, step: &mut Step<'_>) {
        if self.snapshots.has_compactions() {
            self.maybe_compact();
        }
        self.maybe_count_own_vote(step);
        self.maybe_advance_commit_index(step);
        self.maybe_apply(step);
    }

    /// Turns what a step asked into effects: its save first, then what followers lack, then the
    /// promises that may leave.
    fn finish(&mut self, step: &mut Step<'_>) {
        self.log.seal();
        while step.has_save() {
            self.issue_saves(step);
            if !self.config.synchronous_driver {
                break;
            }
            // It is durable before any of the effects that follow it is carried out.
            self.go_on_after_save(step);
            self.log.seal();
        }
        if self.role.is_leader() {
            self.send_what_is_missing(step);
        }
        let term = self.current_term();
        if step.has_promises() {
            // In a later term nobody needs a promise of this one any more, and not sending is always
            // safe.
            let is_current = |envelope: &Envelope| envelope.message.term() == Some(term);
            for envelope in step.take_promises().filter(is_current) {
                if let Some(envelope) = self.durability.promise(term, envelope) {
                    step.push(Effect::Send(envelope));
                }
            }
        }
        while let Some(envelope) = self.durability.next_kept_promise(term) {
            step.push(Effect::Send(envelope));
        }
        self.serve_reads(step);
        self.assert_invariants();
    }

    /// Asks for everything to be saved that this step has changed: with one save, or with one for each
    /// list that entries came in, so that none has to be copied. The first one holds all the rest.
    fn issue_saves(&mut self, step: &mut Step<'_>) {
        let last = self.log.last_index();
        let mut first = step.entries_from.take();
        loop {
            let entries = first.map_or_else(Entries::new, |first| self.log.stretch(first, last));
            first = entries.last().map(|entry| entry.index.next()).filter(|&next| next <= last);
            self.issue_save(step, entries);
            if first.is_none() {
                break;
            }
        }
        step.end_saves();
    }

    fn issue_save(&mut self, step: &mut Step<'_>, entries: Entries) {
        let (hard_state, compacted) = (step.hard_state.take(), step.compacted.take());
        #[cfg(feature = "defects")]
        let hard_state = hard_state.map(|hard_state| {
            let forgets = self.config.has_defect(crate::defect::Defect::VoteNotSaved);
            HardState { voted_for: hard_state.voted_for.filter(|_| !forgets), ..hard_state }
        });
        let is_install = std::mem::take(&mut step.is_install);
        let range = entries.first().zip(entries.last());
        let mut range = range.map(|(first, last)| (first.index, last.index));
        if let Some(last) = compacted.filter(|_| is_install) {
            // Nothing that was durable is a part of this log any more, and what the snapshot stands
            // for is not yet.
            range = Some((Index(1), range.map_or(last.index, |(_, end)| end)));
        }
        let number = if self.config.synchronous_driver {
            self.durability.issue_durable(range)
        } else {
            self.durability.issue(step.now, hard_state.is_some(), range)
        };
        let mut snapshot = None;
        if let Some(compacted) = compacted {
            snapshot = self.snapshots.latest.clone();
            self.remember_compaction(number, compacted.index);
        }
        step.push_save(Save { number, hard_state, snapshot, compacted, entries });
    }
}
