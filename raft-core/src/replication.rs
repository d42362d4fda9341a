//! Log replication and commitment (Raft §5.3, §5.4.2).
//!
//! Guarantees: Leader Append-Only, Log Matching, and State Machine Safety: an entry is applied only
//!             when every later leader is sure to have it, in log order, once.
//! Relies on:  Election Safety (`election.rs`); an acknowledged entry surviving a crash
//!             ([`crate::durability`]).
//! Elsewhere:  what a leader knows of a follower is in [`crate::progress`].

use std::sync::Arc;

use crate::config::Config;
use crate::effect::{Apply, Effect, Step};
use crate::entries::Entries;
use crate::error::StepError;
use crate::log::{Entry, Log, Payload};
use crate::message::{
    AppendEntriesRequest, AppendEntriesResponse, AppendEntriesResult, ClientRequest, ClientResult,
    ConflictHint, InstallSnapshotRequest, Message,
};
use crate::progress::{Progress, ProgressState};
use crate::request::PendingApply;
use crate::role::Role;
use crate::server::Server;
use crate::session::Known;
use crate::snapshot::Snapshots;
use crate::types::{Index, LogId, Round, ServerId, Term};

/// What a server's refusals call a follower that says it lacks what it confirmed.
const FORGOTTEN_ENTRIES: &str = "forgotten-entries";

impl Server {
    /// Appends a client's command to the leader's log and starts to replicate it.
    pub(crate) fn propose(&mut self, step: &mut Step<'_>, request: ClientRequest) {
        let Role::Leader(leader) = &mut self.role else { return };
        leader.in_flight.insert(request.key());
        self.append(step, Payload::Command(Arc::new(request)));
    }

    /// Appends an entry as leader. Requests leave at the end of the step, without waiting for the
    /// save: they promise nothing, so the leader writes its disk while the network is busy
    /// (dissertation §10.2.1).
    pub(crate) fn append(&mut self, step: &mut Step<'_>, payload: Payload) {
        let configuration = match &payload {
            Payload::Configuration(configuration) => Some(configuration.clone()),
            _ => None,
        };
        if let Role::Leader(leader) = &mut self.role {
            leader.uncommitted_bytes += payload.entry_bytes();
        }
        let index = self.log.append(self.current_term(), payload);
        step.save_entries(index);
        step.replicate();
        if let Some(configuration) = configuration {
            self.adopt(step, index, configuration);
        }
    }

    /// Leads for another heartbeat interval, or steps down if too few followers were heard of, or if
    /// this server's disk hangs.
    ///
    /// Source: dissertation §6.2: "a leader steps down if an election timeout elapses without a
    /// successful round of heartbeats to a majority of its cluster".
    pub(crate) fn lead_on(&mut self, step: &mut Step<'_>) {
        let Role::Leader(leader) = &self.role else { return };
        let patience = self.config.election_timeout_max;
        let is_heard = |voter| match leader.progress.get(&voter) {
            Some(progress) => progress.is_heard(step.now, patience),
            None => true,
        };
        if self.config.check_quorum && !self.members.latest().is_reached_by(is_heard) {
            return self.become_follower(step, None);
        }
        if self.is_disk_stalled(step.now) && !self.is_alone() {
            self.hand_over(step);
            return self.become_follower(step, None);
        }
        self.maybe_end_farewell(step.now);
        self.fail_overdue_reads(step);
        self.maybe_abort_transfer(step);
        self.maybe_defer_to_preferred(step);
        self.deadline = step.now + self.config.heartbeat_interval;
        step.is_heartbeat = true;
    }

    /// Sends followers what they lack, as far as their limits allow; with a heartbeat, something to
    /// every one.
    ///
    /// Source: Raft §5.2: "repeat during idle periods to prevent election timeouts"; §5.3: "the
    /// leader retries AppendEntries RPCs indefinitely".
    pub(crate) fn send_what_is_missing(&mut self, step: &mut Step<'_>) {
        let has_committed = self.has_committed_in_term();
        let Role::Leader(leader) = &mut self.role else { return };
        let needs_round = leader.reads.needs_round() && has_committed;
        if step.is_heartbeat || needs_round {
            step.is_heartbeat = true;
            let commit_index = Some(self.commit_index).filter(|_| has_committed);
            leader.reads.begin_round(step.now, self.config.lease(), commit_index);
        } else if !step.is_news {
            return;
        }
        let Self { role, log, config, snapshots, hard_state, commit_index, .. } = self;
        let Role::Leader(leader) = role else { return };
        let (term, round) = (hard_state.current_term, leader.reads.round);
        let sender = Sender { term, round, log, config, snapshots, commit_index: *commit_index };
        let mut last_batch = None;
        for (&follower, progress) in leader.progress.iter_mut() {
            sender.send_to(step, follower, progress, &mut last_batch);
        }
        self.maybe_hand_over(step);
        if self.is_alone() {
            self.confirm_rounds(step);
        }
    }

    /// Refuses a second leader of a term, before anything changes.
    pub(crate) fn admit_leader(&self, term: Term, leader_id: ServerId) -> Result<(), StepError> {
        let known = self.leader_hint().filter(|_| term == self.current_term());
        match known.filter(|&known| known != leader_id) {
            Some(known) => Err(StepError::TwoLeaders { term, known, other: leader_id }),
            None => Ok(()),
        }
    }

    /// Refuses a snapshot that contradicts what is committed here.
    pub(crate) fn admit_snapshot(&self, request: &InstallSnapshotRequest) -> Result<(), StepError> {
        let last = request.id.last;
        let commit_index = self.commit_index;
        let is_current = request.term >= self.current_term();
        // Terms never decrease along a log, and every leader's holds what is committed here.
        let is_other = if last.index <= commit_index {
            !self.log.matches(last)
        } else {
            self.log.term_at(commit_index).is_some_and(|term| last.term < term)
        };
        if is_current && is_other {
            let leader = request.leader_id;
            return Err(StepError::CommittedConflict { leader, index: last.index, commit_index });
        }
        Ok(())
    }

    /// Refuses what only a broken cluster could say, before anything changes.
    pub(crate) fn admit_append_entries(
        &self,
        request: &AppendEntriesRequest,
    ) -> Result<(), StepError> {
        let &AppendEntriesRequest { term, leader_id, .. } = request;
        if term < self.current_term() {
            return Ok(());
        }
        self.admit_leader(term, leader_id)?;
        // Index and term alone decide what is new, which is sound only if they name one payload.
        if let Some(log_id) = self.log.first_other_payload(&request.entries) {
            return Err(StepError::PayloadConflict { leader: leader_id, log_id });
        }
        // Every leader has every committed entry (Leader Completeness), so the first place where it
        // differs from this log is past the commit index.
        let prev = LogId::new(request.prev_log_term, request.prev_log_index);
        let first_difference = if self.log.matches(prev) {
            let new = self.log.first_new(&request.entries);
            new.map(|place| request.entries[place].index)
        } else {
            Some(prev.index)
        };
        match first_difference.filter(|&index| index <= self.commit_index) {
            Some(index) => {
                let commit_index = self.commit_index;
                Err(StepError::CommittedConflict { leader: leader_id, index, commit_index })
            }
            None => Ok(()),
        }
    }

    /// Refuses an acknowledgement of what was never sent.
    pub(crate) fn admit_append_response(
        &self,
        response: &AppendEntriesResponse,
    ) -> Result<(), StepError> {
        let AppendEntriesResult::Success { match_index } = response.result else { return Ok(()) };
        let is_ours = response.term == self.current_term() && self.role.is_leader();
        if is_ours && match_index > self.log.last_index() {
            let reason = "it acknowledges more than the leader has";
            return Err(StepError::Malformed { message: "AppendEntriesResponse", reason });
        }
        Ok(())
    }

    /// Takes a leader's entries if they fit onto this log.
    ///
    /// Source: Raft §5.3; Fig. 2, AppendEntries RPC, receiver steps 1 to 5.
    pub(crate) fn handle_append_entries_request(
        &mut self,
        step: &mut Step<'_>,
        request: AppendEntriesRequest,
    ) {
        let AppendEntriesRequest { leader_id, round, leader_commit, .. } = request;
        if !self.hear_leader(step, request.term, leader_id, round) {
            return;
        }
        let prev = LogId::new(request.prev_log_term, request.prev_log_index);
        if !self.log.matches(prev) {
            let prev_log_index = prev.index;
            let hint = self.log.conflict_hint(prev_log_index);
            let result = AppendEntriesResult::Conflict { prev_log_index, hint };
            let response = AppendEntriesResponse { term: self.current_term(), round, result };
            return step.send(leader_id, Message::AppendEntriesResponse(response));
        }

        let match_index = request.last_index();
        let is_empty = request.entries.is_empty();
        // Only a real difference cuts the log: an old request, delivered late, holds nothing new and
        // must not delete what came after it.
        if let Some(place) = self.log.first_new(&request.entries) {
            let entries = match place {
                0 => request.entries,
                _ => request.entries.slice(place..request.entries.len()),
            };
            self.append_from_leader(step, entries);
        }
        // What lies past the last entry of this request may be an old leader's, and is not committed
        // by this one's word (Fig. 2: "min(leaderCommit, index of last new entry)").
        self.advance_commit_index(step, leader_commit.min(match_index));
        // What only tells of a commit needs no answer of its own: this round has one already.
        let Role::Follower(follower) = &mut self.role else { return };
        let is_answered = follower.answered.replace(round) == Some(round);
        if !is_answered || !is_empty {
            self.acknowledge(step, leader_id, round, match_index);
        }
    }

    /// Puts a leader's entries where they belong, and uses the configurations among them.
    fn append_from_leader(&mut self, step: &mut Step<'_>, entries: Entries) {
        let Some(first) = entries.first().map(|entry| entry.index) else { return };
        if first <= self.log.last_index() {
            self.forget_configurations(step, first.previous());
        }
        step.save_entries(first);
        let is_change = |entry: &Entry| matches!(entry.payload, Payload::Configuration(_));
        if !entries.iter().any(is_change) {
            return self.log.append_new(entries);
        }
        self.log.append_new(entries.clone());
        for entry in &entries {
            if let Payload::Configuration(configuration) = &entry.payload {
                self.adopt(step, entry.index, configuration.clone());
            }
        }
    }

    /// Follows whoever leads this term. False if the sender's term is over: it is told so.
    pub(crate) fn hear_leader(
        &mut self,
        step: &mut Step<'_>,
        term: Term,
        leader: ServerId,
        round: Round,
    ) -> bool {
        if term < self.current_term() {
            // The old leader learns of the new term, and steps down.
            let (term, result) = (self.current_term(), AppendEntriesResult::StaleTerm);
            let response = AppendEntriesResponse { term, round, result };
            step.send(leader, Message::AppendEntriesResponse(response));
            return false;
        }
        match &mut self.role {
            // A follower waits on.
            Role::Follower(follower) if follower.leader == Some(leader) => {
                follower.heard_at = step.now;
                self.fail_forwarded_reads(step, false);
            }
            // The only leader of this term has spoken: a candidate has lost (§5.2).
            _ => self.become_follower(step, Some(leader)),
        }
        // The time it waits was chosen at random when it last waited for an election.
        self.deadline = step.now + self.election_timeout;
        true
    }

    /// Tells the leader that everything up to `match_index` is here, once it is durable.
    pub(crate) fn acknowledge(
        &mut self,
        step: &mut Step<'_>,
        leader: ServerId,
        round: Round,
        match_index: Index,
    ) {
        let (term, result) = (self.current_term(), AppendEntriesResult::Success { match_index });
        let message = Message::AppendEntriesResponse(AppendEntriesResponse { term, round, result });
        let is_saved = !step.has_save()
            && !self.durability.is_hard_state_pending()
            && match_index <= self.durability.durable_index();
        if is_saved {
            step.send(leader, message);
        } else {
            step.send_when_saved(leader, message);
        }
    }

    /// Learns from a follower's answer, sends it what it lacks, and commits what a majority holds.
    ///
    /// Source: Raft §5.3, §5.4.2.
    pub(crate) fn handle_append_entries_response(
        &mut self,
        step: &mut Step<'_>,
        follower: ServerId,
        response: AppendEntriesResponse,
    ) {
        // An answer to an earlier term is about a log that may have changed since.
        if response.term < self.current_term() || response.result == AppendEntriesResult::StaleTerm
        {
            // Nor does its round say anything: rounds are counted anew in each term.
            return;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        let round = leader.reads.round;
        let Some(progress) = leader.progress.get_mut(&follower) else { return };
        progress.heard(step.now, response.round);
        match response.result {
            AppendEntriesResult::Success { match_index } => {
                progress.succeeded(match_index, round);
                if match_index > self.commit_index {
                    self.maybe_advance_commit_index(step);
                }
            }
            AppendEntriesResult::Conflict { prev_log_index, hint }
                if progress.contradicts(prev_log_index, hint.index) =>
            {
                // Going back would trust the wrong disk. It may be a late answer, which is harmless;
                // if it cannot be, the follower came back without its log.
                progress.has_lost_log |= progress.is_proof_of_loss(response.round);
                self.count_refusal(FORGOTTEN_ENTRIES);
            }
            AppendEntriesResult::Conflict { prev_log_index, hint }
                if progress.is_news(prev_log_index) =>
            {
                let ConflictHint { term, index } = hint;
                let before = prev_log_index.previous();
                // If the leader has the follower's conflicting term, the logs may match up to the
                // leader's last entry of it; else nothing of that term can match.
                let next_index = match term {
                    Some(term) => {
                        let last = self.log.last_index_with_term_at_most(term, before);
                        if self.log.term_at(last) == Some(term) { last.next() } else { index }
                    }
                    None => index,
                };
                // Whatever the hint says, go back at least one place.
                progress.conflicted(next_index.min(prev_log_index));
            }
            AppendEntriesResult::Conflict { .. } | AppendEntriesResult::StaleTerm => {}
        }
        self.confirm_rounds(step);
        step.replicate();
    }

    /// Commits what a majority holds, if this term made it.
    ///
    /// Source: Raft §5.4.2: "Raft never commits log entries from previous terms by counting
    /// replicas" (Figure 8 shows how that loses them).
    pub(crate) fn maybe_advance_commit_index(&mut self, step: &mut Step<'_>) {
        let Role::Leader(leader) = &self.role else { return };
        // A leader counts its own copy like any other: once it is durable.
        let (me, durable_index) = (self.config.server_id, self.durability.durable_index());
        let held = |voter| match leader.progress.get(&voter) {
            _ if voter == me => durable_index,
            Some(progress) => progress.counted_index(),
            None => Index::ZERO,
        };
        let index = self.members.latest().committed_index(held);
        if index > self.commit_index && self.log.term_at(index) == Some(self.current_term()) {
            self.advance_commit_index(step, index);
        }
    }

    pub(crate) fn advance_commit_index(&mut self, step: &mut Step<'_>, index: Index) {
        if index <= self.commit_index {
            return;
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.uncommitted_bytes -= match self.log.last_index() {
                last if last == index => leader.uncommitted_bytes,
                _ => {
                    let committed = self.log.from(self.commit_index.next());
                    let committed = committed.take_while(|entry| entry.index <= index);
                    committed.map(Entry::size_bytes).sum()
                }
            };
        }
        let before = std::mem::replace(&mut self.commit_index, index);
        self.snapshots.committed(index);
        step.push(Effect::NotifyCommit { index });
        step.replicate();
        self.maybe_apply(step);
        self.maybe_finish_change(step, before);
    }

    /// Hands committed entries to the state machine, once they are durable here too: a state machine
    /// that keeps its own files must never be ahead of the log.
    pub(crate) fn maybe_apply(&mut self, step: &mut Step<'_>) {
        if self.applying >= self.commit_index && !self.is_snapshot_due() {
            return;
        }
        // What this very step appended or installed is in no save yet, so it cannot be durable.
        let unsaved = step.entries_from.unwrap_or(Index(u64::MAX));
        let installed = step.compacted.filter(|_| step.is_install).map(|last| last.index);
        let unsaved = unsaved.min(installed.unwrap_or(unsaved));
        let durable = self.durability.durable_index().min(unsaved.previous());
        if !self.maybe_restore(step, durable) {
            return;
        }
        let through = self.commit_index.min(durable);
        while self.applying < through {
            if self.is_snapshot_due() {
                // The state machine comes to rest first: its sessions are then as of one entry.
                if !self.applies.is_empty() {
                    return;
                }
                self.take_snapshot(step);
            }
            let next = self.applying.next();
            let entries = self.log.stretch(next, self.stop_at(through));
            self.apply(step, entries);
            assert!(self.applying >= next, "what was handed out is not handed out again");
        }
        if self.is_snapshot_due() && self.applies.is_empty() {
            self.take_snapshot(step);
        }
    }

    /// Where to stop handing out, so that a snapshot by policy is of one place on every server, as long
    /// as their state machines keep up: a transfer then goes on when another server leads.
    fn stop_at(&self, through: Index) -> Index {
        let policy = self
            .config
            .snapshot_entries
            .map(|entries| Index(self.snapshots.last_asked().0.saturating_add(entries)));
        policy.filter(|&due| due > self.applying).map_or(through, |due| due.min(through))
    }

    /// The other half of a planted bug: what a server finds in its log when it starts is new to it.
    #[cfg(feature = "defects")]
    fn forget_repetition(&self, known: Known, index: Index) -> Known {
        use crate::defect::Defect;

        let forgets = self.config.has_defect(Defect::LastWriterWinsOnRestart)
            && index <= self.recovered_index
            && known != Known::Finished(ClientResult::SessionExpired);
        if forgets { Known::New } else { known }
    }

    /// Hands a stretch of the log to the state machine.
    fn apply(&mut self, step: &mut Step<'_>, entries: Entries) {
        let mut skipped = Vec::new();
        let mut has_requests = false;
        for entry in &entries {
            let log_id = entry.log_id();
            match &entry.payload {
                Payload::Noop | Payload::Proposal(_) | Payload::Configuration(_) => {}
                Payload::Command(request) => {
                    let key = request.key();
                    // A second copy of a request, by a leader that did not know of the first.
                    let known = self.sessions.start(request, log_id);
                    #[cfg(feature = "defects")]
                    let known = self.forget_repetition(known, entry.index);
                    let is_new = known == Known::New;
                    has_requests |= is_new;
                    if !is_new {
                        skipped.push(entry.index);
                    }
                    let recovered_index = self.recovered_index;
                    let Role::Leader(leader) = &mut self.role else { continue };
                    leader.in_flight.remove(&key);
                    if let Known::Finished(result) = known {
                        let is_asked_again = leader.asked_again.remove(&key);
                        if entry.index > recovered_index || is_asked_again {
                            Self::answer(step, key.0, key.2, result);
                        }
                    }
                }
                &Payload::RegisterClient { client_id, registration, sessions_max } => {
                    let index = entry.index;
                    let session =
                        self.sessions.register(client_id, registration, sessions_max, index);
                    if let Some(session) = session
                        && self.role.is_leader()
                        && index > self.recovered_index
                    {
                        let result = ClientResult::Registered { session };
                        Self::answer(step, client_id, registration, result);
                    }
                }
            }
        }
        let Some(through) = entries.last().map(|entry| entry.index) else { return };
        self.applying = through;
        let apply = Apply { entries, skipped, through };
        if self.config.synchronous_driver && self.applies.is_empty() && !has_requests {
            // Done before anyone could ask.
            self.last_applied = through;
        } else {
            self.applies.push_back(PendingApply::Commands(apply.clone()));
        }
        step.push(Effect::Apply(apply));
    }
}

/// What a leader needs to know for sending, besides its followers.
struct Sender<'a> {
    term: Term,
    round: Round,
    log: &'a Log,
    config: &'a Config,
    snapshots: &'a Snapshots,
    commit_index: Index,
}

/// The entries that one follower was just sent: another one often lacks the same.
struct Batch {
    first: Index,
    room: (u64, usize),
    entries: Entries,
    bytes: usize,
}

impl Sender<'_> {
    /// Sends a follower what it lacks, as far as its limits allow; with a heartbeat, something at least.
    fn send_to(
        &self,
        step: &mut Step<'_>,
        follower: ServerId,
        progress: &mut Progress,
        last_batch: &mut Option<Batch>,
    ) {
        let mut was_sent = false;
        // A follower that has lost its log is kept from calling elections, and gets nothing else.
        while !progress.has_lost_log
            && (progress.next_index <= self.log.last_index() || progress.is_in_snapshot())
        {
            if progress.needs_snapshot(self.log.start().index) {
                self.snapshots.begin_transfer(progress);
            }
            if let ProgressState::Snapshot(transfer) = &mut progress.state {
                let bytes_max = self.config.append_bytes_max;
                let leader_id = self.config.server_id;
                let chunk = transfer.next_chunk(self.term, leader_id, self.round, bytes_max);
                was_sent = chunk.is_some();
                let message = |chunk| Message::InstallSnapshotRequest(Box::new(chunk));
                chunk.into_iter().for_each(|chunk| step.send(follower, message(chunk)));
                break;
            }
            let room = progress.room(self.config);
            if room.0 == 0 {
                break;
            }
            let first = progress.next_index;
            let batch = match last_batch {
                Some(batch) if (batch.first, batch.room) == (first, room) => batch,
                _ => {
                    let (entries, bytes) = self.log.batch(first, room.0, room.1);
                    last_batch.insert(Batch { first, room, entries, bytes })
                }
            };
            self.send_append_entries(step, follower, progress, batch.entries.clone());
            let last_index = first.previous() + batch.entries.len() as u64;
            progress.sent(last_index, batch.bytes);
            // Whoever sends on without end says nothing else any more, and fills the memory.
            let is_over = || progress.room(self.config).0 == 0;
            assert!(progress.next_index > first || is_over(), "what was sent is not sent again");
            was_sent = true;
        }
        let is_uninformed = self.config.announce_commits
            && progress.told_commit < self.commit_index
            && progress.state == ProgressState::Replicate;
        if !was_sent && (step.is_heartbeat || is_uninformed) {
            // Nothing new, or too much under way: an empty request also finds out what was lost.
            self.send_append_entries(step, follower, progress, Entries::new());
        }
    }

    fn send_append_entries(
        &self,
        step: &mut Step<'_>,
        to: ServerId,
        progress: &mut Progress,
        entries: Entries,
    ) {
        // Behind what is compacted there is nothing to ask about; its end will do.
        let prev_log_index = progress.next_index.previous().max(self.log.start().index);
        let prev_log_term = self.log.term_at(prev_log_index).expect("next_index is in the log");
        progress.told_commit = self.commit_index;
        let request = AppendEntriesRequest {
            term: self.term,
            leader_id: self.config.server_id,
            prev_log_index,
            prev_log_term,
            entries,
            leader_commit: self.commit_index,
            round: self.round,
        };
        step.send(to, Message::AppendEntriesRequest(request));
    }
}
