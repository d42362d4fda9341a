//! Which actions explain an input: what was delivered determines most of them, and where the
//! specification leaves a choice, what the server did shows which one it took.
//!
//! Guarantees: an input is accepted only if the actions, taken one after the other with their guards,
//!             lead to the state in which the server is after it.
//! Relies on:  being shown the server after each input of a step, not only after the last one.

use raft_core::{
    Configuration, Effect, Envelope, Index, Input, Log, MembershipChange, Message, Payload, ReadId,
    ReadMode, SaveNumber, Server, ServerId, StepError, Term, Timestamp,
};

use super::actions::Reply;
use super::broken::{Action, Broken};
use super::reads::GiveUp;
use super::snapshots::Snapshots;
use super::state::{Configurations, Role, State};

/// What a server takes in, as far as the specification knows of it.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    Message(ServerId, Message),
    Timer,
    Saved(SaveNumber),
    Read(ReadId, ReadMode),
    Change(Vec<MembershipChange>),
    Transfer,
    /// Something that concerns only the server itself, or a client.
    Nothing,
}

impl Heard {
    pub(super) fn of(input: &Input) -> Self {
        match input {
            Input::Message(Envelope {
                from: raft_core::Address::Server(from), message, ..
            }) => Self::Message(*from, message.clone()),
            Input::TimerElapsed => Self::Timer,
            Input::Saved(number) => Self::Saved(*number),
            &Input::Read { id, mode } => Self::Read(id, mode),
            Input::ChangeMembership(changes) => Self::Change(changes.clone()),
            Input::TransferLeadership { .. } => Self::Transfer,
            Input::Message(_)
            | Input::NotifyJoinedService
            | Input::Applied { .. }
            | Input::Propose(_)
            | Input::TakeSnapshot
            | Input::SnapshotTaken { .. } => Self::Nothing,
        }
    }
}

/// A server after an input or a step, as anyone can see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed<'a> {
    pub(super) term: Term,
    pub(super) voted_for: Option<ServerId>,
    pub(super) role: Role,
    pub(super) leader: Option<ServerId>,
    pub(super) commit: Index,
    pub(super) applied: Index,
    pub(super) durable: Index,
    pub(super) log: &'a Log,
    pub(super) configuration: &'a Configuration,
    /// When its timer fires.
    pub(super) fires_at: Option<Timestamp>,
    /// What only its role remembers: whom a candidate counts, and what a leader knows of its followers.
    pub(super) memory: &'a raft_core::Role,
}

impl<'a> Observed<'a> {
    pub(super) fn of(server: &'a Server) -> Self {
        let hard_state = server.hard_state();
        let role = match server.role() {
            raft_core::Role::Follower(_) => Role::Follower,
            raft_core::Role::PreCandidate(_) => Role::PreCandidate,
            raft_core::Role::Candidate(_) => Role::Candidate,
            raft_core::Role::Leader(_) => Role::Leader,
        };
        Self {
            term: hard_state.current_term,
            voted_for: hard_state.voted_for,
            role,
            leader: server.leader_hint(),
            commit: server.commit_index(),
            applied: server.last_applied(),
            durable: server.durable_index(),
            log: server.log(),
            configuration: server.configuration(),
            fires_at: server.next_timeout(),
            memory: server.role(),
        }
    }
}

/// What effects tell of the choices that the specification leaves open.
#[derive(Clone, Debug, Default)]
pub(super) struct Hints {
    /// In which terms the server says it was elected.
    elected: Vec<Term>,
    /// Up to where it says that entries are committed.
    commits: Vec<Index>,
    /// It asks who would vote for it.
    asks_for_pre_votes: bool,
    /// It says that nobody has taken over in time.
    has_aborted: bool,
}

impl Hints {
    pub(super) fn take<'a>(&mut self, effects: impl IntoIterator<Item = &'a Effect>) {
        self.elected.clear();
        self.commits.clear();
        (self.asks_for_pre_votes, self.has_aborted) = (false, false);
        for effect in effects {
            match effect {
                Effect::NotifyElectedLeader { term } => self.elected.push(*term),
                Effect::NotifyCommit { index } => self.commits.push(*index),
                Effect::Send(envelope) => {
                    let is_question = matches!(envelope.message, Message::PreVoteRequest(_));
                    self.asks_for_pre_votes |= is_question;
                }
                Effect::NotifyTransferAborted { .. } => self.has_aborted = true,
                Effect::Save(_)
                | Effect::Apply(_)
                | Effect::TakeSnapshot { .. }
                | Effect::RestoreSnapshot(_)
                | Effect::NotifyConfiguration { .. }
                | Effect::ReadReady { .. }
                | Effect::ReadFailed { .. } => {}
            }
        }
    }
}

/// What an input, or the end of a step, is explained by, besides the state before it.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) now: Timestamp,
    pub(super) observed: Observed<'a>,
    pub(super) hints: &'a Hints,
    pub(super) configurations: &'a mut Configurations,
    pub(super) snapshots: &'a Snapshots,
    /// What the inputs are to be answered with.
    pub(super) replies: &'a mut Vec<(ServerId, Reply)>,
    /// How many of the elections that the server tells of are explained.
    elections: usize,
    /// The input is the timer.
    is_timed: bool,
    /// From where on the log may have changed.
    pub(super) changed_from: Index,
}

impl<'a> Step<'a> {
    pub(super) fn new(
        now: Timestamp,
        observed: Observed<'a>,
        hints: &'a Hints,
        configurations: &'a mut Configurations,
        snapshots: &'a Snapshots,
        replies: &'a mut Vec<(ServerId, Reply)>,
    ) -> Self {
        Self {
            now,
            observed,
            hints,
            configurations,
            snapshots,
            replies,
            elections: 0,
            is_timed: false,
            changed_from: Index(u64::MAX),
        }
    }
}

/// Refuse: some refusals blame the driver, or a server that says what none may say. Here every driver is
/// right, and what a server may say is checked where it does.
fn check_refusal(outcome: Result<(), StepError>) -> Result<(), Broken> {
    match outcome {
        Err(
            error @ (StepError::ForeignCluster { .. }
            | StepError::NotForMe { .. }
            | StepError::Malformed { .. }
            | StepError::UnknownSave { .. }
            | StepError::UnknownApply { .. }),
        ) => {
            let did = format!("refused an input: {error}");
            Err(Broken::new(Action::Receive, did, "nobody has made such a mistake"))
        }
        _ => Ok(()),
    }
}

impl State {
    /// Explains what became of an input.
    pub(super) fn explain(
        &mut self,
        step: &mut Step<'_>,
        heard: &Heard,
        outcome: Result<(), StepError>,
    ) -> Result<(), Broken> {
        let was = self.role;
        (self.has_led, self.is_beating) = (was == Role::Leader, false);
        self.reads.begin();
        check_refusal(outcome)?;
        self.timer.begin();
        match heard {
            Heard::Message(from, message) => {
                let is_refused = matches!(outcome, Err(StepError::UnknownSender { .. }));
                if !is_refused && self.must_refuse(step, *from, message) {
                    let did = format!("listened to {from}, which said {message}");
                    let but = "it is no other server of the cluster, as far as it can know";
                    return Err(Broken::new(Action::Receive, did, but));
                }
                if !(is_refused && self.may_refuse(step, *from, message)) {
                    self.receive(step, *from, message)?;
                    if self.is_led_by(*from, message) {
                        self.reads.give_up(GiveUp::Forwarded);
                    }
                }
            }
            Heard::Timer => self.elapse(step)?,
            Heard::Saved(number) => self.disk.confirm(*number),
            &Heard::Read(id, mode) => {
                let configuration = self.configuration(step.configurations);
                let is_lease_enough = mode == ReadMode::Lease;
                self.ask_read(id, self.id, is_lease_enough, step.now, configuration);
                if outcome.is_ok() {
                    self.reads.want(id, step.now);
                }
            }
            Heard::Transfer if outcome.is_ok() => self.begin_transfer(step.now)?,
            Heard::Change(_) | Heard::Transfer | Heard::Nothing => {}
        }
        let before = self.latest().1;
        self.settle(step)?;
        if let (Heard::Change(changes), Ok(())) = (heard, outcome) {
            self.check_changed(before, changes, step.configurations)?;
        }
        if self.role != Role::Leader || step.hints.has_aborted {
            self.handing_over_since = None;
        }
        // A new leader begins with a heartbeat.
        self.is_beating |= was != Role::Leader && self.role == Role::Leader;
        self.check_timer(step.now, step.observed.fires_at, was, step.is_timed)?;
        self.compare_memory(step, heard)
    }

    /// Receive: the term rule first, then the handler.
    fn receive(
        &mut self,
        step: &mut Step<'_>,
        from: ServerId,
        message: &Message,
    ) -> Result<(), Broken> {
        let now = step.now;
        if let Message::VoteRequest(request) = message
            && self.must_ignore(request, now)
        {
            return Ok(());
        }
        if let Some(term) = message.term().filter(|&term| term > self.term) {
            self.update_term(term);
        }
        let reply = match message {
            Message::PreVoteRequest(request) => self.handle_pre_vote_request(request, now),
            Message::PreVoteResponse(response) => {
                let configuration = self.configuration(step.configurations);
                self.handle_pre_vote_response(from, response, configuration);
                return Ok(());
            }
            Message::VoteRequest(request) => self.handle_vote_request(request),
            Message::VoteResponse(response) => {
                self.handle_vote_response(from, response);
                return Ok(());
            }
            Message::AppendEntriesRequest(request) => {
                let before = self.log.last_index();
                let reply =
                    self.handle_append_entries_request(request, now, step.configurations)?;
                self.forget_late_arrivals(self.commit);
                let is_changed = self.log.last_index() != before;
                if is_changed || request.entries.first().is_some_and(|entry| entry.index <= before)
                {
                    step.changed_from = step.changed_from.min(request.prev_log_index.next());
                    self.check_payloads(step, &request.entries)?;
                }
                reply
            }
            Message::AppendEntriesResponse(response) => {
                self.handle_append_entries_response(from, response, now);
                self.confirm_reads(self.configuration(step.configurations));
                return Ok(());
            }
            Message::InstallSnapshotRequest(request) => {
                let reply = self.handle_install_snapshot_request(request, now, step.snapshots)?;
                self.forget_late_arrivals(self.commit);
                step.changed_from = step.changed_from.min(self.log.start().index);
                reply
            }
            Message::InstallSnapshotResponse(response) => {
                if self.role == Role::Leader && response.term == self.term {
                    self.reads.answered(from, response.round);
                    self.answers.heard(from, now);
                    self.confirm_reads(self.configuration(step.configurations));
                }
                return Ok(());
            }
            Message::TimeoutNow(request) => {
                let configuration = self.configuration(step.configurations);
                self.handle_timeout_now(request, now, configuration);
                return Ok(());
            }
            Message::ReadIndexRequest(request) => {
                let configuration = self.configuration(step.configurations);
                self.ask_read_for(from, request, now, configuration);
                return Ok(());
            }
            Message::ReadIndexResponse(response) => {
                if let Some(index) = response.index {
                    self.reads.grant(response.id, index);
                }
                return Ok(());
            }
            Message::RegisterClient(_) | Message::ClientRequest(_) | Message::ClientResponse(_) => {
                return Ok(());
            }
        };
        step.replies.push((from, reply));
        Ok(())
    }

    /// True if this is the leader of this server, which has just spoken.
    fn is_led_by(&self, from: ServerId, message: &Message) -> bool {
        let is_leaders = matches!(
            message,
            Message::AppendEntriesRequest(_) | Message::InstallSnapshotRequest(_)
        );
        is_leaders
            && message.term() == Some(self.term)
            && (self.role, self.leader) == (Role::Follower, Some(from))
    }

    /// True if a server need not listen: it is no member of the cluster, as far as this one knows, and
    /// what it holds is not counted.
    fn may_refuse(&self, step: &Step<'_>, from: ServerId, message: &Message) -> bool {
        from == self.id
            || is_answer(message) && !self.configuration(step.configurations).contains(from)
    }

    /// True if a server must not listen: a bus has handed back what it said itself, or someone answers it
    /// that is in no configuration of its log.
    fn must_refuse(&self, step: &Step<'_>, from: ServerId, message: &Message) -> bool {
        let is_known = |&(_, id): &(Index, _)| step.configurations.get(id).contains(from);
        from == self.id || is_answer(message) && !self.members.iter().any(is_known)
    }

    /// The entries that were taken over are those of the request, payloads and all.
    fn check_payloads(&self, step: &Step<'_>, entries: &[raft_core::Entry]) -> Result<(), Broken> {
        let log = step.observed.log;
        let is_other = |entry: &&raft_core::Entry| {
            log.entry(entry.index)
                .is_some_and(|mine| mine.term == entry.term && mine.payload != entry.payload)
        };
        match entries.iter().find(is_other) {
            None => Ok(()),
            Some(entry) => {
                let did = format!("has something else as entry {}", entry.log_id());
                let but = format!("its leader sent {entry}");
                Err(Broken::new(Action::HandleAppendEntriesRequest, did, but))
            }
        }
    }

    /// The timer of a leader lets it lead on or give up; of any other server, begin an election.
    fn elapse(&mut self, step: &mut Step<'_>) -> Result<(), Broken> {
        step.is_timed = true;
        let observed = &step.observed;
        if self.role == Role::Leader {
            let leads_on = (observed.role, observed.term) == (Role::Leader, self.term);
            let is_judged = self.timer.is_over(step.now) && observed.term == self.term;
            if !is_judged {
                return Ok(());
            }
            self.is_beating = leads_on;
            if leads_on {
                self.reads.give_up(GiveUp::Unconfirmed);
                self.check_transfer(step.now, step.hints.has_aborted)?;
            }
            let configuration = self.configuration(step.configurations);
            return self.check_leading(step.now, leads_on, configuration);
        }
        let is_over = self.timer.is_over(step.now);
        if is_over {
            self.reads.give_up(GiveUp::AheadOfCommit);
        }
        let is_candidate = observed.term > self.term;
        if !is_candidate && !step.hints.asks_for_pre_votes {
            // A leader that was silent for so long is none; one that spoke in this very step is.
            if is_over && self.role == Role::Follower && observed.leader.is_none() {
                self.leader = None;
            }
            return Ok(());
        }
        let broken = |but: &str| {
            let did = format!("called an election after term {}", self.term);
            Err(Broken::new(Action::Timeout, did, but))
        };
        if !is_over {
            return broken("its election timer has not fired");
        }
        if !self.may_campaign(step.configurations) {
            return broken("it is no voter");
        }
        if self.is_disk_stalled(step.now) {
            return broken("its disk is stalled, so it could promise nothing");
        }
        if !is_candidate {
            self.become_pre_candidate();
            return Ok(());
        }
        let configuration = self.configuration(step.configurations);
        if self.settings.pre_vote && !self.is_alone(configuration) {
            let did = format!("called an election after term {}", self.term);
            let but = "it has not asked first who would vote for it";
            return Err(Broken::new(Action::RequestPreVote, did, but));
        }
        self.time_out(false);
        Ok(())
    }

    /// What a server may do at any time, as far as it did: be elected, take entries, commit.
    fn go_on(&mut self, step: &mut Step<'_>) -> Result<(), Broken> {
        if self.role == Role::Candidate {
            self.count_own_vote();
            if step.hints.elected.get(step.elections) == Some(&self.term) {
                self.become_leader(step.now, self.configuration(step.configurations))?;
                step.elections += 1;
            }
        }
        if self.role != Role::Leader {
            return Ok(());
        }
        loop {
            let before = (self.commit, self.log.last_index());
            self.commit_as_told(step);
            if self.commit > before.0 && self.has_left(step.configurations) {
                // "The leader steps down once it has committed the C_new log entry" (Raft §6).
                (self.role, self.leader) = (Role::Follower, None);
                return Ok(());
            }
            self.extend(step)?;
            if before == (self.commit, self.log.last_index()) {
                return Ok(());
            }
        }
    }

    /// AdvanceCommitIndex, as far as the server says so and the guard holds.
    fn commit_as_told(&mut self, step: &Step<'_>) {
        let configuration = self.configuration(step.configurations);
        for &index in &step.hints.commits {
            // If the guard does not hold yet, it may later; in the end it must.
            let _ = self.advance_commit_index(index, configuration);
        }
        if self.has_committed && !step.hints.commits.is_empty() {
            self.confirm_reads(configuration);
        }
    }

    /// ClientRequest and ChangeConfiguration: the leader appends what is found at the end of its log.
    fn extend(&mut self, step: &mut Step<'_>) -> Result<(), Broken> {
        let log = step.observed.log;
        while log.term_at(self.log.last_index().next()) == Some(self.term) {
            let index = self.log.last_index().next();
            let entry = log.entry(index);
            entry.map_or(Ok(()), |entry| self.check_request(step.observed.log, entry))?;
            if let Some(Payload::Configuration(new)) = entry.map(|entry| &entry.payload) {
                self.check_change(index, new, step.now, step.configurations)?;
                for server in new.servers() {
                    if !self.configuration(step.configurations).contains(server) {
                        self.answers.joined(server, step.now);
                        // Whoever has left and comes back is a new server.
                        self.matched.set(server, Index::ZERO);
                        self.next.joined(server, index);
                    }
                }
                let id = step.configurations.id(new);
                self.members.push((index, id));
            }
            self.log.push(self.term);
            step.changed_from = step.changed_from.min(index);
        }
        Ok(())
    }

    /// Compares where the actions lead with where the server is.
    pub(super) fn settle(&mut self, step: &mut Step<'_>) -> Result<(), Broken> {
        self.go_on(step)?;
        let observed = step.observed;
        if let Some(&term) = step.hints.elected.get(step.elections) {
            let did = format!("was elected in term {term}");
            let but = format!("it is {} in term {}", self.role.name(), self.term);
            return Err(Broken::new(Action::BecomeLeader, did, but));
        }
        if self.role == Role::Leader
            && observed.role == Role::Follower
            && observed.term == self.term
        {
            if !step.is_timed {
                let did = format!("gave up leading term {}", self.term);
                let but = "no heartbeat was due, and it has not left the cluster";
                return Err(Broken::new(Action::StepDown, did, but));
            }
            (self.role, self.leader) = (Role::Follower, None);
        }
        self.confirm_reads(self.configuration(step.configurations));
        self.settle_configuration(step.now, step.configurations);
        self.compare(step)?;
        self.check_left(step.configurations)
    }
}

/// True for what a follower answers to its leader.
fn is_answer(message: &Message) -> bool {
    matches!(message, Message::AppendEntriesResponse(_) | Message::InstallSnapshotResponse(_))
}
