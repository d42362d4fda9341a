//! What a server may send, save, apply and answer in the state that it is in: the sending half of
//! RequestVote, AppendEntries and the handlers.
//!
//! Guarantees: a promise leaves only when what it promises is durable (Raft Fig. 2), and a request says
//!             only what its sender knows.

use raft_core::{
    Address, AppendEntriesRequest, AppendEntriesResult, Apply, ClientResult, Configuration, Effect,
    Entry, Envelope, Index, InstallSnapshotRequest, LogId, Message, ProgressState, ServerId,
    Snapshot, Timestamp, VoteRequest, VoteResponse,
};

use super::actions::Reply;
use super::broken::{Action, Broken};
use super::explain::Observed;
use super::sessions::Sessions;
use super::snapshots::Snapshots;
use super::state::{Role, State};

/// What is needed to judge effects, besides the state of the server.
#[derive(Debug)]
pub(super) struct Outcome<'a> {
    pub(super) now: Timestamp,
    pub(super) observed: Observed<'a>,
    pub(super) configuration: &'a Configuration,
    pub(super) snapshots: &'a Snapshots,
    pub(super) replies: &'a [(ServerId, Reply)],
}

impl State {
    /// Judges one effect of a step that is explained.
    pub(super) fn check_effect(
        &mut self,
        outcome: &Outcome<'_>,
        effect: &Effect,
        sessions: &Sessions,
    ) -> Result<(), Broken> {
        match effect {
            Effect::Send(envelope) => self.check_send(outcome, envelope, sessions),
            Effect::Apply(apply) => self.check_apply(apply),
            Effect::RestoreSnapshot(snapshot) => self.check_restore(snapshot),
            &Effect::ReadReady { id, index } => {
                self.reads.done(id);
                self.serve_read(id, index)
            }
            &Effect::ReadFailed { id, .. } => {
                self.reads.done(id);
                Ok(())
            }
            // Saves were taken before; the others tell what was found out otherwise.
            Effect::Save(_)
            | Effect::TakeSnapshot { .. }
            | Effect::NotifyElectedLeader { .. }
            | Effect::NotifyCommit { .. }
            | Effect::NotifyConfiguration { .. }
            | Effect::NotifyTransferAborted { .. } => Ok(()),
        }
    }

    fn check_send(
        &mut self,
        outcome: &Outcome<'_>,
        envelope: &Envelope,
        sessions: &Sessions,
    ) -> Result<(), Broken> {
        let to = match envelope.to {
            Address::Server(to) => to,
            Address::AllServers => ServerId(0),
            Address::Client(_) => return self.check_answer(outcome, envelope, sessions),
        };
        match &envelope.message {
            Message::PreVoteRequest(request) => self.check_pre_vote_request(request),
            Message::VoteRequest(request) => self.check_vote_request(request),
            Message::PreVoteResponse(response) => {
                let reply = Reply::PreVote(*response);
                self.check_reply(outcome, Action::HandlePreVoteRequest, to, reply)
            }
            Message::VoteResponse(response) => self.check_vote_response(to, *response),
            Message::AppendEntriesRequest(request) => self.check_append(outcome, to, request),
            Message::AppendEntriesResponse(response) => match response.result {
                AppendEntriesResult::Success { match_index } => {
                    self.check_acknowledgement(response.term, to, match_index)
                }
                AppendEntriesResult::Conflict { .. } | AppendEntriesResult::StaleTerm => {
                    let reply = Reply::Append(response.term, response.result);
                    self.check_reply(outcome, Action::HandleAppendEntriesRequest, to, reply)
                }
            },
            Message::InstallSnapshotRequest(request) => self.check_chunk(outcome, to, request),
            Message::InstallSnapshotResponse(response) => {
                let reply = Reply::Part(response.term, response.offset);
                self.check_reply(outcome, Action::InstallSnapshot, to, reply)
            }
            Message::TimeoutNow(request) => {
                self.check_timeout_now(to, request, outcome.configuration)
            }
            Message::ReadIndexResponse(response) => match response.index {
                Some(index) => self.answer_read(response.id, to, index),
                None => Ok(()),
            },
            // What a server asks for itself, or passes on for a client, promises nothing.
            Message::ReadIndexRequest(_)
            | Message::RegisterClient(_)
            | Message::ClientRequest(_)
            | Message::ClientResponse(_) => Ok(()),
        }
    }

    /// An answer that leaves at once must be what the request is to be answered with.
    fn check_reply(
        &self,
        outcome: &Outcome<'_>,
        action: Action,
        to: ServerId,
        reply: Reply,
    ) -> Result<(), Broken> {
        if outcome.replies.contains(&(to, reply)) {
            return Ok(());
        }
        let due = outcome.replies.iter().find(|(asked, _)| *asked == to);
        let but = match due {
            Some((_, due)) => format!("the answer is {due:?}"),
            None => "nothing was asked".to_owned(),
        };
        Err(Broken::new(action, format!("answered {to} with {reply:?}"), but))
    }

    /// RequestPreVote: about the term after its own, and the end of its log.
    fn check_pre_vote_request(&self, request: &VoteRequest) -> Result<(), Broken> {
        let asked = LogId::new(request.last_log_term, request.last_log_index);
        let is_allowed = self.role == Role::PreCandidate
            && request.candidate_id == self.id
            && request.term == self.term.next()
            && asked == self.log.last();
        if is_allowed {
            return Ok(());
        }
        let did = format!("asked who would vote for it in term {} with {asked}", request.term);
        let but = format!("it is {} of term {}", self.role.name(), self.term);
        Err(Broken::new(Action::RequestPreVote, did, but))
    }

    /// RequestVote: a candidate asks with the log that it had when it began. The question waits for its
    /// save: a candidate that forgot it and asked again in the same term could be elected by votes for
    /// a longer log.
    fn check_vote_request(&self, request: &VoteRequest) -> Result<(), Broken> {
        let asked = LogId::new(request.last_log_term, request.last_log_index);
        let broken = |but: &str| {
            let did = format!("asked for votes in term {} with {asked}", request.term);
            Err(Broken::new(Action::RequestVote, did, but))
        };
        let Some(candidacy) = self.candidacy.filter(|it| it.term == request.term) else {
            return broken("it has begun no election there");
        };
        if candidacy.last != asked {
            return broken("its log ended elsewhere when it began");
        }
        if candidacy.is_transfer != request.is_transfer {
            return broken("whether its leader has asked for it is the other way");
        }
        if request.candidate_id != self.id {
            return broken("it asks for another server");
        }
        if request.term == self.term && !self.has_durable_vote_for(self.id) {
            return broken("its term and its vote for itself are not durable");
        }
        Ok(())
    }

    /// HandleRequestVoteRequest, the answer: a vote that was given and is durable, or a refusal.
    fn check_vote_response(&self, to: ServerId, response: VoteResponse) -> Result<(), Broken> {
        let broken = |but: &str| {
            let word = if response.vote_granted { "granted" } else { "refused" };
            let did = format!("{word} {to} its vote in term {}", response.term);
            Err(Broken::new(Action::HandleRequestVoteRequest, did, but))
        };
        if response.term != self.term {
            return broken("it is in another term");
        }
        if !response.vote_granted {
            let is_refused = self.refused.contains(to);
            return if is_refused { Ok(()) } else { broken("it has no reason to refuse") };
        }
        if self.voted_for != Some(to) {
            return broken("its vote is not for that candidate");
        }
        if !self.has_durable_vote_for(to) {
            return broken("its vote is not durable");
        }
        Ok(())
    }

    /// AppendEntries: the leader sends what follows an entry of its log, and its commit index.
    fn check_append(
        &mut self,
        outcome: &Outcome<'_>,
        to: ServerId,
        request: &AppendEntriesRequest,
    ) -> Result<(), Broken> {
        let broken = |but: &str| {
            let prev = LogId::new(request.prev_log_term, request.prev_log_index);
            let count = request.entries.len();
            let did = format!("sent {to} {count} entries after {prev} in term {}", request.term);
            Err(Broken::new(Action::AppendEntries, did, but))
        };
        let is_leader = self.role == Role::Leader && request.leader_id == self.id;
        if !is_leader || request.term != self.term {
            return broken("it does not lead that term");
        }
        if self.log.term_at(request.prev_log_index) != Some(request.prev_log_term) {
            return broken("its log has no such entry");
        }
        if request.leader_commit > self.commit {
            let but =
                format!("it knows {} to be committed, not {}", self.commit, request.leader_commit);
            return broken(&but);
        }
        let mut index = request.prev_log_index;
        for entry in &request.entries {
            index = index.next();
            if entry.index != index || outcome.observed.log.entry(index) != Some(entry) {
                return broken(&format!("entry {index} of its log is another one"));
            }
        }
        if let Some(but) = self.limit_exceeded(outcome.observed.memory, to, request) {
            return broken(&but);
        }
        self.reads.sent(request.round, outcome.now);
        Ok(())
    }

    /// Which limit a request exceeds, if any.
    pub(super) fn limit_exceeded(
        &self,
        memory: &raft_core::Role,
        to: ServerId,
        request: &AppendEntriesRequest,
    ) -> Option<String> {
        let raft_core::Role::Leader(leader) = memory else { return None };
        let count = request.entries.len() as u64;
        let is_pipelined = leader
            .progress
            .get(&to)
            .is_some_and(|progress| progress.state == ProgressState::Replicate);
        // Who is only asked where the logs match has nothing else under way.
        let under_way = match is_pipelined {
            true => request.last_index() - self.matched.get(to),
            false => count,
        };
        let entries_max = self.settings.in_flight_entries_max;
        if count > 0 && under_way > entries_max {
            return Some(format!(
                "{under_way} entries would be under way, of at most {entries_max}"
            ));
        }
        let bytes_max = self.settings.append_bytes_max;
        // One entry may always be sent.
        if count > 1 && request.entries.iter().map(Entry::size_bytes).sum::<usize>() > bytes_max {
            return Some(format!("they have more than {bytes_max} bytes"));
        }
        None
    }

    /// A leader whose heartbeat is due speaks to everyone (Raft §5.2: "repeat during idle periods to
    /// prevent election timeouts").
    pub(super) fn check_heartbeats(
        &self,
        configuration: &Configuration,
        effects: &[Effect],
    ) -> Result<(), Broken> {
        let hears = |server: ServerId| {
            effects.iter().any(|effect| match effect {
                Effect::Send(envelope) if envelope.to == Address::Server(server) => matches!(
                    envelope.message,
                    Message::AppendEntriesRequest(_) | Message::InstallSnapshotRequest(_)
                ),
                _ => false,
            })
        };
        let servers = configuration.servers();
        match servers.into_iter().find(|&server| server != self.id && !hears(server)) {
            None => Ok(()),
            Some(server) => {
                let did = format!("sent nothing to {server} in term {}", self.term);
                Err(Broken::new(Action::AppendEntries, did, "its heartbeat was due"))
            }
        }
    }

    /// HandleAppendEntriesRequest, the answer: what the leader has shown to be the same is durable.
    fn check_acknowledgement(
        &self,
        term: raft_core::Term,
        to: ServerId,
        match_index: Index,
    ) -> Result<(), Broken> {
        let broken = |but: String| {
            let did = format!("acknowledged everything up to {match_index} to {to} in term {term}");
            Err(Broken::new(Action::HandleAppendEntriesRequest, did, but))
        };
        if self.disk.durable.hard_state.current_term < term {
            return broken("its term is not durable".to_owned());
        }
        if term != self.term {
            return broken(format!("it is in term {}", self.term));
        }
        if match_index > self.vouched {
            return broken(format!("its log is known to match up to {} only", self.vouched));
        }
        let durable = self.durable_index();
        if match_index > durable {
            return broken(format!("only what is up to {durable} is durable"));
        }
        Ok(())
    }

    /// AppendEntries, of a snapshot: the leader sends parts of one that some server took and that is of
    /// committed entries.
    fn check_chunk(
        &mut self,
        outcome: &Outcome<'_>,
        to: ServerId,
        request: &InstallSnapshotRequest,
    ) -> Result<(), Broken> {
        let broken = |but: &str| {
            let did = format!("sent {to} a part of {} in term {}", request.id, request.term);
            Err(Broken::new(Action::InstallSnapshot, did, but))
        };
        let is_leader = self.role == Role::Leader && request.leader_id == self.id;
        if !is_leader || request.term != self.term {
            return broken("it does not lead that term");
        }
        if request.id.last.index > self.commit || !self.log.matches(request.id.last) {
            return broken("it does not know that entry to be committed");
        }
        if outcome.snapshots.configuration(request.id).is_none() {
            return broken("no server has taken it");
        }
        self.reads.sent(request.round, outcome.now);
        Ok(())
    }

    /// Apply: committed and durable entries, each once and in order.
    fn check_apply(&mut self, apply: &Apply) -> Result<(), Broken> {
        let broken = |but: String| {
            let did = format!("applied everything up to {}", apply.through);
            Err(Broken::new(Action::Apply, did, but))
        };
        let next = self.applied.next();
        if apply.entries.first().map(|entry| entry.index) != Some(next) {
            return broken(format!("entry {next} is the next one"));
        }
        if apply.through > self.commit {
            return broken(format!("only what is up to {} is committed", self.commit));
        }
        let durable = self.durable_index();
        if apply.through > durable {
            return broken(format!("only what is up to {durable} is durable"));
        }
        if let Some(entry) = apply.entries.iter().find(|it| !self.log.matches(it.log_id())) {
            return broken(format!("its log has another entry than {}", entry.log_id()));
        }
        self.applied = apply.through;
        Ok(())
    }

    fn check_restore(&mut self, snapshot: &Snapshot) -> Result<(), Broken> {
        let last = snapshot.last();
        if last.index > self.disk.durable.snapshot.index {
            let did = format!("restored {}", snapshot.id());
            return Err(Broken::new(Action::Apply, did, "it is not durable"));
        }
        self.applied = last.index;
        Ok(())
    }

    /// AnswerClient: nobody hears that a command was applied before it was, or from anyone but a leader.
    fn check_answer(
        &self,
        outcome: &Outcome<'_>,
        envelope: &Envelope,
        sessions: &Sessions,
    ) -> Result<(), Broken> {
        let Message::ClientResponse(response) = &envelope.message else { return Ok(()) };
        let (number, result) = (response.sequence_number, &response.result);
        let broken = |but: &str| {
            let did = format!("told {} of its request {number}: {result}", envelope.to);
            Err(Broken::new(Action::AnswerClient, did, but))
        };
        let is_done =
            matches!(result, ClientResult::Applied { .. } | ClientResult::Registered { .. });
        if is_done && self.role != Role::Leader && !self.has_led {
            return broken("only a leader answers");
        }
        if !sessions.is_true(response.client_id, number, result) {
            return broken("that is not what became of it");
        }
        let ClientResult::Applied { log_id, .. } = &response.result else { return Ok(()) };
        let applied = outcome.observed.applied;
        // What a saved snapshot stands for was applied before, and its sessions remember the answers,
        // though the state machine may not be restored yet.
        if log_id.index <= self.disk.durable.snapshot.index {
            return Ok(());
        }
        if log_id.index <= applied && self.log.matches(*log_id) {
            return Ok(());
        }
        let did = format!("told {} that its request is applied as {log_id}", envelope.to);
        let but = format!("it has applied everything up to {applied} only");
        Err(Broken::new(Action::AnswerClient, did, but))
    }
}
