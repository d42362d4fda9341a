//! Everything that servers and clients say to each other.
//!
//! Guarantees: a message is data; nothing here acts.
//! Elsewhere:  its bytes are in [`crate::codec`], who carries it in [`crate::cluster_manager`].

use std::fmt;

use bytes::Bytes;

use crate::entries::Entries;
use crate::snapshot::SnapshotId;
use crate::types::{
    ClientId, ClusterId, Index, LogId, ReadId, Round, SequenceNumber, ServerId, SessionId, Term,
};

/// Who sends, or who is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// One server.
    Server(ServerId),
    /// One client.
    Client(ClientId),
    /// Every server of the cluster except the sender.
    AllServers,
}

impl Address {
    /// What [`Address::routing_name`] calls all servers.
    pub const ALL_SERVERS_NAME: &str = "all-servers";

    /// The address as a word, for carriers that route by text and for names of files:
    /// `server-3`, `client-9`, `all-servers`.
    ///
    /// ```
    /// use raft_core::{Address, ServerId};
    /// assert_eq!(Address::Server(ServerId(3)).routing_name(), "server-3");
    /// ```
    #[must_use]
    pub fn routing_name(self) -> String {
        match self {
            Self::Server(server) => format!("server-{}", server.0),
            Self::Client(client) => format!("client-{}", client.0),
            Self::AllServers => Self::ALL_SERVERS_NAME.to_owned(),
        }
    }
}

impl From<ServerId> for Address {
    fn from(server: ServerId) -> Self {
        Self::Server(server)
    }
}

impl From<ClientId> for Address {
    fn from(client: ClientId) -> Self {
        Self::Client(client)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(server) => server.fmt(f),
            Self::Client(client) => client.fmt(f),
            Self::AllServers => f.write_str("all"),
        }
    }
}

/// A message with its sender and its receiver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// The cluster both belong to.
    pub cluster_id: ClusterId,
    /// Who sends.
    pub from: Address,
    /// Who is meant.
    pub to: Address,
    /// What is said.
    pub message: Message,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// A server asks whether it would be elected, before it disturbs anyone (dissertation §9.6).
    PreVoteRequest(VoteRequest),
    /// A server answers a pre-candidate.
    PreVoteResponse(VoteResponse),
    /// A candidate asks for a vote.
    VoteRequest(VoteRequest),
    /// A server answers a candidate.
    VoteResponse(VoteResponse),
    /// A leader replicates entries, or only shows that it lives.
    AppendEntriesRequest(AppendEntriesRequest),
    /// A follower answers its leader.
    AppendEntriesResponse(AppendEntriesResponse),
    /// A leader sends a part of a snapshot to a follower that is too far behind (Raft §7). In a box,
    /// because it is rare and large: all other messages are moved faster for it.
    InstallSnapshotRequest(Box<InstallSnapshotRequest>),
    /// A follower says how much of a snapshot it has.
    InstallSnapshotResponse(InstallSnapshotResponse),
    /// A leader asks a follower to take its place at once (dissertation §3.10).
    TimeoutNow(TimeoutNow),
    /// A server asks the leader how far it has to apply before it may serve a read
    /// (dissertation §6.4).
    ReadIndexRequest(ReadIndexRequest),
    /// The leader answers.
    ReadIndexResponse(ReadIndexResponse),
    /// A client asks for a session (dissertation §6.3).
    RegisterClient(RegisterClient),
    /// A client asks for a command to be replicated and applied.
    ClientRequest(ClientRequest),
    /// A server answers a client.
    ClientResponse(ClientResponse),
}

/// A candidate asks for a vote (the paper's RequestVote; Raft §5.2), or a pre-candidate asks whether
/// it would get one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VoteRequest {
    /// The candidate's term. A pre-candidate's is the one it would start, not the one it is in.
    pub term: Term,
    /// Who asks.
    pub candidate_id: ServerId,
    /// The index of the candidate's last entry; 0 if its log is empty.
    pub last_log_index: Index,
    /// The term of the candidate's last entry; 0 if its log is empty.
    pub last_log_term: Term,
    /// True if the leader itself asked for this election, so that no one has to protect it
    /// (dissertation §4.2.3).
    pub is_transfer: bool,
}

/// A server answers a candidate (Raft §5.2).
///
/// The voter is the sender of the envelope: votes are counted by voter, never by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VoteResponse {
    /// The voter's term, for the candidate to update itself. In a granted pre-vote it is the term
    /// that was asked for, in which nobody is yet.
    pub term: Term,
    /// True if the candidate received this term's vote of the sender.
    pub vote_granted: bool,
}

/// A leader replicates entries; without entries it is a heartbeat (Raft §5.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppendEntriesRequest {
    /// The leader's term.
    pub term: Term,
    /// Who leads, so that followers can redirect clients.
    pub leader_id: ServerId,
    /// The index of the entry just before `entries`; 0 if they start the log.
    pub prev_log_index: Index,
    /// The term of the entry at `prev_log_index`; 0 if they start the log.
    pub prev_log_term: Term,
    /// Contiguous from `prev_log_index + 1`, with terms that never decrease.
    pub entries: Entries,
    /// The leader's commit index.
    pub leader_commit: Index,
    /// The leader's round of heartbeats; the answer repeats it, so that the leader knows since when
    /// it is sure to lead (dissertation §6.4).
    pub round: Round,
}

impl AppendEntriesRequest {
    /// The index of the last entry that the request vouches for: its last one, or the one before.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.prev_log_index + self.entries.len() as u64
    }
}

/// A follower answers its leader (Raft §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppendEntriesResponse {
    /// The follower's term, for the leader to update itself.
    pub term: Term,
    /// The round of the request.
    pub round: Round,
    /// Whether the logs match, and where.
    pub result: AppendEntriesResult,
}

/// Whether a follower's log matches its leader's, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendEntriesResult {
    /// The follower holds, durably, what the leader holds up to `match_index`.
    Success {
        /// The last entry the request vouched for; not the follower's last entry, which may be an
        /// old leader's.
        match_index: Index,
    },
    /// The follower has no entry with the request's `prev_log_index` and `prev_log_term`.
    Conflict {
        /// The request's `prev_log_index`, so that a late answer is told from a new one.
        prev_log_index: Index,
        /// Where the leader should look next.
        hint: ConflictHint,
    },
    /// The request's term is over: no word about the log. `term` tells the old leader so.
    StaleTerm,
}

/// Lets a leader skip a whole term of conflicting entries in one round trip (Raft §5.3, last
/// paragraphs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConflictHint {
    /// The term of the follower's entry at `prev_log_index`; `None` if its log ends before it.
    pub term: Option<Term>,
    /// The first index the follower holds of `term`, or the first index it lacks.
    pub index: Index,
}

/// A part of a snapshot (Raft §7; Fig. 13, InstallSnapshot RPC).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstallSnapshotRequest {
    /// The leader's term.
    pub term: Term,
    /// Who leads.
    pub leader_id: ServerId,
    /// The leader's round of heartbeats, as in [`AppendEntriesRequest`].
    pub round: Round,
    /// Which snapshot: parts of another one never fit.
    pub id: SnapshotId,
    /// Where `data` stands in the snapshot, in bytes.
    pub offset: u64,
    /// The bytes from there on.
    pub data: Bytes,
}

/// A follower says how much of a snapshot it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstallSnapshotResponse {
    /// The follower's term, for the leader to update itself.
    pub term: Term,
    /// The round of the request.
    pub round: Round,
    /// Which snapshot.
    pub id: SnapshotId,
    /// The follower has all bytes before this one, and needs those from here on.
    pub offset: u64,
}

/// A leader asks a follower to start an election at once (dissertation §3.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeoutNow {
    /// The leader's term.
    pub term: Term,
    /// Who leads.
    pub leader_id: ServerId,
    /// The end of the leader's log, which takes no more entries meanwhile. A follower whose log ends
    /// elsewhere has got the message too late.
    pub last: LogId,
}

/// A server asks the leader for a read index (dissertation §6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadIndexRequest {
    /// Which read of the sender it is for.
    pub id: ReadId,
    /// True if the leader may trust its lease.
    pub is_lease_enough: bool,
}

/// The leader answers: everything up to `index` must be applied before the read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadIndexResponse {
    /// Which read.
    pub id: ReadId,
    /// `None` if the server that was asked does not lead, or leads no more.
    pub index: Option<Index>,
}

/// A client asks for a session (dissertation §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegisterClient {
    /// Who asks.
    pub client_id: ClientId,
    /// Which session of this client it would be; a retry keeps the number, a new one has a higher one.
    pub registration: SequenceNumber,
}

/// A client asks for a command to be replicated, committed and applied, exactly once however often
/// it asks (dissertation §6.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientRequest {
    /// Who asks.
    pub client_id: ClientId,
    /// Its session, if it registered.
    pub session: SessionId,
    /// Which of its requests this is; a retry keeps the number. A client counts on from one
    /// session to its next: the log tells sessions apart, but an answer names only the number.
    pub sequence_number: SequenceNumber,
    /// The client has the answers to all its requests below this one, and asks for none of them
    /// again. Of no meaning without a session: then it is the request itself.
    pub first_incomplete: SequenceNumber,
    /// What the state machine is to do, in its own encoding.
    pub command: Bytes,
}

/// What tells a request from every other.
pub(crate) type RequestKey = (ClientId, SessionId, SequenceNumber);

impl ClientRequest {
    /// A request of a client that did not register, and sends one at a time.
    #[must_use]
    pub fn new(client_id: ClientId, sequence_number: SequenceNumber, command: Bytes) -> Self {
        let (session, first_incomplete) = (SessionId::NONE, sequence_number);
        Self { client_id, session, sequence_number, first_incomplete, command }
    }

    /// Tells it from every other request.
    pub(crate) fn key(&self) -> RequestKey {
        (self.client_id, self.session, self.sequence_number)
    }

    /// The client asks for nothing below this one again.
    pub(crate) fn floor(&self) -> SequenceNumber {
        match self.session {
            SessionId::NONE => self.sequence_number,
            _ => self.first_incomplete.min(self.sequence_number),
        }
    }
}

/// A server answers a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientResponse {
    /// Who asked.
    pub client_id: ClientId,
    /// Which of its requests this answers.
    pub sequence_number: SequenceNumber,
    /// What became of it.
    pub result: ClientResult,
}

/// What became of a client's request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientResult {
    /// The command is committed and applied, at `log_id`, and will never be applied again.
    Applied {
        /// Where the command stands in the log.
        log_id: LogId,
        /// What the state machine answered, in its own encoding.
        response: Bytes,
    },
    /// This server does not lead. The request was not taken here; try `leader`.
    NotLeader {
        /// The best hint, which may be out of date.
        leader: Option<ServerId>,
    },
    /// The client has a session; its requests name it.
    Registered {
        /// Which.
        session: SessionId,
    },
    /// A later request of the same client was applied already, so this one is a late duplicate and
    /// its answer is no longer kept.
    Superseded,
    /// The session has ended, so the request is not applied from now on; it may have been before.
    SessionExpired,
    /// The leader has as much to do as it takes at a time. The request was not taken; try again later.
    Busy,
    /// The command is larger than the leader replicates; it was not taken and never will be.
    TooLarge {
        /// The size of the command, in bytes.
        command_bytes: u64,
        /// The largest size the leader takes, in bytes.
        command_bytes_max: u64,
    },
}

impl ClientResult {
    /// True if this answer leaves no doubt: the request was applied, or this copy of it never will be.
    /// `Superseded` and `SessionExpired` say nothing of an earlier copy.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        match self {
            Self::Applied { .. }
            | Self::Registered { .. }
            | Self::NotLeader { .. }
            | Self::Busy
            | Self::TooLarge { .. } => true,
            Self::Superseded | Self::SessionExpired => false,
        }
    }
}

/// No term or index of a message reaches this, nor the term a server starts with. It leaves room to count on for longer than any
/// cluster lives, so arithmetic on what others say cannot overflow.
pub(crate) const ABSURD: u64 = 1 << 60;

impl Envelope {
    /// Checks that the message is one that a correct server or client could have sent.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in a few words.
    pub fn check(&self) -> Result<(), &'static str> {
        let require = |holds: bool, reason| if holds { Ok(()) } else { Err(reason) };
        match &self.message {
            Message::PreVoteRequest(request) | Message::VoteRequest(request) => {
                let VoteRequest { term, candidate_id, last_log_index, last_log_term, .. } = request;
                require((1..ABSURD).contains(&term.0), "no such term")?;
                require(
                    self.from == Address::Server(*candidate_id),
                    "the candidate is not the sender",
                )?;
                check_log_id(LogId::new(*last_log_term, *last_log_index))?;
                require(last_log_term < term, "a candidate's term is above its log's")
            }
            // A server that never saw a term may refuse to help against a leader it has forgotten.
            Message::PreVoteResponse(VoteResponse { term: Term(0), vote_granted: false }) => Ok(()),
            Message::PreVoteResponse(VoteResponse { term, .. })
            | Message::VoteResponse(VoteResponse { term, .. }) => {
                require((1..ABSURD).contains(&term.0), "no such term")
            }
            Message::AppendEntriesRequest(request) => {
                let &AppendEntriesRequest { term, leader_id, leader_commit, .. } = request;
                require((1..ABSURD).contains(&term.0), "no such term")?;
                require(self.from == Address::Server(leader_id), "the leader is not the sender")?;
                require(leader_commit.0 < ABSURD, "no such index")?;
                let mut last = LogId::new(request.prev_log_term, request.prev_log_index);
                check_log_id(last)?;
                for entry in &request.entries {
                    require(entry.index == last.index.next(), "its entries are not contiguous")?;
                    require(entry.term >= last.term, "the terms of its entries decrease")?;
                    last = entry.log_id();
                    check_log_id(last)?;
                }
                require(last.term <= term, "its entries are of a later term than itself")
            }
            Message::AppendEntriesResponse(AppendEntriesResponse { term, result, .. }) => {
                require((1..ABSURD).contains(&term.0), "no such term")?;
                match *result {
                    AppendEntriesResult::Success { match_index } => {
                        require(match_index.0 < ABSURD, "no such index")
                    }
                    AppendEntriesResult::Conflict { prev_log_index, hint } => {
                        require(prev_log_index.0 < ABSURD, "no such index")?;
                        require((1..ABSURD).contains(&hint.index.0), "no such index in its hint")?;
                        let is_term = |term: Term| (1..ABSURD).contains(&term.0);
                        require(hint.term.is_none_or(is_term), "no such term in its hint")
                    }
                    AppendEntriesResult::StaleTerm => Ok(()),
                }
            }
            Message::InstallSnapshotRequest(request) => {
                let InstallSnapshotRequest { term, leader_id, id, offset, .. } = **request;
                require((1..ABSURD).contains(&term.0), "no such term")?;
                require(self.from == Address::Server(leader_id), "the leader is not the sender")?;
                check_log_id(id.last)?;
                require(id.last.index > Index::ZERO, "its snapshot stands for nothing")?;
                require(id.last.term <= term, "its snapshot is of a later term than itself")?;
                let end = offset.checked_add(request.data.len() as u64);
                require(
                    end.is_some_and(|end| end <= id.size_bytes),
                    "it is past the snapshot's end",
                )?;
                require((1..ABSURD).contains(&id.size_bytes), "no such snapshot")
            }
            Message::InstallSnapshotResponse(response) => {
                let &InstallSnapshotResponse { term, id, offset, .. } = response;
                require((1..ABSURD).contains(&term.0), "no such term")?;
                require(offset < id.size_bytes, "it asks for what is past the snapshot's end")
            }
            Message::TimeoutNow(TimeoutNow { term, leader_id, last }) => {
                require((1..ABSURD).contains(&term.0), "no such term")?;
                require(self.from == Address::Server(*leader_id), "the leader is not the sender")?;
                check_log_id(*last)?;
                require(last.term <= *term, "its last entry is of a later term than itself")
            }
            Message::ReadIndexResponse(ReadIndexResponse { index, .. }) => {
                require(index.is_none_or(|index| index.0 < ABSURD), "no such index")
            }
            Message::ClientRequest(request) => {
                let is_absurd = request.session.0 >= ABSURD;
                require(!is_absurd, "no such session")
            }
            Message::ReadIndexRequest(_)
            | Message::RegisterClient(_)
            | Message::ClientResponse(_) => Ok(()),
        }
    }
}

/// An index and a term that an entry can have, or those before the first one.
pub(crate) fn check_log_id(LogId { term, index }: LogId) -> Result<(), &'static str> {
    if index.0 >= ABSURD || term.0 >= ABSURD {
        return Err("no such entry");
    }
    if (index == Index::ZERO) != (term == Term(0)) {
        return Err("only the place before the first entry has term 0");
    }
    Ok(())
}

impl Message {
    /// The term the sender is in, which a receiver must not stay behind (Raft §5.1). Client messages
    /// have none; nor has a pre-vote as long as nobody refuses it, because it speaks of a term that
    /// may never be.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        match self {
            Self::PreVoteResponse(response) if !response.vote_granted => Some(response.term),
            Self::PreVoteRequest(_) | Self::PreVoteResponse(_) => None,
            Self::VoteRequest(request) => Some(request.term),
            Self::VoteResponse(response) => Some(response.term),
            Self::AppendEntriesRequest(request) => Some(request.term),
            Self::AppendEntriesResponse(response) => Some(response.term),
            Self::InstallSnapshotRequest(request) => Some(request.term),
            Self::InstallSnapshotResponse(response) => Some(response.term),
            Self::TimeoutNow(request) => Some(request.term),
            Self::ReadIndexRequest(_)
            | Self::ReadIndexResponse(_)
            | Self::RegisterClient(_)
            | Self::ClientRequest(_)
            | Self::ClientResponse(_) => None,
        }
    }

    /// The term the message speaks of, whether or not its sender is in it.
    pub(crate) fn claimed_term(&self) -> Option<Term> {
        match self {
            Self::PreVoteRequest(request) => Some(request.term),
            Self::PreVoteResponse(response) => Some(response.term),
            Self::VoteRequest(_)
            | Self::VoteResponse(_)
            | Self::AppendEntriesRequest(_)
            | Self::AppendEntriesResponse(_)
            | Self::InstallSnapshotRequest(_)
            | Self::InstallSnapshotResponse(_)
            | Self::TimeoutNow(_)
            | Self::ReadIndexRequest(_)
            | Self::ReadIndexResponse(_)
            | Self::RegisterClient(_)
            | Self::ClientRequest(_)
            | Self::ClientResponse(_) => self.term(),
        }
    }

    /// The message's name, as the protocol calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PreVoteRequest(_) => "PreVoteRequest",
            Self::PreVoteResponse(_) => "PreVoteResponse",
            Self::VoteRequest(_) => "VoteRequest",
            Self::VoteResponse(_) => "VoteResponse",
            Self::AppendEntriesRequest(_) => "AppendEntriesRequest",
            Self::AppendEntriesResponse(_) => "AppendEntriesResponse",
            Self::InstallSnapshotRequest(_) => "InstallSnapshotRequest",
            Self::InstallSnapshotResponse(_) => "InstallSnapshotResponse",
            Self::TimeoutNow(_) => "TimeoutNow",
            Self::ReadIndexRequest(_) => "ReadIndexRequest",
            Self::ReadIndexResponse(_) => "ReadIndexResponse",
            Self::RegisterClient(_) => "RegisterClient",
            Self::ClientRequest(_) => "ClientRequest",
            Self::ClientResponse(_) => "ClientResponse",
        }
    }
}
