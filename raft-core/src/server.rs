//! One Raft server as a function: an input in, effects out.
//!
//! Guarantees: the same inputs at the same times give the same effects; a refused input changes
//!             nothing but its count.
//! Relies on:  the driver carrying out effects in order (see [`crate::effect`]).
//! Elsewhere:  elections in `election.rs`, replication in `replication.rs`; here are the doors, the
//!             term rule (Raft §5.1) and the dispatch.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::config::{Config, ConfigError};
use crate::durability::Durability;
use crate::effect::{Effect, Effects, Save, Step};
use crate::error::{Refusals, StepError};
use crate::log::Log;
use crate::message::{
    ABSURD, Address, ClientRequest, ClientResponse, ClientResult, Envelope, Message,
};
use crate::quorum::Quorum;
use crate::rng::Rng;
use crate::role::{Follower, Role};
use crate::session::{Known, Sessions};
use crate::storage::{HardState, Recovered};
use crate::types::{Index, LogId, SaveNumber, ServerId, Term, Timestamp};

/// No server falls behind by more terms than this. A message that says so would, if it were believed,
/// bring the cluster close to the last term there is.
const TERM_JUMP_MAX: u64 = 1 << 32;

/// Something that happened to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The server has joined the service that carries its messages. Until then every other input is
    /// deferred, in order, and none is lost: the order of registration is never a race.
    NotifyJoinedService,
    /// A message arrived.
    Message(Envelope),
    /// The moment [`Server::next_timeout`] named has come. Too early, it changes nothing.
    TimerElapsed,
    /// All saves up to this one are durable.
    Saved(SaveNumber),
    /// The state machine has applied what one [`Effect::Apply`] asked for.
    Applied {
        /// Its `through`.
        through: Index,
        /// What the state machine answered to each of its entries, in order.
        responses: Vec<Bytes>,
    },
}

/// One Raft server.
///
/// Invariants:
/// - `last_applied <= applying <= commit_index <= last index of the log`.
/// - Terms in the log are at most `current_term`.
/// - A candidate voted for itself; a leader has progress for every other voter, and for no one else.
/// - `next_index > match_index` for every follower, and no `match_index` is past the log's end.
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
    pub(crate) quorum: Quorum,
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
    /// When to call an election, or as a leader, when to send heartbeats.
    pub(crate) deadline: Timestamp,
    pub(crate) rng: Rng,
    /// The last entry found in storage when this server started. Whoever asked for what stands up to
    /// here was answered by another life of this server, or by another leader, or asks again.
    recovered_index: Index,
    /// Inputs that came before the server joined; `None` once it has.
    deferred: Option<VecDeque<Input>>,
    refusals: Refusals,
}

/// What one [`Effect::Apply`] asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingApply {
    pub(crate) through: Index,
    /// The places of its commands.
    pub(crate) commands: Vec<Index>,
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
        let Recovered { hard_state, entries } = recovered;
        let mut last = LogId::ZERO;
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
        let mut log = Log::default();
        log.append_new(entries);
        Ok(Self {
            quorum: Quorum::new(config.voters.iter().copied()),
            hard_state,
            durability: Durability::recovered(log.last_index()),
            recovered_index: log.last_index(),
            log,
            role: Role::Follower(Follower::default()),
            commit_index: Index::ZERO,
            applying: Index::ZERO,
            last_applied: Index::ZERO,
            applies: VecDeque::new(),
            sessions: Sessions::default(),
            deadline: Timestamp::ZERO,
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
        match &mut self.deferred {
            None => {}
            Some(deferred) if !matches!(input, Input::NotifyJoinedService) => {
                deferred.push_back(input);
                return Ok(());
            }
            Some(_) => return self.join(now, effects),
        }
        let mut step = Step::new(now, self.config.cluster_id, self.config.server_id, effects);
        let result = self.handle(&mut step, input);
        self.finish(step);
        if let Err(error) = &result {
            self.count_refusal(error.reason());
            tracing::debug!(server = %self.config.server_id, %error, "refused");
        }
        self.assert_invariants();
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
        self.quorum.voters().len() == 1
    }

    /// Every other voter.
    pub(crate) fn others(&self) -> Vec<ServerId> {
        let me = self.config.server_id;
        self.quorum.voters().iter().copied().filter(|&voter| voter != me).collect()
    }

    /// Starts as a follower, and takes what came too early, in the order in which it came.
    fn join(&mut self, now: Timestamp, effects: &mut Effects) -> Result<(), StepError> {
        self.reset_election_timeout(now);
        let mut result = Ok(());
        for input in self.deferred.take().unwrap_or_default() {
            match self.step(now, input, effects) {
                // Nobody waits for the answer any more, but the refusal is counted.
                Err(error) if !error.is_fatal() => {}
                outcome => result = result.and(outcome),
            }
        }
        result
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
            (
                Address::Server(server),
                Message::PreVoteRequest(_)
                | Message::PreVoteResponse(_)
                | Message::VoteRequest(_)
                | Message::VoteResponse(_)
                | Message::AppendEntriesRequest(_)
                | Message::AppendEntriesResponse(_),
            ) => {
                // What a bus hands back of a server's own broadcast is never handled.
                server != me && self.quorum.contains(server)
            }
            (Address::Server(_), Message::ClientRequest(_) | Message::ClientResponse(_))
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
            Message::PreVoteRequest(_)
            | Message::PreVoteResponse(_)
            | Message::VoteRequest(_)
            | Message::VoteResponse(_)
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
        match (from, message) {
            (Address::Server(_), Message::PreVoteRequest(request)) => {
                self.handle_pre_vote_request(step, request);
            }
            (Address::Server(voter), Message::PreVoteResponse(response)) => {
                self.handle_pre_vote_response(step, voter, response);
            }
            (Address::Server(_), Message::VoteRequest(request)) => {
                self.handle_vote_request(step, request);
            }
            (Address::Server(voter), Message::VoteResponse(response)) => {
                self.handle_vote_response(step, voter, response);
            }
            (Address::Server(_), Message::AppendEntriesRequest(request)) => {
                self.handle_append_entries_request(step, request);
            }
            (Address::Server(follower), Message::AppendEntriesResponse(response)) => {
                self.handle_append_entries_response(step, follower, response);
            }
            (_, Message::ClientRequest(request)) => self.handle_client_request(step, request),
            (Address::Client(_) | Address::AllServers, _) | (_, Message::ClientResponse(_)) => {
                unreachable!("`admit` has refused these")
            }
        }
    }

    /// Appends a client's command if this server leads and has never seen it.
    ///
    /// Source: Raft §5.3, §8; dissertation §6.3.
    fn handle_client_request(&mut self, step: &mut Step<'_>, request: ClientRequest) {
        let ClientRequest { client_id, sequence_number, .. } = request;
        let answer = |step: &mut Step<'_>, result| {
            let response = ClientResponse { client_id, sequence_number, result };
            step.send(client_id, Message::ClientResponse(response));
        };
        let leader = self.leader_hint();
        let Role::Leader(role) = &mut self.role else {
            return answer(step, ClientResult::NotLeader { leader });
        };
        let is_in_log = match self.sessions.look_up(&request) {
            Known::Finished(result) => return answer(step, result),
            Known::Started => true,
            Known::New => {
                role.in_flight.get(&client_id).is_some_and(|&last| last >= sequence_number)
            }
        };
        if is_in_log {
            // The answer leaves when the state machine has given it; a second copy would only take
            // space.
            role.asked_again.insert((client_id, sequence_number));
            return;
        }
        let command_bytes_max = self.config.command_bytes_max;
        if request.command.len() > command_bytes_max {
            let (command_bytes, command_bytes_max) =
                (request.command.len() as u64, command_bytes_max as u64);
            return answer(step, ClientResult::TooLarge { command_bytes, command_bytes_max });
        }
        self.propose(step, request);
    }

    fn handle_saved(&mut self, step: &mut Step<'_>, number: SaveNumber) -> Result<(), StepError> {
        if !self.durability.confirm(number) {
            let issued = self.durability.issued();
            return Err(StepError::UnknownSave { number, issued });
        }
        self.maybe_count_own_vote(step);
        self.maybe_advance_commit_index(step);
        self.maybe_apply(step);
        Ok(())
    }

    /// Remembers the state machine's answers, and as a leader passes them on to the clients.
    fn handle_applied(
        &mut self,
        step: &mut Step<'_>,
        through: Index,
        responses: Vec<Bytes>,
    ) -> Result<(), StepError> {
        let is_asked = self.applies.front().is_some_and(|pending| {
            pending.through == through && pending.commands.len() == responses.len()
        });
        if !is_asked {
            return Err(StepError::UnknownApply { through, responses: responses.len() });
        }
        let pending = self.applies.pop_front().expect("the front was just seen");
        self.last_applied = through;
        for (index, response) in pending.commands.into_iter().zip(responses) {
            let (log_id, client_id, sequence_number) = self.command_at(index);
            self.sessions.finish(client_id, sequence_number, log_id, response.clone());
            let Role::Leader(leader) = &mut self.role else { continue };
            let is_asked_again = leader.asked_again.remove(&(client_id, sequence_number));
            if index > self.recovered_index || is_asked_again {
                let result = ClientResult::Applied { log_id, response };
                let response = ClientResponse { client_id, sequence_number, result };
                step.send(client_id, Message::ClientResponse(response));
            }
        }
        Ok(())
    }

    /// Turns what a step asked into effects: its save first, then the promises that may leave.
    fn finish(&mut self, mut step: Step<'_>) {
        if step.hard_state.is_some() || step.entries_from.is_some() {
            let entries = step.entries_from.map_or(&[][..], |first| self.log.from(first)).to_vec();
            let range = entries.first().zip(entries.last());
            let range = range.map(|(first, last)| (first.index, last.index));
            let number = self.durability.issue(step.hard_state.is_some(), range);
            step.push_save_first(Save { number, hard_state: step.hard_state, entries });
        }
        let term = self.current_term();
        for envelope in std::mem::take(&mut step.promises) {
            if let Some(envelope) = self.durability.promise(term, envelope) {
                step.push(Effect::Send(envelope));
            }
        }
        while let Some(envelope) = self.durability.next_kept_promise(term) {
            step.push(Effect::Send(envelope));
        }
    }
}

/// Why a server cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NewServerError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The recovered entries are not contiguous, or their terms decrease.
    #[error("recovered entry {found} cannot follow {after}")]
    BrokenLog {
        /// The entry before.
        after: LogId,
        /// The entry that does not follow.
        found: LogId,
    },
    /// The recovered term is older than the recovered log: a part of the storage is missing.
    #[error("recovered term {current_term} is older than the last entry {last}")]
    TermBehindLog {
        /// The recovered term.
        current_term: Term,
        /// The last recovered entry.
        last: LogId,
    },
    /// Elections cannot have brought the recovered term about, and few more would end all of them.
    #[error("recovered term {current_term} is higher than any cluster lives to see")]
    AbsurdTerm {
        /// The recovered term.
        current_term: Term,
    },
}
