//! Messages that meet the state of a server: mostly near what a correct server would say, and now and
//! then anything.

use raft_core::{
    Address, AppendEntriesRequest, AppendEntriesResponse, AppendEntriesResult, ClientId,
    ClientRequest, ClientResponse, ClientResult, ClusterId, Configuration, ConflictHint, Entry,
    Envelope, Index, InstallSnapshotRequest, InstallSnapshotResponse, LogId, Message, Payload,
    ReadId, ReadIndexRequest, ReadIndexResponse, RegisterClient, Round, SequenceNumber, Server,
    ServerId, SessionId, Snapshot, SnapshotId, Term, TimeoutNow, VoteRequest, VoteResponse,
};

use super::source::Source;

/// A message of some server or client.
pub(crate) fn envelope(
    source: &mut Source<'_>,
    server: &Server,
    peers: &[Snapshot],
    rounds: u64,
) -> Envelope {
    let from = ServerId(2 + source.below(4));
    let message = message(source, server, from, peers, rounds);
    let mut from = match &message {
        Message::ClientRequest(request) => Address::Client(request.client_id),
        Message::RegisterClient(request) => Address::Client(request.client_id),
        _ => Address::Server(from),
    };
    let (mut to, mut cluster_id) = (Address::Server(server.id()), ClusterId::default());
    match source.byte() {
        250 => from = Address::AllServers,
        251 => from = Address::Server(server.id()),
        252 => from = Address::Client(ClientId(source.below(4))),
        253 => to = Address::AllServers,
        254 => to = Address::Server(ServerId(source.below(4))),
        255 => cluster_id = ClusterId(source.below(4)),
        _ => {}
    }
    Envelope { cluster_id, from, to, message }
}

fn message(
    source: &mut Source<'_>,
    server: &Server,
    from: ServerId,
    peers: &[Snapshot],
    rounds: u64,
) -> Message {
    let current = server.current_term().0;
    let term = Term(source.near(current));
    let round = Round(source.near(rounds));
    match source.below(15) {
        0 | 1 => {
            let last = log_id(source, server);
            let request = VoteRequest {
                term: Term(source.near(current + 1)),
                candidate_id: from,
                last_log_index: last.index,
                last_log_term: last.term,
                is_transfer: source.byte() > 200,
            };
            if source.flag() {
                Message::VoteRequest(request)
            } else {
                Message::PreVoteRequest(request)
            }
        }
        2 => Message::VoteResponse(VoteResponse { term, vote_granted: source.byte() < 200 }),
        3 => Message::PreVoteResponse(VoteResponse {
            term: Term(source.near(current + 1)),
            vote_granted: source.byte() < 200,
        }),
        4..=6 => append_entries(source, server, from, term, round),
        7 => Message::AppendEntriesResponse(AppendEntriesResponse {
            term,
            round,
            result: match source.below(4) {
                0 | 1 => AppendEntriesResult::Success { match_index: index(source, server) },
                2 => AppendEntriesResult::Conflict {
                    prev_log_index: index(source, server),
                    hint: ConflictHint {
                        term: source.flag().then(|| Term(source.near(current))),
                        index: index(source, server),
                    },
                },
                _ => AppendEntriesResult::StaleTerm,
            },
        }),
        8 => install_snapshot(source, server, from, (term, round), peers),
        9 => Message::InstallSnapshotResponse(InstallSnapshotResponse {
            term,
            round,
            id: snapshot_id(source, server, peers),
            offset: source.near(0),
        }),
        10 => {
            Message::TimeoutNow(TimeoutNow { term, leader_id: from, last: log_id(source, server) })
        }
        11 => Message::ReadIndexRequest(ReadIndexRequest {
            id: ReadId(source.below(4)),
            is_lease_enough: source.flag(),
        }),
        12 => Message::ReadIndexResponse(ReadIndexResponse {
            id: ReadId(source.below(4)),
            index: source.flag().then(|| index(source, server)),
        }),
        13 => Message::RegisterClient(RegisterClient {
            client_id: ClientId(source.below(4)),
            registration: SequenceNumber(source.near(1)),
        }),
        _ if source.byte() == 255 => Message::ClientResponse(ClientResponse {
            client_id: ClientId(1),
            sequence_number: SequenceNumber(1),
            result: ClientResult::Busy,
        }),
        _ => Message::ClientRequest(request(source, server)),
    }
}

fn append_entries(
    source: &mut Source<'_>,
    server: &Server,
    from: ServerId,
    term: Term,
    round: Round,
) -> Message {
    let prev = log_id(source, server);
    let mut entry_term = prev.term.0.max(1);
    let mut entries = Vec::new();
    for place in 1..=source.below(5) {
        // Terms ascend, most of the time.
        entry_term = match source.byte() {
            0..128 => entry_term,
            128..250 => entry_term.max(term.0),
            _ => source.near(entry_term),
        };
        let index = Index(prev.index.0.saturating_add(place));
        entries.push(Entry { term: Term(entry_term), index, payload: payload(source, server) });
    }
    Message::AppendEntriesRequest(AppendEntriesRequest {
        term,
        leader_id: from,
        prev_log_index: prev.index,
        prev_log_term: prev.term,
        entries: entries.into(),
        leader_commit: index(source, server),
        round,
    })
}

fn install_snapshot(
    source: &mut Source<'_>,
    server: &Server,
    from: ServerId,
    (term, round): (Term, Round),
    peers: &[Snapshot],
) -> Message {
    let id = snapshot_id(source, server, peers);
    let bytes = peers.iter().find(|snapshot| snapshot.id() == id);
    let bytes =
        bytes.map(|snapshot| snapshot.parts().map(|part| &part[..]).concat()).unwrap_or_default();
    // All of it, or a part; sometimes something else.
    let (offset, data) = match source.byte() {
        0..100 => (0, bytes),
        100..140 => (0, bytes[..bytes.len() / 2].to_vec()),
        140..200 => ((bytes.len() / 2) as u64, bytes[bytes.len() / 2..].to_vec()),
        _ => (source.near(0), source.bytes().to_vec()),
    };
    Message::InstallSnapshotRequest(Box::new(InstallSnapshotRequest {
        term,
        leader_id: from,
        round,
        id,
        offset,
        data: data.into(),
    }))
}

/// One of the other servers' snapshots, this server's, or one that never was.
fn snapshot_id(source: &mut Source<'_>, server: &Server, peers: &[Snapshot]) -> SnapshotId {
    let choice = source.below(8) as usize;
    match peers.get(choice).or(server.snapshot()) {
        Some(snapshot) if choice < 7 => snapshot.id(),
        _ => SnapshotId {
            last: log_id(source, server),
            size_bytes: source.near(1),
            checksum: u32::from(source.byte()),
        },
    }
}

/// An entry of this server's log most of the time.
fn log_id(source: &mut Source<'_>, server: &Server) -> LogId {
    let index = index(source, server);
    let term = match server.log().term_at(index) {
        Some(term) if source.byte() < 200 => term,
        _ => Term(source.near(server.current_term().0)),
    };
    LogId::new(term, index)
}

/// A place that matters to this server.
fn index(source: &mut Source<'_>, server: &Server) -> Index {
    let place = match source.below(5) {
        0 | 1 => server.log().last_index(),
        2 => server.commit_index(),
        3 => server.last_applied(),
        _ => server.log().start().index,
    };
    Index(source.near(place.0))
}

pub(crate) fn payload(source: &mut Source<'_>, server: &Server) -> Payload {
    match source.below(8) {
        0 | 1 => Payload::Noop,
        2 | 3 => Payload::Command(request(source, server).into()),
        4 => Payload::Proposal(source.bytes()),
        5 => Payload::RegisterClient {
            client_id: ClientId(source.below(4)),
            registration: SequenceNumber(source.near(1)),
            sessions_max: source.near(2) as u32,
        },
        _ => Payload::Configuration(configuration(source).into()),
    }
}

fn configuration(source: &mut Source<'_>) -> Configuration {
    // A bit for each of six servers; somebody always has a vote.
    let set = |bits: u8| (1..=6).filter(move |id| bits >> id & 1 == 1).map(ServerId);
    let some = |bits: u8| if bits & 0x7e == 0 { 2 } else { bits };
    let (voters, learners) = (some(source.byte()), source.byte());
    match source.byte() {
        bits @ 128.. => Configuration::joint(set(some(bits)), set(voters), set(learners)),
        _ => Configuration::new(set(voters), set(learners)),
    }
}

fn request(source: &mut Source<'_>, server: &Server) -> ClientRequest {
    let client_id = ClientId(source.below(4));
    let number = source.below(4);
    let sequence_number = SequenceNumber(source.near(number));
    let mut request = ClientRequest::new(client_id, sequence_number, source.bytes());
    if source.flag() {
        request.session = SessionId(source.near(server.last_applied().0));
        request.first_incomplete = SequenceNumber(source.near(sequence_number.0));
    }
    request
}

/// What a correct server would answer, to keep things going: one of the same opinion, or one whose log
/// is empty.
pub(crate) fn honest_answer(
    question: &Envelope,
    from: ServerId,
    is_empty: bool,
) -> Option<Envelope> {
    let Address::Server(to) = question.from else { return None };
    let message = match &question.message {
        Message::PreVoteRequest(request) => {
            Message::PreVoteResponse(VoteResponse { term: request.term, vote_granted: true })
        }
        Message::VoteRequest(request) => {
            Message::VoteResponse(VoteResponse { term: request.term, vote_granted: true })
        }
        Message::AppendEntriesRequest(request) => {
            let prev_log_index = request.prev_log_index;
            let result = if is_empty && prev_log_index > Index::ZERO {
                let hint = ConflictHint { term: None, index: Index::FIRST };
                AppendEntriesResult::Conflict { prev_log_index, hint }
            } else {
                AppendEntriesResult::Success { match_index: request.last_index() }
            };
            let (term, round) = (request.term, request.round);
            Message::AppendEntriesResponse(AppendEntriesResponse { term, round, result })
        }
        Message::InstallSnapshotRequest(request) => {
            let InstallSnapshotRequest { term, round, id, offset, .. } = **request;
            let offset = offset + request.data.len() as u64;
            if offset < id.size_bytes {
                let response = InstallSnapshotResponse { term, round, id, offset };
                Message::InstallSnapshotResponse(response)
            } else {
                let result = AppendEntriesResult::Success { match_index: id.last.index };
                let response = AppendEntriesResponse { term, round, result };
                Message::AppendEntriesResponse(response)
            }
        }
        Message::ReadIndexRequest(request) => {
            Message::ReadIndexResponse(ReadIndexResponse { id: request.id, index: Some(Index(1)) })
        }
        Message::PreVoteResponse(_)
        | Message::VoteResponse(_)
        | Message::AppendEntriesResponse(_)
        | Message::InstallSnapshotResponse(_)
        | Message::TimeoutNow(_)
        | Message::ReadIndexResponse(_)
        | Message::RegisterClient(_)
        | Message::ClientRequest(_)
        | Message::ClientResponse(_) => return None,
    };
    let (cluster_id, from) = (question.cluster_id, Address::Server(from));
    Some(Envelope { cluster_id, from, to: to.into(), message })
}
