//! One server on a workbench: server 1 of a cluster whose other servers are played by the test. What
//! a step asks for is given back as text in the one notation, saves first confirmed at once.
#![allow(dead_code, reason = "each suite uses its own part of it")]

use std::time::Duration;

use bytes::Bytes;
use raft_core::{
    Address, AppendEntriesRequest, AppendEntriesResponse, AppendEntriesResult, ClientId,
    ClientRequest, ClusterId, Config, ConflictHint, Effect, Effects, Entry, Envelope, HardState,
    Index, Input, Message, Payload, Progress, Recovered, Role, Round, Save, SequenceNumber, Server,
    ServerId, StepError, Term, Timestamp, VoteRequest, VoteResponse,
};

/// An index and a term, in the order in which `7@2` is read.
pub(crate) type At = (u64, u64);

#[derive(Clone, Debug)]
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) now: Timestamp,
    /// Saves are confirmed by [`Bench::saved`] only.
    pub(crate) holds_saves: bool,
    round: Round,
    /// Saves asked for and not confirmed.
    pub(crate) unsaved: Vec<Save>,
    /// Every command applied, as text.
    pub(crate) applied: Vec<String>,
}

impl Bench {
    /// Server 1 of `servers`, a follower that has joined, with entries of these terms in its log.
    pub(crate) fn follower(servers: u64, term: u64, log: &[u64]) -> Self {
        Self::with(servers, term, None, entries(1, log), |_| {})
    }

    pub(crate) fn with(
        servers: u64,
        term: u64,
        voted_for: Option<u64>,
        entries: Vec<Entry>,
        change: impl Fn(&mut Config),
    ) -> Self {
        let mut config = Config::new(ServerId(1), (1..=servers).map(ServerId));
        // The plain protocol of the paper, unless the test asks for more.
        config.pre_vote = false;
        config.check_quorum = false;
        change(&mut config);
        let voted_for = voted_for.map(ServerId);
        let hard_state = HardState { current_term: Term(term), voted_for };
        let mut bench = Self {
            server: Server::new(config, Recovered { hard_state, entries, ..Recovered::default() })
                .unwrap(),
            now: Timestamp::ZERO,
            holds_saves: false,
            round: Round(0),
            unsaved: Vec::new(),
            applied: Vec::new(),
        };
        bench.step(Input::NotifyJoinedService).unwrap();
        bench
    }

    /// A candidate of the term after `term`, which has asked for votes.
    pub(crate) fn candidate(servers: u64, term: u64, log: &[u64]) -> Self {
        let mut bench = Self::follower(servers, term, log);
        bench.elapse();
        bench
    }

    /// The leader of the term after `term`, whose first entry is durable at home.
    pub(crate) fn leader(servers: u64, term: u64, log: &[u64]) -> Self {
        let mut bench = Self::candidate(servers, term, log);
        bench.win();
        bench
    }

    /// Gives a candidate the votes it needs.
    pub(crate) fn win(&mut self) {
        let term = self.server.current_term().0;
        for voter in 2.. {
            if self.server.role().is_leader() {
                return;
            }
            self.receive(voter, vote(term, true));
        }
    }

    /// Takes one input; what comes of it, and of its save if saves are not held.
    pub(crate) fn step(&mut self, input: Input) -> Result<Vec<String>, StepError> {
        let mut effects = Effects::new();
        self.server.step(self.now, input, &mut effects)?;
        let mut lines = Vec::new();
        let effects: Vec<_> = effects.drain().collect();
        for effect in &effects {
            lines.push(effect.to_string());
        }
        for effect in effects {
            match effect {
                Effect::Save(save) => self.unsaved.push(save),
                Effect::Apply(apply) => {
                    self.applied.extend(apply.commands().map(ToString::to_string));
                    let responses = vec![Bytes::from_static(b"done"); apply.requests().count()];
                    lines.extend(self.step(Input::Applied { through: apply.through, responses })?);
                }
                Effect::TakeSnapshot { through } => {
                    let data = Bytes::from(self.applied.join(", "));
                    lines.extend(self.step(Input::SnapshotTaken { through, data })?);
                }
                Effect::RestoreSnapshot(snapshot) => {
                    let text = String::from_utf8_lossy(snapshot.data()).into_owned();
                    self.applied = text.split(", ").map(str::to_owned).collect();
                    let through = snapshot.last().index;
                    lines.extend(self.step(Input::Applied { through, responses: Vec::new() })?);
                }
                Effect::Send(_)
                | Effect::NotifyElectedLeader { .. }
                | Effect::NotifyCommit { .. }
                | Effect::NotifyConfiguration { .. }
                | Effect::ReadReady { .. }
                | Effect::ReadFailed { .. }
                | Effect::NotifyTransferAborted { .. } => {}
            }
        }
        if !self.holds_saves && !self.unsaved.is_empty() {
            lines.extend(self.saved());
        }
        Ok(lines)
    }

    /// All saves are durable now.
    pub(crate) fn saved(&mut self) -> Vec<String> {
        let number = self.unsaved.last().expect("a save is under way").number;
        self.unsaved.clear();
        self.step(Input::Saved(number)).unwrap()
    }

    /// The oldest save is durable now.
    pub(crate) fn saved_one(&mut self) -> Vec<String> {
        let number = self.unsaved.remove(0).number;
        self.step(Input::Saved(number)).unwrap()
    }

    /// A message of server `from` arrives. Each request of a leader is of another round of heartbeats,
    /// so that each is answered.
    pub(crate) fn receive(&mut self, from: u64, mut message: Message) -> Vec<String> {
        if let Message::AppendEntriesRequest(request) = &mut message {
            self.round = self.round.next();
            request.round = self.round;
        }
        self.step(Input::Message(envelope(from, message))).unwrap()
    }

    /// A message of server `from` arrives and is refused. Nothing changes but the count.
    pub(crate) fn refuse(&mut self, from: u64, message: Message) -> StepError {
        self.refuse_envelope(envelope(from, message))
    }

    pub(crate) fn refuse_envelope(&mut self, envelope: Envelope) -> StepError {
        self.refuse_input(Input::Message(envelope))
    }

    pub(crate) fn refuse_input(&mut self, input: Input) -> StepError {
        let before = self.facts();
        let mut effects = Effects::new();
        let error = self.server.step(self.now, input, &mut effects).unwrap_err();
        assert!(effects.is_empty(), "a refused input has no effect: {effects:?}");
        assert_eq!(self.facts(), before, "a refused input changes nothing");
        error
    }

    /// Everything of the server that a refusal must not change.
    fn facts(&self) -> String {
        let mut status = self.server.status();
        status.refusals.clear();
        // The time goes on, whatever becomes of an input.
        status.now = Timestamp::ZERO;
        format!("{status:?} {:?} {:?}", self.server.next_timeout(), self.server.log())
    }

    /// A client's request arrives.
    pub(crate) fn request(&mut self, client: u64, number: u64, command: &str) -> Vec<String> {
        self.step(Input::Message(client_envelope(client, number, command))).unwrap()
    }

    /// The timer elapses at the time it was set to.
    pub(crate) fn elapse(&mut self) -> Vec<String> {
        self.now = self.server.next_timeout().unwrap();
        self.step(Input::TimerElapsed).unwrap()
    }

    /// The timer of the driver goes off after this time, whatever the server wanted.
    pub(crate) fn elapse_after(&mut self, wait: Duration) -> Vec<String> {
        self.now = self.now + wait;
        self.step(Input::TimerElapsed).unwrap()
    }

    pub(crate) fn progress(&self, follower: u64) -> Progress {
        match self.server.role() {
            Role::Leader(leader) => leader.progress[&ServerId(follower)].clone(),
            other => panic!("a {other} has no followers"),
        }
    }

    pub(crate) fn term(&self) -> u64 {
        self.server.current_term().0
    }

    pub(crate) fn voted_for(&self) -> Option<u64> {
        self.server.hard_state().voted_for.map(|id| id.0)
    }

    pub(crate) fn role(&self) -> &'static str {
        self.server.role().name()
    }

    pub(crate) fn commit_index(&self) -> u64 {
        self.server.commit_index().0
    }

    /// The terms of the log.
    pub(crate) fn log(&self) -> Vec<u64> {
        self.server.log().iter().map(|entry| entry.term.0).collect()
    }
}

pub(crate) fn envelope(from: u64, message: Message) -> Envelope {
    Envelope {
        cluster_id: ClusterId::default(),
        from: ServerId(from).into(),
        to: ServerId(1).into(),
        message,
    }
}

pub(crate) fn client_envelope(client: u64, number: u64, command: &str) -> Envelope {
    let message = Message::ClientRequest(request(client, number, command));
    Envelope {
        cluster_id: ClusterId::default(),
        from: Address::Client(ClientId(client)),
        to: ServerId(1).into(),
        message,
    }
}

pub(crate) fn request(client: u64, number: u64, command: &str) -> ClientRequest {
    let command = Bytes::copy_from_slice(command.as_bytes());
    ClientRequest::new(ClientId(client), SequenceNumber(number), command)
}

/// Entries without a command, of these terms, from `first` on.
pub(crate) fn entries(first: u64, terms: &[u64]) -> Vec<Entry> {
    let entry = |(place, &term)| Entry {
        index: Index(first.saturating_add(place)),
        term: Term(term),
        payload: Payload::Noop,
    };
    (0..).zip(terms).map(entry).collect()
}

/// An entry with a command of client 1, whose number is given.
pub(crate) fn command((index, term): At, number: u64, text: &str) -> Entry {
    let payload = Payload::Command(request(1, number, text).into());
    Entry { index: Index(index), term: Term(term), payload }
}

pub(crate) fn vote_request(term: u64, candidate: u64, last: At) -> Message {
    Message::VoteRequest(VoteRequest {
        term: Term(term),
        candidate_id: ServerId(candidate),
        last_log_index: Index(last.0),
        last_log_term: Term(last.1),
        is_transfer: false,
    })
}

pub(crate) fn vote(term: u64, vote_granted: bool) -> Message {
    Message::VoteResponse(VoteResponse { term: Term(term), vote_granted })
}

/// What a leader sends: entries of these terms behind `prev`.
pub(crate) fn append(term: u64, leader: u64, prev: At, terms: &[u64], commit: u64) -> Message {
    append_all(term, leader, prev, entries(prev.0.saturating_add(1), terms), commit)
}

pub(crate) fn append_all(
    term: u64,
    leader: u64,
    prev: At,
    entries: Vec<Entry>,
    commit: u64,
) -> Message {
    Message::AppendEntriesRequest(AppendEntriesRequest {
        term: Term(term),
        leader_id: ServerId(leader),
        prev_log_index: Index(prev.0),
        prev_log_term: Term(prev.1),
        entries: entries.into(),
        leader_commit: Index(commit),
        round: Round(0),
    })
}

fn answer(term: u64, result: AppendEntriesResult) -> Message {
    Message::AppendEntriesResponse(AppendEntriesResponse {
        term: Term(term),
        result,
        round: Round(0),
    })
}

pub(crate) fn success(term: u64, match_index: u64) -> Message {
    answer(term, AppendEntriesResult::Success { match_index: Index(match_index) })
}

/// A refusal of `prev`; the hint is an index and perhaps a term.
pub(crate) fn conflict(term: u64, prev: u64, index: u64, hint: Option<u64>) -> Message {
    let hint = ConflictHint { term: hint.map(Term), index: Index(index) };
    answer(term, AppendEntriesResult::Conflict { prev_log_index: Index(prev), hint })
}

pub(crate) fn stale(term: u64) -> Message {
    answer(term, AppendEntriesResult::StaleTerm)
}

/// No effect at all.
pub(crate) const NOTHING: [&str; 0] = [];
